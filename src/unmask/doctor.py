"""What a report of a fault has to say of the machine: versions, device, precision, memory, speed.

Nothing here tells who one is: no path is named, and of the environment what changes results alone.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ENVIRONMENT = ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "UNMASK_DTYPE")
EXTRAS = {
    "runs": "the comparisons in runs/",
    "quality": "unmask quality: can synthetic rows be told from real ones?",
    "mauve": "unmask quality --mauve",
    "huggingface": "unmask import huggingface, from_transformers, quality --perplexity",
    "orbax": "unmask import md4, from checkpoints of Orbax",
    "harness": "unmask lm-eval",
    "compress": "unmask compress, decompress",
    "frames": "TableModel, for data frames (polars is as good)",
    "parquet": "unmask prepare, from Parquet files and folders that datasets saved",
    "tensorboard": "unmask train --log tensorboard",
    "wandb": "unmask train --log wandb, offline",
    "hub": "models of the Hugging Face Hub by their names, unmask push",
    "export": "unmask export, as ONNX",
    "ui-test": "tests of the page of unmask serve in a browser",
    "docs": "make docs, a site of the pages",
    "dev": "tests and checks of this package",
}
CGROUP = Path("/sys/fs/cgroup")  # the limits of a container


class Fact(NamedTuple):
    name: str
    value: str


class Requirement(NamedTuple):
    """A package, as the metadata of this one ask for it: `name>=least`, maybe for an `extra`."""

    name: str
    least: str
    extra: str

    @property
    def found(self) -> str:
        """The version that is there; "" for none."""
        try:
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return ""

    @property
    def met(self) -> bool:
        return bool(self.found) and numbers(self.found) >= numbers(self.least)

    @property
    def state(self) -> str:
        """Which version is there, and what is wrong with it."""
        if not self.found:
            return f"{self.name} is missing"
        old = "" if self.met else f" is older than {self.least}"
        return f"{self.name} {self.found}{old}"


def numbers(version: str) -> list[int]:
    """The parts of a version, "2.13.0+cpu", say, without what stands behind a plus."""
    return [int(part) for part in re.findall(r"\d+", version.partition("+")[0])]


def requirement(line: str) -> Requirement:
    """A line of `importlib.metadata.requires`, such as 'pillow>=10; extra == "frames"'."""
    asked, _, condition = line.partition(";")
    name, _, least = asked.replace(" ", "").partition(">=")
    extra = re.search(r"""extra == ['"]([\w-]+)['"]""", condition)
    return Requirement(name, least, extra[1] if extra else "")


def requirements() -> list[Requirement]:
    """Of this package; none where it is not installed but lies on Python's path."""
    try:
        return [requirement(line) for line in importlib.metadata.requires("unmask") or []]
    except importlib.metadata.PackageNotFoundError:
        return []


def packages() -> Iterator[Fact]:
    """What is installed, and what is optional and missing; torch is not loaded for it."""
    from unmask import __version__

    yield Fact("unmask", __version__)
    yield Fact("python", f"{platform.python_version()}, {platform.platform()}")
    asked = requirements()
    if not asked:
        yield Fact("packages", "not known: unmask is not installed here, but lies on Python's path")
    else:
        yield Fact("packages", ", ".join(one.state for one in asked if not one.extra))
    extras: dict[str, list[Requirement]] = {}
    for one in asked:
        if one.extra:
            extras.setdefault(one.extra, []).append(one)
    for extra, needed in extras.items():
        state = ", ".join(one.state for one in needed)
        fix = "" if all(one.met for one in needed) else f"; pip install 'unmask[{extra}]'"
        purpose = f" ({EXTRAS[extra]})" if extra in EXTRAS else ""
        yield Fact(f"optional: {extra}", f"{state}{purpose}{fix}")


