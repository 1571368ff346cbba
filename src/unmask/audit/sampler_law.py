"""The exact law of the samplers on short sequences.

It takes the reverse process as a finite Markov chain over partial states.  A state gives every unit
(`MaskedDiffusion`) one of its b values or "masked": (b + 1)^U states of U units, numbered in base
b + 1.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.policies import DIRECTIONS, KEYS, changed, check_curve, first, lowest, rounded, targets
from unmask.sampling.restricted import check_restricted
from unmask.subtokens import grid

MAX_ENTRIES = 2**26  # probabilities of states at times that are kept: half a GB
CHUNK = 2**22  # numbers of one temporary tensor


class Moved(NamedTuple):
    """What may be drawn for a token with masked units."""

    mu: Tensor  # (R, b, ..., b) probabilities of those; with a leader, (R, outcomes, b, ..., b)
    # the number, among the tokens with masked units, of the one that is drawn before it and decides
    leader: int | None = None


@torch.no_grad()
def exact_law(
    model: MaskedDiffusion,
    ts: Tensor | None,
    length: int,
    *,
    weights: Mapping[int, Tensor] | None = None,
) -> Tensor:
    """(V,) * length float64: the probability of each sequence of `length` token ids.

    ts (T + 1,): times from 1 to 0 of `sampling.ancestral` (arXiv 2406.04329, equation 6).  At each
    step every token is drawn from mu(. | z, t), the tokens independently of each other (but the
    second of two linked positions given what is revealed at the first), and its masked units are
    revealed by their coins.  None: continuous time, the law of
    `sampling.first_hitting`, which reveals one unit at a time, uniformly chosen; for schedules with
    one curve and networks that ignore t.

    weights: by position, (V,) in [0, 1] by token: the law under conditions, as `filling.Filler` and
    `sampling.restricted` draw it.  What has a single value is given; what has several is drawn
    first, all such positions together, and then everything else.

    Since a step only reveals, states are left mask by mask, at all times at once: a network that
    ignores t sees each state once.  ValueError where the states at all times are more than 2^26.
    """
    if ts is None and (model.schedule.num_values > 1 or model.uses_time):
        raise ValueError(
            "the law in continuous time is exact for one curve for all values and a network that "
            "ignores t: give times"
        )
    if ts is not None and (ts[0] != 1 or ts[-1] != 0):
        raise ValueError(
            "ts must fall from 1, all masked, to 0, all revealed, "
            f"not from {float(ts[0]):g} to {float(ts[-1]):g}"
        )
    count, steps = length * model.units().length, 0 if ts is None else len(ts) - 1
    p = start(model, count, steps)
    with evaluating(model):
        if weights:
            p[0] = conditioned(model, p, ts, weights)
        reveal_all(model, p, ts, [False] * count)
    return of_tokens(model, p.sum(0), length)


def conditioned(
    model: MaskedDiffusion, p: Tensor, ts: Tensor | None, weights: Mapping[int, Tensor]
) -> Tensor:
    """(states,) the law of what is revealed first, what has `weights`, and of nothing else.

    p (steps + 1, states): that all units are masked, of which this begins.
    """
    units, states = model.units(), p.shape[1]
    count = round(math.log(states, units.base + 1))
    index, of_several = states - 1, {}
    masked, given_at = [False] * count, [False] * count
    for at, weight in weights.items():
        own = range(at * units.length, (at + 1) * units.length)
        values = weight.nonzero()[:, 0]
        if len(values) > 1:
            of_several[at] = weight.to(p)
            masked = [hidden or i in own for i, hidden in enumerate(masked)]
            continue
        given = units.digits(model.subtokenizer.code(values)[:, None])[0].tolist()
        for i, digit in zip(own, given, strict=True):
            given_at[i] = True
            index -= (units.base - digit) * (units.base + 1) ** (count - 1 - i)
    law = torch.zeros_like(p)
    law[0, index] = 1
    if not of_several:
        return law[0]
    check_restricted(model)
    stays = [not hidden and not given for hidden, given in zip(masked, given_at, strict=True)]
    if len(of_several) == 1:
        state = torch.tensor([index], device=p.device)
        moved = tokens(model, state, masked, fitting(model, masked, stays))
        reveal_some(law[0], state, masked, moved, masked, units.base, 1.0)
    else:
        reveal_all(model, law, ts, stays)
    law, fits = law.sum(0), torch.zeros(states, dtype=torch.float64, device=p.device)
    for state in visited(law[None], stays, units.base, 1):
        z = digits_of(model, unit_values(state, count, units.base))
        ids = model.subtokenizer.decode(z.masked_fill(z == model.mask_id, 0))
        fits[state] = torch.stack([one[ids[:, at]] for at, one in of_several.items()]).prod(0)
    return law * fits / (law * fits).sum()


def reveal_all(model: MaskedDiffusion, p: Tensor, ts: Tensor | None, stays: Sequence[bool]) -> None:
    """Move the probability of all states on, but for the units that are to stay masked."""
    base = model.units().base
    ways = [(False,) if stay else (True, False) for stay in stays]
    # at the time that fits what is hidden, where more is known or less is filled in than at 1
    clock = bool(p[0, -1] == 0) or any(stays)
    clock &= model.uses_time and model.schedule.num_values == 1
    # each after all that contain it
    for masked in list(itertools.product(*ways))[:-1]:
        hidden = [a or b for a, b in zip(masked, stays, strict=True)]
        t = fitting(model, masked, stays) if clock else None
        for index in visited(p, hidden, base, len(masked) * model.subtokenizer.vocab_size):
            if ts is None:
                jump(model, p[0], index, masked)
            else:
                step(model, p, index, masked, ts.to(p), t)


def fitting(model: MaskedDiffusion, masked: Sequence[bool], stays: Sequence[bool]) -> Tensor:
    """The time at which as large a share of an unconditional example is hidden."""
    share = (sum(masked) + sum(stays)) / len(masked)
    return model.schedule.inverse(torch.tensor(1 - share, dtype=torch.float64)).to(model.device)


@torch.no_grad()
def exact_law_in_order(
    model: MaskedDiffusion,
    order: str,
    shares: Tensor | None,
    length: int,
    *,
    gamma: float | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
) -> Tensor:
    """(V,) * length float64: the law of `sampling.in_order`, as `exact_law` is of the others.

    shares (T + 1,): of units that are masked after each step; None: one unit a step.  `gamma`, with
    order "entropy": the law of `sampling.entropy_bounded`.
    """
    check_curve(model, order)
    units = model.units()
    count = length * units.length
    p = start(model, count, 0)
    left = targets(torch.tensor([count]), shares)[:, 0].tolist()
    with evaluating(model):
        for masked in list(itertools.product((True, False), repeat=count))[:-1]:
            hidden = sum(masked)
            number = hidden - next(n for n in left if n < hidden)
            t = model.schedule.inverse(torch.tensor(1 - hidden / count, dtype=torch.float64))
            for index in visited(p, masked, units.base, length * units.vocab_size):
                law = (t.to(p), temperature, top_p)
                mus = [mu for mu, _ in tokens(model, index, masked, *law)]
                linked = tokens(model, index, masked, *law, linked=True)
                for chosen, rows, weight in choices(order, mus, masked, number, gamma):
                    some = [one._replace(mu=one.mu[rows]) for one in linked]
                    reveal_some(p[0], index[rows], masked, some, chosen, units.base, weight)
    return of_tokens(model, p[0], length)


def choices(
    order: str, mus: list[Tensor], masked: Sequence[bool], number: int, gamma: float | None
) -> Iterator[tuple[tuple[bool, ...], Tensor, float]]:
    """Sets of `number` masked units, or as many as `gamma` allows; the states (r,) that reveal them
    next, and how probably."""
    every = torch.arange(len(mus[0]), device=mus[0].device)
    if order == "counts":
        of_masked = [i for i, hidden in enumerate(masked) if hidden]
        for some in itertools.combinations(of_masked, number):
            weight = 1 / math.comb(len(of_masked), number)
            yield tuple(i in some for i in range(len(masked))), every, weight
        return
    hidden = torch.tensor([masked], device=every.device).expand(len(every), -1)
    measure = torch.zeros(hidden.shape, dtype=torch.float64, device=every.device)
    if order in DIRECTIONS:
        measure += -DIRECTIONS[order] * torch.arange(len(masked), device=every.device)
    else:
        laws = torch.stack([law for mu in mus for law in of_units(mu)], 1)  # (R, m, b)
        measure[hidden] = KEYS[order](laws.log()).flatten()
    if gamma is None:
        numbers = torch.full((len(every),), number, device=every.device)
        next_ones = first(rounded(measure), hidden, numbers)
    else:
        next_ones = lowest(measure, hidden, gamma)
    sets, of_state = next_ones.unique(dim=0, return_inverse=True)
    for i, chosen in enumerate(sets.tolist()):
        yield tuple(chosen), every[of_state == i], 1.0


def of_units(mu: Tensor) -> Iterator[Tensor]:
    """The law (R, b) of each of a token's masked units, from their joint one (R, b, ..., b)."""
    for axis in range(1, mu.ndim):
        others = [other for other in range(1, mu.ndim) if other != axis]
        yield mu.sum(others) if others else mu


