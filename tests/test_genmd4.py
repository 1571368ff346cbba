"""A learned schedule: its gradient by enumeration, its optimum, its training, sampling and what is
refused."""

import itertools
import json
import math
import re
from dataclasses import replace

import pytest
import torch

import unmask
from unmask import schedule_gradient, schedules
from unmask.audit import exact_nelbo
from unmask.bench import estimators
from unmask.cli import main
from unmask.config import TrainConfig
from unmask.data import open_data
from unmask.kernels.marginals import marginal_nats
from unmask.masks import Times, Uniforms, draw
from unmask.train import State, build, read_log, train, train_step
from unmask.train.state import optimizers

SMALL = TrainConfig(
    length=12, dim=24, layers=1, heads=2, batch_size=8, steps=6, warmup=2, eval_minutes=0,
    eval_windows=8, log_every=2, schedule="learned", time=True, dtype="float32", device="cpu",
    threads=1,
)  # fmt: skip


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------- the gradient


class Masks:
    """Two examples of two units, each at its own t, and what every unit pays in every state of its
    example's masks."""

    y = torch.tensor([[0, 1], [1, 2]])
    t = torch.tensor([0.3, 0.8], dtype=torch.float64)
    scale = torch.tensor([2.0, 0.5], dtype=torch.float64)
    patterns = torch.tensor(list(itertools.product((False, True), repeat=2)))
    pays = (4 + torch.rand(2, 4, 2, dtype=torch.float64, generator=rng())) * patterns

    def log_masked(self, power):
        return power[self.y] * self.t[:, None].log()

    def law(self, power):
        """(2, 4): q of every pattern of every example."""
        p = self.log_masked(power).exp()[:, None]
        return torch.where(self.patterns, p, 1 - p).prod(-1)

    def expectation_and_variance(self, guess=schedule_gradient.paid_in_the_other_half, valid=None):
        """Of the estimator's gradient, over all pairs of draws of both examples; and the exact
        gradient."""
        valid = torch.ones(2, 2, dtype=torch.bool) if valid is None else valid
        power = torch.tensor([0.5, 1.0, 2.5], dtype=torch.float64, requires_grad=True)
        q = self.law(power)
        exact = torch.autograd.grad((q * (self.scale[:, None] * self.pays.sum(-1))).sum(), power)[0]
        mean, square, q = torch.zeros(3).double(), torch.zeros(3).double(), q.detach()
        # example 0: patterns a and c, example 1: b and d
        for a, b, c, d in itertools.product(range(4), repeat=4):
            weight = q[0, a] * q[1, b] * q[0, c] * q[1, d]
            masked = tuple(self.patterns[[i, j]] for i, j in ((a, b), (c, d)))
            nats = tuple(
                self.scale[:, None] * torch.stack([self.pays[0, i], self.pays[1, j]])
                for i, j in ((a, b), (c, d))
            )
            pair = schedule_gradient.Pair(
                self.y, valid, self.log_masked(power), masked, nats, self.scale, torch.zeros(())
            )
            g = torch.autograd.grad(schedule_gradient.surrogate(pair, guess(pair, 3)), power)[0]
            mean, square = mean + weight * g, square + weight * g**2
        return exact, mean, (square - mean**2).sum()


def test_the_gradient_of_the_schedule_is_unbiased_by_enumeration_and_less_noisy_than_genmd4s():
    exact, mean, variance = Masks().expectation_and_variance()
    torch.testing.assert_close(mean, exact, rtol=1e-12, atol=1e-12)
    exact, mean, theirs = Masks().expectation_and_variance(
        lambda pair, _: torch.zeros(pair.y.shape).double()
    )
    torch.testing.assert_close(mean, exact, rtol=1e-12, atol=1e-12)
    assert variance < theirs / 4, (variance, theirs)


def test_the_guess_is_made_of_the_other_half_of_the_batch_alone():
    m = Masks()
    masked = (m.patterns[[3, 3]], m.patterns[[3, 1]])
    nats = tuple(
        torch.tensor(n).double() for n in ([[2.0, 4.0], [1.0, 3.0]], [[6.0, 8.0], [0.0, 5.0]])
    )
    pair = schedule_gradient.Pair(
        m.y,
        masked[0] | True,
        torch.zeros(2, 2),
        masked,
        nats,
        torch.ones(2).double(),
        torch.zeros(()),
    )
    guess = schedule_gradient.paid_in_the_other_half(pair, 3)
    mean = (2 + 4 + 6 + 8) / 4  # what example 0 paid; value 1: 4 and 8; value 2: never
    assert guess[1].tolist() == pytest.approx([(4 + 8 + mean) / 3, mean])
    mean = (1 + 3 + 5) / 3
    assert guess[0].tolist() == pytest.approx([mean, (1 + mean) / 2])
    first = schedule_gradient.Pair(
        *(tuple(u[:1] for u in v) if isinstance(v, tuple) else v[:1] for v in pair[:-1]), pair.total
    )
    alone = schedule_gradient.paid_in_the_other_half(first, 3)
    assert alone.tolist() == [[0.0, 0.0]]


