"""Pictures on the command line: samples, holes to fill in, states of the unmasking."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from unmask.diffusion import MaskedDiffusion
from unmask.kinds.images.pixels import HOLE, MODES, Pixels, open_picture, picture_grid, to_array, to_image, write_animation
from unmask.sampling import sample


class Holed:
    """A picture of a file with pixels to fill in: the transparent ones or, with a mask's file, those that are white there."""

    def __init__(self, path: Path, mask: Path | None, pixels: Pixels):
        image = open_picture(path)
        height, width, channels = pixels.shape
        if image.size != (width, height):
            raise ValueError(f"{path} is {image.width} x {image.height} pixels and the model is for {width} x {height}: crop or resize it")
        if "transparency" in image.info:
            image = image.convert("LA" if image.mode in ("1", "L") else "RGBA")
        elif image.mode == "P":
            image = image.convert("RGB")
        alpha = np.asarray(image.getchannel("A")) if image.mode in ("LA", "RGBA") else None
        if alpha is not None:
            image = image.convert(image.mode[:-1])
        array = to_array(image, path)
        if array.shape[2] != channels:
            raise ValueError(f"{path} is {MODES[array.shape[2]]} and the model is for {MODES[channels]}: convert it")
        if mask is not None:
            of_mask = open_picture(mask)
            if of_mask.size != image.size:
                raise ValueError(
                    f"{mask} is {of_mask.width} x {of_mask.height} pixels and {path} {width} x {height}: give one of this size"
                )
            holes = to_array(of_mask, mask, channels=1)[..., 0] >= 128
        else:
            holes = np.zeros((height, width), bool) if alpha is None else alpha < 128
        if not holes.any():
            said = "no white pixel" if mask is not None else "no transparent pixel"
            raise ValueError(f"{mask or path} has {said}, so there is nothing to fill in: make the holes transparent, or give --mask FILE")
        self.array, self.holes, self.pixels = array, np.broadcast_to(holes[..., None], array.shape), pixels

    def state(self, model: MaskedDiffusion) -> Tensor:
        """z (1, H*W*C*L), on the CPU."""
        digits = model.subtokenizer.encode(torch.from_numpy(self.pixels.encode(self.array).astype(np.int64))[None])
        hidden = torch.from_numpy(self.holes.reshape(1, -1).copy()).repeat_interleave(model.subtokenizer.length, 1)
        return digits.masked_fill(hidden, model.mask_id)

    def filled(self, ids: np.ndarray) -> np.ndarray:
        """(n, H, W, C) with the tokens (n, H*W*C) in the holes; every other pixel as it was."""
        return np.where(self.holes, self.pixels.decode(ids), self.array)


def write_pictures(out: Path, pictures: np.ndarray) -> None:
    """(n, H, W, C): to a .png, a grid of them; to an .npz, the array `data`; else to a folder, a PNG each."""
    if out.suffix == ".npz":
        np.savez_compressed(out, data=pictures)
    elif out.suffix == ".png":
        to_image(picture_grid(pictures)).save(out)
    else:
        out.mkdir(parents=True, exist_ok=True)
        for i, picture in enumerate(pictures, 1):
            to_image(picture).save(out / f"{i:05d}.png")


def check_pictures_out(out: str) -> None:
    """ValueError for an output that pictures cannot be written to, before the work."""
    if Path(out).suffix not in (".png", ".npz", ""):
        raise ValueError(f"{out}: name a .png (a grid), an .npz (an array) or a folder (a PNG each)")
    if Path(out).suffix == "" and Path(out).exists() and not (Path(out).is_dir() and not any(Path(out).iterdir())):
        raise ValueError(f"{out} is there already: name a new folder, or an empty one")


def state_pictures(model: MaskedDiffusion, pixels: Pixels, states: Sequence[Tensor]) -> np.ndarray:
    """States z (..., H*W*C*L) as pictures (n, ..., H, W, C), grey where any digit of a value is masked."""
    z = torch.stack(list(states))
    digits = z.unflatten(-1, (-1, model.subtokenizer.length))
    hidden = (digits == model.mask_id).any(-1)
    ids = model.subtokenizer.decode(digits.masked_fill(hidden[..., None], 0).flatten(-2).flatten(0, -2))
    return pixels.decode(ids.view(hidden.shape).masked_fill(hidden, pixels.vocab_size).numpy())


def write_unmasking(path: Path | BinaryIO, pictures: np.ndarray) -> None:
    """An animated GIF of states (n, rows, H, W, C), the rows of each side by side in a grid."""
    write_animation(path, [picture_grid(page) for page in pictures])


def completions(model: MaskedDiffusion, pixels: Pixels, x: Tensor, holes: Tensor, *, num: int, scale: int = 0, **how) -> np.ndarray:
    """A table with a row for each of the pictures x (n, H*W*C): with its holes in grey, `num` completions, and whole.

    `holes`: bool, (n, H, W, C) or what broadcasts to it.  `how`: of `sample`.
    """
    holes = holes.expand(len(x), *pixels.shape)
    z = model.subtokenizer.encode(x).masked_fill(holes.flatten(1).repeat_interleave(model.subtokenizer.length, 1), model.mask_id)
    filled = sample(model, z=z.repeat_interleave(num, 0).to(model.device), **how).cpu().unflatten(0, (len(x), num))
    whole = pixels.decode(x.numpy())[:, None]
    given = np.where(holes.numpy()[:, None], np.uint8(HOLE), whole)
    table = np.concatenate([given, pixels.decode(filled.numpy()), whole], 1)
    return picture_grid(table.reshape(-1, *pixels.shape), columns=num + 2, scale=scale)
