"""unmask demo: bundled data of any kind, trained on, evaluated, sampled, filled in, reported."""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from unmask.cli.flags import Machine, parse, refuse_stream
from unmask.cli.report import facts_of_bound, show
from unmask.cli.runtime import Runtime, made_by
from unmask.files import write_whole
from unmask.kinds.demo import Demo, Shown
from unmask.kinds.kind import Kind, blank
from unmask.kinds.quality import Bars
from unmask.kinds.registry import demos, presets

QUALITY = "quality.html"
OURS = {
    "data",
    "run",
    "report.html",
    "report.png",
    QUALITY,
    *(one.file for one in demos().values()),
}


@dataclass(frozen=True, kw_only=True)
class Common(Machine):
    out: str = ""
    """Where data, run and report go; a run that was stopped there continues.  Empty: demo, or
    demo-DATA."""
    minutes: float = 0.0
    """Of training; 0: the preset's, at most three."""
    open: bool = False
    """Open the report in a browser."""


def flags_of_demos() -> type:
    """The verb's flags; --data is one of the kinds' demos."""
    found = demos()
    said = "; ".join(f"{name}: {one.subject}" for name, one in found.items())
    chosen = tyro.conf.arg(help=f"The bundled data. {said}.")
    choice: Any = Literal[tuple(found)]  # type: ignore[valid-type]
    data = ("data", Annotated[choice, chosen], field(default=next(iter(found))))
    return make_dataclass("Demo", [data], bases=(Common,), frozen=True, kw_only=True)


def demo(argv: list[str]) -> None:
    """Train on bundled data for three minutes, evaluate, sample, fill in, write an HTML report."""
    args: Any = parse(flags_of_demos(), "demo", argv, demo.__doc__)
    refuse_stream(args.out)
    runtime = Runtime(args)
    from unmask.kinds.registry import kind_of
    from unmask.train import train

    one = demos()[args.data]()
    out = Path(args.out or one.out)
    config = presets()[one.preset].config
    minutes, device = args.minutes or config.minutes, str(runtime.device)
    config = replace(config, minutes=minutes, seed=args.seed, device=device, dtype=runtime.dtype)
    config.check()
    data = prepared(one, out)
    sizes = data.meta[one.counted]
    say(
        f"{one.subject}: {sizes['train']:,} to train on, {sizes['validation']:,} to watch it by "
        f"(validation), {sizes['test']:,} held out (test)"
    )
    folder = train(config, out / "data", out / "run")

    model, _ = runtime.load(str(folder))
    print("evaluating, sampling, filling in", file=sys.stderr)
    with runtime.precision:
        record = present(one, kind_of(data.meta, data.folder), data, model, runtime, config, out)
    runtime.record(**record)
    if args.open:
        show(out / "report.html")


def prepared(one: Demo, out: Path) -> Any:
    """The demo's data, prepared below `out` if that is not done yet."""
    from unmask.checkpoint import digest
    from unmask.kinds.registry import open_data

    if out.exists() and not is_demo(out):
        raise ValueError(f"{out} exists and is not a demo: choose another --out")
    if not (out / "data" / "meta.json").is_file():
        out.mkdir(parents=True, exist_ok=True)
        one.prepare(out / "data")
    data = open_data(out / "data")
    if data.meta["source"][0]["sha256"] != digest(one.source) or data.meta["split"] != one.split:
        raise ValueError(f"{out / 'data'} is not the demo's data: choose another --out")
    return data


def is_demo(out: Path) -> bool:
    """Whether there is nothing in the folder `out` but what a demo writes, and hidden files."""
    if not out.is_dir():
        return False
    return all(path.name in OURS or path.name.startswith(".") for path in out.iterdir())


