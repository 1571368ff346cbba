"""A piece of a network that by itself is compiled, sharded, or run again in the backward pass."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Part(nn.Module):
    """Subclasses define `run(*inputs)`, and are called as any module."""

    run: Callable[..., Any]

    recompute = False
    """Keep only the inputs for the backward pass, and compute what lies between anew."""

    def forward(self, *inputs: Any) -> Any:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self.run, *inputs, use_reentrant=False)
        return self.run(*inputs)


def parts_of(network: nn.Module) -> list[Part]:
    """All of a network's; none for one that is not of this package."""
    return [module for module in network.modules() if isinstance(module, Part)]