def reveal_some(
    p: Tensor,
    index: Tensor,
    masked: Sequence[bool],
    moved: list[Moved],
    chosen: Sequence[bool],
    base: int,
    weight: float,
) -> None:
    """Move `weight` of the probability of the states `index` (R,) on, by the `chosen` units."""
    target, joint = index[:, None], weight * p[index]  # (R, then an axis for each token)
    places = placed(masked, base)
    units = iter([i for i, hidden in enumerate(masked) if hidden])
    shown: list[list[bool]] = []  # of each token, which of its masked units are chosen
    for mu, leader in moved:
        own = list(itertools.islice(units, mu.ndim - 1 - (leader is not None)))
        shown.append([chosen[i] for i in own])
        axes = [1] * (joint.ndim - 1)
        if leader is not None:
            mu = mu[:, outcomes(shown[leader], base)]
            axes[leader] = mu.shape[1]
        others = [axis - len(own) for axis, one in enumerate(shown[-1]) if not one]
        law = mu.sum(others) if others else mu
        joint = joint[..., None] * law.reshape(len(index), *axes, -1)
        for i in own:
            if chosen[i]:
                change = places[i][0] * torch.arange(-base, 0, device=p.device)
                target = (target[:, :, None] + change).flatten(1)
    p.index_add_(0, target.flatten(), joint.flatten())


