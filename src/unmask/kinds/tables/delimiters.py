"""What is between the cells of a file, as its first lines tell."""

import re
from collections.abc import Sequence
from pathlib import Path

from unmask.kinds.tables.numbers import is_number

DELIMITERS = ",;\t|"
QUOTED = re.compile('"[^"]*(?:"|\\Z)')


def delimiter_of(lines: Sequence[str], path: Path) -> str:
    """The one of comma, semicolon, tab and bar of which, outside quotes, every line has as many.

    If several are such: the one between whose cells the others only occur in numbers, as in
    `1,5;2,5`; a ValueError if there is none.  If none is: the one most frequent on the first line;
    but a word above numbers with decimal commas is a file of one column, as if of semicolons.
    """
    text = "".join(lines)
    filled = [line for line in QUOTED.sub('""', text).split("\n") if line.strip()]
    if len(filled) > 1 and text.count('"') % 2:
        del filled[-1]  # which goes on behind the lines
    first, *below = filled
    even = [
        mark
        for mark in DELIMITERS
        if mark in first and len({line.count(mark) for line in filled}) == 1
    ]
    if len(even) == 1:
        return even[0]
    if even:
        clean = [mark for mark in even if not cut_others(below or filled, mark, even)]
        if clean:
            return clean[0]
        if below:
            known = " or ".join(map(repr, even))
            raise ValueError(
                f"{path}: {known} may be what is between cells, as every line has as many: say "
                "which with --delimiter"
            )
    if not any(mark in first for mark in DELIMITERS) and not is_number(first.strip()):
        decimal = any("," in line for line in below)
        if decimal and all(is_number(line.strip()) for line in below):
            return ";"
    return max(DELIMITERS, key=QUOTED.sub("", lines[0]).count)


def cut_others(lines: Sequence[str], mark: str, marks: Sequence[str]) -> bool:
    """Whether cells between such marks have other ones in them, and are no numbers."""
    cells = {cell.strip() for line in lines for cell in line.split(mark)}
    others = [other for other in marks if other != mark]
    return any(not is_number(cell) for cell in cells if any(other in cell for other in others))
