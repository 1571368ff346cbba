"""Estimate a model's bound on held-out data: a number with two errors, its unit and the protocol that made it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.categorical import uniform
from unmask.diffusion import Draw, MaskedDiffusion, unpack
from unmask.sampling import evaluating


@dataclass(frozen=True, repr=False)
class Estimate:
    """An upper bound on the mean negative log-likelihood, in nats per example.

    `stderr`: over examples, what another sample of this size would change.  `noise`: over the random masks alone, for these
    examples (NaN for repeats = 1).  The other units follow from the totals, exponentiated after averaging over the corpus.
    """

    mean: float
    stderr: float
    noise: float
    per_example: Tensor  # (n,) nats
    positions: Tensor  # (n,) scored positions of each example
    repeats: int
    steps: int | None
    masking: str
    seed: int
    by_position: Tensor | None = None  # (S, 2) nats of `mean` paid at each position, which they add up to, and their stderr

    def __repr__(self) -> str:
        return (
            f"Estimate(mean={self.mean:.4f}, stderr={self.stderr:.4f}, noise={self.noise:.4f} nats per example, n={len(self.positions)}, "
            f"repeats={self.repeats}, bits_per_dim={self.bits_per_dim:.4f})"
        )

    @property
    def nats_per_position(self) -> float:
        return float(self.per_example.sum() / self.positions.sum())

    @property
    def bits_per_dim(self) -> float:
        """Bits per position: per character, byte, token, pixel value, residue or cell, whatever a position is."""
        return self.nats_per_position / math.log(2)

    @property
    def bits_per_dim_stderr(self) -> float:
        """The error of the ratio total bits / total positions over examples (delta method)."""
        n = self.positions.double()
        if len(n) < 2:
            return math.nan
        residual = self.per_example - self.nats_per_position * n
        return float(residual.std() / math.sqrt(len(n)) / n.mean()) / math.log(2)

    @property
    def bits_per_dim_noise(self) -> float:
        return self.noise / float(self.positions.double().mean()) / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp(nats per position): an upper bound on the perplexity per position."""
        return math.exp(self.nats_per_position)


def estimate_nelbo(
    model: MaskedDiffusion,
    batches: Iterable[Tensor | dict],
    *,
    repeats: int = 8,
    steps: int | None = None,
    masking: str | None = None,
    seed: int = 0,
    by_position: bool = False,
) -> Estimate:
    """The bound over all examples of `batches`, tensors x (B, S) or dicts with x and optionally valid, cond; `repeats` draws each.

    Always a valid bound, whatever objective the model was trained with.  `steps`, `masking`: see `MaskedDiffusion.nelbo`.
    The draws depend on `seed` and on how the examples are batched, not on the device.  `by_position`: also say how much of the mean
    is paid at each position, for examples of one length: what the position costs where what is revealed before it is as random as
    the order.  ValueError for no examples.
    """
    if isinstance(batches, Tensor | dict):
        raise ValueError("batches must be a list or another iterable of batches: for one batch, pass [x]")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    generator = torch.Generator().manual_seed(seed)
    means, positions, variance, places = [], [], 0.0, []
    with evaluating(model):
        for batch in batches:
            x, cond, valid = unpack(batch, model.device)
            paid = [model.nelbo_by_position(x, steps, cond, valid, masking, generator) for _ in range(repeats)]
            draws = torch.stack([p.sum(1) for p in paid]).cpu()  # (repeats, B): a repeat's examples share strata, repeats are independent
            if by_position:
                places.append(torch.stack(paid).mean(0).cpu())
            means.append(draws.mean(0))
            positions.append(torch.full((len(x),), x.shape[1]) if valid is None else valid.sum(-1).cpu())
            variance += float(draws.sum(1).var()) / repeats if repeats > 1 else math.nan
    if not means:
        raise ValueError("there are no examples to evaluate")
    per_example, positions = torch.cat(means), torch.cat(positions)
    n = len(per_example)
    each = torch.cat(places) if places else None  # (n, S)
    return Estimate(
        mean=float(per_example.mean()),
        stderr=float(per_example.std()) / math.sqrt(n) if n > 1 else math.nan,
        noise=math.sqrt(variance) / n,
        per_example=per_example,
        positions=positions,
        repeats=repeats,
        steps=steps,
        masking=masking or model.masking,
        seed=seed,
        by_position=None if each is None else torch.stack([each.mean(0), each.std(0) / math.sqrt(n)], -1),
    )


