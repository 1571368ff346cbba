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
    """Less the entropy: the surest first.

    The law is normalised again, since one that was summed of another's parts sums to 1 but for
    rounding errors: what is certain has an entropy of exactly 0.
    """
    logp = logp.log_softmax(-1)
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


def measured(
    model: MaskedDiffusion,
    order: str,
    masked: Tensor,
    log_probs: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """(B, U) float64: by which measure the units `masked` (B, U) come in this order, the largest
    first; not yet `rounded`.

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
        view[i, s] = KEYS[order](marginals(log_probs(i, s).double(), units))
    return found


def rounded(measure: Tensor) -> Tensor:
    """Measures as keys."""
    return (measure / STEP).round() * STEP


def first(key: Tensor, masked: Tensor, number: Tensor) -> Tensor:
    """(B, U) bool: of the units `masked` (B, U), the `number` (B,) with the largest keys (B, U).

    Of equal ones the lowest index.
    """
    falling = key.masked_fill(~masked, -torch.inf).argsort(dim=-1, descending=True, stable=True)
    return (falling.argsort(-1) < number[:, None]) & masked


def lowest(measure: Tensor, masked: Tensor, gamma: float) -> Tensor:
    """(B, U) bool: of the units `masked` (B, U) those that are revealed together, the first by
    `measure` (B, U), their entropies in nats less than zero: as many as leave the sum of the
    entropies without the largest at most `gamma`, and one at least.

    That sum bounds by how many nats, in expectation, a joint draw differs from single ones, if the
    network is right (arXiv 2505.24857).  Each is rounded up to a `STEP`: so the sum is at most
    `gamma`, and that of equal ones is the same in any batch.
    """
    key = rounded(measure).masked_fill(~masked, -torch.inf)
    falling = key.argsort(dim=-1, descending=True, stable=True)
    entropies = ((-measure / STEP).ceil() * STEP).masked_fill(~masked, torch.inf)
    sums = entropies.gather(-1, falling).cumsum(-1)
    # all but the last, which is the largest, or one STEP below it
    without = torch.nn.functional.pad(sums[:, :-1], (1, 0))
    return first(key, masked, (without <= gamma).sum(-1))


def targets(count: Tensor, shares: Tensor | None) -> Tensor:
    """(T, B) how many of `count` (B,) masked units are still so after each step.

    shares (T + 1,): see `masks.counts_of`.  None: a step reveals one unit.
    """
    if shares is not None:
        return counts_of(shares[1:], count).T
    steps = torch.arange(1, int(count.max()) + 1, device=count.device)
    return (count - steps[:, None]).clamp(min=0)


def changed(logp: Tensor, temperature: float, top_p: float) -> Tensor:
    """log mu (R, V) at a temperature, and then of its nucleus, normalised."""
    if temperature != 1:
        logp = (logp / temperature).log_softmax(-1)
    return logp if top_p == 1 else nucleus(logp, top_p)


def nucleus(logp: Tensor, top_p: float) -> Tensor:
    """(R, V) log mu of the fewest values whose probabilities sum to `top_p`, the likeliest, and of
    equal ones those with the lowest ids, normalised (arXiv 1904.09751)."""
    falling, order = logp.double().sort(dim=-1, descending=True, stable=True)
    before = torch.nn.functional.pad(falling.exp().cumsum(-1)[:, :-1], (1, 0))
    kept = torch.zeros_like(logp, dtype=torch.bool).scatter(-1, order, before < top_p)
    return logp.masked_fill(~kept, -torch.inf).log_softmax(-1)
