"""The command line: one function a verb.  torch is imported inside the verbs, so that --help and --version are quick."""

import math
import os
import sys
import textwrap
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from unmask import __version__
from unmask.command import (
    Machine,
    Runtime,
    check_out,
    check_positive,
    estimator_name,
    examples_at_a_time,
    parse,
    report_checks,
    same_tokens,
    write_record,
)
from unmask.config import PRESETS, TrainConfig
from unmask.verbs.compare import compare, keep_examples
from unmask.verbs.distance import distance
from unmask.verbs.draw import fill, sample
from unmask.verbs.prepare import prepare


def main(argv: list[str] | None = None) -> int:
    """Run a verb; 0, or 1 if an audit fails, 2 for an error (one line on stderr), 130 for Ctrl-C."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(HELP)
        return 0 if argv else 2
    if argv[0] in ("-V", "--version"):
        print(f"unmask {__version__}")
        return 0
    if argv[0] not in VERBS:
        print(f"unmask: there is no verb {argv[0]!r}; choose one of {', '.join(VERBS)}", file=sys.stderr)
        return 2
    try:
        code = VERBS[argv[0]](argv[1:])
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:  # the reader of our output has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, FloatingPointError, OSError, MemoryError) as error:
        print(f"unmask {argv[0]}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        if "memory" not in str(error).lower() and "alloc" not in str(error).lower():
            raise
        said = " ".join(str(error).split())[:200]
        print(f"unmask {argv[0]}: not enough memory ({said}); try a smaller --batch-size or --length", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"unmask {argv[0]}: {stop or 'stopped'}", file=sys.stderr)
        return 130


# ---------------------------------------------------------------- train


@dataclass(frozen=True, kw_only=True)
class Train(TrainConfig):
    data: Path
    """A folder that `unmask prepare` made."""
    out: Path
    """The run's folder; if the run is there already, it continues."""
    json: str = ""
    """Also write the run's end, with what made it, to this file."""


def train(argv: list[str]) -> None:
    """Train a preset on prepared data, or continue a run."""
    if not argv or argv[0] in ("-h", "--help") or argv[0].startswith("-"):
        if not argv or argv[0] not in ("-h", "--help"):
            raise ValueError(f"name a preset first: {', '.join(PRESETS)}; unmask train --help says what they are")
        print("usage: unmask train PRESET --data DIR --out DIR [flags]\n\nunmask train PRESET --help shows a preset's values\n\npresets:")
        for name, preset in PRESETS.items():
            print(textwrap.fill(preset.about, 100, initial_indent=f"  {name:12}", subsequent_indent=" " * 14))
        return
    if argv[0] not in PRESETS:
        raise ValueError(f"there is no preset {argv[0]!r}; choose one of {', '.join(PRESETS)}")
    preset = PRESETS[argv[0]]
    default = Train(**asdict(preset.config), data=tyro.MISSING, out=tyro.MISSING)
    args = parse(Train, f"train {argv[0]}", argv[1:], preset.about, default=default)
    values = asdict(args)
    if args.steps == preset.config.steps and args.minutes != preset.config.minutes:
        values["steps"] = 0  # --minutes on the command line replaces the preset's steps, and the other way round
    elif args.minutes == preset.config.minutes and args.steps != preset.config.steps:
        values["minutes"] = 0.0
    data, out, record = values.pop("data"), values.pop("out"), values.pop("json")
    check_out(record)
    from unmask.checkpoint import digest
    from unmask.data import open_data
    from unmask.device import keep_freed_memory
    from unmask.train import read_log
    from unmask.train import train as run

    keep_freed_memory()
    folder = run(TrainConfig(**values), data, out)
    print(folder)
    last = read_log(out / "log.jsonl")[-1]
    write_record(
        record, seed=args.seed, preset=argv[0], data_sha256=open_data(data).meta["sha256"], weights="ema",
        model_sha256=digest(folder / "model.safetensors"), value=last.get("bits"), stderr=last.get("stderr"),
        unit=f"bits per {open_data(data).unit}",
        noise=last.get("noise"), n=last.get("windows"), estimator=estimator_name(args.schedule == "learned"), repeats=args.eval_repeats,
        given="classes" if args.labels else None, steps=last["step"], seconds=last["seconds"], config=values,
    )  # fmt: skip


