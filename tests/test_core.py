"""Exactness of the core, and the defects that other implementations were seen to have.

Statistical limits are 6 sigma of the sampling error, seeds are fixed.  Exact comparisons are in 64
bits.
"""

import itertools
import json
import math
import struct

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import unmask
from unmask import checkpoint, diffusion, schedules
from unmask.categorical import categorical
from unmask.kernels import rows as rowwise
from unmask.likelihood import enumeration
from unmask.masks import Draw, stratified
from unmask.sampling import ancestral, first_hitting, time_grid

SCALAR = {
    "linear": schedules.Linear,
    "cosine": schedules.Cosine,
    "poly0.5": lambda: schedules.Polynomial(0.5),
}


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def chi_square(counts, p):
    """Pearson's statistic below its 6-sigma quantile (Wilson and Hilferty), every expected count at
    least 5."""
    expected = p * counts.sum()
    assert float(expected.min()) >= 5
    n = len(counts) - 1
    limit = n * (1 - 2 / (9 * n) + 6 * math.sqrt(2 / (9 * n))) ** 3
    statistic = float(((counts - expected) ** 2 / expected).sum())
    assert statistic < limit, f"chi-square {statistic:.1f} with {n} degrees of freedom"


def is_uniform(u, bins=20):
    chi_square(
        torch.bincount((u * bins).long(), minlength=bins).double(),
        torch.full((bins,), 1 / bins, dtype=torch.float64),
    )


def learned(power, bounds=(0.05, 20.0)):
    """A learned schedule with these powers, in 64 bits."""
    schedule = schedules.LearnedPolynomial(len(power), bounds=bounds).double()
    share = (torch.tensor(power, dtype=torch.float64) / bounds[0]).log() / math.log(
        bounds[1] / bounds[0]
    )
    with torch.no_grad():
        schedule.raw.copy_(share.logit())
    return schedule


class Table(torch.nn.Module):
    """Random logits for every state of z: no distribution has it as posterior.  `drift` makes it
    look at t."""

    def __init__(self, tokens, vocab_size, units, base, drift=0.0, width=None):
        super().__init__()
        self.uses_time, self.base, self.modes = drift > 0, base, []
        shape = ((base + 1) ** units, tokens, *([vocab_size] if width is None else [width, base]))
        self.table = torch.nn.Parameter(
            1.5 * torch.randn(shape, generator=rng(1), dtype=torch.float64)
        )
        self.register_buffer(
            "slope", drift * torch.randn(shape, generator=rng(2), dtype=torch.float64)
        )

    def forward(self, z, t=None, valid=None):
        self.modes.append(self.training)
        i = (z * (self.base + 1) ** torch.arange(z.shape[1])).sum(-1)
        logits = self.table[i]
        return (
            logits
            if not self.uses_time
            else logits + self.slope[i] * t.view(-1, *[1] * (logits.ndim - 1))
        )


def table_model(schedule, vocab_size, tokens, digits=1, drift=0.0, independent=False, **kw):
    sub = unmask.Subtokenizer(vocab_size, digits)
    network = Table(
        tokens, vocab_size, tokens * digits, sub.base, drift, digits if independent else None
    )
    return unmask.MaskedDiffusion(network, schedule, sub, **kw)


class Recorder(torch.nn.Module):
    """Features and head apart; records the sequences, times and rows that it is asked for."""

    def __init__(self, vocab_size, uses_time=False, width=8):
        super().__init__()
        self.uses_time, self.sequences, self.times, self.rows = uses_time, [], [], []
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embed = torch.nn.Embedding(vocab_size + 1, width, dtype=torch.float64)
            self.head = torch.nn.Linear(width, vocab_size, dtype=torch.float64)

    def features(self, z, t=None, cond=None, valid=None):
        self.sequences.append(len(z))
        self.times.append(t)
        h = self.embed(z)
        return torch.tanh(h + h.mean(1, keepdim=True))

    def logits(self, features):
        self.rows.append(features.shape[:-1].numel())
        return self.head(features)

    def forward(self, z, t=None, cond=None, valid=None):
        return self.logits(self.features(z, t, cond, valid))


def recorder_model(vocab_size=20, schedule=None, uses_time=False, **kw):
    sub = unmask.Subtokenizer(vocab_size)
    return unmask.MaskedDiffusion(
        Recorder(vocab_size, uses_time), schedule or schedules.Linear(), sub, **kw
    )


# ---------------------------------------------------------------- stratified times


@pytest.mark.parametrize("n", [1, 2, 3, 49, 98, 103, 107, 161])
def test_stratified_has_one_draw_in_each_stratum_and_is_mirrored(n):
    for seed in range(5):
        u = stratified(n, rng(seed)).sort().values
        assert u.shape == (n,) and torch.equal((u * n).long(), torch.arange(n))
        pairs = n // 2
        assert torch.allclose(u[:pairs], 1 - u.flip(0)[:pairs], rtol=0, atol=1e-15)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8])
