"""The marginal cross-entropies of masked units and their gradient, from logits, in one pass over each row.

A unit pays -log of the marginal probability of its true value, over the tokens that agree with what is revealed (carry-over).  Both
sums run over slices of the row's logits: all V of them only where the whole token is masked, else base**m where m units are.  No
mask over the vocabulary is formed, so a token in digits costs less than a whole one, and rows are taken in tiles that stay in the
cache.  `diffusion.continuous` says the same from log-probabilities, for every schedule.
"""

import torch
from torch import Tensor

TILE = {"cpu": 2**19, "cuda": 2**28}  # logits at a time


def marginal_nats(logits: Tensor, y: Tensor, masked: Tensor, base: int) -> Tensor:
    """(R,) sum over masked units of -log mu: logits (R, V) by code, true units y (R, l) in `base`, which of them are masked (R, l).

    A row has at least one masked unit.  Rows with the same number of them are taken together where they are neighbours.  In
    float32 where the logits are narrower; differentiable once, in the logits (arXiv 2406.04329, equation 4, with the marginals of
    digits in place of the joint of arXiv 2505.18495).
    """
    return _Marginals.apply(logits, y, masked, base)


class _Marginals(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, y, masked, base):
        wide = torch.float32 if logits.dtype in (torch.float16, torch.bfloat16) else logits.dtype
        nats = logits.new_empty(len(logits), dtype=wide)
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        counts, sizes = (v.tolist() for v in masked.sum(-1).unique_consecutive(return_counts=True))
        first = 0
        for count, size in zip(counts, sizes, strict=True):
            width = logits.shape[1] if count == y.shape[1] else base**count
            step = max(1, TILE.get(logits.device.type, TILE["cpu"]) // width)
            for a in range(first, first + size, step):
                part = slice(a, min(a + step, first + size))
                nats[part] = _tile(logits[part], y[part], masked[part], base, count, wide, None if gradient is None else gradient[part])
            first += size
        ctx.gradient = gradient
        return nats

    @staticmethod
    def backward(ctx, *upstream):
        if ctx.gradient is None:
            raise RuntimeError("the loss was back-propagated twice; its gradients are kept for one pass only")
        gradient, ctx.gradient = ctx.gradient, None
        return gradient.mul_(upstream[0][:, None]), None, None, None


def _tile(logits: Tensor, y: Tensor, masked: Tensor, base: int, count: int, wide: torch.dtype, gradient: Tensor | None) -> Tensor:
    """(r,) nats of rows that have `count` masked units each; d nats / d logits into `gradient` (r, V), unless None."""
    columns = masked.nonzero()[:, 1].view(-1, count)  # which units are masked
    inside = ids = None
    if count == y.shape[1]:
        x = logits.to(wide, copy=gradient is not None)
    else:
        ids, inside = _consistent(y, masked, columns, base, logits.shape[1])
        x = logits.gather(1, ids).to(wide).masked_fill_(~inside, -torch.inf)
    slices = []
    for axis, digit in enumerate(y.gather(1, columns).unbind(1)):
        cells, exists = _slice(digit, base, count, axis, x.shape[1])
        slices.append((cells, x.gather(1, cells).masked_fill_(~exists, -torch.inf)))
    marginals = [values.logsumexp(1) for _, values in slices]
    if gradient is None:
        return count * x.logsumexp(1) - sum(marginals)
    highest = x.amax(1, keepdim=True)
    x.sub_(highest).exp_()
    total = x.sum(1, keepdim=True)
    x.mul_(count / total)
    for (cells, values), marginal in zip(slices, marginals, strict=True):
        x.scatter_add_(1, cells, -(values - marginal[:, None]).exp())
    if ids is None or inside is None:
        gradient.copy_(x)
    else:
        gradient.zero_().scatter_add_(1, ids, x.masked_fill_(~inside, 0).to(gradient.dtype))
    return count * (highest + total.log())[:, 0] - sum(marginals)


def _consistent(y: Tensor, masked: Tensor, columns: Tensor, base: int, vocab_size: int) -> tuple[Tensor, Tensor]:
    """(r, base**m) codes that agree with the revealed units, one axis of `base` for each masked one, and which of them exist."""
    place = base ** torch.arange(y.shape[1] - 1, -1, -1, device=y.device)
    ids = (y * place).masked_fill(masked, 0).sum(-1, keepdim=True)
    digit = torch.arange(base, device=y.device)
    for column in columns.unbind(1):
        ids = (ids[:, :, None] + digit * place[column][:, None, None]).flatten(1)
    return ids.clamp(max=vocab_size - 1), ids < vocab_size


def _slice(digit: Tensor, base: int, count: int, axis: int, width: int) -> tuple[Tensor, Tensor]:
    """(r, base**(count-1)) cells of a cube of `count` axes, flat, of `width` cells, where `axis` is `digit` (r,); which exist."""
    low = base ** (count - 1 - axis)
    others = torch.arange(base ** (count - 1), device=digit.device)
    cells = others // low * (low * base) + others % low + digit[:, None] * low
    return cells.clamp(max=width - 1), cells < width
