"""Conditions: the law of what is drawn first, against `exact_law` and by hand; numbers whose bins
are cut; the command line."""

import csv
import io
import itertools
import json
import math
from collections import Counter
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_core import chi_square, table_model
from test_links import (
    ALLOWED,
    MISSING,
    NEGATIVE,
    NONE,
    POSITIVE,
    PRESENT,
    ROWS,
    A,
    B,
    P,
    perfect,
    random_model,
)  # fmt: skip
from test_missing_cells import LEARN, clinic

import unmask
from unmask import schedules
from unmask.audit.sampler_law import exact_law
from unmask.cli import main
from unmask.cli.sample import Sample
from unmask.cli.sample import conditions as record_of
from unmask.data import open_data, prepare_table
from unmask.filling import Filler
from unmask.kinds.kind import Partial, blank
from unmask.kinds.tables.fitted import number_column
from unmask.kinds.tables.where import condition, conditioned, spans_of, spans_within
from unmask.roles import GIVEN, HOLE
from unmask.sampling import restricted, time_grid

DRAWN = 6000


def of(values, size=7):
    """(V,) weights, of tokens by their names."""
    weights = torch.zeros(size, dtype=torch.float64)
    for value, weight in values.items():
        weights[value] = weight
    return weights


def example(length, weights):
    """As a kind makes it: what has one value is given."""
    row, several = blank(length), {}
    for at, weight in weights.items():
        values = weight.nonzero()[:, 0].tolist()
        if len(values) == 1:
            row.ids[at], row.role[at] = values[0], GIVEN
        else:
            several[at] = weight.numpy()
    return row._replace(weights=several)


def follows(model, weights, length, **how):
    """Chi-square of what a filler draws against `exact_law`; returns the filler."""
    sampler, steps = how["sampler"], how.get("steps")
    ts = None if sampler == "first_hitting" else time_grid(steps, "uniform")
    law = exact_law(model, ts, length, weights=weights)
    assert float(law.sum()) == pytest.approx(1, abs=1e-12)
    filler = Filler(model, grid="uniform", batch_size=4096, seed=5, **how)
    found = filler.fill([example(length, weights)], num=DRAWN)[0]
    ids = torch.from_numpy(np.stack([one.ids for one in found]))
    base = law.shape[0] ** torch.arange(length - 1, -1, -1)
    counts = torch.bincount((ids * base).sum(1), minlength=law.numel()).double()
    p = law.flatten()
    assert int(counts[p == 0].sum()) == 0
    few = p * DRAWN < 5
    pooled = [torch.cat([v[~few], v[few].sum()[None]]) for v in (counts, p)]
    if float(pooled[1][-1]) * DRAWN < 5:
        at = int(pooled[1][:-1].argmin())
        for v in pooled:
            v[at] += v[-1]
        pooled = [v[:-1] for v in pooled]
    if len(pooled[1]) > 1:
        chi_square(*pooled)
    return filler


CONDITIONS = {
    "a value": {0: of({A: 1})},
    "a missing cell": {1: of({MISSING: 1}), 2: of({NONE: 1})},
    "it has a value": {1: of({PRESENT: 1})},
    "a weight": {0: of({A: 0.2, B: 1})},
    "a weight of a cell with a value": {1: of({PRESENT: 1}), 2: of({NEGATIVE: 0.1, POSITIVE: 0.7})},
    "missing, or one value": {2: of({POSITIVE: 0.5, NONE: 1})},
    "two": {0: of({A: 0.2, B: 0.9}), 2: of({NEGATIVE: 1, POSITIVE: 0.3})},
    "two, one a place of two": {0: of({A: 0.2, B: 0.9}), 1: of({PRESENT: 0.4, MISSING: 1})},
    "two, and given": {
        0: of({A: 0.3, B: 1}),
        1: of({PRESENT: 1}),
        2: of({NEGATIVE: 0.2, POSITIVE: 1}),
    },
}
SAMPLERS = {
    "first hitting": {"sampler": "first_hitting"},
    "one step": {"sampler": "ancestral", "steps": 1},
    "three steps": {"sampler": "ancestral", "steps": 3},
}


