"""The exact bound, by enumeration of all masks: the oracle of the tests and of `unmask audit`."""

import itertools

import torch
from torch import Tensor

from unmask.diffusion import MaskedDiffusion
from unmask.masks import at

MAX_UNITS = 12


def exact_nelbo(
    model: MaskedDiffusion,
    x: Tensor,
    steps: int | None = None,
    cond=None,
    valid: Tensor | None = None,
    masking: str | None = None,
    role: Tensor | None = None,
) -> Tensor:
    """(B,) float64 nats: the bound of token ids x (B, S), by enumeration of all masks;
    differentiable.  Arguments as those of `MaskedDiffusion.nelbo`.

    Continuous time (steps None): for one curve and a network that ignores t, a mask of k of N units
    has weight (k-1)! (N-k)! / N!; otherwise the integral over t by double-exponential quadrature,
    which takes any power at t = 0.  Discrete time: the sum over the `steps` uniform intervals.
    ValueError beyond 12 units, 4096 masks an example.
    """
    clean = model.clean(x, valid, role=role, cond=cond, masking=masking)
    y, real = clean.y, clean.scored
    scalar = model.schedule.num_values == 1
    batch, count = y.shape
    if count > MAX_UNITS:
        raise ValueError(
            f"{count} units have 2^{count} masks: enumeration is limited to {MAX_UNITS} units a sequence"
        )
    # (P, U)
    patterns = torch.tensor(
        list(itertools.product((False, True), repeat=count))[1:], device=x.device
    )
    possible = ~(patterns & ~real[:, None]).any(-1)  # (B, P): only what is scored is masked
    masked = patterns.repeat(batch, 1)  # (B*P, U)

    every = clean.take(torch.arange(batch, device=x.device).repeat_interleave(len(patterns)))
    z = model.masked(every, masked)
    fits = model.schedule.inverse(1 - every.hidden_share(masked)) if scalar else None
    row, position = (
        (masked & possible.view(-1, 1))
        .unflatten(1, (x.shape[1], -1))
        .any(-1)
        .nonzero(as_tuple=True)
    )
    y_rows, digits, masked_rows = (
        v.unflatten(1, (x.shape[1], -1))[row, position] for v in (every.y, z, masked)
    )
    known: list[Tensor] = []  # log mu, once, of a network that ignores t

    def nats(t: Tensor, times: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """(B, P) nats of every mask, as `MaskedDiffusion.nats`."""
        if model.uses_time or not known:
            seen = t.expand(len(z))
            if fits is not None:
                seen = torch.where(every.conditional, fits, seen)
            hidden, head = model.hidden(z, seen, every.cond, every.valid)
            known[:] = [model.log_probs(head(hidden[row, position]), digits, position)]
        each = model.nats(known[0], y_rows, masked_rows, times).double()
        return each.new_zeros(len(z)).index_add(0, row, each).view(batch, -1)

    def probability(t: Tensor) -> Tensor:
        """(B, P) q(mask | x, t)."""
        masked_at = at(model.schedule.masked(t.expand(batch)), y)[:, None]  # (B, 1, U or 1)
        unit = torch.where(patterns, masked_at, 1 - masked_at)
        return torch.where(real[:, None], unit, 1.0).prod(-1) * possible

    if steps is not None:
        ts = torch.arange(steps + 1, dtype=torch.float64, device=x.device) / steps
        return torch.stack(
            [
                (probability(t) * nats(t, (t[None], s[None]))).sum(-1)
                for s, t in itertools.pairwise(ts)
            ]
        ).sum(0)
    if scalar and not model.uses_time:
        k, n = patterns.sum(-1).double(), real.sum(-1, keepdim=True).double()
        weight = (
            torch.lgamma(k) + torch.lgamma((n - k).clamp(min=0) + 1) - torch.lgamma(n + 1)
        ).exp() * possible
        return (weight * nats(x.new_zeros((), dtype=torch.float64))).sum(-1)
    total = torch.zeros(batch, dtype=torch.float64, device=x.device)
    for t, dt in zip(*tanh_sinh(x.device), strict=True):
        # for one curve per value, `nats` holds the powers of power / t
        rate = model.schedule.weight(t)[0] if scalar else 1 / t
        total = total + rate * dt * (probability(t) * nats(t)).sum(-1)
    return total


def tanh_sinh(device=None, step: float = 1 / 16) -> tuple[Tensor, Tensor]:
    """Nodes and weights of double-exponential quadrature on (0, 1): t = 1 / (1 + exp(-pi sinh v))."""
    v = torch.arange(-5.5, 3.5, step, dtype=torch.float64, device=device)
    t = torch.sigmoid(torch.pi * torch.sinh(v))
    dt = step * torch.pi * torch.cosh(v) * t * torch.sigmoid(-torch.pi * torch.sinh(v))
    return t, dt
