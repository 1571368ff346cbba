"""Scores of single examples and differences of pairs, against sums over all masks."""

import itertools
import math

import numpy as np
import pytest
import torch
from test_roles import network_model, rng

import unmask
from unmask import schedules
from unmask.audit import exact_nelbo
from unmask.kinds.kind import Partial
from unmask.likelihood import Counts, Enumeration, Orders, Path, estimate_nelbo
from unmask.masks import BLOCK
from unmask.roles import ABSENT, GIVEN, SCORED, UNKNOWN
from unmask.rows import masks_of, windows
from unmask.scoring import Scorer, difference, number_of

ALL = [SCORED] * 4
ROLES = [ALL, [GIVEN, SCORED, SCORED, SCORED], [SCORED, UNKNOWN, SCORED, ABSENT]]


def partial(ids, role=None):
    role = [SCORED] * len(ids) if role is None else role
    return Partial(np.array(ids, np.int64), np.array(role, np.int8))


@torch.no_grad()
def exact(model, example, **how):
    x, role = torch.from_numpy(example.ids)[None], torch.from_numpy(example.role)[None]
    return float(exact_nelbo(model, x, role=role, **how))


def some_examples(count=6, seed=3):
    ids = torch.randint(3, (count, 4), generator=rng(seed)).tolist()
    return [partial(row, ROLES[i % len(ROLES)]) for i, row in enumerate(ids)]


def made(**how):
    """A network that is moderate, and smooth in t: then the sums over masks are exact."""
    model = network_model(**how)
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter *= 0.5
    return model


def one_curve_per_value():
    schedule = schedules.LearnedPolynomial(3, 1.0)
    with torch.no_grad():
        schedule.raw += torch.tensor([-0.5, 0.0, 0.7])
    return made(time=True, schedule=schedule.double())


MODELS = {
    "one curve": made,
    "time": lambda: made(time=True, schedule=schedules.Cosine()),
    "digits": lambda: made(digits=2),
    "one curve per value": one_curve_per_value,
}


@pytest.mark.parametrize("name", MODELS)
def test_a_score_is_the_bound_of_its_example(name):
    """With roles, and what each position pays adds up to it."""
    model, examples = MODELS[name](), some_examples()
    scores = unmask.score(model, examples, repeats=1024, by_unit=True)
    for example, score in zip(examples, scores):
        assert score.units == int((example.role == SCORED).sum())
        assert 0 < score.noise < 0.45
        assert abs(score.nats - exact(model, example)) < 5 * score.noise
        assert abs(float(score.by_unit[:, 0].sum()) - score.nats) < 1e-9
        assert not score.by_unit[example.role != SCORED].any()
        assert score.bits_per_unit == pytest.approx(score.nats / score.units / math.log(2))


def test_what_a_position_pays_is_what_enumeration_says():
    model, examples = made(), some_examples()
    drawn = unmask.score(model, examples, repeats=256, by_unit=True)
    summed = unmask.score(model, examples, estimator=Enumeration(), by_unit=True)
    for one, every, example in zip(drawn, summed, examples):
        assert every.noise == 0 and not every.by_unit[:, 1].any()
        assert every.nats == pytest.approx(exact(model, example), abs=1e-5)
        apart = (one.by_unit[:, 0] - every.by_unit[:, 0]).abs()
        assert bool((apart <= 5 * one.by_unit[:, 1] + 1e-5).all())


@pytest.mark.parametrize("name", ["one curve", "one curve per value"])
def test_no_set_of_scores_is_more_than_a_law(name):
    """Summed over all that may be at scored places, exp(-bound) is at most 1: of each example, the
    bound is valid by itself, also given others and with one curve per value."""
    model = MODELS[name]()
    for role in ROLES[1:]:
        places = [i for i, one in enumerate(role) if one == SCORED]
        values = torch.tensor(list(itertools.product(range(3), repeat=len(places))))
        x = torch.tensor([[1, 2, 0, 1]]).repeat(len(values), 1)
        x[:, places] = values
        roles = torch.tensor([role], dtype=torch.int8).expand(len(x), -1)
        total = float((-exact_nelbo(model, x, role=roles).detach()).exp().sum())
        assert 0.2 < total <= 1 + 1e-9


@pytest.mark.parametrize("name", ["one curve", "one curve per value"])
def test_a_score_depends_on_nothing_else(name):
    model = MODELS[name]()
    examples = [*some_examples(3), partial([1, 2]), partial([0])]
    found = unmask.score(model, examples)
    for alone, score in zip(examples, found):
        (again,) = unmask.score(model, [alone])
        assert torch.allclose(again.replicates, score.replicates, atol=1e-5)
    for size in (1, 3):
        again = unmask.score(model, examples[::-1], batch_size=size)[::-1]
        for one, other in zip(again, found):
            assert torch.allclose(one.replicates, other.replicates, atol=1e-5)
    twice = unmask.score(model, [examples[0]] * 2)
    assert torch.equal(twice[0].replicates, twice[1].replicates)
    assert float(unmask.score(model, examples[:1], seed=1)[0].nats) != found[0].nats
    hidden = examples[2]._replace(ids=np.where(examples[2].role == SCORED, examples[2].ids, 77))
    assert number_of(hidden) == number_of(examples[2])


