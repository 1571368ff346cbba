"""Sequences that a file says belong together, such as those of one family."""

from array import array
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unmask.kinds.folder import describe_source, short_digest
from unmask.kinds.proteins.fasta import Record, split_lines
from unmask.kinds.sources import read_blocks

# which piece between bars of a header's first word MMseqs2 14 takes for its name
PIECE = {
    "cl": 1, "sp": 1, "tr": 1, "ref": 1, "pdb": 1, "bbs": 1, "lcl": 1, "gb": 1,
    "pir": 2, "prf": 2, "gnl": 2, "pat": 2, "gi": 3,
}  # fmt: skip
WHAT_TO_GIVE = "give the _cluster.tsv of `mmseqs easy-cluster`, or lines of two names like it"


class Clusters:
    """The names of a file, plain, .gz or .xz, whose lines are two that belong together.

    So the lines of MMseqs2's _cluster.tsv: the representative of a cluster and a member.  What
    belongs to one belongs to all that do.  ValueError for any other line.
    """

    def __init__(self, path: Path):
        if not path.is_file():
            raise ValueError(f"{path} is no file: {WHAT_TO_GIVE}")
        self.path = path
        pairs = array("Q")
        lines = split_lines(read_blocks(path, tqdm(disable=True)), str(path))
        for number, line in enumerate(lines, 1):
            names = line.split()
            if len(names) not in (0, 2):
                raise ValueError(f"{path}, line {number} has {len(names)} names: {WHAT_TO_GIVE}")
            pairs.extend(map(name_digest, names))
        if not pairs:
            raise ValueError(f"{path} is empty: {WHAT_TO_GIVE}")
        self.names, places = np.unique(np.array(pairs), return_inverse=True)
        self.clusters = joined(places[0::2], places[1::2])
        self.found = array("q")  # of the records so far, the number of each name
        self.missing, self.first = 0, ""  # how many records have no name there, and one of them

    def add(self, record: Record) -> None:
        """Look up the next record by the first word of its header, or what MMseqs2 takes of it."""
        for name in names_of(record.header):
            sought = name_digest(name)
            place = int(np.searchsorted(self.names, np.uint64(sought)))
            if place < len(self.names) and self.names[place] == sought:
                self.found.append(place)
                return
        self.missing += 1
        self.first = self.first or record.place

    def digests(self, sequences: np.ndarray) -> np.ndarray:
        """(n,) uint64, equal for the records that stay in one split, in the order of `add`.

        sequences: (n,) uint64, the digests of theirs.  Equal ones stay together, whatever the file
        says.  ValueError if it did not name all, or two that differ by one name.
        """
        if self.missing:
            raise ValueError(
                f"{self.path} does not name {self.missing:,} of {len(sequences):,} records, the "
                f"first of them {self.first}: cluster the same records, all of them"
            )
        found = np.array(self.found)
        pairs = len(np.unique(np.stack([found.astype(np.uint64), sequences]), axis=1)[0])
        if shared := pairs - len(np.unique(found)):
            raise ValueError(
                f"{shared:,} records have a name of {self.path} that another sequence has: give "
                "each a name of its own, and cluster them again"
            )
        cluster = self.clusters[found]
        _, same = np.unique(sequences, return_inverse=True)
        both = joined(cluster, len(self.names) + same)
        _, self.part = np.unique(both[cluster], return_inverse=True)
        lowest = np.full(int(self.part.max()) + 1, np.iinfo(np.uint64).max)
        np.minimum.at(lowest, self.part, sequences)
        # hashed again: the lowest of many is low, and all large parts would come first
        order = [short_digest(one.tobytes()) for one in lowest.astype("<u8")]
        return np.array(order, np.uint64)[self.part]

    def write(self, folder: Path, chosen: dict[str, np.ndarray]) -> dict:
        """Write the number of the cluster of each record of each split, `chosen` (n,) of `add`'s.

        Returns what meta.json says: the file, how many clusters a split has, and how many names of
        the file no record has.
        """
        for split, records in chosen.items():
            self.part[records].astype("<i8").tofile(folder / f"{split}.clusters.bin")
        count = {split: len(np.unique(self.part[records])) for split, records in chosen.items()}
        beside = len(self.names) - len(np.unique(np.array(self.found)))
        return {**describe_source(self.path, [self.path]), "count": count, "beside": beside}


def names_of(header: str) -> list[str]:
    """What a record may be called: the first word of its header, and what MMseqs2 takes of it."""
    word = next(iter(header.split()), "")
    pieces = word.split("|")
    at = PIECE.get(pieces[0], len(pieces))
    return [word, *filter(None, pieces[at : at + 1])]


def name_digest(name: str) -> int:
    return short_digest(name.encode("utf-8", "surrogateescape"))


def joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) the number of its part for each of n things, of which a (m,) and b (m,) are connected.

    The numbers are those of a thing of the part, the same for all.
    """
    part = np.arange(int(max(a.max(), b.max())) + 1)
    while True:
        before = part
        part = before.copy()
        lower = np.minimum(before[a], before[b])
        for other in (before[a], before[b]):  # what the higher one led to leads to the lower one
            np.minimum.at(part, other, lower)
        part = part[part]
        if (part == before).all():
            return part
