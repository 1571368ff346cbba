"""The kind, as the verbs see it."""

from pathlib import Path
from typing import Any

from unmask.kinds.kind import Kind

KEYS = ("format", "kind", "tokenizer", "vocab_size", "dtype", "tokens", "images", "classes")


class Images(Kind):
    name = "images"
    keys = KEYS
    tokens = ("pixels",)

    @classmethod
    def open(cls, folder: Path, meta: dict, *, labels: bool) -> Any:
        from unmask.kinds.images.data import ImageData

        return ImageData(folder, meta, labels)

    @classmethod
    def load_tokens(cls, spec: dict, folder: Path) -> Any:
        from unmask.kinds.images.pixels import Pixels

        return Pixels(spec["shape"], spec["vocab_size"])
