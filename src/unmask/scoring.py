"""What single examples cost, and the difference of two that are scored on the same masks.

An example is a `Partial` whose holes hold values: these are paid for, given what it gives.  Its
masks are a function of the seed and a number, by default one that follows from the example itself:
so its score depends neither on what else is scored nor on order or batches.  Examples that are
given one number share masks at equal positions.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.estimate import student
from unmask.kinds.kind import Partial
from unmask.likelihood import Estimator, own_estimator
from unmask.likelihood.estimating import drawn
from unmask.masks import BLOCK
from unmask.roles import ABSENT, GIVEN, HOLE, SCORED, UNKNOWN
from unmask.rows import NUMBERS, labels_of, masks_of, rows_at_a_time, windows


@dataclass(frozen=True)
class Score:
    """What the holes of one example cost, given what it gives, in nats.

    An upper bound on -log p, or the exact likelihood of one sampler: as the estimator's `what`
    says.  `noise` is one standard error, of the random masks alone; 0 of what is exact, NaN where
    there is one replicate; where each value has its own schedule, often too small.
    """

    replicates: Tensor  # (G,) float64 nats, in G independent draws of the masks
    units: int  # how many are paid for
    masks: int  # the number that its masks follow from
    exact: bool = False  # nothing was drawn
    by_unit: Tensor | None = None  # (U, 2) what each of its units pays, and the noise of that
    of_each: int = 1  # draws of the masks that a replicate is the mean of

    @property
    def draws(self) -> int:
        return 0 if self.exact else len(self.replicates) * self.of_each

    @property
    def nats(self) -> float:
        return float(self.replicates.mean())

    @property
    def noise(self) -> float:
        return noise_of(self.replicates, self.exact)

    @property
    def bits_per_unit(self) -> float:
        return self.nats / math.log(2) / self.units

    @property
    def bits_per_unit_noise(self) -> float:
        return self.noise / math.log(2) / self.units


@dataclass(frozen=True)
class Difference:
    """Of two scores on the same masks, in nats: of two bounds, which is itself no bound.

    Resolved: it is beyond `needed`, its noise times Student's quantile for 95 %, two-sided, at one
    degree of freedom less than there are replicates.
    """

    nats: float
    noise: float  # NaN where there is one replicate
    needed: float

    @property
    def resolved(self) -> bool:
        return abs(self.nats) > self.needed

    @property
    def verdict(self) -> str:
        if math.isnan(self.noise):
            return "not known"
        return "resolved" if self.resolved else "not resolved"


def difference(a: Score, b: Score) -> Difference:
    """a - b, paired by replicate, over those that both have: a score that is in several pairs may
    have more.  ValueError for scores on other masks."""
    if a.masks != b.masks:
        raise ValueError("the scores are of other masks: score both together")
    count = min(len(a.replicates), len(b.replicates))
    change, exact = a.replicates[:count] - b.replicates[:count], a.exact and b.exact
    noise = noise_of(change, exact)
    needed = 0.0 if exact else noise * student(len(change) - 1)
    return Difference(float(change.mean()), noise, math.nan if math.isnan(noise) else needed)


def noise_of(replicates: Tensor, exact: bool) -> float:
    """The standard error of the mean of (G,) independent draws."""
    if exact or len(replicates) == 1:
        return 0.0 if exact else math.nan
    return float(replicates.std()) / math.sqrt(len(replicates))


@dataclass
class Drawn:
    """What was drawn of one example so far."""

    passes: list[Tensor] = field(default_factory=list)  # (g,) nats each
    count: int = 0  # replicates
    paid: Tensor | None = None  # (2, U) sums over replicates: of nats, and of their squares

    def add(self, nats: Tensor, paid: Tensor | None) -> None:
        """Replicates: their nats (G,) and, by unit, the sums over them (2, U), see `paid`."""
        self.passes.append(nats)
        self.count += len(nats)
        if paid is not None:
            self.paid = paid if self.paid is None else self.paid + paid

    def score(self, asked: "Asked", exact: bool, of_each: int) -> Score:
        by_unit = None
        if self.paid is not None:
            mean = self.paid[0] / self.count
            spread = (self.paid[1] / self.count - mean**2).clamp(min=0)
            noise = (spread / (self.count - 1)).sqrt() if self.count > 1 else spread / math.nan
            by_unit = torch.stack([mean, torch.zeros_like(mean) if exact else noise], -1)
        return Score(torch.cat(self.passes), asked.units, asked.masks, exact, by_unit, of_each)


class Asked(NamedTuple):
    """An example, the number of its masks, and how many units are paid for."""

    example: Partial
    masks: int
    units: int

    @property
    def key(self) -> tuple:
        return self.masks, content(self.example)


class Piece(NamedTuple):
    """A window of an example, or all of it: a row for the network."""

    of: int  # the example
    window: int
    first: int  # where it begins in the example
    example: Partial  # what is there
    ends: tuple[bool, bool]  # whether it holds the ends of the example


class StoppedError(KeyboardInterrupt):
    """Ctrl-C while scores are drawn; `scores`: those that there are, and None for others."""

    def __init__(self, scores: list):
        self.scores = scores
        super().__init__(f"stopped; {sum(map(bool, scores))} of {len(scores)} are scored")


class Scorer:
    """A model with an estimator, see `likelihood.estimators`; None: its own, as in `unmask eval`.

    `repeats`: draws of masks for each example.  `error`, if positive: instead, draw until the noise
    is at most so many bits a unit, of every example or, in `pairs`, of every difference.
    `by_unit`: also tell what each unit pays.  `unit_of` (S,), for examples of one length: which
    unit each position is part of, such as the cell of two places; None: each is one by itself.
    `window`: cut an example that is longer than the model was trained at into windows, as `Filler`
    does, each given what those before it hold; without, it is given to the network whole; not with
    `unit_of`.
    `batch_size`: rows that run through the network at a time; 0: 64, or more where they are short.
    ValueError for a model that the estimator is not for, and for numbers that cannot be.
    """

    def __init__(
        self,
        model: MaskedDiffusion,
        *,
        estimator: Estimator | None = None,
        repeats: int = 32,
        error: float = 0.0,
        seed: int = 0,
        by_unit: bool = False,
        unit_of: Sequence[int] | None = None,
        window: bool = False,
        batch_size: int = 0,
        precision: Any = None,
        progress: bool = False,
    ):
        self.model = model
        self.estimator = own_estimator(model) if estimator is None else estimator
        self.estimator.check(model)
        if not (math.isfinite(error) and error >= 0):
            raise ValueError(f"error must be a finite number, not negative, not {error}")
        if error and self.estimator.exact:
            raise ValueError("nothing is drawn, so there is no noise: leave out error")
        if by_unit and not self.estimator.by_position:
            raise ValueError(
                "what a mean of likelihoods pays cannot be told by position: leave that out, or "
                "take another estimator"
            )
        self.error, self.seed, self.by_unit = error, seed, by_unit
        # many replicates: the noise is that of single examples
        self.replicates, self.of_each = self.estimator.split(repeats, BLOCK)
        if error:
            self.replicates, self.of_each = BLOCK, self.estimator.of_replicate()
        self.unit_of = None if unit_of is None else np.asarray(unit_of)
        if window and unit_of is not None:
            raise ValueError(
                "examples with units of several positions are not cut: leave out window"
            )
        length = model.meta.get("length", 0)
        self.length = length if window else 0  # 0: nothing is cut
        self.rows = rows_at_a_time(batch_size, (length or 1024) * model.subtokenizer.length)
        self.precision = nullcontext() if precision is None else precision
        self.progress = progress

    def score(
        self, examples: Sequence[Partial], *, masks: Sequence[int] | None = None
    ) -> list[Score]:
        """The score of each example, on the masks of its number in `masks`, 0 to 2^36 - 1; None:
        on masks of its own, those of `number_of`.

        ValueError for an example in which there is nothing to be paid for, or whose ids, roles or
        label cannot be.  FloatingPointError for a network whose numbers are not finite.
        StoppedError on Ctrl-C, with what is finished.
        """
        masks = [number_of(one) for one in examples] if masks is None else masks
        asked = [self.asked(*pair) for pair in zip(examples, masks, strict=True)]
        try:
            return [one for (one,) in self.scores([(one,) for one in asked])]
        except StoppedError as stop:
            raise StoppedError([some and some[0] for some in stop.scores]) from None

    def pairs(
        self, examples: Sequence[Partial], others: Sequence[Partial]
    ) -> list[tuple[Score, Score]]:
        """The scores of each example and of its other version, on the masks of the latter, for
        `difference`."""
        numbers = [number_of(one) for one in others]
        pairs = zip(examples, others, numbers, strict=True)
        asked = [(self.asked(a, number), self.asked(b, number)) for a, b, number in pairs]
        return [(a, b) for a, b in self.scores(asked)]

    def asked(self, example: Partial, masks: int) -> Asked:
        """What is to be scored, checked."""
        if not 0 <= masks < NUMBERS:
            raise ValueError(f"a number of masks is 0 to 2^36 - 1, not {masks}")
        if example.ids.shape != example.role.shape or example.ids.ndim != 1:
            raise ValueError(
                f"an example has ids of shape {example.ids.shape} and roles of {example.role.shape}"
                ": give as many of both, (S,)"
            )
        paid = example.role == SCORED
        if not paid.any():
            raise ValueError("an example has no position that is scored: give it the role SCORED")
        if self.unit_of is None:
            return Asked(example, masks, int(paid.sum()))
        if len(paid) != len(self.unit_of):
            raise ValueError(f"an example has {len(paid)} positions, not {len(self.unit_of)}")
        return Asked(example, masks, len(np.unique(self.unit_of[paid])))

    def scores(self, wanted: Sequence[tuple[Asked, ...]]) -> list[tuple[Score, ...]]:
        """The scores of one example each, or of two.  What is asked twice is drawn once, so that
        equal examples cost the same to the last bit."""
        place: dict[tuple, int] = {}
        asked: list[Asked] = []
        for one in (one for some in wanted for one in some):
            if one.key not in place:
                place[one.key] = len(asked)
                asked.append(one)
        groups = [tuple(place[one.key] for one in some) for some in wanted]
        found = [Drawn() for _ in asked]
        begin, more, alive, stopped = 0, self.replicates, set(groups), False
        with self.bar(len(asked)) as bar:
            while alive:
                numbers = sorted({i for group in alive for i in group})
                try:
                    self.draw(asked, numbers, range(begin, begin + more), found, bar)
                except KeyboardInterrupt:
                    stopped = True
                    break
                begin += more
                alive = {group for group in alive if not self.is_known(asked, group, found)}
                more = -(-begin // 2)  # whatever the others need
        exact = self.estimator.exact
        scores = [
            drawn.score(own, exact, self.of_each) if drawn.passes else None
            for drawn, own in zip(found, asked, strict=True)
        ]
        told: list[Any] = [tuple(scores[i] for i in group) for group in groups]
        if stopped:
            raise StoppedError([None if None in some else some for some in told])
        return told

    def bar(self, total: int) -> tqdm:
        """Progress over rows of all rounds, where there is a terminal."""
        disable = None if self.progress else True
        return tqdm(total=total, unit="row", disable=disable, dynamic_ncols=True)

    def is_known(self, asked: list[Asked], group: tuple[int, ...], found: list[Drawn]) -> bool:
        """Whether the noise of a score, or of a difference of two, is at most `error`."""
        if not self.error:
            return True
        first, *rest = (torch.cat(found[i].passes) for i in group)
        noise = noise_of(first - rest[0] if rest else first, False)
        return noise <= self.error * math.log(2) * max(asked[i].units for i in group)

    @torch.no_grad()
    def draw(
        self,
        asked: list[Asked],
        numbers: list[int],
        replicates: range,
        found: list[Drawn],
        bar: tqdm,
    ) -> None:
        """Draw these replicates of the examples with these numbers, and add them to `found`; on
        Ctrl-C, of those that are finished."""
        pieces = [piece for i in numbers for piece in self.pieces(i, asked[i].example)]
        pieces.sort(key=lambda piece: -len(piece.example.ids))  # what is padded is of one length
        nats = {i: torch.zeros(len(replicates), dtype=torch.float64) for i in numbers}
        paid = {i: self.nothing_paid(asked[i].example) for i in numbers if self.by_unit}
        bar.total = bar.n + len(pieces)
        left = Counter(piece.of for piece in pieces)
        with evaluating(self.model), self.precision:
            for begin in range(0, len(pieces), self.rows):
                some = pieces[begin : begin + self.rows]
                own = [masks_of(asked[piece.of].masks, piece.window) for piece in some]
                # few at a time: what is paid at all positions in all replicates is much
                for first in range(0, len(replicates), BLOCK):
                    few = slice(first, first + BLOCK)
                    drawn_of = self.drawn(some, own, replicates[few])
                    for piece, each in zip(some, drawn_of, strict=True):
                        nats[piece.of][few] += each if each.ndim == 1 else each.sum(1)
                        if self.by_unit:
                            self.add(paid[piece.of], piece, each)
                for i in (piece.of for piece in some):
                    left[i] -= 1
                    if not left[i]:
                        found[i].add(nats.pop(i), paid.pop(i, None))
                bar.update(len(some))

    def drawn(self, pieces: list[Piece], own: list[int], replicates: range) -> Iterator[Tensor]:
        """(G,) or, by unit, (G, S) nats of each piece, on the masks of its number in `own`."""
        model, width = self.model, max(len(piece.example.ids) for piece in pieces)
        x = torch.zeros(len(pieces), width, dtype=torch.int64)
        role = torch.full(x.shape, ABSENT, dtype=torch.int8)
        for row, (_, _, _, example, _) in enumerate(pieces):
            x[row, : len(example.ids)] = torch.from_numpy(np.asarray(example.ids, np.int64))
            role[row, : len(example.ids)] = torch.from_numpy(example.role)
        cond = labels_of(model, [piece.example for piece in pieces])
        ends = torch.tensor([piece.ends for piece in pieces])
        given = {"x": x, "role": role, "cond": cond, "ends": None if bool(ends.all()) else ends}
        there = {name: v.to(model.device) for name, v in given.items() if v is not None}
        batch = model.clean(**there, masking=self.estimator.masking)
        draws, _, _ = drawn(
            model, batch, self.estimator, own, replicates, self.of_each, self.seed, self.by_unit
        )
        found = self.estimator.combine(draws.unflatten(0, (len(replicates), self.of_each)))
        if not bool(found.isfinite().all()):
            raise FloatingPointError(
                "a bound is not finite: what the network says is not, or its weights are not"
            )
        return iter(found.unbind(1))

    def pieces(self, of: int, example: Partial) -> Iterator[Piece]:
        """The rows of an example: itself, or its windows, each given what is paid for in those
        before it, while what is paid for in those after it is hidden."""
        if not 0 < self.length < len(example.ids):
            yield Piece(of, 0, 0, example, (True, True))
            return
        ids, role = example.ids, example.role.copy()
        left = role == HOLE
        there = role != ABSENT
        # what knows only what comes before sees nothing of it either way
        later = ABSENT if self.model.one_by_one else UNKNOWN
        for window, (at, fill) in enumerate(windows(torch.from_numpy(left), self.length)):
            now = np.zeros_like(left)
            now[at] = fill.numpy()
            left = left & ~now
            own = np.where(role == HOLE, GIVEN, role)
            own = np.where(now, HOLE, np.where(left, later, own)).astype(np.int8)
            ends = not there[: at.start].any(), not there[at.stop :].any()
            part = example._replace(ids=ids[at], role=own[at])
            yield Piece(of, window, at.start, part, ends)

    def nothing_paid(self, example: Partial) -> Tensor:
        """(2, U) zeros."""
        units = len(example.ids) if self.unit_of is None else int(self.unit_of.max()) + 1
        return torch.zeros(2, units, dtype=torch.float64)

    def add(self, paid: Tensor, piece: Piece, each: Tensor) -> None:
        """Add what is paid at the positions of a piece, each (G, S), to the sums (2, U)."""
        count = len(piece.example.ids)
        each = each[:, :count]
        if self.unit_of is None:  # each position is paid for in one piece
            paid[:, piece.first : piece.first + count] += sums_of(each)
            return
        which = torch.from_numpy(self.unit_of)
        paid += sums_of(each.new_zeros(len(each), paid.shape[1]).index_add(1, which, each))


def sums_of(each: Tensor) -> Tensor:
    """(2, U): the sum over replicates of what each unit pays, each (G, U), and of its square."""
    return torch.stack([each.sum(0), (each**2).sum(0)])


def score(
    model: MaskedDiffusion,
    examples: Sequence[Partial],
    *,
    masks: Sequence[int] | None = None,
    **how: Any,
) -> list[Score]:
    """What each example costs: of a `Partial` with ids (S,) and role (S,), see `unmask.roles`, the
    nats of what is SCORED given what is GIVEN, ABSENT and UNKNOWN positions being neither.

    Each `Score` has `nats`, an upper bound on -log p (of an exact estimator the likelihood itself)
    and their `noise`, one standard error: an estimate of the bound may lie below -log p by that.
    `units` are how many positions are paid for, and `bits_per_unit` what they cost on average.
    `masks`, numbers: examples of one number share masks, so that `unmask.scoring.difference` of
    their scores has less noise than either; a difference of two bounds is no bound.  `how`: of
    `Scorer`, such as estimator, repeats, error, seed, by_unit.  Errors are those of `Scorer` and
    `Scorer.score`.
    """
    return Scorer(model, **how).score(examples, masks=masks)


def content(example: Partial) -> bytes:
    """All that a score depends on, and nothing else: ids that a role hides may be anything."""
    seen = (example.role == GIVEN) | (example.role == HOLE)
    ids = np.where(seen, example.ids, 0).astype("<i8").tobytes()
    return b"".join([ids, example.role.astype(np.int8).tobytes(), str(example.label).encode()])


def number_of(example: Partial) -> int:
    """The number of the masks of an example that is scored by itself: a hash of it."""
    return hashed(content(example))


def hashed(what: bytes) -> int:
    """0 to NUMBERS - 1."""
    return int.from_bytes(hashlib.sha256(what).digest()[:8]) % NUMBERS
