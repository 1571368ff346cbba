"""The layouts there are: one literal dict.

The file of a source in this folder has the source's name, - as _, and a function

    read(source: Path, flags) -> Imported

`flags` has the fields of `Source.Flags`.  ValueError, before any work, for what is not of the
layout or does not fit together.  Nothing here loads torch, for the sake of --help: such a file is
imported when its source is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from unmask.diffusion import MaskedDiffusion


class Imported(NamedTuple):
    """A model as it is to be saved.

    Its `meta` has "length", the most tokens of a sequence, and "data", what `kinds.registry.adopt`
    says of its tokens: then every verb takes it.
    """

    model: MaskedDiffusion
    files: dict[str, bytes]  # beside the weights: of the tokenizer
    said: list[str]  # lines: what was found, taken and left out


@dataclass(frozen=True, kw_only=True)
class OfHuggingFace:
    tokenizer: str = ""
    """A tokenizer.json, or a vocab.txt of residues; empty: the one in the folder."""
    mask: str = ""
    """The mask, as an entry of the vocabulary or its number; empty: what the tokenizer's files
    say, or the entry that is called so."""
    length: int = 0
    """Tokens a sequence, at most; 0: as many as the network has positions for."""


@dataclass(frozen=True, kw_only=True)
class OfTexts:
    tokenizer: str = ""
    """A tokenizer .json, a folder with GPT-2's encoder.json and vocab.bpe, or the folder of
    prepared data or of a model; ids: none, for data of ready ids; empty: the one in the file,
    which checkpoints of Lightning have."""
    length: int = 0
    """Tokens a sequence; 0: as the configuration says."""


@dataclass(frozen=True, kw_only=True)
class OfSEDD(OfTexts):
    normalised: bool = False
    """Normalise its scores over the tokens: not SEDD as published, but a model of masked diffusion,
    with all samplers, audits and estimators that those have."""


@dataclass(frozen=True, kw_only=True)
class OfMD4:
    tokenizer: str = ""
    """Of texts: a tokenizer .json, a folder with GPT-2's encoder.json and vocab.bpe, or the folder
    of prepared data or of a model; ids: none, for data of ready ids."""
    config: str = ""
    """MD4's configuration as JSON; empty: the config.json beside the parameters."""


class Source(NamedTuple):
    """A layout."""

    about: str  # what it is, in a sentence
    what: str  # what SRC may be
    Flags: type  # a dataclass, keywords only: its own flags


SOURCES: dict[str, Source] = {
    "huggingface": Source(
        "A masked language model as transformers saves it: BERT, RoBERTa, ModernBERT, ESM-2, ...",
        "A folder with config.json and the weights: model.safetensors, or pytorch_model.bin, of "
        "which only tensors are read.",
        OfHuggingFace,
    ),
    "mdlm": Source(
        "MDLM, masked texts (kuleshov-group/mdlm).",
        "A folder of the Hub (config.json, model.safetensors), or a .ckpt of Lightning.",
        OfTexts,
    ),
    "sedd": Source(
        "SEDD, absorbing (louaaron/Score-Entropy-Discrete-Diffusion).",
        "A folder of the Hub, a run's folder, or its checkpoint.pth.",
        OfSEDD,
    ),
    "radd": Source(
        "RADD, masked texts without time (ML-GSAI/RADD).",
        "A folder of the Hub, a run's folder, or its checkpoint.pth.",
        OfTexts,
    ),
    "mdm-prime": Source(
        "MDM-Prime, masked digits of the tokens of texts (chen-hao-chao/mdm-prime).",
        "A .ckpt of Lightning, or the folder of its checkpoint.ckpt.",
        OfTexts,
    ),
    "md4": Source(
        "MD4 and GenMD4, masked texts and pictures (google-deepmind/md4).",
        "A work folder or a checkpoint of Orbax, which needs the package tensorstore, or an .npz "
        "of parameters; and MD4's configuration as JSON.",
        OfMD4,
    ),
}


def read(name: str, source: Path, flags: Any) -> Imported:
    """Read a source of SOURCES.  ValueError for what is not of its layout."""
    assert name in SOURCES  # a name of this file, and of no other
    return import_module(f"unmask.importers.{name.replace('-', '_')}").read(source, flags)
