"""Orders that follow from what is revealed: their law, their exact likelihood, and exact counts.

Exact comparisons are in 64 bits; statistical limits are 6 sigma of the sampling error.
"""

import itertools
import math

import pytest
import torch
from test_core import learned, rng, table_model
from test_law import MODELS, agrees_with_draws, everything
from test_links import DIALS, ROWS, random_model

import unmask
from unmask import policies, schedules
from unmask.audit import exact_nelbo
from unmask.audit.sampler_law import exact_law, exact_law_in_order
from unmask.likelihood import Bound, Counts, Enumeration, Orders, Path, estimate, path_nats
from unmask.policies import DIRECTIONS, KEYS, ORDERS
from unmask.roles import GIVEN, SCORED, UNKNOWN
from unmask.sampling import SAMPLERS, in_order, sample

ONE_CURVE = [name for name in MODELS if not name.startswith("one power")]
GRIDS = {"one at a time": None, "halves": (1.0, 0.5, 0.0), "at once": (1.0, 0.0)}


def possible(model):
    """All pairs of tokens that `allowed` does not exclude."""
    x = everything(model)
    if model.allowed is not None:
        x = x[model.allowed[torch.arange(2), x].all(-1)]
    return x


def shares_of(grid):
    return None if GRIDS[grid] is None else torch.tensor(GRIDS[grid], dtype=torch.float64)


@pytest.mark.parametrize(
    "grid,temperature", [("one at a time", 1.0), ("halves", 0.6), ("at once", 1.0)]
)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("name", ONE_CURVE)
def test_the_likelihood_along_the_path_is_the_law(name, order, grid, temperature):
    """The law follows all states as a chain; the path follows one sequence."""
    model, x = MODELS[name](), possible(MODELS[name]())
    shares = shares_of(grid)
    law = exact_law_in_order(model, order, shares, 2, temperature=temperature)
    assert abs(float(law.sum()) - 1) < 1e-12
    nats, calls = path_nats(model, model.clean(x), order, shares, temperature=temperature, states=7)
    torch.testing.assert_close((-nats.sum(1)).exp(), law[x[:, 0], x[:, 1]], rtol=1e-9, atol=1e-15)
    units = 2 * model.units().length
    assert set(calls.tolist()) == {{"one at a time": units, "halves": 2, "at once": 1}[grid]}


@pytest.mark.parametrize("grid", ["one at a time", "halves"])
@pytest.mark.parametrize("order", ["counts", *ORDERS])
@pytest.mark.parametrize("name", ["tokens", "digits, time", "digits, tokens masked"])
def test_the_sampler_of_an_order_draws_from_its_law(name, order, grid):
    model = MODELS[name]()
    shares = shares_of(grid)
    law = exact_law_in_order(model, order, shares, 2, temperature=0.8)
    ts = None if shares is None else model.schedule.inverse(1 - shares)
    z = torch.full((20000, 2 * model.subtokenizer.length), model.mask_id)
    states = in_order(model, z, ts, order=order, temperature=0.8, generator=rng())
    agrees_with_draws(law, states, model)


def test_orders_differ_from_each_other_and_from_a_random_one():
    model = table_model(schedules.Linear(), 4, 3)
    laws = [exact_law_in_order(model, order, None, 3).flatten() for order in ("counts", *ORDERS)]
    for one, other in itertools.combinations(laws, 2):
        assert float((one - other).abs().sum()) > 1e-3
    torch.testing.assert_close(laws[0], exact_law(model, None, 3).flatten())


def test_the_keys_by_hand():
    logp = torch.tensor([[0.5, 0.25, 0.25], [0.6, 0.4, 0.0], [0.4, 0.4, 0.2]]).double().log()
    torch.testing.assert_close(
        KEYS["confidence"](logp), torch.tensor([0.5, 0.6, 0.4]).double(), rtol=1e-6, atol=0
    )
    torch.testing.assert_close(
        KEYS["margin"](logp), torch.tensor([0.25, 0.2, 0.0]).double(), rtol=1e-6, atol=1e-7
    )
    entropies = [1.5 * math.log(2), 0.6730116670092565, 1.0549201679861442]
    torch.testing.assert_close(
        -KEYS["entropy"](logp), torch.tensor(entropies).double(), rtol=1e-6, atol=0
    )


