"""Texts with holes: `[MASK]` is one token to fill in, `[MASK:20]` twenty, `\\[MASK]` stands for the letters themselves."""

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from unmask.diffusion import MaskedDiffusion
from unmask.kinds.text.tokenizers import Bytes

HOLE = re.compile(r"(\\?)\[MASK(?::(\d+))?\]")


def parse_holes(text: str) -> list[str | int]:
    """Given pieces of text and, as numbers of tokens, the holes between them.  ValueError if there is no hole, or an empty one."""
    pieces, given, end = [], "", 0
    for match in HOLE.finditer(text):
        given += text[end : match.start()]
        end = match.end()
        if match[1]:
            given += match[0][1:]
            continue
        size = int(match[2] or 1)
        if not size:
            raise ValueError(f"{match[0]} at character {match.start()} is a hole of no tokens")
        pieces += [given, size] if given else [size]
        given = ""
    pieces += [given + text[end:]] if given + text[end:] else []
    if not any(isinstance(piece, int) for piece in pieces):
        raise ValueError("the text has no hole: mark one with [MASK], or twenty tokens with [MASK:20]")
    return pieces


def count_tokens(tokenizer, pieces: list[str | int]) -> int:
    """Of a text and its holes, before anything is made of that size."""
    return sum(piece if isinstance(piece, int) else len(tokenizer.encode(piece)) for piece in pieces)


def encode_holes(model: MaskedDiffusion, tokenizer, pieces: list[str | int]) -> Tensor:
    """z (1, S*L) on the CPU; the pieces around a hole are tokenized apart."""
    parts = []
    for piece in pieces:
        if isinstance(piece, int):
            parts.append(torch.full((piece * model.subtokenizer.length,), model.mask_id))
        else:
            ids = torch.as_tensor(tokenizer.encode(piece).astype("int64"))
            parts.append(model.subtokenizer.encode(ids[None])[0])
    return torch.cat(parts)[None]


def is_hole(model: MaskedDiffusion, z: Tensor) -> Tensor:
    """(B, S) which tokens of z (B, S*L) have a masked digit."""
    return (z == model.mask_id).unflatten(1, (-1, model.subtokenizer.length)).any(-1)


def windows(holes: Tensor, length: int) -> Iterator[tuple[slice, Tensor]]:
    """Where to fill the holes (S,) bool of a text: windows of at most `length` tokens, and which positions of each (W,) bool.

    A text longer than `length` is filled from left to right, a group of holes at a time, in the window around the group's middle.
    A group spans so little that each of its holes has a quarter of a window on either side, or all there is.
    """
    total = len(holes)
    if total <= length:
        yield slice(0, total), holes
        return
    left, quarter = holes.nonzero()[:, 0].tolist(), length // 4
    while left:
        start = min(max(left[0] - quarter, 0), total - length)
        limit = total if start + length == total else start + length - quarter
        group = [i for i in left[:length] if i < limit]
        start = min(max((group[0] + group[-1] + 1) // 2 - length // 2, 0), total - length)
        fill = torch.zeros(length, dtype=torch.bool)
        fill[torch.tensor(group) - start] = True
        yield slice(start, start + length), fill
        left = left[len(group) :]


def spell_holes(tokenizer, pieces: list[str | int], ids: Tensor) -> str:
    """The text with token ids (S,) in its holes; what was given stays letter by letter."""
    return "".join(text for text, _ in spell_pieces(tokenizer, pieces, ids))


def spell_pieces(tokenizer, pieces: list[str | int], ids: Tensor) -> list[tuple[str, bool]]:
    """(text, was it given?) of every piece."""
    spelled, at = [], 0
    for piece in pieces:
        size = piece if isinstance(piece, int) else len(tokenizer.encode(piece))
        spelled.append((tokenizer.decode(ids[at : at + size].tolist()), False) if isinstance(piece, int) else (piece, True))
        at += size
    return spelled


def spell_states(model: MaskedDiffusion, tokenizer, states: list[Tensor]) -> list[list[str | None]]:
    """States z (S*L,) of one sequence as one string per token, None where any digit of it is masked."""
    frames: list[list[str | None]] = []
    for z in states:
        digits = z.view(-1, model.subtokenizer.length)
        open_ = (digits != model.mask_id).all(-1)
        x = model.subtokenizer.decode(digits.masked_fill(~open_[:, None], 0).view(1, -1))[0]
        frames.append([_letter(tokenizer, int(i)) if shown else None for i, shown in zip(x, open_, strict=True)])
    return frames


def _letter(tokenizer, i: int) -> str:
    return chr(i) if isinstance(tokenizer, Bytes) and i < 128 else tokenizer.decode([i])