@torch.no_grad()
def order_nats(model: MaskedDiffusion, x: Tensor, rank: Tensor, *, cond=None, valid: Tensor | None = None, states: int = 64) -> Tensor:
    """(B,) float64 nats: -log p(x | order), a network call for each unit; units are revealed one at a time in the order of `rank` (B, U).

    The model that reveals one unit at a time in a uniformly random order is the continuous-time one, whatever its scalar schedule, if
    its network does not look at t (arXiv 2406.04329, section 4): p(x) = mean over orders of p(x | order).  `states` run through the
    network at a time.  ValueError for a network that looks at t, or one curve per value.
    """
    if model.uses_time or model.schedule.num_values > 1:
        raise ValueError("orders can be scored for a network that does not look at t, and a schedule with one curve for all values")
    codes, real = model.check(x.to(model.device), None if valid is None else valid.to(model.device))
    units = model.units()
    y, there = units.digits(codes), real.repeat_interleave(units.length, 1)
    rank = rank.to(model.device).masked_fill(~there, y.shape[1])
    b, unit = there.nonzero(as_tuple=True)
    position, digit = unit // units.length, unit % units.length
    nats = torch.zeros(len(b), dtype=torch.float64, device=model.device)
    t = torch.ones((), device=model.device)
    with evaluating(model):
        for first in range(0, len(b), states):
            part = slice(first, first + states)
            i, s = b[part], position[part]
            masked = rank[i] >= rank[i, unit[part], None]  # the unit itself, and what comes after it
            given = None if valid is None else real[i]
            z = model.corrupt(x.to(model.device)[i], masked & there[i], given)
            hidden, head = model.hidden(z, t, None if cond is None else cond.to(model.device)[i], given)
            row = torch.arange(len(i), device=z.device)
            digits = z.unflatten(1, (-1, model.subtokenizer.length))[row, s]
            logp = model.log_probs(head(hidden[row, s]), digits, s)
            only = torch.arange(units.length, device=z.device) == digit[part, None]
            nats[part] = model.nats(logp, units.digits(codes)[i].unflatten(1, (-1, units.length))[row, s], only).double()
    return torch.zeros(len(x), dtype=torch.float64, device=model.device).index_add_(0, b, nats).cpu()


def estimate_orders(
    model: MaskedDiffusion, batches: Iterable[Tensor | dict], *, orders: int = 8, seed: int = 0
) -> tuple[Estimate, Estimate]:
    """The bound of K random orders an example, -log (1/K) sum of p(x | order), and that of the same orders one by one, their mean.

    The first is tighter, more so with more orders, and as valid: the orders do not depend on x (Jensen).  It is EoNADE's ensemble, for
    one network.  An example costs K times its units network calls.  `noise` is not known for the first (NaN); `stderr` holds it.
    """
    if orders < 1:
        raise ValueError(f"orders must be at least 1, not {orders}")
    generator = torch.Generator().manual_seed(seed)
    ensemble, single, positions = [], [], []
    for batch in batches:
        x, cond, valid = unpack(batch)
        units = x.shape[1] * model.units().length
        found = torch.stack([
            order_nats(model, x, uniform(len(x), units, generator=generator).argsort(-1).argsort(-1), cond=cond, valid=valid)
            for _ in range(orders)
        ])  # fmt: skip
        ensemble.append(math.log(orders) - (-found).logsumexp(0))
        single.append(found)
        positions.append(torch.full((len(x),), x.shape[1]) if valid is None else valid.sum(-1).cpu())
    if not positions:
        raise ValueError("there are no examples to evaluate")
    of_one = torch.cat(single, 1)
    noise = float((of_one.var(0) / orders).sum().sqrt()) / of_one.shape[1] if orders > 1 else math.nan

    def summed(values: Tensor, noise: float) -> Estimate:
        n = len(values)
        stderr = float(values.std()) / math.sqrt(n) if n > 1 else math.nan
        return Estimate(float(values.mean()), stderr, noise, values, torch.cat(positions), orders, None, model.masking, seed)

    return summed(torch.cat(ensemble), math.nan), summed(of_one.mean(0), noise)


