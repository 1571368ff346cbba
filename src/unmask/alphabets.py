"""What each position can be: alphabets that differ, links between positions, codes of tokens.

All of it restricts what a network says, in training and in use alike.
"""

from typing import Any

import torch
from torch import Tensor

from unmask.links import check_links, open_groups
from unmask.pretrained import Pretrained
from unmask.subtokens import Subtokenizer, consistent


class Alphabets(Pretrained):
    """The part of a model that says so; `subtokenizer` is to be there before `restrict_to`."""

    subtokenizer: Subtokenizer
    allowed: Any  # buffers: a tensor or None
    partner: Any
    group: Any
    codes: Any
    groups: int  # how many, where there are links

    def restrict_to(self, allowed: Tensor | None, links: tuple[Tensor, Tensor] | None) -> None:
        """Take `allowed` (S, V) or (V,) and `links` among the buffers, see `MaskedDiffusion`.

        ValueError for what does not fit.
        """
        subtokenizer = self.subtokenizer
        if allowed is not None:
            known = allowed.ndim in (1, 2) and allowed.shape[-1] == subtokenizer.vocab_size
            if allowed.dtype != torch.bool or not known:
                said = f"{allowed.dtype} {tuple(allowed.shape)}"
                size = subtokenizer.vocab_size
                raise ValueError(f"allowed must be bool (S, {size}) or ({size},), not {said}")
            empty = ~torch.atleast_2d(allowed).any(-1)
            if bool(empty.any()):
                at = int(empty.nonzero()[0])
                raise ValueError(f"allowed leaves no value at position {at}")
        self.register_buffer("allowed", allowed)
        partner = group = None
        if links is not None:
            if allowed is None or allowed.ndim == 1:
                raise ValueError("links are between alphabets of positions: give allowed, too")
            with allowed.device:  # whatever the network is built on
                partner, group = check_links(links, allowed, subtokenizer)
        self.register_buffer("partner", partner)
        self.register_buffer("group", group)
        self.groups = 0 if group is None else int(group.max()) + 1
        # saved with the weights, which mean nothing under other codes
        codes = subtokenizer.codes
        self.register_buffer("codes", None if codes is None else codes.clone())
        self.register_load_state_dict_post_hook(same_codes)

    def by_code(self, values: Tensor) -> Tensor:
        """Values (..., V) by token as values by code."""
        return values if self.codes is None else values[..., self.codes.argsort()]

    def open_groups(self, z: Tensor, b: Tensor, position: Tensor) -> Tensor | None:
        """(R, G) bool: the groups of values that the positions (R,) of the rows b (R,) of z
        (B, S*L) can have, by what is revealed at the positions that they are linked with; None
        where there are no links."""
        if self.partner is None:
            return None
        digits = z.unflatten(1, (-1, self.subtokenizer.length))
        partner = self.partner[position]
        return self.groups_left(digits[b, partner.clamp(min=0)], partner)

    def groups_left(self, digits: Tensor, partner: Tensor) -> Tensor:
        """(R, G) bool: what positions whose partners (R,), -1 for none, have the digits (R, L) can
        be; see `open_groups`."""
        allowed = self.by_code(self.allowed)[partner.clamp(min=0)]
        group = self.by_code(self.group)
        left = open_groups(digits, allowed, group, self.groups, self.subtokenizer)
        return left | (partner < 0)[:, None]

    @property
    def later(self) -> Any:
        """(S,) bool: the second of two linked positions, which a step that reveals both draws given
        the first; None where there are no links."""
        if self.partner is None:
            return None
        number = torch.arange(len(self.partner), device=self.partner.device)
        return (self.partner >= 0) & (self.partner < number)

    def restrict(self, logits: Tensor, position: Tensor, groups: Tensor | None = None) -> Tensor:
        """Logits (R, V), by code, of what a head gives for rows, (R, V) or (R, L, b): -inf for what
        `allowed` excludes at their positions (R,), and for what is of none of the `groups` (R, G)
        of `open_groups`.  ValueError where there are links, and no groups are given."""
        units = self.subtokenizer
        vocab_size, length, base = units.vocab_size, units.length, units.base
        if logits.ndim == 3 and logits.shape[1:] == (length, base):
            logits = of_independent_digits(logits)[:, :vocab_size]
        if logits.shape[1:] != (vocab_size,):
            raise ValueError(
                f"the network returned {tuple(logits.shape[1:])} logits a row; expected "
                f"({vocab_size},) or ({length}, {base})"
            )
        if self.allowed is not None:
            allowed = self.by_code(self.allowed)
            allowed = allowed if allowed.ndim == 1 else allowed[position]
            logits = logits.masked_fill(~allowed, -torch.inf)
        if self.partner is not None:
            if groups is None:
                raise ValueError(
                    "positions of this model are linked, and what is revealed at a partner decides "
                    "what can be: give the groups of open_groups"
                )
            logits = logits.masked_fill(~groups[:, self.by_code(self.group)], -torch.inf)
        return logits

    def log_probs(
        self, logits: Tensor, digits: Tensor, position: Tensor, groups: Tensor | None = None
    ) -> Tensor:
        """log mu of rows: logits (R, V) or (R, L, b), their digits in z (R, L), their positions
        (R,) -> (R, V), by code.

        Zero probability (-inf) for what `restrict` excludes, by `groups` among others, and for
        tokens that disagree with the revealed digits (carry-over).  A token of one digit is taken
        to be masked.
        """
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        logits = self.restrict(logits, position, groups)
        if self.subtokenizer.length > 1:
            agrees = consistent(digits, self.subtokenizer.base)[:, : self.subtokenizer.vocab_size]
            logits = logits.masked_fill(~agrees, -torch.inf)
        return logits.log_softmax(-1)


