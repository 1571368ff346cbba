"""Windows of texts as examples."""

from functools import cached_property

import numpy as np
import torch

from unmask.kinds.sequences import Sequences
from unmask.kinds.text.bytes import byte_table, count_bytes
from unmask.kinds.text.tokenizers import Tokenizer, load_tokenizer
from unmask.roles import ABSENT, GIVEN, SCORED


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
        """Which documents the windows are of, and what a protocol left out of its source."""
        said = []
        if self.apart:
            said.append(self.whole_or_cut(split, length, "documents"))
        own = self.meta.get("protocol", {})
        if "packing" in own:
            said.append(own["packing"])
        dropped = own.get("dropped", {"tokens": 0})
        if dropped["tokens"]:
            cut = f", in {dropped['rows_cut']:,} rows cut off" if dropped["rows_cut"] else ""
            of = f"{dropped['tokens']:,} of {dropped['of']:,} tokens{cut}"
            said.append(f"left out by the protocol: {of}")
        return said

    def byte_counts(self, batch: dict[str, torch.Tensor]) -> np.ndarray | None:
        x = batch["x"].numpy()
        scored = np.ones(x.shape, bool)
        if "valid" in batch:
            scored = batch["valid"].numpy()
        if "role" in batch:
            scored = batch["role"].numpy() == SCORED
        rows = [row[here] for row, here in zip(x, scored, strict=True)]
        return count_bytes(self.tokenizer, self._table, rows)

    @cached_property
    def _table(self) -> np.ndarray | None:
        return byte_table(self.tokenizer)

    def _examples(self, split: str, length: int, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        batch = super()._examples(split, length, chosen)
        if self.meta.get("protocol", {}).get("marks") != "given":
            return batch
        valid = batch.pop("valid", torch.ones_like(batch["x"], dtype=torch.bool))
        role = torch.where(valid, SCORED, ABSENT).to(torch.int8)
        role[:, 0] = GIVEN
        role[torch.arange(len(role)), valid.sum(1) - 1] = GIVEN
        return batch | {"role": role}
