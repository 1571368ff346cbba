"""`sample`: a sampler by name, from nothing or from a state with holes, to token ids."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from unmask.categorical import categorical
from unmask.config import DrawName, check_own, one_of
from unmask.diffusion import Generator, MaskedDiffusion
from unmask.sampling.grids import times_of
from unmask.sampling.names import SAMPLERS
from unmask.sampling.state import Guidance


def sample(
    model: MaskedDiffusion,
    *,
    num: int | None = None,
    length: int | None = None,
    sampler: str = "ancestral",
    steps: int | None = None,
    grid: str | Tensor = "cosine",
    z: Tensor | None = None,
    cond=None,
    valid: Tensor | None = None,
    ends: Tensor | None = None,
    holes: Tensor | None = None,
    generator: Generator = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    guidance: Guidance | None = None,
    draw: DrawName = "exact",
    **own: Any,
) -> Tensor:
    """(num, length) token ids, by default 16, from nothing; or (B, S), from z (B, S*L).

    The masked units of `z` are filled in.  `holes` (B, S) bool: fill in those positions only; what
    else is masked stays so, and is -1.  Also -1: where `valid` is False.
    `cond`, `valid`, `ends`: what the network is told, see `batch.told`.

    `length` None: the length that the model was trained at or, where its data has a length model
    (`draw_lengths`), a draw from that for each sequence, and num rows as long as the longest, -1
    after the end.  `sampler`: one of `SAMPLERS`, such as "ancestral" in `steps` steps, by default
    256, of the grid `grid`; one of `in_order`, by default one unit a step.  `own`: its own number,
    gamma, eta or corrections.  temperature 1 and top_p 1 (`policies.nucleus`) are the model's own
    law; anything else is not.  `guidance`: see `guided`.  `draw`: see `categorical.DRAWS`.
    """
    if z is None:
        if num is None:
            num = 16
        if length is None and valid is None and "lengths" in model.meta.get("data", {}):
            sizes = draw_lengths(model, num, generator)
            length = int(sizes.max())
            valid = torch.arange(length) < sizes[:, None]
        if length is None:
            length = model.meta.get("length")
        if length is None:
            raise ValueError("the model does not say at which length it was trained: give length=")
        if num < 1 or length < 1:
            raise ValueError(f"num and length must be at least 1, not {num} and {length}")
        size = length * model.subtokenizer.length
        z = torch.full((num, size), model.mask_id, device=model.device)
    elif length is not None or num is not None:
        raise ValueError(f"z already fixes number and length: leave out num={num}, length={length}")
    if sampler == "first_hitting":
        steps, grid = 1, "cosine"  # its law depends on neither
    given = {"cond": cond, "valid": valid, "ends": ends, "holes": holes}
    how = {"generator": generator, "temperature": temperature, "top_p": top_p, "draw": draw}
    how |= {"guidance": guidance} | own
    states = trajectory(model, z, sampler=sampler, steps=steps, grid=grid, **given, **how)
    last = deque(states, maxlen=1)  # empty where nothing is masked
    return to_tokens(model, last[0] if last else z, valid, holes)


def draw_lengths(model: MaskedDiffusion, num: int, generator: Generator = None) -> Tensor:
    """(num,) lengths drawn from those of the training sequences, as saved with the model.

    Only from those up to the trained length or, where the data say "longer": "cut", with longer
    ones as so long.  ValueError where none is saved, none is that short, or num is below 1.
    """
    if num < 1:
        raise ValueError(f"num must be at least 1, not {num}")
    longest = model.meta["length"]
    data = model.meta["data"]
    histogram = data.get("lengths", {})  # of JSON, so its keys are strings
    kept = {int(length): count for length, count in histogram.items() if int(length) <= longest}
    longer = sum(histogram.values()) - sum(kept.values())
    if longer and data.get("longer") == "cut":
        kept[longest] = kept.get(longest, 0) + longer
    if not kept:
        found = f"no training sequence is as short as {longest}, the trained length"
        raise ValueError(f"{found}: give a length")
    lengths = torch.tensor(list(kept))
    counts = torch.tensor(list(kept.values()), dtype=torch.float64)
    return lengths[categorical(counts.log().expand(num, -1), generator=generator)]


def trajectory(
    model: MaskedDiffusion,
    z: Tensor,
    *,
    sampler: str = "ancestral",
    steps: int | None = None,
    grid: str | Tensor = "cosine",
    **how,
) -> Iterator[Tensor]:
    """The states that a sampler, chosen by name, passes through, from z (B, S*L) to revealed, one
    for each step: see `times_of`."""
    chosen = sampler_of(model, sampler)
    check_own(sampler, *how)
    return chosen(model, z, times_of(model, sampler, steps, grid), **how)


def sampler_of(model: MaskedDiffusion, name: str) -> Callable[..., Iterator[Tensor]]:
    """One of `SAMPLERS`, or of those that a rival has in their place; ValueError for none."""
    known = SAMPLERS if model.samplers is None else model.samplers
    one_of(f"sampler of --rival {model.rival}" if model.rival else "sampler", name, tuple(known))
    return known[name]


def to_tokens(
    model: MaskedDiffusion, z: Tensor, valid: Tensor | None = None, holes: Tensor | None = None
) -> Tensor:
    """A revealed z (B, S*L) as token ids (B, S).

    -1 where `valid` is False, and where it is masked beside the `holes`.
    """
    length = model.subtokenizer.length
    revealed = (z != model.mask_id).unflatten(1, (-1, length)).all(-1)
    there = torch.ones_like(revealed)
    if valid is not None:
        there = valid.to(z.device)
    if holes is not None:
        there = there & (holes.to(z.device) | revealed)
    x = model.subtokenizer.decode(z.masked_fill(~there.repeat_interleave(length, 1), 0))
    return x.masked_fill(~there, -1)
