"""Where what is made goes: the terminal or a file."""

import csv
import io
import json
import math
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from unmask.documents import read_json
from unmask.files import descriptor, is_writer, write_whole

ARCHIVES = (".gz", ".xz", ".bz2", ".zst")  # endings that readers go by
# files that keep digests of those beside them
DIGESTS = {"config.json": "a saved model", "meta.json": "prepared data"}


def write_texts(out: str, texts: list[str]) -> None:
    """To the terminal, or to a file: one text as it is, several under headings, or JSON lines."""
    if out.endswith(".jsonl"):
        content = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    elif len(texts) > 1:
        content = "".join(f"--- {i}\n{text}\n" for i, text in enumerate(texts, 1))
    else:
        content = "".join(texts)
        if texts and not out and not content.endswith("\n"):
            content += "\n"  # the terminal's prompt goes on a line of its own
    write_text(out, content)


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Rows of cells as CSV, with plain newlines; floats with four digits after the point, and
    nothing for one that is not known."""
    return csv_of([[cell_text(cell) for cell in row] for row in rows])


def csv_of(rows: Sequence[Sequence[str]], delimiter: str = ",") -> str:
    """Rows of texts as CSV, with plain newlines."""
    content = io.StringIO()
    # by itself, the writer would leave a carriage return without quotes, and an empty cell between
    # blanks, of which readers skip several
    bare = delimiter == " " or any("\r" in cell for row in rows for cell in row)
    quoting = csv.QUOTE_ALL if bare else csv.QUOTE_MINIMAL
    writer = csv.writer(content, delimiter=delimiter, lineterminator="\n", quoting=quoting)
    writer.writerows(rows)
    return content.getvalue()


def cell_text(cell: Any) -> str:
    if not isinstance(cell, float):
        return str(cell)
    return "" if math.isnan(cell) else f"{cell:.4f}"


def table(rows: list[list[str]]) -> list[str]:
    """Lines of rows of cells, the first of them their names: one column below another."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *rest in rows:
        cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return lines


def check_out(path: str, *suffixes: str, packed: bool = False) -> None:
    """An output file that cannot be written is an error before the work, not after.

    ValueError, too, for a name that ends in none of the `suffixes`, if any are given, and for one
    of an archive, unless what is written may be `packed`.
    """
    # a stream is open already, perhaps a socket, which has no name to open it by, or to end
    if not path or not is_writer() or descriptor(path) is not None:
        return
    file = Path(path)
    if not file.resolve().parent.is_dir():
        raise ValueError(f"{path}: there is no folder {file.parent}")
    if file.is_dir():
        raise ValueError(f"{path} is a folder, not a file")
    if file.suffix.lower() in ARCHIVES and not packed:
        said = f"{path} ends in {file.suffix}, and what is written is not packed"
        raise ValueError(f"{said}: leave that ending out")
    if what := next(filter(None, map(kept_in, (file, file.resolve()))), ""):
        raise ValueError(f"{path} is a file of {what}: name another file")
    new = not file.exists()
    if new or file.is_file():  # a pipe would end for who reads it
        with open(path, "a"):  # an OSError names the file and the reason
            pass
    if new:
        file.resolve().unlink()
    if suffixes and not path.endswith(suffixes):
        raise ValueError(f"{path} must end in {' or '.join(suffixes)}")


def kept_in(file: Path) -> str:
    """What a file is of, by the digests that a file beside it keeps; "" for nothing."""
    for name, what in DIGESTS.items():
        about = file.with_name(name)
        if not (file.is_file() and about.is_file()):
            continue
        try:
            said = read_json(about, {"sha256": {str: str}, "groups?": {str: str}})
        except ValueError:
            continue
        if file.name in (name, *said["sha256"], *said.get("groups", ())):
            return what
    return ""


def check_apart(outs: Iterable[str | Path], inputs: Iterable[str | Path]) -> None:
    """ValueError for an output that is another one or an input, or a file in an input's folder.

    Names that are empty are none.  In a folder of prepared data there may be others than theirs,
    of which `check_out` knows.  Streams, devices, pipes and folders may be named twice.
    """
    read = [Path(one) for one in inputs if str(one) and Path(one).exists()]
    taken: set[Path] = set()
    for out in (Path(one) for one in outs if str(one)):
        if descriptor(out) is not None or (out.exists() and not out.is_file()):
            continue
        real = out.resolve()
        if real in taken:
            raise ValueError(f"{out} is to hold two results: name another file for one of them")
        taken.add(real)
        for one in read if out.exists() else []:
            if out.samefile(one):
                raise ValueError(f"{out} would overwrite the input: name another file")
            sources = one.is_dir() and not (one / "meta.json").is_file()
            if sources and one.resolve() in real.parents:
                raise ValueError(f"{out} is a file of {one}, which is read: name another file")


def write_text(out: str, text: str | bytes) -> None:
    """As it is, to the terminal or to a file; bytes, in an encoding of its own, to a file."""
    if out:
        write_whole(out, text)
        print(f"wrote {out}", file=sys.stderr)
    else:
        assert isinstance(text, str)
        sys.stdout.write(text)


def numbered(out: Path, num: int, suffix: str = "") -> list[Path]:
    """`num` files for what was filled in: `out`, or its name with a number.

    Raises ValueError for one that would not do (see `check_out`).
    """
    names = [out]
    if num != 1:
        if descriptor(out) is not None:
            raise ValueError(f"{out} takes one result, not {num}: name a file")
        names = [out.with_stem(f"{out.stem}-{i}") for i in range(1, num + 1)]
    for name in names:
        check_out(str(name), suffix)
    return names


def animation(images: Sequence[Any], *, seconds: float = 4.0) -> bytes:
    """The content of a GIF file of Pillow's images; the last one stays for two seconds."""
    each = max(20, round(1000 * seconds / len(images)))
    times = [each] * (len(images) - 1) + [2000]  # milliseconds
    settings = {"format": "GIF", "save_all": True, "loop": 0}
    stream = io.BytesIO()
    images[0].save(stream, append_images=images[1:], duration=times, **settings)
    return stream.getvalue()
