"""Estimate a model's bound on held-out data: a number with two errors, its unit and the protocol
that made it."""

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unmask.categorical import uniform
from unmask.diffusion import MaskedDiffusion, unpack
from unmask.masks import BLOCK, Draw, of_examples, split_repeats
from unmask.sampling import evaluating


@dataclass(frozen=True, repr=False)
class Estimate:
    """An upper bound on the mean negative log-likelihood, in nats per example.

    `stderr`: over examples, what another sample of this size would change; it holds the noise.
    `noise`: over the random masks alone, for these examples.  Both are NaN where they are not
    known: the noise of one replicate, the stderr of one group of examples.  The other units follow
    from the totals, exponentiated after averaging over the corpus.
    """

    replicates: Tensor  # (G, n) nats of each example, in G independent draws of all of them
    positions: Tensor  # (n,) scored positions of each example
    repeats: int  # draws of an example, over all replicates
    steps: int | None
    masking: str
    seed: int
    # (n,) examples of one number are not independent of each other; None: all are
    groups: Tensor | None = None
    # (G, n) `replicates` less what their counts explain (`steadied`), from which stderr is told
    steady: Tensor | None = None
    # (S, 2) nats of `mean` paid at each position, which they add up to, and their stderr
    by_position: Tensor | None = None

    def __repr__(self) -> str:
        return (
            f"Estimate(mean={self.mean:.4f}, stderr={self.stderr:.4f}, noise={self.noise:.4f} nats per example, n={len(self.positions)}, "
            f"repeats={self.repeats}, bits_per_dim={self.bits_per_dim:.4f})"
        )

    @property
    def per_example(self) -> Tensor:
        """(n,) nats."""
        return self.replicates.mean(0)

    @property
    def mean(self) -> float:
        return float(self.per_example.mean())

    @property
    def stderr(self) -> float:
        return float(errors(self.replicates, self.groups, self.steady)[0])

    @property
    def noise(self) -> float:
        return float(errors(self.replicates)[1])

    @property
    def nats_per_position(self) -> float:
        return float(self.per_example.sum() / self.positions.sum())

    @property
    def bits_per_dim(self) -> float:
        """Bits per position: per character, byte, token, pixel value, residue or cell, whatever a
        position is."""
        return self.nats_per_position / math.log(2)

    def residual(self, replicates: Tensor) -> Tensor:
        """(G, n) what an example adds to the ratio total bits / total positions beyond its share
        (delta method): their mean is 0."""
        n = self.positions.double()
        return (replicates - self.nats_per_position * n) / n.mean() / math.log(2)

    @property
    def bits_per_dim_stderr(self) -> float:
        return difference_errors(self)[0]

    @property
    def bits_per_dim_noise(self) -> float:
        return difference_errors(self)[1]

    @property
    def perplexity(self) -> float:
        """exp(nats per position): an upper bound on the perplexity per position."""
        return math.exp(self.nats_per_position)


