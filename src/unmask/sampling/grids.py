"""Times at which a sampler's states are taken."""

from collections.abc import Callable

import torch
from torch import Tensor

from unmask.config import GridName
from unmask.schedules import Schedule


def uniform(i: Tensor) -> Tensor:
    return 1 - i


def cosine(i: Tensor) -> Tensor:
    """Few reveals first."""
    ts = torch.cos(torch.pi / 2 * i)
    ts[-1] = 0  # the cosine of a rounded pi/2 is not
    return ts


# of i / steps, from 0 to 1
GRIDS: dict[GridName, Callable[[Tensor], Tensor]] = {"cosine": cosine, "uniform": uniform}


def time_grid(steps: int, kind: str = "cosine") -> Tensor:
    """(steps + 1,) float64 times from exactly 1 to exactly 0; `kind`: one of `GRIDS`."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if kind not in GRIDS:
        raise ValueError(f'grid must be "uniform" or "cosine", not {kind!r}')
    return GRIDS[kind](torch.arange(steps + 1, dtype=torch.float64) / steps)


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
