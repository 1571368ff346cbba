"""Is a number a bound?

The exact bound by enumeration, any loss against known entropies, checks of this package and of a
model.
"""

from unmask.audit.floor import (
    SIGMAS,
    Floor,
    Posterior,
    Table,
    copies,
    entropy_floor,
    kraft_sums,
    measure,
    tables,
)
from unmask.audit.verdicts import Verdicts
from unmask.likelihood import MAX_UNITS, exact_nelbo

__all__ = [
    "MAX_UNITS", "SIGMAS", "Floor", "Posterior", "Table", "Verdicts",
    "copies", "entropy_floor", "exact_nelbo", "kraft_sums", "measure", "tables",
]  # fmt: skip
