"""The kind, as the verbs see it."""

from pathlib import Path
from typing import Any

from unmask.kinds.kind import Kind, refuse_labels

KEYS = ("format", "kind", "tokenizer", "vocab_size", "dtype", "documents", "eot", "tokens", "document_count", "lengths")


class Proteins(Kind):
    name = "proteins"
    keys = KEYS
    tokens = ("residues",)

    @classmethod
    def open(cls, folder: Path, meta: dict, *, labels: bool) -> Any:
        from unmask.kinds.proteins.data import ProteinData

        if labels:
            refuse_labels(folder, "proteins, which has no labels")
        return ProteinData(folder, meta)

    @classmethod
    def load_tokens(cls, spec: dict, folder: Path) -> Any:
        from unmask.kinds.proteins.residues import Residues

        return Residues()
