"""The estimators of a likelihood, one interface: what a draw pays, and of which sampler that is."""

import itertools
import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from unmask.batch import Batch
from unmask.config import check_gamma
from unmask.diffusion import MaskedDiffusion
from unmask.likelihood.enumeration import check_count, enumerated
from unmask.likelihood.paths import check_orders, ordered_nats, path_nats
from unmask.masks import REPEATS, Draw, Uniforms, split_repeats
from unmask.policies import DIRECTIONS, check_curve, check_order

BOUND = "an upper bound on the negative log-likelihood"
EXACT = "the exact negative log-likelihood"


class Paid(NamedTuple):
    """What one draw says of B examples."""

    nats: Tensor  # (B, S) float64, by token
    calls: Tensor  # (B,) of the network
    # what was masked, where all sets of as many units are as likely: see `variates`
    masks: Draw | None = None


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """One way to tell -log p(what is scored | what is given) of a model, or a bound on it.

    Those that draw masks take the mean of their draws, less control variates: `variates`.
    """

    what: ClassVar[str] = BOUND
    exact: ClassVar[bool] = False  # nothing is drawn, so all draws are equal
    by_position: ClassVar[bool] = True  # what is paid at positions adds up
    steadied: ClassVar[bool] = False  # what a draw pays depends on its `pick`, see `steadied`
    # what the sampler reveals on its own, see `MaskedDiffusion.units`; None: as the model says
    masking: str | None = None

    def check(self, model: MaskedDiffusion) -> None:
        """ValueError for a model that this cannot be told of."""
        model.units(self.masking)

    def name(self, model: MaskedDiffusion) -> str:
        """How it is drawn, in words."""
        raise NotImplementedError

    def sampler(self, model: MaskedDiffusion) -> str:
        """Whose bound or likelihood it is, in words: "the sampler that ..."."""
        raise NotImplementedError

    def density(self, model: MaskedDiffusion, of_each: int) -> str:
        """What is drawn, and how, in words: of so many draws of a replicate."""
        return "nothing is drawn"

    def split(self, repeats: int, replicates: int = 2) -> tuple[int, int]:
        """(replicates, draws of each) of so many draws of an example: at least so many replicates,
        where there may be as many as one likes."""
        return (1, 1) if self.exact else split_repeats(repeats, replicates)

    def of_replicate(self) -> int:
        """How many draws make a replicate, where there may be as many as one likes."""
        return REPEATS

    def draw(self, model: MaskedDiffusion, batch: Batch, uniforms: Uniforms) -> Paid:
        """What one draw pays."""
        raise NotImplementedError

    def combine(self, draws: Tensor) -> Tensor:
        """(G, n, ...) nats of replicates, from those of their draws (G, D, n, ...)."""
        return draws.mean(1)


def unit_of(model: MaskedDiffusion, masking: str | None = None) -> str:
    """What is revealed on its own, in words."""
    digits = model.units(masking).length
    return "one token" if digits == 1 else f"one of a token's {digits} digits"


def many_of(model: MaskedDiffusion) -> str:
    return "tokens" if model.units().length == 1 else "digits of tokens"


def in_continuous_time(learned: bool) -> str:
    """How the bound is drawn, for a schedule with one curve per value or with one for all."""
    return "continuous time, sampled times" if learned else "continuous time, exact count"


def with_variates(drawn: str, of_each: int) -> str:
    """A density whose control variates are told from a replicate's other draws: one has none."""
    return f"{drawn}; control variates within replicates" if of_each > 1 else drawn


