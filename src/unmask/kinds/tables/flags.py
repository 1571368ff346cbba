"""The flags of `unmask prepare` that are this kind's own."""

import csv
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from unmask.kinds.output import csv_of

# what stands between semicolons that are in no quotes, which open where a name or a text begins;
# a name, perhaps in quotes, and what is its
PART = re.compile(r'(?:^|(?<=;))(?:(?<![^;,=])"(?:[^"]|"")*"|[^;])*')
NAMED = re.compile(r'\s*("(?:[^"]|"")*"\s*|(?![\s"])[^=]*)=(.*)', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class PrepareTable:
    header: Literal["auto", "yes", "no"] = "auto"
    """auto: the first row names the columns if one of its cells is not a number and all below it
    are; if its cells all differ, none is a number or missing, and none occurs again in its column;
    if so are all but an empty first one, above an index; or but two or more years at one step.
    What may be either is refused.  Without a header, columns are called column1, column2, ..."""
    delimiter: str = "auto"
    """What is between cells; auto: the one of comma, semicolon, tab and bar of which every line has
    as many.  What may be two of them is refused."""
    decimal: str = ""
    """The mark before decimals, . or , and of single columns after semicolons:
    --decimal ",;price=."; empty: as the cells tell.  What may be two numbers is refused."""
    thousands: str = ""
    """The mark between thousands: , . ' or a blank, or none, and of single columns after
    semicolons: --thousands "pop=,"; empty: as the cells tell."""
    encoding: str = ""
    """Of the file, like latin-1; empty: UTF-8, or what its byte-order mark says."""
    missing: str = ",?,NA,N/A,NaN,null"
    """Cells without a value, besides empty ones ("": none), with commas between them, in capitals
    or not.  Of columns by themselves, after semicolons: --missing "?,NA;country=?;age=-1,-9".  A
    name with a semicolon or an equals sign stands in quotes."""
    missing_is: Literal["missing", "unknown"] = "missing"
    """What a missing cell is.  missing: there is no value, which tells something (a test that
    nobody asked for): samples have missing cells, too.  unknown: there is a value that nobody
    wrote down, missing at random: it is neither scored nor seen, and samples have all values."""
    numbers: str = ""
    """Columns of numbers, with commas between them.  Others are of numbers if all of their cells
    are and none has leading zeros; it is an error if nine in ten are.  Identifiers are left out
    unless they are named here or in --categories: in 20 rows or more, whole numbers that differ in
    all of them and go by one step, or are all from the least to the largest, or exceed 2^53; and
    the index that the header leaves without a name."""
    categories: str = ""
    """Columns of categories, whatever they look like."""
    drop: str = ""
    """Columns to leave out."""
    bins: int = 64
    """Of a column of numbers, at most.
    Each has about as many training rows; numbers are drawn within their bins."""
    like: str = ""
    """Prepared data or a model, whose columns, categories and bins these shall be."""
    unseen: Literal["error", "unknown", "missing"] = "error"
    """With --like: what becomes of a cell that they cannot read, such as a category not theirs.
    unknown: it has a value that is not known; missing: it is missing."""
    split: str = "0.9,0.05,0.05"
    """train,validation,test: fractions, or numbers of rows (-1: the rest), drawn at random:
    equal rows are two draws."""
    seed: int = 0
    """Which rows are drawn for which split."""
    group: str = ""
    """A column, such as that of the patient, whose rows of one value stay in one split;
    a row without one is by itself."""
    together: bool = False
    """Equal rows stay in one split."""
    validation: str = ""
    """A validation file of its own; the source is then all training data."""
    test: str = ""
    """A test file of its own."""


def names_in(flag: str) -> list[str]:
    """Names with commas between them; one that has a comma itself stands in quotes, as in CSV."""
    try:
        names = next(csv.reader([flag], skipinitialspace=True, strict=True), [])
    except csv.Error as error:
        raise ValueError(f"{flag!r}: {error}; give names with commas between them") from None
    return [name.strip() for name in names]


def flag_of(names: Iterable[str]) -> str:
    """What `names_in` reads as these names."""
    return csv_of([list(names)]).removesuffix("\n")


def in_quotes(name: str) -> str:
    """A name or a text beside others, as in CSV, if it holds what stands between these."""
    marks = set(name) & set('",;=\r\n')
    return '"' + name.replace('"', '""') + '"' if marks or not name else name


def parts_in(flag: str) -> list[str]:
    """What it says of all columns, and of others by name, with semicolons between these."""
    return [part[0] for part in PART.finditer(flag)] if flag else []


def name_in(said: str) -> str:
    """The name of a column before an equals sign, which may stand in quotes."""
    name = said.strip()
    return names_in(name)[0] if name.startswith('"') else name


def typed(flag: str) -> str:
    """What a flag has, as a shell takes it."""
    return shlex.quote(flag) if set(flag) & set('"$`\\!') else f'"{flag}"'
