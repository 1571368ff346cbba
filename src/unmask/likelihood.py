"""A model's bound on held-out data, and other readings of its likelihood."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.batch import Batch, inputs
from unmask.categorical import uniform
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.estimate import Estimate, errors, steadied
from unmask.masks import BLOCK, Draw, Uniforms, of_examples, split_repeats
from unmask.processes import ALONE, Processes
from unmask.roles import ABSENT, GIVEN, SCORED, UNKNOWN


def estimate_nelbo(
    model: MaskedDiffusion,
    batches: Iterable[Tensor | dict],
    *,
    repeats: int = 8,
    steps: int | None = None,
    masking: str | None = None,
    seed: int = 0,
    by_position: bool | Sequence[int] = False,
    finite: bool = True,
    processes: Processes = ALONE,
) -> Estimate:
    """The bound over all examples of `batches`, tensors x (B, S) or dicts with x and optionally
    cond, ends, and valid or role; `repeats` draws each.

    It bounds -log p(what is scored | what is given), see `roles`, whatever objective the model was
    trained with.  `steps`, `masking`: see `MaskedDiffusion.nelbo`.  The draws of an example are
    those of (seed, its number), whatever the batches and the device.  A dict may also have "group"
    (B,) int64: examples of one number are not independent, see `errors`.

    `by_position`, for examples of one length: also how much of the mean is paid at each position,
    that is, what its token costs on average over the random orders in which tokens are revealed.
    A number for each position: of those of one number together.

    `processes` share the batches, which all of them see; each gets the whole estimate.

    ValueError for no examples.
    FloatingPointError for a bound that is not finite, unless `finite` is False: an audit judges it.
    """
    if isinstance(batches, Tensor | dict):
        raise ValueError(
            "batches must be a list or another iterable of batches: for one batch, pass [x]"
        )
    replicates, of_each = split_repeats(repeats)
    found = []  # of each batch: nats and picks (repeats, B, ...), positions and groups (B,)
    with evaluating(model), torch.no_grad():
        for batch, numbers, group in numbered(model, batches, masking, processes):
            spare = not len(numbers)
            if spare:
                numbers = np.arange(len(batch.y))  # any
            nats, picks = [], []  # an entry for each draw
            for uniforms in draws_of(numbers, batch, seed, replicates, of_each):
                draw = model.draw(batch, steps, uniforms=uniforms)
                paid = model.score_units(batch, draw)[1].sum(-1)  # (B, S)
                if not isinstance(by_position, bool):
                    paid = added(paid, by_position)
                nats.append((paid.sum(1) if by_position is False else paid).cpu())
                picks.append(uniforms.pick.cpu())
            if not spare:
                positions = batch.positions.cpu()
                found.append((torch.stack(nats), torch.stack(picks), positions, group))
    found = processes.gather(found)
    if not found:
        raise ValueError("there are no examples to evaluate")
    all_nats, all_picks, all_positions, all_groups = zip(*found, strict=True)
    positions, groups = torch.cat(all_positions), joined(all_groups)  # (n,)
    if not positions.any():
        raise ValueError("there are examples, and none of them has a position that is scored")
    draws, pick = torch.cat(all_nats, 1), torch.cat(all_picks, 1)  # (repeats, n, ...)
    unknown = ~draws.isfinite().transpose(0, 1).flatten(1).all(1)
    if finite and bool(unknown.any()):
        raise FloatingPointError(
            f"the bound of {int(unknown.sum())} of {len(positions)} examples is not finite: what "
            "the network says is not, or its weights are not"
        )

    def per_replicate(values: Tensor) -> Tensor:
        return values.unflatten(0, (replicates, of_each)).mean(1)

    of_positions = None
    if by_position is not False:
        values, steady = per_replicate(draws), per_replicate(steadied(draws, pick, positions))
        of_positions = torch.stack([values.mean((0, 1)), errors(values, groups, steady)[0]], -1)
        draws = draws.sum(-1)
    return Estimate(
        per_replicate(draws),
        positions,
        repeats=repeats,
        steps=steps,
        masking=masking or model.masking,
        seed=seed,
        groups=groups,
        steady=per_replicate(steadied(draws, pick, positions)),
        by_position=of_positions,
    )


def added(paid: Tensor, number: Sequence[int]) -> Tensor:
    """paid (B, S) added up over the positions of one number: (B, numbers)."""
    which = torch.as_tensor(list(number), device=paid.device)
    return paid.new_zeros(len(paid), int(which.max()) + 1).index_add_(1, which, paid)


def numbered(
    model: MaskedDiffusion,
    batches: Iterable[Tensor | dict],
    masking: str | None = None,
    processes: Processes = ALONE,
) -> Iterator[tuple[Batch, np.ndarray, Tensor | None]]:
    """Clean batches on the model's device, the numbers (B,) of their examples, counted from 0, and
    their groups.

    Of several processes, those that are this one's; and, where it has none in the last round, the
    last once more, with no numbers, since what is called together has to be called by all.
    """
    size = processes.size
    done = i = 0
    batch: Tensor | dict = {}
    for i, batch in enumerate(batches, 1):
        rows = len(inputs(batch)["x"])
        if (i - 1) % size == processes.rank:
            clean = model.clean(**inputs(batch, model.device), masking=masking)
            group = batch.get("group") if isinstance(batch, dict) else None
            yield clean, np.arange(done, done + rows), group
        done += rows
    if 0 < i % size <= processes.rank:
        yield model.clean(**inputs(batch, model.device), masking=masking), np.arange(0), None


def draws_of(
    numbers: Sequence[int] | np.ndarray, batch: Batch, seed: int, replicates: int, of_each: int
) -> Iterator[Uniforms]:
    """The uniforms of the examples with these numbers (B,), draw by draw: `of_each` draws of the
    first replicate, then of the next."""
    units, device = batch.y.shape[1], batch.y.device
    for replicate, repeat in itertools.product(range(replicates), range(of_each)):
        which = {"replicate": replicate, "repeat": repeat, "repeats": of_each}
        yield of_examples(numbers, units, seed=seed, device=device, **which)


def joined(groups: Sequence[Tensor | None]) -> Tensor | None:
    """(n,) the groups of all batches, or None if some have none."""
    known = [group for group in groups if group is not None]
    return torch.cat(known) if len(known) == len(groups) else None


# ---------------------------------------------------------------- orders


@torch.no_grad()
def order_nats(model: MaskedDiffusion, batch: Batch, rank: Tensor, *, states: int = 64) -> Tensor:
    """(B,) float64 nats, on the CPU: -log p(x | order), units being revealed one at a time, that of
    the least `rank` (B, U) first.

    One state goes through the network for every scored unit, `states` of them at a time.

    The model that reveals one unit at a time in a uniformly random order is the continuous-time
    one, whatever its scalar schedule, if its network does not look at t (arXiv 2406.04329, section
    4): p(x) = mean over orders of p(x | order).  ValueError for a network that looks at t, or one
    curve per value.
    """
    check_orders(model)
    device, per_token = batch.y.device, batch.per_token
    rank = rank.to(device)
    b, unit = batch.scored.nonzero(as_tuple=True)
    position, digit = unit // per_token, unit % per_token
    nats = torch.zeros(len(b), dtype=torch.float64, device=device)
    t = torch.ones((), device=device)  # any: the network does not look at it
    with evaluating(model):
        for first in range(0, len(b), states):
            part = slice(first, first + states)
            some, s = batch.take(b[part]), position[part]
            not_before = rank[b[part]] >= rank[b[part], unit[part], None]  # the unit itself, too
            z = model.masked(some, not_before & some.scored)
            hidden, head = model.hidden(z, t, **some.told)
            row = torch.arange(len(z), device=device)
            digits = z.unflatten(1, (-1, model.subtokenizer.length))[row, s]
            logp = model.log_probs(head(hidden[row, s]), digits, s, model.open_groups(z, row, s))
            only = torch.arange(per_token, device=device) == digit[part, None]
            y = some.y.unflatten(1, (-1, per_token))[row, s]
            nats[part] = model.nats(logp, y, only).double()
    total = torch.zeros(len(batch.y), dtype=torch.float64, device=device)
    return total.index_add_(0, b, nats).cpu()


def check_orders(model: MaskedDiffusion) -> None:
    """ValueError for a model whose p(x) is not the mean of p(x | order) over orders."""
    if model.uses_time or model.schedule.num_values > 1:
        raise ValueError(
            "orders can be scored for a network that does not look at t, and a schedule with one "
            "curve for all values"
        )


def estimate_orders(
    model: MaskedDiffusion,
    batches: Iterable[Tensor | dict],
    *,
    orders: int = 8,
    seed: int = 0,
    processes: Processes = ALONE,
) -> tuple[Estimate, Estimate]:
    """Two bounds from the same K = `orders` random orders of each example: that of their mean,
    -log (1/K) sum p(x | order), and the mean of theirs, (1/K) sum -log p(x | order).

    The first is tighter, more so with more orders, and as valid: the orders do not depend on x
    (Jensen).  It is EoNADE's ensemble, for one network.  An example costs K times its units network
    calls.  `noise` is not known for the first (NaN); `stderr` holds it.
    """
    if orders < 1:
        raise ValueError(f"orders must be at least 1, not {orders}")
    check_orders(model)
    found = []  # of each batch: nats (orders, B), positions and groups (B,)
    for batch, numbers, group in numbered(model, batches, processes=processes):
        if not len(numbers):
            continue
        nats = []
        for uniforms in draws_of(numbers, batch, seed, orders, 1):
            rank = uniforms.score.argsort(-1).argsort(-1)
            nats.append(order_nats(model, batch, rank))
        found.append((torch.stack(nats), batch.positions.cpu(), group))
    found = processes.gather(found)
    if not found:
        raise ValueError("there are no examples to evaluate")
    all_nats, all_positions, all_groups = zip(*found, strict=True)
    single, positions = torch.cat(all_nats, 1), torch.cat(all_positions)  # (K, n), (n,)
    ensemble = math.log(orders) - (-single).logsumexp(0, keepdim=True)  # (1, n)
    how: dict[str, Any] = {"repeats": orders, "steps": None, "masking": model.masking, "seed": seed}
    how["groups"] = joined(all_groups)
    return Estimate(ensemble, positions, **how), Estimate(single, positions, **how)


# ---------------------------------------------------------------- of parts


@torch.no_grad()
def conditional_nats(
    model: MaskedDiffusion,
    x: Tensor,
    holes: Tensor,
    *,
    repeats: int = 8,
    seed: int = 0,
    examples: Sequence[int] | None = None,
    unknown: Tensor | None = None,
    cond: Tensor | None = None,
    valid: Tensor | None = None,
    ends: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """An upper bound on -log p(x at the holes | the rest) and the noise of its masks (NaN for
    repeats = 1), each (B,) float64 nats, on the CPU.

    x (B, S) token ids; holes (B, S) bool: which of them were filled in; `unknown` (B, S) bool:
    which are hidden and not scored.  `repeats`: draws of the masks of each row, made from the seed
    and the row's number in `examples` (B,): rows of one number share masks; by default none do.

    The bound is that of the sampler that starts from the state with those holes: k ~ U{1..n} of a
    row's n holes are masked, with factor n / k, and the rest is given.  That sampler defines a
    conditional model of its own, which is not p(x) / p(given).  A network that looks at t is shown
    the time that fits the share of masked units, as in sampling.  0 for a row without holes.
    ValueError for one curve per value.
    """
    if model.schedule.num_values > 1:
        raise ValueError(
            "what fills holes is scored for a schedule with one curve for all values, and this one "
            "has one per value"
        )
    role = torch.full_like(x, GIVEN, dtype=torch.int8, device=model.device)
    everywhere = torch.ones_like(role, dtype=torch.bool)
    # a later role wins: a hole that is unknown or absent is not scored
    for name, marked, as_role in (
        ("holes", holes, SCORED),
        ("unknown", ~everywhere if unknown is None else unknown, UNKNOWN),
        ("valid", everywhere if valid is None else valid, ABSENT),
    ):
        if marked.dtype != torch.bool or marked.shape != x.shape:
            said = f"{marked.dtype} {tuple(marked.shape)}"
            raise ValueError(f"{name} must be bool {tuple(x.shape)}, not {said}")
        marked = marked.to(model.device)
        role = role.masked_fill(~marked if as_role == ABSENT else marked, as_role)
    # many replicates: the noise is that of a single row, known from the spread between them alone
    replicates, of_each = split_repeats(repeats, BLOCK)
    numbers = np.arange(len(x)) if examples is None else np.asarray(examples)
    given = {"x": x, "role": role, "cond": cond, "ends": ends}
    batch = model.clean(**inputs(given, model.device))
    with evaluating(model):
        draws = [
            model.score(batch, model.draw(batch, uniforms=uniforms))[1].cpu()
            for uniforms in draws_of(numbers, batch, seed, replicates, of_each)
        ]
    drawn = torch.stack(draws).unflatten(0, (replicates, of_each)).mean(1)  # (G, B)
    noise = torch.full_like(drawn[0], math.nan)
    if replicates > 1:
        noise = drawn.std(0) / math.sqrt(replicates)
    return drawn.mean(0), noise


@torch.no_grad()
def joint_loss(
    model: MaskedDiffusion, batches: Iterable[Tensor | dict], *, repeats: int = 8, seed: int = 0
) -> float:
    """The training loss of the MDM-Prime paper (arXiv 2505.18495), per scored position, in natural
    logarithms, with the model's `masking`.

    A loss, to be compared with losses: for digits masked one by one it is not an upper bound on the
    negative log-likelihood, and not a number of nats, bits or a perplexity of the data.  ValueError
    for a schedule with one curve per value, or no repeats.
    """
    if model.schedule.num_values > 1:
        raise ValueError(
            "the joint loss is defined for schedules with one curve only, not for one curve per "
            "value"
        )
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    total, count = 0.0, 0
    with evaluating(model):
        for batch, numbers, _ in numbered(model, batches):
            for uniforms in draws_of(numbers, batch, seed, repeats, 1):
                draw = model.draw(batch, uniforms=uniforms)
                total += float(model.score(batch, draw, joint=True)[0])
            count += repeats * int(batch.positions.sum())
    if not count:
        raise ValueError("there is no example with a position that is scored")
    return total / count


@torch.no_grad()
def cross_entropy_by_count(
    model: MaskedDiffusion,
    examples: Tensor | dict,
    *,
    levels: int = 12,
    generator: torch.Generator | None = None,
) -> list[tuple[float, float, float]]:
    """(share of units that are masked, mean nats per masked unit, its standard error over examples)
    of a batch in which all is scored, for a number of units from 1 to all, in about `levels` equal
    steps.

    For a schedule with one curve for all values the bound per unit is the area under this curve.
    """
    if model.schedule.num_values > 1:
        raise ValueError("with one curve per value the bound is not an area under cross-entropies")
    batch = model.clean(**inputs(examples, model.device))
    count = batch.y.shape[1]
    masked_counts = sorted({max(1, round(count * level / levels)) for level in range(levels + 1)})
    found = []
    with evaluating(model):
        for k in masked_counts:
            order = uniform(*batch.y.shape, generator=generator, device=batch.y.device).argsort(-1)
            share = torch.full(
                (len(batch.y),), k / count, dtype=torch.float64, device=batch.y.device
            )
            per_unit = torch.full_like(share, 1 / k)
            draw = Draw(model.schedule.inverse(1 - share), order < k, per_unit)
            nats = model.score(batch, draw)[1]
            found.append((k / count, float(nats.mean()), float(nats.std()) / math.sqrt(len(nats))))
    return found
