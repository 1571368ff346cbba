"""TableModel with frames of pandas and polars."""

import json
import math
import os
import signal

import numpy as np
import pandas
import polars
import pytest

import unmask.train.loop
from unmask.data import open_data
from unmask.kinds.tables.framed import frame_of, polars_series, polars_type
from unmask.kinds.tables.frames import columns_of
from unmask.tables import TableModel

SMALL = {"dim": 32, "layers": 2, "heads": 2, "batch_size": 128, "eval_minutes": 0.0}
HOW = {"device": "cpu", "config": SMALL, "seed": 0}


def people(n=600, seed=0):
    """Arm A has a lab value in 95 % of the rows, B in 5 %; weight goes with the arm."""
    random = np.random.default_rng(seed)
    arm = random.choice(["A", "B"], n)
    seen = random.random(n) < np.where(arm == "A", 0.95, 0.05)
    lab = np.where(random.random(n) < 0.5, "pos", "neg")
    return pandas.DataFrame(
        {
            "arm": arm,
            "lab": [value if one else None for value, one in zip(lab, seen)],
            "weight": np.round(random.normal(np.where(arm == "A", 60, 80), 3), 1),
            "visits": random.integers(0, 4, n),
            "smoker": random.random(n) < 0.25,
        }
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "m"
    return TableModel(steps=400, folder=folder, **HOW).fit(people())


def test_samples_are_a_frame_of_the_same_columns_and_types(model):
    frame, made = people(), model.sample(400)
    assert list(made.columns) == list(frame.columns) and len(made) == 400
    assert (made.dtypes == frame.dtypes).all()
    assert set(made["arm"]) == {"A", "B"} and set(made["lab"].dropna()) <= {"pos", "neg"}
    # where a lab value is missing in the data, it is in samples
    for arm, rate in {"A": 0.05, "B": 0.95}.items():
        share = made["lab"][made["arm"] == arm].isna().mean()
        assert abs(share - rate) < 5 * math.sqrt(0.05 * 0.95 / 150) + 0.04
    assert made["weight"].between(frame["weight"].min(), frame["weight"].max()).all()
    assert (made["weight"].round(1) == made["weight"]).all()
    assert made.equals(model.sample(400)) and not made.equals(model.sample(400, seed=-1))


def test_given_values_are_had_by_all_rows(model):
    made = model.sample(200, given={"arm": "B", "lab": None})
    assert (made["arm"] == "B").all() and made["lab"].isna().all()
    assert abs(made["weight"].mean() - 80) < 2
    assert (model.sample(20, given={"weight": 61.5})["weight"] == 61.5).all()
    made = model.sample(60, given=["weight < 70", "visits in 1, 2"])
    assert (made["weight"] < 70).all() and made["visits"].isin([1, 2]).all()
    with pytest.raises(ValueError, match="there is no column 'amr' among .* mean 'arm'"):
        model.sample(2, given={"amr": "B"})
    with pytest.raises(ValueError, match="no value of 'arm'|'C'"):
        model.sample(2, given={"arm": "C"})
    with pytest.raises(ValueError, match="no 'arm' of this model is missing"):
        model.sample(2, given={"arm": None})


def test_prediction_tells_missing_from_unknown(model):
    rows = people(300, seed=1).assign(lab=None, weight=np.nan, smoker=None)
    for empty, right in {"missing": 0.05, "value": 0.95, "unknown": 0.5}.items():
        if empty == "missing":  # of the columns that are never missing, nothing is known
            given = rows[["arm", "lab", "visits"]]
            p = model.predict_proba(given, "arm")
        else:
            p = model.predict_proba(rows[["arm", "lab", "visits"]], "arm", empty=empty)
        assert list(p.columns) == ["A", "B"] and (p.index == rows.index).all()
        assert np.allclose(p.sum(axis=1), 1, atol=1e-4)
        assert abs(p["A"].mean() - right) < 0.12
    full = people(300, seed=2)
    assert (model.predict(full, "arm") == full["arm"]).mean() > 0.9
    weights = model.predict(full, "weight")
    assert weights.dtype == float and np.corrcoef(weights, full["weight"])[0, 1] > 0.8


@pytest.mark.parametrize("state", ["unknown", "missing"])
def test_what_is_predicted_has_a_value_whatever_is_said_of_it(model, state):
    rows = people(40, seed=7)
    p = model.predict_proba(rows, "lab", empty=f"lab={state}")
    assert np.allclose(p.sum(axis=1), 1, atol=1e-4) and p.equals(model.predict_proba(rows, "lab"))
    said = model.predict(rows, "lab", empty=f"lab={state}")
    assert (said == model.predict(rows, "lab")).all()
    for stand_in in ("", math.inf):  # of which a table could make nothing
        assert (model.predict(rows.assign(lab=stand_in), "lab") == said).all()


def test_a_column_that_had_no_value_is_not_predicted(tmp_path):
    frame = people(60).assign(notes=None)
    how = HOW | {"steps": 2, "missing_is": "unknown"}
    made = TableModel(folder=tmp_path / "m", **how).fit(frame)
    for ask in (made.predict, made.predict_proba):
        with pytest.raises(ValueError, match="column 'notes' had no value in the rows of fit"):
            ask(frame, "notes")


def test_imputing_fills_holes_and_leaves_all_else(model):
    frame = people(200, seed=3)
    frame.index = [f"row {i}" for i in range(200)]
    holed = frame.copy()
    holed.loc[holed.index[::3], "weight"] = np.nan
    holed.loc[holed.index[::4], "arm"] = None
    for best in (False, True):
        full = model.impute(holed, ["weight", "arm"], best=best)
        assert (full.index == frame.index).all() and not full["weight"].isna().any()
        given = holed["weight"].notna()
        assert (full["weight"][given] == frame["weight"][given]).all()
        assert full["lab"].isna().equals(frame["lab"].isna())
        assert full["visits"].equals(frame["visits"]) and full["smoker"].equals(frame["smoker"])
        assert abs(full["weight"][~given] - frame["weight"][~given]).mean() < 9
    everything = model.impute(holed)
    assert not everything.isna().any().any()


def test_the_score_is_a_bound_on_the_likelihood_of_rows_as_written(model):
    rows, other = people(300, seed=4), people(300, seed=4)
    other["weight"] = other["weight"].sample(frac=1, random_state=0).to_numpy()
    # log p of what the data are drawn from: coins, and a normal weight in steps of 0.1
    half, rare = math.log(2), -0.95 * math.log(0.95) - 0.05 * math.log(0.05)
    normal = 0.5 * math.log(2 * math.pi * math.e * 9) + math.log(10)
    smoker = -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    least = half + rare + 0.5 * half + normal + math.log(4) + smoker
    assert -model.score(rows) > least - 4 * 1.2 / math.sqrt(300)
    assert -model.score(rows) < least + 1.0
    assert model.score(other) < model.score(rows) - 1
    assert len(model.nats(rows).positions) == 300
    with pytest.raises(ValueError, match="has no column 'arm'"):
        model.score(rows.drop(columns="arm"))
    weight = next(one for one in model.table_.columns if one.name == "weight")
    at = weight.within.begins[2] - 1
    weight.within.first[at] += 1  # as an earlier version fitted it
    try:
        with pytest.raises(ValueError, match="'weight' is of an earlier version.*fit again"):
            model.score(rows)
    finally:
        weight.within.first[at] -= 1
    assert math.isfinite(model.score(rows))


def test_a_kept_model_is_read_again(model):
    again = TableModel.load(model.folder, device="cpu")
    assert again.sample(50).equals(model.sample(50))
    # the same table: a run that is done is done, and one that was stopped would go on
    before = {path: path.stat().st_mtime_ns for path in model.folder.rglob("*.safetensors")}
    same = TableModel(steps=400, folder=model.folder, **HOW).fit(people())
    assert same.sample(50).equals(model.sample(50)) and before
    assert before == {path: path.stat().st_mtime_ns for path in before}
    with pytest.raises(ValueError, match="has another table"):
        TableModel(steps=400, folder=model.folder, **HOW).fit(people(50))
    with pytest.raises(ValueError, match="is another run"):
        TableModel(steps=300, folder=model.folder, **HOW).fit(people())


def test_a_folder_after_a_table_that_does_not_do(tmp_path):
    wrong = people(200).assign(note=[f"words {i}" for i in range(200)])
    with pytest.raises(ValueError, match="'note' has 200 different values"):
        TableModel(steps=2, folder=tmp_path / "m", **HOW).fit(wrong)
    TableModel(steps=2, folder=tmp_path / "m", **HOW).fit(people(200))  # corrected
    (tmp_path / "m" / "frame.json").write_text("{}")
    with pytest.raises(ValueError, match="frame.json"):
        TableModel.load(tmp_path / "m")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("x")
    for name in ("mine.txt", "table.csv"):
        (tmp_path / "other" / "mine.txt").rename(tmp_path / "other" / name)
        with pytest.raises(ValueError, match="is not empty, and no TableModel"):
            TableModel(steps=2, folder=tmp_path / "other", **HOW).fit(people(50))
        assert (tmp_path / "other" / name).read_text() == "x"
        (tmp_path / "other" / name).rename(tmp_path / "other" / "mine.txt")


def test_input_that_cannot_be_meant(model):
    rows = people(40, seed=5)
    assert (model.sample(20, given="weight < 70")["weight"] < 70).all()
    with pytest.raises(ValueError, match="n must be a whole number, at least 1, not 0"):
        model.sample(0)
    for call in (model.impute, model.score, lambda frame: model.predict(frame, "arm")):
        with pytest.raises(ValueError, match="the frame has no rows"):
            call(rows[:0])
    with pytest.raises(ValueError, match="no column 'arm' to fill in: add one of missing cells"):
        model.impute(rows.drop(columns="arm"), ["lab", "arm"])
    with pytest.raises(ValueError, match="give one of value, missing, unknown"):
        model.impute(rows.assign(arm=None), ["arm"], empty="mising")
    assert model.impute(rows.assign(lab="pos")).equals(rows.assign(lab="pos"))  # no hole
    # a whole column with half a visit in it, and its holes filled with whole ones
    halves = rows.assign(visits=[0.5, None] * 20)
    full = model.impute(halves, ["visits"])
    assert (full["visits"][::2] == 0.5).all() and (full["visits"][1::2] % 1 == 0).all()
    one = model.predict_proba(rows[["arm", "weight"]], "lab", empty="visits=unknown")
    assert np.allclose(one.sum(axis=1), 1, atol=1e-4)


def test_polars_in_and_out():
    frame = polars.DataFrame(people(300).to_dict(orient="list"))
    model = TableModel(steps=30, **HOW).fit(frame)
    made = model.sample(40)
    assert isinstance(made, polars.DataFrame)
    assert dict(made.schema) == dict(frame.schema)
    full = model.impute(frame.with_columns(weight=polars.lit(None, polars.Float64)), ["weight"])
    assert full["weight"].null_count() == 0 and full["arm"].equals(frame["arm"])
    assert isinstance(model.predict_proba(frame, "smoker"), polars.DataFrame)
    assert model.predict(frame, "smoker").dtype == bool


def test_a_column_that_names_rows_is_left_out_with_a_word():
    frame = people(60).assign(id=range(60))
    with pytest.warns(UserWarning, match="left out id, of which every row has its own value"):
        model = TableModel(steps=2, **HOW).fit(frame)
    assert "id" not in model.sample(3).columns
    full = model.impute(frame.assign(smoker=None), ["smoker"])
    assert (full["id"] == frame["id"]).all() and not full["smoker"].isna().any()
    kept = TableModel(steps=2, numbers=["id"], **HOW).fit(frame)
    assert "id" in kept.sample(3).columns


def test_scikit_learn_can_clone_it():
    from sklearn.base import clone

    model = TableModel(steps=7, seed=3)
    copy = clone(model)
    assert copy is not model and copy.get_params() == model.get_params()
    assert repr(copy) == "TableModel(steps=7, seed=3)"
    with pytest.raises(ValueError, match="has no parameter 'depth'"):
        model.set_params(depth=3)
    with pytest.raises(AttributeError, match="has not been fitted"):
        model.sample(1)


def odd(n=200):
    """Columns as frames have them, and CSV files do not."""
    random = np.random.default_rng(0)
    day = pandas.Timestamp("2024-01-03") + pandas.to_timedelta(random.integers(0, 3, n), "D")
    return pandas.DataFrame(
        {
            "group": pandas.Categorical(random.choice(["x", "y"], n), categories=["x", "y", "z"]),
            "code": pandas.Categorical(random.choice([7, 12], n)),
            "day": day,
            "small": random.integers(0, 40, n).astype("int8"),
            "real": np.round(random.normal(0, 1, n), 2).astype("float32"),
            "maybe": pandas.array(random.choice([1, 2], n), "Int64"),
            "key": random.choice(np.array([2**63 + 1, 2**63 + 5], "uint64"), n),
            "scalar": pandas.Series(list(np.round(random.normal(5, 1, n), 1)), dtype=object),
            "truth": pandas.Series(list(random.random(n) < 0.5), dtype=object),
        }
    )


def holed(frame):
    """Every third cell of every column missing, each column otherwise of the type that it was."""
    made = frame.copy()
    for name, dtype in {"small": "Int8", "key": "UInt64"}.items():
        made[name] = made[name].astype(dtype)
    made.iloc[::3] = None
    return made.astype({"group": frame["group"].dtype, "code": frame["code"].dtype})


@pytest.fixture(scope="module")
def of_odd():
    return TableModel(steps=3, categories=["key"], **HOW).fit(odd())


def test_what_frames_have_and_files_do_not_comes_back_as_it_was(of_odd):
    frame, kept = odd(), of_odd.table_
    assert [one.bounds is None for one in kept.columns] == [1, 1, 1, 0, 0, 0, 1, 0, 1]
    assert kept.columns[4].within.decimals == 2  # 0.1, and not 0.10000000149011612
    made = of_odd.sample(60)
    plain = ["day", "small", "real", "maybe", "key"]
    assert (made[plain].dtypes == frame[plain].dtypes).all()
    assert made["group"].dtype == "category" and made["code"].dtype == "category"
    assert set(made["code"]) == {7, 12} and set(made["key"]) <= {2**63 + 1, 2**63 + 5}
    assert set(made["day"]) <= set(frame["day"])


@pytest.mark.parametrize("best", [False, True])
def test_imputing_writes_holes_and_nothing_else(of_odd, best):
    given = holed(odd()).assign(mine=["  padded ", [1, 2], ""] * 66 + [None, 3])
    given.index = range(1000, 1200)
    full = of_odd.impute(given, best=best)
    assert (full.dtypes == given.dtypes).all() and (full.index == given.index).all()
    known = given.notna()
    for name in given.columns:
        assert full[name][known[name]].tolist() == given[name][known[name]].tolist()
        assert name == "mine" or not full[name].isna().any()
    assert full["mine"].equals(given["mine"])
    assert set(full["truth"]) == {True, False}
    assert set(full["day"]) <= set(odd()["day"])
    empty = odd().assign(real=None, group=None, day=None)
    every = of_odd.impute(empty, ["real", "group", "day"])
    one = odd()[:1].astype({"small": "Int8", "key": "UInt64"})
    one.iloc[0] = None  # and the types are known all the same
    one = one.astype({"group": odd()["group"].dtype, "code": odd()["code"].dtype})
    full = of_odd.impute(one.drop(columns=["scalar", "truth"]))
    assert (full.dtypes == one.dtypes[:7]).all() and not full.isna().any().any()
    assert every["real"].dtype == float and set(every["group"]) <= {"x", "y"}


def test_imputing_what_has_other_types_than_in_fit(of_odd):
    given = odd()[:6].astype({"small": object, "group": object, "maybe": float})
    given["group"] = pandas.Categorical(["y", None] * 3)  # without the others
    given["small"] = [0.5, None, 1.5, None, 3, 4]
    given["maybe"] = [None, 2.0] * 3
    full = of_odd.impute(given, ["small", "group", "maybe"])
    assert full["small"].tolist()[::2] == [0.5, 1.5, 3] and full["maybe"].dtype == float
    assert full["group"].dtype == "category" and set(full["group"]) <= {"x", "y"}


def test_categories_that_have_an_order_or_are_intervals():
    random = np.random.default_rng(0)
    size = pandas.Categorical(
        random.choice(["low", "mid", "high"], 120), ["low", "mid", "high"], ordered=True
    )
    frame = pandas.DataFrame(
        {"size": size, "age": pandas.cut(random.integers(1, 90, 120), [0, 30, 60, 90])}
    )
    model = TableModel(steps=2, **HOW).fit(frame)
    made = model.sample(40)
    assert made["size"].dtype == size.dtype and (made["size"] <= "high").all()
    assert set(made["age"]) <= set(map(str, frame["age"]))  # intervals come as their texts
    given = frame.mask(random.random(frame.shape) < 0.3)
    assert given["age"].dtype == frame["age"].dtype
    full = model.impute(given)
    assert (full.dtypes == frame.dtypes).all() and not full.isna().any().any()
    two = pandas.DataFrame({"size": pandas.Categorical(["mid"] + [None] * 40, ordered=True)})
    with pytest.raises(ValueError, match="'size' is ordered, and '(low|high)' has no place"):
        model.impute(two)


def test_a_table_of_columns_to_drop_and_a_folder_of_before(tmp_path):
    frame = people(60).assign(code=["007", "012"] * 30)
    frame["arm"] = frame["arm"].astype("category")
    model = TableModel(steps=2, drop=["arm", "code"], folder=tmp_path / "m", **HOW).fit(frame)
    assert list(model.sample(2).columns) == ["lab", "weight", "visits", "smoker"]
    said = tmp_path / "m" / "frame.json"
    told = json.loads(said.read_text(encoding="utf-8"))
    del told["dtypes"]  # as earlier versions wrote it
    said.write_text(json.dumps(told), encoding="utf-8")
    again = TableModel(steps=2, drop=["arm", "code"], folder=tmp_path / "m", **HOW).fit(frame)
    assert again.nats(frame).mean == model.nats(frame).mean


def test_what_is_in_columns_to_drop_is_no_matter(tmp_path):
    frame = people(60).assign(notes=["x", " x"] * 30, ratio=math.inf, zero="a\0")
    frame[" odd"] = ["", None] * 30
    dropped = ["notes", "ratio", "zero", " odd"]
    TableModel(drop=dropped).prepare(tmp_path, frame)
    assert open_data(tmp_path / "data").tokenizer.names == list(people(9))
    for how, said in (
        ({"drop": ["note"]}, "no column 'note' .*did you mean 'notes'"),
        ({"drop": dropped, "numbers": ["ratio"]}, "'ratio' is named twice"),
        ({"drop": list(frame)}, "no columns to learn: give some, or drop fewer"),
    ):
        with pytest.raises(ValueError, match=said):
            TableModel(**how).prepare(tmp_path / "no", frame[[*people(9), *dropped]])
    assert not (tmp_path / "no").exists()


def test_imputing_polars_writes_holes_and_nothing_else():
    import datetime

    random = np.random.default_rng(0)
    frame = polars.DataFrame(
        {
            "kind": polars.Series(random.choice(["x", "y"], 90).tolist(), dtype=polars.Categorical),
            "day": [datetime.date(2024, 1, 1 + int(k)) for k in random.integers(0, 3, 90)],
            "small": polars.Series(random.integers(0, 9, 90), dtype=polars.Int8),
            "real": polars.Series(np.round(random.normal(0, 1, 90), 1), dtype=polars.Float32),
            "big": polars.Series([2**63 + k for k in (1, 5) * 45], dtype=polars.UInt64),
        }
    )
    model = TableModel(steps=2, categories=["big"], **HOW).fit(frame)
    assert dict(model.sample(30).schema) == dict(frame.schema)
    rows = polars.arange(90, eager=True) % 3 == 0
    given = frame.with_columns(
        polars.when(rows).then(None).otherwise(polars.col(name)).alias(name)
        for name in frame.columns
    ).with_columns(mine=polars.Series([[1], None] * 45))
    full = model.impute(given)
    assert dict(full.schema) == dict(given.schema) and full["mine"].equals(given["mine"])
    for name in frame.columns:
        assert full[name].null_count() == 0
        assert full.filter(~rows)[name].to_list() == frame.filter(~rows)[name].to_list()
    exact = polars.Series([1, 1704240000123456789, None] * 30, dtype=polars.Datetime("ns"))
    day = polars.Series([datetime.date(2024, 1, 2), None] * 45)
    gone = given.with_columns(when=exact, day=day, kind=polars.lit(None, polars.Categorical))
    full = model.impute(gone)
    assert dict(full.schema) == dict(gone.schema) and full["when"].equals(exact)
    times = gone.with_columns(day=polars.Series([datetime.timedelta(hours=1), None] * 45))
    with pytest.raises(ValueError, match="'day', of type Duration.* cannot hold '2024"):
        TableModel.set_params(model, unseen="unknown").impute(times)
    with pytest.raises(TypeError, match=r"not LazyFrame: collect\(\) it first"):
        model.impute(frame.lazy())


def test_rows_that_the_model_cannot_read(model):
    rows = people(40, seed=6)
    for name in ("arm", "weight"):  # which never are missing
        for call in (model.score, model.nats):
            with pytest.raises(ValueError, match=f"column '{name}' is missing, and never is"):
                call(rows.assign(**{name: None}))
    other = rows.assign(arm=["A", "C"] * 20)
    for call in (model.score, lambda frame: model.predict(frame, "lab")):
        with pytest.raises(ValueError, match="categories: correct it, or take .* unseen=.unknown"):
            call(other)
    known = TableModel.load(model.folder, device="cpu", unseen="unknown")
    hidden = rows.assign(arm=["A" if k % 2 == 0 else None for k in range(40)])
    p = known.predict_proba(other, "lab"), model.predict_proba(hidden, "lab", empty="arm=value")
    assert p[0].equals(p[1])
    hidden = rows.assign(arm=[arm if k % 2 else None for k, arm in enumerate(rows["arm"])])
    assert known.nats(hidden).positions.sum() == model.nats(rows).positions.sum() - 20
    with pytest.raises(ValueError, match="unseen 'none' must be error or unknown"):
        known.set_params(unseen="none").score(rows)
    with pytest.raises(ValueError, match="no column of the model's: arm, lab"):
        model.impute(pandas.DataFrame({"zzz": [1, None]}))
    texts = rows.assign(lab=["", "pos"] * 20)
    for call in (model.score, model.impute, TableModel(steps=1, **HOW).fit):
        with pytest.raises(ValueError, match="column 'lab' has the text '', which .* missing"):
            call(texts)
    as_numbers = rows.assign(smoker=rows["smoker"].astype(int), visits=rows["visits"].astype(float))
    assert model.score(as_numbers) == model.score(rows)


@pytest.mark.parametrize("name", [" arm", "arm ", "arm\0", "", 0, None])
def test_names_that_a_table_cannot_keep(name):
    frame = pandas.DataFrame({name: ["a", "b"] * 20, "n": range(40)})
    with pytest.raises(ValueError, match="rename it, since names of columns are texts"):
        TableModel(steps=1, **HOW).fit(frame)


def test_missing_values_in_what_is_given(model):
    for none in (None, np.nan, pandas.NA, pandas.NaT, float("nan")):
        assert model.sample(4, given={"lab": none})["lab"].isna().all()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"preset": "tabel"}, "no preset 'tabel': .*did you mean 'table'"),
        ({"config": {"dims": 3}}, "config: there is no 'dims' .did you mean 'dim'"),
    ],
)
def test_parameters_that_there_are_not_are_told_before_anything_is_written(how, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        TableModel(folder=tmp_path / "m", **how).fit(people(40))
    assert not (tmp_path / "m").exists()


def test_what_is_asked_for_before_fit_or_makes_no_sense(model):
    for call in (lambda m: m.score(people(9)), lambda m: m.impute(people(9)), lambda m: m.sample()):
        with pytest.raises(AttributeError, match="has not been fitted"):
            call(TableModel())
    with pytest.raises(ValueError, match="n must be a whole number, at least 1, not 2.5"):
        model.sample(2.5)
    with pytest.raises(ValueError, match="infinite"):
        columns_of(pandas.DataFrame({"a": pandas.Series([10**400, 0.5], dtype=object)}))


STRINGS = {
    "a word": [*["10115", "10117", "10119"] * 20, "NA"],
    "an odd text": [*["10115", "10117"] * 30, "none"],
    "decimal commas": ["1,5", "2,5"] * 30,
    "blanks": ["12 345", "67 890"] * 30,
    "several spellings": ["1,5", "2.5", "1.000,5"] * 20,
    "carriage returns": ["x\ry", "x\r\ny", "z"] * 20,
}


@pytest.mark.parametrize("library", [pandas, polars], ids=["pandas", "polars"])
@pytest.mark.parametrize("texts", STRINGS.values(), ids=list(STRINGS))
def test_texts_of_all_kinds_are_categories(tmp_path, texts, library):
    TableModel().prepare(tmp_path, library.DataFrame({"a": texts}))
    (column,) = open_data(tmp_path / "data").tokenizer.columns
    assert column.bounds is None and column.values == tuple(sorted(set(texts)))
    words = [*(f"w{i}" for i in range(57)), "1", "2", "3"]
    (tmp_path / "w").mkdir()
    with pytest.raises(ValueError, match="'a' has 60 different values in 60 rows"):
        TableModel().prepare(tmp_path / "w", library.DataFrame({"a": words}))


@pytest.mark.parametrize("library", [pandas, polars], ids=["pandas", "polars"])
def test_texts_of_digits_that_name_rows_are_no_categories(tmp_path, library):
    x = ["a", "b"] * 40
    by_step = library.DataFrame({"id": [str(100000 + 7 * k) for k in range(80)], "x": x})
    others = library.DataFrame({"id": [str(100000 + 7 * k * k) for k in range(80)], "x": x})
    for name in ("step", "others", "kept"):
        (tmp_path / name).mkdir()
    TableModel().prepare(tmp_path / "step", by_step)
    data = open_data(tmp_path / "step" / "data")
    assert data.meta["identifiers"] == ["id"] and data.tokenizer.names == ["x"]
    with pytest.raises(ValueError, match="'id' has 80 different values in 80 rows"):
        TableModel().prepare(tmp_path / "others", others)
    TableModel(categories=["id"]).prepare(tmp_path / "kept", others)
    column, _ = open_data(tmp_path / "kept" / "data").tokenizer.columns
    assert column.bounds is None and len(column.values) == 80


CODES = {
    "step": pandas.Series(range(80)).astype("category"),
    "others": pandas.Series([k**2 for k in range(80)]).astype("category"),
    "words": pandas.Series([f"w{k}" for k in range(80)]).astype("category"),
    "words of polars": polars.Series([f"w{k}" for k in range(80)], dtype=polars.Categorical),
}


@pytest.mark.parametrize("codes", CODES.values(), ids=list(CODES))
def test_a_column_of_a_categorical_type_is_kept_whatever_its_values_look_like(tmp_path, codes):
    """It was said to be one of categories, as by `categories`."""
    library = pandas if isinstance(codes, pandas.Series) else polars
    TableModel().prepare(tmp_path, library.DataFrame({"id": codes, "x": ["a", "b"] * 40}))
    data = open_data(tmp_path / "data")
    assert not data.meta.get("identifiers") and len(data.tokenizer.columns[0].values) == 80


@pytest.mark.parametrize("library", [pandas, polars], ids=["pandas", "polars"])
def test_a_text_with_a_zero_byte_is_refused_by_its_column(library):
    frame = library.DataFrame({"b": ["x", "y"], "a": ["x", "y\0z"]})
    with pytest.raises(ValueError, match="column 'a' has the text .*, with a zero byte"):
        columns_of(frame)
    assert list(columns_of(frame, ["b"])) == ["b"]


@pytest.mark.parametrize("dtype", ["Float64", "Float32", "double[pyarrow]", "float[pyarrow]"])
def test_what_is_no_number_is_missing_in_every_type_of_floats(dtype):
    one, other = (pandas.Series(values, dtype=dtype) for values in ([0, 1.5, 0.1], [0, 1, 1]))
    column = columns_of(pandas.DataFrame({"a": one / other}))["a"]
    assert column.texts == ["", "1.5", "0.1"] and column.type == "float"


def test_frames_as_texts_and_back():
    frame = pandas.DataFrame(
        {
            "whole": pandas.array([1, None, 3], "Int64"),
            "real": [0.1, math.nan, 3.0],
            "said": ["a", None, "007"],
            "true": pandas.array([True, False, None], "boolean"),
            "kind": pandas.Categorical(["x", "y", "x"]),
        }
    )
    columns = columns_of(frame)
    assert columns["whole"].texts == ["1", "", "3"] and columns["whole"].type == "int"
    assert columns["real"].texts == ["0.1", "", "3.0"] and columns["said"].texts[2] == "007"
    types = {name: one.type for name, one in columns.items()}
    assert types["true"] == "bool" and types["kind"] == "text"
    again = frame_of({name: one.texts for name, one in columns.items()}, types, "pandas")
    assert again["whole"].equals(frame["whole"]) and again["true"].equals(frame["true"])
    assert again["kind"].tolist() == ["x", "y", "x"]
    with pytest.raises(ValueError, match="two columns 'a'"):
        columns_of(pandas.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(ValueError, match="infinite"):
        columns_of(pandas.DataFrame({"a": [1.0, math.inf]}))
    with pytest.raises(ValueError, match="the same text but for blanks"):
        columns_of(pandas.DataFrame({"a": ["x", " x"]}))
    with pytest.raises(TypeError, match="not list"):
        columns_of([1])


def again(frame, library):
    """A frame as texts, and those as a frame of the same types."""
    columns = columns_of(frame)
    texts, types, dtypes = (
        {name: getattr(one, of) for name, one in columns.items()}
        for of in ("texts", "type", "dtype")
    )
    return frame_of(texts, types, library, dtypes)


def test_types_of_pandas_that_texts_can_be_read_as():
    days = ["2024-01-02 03:00", None, "2024-07-02 03:00"]
    frame = pandas.DataFrame(
        {
            "rank": pandas.Categorical([3, 1, None], [3, 1, 2], ordered=True),
            "text": pandas.array(["a", None, "b"], "string"),
            "while": pandas.to_timedelta([1, None, 3], "D"),
            "zone": pandas.to_datetime(days).tz_localize("Europe/Berlin"),
            "month": pandas.Series(pandas.PeriodIndex(["2024-01", "2024-02", None], freq="M")),
            "short": pandas.array([0.1, None, 2.5], "Float32"),
        }
    )
    made = again(frame, "pandas")
    assert (made.dtypes == frame.dtypes).all() and made.equals(frame)


UNUSED = {
    "no text": (["x", "y"], ["", "x", "y"]),
    "no number": ([1, 2], ["?", 1, 2]),
    "no text beside numbers": ([1, 2], [1, "", 2]),
    "no float": ([1.5, 2.5], [1.5, 2.5, "?"]),
    "no truth": ([True, False], [True, False, "?"]),
}


@pytest.mark.parametrize("values, known", UNUSED.values(), ids=list(UNUSED))
def test_categories_that_no_row_has_and_no_column_could(values, known):
    frame = pandas.DataFrame({"a": pandas.Categorical(values, known)})
    made = again(frame, "pandas")["a"]
    assert made.tolist() == values
    if "" in known:
        assert made.dtype.categories.tolist() == values


def test_types_of_polars_that_texts_can_be_read_as():
    import datetime as of

    times = [of.datetime(2024, 1, 2, 3), None, of.datetime(2024, 7, 2, 4)]
    frame = polars.DataFrame(
        {
            "choice": polars.Series(["a", "b", None], dtype=polars.Enum(["b", "a", "c"])),
            "ms": polars.Series(times, dtype=polars.Datetime("ms")),
            "zone": polars.Series(times).dt.replace_time_zone("Europe/Berlin"),
            "price": polars.Series(["1.50", "2.25", None]).cast(polars.Decimal(10, 2)),
            "time": [of.time(1, 2), None, of.time(3)],
            "int": polars.Series([1, 2, None], dtype=polars.Int16),
        }
    )
    made = again(frame, "polars")
    assert dict(made.schema) == dict(frame.schema) and made.equals(frame)
    nested = polars.DataFrame({"both": [{"a": 1}, None], "while": [of.timedelta(1), None]})
    assert again(nested, "polars").dtypes == [polars.String] * 2  # they come as texts


@pytest.mark.parametrize(
    "said",
    ["read_csv(source='http://127.0.0.1:9/x')", "scan_csv", "Struct({'a': Int64})", "Date(1", "no"],
)
def test_what_a_folder_calls_a_type_is_one_or_nothing(said):
    assert polars_type(said) is None


def test_texts_that_are_no_dates_are_no_tracebacks():
    days = polars_series(["2024-01-03 00:00:00", ""], "text", polars.Date)
    assert days.dtype == polars.String and days.to_list() == ["2024-01-03 00:00:00", None]


@pytest.mark.parametrize("kept", [True, False])
def test_a_fit_that_was_stopped_goes_on(kept, tmp_path, monkeypatch):
    step, taken = unmask.train.loop.train_step, []

    def stopping(config, data, state, fall):
        taken.append(state.step)
        if len(taken) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(config, data, state, fall)

    monkeypatch.setattr(unmask.train.loop, "train_step", stopping)
    frame = people(200)
    model = TableModel(steps=6, folder=tmp_path / "m" if kept else "", **HOW)
    with pytest.raises(KeyboardInterrupt, match="stopped at step 3"):
        model.fit(frame)
    model.fit(frame)
    assert taken == list(range(6)) and len(model.sample(2)) == 2
    if not kept:  # another table begins anew, as does the same one once it is done
        taken[:] = [0, 0, 0]
        model.fit(frame)
        assert taken[3:] == list(range(6))


def test_what_a_kill_left_of_a_fit_is_no_other_model(tmp_path):
    (tmp_path / ".data.new-0123abcd").mkdir()
    (tmp_path / "frame.json").write_text("{}")  # of a table that was not prepared
    model = TableModel(steps=2, folder=tmp_path, **HOW).fit(people(200))
    assert len(model.sample(2)) == 2
