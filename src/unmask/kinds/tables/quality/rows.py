"""Rows of several files as columns of floats and of codes, the same codes in all files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from unmask.kinds.tables.numbers import PLAIN, Spelling, parse_number


class Field(NamedTuple):
    """A column, as it is compared."""

    name: str
    number: bool  # else categories
    spelling: Spelling = PLAIN  # of numbers


class Texts(NamedTuple):
    """A column as a file spells it: the cell of row i is `texts[codes[i]]`."""

    codes: np.ndarray  # (n,)
    texts: list[str]


@dataclass(frozen=True)
class Rows:
    """Rows of one file.

    values: of each column, (n,) float64 with NaN for a missing number, or int64 that says which
    of `labels` a category is, -1 if it is missing.
    """

    fields: list[Field]
    labels: list[list[str]]  # sorted; none of numbers
    values: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.values[0])

    def take(self, chosen: np.ndarray) -> "Rows":
        return replace(self, values=[column[chosen] for column in self.values])

    def missing(self) -> np.ndarray:
        """(n, columns) bool."""
        pairs = zip(self.fields, self.values, strict=True)
        return np.stack([np.isnan(v) if field.number else v < 0 for field, v in pairs], 1)


def transposed(rows: Sequence[Sequence[str]], width: int) -> list[Texts]:
    """Rows of cells as columns."""
    places: list[dict[str, int]] = [{} for _ in range(width)]
    codes = np.empty((len(rows), width), np.int64)
    for c, place in enumerate(places):
        codes[:, c] = [place.setdefault(row[c], len(place)) for row in rows]
    return [Texts(codes[:, c], list(place)) for c, place in enumerate(places)]


def align(
    fields: list[Field], files: dict[str, list[Texts]], is_missing: Callable[[str, str], bool]
) -> dict[str, Rows]:
    """The rows of several files, their categories numbered alike.

    ValueError, with the file, for a cell of a column of numbers that is none.
    """
    labels: list[list[str]] = []
    values: dict[str, list[np.ndarray]] = {name: [] for name in files}
    for c, field in enumerate(fields):
        known: list[str] = []
        if not field.number:
            used = {text for columns in files.values() for text in occurring(columns[c])}
            known = sorted(text for text in used if not is_missing(text, field.name))
        labels.append(known)
        place = {text: i for i, text in enumerate(known)}
        for name, columns in files.items():
            codes, texts = columns[c]
            if field.number:
                of = numbers_of(columns[c], name, field, is_missing)
            else:
                of = np.array([place.get(text, -1) for text in texts], np.int64)
            values[name].append(of[codes])
    return {name: Rows(fields, labels, columns) for name, columns in values.items()}


def occurring(column: Texts) -> list[str]:
    return [column.texts[i] for i in np.unique(column.codes)]


def numbers_of(
    column: Texts, file: str, field: Field, is_missing: Callable[[str, str], bool]
) -> np.ndarray:
    """(texts,) float64, NaN where one is missing."""
    used = set(occurring(column))
    found = np.full(len(column.texts), np.nan)
    for i, text in enumerate(column.texts):
        if text not in used or is_missing(text, field.name):
            continue
        number = parse_number(text, field.spelling)
        if number is None:
            raise ValueError(
                f"{file}: {text!r} in column {field.name!r} is not a number: correct it, or "
                "leave the cell empty if it is missing"
            )
        found[i] = number
    return found
