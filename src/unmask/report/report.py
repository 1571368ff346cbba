"""One self-contained HTML file about a trained model, and a picture for a README.

Only what is passed is shown: nothing here calls a model, and the file loads nothing from anywhere.
"""

import base64
import html
import json
import math
import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from unmask.files import write_whole
from unmask.markup import escaped, visible
from unmask.report.drawing import BLACK, BLUE, GREY, ORANGE, new_figure, quiet, write_png
from unmask.report.frames import Frames, checked, laid_out
from unmask.report.page import INTRO, PAGE, SAYS, SCRIPT, STEPPER, STYLE
from unmask.schedules import Schedule


class Figure(NamedTuple):
    """A picture with a heading and words above it; `alt`: what it shows, for who cannot see it."""

    title: str
    says: str
    alt: str
    content: bytes  # of a PNG or GIF file


def write_report(
    path: Path,
    *,
    title: str,
    unit: str,
    sources: str,
    summary: Sequence[tuple[str, str]] = (),
    log: Sequence[dict] = (),
    schedule: Schedule | None = None,
    bound_by_count: Sequence[tuple[float, float, float]] = (),
    baselines: dict[str, float] | None = None,
    bound: tuple[float, float] | None = None,
    samples: Sequence[str] = (),
    fill: dict | None = None,
    frames: Frames | None = None,
    figures: Sequence[Figure] = (),
) -> Path:
    """Write the page and return its path; a section whose data is empty or None is left out.

    `summary`: (label, value) rows.
    `log`: training rows {"step", "loss": nats per position} and evaluations {"step", "bits",
    "stderr"}, further keys ignored.
    `unit`: what a position is, singular.  `sources`: what was run.
    `schedule`: `.masked(t)` (T,) -> (T, K).
    `bound_by_count`: (share of positions masked, mean nats per masked position, its standard
    error).
    `baselines`: name -> bits per unit.  `bound`: (bits per unit, standard error, NaN if unknown).
    `fill`: {"before": [(text, given?)], "after": several such lists}.
    `frames`: states of one sample, a string per position, "" or None where it is masked.
    `figures`: shown first.

    ValueError: frames of different lengths.
    """
    baselines, log = baselines or {}, list(log)
    bound_by_count = [row for row in bound_by_count if _finite(row[1])]
    parts = [_section(escaped(f.title), escaped(f.says), _image(f)) for f in figures]
    if frames:
        parts.append(_section("How a sample appears", SAYS["frames"], _stepper(frames)))
    if samples:
        shown = "".join(f"<pre>\n{escaped(sample)}</pre>" for sample in samples)
        parts.append(_section("Samples", SAYS["samples"], shown))
    if fill:
        parts.append(_section("Filling in", SAYS["fill"], _filled(fill)))
    if bound:
        parts.append(_section("How good it is", SAYS["bound"], _bars(baselines, bound, unit)))
    if curve(log) or evaluations(log):
        parts.append(_section("Training", SAYS["log"], _curve_plot(log, unit, baselines)))
    if bound_by_count:
        says = SAYS["count"]
        # with a curve per value, the bound is not this area
        if schedule is None or schedule.num_values == 1:
            says += SAYS["area"]
        parts.append(_section("How much is hidden", says, _count_plot(bound_by_count)))
    if schedule is not None:
        parts.append(_section("The schedule", SAYS["schedule"], _schedule_plot(schedule)))
    page = PAGE.format(
        title=escaped(title),
        intro=INTRO,
        style=STYLE,
        rows="".join(_row(label, value) for label, value in summary),
        parts="\n".join(parts),
        sources=escaped(sources),
    )
    path = Path(path)
    write_whole(path, page)
    return path


def picture(
    path: Path,
    *,
    frames: Frames,
    log: list[dict],
    unit: str,
    baselines: dict[str, float],
    bound: tuple[float, float],
) -> Path:
    """A PNG of 1600 x 700 pixels: four stages of one sample, and the loss in bits per `unit`.

    Arguments as in `write_report`.  ValueError: no frames, or frames of different lengths.
    """

    def draw():
        figure = new_figure(16, 7)
        _draw_stages(figure.add_axes((0.025, 0.03, 0.52, 0.94)), checked(frames))
        _draw_curve(figure.add_axes((0.6, 0.13, 0.375, 0.76)), log, unit, baselines, bound)
        return figure

    path = Path(path)
    write_png(path, draw)
    return path


