"""unmask report: a page about a trained model, of any kind."""

import math
import sys
import webbrowser
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from unmask.cli.flags import Model, Sampler, parse
from unmask.cli.runtime import Runtime, check_positive, how, made_by, same_data
from unmask.cli.sample import sizes_of
from unmask.files import descriptor
from unmask.kinds.output import check_apart, check_out
from unmask.labels import check_unlabelled

TOGETHER = 8  # examples that are filled in, at most
FILLINGS = 3
CURVE = 256  # windows in which the share that is hidden is varied
AUDITED = 8  # windows
LEVELS = 12  # such shares
# what a filling around words takes of a sampler's flags: it is ancestral, with grids of its own
OF_WORDS = ("seed", "precision", "progress", "batch_size", "temperature", "top_p", "draw")
UNITS, DRAWS = 8, 32  # of checks: of windows that are enumerated, and of masks


@dataclass(frozen=True, kw_only=True)
class Report(Sampler):
    model: Model
    out: str = "report.html"
    """The page: one file that loads nothing from anywhere."""
    open: bool = False
    """Open it in a browser."""
    data: str = ""
    """A folder that `unmask prepare` made, with the model's tokens: the bound is taken on it, and
    some of its examples are shown and filled in.  Empty: no bound, and a part of samples is filled
    in."""
    split: Literal["train", "validation", "test"] = "test"
    """Which part of --data."""
    limit: int = 256
    """Of --data: the bound is of at most so many windows, spread evenly over the split; 0: all."""
    repeats: int = 8
    """Draws of masks for each window, for the bound."""
    num: int = 0
    """How many samples; 0: as many as fit a page."""
    length: int = 0
    """Tokens of a sample; 0: as `unmask sample` has it."""
    words: tuple[str, str, str] = ("", "", "")
    """Of a model of text: the words given at the start, in the middle and at the end of a text
    that is filled in with the linear and the cosine schedule; one may be empty.  All empty: the
    first whole word of an example, one in its middle and its last."""
    audit: bool = False
    """Also check that the model's number is a bound, on a few windows, or samples."""

    @property
    def watched(self) -> bool:
        return True


def report(argv: list[str]) -> None:
    """A page about a trained model: its data, training, samples, fillings, and its bound."""
    args: Any = parse(Report, "report", argv, report.__doc__)
    runtime = Runtime(args)
    check_positive(args, "repeats")
    for name in ("limit", "num"):
        if getattr(args, name) < 0:
            raise ValueError(f"--{name} must not be negative, not {getattr(args, name)}")
    if not args.out:
        raise ValueError("--out is empty: name the page, such as report.html")
    if args.open and descriptor(args.out) is not None:
        raise ValueError(f"--open shows a file, and --out is {args.out}: name one, or leave it out")
    check_out(args.out, ".html")
    check_apart([args.out, args.json], [args.grid, args.data])
    from unmask.report import write_report
    from unmask.report.boards import of_filling, of_samples

    model, kind = runtime.load(args.model, "report")
    log, training = read_run(runtime)
    if args.audit:
        model.refuse("audit")
        check_unlabelled(model, "leave out --audit")
    data = opened(args, runtime, model, kind)
    if any(args.words):
        if not kind.has_words:
            raise ValueError(f"--words is not for {kind.what}: leave it out")
        example_with_words(args, model, kind, None)
    print("drawing samples, filling in", file=sys.stderr)
    samples, filling = filled(args, runtime, model, kind, data)
    sections = of_samples(kind, samples)
    if filling is None:
        print("note: no example is whole and has a part to hide: no filling", file=sys.stderr)
    else:
        sections.append(of_filling(kind, filling))
    sections += with_words(args, runtime, model, kind, data, samples)
    parts, record, summary = {}, {}, []
    if data is not None:
        print(f"taking the bound on {args.data}", file=sys.stderr)
        parts, record, summary = bounded(args, runtime, model, kind, data)
    if args.audit:
        print("checking that the number is a bound", file=sys.stderr)
        sections.append(audited(args, runtime, model, data))
    unit = kind.unit if data is None else data.unit
    summary += facts_of(model, training, log, unit)
    drawn = ", ".join(f"{name} {value}" for name, value in how(args, model).items())
    which = "averaged" if runtime.weights == "ema" else runtime.weights
    summary += [
        ("drawn with", f"{drawn}, seed {args.seed}"),
        ("weights", f"{which}, SHA-256 {runtime.model_sha256[:12]}"),
    ]
    write_report(
        Path(args.out), title=f"A model of {kind.describe()}", unit=unit, sources=made_by(),
        summary=summary, sections=sections, log=log, schedule=model.schedule, **parts,
    )  # fmt: skip
    print(f"wrote {args.out}", file=sys.stderr)
    runtime.record(out=args.out, **record, **how(args, model))
    if args.open:
        show(Path(args.out))


