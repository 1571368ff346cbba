"""Samplers that hide again what they have revealed, so that an early draw can be mended.

What is given never changes: only what a sampler has filled in itself is hidden.  See `samplers`.
"""

import itertools
from collections.abc import Iterator
from typing import Unpack

import torch
from torch import Tensor

from unmask.config import Sampling
from unmask.diffusion import MaskedDiffusion
from unmask.sampling.samplers import ancestral_step, check_hitting, hit_until, next_hit
from unmask.sampling.state import How, State
from unmask.schedules import Schedule

TINY = torch.finfo(torch.float64).tiny


@torch.no_grad()
def remdm(
    model: MaskedDiffusion,
    z: Tensor,
    ts: Tensor,
    *,
    rescale: bool = False,
    eta: float = Sampling.eta,
    **how: Unpack[How],
) -> Iterator[Tensor]:
    """ReMDM (arXiv 2503.00307) on the grid `ts`: in the step from t to s, what is revealed is
    hidden again with probability sigma, and what is masked is revealed so much more often that each
    unit is masked at s with the probability 1 - alpha_s that it has in the forward process.

    `eta`: see `remask_probability`; 0 is `ancestral`, draw for draw.  Where the network is right,
    every unit's chance of being masked stays right at any eta, and the samples follow the data as
    steps get finer: of two tokens as far off as one over their number, if eta falls with them, and
    as one over its root at a fixed eta, since what is hidden together may be drawn together.  With
    one curve per value, sigma is the value's.  A digit is hidden on its own.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie between 0 and 1, not {eta}")
    state = State(model, z, ts, **how)
    for t, s in itertools.pairwise(state.ts):
        sigma = remask_probability(model.schedule, t, s, eta, rescale=rescale)
        reveal = reveal_probability(model.schedule, t, s, sigma)
        masked, revealed = state.masked(), state.revealed()
        coin = state.uniform(*masked.shape)
        again = revealed & (coin < state.of_values(sigma))
        # both by the state at t: what is revealed now is not hidden in the same step
        state.reveal(masked & (coin < reveal.max()), t.expand(len(z)), coin, reveal)
        state.hide(again)
        yield state.z.clone()


def remask_probability(
    schedule: Schedule, t: Tensor, s: Tensor, eta: float, *, rescale: bool
) -> Tensor:
    """(K,) sigma: with which probability a revealed unit is hidden in the step from t to s.

    At most min(1, (1 - alpha_s) / alpha_t), or more would be masked at s than the forward process
    masks.  `eta` caps it; with `rescale`, it is its share of that (arXiv 2503.00307).
    """
    masked = schedule.masked(s)
    most = masked / torch.maximum(schedule.alpha(t), masked).clamp(min=TINY)  # 0 at s = 0
    return eta * most if rescale else most.clamp(max=eta)


def reveal_probability(schedule: Schedule, t: Tensor, s: Tensor, sigma: Tensor) -> Tensor:
    """(K,) (alpha_s - (1 - sigma) alpha_t) / (1 - alpha_t): with which probability a masked unit is
    revealed in a step in which revealed ones are hidden with probability sigma (K,)."""
    again = sigma * schedule.alpha(t) / schedule.masked(t)
    return (schedule.reveal(t, s) + again).clamp(max=1)


@torch.no_grad()
def forward_backward(
    model: MaskedDiffusion,
    z: Tensor,
    ts: Tensor,
    *,
    corrections: int = Sampling.corrections,
    **how: Unpack[How],
) -> Iterator[Tensor]:
    """`ancestral`, each step of which from t to s is followed by `corrections`: back to t by the
    forward process, which masks what is revealed with probability 1 - alpha_t / alpha_s, and to s
    again (a forward-backward corrector, as those of arXiv 2205.14987).

    The way to s is that of `first_hitting`, one unit at a time, so that a correction is exact:
    where the network is right, it leaves the law of z_s as it is, and brings any other no farther
    from it (in Kullback-Leibler divergence, as every kernel that leaves a law as it is does).  The
    price: on average one call a unit that the step reveals, and from t = 1, where all is masked
    again, `first_hitting` down to s.  One curve for all values only, else ValueError.
    """
    check_hitting(model, "forward-backward")
    if corrections < 1:
        raise ValueError(f"corrections must be at least 1, not {corrections}")
    state = State(model, z, ts, **how)
    for t, s in itertools.pairwise(state.ts):
        ancestral_step(state, t, s)
        for _ in range(corrections):
            revealed = state.revealed()
            coin = state.uniform(*revealed.shape)
            state.hide(revealed & (coin < mask_probability(model.schedule, t, s)))
            u = next_hit(state, model.schedule.masked(t).expand(len(z)))
            hit_until(state, u, s)
        yield state.z.clone()


def mask_probability(schedule: Schedule, t: Tensor, s: Tensor) -> Tensor:
    """(K,) 1 - alpha_t / alpha_s: with which probability the forward process masks, from s to
    t > s, what is not masked at s."""
    return schedule.reveal(t, s) * schedule.masked(t) / schedule.alpha(s)