@pytest.mark.parametrize("digits,masking", [(1, "digit"), (2, "digit"), (2, "token")])
def test_the_gradient_through_the_model_is_the_enumerated_one(digits, masking):
    """With padding, over digits and over tokens; the schedule's gradient and the network's."""
    vocab_size, base = 4, 2 if (digits, masking) == (2, "digit") else 4
    torch.manual_seed(0)
    schedule = schedules.LearnedPolynomial(base).double()
    with torch.no_grad():
        schedule.raw.copy_(torch.linspace(-0.5, 0.7, base))
    network = unmask.backbones.Transformer(
        vocab_size, dim=16, layers=1, heads=2, time=True, digits=digits
    ).double()
    torch.nn.init.normal_(network.head.weight, std=0.5)
    model = unmask.MaskedDiffusion(
        network, schedule, unmask.Subtokenizer(vocab_size, digits), masking=masking
    )
    x = torch.tensor([[0, 3, 1], [2, 1, 0], [3, 3, 2]])
    valid = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    parameters = [schedule.raw, network.head.bias]
    exact = torch.autograd.grad(exact_nelbo(model, x, valid=valid).sum() / valid.sum(), parameters)
    draws = []
    for seed in range(60):
        loss = model(x.repeat(100, 1), valid=valid.repeat(100, 1), generator=rng(seed)).loss
        draws.append([g.clone() for g in torch.autograd.grad(loss, parameters)])
    for i, target in enumerate(exact):
        found = torch.stack([draw[i] for draw in draws])
        error = found.std(0) / len(found) ** 0.5
        assert bool(((found.mean(0) - target).abs() < 5 * error + 1e-6).all()), (
            found.mean(0),
            target,
            error,
        )
        assert bool((error < 0.1 * target.abs().max()).all())  # the test can tell


def test_values_that_are_not_there_do_not_govern_the_draw():
    """Their powers drift to the lowest; times drawn for them would make the bound of the others
    noisy."""
    network = unmask.backbones.Transformer(4, dim=16, layers=1, heads=2, time=True)
    model = unmask.MaskedDiffusion(network, schedules.LearnedPolynomial(4), unmask.Subtokenizer(4))
    x = torch.tensor([[0, 1, 0, 3], [2, 1, 2, 2]])
    # so the first row has values 0 and 1, and nobody has 3
    valid = torch.tensor([[True, True, True, False], [True] * 4])
    before = model.draw(model.clean(x, valid), generator=rng())
    with torch.no_grad():
        model.schedule.raw[3] = -20.0
    after = model.draw(model.clean(x, valid), generator=rng())
    assert torch.equal(before.t, after.t) and torch.equal(before.scale, after.scale)
    with torch.no_grad():
        model.schedule.raw[2] = -20.0
    after = model.draw(model.clean(x, valid), generator=rng())
    # a smaller power, smaller times
    assert torch.equal(before.t[0], after.t[0]) and before.t[1] > after.t[1]


def test_a_value_that_is_all_but_sure_to_be_revealed_is_not_taken_for_one_that_stays():
    """In the first of two steps the second value is revealed with 1 - 2^-60, which rounds to 1."""
    schedule = schedules.LearnedPolynomial.of_powers(torch.tensor([1.0, 60.0]))
    # an untrained one: uniform
    network = unmask.backbones.Transformer(2, dim=16, layers=1, heads=2, time=True)
    model = unmask.MaskedDiffusion(network.double(), schedule, unmask.Subtokenizer(2))
    bound = exact_nelbo(model, torch.tensor([[0], [1]]), steps=2).detach()
    assert float(bound[0]) == pytest.approx(1.5 * math.log(2), abs=1e-6)
    assert float((-bound).exp().sum()) <= 1