def test_ties_go_to_the_lowest_index_and_what_is_revealed_is_never_chosen():
    key = torch.tensor([[1.0, 3, 3, 3, 9], [0, 0, 0, 0, 0]])
    masked = torch.tensor([[True, True, True, True, False], [False, True, True, False, True]])
    chosen = policies.first(key, masked, torch.tensor([2, 3]))
    assert chosen.tolist() == [[False, True, True, False, False], [False, True, True, False, True]]
    assert not policies.first(key, masked, torch.tensor([0, 0])).any()


def test_what_rounds_to_the_same_key_is_a_tie():
    """A network's last digits depend on the batch, and must not decide."""
    model = table_model(schedules.Linear(), 5, 2)
    masked = torch.ones(1, 2, dtype=torch.bool)

    def log_probs(b, position):
        p = torch.tensor([[0.6, 0.1, 0.1, 0.1, 0.1], [0.6 + 1e-7, 0.1 - 1e-7, 0.1, 0.1, 0.1]])
        return p.double().log()[position]

    for order in KEYS:
        key = policies.keys(model, order, masked, log_probs)
        assert policies.first(key, masked, torch.tensor([1])).tolist() == [[True, False]]


def test_the_path_of_what_is_given_is_the_conditional_sampler():
    """The probabilities of all fillings sum to one; a given token is not paid for."""
    model = MODELS["digits, time"]()
    values = torch.arange(8)
    x = torch.stack([values, torch.full_like(values, 5)], 1)
    role = torch.tensor([[SCORED, GIVEN]], dtype=torch.int8).expand(8, -1)
    for order in ORDERS:
        nats, calls = path_nats(model, model.clean(x, role=role), order)
        assert float((-nats.sum(1)).exp().sum()) == pytest.approx(1, abs=1e-12)
        assert not nats[:, 1].any() and set(calls.tolist()) == {3}
        z = model.subtokenizer.encode(x[:1])
        z[:, :3] = model.mask_id
        drawn = sample(model, z=z.expand(4000, -1), sampler=order, generator=rng())
        assert (drawn[:, 1] == 5).all()
        counts = torch.bincount(drawn[:, 0], minlength=8) / 4000
        p = (-nats.sum(1)).exp()
        assert bool(((counts - p).abs() < 6 * (p * (1 - p) / 4000).sqrt() + 1e-9).all())
    role = torch.tensor([[SCORED, UNKNOWN]], dtype=torch.int8).expand(8, -1)
    nats, _ = path_nats(model, model.clean(x, role=role), "confidence")
    assert float((-nats.sum(1)).exp().sum()) == pytest.approx(1, abs=1e-12)


# ---------------------------------------------------------------- estimates


def test_an_exact_likelihood_is_an_estimate_without_noise():
    model = MODELS["digits"]()
    x = everything(model)
    found = estimate(model, [x[:40], x[40:]], Path("margin"), by_position=True)
    exact, _ = path_nats(model, model.clean(x), "margin")
    torch.testing.assert_close(found.per_example, exact.sum(1))
    assert found.noise == 0 and found.calls == 64 * 6 and found.repeats == 1
    assert found.stderr == pytest.approx(float(exact.sum(1).std()) / 8, rel=1e-9)
    torch.testing.assert_close(found.by_position[:, 0], exact.mean(0))
    assert "exact negative log-likelihood" in found.what
    assert found.sampler == (
        "the sampler that reveals one of a token's 3 digits at a step, in order of margin"
    )


