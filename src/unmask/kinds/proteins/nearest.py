"""The sequence of a corpus that has most in common with a sample, by runs of k residues.

It is no alignment: two sequences of which nine residues in ten agree share about 0.9^k of their
runs.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from unmask.kinds.proteins.residues import LETTERS

RUN = 5  # residues: of two sequences without kinship, some 300 long, about 0.0001 of the runs agree
BLOCK = 1 << 20  # residues of a corpus at a time


class Nearest(NamedTuple):
    share: np.ndarray  # (n,) of a sample's different runs that the nearest sequence has; 0: no runs
    which: np.ndarray  # (n,) its number


def runs_of(rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The number of its row and the code of every different run, (k,) each; those with a residue
    that is not known are left out."""
    of = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    ids = np.concatenate([np.empty(0, np.int64), *rows]).astype(np.int64)
    number = max(0, len(ids) - RUN + 1)
    code, known = np.zeros(number, np.int64), np.ones(number, bool)
    for i in range(RUN):
        code = code * len(LETTERS) + ids[i : i + number]
        known &= ids[i : i + number] < len(LETTERS)
    known &= of[:number] == of[RUN - 1 : RUN - 1 + number]
    both = np.unique(of[:number][known] * len(LETTERS) ** RUN + code[known])
    return both // len(LETTERS) ** RUN, both % len(LETTERS) ** RUN


def nearest(rows: Sequence[np.ndarray], corpus: Sequence[np.ndarray], said: str = "") -> Nearest:
    """Of rows of residues, among the sequences of a corpus; `said`: what is searched, for a bar."""
    row, code = runs_of(rows)
    order = np.argsort(code, kind="stable")
    row_by_code, code = row[order], code[order]
    number = np.bincount(row, minlength=len(rows))
    best, which = np.zeros(len(rows)), np.zeros(len(rows), np.int64)
    first = 0
    with tqdm(total=len(corpus), desc=said, disable=None if said else True, leave=False) as bar:
        for block in blocks_of(corpus):
            theirs, runs = runs_of(block)
            low, high = (np.searchsorted(code, runs, side=side) for side in ("left", "right"))
            times = high - low
            at = np.repeat(low, times) + counted(times)
            pairs = row_by_code[at] * len(block) + np.repeat(theirs, times)
            pairs, shared = np.unique(pairs, return_counts=True)
            of, where = pairs // len(block), pairs % len(block)
            share = shared / number[of]
            largest = np.lexsort((-where, share, of))  # the last of a row: of equal ones the first
            ends = np.flatnonzero(np.append(of[largest][1:] != of[largest][:-1], True))
            last = largest[ends] if len(of) else largest
            better = share[last] > best[of[last]]
            chosen = last[better]
            best[of[chosen]], which[of[chosen]] = share[chosen], first + where[chosen]
            first += len(block)
            bar.update(len(block))
    return Nearest(best, which)


def counted(times: np.ndarray) -> np.ndarray:
    """0, 1, ... as many as each of `times` says, one after another."""
    return np.arange(int(times.sum())) - np.repeat(np.cumsum(times) - times, times)


def blocks_of(corpus: Sequence[np.ndarray]):
    block, size = [], 0
    for sequence in corpus:
        block.append(sequence)
        size += len(sequence)
        if size >= BLOCK:
            yield block
            block, size = [], 0
    if block:
        yield block
