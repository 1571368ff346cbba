"""How the rows of a table are split: as draws, or with those that belong together."""

from collections.abc import Sequence

import numpy as np

from unmask.kinds.folder import short_digest
from unmask.kinds.tables.columns import Column, Table, check_name
from unmask.kinds.tables.csv_source import Cells
from unmask.kinds.tables.numbers import parse_number


def split_digests(
    cells: Cells, kept: list[int], form: Table, seed: int, group: str, together: bool
) -> np.ndarray:
    """(rows,) uint64, in whose order rows are cut into splits; equal ones go to one split.

    At random, by the seed and the number of the row: two equal rows are two draws.  So are two rows
    without a value of their group.
    """
    if together:
        return row_digests(cells.columns(kept), form, [form.columns[c] for c in kept])
    if not group:
        order = np.random.default_rng((seed % 2**64, 0)).permutation(len(cells.codes))
        return order.astype(np.uint64)
    check_name(group, form.names)
    column = form.names.index(group)
    texts = [
        short_digest(f"{seed}\n{text}".encode("utf-8", "surrogatepass"))
        for text in cells.texts[column]
    ]
    codes = cells.codes[:, column]
    digests = np.array(texts, np.uint64)[codes]
    missing = np.array([form.is_missing(text, group) for text in cells.texts[column]])[codes]
    for row in np.flatnonzero(missing):
        digests[row] = short_digest(f"{seed}\n\n{row}".encode())  # no text begins with a newline
    return digests


def table_of_group(group: str, table: Table) -> Table:
    """Of this column alone, which is none of the table's, to find it in a file by.

    ValueError where columns have no names, and it is beyond them.
    """
    names = [group] if table.header else [f"column{i}" for i in range(1, table.width + 1)]
    check_name(group, names)
    return table.of([Column(group, names.index(group), ("",))])


def some_of_each(shares: tuple[float, ...], count: int) -> tuple[float, ...]:
    """Fractions as counts of rows, at least one for each that is not 0, where there are as many."""
    wanted = [i for i, share in enumerate(shares) if share > 0]
    if not isinstance(shares[0], float) or count < len(wanted):
        return shares
    sizes = [max(round(share * count), int(share > 0)) for share in shares]
    sizes[int(np.argmax(sizes))] += count - sum(sizes)
    return tuple(sizes) if min(sizes[i] for i in wanted) > 0 else shares


def row_digests(cells: Cells, table: Table, kept: Sequence[Column]) -> np.ndarray:
    """(rows,) uint64 of what the rows say, in these columns.

    Cells without a value are alike, and so are numbers, however they are spelled.
    """
    columns = []
    for c, texts in enumerate(cells.texts):
        said = [plain(text, table, kept[c]) for text in texts]
        digests = [short_digest(text.encode("utf-8", "surrogatepass")) for text in said]
        columns.append(np.array(digests, np.uint64)[cells.codes[:, c]])
    return np.array([short_digest(row.tobytes()) for row in np.stack(columns, 1)], np.uint64)


def plain(text: str, table: Table, column: Column) -> str:
    """A cell, spelled in one way whatever its own."""
    if table.is_missing(text, column.name):
        return ""
    number = parse_number(text, column.spelling)
    return text if number is None else repr(number)
