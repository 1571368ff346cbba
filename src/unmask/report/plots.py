"""Plots as SVG inside a page, in its colours; curves are stretched, texts keep their size."""

import math

import numpy as np
import torch

from unmask.markup import escaped
from unmask.report.curves import curve, evaluations, plus_minus, range_of, spread, ticks


class Plot:
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
        labels = spread(heights, gap, 100.0)
        for (name, bits), height, label in zip(named.items(), heights, labels, strict=True):
            self.marks.append(across("level", height))
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
            grid.append(across("grid", height))
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
        return (
            f'<figure class="plot"><figcaption>{escaped(yname)}</figcaption>{svg}{below}</figure>'
        )


def across(kind: str, height: float) -> str:
    return f'<line class="{kind}" x1="0" x2="100%" y1="{height:.2f}%" y2="{height:.2f}%"/>'


def curve_plot(log: list[dict], unit: str, baselines: dict[str, float]) -> str:
    found, evals = curve(log), evaluations(log)
    last = max([row[0] for row in evals] + ([found[0].max()] if found else []))
    plot = Plot((0, last or 1), range_of(log, list(baselines.values())))
    label = f"{'Loss' if found else 'Evaluations'} in bits per {unit} over {last:,.0f} steps"
    if found:
        steps, bits, smooth = found
        # more points than pixels only make the file large
        thin = slice(None, None, math.ceil(len(steps) / 1500))
        plot.line(steps[thin], bits[thin], "raw")
        plot.line(steps[thin], smooth[thin], "main")
        label += f": from {smooth[0]:.2f} to {smooth[-1]:.2f}"
    elif len(evals) > 1:  # no losses in bits
        plot.line([row[0] for row in evals], [row[1] for row in evals], "main")
    plot.levels(baselines)
    for step, bits, error in evals:
        plot.dot(step, bits, error)
    if evals:
        label += f"; last evaluation {plus_minus(*evals[-1][1:])}"
    xticks = {x: f"{x:,.0f}" for x in ticks(0, last or 1)}
    return plot.show(label, "training step", f"bits per {unit}", xticks, ticks(*plot.y))


def count_plot(bound_by_count: list[tuple[float, float, float]]) -> str:
    share, bits, error = np.array(sorted(bound_by_count), dtype=np.float64).T
    bits, error = bits / math.log(2), np.nan_to_num(error / math.log(2))
    high = float((bits + error).max()) * 1.08 or 1.0
    plot = Plot((0, 1), (0, high))
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
    return plot.show(label, xname, yname, xticks, ticks(0, high))


def schedule_plot(schedule) -> str:
    # closer together near 0, where a curve may be steep
    t = torch.linspace(0, 1, 81, dtype=torch.float64) ** 2
    with torch.no_grad():
        alpha = (1 - schedule.masked(t)).cpu().double().numpy()  # (T, K)
    plot, count = Plot((0, 1), (0, 1), 220), alpha.shape[1]
    name = "probability of being visible"
    if count > 1:
        name += f": {count} values, a curve each, and their median"
        order = alpha.mean(0).argsort()
        for k in order[np.linspace(0, count - 1, min(count, 120)).round().astype(int)]:
            plot.line(t, alpha[:, k], "one")
    plot.line(t, np.median(alpha, axis=1), "main")
    label = "The probability of being visible falls from 1 at time 0 to 0 at time 1"
    xticks = {x: f"{x:g}" for x in (0, 0.25, 0.5, 0.75, 1)}
    return plot.show(label, "time t", name, xticks, ticks(0, 1))
