"""The gradient of a learned schedule: the masks are drawn from it, so the loss needs a score-function term (GenMD4).

For two draws of the masks of an example at one t, with nats L1 and L2, GenMD4 takes (L1 - L2) / 2 times the gradient of
log q(z1 | x) - log q(z2 | x) (arXiv 2406.04329, section 6).  Most of the noise of L1 - L2 is which units, and how many, happen to be
masked.  That part is known: with any guess c_n of what unit n pays where it is masked, made without looking at the draws,

    E[L] = E[ L - sum over masked n of c_n ] + sum over n of c_n P(n is masked),

and the second sum has an exact gradient.  So L is replaced by its difference from the guess, and the exact gradient is added:
unbiased for every guess, and GenMD4's estimator for the guess 0.  The guess for a value is what it paid on average where it was masked
in the other half of the batch, whose masks are independent of these.
"""

import torch
from torch import Tensor


def surrogate(
    y: Tensor, valid: Tensor, log_masked: Tensor, masked: tuple[Tensor, Tensor], nats: tuple[Tensor, Tensor], scale: Tensor, num_values: int
) -> Tensor:
    """(): its gradient in the powers, through log_masked (B, U), is that of E[nats] through the law of the masks.

    y (B, U) values in [0, num_values), `valid` (B, U); for each of two draws, which units are `masked` (B, U) and their nats (B, U), 0
    elsewhere, which are `scale` (B,), the importance factor of t, times what a unit pays.  Its value means nothing.
    """
    guess = scale[:, None] * paid_in_the_other_half(y, masked, nats, scale, num_values)
    log_unmasked = (-torch.expm1(log_masked)).log()
    # log q(z1 | x) - log q(z2 | x): units in the same state cancel
    ratio = ((masked[0].double() - masked[1].double()) * (log_masked - log_unmasked)).sum(-1)
    rest = [(n - guess * m).sum(-1) for n, m in zip(nats, masked, strict=True)]
    return ((rest[0] - rest[1]) / 2 * ratio).sum() + (guess * valid * log_masked.exp()).sum()


def paid_in_the_other_half(y: Tensor, masked: tuple[Tensor, Tensor], nats: tuple[Tensor, Tensor], scale: Tensor, num_values: int) -> Tensor:
    """(B, U) what each unit's value paid on average where it was masked, in the half of the batch that does not hold the example.

    As if the mean over all values had been seen once more; 0 where the other half is empty.
    """
    half = torch.arange(len(y), device=y.device) % 2
    guess = torch.zeros(y.shape, dtype=torch.float64, device=y.device)
    for h in (0, 1):
        paid = torch.zeros(2, num_values, dtype=torch.float64, device=y.device)  # sums, counts
        for m, n in zip(masked, nats, strict=True):
            m = m & (half != h)[:, None]
            each = torch.stack([(n / scale[:, None])[m], torch.ones_like(n[m])])
            paid.index_add_(1, y[m], each)
        mean = paid[0].sum() / paid[1].sum().clamp(min=1)
        guess[half == h] = ((paid[0] + mean) / (paid[1] + 1))[y[half == h]]
    return guess
