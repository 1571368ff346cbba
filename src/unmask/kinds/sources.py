"""Reading of source files, block by block: plain, .gz or .xz; what they are, by their content."""

import gzip
import lzma
import os
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from unmask.arrays import check_ratio
from unmask.files import no_file
from unmask.kinds.leftout import LeftOut

PACKED = {".gz": gzip.open, ".xz": lzma.open}
# endings that say how a file is read
TELLING = {*PACKED, ".json", ".jsonl", ".jsonlines", ".ndjson", ".bin", ".npy"}
COPY = "packed, and there unpacked as well"
LINK = "another name of a file that is read"
BLOCK = 8 << 20  # bytes read at a time
START = 1024  # bytes by which a file is recognised
ARRAY = "a NumPy array (.npy)"
PARQUET = "a Parquet file"
ZIP = rb"PK\x03\x04.{26}"  # and the name of the first file inside
# what begins so is no text; the first that fits counts
SIGNATURES = [
    (re.compile(pattern, re.DOTALL), what)
    for pattern, what in [
        (rb"\x93NUMPY", ARRAY),
        (ZIP + rb"(\[Content_Types\]|_rels/|docProps/|word/|xl/|ppt/)", "an Office document"),
        (ZIP + rb"mimetype", "an OpenDocument or EPUB document"),
        (ZIP + rb"[^/\0]{1,100}?\.npy", "a NumPy archive (.npz)"),
        (ZIP + rb"[^\0]{0,100}?data\.pkl", "a PyTorch file"),
        (rb"PK\x03\x04|PK\x05\x06", "a zip archive"),
        (rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", "a bzip2 archive"),
        (rb"\x28\xb5\x2f\xfd", "a zstd archive"),
        (rb"\x1f\x8b\x08", "a gzip archive"),
        (rb"\xfd7zXZ\0", "an xz archive"),
        (rb"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (rb"Rar!\x1a\x07", "a RAR archive"),
        (rb".{257}ustar(\0|  \0)", "a tar archive"),
        (rb"PAR1[^\t\n\r\x20-\x7e]", PARQUET),
        (rb"ARROW1\0\0", "an Arrow file"),
        (rb"Obj\x01", "an Avro file"),
        (rb"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (rb"SQLite format 3\0", "a SQLite database"),
        (rb".{4}\0{4}\{[\"}\s]", "a safetensors file"),
        (rb"GGUF[\x01-\x09]\0\0\0", "a GGUF file"),
        (rb"\x80[\x02\x03][(\[\]}Xc\x8aKMJGNU\x58)]|\x80[\x04\x05]\x95", "a Python pickle"),
        (rb"%PDF-\d\.\d", "a PDF document"),
        (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document (.doc, .xls, .ppt)"),
        (rb"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (rb"\xff\xd8\xff", "a JPEG picture"),
        (rb"GIF8[79]a", "a GIF picture"),
        (rb"RIFF.{4}WEBP", "a WebP picture"),
        (rb"BM.{4}\0{4}", "a BMP picture"),
        (rb"II\*\0|MM\0\*", "a TIFF picture"),
        (rb"RIFF.{4}WAVE|fLaC|OggS\0|ID3[\x02-\x04]", "a sound file"),
        (rb"\0\0\0.ftyp", "a film or a HEIF picture"),
        (rb"\x7fELF", "a program"),
    ]
]


def what_is(start: bytes) -> str:
    """What a file that begins with `start` is, with its article; "" if it may be text."""
    for signature, what in SIGNATURES:
        if signature.match(start):
            return what
    return ""


def foreign(name: Path | str, what: str) -> ValueError:
    """A file that is something else than what is read here."""
    fix = "convert what is in it first, or name another file"
    if what.endswith("archive"):
        fix = "unpack it first (files that end in .gz or .xz are read as they are)"
    return ValueError(f"{name} is {what}: {fix}")


def list_files(root: Path) -> list[Path]:
    """The file `root`, or all files below the folder `root` but hidden ones, sorted.

    Links to folders elsewhere are followed, each once.  ValueError for a folder that cannot be
    read, for a link that leads nowhere and for what is no file.
    """
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise no_file(root, f"{root} does not exist: name a file or a folder")
    files, seen = [], set()
    for folder, inside, names in os.walk(root, onerror=fail, followlinks=True):
        inside.sort()
        for name in [*inside]:
            path = Path(folder, name)
            real, linked = path.resolve(), path.is_symlink()
            if name.startswith(".") or real in seen or (linked and is_read(real, root.resolve())):
                inside.remove(name)
            else:
                seen.add(real)
        files += [Path(folder, name) for name in names if not name.startswith(".")]
    files.sort()
    for path in files:
        if not path.is_file():
            raise ValueError(
                f"{path} is no file, or a link to nothing: fetch what it stands for, or take it out"
            )
    if not files:
        raise ValueError(f"{root} is an empty folder: put files into it or name another")
    return files


def list_once(root: Path, left_out: LeftOut) -> list[Path]:
    """Those of `list_files` but packed copies and links to others, which are left out: no text
    stands in two splits."""
    files = list_files(root)
    twice = dict.fromkeys(packed_copies(files), COPY) | dict.fromkeys(linked(files), LINK)
    for path, why in twice.items():
        left_out.add(path, why)
    return [path for path in files if path not in twice]


def packed_copies(files: Iterable[Path]) -> list[Path]:
    """The .gz and .xz files whose content is there by another name, by that name."""
    copies, there = [], {path for path in files if path.suffix.lower() not in PACKED}
    for path in files:
        plain = path.with_suffix("")
        if path.suffix.lower() in PACKED:
            if plain in there:
                copies.append(path)
            there.add(plain)
    return copies


def linked(files: list[Path]) -> list[Path]:
    """The files that are there by another name, too: a name whose ending says what is in it goes
    first, and a file before the links to it."""
    if not any(map(Path.is_symlink, files)):
        return []
    first: dict[Path, Path] = {}
    names = sorted(files, key=lambda path: (path.suffix.lower() not in TELLING, path.is_symlink()))
    return sorted(path for path in names if first.setdefault(path.resolve(), path) != path)


def is_read(folder: Path, root: Path) -> bool:
    """Whether a folder is read with `root` anyway, or `root` with it."""
    if folder == root or folder in root.parents:
        return True
    below = folder.relative_to(root).parts if root in folder.parents else ()
    return bool(below) and not any(part.startswith(".") for part in below)


def fail(error: OSError) -> None:
    raise ValueError(f"{error.filename} cannot be read ({error.strerror}): take it out") from None


@contextmanager
def unpacked(path: Path) -> Iterator[tuple[IO[bytes], Any]]:
    """A file and, of the same file, the content: unpacked where its name ends in .gz or .xz."""
    unpack = PACKED.get(path.suffix.lower(), nullcontext)
    with open(path, "rb") as raw, unpack(raw) as stream:
        try:
            yield raw, stream
        except (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
            damaged = f"{path} is truncated or damaged ({error}): fetch it again"
            raise ValueError(damaged) from error


def first_bytes(path: Path) -> bytes:
    """The beginning of a file's content, for `what_is`."""
    with unpacked(path) as (_, stream):
        return stream.read(START)


def read_blocks(
    path: Path, bar: tqdm, *, known: str = "", anything: bool = False
) -> Iterator[bytes]:
    """The content of a file, unpacked, BLOCK bytes at a time.

    ValueError for a folder, and for what `what_is` recognises, unless it is `known`, or numbers are
    read, which may begin like `anything`.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file")
    what = "" if anything else what_is(first_bytes(path))
    if what and what != known:
        raise foreign(path, what)
    with unpacked(path) as (raw, stream):
        shown = size = 0
        while block := stream.read(BLOCK):
            size += len(block)
            check_ratio(path, size, path.stat().st_size)
            bar.update(raw.tell() - shown)
            shown = raw.tell()
            yield block
        bar.update(raw.tell() - shown)
