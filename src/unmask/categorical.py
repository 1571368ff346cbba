"""The one categorical draw that every sampler uses, exact far into the tail.

A 24-bit uniform cannot resolve events below about 1e-7, so `argmax(log p + Gumbel)` in 32 bits
truncates the tail: a lower temperature that nobody asked for (arXiv 2409.02908).  Here one 53-bit
uniform is compared with sums kept in 64 bits.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from unmask.config import DrawName

BLOCK = 256
# of splitmix64 (Steele and others, "Fast splittable pseudorandom number generators", 2014), as
# signed integers
GAMMA, MIX, MIX_AGAIN = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
IMPOSSIBLE = (
    "cannot draw: the network's logits contain NaN or +inf, "
    "or leave a row without any possible value"
)


def uniform(*shape: int, generator: torch.Generator | None = None, device=None) -> Tensor:
    """Uniforms in [0, 1), 53 bits each, drawn where the generator lives, then moved to `device`."""
    home = device if generator is None else generator.device
    return torch.rand(shape, generator=generator, dtype=torch.float64, device=home).to(device)


def categorical(
    logits: Tensor, *, generator: torch.Generator | None = None, u: Tensor | None = None
) -> Tensor:
    """One draw from softmax(logits) per row: (R, V) -> (R,) ids.

    By inversion of the distribution function; `u` (R,) float64 in [0, 1) replaces the random draw.
    The search goes over sums of blocks of the row first, then inside one block, so no 64-bit copy
    of the row is formed.  A category of probability zero is never drawn.
    """
    if u is None:
        u = uniform(len(logits), generator=generator, device=logits.device)
    if not len(logits):
        return torch.zeros(0, dtype=torch.long, device=logits.device)
    p = (logits - logits.amax(-1, keepdim=True)).exp()
    p = torch.nn.functional.pad(p, (0, -p.shape[-1] % BLOCK))
    p = p.unflatten(-1, (-1, BLOCK))  # (R, n, BLOCK)
    blocks = p.sum(-1, dtype=torch.float64)
    total = blocks.sum(-1)
    if not bool(total.isfinite().all()):
        raise ValueError(IMPOSSIBLE)
    block, rest = _search(blocks, u * total)
    index, _ = _search(p[torch.arange(len(p), device=p.device), block].double(), rest)
    return block * BLOCK + index


def float32_gumbel(
    logits: Tensor,
    *,
    generator: torch.Generator | None = None,
    u: Tensor | None = None,
    uniforms: Tensor | None = None,
) -> Tensor:
    """What much published code does instead of `categorical`, to measure what that changes:
    argmax(log p + Gumbel) (R,) of logits (R, V), with float32 `uniforms` (R, V) in [0, 1).

    Not a draw from softmax(logits): of 24 bits no Gumbel is above 24 log 2 = 16.64, so the tail is
    cut off, and the draw is colder than it says (arXiv 2409.02908).  `u` (R,) float64: the uniforms
    are made of these, see `spread`.  A uniform of 0 counts as 2^-25, so that a category of
    probability zero is never drawn here either.
    """
    if not len(logits):
        return torch.zeros(0, dtype=torch.long, device=logits.device)
    if not bool(logits.amax(-1).isfinite().all()):
        raise ValueError(IMPOSSIBLE)
    if uniforms is None:
        if u is None:
            u = uniform(len(logits), generator=generator, device=logits.device)
        uniforms = spread(u, logits.shape[-1])
    gumbel = -(-uniforms.float().clamp(min=2.0**-25).log()).log()
    return (logits.float() + gumbel).argmax(-1)


def spread(u: Tensor, number: int) -> Tensor:
    """(R, number) float32 uniforms in [0, 1), 24 bits each, made of u (R,) of 53 bits: what is
    drawn for a row is a function of its own uniform.  splitmix64, begun at u."""
    x = (u * 2**53).long()[:, None] + GAMMA * torch.arange(1, number + 1, device=u.device)
    x = (x ^ _shifted(x, 30)) * MIX
    x = (x ^ _shifted(x, 27)) * MIX_AGAIN
    return _shifted(x ^ _shifted(x, 31), 40).float() * 2.0**-24


def _shifted(x: Tensor, bits: int) -> Tensor:
    """x as an unsigned integer of 64 bits, shifted to the right."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _search(p: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The first index at which the cumulative sum of p (R, n) exceeds target (R,).

    And what is left of target at it.
    """
    c = p.cumsum(-1)
    below = torch.nextafter(c[:, -1], torch.zeros_like(target))  # the total, also when rounded
    target = torch.minimum(target, below)
    index = (c <= target[:, None]).sum(-1)
    before = torch.where(index > 0, c.gather(-1, (index - 1).clamp(min=0)[:, None])[:, 0], 0.0)
    return index, target - before


DRAWS: dict[DrawName, Callable[..., Tensor]] = {
    "exact": categorical,
    "float32-gumbel": float32_gumbel,
}
