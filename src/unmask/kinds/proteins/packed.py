"""Sequences as examples that lead back to a FASTA file."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unmask.documents import parsed
from unmask.files import write_whole
from unmask.kinds.kind import Packed
from unmask.kinds.proteins.fasta import format_fasta, read_fasta
from unmask.kinds.proteins.residues import Residues

NOTES = (
    "headers are kept; comments, small letters, stars at the end, blanks, carriage returns, a "
    "byte-order mark and the length of lines are not",
)


def pack(path: Path, residues: Residues) -> Packed:
    """The records of a file as examples, their headers beside.

    ValueError for a residue that is not known, such as X, which has no token.
    """
    examples, headers, letters = [], [], []
    for record in read_fasta(path, tqdm(disable=True)):
        strange = record.ids == residues.vocab_size
        if strange.any():
            at = int(strange.argmax())
            raise ValueError(
                f"{record.place} has {record.letters[at]} at residue {at + 1}, which leaves open "
                "which residue there is: leave such records out"
            )
        examples.append(record.ids.astype(np.int64))
        headers.append(record.header)
        letters.append(record.letters)
    raw = written(headers, letters)  # with all that a file of ours holds, which is headers, too
    return Packed(examples, raw, json.dumps(headers).encode(), NOTES)


def unpack(rows: list[np.ndarray], beside: bytes, out: str, residues: Residues) -> None:
    """Write a FASTA file."""
    headers = parsed(beside, [str], "what is kept beside the sequences")
    if len(headers) != len(rows):
        raise ValueError("the headers that are kept are not those of the sequences")
    write_whole(out, written(headers, map(residues.decode, rows)))


def written(headers: list[str], sequences: Iterable[str]) -> bytes:
    """A FASTA file; headers in the bytes that they came in."""
    content = format_fasta(zip(headers, sequences, strict=True))
    return content.encode("utf-8", "surrogateescape")