# ---------------------------------------------------------------- eval


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
    """Of a model with digits: the bound of the sampler that reveals each digit on its own, or all of a token at once; model: as trained."""
    estimator: Literal["bound", "orders", "joint"] = "bound"
    """orders: the tighter bound of --repeats random orders an example, log of the mean of p(x | order), at a network call for every
    token of each: give a --limit.  joint, the loss of the MDM-Prime paper, is refused: it is not a bound."""
    length: int = 0
    """Tokens a window; 0: the length that the model was trained at."""
    limit: int = 0
    """At most so many windows, spread evenly over the split; 0: all, so that every token is scored once."""
    batch_size: int = 0
    """Windows that run through the network at a time; 0: 64, and more of them where they are short."""


def evaluate(argv: list[str]) -> None:
    """The bound on held-out data, with its errors, unit and protocol."""
    args = parse(Eval, "eval", argv, evaluate.__doc__)
    if args.estimator == "joint":
        raise ValueError(
            "the joint loss of MDM-Prime is not an upper bound on the negative log-likelihood, so it is never reported as nats, bits or "
            "perplexity (its authors withdrew those made of it in May 2026: chen-hao-chao.github.io/dependency-breaks-validity); "
            "leave out --estimator for the bound"
        )
    runtime = Runtime(args)
    from tqdm import tqdm

    from unmask.data import Table, open_data
    from unmask.likelihood import difference, estimate_nelbo, estimate_orders

    check_positive(args, "repeats")
    model, tokenizer, folder = runtime.load(args.model)
    masking = model.masking if args.masking == "model" else args.masking
    model.units(masking)  # an error here, if it cannot be
    data = open_data(args.data, labels=model.meta.get("labels", False))
    same_tokens(model, data, args.model)
    again = {s["sha256"] for s in model.meta["data"]["source"]} & {s["sha256"] for s in data.meta["source"]}
    if again and model.meta["data"]["sha256"] != data.meta["sha256"]:
        print("warning: the model was trained on this source, split in another way: what is scored may hold training text", file=sys.stderr)
    length = args.length or model.meta["length"]
    batch_size = examples_at_a_time(args.batch_size, length)
    windows = data.windows(args.split, length, batch_size, limit=args.limit or None)
    count = min(data.window_count(args.split, length), args.limit or sys.maxsize)
    bar = tqdm(windows, total=-(-count // batch_size), unit="batch", disable=None, dynamic_ncols=True)
    if args.estimator == "orders":
        if args.steps or args.masking != "model":
            raise ValueError("--estimator orders is of continuous time and the model's own masking: leave out --steps and --masking")
        with runtime.precision:
            bound, single = estimate_orders(model, bar, orders=args.repeats, seed=args.seed)
        estimator = f"mean of the likelihood over {args.repeats} random orders"
        report_bound(args, runtime, folder, model, data, bound, count, length, estimator, single_order_nats=single.mean)
        gain, error, _ = difference(single, bound)
        per = f"{gain:.4f}" + (f" +- {error:.4f}" if math.isfinite(error) else "")
        print(f"  {single.bits_per_dim:.4f} for one order at a time, the plain bound on these examples: a gain of {per}")
        return
    with runtime.precision:
        bound = estimate_nelbo(
            model, bar, repeats=args.repeats, steps=args.steps or None, masking=masking, seed=args.seed,
            by_position=isinstance(tokenizer, Table),
        )  # fmt: skip
    estimator = estimator_name(model.schedule.num_values > 1, args.steps)
    more = {}
    if bound.by_position is not None:
        more = {"nats_by_column": dict(zip(tokenizer.names, bound.by_position.tolist(), strict=True))}
    report_bound(args, runtime, folder, model, data, bound, count, length, estimator, **more)


def report_bound(args: Eval, runtime: Runtime, folder: Path, model, data, bound, count: int, length: int, estimator: str, **more) -> None:
    """Print an estimate with its protocol, and record it."""
    unit, masking = data.unit, bound.masking
    revealed = "one token" if model.units(masking).length == 1 else f"one of a token's {model.subtokenizer.length} digits"
    given = ", given their classes" if model.meta.get("labels") else ""
    print(f"{bound.bits_per_dim:.4f} +- {bound.bits_per_dim_stderr:.4f} bits per {unit}: an upper bound on the negative log-likelihood")
    print(f"  {args.split} split, {data.describe(count, int(bound.positions.sum()), length)}{given}")
    if unit == "residue":
        print(f"  {data.describe_windows(args.split, length)}")
    if unit in ("dimension", "cell"):
        print(f"  {bound.mean:.3f} +- {bound.stderr:.3f} nats {'an image' if unit == 'dimension' else 'a row'}")
    for name, (nats, error) in more.get("nats_by_column", {}).items():
        print(f"    {nats:7.3f} +- {error:.3f} of them in {name}")
    noise = f", noise of the masks alone {bound.bits_per_dim_noise:.4f}" if not math.isnan(bound.noise) else ""
    over = data.describe_groups(args.split, length)
    print(f"  error {over}{noise}")
    print(f"  of the sampler that reveals {revealed} at an instant" + (" (and draws one token a step)" if args.steps else ""))
    print(f"  {estimator}, {args.repeats} draws each, seed {args.seed}, {runtime.dtype}, averaged weights of {folder}")
    if unit == "token":
        print(f"  perplexity bound {bound.perplexity:.2f} per token")
    runtime.record(
        folder, value=bound.bits_per_dim, unit=f"bits per {unit}", stderr=bound.bits_per_dim_stderr, noise=bound.bits_per_dim_noise,
        n=count, positions=int(bound.positions.sum()), length=length, split=args.split, nats_per_example=bound.mean,
        nats_per_example_stderr=bound.stderr, perplexity=bound.perplexity, estimator=estimator, masking=masking,
        given="classes" if model.meta.get("labels") else None,
        revealed_at_an_instant=revealed, repeats=args.repeats, data_sha256=data.meta["sha256"], error_over=over,
        **keep_examples(args.json, bound), **more,
    )  # fmt: skip


# ---------------------------------------------------------------- audit


@dataclass(frozen=True, kw_only=True)
class Audit(Machine):
    model: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="MODEL")] = ""
    """A model's folder, or a run's."""
    selftest: bool = False
    """Audit this package instead of a model: every objective and estimator against known entropies."""
    data: str = ""
    """A folder that `unmask prepare` made, with the model's tokens; empty: audit on samples of the model itself."""
    split: Literal["train", "validation", "test"] = "test"
    """Which part of the data."""
    limit: int = 32
    """Windows of the data, spread evenly over the split, or samples."""
    length: int = 0
    """Tokens a window; 0: the length that the model was trained at."""
    repeats: int = 32
    """Draws of masks for each window, at least 32, so that their noise is known."""
    enumerate: int = 8
    """Units (tokens or digits) of the short windows, all masks of which are summed."""


