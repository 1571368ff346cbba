"""By which rules a column is one of numbers or of categories, and what its values are."""

from collections.abc import Sequence

import numpy as np

from unmask.kinds.tables.columns import Column, Table, are_numbers, check_name, parse_number
from unmask.kinds.tables.csv_source import Cells
from unmask.kinds.tables.fitted import number_column

BINS = 64
# With this share of numbers in a column, other cells are errors, unless --categories names it.
MOST = 0.9
# More categories than this are refused where most rows have one of their own.
MANY = 50


def make_table(
    form: Table,
    parts: dict[str, Cells],
    train: np.ndarray,
    *,
    numbers: Sequence[str],
    categories: Sequence[str],
    drop: Sequence[str],
    bins: int,
) -> Table:
    """The alphabets of the columns of a source.

    form: has their names. train: the rows that number bins are made of.
    """
    for name in (*numbers, *categories, *drop):
        check_name(name, form.names)
        if sum(name in names for names in (numbers, categories, drop)) > 1:
            raise ValueError(
                f"column {name!r} is named twice, as numbers, as categories or to drop: choose one"
            )
    columns = []
    for c, name in enumerate(form.names):
        if name in drop:
            continue
        found = {part: values_of(cells, c, slice(None), form) for part, cells in parts.items()}
        counted = sum(sum(counts.values()) for counts in found.values())
        missing = counted < sum(len(cells.codes) for cells in parts.values())
        missing = missing and form.missing_is == "missing"
        if name not in categories and is_of_numbers(name, c, parts, found, name in numbers):
            counts = values_of(parts["train"], c, train, form) or next(filter(None, found.values()))
            column = number_column(name, c, counts, bins, set().union(*found.values()))
        else:
            texts = sorted(set().union(*found.values()))
            column = Column(name, c, tuple(texts) or (() if missing else ("",)))
        columns.append(column._replace(missing=missing))
    return form.of(columns)


def is_of_numbers(
    name: str, c: int, parts: dict[str, Cells], found: dict[str, dict[str, int]], named: bool
) -> bool:
    """Whether column c is of numbers, by how often it has which values in each part, or as `named`.

    ValueError where most cells are numbers, or should be, and some are not; and where categories
    are too many to be such.
    """
    strange = [(part, text) for part in parts for text in found[part] if parse_number(text) is None]
    if named and strange:
        part, text = strange[0]
        said = f"{text!r} in column {name!r} is not a number"
        fix = "correct it, or name the column in --categories"
        raise ValueError(f"{parts[part].where(c, text)}: {said}: {fix}")
    texts = sorted(set().union(*found.values()))
    if texts and (named or (are_numbers(texts) and told_apart(texts))):
        return True
    total = sum(sum(counts.values()) for counts in found.values())
    if strange and sum(found[part][text] for part, text in strange) < (1 - MOST) * total:
        part, text = strange[0]
        said = f"{text!r} in column {name!r}, most of whose cells are numbers, is none"
        fix = "correct it, count it among --missing, or name the column in --categories"
        raise ValueError(f"{parts[part].where(c, text)}: {said}: {fix}")
    if len(texts) > max(MANY, total / 2):
        flags = "--categories" if strange else "--numbers or --categories"
        raise ValueError(
            f"column {name!r} has {len(texts):,} different values in {total:,} rows, which says "
            f"nothing about other rows: leave it out with --drop, or keep it with {flags}"
        )
    return False


def told_apart(texts: Sequence[str]) -> bool:
    """Whether whole numbers differ as numbers of 64 bits, too: identifiers may not."""
    if not all(text.lstrip("+-").isdigit() for text in texts):
        return True
    return len({float(text) for text in texts}) == len({int(text) for text in texts})


def running_numbers(cells: Cells, table: Table, train: np.ndarray) -> list[str]:
    """Columns of whole numbers that are different in every training row: names of rows, perhaps."""
    found = []
    for c, column in enumerate(table.columns):
        counts = values_of(cells, c, train, table)
        whole = all(text.lstrip("+-").isdigit() for text in counts)
        if column.bounds is not None and whole and len(counts) == len(train) > MANY:
            found.append(column.name)
    return found


def values_of(cells: Cells, column: int, rows: np.ndarray | slice, table: Table) -> dict[str, int]:
    """How often each value of a column occurs in some rows; cells without a value are left out."""
    texts, name = cells.texts[column], table.names[column]
    counts = np.bincount(cells.codes[rows, column], minlength=len(texts))
    there = [i for i in counts.nonzero()[0] if not table.is_missing(texts[i], name)]
    return {texts[i]: int(counts[i]) for i in there}
