"""Letters of bytes, some of which are not known: a letter is known when all of its bytes are."""

import numpy as np

from unmask.kinds.view import Piece

LONGEST = 4  # bytes of a letter in UTF-8


def letters(ids: np.ndarray, shown: np.ndarray) -> list[Piece]:
    """Pieces of bytes (S,), of which (S,) are `shown`; bytes that are no letter, one by one."""
    pieces, at = [], 0
    raw = ids.astype(np.uint8).tobytes()
    while at < len(raw):
        size, text = letter(raw[at : at + LONGEST], shown[at : at + LONGEST])
        pieces.append(Piece(text, tuple(range(at, at + size))))
        at += size
    return pieces


def letter(raw: bytes, shown: np.ndarray) -> tuple[int, str]:
    """How many bytes the first letter has, and which it is; "" for a byte that is not shown."""
    if not shown[0]:
        return 1, ""
    for size in range(1, len(raw) + 1):
        if not shown[:size].all():
            break
        try:
            return size, raw[:size].decode()
        except UnicodeDecodeError:
            continue
    return 1, "\ufffd"
