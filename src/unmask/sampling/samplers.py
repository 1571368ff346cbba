"""Samplers: generators of the states z of the reverse process.

A sampler takes a partly masked state z (B, S*L), never changes what is revealed in it, and yields a
new tensor for every interval of `ts`, any decreasing times.  Filling in is therefore not a sampler
of its own: it starts from a z with holes.  `drawn` is told how probable each value was when it was
drawn; the last it is told of a position counts.  Those here reveal and never hide; `remasking` has
the others.
"""

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Unpack

import torch
from torch import Tensor

from unmask.config import Sampling, check_gamma
from unmask.diffusion import MaskedDiffusion
from unmask.policies import check_curve, check_order, first, lowest, measured, rounded, targets
from unmask.sampling.state import How, State


@torch.no_grad()
def ancestral(
    model: MaskedDiffusion, z: Tensor, ts: Tensor, **how: Unpack[How]
) -> Iterator[Tensor]:
    """The reverse process on the grid `ts` (arXiv 2406.04329, equation 6): draw a token, reveal it
    with probability reveal(t, s).

    The coins are flipped first, so the network sees only sequences, and its head only rows, in
    which something may be revealed: the same law.  With one curve per value the coins are flipped
    at the largest probability and kept at that of the value drawn.  Digits of one token are
    revealed by their own coins, from one draw of the token.
    """
    state = State(model, z, ts, **how)
    for t, s in itertools.pairwise(state.ts):
        ancestral_step(state, t, s)
        yield state.z.clone()


def ancestral_step(state: State, t: Tensor, s: Tensor) -> None:
    """From t to s."""
    reveal = state.model.schedule.reveal(t, s)  # (K,)
    masked = state.masked()
    coin = state.uniform(*masked.shape)
    state.reveal(masked & (coin < reveal.max()), t.expand(len(masked)), coin, reveal)


@torch.no_grad()
def first_hitting(
    model: MaskedDiffusion, z: Tensor, ts: Tensor | None = None, **how: Unpack[How]
) -> Iterator[Tensor]:
    """The continuous-time reverse process, exactly: one unit at a time, at its hitting time (arXiv
    2409.02908).

    From n masked units, u = 1 - alpha falls to u r^(1/n), r ~ U(0, 1), and one of them, uniformly
    chosen, is revealed.  At most as many network calls as masked units, whatever `ts` (default
    (1, 0)), at whose times the states are yielded.  One curve for all values only, else ValueError.
    """
    check_hitting(model, "first_hitting")
    ts = torch.tensor([1.0, 0.0]) if ts is None else ts
    state = State(model, z, ts, **how)
    u = next_hit(state, model.schedule.masked(state.ts[0]).expand(len(z)))
    for s in state.ts[1:]:
        u = hit_until(state, u, s)
        yield state.z.clone()


def check_hitting(model: MaskedDiffusion, sampler: str) -> None:
    """ValueError for one curve per value."""
    if model.schedule.num_values > 1:
        raise ValueError(
            f"{sampler} needs a schedule with one curve for all values: with one curve per "
            "value, when a position is revealed depends on the value, which is not drawn yet; use "
            'sampler="ancestral"'
        )


def next_hit(state: State, u: Tensor, rows: Tensor | None = None) -> Tensor:
    """(B,) 1 - alpha at the next hitting times after u (B,), of `rows` (B,) bool."""
    left = state.masked().sum(-1)
    r = 1 - state.uniform(len(u), rows=rows)
    return u * r ** (1 / left.clamp(min=1))


def hit_until(state: State, u: Tensor, s: Tensor) -> Tensor:
    """Reveal units one at a time down to s, the next ones at u (B,), see `next_hit`; returns the
    first u after s."""
    schedule = state.model.schedule
    while True:
        masked = state.masked()
        active = masked.any(-1) & ((u > schedule.masked(s)) | (s == 0))
        if not bool(active.any()):
            return u
        score = state.uniform(*masked.shape, rows=active)
        chosen = score.masked_fill(~masked, -1.0).argmax(-1, keepdim=True)
        one = torch.zeros_like(masked).scatter_(1, chosen, active[:, None])
        state.reveal(one, schedule.inverse(1 - u), rows=active)
        u = torch.where(active, next_hit(state, u, active), u)


@torch.no_grad()
def in_order(
    model: MaskedDiffusion,
    z: Tensor,
    ts: Tensor | None = None,
    *,
    order: str = "counts",
    **how: Unpack[How],
) -> Iterator[Tensor]:
    """Exact numbers of units at a step, in an order that is a function of what is revealed.

    After the step to s, the share 1 - alpha_s of the n masked units with which a sequence begins is
    still masked, rounded; `ts` None: one unit a step.  `order`: one of `policies.ORDERS`, whose
    likelihood is known exactly (`likelihood.Path`); or "counts", uniformly chosen (`Counts`).  The
    units of a step are drawn given the state before it, those of one token jointly.  One curve for
    all values only, else ValueError.
    """
    check_curve(model, order)
    if order != "counts":
        check_order(order)
    times = torch.tensor([1.0, 0.0]) if ts is None else ts
    state = State(model, z, times, **how)
    shares = None if ts is None else model.schedule.masked(state.ts)[:, 0]
    for target in targets(state.masked().sum(-1), shares):
        masked = state.masked()
        number = (masked.sum(-1) - target).clamp(min=0)
        active, t, seen = number > 0, state.fitting(), None
        if order == "counts":
            key = state.uniform(*masked.shape, rows=active)
        elif not bool(active.any()):
            key = masked.double()  # of which none is taken
        else:
            seen = state.look(active.nonzero()[:, 0], t)
            log_probs = partial(state.log_probs, seen)
            key = rounded(measured(model, order, masked & active[:, None], log_probs))
        state.reveal(first(key, masked, number), t, rows=active, seen=seen)
        yield state.z.clone()


@torch.no_grad()
def entropy_bounded(
    model: MaskedDiffusion,
    z: Tensor,
    ts: None = None,
    *,
    gamma: float = Sampling.gamma,
    **how: Unpack[How],
) -> Iterator[Tensor]:
    """As many units at a step as depend on each other by at most `gamma` nats, those of the lowest
    entropy first (EB-Sampler, arXiv 2505.24857): see `policies.lowest`.

    A function of what is revealed, like the orders of `in_order`, so its likelihood is known
    exactly, too (`likelihood.Path`).  gamma 0: one unit a step, in order of "entropy", and with it
    those whose values are certain; a large one: everything at once.  It has
    no times: a step belongs to a sequence, and one that is whole costs no more.  Entropies are
    those of what is drawn, at its temperature and of its nucleus.  One curve for all values only,
    else ValueError.
    """
    check_curve(model, "entropy-bounded")
    if ts is not None:
        raise ValueError("the steps of entropy-bounded follow from gamma: leave ts out")
    check_gamma(gamma)
    state = State(model, z, torch.tensor([1.0, 0.0]), **how)
    masked = state.masked()
    while bool((active := masked.any(-1)).any()):
        t = state.fitting()
        seen = state.look(active.nonzero()[:, 0], t)
        entropies = measured(model, "entropy", masked, partial(state.log_probs, seen))
        chosen = lowest(entropies, masked, gamma)
        state.reveal(chosen, t, rows=active, seen=seen)
        yield state.z.clone()
        masked = state.masked()
