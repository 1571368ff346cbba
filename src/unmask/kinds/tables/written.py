"""What numbers cost within their bins: the nats of a row as its source writes it."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from unmask.kinds.tables.columns import Column, Table
from unmask.kinds.tables.csv_source import Cells


class Written(NamedTuple):
    """Of the rows of a split, by column: mean nats a row of the number given its bin, the share of
    rows with a value, and how many numbers had to be rounded to a step."""

    nats: list[float]
    values: list[float]
    rounded: list[int]


def nats_within(cells: Cells, found: np.ndarray, table: Table, rows: np.ndarray) -> Written:
    """`found` (rows, columns): which of its column's values each cell is, negative for none."""
    written = Written([], [], [])
    count = max(len(rows), 1)
    for c, column in enumerate(table.columns):
        values = found[rows, c]
        known = values >= 0
        written.values.append(float(known.sum() / count))
        nats, rounded = 0.0, 0
        if column.within is not None:
            codes, inverse = np.unique(cells.codes[rows, c][known], return_inverse=True)
            steps = column.steps([cells.texts[c][code] for code in codes])[inverse]
            whole = np.round(steps)
            nats = float(column.within.nats(values[known], whole).sum() / count)
            rounded = int((np.abs(steps - whole) > 1e-9 * np.maximum(np.abs(steps), 1)).sum())
        written.nats.append(nats)
        written.rounded.append(rounded)
    return written


def of_split(meta: dict[str, Any], columns: Sequence[Column], split: str) -> Written | None:
    """As `meta.json` has it; None where numbers have no law within their bins."""
    numbers = [column for column in columns if column.bounds is not None]
    if not numbers or "within" not in meta or any(one.within is None for one in numbers):
        return None
    return Written(**meta["within"][split])


def density_shift(columns: Sequence[Column], values: Sequence[float]) -> float:
    """What to add to the nats of a row as it is written for those of a density of its numbers.

    The probability of a number is its density times the step between numbers.  `values`: the share
    of rows in which each column has one.
    """
    pairs = zip(columns, values, strict=True)
    return sum(share * math.log(one.within.step) for one, share in pairs if one.within is not None)
