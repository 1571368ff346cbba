"""How times and masks are drawn: from which uniforms, and what they make of a clean sequence.

In training a draw belongs to a micro-batch, whose generator makes it.  In evaluation it belongs to
an example: it is a function of (seed, example, replicate, repeat), so that neither the size of a
batch nor what else is evaluated enters a result.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.categorical import uniform
from unmask.config import MOST_FOCUS
from unmask.schedules import Schedule

BLOCK = 8  # neighbouring examples that share strata; blocks are independent of each other
BITS = 3  # of a number below BLOCK
EXPONENT = 0.5  # of the counts' density, see `drawn_counts`
LEAST = 0.3  # of the weights of many masked units, see `focused_counts`
REPEATS = 4  # an example's own strata, at most
NEWTON = 32  # steps, at most: powers from 0.05 to 20 take 11
GOLDEN = 0x9E3779B97F4A7C15  # any constant: sets the key's second word apart from the seed


class Uniforms(NamedTuple):
    """All the chance of one draw of B examples of U units; float64 in [0, 1)."""

    pick: Tensor  # (B,) picks the count, the time or the interval; stratified
    score: Tensor  # (B, U) independent


class Draw(NamedTuple):
    """One draw of the forward process, and what turns nats at masked units into the bound."""

    t: Tensor  # (B,) float64
    masked: Tensor  # (B, U) bool, scored units alone
    scale: Tensor  # (B,) float64, the factor of the nats
    times: tuple[Tensor, Tensor] | None = None  # (t, s), each (B,), in discrete time
    # (B,) for a schedule with one curve per value: t itself may underflow
    log_t: Tensor | None = None


def draw(
    schedule: Schedule,
    y: Tensor,
    scored: Tensor,
    steps: int | None,
    uniforms: Uniforms,
    shares: Tensor | None = None,
    focus: float = 0.0,
) -> Draw:
    """Times and masks for the units y (B, U), of which only those `scored` (B, U) are masked: the
    estimators of the bound.

    One curve, continuous time: the exact count.  k of the N units are masked, with probability p_k
    and factor 1 / (k p_k), see `drawn_counts`; the k-th smallest of N uniforms has the law of
    1 - alpha_t given k, so the same uniforms give the mask and the time.  No singular weight, no
    cut-off.

    One curve per value (1 - t^w): t from a mixture of the densities a t^(a - 1), a = w / 2, of the
    scored units (`Times`); the factor weight / density is formed without t, which may underflow.

    Discrete time: one of `steps` equal intervals, that which holds such a t, or a uniform one.

    `shares` (T + 1,): k ~ U{1..N}, rounded up to one of `counts_of`: the bound of the sampler
    that leaves exactly those numbers of units masked (arXiv 2110.02037).  A step from k to k' pays
    (k - k') E[CE | k], and k - k' of the N counts are rounded up to k.  One curve only.

    `focus`: counts and factors of a loss that is not the bound, see `focused_counts`.  One curve,
    continuous time.
    """
    u = uniforms.pick
    score = uniforms.score.masked_fill(~scored, 2.0)  # above every threshold: never masked
    power = times = None
    if schedule.num_values > 1:
        curves: Any = schedule  # polynomials, all of them
        power = curves.power.detach().double()[y]
        times = Times.of(power, scored)
    if not 0 <= focus <= MOST_FOCUS:
        raise ValueError(f"focus must lie between 0 and {MOST_FOCUS}, not {focus}")
    if focus and (power is not None or steps is not None or shares is not None):
        raise ValueError("focus is of one curve for all values, in continuous time")
    if steps is not None:
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        drawn = u if times is None else times.log_t(u.clamp(min=2.0**-54)).exp()
        i = (drawn * steps).long().clamp(max=steps - 1).double()
        t, s = (i + 1) / steps, i / steps
        share = t - s if times is None else times.below(t.log()) - times.below(s.log())
        return Draw(t, score < at(schedule.masked(t), y), 1 / share, times=(t, s))
    if power is None or times is None:
        n = scored.sum(-1)
        if focus:
            k, scale = focused_counts(u, n, len(y[0]), focus)
        else:
            k, scale = drawn_counts(u, n, len(y[0]), 0.0 if shares is not None else EXPONENT)
        if shares is not None:
            counts = counts_of(shares, n)
            k = counts.masked_fill(counts < k[:, None], len(y[0])).amin(-1).clamp(min=1)
            scale = n / k.double()
        threshold = score.sort(-1).values.gather(1, k[:, None] - 1).clamp(max=1)
        t = schedule.inverse(1 - threshold[:, 0])
        return Draw(t, (score <= threshold) & scored, scale)
    u = (1 - u).clamp(2.0**-54, 1 - 2.0**-53)  # log(1 - t^w) is finite
    log_t = times.log_t(u)
    hidden = score < (power * log_t[:, None]).exp()
    return Draw(log_t.exp(), hidden, times.factor(log_t), log_t=log_t)


class Times(NamedTuple):
    """The law of the time of an example whose units have powers of their own: of each scored unit
    the density a t^(a - 1), a = w / 2, in equal shares.

    A unit of power w alone pays w / t with probability t^w.  Under this density the second moment
    of that is at most 4 n for n units, whatever the powers are; under a t^(a - 1) with a half the
    least power, it is about 2 w / (least w): few draws would cost much more than all the others.
    """

    a: Tensor  # (B, U) float64
    log_share: Tensor  # (B, U) float64, log(1 / n) where a unit counts

    @classmethod
    def of(cls, power: Tensor, scored: Tensor) -> "Times":
        """Of the powers (B, U) of all units; where none is scored, of all of them."""
        counts = scored | ~scored.any(-1, keepdim=True)
        share = counts.double() / counts.sum(-1, keepdim=True)
        least = power.masked_fill(~counts, torch.inf).amin(-1, keepdim=True)
        return cls(power.where(counts, least) / 2, share.log())

    def below(self, log_t: Tensor) -> Tensor:
        """(B,) P(time <= t), at log t (B,)."""
        return self._terms(log_t).exp().sum(-1)

    def factor(self, log_t: Tensor) -> Tensor:
        """(B,) 1 / (t density(t)), at log t (B,)."""
        return 1 / (self.a * self._terms(log_t).exp()).sum(-1)

    def log_t(self, u: Tensor) -> Tensor:
        """(B,) the log of the time below which the share u (B,) in (0, 1) lies.

        The log of that share is convex in log t, so Newton's method descends from the right, where
        all powers were the largest, and never passes the root.
        """
        goal = u.log()
        log_t = goal / self.a.amax(-1)
        for _ in range(NEWTON):
            terms = self._terms(log_t)
            value = terms.logsumexp(-1)
            slope = (self.a * (terms - value[:, None]).exp()).sum(-1)
            last, log_t = log_t, torch.minimum(log_t, log_t - (value - goal) / slope)
            if bool((last - log_t <= -1e-14 * log_t).all()):
                break
        return log_t

    def _terms(self, log_t: Tensor) -> Tensor:
        return self.a * log_t[:, None] + self.log_share


def drawn_counts(
    u: Tensor, n: Tensor, most: int, exponent: float = EXPONENT
) -> tuple[Tensor, Tensor]:
    """How many of n (B,) units, all at most `most`, are masked: k of 1..n with p_k in proportion to
    k^-exponent, by the uniforms u (..., B); and the factor 1 / (k p_k), both (..., B).

    What few masked units pay varies little but weighs much, so few are drawn more often than many:
    at 1/2 the bound and its gradient have about half the variance that they have at 0, for fewer
    rows of the head.
    """
    k = torch.arange(1, most + 1, device=n.device, dtype=torch.float64)
    below = (k**-exponent).cumsum(0)
    total = below[(n - 1).clamp(min=0)]
    k = (torch.searchsorted(below, u * total, right=True) + 1).minimum(n).clamp(min=1)
    return k, total * k.double() ** (exponent - 1)


def focused_counts(u: Tensor, n: Tensor, most: int, focus: float) -> tuple[Tensor, Tensor]:
    """As `drawn_counts`, each (B,), of a loss that is not the bound: the factor is w_k / (k p_k),
    weights of mean 1 over 1..N where the bound has 1 of every count.  They are in proportion to
    (4 s (1 - s))^focus of the share s = (k - 1/2) / N, but to no less than LEAST above one half: a
    sampler begins where all is masked, and draws from what the network says there.

    As of the bound, few are drawn more often than many: p_k in proportion to w_k k^-1/2.
    """
    n = n.clamp(min=1)
    k = torch.arange(1, most + 1, device=n.device, dtype=torch.float64)
    share = (k - 0.5) / n[:, None]
    weight = (4 * share * (1 - share)).clamp(min=0) ** focus
    weight = torch.where(share > 0.5, weight.clamp(min=LEAST), weight) * (share < 1)
    below = (weight * k**-EXPONENT).cumsum(-1)
    total = below[:, -1]
    k = torch.searchsorted(below, (u * total)[:, None], right=True)[:, 0] + 1
    k = k.minimum(n)
    return k, n / weight.sum(-1) * total * k.double() ** (EXPONENT - 1)


def counts_of(shares: Tensor, n: Tensor) -> Tensor:
    """(B, T + 1) int64: `shares` (T + 1,), falling from 1 to 0, of n (B,) units, rounded."""
    return (shares.to(n.device, torch.float64) * n[:, None]).round().long()


def at(values: Tensor, y: Tensor) -> Tensor:
    """values (B, K) of the units y (B, U): (B, U), or (B, 1) where K = 1."""
    return values if values.shape[-1] == 1 else values.gather(1, y)


# ---------------------------------------------------------------- of a batch


def of_batch(y: Tensor, generator: torch.Generator | None = None) -> Uniforms:
    """For the units y (B, U) of one micro-batch, stratified over it."""
    pick = stratified(len(y), generator, y.device)
    return Uniforms(pick, uniform(*y.shape, generator=generator, device=y.device))


def stratified(n: int, generator: torch.Generator | None = None, device=None) -> Tensor:
    """n uniforms in [0, 1), one in each of n equal strata and mirrored (u and 1 - u come in pairs),
    in random order."""
    j = torch.arange(n, device=device)
    lower = torch.minimum(j, n - 1 - j)
    u = (lower + uniform(n, generator=generator, device=device)[lower]) / n
    u = torch.where(j > lower, 1 - u, u).clamp(max=1 - 2.0**-53)
    return u[uniform(n, generator=generator, device=device).argsort()]


# ---------------------------------------------------------------- of examples


def split_repeats(repeats: int, replicates: int = 2) -> tuple[int, int]:
    """(replicates, repeats of each): the latter share strata and are at most REPEATS, the former
    are independent.

    At least `replicates` of them, if there are as many repeats: the degrees of freedom of the noise
    are one less, for every block.
    """
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, not {repeats}")
    of_each = max(
        r
        for r in range(1, REPEATS + 1)
        if repeats % r == 0 and (r == 1 or repeats // r >= replicates)
    )
    return repeats // of_each, of_each


def of_examples(
    examples: Sequence[int] | np.ndarray,
    units: int,
    *,
    seed: int,
    replicate: int = 0,
    repeat: int = 0,
    repeats: int = 1,
    device=None,
) -> Uniforms:
    """For examples (B,) by number, of `units` units each (more of them do not change the first):
    draw `repeat` of a replicate's `repeats`.

    A replicate's picks fill strata.  An example's own `repeats` lie one in each of as many equal
    parts of [0, 1); in such a part, those of BLOCK neighbouring examples lie one in each of BLOCK
    equal cells, in the order of a base-2 van der Corput sequence, scrambled by one random
    exclusive-or a block (so that any aligned run of 2, 4 or 8 is stratified, and each is uniform).
    Replicates are independent, and so are blocks.  Every example and draw has a stream of its own,
    of a counter-based generator (Philox; Salmon and others, "Parallel random numbers: as easy as 1,
    2, 3", 2011).
    """
    stream = _Streams(seed, replicate, repeat)
    pick, score = np.empty(len(examples)), np.empty((len(examples), units))
    for row, example in enumerate(np.asarray(examples).tolist()):
        shift = int(stream.of_block(example // BLOCK).random() * BLOCK)
        own = stream.of_example(example)
        cell = int(f"{example % BLOCK:0{BITS}b}"[::-1], 2) ^ shift
        pick[row] = (repeat + (cell + own.random()) / BLOCK) / repeats
        own.random(out=score[row])
    pick = torch.from_numpy(pick).clamp(max=1 - 2.0**-53)
    return Uniforms(pick.to(device), torch.from_numpy(score).to(device))


class OfRows:
    """Uniforms for a batch, each row of which has streams of its own: those of (seed, its number).

    So what is drawn for a row depends neither on the others nor on how long they are.  It stands in
    the place of a generator in `sampling`.
    """

    def __init__(self, seed: int, numbers: Sequence[int]):
        self.streams, self.numbers = _Streams(seed, 0, 0), numbers
        self.calls = [0] * len(numbers)

    def uniform(self, *shape: int, rows: Tensor | None = None, device=None) -> Tensor:
        """(B, ...) float64 in [0, 1): for `rows` (B,) bool, or all, the next ones at every call.

        0 for the others, whose next ones are still to come.
        """
        drawn = np.zeros((len(self.numbers), *shape[1:]))
        chosen = range(len(drawn)) if rows is None else rows.nonzero()[:, 0].tolist()
        for i in chosen:
            self.streams.draw = self.calls[i]
            self.streams.of_row(self.numbers[i]).random(out=drawn.reshape(len(drawn), -1)[i])
            self.calls[i] += 1
        return torch.from_numpy(drawn).to(device)


class _Streams:
    """Generators of numpy that start anywhere: a counter of four words, of which the first counts
    within a stream."""

    def __init__(self, seed: int, replicate: int, repeat: int):
        self.bits = np.random.Philox(key=np.array([seed % 2**64, GOLDEN], np.uint64))
        self.generator = np.random.Generator(self.bits)
        self.draw = (replicate << 32) + repeat
        self.state: Any = self.bits.state

    def of_example(self, example: int) -> np.random.Generator:
        return self._at(example, 0)

    def of_block(self, block: int) -> np.random.Generator:
        return self._at(block, 1)

    def of_row(self, number: int) -> np.random.Generator:
        return self._at(number, 2)

    def _at(self, number: int, lane: int) -> np.random.Generator:
        self.state["state"]["counter"][:] = (0, number, self.draw, lane)
        self.state["buffer_pos"] = 4  # nothing is left over from another stream
        self.bits.state = self.state
        return self.generator