@pytest.mark.parametrize("name", CONDITIONS)
@pytest.mark.parametrize("how", SAMPLERS.values(), ids=list(SAMPLERS))
def test_what_is_drawn_has_the_exact_law_of_linked_places(name, how):
    filler = follows(random_model(), CONDITIONS[name], 3, **how)
    assert (filler.accepted == DRAWN and filler.draws > DRAWN) == name.startswith("two")


DIALS = {
    "digits": {"digits": 2},
    "whole tokens of digits": {"digits": 2, "masking": "token"},
    "looks at t": {"time": True},
}
# the exact law of first hitting is of networks that ignore t
PAIRS = [
    (dials, how)
    for dials in DIALS
    for how in ("first hitting", "three steps")
    if (dials, how) != ("looks at t", "first hitting")
]


@pytest.mark.parametrize(("dials", "how"), PAIRS)
@pytest.mark.parametrize("name", ["a weight of a cell with a value", "two"])
def test_what_is_drawn_has_the_exact_law_of_digits_and_times(dials, name, how):
    dials, how = DIALS[dials], SAMPLERS[how]
    follows(random_model(**dials), CONDITIONS[name], 3, **how)


def test_codes_of_tokens_are_not_their_numbers():
    codes = torch.tensor([2, 0, 3, 1])
    model = table_model(schedules.Linear(), 4, 2, 2)
    model = unmask.MaskedDiffusion(
        model.backbone, schedules.Linear(), unmask.Subtokenizer(4, 2, codes=codes)
    )
    weights = of({0: 1, 1: 0.4, 3: 0.1}, 4)
    for conditions in ({1: weights}, {0: weights.flip(0), 1: weights}, {0: of({2: 1}, 4)}):
        follows(model, conditions, 2, sampler="first_hitting")


# ---------------------------------------------------------------- the laws by hand


def mu(model, z):
    """(S, V) what the network says of one state."""
    return model.predict(torch.tensor([z]))[0].exp().detach()


def test_the_exact_law_of_one_restricted_place_by_hand():
    """That place first, from its law times the weights; then what is left, in either order."""
    model, mask, weights = random_model(), 7, of({A: 0.2, B: 0.9})
    law = exact_law(model, None, 3, weights={0: weights})
    first = mu(model, [mask] * 3)[0] * weights
    first /= first.sum()
    for arm, present, value in ROWS.tolist():
        z = mu(model, [arm, mask, mask])
        # what the second of two linked places is, given the first
        then = mu(model, [arm, present, mask])[2, value], mu(model, [arm, mask, value])[1, present]
        both = (z[1, present] * then[0] + z[2, value] * then[1]) / 2
        assert float(law[arm, present, value]) == pytest.approx(float(first[arm] * both))


def test_the_exact_law_of_two_restricted_places_by_hand():
    """Both first, in either order, times the weights and over their sum; then the third."""
    model, mask = random_model(), 7
    weights = {0: of({A: 0.2, B: 0.9}), 2: of({NEGATIVE: 1, POSITIVE: 0.3})}
    law = exact_law(model, None, 3, weights=weights)
    joint = torch.zeros(7, 7, dtype=torch.float64)
    start = mu(model, [mask] * 3)
    for arm, value in itertools.product((A, B), (NEGATIVE, POSITIVE, NONE)):
        one = start[0, arm] * mu(model, [arm, mask, mask])[2, value]
        other = start[2, value] * mu(model, [mask, mask, value])[0, arm]
        joint[arm, value] = (one + other) / 2 * weights[0][arm] * weights[2][value]
    joint /= joint.sum()
    assert torch.allclose(law.sum(1), joint)
    assert float(law[:, PRESENT].sum()) == pytest.approx(1)  # as a value says


def test_a_perfect_denoiser_has_the_conditional_law_of_its_data():
    """One step a place: then all three ways are Bayes' rule."""
    for name, weights in CONDITIONS.items():
        law = exact_law(perfect(), None, 3, weights=weights)
        fits = torch.ones(len(ROWS), dtype=torch.float64)
        for at, weight in weights.items():
            fits *= weight[ROWS[:, at]]
        expected = P * fits / (P * fits).sum()
        assert torch.allclose(law[tuple(ROWS.T)], expected, atol=1e-12), name


# ---------------------------------------------------------------- fillers


