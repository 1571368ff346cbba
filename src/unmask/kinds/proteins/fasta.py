"""FASTA files of protein sequences, read record by record and written; plain, .gz or .xz.

A record is a line that begins with > and the lines of its sequence.  Small letters are read as
capitals; spaces, blank lines, lines that begin with ; (comments) and stars at the end (a stop) are
dropped.
"""

import codecs
import io
import itertools
import re
import string
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from unmask.kinds.encodings import encoding_of
from unmask.kinds.kind import hole_size
from unmask.kinds.leftout import BadRecord, LeftOut
from unmask.kinds.proteins.residues import LETTERS, STRANGE, UNKNOWN, Residues
from unmask.kinds.sources import read_blocks

HOLE = re.compile(r"\[MASK(?::(\d+))?\]", re.IGNORECASE)
LONGEST_HOLE = 100_000  # residues; the longest known protein has 36,000 or so
LONGEST_RECORD = 10_000_000  # characters, ends of lines among them
WIDTH = 60  # letters a line
# the many short lines of a file are never all in a list, which would be many times its size
PIECE, TOGETHER = 1 << 16, 1 << 10  # characters split at once, lines joined at once
COMMENT = re.compile("^;.*", re.MULTILINE)
# to be dropped from a line; the last one is the ideographic blank
BLANKS = {i: None for i in range(0x3001) if chr(i).isspace() and chr(i) != "\n"}
WHAT_TO_GIVE = "give a FASTA file, whose records begin with a line like >name"
# of ASCII only: the capital of a sharp s is two letters
CAPITALS = str.maketrans(string.ascii_lowercase, string.ascii_uppercase)


class Record(NamedTuple):
    """A sequence: its header without the >, and its residues."""

    header: str
    ids: np.ndarray  # (n,) uint8; V where it is not known which residue it is
    letters: str  # (n,) as in the file, but in capitals; - for a hole
    place: str  # file, record and line, for messages
    written: str  # the letters in their own case, and stars at the end
    source: str  # the lines of the file, the first being the header's

    @property
    def holes(self) -> np.ndarray:
        """(n,) bool: X and -."""
        letters = np.frombuffer(self.letters.encode(), np.uint8)
        return (letters == ord("X")) | (letters == ord("-"))


def read_fasta(
    path: Path, bar: tqdm, *, holes: bool = False, left_out: LeftOut | None = None
) -> Iterator[Record]:
    """The records of a file; see `parse_fasta`."""
    return parse_fasta(read_blocks(path, bar), str(path), holes=holes, left_out=left_out)


def parse_fasta(
    blocks: Iterable[bytes], name: str, *, holes: bool = False, left_out: LeftOut | None = None
) -> Iterator[Record]:
    """The records of a file's content; `name`: the file's, for messages.

    Sequences are ASCII; UTF-16 is read where a byte-order mark says so, and a header may be in any
    encoding that ASCII is part of: its bytes are kept (surrogateescape).  `holes`: - is a hole, as
    are [MASK] and [MASK:20], which become - and twenty of them.  `left_out`: says whether records
    that cannot be read are skipped.

    Raises ValueError that names file, line and record for a letter that is no residue, a record
    without residues, text before the first header, and a file without records.
    """
    residues = Residues()
    for began, source in split_records(blocks, name):
        try:
            record = make_record(residues, source, name, began, holes)
        except BadRecord as bad:
            if left_out is None:
                raise
            left_out.skip(bad, f"{name}, line {began}: {said_of(source)}")
            continue
        yield record


