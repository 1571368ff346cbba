"""What is known of values beside that they are others: where they lie on a scale."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

WAVES = 16  # cosines that tell where a value lies among those of its group


class Traits(NamedTuple):
    """Values that these compare, such as the numbers of a column, are a group."""

    known: np.ndarray  # (groups, the most values of one, K) float32, zeros behind a smaller one
    row: np.ndarray  # (V,) int64, that of each value in `known`, group after group; -1: none


def traits_of(ranks: Mapping[int, np.ndarray], vocab_size: int) -> Traits | None:
    """`WAVES` cosines of each value's rank in its group, or as many as tell the group's values
    apart; zeros behind them.  `ranks`: (n,) of a group of n, by its first value.  None without any
    group."""
    import numpy as np

    if not ranks:
        return None
    most, row = max(map(len, ranks.values())), np.full(vocab_size, -1)
    known = np.zeros((len(ranks), most, WAVES), np.float32)
    for i, (first, rank) in enumerate(ranks.items()):
        wave = np.arange(1, min(WAVES, len(rank) - 1) + 1)
        angle = np.pi * (rank[:, None] + 0.5) / len(rank) * wave
        known[i, : len(rank), : len(wave)] = np.sqrt(2) * np.cos(angle)
        row[first : first + len(rank)] = i * most + np.arange(len(rank))
    return Traits(known, row)
