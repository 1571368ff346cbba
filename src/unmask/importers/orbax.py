"""Arrays in a checkpoint of Orbax (OCDBT, zarr), by tensorstore: an extra, `unmask[orbax]`.

No JAX: tensorstore alone reads them, from local files.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

MANIFEST = "manifest.ocdbt"
ITEM = "train_state"


class Stored(NamedTuple):
    """An array in a checkpoint."""

    path: Path
    shape: tuple[int, ...]
    array: Any  # of tensorstore

    def read(self) -> Tensor:
        try:
            return torch.from_numpy(self.array.read().result().astype("float32"))
        except ValueError as error:  # what tensorstore raises for bytes that are gone or altered
            said = " ".join(str(error).split())[:200]
            raise ValueError(f"{self.path} is damaged ({said}): copy it again") from None


def find_state(folder: Path) -> Path | None:
    """The state inside a work folder, its newest step, a step's folder, or itself; None if there
    is none."""
    steps = [path for path in folder.glob("checkpoints/*") if path.name.isdecimal()]
    newest = sorted(steps, key=lambda path: int(path.name))[-1:]
    for place in (folder, folder / ITEM, *(step / ITEM for step in newest)):
        if (place / MANIFEST).is_file():
            return place
    return None


def read_state(folder: Path) -> dict[str, Stored]:
    """The arrays of a state by name, with / between its parts.  ValueError for a damaged one."""
    try:
        import tensorstore
    except ImportError:
        raise ValueError(
            f"{folder} is a checkpoint of Orbax, which tensorstore reads: pip install "
            "'unmask[orbax]'"
        ) from None
    base = {"driver": "file", "path": f"{folder.absolute()}/"}
    try:
        store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
        keys = [key.decode() for key in store.list().result()]
        names = sorted(key.removesuffix("/.zarray") for key in keys if key.endswith("/.zarray"))
        found = {}
        for name in names:
            where = {"driver": "ocdbt", "base": base, "path": f"{name}/"}
            array = tensorstore.open({"driver": "zarr", "kvstore": where}, open=True).result()
            found[name.replace(".", "/")] = Stored(folder, tuple(array.shape), array)
    except ValueError as error:
        said = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{folder} is no whole checkpoint of Orbax ({said}): copy it again"
        ) from None
    return found
