"""Texts that are scored one by one: the lines of a file, or JSON lines."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from unmask.kinds.encodings import decode_text
from unmask.kinds.kind import Listed
from unmask.kinds.sources import foreign, what_is
from unmask.kinds.text.holes import parse_pieces, partial
from unmask.roles import GIVEN, HOLE, UNKNOWN


def read_lines(path: Path, tokenizer: Any) -> list[Listed]:
    """The lines of a text, or the objects of JSON lines (.jsonl), by their numbers.

    What is "text" is paid for; what is "given", if there is such a field, stands before it and is
    not.  `[MASK]` and `[MASK:20]` are tokens that are not known, as in `holes`; the pieces around
    them, and what is given, are tokenized apart.  Blank lines are left out.
    """
    found = []
    lines = text_of_file(path.read_bytes(), path).split("\n")
    for number, line in enumerate(lines, 1):
        line, place = line.removesuffix("\r"), f"{path}, line {number}"
        if not line.strip():
            continue
        given, text = fields_of(line, place) if path.suffix == ".jsonl" else ("", line)
        before, pieces = parse_pieces(given, place), parse_pieces(text, place)
        try:
            example = partial(tokenizer, before + pieces)
            ahead = len(partial(tokenizer, before).ids) if before else 0
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from None
        at = np.arange(len(example.ids))
        known = np.where(at < ahead, GIVEN, HOLE)
        role = np.where(example.role == HOLE, UNKNOWN, known).astype(np.int8)
        if not (role == HOLE).any():
            raise ValueError(f"{place} has no text that is known: give some, or take it out")
        found.append(Listed(str(number), place, number, example._replace(role=role)))
    if not found:
        raise ValueError(f"{path} has no text: give a line with at least one character")
    return found


def text_of_file(raw: bytes, path: Path) -> str:
    """The content of a file; ValueError for one that is no text."""
    if what := what_is(raw):
        raise foreign(path, what)
    return decode_text(raw, str(path))


def fields_of(line: str, place: str) -> tuple[str, str]:
    """The fields "given", empty if there is none, and "text" of a line of JSON lines."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        raise ValueError(f"{place} is no JSON: give an object with a field text") from None
    if not isinstance(content, dict) or not isinstance(content.get("text"), str):
        raise ValueError(f"{place} has no field text that is a text: give one")
    if not isinstance(content.get("given", ""), str):
        raise ValueError(f"{place} has a field given that is no text: give one, or leave it out")
    return content.get("given", ""), content["text"]
