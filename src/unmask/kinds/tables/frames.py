"""Data frames of pandas and polars as columns of text; typed files as such columns."""

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unmask.kinds import arrow
from unmask.kinds.tables.csv_source import Cells
from unmask.kinds.tables.numbers import Spelling, is_number, respelled
from unmask.kinds.tables.rules import MANY

LIBRARIES = ("pandas", "polars")
FRAME = Path("frame")  # instead of a file's name


class Column(NamedTuple):
    """A column of a frame: its cells as text, "" for a missing one, and what they were."""

    texts: list[str]
    type: str  # "int", "float", "bool" or "text"
    dtype: str = ""  # as its library calls it

    @property
    def has_categories(self) -> bool:
        """Whether its library says so, whatever the values are."""
        return self.dtype.startswith(("category", "Categorical", "Enum"))


def library_of(frame: Any) -> str:
    """One of LIBRARIES.  TypeError for anything else."""
    name, kind = type(frame).__module__.partition(".")[0], type(frame).__name__
    fix = ": collect() it first" if kind == "LazyFrame" else ""
    if fix or name not in LIBRARIES or not hasattr(frame, "columns"):
        raise TypeError(f"give a DataFrame of pandas or polars, not {kind}{fix}")
    return name


def columns_of(
    frame: Any, known: Collection[str] | None = None, leave_out: Collection[str] = ()
) -> dict[str, Column]:
    """The columns of a frame by name, of those `known` if they are given, but for those to
    `leave_out`; the index of pandas is none of them.

    ValueError for names and texts that a table cannot keep, such as blanks, which do not count
    around either, for two columns of one name, and for infinities.
    """
    library, found = library_of(frame), {}
    for i, given in enumerate(frame.columns):
        name = str(given)
        if name in leave_out or (known is not None and name not in known):
            continue
        if known is None:
            check_kept(given, "the frame")
        if name in found:
            raise ValueError(f"the frame has two columns {name!r}: rename one")
        series = frame.iloc[:, i] if library == "pandas" else frame.to_series(i)
        values = values_in(series, library)
        column = column_of(name, values)
        check_texts(f"column {name!r}", column.texts)
        for value, text in zip(values, column.texts, strict=True):
            if value is not None and not text:
                raise ValueError(
                    f"column {name!r} has the text {value!r}, which a table cannot tell from a "
                    "missing cell: make it missing, or another text"
                )
        found[name] = column._replace(dtype=dtype_of(series))
    return found


def check_kept(name: object, whose: str) -> None:
    """ValueError for the name of a column that a table cannot keep."""
    if not isinstance(name, str) or not name or name != name.strip() or "\0" in name:
        raise ValueError(
            f"{whose} has a column {name!r}: rename it, since names of columns are texts without "
            "zero bytes, or blanks around them"
        )


def check_texts(whose: str, texts: Iterable[str]) -> None:
    """ValueError for a text that a table cannot keep."""
    wrong = next((text for text in texts if "\0" in text), None)
    if wrong is not None:
        raise ValueError(
            f"{whose} has the text {wrong!r}, with a zero byte, which no table of texts has: "
            "correct it"
        )


def values_in(series: Any, library: str) -> list[Any]:
    """The values of a column of a frame; None for a missing one, which NaN is, too."""
    if library == "pandas" and str(series.dtype) == "category":
        # not of the column: beside missing cells its whole numbers would be others
        known = series.cat.categories.tolist()
        return [known[code] if code >= 0 else None for code in series.cat.codes.tolist()]
    # numbers of 32 bits as their library writes them, 0.1 and not 0.10000000149011612
    short = str(series.dtype).lower().partition("[")[0] in SHORT
    if library == "pandas":
        missing = series.isna().tolist()
        values = list(series.to_numpy("float32", na_value=math.nan)) if short else series.tolist()
    else:
        missing = series.is_null().to_list()
        values = list(series.to_numpy()) if short else series.to_list()
    return [None if m or is_nan(v) else v for m, v in zip(missing, values, strict=True)]


SHORT = ("float32", "float16", "float", "halffloat")  # the last two are pyarrow's names


def is_nan(value: Any) -> bool:
    return isinstance(value, float | np.floating | Decimal) and value != value


