"""MaskedDiffusion: the one model, its forward process, and the one formula of its bound.

Two dials.  The schedule is one curve (MD4, arXiv 2406.04329) or one per value (GenMD4); what is
masked is whole tokens or the digits of a token, each on its own (MDM-Prime, arXiv 2505.18495).  A
*unit* is what is masked and revealed on its own: a digit under `masking="digit"`, a token under
`masking="token"`.  Shapes: B sequences of S tokens of L digits in base b; U units a sequence; V
values; K = `schedule.num_values`; R rows, a row being a token that has at least one masked unit.
"""

import inspect
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from unmask import backbones, checkpoint, schedules
from unmask.categorical import uniform
from unmask.formula import continuous, discrete
from unmask.kernels.marginals import marginal_nats
from unmask.kernels.rows import sum_rows
from unmask.masks import Draw, Uniforms, draw, of_batch
from unmask.schedule_gradient import Pair, paid_in_the_other_half, surrogate
from unmask.schedules import Schedule
from unmask.subtokens import Subtokenizer, check_ids, consistent

Generator = torch.Generator | None


class Terms(NamedTuple):
    """What a training step needs.  Nats."""

    loss: Tensor  # () to back-propagate: nats of the batch / number of valid positions
    # (B,) nats per example, one unbiased draw of the bound; None for objective="joint"
    nelbo: Tensor | None


