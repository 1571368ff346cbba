"""Files and folders that are written whole or not at all.

A kill, an error or a full disk leaves what was there before, and at most a name that begins with a
dot and holds ".new-".
"""

import glob
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LEFTOVER = ".*.new-*"


def beside(path: Path) -> Path:
    """A name of its own in the same folder, with the same ending."""
    # not the number of the process: in containers they are all alike
    return path.with_name(f".{path.name}.new-{uuid.uuid4().hex[:8]}{path.suffix}")


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A name to write to, which becomes `path` at the end, or vanishes on any exception.

    Where `path` is a link, what it leads to is replaced; a device or a pipe is written to as it is.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()
    new = beside(path)
    try:
        yield new
        flush(new)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Replace a file, text being written as UTF-8."""
    with replacing(path) as new:
        if isinstance(content, str):
            content = content.encode("utf-8")
        new.write_bytes(content)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a folder, or of a file, which is made.  BlockingIOError if another does.

    Nothing happens where the system has no file locks.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` at the end, or vanishes on any exception.

    `out` is not there, or empty.  What killed processes left of such folders is removed.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    for leftover in out.parent.glob(f".{glob.escape(out.name)}.new-*"):
        with suppress(OSError), locked(leftover):  # else somebody writes to it
            shutil.rmtree(leftover)
    folder = beside(out)
    folder.mkdir()
    try:
        with locked(folder):
            yield folder
            if out.exists():
                out.rmdir()
            folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def flush(path: Path) -> None:
    """To the disk: what a file holds, or which names a folder holds."""
    if not (path.is_file() or path.is_dir()):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> None:
    """Of writes into `folder` that were killed; only where nobody else writes."""
    for path in folder.glob(LEFTOVER):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
