"""What a page asks for, held against what there is and may be; and what is done for it."""

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from unmask.config import TIMED
from unmask.documents import misfit, whole, without_infinities
from unmask.filling import Filler
from unmask.kinds.kind import Filled, Partial, Source, State
from unmask.labels import check_unlabelled, label_of, labels_of
from unmask.roles import HOLE
from unmask.rows import check_known, given
from unmask.sampling import STEPS
from unmask.serve.command import command
from unmask.serve.models import Served
from unmask.serve.settings import SETTINGS, Settings
from unmask.serve.work import Task

DRAWS = 32  # of masks, for a score
FRAMES = 30  # a second, at most
HIDDEN = -1  # in the place of a token
ODDS = 2**24  # values of holes whose probabilities are looked at


class Limits(NamedTuple):
    """Of one request."""

    steps: int = 1024
    num: int = 16  # fillings, or samples
    positions: int = 2**17  # of all fillings together
    seconds: float = 120.0


class Ask:
    """A request to fill in what the page edits or, where it says a `length` instead, to sample.

    said: {"model", "settings", and "edit" or "length"}.  ValueError for what cannot be.
    """

    def __init__(self, models: list[Served], said: Any, limits: Limits):
        self.limits = limits
        self.served = chosen(models, said)
        fit({"settings": SETTINGS, "edit?": dict, "length?": whole(1), "label?": str}, said)
        unknown = sorted(set(said["settings"]) - set(SETTINGS))
        if unknown:
            raise ValueError(f"settings.{unknown[0][:40]} is none of {', '.join(SETTINGS)}")
        for name, most in (("steps", limits.steps), ("num", limits.num)):
            if said["settings"][name] > most:
                raise ValueError(f"{name} is at most {most} here, not {said['settings'][name]}")
        self.settings = settings = Settings.of(said["settings"])
        sampling = settings.sampling
        steps = sampling.steps or STEPS
        timed = sampling.sampler in TIMED and sampling.sampler != "first_hitting"
        if timed and steps > limits.steps:
            raise ValueError(
                f"steps is {STEPS} where none is given, and at most {limits.steps} here: "
                "give a number"
            )
        corrections = steps * sampling.corrections
        if "corrections" in sampling.own() and corrections > limits.steps:
            raise ValueError(
                f"steps times corrections is at most {limits.steps} here, not {corrections}"
            )
        if ("edit" in said) == ("length" in said):
            raise ValueError("say either what to fill in (edit) or how long samples are (length)")
        self.source: Source | None = None
        self.content, self.flags, self.label = b"", {}, said.get("label", "")
        if "edit" in said:
            found = opened(self.served, said["edit"], limits, settings)
            self.source, self.content, self.flags = found
            check_given(self.served, self.source)
            self.examples, self.num = self.source.examples, settings.num
        else:
            self.examples, self.num = self.blanks(said["length"]), 1
        # a text that is longer than the model was trained at is filled window by window
        self.window = any(len(one.ids) > self.served.length for one in self.examples)
        check_positions(sum(len(one.ids) for one in self.examples) * self.num, limits)
        self.command = command(
            self.served,
            settings,
            self.content,
            self.flags,
            said.get("length", 0),
            self.label,
            window=self.window,
        )

    def blanks(self, length: int) -> list[Partial]:
        """Examples of which nothing is known, as `unmask sample` begins with."""
        trained, kind, num = self.served.length, self.served.kind, self.settings.num
        if length > trained or (kind.fixed and length != trained):
            raise ValueError(f"the model was trained at {trained} {kind.unit}s, not {length}")
        blank = kind.blank(length, ())
        labels = labels_of(self.label, num, self.served.model) or [None] * num
        return [blank._replace(label=one) for one in labels]

    def place(self, number: int) -> tuple[int, int]:
        """Which filling, and of which example, the row with this number is.

        Samples are fillings of one example.
        """
        if self.source is None:
            return number, 0
        return number % self.num, number // self.num

    def run(self, task: Task) -> None:
        """Fill, and say every step, what was filled in, and what it costs."""
        began, served, settings = time.monotonic(), self.served, self.settings
        live = Live(self, task, began + self.limits.seconds)
        filler = Filler(
            served.model,
            **settings.sampling.how(),
            seed=settings.seed,
            precision=served.precision,
            window=self.window,
            told=live.told,
            check=live.in_time,
        )
        board = served.editor.board(self.source) if self.source is not None else None
        steps = filler.steps_in_all(self.examples, filler.batches(self.examples, self.num))
        shown = {"board": board, "steps": steps, "num": settings.num, "command": self.command}
        task.say({"begin": shown | {"length": len(self.examples[0].ids)}})
        found = filler.fill(self.examples, num=self.num)
        live.flush()
        task.say({"filled": served.editor.texts(self.source, found, settings.seed)})
        if settings.score and filler.can_score:
            for line in self.scores(filler, found):
                task.say(without_infinities(line))
        task.say({"done": round(time.monotonic() - began, 2)})

    def scores(self, filler: Filler, found: list[list[Filled]]) -> Iterator[dict]:
        """Of each filling, what its examples cost: nats, their noise, how many values."""
        holes = [int((one.role == HOLE).sum()) for one in self.examples]
        if self.source is None:
            copies = [[(i, one)] for i, (one,) in enumerate(found)]
        else:
            copies = [
                [(i, row[min(k, len(row) - 1)]) for i, row in enumerate(found)]
                for k in range(self.num)
            ]
        for k, copy in enumerate(copies):
            whole = [self.examples[i]._replace(ids=one.ids) for i, one in copy]
            told = filler.score(whole, draws=DRAWS)
            of = [[one.nats, one.noise, holes[i]] for (i, _), one in zip(copy, told, strict=True)]
            yield {"score": k, "of": of}