def test_a_score_with_an_error_depends_on_nothing_else_either():
    """However many draws its neighbours need."""
    model, examples = made(), [partial([1]), *some_examples(3)]
    noises = [one.bits_per_unit_noise for one in unmask.score(model, examples)]
    error = (min(noises) + max(noises)) / 2
    found = unmask.score(model, examples, error=error)
    assert len({len(one.replicates) for one in found}) > 1
    for alone, score in zip(examples, found):
        (again,) = unmask.score(model, [alone], error=error)
        assert torch.allclose(again.replicates, score.replicates, atol=1e-5)
        assert again.bits_per_unit_noise <= error


def test_scores_are_those_of_an_evaluation():
    model = made()
    x = torch.randint(3, (64, 4), generator=rng(5))
    bound = estimate_nelbo(model, [x], repeats=64)
    scores = unmask.score(model, [partial(row) for row in x.tolist()], repeats=64)
    mean = sum(score.nats for score in scores) / 64
    noise = math.hypot(*(score.noise for score in scores)) / 64
    assert abs(mean - bound.mean) < 4 * math.hypot(noise, bound.noise)
    # noise is what other seeds change: chi-square with 64 * 7 degrees of freedom
    other = unmask.score(model, [partial(row) for row in x.tolist()], repeats=64, seed=1)
    apart = sum((a.nats - b.nats) ** 2 for a, b in zip(scores, other))
    said = sum(a.noise**2 + b.noise**2 for a, b in zip(scores, other))
    assert 1 - 4 * math.sqrt(2 / 64) < apart / said < 1 + 4 * math.sqrt(2 / 64)


# ---------------------------------------------------------------- pairs


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("change", ["substitution", "insertion"])
def test_a_difference_is_unbiased_and_its_error_right(name, change):
    """On 100 numbers of masks: the mean error within 4 of its own, their squares by chi-square."""
    model, numbers = MODELS[name](), range(100)
    wild = partial([0, 1, 2, 1] if change == "substitution" else [0, 1, 2])
    mutant = partial([0, 2, 2, 1])
    of_mutant, of_wild = (unmask.score(model, [one] * 100, masks=numbers) for one in (mutant, wild))
    found = [difference(a, b) for a, b in zip(of_mutant, of_wild)]
    for one, a, b in zip(found, of_mutant, of_wild):
        assert one.nats == pytest.approx(a.nats - b.nats, abs=1e-9)
        assert one.needed == pytest.approx(2.3646 * one.noise, rel=1e-3)
    truth = exact(model, mutant) - exact(model, wild)
    errors = [one.nats - truth for one in found]
    noise2 = sum(one.noise**2 for one in found) / 100
    assert abs(sum(errors) / 100) < 4 * math.sqrt(noise2 / 100)
    ratio = sum(error**2 for error in errors) / 100 / noise2
    assert 1 - 4 * math.sqrt(2 / 100) < ratio < 1 + 4 * math.sqrt(2 / 100)
    # masks are shared
    assert noise2 < sum(a.noise**2 + b.noise**2 for a, b in zip(of_mutant, of_wild)) / 100


def test_masks_of_a_pair_coincide():
    model, seen = made(), []
    forward = model.backbone.features
    model.backbone.features = lambda z, **given: seen.append(z) or forward(z, **given)
    others = [partial([0, 1, 2, 1]), partial([1, 1, 1, 1])]
    Scorer(model, repeats=16).pairs([partial([0, 2, 2, 1]), partial([2, 1, 1, 1])], others)
    states = torch.stack(seen) == model.mask_id  # (draws, 4, S)
    masks = [row.tobytes() for row in states.transpose(0, 1).numpy()]
    assert len(masks) == 4 and len(set(masks)) == 2
    assert sorted(masks.count(one) for one in set(masks)) == [2, 2]


def test_a_difference_that_is_known_exactly():
    model = made()
    wild, one = partial([0, 1, 2, 1]), [GIVEN, SCORED, GIVEN, GIVEN]
    ((a, b),) = Scorer(model).pairs([wild], [wild])
    same = difference(a, b)
    assert (same.nats, same.noise, same.verdict) == (0.0, 0.0, "not resolved")
    pair = partial([0, 2, 2, 1], one), partial([0, 1, 2, 1], one)
    found = difference(*Scorer(model).pairs(*([each] for each in pair))[0])
    truth = exact(model, pair[0]) - exact(model, pair[1])
    assert found.noise < 1e-9 and found.nats == pytest.approx(truth, abs=1e-5)
    assert found.verdict == "resolved"
    found = difference(
        *Scorer(model, estimator=Enumeration()).pairs([partial([0, 2, 2, 1])], [wild])[0]
    )
    assert found.noise == found.needed == 0 and found.resolved