def audit(argv: list[str]) -> int:
    """Is the reported number a bound?  Exit code 1 if a check fails."""
    args = parse(Audit, "audit", argv, audit.__doc__)
    if args.selftest == bool(args.model):
        raise ValueError("name the folder of a model or, to audit the package itself, give --selftest; not both")
    if args.selftest and (args.data or args.device != "auto" or args.dtype != "auto"):
        raise ValueError("--selftest has distributions of its own, in float64 on the CPU: leave out --data, --device and --dtype")
    runtime = Runtime(replace(args, device="cpu") if args.selftest else args)
    from unmask import check_model, selftest
    from unmask.audit import MAX_UNITS

    check_positive(args, "limit", "enumerate")
    if args.repeats < 32:
        raise ValueError(f"--repeats must be at least 32, not {args.repeats}: with fewer draws their noise is not known")
    if args.enumerate > MAX_UNITS:
        raise ValueError(f"--enumerate {args.enumerate} has 2^{args.enumerate} masks: it is limited to {MAX_UNITS} units")
    if args.selftest:
        rows = selftest.run(args.seed)
        return report_checks(runtime, None, selftest.HEADER, rows, repeats=selftest.REPEATS, precision="float64")
    from unmask.data import open_data

    data = open_data(args.data) if args.data else None
    model, _, folder = runtime.load(Path(args.model))
    if data is not None:
        same_tokens(model, data, Path(args.model))
    x, valid, on = check_model.windows_of(
        model, data, split=args.split, length=args.length or model.meta["length"], limit=args.limit, generator=runtime.generator
    )
    trained = "its bound" if model.objective == "nelbo" else "the joint loss, which is no bound; what is audited is its bound"
    on += ", without their classes" if model.meta.get("labels") else ""
    print(f"{folder}, trained on {trained}; {on}, {runtime.dtype}, {args.repeats} draws a window, seed {args.seed}")
    rows = check_model.check_model(model, x, valid, dtype=runtime.dtype, units=args.enumerate, repeats=args.repeats, seed=args.seed)
    sha = None if data is None else data.meta["sha256"]
    return report_checks(runtime, folder, check_model.HEADER, rows, objective=model.objective, on=on, repeats=args.repeats, data_sha256=sha)


