"""Rows of a CSV file that are scored one by one."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from unmask.kinds.kind import Listed, Partial
from unmask.kinds.tables.columns import ABSENT, UNKNOWN, Table
from unmask.kinds.tables.csv_source import Cells
from unmask.kinds.tables.filled import read_columns
from unmask.kinds.tables.prepare import check_absent, encode
from unmask.roles import ABSENT as PLACE_ABSENT
from unmask.roles import HOLE
from unmask.roles import UNKNOWN as PLACE_UNKNOWN


def read_rows(path: Path, args: Any, table: Table, marks: bool) -> list[Listed]:
    """Rows, by their numbers without the header.  An empty cell is what it is in the data that the
    model was trained on: missing, a fact that is paid for; or not known.  A column that the file
    lacks is not known.  `marks`: an empty cell is a mark, and so is a column that is lacking.

    ValueError for a cell that the model cannot read, as `args.unseen` says; that is also an empty
    one in a column where none was missing.
    """
    cells, at = read_columns(path, table, args.encoding)
    known = [c for c, place in enumerate(at) if place >= 0]
    some, own = table.of([table.columns[c] for c in known]), cells.columns([at[c] for c in known])
    unseen = "error" if args.unseen == "error" else "unknown"
    found = encode(own, some, unseen)
    if not marks:
        check_absent(found, own, some, unseen)
    rows = np.full((len(cells.codes), len(table.columns)), UNKNOWN)
    rows[:, known] = found
    tokens = table.tokens(rows)
    hidden = PLACE_ABSENT if table.missing_is == "absent" else PLACE_UNKNOWN
    role = np.where(tokens == table.vocab_size, hidden, HOLE).astype(np.int8)
    for place, (c, _, _) in enumerate(table.places):
        if marks:
            role[rows[:, c] == ABSENT, place] = PLACE_UNKNOWN
        if c not in known:
            role[:, place] = PLACE_UNKNOWN
    if not marks:
        lacking = [name for c, name in enumerate(table.names) if c not in known]
        if lacking:
            said = f"note: {path} lacks {', '.join(lacking)}: not known, and not scored"
            print(said, file=sys.stderr)
        if more := cells.width - len(known):
            count = "a column" if more == 1 else f"{more:,} columns"
            print(
                f"note: {path} has {count} that the model does not have: left out", file=sys.stderr
            )
        if counts := beyond_training(own, some, found):
            cells_of = ", ".join(f"{name} ({count:,})" for name, count in counts.items())
            said = "outside the range of training, which cost what the outermost bin does"
            print(f"note: {path} has numbers {said}: {cells_of}", file=sys.stderr)
    listed = []
    for number, (ids, own) in enumerate(zip(tokens, role, strict=True), 1):
        place = f"{path}, line {cells.lines[number - 1]}"
        if not marks and not (own == HOLE).any():
            raise ValueError(f"{place} has no cell that is known: take it out")
        listed.append(Listed(str(number), place, number, Partial(ids, own)))
    if not listed:
        raise ValueError(f"{path} has no rows below its header: give at least one")
    return listed


def beyond_training(cells: Cells, table: Table, found: np.ndarray) -> dict[str, int]:
    """By column, how many of its numbers are less than all of training or greater, if some are.

    `found`: see `encode`.
    """
    counts = {}
    for c, column in enumerate(table.columns):
        if column.within is None:
            continue
        used, times = np.unique(cells.codes[found[:, c] >= 0, c], return_counts=True)
        steps = np.round(column.steps([cells.texts[c][i] for i in used]))
        outside = (steps < 0) | (steps > column.within.last)
        if outside.any():
            counts[column.name] = int(times[outside].sum())
    return counts
