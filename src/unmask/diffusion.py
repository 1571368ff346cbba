"""MaskedDiffusion: the one model, its forward process, and the one formula of its bound.

Two dials.  The schedule is one curve (MD4, arXiv 2406.04329) or one per value (GenMD4); what is
masked is whole tokens or the digits of a token, each on its own (MDM-Prime, arXiv 2505.18495).  A
*unit* is what is masked and revealed on its own: a digit under `masking="digit"`, a token under
`masking="token"`.  Shapes: B sequences of S tokens of L digits in base b; U units a sequence; V
values; K = `schedule.num_values`; R rows, a row being a token that has at least one masked unit.
"""

import itertools
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from unmask import masks, schedules
from unmask.alphabets import Alphabets, check_allowed
from unmask.batch import Batch, accepts, roles_of, told
from unmask.categorical import uniform
from unmask.formula import continuous, discrete
from unmask.kernels.marginals import marginal_nats
from unmask.kernels.rows import in_steps, sum_rows
from unmask.links import check_agreement
from unmask.masks import Draw, Uniforms, at
from unmask.roles import ABSENT, GIVEN, SCORED
from unmask.schedule_gradient import Pair, paid_in_the_other_half, surrogate
from unmask.schedules import Schedule
from unmask.subtokens import Subtokenizer, check_ids

Generator = torch.Generator | None


class Terms(NamedTuple):
    """What a training step needs.  Nats."""

    loss: Tensor
    """() to back-propagate: nats of the batch / number of scored positions."""
    nelbo: Tensor | None
    """(B,) nats per example, one unbiased draw of the bound; None where the loss is another."""


