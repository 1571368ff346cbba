"""Examples as their kind shows them: in words in a terminal, as HTML in a notebook."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from unmask.kinds.data import Data
from unmask.kinds.registry import kind_of
from unmask.roles import ABSENT, GIVEN, SCORED

SHOWN = 20  # examples, at most


class Samples:
    """Token ids, such as `unmask.sample` draws, with what they stand for in data of this kind.

    x: (n, S), -1 after the end of an example; n arrays of ids; or a batch of the data, whose
    padding is left out.  A position whose value nobody knows is shown as one: X in a protein, an
    empty cell.  ValueError, where they are shown, for ids that the data does not have.
    """

    def __init__(self, data: Data, x: Sequence[Any] | Mapping[str, Any]):
        self.kind = kind_of(data.meta, data.folder)
        of_batch, x = (x, x["x"]) if isinstance(x, Mapping) else ({}, x)
        rows = [torch.as_tensor(row).cpu().numpy().astype(np.int64) for row in x]
        there: Any = [row >= 0 for row in rows]
        known = there  # the value, too
        if "role" in of_batch:
            roles = np.asarray(of_batch["role"])
            there, known = roles != ABSENT, (roles == GIVEN) | (roles == SCORED)
        elif "valid" in of_batch:
            there = known = np.asarray(of_batch["valid"])
        self.rows = []
        for row, seen, end in zip(rows, known, there, strict=True):
            row = np.where(seen, row, data.vocab_size)
            self.rows.append(row if self.kind.fixed else ended(row, end))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def more(self) -> str:
        """What is said of those that are not shown."""
        left_out = len(self.rows) - SHOWN
        return f"and {left_out:,} more" if left_out > 0 else ""

    def __repr__(self) -> str:
        more = [self.more] if self.more else []
        return "\n".join([*self.kind.texts(self.rows[:SHOWN]), *more])

    def _repr_html_(self) -> str:
        return self.kind.html(self.rows[:SHOWN]) + (f"<p>{self.more}</p>" if self.more else "")


def ended(row: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Without what stands behind the last position that is `there` (S,) bool."""
    last = np.flatnonzero(there)
    return row[: last[-1] + 1] if len(last) else row[:0]
