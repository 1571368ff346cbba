"""What masked units pay in continuous time, and its gradient, from logits: one pass a row.

A unit pays the cross-entropy of the marginal distribution of its value, over the tokens that agree
with what is revealed (carry-over).  All sums run over slices of the row's logits: all V of them
only where the whole token is masked, else base**m where m units are.  No mask over the vocabulary
is formed, so a row of digits costs less than one of a whole token, and rows are taken in tiles that
stay in the cache.  `formula.continuous` says the same from log-probabilities, without the gradient.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

TILE = {"cpu": 2**19, "cuda": 2**28}  # logits at a time


def marginal_nats(
    logits: Tensor,
    y: Tensor,
    masked: Tensor,
    base: int,
    factor: Tensor,
    power: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The sum () of each, to be differentiated, and each (R, l).

    Each: factor (R,) times the nats of a row's units, 0 if not masked.  logits (R, V) by code,
    true units y (R, l) in `base`, which of them are masked (R, l), at least one a row.

    A unit pays CE (arXiv 2406.04329, equation 4, with the marginals of digits where arXiv
    2505.18495 has the joint), or, with one power for each of the `base` values, power_y (CE - 1) +
    sum_v power_v mu_v (equation 9).  Rows with the same number of masked units are taken together
    where they are neighbours.  In float32 where the logits are narrower.
    """
    return _Marginals.apply(logits, y, masked, base, factor, power)


