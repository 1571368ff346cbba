"""Samplers that hide again what they revealed: their law by enumeration, against draws, against the
law of the data, and against what they claim.

Statistical limits are 6 sigma of the sampling error, seeds are fixed.  Exact comparisons are in 64
bits.
"""

import itertools

import pytest
import torch
from test_core import learned, recorder_model, rng, table_model
from test_law import MODELS, agrees_with_draws
from test_links import DIALS, ROWS, random_model

import unmask
from unmask import schedules
from unmask.audit import Posterior, Table, tables
from unmask.audit.remasked_law import (
    after_correction,
    after_step,
    exact_law_forward_backward,
    exact_law_remdm,
    hidden_again,
    units_of,
)
from unmask.audit.sampler_law import exact_law, of_tokens, start
from unmask.sampling import (
    OF_ANY_SCHEDULE,
    SAMPLERS,
    ancestral,
    forward_backward,
    remdm,
    sample,
    time_grid,
)
from unmask.sampling.remasking import mask_probability, remask_probability, reveal_probability

SCALAR = [name for name, build in MODELS.items() if not build().uses_time]
CURVES = {
    "linear": schedules.Linear(),
    "cosine": schedules.Cosine(),
    "squares": schedules.Polynomial(2),
    "one power a value": learned([0.5, 1.0, 4.0]),
}
FORMS = {"cap": False, "rescale": True}
TOTAL = 8000  # draws


def blank_rows(model, rows=TOTAL, length=2):
    return torch.full((rows, length * model.subtokenizer.length), model.mask_id)


def known(x, schedule, digits=1, vocab_size=3):
    """The exact denoiser of data that are this one sequence."""
    sub = unmask.Subtokenizer(vocab_size, digits)
    table = Table("one sequence", torch.tensor([x]), torch.ones(1, dtype=torch.float64), sub)
    return unmask.MaskedDiffusion(Posterior(table, schedule), schedule, sub)


def exact_denoiser(table, schedule):
    return unmask.MaskedDiffusion(Posterior(table, schedule), schedule, table.subtokenizer)


def data_law(model, table):
    """(states,) of z at t = 0."""
    units = model.units()
    y = units.digits(table.subtokenizer.code(table.x))
    p = start(model, y.shape[1], 0)[0] * 0
    places = (units.base + 1) ** torch.arange(y.shape[1] - 1, -1, -1)
    return p.index_add_(0, (y * places).sum(1), table.p)


def at_time(model, p, t):
    """The law of z_t, of the forward process begun at p."""
    share, every = model.schedule.masked(t), [True] * units_of(model, p)
    return hidden_again(p, model.units().base, share, every)


