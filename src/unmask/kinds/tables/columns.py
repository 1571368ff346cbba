"""The columns of a table as tokens, and back.

Every column has an alphabet of its own, and the vocabulary is all of them one after the other: a
token says which column it is of.  The categories of a column stand in sorted order.

Numbers are cut into bins of about as many training rows each, equal numbers always in one bin;
where there are no more different numbers than bins, each has its own.  A bin is written as its
median, which is one of its numbers as the source spells it: so integers stay integers, and reading
it again gives the same bin.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

MISSING = ("", "?", "na", "n/a", "nan", "null")  # cells without a value, in lower case
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
CODE = re.compile(r"0\d+", re.ASCII)  # with leading zeros: a code, not a number


class Column(NamedTuple):
    """A column of categories, or of numbers in bins."""

    name: str
    place: int  # in a row of the source
    values: tuple[str, ...]  # how its tokens are written
    bounds: tuple[float, ...] | None = None  # where each bin but the first begins; categories: None

    def describe(self) -> str:
        if self.bounds is not None:
            return f"numbers in {len(self.values)} bins, {self.values[0]} to {self.values[-1]}"
        if self.values == ("",):
            return "no values at all"
        return f"{len(self.values)} categories"

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) which of `values` each text is, -1 where it is no category or no number."""
        if self.bounds is None:
            place = {value: i for i, value in enumerate(self.values)}
            return np.array([place.get(text, -1) for text in texts], np.int64)
        numbers = np.array([parse_number(text) for text in texts], np.float64)  # None: NaN
        bins = np.searchsorted(np.array(self.bounds), numbers, side="right")
        return np.where(np.isnan(numbers), -1, bins)

    def spec(self) -> dict:
        bounds = None if self.bounds is None else list(self.bounds)
        return self._asdict() | {"values": list(self.values), "bounds": bounds}

    @classmethod
    def from_spec(cls, spec: dict) -> "Column":
        bounds = None if spec["bounds"] is None else tuple(spec["bounds"])
        return cls(spec["name"], spec["place"], tuple(spec["values"]), bounds)


class Table:
    """Rows of cells: one token a column.

    `header`, `delimiter`, `width` (cells a row): how the source is written, and what is made of it.
    """

    eot = None

    def __init__(
        self,
        columns: Iterable[Column],
        *,
        header: bool,
        delimiter: str,
        width: int,
        missing: Sequence[str] = MISSING,
    ):
        self.columns = tuple(columns)
        self.header, self.delimiter, self.width = header, delimiter, width
        self.missing = tuple(dict.fromkeys(["", *(text.lower() for text in missing)]))
        # token of each column's first value
        self.first = np.cumsum([0, *(len(column.values) for column in self.columns)])

    @property
    def vocab_size(self) -> int:
        return int(self.first[-1])

    @property
    def length(self) -> int:
        """Tokens a row."""
        return len(self.columns)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def allowed(self) -> np.ndarray:
        """(columns, vocab_size) bool: the tokens of each column."""
        token = np.arange(self.vocab_size)
        return (token >= self.first[:-1, None]) & (token < self.first[1:, None])

    def is_missing(self, text: str) -> bool:
        return text.lower() in self.missing

    def decode(self, ids) -> list[list[str]]:
        """Tokens (n, columns) as cells; `vocab_size`, which is no value, is an empty cell."""
        values = [value for column in self.columns for value in column.values] + [""]
        return [[values[i] for i in row] for row in np.asarray(ids).tolist()]

    def spell(self, i: int) -> str:
        place = int(np.searchsorted(self.first, i, side="right")) - 1
        column = self.columns[place]
        return f"{column.name}={column.values[i - self.first[place]]}"

    def write(self, rows: Iterable[Sequence[str]], header: Sequence[str] | None = None) -> str:
        """Rows of cells as a file of the source's kind, with plain newlines."""
        stream, rows = io.StringIO(), list(rows)
        # by itself, the writer would leave a carriage return without quotes
        returns = any("\r" in cell for row in rows for cell in row)
        quoting = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
        writer = csv.writer(stream, delimiter=self.delimiter, lineterminator="\n", quoting=quoting)
        if self.header:
            writer.writerow(self.names if header is None else header)
        writer.writerows(rows)
        return stream.getvalue()

    def spec(self) -> dict:
        return {
            "name": "table",
            "columns": [column.spec() for column in self.columns],
            "header": self.header,
            "delimiter": self.delimiter,
            "width": self.width,
            "missing": list(self.missing),
        }

    @classmethod
    def from_spec(cls, spec: dict) -> "Table":
        columns = [Column.from_spec(column) for column in spec["columns"]]
        written = {key: spec[key] for key in ("header", "delimiter", "width", "missing")}
        return cls(columns, **written)

    def files(self) -> dict[str, bytes]:
        return {}


def parse_number(text: str) -> float | None:
    """A finite decimal number, or None."""
    number = float(text) if NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else None


def are_numbers(texts: Iterable[str]) -> bool:
    """Whether a column with these values is one of numbers: all are, and none has leading zeros.

    Codes have leading zeros.
    """
    return all(parse_number(text) is not None and not CODE.fullmatch(text) for text in texts)


def number_column(name: str, place: int, counts: dict[str, int], bins: int) -> Column:
    """Bins for numbers, given how often each spelling of one occurs."""
    of_number: dict[float, dict[str, int]] = {}
    for text, count in counts.items():
        number: Any = parse_number(text)
        of_number.setdefault(number, {})[text] = count
    numbers = sorted(of_number)
    often = [sum(of_number[number].values()) for number in numbers]
    values, bounds = [], []
    for low, high in equal_parts(often, bins):
        inside = often[low:high]
        middle = low + int(np.searchsorted(np.cumsum(inside), sum(inside) / 2))
        spelled = of_number[numbers[middle]]
        values.append(max(spelled, key=lambda text: (spelled[text], -len(text), text)))
        if low:
            below, lowest = numbers[low - 1], numbers[low]
            between = below / 2 + lowest / 2
            # neighbouring floats have nothing between them
            bounds.append(between if below < between else lowest)
    return Column(name, place, tuple(values), tuple(bounds))


def equal_parts(often: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Consecutive parts of a list of counts, at most so many, of about equal sums."""
    if len(often) <= most:
        return [(i, i + 1) for i in range(len(often))]
    parts, low, left = [], 0, sum(often)
    for remaining in range(most, 0, -1):
        high, inside = low + 1, often[low]
        while high < len(often):
            # the next count belongs to this part if it brings the sum nearer to its share
            if remaining > 1 and inside + often[high] / 2 > left / remaining:
                break
            inside += often[high]
            high += 1
        parts.append((low, high))
        low, left = high, left - inside
        if low == len(often):
            break
    return parts
