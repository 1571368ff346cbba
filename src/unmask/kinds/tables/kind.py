"""The kind, as the verbs see it."""

from pathlib import Path
from typing import Any

from unmask.kinds.kind import Kind, refuse_labels

KEYS = ("format", "kind", "tokenizer", "vocab_size", "dtype", "tokens", "rows")


class Tables(Kind):
    name = "tables"
    keys = KEYS
    tokens = ("table",)

    @classmethod
    def open(cls, folder: Path, meta: dict, *, labels: bool) -> Any:
        from unmask.kinds.tables.data import TableData

        if labels:
            refuse_labels(folder, "a table, whose classes are a column like the others")
        return TableData(folder, meta)

    @classmethod
    def load_tokens(cls, spec: dict, folder: Path) -> Any:
        from unmask.kinds.tables.columns import Table

        return Table.from_spec(spec)
