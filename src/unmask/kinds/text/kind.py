"""The kind, as the verbs see it."""

from pathlib import Path
from typing import Any

from unmask.kinds.kind import Kind, refuse_labels

KEYS = ("format", "kind", "tokenizer", "vocab_size", "dtype", "documents", "eot", "tokens", "document_count")


class Text(Kind):
    name = "text"
    keys = KEYS
    tokens = ("bytes", "characters", "subwords", "ids")

    @classmethod
    def open(cls, folder: Path, meta: dict, *, labels: bool) -> Any:
        from unmask.kinds.text.data import TokenData

        if labels:
            refuse_labels(folder, "text, which has no labels")
        return TokenData(folder, meta)

    @classmethod
    def load_tokens(cls, spec: dict, folder: Path) -> Any:
        from unmask.kinds.text.tokenizers import load_tokenizer

        return load_tokenizer(spec, folder)
