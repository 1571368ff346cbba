"""Figures of synthetic rows against sdmetrics 0.32, and what needs scikit-learn."""

import csv
import gzip
import json
import warnings
from pathlib import Path

import numpy as np
import pandas
import pytest
import sdmetrics
from sdmetrics.column_pairs import ContingencySimilarity, CorrelationSimilarity
from sdmetrics.single_column import KSComplement, MissingValueSimilarity, TVComplement
from sdmetrics.single_table import LogisticDetection
from sklearn.metrics import roc_auc_score

import unmask
from unmask.cli import main
from unmask.data import prepare_table
from unmask.kinds.tables.quality import models, shares
from unmask.kinds.tables.quality.curves import area
from unmask.kinds.tables.quality.rows import Field, Rows, align, transposed

ADULT = Path(unmask.__file__).parent / "kinds" / "tables" / "bundled" / "adult.csv.gz"
NUMBERS = {"age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week"}


def missing(text, column=""):
    return text in ("", "?")


@pytest.fixture(scope="module")
def sides():
    """Two parts of the census, the second one damaged; as `Rows` and as data frames."""
    with gzip.open(ADULT, "rt") as file:
        header, *rows = list(csv.reader(file))[:2401]
    assert {"age", "capital-gain"} <= set(header)
    random = np.random.default_rng(0)
    known = [set(column) for column in zip(*rows[:1200])]
    for row in rows[1200:]:
        for c, name in enumerate(header):
            if name in NUMBERS and random.random() < 0.2:
                row[c] = str(round(float(row[c]) * random.uniform(0.5, 1.5), 3))
            elif random.random() < 0.1:
                row[c] = rows[random.integers(1200)][c]
            elif row[c] not in known[c]:  # which the encoder of sdmetrics refuses
                row[c] = rows[0][c]
    for row in rows:
        for c in range(0, len(header), 3):
            if random.random() < 0.1:
                row[c] = ""
    fields = [Field(name, name in NUMBERS) for name in header]
    parts = {"real": rows[:1200], "made": rows[1200:]}
    texts = {name: transposed(part, len(header)) for name, part in parts.items()}
    found = align(fields, texts, missing)
    return found["real"], found["made"], *(frame(one) for one in found.values())


def frame(rows):
    columns = {}
    for field, labels, values in zip(rows.fields, rows.labels, rows.values):
        if not field.number:
            values = np.array([*labels, np.nan], object)[values]
        columns[field.name] = values
    return pandas.DataFrame(columns)


def values(scores, real, made):
    return [score(np.ones(len(real)), np.ones(len(made))) for score in scores]


def test_the_version_is_the_one_that_is_named():
    assert sdmetrics.__version__.startswith("0.32.")


def test_shapes_are_those_of_sdmetrics(sides):
    real, made, of_real, of_made = sides
    expected = [
        (KSComplement if field.number else TVComplement).compute(
            of_real[field.name], of_made[field.name]
        )
        for field in real.fields
    ]
    assert values(shares.shape_scores(real, made), real, made) == pytest.approx(expected, abs=1e-12)
    assert max(expected) < 1 and min(expected) > 0.3


@pytest.mark.filterwarnings("ignore")
def test_pair_trends_are_those_of_sdmetrics(sides):
    real, made, of_real, of_made = sides
    pairs, scores = shares.trend_scores(real, made)
    found = values(scores, real, made)
    for (i, j), value in zip(pairs, found):
        fields = real.fields[i], real.fields[j]
        names = [field.name for field in fields]
        numbers = [field.name for field in fields if field.number]
        a, b = of_real[names].copy(), of_made[names].copy()
        if len(numbers) == 2:
            expected = CorrelationSimilarity.compute(a, b)
        else:
            expected = ContingencySimilarity.compute(a, b, continuous_column_names=numbers)
        assert value == pytest.approx(expected, abs=1e-12), names
    assert len(found) == len(real.fields) * (len(real.fields) - 1) / 2


def test_missing_rates_are_those_of_sdmetrics(sides):
    real, made, of_real, of_made = sides
    columns, scores = shares.missing_scores(real, made)
    names = [real.fields[c].name for c in columns]
    expected = [MissingValueSimilarity.compute(of_real[name], of_made[name]) for name in names]
    assert values(scores, real, made) == pytest.approx(expected, abs=1e-12) and len(names) >= 5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", [0, 1])
def test_detection_is_that_of_sdmetrics(sides, seed):
    real, made, of_real, of_made = sides
    kinds = {f.name: {"sdtype": "numerical" if f.number else "categorical"} for f in real.fields}
    np.random.seed(seed)  # of its folds
    expected = LogisticDetection.compute(of_real.copy(), of_made.copy(), {"columns": kinds})
    found = models.detect(real, made, seed)
    assert found.score.value == pytest.approx(expected, abs=1e-9) and 0 < expected < 1
    assert found.score.value == pytest.approx(2 - 2 * found.logistic.value, abs=0.05)


def test_the_area_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    scores, positive = random.integers(20, size=500), random.random(500) < 0.3
    assert area(scores, positive).value == pytest.approx(roc_auc_score(positive, scores))


def rows_of(*columns):
    fields = [Field(f"c{i}", column.dtype.kind == "f") for i, column in enumerate(columns)]
    labels = [[] if f.number else list("abcdefgh") for f in fields]
    return Rows(fields, labels, list(columns))


def test_rows_of_one_law_cannot_be_told_apart_and_others_can():
    random = np.random.default_rng(0)

    def drawn(sign):
        x = random.normal(size=1500)
        y = sign * x + random.normal(size=1500) / 4
        return rows_of(x, y, random.integers(4, size=1500))

    real, same, other = drawn(1), drawn(1), drawn(-1)
    found = models.detect(real, same, 0)
    for one in (found.logistic, found.boosted):
        assert abs(one.value - 0.5) < 4 * one.error
    # each column has its law: a line sees nothing, trees see the pair
    found = models.detect(real, other, 0)
    assert abs(found.logistic.value - 0.5) < 0.05 and found.boosted.value > 0.95


