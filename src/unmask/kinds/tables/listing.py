"""How a file was read, as lines: its form, and a row for each column."""

from collections import Counter
from collections.abc import Collection, Iterator

from unmask.kinds.tables.columns import Column, Table
from unmask.kinds.tables.csv_source import Cells, values_of
from unmask.kinds.tables.numbers import PLAIN, can_be_numbers, plainly

HEADS = ("column", "kind", "values", "missing", "example", "changed by")
WIDEST = (22, 11, 17, 15, 16, 12)  # with two blanks between them, less than 100


def listing(
    form: Table,
    table: Table,
    parts: dict[str, Cells],
    missing: dict[str, dict[str, int]],
    identifiers: Collection[str],
    *,
    fixed: bool,
) -> Iterator[str]:
    """The lines on `table`, which was made of `form`, whose columns `parts` have.

    missing: as in meta.json.  fixed: the columns are those of other data, and no flag changes them.
    """
    yield from form_of(table)
    made = {column.name: column for column in table.columns}
    rows = [HEADS[: len(HEADS) - fixed]]
    for c, name in enumerate(form.names):
        counts: Counter[str] = Counter()
        for cells in parts.values():
            counts.update(values_of(cells, c, slice(None), form))
        row = (name, *described(form.columns[c], made.get(name), counts, name in identifiers))
        count = sum(missing.get(name, {}).values())
        texts = ", ".join(text or "empty" for text in missing.get(name, ()))
        rows.append((*row[:3], f"{count:,} ({texts})" if count else "", *row[3 : 5 - fixed]))
    cut = [[short(*pair) for pair in zip(row, WIDEST, strict=False)] for row in rows]
    wide = [max(map(len, column)) for column in zip(*cut, strict=True)]
    for row in cut:
        yield "  ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=True)).rstrip()


def form_of(table: Table) -> Iterator[str]:
    """What the file looks like, and the flags that say otherwise."""
    first = "names the columns" if table.header else "is a row like the others"
    said = f"the first row {first} (--header)"
    yield said + f"; {table.delimiter!r} is between cells (--delimiter)" * (table.width > 1)
    used = {column.spelling for column in table.columns if column.bounds is not None}
    if used <= {PLAIN}:
        return
    said = f"the decimal mark is {listed({one.decimal for one in used})} (--decimal)"
    thousands = {one.thousands for one in used} - {""}
    yield said + f"; {listed(thousands)} is between thousands (--thousands)" * bool(thousands)


def listed(marks: Collection[str]) -> str:
    return " or ".join(map(repr, sorted(marks)))


def described(
    form: Column, made: Column | None, counts: Counter[str], identifies: bool
) -> tuple[str, str, str, str]:
    """Kind, values, example, and the flag that changes it, of a column."""
    example = max(counts, key=lambda text: (counts[text], text), default="")
    values = f"{len(counts):,}"
    if identifies:
        return "identifier", "left out", next(iter(counts)), "--numbers"
    if made is None:
        return "dropped", "left out", example, "--drop"
    if made.bounds is not None:
        if len(made.values) < len(counts):
            values += f" in {len(made.values)} bins"
        marked = next((text for text in counts if plainly(text, made.spelling) != text), None)
        if marked is not None:
            number = plainly(marked, made.spelling)
            return "numbers", values, f"{marked} = {number}", flag_of(made)
        return "numbers", values, example, "--categories"
    if not counts:
        return "no values", "", "", "--drop"
    return "categories", values, example, "--numbers" if can_be_numbers(counts) else "--drop"


def flag_of(column: Column) -> str:
    return "--thousands" if column.spelling.thousands else "--decimal"


def short(text: str, width: int) -> str:
    """A text on one line, its end cut off if it is wider."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 3] + "..."
