"""The page of `unmask quality`: figures, histograms beside real ones, grids and pictures."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unmask import __version__
from unmask.files import write_whole
from unmask.kinds.quality import Grid, Listing, Measure, Quality, Value
from unmask.markup import escaped
from unmask.report.bars import draw_bars
from unmask.report.drawing import GREY, new_figure, write_png
from unmask.report.page import PAGE, STYLE
from unmask.report.report import Figure, _image, _row, _section

AT_A_TIME = 8  # histograms of a picture
INTRO = """Samples beside real examples. Real examples that were held out are measured in the same
way: what they reach is what as good as real means here, since a small number of real examples
differs from another one, too."""


def write_quality(path: Path, found: Quality, title: str) -> Path:
    """One self-contained HTML file."""
    names = ["figure", "ideal", "samples", "as many as real", "real, held out"]
    figures = Listing("Figures", "", [names, *map(cells_of, found.measures)])
    parts = [listing(figures)]
    says = "What each figure is, and how to read it."
    defined = "".join(_row(one.name, one.says) for one in found.measures)
    notes = "".join(f"<p>{escaped(line)}</p>" for line in found.notes)
    parts.append(_section("What they are", says, f"<table>{defined}</table>{notes}"))
    for grid in found.grids:
        alt = f"A grid of shades: {grid.says}"
        figure = Figure(grid.title, grid.says, alt, draw_grid(grid))
        parts.append(_section(escaped(figure.title), escaped(figure.says), _image(figure)))
    for one in found.pictures:
        figure = Figure(one.title, one.says, one.says, one.content)
        parts.append(_section(escaped(one.title), escaped(one.says), _image(figure)))
    if found.bars:
        says = "How often values occur in samples (blue) and in real examples (grey)."
        parts.append(_section("Histograms", says, histograms(found)))
    parts += map(listing, found.listings)
    page = PAGE.format(
        title=escaped(title),
        intro=INTRO,
        style=STYLE,
        rows="".join(_row("compared", line) for line in found.heading),
        parts="\n".join(parts),
        sources=f"unmask {__version__}, unmask quality",
    )
    write_whole(path, page)
    return path


def cells_of(one: Measure) -> list[str]:
    ideal = "as real" if one.ideal is None else f"{one.ideal:.3g}"
    values: list[Value | None] = [one.samples, one.like, one.real]
    return [one.name, ideal, *("" if v is None else v.spell() for v in values)]


def listing(of: Listing) -> str:
    def line(row: Sequence[str], tag: str) -> str:
        first, *rest = (escaped(cell).replace("+-", "±") for cell in row)
        cells = "".join(f"<{tag}>{cell}</{tag}>" for cell in rest)
        return f"<tr><th>{first}</th>{cells}</tr>"

    head, *rows = of.rows
    body = line(head, "th") + "".join(line(row, "td") for row in rows)
    return _section(escaped(of.title), escaped(of.says), f'<table class="wide">{body}</table>')


def histograms(found: Quality) -> str:
    pictures = []
    for low in range(0, len(found.bars), AT_A_TIME):
        some = found.bars[low : low + AT_A_TIME]
        names = ", ".join(one.title for one in some)
        alt = f"Bar charts of frequencies, in samples and in real examples: {names}"
        pictures.append(_image(Figure("", "", alt, draw_bars(some))))
    return "".join(pictures)


def draw_grid(grid: Grid) -> bytes:
    """A PNG."""
    stream = io.BytesIO()
    write_png(stream, lambda: _page(grid))
    return stream.getvalue()


def _page(grid: Grid) -> Any:
    size = len(grid.labels)
    page = new_figure(12, 11)
    axes = page.add_axes((0.2, 0.2, 0.68, 0.74))
    shades = axes.imshow(np.ma.masked_invalid(grid.values), cmap="Oranges", vmin=0, vmax=grid.most)
    if size <= 60:
        labels = [label[:24] for label in grid.labels]
        axes.set_xticks(range(size), labels, rotation=60, ha="right", fontsize=9)
        axes.set_yticks(range(size), labels, fontsize=9)
    axes.plot([-0.5, size - 0.5], [-0.5, size - 0.5], color=GREY, linewidth=0.8)
    axes.spines[:].set_visible(False)
    page.colorbar(shades, ax=axes, fraction=0.04)
    return page
