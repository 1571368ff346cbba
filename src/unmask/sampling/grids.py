"""Times at which a sampler's states are taken."""

import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from unmask.config import TIMED, GridName
from unmask.diffusion import MaskedDiffusion
from unmask.documents import read_json, whole
from unmask.files import no_file
from unmask.schedules import Schedule


def uniform(i: Tensor) -> Tensor:
    return 1 - i


def cosine(i: Tensor) -> Tensor:
    """Few reveals first."""
    ts = torch.cos(torch.pi / 2 * i)
    ts[-1] = 0  # the cosine of a rounded pi/2 is not
    return ts


STEPS = 256  # of a sampler that needs some, where nobody says how many
# of i / steps, from 0 to 1
GRIDS: dict[GridName, Callable[[Tensor], Tensor]] = {"cosine": cosine, "uniform": uniform}


def time_grid(steps: int, kind: str = "cosine") -> Tensor:
    """(steps + 1,) float64 times from exactly 1 to exactly 0; `kind`: one of `GRIDS`."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if kind not in GRIDS:
        raise ValueError(f'grid must be "uniform" or "cosine", not {kind!r}')
    return GRIDS[kind](torch.arange(steps + 1, dtype=torch.float64) / steps)


def read_grid(path: Path, digits: int = 1) -> Tensor:
    """(T + 1,) float64 shares of units that are masked, from 1 to 0, of a file of `unmask grid`.

    digits: units of a token.  ValueError where the file counts whole tokens and they are several.
    """
    if not path.is_file():
        named = f"grid must be {' or '.join(GRIDS)}, or a file that unmask grid wrote"
        raise no_file(path, f"{named}: there is no file {path}")
    said = read_json(path, {"counts": [whole(0)], "masking?": str})
    counts = said["counts"]
    if digits > 1 and "masking" in said:  # of unmask grid, which counts tokens
        raise ValueError(
            f"{path} counts whole tokens, and here their {digits} digits are revealed one by one: "
            "give cosine, uniform or, of --estimator counts, --masking token"
        )
    falls = all(a > b for a, b in itertools.pairwise(counts))
    if len(counts) < 2 or counts[-1] != 0 or not falls:
        raise ValueError(f"{path}: counts must fall from the number of units to 0: {counts[:8]}")
    return torch.tensor(counts, dtype=torch.float64) / counts[0]


def times_of(
    model: MaskedDiffusion, sampler: str, steps: int | None, grid: str | Tensor
) -> Tensor | None:
    """(T + 1,) the times of a sampler; None: as many steps as there are masked units, one each.

    `grid`: the kind of a time grid, or the shares of units that are masked, as `read_grid` says.
    """
    if model.one_by_one:
        if steps is not None or grid != "cosine":
            raise ValueError(
                f"--rival {model.rival} draws one position a step: leave out steps and grid"
            )
        return None
    if not isinstance(grid, str):
        if steps not in (None, len(grid) - 1):
            raise ValueError(f"the grid has {len(grid) - 1} steps, not {steps}: leave steps out")
        if model.schedule.num_values > 1:
            raise ValueError(
                "a grid of numbers of masked units needs a schedule with one curve for all values"
            )
        return model.schedule.inverse(1 - grid)
    if steps is None and sampler not in TIMED:
        time_grid(1, grid)  # an error here, if there is no such grid
        return None
    return time_grid(STEPS if steps is None else steps, grid)


def idle_share(schedule: Schedule, ts: Tensor, units: int) -> float:
    """The expected share of ancestral steps on the grid ts (T + 1,), from 1 to 0, that reveal none
    of `units` masked units.

    sum_i (1 - (alpha_s - alpha_t))^units / T over the steps from t to s: each unit is revealed in
    that step with probability alpha_s - alpha_t, on its own.  MDM-Prime's Figure 1 (arXiv
    2505.18495), units = tokens times digits: at 1024 tokens, 1024 uniform steps and the linear
    schedule 36.77 %, 13.52 %, 1.83 %, 0.25 % for 1, 2, 4, 6 digits.  ValueError for one curve per
    value.
    """
    if schedule.num_values > 1:
        raise ValueError(
            "the share of idle steps depends on the values where the schedule has one curve per "
            "value"
        )
    t, s = ts[:-1].double(), ts[1:].double()
    # alpha_s - alpha_t would cancel
    revealed = (schedule.masked(t) * schedule.reveal(t, s))[:, 0]
    return float((1 - revealed).pow(units).mean())