def dtype_of(series: Any) -> str:
    """What its library calls the type of a column; of categories of pandas, which they are, too."""
    if str(series.dtype) != "category":
        return str(series.dtype)
    known = [str(value) for value in series.cat.categories]
    return f"category {json.dumps([known, bool(series.cat.ordered)])}"


def column_of(name: str, values: Sequence[Any]) -> Column:
    types = {type_of(value) for value in values if value is not None}
    type = types.pop() if len(types) == 1 else "float" if types == {"int", "float"} else "text"
    texts = ["" if value is None else str(value).strip() for value in values]
    if type == "float" and any(value is not None and infinite(value) for value in values):
        raise ValueError(
            f"column {name!r} has infinite numbers: make them missing, or correct them"
        )
    if type == "text":
        spelled: dict[str, Any] = {}
        for text, value in zip(texts, values, strict=True):
            if value is None:
                continue
            first = spelled.setdefault(text, value)
            if type_of(first) != type_of(value) or str(first) != str(value):
                raise ValueError(
                    f"column {name!r} has the values {first!r} and {value!r}, which are the same "
                    "text but for blanks: correct them"
                )
    return Column(texts, type)


def type_of(value: Any) -> str:
    for name, types in TYPES.items():
        if isinstance(value, types):
            return name
    return "text"


TYPES: dict[str, Any] = {  # bool is an int, too
    "bool": (bool, np.bool_), "int": (int, np.integer), "float": (float, np.floating, Decimal)
}  # fmt: skip


def infinite(number: Any) -> bool:
    """Also of a whole one beyond floats."""
    try:
        return math.isinf(number)
    except OverflowError:
        return True


def numeric(column: Column, missing: Collection[str] = ()) -> bool:
    """Whether its texts could be numbers, but for those for what is `missing`: all, or a half of
    them or of the different ones, of so few that they can be categories."""
    words = {"", *map(str.lower, missing)}
    counts = Counter(text for text in column.texts if text.lower() not in words)
    numbers = [count for text, count in counts.items() if is_number(text)]
    if len(numbers) == len(counts):
        return True
    half = 2 * sum(numbers) >= counts.total() or 2 * len(numbers) >= len(counts)
    return half and len(counts) <= max(MANY, counts.total() / 2)


def cells_of(columns: Sequence[Sequence[str]], path: Path = FRAME) -> Cells:
    """Columns of texts, as a file has them; lines are counted from the first row."""
    texts, codes = [], []
    for column in columns:
        known: dict[str, int] = {}
        codes.append([known.setdefault(text, len(known)) for text in column])
        texts.append(list(known))
    matrix = np.array(codes, np.int32).T
    return Cells(path, ",", matrix, texts, np.arange(1, len(matrix) + 1))


def typed_cells(
    path: Path,
    leave_out: Sequence[str],
    spellings: Mapping[str, Spelling] | None = None,
    missing: Callable[[str], Collection[str]] = lambda name: (),
) -> tuple[Cells, list[str]]:
    """A Parquet file or a saved data set as a CSV file of it would be, its names first, and the
    columns of strings that look like numbers, which are none.

    spellings: of the numbers of the columns that are to be read, where that file would not have
    plain ones; None: all are to be read. missing: what texts of a column stand for none.
    ValueError for a column that is to be read and that is one of lists and the like, or has a name
    or a text that a table cannot keep; the cells of others are empty.
    """
    found, strings = {}, []
    for name, values in arrow.columns(path).items():
        wanted = name not in leave_out and (spellings is None or name in spellings)
        if not wanted:
            values = [None] * len(values)
        nested = next((v for v in values if isinstance(v, list | dict | bytes)), None)
        if nested is not None:
            said = f"column {name!r} holds values of type {type(nested).__name__}"
            raise ValueError(f"{path}: {said}: leave it out with --drop")
        values = [None if is_nan(v) else v for v in values]
        column = column_of(name, values)
        if wanted:
            if name:  # else it is called by its place, as in that file
                check_kept(name, str(path))
            check_texts(f"{path}: column {name!r}", column.texts)
        if column.type in ("int", "float") and (own := (spellings or {}).get(name)):
            column = column._replace(texts=[respelled(text, own) for text in column.texts])
        found[name] = column
        if any(isinstance(value, str) for value in values) and numeric(column, missing(name)):
            strings.append(name or f"column{len(found)}")
    return cells_of([[name, *column.texts] for name, column in found.items()], path), strings
