"""The exact law of the samplers, against the samplers, the bounds and hand calculation; the
expected share of idle steps.

Statistical limits are 6 sigma of the sampling error, seeds are fixed.  Exact comparisons are in 64
bits.
"""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from test_core import chi_square, learned, rng, table_model

import unmask
from unmask import cli, filling, schedules
from unmask.audit import Posterior, exact_nelbo, tables
from unmask.audit import sampler_law as law_module
from unmask.audit.sampler_law import exact_law
from unmask.bench import sampling
from unmask.config import TrainConfig
from unmask.kinds.kind import Partial, blank
from unmask.likelihood import Enumeration, conditional_nats, estimate_orders, order_nats
from unmask.roles import GIVEN, HOLE, UNKNOWN
from unmask.sampling import SAMPLERS, ancestral, first_hitting, idle_share, sample, time_grid
from unmask.train import train

CODES = torch.tensor([3, 0, 7, 4, 1, 6, 2, 5])


def allowed(vocab_size):
    """Values that two positions can have: not all, and not the same."""
    return torch.stack([torch.arange(vocab_size) != 1, torch.arange(vocab_size) != vocab_size - 1])


MODELS = {
    "tokens": lambda: table_model(schedules.Linear(), 5, 2),
    "digits": lambda: table_model(schedules.Cosine(), 8, 2, 3),
    "digits, time": lambda: table_model(schedules.Polynomial(2), 8, 2, 3, drift=1.0),
    "not all codes": lambda: table_model(schedules.Linear(), 5, 2, 2, allowed=allowed(5)),
    "independent digits": lambda: table_model(schedules.Linear(), 8, 2, 3, independent=True),
    "digits, tokens masked": lambda: table_model(schedules.Cosine(), 5, 2, 2, masking="token"),
    "one power a value": lambda: table_model(learned([0.5, 1.0, 4.0]), 3, 2, drift=1.0),
    "one power a digit": lambda: table_model(learned([0.5, 4.0]), 8, 2, 3, drift=1.0),
    "one power a value, tokens masked": lambda: table_model(
        learned([0.5, 1, 2, 3, 4]), 5, 2, 2, drift=1.0, masking="token"
    ),
}
SCALAR = [name for name, build in MODELS.items() if not build().uses_time]


def everything(model):
    """All pairs of tokens."""
    values = torch.arange(model.subtokenizer.vocab_size)
    return torch.cartesian_prod(values, values)


def agrees_with_draws(law, states, model):
    """Chi-square of the tokens of the last of `states` against a law; cells expected below 5 times
    as one."""
    *_, z = states
    x = model.subtokenizer.decode(z)
    counts = torch.bincount(x[:, 0] * law.shape[0] + x[:, 1], minlength=law.numel()).double()
    p = law.flatten()
    small = p * len(x) < 5
    assert int(counts[p == 0].sum()) == 0
    pooled, rest = (torch.cat([v[~small], v[small].sum()[None]]) for v in (counts, p))
    if float(rest[-1]) * len(x) < 5:  # what is left over joins the next smallest
        at = int(rest[:-1].argmin())
        pooled[at], rest[at] = pooled[at] + pooled[-1], rest[at] + rest[-1]
        pooled, rest = pooled[:-1], rest[:-1]
    chi_square(pooled, rest)


@pytest.mark.parametrize("name", MODELS)
def test_the_ancestral_sampler_has_the_exact_law(name):
    model, n = MODELS[name](), 20000
    z = torch.full((n, 2 * model.subtokenizer.length), model.mask_id)
    for ts in (time_grid(1), time_grid(3, "cosine")):
        agrees_with_draws(exact_law(model, ts, 2), ancestral(model, z, ts, generator=rng()), model)


