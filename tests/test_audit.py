"""What tells a bound from a loss: known distributions, their exact denoisers, and checks that fail
when something is wrong."""

import itertools
import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from pages import run_page
from smooth import smooth_in_t
from test_core import table_model

import unmask
from unmask import alphabets, diffusion, schedules
from unmask.audit import (
    Posterior,
    Table,
    copies,
    entropy_floor,
    exact_nelbo,
    measure,
    selftest,
    tables,
)
from unmask.audit import checks as check_model
from unmask.cli import main
from unmask.likelihood import enumeration
from unmask.rivals import D3PM
from unmask.roles import ABSENT, GIVEN, SCORED, UNKNOWN

DOCS = Path(__file__).parents[1] / "docs" / "bounds.md"
LOG2 = math.log(2)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def model_of(denoiser, **how):
    return unmask.MaskedDiffusion(denoiser, denoiser.schedule, denoiser.subtokenizer, **how)


def joint(denoiser, x):
    """The exact joint loss: objective="joint" averaged over all masks, by its paper's formula."""
    model, y = model_of(denoiser), denoiser.subtokenizer.encode(x)
    count, total = y.shape[1], torch.zeros(len(x), dtype=torch.float64)
    for mask in itertools.product((False, True), repeat=count):
        if any(mask):
            k = sum(mask)
            weight = math.factorial(k - 1) * math.factorial(count - k) / math.factorial(count)
            logp = model.predict(y.masked_fill(torch.tensor(mask), denoiser.mask_id))
            total = total - weight * logp.gather(-1, x[..., None])[..., 0].sum(-1)
    return total


def exact(denoiser, x):
    return exact_nelbo(model_of(denoiser), x)


# ---------------------------------------------------------------- the exact denoiser


