"""Protein sequences made into a memory map of tokens, and read from it.

`prepare_proteins` writes a folder:

    train.bin, validation.bin, test.bin    the residues, a byte each, sequence after sequence; V where it is not known which
    *.documents.bin                        the offset at which each sequence begins, int64
    meta.json                              the counts, the lengths of the training sequences, the checksums; `open_data` reads it
"""

import itertools
import json
from array import array
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from unmask.data.fasta import read_fasta
from unmask.data.folder import (
    FORMAT,
    SPLITS,
    check_new,
    cut_by_digest,
    new_folder,
    parse_split,
    progress_bars,
    short_digest,
)
from unmask.data.residues import LETTERS, Residues
from unmask.data.sources import BLOCK, describe_source, list_files, sha256
from unmask.data.tokens import KEYS as OF_TOKENS
from unmask.data.tokens import TokenData, count_crops, place_crops

KEYS = (*OF_TOKENS, "lengths")
NUCLEOTIDES = [LETTERS.index(letter) for letter in "ACGTUN"]
SPREAD = 1.125  # a bucket's longest sequences are at most so much longer than its shortest, unless it would hold less than a batch


def prepare_proteins(
    source: str | Path,
    out: str | Path,
    *,
    split: str = "0.9,0.05,0.05",
    validation: str | Path | None = None,
    test: str | Path | None = None,
    progress: bool = True,
) -> dict:
    """Write the sequences of `source` to the new folder `out`, whole or not at all; returns what meta.json holds.

    source: a FASTA file, also .gz or .xz, or a folder of such files; see `fasta.parse_fasta` for what is read how.
    split: three fractions that sum to 1, or three counts of sequences, one of which may be -1 (the rest); cut in an order by a hash of
        the sequence, so that equal ones are in one split and the order of the file does not matter.  Homologues are not kept together.
    validation, test: sources of their own; the whole of `source` is then for training and `split` is not used.

    Raises ValueError, and leaves nothing behind, for a source that does not do.
    """
    out = Path(out).absolute()
    check_new(out)
    shares = parse_split(split)
    roots = {name: Path(root) for name, root in zip(SPLITS, (source, validation, test), strict=True) if root}
    sources = {name: list_files(root) for name, root in roots.items()}
    bar = progress_bars(sum(path.stat().st_size for files in sources.values() for path in files), progress)
    with new_folder(out) as folder:
        edges, digests = {}, {}
        with bar("proteins") as shown:
            for name, files in sources.items():
                edges[name], digests[name], counts = write_sequences(folder / f"{name}.bin", files, shown)
                check_counts(counts, roots[name])
        distinct = len(np.unique(digests["train"]))
        if len(sources) == 1:
            edges = cut_sequences(folder, edges["train"], cut_by_digest(digests["train"], shares, "sequences"))
        for name in SPLITS:
            (folder / f"{name}.bin").touch()
            edges.setdefault(name, np.zeros(1, np.int64))[:-1].astype("<i8").tofile(folder / f"{name}.documents.bin")
        lengths = Counter(np.diff(edges["train"]).tolist())
        meta = {
            "format": FORMAT,
            "kind": "proteins",
            "tokenizer": Residues().spec(),
            "vocab_size": Residues.vocab_size,
            "dtype": "uint8",
            "documents": "apart",
            "eot": None,
            "split": split if len(sources) == 1 else "files",
            "tokens": {name: int(edges[name][-1]) for name in SPLITS},
            "unknown": {name: count_unknown(folder / f"{name}.bin") for name in SPLITS},
            "document_count": {name: len(edges[name]) - 1 for name in SPLITS},
            "distinct": distinct,
            "lengths": {str(length): lengths[length] for length in sorted(lengths)},
            "source": [describe_source(roots[name], files) for name, files in sources.items()],
            "sha256": {path.name: sha256(path) for path in sorted(folder.iterdir())},
        }
        (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return meta


def write_sequences(path: Path, files: list[Path], bar: tqdm) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write the residues of all records: the edges between them (n + 1,), their digests (n,), how often each id occurs (V + 1,)."""
    edges, digests, counts = array("q", [0]), array("Q"), np.zeros(Residues.vocab_size + 1, np.int64)
    with open(path, "wb") as stream:
        for file in files:
            for record in read_fasta(file, bar):
                stream.write(record.ids.tobytes())
                edges.append(edges[-1] + len(record.ids))
                digests.append(short_digest(record.letters.encode()))
                counts += np.bincount(record.ids, minlength=len(counts))
    return np.array(edges), np.array(digests), counts


def check_counts(counts: np.ndarray, source: Path) -> None:
    """ValueError for nucleotides, whose letters are all residues', too, and where no residue is known."""
    known = counts[:-1]
    if not known.any():
        raise ValueError(f"{source} has no residue that is known: give a FASTA file of proteins")
    if known.sum() > 100 and known.sum() == known[NUCLEOTIDES].sum():
        raise ValueError(f"{source} has the letters of nucleotides and no others: translate it into proteins first")


def cut_sequences(folder: Path, edges: np.ndarray, chosen: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Cut train.bin, which holds everything, into splits of the sequences `chosen`, in the order of the file; the edges of each."""
    (folder / "train.bin").rename(folder / "all.bin")
    everything, found = np.memmap(folder / "all.bin", np.uint8, "r"), {}
    for name, numbers in chosen.items():
        numbers = np.sort(numbers)
        with open(folder / f"{name}.bin", "wb") as stream:
            for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
                if len(run):
                    stream.write(everything[edges[run[0]] : edges[run[-1] + 1]].tobytes())
        found[name] = np.concatenate([[0], np.cumsum(np.diff(edges)[numbers])]).astype(np.int64)
    del everything
    (folder / "all.bin").unlink()
    return found


def count_unknown(path: Path) -> int:
    """How many of a file's ids are no residue's."""
    with open(path, "rb") as stream:
        return sum(part.count(Residues.vocab_size) for part in iter(lambda: stream.read(BLOCK), b""))


class ProteinData(TokenData):
    """Sequences of residues.  A position where it is not known which residue it is has no value: "valid" is False there.

    A batch has "valid" if it has such a position or padding, and is padded to its longest sequence only.
    """

    unit = "residue"  # pyrefly: ignore

    def __init__(self, folder: Path, meta: dict):
        super().__init__(folder, meta)
        self._buckets: dict[tuple[str, int, int], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._places: dict[tuple[str, int], tuple[np.ndarray, np.ndarray, np.ndarray]] = {}

    def batch(self, split: str, length: int, batch_size: int, seed: int, step: int, micro: int = 0) -> dict[str, torch.Tensor]:
        """Random sequences of about one length, the same for the same arguments; at most batch_size * length positions.

        Sequences longer than `length` are cropped.  Drawn so that every residue of the split weighs as much as any other in a loss that
        is divided by the residues of its batch, as in scoring: a bucket of sequences of about one length, in proportion to its residues,
        then as many of their crops (`count_crops`) as the positions allow, with replacement.
        """
        order, edges, residues = self._plan_buckets(split, length, batch_size)
        random = np.random.default_rng((seed, step, micro))
        bucket = int(np.searchsorted(residues, random.integers(int(residues[-1])), side="right"))
        members = order[edges[bucket] : edges[bucket + 1]]
        begins, sizes = self.edges(split)[:-1], np.diff(self.edges(split))
        counts = count_crops(sizes[members], length)
        ends = np.cumsum(counts)
        rows = max(1, batch_size * length // min(length, int(sizes[members[0]])))
        chosen = random.integers(int(ends[-1]), size=rows)
        which = np.searchsorted(ends, chosen, side="right")
        first, size = place_crops(sizes[members[which]], length, chosen - (ends - counts)[which])
        return self._take(split, begins[members[which]] + first, size)

    def edges(self, split: str) -> np.ndarray:
        """(n + 1,) where in `tokens` each of a split's n sequences begins, and the end."""
        return self._document_edges(split)

    def sequences(self, split: str) -> list[np.ndarray]:
        """The ids (length,) of every sequence of a split, V where it is not known which residue it is."""
        return [self.tokens(split)[first:end] for first, end in itertools.pairwise(self.edges(split))]

    def window_count(self, split: str, length: int) -> int:
        """A sequence is one window or, if it is longer than `length`, consecutive ones; each residue is in one of them."""
        return super().window_count(split, length)

    def describe(self, count: int, positions: int, length: int) -> str:
        return f"{positions:,} {self.unit}s in {count:,} windows, each scored alone; lengths are given and not scored"

    def describe_windows(self, split: str, length: int) -> str:
        """Which sequences the windows are of."""
        sizes = np.diff(self.edges(split))
        cut = int((sizes > length).sum())
        pieces = f"{cut:,} longer than {length}, cut into windows of at most so many" if cut else f"none longer than {length}"
        return f"of {len(sizes):,} sequences, {pieces}"

    def batch_name(self, batch_size: int, length: int) -> str:
        return f"up to {batch_size * length:,} residues of sequences of about one length"

    def window_places(self, split: str, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The number of its sequence, the first residue and the size of every window (n,), in the order of `windows`: longest first."""
        if (split, length) not in self._places:
            edges, ends = self.edges(split), self._window_ends(split, length)
            number = np.arange(int(ends[-1]))
            document = np.searchsorted(ends, number, side="right")
            start = edges[document] + (number - np.where(document > 0, ends[document - 1], 0)) * length
            size = np.minimum(edges[document + 1] - start, length)
            order = np.argsort(-size, kind="stable")
            self._places[split, length] = document[order], start[order], size[order]
        return self._places[split, length]

    def _examples(self, split: str, length: int, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        _, start, size = self.window_places(split, length)
        return self._take(split, start[chosen], size[chosen])

    def _groups(self, split: str, length: int, chosen: np.ndarray) -> np.ndarray | None:
        """The windows of one sequence are not independent."""
        return self.window_places(split, length)[0][chosen]

    def describe_groups(self, groups: int, examples: int) -> str:
        return f"over {groups:,} sequences"

    def _take(self, split: str, start: np.ndarray, size: np.ndarray) -> dict[str, torch.Tensor]:
        """`size` (B,) residues from `start` (B,) on."""
        place = np.arange(int(size.max()))
        inside = place < size[:, None]
        ids = np.asarray(self.tokens(split))[np.where(inside, start[:, None] + place, 0)].astype(np.int64)
        valid = inside & (ids < self.vocab_size)
        if valid.all():
            return {"x": torch.from_numpy(ids)}
        return {"x": torch.from_numpy(np.where(valid, ids, 0)), "valid": torch.from_numpy(valid)}

    def _plan_buckets(self, split: str, length: int, batch_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Sequences in the order of their lengths, longest first; where each bucket begins and ends; the residues up to its end."""
        if length < 1 or batch_size < 1:
            raise ValueError(f"length {length} and batch_size {batch_size}: give at least 1")
        key = split, length, batch_size
        if key not in self._buckets:
            sizes = np.diff(self.edges(split))
            order = np.argsort(-sizes, kind="stable")
            sizes, total = sizes[order], np.concatenate([[0], np.cumsum(sizes[order])])
            edges = [0]
            while edges[-1] < len(order):
                low = min(int(sizes[edges[-1]]), length) / SPREAD
                by_size = np.searchsorted(-sizes, -low, side="right")
                by_count = np.searchsorted(total, total[edges[-1]] + batch_size * length)
                edges.append(int(min(max(by_size, by_count), len(order))))
            if len(edges) > 2 and total[-1] - total[edges[-2]] < batch_size * length:
                del edges[-2]  # what is left over at the end is too little for a bucket of its own
            self._buckets[key] = order, np.array(edges), total[edges[1:]]
        return self._buckets[key]
