"""How examples were filled in: from which step on each position has its value, and how sure the
model was of what it drew there."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from unmask.kinds.kind import Partial, State
from unmask.roles import GIVEN, HOLE

HIDDEN, NEVER = -1, -2  # of a position: not told here, and not known to anybody


class Revealed(NamedTuple):
    """Whole examples, and when each of their positions became known."""

    rows: Sequence[np.ndarray]  # (S,) tokens of each
    known: Sequence[
        np.ndarray
    ]  # (S,) the step from which on they are what they are; 0: given; or one of the above
    sure: Sequence[np.ndarray]  # (S,) how probable each was when it was drawn; 1 if that is unknown
    steps: int

    def cut(self, first: int, last: int) -> "Revealed":
        """The examples from one to another."""
        rows, known, sure = (part[first:last] for part in self[:3])
        return Revealed(rows, known, sure, self.steps)


class Watch:
    """Keeps that of the first `most` fillings, as `Filler(told=watch.told)` says it."""

    def __init__(self, most: int):
        self.most, self.steps, self.step = most, 0, 0
        self.batch: list[int] = []
        # of each filling: the last step after which a position was not what it is now, and the
        # last state
        self.hidden: dict[int, np.ndarray] = {}
        self.ids: dict[int, np.ndarray] = {}
        self.sure: dict[int, np.ndarray] = {}

    def told(self, numbers: list[int], state: State) -> None:
        """A state of the fillings with these numbers."""
        if numbers is not self.batch:
            self.batch, self.step = numbers, 0
        self.step += 1
        self.steps = max(self.steps, self.step)
        for row, number in enumerate(numbers):
            if number >= self.most:
                continue
            hidden = self.hidden.setdefault(number, np.zeros(state.shown.shape[1], np.int64))
            if number in self.ids:  # within a step, a sampler may hide a position and draw it anew
                hidden[state.ids[row] != self.ids[number]] = self.step - 1
            hidden[~state.shown[row]] = self.step
            self.ids[number] = state.ids[row]
            if state.sure is not None:
                self.sure[number] = state.sure[row]

    def revealed(
        self, examples: Sequence[Partial], rows: Sequence[np.ndarray], num: int
    ) -> Revealed:
        """Of examples that were filled in to `rows`, each by one of `num` fillings."""
        known, sure = [], []
        for i, (example, row) in enumerate(zip(examples, rows, strict=True)):
            size, filled = len(row), example.role == HOLE
            since, chance = np.zeros(size, np.int64), np.ones(size)
            number = self.number_of(range(num * i, num * (i + 1)), row, filled)
            if number is not None:
                since[filled] = self.hidden[number][:size][filled] + 1
                if number in self.sure:
                    chance[filled] = self.sure[number][:size][filled]
            since[~filled & (example.role != GIVEN)] = NEVER
            known.append(since)
            sure.append(chance)
        return Revealed(list(rows), known, sure, self.steps)

    def number_of(self, numbers: Sequence[int], row: np.ndarray, filled: np.ndarray) -> int | None:
        """Which of these fillings became this row: they come back the best first."""
        for number in numbers:
            ids = self.ids.get(number)
            if ids is not None and (ids[: len(row)][filled] == row[filled]).all():
                return number
        return None


def of_states(states: Sequence[State]) -> Revealed:
    """Of examples on their way, from what is given at the first state on."""
    first, last = states[0], states[-1]
    watch, numbers = Watch(len(first.ids)), list(range(len(first.ids)))
    for state in states[1:]:
        watch.told(numbers, state)
    roles = np.where(first.shown, GIVEN, HOLE).astype(np.int8)
    examples = [Partial(*pair) for pair in zip(first.ids, roles, strict=True)]
    return watch.revealed(examples, list(last.ids), 1)


def given(examples: Sequence[Partial]) -> Revealed:
    """What is given of examples, and nothing else."""
    known = [
        np.select([one.role == GIVEN, one.role == HOLE], [0, HIDDEN], NEVER) for one in examples
    ]
    rows = [np.where(one.role == GIVEN, one.ids, 0) for one in examples]
    return Revealed(rows, known, [np.ones(len(row)) for row in rows], 0)


def whole(rows: Sequence[np.ndarray]) -> Revealed:
    """Examples all of which is known."""
    known = [np.zeros(len(row), np.int64) for row in rows]
    return Revealed(rows, known, [np.ones(len(row)) for row in rows], 0)
