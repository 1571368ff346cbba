"""Shapes, pair trends and missing cells: what shares of rows say, with bootstrap errors.

Equal to the metrics of the same names in sdmetrics 0.32, which docs/quality.md lists.
"""

import warnings
from collections.abc import Callable, Iterable
from itertools import combinations
from typing import NamedTuple

import numpy as np

from unmask.kinds.quality import Value
from unmask.kinds.tables.quality.rows import Rows
from unmask.kinds.trial import deviation, even_edges

BINS = 10  # of a number beside a category
ROUNDING = 1e-13  # of a second moment: a variance below it is none
DIGITS = 14  # to which numbers are rounded before they are compared
# (weights of real rows, weights of synthetic rows) -> a score; NaN where it is not defined
Score = Callable[[np.ndarray, np.ndarray], float]


class Scores(NamedTuple):
    """Of columns or of pairs: each with its error, and their mean, without those that are NaN."""

    each: list[Value]
    mean: Value
    undefined: int


def bootstrap(
    scores: Iterable[Score], real: Rows, synthetic: Rows, replicates: int, seed: int
) -> Scores:
    """Scores of all rows; the errors are the `deviation` over draws of rows, of both sides.

    A mean's error comes from the same draws, so that it holds how columns go together.
    """
    n, m = len(real), len(synthetic)
    random = np.random.default_rng(seed)
    draws = [(drawn_weights(random, n), drawn_weights(random, m)) for _ in range(replicates)]
    found, columns = [], []
    for score in scores:  # one at a time: those of all pairs would not fit
        found.append(score(np.ones(n), np.ones(m)))
        columns.append([score(*weights) for weights in draws])
    value = np.array(found, float)
    defined = ~np.isnan(value)
    drawn = np.array(columns, float).reshape(len(value), replicates).T
    mean = Value(float("nan"))
    if defined.any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of draws in which nothing is defined
            means = np.nanmean(drawn[:, defined], 1)
        mean = Value(float(value[defined].mean()), deviation(means))
    each = [Value(float(v), deviation(of)) for v, of in zip(value, drawn.T, strict=True)]
    return Scores(each, mean, int((~defined).sum()))


def drawn_weights(random: np.random.Generator, n: int) -> np.ndarray:
    """(n,) how often each row is among n that are drawn with replacement."""
    return np.bincount(random.integers(n, size=n), minlength=n).astype(float)


# ---------------------------------------------------------------- columns


def shape_scores(real: Rows, synthetic: Rows) -> list[Score]:
    """Of each column, without its missing cells.

    Numbers: 1 less the statistic of Kolmogorov and Smirnov; categories: 1 less the total variation.
    """
    found = []
    for c, field in enumerate(real.fields):
        a, b = real.values[c], synthetic.values[c]
        if field.number:
            a, b, size = ranked(a, b)
            found.append(of_histograms(a, b, size, steps=True))
        else:
            found.append(of_histograms(a, b, len(real.labels[c]), steps=False))
    return found


