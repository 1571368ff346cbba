"""The one formula: what the masked units of a row pay, given log mu of its tokens.

In continuous and in discrete time.
"""

import itertools

import torch
from torch import Tensor

from unmask.subtokens import grid


def continuous(
    logp: Tensor, y: Tensor, masked: Tensor, base: int, power: Tensor | None = None
) -> Tensor:
    """(R,) sum over masked units of CE.

    With one power per value, of power_y (CE - 1) + sum_v power_v mu_v.

    A unit's mu is its marginal over the tokens of log mu (R, V); in continuous time one unit is
    revealed at an instant, so each pays its own marginal cross-entropy (arXiv 2406.04329, equations
    4 and 9; for digits, theirs after arXiv 2505.18495 was corrected in May 2026).
    """
    length = y.shape[1]
    cube = grid(logp, base, length)
    total = logp.new_zeros(len(logp))
    for j in range(length):
        true = at_digit(cube, y, j).flatten(1)
        nats = -(true[:, 0] if length == 1 else true.logsumexp(-1))
        if power is not None:
            mu = cube.exp()
            if length > 1:
                mu = mu.sum([i + 1 for i in range(length) if i != j])
            power = power.to(mu)
            # not a product of matrices, which autocast would round
            nats = power[y[:, j]] * (nats - 1) + (mu * power).sum(-1)
        total = total + torch.where(masked[:, j], nats, 0.0)
    return total


def at_digit(cube: Tensor, y: Tensor, j: int) -> Tensor:
    """The slice of (R, b, ..., b) at each row's digit j; that axis stays, of length 1."""
    return cube.take_along_dim(y[:, j].view(-1, *[1] * y.shape[1]), j + 1)


def discrete(logp: Tensor, y: Tensor, masked: Tensor, reveal: Tensor, base: int) -> Tensor:
    """(R,) nats of one discrete step: KL of the true reverse step from the model's.

    reveal: (R or 1, K).  The model draws one token and reveals its masked digits by their own
    coins.  Sum over the sets A of digits that can be revealed: q(A) [ -log sum over tokens with y_A
    of mu prod_{masked, not in A} (1 - r_v) + sum_{masked, not in A} log(1 - r_y) ].

    The sum is P_A (1 - loss): P_A that of mu alone, which is 1 for the empty set, and loss the mean
    under mu given y_A of 1 - prod (1 - r_v).  In fine steps the loss is tiny and its difference
    from sum log(1 - r_y) is all that is paid, so it is formed without the 1, which would round it
    away.
    """
    length = y.shape[1]
    cube = grid(logp, base, length)
    scalar = reveal.shape[-1] == 1
    # finite: where r = 1, q(A) = 0 for every A that leaves one masked
    almost = 1 - torch.finfo(reveal.dtype).eps / 2
    stay = torch.log1p(-reveal.clamp(max=almost)).to(logp)
    reveal = reveal.to(logp).expand(len(logp), -1)
    hit = (reveal if scalar else reveal.gather(1, y)) * masked  # (R, l)
    total = logp.new_zeros(len(logp))
    for revealed in itertools.product((False, True), repeat=length):
        if scalar and not any(revealed):
            continue  # log of the sum over all tokens = 0
        part, q, nats = cube, logp.new_ones(len(logp)), logp.new_zeros(len(logp))
        kept = logp.new_zeros(len(logp), *[1] * length)  # log of the product of 1 - r_v
        for j, shown in enumerate(revealed):
            if shown:
                part = at_digit(part, y, j)
                q = q * hit[:, j]
                continue
            q = q * (1 - hit[:, j])
            if not scalar:
                cost = stay.expand(len(logp), -1) * masked[:, j, None]  # (R, b)
                kept = kept + cost.view(-1, *[1] * j, base, *[1] * (length - 1 - j))
                nats = nats + cost.gather(1, y[:, j, None])[:, 0]
        if any(revealed):
            of_mu = part.flatten(1).logsumexp(-1)
            nats = nats - of_mu
            part = part - of_mu.view(-1, *[1] * length)
        if not scalar:
            loss = -(part.exp() * kept.expm1()).flatten(1).sum(-1)
            coarse = (part + kept).flatten(1).logsumexp(-1)
            nats = nats - torch.where(loss < 0.5, torch.log1p(-loss.clamp(max=0.5)), coarse)
        total = total + q * nats
    return total
