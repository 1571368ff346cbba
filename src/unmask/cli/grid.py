"""unmask grid."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unmask.cli.flags import Machine, Model, parse
from unmask.cli.runtime import Runtime, check_positive, same_data
from unmask.kinds.output import check_apart, check_out


@dataclass(frozen=True, kw_only=True)
class Grid(Machine):
    model: Model
    data: Path
    """A folder that `unmask prepare` made, with the model's tokens."""
    out: str
    """Write the grid to this .json file, which --grid of sample, fill, eval and score takes; of a
    model that reveals a token's digits one by one, that of --estimator counts --masking token."""
    steps: int = 16
    """Of the sampler."""
    repeats: int = 32
    """Draws of masks for each window."""
    masking: Literal["model", "token"] = "model"
    """token: of a model with digits, all digits of a token at once."""
    limit: int = 0
    """At most so many windows of each split, spread evenly; 0: all."""
    batch_size: int = 0
    """Windows that run through the network at a time; 0: 64, or more where they are short."""


def grid(argv: list[str]) -> None:
    """The numbers of masked tokens after each step that are best for the bound of so many steps.

    Found on the validation split; what they and the usual grids cost is told on the test split.
    """
    args = parse(Grid, "grid", argv, grid.__doc__)
    check_positive(args, "steps", "repeats")
    check_out(args.out, ".json")
    check_apart([args.out, args.json], [args.data])
    runtime = Runtime(args)
    from unmask.data import open_data
    from unmask.evaluation.grid import best_counts, check_steps, measure
    from unmask.files import write_whole
    from unmask.rows import rows_at_a_time

    model, kind = runtime.load(args.model, "grid")
    labels = model.meta.get("labels", False)
    data = open_data(args.data, labels=labels)
    same_data(model, kind, data, runtime.found.place)
    length = model.meta["length"]
    check_steps(args.steps, length)
    for split in ("validation", "test"):
        data.window_count(split, length)  # an empty one is an error here
    masking = None if args.masking == "model" else args.masking

    def windows(split: str) -> Any:
        size = rows_at_a_time(args.batch_size, length)
        batches = data.windows(split, length, size, limit=args.limit or None)
        count = min(data.window_count(split, length), args.limit or 2**48)
        return bar(batches, -(-count // size), split)

    how: dict[str, Any] = {"repeats": args.repeats, "seed": args.seed}
    with runtime.precision:
        curve = measure(model, windows("validation"), **how, masking=masking)
    counts = best_counts(curve.at(length), args.steps)
    with runtime.precision:
        costs = compared(model, counts, args.steps, windows, how, masking)
    best = costs["this"]
    by = "by the curve of the validation split"
    print(f"{args.out}: {args.steps} steps for {length:,} tokens, {by}")
    print(f"  masked after each: {', '.join(map(str, counts))}")
    classes = ", given their classes" if labels else ""
    print(f"  {best.what}, bits per {data.unit}, test split{classes},")
    print(f"  of {best.sampler}:")
    for name, row in table(costs).items():
        print(f"    {name:<22} {row}")
    of_model = {"model_sha256": runtime.model_sha256}
    of_data = {"data_sha256": data.meta["sha256"], "split": "validation", "steps": args.steps}
    written = {"counts": counts, "masking": best.masking} | of_model | of_data
    write_whole(Path(args.out), json.dumps(written, indent=2) + "\n")
    values = {name: numbers(one, best) for name, one in costs.items()}
    of_data |= {"given": "classes" if labels else None}
    runtime.record(unit=f"bits per {data.unit}", grids=values, **of_data, counts=counts)


def compared(
    model: Any, counts: list[int], steps: int, windows: Any, how: dict, masking: str | None
) -> dict[str, Any]:
    """The bounds of these counts, of the usual grids, and of one token at a time."""
    from unmask.likelihood import Bound, Counts, estimate
    from unmask.sampling import GRIDS, time_grid

    shares = {"this": tuple(count / counts[0] for count in counts)}
    for name in GRIDS:
        masked = model.schedule.masked(time_grid(steps, name))[:, 0]
        shares[name] = tuple(masked.tolist())
    found = {
        name: estimate(model, windows("test"), Counts(of, masking=masking), **how)
        for name, of in shares.items()
    }
    plain = estimate(model, windows("test"), Bound(masking=masking), **how)
    return found | {"one token at a time": plain}


def table(costs: dict[str, Any]) -> dict[str, str]:
    """A row for each bound, with the paired difference from the first."""
    from unmask.estimate import difference, plus_minus

    first, *others = costs
    rows = {first: plus_minus(costs[first].bits_per_dim, costs[first].bits_per_dim_stderr)}
    for name in others:
        one = costs[name]
        change, error, _ = difference(one, costs[first])
        said = plus_minus(one.bits_per_dim, one.bits_per_dim_stderr)
        rows[name] = f"{said}, {plus_minus(change, error, '+.4f')}"
    return rows


def numbers(one: Any, first: Any) -> dict[str, float]:
    """What a record says of a bound; of another than the first, the paired difference from it."""
    from unmask.estimate import difference

    told = {"value": one.bits_per_dim, "stderr": one.bits_per_dim_stderr}
    told |= {"noise": one.bits_per_dim_noise}
    if one is not first:
        change, error, _ = difference(one, first)
        told |= {"difference": change, "difference_stderr": error}
    return told


def bar(batches: Any, total: int, split: str) -> Any:
    from tqdm import tqdm

    return tqdm(batches, total=total, desc=split, unit="batch", disable=None, dynamic_ncols=True)
