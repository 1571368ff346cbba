"""unmask eval."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro

from unmask.cli.compare import beside, keep_examples
from unmask.cli.flags import Machine, parse
from unmask.cli.runtime import Runtime, check_positive, estimator_name, same_data
from unmask.kinds.output import check_out


@dataclass(frozen=True, kw_only=True)
class Eval(Machine):
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A model's folder, or a run's."""
    data: Path
    """A folder that `unmask prepare` made, with the model's tokens."""
    split: Literal["train", "validation", "test"] = "test"
    """Which part of the data to score."""
    repeats: int = 8
    """Draws of masks for each window."""
    steps: int = 0
    """The discrete-time bound of this many steps; 0: continuous time."""
    masking: Literal["model", "digit", "token"] = "model"
    """Of a model with digits: the bound of the sampler that reveals each digit on its own,
    or all of a token at once; model: as trained."""
    estimator: Literal["bound", "orders", "joint"] = "bound"
    """orders: the tighter bound of --repeats random orders an example,
    log of the mean of p(x | order), at a network call for every token of each: give a --limit.
    joint, the loss of the MDM-Prime paper, is refused: it is not a bound."""
    length: int = 0
    """Tokens a window; 0: the length that the model was trained at."""
    limit: int = 0
    """At most so many windows, spread evenly over the split;
    0: all, so that every token is scored once."""
    batch_size: int = 0
    """Windows that run through the network at a time; 0: 64, or more where they are short."""


class Scored(NamedTuple):
    """The model whose bound is taken, and what it is taken on."""

    model: Any
    folder: Path  # of the model
    data: Any
    count: int  # windows
    length: int  # of a window


def evaluate(argv: list[str]) -> None:
    """The bound on held-out data, with its errors, unit and protocol."""
    args = parse(Eval, "eval", argv, evaluate.__doc__)
    if args.estimator == "joint":
        raise ValueError(
            "the joint loss of MDM-Prime is not an upper bound on the negative log-likelihood, "
            "so it is never reported as nats, bits or perplexity "
            "(its authors withdrew those made of it in May 2026: "
            "chen-hao-chao.github.io/dependency-breaks-validity); "
            "leave out --estimator for the bound"
        )
    runtime = Runtime(args)
    from tqdm import tqdm

    from unmask.data import open_data
    from unmask.estimate import difference
    from unmask.filling import rows_at_a_time
    from unmask.likelihood import estimate_nelbo, estimate_orders

    check_positive(args, "repeats")
    check_out(str(beside(args.json)) if args.json else "")
    model, kind, folder = runtime.load(args.model)
    masking = model.masking if args.masking == "model" else args.masking
    model.units(masking)  # an error here, if it cannot be
    data = open_data(args.data, labels=model.meta.get("labels", False))
    same_data(model, kind, data, args.model)
    if split_otherwise(model.meta["data"], data.meta):
        print(
            "warning: the model was trained on this source, split in another way: "
            "what is scored may hold training text",
            file=sys.stderr,
        )
    length = args.length or model.meta["length"]
    batch_size = rows_at_a_time(args.batch_size, length)
    windows = data.windows(args.split, length, batch_size, limit=args.limit or None)
    count = min(data.window_count(args.split, length), args.limit or sys.maxsize)
    if args.estimator == "orders" and (args.steps or args.masking != "model"):
        raise ValueError(
            "--estimator orders is of continuous time and the model's own masking: "
            "leave out --steps and --masking"
        )
    total = -(-count // batch_size)
    bar = tqdm(windows, total=total, unit="batch", disable=None, dynamic_ncols=True)
    shared = {"seed": args.seed, "processes": runtime.processes}
    scored = Scored(model, folder, data, count, length)
    if args.estimator == "orders":
        with runtime.precision:
            bound, single = estimate_orders(model, bar, orders=args.repeats, **shared)
        estimator = f"mean of the likelihood over {args.repeats} random orders"
        report_bound(args, runtime, scored, bound, estimator, single_order_nats=single.mean)
        gain, error, _ = difference(single, bound)
        of_gain = f" +- {error:.4f}" if math.isfinite(error) else ""
        print(
            f"  {single.bits_per_dim:.4f} for one order at a time, "
            f"the plain bound on these examples: a gain of {gain:.4f}{of_gain}"
        )
        return
    how = {"repeats": args.repeats, "steps": args.steps or None, "masking": masking}
    columns = kind.columns
    with runtime.precision:
        of = kind.column_of if columns else False
        bound = estimate_nelbo(model, bar, **how, **shared, by_position=of)
    estimator = estimator_name(model.schedule.num_values > 1, args.steps)
    more = {}
    if bound.by_position is not None:
        more = {"nats_by_column": dict(zip(columns, bound.by_position.tolist(), strict=True))}
    report_bound(args, runtime, scored, bound, estimator, **more)


def split_otherwise(trained: dict, scored: dict) -> bool:
    """Are two data sets of a source in common, and not the same?"""
    sources = ({source["sha256"] for source in meta["source"]} for meta in (trained, scored))
    return trained["sha256"] != scored["sha256"] and bool(set.intersection(*sources))


def report_bound(
    args: Eval, runtime: Runtime, scored: Scored, bound: Any, estimator: str, **more
) -> None:
    """Print an estimate with its protocol, and record it."""
    from unmask.estimate import plus_minus

    model, folder, data, count, length = scored
    positions = int(bound.positions.sum())
    labels = model.meta.get("labels", False)
    revealed = "one token"
    if model.units(bound.masking).length > 1:
        revealed = f"one of a token's {model.subtokenizer.length} digits"
    print(
        f"{plus_minus(bound.bits_per_dim, bound.bits_per_dim_stderr)} bits per {data.unit}: "
        "an upper bound on the negative log-likelihood"
    )
    given = ", given their classes" if labels else ""
    print(f"  {args.split} split, {data.describe(count, positions, length)}{given}")
    for line in data.protocol(args.split, length):
        print(f"  {line}")
    if data.example:
        print(f"  {plus_minus(bound.mean, bound.stderr, '.3f')} nats {data.example}")
    for name, (nats, error) in more.get("nats_by_column", {}).items():
        print(f"    {plus_minus(nats, error, '7.3f')} of them in {name}")
    groups = count if bound.groups is None else len(bound.groups.unique())
    over = data.describe_groups(groups, count)
    has_noise = not math.isnan(bound.noise)
    noise = f", noise of the masks alone {bound.bits_per_dim_noise:.4f}" if has_noise else ""
    print(f"  error {over}{noise}")
    one = " (and draws one token a step)" if args.steps else ""
    print(f"  of the sampler that reveals {revealed} at an instant{one}")
    print(
        f"  {estimator}, {args.repeats} draws each, seed {args.seed}, {runtime.dtype}, "
        f"averaged weights of {folder}"
    )
    if data.perplexity:
        print(f"  perplexity bound {bound.perplexity:.2f} per token")
    values = {
        "value": bound.bits_per_dim, "unit": f"bits per {data.unit}",
        "stderr": bound.bits_per_dim_stderr, "noise": bound.bits_per_dim_noise,
        "n": count, "positions": positions, "length": length, "split": args.split,
        "nats_per_example": bound.mean, "nats_per_example_stderr": bound.stderr,
        "perplexity": bound.perplexity, "estimator": estimator, "masking": bound.masking,
        "given": "classes" if labels else None, "revealed_at_an_instant": revealed,
        "repeats": args.repeats, "data_sha256": data.meta["sha256"], "error_over": over,
    }  # fmt: skip
    runtime.record(folder, **values, **keep_examples(args.json, bound), **more)