def test_what_becomes_of_a_row_depends_on_neither_the_batch_nor_how_many_there_are():
    model, ones = random_model(), [example(3, CONDITIONS[name]) for name in ("two", "a weight")]

    def filled(size, num=40):
        filler = Filler(model, sampler="first_hitting", batch_size=size, seed=2)
        (rows,) = filler.fill(ones[:1], num=num)
        return [one.ids.tolist() for one in rows], (filler.accepted, filler.draws)

    alone, cost = filled(1)
    assert filled(7) == (alone, cost) and filled(64) == (alone, cost)
    assert filled(0, num=9)[0] == alone[:9]
    # of several kinds in one batch
    filler = Filler(model, sampler="first_hitting", steps=1, seed=2)
    found = filler.fill([*ones, blank(3)])
    assert len(found) == 3 and filler.accepted == 1


def test_conditions_that_cannot_be_heeded_are_refused(monkeypatch):
    two = example(3, CONDITIONS["two"])
    with pytest.raises(ValueError, match="has no score"):
        Filler(random_model()).fill([two], score=4)
    by_value = random_model(time=True, schedule="learned")
    with pytest.raises(ValueError, match="need a schedule with one curve .* name single values"):
        Filler(by_value).fill([two])
    with pytest.raises(ValueError, match="need a schedule with one curve"):
        exact_law(by_value, time_grid(2), 3, weights=CONDITIONS["two"])
    follows(by_value, CONDITIONS["a value"], 3, sampler="ancestral", steps=2)  # as `fill` does
    known = two._replace(role=np.array([GIVEN, HOLE, HOLE], np.int8))
    with pytest.raises(ValueError, match="weights are of holes"):
        Filler(random_model()).fill([known])
    monkeypatch.setattr(restricted, "OF_ROW", 10)
    monkeypatch.setattr(restricted, "OF_ALL", 100)
    rare = {0: of({A: 1e-9, B: 1e-9}), 2: of({NEGATIVE: 1, POSITIVE: 1})}
    with pytest.raises(ValueError, match=r"^0 of 1\d\d draws satisfied .* give fewer"):
        Filler(random_model(), sampler="first_hitting").fill([example(3, rare)])


def test_every_hole_may_be_restricted_whatever_the_sampler():
    """Nothing is left to fill in then."""
    every = {at: row.double() * 0.9 for at, row in enumerate(ALLOWED)}
    for sampler in ("counts", "confidence", "ancestral", "first_hitting"):
        found = Filler(random_model(), sampler=sampler).fill([example(3, every)], num=5)[0]
        assert all(one.ids.tolist() in ROWS.tolist() for one in found)


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("said", "column", "operator", "values"),
    [
        ("income = >50K", "income", "=", [">50K"]),
        ("age>=30", "age", ">=", ["30"]),
        (" age  <  30 ", "age", "<", ["30"]),
        ("a != b=c", "a", "!=", ["b=c"]),
        ('"a >= b" <= 3', "a >= b", "<=", ["3"]),
        ('" a ""b"" "= 3', ' a "b" ', "=", ["3"]),
        ("race in White, Black", "race", "in", ["White", "Black"]),
        ('race in "a, b", c', "race", "in", ["a, b", "c"]),
        ('"born in" in a', "born in", "in", ["a"]),
        ("born in = a", "born", "in", ["= a"]),
        ('lab = ""', "lab", "=", [""]),
        ("lab !=", "lab", "!=", [""]),
        ('c = "a ""b"""', "c", "=", ['a "b"']),
        ("c = a, b", "c", "=", ["a, b"]),
        ("inside = 3", "inside", "=", ["3"]),
    ],
)
def test_the_grammar(said, column, operator, values):
    assert condition(said)[1:] == (column, operator, values)


@pytest.mark.parametrize("said", ["", "age", "in a", "age in", "age over 3", "age ~ 3"])
def test_no_condition(said):
    with pytest.raises(ValueError, match="give a column, one of =, .*, in, and a value"):
        condition(said)


# ---------------------------------------------------------------- numbers within bins


NUMBERS = {
    "whole": [int(x) for x in np.random.default_rng(3).exponential(40, 900)],
    "two places": [f"{x:.2f}" for x in np.random.default_rng(0).normal(0, 2, 700)],
    "many zeros": [0] * 300 + [7 * i * i for i in range(1, 90)],
    "tens": [10 * int(x) for x in np.random.default_rng(1).exponential(20, 500)],
    "more places than floats count": ["0.1234567890123456789", "1000", "7.5", "7.25", "12"] * 3,
    "one": [4] * 9,
}


