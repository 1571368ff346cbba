"""A model over several processes: DDP, or FSDP2 with --shard.

Both average gradients over the processes, so a step's loss is multiplied by their number.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    FSDPModule,
    MixedPrecisionPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.nn.parallel import DistributedDataParallel

from unmask.backbones import parts_of
from unmask.diffusion import MaskedDiffusion
from unmask.processes import Processes

T = TypeVar("T")


def replicated(model: MaskedDiffusion) -> nn.Module:
    """What a step calls so that gradients become those of all processes."""
    device = model.device
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=True)


def shard(model: MaskedDiffusion, processes: Processes, dtype: str) -> None:
    """Leave each process its piece of every parameter, cut along the first axis (FSDP2).

    The weights of a part (`backbones.Part`) are whole only while it runs, in `dtype`.  What lies
    outside of the parts (embeddings, the head, which is called row by row, and the schedule, to
    which bfloat16 would be too coarse) is whole in float32 within a step.
    """
    mesh = init_device_mesh(model.device.type, (processes.size,))
    backbone: Any = model.backbone
    backbone.to(memory_format=torch.contiguous_format)  # pieces of other layouts are refused
    half = torch.bfloat16 if dtype == "bfloat16" else None
    policy = MixedPrecisionPolicy(half, torch.float32, cast_forward_inputs=False)
    for part in parts_of(backbone):
        fully_shard(part, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh)
    unprotected: Any = model
    unprotected.within = lambda function: function()
    register_fsdp_forward_method(model, "within")


def within(model: MaskedDiffusion, function: Callable[[], T]) -> T:
    """What `function` returns, which calls any of the model's methods, without gradients.

    Of a sharded model, only its forward pass can be called otherwise.
    """
    if not isinstance(model, FSDPModule):
        return function()
    shards: Any = model
    found = shards.within(function)
    model.reshard()
    return found
