"""Missing cells of a table: guessed one by one, and how probable every value is."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.data import Table
from unmask.diffusion import MaskedDiffusion
from unmask.kernels.rows import chunks
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
    hidden = hole.repeat_interleave(model.subtokenizer.length, 1)
    return model.subtokenizer.encode(ids.masked_fill(hole, 0)).masked_fill(hidden, model.mask_id)


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
    holed = np.flatnonzero((tokens == table.vocab_size).any(1))
    with evaluating(model):
        for first in range(0, len(holed), batch_size):
            yield from guess_batch(model, table, tokens, holed[first : first + batch_size])


def guess_batch(model: MaskedDiffusion, table: Table, tokens: np.ndarray, rows: np.ndarray) -> list[Guess]:
    """`guesses` of some rows, each of which has a missing cell."""
    hole = tokens[rows] == table.vocab_size
    t = model.schedule.inverse(1 - torch.from_numpy(hole.mean(1)).to(model.device))
    z = states(model, tokens[rows]).to(model.device)
    hidden, head = model.hidden(z, t)
    digits = z.unflatten(1, (-1, model.subtokenizer.length))
    row, column = (torch.from_numpy(i).to(model.device) for i in hole.nonzero())
    made = []
    for part in chunks(len(row), table.vocab_size, model.device):
        at = row[part], column[part]
        logp = model.log_probs(head(hidden[at]), digits[at], column[part])
        logp = logp if model.codes is None else logp[:, model.codes]
        for i, c, p in zip(*(v.tolist() for v in at), logp.double().exp().cpu().numpy(), strict=True):
            low, high = table.first[c : c + 2]
            probability = p[low:high].copy()  # not a view of all columns'
            best = int(probability.argmax())
            if table.columns[c].bounds is not None:
                best = int(np.searchsorted(probability.cumsum(), probability.sum() / 2))
            made.append(Guess(int(rows[i]), c, int(low) + best, probability))
    return made


def describe_guess(table: Table, guess: Guess) -> list[list[str]]:
    """Rows (row, column, value, probability) of one missing cell, the most probable value first; rows are counted from 1."""
    column, of = table.columns[guess.column], guess.probability
    order = [i for i in np.argsort(-of, kind="stable") if of[i] >= LEAST]
    return [[str(guess.row + 1), column.name, column.values[i], f"{of[i]:.4f}"] for i in order]