def probabilities(column, bin):
    """{number: probability} of a draw of a bin, from `nats` without the part for scoring."""
    within = column.within
    last = within.begins[bin + 1] - 1
    rows = within.rows[within.begins[bin] : last + 1].sum()
    every = within.first[last] + np.arange(within.count[last])
    of_bin = np.full(len(every), bin)
    p = (np.exp(-within.nats(of_bin, every)) * rows - within.new(of_bin, every)) / (rows - 1)
    return {k: x for k, x in zip(every.tolist(), p.tolist(), strict=True) if x > 1e-12}


CUTS = [(">=", [20]), ("<", [3.3]), ("!=", [0]), ("=", [7]), ("in", [0, 28, 40]), (">", [-0.5])]


@pytest.mark.parametrize("name", [name for name in NUMBERS if "floats" not in name])
@pytest.mark.parametrize(("operator", "values"), CUTS, ids=str)
def test_the_share_of_a_cut_bin_and_what_is_drawn_of_it(name, operator, values):
    column = number_column("n", 0, Counter(map(str, NUMBERS[name])), 4)
    within, values = column.within, [Decimal(str(value)) for value in values]
    spans = spans_of(within, operator, values)
    holds = {
        ">=": lambda x: x >= values[0],
        ">": lambda x: x > values[0],
        "<": lambda x: x < values[0],
        "!=": lambda x: x != values[0],
    }.get(operator, lambda x: x in values)
    share = within.share(spans)
    for bin in range(len(column.values)):
        p = probabilities(column, bin)
        fits = {k: x for k, x in p.items() if holds(Decimal(within.spell(k)))}
        assert share[bin] == pytest.approx(sum(fits.values()), abs=1e-9)
        assert (share[bin] == 0) == (not fits) and (len(fits) < len(p) or share[bin] == 1)
        if not fits:
            continue
        drawn = column.draw(np.full(3000, bin), np.random.default_rng(1), spans)
        assert all(holds(Decimal(text)) for text in drawn)
        at = {k: i for i, k in enumerate(fits)}
        spelled = {within.spell(k): k for k in fits}
        counts = np.bincount([at[spelled[text]] for text in drawn], minlength=len(at))
        expected = np.array(list(fits.values())) / sum(fits.values())
        # Kolmogorov and Smirnov: beyond this once in 8,000
        assert np.abs(np.cumsum(counts / 3000 - expected)).max() < 2.2 / math.sqrt(3000)


def test_numbers_that_are_written_otherwise_than_they_are_counted():
    column = number_column("n", 0, Counter(NUMBERS["more places than floats count"]), 2)
    value = Decimal("0.1234567890123456789")
    for operator, there in ((">=", True), (">", False), ("=", True)):
        spans = spans_of(column.within, operator, [value])
        drawn = column.draw(np.zeros(300, int), np.random.default_rng(0), spans)
        assert ("0.1234567890123456789" in drawn) == there
        assert all(Decimal(text) >= value for text in drawn)
    assert not column.within.share(spans_of(column.within, "<", [value])).any()


