"""Pictures as examples that lead back to every value."""

from pathlib import Path

import numpy as np

from unmask.kinds.images.holes import write_pictures
from unmask.kinds.images.listed import arrays_of, left_out
from unmask.kinds.images.pixels import Pixels, png
from unmask.kinds.kind import Packed
from unmask.roles import HOLE


def pack(path: Path, pixels: Pixels) -> Packed:
    """Pictures as examples; beside them, where a model has fewer levels than pictures have values,
    how far each value is from the one that its level is shown as, modulo 256.

    ValueError for one with transparent pixels.
    """
    read = list(arrays_of(path, pixels))
    for one in read:
        if (one.role != HOLE).any():
            said = f"{one.place} has transparent pixels"
            raise ValueError(f"{said}, which no value stands for: make them opaque")
    values = np.stack([one.array for one in read])
    ids = pixels.encode(values).astype(np.int64)
    away = values - pixels.decode(ids)
    others = np.count_nonzero(away)
    notes = ["names and labels of pictures are not kept", *left_out(path)]
    if others:
        notes.append(
            f"{others:,} of {away.size:,} values are none of the model's {pixels.vocab_size} and "
            "are kept beside, as how far they are from these"
        )
    _, width, channels = pixels.shape
    below = png(values.reshape(-1, width, channels))  # one picture of all
    beside = away.tobytes() if others else b""
    return Packed(list(ids), values.tobytes(), beside, notes, {"png": len(below)})


def unpack(rows: list[np.ndarray], beside: bytes, out: str, pixels: Pixels) -> None:
    """Write pictures.  ValueError for what `pack` does not write."""
    if any(len(row) != pixels.length for row in rows) or not rows:
        raise ValueError("there is no picture, or one of another size: the file is damaged")
    ids = np.stack(rows)
    pictures = pixels.decode(ids)
    if beside:
        if len(beside) != pictures.size:
            raise ValueError("what is kept beside the pictures is not of as many values")
        pictures = pictures + np.frombuffer(beside, np.uint8).reshape(pictures.shape)
        if (pixels.encode(pictures) != ids).any():
            raise ValueError("what is kept beside the pictures leads to other levels than theirs")
    write_pictures(Path(out), pictures)
