"""Exact likelihoods along one path: every unit pays given what was revealed before it.

A step's units pay under the state before it, those of one token jointly (DUEL, arXiv 2603.01367).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from unmask.batch import Batch
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.kernels.rows import chunks
from unmask.policies import DIRECTIONS, changed, first, lowest, measured, rounded, targets
from unmask.subtokens import consistent

# log mu (R, V) at the positions (R,) of the sequences (R,) of a state
LogProbs = Callable[[Tensor, Tensor], Tensor]


class Law(NamedTuple):
    """What a sampler makes of log mu (R, V) before it draws."""

    temperature: float = 1.0
    top_p: float = 1.0

    def changed(self, logp: Tensor) -> Tensor:
        return changed(logp, self.temperature, self.top_p)

    def of(self, log_probs: LogProbs) -> LogProbs:
        return lambda b, position: self.changed(log_probs(b, position))


MODELS_OWN = Law()


@torch.no_grad()
def path_nats(
    model: MaskedDiffusion,
    batch: Batch,
    order: str,
    shares: Tensor | None = None,
    *,
    gamma: float | None = None,
    temperature: float = 1.0,
    top_p: float = 1.0,
    states: int = 64,
) -> tuple[Tensor, Tensor]:
    """-log p(what is scored | what is given) of `sampling.in_order` with these `order`, `shares`,
    `temperature` and `top_p`: (B, S) float64 nats by token, infinite for what lies outside of the
    nucleus, and (B,) network calls, on the CPU.

    order: one of `policies.ORDERS`.  shares (T + 1,): of units that are masked after each step, see
    `masks.counts_of`; None: one unit a step.  `gamma`, with order "entropy": of
    `sampling.entropy_bounded`.  `states` go through the network at a time where the order is known
    beforehand, and B else.  The network is shown the time that fits the share of masked units.
    """
    law = Law(temperature, top_p)
    if order in DIRECTIONS:
        rank = DIRECTIONS[order] * torch.arange(batch.y.shape[1])
        rank = rank.expand(batch.y.shape)
        return ordered_nats(model, batch, rank, shares, law=law, states=states)
    nats = torch.zeros(batch.codes.shape, dtype=torch.float64, device=batch.codes.device)
    calls = torch.zeros(len(nats), dtype=torch.long)
    for step in reveals(model, batch, order, shares, gamma=gamma, law=law):
        calls[step.rows.cpu()] += 1
        paid = charges(model, step.batch, step.chosen, step.after, step.log_probs, law)
        nats[step.rows] += paid
    return nats.cpu(), calls


class Step(NamedTuple):
    """What one step of `sampling.in_order` reveals, and what the network said before it."""

    rows: Tensor  # (R,) the examples in which it reveals something
    batch: Batch  # these examples
    chosen: Tensor  # (R, U) bool: the units that it reveals
    after: Tensor  # (R, U) bool: those that are masked after it
    log_probs: LogProbs


@torch.no_grad()
def reveals(
    model: MaskedDiffusion,
    batch: Batch,
    order: str,
    shares: Tensor | None = None,
    *,
    gamma: float | None = None,
    law: Law = MODELS_OWN,
) -> Iterator[Step]:
    """The steps along the path of a batch, a network call each; arguments as in `path_nats`.

    A step depends on what earlier ones revealed and on nothing else: whoever decodes fills in
    `batch.codes` between one step and the next.
    """
    masked = batch.scored.clone()
    with evaluating(model):
        for target in targets(masked.sum(-1), shares):
            number = (masked.sum(-1) - target).clamp(min=0)
            rows = (number > 0).nonzero()[:, 0]
            if not len(rows):
                continue
            some, before = batch.take(rows), masked[rows]
            log_probs = look(model, some, before)
            measure = measured(model, order, before, law.of(log_probs))
            if gamma is None:
                chosen = first(rounded(measure), before, number[rows])
            else:
                chosen = lowest(measure, before, gamma)
            after = before & ~chosen
            masked[rows] = after
            yield Step(rows, some, chosen, after, log_probs)


def look(model: MaskedDiffusion, batch: Batch, masked: Tensor) -> LogProbs:
    """Run the network on a batch of which `masked` (B, U) are masked: a function of sequences and
    positions, (R,) each, that says log mu (R, V)."""
    z = model.masked(batch, masked)
    t = torch.ones(len(z), dtype=torch.float64, device=z.device)
    if model.schedule.num_values == 1:
        t = model.schedule.inverse(1 - batch.hidden_share(masked))
    hidden, head = model.hidden(z, t, **batch.told)
    digits = z.unflatten(1, (-1, model.subtokenizer.length))

    def log_probs(b: Tensor, position: Tensor) -> Tensor:
        groups = model.open_groups(z, b, position)
        return model.log_probs(head(hidden[b, position]), digits[b, position], position, groups)

    return log_probs


def charges(
    model: MaskedDiffusion,
    batch: Batch,
    chosen: Tensor,
    after: Tensor,
    log_probs: LogProbs,
    law: Law,
) -> Tensor:
    """(B, S) nats of the tokens with units that are `chosen` (B, U), after which those of `after`
    (B, U) are masked.

    The probability of what is revealed is that of all tokens that agree with it.  The second of two
    linked positions is drawn given the first.
    """
    z = model.masked(batch, after).unflatten(1, (-1, model.subtokenizer.length))
    nats = torch.zeros(batch.codes.shape, dtype=torch.float64, device=chosen.device)
    b, position = chosen.unflatten(1, (-1, batch.per_token)).any(-1).nonzero(as_tuple=True)
    vocab_size, base = model.subtokenizer.vocab_size, model.subtokenizer.base
    for part in chunks(len(b), vocab_size, chosen.device):
        i, s = b[part], position[part]
        logp = law.changed(given_first(model, log_probs(i, s), z.flatten(1), i, s))
        whole = (z[i, s] != model.mask_id).all(-1)
        paid = logp.gather(1, batch.codes[i, s, None])[:, 0]
        if not bool(whole.all()):
            agrees = consistent(z[i, s], base)[:, :vocab_size]
            paid = torch.where(whole, paid, logp.masked_fill(~agrees, -torch.inf).logsumexp(-1))
        nats[i, s] = -paid.double()
    return nats


def given_first(
    model: MaskedDiffusion, logp: Tensor, after: Tensor, b: Tensor, position: Tensor
) -> Tensor:
    """log mu (R, V) at the positions (R,) of the rows b (R,) of a state, once what the step reveals
    at the first of two linked positions is known: `after` (B, S*L)."""
    if model.later is None:
        return logp
    groups = model.open_groups(after, b, position)
    assert groups is not None
    left = groups[:, model.by_code(model.group)] | ~model.later[position][:, None]
    return logp.masked_fill(~left, -torch.inf).log_softmax(-1)


@torch.no_grad()
def ordered_nats(
    model: MaskedDiffusion,
    batch: Batch,
    rank: Tensor,
    shares: Tensor | None = None,
    *,
    law: Law = MODELS_OWN,
    states: int = 64,
) -> tuple[Tensor, Tensor]:
    """As `path_nats`, of an order that is known beforehand: of the scored units, that of the least
    `rank` (B, U) comes first.  `states` go through the network at a time."""
    scored = batch.scored
    rank = rank.to(scored.device).masked_fill(~scored, rank.shape[1])
    rank = rank.argsort(-1).argsort(-1)  # among the scored
    count = scored.sum(-1)
    left = targets(count, shares).T  # (B, T)
    last = (count[:, None] - 1 - rank).clamp(min=0)  # still masked after it, if it comes alone
    step = torch.searchsorted(-left.contiguous(), -last)  # (B, U), the first that leaves no more
    numbers = (torch.arange(len(rank), device=rank.device)[:, None] * (left.shape[1] + 1)) + step
    seen = numbers[scored].unique()
    of, at = seen // (left.shape[1] + 1), seen % (left.shape[1] + 1)
    nats = torch.zeros(batch.codes.shape, dtype=torch.float64, device=rank.device)
    with evaluating(model):
        for begin in range(0, len(seen), states):
            part = slice(begin, begin + states)
            b, now = of[part], at[part, None]
            some = batch.take(b)
            before, after = ((step[b] >= k) & some.scored for k in (now, now + 1))
            log_probs = look(model, some, before)
            paid = charges(model, some, before & ~after, after, log_probs, law)
            nats.index_add_(0, b, paid)
    return nats.cpu(), of.bincount(minlength=len(rank)).cpu()


def order_nats(model: MaskedDiffusion, batch: Batch, rank: Tensor, *, states: int = 64) -> Tensor:
    """(B,) float64 nats, on the CPU: -log p(x | order), units being revealed one at a time, that of
    the least `rank` (B, U) first.

    The model that reveals one unit at a time in a uniformly random order is the continuous-time
    one, whatever its scalar schedule, if its network does not look at t (arXiv 2406.04329, section
    4): p(x) = mean over orders of p(x | order).  ValueError for a network that looks at t, or one
    curve per value.
    """
    check_orders(model)
    return ordered_nats(model, batch, rank, states=states)[0].sum(1)


def check_orders(model: MaskedDiffusion) -> None:
    """ValueError for a model whose p(x) is not the mean of p(x | order) over orders."""
    if model.uses_time or model.schedule.num_values > 1:
        raise ValueError(
            "orders can be scored for a network that does not look at t, and a schedule with one "
            "curve for all values"
        )