# ---------------------------------------------------------------- schedule


@dataclass(frozen=True, kw_only=True)
class Schedule(Machine):
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A model's folder, or a run's."""
    data: str = ""
    """The data that the model was trained on: tells how often each value occurs, and what the powers are worth."""
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
    """What a learned schedule has learned: the values revealed first and last and, with --data, what that changes."""
    args = parse(Schedule, "schedule", argv, schedule.__doc__)
    runtime = Runtime(args)
    from unmask.data import open_data
    from unmask.schedule_report import describe_bounds, describe_schedule, measure, plot, read_powers, record_of

    check_positive(args, "num", "limit", "repeats", "batch_size")
    check_out(args.out, ".png")
    model, tokenizer, folder = runtime.load(args.model)
    data = open_data(args.data, labels=model.meta.get("labels", False)) if args.data else None
    if data is not None:
        same_tokens(model, data, args.model)
        for split in ("train", args.split):
            data.window_count(split, model.meta["length"])  # an empty one is an error here
        if data.meta["sha256"] != model.meta["data"]["sha256"]:
            print(f"warning: the model was not trained on {args.data}: what is called train here is not its training data", file=sys.stderr)
    powers = read_powers(model, tokenizer, data) if model.schedule.num_values > 1 else None
    print(f"{folder}: {describe_schedule(model.schedule, powers, args.num)}")
    if args.out:
        plot(Path(args.out), model.schedule, powers)
    print(f"wrote {args.out}" if args.out else "for a plot of the curves: --out schedule.png", file=sys.stderr)
    bounds, of = None, {}
    if data is not None:
        with runtime.precision:
            bounds = measure(model, data, powers, split=args.split, limit=args.limit, repeats=args.repeats, batch_size=args.batch_size,
                             seed=args.seed)  # fmt: skip
        print(f"\n{describe_bounds(bounds, powers, model, data.unit, args.split)}")
        print(f"seed {args.seed}, {runtime.dtype}, averaged weights of {folder}")
        of = {"split": args.split, "unit": f"bits per {data.unit}", "length": model.meta["length"], "data_sha256": data.meta["sha256"]}
    runtime.record(folder, **record_of(model.schedule, powers, bounds), **of)


# ---------------------------------------------------------------- demo, bench


@dataclass(frozen=True, kw_only=True)
class Demo(Machine):
    data: Literal["shakespeare", "digits", "table", "protein"] = "shakespeare"
    """The bundled data: a text by characters, pictures of handwritten digits, a table of a census, or proteins."""
    out: str = ""
    """Where data, run and report go; a run that was stopped there continues.  Empty: demo, demo-digits, demo-table or demo-protein."""
    minutes: float = 0.0
    """Of training; 0: the preset's, at most three."""


