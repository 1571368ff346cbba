"""The rivals of runs/tables.py that need scikit-learn, on tables small enough to enumerate."""

import csv
import itertools
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "runs"))

import tables
from tabular import imputation, sets
from tabular.cells import Clock
from tabular.chains import Boosted, Cart
from tabular.imputation import Bins, Features, Forests, Ridge, by_laws, of_columns
from tabular.plain import Independent
from tabular.removal import none_of, scores
from tabular.sets import Part

from unmask import MaskedDiffusion
from unmask.train import train


def made(folder, count, row):
    """A table of the columns size, kind and class."""
    random = np.random.default_rng(0)
    with open(folder / "small.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [["size", "kind", "class"], *(row(random) for _ in range(count))]
        )
    small = sets.Set(("small.csv",), count, "class", missing="NA")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sets.SETS, "small", small)
        return sets.prepare_set("small", folder, 0, folder / "home")


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """Five sizes, which decide the class; kinds of which some are missing."""

    def row(random):
        size = int(random.integers(5))
        kind = random.choice(["a", "b", "NA"]) if size else "a"
        return [size * 10, kind, "y" if (size > 2) ^ (random.random() < 0.1) else "n"]

    return made(tmp_path_factory.mktemp("few"), 3000, row)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Numbers in many bins, of which the class tells much."""

    def row(random):
        kind = random.integers(3)
        return [f"{random.normal(4 * kind, 1):.3f}", "abc"[random.integers(3)], "xyz"[kind]]

    return made(tmp_path_factory.mktemp("many"), 3000, row)


@pytest.mark.parametrize("kind", [Cart, Boosted])
def test_chains_are_laws_that_beat_columns_alone_and_draw_by_them(known, kind):
    method = kind(known, 0, 1)
    method.fit(Clock(60))
    every = np.array(list(itertools.product(*map(range, known.sizes))))
    p = np.exp(-method.nats(Part(every, np.zeros(every.shape))))
    assert known.sizes == (5, 3, 2) and p.sum() == pytest.approx(1, abs=1e-9)
    alone = Independent(known, 0, 1).nats(known.test)
    less = alone - method.nats(known.test)
    assert less.mean() > 5 * less.std() / np.sqrt(len(less))
    rows = method.sample(20_000)
    cells = known.spell(rows)
    assert {row[0] for row in cells} <= {"0", "10", "20", "30", "40"}
    assert {row[1] for row in cells} == {"a", "b", ""} and {row[2] for row in cells} == {"y", "n"}
    number = np.ravel_multi_index(tuple(rows.codes.T), known.sizes)
    shares = np.bincount(number, minlength=len(p)) / len(number)
    # cart draws without the few rows by which its nats are smoothed: 20 in a leaf of hundreds
    most = 5 * np.sqrt(p * (1 - p) / len(number)) + (0.01 if kind is Cart else 1e-4)
    assert (np.abs(shares - p) < most).all()


@pytest.mark.parametrize("kind", [Cart, Boosted])
def test_chains_keep_to_their_budget_by_doing_less(many, kind):
    method, clock = kind(many, 0, 1), Clock(1.5)
    method.fit(clock)
    assert clock.used < 4  # a machine may be slow; without a budget it would take 10
    assert np.isfinite(method.nats(many.test)).all()


# ---------------------------------------------------------------- imputation


def test_quantiles_of_laws_over_bins(many):
    bins = Bins.make(many, 0)
    codes, numbers = many.train.codes[:, 0], many.train.numbers[:, 0]
    law = np.bincount(codes, minlength=len(bins.low)) / len(codes)
    found = bins.quantiles(np.stack([law, law]))
    widest = (bins.high - bins.low)[1:-1].max()  # within a bin it is interpolated
    assert np.abs(found[0] - np.quantile(numbers, [0.05, 0.5, 0.95])).max() < widest
    sure = np.zeros((1, len(law)))
    sure[0, 3] = 1
    low, middle, high = bins.quantiles(sure)[0]
    assert bins.low[3] <= low < middle < high <= bins.high[3]


def test_a_law_that_knows_is_right_and_covered(many):
    rows = many.test
    laws = [np.eye(len(c.values))[rows.codes[:, i]] for i, c in enumerate(many.table.columns)]
    removed = np.ones(rows.codes.shape, bool)
    found = scores(many, rows, removed, by_laws(many, rows, laws), 0)
    assert found["accuracy"]["value"] == 1 and found["nats"]["value"] == 0
    alone = scores(many, rows, removed, of_columns(many, rows), 0)
    assert found["absolute"]["value"] < 0.1 * alone["absolute"]["value"]
    error = np.sqrt(0.09 / len(rows))
    assert abs(alone["coverage"]["value"] - 0.9) < 5 * error
    column = rows.numbers[:, 0]
    by_hand = np.abs(column - np.median(many.train.numbers[:, 0])).mean()
    assert alone["absolute"]["value"] == pytest.approx(by_hand / many.train.numbers[:, 0].std())


def test_imputers_tell_the_class_from_the_number(many):
    """The class decides the number's mean, four standard deviations apart."""
    rows, whole = many.test, np.zeros(many.train.codes.shape, bool)
    hidden = np.random.default_rng(0).random(whole.shape) < 0.2
    removed = np.zeros(rows.codes.shape, bool)
    removed[:, 2] = True
    space = Features(many)
    forests = Forests(many, many.train, hidden, 0)
    ridge = Ridge(space, space.encode(many.train, hidden))
    said = {
        "forest": forests.guesses(rows, removed),
        "ridge": space.guesses(ridge.run(space.encode(rows, removed))),
    }
    for name, least in (("forest", 0.9), ("ridge", 0.6)):  # a line cannot tell the middle one
        assert scores(many, rows, removed, said[name], 0)["accuracy"]["value"] > least
    removed = np.zeros(rows.codes.shape, bool)
    removed[:, 0] = True
    forest = scores(many, rows, removed, forests.guesses(rows, removed), 0)
    line = scores(many, rows, removed, space.guesses(ridge.run(space.encode(rows, removed))), 0)
    std = many.train.numbers[:, 0].std()
    for one in (forest, line):  # the error that is left is that within a class
        assert one["squared"]["value"] == pytest.approx((1 / std) ** 2, rel=0.3)
    assert 0.83 < forest["coverage"]["value"] < 0.97
    assert not none_of(many, rows).any()


