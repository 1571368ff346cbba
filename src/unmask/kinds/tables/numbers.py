"""How numbers are spelled: the decimal mark, the mark between thousands, and what a column says.

`1,234` alone is a thousand in one file, and one and a bit in another.  So a column has a spelling,
which its own cells or those of the other columns must tell; if neither do, it is asked for.
"""

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import NamedTuple

CODE = re.compile(r"0\d+", re.ASCII)  # with leading zeros: a code, not a number
DECIMAL, THOUSANDS = ".,", ("", ",", ".", " ", "'")
# marks between thousands that look alike
ALIKE = {" ": "[ \u00a0\u202f]", "'": "['\u2019]"}
HUGE = re.compile(r"[eE][+-]?\d{7}")  # an exponent beyond floats, and beyond Decimal
EXACT = 16  # digits, of which not all whole numbers are numbers of 64 bits
# a whole number of up to three digits, and one part of a thousand or of 1 behind it
EITHER = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", re.ASCII)


class Spelling(NamedTuple):
    """Marks of a number: between thousands, in threes, and before decimals."""

    decimal: str = "."
    thousands: str = ""

    def describe(self) -> str:
        said = f"'{self.decimal}' is the decimal mark"
        return said + (f", {self.thousands!r} between thousands" if self.thousands else "")


PLAIN = Spelling()
# the plainest first
SPELLINGS = tuple(Spelling(d, t) for t in THOUSANDS for d in DECIMAL if d != t)


def spelling_of(spec: Sequence[str]) -> Spelling:
    """ValueError for what is none."""
    spelling = Spelling(*spec)
    if spelling not in SPELLINGS:
        raise ValueError(f"{spec!r} are no marks of numbers")
    return spelling


@cache
def pattern(spelling: Spelling) -> re.Pattern[str]:
    whole, mark = r"\d+", re.escape(spelling.decimal)
    if spelling.thousands:
        between = ALIKE.get(spelling.thousands, re.escape(spelling.thousands))
        whole = rf"(?:[1-9]\d{{0,2}}(?:{between}\d{{3}})+|\d+)"
    return re.compile(rf"[+-]?(?:{whole}(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?", re.ASCII)


@cache
def between_thousands(spelling: Spelling) -> re.Pattern[str]:
    return re.compile(ALIKE.get(spelling.thousands, re.escape(spelling.thousands)))


def plainly(text: str, spelling: Spelling) -> str:
    """A number of this spelling in the plain one."""
    if spelling == PLAIN:
        return text
    if spelling.thousands:
        text = between_thousands(spelling).sub("", text)
    return text.replace(spelling.decimal, ".")


def respelled(text: str, spelling: Spelling) -> str:
    """A plain number in this spelling."""
    if spelling == PLAIN:
        return text
    sign = text[:1] if text[:1] in "+-" else ""
    whole, mark, rest = text[len(sign) :].partition(".")
    if spelling.thousands and whole.isdigit():
        whole = f"{int(whole):,}".replace(",", spelling.thousands)
    return sign + whole + (spelling.decimal if mark else "") + rest


def parse_number(text: str, spelling: Spelling = PLAIN) -> float | None:
    """A finite decimal number, or None."""
    if not pattern(spelling).fullmatch(text) or HUGE.search(text):
        return None
    number = float(plainly(text, spelling))
    return number if math.isfinite(number) else None


def exact_number(text: str, spelling: Spelling = PLAIN) -> Decimal | None:
    """As `parse_number`, without rounding."""
    known = parse_number(text, spelling) is not None
    return Decimal(plainly(text, spelling)) if known else None


def parse_whole(text: str, spelling: Spelling = PLAIN) -> int | None:
    """A whole number without a decimal mark, of any size that a float has, or None."""
    if parse_number(text, spelling) is None:
        return None
    digits = plainly(text, spelling)
    # by way of Decimal, which takes leading zeros of any number
    return int(Decimal(digits)) if digits.lstrip("+-").isdigit() else None


def is_number(text: str) -> bool:
    """Whether a text is one in any spelling."""
    return any(parse_number(text, spelling) is not None for spelling in SPELLINGS)


def are_numbers(texts: Iterable[str], spelling: Spelling = PLAIN) -> bool:
    """Whether a column with these values is one of numbers: all are, and none has leading zeros.

    Codes have leading zeros.
    """
    return all(
        parse_number(text, spelling) is not None and not CODE.fullmatch(text) for text in texts
    )


