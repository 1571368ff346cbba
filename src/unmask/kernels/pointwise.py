"""What a transformer does between its products, in few passes over memory, forward and backward.

Each is what its first lines say.  They are for training on CPUs, where autograd's own way through
such an expression goes over memory two to three times as often; elsewhere, the expression is used.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def by_hand(x: Tensor) -> bool:
    """Whether a gradient is wanted on a CPU, and nothing is being compiled or traced."""
    return x.device.type == "cpu" and torch.is_grad_enabled() and not torch.compiler.is_compiling()


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) * weight over the last axis, of the more precise type of the two."""
    if by_hand(x):
        return _RMSNorm.apply(x, weight, eps)
    return x * _inverse_rms(x, eps) * weight


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    # a single reduction: twice as fast as PyTorch's composite
    square = torch.linalg.vector_norm(x, dim=-1, keepdim=True) ** 2 / x.shape[-1]
    return (square + eps).rsqrt()


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, eps):
        scale = _inverse_rms(x, eps)
        ctx.save_for_backward(x, weight, scale)
        return (x * scale).mul_(weight) if x.dtype == weight.dtype else x * scale * weight

    @staticmethod
    def backward(ctx, *slopes):
        (slope,), (x, weight, scale) = slopes, ctx.saved_tensors
        x, weight, scale = (u.to(slope.dtype) for u in (x, weight, scale))
        dim = x.shape[-1]
        product, rows = (slope * x).reshape(-1, dim), scale.reshape(-1, 1)
        into_weight = (rows.T @ product).view(dim)
        # the derivative of rms(x): a row's projection on x
        along = (product @ weight[:, None]).mul_(rows**3).div_(-dim)
        into_x = (slope * weight).mul_(scale)
        return into_x.addcmul_(x, along.view(scale.shape)), into_weight, None


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(B, S, H, D) turned by angles (S, 1, D / 2), position by position: rotary embeddings."""
    if by_hand(x):
        return _Turned.apply(x, cos, sin)
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, cos, sin):
        ctx.save_for_backward(cos, sin)
        # in memory as products of heads need it
        return _turn(x, cos, sin, 1, x.new_empty(x.transpose(1, 2).shape).transpose(1, 2))

    @staticmethod
    def backward(ctx, *slopes):
        (cos, sin), (slope,) = ctx.saved_tensors, slopes
        into = torch.empty(slope.shape, dtype=slope.dtype)
        return _turn(slope, cos, sin, -1, into), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, way: int, into: Tensor) -> Tensor:
    (a, b), (c, d) = x.chunk(2, -1), into.chunk(2, -1)
    torch.mul(a, cos, out=c).addcmul_(b, sin, value=-way)
    torch.mul(b, cos, out=d).addcmul_(a, sin, value=way)
    return into


def with_neighbours(x: Tensor, weight: Tensor, before: int) -> Tensor:
    """(B, S, D) plus, of every channel, a sum of K positions weighted by `weight` (K, D).

    The first of them is `before` positions earlier; beyond the ends all is 0.
    """
    if by_hand(x):
        return _WithNeighbours.apply(x, weight, before)
    around = F.pad(x, (0, 0, before, len(weight) - 1 - before))
    for i, row in enumerate(weight.to(x.dtype)):
        x = x + around[:, i : i + x.shape[1]] * row
    return x


class _WithNeighbours(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, before):
        ctx.save_for_backward(x, weight)
        ctx.before = before
        return _added(x, weight.to(x.dtype), before)

    @staticmethod
    def backward(ctx, *slopes):
        (slope,), (x, weight) = slopes, ctx.saved_tensors
        after = len(weight) - 1 - ctx.before
        into_x = _added(slope, weight.to(slope.dtype).flip(0), after)
        into_weight = torch.zeros_like(weight)
        for i, here, there in _pairs(x.shape[1], len(weight), ctx.before):
            product = slope[:, here] * x[:, there]
            torch.sum(product, (0, 1), dtype=weight.dtype, out=into_weight[i])
        return into_x, into_weight, None


def _added(x: Tensor, weight: Tensor, before: int) -> Tensor:
    y = x * (1 + weight[before])
    for i, here, there in _pairs(x.shape[1], len(weight), before):
        if i != before:
            y[:, here].addcmul_(x[:, there], weight[i])
    return y


def _pairs(length: int, count: int, before: int) -> Iterator[tuple[int, slice, slice]]:
    """Which positions see, and which are seen, by each weight."""
    for i in range(count):
        away = i - before
        if abs(away) < length:
            yield (
                i,
                slice(max(0, -away), length - max(0, away)),
                slice(max(0, away), length - max(0, -away)),
            )
