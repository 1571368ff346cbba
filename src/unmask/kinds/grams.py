"""Runs of symbols in sequences: how many there are, how different, how far from those elsewhere.

Symbols are whole numbers: code points, words or residues by their numbers.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unmask.kinds.trial import Score


class Grams(NamedTuple):
    """How often runs of n symbols occur in examples: entries (k,), one for each run and example."""

    example: np.ndarray  # number of the example
    gram: np.ndarray  # number of the run, below `size`
    count: np.ndarray  # float64
    examples: int
    size: int  # different runs, on all sides

    def totals(self, weights: np.ndarray) -> np.ndarray:
        """(size,) how often each occurs in examples of these weights (examples,)."""
        return np.bincount(self.gram, self.count * weights[self.example], minlength=self.size)

    def all(self) -> np.ndarray:
        return self.totals(np.ones(self.examples))

    def of_each(self, values: np.ndarray) -> np.ndarray:
        """(examples,) the sums of a value of each entry (k,)."""
        return np.bincount(self.example, values, minlength=self.examples)


def count_grams(sides: Sequence[Sequence[np.ndarray]], most: int) -> list[list[Grams]]:
    """Of runs of 1, 2, ... `most` symbols, one list each: the `Grams` of every side.

    A side is a list of examples (length,); a run does not go on from one to the next, and holds no
    negative symbol, which is none.  A run has the same number on all sides.
    """
    rows = [row for side in sides for row in side]
    of = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    given = np.concatenate([np.empty(0, np.int64), *rows])
    different, symbols = np.unique(given, return_inverse=True)
    begins = np.flatnonzero(given >= 0)
    codes = symbols[begins]
    found = []
    for order in range(1, most + 1):
        if order > 1:
            last = begins + order - 1
            fits = last < len(of)
            fits[fits] = (of[begins[fits]] == of[last[fits]]) & (given[last[fits]] >= 0)
            begins, last = begins[fits], last[fits]
            pairs = codes[fits] * len(different) + symbols[last]
            _, codes = np.unique(pairs, return_inverse=True)
        size = int(codes.max(initial=-1)) + 1
        found.append(split_sides(of[begins], codes, size, [len(side) for side in sides]))
    return found


def split_sides(
    rows: np.ndarray, codes: np.ndarray, size: int, examples: Sequence[int]
) -> list[Grams]:
    """Of runs with these numbers, in these rows of all sides: the `Grams` of each side."""
    entries, counts = np.unique(rows * max(size, 1) + codes, return_counts=True)
    row, gram = entries // max(size, 1), entries % max(size, 1)
    edges = np.searchsorted(row, np.cumsum([0, *examples]))
    first, found = 0, []
    for n, low, high in zip(examples, edges[:-1], edges[1:], strict=True):
        some = slice(low, high)
        found.append(Grams(row[some] - first, gram[some], counts[some].astype(float), n, size))
        first += n
    return found


def entropy_of(counts: np.ndarray) -> float:
    """Of what occurs so often: nats.  NaN where nothing does."""
    there = counts[counts > 0]
    total = there.sum()
    return float(np.log(total) - there @ np.log(there) / total) if total else float("nan")


def entropy(grams: Grams) -> Score:
    """Of all examples together: nats."""
    return lambda weights: entropy_of(grams.totals(weights))


def entropies(grams: Grams) -> np.ndarray:
    """(examples,) nats of each by itself; 0 of one without runs."""
    total = grams.of_each(grams.count)
    logs = grams.of_each(grams.count * np.log(grams.count))
    there = total > 0
    return np.where(there, np.log(total, where=there, out=np.zeros(len(total))), 0) - (
        np.divide(logs, total, where=there, out=np.zeros(len(total)))
    )


def distinct(grams: Grams) -> Score:
    """Different runs over all runs, of all examples together."""

    def score(weights: np.ndarray) -> float:
        totals = grams.totals(weights)
        number = totals.sum()
        return float((totals > 0).sum() / number) if number else float("nan")

    return score


def repeated(grams: Grams) -> tuple[np.ndarray, np.ndarray]:
    """(examples,) runs that occurred before in the same example, and all runs."""
    return grams.of_each(grams.count - 1), grams.of_each(grams.count)


def jensen_shannon(grams: Grams, reference: np.ndarray) -> Score:
    """The divergence from counts (size,): 0 for the same shares, 1 for nothing in common (bits)."""
    there = reference > 0
    q = reference / max(reference.sum(), 1)
    own = -float(q[there] @ np.log2(q[there]))

    def score(weights: np.ndarray) -> float:
        p = grams.totals(weights)
        if not p.sum() or not there.any():
            return float("nan")
        p = p / p.sum()
        both = (p + q) / 2
        middle, ours = both[both > 0], p[p > 0]
        found = -(middle @ np.log2(middle)) - (own - float(ours @ np.log2(ours))) / 2
        return max(0.0, float(found))

    return score


def total_variation(grams: Grams, reference: np.ndarray) -> Score:
    """Half the sum of the differences of shares from those of counts (size,)."""
    q = reference / max(reference.sum(), 1)

    def score(weights: np.ndarray) -> float:
        p = grams.totals(weights)
        return float(np.abs(p / p.sum() - q).sum() / 2) if p.sum() else float("nan")

    return score
