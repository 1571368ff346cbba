"""Masking schedules: alpha_t(v), the probability that value v is still unmasked at time t.

Time runs from t = 0 (clean data) to t = 1 (all masked), and the ends are exact: alpha_0 = 1,
alpha_1 = 0, with no epsilon. Everything is computed from closed forms, never from differences that
cancel.  Formulas: Shi et al. (2024), arXiv 2406.04329, sections 2, 5 and table 4.
"""

import math

import torch
from torch import Tensor, nn


class Schedule(nn.Module):
    """A curve per value (`num_values` = K of them), or one curve for all values (K = 1).

    Times are tensors of any shape; every method returns `(*t.shape, K)`.
    """

    num_values = 1

    def masked(self, t: Tensor) -> Tensor:
        """1 - alpha_t: the probability of being masked at t."""
        raise NotImplementedError

    def alpha(self, t: Tensor) -> Tensor:
        """The probability of still being unmasked at t."""
        return 1 - self.masked(t)

    def reveal(self, t: Tensor, s: Tensor) -> Tensor:
        """(alpha_s - alpha_t) / (1 - alpha_t), exactly 1 at s = 0.

        The probability that what is masked at t > s is revealed at s.
        """
        raise NotImplementedError

    def weight(self, t: Tensor) -> Tensor:
        """-alpha'_t / (1 - alpha_t): the rate of revealing.

        It is the weight of the cross-entropy in the continuous-time bound.
        """
        raise NotImplementedError

    def inverse(self, alpha: Tensor) -> Tensor:
        """The time at which a scalar schedule has this alpha; same shape as `alpha`."""
        raise NotImplementedError

    @property
    def config(self) -> dict:
        """What `from_config` needs to build it again; parameters are saved with the weights."""
        raise NotImplementedError


class Polynomial(Schedule):
    """alpha_t = 1 - t^power."""

    def __init__(self, power: float):
        super().__init__()
        if not (math.isfinite(power) and power > 0):
            raise ValueError(
                f"the power of a polynomial schedule must be a positive number, not {power}"
            )
        self.exponent = float(power)

    @property
    def power(self) -> Tensor:
        """(K,) float64."""
        return torch.tensor([self.exponent], dtype=torch.float64)

    def masked(self, t):
        return t[..., None] ** self.power.to(t)

    def reveal(self, t, s):
        t, s = torch.broadcast_tensors(t, s)
        later = torch.where(s > 0, s, t)  # a zero would make the gradient in the power 0 * inf
        log_ratio = torch.where(later < t / 2, torch.log(later / t), torch.log1p((later - t) / t))
        revealed = -torch.expm1(self.power.to(t) * log_ratio[..., None])  # 1 - (s/t)^power
        return torch.where(s[..., None] > 0, revealed, 1.0)

    def weight(self, t):
        return self.power.to(t) / t[..., None]

    def inverse(self, alpha):
        return (1 - alpha) ** (1 / self.power.to(alpha)[0])

    @property
    def config(self) -> dict:
        return {"name": "polynomial", "power": self.exponent}

    def extra_repr(self):
        return f"power={self.exponent:g}"


class Linear(Polynomial):
    """alpha_t = 1 - t."""

    def __init__(self):
        super().__init__(1.0)

    @property
    def config(self) -> dict:
        return {"name": "linear"}


class Cosine(Schedule):
    """alpha_t = 1 - cos(pi/2 (1 - t)) = 2 sin^2(pi/4 (1 - t))."""

    def masked(self, t):
        return torch.sin(math.pi / 2 * t)[..., None]

    def alpha(self, t):
        return torch.where(t == 0, 1.0, 2 * torch.sin(math.pi / 4 * (1 - t)) ** 2)[..., None]

    def reveal(self, t, s):
        t, s = torch.broadcast_tensors(t, s)
        gained = 2 * torch.cos(math.pi / 4 * (t + s)) * torch.sin(math.pi / 4 * (t - s))
        return torch.where(s == 0, 1.0, gained / torch.sin(math.pi / 2 * t))[..., None]

    def weight(self, t):
        return (math.pi / 2 / torch.tan(math.pi / 2 * t))[..., None]

    def inverse(self, alpha):
        return 2 / math.pi * torch.asin((1 - alpha).clamp(max=1))

    @property
    def config(self) -> dict:
        return {"name": "cosine"}


class LearnedPolynomial(Polynomial):
    """alpha_t(v) = 1 - t^power_v, a learned power per value (GenMD4, arXiv 2406.04329, section 6).

    The powers stay strictly inside `bounds`, on a logarithmic scale:
    power = low * (high / low)^sigmoid(raw).
    """

    def __init__(
        self, num_values: int, init: float = 1.0, bounds: tuple[float, float] = (0.05, 20.0)
    ):
        Schedule.__init__(self)
        low, high = bounds
        if num_values < 2:
            raise ValueError(
                f"num_values must be at least 2, not {num_values}: for one curve use Polynomial"
            )
        if not 0 < low < init < high:
            raise ValueError(
                f"the initial power {init} must lie inside the bounds {low} to {high}, "
                "which must be positive"
            )
        self.num_values, self.init, self.bounds = num_values, float(init), (float(low), float(high))
        share = math.log(init / low) / math.log(high / low)
        self.raw = nn.Parameter(torch.full((num_values,), math.log(share / (1 - share))))

    @classmethod
    def of_powers(cls, powers: Tensor) -> "LearnedPolynomial":
        """With these powers (K,), positive; the bounds are wider, if they are beyond them or near.

        ValueError for a power that is none.
        """
        powers = powers.detach().double()
        if not bool((powers.isfinite() & (powers > 0)).all()):
            raise ValueError(f"powers must be positive numbers, not {powers.min():g}")
        low, high = min(0.05, float(powers.min()) / 2), max(20.0, 2 * float(powers.max()))
        found = cls(len(powers), bounds=(low, high))
        share = torch.log(powers / low) / math.log(high / low)
        found.raw = nn.Parameter(torch.logit(share).to(torch.get_default_dtype()))
        return found

    @property
    def power(self) -> Tensor:
        """(K,) the powers; larger = revealed earlier."""
        low, high = self.bounds
        return low * torch.exp(math.log(high / low) * torch.sigmoid(self.raw))

    def inverse(self, alpha):
        raise ValueError(
            "a schedule with one curve per value has no inverse: alpha alone does not determine t"
        )

    @property
    def config(self) -> dict:
        shape = {"num_values": self.num_values, "init": self.init, "bounds": list(self.bounds)}
        return {"name": "learned_polynomial", **shape}

    def extra_repr(self):
        return f"num_values={self.num_values}, init={self.init:g}, bounds={self.bounds}"


NAMES = {
    "linear": Linear,
    "polynomial": Polynomial,
    "cosine": Cosine,
    "learned_polynomial": LearnedPolynomial,
}


def from_config(config: dict) -> Schedule:
    """The schedule that `Schedule.config` described."""
    config = dict(config)
    name = config.pop("name", None)
    if name not in NAMES:
        raise ValueError(f"unknown schedule {name!r}; known: {', '.join(NAMES)}")
    return NAMES[name](**config)
