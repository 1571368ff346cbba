"""Tensors of which every process may have only a piece, cut along the first axis (DTensor)."""

import sys
from typing import Any

from torch import Tensor


def is_sharded(tensor: Tensor) -> bool:
    """Whether it is a DTensor.  The module that makes them is slow to import, and then is."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Any) -> Tensor:
    """This process's piece."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def whole(tensor: Any) -> Tensor:
    """All of it, in every process; called by all."""
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def piece(tensor: Tensor, like: Any) -> Tensor:
    """Of a whole tensor, which every process has, what corresponds to `like`."""
    if not is_sharded(like):
        return tensor
    from torch.distributed.tensor import distribute_tensor

    placed = tensor.to(like.device)
    return distribute_tensor(placed, like.device_mesh, like.placements, src_data_rank=None)
