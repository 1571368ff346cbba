"""A text as tokens that lead back to it, byte for byte."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from unmask.documents import parsed
from unmask.files import no_file, write_whole
from unmask.kinds.kind import Packed
from unmask.kinds.text.tokenizers import Bytes, Characters

INVALID = "\udc80-\udcff"  # how Python writes bytes that are no UTF-8, as `surrogateescape`
NAMED = 5  # of the characters that are kept beside
FORM = {"sha256": str, "beside": [[None]]}


def pack(path: Path, tokenizer: Any) -> Packed:
    """A file as one example of tokens; what has none is kept beside.

    ValueError for a tokenizer from whose tokens the text cannot be made again.
    """
    if not path.is_file():
        raise no_file(path, f"there is no file {path}: INPUT is a text")
    raw = path.read_bytes()
    if isinstance(tokenizer, Bytes):
        ids, others, notes = np.frombuffer(raw, np.uint8).astype(np.int64), [], []
    else:
        text, others = without_others(raw.decode("utf-8", "surrogateescape"), tokenizer)
        ids = tokenizer.encode(text).astype(np.int64)
        check_inverse(tokenizer.decode(ids), text, path)
        notes = told(others)
    content = {"sha256": hashlib.sha256(raw).hexdigest(), "beside": others}
    return Packed([ids], raw, json.dumps(content).encode(), notes)


def unpack(rows: list[np.ndarray], beside: bytes, out: str, tokenizer: Any) -> None:
    """Write the text of one example, with what was kept beside it."""
    content = parse(beside)
    if len(rows) != 1:
        raise ValueError(f"a text is one example, and there are {len(rows)}: the file is damaged")
    if isinstance(tokenizer, Bytes):
        raw = rows[0].astype(np.uint8).tobytes()
    else:
        text = with_others(tokenizer.decode(rows[0]), content["beside"])
        raw = text.encode("utf-8", "surrogateescape")
    if hashlib.sha256(raw).hexdigest() != content["sha256"]:
        raise ValueError("the text that was decoded is not the one that was compressed")
    write_whole(out, raw)


def without_others(text: str, tokenizer: Any) -> tuple[str, list[list]]:
    """A text without what has no token, and that: [characters since the last one, it]."""
    pattern = f"[{INVALID}]+"
    if isinstance(tokenizer, Characters):
        pattern = f"[^{re.escape(tokenizer.alphabet)}]+"
    kept, others, end = [], [], 0
    for found in re.finditer(pattern, text):
        kept.append(text[end : found.start()])
        others.append([found.start() - end, found[0]])
        end = found.end()
    return "".join([*kept, text[end:]]), others


def with_others(text: str, others: list[list]) -> str:
    parts, at = [], 0
    for gap, other in others:
        parts += [text[at : at + gap], other]
        at += gap
    return "".join([*parts, text[at:]])


def check_inverse(found: str, text: str, path: Path) -> None:
    """ValueError unless the tokenizer gives back what it was given."""
    if found == text:
        return
    pairs = zip(found, text, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(found), len(text)))
    raise ValueError(
        f"{path} cannot be made again of its tokens, which give {found[at : at + 20]!r} for "
        f"{text[at : at + 20]!r} at character {at + 1}: take a model whose tokenizer changes "
        "nothing, such as one of bytes"
    )


def told(others: list[list]) -> list[str]:
    """What is kept beside, in words."""
    if not others:
        return []
    counts: dict[str, int] = {}
    for character in "".join(other for _, other in others):
        counts[character] = counts.get(character, 0) + 1
    often = sorted(counts, key=counts.__getitem__, reverse=True)
    named = [f"{spelled(one)} {counts[one]:,} times" for one in often[:NAMED]]
    more = ", ..." if len(often) > NAMED else ""
    total = sum(counts.values())
    return [f"{total:,} characters have no token, and are kept: {', '.join(named)}{more}"]


def spelled(character: str) -> str:
    """A character, or the byte that it stands for."""
    code = ord(character)
    return f"byte {code - 0xDC00:#x}" if 0xDC80 <= code <= 0xDCFF else repr(character)


def parse(beside: bytes) -> dict:
    """What was kept.  ValueError for what `pack` does not write."""
    content = parsed(beside, FORM, "what is kept beside the text")
    for pair in content["beside"]:
        if len(pair) != 2 or type(pair[0]) is not int or pair[0] < 0 or type(pair[1]) is not str:
            raise ValueError(f"what is kept beside the text is damaged: {str(pair)[:40]}")
    return content
