"""What a folder of prepared data is to training and evaluation: batches, windows, their names."""

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from unmask.kinds.folder import SPLITS, verify
from unmask.roles import SCORED

BLOCK = 1 << 20  # tokens looked at together
TERMS = ("packing", "given", "denominator")  # that a protocol's folder has in its meta.json


class Beyond(NamedTuple):
    """What an example costs beyond its tokens, on average over a split."""

    nats: float
    columns: list[float]  # of each of the columns of examples
    density: float  # what the nats of a density are more than those of tokens and this
    what: str  # all of it is the bound of, in words
    notes: list[str]
    unsaid: str = ""  # why none of it can be trusted, in words
    stderr: float = math.nan  # of `nats`, over examples; NaN: not known


class Data:
    """Splits of tokens.

    It has `meta` (what meta.json holds), `vocab_size`, and `splits`, the names of those that have
    tokens.
    """

    unit = "token"  # what a position is, singular
    example = ""  # what an example is, where its nats are worth telling
    perplexity = False  # whether it is customary, per position
    length = 0  # tokens of an example, where the data fixes it
    classes = 0  # labels that examples can have
    hides = False  # whether some positions are never seen, and not paid for (`roles.UNKNOWN`)

    def __init__(self, folder: Path, meta: dict):
        self.folder, self.meta = folder, meta
        self.vocab_size: int = meta["vocab_size"]
        self.splits = tuple(split for split in SPLITS if meta["tokens"][split])
        self._tokens: dict[str, np.memmap] = {}

    @cached_property
    def tokenizer(self) -> Any:
        """What turns tokens into what they stand for, and back."""
        raise NotImplementedError

    def tokens(self, split: str) -> np.memmap:
        """All tokens of a split (n,), read-only, in the type in which they are stored."""
        self._check(split)
        if split not in self._tokens:
            verify(self.folder, self.meta["sha256"], split)
            stored = np.dtype(self.meta["dtype"]).newbyteorder("<")
            self._tokens[split] = np.memmap(self.folder / f"{split}.bin", stored, "r")
        return self._tokens[split]

    def occurring(self, split: str) -> np.ndarray:
        """(V,) bool: the values that a split has."""
        found = np.zeros(self.vocab_size, bool)
        tokens = self.tokens(split)
        for start in range(0, len(tokens), BLOCK):
            some = tokens[start : start + BLOCK]
            found[some[some < self.vocab_size]] = True
        return found

    def known(self, split: str, stored: np.ndarray, missing: bool = False) -> np.ndarray:
        """Tokens of a split as int64.  ValueError for one that there is not.

        `missing`: `vocab_size` stands for no value.
        """
        x = stored.astype(np.int64)
        low, high = x.min(initial=0), x.max(initial=0)
        if low < 0 or high >= self.vocab_size + missing:
            strange = low if low < 0 else high
            raise ValueError(
                f"{self.folder / split}.bin is damaged: token {strange} of "
                f"{self.vocab_size} values: copy or prepare the data again"
            )
        return x

    def batch(
        self, split: str, length: int, batch_size: int, seed: int, step: int, micro: int = 0
    ) -> dict[str, torch.Tensor]:
        """Random examples, the same for the same arguments.

        "x" (batch_size, length) int64, and "valid", "cond", "ends" where there are any.
        """
        raise NotImplementedError

    def windows(
        self, split: str, length: int, batch_size: int, limit: int | None = None
    ) -> Iterator[dict[str, torch.Tensor]]:
        """The examples of a split, each once, in batches of `batch_size` or, the last, fewer.

        Keys are as in `batch`; "group" (B,) int64 besides, where examples are not independent:
        those of one number.  limit: at most so many, evenly spread over the split.
        """
        if batch_size < 1 or (limit is not None and limit < 1):
            raise ValueError(f"batch_size {batch_size} and limit {limit}: give at least 1")
        count = self.window_count(split, length)
        shown = min(count, limit or count)

        def batches() -> Iterator[dict[str, torch.Tensor]]:
            for first in range(0, shown, batch_size):
                ranks = np.arange(first, min(first + batch_size, shown))
                # the middle of each of `shown` equal parts
                chosen = (2 * ranks + 1) * count // (2 * shown)
                batch = self._examples(split, length, chosen)
                groups = self._groups(split, length, chosen)
                if groups is not None:
                    batch = batch | {"group": torch.from_numpy(groups)}
                yield batch

        return batches()

    def whole_windows(self, split: str, length: int, most: int) -> dict[str, torch.Tensor]:
        """Of at most so many windows, those all of which is known, as one batch."""
        batch = next(self.windows(split, length, most, limit=most))
        known = torch.ones_like(batch["x"], dtype=torch.bool)
        if "valid" in batch:
            known = batch["valid"]
        if "role" in batch:
            known = batch["role"] == SCORED
        names = [name for name in ("x", "cond", "ends") if name in batch]
        return {name: batch[name][known.all(1)] for name in names}

    def window_count(self, split: str, length: int) -> int:
        """The number of examples that `windows` gives without a limit."""
        raise NotImplementedError

    def describe(self, count: int, positions: int, length: int) -> str:
        """So many examples and scored positions, in words."""
        raise NotImplementedError

    def describe_groups(self, groups: int, examples: int) -> str:
        """What the error over so many examples, in so many groups, is over, in words."""
        return f"over {examples:,} examples"

    def protocol(self, split: str, length: int) -> list[str]:
        """What else is to be said of a number on this split."""
        return []

    def beyond(self, split: str) -> Beyond | None:
        """What an example of a split costs beyond its tokens, where tokens leave something open."""
        return None

    def terms(self) -> dict[str, str]:
        """What two numbers on these data have in common, in words: "packing", how examples are made
        of a source; what is "given"; and the "denominator", which positions are counted."""
        own = self.meta.get("protocol", {})
        return self._terms() | {name: own[name] for name in TERMS if name in own}

    def byte_counts(self, batch: dict[str, torch.Tensor]) -> np.ndarray | None:
        """(B,) bytes of text that the scored positions of a batch stand for; None: it is no text,
        or none is known."""
        return None

    def batch_name(self, batch_size: int, length: int) -> str:
        """A batch, in words."""
        return f"{batch_size} x {length} {self.unit}s"

    def _terms(self) -> dict[str, str]:
        counted = f"every {self.unit}"
        return {"packing": "each example whole", "given": "nothing", "denominator": counted}

    def _examples(self, split: str, length: int, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        """Those with the numbers `chosen` (B,)."""
        raise NotImplementedError

    def _groups(self, split: str, length: int, chosen: np.ndarray) -> np.ndarray | None:
        """(B,) a number for each of `chosen`, equal where they are not independent, or None."""
        return None

    def _check(self, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
        if split not in self.splits:
            others = ", ".join(self.splits)
            fix = f"prepare the data with another split, or use {others}"
            raise ValueError(f"the split {split!r} is empty: {fix}")


class Whole(Data):
    """Examples that all have `length` tokens, each of them whole: pictures, rows of a table."""

    counted = ""  # where meta.json says how many a split has
    whole = ""  # what has so many tokens, for messages

    def batch(
        self, split: str, length: int, batch_size: int, seed: int, step: int, micro: int = 0
    ) -> dict[str, torch.Tensor]:
        """Random examples, drawn with replacement."""
        count = self.window_count(split, length)
        random = np.random.default_rng((seed % 2**64, step, micro))
        return self._examples(split, length, random.integers(count, size=batch_size))

    def window_count(self, split: str, length: int) -> int:
        self._check(split)
        if length != self.length:
            fixed = f"these {self.whole}, and an example is a whole one"
            raise ValueError(f"length {length}: {fixed}: give 0 or that")
        return self.meta[self.counted][split]
