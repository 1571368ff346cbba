"""Partly known examples in, whole ones out, of any kind of data.

Sampling fills an example of which nothing is known.  Examples become rows of a batch, longer ones
windows; a sampler reveals the holes, and the bound of `conditional_nats` scores them.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unmask.batch import Batch
from unmask.config import Sampling
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.kernels.rows import chunks
from unmask.kinds.kind import Filled, Partial, State
from unmask.likelihood import Bound, conditional_nats
from unmask.likelihood.estimators import Paid
from unmask.masks import OfRows, Uniforms
from unmask.processes import ALONE, Processes
from unmask.roles import ABSENT, GIVEN, HOLE, UNKNOWN
from unmask.rows import (
    WINDOWS,
    Rows,
    labels_of,
    masks_of,
    numbered,
    rows_at_a_time,
    windows,
    with_holes,
)
from unmask.sampling import sampler_of, times_of, to_tokens, trajectory
from unmask.sampling.restricted import Weights, check_restricted, draw_one, draw_together
from unmask.sampling.state import Drawn

DRAWS = 2**32  # more draws than conditions are worth
# how the weight of guidance changes with t, the share of the way still to go
RAMPS: dict[str, Callable[[Tensor], Tensor]] = {
    "constant": torch.ones_like,
    "rising": lambda t: 1 - t,
    "falling": lambda t: t,
}


class Filler:
    """A model with a sampler, in one of `processes` that share its batches.

    `steps`, and `how`: the fields of `config.Sampling`, which says what they do; `grid` may also be
    the shares of masked units, see `sampling.times_of`.
    `batch_size`: rows that run through the network at a time; 0: 64, or more where they are short.
    `window`: fill an example that is longer than the model was trained at window by window;
    without, it is given to the network whole.  `watch`: keep the states of so many rows of the
    first batch, in `states`.  `told`: called with every state of every batch, or window, and the
    numbers of its rows among the `num` fillings of all examples.  `check`: called before every
    network call of a sampler and every draw of a score.  What either raises ends the work.
    `accepted` of `draws`: what conditions on several holes of one example cost, see `restrict`.
    ValueError for what cannot be: an unknown sampler, no steps, guidance
    without labels, or of a network that did not learn to do without.
    """

    def __init__(
        self,
        model: MaskedDiffusion,
        *,
        steps: int | None = None,
        batch_size: int = 0,
        window: bool = False,
        watch: int = 0,
        told: Callable[[list[int], State], None] | None = None,
        check: Callable[[], None] | None = None,
        seed: int = 0,
        generator: torch.Generator | None = None,
        precision: Any = None,
        progress: bool = False,
        processes: Processes = ALONE,
        **how: Any,
    ):
        if steps is not None and steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        self.sampling = sampling = Sampling(steps=steps or 0, **how)
        sampling.check(watched=True)  # whoever tries all samplers may give steps to all
        sampler_of(model, sampling.sampler)  # an error here, if the model has none such
        self.model = model
        names = ("sampler", "grid", "temperature", "top_p", "draw")
        self.how = {name: getattr(sampling, name) for name in names} | sampling.own()
        self.how |= {"check": check}
        # the law of first_hitting does not depend on the grid; more steps are more states to watch
        unseen = not watch and told is None
        self.steps = steps
        if sampling.sampler == "first_hitting" and unseen:
            self.steps, self.how["grid"] = 1, Sampling.grid
        self.batch_size, self.window, self.watch, self.seed = batch_size, window, watch, seed
        self.told = told
        self.estimator = Bound() if check is None else Watched(before=check)
        self.generator = torch.Generator().manual_seed(seed) if generator is None else generator
        self.precision = nullcontext() if precision is None else precision
        self.progress, self.processes = progress, processes
        self.states: list[State] = []
        self.accepted = self.draws = 0
        self.length: int = model.meta.get("length", 0)  # 0: not known
        self.can_score = model.schedule.num_values == 1

    # ------------------------------------------------------------ fill

    def fill(
        self, examples: Sequence[Partial], *, num: int = 1, score: int = 0
    ) -> list[list[Filled]]:
        """`num` fillings of every example, the best first where they are scored.  `score`: draws of
        masks for the bound of each; 0: none, and in no order.

        The fillings of one example are ranked on masks that they share; what is told of each is
        drawn afresh, since the best of several is the best in part by luck.  Examples without a
        hole come back as they are, once each.  Holes with weights are filled first.
        """
        self.check_weights(examples, score)
        holed = with_holes(examples)
        batches = list(self.batches(examples, num))
        copies = numbered(batches, num)
        seed = int(torch.randint(2**62, (), generator=self.generator))
        cost: list[tuple[int, int]] = []  # of each batch: accepted, draws
        done: list[list[tuple[int, Filled, float]]] = []  # of each batch: example, filling, rank
        mine = self.processes.share(len(batches))
        with self.bar(self.steps_in_all(examples, [batches[own] for own in mine])) as bar:
            for own in mine:
                numbers = batches[own]
                rows = self.rows([examples[i] for i in numbers])
                weights = [weights_of(examples[i]) for i in numbers]
                cost.append(self.restrict(rows, weights, bar, seed, copies[own]))
                if bool(rows.holes.any()):
                    self.fill_rows(rows, bar, seed, copies[own])
                ids = self.tokens(rows.z).numpy()
                rank = nats = noise = torch.full((len(numbers),), math.nan)
                if score:
                    nats, noise = self.score_rows(rows, numbers, score, self.seed)
                    rank = nats
                    if num > 1:  # afresh
                        nats, noise = self.score_rows(rows, numbers, score, self.seed + 1)
                done.append([])
                for row, i in enumerate(numbers):
                    known, role = examples[i].ids, examples[i].role
                    whole = np.where(role == HOLE, ids[row, : len(known)], known)
                    filled = Filled(whole, float(nats[row]), float(noise[row]))
                    done[-1].append((i, filled, float(rank[row])))
        for accepted, draws in self.processes.gather(cost):
            self.accepted, self.draws = self.accepted + accepted, self.draws + draws
        found: list[list[Filled]] = [[] for _ in examples]
        ranks: list[list[float]] = [[] for _ in examples]
        for i, filled, rank in itertools.chain(*self.processes.gather(done)):
            found[i].append(filled)
            ranks[i].append(rank)
        for i in set(range(len(examples))) - set(holed):
            found[i] = [Filled(examples[i].ids, 0.0, 0.0)]
        if score:
            for i in holed:
                found[i] = [found[i][k] for k in np.argsort(ranks[i], kind="stable")]
        return found

    def bar(self, total: int) -> tqdm:
        """Progress over so many steps of the sampler."""
        disable = None if self.progress else True  # None: shown where there is a terminal
        return tqdm(total=total, unit="step", disable=disable, dynamic_ncols=True)

    def steps_in_all(self, examples: Sequence[Partial], batches: Iterable[list[int]]) -> int:
        """How many steps the sampler takes, at most, in all windows of these `batches`."""
        holes = (self.holes_of([examples[i] for i in numbers]) for numbers in batches)
        return sum(map(self.steps_in, holes))

    def steps_in(self, holes: Tensor) -> int:
        """The same for the holes (B, S) of one batch."""
        return sum(self.steps_of(holes[:, at] & fill) for at, fill in self.windows(holes))

    def steps_of(self, now: Tensor) -> int:
        """The same for the holes (B, W) of one window."""
        times = times_of(self.model, self.how["sampler"], self.steps, self.how["grid"])
        if times is not None:
            return len(times) - 1
        return self.model.units().length * int(now.sum(-1).max())

    def tokens(self, z: Tensor) -> Tensor:
        """z (B, S*L) as token ids (B, S); of a token with a masked digit, any id."""
        return self.model.subtokenizer.decode(z.masked_fill(z == self.model.mask_id, 0))

    def batches(self, examples: Sequence[Partial], num: int) -> Iterator[list[int]]:
        """The numbers of the examples that have a hole, `num` times each, in batches: the longest
        first, so that what is padded is of about one length.

        What is filled window by window shares no batch with another example: its windows are where
        its own holes are.
        """
        sizes = {i: len(examples[i].ids) for i in with_holes(examples)}
        longest_first = sorted(sizes, key=lambda i: -sizes[i])
        alone = [i for i in longest_first if self.cut and sizes[i] > self.length]
        together = longest_first[len(alone) :]
        length = self.length or max(sizes.values(), default=1)
        size = rows_at_a_time(self.batch_size, length * self.model.subtokenizer.length)
        if not self.watch:  # what is watched is the first batch
            size = min(size, max(1, -(-len(sizes) * num // self.processes.size)))  # one each
        for some in [*([i] for i in alone), together]:
            numbers = [i for i in some for _ in range(num)]
            for first in range(0, len(numbers), size):
                yield numbers[first : first + size]

    @property
    def cut(self) -> bool:
        """Whether examples that are longer than the model was trained at are cut into windows."""
        return self.window and self.length > 0

    def windows(self, holes: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The `windows` in which the holes (B, S) of these rows are filled: the same for all rows,
        and a single one, unless they are `cut`."""
        return windows(holes.any(0), self.length if self.cut else holes.shape[1])

    def holes_of(self, examples: Sequence[Partial]) -> Tensor:
        """(B, S) bool: `Rows.holes` of these examples, without those that have weights."""
        width = max(len(example.ids) for example in examples)
        holes = np.zeros((len(examples), width), bool)
        for row, example in zip(holes, examples, strict=True):
            row[: len(example.ids)] = example.role == HOLE
            row[list(example.weights or ())] = False
        return torch.from_numpy(holes)

    def rows(self, examples: Sequence[Partial], *, filled: bool = False) -> Rows:
        """Examples as rows of a batch; `filled`: their holes hold values, which are kept."""
        width, digits = max(len(one.ids) for one in examples), self.model.subtokenizer.length
        ids = np.zeros((len(examples), width), np.int64)
        role = np.full((len(examples), width), ABSENT, np.int8)
        for i, example in enumerate(examples):
            ids[i, : len(example.ids)] = example.ids
            role[i, : len(example.ids)] = example.role
        if (role > UNKNOWN).any() or (role < ABSENT).any():
            raise ValueError(
                f"an example has a role that is none: see unmask.roles, 0 to {UNKNOWN}"
            )
        shown = (role == GIVEN) | (filled & (role == HOLE))
        z = self.model.subtokenizer.encode(torch.from_numpy(np.where(shown, ids, 0)))
        masked = torch.from_numpy(~shown).repeat_interleave(digits, 1)
        z = z.masked_fill(masked, self.model.mask_id)
        holes, unknown, valid = (
            torch.from_numpy(part) for part in (role == HOLE, role == UNKNOWN, role != ABSENT)
        )
        return Rows(z, holes, unknown, valid, labels_of(self.model, examples))

    def check_weights(self, examples: Sequence[Partial], score: int) -> None:
        """ValueError for weights that cannot be heeded."""
        some = [example for example in examples if example.weights]
        if not some:
            return
        check_restricted(self.model)
        if score:
            raise ValueError("what satisfies conditions has no score: leave score out")
        for example in some:
            if self.cut and len(example.ids) > self.length:
                raise ValueError("conditions are not for what is filled window by window")
            if any(example.role[at] != HOLE for at in example.weights or ()):
                raise ValueError("weights are of holes, and of no other role")

    def restrict(
        self, rows: Rows, weights: list[Weights], bar: tqdm, seed: int, numbers: list[int]
    ) -> tuple[int, int]:
        """Fill the holes of `rows` that have `weights` (B), in place: the first ones, while what
        else is a hole is hidden.  Returns how many draws of several such holes were accepted, and
        how many there were.

        What is drawn for a row depends on the seed and its one of `numbers`, not on the batch.
        """
        model, cost = self.model, [0, 0]
        if not any(weights):
            return 0, 0
        given = rows.told(model.device)
        guidance = self.weight(given.get("cond"))

        def chance(of: list[int], draws: list[int]) -> OfRows:
            pairs = zip(of, draws, strict=True)
            # a seed that is not that of the other holes
            return OfRows(seed ^ 1, [DRAWS * numbers[row] + draw for row, draw in pairs])

        def told(accepted: int, draws: int) -> None:
            cost[:] = accepted, draws
            bar.set_postfix_str(f"accepted {accepted:,} of {draws:,} draws")

        for several in (False, True):
            of = [i for i, one in enumerate(weights) if one and (len(one) > 1) == several]
            if not of:
                continue
            z, own = rows.z[of].to(model.device), [weights[i] for i in of]
            how: dict[str, Any] = {name: value[of] for name, value in given.items()}
            how["guidance"] = guidance
            with self.precision:
                if several:
                    z = draw_together(
                        model,
                        z,
                        own,
                        chance=lambda of_z, draws, of=of: chance([of[i] for i in of_z], draws),
                        at_a_time=rows_at_a_time(self.batch_size, rows.z.shape[1]),
                        told=told,
                        steps=self.steps,
                        **self.how,
                        **how,
                    )
                else:
                    how |= {"generator": chance(of, [0] * len(of))}
                    how |= {
                        name: self.how[name] for name in ("temperature", "top_p", "draw", "check")
                    }
                    z = draw_one(model, z, own, **how)
            rows.z[of] = z.cpu()
        for row, one in enumerate(weights):
            rows.holes[row, list(one)] = False
        return cost[0], cost[1]

    def fill_rows(self, rows: Rows, bar: tqdm, seed: int, numbers: list[int]) -> None:
        """Fill the holes of `rows` in place, window by window.

        What is drawn for a row depends on the seed and its one of `numbers`, not on the batch.
        """
        digits, device = self.model.subtokenizer.length, self.model.device
        sure = torch.ones(rows.holes.shape, device=device)
        for window, (at, fill) in enumerate(self.windows(rows.holes)):
            part = rows.part(at, digits)
            now = part.holes & fill  # (B, W) the holes that are filled in this window
            given: dict[str, Any] = {**part.told(device)}
            guidance = self.weight(given.get("cond"))
            watching = self.watch > 0 and not self.states
            if watching:
                self.states.append(self.shown(part.z[: self.watch]))
            with self.precision:
                zs = trajectory(
                    self.model,
                    part.z.to(device),
                    steps=self.steps,
                    holes=now.to(device),
                    generator=OfRows(seed, [WINDOWS * i + window for i in numbers]),
                    guidance=guidance,
                    drawn=None if self.told is None else noting(sure[:, at]),
                    **given,
                    **self.how,
                )
                left = self.steps_of(now)
                for z in zs:
                    bar.update()
                    left -= 1
                    if self.told is not None:
                        whole = rows.z.clone()
                        whole[:, at.start * digits : at.stop * digits] = z.cpu()
                        self.told(numbers, self.shown(whole, sure))
                    if watching:
                        self.states.append(self.shown(z[: self.watch].cpu()))
                bar.update(left)  # of a sampler that needed fewer than it may
                x = to_tokens(self.model, z, given.get("valid"), now.to(device)).cpu()
            filled = self.model.subtokenizer.encode(x.clamp(min=0))  # -1 is in no hole
            part.z.copy_(torch.where(now.repeat_interleave(digits, 1), filled, part.z))

    def weight(self, cond: Tensor | None):
        """The weight of guidance as a function of t, or None."""
        if not self.sampling.guidance:
            return None
        if cond is None:
            raise ValueError(
                f"--guidance {self.sampling.guidance:g} strengthens what a class says, and there "
                "is none here: leave it out"
            )
        if not self.model.meta.get("label_dropout"):
            raise ValueError(
                "--guidance needs a network that learned to do without the class, too: train with "
                "--label-dropout above 0"
            )
        share = RAMPS[self.sampling.guidance_schedule]
        return lambda t: self.sampling.guidance * share(t)

    def shown(self, z: Tensor, sure: Tensor | None = None) -> State:
        """z (n, S*L) as it is shown: tokens, and which of them are revealed whole."""
        digits = z.unflatten(1, (-1, self.model.subtokenizer.length))
        shown = (digits != self.model.mask_id).all(-1)
        ids = self.model.subtokenizer.decode(digits.masked_fill(~shown[..., None], 0).flatten(1))
        if sure is not None:
            return State(ids.numpy(), shown.numpy(), sure.cpu().numpy().copy())
        return State(ids.numpy(), shown.numpy())

    # ------------------------------------------------------------ scores and laws

    def score(self, examples: Sequence[Partial], *, draws: int) -> list[Filled]:
        """Whole examples, their holes filled already: what the values in there cost, given the
        rest.

        On the masks on which `fill` scores what it tells of several fillings of these examples, so
        that the scores compare.
        """
        found = [Filled(example.ids, 0.0, 0.0) for example in examples]
        for numbers in self.batches(examples, 1):
            rows = self.rows([examples[i] for i in numbers], filled=True)
            nats, noise = self.score_rows(rows, numbers, draws, self.seed + 1)
            for row, i in enumerate(numbers):
                found[i] = Filled(examples[i].ids, float(nats[row]), float(noise[row]))
        return found

    def score_rows(
        self, rows: Rows, numbers: list[int], draws: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """(B,) nats of what is in the holes, window by window as it is filled in, and their noise.

        Rows of one example, by its number in `numbers` (B,), share masks.
        """
        nats, variance = torch.zeros(2, len(numbers), dtype=torch.float64)
        left = rows.holes.clone()  # holes of windows still to come: then unknown
        for window, (at, fill) in enumerate(self.windows(rows.holes)):
            part = rows.part(at, self.model.subtokenizer.length)
            now = part.holes & fill
            left[:, at] &= ~now
            own = [masks_of(i, window) for i in numbers]
            given: dict[str, Any] = part.told() | {"unknown": left[:, at] | part.unknown}
            given |= {"repeats": draws, "seed": seed, "examples": own}
            given |= {"estimator": self.estimator}
            with self.precision:
                more, noise = conditional_nats(self.model, self.tokens(part.z), now, **given)
            nats, variance = nats + more, variance + noise**2
        return nats, variance.sqrt()

    @torch.no_grad()
    def laws(self, examples: Sequence[Partial]) -> Iterator[tuple[int, int, np.ndarray]]:
        """(example, position, (V,) probabilities by token) of each hole, given what its example
        gives and no other hole: one network call a batch.

        ValueError for a schedule with one curve per value.
        """
        model = self.model
        if model.schedule.num_values > 1:
            raise ValueError(
                "with a learned schedule, being masked at t says something about a value, and "
                "being missing does not: draw values instead of guessing them"
            )
        with evaluating(model):
            for numbers in self.batches(examples, 1):
                rows = self.rows([examples[i] for i in numbers])
                with self.precision:
                    for row, position, p in self.laws_of(rows):
                        yield numbers[row], position, p

    def laws_of(self, rows: Rows) -> Iterator[tuple[int, int, np.ndarray]]:
        """(row, position, (V,) probabilities by token) of each hole."""
        model, device = self.model, self.model.device
        z = rows.z.to(device)
        # the time that fits the share of what is hidden, as in sampling
        share = (rows.holes | rows.unknown).sum(1) / rows.valid.sum(1).clamp(min=1).double()
        t = model.schedule.inverse(1 - share.to(device))
        hidden, head = model.hidden(z, t, **rows.told(device))
        digits = z.unflatten(1, (-1, model.subtokenizer.length))
        row, position = rows.holes.to(device).nonzero(as_tuple=True)
        for part in chunks(len(row), model.subtokenizer.vocab_size, device):
            at = row[part], position[part]
            groups = model.open_groups(z, *at)
            logp = model.log_probs(head(hidden[at]), digits[at], position[part], groups)
            if model.codes is not None:
                logp = logp[:, model.codes]
            law = logp.double().exp().cpu().numpy()
            yield from zip(row[part].tolist(), position[part].tolist(), law, strict=True)


@dataclass(frozen=True)
class Watched(Bound):
    """`Bound`, with somebody who may end it before a draw."""

    before: Callable[[], None] = field(kw_only=True)

    def draw(self, model: MaskedDiffusion, batch: Batch, uniforms: Uniforms) -> Paid:
        self.before()
        return super().draw(model, batch, uniforms)


def fill(
    model: MaskedDiffusion, examples: Sequence[Partial], *, num: int = 1, score: int = 0, **how
) -> list[list[Filled]]:
    """`num` fillings of every example; `how`: of `Filler`, such as sampler, steps, generator."""
    return Filler(model, **how).fill(examples, num=num, score=score)


def noting(sure: Tensor) -> Drawn:
    """Keeps in `sure` (B, S) how probable what was drawn was."""

    def drawn(rows: Tensor, positions: Tensor, probability: Tensor) -> None:
        sure[rows, positions] = probability.to(sure)

    return drawn


def weights_of(example: Partial) -> Weights:
    """Those of an example, for a sampler."""
    return {at: torch.from_numpy(of) for at, of in (example.weights or {}).items()}
