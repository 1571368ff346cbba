"""The bytes of text that scored windows stand for."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch


class Counted:
    """All windows of a split, in batches, and how many bytes of text each stands for."""

    def __init__(self, data: Any, *windows: Any):
        self.data, self.of = data, windows  # split, length, batch size, limit
        self.found: list = []

    def __iter__(self) -> Iterator:
        self.found = []
        *of, limit = self.of
        for batch in self.data.windows(*of, limit=limit):
            self.found.append(self.data.byte_counts(batch))
            yield batch

    def bytes(self) -> torch.Tensor | None:
        """(n,) of each window; None unless their positions are text."""
        if not self.found:  # all that is scored had been drawn before
            for _ in self:
                pass
        counts = [one for one in self.found if one is not None]
        if not counts or len(counts) < len(self.found):
            return None
        each = torch.from_numpy(np.concatenate(counts))
        return each if each.any() else None

    def per_byte(self, bound: Any) -> dict:
        """What to record of a bound, in bits per byte, if its positions are text."""
        each = self.bytes()
        if each is None:
            return {}
        of_bytes = replace(bound, positions=each)
        return {
            "bytes": int(each.sum()),
            "bits_per_byte": of_bytes.bits_per_dim,
            "bits_per_byte_stderr": of_bytes.bits_per_dim_stderr,
        }
