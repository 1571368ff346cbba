"""Tensors of which every process may have only a piece, cut along the first axis (DTensor)."""

import math
import re
import sys
import warnings
from pathlib import Path
from typing import Any

from torch import Tensor

from unmask import checkpoint


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


def unfit(folder: Path, why: str) -> ValueError:
    return ValueError(f"{folder} does not fit this run, and cannot be continued: {why}")


AVERAGED = "averaged."  # of the names of averaged weights among the pieces of a checkpoint


def shards_of(folder: Path) -> list[str]:
    """The files of a checkpoint's pieces; none where it is written whole."""
    names = checkpoint.read_config(folder)["sha256"]
    return sorted(name for name in names if re.fullmatch(r"shard-\d+-.*\.safetensors", name))


def check_pieces(folder: Path, tensors: dict[str, int]) -> None:
    """ValueError unless the pieces in a folder make up tensors of so many values: reading would
    leave the rest as it was.

    SafetensorError for a file that cannot be read.
    """
    from torch.distributed.checkpoint import HuggingFaceStorageReader

    found: Any = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    for name, size in tensors.items():
        chunks = found[name].chunks if name in found else []
        there = sum({tuple(chunk.offsets): math.prod(chunk.sizes) for chunk in chunks}.values())
        if there != size:
            raise ValueError(f"its pieces hold {there:,} values of {name}, not {size:,}")


def read_shards(
    folder: Path, names: list[str], into: dict[str, Tensor], *, verified: bool = False
) -> None:
    """Read what corresponds to these tensors, whole or pieces, from a checkpoint's pieces.

    ValueError for damaged ones, and for those of something else.
    """
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint import HuggingFaceStorageReader
    from torch.distributed.checkpoint.api import CheckpointException

    if not verified:
        checkpoint.verify(folder, names, checkpoint.read_config(folder)["sha256"])
    for name in names:
        checkpoint.check_header(folder / name)
    try:
        check_pieces(folder, {name: tensor.numel() for name, tensor in into.items()})
        reader = HuggingFaceStorageReader(str(folder))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled")
            dcp.load(into, storage_reader=reader, no_dist=True)
    except (Exception, CheckpointException) as error:  # the latter is none of the former
        said = " ".join(str(error).split())[-300:]
        raise unfit(folder, said) from error
