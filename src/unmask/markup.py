"""Words and tables as HTML, for pages and for notebooks: escaped, whatever they are."""

import html
import re
from collections.abc import Sequence
from typing import Any


def visible(text: str) -> str:
    """Control characters, which neither HTML nor XML can hold, as their pictures."""

    def symbol(match: re.Match) -> str:
        return chr(0x2421 if match[0] == "\x7f" else 0x2400 + ord(match[0]))

    text = re.sub("[\x00-\x08\x0b-\x1f\x7f]", symbol, text)
    return re.sub("[\x80-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


def escaped(text: Any) -> str:
    """As it is read on a page."""
    return html.escape(visible(str(text)))


def table(rows: Sequence[Sequence[Any]], header: Sequence[Any] = ()) -> str:
    """Rows of cells, whose first one names its row where there is no header."""
    lines = []
    if header:
        lines.append("".join(f'<th scope="col">{escaped(name)}</th>' for name in header))
    for row in rows:
        cells = [f"<td>{escaped(cell)}</td>" for cell in row]
        if not header:
            cells[0] = f'<th scope="row">{escaped(row[0])}</th>'
        lines.append("".join(cells))
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"