def ranked(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Numbers as their ranks among all of both sides, -1 where one is missing."""
    both = np.round(np.concatenate([a, b]), DIGITS)
    there = ~np.isnan(both)
    codes = np.full(len(both), -1)
    values, codes[there] = np.unique(both[there], return_inverse=True)
    return codes[: len(a)], codes[len(a) :], len(values)


def of_histograms(a: np.ndarray, b: np.ndarray, size: int, *, steps: bool) -> Score:
    """1 less the distance of two columns of codes (-1: left out): of the largest difference of
    their distribution functions, if `steps`, else the total variation."""
    in_a, in_b = a >= 0, b >= 0
    kept_a, kept_b = a[in_a], b[in_b]

    def score(of_a: np.ndarray, of_b: np.ndarray) -> float:
        p = np.bincount(kept_a, of_a[in_a], minlength=size)
        q = np.bincount(kept_b, of_b[in_b], minlength=size)
        if not p.sum() or not q.sum():
            return np.nan
        change = p / p.sum() - q / q.sum()
        if steps:
            return 1 - float(np.abs(np.cumsum(change)).max())
        return 1 - float(np.abs(change).sum()) / 2

    return score


# ---------------------------------------------------------------- pairs


def trend_scores(real: Rows, synthetic: Rows) -> tuple[list[tuple[int, int]], Iterable[Score]]:
    """Of each pair of columns.

    Two numbers: 1 less half the difference of their correlations, over rows that have both; else
    1 less the total variation of the pair's values, a missing cell being a value, and numbers cut
    into ten bins of equal width between the least and the largest real one.
    """
    places = range(len(real.fields))
    pairs = list(combinations(places, 2))
    binned = [binned_codes(real, synthetic, c) for c in places]
    numbers = [c for c in places if real.fields[c].number]
    a, b = ({c: standard(side.values[c]) for c in numbers} for side in (real, synthetic))

    def score(i: int, j: int) -> Score:
        if real.fields[i].number and real.fields[j].number:
            return of_correlations((a[i], a[j]), (b[i], b[j]))
        return of_pairs(binned[i], binned[j])

    return pairs, (score(i, j) for i, j in pairs)


def binned_codes(real: Rows, synthetic: Rows, c: int) -> tuple[np.ndarray, np.ndarray, int]:
    """A column of both sides as codes from 0, that of a missing cell among them, and how many."""
    a, b = real.values[c], synthetic.values[c]
    if not real.fields[c].number:
        return a + 1, b + 1, len(real.labels[c]) + 1
    there = a[~np.isnan(a)]
    edges = even_edges(there, BINS) if len(there) else np.zeros(2)
    inner = edges[1:-1]
    codes = []
    for values in (a, b):
        code = np.searchsorted(inner, values, side="right")
        codes.append(np.where(np.isnan(values), len(inner) + 1, code))
    return codes[0], codes[1], len(inner) + 2


def of_pairs(
    first: tuple[np.ndarray, np.ndarray, int], second: tuple[np.ndarray, np.ndarray, int]
) -> Score:
    a = first[0] * second[2] + second[0]
    b = first[1] * second[2] + second[1]
    size = first[2] * second[2]
    if size > 4 * (len(a) + len(b)):
        values, codes = np.unique(np.concatenate([a, b]), return_inverse=True)
        a, b, size = codes[: len(a)], codes[len(a) :], len(values)
    return of_histograms(a, b, size, steps=False)


class Standard(NamedTuple):
    """Numbers about 0, of a spread about 1, 0 where one is missing; squares; which there are."""

    x: np.ndarray
    square: np.ndarray
    there: np.ndarray


def standard(values: np.ndarray) -> Standard:
    there = ~np.isnan(values)
    kept = values[there]
    if len(kept):
        kept = kept - kept.mean()
        kept = kept / (np.abs(kept).max() or 1.0)
        kept = kept / (kept.std() or 1.0)
    x = np.zeros(len(values))
    x[there] = kept
    return Standard(x, x * x, there.astype(float))


def of_correlations(real: tuple[Standard, Standard], synthetic: tuple[Standard, Standard]) -> Score:
    def score(of_real: np.ndarray, of_synthetic: np.ndarray) -> float:
        a, b = correlation(*real, of_real), correlation(*synthetic, of_synthetic)
        return 1 - abs(a - b) / 2

    return score


def correlation(x: Standard, y: Standard, weights: np.ndarray) -> float:
    """Pearson's over rows that have both, NaN where one of the two does not vary there."""
    w = weights * x.there * y.there
    total = w.sum()
    if total < 2:
        return np.nan
    mean_x, mean_y = w @ x.x / total, w @ y.x / total
    spread = []
    for one, mean in ((x, mean_x), (y, mean_y)):
        moment = w @ one.square / total
        spread.append(moment - mean * mean)
        if spread[-1] <= ROUNDING * moment:
            return np.nan
    both = (w * x.x) @ y.x / total - mean_x * mean_y
    return float(np.clip(both / np.sqrt(spread[0] * spread[1]), -1, 1))


# ---------------------------------------------------------------- missing cells


def missing_scores(real: Rows, synthetic: Rows) -> tuple[list[int], list[Score]]:
    """Of each column that lacks cells on either side: 1 less the difference of the rates."""
    a, b = real.missing(), synthetic.missing()
    columns = [c for c in range(a.shape[1]) if a[:, c].any() or b[:, c].any()]
    return columns, [of_rates(a[:, c], b[:, c]) for c in columns]


def missing_pair_scores(real: Rows, synthetic: Rows) -> tuple[list[tuple[int, int]], list[Score]]:
    """Of pairs of such columns: likewise, of the rates at which both cells are missing."""
    a, b = real.missing(), synthetic.missing()
    columns, _ = missing_scores(real, synthetic)
    pairs = list(combinations(columns, 2))
    return pairs, [of_rates(a[:, i] & a[:, j], b[:, i] & b[:, j]) for i, j in pairs]


def of_rates(a: np.ndarray, b: np.ndarray) -> Score:
    x, y = a.astype(float), b.astype(float)
    return lambda of_a, of_b: 1 - float(abs(of_a @ x / of_a.sum() - of_b @ y / of_b.sum()))
