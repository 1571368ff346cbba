"""Two positions that tell of one thing: what a revealed one leaves the other to be.

Values are sorted into groups, and two linked positions always have values of one group: whether a
cell of a table has a value, and which, say.  So what is revealed at one of them decides what the
other can be: a certainty, for every network, like that of carry-over.
"""

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from unmask.subtokens import Subtokenizer, consistent


def check_links(
    links: tuple[Tensor, Tensor], allowed: Tensor, subtokenizer: Subtokenizer
) -> tuple[Tensor, Tensor]:
    """`partner` (S,) and `group` (V,), as int64.

    ValueError unless links go both ways, and each value of a linked position, `allowed` (S, V),
    has one of its group at the other.
    """
    partner, group = (torch.as_tensor(part).long() for part in links)
    shapes = tuple(partner.shape), tuple(group.shape)
    if shapes != ((len(allowed),), (subtokenizer.vocab_size,)):
        wanted = (len(allowed),), (subtokenizer.vocab_size,)
        raise ValueError(f"links must be of shapes {wanted}, not {shapes}")
    if bool(((partner < -1) | (partner >= len(partner))).any()) or bool((group < 0).any()):
        raise ValueError("links name a position or -1 for each position, and groups from 0 on")
    linked = (partner >= 0).nonzero()[:, 0]
    back = partner[partner[linked]]
    if bool((back != linked).any()) or bool((partner[linked] == linked).any()):
        raise ValueError("links go both ways, between two positions: give each the other's number")
    groups = groups_of(allowed, group, int(group.max()) + 1)
    alone = groups[linked] & ~groups[partner[linked]]
    if bool(alone.any()):
        at = int(linked[alone.any(1)][0])
        raise ValueError(
            f"a value allowed at position {at} has none of its group at the linked position "
            f"{int(partner[at])}: leave it out of allowed"
        )
    return partner, group


def groups_of(fits: Tensor, group: Tensor, groups: int) -> Tensor:
    """(R, G) bool: which of the `groups` G have a value, group (V,), that `fits` (R, V) marks."""
    return (fits.float() @ one_hot(group, groups).float()) > 0


def open_groups(
    digits: Tensor, allowed: Tensor, group: Tensor, groups: int, subtokenizer: Subtokenizer
) -> Tensor:
    """(R, G) bool: which of the `groups` G positions with these digits (R, L), some of them masked,
    can still have; `allowed` (R, V) and `group` (V,) by code."""
    fits = consistent(digits, subtokenizer.base)[:, : subtokenizer.vocab_size]
    return groups_of(fits & allowed, group, groups)


def check_agreement(x: Tensor, seen: Tensor, partner: Tensor, group: Tensor) -> None:
    """ValueError for values of x (B, S), both `seen`, of two groups at linked positions."""
    at = partner.clamp(min=0)
    both = seen & seen[:, at] & (partner >= 0)
    wrong = both & (group[x] != group[x[:, at]])
    if bool(wrong.any()):
        b, s = wrong.nonzero()[0].tolist()
        raise ValueError(
            f"value {int(x[b, s])} at position {s} contradicts value {int(x[b, at[s]])} at the "
            f"linked position {int(partner[s])} (row {b})"
        )
