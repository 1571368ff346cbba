"""The three sides of a comparison, training rows, real rows held out and synthetic ones, read.

All that is known here of how tables are prepared and kept.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from unmask.files import no_file
from unmask.kinds.folder import cut_by_digest, parse_split, progress_bars
from unmask.kinds.sources import read_blocks
from unmask.kinds.tables.columns import Column, Table
from unmask.kinds.tables.csv_source import Cells, decode, read_cells
from unmask.kinds.tables.prepare import encode, find_columns
from unmask.kinds.tables.quality.rows import Field, Rows, Texts, align, transposed
from unmask.kinds.tables.splits import some_of_each, split_digests, table_of_group

LEAST = 10  # rows of each side


class Sides(NamedTuple):
    train: Rows
    held_out: Rows
    synthetic: Rows
    hashed: bool  # real rows are in an order by a hash, equal ones together, and cut there
    together: bool  # so, or by groups: which rows are in one split is no matter of each by itself
    notes: list[str]  # on how they were read


def read_sides(data: Any, path: Path, *, split: str, sources: list[Path], encoding: str) -> Sides:
    """Of prepared data and a CSV file of synthetic rows.

    sources: the CSV files that the data were prepared from, whose own numbers then count; none:
    numbers count by the bins in which the data keep them, those of synthetic rows, too.
    encoding: of the sources, or of synthetic rows without; with them, of rows that are not UTF-8.
    """
    table = data.tokenizer
    own = "" if sources and encoding and is_readable(path) else encoding
    synthetic = read_file(path, table, own)
    if sources:
        real = of_sources(data, sources, split, encoding)
        texts = [of_cells(synthetic), *real]
        notes = [f"numbers are those of {', '.join(map(str, sources))} and of {path}"]
    else:
        real = [of_split(data, one) for one in ("train", split)]
        texts = [in_bins(side, table) for side in (of_cells(synthetic), *real)]
        notes = [
            "numbers count by the bins in which the data keep them: what the bins lose is not "
            "seen; --source, with the files that the data were made of, compares the numbers"
        ]
    fields = [Field(one.name, one.bounds is not None, one.spelling) for one in table.columns]
    names = [str(path), f"{data.folder}, train", f"{data.folder}, {split}"]
    found = align(fields, dict(zip(names, texts, strict=True)), table.is_missing)
    for name, rows in found.items():
        if len(rows) < LEAST:
            raise ValueError(
                f"{name}: {len(rows)} rows are too few to say anything of: give at least {LEAST}"
            )
    made, train, held_out = found.values()
    by_hash = data.meta.get("together") or data.meta["format"] == 1
    cut = data.meta.get("split") != "files"
    hashed = cut and bool(by_hash)
    together = hashed or (cut and bool(data.meta.get("group")))
    if table.missing_is == "unknown" and any(side.missing().any() for side in (train, held_out)):
        notes.append(
            "cells whose values are not known are empty in real rows, and in no synthetic one: "
            "detection, pair trends, missing rates and the closest records see that, too"
        )
    return Sides(train, held_out, made, hashed, together, notes)


def read_file(path: Path, table: Table, encoding: str) -> Cells:
    """The table's columns in a file.  ValueError as in `read_cells` and `find_columns`."""
    if not path.is_file():
        raise no_file(path, f"there is no file {path}: name a CSV file")
    with progress_bars([path], True)("read") as bar:
        cells = read_cells(path, bar, delimiter=table.delimiter, encoding=encoding)
    return find_columns(cells, table)


def is_readable(path: Path) -> bool:
    """Whether a file is UTF-8, as `unmask sample` writes it, or what its byte-order mark says.

    One with escape characters is in an encoding of 7 bits, such as iso-2022-jp.
    """
    if not path.is_file():
        return False
    try:
        with tqdm(disable=True) as quiet:
            return not any("\x1b" in text for text in decode(read_blocks(path, quiet), path, ""))
    except ValueError:
        return False


