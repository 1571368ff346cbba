"""The area under the receiver operating curve, with its error: numpy alone."""

import numpy as np

from unmask.kinds.quality import Value


def ranks(values: np.ndarray) -> np.ndarray:
    """From 1; equal values share the mean of their ranks."""
    _, of, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[of]


def area(scores: np.ndarray, positive: np.ndarray) -> Value:
    """The chance that a positive has a higher score than another; a tie counts half.

    The error is that of DeLong, DeLong and Clarke-Pearson (1988), over rows of both classes; it is
    not known where no row differs from another of its class.
    """
    positive = positive.astype(bool)
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        return Value(float("nan"))
    among_all = ranks(scores)
    above = (among_all[positive] - ranks(scores[positive])) / n  # of each positive
    below = 1 - (among_all[~positive] - ranks(scores[~positive])) / m  # of each other
    error = float("nan")
    if m > 1 and n > 1 and (np.ptp(above) > 0 or np.ptp(below) > 0):
        error = float(np.sqrt(above.var(ddof=1) / m + below.var(ddof=1) / n))
    return Value(float(above.mean()), error)


def mean_of(parts: list[Value]) -> Value:
    """Of independent values."""
    values, errors = np.array(parts).T
    return Value(float(values.mean()), float(np.sqrt(np.square(errors).sum()) / len(parts)))
