"""Conditions on the cells of a row: `income = >50K`, `age >= 30`, `race in White, Black`.

A column, an operator, a value; the first operator in the text is the one, and a column whose name
holds one stands in quotes.  A condition says what its cell can be: missing or not, which values
and, of a number within its bin, which numbers.  So it becomes a place that is given, or one whose
tokens have weights: how probable it is that a cell of this token satisfies the condition.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np

from unmask.kinds.kind import Partial, blank
from unmask.kinds.tables.bins import Within
from unmask.kinds.tables.columns import Column, Table, did_you_mean
from unmask.kinds.tables.flags import names_in
from unmask.kinds.tables.numbers import PLAIN, exact_number
from unmask.roles import GIVEN

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
GRAMMAR = re.compile(
    r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<name>.*?))'
    r"(?:\s*(?P<sign>!=|<=|>=|=|<|>)|\s+(?P<word>in)(?=\s))"
    r"\s*(?P<value>.*?)\s*",
    re.DOTALL,
)
LISTED = 12  # values of a column that a message names, at most


class Condition(NamedTuple):
    """On the cell of a column: that it is one of several, or compares with one."""

    said: str
    column: str
    operator: str  # of COMPARE, or "in"
    values: list[str]


class Can(NamedTuple):
    """What a cell can be."""

    missing: bool
    values: np.ndarray  # (values,) how probable each is to satisfy the conditions
    spans: np.ndarray | None = None  # of numbers within bins: (m, 2), from one to before another


def condition(said: str) -> Condition:
    """ValueError for a text that is none."""
    found = GRAMMAR.fullmatch(said)
    if found is None:
        known = ", ".join([*COMPARE, "in"])
        raise ValueError(f"--where {said!r}: give a column, one of {known}, and a value")
    name, value = found["name"], found["value"]
    if name is None:
        name = found["quoted"].replace('""', '"')
    if found["word"]:
        try:
            values = names_in(value)
        except ValueError as error:
            raise ValueError(f"--where {said!r}: {error}") from None
        if not values:
            raise ValueError(f"--where {said!r}: give values after in, with commas between them")
        return Condition(said, name, "in", values)
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = value[1:-1].replace('""', '"')
    return Condition(said, name, found["sign"], [value])


def cells_of(table: Table, where: Sequence[str]) -> dict[int, Can]:
    """What the cells of some columns, by their number, can be.

    ValueError for a column or a value that there is not, and for conditions that nothing satisfies.
    """
    of_column: dict[int, list[Condition]] = {}
    for said in where:
        one = condition(said)
        check_column(one, table)
        of_column.setdefault(table.names.index(one.column), []).append(one)
    return {c: meet(table, table.columns[c], some) for c, some in of_column.items()}


def meet(table: Table, column: Column, conditions: Sequence[Condition]) -> Can:
    """What a cell can be that satisfies all of these."""
    all_of = [of_one(table, column, one) for one in conditions]
    missing = all(can.missing for can in all_of)
    values, spans = np.prod([can.values for can in all_of], axis=0), None
    if column.within is not None:
        spans = spans_of(column.within, "!=", [])  # all of them
        for can in all_of:
            spans = both(spans, can.spans)
        values = column.within.share(spans)
    if not missing and not values.any():
        said = " and ".join(f"--where {one.said!r}" for one in conditions)
        raise ValueError(f"{said}: no value of {column.name!r} fits: {known_values(column)}")
    return Can(missing, values, spans)


def of_one(table: Table, column: Column, one: Condition) -> Can:
    """What a cell can be that satisfies one condition."""
    texts = [text for text in one.values if not is_missing(table, column, one, text)]
    named = len(texts) < len(one.values)  # `missing` is among the values
    if named and not column.missing and one.operator != "!=":
        raise ValueError(
            f"--where {one.said!r}: no {column.name!r} of this model is missing: name a value"
        )
    missing = named and one.operator != "!="
    if one.operator == "!=" and not texts:
        # it has a value, any
        every = None if column.within is None else spans_of(column.within, "!=", [])
        return Can(False, np.ones(len(column.values)), every)
    if column.bounds is None:
        return Can(missing, of_categories(column, one, texts))
    numbers = [number(column, one, text) for text in texts]
    if column.within is None:  # the median of its bin is what is written
        medians = [exact_number(value, column.spelling) for value in column.values]
        holds = COMPARE.get(one.operator, operator.eq)
        fits = [any(holds(median, n) for n in numbers) for median in medians]
        return Can(missing, np.array(fits, float))
    spans = spans_of(column.within, one.operator, numbers)
    return Can(missing, column.within.share(spans), spans)


def of_categories(column: Column, one: Condition, texts: Sequence[str]) -> np.ndarray:
    """(values,) 1 for those that satisfy a condition, 0 for others."""
    if one.operator not in ("=", "!=", "in"):
        raise ValueError(
            f"--where {one.said!r}: {column.name!r} is a column of categories, which have no "
            "order: give =, != or in"
        )
    for text in texts:
        if text not in column.values:
            known = known_values(column) + (slip(text) or did_you_mean(text, column.values))
            raise ValueError(f"--where {one.said!r}: no {column.name!r} is {text!r}: {known}")
    among = np.isin(np.array(column.values, object), texts)
    return (~among if one.operator == "!=" else among).astype(float)


def spans_of(within: Within, operator: str, numbers: Sequence[Decimal]) -> np.ndarray:
    """(m, 2) rising, of those that compare with one of `numbers`; of none of them for !=."""
    at = sorted({(within.first_of(n), within.first_of(n, above=True)) for n in numbers})
    if operator == "!=":
        edges = [0, *(edge for span in at for edge in span), within.end]
        at = list(zip(edges[::2], edges[1::2], strict=True))
    elif operator not in ("=", "in"):
        ((first, after),) = at
        at = {
            "<": [(0, first)],
            "<=": [(0, after)],
            ">": [(after, within.end)],
            ">=": [(first, within.end)],
        }[operator]
    return np.array(at, np.int64).reshape(-1, 2)


def both(some: Any, others: Any) -> np.ndarray:
    """The spans (m, 2) that lie in spans of either."""
    begin = np.maximum(some[:, None, 0], others[None, :, 0]).ravel()
    end = np.minimum(some[:, None, 1], others[None, :, 1]).ravel()
    spans = np.stack([begin, end], 1)[begin < end]
    return spans[np.argsort(spans[:, 0])]


def number(column: Column, one: Condition, text: str) -> Decimal:
    """ValueError for a text that is none."""
    found = exact_number(text, column.spelling)
    if found is None:
        marks = "" if column.spelling == PLAIN else f" where {column.spelling.describe()}"
        raise ValueError(
            f"--where {one.said!r}: {column.name!r} is a column of numbers, and {text!r} is none"
            f"{marks}{slip(text)}"
        )
    return found


def slip(text: str) -> str:
    """What somebody may have meant who wrote a value so, as in other languages of conditions."""
    if text.startswith("="):
        return " (write one =)"
    if len(text) > 1 and text[0] == text[-1] == "'":
        return " (quotes are double ones)"
    if text.startswith("(") or text.endswith(")"):
        return " (write values after in without brackets)"
    if re.search(r"\s(and|or|&+|\|+)\s", text, re.IGNORECASE):
        return " (a condition is of one column: give another --where for another)"
    return ""


def is_missing(table: Table, column: Column, one: Condition, text: str) -> bool:
    """Whether a value of a condition says that there is none."""
    word = one.operator in ("=", "!=", "in") and text not in column.values
    return word and table.is_missing(text, column.name)


def check_column(one: Condition, table: Table) -> None:
    """ValueError for a column that there is not."""
    if one.column in table.names:
        return
    # one whose name holds an operator, say
    starts = [name for name in table.names if one.said.strip().startswith(name)]
    quoted = [name for name in starts if len(name) > len(one.column)]
    fix = did_you_mean(one.column, table.names)
    if quoted:
        doubled = max(quoted, key=len).replace('"', '""')
        fix = f' (write "{doubled}", in quotes, for the column)'
    known = ", ".join(table.names)
    raise ValueError(f"--where {one.said!r}: there is no column {one.column!r} among {known}{fix}")


def known_values(column: Column) -> str:
    """What a column has, in words."""
    if not column.values:
        return "it has no values at all"
    if column.bounds is None:
        more = len(column.values) - LISTED
        listed = ", ".join(column.values[:LISTED])
        return f"it has {listed}" + (f" and {more:,} more" if more > 0 else "")
    within = column.within
    if within is None:
        return f"its numbers are {', '.join(column.values)}"
    last, steps = within.spell(within.last), within.scale.describe()
    return f"its numbers in training are {within.spell(0)} to {last}, {steps}"


def conditioned(table: Table, where: Sequence[str]) -> Partial:
    """A row of which nothing is known but that it satisfies conditions."""
    row, weights = blank(table.length), {}
    first = table.first

    def give(place: int, value: int) -> None:
        row.ids[place], row.role[place] = first[place] + value, GIVEN

    for c, can in cells_of(table, where).items():
        column, place, present = table.columns[c], table.value_at[c], table.present_at[c]
        possible = np.flatnonzero(can.values)
        if can.missing and not len(possible):
            give(place, len(column.values))  # none
        elif not can.missing and len(possible) == 1:
            give(place, int(possible[0]))
        elif not (can.values == 1).all():
            of_token = np.zeros(table.vocab_size)
            of_token[first[place] : first[place] + len(column.values)] = can.values
            if can.missing:
                of_token[table.none[c]] = 1
            weights[int(place)] = of_token
        if present >= 0 and not (can.missing and len(possible)):
            give(present, int(can.missing))
    return row._replace(weights=weights)


def spans_within(table: Table, where: Sequence[str]) -> Mapping[int, np.ndarray]:
    """Of columns of numbers with conditions, by their number, what is to be drawn within bins."""
    found = cells_of(table, where).items()
    return {c: can.spans for c, can in found if can.spans is not None and len(can.spans)}
