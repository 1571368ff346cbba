"""What a page sets, and what it may be."""

from typing import Any, NamedTuple

from unmask.documents import Test, one_of, whole
from unmask.sampling import GRIDS, SAMPLERS

SEEDS = 2**48


class Settings(NamedTuple):
    """The sampler's, and what is asked of it."""

    sampler: str
    steps: int  # 0: as many as the sampler takes by itself
    grid: str
    temperature: float
    guidance: float
    seed: int
    num: int
    score: bool


def number(least: float, most: float, *, positive: bool = False) -> Test:
    what = f"a number from {least:g} to {most:g}" + ", not 0" * positive

    def holds(value: Any) -> bool:
        if type(value) not in (int, float) or not least <= value <= most:
            return False
        return value > 0 or not positive

    return Test(holds, what)


SETTINGS = {
    "sampler": one_of(*SAMPLERS),
    "steps": whole(0),
    "grid": one_of(*GRIDS),
    "temperature": number(0, 100, positive=True),
    "guidance": number(-100, 100),
    "seed": Test(lambda v: type(v) is int and 0 <= v < SEEDS, "a whole number from 0 to 2^48 - 1"),
    "num": whole(1),
    "score": bool,
}
