"""Samplers: generators of the states z of the reverse process, and `sample`, which drains one.

A sampler takes a partly masked state z (B, S*L), never changes what is revealed in it, and yields a
new tensor for every interval of `ts`, any decreasing times.  Filling in is therefore not a sampler
of its own: it starts from a z with holes.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from unmask.categorical import categorical, uniform
from unmask.diffusion import MaskedDiffusion
from unmask.kernels.rows import chunks
from unmask.schedules import Schedule
from unmask.subtokens import check_ids

Generator = torch.Generator | None
Guidance = Callable[[Tensor], Tensor]  # the weight at times t (B,)


def time_grid(steps: int, kind: str = "cosine") -> Tensor:
    """(steps + 1,) float64 times from exactly 1 to exactly 0: "uniform", or "cosine" cos(pi/2
    i/steps), few reveals first."""
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    i = torch.arange(steps + 1, dtype=torch.float64) / steps
    if kind == "uniform":
        return 1 - i
    if kind == "cosine":
        ts = torch.cos(torch.pi / 2 * i)
        ts[-1] = 0  # the cosine of a rounded pi/2 is not
        return ts
    raise ValueError(f'grid must be "uniform" or "cosine", not {kind!r}')


def idle_share(schedule: Schedule, ts: Tensor, units: int) -> float:
    """The expected share of ancestral steps on the grid ts (T + 1,), from 1 to 0, that reveal none
    of `units` masked units.

    sum_i (1 - (alpha_s - alpha_t))^units / T over the steps from t to s: each unit is revealed in
    that step with probability alpha_s - alpha_t, on its own.  MDM-Prime's Figure 1 (arXiv
    2505.18495), units = tokens times digits: at 1024 tokens, 1024 uniform steps and the linear
    schedule 36.77 %, 13.52 %, 1.83 %, 0.25 % for 1, 2, 4, 6 digits.  ValueError for one curve per
    value.
    """
    if schedule.num_values > 1:
        raise ValueError(
            "the share of idle steps depends on the values where the schedule has one curve per value"
        )
    t, s = ts[:-1].double(), ts[1:].double()
    # alpha_s - alpha_t, which would cancel
    revealed = (schedule.masked(t) * schedule.reveal(t, s))[:, 0]
    return float((1 - revealed).pow(units).mean())


@torch.no_grad()
def ancestral(
    model: MaskedDiffusion,
    z: Tensor,
    ts: Tensor,
    *,
    cond=None,
    valid: Tensor | None = None,
    holes: Tensor | None = None,
    generator: Generator = None,
    temperature: float = 1.0,
    guidance: Guidance | None = None,
) -> Iterator[Tensor]:
    """The reverse process on the grid `ts` (arXiv 2406.04329, equation 6): draw a token, reveal it
    with probability reveal(t, s).

    The coins are flipped first, so the network sees only sequences, and its head only rows, in
    which something may be revealed: the same law.  With one curve per value the coins are flipped
    at the largest probability and kept at that of the value drawn. Digits of one token are revealed
    by their own coins, from one draw of the token.
    """
    state = _State(model, z, ts, cond, valid, holes, generator, temperature, guidance)
    for t, s in zip(state.ts[:-1], state.ts[1:], strict=True):
        reveal = model.schedule.reveal(t, s)  # (K,)
        masked = state.masked()
        coin = uniform(*masked.shape, generator=generator, device=masked.device)
        state.reveal(masked & (coin < reveal.max()), t.expand(len(z)), coin, reveal)
        yield state.z.clone()


@torch.no_grad()
def first_hitting(
    model: MaskedDiffusion,
    z: Tensor,
    ts: Tensor | None = None,
    *,
    cond=None,
    valid: Tensor | None = None,
    holes: Tensor | None = None,
    generator: Generator = None,
    temperature: float = 1.0,
    guidance: Guidance | None = None,
) -> Iterator[Tensor]:
    """The continuous-time reverse process, exactly: one unit at a time, at its hitting time (arXiv
    2409.02908).

    From n masked units, u = 1 - alpha falls to u r^(1/n), r ~ U(0, 1), and one of them, uniformly
    chosen, is revealed.  At most as many network calls as masked units, whatever `ts` (default (1,
    0)), at whose times the states are yielded.  One curve for all values only, else ValueError.
    """
    if model.schedule.num_values > 1:
        raise ValueError(
            "first_hitting needs a schedule with one curve for all values: with one curve per value, when a position is revealed "
            'depends on the value, which is not drawn yet; use sampler="ancestral"'
        )
    state = _State(
        model,
        z,
        torch.tensor([1.0, 0.0]) if ts is None else ts,
        cond,
        valid,
        holes,
        generator,
        temperature,
        guidance,
    )

    def hit(u: Tensor, left: Tensor) -> Tensor:
        r = 1 - uniform(len(u), generator=generator, device=u.device)
        return u * r ** (1 / left.clamp(min=1))

    left = state.masked().sum(-1)
    u = hit(model.schedule.masked(state.ts[0]).expand(len(z)), left)
    for s in state.ts[1:]:
        while bool((active := (left > 0) & ((u > model.schedule.masked(s)) | (s == 0))).any()):
            masked = state.masked()
            score = uniform(*masked.shape, generator=generator, device=masked.device).masked_fill(
                ~masked, -1.0
            )
            one = torch.zeros_like(masked).scatter_(
                1, score.argmax(-1, keepdim=True), active[:, None]
            )
            state.reveal(one, model.schedule.inverse(1 - u))
            left = left - active.long()
            u = torch.where(active, hit(u, left), u)
        yield state.z.clone()


SAMPLERS = {"ancestral": ancestral, "first_hitting": first_hitting}


def sample(
    model: MaskedDiffusion,
    *,
    num: int | None = None,
    length: int | None = None,
    sampler: str = "ancestral",
    steps: int = 256,
    grid: str = "cosine",
    z: Tensor | None = None,
    cond=None,
    valid: Tensor | None = None,
    holes: Tensor | None = None,
    generator: Generator = None,
    temperature: float = 1.0,
    guidance: Guidance | None = None,
) -> Tensor:
    """(num, length) token ids, by default 16; or z (B, S*L) with its masked units filled in: (B,
    S).  -1 where `valid` is False.

    `holes` (B, S) bool: fill in those positions only; what else is masked stays so, and is -1.

    `length` None: the length that the model was trained at or, where its data has a length model
    (`draw_lengths`), a draw from that for each sequence, and num rows as long as the longest, -1
    after the end.  `sampler`: "ancestral" in `steps` steps of the time grid `grid`, or
    "first_hitting".  temperature 1 is the model's own law; anything else is not.  `guidance`: see
    `guided`.
    """
    if z is None:
        num = 16 if num is None else num
        if length is None and valid is None and "lengths" in model.meta.get("data", {}):
            sizes = draw_lengths(model, num, generator)
            length, valid = int(sizes.max()), torch.arange(int(sizes.max())) < sizes[:, None]
        length = model.meta.get("length") if length is None else length
        if length is None:
            raise ValueError("the model does not say at which length it was trained: give length=")
        if num < 1 or length < 1:
            raise ValueError(f"num and length must be at least 1, not {num} and {length}")
        z = torch.full(
            (num, length * model.subtokenizer.length), model.mask_id, device=model.device
        )
    elif length is not None or num is not None:
        raise ValueError(f"z already fixes number and length: leave out num={num}, length={length}")
    steps = 1 if sampler == "first_hitting" else steps  # its law does not depend on the grid
    how = {
        "sampler": sampler,
        "steps": steps,
        "grid": grid,
        "cond": cond,
        "valid": valid,
        "holes": holes,
        "generator": generator,
    }
    final = deque(
        trajectory(model, z, **how, temperature=temperature, guidance=guidance), maxlen=1
    ).pop()
    return to_tokens(model, final, valid, holes)


def draw_lengths(model: MaskedDiffusion, num: int, generator: Generator = None) -> Tensor:
    """(num,) lengths drawn from those of the training sequences, as saved with the model; only from
    those up to the trained length.

    ValueError where none is saved, none is that short, or num is below 1.
    """
    if num < 1:
        raise ValueError(f"num must be at least 1, not {num}")
    histogram = {
        int(length): count for length, count in model.meta["data"].get("lengths", {}).items()
    }
    kept = {length: count for length, count in histogram.items() if length <= model.meta["length"]}
    if not kept:
        raise ValueError(
            f"no training sequence is as short as {model.meta['length']}, the trained length: give a length"
        )
    lengths, counts = (
        torch.tensor(list(kept)),
        torch.tensor(list(kept.values()), dtype=torch.float64),
    )
    return lengths[categorical(counts.log().expand(num, -1), generator=generator)]


def trajectory(
    model: MaskedDiffusion,
    z: Tensor,
    *,
    sampler: str = "ancestral",
    steps: int = 256,
    grid: str = "cosine",
    **how,
) -> Iterator[Tensor]:
    """The states that a sampler, chosen by name, passes through: `steps` of them, from z (B, S*L)
    to fully revealed."""
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {', '.join(SAMPLERS)}, not {sampler!r}")
    return SAMPLERS[sampler](model, z, time_grid(steps, grid), **how)


def to_tokens(
    model: MaskedDiffusion, z: Tensor, valid: Tensor | None = None, holes: Tensor | None = None
) -> Tensor:
    """A revealed z (B, S*L) as token ids (B, S), -1 where `valid` is False and what is masked
    beside the `holes`."""
    length = model.subtokenizer.length
    there = (
        z.new_ones(len(z), z.shape[1] // length, dtype=torch.bool)
        if valid is None
        else valid.to(z.device)
    )
    if holes is not None:
        there = there & (
            holes.to(z.device) | (z != model.mask_id).unflatten(1, (-1, length)).all(-1)
        )
    x = model.subtokenizer.decode(z.masked_fill(~there.repeat_interleave(length, 1), 0))
    return x.masked_fill(~there, -1)


@contextmanager
def evaluating(model: torch.nn.Module):
    """Evaluation mode inside, the former mode of every submodule after."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def guided(logp: Tensor, without: Tensor, weight: Tensor) -> Tensor:
    """(R, V) classifier-free guidance (arXiv 2207.12598): (1 + weight) log mu(. | cond) - weight
    log mu(.), normalised; weight (R, 1).

    In the samplers the weight is a function of t (B,), the share of the way still to go.  0 is the
    model's own law; anything else is not.  It needs a network that was trained with its condition
    hidden now and then.
    """
    weight = weight.to(logp)
    # what is impossible without the condition counts as of probability exp(-10,000), so that
    # nothing overflows
    mixed = torch.where(
        logp == -torch.inf, -torch.inf, logp + weight * (logp - without.clamp(min=-1e4))
    )
    return mixed.log_softmax(-1)