@pytest.mark.parametrize("name", SCALAR)
def test_first_hitting_has_the_exact_law_of_continuous_time(name):
    model, n = MODELS[name](), 20000
    z = torch.full((n, 2 * model.subtokenizer.length), model.mask_id)
    agrees_with_draws(exact_law(model, None, 2), first_hitting(model, z, generator=rng()), model)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_law_sums_to_one_and_the_bound_of_as_many_steps_lies_above_minus_its_logarithm(
    name, steps
):
    model = MODELS[name]()
    law = exact_law(model, time_grid(steps, "uniform"), 2)
    assert abs(float(law.sum()) - 1) < 1e-12
    x = everything(model)
    x = x[law.flatten() > 0]
    gap = exact_nelbo(model, x, steps=steps).detach() + law[law > 0].log()
    assert float(gap.min()) > -1e-12
    # one step draws both tokens from what nothing reveals: the bound is the likelihood
    assert float(gap.max()) < 1e-12 if steps == 1 else float(gap.max()) > 1e-3


@pytest.mark.parametrize("name", SCALAR)
def test_the_bound_of_continuous_time_lies_above_the_law_that_fine_grids_approach(name):
    model = MODELS[name]()
    law = exact_law(model, None, 2)
    assert abs(float(law.sum()) - 1) < 1e-12
    x = everything(model)[law.flatten() > 0]
    assert float((exact_nelbo(model, x).detach() + law[law > 0].log()).min()) > -1e-12
    near, nearer = (
        float((exact_law(model, time_grid(n, "uniform"), 2) - law).abs().sum()) for n in (64, 128)
    )
    assert nearer == pytest.approx(near / 2, rel=0.1)  # two units in one step: as 1 / steps


@pytest.mark.parametrize("digits", [False, True])
def test_the_exact_denoiser_in_continuous_time_has_the_law_of_its_data(digits):
    for table in tables(digits):
        model = unmask.MaskedDiffusion(Posterior(table), schedules.Cosine(), table.subtokenizer)
        law = exact_law(model, None, table.x.shape[1])
        truth = torch.zeros_like(law)
        truth[tuple(table.x.T)] = table.p
        assert torch.allclose(law, truth, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["uniform", "cosine"])
