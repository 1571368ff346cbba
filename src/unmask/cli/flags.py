"""The flags that verbs share: of a machine, and of a sampler."""

import inspect
import math
import sys
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from unmask.config import Dtype, Sampling
from unmask.files import descriptor
from unmask.kinds.registry import kinds

LARGEST, THREADS = 2**48, 4096
# files to write; -: standard output
OUTPUTS = ("out", "json", "positions", "probabilities", "frames")
STDOUT = 1  # its descriptor
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
    """Also write the result, with what made it, to this file;
    -: standard output, and what is told otherwise goes to standard error."""


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
    return with_outputs(args)


def with_outputs(args: Any) -> Any:
    """The flags, in which a file that is called - has a name that is not that of standard output.

    Where a result goes to standard output, all else that is printed goes to standard error from
    here on; who runs the verb puts `sys.stdout` back.
    ValueError for two results that would be mixed there, and for a folder called so.
    """
    named = {name: value for name in OUTPUTS if (value := getattr(args, name, None))}
    for value in named.values():
        if isinstance(value, Path):  # a folder, or a file of a format that has no way there
            refuse_stream(value)
    files = {name: value for name, value in named.items() if isinstance(value, str)}
    streams = [name for name, value in files.items() if descriptor(value) == STDOUT]
    if len(streams) > 1:
        both = " and ".join(f"--{name} {files[name]}" for name in streams)
        raise ValueError(f"{both}: standard output takes one result, so name a file for the others")
    if streams:
        sys.stdout.flush()
        sys.stdout = sys.stderr
    dashes = [name for name, value in files.items() if value != "-" and str(Path(value)) == "-"]
    return replace(args, **{name: str(Path(files[name]).absolute()) for name in dashes})


def refuse_stream(out: str | Path) -> None:
    """ValueError for standard output where something is made that has to have a name."""
    if str(out) == "-":
        raise ValueError("OUT or --out is -: this is not written to standard output, so name it")


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