@dataclass(frozen=True)
class Bound(Estimator):
    """The bound of the model: in continuous time the exact count (arXiv 2406.04329, equation 4) or,
    with one curve per value, sampled times (equation 9); with `steps`, discrete time."""

    steps: int | None = None
    steadied: ClassVar[bool] = True

    def name(self, model: MaskedDiffusion) -> str:
        if self.steps:
            return f"discrete time, {self.steps} steps"
        return in_continuous_time(model.schedule.num_values > 1)

    def density(self, model: MaskedDiffusion, of_each: int) -> str:
        if model.schedule.num_values > 1:
            return "times by the mean of a t^(a - 1), a half the power of each unit, in strata"
        drawn = "intervals, uniform in strata" if self.steps else "counts k by k^-1/2, in strata"
        return with_variates(drawn, of_each)

    def sampler(self, model: MaskedDiffusion) -> str:
        unit = unit_of(model, self.masking)
        if self.steps:
            what = "it" if unit == "one token" else "each of its digits"
            return (
                f"the sampler that draws one token a place and step, and reveals {what} by its own "
                f"coin, in {self.steps} steps of the uniform grid"
            )
        return f"the sampler that reveals {unit} at an instant"

    def draw(self, model: MaskedDiffusion, batch: Batch, uniforms: Uniforms) -> Paid:
        draw = model.draw(batch, self.steps, uniforms=uniforms)
        return paid(model, batch, draw)


def own_estimator(
    model: MaskedDiffusion, steps: int | None = None, masking: str | None = None
) -> Estimator:
    """`Bound(steps, masking=masking)` or, of a rival, the bound or likelihood of its process."""
    return (model.estimator or Bound)(steps, masking=masking)


@dataclass(frozen=True)
class Counts(Estimator):
    """The bound of the sampler "counts": `shares` of the units are masked after its steps, exactly.

    A step from k masked units to k' reveals k - k', uniformly chosen, and pays (k - k') times the
    mean cross-entropy with k masked (arXiv 2110.02037).  Whole tokens only: digits of one token
    that are revealed in one step pay jointly, and a sum over units does not tell it.  Where a step
    reveals two linked positions, the second is drawn given the first, which costs less than is
    charged here: a bound all the same.
    """

    shares: tuple[float, ...]
    steadied: ClassVar[bool] = True

    def check(self, model: MaskedDiffusion) -> None:
        check_shares(self.shares)
        check_curve(model, "counts")
        if model.units(self.masking).length > 1:
            raise ValueError(
                "the bound of exact counts is of whole tokens: digits of one token that are "
                'revealed together pay jointly; use masking="token" (--masking token)'
            )

    def name(self, model: MaskedDiffusion) -> str:
        return f"exact counts, {len(self.shares) - 1} steps"

    def density(self, model: MaskedDiffusion, of_each: int) -> str:
        drawn = "counts of the grid, by how many units their steps reveal, in strata"
        return with_variates(drawn, of_each)

    def sampler(self, model: MaskedDiffusion) -> str:
        return (
            f"the sampler that reveals exact numbers of tokens in {len(self.shares) - 1} steps, "
            "in random order"
        )

    def draw(self, model: MaskedDiffusion, batch: Batch, uniforms: Uniforms) -> Paid:
        draw = model.draw(batch, uniforms=uniforms, shares=wide(self.shares))
        return paid(model, batch, draw)


@dataclass(frozen=True)
class Orders(Estimator):
    """-log of the mean of p(x | order) over `orders` random orders of each example.

    Tighter than `Bound`, more so with more orders, and as valid: the orders do not depend on x
    (Jensen).  It is EoNADE's ensemble, for one network.  A draw is an order.
    """

    orders: int
    by_position: ClassVar[bool] = False

    def check(self, model: MaskedDiffusion) -> None:
        if self.orders < 1:
            raise ValueError(f"orders must be at least 1, not {self.orders}")
        check_own_masking(self)
        check_orders(model)

    def name(self, model: MaskedDiffusion) -> str:
        return f"mean of the likelihood over {self.orders} random orders"

    def density(self, model: MaskedDiffusion, of_each: int) -> str:
        return "orders, uniform"

    def sampler(self, model: MaskedDiffusion) -> str:
        return f"the sampler that reveals {unit_of(model)} at an instant"

    def split(self, repeats: int, replicates: int = 2) -> tuple[int, int]:
        if repeats % self.orders:
            raise ValueError(f"repeats must be a multiple of {self.orders} orders, not {repeats}")
        return repeats // self.orders, self.orders

    def of_replicate(self) -> int:
        return self.orders

    def draw(self, model: MaskedDiffusion, batch: Batch, uniforms: Uniforms) -> Paid:
        return Paid(*ordered_nats(model, batch, uniforms.score))

    def combine(self, draws: Tensor) -> Tensor:
        return math.log(draws.shape[1]) - (-draws).logsumexp(1)


