"""Token data as written by `prepare_text`: batches for training and windows for evaluation."""

import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from unmask.data.tokenizers import Tokenizer, load_tokenizer

FORMAT = 1
SPLITS = ("train", "validation", "test")
KEYS = ("format", "kind", "tokenizer", "vocab_size", "dtype", "documents", "eot", "tokens", "document_count")


def open_data(folder: str | Path) -> "TokenData":
    """The data in a folder that `prepare_text` wrote. Raises ValueError for a missing, foreign or truncated file."""
    folder = Path(folder)
    path = folder / "meta.json"
    if not path.is_file():
        raise ValueError(f"{path} is missing: name a folder that unmask prepare made")
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): prepare the data again") from error
    found = (meta.get("format"), meta.get("kind")) if isinstance(meta, dict) else (None, None)
    if found != (FORMAT, "text"):
        raise ValueError(f"{path}: format {found[0]!r} of kind {found[1]!r}, expected {FORMAT!r} of kind 'text'")
    if missing := [key for key in KEYS if key not in meta]:
        raise ValueError(f"{path} has no {missing[0]!r}: prepare the data again")
    try:
        sizes = {f"{split}.bin": meta["tokens"][split] * np.dtype(meta["dtype"]).itemsize for split in SPLITS}
        if meta["documents"] == "apart":
            sizes |= {f"{split}.documents.bin": meta["document_count"][split] * 8 for split in SPLITS}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error}): prepare the data again") from None
    for name, expected in sizes.items():
        size = (folder / name).stat().st_size if (folder / name).is_file() else None
        if size != expected:
            found = "is missing" if size is None else f"has {size} bytes"
            raise ValueError(f"{folder / name} {found}, expected {expected} bytes: copy or prepare the data again")
    return TokenData(folder, meta)


class TokenData:
    """Splits of tokens: `meta` (what meta.json holds), `vocab_size`, and `splits`, the names of those that have tokens.

    A document here is what no window crosses: each document where they are kept apart, otherwise the whole split.
    """

    def __init__(self, folder: Path, meta: dict):
        self.folder, self.meta = folder, meta
        self.vocab_size: int = meta["vocab_size"]
        self.splits = tuple(split for split in SPLITS if meta["tokens"][split])
        self._tokens: dict[str, np.memmap] = {}
        self._edges: dict[str, np.ndarray] = {}
        self._plans: dict[tuple[str, int, int], tuple[np.ndarray, bool]] = {}

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.meta["tokenizer"], self.folder)

    @property
    def unit(self) -> str:
        """What a token is, singular: "byte", "character" or "token"."""
        return {"bytes": "byte", "characters": "character"}.get(self.meta["tokenizer"]["name"], "token")

    def tokens(self, split: str) -> np.memmap:
        """All tokens of a split (n,), read-only, in the type in which they are stored."""
        self._check(split)
        if split not in self._tokens:
            self._tokens[split] = np.memmap(self.folder / f"{split}.bin", np.dtype(self.meta["dtype"]).newbyteorder("<"), "r")
        return self._tokens[split]

    def batch(self, split: str, length: int, batch_size: int, seed: int, step: int, micro: int = 0) -> dict[str, torch.Tensor]:
        """Random windows, the same for the same arguments: {"x": (batch_size, length) int64}.

        Drawn with replacement and uniformly from all windows that lie within a document. A document shorter than
        `length` is one window, padded with 0; if the split has any, every batch has "valid" (batch_size, length), bool.
        """
        ends, _ = self._plan(split, length, stride=1)
        total = self.meta["tokens"][split]
        if length > total and self.meta["documents"] != "apart":
            raise ValueError(f"length {length} is more than the {total} tokens of the split {split!r}: use a smaller one")
        random = np.random.default_rng((seed, step, micro))
        chosen = random.integers(int(ends[-1]), size=batch_size)
        return self._gather(split, length, 1, chosen)

    def windows(self, split: str, length: int, batch_size: int, limit: int | None = None) -> Iterator[dict[str, torch.Tensor]]:
        """Consecutive windows that hold each token of the split once, in batches of `batch_size` or, the last, fewer.

        A document's last window is padded with 0; if any is, every batch has "valid" (B, length), bool.
        limit: at most so many windows, evenly spread over the split.
        """
        if batch_size < 1 or (limit is not None and limit < 1):
            raise ValueError(f"batch_size {batch_size} and limit {limit}: give at least 1")
        count = self.window_count(split, length)
        shown = min(count, limit or count)

        def batches() -> Iterator[dict[str, torch.Tensor]]:
            for first in range(0, shown, batch_size):
                ranks = np.arange(first, min(first + batch_size, shown))
                chosen = (2 * ranks + 1) * count // (2 * shown)  # the middle of each of `shown` equal parts
                yield self._gather(split, length, length, chosen)

        return batches()

    def window_count(self, split: str, length: int) -> int:
        """The number of windows that `windows` gives without a limit."""
        ends, _ = self._plan(split, length, stride=length)
        return int(ends[-1])

    def _plan(self, split: str, length: int, stride: int) -> tuple[np.ndarray, bool]:
        """Numbers the windows that begin every `stride` tokens of a document until one reaches its end.

        Returns the number of windows up to and with each document (documents,), and whether any window is padded.
        """
        if length < 1:
            raise ValueError(f"length {length}: give at least 1")
        edges = self._document_edges(split)
        if (split, length, stride) not in self._plans:
            sizes = np.diff(edges)
            counts = np.maximum(-((length - sizes) // stride) + 1, 1)
            padded = bool(((counts - 1) * stride + length > sizes).any())
            self._plans[split, length, stride] = (np.cumsum(counts), padded)
        return self._plans[split, length, stride]

    def _gather(self, split: str, length: int, stride: int, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        """The windows with the numbers `chosen` (B,)."""
        edges = self._document_edges(split)
        ends, padded = self._plan(split, length, stride)
        document = np.searchsorted(ends, chosen, side="right")
        before = np.where(document > 0, ends[document - 1], 0)
        start = edges[document] + (chosen - before) * stride
        places = start[:, None] + np.arange(length)
        valid = places < edges[document + 1][:, None]
        assert padded or valid.all()
        x = np.asarray(self.tokens(split))[np.where(valid, places, 0)].astype(np.int64)
        if not padded:
            return {"x": torch.from_numpy(x)}
        return {"x": torch.from_numpy(np.where(valid, x, 0)), "valid": torch.from_numpy(valid)}

    def _document_edges(self, split: str) -> np.ndarray:
        """Offsets (documents + 1,) between documents, from 0 to the number of tokens."""
        self._check(split)
        if split not in self._edges:
            total = self.meta["tokens"][split]
            begins = np.zeros(1, np.int64)
            if self.meta["documents"] == "apart":
                begins = np.fromfile(self.folder / f"{split}.documents.bin", "<i8")
            edges = np.append(begins, total)
            if edges[0] != 0 or (np.diff(edges) <= 0).any():
                raise ValueError(f"{split}.documents.bin in {self.folder} is damaged: copy or prepare the data again")
            self._edges[split] = edges
        return self._edges[split]

    def _check(self, split: str) -> None:
        if split not in SPLITS:
            raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
        if split not in self.splits:
            raise ValueError(f"the split {split!r} is empty: prepare the data with another split, or use {', '.join(self.splits)}")
