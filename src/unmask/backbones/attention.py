"""Attention in bfloat16 on CPUs: by PyTorch's kernel, or by its products, whichever is faster."""

import torch
import torch.nn.functional as F
from torch import Tensor

AMX = torch.cpu._is_amx_tile_supported()  # tiles of bfloat16
PART = 2**22  # scores that are there at a time, and their softmax
KEPT = 2**26  # softmaxes that a layer may keep for its backward pass; the kernel keeps none


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    causal: bool = False,
) -> Tensor:
    """Attention (B, H, S, D/H) to positions where `mask`, (B, 1, 1, S) bool, is True.

    `causal`: to no later ones; the last query is that of the last key.

    In bfloat16 on CPUs by its products where these are faster than PyTorch's kernel: in training at
    most lengths, as that kernel's backward pass is slow.
    """
    if causal and mask is None and q.shape == k.shape and not _by_products(q):
        return F.scaled_dot_product_attention(q, k, v, None, dropout, is_causal=True)
    if causal:
        mask = _before(q, k) if mask is None else mask & _before(q, k)
    if not _by_products(q):
        return F.scaled_dot_product_attention(q, k, v, mask, dropout)
    heads, length = q.shape[0] * q.shape[1], q.shape[2]
    some = max(1, PART // (length * k.shape[2]))
    if heads <= some:
        return _products(q, k, v, mask, dropout)
    if mask is not None:
        shared = mask.shape[0] == 1  # by all examples and heads
        mask = mask[0] if shared else mask.expand(-1, q.shape[1], -1, -1).flatten(0, 1)
    q3, k3, v3 = (u.flatten(0, 1) for u in (q, k, v))
    done = []
    for begin in range(0, heads, some):
        here = slice(begin, begin + some)
        shown = mask if mask is None or len(mask) == 1 else mask[here]
        done.append(_products(q3[here], k3[here], v3[here], shown, dropout))
    return torch.cat(done).view(q.shape)


def _before(q: Tensor, k: Tensor) -> Tensor:
    """(1, 1, S, S') bool: which keys (B, H, S', ...) are no later than a query (B, H, S, ...)."""
    queries, keys = q.shape[2], k.shape[2]
    there = torch.ones(1, 1, queries, keys, dtype=torch.bool, device=q.device)
    return there.tril(keys - queries)


def _by_products(q: Tensor) -> bool:
    if q.device.type != "cpu" or q.dtype != torch.bfloat16:
        return False
    if AMX:  # the kernel's own products are by its tiles, too
        return q.shape[2] <= 512 and torch.is_grad_enabled()
    return q.shape[:3].numel() * q.shape[2] <= KEPT


def _products(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    if mask is not None:
        # not -inf: a row may have no valid position
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return F.dropout(scores.softmax(-1, dtype=q.dtype), dropout) @ v
