"""Texts that are scored one by one: the lines of a file, or JSON lines."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from unmask.kinds.encodings import decode_text
from unmask.kinds.kind import Listed
from unmask.kinds.sources import START, read_blocks
from unmask.kinds.text.holes import parse_pieces, partial
from unmask.kinds.text.sources import checked, file_kind
from unmask.roles import GIVEN, HOLE, UNKNOWN


def read_lines(path: Path, tokenizer: Any, *, marks: bool = False) -> list[Listed]:
    """The lines of a text, or the objects of JSON lines, by their numbers.

    Which of them is told as in `prepare`: .jsonl, .ndjson, .jsonlines, or .json that is no array;
    of standard input, by its beginning.

    What is "text" is paid for; what is "given", if there is such a field, stands before it and is
    not.  `[MASK]` and `[MASK:20]` are tokens that are not known, as in `holes`; the pieces around
    them, and what is given, are tokenized apart.  Blank lines are left out.  `marks`: a line may
    have nothing else.
    """
    found = []
    content = text_of_file(path)
    kind = file_kind(path, "auto", content[:START].encode())
    if kind == "json":
        raise ValueError(f"{path} is one JSON document: give JSON lines, an object on each line")
    # old Macs ended lines in a carriage return alone
    lines = content.split("\n" if "\n" in content else "\r")
    for number, line in enumerate(lines, 1):
        line, place = line.removesuffix("\r"), f"{path}, line {number}"
        if not line.strip():
            continue
        given, text = fields_of(line, place) if kind == "jsonl" else ("", line)
        before, pieces = parse_pieces(given, place), parse_pieces(text, place)
        try:
            example = partial(tokenizer, before + pieces)
            ahead = len(partial(tokenizer, before).ids) if before else 0
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        at = np.arange(len(example.ids))
        known = np.where(at < ahead, GIVEN, HOLE)
        role = np.where(example.role == HOLE, UNKNOWN, known).astype(np.int8)
        if not marks and not (role == HOLE).any():
            raise ValueError(f"{place} has no text that is known: give some, or take it out")
        found.append(Listed(str(number), place, number, example._replace(role=role)))
    if not found:
        raise ValueError(f"{path} has no text: give a line with at least one character")
    return found


def text_of_file(path: Path) -> str:
    """The content of a file, unpacked where it ends in .gz or .xz.

    ValueError for one that is no text.
    """
    return decode_text(b"".join(read_blocks(path, tqdm(disable=True))), str(path))


def fields_of(line: str, place: str) -> tuple[str, str]:
    """The fields "given", empty if there is none, and "text" of a line of JSON lines.

    ValueError for other fields, and for one that stands there twice.
    """
    try:
        content = json.loads(line, object_pairs_hook=tuple)
    except (ValueError, RecursionError):
        raise ValueError(f"{place} is no JSON: give an object with a field text") from None
    pairs = content if isinstance(content, tuple) else ()  # of an object
    fields = dict(pairs)
    if not isinstance(fields.get("text"), str):
        raise ValueError(f"{place} has no field text that is a text: give one")
    if not isinstance(fields.get("given", ""), str):
        raise ValueError(f"{place} has a field given that is no text: give one, or leave it out")
    for name, count in Counter(name for name, _ in pairs).items():
        if name not in ("text", "given"):
            said = f"{place} has a field {name!r}"
            raise ValueError(f"{said}: leave it out, the fields are text and, for a context, given")
        if count > 1:
            raise ValueError(f"{place} has the field {name} {count} times: give it once")
    return checked(fields.get("given", ""), place), checked(fields["text"], place)