@torch.no_grad()
def conditional_nats(
    model: MaskedDiffusion,
    x: Tensor,
    holes: Tensor,
    *,
    repeats: int = 8,
    generator: torch.Generator | None = None,
    cond=None,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """An upper bound on -log p(x at the holes | the rest) and the noise of its masks (NaN for repeats = 1), each (B,) float64 nats.

    x (B, S) token ids; holes (B, S) bool, which of them were filled in; `repeats` independent draws a row.  The bound is that of the
    sampler that starts from the state with those holes: k ~ U{1..n} of a row's n holes are masked, with factor n / k, and the rest
    is given.  That sampler defines a conditional model of its own, which is not p(x) / p(given).  A network that looks at t is shown the
    time that fits the share of masked units, as in sampling.  0 for a row without holes.  ValueError for one curve per value.
    """
    if model.schedule.num_values > 1:
        raise ValueError("what fills holes is scored for a schedule with one curve for all values, and this one has one per value")
    if holes.dtype != torch.bool or holes.shape != x.shape:
        raise ValueError(f"holes must be bool {tuple(x.shape)}, not {holes.dtype} {tuple(holes.shape)}")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    x, holes = x.to(model.device), holes.to(model.device)
    cond, valid = (None if v is None else v.to(model.device) for v in (cond, valid))
    codes, real = model.check(x, valid)
    units = model.units()
    y, counted, open_ = (units.digits(codes), *(v.repeat_interleave(units.length, 1) for v in (real, holes & real)))
    given = (counted & ~open_).any(-1)
    draws = []
    with evaluating(model):
        for _ in range(repeats):
            draw = model.draw(y, open_, None, generator)
            share = draw.masked.sum(-1) / counted.sum(-1).clamp(min=1).double()
            draw = draw._replace(t=torch.where(given, model.schedule.inverse(1 - share), draw.t))
            draws.append(model.score(codes, y, draw, cond, valid)[1])
    drawn = torch.stack(draws).cpu()  # (repeats, B)
    noise = drawn.std(0) / math.sqrt(repeats) if repeats > 1 else torch.full_like(drawn[0], math.nan)
    return drawn.mean(0), noise


@torch.no_grad()
def joint_loss(model: MaskedDiffusion, batches: Iterable[Tensor | dict], *, repeats: int = 8, seed: int = 0) -> float:
    """The training loss of the MDM-Prime paper (arXiv 2505.18495) per position, in natural logarithms, with the model's `masking`.

    A loss, to be compared with losses: for digits masked one by one it is not an upper bound on the negative log-likelihood, and not
    a number of nats, bits or a perplexity of the data.  ValueError for a schedule with one curve per value, or no repeats.
    """
    if model.schedule.num_values > 1:
        raise ValueError("the joint loss is defined for schedules with one curve only, not for one curve per value")
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    units = model.units()
    generator = torch.Generator().manual_seed(seed)
    total, count = 0.0, 0
    with evaluating(model):
        for batch in batches:
            given, cond, valid = unpack(batch, model.device)
            x, real = model.check(given, valid)
            y, units_valid = units.digits(x), real.repeat_interleave(units.length, 1)
            for _ in range(repeats):
                draw = model.draw(y, units_valid, None, generator)
                total += float(model.score(x, y, draw, cond, valid, joint=True)[0])
            count += repeats * int(real.sum())
    return total / count


@torch.no_grad()
def cross_entropy_by_count(
    model: MaskedDiffusion, x: Tensor, *, levels: int = 12, generator: torch.Generator | None = None
) -> list[tuple[float, float, float]]:
    """Nats per masked unit against the share of units that are masked: (share, mean, standard error over examples) for each level.

    For a schedule with one curve for all values the bound per unit is the area under this curve.
    """
    if model.schedule.num_values > 1:
        raise ValueError("with one curve per value the bound is not an area under cross-entropies")
    x, _ = model.check(x.to(model.device))
    y = model.units().digits(x)
    count = y.shape[1]
    found = []
    with evaluating(model):
        for k in sorted({max(1, round(count * level / levels)) for level in range(levels + 1)}):
            order = uniform(*y.shape, generator=generator, device=y.device).argsort(-1)
            share = torch.full((len(x),), k / count, dtype=torch.float64, device=x.device)
            draw = Draw(model.schedule.inverse(1 - share), order < k, torch.full_like(share, 1 / k))
            nats = model.score(x, y, draw, None, None)[1]
            found.append((k / count, float(nats.mean()), float(nats.std()) / math.sqrt(len(nats))))
    return found
