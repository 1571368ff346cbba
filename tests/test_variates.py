"""Control variates: by enumeration of all masks nothing is biased; the noise that is told is what
another seed changes, and there is less of it."""

import itertools
import math

import pytest
import torch
from test_core import learned, rng, table_model

import unmask
from unmask import schedules
from unmask.likelihood import Bound, Counts, estimate_nelbo, estimating, exact_nelbo, variates
from unmask.masks import BLOCK, Draw, of_examples
from unmask.roles import ABSENT, GIVEN, SCORED, UNKNOWN


def plain(batch, paid, draws):
    return paid


def every_mask(scored, steps):
    """[(probability, masks (U,), factor, (t, s))]: all that a draw of one example can be."""
    units = scored.nonzero()[:, 0].tolist()
    n, found = len(units), []
    for pattern in itertools.product((False, True), repeat=n):
        masked, k = torch.zeros_like(scored), sum(pattern)
        masked[units] = torch.tensor(pattern)
        if steps is None and k:
            # any density of the count, such as this one
            p = k / (n * (n + 1) / 2)
            found.append((p / math.comb(n, k), masked, 1 / (k * p), (k / n, k / n)))
        for i in range(steps or 0):
            t = (i + 1) / steps
            p = t**k * (1 - t) ** (n - k) / steps
            found.append((p, masked, float(steps), (t, i / steps)))
    return found


def mean_over_all(model, x, role, repeats, steps=None):
    """(S,) the mean of what is told of one example by token, over all its masks in `repeats`
    draws."""
    batch = model.clean(x[None], role=role[None])
    each = list(itertools.product(every_mask(batch.scored[0], steps), repeat=repeats))
    chance = [math.prod(one[0] for one in draws) for draws in each]
    probability = torch.tensor(chance, dtype=torch.float64)
    many, draws, paid = batch.take(torch.zeros(len(each), dtype=torch.long)), [], []
    for of_draw in zip(*each, strict=True):
        _, masked, scale, times = zip(*of_draw, strict=True)
        t, s = torch.tensor(times, dtype=torch.float64).unbind(1)
        factor = torch.tensor(scale, dtype=torch.float64)
        one = Draw(t, torch.stack(masked), factor, None if steps is None else (t, s))
        draws.append(one)
        paid.append(model.score_units(many, one)[1].sum(-1))
    assert float(probability.sum()) == pytest.approx(1)
    told = variates.less_variates(many, torch.stack(paid), draws)
    return (probability[:, None] * told.mean(0)).sum(0)


ALL = torch.full((3,), SCORED, dtype=torch.int8)
SOME = torch.tensor([SCORED, GIVEN, SCORED, UNKNOWN, SCORED, ABSENT], dtype=torch.int8)
CASES = {
    "whole tokens": (3, 1, [0, 0, 2], ALL, 2),
    "three draws": (3, 1, [1, 0], ALL[:2], 3),
    "digits": (4, 2, [3, 2], ALL[:2], 2),
    "roles": (3, 1, [0, 1, 0, 2, 2, 0], SOME, 2),
}


@pytest.mark.parametrize("steps", [None, 2])
@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_over_all_masks_the_mean_is_the_exact_bound_at_every_token(name, steps, monkeypatch):
    monkeypatch.setattr(variates, "FEWEST", 2)  # all masks of more are too many
    values, digits, x, role, repeats = CASES[name]
    x = torch.tensor(x)
    model = table_model(schedules.Linear(), values, len(x), digits)
    found = mean_over_all(model, x, role, repeats, steps)
    exact = exact_nelbo(model, x[None], steps, role=role[None])
    assert float(found.sum()) == pytest.approx(float(exact[0]), rel=1e-9)
    with monkeypatch.context() as patch:
        patch.setattr(variates, "less_variates", plain)
        by_token = mean_over_all(model, x, role, repeats, steps)
    assert torch.allclose(found, by_token, rtol=1e-9)
    # with the draw itself among what its b is told from, there is a bias
    monkeypatch.setattr(variates, "others", lambda values: values.sum(0).expand_as(values))
    biased = mean_over_all(model, x, role, repeats, steps)
    assert abs(float(biased.sum() / exact[0]) - 1) > 1e-5


class Costs(torch.nn.Module):
    """Independent positions of two values, each with its own probability, and some that depend on
    how much is masked."""

    def __init__(self, length):
        super().__init__()
        self.first = torch.linspace(-3, 3, length, dtype=torch.float64)

    def forward(self, z):
        first = self.first + (z == 2).double().mean(1, keepdim=True) + 0.5 * (z.roll(1, 1) == 1)
        return torch.stack([first, torch.zeros_like(first)], -1)


@pytest.fixture(scope="module")
def costs():
    return unmask.MaskedDiffusion(Costs(16), schedules.Linear(), unmask.Subtokenizer(2))