def test_the_list_of_estimators_agrees_with_enumeration_and_counts_its_calls():
    model = MODELS["digits"]()
    x = everything(model)
    truth = exact_nelbo(model, x).detach()
    every = estimate(model, [x], Enumeration())
    torch.testing.assert_close(every.per_example, truth)
    assert every.noise == 0 and every.calls == 64 * (2**6 - 1)
    drawn = estimate(model, [x], Bound(), repeats=64)
    assert abs(drawn.mean - float(truth.mean())) < 6 * drawn.noise and drawn.calls == 64 * 64
    orders = estimate(model, [x], Orders(4), repeats=16)
    assert orders.calls == 64 * 16 * 6 and orders.noise > 0 and len(orders.replicates) == 4
    law = exact_law(model, None, 2).flatten()
    assert -float(law.log().mean()) < orders.mean < float(truth.mean())
    steps = estimate(model, [x], Enumeration(5))
    torch.testing.assert_close(steps.per_example, exact_nelbo(model, x, steps=5).detach())
    assert steps.calls == 5 * 64 * (2**6 - 1) // 5  # a network that ignores t looks once


@pytest.mark.parametrize("order", DIRECTIONS)
def test_left_to_right_pays_the_chain_rule(order):
    model = MODELS["tokens"]()
    x = everything(model)
    first, second = (0, 1) if order == "left-to-right" else (1, 0)
    z = torch.full_like(x, model.mask_id)
    by_hand = -model.predict(z)[torch.arange(len(x)), first, x[:, first]]
    z[:, first] = x[:, first]
    by_hand = by_hand - model.predict(z)[torch.arange(len(x)), second, x[:, second]]
    torch.testing.assert_close(estimate(model, [x], Path(order)).per_example, by_hand.detach())


# ---------------------------------------------------------------- exact counts


def bound_of_counts(model, x, counts):
    """Sum over steps of (k - k') times the mean over masks of k of the mean cross-entropy."""
    units, total = x.shape[1], torch.zeros(len(x), dtype=torch.float64)
    for k, after in itertools.pairwise(counts):
        masks = list(itertools.combinations(range(units), k))
        for hidden in masks:
            z = x.index_fill(1, torch.tensor(hidden), model.mask_id)
            paid = -model.predict(z).gather(2, x[..., None])[..., 0]
            total += (k - after) / k * paid.sum(1).detach() / len(masks)
    return total


@pytest.mark.parametrize("counts", [(3, 2, 1, 0), (3, 1, 0), (3, 2, 0), (3, 0)])
def test_the_bound_of_exact_counts_is_the_sum_over_steps_and_lies_above_the_law(counts):
    model = table_model(schedules.Cosine(), 4, 3)
    x = torch.cartesian_prod(*[torch.arange(4)] * 3)
    shares = tuple(count / 3 for count in counts)
    truth = bound_of_counts(model, x, counts)
    found = estimate(model, [x], Counts(shares), repeats=256)
    assert abs(found.mean - float(truth.mean())) < 6 * found.noise + 1e-12
    worst = (found.per_example - truth).abs().max()
    assert float(worst) < 6 * float(found.replicates.std(0).max()) / math.sqrt(64) + 1e-12
    law = exact_law_in_order(model, "counts", torch.tensor(shares), 3).flatten()
    assert bool((truth > -law.log() - 1e-12).all())
    if len(counts) == 2:  # one set of units alone: nothing is lost
        torch.testing.assert_close(truth, -law.log())
    if len(counts) == 4:
        torch.testing.assert_close(truth, exact_nelbo(model, x).detach())


def test_exact_counts_leave_so_many_masked_in_every_row():
    model = table_model(schedules.Linear(), 5, 7)
    z = torch.full((3, 7), model.mask_id)
    z[1, :3], z[2] = 2, 1
    ts = torch.tensor([1, 0.6, 0.3, 0.0]).double()
    states = list(in_order(model, z, ts, order="counts", generator=rng()))
    masked = [(state == model.mask_id).sum(1).tolist() for state in states]
    assert masked == [[4, 2, 0], [2, 1, 0], [0, 0, 0]]
    assert (states[-1][1, :3] == 2).all() and z[0, 0] == model.mask_id


