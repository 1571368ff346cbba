"""Where matplotlib is set up: figures, the look of axes, PNG files.

It is imported only where something is drawn: all else works without it.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from unmask.files import replacing

BLUE, ORANGE, GREY, BLACK = "#2f5fd0", "#c2410c", "#55555a", "#1d1d1f"


def new_figure(width: float, height: float):
    """An empty white matplotlib figure; sizes in units of 100 pixels."""
    # a Figure of its own draws with Agg and leaves pyplot's state alone
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, facecolor="white")


def write_png(target: Path | IO[bytes], draw: Callable[[], Any]) -> None:
    """Write the figure that `draw` returns, made by matplotlib's settings, not by the user's."""
    from matplotlib import rc_context, rcParamsDefault

    with rc_context(rcParamsDefault), warnings.catch_warnings():
        # a character that the font lacks is drawn as a box
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure = draw()
        if not isinstance(target, Path):
            figure.savefig(target, format="png", dpi=100)
            return
        with replacing(target) as new:
            figure.savefig(new, format="png", dpi=100)


def quiet(axes, *, labelsize: int, grid: str) -> None:
    """A light grid behind the curves, no ticks, and a frame of the bottom line alone."""
    axes.tick_params(labelsize=labelsize, length=0, pad=6, labelcolor=GREY)
    axes.grid(axis=grid, color="#e8e8e6")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color("#bbb")
