"""A protocol's recipe, followed: the rows of an official file as those of a model's table."""

import csv
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unmask.kinds.encodings import decode_text
from unmask.kinds.recipe import find_file, note_protocol, standing
from unmask.kinds.sources import read_blocks
from unmask.kinds.tables.columns import Table
from unmask.kinds.tables.csv_source import read_cells
from unmask.kinds.tables.prepare import check_absent, encode, find_columns, prepare_table
from unmask.kinds.tables.protocols import TableRecipe

WIDER = "name a model of data that have such cells"  # eval has no --unseen


def follow(recipe: TableRecipe, name: str, source: Path, out: Path, table: Table) -> None:
    """Write the folder `out` of the rows of a source, all of them in the test split."""
    file = find_file(source, *recipe.names)
    lacking = [one for one in table.names if one not in recipe.columns]
    if table.header and lacking:
        raise ValueError(
            f"{name} is of a table without a column {lacking[0]!r}, which the model has: name a "
            f"model of {', '.join(recipe.columns)}"
        )
    lines = [0] * table.header  # of the file, on which the rows end
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / f"{recipe.names[0]}.csv"
        with open(plain, "w", encoding="utf-8", newline="") as stream:
            rows = csv.writer(stream, delimiter=table.delimiter, lineterminator="\n")
            if table.header:
                rows.writerow(recipe.columns)
            for line, row in rows_of(recipe, file):
                lines.append(line)
                rows.writerow(row)
        if len(lines) == table.header:
            raise ValueError(f"{file} has no rows: give {recipe.source}")
        check(plain, file, lines, table)
        prepare_table(plain, out, like=table, split="0,0,1", progress=False)
    note_protocol(out, name, standing(recipe, [file]), packing=recipe.how)


def check(plain: Path, file: Path, lines: list[int], table: Table) -> None:
    """ValueError for a cell that the table cannot read, where it stands in the official file."""
    with tqdm(disable=True) as quiet:
        cells = read_cells(plain, quiet, delimiter=table.delimiter)
    cells = find_columns(cells._replace(path=file, lines=np.array(lines)), table)
    check_absent(encode(cells, table, "error", WIDER), cells, table, "error", WIDER)


def rows_of(recipe: TableRecipe, file: Path) -> Iterator[tuple[int, list[str]]]:
    """(the line on which it ends, cells) of every row."""
    text = decode_text(b"".join(read_blocks(file, tqdm(disable=True))), str(file))
    rows = csv.reader(io.StringIO(text))
    try:
        for row in rows:
            if not row or row[0].startswith(recipe.comment):
                continue
            if len(row) != len(recipe.columns):
                raise ValueError(
                    f"{file} has a row of {len(row)} cells, expected {len(recipe.columns)}: "
                    f"give {recipe.source}"
                )
            *cells, last = (cell.strip() for cell in row)
            yield rows.line_num, [*cells, last.removesuffix(recipe.ending)]
    except csv.Error as error:
        raise ValueError(
            f"{file}, line {rows.line_num}, is no CSV ({error}): give {recipe.source}"
        ) from None
