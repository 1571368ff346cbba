"""Token data as written by `prepare_text`: batches for training and windows for evaluation."""

from pathlib import Path

import numpy as np
import torch

from unmask.data.folder import SPLITS, Data, check_sizes

KEYS = ("format", "kind", "tokenizer", "vocab_size", "dtype", "documents", "eot", "tokens", "document_count")


class TokenData(Data):
    """A document here is what no window crosses: each document where they are kept apart, otherwise the whole split."""

    def __init__(self, folder: Path, meta: dict):
        try:
            sizes = {f"{split}.bin": meta["tokens"][split] * np.dtype(meta["dtype"]).itemsize for split in SPLITS}
            if meta["documents"] == "apart":
                sizes |= {f"{split}.documents.bin": meta["document_count"][split] * 8 for split in SPLITS}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{folder / 'meta.json'} is damaged ({error}): prepare the data again") from None
        check_sizes(folder, sizes)
        super().__init__(folder, meta)
        self._edges: dict[str, np.ndarray] = {}
        self._plans: dict[tuple[str, int, int], tuple[np.ndarray, bool]] = {}

    @property
    def unit(self) -> str:  # pyrefly: ignore
        """What a token is, singular: "byte", "character" or "token"."""
        return {"bytes": "byte", "characters": "character"}.get(self.meta["tokenizer"]["name"], "token")

    def describe(self, count: int, positions: int, length: int) -> str:
        return f"{positions:,} {self.unit}s in {count:,} windows of {length}, each scored alone"

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

    def window_count(self, split: str, length: int) -> int:
        """Consecutive windows hold each token of the split once; a document's last one is padded with 0.

        If any is padded, every batch has "valid" (B, length), bool.
        """
        ends, _ = self._plan(split, length, stride=length)
        return int(ends[-1])

    def _examples(self, split: str, length: int, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        return self._gather(split, length, length, chosen)

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
