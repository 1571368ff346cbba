"""Data frames of pandas and polars as columns of text, and back; typed files as such columns."""

import math
from collections.abc import Mapping, Sequence
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


def library_of(frame: Any) -> str:
    """One of LIBRARIES.  TypeError for anything else."""
    name = type(frame).__module__.partition(".")[0]
    if name not in LIBRARIES or not hasattr(frame, "columns"):
        raise TypeError(f"give a DataFrame of pandas or polars, not {type(frame).__name__}")
    return name


def columns_of(frame: Any) -> dict[str, Column]:
    """The columns of a frame by name; the index of pandas is none of them.

    ValueError for two columns of one name, for infinities, and for texts that a table cannot tell
    apart, since blanks around a cell do not count.
    """
    library = library_of(frame)
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the frame has two columns {twice!r}: rename one")
    found = {}
    for i, name in enumerate(names):
        if library == "pandas":
            series = frame.iloc[:, i]
            missing = series.isna().tolist()
            values = [None if m else v for m, v in zip(missing, series.tolist(), strict=True)]
        else:
            values = frame.to_series(i).to_list()
            values = [None if isinstance(v, float) and math.isnan(v) else v for v in values]
        found[name] = column_of(name, values)
    return found


def column_of(name: str, values: Sequence[Any]) -> Column:
    types = {type_of(value) for value in values if value is not None}
    type = types.pop() if len(types) == 1 else "float" if types == {"int", "float"} else "text"
    texts = ["" if value is None else str(value).strip() for value in values]
    if type == "float" and any(value is not None and math.isinf(value) for value in values):
        raise ValueError(
            f"column {name!r} has infinite numbers: make them missing, or correct them"
        )
    if type == "text":
        spelled: dict[str, Any] = {}
        for text, value in zip(texts, values, strict=True):
            if value is None:
                continue
            if spelled.setdefault(text, value) != value:
                raise ValueError(
                    f"column {name!r} has the values {spelled[text]!r} and {value!r}, which are "
                    "the same text but for blanks: correct them"
                )
    return Column(texts, type)


def type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    return {int: "int", float: "float"}.get(type(value), "text")


def frame_of(columns: Mapping[str, Sequence[str]], types: Mapping[str, str], library: str) -> Any:
    """Cells as texts, "" for a missing one, as a frame of a library."""
    values = {name: values_of(texts, types[name]) for name, texts in columns.items()}
    if library == "polars":
        import polars

        kinds = {"int": polars.Int64, "float": polars.Float64, "bool": polars.Boolean}
        schema = {name: kinds.get(types[name], polars.String) for name in values}
        return polars.DataFrame(values, schema=schema)
    import pandas

    kinds = {"int": "Int64", "float": "float64", "bool": "boolean"}
    made = {}
    for name, column in values.items():
        dtype = kinds.get(types[name], "object")
        if None not in column:  # numpy's own, which have no missing values
            dtype = {"Int64": "int64", "boolean": "bool"}.get(dtype, dtype)
        made[name] = pandas.Series(column, dtype=dtype)
    return pandas.DataFrame(made)


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
        values = [None if isinstance(v, float) and math.isnan(v) else v for v in values]
        column = found[name] = column_of(name, values)
        if any(isinstance(value, str) for value in values) and numeric(column):
            strings.append(name)
    return cells_of([[name, *column.texts] for name, column in found.items()], path), strings