def show(path: Path) -> None:
    """Open a page in a browser; say so where there is none."""
    if not webbrowser.open(path.resolve().as_uri()):
        print(f"there is no browser to open {path} in", file=sys.stderr)


def opened(args: Report, runtime: Runtime, model: Any, kind: Any) -> Any:
    """The data of --data, with the model's tokens; None for none."""
    from unmask.kinds.registry import open_data

    if not args.data:
        return None
    data = open_data(args.data, labels=model.meta.get("labels", False))
    same_data(model, kind, data, runtime.found.place)
    data.tokens(args.split)  # ValueError for a split that is empty
    return data


def read_run(runtime: Runtime) -> tuple[list[dict], dict]:
    """The log of a run, and what its checkpoint says of its training; of a model that is none,
    nothing."""
    from unmask.checkpoint import read_config
    from unmask.train import read_log
    from unmask.train.run import read_training

    folder, log = runtime.found.folder, runtime.found.place / "log.jsonl"
    training = read_training(folder) if "training" in read_config(folder) else {}
    return read_log(log) if log.is_file() else [], training


def filled(args: Report, runtime: Runtime, model: Any, kind: Any, data: Any) -> tuple[Any, Any]:
    """Samples, and fillings of examples a part of which is hidden: of the data or, without any, of
    these samples."""
    from unmask.evaluation.presentation import Held, Watching, drawn, fill_again, held_out
    from unmask.labels import labels_of

    together, in_all = kind.on_a_page
    args = replace(args, num=args.num or in_all)
    sizes, _ = sizes_of(args, runtime, model, kind)
    labels = labels_of("", args.num, model) or [None] * args.num
    pairs = zip(sizes, labels, strict=True)
    blanks = [kind.blank(size, ())._replace(label=label) for size, label in pairs]
    filler = Watching(model, **runtime.filling())
    samples = drawn(filler, blanks)
    many = min(TOGETHER, together)
    if data is not None:
        held = held_out(data, args.split, model.meta["length"], many)
    else:
        own = zip(samples.rows[:many], blanks[:many], strict=True)
        examples = [known(blank, row) for row, blank in own]
        held = Held(examples, "A part of what the model drew itself, hidden again.")
    return samples, fill_again(kind, filler, held, num=FILLINGS, real=data is not None)


def known(blank: Any, row: Any) -> Any:
    """An example that was filled in, all of it given."""
    import numpy as np

    from unmask.roles import GIVEN, HOLE

    role = np.where(blank.role == HOLE, GIVEN, blank.role).astype(np.int8)
    return blank._replace(ids=row, role=role)


