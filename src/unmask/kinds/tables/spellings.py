"""Which spelling the numbers of each column have, from all of its cells and from other columns'."""

import re
from collections.abc import Collection, Iterable, Sequence

from unmask.kinds.tables.columns import Table
from unmask.kinds.tables.csv_source import Cells, values_of
from unmask.kinds.tables.flags import in_quotes, typed
from unmask.kinds.tables.numbers import (
    CODE,
    DECIMAL,
    PLAIN,
    Marks,
    Reading,
    Spelling,
    is_number,
    parse_number,
    plainly,
    reading,
    zeros_say_thousands,
)
from unmask.kinds.tables.rules import MOST

BEGINNING = re.compile("[+-]?[.,]?[0-9]")  # of a number


def spelled(
    form: Table,
    parts: dict[str, Cells],
    marks: Marks,
    *,
    numbers: Sequence[str] = (),
    others: Collection[str] = (),
) -> Table:
    """`form` with the spelling of each column; `numbers` are of numbers, `others` are not asked.

    A column tells its spelling if its cells are numbers in one only, or in several that say the
    same.  One of cells like `1,234` is read by the decimal mark that the other columns tell, or by
    zeros (`numbers.zeros_say_thousands`).  One of cells like `1.234` has decimals unless another
    column has decimal commas, or `;` stands between cells, or zeros speak against it.

    Raises ValueError, with the flags that answer, for what is not told, and for cells of which each
    is a number, and all are in no spelling.
    """
    for marked in marks:
        for name in marked:
            if name and name not in form.names:
                raise ValueError(f"there is no column {name!r} to give marks of numbers to")
    marks.spellings("")
    found = [PLAIN] * len(form.columns)
    open_columns: dict[int, tuple[Reading, list[str]]] = {}
    bare, told = [], set()
    for c, name in enumerate(form.names):
        if name in others:
            continue
        among = marks.spellings(name)
        counts: dict[str, int] = {}
        for cells in parts.values():
            for text, count in values_of(cells, c, slice(None), form).items():
                counts[text] = counts.get(text, 0) + count
        if name in numbers:  # codes are numbers, if they are to be
            counts = {text: count for text, count in counts.items() if not CODE.fullmatch(text)}
        read = reading(counts, among)
        if read is None:
            best = most(counts, among)
            check_mixed(form, parts, c, counts, best)
            if name in numbers or share(counts, best) >= MOST:  # others are errors, as rules say
                found[c] = best
        elif read.other is not None:
            open_columns[c] = read, list(counts)
        else:
            found[c] = read.spellings[0]
            told |= {read.decimal} - {""}
            if Spelling(",") in read.spellings:
                bare.append(c)
    for c, (read, texts) in open_columns.items():
        decimal = decide(read, texts, told, parts["train"].delimiter)
        if not decimal:
            raise ValueError(question(form, parts, c, read))
        found[c] = next(one for one in read.spellings if one.decimal == decimal)
    if told == {","}:  # whole numbers, which are likely to get such decimals
        for c in bare:
            found[c] = Spelling(",")
    pairs = zip(form.columns, found, strict=True)
    return form.of([column._replace(spelling=one) for column, one in pairs])


def decide(read: Reading, texts: list[str], told: set[str], delimiter: str) -> str:
    """The decimal mark of a column that can be read in two ways; "" if nothing tells it."""
    marks = {mark for text in texts for mark in DECIMAL if mark in text}
    only = next(iter(told)) if len(told) == 1 else ""
    if len(marks) > 1:
        return only
    zeros = zeros_say_thousands(texts)
    if marks == {","}:
        if zeros:
            return "" if only == "," else "."
        return only
    if only == ".":
        return "."
    doubtful = zeros or delimiter == ";"
    if only == ",":
        return "," if doubtful else ""
    return "" if doubtful or told else "."


def most(counts: dict[str, int], among: Sequence[Spelling]) -> Spelling:
    """The spelling in which most cells are numbers."""
    some = {text: count for text, count in counts.items() if BEGINNING.match(text)}
    return max(among, key=lambda one: share(some, one))


def share(counts: dict[str, int], one: Spelling) -> float:
    """Of cells that are numbers in a spelling."""
    read = (count for text, count in counts.items() if parse_number(text, one) is not None)
    return sum(read) / max(sum(counts.values()), 1)


def check_mixed(
    form: Table, parts: dict[str, Cells], c: int, texts: Iterable[str], best: Spelling
) -> None:
    """ValueError where each value is a number, but not in the spelling of most."""
    texts, name = list(texts), form.names[c]
    if not texts or any(CODE.fullmatch(text) or not is_number(text) for text in texts):
        return
    text = next(text for text in texts if parse_number(text, best) is None)
    said = f"{text!r} in column {name!r} is no number where {best.describe()}"
    marks = typed(f"{in_quotes(name)}=...")
    fix = f"correct it, give --decimal {marks} or --thousands {marks}, or name the column"
    raise ValueError(f"{locate(parts, c, text)}: {said}: {fix} in --categories")


def question(form: Table, parts: dict[str, Cells], c: int, read: Reading) -> str:
    text, name = read.example, form.names[c]
    either = [one for one in read.spellings if not one.thousands or one.thousands in text]
    asked = []
    for one in either:
        number = plainly(text, one)
        flag, mark = ("thousands", one.thousands) if one.thousands else ("decimal", one.decimal)
        asked.append(f"{number} (--{flag} {typed(f'{in_quotes(name)}={mark}')})")
    return (
        f"{locate(parts, c, text)}: {text!r} in column {name!r} may be {' or '.join(asked)}, and "
        "no other cell tells: say which, or name the column in --categories"
    )


def locate(parts: dict[str, Cells], c: int, text: str) -> str:
    """File and line of a cell."""
    return next(cells.where(c, text) for cells in parts.values() if text in cells.texts[c])
