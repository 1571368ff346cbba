"""The exact bound, by enumeration of all masks: the oracle of the tests and of audits."""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from unmask.batch import Batch
from unmask.diffusion import MaskedDiffusion
from unmask.masks import at

MAX_UNITS = 12
# of all masks of some examples: sequences that run through the network at a time, and logits
SEQUENCES, ENUMERATED = 2**14, 2**26
# of the quadrature over t: where it begins, its steps, and the share by which halving one may
# change the result, where the network's own rounding does not change it by more; where the network
# is smooth in t, about the square of that is left
FROM, COARSEST, FINEST, RESOLVED = -6.1, 1 / 8, 1 / 256, 1e-4  # from t = e^-700 on


class UnresolvedError(ValueError):
    """An integral over t is not resolved: the network changes too much between nodes, or too much
    happens before the first."""


def exact_nelbo(
    model: MaskedDiffusion,
    x: Tensor,
    steps: int | None = None,
    cond: Tensor | None = None,
    valid: Tensor | None = None,
    masking: str | None = None,
    role: Tensor | None = None,
    ends: Tensor | None = None,
) -> Tensor:
    """(B,) float64 nats: the bound of token ids x (B, S), by enumeration; differentiable.

    Arguments are those of `MaskedDiffusion.nelbo`, which draws what is summed here.
    Continuous time (steps None): for one curve and a network that ignores t, a mask of k of N units
    has weight (k-1)! (N-k)! / N!; otherwise the integral over t by double-exponential quadrature,
    refined for every example until it is resolved; with gradients, the graph of all nodes is kept.
    Discrete time: the sum over the `steps` uniform intervals.  ValueError beyond 12 units, 4096
    masks an example; UnresolvedError for a network too rough in t, or powers below 0.0132.
    """
    clean = model.clean(x, valid, role=role, cond=cond, ends=ends, masking=masking)
    return enumerated(model, clean, steps)[0].sum(1)


def check_count(count: int) -> None:
    """ValueError for too many units."""
    if count > MAX_UNITS:
        limit = f"enumeration is limited to {MAX_UNITS} units a sequence"
        raise ValueError(f"{count} units have 2^{count} masks: {limit}")