def present(
    one: Demo, kind: Kind, data: Any, model: Any, runtime: Runtime, config: Any, out: Path
) -> dict:
    """Evaluate, sample, fill in; say and report what came out.  Returns what is to be recorded."""
    from unmask import checkpoint
    from unmask.evaluation.presentation import Watching, drawn, told
    from unmask.likelihood import cross_entropy_by_count, estimate_nelbo
    from unmask.report import some_windows
    from unmask.report.boards import of_filling, of_samples
    from unmask.sampling import draw_lengths
    from unmask.train import last_row, read_log

    length, seed, generator = model.meta["length"], runtime.args.seed, runtime.generator
    windows = data.windows("test", length, one.batch_size)
    columns = kind.column_of if kind.columns else False
    bound = estimate_nelbo(model, windows, repeats=one.repeats, seed=seed, by_position=columns)
    some = one.examples(data, length)
    by_count = cross_entropy_by_count(model, some, levels=one.levels, generator=generator)
    sizes = [length] * one.num
    if "lengths" in kind.meta:
        sizes = sorted(draw_lengths(model, one.num, generator).tolist(), reverse=True)
    drawer = Watching(model, steps=one.steps(length), watch=1, generator=generator)
    samples = drawn(drawer, [blank(size) for size in sizes])
    fillers = []

    def filler(steps: int) -> Watching:
        fillers.append(Watching(model, steps=steps, generator=generator, seed=seed))
        return fillers[-1]

    shown = one.show(data, list(samples.rows), filler)
    baselines = one.baselines(data, int(bound.positions.sum()))
    notes = [*data.protocol("test", length), *filter(None, [one.note])]
    for line in [*spoken(bound, baselines, data.unit, notes), *shown.said]:
        say(line)

    sections = of_samples(kind, samples.cut(0, kind.on_a_page[1]))
    for own in fillers:
        sections += [of_filling(kind, told(kind, own, filling)) for filling in own.fillings]
    log = read_log(out / "run" / "log.jsonl")
    end = last_row(out / "run", checkpoint.resolve(out / "run"))
    summary = summarized(bound, data, kind, model, config, end, notes)
    report = write(out, one, shown, kind, drawer.states, {
        "summary": summary, "log": log, "schedule": model.schedule, "bound_by_count": by_count,
        "baselines": baselines, "bound": (bound.bits_per_dim, bound.bits_per_dim_stderr),
        "of_windows": some_windows(some, len(bound.positions), data.unit),
        "sources": "; ".join(filter(None, [made_by(), one.credit])), "sections": sections,
    })  # fmt: skip
    if one.file:
        judged(one, kind, data, list(samples.rows), seed, out)
    say(f"the model is in {out / 'run'}; to draw more: unmask sample {out / 'run'}; the report, to")
    minutes = (time.monotonic() - runtime.began) / 60
    say(f"open in a browser: {report}   ({minutes:.1f} minutes in all)")
    whole = {"nats_per_example": bound.mean} if kind.fixed else {}
    return {
        "value": bound.bits_per_dim, "unit": f"bits per {data.unit}",
        "stderr": bound.bits_per_dim_stderr, "noise": bound.bits_per_dim_noise,
        "n": len(bound.positions), "estimator": "continuous time, exact count",
        "repeats": bound.repeats, "baselines": baselines, "data_sha256": data.meta["sha256"],
        "steps": end["step"], "training_seconds": end["seconds"], **whole, **shown.record,
    }  # fmt: skip


def judged(one: Demo, kind: Kind, data: Any, drawn: list, seed: int, out: Path) -> None:
    """Write the samples, and say how good they are, in words and on a page."""
    from dataclasses import asdict
    from types import SimpleNamespace

    from unmask.cli.quality import rows_of, table
    from unmask.report.quality import write_quality

    path = out / one.file
    kind.write(drawn, SimpleNamespace(out=str(path), seed=seed, where=()))
    flags = asdict(kind.Judge()) | {"source": str(one.source), "split": "test", "seed": seed}
    found = kind.quality(data, path, SimpleNamespace(**flags))
    write_quality(out / QUALITY, found, f"Samples in {path.name}")
    say(f"\nhow good are the samples? ({out / QUALITY})")
    for line in table(rows_of(found.measures)):
        say(f"  {line}")
    for line in found.notes[-1:]:
        say(f"  {line}")
    say("")


def spoken(bound: Any, baselines: dict, unit: str, notes: list[str]) -> list[str]:
    """The bound below the baselines, and what is to be known of it."""
    from unmask.estimate import plus_minus

    lines = [f"  {name:22} {bits:.3f} bits per {unit}" for name, bits in baselines.items()]
    value = plus_minus(bound.bits_per_dim, bound.bits_per_dim_stderr, ".3f") + f" bits per {unit}"
    noise = f"mask noise {bound.bits_per_dim_noise:.3f}"
    lines.append(f"  {'this model':22} {value}, an upper bound ({noise})")
    return [*lines, *(f"  {note}" for note in notes)]


def summarized(
    bound: Any, data: Any, kind: Kind, model: Any, config: Any, end: dict, notes: list[str]
) -> list[tuple[str, str]]:
    """(label, value) rows of the report."""
    length = model.meta["length"]
    terms = [*notes, f"exact count, {bound.repeats} draws"]
    size = sum(p.numel() for p in model.parameters())
    shape = f"widths {config.widths}"
    if config.network == "transformer":
        shape = f"{config.layers} layers, width {config.dim}"
    batch = data.batch_name(config.batch_size, length)
    return [
        *facts_of_bound(bound, data, kind, length, terms),
        ("network", f"a {config.network} of {size:,} parameters, {shape}"),
        ("training", f"{end['step']:,} steps of {batch} in {end['seconds']:.0f} s, {config.dtype}"),
    ]


def write(out: Path, one: Demo, shown: Shown, kind: Kind, states: list, parts: dict) -> Path:
    """report.html and report.png."""
    from unmask.report import Figure, draw_bars, picture, write_report

    def png(content: bytes | Sequence[Bars]) -> bytes:
        return content if isinstance(content, bytes) else draw_bars(content)

    drawn = []
    for figure in shown.figures:
        pixels, content = isinstance(figure.content, bytes), png(figure.content)
        drawn.append(Figure(figure.title, figure.says, figure.alt, content, pixels))
    if shown.picture is not None:
        write_whole(out / "report.png", png(shown.picture))
    elif kind.frames == ".html":
        names = ("log", "baselines", "bound")
        curve = {name: parts[name] for name in names}
        frames = kind.pages(states)
        picture(out / "report.png", frames=frames, unit=kind.unit, **curve)
    page: dict[str, Any] = {"title": one.title, "unit": kind.unit, "figures": drawn}
    return write_report(out / "report.html", **page, **parts)


def say(line: str) -> None:
    print(line, flush=True)