def split_records(blocks: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """The number of the first line of every record, and its lines, as they are."""
    began, joined, lines, size, first = 0, [], [], 0, ""
    for number, line in enumerate(split_lines(blocks, name), 1):
        start = line.lstrip()
        if start.startswith(">"):
            if began:
                yield began, "\n".join([*joined, *lines])
            began, joined, lines, size, first = number, [], [line], 0, line
        elif began:
            lines.append(line)
            size += len(line) + 1
            if size > LONGEST_RECORD:
                raise ValueError(
                    f"{name}, line {began}: {said_of(first)} has more than {LONGEST_RECORD:,} "
                    f"letters, and no protein has: {WHAT_TO_GIVE}"
                )
        elif start and not start.startswith(";"):
            raise ValueError(
                f"{name}, line {number}: {shown(line.strip())} stands before the first header: "
                f"{WHAT_TO_GIVE}"
            )
        if len(lines) == TOGETHER:
            joined.append("\n".join(lines))
            lines = []
    if not began:
        raise ValueError(f"{name} has no records: {WHAT_TO_GIVE}")
    yield began, "\n".join([*joined, *lines])


def header_of(source: str) -> str:
    return source.partition("\n")[0].strip()[1:].strip()


def said_of(source: str) -> str:
    """A record's name, for messages."""
    return f"record {shown(header_of(source))}"


def make_record(residues: Residues, source: str, name: str, began: int, holes: bool) -> Record:
    """A record of its lines, the first of which is line `began` of the file `name`."""
    said = said_of(source)
    place = f"{name}, line {began}: {said}"
    rows = COMMENT.sub("", source.partition("\n")[2].translate(BLANKS))
    if holes:
        rows = HOLE.sub(partial(dashes, name=name, first=began + 1), rows)
    written = rows.replace("\n", "")
    letters = written.rstrip("*").translate(CAPITALS)
    if not letters:
        raise BadRecord(
            f"{place} has no residues: give its sequence, or take the record out", "no residues"
        )
    codes = codes_of(letters)
    ids = residues.table[codes]
    if holes:
        ids[codes == ord("-")] = residues.vocab_size
    if (ids == STRANGE).any():
        at = int(np.argmax(ids == STRANGE))
        newlines = np.flatnonzero(codes_of(rows) == ord("\n"))
        ends = newlines - np.arange(len(newlines))  # of the rows, in `written`
        number = began + 1 + int(np.searchsorted(ends, at, side="right"))
        letter = f"{letters[at]!r} at residue {at + 1} of {said}"
        what, fix = wrong(letters[at])
        raise BadRecord(f"{name}, line {number}: {letter} is {what}: {fix}", what)
    return Record(header_of(source), ids, letters, place, written, source)


def codes_of(text: str) -> np.ndarray:
    """(n,) uint8; ? for a character beyond Latin-1."""
    return np.frombuffer(text.encode("latin-1", "replace"), np.uint8)


def wrong(letter: str) -> tuple[str, str]:
    """What a letter is that is no residue, and what to do."""
    if letter in "-.":
        return "a gap of an alignment", "give the sequences without gaps"
    if letter == "*":
        return "a stop inside the sequence", "cut the sequence there"
    known = f"the letters are {LETTERS} and, where it is not known which, {UNKNOWN}"
    return "no residue", known


def dashes(match: re.Match, name: str, first: int) -> str:
    """As many - as a [MASK] stands for; `first`: the number of the first line."""
    number = first + match.string.count("\n", 0, match.start())
    return "-" * hole_size(match[0], match[1], LONGEST_HOLE, "residue", f"{name}, line {number}")


def split_lines(blocks: Iterable[bytes], name: str) -> Iterator[str]:
    """Lines that end in LF, CR LF or CR."""
    newlines = io.IncrementalNewlineDecoder(None, translate=True)
    rest: list[str] = []  # of a line whose end has not been met
    for text in decode(blocks, name):
        text = newlines.decode(text)
        for start in range(0, len(text), PIECE):
            first, *lines = text[start : start + PIECE].split("\n")
            rest.append(first)
            for line in lines:
                yield "".join(rest)
                rest = [line]
    if last := "".join(rest):
        yield last


def decode(blocks: Iterable[bytes], name: str) -> Iterator[str]:
    """Text of bytes, in the encoding of the mark that they begin with."""
    blocks, head = iter(blocks), b""
    while len(head) < 3 and (block := next(blocks, b"")):  # the longest mark has three bytes
        head += block
    encoding = encoding_of(head)
    errors = "strict" if encoding == "utf-16" else "surrogateescape"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    try:
        for block in itertools.chain([head], blocks):
            yield decoder.decode(block)
        yield decoder.decode(b"", True)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{name} begins like UTF-16 and is not ({error.reason}): "
            "save it as plain text (ASCII or UTF-8)"
        ) from None


def shown(text: str) -> str:
    """Quoted, and cut to a readable size."""
    if len(text) > 40:
        text = text[:37] + "..."
    return repr(text)


def format_fasta(records: Iterable[tuple[str, str]]) -> str:
    """(header, letters) as a FASTA file, WIDTH letters a line."""
    lines = []
    for header, letters in records:
        lines.append(f">{header}\n")
        lines += [f"{letters[i : i + WIDTH]}\n" for i in range(0, len(letters), WIDTH)]
    return "".join(lines)
