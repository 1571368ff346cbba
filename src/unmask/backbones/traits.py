"""What is known of values beside that they are others, in a network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TraitMaps(nn.Module):
    """Linear maps of what is `known` of values, which `row` finds, see `kinds.kind.Traits`."""

    known: Tensor
    row: Tensor

    def __init__(self, vocab_size: int, dim: int, groups: int, most: int, count: int):
        super().__init__()
        self.register_buffer("known", torch.zeros(groups, most, count))
        self.register_buffer("row", torch.full((vocab_size,), -1))
        # of variance 2 where 16 traits have variance 1, and a value's own embedding has 1
        self.embed = nn.Parameter(torch.randn(groups, count, dim) * 8**-0.5)
        self.head = nn.Parameter(torch.zeros(groups, count, dim))

    @torch.no_grad()
    def tell(self, known: Tensor, row: Tensor) -> None:
        self.known.copy_(known)
        self.row.copy_(row)

    def forward(self, weight: Tensor) -> Tensor:
        """(V, dim): what `weight` (groups, K, dim) makes of each value; 0 of one not known."""
        found = torch.bmm(self.known, weight).flatten(0, 1)
        return F.pad(found, (0, 0, 0, 1))[self.row]  # -1: the last