def errors(
    replicates: Tensor, groups: Tensor | None = None, steady: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(stderr, noise) of the mean over examples of `replicates` (G, n, ...), each of shape (...).

    Replicates are independent draws of all examples, whose values share strata within blocks of
    `masks.BLOCK`.  `groups` (n,): examples of one number are not independent of each other, as
    neighbouring windows of a text are not.

    Noise: the variance between replicates of a block's sum, over G, summed over blocks; no degree
    of freedom is lost to what examples share.  Stderr: of m groups with sums T = S + e, S what
    another sample would change and e what other masks would, the observed variance of T has the
    mean

        var S + m / (m - 1) (w - noise^2),    w the mean over groups of the variance of e,

    since the e of all groups add up to the noise, so their mean covariance is (m noise^2 - w) / (m
    - 1).  w is the variance between replicates over G.  So stderr^2 = var S / m + noise^2; it is
    never below the noise.  Taking the variance of T for that of S would count each example's masks
    as independent, and strata cancel most of their variance in the mean.  `steady` (G, n, ...): the
    same S with a smaller e, from which var S is better known.  One replicate: w is not known, and
    the variance of T is taken, which is larger; the noise is NaN.
    """
    n = replicates.shape[1]
    number = torch.arange(n) if groups is None else groups.unique(return_inverse=True)[1]
    m = int(number.max()) + 1
    # (G, m, ...): their mean over groups is that over examples
    totals = summed(replicates if steady is None else steady, number) * (m / n)
    unknown = torch.full_like(totals[0, 0], math.nan)
    spread = totals.mean(0).var(0) if m > 1 else unknown
    if len(replicates) == 1:
        return (spread / m).sqrt(), unknown
    noise2 = variance_of_masks(replicates)
    if m == 1:
        return unknown, noise2.sqrt()
    within = (totals.var(0) / len(totals)).mean(0)
    in_the_mean = noise2 if steady is None else variance_of_masks(steady)
    between = (spread - m / (m - 1) * (within - in_the_mean)).clamp(min=0)
    return (between / m + noise2).sqrt(), noise2.sqrt()


def variance_of_masks(replicates: Tensor) -> Tensor:
    """noise^2 of `errors`."""
    n = replicates.shape[1]
    blocks = summed(replicates, torch.arange(n) // BLOCK) / n
    return (blocks.var(0) / len(blocks)).sum(0)


def summed(values: Tensor, number: Tensor) -> Tensor:
    """values (G, n, ...) less their mean, summed over examples of one number (n,), 0 to m - 1: (G,
    m, ...)."""
    centred = (values - values.mean((0, 1))).double()
    shape = (len(values), int(number.max()) + 1, *values.shape[2:])
    return torch.zeros(shape, dtype=torch.float64).index_add_(1, number, centred)


def steadied(draws: Tensor, pick: Tensor, positions: Tensor) -> Tensor:
    """`draws` (D, n, ...) less what an average example of as many positions pays more, at such a
    `pick` (D, n), than over all picks.

    A pick is uniform for every example, so the mean over picks does not change, and most of a
    draw's variance lies between counts. What is paid at a pick is taken from the draws themselves,
    in equal cells with enough of them.
    """
    cells = min(BLOCK, pick.numel() // BLOCK)
    if cells < 2:
        return draws
    cell = (pick * cells).long()
    weight = positions.double().expand_as(pick)
    paid = draws.new_zeros(cells, *draws.shape[2:]).index_add_(
        0, cell.flatten(), draws.flatten(0, 1)
    )
    count = weight.new_zeros(cells).index_add_(0, cell.flatten(), weight.flatten())
    trailing = (..., *[None] * (draws.ndim - 2))
    rate = paid / count[trailing] - (paid.sum(0) / count.sum())
    return draws - weight[trailing] * rate[cell]


def difference(a: Estimate, b: Estimate) -> tuple[float, float, float]:
    """a - b in bits per position, its error and its noise, paired by example and, where both have
    as many, by replicate.

    The error is that of both ratios bits / positions (delta method).  Groups are those of `a`.
    ValueError for other numbers of examples.
    """
    if len(a.positions) != len(b.positions):
        raise ValueError(f"{len(a.positions)} and {len(b.positions)} examples cannot be paired")
    return a.bits_per_dim - b.bits_per_dim, *difference_errors(a, b)


def freedom(a: Estimate, b: Estimate | None = None) -> float:
    """The degrees of freedom of the error of `a`, or of a - b, after Satterthwaite: those of groups
    and of replicates, by their shares."""
    stderr, noise = difference_errors(a, b)
    m = len(a.positions) if a.groups is None else len(a.groups.unique())
    draws = min(len(e.replicates) for e in (a, a if b is None else b))
    if not noise < stderr or draws < 2:
        of_masks = -(-len(a.positions) // BLOCK) * (draws - 1)
        return float(min(m - 1, of_masks) if noise == stderr else m - 1)
    parts = ((stderr**2 - noise**2, m - 1), (noise**2, -(-len(a.positions) // BLOCK) * (draws - 1)))
    return stderr**4 / sum(variance**2 / of for variance, of in parts)


def difference_errors(a: Estimate, b: Estimate | None = None) -> tuple[float, float]:
    """(stderr, noise) in bits per position of `a`, or of a - b."""
    mean = b is not None and len(a.replicates) != len(b.replicates)

    def values(e: Estimate, steady: bool) -> Tensor:
        found = e.steady if steady and e.steady is not None else e.replicates
        return e.residual(found.mean(0, keepdim=True) if mean else found)

    plain, steady = (
        values(a, s) if b is None else values(a, s) - values(b, s) for s in (False, True)
    )
    stderr, noise = errors(plain, a.groups, steady)
    return float(stderr), float(noise)


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
    """The bound over all examples of `batches`, tensors x (B, S) or dicts with x and optionally
    valid, cond; `repeats` draws each.

    Always a valid bound, whatever objective the model was trained with.  `steps`, `masking`: see
    `MaskedDiffusion.nelbo`. The draws of an example are those of (seed, its number), whatever the
    batches and the device.  A dict may also have "group" (B,) int64: examples of one number are not
    independent, see `errors`.  `by_position`: also say how much of the mean is paid at each
    position, for examples of one length: what the position costs where what is revealed before it
    is as random as the order. ValueError for no examples.
    """
    if isinstance(batches, Tensor | dict):
        raise ValueError(
            "batches must be a list or another iterable of batches: for one batch, pass [x]"
        )
    replicates, of_each = split_repeats(repeats)
    per_unit = model.units(masking).length
    found, picks, positions, groups = [], [], [], []
    done = 0
    with evaluating(model):
        for batch in batches:
            x, cond, valid = unpack(batch, model.device)
            examples = np.arange(done, done + len(x))
            done += len(x)
            paid, pick = [], []
            for replicate, repeat in itertools.product(range(replicates), range(of_each)):
                uniforms = of_examples(
                    examples,
                    x.shape[-1] * per_unit,
                    seed=seed,
                    replicate=replicate,
                    repeat=repeat,
                    repeats=of_each,
                    device=model.device,
                )
                each = model.nelbo_by_position(
                    x, steps, cond, valid, masking, uniforms=uniforms
                ).cpu()
                paid.append(each if by_position else each.sum(1))
                pick.append(uniforms.pick.cpu())
            found.append(torch.stack(paid))
            picks.append(torch.stack(pick))
            positions.append(scored(x, valid))
            groups.append(batch.get("group") if isinstance(batch, dict) else None)
    if not found:
        raise ValueError("there are no examples to evaluate")
    # (repeats, n, ...)
    n, group, pick, draws = (
        torch.cat(positions),
        joined(groups),
        torch.cat(picks, 1),
        torch.cat(found, 1),
    )

    def per_replicate(values: Tensor) -> Tensor:
        return values.unflatten(0, (replicates, of_each)).mean(1)

    by_place = None
    if by_position:
        values, steady = per_replicate(draws), per_replicate(steadied(draws, pick, n))
        by_place = torch.stack([values.mean((0, 1)), errors(values, group, steady)[0]], -1)
        draws = draws.sum(-1)
    how = {"repeats": repeats, "steps": steps, "masking": masking or model.masking, "seed": seed}
    return Estimate(
        per_replicate(draws),
        n,
        **how,
        groups=group,
        steady=per_replicate(steadied(draws, pick, n)),
        by_position=by_place,
    )


def joined(groups: list[Tensor | None]) -> Tensor | None:
    """The groups of all batches, if all have them."""
    known = [group for group in groups if group is not None]
    return torch.cat(known) if len(known) == len(groups) else None


def scored(x: Tensor, valid: Tensor | None) -> Tensor:
    """(B,) how many positions of each example have a value."""
    return torch.full((len(x),), x.shape[1]) if valid is None else valid.sum(-1).cpu()


@torch.no_grad()
def order_nats(
    model: MaskedDiffusion,
    x: Tensor,
    rank: Tensor,
    *,
    cond=None,
    valid: Tensor | None = None,
    states: int = 64,
) -> Tensor:
    """(B,) float64 nats: -log p(x | order), a network call for each unit; units are revealed one at
    a time in the order of `rank` (B, U).

    The model that reveals one unit at a time in a uniformly random order is the continuous-time
    one, whatever its scalar schedule, if its network does not look at t (arXiv 2406.04329, section
    4): p(x) = mean over orders of p(x | order).  `states` run through the network at a time.
    ValueError for a network that looks at t, or one curve per value.
    """
    if model.uses_time or model.schedule.num_values > 1:
        raise ValueError(
            "orders can be scored for a network that does not look at t, and a schedule with one curve for all values"
        )
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
            # the unit itself, and what comes after it
            masked = rank[i] >= rank[i, unit[part], None]
            given = None if valid is None else real[i]
            z = model.corrupt(x.to(model.device)[i], masked & there[i], given)
            hidden, head = model.hidden(
                z, t, None if cond is None else cond.to(model.device)[i], given
            )
            row = torch.arange(len(i), device=z.device)
            digits = z.unflatten(1, (-1, model.subtokenizer.length))[row, s]
            logp = model.log_probs(head(hidden[row, s]), digits, s)
            only = torch.arange(units.length, device=z.device) == digit[part, None]
            nats[part] = model.nats(
                logp, units.digits(codes)[i].unflatten(1, (-1, units.length))[row, s], only
            ).double()
    return (
        torch.zeros(len(x), dtype=torch.float64, device=model.device).index_add_(0, b, nats).cpu()
    )


def estimate_orders(
    model: MaskedDiffusion, batches: Iterable[Tensor | dict], *, orders: int = 8, seed: int = 0
) -> tuple[Estimate, Estimate]:
    """The bound of K random orders an example, -log (1/K) sum of p(x | order), and that of the same
    orders one by one, their mean.

    The first is tighter, more so with more orders, and as valid: the orders do not depend on x
    (Jensen).  It is EoNADE's ensemble, for one network.  An example costs K times its units network
    calls.  `noise` is not known for the first (NaN); `stderr` holds it.
    """
    if orders < 1:
        raise ValueError(f"orders must be at least 1, not {orders}")
    found, positions, groups = [], [], []
    done = 0
    for batch in batches:
        x, cond, valid = unpack(batch)
        examples = np.arange(done, done + len(x))
        done += len(x)
        units = x.shape[1] * model.units().length
        ranks = [
            of_examples(examples, units, seed=seed, replicate=i).score.argsort(-1).argsort(-1)
            for i in range(orders)
        ]
        found.append(
            torch.stack([order_nats(model, x, rank, cond=cond, valid=valid) for rank in ranks])
        )
        positions.append(scored(x, valid))
        groups.append(batch.get("group") if isinstance(batch, dict) else None)
    if not positions:
        raise ValueError("there are no examples to evaluate")
    single = torch.cat(found, 1)
    ensemble = math.log(orders) - (-single).logsumexp(0, keepdim=True)
    how = {
        "repeats": orders,
        "steps": None,
        "masking": model.masking,
        "seed": seed,
        "groups": joined(groups),
    }
    return Estimate(ensemble, torch.cat(positions), **how), Estimate(
        single, torch.cat(positions), **how
    )


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
    cond=None,
    valid: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """An upper bound on -log p(x at the holes | the rest) and the noise of its masks (NaN for
    repeats = 1), each (B,) float64 nats.

    x (B, S) token ids; holes (B, S) bool, which of them were filled in; `repeats` draws a row,
    those of (seed, `examples`): rows of one number there share masks, and by default each row has
    its own.  `unknown` (B, S) bool: positions that are hidden and not scored. The bound is that of
    the sampler that starts from the state with those holes: k ~ U{1..n} of a row's n holes are
    masked, with factor n / k, and the rest is given.  That sampler defines a conditional model of
    its own, which is not p(x) / p(given).  A network that looks at t is shown the time that fits
    the share of masked units, as in sampling.  0 for a row without holes.  ValueError for one curve
    per value.
    """
    if model.schedule.num_values > 1:
        raise ValueError(
            "what fills holes is scored for a schedule with one curve for all values, and this one has one per value"
        )
    for name, marked in (("holes", holes), ("unknown", holes if unknown is None else unknown)):
        if marked.dtype != torch.bool or marked.shape != x.shape:
            raise ValueError(
                f"{name} must be bool {tuple(x.shape)}, not {marked.dtype} {tuple(marked.shape)}"
            )
    replicates, of_each = split_repeats(repeats, BLOCK)  # a row is judged by itself
    rows = np.arange(len(x)) if examples is None else np.asarray(examples)
    x, holes = x.to(model.device), holes.to(model.device)
    hidden = torch.zeros_like(holes) if unknown is None else unknown.to(model.device)
    cond, valid = (None if v is None else v.to(model.device) for v in (cond, valid))
    codes, real = model.check(x, valid)
    units = model.units()
    y = units.digits(codes)
    counted, open_, never = (
        v.repeat_interleave(units.length, 1) for v in (real, holes & real & ~hidden, hidden & real)
    )
    given = (counted & ~open_).any(-1)
    draws = []
    with evaluating(model):
        for replicate, repeat in itertools.product(range(replicates), range(of_each)):
            uniforms = of_examples(
                rows,
                y.shape[1],
                seed=seed,
                replicate=replicate,
                repeat=repeat,
                repeats=of_each,
                device=model.device,
            )
            draw = model.draw(y, open_, None, uniforms=uniforms)
            share = (draw.masked | never).sum(-1) / counted.sum(-1).clamp(min=1).double()
            draw = draw._replace(t=torch.where(given, model.schedule.inverse(1 - share), draw.t))
            draws.append(model.score(codes, y, draw, cond, valid, hidden=never)[1].cpu())
    drawn = torch.stack(draws).unflatten(0, (replicates, of_each)).mean(1)  # (G, B)
    noise = (
        drawn.std(0) / math.sqrt(replicates)
        if replicates > 1
        else torch.full_like(drawn[0], math.nan)
    )
    return drawn.mean(0), noise


@torch.no_grad()
def joint_loss(
    model: MaskedDiffusion, batches: Iterable[Tensor | dict], *, repeats: int = 8, seed: int = 0
) -> float:
    """The training loss of the MDM-Prime paper (arXiv 2505.18495) per position, in natural
    logarithms, with the model's `masking`.

    A loss, to be compared with losses: for digits masked one by one it is not an upper bound on the
    negative log-likelihood, and not a number of nats, bits or a perplexity of the data.  ValueError
    for a schedule with one curve per value, or no repeats.
    """
    if model.schedule.num_values > 1:
        raise ValueError(
            "the joint loss is defined for schedules with one curve only, not for one curve per value"
        )
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    units = model.units()
    total, count, done = 0.0, 0, 0
    with evaluating(model):
        for batch in batches:
            given, cond, valid = unpack(batch, model.device)
            x, real = model.check(given, valid)
            y, units_valid = units.digits(x), real.repeat_interleave(units.length, 1)
            examples = np.arange(done, done + len(x))
            done += len(x)
            for replicate in range(repeats):
                uniforms = of_examples(
                    examples, y.shape[1], seed=seed, replicate=replicate, device=model.device
                )
                draw = model.draw(y, units_valid, None, uniforms=uniforms)
                total += float(model.score(x, y, draw, cond, valid, joint=True)[0])
            count += repeats * int(real.sum())
    return total / count


@torch.no_grad()
def cross_entropy_by_count(
    model: MaskedDiffusion, x: Tensor, *, levels: int = 12, generator: torch.Generator | None = None
) -> list[tuple[float, float, float]]:
    """Nats per masked unit against the share of units that are masked: (share, mean, standard error
    over examples) for each level.

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
