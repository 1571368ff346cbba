"""The errors that an estimate tells, and the draws that they come from: by simulation, closed forms
and counting."""

import math

import numpy as np
import pytest
import torch
from test_core import is_uniform, learned, recorder_model, rng, table_model

import unmask
from unmask import schedules
from unmask.estimate import difference, errors, steadied
from unmask.likelihood import estimate_nelbo
from unmask.masks import BLOCK, of_examples, split_repeats

# ---------------------------------------------------------------- draws that belong to examples


def test_a_draw_is_a_function_of_its_example():
    """Whatever else is drawn with it, and however many units others have."""
    whole = of_examples(range(40), 30, seed=3, replicate=1, repeat=2, repeats=4)
    for examples, units in (([17], 30), ([5, 17, 39], 12), (range(17, 20), 50)):
        part = of_examples(examples, units, seed=3, replicate=1, repeat=2, repeats=4)
        kept = min(units, 30)
        assert torch.equal(part.pick, whole.pick[list(examples)])
        assert torch.equal(part.score[:, :kept], whole.score[list(examples), :kept])
    for other in ({"seed": 4}, {"replicate": 0}, {"repeat": 1}):
        again = of_examples(
            range(40), 30, **({"seed": 3, "replicate": 1, "repeat": 2, "repeats": 4} | other)
        )
        assert not (again.score == whole.score).any()
    big = [of_examples(range(3), 4, seed=s).score for s in (2**53, 2**53 + 1, 2**60, 2**60 + 100)]
    assert len({float(score.sum()) for score in big}) == 4
    assert (of_examples(range(3), 4, seed=-1).score != of_examples(range(3), 4, seed=0).score).all()


@pytest.mark.parametrize("repeats", [1, 2, 4])
def test_the_picks_of_a_block_fill_its_strata(repeats):
    for seed in range(20):
        pick = torch.stack(
            [
                of_examples(range(3 * BLOCK), 1, seed=seed, repeat=r, repeats=repeats).pick
                for r in range(repeats)
            ]
        )
        # of one example: one in each part
        assert (pick * repeats).long().T.tolist() == [list(range(repeats))] * (3 * BLOCK)
        cells = (pick * repeats * BLOCK).long()
        for size in (2, 4, 8):  # and of an aligned run of neighbours, too
            for run in cells.unflatten(1, (-1, size)).unbind(1):
                parts = run // (BLOCK // size)
                assert sorted(parts.flatten().tolist()) == list(range(repeats * size))


def test_picks_and_scores_are_uniform_and_independent_between_replicates_and_blocks():
    many = [
        of_examples(range(2 * BLOCK), 3, seed=s, replicate=g) for s in range(1500) for g in (0, 1)
    ]
    pick, score = (torch.stack([getattr(u, name) for u in many]) for name in ("pick", "score"))
    for place in range(2 * BLOCK):
        is_uniform(pick[:, place])
    is_uniform(score.flatten())
    columns = torch.stack(
        [pick[::2, 0], pick[1::2, 0], pick[::2, BLOCK], score[::2, 0, 0], score[::2, 0, 1]]
    )
    correlation = torch.corrcoef(columns) - torch.eye(5)
    assert float(correlation.abs().max()) < 5 / math.sqrt(1500)


def test_repeats_come_as_replicates():
    found = {repeats: split_repeats(repeats) for repeats in (1, 2, 3, 4, 6, 8, 32, 250)}
    assert (
        split_repeats(8, 8) == (8, 1)
        and split_repeats(32, 8) == (8, 4)
        and split_repeats(4, 8) == (4, 1)
    )
    assert found == {
        1: (1, 1),
        2: (2, 1),
        3: (3, 1),
        4: (2, 2),
        6: (2, 3),
        8: (2, 4),
        32: (8, 4),
        250: (125, 2),
    }


