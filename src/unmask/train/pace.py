"""How long a run is, and what the learning rates are multiplied by over it.

--minutes become a number of steps by the rate of the first of them; as the rate changes, since
other programs come and go, the number is corrected.
"""

import math
import statistics
from dataclasses import dataclass

from unmask.config import TrainConfig
from unmask.documents import NUMBER, Test

# the first steps are slow and do not count; then a rate is taken over at least so many steps and
# so large a share of the minutes, the first time over no more than so many seconds; once half of
# the minutes are over, every step counts, and one is enough for a first plan
SLOW, LEAST, WINDOW, FIRST = 5, 5, 0.06, 60.0
WRONG = 0.03  # of the minutes: a plan stays while it is off by no more
# of the steps so far: in no fewer do the learning rates fall from where they begin to nothing,
# even if the minutes are over
LAST = 0.05

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

    The factor goes on from what it is at `step`, or goes up to what it would be had the run been
    planned so from the beginning.
    """
    left = 1.0 if before is None else before.at(step)
    left = max(left, Fall(steps, steps * config.decay_share).at(step))
    over = float(steps - step)
    if left == 1:
        over = min(over, steps * config.decay_share)
    return {"steps": steps, "fall": {"over": over, "left": left}}


class Pace:
    """The rate of a run's steps, and what it makes of `minutes`.

    Times are those of one clock, in seconds; `step` is the number of steps that were taken.
    `spent`: seconds of a run without a plan that were over before `now`.
    """

    def __init__(self, minutes: float, step: int, now: float, spent: float = 0.0):
        self.seconds = 60 * minutes
        self.first = step + SLOW
        self.pressing = now + max(0.0, self.seconds / 2 - spent)
        self.began = now  # when steps began to count
        self.stepping = 0.0  # seconds since then in steps, without evaluations and checkpoints
        self.since = now  # the last call of `steps`
        self.recent: list[float] = []  # seconds of each step since then

    def took(self, step: int, before: float, now: float) -> None:
        """The last step began and ended so."""
        if step <= self.first and now < self.pressing:
            self.began = self.since = now
            return
        self.first = min(self.first, step - 1)
        self.stepping += now - before
        self.recent.append(now - before)

    def due(self, now: float, plan: int) -> bool:
        """Whether enough steps tell the rate, since the last call of `steps`."""
        if not plan and now >= self.pressing and self.recent:
            return True
        window = WINDOW * self.seconds
        enough = window if plan else min(window, FIRST)
        return len(self.recent) >= LEAST and now - self.since > enough

    def steps(self, step: int, spent: float, now: float, plan: int, left: float) -> int:
        """In how many steps the minutes end, `spent` seconds of which are over.

        A step takes what it took on average and what most took since the last call, half each: what
        came and went counts a little, what came to stay counts more each time.  As much goes beside
        steps as so far.  `plan` (0: there is none) where it is about right.  `left`: the factor of
        the learning rates, which have to fall.
        """
        a_step = self.stepping / (step - self.first) / 2 + statistics.median(self.recent) / 2
        share = self.stepping / (now - self.began)
        self.since, self.recent = now, []
        fit = round(share * (self.seconds - spent) / a_step)
        steps = step + max(1, round(LAST * step * left), fit)
        return plan if plan and abs(steps - plan) * a_step <= WRONG * self.seconds else steps
