"""Cells of a table that are not given: as examples with holes, and guessed one by one.

Of such a cell one of three things is known: that it has a value, that it is missing, or nothing.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from unmask.kinds.kind import Partial
from unmask.kinds.tables.columns import ABSENT, Table, check_name
from unmask.kinds.tables.columns import UNKNOWN as UNKNOWN_CELL
from unmask.kinds.tables.flags import flag_of, typed
from unmask.roles import ABSENT as PLACE_ABSENT
from unmask.roles import GIVEN, HOLE, UNKNOWN

STATES = ("value", "missing", "unknown")  # what is known of an empty cell
LEAST = 0.0005  # probabilities below are not listed


class Wanted(NamedTuple):
    """Which columns are to be filled in, and what is known of the empty cells of each column."""

    fill: Sequence[bool]
    empty: Sequence[str]  # of STATES


class Guess(NamedTuple):
    """What a model says of one cell given the cells that its row has."""

    row: int
    column: int
    token: int  # the most probable category, or the median of a number, or `none`
    probability: np.ndarray  # (values of the column, and `none` if it may be missing)


def wanted_of(table: Table, named: Sequence[str], empty: Sequence[str]) -> Wanted:
    """What is to be filled in, the columns `named` or, if none is, all; and what is known of empty
    cells: in those, that there is a value, elsewhere what the data have.

    empty: what is known instead, one of STATES, of columns that are not filled in or, if none is
    named, of all; or of a single column, as in "lab=value".  ValueError for other names and words.
    """
    for name in named:
        check_name(name, table.names)
    fill = [not named or name in named for name in table.names]
    # where the data hold no fact of a cell that is missing, it is just hidden
    elsewhere = "unknown" if table.missing_is == "unknown" else "missing"
    states = ["value" if one else elsewhere for one in fill]
    for part in sorted(empty, key=lambda part: "=" in part):  # single columns last
        name, equals, state = part.rpartition("=")
        if state not in STATES:
            known = ", ".join(STATES)
            raise ValueError(f"--empty {part!r}: give one of {known}, or COLUMN= and one of them")
        if equals:
            check_name(name, table.names)
            states[table.names.index(name)] = state
            continue
        for c in range(len(states)):
            if not named or not fill[c]:
                states[c] = state
    return Wanted(fill, states)


def opened(
    table: Table, cells: np.ndarray, wanted: Wanted, there: Sequence[bool], where: str
) -> tuple[np.ndarray, np.ndarray, list[Partial]]:
    """Cells (rows, columns), empty ones ABSENT, as examples with holes.

    there: which columns `where`, the source, has; nothing is known of the others, nor are they
    filled in.  Returns the cells, those that are to be filled in or not known as UNKNOWN; the holes
    (rows, columns); and the examples.

    ValueError for a cell that is to be missing where the model knows none such.
    """
    cells, known = cells.copy(), np.ones(cells.shape, bool)
    hole = np.zeros(cells.shape, bool)
    for c, column in enumerate(table.columns):
        empty, state = cells[:, c] == ABSENT, wanted.empty[c]
        if not there[c]:
            known[:, c] = False
            cells[:, c] = UNKNOWN_CELL
            continue
        if column.values in ((), ("",)) or not empty.any():
            continue
        if state == "missing":
            check_missing(table, c, where)
            continue
        cells[empty, c] = UNKNOWN_CELL
        known[:, c] &= ~(empty & (state == "unknown"))
        hole[:, c] = empty & wanted.fill[c]
    rows = zip(*roles_of_cells(table, cells, known, hole), strict=True)
    return cells, hole, [Partial(*row) for row in rows]


def check_missing(table: Table, c: int, where: str) -> None:
    """ValueError for an empty cell that is to be missing, where the model knows none such."""
    name = table.names[c]
    if table.missing_is == "unknown":
        raise ValueError(
            "--empty missing: the model takes missing cells for values that are not known "
            "(--missing-is unknown): leave it out"
        )
    if table.missing_is == "missing" and not table.columns[c].missing:
        raise ValueError(
            f"{where}: column {name!r} has empty cells, and none was missing in the data that the "
            f"model was trained on: say --empty {typed(flag_of([f'{name}=value']))}, or fill it in "
            "with --columns"
        )


def roles_of_cells(table: Table, cells: np.ndarray, known: np.ndarray, fill: np.ndarray) -> tuple:
    """Tokens and roles (rows, places) of `cells` (rows, columns) as in `Table.tokens`.

    known: of a cell that is UNKNOWN, whether it is known to have a value; elsewhere anything.
    fill: whether such a cell is to be filled in; otherwise it stays hidden.
    """
    tokens = table.tokens(cells)
    open_cell = cells == UNKNOWN_CELL
    hidden = np.where(fill, HOLE, UNKNOWN)
    roles = np.full(tokens.shape, GIVEN, np.int8)
    roles[:, table.value_at] = np.where(open_cell, hidden, GIVEN)
    two = np.flatnonzero(table.present_at >= 0)
    of_present = np.where(open_cell & ~known, hidden, GIVEN)
    roles[:, table.present_at[two]] = of_present[:, two]
    # what the model knows no token for: of an earlier version, a place that is not there
    lost = (tokens == table.vocab_size) & (roles == GIVEN)
    roles[lost] = PLACE_ABSENT if table.missing_is == "absent" else UNKNOWN
    return tokens, roles


def partials(tokens: np.ndarray, hole: np.ndarray, vocab_size: int) -> list[Partial]:
    """Rows of `tokens` (rows, places), to be filled in where `hole` says so.

    A token V elsewhere is not known, and stays hidden.
    """
    known = np.where(tokens == vocab_size, UNKNOWN, GIVEN)
    roles = np.where(hole, HOLE, known).astype(np.int8)
    return [Partial(row, role) for row, role in zip(tokens, roles, strict=True)]


def guess(table: Table, row: int, place: int, law: np.ndarray) -> Guess | None:
    """The most probable category, or the median of a number, from the law (V,) of a cell.

    A number that is more probably missing than not is missing.  None for a place that says whether
    there is a value: the place of the value says so, too.
    """
    column, says, _ = table.places[place]
    if says == "present":
        return None
    low, high = table.first[place : place + 2]
    probability = law[low:high].copy()  # not a view of all places'
    count = len(table.columns[column].values)
    best = int(probability.argmax())
    of_values = probability[:count]
    if table.columns[column].bounds is not None and of_values.sum() >= probability.sum() / 2:
        best = int(np.searchsorted(of_values.cumsum(), of_values.sum() / 2))
    return Guess(row, column, int(low) + best, probability)


def number_of(table: Table, guess: Guess) -> int:
    """Which value of its column a guess is, or ABSENT."""
    number = guess.token - int(table.first[table.value_at[guess.column]])
    return number if number < len(table.columns[guess.column].values) else ABSENT


def texts_of_holes(
    table: Table, hole: np.ndarray, cells: np.ndarray, generator: np.random.Generator | None
) -> Iterator[tuple[int, int, str]]:
    """(row, column, text) of each hole (rows, columns) that has a value in `cells`.

    Numbers are drawn within their bins; without a generator, they are the bins' medians.
    """
    for c, column in enumerate(table.columns):
        rows = np.flatnonzero(hole[:, c] & (cells[:, c] >= 0))
        values = cells[rows, c]
        texts = [column.values[k] for k in values]
        if generator is not None:
            texts = column.draw(values, generator)
        yield from ((row, c, text) for row, text in zip(rows.tolist(), texts, strict=True))


def describe_guess(table: Table, guess: Guess) -> list[list[str]]:
    """Rows (row, column, value, probability) of one cell, the most probable value first.

    Rows are counted from 1; the value of a missing cell is empty.
    """
    column, of = table.columns[guess.column], guess.probability
    order = [i for i in np.argsort(-of, kind="stable") if of[i] >= LEAST]
    values = (*column.values, "")
    return [[str(guess.row + 1), column.name, values[i], f"{of[i]:.4f}"] for i in order]