@pytest.mark.parametrize("name", ["linear", "learned", "digits"])
@pytest.mark.parametrize("steps", [None, 4])
def test_neither_the_size_of_a_batch_nor_padding_enters_an_estimate(name, steps):
    schedule = learned([0.5, 1.0, 2.0]) if name == "learned" else schedules.Linear()
    model = table_model(
        schedule, 4 if name == "digits" else 3, 3, 2 if name == "digits" else 1, drift=0.5
    )
    x = torch.randint(0, 3, (21, 3), generator=rng())
    valid = torch.arange(3) < torch.randint(1, 4, (21, 1), generator=rng(1))
    found = []
    for size in (1, 4, 21):
        batches = [{"x": x[i : i + size], "valid": valid[i : i + size]} for i in range(0, 21, size)]
        found.append(estimate_nelbo(model, batches, repeats=4, steps=steps, seed=7))
    for other in found[1:]:
        assert torch.allclose(found[0].replicates, other.replicates, rtol=1e-12, atol=1e-12)
        assert other.stderr == pytest.approx(found[0].stderr) and other.noise == pytest.approx(
            found[0].noise
        )


def test_padding_on_the_right_does_not_change_an_example_s_draws():
    model = recorder_model(20)
    x = torch.randint(0, 20, (5, 6), generator=rng())
    seen = []
    model.backbone.features, features = (
        lambda z, **how: (seen.append(z), features(z, **how))[1],
        model.backbone.features,
    )
    estimate_nelbo(model, [x], repeats=2)
    longer = torch.cat([x, torch.zeros(5, 4, dtype=torch.long)], 1)
    estimate_nelbo(
        model, [{"x": longer, "valid": torch.arange(10) < torch.full((5, 1), 6)}], repeats=2
    )
    for plain, padded in zip(seen[:2], seen[2:], strict=True):
        assert torch.equal(plain, padded[:, :6])


# ---------------------------------------------------------------- errors


class Frequencies(torch.nn.Module):
    """Says what it has seen so far: what a draw costs depends above all on how many tokens are
    masked, as in a text."""

    def __init__(self, base, digits, uses_time):
        super().__init__()
        self.base, self.digits, self.uses_time = base, digits, uses_time

    def forward(self, z, t=None):
        tokens = z.unflatten(1, (-1, self.digits))
        shown = (tokens < self.base).all(-1)
        number = (
            (tokens * self.base ** torch.arange(self.digits - 1, -1, -1))
            .sum(-1)
            .masked_fill(~shown, self.base**self.digits)
        )
        seen = (
            torch.nn.functional.one_hot(number, self.base**self.digits + 1)[..., :-1]
            .double()
            .sum(1)
        )
        return (seen + 0.3).log()[:, None].expand(-1, tokens.shape[1], -1)


def simulated(kind, trials, repeats, n=64):
    """The spread of estimates on fresh examples and masks, and the root mean square of what they
    say; also what independent masks would."""
    schedule = {
        "genmd4": learned([0.4, 1.0, 2.5, 1.0]),
        "md4": schedules.Linear(),
        "digits": schedules.Cosine(),
    }[kind]
    digits = 2 if kind == "digits" else 1
    sub = unmask.Subtokenizer(4, digits)
    model = unmask.MaskedDiffusion(Frequencies(sub.base, digits, kind == "genmd4"), schedule, sub)
    generator, found = rng(1), []
    for seed in range(trials):
        own = torch.randint(0, 4, (n, 1), generator=generator)
        # 1 to 4 of 60 tokens are another's
        strange = torch.arange(60) >= torch.randint(56, 60, (n, 1), generator=generator)
        x = (own + strange) % 4
        found.append(estimate_nelbo(model, [x], repeats=repeats, seed=seed))
    spread = float(torch.tensor([e.mean for e in found], dtype=torch.float64).std())
    said = math.sqrt(sum(e.stderr**2 for e in found) / trials)
    as_if_independent = math.sqrt(sum(float(e.per_example.var()) / n for e in found) / trials)
    assert all(e.stderr >= e.noise > 0 for e in found)
    return spread, said, as_if_independent


