"""Windows of texts as examples."""

from functools import cached_property

import numpy as np

from unmask.kinds.sequences import Sequences
from unmask.kinds.text.tokenizers import Tokenizer, load_tokenizer


class TokenData(Sequences):
    """Texts, or ready token ids."""

    @property
    def unit(self) -> str:  # pyrefly: ignore
        """What a token is, singular: "byte", "character" or "token"."""
        name = self.meta["tokenizer"]["name"]
        return {"bytes": "byte", "characters": "character"}.get(name, "token")

    @property
    def perplexity(self) -> bool:  # pyrefly: ignore
        return self.unit == "token"

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return load_tokenizer(self.meta["tokenizer"], self.folder)

    def describe(self, count: int, positions: int, length: int) -> str:
        of = f"{positions:,} {self.unit}s in {count:,} windows"
        if self.apart:
            return f"{of}, each scored alone; lengths are given and not scored"
        return f"{of} of {length}, each scored alone"

    @property
    def apart(self) -> bool:
        """Whether no window crosses from one document to another."""
        return self.meta["documents"] == "apart"

    def edges(self, split: str) -> np.ndarray:
        """(n + 1,) where in `tokens` each of a split's n documents begins, and the end."""
        return self._document_edges(split)

    def protocol(self, split: str, length: int) -> list[str]:
        """Which documents the windows are of."""
        if not self.apart:
            return []
        return [self.whole_or_cut(split, length, "documents")]
