"""Orders that follow from what is revealed: their law, their exact likelihood, and exact counts.

Exact comparisons are in 64 bits; statistical limits are 6 sigma of the sampling error.
"""

import itertools
import math
from typing import get_args

import pytest
import torch
from test_core import chi_square, learned, recorder_model, rng, table_model
from test_law import MODELS, agrees_with_draws, everything
from test_links import DIALS, ROWS, random_model

import unmask
from unmask import MaskedDiffusion, Subtokenizer, policies, schedules
from unmask.audit import exact_nelbo
from unmask.audit.sampler_law import choices, exact_law, exact_law_in_order
from unmask.backbones.unet import UNet
from unmask.categorical import DRAWS, categorical, float32_gumbel, spread
from unmask.config import DrawName
from unmask.likelihood import Bound, Counts, Enumeration, Orders, Path, estimate, path_nats
from unmask.policies import DIRECTIONS, KEYS, ORDERS
from unmask.roles import GIVEN, SCORED, UNKNOWN
from unmask.sampling import SAMPLERS, entropy_bounded, in_order, sample

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
        key = policies.rounded(policies.measured(model, order, masked, log_probs))
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


# ---------------------------------------------------------------- bounded by entropies


def test_how_many_units_the_entropies_allow():
    """The sum without the largest: 0.1, 0.1 + 0.2, 0.1 + 0.2 + 0.4."""
    key = -torch.tensor([[0.4, 0.1, 9.0, 0.2, 1.0], [0.0, 0.0, 0.0, 0.5, 0.5]]).double()
    masked = torch.tensor([[True, True, False, True, True], [True] * 5])
    allowed = {0.0: [1, 4], 0.11: [2, 4], 0.31: [3, 4], 0.51: [3, 5], 9: [4, 5]}
    for gamma, numbers in allowed.items():
        assert policies.lowest(key, masked, gamma).sum(-1).tolist() == numbers


@pytest.mark.parametrize("error", [1e-7, -1e-7, 0.0])
def test_what_is_certain_but_for_rounding_errors_costs_nothing(error):
    """Of a marginal that was summed; gamma 0 reveals it along with what comes first."""
    logp = torch.tensor([error, -math.inf]).double()
    assert float(KEYS["entropy"](logp)) == 0


def test_small_entropies_are_not_lost_in_their_sum():
    """Of each 1.2e-4 nats, below half of the step that keys are rounded to: in the sampler, the
    path and the exact law."""
    p = 9.5e-6
    each = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert each == pytest.approx(1.2e-4, rel=0.01) and each < policies.STEP / 2

    class Sure(torch.nn.Module):
        uses_time = False

        def forward(self, z):
            return torch.tensor([1 - p, p], dtype=torch.float64).log().expand(*z.shape, 2)

    def steps(length, gamma):
        z = torch.full((1, length), 2)
        return len(list(entropy_bounded(model, z, gamma=gamma, generator=rng())))

    model = MaskedDiffusion(Sure(), schedules.Linear(), Subtokenizer(2))
    for gamma in (0.0, 0.001, 0.1):
        most = 1 + int(gamma / each)  # together
        found = steps(64, gamma)
        assert 64 / most <= found <= 64
        batch = model.clean(torch.zeros(1, 64, dtype=torch.long))
        assert path_nats(model, batch, "entropy", gamma=gamma)[1].tolist() == [found]
    assert steps(64, 0.1) == 1
    law = torch.tensor([[[1 - p, p]]]).double().expand(4, 3, 2).unbind(1)
    for gamma, number in ((0.0, 1), (1.5 * policies.STEP, 2), (0.1, 3)):
        ((chosen, states, weight),) = choices("entropy", list(law), [True] * 3, 1, gamma)
        assert (sum(chosen), states.tolist(), weight) == (number, [0, 1, 2, 3], 1.0)


@pytest.mark.parametrize("gamma", [0.0, 0.4, 1.1, 100.0])
@pytest.mark.parametrize("name", ONE_CURVE)
def test_the_likelihood_of_bounded_entropies_is_the_law(name, gamma):
    model, x = MODELS[name](), possible(MODELS[name]())
    how = {"gamma": gamma, "temperature": 0.7}
    law = exact_law_in_order(model, "entropy", None, 2, **how)
    assert abs(float(law.sum()) - 1) < 1e-12
    nats, calls = path_nats(model, model.clean(x), "entropy", **how)
    torch.testing.assert_close((-nats.sum(1)).exp(), law[x[:, 0], x[:, 1]], rtol=1e-9, atol=1e-15)
    plain = {0.0: None, 100.0: torch.tensor([1.0, 0.0]).double()}
    if name == "not all codes":  # where a digit may be certain, and comes with the next one
        del plain[0.0]
    if gamma in plain:  # one at a time in order of entropy; all at once
        other, same = path_nats(model, model.clean(x), "entropy", plain[gamma], temperature=0.7)
        torch.testing.assert_close(nats, other, rtol=1e-9, atol=1e-12)
        assert calls.tolist() == same.tolist()


