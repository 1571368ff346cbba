"""Tables on a page: rows of cells, of which the empty ones are filled in."""

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from unmask.kinds.editor import Editor, Text
from unmask.kinds.kind import Filled
from unmask.kinds.tables.columns import check_name
from unmask.kinds.tables.filled import read_columns
from unmask.kinds.tables.holes import describe_guess, guess, texts_of_holes

ROWS = 100  # that the page shows
EMPTY_ROWS = 3  # that it begins with
LISTED = 200  # categories of a column to choose from


class TableEditor(Editor):
    """`rows`: texts of cells, in the order of the columns; `fixed`: columns that stay as they are,
    whose empty cells are not known."""

    name, file, takes = "grid", "holes.csv", ".csv,.tsv,.txt"
    form = {"rows": [[str]], "fixed?": [str]}  # noqa: RUF012

    @property
    def unit(self) -> str:
        return "value"

    def start(self) -> dict:
        return {"rows": [[""] * len(self.kind.columns) for _ in range(EMPTY_ROWS)]}

    def facts(self) -> dict:
        table = self.kind.tokenizer
        columns = [
            {
                "name": column.name,
                "at": int(at),
                "values": list(column.values[:LISTED]) if column.bounds is None else [],
                "numbers": column.bounds is not None,
            }
            for column, at in zip(table.columns, table.value_at, strict=True)
        ]
        written = {"header": table.header, "delimiter": table.delimiter}
        return {"columns": columns, "most": ROWS} | written

    def file_of(self, said: dict) -> bytes:
        rows, wide = said["rows"], len(self.kind.columns)
        if not 0 < len(rows) <= ROWS:
            raise ValueError(f"the page takes 1 to {ROWS} rows, not {len(rows)}: use unmask fill")
        for number, row in enumerate(rows, 1):
            if len(row) != wide:
                raise ValueError(f"row {number} has {len(row)} cells, expected {wide}")
        return self.kind.tokenizer.write(rows).encode()

    def flags(self, said: dict) -> dict[str, str]:
        fixed = said.get("fixed", [])
        if not fixed:
            return {}
        for name in fixed:
            check_name(name, self.kind.columns)
        filled = io.StringIO()
        names = [name for name in self.kind.columns if name not in fixed]
        if not names:
            raise ValueError("all columns are fixed: leave one to be filled in")
        csv.writer(filled, lineterminator="").writerow(names)
        return {"columns": filled.getvalue(), "empty": "unknown"}

    def loaded(self, path: Path) -> dict:
        table = self.kind.tokenizer
        cells, at = read_columns(path, table, None)
        count = len(cells.codes)
        if count > ROWS:
            raise ValueError(
                f"{path.name} has {count:,} rows, and the page takes {ROWS}: use unmask fill"
            )
        if more := cells.width - sum(k >= 0 for k in at):
            raise ValueError(
                f"{path.name}: the page would lose {more} of its {cells.width} columns, which the "
                f"model does not know: leave {', '.join(table.names)} alone, or use unmask fill"
            )
        rows = [cells.row(i) for i in range(count)]
        ours = [
            [
                "" if k < 0 or table.is_missing(row[k], name) else row[k]
                for name, k in zip(table.names, at, strict=True)
            ]
            for row in rows
        ]
        absent = [name for name, k in zip(table.names, at, strict=True) if k < 0]
        return {"rows": ours, "fixed": absent}

    def board(self, source: Any) -> dict:
        """Which cells (rows, columns) are to be filled in."""
        return {"holes": source.hole.astype(int).tolist()}

    def piece(self, i: int) -> str:
        """The value of a cell, without its column; of a number, the median of its bin."""
        table = self.kind.tokenizer
        number = int(np.searchsorted(table.first, i, side="right")) - 1
        place = table.places[number]
        if place.says == "value" and i == table.none[place.column]:
            return ""
        return place.values[i - int(table.first[number])]

    def texts(self, source: Any, found: list[list[Filled]], seed: int) -> list[Text]:
        """What stands in the cells: numbers are drawn within their bins, as `fill` draws them."""
        table = self.kind.tokenizer
        if source is None:
            ids = np.stack([one.ids for (one,) in found])
            drawn = table.draw(ids, np.random.default_rng((seed, 0)))
            return [
                Text(row, 0, int(at), 1, text)
                for row, texts in enumerate(drawn)
                for at, text in zip(table.value_at, texts, strict=True)
            ]
        texts = []
        for copy in range(max(map(len, found))):
            ids = np.stack([row[min(copy, len(row) - 1)].ids for row in found])
            generator = np.random.default_rng((seed, copy))
            cells = texts_of_holes(table, source.hole, table.cells(ids), generator)
            texts += [Text(copy, row, int(table.value_at[c]), 1, text) for row, c, text in cells]
        return texts

    def odds(self, position: int, law: np.ndarray) -> list[tuple[str, float]]:
        found = guess(self.kind.tokenizer, 0, position, law)
        if found is None:
            return []
        listed = describe_guess(self.kind.tokenizer, found)
        return [(value, float(p)) for _, _, value, p in listed[:12]]
