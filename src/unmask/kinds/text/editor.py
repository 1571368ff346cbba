"""Texts on a page: the letters of a hole are known when all of its tokens are."""

import itertools
from typing import Any

import numpy as np

from unmask.kinds.editor import Cell, Editor, Text, in_all
from unmask.kinds.kind import Filled
from unmask.kinds.text.holes import MARK, encode_pieces, parse_holes, piece_size
from unmask.kinds.text.tokenizers import Bytes, Ids, Subwords

PASSAGE = "To be, or [MASK:12], that is the question"
LETTERS = 80  # tokens of the hole that the page begins with, where it knows no PASSAGE


class TextEditor(Editor):
    name, takes = "text", ".txt,.md,.csv,.json"

    def start(self) -> dict:
        tokenizer = self.kind.tokenizer
        nothing = {"content": f"[MASK:{min(LETTERS, self.length)}]"}
        if isinstance(tokenizer, Ids):
            return nothing
        try:
            size = sum(map(piece_size, encode_pieces(tokenizer, parse_holes(PASSAGE))))
        except ValueError:  # letters that it does not have
            return nothing
        return {"content": PASSAGE} if size <= self.length else nothing

    def marked(self, content: str) -> int:
        return in_all(number for escaped, number in MARK.findall(content) if not escaped)

    def board(self, source: Any) -> dict:
        """Cells whose texts, joined, are the given text, letter by letter."""
        tokenizer, cells = source.tokenizer, []
        pieces = source.pieces
        for piece, encoded in zip(pieces, encode_pieces(tokenizer, pieces), strict=True):
            if isinstance(encoded, int):
                cells += [Cell("", 1, True)] * encoded
            else:
                cells += given_cells(tokenizer, piece, encoded, after=bool(cells))
        return {"examples": [cells]}

    def texts(self, source: Any, found: list[list[Filled]], seed: int) -> list[Text]:
        tokenizer = self.kind.tokenizer
        if source is None:
            rows = enumerate(one.ids for (one,) in found)
            return [Text(i, 0, 0, len(ids), tokenizer.decode(ids.tolist())) for i, ids in rows]
        texts = []
        for copy, one in enumerate(found[0]):
            at, before = 0, ""
            for piece, encoded in zip(
                source.pieces, encode_pieces(tokenizer, source.pieces), strict=True
            ):
                size = piece_size(encoded)
                if isinstance(piece, int):
                    ids = one.ids[at : at + size].tolist()
                    piece = tokenizer.decode_after(before, ids)
                    texts.append(Text(copy, 0, at, size, piece))
                at, before = at + size, piece
        return texts


def given_cells(tokenizer: Any, text: str, ids: np.ndarray, *, after: bool) -> list[Cell]:
    """Cells of a given text, whose tokens are `ids`; tokens that share a letter are one cell.

    after: it goes on after a hole.
    """
    if isinstance(tokenizer, Bytes):
        return [Cell(letter, len(letter.encode()), False) for letter in text]
    if not isinstance(tokenizer, Subwords):
        return [Cell(letter, 1, False) for letter in text]
    if not len(ids):  # blanks, which some tokenizers drop
        return [Cell(text, 0, False)]
    model = tokenizer.inner if after else tokenizer.model
    # where each token begins; the first one has what is dropped before it, too
    starts = [begin for begin, _ in model.encode(text, add_special_tokens=False).offsets]
    starts[0] = 0
    cells = []
    for start, group in itertools.groupby(range(len(ids)), key=lambda k: starts[k]):
        many = len(list(group))
        later = [begin for begin in starts if begin > start]
        cells.append(Cell(text[start : later[0] if later else len(text)], many, False))
    return cells
