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
from unmask.masks import BLOCK, drawn_counts

CELLS = (2, 3, 4, 6, 8, 12, 16, 24, 32)  # in which a curve may be measured


class Curve(NamedTuple):
    """Mean nats of a masked unit by the share of units that are masked."""

    share: np.ndarray  # (m,) rising
    nats: np.ndarray  # (m,) rising, too

    def at(self, count: int) -> np.ndarray:
        """(count,) nats with 1 to `count` of so many units masked."""
        return self.of(np.arange(1, count + 1) / count)

    def of(self, wanted: np.ndarray) -> np.ndarray:
        """Nats at these shares: straight lines between the points, and beyond the outermost two."""
        share, nats = self
        found = np.interp(wanted, share, nats)
        for end, beyond in ((slice(2), wanted < share[0]), (slice(-2, None), wanted > share[-1])):
            if len(share) > 1 and beyond.any():
                slope = np.diff(nats[end])[0] / np.diff(share[end])[0]
                found[beyond] = nats[end][0] + slope * (wanted[beyond] - share[end][0])
        return np.maximum(found, 0)


def measure(
    model: MaskedDiffusion,
    batches: Iterable[Tensor | dict],
    *,
    repeats: int = 8,
    seed: int = 0,
    masking: str | None = None,
) -> Curve:
    """The curve of a model on data, from the draws of its bound.

    Of each draw the number of masked units is known.  A point is the mean over all masked units of
    the draws in one of several equal cells, of `cells_of`: a finer curve would follow the noise,
    and so would the counts that are best for it.  It is taken to rise: of less context follows no
    smaller cross-entropy, but for a network's faults and the noise.
    """
    # one step for every count: the model's bound, with the same restrictions as other grids
    Counts((1.0, 0.0), masking=masking).check(model)
    bound = Bound(masking=masking)
    replicates, of_each = bound.split(repeats)
    found = draw_pass(model, batches, bound, range(replicates), of_each, seed=seed)
    some = found.positions > 0
    units = found.positions[some]  # of every example: tokens
    count, scale = drawn_counts(found.pick[:, some], units, int(units.max()))  # (R, n)
    masked = count.double()
    draws = torch.stack([masked / units, found.draws[:, some] / (masked * scale), masked])
    return through(draws.numpy(), cells_of(draws.numpy()))


def cells_of(draws: np.ndarray) -> int:
    """How many cells a curve through draws (3, R, n) is to have.

    The fewest of CELLS that tell the other half of the examples as well as the best number does, to
    within the standard error of the difference.
    """
    half = np.arange(draws.shape[2]) // BLOCK % 2
    sides = [draws[..., half == side] for side in (0, 1)]
    if not min(side.size for side in sides):
        return CELLS[0]
    off = []  # (n,) of each number of cells
    for cells in CELLS:
        curves = [through(side, cells) for side in sides]
        off.append(np.concatenate([error(curves[0], sides[1]), error(curves[1], sides[0])]))
    best = off[int(np.argmin([one.sum() for one in off]))]
    for cells, one in zip(CELLS, off, strict=True):
        more = one - best
        if more.sum() <= more.std() * len(more) ** 0.5:
            return cells
    raise AssertionError("the best is as good as itself")


def through(draws: np.ndarray, cells: int) -> Curve:
    """A curve through the means in so many cells of draws (3, ...): the share of masked units, the
    mean nats of a masked unit, and how many were masked."""
    share, nats, weight = draws.reshape(3, -1)
    cell = np.maximum(np.ceil(share * cells).astype(int) - 1, 0)
    there = np.bincount(cell, weight, cells)
    some = there > 0
    at, mean = (np.bincount(cell, weight * v, cells)[some] / there[some] for v in (share, nats))
    return Curve(at, rising(mean, there[some]))


def error(curve: Curve, draws: np.ndarray) -> np.ndarray:
    """(n,) the squared distance of each example's draws (3, R, n) from a curve, weighted."""
    share, nats, weight = draws
    return (weight * (nats - curve.of(share)) ** 2).sum(0)


def rising(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) the closest values that rise, by weighted squares: pools of neighbours that do not."""
    pools: list[list[float]] = []  # mean, weight, size
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        pools.append([value, weight, 1])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, of_a, n), (b, of_b, m) = pools[-2:]
            pools[-2:] = [[(a * of_a + b * of_b) / (of_a + of_b), of_a + of_b, n + m]]
    return np.concatenate([np.full(int(size), mean) for mean, _, size in pools])


def check_steps(steps: int, units: int) -> None:
    """ValueError for more steps than units."""
    if not 1 <= steps <= units:
        raise ValueError(f"steps must lie between 1 and {units}, the number of units, not {steps}")


def best_counts(nats: np.ndarray, steps: int) -> list[int]:
    """The numbers of masked units, from N to 0, of the `steps` steps that cost least.

    nats (N,): mean of a masked unit with 1 to N masked.  ValueError for more steps than units.
    """
    n = len(nats)
    check_steps(steps, n)
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
