"""Missing cells of a table: drawn, or guessed one by one, and how probable every value is."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.data import Table
from unmask.diffusion import MaskedDiffusion
from unmask.sampling import evaluating

LEAST = 0.0005  # probabilities below are not listed


class Guess(NamedTuple):
    """What a model says of one missing cell given the cells that its row has."""

    row: int
    column: int
    token: int  # the most probable category, or the median of a number
    probability: np.ndarray  # (values of the column,)


def states(model: MaskedDiffusion, tokens: np.ndarray) -> Tensor:
    """z (rows, columns * digits) of tokens (rows, columns), masked where they are `vocab_size`."""
    ids = torch.from_numpy(tokens)
    hole = ids == model.subtokenizer.vocab_size
    return model.subtokenizer.encode(ids.masked_fill(hole, 0)).masked_fill(
        hole.repeat_interleave(model.subtokenizer.length, 1), model.mask_id
    )


@torch.no_grad()
def guesses(model: MaskedDiffusion, table: Table, tokens: np.ndarray, batch_size: int = 1024) -> Iterator[Guess]:
    """Every missing cell of tokens (rows, columns), each by itself: its law given the known cells of its row, in one network call.

    ValueError for a schedule with one curve per value.
    """
    if model.schedule.num_values > 1:
        raise ValueError(
            "with a learned schedule, being masked at t says something about a value, and being missing does not: draw values instead of "
            "guessing them"
        )
    z, hole = states(model, tokens), tokens == table.vocab_size
    share = torch.from_numpy(hole.mean(1))
    for first in range(0, len(tokens), batch_size):
        rows = np.arange(first, min(first + batch_size, len(tokens)))
        rows = rows[hole[rows].any(1)]
        if not len(rows):
            continue
        with evaluating(model):
            t = model.schedule.inverse(1 - share[rows].to(model.device))
            p = model.predict(z[rows].to(model.device), t).double().exp().cpu().numpy()
        for i, column in np.argwhere(hole[rows]):
            low, high = table.first[column : column + 2]
            probability = p[i, column, low:high]
            best = int(probability.argmax())
            if table.columns[column].bounds is not None:
                best = int(np.searchsorted(probability.cumsum(), probability.sum() / 2))
            yield Guess(int(rows[i]), int(column), int(low) + best, probability)


def describe_guess(table: Table, guess: Guess) -> list[list[str]]:
    """Rows (row, column, value, probability) of one missing cell, the most probable value first; rows are counted from 1."""
    column = table.columns[guess.column]
    order = np.argsort(-guess.probability, kind="stable")
    return [
        [str(guess.row + 1), column.name, column.values[i], f"{guess.probability[i]:.4f}"]
        for i in order
        if guess.probability[i] >= LEAST
    ]  # fmt: skip
