"""Which device and precision a command runs at."""

import ctypes
import math
import os
from contextlib import nullcontext
from typing import cast, get_args

import torch

from unmask.config import Dtype


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the next step.

    For a process that is ours, such as a command's.  glibc gives every block beyond 32 MB back to
    the system and gets it anew, a page fault for every 4 KB: a fifth to a half of a training step
    with a large vocabulary on CPUs.  Nothing happens under another C library.
    """
    if not hasattr(ctypes, "CDLL"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(parameter, 2**31 - 1)


def physical_memory(device: torch.device | None = None) -> float:
    """Bytes of a GPU, or else of this machine; infinity where the system does not tell."""
    if device is not None and device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory)
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):  # as on Windows
        return math.inf


def pick_device(name: str = "auto") -> torch.device:
    """ "auto": cuda where there is one, else cpu.  ValueError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {name!r} cannot be used: {str(error).splitlines()[0]}") from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(
            f"device {name!r} is not supported: sampling and likelihoods need float64; "
            "use cpu or cuda"
        )
    return device


def pick_dtype(name: Dtype, device: torch.device) -> Dtype:
    """ "auto": what UNMASK_DTYPE in the environment says, else bfloat16 where that is fast."""
    if name == "auto":
        said = os.environ.get("UNMASK_DTYPE", "auto")
        if said not in get_args(Dtype):
            choice = ", ".join(get_args(Dtype))
            raise ValueError(
                f"UNMASK_DTYPE is {said!r} in the environment: "
                f"set it to one of {choice}, or not at all"
            )
        name = cast(Dtype, said)
    if name != "auto":
        return name
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if fast else "float32"


def precision(dtype: str, device: torch.device):
    """The context in which a network runs at `dtype`; weights and losses stay in float32."""
    return torch.autocast(device.type, torch.bfloat16) if dtype == "bfloat16" else nullcontext()
