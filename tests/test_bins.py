"""Numbers of a column: bins, and the law of a number given its bin."""

import itertools
import json
import math
from collections import Counter
from decimal import Decimal

import numpy as np
import pytest

from unmask.cli.main import main
from unmask.data import open_data, prepare_table
from unmask.kinds.tables.bins import Within
from unmask.kinds.tables.columns import Column, Table
from unmask.kinds.tables.fitted import FREQUENT, number_column, resolution
from unmask.kinds.tables.scales import Digits, digits_of
from unmask.kinds.tables.where import conditioned, spans_within
from unmask.kinds.tables.written import improper

CPU = ["--device", "cpu", "--dtype", "float32"]


def column(numbers, bins=4, written=()) -> Column:
    return number_column("n", 0, Counter(map(str, numbers)), bins, written)


def law(one: Column, texts) -> np.ndarray:
    """(n,) probabilities of numbers, given their bins."""
    return np.exp(-one.within.nats(one.encode(texts), np.round(one.within.steps(texts))))


COLUMNS = {
    "many zeros": [0] * 300 + [7 * i * i for i in range(1, 90)],
    "every number once": [i * 3 % 1009 for i in range(1009)],
    "two places": [f"{x:.2f}" for x in np.random.default_rng(0).normal(3, 2, 700)],
    "tens": [10 * int(x) for x in np.random.default_rng(1).exponential(20, 500)],
    "below zero": list(range(-40, -3)) * 3,
    "few": [1, 1, 2, 5],
    "bounds that are numbers": ["0.1", "0.3", "0.5", "0.7"] * 50,  # 0.2 is not 0.2 as a float
    "many powers of ten": [f"{10**x:.1e}" for x in np.random.default_rng(0).uniform(-12, 12, 500)],
    "and of either sign": [
        f"{s * 10**x:.0e}" for s in (-1, 0, 1) for x in np.random.default_rng(1).uniform(-20, 9, 99)
    ],
    "one": [4] * 9,
}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_law_within_a_bin_sums_to_one(name):
    one = column(COLUMNS[name])
    within, bounds = one.within, np.array(one.bounds)
    assert not one.misplaced.any()
    beyond = 20_000
    steps = np.arange(-beyond, within.last + beyond + 1)
    numbers = [float(within.scale.number(k)) for k in steps.tolist()]
    bins = np.searchsorted(bounds, numbers, side="right")
    p = np.exp(-within.nats(bins, steps))
    last = len(one.values) - 1
    for bin in range(last + 1):
        parts = slice(within.begins[bin], within.begins[bin + 1])
        rows, wide = within.rows[parts], within.count[parts][-1]
        total = p[bins == bin].sum()
        if 0 < bin < last:
            assert total == pytest.approx(1, abs=1e-9)
            continue
        # what lies further out than these numbers, of the one row for what was not seen: from the
        # end of training numbers they go on by `beyond`, from the other end of the bin further
        left = rows[-1] / rows.sum() * wide / (wide + beyond + wide)
        assert total == pytest.approx(1 - left, abs=1e-9)


@pytest.mark.parametrize("name", COLUMNS)
def test_draws_follow_the_law_and_read_as_their_bin(name):
    one = column(COLUMNS[name])
    bins = np.repeat(np.arange(len(one.values)), 4000)
    drawn = one.draw(bins, np.random.default_rng(0))
    assert (one.encode(drawn) == bins).all()
    known = set(map(float, COLUMNS[name]))
    assert min(known) <= min(map(float, drawn)) and max(map(float, drawn)) <= max(known)
    within, steps = one.within, np.round(one.within.steps(drawn)).astype(int)
    for bin in range(len(one.values)):
        last = within.begins[bin + 1] - 1
        rows = within.rows[within.begins[bin] : last + 1].sum()
        every = within.first[last] + np.arange(within.count[last])
        of = np.full(len(every), bin)
        # what scoring says, without the one row for what training has not seen
        p = (np.exp(-within.nats(of, every)) * rows - within.new(of, every)) / (rows - 1)
        assert p.min() > -1e-12 and p.sum() == pytest.approx(1, abs=1e-9)
        seen = np.bincount(steps[bins == bin] - every[0], minlength=len(every)) / 4000
        # Kolmogorov and Smirnov: beyond this once in 8,000
        assert np.abs(np.cumsum(seen - p)).max() < 2.2 / math.sqrt(4000)


