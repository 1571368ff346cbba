"""Muon: momentum whose rows are scaled to one norm, then made an orthogonal matrix.

It is for the matrices and convolution kernels of a network's blocks.  PyTorch's own always
multiplies in bfloat16, which a processor without instructions for it emulates at a hundredth of its
speed: on such a machine that was half of a training step.  Here the type is the caller's, and
matrices of one shape are taken together.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.processes import ALONE, Processes
from unmask.train.shards import is_sharded, local

# Of the quintic whose repetition drives singular values near 1 (Jordan et al. 2024,
# kellerjordan.github.io/posts/muon).
A, B, C, STEPS = 3.4445, -4.7750, 2.0315, 5


def orthogonalized(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """(n, rows, columns): each with its singular values s replaced by p(...p(s / its norm)).

    p(s) = A s + B s^3 + C s^5, in `dtype`.
    """
    x = matrices.to(dtype)
    wide = x.shape[1] <= x.shape[2]
    x = x if wide else x.mT
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=B, alpha=C), x, beta=A)
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, rows of one norm, orthogonalized, times the learning rate and
    sqrt(max(1, rows / columns)).

    The rows are scaled as by MuonEq (arXiv 2603.28254): five rounds leave small singular values
    small, and rows of small gradients with them.  The decay of weights is AdamW's.

    A kernel (out, in, ...) counts as the matrix (out, in * ...).  `transposed`: those of `params`
    that are kernels (in, out, ...), of transposed convolutions, which count as (out * ..., in):
    what becomes of one pixel.  `dtype`: of the orthogonalization alone.  `processes`: each makes
    its share of the matrices orthogonal, and all get the results; parameters may be pieces of
    sharded ones.
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        *,
        weight_decay: float = 0.0,
        momentum: float = 0.9,
        transposed: Iterable[Tensor] = (),
        dtype: torch.dtype = torch.float32,
        processes: Processes = ALONE,
    ):
        params = list(params)
        flat = next((p for p in params if p.ndim < 2), None)
        if flat is not None:
            odd = f"a parameter has the shape {tuple(flat.shape)}"
            raise ValueError(f"Muon is for matrices and kernels, and {odd}")
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.dtype, self.transposed = dtype, {id(p) for p in transposed}
        self.processes = processes

    @torch.no_grad()
    def step(self, closure=None) -> Any:
        assert closure is None
        for group in self.param_groups:
            shapes: dict[tuple[int, int, bool], list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    shapes[*p.flatten(1).shape, id(p) in self.transposed].append(p)
            for (rows, columns, turned), params in shapes.items():
                for p in params:
                    if "momentum_buffer" not in self.state[p]:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                pieces = [local(p) for p in params]
                momenta = [local(self.state[p]["momentum_buffer"]) for p in params]
                gradients = [local(p.grad) for p in params if p.grad is not None]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                averages = torch.stack([m.flatten(1) for m in momenta])
                ahead = torch.stack([g.flatten(1) for g in gradients])
                ahead = ahead.lerp_(averages, group["momentum"])
                sharded = is_sharded(params[0])
                change = self.direction(ahead, rows, sharded, turned)
                change = change.to(ahead.dtype).contiguous()
                torch._foreach_mul_(pieces, 1 - group["lr"] * group["weight_decay"])
                changes = [c.view_as(p) for c, p in zip(change, pieces, strict=True)]
                # the orthogonal matrix of a transposed one is its transpose
                tall = columns / rows if turned else rows / columns
                torch._foreach_add_(pieces, changes, alpha=-group["lr"] * math.sqrt(max(1.0, tall)))

    def direction(self, ahead: Tensor, rows: int, sharded: bool, turned: bool) -> Tensor:
        """(n, rows, columns), rows of one norm, orthogonalized; where they are sharded, the rows of
        this process, from the same rows of what is `ahead`.

        `turned`: what counts are the transposes, so that the columns get one norm.
        """
        processes = self.processes
        if sharded:
            ahead = processes.rows(ahead, rows, dim=1)
        level = F.normalize(processes.piece(ahead), dim=1 if turned else 2)
        change = orthogonalized(level, self.dtype)
        if processes.size > 1:
            change = processes.rows(change, len(ahead))
        if sharded:
            change = processes.piece(change, dim=1)
        return change
