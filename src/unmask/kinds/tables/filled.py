"""A CSV file with cells that are not given: what is known of them, and how they are filled in."""

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np

from unmask.files import is_writer, write_whole
from unmask.kinds.folder import progress_bars
from unmask.kinds.kind import Filler, Source
from unmask.kinds.output import check_out, csv_text, numbered
from unmask.kinds.tables.columns import UNKNOWN, Table
from unmask.kinds.tables.csv_source import Cells, read_cells
from unmask.kinds.tables.flags import names_in
from unmask.kinds.tables.header import header_names
from unmask.kinds.tables.holes import (
    Wanted,
    describe_guess,
    guess,
    number_of,
    opened,
    texts_of_holes,
    wanted_of,
)
from unmask.kinds.tables.original import Original
from unmask.kinds.tables.prepare import check_names, encode

TELLS_WRONG = (
    "this model is of an earlier version, which tells missing cells wrong: it takes every cell "
    "that it has to fill in for one with a value; prepare the table and train again"
)


class HoledRows(Source):
    """A CSV file whose empty cells are drawn, `args.num` times, or with --best guessed.

    Everything else stays as it is, byte by byte.
    """

    def __init__(self, path: Path, args: Any, table: Table):
        if args.window:
            raise ValueError("--window is not for a table: leave it out")
        stem = path.name.removesuffix(".gz").removesuffix(".xz").removesuffix(".csv")
        self.names = numbered(Path(args.out or f"{stem}-filled.csv"), args.num)
        check_out(args.probabilities)
        self.writes = [*self.names, args.probabilities]
        if args.best and args.num > 1:
            raise ValueError(f"--best has one answer, not --num {args.num}: leave one of them out")
        self.args, self.table = args, table
        flags = args.columns, args.empty
        named, empty = ([one for one in names_in(flag) if one] for flag in flags)
        wanted = wanted_of(table, named, empty)
        cells, self.at = read_columns(path, table, args.encoding)
        known = [c for c, place in enumerate(self.at) if place >= 0]
        for c, name in enumerate(table.names):
            if self.at[c] < 0 and wanted.fill[c] and args.columns:
                raise ValueError(
                    f"{path} has no column {name!r} to fill in: add one with empty cells"
                )
        with progress_bars([path], True)("look up") as bar:
            self.original = Original(path, cells.delimiter, args.encoding, bar)
        rows = np.full((len(cells.codes), len(table.columns)), UNKNOWN)
        rows[:, known] = self.read(cells.columns([self.at[c] for c in known]), known)
        self.header = len(self.original.rows) - len(rows)
        self.check(cells)
        self.decide(rows, wanted, path)

    def read(self, cells: Cells, known: list[int]) -> np.ndarray:
        """(rows, columns) as `encode`, of the columns of the table that the file has."""
        some = self.table.of([self.table.columns[c] for c in known])
        return encode(cells, some, "error" if self.args.unseen == "error" else "unknown")

    def check(self, cells: Cells) -> None:
        """ValueError unless the file's cells are found where they stand."""
        rows = self.original.rows
        width = {len(row) for row in rows}
        # the header is the first row with a value
        empty = itertools.takewhile(lambda row: not any(map(self.original.filled, row)), rows)
        header = 1 + len(list(empty)) if self.table.header else 0
        if self.header != header or width != {cells.width}:
            raise ValueError(
                f"{self.original.path}: its cells cannot be found again where they stand: write it "
                "anew with plain quotes"
            )

    def decide(self, rows: np.ndarray, wanted: Wanted, path: Path) -> None:
        """What is known of each cell that is not given, as examples."""
        there = [place >= 0 for place in self.at]
        self.cells, self.hole, self.examples = opened(self.table, rows, wanted, there, str(path))
        if not self.hole.any():
            among = f" in the columns {self.args.columns}" if self.args.columns else ""
            mark = ", or write ? into them" * self.table.is_missing("?")
            raise ValueError(
                f"{path} has no missing cell{among} to fill in: leave such cells empty{mark}"
            )

    def fill(self, filler: Filler) -> dict:
        num = self.args.num
        full = []
        if self.args.best or self.args.probabilities:
            full = [self.guesses(filler)]  # writes --probabilities
        if not self.args.best:
            found = filler.fill(self.examples, num=num)
            # a row without a hole has one filling, itself, however many are asked for
            full = [
                self.table.cells(np.stack([row[min(k, len(row) - 1)].ids for row in found]))
                for k in range(num)
            ]
        for k, (name, cells) in enumerate(zip(self.names, full, strict=True)):
            drawn = None if self.args.best else np.random.default_rng((self.args.seed % 2**64, k))
            self.write(str(name), cells, drawn)
        if self.args.probabilities:
            print(f"wrote {self.args.probabilities}", file=sys.stderr)
        rows, count, holed = len(self.hole), int(self.hole.sum()), int(self.hole.any(1).sum())
        print(f"filled {count:,} cells in {holed:,} of {rows:,} rows", file=sys.stderr)
        out = [str(name) for name in self.names]
        return {"out": out, "rows": rows, "cells_filled": count, "rows_filled": holed}

    def write(self, out: str, cells: np.ndarray, generator: np.random.Generator | None) -> None:
        """The file, its holes as in `cells` (rows, columns); what is missing stays as it is.

        Numbers as in `texts_of_holes`.
        """
        of_holes = texts_of_holes(self.table, self.hole, cells, generator)
        new = [(self.header + row, self.at[c], text) for row, c, text in of_holes]
        content = self.original.with_cells(new)
        if is_writer():
            write_whole(out, content)
            print(f"wrote {out}", file=sys.stderr)

    def guesses(self, filler: Filler) -> np.ndarray:
        """(rows, columns) with the best guess in every hole.

        --probabilities, if asked for, is written on the way.
        """
        best = self.cells.copy()
        listed = [["row", "column", "value", "probability"]]
        for law in filler.laws(self.examples):
            found = guess(self.table, *law)
            if found is None:
                continue
            best[found.row, found.column] = number_of(self.table, found)
            if self.args.probabilities:
                listed += describe_guess(self.table, found)
        if self.args.probabilities and is_writer():
            write_whole(self.args.probabilities, csv_text(listed))
        return best


def read_columns(path: Path, table: Table, encoding: str | None) -> tuple[Cells, list[int]]:
    """The rows of a file, and where each column of the table stands in them; -1: it has none such.

    encoding: see `read_cells`.  ValueError as there; for a file without names, unless it is as wide
    as the table.
    """
    with progress_bars([path], True)("read") as bar:
        cells = read_cells(path, bar, delimiter=table.delimiter, encoding=encoding)
    if table.header:
        cells = cells.from_first_value()
        names = check_names(cells, header_names(cells), table.names)
        at = [names.index(name) if name in names else -1 for name in table.names]
        if max(at) < 0:
            known = ", ".join(table.names)
            first = table.delimiter.join(header_names(cells))
            raise ValueError(
                f"{path}: its first line, {first!r}, names no column of the model's, {known}; "
                f"cells are parted by {table.delimiter!r} as in the data, and by nothing else"
            )
        return cells.without_first(), at
    if cells.width == len(table.columns):
        return cells, list(range(cells.width))
    if cells.width != table.width:
        raise ValueError(
            f"{path} has {cells.width} columns, expected {table.width}, like the data it should go "
            "with"
        )
    return cells, [column.place for column in table.columns]
