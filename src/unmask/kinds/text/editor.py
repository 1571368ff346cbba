"""Texts on a page: the letters of a hole are known when all of its tokens are."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from unmask.kinds.editor import Cell, Editor, Text, in_all
from unmask.kinds.kind import Filled
from unmask.kinds.text.holes import MARK, encode_pieces, parse_holes, piece_size, spell_pieces
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

    def loaded(self, path: Path) -> dict:
        edit = super().loaded(path)
        if "\r" in edit["content"] and self.knows("\r"):  # a page has new lines alone
            raise ValueError(
                f"{path.name} has carriage returns, which the page would lose: use unmask fill"
            )
        return edit

    def knows(self, text: str) -> bool:
        try:
            return len(self.kind.tokenizer.encode(text)) > 0
        except ValueError:  # letters that it does not have
            return False

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
        return [
            Text(copy, 0, piece.first, piece.size, piece.text)
            for copy, one in enumerate(found[0])
            for piece in spell_pieces(tokenizer, source.pieces, one.ids)
            if piece.hole
        ]


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
    offsets = model.encode(text, add_special_tokens=False).offsets
    # where each token begins; the first one has what is dropped before it, too
    starts = [begin for begin, _ in offsets]
    starts[0] = 0
    edges = sorted(set(starts))
    ends = dict(zip(edges, [*edges[1:], len(text)], strict=True))
    cells = []
    for start, group in itertools.groupby(range(len(ids)), key=lambda k: starts[k]):
        tokens, end = list(group), ends[start]
        last = end
        if tokenizer.drops_blanks:  # those after a word are of no token
            word = start + len(text[start:end].rstrip())
            last = max(word, *(offsets[k][1] for k in tokens))
        cells.append(Cell(text[start:last], len(tokens), False))
        if last < end:
            cells.append(Cell(text[last:end], 0, False))
    return cells
