"""Cells of a table that are not given: as examples with holes, and guessed one by one.

Of such a cell one of three things is known: that it has a value, that it is missing, or nothing.
"""

from typing import NamedTuple

import numpy as np

from unmask.kinds.kind import Partial
from unmask.kinds.tables.columns import UNKNOWN as UNKNOWN_CELL
from unmask.kinds.tables.columns import Table
from unmask.roles import ABSENT as PLACE_ABSENT
from unmask.roles import GIVEN, HOLE, UNKNOWN

LEAST = 0.0005  # probabilities below are not listed


class Guess(NamedTuple):
    """What a model says of one cell given the cells that its row has."""

    row: int
    column: int
    token: int  # the most probable category, or the median of a number, or `none`
    probability: np.ndarray  # (values of the column, and `none` if it may be missing)


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


def describe_guess(table: Table, guess: Guess) -> list[list[str]]:
    """Rows (row, column, value, probability) of one cell, the most probable value first.

    Rows are counted from 1; the value of a missing cell is empty.
    """
    column, of = table.columns[guess.column], guess.probability
    order = [i for i in np.argsort(-of, kind="stable") if of[i] >= LEAST]
    values = (*column.values, "")
    return [[str(guess.row + 1), column.name, values[i], f"{of[i]:.4f}"] for i in order]
