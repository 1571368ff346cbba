"""Examples side by side in a batch, and the windows in which longer ones are filled."""

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.alphabets import Alphabets
from unmask.batch import told
from unmask.kinds.kind import Partial
from unmask.labels import check_unlabelled
from unmask.masks import BLOCK
from unmask.roles import GIVEN, HOLE

WINDOWS = 2**24  # more windows than an example has
NUMBERS = 2**36  # of examples, as many as `masks_of` tells apart


class Rows(NamedTuple):
    """Examples side by side, padded to the longest."""

    z: Tensor  # (B, S*L); all of these are on the CPU
    holes: Tensor  # (B, S) bool: to be filled in
    unknown: Tensor  # (B, S) bool: masked, and staying so
    valid: Tensor  # (B, S) bool: not the padding, nor what is absent
    cond: Tensor | None  # (B,) labels
    ends: Tensor | None = None  # (B, 2) bool, of windows: whether they hold the ends of their rows

    def part(self, at: slice, digits: int) -> "Rows":
        """The tokens `at` of every row, of so many `digits` each; views, so that what is filled in
        there is filled in here."""
        outside = self.valid[:, : at.start].any(1), self.valid[:, at.stop :].any(1)
        return Rows(
            self.z[:, at.start * digits : at.stop * digits],
            self.holes[:, at],
            self.unknown[:, at],
            self.valid[:, at],
            self.cond,
            ~torch.stack(outside, 1),
        )

    def told(self, device=None) -> dict[str, Tensor]:
        """What a network is told of the rows, without what goes without saying."""
        valid = None if bool(self.valid.all()) else self.valid
        ends = None if self.ends is None or bool(self.ends.all()) else self.ends
        return told(device, self.cond, valid, ends)


def numbered(batches: list[list[int]], num: int) -> list[list[int]]:
    """For each row of each batch, which names its example, a number of its own among the `num`
    fillings of all examples."""
    before: Counter[int] = Counter()
    found = []
    for batch in batches:
        found.append([])
        for i in batch:
            found[-1].append(num * i + before[i])
            before[i] += 1
    return found


def labels_of(model: Any, examples: Sequence[Partial]) -> Tensor | None:
    """(B,) the labels of examples, or None where none has one; ValueError where some have, and
    where the model needs them."""
    labels = [example.label for example in examples if example.label is not None]
    if labels and len(labels) < len(examples):
        raise ValueError(
            f"{len(labels)} of {len(examples)} examples have a label: give all of them one, or none"
        )
    if not labels:
        check_unlabelled(model, "give its class, with --label or as the label of the example")
        return None
    return torch.tensor(labels)


def masks_of(number: int, window: int) -> int:
    """The example in `masks` whose draws are those of a window of an example of this number, below
    NUMBERS.

    Each window has a block of examples to itself: no two of them share strata, so that their
    noises are independent and add up in squares.
    """
    return BLOCK * (WINDOWS * number + window)


def with_holes(examples: Sequence[Partial]) -> list[int]:
    """The numbers of the examples that have a hole."""
    return [i for i, example in enumerate(examples) if (example.role == HOLE).any()]


def seen(example: Partial, length: int, *, filled: bool = False) -> np.ndarray:
    """The ids (n,) that a network is shown of an example, in `windows` of at most `length` tokens;
    `filled`: its holes hold values, as where it is scored."""
    holes = example.role == HOLE
    inside = np.zeros_like(holes)
    for at, _ in windows(torch.from_numpy(holes), length):
        inside[at] = True
    return example.ids[inside & ((example.role == GIVEN) | (filled & holes))]


def given(examples: Sequence[Partial], length: int, file: str) -> Iterator[tuple[str, np.ndarray]]:
    """Of each example of a file that has a hole its place, and what is `seen` of it."""
    for i in with_holes(examples):
        yield f"example {i + 1} of {file}", seen(examples[i], length)


def check_known(model: Alphabets, tokenizer: Any, shown: Iterable[tuple[str, np.ndarray]]) -> None:
    """ValueError for ids (n,) that the network does not know, wherever they stand, with the place
    that has them."""
    if model.allowed is None or model.allowed.ndim == 2:
        return
    known = model.allowed.cpu().numpy()
    for place, ids in shown:
        unknown = ids[~known[ids]]
        if len(unknown):
            value = int(unknown[0])
            raise ValueError(
                f"{place} has {tokenizer.spell(value)} (value {value}), which the network "
                "does not know: leave out what has it"
            )


def rows_at_a_time(asked: int, length: int) -> int:
    """--batch-size as `asked`; where that is 0, by the length of an example in digits."""
    if asked < 0:
        raise ValueError(f"--batch-size must not be negative, not {asked}")
    return asked or max(64, 16384 // length)


def windows(holes: Tensor, length: int) -> Iterator[tuple[slice, Tensor]]:
    """Where to fill the holes (S,) of an example: windows, and which positions (W,) bool of each.

    A window has at most `length` tokens.  A longer example is filled from left to right, a group of
    holes at a time, in the window around the group's middle.  A group spans so little that the
    network sees, on either side of each of its holes, a quarter of a window or all there is.
    """
    total = len(holes)
    if total <= length:
        yield slice(0, total), holes
        return
    left, quarter = holes.nonzero()[:, 0].tolist(), length // 4
    last = total - length  # where the last window starts
    while left:
        # the group: what fits into a window that starts a quarter before its first hole
        start = min(max(left[0] - quarter, 0), last)
        limit = total if start == last else start + length - quarter
        group = list(itertools.takewhile(lambda i, limit=limit: i < limit, left))
        # its window: around its middle
        start = min(max((group[0] + group[-1] + 1) // 2 - length // 2, 0), last)
        fill = torch.zeros(length, dtype=torch.bool)
        fill[torch.tensor(group) - start] = True
        yield slice(start, start + length), fill
        left = left[len(group) :]
