"""Tables of names: which tensor of a file is which of ours, its shape checked before it is read."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Row(NamedTuple):
    theirs: str
    ours: str
    shape: tuple[int, ...]  # in the file
    turn: Callable[[Tensor], Tensor] | None = None  # what makes it ours, where it lies otherwise


def check_names(path: Path, found: Mapping[str, Any], rows: Sequence[Row], what: str) -> None:
    """ValueError unless a file has the tensors of the rows, in their shapes, and no others."""
    for row in rows:
        if row.theirs not in found:
            raise ValueError(
                f"{path} has no tensor {row.theirs}, which {what} has: give the file as it was "
                "written"
            )
        check_shape(path, row, found[row.theirs])
    known = {row.theirs for row in rows}
    if strange := [name for name in found if name not in known]:
        raise ValueError(
            f"{path} has a tensor {strange[0]}, which {what} has not: give the file as it was "
            "written"
        )


def check_shape(path: Path, row: Row, tensor: Any) -> None:
    if tuple(tensor.shape) != row.shape:
        raise ValueError(
            f"{path}: tensor {row.theirs} has the shape {tuple(tensor.shape)}, expected "
            f"{row.shape}: give the file as it was written"
        )


def in_order(path: Path, averaged: Sequence[Any], rows: Sequence[Row]) -> dict[str, Any]:
    """The averaged parameters by name, from a list in the order of the rows.

    ValueError unless there are as many, each of its row's shape.
    """
    if len(averaged) != len(rows):
        raise ValueError(
            f"{path} has {len(averaged)} averaged tensors for {len(rows)} parameters: "
            "give the file as it was written"
        )
    for row, tensor in zip(rows, averaged, strict=True):
        check_shape(path, row, tensor)
    return {row.theirs: tensor for row, tensor in zip(rows, averaged, strict=True)}


def read_rows(path: Path, found: Mapping[str, Any], rows: Sequence[Row]) -> dict[str, Tensor]:
    """The tensors of the rows by our names, float32.  ValueError for values that are not finite."""
    state = {}
    for row in rows:
        tensor = found[row.theirs].read().to(torch.float32)
        if not bool(tensor.isfinite().all()):
            raise ValueError(
                f"{path}: tensor {row.theirs} has values that are not finite: it is no trained "
                "network; give another file"
            )
        state[row.ours] = tensor if row.turn is None else row.turn(tensor).contiguous()
    return state