def test_frequent_numbers_stay_exact():
    numbers = [0] * 900 + [3] * 60 + [round(x, 4) for x in np.random.default_rng(0).random(100)]
    one = column(numbers, bins=8)
    drawn = Counter(one.draw(one.encode(["0"] * 3000), np.random.default_rng(0)))
    assert drawn["0"] > 2900
    drawn = Counter(one.draw(one.encode(["3"] * 3000), np.random.default_rng(0)))
    assert drawn["3"] >= 0.9 * 3000 * 60 / 73
    assert law(one, ["0"])[0] > 0.98
    # one row in so many
    often = [1] * (FREQUENT - 5) + [2] * 3
    rare = {str(10 * i): n for i, n in enumerate(often)}
    assert len(number_column("n", 0, rare, 2).within.spelled) == 3


@pytest.mark.parametrize(
    ("numbers", "spelled"),
    [
        (["1.50", "2.25", "10.00"], r"\d+\.\d\d"),  # money
        (["1.0", "2.0", "7.0"], r"\d+\.0"),  # whole numbers, as pandas writes them
        (["1", "2.25", "-3.5"], r"-?\d+(\.\d{1,2})?"),
        (["100", "2500", "900"], r"\d+00"),
        (["5.00E+05", "1.2E+4"], r"[\d.E+]+"),
    ],
)
def test_numbers_are_spelled_as_the_source_spells_them(numbers, spelled):
    import re

    many = [text for text in numbers for _ in range(1)]
    # beyond `bins` numbers, so that bins hold several
    one = number_column("n", 0, dict.fromkeys(many, 1), 2)
    drawn = one.draw(np.zeros(300, int), np.random.default_rng(0))
    drawn += one.draw(np.ones(300, int), np.random.default_rng(0))
    assert all(re.fullmatch(spelled, text) for text in drawn), set(drawn)


def test_the_step_between_numbers():
    assert resolution(["1.0", "20.0"], Decimal(19)) == (0, 1)
    assert resolution(["0", "100", "2300"], Decimal(2300)) == (-2, 0)
    assert resolution(["0.25", "1"], Decimal(1)) == (2, -1)
    assert resolution(["0.00", "0"], Decimal(0)) == (0, -1)
    # more decimals than floats count
    assert resolution(["0.1234567890123456789", "1000"], Decimal(1000)) == (12, -1)


def test_significant_digits_as_a_scale():
    """All multiples of 0.01 that two digits can write, by a list of them."""
    positive = {Decimal(m).scaleb(e) for e in range(-2, 4) for m in range(1, 100)}
    every = sorted([Decimal(0), *positive, *(-x for x in positive)])
    low = Decimal("-0.37")
    scale, at = Digits(low, 2, -2), every.index(low)
    for k, number in enumerate(every):
        assert scale.number(k - at) == number and scale.at(number) == k - at
    for below, above in itertools.pairwise(every):
        assert scale.at(below) + Decimal("0.5") == scale.at((below + above) / 2)
        if below >= 0:
            assert scale.step(below) == above - below
    written = [Decimal("1.50"), Decimal("-0.37"), Decimal(90)]
    assert digits_of(low, Decimal(90), written) == Digits(low, 2, -2)


