"""What pages are put together of: sections, tables, pictures."""

import base64
from collections.abc import Sequence
from typing import NamedTuple

from unmask.markup import escaped
from unmask.report.curves import finite, known, plus_minus


class Figure(NamedTuple):
    """A picture with a heading and words above it; `alt`: what it shows, for who cannot see it."""

    title: str
    says: str
    alt: str
    content: bytes  # of a PNG or GIF file
    pixels: bool = False  # its pixels are to be seen; else it is a chart, dark on white


class Section(NamedTuple):
    """A part of a page."""

    title: str
    says: str
    body: str  # HTML


def section(of: Section) -> str:
    return (
        f"<section>\n<h2>{escaped(of.title)}</h2>\n<p>{escaped(of.says)}</p>\n{of.body}\n</section>"
    )


def fact(label: str, value: str) -> str:
    """A row of a table of facts."""
    return f'<tr><th scope="row">{escaped(label)}</th><td>{escaped(value)}</td></tr>'


def image(figure: Figure) -> str:
    """A chart in a box of its own, in which it scrolls where the page is narrow."""
    kind = "gif" if figure.content.startswith(b"GIF") else "png"
    look = "large" if figure.pixels else "chart"
    data, alt = base64.b64encode(figure.content).decode(), escaped(figure.alt)
    drawn = f'<img class="{look}" alt="{alt}" src="data:image/{kind};base64,{data}">'
    return drawn if figure.pixels else f"{box(figure.alt)}{drawn}</div>"


def box(said: str, more: str = "") -> str:
    """What opens a box that scrolls by itself; `said`: what it holds, for who cannot see it."""
    return f'<div class="wide{more}" tabindex="0" role="region" aria-label="{escaped(said)}">'


def shown(figure: Figure) -> str:
    return section(Section(figure.title, figure.says, image(figure)))


def table(rows: Sequence[Sequence[str]], said: str) -> str:
    """Rows of words, the first of which names the columns, in a box of its own; `said`: what it
    holds, for who cannot see it."""

    def line(row: Sequence[str], tag: str, first: str) -> str:
        head, *rest = (escaped(cell).replace(" +- ", " \u00b1 ") for cell in row)
        cells = "".join(f"<{tag}>{cell}</{tag.split()[0]}>" for cell in rest)
        return f"<tr><th {first}>{head}</th>{cells}</tr>"

    head, *others = rows
    body = "".join(line(row, "td", 'scope="row"') for row in others)
    top = line(head, 'th scope="col"', 'scope="col"')
    inside = f"<table><thead>{top}</thead><tbody>{body}</tbody></table>"
    return f"{box(said, ' plain')}{inside}</div>"


def bars(baselines: dict[str, float], bound: tuple[float, float], unit: str, on: str) -> str:
    """A table whose middle column is a bar from 0; the whisker is one standard error either way.

    on: the data, in words.
    """
    rows = [(name, bits, 0.0, "") for name, bits in baselines.items()]
    rows.append(("this model, at most", bound[0], known(bound[1]), ' class="own"'))
    most = max((bits + error for _, bits, error, _ in rows if finite(bits)), default=0.0) or 1.0
    cells = ""
    for name, bits, error, own in sorted(rows, key=lambda row: -row[1]):
        bar = f'<i style="width:{min(100 * bits / most, 100.0):.2f}%"></i>'
        if error:
            left, width = 100 * (bits - error) / most, 200 * error / most
            bar += f'<b style="left:{left:.2f}%;width:{width:.2f}%"></b>'
        cells += (
            f'<tr{own}><th scope="row">{escaped(name)}</th>'
            f'<td><div class="bar" aria-hidden="true">{bar}</div></td>'
            f"<td>{plus_minus(bits, error)}</td></tr>"
        )
    caption = f"<caption>bits per {escaped(unit)}, on {escaped(on)}</caption>"
    return f'<table class="bars">{caption}{cells}</table>'
