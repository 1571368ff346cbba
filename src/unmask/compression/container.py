"""The file: a header, what is kept beside the examples, and blocks of coded examples.

    magic (8 bytes), version (2), a digest of all that follows (16)
    header (length, JSON), lengths of examples (length, zlib), beside (length, zlib)
    blocks: how many words (4 bytes), a checksum of what is decoded (4), the words (4 each)

Numbers are little-endian.  A file that is damaged, cut short or of something else is told by the
digest, before any work; what a malicious one claims is held against what it has room for.
"""

import hashlib
import itertools
import json
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np

from unmask.documents import Test, misfit, one_of, parsed, whole
from unmask.policies import ORDERS

MAGIC, VERSION = b"\x89UNMASK\n", 1
FRONT = struct.Struct("<8sH16s")
BLOCK = struct.Struct("<II")
MOST_HEADER = 1 << 20  # bytes
MOST_BESIDE = 1 << 28  # bytes, unpacked
MOST_POSITIONS = 1 << 20  # of the examples that run through the network at a time
MOST_ROWS = 1 << 14
MOST_STEPS = 1 << 14


def falling(shares: Any) -> bool:
    """Whether these are shares of units that are masked, from all to none."""
    if not isinstance(shares, list) or not 2 <= len(shares) <= MOST_STEPS + 1:
        return False
    if not all(type(share) in (int, float) for share in shares):
        return False
    down = all(a >= b for a, b in itertools.pairwise(shares))
    return down and shares[0] == 1 and shares[-1] == 0


SHARES = Test(lambda v: v is None or falling(v), "null, or numbers that fall from 1 to 0")
HEADER = {
    "model": str, "order": one_of(*ORDERS), "shares": SHARES, "rows": whole(1, MOST_ROWS),
    "width": whole(1, MOST_POSITIONS), "examples": whole(0, MOST_BESIDE // 4),
    "machine": {str: None}, "probe": str, "beside": whole(0, MOST_BESIDE),
}  # fmt: skip


class Block(NamedTuple):
    """Examples coded together."""

    words: np.ndarray  # (W,) uint32
    check: int  # of what is decoded, see `checksum`


class Content(NamedTuple):
    """What a file holds."""

    header: dict[str, Any]
    lengths: np.ndarray  # (n,) int64, of examples
    beside: bytes
    blocks: list[Block]


class Sizes(NamedTuple):
    """Bytes of the parts of a file."""

    header: int  # with all that is neither of the others
    lengths: int
    beside: int
    payload: int  # the words of blocks
    checks: int  # what each block has besides


def checked(content: Content) -> dict[str, Any]:
    """The header as it is written.  ValueError for what no reader would take."""
    header = content.header | {"beside": len(content.beside)}
    if wrong := misfit(header, HEADER):
        raise ValueError(f"this is more than a file holds: {wrong}; compress less at a time")
    if content.lengths.max(initial=0) >= 2**32:
        raise ValueError("an example has 2^32 tokens or more: compress less at a time")
    return header


def pack(content: Content) -> tuple[bytes, Sizes]:
    """A file, and how large its parts are.  ValueError as in `checked`."""
    header = json.dumps(checked(content), separators=(",", ":"))
    lengths = zlib.compress(content.lengths.astype("<u4").tobytes(), 9)
    beside = zlib.compress(content.beside, 9) if content.beside else b""
    parts = [header.encode(), lengths, beside]
    rest = [struct.pack("<I", len(part)) + part for part in parts]
    for words, check in content.blocks:
        rest.append(BLOCK.pack(len(words), check) + words.astype("<u4").tobytes())
    body = b"".join(rest)
    whole_file = FRONT.pack(MAGIC, VERSION, digest(body)) + body
    payload = sum(4 * len(words) for words, _ in content.blocks)
    checks = BLOCK.size * len(content.blocks)
    others = len(lengths) + len(beside) + payload + checks
    sizes = Sizes(len(whole_file) - others, len(lengths), len(beside), payload, checks)
    return whole_file, sizes


def unpack(raw: bytes, name: str = "the file") -> Content:
    """What a file holds.  ValueError that begins with its `name` for anything but a whole one."""
    if len(raw) < FRONT.size or not raw.startswith(MAGIC):
        raise ValueError(f"{name} is not a file of unmask compress: name one")
    _, version, said = FRONT.unpack_from(raw)
    if version != VERSION:
        raise ValueError(
            f"{name} is of format {version}, and this version of unmask reads {VERSION}: "
            "update the package"
        )
    if digest(raw[FRONT.size :]) != said:
        raise ValueError(f"{name} is damaged or cut short: restore it from a copy")
    reader = Reader(raw, FRONT.size, name)
    header = reader.header()
    packed_lengths, packed_beside = reader.part(), reader.part()
    if header["rows"] * header["width"] > MOST_POSITIONS:
        raise reader.wrong("claims more examples at a time than fit into memory")
    numbers = reader.inflated(packed_lengths, 4 * header["examples"])
    beside = reader.inflated(packed_beside, header["beside"])
    lengths = np.frombuffer(numbers, "<u4").astype(np.int64)
    if len(lengths) > 1 and not lengths.all():
        raise reader.wrong("has an example without tokens")
    blocks = reader.blocks(count_blocks(lengths, header["width"], header["rows"]))
    return Content(header, lengths, beside, blocks)


class Reader:
    """Parts of a file, one after the other."""

    def __init__(self, raw: bytes, at: int, name: str):
        self.raw, self.at, self.name = raw, at, name

    def wrong(self, why: str) -> ValueError:
        return ValueError(f"{self.name} {why}: it is not as unmask compress writes files")

    def take(self, size: int) -> bytes:
        if size > len(self.raw) - self.at:
            raise self.wrong("ends before its parts do")
        self.at += size
        return self.raw[self.at - size : self.at]

    def part(self) -> bytes:
        return self.take(int.from_bytes(self.take(4), "little"))

    def header(self) -> dict[str, Any]:
        text = self.part()
        if len(text) > MOST_HEADER:
            raise self.wrong(f"has a header of {len(text):,} bytes")
        return parsed(text, HEADER, f"the header of {self.name}")

    def inflated(self, packed: bytes, size: int) -> bytes:
        """What was packed, which has to be of this size; a bomb is not let grow."""
        if not packed and not size:
            return b""
        stream = zlib.decompressobj()
        try:
            found = stream.decompress(packed, size + 1)
        except zlib.error as error:
            raise self.wrong(f"has a part that cannot be unpacked ({error})") from None
        if len(found) != size or not stream.eof or stream.unused_data:
            raise self.wrong(f"has a part that is not of the {size:,} bytes that it claims")
        return found

    def blocks(self, needed: int) -> list[Block]:
        """All that is left, which has to be so many; no others are made."""
        found = []
        while self.at < len(self.raw) and len(found) < needed:
            count, check = BLOCK.unpack(self.take(BLOCK.size))
            words = np.frombuffer(self.take(4 * count), "<u4").astype(np.uint32)
            found.append(Block(words, check))
        if self.at < len(self.raw) or len(found) < needed:
            raise self.wrong("has other blocks than its examples need")
        return found


def count_blocks(lengths: np.ndarray, width: int, rows: int) -> int:
    """How many blocks of `rows` pieces, of at most `width` positions, examples make."""
    pieces = int((-(-lengths // width)).sum())
    return -(-pieces // rows)


def digest(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()[:16]


def checksum(ids: np.ndarray) -> int:
    """Of tokens (n,)."""
    return zlib.crc32(ids.astype("<u4").tobytes())
