"""What a page sets, and what it may be."""

from typing import Any, NamedTuple

from unmask.config import Sampling
from unmask.documents import Test, one_of, whole
from unmask.sampling import GRIDS, SAMPLERS

SEEDS = 2**48
CORRECTIONS = 16  # of a step, each of many network calls


class Settings(NamedTuple):
    """What a page sets."""

    sampling: Sampling
    seed: int
    num: int
    score: bool

    @classmethod
    def of(cls, said: dict[str, Any]) -> "Settings":
        """Of values by the names of SETTINGS; ValueError for what has no effect with the others."""
        own = {name: said[name] for name in cls._fields if name != "sampling"}
        sampling = Sampling(**{name: value for name, value in said.items() if name not in own})
        sampling.check(watched=True)
        return cls(sampling, **own)


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
    "top_p": number(0, 1, positive=True),
    "gamma": number(0, 1e6),
    "eta": number(0, 1),
    "corrections": Test(
        lambda v: type(v) is int and 1 <= v <= CORRECTIONS,
        f"a whole number from 1 to {CORRECTIONS}",
    ),
    "guidance": number(-100, 100),
    "seed": Test(lambda v: type(v) is int and 0 <= v < SEEDS, "a whole number from 0 to 2^48 - 1"),
    "num": whole(1),
    "score": bool,
}
