"""Reading of pictures from the files of a source, block by block."""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from unmask import arrays
from unmask.kinds.images.pixels import open_picture, to_array
from unmask.kinds.images.sources import Source, within
from unmask.kinds.leftout import BadRecord, LeftOut
from unmask.kinds.sources import read_blocks

MOST_VALUES = 1 << 24  # of a picture
MOST_LABEL = 65535  # that 16 bits hold


class Block(NamedTuple):
    """Some pictures (n, H, W, C) uint8, and their labels (n,) or None."""

    pictures: np.ndarray
    labels: np.ndarray | None


class Reading(NamedTuple):
    """How a folder of pictures is read, and what was met on the way."""

    size: int
    channels: int
    background: str
    left_out: LeftOut
    changed: Counter[str]


def read_images(
    source: Source, bar: tqdm, shape: tuple[int, int, int] | None, reading: Reading
) -> Iterator[Block]:
    """The pictures of a source.

    Raises ValueError that names file, picture and value for what does not fit.
    """
    if source.format == "packbits" and shape is None:
        raise ValueError("packed bits have no header: give --shape HEIGHT,WIDTH,CHANNELS")
    if source.format != "packbits" and shape is not None:
        raise ValueError(f"--shape is for packed bits; the format {source.format} states its own")
    if reading.size < 0:
        raise ValueError(f"--size must not be negative, not {reading.size}")
    if source.format == "folder":
        yield from read_folder(source, bar, reading)
        return
    if reading.size or reading.channels or reading.background or reading.left_out.skip_bad:
        raise ValueError(
            "--size and --channels are for folders of pictures, as are --background and "
            f"--skip-bad, not for the format {source.format}"
        )
    for path in source.files:
        if source.format == "idx":
            yield from read_idx(path, source.labels, bar)
        elif source.format == "cifar10":
            yield from read_cifar10(path, bar)
        elif source.format == "npz":
            yield read_npz(path)
            bar.update(path.stat().st_size)
        else:
            assert shape is not None
            yield from read_packbits(path, shape, bar)


def read_folder(source: Source, bar: tqdm, reading: Reading) -> Iterator[Block]:
    """The pictures of a folder, one by one.

    Raises ValueError for one that cannot be read or is unlike the first, unless such are skipped;
    and if most are unlike it.
    """
    first: tuple[Path, np.ndarray] | None = None
    alike, unlike = 0, 0
    for path in source.files:
        bar.update(path.stat().st_size)
        try:
            array, changed = read_picture(path, reading)
            first = first or (path, array)
            if array.shape != first[1].shape:
                unlike += 1
                raise unlike_first(path, array, *first)
        except BadRecord as bad:
            reading.left_out.skip(bad, within(source.root, path))
            continue
        alike += 1
        reading.changed.update(changed)
        labels = None
        if source.classes:
            name = path.relative_to(source.root).parts[0]
            labels = np.array([source.classes.index(name)])
        yield Block(array[None], labels)
    if first is not None and unlike >= alike:
        raise ValueError(
            f"{unlike:,} pictures of {source.root} have another size or other channels than "
            f"{first[0]}, and {alike:,} have the same: take that one out, or give --size and "
            "--channels"
        )


def read_picture(path: Path, reading: Reading) -> tuple[np.ndarray, Counter[str]]:
    """(H, W, C), and what was changed."""
    changed: Counter[str] = Counter()
    array = to_array(
        open_picture(path, changed),
        path,
        size=reading.size,
        channels=reading.channels,
        background=reading.background,
        changed=changed,
    )
    return array, changed


def unlike_first(path: Path, array: np.ndarray, first: Path, other: np.ndarray) -> BadRecord:
    (h, w, c), (fh, fw, fc) = array.shape, other.shape
    return BadRecord(
        f"{path} is {w} x {h} pixels of {c} channel{'s' * (c > 1)}, "
        f"but {first} is {fw} x {fh} of {fc}: "
        "give --size to crop and resize, --channels 1 or 3 to convert",
        "another size or other channels than the first",
    )


def records(path: Path, size: int, what: str, bar: tqdm, skip: int = 0) -> Iterator[np.ndarray]:
    """(n, size) bytes of a file of records, after `skip` bytes.

    Raises ValueError if the last record is cut short.
    """
    rest, count = b"", 0
    for block in read_blocks(path, bar, anything=True):
        rest += block
        rest, skip = rest[skip:], max(0, skip - len(rest))
        whole = len(rest) // size
        if whole:
            yield np.frombuffer(rest[: whole * size], np.uint8).reshape(whole, size)
            rest, count = rest[whole * size :], count + whole
    if rest:
        raise ValueError(
            f"{path} ends within {what} {count}: {len(rest)} bytes of {size}; fetch it again"
        )


def idx_header(path: Path, axes: int) -> list[int]:
    """Sizes of an IDX file of unsigned bytes with so many axes."""
    size, start = 4 + 4 * axes, b""
    with tqdm(disable=True) as quiet:
        for block in read_blocks(path, quiet):
            start += block
            if len(start) >= size:
                break
    if len(start) < size or start[:4] != bytes([0, 0, 8, axes]):
        begins = start[:4].hex(" ") or "nothing"
        raise ValueError(
            f"{path} begins with {begins}: "
            f"not an IDX file of bytes with {axes} axes (00 00 08 0{axes})"
        )
    sizes = np.frombuffer(start[4:size], ">u4").tolist()
    if not 0 < math.prod(sizes[1:]) <= MOST_VALUES or sizes[0] < 1:
        said = " x ".join(map(str, sizes))
        raise ValueError(f"{path} says that it has {said} values: that cannot be meant")
    return sizes


