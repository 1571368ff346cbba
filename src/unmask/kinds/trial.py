"""The sides of a comparison, samples and real examples, and a figure of each with its error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from unmask.kinds.quality import Bars, Measure, Value

if TYPE_CHECKING:
    import numpy as np

BINS = 24  # of a histogram
GROUPS = 50  # of examples, left out one after another: an error is then known to about a tenth
ROUNDING = 1e-12  # of a figure: what differs by less is equal
LEAST = 2  # examples of either side: of one, no error is known

# of weights (n,) that the examples of a side have, 0 or 1: its figure
Score = Callable[["np.ndarray"], float]


def jackknife(score: Score, n: int, chosen: np.ndarray, seed: int) -> Value:
    """The figure of the `chosen` of n examples, and the standard error that it has of their chance.

    Groups of examples are left out one after another (the delete-a-group jackknife: Shao and Tu,
    The Jackknife and Bootstrap, 1995, 5.1.2); the groups are drawn by `seed`.  Unlike a bootstrap
    it draws no example twice, which would change how many things are different.  Where all groups
    say the same, such as that there is none, no error is told: it is not 0.
    """
    import numpy as np

    weights = np.zeros(n)
    weights[chosen] = 1
    value = score(weights)
    groups = min(GROUPS, len(chosen))
    if groups < 2:
        return Value(value)
    order = np.random.default_rng(seed).permutation(chosen)
    found = []
    for left_out in np.array_split(order, groups):
        weights[left_out] = 0
        found.append(score(weights))
        weights[left_out] = 1
    if np.ptp(found) <= ROUNDING * np.abs(found).max():
        return Value(value)
    spread = np.array(found) - np.mean(found)
    return Value(value, float(np.sqrt((groups - 1) / groups * (spread @ spread))))


def deviation(drawn: np.ndarray) -> float:
    """The standard deviation of a figure over draws of examples (draws,), those aside in which it
    is not defined.  NaN where all others say the same: an error that is missing is not 0."""
    import numpy as np

    found = drawn[~np.isnan(drawn)]
    if len(found) < 2 or np.ptp(found) <= ROUNDING * np.abs(found).max():
        return float("nan")
    return float(found.std(ddof=1))


class Closer(NamedTuple):
    """Which of two sides holds the example nearest to each of n others."""

    values: np.ndarray  # (n,) 1: the training examples, 0: as many held-out ones, 0.5: a tie
    nearest: np.ndarray  # (n,) the number of that example, of both sides together


class Trial(NamedTuple):
    """Numbers of the examples that are compared: all samples; as many of them as there are real
    examples, where there are more; and all real ones."""

    samples: np.ndarray
    like: np.ndarray | None
    real: np.ndarray
    seed: int

    def measure(
        self, key: str, name: str, says: str, ideal: float | None, samples: Score, real: Score
    ) -> Measure:
        """One figure of all sides; `samples` and `real` score the examples of theirs."""
        n, m = len(self.samples), len(self.real)
        like = None
        if self.like is not None:
            like = jackknife(samples, n, self.like, self.seed)
        of_samples = jackknife(samples, n, self.samples, self.seed)
        of_real = jackknife(real, m, self.real, self.seed)
        return Measure(key, name, says, ideal, of_samples, of_real, like)

    def closer(self, says: str, samples: Closer, real: Closer) -> Measure:
        """The share of examples that are nearer to a training example: see `clustered_error`."""

        def share(side: Closer, chosen: np.ndarray) -> Value:
            values = side.values[chosen]
            return Value(float(values.mean()), clustered_error(values, side.nearest[chosen]))

        like = None if self.like is None else share(samples, self.like)
        both = share(samples, self.samples), share(real, self.real)
        return Measure("closer", "closer to training", says, 0.5, *both, like)


def clustered_error(values: np.ndarray, group: np.ndarray) -> float:
    """Standard error of a mean whose values go together in groups, such as those of examples that
    share their nearest one, with whose side they stand or fall; NaN of a single group, and where
    all are equal: an error that is missing is not 0."""
    import numpy as np

    _, of = np.unique(group, return_inverse=True)
    sums = np.bincount(of, values - values.mean())
    if len(sums) < 2 or np.ptp(values) == 0:
        return float("nan")
    return float(np.sqrt(len(sums) / (len(sums) - 1) * (sums @ sums)) / len(values))


def make_trial(samples: int, like: np.ndarray, seed: int) -> Trial:
    """Of so many samples, those with the numbers `like` being as many as there are real ones."""
    import numpy as np

    every = np.arange(samples)
    fewer = like if len(like) < samples else None
    return Trial(every, fewer, np.arange(len(like)), seed)


def check_split(data: Any, split: str, what: str) -> None:
    """ValueError for a split without examples, `what` in words."""
    if split not in data.splits:
        raise ValueError(
            f"{data.folder} has no {split} {what} to compare with: name another --split, or "
            f"prepare the data with such {what}"
        )


def fitting(sizes: np.ndarray, most: int) -> np.ndarray:
    """(n,) bool: which of the sizes (n,), taken in their order, fit into so much; one that does not
    is passed over, and those after it are not."""
    import numpy as np

    fits, left = np.zeros(len(sizes), bool), most
    for i, size in enumerate(sizes.tolist()):
        if size <= left:
            fits[i] = True
            left -= size
    return fits


def check_many(where: str, found: int) -> None:
    """ValueError for a side of too few examples."""
    if found < LEAST:
        some = f"{found} examples are" if found != 1 else "1 example is"
        raise ValueError(f"{where}: {some} too few to say anything of: give at least {LEAST}")


def mean_of(values: np.ndarray) -> Score:
    """The mean of a value of each example (n,)."""
    return lambda weights: float(weights @ values / weights.sum())


def share_of(parts: np.ndarray, wholes: np.ndarray) -> Score:
    """All `parts` (n,) over all `wholes` (n,); NaN where there is no whole."""

    def score(weights: np.ndarray) -> float:
        whole = float(weights @ wholes)
        return float(weights @ parts) / whole if whole else float("nan")

    return score


def kolmogorov_smirnov(values: np.ndarray, reference: np.ndarray) -> Score:
    """The largest difference of the distribution functions of values (n,) and others (m,)."""
    import numpy as np

    order = np.argsort(values, kind="stable")
    ordered, told = values[order], np.sort(reference)
    at = np.unique(np.concatenate([ordered, told]))
    below = np.searchsorted(ordered, at, side="right")
    theirs = np.searchsorted(told, at, side="right") / len(told)

    def score(weights: np.ndarray) -> float:
        sums = np.concatenate([[0.0], np.cumsum(weights[order])])
        return float(np.abs(sums[below] / sums[-1] - theirs).max())

    return score


def even_edges(values: np.ndarray, bins: int) -> np.ndarray:
    """(bins + 1,) of equal bins from the least value to the largest, half of one on both sides of
    values that are equal; NumPy's own refuse such as floats hold few numbers between."""
    import numpy as np

    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def spread(title: str, samples: np.ndarray, real: np.ndarray) -> Bars:
    """How a number of each example is spread, on both sides."""
    import numpy as np

    edges = even_edges(np.concatenate([samples, real]), BINS)
    shares = [np.histogram(side, edges)[0] / len(side) for side in (samples, real)]
    return Bars(title, [f"{edge:.3g}" for edge in edges[:-1]], *shares)