def test_the_noise_that_is_told_is_what_another_seed_changes_and_it_is_smaller(costs, monkeypatch):
    x = torch.randint(2, (8 * BLOCK, 16), generator=rng())
    seeds = 30

    def estimates():
        return [estimate_nelbo(costs, [x], repeats=8, seed=seed) for seed in range(seeds)]

    def told(found):
        return sum(one.noise**2 for one in found) / seeds

    def spread(found):
        """Of the mean, from those of blocks, which are independent."""
        blocks = torch.stack([one.per_example for one in found]).unflatten(1, (-1, BLOCK)).sum(2)
        return float(blocks.var(0).sum()) / len(x) ** 2

    found = estimates()
    # each is of some 8 * 30 degrees of freedom
    assert spread(found) / told(found) == pytest.approx(1, abs=5 * math.sqrt(2 * 2 / 240))
    monkeypatch.setattr(estimating, "less_variates", plain)
    before = estimates()
    assert told(found) < told(before) / 1.6
    means = [torch.tensor([one.mean for one in some]).mean() for some in (found, before)]
    error = math.sqrt((told(found) + told(before)) / seeds)
    assert abs(float(means[0] - means[1])) < 5 * error
    assert [one.calls for one in found] == [one.calls for one in before]


def test_what_is_paid_at_positions_has_less_noise_and_adds_up(costs, monkeypatch):
    x = torch.randint(2, (8, 16), generator=rng())
    found = estimate_nelbo(costs, [x], repeats=64, by_position=True)
    assert float(found.by_position[:, 0].sum()) == pytest.approx(found.mean)
    assert found.mean == pytest.approx(estimate_nelbo(costs, [x], repeats=64).mean)
    monkeypatch.setattr(estimating, "less_variates", plain)
    before = estimate_nelbo(costs, [x], repeats=64, by_position=True)
    error = (found.by_position[:, 1] ** 2 + before.by_position[:, 1] ** 2).sqrt()
    assert bool(((found.by_position - before.by_position)[:, 0].abs() < 5 * error).all())


def test_one_draw_of_a_replicate_has_no_others(costs, monkeypatch):
    x = torch.randint(2, (8, 16), generator=rng())
    found = estimate_nelbo(costs, [x], repeats=2)
    assert found.density == "counts k by k^-1/2, in strata"
    said = estimate_nelbo(costs, [x], repeats=4).density
    assert said == f"{found.density}; control variates within replicates"
    counts = Counts((1.0, 0.5, 0.0))
    assert ["variates" in counts.density(costs, each) for each in (1, 2)] == [False, True]
    monkeypatch.setattr(estimating, "less_variates", plain)
    assert torch.equal(found.replicates, estimate_nelbo(costs, [x], repeats=2).replicates)


def test_an_example_of_few_scored_units_keeps_what_it_pays(costs):
    """And the others of its batch do not; a digit is a unit."""
    few = variates.FEWEST
    role = torch.full((3, 16), SCORED, dtype=torch.int8)
    role[1, few - 1 :] = GIVEN
    x = torch.randint(2, (3, 16), generator=rng())
    batch = costs.clean(x, role=role)
    draws = [costs.draw(batch, uniforms=of_examples(range(3), 16, seed=s)) for s in range(4)]
    paid = torch.stack([costs.score_units(batch, draw)[1].sum(-1) for draw in draws])
    told = variates.less_variates(batch, paid, draws)
    assert torch.equal(told[:, 1], paid[:, 1])
    assert bool((told[:, [0, 2]].sum(-1) != paid[:, [0, 2]].sum(-1)).all())
    digits = unmask.MaskedDiffusion(Costs(16), schedules.Linear(), unmask.Subtokenizer(4, 2))
    batch = digits.clean(x[:, : few // 2])
    hidden = torch.ones_like(batch.scored)
    hidden[:, ::3] = False
    draw = Draw(torch.full((3,), 0.6), hidden, torch.ones(3, dtype=torch.float64), None)
    other = draw._replace(masked=~hidden)
    paid = torch.rand(2, 3, few // 2, dtype=torch.float64, generator=rng())
    assert not torch.equal(variates.less_variates(batch, paid, [draw, other]), paid)


def test_where_a_value_says_how_likely_it_is_masked_nothing_is_taken_out():
    model = table_model(learned([0.5, 1.0, 2.0]), 3, 3, drift=0.5)
    batch = model.clean(torch.tensor([[0, 1, 2]]))
    uniforms = of_examples([0], 3, seed=0)
    for steps in (None, 4):
        assert Bound(steps).draw(model, batch, uniforms).masks is None
    equal = table_model(schedules.Linear(), 3, 3)
    for estimator in (Bound(), Bound(4), Counts((1.0, 0.5, 0.0))):
        assert estimator.draw(equal, batch, uniforms).masks is not None


def test_what_is_not_finite_stays_so_and_makes_no_other_example_so(costs):
    batch = costs.clean(torch.randint(2, (3, 16), generator=rng()))
    draws = [costs.draw(batch, uniforms=of_examples(range(3), 16, seed=s)) for s in range(4)]
    paid = torch.stack([costs.score_units(batch, draw)[1].sum(-1) for draw in draws])
    finite = variates.less_variates(batch, paid, draws)
    there = tuple(paid[2, 1].nonzero()[0].tolist())
    paid[(2, 1, *there)] = math.inf
    found = variates.less_variates(batch, paid, draws)
    assert found[:, 1].sum() == math.inf and not found.isnan().any()
    assert torch.equal(found[:, [0, 2]], finite[:, [0, 2]])
