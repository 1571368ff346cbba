"""A CSV file read into columns: which cells differ, and which of them every row has."""

import codecs
import csv
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from unmask.kinds.sources import read_blocks
from unmask.kinds.tables.columns import are_numbers, parse_number

DELIMITERS = ",;\t|"
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
SEPARATOR = re.compile("sep=(.)")  # how a spreadsheet program is told the delimiter
CHUNK = 1 << 16  # rows


class Cells(NamedTuple):
    """The cell of row i and column c is `texts[c][codes[i, c]]`, without the blanks around it."""

    path: Path
    delimiter: str
    codes: np.ndarray  # (rows, columns) int32
    texts: list[list[str]]
    lines: np.ndarray  # (rows,) the line of the file on which each row ends

    @property
    def width(self) -> int:
        return self.codes.shape[1]

    def row(self, i: int) -> list[str]:
        return [texts[code] for texts, code in zip(self.texts, self.codes[i], strict=True)]

    def without_first(self) -> "Cells":
        return self._replace(codes=self.codes[1:], lines=self.lines[1:])

    def columns(self, places: list[int]) -> "Cells":
        """Some of the columns, in this order."""
        return self._replace(codes=self.codes[:, places], texts=[self.texts[c] for c in places])

    def where(self, column: int, text: str) -> str:
        """File and line of the first cell of a column with this text, for messages."""
        return f"{self.path}, line {self.lines[int((self.codes[:, column] == self.texts[column].index(text)).argmax())]}"


def read_cells(path: Path, bar: tqdm, *, delimiter: str = "auto", encoding: str = "") -> Cells:
    """All of a file, its first row among the others.

    delimiter: one character, or "auto": what a first line like `sep=;` says, else the one of comma,
    semicolon, tab and bar that is most frequent on the first line, outside quotes.  encoding: as
    Python names it; "": UTF-8, or what a byte-order mark at the beginning says.  Empty lines are
    left out. ValueError, with the line, for rows of another width than the first, quotes that do
    not close, bytes that do not decode.
    """
    lines = enumerate(split_lines(decode(read_blocks(path, bar), path, encoding)))
    before, first = next(((i, line) for i, line in lines if line.strip()), (0, ""))
    if not first:
        raise ValueError(f"{path} is empty: give a file with at least one row")
    if said := SEPARATOR.fullmatch(first.strip("\r\n")):
        delimiter = said[1] if delimiter == "auto" else delimiter
        before, first = next(((i, line) for i, line in lines if line.strip()), (0, ""))
    if delimiter == "auto":
        outside = "".join(first.split('"')[::2])
        delimiter = max(DELIMITERS, key=outside.count)
    places: list[dict[str, int]] = []
    parts, rows, numbers = [], [], []
    for number, record in read_records(
        itertools.chain([first], (line for _, line in lines)), path, delimiter, before
    ):
        # a line of blanks; where there is one column, a cell without a value
        if record == [""] and len(places) != 1:
            continue
        places = places or [{} for _ in record]
        if len(record) != len(places):
            shown = delimiter.join(record)[:60]
            raise ValueError(
                f"{path}, line {number}: {len(record)} cells, and the first row has {len(places)}: {shown!r}"
            )
        cells = [cell.strip() for cell in record]
        rows.append(
            [place.setdefault(cell, len(place)) for place, cell in zip(places, cells, strict=True)]
        )
        numbers.append(number)
        if len(rows) == CHUNK:
            parts.append(np.array(rows, np.int32))
            rows = []
    parts.append(np.array(rows, np.int32).reshape(len(rows), len(places)))
    return Cells(
        path, delimiter, np.concatenate(parts), [list(place) for place in places], np.array(numbers)
    )


def read_records(
    lines: Iterable[str], path: Path, delimiter: str, before: int
) -> Iterator[tuple[int, list[str]]]:
    """(the line on which it ends, cells) of every row that is not empty; `before`: lines before the
    first of `lines`."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    try:
        for record in reader:
            if record:
                yield before + reader.line_num, record
    except csv.Error as error:
        said = str(error)
        if "field larger" in said or "end of data" in said:
            said = "a quote is not closed, or a cell is very long"
        if "new-line character" in said:
            said = "lines end in a carriage return alone, as on old Macs: give a file whose lines end in a newline"
        help = "a quote inside a quoted cell is written twice, and --delimiter says what is between cells"
        raise ValueError(f"{path}, line {before + reader.line_num}: {said} ({help})") from None


def decode(blocks: Iterator[bytes], path: Path, encoding: str) -> Iterator[str]:
    """Text of bytes, the mark at its beginning left out."""
    first = next(blocks, b"")
    name = encoding or next((name for bom, name in BOMS.items() if first.startswith(bom)), "utf-8")
    try:
        "".encode(name)  # a LookupError for codecs that are not of text, too
        decoder = codecs.getincrementaldecoder(name)()
    except LookupError:
        raise ValueError(
            f"encoding {encoding!r} is none that Python knows: give one like utf-8, latin-1, cp1252 or utf-16"
        ) from None
    lines, help = 1, "name its encoding with --encoding, like latin-1"
    for i, block in enumerate(itertools.chain([first], blocks, [b""])):
        try:
            text = decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            line = lines + error.object[: error.start].count(b"\n")
            wrong = error.object[error.start : error.start + 8]
            raise ValueError(f"{path}, line {line}: {wrong!r} is not {name} text: {help}") from None
        except UnicodeError as error:
            raise ValueError(f"{path} is not {name} text ({error}): {help}") from None
        if "\0" in text:
            raise ValueError(
                f"{path} has zero bytes, as UTF-16 or UTF-32 text has: {help} or utf-16-le"
            )
        yield text.removeprefix("\ufeff") if not i else text
        lines += block.count(b"\n")


def split_lines(texts: Iterable[str]) -> Iterator[str]:
    """Lines with their ends; a line that straddles two texts is put together."""
    rest: list[str] = []
    for text in texts:
        head, *lines = text.split("\n")
        rest.append(head)
        for line in lines:
            yield "".join(rest) + "\n"
            rest = [line]
    if last := "".join(rest):
        yield last


def first_is_header(cells: Cells, missing: Iterable[str]) -> bool:
    """The rule: a cell with a value and no number, above a column of numbers; or names that all
    differ, none of which is a number or a missing cell, and none of which occurs again in its
    column."""
    names = cells.row(0)
    if len(cells.codes) < 2:
        return False
    for c, name in enumerate(names):
        others = [cells.texts[c][i] for i in np.unique(cells.codes[1:, c])]
        others = [text for text in others if text.lower() not in missing]
        if (
            others
            and are_numbers(others)
            and name.lower() not in missing
            and parse_number(name) is None
        ):
            return True
    if len(set(names)) < len(names) or any(
        parse_number(n) is not None or n.lower() in missing for n in names
    ):
        return False
    return not bool((cells.codes[1:] == cells.codes[0]).any())


def header_names(cells: Cells) -> list[str]:
    """What the first row calls the columns; one without a name, as pandas leaves that of its index,
    is called by its place."""
    return [name or f"column{i}" for i, name in enumerate(cells.row(0), 1)]