def of_independent_digits(logits: Tensor) -> Tensor:
    """Logits (R, L, b) of digits -> (R, b**L) of codes: log P(code) is the sum of its digits'."""
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    joint = logits[:, 0]
    for j in range(1, logits.shape[1]):
        joint = (joint[:, :, None] + logits[:, j, None, :]).flatten(1)
    return joint


def check_allowed(x: Tensor, seen: Tensor, allowed: Tensor) -> None:
    """ValueError for a value of x (B, S), where it is `seen`, that its position cannot have."""
    if allowed.ndim == 2 and x.shape[1] != len(allowed):
        raise ValueError(
            f"x has {x.shape[1]} positions, but allowed names the values of {len(allowed)}"
        )
    wrong = ~allowed_at(allowed, x) & seen
    if bool(wrong.any()):
        b, s = wrong.nonzero()[0].tolist()
        raise not_allowed(allowed, int(x[b, s]), f"at position {s} (example {b})")


def not_allowed(allowed: Tensor, value: int, where: str) -> ValueError:
    """A value where it cannot be, by `allowed` (S, V) or (V,)."""
    if allowed.ndim == 2:
        return ValueError(f"value {value} is not allowed {where}")
    return ValueError(
        f"value {value}, {where}, is none that this network knows or can draw: "
        "leave out what has it"
    )


def allowed_at(allowed: Tensor, x: Tensor) -> Tensor:
    """(B, S) bool: whether the positions of x (B, S) can have its values."""
    if allowed.ndim == 1:
        return allowed[x]
    return allowed[torch.arange(x.shape[1], device=x.device), x]


def same_codes(model: Alphabets, keys) -> None:
    """After weights are loaded, ValueError if they are of a model with other codes: the rows of its
    head stand for other tokens."""
    if model.codes is None:
        return
    ours = model.subtokenizer.code(torch.arange(len(model.codes)))
    if not torch.equal(model.codes.cpu(), ours):
        raise ValueError(
            "these are the weights of a model whose tokens have other codes: build the "
            "Subtokenizer with its codes"
        )
