"""What a page needs of a kind of data, to edit an example with holes and to show it filled.

The page edits a file as `unmask fill` takes it, so what is asked for there is what a command does.
This editor is of any kind: the file is a text, and a position is shown as `Kind.piece`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from unmask.roles import GIVEN, HOLE

if TYPE_CHECKING:
    import numpy as np

    from unmask.kinds.kind import Filled, Kind, Partial, Source

MOST_ODDS = 8  # values of a hole that are listed


def in_all(numbers: Iterable[str]) -> int:
    """The sum of what holes say of their sizes, which may be of thousands of digits; none: one."""
    return sum(int(number.lstrip("0")[:12] or 0) if number else 1 for number in numbers)


class Cell(NamedTuple):
    """What stands at some positions, one after the other, of an example."""

    text: str  # "" in a hole
    size: int  # positions
    hole: bool


class Text(NamedTuple):
    """What stands in a filled file where it is not what the positions say by themselves."""

    copy: int  # which filling
    example: int
    position: int  # the first one
    size: int  # positions
    text: str


class Editor:
    """Of data of a kind, with a model that was trained at `length`."""

    name: ClassVar[str] = "plain"  # of what the page shows
    file: ClassVar[str] = "holes.txt"  # a file with holes
    takes: ClassVar[str] = ".txt"  # files that can be loaded into it, by their ends
    form: ClassVar[dict] = {"content": str}  # what the page says, see `documents`

    def __init__(self, kind: Kind, length: int):
        self.kind, self.length = kind, length

    @property
    def unit(self) -> str:
        """What a position is called."""
        return self.kind.unit

    def start(self) -> dict:
        """What the page begins with, of this `form`."""
        return {"content": ""}

    def facts(self) -> dict:
        """What else the page has to know."""
        return {}

    def file_of(self, said: dict) -> bytes:
        """The file with holes that the page says.  ValueError for what it cannot say."""
        return said["content"].encode()

    def marked(self, content: str) -> int:
        """How many positions the holes of such a file say that they have, before any is made."""
        return 0

    def flags(self, said: dict) -> dict[str, str]:
        """What the page says beside it: values of `Kind.Read`."""
        return {}

    def loaded(self, path: Path) -> dict:
        """A file of the user's, as the page would say it.  ValueError for what is none."""
        from unmask.kinds.encodings import decode_text
        from unmask.kinds.sources import foreign, what_is

        raw = path.read_bytes()
        if what := what_is(raw):
            raise foreign(path.name, what)
        return {"content": decode_text(raw, path.name)}

    def board(self, source: Source) -> dict:
        """What is to be drawn before anything is filled in: cells of each example, in order."""
        return {"examples": [self.cells(example) for example in source.examples]}

    def cells(self, example: Partial) -> list[Cell]:
        """A cell a position."""
        pairs = zip(example.ids.tolist(), example.role.tolist(), strict=True)
        return [Cell(self.piece(i) if role == GIVEN else "", 1, role == HOLE) for i, role in pairs]

    def piece(self, i: int) -> str:
        """What a token, drawn for a position, is shown as."""
        return self.kind.piece(i)

    def texts(self, source: Source | None, found: list[list[Filled]], seed: int) -> list[Text]:
        """Of the fillings of every example what is known only once they are whole.

        Without a source: of samples, each the only filling of an example.
        """
        return []

    def odds(self, position: int, law: np.ndarray) -> list[tuple[str, float]]:
        """The likeliest values of a position, given their law (V,)."""
        best = (-law).argsort(kind="stable")[:MOST_ODDS].tolist()
        return [(self.piece(i), float(law[i])) for i in best if law[i] > 0]


def editor_of(kind: Kind, length: int) -> Editor:
    """The kind's own, or that of any kind."""
    return kind.editor(length) or Editor(kind, length)
