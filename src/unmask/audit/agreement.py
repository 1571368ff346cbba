"""How common values are: in the data, in what the network says, and in samples.

A network that has learned little differs everywhere.  One that does where all is hidden, but little
elsewhere, spoils samples, which begin there, and hardly the bound.  One whose samples differ, and
whose predictions of rows as they are do not, was shown in training what it is not shown in use.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unmask.audit.checks import Check, said_of
from unmask.audit.verdicts import figure
from unmask.batch import Batch
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.kernels.rows import chunks
from unmask.roles import SCORED
from unmask.sampling import sample

HEEDED = ("x", "valid", "role", "ends")  # of a batch; classes are not told


@torch.no_grad()
def compare_beginning(
    model: MaskedDiffusion,
    batch: Mapping[str, Tensor],
    *,
    alike: bool,
    names: Sequence[str],
    spell: Callable[[int], str],
) -> Check:
    """What the network says where all is hidden, against how common the values of `batch` are.

    That is all that there is to say there, and where sampling begins; a bound hardly tells, since
    few of its states have so much hidden.  Half the sum of differences, 0 to 1: by position, of
    which the mean is measured, or, where positions are `alike`, of all together.  The note has what
    the number of examples would do to a perfect network: half of how far two halves of them are
    apart.  For information: no limit.  batch: `x` and, where they are known, `valid` or `role`, and
    `ends`, see `MaskedDiffusion.clean`.
    """
    told: dict[str, Any] = {k: batch[k].to(model.device) for k in HEEDED if k in batch}
    clean = model.clean(**told)
    real, x = clean.role == SCORED, told["x"].long()
    values = model.subtokenizer.vocab_size

    def of(rows: slice) -> Tensor:
        """(S, V), or (1, V) where positions are alike, float64: how often each value occurs."""
        seen, own = real[rows], x[rows].masked_fill(~real[rows], 0)
        place = torch.arange(own.shape[1], device=own.device) * (not alike)
        count = x.new_zeros((1 if alike else own.shape[1]) * values, dtype=torch.float64)
        count.index_add_(0, (place * values + own).flatten(), seen.flatten().double())
        return count.view(-1, values)

    count, halves = of(slice(None)), (of(slice(0, None, 2)), of(slice(1, None, 2)))
    said = torch.zeros_like(count)
    with evaluating(model):
        for p, weight in beginnings(model, clean):
            said += torch.einsum("nsv,ns->v" if alike else "nsv,ns->sv", p, weight)
    there = count.sum(1) > 0
    off = apart(said, count)[there]
    noise = apart(*halves)[(halves[0].sum(1) > 0) & (halves[1].sum(1) > 0)].mean() / 2
    worst = int(there.nonzero()[int(off.argmax()), 0])
    share, true = normed(said)[worst], normed(count)[worst]
    v = int((share - true).abs().argmax())
    where = f"{names[worst]}: " if names else "" if alike else f"position {worst}: "
    note = (
        f"{len(x)} examples alone make {figure(float(noise))}; furthest off {where}{spell(v)}: "
        f"{float(share[v]):.3f}, in the data {float(true[v]):.3f}"
    )
    name = "beginning: what is said where all is hidden, against the data"
    return Check(name, float(off.mean()), math.nan, "total variation", note)


def beginnings(model: MaskedDiffusion, batch: Batch) -> Iterator[tuple[Tensor, Tensor]]:
    """Probabilities (n, S, V) float64 where all is hidden that is scored, and how many examples of
    the batch (n, S) have a value there: of each state once, since many examples begin alike."""
    z = model.masked(batch, batch.scored)
    shown = torch.cat([one.flatten(1).long() for one in (z, *batch.told.values())], 1)
    _, which = shown.unique(dim=0, return_inverse=True)
    first = torch.stack([(which == i).nonzero()[0, 0] for i in range(int(which.max()) + 1)])
    weight = batch.role.new_zeros((len(first), batch.role.shape[1]), dtype=torch.float64)
    weight.index_add_(0, which, (batch.role == SCORED).double())
    width = batch.role.shape[1] * model.subtokenizer.vocab_size
    for part in chunks(len(first), width, z.device):
        some = batch.take(first[part])
        p = model.predict(z[first[part]], **some.told).double().exp()
        yield p, weight[part]


def normed(count: Tensor) -> Tensor:
    return count / count.sum(1, keepdim=True).clamp(min=1e-300)


def apart(a: Tensor, b: Tensor) -> Tensor:
    """(S,) total variation of two laws (S, V), each given by counts."""
    return (normed(a) - normed(b)).abs().sum(1) / 2


@torch.no_grad()
def compare_shares(
    model: MaskedDiffusion,
    x: Tensor,
    valid: Tensor | None = None,
    *,
    names: Sequence[str],
    spell: Callable[[int], str],
    num: int = 1000,
    generator: torch.Generator | None = None,
) -> Iterator[Check]:
    """For every position, by its name, the value whose share is furthest off, in errors.

    In `num` samples, against examples x (n, S); and in what the model says of each position given
    all others, as they are in the example.  For information: no limit.  `valid` as in
    `checks.check_model`; positions that are not scored are left out.
    """
    x = x.to(model.device)
    batch = model.clean(x, **said_of(None if valid is None else valid.to(model.device)))
    scored = batch.role == SCORED
    length = x.shape[1]
    drawn = sample(model, num=num, length=length, steps=4 * length, generator=generator)
    values = model.subtokenizer.vocab_size
    for s, name in enumerate(names):
        there = x[scored[:, s], s]
        if not len(there):
            continue
        real = shares(there, values)
        of_samples = shares(drawn[:, s].to(x.device), values)
        error = (real * (1 - real) * (1 / num + 1 / len(there))).sqrt()
        yield furthest_off(f"samples: {name}", of_samples, real, error, spell)
        said = alone(model, batch, scored[:, s], s)
        spread = said - torch.nn.functional.one_hot(there, values)
        error = spread.std(0) / math.sqrt(len(there)) if len(there) > 1 else real * math.nan
        yield furthest_off(f"rows as they are: {name}", said.mean(0), real, error, spell)


def shares(ids: Tensor, values: int) -> Tensor:
    """(values,) float64: how often each occurs."""
    return torch.bincount(ids.long(), minlength=values).double() / len(ids)


def alone(model: MaskedDiffusion, batch, chosen: Tensor, s: int) -> Tensor:
    """(n, V) float64 probabilities of position s of the `chosen` (B,) rows, given the others."""
    rows = chosen.nonzero()[:, 0]
    found = []
    with evaluating(model):
        width = batch.codes.shape[1] * model.subtokenizer.vocab_size
        for part in chunks(len(rows), width, rows.device):
            some = batch.take(rows[part])
            position = torch.arange(some.codes.shape[1], device=rows.device)
            own = position == s
            if model.partner is not None:
                # a linked position would say all: the two are hidden together
                own = own | (model.partner == s)
            hidden = some.units(own.expand(len(some.codes), -1))
            z = model.masked(some, hidden & some.scored)
            t = model.schedule.inverse(1 - some.hidden_share(hidden & some.scored))
            found.append(model.predict(z, t, **some.told)[:, s].double().exp())
    return torch.cat(found)


def furthest_off(
    name: str, found: Tensor, real: Tensor, error: Tensor, spell: Callable[[int], str]
) -> Check:
    """The value that is furthest off, in errors, as a row of an audit."""
    z = ((found - real).abs() / error.clamp(min=1e-9)).nan_to_num()
    v = int(z.argmax())
    note = f"{spell(v)}: {float(found[v]):.3f}, in the data {float(real[v]):.3f}"
    off = float(found[v] - real[v])
    return Check(name, off, math.nan, "of all", f"{note} (+- {float(error[v]):.3f})")
