"""The flags of `unmask prepare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class PrepareText:
    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SRC")]
    """A text or .jsonl file (also .gz, .xz), a folder, every file in which is a document, or a file of ready token ids."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The folder to make."""
    tokenizer: str = "bytes"
    """bytes, characters, a Hugging Face tokenizer .json, a folder with GPT-2's encoder.json and vocab.bpe, or the folder of prepared
    data or of a model: the same as theirs."""
    alphabet: str = ""
    """Of --tokenizer characters: the characters themselves, or text8 for its 27 letters; empty: those of the source."""
    format: Literal["auto", "text", "jsonl", "ids"] = "auto"
    """ids: a raw little-endian array of --dtype."""
    field: str = "text"
    """The field of a .jsonl line."""
    dtype: str = "uint16"
    """The type of ready ids."""
    vocab_size: int = 0
    """Of ready ids without a tokenizer."""
    split: str = "0.9,0.05,0.05"
    """train,validation,test: fractions, or numbers of tokens (-1: the rest). Documents without an end-of-text token are kept whole."""
    validation: str = ""
    """A validation file of its own; the source is then all training data."""
    test: str = ""
    """A test file of its own."""
    json: str = ""
    """Also write what was made to this file."""