def machine(device, dtype: str, why: str) -> Iterator[Fact]:
    """Of what computes; `why`: of the precision, in words."""
    import torch

    from unmask.device import float32_library
    from unmask.kinds.registry import BROKEN, kinds

    cuda = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    yield Fact("torch", f"{torch.__version__}, {cuda}; float32 products by {float32_library()}")
    yield Fact("device", device_in_words(device))
    yield Fact("precision", f"{dtype}: {why}")
    yield Fact("processor", processor())
    yield Fact("threads", f"{torch.get_num_threads()} of torch; {cores()}")
    said = [f"{name}={os.environ[name]}" for name in ENVIRONMENT if name in os.environ]
    yield Fact("environment", ", ".join(said) or f"none of {', '.join(ENVIRONMENT)} is set")
    yield Fact("memory", memory())
    yield Fact("disk", disk())
    compiler = next(filter(shutil.which, ("c++", "g++", "clang++", "cl")), None)
    yield Fact("C++ compiler", f"{compiler or 'none'} (which --compile needs on a CPU)")
    yield Fact("kinds of data", ", ".join(kinds()))
    for name, said_of_it in BROKEN.items():
        yield Fact(f"kind {name}", without_home(said_of_it))


def device_in_words(device) -> str:
    import torch

    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        of = torch.cuda.get_device_properties(device)
        return f"{device}, {of.name}, {gigabytes(free)} free of {gigabytes(total)}"
    there = torch.cuda.device_count()
    return f"{device}; GPUs that torch can use: {there or 'none'}"


def processor() -> str:
    """Its name, where Linux tells it."""
    named = re.search(r"^model name\s*:\s*(.+)$", content("/proc/cpuinfo"), re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def cores() -> str:
    """How many this process may use."""
    usable = os.cpu_count()
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    quota = re.match(r"(\d+) (\d+)", content(CGROUP / "cpu.max"))
    limit = f", for the time of {int(quota[1]) / int(quota[2]):g}" if quota else ""
    return f"{usable} of {os.cpu_count()} cores may be used{limit}"


def memory() -> str:
    from unmask.device import physical_memory

    found = re.search(r"^MemAvailable:\s+(\d+) kB$", content("/proc/meminfo"), re.MULTILINE)
    free = gigabytes(int(found[1]) * 1024) if found else "an unknown part"
    limit = content(CGROUP / "memory.max").strip()
    most = f"; this container may have {gigabytes(int(limit))}" if limit.isdigit() else ""
    return f"{free} free of {gigabytes(physical_memory())}{most}"


def disk() -> str:
    here, temporary = (shutil.disk_usage(path).free for path in (".", tempfile.gettempdir()))
    return f"{gigabytes(here)} free here, {gigabytes(temporary)} for temporary files"


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def content(path: str | Path) -> str:
    """Of a file that the system makes; "" where there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def without_home(said: str) -> str:
    """A sentence that may name files, without the home folder's name."""
    home = os.path.expanduser("~")  # as it is where there is none
    return said if home in ("/", "~") else said.replace(home, "~")


def speed(device, dtype: str, seconds: float) -> tuple[float, int]:
    """(tokens a second, steps) of training for about so long, on random tokens.

    A step of the benchmark's S: 4 layers, width 256, 256 values, 16 sequences of 256 tokens.  The
    first two, in which memory is fetched, do not count.
    """
    import torch

    from unmask.bench.timing import network
    from unmask.device import precision
    from unmask.diffusion import MaskedDiffusion
    from unmask.schedules import Linear
    from unmask.subtokens import Subtokenizer

    model = MaskedDiffusion(network(256, 4), Linear(), Subtokenizer(256)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    x = torch.randint(0, 256, (16, 256), device=device)

    def step() -> None:
        with precision(dtype, device):
            loss = model(x).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(2):
        step()
    began, steps, passed = time.perf_counter(), 0, 0.0
    while not steps or passed < seconds:
        step()
        steps += 1
        passed = time.perf_counter() - began
    return steps * x.numel() / passed, steps