def test_whole_numbers_over_many_powers_of_ten_stay_whole():
    numbers = [int(10**x) for x in np.random.default_rng(0).uniform(0, 18.5, 1500)]
    one = column(numbers, bins=64)
    drawn = one.draw(np.arange(64).repeat(20), np.random.default_rng(0))
    assert one.within.digits == 15 and all(Decimal(text) % 1 == 0 for text in drawn)
    # the density of log-uniform numbers is 1 / x over the log of the range
    mean, texts = float(np.mean(np.log(numbers))), [str(n) for n in numbers]
    found = float(np.log(64) - np.log(law(one, texts)).mean() + one.log_steps(texts).mean())
    assert found == pytest.approx(mean + math.log(18.5 * math.log(10)), abs=0.5)


@pytest.mark.parametrize(
    ("numbers", "digits"),
    [
        (["0.12", "0.5", "100000"], 0),  # even steps do
        (["1e-9", "3e-9", "1e9"], 1),
        (
            [repr(10.0**x) for x in np.linspace(-30, 0, 60).tolist()],
            14,
        ),  # as many as floats can count
        (["0.1", "0.10000000000000002", "75", "0.3"], 0),  # nor would digits tell them apart
        (["1e308", "-1.7e308", "5e-324", "0", "3"], 2),
        (["1e-500", "1e-20", "2e-20", "1e5", "3"], 1),  # floats do not have the first
        (["1", "1000000", "10000000000000000001", "2"], 15),
    ],
)
def test_the_scale_of_a_column(numbers, digits):
    within = column(numbers, bins=3).within
    assert within.digits == digits and within.last <= 2**53
    assert Within(**json.loads(json.dumps(within.spec()))) == within


def test_conditions_on_numbers_of_many_powers_of_ten():
    """p-values: below 1e-10 they are as small as training's are, and none is 0."""
    exponents = np.random.default_rng(0).uniform(-30, 0, 3000)
    one = column([f"{10**x:.3e}" for x in exponents], bins=32)
    table = Table([one], header=True, delimiter=",", width=1)
    for said, low, high in [
        ("n < 1e-10", -30, -10), ("n >= 1e-20", -20, 0), ("n > 1e-20;n < 1e-17", -20, -17)
    ]:  # fmt: skip
        where = said.split(";")
        p = next(iter(conditioned(table, where).weights.values()))
        share = np.bincount(one.encode([f"{10**x:.3e}" for x in exponents]), minlength=32) / 3000
        among = (exponents >= low) & (exponents < high)
        assert float(p[:32] @ share) == pytest.approx(among.mean(), abs=1 / 64)  # half a bin
        bins = np.random.default_rng(1).choice(32, 4000, p=p[:32] * share / (p[:32] @ share))
        drawn = one.draw(bins, np.random.default_rng(2), spans_within(table, where)[0])
        found = np.log10(np.array(drawn, float))
        assert low - 0.001 <= found.min() and found.max() <= high
        assert np.median(found) == pytest.approx(np.median(exponents[among]), abs=0.5)


def test_the_density_of_numbers_of_many_powers_of_ten(tmp_path):
    """The log of a log-uniform number is uniform: its density is what it is, whatever the step."""
    exponents = np.random.default_rng(0).uniform(-12, 12, 4000)
    text = "x,c\n" + "".join(f"{10**x:.3e},a\n" for x in exponents)
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    prepare_table(tmp_path / "t.csv", tmp_path / "d", bins=16, split="0.5,0,0.5", progress=False)
    data = open_data(tmp_path / "d")
    beyond, tokens = data.beyond("test"), np.array(data.tokens("test")).reshape(-1, 2)[:, 0]
    mean = float(np.mean(exponents) * math.log(10))  # of log x, over all rows
    exactly = math.log(24 * math.log(10)) + mean
    found = math.log(16) + beyond.nats + beyond.density
    assert found == pytest.approx(exactly, abs=0.35) and not beyond.notes
    assert len(np.unique(tokens)) == 16


