"""Rows of a table as examples that lead back to every cell."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from unmask.documents import parsed, whole
from unmask.files import write_whole
from unmask.kinds.kind import Packed
from unmask.kinds.tables.bins import MOST
from unmask.kinds.tables.columns import Column, Table
from unmask.kinds.tables.filled import read_columns
from unmask.kinds.tables.numbers import respelled
from unmask.kinds.tables.prepare import check_absent, encode

# by column: how far each number is from the median of its bin, in steps; and cells as they are
# written, by row and column, where nothing else says it
FORM = {"steps": {str: [whole(-MOST, MOST)]}, "cells": [[None]]}
LEAVE_OUT = "leave the row out"  # the one way with a cell that has no token
NOT_KEPT = (
    "cells are kept; the order of columns is the model's, and quotes, blanks around cells, empty "
    "lines, carriage returns, a byte-order mark and an encoding that is not UTF-8 are not kept"
)


def pack(path: Path, table: Table) -> Packed:
    """The rows of a CSV file as examples; beside them, which number of its bin a cell has, and how
    a cell is written where its token does not say it.

    ValueError for other columns than the model's, and for a cell that it cannot read.
    """
    cells, at = read_columns(path, table, None)
    lacking = [name for name, place in zip(table.names, at, strict=True) if place < 0]
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(lacking)}: give all columns of the model's")
    if cells.width > len(at):
        raise ValueError(
            f"{path} has {cells.width} columns and the model {len(at)}, which would be lost: leave "
            "the others out"
        )
    cells = cells.columns(at)
    numbers = encode(cells, table, "error", LEAVE_OUT)
    check_absent(numbers, cells, table, "error", LEAVE_OUT)
    tokens = table.tokens(numbers)
    if (tokens == table.vocab_size).any():
        row, place = np.argwhere(tokens == table.vocab_size)[0]
        name = table.names[table.places[place].column]
        raise ValueError(
            f"{path}, line {cells.lines[row]}: column {name!r} is empty, and this model has no "
            "token for that: leave such rows out"
        )
    texts = np.array([cells.row(i) for i in range(len(tokens))], object)
    texts = texts.reshape(len(tokens), len(table.columns))
    decoded = np.array(table.decode(tokens), object).reshape(texts.shape)
    steps = {}
    for c, column in enumerate(table.columns):
        told = steps_of(column, decoded[:, c], texts[:, c])
        if told.any():
            steps[column.name] = told.tolist()
            decoded[:, c] = moved(column, decoded[:, c], told)
    others = np.argwhere(decoded != texts).tolist()
    beside = {"steps": steps, "cells": [[i, c, texts[i, c]] for i, c in others]}
    raw = table.write(texts.tolist()).encode()
    return Packed(list(tokens), raw, json.dumps(beside).encode(), notes_of(steps, others, table))


def unpack(rows: list[np.ndarray], beside: bytes, out: str, table: Table) -> None:
    """Write a CSV file.  ValueError for what `pack` does not write."""
    at, allowed = np.arange(table.length), table.allowed
    if not all(len(row) == len(at) and allowed[at, row].all() for row in rows):
        raise ValueError("the rows have values of other columns: the file is damaged")
    kept = parse(beside, len(rows), table)
    ids = np.stack(rows) if rows else np.zeros((0, table.length), np.int64)
    cells = np.array(table.decode(ids), object).reshape(len(rows), len(table.columns))
    for c, column in enumerate(table.columns):
        if column.name in kept["steps"]:
            cells[:, c] = moved(column, cells[:, c], np.array(kept["steps"][column.name]))
    for row, c, text in kept["cells"]:
        cells[row, c] = text
    write_whole(out, table.write(cells.tolist()))


def steps_of(column: Column, medians: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """(n,) int64: how far a column's numbers are from the medians of their bins, in steps; 0 where
    they are the same, and where a step does not lead there."""
    found = np.zeros(len(texts), np.int64)
    differs = np.flatnonzero((medians != texts) & (texts != "") & (medians != ""))
    if column.within is None or not len(differs):
        return found
    away = column.steps(list(texts[differs])) - column.steps(list(medians[differs]))
    there = (away == np.round(away)) & (abs(away) <= MOST)
    found[differs[there]] = away[there].astype(np.int64)
    wrong = moved(column, medians, found) != texts
    return np.where(wrong, 0, found)


def moved(column: Column, medians: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """(n,) texts of the numbers that are so many steps from medians (n,)."""
    found = medians.copy()
    there = np.flatnonzero((steps != 0) & (medians != ""))
    if column.within is None or not len(there):
        return found
    at = column.steps(list(medians[there])).astype(np.int64) + steps[there]
    spelled = {k: respelled(column.within.spell(k), column.spelling) for k in set(at.tolist())}
    found[there] = [spelled[k] for k in at.tolist()]
    return found


def notes_of(steps: dict[str, list[int]], others: list, table: Table) -> list[str]:
    """What is kept beside the tokens, in words."""
    notes = [NOT_KEPT]
    for name, told in steps.items():
        moves = sum(step != 0 for step in told)
        notes.append(f"column {name!r}: {moves:,} of {len(told):,} numbers by their places in bins")
    if others:
        names = ", ".join(dict.fromkeys(table.names[c] for _, c in others))
        notes.append(f"{len(others):,} cells as they are written ({names})")
    return notes


def parse(beside: bytes, rows: int, table: Table) -> dict[str, Any]:
    """What was kept.  ValueError for what `pack` does not write."""
    kept = parsed(beside, FORM, "what is kept beside the rows")
    if any(len(told) != rows for told in kept["steps"].values()):
        raise ValueError("what is kept beside the rows is not of as many rows")
    row, column = whole(0, rows - 1), whole(0, len(table.columns) - 1)
    for cell in kept["cells"]:
        known = len(cell) == 3 and row.holds(cell[0]) and column.holds(cell[1])
        if not known or type(cell[2]) is not str:
            raise ValueError(f"what is kept beside the rows is damaged: {str(cell)[:40]}")
    return kept
