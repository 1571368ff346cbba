"""Shapes without values: to read weights into, or to count them."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


class _Unfilled(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is nn.init.normal_ and kwargs["tensor"].is_meta:
            return kwargs["tensor"]
        return func(*args, **kwargs)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Modules made here have no memory, whatever their sizes, and no values.

    As torch.device("meta"), where a first normal_ imports PyTorch's decompositions: most of a
    second, for numbers that are nowhere.
    """
    with torch.device("meta"), _Unfilled():
        yield