# ---------------------------------------------------------------- ReMDM


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("eta", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("curve", CURVES)
def test_every_unit_is_masked_as_in_the_forward_process(curve, eta, form):
    """q(z_s | x) of ReMDM is that of MD4 at any sigma: by one step from the forward law at t."""
    model = known([0, 2, 1], CURVES[curve])
    x = data_law(model, model.backbone.table)
    for t, s in itertools.pairwise(time_grid(4, "uniform")):
        sigma = remask_probability(model.schedule, t, s, eta, rescale=FORMS[form])
        assert bool(((sigma >= 0) & (sigma <= 1)).all())
        reveal = reveal_probability(model.schedule, t, s, sigma)
        assert bool(((reveal >= 0) & (reveal <= 1)).all())
        found = after_step(model, at_time(model, x, t), t, s, sigma)
        torch.testing.assert_close(found, at_time(model, x, s), rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    "t,s,most",
    [(0.8, 0.6, 1.0), (0.6, 0.4, 1.0), (0.4, 0.2, 1 / 3), (0.2, 0.0, 0.0), (1.0, 0.5, 1.0)],
)
def test_sigma_by_hand(t, s, most):
    """Linear: at most min(1, s / (1 - t)), or more would be masked at s than the process masks."""
    line, times = schedules.Linear(), torch.tensor([t, s], dtype=torch.float64)
    for eta in (0.0, 0.25, 1.0):
        cap, share = (remask_probability(line, *times, eta, rescale=so) for so in (False, True))
        assert float(cap) == pytest.approx(min(eta, most), abs=1e-12)
        assert float(share) == pytest.approx(eta * most, abs=1e-12)
    reveal = reveal_probability(line, *times, share)  # of the largest: s = 1 - alpha_s is masked
    assert float(reveal) == pytest.approx((1 - s - (1 - most) * (1 - t)) / t)


def test_one_single_step_hides_nothing():
    one, none = torch.ones(()).double(), torch.zeros(()).double()
    for curve in CURVES.values():
        sigma = remask_probability(curve, one, none, 1.0, rescale=True)
        assert not sigma.any() and bool((reveal_probability(curve, one, none, sigma) == 1).all())


@pytest.mark.parametrize("name", MODELS)
def test_sigma_zero_is_ancestral_in_law_and_draw_for_draw(name):
    model, ts = MODELS[name](), time_grid(3, "cosine")
    for rescale in (False, True):
        law = exact_law_remdm(model, ts, 2, eta=0.0, rescale=rescale)
        torch.testing.assert_close(law, exact_law(model, ts, 2), rtol=0, atol=1e-14)
    z = blank_rows(model, 50)
    for one, other in zip(
        remdm(model, z, ts, eta=0.0, generator=rng()), ancestral(model, z, ts, generator=rng())
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("name", MODELS)
def test_remdm_has_the_law_of_its_chain(name):
    model, ts = MODELS[name](), time_grid(3, "uniform")
    how = {"eta": 0.6, "rescale": len(name) % 2 == 0}
    law = exact_law_remdm(model, ts, 2, **how)
    assert abs(float(law.sum()) - 1) < 1e-12
    assert float((law - exact_law(model, ts, 2)).abs().sum()) > 1e-3  # another law
    agrees_with_draws(law, remdm(model, blank_rows(model), ts, generator=rng(), **how), model)


def test_remdm_keeps_linked_positions_together():
    model, ts = random_model(**DIALS["digits"]), time_grid(3, "uniform")
    law = exact_law_remdm(model, ts, 3, eta=0.5)[tuple(ROWS.T)]
    assert float(law.sum()) == pytest.approx(1, abs=1e-9)
    *_, z = remdm(model, blank_rows(model, 4000, 3), ts, eta=0.5, generator=rng())
    drawn = (model.subtokenizer.decode(z)[:, None] == ROWS).all(-1).double().mean(0)
    assert float(drawn.sum()) == pytest.approx(1, abs=1e-12)
    assert bool(((drawn - law).abs() < 6 * (law * (1 - law) / 4000).sqrt()).all())


def gap(model, table, steps, eta):
    ts, length = time_grid(steps, "uniform"), table.x.shape[1]
    law = exact_law_remdm(model, ts, length, eta=eta)
    truth = torch.zeros_like(law)
    truth[tuple(table.x.T)] = table.p
    return float((law - truth).abs().sum())


def test_with_the_exact_denoiser_remdm_follows_the_data_as_its_steps_get_finer():
    """As one over their number, where sigma falls with their length; else as one over its root."""
    table = tables(True)[4]
    model = exact_denoiser(table, schedules.Linear())
    falling, fixed, none = (
        [gap(model, table, steps, eta) for steps, eta in zip((32, 128), etas, strict=True)]
        for etas in ((2 / 32, 2 / 128), (0.5, 0.5), (0.0, 0.0))
    )
    assert falling[0] / falling[1] == pytest.approx(4, rel=0.15)
    assert fixed[0] / fixed[1] == pytest.approx(2, rel=0.2)
    # where the network is right, there is nothing to mend
    assert none[0] < falling[0] < fixed[0] and none[1] < falling[1] < fixed[1]


def test_with_one_curve_per_value_the_limit_is_the_data_too():
    """Sigma is the value's own, or being masked would not say what the network learned."""
    curve = learned([0.5, 1.0, 3.0])
    x = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    p = torch.arange(1, 10).double()
    table = Table("random pairs", x, p / p.sum(), unmask.Subtokenizer(3))
    model = exact_denoiser(table, curve)
    gaps = [gap(model, table, steps, 1 / steps) for steps in (32, 128)]
    plain = [gap(model, table, steps, 0.0) for steps in (32, 128)]
    assert gaps[1] < gaps[0] / 2.5 and plain[1] < plain[0] / 2.5  # towards 0


# ---------------------------------------------------------------- forward-backward


@pytest.mark.parametrize("digits", [False, True])
def test_a_correction_leaves_the_law_of_z_as_it_is(digits):
    """For the exact denoiser, at every time, the last among them."""
    for table in tables(digits)[2:]:
        model = exact_denoiser(table, schedules.Cosine())
        x = data_law(model, table)
        for t, s in itertools.pairwise(time_grid(3, "uniform")):
            p = at_time(model, x, s)
            torch.testing.assert_close(after_correction(model, p, t, s), p, rtol=0, atol=1e-13)
            share = mask_probability(model.schedule, t, s)
            masked = hidden_again(p, model.units().base, share, [True] * units_of(model, p))
            torch.testing.assert_close(masked, at_time(model, x, t), rtol=0, atol=1e-13)


def test_corrections_of_three_positions_leave_the_law_as_it_is_too():
    x = torch.cartesian_prod(*[torch.arange(2)] * 3)
    p = torch.tensor([5.0, 1, 1, 3, 2, 4, 1, 7]).double()
    table = Table("three bits", x, p / p.sum(), unmask.Subtokenizer(2))
    model = exact_denoiser(table, schedules.Linear())
    ts = time_grid(2, "uniform")
    law = at_time(model, data_law(model, table), ts[1])
    found = after_correction(model, law, ts[0], ts[1])
    torch.testing.assert_close(found, law, rtol=0, atol=1e-13)


def test_a_correction_brings_the_law_closer_to_the_data():
    table = tables(False)[4]
    model, ts = exact_denoiser(table, schedules.Linear()), time_grid(4, "uniform")
    laws = [exact_law(model, ts, 2)]
    laws += [exact_law_forward_backward(model, ts, 2, corrections=n) for n in (1, 2)]
    far = [float((table.p * (table.p / law[tuple(table.x.T)]).log()).sum()) for law in laws]
    assert far[0] > 0.01 and far[1] < far[0] / 2 and far[2] < far[1]


@pytest.mark.parametrize("name", ["tokens", "digits", "digits, tokens masked"])
def test_forward_backward_has_the_law_of_its_chain(name):
    model, ts = MODELS[name](), time_grid(2, "uniform")
    law = exact_law_forward_backward(model, ts, 2, corrections=2)
    assert abs(float(law.sum()) - 1) < 1e-12
    states = forward_backward(model, blank_rows(model), ts, corrections=2, generator=rng())
    agrees_with_draws(law, states, model)


@pytest.mark.parametrize("name", SCALAR)
def test_a_correction_of_one_single_step_is_first_hitting(name):
    """From t = 1, where everything is masked again."""
    model = MODELS[name]()
    law = exact_law_forward_backward(model, time_grid(1), 2)
    torch.testing.assert_close(law, exact_law(model, None, 2), rtol=0, atol=1e-13)


# ---------------------------------------------------------------- what stays, and what it costs


NEW = {
    "remdm-cap": {"eta": 0.7},
    "remdm-rescale": {"eta": 0.7},
    "forward-backward": {"corrections": 2},
    "entropy-bounded": {"gamma": 0.5},
}


@pytest.mark.parametrize("digits,masking", [(1, "digit"), (2, "digit"), (2, "token")])
@pytest.mark.parametrize("sampler", NEW)
def test_what_is_given_never_changes_and_only_holes_are_filled(sampler, digits, masking):
    model = table_model(schedules.Linear(), 4, 4, digits, masking=masking)
    z = model.subtokenizer.encode(torch.tensor([[3, 0, 1, 2]])).expand(200, -1).clone()
    empty = torch.zeros_like(z, dtype=torch.bool)
    empty[:, digits : 3 * digits] = True
    if digits > 1 and masking == "digit":
        empty[:, digits] = False  # a digit of a hole is known
    z[empty] = model.mask_id
    holes = torch.tensor([False, True, False, False]).expand(200, -1)
    steps = None if sampler == "entropy-bounded" else 6
    for of in (None, holes):
        how = NEW[sampler] | {"steps": steps, "holes": of, "generator": rng()}
        states = list(unmask.sampling.trajectory(model, z, sampler=sampler, **how))
        fill = empty if of is None else empty & of.repeat_interleave(digits, 1)
        for state in states:
            assert torch.equal(state[~fill], z[~fill])
        assert bool((states[-1][fill] != model.mask_id).all())
        if sampler != "entropy-bounded":  # it did hide something again
            pairs = itertools.pairwise(states)
            hidden = [(b == model.mask_id) & (a != model.mask_id) for a, b in pairs]
            assert sum(int(one.sum()) for one in hidden) > 0


@pytest.mark.parametrize("sampler", NEW)
def test_the_network_sees_only_what_something_is_revealed_in(sampler):
    """Steps without a draw cost nothing; a sequence that is whole costs no more."""
    model = recorder_model(5)
    how = NEW[sampler] | {"steps": None if sampler == "entropy-bounded" else 64}
    sample(model, num=10, length=6, sampler=sampler, generator=rng(), **how)
    seen = sum(model.backbone.sequences)
    if sampler == "entropy-bounded":
        assert 10 <= seen <= 60
    else:
        assert seen > 60 and seen < 10 * 64 * (2.5 if sampler == "forward-backward" else 1)


def test_what_cannot_be_is_refused():
    curves = table_model(CURVES["one power a value"], 3, 2, drift=1.0)
    for sampler in set(SAMPLERS) - set(OF_ANY_SCHEDULE):
        with pytest.raises(ValueError, match="one curve for all values"):
            sample(curves, num=1, length=2, sampler=sampler)
    for sampler in OF_ANY_SCHEDULE:
        assert sample(curves, num=1, length=2, sampler=sampler).shape == (1, 2)
    model = table_model(schedules.Linear(), 3, 2)
    for how, said in (
        ({"sampler": "remdm-cap", "eta": 1.5}, "eta must lie between 0 and 1, not 1.5"),
        ({"sampler": "forward-backward", "corrections": 0}, "corrections must be at least 1"),
        ({"sampler": "entropy-bounded", "gamma": -1.0}, "gamma must be a number of nats"),
        ({"sampler": "entropy-bounded", "steps": 4}, "follow from gamma: leave ts out"),
        ({"gamma": 0.1}, "gamma is of entropy-bounded, not of ancestral"),
        ({"sampler": "remdm-cap", "corrections": 2}, "corrections is of forward-backward"),
        ({"sampler": "counts", "eta": 0.1}, "eta is of remdm-cap and remdm-rescale, not of counts"),
        ({"top_p": 0.0}, "top_p must lie above 0"),
        ({"draw": "float16"}, "draw must be one of exact, float32-gumbel, not 'float16'"),
    ):
        with pytest.raises(ValueError, match=said):
            sample(model, num=1, length=2, **how)
    timed = table_model(schedules.Linear(), 3, 2, drift=1.0)
    with pytest.raises(ValueError, match="ignores t"):
        exact_law_forward_backward(timed, time_grid(2), 2)
    # few enough states for other samplers, and not times 2^11
    two = table_model(schedules.Linear(), 2, 2)
    assert start(two, 11, 0).shape == (1, 3**11)
    with pytest.raises(ValueError, match="177,147 partial states, and 2,048 sets .* limited to"):
        exact_law_forward_backward(two, time_grid(1), 11)
    assert of_tokens(model, start(model, 2, 0)[0], 2).sum() == 0