def bayes(table, schedule, z, t):
    """p(token at s | z at t) by Bayes' rule, one sequence after the other."""
    sub, size = table.subtokenizer, table.subtokenizer.vocab_size
    mu = torch.zeros(table.x.shape[1], size, dtype=torch.float64)
    masked_at = schedule.masked(torch.tensor(t, dtype=torch.float64)).tolist()
    for x, p in zip(table.x, table.p.tolist()):
        digits, likelihood = sub.encode(x[None])[0].tolist(), p
        per_token = schedule.num_values not in (1, sub.base)
        for i, (digit, state) in enumerate(zip(digits, z)):
            value = int(x[i // sub.length]) if per_token else digit
            gone = masked_at[0 if schedule.num_values == 1 else value]
            # the digits of a token share one coin
            gone = 1.0 if per_token and i % sub.length else gone
            kept = 1.0 if per_token and i % sub.length else 1 - gone
            likelihood *= gone if state == sub.mask_id else kept * (state == digit)
        for s, v in enumerate(x.tolist()):
            mu[s, v] += likelihood
    return mu / mu.sum(-1, keepdim=True)


@pytest.mark.parametrize("curves", ["one", "per digit value", "per token"])
@pytest.mark.parametrize("which", range(5))
def test_the_denoiser_is_the_posterior(which, curves):
    table = tables()[which]
    sub, generator = table.subtokenizer, rng()
    schedule = {"one": schedules.Cosine(), "per digit value": selftest.learned(sub.base)}.get(
        curves
    ) or selftest.learned(sub.vocab_size)
    denoiser = Posterior(table, schedule)
    assert denoiser.uses_time is (curves != "one")
    for _ in range(12):
        y = sub.encode(table.x[torch.randint(len(table.x), (1,), generator=generator)])
        masked = (
            torch.rand(
                1, y.shape[1] if curves != "per token" else table.x.shape[1], generator=generator
            )
            < 0.6
        )
        z = y.masked_fill(
            masked.repeat_interleave(y.shape[1] // masked.shape[1], 1), denoiser.mask_id
        )
        t = float(torch.rand((), generator=generator))
        mu = denoiser(z, torch.tensor([t], dtype=torch.float64)).exp()[0]
        assert torch.allclose(mu, bayes(table, schedule, z[0].tolist(), t), rtol=1e-9, atol=1e-12)


def test_permuted_codes_have_the_same_floor():
    """The digits are those of the codes, and the network's logits are by code."""
    plain = tables()[4]
    sub = unmask.Subtokenizer(5, 2, codes=torch.tensor([3, 0, 4, 2, 1]))
    assert measure(exact, Posterior(plain._replace(subtokenizer=sub))).loss == pytest.approx(
        plain.entropy, rel=1e-12
    )


@pytest.mark.parametrize("digits", [True, False])
def test_the_tables_are_distributions_in_which_something_depends_on_something(digits):
    found = tables(digits)
    assert found[0].entropy == pytest.approx(LOG2) and found[2].entropy == pytest.approx(
        math.log(4)
    )
    for table in found:
        length = table.subtokenizer.length
        assert (length > 1) is digits and float(table.p.sum()) == pytest.approx(1, rel=1e-12)
        y = table.subtokenizer.encode(table.x)
        marginals = 0.0
        for column in y.T:
            p = torch.zeros(int(y.max()) + 1, dtype=torch.float64).index_add(0, column, table.p)
            marginals -= float(torch.special.xlogy(p, p).sum())
        assert marginals > table.entropy + 0.05
    # 5 = 3^2 - 4: codes beyond the vocabulary
    assert {table.subtokenizer.vocab_size for table in found} >= {5}


# ---------------------------------------------------------------- the floor


@pytest.mark.parametrize("k", [2, 3, 5])
def test_the_joint_loss_of_k_copies_is_a_kth_of_the_entropy(k):
    floor = measure(joint, Posterior(copies(k)))
    assert floor.loss == pytest.approx(LOG2 / k, rel=1e-12) and floor.entropy == pytest.approx(
        LOG2, rel=1e-12
    )
    # each of two sequences pays 1/k bit
    assert floor.kraft == pytest.approx(2 * 2 ** (-1 / k), rel=1e-12)
    assert floor.below and floor.crowded


def test_a_loss_that_is_no_bound_is_named_with_the_distribution_that_shows_it():
    floor = entropy_floor(joint)
    assert floor.violated and floor.name == copies(4).name and len(floor.tables) == 5
    assert torch.equal(floor.table.x, copies(4).x) and floor.loss < floor.entropy
    assert repr(floor).startswith(
        "Floor(not a bound: loss 0.1733"
    ) and "'4 copies of a fair bit" in repr(floor)


@pytest.mark.parametrize("digits", [True, False])
def test_a_bound_reaches_the_floor_and_nothing_more_is_said(digits):
    floor = entropy_floor(exact, digits=digits)
    assert (
        not floor.violated
        and floor.stderr == 0
        and floor.loss == pytest.approx(floor.entropy, rel=1e-12)
    )
    assert "no violation found on these distributions" in repr(floor) and "not a bound" not in repr(
        floor
    )
    drawn = entropy_floor(
        lambda d, x: model_of(d).nelbo(x, generator=GENERATOR), digits=digits, repeats=320
    )
    # 0 where rounding of equal draws leaves nothing
    assert not drawn.violated and 0 <= drawn.stderr < 0.1


GENERATOR = rng(5)


def test_schedules_of_ones_own_reach_the_loss():
    floor = entropy_floor(exact, schedule=lambda sub: selftest.learned(sub.base))
    assert not floor.violated and floor.loss == pytest.approx(floor.entropy, rel=1e-9)
    blind = entropy_floor(
        lambda d, x: exact_nelbo(model_of(Posterior(d.table)), x),
        schedule=lambda sub: selftest.learned(sub.base),
    )
    assert blind.loss == pytest.approx(blind.entropy, rel=1e-9)


SKEWED = Table(
    "skewed",
    torch.tensor([[0], [1]]),
    torch.tensor([0.9, 0.1], dtype=torch.float64),
    unmask.Subtokenizer(2),
)


def test_the_kraft_sum_finds_what_the_entropy_does_not():
    floor = entropy_floor(lambda d, x: torch.tensor([0.5, 0.01])[x[:, 0]], distributions=[SKEWED])
    assert floor.loss > floor.entropy and not floor.below
    assert (
        floor.kraft == pytest.approx(math.exp(-0.5) + math.exp(-0.01), rel=1e-6)
        and floor.crowded
        and floor.violated
    )


def noisy(spread, seed, extra=0.0):
    """-log p itself plus noise: a bound on average, each draw of which is not."""
    generator = rng(seed)
    nll = -SKEWED.p.log() + extra
    return lambda d, x: (
        nll[x[:, 0]] + spread * torch.randn(len(x), generator=generator, dtype=torch.float64)
    )


def test_the_noise_of_a_loss_does_not_raise_the_kraft_sum():
    """exp of a noisy mean is too large by half its variance: 9 / 32 / 2, a seventh."""
    seeds = 900
    floors = [
        entropy_floor(noisy(3.0, seed), distributions=[SKEWED], repeats=32) for seed in range(seeds)
    ]
    kraft = torch.tensor([floor.kraft for floor in floors], dtype=torch.float64)
    naive = torch.stack([(-floor.per_example).exp().sum() for floor in floors])
    assert float(kraft.mean()) < 1 + 6 * float(kraft.std()) / math.sqrt(seeds)
    assert float(naive.mean()) > 1 + 6 * float(naive.std()) / math.sqrt(seeds)
    assert not any(floor.violated for floor in floors)


def test_the_error_of_a_random_loss_is_the_spread_of_its_means():
    floors = [
        entropy_floor(noisy(1.0, seed), distributions=[SKEWED], repeats=64) for seed in range(300)
    ]
    expected = math.sqrt((0.9**2 + 0.1**2) / 64)  # of the mean of 64 draws a sequence
    reported = math.sqrt(sum(floor.stderr**2 for floor in floors) / 300)
    assert reported == pytest.approx(expected, rel=6 * math.sqrt(1 / (2 * 31 * 300)))
    spread = float(torch.tensor([floor.loss for floor in floors], dtype=torch.float64).std())
    assert spread == pytest.approx(expected, rel=6 * math.sqrt(1 / (2 * 299)))
    # each sequence's own value enters the sum with its own weight: values of exp(-c)(1 + c - loss)
    # over half of the calls
    assert all(floor.kraft_stderr > 0 for floor in floors)


def test_a_loss_a_little_below_the_entropy_is_found_with_enough_draws():
    below = [
        entropy_floor(noisy(1.0, seed, extra=-0.05), distributions=[SKEWED], repeats=64000)
        for seed in range(3)
    ]
    assert all(floor.below and floor.violated for floor in below)
    unclear = entropy_floor(noisy(1.0, 0, extra=-0.05), distributions=[SKEWED], repeats=32)
    assert not unclear.violated


def test_infinite_losses_are_bounds():
    floor = entropy_floor(
        lambda d, x: torch.where(x[:, 0] == 1, torch.inf, 0.5), distributions=[SKEWED]
    )
    assert (
        floor.loss == math.inf
        and not floor.violated
        and floor.kraft == pytest.approx(math.exp(-0.5), rel=1e-6)
    )


@pytest.mark.parametrize(
    "call,named",
    [
        (
            lambda: entropy_floor(lambda d, x: exact(d, x).mean()),
            r"nats per example \(2,\), not shape \(\)",
        ),
        (lambda: entropy_floor(lambda d, x: exact(d, x) * math.nan), "NaN"),
        (lambda: entropy_floor(noisy(1.0, 0), distributions=[SKEWED]), "repeats="),
        (lambda: entropy_floor(exact, repeats=8), "not 8"),
        (lambda: entropy_floor(exact, distributions=[]), "no distributions"),
        (
            lambda: entropy_floor(lambda d, x: d(x + 7).sum((1, 2))),
            "agrees with no sequence; masked is 2",
        ),
        (lambda: Posterior(SKEWED._replace(p=SKEWED.p / 2)), "sum to 1"),
        (
            lambda: Posterior(SKEWED._replace(x=torch.zeros(2, 1, dtype=torch.long))),
            "each sequence once",
        ),
        (lambda: Posterior(SKEWED, selftest.learned(3)), "3 curves"),
        (lambda: Posterior(SKEWED, selftest.learned(2))(torch.tensor([[2]])), "depends on t"),
    ],
)
def test_what_cannot_be_audited_is_refused_by_name(call, named):
    with pytest.raises(ValueError, match=named):
        call()


# ---------------------------------------------------------------- the package


def test_every_estimator_of_the_package_behaves_as_it_should(monkeypatch):
    monkeypatch.setattr(selftest, "REPEATS", 256)
    rows = list(selftest.run())
    assert all(row.passed for row in rows), [str(row) for row in rows if not row.passed]
    names = " ".join(row.estimator for row in rows)
    for needed in (
        "MD4, exact count", "MD4, discrete", "GenMD4, sampled", "GenMD4, discrete",
        "Prime, marginals", "joint kernel", 'masking="token"', "exact_nelbo", "GenMD4 over digits",
    ):  # fmt: skip
        assert needed in names
    found = [row for row in rows if "NOT A BOUND" in row.note]
    assert [row.estimator for row in found] == [
        'Prime, objective="joint", 2 digits',
        'Prime, objective="joint", 4 digits',
    ]
    assert [row.value / row.entropy for row in found] == pytest.approx([1 / 2, 1 / 4], rel=0.1)
    exact_rows = [row for row in rows if row.estimator.endswith("exact_nelbo")]
    assert len(exact_rows) == 5 and all(abs(row.value - row.entropy) < 1e-9 for row in exact_rows)


def once_a_token(self, logp, y, masked, times=None):
    """What the paper charged: the joint cross-entropy, once a token."""
    code = (y * self.subtokenizer.base ** torch.arange(y.shape[1] - 1, -1, -1)).sum(-1)
    return -logp.gather(1, code[:, None])[:, 0]


def test_the_selftest_fails_where_the_package_charges_a_joint_cross_entropy(monkeypatch, capsys):
    """In the draws, and in the enumeration."""
    monkeypatch.setattr(selftest, "REPEATS", 256)
    monkeypatch.setattr(selftest, "tables", lambda digits=True: [copies(2, digits)])
    of = unmask.MaskedDiffusion.score_units
    with monkeypatch.context() as broken:

        def score_units(self, *a, **k):
            return of(
                self,
                *a,
                **k | {"joint": k.get("masking") is None and self.schedule.num_values == 1},
            )

        broken.setattr(unmask.MaskedDiffusion, "score_units", score_units)
        broken.setattr(unmask.MaskedDiffusion, "nats", once_a_token)
        assert main(["audit", "--selftest"]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if "FAIL" in line]
    for name in (
        "Prime, marginals, exact count",
        "Prime, the training step's own draw",
        "Prime, exact_nelbo ",
    ):
        assert any(line.startswith(name) and "NOT A BOUND" in line for line in failed), name
    assert not any(line.startswith("MD4, exact") and "T = " not in line for line in failed)


@pytest.mark.parametrize("factor,fails", [(0.8, True), (1.25, True), (1.0, False)])
def test_the_selftest_fails_where_a_discrete_bound_is_off(monkeypatch, factor, fails):
    """Both the draws and the enumeration are: the entropy is what they are held against."""
    monkeypatch.setattr(selftest, "REPEATS", 256)
    monkeypatch.setattr(selftest, "tables", lambda digits=True: tables(digits)[2:3])
    of = diffusion.discrete
    monkeypatch.setattr(diffusion, "discrete", lambda *a: factor * of(*a))
    failed = {row.estimator for row in selftest.run() if not row.passed}
    assert bool(failed) is fails and all("T = " in name for name in failed)
    if fails:
        assert "Prime, exact_nelbo, T = 4, 16, 64" in failed
        # the draws agree with the enumeration, below the entropy or above
        assert ("MD4, discrete, T = 8" in failed) is (factor < 1)


def test_the_selftest_fails_where_the_draws_are_off(monkeypatch):
    monkeypatch.setattr(selftest, "REPEATS", 512)
    monkeypatch.setattr(selftest, "tables", lambda digits=True: tables(digits)[2:3])
    of = unmask.MaskedDiffusion.draw
    monkeypatch.setattr(
        unmask.MaskedDiffusion,
        "draw",
        lambda self, *a, **k: (d := of(self, *a, **k))._replace(scale=1.3 * d.scale),
    )
    failed = {row.estimator for row in selftest.run() if not row.passed}
    assert {
        "MD4, exact count",
        "Prime, marginals, exact count",
        f"MD4, discrete, T = {selftest.STEPS}",
    } <= failed
    # it is no bound still, but not what it should be
    assert 'Prime, objective="joint", 2 digits' in failed
    assert not any("exact_nelbo" in name for name in failed)


# ---------------------------------------------------------------- a model


class Network(unmask.backbones.Transformer):
    """A transformer whose output is not uniform."""

    def __init__(self, vocab_size, **how):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            super().__init__(vocab_size, dim=16, layers=1, heads=2, **how)
            torch.nn.init.normal_(self.head.weight, std=0.5)
            if self.modulation is not None:
                torch.nn.init.normal_(self.modulation.weight, std=0.5)
            smooth_in_t(self)


def network_model(kind="plain", network=Network):
    if kind == "digits":
        return unmask.MaskedDiffusion(
            network(5, digits=2), schedules.Cosine(), unmask.Subtokenizer(5, 2), objective="joint"
        )
    if kind == "learned":
        return unmask.MaskedDiffusion(
            network(5, time=True), selftest.learned(5).float(), unmask.Subtokenizer(5)
        )
    return unmask.MaskedDiffusion(network(7), schedules.Linear(), unmask.Subtokenizer(7))


def checks(model, valid=False, **how):
    x = torch.randint(0, model.subtokenizer.vocab_size, (20, 11), generator=rng())
    valid = torch.arange(11) < torch.randint(4, 12, (20, 1), generator=rng(1)) if valid else None
    return {check.name: check for check in check_model.check_model(model, x, valid, units=4, **how)}


def failures(found):
    return {name.split(":")[0] for name, check in found.items() if not check.passed}


@pytest.mark.parametrize("valid", [False, True])
@pytest.mark.parametrize("kind", ["plain", "digits", "learned"])
def test_a_sound_model_passes(kind, valid):
    found = checks(network_model(kind), valid)
    assert not failures(found)
    groups = [name.split(":")[0] for name in found]
    expected = {"normalisation": 1, "carry-over": 2, "batch": 1, "padding": 2, "precision": 1}
    expected["estimators"] = 2 if kind == "learned" else 3
    expected["enumeration"] = 4 if kind == "digits" else 2
    assert {group: groups.count(group) for group in groups} == expected
    assert not any(check.note.startswith("left out") for check in found.values())


def test_what_is_absent_by_its_role_is_padding():
    model = network_model("plain")
    x = torch.randint(0, model.subtokenizer.vocab_size, (20, 11), generator=rng())
    valid = torch.arange(11) < torch.randint(4, 12, (20, 1), generator=rng(1))
    role = torch.where(valid, SCORED, ABSENT).to(torch.int8)
    role[:, 0], role[:, 1] = GIVEN, UNKNOWN
    found = check_model.check_model(model, x, role, units=4)
    assert [check.name for check in found if not check.passed] == []


def test_a_network_that_is_too_rough_in_time_is_said_not_to_be_enumerated(monkeypatch):
    monkeypatch.setattr(enumeration, "FINEST", 1 / 16)
    model = network_model("learned")
    with torch.no_grad():
        torch.nn.init.normal_(model.backbone.time[0].weight, std=0.5)
    found = checks(model)
    (rough,) = (c for name, c in found.items() if name.startswith("enumeration: continuous"))
    assert rough.note.startswith("left out: the bound is an integral over t") and rough.passed
    assert not failures(found)


def test_what_depends_on_the_rest_of_the_batch_fails():
    class Batch(Network):
        def features(self, z, t=None, cond=None, valid=None):
            h = super().features(z, t, cond, valid)
            return h + 1e-6 * h.mean(0, keepdim=True)

    assert "batch" in failures(checks(network_model(network=Batch))) and not failures(
        checks(network_model())
    )


def test_what_attends_to_padding_fails():
    class Careless(Network):
        def features(self, z, t=None, cond=None, valid=None):
            return super().features(z, t, cond)

    found = checks(network_model(network=Careless))
    assert failures(found) == {"padding"} and sum(not check.passed for check in found.values()) == 2


def test_logits_that_are_nan_fail():
    model = network_model()
    with torch.no_grad():
        model.backbone.head.bias[2] = torch.nan
    assert {"normalisation", "enumeration", "estimators"} <= failures(checks(model))


def test_lost_carry_over_fails(monkeypatch):
    monkeypatch.setattr(
        alphabets,
        "consistent",
        lambda digits, base: torch.ones(len(digits), base ** digits.shape[1], dtype=torch.bool),
    )
    found = checks(network_model("digits"))
    assert not any(check.passed for name, check in found.items() if name.startswith("carry-over"))


def test_estimators_that_are_off_fail(monkeypatch):
    of = unmask.MaskedDiffusion.draw
    monkeypatch.setattr(
        unmask.MaskedDiffusion,
        "draw",
        lambda self, *a, **k: (d := of(self, *a, **k))._replace(scale=1.2 * d.scale),
    )
    assert "enumeration" in failures(checks(network_model()))
    monkeypatch.undo()
    off = diffusion.discrete
    monkeypatch.setattr(diffusion, "discrete", lambda *a: 1.3 * off(*a))  # in the enumeration, too
    assert failures(checks(network_model(), repeats=128)) == {"estimators"}


def test_the_estimator_by_sampled_times_is_unbiased():
    model = network_model("digits")
    x = torch.randint(0, 5, (6, 3), generator=rng())
    exact = float(exact_nelbo(model, x).mean().detach())
    mean, noise = check_model.sampled_times(model, x, None, 800, 1)
    assert abs(mean - exact) < 6 * noise < 0.15 * exact


def test_the_estimator_by_sampled_times_shows_the_time_that_fits_what_is_hidden():
    """Of examples half of which is not known, as of draws: to a network that looks at t."""
    of = table_model(schedules.Linear(), 5, 4)

    class Scaled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.of = of.backbone

        def forward(self, z, t, valid=None):
            return 2 * t.view(-1, 1, 1) * self.of(z)

    model = unmask.MaskedDiffusion(Scaled(), of.schedule, of.subtokenizer)
    x = torch.randint(0, 5, (6, 4), generator=rng())
    role = torch.tensor([[UNKNOWN, SCORED, UNKNOWN, SCORED]] * 6, dtype=torch.int8)
    exact = float(exact_nelbo(model, x, role=role).mean().detach())
    mean, noise = check_model.sampled_times(model, x, role, 200, 1)
    assert abs(mean - exact) < 6 * noise < 0.3 * exact


def test_what_is_audited_of_a_rival_in_steps_is_its_bound_in_continuous_time():
    of = network_model()
    model = D3PM(of.backbone, of.schedule, of.subtokenizer, steps=1)
    assert not failures(checks(model))


def test_networks_without_valid_and_fixed_positions_are_checked_for_the_rest():
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.of = Network(7)

        def forward(self, z):
            return self.of(z)

    found = checks(unmask.MaskedDiffusion(Plain(), schedules.Linear(), unmask.Subtokenizer(7)))
    assert not failures(found) and "Plain takes no valid" in found["padding"].note
    found = checks(
        unmask.MaskedDiffusion(
            Network(7),
            schedules.Linear(),
            unmask.Subtokenizer(7),
            allowed=torch.ones(11, 7, dtype=torch.bool),
        )
    )
    assert (
        not failures(found)
        and "positions" in found["enumeration"].note
        and "estimators: 32 steps less continuous time" in found
    )


def test_a_check_without_a_limit_is_reported_only_and_nan_never_passes():
    nan = math.nan
    assert (
        check_model.Check("a", 5.0, nan, "").passed
        and not check_model.Check("a", nan, 1.0, "").passed
    )
    assert (
        check_model.Check("a", -1.0, 1.0, "").passed
        and not check_model.Check("a", -1.1, 1.0, "").passed
    )
    for how in ({"units": 13}, {"units": 0}, {"repeats": 31}):
        with pytest.raises(ValueError, match=str(next(iter(how.values())))):
            checks(network_model(), **how) if "repeats" in how else list(
                check_model.check_model(network_model(), torch.zeros(1, 3).long(), **how)
            )


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    (home / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 100)
    small = [
        "--length", "12", "--dim", "16", "--layers", "1", "--heads", "2", "--batch-size", "8",
        "--minutes", "0", "--steps", "20", "--digits", "2", "--objective", "joint", "--focus", "0",
    ]  # fmt: skip
    flags = ["--tokenizer", "characters"]
    assert main(["prepare", "text", str(home / "text.txt"), str(home / "data"), *flags]) == 0
    command = ["train", "demo", "--data", str(home / "data"), "--out", str(home / "run"), *small]
    assert main(command) == 0
    return home


def strict(constant):
    raise AssertionError(f"{constant} is not JSON")


def test_a_model_trained_on_the_joint_loss_is_audited_for_its_bound(home, capsys):
    record = home / "record.json"
    capsys.readouterr()
    flags = ["--data", str(home / "data"), "--enumerate", "4", "--json", str(record)]
    assert main(["audit", str(home / "run"), *flags]) == 0
    out = capsys.readouterr().out
    assert (
        "joint loss, which is no bound" in out
        and "19 windows of 12 tokens, test split" in out
        and "all 15 passed" in out
    )
    row = json.loads(record.read_text(encoding="utf-8"), parse_constant=strict)
    assert (
        row["failed"] == 0
        and len(row["rows"]) == 15
        and row["data_sha256"]
        and row["model_sha256"]
        and row["objective"] == "joint"
    )
    assert all(line["passed"] for line in row["rows"]) and row["rows"][-1]["limit"] is None
    assert main(["audit", str(home / "run"), "--limit", "4", "--enumerate", "2"]) == 0
    assert "4 samples of the model itself, 12 tokens each" in capsys.readouterr().out


def test_a_failed_check_is_exit_code_1(home, capsys, monkeypatch):
    monkeypatch.setattr(
        alphabets,
        "consistent",
        lambda digits, base: torch.ones(len(digits), base ** digits.shape[1], dtype=torch.bool),
    )
    capsys.readouterr()
    assert main(["audit", str(home / "run"), "--data", str(home / "data"), "--limit", "4"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"carry-over: .* FAIL", out) and re.search(r"\d of 15 FAILED", out)


@pytest.mark.parametrize(
    "flags,named",
    [
        ([], "--selftest"),
        (["run", "--selftest"], "not both"),
        (["--selftest", "--data", "data"], "--data"),
        (["nowhere", "--enumerate", "13"], "2^13 masks: it is limited to 12 units"),
        (["nowhere", "--enumerate", "0"], "--enumerate must be at least 1"),
        (["nowhere", "--limit", "0"], "--limit"),
        (["nowhere"], "nowhere"),
        (["nowhere", "--repeats", "8"], "--repeats must be at least 32"),
    ],
)
def test_an_audit_that_makes_no_sense_is_one_line_before_any_work(capsys, flags, named):
    capsys.readouterr()
    assert main(["audit", *flags]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("unmask audit:") and err.count("\n") == 1 and named in err and not out


# ---------------------------------------------------------------- the page


def test_the_page_runs_and_says_what_it_says(text_run, data, tmp_path):
    """Its sub-commands are tested above; here the losses of one's own, and a model of two steps."""
    shutil.copytree(text_run, tmp_path / "run")
    shutil.copytree(data, tmp_path / "data")
    swaps = {"--selftest": "--help", "audit run": "audit run --limit 8 --repeats 32"}
    first, second, *_ = run_page("bounds.md", tmp_path, swaps).splitlines()
    assert first.startswith("Floor(not a bound") and "4 copies of a fair bit" in first
    assert second.startswith("Floor(no violation found on these distributions")


def test_the_two_bits_of_the_page_cost_what_the_page_says():
    said = " ".join(DOCS.read_text(encoding="utf-8").split())
    bound, loss = (measure(of, Posterior(copies(2))) for of in (exact, joint))
    assert bound.loss == pytest.approx(LOG2) and "dt = 1 bit`" in said
    assert loss.loss == pytest.approx(LOG2 / 2) and "dt = 1/2 bit`" in said
    assert f"= {loss.kraft:.2f}` in all" in said
