"""A folder of prepared data: written whole or not at all, cut into splits, and checked."""

import hashlib
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike
from tqdm import tqdm

from unmask import files
from unmask.checkpoint import CONFIG, checkpoints, digest
from unmask.documents import malformed, misfit, one_of, whole
from unmask.files import check_file, write_whole
from unmask.kinds.leftout import spelled
from unmask.kinds.sources import PACKED

FORMAT = 1
SPLITS = ("train", "validation", "test")
COUNTS = dict.fromkeys(SPLITS, whole(0))
META = {
    "tokenizer": {"name": str}, "vocab_size": whole(1, 2**31),
    "dtype": one_of("uint8", "uint16", "uint32", "int32", "int64"), "tokens": COUNTS,
    "sha256": {str: str}, "source": [{"sha256": str}],
    "lengths?": {str: whole(0)}, "classes?": whole(0), "class_names?": [str], "split?": str,
    "groups?": {str: str},
    "images?": COUNTS, "rows?": COUNTS, "document_count?": COUNTS,
    "protocol?": {
        "name": str, "official": str, "length?": whole(0), "marks?": str, "rows?": whole(0),
        "packing?": str, "given?": str, "denominator?": str,
        "dropped?": {"tokens": whole(0), "of": whole(0), "rows_cut": whole(0)},
    },
}  # fmt: skip


def check_new(out: str | Path) -> Path:
    """The absolute path of a folder to make.  ValueError if something is there already."""
    out = Path(out).absolute()
    if out.is_symlink():
        raise ValueError(f"{out} is a link: name the folder itself")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{out} exists already: remove it or name another folder")
    return out


def given_splits(
    source: str | Path, validation: str | Path | None, test: str | Path | None
) -> dict[str, Path]:
    """The splits that have a source of their own, and which."""
    given = zip(SPLITS, (source, validation, test), strict=True)
    return {name: Path(path) for name, path in given if path}


def check_splits(roots: dict[str, Path], files: dict[str, list[Path]]) -> None:
    """ValueError for what is trained on and stands in another split, too: by a source that holds
    that of the other, by a link, or packed."""
    places = {name: root.resolve() for name, root in roots.items()}
    links = any(path.is_symlink() for own in files.values() for path in own)
    if len({*places.values()}) == 1 and not links:  # one source for all
        return
    trained, by_name = {unpacked_name(path) for path in files["train"]}, {*files["train"]}
    for name in set(files) - {"train"}:
        root = roots.get(name, roots["train"])
        same = root.resolve() == places["train"]
        for path in files[name]:
            real = path.resolve()
            # in a store by content, equal pictures of an official set are one file
            stored = same and (path in by_name or not real.is_relative_to(places["train"]))
            if unpacked_name(path) in trained and not stored:
                raise ValueError(
                    f"{path} is in {root}, which is for {name}, and in {roots['train']}, "
                    "which is for training: keep them apart, or it is trained on"
                )


def unpacked_name(path: Path) -> Path:
    """Where a file is, by the name that it has without .gz or .xz."""
    path = path.resolve()
    return path.with_suffix("") if path.suffix.lower() in PACKED else path


