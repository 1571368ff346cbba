"""One self-contained HTML file about a trained model.

Only what is passed is shown: nothing here calls a model, and the file loads nothing from anywhere.
"""

from collections.abc import Sequence
from pathlib import Path

from unmask.files import write_whole
from unmask.markup import escaped
from unmask.report.curves import curve, evaluations, finite, of_another_loss
from unmask.report.page import INTRO, PAGE, SAYS, SCRIPT, STYLE
from unmask.report.pieces import Figure, Section, bars, fact, section, shown
from unmask.report.plots import count_plot, curve_plot, schedule_plot
from unmask.schedules import Schedule


def write_report(
    path: Path,
    *,
    title: str,
    unit: str,
    sources: str,
    summary: Sequence[tuple[str, str]] = (),
    sections: Sequence[Section] = (),
    figures: Sequence[Figure] = (),
    baselines: dict[str, float] | None = None,
    bound: tuple[float, float] | None = None,
    seen: str = "",
    log: Sequence[dict] = (),
    bound_by_count: Sequence[tuple[float, float, float]] = (),
    of_windows: str = "",
    schedule: Schedule | None = None,
) -> Path:
    """Write the page and return its path; a section whose data is empty or None is left out.

    `summary`: (label, value) rows.
    `unit`: what a position is, singular.  `sources`: what was run.
    `sections`, `figures`: shown first.
    `baselines`: name -> bits per unit.  `bound`: (bits per unit, standard error, NaN if unknown);
    `seen`: the split that it is of, if the model may have been trained on that; "": held-out data.
    `log`: training rows {"step", "loss": nats per position} and evaluations {"step", "bits",
    "stderr"}, further keys ignored.
    `bound_by_count`: (share of positions masked, mean nats per masked position, its standard
    error); `of_windows`: of which windows, in words, where these are not those of the bound.
    `schedule`: `.masked(t)` (T,) -> (T, K).
    """
    baselines, log = baselines or {}, list(log)
    bound_by_count = [row for row in bound_by_count if finite(row[1])]
    parts = [section(one) for one in sections] + [shown(one) for one in figures]
    if bound:
        drawn = bars(baselines, bound, unit, f"the {seen} split" if seen else "held-out data")
        says = SAYS["seen" if seen else "bound"].format(split=seen)
        parts.append(section(Section("How good it is", says, drawn)))
    if curve(log) or evaluations(log):
        drawn = curve_plot(log, unit, baselines)
        says = SAYS["evaluations" if of_another_loss(log) else "log"]
        parts.append(section(Section("Training", says, drawn)))
    if bound_by_count:
        says = SAYS["count"]
        if of_windows:
            says += SAYS["some"].format(windows=of_windows)
        # with a curve per value, the bound is not this area
        elif schedule is None or schedule.num_values == 1:
            says += SAYS["area"]
        parts.append(section(Section("How much is hidden", says, count_plot(bound_by_count))))
    if schedule is not None:
        drawn = schedule_plot(schedule)
        parts.append(section(Section("The schedule", SAYS["schedule"], drawn)))
    facts = "".join(fact(label, value) for label, value in summary)
    write_page(Path(path), title=title, intro=INTRO, facts=facts, parts=parts, sources=sources)
    return Path(path)


def some_windows(examples: dict, asked: int, unit: str) -> str:
    """Of which windows a batch is, in words; "" where it holds all that were asked for."""
    count, length = examples["x"].shape
    return "" if count == asked else f"{count:,} windows of {length:,} {unit}s"


def write_page(
    path: Path, *, title: str, intro: str, facts: str, parts: Sequence[str], sources: str
) -> None:
    """A page of such parts, with the script if one of them has states to step through."""
    body = "\n".join(parts)
    script = f'<script type="module">{SCRIPT}</script>\n' if 'class="played"' in body else ""
    content = PAGE.format(
        title=escaped(title), intro=intro, style=STYLE, rows=facts, parts=body,
        sources=escaped(sources), script=script,
    )  # fmt: skip
    write_whole(path, content)
