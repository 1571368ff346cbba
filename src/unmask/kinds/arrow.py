"""Columns of Parquet files, and of folders that `datasets` saved, which hold Arrow files.

Both are read by pyarrow, an extra.  Nothing of a folder is run, and no name in it is looked up.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unmask.documents import read_json
from unmask.kinds.sources import PARQUET, first_bytes, what_is

STATE, MANY = "state.json", "dataset_dict.json"
FORM = {"_data_files": [{"filename": str}]}
ROWS = 4096  # at a time


def is_dataset(path: Path) -> bool:
    """Whether a folder was saved by `datasets`, as one split.  ValueError for one of several."""
    if (path / MANY).is_file():
        splits = sorted(inside.name for inside in path.iterdir() if (inside / STATE).is_file())
        known = ", ".join(splits) or "none"
        raise ValueError(
            f"{path} holds a data set of several splits ({known}): name one of them, {path}/train, "
            "say, and others as --validation and --test"
        )
    return (path / STATE).is_file() and (path / "dataset_info.json").is_file()


def is_columnar(path: Path) -> bool:
    """Whether it is a Parquet file, or a folder that `datasets` saved."""
    if path.is_dir():
        return is_dataset(path)
    return path.is_file() and what_is(first_bytes(path)) == PARQUET


def shards(folder: Path) -> list[Path]:
    """The files of a saved data set, in their order.  ValueError if one is missing."""
    named = [one["filename"] for one in read_json(folder / STATE, FORM)["_data_files"]]
    there = {path.name: path for path in folder.glob("*.arrow")}
    lost = [name for name in named if name not in there]
    if lost or not named:
        said = f"{lost[0]!r} is missing" if lost else f"{STATE} names no file"
        raise ValueError(f"{folder}: {said}: copy the folder again")
    return [there[name] for name in named]


def files_of(path: Path) -> list[Path]:
    return shards(path) if path.is_dir() else [path]


def batches(path: Path) -> Iterator[Any]:
    """A Parquet or Arrow file as pyarrow's record batches.

    ValueError where pyarrow is not installed, or cannot read the file.
    """
    with understood(path) as pyarrow:
        # before version 14.0.1 it ran what a file told it to, and so an older one is not asked for
        if path.suffix == ".arrow":
            with pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_stream(file) as reader:
                yield from reader
            return
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            yield from file.iter_batches(ROWS)


@contextmanager
def understood(path: Path) -> Iterator[Any]:
    """pyarrow, and its errors as a ValueError that names the file."""
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError:
        raise ValueError(
            f"{path} is {kind_of_file(path)}, which pyarrow reads: pip install 'unmask[parquet]'"
        ) from None
    try:
        yield pyarrow
    except (pyarrow.ArrowException, OSError) as error:
        said = " ".join(str(error).split())[:200]
        what = kind_of_file(path)
        raise ValueError(f"{path} is {what} that cannot be read ({said}): fetch it again") from None


def kind_of_file(path: Path) -> str:
    return "an Arrow file" if path.suffix == ".arrow" else PARQUET


def texts(path: Path, field: str) -> Iterator[str | bytes | None]:
    """The values of a column of texts, None where there is none, and the bytes where they are not
    UTF-8, which no format holds them to.

    ValueError for a column that is not there, or not of texts.
    """
    for batch in batches(path):
        names = batch.schema.names
        if field not in names:
            said = f"there is no column {field!r}: name one of {', '.join(names)} with --field"
            raise ValueError(f"{path}: {said}")
        column = batch.column(names.index(field))
        if not is_text(column.type):
            said = f"the column {field!r} is of type {column.type}, and not of texts"
            raise ValueError(f"{path}: {said}: name another with --field")
        if hasattr(column, "dictionary_decode"):  # of categories
            column = column.dictionary_decode()
        try:
            rows = column.to_pylist()
        except UnicodeDecodeError:
            rows = [text_or_bytes(one.as_buffer()) for one in column]
        yield from rows


def text_or_bytes(buffer: Any) -> str | bytes | None:
    """What a buffer of pyarrow's holds."""
    if buffer is None:
        return None
    raw = buffer.to_pybytes()
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


def is_text(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_dictionary(kind):
        kind = kind.value_type
    return types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind)


def values_in(column: Any) -> list[Any]:
    """The values of a column, None for missing ones; numbers of up to 32 bits of their own size,
    whose text is 0.1 and not 0.10000000149011612."""
    import pyarrow.types as types

    if not (types.is_float16(column.type) or types.is_float32(column.type)):
        return column.to_pylist()
    missing = column.is_null().to_pylist()
    values = column.to_numpy(zero_copy_only=False)
    return [None if none else value for none, value in zip(missing, values, strict=True)]


def columns(path: Path) -> dict[str, list[Any]]:
    """All values of a Parquet file or a saved data set, by column, None for those that are missing.

    ValueError for two columns of one name, and for shards with other columns than the first.
    """
    found: dict[str, list[Any]] = {}
    for file in files_of(path):
        for batch in batches(file):
            names = batch.schema.names
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ValueError(f"{file} has two columns {twice!r}: rename one")
            found = found or {name: [] for name in names}
            if list(found) != names:
                raise ValueError(f"{file} has other columns than the files before: save them anew")
            for name, column in zip(names, batch.columns, strict=True):
                try:
                    found[name] += values_in(column)
                except UnicodeDecodeError:
                    said = f"column {name!r} holds bytes that are not UTF-8"
                    raise ValueError(f"{file}: {said}: write the file anew as UTF-8") from None
    if not found:
        raise ValueError(f"{path} is empty: give a file with at least one row")
    return found
