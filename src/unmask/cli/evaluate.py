"""unmask eval."""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from unmask.cli.compare import beside, keep_examples, named
from unmask.cli.estimator import Estimating, check_estimator, estimator_of
from unmask.cli.flags import Model, parse
from unmask.cli.protocol import (
    list_protocols,
    open_scored,
    protocol_of,
    say_per_byte,
    say_protocol,
    terms_of_windows,
    wants_list,
)
from unmask.cli.runtime import Runtime, check_positive, same_data
from unmask.kinds.output import check_apart, check_out


@dataclass(frozen=True, kw_only=True)
class Eval(Estimating):
    model: Model
    data: Path
    """A folder that `unmask prepare` made, with the model's tokens; with --protocol: the files that
    it is of, as they were downloaded."""
    protocol: str = ""
    """Make the windows as this published protocol does; list: which there are."""
    keep: str = ""
    """Of --protocol: also keep the data that it makes, as this folder, which may then be --data."""
    split: Literal["train", "validation", "test"] = "test"
    """Which part of the data to score."""
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
    kind: Any
    data: Any
    batches: Any  # `Counted`: of all windows, afresh whenever one asks; and their bytes
    count: int  # windows
    length: int  # of a window
    split: str
    batch_size: int

    @property
    def columns(self) -> Any:
        """Of data with columns, that of each position; else False."""
        return self.kind.column_of if self.kind.columns else False


def evaluate(argv: list[str]) -> None:
    """The bound on held-out data, with its errors, unit and protocol."""
    if wants_list(argv):
        return list_protocols()
    args = parse(Eval, "eval", argv, evaluate.__doc__)
    check_estimator(args)
    runtime = Runtime(args)
    from unmask.evaluation.counted import Counted
    from unmask.rows import rows_at_a_time

    check_positive(args, "repeats")
    if named(args.json):
        check_out(str(beside(args.json)))
    check_apart([args.json], [args.data, args.grid])
    model, kind = runtime.load(args.model, "eval")
    split, length = terms_of_windows(args, kind, model.meta["length"])
    estimator = estimator_of(args, model, length)
    estimator.check(model)
    data = open_scored(args, kind, model.meta.get("labels", False))
    same_data(model, kind, data, runtime.found.place)
    if split_otherwise(model.meta["data"], data.meta):
        print(
            "warning: the model was trained on this source, split in another way: "
            "what is scored may hold training text",
            file=sys.stderr,
        )
    batch_size = rows_at_a_time(args.batch_size, length)
    count = min(data.window_count(split, length), args.limit or sys.maxsize)
    batches = Counted(data, split, length, batch_size, args.limit or None)
    scored = Scored(model, kind, data, batches, count, length, split, batch_size)
    with runtime.precision:
        if args.error:
            bound, single = until(args, runtime, scored, estimator), None
        else:
            bound, single = drawn(args, runtime, scored, estimator)
    report_bound(args, runtime, scored, bound, single)