@pytest.mark.parametrize("name", ["tokens", "digits, time", "digits, tokens masked"])
def test_the_sampler_of_bounded_entropies_draws_from_its_law(name):
    model = MODELS[name]()
    law = exact_law_in_order(model, "entropy", None, 2, gamma=0.6)
    z = torch.full((20000, 2 * model.subtokenizer.length), model.mask_id)
    states = list(entropy_bounded(model, z, gamma=0.6, generator=rng()))
    assert 1 < len(states) <= z.shape[1]
    agrees_with_draws(law, states, model)
    at_once = list(entropy_bounded(model, z, gamma=1e3, generator=rng()))
    assert len(at_once) == 1 and not (at_once[0] == model.mask_id).any()


def test_an_estimate_by_bounded_entropies():
    model = MODELS["digits"]()
    x = everything(model)
    found = estimate(model, [x], Path("entropy", gamma=1.0))
    exact, calls = path_nats(model, model.clean(x), "entropy", gamma=1.0)
    torch.testing.assert_close(found.per_example, exact.sum(1))
    assert found.calls == int(calls.sum()) < 64 * 6
    assert "as 1 nats allow, in order of entropy" in found.sampler
    for wrong in (Path("margin", gamma=1.0), Path("entropy", (1.0, 0.0), gamma=1.0)):
        with pytest.raises(ValueError, match="gamma is of the order entropy"):
            estimate(model, [x], wrong)


# ---------------------------------------------------------------- the nucleus


def test_the_nucleus_by_hand():
    p = torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.25] * 4], dtype=torch.float64)
    for top_p, first, second in (
        (1e-9, [0, 1, 0, 0], [1, 0, 0, 0]), (0.5, [0, 1, 0, 0], [1, 1, 0, 0]),
        (0.6, [0, 2 / 3, 0, 1 / 3], [1, 1, 1, 0]), (0.8, [0, 5 / 9, 1 / 6, 5 / 18], [1] * 4),
    ):  # fmt: skip
        found = policies.nucleus(p.log(), top_p).exp()
        expected = torch.tensor([first, second], dtype=torch.float64)
        expected /= expected.sum(-1, keepdim=True)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("order", ["left-to-right", "margin", "entropy"])
@pytest.mark.parametrize("name", ["tokens", "digits", "not all codes", "digits, tokens masked"])
def test_the_likelihood_of_a_nucleus_is_its_law(name, order):
    model, x = MODELS[name](), possible(MODELS[name]())
    how = {"top_p": 0.8, "temperature": 1.3}
    law = exact_law_in_order(model, order, None, 2, **how)
    assert abs(float(law.sum()) - 1) < 1e-12 and bool((law == 0).any())
    nats, _ = path_nats(model, model.clean(x), order, **how)
    torch.testing.assert_close((-nats.sum(1)).exp(), law[x[:, 0], x[:, 1]], rtol=1e-9, atol=1e-15)
    if name == "tokens":
        z = torch.full((20000, 2), model.mask_id)
        agrees_with_draws(law, in_order(model, z, order=order, generator=rng(), **how), model)


def test_one_token_of_a_nucleus_is_its_renormalised_law():
    """For every sampler: one position, which each draws once, or again from the same law."""
    model = table_model(schedules.Linear(), 6, 1)
    z = torch.full((1, 1), model.mask_id)
    law = policies.nucleus(model.predict(z)[0].detach(), 0.7)[0].exp()
    assert 1 < int((law > 0).sum()) < 6
    for name in SAMPLERS:
        steps = None if name == "entropy-bounded" else 3
        how = {"sampler": name, "steps": steps, "top_p": 0.7}
        x = sample(model, num=4000, length=1, generator=rng(), **how)
        drawn = torch.bincount(x[:, 0], minlength=6) / 4000
        assert bool(((drawn - law).abs() < 6 * (law * (1 - law) / 4000).sqrt() + 1e-12).all())


def test_a_nucleus_of_linked_positions_is_of_what_the_first_one_leaves():
    for dials in ("plain", "digits"):
        model = random_model(**DIALS[dials])
        shares = torch.tensor([1.0, 0.0]).double()
        law = exact_law_in_order(model, "margin", shares, 3, top_p=0.7)[tuple(ROWS.T)]
        assert float(law.sum()) == pytest.approx(1, abs=1e-9)
        nats, _ = path_nats(model, model.clean(ROWS), "margin", shares, top_p=0.7)
        torch.testing.assert_close((-nats.sum(1)).exp(), law, rtol=1e-8, atol=1e-14)