class _Marginals(torch.autograd.Function):
    @staticmethod
    # autocast would round the powers and mu to 8 bits in their products, and with them the bound
    @torch.autocast("cpu", enabled=False)
    @torch.autocast("cuda", enabled=False)
    def forward(ctx, logits, y, masked, base, factor, power):
        wide = torch.float32 if logits.dtype in (torch.float16, torch.bfloat16) else logits.dtype
        each = logits.new_zeros(y.shape, dtype=wide)
        weight = None if power is None else power.to(wide)
        gradient = of_power = None
        if any(ctx.needs_input_grad):
            gradient = torch.empty_like(logits)
            of_power = None if weight is None else torch.zeros_like(weight)
        counts, sizes = (v.tolist() for v in masked.sum(-1).unique_consecutive(return_counts=True))
        tile = TILE.get(logits.device.type, TILE["cpu"])
        first = 0
        for count, size in zip(counts, sizes, strict=True):
            width = logits.shape[1] if count == y.shape[1] else base**count
            step = max(1, tile // width)
            for a in range(first, first + size, step):
                part = slice(a, min(a + step, first + size))
                into = None if gradient is None else (gradient[part], of_power)
                scale = factor[part].to(wide)
                rows = logits[part], y[part], masked[part]
                each[part] = _tile(*rows, base, count, scale, weight, into)
            first += size
        ctx.gradients = gradient, None if of_power is None else of_power.to(power.dtype)
        ctx.mark_non_differentiable(each)
        return each.sum(), each

    @staticmethod
    def backward(ctx, *upstream):
        of_logits, of_power = ctx.gradients
        if of_logits.is_cuda or upstream[0] != 1:  # 1 where a chunk is differentiated at once
            of_logits = of_logits * upstream[0]
        if of_power is not None:
            of_power = of_power * upstream[0]
        return of_logits, None, None, None, None, of_power


def _tile(
    logits: Tensor,
    y: Tensor,
    masked: Tensor,
    base: int,
    count: int,
    factor: Tensor,
    weight: Tensor | None,
    into: tuple[Tensor, Tensor | None] | None,
) -> Tensor:
    """(r, l) of `marginal_nats` for rows that have `count` masked units each.

    The gradients in logits and powers go `into`.
    """
    columns = masked.nonzero()[:, 1].view(-1, count)  # which units are masked
    ids = None if count == y.shape[1] else _consistent(y, masked, columns, base)
    x = logits.to(factor.dtype) if ids is None else _take(logits, ids, factor.dtype)
    x = x - x.amax(1, keepdim=True)  # a common offset of the logits costs no precision
    truth = y.gather(1, columns)
    cells = [_slice(digit, base, count, axis) for axis, digit in enumerate(truth.unbind(1))]
    slices = [_take(x, cell) for cell in cells]
    marginals = torch.stack([values.logsumexp(1) for values in slices], 1)
    if weight is None and into is None:
        return _spread(factor, x.logsumexp(1, keepdim=True) - marginals, columns, y.shape[1])
    total = x.exp_().sum(1, keepdim=True)
    ce = total.log() - marginals  # (r, m)
    if weight is None:
        nats, paid = ce, torch.ones_like(ce)
        if into is not None:
            x.mul_(factor[:, None] * count / total)
    else:
        x = pad(x.div_(total), (0, base**count - x.shape[1]))
        cube = x.view(-1, *[base] * count)
        mu = [cube]
        if count > 1:
            axes = range(1, count + 1)
            mu = [cube.sum([other for other in axes if other != axis]) for axis in axes]
        paid = weight[truth]  # (r, m)
        mean = torch.stack([m @ weight for m in mu], 1)
        nats = paid * (ce - 1) + mean
        if into is not None:
            assert into[1] is not None
            into[1].index_add_(0, truth.flatten(), (factor[:, None] * (ce - 1)).flatten())
            for m in mu:
                into[1].add_(factor @ m)
            # of each cell, its powers' sum
            values = torch.cartesian_prod(*[weight] * count).view(-1, count).sum(1)
            rest = (paid - mean).sum(1, keepdim=True)
            x.mul_(factor[:, None] * (rest + values))
    if into is not None:
        for axis, (cell, values) in enumerate(zip(cells, slices, strict=True)):
            scale = (factor * paid[:, axis])[:, None]
            share = (values - marginals[:, axis, None]).exp_().mul_(scale)
            x.scatter_add_(1, cell.clamp(max=x.shape[1] - 1), share.neg_())
        if ids is None:
            into[0].copy_(x[:, : logits.shape[1]])
        else:
            # 0 for codes that do not exist
            into[0].zero_().scatter_add_(1, ids.clamp(max=logits.shape[1] - 1), x.to(logits.dtype))
    return _spread(factor, nats, columns, y.shape[1])


def _spread(factor: Tensor, nats: Tensor, columns: Tensor, length: int) -> Tensor:
    """(r, l): factor (r,) * nats (r, m) at their columns (r, m)."""
    return nats.new_zeros(len(nats), length).scatter_(1, columns, factor[:, None] * nats)


def _take(x: Tensor, ids: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """x (r, n) at ids (r, k), -inf beyond n."""
    found = x.gather(1, ids.clamp(max=x.shape[1] - 1)).to(dtype or x.dtype)
    return found.masked_fill_(ids >= x.shape[1], -torch.inf)


def _consistent(y: Tensor, masked: Tensor, columns: Tensor, base: int) -> Tensor:
    """(r, base**m) codes that agree with the revealed units; some may not exist.

    In the order of one axis of `base` for each masked unit.
    """
    place = base ** torch.arange(y.shape[1] - 1, -1, -1, device=y.device)
    ids = (y * place).masked_fill(masked, 0).sum(-1, keepdim=True)
    digit = torch.arange(base, device=y.device)
    for column in columns.unbind(1):
        ids = (ids[:, :, None] + digit * place[column][:, None, None]).flatten(1)
    return ids


def _slice(digit: Tensor, base: int, count: int, axis: int) -> Tensor:
    """(r, base**(count-1)) cells of a flat cube of `count` axes where `axis` is `digit` (r,)."""
    low = base ** (count - 1 - axis)
    others = torch.arange(base ** (count - 1), device=digit.device)
    return others // low * (low * base) + others % low + digit[:, None] * low
