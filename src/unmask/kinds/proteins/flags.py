"""The flags of `unmask prepare`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class PrepareProteins:
    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SRC")]
    """A FASTA file (also .gz, .xz), or a folder of them.  The 20 amino acids, U and O are residues; where there is B, J, X or Z, it is not
    known which residue there is, and the position is neither scored nor attended to.  Gaps and any other letter are errors."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The folder to make."""
    split: str = "0.9,0.05,0.05"
    """train,validation,test: fractions, or numbers of sequences (-1: the rest), by a hash of the sequence: equal ones stay together.
    Homologues do not."""
    validation: str = ""
    """A validation file of its own; the source is then all training data."""
    test: str = ""
    """A test file of its own."""
    json: str = ""
    """Also write what was made to this file."""