def with_words(
    args: Report, runtime: Runtime, model: Any, kind: Any, data: Any, samples: Any
) -> list[Any]:
    """A text filled in around given words, with two schedules; of what has none, nothing."""
    if not kind.has_words:
        return []
    from unmask.evaluation.presentation import WORDED, held_out, worded
    from unmask.report.boards import of_words

    ids, says = samples.rows[0], "The given words are of the first sample."
    if any(args.words):
        ids, says = None, ""
    elif data is not None:
        ids = held_out(data, args.split, model.meta["length"], 1).examples[0].ids
        says = f"The given words are of an example of the {args.split} split."
    try:
        example = example_with_words(args, model, kind, ids)
    except ValueError as error:
        print(f"note: no words are given: {error}", file=sys.stderr)
        return []
    steps, own = args.steps or WORDED, runtime.filling()
    filled = worded(model, example, steps=steps, **{name: own[name] for name in OF_WORDS})
    return [of_words(kind, filled, steps, says)]


def example_with_words(args: Report, model: Any, kind: Any, ids: Any) -> Any:
    """The example that is filled in around words: those of --words or, without, of `ids` (S,).

    ValueError for words, or a model, with which that cannot be.
    """
    from unmask.evaluation.presentation import one_schedule

    if why := one_schedule(model):
        raise ValueError(why)
    length = model.meta["length"] if ids is None else len(ids)
    return kind.worded(args.words, ids, args.length or length)


