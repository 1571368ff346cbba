"""The reverse process: time grids, samplers, and `sample`, which drains one."""

from unmask.sampling.draws import draw_lengths, sample, sampler_of, to_tokens, trajectory
from unmask.sampling.grids import GRIDS, STEPS, idle_share, read_grid, time_grid, times_of
from unmask.sampling.samplers import SAMPLERS, ancestral, first_hitting, in_order
from unmask.sampling.state import guided

__all__ = [
    "GRIDS", "SAMPLERS", "STEPS", "ancestral", "draw_lengths", "first_hitting", "guided",
    "idle_share", "in_order", "read_grid", "sample", "sampler_of", "time_grid", "times_of",
    "to_tokens", "trajectory",
]  # fmt: skip
