"""Apply a network's head to rows in chunks, forward and backward.

So no (rows, vocabulary) tensor outlives its chunk.
"""

import itertools
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

CHUNK = {"cpu": 2**24, "cuda": 2**28}  # logits that exist at a time


def chunks(rows: int, width: int, device: torch.device) -> list[slice]:
    """Slices of [0, rows) whose logits, `width` a row, stay below CHUNK.

    They are equal in size up to one row.
    """
    count = max(1, -(-rows * width // CHUNK.get(device.type, CHUNK["cpu"])))
    ends = [rows * i // count for i in range(count + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(ends)]


def in_steps(index: Tensor, step: int) -> Tensor:
    """(R,) -> with its last element repeated, until R is a multiple of `step`.

    Where the number of rows changes every time, CPUs keep code for every number of them in
    bfloat16: memory grows by up to a gigabyte.  The rows that are repeated are to be weighted by 0.
    """
    missing = -len(index) % step if step else 0
    return torch.cat([index, index[-1:].expand(missing)]) if missing else index


def sum_rows(
    nats: Callable[[Tensor, slice], tuple[Tensor, Tensor]],
    rows: Tensor,
    parameters: Iterable[Tensor],
    width: int,
) -> tuple[Tensor, Tensor]:
    """The sum over rows of nats, to be differentiated, and each (R, ...), detached.

    `nats(rows[part], part)` -> their sum () and each (r, ...) goes through the head, whose logits
    are `width` wide.  Where the rows need several chunks, each is differentiated as soon as it is
    evaluated and only the gradients are kept: one pass over the head, no recomputation.
    """
    parts = chunks(len(rows), width, rows.device)
    if not torch.is_grad_enabled():
        each = torch.cat([nats(rows[part], part)[1] for part in parts])
        return each.sum(), each
    if len(parts) == 1:
        total, each = nats(rows, parts[0])
        return total, each.detach()
    return _Chunked.apply(nats, parts, rows, *[p for p in parameters if p.requires_grad])


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx, nats, parts, rows, *parameters):
        each = []
        gradient = torch.zeros_like(rows)
        gradients: list[Tensor | None] = [None] * len(parameters)
        with torch.enable_grad():
            for part in parts:
                chunk = rows[part].detach().requires_grad_()
                total, nat = nats(chunk, part)
                first, *others = torch.autograd.grad(total, [chunk, *parameters], allow_unused=True)
                gradient[part] = first
                for i, new in enumerate(others):
                    if new is not None:
                        known = gradients[i]
                        gradients[i] = new if known is None else known.add_(new)
                each.append(nat.detach())
        ctx.gradients = [gradient, *gradients]
        each = torch.cat(each)
        ctx.mark_non_differentiable(each)
        return each.sum(), each

    @staticmethod
    def backward(ctx, *upstream):
        if ctx.gradients is None:
            once = "its gradients are kept for one pass only"
            raise RuntimeError(f"the loss was back-propagated twice; {once}")
        gradients, ctx.gradients = ctx.gradients, None
        return None, None, *(g if g is None else g.mul_(upstream[0].to(g.dtype)) for g in gradients)
