"""Control variates: a mask costs more or less because of which units it hides, and that is taken
out.

Given how many of N units are masked, every set of as many is as likely.  So for any numbers b_i
that do not depend on the set, the sum over those masked has a known mean, and

    paid - factor * (sum of b over the masked - their number * mean of b)

has the mean of what is paid.  It varies the less, the nearer b_i is to what unit i costs on average
over sets.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from unmask.batch import Batch
from unmask.masks import Draw

PRIOR = 2.0  # how many observations the mean of more units counts as
# scored units of an example: of fewer, what one costs depends so much on which others are masked
# that b, told from a few draws, adds variance (of 3 of 6 units, six times)
FEWEST = 16


def less_variates(batch: Batch, paid: Tensor, draws: Sequence[Draw]) -> Tensor:
    """`paid` (D, B, S) float64 nats by token in these D draws, on the CPU, each less its control
    variate, by token, too.

    The b of a draw are told from the example's D - 1 other draws: from what the token's units paid
    there, drawn towards what those of equal tokens of the example did, and these towards all of
    its units.  With the draw itself among them there would be a bias.  The D draws of an example
    depend on each other thereafter: only their mean is a replicate.  What an example of fewer than
    `FEWEST` scored units pays stays as it is.

    The draws must be of a schedule with one curve for all values; with others, a unit's value says
    how likely it is masked.
    """
    hidden = torch.stack([by_token(batch, draw.masked) for draw in draws])  # (D, B, S)
    factor = torch.stack([draw.scale.cpu() for draw in draws])[..., None]  # (D, B, 1)
    cost, times = others(paid / factor), others(hidden)
    of_all = cost.sum(-1, keepdim=True) / times.sum(-1, keepdim=True).clamp(min=1)
    number = equal_tokens(batch.codes.cpu())
    of_equal = added_up(cost, number) + PRIOR * of_all
    of_equal = of_equal / (added_up(times, number) + PRIOR)
    b = (cost + PRIOR * of_equal) / (times + PRIOR)
    b = b.nan_to_num(0.0, 0.0, 0.0)  # what paid infinitely much says nothing of other draws
    scored = by_token(batch, batch.scored)  # (B, S)
    units = scored.sum(-1, keepdim=True)
    b = b.where(units >= FEWEST, 0.0)
    share = scored / units.clamp(min=1)
    return paid - factor * b * (hidden - share * hidden.sum(-1, keepdim=True))


def by_token(batch: Batch, marked: Tensor) -> Tensor:
    """(B, S) float64, on the CPU: how many units of each token are marked (B, U)."""
    return marked.unflatten(1, (-1, batch.per_token)).sum(-1).cpu().double()


def others(values: Tensor) -> Tensor:
    """values (D, ...) added up over all draws but one."""
    return values.sum(0) - values


def equal_tokens(codes: Tensor) -> Tensor:
    """(B, S) a number for each token of each example, the same where codes (B, S) are."""
    example = torch.arange(len(codes))[:, None]
    return (example * (codes.max() + 1) + codes).unique(return_inverse=True)[1]


def added_up(values: Tensor, number: Tensor) -> Tensor:
    """values (D, B, S) added up over positions of one number (B, S), at each of them."""
    total = values.new_zeros(len(values), int(number.max()) + 1)
    return total.index_add_(1, number.flatten(), values.flatten(1))[:, number]
