"""Data frames of pandas and polars as columns of text, and back; typed files as such columns."""

import ast
import json
import math
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unmask.kinds import arrow
from unmask.kinds.tables.csv_source import Cells
from unmask.kinds.tables.numbers import parse_number

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


def columns_of(frame: Any, known: Collection[str] | None = None) -> dict[str, Column]:
    """The columns of a frame by name, of those `known` if they are given; the index of pandas is
    none of them.

    ValueError for names and texts that a table cannot keep, such as blanks, which do not count
    around either, for two columns of one name, and for infinities.
    """
    library, found = library_of(frame), {}
    for i, given in enumerate(frame.columns):
        name = str(given)
        if known is not None and name not in known:
            continue
        if known is None and not (isinstance(given, str) and name and name == name.strip()):
            raise ValueError(
                f"the frame has a column {given!r}: rename it, since names of columns are texts "
                "without blanks around them"
            )
        if name in found:
            raise ValueError(f"the frame has two columns {name!r}: rename one")
        series = frame.iloc[:, i] if library == "pandas" else frame.to_series(i)
        values = values_in(series, library)
        column = column_of(name, values)
        for value, text in zip(values, column.texts, strict=True):
            if value is not None and not text:
                raise ValueError(
                    f"column {name!r} has the text {value!r}, which a table cannot tell from a "
                    "missing cell: make it missing, or another text"
                )
        found[name] = column._replace(dtype=dtype_of(series))
    return found


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
        values = list(series.to_numpy()) if short else series.to_list()
        missing = [value is None or is_nan(value) for value in values]
    return [None if m else v for m, v in zip(missing, values, strict=True)]


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


def frame_of(
    columns: Mapping[str, Sequence[str]],
    types: Mapping[str, str],
    library: str,
    dtypes: Mapping[str, str] | None = None,
) -> Any:
    """Cells as texts, "" for a missing one, as a frame of a library; `dtypes`: what its columns are
    called there, where that can hold them."""
    series_of = {"pandas": pandas_series, "polars": polars_series}[library]
    called = dtypes or {}
    made = {
        name: series_of(texts, types[name], called.get(name, "")) for name, texts in columns.items()
    }
    if library == "polars":
        import polars

        return polars.DataFrame(made)
    import pandas

    return pandas.DataFrame(made)


def pandas_series(texts: Sequence[str], type: str, dtype: Any = "") -> Any:
    """(n,) of its `dtype` or, where that cannot hold the values, of a plain one for the `type`."""
    import pandas

    values = values_of(texts, type)
    plain = {"int": "Int64", "float": "float64", "bool": "boolean"}.get(type, "object")
    if None not in values:  # numpy's own, which have no missing values
        plain = {"Int64": "int64", "boolean": "bool"}.get(plain, plain)
    if isinstance(dtype, str) and dtype.startswith("category "):  # see `dtype_of`
        known, ordered = json.loads(dtype.removeprefix("category "))
        dtype = pandas.CategoricalDtype(values_of(known, type), ordered)
    for one in filter(None, (dtype, plain)):
        try:
            series = pandas.Series(values, dtype=one)
        except (TypeError, ValueError, OverflowError, NotImplementedError):
            continue
        # numpy would make False of a missing cell, and a category that is not known one
        if series.isna().tolist() == [value is None for value in values]:
            return series
    return pandas.Series(values, dtype="object")


def polars_series(texts: Sequence[str], type: str, dtype: Any = "") -> Any:
    """As `pandas_series`."""
    import polars

    values = values_of(texts, type)
    named = str(dtype).partition("(")[0]
    if isinstance(dtype, str):
        dtype = polars_type(dtype)
    if type == "text" and named in ISO:
        try:
            values = [None if value is None else ISO[named](value) for value in values]
        except ValueError:  # times where the column has days, say
            dtype = None
    plain = {"int": polars.Int64, "float": polars.Float64, "bool": polars.Boolean}.get(type)
    for one in filter(None, (dtype, plain)):
        try:
            series = polars.Series(values, dtype=one)
        except (TypeError, ValueError, OverflowError, polars.exceptions.PolarsError):
            continue
        if series.is_null().to_list() == [value is None for value in values]:
            return series
    return polars.Series([text or None for text in texts], dtype=polars.String)


ISO: dict[str, Any] = {
    "Date": date.fromisoformat, "Datetime": datetime.fromisoformat, "Time": time.fromisoformat
}  # fmt: skip


def polars_type(said: str) -> Any:
    """A type by what polars calls it, "Datetime(time_unit='us', time_zone=None)" say; None for what
    is none, or nested.  It may be of a stranger's folder, so nothing else of polars is called."""
    import polars

    found = getattr(polars, said.partition("(")[0], None)
    if not (isinstance(found, type) and issubclass(found, polars.DataType)):
        return None
    try:
        call = ast.parse(said, mode="eval").body
        if isinstance(call, ast.Name):
            return found
        how = {word.arg: ast.literal_eval(word.value) for word in call.keywords}  # type: ignore
        return found(**how)
    except (SyntaxError, ValueError, TypeError, AttributeError):
        return None