# ---------------------------------------------------------------- the command line


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """x is even over 0.0 to 9.9, c is b below 3 and else a or, in every fourth row, c; of the lab
    every third cell is missing; y is another number in every row."""
    folder = tmp_path_factory.mktemp("where")
    rows = []
    for i in range(3000):
        x = i % 100 / 10
        c = "b" if x < 3 else ("a", "a", "a", "c, d")[i // 100 % 4]
        lab, born = "" if i % 3 == 0 else f"{i % 7}", "yes" if x > 5 else "no"
        rows.append([f"{x:.1f}", c, lab, born, 7 * i % 3000])
    text = io.StringIO()
    csv.writer(text).writerows([["x", "c", "lab", "born in", "y"], *rows])
    (folder / "t.csv").write_text(text.getvalue())
    prepare_table(folder / "t.csv", folder / "data", bins=8, numbers=["y"], progress=False)
    flags = ["--data", str(folder / "data"), "--out", str(folder / "run")]
    assert main(["train", "table", *flags, *LEARN, "--device", "cpu"]) == 0
    return folder


def drawn(run, out, *where, num=120, more=()):
    flags = [part for one in where for part in ("--where", one)]
    command = ["sample", str(run / "run"), "--num", str(num), "--steps", "12", *flags, *more]
    assert main([*command, "--device", "cpu", "--out", str(out)]) == 0
    return list(csv.DictReader(io.StringIO(out.read_text())))


def test_rows_satisfy_their_conditions(run, tmp_path, capsys):
    record = tmp_path / "r.json"
    where = ["x >= 3.5", 'c in a, "c, d"']
    rows = drawn(run, tmp_path / "s.csv", *where, more=["--json", str(record)])
    assert len(rows) == 120
    assert all(float(row["x"]) >= 3.5 and row["c"] in ("a", "c, d") for row in rows)
    assert sum(row["born in"] == "yes" for row in rows) > 70  # 4.9 in 6.5: with x
    made = json.loads(record.read_text())
    assert made["where"] == where and made["accepted"] == 120 < made["draws"] < 480
    said = f"accepted 120 of {made['draws']} draws ({100 * 120 / made['draws']:.3g} %)"
    assert said in capsys.readouterr().err
    # a range is one cell, whatever its conditions: no draw is in vain
    rows = drawn(run, tmp_path / "s.csv", "x >= 3.15", "x < 3.75", "x != 3.4")
    assert {row["x"] for row in rows} == {"3.2", "3.3", "3.5", "3.6", "3.7"}
    assert "accepted" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "accepted, draws, share", [(8, 8, "100"), (37, 120, "30.8"), (1, 3000, "0.0333")]
)
def test_the_share_of_accepted_draws_is_in_plain_digits(accepted, draws, share, capsys):
    filler = SimpleNamespace(accepted=accepted, draws=draws)
    record_of(Sample(model="run", where=("x > 1",)), filler)
    said = f"accepted {accepted} of {draws:,} draws ({share} %)\n"
    assert capsys.readouterr().err == said


def test_missing_cells_in_conditions(run, tmp_path):
    out = tmp_path / "s.csv"
    assert {row["lab"] for row in drawn(run, out, 'lab = ""', num=20)} == {""}
    assert {row["lab"] for row in drawn(run, out, "lab = NA", num=20)} == {""}
    rows = drawn(run, out, 'lab != ""')
    assert {row["lab"] for row in rows} == set("0123456")
    assert {row["lab"] for row in drawn(run, out, "lab <= 2")} == set("012")
    assert {row["lab"] for row in drawn(run, out, "lab != 3")} == set("012456")
    rows = drawn(run, out, 'lab in "", 2')
    assert {row["lab"] for row in rows} == {"", "2"}  # a third, and two in 21
    assert sum(row["lab"] == "" for row in rows) / 120 == pytest.approx(7 / 9, abs=0.2)
    rows = drawn(run, out, "lab > 3", '"born in" = yes', "c = a", "x = 7.0")
    assert {(row["x"], row["c"], row["born in"]) for row in rows} == {("7.0", "a", "yes")}
    assert {row["lab"] for row in rows} == set("456")


def test_a_cut_bin_weighs_as_much_as_is_left_of_it(run, tmp_path):
    """x is even, in bins of 12 or 13 numbers: each is as frequent, however much of its bin fits."""
    several = "1.3", "1.4", "1.6", "1.7", "1.9", "2.0", "2.1", "2.2", "2.3"
    rows = drawn(run, tmp_path / "s.csv", f"x in 0.1, {', '.join(several)}", num=1000)
    counts = Counter(row["x"] for row in rows)
    assert set(counts) == {"0.1", *several}
    assert counts["0.1"] < 180  # 100, but the network learned for seconds; 500 if bins were whole
    # a bin is not of one number, and not cut between those of training
    ys = [int(row["y"]) for row in drawn(run, tmp_path / "s.csv", "y > 100", "y <= 200", num=1000)]
    assert min(ys) > 100 and max(ys) <= 200 and len(set(ys)) > 90
    # even but for parts of a bin that differ by a row: see `cells`
    assert np.mean(ys) == pytest.approx(150.5, abs=10)


