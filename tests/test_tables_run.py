"""runs/tables.py without scikit-learn: its files, the plain rivals, what is removed, its report."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runs"))

from tabular import report, sets
from tabular.cells import Progress, Skipped, done, read, run_cell
from tabular.method import Groups, draw, histogram
from tabular.plain import Bootstrap, Copula, Independent, Smote, Uniform
from tabular.removal import high_cells, mean_of_columns, none_of, rates, removed_cells
from tabular.sets import Part

ROWS = 600


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    """A table of a whole number, one with decimals, a category with missing cells and a class."""
    random = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("tables")
    with open(folder / "small.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "age", "pay", "job", "class"])
        for i in range(ROWS):
            kind = int(random.integers(2))
            age = int(random.integers(18, 60)) + 20 * kind
            pay = f"{random.normal(age, 3):.2f}" if random.random() < 0.8 else "0"
            job = random.choice(["a", "b", "c", "NA"], p=[0.5, 0.2, 0.2, 0.1])
            writer.writerow([i, age, pay, job, "yn"[kind]])
    small = sets.Set(("small.csv",), ROWS, "class", drop=("id",), missing="NA")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sets.SETS, "small", small)
        return sets.prepare_set("small", folder, 1, folder / "home")


def test_every_row_is_in_one_part_and_reads_as_its_cells(known):
    sizes = {part: len(rows) for part, rows in known.parts.items()}
    assert sizes == {"test": 60, "validation": 27, "train": 513}
    assert known.table.names == ["age", "pay", "job", "class"]
    assert known.number == (True, True, False, False) and known.decimals == (0, 2, 0, 0)
    for part, path in zip(sets.PARTS, known.files):
        with open(path, newline="") as file:
            _, *rows = csv.reader(file)
        numbers = known.parts[part].numbers
        assert np.array_equal(numbers[:, 1], [float(row[1]) for row in rows])
        spelled = [[*row[:1], f"{float(row[1]):.2f}", *row[2:]] for row in rows]
        assert known.spell(known.parts[part]) == spelled


def test_another_number_of_rows_is_an_error(known, tmp_path, monkeypatch):
    (tmp_path / "small.csv").write_text("id,age\n1,30\n")
    monkeypatch.setitem(sets.SETS, "small", sets.Set(("small.csv",), 2, "age"))
    with pytest.raises(ValueError, match="1 rows for small, expected 2 of 2 columns"):
        sets.read_set("small", tmp_path)


def test_official_files_are_read_with_their_traps(tmp_path, monkeypatch):
    row = "39, State-gov, 1, Bachelors, 13, N, ?, H, White, Male, 0, 0, 40, US, <=50K"
    (tmp_path / "adult.data").write_text(f"{row}\n\n")
    (tmp_path / "adult.test").write_text(f"|1x3 Cross validator\n{row}.\n")
    monkeypatch.setitem(sets.SETS, "adult", sets.SETS["adult"]._replace(rows=2))
    header, (first, second) = sets.read_set("adult", tmp_path)
    assert first == second and first[-1] == "<=50K" and first[6] == "" and len(header) == 15
    beijing = sets.SETS["beijing"]
    (tmp_path / beijing.files[0]).write_text("No,pm2.5,cbwd\n1,NA,NW\n2,12,cv\n")
    monkeypatch.setitem(sets.SETS, "beijing", beijing._replace(rows=1))
    assert sets.read_set("beijing", tmp_path) == (["pm2.5", "cbwd"], [["12", "cv"]])


@pytest.mark.parametrize("kind", [Independent, Bootstrap, Smote, Copula])
def test_rivals_write_rows_that_the_table_can_read(known, kind):
    method = kind(known, 0, 1)
    method.fit(None)
    rows = known.spell(method.sample(200))
    assert len(rows) == 200
    train, low, high = known.train, *np.quantile(known.train.numbers[:, :2], [0, 1], axis=0)
    for row in rows:
        assert row[0] == str(int(row[0])) and len(row[1].partition(".")[2]) == 2
        assert low[0] <= float(row[0]) <= high[0] and low[1] <= float(row[1]) <= high[1]
        assert row[2] in ("a", "b", "c", "") and row[3] in ("y", "n")
    # each column by itself is about as it was: 200 rows, five standard errors of a share
    for c in (2, 3):
        shares = np.bincount(train.codes[:, c]) / len(train)
        made = np.bincount(method.sample(2000).codes[:, c], minlength=len(shares)) / 2000
        assert np.abs(made - shares).max() < 5 * np.sqrt(0.25 / 2000)


def test_nats_of_columns_alone_and_of_uniform_in_closed_form(known):
    job, test = known.train.codes[:, 2], known.test
    expected = np.zeros(len(test))
    for c, size in enumerate(known.sizes):
        for i, code in enumerate(test.codes[:, c]):
            same = (known.train.codes[:, c] == code).sum()
            expected[i] -= np.log((same + 1) / (len(known.train) + size))
    assert np.allclose(Independent(known, 0, 1).nats(test), expected, rtol=0, atol=1e-12)
    assert known.sizes[2:] == (4, 2) and set(job) == {0, 1, 2, 3}
    assert np.allclose(Uniform(known, 0, 1).nats(test), np.log(np.prod(known.sizes)))


def test_groups_of_many_bins_are_few_and_a_law(known):
    """p(value) = p(its group) p(value | its group): with the groups' own shares, the histogram."""
    codes = known.train.codes.copy()
    codes[:, 0] = np.random.default_rng(0).integers(200, size=len(codes))
    sizes, parts = (200, *known.sizes[1:]), {"train": Part(codes, known.train.numbers)}
    finer = known._replace(sizes=sizes, parts=parts)
    groups, law = Groups.make(finer, 0), histogram(codes[:, 0], 200)
    assert groups.count == 32 and (np.diff(groups.of) >= 0).all()
    shares = np.bincount(groups.of, law)
    assert np.allclose(groups.law(shares[None])[0], law, rtol=1e-12)
    assert shares.max() < 2 / 32
    of_job = Groups.make(finer, 2)
    assert np.array_equal(of_job.of, range(known.sizes[2])) and (of_job.within == 1).all()


