"""What a process sets for speed changes no result beyond rounding."""

import math
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from unmask import device
from unmask.bench import timing

CODE = """
import sys, torch, unmask.device as device
real = device.vendor()
assert device.multiply_by_onednn() == (torch.backends.mkldnn.matmul.fp32_precision == "bf16")
assert real == "AuthenticAMD" or torch.backends.mkldnn.matmul.fp32_precision == "none"
torch.backends.mkldnn.matmul.fp32_precision = "none"
device.vendor = lambda: "AuthenticAMD"
used = device.multiply_by_onednn()
assert (torch.backends.mkldnn.matmul.fp32_precision == "bf16") == used
torch.manual_seed(1)
a, b = torch.randn(2, 300, 300)
exact = a.double() @ b.double()
assert (a @ b - exact).norm() < 1e-5 * exact.norm()
print(used)
"""


@pytest.mark.parametrize("most", ["", "AVX512_CORE"])
def test_products_of_float32_stay_those_of_float32(most):
    """Whatever the processor is: where oneDNN would round (as on tiles of bfloat16), it is not let
    in; where it has no such tiles, it is."""
    env = os.environ | ({"ONEDNN_MAX_CPU_ISA": most} if most else {})
    done = subprocess.run(
        [sys.executable, "-c", CODE], env=env, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n" or not most


@pytest.mark.parametrize("dtype", ["float16", "bf16", "", torch.bfloat16])
def test_a_precision_that_there_is_not_is_refused(dtype):
    """By all that take one: it would be recorded, and float32 what was computed."""
    for use in (device.pick_dtype, device.precision):
        with pytest.raises(ValueError, match="dtype must be one of auto, float32, bfloat16, not"):
            use(dtype, torch.device("cpu"))


def test_memory_is_kept_only_where_the_c_library_is_known(monkeypatch):
    """As Windows is, where ctypes opens no library without a name."""

    def fails(name):
        raise TypeError("bad argument type for built-in operation")

    monkeypatch.setattr(device, "os", SimpleNamespace(name="nt"))
    monkeypatch.setattr(device.ctypes, "CDLL", fails)
    device.keep_freed_memory()


def test_a_peak_of_memory_that_nothing_tells_is_not_known(monkeypatch):
    assert 1 < timing.peak() < 1e6  # MB
    monkeypatch.setitem(sys.modules, "resource", None)
    assert math.isnan(timing.peak())