def test_the_same_rows_whatever_the_batch_and_the_first_ones_of_more(run, tmp_path):
    where = "x >= 3.5", "c in a, b"
    for conditions in ((), where[:1], where):
        rows = drawn(run, tmp_path / "s.csv", *conditions)
        again = drawn(run, tmp_path / "s.csv", *conditions, more=["--batch-size", "7"])
        assert again == rows
        assert drawn(run, tmp_path / "s.csv", *conditions, num=11) == rows[:11]


@pytest.mark.parametrize("suffix", [".html", ".svg", ".gif"])
def test_rows_that_conditions_decide_have_no_unmasking_to_show(run, tmp_path, capsys, suffix):
    frames, record = tmp_path / f"f{suffix}", tmp_path / "r.json"
    where = ["x = 7.0", "c = a", 'lab = ""', '"born in" = yes', "y = 7"]
    more = ["--frames", str(frames), "--json", str(record)]
    rows = drawn(run, tmp_path / "s.csv", *where, num=3, more=more)
    assert rows == [{"x": "7.0", "c": "a", "lab": "", "born in": "yes", "y": "7"}] * 3
    assert json.loads(record.read_text())["where"] == where and not frames.exists()
    assert f"{frames} is not written: there was nothing to unmask" in capsys.readouterr().err


def test_conditions_that_cannot_be(run, text_run, tmp_path, capsys):
    cases = {
        "x >= 200": "no value of 'x' fits: its numbers in training are 0.0 to 9.9, in steps of 0.1",
        "x = 3.55": "no value of 'x' fits",
        "x > many": "'x' is a column of numbers, and 'many' is none",
        "c > a": "categories, which have no order: give =, != or in",
        "c = e": "no 'c' is 'e': it has a, b, c, d",
        "c == a": "no 'c' is '= a': it has a, b, c, d (write one =)",
        "c = 'a'": "(quotes are double ones)",
        "c in (a, b)": "no 'c' is '(a': it has a, b, c, d (write values after in without brackets)",
        "x >= 3 and c = a": "(a condition is of one column: give another --where for another)",
        "cc = a": "there is no column 'cc' among x, c, lab, born in, y (did you mean 'c'?)",
        "born in = yes": '(write "born in", in quotes, for the column)',
        'c = ""': "no 'c' of this model is missing",
        "c": "give a column, one of =, ",
        'c in "a': "c in \"a': '\"a': unexpected end of data",
    }
    for said, why in cases.items():
        command = ["sample", str(run / "run"), "--where", said, "--out", str(tmp_path / "o.csv")]
        assert main([*command, "--device", "cpu"]) == 2, said
        told = capsys.readouterr().err
        assert why in told and not (tmp_path / "o.csv").exists(), told
    command = ["sample", str(run / "run"), "--where", "x > 3", "--where", "x < 2"]
    assert main([*command, "--device", "cpu"]) == 2
    assert "--where 'x > 3' and --where 'x < 2': no value of 'x' fits" in capsys.readouterr().err
    assert main(["sample", str(text_run), "--where", "x > 3", "--device", "cpu"]) == 2
    assert "--where is not for" in capsys.readouterr().err


def test_conditions_as_examples(tmp_path):
    """Given where they leave one token; weights where they leave several; else a hole."""
    prepare_table(clinic(tmp_path / "c.csv"), tmp_path / "d", progress=False)
    table = open_data(tmp_path / "d").tokenizer

    def says(*where) -> tuple[str, dict]:
        found: Partial = conditioned(table, where)
        names = [table.spell(i) if r == GIVEN else "" for i, r in zip(found.ids, found.role)]
        weights = found.weights or {}
        return "|".join(names), {at: list(w[w > 0]) for at, w in weights.items()}

    assert says() == ("|||", {})
    assert says("arm = A") == says("arm != B") == says("arm in A, A") == ("arm=A|||", {})
    assert says("age != <40") == ("|||", {1: [1, 1]})
    assert says("lab = ?") == ("||lab=missing|lab=none", {})
    assert says('lab != ""') == says("lab in neg, pos") == ("||lab=present|", {})
    assert says("lab != neg") == ("||lab=present|lab=pos", {})
    assert says('lab in "", neg') == ("|||", {3: [1, 1]})
    assert says('lab in "", neg', 'lab != ""') == ("||lab=present|lab=neg", {})
    assert spans_within(table, ["arm = A"]) == {}
