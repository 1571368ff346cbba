"""Sequences of residues as examples, in batches of about one length."""

import itertools
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from unmask.kinds.folder import SPLITS, check_sizes, short_digest
from unmask.kinds.proteins.residues import Residues
from unmask.kinds.sequences import Sequences, count_crops, place_crops

# a bucket's longest sequences are at most so much longer than its shortest, unless it would hold
# less than a batch
SPREAD = 1.125


class ProteinData(Sequences):
    """Sequences of residues.

    A position where it is not known which residue it is has no value: "valid" is False there.  A
    batch has "valid" if it has such a position or padding, and is padded to its longest sequence
    only.  A window is a sequence or, if that is longer, one of its consecutive pieces; a batch with
    pieces has "ends".
    """

    unit = "residue"  # pyrefly: ignore

    def __init__(self, folder: Path, meta: dict):
        if "clusters" in meta:
            sizes = {f"{split}.clusters.bin": meta["document_count"][split] * 8 for split in SPLITS}
            check_sizes(folder, sizes)
        super().__init__(folder, meta)
        self._families: dict[str, np.ndarray] = {}
        self._buckets: dict[tuple[str, int, int], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._places: dict[tuple[str, int], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def batch(
        self, split: str, length: int, batch_size: int, seed: int, step: int, micro: int = 0
    ) -> dict[str, torch.Tensor]:
        """Random sequences of about one length, the same for the same arguments.

        At most batch_size * length positions; sequences longer than `length` are cropped.

        Drawn so that every residue of the split weighs as much as any other in a loss that is
        divided by the residues of its batch, as in scoring: a bucket of sequences of about one
        length, in proportion to its residues, then as many of their crops (`count_crops`) as the
        positions allow, with replacement.
        """
        order, edges, residues = self._plan_buckets(split, length, batch_size)
        random = np.random.default_rng((seed % 2**64, step, micro))
        bucket = int(np.searchsorted(residues, random.integers(int(residues[-1])), side="right"))
        members = order[edges[bucket] : edges[bucket + 1]]
        sizes = np.diff(self.edges(split))[members]
        counts = count_crops(sizes, length)
        ends = np.cumsum(counts)
        rows = max(1, batch_size * length // min(length, int(sizes[0])))
        chosen = random.integers(int(ends[-1]), size=rows)
        which = np.searchsorted(ends, chosen, side="right")
        first, size = place_crops(sizes[which], length, chosen - (ends - counts)[which])
        number = members[which]
        return self._take(split, number, self.edges(split)[number] + first, size)

    def edges(self, split: str) -> np.ndarray:
        """(n + 1,) where in `tokens` each of a split's n sequences begins, and the end."""
        return self._document_edges(split)

    def sequences(self, split: str) -> list[np.ndarray]:
        """The ids (length,) of every sequence of a split, V where the residue is not known."""
        tokens = self.tokens(split)
        return [tokens[first:end] for first, end in itertools.pairwise(self.edges(split))]

    @cached_property
    def tokenizer(self) -> Residues:
        return Residues()

    def describe(self, count: int, positions: int, length: int) -> str:
        windows = f"{positions:,} {self.unit}s in {count:,} windows"
        return f"{windows}, each scored alone; lengths are given and not scored"

    def protocol(self, split: str, length: int) -> list[str]:
        """Which sequences the windows are of."""
        said = [self.whole_or_cut(split, length, "sequences")]
        if bool((np.diff(self.edges(split)) > length).any()):
            said.append("which ends of a sequence a window holds is given, as its length is")
        return said

    def _terms(self) -> dict[str, str]:
        given = "lengths, and which ends of a sequence a window holds"
        return super()._terms() | {"given": given, "denominator": "every residue that is known"}

    def batch_name(self, batch_size: int, length: int) -> str:
        return f"up to {batch_size * length:,} residues of sequences of about one length"

    def window_places(self, split: str, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The number of its sequence, the first residue and the size of every window (n,).

        In the order of `windows`: longest first.
        """
        if (split, length) not in self._places:
            edges, ends = self.edges(split), self._window_ends(split, length)
            number = np.arange(int(ends[-1]))
            document = np.searchsorted(ends, number, side="right")
            before = np.where(document > 0, ends[document - 1], 0)
            start = edges[document] + (number - before) * length
            size = np.minimum(edges[document + 1] - start, length)
            order = np.argsort(-size, kind="stable")
            self._places[split, length] = document[order], start[order], size[order]
        return self._places[split, length]

    def _examples(self, split: str, length: int, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        places = self.window_places(split, length)
        return self._take(split, *(of_all[chosen] for of_all in places))

    def _groups(self, split: str, length: int, chosen: np.ndarray) -> np.ndarray | None:
        """Windows of one sequence, of equal ones and of relatives are not independent."""
        return self.families(split)[self.window_places(split, length)[0][chosen]]

    def families(self, split: str) -> np.ndarray:
        """(n,) numbers from 0, equal for the sequences of a split that are of one cluster.

        Without clusters, for those that are equal.
        """
        if split not in self._families:
            if "clusters" in self.meta:
                kept = np.fromfile(self.folder / f"{split}.clusters.bin", "<i8")
            else:
                digests = [short_digest(row.tobytes()) for row in self.sequences(split)]
                kept = np.array(digests, np.uint64)
            self._families[split] = np.unique(kept, return_inverse=True)[1]
        return self._families[split]

    def describe_groups(self, groups: int, examples: int) -> str:
        what = "clusters" if "clusters" in self.meta else "different sequences"
        return f"over {groups:,} {what}"

    def _take(
        self, split: str, number: np.ndarray, start: np.ndarray, size: np.ndarray
    ) -> dict[str, torch.Tensor]:
        """`size` (B,) residues from `start` (B,) on, of the sequences with these numbers (B,)."""
        place = np.arange(int(size.max()))
        inside = place < size[:, None]
        at = np.where(inside, start[:, None] + place, 0)
        ids = self.known(split, np.asarray(self.tokens(split))[at], missing=True)
        valid = inside & (ids < self.vocab_size)
        batch = {"x": ids}
        if not valid.all():
            batch = {"x": np.where(valid, ids, 0), "valid": valid}
        # of the sequences, not of the pieces
        edges = self.edges(split)
        ends = np.stack([start == edges[number], start + size == edges[number + 1]], -1)
        if not ends.all():
            batch["ends"] = ends
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def _plan_buckets(
        self, split: str, length: int, batch_size: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Buckets of sequences of about one length.

        Sequences (n,), longest first; where each bucket begins, and the end (buckets + 1,); how
        many residues there are up to its end (buckets,).
        """
        if length < 1 or batch_size < 1:
            raise ValueError(f"length {length} and batch_size {batch_size}: give at least 1")
        key = split, length, batch_size
        if key not in self._buckets:
            sizes = np.diff(self.edges(split))
            order = np.argsort(-sizes, kind="stable")
            sizes = sizes[order]
            total = np.concatenate([[0], np.cumsum(sizes)])
            full = batch_size * length  # positions of a batch
            edges = [0]
            while edges[-1] < len(order):
                shortest = min(int(sizes[edges[-1]]), length) / SPREAD
                by_size = np.searchsorted(-sizes, -shortest, side="right")
                by_count = np.searchsorted(total, total[edges[-1]] + full)
                edges.append(int(min(max(by_size, by_count), len(order))))
            if len(edges) > 2 and total[-1] - total[edges[-2]] < full:
                del edges[-2]  # what is left over at the end is too little for a bucket of its own
            self._buckets[key] = order, np.array(edges), total[edges[1:]]
        return self._buckets[key]