# ---------------------------------------------------------------- all of it


def test_the_script_from_files_to_a_report(tmp_path, monkeypatch, capsys):
    random = np.random.default_rng(0)
    with open(tmp_path / "magic04.data", "w", newline="") as file:
        for _ in range(400):
            kind = int(random.integers(2))
            numbers = [f"{value:.4f}" for value in random.normal(kind, 1, 10)]
            csv.writer(file).writerow([*numbers, "gh"[kind]])
    monkeypatch.setitem(sets.SETS, "magic", sets.SETS["magic"]._replace(rows=400))
    monkeypatch.setattr(imputation, "TREES", 5)
    monkeypatch.setattr(tables.Ours, "fit", fit_two_steps)
    out = tmp_path / "out"
    how = [str(tmp_path), str(out), "--seeds", "0", "--threads", "1", "--budget", "5"]
    only = "magic,unmask,uniform,cart,imputation"
    assert tables.main([*how, "--only", only]) == 0
    said = capsys.readouterr().out
    assert "4 of 4 cells to do" in said and "4 of 4: magic 0 imputation" in said
    assert "failed" not in said and "skipped" not in said
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert tables.main([*how, "--only", only]) == 0
    assert "0 of 4 cells to do" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (out / "cells").iterdir()}
    assert tables.main([*how, "--only", only, "--report"]) == 0
    text = (out / "report.md").read_text()
    assert "4 of 4 cells are finished, 0 are missing." in text
    for title in ("Nats a test row", "Shapes", "30% of cells removed not at random: nats"):
        assert title in text
    assert "| uniform | " in text and "| random forests | " in text


def fit_two_steps(self, clock):
    self.model = MaskedDiffusion.from_pretrained(
        train(self.config(2, 0.0), self.known.home / "data", self.run)
    )