def enumerated(
    model: MaskedDiffusion, clean: Batch, steps: int | None = None
) -> tuple[Tensor, Tensor]:
    """(B, S) `exact_nelbo` of a clean batch, by token, and (B,) network calls."""
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    y, real, scalar = clean.y, clean.scored, model.schedule.num_values == 1
    batch, count = y.shape
    check_count(count)
    logits = clean.codes.shape[1] * model.subtokenizer.vocab_size  # of a sequence
    size = max(1, min(SEQUENCES, ENUMERATED // logits) >> count)
    if batch > size:
        rows = torch.arange(batch, device=y.device).split(size)
        parts = [enumerated(model, clean.take(some), steps) for some in rows]
        nats_of_all, calls_of_all = zip(*parts, strict=True)
        return torch.cat(nats_of_all), torch.cat(calls_of_all)
    every = list(itertools.product((False, True), repeat=count))[1:]
    patterns = torch.tensor(every, device=y.device)  # (P, U)
    # (B, P): only what is scored is masked
    possible = ~(patterns & ~real[:, None]).any(-1)
    masked = patterns.repeat(batch, 1)  # (B*P, U)

    def by_token(v: Tensor) -> Tensor:
        return v.unflatten(1, (clean.codes.shape[1], -1))

    spread = torch.arange(batch, device=y.device).repeat_interleave(len(patterns))
    all_masks = clean.take(spread)
    masked = masked & all_masks.scored  # others are not counted, and must be no obstacle
    z = model.masked(all_masks, masked)
    fits = model.schedule.inverse(1 - all_masks.hidden_share(masked)) if scalar else None
    scored = by_token(masked & possible.view(-1, 1)).any(-1)
    row, position = scored.nonzero(as_tuple=True)
    y_rows, digits, masked_rows = (by_token(v)[row, position] for v in (all_masks.y, z, masked))
    groups = model.open_groups(z, row, position)
    known: list[Tensor] = []  # log mu, once, of a network that ignores t
    looked, rounding = 0, 0.0  # how often at all masks, and to how many digits

    def nats(t: Tensor, times: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(B, P, S) nats of every mask by token, as `MaskedDiffusion.nats`."""
        nonlocal looked, rounding
        if model.uses_time or not known:
            seen = t.expand(len(z))
            if fits is not None:  # as in `MaskedDiffusion.draw`
                seen = torch.where(all_masks.conditional, fits, seen)
            looked += 1
            hidden, head = model.hidden(z, seen, **all_masks.told)
            logits = head(hidden[row, position])
            rounding = torch.finfo(logits.dtype).eps
            known[:] = [model.log_charged(logits, digits, position, groups)]
        if times is None:
            each = model.nats(known[0], y_rows, masked_rows).double()
        else:
            each = model.step_nats(known[0], all_masks, masked, (row, position), times).double()
        spread = each.new_zeros(*z.shape[:1], clean.codes.shape[1])
        return spread.index_put((row, position), each).view(batch, len(patterns), -1)

    def expected(weight: Tensor, paid: Tensor) -> Tensor:
        """(B, S) of nats (B, P, S), weighed (B, P)."""
        return (weight[..., None] * paid).sum(1)

    def calls() -> Tensor:
        return looked * possible.sum(1).cpu()

    def probability(t: Tensor) -> Tensor:
        """(B, P) q(mask | x, t)."""
        masked_at = at(model.schedule.masked(t.expand(batch)), y)[:, None]  # (B, 1, U or 1)
        unit = torch.where(patterns, masked_at, 1 - masked_at)
        return torch.where(real[:, None], unit, 1.0).prod(-1) * possible

    total = torch.zeros(clean.codes.shape, dtype=torch.float64, device=y.device)
    if steps is not None:
        ts = torch.arange(steps + 1, dtype=torch.float64, device=y.device) / steps
        for s, t in itertools.pairwise(ts):
            total = total + expected(probability(t), nats(t, (t[None], s[None])))
        return total, calls()
    if scalar and not model.uses_time:
        k, n = patterns.sum(-1).double(), real.sum(-1, keepdim=True).double()
        arranged = torch.lgamma(k) + torch.lgamma((n - k).clamp(min=0) + 1)
        weight = (arranged - torch.lgamma(n + 1)).exp() * possible
        return expected(weight, nats(weight.new_zeros(()))), calls()

    def paid(t: Tensor) -> Tensor:
        """(B, S) what is integrated over t."""
        # for one curve per value, `nats` holds the powers of power / t
        rate = model.schedule.weight(t)[0] if scalar else 1 / t
        return rate * expected(probability(t), nats(t))

    first = tanh_sinh(y.device)[0][:1].expand(batch)
    before = float(at(model.schedule.masked(first), y).detach().max())
    if before > RESOLVED:
        raise UnresolvedError(
            f"at the first node of the integral over t, e^-700, {before:.2g} of what is masked at "
            "t = 1 still is, so small is a power of the schedule: give a number of steps, of which "
            "the bound is a sum"
        )
    return integral(paid, lambda: max(RESOLVED, rounding / 8), y.device), calls()


def integral(f: Callable[[Tensor], Tensor], resolved: Callable[[], float], device=None) -> Tensor:
    """Of f(t) (B, ...), all of it at least 0, over t from 0 to 1.

    Double-exponential quadrature, see `tanh_sinh`, whose step is halved until
    that changes it by the share `resolved` or less.  UnresolvedError where it goes on changing.
    """

    def by_trapezoids(begin: float, step: float) -> Tensor:
        nodes = zip(*tanh_sinh(device, step, begin), strict=True)
        found: Any = sum(dt * f(t) for t, dt in nodes)
        return found

    step, total, changes = COARSEST, by_trapezoids(FROM, COARSEST), [math.inf]
    while True:
        finer = (total + by_trapezoids(FROM + step / 2, step)) / 2
        changed, step, total = finer - total, step / 2, finer
        most, size = (part.detach().abs().flatten(1).sum(1) for part in (changed, total))
        # of each example by itself; not a number where it is 0, or infinite
        share = (most / size).nan_to_num(0.0)
        worst = int(share.argmax())
        changes.append(float(share[worst]))
        # twice, since once may be by chance
        if max(changes[-2:]) <= resolved():
            return total
        if step <= FINEST:
            raise UnresolvedError(
                "the bound is an integral over t that is not resolved: a step half as wide still "
                f"changes {float(size[worst]):.4g} nats by {float(most[worst]):.1g}, so rough in t "
                "is the network: give a number of steps, of which the bound is a sum"
            )


def tanh_sinh(device=None, step: float = 1 / 16, begin: float = FROM) -> tuple[Tensor, Tensor]:
    """Nodes and weights of double-exponential quadrature: t = 1 / (1 + exp(-pi sinh v))."""
    v = torch.arange(begin, 3.5, step, dtype=torch.float64, device=device)
    t = torch.sigmoid(torch.pi * torch.sinh(v))
    dt = step * torch.pi * torch.cosh(v) * t * torch.sigmoid(-torch.pi * torch.sinh(v))
    return t, dt
