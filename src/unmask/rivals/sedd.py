"""SEDD with an absorbing state (score entropy, arXiv 2310.16834): scores without a norm.

The network says s(v) = alpha / (1 - alpha) q_v of the ratios p(x_n = v | what is revealed) /
p(masked), with q_v = exp(logit_v) / V; their sum Z over v is 1 for true ratios, and anything here.
Its bound is that of the Markov chain in continuous time whose reverse rates are s times those of
masking: at a masked position

    weight(t) (Z - 1 - log q_x),

MD4's weighted cross-entropy if Z = 1.  Since Z enters when positions are revealed, the samplers are
its own.  The schedule may be any with one curve; the published log-linear noise sigma = -log(1 - (1
- eps) t) is the linear one, up to eps.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor

from unmask.categorical import categorical
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.kernels.rows import chunks
from unmask.likelihood.estimators import Bound
from unmask.masks import Draw
from unmask.sampling import SAMPLERS
from unmask.sampling.state import How, Seen, State

NO_STEPS = "SEDD's bound is of continuous time: leave out steps"


def log_ratios(logits: Tensor) -> Tensor:
    """(R, V) log q, from logits that are -inf where a value is not possible."""
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    possible = (logits != -torch.inf).sum(-1, keepdim=True)
    return logits - possible.to(logits).log()


def entropy_of(log_q: Tensor, y: Tensor, masked: Tensor) -> Tensor:
    """(R, 1) what rows pay, before their weight: Z - 1 - log q_x where masked (R, 1), y (R, 1)."""
    paid = log_q.exp().sum(-1, keepdim=True) - 1 - log_q.gather(1, y)
    return torch.where(masked, paid, 0.0)


@dataclass(frozen=True)
class ScoreBound(Bound):
    """The bound of a `SEDD`, in continuous time."""

    def check(self, model: MaskedDiffusion) -> None:
        super().check(model)
        if self.steps is not None:
            raise ValueError(NO_STEPS)

    def name(self, model: MaskedDiffusion) -> str:
        return f"score entropy, {super().name(model)}"

    def sampler(self, model: MaskedDiffusion) -> str:
        return "the chain in continuous time whose rates are its scores (first_hitting)"


class SEDD(MaskedDiffusion):
    """A model of scores, its bound and its samplers: "ancestral" and "first_hitting" are those of
    its own chain, the others draw from q / Z as masked diffusion does.

    ValueError for a schedule with one curve per value, and for digits of tokens.
    """

    rival = "sedd"
    estimator = ScoreBound
    refused: ClassVar[dict[str, str]] = {
        "audit": "what is audited is cross-entropies and the samplers of masked diffusion",
        "grid": "its steps reveal by the sum of its scores, and not exact numbers",
        "schedule": "its schedule has nothing that is learned",
        "--estimator orders": "it reveals where its scores are large, not in uniform order",
        "--estimator counts": "its own steps reveal by the sum of its scores",
    }

    def __init__(self, *how: Any, **named: Any):
        super().__init__(*how, **named)
        if self.schedule.num_values > 1 or self.subtokenizer.length > 1:
            raise ValueError("SEDD is of whole tokens and a schedule with one curve for all values")

    def log_charged(
        self, logits: Tensor, digits: Tensor, position: Tensor, groups: Tensor | None = None
    ) -> Tensor:
        """(R, V) log q, not normalised; `log_probs` normalises it."""
        return log_ratios(self.restrict(logits, position, groups))

    def paid(
        self, logits: Tensor, y: Tensor, masked: Tensor, factor: Tensor
    ) -> tuple[Tensor, Tensor]:
        each = factor[:, None] * entropy_of(log_ratios(logits), y, masked)
        return each.sum(), each

    def nats(
        self, logp: Tensor, y: Tensor, masked: Tensor, times: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """(R,) as that of `MaskedDiffusion`, from log q; continuous time alone."""
        if times is not None:
            raise ValueError(NO_STEPS)
        return entropy_of(logp, y, masked)[:, 0]

    def draw(self, batch: Any, steps: int | None = None, *how: Any, **named: Any) -> Draw:
        """As that of `MaskedDiffusion`; ValueError for discrete time."""
        if steps is not None:
            raise ValueError(NO_STEPS)
        return super().draw(batch, steps, *how, **named)

    @torch.no_grad()
    def log_scores(self, z: Tensor, t: Tensor, **told: Tensor) -> Tensor:
        """(B, S, V) log s, at masked positions of z (B, S); t (B,)."""
        rows, head = self.hidden(z, t, **told)
        position = torch.arange(z.shape[1], device=z.device).repeat(len(z))
        b = torch.arange(len(z), device=z.device).repeat_interleave(z.shape[1])
        groups = self.open_groups(z, b, position)
        log_q = self.log_charged(head(rows.flatten(0, 1)), z.view(-1, 1), position, groups)
        odds = self.schedule.alpha(t) / self.schedule.masked(t)  # (B, 1)
        return log_q.view(*z.shape, -1) + odds.log()[..., None].to(log_q)


class Chain(State):
    """The state of a sampler, and at which rates its positions are revealed."""

    def rates(self, t: Tensor, rows: Tensor) -> tuple[Tensor, Seen, Tensor]:
        """(B, S) Z of the positions that are masked in `rows` (A,), else 0; what the network has
        seen of these, and at which times (B,) it was asked."""
        t = torch.where(self.own_clock, self.fitting(), t)
        seen, masked = self.look(rows, t), self.masked()
        chosen = torch.zeros(len(self.z), dtype=torch.bool, device=self.z.device)
        chosen[rows] = True
        b, position = (masked & chosen[:, None]).nonzero(as_tuple=True)
        total = torch.zeros(masked.shape, dtype=torch.float64, device=self.z.device)
        with evaluating(self.model):
            for part in chunks(len(b), self.model.subtokenizer.vocab_size, self.z.device):
                i, s = b[part], position[part]
                groups = self.model.open_groups(self.z, i, s)
                logits = seen.head(seen.hidden[seen.among[i], s])
                log_q = self.model.log_charged(logits, self.z[i, s, None], s, groups)
                total[i, s] = log_q.double().exp().sum(-1)
        return total, seen, t


@torch.no_grad()
def leaps(model: MaskedDiffusion, z: Tensor, ts: Tensor, **how: Unpack[How]) -> Iterator[Tensor]:
    """The chain on the grid `ts`, its rates held from t to s: a masked position stays so with
    probability ((1 - alpha_s) / (1 - alpha_t))^Z, and has a value drawn from q / Z otherwise."""
    state = Chain(model, z, ts, **how)
    for t, s in zip(state.ts[:-1], state.ts[1:], strict=True):
        masked = state.masked()
        coin = state.uniform(*masked.shape)
        rows = masked.any(1).nonzero()[:, 0]
        shown, seen = t.expand(len(z)), None
        if len(rows):
            total, seen, shown = state.rates(shown, rows)
            # certain at s = 0, whatever Z
            stays = (1 - model.schedule.reveal(t, s)) ** total
            masked = masked & (coin >= stays)
        state.reveal(masked, shown, seen=seen)
        yield state.z.clone()


@torch.no_grad()
def jumps(
    model: MaskedDiffusion, z: Tensor, ts: Tensor | None = None, **how: Unpack[How]
) -> Iterator[Tensor]:
    """The chain itself, of a network that does not look at t: one position at a time, each with a
    probability in proportion to its Z.

    1 - alpha falls to (1 - alpha) r^(1/sum Z), r ~ U(0, 1); states are yielded at the times `ts`.
    ValueError for a network that looks at t, whose rates change while it waits.
    """
    if model.uses_time:
        raise ValueError(
            "first_hitting of SEDD needs a network that does not look at t: its rates change while "
            'it waits; use sampler="ancestral"'
        )
    ts = torch.tensor([1.0, 0.0]) if ts is None else ts
    state = Chain(model, z, ts, **how)

    for t, s in zip(state.ts[:-1], state.ts[1:], strict=True):
        # what is left to wait at s is drawn anew there, as nothing is remembered of waiting
        u = model.schedule.masked(t).expand(len(z))
        going = torch.ones(len(z), dtype=torch.bool, device=state.z.device)
        while bool((going := going & state.masked().any(1)).any()):
            rates, seen, _ = state.rates(torch.ones_like(u), going.nonzero()[:, 0])
            r = 1 - state.uniform(len(u), rows=going)
            u = torch.where(going, u * r ** (1 / rates.sum(1)), u)
            going = going & ((u > model.schedule.masked(s)) | (s == 0))
            # of a row that is not going: any, since it is not used
            law = rates.log().masked_fill(~going[:, None], 0.0)
            chosen = categorical(law, u=state.uniform(len(u), rows=going))
            one = torch.zeros_like(state.masked())
            one.scatter_(1, chosen[:, None], going[:, None])
            state.reveal(one, torch.ones_like(u), rows=going, seen=seen)
        yield state.z.clone()


SEDD.samplers = SAMPLERS | {"ancestral": leaps, "first_hitting": jumps}
