"""The flags that verbs share: of a machine, and of a sampler."""

import inspect
import math
from dataclasses import dataclass, fields, replace
from typing import Annotated

import tyro

from unmask.config import Dtype, Sampling
from unmask.kinds.registry import kinds

LARGEST, THREADS = 2**48, 4096
OUTPUTS = ("out", "json", "positions", "probabilities")  # files to write; -: standard output
FLAGS = "\0"  # asks a verb which flags it has: no argument of a process holds such a character
Model = Annotated[
    tyro.conf.Positional[str],
    tyro.conf.arg(
        metavar="MODEL",
        help="A model's folder, or a run's; or user/name[@revision] of the Hugging Face Hub.",
    ),
]


@dataclass(frozen=True, kw_only=True)
class Device:
    """What a model runs on."""

    device: str = "auto"
    """auto: cuda where there is one, else cpu."""
    dtype: Dtype = "auto"
    """Precision of the network;
    auto: bfloat16 where the machine is fast at it, or what UNMASK_DTYPE in the environment says."""
    threads: int = 0
    """CPU threads; 0: leave as it is."""


@dataclass(frozen=True, kw_only=True)
class Machine(Device):
    """Flags of every verb that runs a model for a result."""

    seed: int = 0
    """Of everything that is drawn: the same seed, the same result."""
    json: str = ""
    """Also write the result, with what made it, to this file; -: standard output."""


@dataclass(frozen=True, kw_only=True)
class Sampler(Sampling, Machine):
    batch_size: int = 0
    """Examples that run through the network at a time; 0: 64, or more where they are short."""
    out: str = ""
    """Write here, not to the terminal; of texts, .jsonl: one JSON object a line; -: standard
    output."""

    @property
    def watched(self) -> bool:
        """Whether the states on the way are shown, too."""
        return False


def flags_of(name: str) -> list[type]:
    """The flags that kinds add to a verb, `Kind.Read` of each, say: bases for one dataclass."""
    return list(dict.fromkeys(getattr(kind, name) for kind in kinds().values()))


class FlagsOf(Exception):
    """The dataclass of a verb's flags, for who asks for it and not for the verb's work."""

    def __init__(self, kind: type):
        self.kind = kind


def parse(kind, verb: str, argv: list[str], description: str | None, **more):
    """The verb's flags; argparse's own exit code 2 for wrong ones.  FlagsOf where FLAGS asks."""
    if argv == [FLAGS]:
        raise FlagsOf(kind)
    said = inspect.cleandoc(description or "")
    args = tyro.cli(kind, prog=f"unmask {verb}", description=said, args=argv, **more)
    check_numbers(args)
    if isinstance(args, Sampler):
        args.check(watched=args.watched)
    streams = [name for name in OUTPUTS if getattr(args, name, None) == "-"]
    return replace(args, **dict.fromkeys(streams, "/dev/stdout"))


def check_numbers(args) -> None:
    """ValueError for a number that nobody can mean."""
    for field in fields(args):
        value, name = getattr(args, field.name), f"--{field.name.replace('_', '-')}"
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} must be a finite number, not {value}")
        if isinstance(value, int) and abs(value) >= LARGEST:
            raise ValueError(f"{name} {value} is too large: give a number below 2^48")
    if getattr(args, "threads", 0) > THREADS:
        raise ValueError(f"--threads {args.threads} is too large: give at most {THREADS}")
