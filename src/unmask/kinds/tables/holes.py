"""Missing cells of a table: as examples with holes, and guessed one by one."""

from typing import NamedTuple

import numpy as np

from unmask.kinds.kind import Partial
from unmask.kinds.tables.columns import Table
from unmask.roles import GIVEN, HOLE, UNKNOWN

LEAST = 0.0005  # probabilities below are not listed


class Guess(NamedTuple):
    """What a model says of one missing cell given the cells that its row has."""

    row: int
    column: int
    token: int  # the most probable category, or the median of a number
    probability: np.ndarray  # (values of the column,)


def partials(tokens: np.ndarray, hole: np.ndarray, vocab_size: int) -> list[Partial]:
    """Rows of `tokens` (rows, columns), to be filled in where `hole` says so.

    A token V elsewhere is no value, and stays hidden.
    """
    known = np.where(tokens == vocab_size, UNKNOWN, GIVEN)
    roles = np.where(hole, HOLE, known).astype(np.int8)
    return [Partial(row, role) for row, role in zip(tokens, roles, strict=True)]


def guess(table: Table, row: int, column: int, law: np.ndarray) -> Guess:
    """The most probable category, or the median of a number, from the law (V,) of a cell."""
    low, high = table.first[column : column + 2]
    probability = law[low:high].copy()  # not a view of all columns'
    best = int(probability.argmax())
    if table.columns[column].bounds is not None:
        best = int(np.searchsorted(probability.cumsum(), probability.sum() / 2))
    return Guess(row, column, int(low) + best, probability)


def describe_guess(table: Table, guess: Guess) -> list[list[str]]:
    """Rows (row, column, value, probability) of one missing cell, the most probable value first.

    Rows are counted from 1.
    """
    column, of = table.columns[guess.column], guess.probability
    order = [i for i in np.argsort(-of, kind="stable") if of[i] >= LEAST]
    return [[str(guess.row + 1), column.name, column.values[i], f"{of[i]:.4f}"] for i in order]