def test_every_row_of_stratified_is_uniform(n):
    generator = rng(n)
    draws = torch.stack([stratified(n, generator) for _ in range(3000)])
    for row in {0, n // 2, n - 1}:
        is_uniform(draws[:, row])


# ---------------------------------------------------------------- the exact count


def draws_of(model, batch, units, count, valid=None, seed=0):
    generator = rng(seed)
    y = torch.zeros(batch, units, dtype=torch.long)
    valid = torch.ones_like(y, dtype=torch.bool) if valid is None else valid
    draws = [model.draw(model.clean(y, valid), None, generator) for _ in range(count)]
    return (
        torch.stack([d.masked for d in draws]),
        torch.stack([d.t for d in draws]),
        torch.stack([d.scale for d in draws]),
    )


def by_count(n):
    """(n,) probabilities of 1..n masked units."""
    p = torch.arange(1, n + 1, dtype=torch.float64) ** -0.5
    return p / p.sum()


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_the_number_of_masked_units_has_its_density_in_every_row(batch):
    masked, _, scale = draws_of(recorder_model(), batch, 6, 1500)
    k, p = masked.sum(-1), by_count(6)
    assert torch.allclose(scale, 1 / (k * p[k - 1]), rtol=1e-14)
    for row in range(batch):
        chi_square(torch.bincount(k[:, row] - 1, minlength=6).double(), p)


def test_the_masked_units_are_a_uniform_subset_and_the_time_has_its_beta_law():
    schedule = schedules.Cosine()
    masked, t, _ = draws_of(recorder_model(schedule=schedule), 3, 4, 4000)
    pattern = (masked * 2 ** torch.arange(4)).sum(-1)
    p = torch.tensor(
        [float(by_count(4)[i.bit_count() - 1]) / math.comb(4, i.bit_count()) for i in range(1, 16)],
        dtype=torch.float64,
    )
    for row in (0, 2):
        chi_square(torch.bincount(pattern[:, row] - 1, minlength=15).double(), p)
    u, k = schedule.masked(t[:, 1])[:, 0], masked[:, 1].sum(-1)
    # the distribution function of Beta(k, N - k + 1) at u is P(Binomial(N, u) >= k)
    cdf = sum(math.comb(4, j) * u**j * (1 - u) ** (4 - j) * (j >= k) for j in range(5))
    is_uniform(cdf.clamp(max=1 - 1e-12))
    for size in (1, 4):
        is_uniform(cdf[k == size].clamp(max=1 - 1e-12))


def test_the_batch_total_of_masked_units_is_nearly_constant():
    """Whatever is drawn in its strata, it is within the length of one row."""
    mean = float(by_count(32) @ torch.arange(1.0, 33, dtype=torch.float64))
    for batch in (64, 63):
        masked, _, _ = draws_of(recorder_model(), batch, 32, 50)
        assert float((masked.sum((1, 2)) - batch * mean).abs().max()) <= 32


def test_rows_of_different_lengths_have_their_own_counts():
    valid = torch.arange(6) < torch.tensor([1, 3, 6, 0])[:, None]
    masked, t, scale = draws_of(recorder_model(), 4, 6, 2000, valid)
    assert (
        not bool((masked & ~valid).any())
        and bool(t.isfinite().all())
        and bool(((t >= 0) & (t <= 1)).all())
    )
    k = masked.sum(-1)
    for row, n in enumerate([1, 3, 6]):
        p = by_count(n)
        own = k[:, row]
        assert torch.allclose(scale[:, row], 1 / (own * p[own - 1]), rtol=1e-14)
        counts = torch.bincount(k[:, row] - 1, minlength=n).double()
        assert len(counts) == n
        if n > 1:
            chi_square(counts, p)
    assert int(k[:, 3].max()) == 0


@pytest.mark.parametrize("name", ["linear", "learned"])
def test_a_row_without_valid_positions_is_charged_nothing(name):
    schedule = learned([0.5, 1.0, 2.0]) if name == "learned" else schedules.Linear()
    model = table_model(schedule, 3, 4, drift=1.0)
    x, valid = (
        torch.zeros(3, 4, dtype=torch.long),
        torch.tensor([[True] * 4, [False] * 4, [True, False, False, True]]),
    )
    for seed in range(10):
        terms = model(x, valid=valid, generator=rng(seed))
        terms.loss.backward()
        assert (
            float(terms.nelbo[1]) == 0
            and bool(terms.nelbo.isfinite().all())
            and bool(terms.loss.isfinite())
        )
        for steps in (None, 5):
            nelbo = model.nelbo(x, steps, valid=valid, generator=rng(seed))
            assert float(nelbo[1]) == 0 and bool(nelbo.isfinite().all())
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


# ---------------------------------------------------------------- time grids and schedules


@pytest.mark.parametrize("kind", ["uniform", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 7, 64, 1000])
def test_time_grids_have_exact_ends_and_decrease(kind, steps):
    ts = time_grid(steps, kind)
    assert ts.dtype == torch.float64 and len(ts) == steps + 1
    for grid in (ts, ts.float()):
        assert float(grid[0]) == 1 and float(grid[-1]) == 0 and bool((grid[1:] < grid[:-1]).all())


@pytest.mark.parametrize("kind", ["uniform", "cosine"])
def test_the_last_step_of_a_fractional_power_is_not_nan(kind):
    schedule = schedules.Polynomial(0.5)
    for ts in (time_grid(16, kind), time_grid(16, kind).float()):
        assert float(schedule.reveal(ts[-2], ts[-1])) == 1
    x = unmask.sample(
        recorder_model(schedule=schedule), num=8, length=5, steps=16, grid=kind, generator=rng()
    )
    assert x.shape == (8, 5)


ALL = {
    **SCALAR,
    "poly20": lambda: schedules.Polynomial(20.0),
    "learned": lambda: schedules.LearnedPolynomial(3, 0.07),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ALL)
def test_everything_is_revealed_at_zero(name, dtype):
    schedule, t = ALL[name](), torch.tensor([1e-30, 1e-6, 0.1, 1 / 3, 0.9, 1.0], dtype=dtype)
    assert bool((schedule.reveal(t, torch.zeros_like(t)) == 1).all())
    assert bool((schedule.alpha(torch.zeros(1, dtype=dtype)) == 1).all()) and bool(
        (schedule.masked(torch.ones(1, dtype=dtype)) == 1).all()
    )


exponents = st.floats(-6, 0)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(power=st.floats(0.05, 20), t=exponents, ratio=exponents, near=st.booleans())
def test_polynomial_schedules_keep_their_accuracy_in_32_bits_near_zero(power, t, ratio, near):
    t = torch.tensor(10.0**t)
    s = t * torch.tensor(1 - 10.0**ratio if near else 10.0**ratio)
    if not 0 < s < t:
        return
    power = float(torch.tensor(power))  # one that 32 bits can hold
    schedule = schedules.Polynomial(power)
    exact_reveal = -math.expm1(power * (math.log(float(s)) - math.log(float(t))))
    # there, the difference of logarithms cancels, and log1p does not
    if float(t - s) < 1e-3 * float(t):
        exact_reveal = -math.expm1(power * math.log1p((float(s) - float(t)) / float(t)))
    assert float(schedule.reveal(t, s)) == pytest.approx(exact_reveal, rel=1e-6)
    assert float(schedule.weight(t)) == pytest.approx(power / float(t), rel=1e-6)
    assert float(schedule.reveal(t.double(), s.double())) == pytest.approx(exact_reveal, rel=1e-11)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(t=exponents, ratio=exponents, near=st.booleans())
def test_the_cosine_schedule_keeps_its_accuracy_in_32_bits_near_zero(t, ratio, near):
    t = torch.tensor(0.5 * 10.0**t)
    s = t * torch.tensor(1 - 10.0**ratio if near else 10.0**ratio)
    a, b = math.pi / 2 * float(t), math.pi / 2 * float(s)
    # (sin a - sin b) / sin a
    exact = 2 * math.cos((a + b) / 2) * math.sin((a - b) / 2) / math.sin(a)
    schedule = schedules.Cosine()
    assert float(schedule.reveal(t, s)) == pytest.approx(exact, rel=1e-6)
    assert float(schedule.weight(t)) == pytest.approx(math.pi / 2 / math.tan(a), rel=1e-6)
    assert float(schedule.inverse(schedule.alpha(t.double())[0])) == pytest.approx(
        float(t), abs=1e-12
    )


@pytest.mark.parametrize(
    "init,bounds",
    [(1e-3, (1e-4, 1e4)), (9e3, (1e-4, 1e4)), (0.0501, (0.05, 20.0)), (19.99, (0.05, 20.0))],
)
def test_learned_powers_stay_finite_and_inside_their_bounds(init, bounds):
    schedule = schedules.LearnedPolynomial(4, init, bounds)
    assert bool(torch.allclose(schedule.power, torch.full((4,), init), rtol=1e-4))
    with torch.no_grad():
        schedule.raw.copy_(torch.tensor([-1e30, -50.0, 50.0, 1e30]))
    power = schedule.power
    assert bool((power >= bounds[0] * (1 - 1e-5)).all()) and bool(
        (power <= bounds[1] * (1 + 1e-5)).all()
    )
    t = torch.tensor([1e-6, 0.5, 1.0])
    for value in (schedule.weight(t), schedule.masked(t), schedule.reveal(t, t / 2)):
        assert bool(value.isfinite().all())
    power.sum().backward()
    assert bool(schedule.raw.grad.isfinite().all())


def test_the_discrete_bound_can_be_differentiated_in_a_learned_schedule():
    """Its last interval ends at s = 0, where reveal is 1 whatever the power: derivative 0, not 0
    times infinity."""
    model = table_model(learned([0.5, 1.0, 2.0]), 3, 2, drift=1.0)
    unmask.audit.exact_nelbo(model, torch.tensor([[0, 2]]), steps=3).sum().backward()
    assert bool(model.schedule.raw.grad.isfinite().all())


# ---------------------------------------------------------------- the categorical draw

LARGE = 50_258


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_tail_is_reached_at_a_large_vocabulary(dtype):
    logits = torch.randn(LARGE, generator=rng(), dtype=torch.float64)
    logits = logits - logits.logsumexp(0)
    tail = torch.tensor([5e-13, 1e-12]).log()
    logits[:2], logits[-2:] = tail, tail.flip(0)
    u = torch.tensor([1e-13, 1e-12, 1 - 1e-12, 1 - 1e-13], dtype=torch.float64)
    assert categorical(logits.to(dtype).expand(4, -1), u=u).tolist() == [0, 1, LARGE - 2, LARGE - 1]


def test_the_draw_is_the_inverse_of_the_distribution_function():
    logits = 3 * torch.randn(1, 1000, generator=rng(), dtype=torch.float64)
    u = torch.rand(2000, generator=rng(1), dtype=torch.float64)
    expected = (logits.softmax(-1).cumsum(-1) <= u[:, None]).sum(-1)
    assert torch.equal(categorical(logits.expand(2000, -1), u=u), expected)


@pytest.mark.parametrize("vocab_size", [2, 255, 256, 257, 1000, LARGE])
def test_a_category_of_probability_zero_is_never_drawn(vocab_size):
    logits = torch.full((2, vocab_size), -torch.inf)
    possible = sorted({min(vocab_size - 1, 1 + vocab_size // 3), vocab_size // 2})
    logits[:, possible] = torch.tensor([0.3, -20.0])[: len(possible)]
    u = torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64)
    assert categorical(logits, u=u).tolist() == [possible[0], possible[-1]]
    grid = torch.arange(200, dtype=torch.float64) / 200
    assert set(categorical(logits[:1].expand(200, -1), u=grid).tolist()) <= set(possible)


@pytest.mark.parametrize("vocab_size", [5, 300])
def test_frequencies_are_those_of_the_softmax(vocab_size):
    logits = torch.randn(vocab_size, generator=rng(3))
    index = torch.cat(
        [
            categorical(logits.expand(20_000, -1), generator=generator)
            for generator in [rng(7)]
            for _ in range(5)
        ]
    )
    chi_square(torch.bincount(index, minlength=vocab_size).double(), logits.double().softmax(-1))


class Flat(torch.nn.Module):
    """Uniform over a large vocabulary; only the head is wide."""

    uses_time = False

    def features(self, z):
        return torch.zeros(*z.shape, 1)

    def logits(self, features):
        return features.expand(*features.shape[:-1], LARGE)


def test_rare_reveals_happen_at_a_large_vocabulary():
    """A reveal probability of 1e-3, 10,000 masked positions: 10 a step; a 32-bit draw with "stay
    masked" as a value gave none."""
    model = unmask.MaskedDiffusion(Flat(), schedules.Linear(), unmask.Subtokenizer(LARGE))
    z, generator, revealed = torch.full((4, 2500), LARGE), rng(), []
    for _ in range(40):
        (state,) = ancestral(
            model, z, torch.tensor([1.0, 0.999], dtype=torch.float64), generator=generator
        )
        revealed.append(state[state != LARGE])
    counts, values = torch.tensor([float(len(r)) for r in revealed]), torch.cat(revealed)
    assert abs(float(counts.sum()) - 400) < 6 * 20
    assert int(counts.max()) < 10 + 10 * math.sqrt(10) and len(values.unique()) > 0.95 * len(values)
    is_uniform(values.double() / LARGE, 10)


@pytest.mark.parametrize("sampler", ["ancestral", "first_hitting"])
def test_nan_logits_are_refused(sampler):
    model = recorder_model()
    with torch.no_grad():
        model.backbone.head.bias[3] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        unmask.sample(model, num=2, length=4, steps=4, sampler=sampler, generator=rng())
    with pytest.raises(ValueError, match="NaN"):
        categorical(torch.tensor([[0.0, torch.inf]]), generator=rng())
    with pytest.raises(ValueError, match="possible"):
        categorical(torch.tensor([[-torch.inf, -torch.inf]]), generator=rng())


# ---------------------------------------------------------------- discrete time


@pytest.mark.parametrize(
    "name,digits", [("linear", 1), ("poly0.5", 2), ("cosine", 1), ("learned", 1), ("learned", 2)]
)
def test_the_discrete_bound_is_finite_down_to_the_last_interval(name, digits):
    schedule = (
        learned([0.1, 1.0, 3.0, 9.0][: 4 if digits == 1 else 2])
        if name == "learned"
        else SCALAR[name]()
    )
    model = table_model(schedule, 4, 2, digits, drift=0.5)
    x, generator = torch.randint(0, 4, (100, 2), generator=rng()), rng()
    for _ in range(40):  # 100 strata of 100 intervals: every batch has a draw at t = 1/100
        assert bool(model.nelbo(x, steps=100, generator=generator).isfinite().all())


def brute_force(mu, y, masked, r, base):
    """KL of the true reverse step from the model's, over every outcome: (revealed subset, their
    digits)."""
    length, total = len(y), 0.0
    reveal = (lambda v: r[0]) if len(r) == 1 else (lambda v: r[v])
    hidden = [j for j in range(length) if masked[j]]
    codes = list(itertools.product(range(base), repeat=length))[: len(mu)]
    for size in range(len(hidden) + 1):
        for shown in itertools.combinations(hidden, size):
            q = math.prod(reveal(y[j]) if j in shown else 1 - reveal(y[j]) for j in hidden)
            p = 0.0
            for m, code in zip(mu, codes, strict=True):
                if all(code[j] == y[j] for j in shown):
                    p += m * math.prod(
                        reveal(code[j]) if j in shown else 1 - reveal(code[j]) for j in hidden
                    )
            total += q * math.log(q / p) if q > 0 else 0.0
    return total


@pytest.mark.parametrize("per_value", [False, True])
@pytest.mark.parametrize(
    "vocab_size,length,base", [(5, 1, 5), (4, 2, 2), (5, 2, 3), (8, 3, 2), (20, 3, 3)]
)
def test_the_discrete_bound_is_the_divergence_of_the_two_reverse_steps(
    vocab_size, length, base, per_value
):
    generator, sub = rng(), unmask.Subtokenizer(vocab_size, length)
    assert sub.base == base
    model = unmask.MaskedDiffusion(torch.nn.Identity(), schedules.Linear(), sub)
    patterns = torch.tensor(list(itertools.product((False, True), repeat=length))[1:])
    x = torch.randint(0, vocab_size, (len(patterns),), generator=generator)
    y = sub.encode(x[:, None])
    logits = 2 * torch.randn(len(x), vocab_size, generator=generator, dtype=torch.float64)
    logp = model.log_probs(logits, y.masked_fill(patterns, base), torch.zeros_like(x))
    for last in (False, True):
        r = torch.rand(1, base if per_value else 1, generator=generator, dtype=torch.float64)
        r = torch.ones_like(r) if last else r
        ours = diffusion.discrete(logp, y, patterns, r, base)
        for i in range(len(x)):
            exact = brute_force(
                logp[i].exp().tolist(), y[i].tolist(), patterns[i].tolist(), r[0].tolist(), base
            )
            assert float(ours[i]) == pytest.approx(exact, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("per_value", [False, True])
@pytest.mark.parametrize("length,base", [(1, 5), (2, 3), (3, 2)])
def test_short_discrete_steps_are_the_continuous_bound(length, base, per_value):
    generator = rng()
    logp = (
        2 * torch.randn(50, base**length, generator=generator, dtype=torch.float64)
    ).log_softmax(-1)
    y = torch.randint(0, base, (50, length), generator=generator)
    masked = torch.rand(50, length, generator=generator) < 0.7
    power = torch.linspace(0.5, 3, base, dtype=torch.float64) if per_value else None
    rate = power[None] if per_value else torch.ones(1, 1, dtype=torch.float64)
    h = 1e-6
    short = diffusion.discrete(logp, y, masked, h * rate, base) / h
    # the next order in h is (rate^2 times nats) h; what is left of the difference of order 1e-16 /
    # h is 1e-10
    assert torch.allclose(
        short, diffusion.continuous(logp, y, masked, base, power), rtol=1e-4, atol=1e-8
    )


# ---------------------------------------------------------------- sub-tokens


@pytest.mark.parametrize("sampler", ["ancestral", "first_hitting"])
@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("vocab_size,digits,tokens", [(5, 2, 2), (32, 3, 1)])
def test_no_sample_lies_beyond_the_vocabulary(vocab_size, digits, tokens, independent, sampler):
    model = table_model(schedules.Linear(), vocab_size, tokens, digits, independent=independent)
    x = unmask.sample(model, num=3000, length=tokens, sampler=sampler, steps=6, generator=rng())
    assert int(x.min()) == 0 and int(x.max()) == vocab_size - 1


@pytest.mark.parametrize("name", ["linear", "learned"])
@pytest.mark.parametrize("steps", [None, 4])
def test_revealed_tokens_are_charged_nothing(name, steps):
    schedule = learned([0.5, 2.0, 1.0]) if name == "learned" else schedules.Linear()
    model = table_model(schedule, 5, 2, 2, drift=0.5)
    x = torch.arange(5).repeat(2, 1).T
    masked = torch.tensor([[False, False, True, True]]).expand(5, 4)
    t = torch.full((5,), 0.5, dtype=torch.float64)
    draw = Draw(t, masked, torch.ones_like(t), None if steps is None else (t, t - 0.25))
    total, each = model.score(model.clean(x), draw)
    total.backward()
    assert float(each.abs().min()) > 0
    gradient = model.backbone.table.grad
    assert float(gradient[:, 0].abs().max()) == 0 and float(gradient[:, 1].abs().max()) > 0
    nothing = model.score(model.clean(x), draw._replace(masked=torch.zeros_like(masked)))[1]
    assert float(nothing.abs().max()) == 0


@pytest.mark.parametrize("vocab_size,digits", [(9, 2), (8, 3)])
def test_independent_digits_are_charged_their_cross_entropies(vocab_size, digits):
    model = table_model(schedules.Linear(), vocab_size, 1, digits, independent=True)
    base, generator = model.mask_id, rng()
    logits = torch.randn(60, digits, base, generator=generator, dtype=torch.float64)
    y = torch.randint(0, base, (60, digits), generator=generator)
    masked = torch.rand(60, digits, generator=generator) < 0.6
    logp = model.log_probs(logits, y.masked_fill(masked, base), torch.zeros(60, dtype=torch.long))
    plain = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), y.flatten(), reduction="none"
    ).view(60, digits)
    assert torch.allclose(
        model.nats(logp, y, masked), (plain * masked).sum(-1), rtol=1e-10, atol=1e-12
    )


# ---------------------------------------------------------------- other views of the same number


@pytest.mark.parametrize("name", ["linear", "cosine", "poly0.5", "learned"])
def test_the_score_entropy_is_our_integrand(name):
    """Lou et al. (2023), arXiv 2310.16834, with s_v = alpha_v / (1 - alpha_v) mu_v, its constant
    included."""
    schedule = learned([0.5, 1.0, 2.0, 4.0]) if name == "learned" else SCALAR[name]()
    model = table_model(schedule, 4, 1, drift=1.0)
    for time in (0.05, 0.4, 0.93):
        t = torch.tensor(time, dtype=torch.float64)
        logp = model.log_probs(
            torch.randn(4, 4, generator=rng(), dtype=torch.float64),
            torch.full((4, 1), 4),
            torch.zeros(4).long(),
        )
        odds, weight = (
            (schedule.alpha(t) / schedule.masked(t)).expand(4),
            schedule.weight(t).expand(4),
        )
        rate = weight / odds  # of being masked, -alpha' / alpha
        score, true = odds * logp.exp(), odds * torch.eye(4, dtype=torch.float64)
        constant = torch.where(true > 0, true * (true.clamp(min=1e-300).log() - 1), 0.0)
        entropy = (rate * (score - true * score.log() + constant)).sum(-1)
        y, masked = torch.arange(4)[:, None], torch.ones(4, 1, dtype=torch.bool)
        factor = 1 / t if name == "learned" else weight[0]  # `nats` holds the powers of power / t
        assert torch.allclose(factor * model.nats(logp, y, masked), entropy, rtol=1e-9)


def test_the_bound_is_the_average_over_orders_of_the_autoregressive_loss():
    model = table_model(schedules.Cosine(), 3, 4)
    x = torch.randint(0, 3, (5, 4), generator=rng())
    total = 0.0
    with torch.no_grad():
        for order in itertools.permutations(range(4)):
            z = torch.full((5, 4), 3)
            for position in order:
                logp = model.predict(z)[:, position]
                total = total - logp.gather(1, x[:, position, None])[:, 0] / 24
                z[:, position] = x[:, position]
        assert torch.allclose(unmask.audit.exact_nelbo(model, x), total, rtol=1e-10)


@pytest.mark.parametrize("name", SCALAR)
def test_hitting_times_are_the_order_statistics_of_uniforms(name):
    schedule, n = SCALAR[name](), 5
    model = recorder_model(schedule=schedule, uses_time=True)
    z = torch.full((4000, n), 20)
    unmask.sample(model, z=z, sampler="first_hitting", generator=rng())
    times = model.backbone.times
    assert len(times) == n
    u = torch.stack([schedule.masked(t.double())[:, 0] for t in times])
    assert bool((u[1:] < u[:-1]).all())
    is_uniform(u[0] ** n)  # the largest of n
    is_uniform((1 - (1 - u[-1]) ** n).clamp(max=1 - 1e-12))  # the smallest
    middle = sum(math.comb(n, j) * u[2] ** j * (1 - u[2]) ** (n - j) for j in range(3, n + 1))
    is_uniform(middle.clamp(max=1 - 1e-12))


@pytest.mark.parametrize("sampler", [ancestral, first_hitting])
@pytest.mark.parametrize("digits", [1, 2])
def test_a_unit_is_still_masked_at_s_with_the_probability_of_the_schedule(sampler, digits):
    model, ts = table_model(schedules.Cosine(), 5, 2, digits), torch.tensor([1.0, 0.7, 0.2, 0.0])
    states = list(
        sampler(model, torch.full((3000, 2 * digits), model.mask_id), ts, generator=rng())
    )
    assert len(states) == 3 and not bool((states[-1] == model.mask_id).any())
    for state, s in zip(states[:2], ts[1:], strict=False):
        p, masked = float(model.schedule.masked(s)), state == model.mask_id
        assert abs(float(masked.double().mean()) - p) < 6 * math.sqrt(p * (1 - p) / masked.numel())
        # each on its own: two neighbours, the digits of a token where it has two
        assert abs(float(masked[:, :2].all(-1).double().mean()) - p**2) < 6 * math.sqrt(
            p**2 * (1 - p**2) / 3000
        )


def test_first_hitting_refuses_one_curve_per_value():
    model = table_model(learned([1.0, 2.0]), 2, 2, drift=1.0)
    with pytest.raises(ValueError, match="ancestral"):
        unmask.sample(model, num=2, length=2, sampler="first_hitting")


# ---------------------------------------------------------------- filling in


@pytest.mark.parametrize("sampler", ["ancestral", "first_hitting"])
def test_a_half_filled_row_is_shown_the_time_that_fits_it(sampler):
    schedule = schedules.Cosine()
    model = recorder_model(schedule=schedule, uses_time=True)
    seen = []
    features = model.backbone.features

    def record(z, t=None, **given):
        seen.append((z.clone(), t))
        return features(z, t, **given)

    model.backbone.features = record
    z = torch.randint(0, 20, (6, 8), generator=rng())
    z[:, :3] = 20
    unmask.sample(model, z=z, sampler=sampler, steps=12, generator=rng())
    assert seen
    for state, t in seen:
        assert torch.allclose(
            t, schedule.inverse(1 - (state == 20).sum(-1).double() / 8), rtol=1e-12
        )
    # of 8 positions, two have no value: 3 masked of 6
    seen.clear()
    valid = torch.ones(6, 8, dtype=torch.bool)
    valid[:, -2:] = False
    unmask.sample(model, z=z, valid=valid, sampler=sampler, steps=12, generator=rng())
    for state, t in seen:
        assert torch.allclose(
            t,
            schedule.inverse(1 - ((state == 20) & valid[: len(state)]).sum(-1).double() / 6),
            rtol=1e-12,
        )


def test_a_fully_masked_row_is_shown_the_time_of_the_grid():
    model = recorder_model(schedule=schedules.Cosine(), uses_time=True)
    ts = time_grid(12)
    for _ in ancestral(model, torch.full((300, 8), 20), ts, generator=rng()):
        pass
    assert torch.equal(torch.stack([t[0] for t in model.backbone.times]), ts[:-1])
    assert all(bool((t == t[0]).all()) for t in model.backbone.times)


# ---------------------------------------------------------------- network calls


def test_ancestral_calls_the_network_only_where_something_is_revealed():
    model = recorder_model()
    z = torch.full((5, 6), 20)
    z[4, :5] = 7
    before, sequences, rows = z, [], []
    for state in ancestral(model, z, time_grid(40), generator=rng()):
        changed = state != before
        if bool(changed.any()):
            sequences.append(int(changed.any(-1).sum()))
            rows.append(int(changed.sum()))
        before = state
    assert len(sequences) < 40 and sum(rows) == 5 * 6 - 5
    assert model.backbone.sequences == sequences and model.backbone.rows == rows


def test_first_hitting_calls_the_network_once_for_each_masked_unit():
    model = recorder_model()
    z = torch.full((5, 6), 20)
    z[1:, 2:] = 7
    unmask.sample(model, z=z, sampler="first_hitting", generator=rng())
    assert (
        model.backbone.sequences == [5, 5, 1, 1, 1, 1]
        and model.backbone.rows == model.backbone.sequences
    )
    assert len(list(first_hitting(model, z, time_grid(50), generator=rng()))) == 50
    # each row's hits fall into intervals of their own at most
    assert len(model.backbone.sequences) <= 6 + 4 * 2 + 6 + 6


@pytest.mark.parametrize("sampler", [ancestral, first_hitting])
@pytest.mark.parametrize("digits", [1, 2])
def test_samplers_change_neither_what_is_given_nor_what_has_no_value(sampler, digits):
    model = table_model(schedules.Linear(), 5, 3, digits)
    m, generator = model.mask_id, rng()
    x = torch.randint(0, 5, (400, 3), generator=generator)
    z = model.subtokenizer.encode(x)
    holes = torch.rand(z.shape, generator=generator) < 0.5
    z = z.masked_fill(holes, m)
    valid = torch.ones(400, 3, dtype=torch.bool)
    valid[:200, 2] = False
    absent = ~valid.repeat_interleave(digits, 1)
    before = z
    for state in sampler(model, z, time_grid(7), valid=valid, generator=generator):
        kept = (before != m) & ~absent
        assert torch.equal(state[kept], before[kept]) and bool((state[absent] == m).all())
        before = state
    assert not bool((before[~absent] == m).any())
    out = unmask.sampling.to_tokens(model, before, valid)
    assert bool((out[~valid] == -1).all()) and bool(((out >= 0) & (out < 5))[valid].all())


# ---------------------------------------------------------------- the head in chunks


def loss_and_gradients(model, x, seed=5):
    model.zero_grad()
    terms = model(x, generator=rng(seed))
    terms.loss.backward()
    return terms, [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("kind", ["scalar", "learned", "joint", "digits", "learned digits"])
def test_chunks_have_the_loss_and_the_gradients_of_the_whole(kind, monkeypatch):
    digits = 2 if kind in ("joint", "digits", "learned digits") else 1
    vocab_size = 9 if digits > 1 else 20
    base = unmask.Subtokenizer(vocab_size, digits).base
    schedule = (
        learned(torch.linspace(0.5, 2, base).tolist()) if "learned" in kind else schedules.Linear()
    )

    class Head(Recorder):
        def features(self, z, t=None):
            h = super().features(z.unflatten(1, (-1, digits)).sum(-1).remainder(vocab_size), t)
            return h if t is None else h * (1 + t[:, None, None])

    objective = "joint" if kind == "joint" else "nelbo"
    network = Head(vocab_size, "learned" in kind)
    model = unmask.MaskedDiffusion(
        network, schedule, unmask.Subtokenizer(vocab_size, digits), objective=objective
    )
    x = torch.randint(0, vocab_size, (24, 9), generator=rng())
    whole, expected = loss_and_gradients(model, x)
    assert len(network.rows) == (2 if "learned" in kind else 1)  # each draw in one piece
    network.rows.clear()
    monkeypatch.setattr(rowwise, "CHUNK", {"cpu": 4 * vocab_size})
    parts, gradients = loss_and_gradients(model, x)
    assert len(network.rows) > 5 and max(network.rows) <= 4
    assert len(gradients) == len(expected) == (4 if "learned" in kind else 3)
    assert torch.allclose(parts.loss, whole.loss, rtol=1e-12)
    if whole.nelbo is not None:
        assert torch.allclose(parts.nelbo, whole.nelbo, rtol=1e-12)
    for ours, other in zip(gradients, expected, strict=True):
        assert float((ours - other).norm() / other.norm()) < 1e-10
    network.rows.clear()
    with torch.no_grad():
        assert torch.allclose(model(x, generator=rng(5)).loss, whole.loss, rtol=1e-12)
    assert max(network.rows) <= 4


def test_the_gradient_of_chunks_is_scaled_by_what_follows(monkeypatch):
    model, x = recorder_model(), torch.randint(0, 20, (7, 9), generator=rng())
    _, expected = loss_and_gradients(model, x)
    monkeypatch.setattr(rowwise, "CHUNK", {"cpu": 80})
    model.zero_grad()
    (model(x, generator=rng(5)).loss * -3).backward()
    for p, other in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(p.grad, -3 * other, rtol=1e-10, atol=1e-14)


def test_a_second_backward_through_chunks_is_refused(monkeypatch):
    monkeypatch.setattr(rowwise, "CHUNK", {"cpu": 80})
    loss = recorder_model()(torch.randint(0, 20, (7, 9), generator=rng()), generator=rng()).loss
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        loss.backward()


def test_micro_batches_weighted_by_their_positions_are_the_big_batch(monkeypatch):
    model, x = recorder_model(), torch.randint(0, 20, (7, 9), generator=rng())
    valid = torch.arange(9) < torch.tensor([9, 2, 5, 1, 7, 3, 9])[:, None]
    big = model.draw(model.clean(x, valid), None, rng())
    monkeypatch.setattr(model, "draw", lambda *a, **k: big)
    model(x, valid=valid).loss.backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for part in (slice(0, 2), slice(2, 7)):
        monkeypatch.setattr(
            model,
            "draw",
            lambda *a, part=part, **k: Draw(big.t[part], big.masked[part], big.scale[part]),
        )
        share = valid[part].sum().double() / valid.sum()
        (model(x[part], valid=valid[part]).loss * share).backward()
    for p, other in zip(model.parameters(), expected, strict=True):
        assert torch.allclose(p.grad, other, rtol=1e-10, atol=1e-14)


def test_successive_draws_differ():
    """Micro-batches that re-use one key would have the same masks."""
    model, x, generator = recorder_model(), torch.zeros(4, 30, dtype=torch.long), rng()
    a, b = (model.draw(model.clean(x), None, generator) for _ in range(2))
    assert not torch.equal(a.masked, b.masked) and not bool((a.t == b.t).any())


# ---------------------------------------------------------------- refusals


def cannot_take():
    class Plain(torch.nn.Module):
        uses_time = False

        def forward(self, z):
            return torch.zeros(*z.shape, 4)

    return unmask.MaskedDiffusion(Plain(), schedules.Linear(), unmask.Subtokenizer(4))


def of_shape(*shape):
    class Shaped(torch.nn.Module):
        uses_time = False

        def forward(self, z):
            return torch.zeros(len(z), *shape)

    return unmask.MaskedDiffusion(Shaped(), schedules.Linear(), unmask.Subtokenizer(4))


IDS = torch.zeros(2, 3, dtype=torch.long)
ALLOWED = torch.ones(3, 4, dtype=torch.bool)
ALLOWED[1, 2] = False
NONE_LEFT = ALLOWED.clone()
NONE_LEFT[2] = False
TWO = unmask.Subtokenizer(4, 2)


@pytest.mark.parametrize(
    "build,named",
    [
        (lambda: recorder_model(objective="elbo"), "'elbo'"),
        (lambda: recorder_model(masking="byte"), "'byte'"),
        (lambda: recorder_model(4).nelbo(IDS, masking="word"), "'word'"),
        (lambda: recorder_model(4, schedules.LearnedPolynomial(5), True), "5 curves.*needs 1 or 4"),
        (
            lambda: unmask.MaskedDiffusion(Recorder(4, True), schedules.LearnedPolynomial(4), TWO),
            "4 curves.*needs 1 or 2",
        ),
        (
            lambda: unmask.MaskedDiffusion(
                Recorder(4, True), schedules.LearnedPolynomial(2), TWO, masking="token"
            ),
            "2 curves.*1 or 4",
        ),
        (
            lambda: recorder_model(4, schedules.LearnedPolynomial(4), True, objective="joint"),
            "joint",
        ),
        (
            lambda: recorder_model(4, schedules.LearnedPolynomial(4), False),
            "Recorder says uses_time = False",
        ),
        (lambda: cannot_take()(IDS, cond=torch.zeros(2)), "Plain takes no 'cond'"),
        (lambda: cannot_take()(IDS, valid=IDS == 0), "Plain takes no 'valid'"),
        (lambda: cannot_take()(IDS + 4), "token id 4 is out of range"),
        (lambda: cannot_take()(IDS - 1), "token id -1 is out of range"),
        (lambda: cannot_take()(IDS.double()), "float64"),
        (lambda: cannot_take()(IDS[0]), r"\(3,\)"),
        (lambda: cannot_take()(IDS, valid=torch.ones(2, 4, dtype=torch.bool)), r"\(2, 4\)"),
        (lambda: cannot_take()(IDS, valid=torch.ones(2, 3)), "float32"),
        (lambda: cannot_take().nelbo(IDS, steps=0), "not 0"),
        (lambda: of_shape(3, 5)(IDS), r"\(5,\).*\(4,\)"),
        (lambda: of_shape(2, 4)(IDS), r"\(2, 2, 4\)"),
        (lambda: of_shape(3, 1, 5)(IDS), r"\(1, 5\)"),
        (lambda: recorder_model(4, allowed=ALLOWED[:, :3]), r"\(3, 3\)"),
        (lambda: recorder_model(4, allowed=ALLOWED.float()), "float32"),
        (lambda: recorder_model(4, allowed=NONE_LEFT), "position 2"),
        (lambda: recorder_model(4, allowed=ALLOWED)(IDS[:, :2]), "2 positions.*3"),
        (
            lambda: recorder_model(4, allowed=ALLOWED)(IDS + 2),
            "value 2 is not allowed at position 1",
        ),
        (
            lambda: unmask.sample(recorder_model(4, allowed=ALLOWED), z=IDS + 2),
            "value 2 is not allowed at position 1",
        ),
        (
            # a token of two digits, revealed whole: 2, which the second position cannot have
            lambda: unmask.sample(
                unmask.MaskedDiffusion(Recorder(4), schedules.Linear(), TWO, allowed=ALLOWED),
                z=TWO.encode(IDS + 2),
            ),
            "value 2 is not allowed at position 1",
        ),
        (lambda: unmask.sample(recorder_model(4), z=IDS + 5), "5 is out of range"),
        (lambda: unmask.sample(recorder_model(4), z=IDS[0]), r"\(3,\)"),
        (
            lambda: unmask.sample(
                unmask.MaskedDiffusion(Recorder(4), schedules.Linear(), TWO), z=IDS
            ),
            r"\(2, 3\)",
        ),
        (
            lambda: unmask.sample(
                recorder_model(4), z=IDS, valid=torch.ones(2, 4, dtype=torch.bool)
            ),
            r"\(2, 4\)",
        ),
        (lambda: unmask.sample(recorder_model(4), z=IDS, length=3), "length=3"),
        (lambda: unmask.sample(recorder_model(4)), "length="),
        (lambda: unmask.sample(recorder_model(4), length=3, sampler="euler"), "'euler'"),
        (lambda: unmask.sample(recorder_model(4), length=3, steps=0), "not 0"),
        (lambda: unmask.sample(recorder_model(4), length=3, temperature=0.0), "not 0"),
        (lambda: time_grid(4, "sqrt"), "'sqrt'"),
        (lambda: list(ancestral(recorder_model(4), IDS, torch.tensor([0.0, 1.0]))), "decreasing"),
        (
            lambda: list(ancestral(recorder_model(4), IDS, torch.tensor([1.5, 0.0]))),
            "between 1 and 0",
        ),
        (lambda: schedules.Polynomial(0.0), "not 0"),
        (lambda: schedules.Polynomial(math.nan), "nan"),
        (lambda: schedules.LearnedPolynomial(3, 30.0), "30"),
        (lambda: schedules.LearnedPolynomial(0), "not 0"),
        (
            lambda: schedules.LearnedPolynomial(3).inverse(torch.tensor([0.5])),
            "one curve per value",
        ),
        (lambda: schedules.from_config({"name": "quadratic"}), "'quadratic'"),
        (lambda: unmask.Subtokenizer(1), "not 1"),
        (lambda: unmask.Subtokenizer(8, 4), "4 digits.*between 1 and 3"),
        (lambda: TWO.decode(torch.tensor([[2, 0]])), "digit 2"),
        (lambda: unmask.Subtokenizer(5, 2).decode(torch.tensor([[2, 2]])), "token id 8"),
        (lambda: unmask.estimate_nelbo(recorder_model(4), [IDS], repeats=0), "not 0"),
        (lambda: unmask.estimate_nelbo(recorder_model(4), []), "no examples"),
        (lambda: unmask.estimate_nelbo(recorder_model(4), [{"ids": IDS}]), "ids"),
        (lambda: unmask.estimate_nelbo(recorder_model(4), [{0: IDS}]), "one with 0"),
        (lambda: unmask.estimate_nelbo(recorder_model(4), [[IDS]]), r"list: .*\(b\[0\] for b in"),
        (lambda: unmask.estimate_nelbo(recorder_model(4), [IDS.numpy()]), "not a ndarray"),
        (
            lambda: unmask.audit.exact_nelbo(
                recorder_model(4), torch.zeros(1, 13, dtype=torch.long)
            ),
            "13 units",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(build, named):
    with pytest.raises(ValueError, match=named):
        build()


# ---------------------------------------------------------------- values that a position has not


@pytest.mark.parametrize("name,digits", [("linear", 1), ("cosine", 2), ("learned", 1)])
def test_what_is_not_allowed_has_probability_zero(name, digits):
    allowed = torch.ones(2, 5, dtype=torch.bool)
    allowed[0, [1, 4]], allowed[1, 0] = False, False
    schedule = learned([0.5, 1.0, 2.0, 1.5, 0.7]) if name == "learned" else SCALAR[name]()
    model = table_model(schedule, 5, 2, digits, drift=0.5, allowed=allowed)
    mu = model.predict(torch.full((1, 2 * digits), model.mask_id)).exp()[0]
    assert torch.equal(mu > 0, allowed)
    for sampler in ("ancestral",) if name == "learned" else ("ancestral", "first_hitting"):
        x = unmask.sample(model, num=1500, length=2, sampler=sampler, steps=5, generator=rng())
        for position in (0, 1):
            assert set(x[:, position].tolist()) == set(allowed[position].nonzero()[:, 0].tolist())
    x = torch.cartesian_prod(*[allowed[i].nonzero()[:, 0] for i in (0, 1)])
    with torch.no_grad():
        for steps in (None, 3):
            bound = unmask.audit.exact_nelbo(model, x, steps=steps)
            assert bool(bound.isfinite().all()) and 0.2 < float((-bound).exp().sum()) < 1 + 1e-9
    loss = model(x, generator=rng()).loss
    loss.backward()
    assert bool(loss.isfinite()) and all(bool(p.grad.isfinite().all()) for p in model.parameters())


def test_a_value_that_is_alone_costs_nothing():
    allowed = torch.zeros(2, 5, dtype=torch.bool)
    allowed[0, 3], allowed[1] = True, True
    model = table_model(schedules.Linear(), 5, 2, allowed=allowed)
    with torch.no_grad():
        bounds = unmask.audit.exact_nelbo(model, torch.tensor([[3, i] for i in range(5)]))
    assert float((-bounds).exp().sum()) <= 1 + 1e-12
    assert bool((unmask.sample(model, num=50, length=2, steps=3, generator=rng())[:, 0] == 3).all())


# ---------------------------------------------------------------- files


def saved(path, **kw):
    model = recorder_model(20, schedules.Polynomial(2.5), meta={"length": 6}, **kw)
    model.save_pretrained(path, {"note.txt": b"kept"})
    return model


def load(path, uses_time=False):
    return unmask.MaskedDiffusion.from_pretrained(path, backbone=Recorder(20, uses_time))


def test_a_saved_model_is_the_same_model(tmp_path):
    model = saved(tmp_path / "m")
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(1 / 3)
    model.save_pretrained(tmp_path / "m")  # over the first, whole
    again = load(tmp_path / "m")
    assert (
        not again.training
        and again.meta == {"length": 6}
        and again.schedule.config == model.schedule.config
    )
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )
    # nothing left of the first
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


def test_learned_schedules_and_allowed_values_survive(tmp_path):
    allowed = torch.rand(6, 20, generator=rng()) < 0.5
    schedule = learned(torch.linspace(0.1, 9, 20).tolist(), (0.02, 30.0)).float()
    model = recorder_model(20, schedule, True, allowed=allowed)
    model.save_pretrained(tmp_path)
    again = load(tmp_path, True)
    assert torch.equal(again.schedule.power, model.schedule.power) and torch.equal(
        again.allowed, allowed
    )
    assert again.schedule.bounds == schedule.bounds


def write_config(folder, config, signed=True):
    if signed:  # as somebody would who means to be believed
        config["sha256"]["config.json"] = checkpoint.config_digest(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_a_damaged_model_is_refused(tmp_path, file, damage):
    saved(tmp_path)
    path = tmp_path / file
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif file == "config.json":
        wrong = (
            ("sha256", {"model.safetensors": "0" * 64}),
            ("schedule", {"name": "none"}),
            ("format", 99),
        )
        for (key, value), signed in itertools.product(wrong, (True, False)):
            write_config(tmp_path, {**json.loads(content), key: value}, signed)
            with pytest.raises(ValueError):
                load(tmp_path)
        write_config(tmp_path, {**json.loads(content), "objective": "joint"}, signed=False)
    else:
        content[-3] ^= 1
        path.write_bytes(content)
    with pytest.raises(ValueError, match=file.split(".")[0]):
        load(tmp_path)


def test_a_network_that_does_not_fit_its_weights_is_refused(tmp_path):
    saved(tmp_path)
    with pytest.raises(ValueError, match="do not fit Recorder"):
        unmask.MaskedDiffusion.from_pretrained(tmp_path, backbone=Recorder(20, width=4))
    with pytest.raises(ValueError, match="there is no folder"):
        load(tmp_path / "none")


def test_what_a_file_names_is_never_imported(tmp_path):
    saved(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    for name, arguments, message in (
        ("os.system", {"command": "true"}, "'os.system'"),
        ("Recorder", None, "backbone="),
    ):
        config["backbone"] = {"name": name, "config": arguments}
        write_config(tmp_path, config)
        with pytest.raises(ValueError, match=message):
            unmask.MaskedDiffusion.from_pretrained(tmp_path)


def test_weights_in_another_format_are_refused(tmp_path):
    saved(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not one")
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["sha256"]["model.safetensors"] = unmask.checkpoint.digest(tmp_path / "model.safetensors")
    write_config(tmp_path, config)
    with pytest.raises(ValueError, match="not a safetensors file"):
        load(tmp_path)


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.tex").write_text("ten years")
    with pytest.raises(ValueError, match="not a saved model"):
        saved(tmp_path)
    with pytest.raises(ValueError, match="not a saved model"):
        saved(tmp_path / "thesis.tex")
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"] and (
        tmp_path / "thesis.tex"
    ).read_text(encoding="utf-8") == "ten years"


def test_files_of_ones_own_in_the_folder_of_a_model_are_not_lost(tmp_path):
    """Such as a repository's, or a record for the card."""
    saved(tmp_path / "m")
    (tmp_path / "m" / ".git").mkdir()
    (tmp_path / "m" / "eval.json").write_text("{}")
    with pytest.raises(ValueError, match=r"more than a saved model \(\.git, eval\.json\)"):
        saved(tmp_path / "m")
    assert (tmp_path / "m" / ".git").is_dir() and load(tmp_path / "m").meta == {"length": 6}
    assert (tmp_path / "m" / "eval.json").read_text() == "{}"


@pytest.mark.parametrize(
    "content",
    [
        '{"model_type": "bert"}',
        '{"format": 1, "sha256',
        '["format", "sha256"]',
        '{"format": 1}',
        '{"format": 1, "sha256": "model.safetensors"}',
    ],
)
def test_a_folder_of_another_project_is_not_overwritten(tmp_path, content):
    """Which may have files of the same names."""
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(ValueError, match="not a saved model"):
        saved(tmp_path)
    assert (tmp_path / "config.json").read_text() == content
    assert (tmp_path / "model.safetensors").read_bytes() == b"weights"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_damaged_model_is_replaced_by_a_whole_one(tmp_path):
    saved(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").write_bytes(b"half of it")
    (tmp_path / "m" / "note.txt").unlink()
    saved(tmp_path / "m")
    assert load(tmp_path / "m").meta == {"length": 6}


def test_a_save_that_fails_leaves_the_model_that_was_there(tmp_path, monkeypatch):
    model = saved(tmp_path / "m")

    def full(*a, **k):
        raise OSError("no space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match="no space"):
        model.save_pretrained(tmp_path / "m")
    assert len(load(tmp_path / "m").state_dict()) == 3 and [p.name for p in tmp_path.iterdir()] == [
        "m"
    ]


# ---------------------------------------------------------------- evaluation


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_is_in_eval_mode_and_restores_the_former(training):
    model = table_model(schedules.Linear(), 3, 2)
    model.train(training)
    x = torch.zeros(4, 2, dtype=torch.long)
    unmask.estimate_nelbo(model, [x], repeats=2)
    unmask.sample(model, num=2, length=2, steps=2)
    assert model.backbone.modes and not any(model.backbone.modes) and model.training is training
    with pytest.raises(ValueError):
        unmask.estimate_nelbo(model, [x + 9])
    assert model.training is training and model.backbone.training is training


def test_a_seed_gives_the_same_numbers_whatever_else_is_drawn():
    model, x = table_model(schedules.Linear(), 3, 4), torch.randint(0, 3, (9, 4), generator=rng())
    a = unmask.estimate_nelbo(model, [x], repeats=3, seed=4)
    torch.rand(17)
    state = torch.get_rng_state()
    b = unmask.estimate_nelbo(model, [x], repeats=3, seed=4)
    assert torch.equal(a.per_example, b.per_example) and (a.mean, a.noise) == (b.mean, b.noise)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(
        a.per_example, unmask.estimate_nelbo(model, [x], repeats=3, seed=5).per_example
    )


def test_the_units_of_an_estimate_follow_from_its_totals():
    model, x = recorder_model(), torch.randint(0, 20, (4, 6), generator=rng())
    valid = torch.arange(6) < torch.tensor([6, 2, 3, 5])[:, None]
    e = unmask.estimate_nelbo(
        model, [{"x": x[:3], "valid": valid[:3]}, {"x": x[3:], "valid": valid[3:]}], repeats=4
    )
    assert e.positions.tolist() == [6, 2, 3, 5]
    assert e.bits_per_dim == pytest.approx(float(e.per_example.sum()) / 16 / math.log(2))
    assert e.perplexity == pytest.approx(math.exp(float(e.per_example.sum()) / 16))
    assert e.bits_per_dim_noise == pytest.approx(e.noise * 4 / 16 / math.log(2))


@pytest.mark.parametrize("name", ["linear", "learned"])
def test_the_reported_noise_is_the_spread_of_repeated_estimates(name):
    schedule = learned([0.5, 1.0, 2.0]) if name == "learned" else schedules.Linear()
    model, x = table_model(schedule, 3, 5, drift=0.5), torch.randint(0, 3, (16, 5), generator=rng())
    batches, seeds, repeats = [x[:10], x[10:]], 150, 8
    estimates = [
        unmask.estimate_nelbo(model, batches, repeats=repeats, seed=s) for s in range(seeds)
    ]
    spread = float(torch.tensor([e.mean for e in estimates], dtype=torch.float64).var())
    reported = sum(e.noise**2 for e in estimates) / seeds
    # relative error of a variance from n near-normal values: sqrt(2 / (n - 1)); both sides are such
    error = math.sqrt(2 / (seeds - 1) + 2 / (seeds * (repeats - 1)))
    assert abs(math.log(spread / reported)) < 6 * error
    exact = float(unmask.audit.exact_nelbo(model, x).mean().detach())
    mean = sum(e.mean for e in estimates) / seeds
    assert abs(mean - exact) < 6 * math.sqrt(spread / seeds)


class Copies(torch.nn.Module):
    """Sure of the value once any position shows it: what a draw costs depends on how many are
    masked, not on which."""

    uses_time = False

    def forward(self, z):
        shown = torch.nn.functional.one_hot(z, 4)[..., :3].double().sum(1, keepdim=True)
        return (4 * shown).expand(-1, z.shape[1], -1)


class Waves(torch.nn.Module):
    """Two values, of which the first has logit cos(frequency * t)."""

    uses_time = True

    def __init__(self, frequency):
        super().__init__()
        self.frequency = frequency

    def forward(self, z, t):
        first = torch.cos(self.frequency * t.double()).reshape(-1, 1).expand(*z.shape)
        return torch.stack([first, torch.zeros_like(first)], -1)


@pytest.mark.parametrize("frequency", [1.0, 100.0])
def test_the_exact_bound_resolves_a_network_that_waves_in_time(frequency):
    """Of one unit and a linear schedule the bound is the mean of its cross-entropy over t."""
    model = unmask.MaskedDiffusion(Waves(frequency), schedules.Linear(), unmask.Subtokenizer(2))
    t = (torch.arange(2**18, dtype=torch.float64) + 0.5) / 2**18
    mean = float(torch.log1p(torch.exp(-torch.cos(frequency * t))).mean())
    assert float(unmask.audit.exact_nelbo(model, torch.tensor([[0]]))) == pytest.approx(mean, 1e-4)


def test_what_the_exact_bound_does_not_resolve_is_refused(monkeypatch):
    monkeypatch.setattr(enumeration, "FINEST", 1 / 64)
    model = unmask.MaskedDiffusion(Waves(1e5), schedules.Linear(), unmask.Subtokenizer(2))
    with pytest.raises(ValueError, match="an integral over t that is not resolved"):
        unmask.audit.exact_nelbo(model, torch.tensor([[0]]))


def test_strata_make_the_noise_smaller_than_independent_draws_would():
    model = unmask.MaskedDiffusion(Copies(), schedules.Linear(), unmask.Subtokenizer(3))
    x = torch.arange(3).repeat(11)[:, None].expand(-1, 6)
    generator = rng()
    draws = torch.stack(
        [torch.cat([model.nelbo(row[None], generator=generator) for row in x]) for _ in range(64)]
    )
    alone = float(draws.mean(1).var())  # of the mean of one draw an example, nothing stratified
    together = unmask.estimate_nelbo(model, [x], repeats=512, seed=1)
    assert together.noise**2 * 512 < 0.1 * alone
    # an example's own repeats are stratified, too: per_example, and with it a paired difference.
    # Eight are two replicates of four strata: each draw has the variance that is left within one
    edges = torch.arange(1, 7).double().pow(-0.5).cumsum(0)
    edges = torch.cat([edges.new_zeros(1), edges / edges[-1]])
    k = torch.arange(1, 7).double()
    costs = torch.log1p(2 * (-4 * (6 - k)).exp()) / edges.diff()
    quarter = torch.arange(4)[:, None] / 4
    share = (torch.minimum(edges[1:], quarter + 0.25) - torch.maximum(edges[:-1], quarter)) * 4
    share = share.clamp(min=0)
    centred = costs - (share * costs).sum(1, keepdim=True)
    second, fourth = ((share * centred**n).sum(1) for n in (2, 4))
    left = second.mean() / 8
    kurtosis = 3 + (fourth - 3 * second**2).sum() * 2 / 8**4 / left**2
    seeds = 200
    found = torch.stack(
        [unmask.estimate_nelbo(model, [x[:1]], repeats=8, seed=s).per_example for s in range(seeds)]
    ).var()
    assert float(left) < 0.6 * float(draws.var(0).mean()) / 8
    assert abs(float(found / left) - 1) < 5 * math.sqrt(float(kurtosis - 1) / seeds)


def test_what_is_saved_can_be_loaded(tmp_path):
    """Tied weights, a float64 network, metadata whose keys JSON turns into strings."""
    model = recorder_model(20, schedules.Linear()).double()
    model.backbone.tied = next(p for p in model.backbone.parameters() if p.ndim == 2)
    model.meta["labels"] = {9: "cat", 10: "dog"}
    model.save_pretrained(tmp_path)
    backbone = Recorder(20)
    backbone.tied = next(p for p in backbone.parameters() if p.ndim == 2)
    again = unmask.MaskedDiffusion.from_pretrained(tmp_path, backbone=backbone)
    assert again.meta["labels"] == {"9": "cat", "10": "dog"}
    assert all(
        torch.equal(a, b) and a.dtype == b.dtype
        for a, b in zip(model.state_dict().values(), again.state_dict().values())
    )


@pytest.mark.parametrize(
    "huge",
    [{"layers": 10**9}, {"dim": 2**40}, {"vocab_size": 2**40}, {"mlp": "x"}, {"surprise": 1}],
)
def test_sizes_that_a_file_only_claims_cost_nothing(tmp_path, huge):
    network = unmask.backbones.Transformer(9, dim=8, layers=1, heads=2)
    unmask.MaskedDiffusion(network, schedules.Linear(), unmask.Subtokenizer(9)).save_pretrained(
        tmp_path
    )
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["backbone"]["config"] |= huge
    write_config(tmp_path, config)
    with pytest.raises(ValueError, match=r"config\.json|do not fit"):
        unmask.MaskedDiffusion.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "tensors,layers,said",
    [
        (200_000, 1, "give a model of fewer tensors"),
        (5_000, 4_000, "layers must be at most 1,000, not 4,000"),
    ],
)
def test_a_file_of_very_many_tensors_is_refused_at_once(tmp_path, tensors, layers, said):
    network = unmask.backbones.Transformer(9, dim=8, layers=1, heads=2)
    model = unmask.MaskedDiffusion(network, schedules.Linear(), unmask.Subtokenizer(9))
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    named = {
        f"t{i}": {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]} for i in range(tensors)
    }
    header = json.dumps(named).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(tensors))
    config = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    config["backbone"]["config"]["layers"] = layers
    config["sha256"]["model.safetensors"] = checkpoint.digest(path)
    write_config(tmp_path, config)
    with pytest.raises(ValueError, match=said):
        unmask.MaskedDiffusion.from_pretrained(tmp_path)


def test_a_network_of_z_alone_will_do():
    """A bare `forward(z)` is not handed a time; one that takes t is."""
    network = torch.nn.Sequential(torch.nn.Embedding(8, 4), torch.nn.Linear(4, 7))
    model = unmask.MaskedDiffusion(network, schedules.Linear(), unmask.Subtokenizer(7))
    x = torch.randint(0, 7, (4, 5))
    model(x).loss.backward()
    assert not model.uses_time and unmask.sample(model, num=2, length=5, steps=3).shape == (2, 5)
    with pytest.raises(ValueError, match=r"\[x\]"):
        unmask.estimate_nelbo(model, x)
    with pytest.raises(ValueError, match="num=3"):
        unmask.sample(model, z=x, num=3)
    assert repr(unmask.estimate_nelbo(model, [x])).startswith("Estimate(mean=")

    class Timed(torch.nn.Module):
        def forward(self, z, t):
            return network(z) * t.view(-1, 1, 1)

    assert unmask.MaskedDiffusion(Timed(), schedules.Linear(), unmask.Subtokenizer(7)).uses_time


def test_the_exact_bound_is_resolved_for_every_example_by_itself(monkeypatch):
    """One that is cheap and rough in t is not hidden by one that is dear and smooth."""
    monkeypatch.setattr(enumeration, "FINEST", 1 / 32)

    class Cheap(torch.nn.Module):
        uses_time = True

        def forward(self, z, t):
            first = 9 + 3 * torch.cos(1e4 * t.double()).reshape(-1, 1).expand(*z.shape)
            dear, never = torch.full_like(first, -1e6), torch.full_like(first, -torch.inf)
            return torch.stack([first, torch.zeros_like(first), dear, never], -1)

    model = unmask.MaskedDiffusion(Cheap(), schedules.Linear(), unmask.Subtokenizer(4))
    unmask.audit.exact_nelbo(model, torch.tensor([[2]]))
    assert unmask.audit.exact_nelbo(model, torch.tensor([[3]])).isinf().all()
    for rows in ([[0]], [[2], [0]], [[3], [0]]):
        with pytest.raises(ValueError, match="an integral over t that is not resolved"):
            unmask.audit.exact_nelbo(model, torch.tensor(rows))


@pytest.mark.parametrize("curve", [schedules.Polynomial, schedules.LearnedPolynomial.of_powers])
def test_the_exact_bound_takes_small_powers_or_refuses_them(curve):
    """Of a network that knows nothing, every unit pays log 3 under every schedule."""

    def of(power):
        values = torch.full((3,), power) if curve is not schedules.Polynomial else power
        model = unmask.MaskedDiffusion(Waves3(), curve(values), unmask.Subtokenizer(3))
        return float(unmask.audit.exact_nelbo(model, torch.tensor([[0, 2]])).detach())

    for power in (0.02, 1.0, 20.0):
        assert of(power) == pytest.approx(2 * math.log(3), rel=2e-6)
    with pytest.raises(ValueError, match="so small is a power of the schedule"):
        of(0.01)


class Waves3(torch.nn.Module):
    """Three equal values, at all times."""

    uses_time = True

    def forward(self, z, t):
        return torch.zeros(*z.shape, 3, dtype=torch.float64)
