"""Estimates over data: every example, in every draw, by one of the `estimators`."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.batch import Batch, inputs
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.estimate import Estimate, errors, steadied
from unmask.likelihood.estimators import Estimator, Orders, own_estimator
from unmask.likelihood.variates import less_variates
from unmask.masks import Uniforms, of_examples
from unmask.processes import ALONE, Processes


def estimate_nelbo(
    model: MaskedDiffusion,
    batches: Iterable[Tensor | dict],
    *,
    repeats: int = 8,
    steps: int | None = None,
    masking: str | None = None,
    seed: int = 0,
    by_position: bool | Sequence[int] = False,
    finite: bool = True,
    processes: Processes = ALONE,
) -> Estimate:
    """The model's bound, `estimate` by its `own_estimator`: see there and
    `MaskedDiffusion.nelbo`."""
    how = {"repeats": repeats, "seed": seed, "by_position": by_position, "finite": finite}
    return estimate(
        model, batches, own_estimator(model, steps, masking), processes=processes, **how
    )


def estimate(
    model: MaskedDiffusion,
    batches: Iterable[Tensor | dict],
    estimator: Estimator,
    *,
    repeats: int = 8,
    seed: int = 0,
    by_position: bool | Sequence[int] = False,
    finite: bool = True,
    processes: Processes = ALONE,
) -> Estimate:
    """What `estimator` says of all examples of `batches`, tensors x (B, S) or dicts with x and
    optionally cond, ends, and valid or role; `repeats` draws each, if it draws anything.

    It is of -log p(what is scored | what is given), see `roles`, whatever objective the model was
    trained with.  The draws of an example are those of (seed, its number), whatever the batches and
    the device.  A dict may also have "group" (B,) int64: examples of one number are not
    independent, see `errors`.

    `by_position`, for examples of one length: also how much of the mean is paid at each position;
    of a bound, what its token costs on average over the random orders in which tokens are revealed.
    A number for each position: of those of one number together.

    `processes` share the batches, which all of them see; each gets the whole estimate.

    ValueError for no examples, or a model that the estimator is not for.
    FloatingPointError for a number that is not finite, unless `finite` is False: an audit
    judges it.
    """
    if isinstance(batches, Tensor | dict):
        raise ValueError(
            "batches must be a list or another iterable of batches: for one batch, pass [x]"
        )
    replicates, of_each = estimator.split(repeats)
    found = draw_pass(
        model, batches, estimator, range(replicates), of_each,
        seed=seed, by_position=by_position, processes=processes,
    )  # fmt: skip
    return found.estimate(model, estimator, seed=seed, finite=finite)


class Pass(NamedTuple):
    """What was found for n examples in R draws, `of_each` to a replicate."""

    draws: Tensor  # (R, n), or (R, n, S) by position; float64 nats
    pick: Tensor  # (R, n), see `masks.Uniforms`
    positions: Tensor  # (n,)
    groups: Tensor | None  # (n,)
    calls: int  # of the network, an example each
    of_each: int

    def then(self, more: "Pass") -> "Pass":
        """With the draws of another pass over the same examples."""
        draws, pick = (torch.cat(pair) for pair in zip(self[:2], more[:2], strict=True))
        return self._replace(draws=draws, pick=pick, calls=self.calls + more.calls)

    def estimate(
        self, model: MaskedDiffusion, estimator: Estimator, *, seed: int, finite: bool = True
    ) -> Estimate:
        """The `Estimate` that they make; see `estimating.estimate` for the errors."""
        draws, pick, positions, groups, calls, of_each = self
        if not positions.any():
            raise ValueError("there are examples, and none of them has a position that is scored")
        unknown = ~draws.isfinite().transpose(0, 1).flatten(1).all(1)
        if finite and bool(unknown.any()):
            raise FloatingPointError(
                f"the bound of {int(unknown.sum())} of {len(positions)} examples is not finite: "
                "what the network says is not, or its weights are not"
            )

        def per_replicate(values: Tensor) -> Tensor:
            nats = estimator.combine(values.unflatten(0, (-1, of_each)))
            # what is exact is the same in every draw, and two of them say so
            return nats.expand(2, *nats.shape[1:]) if estimator.exact else nats

        def steady(values: Tensor) -> Tensor | None:
            if not estimator.steadied:
                return None
            return per_replicate(steadied(values, pick, positions))

        of_positions = None
        if draws.ndim == 3:
            values = per_replicate(draws)
            stderr = errors(values, groups, steady(draws))[0]
            of_positions = torch.stack([values.mean((0, 1)), stderr], -1)
            draws = draws.sum(-1)
        return Estimate(
            per_replicate(draws),
            positions,
            repeats=len(draws),
            steps=getattr(estimator, "steps", None),
            masking=estimator.masking or model.masking,
            seed=seed,
            groups=groups,
            steady=steady(draws),
            by_position=of_positions,
            what=estimator.what,
            name=estimator.name(model),
            sampler=estimator.sampler(model),
            calls=calls,
            exact=estimator.exact,
            density=estimator.density(model, of_each),
        )


@torch.no_grad()
def draw_pass(
    model: MaskedDiffusion,
    batches: Iterable[Tensor | dict],
    estimator: Estimator,
    replicates: range,
    of_each: int,
    *,
    seed: int = 0,
    by_position: bool | Sequence[int] = False,
    processes: Processes = ALONE,
    done: dict[int, tuple] | None = None,
) -> Pass:
    """Draw these replicates of all examples.  ValueError for none.

    `done`: what was found already for this process's batches, by number; each is added as it is
    found, so that whoever stops this can go on.
    """
    estimator.check(model)
    if by_position is not False and not estimator.by_position:
        raise ValueError("what a mean of likelihoods pays cannot be told by position")
    done = {} if done is None else done
    with evaluating(model):
        of_batches = enumerate(numbered(model, batches, estimator.masking, processes))
        for i, (batch, numbers, group) in of_batches:
            if i in done:
                continue
            spare = not len(numbers)
            if spare:
                numbers = np.arange(len(batch.y))  # any
            nats, picks, calls = drawn(
                model, batch, estimator, numbers, replicates, of_each, seed, by_position
            )
            if not spare:
                done[i] = nats, picks, batch.positions.cpu(), group, calls
    found = processes.gather([done[i] for i in sorted(done)])
    if not found:
        raise ValueError("there are no examples to evaluate")
    nats, picks, positions, groups, calls = zip(*found, strict=True)
    draws = torch.cat(nats, 1), torch.cat(picks, 1)
    return Pass(*draws, torch.cat(positions), joined(groups), sum(calls), of_each)


def drawn(
    model: MaskedDiffusion,
    batch: Batch,
    estimator: Estimator,
    numbers: Sequence[int] | np.ndarray,
    replicates: range,
    of_each: int,
    seed: int,
    by_position: bool | Sequence[int] = False,
) -> tuple[Tensor, Tensor, int]:
    """(R, B) or, by position, (R, B, S) nats of all draws, their picks (R, B), and network calls.

    The draws are those of the examples with these numbers (B,).
    """
    nats, picks, calls = [], [], 0
    for replicate in replicates:
        each, masks = [], []
        for uniforms in draws_of(numbers, batch, seed, [replicate], of_each):
            found = estimator.draw(model, batch, uniforms)
            each.append(found.nats.cpu())
            picks.append(uniforms.pick.cpu())
            calls += int(found.calls.sum())
            if found.masks is not None:
                masks.append(found.masks)
        paid = torch.stack(each)
        if len(masks) > 1:
            paid = less_variates(batch, paid, masks)
        if not isinstance(by_position, bool):
            paid = torch.stack([added(one, by_position) for one in paid])
        nats.append(paid.sum(2) if by_position is False else paid)
    return torch.cat(nats), torch.stack(picks), calls


def added(paid: Tensor, number: Sequence[int]) -> Tensor:
    """paid (B, S) added up over the positions of one number: (B, numbers)."""
    which = torch.as_tensor(list(number), device=paid.device)
    return paid.new_zeros(len(paid), int(which.max()) + 1).index_add_(1, which, paid)


def numbered(
    model: MaskedDiffusion,
    batches: Iterable[Tensor | dict],
    masking: str | None = None,
    processes: Processes = ALONE,
) -> Iterator[tuple[Batch, np.ndarray, Tensor | None]]:
    """Clean batches on the model's device, the numbers (B,) of their examples, counted from 0, and
    their groups.

    Of several processes, those that are this one's; and, where it has none in the last round, the
    last once more, with no numbers, since what is called together has to be called by all.
    """
    size = processes.size
    done = i = 0
    batch: Tensor | dict = {}
    for i, batch in enumerate(batches, 1):
        rows = len(inputs(batch)["x"])
        if (i - 1) % size == processes.rank:
            clean = model.clean(**inputs(batch, model.device), masking=masking)
            group = batch.get("group") if isinstance(batch, dict) else None
            yield clean, np.arange(done, done + rows), group
        done += rows
    if 0 < i % size <= processes.rank:
        yield model.clean(**inputs(batch, model.device), masking=masking), np.arange(0), None


def draws_of(
    numbers: Sequence[int] | np.ndarray,
    batch: Batch,
    seed: int,
    replicates: Iterable[int],
    of_each: int,
) -> Iterator[Uniforms]:
    """The uniforms of the examples with these numbers (B,), draw by draw: `of_each` draws of the
    first replicate, then of the next."""
    units, device = batch.y.shape[1], batch.y.device
    for replicate, repeat in itertools.product(replicates, range(of_each)):
        which = {"replicate": replicate, "repeat": repeat, "repeats": of_each}
        yield of_examples(numbers, units, seed=seed, device=device, **which)


def joined(groups: Sequence[Tensor | None]) -> Tensor | None:
    """(n,) the groups of all batches, or None if some have none."""
    known = [group for group in groups if group is not None]
    return torch.cat(known) if len(known) == len(groups) else None


def estimate_orders(
    model: MaskedDiffusion,
    batches: Iterable[Tensor | dict],
    *,
    orders: int = 8,
    seed: int = 0,
    processes: Processes = ALONE,
) -> tuple[Estimate, Estimate]:
    """Two bounds from the same `orders` of each example: `Orders`, and the mean of -log p(x |
    order), which is the model's plain bound.

    `noise` is not known for the first (NaN); `stderr` holds it.
    """
    ensemble = Orders(orders)
    found = draw_pass(model, batches, ensemble, range(1), orders, seed=seed, processes=processes)
    single = found._replace(of_each=1).estimate(model, Orders(1), seed=seed)
    return found.estimate(model, ensemble, seed=seed), single
