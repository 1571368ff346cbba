"""Which device and precision a command runs at."""

import ctypes
import math
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast, get_args

import torch

from unmask.config import Dtype, one_of

MKLDNN: Any = torch.backends.mkldnn  # its settings are made at run time


def tune_process() -> None:
    """For a process that is ours, such as a command's: what makes all of it faster."""
    keep_freed_memory()
    multiply_by_onednn()


def keep_freed_memory() -> None:
    """Let this process keep the memory that it frees, for the next step.

    glibc gives every block beyond 32 MB back to the system and gets it anew, a page fault for every
    4 KB: a fifth to a half of a training step with a large vocabulary on CPUs.  Nothing happens
    under another C library.
    """
    if os.name != "posix":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter in (-1, -3):  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
            mallopt(parameter, 2**31 - 1)


def multiply_by_onednn() -> bool:
    """Let oneDNN multiply this process's float32 matrices on AMD's processors: returns whether.

    PyTorch calls MKL, which takes twice as long there.  The setting that brings oneDNN in also lets
    it round to bfloat16, which it does where it gains by that: on Intel's tiles.  So a product is
    tried, and where it is not one of float32, all stays as it was.
    """
    if vendor() != "AuthenticAMD" or MKLDNN.matmul.fp32_precision != "none":
        return False
    a, b = torch.randn(2, 256, 256, generator=torch.Generator().manual_seed(0))
    exact = a.double() @ b.double()
    MKLDNN.matmul.fp32_precision = "bf16"
    if float((a @ b - exact).norm() / exact.norm()) < 1e-5:
        return True
    MKLDNN.matmul.fp32_precision = "none"
    return False


def float32_library() -> str:
    """What multiplies float32 matrices on this machine's processor."""
    if MKLDNN.matmul.fp32_precision == "bf16":
        return "oneDNN"
    return "MKL" if torch.backends.mkl.is_available() else "PyTorch's BLAS"


def vendor() -> str:
    """Of this machine's processor, where Linux tells it: "GenuineIntel", "AuthenticAMD"."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.split()[-1] for line in lines if line.startswith("vendor_id")), "")


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
    return choose_dtype(name, device)[0]


def choose_dtype(name: Dtype, device: torch.device) -> tuple[Dtype, str]:
    """The same, and why, in words.  ValueError for a name, or an UNMASK_DTYPE, that is none."""
    one_of("dtype", name, get_args(Dtype))
    if name != "auto":
        return name, "as asked"
    said = os.environ.get("UNMASK_DTYPE", "auto")
    if said not in get_args(Dtype):
        choice = ", ".join(get_args(Dtype))
        raise ValueError(
            f"UNMASK_DTYPE is {said!r} in the environment: set it to one of {choice}, or not at all"
        )
    if said != "auto":
        return cast(Dtype, said), "UNMASK_DTYPE in the environment says so"
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    if fast:
        return "bfloat16", f"this {device.type} has instructions for it"
    return "float32", f"this {device.type} has no instructions for bfloat16"


def precision(dtype: str, device: torch.device):
    """The context in which a network runs at `dtype`; weights and losses stay in float32.

    ValueError for a name that is no precision.
    """
    one_of("dtype", dtype, get_args(Dtype))
    return torch.autocast(device.type, torch.bfloat16) if dtype == "bfloat16" else nullcontext()
