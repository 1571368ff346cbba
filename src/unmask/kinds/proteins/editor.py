"""Proteins on a page: one sequence, a cell a residue."""

import re
from typing import Any

from unmask.kinds.editor import Cell, Editor, in_all
from unmask.roles import HOLE

HEADER = ">protein\n"
COMMENTS = re.compile(r"\A(?:[ \t]*(?:;[^\r\n]*)?[\r\n]+)+")  # before a first record
RESIDUES = 60  # of the sequence that the page begins with


class ProteinEditor(Editor):
    name, file, takes = "residues", "holes.fasta", ".fasta,.fa,.faa,.txt"

    def start(self) -> dict:
        return {"content": "M" + "-" * (min(RESIDUES, self.length) - 1)}

    def file_of(self, said: dict) -> bytes:
        letters = COMMENTS.sub("", said["content"])
        return (letters if letters.lstrip().startswith(">") else HEADER + letters).encode()

    def marked(self, content: str) -> int:
        from unmask.kinds.proteins.fasta import BLANKS, HOLE, split_lines

        lines = split_lines([content.encode()], self.file)
        rows = [row for row in lines if not row.lstrip().startswith(">")]
        return in_all(HOLE.findall("\n".join(rows).translate(BLANKS)))

    def board(self, source: Any) -> dict:
        """The letters as they were written, those that leave open which residue it is, too; stops
        are at no position."""
        examples = []
        for record, example in zip(source.records, source.examples, strict=True):
            pairs = zip(record.written, (example.role == HOLE).tolist(), strict=False)
            cells = [Cell("" if hole else letter, 1, hole) for letter, hole in pairs]
            stops = record.written[len(cells) :]
            examples.append([*cells, *(Cell(stop, 0, False) for stop in stops)])
        return {"examples": examples}