def can_be_numbers(texts: Collection[str]) -> bool:
    """Whether there is a spelling in which a column with these values is one of numbers."""
    return any(are_numbers(texts, spelling) for spelling in that_differ(texts, SPELLINGS))


def whole_numbers(texts: Iterable[str], spelling: Spelling) -> list[int] | None:
    """Texts as whole numbers; None if one is none."""
    found = []
    for text in texts:
        number = parse_whole(text, spelling)
        if number is None:
            return None
        found.append(number)
    return found


def told_apart(texts: Collection[str], spelling: Spelling = PLAIN) -> bool:
    """Whether whole numbers differ as numbers of 64 bits, too: identifiers may not."""
    if all(len(text) < EXACT for text in texts):
        return True
    found = whole_numbers(texts, spelling)
    return found is None or len({float(number) for number in found}) == len(set(found))


class Marks(NamedTuple):
    """What is asked for: marks of all columns under "", of single ones under their names.

    A column of which nothing is asked is read as its cells say.
    """

    decimal: Mapping[str, str] = {}
    thousands: Mapping[str, str] = {}

    def spellings(self, column: str) -> list[Spelling]:
        """Those that the column may have, the plainest first.  ValueError if there are none."""
        decimal = self.decimal.get(column, self.decimal.get("", ""))
        thousands = self.thousands.get(column, self.thousands.get(""))
        found = [
            one
            for one in SPELLINGS
            if decimal in ("", one.decimal) and thousands in (None, one.thousands)
        ]
        if not found:
            of = f" of column {column!r}" if column else ""
            raise ValueError(
                f"decimal {decimal!r} and thousands {thousands!r}{of}: give two marks that differ, "
                f"decimal of {', '.join(map(repr, DECIMAL))}, thousands of "
                f"{', '.join(map(repr, THOUSANDS))}"
            )
        return found

    def asks(self, column: str) -> bool:
        return any(name in marks for marks in self for name in (column, ""))


class Reading(NamedTuple):
    """The spellings in which all values of a column are numbers; two that read them differently.

    `decimal`: the mark before decimals that the cells themselves tell, "" if they do not.
    """

    spellings: list[Spelling]
    other: Spelling | None
    decimal: str
    example: str  # a cell that two spellings read differently


def reading(texts: Collection[str], among: Sequence[Spelling] = SPELLINGS) -> Reading | None:
    """How values can be read as numbers; None: in no spelling are all of them."""
    # digits alone are the same in all
    marked = [text for text in texts if not text.lstrip("+-").isdigit()]
    whole = (text for text in texts if CODE.fullmatch(text))
    found = [one for one in that_differ(marked, among) if are_numbers(marked, one)]
    if not found or not texts or next(whole, None) is not None:
        return None
    first = found[0]
    numbers = [parse_number(text, first) for text in marked]
    for other in found[1:]:
        if [parse_number(text, other) for text in marked] != numbers:
            example = next(t for t in marked if parse_number(t, first) != parse_number(t, other))
            return Reading(found, other, "", example)
    # a comma between thousands is none before decimals, either
    told = first.thousands in (",", ".") or any(first.decimal in text for text in marked)
    return Reading(found, None, first.decimal if told else "", "")


def that_differ(texts: Iterable[str], among: Sequence[Spelling]) -> Sequence[Spelling]:
    """Spellings without those whose mark between thousands is in none of the texts."""
    used = set().union(*texts)
    plain = {
        one for one in among if not one.thousands or used & set(ALIKE.get(one.thousands, one[1]))
    }
    return [one for one in among if one in plain] or among


def zeros_say_thousands(texts: Iterable[str]) -> bool:
    """Whether cells like `2,500` beside `800` tell that the mark stands between thousands.

    Decimals with zeros at the end are so many in every cell, and then `800` had them, too; a whole
    number of more than three digits had the mark.
    """
    marked, bare = [], []
    for text in texts:
        (marked if EITHER.fullmatch(text) else bare).append(text)
    whole = all(text.lstrip("+-").isdigit() and len(text.lstrip("+-")) <= 3 for text in bare)
    return bool(bare) and whole and any(text.endswith("0") for text in marked)