@pytest.mark.parametrize("bf16", [False, True])
def test_low_precision_does_not_break_the_bound(bf16):
    """Kraft: the sum over all x of exp(-bound(x)) is at most 1 for every network; powers rounded to
    8 bits made it 1.012."""
    schedule = schedules.LearnedPolynomial(3, init=1.003)
    # an untrained one: uniform, whatever its precision
    network = unmask.backbones.Transformer(3, dim=16, layers=1, heads=2, time=True)
    model = unmask.MaskedDiffusion(network, schedule, unmask.Subtokenizer(3))
    x = torch.cartesian_prod(*[torch.arange(3)] * 4)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        assert float((-exact_nelbo(model, x)).exp().sum()) < 1 + 1e-5
    y, masked = x[:, :1], torch.ones(len(x), 1, dtype=torch.bool)
    logits, power = (
        torch.randn(len(x), 3, generator=rng(), requires_grad=True),
        torch.tensor([0.301, 0.7123, 1.003], requires_grad=True),
    )
    found = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            total, _ = marginal_nats(logits, y, masked, 3, torch.ones(len(x)), power)
        found.append([total.detach(), *torch.autograd.grad(total, [logits, power])])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("power", [0.1, 0.5, 3.0])
def test_fine_steps_of_a_small_power_agree_with_continuous_time(power):
    """Intervals drawn uniformly almost never hit the times at which a small power masks."""
    network = unmask.backbones.Transformer(5, dim=16, layers=1, heads=2, time=True)
    schedule = schedules.LearnedPolynomial(5)
    with torch.no_grad():
        share = torch.tensor(power / 0.05).log() / torch.tensor(400.0).log()
        schedule.raw.copy_((share / (1 - share)).log() + torch.linspace(-0.05, 0.05, 5))
    model = unmask.MaskedDiffusion(network, schedule, unmask.Subtokenizer(5))
    x = torch.randint(0, 5, (4, 4), generator=rng())
    for steps, reference in ((2**20, None), (5, 5)):
        fine = unmask.estimate_nelbo(model, [x.repeat(128, 1)], steps=steps, repeats=32)
        with torch.no_grad():
            exact = exact_nelbo(model, x, reference).mean()
        assert abs(fine.mean - exact) < 5 * fine.noise + 1e-4 * exact
        assert fine.noise < 0.02 * exact


def test_the_powers_find_the_optimum():
    """The optimum is found by descending the exact bound itself.

    An exact posterior would pay the entropy under every schedule, so the network is a fixed, wrong
    one, for which it matters what is revealed first.
    """

    class OneWay(torch.nn.Module):
        """From 2 it concludes that the other value is 0, from 3 that it is 1; from 0 and 1 it
        concludes nothing."""

        uses_time = True

        def forward(self, z, t=None):
            other = z.flip(1)
            return 4.0 * torch.stack([other == 2, other == 3, other < 0, other < 0], -1).double()

    x = torch.tensor([[2, 0], [0, 2], [3, 1], [1, 3]])

    def one_way():
        schedule = schedules.LearnedPolynomial(4, bounds=(0.3, 3.0)).double()
        return unmask.MaskedDiffusion(OneWay(), schedule, unmask.Subtokenizer(4))

    def exact(model):
        return exact_nelbo(model, x).mean()

    model = one_way()
    start = float(exact(model).detach())
    newton = torch.optim.LBFGS(model.parameters(), max_iter=12, line_search_fn="strong_wolfe")

    def loss():
        newton.zero_grad()
        nats = exact(model)
        nats.backward()
        return nats

    newton.step(loss)
    best, bound = model.schedule.power.detach(), float(exact(model).detach())
    model, steps, generator = one_way(), 300, rng()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, total_iters=steps)
    for _ in range(steps):
        optimizer.zero_grad()
        model(x.repeat(16, 1), generator=generator).loss.backward()
        optimizer.step()
        decay.step()
    found, reached = model.schedule.power.detach(), float(exact(model).detach())
    assert best[2:].min() > 1.5 * best[:2].max()  # what tells is revealed first
    assert bound < start - 0.05
    assert reached < bound + 0.05 * (start - bound)
    torch.testing.assert_close(found.log(), best.log(), rtol=0, atol=0.25)


# ---------------------------------------------------------------- training


@pytest.mark.parametrize(
    "change,curves", [({}, 28), ({"digits": 2}, 6), ({"digits": 2, "masking": "token"}, 28)]
)
def test_the_schedule_is_trained_saved_and_resumed(data, tmp_path, change, curves):
    config = replace(SMALL, **change)
    folder = train(config, data, tmp_path / "run")
    model = unmask.MaskedDiffusion.from_pretrained(folder)
    assert model.schedule.power.shape == (curves,)
    assert len(model.schedule.power.unique()) > 1
    losses = [row["loss"] for row in read_log(tmp_path / "run" / "log.jsonl") if "loss" in row]
    # nats of the bound, not a surrogate's value
    assert all(0 < loss < 2 * torch.log(torch.tensor(28.0)) for loss in losses)
    assert unmask.sample(model, num=2, steps=3).shape == (2, 12)


