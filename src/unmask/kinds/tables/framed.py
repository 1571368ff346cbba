"""Columns of text as data frames of pandas and polars, and texts in the holes of such frames."""

import ast
import json
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from unmask.kinds.tables.frames import column_of, library_of, values_in
from unmask.kinds.tables.numbers import parse_number


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
        try:
            own = values_of([text for text in known if text], type)
            dtype = pandas.CategoricalDtype(own, ordered)
        except (ValueError, ArithmeticError):  # an unused one that is no number
            dtype = ""
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
