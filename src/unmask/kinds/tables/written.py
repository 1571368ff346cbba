"""What numbers cost within their bins: the nats of a row as its source writes it."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from unmask.kinds.tables.columns import Column, Table
from unmask.kinds.tables.csv_source import Cells


class Written(NamedTuple):
    """Of the rows of a split, by column: mean nats a row of the number given its bin, the share of
    rows with a value, how many numbers had to be rounded to a step, and the mean over rows of the
    log of that step, 0 where there is no number; and of the sum of the nats over all columns, its
    standard error over rows, or groups of them, None where that is not known."""

    nats: list[float]
    values: list[float]
    rounded: list[int]
    log_steps: list[float]
    stderr: float | None = None


def nats_within(
    cells: Cells,
    found: np.ndarray,
    table: Table,
    rows: np.ndarray,
    groups: np.ndarray | None = None,
) -> Written:
    """`found` (rows, columns): which of its column's values each cell is, negative for none.

    rows: (n,) those of a split.  groups: (n,) numbers from 0, equal for those drawn together.
    """
    written = Written([], [], [], [])
    count = max(len(rows), 1)
    of_rows = np.zeros(len(rows))
    for c, column in enumerate(table.columns):
        values = found[rows, c]
        known = values >= 0
        written.values.append(float(known.sum() / count))
        nats, rounded, log_steps = 0.0, 0, 0.0
        if column.within is not None:
            codes, inverse = np.unique(cells.codes[rows, c][known], return_inverse=True)
            texts = [cells.texts[c][code] for code in codes]
            steps = column.steps(texts)[inverse]
            log_steps = float(column.log_steps(texts)[inverse].sum() / count)
            whole = np.round(steps)
            each = column.within.nats(values[known], whole)
            of_rows[known] += each
            nats = float(each.sum() / count)
            rounded = int((np.abs(steps - whole) > 1e-9 * np.maximum(np.abs(steps), 1)).sum())
        written.nats.append(nats)
        written.rounded.append(rounded)
        written.log_steps.append(log_steps)
    if groups is None:
        groups = np.arange(len(rows))
    sums = np.bincount(groups, of_rows - of_rows.mean()) if len(rows) else of_rows
    m = len(sums)
    if m < 2:
        return written
    return written._replace(stderr=float(np.sqrt(m / (m - 1) * np.square(sums).sum()) / count))


def improper(columns: Sequence[Column]) -> str:
    """Which of them have a law of other numbers than their bins have, in words; "" if none.

    Laws that earlier versions fitted, which do not add up to 1."""
    wrong = [repr(one.name) for one in columns if one.within is not None and one.misplaced.any()]
    names = f"{', '.join(wrong[:3])}{', ...' * (len(wrong) > 3)}"
    why = "is of an earlier version, and does not add up to 1"
    return f"the law of numbers of {names} {why}" if wrong else ""


def of_split(meta: dict[str, Any], columns: Sequence[Column], split: str) -> Written | None:
    """As `meta.json` has it; None where numbers have no law within their bins."""
    numbers = [column for column in columns if column.bounds is not None]
    if not numbers or "within" not in meta or any(one.within is None for one in numbers):
        return None
    found = dict(meta["within"][split])
    if "log_steps" not in found:  # of an earlier version: even steps alone
        pairs = zip(columns, found["values"], strict=True)
        found["log_steps"] = [share * even_log_step(one) for one, share in pairs]
    return Written(**found)


def even_log_step(column: Column) -> float:
    return 0.0 if column.within is None else float(column.within.log_steps(["0"])[0])
