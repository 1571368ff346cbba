"""Rows of a table as examples."""

import math
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from unmask.kinds.data import Beyond, Whole
from unmask.kinds.folder import SPLITS, check_sizes, facts_of_meta, verify
from unmask.kinds.tables.columns import Table
from unmask.kinds.tables.written import improper, of_split
from unmask.roles import SCORED, UNKNOWN


class TableData(Whole):
    """Rows of a table; an example is a row.

    Batches have "role" in a split in which any place is not known; or "valid", if an earlier
    version prepared the data.
    """

    unit = "cell"  # a place, where a column has two
    example = "a row"
    counted = "rows"

    def __init__(self, folder: Path, meta: dict):
        with facts_of_meta(folder):
            self.length = self.tokenizer_of(meta).length
            size = self.length * np.dtype(meta["dtype"]).itemsize  # of a row, in bytes
            rows = meta["rows"]
            sizes = {f"{split}.bin": rows[split] * size for split in SPLITS}
            self.grouped = "groups" in meta  # an earlier version did not write them down
            if self.grouped:
                sizes |= {f"{split}.groups.bin": rows[split] * 8 for split in SPLITS}
        check_sizes(folder, sizes)
        super().__init__(folder, meta)
        self.columns = len(meta["tokenizer"]["columns"])
        self.unit = "cell" if self.columns == self.length else "place"
        self.whole = f"rows have {self.length} {self.unit}s"
        self.hides = self.tokenizer.missing_is == "unknown"
        self._holed: dict[str, bool] = {}
        self._numbers: dict[str, np.ndarray] = {}  # of the groups of rows

    @staticmethod
    def tokenizer_of(meta: dict) -> Table:
        return Table.from_spec(meta["tokenizer"])

    @cached_property
    def tokenizer(self) -> Table:
        return Table.from_spec(self.meta["tokenizer"])

    def describe(self, count: int, positions: int, length: int) -> str:
        of = f"{count:,} rows of {self.columns} columns, numbers as their bins"
        if self.tokenizer.missing_is != "missing":
            return f"{positions:,} cells with a value in {of}"
        if self.unit == "cell":
            return f"{positions:,} cells in {of}"
        two = f"{length - self.columns} of them say whether a cell has a value"
        return f"{positions:,} places in {of}: {length} a row, {two}"

    def protocol(self, split: str, length: int) -> list[str]:
        if self.tokenizer.missing_is == "unknown":
            return [
                "missing cells are taken for values not known: the bound is given which they are"
            ]
        if self.tokenizer.missing_is == "absent":
            return [
                "missing cells are neither scored nor seen, as in the version that wrote the data"
            ]
        return []

    def describe_groups(self, groups: int, examples: int) -> str:
        of = self.meta.get("group")
        if self.grouped:
            return f"over {groups:,} " + (f"groups by {of!r}" if of else "different rows")
        over = super().describe_groups(groups, examples)
        if of or self.meta.get("together"):
            alike = f"rows of one {of!r}" if of else "equal rows"
            over += f", as if {alike} were independent: prepare the data again"
        return over

    def _groups(self, split: str, length: int, chosen: np.ndarray) -> np.ndarray | None:
        if not self.grouped:
            return None
        if split not in self._numbers:
            verify(self.folder, self.meta["groups"], split)
            self._numbers[split] = np.fromfile(self.folder / f"{split}.groups.bin", "<i8")
        return self._numbers[split][chosen]

    def beyond(self, split: str) -> Beyond | None:
        columns = self.tokenizer.columns
        with facts_of_meta(self.folder):
            written = of_split(self.meta, columns, split)
        if written is None:
            return None
        notes = []
        if rounded := sum(written.rounded):
            notes.append(f"{rounded:,} numbers count as the nearest step of their column")
        # the probability of a number is its density times the step between numbers
        shift = sum(written.log_steps)
        what = "the row as the source writes its numbers"
        unsaid = improper(columns)
        if unsaid:
            unsaid += ": prepare the table, and train, again"
        stderr = written.stderr
        if stderr is None:
            stderr = math.nan
            if "stderr" not in self.meta["within"][split]:  # else there is one row, or one group
                notes.append(
                    "its error needs that within the bins, which is not known: of data of an "
                    "earlier version, prepare them again"
                )
        return Beyond(sum(written.nats), written.nats, shift, what, notes, unsaid, stderr)

    def _terms(self) -> dict[str, str]:
        if self.tokenizer.missing_is != "missing":
            terms = {"given": "which cells have a value", "denominator": "every cell with a value"}
            return super()._terms() | terms
        both = "every cell's value, and whether it has one in columns that lack some"
        return super()._terms() | {"denominator": both}

    def batch_name(self, batch_size: int, length: int) -> str:
        return f"{batch_size} rows of {length} {self.unit}s"

    def _examples(self, split: str, length: int, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        tokens = self.tokens(split)
        if split not in self._holed:
            self._holed[split] = bool((tokens == self.vocab_size).any())
        x = self.known(split, tokens.reshape(-1, self.length)[chosen], missing=True)
        if not self._holed[split]:
            return {"x": torch.from_numpy(x)}
        return batch_of(x, self.tokenizer)


def batch_of(tokens: np.ndarray, table: Table) -> dict[str, torch.Tensor]:
    """Tokens (B, places), `vocab_size` for what is not known, as a batch."""
    known = tokens != table.vocab_size
    batch = {"x": torch.from_numpy(np.where(known, tokens, 0))}
    if table.missing_is == "absent":
        return batch | {"valid": torch.from_numpy(known)}
    return batch | {"role": torch.from_numpy(np.where(known, SCORED, UNKNOWN).astype(np.int8))}
