"""The flags of `unmask prepare` that are this kind's own."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class PrepareText:
    tokenizer: str = "bytes"
    """bytes, characters, a Hugging Face tokenizer .json, a folder with GPT-2's encoder.json and
    vocab.bpe, or the folder of prepared data or of a model: the same as theirs."""
    alphabet: str = ""
    """Of --tokenizer characters: the characters themselves, or text8 for its 27 letters; empty:
    those of the source."""
    format: Literal["auto", "text", "jsonl", "parquet", "ids"] = "auto"
    """text: also what looks like binary data; parquet: of a folder, its Parquet files; ids: a .npy
    file, or a raw little-endian array of --dtype."""
    field: str = "text"
    """The field of a JSON line, or the column of a Parquet file or a saved data set, that is the
    text."""
    skip_bad: bool = False
    """Leave out, and count, documents that cannot be read; otherwise the first is an error."""
    dtype: str = "uint16"
    """The type of ready ids."""
    vocab_size: int = 0
    """Of ready ids without a tokenizer."""
    split: str = "0.9,0.05,0.05"
    """train,validation,test: fractions, or numbers of tokens (-1: the rest). Documents without an
    end-of-text token are kept whole."""
    validation: str = ""
    """A validation file of its own; the source is then all training data."""
    test: str = ""
    """A test file of its own."""
