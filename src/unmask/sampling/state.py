"""What every sampler needs: the state on its way, and how units of it are revealed."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor

from unmask.alphabets import allowed_at, not_allowed
from unmask.batch import told
from unmask.categorical import DRAWS, uniform
from unmask.config import DrawName, check_top_p, one_of
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.kernels.rows import chunks
from unmask.links import check_agreement
from unmask.masks import OfRows
from unmask.policies import changed
from unmask.subtokens import check_ids

Generator = torch.Generator | OfRows | None
Guidance = Callable[[Tensor], Tensor]  # the weight at times t (B,)
# told of rows (R,), positions (R,) there, and how probable (R,) what was drawn for each was
Drawn = Callable[[Tensor, Tensor, Tensor], None]


class How(TypedDict, total=False):
    """What every sampler takes besides numbers of its own."""

    cond: Tensor | None
    """This and the next two: what the network is told, see `batch.told`."""
    valid: Tensor | None
    """(B, S) bool."""
    ends: Tensor | None
    """(B, 2) bool."""
    holes: Tensor | None
    """(B, S) bool: fill in only these; None: all that is masked."""
    generator: Generator
    """Of all that is random: a generator, or one for each row."""
    temperature: float
    """1: the model's own law."""
    top_p: float
    """1: the model's own law; else that of the nucleus, see `policies.nucleus`."""
    guidance: Guidance | None
    """Its weight at times t (B,)."""
    drawn: Drawn | None
    """Told of rows and positions (R,), and how probable what was drawn for each was (R,)."""
    draw: DrawName
    """By which of `categorical.DRAWS`."""
    check: Callable[[], None] | None
    """Called before every network call; what it raises ends the sampling."""


