"""Which device and precision a command runs at."""

from contextlib import nullcontext

import torch

from unmask.config import Dtype


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
        raise ValueError(f"device {name!r} is not supported: sampling and likelihoods need float64; use cpu or cuda")
    return device


def pick_dtype(name: Dtype, device: torch.device) -> Dtype:
    """ "auto": bfloat16 where the machine has instructions for it, else float32."""
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported() else "float32"


def precision(dtype: str, device: torch.device):
    """The context in which a network runs at `dtype`; weights and losses stay in float32."""
    return torch.autocast(device.type, torch.bfloat16) if dtype == "bfloat16" else nullcontext()
