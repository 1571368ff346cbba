"""Pictures as tokens and back.

A picture of H x W pixels and C channels is H*W*C tokens in the order row, column, channel; the
token of a value v in 0..255 is v * levels // 256.  Shown, a token i is the value nearest to
255 i / (levels - 1) that is read as i again.
"""

import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unmask.arrays import one_line
from unmask.kinds.leftout import BadRecord
from unmask.kinds.traits import Traits, traits_of

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")  # of Pillow
# how their files begin
BEGINS = re.compile(
    rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|RIFF....WEBP|GIF8[79]a|BM....\0\0\0\0|II\*\0|MM\0\*"
    rb"|P[1-6]\s+(#|\d+\s+\d+\s)|\0\0\0\x0cjP  |\xff\x4f\xff\x51|....ftypavi[fs]",
    re.DOTALL,
)
UPPER_BITS = "of 16 bits a value the upper 8 were taken"
CONVERTED = ("CMYK", "YCbCr", "HSV", "RGBX")  # modes of Pillow that become RGB, if asked for
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

    @property
    def traits(self) -> Traits | None:
        """Where values lie between dark and bright; None where there are two."""
        levels = self.vocab_size
        return traits_of({0: np.arange(levels)} if levels > 2 else {}, levels)

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


def begins_like_picture(path: Path) -> bool:
    with open(path, "rb") as file:
        return BEGINS.match(file.read(16)) is not None


def open_picture(path: Path, changed: Counter[str] | None = None):
    """A decoded Pillow image, turned upright: the first one, where a file has several.

    Counts in `changed` what was changed.  Raises BadRecord that names the file if it cannot be
    read.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what does not matter for the pixels
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as image:
                several = getattr(image, "is_animated", False)
                # Pillow itself takes the upper bits, but of grey pictures
                deep = ";16" in str(image.tile) and not image.mode.startswith("I")
                image.load()
                upright = ImageOps.exif_transpose(image)
                if image.format in ("PNG", "PPM") and upright.mode == "I":
                    upright = upright.convert("I;16")  # as older versions of Pillow read 16 bits
    except UnidentifiedImageError:
        raise BadRecord(
            f"{path} is not a picture that can be read: give {', '.join(formats)} files",
            "not a picture that can be read",
        ) from None
    except Exception as error:  # decoders raise whatever damage leads them to
        reason = "truncated, damaged or too large"
        raise BadRecord(f"{path} is {reason} ({one_line(error)})", reason) from None
    changed = Counter() if changed is None else changed
    if several:
        changed["of several frames the first was taken"] += 1
    if deep:
        changed[UPPER_BITS] += 1
    return upright


def to_array(
    image,
    path: Path,
    *,
    size: int = 0,
    channels: int = 0,
    background: str = "",
    changed: Counter[str] | None = None,
) -> np.ndarray:
    """(H, W, C) uint8 of a Pillow image.

    `size`: crop the middle square out and resize it to size x size pixels (Lanczos).  `channels`: 1
    or 3 convert, also from 16 bits and CMYK; 0 takes what is there.  `background`: the colour to
    put behind transparent pixels.  Counts in `changed` what was changed.  Raises BadRecord for what
    that leaves.
    """
    from PIL import Image

    changed = Counter() if changed is None else changed
    if channels and image.mode.startswith("I;16"):
        image = upper_bits(image)
        changed[UPPER_BITS] += 1
    image, alpha = split_alpha(image)
    if channels and image.mode in CONVERTED:
        changed[f"{image.mode} was converted to RGB"] += 1
        image = image.convert("RGB")
    if image.mode not in MODES.values():
        fix = "give 8-bit grey or RGB pictures"
        if not channels:
            fix += ", or have them converted when they are prepared, with --channels 1 or 3"
        raise BadRecord(f"{path} has the mode {image.mode}: {fix}", f"mode {image.mode}")
    if alpha is not None:
        image = put_on(image, alpha, path, background, changed)
    if channels:
        image = image.convert(MODES[channels])
    if size:
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        image = image.resize((size, size), Image.Resampling.LANCZOS, box)
    array = np.asarray(image)
    return array[..., None] if array.ndim == 2 else array


def upper_bits(image):
    """A grey Pillow image of 16 bits a value in 8, with alpha if it has a transparent value."""
    from PIL import Image

    values = np.asarray(image)
    upper = Image.fromarray((values >> 8).astype(np.uint8))
    if "transparency" in image.info:
        there = np.where(values == image.info["transparency"], 0, 255)
        upper = Image.merge("LA", (upper, Image.fromarray(there.astype(np.uint8))))
    return upper


def split_alpha(image) -> tuple[Any, Any]:
    """A Pillow image without transparency, and how opaque its pixels are, or None.

    Palettes and single bits are resolved.
    """
    has_alpha = image.mode in ("PA", "La", "RGBa")
    if image.mode in ("1", "L") and "transparency" in image.info:
        image = image.convert("LA")
    elif has_alpha or (image.mode in ("P", "RGB") and "transparency" in image.info):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    elif image.mode in ("1", "P"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if image.mode not in ("LA", "RGBA"):
        return image, None
    return image.convert(image.mode[:-1]), image.getchannel("A")


def put_on(image, alpha, path: Path, background: str, changed: Counter[str]):
    """A Pillow image on a background, where it is not opaque."""
    from PIL import Image, ImageColor

    if alpha.getextrema()[0] == 255:
        changed["an alpha channel without a transparent pixel was dropped"] += 1
        return image
    if not background:
        raise BadRecord(
            f"{path} has transparent pixels: save it without, or name the colour to put behind "
            "them when it is prepared, like --background white",
            "transparent pixels and no --background",
        )
    changed[f"transparent pixels were put on {background}"] += 1
    page = Image.new(image.mode, image.size, ImageColor.getcolor(background, image.mode))
    page.paste(image, mask=alpha)
    return page


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


def png_with_holes(array: np.ndarray, shown: np.ndarray) -> bytes:
    """The same, transparent where no channel of a pixel is shown (H, W, C) bool, and grey in a
    channel that is not."""
    from PIL import Image

    if shown.all():
        return png(array)
    seen = np.where(shown, array, np.uint8(HOLE))
    alpha = np.where(shown.any(2, keepdims=True), 255, 0).astype(np.uint8)
    mode = "LA" if array.shape[2] == 1 else "RGBA"
    stream = io.BytesIO()
    Image.fromarray(np.concatenate([seen, alpha], 2), mode).save(stream, format="PNG")
    return stream.getvalue()