def test_trees_see_which_cells_are_missing():
    random = np.random.default_rng(0)
    x, holes = random.normal(size=(4, 900)), random.random(900) < 0.5
    real, made = rows_of(x[0], x[1]), rows_of(np.where(holes, np.nan, x[2]), x[3])
    # those with a missing cell, a half, are told apart for certain
    assert models.detect(real, made, 0).boosted.value == pytest.approx(0.75, abs=0.05)


def test_a_model_of_a_target_is_tested_on_real_rows():
    random = np.random.default_rng(0)

    def drawn(n, flip=False):
        x, z = random.normal(size=(2, n))
        return rows_of(x, z, ((x > 0) ^ flip).astype(int), 3 * x + z)

    train, turned, test = drawn(800), drawn(800, flip=True), drawn(600)
    good, bad = (models.of_target(rows, test, 2, 0) for rows in (train, turned))
    assert good["auc"].value > 0.99 and good["accuracy"].value > 0.95
    # the last column still says what x is
    assert bad["auc"].value < 0.01 and bad["accuracy"].value < 0.05
    found = models.of_target(train, test, 3, 0)
    assert found["r2"].value > 0.95 and 0 < found["r2"].error < 0.02
    spread = test.values[3].std()
    assert (found["rmse"].value / spread) ** 2 == pytest.approx(1 - found["r2"].value)


def test_a_target_of_several_classes_some_of_which_are_never_synthetic():
    random = np.random.default_rng(0)
    y = random.integers(3, size=900)
    real = rows_of(y + random.normal(size=900) / 4, y)
    some = real.take(y < 2)
    full, lacking = (models.of_target(rows, real, 1, 0) for rows in (real, some))
    assert full["auc"].value > 0.95 > lacking["auc"].value
    assert lacking["accuracy"].value < 0.7 < 0.9 < full["accuracy"].value
    alone = models.of_target(real.take(y == 1), real, 1, 0)
    assert alone["auc"].value == 0.5
    assert alone["accuracy"].value == pytest.approx((y == 1).mean())


def test_a_number_that_no_row_to_learn_from_has_tells_nothing():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 90))
    none = np.full(90, np.nan)
    with_it, without = rows_of(x, y, y), rows_of(x, none, y)
    found = models.of_target(without, with_it, 2, 0)
    assert found == models.of_target(without, rows_of(x, none, y), 2, 0)
    assert models.detect(without, without.take(np.arange(90)), 0).boosted.value < 0.7


def test_as_many_rows_that_have_the_target_are_learned_from(tmp_path, capsys):
    lines = [f"{i % 9},{'xy'[i % 3 == 0]}" for i in range(400)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    made = [line if i % 4 else line[:-1] for i, line in enumerate(lines[:200])]
    (tmp_path / "s.csv").write_text("\n".join(["a,b", *made]) + "\n")
    (tmp_path / "none.csv").write_text(
        "\n".join(["a,b", *(one[:-1] for one in lines[:200])]) + "\n"
    )
    data = tmp_path / "data"
    prepare_table(tmp_path / "t.csv", data, split="0.6,0.2,0.2", progress=False)
    command = ["quality", "--data", str(data)]
    assert main([*command, str(tmp_path / "s.csv")]) == 0
    assert "models of b learn from 150 rows, synthetic or real" in capsys.readouterr().out
    assert main([*command, str(tmp_path / "none.csv")]) == 0
    said = "left out: a model of b, which is missing in all synthetic or real rows"
    assert said in capsys.readouterr().out


def test_the_command_measures_all(tmp_path, capsys):
    with gzip.open(ADULT, "rt") as file:
        rows = list(csv.reader(file))[:2001]
    with open(tmp_path / "adult.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    prepare_table(tmp_path / "adult.csv", tmp_path / "data", split="0.7,0,0.3", progress=False)
    data = unmask.data.open_data(tmp_path / "data")
    tokens = np.array(data.tokens("test")).reshape(-1, data.length)
    cells = data.tokenizer.decode(tokens)
    (tmp_path / "made.csv").write_text(data.tokenizer.write(cells))
    for column in range(data.length):
        order = np.random.default_rng(column).permutation(len(cells))
        tokens[:, column] = tokens[order][:, column]
    (tmp_path / "shuffled.csv").write_text(data.tokenizer.write(data.tokenizer.decode(tokens)))
    found = {}
    for name in ("made", "shuffled"):
        flags = ["--data", str(tmp_path / "data"), "--json", str(tmp_path / "q.json")]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert main(["quality", str(tmp_path / f"{name}.csv"), *flags]) == 0
        assert "left out" not in capsys.readouterr().out
        found[name] = json.loads((tmp_path / "q.json").read_text())["measures"]
    for key in ("logistic_auc", "boosted_auc"):
        made, real = (found["made"][key][side]["value"] for side in ("samples", "real"))
        assert made == real and abs(real - 0.5) < 0.1
    assert found["shuffled"]["boosted_auc"]["samples"]["value"] > 0.8
    aucs = {name: one["target_auc"]["samples"]["value"] for name, one in found.items()}
    assert aucs["made"] > 0.8 and aucs["shuffled"] < 0.65
    assert found["made"]["target_auc"]["real"]["value"] > 0.8


def test_the_script_of_adult_ends_in_its_table(monkeypatch):
    """After an hour and more of work."""
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "runs")
    import adult
    import adult_table

    assert adult.table is adult_table.table
    assert "table" not in adult.main.__code__.co_varnames
