"""The reverse process: time grids, samplers, and `sample`, which drains one."""

from unmask.sampling.draws import draw_lengths, sample, to_tokens, trajectory
from unmask.sampling.grids import GRIDS, idle_share, time_grid
from unmask.sampling.samplers import SAMPLERS, ancestral, first_hitting
from unmask.sampling.state import guided

__all__ = [
    "GRIDS", "SAMPLERS", "ancestral", "draw_lengths", "first_hitting", "guided", "idle_share",
    "sample", "time_grid", "to_tokens", "trajectory",
]  # fmt: skip
