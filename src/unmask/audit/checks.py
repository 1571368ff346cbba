"""Does a trained model report what it should?

Identities that hold for every network, whatever it has learned, and on any tokens.  Predictions
are compared in 64 bits, where the order of a sum makes no visible difference; random estimates as
z-scores of their noise.
"""

import copy
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unmask.audit import MAX_UNITS, SIGMAS, exact_nelbo
from unmask.audit.verdicts import Verdicts
from unmask.batch import accepts
from unmask.categorical import uniform
from unmask.device import precision
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.estimate import Estimate
from unmask.likelihood import Bound, UnresolvedError
from unmask.likelihood import estimate as estimate_by
from unmask.likelihood.enumeration import ENUMERATED
from unmask.masks import Draw, stratified
from unmask.roles import ABSENT, SCORED
from unmask.sampling import sample

ROUNDING = 1e-9  # nats in 64 bits
SINGLE = 1e-6  # relative, of a bound whose parts are in 32 bits
FINE = 2**20  # steps that are as good as continuous time
STEPS = 8  # of discrete time where it is enumerated
LOGITS = 2**22  # at a time


class Check(NamedTuple):
    """One identity: what was measured, and how far it may be from 0; limit NaN: reported only."""

    name: str
    measured: float
    limit: float
    unit: str
    note: str = ""

    @property
    def passed(self) -> bool:
        return math.isnan(self.limit) or abs(self.measured) <= self.limit  # NaN does not pass

    def _repr_html_(self) -> str:
        return Verdicts([self])._repr_html_()

    @property
    def verdict(self) -> str:
        """In a word; "" for what is reported only."""
        if math.isnan(self.limit):
            return ""
        return "pass" if self.passed else "FAIL"

    def __str__(self) -> str:
        limit = f"{self.limit:.3g}" if self.verdict else "-"
        measured = f"{self.measured:.3g}"
        if math.isnan(self.measured) and not self.verdict:
            measured = "-"
        figures = f"{measured:>10} {limit:>8} {self.unit:15} {self.verdict:4}"
        return f"{self.name:66} {figures}  {self.note}".rstrip()


HEADER = f"{'check':66} {'measured':>10} {'limit':>8} {'unit':15} verdict"


def windows_of(
    model: MaskedDiffusion,
    data: Any,
    *,
    split: str,
    length: int,
    limit: int,
    generator: torch.Generator,
) -> tuple:
    """x (n, S) and valid, or the roles, to audit a model on, and what they are.

    Windows of data or, for data None, samples of the model.
    """
    if data is None:
        x = sample(model, num=limit, length=length, steps=64, generator=generator)
        return x, None, f"{limit} samples of the model itself, {length} tokens each"
    batch = next(data.windows(split, length, limit, limit=limit))
    x = batch["x"]
    what = f"{len(x)} windows of {length} tokens, {split} split of {data.folder}"
    if "ends" in batch:
        what += ", pieces of sequences taken as whole ones"
    return x, batch.get("role", batch.get("valid")), what


def check_model(
    model: MaskedDiffusion,
    x: Tensor,
    valid: Tensor | None = None,
    *,
    dtype: str = "float32",
    units: int = 8,
    repeats: int = 32,
    seed: int = 0,
) -> Iterator[Check]:
    """The checks of a model on windows x (n, S) of token ids, at the precision `dtype`.

    valid (n, S) bool: where some windows have padding; or their roles, int8.  units: those of the
    short windows whose masks are enumerated.  repeats: draws of a window in the estimators, at
    least 32, so that their noise is known.  Whatever objective the model was trained with, what is
    checked is its bound.
    """
    if not 1 <= units <= MAX_UNITS:
        raise ValueError(f"{units} units cannot be enumerated: choose between 1 and {MAX_UNITS}")
    if repeats < 32:
        why = "with fewer draws their noise is not known"
        raise ValueError(f"repeats must be at least 32, not {repeats}: {why}")
    x = x.to(model.device)
    valid = None if valid is None else valid.to(model.device)
    with evaluating(model):
        yield from check_predictions(model, x, valid, seed)
        if fixed_length(model):
            yield check_beginning(copy.deepcopy(model).double(), x, valid)
        with precision(dtype, model.device):
            yield from check_enumeration(model, x, valid, units, repeats, seed)
            yield from check_estimators(model, x, valid, repeats, seed)
        yield compare_precisions(model, x, valid, seed)