def test_numbers_that_floats_hardly_hold():
    one = column(["1e308", "-1.7e308", "5e-324", "0", "3"], bins=2)
    drawn = one.draw(np.array([0, 1] * 50), np.random.default_rng(0))
    assert (one.encode(drawn) == np.array([0, 1] * 50)).all()
    assert np.isfinite(law(one, ["0", "1e308", "-1.7e308", "12"])).all()
    near = [math.nextafter(1.0, 2.0), 1.0, math.nextafter(1.0, 0.0)]
    one = column([repr(x) for x in near], bins=2)
    assert (one.encode(one.draw(np.array([0, 1, 1]), np.random.default_rng(0))) == [0, 1, 1]).all()


def test_a_law_survives_its_spec():
    one = column(COLUMNS["many zeros"])
    again = Column.from_spec(json.loads(json.dumps(one.spec())))
    assert again.spec() == one.spec()
    texts = ["0", "7", "28", "50", "-3", "1e9"]
    assert (law(again, texts) == law(one, texts)).all()
    spec = one.spec()
    wrongs = {"rows": [0], "bins": [1], "first": [], "count": [[1]], "low": "many"}
    for key, wrong in (wrongs | {"decimals": 10**9, "last": 2**60}).items():
        with pytest.raises(ValueError, match="parts that no law has"):
            Within(**spec["within"] | {key: wrong})
    with pytest.raises(ValueError, match="other bins"):
        Column.from_spec(spec | {"values": ["1"]})
    for wrong in ([], spec["bounds"][1:]):
        with pytest.raises(ValueError, match=f"column 'n' has {len(wrong)} bounds of its bins"):
            Column.from_spec(spec | {"bounds": wrong})


def test_nats_as_written_do_not_depend_on_the_bins(tmp_path):
    """Whole numbers from 0 to 255, each as often: log 256 nats, whatever the bins."""
    random = np.random.default_rng(0)
    text = "n,c\n" + "".join(f"{n},a\n" for n in random.permutation(np.arange(256 * 40) % 256))
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    for bins in (4, 16, 64):
        meta = prepare_table(
            tmp_path / "t.csv", tmp_path / f"d{bins}", bins=bins, split="0.5,0,0.5", progress=False
        )
        data = open_data(tmp_path / f"d{bins}")
        tokens = [np.array(data.tokens(split)).reshape(-1, 2)[:, 0] for split in ("train", "test")]
        shares = np.bincount(tokens[0], minlength=bins + 1) / len(tokens[0])
        bins_alone = -np.log(shares[tokens[1]]).mean()
        within = meta["within"]["test"]
        assert within["nats"][1] == 0 and within["rounded"] == [0, 0]
        # what is learned of 256 numbers from 5,120 rows costs about 255 / (2 * 5120)
        assert bins_alone + within["nats"][0] == pytest.approx(math.log(256), abs=0.05)
        assert data.beyond("test").density == 0