def test_draw_follows_its_law():
    p = np.tile([0.2, 0.0, 0.5, 0.3], (20_000, 1))
    shares = np.bincount(draw(p, np.random.default_rng(0)), minlength=4) / 20_000
    assert shares[1] == 0 and np.abs(shares - p[0]).max() < 5 * np.sqrt(0.25 / 20_000)


# ---------------------------------------------------------------- what is removed


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5])
def test_high_cells_vanish_three_times_as_often_at_the_same_rate(known, share):
    rows = Part(*(np.tile(part, (40, 1)) for part in known.train))
    high, there = high_cells(known, rows), ~none_of(known, rows)
    assert not there[:, 2].all() and there[:, 0].all()
    assert (rows.numbers[:, 0] > np.quantile(known.train.numbers[:, 0], 0.7))[high[:, 0]].all()
    assert set(rows.codes[high[:, 2], 2]) == {np.bincount(known.train.codes[:, 2]).argmax()}
    p = rates(high, there, share)
    removed = removed_cells(known, rows, "not at random", share, np.random.default_rng(0))
    assert not removed[~there].any()
    for c in range(4):
        of_high, of_others = p[high[:, c], c], p[~high[:, c] & there[:, c], c]
        assert np.allclose(of_high, 3 * of_others[0]) and np.allclose(of_others, of_others[0])
        assert p[there[:, c], c].mean() == pytest.approx(share)
        for cells, rate in ((high[:, c], of_high[0]), (~high[:, c] & there[:, c], of_others[0])):
            error = np.sqrt(rate * (1 - rate) / cells.sum())
            assert abs(removed[cells, c].mean() - rate) < 5 * error


def test_rates_above_one_are_made_up_by_the_others():
    high = np.zeros((100, 1), bool)
    high[:4] = True
    p = rates(high, np.ones((100, 1), bool), 0.5)
    assert p[0] == 1 and p.mean() == pytest.approx(0.5)
    assert rates(np.ones((9, 1), bool), np.ones((9, 1), bool), 0.3) == pytest.approx(0.3)


# ---------------------------------------------------------------- cells and the report


def test_a_cell_is_written_whole_and_not_done_again(tmp_path):
    path = tmp_path / "cells" / "a.json"
    calls = []

    def work():
        calls.append(1)
        assert not path.exists()
        return {"value": np.float64(2), "none": float("nan")}

    record = run_cell(path, {"method": "m"}, work)
    assert read(path)["value"] == 2 and read(path)["none"] is None and record["method"] == "m"
    assert (
        done(path, False)
        and done(path, True)
        and [p.name for p in path.parent.iterdir()] == ["a.json"]
    )


def test_failures_and_skips_are_recorded_and_an_interruption_is_not(tmp_path):
    def raising(error):
        def work():
            raise error

        return work

    run_cell(tmp_path / "f.json", {}, raising(ValueError("too wide")))
    run_cell(tmp_path / "s.json", {}, raising(Skipped("not installed")))
    assert read(tmp_path / "f.json")["failed"] == "ValueError: too wide"
    assert read(tmp_path / "s.json")["skipped"] == "not installed"
    for name in "fs":
        assert done(tmp_path / f"{name}.json", False) and not done(tmp_path / f"{name}.json", True)
    with pytest.raises(KeyboardInterrupt):
        run_cell(tmp_path / "i.json", {}, raising(KeyboardInterrupt()))
    assert not (tmp_path / "i.json").exists()


