"""A model over several processes: DDP, or FSDP2 with --shard.

Both average gradients over the processes, so a step's loss is multiplied by their number.
"""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint import HuggingFaceStorageWriter
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from unmask import checkpoint
from unmask.backbones import parts_of
from unmask.diffusion import MaskedDiffusion
from unmask.files import beside
from unmask.processes import Processes
from unmask.train.shards import AVERAGED, check_pieces, read_shards

T = TypeVar("T")
HEAVY = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
PATIENCE = 60.0  # seconds, for what is being written when a run ends otherwise


def replicated(model: MaskedDiffusion) -> nn.Module:
    """What a step calls so that gradients become those of all processes."""
    device = model.device
    ids = [device.index] if device.type == "cuda" else None
    how = {"gradient_as_bucket_view": True, "broadcast_buffers": False}
    return DistributedDataParallel(model, device_ids=ids, **how)


def shard(model: MaskedDiffusion, processes: Processes, device: torch.device, dtype: str) -> None:
    """Leave each process its piece of every parameter, on `device`, cut along the first axis
    (FSDP2).

    The matrices and kernels of a part (`backbones.Part`) are whole only while it runs, in `dtype`,
    as autocast would have them.  All else (norms and gains, to which bfloat16 would be too coarse,
    embeddings, the head, which is called row by row, the schedule) is whole in float32 in a step.
    """
    mesh = init_device_mesh(device.type, (processes.size,))
    backbone: Any = model.backbone
    backbone.to(memory_format=torch.contiguous_format)  # pieces of other layouts are refused
    half = torch.bfloat16 if dtype == "bfloat16" else None
    policy = MixedPrecisionPolicy(half, torch.float32, cast_forward_inputs=False)
    for part in parts_of(backbone):
        heavy: Any = [module for module in part.modules() if isinstance(module, HEAVY)]
        fully_shard(heavy, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh)
    unprotected: Any = model
    unprotected.within = lambda function: function()
    register_fsdp_forward_method(model, "within")


def within(model: Any, function: Callable[[], T]) -> T:
    """What `function` returns, which calls any of the sharded model's methods, without gradients.

    Otherwise only its forward pass can be called.
    """
    try:
        return model.within(function)
    finally:
        model.reshard()


class Writer:
    """Writes checkpoints of a sharded model while the run goes on.

    Every process writes its pieces, by torch.distributed.checkpoint, as safetensors: nothing is
    unpickled on reading.  Then the first looks whether all pieces are there, makes the averaged
    weights whole, in the file that everything else reads, records the digests, and gives the folder
    its name.
    """

    def __init__(self, averaged: MaskedDiffusion, processes: Processes):
        self.averaged, self.processes = averaged, processes
        self.group = dist.new_group(backend="gloo")  # the run's own is in use meanwhile
        self.finishing = ThreadPoolExecutor(1)
        self.pending: Any = None

    def write(
        self,
        folder: Path,
        config: dict,
        tensors: dict[str, Tensor],
        files: dict[str, bytes],
        then: Callable[[], None],
    ) -> None:
        """Begin to; returns once the tensors are copied.  `then`: what to do last."""
        self.settle()

        def begin() -> Path:
            folder.parent.mkdir(parents=True, exist_ok=True)
            new = beside(folder)
            new.mkdir()
            return new

        new = self.processes.of_first(begin)
        averaged = self.averaged.state_dict()
        tensors = tensors | {AVERAGED + name: tensor for name, tensor in averaged.items()}
        storage = HuggingFaceStorageWriter(str(new), save_distributed=True)
        how: Any = {"storage_writer": storage, "process_group": self.group}
        written: Any = dcp.async_save(tensors, **how)
        sizes = {name: tensor.numel() for name, tensor in tensors.items()}

        def finish() -> None:
            try:
                written.result()  # of all processes
                whole = {
                    AVERAGED + name: torch.empty(like.shape, dtype=like.dtype)
                    for name, like in averaged.items()
                }
                read_back(new, sizes, whole)
                model = {name.removeprefix(AVERAGED): tensor for name, tensor in whole.items()}
                checkpoint.complete(new, folder, config, {"model.safetensors": model}, files)
                then()
            finally:
                shutil.rmtree(new, ignore_errors=True)  # it has another name if all went well

        self.pending = written
        if self.processes.rank == 0:
            self.pending = self.finishing.submit(finish)

    def settle(self) -> None:
        """Wait for the last one; OSError if it could not be written."""
        pending, self.pending = self.pending, None
        if pending is None:
            return
        try:
            self.processes.of_first(pending.result)
            pending.result()
        except CheckpointException as error:
            first = next(iter(error.failures.values()))[0]
            raise OSError(f"a checkpoint cannot be written: {first}") from error

    def close(self) -> None:
        """Wait for this process's part of what is being written, whatever becomes of it."""
        pending, self.pending = self.pending, None
        if pending is not None:
            wait([pending], PATIENCE)


def read_back(folder: Path, sizes: dict[str, int], into: dict[str, Tensor]) -> None:
    """Read what has just been written; OSError unless the pieces of tensors of these sizes are all
    there, and can be read."""
    try:
        check_pieces(folder, sizes)
        read_shards(folder, [path.name for path in folder.iterdir()], into, verified=True)
    except (ValueError, SafetensorError) as error:
        seen = f": every process must see {folder.parent}" if isinstance(error, ValueError) else ""
        raise OSError(f"a checkpoint cannot be written: {error}{seen}") from error
