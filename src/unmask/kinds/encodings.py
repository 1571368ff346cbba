"""The encodings of text files, told by their byte-order marks."""

import codecs

MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def encoding_of(start: bytes) -> str:
    """What the mark at the start of a file says; UTF-8 if there is none."""
    for mark, name in MARKS.items():
        if start.startswith(mark):
            return name
    return "utf-8"
