"""Bar charts: how often values occur in samples, beside real examples."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from unmask.kinds.quality import Bars
from unmask.report.drawing import BLACK, BLUE, new_figure, write_png

PALE = "#b9b9b4"
LABELS = 24  # more would overlap


def draw_bars(charts: Sequence[Bars]) -> bytes:
    """A PNG of one chart, or of several, two in a row."""
    stream = io.BytesIO()
    write_png(stream, lambda: _page(charts))
    return stream.getvalue()


def _page(charts: Sequence[Bars]) -> Any:
    columns = min(2, len(charts))
    rows = -(-len(charts) // columns)
    page = new_figure(12, 1 + 3 * rows)
    for axes, chart in zip(np.ravel(page.subplots(rows, columns)), charts, strict=False):
        at = np.arange(len(chart.labels))
        axes.bar(at - 0.2, chart.samples, 0.4, color=BLUE, ecolor=BLACK, yerr=chart.error)
        axes.bar(at + 0.2, chart.real, 0.4, color=PALE)
        shown = at[:: max(1, -(-len(at) // LABELS))]  # of a column without a value, none
        labels = [chart.labels[i] for i in shown]
        turned = {"rotation": 60, "ha": "right"} if max(map(len, labels), default=0) > 2 else {}
        axes.set_xticks(shown, labels, fontsize=9, parse_math=False, **turned)
        axes.set_title(chart.title, fontsize=11, parse_math=False)  # whatever dollars are in it
        axes.spines[["top", "right"]].set_visible(False)
    for axes in page.axes[len(charts) :]:
        axes.set_axis_off()
    page.axes[0].legend(["samples", "real"], frameon=False)
    page.tight_layout()
    return page
