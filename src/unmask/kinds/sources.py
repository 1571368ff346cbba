"""Reading of source files, block by block: plain, .gz or .xz."""

import gzip
import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

BLOCK = 8 << 20  # bytes read at a time
PACKED = {
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x1f\x8b": "gzip",
    b"\xfd7zX": "xz",
    b"7z\xbc\xaf": "7z",
}


def list_files(root: Path) -> list[Path]:
    """The file `root`, or all files below the folder `root` but hidden ones, sorted."""
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise ValueError(f"{root} does not exist: name a file or a folder of text")
    files = []
    for folder, inside, names in os.walk(root):
        inside[:] = [name for name in inside if not name.startswith(".")]
        files += [Path(folder, name) for name in names if not name.startswith(".")]
    files = sorted(path for path in files if path.is_file())
    if not files:
        raise ValueError(f"{root} is an empty folder: put text files into it or name another")
    return files


def read_blocks(path: Path, bar: tqdm) -> Iterator[bytes]:
    """The content of a file, unpacked, BLOCK bytes at a time."""
    with open(path, "rb") as raw:
        first = raw.read(4)
    ending = path.suffix.lower()
    for magic, packed in PACKED.items():
        if first.startswith(magic) and ending not in (".gz", ".xz"):
            raise ValueError(
                f"{path} is a {packed} archive: "
                "unpack it first (files that end in .gz or .xz are read as they are)"
            )
    unpack = {".gz": gzip.open, ".xz": lzma.open}.get(ending, nullcontext)
    with open(path, "rb") as raw, unpack(raw) as stream:
        shown = 0
        while True:
            try:
                block = stream.read(BLOCK)
            except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
                damaged = f"{path} is truncated or damaged ({error}): fetch it again"
                raise ValueError(damaged) from error
            bar.update(raw.tell() - shown)
            shown = raw.tell()
            if not block:
                return
            yield block
