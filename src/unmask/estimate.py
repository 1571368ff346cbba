"""An estimate of a bound: a number with two errors, its unit and the protocol that made it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.markup import table
from unmask.masks import BLOCK


@dataclass(frozen=True, repr=False)
class Estimate:
    """What an estimator says of the mean negative log-likelihood, in nats per example: a bound
    above it or, where `what` says so, the likelihood of one sampler itself.

    `stderr`: over examples, what another sample of this size would change; it holds the noise.
    `noise`: over the random masks alone, for these examples.  Both are NaN where they are not
    known: the noise of one replicate, the stderr of one group of examples.  The noise of what is
    exact is 0.  The other units follow from the totals, exponentiated after averaging over the
    corpus.
    """

    replicates: Tensor  # (G, n) nats of each example, in G independent draws of all of them
    positions: Tensor  # (n,) scored positions of each example
    repeats: int  # draws of an example, over all replicates
    steps: int | None
    masking: str
    seed: int
    # (n,) examples of one number are not independent of each other; None: all are
    groups: Tensor | None = None
    # (G, n) `replicates` less what their counts explain (`steadied`), from which stderr is told
    steady: Tensor | None = None
    # (S, 2) nats of `mean` paid at each position, which they add up to, and their stderr
    by_position: Tensor | None = None
    what: str = ""  # a bound, or a likelihood
    name: str = ""  # how it was drawn
    sampler: str = ""  # whose it is
    calls: int = 0  # of the network, one for each example and state
    exact: bool = False  # nothing was drawn
    density: str = ""  # of the draws

    def __repr__(self) -> str:
        error = f"stderr={self.stderr:.4f}, noise={self.noise:.4f}"
        draws = f"n={len(self.positions)}, repeats={self.repeats}"
        return (
            f"Estimate(mean={self.mean:.4f}, {error} nats per example, {draws}, "
            f"bits_per_dim={self.bits_per_dim:.4f})"
        )

    def _repr_html_(self) -> str:
        per_example, noise = plus_minus(self.mean, self.stderr), self.noise
        bits = plus_minus(self.bits_per_dim, self.bits_per_dim_stderr)
        rows = [
            ("what", self.what or "upper bound on the negative log-likelihood"),
            ("nats per example", per_example),
            ("of which noise of the masks", f"{noise:.4f}" if math.isfinite(noise) else ""),
            ("bits per position", bits),
            ("perplexity per position", f"{self.perplexity:.4g}"),
            ("examples", f"{len(self.positions):,}, {int(self.positions.sum()):,} positions"),
            ("draws of an example", "none: exact" if self.exact else f"{self.repeats}"),
            ("estimator", self.name),
            ("sampler", self.sampler),
        ]
        return table([row for row in rows if row[1]])

    @property
    def per_example(self) -> Tensor:
        """(n,) nats."""
        return self.replicates.mean(0)

    @property
    def mean(self) -> float:
        return float(self.per_example.mean())

    @property
    def stderr(self) -> float:
        return float(errors(self.replicates, self.groups, self.steady)[0])

    @property
    def noise(self) -> float:
        return float(errors(self.replicates)[1])

    @property
    def nats_per_position(self) -> float:
        return float(self.per_example.sum() / self.positions.sum())

    @property
    def bits_per_dim(self) -> float:
        """Bits per position: a character, byte, token, pixel value, residue or cell."""
        return self.nats_per_position / math.log(2)

    def residual(self, replicates: Tensor) -> Tensor:
        """(G, n) what an example adds to total bits / total positions beyond its share.

        Delta method; their mean is 0.
        """
        n = self.positions.double()
        return (replicates - self.nats_per_position * n) / n.mean() / math.log(2)

    @property
    def bits_per_dim_stderr(self) -> float:
        return difference_errors(self)[0]

    @property
    def bits_per_dim_noise(self) -> float:
        return difference_errors(self)[1]

    @property
    def perplexity(self) -> float:
        """exp(nats per position): an upper bound on the perplexity per position."""
        try:
            return math.exp(self.nats_per_position)
        except OverflowError:
            return math.inf


def errors(
    replicates: Tensor, groups: Tensor | None = None, steady: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """(stderr, noise) of the mean over examples of `replicates` (G, n, ...), each of shape (...).

    Replicates are independent draws of all examples, whose values share strata within blocks of
    `masks.BLOCK`.  `groups` (n,): examples of one number are not independent of each other, as
    neighbouring windows of a text are not.

    Noise: the variance between replicates of a block's sum, over G, summed over blocks; no degree
    of freedom is lost to what examples share.  Stderr: of m groups with sums T = S + e, S what
    another sample would change and e what other masks would, the observed variance of T has the
    mean

        var S + m / (m - 1) (w - noise^2),    w the mean over groups of the variance of e,

    since the e of all groups add up to the noise, so their mean covariance is
    (m noise^2 - w) / (m - 1).  w is the variance between replicates over G.  So stderr^2 = var S /
    m + noise^2; it is never below the noise.  Taking the variance of T for that of S would count
    each example's masks as independent, and strata cancel most of their variance in the mean.
    `steady` (G, n, ...): the same S with a smaller e, from which var S is better known.  One
    replicate: w is not known, and the variance of T is taken, which is larger; the noise is NaN.
    """
    n = replicates.shape[1]
    number = torch.arange(n) if groups is None else groups.unique(return_inverse=True)[1]
    m = int(number.max()) + 1
    # (G, m, ...): their mean over groups is that over examples
    totals = summed(replicates if steady is None else steady, number) * (m / n)
    unknown = torch.full_like(totals[0, 0], math.nan)
    spread = totals.mean(0).var(0) if m > 1 else unknown
    if len(replicates) == 1:
        return (spread / m).sqrt(), unknown
    noise2 = variance_of_masks(replicates)
    if m == 1:
        return unknown, noise2.sqrt()
    within = (totals.var(0) / len(totals)).mean(0)
    in_the_mean = noise2 if steady is None else variance_of_masks(steady)
    between = (spread - m / (m - 1) * (within - in_the_mean)).clamp(min=0)
    return (between / m + noise2).sqrt(), noise2.sqrt()


def variance_of_masks(replicates: Tensor) -> Tensor:
    """noise^2 of `errors`."""
    n = replicates.shape[1]
    blocks = summed(replicates, torch.arange(n) // BLOCK) / n
    return (blocks.var(0) / len(blocks)).sum(0)


def summed(values: Tensor, number: Tensor) -> Tensor:
    """(G, m, ...) values (G, n, ...) less their mean, summed over examples of one number.

    number: (n,), 0 to m - 1.
    """
    centred = (values - values.mean((0, 1))).double()
    shape = (len(values), int(number.max()) + 1, *values.shape[2:])
    return torch.zeros(shape, dtype=torch.float64).index_add_(1, number, centred)


def steadied(draws: Tensor, pick: Tensor, positions: Tensor) -> Tensor:
    """`draws` (D, n, ...) less what their counts explain.

    That is what an average example of as many positions pays more, at such a `pick` (D, n), than
    over all picks.  A pick is uniform for every example, so the mean over picks does not change,
    and most of a draw's variance lies between counts. What is paid at a pick is taken from the
    draws themselves, in equal cells with enough of them.
    """
    cells = min(BLOCK, pick.numel() // BLOCK)
    if cells < 2:
        return draws
    cell = (pick * cells).long()
    weight = positions.double().expand_as(pick)
    paid = draws.new_zeros(cells, *draws.shape[2:])
    paid.index_add_(0, cell.flatten(), draws.flatten(0, 1))
    count = weight.new_zeros(cells).index_add_(0, cell.flatten(), weight.flatten())
    trailing = (..., *[None] * (draws.ndim - 2))
    # a cell of examples without positions has paid nothing, and its rate is not read
    rate = paid / count.clamp(min=1)[trailing] - (paid.sum(0) / count.sum())
    steady = draws - weight[trailing] * rate[cell]
    if len(draws) > 1:
        return steady
    # the cells were fitted to these very examples, each at the price of a degree of freedom
    mean, n = steady.mean(1), pick.numel()
    return mean + (steady - mean) * math.sqrt((n - 1) / (n - cells))


def difference(a: Estimate, b: Estimate) -> tuple[float, float, float]:
    """a - b in bits per position, its error and its noise.

    Paired by example and, where both have as many, by replicate.  The error is that of both ratios
    bits / positions (delta method).  Groups are those of `a`. ValueError for other numbers of
    examples.
    """
    if len(a.positions) != len(b.positions):
        raise ValueError(f"{len(a.positions)} and {len(b.positions)} examples cannot be paired")
    return a.bits_per_dim - b.bits_per_dim, *difference_errors(a, b)


def freedom(a: Estimate, b: Estimate | None = None) -> float:
    """The degrees of freedom of the error of `a`, or of a - b.

    After Satterthwaite: those of groups and of replicates, by their shares.
    """
    stderr, noise = difference_errors(a, b)
    n = len(a.positions)
    of_groups = (n if a.groups is None else len(a.groups.unique())) - 1
    draws = min(len(e.replicates) for e in (a, b) if e is not None)
    of_masks = math.ceil(n / BLOCK) * (draws - 1)
    if noise == stderr:
        return float(min(of_groups, of_masks))
    if not noise < stderr:  # one of them is NaN
        return float(of_groups)
    share = (noise / stderr) ** 2  # of the variance; its square may be beyond what floats hold
    return 1 / ((1 - share) ** 2 / of_groups + share**2 / of_masks)


def student(freedom: float) -> float:
    """What an error is multiplied by for 95 %, two-sided: Student's t.

    By the expansion of Cornish and Fisher from 5 degrees of freedom on; below, the value of the
    whole number below is taken.
    """
    small = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}
    if freedom < 5:
        return small.get(int(freedom), math.inf)
    z, n = 1.959964, freedom
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3


def difference_errors(a: Estimate, b: Estimate | None = None) -> tuple[float, float]:
    """(stderr, noise) in bits per position of `a`, or of a - b."""
    paired = b is None or len(a.replicates) == len(b.replicates)

    def values(e: Estimate, found: Tensor | None) -> Tensor:
        if found is None:
            found = e.replicates
        if not paired:
            found = found.mean(0, keepdim=True)
        return e.residual(found)

    plain, steady = values(a, a.replicates), values(a, a.steady)
    if b is not None:
        plain, steady = plain - values(b, b.replicates), steady - values(b, b.steady)
    stderr, noise = errors(plain, a.groups, steady)
    return float(stderr), float(noise)


def plus_minus(value: float, error: float, form: str = ".4f") -> str:
    """A number with its error, for people; one that is not known, as of one example, is not NaN."""
    if math.isnan(error):
        return f"{value:{form}} (error not known)"
    places = form.partition(".")[2]
    return f"{value:{form}} +- {error:.{places}}"
