"""Letters of tokens, some of which are not known: a letter is known when all of its tokens are."""

from collections.abc import Callable

import numpy as np

from unmask.kinds.view import Piece

MOST = 8  # tokens that are looked at together: subwords may hold ends of two letters


def letters(ids: np.ndarray, shown: np.ndarray, spell: Callable[[np.ndarray], str]) -> list[Piece]:
    """Pieces of tokens (S,), of which (S,) are `shown`; bytes that are no letter, token by token.

    spell: the text of neighbouring tokens, with U+FFFD for what is no letter.
    """
    pieces, at = [], 0
    while at < len(ids):
        size, text = letter(ids[at : at + MOST], shown[at : at + MOST], spell)
        pieces.append(Piece(text, tuple(range(at, at + size))))
        at += size
    return pieces


def letter(
    ids: np.ndarray, shown: np.ndarray, spell: Callable[[np.ndarray], str]
) -> tuple[int, str]:
    """Of how many tokens the first whole letters are, and which; "" for a token that is not
    shown."""
    if not shown[0]:
        return 1, ""
    for size in range(1, len(ids) + 1):
        if not shown[:size].all():
            break
        text = spell(ids[:size])
        if "\ufffd" not in text:
            return size, text
    return 1, spell(ids[:1])
