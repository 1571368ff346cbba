"""Is a number a bound?  Any loss, of whatever code, against known entropies.

A loss that falls below the entropy of its data, or whose Kraft sum exceeds 1, is not an upper bound
on the negative log-likelihood.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from unmask import markup
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
    """The exact denoiser of a table; a backbone, too.

    (z, t) -> log p(token at a position | z at t), (B, S, V), by code.  z (B, S*L) ids in which
    `mask_id` is masked.  A sequence that agrees with z weighs p(x), and with one curve per value
    (one per digit value, or one per token) p(x) prod over masked units of 1 - alpha_t(value): being
    masked at t is evidence.
    """

    def __init__(self, table: Table, schedule: Schedule | None = None):
        super().__init__()
        self.table, self.subtokenizer = table, table.subtokenizer
        positive, total = bool((table.p > 0).all()), float(table.p.sum())
        if not positive or abs(total - 1) > 1e-9 or len(table.x.unique(dim=0)) < len(table.x):
            raise ValueError(
                f"{table.name}: give each sequence once, with positive probabilities in float64 "
                "that sum to 1"
            )
        # a weight in 64 bits: t arrives in 64 bits, too
        self.log_p = nn.Parameter(table.p.log(), requires_grad=False)
        self.schedule = schedule or Linear()
        self.uses_time = self.schedule.num_values > 1
        base, vocab_size = self.subtokenizer.base, self.subtokenizer.vocab_size
        digits = self.subtokenizer.encode(table.x)  # (n, S*L)
        by_token = digits.unflatten(1, (-1, self.subtokenizer.length))  # (n, S, L)
        codes = (by_token * base ** torch.arange(by_token.shape[-1] - 1, -1, -1)).sum(-1)
        has = nn.functional.one_hot(codes, vocab_size).bool()  # (n, S, V)
        self.register_buffer("digits", digits)
        self.register_buffer("codes", codes)
        self.register_buffer("has", has)
        curves = self.schedule.num_values
        if curves not in (1, base, vocab_size):
            raise ValueError(
                f"{table.name}: a schedule with {curves} curves fits neither its digits "
                "nor its tokens"
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
                f"{self.table.name}: row {row} of z, {z[row].tolist()}, agrees with no sequence; "
                f"masked is {self.mask_id}"
            )
        log_weight = self.log_p.expand(agrees.shape)
        if self.uses_time:
            log_weight = self.log_p + self.evidence(masked, t)
        log_weight = log_weight.masked_fill(~agrees, -torch.inf)[:, :, None, None]  # (B, n, 1, 1)
        # in logarithms: no underflow
        return log_weight.masked_fill(~self.has, -torch.inf).logsumexp(1) - log_weight.logsumexp(1)

    def evidence(self, masked: Tensor, t: Tensor | None) -> Tensor:
        """(B, n): the log-probability that the masked units (B, S*L) of each sequence are, at t."""
        if t is None:
            raise ValueError(
                "with one curve per value the exact denoiser depends on t, which was not given"
            )
        of_values = self.schedule.masked(t.detach().double().reshape(-1).expand(len(masked)))
        log_masked = of_values.clamp_min(1e-300).log()  # (B, K)
        values = self.digits
        if self.schedule.num_values != self.subtokenizer.base:
            values, masked = self.codes, masked.unflatten(1, (-1, self.subtokenizer.length)).any(-1)
        return (log_masked[:, values] * masked[:, None]).sum(-1)


def copies(k: int, digits: bool = True) -> Table:
    """k copies of one fair bit: log 2 nats; as one token of k digits, or as k tokens."""
    name, p = f"{k} copies of a fair bit", torch.full((2,), 0.5, dtype=torch.float64)
    if digits:
        x = torch.tensor([[0], [2**k - 1]])
        return Table(f"{name}, one token of {k} digits", x, p, Subtokenizer(2**k, k))
    return Table(f"{name}, {k} tokens", torch.tensor([[0] * k, [1] * k]), p, Subtokenizer(2))


def tables(digits: bool = True) -> list[Table]:
    """Distributions in which the parts of a sequence depend on one another.

    Tokens of two digits, or whole ones.
    """
    length, how = (2, "of 2 digits") if digits else (1, "each whole")

    def table(name: str, vocab_size: int, x: Tensor, weight: Tensor) -> Table:
        p = (weight / weight.sum()).double()
        return Table(f"{name}, {how}", x, p, Subtokenizer(vocab_size, length))

    # 5 is no perfect power
    pairs, more = (torch.cartesian_prod(torch.arange(v), torch.arange(v)) for v in (4, 5))
    even = torch.ones(4, dtype=torch.float64)
    skewed = 1 / torch.arange(1, 17, dtype=torch.float64) ** 2
    generator = torch.Generator().manual_seed(0)
    random = (2 * torch.randn(len(more), generator=generator, dtype=torch.float64)).exp()
    return [
        copies(2, digits),
        copies(4, digits),
        table("two equal tokens of 4 values", 4, pairs[::5], even),
        table("two skewed tokens of 4 values", 4, pairs[torch.arange(16) * 7 % 16], skewed),
        table("two random tokens of 5 values", 5, more, random),
    ]


@dataclass(frozen=True, repr=False)
class Floor:
    """A loss with the exact denoiser of a table, against the entropy.  Nats.

    No bound on -log p falls below the entropy.
    """

    table: Table
    loss: float  # averaged over the table
    stderr: float  # of the loss's own draws; 0 for an exact loss
    entropy: float
    # sum over x of exp(-loss(x)), at most 1 for every bound; of a random loss, not above on average
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
        """The Kraft sum lies above 1 by more than its error.

        Then it is no bound, whatever the data and the denoiser.
        """
        return self.kraft - SIGMAS * self.kraft_stderr > 1 + ROUNDING

    @property
    def violated(self) -> bool:
        return self.below or self.crowded

    @property
    def verdict(self) -> str:
        return "not a bound" if self.violated else "no violation found on these distributions"

    def __repr__(self) -> str:
        return (
            f"Floor({self.verdict}: loss {self.loss:.4f} +- {self.stderr:.4f} nats, "
            f"entropy {self.entropy:.4f}, Kraft sum {self.kraft:.4f} +- {self.kraft_stderr:.4f}, "
            f"on {self.name!r}, of {len(self.tables)} tried)"
        )

    def _repr_html_(self) -> str:
        rows = [
            ("verdict", self.verdict),
            ("loss", f"{self.loss:.4f} ± {self.stderr:.4f} nats"),
            ("entropy, below which no bound falls", f"{self.entropy:.4f} nats"),
            ("Kraft sum, at most 1", f"{self.kraft:.4f} ± {self.kraft_stderr:.4f}"),
            ("distribution", f"{self.name}, of {len(self.tables)} tried"),
        ]
        return markup.table(rows)


def entropy_floor(
    loss_fn: Callable[[Posterior, Tensor], Tensor],
    *,
    repeats: int = 1,
    distributions: Sequence[Table] | None = None,
    digits: bool = True,
    schedule: Callable[[Subtokenizer], Schedule] | None = None,
) -> Floor:
    """Is a loss a bound on -log p?  Its value with exact denoisers, against known entropies.

    `loss_fn(denoiser, x)`: nats per example (B,) of token ids x (B, S), with the denoiser in the
    network's place: a `Posterior`, which is told z and, where it `uses_time`, t, and has `mask_id`,
    `subtokenizer` and `schedule`.
    `repeats`: 1 for an exact loss; for one random draw, the number of draws of each sequence, at
    least 32, rows repeated within a call.
    `distributions`: default `tables(digits)`.
    `schedule`: of a subtokenizer, for denoisers of value-dependent schedules.

    A loss below the entropy, or a Kraft sum above 1, proves that the loss is no bound; the other
    outcome proves nothing.  "Below" and "above" mean by more than 6 standard errors, which are too
    small, and mostly when the mean is too low, for a loss whose variance is infinite, such as one
    with weight 1/t at uniform t: give such a one many repeats.

    Returns the `Floor` of the distribution that shows it or, if none does, of the one where the
    loss comes closest.  ValueError for a loss of another shape, NaN, or a random loss with
    repeats=1.
    """
    chosen = tables(digits) if distributions is None else distributions

    def denoiser(table: Table) -> Posterior:
        return Posterior(table, schedule(table.subtokenizer) if schedule else None)

    floors = [measure(loss_fn, denoiser(table), repeats) for table in chosen]
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
            f"repeats must be 1 for an exact loss or at least {CALLS} for a random one, "
            f"not {repeats}"
        )
    table, exact = denoiser.table, repeats == 1
    x = table.x.repeat(-(-repeats // CALLS), 1)
    calls, all_draws = [], []
    for _ in range(2 if exact else CALLS):
        each = loss_fn(denoiser, x)
        found = None
        if each.shape != x.shape[:1]:
            found = f"shape {tuple(each.shape)}"
        elif bool(each.isnan().any()):
            found = "NaN"
        if found:
            wanted = f"nats per example {tuple(x.shape[:1])}"
            raise ValueError(f"{table.name}: the loss must return {wanted}, not {found}")
        all_draws.append(each.double().view(-1, len(table.x)))
        calls.append(all_draws[-1].mean(0))
    draws = torch.stack(calls)  # (calls, n)
    if exact and not torch.allclose(draws[0], draws[1], rtol=1e-6, atol=1e-12):
        raise ValueError(
            f"{table.name}: the loss differs from call to call: "
            "give the number of draws, repeats=1024 or so"
        )
    one = 0.0 if exact else one_draw(torch.stack(all_draws), table.p)
    loss, stderr = mean_and_error(draws @ table.p, one)
    kraft, kraft_stderr = mean_and_error(kraft_sums(draws), one)
    mean, names = draws.mean(0), (table.name,)
    return Floor(table, loss, stderr, table.entropy, kraft, kraft_stderr, mean, names)


def kraft_sums(draws: Tensor) -> Tensor:
    """(calls / 2,) values whose mean is sum over x of exp(-loss(x)).

    For noisy draws (calls, n) of the loss, their mean is not above it.  The exponential of a noisy
    mean is too large on average (Jensen).  Its tangent at c is not: exp(-loss) >= exp(-c) (1 + c -
    loss), so c is the mean of the first half of the draws, and the loss stands for the second half,
    one by one.
    """
    half = len(draws) // 2
    c = draws[:half].mean(0)
    return torch.where(c.isfinite(), (-c).exp() * (1 + c - draws[half:]), 0.0).sum(-1)


def one_draw(draws: Tensor, p: Tensor) -> float:
    """By how much a call's mean changes at most where one of its draws, of (calls, m, n) weighted
    by p (n,), is another one."""
    finite = draws.isfinite()
    most = draws.masked_fill(~finite, -torch.inf).amax((0, 1))
    least = draws.masked_fill(~finite, torch.inf).amin((0, 1))
    return float(((most - least).clamp(min=0) * p).max()) / draws.shape[1]


def mean_and_error(values: Tensor, one: float) -> tuple[float, float]:
    """The mean of values (n,), and its standard error; 0 where they are exact or infinite.

    Stratified draws may be alike in all calls by chance, and then their spread says nothing: it is
    taken for half of what a single draw changes, `one`, the most that an event's can be.
    """
    mean = float(values.mean())
    if one == 0 or not math.isfinite(mean):
        return mean, 0.0
    spread = float(values.std())
    if spread < 1e-9 * abs(mean):
        spread = one / 2
    return mean, spread / math.sqrt(len(values))