# ---------------------------------------------------------------- what cannot be


def test_what_has_no_such_likelihood_is_refused():
    curves = table_model(learned([0.5, 1.0, 4.0]), 3, 2, drift=1.0)
    x = everything(curves)
    for estimator in (Path("confidence"), Counts((1.0, 0.0))):
        with pytest.raises(ValueError, match="one curve for all values"):
            estimate(curves, [x], estimator)
    with pytest.raises(ValueError, match="one curve for all values"):
        sample(curves, num=2, length=2, sampler="entropy")
    model = MODELS["digits"]()
    for estimator, said in (
        (Path("probability"), "order must be one of left-to-right.*not 'probability'"),
        (Path("margin", (1.0, 0.5)), "shares must fall from 1"),
        (Path("margin", temperature=0.0), "temperature must be positive"),
        (Path("margin", masking="token"), "model's own masking"),
        (Counts((1.0, 0.0)), "whole tokens"),
        (Orders(3), "multiple of 3 orders, not 8"),
    ):
        with pytest.raises(ValueError, match=said):
            estimate(model, [everything(model)], estimator)
    with pytest.raises(ValueError, match="cannot be told by position"):
        estimate(model, [everything(model)], Orders(2), by_position=True)


def test_every_order_is_a_sampler_by_name():
    assert {"counts", *ORDERS} < set(SAMPLERS)
    model = MODELS["digits, tokens masked"]()
    for name in SAMPLERS:
        x = unmask.sample(model, num=3, length=2, sampler=name, generator=rng())
        assert x.shape == (3, 2) and int(x.min()) >= 0


# ---------------------------------------------------------------- linked positions


@pytest.mark.parametrize(
    "shares,temperature", [(None, 1.0), ((1.0, 0.4, 0.0), 0.7), ((1.0, 0.0), 1.0)]
)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dials", ["plain", "digits", "whole tokens of digits", "looks at t"])
def test_orders_of_linked_positions_have_the_law_of_their_paths(dials, order, shares, temperature):
    """The second of two linked positions is drawn given what the step reveals at the first."""
    model = random_model(**DIALS[dials])
    of = None if shares is None else torch.tensor(shares).double()
    law = exact_law_in_order(model, order, of, 3, temperature=temperature)[tuple(ROWS.T)]
    assert float(law.sum()) == pytest.approx(1, abs=1e-9)
    nats, _ = path_nats(model, model.clean(ROWS), order, of, temperature=temperature, states=5)
    torch.testing.assert_close((-nats.sum(1)).exp(), law, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("order", ["counts", "right-to-left", "margin"])
def test_samplers_of_orders_keep_linked_positions_together(order):
    model = random_model(**DIALS["digits"])
    shares = torch.tensor([1.0, 0.5, 0.0]).double()
    law = exact_law_in_order(model, order, shares, 3)[tuple(ROWS.T)]
    z = torch.full((20000, 6), model.mask_id)
    *_, z = in_order(model, z, model.schedule.inverse(1 - shares), order=order, generator=rng())
    x = model.subtokenizer.decode(z)
    drawn = (x[:, None] == ROWS).all(-1).double().mean(0)
    assert float(drawn.sum()) == 1
    assert bool(((drawn - law).abs() < 6 * (law * (1 - law) / 20000).sqrt()).all())
    if order == "counts":
        tokens = random_model()
        law = exact_law_in_order(tokens, order, torch.tensor([1.0, 1 / 3, 0.0]), 3)
        bound = estimate(tokens, [ROWS], Counts((1.0, 1 / 3, 0.0)), repeats=400)
        error = bound.replicates.std(0) / math.sqrt(len(bound.replicates))
        assert bool((bound.per_example > -law[tuple(ROWS.T)].log() - 6 * error).all())
