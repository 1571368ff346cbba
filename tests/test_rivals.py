"""Rivals of masked diffusion: each likelihood, bound and sampler against enumeration."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from test_core import Recorder
from torch import nn

import unmask
from unmask import schedules
from unmask.backbones import Transformer
from unmask.importers import sedd
from unmask.importers.sources import OfSEDD
from unmask.kernels import rows
from unmask.likelihood import Enumeration, conditional_nats, estimate, exact_nelbo, own_estimator
from unmask.masks import Draw
from unmask.rivals import AR, D3PM, MODELS, SEDD, Uniform, open_model
from unmask.rivals.sedd import entropy_of
from unmask.roles import ABSENT, GIVEN, SCORED, UNKNOWN
from unmask.sampling import sample, time_grid, trajectory

V, N = 3, 2
ALL = torch.tensor(list(itertools.product(range(V), repeat=N)))
GOLDEN = Path(__file__).parent / "golden" / "foreign" / "sedd"


class Lookup(nn.Module):
    """Any function of the state, and of t: random logits of every position, for each state."""

    def __init__(self, places=N, slope=0.0, seed=0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        states = (V + 1) ** places
        shape = (2, states, places, V)
        table = 1.5 * torch.randn(shape, generator=generator).double()
        self.table = nn.Parameter(table, requires_grad=False)
        self.slope, self.uses_time = slope, slope > 0

    def forward(self, z, t=None):
        power = (V + 1) ** torch.arange(z.shape[1])
        state = (z * power).sum(1)
        logits = self.table[0][state]
        if self.uses_time:
            logits = logits + self.slope * t.reshape(-1, 1, 1) * self.table[1][state]
        return logits


def exact(model, x, steps=None):
    return exact_nelbo(model, x, steps).detach()


def of(kind, network=None, **how):
    network = Lookup() if network is None else network
    return kind(network, schedules.Linear(), unmask.Subtokenizer(V), **how)


def check_law(samples, law):
    """Pearson's statistic of samples (n, N) against a law over ALL: below its mean and four
    standard deviations of it; the seed is fixed."""
    number = (samples * V ** torch.arange(samples.shape[1] - 1, -1, -1)).sum(1)
    seen = number.bincount(minlength=len(law)).double()
    expected = law * len(samples)
    assert law.sum() == pytest.approx(1, abs=1e-9)
    free = len(law) - 1
    assert float(((seen - expected) ** 2 / expected).sum()) < free + 4 * math.sqrt(2 * free)


def as_ids(x):
    return (x * V ** torch.arange(N - 1, -1, -1)).sum(-1)


# ---------------------------------------------------------------- the autoregressive twin


def causal(places=0, classes=0, **how):
    torch.manual_seed(1)
    network = Transformer(
        V, dim=16, layers=2, heads=2, causal=True, places=places, classes=classes, **how
    )
    for weight in (network.head.weight, *(w for block in network.blocks for w in block.near)):
        nn.init.normal_(weight, std=0.15)
    return network.double()


@pytest.mark.parametrize("places,neighbours", [(0, 0), (3, 0), (0, 2), (0, 7)])
def test_the_likelihood_of_ar_sums_to_one_and_is_the_product_of_its_conditionals(
    places, neighbours
):
    model = of(AR, causal(places, neighbours=neighbours)).eval()
    x = torch.tensor(list(itertools.product(range(V), repeat=3)))
    nats = model.nelbo(x)
    assert float((-nats).exp().sum()) == pytest.approx(1, abs=1e-12)
    begin = torch.full((len(x), 1), model.mask_id)
    # without the cache, and with what comes later replaced
    each = []
    for at in range(3):
        seen = torch.cat([begin, x[:, :at], torch.zeros(len(x), 2 - at, dtype=torch.long)], 1)
        logp = model.backbone(seen)[:, at].log_softmax(-1)
        each.append(-logp.gather(1, x[:, at : at + 1])[:, 0])
    torch.testing.assert_close(nats, sum(each), rtol=0, atol=1e-12)


@pytest.mark.parametrize("places,neighbours", [(0, 0), (6, 0), (0, 1), (0, 2), (0, 3), (0, 9)])
def test_what_is_remembered_changes_no_logits(places, neighbours):
    network = causal(places, classes=2, neighbours=neighbours).eval()
    nn.init.normal_(network.blocks[0].modulation.weight, std=0.3)
    z, cond = torch.randint(0, V + 1, (4, 6)), torch.tensor([0, 1, 2, 0])
    whole = network(z, cond=cond)
    past, parts = network.nothing_seen(), []
    for a, b in ((0, 3), (3, 4), (4, 6)):
        with network.remembering(past):
            parts.append(network(z[:, a:b], cond=cond))
        torch.testing.assert_close(network(z, cond=cond), whole, rtol=0, atol=0)
    assert past[0].length == 6
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-12)
    if places:
        with pytest.raises(ValueError, match="6 places, not 7"), network.remembering(past):
            network(z[:, :1], cond=cond)
    with pytest.raises(ValueError, match="is not causal"):
        Transformer(V).nothing_seen()


@pytest.mark.parametrize("products", [False, True])
def test_attention_to_the_past_is_the_same_by_products(products, monkeypatch):
    from unmask.backbones import attention

    q, k, v = torch.randn(3, 2, 3, 5, 4, generator=torch.Generator().manual_seed(0)).double()
    k, v = (torch.cat([u, u.flip(2)], 2) for u in (k, v))
    monkeypatch.setattr(attention, "_by_products", lambda q: products)
    monkeypatch.setattr(attention, "PART", 25)  # a head at a time
    valid = torch.rand(2, 1, 1, 10) < 0.8
    valid[..., 0] = True
    for keys, mask in ((10, None), (10, valid), (5, None), (5, valid[..., :5])):
        found = attention.attend(q, k[:, :, :keys], v[:, :, :keys], mask, causal=True)
        shown = torch.arange(keys) <= torch.arange(5)[:, None] + keys - 5
        shown = shown if mask is None else shown & mask
        score = (q @ k[:, :, :keys].transpose(-1, -2) / 2).masked_fill(~shown, -torch.inf)
        torch.testing.assert_close(found, score.softmax(-1) @ v[:, :, :keys])


def test_samples_of_ar_have_its_law():
    model = of(AR, causal()).eval()
    generator = torch.Generator().manual_seed(0)
    drawn = sample(model, num=8_000, length=N, generator=generator)
    check_law(drawn, (-model.nelbo(ALL)).exp())
    z = torch.full((4_000, N), model.mask_id)
    z[:, 0] = 1
    drawn = sample(model, z=z, generator=generator)
    given = torch.tensor([[SCORED, SCORED]]).repeat(V, 1)
    given[:, 0] = GIVEN
    x = torch.tensor([[1, v] for v in range(V)])
    law = (-model.nelbo(x, role=given.to(torch.int8))).exp()
    assert bool((drawn[:, 0] == 1).all())
    check_law(drawn[:, 1:], law)


@pytest.mark.parametrize("given", [0, 3])
def test_ar_draws_with_the_probabilities_that_it_says(given):
    """To the last digits, also after what is given; what was drawn is told to who asks."""
    model = of(AR, causal()).eval()
    z = torch.randint(0, V, (5, 6), generator=torch.Generator().manual_seed(2))
    z[:, given:] = model.mask_id
    paid = torch.zeros(z.shape, dtype=torch.float64)

    def drawn(rows, positions, probability):
        paid[rows, positions] = -probability.log()

    *_, x = trajectory(model, z, drawn=drawn, generator=torch.Generator().manual_seed(0))
    role = torch.where(torch.arange(6) < given, GIVEN, SCORED).expand(5, -1).to(torch.int8)
    expected = model.token_nats(model.clean(x, role=role))[1]
    torch.testing.assert_close(paid, expected, rtol=0, atol=1e-12)
    assert torch.equal(x[:, :given], z[:, :given])


def test_ar_has_as_many_weights_as_its_masked_twin():
    same = {"dim": 16, "layers": 2, "heads": 2}
    sizes = [sum(p.numel() for p in Transformer(V, **same, causal=c).parameters()) for c in (0, 1)]
    assert sizes[0] == sizes[1]


def test_what_is_absent_costs_nothing_and_says_nothing_of_values():
    model = of(AR, causal()).eval()
    x = torch.tensor([[0, 1, 2, 1]])
    role = torch.tensor([[SCORED, SCORED, ABSENT, ABSENT]], dtype=torch.int8)
    torch.testing.assert_close(model.nelbo(x, role=role), model.nelbo(x[:, :2]))
    role = torch.tensor([[SCORED, ABSENT, SCORED, SCORED]], dtype=torch.int8)
    other = torch.tensor([[0, 2, 2, 1]])
    assert torch.equal(model.nelbo(x, role=role), model.nelbo(other, role=role))
    # an absence looks like none of the values
    for value in range(V):
        shown = torch.tensor([[0, value, 2, 1]])
        later = [model.token_nats(model.clean(shown, role=r))[1][:, 2:] for r in (None, role)]
        assert not torch.allclose(*later)
    every = [[a, 0, b, c] for a, b, c in itertools.product(range(V), repeat=3)]
    total = (-model.nelbo(torch.tensor(every), role=role.expand(27, -1))).exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-12)


def test_ar_of_linked_positions_has_the_mass_on_what_can_be():
    """The second is 0 exactly if the first is, as of a cell and whether it has a value."""
    allowed = torch.tensor([[True, True, False], [True, True, True]])
    links = torch.tensor([1, 0]), torch.tensor([0, 1, 1])
    model = of(AR, causal(), allowed=allowed, links=links).eval()
    possible = torch.tensor([[0, 0], [1, 1], [1, 2]])
    law = (-model.nelbo(possible)).exp()
    assert float(law.sum()) == pytest.approx(1, abs=1e-12) and float(law.min()) > 0.01
    drawn = sample(model, num=4_000, length=N, generator=torch.Generator().manual_seed(0))
    number = (drawn[:, None] == possible).all(-1)
    assert bool(number.any(1).all())
    check_law(number.long().argmax(1)[:, None], law)


def test_ar_refuses_what_only_masks_can():
    model = of(AR, causal()).eval()
    x = torch.tensor([[0, 1, 2]])
    for role in ([SCORED, GIVEN, SCORED], [GIVEN, SCORED, UNKNOWN]):
        with pytest.raises(ValueError, match="knows what comes before alone"):
            model.clean(x, role=torch.tensor([role], dtype=torch.int8))
    for ask in (
        lambda: model.predict(x), lambda: exact(model, x), lambda: model.nelbo(x, steps=4),
        lambda: own_estimator(model, steps=4).check(model),
        lambda: unmask.likelihood.order_nats(model, model.clean(x), torch.arange(3)[None]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="knows no masks"):
            ask()
    hole = torch.tensor([[model.mask_id, 0, model.mask_id]])
    with pytest.raises(ValueError, match="a hole before what is kept"):
        sample(model, z=hole)
    for wrong in ({"steps": 4}, {"grid": "uniform"}):
        with pytest.raises(ValueError, match="one position a step"):
            sample(model, num=1, length=3, **wrong)
    with pytest.raises(ValueError, match="sampler of --rival ar must be one of ancestral"):
        sample(model, num=1, length=3, sampler="first_hitting")
    with pytest.raises(ValueError, match="needs a causal network"):
        of(AR, Transformer(V))
    with pytest.raises(ValueError, match="the joint objective is of masked diffusion"):
        of(SEDD, objective="joint")


# ---------------------------------------------------------------- SEDD


def chain_law(model):
    """The law over ALL of the chain of a network that does not look at t: the next position to be
    revealed is drawn in proportion to its Z."""
    mask = model.mask_id

    def ratios(z):
        return (model.backbone(torch.tensor([z]))[0] - math.log(V)).exp()

    law = torch.zeros(len(ALL), dtype=torch.float64)
    start = ratios([mask, mask])
    for first in range(N):
        other = 1 - first
        for value in range(V):
            z = [mask, mask]
            z[first] = value
            p = start[first, value] / start.sum()
            after = ratios(z)[other]
            for last in range(V):
                x = list(z)
                x[other] = last
                law[as_ids(torch.tensor(x))] += (p * after[last] / after.sum()).detach()
    return law


def test_sedds_bound_is_a_bound_of_its_chain():
    for seed in range(5):
        model = of(SEDD, Lookup(seed=seed))
        bound, law = exact(model, ALL), chain_law(model)
        assert float((-bound).exp().sum()) <= 1
        assert bool((bound > -law.log()).all())
    timed = of(SEDD, Lookup(slope=1.0))
    assert float((-exact(timed, ALL)).exp().sum()) <= 1


def test_with_normalised_scores_sedd_is_md4():
    for slope in (0.0, 1.0):
        plain = of(unmask.MaskedDiffusion, Lookup(slope=slope))

        class Normed(Lookup):
            def forward(self, z, t=None):
                return super().forward(z, t).log_softmax(-1) + math.log(V)

        rival = of(SEDD, Normed(slope=slope))
        torch.testing.assert_close(exact(rival, ALL), exact(plain, ALL))
        x = ALL.repeat(50, 1)
        draws = [m.nelbo(x, generator=torch.Generator().manual_seed(0)) for m in (rival, plain)]
        torch.testing.assert_close(*draws)


def test_a_sum_of_scores_that_is_wrong_by_a_factor_costs_what_it_should():
    """Z = c everywhere: c - 1 - log c more for each position, and never less."""
    plain = of(unmask.MaskedDiffusion)
    for c in (0.25, 1.0, 3.0):

        class Scaled(Lookup):
            def forward(self, z, t=None, c=c):
                return super().forward(z, t).log_softmax(-1) + math.log(V * c)

        over = exact(of(SEDD, Scaled()), ALL) - exact(plain, ALL)
        torch.testing.assert_close(over, torch.full_like(over, N * (c - 1 - math.log(c))))


def test_the_true_ratios_cost_the_entropy_of_the_data():
    p = torch.rand(len(ALL), generator=torch.Generator().manual_seed(3)).double()
    p = p / p.sum()

    class Truth(nn.Module):
        uses_time = False

        def forward(self, z):
            logits = torch.full((*z.shape, V), -40.0, dtype=torch.float64)
            for b, row in enumerate(z):
                fits = ((row == ALL) | (row == V)).all(1)
                for at in range(N):
                    for v in range(V):
                        here = p[fits & (ALL[:, at] == v)].sum() / p[fits].sum()
                        logits[b, at, v] = here.clamp(min=1e-300).log() + math.log(V)
            return logits

    bound = exact(of(SEDD, Truth()), ALL)
    assert float((p * bound).sum()) == pytest.approx(float(-(p * p.log()).sum()), abs=1e-9)


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_draws_of_sedds_bound_have_its_mean(slope):
    model = of(SEDD, Lookup(slope=slope))
    x = ALL.repeat(800, 1)
    drawn = model.nelbo(x, generator=torch.Generator().manual_seed(0)).view(-1, len(ALL))
    error = drawn.std(0) / math.sqrt(len(drawn))
    assert float(((drawn.mean(0) - exact(model, ALL)) / error).abs().max()) < 4


def test_sedds_exact_sampler_has_the_law_of_its_chain():
    model = of(SEDD, Lookup(seed=2))
    how = {"sampler": "first_hitting", "generator": torch.Generator().manual_seed(0)}
    law = chain_law(model)
    check_law(sample(model, num=8_000, length=N, **how), law)
    # seen at some times on the way, it is the same chain
    states = trajectory(
        model, torch.full((8_000, N), V), sampler="first_hitting", steps=5, grid="uniform",
        generator=how["generator"],
    )  # fmt: skip
    states = list(states)
    assert len(states) == 5 and bool((states[1] == V).any())
    check_law(states[-1], law)
    with pytest.raises(ValueError, match="does not look at t"):
        sample(of(SEDD, Lookup(slope=1.0)), num=1, length=N, sampler="first_hitting")


@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_sedds_leaps_have_their_law(slope):
    """That of the T-step chain, by enumeration of its states."""
    model = of(SEDD, Lookup(slope=slope, seed=4))
    ts = time_grid(3, "uniform")
    every = torch.tensor(list(itertools.product(range(V + 1), repeat=N)))
    p = {(V, V): 1.0}
    for t, s in itertools.pairwise(ts):
        after = {}
        for state, weight in p.items():
            z = torch.tensor([state])
            q = (model.backbone(z, t[None])[0] - math.log(V)).exp().detach()
            of_each = []
            for at in range(N):
                if state[at] < V:
                    of_each.append({state[at]: 1.0})
                    continue
                total = float(q[at].sum())
                stays = float(s / t) ** total  # the linear schedule
                options = {v: (1 - stays) * float(q[at, v]) / total for v in range(V)}
                of_each.append(options | {V: stays})
            for new in every.tolist():
                chance = weight * of_each[0].get(new[0], 0.0) * of_each[1].get(new[1], 0.0)
                after[tuple(new)] = after.get(tuple(new), 0.0) + chance
        p = after
    law = torch.tensor([p[tuple(x)] for x in ALL.tolist()], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    drawn = sample(model, num=8_000, length=N, steps=3, grid="uniform", generator=generator)
    check_law(drawn, law)


@pytest.mark.parametrize("sampler", ["ancestral", "first_hitting"])
def test_sedds_rates_are_those_of_rows_in_many_pieces(sampler, monkeypatch):
    network, found = Recorder(20), []
    model = SEDD(network, schedules.Linear(), unmask.Subtokenizer(20)).eval()
    for most in (64, 4):  # rows of 20 values at a time
        monkeypatch.setitem(rows.CHUNK, "cpu", 20 * most)
        network.rows.clear()
        how = {"steps": 2, "generator": torch.Generator().manual_seed(0)}
        found.append(sample(model, num=8, length=8, sampler=sampler, **how))
        assert 4 < max(network.rows) <= 64 if most == 64 else max(network.rows) == 4
    assert torch.equal(*found)


def test_sedd_fills_and_scores_holes_as_its_chain_does():
    """One hole: the law is q / Z, and the bound CE + Z - 1 - log Z of it."""
    model = of(SEDD)
    z = torch.tensor([[1, V]]).repeat(4_000, 1)
    q = (model.backbone(z[:1])[0, 1] - math.log(V)).exp().detach()
    for name in ("ancestral", "first_hitting"):
        how = {"sampler": name, "steps": 4, "generator": torch.Generator().manual_seed(1)}
        drawn = sample(model, z=z, **how)
        assert bool((drawn[:, 0] == 1).all())
        check_law(drawn[:, 1:], q / q.sum())
    x = torch.tensor([[1, v] for v in range(V)])
    nats, _ = conditional_nats(model, x, torch.tensor([[False, True]]).expand(V, -1))
    torch.testing.assert_close(nats, q.sum() - 1 - q.log())


def golden():
    with np.load(GOLDEN / "outputs.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def test_sedd_as_published_gives_its_published_codes_scores_and_loss():
    """From the weights that its own code wrote; its time ends at sigma = -log eps, so that the odds
    alpha / (1 - alpha) are its own, and eps cancels in the loss."""
    out = golden()
    model = sedd.read(GOLDEN / "run", OfSEDD(tokenizer="ids", length=0)).model.double()
    z, x, t = out["in/ids"], out["in/x0"], out["in/t"].double()
    masked = z == model.mask_id
    theirs = out["ema_f64/scale1/log_score_at_t"][..., :10]
    alpha = 1 - (1 - 1e-3) * t
    odds = (alpha / (1 - alpha) * t / (1 - t)).log()[:, None, None]
    ours = model.log_scores(z, t) + odds
    torch.testing.assert_close(ours[masked], theirs[masked], rtol=1e-6, atol=1e-6)
    paid = model.score_units(model.clean(x), Draw(t, masked, 1 / t))[1][..., 0]
    torch.testing.assert_close(
        paid, out["ema_f64/scale1/loss_per_token"].double() * masked, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("case", ["raw_f64/scale1", "raw_f64/scale0", "ema_f64/scale0"])
def test_the_score_entropy_is_the_published_one_of_any_scores(case):
    out = golden()
    z, x, t = out["in/ids"], out["in/x0"], out["in/t"].double()
    alpha = (1 - (1 - 1e-3) * t)[:, None, None]
    log_q = out[f"{case}/log_score_at_t"][..., :10] + ((1 - alpha) / alpha).log()
    masked = (z == 10).view(-1, 1)
    paid = entropy_of(log_q.flatten(0, 1), x.view(-1, 1), masked).view_as(x) / t[:, None]
    torch.testing.assert_close(paid, out[f"{case}/loss_per_token"], rtol=1e-6, atol=1e-6)


def test_enumeration_is_of_a_rivals_own_bound():
    model = of(SEDD)
    estimator = Enumeration()
    assert estimator.sampler(model) == own_estimator(model).sampler(model)
    model = of(D3PM, steps=4)
    found = estimate(model, [ALL], estimator)
    torch.testing.assert_close(found.per_example, exact(model, ALL, 4))
    assert found.name == "discrete time, 4 steps, all masks enumerated"
    assert "in 4 steps of the uniform grid" in found.sampler


def test_sedd_refuses_what_is_not_its_own():
    model = of(SEDD)
    for ask in (
        lambda: model.nelbo(ALL, steps=4), lambda: own_estimator(model, steps=4).check(model),
        lambda: exact(model, ALL, steps=4),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="of continuous time"):
            ask()
    with pytest.raises(ValueError, match="one curve for all"):
        SEDD(Lookup(slope=1.0), schedules.LearnedPolynomial(V), unmask.Subtokenizer(V))


# ---------------------------------------------------------------- views that must agree


def quadrature(step=1 / 8):
    """Double-exponential nodes of [0, 1], and their weights."""
    v = torch.arange(-5.5, 3.5, step, dtype=torch.float64)
    t = torch.sigmoid(torch.pi * torch.sinh(v))
    return t, step * torch.pi * torch.cosh(v) * t * (1 - t)


def rates_of(model, state, t):
    """{next state: rate} of the masked chain run backwards, with mu in the place of the truth."""
    z = torch.tensor([state])
    mu = model.predict(z, torch.tensor([float(t)]))[0].exp().detach()
    weight = float(model.schedule.weight(t.double())[0])
    found = {}
    for at in range(N):
        if state[at] == V:
            for v in range(V):
                new = (*state[:at], v, *state[at + 1 :])
                found[new] = weight * float(mu[at, v])
    return found


@pytest.mark.parametrize("form", ["paths", "campbell"])
@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_the_bound_of_a_chain_in_continuous_time_is_md4s(form, slope):
    """arXiv 2205.14987: of reverse rates Rhat, against the true ones R given x, over all states.

    paths: integral of E sum_y [Rhat - R + R log(R / Rhat)], the KL of paths; campbell: that of
    E [sum_y Rhat(z, y) - sum_y' R'(z, y') log Rhat(y', z)] with forward rates R', plus what does
    not depend on the network.
    """
    model = of(unmask.MaskedDiffusion, Lookup(slope=slope))
    x = (0, 2)
    total = 0.0
    for t, dt in zip(*quadrature(), strict=True):
        masked = float(t)  # of the linear schedule
        weight = float(model.schedule.weight(t)[0])
        forward = 1 / (1 - masked) if masked < 1 else 0.0  # rate of being masked
        for hidden in itertools.product((False, True), repeat=N):
            q = math.prod(masked if h else 1 - masked for h in hidden)
            z = tuple(V if h else v for h, v in zip(hidden, x, strict=True))
            back = rates_of(model, z, t) if any(hidden) else {}
            if form == "paths":
                for y, rate in back.items():
                    total += float(dt) * q * rate
                    if all(a in (V, b) for a, b in zip(y, x, strict=True)):
                        # the truth given x: unmask to x at the rate `weight`
                        total += float(dt) * q * (weight * math.log(weight / rate) - weight)
                continue
            total += float(dt) * q * sum(back.values())
            for at in range(N):
                if z[at] == V or not q:
                    continue
                y = (*z[:at], V, *z[at + 1 :])
                reverse = rates_of(model, y, t)[z]
                # R = R' q(z) / q(y) is the weight: so much of the sum is the network's
                total += float(dt) * q * forward * (math.log(weight / reverse) - 1)
    assert total == pytest.approx(float(exact(model, torch.tensor([x]))), rel=2e-5)


def test_the_bound_is_the_mean_over_orders():
    model = of(unmask.MaskedDiffusion)
    total = torch.zeros(len(ALL), dtype=torch.float64)
    for order in itertools.permutations(range(N)):
        z = torch.full_like(ALL, V)
        for at in order:
            logp = model.backbone(z).log_softmax(-1)[:, at].detach()
            total -= logp.gather(1, ALL[:, at : at + 1])[:, 0] / math.factorial(N)
            z[:, at] = ALL[:, at]
    torch.testing.assert_close(exact(model, ALL), total)


@pytest.mark.parametrize("noise", ["log-linear", "geometric"])
def test_published_noises_are_the_linear_schedule_at_another_pace(noise):
    """Of MDLM and SEDD, for a network that does not look at t: the integral over their times of
    dsigma / (e^sigma - 1) E[CE] is that of the linear schedule over the shares 1 - alpha that their
    times reach, which are not all: from 1 - exp(-sigma(0)) to 1 - exp(-sigma(1))."""
    model = of(unmask.MaskedDiffusion)
    x = (1, 0)
    paid = {}
    for hidden in list(itertools.product((False, True), repeat=N))[1:]:
        z = torch.tensor([[V if h else v for h, v in zip(hidden, x, strict=True)]])
        logp = model.backbone(z)[0].log_softmax(-1)
        paid[hidden] = -sum(float(logp[i, x[i]]) for i in range(N) if hidden[i])

    def mean(u):
        chances = [torch.where(torch.tensor(h), u[:, None], 1 - u[:, None]).prod(1) for h in paid]
        return sum(c * n for c, n in zip(chances, paid.values(), strict=True))

    t = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    low, high, eps = 1e-4, 20.0, 1e-3
    if noise == "log-linear":
        sigma, slope = -torch.log1p((eps - 1) * t), (1 - eps) / (1 - (1 - eps) * t)
        ends = 0.0, 1 - eps
    else:
        sigma = low ** (1 - t) * high**t
        slope = sigma * math.log(high / low)
        ends = -math.expm1(-low), -math.expm1(-high)
    theirs = float((slope / torch.expm1(sigma) * mean(-torch.expm1(-sigma))).mean())
    # the linear schedule: dt / t over the same shares
    a, b = ends
    u = a + (b - a) * t
    ours = float(((b - a) / u * mean(u)).mean())
    assert theirs == pytest.approx(ours, rel=1e-6)
    whole = float(exact(model, torch.tensor([x])))
    assert 0 < whole - ours < 0.01  # what their ends leave out


# ---------------------------------------------------------------- D3PM


def test_d3pms_bound_is_that_of_its_transition_matrices():
    """beta_t = 1 / (T - t + 1) into the mask, x0-prediction: sum of KLs, state by state."""
    steps = 4
    model = of(D3PM, steps=steps)
    size = V + 1
    matrices = []
    for i in range(1, steps + 1):
        beta = 1 / (steps - i + 1)
        matrix = torch.eye(size, dtype=torch.float64) * (1 - beta)
        matrix[:, V] += beta
        matrix[V] = torch.eye(size, dtype=torch.float64)[V]
        matrices.append(matrix)
    upto = [torch.eye(size, dtype=torch.float64)]
    for matrix in matrices:
        upto.append(upto[-1] @ matrix)
    expected = []
    for x in ALL.tolist():
        total = 0.0
        for i in range(1, steps + 1):
            for z in itertools.product(range(size), repeat=N):
                q = math.prod(float(upto[i][x[n], z[n]]) for n in range(N))
                if not q:
                    continue
                mu = model.predict(torch.tensor([z]))[0].exp().detach()
                for n in range(N):
                    back = matrices[i - 1][:, z[n]]  # q(z_t | z_s = j)
                    true = back * upto[i - 1][x[n]] / upto[i][x[n], z[n]]
                    of_each = upto[i - 1][:V] / upto[i][:V, z[n], None].clamp(min=1e-300)
                    said = back * (mu[n, :, None] * of_each).sum(0)
                    some = true > 0
                    total += q * float((true[some] * (true[some] / said[some]).log()).sum())
        expected.append(total)
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(exact(model, ALL, steps), expected)
    assert float((-expected).exp().sum()) <= 1
    estimate = unmask.estimate_nelbo(model, [ALL], repeats=400)
    assert estimate.steps == steps and "4 steps" in estimate.name
    assert abs(estimate.mean - float(expected.mean())) < 4 * estimate.noise


def test_the_auxiliary_loss_is_a_steps_cross_entropy():
    """loss = bound + auxiliary * sum over steps of E CE, by enumeration; nelbo is the bound."""
    steps, weight = 4, 0.3
    model = of(D3PM, steps=steps, auxiliary=weight)
    x = torch.tensor([[2, 1]])
    entropy = 0.0
    for i in range(1, steps + 1):
        for hidden in itertools.product((False, True), repeat=N):
            u = i / steps
            q = math.prod(u if h else 1 - u for h in hidden)
            z = torch.tensor([[V if h else int(v) for h, v in zip(hidden, x[0], strict=True)]])
            logp = model.predict(z)[0].detach()
            entropy -= q * sum(float(logp[n, x[0, n]]) for n in range(N) if hidden[n])
    bound = float(exact(model, x, steps))
    generator = torch.Generator().manual_seed(0)
    terms = [model(x.repeat(1000, 1), generator=generator) for _ in range(20)]
    losses = torch.stack([term.loss.detach() for term in terms]).double() * N
    error = float(losses.std()) / math.sqrt(20)
    assert abs(float(losses.mean()) - (bound + weight * entropy)) < 4 * error
    drawn = torch.stack([term.nelbo.mean() for term in terms])
    assert abs(float(drawn.mean()) - bound) < 4 * float(drawn.std()) / math.sqrt(20)


# ---------------------------------------------------------------- uniform noise


def matrices_of(steps):
    """Of each step, q(x_s -> x_t); and from x to x_t, for t = 0, 1/T, ..., 1; linear schedule."""
    one, upto = [], [torch.eye(V, dtype=torch.float64)]
    for i in range(1, steps + 1):
        kept = (1 - i / steps) / (1 - (i - 1) / steps)
        one.append(kept * torch.eye(V, dtype=torch.float64) + (1 - kept) / V)
        upto.append(upto[-1] @ one[-1])
    return one, upto


def reverse_of(model, steps, i, z):
    """(N, V) p(x_s | x_t = z) of step i, from the matrices."""
    one, upto = matrices_of(steps)
    t = torch.tensor([i / steps])
    mu = model.backbone(torch.tensor([z]), t)[0].softmax(-1).detach()
    found = []
    for n in range(N):
        # sum over x of mu_x q(x_s | x_t, x)
        each = one[i - 1][:, z[n]] * upto[i - 1] / upto[i][:, z[n], None]  # (x, x_s)
        found.append((mu[n, :, None] * each).sum(0))
    return torch.stack(found)


def bound_by_matrices(model, steps):
    one, upto = matrices_of(steps)
    found = []
    for x in ALL.tolist():
        total = 0.0
        for i in range(1, steps + 1):
            for z in ALL.tolist():
                q = math.prod(float(upto[i][x[n], z[n]]) for n in range(N))
                said = reverse_of(model, steps, i, z)
                for n in range(N):
                    true = one[i - 1][:, z[n]] * upto[i - 1][x[n]] / upto[i][x[n], z[n]]
                    some = true > 0
                    total += q * float((true[some] * (true[some] / said[n][some]).log()).sum())
        found.append(total)
    return torch.tensor(found, dtype=torch.float64)


def law_of_uniform(model, steps):
    p = torch.full((len(ALL),), 1 / len(ALL), dtype=torch.float64)
    for i in range(steps, 0, -1):
        after = torch.zeros_like(p)
        for z, weight in zip(ALL.tolist(), p, strict=True):
            said = reverse_of(model, steps, i, z)
            after += weight * (said[0][ALL[:, 0]] * said[1][ALL[:, 1]])
        p = after
    return p


@pytest.mark.parametrize("steps", [1, 4])
def test_the_bound_of_uniform_noise_is_that_of_its_matrices(steps):
    model = of(Uniform, Lookup(slope=1.0), steps=steps)
    expected = bound_by_matrices(model, steps)
    # all x_t of all steps, weighed by their probabilities
    upto = matrices_of(steps)[1]
    total = torch.zeros(len(ALL), dtype=torch.float64)
    for i in range(1, steps + 1):
        for z in ALL:
            q = upto[i][ALL[:, 0], z[0]] * upto[i][ALL[:, 1], z[1]]
            t, s = (torch.full((len(ALL),), j / steps, dtype=torch.float64) for j in (i, i - 1))
            draw = Draw(t, torch.ones_like(ALL, dtype=torch.bool), torch.ones_like(t), (t, s))
            paid = model.step_paid(model.clean(ALL), (z.expand(len(ALL), -1), draw))[1]
            total += q * paid.sum(1).detach()
    torch.testing.assert_close(total, expected, rtol=1e-9, atol=1e-9)
    assert float((-expected).exp().sum()) <= 1 + 1e-12
    assert bool((expected >= -law_of_uniform(model, steps).log() - 1e-9).all())
    estimate = unmask.estimate_nelbo(model, [ALL], repeats=400)
    assert abs(estimate.mean - float(expected.mean())) < 4 * estimate.noise
    assert f"{steps} steps" in estimate.name
    generator = torch.Generator().manual_seed(0)
    losses = torch.stack([model(ALL.repeat(100, 1), generator=generator).loss for _ in range(20)])
    error = float(losses.std()) / math.sqrt(20)
    assert abs(float(losses.mean()) - float(expected.mean()) / N) < 4 * error


def test_the_sampler_of_uniform_noise_has_its_law():
    model = of(Uniform, Lookup(slope=1.0), steps=4)
    generator = torch.Generator().manual_seed(0)
    drawn = sample(model, num=8_000, length=N, steps=4, grid="uniform", generator=generator)
    check_law(drawn, law_of_uniform(model, 4))


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_the_true_denoiser_of_one_position_costs_the_entropy(steps):
    p = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)

    class Truth(nn.Module):
        uses_time = True

        def forward(self, z, t):
            alpha = (1 - t.double()).view(-1, 1)
            seen = nn.functional.one_hot(z[:, 0], V).double()
            law = p * (alpha * seen + (1 - alpha) / V)
            return (law / law.sum(1, keepdim=True)).log()[:, None]

    model = of(Uniform, Truth(), steps=steps)
    x = torch.arange(V)[:, None]
    total = torch.zeros(V, dtype=torch.float64)
    for i in range(1, steps + 1):
        t, s = (torch.full((V,), j / steps, dtype=torch.float64) for j in (i, i - 1))
        draw = Draw(t, torch.ones_like(x, dtype=torch.bool), torch.ones_like(t), (t, s))
        for z in range(V):
            q = (1 - t) * (x[:, 0] == z) + t / V
            paid = model.step_paid(model.clean(x), (torch.full_like(x, z), draw))[1]
            total += q * paid[:, 0]
    # a network is shown t in single precision, unless its weights are wider
    assert float((p * total).sum()) == pytest.approx(float(-(p * p.log()).sum()), abs=1e-6)


def test_tiny_steps_are_not_lost_to_rounding():
    """With T so large that a step changes almost nothing."""
    model = of(Uniform, Lookup(slope=1.0), steps=10**6)
    t = torch.full((1,), 0.5, dtype=torch.float64)
    draw = Draw(t, torch.ones(1, N, dtype=torch.bool), torch.full_like(t, 1e6), (t, t - 1e-6))
    batch, z = model.clean(torch.tensor([[0, 1]])), torch.tensor([[2, 1]])
    fine = model.step_paid(batch, (z, draw))[1]
    coarse = draw._replace(scale=torch.full_like(t, 1e4), times=(t, t - 1e-4))
    torch.testing.assert_close(fine, model.step_paid(batch, (z, coarse))[1], rtol=1e-3, atol=0)


def test_uniform_noise_refuses_what_only_masks_can():
    model = of(Uniform, Lookup(slope=1.0), steps=4)
    with pytest.raises(ValueError, match="must look at t"):
        of(Uniform)
    with pytest.raises(ValueError, match="every value"):
        of(Uniform, Lookup(slope=1.0), allowed=torch.ones(N, V, dtype=torch.bool))
    role = torch.tensor([[GIVEN, SCORED]], dtype=torch.int8)
    for ask in (
        lambda: model.clean(ALL[:1], role=role), lambda: model.predict(ALL),
        lambda: exact(model, ALL), lambda: sample(model, z=torch.tensor([[1, V]])),
        lambda: own_estimator(model, masking="token").check(model),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="hides none"):
            ask()


# ---------------------------------------------------------------- training, and folders


@pytest.mark.parametrize("name", [name for name in MODELS if name])
def test_gradients_are_the_same_in_many_pieces(name, monkeypatch):
    """Of rows, whose heads run in chunks; and the loss is the mean of what it reports."""
    network = causal() if name == "ar" else Transformer(V, dim=16, layers=1, heads=2, time=True)
    nn.init.normal_(network.head.weight, std=0.1)
    model = of(MODELS[name], network.double())
    found = []
    for chunk in (2**24, 60):
        monkeypatch.setitem(rows.CHUNK, "cpu", chunk)
        terms = model(ALL.repeat(4, 3), generator=torch.Generator().manual_seed(0))
        terms.loss.backward()
        found.append([p.grad.clone() for p in model.parameters()] + [terms.loss.detach()])
        model.zero_grad()
        if name != "d3pm":  # whose loss has its auxiliary part
            assert float(terms.loss.detach()) == pytest.approx(
                float(terms.nelbo.detach().mean()) / 6
            )
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert all(bool(p.any()) for p in found[0][-4:])


@pytest.mark.parametrize("name", [name for name in MODELS if name])
def test_a_folder_says_which_process_it_holds(name, tmp_path):
    network = causal() if name == "ar" else Transformer(V, dim=16, layers=1, heads=2, time=True)
    own = {"uniform": {"steps": 7}, "d3pm": {"steps": 7, "auxiliary": 0.05}}.get(name, {})
    model = of(MODELS[name], network, meta={"length": N}, **own).eval()
    model.save_pretrained(tmp_path / "model")
    again = open_model(tmp_path / "model")
    assert type(again) is MODELS[name] and again.own == own
    generators = (torch.Generator().manual_seed(0) for _ in range(2))
    nats = [m.nelbo(ALL, generator=g) for m, g in zip((model, again), generators, strict=True)]
    assert torch.equal(*nats)
    with pytest.raises(ValueError, match=f"of --rival {name}, and this is for masked diffusion"):
        unmask.MaskedDiffusion.from_pretrained(tmp_path / "model")
    of(unmask.MaskedDiffusion, Transformer(V)).save_pretrained(tmp_path / "plain")
    assert "rival" not in (tmp_path / "plain" / "config.json").read_text()
    assert type(open_model(tmp_path / "plain")) is unmask.MaskedDiffusion
    with pytest.raises(ValueError, match="holds a model of masked diffusion"):
        MODELS[name].from_pretrained(tmp_path / "plain")


def test_a_folder_of_d3pm_of_before_has_the_auxiliary_weight_that_all_had(tmp_path, monkeypatch):
    monkeypatch.setattr(D3PM, "own", property(lambda model: {"steps": model.steps}))
    of(D3PM, Transformer(V), steps=7, auxiliary=0.05).save_pretrained(tmp_path)
    monkeypatch.undo()
    assert open_model(tmp_path).own == {"steps": 7, "auxiliary": 0.001}
