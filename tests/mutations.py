"""Contents of files, changed at random: bits, slices, numbers, words, values of JSON."""

import copy
import json
import struct
from collections.abc import Sequence
from random import Random

from test_documents import WRONG, places

LONGEST = 1 << 18  # bytes of a mutated content


NUMBERS = (
    "0", "-1", "1", "255", "256", "65535", "65536", "2147483648", "4294967296", "99999999999",
    "9223372036854775807", "18446744073709551616", "1" + "0" * 40, "1" * 5000, "1e308", "1e999",
    "-0.0", "NaN", "nan", "Infinity", "0x10", "1_000", "٣",
)  # fmt: skip
WORDS = [
    b"\0", b"\xff", b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf", b"\xff\xfe\0\0", b"\n", b"\r",
    b"\r\n", b"\x0b", b"\x0c", b"\x1c", "\u0085".encode(), "\u2028".encode(), "ß".encode(),
    "İ".encode(), b"\xf0\x9d\x9f\x99", "\u200b".encode(), b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
    b'"', b'""', b"'", b",", b";", b"\t", b"|", b"sep=,\n", b"sep=\n", b">", b">\n", b";", b"*",
    b"-", b".", b"X", b"[MASK]", b"[MASK:3]", b"[MASK:0]", b"[MASK:99999]", b"\\[MASK]", b"{}",
    b"[]", b"[[", b"null", b"true", b'{"text": null}', b'"\\ud800"', b'{"text": "\\ud83d"}', b"?",
    b"na", b"NaN", b"\x1f\x8b", b"\xfd7zXZ\0", b"PK\x03\x04", b"\x93NUMPY", b"\x28\xb5\x2f\xfd",
    b"(" * 200, b"[" * 3000, b"'|O'", b"'<U9'", b"'<M8[s]'", b"'<f2'", b"'>i8'", b"'<c16'", b"'<?'",
    b"[('a', '<i4')]", b"('<i4', (2,))", b"(2, -1)", b"()", b"(True,)", b"True", b"\\", b"\x1a",
]  # fmt: skip


def place(content: bytes, random: Random) -> tuple[int, int]:
    """A slice; short ones are likelier, as is the beginning, where headers are."""
    end = len(content)
    if random.random() < 0.4:
        end = min(end, 64)
    first = random.randint(0, end)
    return first, min(len(content), first + random.choice((1, 1, 2, 4, 8, 30, 200)))


def flip(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    at, end = place(content, random)
    if at == end:
        return content
    return content[:at] + bytes([content[at] ^ 1 << random.randrange(8)]) + content[at + 1 :]


def cut(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    return content[: place(content, random)[0]]


def drop(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    first, end = place(content, random)
    return content[:first] + content[end:]


def repeat(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    first, end = place(content, random)
    return (
        content[:first] + content[first:end] * random.choice((2, 2, 3, 100, 1000)) + content[end:]
    )


def insert(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    first, end = place(content, random)
    if random.random() < 0.5:
        end = first
    return content[:first] + random.choice(WORDS) + content[end:]


def overwrite(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """A binary number in the place of others."""
    form = random.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    most = 256 ** struct.calcsize(form) - 1
    value = random.choice((0, 1, 2, most, most // 2, most // 2 + 1, random.randint(0, most)))
    first, _ = place(content, random)
    number = struct.pack(form, value)
    return content[:first] + number + content[first + len(number) :]


def renumber(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """A written number in the place of another."""
    digits = [i for i, byte in enumerate(content[:20_000]) if 48 <= byte < 58]
    if not digits:
        return content
    first = end = random.choice(digits)
    while first and 48 <= content[first - 1] < 58:
        first -= 1
    while end < len(content) and 48 <= content[end] < 58:
        end += 1
    return content[:first] + random.choice(NUMBERS).encode() + content[end:]


def swap(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    (first, end), (third, fourth) = sorted([place(content, random), place(content, random)])
    if end > third:
        return content
    one, other = content[first:end], content[third:fourth]
    return content[:first] + other + content[end:third] + one + content[fourth:]


def splice(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    other = random.choice(others)
    return content[: place(content, random)[0]] + other[place(other, random)[0] :]


def retree(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Of JSON: a value in the place of another, or none."""
    try:
        document = json.loads(content)
        spots = list(places(document))
    except (ValueError, RecursionError, TypeError):
        return content
    if not spots or isinstance(document, str):
        return content
    above, key = spot(document, random.choice(spots))
    inside, other = spot(document, random.choice(spots))
    kind = random.random()
    if kind < 0.2:
        del above[key]
    elif kind < 0.6:
        above[key] = random.choice(WRONG)
    else:
        above[key] = copy.deepcopy(inside[other])
    return json.dumps(document).encode()


def spot(document, path: tuple) -> tuple:
    """What holds the value at a path, and its last key."""
    for key in path[:-1]:
        document = document[key]
    return document, path[-1]


CHANGES = (
    flip, cut, drop, repeat, insert, insert, overwrite, renumber, renumber, swap, splice,
    retree, retree, retree,
)  # fmt: skip


def mutated(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        content = random.choice(CHANGES)(content, random, others)[:LONGEST]
    return content
