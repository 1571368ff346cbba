"""The kind, as the verbs see it: a CSV file with missing cells in, CSV files out."""

import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unmask.files import write_whole
from unmask.kinds.kind import Filler, Kind, Layout, Source, State, own_flags
from unmask.kinds.output import numbered, spare, write_text
from unmask.kinds.quality import Quality
from unmask.kinds.tables.flags import PrepareTable
from unmask.kinds.tables.presets import PRESETS
from unmask.kinds.tables.protocols import PROTOCOLS


@dataclass(frozen=True, kw_only=True)
class TableFlags:
    best: bool = False
    """Of a table: the most probable category of each missing cell, or the median of a number, given
    the known cells of its row; not a draw."""
    probabilities: str = ""
    """Of a table: also write to this .csv how probable the values of each missing cell are (those
    of at least 0.0005), given the known cells of its row; rows are counted from 1, without the
    header."""
    unseen: Literal["error", "missing"] = "error"
    """Of a table: what becomes of a cell that the model cannot read, a category that it does not
    know, say; missing: the model does not see it, and it stays as it is."""
    encoding: str = ""
    """Of a table: how the file is encoded, if it is not UTF-8; what is written is."""


@dataclass(frozen=True, kw_only=True)
class JudgeTable:
    target: str = ""
    """Of a table: the column that a model, trained on synthetic rows and tested on real ones, tells
    from the others; empty: the last."""
    source: str = ""
    """Of a table: the CSV file that the data were prepared from, or its files in that order with
    commas between them: numbers are then compared as they are there, not by their bins."""
    fitted: int = 10_000
    """Of a table: random rows of either side that detection and the model see, at most; 0: all."""
    encoding: str = ""
    """Of a table: how the files are encoded, if it is not UTF-8."""


class Tables(Kind):
    name = "tables"
    about = "Tables: CSV files of categories and numbers, with cells that may be missing."
    source = "A CSV file, also .gz or .xz."
    Prepare = PrepareTable
    presets = PRESETS
    protocols = PROTOCOLS
    what = "a table"
    keys = ("format", "kind", "tokenizer", "vocab_size", "dtype", "tokens", "rows")
    no_labels = "a table, whose classes are a column like the others"
    tokens = ("table",)
    Read = TableFlags
    Judge = JudgeTable
    not_judged = ""
    fixed = True

    @classmethod
    def demos(cls) -> list[type]:
        from unmask.kinds.tables.demo import Census

        return [Census]

    @classmethod
    def prepare(cls, args: Any) -> tuple[dict, list[str]]:
        from unmask.kinds.tables.columns import Table
        from unmask.kinds.tables.prepare import prepare_table

        flags = own_flags(cls.Prepare, args)
        flags["like"] = read_table(args.like)
        for name in ("missing", "numbers", "categories", "drop"):
            flags[name] = names_in(flags[name])
        meta = prepare_table(args.source, args.out, **flags)
        counts = ", ".join(f"{n:,} {name}" for name, n in meta["rows"].items())
        table = Table.from_spec(meta["tokenizer"])
        none = meta["cells_without_value"]
        what = f"{counts} rows of {table.length} columns, {meta['vocab_size']} values"
        if none:
            what += f"; {none:,} cells have none"
        first = "names the columns" if table.header else "is a row like the others"
        width = max(map(len, table.names))
        said = [
            f"{args.out}: {what}",
            f"  the first row {first}; numbers are written as their bins' medians",
            *(f"  {column.name:{width}}  {column.describe()}" for column in table.columns),
        ]
        for name in meta.get("running_numbers", ()):
            said.append(
                f"column {name!r} has a whole number of its own in every row: if it names rows and "
                f"says nothing else, leave it out with --drop {name}"
            )
        if meta["empty_rows"]:
            said.append(f"left out {meta['empty_rows']:,} rows without any value")
        return meta, said

    @classmethod
    def open(cls, folder: Path, meta: dict, *, labels: bool) -> Any:
        from unmask.kinds.tables.data import TableData

        return TableData(folder, meta)

    @classmethod
    def load_tokens(cls, spec: dict, folder: Path) -> Any:
        from unmask.kinds.tables.columns import Table

        return Table.from_spec(spec)

    def follow(self, name: str, source: Path, out: Path) -> None:
        from unmask.kinds.tables.follow import follow

        follow(PROTOCOLS[name], name, source, out, self.tokenizer)

    @property
    def layout(self) -> Layout:
        return Layout(places=self.tokenizer.length, allowed=self.tokenizer.allowed)

    def describe(self) -> str:
        return f"a table of {len(self.meta['tokenizer']['columns'])} columns"

    def pages(self, states: list[State]) -> list[list[str | None]]:
        """A cell a line, each with the name of its column."""
        found: list[list[str | None]] = []
        for state in states:
            (row,) = self.tokenizer.decode(state.ids[:1])
            cells = zip(self.columns, row, state.shown[0], strict=True)
            found.append([f"{name}: {cell}\n" if seen else None for name, cell, seen in cells])
        return found

    @property
    def columns(self) -> list[str]:
        return [column["name"] for column in self.meta["tokenizer"]["columns"]]

    def differs(self, other: Kind, path: Path) -> str:
        if other.name == self.name and other.meta["tokenizer"] != self.meta["tokenizer"]:
            fix = f"prepare the table with --like {path}"
            return f"has other columns, categories or bins than the model's: {fix}"
        return super().differs(other, path)

    def read(self, path: Path, args: Any, length: int) -> Source:
        return HoledRows(path, args, self.tokenizer)

    def write(self, rows: list, args: Any) -> dict:
        import numpy as np

        write_text(args.out, self.tokenizer.write(self.tokenizer.decode(np.stack(rows))))
        return {"out": args.out, "num": len(rows)}

    def quality(self, data: Any, path: Path, args: Any) -> Quality:
        from unmask.kinds.tables.quality.measure import judge

        sources = [Path(name) for name in names_in(args.source)]
        names = ("target", "split", "encoding", "fitted", "seed")
        flags = {name: getattr(args, name) for name in names}
        return judge(data, path, sources=sources, **flags)


