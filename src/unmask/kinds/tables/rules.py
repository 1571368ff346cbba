"""By which rules a column is one of numbers or of categories, and what its values are."""

from collections.abc import Sequence

import numpy as np

from unmask.kinds.tables.columns import Column, Table, check_name
from unmask.kinds.tables.csv_source import Cells, values_of
from unmask.kinds.tables.fitted import number_column
from unmask.kinds.tables.numbers import Spelling, are_numbers, parse_number, parse_whole, told_apart

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
    texts: Sequence[str],
    drop: Sequence[str],
    bins: int,
) -> Table:
    """The alphabets of the columns of a source.

    form: has their names, and how their numbers are spelled. train: the rows that number bins are
    made of.  texts: columns of categories that nobody named as such.
    """
    columns = []
    for c, name in enumerate(form.names):
        if name in drop:
            continue
        found = {part: values_of(cells, c, slice(None), form) for part, cells in parts.items()}
        counted = sum(sum(counts.values()) for counts in found.values())
        missing = counted < sum(len(cells.codes) for cells in parts.values())
        missing = missing and form.missing_is == "missing"
        spelling = form.columns[c].spelling
        if name in texts:
            check_many(name, found, "--categories")
        as_numbers = name not in (*categories, *texts) and is_of_numbers(
            name, c, parts, found, spelling, name in numbers
        )
        if as_numbers:
            counts = values_of(parts["train"], c, train, form) or next(filter(None, found.values()))
            written = set().union(*found.values())
            column = number_column(name, c, counts, bins, written, spelling)
        else:
            different = sorted(set().union(*found.values()))
            values = tuple(different) or (() if missing else ("",))
            column = Column(name, c, values, spelling=spelling)
        columns.append(column._replace(missing=missing))
    return form.of(columns)


def check_columns(
    names: Sequence[str], numbers: Sequence[str], categories: Sequence[str], drop: Sequence[str]
) -> None:
    """ValueError for a column that there is not, or that is to be two things."""
    for name in (*numbers, *categories, *drop):
        check_name(name, names)
        if sum(name in said for said in (numbers, categories, drop)) > 1:
            raise ValueError(
                f"column {name!r} is named twice, as numbers, as categories or to drop: choose one"
            )


def is_of_numbers(
    name: str,
    c: int,
    parts: dict[str, Cells],
    found: dict[str, dict[str, int]],
    spelling: Spelling,
    named: bool,
) -> bool:
    """Whether column c is of numbers, by how often it has which values in each part, or as `named`.

    ValueError where most cells are numbers, or should be, and some are not; and where categories
    are too many to be such.
    """
    values = [(part, text) for part in parts for text in found[part]]
    strange = [(part, text) for part, text in values if parse_number(text, spelling) is None]
    if named and strange:
        part, text = strange[0]
        said = f"{text!r} in column {name!r} is not a number"
        fix = "correct it, or name the column in --categories"
        raise ValueError(f"{parts[part].where(c, text)}: {said}: {fix}")
    texts = sorted(set().union(*found.values()))
    if texts and (named or (are_numbers(texts, spelling) and told_apart(texts, spelling))):
        return True
    total = sum(sum(counts.values()) for counts in found.values())
    if strange and sum(found[part][text] for part, text in strange) < (1 - MOST) * total:
        part, text = strange[0]
        said = f"{text!r} in column {name!r}, most of whose cells are numbers, is none"
        fix = "correct it, count it among --missing, or name the column in --categories"
        raise ValueError(f"{parts[part].where(c, text)}: {said}: {fix}")
    check_many(name, found, "--categories" if strange else "--numbers or --categories")
    return False


def check_many(name: str, found: dict[str, dict[str, int]], flags: str) -> None:
    """ValueError for more categories than can be such, by how often a column has which values in
    each part; flags: those that keep it."""
    different = len(set().union(*found.values()))
    total = sum(sum(counts.values()) for counts in found.values())
    if different > max(MANY, total / 2):
        raise ValueError(
            f"column {name!r} has {different:,} different values in {total:,} rows, which says "
            f"nothing about other rows: leave it out with --drop, or keep it with {flags}"
        )


def unlike_numbers(
    cells: Cells, table: Table, train: np.ndarray, named: Sequence[str]
) -> list[str]:
    """Columns of whole numbers that are different in every training row: names of rows, perhaps.

    Not those that are `named` as numbers.
    """
    found = []
    for c, column in enumerate(table.columns):
        counts = values_of(cells, c, train, table)
        if column.bounds is None or column.name in named or len(counts) != len(train):
            continue
        if len(train) > MANY and all(parse_whole(t, column.spelling) is not None for t in counts):
            found.append(column.name)
    return found
