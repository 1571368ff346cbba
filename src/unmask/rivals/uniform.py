"""Diffusion with uniform noise in discrete time: D3PM-uniform (arXiv 2107.03006), or multinomial
diffusion (arXiv 2102.05379).

Forward, at each position alone: x_t is x with probability alpha_t, else any of the V values with
equal probability, x among them.  The network predicts x from x_t and t, as mu, and

    p(x_s | x_t) = sum over x of mu(x) q(x_s | x_t, x),
    bound = sum over T steps of KL(q(x_s | x_t, x) || p(x_s | x_t)).

The schedule's ends are exact, so nothing is left out: x_1 is uniform whatever x, and the last step
pays -log mu(x).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Unpack

import torch
from torch import Tensor

from unmask.batch import Batch
from unmask.diffusion import MaskedDiffusion, Terms, evaluating
from unmask.kernels.rows import chunks, sum_rows
from unmask.likelihood.estimators import Estimator, Paid
from unmask.masks import Draw, Uniforms, of_batch
from unmask.masks import draw as drawn_times
from unmask.policies import changed
from unmask.rivals.refusals import estimators_of_masks
from unmask.roles import ABSENT, GIVEN, UNKNOWN
from unmask.sampling.state import How, State

STEPS = 1000
WIDE = 8  # tensors of float64 as wide as the logits, and there at a time
NO_MASKS = "uniform noise replaces values, and hides none"


class Step(NamedTuple):
    """Of a step from t to s, each (R,) float64: alpha_t and alpha_s."""

    alpha: Tensor
    before: Tensor

    def log_forward(self, i: Tensor, size: int) -> tuple[Tensor, Tensor]:
        """(R, V) each: log q(x_t = i | x_0 = v), and log q(x_t = i | x_s = v)."""
        here = torch.nn.functional.one_hot(i, size).bool()

        def logs(kept: Tensor) -> Tensor:
            spread = ((1 - kept) / size)[:, None]
            return torch.where(here, kept[:, None] + spread, spread).log()

        return logs(self.alpha), logs(self.alpha / self.before)

    def log_posterior(self, log_mu: Tensor, i: Tensor) -> tuple[Tensor, Tensor]:
        """(R, V) float64: log p(x_s | x_t = i) of log mu (R, V), as log q(x_t = i | x_s = v) and
        the rest, whose sum it is."""
        size = log_mu.shape[-1]
        from_clean, from_before = self.log_forward(i, size)
        ratio = log_mu.double() - from_clean
        spread = ((1 - self.before) / size).log()[:, None]  # -inf at s = 0
        rest = torch.logaddexp(
            self.before.log()[:, None] + ratio, spread + ratio.logsumexp(-1, keepdim=True)
        )
        return from_before, rest

    def kl(self, log_mu: Tensor, i: Tensor, x: Tensor) -> Tensor:
        """(R,) KL(q(x_s | x_t = i, x) || p(x_s | x_t = i))."""
        size = log_mu.shape[-1]
        forward, log_p = self.log_posterior(log_mu, i)
        from_clean = self.log_forward(i, size)[0].gather(1, x[:, None])
        is_x = torch.nn.functional.one_hot(x, size)
        q = is_x * self.before[:, None] + ((1 - self.before) / size)[:, None]
        q = q / from_clean.exp()
        return (forward.exp() * (torch.xlogy(q, q) - q * log_p)).sum(-1)


@dataclass(frozen=True)
class UniformBound(Estimator):
    """The bound of a `Uniform` in `steps` steps."""

    steps: int
    steadied: ClassVar[bool] = True

    def check(self, model: MaskedDiffusion) -> None:
        if self.masking is not None:
            raise ValueError(f"{NO_MASKS}: leave out masking")

    def name(self, model: MaskedDiffusion) -> str:
        return f"uniform noise, discrete time, {self.steps} steps"

    def density(self, model: MaskedDiffusion, of_each: int) -> str:
        return "intervals, uniform in strata"

    def sampler(self, model: MaskedDiffusion) -> str:
        return f"the sampler of {self.steps} steps of a uniform grid, which draw every position"

    def draw(self, model: MaskedDiffusion, batch: Batch, uniforms: Uniforms) -> Paid:
        assert isinstance(model, Uniform)
        paid = model.step_paid(batch, model.noised(batch, uniforms, self.steps))[1]
        return Paid(paid, torch.ones(len(paid), dtype=torch.long))


@torch.no_grad()
def denoised(model: MaskedDiffusion, z: Tensor, ts: Tensor, **how: Unpack[How]) -> Iterator[Tensor]:
    """The reverse process on the grid `ts`, from uniform noise: each step draws x_s at every
    position from p(x_s | x_t).

    ValueError where something is given, `ts` does not begin at 1 and end at 0, or for guidance.
    """
    if how.get("guidance") is not None:
        raise ValueError("guidance is of masked diffusion: leave it out")
    state = State(model, z, ts, **how)
    there, ts = state.counted(), state.ts
    if not torch.equal(state.masked(), there) or ts[0] != 1 or ts[-1] != 0:
        raise ValueError(f"{NO_MASKS}: it samples whole examples, from t = 1 to 0, and fills none")
    size, z = model.subtokenizer.vocab_size, state.z
    b, position = there.nonzero(as_tuple=True)
    z[b, position] = (state.uniform(*z.shape)[b, position] * size).long()
    alphas = model.schedule.alpha(ts)[:, 0]
    for i in range(len(ts) - 1):
        u = state.uniform(*z.shape)[b, position]
        with evaluating(model):
            state.check()
            rows, head = MaskedDiffusion.hidden(model, z, ts[i].expand(len(z)), **state.told)
            for part in chunks(len(b), WIDE * size, z.device):
                at = b[part], position[part]
                log_mu = model.log_probs(head(rows[at]), z[at][:, None], position[part])
                log_mu = changed(log_mu, state.temperature, state.top_p)
                step = Step(*(alphas[j].expand(len(at[0])) for j in (i, i + 1)))
                forward, rest = step.log_posterior(log_mu, z[at])
                z[at] = state.draw(forward + rest, u=u[part])
        yield z.clone()


class Uniform(MaskedDiffusion):
    """Uniform noise in `steps` T; a network that looks at t, whole tokens, one curve for all.

    ValueError for others, and for positions of different alphabets: noise knows one.
    """

    rival = "uniform"
    samplers: ClassVar[dict[str, Any]] = {"ancestral": denoised}
    refused: ClassVar[dict[str, str]] = {
        "fill": "its noise does not say which values are given",
        "audit": "the audit is of masks, and uniform noise has none",
        "serve": "the page masks and fills in, and uniform noise has no masks",
        "grid": "each of its steps draws every position, and reveals none",
        "schedule": "its schedule has nothing that is learned",
        "report": "a report shows what is hidden, and uniform noise hides nothing",
        "compress": "it has no exact likelihood along a path",
        "--window": "its noise does not say which values are given",
    } | estimators_of_masks(NO_MASKS)

    def __init__(self, *how: Any, steps: int = STEPS, **named: Any):
        super().__init__(*how, **named)
        if not self.uses_time:
            name = type(self.backbone).__name__
            raise ValueError(
                "uniform noise does not show which values are noise, so the network must look at "
                f"t, and {name} says uses_time = False"
            )
        if self.subtokenizer.length > 1 or self.schedule.num_values > 1:
            raise ValueError("uniform noise is of whole tokens and one curve for all values")
        if self.allowed is not None:
            raise ValueError("uniform noise is of positions that can all have every value")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        self.steps = steps

    @property
    def own(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def estimator(self, steps: int | None = None, *, masking: str | None = None) -> UniformBound:
        """The bound of so many steps, by default T."""
        return UniformBound(self.steps if steps is None else steps, masking=masking)

    def clean(self, x: Tensor, *how: Any, **named: Any) -> Batch:
        batch = super().clean(x, *how, **named)
        if bool(((batch.role == GIVEN) | (batch.role == UNKNOWN)).any()):
            raise ValueError(f"{NO_MASKS}: nothing of an example may be given or unknown")
        return batch

    def noised(self, batch: Batch, uniforms: Uniforms, steps: int) -> tuple[Tensor, Draw]:
        """x_t (B, S), `mask_id` where there is no value, and the step it belongs to, one of
        `steps`; each value is a function of its own uniform."""
        score = uniforms.score
        draw = drawn_times(self.schedule, batch.y, batch.scored, steps, uniforms)
        size = self.subtokenizer.vocab_size
        masked = self.schedule.masked(draw.t)
        # where it is below: uniform, in the share of `masked`
        other = (score / masked * size).long().clamp(max=size - 1)
        x = torch.where(score < masked, other, batch.codes)
        return x.masked_fill(batch.role == ABSENT, self.mask_id), draw

    def step_paid(self, batch: Batch, noised: tuple[Tensor, Draw]) -> tuple[Tensor, Tensor]:
        """The KL of one step times its factor: their sum, to be differentiated, and (B, S)."""
        x, draw = noised
        assert draw.times is not None
        features, head = super().hidden(x, draw.t, **batch.told)
        b, position = batch.scored.nonzero(as_tuple=True)
        i, code = x[b, position], batch.codes[b, position]
        alpha, before = (self.schedule.alpha(t)[:, 0] for t in draw.times)

        def paid_by(rows: Tensor, part: slice) -> tuple[Tensor, Tensor]:
            log_mu = self.log_probs(head(rows), i[part, None], position[part])
            step = Step(alpha[b[part]], before[b[part]])
            each = draw.scale[b[part]] * step.kl(log_mu, i[part], code[part])
            return each.sum(), each

        width = WIDE * self.subtokenizer.vocab_size
        total, each = sum_rows(paid_by, features[b, position], self.parameters(), width)
        paid = each.new_zeros(batch.codes.shape)
        return total, paid.index_put_((b, position), each)

    def terms(self, batch: Batch, generator: torch.Generator | None = None) -> Terms:
        """The training loss, and the draw of the bound that it is."""
        noised = self.noised(batch, of_batch(batch.y, generator), self.steps)
        total, each = self.step_paid(batch, noised)
        return Terms(total / batch.positions.sum().clamp(min=1), each.sum(1))

    def drawn_nats(
        self, batch: Batch, steps: int | None, generator: torch.Generator | None
    ) -> Tensor:
        steps = self.steps if steps is None else steps
        noised = self.noised(batch, of_batch(batch.y, generator), steps)
        return self.step_paid(batch, noised)[1].sum(1)

    def hidden(self, *of: Any, **given: Any) -> Any:
        """ValueError: what asks the network about a partly masked state is none of its."""
        raise ValueError(f"{NO_MASKS}: leave this to masked diffusion")

    masked = draw = hidden
