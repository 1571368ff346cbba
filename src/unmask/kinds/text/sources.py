"""Reading of text, JSON and arrays of ids, block by block."""

import codecs
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from unmask.arrays import read_header
from unmask.files import STREAM
from unmask.kinds.arrow import is_dataset, shards, texts
from unmask.kinds.encodings import encoding_of, looks_binary, without_mark
from unmask.kinds.leftout import BadRecord, LeftOut, described
from unmask.kinds.sources import (
    ARRAY,
    PARQUET,
    first_bytes,
    list_once,
    read_blocks,
    unpacked,
    what_is,
)
from unmask.kinds.text.tokenizers import Bytes, CharacterError, Characters, Subwords, Tokenizer

PIECE = 64 << 10  # characters, about, that a subword tokenizer gets as one text where it may be cut
SAFE_CUT = re.compile(r"(?<=[^\s\u180e])[ \n]")  # U+180E was a space in older Unicode
LINES = (".jsonl", ".ndjson", ".jsonlines")
# JSON that is not lines: an array, or an object whose first line is no whole one
WHOLE = re.compile(r"\[|\{(?:[^\n]*[{\[,:])?[ \t\r]*\n")
# how JSON lines begin, or an array of documents; the string may go on beyond what is looked at
STRING = r'"(?:[^"\\\n]|\\.)*'
DOCUMENTS = re.compile(rf'(?:\[\s*)?\{{\s*{STRING}"\s*:|\[\s*{STRING}(?:"\s*[,\]]|\Z)')
EMPTY, OUTSIDE = "empty", "a character outside the alphabet"
BINARY = "binary data"
ENOUGH = 64  # ids of a file, to tell their width by
WITH_DTYPE = "say which type they have with --dtype, or "
SAVED = "save them with numpy.save, which keeps their type"
ID_TYPES = ("uint8", "uint16", "uint32", "uint64", "int16", "int32", "int64")


class Piece(NamedTuple):
    """Part of a document."""

    text: str | bytes
    ends: bool  # whether the document ends with it
    place: str  # file, or file and line, for messages
    start: int = 0  # characters of the document before it


def find_files(
    roots: dict[str, Path], format: str, skipped: LeftOut, converted: LeftOut
) -> tuple[dict[str, list[Path]], dict[Path, str]]:
    """The files of each split, and how each is read: see `file_kind`, "npy", or "columns".

    In a folder, files that are something else than text are left out, as are packed copies of
    others and NumPy arrays beside texts; ValueError if there is nothing else.  What only looks like
    that is text to the format "text".
    """
    starts: dict[Path, bytes] = {}
    files = {}
    kinds: dict[Path, str] = {}
    for name, root in roots.items():
        files[name] = []
        if root.is_dir() and is_dataset(root):
            files[name] = shards(root)
            kinds |= dict.fromkeys(files[name], "columns")
            continue
        for path in list_once(root, skipped):
            try:
                starts[path] = first_bytes(path)
            except ValueError as error:
                if root.is_file():
                    raise
                skipped.skip(BadRecord(str(error), "truncated or damaged"), path)
                continue
            files[name].append(path)
    arrays = {path for path, start in starts.items() if what_is(start) == ARRAY}
    if format == "text" or (format != "ids" and len(arrays) < len(starts)):
        arrays = set()
    for name, root in roots.items():
        for path in files[name]:
            if path in kinds:
                continue
            what = what_is(starts[path])
            if format in ("auto", "parquet") and what == PARQUET:
                if root.is_file() or format == "parquet":
                    kinds[path] = "columns"
                    continue
            elif format == "parquet":
                if root.is_file():
                    raise ValueError(f"{path} is not {PARQUET}: leave out --format parquet")
                skipped.add(path, what or f"not {PARQUET}")
                continue
            if not what and format == "auto" and looks_binary(starts[path]):
                what = BINARY
            if path in arrays:
                kinds[path] = "npy"
            elif what == BINARY and root.is_file():
                said = f"{path} looks like {BINARY}, or like UTF-16 without a mark"
                raise ValueError(f"{said}: name a text, or take it byte by byte (--format text)")
            elif not what or root.is_file():  # then reading it is an error
                kinds[path] = file_kind(path, format, starts[path])
                note_encoding(path, kinds[path], starts[path], converted)
            else:
                skipped.add(path, what)
        files[name] = [path for path in files[name] if path in kinds]
        if not files[name]:
            there = "; ".join(described(skipped.of(root)))
            fix = "put text files into it"
            if PARQUET in skipped.of(root):
                fix += ", or read those of Parquet with --format parquet"
            raise ValueError(f"{root} has no text, but {there}: {fix}")
    return files, kinds


