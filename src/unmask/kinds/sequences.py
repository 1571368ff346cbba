"""Sequences of tokens, as windows of a stream or each by itself.

Windows, for evaluation, cut a sequence longer than a length into consecutive pieces, from its
beginning on; crops, for training, do so from a random place.  Windows hold every token once, and
all tokens are as likely to be in a crop.
"""

import math
from pathlib import Path

import numpy as np
import torch

from unmask.kinds.data import Data
from unmask.kinds.folder import SPLITS, check_sizes, facts_of_meta


def count_crops(sizes: np.ndarray, length: int) -> np.ndarray:
    """(n,) how many crops of at most `length` tokens sequences of `sizes` (n,) have.

    Every token is in `length` of them.  A sequence up to `length` is whole in each.  A longer one
    has every piece of `length` that overlaps it, cut off at its ends: those of all ways to cut it
    into consecutive pieces.
    """
    return np.where(sizes > length, sizes + length - 1, length)


def place_crops(
    sizes: np.ndarray, length: int, number: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The first token and the size, each (B,), of some crops of sequences of `sizes` (B,).

    number: (B,) which of the crops of `count_crops`, from 0.
    """
    begin = np.where(sizes > length, number - (length - 1), 0)
    first = np.maximum(begin, 0)
    return first, np.minimum(begin + length, sizes) - first


class Sequences(Data):
    """Splits that are cut into windows and crops.

    A document here is what no window crosses: each document where they are kept apart, otherwise
    the whole split.
    """

    def __init__(self, folder: Path, meta: dict):
        with facts_of_meta(folder):
            size = np.dtype(meta["dtype"]).itemsize
            sizes = {f"{split}.bin": meta["tokens"][split] * size for split in SPLITS}
            if meta["documents"] == "apart":
                counts = meta["document_count"]
                sizes |= {f"{split}.documents.bin": counts[split] * 8 for split in SPLITS}
        check_sizes(folder, sizes)
        super().__init__(folder, meta)
        self._edges: dict[str, np.ndarray] = {}
        self._ends: dict[tuple[str, int], np.ndarray] = {}
        self._crops: dict[tuple[str, int], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def batch(
        self, split: str, length: int, batch_size: int, seed: int, step: int, micro: int = 0
    ) -> dict[str, torch.Tensor]:
        """Random crops, the same for the same arguments: {"x": (batch_size, length) int64}.

        Drawn with replacement so that every token of the split is as likely as the others, as in
        scoring: see `count_crops`.  A crop shorter than `length` is padded with 0, and "valid"
        (batch_size, length), bool, is False there: in every batch where documents are kept apart,
        otherwise in those that hold an end of the split.
        """
        edges = self._document_edges(split)
        total = int(edges[-1])
        if length < 1:
            raise ValueError(f"length {length}: give at least 1")
        apart = self.meta["documents"] == "apart"
        if length > total and not apart:
            found = f"length {length} is more than the {total} tokens of the split {split!r}"
            raise ValueError(f"{found}: use a smaller one")
        sizes, counts, ends = self._crops_of(split, length)
        chosen = np.random.default_rng((seed % 2**64, step, micro)).integers(
            int(ends[-1]), size=batch_size
        )
        document = np.searchsorted(ends, chosen, side="right")
        first, size = place_crops(sizes[document], length, chosen - (ends - counts)[document])
        return self._pad(split, edges[document] + first, size, length, apart and length > 1)

    def window_count(self, split: str, length: int) -> int:
        """Consecutive windows hold each token of the split once.

        A document's last one is padded with 0.  If any is, every batch has "valid" (B, length),
        bool.
        """
        return int(self._window_ends(split, length)[-1])

    def whole_or_cut(self, split: str, length: int, what: str) -> str:
        """How many documents the windows of a split are of, and how many of them are cut."""
        sizes = np.diff(self._document_edges(split))
        cut = int((sizes > length).sum())
        pieces = f"none longer than {length}"
        if cut:
            pieces = f"{cut:,} longer than {length}, cut into windows of at most so many"
        return f"of {len(sizes):,} {what}, {pieces}"

    def _terms(self) -> dict[str, str]:
        if self.meta["documents"] == "apart":
            how, given = "each document alone, longer ones cut into consecutive windows", "lengths"
        else:
            how, given = "documents joined, in consecutive windows, the last one shorter", "nothing"
        counted = f"every {self.unit}"
        if self.meta["documents"] == "joined":
            counted += ", end-of-text marks included"
        return {"packing": how, "given": given, "denominator": counted}

    def _examples(self, split: str, length: int, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        edges, ends = self._document_edges(split), self._window_ends(split, length)
        document = np.searchsorted(ends, chosen, side="right")
        before = np.where(document > 0, ends[document - 1], 0)
        start = edges[document] + (chosen - before) * length
        size = np.minimum(edges[document + 1] - start, length)
        padded = bool((np.diff(edges) % length).any())
        return self._pad(split, start, size, length, padded)

    def _groups(self, split: str, length: int, chosen: np.ndarray) -> np.ndarray | None:
        """Neighbouring windows are not independent: of n, about sqrt(n) make a group."""
        return chosen // math.isqrt(self.window_count(split, length))

    def _crops_of(self, split: str, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(documents,) sizes, numbers of crops, and numbers of crops up to the end of each."""
        if (split, length) not in self._crops:
            sizes = np.diff(self._document_edges(split))
            counts = count_crops(sizes, length)
            self._crops[split, length] = sizes, counts, np.cumsum(counts)
        return self._crops[split, length]

    def _window_ends(self, split: str, length: int) -> np.ndarray:
        """(documents,) how many windows there are up to the end of each document."""
        if length < 1:
            raise ValueError(f"length {length}: give at least 1")
        edges = self._document_edges(split)
        if (split, length) not in self._ends:
            self._ends[split, length] = np.cumsum(-(-np.diff(edges) // length))
        return self._ends[split, length]

    def _pad(
        self, split: str, start: np.ndarray, size: np.ndarray, length: int, padded: bool
    ) -> dict[str, torch.Tensor]:
        """`size` (B,) tokens from `start` (B,) on, as rows of `length`.

        With "valid" if `padded`, or if a row is shorter.
        """
        place = np.arange(length)
        valid = place < size[:, None]
        chosen = np.where(valid, start[:, None] + place, 0)
        x = self.known(split, np.asarray(self.tokens(split))[chosen])
        if not padded and valid.all():
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
                damaged = f"{split}.documents.bin in {self.folder} is damaged"
                raise ValueError(f"{damaged}: copy or prepare the data again")
            self._edges[split] = edges
        return self._edges[split]
