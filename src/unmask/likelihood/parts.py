"""Other readings of a model: of what fills holes, by count, and a loss."""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from unmask.batch import inputs
from unmask.categorical import uniform
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.likelihood.estimating import drawn, draws_of, numbered
from unmask.likelihood.estimators import Estimator, own_estimator
from unmask.masks import BLOCK, Draw
from unmask.roles import ABSENT, GIVEN, SCORED, UNKNOWN


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
    estimator: Estimator | None = None,
    cond: Tensor | None = None,
    valid: Tensor | None = None,
    ends: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """An upper bound on -log p(x at the holes | the rest) and the noise of its masks (NaN for
    repeats = 1), each (B,) float64 nats, on the CPU.

    x (B, S) token ids; holes (B, S) bool: which of them were filled in; `unknown` (B, S) bool:
    which are hidden and not scored.  `repeats`: draws of the masks of each row, made from the seed
    and the row's number in `examples` (B,): rows of one number share masks; by default none do.

    `estimator`: `own_estimator`, or another; the noise of an exact one is 0.

    The bound is that of the sampler that starts from the state with those holes: some of a row's
    holes are masked, how many and with which factor as `masks.draw` says, and the rest is given.
    That sampler defines a conditional model of its own, which is not p(x) / p(given). A network
    that looks at t is shown the time that fits the share of masked units, as in sampling. 0 for a
    row without holes. ValueError for one curve per value.
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
    estimator = own_estimator(model) if estimator is None else estimator
    estimator.check(model)
    # many replicates: the noise is that of a single row, known from the spread between them alone
    replicates, of_each = estimator.split(repeats, BLOCK)
    numbers = np.arange(len(x)) if examples is None else np.asarray(examples)
    given = {"x": x, "role": role, "cond": cond, "ends": ends}
    batch = model.clean(**inputs(given, model.device), masking=estimator.masking)
    with evaluating(model):
        draws, _, _ = drawn(model, batch, estimator, numbers, range(replicates), of_each, seed)
    found = estimator.combine(draws.unflatten(0, (replicates, of_each)))  # (G, B)
    noise = torch.full_like(found[0], 0.0 if estimator.exact else math.nan)
    if replicates > 1:
        noise = found.std(0) / math.sqrt(replicates)
    return found.mean(0), noise


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
            for uniforms in draws_of(numbers, batch, seed, range(repeats), 1):
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
    rows: int = 0,
    generator: torch.Generator | None = None,
) -> list[tuple[float, float, float]]:
    """(share of units that are masked, mean nats per masked unit, its standard error over examples)
    of a batch in which all is scored, for a number of units from 1 to all, in about `levels` equal
    steps.  rows: examples that run through the network together, at most; 0: all.

    For a schedule with one curve for all values the bound per unit is the area under this curve.
    """
    if model.schedule.num_values > 1:
        raise ValueError("with one curve per value the bound is not an area under cross-entropies")
    batch = model.clean(**inputs(examples, model.device))
    count = batch.y.shape[1]
    masked_counts = sorted({max(1, round(count * level / levels)) for level in range(levels + 1)})
    found, parts = [], torch.arange(len(batch.y), device=batch.y.device).split(rows or len(batch.y))
    with evaluating(model):
        for k in masked_counts:
            order = uniform(*batch.y.shape, generator=generator, device=batch.y.device).argsort(-1)
            share = torch.full(
                (len(batch.y),), k / count, dtype=torch.float64, device=batch.y.device
            )
            per_unit = torch.full_like(share, 1 / k)
            t, masked = model.schedule.inverse(1 - share), order < k
            scored = [
                model.score(batch.take(part), Draw(t[part], masked[part], per_unit[part]))[1]
                for part in parts
            ]
            nats = torch.cat(scored)
            found.append((k / count, float(nats.mean()), float(nats.std()) / math.sqrt(len(nats))))
    return found
