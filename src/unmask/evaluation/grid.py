"""The numbers of masked units that are best for the bound of a sampler of few steps.

A step from k to k' masked units costs (k - k') times the mean cross-entropy with k masked, so the
best k of T steps follow from that curve by dynamic programming (Hoogeboom and others, arXiv
2110.02037).
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.diffusion import MaskedDiffusion
from unmask.likelihood import Bound, Counts, draw_pass


class Curve(NamedTuple):
    """Mean nats of a masked unit by the share of units that are masked."""

    share: np.ndarray  # (m,) rising
    nats: np.ndarray  # (m,) rising, too

    def at(self, count: int) -> np.ndarray:
        """(count,) nats with 1 to `count` of so many units masked."""
        return np.interp(np.arange(1, count + 1) / count, self.share, self.nats)


def measure(
    model: MaskedDiffusion,
    batches: Iterable[Tensor | dict],
    *,
    repeats: int = 8,
    seed: int = 0,
    masking: str | None = None,
) -> Curve:
    """The curve of a model on data, from the draws of its bound.

    Of each draw the number of masked units is known.  The curve is taken to rise with it: of less
    context follows no smaller cross-entropy, but for a network's faults and the noise.
    """
    # one step for every count: the model's bound, with the same restrictions as other grids
    Counts((1.0, 0.0), masking=masking).check(model)
    bound = Bound(masking=masking)
    replicates, of_each = bound.split(repeats)
    found = draw_pass(model, batches, bound, range(replicates), of_each, seed=seed)
    units = found.positions.double()  # of every example: tokens
    paid = found.draws / units  # (R, n) the mean over masked units
    share = ((found.pick * units).floor() + 1) / units
    known = (units > 0).expand_as(paid)
    at, inverse = share[known].unique(return_inverse=True)
    weight = torch.bincount(inverse).double()
    mean = torch.zeros(len(at), dtype=torch.float64).index_add_(0, inverse, paid[known]) / weight
    return Curve(at.numpy(), rising(mean.numpy(), weight.numpy()))


def rising(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) the closest values that rise, by weighted squares: pools of neighbours that do not."""
    pools: list[list[float]] = []  # mean, weight, size
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        pools.append([value, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, of_a, n), (b, of_b, m) = pools[-2:]
            pools[-2:] = [[(a * of_a + b * of_b) / (of_a + of_b), of_a + of_b, n + m]]
    return np.concatenate([np.full(int(size), mean) for mean, _, size in pools])


def best_counts(nats: np.ndarray, steps: int) -> list[int]:
    """The numbers of masked units, from N to 0, of the `steps` steps that cost least.

    nats (N,): mean of a masked unit with 1 to N masked.  ValueError for more steps than units.
    """
    n = len(nats)
    if not 1 <= steps <= n:
        raise ValueError(f"steps must lie between 1 and {n}, the number of units, not {steps}")
    counts = np.arange(n + 1)
    rate = np.concatenate([[0.0], nats])
    cost = counts * rate  # (N + 1,) to leave no unit masked in one step, from each count
    chosen = []
    for _ in range(steps - 1):
        # to j first, at (k - j) rate_k, and from there as before
        best, to = np.full(n + 1, np.inf), np.zeros(n + 1, np.int64)
        for k in range(2, n + 1):
            through = cost[1:k] - counts[1:k] * rate[k]
            to[k] = 1 + int(through.argmin())
            best[k] = through[to[k] - 1] + k * rate[k]
        cost = best
        chosen.append(to)
    path = [n]
    for to in reversed(chosen):
        path.append(int(to[path[-1]]))
    return [*path, 0]
