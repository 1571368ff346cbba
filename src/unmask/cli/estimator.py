"""Which estimator a command's flags name."""

from dataclasses import dataclass
from typing import Any, Literal

from unmask.cli.flags import Machine
from unmask.config import BOUNDED, Sampling, check_gamma, check_grid

EstimatorName = Literal[
    "bound", "orders", "enumeration", "counts",
    "left-to-right", "right-to-left", "confidence", "margin", "entropy",
    "entropy-bounded", "joint",
]  # fmt: skip
JOINT = (
    "the joint loss of MDM-Prime is not an upper bound on the negative log-likelihood, so it is "
    "never reported as nats, bits or perplexity (its authors withdrew those made of it in May "
    "2026: chen-hao-chao.github.io/dependency-breaks-validity); leave out --estimator for the bound"
)


@dataclass(frozen=True, kw_only=True)
class Estimating(Machine):
    estimator: EstimatorName = "bound"
    """bound: of the model, or the likelihood of an autoregressive one;
    enumeration: the same without noise, of at most 12 tokens.
    orders: the tighter bound of --repeats random orders an example,
    log of the mean of p(x | order), at a network call for every token of each: take few examples.
    counts: the bound of the sampler that reveals exact numbers of tokens in --steps.
    left-to-right, right-to-left, confidence, margin, entropy, entropy-bounded: the exact likelihood
    of the sampler of that name, at a network call for every step of every example.
    joint, the loss of the MDM-Prime paper, is refused: it is not a bound."""
    repeats: int = 8
    """Draws of masks for each window; of --estimator orders, its orders."""
    error: float = 0.0
    """Draw until the noise of the masks is at most so many bits a position, instead of --repeats;
    the same command with --json goes on where Ctrl-C has stopped it."""
    steps: int = 0
    """Of the bound: that of this many steps of discrete time; 0: continuous time, or as many as a
    rival has of its own.
    Of counts and of orders that follow from what is revealed: as in sample; 0: one token a step."""
    grid: str = "cosine"
    """Of counts and such orders: as in sample."""
    temperature: float = 1.0
    """Of such orders: the likelihood of the sampler at this temperature."""
    gamma: float = Sampling.gamma
    """Of entropy-bounded: as in sample."""
    masking: Literal["model", "digit", "token"] = "model"
    """Of a model with digits: the bound of the sampler that reveals each digit on its own,
    or all of a token at once; model: as trained."""


def check_estimator(args: Estimating) -> None:
    """ValueError for flags that have no meaning together, before anything is read."""
    name = args.estimator
    if name == "joint":
        raise ValueError(JOINT)
    if args.steps < 0:
        raise ValueError(f"--steps must be at least 1, not {args.steps}")
    in_steps = name not in ("bound", "orders", "enumeration")
    of_path = in_steps and name != "counts"
    if name == "orders" and (args.steps or args.masking != "model"):
        raise ValueError(
            "--estimator orders is of continuous time and the model's own masking: "
            "leave out --steps and --masking"
        )
    if args.grid != "cosine" and not in_steps:
        raise ValueError(f"--grid is of --estimator counts and of orders, not of {name}")
    if in_steps and name != "entropy-bounded":
        check_grid(args.steps, args.grid)
    if args.temperature != 1 and not of_path:
        raise ValueError(
            f"--temperature is of the exact likelihood of an order, not of --estimator {name}"
        )
    if name == "entropy-bounded":
        if args.steps or args.grid != "cosine":
            raise ValueError(BOUNDED)
        check_gamma(args.gamma)
    elif args.gamma != Sampling.gamma:
        raise ValueError(f"--gamma is of --estimator entropy-bounded, not of {name}")
    if of_path and args.masking != "model":
        raise ValueError(f"--estimator {name} is of the model's own masking: leave out --masking")
    if args.error < 0:
        raise ValueError(f"--error must be positive, not {args.error}")
    if args.error and (of_path or name == "enumeration"):
        raise ValueError(f"--estimator {name} is exact, and draws nothing: leave out --error")


def estimator_of(args: Estimating, model: Any, length: int = 0) -> Any:
    """An `unmask.likelihood.Estimator`; length: of what is scored, if that is longer than what the
    model was trained at."""
    from unmask.likelihood import Counts, Enumeration, Orders, Path, own_estimator

    masking = None if args.masking == "model" else args.masking
    if args.estimator == "bound":
        return own_estimator(model, args.steps or None, masking)
    model.refuse(f"--estimator {args.estimator}")
    if args.estimator == "enumeration":
        return Enumeration(args.steps or None, masking=masking)
    if args.estimator == "orders":
        return Orders(args.repeats)
    if args.estimator == "entropy-bounded":
        return Path("entropy", temperature=args.temperature, gamma=args.gamma)
    shares = shares_of(args, model)
    if args.estimator == "counts":
        count = max(length, model.meta["length"])
        return Counts(shares or one_by_one(count), masking=masking)
    return Path(args.estimator, shares, args.temperature)


def shares_of(args: Estimating, model: Any) -> tuple[float, ...] | None:
    """Of units that are masked after each step of --steps and --grid; None: one unit a step."""
    from unmask.cli.runtime import grid_of
    from unmask.policies import check_curve
    from unmask.sampling import times_of

    check_curve(model, args.estimator)
    digits = model.units(None if args.masking == "model" else args.masking).length
    ts = times_of(model, args.estimator, args.steps or None, grid_of(args.grid, digits))
    return None if ts is None else tuple(model.schedule.masked(ts)[:, 0].tolist())


def one_by_one(count: int) -> tuple[float, ...]:
    """Shares of so many steps, of which each reveals one of as many tokens."""
    return tuple(left / count for left in range(count, -1, -1))
