"""Partly known examples in, whole ones out: what a filling depends on."""

import io

import numpy as np
import pytest
import torch
from test_roles import network_model
from tqdm import tqdm

from unmask.config import TIMED
from unmask.filling import Filler
from unmask.kinds.kind import Partial, blank
from unmask.roles import GIVEN, HOLE, UNKNOWN
from unmask.sampling import SAMPLERS


@pytest.mark.parametrize("digits,time", [(1, False), (2, True)])
@pytest.mark.parametrize(
    "sampler",
    ["ancestral", "first_hitting", "entropy-bounded", "remdm-rescale", "forward-backward"],
)
def test_what_is_filled_in_depends_on_the_seed_and_not_on_the_batch(digits, time, sampler):
    """Neither on its size, nor on what else is in it, nor on how long that is."""
    model = network_model(4, digits, time)
    with torch.no_grad():
        model.backbone.head.weight *= 0.1  # or one value would be certain
        model.backbone.head.bias *= 0.1
    values = model.subtokenizer.vocab_size
    how = {"sampler": sampler, "steps": None if sampler == "entropy-bounded" else 6, "seed": 3}
    how |= {"eta": 0.8} if sampler == "remdm-rescale" else {}
    how |= {"draw": "float32-gumbel"} if sampler == "forward-backward" else {}
    lengths = (3, 7, 1, 5, 7, 2)
    examples = [blank(n) for n in lengths]
    role = np.array([GIVEN, HOLE, UNKNOWN, HOLE], np.int8)
    examples.append(Partial(np.array([values - 1, 0, 0, 0]), role))

    def filled(size, chosen=slice(None)):
        filler = Filler(model, batch_size=size, **how)
        found = filler.fill(examples[chosen], num=3)
        return [[one.ids.tolist() for one in fillings] for fillings in found]

    alone = filled(1)
    assert all(filled(size) == alone for size in (2, 3, 64))
    assert filled(64, slice(4)) == alone[:4]
    assert len({tuple(ids) for ids in alone[1]}) > 1  # the fillings of an example differ
    again = Filler(model, **how)
    first, second = (again.fill(examples[:2]) for _ in range(2))
    assert any(a.ids.tolist() != b.ids.tolist() for (a,), (b,) in zip(first, second))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_whoever_checks_ends_the_work_before_any_network_call(sampler, monkeypatch):
    """Also within a step, of which some samplers make many calls."""
    model, said = network_model(4), []
    hidden = model.hidden

    def counted(*args, **how):
        said.append("call")
        return hidden(*args, **how)

    def check():
        if said.count("check") == 3:
            raise KeyboardInterrupt
        said.append("check")

    monkeypatch.setattr(model, "hidden", counted)
    # one step of forward-backward has all its calls
    how = {"steps": 1 if sampler == "forward-backward" else 30} if sampler in TIMED else {}
    how |= {"gamma": 0.0} if sampler == "entropy-bounded" else {}
    with pytest.raises(KeyboardInterrupt):
        Filler(model, sampler=sampler, check=check, **how).fill([blank(6)] * 3)
    assert said == ["check", "call"] * 3


def test_an_example_without_holes_costs_nothing_and_a_role_that_is_none_is_refused():
    filler = Filler(network_model(4), steps=3)
    whole = Partial(np.array([1, 2]), np.array([GIVEN, GIVEN], np.int8))
    nothing = Partial(np.array([], np.int64), np.array([], np.int8))
    for told in (filler.score([whole, nothing], draws=1), *zip(*filler.fill([whole, nothing]))):
        assert [(one.nats, one.noise) for one in told] == [(0.0, 0.0)] * 2
    with pytest.raises(ValueError, match="a role that is none"):
        filler.fill([Partial(np.array([1, 2]), np.array([7, HOLE], np.int8))])


def test_watching_changes_nothing_for_first_hitting():
    """Rows reveal at different times, and more states are kept: each row draws its own numbers."""
    model = network_model(4)
    with torch.no_grad():
        model.backbone.head.weight *= 0.1
        model.backbone.head.bias *= 0.1
    examples = [blank(n) for n in (6, 3, 5)]

    def filled(**how):
        filler = Filler(model, sampler="first_hitting", steps=7, seed=5, **how)
        return [one.ids.tolist() for (one,) in filler.fill(examples)]

    alone = filled(batch_size=1)
    assert alone == filled(batch_size=1, watch=1) == filled(batch_size=3, watch=3) == filled()


@pytest.mark.parametrize("sampler", ["entropy-bounded", "counts", "forward-backward"])
def test_the_bar_is_full_at_the_end(sampler, monkeypatch):
    """Also where a sampler takes fewer steps than it may."""
    bars = []
    plain = Filler.bar

    def enabled(self, batches):
        bars.append(tqdm(total=plain(self, batches).total, file=io.StringIO()))
        return bars[-1]

    monkeypatch.setattr(Filler, "bar", enabled)
    steps = 3 if sampler == "forward-backward" else None
    how = {"gamma": 1e3} if sampler == "entropy-bounded" else {}
    Filler(network_model(4), sampler=sampler, steps=steps, batch_size=2, **how).fill(
        [blank(n) for n in (4, 6, 5)]
    )
    (bar,) = bars
    assert bar.n == bar.total > 0
