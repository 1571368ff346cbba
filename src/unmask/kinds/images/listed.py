"""Pictures that are scored one by one."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from unmask.kinds.images.holes import read_opaque, transparent
from unmask.kinds.images.pixels import Pixels
from unmask.kinds.images.reading import Block, Reading, read_images
from unmask.kinds.images.sources import ending, file_format, is_picture, make_source, within
from unmask.kinds.kind import Listed, Partial
from unmask.kinds.leftout import LeftOut, described
from unmask.kinds.sources import list_files
from unmask.roles import HOLE, UNKNOWN


class Read(NamedTuple):
    """A picture as it is read."""

    name: str
    place: str  # for messages
    array: np.ndarray  # (H, W, C) uint8
    role: np.ndarray  # (H*W*C,) int8
    label: int | None = None


def read_pictures(path: Path, pixels: Pixels, *, marks: bool = False) -> list[Listed]:
    """A picture, those of a folder in the order of their names, or the images of an .npz or IDX
    file, with their labels where they have some.  Transparent pixels are not known; with `marks`,
    all of a picture may be."""
    for line in left_out(path):
        print(f"note: {path}: {line}", file=sys.stderr)
    found = []
    for number, one in enumerate(arrays_of(path, pixels), 1):
        if not marks and not (one.role == HOLE).any():
            raise ValueError(
                f"{one.place} is transparent everywhere, and nothing of it known: take it out"
            )
        example = Partial(pixels.encode(one.array).astype(np.int64), one.role, one.label)
        found.append(Listed(one.name, one.place, number, example))
    return found


def arrays_of(path: Path, pixels: Pixels) -> Iterator[Read]:
    """The same, in all of their 256 values.  ValueError for none."""
    if path.is_dir() or is_picture(path):
        for file in files_of(path) if path.is_dir() else [path]:
            yield picture(file, pixels)
        return
    number = 0
    for block in blocks_of(path, pixels):
        for i, array in enumerate(block.pictures):
            number += 1
            label = None if block.labels is None else int(block.labels[i])
            role = np.full(array.size, HOLE, np.int8)
            yield Read(str(number), f"{path}, image {number}", array, role, label)
    if not number:
        raise ValueError(f"{path} has no images: give at least one")


def files_of(folder: Path) -> list[Path]:
    """The pictures in a folder but hidden ones, in the order of their names.

    ValueError for none, and for those in a folder inside it, which would be left out.
    """
    files = [file for file in list_files(folder) if is_picture(file)]
    if not files:
        raise ValueError(f"{folder} has no pictures: name a picture, or a folder of them")
    for file in files:
        if file.parent != folder:
            raise ValueError(
                f"{folder} has pictures in the folder {file.parent}: name that one, or put all "
                "pictures into one folder"
            )
    return files


def left_out(path: Path) -> list[str]:
    """Lines that say which files of a folder are no pictures; of a file, none."""
    others = LeftOut()
    for file in list_files(path) if path.is_dir() else []:
        if not is_picture(file):
            others.add(within(path, file), f"not a picture, {ending(file)}")
    return [f"left out: {line}" for line in described(others.reasons)]


def blocks_of(path: Path, pixels: Pixels) -> Iterator[Block]:
    """The images of an .npz or IDX file.  ValueError for those of another shape."""
    fix = "give an .npz or IDX file, or a folder of pictures"
    source = make_source(file_format(path, fix), [path], path)
    reading = Reading(0, 0, "", LeftOut(), Counter())
    for block in read_images(source, tqdm(disable=True), None, reading):
        if block.pictures.shape[1:] != tuple(pixels.shape):
            shapes = block.pictures.shape[1:], pixels.shape
            size, model = (" x ".join(map(str, shape)) for shape in shapes)
            raise ValueError(
                f"{path} has images of {size}, and the model is for {model}: convert them"
            )
        yield block


def picture(path: Path, pixels: Pixels) -> Read:
    array, opaque = read_opaque(path, pixels)
    hidden = np.broadcast_to(transparent(path, opaque)[..., None], array.shape).reshape(-1)
    role = np.where(hidden, UNKNOWN, HOLE).astype(np.int8)
    return Read(path.name, str(path), array, role)