def test_powers_have_their_own_rate_and_no_decay_and_stay_inside_their_bounds(data, tmp_path):
    config = replace(SMALL, schedule_learning_rate=50.0, weight_decay=0.5, warmup=1)
    model = build(config, 28, {})
    group = [
        g
        for o in optimizers(model, config)
        for g in o.param_groups
        if any(p is model.schedule.raw for p in g["params"])
    ]
    assert [(g["lr"], g["weight_decay"], len(g["params"])) for g in group] == [(50.0, 0.0, 1)]
    folder = train(config, data, tmp_path / "run")
    power = unmask.MaskedDiffusion.from_pretrained(folder).schedule.power.detach()
    assert bool(((power > 0.0499) & (power < 20.01)).all()) and float(power.max() / power.min()) > 5


def test_two_draws_of_a_fixed_schedule_are_the_control(data):
    """draws=2 sees each sequence twice, with other masks: the step of a batch in which every
    sequence stands twice."""
    text = open_data(data)
    twice = State(
        build(replace(SMALL, schedule="linear", draws=2), text.vocab_size, {}),
        replace(SMALL, schedule="linear", draws=2),
    )

    class Doubled:
        def batch(self, *arguments):
            return {"x": text.batch(*arguments)["x"].repeat_interleave(2, 0)}

    config = replace(SMALL, schedule="linear")
    once = State(build(config, text.vocab_size, {}), config)
    loss, _, count = train_step(replace(config, draws=2), text, twice)
    doubled, _, doubled_count = train_step(config, Doubled(), once)
    assert (loss, 2 * count) == (pytest.approx(doubled), doubled_count)
    assert all(
        torch.allclose(a, b)
        for a, b in zip(twice.model.parameters(), once.model.parameters(), strict=True)
    )


@pytest.mark.parametrize(
    "flags,said",
    [
        (["--schedule", "learned"], "needs --time.*evidence about the value"),
        (
            ["--schedule", "learned", "--time", "--draws", "1"],
            "draws must be 0, 1 or 2, and 0 or 2 with --schedule learned",
        ),
        (
            ["--schedule", "learned", "--time", "--power", "30"],
            "initial power 30.*bounds 0.05 to 20",
        ),
        (
            ["--schedule", "learned", "--time", "--digits", "2", "--objective", "joint"],
            "one curve only",
        ),
    ],
)
def test_what_cannot_be_learned_is_refused_before_any_work(data, tmp_path, capsys, flags, said):
    folders = ["--data", str(data), "--out", str(tmp_path / "run")]
    assert main(["train", "demo", *folders, "--focus", "0", *flags]) == 2
    error = capsys.readouterr().err
    assert re.search(said, error)
    assert error.count("\n") == 1 and not (tmp_path / "run").exists()


def test_the_record_of_a_run_names_its_estimator(data, tmp_path):
    flags = [
        f"--{name}={getattr(SMALL, name)}"
        for name in ("length", "dim", "layers", "heads", "steps", "dtype")
    ]
    run = [
        "train",
        "demo",
        "--data",
        str(data),
        "--out",
        str(tmp_path / "run"),
        "--json",
        str(tmp_path / "run.json"),
        *flags,
    ]
    learned = ["--schedule=learned", "--time", "--focus=0"]
    assert main([*run, "--minutes=0", "--eval-windows=8", *learned]) == 0
    assert (
        json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["estimator"]
        == "continuous time, sampled times"
    )


def test_one_unit_at_a_time_is_refused_with_the_reason(data, tmp_path, capsys):
    folder = train(SMALL, data, tmp_path / "run")
    assert main(["sample", str(folder), "--sampler", "first_hitting"]) == 2
    assert "depends on the value, which is not drawn yet" in capsys.readouterr().err


