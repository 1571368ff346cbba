"""The exact bound, by enumeration of all masks: the oracle of the tests and of audits."""

import itertools

import torch
from torch import Tensor

from unmask.batch import Batch
from unmask.diffusion import MaskedDiffusion
from unmask.masks import at

MAX_UNITS = 12


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
    which takes any power at t = 0.  Discrete time: the sum over the `steps` uniform intervals.
    ValueError beyond 12 units, 4096 masks an example.
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
    y, real, scalar = clean.y, clean.scored, model.schedule.num_values == 1
    batch, count = y.shape
    check_count(count)
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
    looked = 0  # how often at all masks

    def nats(t: Tensor, times: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(B, P, S) nats of every mask by token, as `MaskedDiffusion.nats`."""
        nonlocal looked
        if model.uses_time or not known:
            seen = t.expand(len(z))
            if fits is not None:  # as in `MaskedDiffusion.draw`
                seen = torch.where(all_masks.conditional, fits, seen)
            looked += 1
            hidden, head = model.hidden(z, seen, **all_masks.told)
            known[:] = [model.log_charged(head(hidden[row, position]), digits, position, groups)]
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
    for t, dt in zip(*tanh_sinh(y.device), strict=True):
        # for one curve per value, `nats` holds the powers of power / t
        rate = model.schedule.weight(t)[0] if scalar else 1 / t
        total = total + rate * dt * expected(probability(t), nats(t))
    return total, calls()


def tanh_sinh(device=None, step: float = 1 / 16) -> tuple[Tensor, Tensor]:
    """Nodes and weights of double-exponential quadrature: t = 1 / (1 + exp(-pi sinh v))."""
    v = torch.arange(-5.5, 3.5, step, dtype=torch.float64, device=device)
    t = torch.sigmoid(torch.pi * torch.sinh(v))
    dt = step * torch.pi * torch.cosh(v) * t * torch.sigmoid(-torch.pi * torch.sinh(v))
    return t, dt
