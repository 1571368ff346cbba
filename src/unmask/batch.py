"""A clean batch: examples before anything is masked, made once and handed on.

`MaskedDiffusion.clean` makes one of token ids; draws, scores and bounds take it.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from unmask.roles import ABSENT, SCORED, UNKNOWN

KEYS = {"x", "valid", "role", "cond", "ends", "group"}  # of a batch as a loader gives it


@dataclass(frozen=True)
class Batch:
    """B examples of S tokens, or of U units: what is masked on its own, digits or whole tokens."""

    codes: Tensor  # (B, S) of the tokens; where a role hides the token, the code of token 0
    y: Tensor  # (B, U) the value of each unit: a digit of a code, or the code
    role: Tensor  # (B, S) int8, see `roles`
    told: dict[str, Tensor]  # what the network is told besides z and t, see `told`

    def take(self, rows: Tensor) -> "Batch":
        """The examples with these numbers (R,)."""
        told = {name: value[rows] for name, value in self.told.items()}
        return Batch(self.codes[rows], self.y[rows], self.role[rows], told)

    @cached_property
    def per_token(self) -> int:
        """How many units a token has."""
        return self.y.shape[1] // self.codes.shape[1]

    def units(self, marked: Tensor) -> Tensor:
        """Marks of tokens (B, S) as marks of their units (B, U)."""
        return marked.repeat_interleave(self.per_token, 1)

    @cached_property
    def scored(self) -> Tensor:
        """(B, U) bool: the units that may be masked, and are then paid for."""
        return self.units(self.role == SCORED)

    @cached_property
    def unseen(self) -> Tensor:
        """(B, S) bool: the network never sees these tokens, whatever is drawn."""
        return (self.role == ABSENT) | (self.role == UNKNOWN)

    @cached_property
    def positions(self) -> Tensor:
        """(B,) how many positions are scored: a count, what a loss is divided by."""
        return (self.role == SCORED).sum(-1)

    def hidden_share(self, masked: Tensor) -> Tensor:
        """(B,) float64: of the units that are there, the share that the network does not see when
        `masked` (B, U) are masked."""
        hidden = masked | self.units(self.role == UNKNOWN)
        there = self.units(self.role != ABSENT)
        return hidden.sum(-1) / there.sum(-1).clamp(min=1).double()

    @cached_property
    def conditional(self) -> Tensor:
        """(B,) bool: examples with units that are there and not scored, given or unknown."""
        return ((self.role != ABSENT) & (self.role != SCORED)).any(-1)


def told(
    device, cond: Tensor | None = None, valid: Tensor | None = None, ends: Tensor | None = None
) -> dict[str, Tensor]:
    """What a network is told besides z and t, on `device`; what is None is left out.

    cond: labels (B,), or any tensor whose first axis is the batch.  valid (B, S) bool: the
    positions that are there; without, all are.  ends (B, 2) bool: whether the first and the last of
    them are the ends of the sequence, and not of a piece of it; without, they are.
    """
    given = {"cond": cond, "valid": valid, "ends": ends}
    return {name: value.to(device) for name, value in given.items() if value is not None}


def roles_of(x: Tensor, valid: Tensor | None, role: Tensor | None) -> Tensor:
    """(B, S) int8: the roles of the positions of x (B, S).

    They are `role` itself; or, from `valid`, scored where True and absent elsewhere; or, without
    either, all scored.  ValueError for both, another shape or type, or a number that is no role.
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
    return torch.where(valid, SCORED, ABSENT).to(torch.int8)


def inputs(batch: Tensor | dict, device=None) -> dict[str, Any]:
    """The arguments of a model, on `device`, from a batch as a loader gives it: x or a dict.

    "group" is left out: it says which examples depend on each other, which only errors are made of.
    ValueError for anything else, and for other keys.
    """
    if isinstance(batch, Tensor):
        batch = {"x": batch}
    if not isinstance(batch, dict):
        raise ValueError(
            f"a batch is a tensor, or a dict with x, not a {type(batch).__name__}: "
            "of a DataLoader that gives lists, take the first: (b[0] for b in loader)"
        )
    if "x" not in batch or set(batch) - KEYS:
        raise ValueError(
            "a batch is a tensor, or a dict with x and optionally "
            f"{', '.join(sorted(KEYS - {'x'}))}; not "
            f"one with {', '.join(map(str, batch)) or 'nothing'}"
        )
    return {
        name: value.to(device)
        for name, value in batch.items()
        if value is not None and name != "group"
    }


def scored_positions(batch: dict[str, Tensor]) -> int:
    """How many positions of a loader's batch are scored: what its loss is divided by."""
    if "role" in batch:
        return int((batch["role"] == SCORED).sum())
    return int(batch["valid"].sum()) if "valid" in batch else batch["x"].numel()


def accepts(function: Callable, name: str) -> bool:
    """Whether a function has a parameter of this name, or takes **anything."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind == p.VAR_KEYWORD for p in parameters.values())
