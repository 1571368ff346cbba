"""What sequences have in common with a corpus, word for word: by hashes, in bounded memory.

A piece of k symbols has the hash sum_j c_j B^j modulo 2^64, where c_j is a random number of each
symbol and B is odd (Karp and Rabin, 1987); prefix sums give that of a run of any length at once.
Two different pieces have one hash with a chance of about 2^-64: of 10^6 pieces in a corpus of 10^9,
one is taken for another with a chance of less than 10^-4.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

PIECE = 32  # symbols of text
BASE = np.uint64(0x9E3779B97F4A7C15 | 1)
INVERSE = np.uint64(pow(int(BASE), -1, 1 << 64))
BITS = 24  # of the table that says which hashes there may be
OCCURRENCES = 64  # of one piece in the samples, from which a copy is followed
PAIRS = 1 << 20  # followed at a time


class Copies(NamedTuple):
    """Of each of n sequences."""

    shared: np.ndarray  # (n,) pieces that the corpus has
    pieces: np.ndarray  # (n,) all pieces
    longest: np.ndarray  # (n,) symbols of the longest run that the corpus has; 0: not even a piece
    where: np.ndarray  # (n,) where it begins
    all_followed: bool  # False: `longest` may be too small, since a piece occurs very often

    def part(self, some: slice) -> "Copies":
        """Of some of the sequences."""
        of = (self.shared[some], self.pieces[some], self.longest[some], self.where[some])
        return Copies(*of, self.all_followed)


def mixed(symbols: np.ndarray) -> np.ndarray:
    """(n,) uint64: a number for each symbol that looks random (Steele et al., 2014: splitmix64)."""
    x = symbols.astype(np.uint64) * BASE + BASE
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def powers(base: np.uint64, n: int) -> np.ndarray:
    """(n,) uint64: base^0, base^1, ..."""
    found = np.full(n, base)
    found[:1] = 1
    return np.cumprod(found)


class Hashed:
    """Symbols (n,), and the hash of every run of them."""

    def __init__(self, symbols: np.ndarray):
        self.symbols = symbols
        sums = np.cumsum(mixed(symbols) * powers(BASE, len(symbols)))
        self.sums = np.concatenate([np.zeros(1, np.uint64), sums])
        self.back = powers(INVERSE, len(symbols))

    def pieces(self, k: int) -> np.ndarray:
        """(n - k + 1,) of all runs of k."""
        number = max(0, len(self.symbols) - k + 1)
        return (self.sums[k : k + number] - self.sums[:number]) * self.back[:number]

    def runs(self, first: np.ndarray, size: np.ndarray) -> np.ndarray:
        """(m,) of runs from `first` on."""
        return (self.sums[first + size] - self.sums[first]) * self.back[first]


def find_copies(rows: Sequence[np.ndarray], corpus: Iterable[np.ndarray], k: int = PIECE) -> Copies:
    """What rows (length,) of symbols share with the blocks of a corpus.

    A run that goes on from one block into the next is found where blocks overlap by at least its
    length.
    """
    search = Search(rows, k)
    for block in corpus:
        search.look(block)
    return search.found()


class Search:
    """Rows, and what was found of them in the blocks so far."""

    def __init__(self, rows: Sequence[np.ndarray], k: int):
        sizes = np.array([len(row) for row in rows], np.int64)
        self.k, self.n = k, len(rows)
        self.ends = np.cumsum(sizes)
        self.own = Hashed(np.concatenate([np.empty(0, np.int64), *rows]))
        row = np.repeat(np.arange(self.n), sizes)
        hashes = self.own.pieces(k)
        begins = np.arange(len(hashes))
        inside = begins + k <= self.ends[row[: len(hashes)]]
        self.begins, self.row = begins[inside], row
        self.known, self.of = np.unique(hashes[inside], return_inverse=True)
        # the pieces in the order of their hashes: `starts` says where those of each begin
        self.order = np.argsort(self.of, kind="stable")
        self.counts = np.bincount(self.of, minlength=len(self.known))
        self.starts = np.cumsum(self.counts) - self.counts
        self.maybe = np.zeros(1 << BITS, bool)
        self.maybe[self.known >> np.uint64(64 - BITS)] = True
        self.seen = np.zeros(len(self.known), bool)
        self.longest = np.zeros(self.n, np.int64)
        self.where = np.zeros(self.n, np.int64)
        self.all_followed = True

    def look(self, block: np.ndarray) -> None:
        """Search symbols (n,) for all pieces."""
        if not len(self.known):
            return
        theirs = Hashed(block)
        hashes = theirs.pieces(self.k)
        at = np.flatnonzero(self.maybe[hashes >> np.uint64(64 - BITS)])
        which = np.searchsorted(self.known, hashes[at])
        which[which == len(self.known)] = 0
        hit = self.known[which] == hashes[at]
        at, which = at[hit], which[hit]
        self.seen[which] = True
        times = np.minimum(self.counts[which], OCCURRENCES)
        self.all_followed &= bool((self.counts[which] <= OCCURRENCES).all())
        step = max(1, PAIRS // OCCURRENCES)
        for low in range(0, len(at), step):
            some = slice(low, low + step)
            self.follow(theirs, at[some], which[some], times[some])

    def follow(self, theirs: Hashed, at: np.ndarray, which: np.ndarray, times: np.ndarray) -> None:
        """How far the runs go that begin with these pieces (m,), `which`, found `at`.

        Of those alone that do not go on to the left, where a longer one begins.
        """
        t = np.repeat(at, times)
        number = np.arange(len(t)) - np.repeat(np.cumsum(times) - times, times)
        s = self.begins[self.order[np.repeat(self.starts[which], times) + number]]
        before_s, before_t = np.maximum(s - 1, 0), np.maximum(t - 1, 0)
        goes_on = (s > 0) & (t > 0) & (self.row[before_s] == self.row[s])
        goes_on &= self.own.symbols[before_s] == theirs.symbols[before_t]
        s, t = s[~goes_on], t[~goes_on]
        if not len(s):
            return
        most = np.minimum(self.ends[self.row[s]] - s, len(theirs.symbols) - t)
        size = np.full(len(s), self.k)
        step = 1 << int(most.max()).bit_length()
        while step := step // 2:
            longer = size + step
            fits = np.flatnonzero(longer <= most)
            tried = longer[fits]
            same = self.own.runs(s[fits], tried) == theirs.runs(t[fits], tried)
            size[fits[same]] = tried[same]
        rows = self.row[s]
        best = np.lexsort((-s, size))  # the last of a row is its longest, and of those the first
        rows, size, s = rows[best], size[best], s[best]
        last = len(rows) - 1 - np.unique(rows[::-1], return_index=True)[1]
        rows, size, s = rows[last], size[last], s[last]
        better = size > self.longest[rows]
        self.longest[rows[better]], self.where[rows[better]] = size[better], s[better]

    def found(self) -> Copies:
        row = self.row[self.begins]
        pieces = np.bincount(row, minlength=self.n)
        shared = np.bincount(row, self.seen[self.of], minlength=self.n)
        first = self.ends - np.bincount(self.row, minlength=self.n)
        where = np.where(self.longest > 0, self.where - first, 0)
        return Copies(shared, pieces.astype(float), self.longest, where, self.all_followed)
