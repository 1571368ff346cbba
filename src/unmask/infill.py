"""Texts with holes: `[MASK]` is one token to fill in, `[MASK:20]` twenty, `\\[MASK]` stands for the letters themselves."""

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from unmask.data import Bytes
from unmask.diffusion import MaskedDiffusion

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


def windows(z: Tensor, model: MaskedDiffusion, length: int) -> Iterator[slice]:
    """Slices of z (B, S*L) of at most `length` tokens, left to right, half overlapping, that have a hole left when their turn comes."""
    size, total = length * model.subtokenizer.length, z.shape[1]
    step = max(length // 2, 1) * model.subtokenizer.length
    for start in range(0, max(total - size, 0) + step, step):
        part = slice(max(min(start, total - size), 0), min(start + size, total))
        if bool((z[:, part] == model.mask_id).any()):
            yield part


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
