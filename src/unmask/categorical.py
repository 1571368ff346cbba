"""The one categorical draw that every sampler uses, exact far into the tail.

A 24-bit uniform cannot resolve events below about 1e-7, so `argmax(log p + Gumbel)` in 32 bits
truncates the tail: a lower temperature that nobody asked for (arXiv 2409.02908).  Here one 53-bit
uniform is compared with sums kept in 64 bits.
"""

import torch
from torch import Tensor

BLOCK = 256


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
        raise ValueError(
            "cannot draw: the network's logits contain NaN or +inf, "
            "or leave a row without any possible value"
        )
    block, rest = _search(blocks, u * total)
    index, _ = _search(p[torch.arange(len(p), device=p.device), block].double(), rest)
    return block * BLOCK + index


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
