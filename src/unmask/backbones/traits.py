"""What is known of values beside that they are others, in a network."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TraitMaps(nn.Module):
    """Linear maps of what is `known` of values, which `row` finds, see `kinds.traits.Traits`."""

    known: Tensor
    row: Tensor

    def __init__(self, vocab_size: int, dim: int, size: Sequence[int]):
        super().__init__()
        if len(size) != 3 or min(size) < 1:
            raise ValueError(f"traits {tuple(size)} must be three numbers, each at least 1")
        groups, most, count = size
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

    def embeddings(self, weight: Tensor) -> Tensor:
        """(C * (V + 1), dim), of C tables of values and the mask: with what is known added, which
        is nothing of the mask."""
        known = F.pad(self(self.embed), (0, 0, 0, 1))
        return (weight.unflatten(0, (-1, len(self.row) + 1)) + known).flatten(0, 1)

    def outputs(self, weight: Tensor) -> Tensor:
        """(V, dim), a head's, with what is known added."""
        return weight + self(self.head)


def embedded(network: Any, ids: Tensor) -> Tensor:
    """Rows of a network's embedding tables, with what is known of values, where it is."""
    if network.traits is None:
        return network.embed(ids)
    return F.embedding(ids, network.traits.embeddings(network.embed.weight))


def without_traits(network: Any) -> Any:
    """A Transformer or UNet that says the same, whose tables hold the sums."""
    traits: TraitMaps | None = network.traits
    if traits is None:
        return network
    made = type(network)(**network.config | {"traits": ()}).to(network.head.weight)
    made.train(network.training)
    known = {n: w for n, w in network.state_dict().items() if not n.startswith("traits.")}
    made.load_state_dict(known)
    with torch.no_grad():
        made.embed.weight.copy_(traits.embeddings(network.embed.weight))
        made.head.weight.copy_(traits.outputs(network.head.weight))
    return made
