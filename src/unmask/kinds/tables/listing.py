"""How a file was read, as lines: its form, and a row for each column."""

from collections import Counter
from collections.abc import Collection, Iterator

from unmask.kinds.tables.columns import Column, Table
from unmask.kinds.tables.csv_source import Cells, values_of
from unmask.kinds.tables.numbers import PLAIN, can_be_numbers, plainly, told_apart

HEADS = ("column", "kind", "values", "missing", "example", "changed by")
WIDEST = (28, 11, 17, 24, 24, 12)
PAGE = 98  # letters on a line


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
    rows, merged = [HEADS[: len(HEADS) - fixed]], []
    for c, name in enumerate(form.names):
        counts: Counter[str] = Counter()
        for cells in parts.values():
            counts.update(values_of(cells, c, slice(None), form))
        row = (name, *described(form.columns[c], made.get(name), counts, name in identifiers))
        rows.append((*row[:3], lacking(missing.get(name, {})), *row[3 : 5 - fixed]))
        if row[1] == "numbers" and not told_apart(counts, form.columns[c].spelling):
            merged.append(name)
    yield from aligned(rows)
    for name in merged:
        yield (
            f"{name!r}, as numbers of 64 bits, has whole numbers above 2^53 that are one with "
            "others: --categories keeps them apart"
        )


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


def lacking(counts: dict[str, int]) -> str:
    """How many cells are missing, and which texts that was."""
    each = [f"{count:,} {text or 'empty'}" for text, count in counts.items()]
    if len(each) < 2:
        return "".join(each)
    return f"{sum(counts.values()):,} ({', '.join(each)})"


def aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    """Rows under each other, cells cut where a line would be too long."""
    columns = list(zip(*rows, strict=True))
    wide = [min(most, max(map(len, of))) for most, of in zip(WIDEST, columns, strict=False)]
    while sum(wide) + 2 * (len(wide) - 1) > PAGE:
        wide[wide.index(max(wide))] -= 1
    for row in rows:
        cells = [short(*pair).ljust(pair[1]) for pair in zip(row, wide, strict=True)]
        yield "  ".join(cells).rstrip()


def short(text: str, width: int) -> str:
    """A text on one line, its middle left out if it is wider."""
    text = " ".join(text.split())
    if len(text) <= width:
        return text
    head = (width - 2) // 2
    return f"{text[:head]}..{text[head + 2 - width :]}"
