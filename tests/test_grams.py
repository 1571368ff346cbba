"""Runs, copies and errors of figures of samples, against searches by hand and known laws."""

import itertools
import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from unmask.kinds import copies, grams
from unmask.kinds.copies import find_copies
from unmask.kinds.grams import count_grams
from unmask.kinds.proteins.nearest import RUN, nearest
from unmask.kinds.proteins.quality import of_each, simple_residues
from unmask.kinds.trial import (
    Closer,
    check_many,
    clustered_error,
    jackknife,
    kolmogorov_smirnov,
    make_trial,
    mean_of,
    share_of,
)


def sequences(random, number, most, values):
    return [random.integers(0, values, random.integers(0, most)) for _ in range(number)]


def runs(row, order):
    row = row.tolist()
    found = [tuple(row[i : i + order]) for i in range(len(row) - order + 1)]
    return [run for run in found if min(run) >= 0]


def shares(rows, order):
    found = Counter(itertools.chain(*(runs(row, order) for row in rows)))
    total = sum(found.values())
    return {run: count / total for run, count in found.items()}


def entropy(p):
    return -sum(x * math.log(x) for x in p.values())


# ---------------------------------------------------------------- runs of symbols


@pytest.mark.parametrize("seed", range(5))
def test_runs_are_those_that_a_search_counts(seed):
    random = np.random.default_rng(seed)
    sides = [sequences(random, 6, 12, 4) for _ in range(3)]
    sides[0][1] = np.array([0, 1, -1, 1, 0, 2])  # no run holds the third
    found = count_grams(sides, 4)
    for order, by_side in enumerate(found, 1):
        for rows, side in zip(sides, by_side):
            p = shares(rows, order) if any(len(runs(row, order)) for row in rows) else {}
            ones = np.ones(len(rows))
            assert grams.entropy(side)(ones) == pytest.approx(entropy(p), nan_ok=not p)
            counted = [runs(row, order) for row in rows]
            again, all_runs = grams.repeated(side)
            assert all_runs.tolist() == [len(row) for row in counted]
            assert again.tolist() == [len(row) - len(set(row)) for row in counted]
            total = sum(map(len, counted))
            if total:
                different = len(set(itertools.chain(*counted)))
                assert grams.distinct(side)(ones) == pytest.approx(different / total)
            each = [entropy(shares([row], order)) if row.tolist() else 0 for row in rows]
            each = [0 if not runs_of else one for one, runs_of in zip(each, counted)]
            assert grams.entropies(side).tolist() == pytest.approx(each)


@pytest.mark.parametrize("seed", range(5))
def test_distances_are_those_of_shares_by_hand(seed):
    random = np.random.default_rng(seed)
    sides = [sequences(random, 6, 15, 3) for _ in range(2)]
    for order, (a, b) in enumerate(count_grams(sides, 3), 1):
        p, q = (shares(side, order) for side in sides)
        both = {run: (p.get(run, 0) + q.get(run, 0)) / 2 for run in {*p, *q}}
        known = (entropy(both) - (entropy(p) + entropy(q)) / 2) / math.log(2)
        ones = np.ones(6)
        assert grams.jensen_shannon(a, b.all())(ones) == pytest.approx(known)
        apart = sum(abs(p.get(run, 0) - q.get(run, 0)) for run in both) / 2
        assert grams.total_variation(a, b.all())(ones) == pytest.approx(apart)


def test_what_is_the_same_is_not_apart_and_what_has_nothing_in_common_is():
    rows = [np.array([1, 2, 3]), np.array([1, 1])]
    other = [np.array([7, 8])]
    for a, b, c in count_grams([rows, rows, other], 2):
        for distance in (grams.jensen_shannon, grams.total_variation):
            assert distance(a, b.all())(np.ones(2)) == pytest.approx(0, abs=1e-12)
            assert distance(a, c.all())(np.ones(2)) == pytest.approx(1)


def test_nothing_at_all_has_no_figure():
    a, b = count_grams([[np.array([], np.int64)], [np.array([1])]], 1)[0]
    for score in (grams.entropy(a), grams.distinct(a), grams.jensen_shannon(a, b.all())):
        assert math.isnan(score(np.ones(1)))