class MaskedDiffusion(nn.Module):
    """A network, a masking schedule and a vocabulary; calling it gives the training loss.

    `backbone`: any module `(z, t=None, cond=None, valid=None) -> logits`; `z` (B, S*L) ids in which
    `mask_id` is masked, logits (B, S, V), or (B, S, L, b) for independent digits.  With
    `features(...) -> (B, S, D)` and `logits(features)` besides, the head is applied only at the
    rows that need it.  A backbone ignores t if it says `uses_time = False` or its `forward` takes
    none.  Where the subtokenizer permutes the codes of tokens, the V logits are those of the codes.
    `objective`: "nelbo" trains on the bound; "joint" on the loss of the MDM-Prime paper, which is
    not a bound. `masking`: "digit", or "token" (all digits of a token at once).  `allowed` (S, V)
    bool: the values that a position can have.
    """

    def __init__(
        self,
        backbone: nn.Module,
        schedule: Schedule,
        subtokenizer: Subtokenizer,
        *,
        objective: str = "nelbo",
        masking: str = "digit",
        allowed: Tensor | None = None,
        meta: dict | None = None,
    ):
        super().__init__()
        if objective not in ("nelbo", "joint"):
            raise ValueError(f'objective must be "nelbo" or "joint", not {objective!r}')
        self.backbone, self.schedule, self.subtokenizer = backbone, schedule, subtokenizer
        self.objective, self.masking, self.meta = objective, masking, dict(meta or {})
        self.units(masking)
        if schedule.num_values > 1:
            if objective == "joint":
                raise ValueError(
                    'objective="joint" is defined for schedules with one curve only, not for one curve per value'
                )
            if not self.uses_time:
                raise ValueError(
                    "a schedule with one curve per value needs a network that looks at t (being masked at t is evidence about the "
                    f"value), and {type(backbone).__name__} says uses_time = False"
                )
        if allowed is not None:
            if (
                allowed.dtype != torch.bool
                or allowed.ndim != 2
                or allowed.shape[1] != subtokenizer.vocab_size
            ):
                raise ValueError(
                    f"allowed must be bool (S, {subtokenizer.vocab_size}), not {allowed.dtype} {tuple(allowed.shape)}"
                )
            if not bool(allowed.any(-1).all()):
                raise ValueError(
                    f"allowed leaves no value at position {int((~allowed.any(-1)).nonzero()[0])}"
                )
        self.register_buffer("allowed", allowed)
        self.register_buffer(
            "codes", None if subtokenizer.codes is None else subtokenizer.codes.clone()
        )
        self.register_load_state_dict_post_hook(same_codes)

    @property
    def mask_id(self) -> int:
        return self.subtokenizer.mask_id

    @property
    def uses_time(self) -> bool:
        said = getattr(self.backbone, "uses_time", None)
        return accepts(self.backbone.forward, "t") if said is None else said

    @property
    def device(self) -> torch.device:
        return next(itertools.chain(self.parameters(), self.buffers()), torch.empty(0)).device

    @property
    def powers(self) -> Tensor:
        """(K,) of a schedule with one curve per value, all of which are polynomials."""
        assert isinstance(self.schedule, schedules.Polynomial)
        return self.schedule.power

    # ------------------------------------------------------------ the network

    def units(self, masking: str | None = None) -> Subtokenizer:
        """The units that `masking` (default: the model's own) masks, as digits of a token."""
        masking = masking or self.masking
        if masking not in ("digit", "token"):
            raise ValueError(f'masking must be "digit" or "token", not {masking!r}')
        units = (
            self.subtokenizer if masking == "digit" else Subtokenizer(self.subtokenizer.vocab_size)
        )
        if self.schedule.num_values not in (1, units.base):
            raise ValueError(
                f'the schedule has {self.schedule.num_values} curves; masking="{masking}" needs 1 or {units.base}, one per value of a unit'
            )
        return units

    def hidden(
        self, z: Tensor, t: Tensor, cond=None, valid: Tensor | None = None
    ) -> tuple[Tensor, Callable]:
        """Run the network: (B, S, ...) rows, and the head that turns rows into logits (R, V) or (R,
        L, b)."""
        apart = hasattr(self.backbone, "features") and hasattr(self.backbone, "logits")
        network: Any = self.backbone.features if apart else self.backbone
        head: Any = self.backbone.logits if apart else lambda rows: rows
        given = {"cond": cond, "valid": valid}
        given = {name: value for name, value in given.items() if value is not None}
        for name in given:
            if not accepts(network if apart else self.backbone.forward, name):
                raise ValueError(
                    f"{name} was given, but {type(self.backbone).__name__} takes no {name!r}"
                )
        if self.uses_time:
            weights = next((p for p in self.backbone.parameters() if p.is_floating_point()), None)
            given["t"] = t.to(
                torch.float64
                if weights is not None and weights.dtype == torch.float64
                else torch.float32
            )
        rows = network(z, **given)
        if rows.shape[:2] != (len(z), z.shape[1] // self.subtokenizer.length):
            tokens = z.shape[1] // self.subtokenizer.length
            raise ValueError(
                f"the network returned {tuple(rows.shape)}; expected ({len(z)}, {tokens}, ...), a row per token"
            )
        return rows, head

    def restrict(self, logits: Tensor, position: Tensor) -> Tensor:
        """Logits (R, V), by code, of a head's (R, V) or (R, L, b): -inf for what `allowed` excludes
        at their positions (R,)."""
        vocab_size, length, base = (
            self.subtokenizer.vocab_size,
            self.subtokenizer.length,
            self.subtokenizer.base,
        )
        # independent digits: log P(token) = sum of its digits'
        if logits.ndim == 3 and logits.shape[1:] == (length, base):
            logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
            joint = logits[:, 0]
            for j in range(1, length):
                joint = (joint[:, :, None] + logits[:, j, None, :]).flatten(1)
            logits = joint[:, :vocab_size]
        if logits.shape[1:] != (vocab_size,):
            raise ValueError(
                f"the network returned {tuple(logits.shape[1:])} logits a row; expected ({vocab_size},) or ({length}, {base})"
            )
        if self.allowed is not None:
            allowed = self.allowed if self.codes is None else self.allowed[:, self.codes.argsort()]
            logits = logits.masked_fill(~allowed[position], -torch.inf)
        return logits

    def log_probs(self, logits: Tensor, digits: Tensor, position: Tensor) -> Tensor:
        """log mu of rows: logits (R, V) or (R, L, b), their digits in z (R, L), their positions
        (R,) -> (R, V), by code.

        Zero probability (-inf) for what `allowed` excludes and for tokens that disagree with the
        revealed digits (carry-over).
        """
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        logits = self.restrict(logits, position)
        if self.subtokenizer.length > 1:
            agrees = consistent(digits, self.subtokenizer.base)[:, : self.subtokenizer.vocab_size]
            logits = logits.masked_fill(~agrees, -torch.inf)
        return logits.log_softmax(-1)

    def predict(
        self, z: Tensor, t: Tensor | None = None, *, cond=None, valid: Tensor | None = None
    ) -> Tensor:
        """(B, S, V) log-probabilities of every token given z (B, S*L); a revealed token has
        probability 1.  t: (), (1,) or (B,)."""
        t = torch.ones((), device=z.device) if t is None else t
        rows, head = self.hidden(z, t, cond, valid)
        digits = z.unflatten(1, (-1, self.subtokenizer.length))
        position = torch.arange(digits.shape[1], device=z.device).expand(len(z), -1)
        logp = self.log_probs(
            head(rows.flatten(0, 1)), digits.flatten(0, 1), position.flatten()
        ).view(*digits.shape[:2], -1)
        if self.subtokenizer.length == 1:
            revealed = z != self.mask_id
            point = nn.functional.one_hot(z * revealed, logp.shape[-1]).bool()
            logp = torch.where(
                revealed[..., None], torch.where(point, 0.0, -torch.inf).to(logp), logp
            )
        return logp if self.codes is None else logp[..., self.codes]

    # ------------------------------------------------------------ the forward process

    def check(self, x: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The codes of token ids x (B, S), and valid (B, S), or a ValueError; ids where there is no
        value become 0."""
        if x.ndim != 2 or not x.numel():
            raise ValueError(f"x must be token ids of shape (B, S), not {tuple(x.shape)}")
        if valid is None:
            valid = torch.ones_like(x, dtype=torch.bool)
        elif valid.dtype != torch.bool or valid.shape != x.shape:
            raise ValueError(
                f"valid must be bool {tuple(x.shape)}, not {valid.dtype} {tuple(valid.shape)}"
            )
        x = x.masked_fill(~valid, 0)
        check_ids(x, self.subtokenizer.vocab_size)
        if self.allowed is not None:
            if x.shape[1] != len(self.allowed):
                raise ValueError(
                    f"x has {x.shape[1]} positions, but allowed names the values of {len(self.allowed)}"
                )
            wrong = ~self.allowed[torch.arange(x.shape[1], device=x.device), x] & valid
            if bool(wrong.any()):
                b, s = wrong.nonzero()[0].tolist()
                raise ValueError(
                    f"value {int(x[b, s])} is not allowed at position {s} (example {b})"
                )
        return self.subtokenizer.code(x.long()), valid

    def corrupt(
        self, x: Tensor, masked: Tensor, valid: Tensor | None = None, masking: str | None = None
    ) -> Tensor:
        """z (B, S*L): the digits of x (B, S), `mask_id` where a unit is masked (B, U) or there is
        no value."""
        return self._corrupt(*self.check(x, valid), masked, masking)

    def _corrupt(self, x: Tensor, real: Tensor, masked: Tensor, masking: str | None) -> Tensor:
        length = self.subtokenizer.length
        hidden = masked.repeat_interleave(
            length // self.units(masking).length, 1
        ) | ~real.repeat_interleave(length, 1)
        return self.subtokenizer.digits(x).masked_fill(hidden, self.mask_id)

    def draw(
        self,
        y: Tensor,
        valid: Tensor,
        steps: int | None = None,
        generator: Generator = None,
        uniforms: Uniforms | None = None,
    ) -> Draw:
        """Times and masks for the units y (B, U), `valid` (B, U) of which have a value; see
        `masks.draw`.

        From `uniforms`, or from `generator` as one micro-batch.
        """
        return draw(
            self.schedule, y, valid, steps, of_batch(y, generator) if uniforms is None else uniforms
        )

    # ------------------------------------------------------------ the bound

    def nats(
        self, logp: Tensor, y: Tensor, masked: Tensor, times: tuple[Tensor, Tensor] | None = None
    ) -> Tensor:
        """(R,) nats of rows: log mu (R, V), the true units y (R, l), which of them are masked (R,
        l).

        Continuous time: what is paid per unit of `draw`'s factor.  Discrete time: the interval (t,
        s), each (R,) or (1,).
        """
        base = self.base(y)
        if times is not None:
            return discrete(logp, y, masked, self.schedule.reveal(*times), base)
        return continuous(
            logp, y, masked, base, self.powers if self.schedule.num_values > 1 else None
        )

    def base(self, y: Tensor) -> int:
        """How many values a unit of y (R, l) can have: whole tokens have l = 1."""
        return (
            self.subtokenizer.vocab_size
            if y.shape[1] < self.subtokenizer.length
            else self.subtokenizer.base
        )

    def score(
        self,
        x: Tensor,
        y: Tensor,
        draw: Draw,
        cond,
        valid: Tensor | None,
        *,
        masking: str | None = None,
        joint: bool = False,
        hidden: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Nats of one draw: their sum over the batch, to be differentiated, and (B,) per example,
        detached.

        x (B, S) codes, and their units y (B, U), of `check`; `valid` as it was given, None
        included.  `hidden` (B, U): units that are masked besides those of `draw`, and not scored.
        """
        total, each = self.score_units(
            x, y, draw, cond, valid, masking=masking, joint=joint, hidden=hidden
        )
        return total, each.flatten(1).sum(1)

    def score_units(
        self,
        x: Tensor,
        y: Tensor,
        draw: Draw,
        cond,
        valid: Tensor | None,
        *,
        masking: str | None = None,
        joint: bool = False,
        hidden: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `score`, but each of (B, S, l): what every unit pays; (B, S, 1) where units pay
        together, in discrete time and jointly."""
        shut = draw.masked if hidden is None else draw.masked | hidden
        z = self._corrupt(
            x, torch.ones_like(x, dtype=torch.bool) if valid is None else valid, shut, masking
        )
        features, head = self.hidden(z, draw.t, cond, valid)
        masked = draw.masked.unflatten(1, (x.shape[1], -1))  # (B, S, l)
        b, position = masked.any(-1).nonzero(as_tuple=True)
        if masked.shape[-1] > 1:  # rows of as many masked digits side by side
            order = masked[b, position].sum(-1).argsort(descending=True, stable=True)
            b, position = b[order], position[order]
        y, digits, masked = (
            v.unflatten(1, (x.shape[1], -1))[b, position] for v in (y, z, draw.masked)
        )
        token, rows = x[b, position], features[b, position]
        factor = draw.scale[b].to(rows.dtype if rows.dtype == torch.float64 else torch.float32)

        def nats(rows: Tensor, part: slice) -> tuple[Tensor, Tensor]:
            logits = head(rows)
            if draw.times is None and not joint:
                power = self.powers if self.schedule.num_values > 1 else None
                return marginal_nats(
                    self.restrict(logits, position[part]),
                    y[part],
                    masked[part],
                    self.base(y),
                    factor[part],
                    power,
                )
            logp = self.log_probs(logits, digits[part], position[part])
            if joint:
                each = -logp.gather(1, token[part, None])
            else:
                assert draw.times is not None
                each = self.nats(
                    logp, y[part], masked[part], (draw.times[0][b[part]], draw.times[1][b[part]])
                )[:, None]
            each = factor[part, None] * each
            return each.sum(), each

        total, each = sum_rows(nats, rows, self.parameters(), self.subtokenizer.vocab_size)
        return total, x.new_zeros((*x.shape, each.shape[1]), dtype=torch.float64).index_put_(
            (b, position), each.double()
        )

    def forward(
        self, x: Tensor, cond=None, valid: Tensor | None = None, generator: Generator = None
    ) -> Terms:
        """The training loss of token ids x (B, S), and the draw of the bound that it is made of;
        see `Terms`.  ValueError for bad ids.

        `cond`: labels (B,) or any tensor whose first axis is the batch, passed to the network.
        `valid` (B, S) bool: False where there is no value: masked in z, not scored, not counted.
        With one curve per value, two draws of z at one t give the gradient of the schedule
        (`schedule_gradient`); `nelbo` is the mean of the two draws, and the value of `loss` is the
        surrogate's, not the bound's.
        """
        x, real = self.check(x, valid)
        units = self.units()
        y, unit_valid = units.digits(x), real.repeat_interleave(units.length, 1)
        positions = real.sum().clamp(min=1)
        draw = self.draw(y, unit_valid, None, generator)
        total, each = self.score_units(x, y, draw, cond, valid, joint=self.objective == "joint")
        nelbo = each.flatten(1).sum(1)
        if self.schedule.num_values == 1:
            return Terms(total / positions, None if self.objective == "joint" else nelbo)
        pair = self.second_draw(x, y, unit_valid, draw, (total, each), cond, valid, generator)
        guess = paid_in_the_other_half(pair, self.schedule.num_values)
        loss = (total + pair.total) / 2 + surrogate(pair, guess)
        return Terms(loss / positions, (nelbo + pair.nats[1].sum(1)) / 2)

    def second_draw(
        self,
        x: Tensor,
        y: Tensor,
        unit_valid: Tensor,
        draw: Draw,
        scored: tuple[Tensor, Tensor],
        cond,
        valid: Tensor | None,
        generator: Generator = None,
    ) -> Pair:
        """Draw the masks a second time at the times of `draw`, whose scores (of `score_units`) are
        known: both for `schedule_gradient`."""
        assert draw.log_t is not None
        log_masked = self.powers.double()[y] * draw.log_t[:, None]
        score = uniform(*y.shape, generator=generator, device=y.device)
        again = draw._replace(masked=(score < log_masked.detach().exp()) & unit_valid)
        total, each = self.score_units(x, y, again, cond, valid)
        nats = scored[1].flatten(1), each.flatten(1)
        return Pair(y, unit_valid, log_masked, (draw.masked, again.masked), nats, draw.scale, total)

    @torch.no_grad()
    def nelbo(
        self,
        x: Tensor,
        steps: int | None = None,
        cond=None,
        valid: Tensor | None = None,
        masking: str | None = None,
        generator: Generator = None,
    ) -> Tensor:
        """(B,) float64: one unbiased draw of the bound of each example, in nats, whatever
        `objective` the model was trained with.

        steps: the discrete-time bound on the uniform grid of that many steps, of the sampler that
        draws one token a step and reveals its digits by their coins; None: continuous time.
        `masking="token"`: the bound of the sampler that reveals all digits of a token together.
        """
        return self.nelbo_by_position(x, steps, cond, valid, masking, generator).sum(1)

    @torch.no_grad()
    def nelbo_by_position(
        self,
        x: Tensor,
        steps: int | None = None,
        cond=None,
        valid: Tensor | None = None,
        masking: str | None = None,
        generator: Generator = None,
        uniforms: Uniforms | None = None,
    ) -> Tensor:
        """(B, S) float64: what every position pays of `nelbo`'s draw, which is made of `uniforms`,
        if they are given."""
        x, real = self.check(x, valid)
        units = self.units(masking)
        y = units.digits(x)
        draw = self.draw(y, real.repeat_interleave(units.length, 1), steps, generator, uniforms)
        return self.score_units(x, y, draw, cond, valid, masking=masking)[1].sum(-1)

    # ------------------------------------------------------------ files

    def config(self) -> dict:
        """What `from_pretrained` needs besides the tensors; a network that is not this package's is
        named for the message only."""
        network: Any = self.backbone
        name = type(network).__name__
        known = backbones.NAMES.get(name) is type(network)
        return {
            "backbone": {"name": name, "config": network.config() if known else None},
            "schedule": self.schedule.config(),
            "subtokenizer": {
                "vocab_size": self.subtokenizer.vocab_size,
                "length": self.subtokenizer.length,
            },
            "objective": self.objective,
            "masking": self.masking,
            "meta": self.meta,
        }

    def save_pretrained(self, path: str | Path, files: dict[str, bytes] | None = None) -> None:
        """Write `config.json`, `model.safetensors` and `files` to a folder, whole or not at all; no
        code is written."""
        checkpoint.save(path, self.config(), {"model.safetensors": self.state_dict()}, files or {})

    @classmethod
    def from_pretrained(
        cls, path: str | Path, backbone: nn.Module | None = None
    ) -> "MaskedDiffusion":
        """Read a folder written by `save_pretrained`, or the newest checkpoint of a training
        folder; in eval mode.

        A network that is not one of this package's is passed as `backbone`; no name found in a file
        is ever imported.
        """
        folder = checkpoint.resolve(path)
        config, tensors = checkpoint.load(folder, "model.safetensors")
        ours = backbone is None
        try:
            # sizes that the tensors do not have cost nothing
            with torch.device("meta") if ours else nullcontext():
                if backbone is None:
                    backbone = build_backbone(folder, config["backbone"], len(tensors))
                model = cls(
                    backbone,
                    schedules.from_config(config["schedule"]),
                    Subtokenizer(**config["subtokenizer"], codes=tensors.get("codes")),
                    objective=config["objective"],
                    masking=config["masking"],
                    allowed=tensors.get("allowed"),
                    meta=config["meta"],
                )
        except (KeyError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
            said = " ".join(str(error).split())[:300]
            raise ValueError(
                f"{folder}/config.json is not a model of this version of unmask: {said}"
            ) from None
        kinds = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
        if not ours and len(kinds) == 1:
            model = model.to(kinds.pop())
        try:
            model.load_state_dict(tensors, assign=ours)
        except RuntimeError as error:
            said = " ".join(str(error).split())[:300]
            raise ValueError(
                f"{folder}: the weights do not fit {type(backbone).__name__}: {said}"
            ) from None
        network: Any = model.backbone
        network.to(memory_format=torch.channels_last)  # a file does not keep the layout of kernels
        return model.eval()


def same_codes(model: MaskedDiffusion, keys) -> None:
    """ValueError after weights of a model with other codes were loaded: its head's rows stand for
    other tokens."""
    if model.codes is not None and not torch.equal(
        model.codes.cpu(), model.subtokenizer.code(torch.arange(len(model.codes)))
    ):
        raise ValueError(
            "these are the weights of a model whose tokens have other codes: build the Subtokenizer with its codes"
        )


def accepts(function: Callable, name: str) -> bool:
    """Whether a function has a parameter of this name, or takes any."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(p.kind == p.VAR_KEYWORD for p in parameters.values())


def build_backbone(folder: Path, config: dict, tensors: int) -> nn.Module:
    """One of this package's networks, by its name in config.json; ValueError for any other."""
    name, arguments = config["name"], config["config"]
    if arguments is None:
        raise ValueError(
            f"{folder} holds the weights of a network of your own, {name}: from Python, pass it as from_pretrained(path, backbone=...)"
        )
    if name not in backbones.NAMES:
        raise ValueError(
            f"{folder}: unknown backbone {name!r}; known: {', '.join(backbones.NAMES)}"
        )
    parts = arguments["layers"] + arguments.get("blocks", 0) * len(arguments.get("widths", ()))
    if parts > tensors:
        raise ValueError(
            f"{folder}: config.json says {parts} layers or blocks, and there are {tensors} tensors"
        )
    return backbones.NAMES[name](**arguments)


def unpack(batch: Tensor | dict, device=None) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """A batch, a tensor x or a dict with x and optionally cond, valid: (x, cond, valid) on
    `device`."""
    if isinstance(batch, Tensor):
        batch = {"x": batch}
    if "x" not in batch or set(batch) - {"x", "cond", "valid", "group"}:
        raise ValueError(
            f"a batch is a tensor, or a dict with x and optionally cond, valid, group; not one with {', '.join(batch) or 'nothing'}"
        )
    cond, valid = (batch.get(name) for name in ("cond", "valid"))
    return (
        batch["x"].to(device),
        None if cond is None else cond.to(device),
        None if valid is None else valid.to(device),
    )
