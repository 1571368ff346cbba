"""Bar charts: how often values occur in samples, beside real examples."""

import io
from collections.abc import Sequence

import numpy as np

from unmask.kinds.demo import Bars
from unmask.report.canvas import canvas

BLUE, INK, PALE = "#2f5fd0", "#1d1d1f", "#b9b9b4"
LABELS = 24  # more would overlap


def draw_bars(charts: Sequence[Bars]) -> bytes:
    """A PNG of one chart, or of several, two in a row."""
    columns = min(2, len(charts))
    rows = -(-len(charts) // columns)
    stream = io.BytesIO()
    with canvas(12, 1 + 3 * rows) as page:
        for axes, chart in zip(np.ravel(page.subplots(rows, columns)), charts, strict=False):
            at = np.arange(len(chart.labels))
            axes.bar(at - 0.2, chart.samples, 0.4, color=BLUE, ecolor=INK, yerr=chart.error)
            axes.bar(at + 0.2, chart.real, 0.4, color=PALE)
            shown = at[:: -(-len(at) // LABELS)]
            long = max(len(chart.labels[i]) for i in shown) > 2
            turned = {"rotation": 60, "ha": "right"} if long else {}
            axes.set_xticks(shown, [chart.labels[i] for i in shown], fontsize=9, **turned)
            axes.set_title(chart.title, fontsize=11)
            axes.spines[["top", "right"]].set_visible(False)
        page.axes[0].legend(["samples", "real"], frameon=False)
        page.tight_layout()
        page.savefig(stream, format="png")
    return stream.getvalue()