def file_kind(path: Path, format: str, start: bytes) -> str:
    """How a text is read: "text", "jsonl", "json" (one array of documents) or "ids"."""
    if format != "auto":
        return format
    name = path.name.lower().removesuffix(".gz").removesuffix(".xz")
    if name.endswith(LINES):
        return "jsonl"
    head = start.decode(encoding_of(start), "ignore").lstrip("\ufeff \t\r\n")
    of_json = "json" if WHOLE.match(head) else "jsonl"
    if name.endswith(".json"):
        return of_json
    if path.name == STREAM and DOCUMENTS.match(head):
        what = {"json": "one JSON document", "jsonl": "JSON lines"}[of_json]
        said = f"note: standard input is {what} by its beginning, and read as such"
        print(f"{said}; a text that begins so has to come as a file", file=sys.stderr)
        return of_json
    return "text"


def note_encoding(path: Path, kind: str, start: bytes, converted: LeftOut) -> None:
    """Keep in mind what is going to be decoded."""
    encoding = encoding_of(start)
    if kind == "ids" or encoding == "utf-8":
        return
    said = "UTF-8 whose mark is dropped"
    if encoding != "utf-8-sig":
        said = f"{encoding.upper()}, read as text"
    converted.add(path, said)


def read_text(path: Path, model: Tokenizer | None, bar: tqdm, skipped: LeftOut) -> Iterator[Piece]:
    """One document. Subword tokenizers get texts cut only where that does not change the ids."""
    if skipped.skip_bad:
        try:
            read_through(path, model)
        except ValueError as error:
            why = "truncated, damaged or not UTF-8"
            if isinstance(error, CharacterError):
                why = OUTSIDE
            skipped.add(path, why)
            return
    blocks = without_mark(read_blocks(path, bar), str(path))
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
    if not start:
        skipped.add(path, EMPTY)
    yield Piece("", True, str(path), start)