class State:
    """z (B, S*L), falling times `ts` in [0, 1], and what a sampler needs to reveal units of z.

    The rest is that of `How`.  ValueError for what cannot be.  The z given stays as it is; that of
    the state changes in place.
    """

    def __init__(
        self,
        model: MaskedDiffusion,
        z: Tensor,
        ts: Tensor,
        *,
        cond: Tensor | None = None,
        valid: Tensor | None = None,
        ends: Tensor | None = None,
        holes: Tensor | None = None,
        generator: Generator = None,
        temperature: float = 1.0,
        top_p: float = 1.0,
        guidance: Guidance | None = None,
        drawn: Drawn | None = None,
        draw: DrawName = "exact",
        check: Callable[[], None] | None = None,
    ):
        if not temperature > 0:
            raise ValueError(f"temperature must be positive, not {temperature}")
        check_top_p(top_p)
        one_of("draw", draw, tuple(DRAWS))
        if guidance is not None and cond is None:
            raise ValueError(
                "guidance strengthens what cond says, and there is none: give cond, or leave "
                "guidance out"
            )
        self.model, self.generator = model, generator
        self.temperature, self.top_p, self.draw = temperature, top_p, DRAWS[draw]
        self.guidance, self.drawn = guidance, drawn
        self.check = (lambda: None) if check is None else check
        self.digits, self.units = model.subtokenizer.length, model.units()
        self.z = z = check_state(model, z, valid).to(model.device, torch.long).clone()
        self.told = told(z.device, cond, valid, ends)
        self.holes = None
        if holes is not None:
            shape = (len(z), z.shape[1] // self.digits)
            if holes.dtype != torch.bool or holes.shape != shape:
                said = f"{holes.dtype} {tuple(holes.shape)}"
                raise ValueError(f"holes must be bool {shape}, not {said}")
            self.holes = self.of_units(holes.to(z.device))
        self.empty = z == model.mask_id  # what a sampler may hide again
        self.ts = ts = ts.to(z.device, torch.float64)
        falling = ts.ndim == 1 and len(ts) > 1 and bool((ts[1:] < ts[:-1]).all())
        if not falling or ts[0] > 1 or ts[-1] < 0:
            raise ValueError("ts must be at least two decreasing times between 1 and 0")
        # A network of a scalar schedule never saw a half-filled example at t = 1, the time at which
        # filling in begins: such examples are shown the time that fits the share of what is hidden.
        # A caller that begins at another time is taken to know it.
        self.own_clock = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        if model.uses_time and model.schedule.num_values == 1:
            self.own_clock = (self.masked().sum(-1) < self.counted().sum(-1)) & (ts[0] == 1)

    def uniform(self, *shape: int, rows: Tensor | None = None) -> Tensor:
        """(B, ...) float64 in [0, 1), of which those of `rows` (B,) bool, or all, are used."""
        if isinstance(self.generator, OfRows):
            return self.generator.uniform(*shape, rows=rows, device=self.z.device)
        return uniform(*shape, generator=self.generator, device=self.z.device)

    def of_units(self, marked: Tensor) -> Tensor:
        """Marks of tokens (B, S) as marks of their units (B, U)."""
        return marked.repeat_interleave(self.units.length, 1)

    def counted(self) -> Tensor:
        """(B, U) bool: the units that are there, masked or not."""
        if "valid" in self.told:
            return self.of_units(self.told["valid"])
        units = self.z.shape[1] // self.digits * self.units.length
        return self.z.new_ones(len(self.z), units, dtype=torch.bool)

    def hidden(self) -> Tensor:
        """(B, U) bool: the units that the network does not see."""
        hidden = self.z == self.model.mask_id
        if self.units.length < self.digits:
            hidden = hidden.unflatten(1, (-1, self.digits)).any(-1)
        return hidden & self.counted()

    def masked(self) -> Tensor:
        """(B, U) bool: those of `hidden` that are to be filled in."""
        return self.hidden() if self.holes is None else self.hidden() & self.holes

    def revealed(self) -> Tensor:
        """(B, U) bool: the units that are there and not hidden, given ones among them."""
        return self.counted() & ~self.hidden()

    def of_values(self, of: Tensor) -> Tensor:
        """(B, U), or (1, 1): what `of` (K,), for each value or for all, says of the units' values;
        of those that are hidden, anything."""
        if len(of) == 1:
            return of[None]
        y = self.z
        if self.units.length < self.digits:
            places = self.model.subtokenizer.places(y.device)
            y = (y.unflatten(1, (-1, self.digits)) * places).sum(-1)
        return of[y.clamp(max=len(of) - 1)]

    def hide(self, units: Tensor) -> None:
        """Hide `units` (B, U) again, but for what was given."""
        digits = units.repeat_interleave(self.digits // self.units.length, 1)
        self.z.masked_fill_(digits & self.empty, self.model.mask_id)

    def reveal(
        self,
        units: Tensor,
        t: Tensor,
        coin: Tensor | None = None,
        probability: Tensor | None = None,
        rows: Tensor | None = None,
        seen: "Seen | None" = None,
    ) -> None:
        """Draw a token wherever one of `units` (B, U) belongs to it, and reveal those units; the
        network is shown t (B,), or has `seen` z already.

        With one `probability` (K,) per value, only units whose `coin` (B, U) lies below that of the
        value drawn.  With one for all values, the caller has compared the coins.
        """
        per_row = units.unflatten(1, (-1, self.units.length))  # (B, S, l)
        b, position = per_row.any(-1).nonzero(as_tuple=True)
        # for all tokens, of which some are used: so a row's do not depend on the other rows
        u = self.uniform(*per_row.shape[:2], rows=rows)[b, position]
        if not len(b):
            return
        if bool(self.own_clock.any()):
            t = torch.where(self.own_clock, self.fitting(), t)
        shown = per_row[b, position]
        view = self.z.unflatten(1, (-1, self.digits))  # (B, S, L), into z
        if seen is None:
            seen = self.look(b.unique(), t)
        for some, token in self.draw_tokens(b, position, u, seen):
            at, show = (b[some], position[some]), shown[some]
            token = token[:, None]  # (r, 1)
            if coin is not None and probability is not None and len(probability) > 1:
                coins = coin.unflatten(1, (-1, self.units.length))[at]
                show = show & (coins < probability[self.units.digits(token)])
            old = view[at]
            new = self.model.subtokenizer.digits(token)
            view[at] = torch.where(show & (old == self.model.mask_id), new, old)

    def draw_tokens(
        self, b: Tensor, position: Tensor, u: Tensor, seen: "Seen"
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """(rows (r,) of R, their codes (r,)), drawn by `u` (R,) at the positions `position` (R,) of
        the sequences `b` (R,), as the network has `seen` them, its head in chunks of rows.

        The second of two linked positions comes after the first, and is drawn given what the caller
        has revealed there meanwhile: one step never reveals two values that contradict each other.
        """
        order = torch.arange(len(b), device=b.device)
        turns = [order]
        if self.model.later is not None:
            later = self.model.later[position]
            turns = [turn for turn in (order[~later], order[later]) if len(turn)]
        for turn in turns:
            for part in chunks(len(turn), self.model.subtokenizer.vocab_size, b.device):
                rows = turn[part]
                logp = self.log_probs(seen, b[rows], position[rows])
                codes = self.draw(logp, u=u[rows])
                if self.drawn is not None:
                    probability = logp.gather(1, codes[:, None])[:, 0].exp()
                    self.drawn(b[rows], position[rows], probability)
                yield rows, codes

    def look(self, rows: Tensor, t: Tensor) -> "Seen":
        """Run the network on the sequences `rows` (A,) as they are, shown at t (B,)."""
        model = self.model
        self.check()
        among = torch.zeros(len(self.z), dtype=torch.long, device=rows.device)
        among[rows] = torch.arange(len(rows), device=rows.device)
        given = {name: value[rows] for name, value in self.told.items()}
        z, unconditional = self.z[rows], None
        with evaluating(model):
            hidden, head = model.hidden(z, t[rows], **given)
            if self.guidance is not None:
                del given["cond"]
                unconditional = model.hidden(z, t[rows], **given)[0]
        return Seen(among, t, hidden, unconditional, head)

    def log_probs(self, seen: "Seen", b: Tensor, position: Tensor) -> Tensor:
        """(R, V) log mu, guided, then `changed`, at the positions (R,) of the sequences `b` (R,).

        None of their own units has been revealed since the network has `seen` them.
        """
        model, row = self.model, seen.among[b]
        digits = self.z.unflatten(1, (-1, self.digits))[b, position]
        groups = model.open_groups(self.z, b, position)
        with evaluating(model):
            logits = seen.head(seen.hidden[row, position])
            logp = model.log_probs(logits, digits, position, groups)
            if self.guidance is not None and seen.unconditional is not None:
                logits = seen.head(seen.unconditional[row, position])
                without = model.log_probs(logits, digits, position, groups)
                logp = guided(logp, without, self.guidance(seen.t)[b, None])
        return changed(logp, self.temperature, self.top_p)

    def fitting(self) -> Tensor:
        """(B,) the times at which as large a share of an unconditional example is masked."""
        share = self.hidden().sum(-1) / self.counted().sum(-1).clamp(min=1).double()
        return self.model.schedule.inverse(1 - share)


class Seen(NamedTuple):
    """What the network says of some of a state's sequences."""

    among: Tensor  # (B,) where a sequence is among these A
    t: Tensor  # (B,)
    hidden: Tensor  # (A, S, ...)
    unconditional: Tensor | None  # (A, S, ...), of what the network says without the condition
    head: Callable[[Tensor], Tensor]


def check_state(model: MaskedDiffusion, z: Tensor, valid: Tensor | None) -> Tensor:
    """z (B, S*L), `mask_id` where `valid` (B, S) is False.

    ValueError unless ids are in range, tokens whole, and each can become one of the vocabulary.
    """
    length = model.subtokenizer.length
    if z.ndim != 2 or not z.numel() or z.shape[1] % length:
        raise ValueError(f"z must be (B, S*{length}) ids, not {tuple(z.shape)}")
    check_ids(z, model.mask_id + 1, "id in z")
    if valid is not None:
        shape = (len(z), z.shape[1] // length)
        if valid.dtype != torch.bool or valid.shape != shape:
            raise ValueError(f"valid must be bool {shape}, not {valid.dtype} {tuple(valid.shape)}")
        z = z.masked_fill(~valid.to(z.device).repeat_interleave(length, 1), model.mask_id)
    # The smallest token that agrees with z: an error here, if even that is beyond the vocabulary.
    least = model.subtokenizer.decode(z.masked_fill(z == model.mask_id, 0))
    if model.allowed is not None:
        if model.allowed.ndim == 2 and least.shape[1] != len(model.allowed):
            raise ValueError(
                f"z has {least.shape[1]} positions and `allowed` {len(model.allowed)}: give as many"
            )
        revealed = (z != model.mask_id).unflatten(1, (-1, length)).all(-1)
        wrong = revealed & ~allowed_at(model.allowed.to(z.device), least)
        if bool(wrong.any()):
            b, s = wrong.nonzero()[0].tolist()
            raise not_allowed(model.allowed, int(least[b, s]), f"at position {s} (row {b})")
        if model.partner is not None:
            partner, group = model.partner.to(z.device), model.group.to(z.device)
            check_agreement(least, revealed, partner, group)
    return z


def guided(logp: Tensor, without: Tensor, weight: Tensor) -> Tensor:
    """(R, V) classifier-free guidance (arXiv 2207.12598): (1 + weight) log mu(. | cond) - weight
    log mu(.), normalised; weight (R, 1).

    In the samplers the weight is a function of t (B,), the share of the way still to go.  0 is the
    model's own law; anything else is not.  It needs a network that was trained with its condition
    hidden now and then.
    """
    # what is impossible without the condition counts as of probability exp(-10,000), so that
    # nothing overflows
    mixed = logp + weight.to(logp) * (logp - without.clamp(min=-1e4))
    return torch.where(logp == -torch.inf, -torch.inf, mixed).log_softmax(-1)