class MaskedDiffusion(Alphabets):
    """A network, a masking schedule and a vocabulary; calling it gives the training loss.

    `backbone`: any module `(z, t=None, cond=None, valid=None) -> logits`; `z` (B, S*L) ids in which
    `mask_id` is masked, logits (B, S, V), or (B, S, L, b) for independent digits.  One that takes
    `ends`, too, is told which examples are pieces of longer ones (`batch.told`).  With
    `features(...) -> (B, S, D)` and `logits(features)` besides, the head is applied only at the
    rows that need it.  A backbone ignores t if it says `uses_time = False` or its `forward` takes
    none.  Where the subtokenizer permutes the codes of tokens, the V logits are those of the codes.
    `objective`: "nelbo" trains on the bound; "joint" on the loss of the MDM-Prime paper, which is
    not a bound. `masking`: "digit", or "token" (all digits of a token at once).  `allowed` (S, V)
    bool: the values that a position can have; (V,): that every position can; by default what the
    network says, as `backbone.allowed`.  `links`: (partner (S,), group (V,)), of positions
    that tell of one thing: the number of each position's partner, -1 for none, and of each value's
    group; linked positions have values of one group (see `links`).  It needs `allowed`.
    """

    # of the loss of a training step, see `masks.draw`; of training alone, so it is not saved
    focus: float = 0.0
    # of a rival: its samplers by name, and what estimates its bound or likelihood from steps and
    # masking; None: `sampling.SAMPLERS` and `likelihood.Bound`
    samplers: ClassVar[Any] = None
    estimator: Any = None
    one_by_one: ClassVar[bool] = False  # whether it draws one position a step, and no more

    def __init__(
        self,
        backbone: nn.Module,
        schedule: Schedule,
        subtokenizer: Subtokenizer,
        *,
        objective: str = "nelbo",
        masking: str = "digit",
        allowed: Tensor | None = None,
        links: tuple[Tensor, Tensor] | None = None,
        meta: dict | None = None,
    ):
        super().__init__()
        if objective not in ("nelbo", "joint"):
            raise ValueError(f'objective must be "nelbo" or "joint", not {objective!r}')
        if objective == "joint" and self.rival:
            raise ValueError(f"the joint objective is of masked diffusion, not of {self.rival}")
        self.backbone, self.schedule, self.subtokenizer = backbone, schedule, subtokenizer
        self.objective, self.masking, self.meta = objective, masking, dict(meta or {})
        self.units(masking)  # an error here, if they do not fit the schedule
        if schedule.num_values > 1:
            if objective == "joint":
                raise ValueError(
                    'objective="joint" is defined for schedules with one curve only, not for one '
                    "curve per value"
                )
            if not self.uses_time:
                raise ValueError(
                    "a schedule with one curve per value needs a network that looks at t (being "
                    "masked at t is evidence about the value), and "
                    f"{type(backbone).__name__} says uses_time = False"
                )
        self.restrict_to(getattr(backbone, "allowed", None) if allowed is None else allowed, links)

    @property
    def mask_id(self) -> int:
        return self.subtokenizer.mask_id

    @property
    def uses_time(self) -> bool:
        said = getattr(self.backbone, "uses_time", None)
        return accepts(self.backbone.forward, "t") if said is None else said

    @property
    def device(self) -> torch.device:
        """That of its tensors; the CPU if it has none."""
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next(tensors, torch.empty(0)).device

    @property
    def powers(self) -> Tensor:
        """(K,) of a schedule with one curve per value, all of which are polynomials."""
        assert isinstance(self.schedule, schedules.Polynomial)
        return self.schedule.power

    # ------------------------------------------------------------ the network

    def units(self, masking: str | None = None) -> Subtokenizer:
        """What splits a token into the units of `masking` (default: the model's own): the model's
        own subtokenizer or, for whole tokens, one that leaves a token as it is."""
        masking = masking or self.masking
        if masking not in ("digit", "token"):
            raise ValueError(f'masking must be "digit" or "token", not {masking!r}')
        units = self.subtokenizer
        if masking == "token":
            units = Subtokenizer(units.vocab_size)
        if self.schedule.num_values not in (1, units.base):
            raise ValueError(
                f'the schedule has {self.schedule.num_values} curves; masking="{masking}" needs 1 '
                f"or {units.base}, one per value of a unit"
            )
        return units

    def hidden(self, z: Tensor, t: Tensor, **given: Tensor) -> tuple[Tensor, Callable]:
        """Run the network on z (B, S*L) at t, and what it is `given` besides (`batch.told`): what
        it says of every token (B, S, ...), and the head that makes logits of any R of those rows:
        (R, V), or (R, L, b).

        Without a head of its own, the network says logits already, and the head changes nothing.
        """
        apart = hasattr(self.backbone, "features") and hasattr(self.backbone, "logits")
        network: Any = self.backbone.features if apart else self.backbone
        head: Any = self.backbone.logits if apart else lambda rows: rows
        taken = network if apart else self.backbone.forward
        if "ends" in given and not accepts(taken, "ends"):
            del given["ends"]  # a network that does not look at them loses nothing
        for name in given:
            if not accepts(taken, name):
                whose = type(self.backbone).__name__
                raise ValueError(f"{name} was given, but {whose} takes no {name!r}")
        if self.uses_time:
            # never in half precision, in which neighbouring times would be the same
            weights = (p.dtype for p in self.backbone.parameters() if p.is_floating_point())
            wide = next(weights, torch.float32) == torch.float64
            given["t"] = t.to(torch.float64 if wide else torch.float32)
        try:
            rows = network(z, **given)
        except IndexError as error:
            # most often an embedding that has no row for the mask
            whose = type(self.backbone).__name__
            raise ValueError(
                f"{whose} looked up what is not there ({error}): the ids of z are 0 to "
                f"{self.mask_id}, the last of them the mask, so an embedding of z needs "
                f"{self.mask_id + 1} rows"
            ) from error
        tokens = z.shape[1] // self.subtokenizer.length
        if rows.shape[:2] != (z.shape[0], tokens):
            raise ValueError(
                f"the network returned {tuple(rows.shape)}; expected ({z.shape[0]}, {tokens}, "
                "...), a row per token"
            )
        return rows, head

    def predict(
        self,
        z: Tensor,
        t: Tensor | None = None,
        *,
        cond: Tensor | None = None,
        valid: Tensor | None = None,
        ends: Tensor | None = None,
    ) -> Tensor:
        """(B, S, V) log-probabilities of every token given z (B, S*L); a revealed token has
        probability 1.  t: (), (1,) or (B,)."""
        t = torch.ones((), device=z.device) if t is None else t
        rows, head = self.hidden(z, t, **told(z.device, cond, valid, ends))
        digits = z.unflatten(1, (-1, self.subtokenizer.length))
        position = torch.arange(digits.shape[1], device=z.device).repeat(z.shape[0])
        b = torch.arange(z.shape[0], device=z.device).repeat_interleave(digits.shape[1])
        groups = self.open_groups(z, b, position)
        logp = self.log_probs(head(rows.flatten(0, 1)), digits.flatten(0, 1), position, groups)
        logp = logp.view(*digits.shape[:2], -1)
        if self.subtokenizer.length == 1:  # carry-over, which `log_probs` leaves to its callers
            revealed = z != self.mask_id
            point = nn.functional.one_hot(z * revealed, logp.shape[-1]).bool()
            certain = torch.where(point, 0.0, -torch.inf).to(logp)
            logp = torch.where(revealed[..., None], certain, logp)
        return logp if self.codes is None else logp[..., self.codes]  # by token, not by code

    # ------------------------------------------------------------ the forward process

    def clean(
        self,
        x: Tensor,
        valid: Tensor | None = None,
        *,
        role: Tensor | None = None,
        cond: Tensor | None = None,
        ends: Tensor | None = None,
        masking: str | None = None,
    ) -> Batch:
        """A batch of token ids x (B, S), checked.  `role` (B, S) int8, see `roles`; or, where two
        roles are enough, `valid` (B, S) bool: scored where True, absent elsewhere.

        Ids where a role hides them may be anything.  `cond`, `ends`: what the network is
        told besides, see `batch.told`.  ValueError for ids, roles or ends that cannot be.
        """
        if x.ndim != 2 or not x.numel():
            raise ValueError(f"x must be token ids of shape (B, S), not {tuple(x.shape)}")
        roles = roles_of(x, valid, role)
        seen = (roles == GIVEN) | (roles == SCORED)
        x = x.masked_fill(~seen, 0)
        check_ids(x, self.subtokenizer.vocab_size)
        if self.allowed is not None:
            check_allowed(x, seen, self.allowed)
        if self.partner is not None:
            check_agreement(x, seen, self.partner, self.group)
        if role is not None and bool((role == ABSENT).any()):
            valid = role != ABSENT  # the network is told of an absence, not of the other roles
        if ends is not None and (ends.dtype != torch.bool or ends.shape != (len(x), 2)):
            said = f"{ends.dtype} {tuple(ends.shape)}"
            raise ValueError(f"ends must be bool ({len(x)}, 2), not {said}")
        codes = self.subtokenizer.code(x.long())
        digits = self.units(masking).digits(codes)
        return Batch(codes, digits, roles, told(x.device, cond, valid, ends))

    def corrupt(
        self, x: Tensor, masked: Tensor, valid: Tensor | None = None, masking: str | None = None
    ) -> Tensor:
        """z (B, S*L): the digits of x (B, S), `mask_id` where a unit is masked (B, U) or there is
        no value."""
        return self.masked(self.clean(x, valid, masking=masking), masked)

    def masked(self, batch: Batch, masked: Tensor) -> Tensor:
        """z (B, S*L): `mask_id` where a unit is masked (B, U), or not seen whatever is drawn."""
        digits = self.subtokenizer.length
        hidden = masked.repeat_interleave(digits // batch.per_token, 1)
        hidden = hidden | batch.unseen.repeat_interleave(digits, 1)
        return self.subtokenizer.digits(batch.codes).masked_fill(hidden, self.mask_id)

    def draw(
        self,
        batch: Batch,
        steps: int | None = None,
        generator: Generator = None,
        uniforms: Uniforms | None = None,
        shares: Tensor | None = None,
        focus: float = 0.0,
    ) -> Draw:
        """Times and masks for the scored units of a batch, see `masks.draw`, from `uniforms`, or
        from `generator` as one micro-batch.

        With a scalar schedule, the t of an example that is partly given or unknown, and of exact
        counts (`shares`), is the one at which as large a share of an unconditional example is
        hidden, as in sampling: at the t that was drawn, no unconditional example looks like it, and
        the sampler of exact counts shows no other.
        """
        if uniforms is None:
            uniforms = masks.of_batch(batch.y, generator)
        drawn = masks.draw(self.schedule, batch.y, batch.scored, steps, uniforms, shares, focus)
        if self.schedule.num_values > 1:
            return drawn
        fits = self.schedule.inverse(1 - batch.hidden_share(drawn.masked))
        fitting = batch.conditional if shares is None else torch.ones_like(batch.conditional)
        return drawn._replace(t=torch.where(fitting, fits, drawn.t))

    # ------------------------------------------------------------ the bound

    def nats(
        self, logp: Tensor, y: Tensor, masked: Tensor, times: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """(R,) nats of rows, before the factor `Draw.scale`: from log mu (R, V), the true units y
        (R, l) and which of them are masked (R, l).

        `times`: the interval (t, s) of discrete time, each (R,) or (1,); None: continuous time.
        """
        base = self.base(y)
        if times is not None:
            return discrete(logp, y, masked, self.schedule.reveal(*times), base)
        power = self.powers if self.schedule.num_values > 1 else None
        return continuous(logp, y, masked, base, power)

    def paid(
        self, logits: Tensor, y: Tensor, masked: Tensor, factor: Tensor
    ) -> tuple[Tensor, Tensor]:
        """In continuous time, what masked units pay, times `factor` (R,): their sum and (R, l),
        from logits (R, V) and the arguments of `nats`."""
        # computed here, since every chunk of rows differentiates a graph of its own
        power = self.powers if self.schedule.num_values > 1 else None
        return marginal_nats(logits, y, masked, self.base(y), factor, power)

    def log_charged(
        self, logits: Tensor, digits: Tensor, position: Tensor, groups: Tensor | None = None
    ) -> Tensor:
        """(R, V) what `nats` takes, by code: log mu, as `log_probs` says it."""
        return self.log_probs(logits, digits, position, groups)

    def step_nats(
        self, logp: Tensor, batch: Batch, drawn: Tensor, rows: tuple[Tensor, Tensor], times: tuple
    ) -> Tensor:
        """(R,) nats of a discrete step (t, s) of `times`, each (R,) or (1,): what `nats` says of
        rows, the tokens (b, position) of a batch of which the units `drawn` (B, U) are masked.

        Where two linked positions are masked, the step draws the second given what it reveals at
        the first: the mean over what that is, by the coins of its units, which do not depend on the
        second.  So the sum over positions is the bound of that very sampler.
        """
        b, position = rows
        y, masked = (v.unflatten(1, (batch.codes.shape[1], -1)) for v in (batch.y, drawn))
        own = y[b, position], masked[b, position]
        nats = self.nats(logp, *own, times)
        if self.partner is None or not bool(self.later[position].any()):
            return nats
        partner = torch.where(self.later[position], self.partner[position], -1)
        lead, lead_y, code = (v[b, partner.clamp(min=0)] for v in (masked, y, batch.codes))
        lead = lead & (partner >= 0)[:, None]
        partner = partner.masked_fill(~lead.any(-1), -1)  # nothing of it is revealed in the step
        reveal = self.schedule.reveal(*times).expand(len(b), -1)
        hit = (at(reveal, lead_y) * lead).to(nats)  # (R, l)
        per_unit = self.subtokenizer.length // batch.per_token
        total = torch.zeros_like(nats)
        for coins in itertools.product((False, True), repeat=batch.per_token):
            shown = torch.tensor(coins, device=hit.device)
            q = torch.where(shown, hit, 1 - hit).prod(-1)
            if any(coins):
                hidden = (lead & ~shown).repeat_interleave(per_unit, 1)
                digits = self.subtokenizer.digits(code[:, None])
                digits = digits.masked_fill(hidden, self.mask_id)
                left = self.groups_left(digits, partner)[:, self.by_code(self.group)]
                given = logp.masked_fill(~left, -torch.inf).log_softmax(-1)
                total = total + q * self.nats(given, *own, times)
            else:
                total = total + q * nats
        return total

    def base(self, y: Tensor) -> int:
        """How many values a unit of y (R, l) can have, l units a token: a digit's, or, if l = 1
        where tokens have several digits, a whole token's."""
        units = self.subtokenizer
        return units.vocab_size if y.shape[1] < units.length else units.base

    def score(self, batch: Batch, draw: Draw, *, joint: bool = False) -> tuple[Tensor, Tensor]:
        """Nats of one draw, times its factor: their sum over the batch, to be differentiated, and
        (B,) per example, detached.  `joint`: those of the joint loss, see `Terms`."""
        total, each = self.score_units(batch, draw, joint=joint)
        return total, each.flatten(1).sum(1)

    def score_units(
        self, batch: Batch, draw: Draw, *, joint: bool = False
    ) -> tuple[Tensor, Tensor]:
        """As `score`, but the second is (B, S, l), what each of a token's l units pays; in discrete
        time and for `joint`, where they pay together, (B, S, 1)."""
        z = self.masked(batch, draw.masked)
        features, head = self.hidden(z, draw.t, **batch.told)
        per_token = (batch.codes.shape[1], -1)
        masked = draw.masked.unflatten(1, per_token)  # (B, S, l)
        b, position = masked.any(-1).nonzero(as_tuple=True)  # (R,) each: the rows
        if batch.per_token > 1:  # side by side, rows of as many masked units: `marginal_nats`
            order = masked[b, position].sum(-1).argsort(descending=True, stable=True)
            b, position = b[order], position[order]
        there = len(b)
        b, position = (in_steps(v, batch.codes.numel() // 32) for v in (b, position))
        masked = masked[b, position]  # (R, l)
        y = batch.y.unflatten(1, per_token)[b, position]  # (R, l)
        digits = z.unflatten(1, per_token)[b, position]  # (R, L)
        code, rows = batch.codes[b, position], features[b, position]
        groups = self.open_groups(z, b, position)
        wide = torch.float64 if rows.dtype == torch.float64 else torch.float32
        factor = draw.scale[b].to(wide)
        factor[there:] = 0

        def paid_by(rows: Tensor, part: slice) -> tuple[Tensor, Tensor]:
            logits = head(rows)
            left = None if groups is None else groups[part]
            if draw.times is None and not joint:
                logits = self.restrict(logits, position[part], left)
                return self.paid(logits, y[part], masked[part], factor[part])
            logp = self.log_probs(logits, digits[part], position[part], left)
            if joint:
                each = -logp.gather(1, code[part, None])
            else:
                assert draw.times is not None
                times = draw.times[0][b[part]], draw.times[1][b[part]]
                at_rows = b[part], position[part]
                each = self.step_nats(logp, batch, draw.masked, at_rows, times)[:, None]
            each = factor[part, None] * each
            return each.sum(), each

        total, each = sum_rows(paid_by, rows, self.parameters(), self.subtokenizer.vocab_size)
        paid = each.new_zeros((*batch.codes.shape, each.shape[1]), dtype=torch.float64)
        return total, paid.index_put_((b[:there], position[:there]), each[:there].double())

    def forward(
        self,
        x: Tensor,
        cond: Tensor | None = None,
        valid: Tensor | None = None,
        generator: Generator = None,
        role: Tensor | None = None,
        ends: Tensor | None = None,
    ) -> Terms:
        """The training loss of token ids x (B, S), and the draw of the bound that it is made of;
        see `Terms`, and `clean` for the arguments.

        With one curve per value, two draws of z at one t give the gradient of the schedule
        (`schedule_gradient`); `nelbo` is the mean of the two draws, and the value of `loss` is the
        surrogate's, not the bound's.
        """
        return self.terms(self.clean(x, valid, role=role, cond=cond, ends=ends), generator)

    def terms(self, batch: Batch, generator: Generator = None) -> Terms:
        """`forward` of a clean batch."""
        positions = batch.positions.sum().clamp(min=1)
        joint = self.objective == "joint"
        draw = self.draw(batch, None, generator, focus=self.focus)
        total, each = self.score_units(batch, draw, joint=joint)
        nelbo = each.flatten(1).sum(1)
        if self.schedule.num_values == 1:
            return Terms(total / positions, None if joint or self.focus else nelbo)
        pair = self.second_draw(batch, draw, each, generator)
        guess = paid_in_the_other_half(pair, self.schedule.num_values)
        loss = (total + pair.total) / 2 + surrogate(pair, guess)
        return Terms(loss / positions, (nelbo + pair.nats[1].sum(1)) / 2)

    def second_draw(
        self, batch: Batch, draw: Draw, each: Tensor, generator: Generator = None
    ) -> Pair:
        """Draw the masks a second time at the times of `draw`, whose units pay `each` (B, S, l), of
        `score_units`: both draws, for `schedule_gradient`."""
        assert draw.log_t is not None
        y, scored = batch.y, batch.scored
        log_masked = self.powers.double()[y] * draw.log_t[:, None]
        score = uniform(*y.shape, generator=generator, device=y.device)
        again = draw._replace(masked=(score < log_masked.detach().exp()) & scored)
        total, each_again = self.score_units(batch, again)
        nats = each.flatten(1), each_again.flatten(1)
        return Pair(y, scored, log_masked, (draw.masked, again.masked), nats, draw.scale, total)

    @torch.no_grad()
    def nelbo(
        self,
        x: Tensor,
        steps: int | None = None,
        cond: Tensor | None = None,
        valid: Tensor | None = None,
        masking: str | None = None,
        generator: Generator = None,
        role: Tensor | None = None,
        ends: Tensor | None = None,
    ) -> Tensor:
        """(B,) float64 nats: one unbiased draw of each example's bound on -log p(what is scored |
        what is given), whatever `objective` the model was trained with.

        steps: the discrete-time bound on the uniform grid of that many steps, of the sampler that
        draws one token a step and reveals its digits by their coins; None: continuous time.
        `masking="token"`: the bound of the sampler that reveals all digits of a token together.
        """
        batch = self.clean(x, valid, role=role, cond=cond, ends=ends, masking=masking)
        return self.drawn_nats(batch, steps, generator)

    def drawn_nats(self, batch: Batch, steps: int | None, generator: Generator) -> Tensor:
        """`nelbo` of a clean batch."""
        return self.score(batch, self.draw(batch, steps, generator))[1]


@contextmanager
def evaluating(model: nn.Module):
    """Evaluation mode inside, the former mode of every submodule after."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