class HoledRows(Source):
    """A CSV file whose missing cells are drawn, `args.num` times, or with --best guessed.

    Every other cell stays as it is.
    """

    def __init__(self, path: Path, args: Any, table: Any):
        import numpy as np

        from unmask.kinds.tables.holes import partials
        from unmask.kinds.tables.prepare import read_rows

        if str(path) == "-":
            raise ValueError("a table is read from a file, not from standard input: name it")
        if args.window:
            raise ValueError("--window is not for a table: leave it out")
        stem = path.name.removesuffix(".gz").removesuffix(".xz").removesuffix(".csv")
        self.names = numbered(Path(args.out or f"{stem}-filled.csv"), args.num, path)
        if args.probabilities:
            file = Path(args.probabilities)
            spare(file, path)
            if file.resolve() in [name.resolve() for name in self.names]:
                taken = f"{args.probabilities} is to hold the filled table"
                raise ValueError(f"{taken}: name another file for the probabilities")
        if args.best and args.num > 1:
            raise ValueError(f"--best has one answer, not --num {args.num}: leave one of them out")
        self.args, self.table = args, table
        self.rows = read_rows(path, table, unseen=args.unseen, encoding=args.encoding)
        self.hole = self.rows.tokens == table.vocab_size
        # of a column without any value nothing is known
        self.hole[:, [column.values == ("",) for column in table.columns]] = False
        # what the model does not know is hidden from it, and kept
        for i, c in np.argwhere(self.hole):
            self.hole[i, c] = table.is_missing(self.rows.cells[i][self.rows.places[c]])
        if not self.hole.any():
            raise ValueError(
                f"{path} has no missing cell: leave those to fill in empty, or write ? into them"
            )
        self.examples = partials(self.rows.tokens, self.hole, table.vocab_size)

    def fill(self, filler: Filler) -> dict:
        import numpy as np

        num = self.args.num
        full = []
        if self.args.best or self.args.probabilities:
            full = [self.guesses(filler)]  # writes --probabilities
        if not self.args.best:
            found = filler.fill(self.examples, num=num)
            # a row without a hole has one filling, itself, however many are asked for
            full = [np.stack([row[min(k, len(row) - 1)].ids for row in found]) for k in range(num)]
        for name, tokens in zip(self.names, full, strict=True):
            self.write(str(name), tokens)
        if self.args.probabilities:
            print(f"wrote {self.args.probabilities}", file=sys.stderr)
        rows, cells, holed = len(self.hole), int(self.hole.sum()), int(self.hole.any(1).sum())
        print(f"filled {cells:,} cells in {holed:,} of {rows:,} rows", file=sys.stderr)
        out = [str(name) for name in self.names]
        return {"out": out, "rows": rows, "cells_filled": cells, "rows_filled": holed}

    def write(self, out: str, tokens: Any) -> None:
        """The file, its holes as in `tokens` (rows, columns)."""
        import numpy as np

        values = self.table.decode(tokens)
        cells = [list(row) for row in self.rows.cells]
        for i, c in np.argwhere(self.hole):
            cells[i][self.rows.places[c]] = values[i][c]
        write_text(out, self.table.write(cells, self.rows.header))

    def guesses(self, filler: Filler) -> Any:
        """The tokens (rows, columns) with the best guess in every hole.

        --probabilities, if asked for, is written on the way.
        """
        from unmask.kinds.tables.holes import describe_guess, guess

        best = self.rows.tokens.copy()
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(["row", "column", "value", "probability"])
        for row, column, law in filler.laws(self.examples):
            found = guess(self.table, row, column, law)
            best[row, column] = found.token
            if self.args.probabilities:
                writer.writerows(describe_guess(self.table, found))
        if self.args.probabilities:
            write_whole(self.args.probabilities, table.getvalue())
        return best


def names_in(flag: str) -> list[str]:
    """Names with commas between them; one that has a comma itself stands in quotes, as in CSV."""
    try:
        names = next(csv.reader([flag], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise ValueError(f"{flag!r}: {error}; give names with commas between them") from None
    return [name.strip() for name in names]


def read_table(folder: str) -> Any:
    """The columns of prepared data or of a model, for --like; None for no folder."""
    from unmask.kinds.folder import find_tokens
    from unmask.kinds.tables.columns import Table

    if not folder:
        return None
    found = find_tokens(Path(folder))
    if found is None or found.spec["name"] != "table":
        raise ValueError(f"--like {folder} is no folder of a prepared table, or of a model of one")
    return Table.from_spec(found.spec)
