"""Positions whose values have weights, drawn before all others.

A weight is how probable it is, given its value, that a position is as it should be.  One such
position is drawn from the model's law of it times the weights, normalised: a draw of the model,
given that it is so.  Several are drawn together by a sampler, again and again, and a draw is
accepted with the product of its weights: the law of these positions, as the sampler draws them
first, given that all are so.
"""

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from unmask.batch import told as of_rows
from unmask.diffusion import MaskedDiffusion
from unmask.masks import OfRows
from unmask.sampling.draws import trajectory
from unmask.sampling.state import How, State

Weights = Mapping[int, Tensor]  # of a row: by position, (V,) in [0, 1] of its values, by token
# of a batch, where a row is still not accepted: so many draws a row, and so many more, are enough
OF_ROW, OF_ALL = 1000, 10_000


def check_restricted(model: MaskedDiffusion) -> None:
    """ValueError for a model that has no law of a few positions by themselves."""
    if model.schedule.num_values > 1:
        raise ValueError(
            "conditions that several values satisfy need a schedule with one curve for all values: "
            "with a learned one, being masked at t says something about a value, and being drawn "
            "later does not; name single values"
        )


@torch.no_grad()
def draw_one(
    model: MaskedDiffusion, z: Tensor, weights: Sequence[Weights], **how: Unpack[How]
) -> Tensor:
    """z (B, S*L) with the one position of each row's `weights`, masked so far, drawn from its law
    times these.  ValueError where no value of the nucleus has a weight."""
    state = State(model, z, torch.tensor([1.0, 0.0]), **how)
    rows = torch.arange(len(z), device=state.z.device)
    position = torch.tensor([next(iter(one)) for one in weights], device=state.z.device)
    of_values = torch.stack([next(iter(one.values())) for one in weights])
    seen = state.look(rows, state.fitting())
    logp = state.log_probs(seen, rows, position).double()
    logp += model.by_code(of_values.to(logp)).log()
    if bool((logp.amax(-1) == -torch.inf).any()):
        raise ValueError(
            f"none of the values that top_p {state.top_p:g} leaves satisfies the conditions: "
            "leave top_p out"
        )
    code = state.draw(logp, u=state.uniform(len(z)))
    digits = model.subtokenizer.digits(code[:, None])
    state.z.unflatten(1, (-1, state.digits))[rows, position] = digits
    return state.z


def draw_together(
    model: MaskedDiffusion,
    z: Tensor,
    weights: Sequence[Weights],
    *,
    chance: Callable[[list[int], list[int]], OfRows],
    at_a_time: int,
    told: Callable[[int, int], None],
    cond: Tensor | None = None,
    valid: Tensor | None = None,
    ends: Tensor | None = None,
    **how,
) -> Tensor:
    """z (B, S*L) with the positions of each row's `weights` drawn by a sampler, and accepted.

    `chance`: of the draws of these rows with these numbers; a row's are numbered from 0, and the
    first that is accepted counts, so what becomes of a row does not depend on the others.  `told`:
    how many were accepted, and drawn up to then.  `at_a_time`: draws of a batch.  `how`: of
    `trajectory`.  ValueError where too few are accepted.
    """
    z, holes = z.clone(), torch.zeros(len(z), z.shape[1] // model.subtokenizer.length).bool()
    for row, one in enumerate(weights):
        holes[row, list(one)] = True
    given = of_rows(z.device, cond, valid, ends)
    left, tried, wave = list(range(len(z))), [0] * len(z), 1
    while left:
        many = max(1, min(wave, at_a_time // len(left)))
        rows = [row for row in left for _ in range(many)]
        draws = chance(rows, [tried[row] + k for row in left for k in range(many)])
        own: dict[str, Any] = {name: value[rows] for name, value in given.items()}
        states = trajectory(model, z[rows], holes=holes[rows], generator=draws, **own, **how)
        drawn = deque(states, maxlen=1).pop()
        ids = model.subtokenizer.decode(drawn.masked_fill(drawn == model.mask_id, 0)).tolist()
        fits = [
            math.prod(float(of[x[at]]) for at, of in weights[row].items())
            for x, row in zip(ids, rows, strict=True)
        ]
        accepted = draws.uniform(len(rows)) < torch.tensor(fits, dtype=torch.float64)
        accepted = accepted.view(-1, many)
        found, first = accepted.any(1).tolist(), accepted.int().argmax(1).tolist()
        for i, row in enumerate(left):
            tried[row] += first[i] + 1 if found[i] else many
            if found[i]:
                z[row] = drawn[i * many + first[i]]
        left = [row for row, so in zip(left, found, strict=True) if not so]
        done, total = len(z) - len(left), sum(tried)
        told(done, total)
        if left and total > OF_ROW * len(z) + OF_ALL:
            raise ValueError(
                f"{done:,} of {total:,} draws satisfied the conditions, too few to go on: give "
                "fewer conditions that several values satisfy, or name single values, which cost "
                "no draws"
            )
        wave *= 2
    return z
