"""Arrays from elsewhere, NumPy's .npy and .npz: read without unpickling anything.

What a header says is held against the bytes that there are before an array of its size is made.
"""

import lzma
import math
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

MAGIC = np.lib.format.MAGIC_PREFIX
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
LARGEST = 2**62  # of a shape, before NumPy's own numbers overflow
UNPACKED, RATIO = 32 << 20, 100  # what is packed may be so many bytes, or so many times its size
# what reading a file raises that is cut off, altered, or something else
DAMAGE = (
    OSError, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile, zlib.error,
    lzma.LZMAError,
)  # fmt: skip


class Header(NamedTuple):
    """What a .npy file says of its array."""

    shape: tuple[int, ...]
    dtype: np.dtype


def read_header(stream: IO[bytes]) -> Header:
    """That of a .npy file; of the versions of the format, those that plain numbers have."""
    try:
        shape, _, dtype = HEADERS[np.lib.format.read_magic(stream)](stream)
        if any(type(n) is not int for n in shape):  # of which True is one to NumPy's parser
            raise ValueError
    except Exception:  # whatever NumPy's parser of its headers raises
        raise ValueError("an array with no header that can be read: save it again") from None
    return Header(shape, dtype)


def read_array(stream: IO[bytes], size: int, most: int = LARGEST) -> np.ndarray:
    """The array of a .npy file of `size` bytes: real numbers, at most so many."""
    shape, dtype = read_header(stream)
    if dtype.kind not in "iuf":
        raise ValueError(f"an array of {dtype}: give real numbers")
    values = math.prod(shape)
    if max(values, *shape, 0) > most:
        more = f"more than the {most:,} values that are read"
        raise ValueError(f"an array of shape {shape}, {more}: give fewer")
    if min(shape, default=0) < 0 or values * dtype.itemsize > size:
        there = f"an array of shape {shape} in {size:,} bytes"
        raise ValueError(f"{there}: it is truncated or damaged, so fetch it again")
    stream.seek(0)
    return np.lib.format.read_array(stream, allow_pickle=False)


def doubles(array: np.ndarray) -> np.ndarray:
    """Real numbers in float64: what does not fit is infinite, and no NaN warns, as some would."""
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(np.float64)


class Archive:
    """The arrays of an .npz file, by their names."""

    def __init__(self, stream: IO[bytes]):
        self.file = zipfile.ZipFile(stream)
        self.entries = {one.filename.removesuffix(".npy"): one for one in self.file.infolist()}

    @property
    def names(self) -> list[str]:
        return list(self.entries)

    def read(self, name: str, most: int = LARGEST) -> np.ndarray:
        with self.open(name) as stream:
            return read_array(stream, self.entries[name].file_size, most)

    def open(self, name: str) -> IO[bytes]:
        """Its bytes; ValueError for what unpacks to far more than it is packed."""
        entry = self.entries[name]
        check_ratio(name, entry.file_size, entry.compress_size)
        return self.file.open(entry)


def check_ratio(name: Path | str, size: int, packed: int) -> None:
    """ValueError for what unpacks to much more than files of data do."""
    if size > max(UNPACKED, RATIO * packed):
        more = f"more than {RATIO} times what it is packed"
        raise ValueError(f"{name} is {more}, {packed:,} bytes: unpack it first if that is meant")


@contextmanager
def reading(path: Path, what: str) -> Iterator[None]:
    """While a file is read that should be `what`: ValueError that names it if it is not."""
    try:
        yield
    except DAMAGE as error:
        said = one_line(error) or type(error).__name__
        raise ValueError(f"{path} is truncated, or not {what} ({said})") from None
    except ValueError as error:
        raise ValueError(f"{path}: {one_line(error)}") from None


def one_line(error: Exception) -> str:
    """What an error says, for the middle of a message."""
    return " ".join(str(error).split())
