"""Pictures on the command line: samples, holes to fill in, states of the unmasking."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from unmask.files import descriptor, is_writer, new_folder, replacing, write_whole
from unmask.kinds.images.pixels import HOLE as HOLE_GREY
from unmask.kinds.images.pixels import (
    MODES,
    Pixels,
    open_picture,
    picture_grid,
    png,
    split_alpha,
    to_array,
    to_image,
)
from unmask.kinds.kind import Partial, State
from unmask.kinds.output import animation
from unmask.roles import GIVEN, HOLE


def read_opaque(path: Path, pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, C) uint8 of the size and channels of `pixels`, and how opaque its pixels
    are: (H, W) uint8, 0 to 255.  ValueError for another size or other channels."""
    changed: Counter[str] = Counter()
    image = open_picture(path, changed)
    for how in changed:
        print(f"note: {path}: {how}", file=sys.stderr)
    height, width, channels = pixels.shape
    if image.size != (width, height):
        raise ValueError(
            f"{path} is {image.width} x {image.height} pixels "
            f"and the model is for {width} x {height}: crop or resize it"
        )
    image, alpha = split_alpha(image)
    opaque = np.full((height, width), 255, np.uint8)
    if alpha is not None:
        opaque = np.asarray(alpha)
    array = to_array(image, path)
    if array.shape[2] != channels:
        raise ValueError(
            f"{path} is {MODES[array.shape[2]]} and the model is for {MODES[channels]}: convert it"
        )
    return array, opaque


def transparent(path: Path, opaque: np.ndarray) -> np.ndarray:
    """(H, W) bool, of how opaque the pixels of a picture are.  ValueError for some that are neither
    transparent nor opaque."""
    half = int(((opaque > 0) & (opaque < 255)).sum())
    if half:
        raise ValueError(
            f"{path} has {half:,} half-transparent pixels, which are neither known nor hidden: "
            "make them opaque or transparent"
        )
    return opaque == 0


class Holed:
    """A picture of a file with pixels to fill in.

    Those are the transparent ones or, with a mask's file, those that are white there.
    """

    def __init__(self, path: Path, mask: Path | None, pixels: Pixels):
        self.array, opaque = read_opaque(path, pixels)
        if mask is None:
            holes, sought = transparent(path, opaque), "transparent"
        else:
            height, width, _ = self.array.shape
            of_mask = open_picture(mask)
            if of_mask.size != (width, height):
                raise ValueError(
                    f"{mask} is {of_mask.width} x {of_mask.height} pixels "
                    f"and {path} {width} x {height}: give one of this size"
                )
            white = to_array(of_mask, mask, channels=1, background="black")[..., 0]
            holes, sought = white >= 128, "white"
        if not holes.any():
            raise ValueError(
                f"{mask or path} has no {sought} pixel, so there is nothing to fill in: "
                "make the holes transparent, or give --mask FILE"
            )
        if (transparent(path, np.where(holes, 255, opaque)) & ~holes).any():
            raise ValueError(
                f"{path} has transparent pixels that {mask} does not cover: make them white there, "
                "or leave --mask out"
            )
        self.pixels = pixels
        self.holes = np.broadcast_to(holes[..., None], self.array.shape)

    def example(self, label: int | None) -> Partial:
        """Its values as tokens, and which of them are holes."""
        ids = self.pixels.encode(self.array).astype(np.int64).reshape(-1)
        roles = np.where(self.holes.reshape(-1), HOLE, GIVEN).astype(np.int8)
        return Partial(ids, roles, label)

    def filled(self, ids: np.ndarray) -> np.ndarray:
        """(n, H, W, C) with the tokens (n, H*W*C) in the holes; every other pixel as it was."""
        return np.where(self.holes, self.pixels.decode(ids), self.array)


def write_pictures(out: Path, pictures: np.ndarray) -> None:
    """(n, H, W, C): a .png, or a stream, is a grid of them, an .npz an array `data`, a folder has a
    PNG each."""
    if out.suffix == ".npz":
        with replacing(out) as new:
            np.savez_compressed(new, data=pictures)
    elif out.suffix == ".png" or descriptor(out) is not None:
        write_whole(out, png(picture_grid(pictures)))
    else:
        with new_folder(out) as folder:
            for i, picture in enumerate(pictures, 1):
                (folder / f"{i:05d}.png").write_bytes(png(picture))


def check_pictures_out(out: str) -> None:
    """Raises ValueError for an output that pictures cannot be written to, before the work."""
    path = Path(out)
    if path.suffix in (".png", ".npz") or descriptor(path) is not None:
        return
    if path.suffix:
        raise ValueError(
            f"{out}: name a .png (a grid), an .npz (an array) or a folder (a PNG each)"
        )
    if not is_writer():
        return
    empty = path.is_dir() and not any(path.iterdir())
    if path.exists() and not empty:
        raise ValueError(f"{out} is there already: name a new folder, or an empty one")
    made = [one for one in (path, *path.parents) if not one.exists()]
    with new_folder(path):  # an error now if it cannot be made, such as where a disk begins
        pass
    for one in made:
        one.rmdir()


def state_pictures(pixels: Pixels, states: Sequence[State]) -> np.ndarray:
    """States of n pictures each, as pictures (states, n, H, W, C), grey where a value is hidden."""
    hidden = pixels.vocab_size
    return np.stack([pixels.decode(np.where(s.shown, s.ids, hidden)) for s in states])


def write_unmasking(path: Path | BinaryIO, pictures: np.ndarray) -> None:
    """An animated GIF of states (n, rows, H, W, C), the rows of each side by side in a grid."""
    content = animation([to_image(picture_grid(page)) for page in pictures])
    if isinstance(path, Path):
        write_whole(path, content)
    else:
        path.write(content)


def completion_grid(
    pixels: Pixels, x: np.ndarray, holes: np.ndarray, filled: np.ndarray, scale: int = 0
) -> np.ndarray:
    """A row for each of the pictures x (n, H*W*C): with holes in grey, filled in, and whole.

    `holes` (n, H, W, C) bool; `filled` (n, num, H*W*C) tokens.
    """
    whole = pixels.decode(x)[:, None]
    given = np.where(holes[:, None], np.uint8(HOLE_GREY), whole)
    table = np.concatenate([given, pixels.decode(filled), whole], 1)
    return picture_grid(table.reshape(-1, *pixels.shape), columns=filled.shape[1] + 2, scale=scale)