def read_idx(path: Path, labels: Path | None, bar: tqdm) -> Iterator[Block]:
    count, height, width = idx_header(path, 3)
    known = None if labels is None else read_idx_labels(labels, path, count)
    seen = 0
    for rows in records(path, height * width, "image", bar, skip=16):
        pictures = rows.reshape(len(rows), height, width, 1)
        end = seen + len(rows)
        yield Block(pictures, None if known is None else known[seen:end])
        seen = end
    if seen != count:
        wrong = "truncated" if seen < count else "too long"
        raise ValueError(f"{path} is {wrong}: {seen:,} images where its header says {count:,}")


def read_idx_labels(path: Path, images: Path, count: int) -> np.ndarray:
    """(count,) of an IDX file, which must have as many as there are `images`."""
    number = idx_header(path, 1)[0]
    if number != count:
        raise ValueError(
            f"{path} has {number:,} labels and {images} has {count:,} images: "
            "give the labels of these images"
        )
    with tqdm(disable=True) as quiet:
        blocks = list(records(path, 1, "label", quiet, skip=8))
    labels = np.concatenate([np.empty((0, 1), np.uint8), *blocks])[:, 0]
    if len(labels) != count:
        raise ValueError(
            f"{path} is truncated: {len(labels):,} of {count:,} labels; fetch it again"
        )
    return labels


def read_cifar10(path: Path, bar: tqdm) -> Iterator[Block]:
    seen = 0
    for rows in records(path, 3073, "record", bar):
        wrong = rows[:, 0] > 9
        if wrong.any():
            at = int(wrong.argmax())
            raise ValueError(
                f"{path}, record {seen + at}: label {rows[at, 0]} is not one of 0 to 9; "
                "is this CIFAR-10's binary version?"
            )
        pictures = rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        yield Block(pictures, rows[:, 0])
        seen += len(rows)


def read_npz(path: Path) -> Block:
    data, labels = load_npz(path)
    if not data.size:
        raise ValueError(f"{path} has no images")
    data = as_bytes(data, path)
    official = data.ndim == 2  # the down-sampled ImageNet
    if official:
        side = math.isqrt(data.shape[1] // 3)
        if 3 * side * side != data.shape[1]:
            raise ValueError(
                f"{path}: {data.shape[1]} values an image are not three channels of a square"
            )
        data = data.reshape(len(data), 3, side, side).transpose(0, 2, 3, 1)
    elif data.ndim == 3:
        data = data[..., None]
    if data.ndim != 4 or data.shape[3] not in (1, 3):
        raise ValueError(
            f"{path}: `data` has the shape {data.shape}; "
            "give (n, 3*H*W), (n, H, W) or (n, H, W, C) with C 1 or 3"
        )
    if labels is None:
        return Block(data, None)
    labels = labels.reshape(-1)
    if len(labels) != len(data):
        raise ValueError(f"{path} has {len(labels):,} labels and {len(data):,} images")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{path}: `labels` are {labels.dtype}, not integers")
    first = int(official)  # the official ones count from 1
    labels = labels.astype(np.int64) - first
    wrong = labels[(labels < 0) | (labels > MOST_LABEL)]
    if len(wrong):
        counted = f"they count from {first} to {MOST_LABEL + first}"
        raise ValueError(f"{path}: a label is {wrong[0] + first}; {counted}")
    return Block(data, labels)


def load_npz(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The arrays `data` and, where there is one, `labels` of an .npz file."""
    with arrays.reading(path, "an .npz file"), open(path, "rb") as raw:
        if raw.read(len(arrays.MAGIC)) == arrays.MAGIC:
            raise ValueError("not an .npz file, but a single array")
        archive = arrays.Archive(raw)
        if "data" not in archive.names:
            raise ValueError(f"no array 'data', only {', '.join(archive.names) or 'nothing'}")
        data, labels = archive.read("data"), None
        if "labels" in archive.names:
            labels = archive.read("labels")
    return data, labels


def as_bytes(data: np.ndarray, path: Path) -> np.ndarray:
    """The same values as uint8; ValueError if one does not fit."""
    if data.dtype == np.uint8:
        return data
    if not np.issubdtype(data.dtype, np.integer):
        raise ValueError(f"{path}: `data` is {data.dtype}: give integers from 0 to 255")
    wrong = (data < 0) | (data > 255)
    if wrong.any():
        at = np.unravel_index(int(wrong.argmax()), data.shape)
        raise ValueError(f"{path}, image {at[0]}: value {data[at]} is not between 0 and 255")
    return data.astype(np.uint8)


def read_packbits(path: Path, shape: tuple[int, int, int], bar: tqdm) -> Iterator[Block]:
    values = math.prod(shape)
    if values % 8:
        given = ",".join(map(str, shape))
        raise ValueError(
            f"{values} bits an image are no whole number of bytes: "
            f"--shape {given} cannot be packed so"
        )
    for rows in records(path, values // 8, "image", bar):
        bits = np.unpackbits(rows, axis=1).reshape(len(rows), *shape)
        yield Block(bits * np.uint8(255), None)