class Live:
    """Says what is revealed, as it is: what changed since it was last said, and not too often."""

    def __init__(self, ask: Ask, task: Task, until: float):
        self.ask, self.task, self.until = ask, task, until
        self.step, self.said_at = 0, -math.inf
        self.pending: tuple[list[int], State] | None = None
        # of each row: (S,) what was said to be there, as `now` says it, and how probable it was
        self.seen: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.pieces: dict[int, str] = {}

    def in_time(self) -> None:
        check_time(self.task, self.until, self.ask.limits)

    def told(self, numbers: list[int], state: State) -> None:
        """Called by the filler with every state."""
        self.in_time()
        self.step += 1
        if self.pending is not None and self.pending[0] is not numbers:
            self.flush()
        self.pending = numbers, state
        if time.monotonic() - self.said_at >= 1 / FRAMES:
            self.flush()

    def flush(self) -> None:
        """Say what has not been said."""
        if self.pending is None:
            return
        numbers, state = self.pending
        self.pending, new = None, []
        assert state.sure is not None
        for row, number in enumerate(numbers):
            copy, example = self.ask.place(number)
            role = self.ask.examples[number // self.ask.num].role
            size = len(role)
            now = np.where(state.shown[row, :size], state.ids[row, :size], HIDDEN)
            sure = np.where(now == HIDDEN, 0.0, state.sure[row, :size])
            seen, before = self.seen.get(number, (np.full(size, HIDDEN), np.zeros(size)))
            self.seen[number] = now, sure
            fresh = np.flatnonzero(((now != seen) | (sure != before)) & (role == HOLE))
            if not len(fresh):
                continue
            texts = [None if i == HIDDEN else self.piece(int(i)) for i in now[fresh]]
            shades = [round(p, 3) for p in sure[fresh].tolist()]
            new.append([copy, example, fresh.tolist(), texts, shades])
        self.said_at = time.monotonic()
        self.task.say({"step": self.step, "new": new})

    def piece(self, i: int) -> str:
        if i not in self.pieces:
            self.pieces[i] = self.ask.served.editor.piece(i)
        return self.pieces[i]


def chosen(models: list[Served], said: Any) -> Served:
    """The model that a request names, by its number."""
    fit({"model": whole(0)}, said)
    if said["model"] >= len(models):
        raise ValueError(f"there is no model {said['model']}: there are {len(models)}, from 0 on")
    return models[said["model"]]


def fit(form: Any, said: Any) -> None:
    """ValueError for a request that is not of this form."""
    if wrong := misfit(said, form):
        raise ValueError(f"the request does not fit: {wrong}")


def opened(
    served: Served, edit: dict, limits: Limits, settings: Settings | None = None
) -> tuple[Source, bytes, dict[str, str]]:
    """What the page edits as `unmask fill` reads it; the file's content; flags beside it.

    ValueError for more positions than the limit, before anything is made of that size.
    """
    fit(served.editor.form, edit)
    content, flags = served.editor.file_of(edit), served.editor.flags(edit)
    window = not served.kind.fixed
    if window:
        check_positions(served.editor.marked(content.decode(errors="replace")), limits)
    own: dict[str, Any] = {one.name: one.default for one in fields(served.kind.Read)}
    own |= flags
    if "label" in own:
        own["label"] = label_of(own["label"], served.model)
    num, seed = (settings.num, settings.seed) if settings else (1, 0)

    def read(path: Path) -> Source:
        out = str(path.with_name(f"filled{path.suffix}"))  # not written to
        args = SimpleNamespace(out=out, num=num, seed=seed, window=window, **own)
        return served.kind.read(path, args, served.length)

    source = in_a_file(served.editor.file, content, read)
    if window:
        check_positions(sum(len(one.ids) for one in source.examples), limits)
    return source, content, flags


def check_given(served: Served, source: Source) -> None:
    """ValueError for a value that the network does not know, and for a class that it has to."""
    if all(one.label is None for one in source.examples):
        check_unlabelled(served.model, "choose its class")
    shown = given(source.examples, served.length, served.editor.file)
    check_known(served.model, served.kind.tokenizer, shown)


def check_positions(positions: int, limits: Limits) -> None:
    """ValueError for more, of all fillings together, than one request may have."""
    if positions > limits.positions:
        raise ValueError(
            f"all fillings together have {positions:,} positions, and at most "
            f"{limits.positions:,} are filled at a time here: ask for fewer"
        )


def check_time(task: Task, until: float, limits: Limits) -> None:
    """Raises Stopped if nobody waits, and ValueError if it takes too long."""
    task.check()
    if time.monotonic() > until:
        raise ValueError(
            f"this takes more than {limits.seconds:g} seconds, and was stopped: ask for fewer "
            "steps, fillings or holes"
        )


def in_a_file(name: str, content: bytes, read: Callable[[Path], Any]) -> Any:
    """What `read` makes of a file of this name and content, which is not kept."""
    with tempfile.TemporaryDirectory(prefix="unmask-") as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        try:
            return read(path)
        except ValueError as error:
            raise ValueError(str(error).replace(f"{folder}/", "")) from None


def odds(served: Served, source: Source, task: Task, limits: Limits) -> None:
    """Say the likeliest values of each hole, given what is there and no other hole."""
    until = time.monotonic() + limits.seconds
    check_given(served, source)
    longest = max(len(one.ids) for one in source.examples)
    if longest > served.length:
        raise ValueError(
            f"what is likely in a hole is told of {served.length} {served.kind.unit}s at most, and "
            f"here are {longest}: shorten the text, or fill it in"
        )
    holes = sum(int((one.role == HOLE).sum()) for one in source.examples)
    values = served.model.subtokenizer.vocab_size
    if holes * values > ODDS:
        raise ValueError(
            f"{holes:,} holes of {values:,} values are too many to list their probabilities: "
            "leave fewer"
        )
    filler = Filler(served.model, precision=served.precision)
    found = []
    for example, position, law in filler.laws(source.examples):
        check_time(task, until, limits)  # so before the next call of the network
        listed = served.editor.odds(position, law)
        if listed:
            found.append([example, position, [[text, round(p, 4)] for text, p in listed]])
    task.say({"odds": found})