@pytest.mark.parametrize("kind, gap", [("md4", 1.05), ("genmd4", 1.15), ("digits", 1.5)])
def test_the_error_over_examples_is_the_spread_of_estimates(kind, gap):
    """Two replicates of 64 examples; within 20 %, five errors of the spread of 300 trials."""
    spread, said, as_if_independent = simulated(kind, 300, 2)
    assert abs(said / spread - 1) < 0.2
    # what it was once taken for: each example's masks as independent
    assert as_if_independent > gap * spread


def test_the_error_is_exact_where_it_is_known():
    """Examples that differ by S, masks whose effects cancel in every block of both replicates: var
    S / n, and no noise."""
    s = torch.randn(4000, 64, generator=rng(), dtype=torch.float64)
    e = torch.randn(4000, 2, 64, generator=rng(1), dtype=torch.float64).unflatten(2, (-1, BLOCK))
    e = (5 * (e - e.mean(-1, keepdim=True))).flatten(2)
    found = [errors(of + mask) for of, mask in zip(s, e, strict=True)]
    assert max(float(noise) for _, noise in found) < 1e-12
    spread = torch.stack([stderr for stderr, _ in found]).square()
    # var S is estimated without bias but for the cut at 0, which is rare here only in the mean:
    # compare without it
    raw = torch.tensor(
        [
            float((of + m).mean(0).var() - 64 / 63 * ((of + m).var(0) / 2).mean())
            for of, m in zip(s, e, strict=True)
        ]
    )
    assert abs(float(raw.mean()) - 1) < 6 * float(raw.std()) / math.sqrt(4000)
    assert torch.allclose(spread, raw.clamp(min=0).double() / 64, rtol=1e-4, atol=1e-7)


def test_independent_masks_are_noise_and_counted_once():
    s = torch.randn(2000, 1, 64, generator=rng(), dtype=torch.float64)
    e = 3 * torch.randn(2000, 4, 64, generator=rng(1), dtype=torch.float64)
    found = torch.stack([torch.stack(errors(v)) for v in s + e])
    stderr, noise = found.square().mean(0).sqrt().tolist()
    assert noise == pytest.approx(math.sqrt(9 / 4 / 64), rel=0.03)
    assert stderr == pytest.approx(math.sqrt((1 + 9 / 4) / 64), rel=0.05)


def test_neighbours_that_are_alike_are_taken_together():
    """Moving averages of ten: the error of the mean is about three times what independent examples
    would have."""
    spread, apart, together = [], [], []
    number = torch.arange(900) // 30
    for seed in range(200):
        white = torch.randn(1, 909, generator=rng(seed), dtype=torch.float64)
        values = white.unfold(1, 10, 1).mean(-1)  # (1, 900)
        spread.append(float(values.mean()))
        apart.append(float(errors(values)[0]))
        together.append(float(errors(values, number)[0]))
    actual = float(torch.tensor(spread).std())
    assert math.sqrt(np.mean(np.square(together))) == pytest.approx(actual, rel=0.2)
    assert math.sqrt(np.mean(np.square(apart))) < 0.5 * actual


def test_groups_of_different_sizes():
    """A group is one observation, however many examples it has: equal ones add nothing."""
    g = rng(2)
    sizes = torch.randint(1, 9, (50,), generator=g)
    number = torch.arange(50).repeat_interleave(sizes)
    means, said = [], []
    for seed in range(400):
        value = torch.randn(50, generator=rng(seed), dtype=torch.float64)
        values = value[number][None]
        means.append(float(values.mean()))
        said.append(float(errors(values, number)[0]))
    assert math.sqrt(np.mean(np.square(said))) == pytest.approx(np.std(means), rel=0.15)