# ---------------------------------------------------------------- the draw of 32 bits


def test_the_32_bit_draw_cannot_reach_the_tail_and_the_exact_one_can():
    """No float32 uniform below 1 gives a Gumbel above 24 log 2, which is 16.64."""
    p = torch.tensor([1 - 1e-9, 1e-9], dtype=torch.float64)
    logits = p.log()[None]
    best = torch.tensor([[0.4, 1 - 2**-24]])  # 16.64 - 20.72 is below any usual Gumbel
    assert float32_gumbel(logits, uniforms=best).tolist() == [0]
    assert categorical(logits, u=torch.tensor([1 - 2**-53]).double()).tolist() == [1]
    rare = torch.tensor([[1e-3, 1 - 2**-24]])
    assert float32_gumbel(torch.tensor([[0.0, -12.0]]), uniforms=rare).tolist() == [1]
    # how often it is drawn among a million values of 1e-7 in all: too seldom
    impossible = torch.tensor([[-torch.inf, 0.0]])
    assert float32_gumbel(impossible, uniforms=torch.zeros(1, 2)).tolist() == [1]
    with pytest.raises(ValueError, match="cannot draw"):
        float32_gumbel(torch.tensor([[torch.nan, 0.0]]))


def test_the_32_bit_draw_is_a_fair_one_where_nothing_is_rare():
    p = torch.tensor([0.5, 0.3, 0.15, 0.05]).double()
    drawn = float32_gumbel(p.log().expand(40000, -1), generator=rng())
    chi_square(torch.bincount(drawn, minlength=4).double(), p)
    drawn = spread(torch.rand(1000, dtype=torch.float64, generator=rng()), 64)
    assert drawn.dtype == torch.float32 and float(drawn.min()) >= 0 and float(drawn.max()) < 1
    chi_square(torch.histc(drawn, 16, 0, 1).double(), torch.full((16,), 1 / 16).double())
    assert abs(float(torch.corrcoef(drawn.T).fill_diagonal_(0).abs().max())) < 6 / 1000**0.5


def test_the_32_bit_draw_has_its_name_everywhere():
    assert set(DRAWS) == set(get_args(DrawName))
    model = MODELS["digits"]()
    one, other = (sample(model, num=300, length=2, generator=rng(), draw=draw) for draw in DRAWS)
    assert one.shape == other.shape and not torch.equal(one, other)


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
            # the time at which as large a share is masked, as in sampling
            t = model.schedule.inverse(torch.tensor(1 - k / units).double())
            paid = -model.predict(z, t).gather(2, x[..., None])[..., 0]
            total += (k - after) / k * paid.sum(1).detach() / len(masks)
    return total


class Timed(torch.nn.Module):
    """What is shown, and the time, decide."""

    uses_time = True

    def forward(self, z, t):
        shown = torch.nn.functional.one_hot(z, 5)[..., :4].double().sum(1, keepdim=True)
        waves = torch.cos(5 * torch.arange(4) * t.double().reshape(-1, 1, 1))
        return (2 * shown + 3 * waves).expand(len(z), z.shape[1], -1)


@pytest.mark.parametrize("counts", [(3, 2, 1, 0), (3, 1, 0), (3, 2, 0), (3, 0)])
@pytest.mark.parametrize("timed", [False, True])
def test_the_bound_of_exact_counts_is_the_sum_over_steps_and_lies_above_the_law(counts, timed):
    """Also of a network that looks at the time, which the sampler tells by how much is masked."""
    model = table_model(schedules.Cosine(), 4, 3)
    if timed:
        model = unmask.MaskedDiffusion(Timed(), schedules.Cosine(), unmask.Subtokenizer(4))
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
    if len(counts) == 4 and not timed:
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


@pytest.mark.parametrize("order", ["counts", *ORDERS])
def test_a_step_that_reveals_nothing_asks_the_network_nothing(order):
    """As the first ones do on the cosine grid of many steps."""
    model = recorder_model(5)
    sample(model, num=10, length=6, sampler=order, steps=64, generator=rng())
    assert model.backbone.sequences and set(model.backbone.sequences) == {10}
    pictures = MaskedDiffusion(
        UNet(5, (4, 4, 1), widths=(8,), blocks=1, heads=1), schedules.Linear(), Subtokenizer(5)
    ).eval()
    x = sample(pictures, num=2, length=16, sampler=order, steps=64, generator=rng())
    assert x.shape == (2, 16) and int(x.max()) < 5


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
