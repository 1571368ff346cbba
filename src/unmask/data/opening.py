"""`open_data`: the one way to read a folder of prepared data, whatever it holds."""

from pathlib import Path

from unmask.data.folder import Data, read_meta
from unmask.data.images import KEYS as OF_IMAGES
from unmask.data.images import ImageData
from unmask.data.proteins import KEYS as OF_PROTEINS
from unmask.data.proteins import ProteinData
from unmask.data.tables import KEYS as OF_TABLES
from unmask.data.tables import TableData
from unmask.data.tokens import KEYS as OF_TEXT
from unmask.data.tokens import TokenData


def open_data(folder: str | Path, *, labels: bool = False) -> Data:
    """The data in a folder that `unmask prepare` made; `labels`: examples come with their classes, as "cond".

    Raises ValueError for a missing, foreign or truncated file, or labels where there are none.
    """
    folder = Path(folder)
    meta = read_meta(folder, {"text": OF_TEXT, "images": OF_IMAGES, "tables": OF_TABLES, "proteins": OF_PROTEINS})
    if meta["kind"] == "images":
        return ImageData(folder, meta, labels)
    if labels:
        what = "a table, whose classes are a column like the others" if meta["kind"] == "tables" else f"{meta['kind']}, which has no labels"
        raise ValueError(f"{folder} holds {what}: train without --labels")
    return {"text": TokenData, "tables": TableData, "proteins": ProteinData}[meta["kind"]](folder, meta)
