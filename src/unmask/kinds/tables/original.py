"""A CSV file as it stands: where each cell is, so that all others can be left as they are."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from unmask.kinds.encodings import encoding_of
from unmask.kinds.sources import read_blocks
from unmask.kinds.tables.csv_source import SEPARATOR, decode

LINE_END = re.compile("\r*\n|\r*\\Z")
MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
}


class Span(NamedTuple):
    """Where the content of a cell is, inside its quotes and the blanks around it."""

    start: int
    end: int
    quoted: bool


class Original:
    """The text of a file, and the cells of its rows, a header among them.

    Rows are those of `csv_source.read_cells`, blank lines being none.  ValueError for a file that
    cannot be written back byte by byte.
    """

    def __init__(self, path: Path, delimiter: str, encoding: str, bar):
        raw = b"".join(read_blocks(path, bar))
        self.path, self.delimiter = path, delimiter
        self.text = "".join(decode(iter([raw]), path, encoding))
        self.mark, self.encoding = self.written(raw, encoding)
        self.rows = list(self.scan())

    def written(self, raw: bytes, encoding: str) -> tuple[bytes, str]:
        """The mark at the beginning, and the encoding that gives the same bytes again."""
        first = [(b"", encoding or encoding_of(raw))]
        for mark, name in [*first, *((mark, name) for name, mark in MARKS.items())]:
            try:
                if mark + self.text.encode(name) == raw:
                    return mark, name
            except UnicodeError:
                continue
        raise ValueError(
            f"{self.path} has bytes that its encoding does not give back: save it as UTF-8, and "
            "leave out --encoding"
        )

    def scan(self) -> Iterator[list[Span]]:
        """The cells of each row, as Python's csv module reads them without blanks at the start."""
        delimiter = re.escape(self.delimiter)
        cell = re.compile(rf' *(?:"(?P<quoted>[^"]*(?:""[^"]*)*)"|(?P<plain>[^{delimiter}\r\n]*))')
        at, end, width = 0, len(self.text), 0
        start = len(self.text) - len(self.text.lstrip())
        line = self.text[start:].split("\n", 1)[0]
        if SEPARATOR.fullmatch(line.strip("\r\n")):
            at = start + len(line)
        while at < end:
            spans, begin = [], at
            while True:
                found = cell.match(self.text, at)
                assert found is not None  # it matches nothing, too
                spans.append(span(found))
                at = found.end()
                if at < end and self.text[at] == self.delimiter:
                    at += 1
                    continue
                break
            stop = LINE_END.match(self.text, at)
            if stop is None:
                raise ValueError(f"{self.path}: a cell ends in {self.text[at : at + 20]!r}")
            if not self.blank(spans, begin, width):
                width = width or len(spans)
                yield spans
            at = max(stop.end(), at)

    def blank(self, spans: list[Span], begin: int, width: int) -> bool:
        """Whether a line is no row; where there is one column, blanks are a cell."""
        if len(spans) > 1 or spans[0].quoted or self.filled(spans[0]):
            return False
        return width != 1 or spans[0].end == begin

    def filled(self, where: Span) -> bool:
        """Whether a cell has more than blanks."""
        return bool(self.text[where.start : where.end].strip())

    def with_cells(self, cells: list[tuple[int, int, str]]) -> bytes:
        """The file with other content in some cells (row, cell, content); nothing else changes, but
        for blanks around a cell that gets quotes."""
        new = [self.spelled(self.rows[row][place], value) for row, place, value in cells]
        parts, at = [], 0
        for start, end, value in sorted(new):
            parts += [self.text[at:start], value]
            at = end
        parts.append(self.text[at:])
        try:
            return self.mark + "".join(parts).encode(self.encoding)
        except UnicodeEncodeError as error:
            wrong = error.object[error.start : error.end]
            raise ValueError(
                f"{wrong!r} cannot be written in {self.encoding}, as {self.path} is: save it as "
                "UTF-8"
            ) from None

    def spelled(self, where: Span, value: str) -> tuple[int, int, str]:
        """What is to stand in a cell, and in place of what: in quotes where it needs them and has
        none, then without the blanks around it, beside which quotes would be none."""
        start, end, quoted = where
        ends = f"{self.delimiter}\r\n"
        special = any(mark in value for mark in (*ends, '"'))
        inside = value.replace('"', '""')
        if quoted:
            return start, end, inside
        if not special:
            return start, end, value
        while (before := self.text[start - 1 : start]).isspace() and before not in ends:
            start -= 1
        while (after := self.text[end : end + 1]).isspace() and after not in ends:
            end += 1
        return start, end, f'"{inside}"'


def span(found: re.Match) -> Span:
    """Where the content of a cell is that a pattern has found."""
    if found["quoted"] is not None:
        return Span(*found.span("quoted"), True)
    start, end = found.span("plain")
    text = found["plain"]
    if text.strip():
        start += len(text) - len(text.lstrip())
        end -= len(text) - len(text.rstrip())
    return Span(start, end, False)
