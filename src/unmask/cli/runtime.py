"""What the verbs share: device and precision, the record of a result, checks before the work."""

import json
import shlex
import sys
import time
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from unmask import __version__
from unmask.cli.flags import Machine, Sampler
from unmask.config import TIMED
from unmask.documents import without_infinities
from unmask.files import is_writer, write_whole
from unmask.kinds.kind import flag_names
from unmask.kinds.output import check_out
from unmask.kinds.registry import kinds

ONE_BY_ONE = "one unit a step"


class Runtime:
    """The device and precision that a command's flags name, and its record for --json."""

    def __init__(self, args: Machine):
        import torch

        from unmask.device import pick_device, pick_dtype, precision, tune_process
        from unmask.processes import own_device, started

        tune_process()
        if args.threads < 0:
            raise ValueError(f"--threads must not be negative, not {args.threads}")
        if args.threads:
            torch.set_num_threads(args.threads)
        self.device = pick_device(own_device(args.device))
        self.processes = started()
        self.dtype = pick_dtype(args.dtype, self.device)
        self.precision = precision(self.dtype, self.device)
        self.generator = torch.Generator().manual_seed(args.seed)
        self.args, self.began = args, time.monotonic()
        self.found: Any = None  # where the model is, if one was read
        self.model_sha256 = ""  # of its weights
        self.weights = "ema"  # which ones of it
        self.digits = 1  # units of a token, each of which is revealed by itself
        check_out(args.json)

    def load(self, said: str, verb: str = ""):
        """The model that MODEL names, and the kind of its data.

        Its folder is not needed from then on: a training that goes on deletes it meanwhile.
        ValueError for a model that this verb is not for.
        """
        from unmask.checkpoint import read_config
        from unmask.hub import find
        from unmask.kinds.registry import kind_of
        from unmask.rivals import open_model

        # the same in all processes: the run may go on meanwhile
        self.found = self.processes.of_first(lambda: find(said))
        folder = self.found.folder
        model = open_model(folder)
        self.model_sha256 = read_config(folder)["sha256"]["model.safetensors"]  # just verified
        model.refuse(verb)
        trained_on = model.meta.get("data", {})
        if not {"tokenizer", "vocab_size"} <= set(trained_on) or "length" not in model.meta:
            raise ValueError(
                f"{folder} does not say which tokens it was trained on: "
                "use it from Python (MaskedDiffusion.from_pretrained)"
            )
        self.weights = model.meta.get("weights", "ema")
        self.digits = model.units().length
        kind = kind_of(trained_on, folder).read_tokens()
        return model.to(self.device), kind

    @property
    def whose_weights(self) -> str:
        """Which weights were read, in words, and of which model."""
        which = "averaged weights" if self.weights == "ema" else f"weights {self.weights}"
        return f"{which} of {self.found.name or self.found.folder}"

    def filling(self) -> dict:
        """What a `Filler` takes of a sampler's flags."""
        args: Any = self.args
        own = {"generator": self.generator, "precision": self.precision, "progress": True}
        own |= {"batch_size": args.batch_size, "seed": args.seed}
        own |= {"grid": grid_of(args.grid, self.digits), "processes": self.processes}
        return args.how() | own

    def record(self, **values) -> None:
        """Write --json, if asked for."""
        if not self.args.json:
            return
        made = {
            "seed": self.args.seed,
            "precision": self.dtype,
            "device": str(self.device),
            "seconds": round(time.monotonic() - self.began, 3),
        }
        if self.found is not None:
            made |= {"model_sha256": self.model_sha256, "weights": self.weights}
            made |= {"model": self.found.name} if self.found.name else {}
        write_record(self.args.json, **(made | values))


def write_record(path: str, **values) -> None:
    """A result and what made it, as JSON, if a path was given; the first process alone writes."""
    if not path or not is_writer():
        return
    made_by = {"command": ["unmask", *sys.argv[1:]], "version": __version__}
    record = without_infinities(made_by | values)
    write_whole(path, json.dumps(record, indent=2) + "\n")
    print(f"wrote {path}", file=sys.stderr)


def made_by() -> str:
    """The command, in which paths that tell of a machine are names."""
    from unmask.report.card import cut

    return f"unmask {__version__}: {shlex.join(['unmask', *map(cut, sys.argv[1:])])}"


def report_checks(runtime: Runtime, header: str, rows: Iterable, **made) -> int:
    """Print the rows of an audit as they come, and record them; 1 if one failed."""
    print(header)
    done = []
    for row in rows:
        print(row, flush=True)
        done.append(row._asdict() | {"passed": row.passed})
    failed = sum(not row["passed"] for row in done)
    print(f"{failed} of {len(done)} FAILED" if failed else f"all {len(done)} passed")
    runtime.record(**made, failed=failed, rows=done)
    return int(failed > 0)


def flag(name: str) -> str:
    """A field as it is written on the command line."""
    return f"--{name.replace('_', '-')}"


def check_positive(args, *names: str) -> None:
    for name in names:
        value = getattr(args, name)
        if value < 1:
            raise ValueError(f"{flag(name)} must be at least 1, not {value}")


def refuse_others(args, kind, flags: str) -> None:
    """ValueError for a flag of other kinds than this one; `flags`: where a kind has its own, such
    as "Read"."""
    own = flag_names(getattr(kind, flags))
    for other in kinds().values():
        for field in fields(getattr(other, flags)):
            if field.name not in own and getattr(args, field.name) != field.default:
                raise ValueError(f"{flag(field.name)} is not for {kind.what}: leave it out")


def how(args: Sampler, model) -> dict:
    """What a record says of the sampler: the flags that have an effect, at their defaults, too."""
    names = ["sampler", "temperature", "top_p", "draw"]
    if args.guidance:
        names += ["guidance", "guidance_schedule"]
    made = {name: getattr(args, name) for name in names} | args.own()
    if model.one_by_one:
        made |= {"steps": ONE_BY_ONE}
    elif args.sampler not in ("first_hitting", "entropy-bounded"):
        made |= steps_of(args)
    return made


def steps_of(args) -> dict:
    """What a record says of --steps and --grid."""
    from unmask.sampling import STEPS

    grid = grid_of(args.grid)
    if not isinstance(grid, str):
        return {"steps": len(grid) - 1, "grid": args.grid}
    if args.steps or args.sampler in TIMED:
        return {"steps": args.steps or STEPS, "grid": grid}
    return {"steps": ONE_BY_ONE}


def grid_of(said: str, digits: int = 1):
    """The kind of a time grid, or the shares of masked units that a file says: see `read_grid`."""
    from unmask.sampling import GRIDS, read_grid

    return said if said in GRIDS else read_grid(Path(said), digits)


def same_data(model, kind, data, path: Path) -> None:
    """ValueError unless the data's tokens, and classes if it was given any, are the model's."""
    from unmask.kinds.registry import kind_of
    from unmask.train.begin import check_values, same_classes

    why = kind.differs(kind_of(data.meta, data.folder), path)
    if why:
        raise ValueError(f"{data.folder} {why}")
    check_values(model, data)
    if model.meta.get("labels"):
        same_classes(model.meta["data"], data)
