"""What `unmask quality` asks of a kind: figures of samples beside those of real examples.

A kind measures and says; the verb prints, draws and records.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Value(NamedTuple):
    """A figure with its standard error, NaN where it has none."""

    value: float
    error: float = math.nan

    def spell(self) -> str:
        if math.isnan(self.value):
            return "unknown"
        if math.isnan(self.error):
            return f"{self.value:.4g}"
        digits = 4
        if self.error > 0:
            digits = min(8, max(0, 1 - math.floor(math.log10(self.error))))
        return f"{self.value:.{digits}f} +- {self.error:.{digits}f}"


class Measure(NamedTuple):
    """One figure of samples, and what tells whether it is good."""

    key: str  # in the record
    name: str
    says: str  # its definition, in a sentence or two
    ideal: float | None  # None: as real examples have it
    samples: Value
    real: Value | None  # of real examples that were held out, under the same measure
    like: Value | None = None  # of as many samples as `real` is of; None: it is `samples`

    def record(self) -> dict:
        found = self._asdict()
        for name in ("samples", "real", "like"):
            value = getattr(self, name)
            found[name] = None if value is None else value._asdict()
        found.pop("key")
        return found


class Bars(NamedTuple):
    """How often values occur in samples and in real examples, to be drawn side by side."""

    title: str
    labels: Sequence[str]  # of the values
    samples: np.ndarray  # (values,) shares
    real: np.ndarray
    error: np.ndarray | None = None  # standard errors of the samples' shares


class Grid(NamedTuple):
    """A value of every pair of columns, to be drawn as shades; NaN: none."""

    title: str
    says: str
    labels: Sequence[str]
    values: np.ndarray  # (columns, columns)
    most: float  # the value of the darkest shade


class Picture(NamedTuple):
    """What is shown as it is; `says`: what it shows."""

    title: str
    says: str
    content: bytes  # of a PNG file


class Listing(NamedTuple):
    """A table of words; the first row names its columns."""

    title: str
    says: str
    rows: Sequence[Sequence[str]]


class Example(NamedTuple):
    """A sample, or a real example, as other models may read it."""

    text: str
    ids: np.ndarray  # (S,) tokens of the data


class Quality(NamedTuple):
    """All that a kind has to say of a file of samples."""

    heading: Sequence[str]  # what was compared, in lines
    measures: Sequence[Measure]
    notes: Sequence[str]  # how to read them, and what was left out
    listings: Sequence[Listing] = ()
    bars: Sequence[Bars] = ()
    grids: Sequence[Grid] = ()
    pictures: Sequence[Picture] = ()
    record: dict = {}  # noqa: RUF012
    # samples and real examples, where they are sequences that another model may judge, and what
    # makes a figure of scores of both: `Trial.measure`
    examples: tuple[Sequence[Example], Sequence[Example]] | None = None
    measure: Callable[..., Measure] | None = None


class Part(NamedTuple):
    """What else is said of samples, by who knows models."""

    measures: Sequence[Measure]
    notes: Sequence[str]
    record: dict

    def added(self, found: Quality) -> Quality:
        """The same figures and these."""
        return found._replace(
            measures=[*found.measures, *self.measures],
            notes=[*found.notes, *self.notes],
            record=found.record | self.record,
        )
