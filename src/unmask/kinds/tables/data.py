"""Rows of a table as examples."""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from unmask.kinds.data import Whole
from unmask.kinds.folder import SPLITS, check_sizes, facts_of_meta
from unmask.kinds.tables.columns import Table


class TableData(Whole):
    """Rows of a table; an example is a row.

    Batches have "valid" in a split in which any cell has no value.
    """

    unit = "cell"
    example = "a row"
    counted = "rows"

    def __init__(self, folder: Path, meta: dict):
        with facts_of_meta(folder):
            self.length = len(meta["tokenizer"]["columns"])
            size = self.length * np.dtype(meta["dtype"]).itemsize  # of a row, in bytes
            sizes = {f"{split}.bin": meta["rows"][split] * size for split in SPLITS}
        check_sizes(folder, sizes)
        super().__init__(folder, meta)
        self.whole = f"rows have {self.length} cells"
        self._holed: dict[str, bool] = {}

    @cached_property
    def tokenizer(self) -> Table:
        return Table.from_spec(self.meta["tokenizer"])

    def describe(self, count: int, positions: int, length: int) -> str:
        cells = f"{positions:,} cells with a value"
        return f"{cells} in {count:,} rows of {length} columns, numbers as their bins"

    def _terms(self) -> dict[str, str]:
        terms = {"given": "which cells have a value", "denominator": "every cell with a value"}
        return super()._terms() | terms

    def batch_name(self, batch_size: int, length: int) -> str:
        return f"{batch_size} rows of {length} cells"

    def _examples(self, split: str, length: int, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        tokens = self.tokens(split)
        if split not in self._holed:
            self._holed[split] = bool((tokens == self.vocab_size).any())
        x = self.known(split, tokens.reshape(-1, self.length)[chosen], missing=True)
        if not self._holed[split]:
            return {"x": torch.from_numpy(x)}
        valid = x != self.vocab_size
        return {"x": torch.from_numpy(np.where(valid, x, 0)), "valid": torch.from_numpy(valid)}