# ---------------------------------------------------------------- copies


def occurs(run, corpus):
    return any(corpus[i : i + len(run)] == run for i in range(len(corpus) - len(run) + 1))


def longest_by_hand(row, corpus, least):
    for size in range(len(row), least - 1, -1):
        if any(occurs(row[i : i + size], corpus) for i in range(len(row) - size + 1)):
            return size
    return 0


@pytest.mark.parametrize("seed", range(30))
def test_copies_are_those_that_a_search_finds(seed):
    random = np.random.default_rng(seed)
    values, k = random.integers(2, 6), 4
    corpus = random.integers(0, values, random.integers(5, 150))
    rows = sequences(random, 5, 30, values)
    rows[0] = corpus[3 : 3 + 28].copy()
    # they overlap by as much as the longest row has
    blocks = [corpus[i : i + 70] for i in range(0, len(corpus), 40)]
    found = find_copies(rows, blocks, k)
    pieces = {tuple(corpus[i : i + k]) for i in range(len(corpus) - k + 1)}
    for i, row in enumerate(map(np.ndarray.tolist, rows)):
        all_pieces = [tuple(row[j : j + k]) for j in range(len(row) - k + 1)]
        assert found.pieces[i] == len(all_pieces)
        assert found.shared[i] == sum(piece in pieces for piece in all_pieces)
        assert found.all_followed
        longest, first = int(found.longest[i]), int(found.where[i])
        assert longest == longest_by_hand(row, corpus.tolist(), k)
        assert occurs(row[first : first + longest], corpus.tolist())


def test_a_piece_that_occurs_very_often_is_said_to_be_one():
    row = np.zeros(200, np.int64)
    found = find_copies([row, row], [np.zeros(300, np.int64)], 8)
    assert not found.all_followed and found.longest[0] == 200 >= found.longest[1]
    assert found.shared.tolist() == [193, 193]


def test_no_block_and_no_piece_have_no_copy():
    found = find_copies([np.arange(10), np.array([], np.int64)], [], 4)
    assert found.shared.tolist() == [0, 0] and found.pieces.tolist() == [7, 0]
    found = find_copies([np.arange(3)], [np.arange(10)], 4)
    assert found.longest.tolist() == [0] and found.pieces.tolist() == [0]


def test_hashes_of_runs_are_those_of_their_symbols():
    random = np.random.default_rng(0)
    a, b = random.integers(0, 1 << 20, (2, 100))
    b[20:60] = a[30:70]
    one, other = copies.Hashed(a), copies.Hashed(b)
    at, size = np.array([30, 30, 31]), np.array([40, 41, 5])
    same = one.runs(at, size) == other.runs(at - 10, size)
    assert same.tolist() == [True, False, True]
    assert one.pieces(7)[30] == other.pieces(7)[20]


@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_sequence_is_that_of_a_search(seed):
    random = np.random.default_rng(seed)
    rows, corpus = (sequences(random, n, 40, 3) for n in (12, 30))
    corpus[5] = np.append(corpus[5], 22)  # a residue that is not known
    found = nearest(rows, corpus)
    for row, share, which in zip(rows, found.share, found.which):
        own = set(runs(row, RUN))
        shared = [
            len(own & {run for run in runs(one, RUN) if max(run) < 22}) / max(len(own), 1)
            for one in corpus
        ]
        assert share == pytest.approx(max(shared)) and shared[which] == pytest.approx(share)
    assert len(rows) == len(found.share)


@pytest.mark.parametrize("seed", range(5))
def test_low_complexity_by_hand(seed):
    random = np.random.default_rng(seed)
    rows = [random.integers(0, 7, 60), np.concatenate([np.arange(20), np.zeros(9, np.int64)])]
    known = []
    for row in rows:
        covered = set()
        for first in range(len(row) - 11):
            counts = Counter(row[first : first + 12].tolist()).values()
            if -sum(c / 12 * math.log2(c / 12) for c in counts) <= 2.2:
                covered |= set(range(first, first + 12))
        known.append(len(covered))
    assert 0 < known[0] < 60  # some windows are, and some are not
    assert simple_residues([*rows, rows[0][:11]]).tolist() == [*known, 0]


