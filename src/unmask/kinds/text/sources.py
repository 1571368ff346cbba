"""Reading of text, .jsonl and arrays of ids, block by block."""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from unmask.kinds.sources import read_blocks
from unmask.kinds.text.tokenizers import Bytes, Subwords, Tokenizer

PIECE = 64 << 10  # characters, about, that a subword tokenizer gets as one text where it may be cut
SAFE_CUT = re.compile(r"(?<=[^\s\u180e])[ \n]")  # U+180E was a space in older Unicode
ID_TYPES = ("uint8", "uint16", "uint32", "uint64", "int16", "int32", "int64")


class Piece(NamedTuple):
    """Part of a document."""

    text: str | bytes
    ends: bool  # whether the document ends with it
    place: str  # file, or file and line, for messages
    start: int = 0  # characters of the document before it


def file_kind(path: Path, format: str) -> str:
    if format != "auto":
        return format
    name = path.name.lower().removesuffix(".gz").removesuffix(".xz")
    return "jsonl" if name.endswith(".jsonl") else "text"


def read_text(path: Path, model: Tokenizer | None, bar: tqdm) -> Iterator[Piece]:
    """One document. Subword tokenizers get texts cut only where that does not change the ids."""
    blocks = read_blocks(path, bar)
    if isinstance(model, Bytes):
        texts = blocks
    elif not isinstance(model, Subwords):
        texts = decode_blocks(blocks, path)
    elif model.cuttable:
        texts = cut_safely(decode_blocks(blocks, path))
    else:
        texts = ["".join(decode_blocks(blocks, path))]
    start = 0
    for text in texts:
        yield Piece(text, False, str(path), start)
        start += len(text)
    yield Piece("", True, str(path), start)


def decode_blocks(blocks: Iterator[bytes], path: Path) -> Iterator[str]:
    """UTF-8 text; a character that straddles two blocks goes with the second."""
    rest, offset = b"", 0
    try:
        for block in blocks:
            rest += block
            text, used = codecs.utf_8_decode(rest, "strict", False)
            rest, offset = rest[used:], offset + used
            yield text
        codecs.utf_8_decode(rest, "strict", True)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is not UTF-8 at byte {offset + error.start}: "
            "convert it, or use the tokenizer 'bytes'"
        ) from error


def cut_safely(texts: Iterator[str]) -> Iterator[str]:
    """The same text in pieces of PIECE characters or more.

    Each is cut before a blank or newline that follows a non-space: see `tokenizers._cuttable` for
    why this does not change the ids.
    """
    rest = ""
    for text in texts:
        rest, start = rest + text, 0
        while cut := SAFE_CUT.search(rest, start + PIECE):
            yield rest[start : cut.start()]
            start = cut.start()
        rest = rest[start:]
    yield rest


def read_jsonl(path: Path, field: str, bar: tqdm) -> Iterator[Piece]:
    """One document a line; blank lines are passed over."""
    for number, line in enumerate(read_lines(path, bar), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        yield Piece(text_field(line, field, place), True, place)


def text_field(line: bytes, field: str, place: str) -> str:
    """The text in a line of .jsonl.  ValueError that begins with `place` if there is none."""
    try:
        record = json.loads(line)
    except ValueError as error:  # bad JSON, or bad UTF-8
        fix = "each line must be one JSON object"
        raise ValueError(f"{place} is not JSON ({error}): {fix}") from error
    if not isinstance(record, dict):
        fix = f"each line must be like {{{json.dumps(field)}: ...}}"
        raise ValueError(f"{place} is not a JSON object: {fix}")
    text = record.get(field)
    if not isinstance(text, str):
        problem = "is missing"
        if field in record:
            problem = "is not a string"
        there = ", ".join(map(repr, record)) or "none"
        raise ValueError(f"{place}: the field {field!r} {problem}; the fields there are: {there}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"half a surrogate pair at character {error.start}"
        raise ValueError(f"{place}: {found}: repair the line") from error
    return text


def read_lines(path: Path, bar: tqdm) -> Iterator[bytes]:
    rest = b""
    for block in read_blocks(path, bar):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    yield rest


def read_ids(
    path: Path, dtype: str, vocab_size: int, bar: tqdm
) -> Iterator[tuple[np.ndarray, bool]]:
    """(ids, whether they end) of a raw little-endian array, checked against the vocabulary."""
    kind = np.dtype(dtype).newbyteorder("<")
    rest, offset = b"", 0
    for block in read_blocks(path, bar):
        rest += block
        whole = len(rest) - len(rest) % kind.itemsize
        ids, rest = np.frombuffer(rest[:whole], kind), rest[whole:]
        if len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) < vocab_size):
            at = int(np.argmax((ids < 0) | (ids >= vocab_size)))
            strange = f"{path}: id {ids[at]} at offset {offset + at}"
            raise ValueError(
                f"{strange} is outside the vocabulary of {vocab_size}: give the vocab_size or "
                f"tokenizer that the ids were made with, and their dtype (now {dtype})"
            )
        yield ids, False
        offset += len(ids)
    if rest:
        left = f"{len(rest)} bytes left"
        raise ValueError(f"{path} is no whole number of {dtype} ids ({left}): give its dtype")
    yield np.empty(0, kind), True