def test_the_bench_of_the_gradient_weighs_the_estimators(data, tmp_path, capsys):
    folder = train(SMALL, data, tmp_path / "run")
    rows = {
        name: value
        for name, value, _ in estimators.gradient(
            str(folder), str(data), batches=(8, 32), repeats=20
        )
    }
    for batch in (8, 32):
        noise = [
            rows[f"batch {batch}, {way}"]
            for way in (
                "no baseline",
                "leave one out (GenMD4)",
                "a guess of what each value pays (ours)",
            )
        ]
        assert noise[0] > 3 * noise[1] > 6 * noise[2] > 0
    assert rows["batch 8, leave one out (GenMD4)"] > 2 * rows["batch 32, leave one out (GenMD4)"]
    fixed = train(replace(SMALL, schedule="linear"), data, tmp_path / "fixed")
    assert main(["bench", "schedule-gradient", "--model", str(fixed), "--data", str(data)]) == 2
    assert "a model with a learned schedule" in capsys.readouterr().err


SPREADS = {
    "one": [1.5], "equal": [0.7] * 5, "near": [0.8, 1.0, 1.3], "far": [0.15, 0.5, 2.0, 6.7],
    "furthest": [0.05, 20.0, 20.0], "an outlier": [1.0] * 40 + [0.05],
}  # fmt: skip


def times_of(powers, size=1):
    power = torch.tensor(powers, dtype=torch.float64).expand(size, -1)
    return power, Times.of(power, torch.ones_like(power, dtype=torch.bool))


@pytest.mark.parametrize("powers", SPREADS.values(), ids=list(SPREADS))
def test_the_law_of_times_is_inverted_to_the_last_digits(powers):
    u = torch.cat([torch.rand(500, generator=rng(1), dtype=torch.float64), EXTREMES])
    _, times = times_of(powers, len(u))
    log_t = times.log_t(u)
    assert bool((log_t < 0).all())
    assert torch.allclose(times.below(log_t).log(), u.log(), rtol=1e-13, atol=1e-14)
    if len(set(powers)) == 1:
        assert torch.allclose(log_t, u.log() * 2 / powers[0], rtol=1e-13)


EXTREMES = torch.tensor([2.0**-54, 1e-12, 0.5, 1 - 1e-9, 1 - 2.0**-53], dtype=torch.float64)


@pytest.mark.parametrize("powers", SPREADS.values(), ids=list(SPREADS))
def test_what_a_unit_pays_has_the_right_mean_and_a_second_moment_of_at_most_4_n(powers):
    """By quadrature over the uniform of the time: a unit of power w pays w / t with probability
    t^w, so 1 on average over t, whatever the density of t is."""
    u = torch.sigmoid(torch.linspace(-36, 36, 40_001, dtype=torch.float64))
    du = u * (1 - u) * (72 / 40_000)
    power, times = times_of(powers, len(u))
    log_t = times.log_t(u)
    pays = power * times.factor(log_t)[:, None]
    masked = (power * log_t[:, None]).exp()
    mean = (du[:, None] * pays * masked).sum(0)
    second = (du[:, None] * pays**2 * masked).sum(0)
    assert mean.tolist() == pytest.approx([1] * len(powers), abs=1e-6)
    assert float(second.max()) <= 4 * len(powers) + 1e-6


def test_units_that_are_not_scored_do_not_enter_the_law_of_times():
    schedule = schedules.LearnedPolynomial(4, 1.0).double()
    with torch.no_grad():
        schedule.raw += torch.tensor([-2.0, 0.0, 0.7, 3.0])
    scored = torch.tensor([[True, False, True]]).expand(64, -1)
    for steps in (None, 7):
        u = Uniforms(
            *(torch.rand(64, *s, generator=rng(4), dtype=torch.float64) for s in ((), (3,)))
        )
        one, other = (
            draw(schedule, torch.tensor([[1, hidden, 2]]).expand(64, -1), scored, steps, u)
            for hidden in (0, 3)
        )
        assert torch.equal(one.t, other.t) and torch.equal(one.scale, other.scale)
        assert torch.equal(one.masked, other.masked) and not bool(one.masked[:, 1].any())


def test_discrete_intervals_are_drawn_as_often_as_their_scale_says():
    """The factor of an interval is one over its probability; so the mean of it is their number."""
    schedule = schedules.LearnedPolynomial(3, 1.0).double()
    with torch.no_grad():
        schedule.raw += torch.tensor([-1.5, 0.0, 2.0])
    count, steps = 20_000, 5
    y = torch.tensor([[0, 1, 2]]).expand(count, -1)
    pick = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    u = Uniforms(pick, torch.rand(count, 3, generator=rng(0), dtype=torch.float64))
    drawn = draw(schedule, y, y >= 0, steps, u)
    assert float(drawn.scale.mean()) == pytest.approx(steps, rel=1e-3)
    for scale in drawn.scale.unique().tolist():
        assert float((drawn.scale == scale).double().mean()) == pytest.approx(1 / scale, rel=1e-3)
