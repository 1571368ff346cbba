"""Files and folders that are written whole or not at all.

A kill, an error or a full disk leaves what was there before, and at most a name that begins with a
dot and holds ".new-".
"""

import glob
import os
import re
import shutil
import stat
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LEFTOVER = ".*.new-*"
ENDING = 32  # bytes of an ending that is kept
ROOM = 255 - len("..new-01234567") - ENDING  # bytes, of which a name has 255 at most
STREAM = "standard-input"  # the name of a file of what came by it
BLOCK, MOST = 1 << 20, 1 << 32  # bytes of that, copied at a time and in all
SPECIAL = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def no_file(path: Path, said: str) -> ValueError:
    """The error of an input that is no file: that it is a pipe, say, or else `said`."""
    try:
        what = SPECIAL.get(stat.S_IFMT(path.stat().st_mode), "")
    except OSError:
        what = ""
    if what:
        said = f"{path} is {what}, not a file: write what comes from it to a file first"
    return ValueError(said)


def check_file(path: Path) -> None:
    """ValueError for what is there and is no file: who opens a pipe waits for its other end."""
    if path.exists() and not path.is_file():
        raise no_file(path, f"{path} is not a file: remove it, or restore it from a copy")


@contextmanager
def as_file(named: str) -> Iterator[Path]:
    """The path or, for "-", a file of what comes by standard input: sources are read more than
    once, and looked at before they are.

    `named`: as the user wrote it, since ./- is a file, and as a path no other than "-".
    A ValueError about what came calls it STREAM.  ValueError for more than MOST bytes.
    """
    if named != "-":
        yield Path(named)
        return
    if sys.stdin is None:  # by who called us
        raise ValueError("standard input is closed: name a file")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, STREAM)
        with open(file, "wb") as stream:
            while block := sys.stdin.buffer.read(min(BLOCK, MOST + 1 - stream.tell())):
                stream.write(block)
                if stream.tell() > MOST:
                    said = f"standard input has more than {MOST:,} bytes, the most that is kept"
                    raise ValueError(f"{said}: write it to a file, and name that")
        try:
            yield file
        except ValueError as error:
            raise ValueError(str(error).replace(str(file), STREAM)) from error


def beside(path: Path) -> Path:
    """A name of its own in the same folder, with the same ending, if that is short."""
    ending = path.suffix if len(os.fsencode(path.suffix)) <= ENDING else ""
    # not the number of the process: in containers they are all alike
    return path.with_name(f".{short_name(path)}.new-{uuid.uuid4().hex[:8]}{ending}")


def short_name(path: Path) -> str:
    """As much of a name as `beside` has room for."""
    name = path.name
    while len(os.fsencode(name)) > ROOM:
        name = name[:-1]
    return name


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A name to write to, which becomes `path` at the end, or vanishes on any exception.

    Where `path` is a link, what it leads to is replaced.  A device or a pipe is written to as it
    is, and so is a file in a folder to which nothing can be added.  "-" is standard output.
    """
    path = Path(path)
    number = descriptor(path)
    if number is not None:
        with as_descriptor(number) as new:
            yield new
        return
    path = path.resolve()
    new = beside(path)
    if (path.exists() and not path.is_file()) or not can_make(new):
        yield path
        return
    try:
        yield new
        flush(new)
        if path.exists():
            shutil.copymode(path, new)
        try:
            new.replace(path)
        except OSError:  # a file that is mounted by itself, say
            shutil.copyfile(new, path)
    finally:
        new.unlink(missing_ok=True)


def is_writer() -> bool:
    """Of several processes, as torchrun starts them, the first writes files."""
    return os.environ.get("RANK", "0") == "0"


def can_make(path: Path) -> bool:
    try:
        path.touch()
    except OSError:
        return False
    path.unlink()
    return True


def descriptor(path: str | Path) -> int | None:
    """The number of the open descriptor that "-", for standard output, or a path like /dev/stderr
    stands for."""
    named = {"/dev/stdin": 0, "-": 1, "/dev/stdout": 1, "/dev/stderr": 2}
    found = re.fullmatch(r"/(?:dev|proc/self)/fd/(\d+)", str(path))
    return int(found[1]) if found else named.get(str(path))


@contextmanager
def as_descriptor(number: int) -> Iterator[Path]:
    """A name to write to, whose content goes to an open descriptor, after what is there."""
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder) / "content"
        yield new
        sys.stdout.flush()
        with os.fdopen(os.dup(number), "wb") as stream:
            stream.write(new.read_bytes())


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Replace a file, text being written as UTF-8."""
    with replacing(path) as new:
        if isinstance(content, str):
            content = content.encode("utf-8")
        new.write_bytes(content)


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold the lock of a folder, or of a file, which is made.  BlockingIOError if another does.

    False where the system, or the file system, has no such locks.
    """
    try:
        import fcntl
    except ImportError:
        yield False
        return
    number = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
    try:
        held = True
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:
            held = False
        yield held
    finally:
        os.close(number)


def leftovers(path: Path) -> Iterator[Path]:
    """Folders that killed writes of `path` left beside it, each locked while it is looked at.

    None where somebody writes to it, or where there are no locks to tell.
    """
    for leftover in path.parent.glob(f".{glob.escape(short_name(path))}.new-*"):
        with suppress(OSError), locked(leftover) as held:
            if held:
                yield leftover


def check_place(path: Path) -> None:
    """ValueError for a folder that cannot be replaced: others would find nothing in its place."""
    path = path.resolve()
    if not path.is_dir():
        return
    within = Path.cwd().is_relative_to(path)
    if within or os.path.ismount(path):
        why = "the current folder is in it" if within else "it is a mount"
        raise ValueError(f"{path} cannot be replaced ({why}): name a folder inside it")


def mode_of(folder: Path) -> int:
    """Of a folder that is as private as this one, and can be written into."""
    return stat.S_IMODE(folder.stat().st_mode) | stat.S_IRWXU


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` at the end, or vanishes on any exception.

    `out` is not there, or empty, and stays as private as it is.  What killed processes left of such
    folders is removed.  ValueError, before the work, for one that cannot be replaced.
    """
    if out.is_symlink():
        raise ValueError(f"{out} is a link: name the folder itself")
    check_place(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    mode = None
    if out.exists():
        mode = mode_of(out)
        try:
            out.rmdir()
        except OSError as error:
            said = f"{out} cannot be replaced ({error.strerror})"
            raise ValueError(f"{said}: name a folder inside it") from None
        out.mkdir()
        out.chmod(mode)
    for leftover in leftovers(out):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = beside(out)
    folder.mkdir()
    if mode is not None:
        folder.chmod(mode)
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
    posix = os.name == "posix"
    if not (path.is_file() or (posix and path.is_dir())):
        return
    # Windows opens no folders, and flushes only what may be written to
    descriptor = os.open(path, os.O_RDONLY if posix else os.O_RDWR)
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
