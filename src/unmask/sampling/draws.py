"""`sample`: a sampler by name, from nothing or from a state with holes, to token ids."""

from collections import deque
from collections.abc import Iterator

import torch
from torch import Tensor

from unmask.categorical import categorical
from unmask.diffusion import MaskedDiffusion
from unmask.sampling.grids import time_grid
from unmask.sampling.samplers import SAMPLERS
from unmask.sampling.state import Generator, Guidance


def sample(
    model: MaskedDiffusion,
    *,
    num: int | None = None,
    length: int | None = None,
    sampler: str = "ancestral",
    steps: int = 256,
    grid: str = "cosine",
    z: Tensor | None = None,
    cond=None,
    valid: Tensor | None = None,
    holes: Tensor | None = None,
    generator: Generator = None,
    temperature: float = 1.0,
    guidance: Guidance | None = None,
) -> Tensor:
    """(num, length) token ids, by default 16; or z (B, S*L) with its masked units filled in: (B,
    S).  -1 where `valid` is False.

    `holes` (B, S) bool: fill in those positions only; what else is masked stays so, and is -1.

    `length` None: the length that the model was trained at or, where its data has a length model
    (`draw_lengths`), a draw from that for each sequence, and num rows as long as the longest, -1
    after the end.  `sampler`: "ancestral" in `steps` steps of the time grid `grid`, or
    "first_hitting".  temperature 1 is the model's own law; anything else is not.  `guidance`: see
    `guided`.
    """
    if z is None:
        num = 16 if num is None else num
        if length is None and valid is None and "lengths" in model.meta.get("data", {}):
            sizes = draw_lengths(model, num, generator)
            length, valid = int(sizes.max()), torch.arange(int(sizes.max())) < sizes[:, None]
        length = model.meta.get("length") if length is None else length
        if length is None:
            raise ValueError("the model does not say at which length it was trained: give length=")
        if num < 1 or length < 1:
            raise ValueError(f"num and length must be at least 1, not {num} and {length}")
        size = length * model.subtokenizer.length
        z = torch.full((num, size), model.mask_id, device=model.device)
    elif length is not None or num is not None:
        raise ValueError(f"z already fixes number and length: leave out num={num}, length={length}")
    steps = 1 if sampler == "first_hitting" else steps  # its law does not depend on the grid
    given = {"cond": cond, "valid": valid, "holes": holes}
    how = {"generator": generator, "temperature": temperature, "guidance": guidance}
    states = trajectory(model, z, sampler=sampler, steps=steps, grid=grid, **given, **how)
    return to_tokens(model, deque(states, maxlen=1).pop(), valid, holes)


def draw_lengths(model: MaskedDiffusion, num: int, generator: Generator = None) -> Tensor:
    """(num,) lengths drawn from those of the training sequences, as saved with the model; only from
    those up to the trained length.

    ValueError where none is saved, none is that short, or num is below 1.
    """
    if num < 1:
        raise ValueError(f"num must be at least 1, not {num}")
    histogram = {
        int(length): count for length, count in model.meta["data"].get("lengths", {}).items()
    }
    kept = {length: count for length, count in histogram.items() if length <= model.meta["length"]}
    if not kept:
        raise ValueError(
            f"no training sequence is as short as {model.meta['length']}, the trained length: give a length"
        )
    lengths, counts = (
        torch.tensor(list(kept)),
        torch.tensor(list(kept.values()), dtype=torch.float64),
    )
    return lengths[categorical(counts.log().expand(num, -1), generator=generator)]


def trajectory(
    model: MaskedDiffusion,
    z: Tensor,
    *,
    sampler: str = "ancestral",
    steps: int = 256,
    grid: str = "cosine",
    **how,
) -> Iterator[Tensor]:
    """The states that a sampler, chosen by name, passes through: `steps` of them, from z (B, S*L)
    to fully revealed."""
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, not {sampler!r}")
    return SAMPLERS[sampler](model, z, time_grid(steps, grid), **how)


def to_tokens(
    model: MaskedDiffusion, z: Tensor, valid: Tensor | None = None, holes: Tensor | None = None
) -> Tensor:
    """A revealed z (B, S*L) as token ids (B, S), -1 where `valid` is False and what is masked
    beside the `holes`."""
    length = model.subtokenizer.length
    revealed = (z != model.mask_id).unflatten(1, (-1, length)).all(-1)
    there = torch.ones_like(revealed) if valid is None else valid.to(z.device)
    if holes is not None:
        there = there & (holes.to(z.device) | revealed)
    x = model.subtokenizer.decode(z.masked_fill(~there.repeat_interleave(length, 1), 0))
    return x.masked_fill(~there, -1)
