"""The autoregressive twin: the same transformer with causal attention, and an exact likelihood.

log p(x) = sum over i of log p(x_i | x_1 .. x_{i-1}).  The network is shown the tokens moved on by
one place, behind a first one: the mask's id, whose embedding a masked model needs, too.  So both
have as many weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor, nn

from unmask.batch import Batch
from unmask.diffusion import MaskedDiffusion, Terms, evaluating
from unmask.kernels.rows import sum_rows
from unmask.likelihood.estimators import EXACT, Estimator, Paid
from unmask.masks import Uniforms
from unmask.policies import changed
from unmask.rivals.refusals import estimators_of_masks
from unmask.roles import ABSENT, GIVEN, SCORED, UNKNOWN
from unmask.sampling.state import How, State

NO_MASKS = "an autoregressive model draws from left to right, and knows no masks"


@dataclass(frozen=True)
class Likelihood(Estimator):
    """-log p(x) of an `AR`, exactly, at one network call an example."""

    steps: int | None = None
    what: ClassVar[str] = EXACT
    exact: ClassVar[bool] = True

    def check(self, model: MaskedDiffusion) -> None:
        if self.steps is not None or self.masking is not None:
            raise ValueError(f"{NO_MASKS}: leave out steps and masking")

    def name(self, model: MaskedDiffusion) -> str:
        return "autoregressive, one pass"

    def sampler(self, model: MaskedDiffusion) -> str:
        return "the sampler that draws one token at a time, left to right"

    def draw(self, model: MaskedDiffusion, batch: Batch, uniforms: Uniforms) -> Paid:
        assert isinstance(model, AR)
        return Paid(model.token_nats(batch)[1], torch.ones(len(batch.codes), dtype=torch.long))


@torch.no_grad()
def left_to_right(
    model: "AR", z: Tensor, ts: Tensor | None = None, **how: Unpack[How]
) -> Iterator[Tensor]:
    """The state after each draw, from z (B, S), one position at a time; the network keeps the keys
    and values of what it has seen.  ValueError for what is given behind a hole, and for guidance.
    """
    if how.get("guidance") is not None:
        raise ValueError("guidance is of masked diffusion: leave it out")
    state = State(model, z, torch.tensor([1.0, 0.0]), **how)
    z, open_ = state.z, state.masked()
    kept = state.counted() & ~open_
    if bool((kept & ((open_.cumsum(1) > 0) | state.hidden())).any()):
        raise ValueError(
            "an autoregressive model draws what comes after what is given: z has a hole before "
            "what is kept, or one that is to stay"
        )
    network: Any = model.backbone
    told = {name: value for name, value in state.told.items() if name == "cond"}
    places = open_.any(0).nonzero()[:, 0].tolist()
    begin = torch.full_like(z[:, :1], model.mask_id)
    rows, past = torch.arange(len(z), device=z.device), network.nothing_seen()
    for at in places:
        # all that it has not seen: of the first, what is given before it
        new = torch.cat([begin, z], 1)[:, past[0].length : at + 1]
        # only here, since whoever takes the states may use the model, too
        with evaluating(model), network.remembering(past):
            state.check()
            features, head = MaskedDiffusion.hidden(model, new, z.new_zeros(()), **told)
            logits = head(features[:, -1])
        position = torch.full_like(rows, at)
        logp = model.log_law(logits, z, rows, position)
        logp = changed(logp, state.temperature, state.top_p)
        own = open_[:, at]
        value = state.draw(logp, u=state.uniform(len(z)))
        z[:, at] = torch.where(own, value, z[:, at])
        if state.drawn is not None:
            probability = logp.gather(1, value[:, None])[:, 0].exp()
            state.drawn(rows[own], position[own], probability[own])
        yield z.clone()


class AR(MaskedDiffusion):
    """An autoregressive model: a network that is causal, whole tokens, and no time.

    `forward`, `nelbo` and `unmask.sample` are those of `MaskedDiffusion`, and exact.  What is given
    of an example must come before all that is scored or drawn.  ValueError for a network that is
    not causal or looks at t, and for digits of tokens.
    """

    rival = "ar"
    one_by_one = True
    estimator = Likelihood
    samplers: ClassVar[dict[str, Any]] = dict.fromkeys(
        ("ancestral", "left-to-right"), left_to_right
    )
    refused: ClassVar[dict[str, str]] = {
        "fill": "holes are filled from both sides, and it knows what comes before them alone",
        "audit": "its likelihood is exact, and the audit is of masks and of bounds",
        "serve": "the page fills in and samples step by step in any order",
        "grid": "it draws one token a step, in one order",
        "schedule": "it has no masking schedule",
        "report": "a report shows what is hidden, and how it is filled in",
        "compress": "a file is coded by what a masked model says along a path",
    } | estimators_of_masks(NO_MASKS)

    def __init__(self, backbone: nn.Module, *how: Any, **named: Any):
        super().__init__(backbone, *how, **named)
        if not getattr(backbone, "causal", False):
            raise ValueError(
                f"an autoregressive model needs a causal network, and {type(backbone).__name__} "
                "does not say causal = True"
            )
        if self.uses_time or self.subtokenizer.length > 1:
            raise ValueError(
                "an autoregressive model is of whole tokens, and its network does not look at t"
            )

    def clean(self, x: Tensor, *how: Any, **named: Any) -> Batch:
        """As that of `MaskedDiffusion`.  The network is told neither of absences, which it sees as
        the first token, nor of ends, which come later than most positions."""
        batch = super().clean(x, *how, **named)
        later = (batch.role == SCORED).cumsum(1) > 0
        if bool((batch.role == UNKNOWN).any()) or bool((later & (batch.role == GIVEN)).any()):
            raise ValueError(
                "an autoregressive model knows what comes before alone: nothing may be unknown, "
                "and what is given must come before all that is scored"
            )
        told = {name: value for name, value in batch.told.items() if name == "cond"}
        return replace(batch, told=told)

    def log_law(self, logits: Tensor, z: Tensor, b: Tensor, position: Tensor) -> Tensor:
        """(R, V) log p of the tokens at the positions (R,) of the rows b (R,) of z (B, S), of which
        what comes before is known; from logits (R, V)."""
        groups = None
        if self.partner is not None:
            partner = self.partner[position]
            seen = z[b, partner.clamp(min=0)].masked_fill(partner >= position, self.mask_id)
            groups = self.groups_left(seen[:, None], partner)
        return self.log_probs(logits, z[b, position, None], position, groups)

    def token_nats(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """-log p of the scored tokens: their sum, to be differentiated, and (B, S) float64."""
        z = batch.codes.masked_fill(batch.role == ABSENT, self.mask_id)
        begin = torch.full_like(z[:, :1], self.mask_id)
        moved = torch.cat([begin, z[:, :-1]], 1)
        features, head = super().hidden(moved, z.new_zeros(()), **batch.told)
        b, position = (batch.role == SCORED).nonzero(as_tuple=True)
        code = batch.codes[b, position]

        def paid_by(rows: Tensor, part: slice) -> tuple[Tensor, Tensor]:
            logp = self.log_law(head(rows), z, b[part], position[part])
            each = -logp.gather(1, code[part, None])[:, 0]
            return each.sum(), each

        size = self.subtokenizer.vocab_size
        total, each = sum_rows(paid_by, features[b, position], self.parameters(), size)
        paid = each.new_zeros(batch.codes.shape, dtype=torch.float64)
        return total, paid.index_put_((b, position), each.double())

    def terms(self, batch: Batch, generator: torch.Generator | None = None) -> Terms:
        """The training loss, and the exact -log p that it is made of."""
        total, each = self.token_nats(batch)
        return Terms(total / batch.positions.sum().clamp(min=1), each.sum(1))

    def drawn_nats(
        self, batch: Batch, steps: int | None, generator: torch.Generator | None
    ) -> Tensor:
        """(B,) float64 nats: -log p(what is scored | what is given), exactly."""
        if steps is not None:
            raise ValueError(f"{NO_MASKS}: leave out steps")
        return self.token_nats(batch)[1].sum(1)

    def hidden(self, *of: Any, **given: Any) -> Any:
        """ValueError: what asks the network about a partly masked state is none of its."""
        raise ValueError(f"{NO_MASKS}: leave this to masked diffusion")

    masked = draw = hidden
