"""Windows of texts as examples."""

from functools import cached_property

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
        return f"{positions:,} {self.unit}s in {count:,} windows of {length}, each scored alone"