class _State:
    """z and what a sampler needs to reveal units of it."""

    def __init__(self, model, z, ts, cond, valid, holes, generator, temperature, guidance):
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        if guidance is not None and cond is None:
            raise ValueError(
                "guidance strengthens what cond says, and there is none: give cond, or leave guidance out"
            )
        self.guidance = guidance
        self.model, self.cond, self.generator, self.temperature = (
            model,
            cond,
            generator,
            temperature,
        )
        self.digits, self.units = model.subtokenizer.length, model.units()
        self.z = z = check_state(model, z, valid).to(model.device, torch.long).clone()
        self.valid = None if valid is None else valid.to(z.device)
        if holes is not None and (
            holes.dtype != torch.bool or holes.shape != (len(z), z.shape[1] // self.digits)
        ):
            raise ValueError(
                f"holes must be bool {(len(z), z.shape[1] // self.digits)}, not {holes.dtype} {tuple(holes.shape)}"
            )
        self.holes = (
            None if holes is None else holes.to(z.device).repeat_interleave(self.units.length, 1)
        )
        self.ts = ts = ts.to(z.device, torch.float64)
        if (
            ts.ndim != 1
            or len(ts) < 2
            or not bool((ts[1:] < ts[:-1]).all())
            or ts[0] > 1
            or ts[-1] < 0
        ):
            raise ValueError("ts must be at least two decreasing times between 1 and 0")
        # A network of a scalar schedule never saw a half-filled row at t = 1: such rows are shown
        # the time that fits them.
        given = (self.masked().sum(-1) < self.counted().sum(-1)) & (ts[0] == 1)
        self.own_clock = (
            given if model.uses_time and model.schedule.num_values == 1 else torch.zeros_like(given)
        )

    def counted(self) -> Tensor:
        """(B, U): the units that have a value."""
        tokens = self.z.new_ones(len(self.z), self.z.shape[1] // self.digits, dtype=torch.bool)
        return (tokens if self.valid is None else self.valid).repeat_interleave(
            self.units.length, 1
        )

    def hidden(self) -> Tensor:
        """(B, U): the units that are still masked."""
        hidden = self.z == self.model.mask_id
        if self.units.length < self.digits:
            hidden = hidden.unflatten(1, (-1, self.digits)).any(-1)
        return hidden & self.counted()

    def masked(self) -> Tensor:
        """(B, U): those of `hidden` that are to be filled in."""
        return self.hidden() if self.holes is None else self.hidden() & self.holes

    def reveal(
        self,
        units: Tensor,
        t: Tensor,
        coin: Tensor | None = None,
        probability: Tensor | None = None,
    ) -> None:
        """Draw a token at every row that has one of `units` (B, U) and reveal those; the network is
        seen at t (B,).

        With one probability (K,) per value, only units whose coin (B, U) lies below that of the
        value drawn.
        """
        model, per_row = self.model, units.unflatten(1, (-1, self.units.length))  # (B, S, l)
        b, position = per_row.any(-1).nonzero(as_tuple=True)
        if not len(b):
            return
        if bool(self.own_clock.any()):
            share = self.hidden().sum(-1) / self.counted().sum(-1).clamp(min=1).double()
            t = torch.where(self.own_clock, model.schedule.inverse(1 - share), t)
        used, row = b.unique(return_inverse=True)
        u = uniform(len(b), generator=self.generator, device=b.device)
        view = self.z.unflatten(1, (-1, self.digits))
        with evaluating(model):
            valid = None if self.valid is None else self.valid[used]
            hidden, head = model.hidden(
                self.z[used], t[used], None if self.cond is None else self.cond[used], valid
            )
            plain = (
                None
                if self.guidance is None
                else model.hidden(self.z[used], t[used], None, valid)[0]
            )
            tokens = []
            for part in chunks(len(b), model.subtokenizer.vocab_size, b.device):
                at = row[part], position[part]
                logp = model.log_probs(
                    head(hidden[at]), view[b[part], position[part]], position[part]
                )
                if self.guidance is not None and plain is not None:
                    without = model.log_probs(
                        head(plain[at]), view[b[part], position[part]], position[part]
                    )
                    logp = guided(logp, without, self.guidance(t)[b[part], None])
                tokens.append(categorical(logp / self.temperature, u=u[part]))
        token = torch.cat(tokens)[:, None]  # (R, 1)
        shown = per_row[b, position]
        if coin is not None and probability is not None and len(probability) > 1:
            shown = shown & (
                coin.unflatten(1, (-1, self.units.length))[b, position]
                < probability[self.units.digits(token)]
            )
        old = view[b, position]
        view[b, position] = torch.where(
            shown & (old == model.mask_id), model.subtokenizer.digits(token), old
        )


def check_state(model: MaskedDiffusion, z: Tensor, valid: Tensor | None) -> Tensor:
    """z (B, S*L), or a ValueError: ids in range, whole tokens, every token one that the vocabulary
    has."""
    length = model.subtokenizer.length
    if z.ndim != 2 or not z.numel() or z.shape[1] % length:
        raise ValueError(f"z must be (B, S*{length}) ids, not {tuple(z.shape)}")
    check_ids(z, model.mask_id + 1, "id in z")
    if valid is not None:
        if valid.dtype != torch.bool or valid.shape != (len(z), z.shape[1] // length):
            raise ValueError(
                f"valid must be bool {(len(z), z.shape[1] // length)}, not {valid.dtype} {tuple(valid.shape)}"
            )
        z = z.masked_fill(~valid.to(z.device).repeat_interleave(length, 1), model.mask_id)
    # the smallest token that agrees with z
    least = model.subtokenizer.decode(z.masked_fill(z == model.mask_id, 0))
    if model.allowed is not None and length == 1:
        allowed = model.allowed.to(z.device)
        wrong = (z != model.mask_id) & ~allowed[torch.arange(z.shape[1], device=z.device), least]
        if bool(wrong.any()):
            b, s = wrong.nonzero()[0].tolist()
            raise ValueError(f"value {int(z[b, s])} is not allowed at position {s} (row {b})")
    return z
