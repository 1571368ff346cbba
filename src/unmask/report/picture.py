"""A picture for a README: stages of a sample, and the curve of the training."""

from pathlib import Path

from unmask.report.curves import curve, evaluations, finite, plus_minus, range_of, spread
from unmask.report.drawing import BLACK, BLUE, GREY, ORANGE, new_figure, quiet, write_png
from unmask.report.frames import Frames, checked, laid_out

COLUMNS, ROWS = 58, 5  # of characters of a stage
GOALS = 0.85, 0.55, 0.25, 0.0  # shares masked, of which a stage is to be near
FRESH, MASKED = "#dfe5f6", "#d9d9d5"  # behind characters


def picture(
    path: Path,
    *,
    frames: Frames,
    log: list[dict],
    unit: str,
    baselines: dict[str, float],
    bound: tuple[float, float],
) -> Path:
    """A PNG of 1600 x 700 pixels: four stages of one sample, and the training in bits per `unit`.

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
    low, high = range_of(log, [*baselines.values(), bound[0]])
    axes.set_ylim(low, high)
    if found:
        axes.plot(found[0], found[1], color=BLUE, alpha=0.25, linewidth=1)
        axes.plot(found[0], found[2], color=BLUE, linewidth=2.5)
    if evals:
        step, bits, error = zip(*evals, strict=True)
        # joined where there is no curve of losses, which may not be in bits
        fmt = "o" if found else "o-"
        axes.errorbar(step, bits, error, fmt=fmt, color=ORANGE, markersize=6, zorder=4)
    axes.set_xlim(0, None)
    gap = 0.055 * (high - low)
    places = spread([-bits for bits in baselines.values()], gap, -low)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
    font = {"ha": "right", "va": "bottom", "fontsize": 14, "parse_math": False, "zorder": 5}
    how = {"bbox": box, "transform": axes.get_yaxis_transform(), **font}
    dashed = {"linestyle": (0, (5, 4)), "zorder": 3}
    for (name, bits), place in zip(baselines.items(), places, strict=True):
        axes.axhline(bits, color=GREY, linewidth=1.2, **dashed)
        axes.text(0.995, 0.1 * gap - place, f"{name} {bits:.2f}", color=GREY, **how)
    if finite(bound[0]):
        axes.axhline(bound[0], color=ORANGE, linewidth=1.5, **dashed)
    # above the axes, since beside the line is the curve
    head = {"fontsize": 15, "pad": 12, "parse_math": False}
    axes.set_title(f"this model, at most {plus_minus(*bound)}", loc="right", color=ORANGE, **head)
    axes.set_title(f"bits per {unit}", loc="left", color="#333", **head)
    axes.set_xlabel("training step", fontsize=14, color="#333", labelpad=8)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    quiet(axes, labelsize=13, grid="y")
