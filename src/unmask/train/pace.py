"""How long a run is, and what the learning rates are multiplied by over it.

--minutes become a number of steps by the rate of the first of them; as the rate changes, since
other programs come and go, the number is corrected.
"""

import math
from dataclasses import dataclass

from unmask.config import TrainConfig
from unmask.documents import NUMBER, Test

# the first steps are slow and do not count; then a rate is taken over at least so many steps and
# so large a share of the minutes, or one minute
SLOW, LEAST, WINDOW = 5, 5, 0.06
WRONG = 0.03  # a plan stays while no more than this share of its steps is to be added or dropped

OF_FALL = {
    "over": Test(lambda v: NUMBER.holds(v) and v > 0, "a number of steps"),
    "left": Test(lambda v: NUMBER.holds(v) and 0 < v <= 1, "a share, above 0"),
}


@dataclass(frozen=True)
class Fall:
    """Down to 0 at step `end`, from `left`, over the last `over` steps before it."""

    end: int
    over: float
    left: float = 1.0

    @classmethod
    def of(cls, config: TrainConfig, run: dict) -> "Fall | None":
        """What run.json says of it; None while its number of steps is not known."""
        if not run["steps"]:
            return None
        end, known = run["steps"], run.get("fall")
        if known is None:
            return cls(end, end * config.decay_share)
        return cls(end, known["over"], known["left"])

    def at(self, step: int) -> float:
        return min(self.left, self.left * ((self.end - step) / self.over))


def rate_factor(config: TrainConfig, step: int, fall: Fall | None) -> float:
    """What the learning rates are multiplied by at `step`.

    Up over the first `warmup` steps, and down as `fall` says; not down while it is None.
    """
    up = min(1.0, (step + 1) / max(1, config.warmup))
    left = 1.0 if fall is None else fall.at(step)
    if config.decay == "linear":
        return up * left
    return up * (0.5 - 0.5 * math.cos(math.pi * left))


def planned(config: TrainConfig, step: int, before: Fall | None, steps: int) -> dict:
    """What run.json says of a run that is told at `step` that it ends at `steps`.

    The factor goes on from what it is at `step`, without a jump.
    """
    left = 1.0 if before is None else before.at(step)
    over = float(steps - step)
    if left == 1:
        over = min(over, steps * config.decay_share)
    return {"steps": steps, "fall": {"over": over, "left": left}}


class Pace:
    """The rate of a run's steps, and what it makes of `minutes`.

    Times are those of one clock, in seconds; `step` is the number of steps that were taken.
    """

    def __init__(self, minutes: float, step: int, now: float):
        self.seconds = 60 * minutes
        self.first = step + SLOW
        self.began = now  # since the first step that counts
        self.stepping = 0.0  # seconds since `began` in steps, without evaluations and checkpoints
        self.window = (self.first, now, 0.0)  # its first step, when that was, `stepping` then

    def took(self, step: int, before: float, now: float) -> None:
        """The last step began and ended so."""
        if step <= self.first:
            self.began, self.window = now, (step, now, 0.0)
        else:
            self.stepping += now - before

    def due(self, step: int, now: float) -> bool:
        """Whether the rate is known since the last `steps`."""
        first, began, _ = self.window
        return step >= first + LEAST and now - began > min(WINDOW * self.seconds, 60)

    def steps(self, step: int, spent: float, now: float, plan: int) -> int:
        """In how many steps the minutes end, `spent` seconds of which are over.

        At the rate of the steps since the last call, and with as much beside steps as so far.
        `plan` (0: there is none) where it is about right.
        """
        first, _, before = self.window
        self.window = (step, now, self.stepping)
        a_step = (self.stepping - before) / (step - first)
        share = self.stepping / (now - self.began)
        steps = max(step + 1, step + round(share * (self.seconds - spent) / a_step))
        return plan if abs(steps - plan) <= WRONG * plan else steps