def of_cells(cells: Cells) -> list[Texts]:
    pairs = zip(cells.codes.T, cells.texts, strict=True)
    return [Texts(codes, texts) for codes, texts in pairs]


def of_split(data: Any, split: str) -> list[Texts]:
    """Rows as the data keep them."""
    if split not in data.splits:
        raise ValueError(
            f"{data.folder} has no {split} rows to compare with: name another --split, or "
            "prepare the data with such rows"
        )
    tokens = np.asarray(data.tokens(split)).reshape(-1, data.length)
    return transposed(data.tokenizer.decode(tokens), len(data.tokenizer.columns))


def in_bins(side: list[Texts], table: Table) -> list[Texts]:
    """Numbers as what their bins are written as; what is no number stays as it is."""
    pairs = zip(side, table.columns, strict=True)
    return [column_in_bins(texts, column, table) for texts, column in pairs]


def column_in_bins(side: Texts, column: Column, table: Table) -> Texts:
    if column.bounds is None:
        return side
    texts = []
    for text, bin in zip(side.texts, column.encode(side.texts), strict=True):
        known = bin >= 0 and not table.is_missing(text, column.name)
        texts.append(column.values[bin] if known else text)
    return Texts(side.codes, texts)


def of_sources(data: Any, sources: list[Path], split: str, encoding: str) -> list[list[Texts]]:
    """Training rows and those of a split, from the files that the data were prepared from.

    ValueError for files in which the rows are not those of the data.
    """
    table = data.tokenizer
    files = [read_file(path, table, encoding) for path in sources]
    chosen = {"train": (files[0], np.arange(len(files[0].codes)))}
    if data.meta.get("split") == "files":
        wanted = len(data.meta["source"])
        if len(sources) != wanted:
            raise ValueError(
                f"{data.folder} was prepared from {wanted} files, and --source names "
                f"{len(sources)}: name them in that order, with commas between them"
            )
        given = [one for one in ("train", "validation", "test") if one in data.splits]
        chosen |= {one: (f, np.arange(len(f.codes))) for one, f in zip(given, files, strict=True)}
    else:
        splits = drawn(data, files[0], sources[0], encoding)
        chosen = {one: (files[0], rows) for one, rows in splits.items()}
    found = []
    for one in ("train", split):
        of_split(data, one)  # a split that is empty is an error here
        cells, rows = chosen[one]
        tokens = np.asarray(data.tokens(one)).reshape(-1, data.length)
        for unseen in ("missing", "unknown"):  # the data do not say what --unseen was
            read = table.tokens(encode(cells, table, unseen))[rows]
            full = (read != table.vocab_size).any(1)
            if np.array_equal(read[full], tokens):
                break
        else:
            raise ValueError(
                f"{', '.join(map(str, sources))}: its rows are not those of {data.folder}, {one}: "
                "name the file that the data were prepared from, or leave out --source"
            )
        found.append([Texts(texts.codes[rows][full], texts.texts) for texts in of_cells(cells)])
    return found


def drawn(data: Any, cells: Cells, source: Path, encoding: str) -> dict[str, np.ndarray]:
    """Which rows of the source, whose `cells` are the columns of the data, went to each split.

    ValueError where the data do not say.
    """
    meta, table = data.meta, data.tokenizer
    if "split_seed" not in meta:
        raise ValueError(
            f"{data.folder} does not say how its rows were drawn: prepare it again, or leave out "
            "--source"
        )
    group, together = meta["group"], meta["together"]
    if group and group not in table.names:  # it was dropped once rows were split
        table = table_of_group(group, table)
        cells = read_file(source, table, encoding)
    every = list(range(len(table.names)))
    digests = split_digests(cells, every, table, meta["split_seed"], group, together)
    shares = parse_split(meta["split"])
    if not group and not together:
        shares = some_of_each(shares, len(digests))
    return cut_by_digest(digests, shares, "rows")
