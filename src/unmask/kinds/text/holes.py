"""Texts with holes: `[MASK]` is one token to fill in, `[MASK:20]` twenty.

`\\[MASK]` stands for the letters themselves.
"""

import itertools
import re
from typing import NamedTuple

import numpy as np

from unmask.kinds.kind import Partial, hole_size
from unmask.roles import GIVEN, HOLE

MARK = re.compile(r"(\\?)\[MASK(?::(\d+))?\]")
LONGEST_HOLE = 10_000_000  # tokens


class Spelled(NamedTuple):
    """Given text, or holes side by side with what was filled in."""

    text: str
    hole: bool
    first: int  # token
    size: int  # tokens


def parse_holes(text: str) -> list[str | int]:
    """As `parse_pieces`; ValueError if there is no hole."""
    pieces = parse_pieces(text)
    if not any(isinstance(piece, int) for piece in pieces):
        raise ValueError(
            "the text has no hole: mark one with [MASK], or twenty tokens with [MASK:20]"
        )
    return pieces


def parse_pieces(text: str, where: str = "") -> list[str | int]:
    """Given pieces of text and, as numbers of tokens, the holes between them.

    ValueError, which begins with `where`, for a hole that is empty or longer than anybody can mean.
    """
    pieces, given, end = [], "", 0
    for match in MARK.finditer(text):
        given += text[end : match.start()]
        end = match.end()
        if match[1]:
            given += match[0][1:]
            continue
        place = f"{where}: character {match.start()}" if where else f"character {match.start()}"
        size = hole_size(match[0], match[2], LONGEST_HOLE, "token", place)
        if given:
            pieces.append(given)
        pieces.append(size)
        given = ""
    given += text[end:]
    if given:
        pieces.append(given)
    return pieces


def encode_pieces(tokenizer, pieces: list[str | int]) -> list[np.ndarray | int]:
    """The ids of every given piece, tokenized apart; of a hole, its number of tokens."""
    found: list[np.ndarray | int] = []
    for piece in pieces:
        if isinstance(piece, int):
            found.append(piece)
        elif found:  # it goes on after a hole
            found.append(tokenizer.encode_after(piece).astype(np.int64))
        else:
            found.append(tokenizer.encode(piece).astype(np.int64))
    return found


def piece_size(piece: np.ndarray | int) -> int:
    """Tokens of an encoded piece, or of a hole."""
    return piece if isinstance(piece, int) else len(piece)


def count_tokens(tokenizer, pieces: list[str | int]) -> int:
    """Of a text and its holes, before anything is made of that size."""
    return sum(map(piece_size, encode_pieces(tokenizer, pieces)))


def partial(tokenizer, pieces: list[str | int]) -> Partial:
    """The pieces around a hole are tokenized apart; of none, no token."""
    ids, roles = [np.zeros(0, np.int64)], [np.zeros(0, np.int8)]
    for piece in encode_pieces(tokenizer, pieces):
        known, role = piece, GIVEN
        if isinstance(known, int):
            known, role = np.zeros(known, np.int64), HOLE
        ids.append(known)
        roles.append(np.full(len(known), role, np.int8))
    return Partial(np.concatenate(ids), np.concatenate(roles))


def spell_holes(tokenizer, pieces: list[str | int], ids: np.ndarray) -> str:
    """The text with token ids (S,) in its holes; what was given stays letter by letter."""
    return "".join(one.text for one in spell_pieces(tokenizer, pieces, ids))


def spell_pieces(tokenizer, pieces: list[str | int], ids: np.ndarray) -> list[Spelled]:
    """The pieces in order; holes side by side are one, since a letter may be in both."""
    spelled, at, before = [], 0, ""
    pairs = zip(pieces, encode_pieces(tokenizer, pieces), strict=True)
    for hole, group in itertools.groupby(pairs, lambda pair: isinstance(pair[0], int)):
        run, encoded = zip(*group, strict=True)
        end = at + sum(map(piece_size, encoded))
        text = tokenizer.decode_after(before, ids[at:end].tolist()) if hole else "".join(run)
        spelled.append(Spelled(text, hole, at, end - at))
        at, before = end, text
    return spelled
