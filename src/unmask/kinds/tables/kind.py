"""The kind, as the verbs see it: a CSV file with missing cells in, CSV files out."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unmask import markup
from unmask.files import is_writer
from unmask.kinds.kind import Kind, Layout, Listed, Packed, Partial, Source, State, own_flags
from unmask.kinds.output import write_text
from unmask.kinds.quality import Quality
from unmask.kinds.tables.flags import (
    NAMED,
    PrepareTable,
    flag_of,
    in_quotes,
    name_in,
    names_in,
    parts_in,
    typed,
)
from unmask.kinds.tables.presets import PRESETS
from unmask.kinds.tables.protocols import PROTOCOLS
from unmask.kinds.view import Piece, Rows, View, Words


@dataclass(frozen=True, kw_only=True)
class CellFlags:
    unseen: Literal["error", "unknown", "missing"] = "error"
    """Of a table: what becomes of a cell that the model cannot read, a category that it does not
    know, say.  unknown (or, as it was called, missing): the model is told that there is a value,
    not which; filled in, the cell stays as it is; a score is of that there is one, not of which."""
    encoding: str = ""
    """Of a table: how the file is encoded, if it is not UTF-8; a filled one is written so, too."""


@dataclass(frozen=True, kw_only=True)
class TableFlags(CellFlags):
    columns: str = ""
    """Of a table: what is to be filled in, names with commas between them; empty: all columns.
    Their empty cells have a value.  Empty cells elsewhere are missing, as in the data; a column
    that the file lacks is unknown."""
    empty: str = ""
    """Of a table: what an empty cell is instead: value (there is one, not known), missing (there
    is none) or unknown (neither is known).  For columns that are not filled in, or, without
    --columns, for all; of single columns: --empty "unknown,lab=value"."""
    best: bool = False
    """Of a table: the most probable category of each cell to fill in, or the median of a number,
    given the rest of its row; not a draw."""
    probabilities: str = ""
    """Of a table: also write to this .csv how probable the values of each such cell are (those
    of at least 0.0005), given the rest of its row; rows are counted from 1, without the
    header."""


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
    """Of a table: how the files of --source are encoded, if it is not UTF-8, and the samples that
    are not; without --source, the samples."""


class Tables(Kind):
    name, unit = "tables", "cell"
    about = "Tables: CSV files of categories and numbers, with cells that may be missing."
    source = "A CSV file, also .gz or .xz; a Parquet file, or a folder that `datasets` saved."
    Prepare = PrepareTable
    presets = PRESETS
    protocols = PROTOCOLS
    what = "a table"
    keys = ("format", "kind", "tokenizer", "vocab_size", "dtype", "tokens", "rows")
    no_labels = "a table, whose classes are a column like the others"
    tokens = ("table",)
    Read, List = TableFlags, CellFlags
    Judge = JudgeTable
    not_judged = ""
    fixed = True
    on_a_page = (12, 12)
    formats = 1, 2  # the first tells missing cells wrong

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
        if args.delimiter == r"\t":  # as it is named in messages
            flags["delimiter"] = "\t"
        for name in ("numbers", "categories", "drop"):
            flags[name] = names_in(flags[name])
        flags["missing"], flags["missing_in"] = missing_of(flags["missing"])
        for name in ("decimal", "thousands"):
            flags[name] = marks_of(name, flags[name])
        told: list[str] = []
        meta = prepare_table(args.source, args.out, tell=told.append, **flags)
        counts = ", ".join(f"{n:,} {name}" for name, n in meta["rows"].items())
        table = Table.from_spec(meta["tokenizer"])
        what = f"{counts} rows of {len(table.columns)} columns, {meta['vocab_size']} values"
        said = [
            f"{args.out}: {what}",
            *(f"  {line}" for line in told),
            *([] if flags["like"] else suspicious(table, meta["missing"])),
        ]
        if names := meta.get("identifiers"):
            said.append(
                f"left out {counted(names)}, of which every row has its own value: an identifier "
                f"says nothing about other rows; keep it with --numbers or --categories"
            )
        for name in meta.get("running_numbers", ()):
            said.append(
                f"column {name!r} has a whole number of its own in every row: if it names rows and "
                f"says nothing else, leave it out with --drop {typed(flag_of([name]))}"
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
        table = self.tokenizer
        known = {"allowed": table.allowed, "links": table.links, "traits": table.traits}
        return Layout(places=table.length, **known)

    def describe(self) -> str:
        return f"a table of {len(self.meta['tokenizer']['columns'])} columns"

    def pages(self, states: list[State]) -> list[list[str | None]]:
        """A cell a line, each with the name of its column."""
        found: list[list[str | None]] = []
        table = self.tokenizer
        for state in states:
            pieces: list[str | None] = []
            for i, seen, place in zip(state.ids[0], state.shown[0], table.places, strict=True):
                column, name = table.columns[place.column], table.names[place.column]
                text = ""
                if int(i) != table.none[place.column]:
                    text = place.values[int(i) - int(table.first[len(pieces)])] if seen else ""
                if place.says == "present":
                    name += "?"
                elif not column.values:
                    text = ""
                pieces.append(f"{name}: {text}\n" if seen else None)
            found.append(pieces)
        return found

    @property
    def columns(self) -> list[str]:
        return [column["name"] for column in self.meta["tokenizer"]["columns"]]

    @property
    def column_of(self) -> list[int]:
        return [place.column for place in self.tokenizer.places]

    @property
    def place_names(self) -> list[str]:
        return self.tokenizer.place_names

    def differs(self, other: Kind, path: Path) -> str:
        if other.name == self.name and other.meta["tokenizer"] != self.meta["tokenizer"]:
            fix = f"prepare the table with --like {typed(str(path))}"
            return f"has other columns, categories or bins than the model's: {fix}"
        return super().differs(other, path)

    def read(self, path: Path, args: Any, length: int) -> Source:
        from unmask.kinds.tables.filled import HoledRows

        self.warn()
        return HoledRows(path, args, self.tokenizer)

    def listed(self, path: Path, args: Any, *, marks: bool = False) -> list[Listed]:
        from unmask.kinds.tables.listed import read_rows

        self.warn()
        return read_rows(path, args, self.tokenizer, marks)

    def pack(self, path: Path) -> Packed:
        from unmask.kinds.tables.packed import pack

        return pack(path, self.tokenizer)

    def unpack(self, rows: list, beside: bytes, out: str) -> None:
        from unmask.kinds.tables.packed import unpack

        unpack(rows, beside, out, self.tokenizer)

    def check(self, args: Any) -> None:
        super().check(args)
        self.warn()

    def warn(self) -> None:
        """Say what is to be known of a model that an earlier version trained."""
        from unmask.kinds.tables.filled import TELLS_WRONG

        if self.tokenizer.missing_is == "absent" and is_writer():
            print(f"note: {TELLS_WRONG}", file=sys.stderr)

    def blank(self, length: int, where: Sequence[str]) -> Partial:
        from unmask.kinds.tables.where import conditioned

        return conditioned(self.tokenizer, where)

    def write(self, rows: list, args: Any) -> dict:
        import numpy as np

        from unmask.kinds.tables.where import spans_within

        only = spans_within(self.tokenizer, args.where)
        # a stream of its own: the masks' begins with the seed alone
        generator = np.random.default_rng((args.seed % 2**64, 0))
        cells = self.tokenizer.draw(np.stack(rows), generator, only)
        write_text(args.out, self.tokenizer.write(cells))
        return {"out": args.out, "num": len(rows)}

    def editor(self, length: int) -> Any:
        from unmask.kinds.tables.editor import TableEditor

        return TableEditor(self, length)

    def texts(self, rows: Sequence[Any]) -> list[str]:
        return [", ".join(cells) for cells in self.tokenizer.decode(rows)]

    def html(self, rows: Sequence[Any]) -> str:
        return markup.table(self.tokenizer.decode(rows), self.columns)

    @property
    def words(self) -> Words:
        note = ""
        if any(column.within is not None for column in self.tokenizer.columns):
            note = "A number that stands for its bin is shown as the bin's median."
        return Words("cell", samples="Synthetic rows", note=note)

    def views(self, rows: Sequence[Any], shown: Sequence[Any]) -> list[View]:
        """All rows as one table; of a cell with two places, what is not known is left out."""
        import numpy as np

        table = self.tokenizer
        known = np.stack(shown)
        places = table.cells(np.where(known, np.stack(rows), table.vocab_size))
        at: list[list[int]] = [[] for _ in table.columns]
        for position, place in enumerate(table.places):
            at[place.column].append(position)
        lines = []
        for cells in places.tolist():
            line = []
            for column, value, where in zip(table.columns, cells, at, strict=True):
                text = column.values[value] if value >= 0 else ""
                line.append(Piece(text, where, missing=value < 0))
            lines.append(line)
        return [Rows(self.columns, lines)]

    def hidden(self, ids: Any) -> Any:
        """Every third column; of a cell that may be missing, whether it is, stays known."""
        import numpy as np

        table, found = self.tokenizer, np.zeros(len(ids), bool)
        columns = np.arange(len(table.columns))
        chosen = columns[columns % 3 == min(2, len(columns) - 1)]
        values = table.value_at[chosen]
        there = table.cells(np.asarray(ids)[None])[0, chosen] >= 0
        found[values[there]] = True
        return found

    def quality(self, data: Any, path: Path, args: Any) -> Quality:
        from unmask.kinds.tables.quality.measure import judge

        sources = [Path(name) for name in names_in(args.source)]
        names = ("target", "split", "encoding", "fitted", "seed")
        flags = {name: getattr(args, name) for name in names}
        return judge(data, path, sources=sources, **flags)


def missing_of(flag: str) -> tuple[list[str], dict[str, list[str]]]:
    """What --missing says of all columns, and of some by themselves: "?,NA;country=?".

    "" is a list without a text; one of columns alone leaves the others that of the flag.
    """
    parts, own = parts_in(flag), {}
    for_all = PrepareTable.missing if flag else ""
    for i, part in enumerate(parts):
        named = NAMED.fullmatch(part)
        if named:
            own[name_in(named[1])] = names_in(named[2])
        elif i == 0:
            for_all = part if part or len(parts) == 1 else for_all
        else:
            raise ValueError(f"--missing {part!r}: after a semicolon, give COLUMN=TEXTS")
    return names_in(for_all), own


def marks_of(flag: str, given: str) -> dict[str, str]:
    """What --decimal or --thousands says: of all columns under "", of others: ",;price=."."""
    found: dict[str, str] = {}
    for i, part in enumerate(parts_in(given)):
        name, equals, mark = part.rpartition("=")
        if not equals and i:
            raise ValueError(f"--{flag} {part!r}: after a semicolon, give COLUMN=MARK")
        if equals or part:
            found[name_in(name)] = "" if mark == "none" else mark
    return found


def counted(names: list[str]) -> str:
    """Columns by number and by name."""
    return f"{len(names)} column{'s' * (len(names) > 1)} ({', '.join(names)})"


def suspicious(table: Any, missing: dict[str, dict[str, int]]) -> list[str]:
    """A line for each plain word among what was taken as missing, which may be a value."""
    lines = []
    for column in table.columns:
        for text, count in missing.get(column.name, {}).items():
            if column.bounds is not None or not text.isalpha() or text.lower() == "nan":
                continue
            fix = f"--missing {typed(without_word(table, column.name, text))}"
            lines.append(
                f"warning: {text!r} was taken as missing in {count:,} cells of column "
                f"{column.name!r}: if it is a value, say {fix}"
            )
    return lines


def without_word(table: Any, name: str, text: str) -> str:
    """What --missing says that all cells are read as they are, but those of column `name` with this
    text, which is a value."""
    from unmask.kinds.tables.columns import without_values

    def listed(words: Sequence[str]) -> str:
        return ",".join(map(in_quotes, filter(None, words)))

    plain = sorted(table.missing) == sorted(without_values(names_in(PrepareTable.missing)))
    own = dict(table.missing_in)
    own[name] = [word for word in own.get(name, table.missing) if word not in ("", text.lower())]
    lists = [f"{in_quotes(one)}={listed(words)}" for one, words in own.items()]
    # an empty list would be that of the flag, and a comma is one of empty cells alone
    return ";".join(["" if plain else listed(table.missing) or ",", *lists])


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
