"""Samplers: generators of the states z of the reverse process.

A sampler takes a partly masked state z (B, S*L), never changes what is revealed in it, and yields a
new tensor for every interval of `ts`, any decreasing times.  Filling in is therefore not a sampler
of its own: it starts from a z with holes.  `drawn` is told how probable each value was when it was
drawn; the last it is told of a position counts.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from unmask.diffusion import MaskedDiffusion
from unmask.policies import ORDERS, check_curve, check_order, first, keys, targets
from unmask.sampling.state import Drawn, Generator, Guidance, State


@torch.no_grad()
def ancestral(
    model: MaskedDiffusion,
    z: Tensor,
    ts: Tensor,
    *,
    cond: Tensor | None = None,
    valid: Tensor | None = None,
    ends: Tensor | None = None,
    holes: Tensor | None = None,
    generator: Generator = None,
    temperature: float = 1.0,
    guidance: Guidance | None = None,
    drawn: Drawn | None = None,
) -> Iterator[Tensor]:
    """The reverse process on the grid `ts` (arXiv 2406.04329, equation 6): draw a token, reveal it
    with probability reveal(t, s).

    The coins are flipped first, so the network sees only sequences, and its head only rows, in
    which something may be revealed: the same law.  With one curve per value the coins are flipped
    at the largest probability and kept at that of the value drawn.  Digits of one token are
    revealed by their own coins, from one draw of the token.
    """
    how = (generator, temperature, guidance, drawn)
    state = State(model, z, ts, cond, valid, ends, holes, *how)
    for t, s in zip(state.ts[:-1], state.ts[1:], strict=True):
        reveal = model.schedule.reveal(t, s)  # (K,)
        masked = state.masked()
        coin = state.uniform(*masked.shape)
        state.reveal(masked & (coin < reveal.max()), t.expand(len(z)), coin, reveal)
        yield state.z.clone()


@torch.no_grad()
def first_hitting(
    model: MaskedDiffusion,
    z: Tensor,
    ts: Tensor | None = None,
    *,
    cond: Tensor | None = None,
    valid: Tensor | None = None,
    ends: Tensor | None = None,
    holes: Tensor | None = None,
    generator: Generator = None,
    temperature: float = 1.0,
    guidance: Guidance | None = None,
    drawn: Drawn | None = None,
) -> Iterator[Tensor]:
    """The continuous-time reverse process, exactly: one unit at a time, at its hitting time (arXiv
    2409.02908).

    From n masked units, u = 1 - alpha falls to u r^(1/n), r ~ U(0, 1), and one of them, uniformly
    chosen, is revealed.  At most as many network calls as masked units, whatever `ts` (default
    (1, 0)), at whose times the states are yielded.  One curve for all values only, else ValueError.
    """
    if model.schedule.num_values > 1:
        raise ValueError(
            "first_hitting needs a schedule with one curve for all values: with one curve per "
            "value, when a position is revealed depends on the value, which is not drawn yet; use "
            'sampler="ancestral"'
        )
    ts = torch.tensor([1.0, 0.0]) if ts is None else ts
    how = (generator, temperature, guidance, drawn)
    state = State(model, z, ts, cond, valid, ends, holes, *how)

    def hit(u: Tensor, left: Tensor, rows: Tensor | None = None) -> Tensor:
        r = 1 - state.uniform(len(u), rows=rows)
        return u * r ** (1 / left.clamp(min=1))

    left = state.masked().sum(-1)
    u = hit(model.schedule.masked(state.ts[0]).expand(len(z)), left)
    for s in state.ts[1:]:
        while bool((active := (left > 0) & ((u > model.schedule.masked(s)) | (s == 0))).any()):
            masked = state.masked()
            score = state.uniform(*masked.shape, rows=active)
            chosen = score.masked_fill(~masked, -1.0).argmax(-1, keepdim=True)
            one = torch.zeros_like(masked).scatter_(1, chosen, active[:, None])
            state.reveal(one, model.schedule.inverse(1 - u), rows=active)
            left = left - active.long()
            u = torch.where(active, hit(u, left, active), u)
        yield state.z.clone()


@torch.no_grad()
def in_order(
    model: MaskedDiffusion,
    z: Tensor,
    ts: Tensor | None = None,
    *,
    order: str = "counts",
    cond: Tensor | None = None,
    valid: Tensor | None = None,
    ends: Tensor | None = None,
    holes: Tensor | None = None,
    generator: Generator = None,
    temperature: float = 1.0,
    guidance: Guidance | None = None,
    drawn: Drawn | None = None,
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
    how = (generator, temperature, guidance, drawn)
    state = State(model, z, times, cond, valid, ends, holes, *how)
    shares = None if ts is None else model.schedule.masked(state.ts)[:, 0]
    for target in targets(state.masked().sum(-1), shares):
        masked = state.masked()
        number = (masked.sum(-1) - target).clamp(min=0)
        active, t, seen = number > 0, state.fitting(), None
        if order == "counts":
            key = state.uniform(*masked.shape, rows=active)
        else:
            seen = state.look(active.nonzero()[:, 0], t)
            key = keys(model, order, masked & active[:, None], partial(state.log_probs, seen))
        state.reveal(first(key, masked, number), t, rows=active, seen=seen)
        yield state.z.clone()


SAMPLERS: dict[str, Callable[..., Iterator[Tensor]]] = {  # the names of `config.SamplerName`
    "ancestral": ancestral,
    "first_hitting": first_hitting,
    **{name: partial(in_order, order=name) for name in ("counts", *ORDERS)},
}
