"""What a method is, and the alphabets in which those with a likelihood count."""

from typing import NamedTuple

import numpy as np

from tabular.cells import Clock
from tabular.sets import Known, Part

GROUPS = 32  # of a column of numbers, in which trees count


class Method:
    """A generator of rows.  It learns from `known.train`, and is tuned on `known.validation`.

    `notes` holds what was chosen, and how it kept within its budget.
    """

    name = ""
    about = ""  # for the report

    def __init__(self, known: Known, seed: int, threads: int):
        self.known, self.seed, self.threads = known, seed, threads
        self.random = np.random.default_rng((seed, 3))
        self.notes: dict = {}

    def fit(self, clock: Clock) -> None:
        """Within the processor seconds of the clock."""

    def sample(self, n: int) -> Part | None:
        """So many rows; None for a method that makes none."""
        return None

    def nats(self, rows: Part) -> np.ndarray | None:
        """(n,) -log p of each row over the alphabets of the prepared data; None: not known."""
        return None


def histogram(codes: np.ndarray, size: int) -> np.ndarray:
    """(size,) the shares of values, one more of each than there is: Laplace's rule."""
    counts = np.bincount(codes, minlength=size) + 1.0
    return counts / counts.sum()


class Groups(NamedTuple):
    """The values of a column in groups; within one they follow the column's histogram.

    So a law over groups is one over values, and a model of fine bins costs what one of coarse bins
    does.
    """

    of: np.ndarray  # (size,) the group of each value
    within: np.ndarray  # (size,) p(value | its group)
    count: int

    @classmethod
    def make(cls, known: Known, c: int) -> "Groups":
        """Numbers in at most GROUPS groups of about as many training rows; categories alone."""
        size, law = known.sizes[c], histogram(known.train.codes[:, c], known.sizes[c])
        of = np.arange(size)
        if known.number[c] and size > GROUPS:
            middle = np.cumsum(law) - law / 2
            of = np.unique((middle * GROUPS).astype(int), return_inverse=True)[1]
        whole = np.bincount(of, law)
        return cls(of, law / whole[of], int(of.max()) + 1)

    def law(self, p: np.ndarray) -> np.ndarray:
        """(n, size) of values, from one of groups (n, count)."""
        return p[:, self.of] * self.within


def draw(p: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """(n,) a draw from each row of probabilities (n, k)."""
    total = p.cumsum(1)
    return (random.random((len(p), 1)) * total[:, -1:] >= total).sum(1).clip(max=p.shape[1] - 1)


class Urns:
    """The training rows of each value or group of a column, to draw one."""

    def __init__(self, group: np.ndarray, count: int):
        self.order = np.argsort(group, kind="stable")
        self.size = np.bincount(group, minlength=count)
        self.first = np.cumsum(self.size) - self.size

    def draw(self, group: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """(n,) the number of a row of each given group; of an empty group, of any row."""
        size = self.size[group]
        own = self.order[
            (self.first[group] + random.random(len(group)) * size)
            .astype(int)
            .clip(max=len(self.order) - 1)
        ]
        return np.where(size > 0, own, random.integers(len(self.order), size=len(group)))
