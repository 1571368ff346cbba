"""A folder of prepared data: how it is written whole or not at all, cut into splits, and checked."""

import hashlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from unmask.checkpoint import CONFIG, checkpoints

FORMAT = 1


SPLITS = ("train", "validation", "test")


def check_new(out: Path) -> None:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{out} exists already: remove it or name another folder")


def parse_split(split: str) -> tuple[float, ...]:
    """Three fractions as floats, or three counts as ints."""
    parts = [part.strip() for part in str(split).split(",")]
    help = "give three fractions that sum to 1, like 0.9,0.05,0.05, or three counts, one of which may be -1 (the rest)"
    try:
        shares = tuple(float(part) for part in parts)
        counts = (
            tuple(int(part) for part in parts)
            if all(part.lstrip("-").isdigit() for part in parts)
            else None
        )
    except ValueError:
        raise ValueError(f"split {split!r}: {help}") from None
    if len(shares) == 3 and min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6:
        return shares
    if (
        len(shares) != 3
        or counts is None
        or min(counts) < -1
        or counts.count(-1) > 1
        or counts == (0, 0, 0)
    ):
        raise ValueError(f"split {split!r}: {help}")
    if sum(counts) == 100:
        raise ValueError(
            f"split {split!r} would keep 100 in all; if these are percentages, write fractions like 0.9,0.05,0.05"
        )
    return counts


def cut_points(
    shares: tuple[float, ...], edges: np.ndarray, apart: bool, what: str = "tokens"
) -> dict[str, tuple[int, int]]:
    """First and last + 1 token of each split. edges: the token offsets between documents, from 0 to
    the total."""
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
        sizes = [count if count >= 0 else total - asked for count in shares]
        points = np.cumsum([0, *sizes]).tolist()
    if apart:
        after = np.clip(np.searchsorted(edges, points), 1, len(edges) - 1)
        before = edges[after - 1]
        points = np.where(points - before <= edges[after] - points, before, edges[after]).tolist()
    spans = dict(zip(SPLITS, itertools.pairwise(points), strict=True))
    whole = (
        "documents are kept whole, and there are"
        if what == "tokens"
        else f"equal {what} stay together, and as many differ:"
    )
    few = f" ({whole} {len(edges) - 1}; or name files of their own for the splits)" if apart else ""
    for (name, (low, high)), share in zip(spans.items(), shares, strict=True):
        if share != 0 and low == high:
            raise ValueError(
                f"the {name} split, {share:g} of {total} {what}, comes out empty: ask for more or for 0"
                + few
            )
    return spans


def cut_by_digest(
    digests: np.ndarray, shares: tuple[float, ...], what: str
) -> dict[str, np.ndarray]:
    """The numbers of the examples of each split, in the order of their `digests` (n,) uint64; equal
    ones go to one split.

    So a split depends on what the examples are and not on their order in a file, and none of them
    is on two sides.
    """
    order = np.argsort(digests, kind="stable")
    edges = np.flatnonzero(np.concatenate([[True], np.diff(digests[order]) != 0, [True]]))
    return {
        name: order[low:high] for name, (low, high) in cut_points(shares, edges, True, what).items()
    }


def short_digest(content: bytes) -> int:
    """The first 64 bits of the SHA-256."""
    return int.from_bytes(hashlib.sha256(content).digest()[:8], "big")


def cut_file(
    folder: Path, spans: dict[str, tuple[int, int]], stored: np.dtype, ending: str = ".bin"
) -> None:
    """Cut train.bin, which holds everything, into splits; training comes first and needs no copy."""
    path = folder / f"train{ending}"
    everything = np.memmap(path, stored, "r")
    for name, span in spans.items():
        if name != "train":
            everything[slice(*span)].tofile(folder / f"{name}{ending}")
    assert spans["train"][1] <= len(everything)
    del everything
    os.truncate(path, spans["train"][1] * stored.itemsize)


def progress_bars(total: int, progress: bool) -> Callable[[str], tqdm]:
    hidden = not (progress and sys.stderr.isatty())
    return lambda name: tqdm(desc=name, total=total, unit="B", unit_scale=True, disable=hidden)


def smallest_type(vocab_size: int) -> np.dtype:
    if vocab_size > 1 << 32:
        raise ValueError(
            f"vocab_size {vocab_size} is more than 32 bits hold: give the true size of the vocabulary"
        )
    return np.dtype("u1" if vocab_size <= 1 << 8 else "<u2" if vocab_size <= 1 << 16 else "<u4")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` at the end, or vanishes on any exception."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / f".{out.name}.{os.getpid()}.part"
    folder.mkdir()
    try:
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def read_meta(folder: Path, kinds: dict[str, tuple[str, ...]]) -> dict:
    """meta.json of a folder; `kinds`: what its content needs to have, for each kind there is.
    ValueError for anything else."""
    path = folder / "meta.json"
    if not path.is_file():
        raise ValueError(f"{path} is missing: name a folder that unmask prepare made")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): prepare the data again") from error
    found = (meta.get("format"), meta.get("kind")) if isinstance(meta, dict) else (None, None)
    if found[0] != FORMAT or found[1] not in kinds:
        raise ValueError(
            f"{path}: format {found[0]!r} of kind {found[1]!r}, expected {FORMAT!r} of kind {' or '.join(map(repr, kinds))}"
        )
    if missing := [key for key in kinds[found[1]] if key not in meta]:
        raise ValueError(f"{path} has no {missing[0]!r}: prepare the data again")
    return meta


def check_sizes(folder: Path, sizes: dict[str, int]) -> None:
    """ValueError for a file that is missing or has another number of bytes."""
    for name, expected in sizes.items():
        size = (folder / name).stat().st_size if (folder / name).is_file() else None
        if size != expected:
            found = "is missing" if size is None else f"has {size} bytes"
            raise ValueError(
                f"{folder / name} {found}, expected {expected} bytes: copy or prepare the data again"
            )


class Tokens(NamedTuple):
    """What a folder says of its tokens: their spec, the name of the kind that they are of, and
    where their files are."""

    spec: dict
    kind: str
    folder: Path


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
            except (KeyError, TypeError, json.JSONDecodeError):
                raise ValueError(f"{path / file} names no tokenizer: give another folder") from None
            return found
    return None