# ---------------------------------------------------------------- predictions


@torch.no_grad()
def check_predictions(
    model: MaskedDiffusion, x: Tensor, valid: Tensor | None, seed: int
) -> Iterator[Check]:
    """What `predict` says of partly masked windows, in 64 bits."""
    model, generator = copy.deepcopy(model).double(), torch.Generator().manual_seed(seed)
    vocab_size, length = model.subtokenizer.vocab_size, model.subtokenizer.length
    if not fixed_length(model):
        x, valid = cut(x, valid, max(1, LOGITS // vocab_size))
    if most := getattr(model.backbone, "length", 0):  # of its positions some are for padding
        x, valid = cut(x, valid, max(1, 3 * (most - 1) // 4))
    x, valid = cut(x, valid, x.shape[1], rows=max(2, LOGITS // (vocab_size * x.shape[1])))
    batch = model.clean(x, **said_of(valid))
    valid = batch.told.get("valid")  # nothing else is told to the network
    draw = model.draw(batch, None, generator)
    z, real = model.masked(batch, draw.masked), batch.role == SCORED
    logp = model.predict(z, draw.t, valid=valid)
    total = float(logp.logsumexp(-1).abs().max())
    yield Check("normalisation: |log of the sum of probabilities|", total, ROUNDING, "nats")
    digits = model.subtokenizer.encode(torch.arange(vocab_size, device=z.device)[:, None])  # (V, L)
    rows = z.unflatten(1, (-1, length))[:, :, None]  # (B, S, 1, L)
    contradicts = ((rows != model.mask_id) & (rows != digits)).any(-1)  # (B, S, V)
    lost = logp.exp().masked_fill(~contradicts, 0.0).sum(-1)
    revealed = (rows != model.mask_id).all(-1)[..., 0] & real
    true = logp.gather(-1, x.long().masked_fill(~real, 0)[..., None])[..., 0].exp()
    off = float((1 - true[revealed]).abs().amax()) if revealed.any() else 0.0
    yield Check("carry-over: 1 - probability of a revealed token", off, 0.0, "")
    name = "carry-over: probability of tokens that contradict revealed digits"
    yield Check(name, float(lost.amax()), 0.0, "")

    def predict(i: int) -> Tensor:
        row = slice(i, i + 1)
        return model.predict(z[row], draw.t[row], valid=None if valid is None else valid[row])

    alone = torch.cat([predict(i) for i in range(len(z))])
    off, note = furthest(alone, logp), f"{len(z)} rows"
    yield Check("batch: a row alone against the row among others", off, ROUNDING, "nats", note)
    if fixed_length(model) or not takes_valid(model):
        network = type(model.backbone).__name__
        yield left_out("padding", f"{network} takes no valid, or its positions are fixed")
        return
    pad = 1 + x.shape[1] // 3
    longer = torch.cat([z, z.new_full((len(z), pad * length), model.mask_id)], 1)
    there = torch.cat([batch.role != ABSENT, real.new_zeros(len(z), pad)], 1)
    padded = model.predict(longer, draw.t, valid=there)[:, : x.shape[1]]
    off, note = furthest(padded[real], logp[real]), f"{pad} positions"
    yield Check("padding: predictions with more of it", off, ROUNDING, "nats", note)


def fixed_length(model: MaskedDiffusion) -> bool:
    """Whether every example has as many positions.

    So it is where alphabets differ by position, and of a network for pictures of one shape.
    """
    by_position = model.allowed is not None and model.allowed.ndim == 2
    return by_position or hasattr(model.backbone, "shape")


def takes_valid(model: MaskedDiffusion) -> bool:
    network: Any = model.backbone
    apart = hasattr(network, "features") and hasattr(network, "logits")
    return accepts(network.features if apart else network.forward, "valid")


def left_out(name: str, why: str) -> Check:
    return Check(name, math.nan, math.nan, "", f"left out: {why}")


def furthest(a: Tensor, b: Tensor) -> float:
    """The largest difference of two log-probabilities; none where both are -inf."""
    return float(torch.where(a == b, 0.0, (a - b).abs()).max())


def cut(
    x: Tensor, valid: Tensor | None, length: int, rows: int | None = None
) -> tuple[Tensor, Tensor | None]:
    """The first `length` positions of the first `rows` windows."""
    return x[:rows, :length], None if valid is None else valid[:rows, :length]


@torch.no_grad()
def check_beginning(model: MaskedDiffusion, x: Tensor, valid: Tensor | None) -> Check:
    """Training that hides all that it scores against the state from which sampling starts.

    Where every example has the same positions, the two are one state, and the network has to say
    the same of it.  It does not where training told it of absences that no sample can know of: so
    it was with missing cells.
    """
    batch = model.clean(x, **said_of(valid))
    z = model.masked(batch, batch.scored)
    trained = model.predict(z, valid=batch.told.get("valid"))
    sampled = model.predict(torch.full_like(z[:1], model.mask_id))
    real = batch.role == SCORED
    off = furthest(trained[real].exp(), sampled.expand_as(trained)[real].exp())
    name = "beginning: all hidden in training against where sampling starts"
    return Check(name, off, ROUNDING, "probability", f"{len(x)} rows")


# ---------------------------------------------------------------- estimates


@torch.no_grad()
def check_enumeration(
    model: MaskedDiffusion, x: Tensor, valid: Tensor | None, units: int, repeats: int, seed: int
) -> Iterator[Check]:
    """The estimators against the sum over all masks, on windows cut to a few units.

    And the exact bound with padding.
    """
    length, vocab_size = model.subtokenizer.length, model.subtokenizer.vocab_size
    tokens = min(max(1, units // length), x.shape[1])
    while tokens > 1 and cells(tokens, length, vocab_size) > ENUMERATED:
        tokens -= 1
    windows = min(8, max(1, ENUMERATED // cells(tokens, length, vocab_size)))
    full = torch.ones_like(x, dtype=torch.bool)
    if valid is not None:
        full = valid if valid.dtype == torch.bool else valid == SCORED
    short = x[full[:, :tokens].all(-1), :tokens][:windows]
    if fixed_length(model):
        yield left_out("enumeration", "the positions of this model are fixed")
        return
    if tokens * length > MAX_UNITS or not len(short):
        why = f"no window can be cut to {tokens} tokens and {MAX_UNITS} units or fewer"
        yield left_out("enumeration", why)
        return
    many = short.repeat(256 // len(short), 1)
    both = length > 1 and model.schedule.num_values == 1
    for masking in ("digit", "token") if both else (model.masking,):
        of = f' masking="{masking}",' if length > 1 else ""
        count = tokens * model.units(masking).length
        for steps, name in ((None, "continuous time"), (STEPS, f"{STEPS} steps")):
            how: dict[str, Any] = {"steps": steps, "masking": masking}
            try:
                exact = float(exact_nelbo(model, short, **how).mean())
            except UnresolvedError as error:
                yield left_out(f"enumeration:{of} {name}", str(error))
                continue
            draws: dict[str, Any] = {"repeats": repeats, "seed": seed, "finite": False}
            drawn = estimate_by(model, [many], Bound(**how), **draws)
            z = sigmas(drawn.mean - exact, drawn.noise, exact)
            note = f"{drawn.mean:.4f} +- {drawn.noise:.4f}, exactly {exact:.4f} nats"
            yield Check(f"enumeration:{of} {name}, {count} units", z, SIGMAS, "sigma", note)
    half = max(1, tokens // 2)
    if half < tokens and takes_valid(model):
        model = copy.deepcopy(model).double()
        there = torch.arange(tokens, device=x.device).expand(len(short), -1) < half
        alone = exact_nelbo(model, short[:, :half], steps=STEPS)
        padded = exact_nelbo(model, short, steps=STEPS, valid=there)
        limit = ROUNDING * max(1.0, float(alone.max()))
        off = float((padded - alone).abs().max())
        name = "padding: the exact bound with more of it"
        yield Check(name, off, limit, "nats", f"{half} tokens")


def cells(tokens: int, length: int, vocab_size: int) -> int:
    """Logits of a window in every state of its masks."""
    return 2 ** (tokens * length) * tokens * vocab_size


def check_estimators(
    model: MaskedDiffusion, x: Tensor, valid: Tensor | None, repeats: int, seed: int
) -> Iterator[Check]:
    """The estimators of one number against one another, on whole windows."""
    bound = estimate(model, x, valid, repeats, seed)
    said = "exact count" if model.schedule.num_values == 1 else "sampled times"

    def against(name: str, mean: float, noise: float) -> Check:
        z = sigmas(mean - bound.mean, math.hypot(noise, bound.noise), bound.mean)
        per = f"{bound.mean:.3f} +- {bound.noise:.3f} nats a window"
        note = f"{mean:.3f} +- {noise:.3f} against {per}"
        return Check(f"estimators: {name} against the {said}", z, SIGMAS, "sigma", note)

    if model.schedule.num_values == 1:
        yield against("sampled times", *sampled_times(model, x, valid, repeats, seed + 1))
    fine = estimate(model, x, valid, repeats, seed + 2, FINE)
    yield against(f"{FINE:,} steps", fine.mean, fine.noise)
    coarse = estimate(model, x, valid, repeats, seed + 3, 32)
    off, noise = coarse.mean - bound.mean, math.hypot(coarse.noise, bound.noise)
    note = f"+- {noise:.3f}; either sign, unless the denoiser is perfect"
    name = "estimators: 32 steps less continuous time"
    yield Check(name, off, math.nan, "nats a window", note)


def compare_precisions(model: MaskedDiffusion, x: Tensor, valid: Tensor | None, seed: int) -> Check:
    """bfloat16 less float32, on the same masks."""
    of = {}
    for dtype in ("bfloat16", "float32"):
        with precision(dtype, model.device):
            of[dtype] = estimate(model, x, valid, 2, seed)
    half, single = of["bfloat16"], of["float32"]
    nats = float((half.per_example - single.per_example).sum() / single.positions.sum())
    note = f"of {single.bits_per_dim:.4f}, the same masks"
    name = "precision: bfloat16 less float32"
    return Check(name, nats / math.log(2), math.nan, "bits a position", note)


def estimate(
    model: MaskedDiffusion,
    x: Tensor,
    valid: Tensor | None,
    repeats: int,
    seed: int,
    steps: int | None = None,
) -> Estimate:
    """By the bound of masked diffusion, whatever process the model is a rival's of."""
    draws: dict[str, Any] = {"repeats": repeats, "seed": seed, "finite": False}
    return estimate_by(model, batches(x, valid), Bound(steps), **draws)


def batches(x: Tensor, valid: Tensor | None, size: int = 16) -> list[dict]:
    found = [{"x": part} for part in x.split(size)]
    if valid is not None:
        parts = zip(found, valid.split(size), strict=True)
        found = [batch | said_of(part) for batch, part in parts]
    return found


def said_of(valid: Tensor | None) -> dict[str, Any]:
    """What a batch says of positions: valid, or role, by the type; nothing for None."""
    if valid is None:
        return {}
    return {"valid" if valid.dtype == torch.bool else "role": valid}


@torch.no_grad()
def sampled_times(
    model: MaskedDiffusion, x: Tensor, valid: Tensor | None, repeats: int, seed: int
) -> tuple[float, float]:
    """The bound by independent times, one curve for all values: (mean, noise) nats a window.

    P(masked) = u^2, u ~ U(0, 1]: the bound is the integral over m = P(masked) of E[sum CE] / m, so
    the factor is 2 / u.  Its variance is finite; that of a uniform m, with factor 1 / m, is not.
    """
    generator = torch.Generator().manual_seed(seed)
    total, variance = 0.0, 0.0
    for batch in batches(x, valid):
        clean = model.clean(**batch)
        draws = []
        for _ in range(repeats):
            u = 1 - stratified(len(clean.y), generator, clean.y.device)
            coins = uniform(*clean.y.shape, generator=generator, device=clean.y.device)
            masked = (coins < u[:, None] ** 2) & clean.scored
            fits = model.schedule.inverse(1 - clean.hidden_share(masked))
            # as in `MaskedDiffusion.draw`
            t = torch.where(clean.conditional, fits, model.schedule.inverse(1 - u**2))
            draw = Draw(t, masked, 2 / u)
            draws.append(float(model.score(clean, draw)[1].sum()))
        sums = torch.tensor(draws, dtype=torch.float64)
        total += float(sums.mean())
        variance += float(sums.var()) / repeats
    return total / len(x), math.sqrt(variance) / len(x)


def sigmas(difference: float, noise: float, value: float) -> float:
    """A difference in standard errors; where nothing is random, in roundings of 32 bits."""
    return difference / math.hypot(noise, SINGLE * value)