@dataclass(frozen=True)
class Enumeration(Estimator):
    """`own_estimator`, by enumeration of all masks: of 12 units an example at most."""

    steps: int | None = None
    exact: ClassVar[bool] = True

    def own(self, model: MaskedDiffusion) -> Any:
        """The same, drawn."""
        return own_estimator(model, self.steps, self.masking)

    def name(self, model: MaskedDiffusion) -> str:
        steps = self.own(model).steps
        time = f"discrete time, {steps} steps" if steps else "continuous time"
        return f"{time}, all masks enumerated"

    def sampler(self, model: MaskedDiffusion) -> str:
        return self.own(model).sampler(model)

    def draw(self, model: MaskedDiffusion, batch: Batch, uniforms: Uniforms) -> Paid:
        check_count(batch.y.shape[1])
        return Paid(*enumerated(model, batch, self.own(model).steps))


@dataclass(frozen=True)
class Path(Estimator):
    """The exact likelihood of the sampler of one order, see `paths.path_nats`.

    order: one of `policies.ORDERS`.  `shares` of the units are masked after its steps; None: one
    unit a step.  `gamma`, with order "entropy": that of `sampling.entropy_bounded`.
    """

    order: str
    shares: tuple[float, ...] | None = None
    temperature: float = 1.0
    gamma: float | None = None
    what: ClassVar[str] = EXACT
    exact: ClassVar[bool] = True

    def check(self, model: MaskedDiffusion) -> None:
        check_own_masking(self)
        check_order(self.order)
        check_curve(model, self.order)
        if self.shares is not None:
            check_shares(self.shares)
        if not self.temperature > 0:
            raise ValueError(f"temperature must be positive, not {self.temperature}")
        if self.gamma is None:
            return
        if self.order != "entropy" or self.shares is not None:
            raise ValueError("gamma is of the order entropy, and leaves no shares to choose")
        check_gamma(self.gamma)

    def name(self, model: MaskedDiffusion) -> str:
        return f"along the path, {self.order}"

    def sampler(self, model: MaskedDiffusion) -> str:
        heat = "" if self.temperature == 1 else f" at temperature {self.temperature:g}"
        revealed = f"{unit_of(model)} at a step"
        if self.shares is not None:
            revealed = f"{many_of(model)} in {len(self.shares) - 1} steps"
        if self.gamma is not None:
            revealed = f"{many_of(model)} at a step, as {self.gamma:g} nats allow"
        order = self.order if self.order in DIRECTIONS else f"in order of {self.order}"
        return f"the sampler that reveals {revealed}, {order}{heat}"

    def draw(self, model: MaskedDiffusion, batch: Batch, uniforms: Uniforms) -> Paid:
        shares = None if self.shares is None else wide(self.shares)
        how = {"gamma": self.gamma, "temperature": self.temperature}
        return Paid(*path_nats(model, batch, self.order, shares, **how))


def paid(model: MaskedDiffusion, batch: Batch, draw: Draw) -> Paid:
    """What the units of one draw of masks pay, at one network call an example."""
    nats = model.score_units(batch, draw)[1].sum(-1)
    equally = draw if model.schedule.num_values == 1 else None
    return Paid(nats, torch.ones(len(nats), dtype=torch.long), equally)


def wide(shares: tuple[float, ...]) -> Tensor:
    return torch.tensor(shares, dtype=torch.float64)


def check_own_masking(estimator: Estimator) -> None:
    """ValueError for what reveals other units than the model does."""
    if estimator.masking is not None:
        raise ValueError("orders are those of the model's own masking: leave out masking")


def check_shares(shares: tuple[float, ...]) -> None:
    """ValueError unless they fall from 1 to 0."""
    falls = all(a >= b for a, b in itertools.pairwise(shares))
    if len(shares) < 2 or shares[0] != 1 or shares[-1] != 0 or not falls:
        raise ValueError(f"shares must fall from 1, all masked, to 0, not {shares[:8]}")
