"""Pictures as tokens and back.

A picture of H x W pixels and C channels is H*W*C tokens in the order row, column, channel; the
token of a value v in 0..255 is v * levels // 256.  Shown, a token i is the value nearest to
255 i / (levels - 1) that is read as i again.
"""

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

MODES = {1: "L", 3: "RGB"}  # of Pillow, by the number of channels
HOLE = 127  # the grey of a masked value in a picture


class Pixels:
    """Pictures of one shape (H, W, C), in `levels` values a channel; C = 1 (grey) or 3 (RGB)."""

    eot = None

    def __init__(self, shape: Sequence[int], levels: int):
        self.shape: tuple[int, int, int] = tuple(shape)  # pyrefly: ignore
        if len(self.shape) != 3 or min(self.shape) < 1 or self.shape[2] not in MODES:
            raise ValueError(
                f"pictures of shape {self.shape}: "
                "give (height, width, channels), with 1 or 3 channels"
            )
        if not 2 <= levels <= 256:
            raise ValueError(f"levels {levels}: give between 2 and 256")
        self.vocab_size = levels
        self.tokens = (np.arange(256) * levels // 256).astype(np.uint8)  # of every value
        first = -(-256 * np.arange(levels + 1) // levels)  # the first value of every token
        even = np.round(np.arange(levels) * 255 / (levels - 1)).astype(int)
        shown = even.clip(first[:-1], first[1:] - 1)
        self.values = np.append(shown, HOLE).astype(np.uint8)

    @property
    def length(self) -> int:
        """Tokens a picture."""
        return math.prod(self.shape)

    def encode(self, pictures: np.ndarray) -> np.ndarray:
        """Values 0..255 (..., H, W, C) -> tokens (..., H*W*C), uint8."""
        return self.tokens[pictures.reshape(*pictures.shape[:-3], -1)]

    def decode(self, ids) -> np.ndarray:
        """Tokens (..., H*W*C) -> values 0..255 (..., H, W, C), uint8; HOLE for the id `levels`."""
        ids = np.asarray(ids)
        low, high = ids.min(initial=0), ids.max(initial=0)
        if low < 0 or high > self.vocab_size:
            wrong = high if high > self.vocab_size else low
            raise ValueError(f"value {wrong} is none of the {self.vocab_size} levels")
        return self.values[ids].reshape(*ids.shape[:-1], *self.shape)

    def spell(self, i: int) -> str:
        return f"value {i}"

    def spec(self) -> dict:
        return {"name": "pixels", "shape": list(self.shape), "vocab_size": self.vocab_size}

    def files(self) -> dict[str, bytes]:
        return {}


def one_line(error: Exception) -> str:
    """What an error says, for the middle of a message."""
    return " ".join(str(error).split())


def open_picture(path: Path):
    """A decoded Pillow image, turned upright.

    Raises ValueError that names the file if it cannot be read.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    too_large = (Image.DecompressionBombError, Image.DecompressionBombWarning)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                image.load()
                return ImageOps.exif_transpose(image)
    except UnidentifiedImageError:
        raise ValueError(
            f"{path} is not a picture that can be read: give PNG or JPEG files"
        ) from None
    except (OSError, SyntaxError, ValueError, *too_large) as error:
        raise ValueError(f"{path} is truncated, damaged or too large ({one_line(error)})") from None


def to_array(image, path: Path, *, size: int = 0, channels: int = 0) -> np.ndarray:
    """(H, W, C) uint8 of a Pillow image.

    `size`: crop the middle square out and resize it to size x size pixels (Lanczos).  `channels`: 1
    or 3 convert, 0 takes what is there.  Raises ValueError for transparency and for more than 8
    bits a value.
    """
    from PIL import Image

    clear = "transparency" in image.info
    if image.mode in ("1", "P") and not clear:
        image = image.convert("L" if image.mode == "1" else "RGB")
    if image.mode not in MODES.values() or clear:
        raise ValueError(
            f"{path} has the mode {image.mode}{' and transparent pixels' * clear}: "
            "give 8-bit grey or RGB pictures without transparency"
        )
    if channels:
        image = image.convert(MODES[channels])
    if size:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.LANCZOS, box)
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def to_image(array: np.ndarray):
    """A Pillow image of values (H, W, C)."""
    from PIL import Image

    return Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)


def picture_grid(
    pictures: np.ndarray, *, columns: int = 0, scale: int = 0, gap: int = 2, edge: int = 176
) -> np.ndarray:
    """One picture (h, w, C) of n pictures (n, H, W, C).

    `columns`: how many side by side, by default about as many as rows.  `scale`: pixels on the
    screen for each, by default as many as make a picture at least 64 pixels high.
    """
    n, height, _, channels = pictures.shape
    scale = scale or max(1, math.ceil(64 / height))
    big = pictures.repeat(scale, 1).repeat(scale, 2)
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    height, width = big.shape[1] + gap, big.shape[2] + gap
    page = np.full((rows * height + gap, columns * width + gap, channels), edge, np.uint8)
    for i, picture in enumerate(big):
        top, left = gap + i // columns * height, gap + i % columns * width
        page[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return page


def png(array: np.ndarray) -> bytes:
    """The content of a PNG file of values (H, W, C)."""
    stream = io.BytesIO()
    to_image(array).save(stream, format="PNG")
    return stream.getvalue()


def animation(frames: Sequence[np.ndarray], *, seconds: float = 4.0) -> bytes:
    """The content of a GIF file of pictures (h, w, C); the last one stays for two seconds."""
    images = [to_image(frame) for frame in frames]
    each = max(20, round(1000 * seconds / len(images)))
    times = [each] * (len(images) - 1) + [2000]  # milliseconds
    settings = {"format": "GIF", "save_all": True, "loop": 0}
    stream = io.BytesIO()
    images[0].save(stream, append_images=images[1:], duration=times, **settings)
    return stream.getvalue()
