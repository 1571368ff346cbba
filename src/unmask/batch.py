"""A clean batch: examples before anything is masked, made once and handed on.

`MaskedDiffusion.clean` makes one of token ids; draws, scores and bounds take it.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unmask.roles import ABSENT, SCORED, UNKNOWN

KEYS = {"x", "valid", "role", "cond", "group"}


@dataclass(frozen=True)
class Batch:
    """B examples of S tokens, U units: the digits of the tokens, or the tokens themselves."""

    codes: Tensor  # (B, S) of the tokens; that of 0 where none is seen
    y: Tensor  # (B, U)
    role: Tensor  # (B, S) int8, see `roles`
    valid: Tensor | None  # (B, S) bool, what the network is told; None: every position is there
    cond: Tensor | None  # what the network is given besides

    def take(self, rows: Tensor) -> "Batch":
        """The examples with these numbers (R,)."""
        valid = None if self.valid is None else self.valid[rows]
        cond = None if self.cond is None else self.cond[rows]
        return Batch(self.codes[rows], self.y[rows], self.role[rows], valid, cond)

    @cached_property
    def per_token(self) -> int:
        """Units of a token."""
        return self.y.shape[1] // self.codes.shape[1]

    def units(self, marked: Tensor) -> Tensor:
        """Marks of tokens (B, S) as marks of their units (B, U)."""
        return marked.repeat_interleave(self.per_token, 1)

    @cached_property
    def scored(self) -> Tensor:
        """(B, U) bool."""
        return self.units(self.role == SCORED)

    @cached_property
    def unseen(self) -> Tensor:
        """(B, S) bool: masked, whatever is drawn."""
        return (self.role == ABSENT) | (self.role == UNKNOWN)

    @cached_property
    def positions(self) -> Tensor:
        """(B,) how many positions are scored."""
        return (self.role == SCORED).sum(-1)

    def hidden_share(self, masked: Tensor) -> Tensor:
        """(B,) float64: of the units that are there, what is hidden where `masked` (B, U) is."""
        hidden = masked | self.units(self.role == UNKNOWN)
        there = self.units(self.role != ABSENT)
        return hidden.sum(-1) / there.sum(-1).clamp(min=1).double()

    @cached_property
    def conditional(self) -> Tensor:
        """(B,) bool: some units are there that are not scored."""
        return ((self.role != ABSENT) & (self.role != SCORED)).any(-1)


def roles_of(x: Tensor, valid: Tensor | None, role: Tensor | None) -> Tensor:
    """(B, S) int8: of x (B, S), from `role`, or `valid`, its form for two roles, or all scored.

    ValueError for another shape, type or number, or both of them.
    """
    if valid is not None and role is not None:
        raise ValueError(
            "give valid or role, not both: valid says absent or scored, role says more"
        )
    if role is not None:
        if role.dtype != torch.int8 or role.shape != x.shape:
            said = f"{role.dtype} {tuple(role.shape)}"
            raise ValueError(f"role must be int8 {tuple(x.shape)}, not {said}")
        if bool(((role < ABSENT) | (role > UNKNOWN)).any()):
            wrong = sorted({int(i) for i in role.unique()} - set(range(UNKNOWN + 1)))
            raise ValueError(f"role {wrong[0]} is none: see unmask.roles, {ABSENT} to {UNKNOWN}")
        return role
    if valid is None:
        return torch.full_like(x, SCORED, dtype=torch.int8)
    if valid.dtype != torch.bool or valid.shape != x.shape:
        said = f"{valid.dtype} {tuple(valid.shape)}"
        raise ValueError(f"valid must be bool {tuple(x.shape)}, not {said}")
    return valid.to(torch.int8) * SCORED


def inputs(batch: Tensor | dict, device=None) -> dict[str, Any]:
    """A batch as a loader gives it, a tensor x or a dict, as what a model takes, on `device`.

    x, and cond, valid or role where there are any; "group" is left out.  ValueError for other keys.
    """
    if isinstance(batch, Tensor):
        batch = {"x": batch}
    if "x" not in batch or set(batch) - KEYS:
        raise ValueError(
            "a batch is a tensor, or a dict with x and optionally cond, valid, role, group; not "
            f"one with {', '.join(batch) or 'nothing'}"
        )
    return {
        name: value.to(device)
        for name, value in batch.items()
        if value is not None and name != "group"
    }


def scored_positions(batch: dict[str, Tensor]) -> int:
    """How many positions a loss over a batch is divided by."""
    if "role" in batch:
        return int((batch["role"] == SCORED).sum())
    return int(batch["valid"].sum()) if "valid" in batch else batch["x"].numel()