def with_cells(frame: Any, cells: Mapping[str, Mapping[int, str]], types: Mapping[str, str]) -> Any:
    """A frame with these texts, by column and row, in place of its missing cells; all else is as it
    was.

    types: what the values of each column are, where the frame has none of it or others.  ValueError
    for a text that a column cannot hold.
    """
    library = library_of(frame)
    made = frame.copy() if library == "pandas" else frame
    for name, texts in cells.items():
        place = list(map(str, frame.columns)).index(name)
        series = frame.iloc[:, place] if library == "pandas" else frame.to_series(place)
        given = [value for value in values_in(series, library) if value is not None]
        own = [column_of(name, given).type] if given else []
        type = next(one for one in (*own, types[name], "text") if reads(one, texts.values()))
        if library == "pandas":
            made.isetitem(place, pandas_written(series, texts, type, not given))
        else:
            new = polars_written(series, texts, type, given)
            made = made.with_columns(new.alias(frame.columns[place]))
    return made


def pandas_written(series: Any, texts: Mapping[int, str], type: str, empty: bool) -> Any:
    named, new = str(series.dtype), pandas_series(list(texts.values()), type, series.dtype)
    if empty and (named == "object" or (new.dtype != series.dtype and named != "category")):
        new = pandas_series([texts.get(row, "") for row in range(len(series))], type)
        return new.set_axis(series.index)
    if named in ("category", "object"):  # what the column has for that text, an interval say
        own = series.cat.categories if named == "category" else series.dropna()
        value_of = {str(value).strip(): value for value in own}
        new = new.map(lambda value: value_of.get(str(value), value)).astype("object")
    if named == "category":
        more = [value for value in new.unique() if value not in series.cat.categories]
        if more and series.cat.ordered:
            raise ValueError(
                f"column {series.name!r} is ordered, and {more[0]!r} has no place among its "
                "categories: add it to them"
            )
        series = series.cat.add_categories(more)
        new = new.astype(series.dtype)
    if new.dtype != series.dtype:
        series, new = series.astype("object"), new.astype("object")
    made = series.copy()
    made.iloc[list(texts)] = new.array
    return made


def polars_written(series: Any, texts: Mapping[int, str], type: str, given: Sequence[Any]) -> Any:
    import polars

    new = polars_series(list(texts.values()), type, series.dtype)
    if new.dtype == series.dtype:
        return series.scatter(list(texts), new)
    if not given:
        return polars_series([texts.get(row, "") for row in range(len(series))], type)
    if new.dtype.is_numeric() and series.dtype.is_numeric():
        return series.cast(new.dtype).scatter(list(texts), new)
    own = {str(value).strip(): value for value in given}
    for text in texts.values():
        if text not in own:
            raise ValueError(
                f"column {series.name!r}, of type {series.dtype}, cannot hold {text!r}: leave it "
                "out of columns"
            )
    found = polars.Series([own[text] for text in texts.values()], dtype=series.dtype)
    return series.scatter(list(texts), found)


def reads(type: str, texts: Collection[str]) -> bool:
    """Whether these are values of a type."""
    if type == "bool":
        return set(texts) <= {"True", "False"}
    if type == "text":
        return True
    numbers = [parse_number(text) for text in texts]
    return None not in numbers and (type == "float" or all(n == int(n or 0) for n in numbers))


def whole(text: str) -> int:
    """Also of `3.0` and `1E+22`."""
    return int(Decimal(text))


def values_of(texts: Sequence[str], type: str) -> list[Any]:
    read: dict[str, Any] = {"int": whole, "float": float, "bool": "True".__eq__, "text": str}
    return [read[type](text) if text else None for text in texts]


def numeric(column: Column) -> bool:
    """Whether all of its texts could be numbers."""
    return all(parse_number(text) is not None for text in column.texts if text)


def cells_of(columns: Sequence[Sequence[str]], path: Path = FRAME) -> Cells:
    """Columns of texts, as a file has them; lines are counted from the first row."""
    texts, codes = [], []
    for column in columns:
        known: dict[str, int] = {}
        codes.append([known.setdefault(text, len(known)) for text in column])
        texts.append(list(known))
    matrix = np.array(codes, np.int32).T
    return Cells(path, ",", matrix, texts, np.arange(1, len(matrix) + 1))


def typed_cells(path: Path, leave_out: Sequence[str]) -> tuple[Cells, list[str]]:
    """A Parquet file or a saved data set as a CSV file of it would be, its names first, and the
    columns of strings that look like numbers, which are none.

    ValueError for a column of lists and the like that is not among those to `leave_out`.
    """
    found, strings = {}, []
    for name, values in arrow.columns(path).items():
        if name in leave_out:
            values = [None] * len(values)
        nested = next((v for v in values if isinstance(v, list | dict | bytes)), None)
        if nested is not None:
            said = f"column {name!r} holds values of type {type(nested).__name__}"
            raise ValueError(f"{path}: {said}: leave it out with --drop")
        values = [None if is_nan(v) else v for v in values]
        column = found[name] = column_of(name, values)
        if any(isinstance(value, str) for value in values) and numeric(column):
            strings.append(name)
    return cells_of([[name, *column.texts] for name, column in found.items()], path), strings
