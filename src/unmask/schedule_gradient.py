"""The gradient of a learned schedule (GenMD4).

The masks are drawn from the schedule, so the loss needs a score-function term.  For two draws of
the masks of an example at one t, with nats L1 and L2, GenMD4 takes (L1 - L2) / 2 times the gradient
of log q(z1 | x) - log q(z2 | x) (arXiv 2406.04329, section 6).  Most of the noise of L1 - L2 is
which units, and how many, happen to be masked.  That part is known: with any guess c_n of what unit
n pays where it is masked, made without looking at the draws,

    E[L] = E[ L - sum over masked n of c_n ] + sum over n of c_n P(n is masked),

and the second sum has an exact gradient.  So L is replaced by its difference from the guess, and
the exact gradient is added: unbiased for every guess, and GenMD4's estimator for the guess 0.  The
guess for a value is what it paid on average where it was masked in the other half of the batch,
whose masks are independent of these.
"""

from typing import NamedTuple

import torch
from torch import Tensor


class Pair(NamedTuple):
    """Two draws of the masks of B examples of U units, at one t for each example."""

    y: Tensor  # (B, U) the units' values
    valid: Tensor  # (B, U) bool
    log_masked: Tensor  # (B, U) log P(masked), with its gradient in the powers
    masked: tuple[Tensor, Tensor]  # (B, U) bool, of either draw
    nats: tuple[Tensor, Tensor]  # (B, U) `scale` times what a masked unit pays, 0 elsewhere
    scale: Tensor  # (B,) the importance factor of t
    total: Tensor  # () the second draw's nats, to be differentiated


def surrogate(pair: Pair, guess: Tensor) -> Tensor:
    """(): its gradient in the powers is that of E[nats] through the law of the masks.

    For every `guess` (B, U); its value means nothing.
    """
    guess = pair.scale[:, None] * guess
    rest = [(n - guess * m).sum(-1) for n, m in zip(pair.nats, pair.masked, strict=True)]
    # units in the same state cancel
    ratio = log_law(pair, pair.masked[0].double() - pair.masked[1].double())
    expected = guess * pair.valid * pair.log_masked.exp()
    return ((rest[0] - rest[1]) / 2 * ratio).sum() + expected.sum()


def log_law(pair: Pair, masked: Tensor) -> Tensor:
    """(B,) log q(z | x) of masks (B, U), less what does not depend on them.

    Of a difference of two masks, that of their logs.
    """
    log_kept = (-torch.expm1(pair.log_masked)).log()
    return (masked * (pair.log_masked - log_kept)).sum(-1)


def paid_in_the_other_half(pair: Pair, num_values: int) -> Tensor:
    """(B, U) what each unit's value paid on average where it was masked, in the other half.

    That is the half of the batch that does not hold the example.  As if the mean over all values
    had been seen once more; 0 where the other half is empty.
    """
    y, scale = pair.y, pair.scale
    half = torch.arange(len(y), device=y.device) % 2
    guess = torch.zeros(y.shape, dtype=torch.float64, device=y.device)
    for h in (0, 1):
        paid = torch.zeros(2, num_values, dtype=torch.float64, device=y.device)  # sums, counts
        for m, n in zip(pair.masked, pair.nats, strict=True):
            m = m & (half != h)[:, None]
            each = torch.stack([(n / scale[:, None])[m], torch.ones_like(n[m])])
            paid.index_add_(1, y[m], each)
        mean = paid[0].sum() / paid[1].sum().clamp(min=1)
        guess[half == h] = ((paid[0] + mean) / (paid[1] + 1))[y[half == h]]
    return guess
