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


class _NoMemory(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        elif getattr(func, "__module__", "") == "torch.nn.init":
            tensor = kwargs.get("tensor", args[0] if args else None)
            if tensor is not None and tensor.is_meta:
                return tensor
        return func(*args, **kwargs)


@contextmanager
def no_weights() -> Iterator[None]:
    """Modules made here have parameters without memory, and buffers with their values.

    For networks whose state leaves out buffers that are computed, as those of transformers do:
    numbers of positions, frequencies.  What PyTorch's modules make by torch.empty are parameters.
    """
    with torch.device("cpu"), _NoMemory():
        yield


@contextmanager
def shapes_alone() -> Iterator[None]:
    """Modules made here have no memory, whatever their sizes, and no values.

    As torch.device("meta"), where a first normal_ imports PyTorch's decompositions: most of a
    second, for numbers that are nowhere.
    """
    with torch.device("meta"), _Unfilled():
        yield
