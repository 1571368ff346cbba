"""Examples as their kind shows them: in words in a terminal, as HTML in a notebook."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from unmask.kinds.data import Data
from unmask.kinds.registry import kind_of
from unmask.roles import ABSENT

SHOWN = 20  # examples, at most


class Samples:
    """Token ids, such as `unmask.sample` draws, with what they stand for in data of this kind.

    x: (n, S), -1 after the end of an example; n arrays of ids; or a batch of the data, whose
    padding is left out.  ValueError, where they are shown, for ids that the data does not have.
    """

    def __init__(self, data: Data, x: Sequence[Any] | Mapping[str, Any]):
        self.kind = kind_of(data.meta, data.folder)
        there = None
        if isinstance(x, Mapping):
            roles = x.get("role")
            there = x.get("valid") if roles is None else roles != ABSENT
            x = x["x"]
        rows = [torch.as_tensor(row).cpu().numpy() for row in x]
        known = [row >= 0 for row in rows] if there is None else np.asarray(there)
        self.rows = [ended(row, seen) for row, seen in zip(rows, known, strict=True)]

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
