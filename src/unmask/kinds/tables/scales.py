"""The numbers that a column can have, one after the other: even steps, or so many digits each.

Prices are multiples of a cent.  Concentrations and p-values are not: between 1e-12 and 1 there is
no step that tells the small ones apart and of which floats can count the multiples.  They have some
significant digits each, and so do the numbers of their column.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple, Protocol

MOST = 2**53  # numbers between the least and the greatest: what a float counts exactly
FAITHFUL = 15  # significant digits that a float keeps
FINEST = 400  # decimals: floats have 324


class Scale(Protocol):
    """Numbers in rising order; that which is called `low` is number 0."""

    def at(self, number: Decimal) -> Decimal:
        """Which number it is; between two of them, in between."""
        ...

    def number(self, k: int) -> Decimal: ...

    def step(self, number: Decimal) -> Decimal:
        """How far the numbers around this one are apart."""
        ...

    def describe(self) -> str: ...


class Even(NamedTuple):
    """`low` and multiples of 10**-decimals from there on."""

    low: Decimal
    decimals: int

    def at(self, number: Decimal) -> Decimal:
        return (number - self.low) / self.step()

    def number(self, k: int) -> Decimal:
        return self.low + k * self.step()

    def step(self, number: Decimal = Decimal(0)) -> Decimal:
        return Decimal(1).scaleb(-self.decimals)

    def describe(self) -> str:
        return f"in steps of {self.step():f}"


class Digits(NamedTuple):
    """What so many significant digits can write in multiples of 10**least, of either sign.

    As with floats there are even steps around 0, and beyond them each power of ten has as many
    numbers as the one before.
    """

    low: Decimal
    digits: int
    least: int

    @property
    def even(self) -> int:
        """How many numbers there are from 0 to the power of ten where steps begin to grow."""
        return 10**self.digits

    @property
    def decade(self) -> int:
        """How many there are from one power of ten to the next, beyond that."""
        return 9 * 10 ** (self.digits - 1)

    def exponent(self, number: Decimal) -> int:
        """Of the step from this number on, away from 0."""
        return max(self.least, number.adjusted() - self.digits + 1) if number else self.least

    def from_zero(self, number: Decimal) -> Decimal:
        size, exponent = abs(number), self.exponent(number)
        grown = exponent - self.least  # so many powers of ten
        within = size.scaleb(-exponent)
        if grown:
            within += self.even - 10 ** (self.digits - 1) + (grown - 1) * self.decade
        return within.copy_sign(number)

    def at(self, number: Decimal) -> Decimal:
        return self.from_zero(number) - round(self.from_zero(self.low))

    def number(self, k: int) -> Decimal:
        k += round(self.from_zero(self.low))
        grown, within = 0, abs(k)
        if within >= self.even:
            grown, within = divmod(within - self.even, self.decade)
            grown, within = grown + 1, within + 10 ** (self.digits - 1)
        size = Decimal(within).scaleb(self.least + grown)
        return size if k >= 0 else -size

    def step(self, number: Decimal) -> Decimal:
        return Decimal(1).scaleb(self.exponent(number))

    def describe(self) -> str:
        return f"to {self.digits} digits"


def digits_of(low: Decimal, high: Decimal, written: Sequence[Decimal]) -> Digits:
    """The scale of numbers from low to high that tells those `written` apart, as far as MOST
    allows, and has none with more decimals."""
    some = [number.normalize().as_tuple() for number in written if number]
    digits = min(FAITHFUL, max((len(one.digits) for one in some), default=1))
    least = max(-FINEST, min((int(one.exponent) for one in some), default=0))
    found = Digits(low, digits, least)
    while found.digits > 1 and found.at(high) > MOST:
        found = found._replace(digits=found.digits - 1)
    return found
