"""Protein sequences made into a memory map of tokens.

`prepare_proteins` writes a folder:

    train.bin, validation.bin, test.bin    the residues, a byte each, sequence after sequence;
                       V where it is not known which
    *.documents.bin    the offset at which each sequence begins, int64
    *.clusters.bin     the number of each sequence's cluster, int64, if `clusters` are given
    meta.json          the counts, the lengths of the training sequences, the checksums;
                       `open_data` reads it
"""

from array import array
from collections import Counter
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unmask.kinds.folder import (
    SPLITS,
    check_new,
    check_splits,
    cut_by_digest,
    given_splits,
    new_folder,
    parse_split,
    progress_bars,
    short_digest,
    write_meta,
)
from unmask.kinds.leftout import LeftOut, described
from unmask.kinds.proteins.clusters import Clusters
from unmask.kinds.proteins.fasta import read_fasta
from unmask.kinds.proteins.residues import LETTERS, Residues
from unmask.kinds.sources import BLOCK, list_once

NUCLEOTIDES = [LETTERS.index(letter) for letter in "ACGTUN"]


def prepare_proteins(
    source: str | Path,
    out: str | Path,
    *,
    split: str = "0.9,0.05,0.05",
    clusters: str | Path | None = None,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    skip_bad: bool | None = False,
    progress: bool = True,
) -> dict:
    """Write the sequences of `source` to the new folder `out`; returns what meta.json holds.

    source: a FASTA file, also .gz or .xz, or a folder of such files; see `fasta.parse_fasta` for
    what is read how. split: three fractions that sum to 1, or three counts of sequences, one of
    which may be -1 (the rest); cut in an order by a hash of the sequence, so that equal ones are in
    one split and the order of the file does not matter.  Homologues are kept together only by
    `clusters`: a file that says which records are, by their names; see `clusters.Clusters`.
    validation, test: sources of their own; the whole of `source` is then for training and `split`
    is not used. skip_bad: leave out records that cannot be read; meta.json has them as `skipped`.

    Raises ValueError, and leaves nothing behind, for a source that does not do.
    """
    out = check_new(out)
    shares = parse_split(split)
    if clusters and (validation or test):
        raise ValueError("files of their own are the splits: leave out clusters")
    families = Clusters(Path(clusters)) if clusters else None
    roots = given_splits(source, validation, test)
    left_out = LeftOut(skip_bad, roots.values())
    sources = {name: list_once(root, left_out) for name, root in roots.items()}
    check_splits(roots, sources)
    bar = progress_bars([path for files in sources.values() for path in files], progress)
    with new_folder(out) as folder:
        edges, digests, more = {}, {}, {}
        with bar("proteins") as shown:
            for name, files in sources.items():
                path = folder / f"{name}.bin"
                edges[name], digests[name], counts = write_sequences(
                    path, files, shown, left_out, families
                )
                if not counts.any():
                    bad = "; ".join(described(left_out.of(roots[name])))
                    raise ValueError(
                        f"{roots[name]} has no record that can be read: {bad}: give a FASTA file "
                        "of proteins"
                    )
                check_counts(counts, roots[name])
        distinct = len(np.unique(digests["train"]))
        if len(sources) == 1:
            cut_by = families.digests(digests["train"]) if families else digests["train"]
            chosen = cut_by_digest(cut_by, shares, "sequences")
            chosen = {name: np.sort(numbers) for name, numbers in chosen.items()}
            edges = cut_sequences(folder, edges["train"], chosen)
            if families:
                more["clusters"] = families.write(folder, chosen)
        else:
            split = "files"
        counts, unknown = {}, {}
        for name in SPLITS:
            begins = edges.get(name, np.zeros(1, np.int64))[:-1]
            begins.astype("<i8").tofile(folder / f"{name}.documents.bin")
            counts[name] = len(begins)
            unknown[name] = count_unknown(folder / f"{name}.bin")
        lengths = Counter(np.diff(edges["train"]).tolist())
        return write_meta(
            folder,
            "proteins",
            Residues(),
            np.uint8,
            zip(roots.values(), sources.values(), strict=True),
            first={"documents": "apart", "eot": None, "split": split},
            unknown=unknown,
            document_count=counts,
            distinct=distinct,
            lengths={str(length): lengths[length] for length in sorted(lengths)},
            **more,
            **left_out.facts(),
        )


def write_sequences(
    path: Path, files: list[Path], bar: tqdm, left_out: LeftOut, families: Clusters | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Write the residues of all records, and add these to `families`.

    Returns the edges between them (n + 1,), their digests (n,), how often each id occurs (V + 1,).
    """
    edges, digests = array("q", [0]), array("Q")
    counts = np.zeros(Residues.vocab_size + 1, np.int64)
    with open(path, "wb") as stream:
        for file in files:
            for record in read_fasta(file, bar, left_out=left_out):
                stream.write(record.ids.tobytes())
                edges.append(edges[-1] + len(record.ids))
                digests.append(short_digest(record.letters.encode()))
                if families:
                    families.add(record)
                for start in range(0, len(record.ids), BLOCK):  # counting takes 8 bytes each
                    counts += np.bincount(record.ids[start : start + BLOCK], minlength=len(counts))
    return np.array(edges), np.array(digests), counts


def check_counts(counts: np.ndarray, source: Path) -> None:
    """ValueError where no residue is known, and for nucleotides, whose letters are residues'."""
    known = counts[:-1]
    if not known.any():
        raise ValueError(f"{source} has no residue that is known: give a FASTA file of proteins")
    if known.sum() > 100 and known.sum() == known[NUCLEOTIDES].sum():
        raise ValueError(
            f"{source} has the letters of nucleotides and no others: "
            "translate it into proteins first"
        )


def cut_sequences(
    folder: Path, edges: np.ndarray, chosen: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Cut train.bin, which holds everything, into splits of the sequences `chosen`; their edges.

    chosen: the numbers of each split's, in order.
    """
    whole = (folder / "train.bin").rename(folder / "all.bin")
    everything, found = np.memmap(whole, np.uint8, "r"), {}
    for name, numbers in chosen.items():
        with open(folder / f"{name}.bin", "wb") as stream:
            for run in np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1):
                if len(run):
                    stream.write(everything[edges[run[0]] : edges[run[-1] + 1]].tobytes())
        found[name] = np.concatenate([[0], np.cumsum(np.diff(edges)[numbers])]).astype(np.int64)
    del everything
    whole.unlink()
    return found


def count_unknown(path: Path) -> int:
    """How many ids of a file, which may be missing, are no residue's."""
    if not path.exists():
        return 0
    with open(path, "rb") as stream:
        blocks = iter(lambda: stream.read(BLOCK), b"")
        return sum(block.count(Residues.vocab_size) for block in blocks)
