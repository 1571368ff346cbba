"""Figures of synthetic rows, against closed forms: all but what needs scikit-learn, which
tests/extras has."""

import csv
import gzip
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

import unmask
from unmask.cli import main
from unmask.data import open_data, prepare_table
from unmask.kinds.quality import Value
from unmask.kinds.tables.quality import measure, models, nearest, shares
from unmask.kinds.tables.quality.curves import area, mean_of
from unmask.kinds.tables.quality.rows import Field, Rows
from unmask.kinds.trial import even_edges

ADULT = Path(unmask.__file__).parent / "kinds" / "tables" / "bundled" / "adult.csv.gz"


@pytest.fixture(autouse=True)
def without_sklearn(monkeypatch):
    """Also where it is installed."""
    monkeypatch.setattr(models, "has_sklearn", lambda: False)
    monkeypatch.setattr(measure, "has_sklearn", lambda: False)


def write(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def judged(folder, header, train, synthetic, *more, test=None, source=True, numbers=()):
    """What the command records of rows, prepared from files of their own."""
    folder.mkdir(exist_ok=True)
    paths = (
        write(folder / "train.csv", header, train),
        write(folder / "test.csv", header, test or train),
    )
    how = {"header": "yes", "numbers": numbers, "progress": False}
    prepare_table(paths[0], folder / "data", test=paths[1], **how)
    flags = ["--source", f"{paths[0]},{paths[1]}"] if source else []
    made = str(write(folder / "made.csv", header, synthetic))
    flags += ["--data", str(folder / "data"), "--json", str(folder / "q.json"), *more]
    assert main(["quality", made, *flags]) == 0
    return json.loads((folder / "q.json").read_text())


def value_of(record, key, side="samples"):
    return record["measures"][key][side]["value"]


def rows_of(*columns, labels=None):
    """Columns of floats (numbers) and of ints (codes of categories)."""
    columns = [np.asarray(column) for column in columns]
    fields = [Field(f"c{i}", column.dtype.kind == "f") for i, column in enumerate(columns)]
    sizes = labels or [0 if f.number else int(v.max()) + 1 for f, v in zip(fields, columns)]
    return Rows(fields, [[str(i) for i in range(size)] for size in sizes], columns)


# ---------------------------------------------------------------- closed forms, by the command


MIXED = [[i % 7, "ab"[i % 2], ("x", "y", "")[i % 3], i % 5 or ""] for i in range(60)]


@pytest.mark.parametrize("source", [True, False])
def test_rows_that_are_the_training_rows_are_ideal(tmp_path, source):
    record = judged(tmp_path, ["n", "c", "d", "m"], MIXED, MIXED, source=source)
    for key in ("shapes", "trends", "missing", "missing_pairs", "copies"):
        for side in ("samples", "real"):
            assert value_of(record, key, side) == 1
    # every row is in the training rows and in those held out
    assert value_of(record, "closer") == 0.5 and value_of(record, "closer_strict") == 0
    assert record["measures"]["closer_strict"]["ideal"] == 0
    assert record["rows"] == {"train": 60, "test": 60, "synthetic": 60}


def test_rows_that_have_nothing_in_common_score_nothing(tmp_path):
    train = [[i % 10, "ab"[i % 2]] for i in range(40)]
    made = [[100 + i % 10, "cd"[i % 2]] for i in range(40)]
    record = judged(tmp_path, ["n", "c"], train, made)
    nothing = [value_of(record, key) for key in ("shapes", "trends", "copies")]
    assert nothing == pytest.approx([0, 0, 0])
    assert [value_of(record, key, "real") for key in ("shapes", "trends", "copies")] == [1, 1, 1]


def test_shapes_and_trends_by_hand(tmp_path):
    train = [[i, i, "ab"[i % 2]] for i in range(10)]
    made = [[i // 2, -i, "aaaab"[i % 5]] for i in range(10)]
    record = judged(tmp_path, ["n", "m", "c"], train, made, numbers=["n", "m"])
    shapes = {name: one["shape"]["value"] for name, one in record["columns"].items()}
    # at 4, all of one and half of the other are below; at 0 and less, all but 9 of 10; 8 and 5 a's
    assert shapes == pytest.approx({"n": 0.5, "m": 0.1, "c": 0.7})
    assert value_of(record, "shapes") == pytest.approx(1.3 / 3)
    trends = {" ".join(one["columns"]): one["trend"]["value"] for one in record["pairs"]}
    falls = np.corrcoef([i // 2 for i in range(10)], [-i for i in range(10)])[0, 1]
    assert trends["n m"] == pytest.approx(1 - (1 - falls) / 2)
    # n is even exactly where c is a; of the made rows, 0 to 4 are there twice and b for i = 4, 9
    real = {(i, "ab"[i % 2]): 0.1 for i in range(10)}
    other = {}
    for n, _, c in made:
        other[n, c] = other.get((n, c), 0) + 0.1
    apart = sum(abs(real.get(key, 0) - other.get(key, 0)) for key in {*real, *other})
    assert trends["n c"] == pytest.approx(1 - apart / 2)
    assert value_of(record, "trends") == pytest.approx(np.mean(list(trends.values())))


def test_a_column_whose_missing_rate_is_off(tmp_path):
    train = [[i, "" if i % 5 == 0 else "ab"[i % 2], "" if i % 5 == 0 else i] for i in range(100)]
    made = [[i, "" if i % 2 == 0 else "ab"[i // 2 % 2], i] for i in range(100)]
    record = judged(tmp_path, ["n", "c", "m"], train, made)
    column = record["columns"]["c"]
    assert (column["missing_train"], column["missing"]) == (0.2, 0.5)
    assert column["shape"]["value"] == pytest.approx(1)  # of the cells that there are
    assert value_of(record, "missing") == pytest.approx((0.7 + 0.8) / 2)  # of c and of m
    assert value_of(record, "missing_pairs") == pytest.approx(0.8)  # both, in a fifth and never
    error = record["measures"]["missing"]["samples"]["error"]
    assert 0.5 < error / 0.042 < 2
    assert value_of(record, "missing", "real") == 1


def test_numbers_count_by_their_bins_unless_the_source_is_named(tmp_path):
    train = [[i / 100, "ab"[i % 2]] for i in range(1000)]
    made = [[round(i / 100 + 0.004, 3), "ab"[i % 2]] for i in range(1000)]
    by_bins = judged(tmp_path / "a", ["n", "c"], train, made, source=False)
    assert value_of(by_bins, "copies") == 1 and "by their bins" in str(by_bins["numbers"])
    itself = judged(tmp_path / "b", ["n", "c"], train, made)
    assert value_of(itself, "copies") == 0
    assert value_of(itself, "shapes") == pytest.approx(1 - 0.001 / 2)


def test_as_many_synthetic_rows_as_real_ones_are_measured_too(tmp_path):
    random = np.random.default_rng(1)
    rows = [
        [f"{x:.3f}", "abc"[c]]
        for x, c in zip(random.normal(size=900), random.integers(3, size=900))
    ]
    record = judged(tmp_path, ["n", "c"], rows[:400], rows[400:800], test=rows[800:])
    one = record["measures"]["shapes"]
    # a hundred rows say less: both are less like the training rows than four hundred are
    assert one["like"]["value"] < one["samples"]["value"]
    assert abs(one["like"]["value"] - one["real"]["value"]) < 4 * one["real"]["error"]
    assert one["like"]["error"] > one["samples"]["error"]


# ---------------------------------------------------------------- the bundled census


@pytest.fixture(scope="module")
def adult(tmp_path_factory):
    """1,500 rows of it, prepared; and its rows in splits, as CSV files."""
    folder = tmp_path_factory.mktemp("adult")
    with gzip.open(ADULT, "rt") as file:
        rows = list(csv.reader(file))[:1501]
    source = write(folder / "adult.csv", rows[0], rows[1:])
    prepare_table(
        source, folder / "data", split="0.6,0,0.4", drop=["fnlwgt"], together=True, progress=False
    )
    data = unmask.data.open_data(folder / "data")
    for split in ("train", "test"):
        tokens = np.asarray(data.tokens(split)).reshape(-1, data.length)
        write(folder / f"{split}.csv", data.tokenizer.names, data.tokenizer.decode(tokens))
    return folder


def of_adult(adult, made, *more):
    out = adult / f"{made}.json"
    flags = ["--data", str(adult / "data"), "--json", str(out), *more]
    assert main(["quality", str(adult / f"{made}.csv"), *flags]) == 0
    return json.loads(out.read_text())


def test_real_rows_are_as_good_as_real(adult, capsys):
    record = of_adult(adult, "test")
    for one in record["measures"].values():
        if one["real"] and one["ideal"] == 1:
            assert one["samples"] == pytest.approx(one["real"]) and one["like"] is None
    assert value_of(record, "shapes") > 0.95 and value_of(record, "trends") > 0.85
    real = record["measures"]["closer"]["real"]
    assert abs(real["value"] - 0.5) < 4 * real["error"]
    said = capsys.readouterr().out
    assert "as real" in said and "pip install 'unmask[quality]'" in said
    path = adult / "test.csv"
    digest = unmask.checkpoint.digest(path)
    assert record["files_sha256"] == {str(path): digest} and record["data_sha256"]["train.bin"]


def test_columns_that_are_shuffled_keep_their_shapes_and_lose_their_trends(adult):
    with open(adult / "train.csv", newline="") as file:
        header, *rows = csv.reader(file)
    columns = [list(column) for column in zip(*rows)]
    for i, column in enumerate(columns):
        np.random.default_rng(i).shuffle(column)
    write(adult / "shuffled.csv", header, zip(*columns))
    record = of_adult(adult, "shuffled")
    assert value_of(record, "shapes") == 1 and value_of(record, "missing") == 1
    like = record["measures"]["trends"]["like"]["value"]
    assert like < value_of(record, "trends", "real") - 0.02
    of_pair = {tuple(one["columns"]): one for one in record["pairs"]}
    worst = of_pair["marital-status", "relationship"]
    assert worst["trend"]["value"] < 0.6 < 0.9 < worst["trend_real"]["value"]


def test_the_source_gives_numbers_as_they_are(adult, capsys):
    record = of_adult(adult, "test", "--source", str(adult / "adult.csv"))
    assert set(record["files_sha256"]) == {str(adult / "test.csv"), str(adult / "adult.csv")}
    assert 0 < record["columns"]["age"]["shape"]["value"] < 1
    # equal rows stay together, so that none is in both parts
    assert "leaves 0.0000" in capsys.readouterr().out
    with open(adult / "adult.csv", newline="") as file:
        header, *rows = csv.reader(file)
    other = write(adult / "other.csv", header, rows[:-1])
    flags = ["--data", str(adult / "data"), "--source", str(other)]
    assert main(["quality", str(adult / "test.csv"), *flags]) == 2
    assert "its rows are not those of" in capsys.readouterr().err


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"group": "city"},
        {"group": "city", "drop": ["city"], "categories": []},
        {"group": "of"},  # some rows have none
        {"group": "of", "drop": ["of"]},
    ],
)
def test_the_source_is_cut_as_the_data_were(tmp_path, how, capsys):
    random = np.random.default_rng(0)
    rows = [[random.integers(9), random.choice(["a", "b", ""]), int(i)] for i in range(400)]
    write(tmp_path / "t.csv", ["city", "of", "number"], rows)
    made = prepare_table(
        tmp_path / "t.csv", tmp_path / "data", header="yes", split="0.5,0,0.5", seed=3,
        numbers=["number"], progress=False, **({"categories": ["city"]} | how),
    )  # fmt: skip
    argv = ["quality", tmp_path / "t.csv", "--data", tmp_path / "data"]
    argv += ["--source", tmp_path / "t.csv", "--json", tmp_path / "q.json"]
    assert main([str(a) for a in argv]) == 0
    record = json.loads((tmp_path / "q.json").read_text(encoding="utf-8"))
    assert record["columns"]["number"]["shape"]["value"] > 0.5 and made["rows"]["test"] > 100
    meta = tmp_path / "data" / "meta.json"
    told = json.loads(meta.read_text(encoding="utf-8"))
    meta.write_text(json.dumps(told | {"split_seed": 4}), encoding="utf-8")
    capsys.readouterr()
    assert main([str(a) for a in argv]) == 2
    assert "its rows are not those of" in capsys.readouterr().err


@pytest.mark.parametrize("own", ["utf-8", "utf-16", "latin-1"])
def test_samples_are_read_in_their_own_encoding(tmp_path, own):
    """--encoding is that of the source, and of samples that are neither UTF-8 nor marked."""
    rows = "".join(f"{'Köln' if i % 3 else 'Bonn'},{i % 7}\n" for i in range(40))
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text(f"city,n\n{rows}", encoding="latin-1")
    (tmp_path / "made.csv").write_text(f"city,n\n{rows}", encoding=own)
    paths = tmp_path / "train.csv", tmp_path / "test.csv"
    prepare_table(
        paths[0], tmp_path / "data", test=paths[1], header="yes", encoding="latin-1", progress=False
    )
    argv = ["quality", str(tmp_path / "made.csv"), "--data", str(tmp_path / "data")]
    argv += ["--source", ",".join(map(str, paths)), "--encoding", "latin-1"]
    assert main([*argv, "--json", str(tmp_path / "q.json")]) == 0
    record = json.loads((tmp_path / "q.json").read_text(encoding="utf-8"))
    assert record["columns"]["city"]["shape"]["value"] == 1


@pytest.mark.parametrize("unseen", ["missing", "unknown"])
def test_the_source_of_rows_like_others_is_known_again(tmp_path, unseen):
    """Whatever a category was taken for that the others do not have."""
    for name, cities in (("old", ["a", "b", ""]), ("new", ["a", "b", "", "c"])):
        rows = [[cities[i % len(cities)], i % 7] for i in range(120)]
        write(tmp_path / f"{name}.csv", ["city", "n"], rows)
    how = {"progress": False, "split": "0.5,0,0.5"}
    prepare_table(tmp_path / "old.csv", tmp_path / "old", **how)
    like = open_data(tmp_path / "old").tokenizer
    prepare_table(tmp_path / "new.csv", tmp_path / "data", like=like, unseen=unseen, **how)
    new = str(tmp_path / "new.csv")
    assert main(["quality", new, "--data", str(tmp_path / "data"), "--source", new]) == 0


def test_the_page_holds_all_that_it_shows(adult):
    of_adult(adult, "test", "--out", str(adult / "page.html"))
    page = (adult / "page.html").read_text(encoding="utf-8")
    assert len(re.findall('<img class="chart" alt="[^"]+" src="data:image/png;base64,', page)) == 3
    assert not re.search(r'(src|href)="(?!data:)', page) and "http" not in page
    for said in ("closer to training", "marital-status", "as many as real", "Pairs of columns"):
        assert said in page


# ---------------------------------------------------------------- closest records


def test_the_closest_record_by_hand():
    train = rows_of([0.0, 4.0, np.nan], [0, 1, -1], labels=[0, 3])
    rows = rows_of([1.0, np.nan, 8.0], [0, -1, 2], labels=[0, 3])
    scale = nearest.ranges(train)
    assert scale == [4.0, 1.0]
    expected = [[0.25, 2.75, 3], [3, 3, 0], [4, 3, 3]]
    assert nearest.distances(rows, train, scale).tolist() == expected
    found = nearest.closest(rows, train, scale)
    assert found.distance.tolist() == [0.25, 0, 3] and found.record.tolist() == [0, 2, 1]


def test_copies_of_the_training_rows_are_closer_to_them():
    random = np.random.default_rng(0)
    train, other = (rows_of(random.normal(size=300), random.integers(5, size=300)) for _ in "ab")
    found = nearest.closer_to_train(train, train, other, nearest.ranges(train))
    assert found.share.value == found.strict.value == 1 and found.ties == 0


def test_values_that_go_together_count_together():
    values = np.array([1.0, 0, 1, 0, 1, 1, 0, 0])
    alone = nearest.clustered_error(values, np.arange(8))
    assert alone == pytest.approx(values.std(ddof=1) / math.sqrt(8))
    twice = nearest.clustered_error(np.repeat(values, 2), np.repeat(np.arange(8), 2))
    assert twice == pytest.approx(alone)
    assert math.isnan(nearest.clustered_error(values, np.zeros(8, int)))


def test_rows_of_the_same_law_are_as_close_to_either_side(tmp_path):
    """Many rows are equal, and preparing keeps these together: random training rows would differ
    from one another more than those held out do, and be closer to everything."""
    random = np.random.default_rng(3)
    p = np.array([0.5, 0.2, 0.1, 0.1, 0.05, 0.05])
    rows = [["abcdef"[i] for i in random.choice(6, 5, p=p)] for _ in range(6000)]
    header = [f"c{i}" for i in range(5)]
    source = write(tmp_path / "rows.csv", header, rows[:4000])
    prepare_table(
        source, tmp_path / "data", header="yes", split="0.8,0,0.2", together=True, progress=False
    )
    write(tmp_path / "made.csv", header, rows[4000:])
    record = of_adult(tmp_path, "made")
    for side in ("samples", "real"):
        one = record["measures"]["closer"][side]
        assert abs(one["value"] - 0.5) < 3 * one["error"], side


def test_copies_of_rows_are_told_from_rows_that_are_alike():
    train = rows_of([0.0, 1.0, np.nan, 1.0], [0, 1, -1, 1], labels=[0, 2])
    rows = rows_of([-0.0, 1.0, np.nan, np.nan], [0, 0, -1, 0], labels=[0, 2])
    assert nearest.copied(rows, train) == Value(0.5, 0.25)
    assert nearest.repeated(train).value == 0.5


# ---------------------------------------------------------------- errors of figures


def test_bootstrap_errors_are_those_of_the_law():
    """Of a rate, whose error is known."""
    random = np.random.default_rng(0)
    sides = [random.random(500) < 0.3, random.random(2000) < 0.4]
    real, made = (rows_of(np.where(side, np.nan, 1.0)) for side in sides)
    scores = shares.missing_scores(real, made)[1]
    found = shares.bootstrap(scores, real, made, 400, 1)
    known = math.sqrt(sum(side.mean() * (1 - side.mean()) / len(side) for side in sides))
    assert found.mean.value == pytest.approx(1 - abs(sides[0].mean() - sides[1].mean()))
    assert found.mean.error == pytest.approx(known, rel=0.15)  # four errors of 400 draws


def test_correlations_are_of_the_rows_that_have_both():
    random = np.random.default_rng(0)
    sides = []
    for _ in range(2):
        x, z = random.normal(size=(2, 80))
        holes = random.random((2, 80)) < 0.3
        sides.append((np.where(holes[0], np.nan, x), np.where(holes[1], np.nan, 50 + x + z)))
    a, b = (np.corrcoef(*np.array(s)[:, ~np.isnan(s).any(0)])[0, 1] for s in sides)
    real, made = (rows_of(*side) for side in sides)
    (score,) = shares.trend_scores(real, made)[1]
    assert score(np.ones(80), np.ones(80)) == pytest.approx(1 - abs(a - b) / 2, abs=1e-12)


def test_a_pair_that_does_not_vary_is_left_out():
    real = rows_of([1.0, 2, 3, 4], [1.0, 1, 1, 1], [2.0, 1, 4, 3])
    found = shares.bootstrap(shares.trend_scores(real, real)[1], real, real, 5, 0)
    assert found.undefined == 2 and found.mean.value == 1
    assert [math.isnan(one.value) for one in found.each] == [True, False, True]


def test_the_area_under_the_curve_is_a_share_of_pairs():
    scores = np.array([0.1, 0.4, 0.4, 0.8, 0.2, 0.9])
    positive = np.array([0, 1, 0, 1, 0, 0])
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive == 1] for b in scores[positive == 0]]
    assert area(scores, positive).value == pytest.approx(np.mean(pairs))
    assert math.isnan(area(scores, np.ones(6)).value)
    assert mean_of([Value(0.5, 0.3), Value(0.7, 0.4)]) == Value(0.6, 0.25)


def test_the_error_of_an_area_is_its_spread():
    random = np.random.default_rng(0)
    found = []
    for _ in range(400):
        positive = np.arange(150) < 50
        found.append(area(random.normal(size=150) + positive, positive))
    values, errors = np.array(found).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.15)


# ---------------------------------------------------------------- what does not do


def refused(capsys, *argv):
    assert main(["quality", *map(str, argv)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("unmask quality: ")
    return said


def test_what_cannot_be_compared_is_refused_in_a_sentence(tmp_path, adult, capsys):
    flags = ["--data", adult / "data"]
    assert "there is no file" in refused(capsys, tmp_path / "no.csv", *flags)
    with open(adult / "test.csv", newline="") as file:
        header, *rows = csv.reader(file)
    few = write(tmp_path / "few.csv", header, rows[:9])
    assert "9 rows are too few" in refused(capsys, few, *flags)
    assert "no column 'age'" in refused(
        capsys, write(tmp_path / "a.csv", header[1:], [row[1:] for row in rows]), *flags
    )
    strange = write(tmp_path / "strange.csv", header, [["old", *row[1:]] for row in rows])
    assert "'old' in column 'age' is not a number" in refused(capsys, strange, *flags)
    test = adult / "test.csv"
    assert "has no validation rows" in refused(capsys, test, *flags, "--split", "validation")
    said = refused(capsys, test, *flags, "--target", "incom")
    assert "no such column" in said and "did you mean 'income'" in said
    said = refused(capsys, test, *flags, "--target", "income")
    assert "pip install 'unmask[quality]'" in said
    assert "must end in .html" in refused(capsys, test, *flags, "--out", tmp_path / "x.png")


def test_an_error_that_nothing_tells_of_is_not_zero():
    """Scores that all tie, sides told apart by every row, and classes that are all right."""
    side = np.arange(20) < 10
    for scores, value in ((np.zeros(20), 0.5), (side.astype(float), 1.0)):
        found = area(scores, side)
        assert found.value == value and math.isnan(found.error)
    said = np.eye(3)[[0, 1, 2, 2]]
    right = models.of_classification(said, np.array([0, 1, 2, 2]), 0)
    for one in (right["auc"], right["accuracy"]):
        assert one.value == 1 and math.isnan(one.error) and one.spell() == "1"
    some = models.of_classification(said, np.array([0, 1, 2, 0]), 0)
    assert some["accuracy"].value == 0.75 and some["accuracy"].error > 0 < some["auc"].error


def test_scores_that_no_draw_changes_have_no_error():
    """Columns that never lack a cell together, and one of a single category."""
    there = np.arange(40) % 4
    columns = [np.where(there == k, np.nan, there + 0.0) for k in range(2)]
    rows = rows_of(*columns, np.zeros(40, int))
    for scores in (shares.missing_pair_scores(rows, rows)[1], shares.shape_scores(rows, rows)[2:]):
        found = shares.bootstrap(scores, rows, rows, 50, 0)
        for one in (*found.each, found.mean):
            assert one.value == 1 and math.isnan(one.error)
    some = shares.bootstrap(shares.missing_scores(rows, rows)[1], rows, rows, 50, 0)
    assert all(one.error > 0 for one in (*some.each, some.mean))


@pytest.mark.parametrize("value", [1.7e15, 0.0, -3.5, 1e300])
def test_bins_of_a_number_that_does_not_vary(value):
    edges = even_edges(np.full(9, value), 10)
    assert len(edges) == 11 and (np.diff(edges) >= 0).all() and edges[0] <= value <= edges[-1]


def test_bins_are_numpys_where_it_has_some():
    values = np.random.default_rng(0).normal(size=99)
    assert np.array_equal(even_edges(values, 10), np.histogram_bin_edges(values, bins=10))


def test_rows_of_a_group_are_on_one_side(tmp_path):
    """Forty alike of each of 50 people: real rows are as near to training rows as to others."""
    random = np.random.default_rng(0)
    rows = [f"p{i},{random.normal():.4f},{random.normal():.4f}" for i in range(50)]
    lines = ["who,a,b", *(row for row in rows for _ in range(40))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    how = {"group": "who", "categories": ["who"], "split": "0.6,0.2,0.2", "progress": False}
    prepare_table(tmp_path / "t.csv", tmp_path / "data", **how)
    argv = ["quality", str(tmp_path / "t.csv"), "--data", str(tmp_path / "data")]
    assert main([*argv, "--json", str(tmp_path / "q.json")]) == 0
    closer = json.loads((tmp_path / "q.json").read_text())["measures"]["closer"]
    assert abs(closer["real"]["value"] - 0.5) < 0.35


def test_a_column_without_a_value_has_a_page(tmp_path):
    lines = ["a,$b$,none", *(f"{['$1_$5', 'x'][i % 2]},{i % 7},NA" for i in range(200))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    prepare_table(tmp_path / "t.csv", tmp_path / "data", split="0.6,0.2,0.2", progress=False)
    argv = ["quality", str(tmp_path / "t.csv"), "--data", str(tmp_path / "data")]
    argv += ["--seed", str(2**32), "--out", str(tmp_path / "q.html")]
    assert main([*argv, "--json", str(tmp_path / "q.json")]) == 0
    assert "<img" in (tmp_path / "q.html").read_text(encoding="utf-8")


def test_values_that_nobody_knows_are_told_of(tmp_path, capsys):
    lines = ["a,b", *(f"{'xy'[i % 2]},{'' if i % 3 == 0 else i % 7}" for i in range(200))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    for how in ("missing", "unknown"):
        out = tmp_path / how
        split = {"split": "0.6,0.2,0.2", "progress": False}
        prepare_table(tmp_path / "t.csv", out, missing_is=how, **split)
        assert main(["quality", str(tmp_path / "t.csv"), "--data", str(out)]) == 0
        told = "cells whose values are not known are empty in real rows"
        assert (told in capsys.readouterr().out) == (how == "unknown")
