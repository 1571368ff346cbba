"""Pictures that are scored one by one."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unmask.kinds.images.holes import read_opaque
from unmask.kinds.images.pixels import Pixels, png
from unmask.kinds.images.sources import (
    Block,
    Reading,
    file_format,
    is_picture,
    make_source,
    read_images,
)
from unmask.kinds.kind import Listed, Packed, Partial
from unmask.kinds.leftout import LeftOut
from unmask.roles import HOLE, UNKNOWN


def read_pictures(path: Path, pixels: Pixels) -> list[Listed]:
    """A picture, those of a folder in the order of their names, or the images of an .npz or IDX
    file, with their labels where they have some.  Transparent pixels are not known."""
    if path.is_dir():
        files = files_of(path)
        return [picture(file, number, pixels) for number, file in enumerate(files, 1)]
    if is_picture(path):
        return [picture(path, 1, pixels)]
    found: list[Listed] = []
    for block in blocks_of(path, pixels):
        for i, array in enumerate(block.pictures):
            number = len(found) + 1
            label = None if block.labels is None else int(block.labels[i])
            role = np.full(array.size, HOLE, np.int8)
            place = f"{path}, image {number}"
            example = Partial(ids_of(array, pixels, place), role, label)
            found.append(Listed(str(number), place, number, example))
    if not found:
        raise ValueError(f"{path} has no images: give at least one")
    return found


def files_of(folder: Path) -> list[Path]:
    """The pictures in a folder, in the order of their names."""
    files = sorted(file for file in folder.iterdir() if file.is_file() and is_picture(file))
    if not files:
        raise ValueError(f"{folder} has no pictures: name a picture, or a folder of them")
    return files


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


def picture(path: Path, number: int, pixels: Pixels) -> Listed:
    array, opaque = read_opaque(path, pixels)
    half = int(((opaque > 0) & (opaque < 255)).sum())
    if half:
        raise ValueError(
            f"{path} has {half:,} half-transparent pixels, which are neither known nor hidden: "
            "make them opaque or transparent"
        )
    hidden = np.broadcast_to(opaque[..., None] == 0, array.shape).reshape(-1)
    role = np.where(hidden, UNKNOWN, HOLE).astype(np.int8)
    if not (role == HOLE).any():
        raise ValueError(f"{path} is transparent everywhere, and nothing of it known: take it out")
    return Listed(path.name, str(path), number, Partial(ids_of(array, pixels, str(path)), role))


def ids_of(array: np.ndarray, pixels: Pixels, place: str) -> np.ndarray:
    """(H*W*C,) tokens of a picture (H, W, C)."""
    return pixels.encode(array).astype(np.int64).reshape(-1)


def pack(path: Path, pixels: Pixels) -> Packed:
    """Pictures as examples: their values, of as many levels as the model has.

    ValueError for one with transparent pixels.
    """
    listed = read_pictures(path, pixels)
    for one in listed:
        if (one.example.role != HOLE).any():
            said = f"{one.place} has transparent pixels"
            raise ValueError(f"{said}, which no value stands for: make them opaque")
    ids = np.stack([one.example.ids for one in listed])
    notes = ["names and labels of pictures are not kept"]
    if pixels.vocab_size < 256:
        notes.append(f"values are those of the model, which has {pixels.vocab_size} of them")
    _, width, channels = pixels.shape
    below = png(pixels.decode(ids).reshape(-1, width, channels))  # one picture of all
    return Packed(list(ids), ids.astype(np.uint8).tobytes(), notes=notes, sizes={"png": len(below)})
