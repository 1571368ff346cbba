"""What every measurement needs: seconds, memory, a process of its own, and the networks S and H."""

import functools
import multiprocessing
import time
from collections.abc import Callable

import torch

from unmask.backbones import Transformer
from unmask.config import Dtype
from unmask.device import keep_freed_memory, multiply_by_onednn
from unmask.train.plan import peak_memory

CPU = torch.device("cpu")
Row = tuple[str, float, str]  # name, value, unit


def product_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """Operations a second of a square matrix product, the best of several."""
    a = torch.randn(size, size).to(dtype)
    return 2 * size**3 / min(timed(lambda: a @ a, repeats=8))


@functools.cache
def product_rates() -> dict[Dtype, float]:
    return {"float32": product_rate(torch.float32), "bfloat16": product_rate(torch.bfloat16)}


def timed(function: Callable[[], object], repeats: int, warmup: int = 2) -> list[float]:
    """Seconds of each of `repeats` calls."""
    for _ in range(warmup):
        function()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return seconds


def peak() -> float:
    """MB of memory that this process has had at most; NaN on Windows."""
    return peak_memory(CPU) / (1 << 20)


def apart(function: Callable, *arguments, keep: bool = True):
    """The function's result from a process of its own, whose peak of memory is its own.

    `keep`: freed memory, for speed.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_begin, (torch.get_num_threads(), keep, function, *arguments))


def _begin(threads: int, keep: bool, function: Callable, *arguments):
    torch.set_num_threads(threads)
    multiply_by_onednn()
    if keep:
        keep_freed_memory()
    return function(*arguments)


def network(vocab_size: int, layers: int, digits: int = 1, time: bool = False) -> Transformer:
    torch.manual_seed(0)
    return Transformer(vocab_size, dim=256, layers=layers, heads=4, digits=digits, time=time)
