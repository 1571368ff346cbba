"""unmask bench."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from unmask.cli.flags import parse
from unmask.cli.runtime import write_record
from unmask.kinds.output import check_out

Benchmark = Literal[
    "all", "head", "train", "estimator", "schedule-gradient", "unet", "sampling", "idle-steps"
]


@dataclass(frozen=True, kw_only=True)
class Bench:
    what: tyro.conf.Positional[tuple[Benchmark, ...]] = ("all",)
    model: str = ""
    """The trained model that the estimators are measured on, with --data;
    empty: the one in demo/, if it is there.
    schedule-gradient needs one with a learned schedule."""
    data: str = ""
    """The data of --model."""
    json: str = ""
    """Also write the table to this file."""
    threads: int = 0
    """CPU threads; 0: leave as it is."""


def bench(argv: list[str]) -> None:
    """Measure speed, against the plain way of doing the same and this machine's own rate."""
    args = parse(Bench, "bench", argv, bench.__doc__)
    from unmask.bench import run

    check_out(args.json, ".json")
    if args.threads < 0 or bool(args.model) != bool(args.data):
        raise ValueError(
            f"--threads must not be negative, not {args.threads}; --model and --data go together"
        )
    if args.model:
        from unmask.checkpoint import resolve
        from unmask.cli.runtime import same_data
        from unmask.data import open_data
        from unmask.kinds.registry import kind_of
        from unmask.rivals import open_model

        folder = resolve(Path(args.model))
        model = open_model(folder)
        data = open_data(args.data, labels=model.meta.get("labels", False))
        same_data(model, kind_of(model.meta.get("data", {}), folder), data, folder)
    found = run(args.what, model=args.model, data=args.data, threads=args.threads)
    write_record(args.json, **found)