def test_one_reference_is_drawn_once_and_mutants_share_its_masks():
    model, wild = made(), partial([0, 1, 2, 1])
    mutants = [partial([0, value, 2, 1]) for value in (0, 1, 2)]
    pairs = Scorer(model).pairs(mutants, [wild] * 3)
    assert len({one.masks for pair in pairs for one in pair}) == 1
    for _, reference in pairs:
        assert torch.equal(reference.replicates, pairs[0][1].replicates)
    assert torch.equal(pairs[1][0].replicates, pairs[1][1].replicates)
    scores = unmask.score(model, mutants)
    with pytest.raises(ValueError, match="other masks"):
        difference(scores[0], scores[1])


def test_what_is_called_resolved_is_wrong_in_one_of_twenty():
    """Of pairs whose bounds are equal: a sequence and its mirror image, of a network that does not
    look at places."""
    from unmask.subtokens import Subtokenizer

    class Counting(torch.nn.Module):
        def forward(self, z):
            counts = torch.nn.functional.one_hot(z, 4).sum(1, keepdim=True)[..., :3]
            return (counts * torch.tensor([0.5, 1.5, -1.0])).expand(-1, z.shape[1], -1)

    model = unmask.MaskedDiffusion(Counting(), schedules.Linear(), Subtokenizer(3))
    x = torch.tensor(list(itertools.product(range(3), repeat=6)))[1::2]
    x = x[(x != x.flip(1)).any(1)].tolist()
    pairs = [partial(row) for row in x], [partial(row[::-1]) for row in x]
    assert exact(model, pairs[0][5]) == pytest.approx(exact(model, pairs[1][5]), abs=1e-6)
    found = [difference(*pair) for pair in Scorer(model).pairs(*pairs)]
    wrong = sum(one.resolved for one in found)
    assert wrong / len(found) < 0.05 + 3 * math.sqrt(0.05 * 0.95 / len(found))
    assert wrong > 0


# ---------------------------------------------------------------- ways to score


def test_draws_go_on_until_the_error_is_reached():
    model, examples = made(), some_examples()
    for error in (0.3, 0.03):
        scores = unmask.score(model, examples, error=error)
        assert all(score.bits_per_unit_noise <= error for score in scores)
    counts = {len(score.replicates) for score in scores}
    assert len(counts) > 1 and min(counts) >= 8
    for score, example in zip(scores, examples):
        assert abs(score.nats - exact(model, example)) < 6 * score.noise
    wild = partial([0, 1, 2, 1])
    pairs = Scorer(model, error=0.01).pairs(
        [partial([0, 2, 2, 1]), partial([0, 1, 2, 0])], [wild] * 2
    )
    for a, b in pairs:
        assert difference(a, b).noise / math.log(2) / 4 <= 0.01
        count = min(len(a.replicates), len(b.replicates))
        change = (a.replicates[:count] - b.replicates[:count]).mean()
        assert difference(a, b).nats == pytest.approx(float(change), abs=1e-9)
    (one, wild_of_one), (other, wild_of_other) = pairs
    assert wild_of_one.nats == wild_of_other.nats and len(one.replicates) != len(other.replicates)


@pytest.mark.parametrize(
    "estimator", [Counts((1.0, 0.5, 0.0)), Orders(4), Path("left-to-right"), Enumeration(8)]
)
def test_estimators_are_those_of_the_list(estimator):
    model = made()
    x = torch.randint(3, (16, 4), generator=rng(5))
    found = unmask.likelihood.estimate(model, [x], estimator, repeats=8)
    scores = unmask.score(
        model, [partial(row) for row in x.tolist()], estimator=estimator, repeats=8
    )
    mean = sum(score.nats for score in scores) / 16
    if estimator.exact:
        assert mean == pytest.approx(found.mean, abs=1e-5) and scores[0].noise == 0
    else:
        assert abs(mean - found.mean) < 0.5
    if estimator.name(model).startswith("mean"):
        assert len(scores[0].replicates) == 2