def bounded(
    args: Report, runtime: Runtime, model: Any, kind: Any, data: Any
) -> tuple[dict, dict, list[tuple[str, str]]]:
    """The bound: what is drawn of it, what is recorded, and facts."""
    from unmask.cli.evaluate import how as how_estimated
    from unmask.cli.evaluate import progress, split_otherwise, watched
    from unmask.cli.protocol import protocol_of, say_protocol
    from unmask.likelihood import cross_entropy_by_count, estimate_nelbo
    from unmask.report import some_windows
    from unmask.rows import rows_at_a_time

    split, length = args.split, model.meta["length"]
    size, of = rows_at_a_time(args.batch_size, length), data.window_count(split, length)
    windows = data.windows(split, length, size, args.limit or None)
    total = -(-min(of, args.limit or of) // size)
    columns = kind.column_of if kind.columns else False
    parts: dict[str, Any] = {}
    with runtime.precision:
        with progress(total) as bar:
            bound = estimate_nelbo(
                model, watched(windows, bar, 1), repeats=args.repeats, seed=args.seed,
                by_position=columns,
            )  # fmt: skip
        examples = data.whole_windows(split, length, CURVE)
        if model.schedule.num_values == 1 and len(examples["x"]) > 1:
            parts["bound_by_count"] = cross_entropy_by_count(
                model, examples, levels=LEVELS, rows=size, generator=runtime.generator
            )
            parts["of_windows"] = some_windows(examples, len(bound.positions), data.unit)
    parts["bound"] = bound.bits_per_dim, bound.bits_per_dim_stderr
    count = len(bound.positions)
    protocol = protocol_of(data, model, (split, length, count), how_estimated(args, runtime, bound))
    notes = [f"{split} split", f"{count:,} of {of:,} windows", *data.protocol(split, length)]
    if model.meta.get("labels"):
        notes.append("given their classes")
    other = split_otherwise(model.meta["data"], data.meta)
    parts["seen"] = split if other or split == "train" else ""
    if other:
        notes.append("split otherwise than for training: it may hold what was trained on")
    terms = [*notes, bound.name, f"{bound.repeats} draws", say_protocol(protocol).strip()]
    record = {
        "value": bound.bits_per_dim, "unit": f"bits per {data.unit}",
        "stderr": bound.bits_per_dim_stderr, "noise": bound.bits_per_dim_noise, "n": count,
        "split": split, "repeats": bound.repeats, "data_sha256": data.meta["sha256"],
    } | protocol.record()  # fmt: skip
    label = f"bound of the {split} split" if parts["seen"] else "held-out bound"
    return parts, record, facts_of_bound(bound, data, kind, length, terms, label)


def facts_of_bound(
    bound: Any, data: Any, kind: Any, length: int, terms: list[str], label: str = "held-out bound"
) -> list[tuple[str, str]]:
    """(label, value) rows: the bound with its errors, and by which terms it was taken."""
    error = bound.bits_per_dim_stderr
    found = f"{plus_minus(bound.bits_per_dim, error)} bits per {data.unit}"
    if data.example:
        found += f", {plus_minus(bound.mean, bound.stderr, 2)} nats {data.example}"
    rows = [(label, found)]
    if bound.by_position is not None:
        paid = zip(kind.columns, bound.by_position.tolist(), strict=True)
        rows.append(("of which", ", ".join(f"{name} {nats:.2f}" for name, (nats, _) in paid)))
    count, positions = len(bound.positions), int(bound.positions.sum())
    if not (bound.exact or math.isnan(bound.noise)):
        noise = f"{bound.bits_per_dim_noise:.4f} bits per {data.unit}"
        rows.append(("noise of the masks alone", noise))
    said = "; ".join([data.describe(count, positions, length), *terms])
    return [*rows, ("protocol", said)]


def plus_minus(value: float, error: float, places: int = 3) -> str:
    if math.isnan(error):
        return f"{value:.{places}f} (error not known)"
    return f"{value:.{places}f} ± {error:.{places}f}"


def facts_of(model: Any, training: dict, log: list[dict], unit: str) -> list[tuple[str, str]]:
    """(label, value) rows: what the model is, and what its run tells of its training."""
    from unmask.report.curves import evaluations

    of_data, rows = model.meta.get("data", {}), []
    sources = [f"{one['name']} ({one['bytes']:,} bytes)" for one in of_data.get("source", ())]
    rows.append(("trained on", ", ".join(sources) or "its folder does not say"))
    size = sum(p.numel() for p in model.parameters())
    shape = f"{model.meta['length']:,} {unit}s of {model.subtokenizer.vocab_size:,} values"
    name, schedule = model.config["backbone"]["name"], model.schedule.config["name"]
    rows.append(("network", f"{name} of {size:,} parameters, for {shape}; schedule {schedule}"))
    if training:
        step, seconds = training["step"], training["seconds"]
        rows.append(("training", f"{step:,} steps in {seconds:,.0f} s"))
    if found := evaluations(log):
        step, bits, error = found[-1]
        value = plus_minus(bits, error or math.nan)
        said = f"{value} bits per {unit} at step {step:,}, of some windows of that split"
        rows.append(("validation, while it trained", said))
    return rows


def audited(args: Report, runtime: Runtime, model: Any, data: Any) -> Any:
    """The checks of `unmask audit`, on a few windows."""
    from unmask.audit import checks
    from unmask.report.page import SAYS
    from unmask.report.pieces import Section, table

    x, valid, on = checks.windows_of(
        model, data, split=args.split, length=model.meta["length"], limit=AUDITED,
        generator=runtime.generator,
    )  # fmt: skip
    if data is not None:
        on = on.replace(str(data.folder), data.folder.name)  # a page is sent to others
    if model.meta.get("labels"):
        on += ", without their classes"
    how_checked = {"units": UNITS, "repeats": DRAWS, "seed": args.seed}
    rows = [["check", "measured", "limit", "verdict"]]
    for one in checks.check_model(model, x, valid, dtype=runtime.dtype, **how_checked):
        limit = "" if math.isnan(one.limit) else f"{one.limit:.3g}"
        measured = "" if math.isnan(one.measured) else f"{one.measured:.3g} {one.unit}"
        rows.append([one.name, measured, limit, one.verdict or one.note])
    failed = sum(row[-1] == "FAIL" for row in rows)
    if failed:
        print(f"{failed} checks FAILED: see the page", file=sys.stderr)
    verdict = f"{failed} of {len(rows) - 1} failed" if failed else f"All {len(rows) - 1} hold"
    says = f"{SAYS['audit']} {verdict}: {on}, {DRAWS} draws a window, seed {args.seed}."
    return Section("Is its number a bound?", says, table(rows, "Checks"))
