"""Copies, and the distance to the closest record against a holdout."""

from typing import NamedTuple

import numpy as np

from unmask.kinds.quality import Value
from unmask.kinds.tables.quality.rows import Rows
from unmask.kinds.trial import clustered_error

CELLS = 1 << 22  # distances at a time


class Closest(NamedTuple):
    """Distances (n,) of rows to their closest record, and which that is."""

    distance: np.ndarray
    record: np.ndarray


def ranges(rows: Rows) -> list[float]:
    """Of each column of numbers, the largest less the least; 1 where there is nothing between."""
    found = []
    for field, values in zip(rows.fields, rows.values, strict=True):
        there = values[~np.isnan(values)] if field.number else []
        wide = float(np.ptp(there)) if len(there) else 0.0
        found.append(wide or 1.0)
    return found


def closest(rows: Rows, records: Rows, scale: list[float]) -> Closest:
    """The L1 distance to the closest record.

    A number counts by its difference over the range of the training rows, and 1 if one of the two
    is missing; a category is one-hot: 2 if it differs, a missing one being a category.
    """
    n, m = len(rows), len(records)
    distance, record = np.empty(n), np.empty(n, np.int64)
    step = max(1, CELLS // m)
    for low in range(0, n, step):
        some = rows.take(np.arange(low, min(n, low + step)))
        of = distances(some, records, scale)
        record[low : low + step] = of.argmin(1)
        distance[low : low + step] = of.min(1)
    return Closest(distance, record)


def distances(rows: Rows, records: Rows, scale: list[float]) -> np.ndarray:
    """(rows, records) float64."""
    total = np.zeros((len(rows), len(records)))
    for c, field in enumerate(rows.fields):
        x, y = rows.values[c][:, None], records.values[c]
        if not field.number:
            total += 2.0 * (x != y)
            continue
        apart = np.abs(x - y) / scale[c]
        lost_x, lost_y = np.isnan(x), np.isnan(y)
        if lost_x.any() or lost_y.any():
            apart = np.where(lost_x | lost_y, (lost_x != lost_y).astype(float), apart)
        total += apart
    return total


class Closer(NamedTuple):
    """Shares of rows that are closer to a training row than to a row of the holdout."""

    share: Value  # a tie counts half
    strict: Value  # a tie counts as closer to the holdout
    ties: float


def closer_to_train(rows: Rows, train: Rows, holdout: Rows, scale: list[float]) -> Closer:
    """Error: rows that share their closest record count together, since they stand or fall with
    on which side it is."""
    a, b = closest(rows, train, scale), closest(rows, holdout, scale)
    tied = a.distance == b.distance
    strict = (a.distance < b.distance).astype(float)
    half = np.where(tied, 0.5, strict)
    which = np.where(a.distance <= b.distance, a.record, len(train) + b.record)
    shares = [Value(float(v.mean()), clustered_error(v, which)) for v in (half, strict)]
    return Closer(shares[0], shares[1], float(tied.mean()))


# ---------------------------------------------------------------- copies


def keys(rows: Rows) -> list[bytes]:
    """Of each row, what tells it from rows that differ."""
    columns = [np.ascontiguousarray(v, np.float64) for v in rows.values]
    table = np.stack(columns, 1) + 0.0  # no -0.0
    table[np.isnan(table)] = np.inf  # NaNs differ in their bits
    return [row.tobytes() for row in table]


def copied(rows: Rows, train: Rows) -> Value:
    """The share of rows that are equal, in every column, to a training row; binomial error."""
    known = set(keys(train))
    return share_of([key in known for key in keys(rows)])


def repeated(train: Rows) -> Value:
    """The share of training rows that another one equals."""
    _, of, counts = np.unique(np.array(keys(train)), return_inverse=True, return_counts=True)
    return share_of(counts[of] > 1)


def share_of(found) -> Value:
    """With its binomial error, one more of either kind being counted: of none, it is not 0."""
    n = len(found)
    p = (np.sum(found) + 1) / (n + 2)
    return Value(float(np.mean(found)), float(np.sqrt(p * (1 - p) / n)))
