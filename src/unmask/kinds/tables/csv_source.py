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

from unmask.kinds.encodings import encoding_of
from unmask.kinds.sources import read_blocks
from unmask.kinds.tables.columns import Table
from unmask.kinds.tables.delimiters import delimiter_of

SEPARATOR = re.compile("sep=(.)")  # how a spreadsheet program is told the delimiter
CHUNK = 1 << 16  # rows
LOOKED_AT = 200  # lines that tell what is between cells


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

    def from_first_value(self) -> "Cells":
        """Without the rows of empty cells above the first other one, where a header may stand."""
        filled = np.zeros(len(self.codes), bool)
        for codes, texts in zip(self.codes.T, self.texts, strict=True):
            filled |= np.array([text != "" for text in texts], bool)[codes]
        first = int(filled.argmax())
        return self._replace(codes=self.codes[first:], lines=self.lines[first:])

    def columns(self, places: list[int]) -> "Cells":
        """Some of the columns, in this order."""
        return self._replace(codes=self.codes[:, places], texts=[self.texts[c] for c in places])

    def where(self, column: int, text: str) -> str:
        """File and line of the first cell of a column with this text, for messages."""
        code = self.texts[column].index(text)
        row = int((self.codes[:, column] == code).argmax())
        return f"{self.path}, line {self.lines[row]}"


def read_cells(
    path: Path, bar: tqdm, *, delimiter: str = "auto", encoding: str | None = ""
) -> Cells:
    """All of a file, its first row among the others.

    delimiter: one character, or "auto": what a first line like `sep=;` says, else as the lines tell
    (`delimiters.delimiter_of`).  encoding: as Python names it; "": UTF-8, or what a byte-order mark
    at the beginning says; None: so, and the verb has no flag that names another.  Empty lines are
    left out.  Raises ValueError, with the line, for rows of another width than the first, quotes
    that do not close, bytes that do not decode.
    """
    lines = enumerate(split_lines(decode(read_blocks(path, bar), path, encoding)))
    before, tabs, first = first_filled(lines, path, delimiter)
    if said := SEPARATOR.fullmatch(first.strip("\r\n")):
        if delimiter == "auto":
            delimiter = said[1]
        before, tabs, first = first_filled(lines, path, delimiter)
    rest = (line for _, line in lines)
    text = itertools.chain([first], rest)
    if delimiter == "auto":
        beginning = list(itertools.islice(text, LOOKED_AT))
        delimiter = delimiter_of(beginning, path)
        text = itertools.chain(beginning, rest)
    if delimiter == "\t":
        while tabs and first and tabs[0].count("\t") != first.count("\t"):  # no row
            del tabs[0]
        before, text = before - len(tabs), itertools.chain(tabs, text)
    records = read_records(text, path, delimiter, before)
    codes: list[dict[str, int]] = []  # of every column: its different cells, numbered
    parts, rows, numbers = [], [], []
    for number, record in records:
        # a line of blanks; where there is one column, a cell without a value
        if record == [""] and len(codes) > 1:
            continue
        codes = codes or [{} for _ in record]
        if len(record) != len(codes):
            shown = delimiter.join(record)[:60]
            raise ValueError(
                f"{path}, line {number}: {len(record)} cells, "
                f"and the first row has {len(codes)}: {shown!r}"
            )
        pairs = zip(codes, record, strict=True)
        rows.append([code.setdefault(cell.strip(), len(code)) for code, cell in pairs])
        numbers.append(number)
        if len(rows) == CHUNK:
            parts.append(np.array(rows, np.int32))
            rows = []
    if not codes:
        raise empty(path)
    parts.append(np.array(rows, np.int32).reshape(len(rows), len(codes)))
    texts = [list(code) for code in codes]
    return Cells(path, delimiter, np.concatenate(parts), texts, np.array(numbers))


def first_filled(
    lines: Iterator[tuple[int, str]], path: Path, delimiter: str
) -> tuple[int, list[str], str]:
    """The next line that is not blank, and how many lines stand before it; and the last ones of
    those, from one with tabs on, which may be between cells without a value."""
    tabs: list[str] = []
    number = -1
    for number, line in lines:
        if line.strip():
            return number, tabs, line
        if tabs or "\t" in line:
            tabs.append(line)
    if tabs and delimiter == "\t":
        return number + 1, tabs, ""
    raise empty(path)


def empty(path: Path) -> ValueError:
    return ValueError(f"{path} is empty: give a file with at least one row")


def read_records(
    lines: Iterable[str], path: Path, delimiter: str, before: int
) -> Iterator[tuple[int, list[str]]]:
    """(the line on which it ends, cells) of every row that is not empty.

    `before`: how many lines of the file stand before the first of `lines`.
    """
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
            said = (
                "lines end in a carriage return alone, as on old Macs: "
                "give a file whose lines end in a newline"
            )
        help = (
            f"a quote inside a quoted cell is written twice; {delimiter!r} was taken to be "
            "between cells"
        )
        raise ValueError(f"{path}, line {before + reader.line_num}: {said} ({help})") from None


def decode(blocks: Iterator[bytes], path: Path, encoding: str | None) -> Iterator[str]:
    """Text of bytes, the mark at its beginning left out.  `encoding` as in `read_cells`."""
    first = next(blocks, b"")
    name = encoding or encoding_of(first)
    try:
        "".encode(name)  # a LookupError for codecs that are not of text, too
        decoder = codecs.getincrementaldecoder(name)()
    except LookupError:
        raise ValueError(
            f"encoding {encoding!r} is none that Python knows: "
            "give one like utf-8, latin-1, cp1252 or utf-16"
        ) from None
    lines, help, wide = 1, "name its encoding with --encoding, like latin-1", " or utf-16-le"
    if encoding is None:
        help, wide = "save it as UTF-8", ""
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
            raise ValueError(f"{path} has zero bytes, as UTF-16 or UTF-32 text has: {help}{wide}")
        if i == 0:
            text = text.removeprefix("\ufeff")
        yield text
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


def values_of(cells: Cells, column: int, rows: np.ndarray | slice, table: Table) -> dict[str, int]:
    """How often each value of a column occurs in some rows; cells without a value are left out."""
    texts, name = cells.texts[column], table.names[column]
    counts = np.bincount(cells.codes[rows, column], minlength=len(texts))
    there = [i for i in counts.nonzero()[0] if not table.is_missing(texts[i], name)]
    return {texts[i]: int(counts[i]) for i in there}
