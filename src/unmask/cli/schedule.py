"""unmask schedule."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unmask.cli.flags import Machine, Model, parse
from unmask.cli.runtime import Runtime, check_positive, same_data
from unmask.kinds.output import check_apart, check_out


@dataclass(frozen=True, kw_only=True)
class Schedule(Machine):
    model: Model
    data: str = ""
    """The data that the model was trained on:
    tells how often each value occurs, and what the powers are worth."""
    split: Literal["validation", "test"] = "test"
    """The held-out part of the data, to compare with the training part."""
    num: int = 12
    """How many of the values that are revealed first, and of those revealed last, to name."""
    limit: int = 256
    """At most so many windows of either part, spread evenly over it."""
    repeats: int = 8
    """Draws of masks for each window."""
    batch_size: int = 64
    """Windows that run through the network at a time."""
    out: str = ""
    """Write a plot of the curves to this .png file."""


def schedule(argv: list[str]) -> None:
    """What a learned schedule has learned: the values revealed first and last.

    With --data, also what that changes.
    """
    args = parse(Schedule, "schedule", argv, schedule.__doc__)
    runtime = Runtime(args)
    from unmask.data import open_data
    from unmask.evaluation import schedule as learned

    check_positive(args, "num", "limit", "repeats", "batch_size")
    check_out(args.out, ".png")
    check_apart([args.out, args.json], [args.data])
    model, kind = runtime.load(args.model, "schedule")
    data, labels = None, model.meta.get("labels", False)
    if args.data:
        data = open_data(args.data, labels=labels)
        same_data(model, kind, data, runtime.found.place)
        for split in ("train", args.split):
            data.window_count(split, model.meta["length"])  # an empty one is an error here
        if data.meta["sha256"] != model.meta["data"]["sha256"]:
            print(
                f"warning: the model was not trained on {args.data}: "
                "what is called train here is not its training data",
                file=sys.stderr,
            )
    powers = None
    if model.schedule.num_values > 1:
        powers = learned.read_powers(model, kind.tokenizer, data)
    print(f"{runtime.found.folder}: {learned.describe_schedule(model.schedule, powers, args.num)}")
    said = "for a plot of the curves: --out schedule.png"
    if args.out:
        learned.plot(Path(args.out), model.schedule, powers)
        said = f"wrote {args.out}"
    print(said, file=sys.stderr)
    bounds, of = None, {}
    if data is not None:
        names = ("split", "limit", "repeats", "batch_size", "seed")
        flags = {name: getattr(args, name) for name in names}
        with runtime.precision:
            bounds = learned.measure(model, data, powers, **flags)
        print(f"\n{learned.describe_bounds(bounds, powers, model, data.unit, args.split)}")
        classes = "given their classes, " if labels else ""
        print(f"{classes}seed {args.seed}, {runtime.dtype}, {runtime.whose_weights}")
        of = {"split": args.split, "unit": f"bits per {data.unit}"}
        of |= {"length": model.meta["length"], "data_sha256": data.meta["sha256"]}
        of |= {"given": "classes" if labels else None}
    runtime.record(**learned.record_of(model.schedule, powers, bounds), **of)
