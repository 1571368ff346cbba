"""The encodings of text files, told by their byte-order marks."""

import codecs
import itertools
from collections.abc import Iterable, Iterator

# that of UTF-32 begins like that of UTF-16, and so comes first
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
LONGEST = max(map(len, MARKS))
# of what stands behind a mark
NAMES = ("utf-32-le", "utf-32-be", "utf-8", "utf-16-le", "utf-16-be")
BEHIND = dict(zip(MARKS, NAMES, strict=True))
CONTROLS = bytes({*range(32), 127} - set(b"\b\t\n\f\r\x1b"))  # but those that texts have


def encoding_of(start: bytes) -> str:
    """What the mark at the start of a file says; UTF-8 if there is none."""
    for mark, name in MARKS.items():
        if start.startswith(mark):
            return name
    return "utf-8"


def encoded_like(start: bytes, text: str) -> bytes:
    """A text as the file that begins with `start`, with its mark; UTF-8 if there is none."""
    for mark, name in BEHIND.items():
        if start.startswith(mark):
            return mark + text.encode(name)
    return text.encode()


def looks_binary(start: bytes) -> bool:
    """Whether a file that begins so is no text in an encoding of its own, nor UTF-16 without a
    mark: of random bytes a tenth are control characters, of text next to none."""
    if encoding_of(start) != "utf-8":
        return False
    zeros, controls = start.count(0), len(start) - len(start.translate(None, CONTROLS))
    try:
        codecs.utf_8_decode(start, "strict", False)
    except UnicodeDecodeError:
        return controls > len(start) / 50
    return zeros > len(start) / 20


def without_mark(blocks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """The content of a text file without its byte-order mark, in UTF-8 where it had one.

    Bytes without a mark are let through as they are.  `name`: the file's, for the ValueError where
    what follows the mark of UTF-16 or UTF-32 is not that.
    """
    blocks, head = iter(blocks), b""
    while len(head) < LONGEST and (block := next(blocks, b"")):
        head += block
    encoding = encoding_of(head)
    if encoding in ("utf-8", "utf-8-sig"):
        if head := head.removeprefix(codecs.BOM_UTF8):
            yield head
        yield from blocks
        return
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for block in itertools.chain([head], blocks):
            yield decoder.decode(block).encode()
        yield decoder.decode(b"", True).encode()
    except UnicodeDecodeError as error:
        begins = f"{name} begins like {encoding.upper()} and is not ({error.reason})"
        raise ValueError(f"{begins}: save it as UTF-8") from None


def decode_text(raw: bytes, name: str) -> str:
    """The text of a whole file, in UTF-8 or what its mark says."""
    try:
        return b"".join(without_mark([raw], name)).decode()
    except UnicodeDecodeError as error:
        mark = len(codecs.BOM_UTF8) * raw.startswith(codecs.BOM_UTF8)
        at = f"byte {mark + error.start}"
        raise ValueError(f"{name} is not UTF-8 text at {at}: save it as UTF-8") from None