def outcomes(shown: Sequence[bool], base: int) -> list[int]:
    """Among the outcomes at some units (`outcomes_of`), those that reveal these and no others."""
    values = itertools.product(*[range(base) if one else [base] for one in shown])
    return [sum(v * (base + 1) ** i for i, v in enumerate(reversed(each))) for each in values]


def start(model: MaskedDiffusion, count: int, steps: int) -> Tensor:
    """(steps + 1, states) P(state at t_i): at first all `count` units are masked.

    ValueError where these are too many.
    """
    base = model.units().base
    states = (base + 1) ** count
    if states * (steps + 1) > MAX_ENTRIES:
        raise ValueError(
            f"{count} units of {base} values have {states:,} partial states; "
            f"at {steps + 1} times that is more than the {MAX_ENTRIES:,} probabilities "
            "that the exact law is limited to"
        )
    p = torch.zeros(steps + 1, states, dtype=torch.float64, device=model.device)
    p[0, -1] = 1
    return p


def of_tokens(model: MaskedDiffusion, p: Tensor, length: int) -> Tensor:
    """(V,) * length: what has arrived, since nothing leaves a fully revealed state."""
    units = model.units()
    count = length * units.length
    final = p.view([units.base + 1] * count)[(slice(units.base),) * count]
    law = final.reshape([units.base**units.length] * length)[(slice(units.vocab_size),) * length]
    if model.codes is not None:
        for axis in range(length):
            law = law.index_select(axis, model.codes)
    return law


