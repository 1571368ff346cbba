"""Protein sequences as token ids and back: one letter a residue, the code of IUPAC and IUBMB."""

import numpy as np

COMMON = "ACDEFGHIKLMNPQRSTVWY"  # the 20 amino acids
LETTERS = COMMON + "UO"  # and selenocysteine, pyrrolysine
UNKNOWN = "BJXZ"  # Asx, Leu or Ile, any, Glx: a residue, but not known which
GAP = "X"  # how a position without a value is written
STRANGE = 255


class Residues:
    """22 values: the 20 amino acids and U and O, each a residue of its own.

    B, J, X and Z leave open which residue it is: such a position has no value, and is written as
    the id `vocab_size`.
    """

    vocab_size = len(LETTERS)
    eot = None

    def __init__(self) -> None:
        self.table = np.full(256, STRANGE, np.uint8)
        for i, letter in enumerate(LETTERS):
            self.table[ord(letter)] = i
        self.table[[ord(letter) for letter in UNKNOWN]] = self.vocab_size
        self.letters = np.frombuffer((LETTERS + GAP).encode(), np.uint8)

    def encode(self, text: str) -> np.ndarray:
        """Ids (len(text),), uint8, of capital letters; `vocab_size` for those of UNKNOWN.

        Raises ValueError for any other letter.
        """
        ids = self.table[np.frombuffer(text.encode("latin-1", "replace"), np.uint8)]
        if (ids == STRANGE).any():
            at = int(np.argmax(ids == STRANGE))
            raise ValueError(
                f"letter {text[at]!r} at position {at + 1} is no residue: "
                f"the letters are {LETTERS} and {UNKNOWN}"
            )
        return ids

    def decode(self, ids) -> str:
        """Letters of ids (n,); X for -1 and `vocab_size`, where there is no value."""
        ids = np.asarray(ids, dtype=np.int64).reshape(-1)
        low, high = ids.min(initial=0), ids.max(initial=0)
        if low < -1 or high > self.vocab_size:
            wrong = high if high > self.vocab_size else low
            raise ValueError(f"id {wrong} is none of the {self.vocab_size} residues")
        return self.letters[ids].tobytes().decode()

    def spell(self, i: int) -> str:
        return LETTERS[i]

    def spec(self) -> dict:
        return {"name": "residues", "vocab_size": self.vocab_size}

    def files(self) -> dict[str, bytes]:
        return {}


def hidden(ids: np.ndarray) -> np.ndarray:
    """(S,) bool: what is hidden of a protein to show how it is filled in: a stretch of eight, and
    one in six of the others."""
    at, middle = np.arange(len(ids)), len(ids) // 2
    return (at % 6 == 3) | ((at >= middle) & (at < middle + 8))