def verify(folder: Path, digests: dict[str, str], split: str) -> None:
    """ValueError if a file of a split, or of the tokens, is not the one that was prepared.

    What was verified once is not read again while its size and time are the same; the folder keeps
    a note of them, if it can be written to.
    """
    note = folder / ".verified.json"
    check_file(note)
    try:
        known = dict(json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        known = {}
    before = dict(known)
    for name in digests:
        if name.partition(".")[0] in {*SPLITS} - {split}:
            continue
        path = folder / Path(name).name
        if not path.is_file():
            raise ValueError(f"{path} is missing: restore it from a copy")
        state = path.stat()
        stamp = [digests[name], state.st_size, state.st_mtime_ns]
        if known.get(name) != stamp and digest(path) != digests[name]:
            raise ValueError(
                f"{path} was changed after it was prepared: its SHA-256 is not that in meta.json; "
                "restore the file from a copy, or prepare the data again"
            )
        known[name] = stamp
    if known != before:
        with suppress(OSError):
            write_whole(note, json.dumps(known))


def parse_split(split: str) -> tuple[float, ...]:
    """Three fractions as floats, or three counts as ints."""
    wrong = ValueError(
        f"split {split!r}: give three fractions that sum to 1, like 0.9,0.05,0.05, "
        "or three counts, one of which may be -1 (the rest)"
    )
    parts = [part.strip() for part in str(split).split(",")]
    try:
        shares = tuple(float(part) for part in parts)
    except ValueError:
        raise wrong from None
    if len(shares) != 3:
        raise wrong
    if min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6:
        return shares
    if not all(part.lstrip("-").isdigit() for part in parts):
        raise wrong
    counts = tuple(int(part) for part in parts)
    if min(counts) < -1 or counts.count(-1) > 1 or counts == (0, 0, 0):
        raise wrong
    if sum(counts) == 100:
        raise ValueError(
            f"split {split!r} would keep 100 in all; "
            "if these are percentages, write fractions like 0.9,0.05,0.05"
        )
    return counts


def cut_points(
    shares: tuple[float, ...], edges: np.ndarray, apart: bool, what: str = "tokens"
) -> dict[str, tuple[int, int]]:
    """First and last + 1 token of each split.

    edges: the token offsets between documents, from 0 to the total. apart: cut only at these.
    """
    total = int(edges[-1])
    if isinstance(shares[0], float):
        points = [0, round(total * shares[0]), round(total * (shares[0] + shares[1])), total]
        if shares[2] == 0:  # then the validation split gets what rounding leaves
            points[2] = total
    else:
        asked = sum(count for count in shares if count > 0)
        if asked > total:
            raise ValueError(
                f"the split asks for {asked} {what} and the source has {total}: ask for fewer"
            )
        sizes = [total - asked if count < 0 else count for count in shares]
        points = np.cumsum([0, *sizes]).tolist()
    few = ""
    if apart:
        after = np.clip(np.searchsorted(edges, points), 1, len(edges) - 1)
        before = edges[after - 1]
        points = np.where(points - before <= edges[after] - points, before, edges[after]).tolist()
        whole = f"{what} that are equal or belong together are kept whole: of such groups"
        if what == "tokens":
            whole = "documents are kept whole: of them"
        few = f" ({whole} there are {len(edges) - 1}; or name files of their own for the splits)"
    spans = dict(zip(SPLITS, itertools.pairwise(points), strict=True))
    for (name, (low, high)), share in zip(spans.items(), shares, strict=True):
        if share != 0 and low == high:
            empty = f"the {name} split, {share:g} of {total} {what}, comes out empty"
            raise ValueError(f"{empty}: ask for more or for 0{few}")
    return spans


def cut_by_digest(
    digests: np.ndarray, shares: tuple[float, ...], what: str
) -> dict[str, np.ndarray]:
    """The numbers of the examples of each split, in the order of their `digests` (n,) uint64.

    Equal ones go to one split.  So a split depends on what the examples are and not on their order
    in a file, and none of them is on two sides.
    """
    order = np.argsort(digests, kind="stable")
    edges = np.flatnonzero(np.concatenate([[True], np.diff(digests[order]) != 0, [True]]))
    spans = cut_points(shares, edges, True, what)
    return {name: order[low:high] for name, (low, high) in spans.items()}


def short_digest(content: bytes) -> int:
    """The first 64 bits of the SHA-256."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")


def cut_file(
    folder: Path, spans: dict[str, tuple[int, int]], stored: np.dtype, ending: str = ".bin"
) -> None:
    """Cut train.bin, which holds everything, into splits; training comes first: no copy."""
    path = folder / f"train{ending}"
    everything = np.memmap(path, stored, "r")
    for name, span in spans.items():
        if name != "train":
            everything[slice(*span)].tofile(folder / f"{name}{ending}")
    assert spans["train"][1] <= len(everything)
    del everything
    os.truncate(path, spans["train"][1] * stored.itemsize)


def progress_bars(files: Iterable[Path], progress: bool) -> Callable[[str], tqdm]:
    """Makes bars, of a name each, over the bytes of all files."""
    total = sum(path.stat().st_size for path in files)
    hidden = not (progress and sys.stderr.isatty())
    return lambda name: tqdm(desc=name, total=total, unit="B", unit_scale=True, disable=hidden)


def smallest_type(vocab_size: int) -> np.dtype:
    for stored in map(np.dtype, ("u1", "<u2", "<u4")):
        if vocab_size <= 1 << 8 * stored.itemsize:
            return stored
    raise ValueError(
        f"vocab_size {vocab_size} is more than 32 bits hold: give the true size of the vocabulary"
    )


@contextmanager
def new_folder(out: str | Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` at the end, or vanishes on any exception.

    Between the two a kind writes its arrays, and then calls `write_meta`.  ValueError if something
    is there already.
    """
    with files.new_folder(check_new(out)) as folder:
        yield folder


def write_meta(
    folder: Path,
    kind: str,
    tokenizer: Any,
    stored: DTypeLike,
    sources: Iterable[tuple[Path, list[Path]]],
    *,
    first: dict | None = None,
    format: Any = FORMAT,
    **facts: Any,
) -> dict:
    """Complete a `new_folder` that holds a kind's arrays; returns what meta.json says.

    The tokens of a split are in train.bin, validation.bin or test.bin, little-endian, in the type
    `stored`; one that is not there is empty. tokenizer: has `vocab_size`, `spec()` (JSON) and
    `files()` (what must lie beside the spec). sources: each as it was named, with all its files.
    first, facts: what else there is to say, before and after the numbers of tokens.
    """
    stored = np.dtype(stored)
    bins = {name: folder / f"{name}.bin" for name in SPLITS}
    for path in bins.values():
        path.touch()
    for name, content in tokenizer.files().items():
        (folder / name).write_bytes(content)
    meta = {
        "format": format,
        "kind": kind,
        "tokenizer": tokenizer.spec(),
        "vocab_size": tokenizer.vocab_size,
        "dtype": stored.name,
        **(first or {}),
        "tokens": {name: path.stat().st_size // stored.itemsize for name, path in bins.items()},
        **facts,
        "source": [describe_source(root, files) for root, files in sources],
        "sha256": {path.name: digest(path) for path in sorted(folder.iterdir())},
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return meta


def describe_source(root: Path, files: list[Path]) -> dict:
    """Name, bytes and SHA-256.

    A folder's SHA-256 is that of the lines "checksum  path" of its files, as sha256sum prints.
    """
    size = sum(path.stat().st_size for path in files)
    if root.is_file():
        return {"name": spelled(root.name), "bytes": size, "sha256": digest(root)}
    lines = ""
    for path in files:
        name = Path(path.name)
        if path.is_relative_to(root):
            name = path.relative_to(root)
        lines += f"{digest(path)}  {name.as_posix()}\n"
    return {
        "name": spelled(root.resolve().name),
        "files": len(files),
        "bytes": size,
        "sha256": hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest(),
    }


def read_meta(
    folder: Path,
    kinds: dict[str, tuple[str, ...]],
    formats: dict[str, tuple[int, ...]] | None = None,
) -> dict:
    """meta.json of a folder; `kinds`: what its content needs to have, for each kind there is;
    `formats`: which formats of it are read, where that is not FORMAT alone.

    ValueError for anything else.
    """
    path = folder / "meta.json"
    if not path.is_file():
        raise ValueError(f"{path} is missing: name a folder that unmask prepare made")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}): prepare the data again") from error
    if not isinstance(meta, dict):
        meta = {}
    format, kind = meta.get("format"), meta.get("kind")
    read = (FORMAT,)
    if isinstance(kind, str) and kind in kinds:
        read = (formats or {}).get(kind, read)
    known_format = not isinstance(format, bool) and format in read
    if not known_format or not isinstance(kind, str) or kind not in kinds:
        known = " or ".join(map(repr, kinds))
        wanted = " or ".join(map(repr, read))
        raise ValueError(
            f"{path}: format {format!r} of kind {kind!r}, expected {wanted} of kind {known}"
        )
    if missing := [key for key in kinds[kind] if key not in meta]:
        raise ValueError(f"{path} has no {missing[0]!r}: prepare the data again")
    if wrong := misfit(meta, META):
        raise ValueError(f"{path} is damaged ({wrong}): prepare the data again")
    return meta


def facts_of_meta(folder: Path) -> AbstractContextManager:
    """While facts of meta.json are read: ValueError for one that is missing or malformed."""
    return malformed(f"{folder / 'meta.json'}", "prepare the data again")


def check_sizes(folder: Path, sizes: dict[str, int]) -> None:
    """ValueError for a file that is missing or has another number of bytes."""
    for name, expected in sizes.items():
        path, found = folder / name, "is missing"
        if path.is_file():
            size = path.stat().st_size
            if size == expected:
                continue
            found = f"has {size} bytes"
        raise ValueError(
            f"{path} {found}, expected {expected} bytes: copy or prepare the data again"
        )


class Tokens(NamedTuple):
    """What a folder says of its tokens."""

    spec: dict
    kind: str  # its name
    folder: Path  # where the files that go with the spec are


def find_tokens(path: Path) -> Tokens | None:
    """Those of prepared data, or of a model; None if `path` is neither."""
    path = (checkpoints(path) or [path])[-1]
    for file, inside in (("meta.json", ()), (CONFIG, ("meta", "data"))):
        if (path / file).is_file():
            try:
                meta = json.loads((path / file).read_text(encoding="utf-8"))
                for key in inside:
                    meta = meta[key]
                found = Tokens(meta["tokenizer"], meta["kind"], path)
                found.spec["name"]
            except (KeyError, TypeError, ValueError, RecursionError):
                raise ValueError(
                    f"{path / file} names no tokenizer: give a folder of prepared data or of a "
                    "model, which unmask import makes of a network of transformers"
                ) from None
            return found
    return None
