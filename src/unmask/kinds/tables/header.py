"""Whether the first row of a file names the columns, and what it calls them."""

import itertools
from collections.abc import Iterable

import numpy as np

from unmask.kinds.tables.csv_source import Cells
from unmask.kinds.tables.numbers import can_be_numbers, is_number, parse_whole

YEARS = range(1800, 2101)
RARE = 0.05  # a share of rows


def first_is_header(cells: Cells, missing: Iterable[str]) -> bool:
    """Whether the first row names the columns.

    It does if one of its cells has a value that is no number, and all values below it are numbers;
    or if its cells all differ, none is a number or missing, and none occurs again in its column.
    And if its first cell is empty above values that all differ, those of an index, or two or more
    of its cells are years at one step above other numbers, and all that was said holds of the other
    cells.  A row of numbers, with or without words, is none.

    Raises ValueError for what may be either: years or running numbers otherwise; words of which one
    occurs again in its column, or two are alike, or one is missing, where another would be a value
    that is new in its column, where such are rare; words that all occur again in one other row.
    """
    if len(cells.codes) < 2:
        return False
    names, missing = cells.row(0), set(missing)
    lacks = [name.lower() in missing for name in names]
    number = [is_number(name) for name in names]
    below = [Below(cells, c, missing) for c in range(cells.width)]
    for c in range(cells.width):
        if not number[c] and not lacks[c] and below[c].numbers:
            return True
    again = cells.codes[1:] == cells.codes[0]
    once = not again.any()
    words = [names[c] for c in range(cells.width) if not number[c] and not lacks[c]]
    differ = len(set(words)) == len(words)
    index = not names[0] and below[0].index and not any(lacks[1:]) and differ and once
    if index and (not any(number) or years_run(names, number, below)):
        return True
    if any(number):
        return numbers_as_names(cells, names, number, lacks, below, differ and once)
    if not any(lacks) and differ and once:
        return True
    repeated = again.all(1)
    few = 0 < repeated.sum() <= RARE * len(repeated)
    rest = ~repeated if few else np.ones(len(repeated), bool)
    fresh = [
        c
        for c in range(cells.width)
        if not lacks[c] and not again[rest, c].any() and below[c].rarely_new
    ]
    if fresh:
        why = f"no other row has {names[fresh[0]]!r} in its column{alike(names, again)}"
        if few:
            line = cells.lines[1 + int(repeated.argmax())]
            why = f"line {line} is the same, and no row but such has {names[fresh[0]]!r}"
        raise unclear(cells, why)
    return False


class Below:
    """The cells of a column without the first."""

    def __init__(self, cells: Cells, c: int, missing: set[str]):
        counts = np.bincount(cells.codes[1:, c], minlength=len(cells.texts[c]))
        used, self.rows = counts.nonzero()[0], len(cells.codes) - 1
        self.values = [cells.texts[c][i] for i in used if cells.texts[c][i].lower() not in missing]
        self.once = int((counts == 1).sum())
        self.numbers = bool(self.values) and can_be_numbers(self.values)
        self.index = len(self.values) == self.rows > 1

    @property
    def rarely_new(self) -> bool:
        """Whether a row more would rarely have a value that is not there yet.

        The share of rows whose value occurs once estimates it: Good, Biometrika 40, 1953.
        """
        return (self.once + 1) / (self.rows + 1) <= RARE

    @property
    def years(self) -> bool:
        return all(parse_whole(text) in YEARS for text in self.values)


def years_run(names: list[str], number: list[bool], below: list[Below]) -> bool:
    """Whether all numbers among names are two years or more at one step, above other numbers."""
    places = [c for c in range(len(names)) if number[c]]
    years = [parse_whole(names[c]) for c in places]
    if len(years) < 2 or not steps(years) or not all(year in YEARS for year in years):
        return False
    return all(below[c].numbers and not below[c].years for c in places)


def steps(numbers: list[int | None]) -> bool:
    """Whether whole numbers go up by one step."""
    known = [one for one in numbers if one is not None]
    between = {after - before for before, after in itertools.pairwise(known)}
    return len(known) == len(numbers) and len(between) == 1 and min(between) > 0


def numbers_as_names(
    cells: Cells,
    names: list[str],
    number: list[bool],
    lacks: list[bool],
    below: list[Below],
    new: bool,
) -> bool:
    """Whether a row with numbers names the columns; ValueError if it may.

    new: no cell of it occurs again in its column, and its words differ.
    """
    if not new:
        return False
    others = [c for c in range(len(names)) if not number[c]]
    if others and not any(lacks) and years_run(names, number, below):
        return True
    places = [c for c in range(len(names)) if number[c]]
    found = [parse_whole(names[c]) for c in places]
    years = all(one in YEARS for one in found) and not any(below[c].years for c in places)
    rising = found == sorted(set(found), key=lambda one: one or 0)
    if years and rising and (others or len(places) > 1):
        raise unclear(cells, f"{names[places[0]]!r} may be a year that names its column")
    if len(places) > 2 and steps(found):
        raise unclear(cells, f"{names[places[0]]!r}, {names[places[1]]!r}, ... may be names")
    return False


def alike(names: list[str], again: np.ndarray) -> str:
    """What speaks against a row of names."""
    for c, name in enumerate(names):
        if again[:, c].any():
            return f", and others have {name!r}"
        if names.count(name) > 1:
            return f", and {name!r} stands there twice"
        if not name:
            return ", and one has no name"
    return ""


def unclear(cells: Cells, why: str) -> ValueError:
    return ValueError(
        f"{cells.path}, line {cells.lines[0]}: it may name the columns, or be a row like the "
        f"others: {why}: say --header yes or --header no"
    )


def header_names(cells: Cells) -> list[str]:
    """What the first row calls the columns; one without a name is called by its place.

    Such a column is, for example, the index that pandas writes.
    """
    return [name or f"column{i}" for i, name in enumerate(cells.row(0), 1)]