def demo(argv: list[str]) -> None:
    """Train on bundled data for three minutes, evaluate, sample, fill in, and write an HTML report."""
    args = parse(Demo, "demo", argv, demo.__doc__)
    runtime = Runtime(args)
    from unmask import demo as of_text
    from unmask import demo_digits, demo_proteins, demo_table

    preset, module, out = {
        "shakespeare": ("demo", of_text, "demo"), "digits": ("digits", demo_digits, "demo-digits"),
        "table": ("table", demo_table, "demo-table"), "protein": ("protein", demo_proteins, "demo-protein"),
    }[args.data]  # fmt: skip
    minutes = args.minutes or PRESETS[preset].config.minutes
    folder, values = module.run(Path(args.out or out), minutes=minutes, seed=args.seed, device=str(runtime.device), dtype=runtime.dtype)
    runtime.record(folder, **values)


Benchmark = Literal["all", "head", "train", "estimator", "schedule-gradient", "unet", "sampling", "idle-steps"]


@dataclass(frozen=True, kw_only=True)
class Bench:
    what: tyro.conf.Positional[tuple[Benchmark, ...]] = ("all",)
    model: str = ""
    """The trained model that the estimators are measured on, with --data; empty: the one in demo/, if it is there.  schedule-gradient
    needs one with a learned schedule."""
    data: str = ""
    """The data of --model."""
    json: str = ""
    """Also write the table to this file."""
    threads: int = 0
    """CPU threads; 0: leave as it is."""


def bench(argv: list[str]) -> None:
    """Measure speed, against the plain way of doing the same and against this machine's own rate."""
    args = parse(Bench, "bench", argv, bench.__doc__)
    from unmask.bench import run

    check_out(args.json, ".json")
    if args.threads < 0 or bool(args.model) != bool(args.data):
        raise ValueError(f"--threads must not be negative, not {args.threads}; --model and --data go together")
    write_record(args.json, **run(args.what, model=args.model, data=args.data, threads=args.threads))


VERBS: dict[str, Callable[[list[str]], int | None]] = {
    "demo": demo, "prepare": prepare, "train": train, "eval": evaluate, "compare": compare, "audit": audit,
    "schedule": schedule, "sample": sample, "fill": fill, "distance": distance, "bench": bench,
}  # fmt: skip

HELP = """usage: unmask VERB ...      (unmask VERB --help explains its flags)

  demo                          train, evaluate, sample and fill in within minutes, with a report to look at
  prepare KIND SRC OUT          text, images, tables or proteins -> a memory map of token ids
  train PRESET --data --out     train a model; the same command continues a run that was stopped
  eval MODEL --data DIR         an upper bound on the negative log-likelihood, with its errors
  compare A.json B.json         is one of two bounds lower? their paired difference, with its error
  audit MODEL | --selftest      is the reported number a bound? checks of a model, or of this package
  schedule MODEL                what a learned schedule has learned, and a plot of it
  sample MODEL                  draw samples
  fill MODEL INPUT              fill in the [MASK]s of a text, the holes of a picture, a table or proteins
  distance A B                  Frechet distance of two files of features, yours
  bench                         measure speed on this machine

  --version, --help"""