def test_progress_tells_what_is_left_by_what_such_cells_took():
    progress = Progress(["a", "a", "b"], {"b": [600.0]})
    line = progress.after("a", {"wall_seconds": 120.0}, "magic 0 a")
    assert "1 of 3: magic 0 a, 120 s, about 12 minutes left; done" in line


def cell(folder, name, seed, method, **record):
    path = folder / f"{report.name_of(name, seed, method)}.json"
    times = {"fit": {"processor": 10.0, "wall": 5.0}}
    about = {"set": name, "seed": seed, "method": method, "times": times, "over_budget": False}
    path.write_text(json.dumps(about | record))


def measured(value, error=0.001, real=0.99):
    value, real = ({"value": v, "error": error} for v in (value, real))
    return {"measures": {"shapes": {"samples": value, "like": None, "real": real}}}


def test_report_of_made_cells(tmp_path):
    for seed, (a, b) in enumerate([(0.95, 0.90), (0.97, 0.93), (0.96, 0.90)]):
        cell(tmp_path, "magic", seed, "a", **measured(a), nats={"mean": 20.0 + seed, "stderr": 0.5})
        cell(tmp_path, "magic", seed, "b", **measured(b), nats={"mean": 20.4 + seed, "stderr": 0.5})
    cell(tmp_path, "adult", 0, "a", **measured(0.5))
    cell(tmp_path, "adult", 0, "b", failed="ValueError: no")
    about = {"a": "one", "b": "other"}
    out = tmp_path / "report.md"
    text = report.write_report(tmp_path, about, ["magic", "adult"], [0, 1, 2], out)
    assert out.read_text() == text
    assert "7 of 18 cells are finished, 10 are missing." in text
    assert "- adult 0 b failed: ValueError: no" in text and "adult-1-b" in text
    # 0.96 with an error of sd 0.01 / sqrt 3; better by 0.05 +- 0.006, so bold
    assert "| a | **0.9600 ± 0.0058** | 0.5000 ± 0.0010 |" in text
    assert "| b | 0.910 ± 0.010 |  |" in text
    assert "| real rows, held out | 0.9900 | 0.99 |" in text
    # paired over seeds the difference is exact, but a row's own error is not: nobody is bold
    assert "| a | 21.00 ± 0.58 |\n" in text and "| b | 21.40 ± 0.58 |\n" in text
    # a column for no set that nobody has measured
    assert "| | magic |\n|---|---|\n| a | 21.00 ± 0.58 |" in text


def test_a_table_has_the_cells_that_there_are(tmp_path):
    (tmp_path / "cells").mkdir()
    for method, nats in (("cart", 20.4), ("unmask", 20.0)):
        of_rows = {"mean": nats, "stderr": 0.1}
        cell(tmp_path / "cells", "magic", 3, method, **measured(0.9), nats=of_rows)
    cell(tmp_path / "cells", "adult", 3, "cart", failed="ValueError: no")
    assert report.table(tmp_path) == [
        "**Nats a test row (ours: an upper bound)**", "", "| | magic |", "|---|---|",
        "| unmask | **20.00 ± 0.10** |", "| cart | 20.40 ± 0.10 |",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="has no finished cells"):
        report.table(tmp_path / "cells")


def test_imputation_that_no_draw_changes_has_no_error(tmp_path):
    whole = {"accuracy": mean_of_columns(np.ones((9, 2)), 0)}
    run_cell(
        tmp_path / "cells" / "magic-3-imputation.json",
        {"set": "magic", "seed": 3, "method": "imputation"},
        lambda: {"imputation": {"at random": {"0.3": {"removed": 0.3, "unmask": whole}}}},
    )
    assert report.table(tmp_path)[-1] == "| unmask | 1 |"


def test_near_a_half_and_near_real_rows_are_what_is_good():
    half = report.Figure("x", "x", "half")
    seen = {"near": {0: report.Seen(0.49, 0.01)}, "far": {0: report.Seen(0.8, 0.01)}}
    assert report.best(half, seen) == "near"
    real = report.Figure("x", "x", "real")
    copies = {"copier": {0: report.Seen(0.9, 0.01, 0.02)}, "none": {0: report.Seen(0.0, 0.0, 0.02)}}
    assert report.best(real, copies) == "none"
    seen["other"] = {0: report.Seen(0.53, 0.01)}  # 0.02 farther, with errors of 0.014
    assert report.best(half, seen) is None
