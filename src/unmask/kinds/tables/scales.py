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
    """0 and what can be written with so many significant digits, from 10**least on; of either sign.

    What is smaller lies between 0 and the first of them.
    """

    low: Decimal
    digits: int
    least: int

    @property
    def decade(self) -> int:
        """How many numbers there are from a power of ten to the next."""
        return 9 * 10 ** (self.digits - 1)

    def from_zero(self, number: Decimal) -> Decimal:
        size, exponent = abs(number), number.adjusted()
        if not number or exponent < self.least:
            return number.scaleb(-self.least)
        decades = (exponent - self.least) * self.decade
        within = (size.scaleb(-exponent) - 1).scaleb(self.digits - 1)
        return (1 + decades + within).copy_sign(number)

    def at(self, number: Decimal) -> Decimal:
        return self.from_zero(number) - round(self.from_zero(self.low))

    def number(self, k: int) -> Decimal:
        k += round(self.from_zero(self.low))
        if not k:
            return Decimal(0)
        decades, within = divmod(abs(k) - 1, self.decade)
        size = Decimal(10 ** (self.digits - 1) + within).scaleb(
            self.least + decades - self.digits + 1
        )
        return size if k > 0 else -size

    def step(self, number: Decimal) -> Decimal:
        exponent = number.adjusted() if number else self.least
        below = exponent < self.least  # the first from 0 on
        last = self.least if below or not number else exponent - self.digits + 1
        return Decimal(1).scaleb(last)

    def describe(self) -> str:
        return f"to {self.digits} digits"


def digits_of(low: Decimal, high: Decimal, written: Sequence[Decimal]) -> Digits:
    """The scale of numbers from low to high that tells those `written` apart, as far as MOST
    allows."""
    some = [number.normalize() for number in written if number]
    digits = min(FAITHFUL, max((len(number.as_tuple().digits) for number in some), default=1))
    least = min((number.adjusted() for number in some), default=0)
    found = Digits(low, digits, least)
    while found.digits > 1 and found.at(high) > MOST:
        found = found._replace(digits=found.digits - 1)
    return found
