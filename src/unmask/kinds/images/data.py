"""Pictures as examples, whole, with their classes if they have any."""

import math
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from unmask.kinds.data import Whole
from unmask.kinds.folder import SPLITS, check_sizes, facts_of_meta
from unmask.kinds.images.pixels import Pixels


class ImageData(Whole):
    """Pictures, flattened; an example is a whole one.  `labels`: give their classes as "cond"."""

    unit = "dimension"
    example = "an image"
    counted = "images"

    def __init__(self, folder: Path, meta: dict, labels: bool = False):
        with facts_of_meta(folder):
            self.shape = tuple(meta["tokenizer"]["shape"])
            self.length = math.prod(self.shape)
            self.classes: int = meta["classes"]
            sizes = {f"{split}.bin": meta["images"][split] * self.length for split in SPLITS}
            if self.classes:
                sizes |= {f"{split}.labels.bin": meta["images"][split] * 2 for split in SPLITS}
        check_sizes(folder, sizes)
        if labels and not self.classes:
            raise ValueError(
                f"{folder} has no labels: "
                "prepare the images with their labels, or train without --labels"
            )
        super().__init__(folder, meta)
        self.sides = " x ".join(map(str, self.shape))
        self.whole = f"pictures have {self.sides} = {self.length} values"
        self.with_labels = labels
        self._labels: dict[str, np.memmap] = {}

    @cached_property
    def tokenizer(self) -> Pixels:
        return Pixels(self.meta["tokenizer"]["shape"], self.vocab_size)

    def describe(self, count: int, positions: int, length: int) -> str:
        images = f"{count:,} images of {self.sides}"
        return f"{images} = {length:,} dimensions of {self.vocab_size} values"

    def batch_name(self, batch_size: int, length: int) -> str:
        return f"{batch_size} images of {length:,} values"

    def _examples(self, split: str, length: int, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        x = self.known(split, self.tokens(split).reshape(-1, self.length)[chosen])
        if not self.with_labels:
            return {"x": torch.from_numpy(x)}
        path = self.folder / f"{split}.labels.bin"
        if split not in self._labels:
            self._labels[split] = np.memmap(path, "<u2", "r")
        labels = self._labels[split][chosen].astype(np.int64)
        if labels.max(initial=0) >= self.classes:
            raise ValueError(f"{path} is damaged: label {labels.max()} of {self.classes} classes")
        return {"x": torch.from_numpy(x), "cond": torch.from_numpy(labels)}