def visited(p: Tensor, masked: Sequence[bool], base: int, width: int) -> Iterator[Tensor]:
    """Indices (R,) of the states with these masked units that the chain reaches, in chunks.

    `width`: logits a state.
    """
    places = placed(masked, base)
    all_masked = base * sum(place for place, hidden in places if hidden)
    index = torch.full((1,), all_masked, device=p.device)
    for place, hidden in places:
        if not hidden:
            index = (index[:, None] + place * torch.arange(base, device=p.device)).flatten()
    index = index[p[:, index].any(0)]
    if not len(index):
        return
    yield from index.split(max(1, CHUNK // max(width, (base + 1) ** sum(masked))))


def placed(masked: Sequence[bool], base: int) -> list[tuple[int, bool]]:
    """What each unit's value counts for in the number of a state, and whether it is masked."""
    return [((base + 1) ** (len(masked) - 1 - i), hidden) for i, hidden in enumerate(masked)]


def step(
    model: MaskedDiffusion,
    p: Tensor,
    index: Tensor,
    masked: Sequence[bool],
    ts: Tensor,
    shown: Tensor | None = None,
) -> None:
    """Move the probability of the states `index` (R,) on: p[i + 1] += p[i] times the transition.

    At every step i, by the transition at t_i; the network is `shown` that time, or this one.
    """
    target, mus = targets_of(index, masked, model.units().base), list[Moved]()
    for i, (t, s) in enumerate(itertools.pairwise(ts)):
        if model.uses_time or not mus:
            mus = tokens(model, index, masked, t if shown is None else shown, linked=True)
        moved = moving(p[i, index], mus, model.schedule.reveal(t, s))
        p[i + 1].index_add_(0, target.flatten(), moved.flatten())


def targets_of(index: Tensor, masked: Sequence[bool], base: int) -> Tensor:
    """(R, outcomes) the states after all outcomes at the masked units of the states `index` (R,),
    each of them a value or, the last, still masked."""
    change = torch.arange(-base, 1, device=index.device)  # 0: stays masked
    target = index[:, None]
    for place, hidden in placed(masked, base):
        if hidden:
            target = (target[:, :, None] + place * change).flatten(1)
    return target


def moving(p: Tensor, mus: Sequence[Moved], reveal: Tensor) -> Tensor:
    """(R, an axis of outcomes for each token): the probabilities p (R,) of states, times those of
    what is drawn in a step and revealed by coins, `reveal` (K,)."""
    joint = p
    for one in mus:
        axes = [1] * (joint.ndim - 1)
        outcomes = one.mu.flatten(0, 1) if one.leader is not None else one.mu
        moves = revealing(outcomes, reveal).flatten(1)
        if one.leader is not None:
            axes[one.leader] = one.mu.shape[1]
        joint = joint[..., None] * moves.view(len(p), *axes, moves.shape[-1])
    return joint


def revealing(mu: Tensor, reveal: Tensor) -> Tensor:
    """mu (R, b, ..., b) of a token's masked units -> (R, b + 1, ..., b + 1).

    Each is revealed at its value, or (last) still masked.
    """
    for axis in range(1, mu.ndim):
        r = reveal.view(-1, *[1] * (mu.ndim - 1 - axis))
        mu = torch.cat([mu * r, (mu * (1 - r)).sum(axis, keepdim=True)], axis)
    return mu


def jump(model: MaskedDiffusion, p: Tensor, index: Tensor, masked: Sequence[bool]) -> None:
    """Continuous time: the states `index` (R,) are left by revealing one masked unit.

    Each is as likely as the others.
    """
    base, share = model.units().base, p[index, None] / sum(masked)
    places = (place for place, hidden in placed(masked, base) if hidden)
    for mu, _ in tokens(model, index, masked, torch.ones((), device=p.device)):
        for marginal in of_units(mu):
            target = index[:, None] + next(places) * torch.arange(-base, 0, device=p.device)
            p.index_add_(0, target.flatten(), (share * marginal).flatten())


def tokens(
    model: MaskedDiffusion,
    index: Tensor,
    masked: Sequence[bool],
    t: Tensor,
    temperature: float = 1.0,
    top_p: float = 1.0,
    *,
    linked: bool = False,
) -> list[Moved]:
    """mu of each token with masked units; `linked`: of the second of two linked ones that are both
    masked, for everything that may be revealed at the first in the same step."""
    units, digits = model.units(), model.subtokenizer.length
    state = unit_values(index, len(masked), units.base)
    z = digits_of(model, state)
    rows, head = model.hidden(z, t.expand(len(z)))
    found: list[Moved] = []
    number: dict[int, int] = {}  # of the positions with masked units, among those
    row = torch.arange(len(index), device=index.device)
    for n in range(len(masked) // units.length):
        inside = masked[n * units.length : (n + 1) * units.length]
        if not any(inside):
            continue
        position = torch.full_like(index, n)
        seen = z.unflatten(1, (-1, digits))[:, n]
        logp = model.log_probs(
            head(rows[:, n]).double(), seen, position, model.open_groups(z, row, position)
        )

        def probabilities(logp: Tensor, inside: Sequence[bool] = inside) -> Tensor:
            logp = changed(logp, temperature, top_p)
            mu = grid(logp, units.base, units.length).exp()
            # one value each, by carry-over
            known = [axis + 1 for axis, hides in enumerate(inside) if not hides]
            return mu.sum(known) if known else mu

        leader = None
        if linked and model.later is not None and bool(model.later[n]):
            leader = number.get(int(model.partner[n]))
        number[n] = len(found)
        if leader is None:
            found.append(Moved(probabilities(logp)))
            continue
        first = int(model.partner[n])
        given = []
        lead = range(first * units.length, (first + 1) * units.length)
        for after in outcomes_of(state, [i for i in lead if masked[i]], units.base):
            groups = model.open_groups(digits_of(model, after), row, position)
            assert groups is not None
            within = logp.masked_fill(~groups[:, model.by_code(model.group)], -torch.inf)
            # an outcome that cannot be leaves nothing, and is of probability zero
            given.append(probabilities(within.log_softmax(-1)).nan_to_num(nan=0.0))
        found.append(Moved(torch.stack(given, 1), leader))
    return found


def unit_values(index: Tensor, count: int, base: int) -> Tensor:
    """(R, U) the values of the units of states (R,), `base` being masked."""
    places = [place for place, _ in placed([True] * count, base)]
    return index[:, None] // torch.tensor(places, device=index.device) % (base + 1)


def digits_of(model: MaskedDiffusion, state: Tensor) -> Tensor:
    """z (R, S*L) of states (R, U) of units, `base` being masked."""
    units, digits = model.units(), model.subtokenizer.length
    if units.length == digits:
        return state
    hidden = state == units.base
    of_digits = model.subtokenizer.digits(state.masked_fill(hidden, 0))
    return of_digits.masked_fill(hidden.repeat_interleave(digits, 1), model.mask_id)


def outcomes_of(state: Tensor, units: Sequence[int], base: int) -> Iterator[Tensor]:
    """States (R, U) after each outcome at these units, which are masked, in the order of an axis of
    base + 1 for each of them, the last: still masked."""
    for values in itertools.product(range(base + 1), repeat=len(units)):
        after = state.clone()
        for unit, value in zip(units, values, strict=True):
            after[:, unit] = value
        yield after
