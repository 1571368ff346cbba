"""The columns of a table as tokens, and back.

A row is a sequence of places.  Every column has one for its value and, if some of its cells are
missing, one before it that says whether there is a value; where there is none, the value's place
holds a fixed `none`.  The two are linked: what is revealed at one decides what the other can be.
So rows and sequences are one to one, and a cell may be known to have a value that is not known.

Every place has an alphabet of its own, and the vocabulary is all of them one after the other: a
token says which place it is of.  The categories of a column stand in sorted order.

Numbers are cut into bins of about as many training rows each, equal numbers always in one bin;
where there are no more different numbers than bins, each has its own.  A bin is called by its
median, which is one of its numbers as the source spells it.  What is drawn is a number of the bin,
from a law of the bin alone (`bins.Within`), and reading it again gives the same bin.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from unmask.kinds.output import csv_of
from unmask.kinds.tables.bins import Within
from unmask.kinds.tables.numbers import (
    PLAIN,
    Spelling,
    are_numbers,
    parse_number,
    plainly,
    respelled,
    spelling_of,
)
from unmask.kinds.traits import Traits, traits_of

# in the place of a value's number: a cell that is missing; one with a value that is not known
ABSENT, UNKNOWN = -1, -2
# what a missing cell is: a fact of its own; a value that nobody knows; or, of tables that an
# earlier version prepared, a place that is not there
READINGS = ("missing", "unknown", "absent")
RANKED = 256  # categories that are numbers: more are codes, and a long column costs all others
MISSING = ("", "?", "na", "n/a", "nan", "null")  # cells without a value, in lower case


class Column(NamedTuple):
    """A column of categories, or of numbers in bins."""

    name: str
    place: int  # in a row of the source
    values: tuple[str, ...]  # how its tokens are written
    bounds: tuple[float, ...] | None = None  # where each bin but the first begins; categories: None
    missing: bool = False  # whether cells may be missing, as a fact of its own
    within: Within | None = None  # of numbers: which one of its bin a cell has; None: the median
    spelling: Spelling = PLAIN  # of its numbers

    @property
    def has_two(self) -> bool:
        """Whether a place says if there is a value: where all cells are missing, that is known."""
        return self.missing and bool(self.values)

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) which of `values` each text is, -1 where it is no category or no number."""
        if not self.values:
            return np.full(len(texts), -1)
        if self.bounds is None:
            place = {value: i for i, value in enumerate(self.values)}
            return np.array([place.get(text, -1) for text in texts], np.int64)
        found = [parse_number(text, self.spelling) for text in texts]
        numbers = np.array(found, np.float64)  # None: NaN
        bins = np.searchsorted(np.array(self.bounds), numbers, side="right")
        return np.where(np.isnan(numbers), -1, bins)

    @property
    def rank(self) -> np.ndarray | None:
        """(n,) where each value lies among the others, from 0; None unless they are three or more
        numbers, and of categories no more than `RANKED`."""
        count = len(self.values)
        if count < 3:
            return None
        if self.bounds is not None:
            return np.arange(count)
        if count > RANKED or not are_numbers(self.values, self.spelling):
            return None
        numbers = [parse_number(value, self.spelling) for value in self.values]
        return np.unique(np.array(numbers, np.float64), return_inverse=True)[1]

    @property
    def misplaced(self) -> np.ndarray:
        """(bins - 1,) bool: whether the law within bins has another first number of a bin than its
        cells have."""
        assert self.within is not None and self.bounds is not None
        first = self.within.first[self.within.begins[2:] - 1]
        number = self.within.scale.number
        sides = [(float(number(k - 1)), float(number(k))) for k in first.tolist()]
        below, at = np.array(sides).reshape(-1, 2).T
        return (below >= self.bounds) | (at < self.bounds)

    def draw(
        self, values: np.ndarray, generator: np.random.Generator, only: np.ndarray | None = None
    ) -> list[str]:
        """Of values (n,) by their number, texts: of a bin, a number that is drawn; `only`: from
        these spans of `Within`."""
        if self.within is None:
            return [self.values[i] for i in values]
        drawn = self.within.draw(values, generator, only)
        texts = [respelled(text, self.spelling) for text in drawn]
        if only is not None:
            return texts
        # where floats are too coarse for the bounds, the median is sure to be in the bin
        same = self.encode(texts) == values
        pairs = zip(texts, same, values, strict=True)
        return [text if right else self.values[i] for text, right, i in pairs]

    def steps(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) where numbers stand among those of the column, see `Within.steps`."""
        assert self.within is not None
        return self.within.steps([plainly(text, self.spelling) for text in texts])

    def log_steps(self, texts: Sequence[str]) -> np.ndarray:
        """(n,) log of the step between numbers at each text, see `Within.log_steps`."""
        assert self.within is not None
        return self.within.log_steps([plainly(text, self.spelling) for text in texts])

    def spec(self) -> dict:
        bounds = None if self.bounds is None else list(self.bounds)
        spec = self._asdict() | {"values": list(self.values), "bounds": bounds}
        del spec["within"]
        if self.spelling == PLAIN:  # as earlier versions wrote it
            del spec["spelling"]
        else:
            spec["spelling"] = list(self.spelling)
        return spec | ({} if self.within is None else {"within": self.within.spec()})

    @classmethod
    def from_spec(cls, spec: dict) -> "Column":
        bounds = None if spec["bounds"] is None else tuple(spec["bounds"])
        missing = bool(spec.get("missing", False))
        spelling = spelling_of(spec["spelling"]) if "spelling" in spec else PLAIN
        within = Within(**spec["within"]) if "within" in spec else None
        values = tuple(spec["values"])
        if within is not None and (bounds is None or within.bins[-1] + 1 != len(values)):
            raise ValueError(f"column {spec['name']!r} has a law of other bins than its own")
        if bounds is not None and len(bounds) != max(len(values) - 1, 0):
            raise ValueError(f"column {spec['name']!r} has {len(bounds)} bounds of its bins")
        return cls(spec["name"], spec["place"], values, bounds, missing, within, spelling)


class Place(NamedTuple):
    """A position of the sequence that a row is."""

    column: int
    says: str  # "present": whether there is a value, or "value"
    values: tuple[str, ...]  # how its tokens are spelled


class Table:
    """Rows of cells: a token for each place.

    `missing`: texts without a value, in any case; `missing_in`: of columns that have their own.
    `missing_is`: one of READINGS.  `header`, `delimiter`, `width` (cells a row): how the source is
    written, and what is made of it.
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
        missing_in: Mapping[str, Sequence[str]] | None = None,
        missing_is: str = "missing",
    ):
        if missing_is not in READINGS:
            raise ValueError(f"missing_is {missing_is!r} must be one of {', '.join(READINGS)}")
        self.columns = tuple(columns)
        self.header, self.delimiter, self.width = header, delimiter, width
        self.missing, self.missing_is = without_values(missing), missing_is
        own = (missing_in or {}).items()
        self.missing_in = {name: without_values(texts) for name, texts in own}
        self.places = tuple(place for c, one in enumerate(self.columns) for place in places(c, one))
        # token of each place's first value
        self.first = np.cumsum([0, *(len(place.values) for place in self.places)])
        at = {(place.column, place.says): i for i, place in enumerate(self.places)}
        count = range(len(self.columns))
        self.value_at = np.array([at[c, "value"] for c in count], np.int64)
        self.present_at = np.array([at.get((c, "present"), -1) for c in count], np.int64)

    @property
    def vocab_size(self) -> int:
        return int(self.first[-1])

    @property
    def length(self) -> int:
        """Tokens a row."""
        return len(self.places)

    @property
    def names(self) -> list[str]:
        return [column.name for column in self.columns]

    @property
    def place_names(self) -> list[str]:
        told = {"present": " (present or missing)", "value": ""}
        return [self.names[place.column] + told[place.says] for place in self.places]

    @property
    def allowed(self) -> np.ndarray:
        """(places, vocab_size) bool: the tokens of each place."""
        token = np.arange(self.vocab_size)
        return (token >= self.first[:-1, None]) & (token < self.first[1:, None])

    @property
    def none(self) -> np.ndarray:
        """(columns,) the token that a value's place has where the cell is missing; -1: it has none
        such."""
        last = self.first[self.value_at + 1] - 1
        return np.where([column.missing for column in self.columns], last, -1)

    @property
    def links(self) -> tuple[np.ndarray, np.ndarray] | None:
        """(places,) which place tells of the same cell, -1: none; (vocab_size,) 1 for the tokens of
        missing cells, and 0 for others.  None where no column has two places."""
        two = np.flatnonzero(self.present_at >= 0)
        if not len(two):
            return None
        partner, group = np.full(self.length, -1), np.zeros(self.vocab_size, np.int64)
        present, value = self.present_at[two], self.value_at[two]
        partner[present], partner[value] = value, present
        group[self.first[present] + 1] = 1
        group[self.none[self.none >= 0]] = 1
        return partner, group

    @property
    def traits(self) -> Traits | None:
        """Where the numbers of each column lie among each other.  None where no column has three
        numbers."""
        ranks = {
            first: rank
            for first, place in zip(self.first.tolist(), self.places, strict=False)
            if place.says == "value" and (rank := self.columns[place.column].rank) is not None
        }
        return traits_of(ranks, self.vocab_size)

    def of(self, columns: Iterable[Column]) -> "Table":
        """The same kind of file with these columns."""
        return Table(
            columns,
            header=self.header,
            delimiter=self.delimiter,
            width=self.width,
            missing=self.missing,
            missing_in=self.missing_in,
            missing_is=self.missing_is,
        )

    def is_missing(self, text: str, column: str = "") -> bool:
        return text.lower() in self.missing_in.get(column, self.missing)

    def tokens(self, cells: np.ndarray) -> np.ndarray:
        """(n, places) of cells (n, columns), each the number of a value of its column, ABSENT or
        UNKNOWN; `vocab_size`: not known to the model.

        An UNKNOWN cell has a value.  ABSENT ones are not known where they are no facts.
        """
        rows = np.full((len(cells), self.length), self.vocab_size)
        value, known = self.first[self.value_at] + cells, cells >= 0
        facts = (cells == ABSENT) & (self.none >= 0)
        rows[:, self.value_at] = np.where(known, value, np.where(facts, self.none, self.vocab_size))
        for c in np.flatnonzero(self.present_at >= 0):
            place = self.present_at[c]
            rows[:, place] = self.first[place] + (cells[:, c] == ABSENT)
        return rows

    def cells(self, ids: np.ndarray) -> np.ndarray:
        """(n, columns) of tokens (n, places): the number of each cell's value, or ABSENT."""
        values = np.asarray(ids)[:, self.value_at].astype(np.int64)
        none = (values == self.none) | (values == self.vocab_size)
        return np.where(none, ABSENT, values - self.first[self.value_at])

    def draw(
        self, ids, generator: np.random.Generator, only: Mapping[int, np.ndarray] | None = None
    ) -> list[list[str]]:
        """Tokens (n, places) as cells (n, columns), numbers drawn within their bins; a missing one
        is empty.  `only`: of some columns, by their number, the spans of `Within` to draw from.

        A column has a stream of its own: fewer rows are the first ones, and one column's spans
        leave the others as they are.
        """
        cells, only = self.cells(np.asarray(ids)), only or {}
        texts = np.full(cells.shape, "", object)
        streams = generator.spawn(len(self.columns))
        for c, (column, own) in enumerate(zip(self.columns, streams, strict=True)):
            there = cells[:, c] >= 0
            texts[there, c] = column.draw(cells[there, c], own, only.get(c))
        return texts.tolist()

    def decode(self, ids) -> list[list[str]]:
        """Tokens (n, places) as cells (n, columns), numbers by the medians of their bins; a missing
        one is empty, and so is one of `vocab_size`, which is no value."""
        found = []
        for row in self.cells(np.asarray(ids)).tolist():
            values = zip(self.columns, row, strict=True)
            found.append([column.values[i] if i >= 0 else "" for column, i in values])
        return found

    def spell(self, i: int) -> str:
        number = int(np.searchsorted(self.first, i, side="right")) - 1
        place = self.places[number]
        return f"{self.names[place.column]}={place.values[i - self.first[number]]}"

    def write(self, rows: Iterable[Sequence[str]], header: Sequence[str] | None = None) -> str:
        """Rows of cells as a file of the source's kind, with plain newlines."""
        names = [self.names if header is None else header] if self.header else []
        return csv_of([*names, *rows], self.delimiter)

    def spec(self) -> dict:
        spec = {
            "name": "table",
            "columns": [column.spec() for column in self.columns],
            "header": self.header,
            "delimiter": self.delimiter,
            "width": self.width,
            "missing": list(self.missing),
        }
        if self.missing_is == "absent":  # as an earlier version wrote it
            for column in spec["columns"]:
                del column["missing"]
            return spec
        own = {name: list(texts) for name, texts in self.missing_in.items()}
        return spec | {"missing_in": own, "missing_is": self.missing_is}

    @classmethod
    def from_spec(cls, spec: dict) -> "Table":
        columns = [Column.from_spec(column) for column in spec["columns"]]
        written = {key: spec[key] for key in ("header", "delimiter", "width", "missing")}
        written["missing_in"] = spec.get("missing_in")
        return cls(columns, **written, missing_is=spec.get("missing_is", "absent"))

    def files(self) -> dict[str, bytes]:
        return {}


def places(number: int, column: Column) -> Iterator[Place]:
    """Those of a column, by its number."""
    if column.has_two:
        yield Place(number, "present", ("present", "missing"))
    yield Place(number, "value", column.values + ("none",) * column.missing)


def without_values(texts: Sequence[str]) -> tuple[str, ...]:
    """Texts of missing cells, in lower case; an empty one is always among them."""
    return tuple(dict.fromkeys(["", *(text.lower() for text in texts)]))


def check_name(name: str, names: Sequence[str]) -> None:
    if name not in names:
        known = ", ".join(names) + did_you_mean(name, names)
        raise ValueError(f"there is no column {name!r} among {known}")


def did_you_mean(text: str, known: Sequence[str]) -> str:
    for close in difflib.get_close_matches(text, known, 1):
        return f" (did you mean {close!r}?)"
    return ""