def test_what_is_not_known_is_no_residue():
    rows = [np.full(40, 22, np.uint8), np.concatenate([np.arange(20), np.full(16, 22)])]
    sides = SimpleNamespace(trial=make_trial(2, np.arange(1), 0), samples=rows, real=rows[1:])
    alone = make_trial(1, np.arange(1), 0)
    of_none = SimpleNamespace(trial=alone, samples=rows[:1], real=rows[1:])
    entropy, repeated, simple = of_each(sides)
    assert (repeated.samples.value, simple.samples.value) == (0, 0)
    assert entropy.real.value == pytest.approx(math.log(20))
    assert all(math.isnan(one.samples.value) for one in of_each(of_none)[1:])


# ---------------------------------------------------------------- errors


def test_errors_are_those_of_the_law():
    """Of a mean and of a share of parts, whose errors are known."""
    random = np.random.default_rng(0)
    values = random.normal(size=3000)
    found = jackknife(mean_of(values), 3000, np.arange(3000), 0)
    known = values.std(ddof=1) / math.sqrt(3000)
    assert found.value == pytest.approx(values.mean())
    assert found.error == pytest.approx(known, rel=0.4)  # four errors of 50 groups
    alone = jackknife(mean_of(values[:30]), 30, np.arange(30), 0)  # a group of one each
    assert alone.error == pytest.approx(values[:30].std(ddof=1) / math.sqrt(30))


def test_errors_of_entropies_and_distances_are_the_spread_of_other_samples():
    random = np.random.default_rng(0)
    p = np.array([0.5, 0.2, 0.1, 0.1, 0.06, 0.04])
    found, others = [], random.choice(6, 4000, p=p[::-1])
    for _ in range(150):
        rows = list(random.choice(6, (60, 10), p=p))
        a, b = count_grams([rows, [others]], 1)[0]
        scores = grams.entropy(a), grams.jensen_shannon(a, b.all()), share_of(*grams.repeated(a))
        found.append([jackknife(score, 60, np.arange(60), 0) for score in scores])
    for values in np.array(found).transpose(1, 2, 0):
        assert values[1].mean() == pytest.approx(values[0].std(), rel=0.25)


def test_of_examples_that_all_say_the_same_no_error_is_told():
    assert math.isnan(jackknife(mean_of(np.zeros(20)), 20, np.arange(20), 0).error)
    assert math.isnan(jackknife(mean_of(np.arange(3.0)), 3, np.array([1]), 0).error)


def test_as_many_as_are_real_are_a_part_of_the_samples():
    trial = make_trial(10, np.array([1, 4]), 0)
    one = trial.measure("k", "n", "s", None, mean_of(np.arange(10.0)), mean_of(np.arange(2.0)))
    assert (one.samples.value, one.like.value, one.real.value) == (4.5, 2.5, 0.5)
    assert make_trial(2, np.arange(2), 0).like is None
    with pytest.raises(ValueError, match=r"x: 1 example is too few .* at least 2"):
        check_many("x", 1)


def test_lengths_are_compared_as_scipy_would():
    a, b = np.array([1, 2, 2, 5]), np.array([2, 3, 4, 4, 9])
    at = np.arange(10)
    below = [(side[:, None] <= at).mean(0) for side in (a, b)]
    known = np.abs(below[0] - below[1]).max()
    assert kolmogorov_smirnov(a, b)(np.ones(4)) == pytest.approx(known)
    half = np.array([1.0, 0, 0, 1])
    assert kolmogorov_smirnov(a, b)(half) == kolmogorov_smirnov(a[[0, 3]], b)(np.ones(2))


def test_who_shares_the_nearest_example_counts_together():
    values = np.array([1.0, 0, 1, 1])
    trial = make_trial(8, np.arange(4), 0)
    twice = Closer(np.repeat(values, 2), np.repeat(np.arange(4), 2))
    one = trial.closer("s", twice, Closer(values, np.arange(4)))
    assert one.ideal == 0.5 and one.real.value == one.samples.value == 0.75
    assert one.samples.error == pytest.approx(one.real.error)
    assert one.real.error == pytest.approx(clustered_error(values, np.arange(4)))
    assert one.real.error == pytest.approx(values.std(ddof=1) / 2)
