"""What a page shows of examples: pieces of a text, rows of cells, pictures.

A kind says what stands where; whoever draws it knows when each position became known, and how sure
a model was of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Piece(NamedTuple):
    """What stands at some positions of an example."""

    text: str
    at: Sequence[int]  # positions, all of which it takes to know it
    missing: bool = False  # that there is no value, which is a fact, too


class Line(NamedTuple):
    """An example as a text, piece by piece."""

    example: int  # which of those that are shown
    pieces: Sequence[Piece]


class Rows(NamedTuple):
    """Examples as the rows of a table, the first of them example 0."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Piece]]


class Picture(NamedTuple):
    """An example as a picture."""

    example: int
    png: bytes  # transparent where nothing is known
    shape: tuple[int, int, int]  # height, width, channels: its positions, in this order
    alt: str  # in words, for who cannot see it


View = Line | Rows | Picture


class Words(NamedTuple):
    """How a page calls what it shows."""

    part: str  # what is revealed, singular: "character", "pixel"
    samples: str = "Samples"
    given: str = "What is given"
    note: str = ""  # a sentence on how it shows it, or none
