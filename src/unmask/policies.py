"""In which order a sampler reveals units, and how many at a step.

An order is a function of what is revealed already, and never of values that are drawn and not
shown.  Then the sampler's likelihood is a product along one path (DUEL, arXiv 2603.01367).  A
confidence that is read off the value just drawn, as MaskGIT's is, has no such likelihood.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from unmask.diffusion import MaskedDiffusion
from unmask.kernels.rows import chunks
from unmask.masks import counts_of
from unmask.subtokens import grid

# Keys are rounded to this step, so that what is equal in truth is equal in any batch, and the
# lowest index decides.
STEP = 2.0**-12


def confidence(logp: Tensor) -> Tensor:
    """The probability of the most probable value."""
    return logp.amax(-1).exp()


def margin(logp: Tensor) -> Tensor:
    """By how much it is more probable than the second."""
    first, second = logp.topk(2, -1).values.exp().unbind(-1)
    return first - second


def entropy(logp: Tensor) -> Tensor:
    """Less the entropy: the surest first."""
    return -torch.special.entr(logp.exp()).sum(-1)


# of the law of a unit's value, log mu (..., b): the largest is revealed first
KEYS: dict[str, Callable[[Tensor], Tensor]] = {
    "confidence": confidence,
    "margin": margin,
    "entropy": entropy,
}
DIRECTIONS = {"left-to-right": 1, "right-to-left": -1}
ORDERS = (*DIRECTIONS, *KEYS)


def check_order(order: str) -> None:
    """ValueError for an order that there is not."""
    if order not in ORDERS:
        raise ValueError(f"order must be one of {', '.join(ORDERS)}, not {order!r}")


def check_curve(model: MaskedDiffusion, what: str) -> None:
    """ValueError for one curve per value."""
    if model.schedule.num_values > 1:
        raise ValueError(
            f"{what} needs a schedule with one curve for all values: with one curve per value the "
            "network is shown a time, and a share of masked units does not say which"
        )


def marginals(logp: Tensor, units) -> Tensor:
    """(R, l, b): the log-probabilities of each of a token's units, from those of tokens (R, V)."""
    if units.length == 1:
        return logp[:, None]
    cube = grid(logp, units.base, units.length)
    axes = range(1, units.length + 1)
    each = [cube.logsumexp([other for other in axes if other != axis]) for axis in axes]
    return torch.stack(each, 1)


def keys(
    model: MaskedDiffusion,
    order: str,
    masked: Tensor,
    log_probs: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """(B, U) float64: which of the units `masked` (B, U) comes first, the largest.

    `log_probs` says log mu (r, V) at the positions (r,) of the sequences (r,) of the same state.
    """
    places = torch.arange(masked.shape[1], dtype=torch.float64, device=masked.device)
    if order in DIRECTIONS:
        return (-DIRECTIONS[order] * places).expand(masked.shape)
    units = model.units()
    found = torch.zeros(masked.shape, dtype=torch.float64, device=masked.device)
    view = found.unflatten(1, (-1, units.length))
    b, position = masked.unflatten(1, (-1, units.length)).any(-1).nonzero(as_tuple=True)
    for part in chunks(len(b), model.subtokenizer.vocab_size, masked.device):
        i, s = b[part], position[part]
        key = KEYS[order](marginals(log_probs(i, s).double(), units))
        view[i, s] = (key / STEP).round() * STEP
    return found


def first(key: Tensor, masked: Tensor, number: Tensor) -> Tensor:
    """(B, U) bool: of the units `masked` (B, U), the `number` (B,) with the largest keys (B, U).

    Of equal ones the lowest index.
    """
    falling = key.masked_fill(~masked, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    return (falling.argsort(-1) < number[:, None]) & masked


def targets(count: Tensor, shares: Tensor | None) -> Tensor:
    """(T, B) how many of `count` (B,) masked units are still so after each step.

    shares (T + 1,): see `masks.counts_of`.  None: a step reveals one unit.
    """
    if shares is not None:
        return counts_of(shares[1:], count).T
    steps = torch.arange(1, int(count.max()) + 1, device=count.device)
    return (count - steps[:, None]).clamp(min=0)


def tempered(logp: Tensor, temperature: float) -> Tensor:
    """log mu (R, V) at a temperature, normalised."""
    return logp if temperature == 1 else (logp / temperature).log_softmax(-1)
