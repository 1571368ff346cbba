"""Columns that name the rows and say nothing else."""

import itertools
from collections.abc import Collection, Sequence

import numpy as np

from unmask.kinds.tables.columns import Table
from unmask.kinds.tables.csv_source import Cells
from unmask.kinds.tables.numbers import parse_number, whole_numbers

LEAST = 20  # rows in which whole numbers may run by chance
EXACT = 2**53  # whole numbers beyond this are not all numbers of 64 bits


def find_identifiers(
    form: Table, parts: dict[str, Cells], *, nameless: bool, others: Collection[str]
) -> list[str]:
    """The names of columns that only name rows, among all but `others`.

    Such a column has a value in every row of each file, and they all differ there.  In 20 rows or
    more, these are whole numbers (or codes of digits) that go up or down by one step, or are, in
    any order, all from the least to the largest, or of which one is above 2^53.  Or it is the first
    column, which the header leaves `nameless`, of whole numbers or of texts: the index of a program
    that wrote the file.
    """
    found = []
    for c, name in enumerate(form.names):
        if name in others:
            continue
        columns = [in_order(cells, c, form) for cells in parts.values()]
        if not all(len(set(texts)) == len(texts) > 0 for texts in columns):
            continue
        rows, spelling = sum(map(len, columns)), form.columns[c].spelling
        whole = [whole_numbers(texts, spelling) for texts in columns]
        exact = [numbers for numbers in whole if numbers is not None]
        if nameless and c == 0 and rows > 1:
            texts = (text for column in columns for text in column)
            words = all(parse_number(text, spelling) is None for text in texts)
            named = len(exact) == len(whole) or words
        else:
            large = any(abs(one) > EXACT for numbers in exact for one in numbers)
            runs_on = rows >= LEAST and (large or all(map(runs, exact)))
            named = len(exact) == len(whole) and runs_on
        if named:
            found.append(name)
    return found


def in_order(cells: Cells, c: int, form: Table) -> list[str]:
    """The cells of a column row by row; none if one is missing or one occurs twice."""
    used, texts = np.unique(cells.codes[:, c]), cells.texts[c]
    if len(used) < len(cells.codes):
        return []
    if any(form.is_missing(texts[i], form.names[c]) for i in used):
        return []
    return [texts[i] for i in cells.codes[:, c]]


def runs(numbers: Sequence[int]) -> bool:
    """Whether numbers that differ go by one step, or are all between two, in any order."""
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    return len(steps) <= 1 or max(numbers) - min(numbers) == len(numbers) - 1
