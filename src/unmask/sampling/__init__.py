"""The reverse process: time grids, samplers, and `sample`, which drains one."""

from unmask.sampling.draws import draw_lengths, sample, sampler_of, to_tokens, trajectory
from unmask.sampling.grids import GRIDS, STEPS, idle_share, read_grid, time_grid, times_of
from unmask.sampling.names import OF_ANY_SCHEDULE, SAMPLERS
from unmask.sampling.remasking import forward_backward, remdm
from unmask.sampling.samplers import ancestral, entropy_bounded, first_hitting, in_order
from unmask.sampling.state import How, guided

__all__ = [
    "GRIDS", "OF_ANY_SCHEDULE", "SAMPLERS", "STEPS", "How", "ancestral", "draw_lengths",
    "entropy_bounded", "first_hitting", "forward_backward", "guided", "idle_share", "in_order",
    "read_grid", "remdm", "sample", "sampler_of", "time_grid", "times_of", "to_tokens",
    "trajectory",
]  # fmt: skip
