"""What a report shows of a model: samples as they appear, and fillings with what they cost."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from unmask.diffusion import MaskedDiffusion
from unmask.estimate import plus_minus
from unmask.filling import Filler
from unmask.kinds.editor import editor_of
from unmask.kinds.kind import Filled, Kind, Partial
from unmask.report.boards import Filling, Odds
from unmask.report.reveal import Revealed, Watch
from unmask.roles import ABSENT, GIVEN, HOLE, SCORED
from unmask.sampling import time_grid
from unmask.schedules import Cosine, Linear, Schedule

WATCHED = 256  # fillings of which it is kept how they appear
DRAWS = 32  # of masks, for what a filling costs
MOST_ODDS = 24  # holes whose probabilities are listed
LOGITS = 2**24  # of all holes, for these
WORDED = 64  # steps in which a text is filled in around given words, where nobody says how many
# the MD4 talk's: as many tokens at every step, or few first
SCHEDULES: dict[str, Schedule] = {"linear": Linear(), "cosine": Cosine()}


class Watching(Filler):
    """A `Filler` that keeps how what it filled in appeared, call by call, in `fillings`."""

    def __init__(self, model: MaskedDiffusion, **how: Any):
        super().__init__(model, told=self.hear, **how)
        self.fillings: list[Filling] = []

    def hear(self, numbers: list[int], state: Any) -> None:
        self.now.told(numbers, state)

    def fill(
        self, examples: Sequence[Partial], *, num: int = 1, score: int = 0
    ) -> list[list[Filled]]:
        self.now = Watch(WATCHED)
        found = super().fill(examples, num=num, score=score)
        copies, costs = [], []
        for k in range(max(map(len, found), default=0)):
            of = [row[min(k, len(row) - 1)] for row in found]
            copies.append(self.now.revealed(examples, [one.ids for one in of], num))
            costs.append(cost_of(of))
        self.fillings.append(Filling(examples, copies, costs))
        return found


def cost_of(found: Sequence[Filled]) -> str:
    """What fillings of several examples cost together, in words; "" if it was not asked."""
    nats = np.array([one.nats for one in found])
    if not np.isfinite(nats).all():
        return ""
    noise = np.sqrt(np.square([one.noise for one in found]).sum())
    said = plus_minus(float(nats.sum()), float(noise), ".2f").replace("+-", "±")
    return f"at most {said} nats given the rest"


def drawn(filler: Watching, blanks: Sequence[Partial]) -> Revealed:
    """Samples, and how they appear."""
    filler.fill(blanks)
    return filler.fillings[-1].copies[0]


def grid_of(schedule: Schedule, steps: int) -> Tensor:
    """(steps + 1,) shares of units that a schedule leaves masked on a uniform grid, from 1 to 0: as
    `Filler` takes it, the schedule as a sampler of any network that does not look at t."""
    return schedule.masked(time_grid(steps, "uniform"))[:, 0]


def one_schedule(model: MaskedDiffusion) -> str:
    """Why no other schedule than its own is a sampler of a model; "" if any is."""
    if model.rival:
        return f"schedules are of masked diffusion, and this is --rival {model.rival}"
    if model.schedule.num_values > 1:
        return "its schedule is learned, one curve per value, and no other is a sampler of it"
    if model.uses_time:
        return "its network looks at t, and no other schedule than its own is a sampler of it"
    return ""


def worded(
    model: MaskedDiffusion, example: Partial, *, steps: int, seed: int, **how: Any
) -> dict[str, Revealed]:
    """An example with words given, filled in from the same seed with each of `SCHEDULES`."""
    found = {}
    for name, schedule in SCHEDULES.items():
        filler = Watching(model, grid=grid_of(schedule, steps), seed=seed, **how)
        found[name] = drawn(filler, [example])
    return found


class Held(NamedTuple):
    """Examples of a split that are known, whole or with gaps."""

    examples: list[Partial]
    says: str


def held_out(data: Any, split: str, length: int, num: int) -> Held:
    """At most so many examples of a split, spread evenly over it."""
    count = min(num, data.window_count(split, length))
    batch = next(data.windows(split, length, count, limit=count))
    found = []
    for i, ids in enumerate(batch["x"].numpy()):
        role = np.full(len(ids), GIVEN, np.int8)
        if "valid" in batch:
            role[~batch["valid"][i].numpy()] = ABSENT
        if "role" in batch:
            of = batch["role"][i].numpy()
            role = np.where(of == SCORED, GIVEN, of).astype(np.int8)
        if "ends" in batch and not batch["ends"][i].all():
            continue  # a piece of a longer one, which a filler would take for a whole
        size = int(np.flatnonzero(role != ABSENT).max(initial=-1)) + 1
        label = int(batch["cond"][i]) if "cond" in batch else None
        if size:
            found.append(Partial(ids[:size], role[:size], label))
    return Held(found, f"Examples of the {split} split, a part of each hidden.")


def with_holes(kind: Kind, examples: Sequence[Partial]) -> list[Partial]:
    """Those in which the kind hides something."""
    found = []
    for one in examples:
        holes = kind.hidden(one.ids) & (one.role == GIVEN)
        if holes.any():
            found.append(one._replace(role=np.where(holes, HOLE, one.role).astype(np.int8)))
    return found


def fill_again(kind: Kind, filler: Watching, held: Held, *, num: int, real: bool) -> Filling | None:
    """A part of some examples hidden and filled in again; `real`: not drawn by the model.

    None where nothing could be hidden.
    """
    examples = with_holes(kind, held.examples)
    if not examples:
        return None
    score = DRAWS if filler.can_score else 0
    filler.fill(examples, num=num, score=score)
    filling = filler.fillings[-1]._replace(says=held.says)
    if real:
        cost = cost_of(filler.score(examples, draws=DRAWS)) if score else ""
        truth = [one._replace(role=np.where(one.role == HOLE, GIVEN, one.role)) for one in examples]
        filling = filling._replace(truth=truth, cost=cost)
    return told(kind, filler, filling)


def told(kind: Kind, filler: Filler, filling: Filling) -> Filling:
    """With how probable the values of holes are, of examples that tell of columns."""
    names, values = kind.place_names, filler.model.subtokenizer.vocab_size
    holes = sum(int((one.role == HOLE).sum()) for one in filling.examples)
    if not names or holes * values > LOGITS:
        return filling
    editor, found = editor_of(kind, filler.length), []
    for example, position, law in filler.laws(filling.examples):
        if listed := editor.odds(position, law):
            found.append(Odds(f"row {example + 1}, {names[position]}", listed))
    return filling._replace(odds=found[:MOST_ODDS], more=max(0, len(found) - MOST_ODDS))
