"""The interface of a kind of data: what a folder in here offers to the verbs.

It implements none of them.  A kind reads, writes and shows; it imports no model, sampler, trainer
or command line.  No torch here, since `unmask VERB --help` reads the kinds' flags.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

from unmask.config import Preset
from unmask.documents import malformed
from unmask.kinds.output import check_out
from unmask.kinds.quality import Quality
from unmask.kinds.recipe import Recipe
from unmask.kinds.traits import Traits
from unmask.kinds.view import Line, Piece, View, Words
from unmask.markup import escaped
from unmask.roles import HOLE

if TYPE_CHECKING:
    import numpy as np


class Layout(NamedTuple):
    """What a network has to know of positions."""

    shape: tuple[int, int, int] | None = None  # height, width, channels
    # positions without an order, such as columns, each a place of its own; 0: they are ordered
    places: int = 0
    ends: bool = False  # the two ends of a sequence are told apart from its other positions
    allowed: np.ndarray | None = None  # (S, V) bool: the values that a position can have
    # (S,) the position that each is linked with, or -1, and (V,) the group of each value: linked
    # positions, which tell of one thing, have values of one group
    links: tuple[np.ndarray, np.ndarray] | None = None
    traits: Traits | None = None  # what is known of values


class Partial(NamedTuple):
    """An example, some of it to be filled in; to sample: all of it."""

    ids: np.ndarray  # (S,) tokens; anything where nothing is given
    role: np.ndarray  # (S,) of the four of `unmask.roles`
    label: int | None = None
    # conditions on what is filled in, heeded by `Filler.fill` alone: by the position of a hole,
    # (V,) how probable it is of each value to satisfy them; such holes are filled first
    weights: Mapping[int, np.ndarray] | None = None


class Filled(NamedTuple):
    """An example that was filled in, and what that cost; NaN if not asked."""

    ids: np.ndarray  # (S,)
    nats: float  # an upper bound on -log p(what was filled in | what was given)
    noise: float  # of the masks, in `nats`


class Adopted(NamedTuple):
    """How a vocabulary from elsewhere spells the tokens of a kind."""

    tokenizer: Any  # of the kind
    rows: np.ndarray  # (V,) the number there of each token here; -1 for one that is not there


class State(NamedTuple):
    """Examples on the way from masked to revealed."""

    ids: np.ndarray  # (n, S)
    shown: np.ndarray  # (n, S) bool
    # (n, S) how probable each value was when it was drawn, if that is asked for
    sure: np.ndarray | None = None


class Filler(Protocol):
    """A model with a sampler, the one thing that fills; a kind never sees a model."""

    length: int  # at which the model was trained
    can_score: bool  # whether fillings can be scored

    def fill(
        self, examples: Sequence[Partial], *, num: int = 1, score: int = 0
    ) -> list[list[Filled]]: ...

    def score(self, examples: Sequence[Partial], *, draws: int) -> list[Filled]: ...

    def laws(self, examples: Sequence[Partial]) -> Iterator[tuple[int, int, np.ndarray]]: ...


class Listed(NamedTuple):
    """An example of a file, to be scored."""

    name: str  # what it is called there
    place: str  # file, and line or record, for messages
    at: int  # the number of its line or record
    # HOLE: a value, which is to be paid for; GIVEN: a value; UNKNOWN or ABSENT: none is known
    example: Partial


class Packed(NamedTuple):
    """A file as examples that a model codes, and what these do not tell."""

    examples: Sequence[np.ndarray]  # (S,) tokens each, of which all are known
    raw: bytes  # what comes back, as other compressors are given it
    beside: bytes = b""  # what they do not, for `Kind.unpack`
    # in words: what is kept beside them, and what of the file is not kept
    notes: Sequence[str] = ()
    sizes: Mapping[str, int] = {}  # bytes of the same in formats for such data, by name


class Source(ABC):
    """A file with holes: examples of it, and the way back, to where they stood."""

    examples: list[Partial]
    reads: Sequence[str | Path] = ()  # other files that it is of; "": none
    writes: Sequence[str | Path] = ()  # where --out does not name all files that are written

    @abstractmethod
    def fill(self, filler: Filler) -> dict:
        """Have the holes filled and write the result, in the file's own format.

        Returns what is to be recorded.
        """


@dataclass(frozen=True, kw_only=True)
class NoFlags:
    """A kind without flags of its own."""


class Kind(ABC):
    """Of one prepared folder, or of the data that a model was trained on."""

    name: ClassVar[str]  # in meta.json
    what: ClassVar[str]  # an example, in words
    about: ClassVar[str]  # what it is prepared from, in a sentence
    source: ClassVar[str]  # what SRC of `unmask prepare NAME SRC OUT` may be
    # a dataclass, keywords only: the flags of `prepare` that are this kind's own
    Prepare: ClassVar[type]
    keys: ClassVar[tuple[str, ...]]  # what meta.json needs to have
    tokens: ClassVar[tuple[str, ...]]  # names of the specs of its tokens
    Read: ClassVar[type]  # a dataclass: the flags of `fill` that are this kind's own
    List: ClassVar[type] = NoFlags  # a dataclass: the flags of `score` that are its own
    Judge: ClassVar[type] = NoFlags  # a dataclass: the flags of `quality` that are its own
    # why `quality` does not judge samples, and what does; "": it does
    not_judged: ClassVar[str] = "no figures of such samples are known here"
    # whether `quality` gives examples as texts, which another model may judge
    spelled: ClassVar[bool] = False
    # whether a report fills in around words, see `worded`
    has_words: ClassVar[bool] = False
    # the unmasking, step by step: .html of `pages` (then also .svg and .gif), .gif of `animate`,
    # or none
    frames: ClassVar[str] = ".html"
    title: ClassVar[str] = "A sample"  # of a page that shows one
    # samples of a report: so many appear together, step by step, of so many in all
    on_a_page: ClassVar[tuple[int, int]] = (1, 4)
    formats: ClassVar[tuple[int, ...]] = (1,)  # of meta.json, that are read
    presets: ClassVar[dict[str, Preset]] = {}  # configurations for such data
    protocols: ClassVar[Mapping[str, Recipe]] = {}  # how such data are evaluated, by name
    unit: ClassVar[str] = "token"
    fixed: ClassVar[bool] = False  # every example has as many positions
    no_labels: ClassVar[str] = ""  # why examples have no classes; "": they may have some

    def __init__(self, meta: dict, folder: Path):
        self.meta, self.folder = meta, folder

    @classmethod
    def demos(cls) -> list[type]:
        """Of `kinds.demo.Demo`: demonstrations on bundled data."""
        return []

    @classmethod
    @abstractmethod
    def prepare(cls, args: Any) -> tuple[dict, list[str]]:
        """From `args.source` write the folder `args.out`, whole or not at all.

        Returns what meta.json holds, and lines that say what was made.
        """

    @classmethod
    @abstractmethod
    def open(cls, folder: Path, meta: dict, *, labels: bool) -> Any:
        """The `Data` of a folder whose meta.json is `meta`.

        ValueError for labels where there are none.
        """

    @classmethod
    @abstractmethod
    def load_tokens(cls, spec: dict, folder: Path) -> Any:
        """What turns tokens into what they stand for, and back."""

    @cached_property
    def tokenizer(self) -> Any:
        with damaged_spec(self.folder):
            return self.load_tokens(self.meta["tokenizer"], self.folder)

    def read_tokens(self) -> Self:
        """This kind, its tokenizer read: the folder is not needed from then on."""
        _ = self.tokenizer
        return self

    @property
    def layout(self) -> Layout:
        return Layout()

    def follow(self, name: str, source: Path, out: Path) -> None:
        """From a source, as it was downloaded, write the folder `out` as the protocol of this name
        says, with the tokens of these data.

        meta.json then has "protocol".  ValueError for a source or tokens that do not do.
        """
        raise NotImplementedError

    @abstractmethod
    def read(self, path: Path, args: Any, length: int) -> Source:
        """A file with holes; what comes by standard input is a file here, named `files.STREAM`.

        ValueError for what cannot be filled, `length` being that of the model.
        """

    def listed(self, path: Path, args: Any, *, marks: bool = False) -> list[Listed]:
        """The examples of a file, to be scored one by one.

        All that is known of an example is a hole, since its values are what is paid for; what
        `fill` reads as a hole is unknown.  `marks`: the file only says where such marks stand, so
        that what may be a fact, such as an empty cell, is one, too.
        ValueError for a file without examples, and for one without a value.
        """
        raise ValueError(f"{self.what} is scored with others: use unmask eval")

    def pack(self, path: Path) -> Packed:
        """A file as examples, from which `unpack` makes it again: a text byte for byte, and of
        others what is said.

        ValueError for a file with anything that could not be.
        """
        raise ValueError(f"{self.what} is not compressed: its kind has no way back to a file")

    def check_unpacked(self, out: str) -> None:
        """ValueError for an `out` that `unpack` cannot write, before the work."""
        check_out(out)

    def unpack(self, rows: list[np.ndarray], beside: bytes, out: str) -> None:
        """Write what `pack` made examples of.  ValueError for what it did not make."""
        raise NotImplementedError

    @abstractmethod
    def write(self, rows: list[np.ndarray], args: Any) -> dict:
        """Write samples, as `args.out` says.  Returns what is to be recorded."""

    def check(self, args: Any) -> None:
        """ValueError for an `args.out` that samples cannot be written to, before the work."""
        check_out(args.out)

    def blank(self, length: int, where: Sequence[str]) -> Partial:
        """An example of which nothing is known but the conditions of `sample --where`.

        ValueError for conditions that cannot be.
        """
        if where:
            raise ValueError(f"--where is not for {self.what}: leave it out")
        return blank(length)

    @classmethod
    def adopt(cls, entries: dict[str, int], file: Path) -> Adopted | None:
        """The tokens of this kind in a vocabulary from elsewhere; None where it is of another kind.

        entries: the number of each of its entries, the marks left out.  file: a tokenizer's .json,
        or a list of the entries, which it is from.
        """
        return None

    @classmethod
    def tokens_named(cls, name: str) -> Any:
        """The tokens that `prepare` calls so, or those of a JSON, which begins with a brace; None
        where it names none."""
        return None

    def differs(self, other: Kind, path: Path) -> str:
        """Why a model of these data, at `path`, cannot do with those of `other`; "" if it can."""
        if self.name == other.name and self.meta["tokenizer"] == other.meta["tokenizer"]:
            return ""
        return f"has {other.describe()}, and the model was trained on {self.describe()}"

    @abstractmethod
    def describe(self) -> str:
        """What the data are, in words."""

    @property
    def meanings(self) -> Sequence[str]:
        """(V,) how each value is written: by that it is the same in other data of this kind."""
        return [self.tokenizer.spell(i) for i in range(self.tokenizer.vocab_size)]

    @property
    def columns(self) -> Sequence[str]:
        """What examples tell of, in the order of their positions, where that has names."""
        return ()

    @property
    def column_of(self) -> Sequence[int]:
        """Which of `columns` each position is of."""
        return range(len(self.columns))

    @property
    def place_names(self) -> Sequence[str]:
        """Names of all positions, where they have some."""
        return self.columns

    def piece(self, i: int) -> str:
        """One token, as it stands in an example."""
        return self.tokenizer.decode([i])

    @property
    def words(self) -> Words:
        """How a report calls what it shows."""
        return Words(part=self.unit)

    def views(self, rows: Sequence[np.ndarray], shown: Sequence[np.ndarray]) -> list[View]:
        """Examples (S,) as a page shows them; `shown` (S,) bool: what is known of each."""
        found: list[View] = []
        for example, (ids, seen) in enumerate(zip(rows, shown, strict=True)):
            tokens = enumerate(zip(ids.tolist(), seen, strict=True))
            pieces = [Piece(self.piece(i) if known else "", (at,)) for at, (i, known) in tokens]
            found.append(Line(example, pieces))
        return found

    def hidden(self, ids: np.ndarray) -> np.ndarray:
        """(S,) bool: what a report hides of an example, to show how that is filled in."""
        import numpy as np

        at, size = np.arange(len(ids)), len(ids)
        return (at >= size // 3) & (at < size - size // 3)

    def worded(self, words: Sequence[str], ids: np.ndarray | None, length: int) -> Partial:
        """An example of so many tokens, three words of which are given: at its start, in its middle
        and at its end; if all are empty, those of an example (S,).

        ValueError for words that cannot be given.
        """
        raise NotImplementedError

    def pages(self, states: list[State]) -> list[list[str | None]]:
        """The first example of every state as one string a token, None where it is hidden."""
        found: list[list[str | None]] = []
        for state in states:
            tokens = zip(state.ids[0], state.shown[0], strict=True)
            found.append([self.piece(int(i)) if seen else None for i, seen in tokens])
        return found

    def texts(self, rows: Sequence[np.ndarray]) -> list[str]:
        """Examples, a string each."""
        return [self.tokenizer.decode(row) for row in rows]

    def html(self, rows: Sequence[np.ndarray]) -> str:
        """Examples, for a notebook."""
        return "".join(f"<pre>\n{escaped(text)}</pre>" for text in self.texts(rows))

    def quality(self, data: Any, path: Path, args: Any) -> Quality:
        """Figures of the samples in a file or folder, beside those of real examples in `data`.

        ValueError for what holds no such samples.
        """
        raise NotImplementedError

    def animate(self, path: Path, states: list[State]) -> None:
        """Write the states as a moving picture."""
        raise NotImplementedError

    def editor(self, length: int) -> Any:
        """A `kinds.editor.Editor` of its own, for a page; None: the one of any kind.

        `length`: that of the model.
        """
        return None


def blank(length: int) -> Partial:
    """Positions of which nothing is known."""
    import numpy as np

    return Partial(np.zeros(length, np.int64), np.full(length, HOLE, np.int8))


def damaged_spec(folder: Path) -> AbstractContextManager:
    """While the spec of tokens in a folder is read: ValueError if it is malformed."""
    return malformed(f"what {folder} says of its tokens", "restore it from a copy")


def flag_names(flags: type) -> set[str]:
    return {field.name for field in fields(flags)}


def own_flags(flags: type, args: Any) -> dict[str, Any]:
    """The values in `args` of the flags that are a kind's own, by name."""
    return {name: getattr(args, name) for name in flag_names(flags)}


def hole_size(mark: str, number: str | None, most: int, unit: str, place: str) -> int:
    """What `number` says of a hole, `mark`; none: one.  ValueError if nobody can mean that."""
    number = (number or "1").lstrip("0") or "0"
    size = most + 1
    if len(number) <= len(str(most)):  # Python reads no number of thousands of digits
        size = int(number)
    if 1 <= size <= most:
        return size
    shown = mark if len(mark) <= 40 else f"{mark[:36]}...]"
    raise ValueError(f"{place}: {shown} is no hole of 1 to {most:,} {unit}s: give such a number")


def too_long(place: str, size: int, unit: str, length: int) -> ValueError:
    """An example that is longer than the model's length."""
    return ValueError(
        f"{place} has {size} {unit}s and the model was trained at {length}: "
        "shorten it, or have it done window by window with --window"
    )
