"""Which cells of test rows are removed, and what a guess of them is worth.

At random: each cell with the same probability.  Not at random: high values vanish.  In a column of
numbers those above the 70th percentile of the training column, and in one of categories the most
frequent value, are removed with three times the probability of the others, such that the expected
share of the column is the same: with a share h of high cells among those that are there, others are
removed with share / (1 + 2 h); where three times that is above one, high cells all are, and others
make up the rest.  Cells that are missing in the data are never removed.

Scores are of the removed cells of a column, and their means over columns: the share of categories
that are right; the absolute and the squared error of numbers in standard deviations of the training
column, of the median and of the mean where the method tells both; the share of numbers inside a
90 % interval, from the 5th to the 95th percentile of the law of the cell alone, and its width in
standard deviations; and nats a removed cell over the values (of numbers, the bins) that are not
missing.  Their errors are of a bootstrap of the test rows.
"""

from typing import NamedTuple

import numpy as np

from tabular.sets import Known, Part
from unmask.kinds.trial import deviation

SHARES = (0.1, 0.3, 0.5)
MECHANISMS = ("at random", "not at random")
HIGH, MORE = 0.7, 3.0  # the quantile above which a number is high; how much likelier it vanishes
REPLICATES = 100


class Guesses(NamedTuple):
    """What a method says of the removed cells; elsewhere anything.  NaN, or None: it does not."""

    codes: np.ndarray  # (n, columns) of categories
    median: np.ndarray  # (n, columns) of numbers
    mean: np.ndarray
    interval: tuple[np.ndarray, np.ndarray] | None = None
    nats: np.ndarray | None = None


def none_of(known: Known, rows: Part) -> np.ndarray:
    """(n, columns) bool: cells that are missing in the data."""
    values = np.array([len(column.values) for column in known.table.columns])
    return rows.codes >= values


def high_cells(known: Known, rows: Part) -> np.ndarray:
    """(n, columns) bool: what vanishes with more probability."""
    found = np.zeros(rows.codes.shape, bool)
    for c, column in enumerate(known.table.columns):
        train = known.train
        if known.number[c]:
            found[:, c] = rows.numbers[:, c] > np.quantile(train.numbers[:, c], HIGH)
        else:
            counts = np.bincount(train.codes[:, c], minlength=known.sizes[c])
            found[:, c] = rows.codes[:, c] == counts[: len(column.values)].argmax()
    return found


def rates(high: np.ndarray, there: np.ndarray, share: float) -> np.ndarray:
    """(n, columns) the probability with which each cell is removed, not at random."""
    h = (high & there).sum(0) / np.maximum(there.sum(0), 1)
    of_high = np.minimum(1, MORE * share / (1 + (MORE - 1) * h))
    of_others = (share - h * of_high) / np.where(h < 1, 1 - h, 1)
    return np.where(there, np.where(high, of_high, of_others), 0.0)


def removed_cells(
    known: Known, rows: Part, mechanism: str, share: float, random: np.random.Generator
) -> np.ndarray:
    """(n, columns) bool."""
    there = ~none_of(known, rows)
    p = np.where(there, share, 0.0)
    if mechanism == "not at random":
        p = rates(high_cells(known, rows), there, share)
    return random.random(p.shape) < p


# ---------------------------------------------------------------- scores


def moments(known: Known) -> tuple[np.ndarray, np.ndarray]:
    """(columns,) the mean and the standard deviation of training numbers; 0 and 1 of categories."""
    numbers = np.where(known.number, known.train.numbers, 0.0)
    std = numbers.std(0)
    return numbers.mean(0), np.where(std > 0, std, 1.0)


def scores(known: Known, rows: Part, removed: np.ndarray, guesses: Guesses, seed: int) -> dict:
    """Each figure with its error."""
    number, std = np.array(known.number), moments(known)[1]

    def of_numbers(value: np.ndarray) -> np.ndarray:
        return np.where(removed & number, value, np.nan)

    truth = rows.numbers
    each = {
        "accuracy": np.where(removed & ~number, guesses.codes == rows.codes, np.nan),
        "absolute": of_numbers(np.abs(guesses.median - truth) / std),
        "squared": of_numbers(np.square((guesses.mean - truth) / std)),
    }
    if guesses.interval is not None:
        low, high = guesses.interval
        # what is written with few digits may equal an end of the interval but for rounding
        near = 1e-9 * (1 + np.abs(truth))
        inside = (truth >= low - near) & (truth <= high + near)
        each["coverage"] = of_numbers(inside)
        each["width"] = of_numbers((high - low) / std)
    if guesses.nats is not None:
        each["nats"] = np.where(removed, guesses.nats, np.nan)
    return {name: mean_of_columns(value, seed) for name, value in each.items()}


def mean_of_columns(value: np.ndarray, seed: int) -> dict:
    """The mean over columns (n, columns) of the mean over rows, NaN left out; with its error."""
    random = np.random.default_rng((seed, 5))
    there, filled = ~np.isnan(value), np.nan_to_num(value)
    if not there.any():
        return {"value": None, "error": None}

    def mean(weight: np.ndarray) -> float:
        counts = weight @ there
        return float(((weight @ filled)[counts > 0] / counts[counts > 0]).mean())

    n = len(value)
    drawn = [mean(np.bincount(random.integers(n, size=n), minlength=n)) for _ in range(REPLICATES)]
    return {"value": mean(np.ones(n)), "error": deviation(np.array(drawn))}
