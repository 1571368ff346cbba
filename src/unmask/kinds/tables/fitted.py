"""Bins of a column of numbers, and the law within each, fitted to training rows."""

import itertools
import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from unmask.kinds.tables.bins import Within
from unmask.kinds.tables.columns import Column
from unmask.kinds.tables.numbers import PLAIN, Spelling, parse_number, plainly
from unmask.kinds.tables.scales import MOST, Digits, Even, Scale, digits_of

FREQUENT = 4096  # a number of one row in so many, and of two at least, stays exact
ROWS = 32  # training rows of a cell of the law within a bin
CELLS = 16  # of a bin, at most


def number_column(
    name: str,
    place: int,
    counts: Mapping[str, int],
    bins: int,
    written: Iterable[str] = (),
    spelling: Spelling = PLAIN,
) -> Column:
    """A column of numbers, given how often each spelling of one occurs in training rows.

    written: more spellings, such as those of held-out rows; they decide on nothing but the decimals
    to which numbers count.
    """
    of_number: dict[float, dict[str, int]] = {}
    for text, count in counts.items():
        number: Any = parse_number(text, spelling)
        of_number.setdefault(number, {})[text] = count
    numbers = sorted(of_number)
    often = [sum(of_number[number].values()) for number in numbers]
    values, bounds, bin_of = [], [], np.zeros(len(numbers), np.int64)
    for bin, (low, high) in enumerate(equal_parts(often, bins)):
        inside = often[low:high]
        bin_of[low:high] = bin
        middle = low + int(np.searchsorted(np.cumsum(inside), sum(inside) / 2))
        values.append(usual(of_number[numbers[middle]]))
        if low:
            below, lowest = numbers[low - 1], numbers[low]
            between = below / 2 + lowest / 2
            # neighbouring floats have nothing between them
            bounds.append(between if below < between else lowest)
    texts = [plainly(usual(of_number[number]), spelling) for number in numbers]
    all_of = [plainly(text, spelling) for text in (*counts, *written)]
    within = fit_within(texts, often, bin_of, bounds, all_of)
    return Column(name, place, tuple(values), tuple(bounds), within=within, spelling=spelling)


def usual(spelled: Mapping[str, int]) -> str:
    """The most frequent spelling of a number; of several, the shortest."""
    return max(spelled, key=lambda text: (spelled[text], -len(text), text))


def fit_within(
    texts: Sequence[str],
    often: Sequence[int],
    bin_of: np.ndarray,
    bounds: Sequence[float],
    written: Sequence[str],
) -> Within:
    """The law of a number given its bin.

    texts: the numbers of training rows, rising, each in one spelling; often: how many rows have it;
    bin_of: the bin of each, and `bounds` between bins; written: all spellings.
    """
    numbers = [Decimal(text) for text in texts]
    decimals, places = resolution(written, numbers[-1] - numbers[0])
    scale = scale_of(numbers, decimals, written)
    at = [round(scale.at(number)) for number in numbers]
    end = at[-1] + 1
    begins = [0, *(first_from(scale, bound, end) for bound in bounds), end]
    frequent = max(2, math.ceil(sum(often) / FREQUENT))
    parts, spelled = [], {}
    for bin, (begin, end) in enumerate(itertools.pairwise(begins)):
        mine = np.flatnonzero(bin_of == bin).tolist()
        others: Counter[int] = Counter()
        for i in mine:
            if often[i] < frequent and len(mine) > 1:
                others[at[i]] += often[i]
                continue
            spelled[str(at[i])] = texts[i]
            parts.append((at[i], 1, often[i], bin))
        parts += [(*cell, bin) for cell in cells(others, begin, end)]
        parts.append((begin, max(end - begin, 1), 1, bin))
    first, count, rows, bins = ([int(x) for x in part] for part in zip(*parts, strict=True))
    digits = scale[1:] if isinstance(scale, Digits) else ()
    return Within(texts[0], at[-1], decimals, places, first, count, rows, bins, spelled, *digits)


def first_from(scale: Scale, bound: float, end: int) -> int:
    """The first number of a bin, below `end`: as floats, like the cells of a column, compare."""
    return bisect_left(range(end), True, key=lambda k: float(scale.number(k)) >= bound)


def scale_of(numbers: Sequence[Decimal], decimals: int, written: Iterable[str]) -> Scale:
    """Even steps, unless these make one of two numbers and significant digits make fewer do so."""
    even = Even(numbers[0], decimals)
    if told_apart(even, numbers) == len(numbers):
        return even
    digits = digits_of(numbers[0], numbers[-1], [Decimal(text) for text in written])
    return max(even, digits, key=lambda scale: told_apart(scale, numbers))


def told_apart(scale: Scale, numbers: Sequence[Decimal]) -> int:
    return len({round(scale.at(number)) for number in numbers})


def cells(often: Mapping[int, int], begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(first number, how many, rows) of parts of a bin with about as many rows each.

    `often`: the rows of each number from `begin` to `end`.  Where one part goes over into the next
    lies half way between their numbers.
    """
    numbers, counts = list(often), list(often.values())
    most = min(CELLS, max(1, sum(counts) // ROWS))
    ranges = equal_parts(counts, most) if counts else []
    edges = [begin]
    edges += [(numbers[low - 1] + numbers[low] + 1) // 2 for low, _ in ranges[1:]]
    edges.append(end)
    for (low, high), first, after in zip(ranges, edges, edges[1:], strict=False):
        yield first, max(after - first, 1), sum(counts[low:high])


def resolution(texts: Sequence[str], wide: Decimal) -> tuple[int, int]:
    """The decimals to which numbers count, below 0 for tens and hundreds, and those that are
    written, -1 for as few as do.

    Numbers that are `wide` apart have at most MOST steps between them.
    """
    exponents = {Decimal(text).as_tuple().exponent for text in texts}
    whole = [Decimal(text).normalize() for text in texts]
    decimals = max([-int(n.as_tuple().exponent) for n in whole if n], default=0)
    most = math.floor((Decimal(MOST) / wide).log10()) if wide else decimals
    only = -int(exponents.pop()) if len(exponents) == 1 else -1
    return min(decimals, most), only if only >= decimals else -1


def equal_parts(often: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Consecutive parts of a list of counts, at most so many, of about equal sums."""
    if len(often) <= most:
        return [(i, i + 1) for i in range(len(often))]
    parts, low, left = [], 0, sum(often)
    for remaining in range(most, 0, -1):
        high, inside = low + 1, often[low]
        while high < len(often):
            # the next count belongs to this part if it brings the sum nearer to its share
            if remaining > 1 and inside + often[high] / 2 > left / remaining:
                break
            inside += often[high]
            high += 1
        parts.append((low, high))
        low, left = high, left - inside
        if low == len(often):
            break
    return parts
