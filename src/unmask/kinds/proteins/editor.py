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
        """The letters as they were written, those that leave open which residue it is, too."""
        examples = []
        for record, example in zip(source.records, source.examples, strict=True):
            letters = record.written[: len(record.letters)]
            pairs = zip(letters, (example.role == HOLE).tolist(), strict=True)
            examples.append([Cell("" if hole else letter, 1, hole) for letter, hole in pairs])
        return {"examples": examples}
