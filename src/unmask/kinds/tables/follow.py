"""A protocol's recipe, followed: the rows of an official file as those of a model's table."""

import csv
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tqdm import tqdm

from unmask.kinds.encodings import decode_text
from unmask.kinds.recipe import find_file, note_protocol, standing
from unmask.kinds.sources import read_blocks
from unmask.kinds.tables.columns import Table
from unmask.kinds.tables.prepare import prepare_table
from unmask.kinds.tables.protocols import TableRecipe


def follow(recipe: TableRecipe, name: str, source: Path, out: Path, table: Table) -> None:
    """Write the folder `out` of the rows of a source, all of them in the test split."""
    file = find_file(source, *recipe.names)
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / f"{recipe.names[0]}.csv"
        with open(plain, "w", encoding="utf-8", newline="") as stream:
            rows = csv.writer(stream, delimiter=table.delimiter, lineterminator="\n")
            if table.header:
                rows.writerow(recipe.columns)
            rows.writerows(rows_of(recipe, file))
        prepare_table(plain, out, like=table, split="0,0,1", progress=False)
    note_protocol(out, name, standing(recipe, [file]), packing=recipe.how)


def rows_of(recipe: TableRecipe, file: Path) -> Iterator[list[str]]:
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
            yield [*cells, last.removesuffix(recipe.ending)]
    except csv.Error as error:
        raise ValueError(
            f"{file}, line {rows.line_num}, is no CSV ({error}): give {recipe.source}"
        ) from None
