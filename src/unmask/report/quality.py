"""The page of `unmask quality`: figures, histograms beside real ones, grids and pictures."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from unmask import __version__
from unmask.kinds.quality import Grid, Listing, Measure, Quality, Value
from unmask.markup import escaped
from unmask.report.bars import draw_bars
from unmask.report.drawing import GREY, new_figure, write_png
from unmask.report.pieces import Figure, Section, fact, image, section, shown, table
from unmask.report.report import write_page

AT_A_TIME = 8  # histograms of a picture
INTRO = """Samples beside real examples. Real examples that were held out are measured in the same
way: what they reach is what as good as real means here, since a small number of real examples
differs from another one, too."""


def write_quality(path: Path, found: Quality, title: str) -> Path:
    """One self-contained HTML file."""
    names = ["figure", "ideal", "samples", "as many as real", "real, held out"]
    figures = Listing("Figures", "", [names, *map(cells_of, found.measures)])
    says = "What each figure is, and how to read it."
    defined = "".join(fact(one.name, one.says) for one in found.measures)
    notes = "".join(f"<p>{escaped(line)}</p>" for line in found.notes)
    body = f'<table class="facts">{defined}</table>{notes}'
    parts = [listing(figures), section(Section("What they are", says, body))]
    for grid in found.grids:
        alt = f"A grid of shades: {grid.says}"
        parts.append(shown(Figure(grid.title, grid.says, alt, draw_grid(grid))))
    for one in found.pictures:
        parts.append(shown(Figure(one.title, one.says, one.says, one.content)))
    if found.bars:
        says = "How often values occur in samples (blue) and in real examples (grey)."
        parts.append(section(Section("Histograms", says, histograms(found))))
    parts += map(listing, found.listings)
    facts = "".join(fact("compared", line) for line in found.heading)
    made = f"unmask {__version__}, unmask quality"
    write_page(path, title=title, intro=INTRO, facts=facts, parts=parts, sources=made)
    return path


def cells_of(one: Measure) -> list[str]:
    ideal = "as real" if one.ideal is None else f"{one.ideal:.3g}"
    values: list[Value | None] = [one.samples, one.like, one.real]
    return [one.name, ideal, *("" if v is None else v.spell() for v in values)]


def listing(of: Listing) -> str:
    return section(Section(of.title, of.says, table(of.rows, of.title)))


def histograms(found: Quality) -> str:
    pictures = []
    for low in range(0, len(found.bars), AT_A_TIME):
        some = found.bars[low : low + AT_A_TIME]
        names = ", ".join(one.title for one in some)
        alt = f"Bar charts of frequencies, in samples and in real examples: {names}"
        pictures.append(image(Figure("", "", alt, draw_bars(some))))
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
        small: dict[str, Any] = {"fontsize": 9, "parse_math": False}  # whatever dollars are in them
        axes.set_xticks(range(size), labels, rotation=60, ha="right", **small)
        axes.set_yticks(range(size), labels, **small)
    axes.plot([-0.5, size - 0.5], [-0.5, size - 0.5], color=GREY, linewidth=0.8)
    axes.spines[:].set_visible(False)
    page.colorbar(shades, ax=axes, fraction=0.04)
    return page
