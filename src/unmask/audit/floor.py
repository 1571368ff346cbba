"""Is a number a bound?  Any loss, of whatever code, against the entropy of distributions that are
known.

A loss that falls below the entropy of its data, or whose Kraft sum exceeds 1, is not an upper bound
on the negative log-likelihood.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unmask.schedules import Linear, Schedule
from unmask.subtokens import Subtokenizer

SIGMAS = 6  # of the sampling error; beyond it, a difference is one


ROUNDING = 1e-5  # relative: what a loss computed in 32 bits may be off by


CALLS = 32  # of a random loss: its error has 31 degrees of freedom


class Table(NamedTuple):
    """A distribution of known entropy: all its sequences, and their probabilities."""

    name: str
    x: Tensor  # (n, S) token ids, no row twice
    p: Tensor  # (n,) float64, positive, sum 1
    subtokenizer: Subtokenizer

    @property
    def entropy(self) -> float:
        """Nats."""
        return float(-(self.p * self.p.log()).sum())


class Posterior(nn.Module):
    """The exact denoiser of a table: (z, t) -> log p(token at a position | z at t), (B, S, V), by
    code; a backbone, too.

    z (B, S*L) ids in which `mask_id` is masked.  A sequence that agrees with z weighs p(x), and
    with one curve per value (one per digit value, or one per token) p(x) prod over masked units of
    1 - alpha_t(value): being masked at t is evidence.
    """

    def __init__(self, table: Table, schedule: Schedule | None = None):
        super().__init__()
        self.table, self.subtokenizer = table, table.subtokenizer
        if (
            not bool((table.p > 0).all())
            or abs(float(table.p.sum()) - 1) > 1e-9
            or len(table.x.unique(dim=0)) < len(table.x)
        ):
            raise ValueError(
                f"{table.name}: give each sequence once, with positive probabilities in float64 that sum to 1"
            )
        # a weight in 64 bits: t arrives in 64 bits, too
        self.log_p = nn.Parameter(table.p.log(), requires_grad=False)
        self.schedule = schedule or Linear()
        self.uses_time = self.schedule.num_values > 1
        # (n, S, L)
        digits = self.subtokenizer.encode(table.x).unflatten(1, (-1, self.subtokenizer.length))
        codes = (digits * self.subtokenizer.base ** torch.arange(digits.shape[-1] - 1, -1, -1)).sum(
            -1
        )
        self.register_buffer("digits", digits.flatten(1))
        self.register_buffer("codes", codes)
        # (n, S, V)
        self.register_buffer(
            "has", nn.functional.one_hot(codes, self.subtokenizer.vocab_size).bool()
        )
        if self.schedule.num_values not in (
            1,
            self.subtokenizer.base,
            self.subtokenizer.vocab_size,
        ):
            raise ValueError(
                f"{table.name}: a schedule with {self.schedule.num_values} curves fits neither its digits nor its tokens"
            )

    @property
    def mask_id(self) -> int:
        return self.subtokenizer.mask_id

    def forward(
        self, z: Tensor, t: Tensor | None = None, cond=None, valid: Tensor | None = None
    ) -> Tensor:
        masked = z == self.mask_id
        agrees = (masked[:, None] | (z[:, None] == self.digits)).all(-1)  # (B, n)
        if not bool(agrees.any(-1).all()):
            row = int((~agrees.any(-1)).nonzero()[0])
            raise ValueError(
                f"{self.table.name}: row {row} of z, {z[row].tolist()}, agrees with no sequence; masked is {self.mask_id}"
            )
        log_weight = (
            self.log_p + self.evidence(masked, t)
            if self.uses_time
            else self.log_p.expand(agrees.shape)
        )
        log_weight = log_weight.masked_fill(~agrees, -torch.inf)[:, :, None, None]  # (B, n, 1, 1)
        # in logarithms: no underflow
        return log_weight.masked_fill(~self.has, -torch.inf).logsumexp(1) - log_weight.logsumexp(1)

    def evidence(self, masked: Tensor, t: Tensor | None) -> Tensor:
        """(B, n): the log-probability that the units of each sequence that are masked (B, S*L) are
        masked at t."""
        if t is None:
            raise ValueError(
                "with one curve per value the exact denoiser depends on t, which was not given"
            )
        # (B, K)
        log_masked = (
            self.schedule.masked(t.detach().double().reshape(-1).expand(len(masked)))
            .clamp_min(1e-300)
            .log()
        )
        values = self.digits
        if self.schedule.num_values != self.subtokenizer.base:
            values, masked = self.codes, masked.unflatten(1, (-1, self.subtokenizer.length)).any(-1)
        return (log_masked[:, values] * masked[:, None]).sum(-1)


def copies(k: int, digits: bool = True) -> Table:
    """k copies of one fair bit: log 2 nats; as one token of k digits, or as k tokens."""
    name, x = f"{k} copies of a fair bit, {k} tokens", torch.tensor([[0] * k, [1] * k])
    if digits:
        name, x = (
            f"{k} copies of a fair bit, one token of {k} digits",
            torch.tensor([[0], [2**k - 1]]),
        )
    return Table(
        name,
        x,
        torch.full((2,), 0.5, dtype=torch.float64),
        Subtokenizer(2**k, k) if digits else Subtokenizer(2),
    )


def tables(digits: bool = True) -> list[Table]:
    """Distributions in which the parts of a sequence depend on one another; tokens of several
    digits, or whole ones."""
    length, how = (2, "of 2 digits") if digits else (1, "each whole")

    def table(name: str, vocab_size: int, x: Tensor, weight: Tensor) -> Table:
        return Table(
            f"{name}, {how}", x, (weight / weight.sum()).double(), Subtokenizer(vocab_size, length)
        )

    # 5 is no perfect power
    pairs, more = (torch.cartesian_prod(torch.arange(v), torch.arange(v)) for v in (4, 5))
    random = (
        2 * torch.randn(len(more), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    ).exp()
    return [
        copies(2, digits),
        copies(4, digits),
        table("two equal tokens of 4 values", 4, pairs[::5], torch.ones(4, dtype=torch.float64)),
        table(
            "two skewed tokens of 4 values",
            4,
            pairs[torch.arange(16) * 7 % 16],
            1 / torch.arange(1, 17, dtype=torch.float64) ** 2,
        ),
        table("two random tokens of 5 values", 5, more, random),
    ]


@dataclass(frozen=True, repr=False)
class Floor:
    """A loss with the exact denoiser of a table, against the entropy, which no bound on -log p
    falls below.  Nats."""

    table: Table
    loss: float  # averaged over the table
    stderr: float  # of the loss's own draws; 0 for an exact loss
    entropy: float
    # sum over x of exp(-loss(x)), at most 1 for every bound; of a random loss, a value not above it
    # on average
    kraft: float
    kraft_stderr: float
    per_example: Tensor  # (n,) of each sequence of the table
    tables: tuple[str, ...]  # all that were tried

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def below(self) -> bool:
        """The loss lies below the entropy by more than its error: it is no bound."""
        return self.loss + SIGMAS * self.stderr < self.entropy * (1 - ROUNDING)

    @property
    def crowded(self) -> bool:
        """The Kraft sum lies above 1 by more than its error: it is no bound, whatever the data and
        the denoiser."""
        return self.kraft - SIGMAS * self.kraft_stderr > 1 + ROUNDING

    @property
    def violated(self) -> bool:
        return self.below or self.crowded

    @property
    def verdict(self) -> str:
        return "not a bound" if self.violated else "no violation found on these distributions"

    def __repr__(self) -> str:
        return (
            f"Floor({self.verdict}: loss {self.loss:.4f} +- {self.stderr:.4f} nats, entropy {self.entropy:.4f}, Kraft sum "
            f"{self.kraft:.4f} +- {self.kraft_stderr:.4f}, on {self.name!r}, of {len(self.tables)} tried)"
        )


def entropy_floor(
    loss_fn: Callable[[Posterior, Tensor], Tensor],
    *,
    repeats: int = 1,
    distributions: Sequence[Table] | None = None,
    digits: bool = True,
    schedule: Callable[[Subtokenizer], Schedule] | None = None,
) -> Floor:
    """Is a loss a bound on -log p?  Its value with exact denoisers of known distributions, against
    their entropies.

    `loss_fn(denoiser, x)`: nats per example (B,) of token ids x (B, S), with the denoiser in the
    network's place: a `Posterior`, which is told z and, where it `uses_time`, t, and has `mask_id`,
    `subtokenizer` and `schedule`.  `repeats`: 1 for an exact loss; for one random draw, the number
    of draws of each sequence, at least 32, rows repeated within a call. `distributions`: default
    `tables(digits)`.  `schedule`: of a subtokenizer, for denoisers of value-dependent schedules.

    A loss below the entropy, or a Kraft sum above 1, proves that the loss is no bound; the other
    outcome proves nothing. "Below" and "above" mean by more than 6 standard errors, which are too
    small, and mostly when the mean is too low, for a loss whose variance is infinite, such as one
    with weight 1/t at uniform t: give such a one many repeats. Returns the `Floor` of the
    distribution that shows it or, if none does, of the one where the loss comes closest. ValueError
    for a loss of another shape, NaN, or a random loss with repeats=1.
    """
    chosen = tables(digits) if distributions is None else distributions
    floors = [
        measure(
            loss_fn, Posterior(table, schedule(table.subtokenizer) if schedule else None), repeats
        )
        for table in chosen
    ]
    if not floors:
        raise ValueError("there are no distributions to try")
    worst = min(floors, key=lambda floor: (not floor.violated, floor.loss - floor.entropy))
    return replace(worst, tables=tuple(floor.name for floor in floors))


@torch.no_grad()
def measure(
    loss_fn: Callable[[Posterior, Tensor], Tensor], denoiser: Posterior, repeats: int = 1
) -> Floor:
    """`entropy_floor` on the table of one denoiser."""
    if repeats != 1 and repeats < CALLS:
        raise ValueError(
            f"repeats must be 1 for an exact loss or at least {CALLS} for a random one, not {repeats}"
        )
    table, exact = denoiser.table, repeats == 1
    x = table.x.repeat(-(-repeats // CALLS), 1)
    calls = []
    for _ in range(2 if exact else CALLS):
        each = loss_fn(denoiser, x)
        if each.shape != x.shape[:1] or bool(each.isnan().any()):
            found = "NaN" if each.shape == x.shape[:1] else f"shape {tuple(each.shape)}"
            raise ValueError(
                f"{table.name}: the loss must return nats per example {tuple(x.shape[:1])}, not {found}"
            )
        calls.append(each.double().view(-1, len(table.x)).mean(0))
    draws = torch.stack(calls)  # (calls, n)
    if exact and not torch.allclose(draws[0], draws[1], rtol=1e-6, atol=1e-12):
        raise ValueError(
            f"{table.name}: the loss differs from call to call: give the number of draws, repeats=1024 or so"
        )
    loss, stderr = mean_and_error(draws @ table.p, exact)
    kraft, kraft_stderr = mean_and_error(kraft_sums(draws), exact)
    return Floor(
        table, loss, stderr, table.entropy, kraft, kraft_stderr, draws.mean(0), (table.name,)
    )


def kraft_sums(draws: Tensor) -> Tensor:
    """(calls / 2,) values whose mean is sum over x of exp(-loss(x)) or, for noisy draws (calls, n)
    of the loss, not above it.

    The exponential of a noisy mean is too large on average (Jensen).  Its tangent at c is not:
    exp(-loss) >= exp(-c) (1 + c - loss), so c is the mean of the first half of the draws, and the
    loss stands for the second half, one by one.
    """
    half = len(draws) // 2
    c = draws[:half].mean(0)
    return torch.where(c.isfinite(), (-c).exp() * (1 + c - draws[half:]), 0.0).sum(-1)


def mean_and_error(values: Tensor, exact: bool) -> tuple[float, float]:
    """The mean of values (n,), and its standard error, 0 where they are exact or infinite."""
    mean = float(values.mean())
    return mean, 0.0 if exact or not math.isfinite(mean) else float(values.std()) / math.sqrt(
        len(values)
    )
