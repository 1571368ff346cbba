"""`open_data`: the one way to read a folder of prepared data, whatever it holds."""

from pathlib import Path

from unmask.data.folder import Data, read_meta
from unmask.data.images import KEYS as OF_IMAGES
from unmask.data.images import ImageData
from unmask.data.proteins import KEYS as OF_PROTEINS
from unmask.data.proteins import ProteinData
from unmask.data.tokens import KEYS as OF_TEXT
from unmask.data.tokens import TokenData


def open_data(folder: str | Path, *, labels: bool = False) -> Data:
    """The data in a folder that `unmask prepare` made; `labels`: examples come with their classes, as "cond".

    Raises ValueError for a missing, foreign or truncated file, or labels where there are none.
    """
    folder = Path(folder)
    meta = read_meta(folder, {"text": OF_TEXT, "images": OF_IMAGES, "proteins": OF_PROTEINS})
    if meta["kind"] == "images":
        return ImageData(folder, meta, labels)
    if labels:
        raise ValueError(f"{folder} holds {meta['kind']}, which has no labels: train without --labels")
    return (ProteinData if meta["kind"] == "proteins" else TokenData)(folder, meta)
