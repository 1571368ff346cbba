"""Examples as their kind shows them: in words in a terminal, as HTML in a notebook."""

from collections.abc import Sequence

import numpy as np

from unmask.kinds.data import Data
from unmask.kinds.registry import kind_of

SHOWN = 20  # examples, at most


class Samples:
    """Token ids, such as `unmask.sample` draws, with what they stand for in data of this kind.

    x: (n, S), -1 after the end of an example, or n arrays of ids.  ValueError, where they are
    shown, for ids that the data does not have.
    """

    def __init__(self, data: Data, x: Sequence[np.ndarray]):
        self.kind = kind_of(data.meta, data.folder)
        self.rows = [ended(np.asarray(row)) for row in x]

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


def ended(row: np.ndarray) -> np.ndarray:
    """Without what stands behind its end."""
    there = np.flatnonzero(row >= 0)
    return row[: there[-1] + 1] if len(there) else row[:0]