def test_eval_tells_the_nats_of_rows_as_written(tmp_path, capsys):
    random = np.random.default_rng(0)
    rows = [f"{x:.2f},{'ab'[int(x > 0)]}\n" for x in random.normal(0, 1, 600)]
    (tmp_path / "t.csv").write_text("x,c\n" + "".join(rows), encoding="utf-8")
    prepare_table(tmp_path / "t.csv", tmp_path / "d", bins=8, progress=False)
    flags = ["--steps", "3", "--dim", "16", "--layers", "1", "--heads", "2", "--minutes", "0", *CPU]
    where = ["--data", str(tmp_path / "d"), "--out", str(tmp_path / "r")]
    assert main(["train", "table", *where, *flags]) == 0
    out = str(tmp_path / "e.json")
    command = ["eval", str(tmp_path / "r"), "--data", str(tmp_path / "d"), *CPU]
    assert main([*command, "--split", "test", "--json", out]) == 0
    record = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    data = open_data(tmp_path / "d")
    table, within = data.tokenizer, data.meta["within"]["test"]
    source = (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert table.columns[0].within.decimals == 2 and within["values"] == [1.0, 1.0]
    assert record["nats_as_written"] == pytest.approx(
        record["nats_per_example"] + within["nats"][0], rel=1e-12
    )
    assert record["nats_as_density"] == pytest.approx(record["nats_as_written"] + math.log(0.01))
    said = capsys.readouterr().out
    assert "the row as the source writes its numbers" in said
    assert main([*command, "--limit", "4"]) == 0
    assert "said of whole splits, without --limit" in capsys.readouterr().out
    assert len(source) == 600


def test_the_error_of_nats_as_written_holds_that_within_the_bins(tmp_path, capsys):
    """Zeros cost nothing within their bin, and any other number some 13 nats."""
    random = np.random.default_rng(0)
    for name, count in {"t": 600, "u": 200}.items():
        numbers = np.where(random.random(count) < 0.5, 0, random.integers(0, 10**6, count))
        (tmp_path / f"{name}.csv").write_text("\n".join(["n", *map(str, numbers)]) + "\n")
    files = {"validation": tmp_path / "u.csv", "test": tmp_path / "u.csv"}
    prepare_table(tmp_path / "t.csv", tmp_path / "d", bins=2, progress=False, **files)
    flags = ["--steps", "3", "--dim", "16", "--layers", "1", "--heads", "2", "--minutes", "0", *CPU]
    where = ["--data", str(tmp_path / "d"), "--out", str(tmp_path / "r")]
    assert main(["train", "table", *where, *flags]) == 0
    out = tmp_path / "e.json"
    command = ["eval", str(tmp_path / "r"), "--data", where[1], "--json", str(out), *CPU]
    capsys.readouterr()
    assert main(command) == 0
    record, said = json.loads(out.read_text(encoding="utf-8")), capsys.readouterr().out
    each = -np.log(law(open_data(tmp_path / "d").tokenizer.columns[0], list(map(str, numbers))))
    within = each.std(ddof=1) / math.sqrt(200)
    assert record["nats_as_written_stderr"] == pytest.approx(
        record["nats_per_example_stderr"] + within
    )
    assert within > 0.4 and f"+- {within:.3f} within the values' bins" in said
    path = tmp_path / "d" / "meta.json"
    meta = json.loads(path.read_text(encoding="utf-8"))
    del meta["within"]["test"]["stderr"]  # as earlier versions wrote it
    path.write_text(json.dumps(meta), encoding="utf-8")
    assert main(command) == 0
    same, said = json.loads(out.read_text(encoding="utf-8")), capsys.readouterr().out
    assert same["nats_as_written"] == record["nats_as_written"]
    assert same["nats_as_written_stderr"] is None
    assert f"{same['nats_as_written']:.3f} (error not known) nats a row" in said
    assert "of data of an earlier version, prepare them again" in said


def test_data_like_others_may_need_rounding(tmp_path):
    (tmp_path / "t.csv").write_text("n\n" + "".join(f"{i}\n" for i in range(90)), encoding="utf-8")
    # a number of its own in every row, in order, would be an identifier
    prepare_table(tmp_path / "t.csv", tmp_path / "d", bins=8, numbers=["n"], progress=False)
    table = open_data(tmp_path / "d").tokenizer
    (tmp_path / "u.csv").write_text("n\n5\n7.5\n-3\n", encoding="utf-8")
    prepare_table(tmp_path / "u.csv", tmp_path / "e", like=table, split="0,0,1", progress=False)
    data = open_data(tmp_path / "e")
    assert data.meta["within"]["test"]["rounded"] == [1]
    assert data.beyond("test").notes == ["1 numbers count as the nearest step of their column"]


def test_a_law_within_bins_in_the_spelling_of_its_source(tmp_path):
    """Decimal commas and points between thousands, in what is read, drawn and asked for."""
    random = np.random.default_rng(0)
    cents = random.integers(100_000, 999_999, 400)
    texts = [f"{c // 100:,}".replace(",", ".") + f",{c % 100:02}" for c in cents.tolist()]
    (tmp_path / "t.csv").write_text("preis;c\n" + "".join(f"{t};a\n" for t in texts))
    prepare_table(tmp_path / "t.csv", tmp_path / "d", bins=8, progress=False)
    (tmp_path / "u.csv").write_text("preis,c\n" + "".join(f"{c / 100:.2f},a\n" for c in cents))
    prepare_table(tmp_path / "u.csv", tmp_path / "e", bins=8, progress=False)
    ours, plain = (open_data(tmp_path / name) for name in "de")
    one, other = ours.tokenizer.columns[0], plain.tokenizer.columns[0]
    assert one.within.spec() == other.within.spec() and one.bounds == other.bounds
    assert ours.meta["within"] == plain.meta["within"]
    bins = np.arange(len(one.values)).repeat(30)
    drawn = one.draw(bins, np.random.default_rng(1))
    assert (one.encode(drawn) == bins).all()
    as_plain = [text.replace(".", "").replace(",", ".") for text in drawn]
    assert as_plain == other.draw(bins, np.random.default_rng(1))
    with pytest.raises(ValueError, match=r"'5000\.50' is none where ',' is the decimal mark, '\.'"):
        conditioned(ours.tokenizer, ["preis >= 5000.50"])
    where = ["preis >= 5.000,50"], ["preis >= 5000.50"]
    ours, plain = (
        conditioned(data.tokenizer, said).weights for data, said in zip((ours, plain), where)
    )
    assert (ours[0][: len(one.values)] == plain[0][: len(one.values)]).all() and ours[0].any()


def test_a_law_of_an_earlier_version_that_does_not_add_up_to_one_is_told(tmp_path, capsys):
    """Bins of a law that begin one number late or early: no nats of rows as written."""
    lines = "".join(f"{i % 70 / 10},{i % 50},a\n" for i in range(400))
    (tmp_path / "t.csv").write_text("x,y,c\n" + lines)
    prepare_table(tmp_path / "t.csv", tmp_path / "d", bins=4, progress=False)
    x, y, c = open_data(tmp_path / "d").tokenizer.columns
    assert improper([x, y, c]) == ""
    for shift in (-1, 1):
        spec = x.within.spec()
        at = x.within.begins[2] - 1  # the last part of the second bin
        spec["first"][at] += shift
        other = x._replace(within=Within(**spec))
        assert other.misplaced.tolist() == [True, False, False]
        assert "of numbers of 'x' is of an earlier version" in improper([other, y, c])
    flags = ["--steps", "2", "--dim", "16", "--layers", "1", "--heads", "2", "--minutes", "0", *CPU]
    where = ["--data", str(tmp_path / "d"), "--out", str(tmp_path / "r")]
    path = tmp_path / "d" / "meta.json"
    meta = json.loads(path.read_text(encoding="utf-8"))
    meta["tokenizer"]["columns"][0]["within"]["first"][at] += 1
    path.write_text(json.dumps(meta), encoding="utf-8")
    assert main(["train", "table", *where, *flags]) == 0
    capsys.readouterr()
    out = tmp_path / "e.json"
    assert main(["eval", str(tmp_path / "r"), "--data", where[1], "--json", str(out), *CPU]) == 0
    said = capsys.readouterr().out
    assert "not said, since the law of numbers of 'x' is of an earlier version, and does" in said
    record = json.loads(out.read_text(encoding="utf-8"))
    assert "nats_per_example" in record and "nats_as_written" not in record


def test_damaged_nats_within_bins_are_told(tmp_path):
    (tmp_path / "t.csv").write_text("x,c\n" + "".join(f"{i % 70 / 10},a\n" for i in range(200)))
    prepare_table(tmp_path / "t.csv", tmp_path / "d", progress=False)
    path = tmp_path / "d" / "meta.json"
    meta = json.loads(path.read_text(encoding="utf-8"))
    for wrong in ({}, {"test": {"nats": [1.0]}}, {"test": 7}):
        path.write_text(json.dumps(meta | {"within": wrong}), encoding="utf-8")
        with pytest.raises(ValueError, match=r"meta\.json is damaged"):
            open_data(tmp_path / "d").beyond("test")