def test_what_counts_explain_is_taken_out_and_nothing_else():
    pick = torch.rand(4, 200, generator=rng(), dtype=torch.float64)
    positions = torch.randint(5, 20, (200,), generator=rng(1))
    of_example = torch.randn(200, generator=rng(2), dtype=torch.float64)
    draws = of_example + positions * torch.cos(3 * pick)
    found = steadied(draws, pick, positions)
    assert float((found - found.mean(0)).std()) < 0.15 * float((draws - draws.mean(0)).std())
    kept = found.mean(0) - positions * math.sin(3) / 3
    assert float(torch.corrcoef(torch.stack([kept, of_example]))[0, 1]) > 0.8
    # where all but one example have nothing to pay, some cells have none that does
    few, none = torch.zeros(4, 200).double(), torch.zeros(200, dtype=torch.long)
    few[:, 0], none[0] = draws[:, 0], positions[0]
    found = steadied(few, pick, none)
    assert found.isfinite().all() and not found[:, 1:].any()
    # too few to know
    assert torch.equal(steadied(draws[:1, :3], pick[:1, :3], positions[:3]), draws[:1, :3])


def test_of_one_draw_what_counts_explain_costs_degrees_of_freedom():
    """Independent draws: their variance, not seven eighths of it."""
    found = []
    for seed in range(400):
        draws = torch.randn(1, 64, generator=rng(seed), dtype=torch.float64)
        pick = torch.rand(1, 64, generator=rng(1000 + seed), dtype=torch.float64)
        steady = steadied(draws, pick, torch.ones(64))
        assert float(steady.mean()) == pytest.approx(float(draws.mean()), abs=0.2)
        found.append(float(steady.var()))
    assert np.mean(found) == pytest.approx(1, abs=0.05)


def test_one_replicate_has_no_noise_and_one_group_no_error():
    model, x = table_model(schedules.Linear(), 3, 4), torch.randint(0, 3, (9, 4), generator=rng())
    one = estimate_nelbo(model, [x], repeats=1)
    assert math.isnan(one.noise) and one.stderr == pytest.approx(float(one.per_example.std()) / 3)
    alone = estimate_nelbo(model, [{"x": x, "group": torch.zeros(9, dtype=torch.long)}], repeats=8)
    assert math.isnan(alone.stderr) and math.isnan(alone.bits_per_dim_stderr) and alone.noise > 0


@pytest.mark.parametrize("kind", ["md4", "digits"])
def test_a_difference_is_paired(kind):
    """Of two models that are nearly one, on the same examples and masks: by simulation."""
    values, digits = (4, 2) if kind == "digits" else (3, 1)
    a, b = (table_model(schedules.Linear(), values, 4, digits) for _ in range(2))
    b.backbone.table.data += 0.1 * torch.randn(
        b.backbone.table.shape, generator=rng(5), dtype=torch.float64
    )
    found = []
    for seed in range(150):
        x = torch.randint(0, values, (64, 4), generator=rng(seed))
        both = [estimate_nelbo(m, [x], repeats=2, seed=seed) for m in (a, b)]
        found.append((*difference(*both), both[0].bits_per_dim_stderr))
    change, said, noise, alone = np.array(found).T
    assert np.std(change) == pytest.approx(math.sqrt(np.mean(said**2)), rel=0.25)
    assert np.mean(said) < 0.5 * np.mean(alone) and (noise <= said).all()
    with pytest.raises(ValueError, match="9 and 8 examples"):
        difference(*(estimate_nelbo(a, [torch.zeros(n, 4, dtype=torch.long)]) for n in (9, 8)))


def test_discrete_time_in_very_fine_steps_keeps_its_accuracy_in_32_bits():
    """2^20 steps of a learned schedule: the sum over steps of tiny differences, in float32 against
    float64."""
    x = torch.randint(0, 3, (64, 5), generator=rng())
    found = []
    for dtype in (torch.float64, torch.float32):
        model = table_model(learned([0.4, 1.0, 2.5]), 3, 5, drift=0.5).to(dtype)
        found.append(estimate_nelbo(model, [x], repeats=8, steps=2**20).per_example)
    assert float((found[0] - found[1]).abs().max()) < 1e-4 * float(found[0].abs().mean())
