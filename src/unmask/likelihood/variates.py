"""Control variates: what a mask costs because of which units it hides is expected, and taken out.

Given how many of N units are masked, every set of as many is as likely.  So of any numbers b_i that
do not depend on the set, the sum over those masked has a known mean, and a draw less

    factor * (sum of b_i over the masked - their number * mean of b)

has the mean it had.  The nearer b_i is to what unit i costs on average over sets, the smaller the
variance.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from unmask.batch import Batch
from unmask.masks import Draw

PRIOR = 2.0  # how many observations a mean of more units counts as


def less_variates(batch: Batch, paid: Tensor, draws: Sequence[Draw]) -> Tensor:
    """`paid` (D, B, S) float64 by token in these D draws, each less its control variate; on the
    CPU.

    b_i is told from the example's D - 1 other draws: from what the token's units paid there, drawn
    towards what those of equal tokens of the example did, and all of its units.  Not from the draw
    itself: that would be a bias.  Draws are dependent thereafter, and uncorrelated only with what
    was drawn elsewhere, so their mean counts as one draw: a replicate.

    It is as well the mean at each position that does not change.  The draws must be of a schedule
    with one curve: with others a unit's value says how likely it is masked.
    """
    hidden = torch.stack([by_token(batch, draw.masked) for draw in draws])  # (D, B, S)
    scale = torch.stack([draw.scale for draw in draws]).cpu()[..., None]  # (D, B, 1)
    scored = by_token(batch, batch.scored)  # (B, S)
    cost, times = others(paid / scale), others(hidden)
    mean = cost.sum(-1, keepdim=True) / times.sum(-1, keepdim=True).clamp(min=1)
    row = torch.arange(len(scored))[:, None]
    codes = batch.codes.cpu()
    alike = (row * (codes.max() + 1) + codes).unique(return_inverse=True)[1]  # (B, S)
    mean = (of_alike(cost, alike) + PRIOR * mean) / (of_alike(times, alike) + PRIOR)
    mean = (cost + PRIOR * mean) / (times + PRIOR)
    # what is not finite is left as it is, in every draw
    b = mean.nan_to_num(0.0, 0.0, 0.0)
    share = scored / scored.sum(-1, keepdim=True).clamp(min=1)
    return paid - scale * b * (hidden - share * hidden.sum(-1, keepdim=True))


def by_token(batch: Batch, marked: Tensor) -> Tensor:
    """(B, S) float64, on the CPU: how many units of each token are marked (B, U)."""
    return marked.unflatten(1, (-1, batch.per_token)).sum(-1).double().cpu()


def others(values: Tensor) -> Tensor:
    """(D, ...) the sum over all draws but one."""
    return values.sum(0) - values


def of_alike(values: Tensor, number: Tensor) -> Tensor:
    """values (D, B, S) added up over positions of one number (B, S), at each of them."""
    total = values.new_zeros(len(values), int(number.max()) + 1)
    return total.index_add_(1, number.flatten(), values.flatten(1))[:, number]