# ---------------------------------------------------------------- numbers


def curve(log: list[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Steps, losses in bits, and their running mean over a twenty-fifth of the rows.

    None without finite losses.
    """
    rows = [(row["step"], row["loss"] / math.log(2)) for row in log if _finite(row.get("loss"))]
    if not rows:
        return None
    steps, bits = np.array(rows, dtype=np.float64).T
    total = np.concatenate([[0.0], np.cumsum(bits)])
    i, half = np.arange(len(bits)), len(bits) // 50
    reach = np.minimum(i, half)  # symmetric in the steep beginning
    low, high = i - reach, np.minimum(i + reach + 1, len(bits))
    return steps, bits, (total[high] - total[low]) / (high - low)


def evaluations(log: list[dict]) -> list[tuple[float, float, float]]:
    """(step, bits, standard error or 0) of the evaluations in a log."""
    rows = [row for row in log if _finite(row.get("bits"))]
    return [(row["step"], row["bits"], _known(row.get("stderr"))) for row in rows]


def _finite(value) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _known(error) -> float:
    """A standard error, 0 where it is not known."""
    return error if _finite(error) else 0.0


def _range(log: list[dict], levels: list[float]) -> tuple[float, float]:
    """The bits that a loss plot shows: single noisy steps do not stretch it."""
    values, found = [level for level in levels if _finite(level)] or [0.0], curve(log)
    if found:
        values += [*found[2], *np.percentile(found[1], [2, 98])]
    for _, bits, error in evaluations(log):
        values += [bits - error, bits + error]
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.5
    return low - pad, high + pad


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from low to high, about `count`."""
    size = 10 ** math.floor(math.log10((high - low) / count))
    size *= next(m for m in (1, 2, 5, 10) if (high - low) / (m * size) <= count)
    first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    return [i * size for i in range(first, last + 1)]


def _spread(values: list[float], gap: float, high: float) -> list[float]:
    """The values moved apart to at least `gap`, none above `high`: labels that do not overlap."""
    placed, top = list(values), high
    for i in sorted(range(len(values)), key=lambda i: -values[i]):
        placed[i] = min(values[i], top)
        top = placed[i] - gap
    return placed


def _pm(bits: float, error: float) -> str:
    said = f"{bits:.3f}"
    return f"{said} ± {error:.3f}" if _known(error) > 0 else said


# ---------------------------------------------------------------- pieces of the page


def _section(name: str, says: str, body: str) -> str:
    return f"<section>\n<h2>{name}</h2>\n<p>{says}</p>\n{body}\n</section>"


def _row(label: str, value: str) -> str:
    return f'<tr><th scope="row">{escaped(label)}</th><td>{escaped(value)}</td></tr>'


def _image(figure: Figure) -> str:
    kind = "gif" if figure.content.startswith(b"GIF") else "png"
    data = base64.b64encode(figure.content).decode()
    return f'<img alt="{escaped(figure.alt)}" src="data:image/{kind};base64,{data}">'


def _bars(baselines: dict[str, float], bound: tuple[float, float], unit: str) -> str:
    """A table whose middle column is a bar from 0; the whisker is one standard error either way."""
    rows = [(name, bits, 0.0, "") for name, bits in baselines.items()]
    rows.append(("this model, at most", bound[0], _known(bound[1]), ' class="own"'))
    most = max((bits + error for _, bits, error, _ in rows if _finite(bits)), default=0.0) or 1.0
    cells = ""
    for name, bits, error, own in sorted(rows, key=lambda row: -row[1]):
        bar = f'<i style="width:{min(100 * bits / most, 100.0):.2f}%"></i>'
        if error:
            left, width = 100 * (bits - error) / most, 200 * error / most
            bar += f'<b style="left:{left:.2f}%;width:{width:.2f}%"></b>'
        cells += (
            f'<tr{own}><th scope="row">{escaped(name)}</th>'
            f'<td><div class="bar" aria-hidden="true">{bar}</div></td>'
            f"<td>{_pm(bits, error)}</td></tr>"
        )
    caption = f"<caption>bits per {escaped(unit)}, on held-out data</caption>"
    return f'<table class="bars">{caption}{cells}</table>'


def _filled(fill: dict) -> str:
    def segment(text: str, given: bool, kind: str) -> str:
        if given:
            return f"<span>{escaped(text)}</span>"
        return f'<mark class="{kind}">{escaped(text) or "&nbsp;" * 4}</mark>'

    def card(title: str, segments, kind: str) -> str:
        body = "".join(segment(text, given, kind) for text, given in segments)
        return f"<h3>{title}</h3><pre>\n{body}</pre>"

    key = (
        '<p class="key"><span>given</span> <mark class="hole">hole</mark> '
        '<mark class="new">filled in by the model</mark></p>'
    )
    cards = [card("Given", fill["before"], "hole")]
    for i, segments in enumerate(fill["after"], 1):
        cards.append(card(f"Completion {i}", segments, "new"))
    return key + "".join(cards)


def _stepper(frames: Frames) -> str:
    """The states as what changes from each to the next: [position, text or 0 where masked]."""
    size, changes = len(checked(frames)[0]), []
    before: list[str | int | None] = [None] * size
    for frame in frames:
        now: list[str | int | None] = [visible(text) if text else 0 for text in frame]
        changes.append([[i, text] for i, text in enumerate(now) if text != before[i]])
        before = now
    final = "".join(str(text or " ") for text in before)
    data = json.dumps({"size": size, "changes": changes}, separators=(",", ":"))
    for char in "<>&":  # or a sample could close the script
        data = data.replace(char, f"\\u{ord(char):04x}")
    return STEPPER.format(last=len(frames) - 1, final=html.escape(final), data=data, script=SCRIPT)


# ---------------------------------------------------------------- plots: text in stretched SVG


class _Plot:
    """Collects SVG: curves in a stretched box, and labels and dots that keep their size.

    The box is 0..100 both ways; labels and dots are placed in per cent.
    """

    def __init__(self, x: tuple[float, float], y: tuple[float, float], height: int = 270):
        self.x, self.y, self.height, self.curves, self.marks = x, y, height, [], []

    def at(self, x, y):
        """Where a point of the data is: from the left, and from above."""
        across = np.clip((np.asarray(x) - self.x[0]) / (self.x[1] - self.x[0]), 0, 1)
        up = np.clip((np.asarray(y) - self.y[0]) / (self.y[1] - self.y[0]), 0, 1)
        return 100 * across, 100 * (1 - up)

    def line(self, x, y, kind: str, tag: str = "polyline") -> None:
        points = " ".join(f"{a:.2f},{b:.2f}" for a, b in zip(*self.at(x, y), strict=True))
        self.curves.append(f'<{tag} class="{kind}" points="{points}"/>')

    def dot(self, x: float, y: float, error: float) -> None:
        (a, b), (_, low), (_, high) = self.at(x, y), self.at(x, y - error), self.at(x, y + error)
        ends = f'x1="{a:.2f}%" x2="{a:.2f}%" y1="{low:.2f}%" y2="{high:.2f}%"'
        self.marks.append(f'<line class="error" {ends}/>')
        self.marks.append(f'<circle cx="{a:.2f}%" cy="{b:.2f}%" r="3.5"/>')

    def levels(self, named: dict[str, float]) -> None:
        """Dashed lines right across, with labels at their right ends."""
        heights = [float(self.at(self.x[0], bits)[1]) for bits in named.values()]
        gap = 1700 / self.height  # 17 px
        labels = _spread(heights, gap, 100.0)
        for (name, bits), height, label in zip(named.items(), heights, labels, strict=True):
            self.marks.append(_across("level", height))
            place = f'x="100%" y="{label:.2f}%" dy="-5" text-anchor="end"'
            self.marks.append(f'<text class="halo" {place}>{escaped(name)} {bits:.2f}</text>')

    def show(
        self, label: str, xname: str, yname: str, xticks: dict[float, str], yticks: list[float]
    ) -> str:
        digits = 2
        if len(yticks) > 1:
            digits = max(0, -math.floor(math.log10(yticks[1] - yticks[0]) + 1e-9))
        grid = []
        for y in yticks:
            height = float(self.at(0, y)[1])
            place = f'x="0" dx="-8" y="{height:.2f}%" dy="4" text-anchor="end"'
            grid.append(_across("grid", height))
            grid.append(f"<text {place}>{y:.{digits}f}</text>")
        for x, name in xticks.items():
            place = f'x="{self.at(x, 0)[0]:.2f}%" y="100%" dy="21" text-anchor="middle"'
            grid.append(f"<text {place}>{name}</text>")
        stretched = 'viewBox="0 0 100 100" preserveAspectRatio="none" width="100%" height="100%"'
        curves = f"<svg {stretched}>{''.join(self.curves)}</svg>"
        inside = "".join(grid) + curves + "".join(self.marks)
        size = f'width="100%" height="{self.height}"'
        svg = f'<svg role="img" aria-label="{escaped(label)}" {size}>{inside}</svg>'
        below = f'<div class="xname">{escaped(xname)}</div>'
        return f"<figure><figcaption>{escaped(yname)}</figcaption>{svg}{below}</figure>"


def _across(kind: str, height: float) -> str:
    return f'<line class="{kind}" x1="0" x2="100%" y1="{height:.2f}%" y2="{height:.2f}%"/>'


def _curve_plot(log: list[dict], unit: str, baselines: dict[str, float]) -> str:
    found, evals = curve(log), evaluations(log)
    last = max([row[0] for row in evals] + ([found[0].max()] if found else []))
    plot = _Plot((0, last or 1), _range(log, list(baselines.values())))
    label = f"Loss in bits per {unit} over {last:,.0f} steps"
    if found:
        steps, bits, smooth = found
        # more points than pixels only make the file large
        thin = slice(None, None, math.ceil(len(steps) / 1500))
        plot.line(steps[thin], bits[thin], "raw")
        plot.line(steps[thin], smooth[thin], "main")
        label += f": from {smooth[0]:.2f} to {smooth[-1]:.2f}"
    plot.levels(baselines)
    for step, bits, error in evals:
        plot.dot(step, bits, error)
    if evals:
        label += f"; last evaluation {_pm(*evals[-1][1:])}"
    xticks = {x: f"{x:,.0f}" for x in _ticks(0, last or 1)}
    return plot.show(label, "training step", f"bits per {unit}", xticks, _ticks(*plot.y))


def _count_plot(bound_by_count: list[tuple[float, float, float]]) -> str:
    share, bits, error = np.array(sorted(bound_by_count), dtype=np.float64).T
    bits, error = bits / math.log(2), np.nan_to_num(error / math.log(2))
    high = float((bits + error).max()) * 1.08 or 1.0
    plot = _Plot((0, 1), (0, high))
    plot.line([0, 0, *share, share[-1]], [0, bits[0], *bits, 0], "area", "polygon")
    plot.line(share, bits, "main")
    for values in zip(share, bits, error, strict=True):
        plot.dot(*map(float, values))
    label = (
        f"Bits per masked position: {bits[0]:.2f} at {100 * share[0]:.0f} % masked, "
        f"{bits[-1]:.2f} at {100 * share[-1]:.0f} %"
    )
    xname, yname = "share of positions that are masked", "bits per masked position"
    xticks = {x: f"{100 * x:.0f} %" for x in (0, 0.25, 0.5, 0.75, 1)}
    return plot.show(label, xname, yname, xticks, _ticks(0, high))


def _schedule_plot(schedule) -> str:
    # closer together near 0, where a curve may be steep
    t = torch.linspace(0, 1, 81, dtype=torch.float64) ** 2
    with torch.no_grad():
        alpha = (1 - schedule.masked(t)).cpu().double().numpy()  # (T, K)
    plot, count = _Plot((0, 1), (0, 1), 220), alpha.shape[1]
    name = "probability of being visible"
    if count > 1:
        name += f": {count} values, a curve each, and their median"
        order = alpha.mean(0).argsort()
        for k in order[np.linspace(0, count - 1, min(count, 120)).round().astype(int)]:
            plot.line(t, alpha[:, k], "one")
    plot.line(t, np.median(alpha, axis=1), "main")
    label = "The probability of being visible falls from 1 at time 0 to 0 at time 1"
    xticks = {x: f"{x:g}" for x in (0, 0.25, 0.5, 0.75, 1)}
    return plot.show(label, "time t", name, xticks, _ticks(0, 1))


# ---------------------------------------------------------------- the picture


COLUMNS, ROWS = 58, 5  # of characters of a stage
GOALS = 0.85, 0.55, 0.25, 0.0  # shares masked, of which a stage is to be near
FRESH, MASKED = "#dfe5f6", "#d9d9d5"  # behind characters


def _draw_stages(axes, frames: Frames) -> None:
    """Four states, one above the other, laid out as the finished text.

    So a position is in one place in all.
    """
    share = [sum(not text for text in frame) / len(frame) for frame in frames]

    def nearest(goal: float) -> int:
        return min(range(len(frames)), key=lambda i: abs(share[i] - goal))

    axes.set(xlim=(0, COLUMNS), ylim=(len(GOALS) * (ROWS + 1.75), -0.6))
    axes.axis("off")
    cells = laid_out(frames[-1], COLUMNS)
    says = {"fontsize": 13, "color": GREY, "va": "center"}
    key = "grey: masked    blue: revealed since the stage above"
    axes.text(COLUMNS, 0, key, ha="right", **says)
    before = [None] * len(frames[0])
    for number, stage in enumerate(sorted({nearest(goal) for goal in GOALS})):
        top = number * (ROWS + 1.75)
        name = f"step {stage} of {len(frames) - 1}, {100 * share[stage]:.0f} % masked"
        axes.text(0, top, name, family="DejaVu Sans", **says)
        for row in range(ROWS):
            line = [(i, x, char) for i, x, y, char in cells if y == row]
            _draw_line(axes, top + row, line, frames[stage], before)
        before = frames[stage]


def _draw_line(axes, top: float, line: list[tuple[int, int, str]], frame, before) -> None:
    """A line of (position, column, character), given the state and that of the stage above."""
    for i, x, _ in line:
        if not frame[i] or not before[i]:
            color = FRESH if frame[i] else MASKED
            across, down = [x, x + 1, x + 1, x], [top + e for e in (0.62, 0.62, 1.5, 1.5)]
            axes.fill(across, down, color=color, linewidth=0)
    # so wide that COLUMNS characters fill the axes
    size = 832 / COLUMNS * 0.72 / 0.602
    font = {"family": "DejaVu Sans Mono", "fontsize": size, "va": "center", "parse_math": False}
    for fresh, color in ((False, BLACK), (True, BLUE)):
        shown = {x: char for i, x, char in line if frame[i] and (not before[i]) == fresh}
        text = "".join(shown.get(x, " ") for x in range(COLUMNS))
        axes.text(0, top + 1.06, text.rstrip(), color=color, **font)


def _draw_curve(
    axes, log: list[dict], unit: str, baselines: dict[str, float], bound: tuple[float, float]
) -> None:
    found, evals = curve(log), evaluations(log)
    low, high = _range(log, [*baselines.values(), bound[0]])
    axes.set_ylim(low, high)
    if found:
        axes.plot(found[0], found[1], color=BLUE, alpha=0.25, linewidth=1)
        axes.plot(found[0], found[2], color=BLUE, linewidth=2.5)
    if evals:
        step, bits, error = zip(*evals, strict=True)
        axes.errorbar(step, bits, error, fmt="o", color=ORANGE, markersize=6, zorder=4)
    axes.set_xlim(0, None)
    gap = 0.055 * (high - low)
    places = _spread([-bits for bits in baselines.values()], gap, -low)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    font = {"ha": "right", "va": "bottom", "fontsize": 14, "parse_math": False, "zorder": 5}
    how = {"bbox": box, "transform": axes.get_yaxis_transform(), **font}
    dashed = {"linestyle": (0, (5, 4)), "zorder": 3}
    for (name, bits), place in zip(baselines.items(), places, strict=True):
        axes.axhline(bits, color=GREY, linewidth=1.2, **dashed)
        axes.text(0.995, 0.1 * gap - place, f"{name} {bits:.2f}", color=GREY, **how)
    if _finite(bound[0]):
        axes.axhline(bound[0], color=ORANGE, linewidth=1.5, **dashed)
    # above the axes, since beside the line is the curve
    head = {"fontsize": 15, "pad": 12, "parse_math": False}
    axes.set_title(f"this model, at most {_pm(*bound)}", loc="right", color=ORANGE, **head)
    axes.set_title(f"bits per {unit}", loc="left", color="#333", **head)
    axes.set_xlabel("training step", fontsize=14, color="#333", labelpad=8)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    quiet(axes, labelsize=13, grid="y")
