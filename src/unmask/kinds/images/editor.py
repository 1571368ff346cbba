"""Pictures on a page: values of pixels, and which pixels are holes."""

import base64
import binascii
import io
from pathlib import Path
from typing import Any

import numpy as np

from unmask.kinds.editor import Editor
from unmask.kinds.images.pixels import open_picture, to_array


class PictureEditor(Editor):
    """`pixels`: base64 of the values 0..255 (H, W, C); `holes`: of a byte (H, W), 0 or 1."""

    name, file, takes = "pixels", "holes.png", ".png,.jpg,.jpeg,.webp,.gif,.bmp"
    form = {"pixels": str, "holes": str, "label?": str}  # noqa: RUF012

    @property
    def unit(self) -> str:
        return "value"

    def start(self) -> dict:
        height, width, channels = self.kind.tokenizer.shape
        nothing = np.full((height, width, channels), 127, np.uint8)
        return self.said(nothing, np.ones((height, width), bool))

    def said(self, pixels: np.ndarray, holes: np.ndarray) -> dict:
        return {"pixels": encoded(pixels), "holes": encoded(holes.astype(np.uint8))}

    def facts(self) -> dict:
        height, width, channels = self.kind.tokenizer.shape
        return {"height": height, "width": width, "channels": channels}

    def file_of(self, said: dict) -> bytes:
        """A PNG, transparent at the holes."""
        from PIL import Image

        height, width, channels = self.kind.tokenizer.shape
        pixels = decoded(said["pixels"], (height, width, channels), "pixels")
        holes = decoded(said["holes"], (height, width, 1), "holes")
        alpha = np.where(holes > 0, 0, 255).astype(np.uint8)
        # what is under a hole is not told
        whole = np.concatenate([np.where(holes > 0, 0, pixels), alpha], 2).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(whole, "LA" if channels == 1 else "RGBA").save(stream, format="PNG")
        return stream.getvalue()

    def flags(self, said: dict) -> dict[str, str]:
        return {"label": said.get("label", "")}

    def loaded(self, path: Path) -> dict:
        """The middle of a picture, as large as the model's pictures; nothing of it is a hole."""
        height, width, channels = self.kind.tokenizer.shape
        image = open_picture(path)
        size = 0
        if image.size != (width, height):
            if height != width:
                raise ValueError(
                    f"{path.name} is {image.width} x {image.height} pixels and the model is for "
                    f"{width} x {height}: crop or resize it"
                )
            size = height
        how: Any = {"size": size, "channels": channels, "background": "white"}
        array = to_array(image, Path(path.name), **how)
        # as the model has its values
        shown = self.kind.tokenizer.decode(self.kind.tokenizer.encode(array))
        return self.said(shown, np.zeros((height, width), bool))

    def board(self, source: Any) -> dict:
        return {}

    def piece(self, i: int) -> str:
        return str(int(self.kind.tokenizer.values[i]))


def encoded(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def decoded(text: str, shape: tuple[int, ...], name: str) -> np.ndarray:
    """Values of this shape, uint8.  ValueError for a text of others."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{name} is no base64: send the bytes of an array so") from None
    if len(raw) != int(np.prod(shape)):
        expected = " x ".join(map(str, shape))
        raise ValueError(f"{name} has {len(raw)} bytes, expected {expected}: send one a value")
    return np.frombuffer(raw, np.uint8).reshape(shape)
