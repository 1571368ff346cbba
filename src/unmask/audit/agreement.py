"""Do samples look like the data, and does what the model says of rows as they are agree with them?

Of examples that all have the same positions: how often each value occurs.  A network that has
learned little differs everywhere; one whose samples differ, and whose predictions of rows as they
are do not, was shown in training what it is not shown in use.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from unmask.audit.checks import Check, said_of
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.kernels.rows import chunks
from unmask.roles import SCORED
from unmask.sampling import sample


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
