"""The states of one sample, a string per position, and where their characters stand."""

import unicodedata
from typing import NamedTuple

# "" or None where a position is masked
Frames = list[list[str | None]]


class Cell(NamedTuple):
    """Where a character of a finished text stands; wide ones, as of Chinese, take two columns."""

    position: int
    x: int
    y: int
    char: str


def checked(frames: Frames) -> Frames:
    """The same.  ValueError for none, or such of different lengths."""
    if not frames or not frames[0]:
        raise ValueError("there are no frames to draw, or they have no positions")
    size = len(frames[0])
    for i, frame in enumerate(frames):
        if len(frame) != size:
            raise ValueError(f"frame {i} has {len(frame)} positions, but frame 0 has {size}")
    return frames


def laid_out(frame: list[str | None], columns: int) -> list[Cell]:
    """The characters of a finished text in lines of so many columns."""
    cells, x, y = [], 0, 0
    for i, text in enumerate(frame):
        for char in text or "\ufffd":
            size = width(char)
            if x + size > columns and char != "\n":
                x, y = 0, y + 1
            if char == "\n":
                x, y = 0, y + 1
                continue
            cells.append(Cell(i, x, y, drawn(char)))
            x += size
    return cells


def drawn(char: str) -> str:
    """A character as a font has it: what is blank as a blank of its width, what has no shape as the
    sign for that."""
    if char.isspace():
        return "\u3000" if width(char) == 2 else " "
    return char if char.isprintable() else "\ufffd"


def width(char: str) -> int:
    """In columns."""
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
