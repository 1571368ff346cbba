"""The exact laws of the samplers that hide again what they revealed, on short sequences.

A state can come back, so the chain is followed time by time: p (states,) float64 is the law of z at
one time, its states those of `sampler_law`.
"""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from unmask.audit.sampler_law import (
    MAX_ENTRIES,
    moving,
    of_tokens,
    of_units,
    placed,
    start,
    targets_of,
    tokens,
    visited,
)
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.sampling.remasking import mask_probability, remask_probability, reveal_probability


@torch.no_grad()
def exact_law_remdm(
    model: MaskedDiffusion, ts: Tensor, length: int, *, eta: float, rescale: bool = False
) -> Tensor:
    """(V,) * length float64: the law of `sampling.remdm`.  ts (T + 1,): from 1 to 0."""
    p = start(model, length * model.units().length, 0)[0]
    for t, s in itertools.pairwise(ts.to(p)):
        sigma = remask_probability(model.schedule, t, s, eta, rescale=rescale)
        p = after_step(model, p, t, s, sigma)
    return of_tokens(model, p, length)


@torch.no_grad()
def exact_law_forward_backward(
    model: MaskedDiffusion, ts: Tensor, length: int, *, corrections: int = 1
) -> Tensor:
    """(V,) * length float64: the law of `sampling.forward_backward`, of a network that ignores t,
    or ValueError.  ts (T + 1,): from 1 to 0.

    ValueError where the states, by what is still to be revealed of them, are more than 2^26.
    """
    check_size(model, length * model.units().length)
    p = start(model, length * model.units().length, 0)[0]
    none = torch.zeros(1, dtype=p.dtype, device=p.device)
    for t, s in itertools.pairwise(ts.to(p)):
        p = after_step(model, p, t, s, none)
        for _ in range(corrections):
            p = after_correction(model, p, t, s)
    return of_tokens(model, p, length)


def check_size(model: MaskedDiffusion, count: int) -> None:
    """ValueError where `after_correction` would keep too many probabilities of `count` units."""
    base = model.units().base
    states, sets = (base + 1) ** count, 2**count
    if states * sets > MAX_ENTRIES:
        raise ValueError(
            f"{count} units of {base} values have {states:,} partial states, and {sets:,} sets of "
            "units that a correction has still to reveal: together more than the "
            f"{MAX_ENTRIES:,} probabilities that the exact law is limited to"
        )


@torch.no_grad()
def after_step(model: MaskedDiffusion, p: Tensor, t: Tensor, s: Tensor, sigma: Tensor) -> Tensor:
    """The law after a step of `sampling.remdm` from t to s: masked units are revealed, and those
    that were revealed before are hidden with probability sigma (K,)."""
    base = model.units().base
    after = torch.zeros_like(p)
    reveal = reveal_probability(model.schedule, t, s, sigma)
    with evaluating(model):
        for masked in itertools.product((True, False), repeat=units_of(model, p)):
            own = torch.zeros_like(p)
            for index in visited(p[None], masked, base, len(masked) * base):
                mus = tokens(model, index, masked, t, linked=True)
                target = targets_of(index, masked, base)
                own.index_add_(0, target.flatten(), moving(p[index], mus, reveal).flatten())
            after += hidden_again(own, base, sigma, [not hides for hides in masked])
    return after


@torch.no_grad()
def after_correction(model: MaskedDiffusion, p: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The law after one correction of `sampling.forward_backward`: from s to t by the forward
    process, and back in continuous time."""
    if model.uses_time or model.schedule.num_values > 1:
        raise ValueError(
            "the law in continuous time is exact for one curve for all values and a network that "
            "ignores t"
        )
    base, count = model.units().base, units_of(model, p)
    p = hidden_again(p, base, mask_probability(model.schedule, t, s), [True] * count)
    reveal = float(model.schedule.reveal(t, s)[0])
    places = [place for place, _ in placed([True] * count, base)]
    # by the set of units that are still to be revealed on the way to s, one after another in a
    # random order: the bits of its number
    law = torch.zeros(2**count, len(p), dtype=p.dtype, device=p.device)
    with evaluating(model):
        for masked in itertools.product((True, False), repeat=count):
            own = [i for i, hides in enumerate(masked) if hides]
            coming = law + p  # where anything is, or may come from above
            for index in visited(coming, masked, base, count * base):
                marginals = laws_of_units(model, index, masked)
                for number in range(len(own), -1, -1):
                    weight = reveal**number * (1 - reveal) ** (len(own) - number)
                    for some in itertools.combinations(own, number):
                        at = sum(2**i for i in some)
                        law[at, index] += weight * p[index]
                        share = law[at, index, None] / max(number, 1)
                        for i in some:
                            change = places[i] * torch.arange(-base, 0, device=p.device)
                            target = (index[:, None] + change).flatten()
                            moved = (share * marginals[own.index(i)]).flatten()
                            law[at - 2**i].index_add_(0, target, moved)
    return law[0]


def laws_of_units(model: MaskedDiffusion, index: Tensor, masked: Sequence[bool]) -> list[Tensor]:
    """Of each masked unit of the states `index` (R,), the law (R, b) of its value."""
    mus = tokens(model, index, masked, torch.ones((), device=index.device))
    return [law for mu, _ in mus for law in of_units(mu)]


def hidden_again(p: Tensor, base: int, share: Tensor, units: Sequence[bool]) -> Tensor:
    """(states,) p after each of the `units` that is revealed has been masked with probability
    `share` (K,), by its value or for all: the forward process."""
    cube = p.view([base + 1] * len(units))
    for axis, so in enumerate(units):
        if so:
            values, masked = cube.narrow(axis, 0, base), cube.narrow(axis, base, 1)
            lost = values * share.to(p).view(-1, *[1] * (len(units) - 1 - axis))
            cube = torch.cat([values - lost, masked + lost.sum(axis, keepdim=True)], axis)
    return cube.flatten()


def units_of(model: MaskedDiffusion, p: Tensor) -> int:
    """How many units a state of p has."""
    count, states = 0, 1
    while states < len(p):
        count, states = count + 1, states * (model.units().base + 1)
    return count