def read_through(path: Path, model: Tokenizer | None) -> None:
    """ValueError if a file cannot be read to its end, or not be encoded."""
    with tqdm(disable=True) as quiet:
        blocks = without_mark(read_blocks(path, quiet), str(path))
        if isinstance(model, Bytes):
            for _ in blocks:
                pass
            return
        for text in decode_blocks(blocks, path):
            if isinstance(model, Characters):
                model.encode(text)


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
        mark = len(codecs.BOM_UTF8) * first_bytes(path).startswith(codecs.BOM_UTF8)
        raise ValueError(
            f"{path} is not UTF-8 at byte {mark + offset + error.start}: "
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


def read_jsonl(path: Path, field: str, bar: tqdm, skipped: LeftOut) -> Iterator[Piece]:
    """One document a line; blank lines are passed over."""
    for number, line in enumerate(read_lines(path, bar), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            record = parse(line, place, ": each line must be one JSON object")
            text = text_field(record, field, place)
        except BadRecord as error:
            skipped.skip(error, place)
            continue
        yield document(text, place, skipped)


def read_json(path: Path, field: str, bar: tqdm, skipped: LeftOut) -> Iterator[Piece]:
    """The documents of one JSON array, of strings or of objects; it is taken into memory whole."""
    raw = b"".join(without_mark(read_blocks(path, bar), str(path)))
    fix = ": give JSON lines, or one array of documents"
    try:
        records = parse(raw, str(path), fix)
        if not isinstance(records, list):
            raise BadRecord(f"{path} is a single JSON object{fix}", "a single JSON object")
    except BadRecord as error:
        skipped.skip(error, path)
        return
    for number, record in enumerate(records, 1):
        place = f"{path}, entry {number}"
        try:
            if isinstance(record, str):
                text = checked(record, place)
            else:
                text = text_field(record, field, place)
        except BadRecord as error:
            skipped.skip(error, place)
            continue
        yield document(text, place, skipped)


def read_columns(path: Path, field: str, bar: tqdm, skipped: LeftOut) -> Iterator[Piece]:
    """The documents of a column of a Parquet or Arrow file, a row each."""
    for number, text in enumerate(texts(path, field), 1):
        place = f"{path}, row {number}"
        try:
            if text is None:
                why = f"the column {field!r} is null"
                raise BadRecord(f"{place}: {why}", why)
            if isinstance(text, bytes):
                why = "not UTF-8"
                raise BadRecord(f"{place} is {why}: write the file anew as UTF-8", why)
            text = checked(text, place)
        except BadRecord as error:
            skipped.skip(error, place)
            continue
        yield document(text, place, skipped)
    bar.update(path.stat().st_size)


def document(text: str, place: str, skipped: LeftOut) -> Piece:
    """A whole one; those without a character are counted, and make no tokens."""
    if not text:
        skipped.add(place, EMPTY)
    return Piece(text, True, place)


def parse(raw: bytes | str, place: str, fix: str) -> Any:
    """JSON.  BadRecord if it is none."""
    try:
        return json.loads(raw)
    except RecursionError:
        said = f"{place} is nested too deeply to be read{fix}"
        raise BadRecord(said, "nested too deeply") from None
    except ValueError as error:  # bad JSON, or bad UTF-8
        raise BadRecord(f"{place} is not JSON ({error}){fix}", "not JSON") from error


def text_field(record: Any, field: str, place: str) -> str:
    """The text in a record.  BadRecord if there is none."""
    if not isinstance(record, dict):
        fix = f"each must be like {{{json.dumps(field)}: ...}}"
        raise BadRecord(f"{place} is not a JSON object: {fix}", "not a JSON object")
    text = record.get(field)
    if isinstance(text, str):
        return checked(text, place)
    problem = "is not a string"
    if text is None:
        problem = "is null"
    if field not in record:
        problem = "is missing"
    there = ", ".join(map(repr, record)) or "none"
    why = f"the field {field!r} {problem}"
    raise BadRecord(f"{place}: {why}; the fields there are: {there}", why)


def checked(text: str, place: str) -> str:
    """The same.  BadRecord where no encoding can write it."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        why = "half a surrogate pair"
        said = f"{place}: {why} at character {error.start}: repair it"
        raise BadRecord(said, why) from error
    return text


def read_lines(path: Path, bar: tqdm) -> Iterator[bytes]:
    rest = b""
    for block in without_mark(read_blocks(path, bar), str(path)):
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    yield rest


def read_ids(
    path: Path, dtype: str, vocab_size: int, bar: tqdm, otherwise: str = WITH_DTYPE
) -> Iterator[tuple[np.ndarray, bool]]:
    """(ids, whether they end) of a raw little-endian array, checked against the vocabulary.

    otherwise: what to do with ids of another type, but to save them as an array of NumPy's.
    """
    kind = np.dtype(dtype).newbyteorder("<")
    blocks = read_blocks(path, bar, anything=True)
    doubt = f", or they are no {dtype}: {otherwise}{SAVED}"
    for i, (ids, ends) in enumerate(check_ids(blocks, path, kind, vocab_size, doubt)):
        if i == 0:
            check_width(ids, path, dtype, otherwise)
        yield ids, ends


def check_width(ids: np.ndarray, path: Path, dtype: str, otherwise: str) -> None:
    """ValueError for ids that are twice as wide as `dtype`, or wider: the other halves are 0."""
    if len(ids) >= ENOUGH and ids.any() and not ids[1::2].any():
        raise ValueError(
            f"{path}: every second id is 0, as if they were wider than {dtype}: {otherwise}{SAVED}"
        )


def read_array(path: Path, vocab_size: int, bar: tqdm) -> Iterator[tuple[np.ndarray, bool]]:
    """The same of a NumPy array of one dimension, whose type and size are in its header."""
    kind, size, skip = array_header(path)
    blocks, count = drop(read_blocks(path, bar, known=ARRAY), skip), 0
    for ids, ends in check_ids(blocks, path, kind, vocab_size):
        count += len(ids)
        if ends and count != size:
            said = f"{path} says that it has {size} ids and has {count}"
            raise ValueError(f"{said}: it is truncated or damaged, so fetch it again")
        yield ids, ends


def array_header(path: Path) -> tuple[np.dtype, int, int]:
    """Type and number of the ids of a .npy file, and how many bytes stand before them.

    Nothing is unpickled.
    """
    with unpacked(path) as (_, stream):
        try:
            shape, kind = read_header(stream)
        except ValueError:
            damaged = f"{path} begins like {ARRAY} and has no header that can be read"
            raise ValueError(f"{damaged}: save the ids again") from None
        skip = stream.tell()
    if kind.kind not in "iu":
        fix = "save the ids with a type like uint16"
        raise ValueError(f"{path} holds values of type {kind}, and ids are whole numbers: {fix}")
    if len(shape) != 1:
        fix = "save the ids in one dimension"
        raise ValueError(f"{path} is an array of shape {shape}: {fix}")
    return kind, shape[0], skip


def drop(blocks: Iterator[bytes], skip: int) -> Iterator[bytes]:
    """Without the first `skip` bytes."""
    for block in blocks:
        yield block[skip:]
        skip = max(0, skip - len(block))


def check_ids(
    blocks: Iterator[bytes], path: Path, kind: np.dtype, vocab_size: int, doubt: str = ""
) -> Iterator[tuple[np.ndarray, bool]]:
    """As `read_ids`, of blocks of bytes.  doubt: what an error may come from, too."""
    rest, offset = b"", 0
    for block in blocks:
        rest += block
        whole = len(rest) - len(rest) % kind.itemsize
        ids, rest = np.frombuffer(rest[:whole], kind), rest[whole:]
        if len(ids) and not (int(ids.min()) >= 0 and int(ids.max()) < vocab_size):
            at = int(np.argmax((ids < 0) | (ids >= vocab_size)))
            strange = f"{path}: id {ids[at]} at offset {offset + at}"
            raise ValueError(
                f"{strange} is outside the vocabulary of {vocab_size}: the ids are of another "
                f"tokenizer or vocab_size{doubt}"
            )
        yield ids, False
        offset += len(ids)
    if rest:
        left = f"{len(rest)} bytes left"
        broken = f"{path} is no whole number of {kind.name} ids ({left}): it is truncated"
        raise ValueError(broken + doubt)
    yield np.empty(0, kind), True