def test_a_longer_sequence_is_scored_window_by_window():
    """The windows of `fill`, each given those before it: the sum of their exact bounds."""
    model = made()
    model.meta["length"] = 4
    role = [SCORED, SCORED, GIVEN, SCORED, SCORED, SCORED]
    example = partial([0, 1, 2, 1, 2, 0], role)
    total, left = 0.0, torch.tensor(role) == SCORED
    for at, fill in windows(left.clone(), 4):
        now = torch.zeros(6, dtype=torch.bool)
        now[at] = fill
        left &= ~now
        own = [
            SCORED if now[i] else UNKNOWN if left[i] else GIVEN for i in range(at.start, at.stop)
        ]
        total += exact(model, partial(example.ids[at].tolist(), own))
    every = {"estimator": Enumeration(), "window": True, "by_unit": True}
    (score,) = unmask.score(model, [example], **every)
    assert score.nats == pytest.approx(total, abs=1e-5) and score.units == 5
    assert abs(float(score.by_unit[:, 0].sum()) - score.nats) < 1e-9
    assert float(score.by_unit[2].abs().sum()) == 0
    (drawn,) = unmask.score(model, [example], window=True)
    assert abs(drawn.nats - total) < 5 * drawn.noise
    (whole,) = unmask.score(model, [example], estimator=Enumeration())  # at once
    assert whole.nats == pytest.approx(exact(model, example), abs=1e-5)


def test_places_of_one_cell_are_one_unit():
    model, example = made(), partial([0, 1, 2, 1], [SCORED, SCORED, GIVEN, SCORED])
    (by_place,) = unmask.score(model, [example], by_unit=True)
    (score,) = unmask.score(model, [example], by_unit=True, unit_of=[0, 0, 1, 2])
    assert (score.units, by_place.units) == (2, 3) and score.nats == by_place.nats
    paid = by_place.by_unit[:, 0]
    assert torch.allclose(score.by_unit[:, 0], torch.stack([paid[0] + paid[1], paid[2], paid[3]]))


@pytest.mark.parametrize(
    "example,how,said",
    [
        (partial([0, 1], [GIVEN, GIVEN]), {}, "no position that is scored"),
        (partial([0, 1], [SCORED]), {}, "as many of both"),
        (partial([0, 1], [SCORED, 9]), {}, "role 9"),
        (partial([0, 3]), {}, "3"),
        (partial([0, 1]), {"masks": [2**36]}, "2\\^36"),
        (partial([0, 1]), {"unit_of": [0, 1, 2]}, "has 2 positions, not 3"),
        (partial([0, 1]), {"error": -1.0}, "error must be"),
        (partial([0, 1]), {"error": 0.1, "estimator": Enumeration()}, "nothing is drawn"),
        (partial([0, 1]), {"by_unit": True, "estimator": Orders(4)}, "cannot be told by position"),
        (partial([0, 1]), {"repeats": 0}, "repeats must be"),
    ],
)
def test_what_cannot_be_scored(example, how, said):
    with pytest.raises(ValueError, match=said):
        unmask.score(made(), [example], **how)


def test_a_network_whose_numbers_are_not_finite_is_no_score():
    model = made()
    with torch.no_grad():
        next(model.parameters()).fill_(math.nan)
    with pytest.raises(FloatingPointError, match="not finite"):
        unmask.score(model, [partial([0, 1, 2, 0])])


def test_many_replicates_are_told_by_position_as_few_are():
    """Those of a part are added up before the next: the means and noises of all of them at once."""
    model, examples = made(digits=2), some_examples()
    for more in ({}, {"unit_of": [0, 1, 1, 2]}):
        scorer = Scorer(model, repeats=96, by_unit=True, batch_size=2, **more)
        scores = scorer.score(examples)
        assert scorer.replicates == 24  # three parts
        for example, score in zip(examples, scores):
            piece = next(scorer.pieces(0, example))
            (each,) = scorer.drawn([piece], [masks_of(score.masks, 0)], range(24))
            unit = torch.tensor(more.get("unit_of", range(4)))
            of_units = torch.zeros(24, int(unit.max()) + 1).double().index_add(1, unit, each)
            torch.testing.assert_close(score.replicates, each.sum(1), rtol=1e-12, atol=0)
            noise = of_units.std(0, correction=1) / math.sqrt(24)
            expected = torch.stack([of_units.mean(0), noise], 1)
            torch.testing.assert_close(score.by_unit, expected, rtol=1e-6, atol=1e-7)
    with pytest.raises(ValueError, match="leave out window"):
        Scorer(model, unit_of=[0, 0, 1, 1], window=True)


def test_memory_does_not_grow_with_the_draws():
    """What is drawn at a time is of a few replicates, however many there are to be."""
    model, seen = made(), []
    scorer = Scorer(model, repeats=400, by_unit=True)
    drawn = scorer.drawn
    scorer.drawn = lambda some, own, few: seen.append(len(few)) or drawn(some, own, few)
    (score,) = scorer.score(some_examples(1))
    assert score.draws == 400 and sum(seen) == scorer.replicates == 100 and max(seen) == BLOCK