def drawn(args: Eval, runtime: Runtime, scored: Scored, estimator: Any) -> tuple[Any, Any]:
    """The estimate of --repeats and, of random orders, that of one order at a time."""
    from unmask.likelihood import estimate, estimate_orders

    total = -(-scored.count // scored.batch_size)
    shared: dict[str, Any] = {"seed": args.seed, "processes": runtime.processes}
    with progress(total) as bar:
        batches = watched(scored.batches, bar, 1)
        if args.estimator == "orders":
            return estimate_orders(scored.model, batches, orders=args.repeats, **shared)
        shared |= {"repeats": args.repeats, "by_position": scored.columns}
        return estimate(scored.model, batches, estimator, **shared), None


def until(args: Eval, runtime: Runtime, scored: Scored, estimator: Any) -> Any:
    """The estimate whose noise is at most --error."""
    from unmask.evaluation.until import LEAST, Kept, estimate_until

    each = -(-scored.count // scored.batch_size)
    made_by = {
        "model": runtime.model_sha256, "data": scored.data.meta["sha256"],
        "estimator": repr(estimator),
        "density": estimator.density(scored.model, estimator.of_replicate()),
        "precision": runtime.dtype, "batch": scored.batch_size,
        "count": scored.count, "length": scored.length, "split": scored.split, "seed": args.seed,
    }  # fmt: skip
    path = Path(f"{args.json}.draws.npz") if named(args.json) else None
    kept = Kept(path, made_by)
    with progress(LEAST * each) as bar:

        def told(noise: float, done: int, needed: int) -> None:
            bar.total = needed * each
            bar.n = done * each
            bar.set_postfix_str(f"noise {noise:.4f}, to be {args.error:g}")

        def batches(replicates: int) -> Any:
            return watched(scored.batches, bar, replicates)

        try:
            return estimate_until(
                scored.model, batches, estimator, args.error, seed=args.seed, told=told,
                kept=kept, by_position=estimator.by_position and scored.columns,
                processes=runtime.processes,
            )  # fmt: skip
        except KeyboardInterrupt:
            said = "give --json FILE, and what is drawn is kept"
            if path is not None:
                said = f"what was drawn is in {path}; the same command goes on"
            raise KeyboardInterrupt(f"stopped; {said}") from None


def progress(total: int) -> Any:
    """A bar of batches on a terminal, with the rate and the time that is left."""
    from tqdm import tqdm

    return tqdm(total=total, unit="batch", disable=None, dynamic_ncols=True)


def watched(batches: Any, bar: Any, each: int) -> Any:
    """The batches, each of which counts as `each` once it is done."""
    for batch in batches:
        yield batch
        bar.update(each)


def how(args: Any, runtime: Runtime, bound: Any) -> dict[str, Any]:
    """What a protocol says of an estimate."""
    return {
        "estimator": f"{bound.name}, of {bound.sampler}", "masking": bound.masking,
        "draws": bound.repeats, "density": bound.density, "seed": args.seed,
        "precision": runtime.dtype, "weights": f"{runtime.weights} {runtime.model_sha256}",
    }  # fmt: skip


def beyond_tokens(data: Any, split: str, count: int, length: int, bound: Any) -> dict[str, Any]:
    """Say what whole examples cost, where tokens leave something open; what is to be recorded."""
    from unmask.estimate import plus_minus

    beyond = data.beyond(split)
    if beyond is None:
        return {}
    if beyond.unsaid:
        print(f"  {beyond.what}: not said, since {beyond.unsaid}")
        return {}
    if count < data.window_count(split, length):
        print(f"  {beyond.what}: said of whole splits, without --limit")
        return {}
    nats = bound.mean + beyond.nats
    stderr = bound.stderr + beyond.stderr  # at most: a row's two parts may go together
    print(f"  {plus_minus(nats, stderr, '.3f')} nats {data.example}: {beyond.what}, ", end="")
    within = plus_minus(beyond.nats, beyond.stderr, ".3f")
    print(f"of which {within} within the values' bins; as a density ", end="")
    print(f"{nats + beyond.density:.3f}")
    for note in beyond.notes:
        print(f"    {note}")
    return {
        "nats_as_written": nats, "nats_as_written_stderr": stderr,
        "nats_as_density": nats + beyond.density, "nats_within_by_column": beyond.columns,
    }  # fmt: skip


def split_otherwise(trained: dict, scored: dict) -> bool:
    """Are two data sets of a source in common, and not the same?"""
    sources = ({source["sha256"] for source in meta["source"]} for meta in (trained, scored))
    return trained["sha256"] != scored["sha256"] and bool(set.intersection(*sources))


def report_bound(args: Eval, runtime: Runtime, scored: Scored, bound: Any, single: Any) -> None:
    """Print an estimate with its protocol, and record it.

    `single`: of random orders, the estimate of one at a time.
    """
    from unmask.estimate import difference, plus_minus
    from unmask.likelihood.estimators import unit_of

    model, kind, data, batches, count, length, split, _ = scored
    positions = int(bound.positions.sum())
    labels = model.meta.get("labels", False)
    number = plus_minus(bound.bits_per_dim, bound.bits_per_dim_stderr)
    print(f"{number} bits per {data.unit}: {bound.what}")
    given = ", given their classes" if labels else ""
    print(f"  {split} split, {data.describe(count, positions, length)}{given}")
    for line in data.protocol(split, length):
        print(f"  {line}")
    of_bytes = batches.per_byte(bound)
    print("".join(f"{line}\n" for line in say_per_byte(of_bytes, positions)), end="")
    if data.example:
        print(f"  {plus_minus(bound.mean, bound.stderr, '.3f')} nats {data.example}")
    as_written = beyond_tokens(data, split, count, length, bound)
    by_column = {}
    if bound.by_position is not None:
        by_column = dict(zip(kind.columns, bound.by_position.tolist(), strict=True))
    for name, (nats, error) in by_column.items():
        print(f"    {plus_minus(nats, error, '7.3f')} of them in {name}")
    groups = count if bound.groups is None else len(bound.groups.unique())
    over = data.describe_groups(groups, count)
    noise = f", noise of the masks alone {bound.bits_per_dim_noise:.4f}"
    if bound.exact or math.isnan(bound.noise):
        noise = ""
    print(f"  error {over}{noise}")
    print(f"  of {bound.sampler}")
    calls = bound.calls / count
    drawn = f"{calls:,.0f} network calls each"
    if not bound.exact:
        drawn = f"{bound.repeats} draws each, seed {args.seed}, {drawn}"
    print(f"  {bound.name}, {drawn}, {runtime.dtype}, {runtime.whose_weights}")
    if data.perplexity:
        which = "" if bound.what.startswith("the exact") else " bound"
        print(f"  perplexity{which} {bound.perplexity:.2f} per token")
    protocol = protocol_of(data, model, (split, length, count), how(args, runtime, bound))
    print(say_protocol(protocol))
    at_an_instant = unit_of(model, bound.masking) if "at an instant" in bound.sampler else None
    values = {
        "value": bound.bits_per_dim, "unit": f"bits per {data.unit}", "what": bound.what,
        "stderr": bound.bits_per_dim_stderr, "noise": bound.bits_per_dim_noise,
        "n": count, "positions": positions, "length": length, "split": split,
        "nats_per_example": bound.mean, "nats_per_example_stderr": bound.stderr,
        "perplexity": bound.perplexity, "estimator": bound.name, "sampler": bound.sampler,
        "masking": bound.masking, "given": "classes" if labels else None,
        "revealed_at_an_instant": at_an_instant, "network_calls": bound.calls,
        "repeats": bound.repeats, "data_sha256": data.meta["sha256"], "error_over": over,
    }  # fmt: skip
    values |= of_bytes | as_written | protocol.record()
    if by_column:
        values["nats_by_column"] = by_column
    if single is not None:
        values["single_order_nats"] = single.mean
    runtime.record(**values, **keep_examples(args.json, bound))
    if single is None:
        return
    gain, error, _ = difference(single, bound)
    of_gain = f" +- {error:.4f}" if math.isfinite(error) else ""
    print(
        f"  {single.bits_per_dim:.4f} for one order at a time, "
        f"the plain bound on these examples: a gain of {gain:.4f}{of_gain}"
    )
