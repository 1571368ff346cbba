"""Numbers of a column cut into bins, and which number of its bin a cell has.

A bin is a token.  The number itself is a draw from a law of the bin alone, `Within`: the training
rows in it, cut into cells of about as many rows each, over whose numbers the law is even.  Frequent
numbers stay exact.  Numbers are those that the source can write (`scales`): multiples of a power of
ten, or those of some digits.  So the law gives every such number a probability, and the nats of a
row hold for the row as it is written, whatever the bins.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np

from unmask.kinds.tables.numbers import parse_number
from unmask.kinds.tables.scales import FAITHFUL, FINEST, MOST, Digits, Even, Scale


class Within:
    """The law of a number given its bin.

    Numbers are counted in `steps` from the `low`est training number on, the greatest being number
    `last`: of 10**-decimals or, with `digits`, along what so many significant ones write in
    multiples of 10**least.  They are written to so many decimal `places`, -1 for as few as do.
    A bin's law is a mixture of parts, each even over `count` numbers from `first` on, with the
    weights of their `rows`: frequent numbers by themselves, `spelled` as in the source; cells of
    the others; and, last, one row for all that training has not seen, even over the bin.  Of the
    outermost bins that row goes on beyond the training numbers, ever thinner.  It is for scoring
    alone: no draw is of it.
    """

    def __init__(
        self,
        low: str,
        last: int,
        decimals: int,
        places: int,
        first: Sequence[int],
        count: Sequence[int],
        rows: Sequence[int],
        bins: Sequence[int],
        spelled: Mapping[str, str],
        digits: int = 0,
        least: int = 0,
    ):
        self.low, self.last, self.decimals, self.places = low, last, decimals, places
        self.first, self.count, self.rows, self.bins = (
            np.array(part, np.int64) for part in (first, count, rows, bins)
        )
        self.spelled = dict(spelled)
        self.digits, self.least = digits, least
        self.check()
        # where the parts of each bin begin, and how many rows stand before each part
        self.begins = np.searchsorted(self.bins, np.arange(self.bins[-1] + 2))
        self.before = np.concatenate([[0], np.cumsum(self.rows)])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Within) and self.spec() == other.spec()

    __hash__ = None  # type: ignore[assignment]

    def check(self) -> None:
        """ValueError for parts that no law has."""
        shapes = {part.shape for part in (self.first, self.count, self.rows, self.bins)}
        if len(shapes) == 1 and self.bins.ndim == 1 and self.bins.size:
            rise = np.diff(self.bins)
            number = self.bins[0] == 0 and ((rise == 0) | (rise == 1)).all()
            # the last part of a bin is not drawn, so there are others
            several = number and np.bincount(self.bins).min() > 1
            inside = self.first.min() >= 0 and self.first.max() <= self.last + 1 <= MOST + 1
            if several and inside and self.count.min() > 0 and self.rows.min() > 0:
                far = max(abs(self.decimals), abs(self.places), abs(self.least))
                known = parse_number(self.low) is not None and 0 <= self.digits <= FAITHFUL
                if known and far <= FINEST:
                    return
        raise ValueError("a law of numbers within bins has parts that no law has")

    @cached_property
    def scale(self) -> Scale:
        low = Decimal(self.low)
        return Digits(low, self.digits, self.least) if self.digits else Even(low, self.decimals)

    def steps(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) float64: where each text stands among the numbers of the column, the lowest of
        training being 0; whole for numbers that the column can have."""
        return np.array([float(self.scale.at(Decimal(text))) for text in texts])

    def log_steps(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) log of how far the numbers of the column are apart at each text."""
        return np.array([float(self.scale.step(Decimal(text)).ln()) for text in texts])

    def nats(self, bins: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """(n,) -log probability, given their bins (n,), of numbers that stand at `steps` (n,)."""
        begin, last = self.begins[bins], self.begins[bins + 1] - 1
        # where floats are too coarse to say, the bin does
        lowest = np.where(bins > 0, self.first[last], -np.inf)
        end = np.where(bins < self.bins[-1], self.first[last] + self.count[last] - 1, np.inf)
        steps = np.clip(steps, lowest, end)
        rows = np.zeros(len(bins))
        for k in range(int(np.diff(self.begins).max()) - 1):  # the k-th part of each bin
            part = np.minimum(begin + k, last)
            away = steps - self.first[part]
            inside = (begin + k < last) & (away >= 0) & (away < self.count[part])
            rows += np.where(inside, self.rows[part] / self.count[part], 0)
        rows += self.new(bins, steps) * self.rows[last]
        return np.log(self.before[last + 1] - self.before[begin]) - np.log(rows)

    def new(self, bins: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """(n,) how probable numbers are that training has not seen, in their bins.

        Even over a bin between others.  Of the lowest, w numbers wide, that k steps below its upper
        end has w / ((k + w) (k + w + 1)), which adds up to 1 over all k; the highest likewise,
        upwards; a single bin half of either.
        """
        part = self.begins[bins + 1] - 1
        first, wide = self.first[part], self.count[part].astype(float)
        outer = np.array([bins == 0, bins == self.bins[-1]])
        away = np.array([first + wide - 1 - steps, steps - first])
        down = np.maximum(away, 0) + wide
        tails = np.where(away >= 0, wide / (down * (down + 1)), 0) * outer
        sides = outer.sum(0)
        inside = (steps >= first) & (steps < first + wide)
        return np.where(sides > 0, tails.sum(0) / np.maximum(sides, 1), inside / wide)

    def draw(
        self, bins: np.ndarray, generator: np.random.Generator, only: np.ndarray | None = None
    ) -> list[str]:
        """A number of each bin (n,), as the source would spell it; `only`: one of these spans
        (m, 2), of which every such bin has some."""
        # those of a number side by side: what is drawn for it does not depend on how many follow
        u = generator.random((len(bins), 2)).T
        spans = np.array([[self.first.min(), self.end]]) if only is None else only
        rows, inside = self.rows_in(spans)
        before = np.concatenate([[0], np.cumsum(rows)])
        begin, end = before[self.begins[bins]], before[self.begins[bins + 1]]
        row = np.minimum(begin + u[0] * (end - begin), np.nextafter(end, 0))
        part = np.searchsorted(before, row, side="right") - 1
        until = np.cumsum(inside, 1)[part]  # (n, m)
        at = np.minimum((u[1] * until[:, -1]).astype(np.int64), until[:, -1] - 1)
        span = (at[:, None] >= until).sum(1)
        number = np.arange(len(bins))
        at += inside[part, span] - until[number, span]  # in its span
        first = np.maximum(self.first[part], spans[span, 0])
        return [self.spell(k) for k in (first + at).tolist()]

    def share(self, only: np.ndarray) -> np.ndarray:
        """(bins,) how probable it is that what is drawn of a bin lies in these spans (m, 2)."""
        rows = self.rows_in(only)[0]
        every = np.where(self.drawn, self.rows, 0)
        return np.add.reduceat(rows, self.begins[:-1]) / np.add.reduceat(every, self.begins[:-1])

    def rows_in(self, spans: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of each part, its rows in these spans, and (parts, m) its numbers in each of them."""
        begin = np.maximum(self.first[:, None], spans[:, 0])
        end = np.minimum((self.first + self.count)[:, None], spans[:, 1])
        inside = np.maximum(end - begin, 0)
        return np.where(self.drawn, self.rows * (inside.sum(1) / self.count), 0), inside

    @cached_property
    def drawn(self) -> np.ndarray:
        """(parts,) bool: all but the last of each bin."""
        drawn = np.ones(len(self.bins), bool)
        drawn[self.begins[1:] - 1] = False
        return drawn

    @cached_property
    def end(self) -> int:
        """After the last number of any part."""
        return int((self.first + self.count).max())

    def first_of(self, value: Decimal, *, above: bool = False) -> int:
        """The first number, as it is written, that is at least this value, or `above` it."""

        def beyond(k: int) -> bool:
            number = Decimal(self.spell(k))
            return number > value if above else number >= value

        return bisect_left(range(self.end), True, key=beyond)

    def spell(self, k: int) -> str:
        """Number k of the column."""
        known = self.spelled.get(str(k))
        if known is not None:
            return known
        number = self.scale.number(k)
        if self.digits:
            return shortest(number)
        if abs(number.adjusted()) > 20:
            return str(number.normalize())
        text = f"{number:.{max(self.decimals, self.places, 0)}f}"
        if self.places < 0 and "." in text:
            text = text.rstrip("0").rstrip(".")
        return text.removeprefix("-") if float(text) == 0 else text

    def spec(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).tolist() for name in ("first", "count", "rows", "bins")}
        names = ["low", "last", "decimals", "places", "spelled"]
        names += ["digits", "least"] * bool(self.digits)  # as earlier versions wrote it
        return {name: getattr(self, name) for name in names} | parts


def shortest(number: Decimal) -> str:
    """As Python writes floats: 0.00012, 1.2e-05, 120.0 without its zero."""
    if not number:
        return "0"
    number, exponent = number.normalize(), number.adjusted()
    if -5 < exponent < FAITHFUL:
        return f"{number:f}"
    return f"{number.scaleb(-exponent).normalize():f}e{exponent:+03d}"
