"""The flags of `unmask prepare` that are this kind's own."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PrepareProteins:
    split: str = "0.9,0.05,0.05"
    """train,validation,test: fractions, or numbers of sequences (-1: the rest), by a hash of the
    sequence: equal ones stay together. Homologues do with --clusters."""
    clusters: str = ""
    """A file that says which records stay in one split: lines of two names, as in the _cluster.tsv
    of `mmseqs easy-cluster`.  Errors are then over clusters."""
    validation: str = ""
    """A validation file of its own; the source is then all training data."""
    test: str = ""
    """A test file of its own."""
    skip_bad: bool = False
    """Leave out records that cannot be read, such as those with a stop (*) inside, instead of
    refusing the file.  They are counted in meta.json, and the first five of each reason named."""