def test_two_tokens_of_the_exact_denoiser_are_independent_only_where_one_step_reveals_both(kind):
    table = tables(False)[-1]
    model = unmask.MaskedDiffusion(Posterior(table), schedules.Linear(), table.subtokenizer)
    ts = time_grid(4, kind)
    both = float((ts[:-1] - ts[1:]).square().sum())  # alpha = 1 - t
    truth = table.p.view(5, 5)
    expected = both * truth.sum(1)[:, None] * truth.sum(0) + (1 - both) * truth
    assert torch.allclose(exact_law(model, ts, 2), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("steps", [3, None])
def test_permuted_codes_permute_the_law(steps):
    ts = None if steps is None else time_grid(steps)
    plain = table_model(schedules.Linear(), 8, 2, 3)
    model = unmask.MaskedDiffusion(
        plain.backbone, schedules.Linear(), unmask.Subtokenizer(8, 3, codes=CODES)
    )
    law, by_code = exact_law(model, ts, 2), exact_law(plain, ts, 2)
    for x in [(0, 0), (2, 5), (7, 1)]:
        assert float(law[x]) == float(by_code[tuple(CODES[list(x)])])


def test_the_law_visits_each_state_once_in_the_mode_of_evaluation():
    model = MODELS["digits"]().train()
    exact_law(model, time_grid(4), 2)
    assert not any(model.backbone.modes) and model.training and model.backbone.training
    assert len(model.backbone.modes) == 2**6 - 1  # one call for each mask, whatever the steps


def test_too_many_states_endless_times_and_continuous_time_for_a_network_that_sees_t_are_refused(
    monkeypatch,
):
    monkeypatch.setattr(law_module, "MAX_ENTRIES", 27)
    model = table_model(schedules.Linear(), 2, 2)
    assert abs(float(exact_law(model, time_grid(2), 2).sum()) - 1) < 1e-12
    with pytest.raises(
        ValueError, match=r"2 units of 2 values have 9 partial states; at 4 times .* limited to"
    ):
        exact_law(model, time_grid(3), 2)
    with pytest.raises(ValueError, match="to 0, all revealed, not from 1 to 0.5"):
        exact_law(model, torch.tensor([1.0, 0.5]), 2)
    with pytest.raises(ValueError, match="ignores t"):
        exact_law(MODELS["digits, time"](), None, 2)
    with pytest.raises(ValueError, match="one curve"):
        exact_law(MODELS["one power a digit"](), None, 2)


# ---------------------------------------------------------------- idle steps


def test_the_idle_share_is_that_of_figure_1_of_mdm_prime():
    ts = time_grid(1024, "uniform")
    found = [
        f"{100 * idle_share(schedules.Linear(), ts, 1024 * digits):.2f}" for digits in (1, 2, 4, 6)
    ]
    assert found == ["36.77", "13.52", "1.83", "0.25"]


@pytest.mark.parametrize(
    "schedule", [schedules.Linear(), schedules.Cosine(), schedules.Polynomial(0.5)], ids=str
)
@pytest.mark.parametrize("kind", ["uniform", "cosine"])
def test_the_idle_share_is_the_average_over_all_ways_of_revealing(schedule, kind):
    ts, units = time_grid(4, kind), 5
    alpha = schedule.alpha(ts)[:, 0]
    p = alpha[1:] - alpha[:-1]  # of each unit, to be revealed in each step
    ways = torch.tensor(list(itertools.product(range(4), repeat=units)))
    idle = torch.tensor([4 - len(set(way)) for way in ways.tolist()]).double()
    assert idle_share(schedule, ts, units) == pytest.approx(
        float((p[ways].prod(1) * idle).sum()) / 4, rel=1e-12
    )


def test_the_idle_share_by_hand():
    assert (
        idle_share(schedules.Linear(), torch.tensor([1.0, 0.25, 0.0]), 2) == (1 / 16 + 9 / 16) / 2
    )
    assert (
        idle_share(schedules.Polynomial(2), torch.tensor([1.0, 0.5, 0.0]), 1) == (1 / 4 + 3 / 4) / 2
    )
    ts = time_grid(3, "cosine")  # 1, cos 30, cos 60, 0
    c = math.sqrt(3) / 2
    assert idle_share(schedules.Linear(), ts, 1) == pytest.approx(
        (c + (1 - c + 0.5) + 0.5) / 3, rel=1e-15
    )
    with pytest.raises(ValueError, match="one curve per value"):
        idle_share(learned([1.0, 2.0]), ts, 3)


def test_the_benchmark_of_idle_steps_agrees_with_the_formula_and_counts_calls():
    rows = sampling.idle_steps(tokens=16, steps=16, sequences=256)
    assert len(rows) == 12
    for (name, share, unit), (_, expected, said), (_, calls, _) in zip(
        rows[::3], rows[1::3], rows[2::3]
    ):
        error = float(unit.split()[2].rstrip(","))
        assert abs(share - expected) < 6 * (error + 5e-4), name
        assert abs(float(said.split()[-1])) < 6
        # a step that reveals needs one, an idle one none
        assert calls == pytest.approx(16 * (1 - share / 100), abs=1e-9)


def test_the_bench_verb_has_idle_steps(monkeypatch, capsys):
    monkeypatch.setattr(sampling, "idle_steps", lambda: [("a share", 12.5, "%")])
    assert cli.main(["bench", "idle-steps"]) == 0
    assert "idle-steps: a share" in capsys.readouterr().out


# ---------------------------------------------------------------- the bound of random orders


def all_orders(units):
    """(units!, units): the rank of every unit in each order."""
    return torch.tensor(list(itertools.permutations(range(units))))


@pytest.mark.parametrize("name", SCALAR)
def test_the_likelihood_given_an_order_averages_to_the_law_and_its_logarithm_to_the_bound(name):
    """Over all orders: mean of p(x | order) = p(x) of the sampler that reveals one unit at a time;
    mean of -log = the bound."""
    model = MODELS[name]()
    x = everything(model)
    if model.allowed is not None:
        x = x[model.allowed[torch.arange(2), x].all(-1)]
    orders = all_orders(2 * model.units().length)
    nats = torch.stack(
        [order_nats(model, model.clean(x), rank.expand(len(x), -1), states=400) for rank in orders]
    )
    law = exact_law(model, None, 2)[x[:, 0], x[:, 1]]
    torch.testing.assert_close((-nats).exp().mean(0), law, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(nats.mean(0), exact_nelbo(model, x), rtol=1e-9, atol=1e-9)


def test_the_bound_of_orders_passes_over_what_is_not_there_and_lies_between_law_and_bound():
    model = MODELS["digits"]()
    x, valid = torch.tensor([[1, 5], [7, 2]]), torch.tensor([[True, True], [True, False]])
    alone = torch.stack(
        [
            order_nats(model, model.clean(x[1:], valid[1:]), rank[None], states=7)
            for rank in all_orders(6)
        ]
    ).mean()
    assert float(alone) == pytest.approx(
        float(exact_nelbo(model, x[1:], valid=valid[1:]).detach()), rel=1e-9
    )
    ensemble, single = estimate_orders(model, [everything(model)], orders=32, seed=3)
    exact, law = exact_nelbo(model, everything(model)).detach(), exact_law(model, None, 2).flatten()
    assert abs(single.mean - float(exact.mean())) < 6 * single.noise
    assert bool((ensemble.per_example < single.per_example).all())
    assert (
        float((-law.log()).mean()) < ensemble.mean + 6 * single.noise
        and ensemble.mean < single.mean
    )
    one, same = estimate_orders(model, [everything(model)], orders=1, seed=3)
    assert torch.allclose(one.per_example, same.per_example) and math.isnan(one.noise)
    kraft = (-single.replicates).exp().sum(1)  # of every order by itself: 1 in the mean over orders
    assert abs(float(kraft.mean()) - 1) < 6 * float(kraft.std()) / math.sqrt(32)
    for bad in (MODELS["digits, time"](), MODELS["one power a value"]()):
        with pytest.raises(ValueError, match="does not look at t, and a schedule with one curve"):
            estimate_orders(bad, [x])


def test_eval_reports_the_bound_of_orders_beside_the_plain_one(data, tmp_path, capsys):
    config = TrainConfig(
        length=6,
        dim=16,
        layers=1,
        heads=2,
        batch_size=8,
        steps=20,
        eval_windows=8,
        dtype="float32",
        device="cpu",
    )
    folder = train(config, data, tmp_path / "run")
    flags = ["--data", str(data), "--estimator", "orders", "--repeats", "3", "--limit", "5"]
    command = ["eval", str(folder), *flags]
    assert cli.main([*command, "--json", str(tmp_path / "e.json")]) == 0
    record, said = (
        json.loads((tmp_path / "e.json").read_text(encoding="utf-8")),
        capsys.readouterr().out,
    )
    assert (
        record["n"] == 5
        and record["noise"] is None
        and 6 * record["value"] * math.log(2) < record["single_order_nats"] * 1.0001
    )
    assert "mean of the likelihood over 3 random orders" in said and "a gain of" in said
    assert cli.main([*command, "--steps", "4"]) == 2


# ---------------------------------------------------------------- filled holes


def shown(model, z):
    """mu (S*L, V) of one state z (S*L,), at the time that the samplers show where something is
    given."""
    share = (z == model.mask_id).double().mean()
    return model.predict(z[None], model.schedule.inverse(1 - share))[0].exp().detach()


def bound_by_hand(model, x, holes):
    """Sum over all masks of the holes, each weighing (k-1)! (n-k)! / n!, of the cross-entropies."""
    open_, total = holes.nonzero()[:, 0].tolist(), 0.0
    for k in range(1, len(open_) + 1):
        for hidden in itertools.combinations(open_, k):
            z = x.index_fill(0, torch.tensor(hidden), model.mask_id)
            weight = (
                math.factorial(k - 1) * math.factorial(len(open_) - k) / math.factorial(len(open_))
            )
            total -= weight * sum(float(shown(model, z)[i, x[i]].log()) for i in hidden)
    return total


def law_by_hand(model, x, z):
    """p(x | z) of the sampler that reveals one masked unit at a time, each as likely to be the
    next."""
    open_ = (z == model.mask_id).nonzero()[:, 0].tolist()
    if not open_:
        return 1.0
    mu = shown(model, z)
    return sum(
        float(mu[i, x[i]]) * law_by_hand(model, x, z.index_fill(0, torch.tensor([i]), x[i]))
        for i in open_
    ) / len(open_)


@pytest.mark.parametrize("drift", [0.0, 1.0])
@pytest.mark.parametrize("hidden", [[2], [0, 3], [0, 1, 3]])
def test_what_fills_holes_is_scored_by_the_bound_of_the_sampler_that_fills_them(drift, hidden):
    model = table_model(schedules.Cosine(), 3, 4, drift=drift)
    x, holes = torch.tensor([2, 0, 1, 1]), torch.zeros(4, dtype=torch.bool)
    holes[hidden] = True
    exact = bound_by_hand(model, x, holes)
    nats, noise = conditional_nats(model, x.repeat(1000, 1), holes.repeat(1000, 1), repeats=4)
    error = float(nats.std()) / math.sqrt(1000)
    assert abs(float(nats.mean()) - exact) <= 6 * error + 1e-9
    # repeats are independent
    assert (
        float(noise.square().mean().sqrt() / nats.std()) == pytest.approx(1, abs=0.1)
        or len(hidden) == 1
    )
    z = x.masked_fill(holes, model.mask_id)
    p, at = {}, (torch.tensor(hidden),)
    for values in itertools.product(range(3), repeat=len(hidden)):
        p[values] = law_by_hand(model, x.index_put(at, torch.tensor(values)), z)
    assert sum(p.values()) == pytest.approx(1, rel=1e-12)
    assert exact >= -math.log(p[tuple(x[hidden].tolist())]) - 1e-12
    drawn = sample(model, z=z.repeat(20000, 1), sampler="first_hitting", generator=rng())[:, hidden]
    code = (drawn * 3 ** torch.arange(len(hidden) - 1, -1, -1)).sum(-1)
    expected = torch.tensor(list(p.values()), dtype=torch.float64)
    chi_square(torch.bincount(code, minlength=len(p)).double(), expected)


def test_holes_everywhere_are_the_bound_and_holes_nowhere_cost_nothing():
    model = table_model(schedules.Polynomial(2), 3, 3, drift=6.0)
    x = torch.tensor([[0, 1, 2], [2, 2, 1]])
    holes = torch.tensor([[True] * 3, [False] * 3])
    many = [v.repeat(1000, 1) for v in (x, holes)]
    nats, noise = (v.view(1000, 2).T for v in conditional_nats(model, *many, repeats=4))
    assert abs(float(nats[0].mean() - exact_nelbo(model, x).detach()[0])) <= 6 * float(
        nats[0].std()
    ) / math.sqrt(1000)
    assert float(nats[1].abs().max()) == float(noise[1].max()) == 0


def test_holes_of_tokens_with_digits_and_positions_without_a_value():
    model = table_model(schedules.Linear(), 4, 2, 2)
    x, holes = torch.tensor([[1, 3]]), torch.tensor([[False, True]])
    many = x.repeat(1000, 1)
    there = holes.expand(1000, 2)
    ends = [
        conditional_nats(model, many, h.expand(1000, 2), repeats=4, valid=there)[0]
        for h in (holes, torch.ones_like(holes))
    ]
    assert torch.equal(*ends)  # a hole without a value is none
    whole = exact_nelbo(model, x, valid=holes).detach()
    assert abs(float(ends[0].mean() - whole)) <= 6 * float(ends[0].std()) / math.sqrt(1000)


def test_the_masking_of_an_estimator_is_that_of_its_bound():
    of = {m: table_model(schedules.Linear(), 4, 2, 2, masking=m) for m in ("digit", "token")}
    model, units = of["digit"], of["token"]
    x, holes = torch.tensor([[1, 3]]), torch.ones(1, 2, dtype=torch.bool)
    found, _ = conditional_nats(model, x, holes, estimator=Enumeration(masking="token"))
    torch.testing.assert_close(found, exact_nelbo(units, x).detach())
    assert float((found - exact_nelbo(model, x).detach()).abs()) > 1e-3


@pytest.mark.parametrize("name", SAMPLERS)
def test_where_nothing_is_masked_a_sampler_has_nothing_to_do(name):
    model = table_model(schedules.Linear(), 3, 4)
    z = torch.tensor([[2, 0, 1, 1], [0, 1, 2, 0]])
    assert torch.equal(sample(model, z=z, sampler=name), z)
    hidden = z.masked_fill(torch.tensor([False, True, False, False]), model.mask_id)
    none = torch.zeros(2, 4, dtype=torch.bool)
    left = sample(model, z=hidden, sampler=name, holes=none)
    assert torch.equal(left, z.masked_fill(hidden == model.mask_id, -1))


def test_a_length_that_the_model_has_no_values_for_is_refused():
    allowed = torch.ones(3, 5, dtype=torch.bool)
    model = table_model(schedules.Linear(), 5, 3, allowed=allowed)
    for length in (2, 4):
        with pytest.raises(ValueError, match=f"z has {length} positions and `allowed` 3"):
            sample(model, num=1, length=length)


def test_rows_of_one_example_share_masks_and_others_do_not():
    model, x = table_model(schedules.Linear(), 3, 4), torch.tensor([[2, 0, 1, 1]]).repeat(3, 1)
    nats, noise = conditional_nats(model, x, torch.ones(3, 4) > 0, examples=[5, 5, 8])
    assert nats[0] == nats[1] != nats[2] and noise[0] == noise[1] != noise[2]
    alone, _ = conditional_nats(model, x[:1], torch.ones(1, 4) > 0, examples=[5])
    assert torch.allclose(alone, nats[:1], rtol=1e-12)


@pytest.mark.parametrize("drift", [0.0, 1.0])
@pytest.mark.parametrize("sampler", ["first_hitting", "ancestral"])
@pytest.mark.parametrize("hidden", [[1], [1, 2]], ids=["one", "all others"])
def test_what_is_hidden_and_not_filled_stays_hidden(drift, sampler, hidden):
    """Holes 0 and 3 are filled while others stay masked: the law of that, and the bound on it, by
    hand."""
    model = table_model(schedules.Cosine(), 3, 4, drift=drift)
    x, holes, unknown = (
        torch.tensor([2, 0, 1, 1]),
        torch.tensor([1, 0, 0, 1]) > 0,
        torch.zeros(4) > 0,
    )
    unknown[hidden] = True
    z = x.masked_fill(holes | unknown, model.mask_id)

    def law(x, z):
        open_ = [i for i in (z == model.mask_id).nonzero()[:, 0].tolist() if i not in hidden]
        if not open_:
            return 1.0
        mu = shown(model, z)
        return sum(
            float(mu[i, x[i]]) * law(x, z.index_fill(0, torch.tensor([i]), int(x[i])))
            for i in open_
        ) / len(open_)

    p = {
        filling: law(x.index_put((torch.tensor([0, 3]),), torch.tensor(filling)), z)
        for filling in itertools.product(range(3), repeat=2)
    }
    assert sum(p.values()) == pytest.approx(1, rel=1e-12)
    num, how = (
        (20000, {}) if sampler == "first_hitting" else (6000, {"steps": 600, "grid": "uniform"})
    )
    drawn = sample(
        model,
        z=z.repeat(num, 1),
        holes=holes.expand(num, -1),
        generator=rng(),
        sampler=sampler,
        **how,
    )
    assert (drawn[:, hidden] == -1).all() and (len(hidden) == 2 or (drawn[:, 2] == 1).all())
    chi_square(
        torch.bincount(3 * drawn[:, 0] + drawn[:, 3], minlength=9).double(),
        torch.tensor(list(p.values()), dtype=torch.float64),
    )

    exact = 0.0
    # (k - 1)! (n - k)! / n! of n = 2 holes is a half for every set
    for some in (torch.tensor(s) for s in ([0], [3], [0, 3])):
        mu = shown(model, x.index_fill(0, some, model.mask_id).masked_fill(unknown, model.mask_id))
        exact -= sum(float(mu[i, x[i]].log()) for i in some.tolist()) / 2
    nats, _ = conditional_nats(
        model, x.repeat(1000, 1), holes.repeat(1000, 1), unknown=unknown.repeat(1000, 1), repeats=4
    )
    assert abs(float(nats.mean()) - exact) < 6 * float(nats.std()) / math.sqrt(1000)
    assert exact >= -math.log(p[2, 1])


@pytest.mark.parametrize(
    "holes,repeats,said",
    [(torch.zeros(1, 2), 8, "holes must be bool"), (torch.zeros(1, 2) > 0, 0, "repeats must be")],
)
def test_holes_that_cannot_be_scored(holes, repeats, said):
    with pytest.raises(ValueError, match=said):
        conditional_nats(
            table_model(schedules.Linear(), 3, 2),
            torch.zeros(1, 2, dtype=torch.long),
            holes,
            repeats=repeats,
        )
    with pytest.raises(ValueError, match="one per value"):
        conditional_nats(
            table_model(learned([1.0, 2.0, 3.0]), 3, 2, drift=1.0),
            torch.zeros(1, 2, dtype=torch.long),
            torch.zeros(1, 2) > 0,
        )


# ---------------------------------------------------------------- fillers


def test_a_filler_takes_windows_only_where_it_is_told_to(monkeypatch):
    """Without, an example longer than the trained length is given to the network whole; batches
    hold as many rows as they are told."""
    model = table_model(schedules.Linear(), 3, 6)
    model.meta["length"] = 4
    seen, real = [], filling.trajectory
    monkeypatch.setattr(
        filling,
        "trajectory",
        lambda m, z, **how: (seen.append(tuple(z.shape)), real(m, z, **how))[1],
    )
    (found,) = filling.fill(model, [blank(6)], num=5, steps=3, batch_size=2)
    assert (
        seen == [(2, 6), (2, 6), (1, 6)]
        and len(found) == 5
        and all(one.ids.shape == (6,) and one.ids.max() < 3 for one in found)
    )
    seen.clear()
    windowed = table_model(schedules.Linear(), 3, 4)
    windowed.meta["length"] = 4
    filling.fill(windowed, [blank(6)], num=3, steps=3, batch_size=2, window=True)
    assert {shape[1] for shape in seen} == {4} and {shape[0] for shape in seen} == {1, 2}


def test_fillings_are_scored_beside_positions_that_stay_hidden_in_alphabets_by_position():
    allowed = torch.tensor([[True, True, False], [False, True, True], [False, False, True]])
    model = table_model(schedules.Linear(), 3, 3, allowed=allowed)
    example = Partial(np.array([0, 1, 0]), np.array([GIVEN, HOLE, UNKNOWN], np.int8))
    (found,) = filling.fill(model, [example], num=4, steps=3, score=64)
    z = torch.tensor([[0, 3, 3]])
    law = model.predict(z)[0, 1].exp().detach()
    for one in found:
        assert (
            one.nats == pytest.approx(-float(law[one.ids[1]].log()), rel=1e-5) and one.ids[0] == 0
        )
    assert [one.nats for one in found] == sorted(one.nats for one in found)
    ((_, position, p),) = filling.Filler(model).laws([example])
    assert position == 1 and torch.allclose(torch.from_numpy(p), law)


@pytest.mark.parametrize(
    "how",
    [
        {"sampler": "x"},
        {"steps": 0},
        {"temperature": 0.0},
        {"guidance": math.nan},
        {"batch_size": -1},
    ],
)
def test_fillers_that_cannot_be(how):
    with pytest.raises(ValueError):
        filling.fill(table_model(schedules.Linear(), 3, 3), [blank(3)], **how)
