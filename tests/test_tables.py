"""Tables: CSV files as they come, columns as alphabets, cells without a value, and the verbs."""

import csv
import gzip
import html
import io
import itertools
import json
import math
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import unmask
import unmask.cli.demo
from unmask.audit import exact_nelbo
from unmask.backbones import Transformer
from unmask.cli import main
from unmask.config import TrainConfig
from unmask.data import Table, open_data, prepare_table
from unmask.filling import Filler
from unmask.kinds.baselines import position_bits
from unmask.kinds.folder import cut_by_digest
from unmask.kinds.output import check_out, csv_text
from unmask.kinds.registry import presets
from unmask.kinds.tables.columns import Column
from unmask.kinds.tables.data import TableData
from unmask.kinds.tables.fitted import equal_parts, number_column
from unmask.kinds.tables.flags import names_in
from unmask.kinds.tables.holes import describe_guess, guess, partials
from unmask.kinds.tables.numbers import are_numbers
from unmask.likelihood import estimate_nelbo
from unmask.roles import SCORED, UNKNOWN
from unmask.train import State, build, train_step

ADULT = Path(unmask.__file__).parent / "kinds" / "tables" / "bundled" / "adult.csv.gz"
CPU = ["--device", "cpu", "--dtype", "float32", "--threads", "1"]
SMALL = [
    "--dim",
    "16",
    "--layers",
    "1",
    "--heads",
    "2",
    "--batch-size",
    "16",
    "--minutes",
    "0",
    "--steps",
    "4",
    "--eval-minutes",
    "0",
]
CONFIG = TrainConfig(
    length=0,
    dim=16,
    layers=1,
    heads=2,
    batch_size=16,
    steps=4,
    warmup=2,
    eval_minutes=0,
    dtype="float32",
    device="cpu",
)


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def read(path):
    """The rows of a CSV file, the first among them."""
    return list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))


def prepared(folder, text, **how):
    """The data of a CSV file with this text."""
    prepare_table(
        write(folder / "t.csv", text), folder / "data", progress=False, **{"split": "1,0,0"} | how
    )
    return open_data(folder / "data")


def rows_of(data, split="train"):
    return data.tokenizer.decode(np.asarray(data.tokens(split)).reshape(-1, data.length))


@pytest.fixture(scope="module")
def adult(tmp_path_factory):
    """1,500 rows of the bundled census, with its missing cells, as a file; and the rows, read here
    without the package."""
    folder = tmp_path_factory.mktemp("adult")
    with gzip.open(ADULT, "rt") as file:
        rows = list(csv.reader(file))[:1501]
    with open(folder / "adult.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    prepare_table(folder / "adult.csv", folder / "data", split="0.8,0.1,0.1", progress=False)
    return folder, rows


@pytest.fixture(scope="module")
def home(adult):
    flags = ["--data", str(adult[0] / "data"), "--out", str(adult[0] / "run")]
    assert main(["train", "table", *flags, *SMALL, *CPU]) == 0
    return adult[0]


def random_model(data, **more):
    """A network of random weights, in 64 bits."""
    model = build(
        replace(CONFIG, length=data.length, **more),
        data.vocab_size,
        {"data": data.meta, "length": data.length},
    )
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.4, generator=generator)
    return model.double().eval()


# ---------------------------------------------------------------- columns


@given(
    st.dictionaries(st.integers(-50, 50).map(str), st.integers(1, 30), min_size=1),
    st.integers(2, 12),
)
def test_bins_are_numbers_of_the_column_that_read_back_as_themselves(counts, bins):
    column = number_column("n", 0, counts, bins)
    assert 1 <= len(column.values) <= bins and set(column.values) <= set(counts)
    assert (column.encode(column.values) == np.arange(len(column.values))).all()
    found = column.encode(sorted(counts, key=float))
    # in order, and no bin empty
    assert (np.diff(found) >= 0).all() and set(found) == set(range(len(column.values)))
    if len(counts) <= bins:
        assert [column.values[i] for i in column.encode(list(counts))] == list(counts)
    assert column.encode(["-1000", "1000", "x", ""]).tolist() == [0, len(column.values) - 1, -1, -1]


def test_bins_hold_about_as_many_rows_each():
    assert equal_parts([1] * 100, 4) == [(0, 25), (25, 50), (50, 75), (75, 100)]
    # what most rows have stays alone, the others share the rest
    assert equal_parts([90, *[1] * 10], 3) == [(0, 1), (1, 6), (6, 11)]
    column = number_column("n", 0, {str(i): 1 for i in range(1000)}, 10)
    assert np.bincount(column.encode([str(i) for i in range(1000)])).tolist() == [100] * 10
    assert column.values[0] == "49" and column.bounds[0] == 99.5
    assert column.encode(["99.4", "99.5", "-5"]).tolist() == [0, 1, 0]  # a bin begins at its bound


def test_bins_are_made_of_the_training_rows(tmp_path):
    data = prepared(
        tmp_path,
        "n,name\n" + "".join(f"{i},{i}\n" for i in range(200)),
        split="0.5,0.25,0.25",
        numbers=["n"],
        categories=["name"],
        bins=7,
    )
    number = data.tokenizer.columns[0]
    again = number_column("n", 0, {name: 1 for _, name in rows_of(data)}, 7)
    assert number.spec() == again.spec()


def test_rows_that_say_the_same_go_to_one_split(tmp_path):
    """Whatever dropped columns hold, and however numbers and missing cells are spelled."""
    rows = [
        f"{i},{('1', '1.0', '1e0')[i % 3]},{('', '?', 'NaN')[i % 3]},{i % 16}" for i in range(400)
    ]
    how = {"split": "0.5,0.25,0.25", "drop": ["id"], "together": True}
    data = prepared(tmp_path, "id,a,b,c\n" + "\n".join(rows), **how)
    assert [len({tuple(row) for row in rows_of(data, s)}) for s in data.splits] == [8, 4, 4]


def test_missing_cells_are_empty_ones_and_those_that_are_named(tmp_path):
    data = prepared(tmp_path, "a,b\n1,x\n,y\n3,?\n-9,z\n", missing=["-9"])
    assert [c.values for c in data.tokenizer.columns] == [("1", "3"), ("?", "x", "y", "z")]


def test_a_file_of_one_column(tmp_path):
    data = prepared(tmp_path, 'a\n1\n""\n2\n\n', validation=write(tmp_path / "v.csv", 'a\n""\n2\n'))
    # a missing cell is a fact: its row is one like the others
    assert sorted(rows_of(data)) == [[""], ["1"], ["2"]] and data.meta["empty_rows"] == 0
    unknown = tmp_path / "unknown"
    unknown.mkdir()
    how = {"validation": tmp_path / "v.csv", "missing_is": "unknown"}
    data = prepared(unknown, 'a\n1\n""\n2\n\n', **how)
    assert sorted(rows_of(data)) == [["1"], ["2"]] and data.meta["empty_rows"] == 2


def test_what_is_written_can_be_read(tmp_path):
    data = prepared(tmp_path, 'n,said\n1,"x\ry"\n2,"p\r\nq"\n', header="yes")
    again = write(tmp_path / "again.csv", data.tokenizer.write(rows_of(data)))
    prepare_table(again, tmp_path / "again", like=data.tokenizer, split="1,0,0", progress=False)
    assert sorted(rows_of(open_data(tmp_path / "again"))) == [["1", "x\ry"], ["2", "p\r\nq"]]
    prepare_table(
        write(tmp_path / "w.csv", "1;x;7\n2;y;8\n"),
        tmp_path / "w",
        split="1,0,0",
        drop=["column2"],
        progress=False,
    )
    # a header-less source of three columns, of which samples have two
    table = open_data(tmp_path / "w").tokenizer
    prepare_table(
        write(tmp_path / "s.csv", table.write([["1", "8"]])),
        tmp_path / "s",
        like=table,
        split="1,0,0",
        progress=False,
    )
    assert rows_of(open_data(tmp_path / "s")) == [["1", "8"]]


def test_cells_with_carriage_returns_are_read_back():
    rows = [["a", "b\rc"], ["d\r\ne", "\r"], ["f,g", ""]]
    read_again = csv.reader(io.StringIO(csv_text(rows), newline=""), strict=True)
    assert list(read_again) == rows


def test_equal_examples_go_to_one_split():
    digests = np.array([3, 1, 3, 7, 3, 3, 1, 3, 7, 3], np.uint64)
    parts = cut_by_digest(digests, (0.4, 0.4, 0.2), "rows")
    assert {name: digests[rows].tolist() for name, rows in parts.items()} == {
        "train": [1, 1],
        "validation": [3] * 6,
        "test": [7, 7],
    }


def test_a_bin_is_written_as_the_source_spells_it():
    assert number_column("n", 0, {"1e308": 1, "-1.7e308": 1}, 2).encode(
        ["1e308", "-1e308"]
    ).tolist() == [1, 0]
    assert number_column("n", 0, {"1.50": 3, "1.5": 1, "2": 1}, 2).values == ("1.50", "2")
    assert number_column("n", 0, {"9007199254740993": 1, "1e3": 2, ".5": 1}, 8).values == (
        ".5",
        "1e3",
        "9007199254740993",
    )


@pytest.mark.parametrize(
    "texts, numbers",
    [
        (["1", "-2.5", "+.5", "1e-3"], True),
        (["0", "0.5", "10"], True),
        (["01", "10"], False),
        (["1", "x"], False),
        (["1,5"], False),
        (["inf"], False),
        (["1e999"], False),
        (["1_0"], False),
        (["\u0661"], False),
    ],
)
def test_what_is_a_column_of_numbers(texts, numbers):
    assert are_numbers(texts) == numbers


def test_every_column_has_its_own_tokens_and_no_others(adult):
    table = open_data(adult[0] / "data").tokenizer
    assert (table.allowed.sum(0) == 1).all()
    found, expected, spelled = table.allowed.sum(1).tolist(), [], []
    for c in table.columns:  # a column with missing cells has two places
        expected += [2] * c.missing + [len(c.values) + c.missing]
        spelled += [f"{c.name}=present"] * c.missing + [f"{c.name}={c.values[0]}"]
    assert found == expected and sum(c.missing for c in table.columns) == 3
    tokens = [int(row.argmax()) for row in table.allowed]
    assert [table.spell(i) for i in tokens] == spelled
    assert Table.from_spec(json.loads(json.dumps(table.spec()))).spec() == table.spec()


# ---------------------------------------------------------------- files


def test_what_is_known_of_numbers_is_where_they_lie_among_each_other(tmp_path):
    """Of bins, and of values that are few and all numbers, by their size; of names nothing."""
    ages = np.random.default_rng(0).integers(18, 90, 600)
    lines = [
        f"{age},{1 + i % 12},{('red', 'green', 'blue')[i % 3]},{'' if i % 5 else 10 * i % 7}"
        for i, age in enumerate(ages)
    ]
    data = prepared(
        tmp_path, "age,month,color,hours\n" + "\n".join(lines), bins=20, categories=["month"]
    )
    table = data.tokenizer
    traits, at = table.traits, dict(zip(table.place_names, table.first, strict=False))
    months, most = table.columns[1].values, len(table.columns[0].values)
    assert list(months) != sorted(months, key=int)  # they are listed as texts
    assert traits.known.shape == (3, most, 16) and most == 20
    row = np.full(table.vocab_size, -1)
    for group, (name, values, waves) in enumerate((
        ("age", table.columns[0].values, 16),
        ("month", months, 11),
        ("hours", table.columns[3].values, len(table.columns[3].values) - 1),
    )):  # fmt: skip
        row[at[name] : at[name] + len(values)] = group * most + np.arange(len(values))
        own = traits.known[group]
        assert not own[len(values) :].any() and not own[:, waves:].any()
        own = own[: len(values), :waves]
        # the first falls as the numbers rise, all are of variance 1 and no sum of others
        assert (np.argsort(-own[:, 0]) == np.argsort([float(v) for v in values])).all()
        np.testing.assert_allclose(own.T @ own, len(values) * np.eye(waves), atol=1e-4)
    assert (traits.row == row).all()  # of names nothing, and nothing of a missing cell
    meta, config = {"length": 4, "data": data.meta}, replace(CONFIG, traits=True)
    model = build(config, data.vocab_size, meta)
    model.save_pretrained(tmp_path / "model", data.tokenizer.files())
    again = unmask.MaskedDiffusion.from_pretrained(tmp_path / "model").backbone.traits
    np.testing.assert_array_equal(again.known, traits.known)
    np.testing.assert_array_equal(again.row, traits.row)
    assert build(CONFIG, data.vocab_size, meta).backbone.traits is None
    with pytest.raises(ValueError, match="digits 2 have no traits.*--no-traits"):
        replace(config, digits=2).check()
    codes = Column("zip", 0, ("01", "02", "10"), None)
    assert codes.rank is None  # codes, and no numbers
    equal = Column("grade", 0, ("1", "3", "1.0", "2"), None)
    assert equal.rank.tolist() == [0, 2, 0, 1]
    many = [Column("id", 0, tuple(map(str, range(1, n + 1))), None).rank for n in (256, 257)]
    assert many[0].tolist() == list(range(256)) and many[1] is None
    (tmp_path / "b").mkdir()
    names = prepared(tmp_path / "b", "a,b\n" + "x,y\ny,z\nz,x\n" * 50)
    assert names.tokenizer.traits is None


def test_rows_come_back_as_they_were(adult):
    folder, rows = adult
    data = open_data(folder / "data")
    assert data.tokenizer.names == rows[0] and data.tokenizer.header
    numbers = [c.bounds is not None for c in data.tokenizer.columns]
    assert [n for n, is_number in zip(rows[0], numbers) if is_number] == [
        "age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week",
    ]  # fmt: skip
    expected = [
        tuple("" if cell == "?" else cell for cell, number in zip(row, numbers) if not number)
        for row in rows[1:]
    ]
    found = [
        tuple(cell for cell, number in zip(row, numbers) if not number)
        for s in data.splits
        for row in rows_of(data, s)
    ]
    assert sorted(found) == sorted(expected) and any("" in row for row in expected)
    for c, column in enumerate(data.tokenizer.columns):
        if numbers[c]:  # what a cell is written as lies in the bin that the cell lies in
            shown = sorted(row[c] for s in data.splits for row in rows_of(data, s))
            assert shown == sorted(
                column.values[i] for i in column.encode([row[c] for row in rows[1:]])
            )


def test_a_split_of_equal_rows_depends_on_the_rows_and_not_on_their_order(adult, tmp_path):
    folder, rows = adult
    again = [rows[0], *rows[:0:-1], *rows[1:200]]  # in another order, and some of them twice
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file).writerows(again)
    prepare_table(
        tmp_path / "t.csv",
        tmp_path / "data",
        split="0.8,0.1,0.1",
        progress=False,
        drop=["fnlwgt"],
        bins=10_000,
        together=True,
    )
    prepare_table(
        folder / "adult.csv",
        tmp_path / "once",
        split="0.8,0.1,0.1",
        progress=False,
        drop=["fnlwgt"],
        bins=10_000,
        together=True,
    )
    data, once = open_data(tmp_path / "data"), open_data(tmp_path / "once")
    parts = [{tuple(row) for row in rows_of(data, s)} for s in data.splits]
    assert sum(map(len, parts)) > 1000
    moved = sum(
        len({tuple(r) for r in rows_of(once, s)} - part) for s, part in zip(once.splits, parts)
    )
    assert moved < 40  # those between the cuts, which repetition has moved
    prepare_table(
        tmp_path / "t.csv",
        tmp_path / "all",
        split="0.8,0.1,0.1",
        progress=False,
        bins=10_000,
        together=True,
    )
    whole = [{tuple(row) for row in rows_of(open_data(tmp_path / "all"), s)} for s in data.splits]
    # equal rows are on one side
    assert not (whole[0] & whole[1] or whole[0] & whole[2] or whole[1] & whole[2])


def test_rows_are_drawn_for_the_splits_or_go_by_groups(tmp_path):
    """Two equal rows are two draws, so no combination vanishes from training; a patient's rows
    stay together if that is asked for."""
    text = "who,x\n" + "".join(f"p{i % 40},{i % 2}\n" for i in range(800))
    for name in ("a", "b", "c", "d"):
        (tmp_path / name).mkdir()
    data = prepared(tmp_path / "a", text, split="0.5,0.25,0.25")
    assert [data.meta["rows"][s] for s in data.splits] == [400, 200, 200]
    assert all({tuple(r) for r in rows_of(data, s)} for s in data.splits)
    for s in data.splits:
        assert len({who for who, _ in rows_of(data, s)}) > 36  # of 40, with 5 rows each or more
    again = prepared(tmp_path / "b", text, split="0.5,0.25,0.25", seed=1)
    assert again.meta["sha256"] != data.meta["sha256"]
    grouped = prepared(tmp_path / "c", text, split="0.5,0.25,0.25", group="who", drop=["who"])
    assert [grouped.meta["rows"][s] for s in grouped.splits] == [400, 200, 200]
    with pytest.raises(ValueError, match="no column 'whom'"):
        prepared(tmp_path / "d", text, group="whom")
    with pytest.raises(ValueError, match="choose one"):
        prepared(tmp_path / "d", text, group="who", together=True)


def test_rows_without_a_group_are_draws_of_their_own(tmp_path):
    """What is missing is no value that rows could share."""
    rows = [f"p{i % 40},{i % 2}" for i in range(600)] + [",1", "NA,0"] * 100
    text = "\n".join(["who,x", *rows, ""])
    data = prepared(tmp_path, text, split="0.5,0.25,0.25", group="who")
    for split in data.splits:
        numbers = np.fromfile(data.folder / f"{split}.groups.bin", "<i8")
        who = [who for who, _ in rows_of(data, split)]
        lost = [number for number, one in zip(numbers, who, strict=True) if not one]
        assert 20 < len(lost) == len(set(lost))
        assert len(set(numbers)) == len(lost) + len({*who} - {""})


@pytest.mark.parametrize("header", ["yes", "no"])
def test_rows_like_others_go_by_a_group_that_those_left_out(tmp_path, header):
    rows = "".join(f"p{i % 40},{i % 40 // 2},{'ab'[i % 2]}\n" for i in range(800))
    names = {"yes": ["who", "x", "c"], "no": ["column1", "column2", "column3"]}[header]
    text = rows if header == "no" else ",".join(names) + "\n" + rows
    how = {"split": "0.5,0.25,0.25", "group": names[0]}
    for name in ("old", "new", "wrong"):
        (tmp_path / name).mkdir()
    old = prepared(tmp_path / "old", text, header=header, drop=[names[0]], **how)
    new = prepared(tmp_path / "new", text, like=old.tokenizer, **how)
    assert new.meta["sha256"] == old.meta["sha256"] and new.meta["groups"] == old.meta["groups"]
    with pytest.raises(ValueError, match="no column 'whom'"):
        prepared(tmp_path / "wrong", text, like=old.tokenizer, group="whom")


def test_errors_are_over_what_is_drawn_together(tmp_path):
    """Rows of one patient are one draw: with equal rows each, none but the first tells more."""
    text = "who,x\n" + "".join(f"p{i % 40},{(i % 40) ** 2 / 10:.1f}\n" for i in range(800))
    for name in ("rows", "group", "together"):
        (tmp_path / name).mkdir()
    data = prepared(tmp_path / "rows", text, bins=4)
    grouped = prepared(tmp_path / "group", text, bins=4, group="who")
    assert "group" not in next(data.windows("train", 2, 800))
    batch = next(grouped.windows("train", 2, 800, limit=500))
    who = batch["x"][:, 0]
    assert torch.equal(batch["group"][:, None] == batch["group"], who[:, None] == who)
    # of 40 groups of 20 equal rows, exactly
    of_rows, of_groups = (one.meta["within"]["train"]["stderr"] for one in (data, grouped))
    assert of_groups / of_rows == pytest.approx(math.sqrt(799 / 39), rel=1e-9)
    together = prepared(tmp_path / "together", text, bins=4, together=True, split="0.5,0.25,0.25")
    assert together.describe_groups(20, 400) == "over 20 different rows"
    run, record = tmp_path / "run", tmp_path / "e.json"
    where = ["--data", str(tmp_path / "group" / "data")]
    assert main(["train", "table", *where, "--out", str(run), *SMALL, "--steps", "2"]) == 0
    command = ["eval", str(run), *where, "--split", "train", "--repeats", "2"]
    assert main([*command, "--json", str(record)]) == 0
    found = json.loads(record.read_text(encoding="utf-8"))
    assert found["error_over"] == "over 40 groups by 'who'" and found["n"] == 800
    # groups change the error, not what the data are
    assert set(grouped.meta["sha256"]) == {"train.bin", "validation.bin", "test.bin"}
    for of, alike in ((grouped, "rows of one 'who'"), (together, "equal rows")):
        older = {name: value for name, value in of.meta.items() if name != "groups"}
        said = TableData(of.folder, older).describe_groups(800, 800)
        assert said.startswith(f"over 800 examples, as if {alike} were independent: prepare")
    numbers = grouped.folder / "train.groups.bin"
    with pytest.raises(ValueError, match="train.groups.bin is a file of prepared data"):
        check_out(str(numbers))
    numbers.write_bytes(bytes(len(numbers.read_bytes())))
    with pytest.raises(ValueError, match="train.groups.bin was changed after it was prepared"):
        next(open_data(grouped.folder).windows("train", 2, 8))


def test_small_tables_have_some_rows_of_each_split(tmp_path):
    rows = "a,b\n" + "".join(f"{'xyz'[i % 3]},{i}\n" for i in range(10))
    data = prepared(tmp_path, rows, split="0.9,0.05,0.05")
    assert data.meta["rows"] == {"train": 8, "validation": 1, "test": 1}


FORMS = {
    "comma": "a,b\n1,x\n2,y\n",
    "semicolon": "a;b\n1;x\n2;y\n",
    "tab": "a\tb\n1\tx\n2\ty\n",
    "blanks": " a , b \n\n 1 , x \n2,  y\n",
    "quotes": '"a",b\n"1","x"\n"2",  "y"\n',
    "windows": "a,b\r\n1,x\r\n2,y\r\n",
    "no last newline": "a,b\n1,x\n2,y",
    "mark": "\ufeffa,b\n1,x\n2,y\n",
    "spreadsheet": "sep=;\na;b\n1;x\n2;y\n",
    "tabs on a blank line": " \t\na,b\n1,x\n2,y\n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=list(FORMS))
def test_forms_of_one_file(tmp_path, text):
    data = prepared(tmp_path, text)
    assert data.tokenizer.names == ["a", "b"] and sorted(rows_of(data)) == [["1", "x"], ["2", "y"]]


def test_other_encodings_and_packed_files(tmp_path):
    text = "a,b\n1,é\n2,ß\n"
    for i, (name, encoding) in enumerate(
        [("utf-8", ""), ("utf-16", ""), ("latin-1", "latin-1"), ("utf-8-sig", "utf-8")]
    ):
        prepare_table(
            write(tmp_path / f"{i}.csv", text, name),
            tmp_path / f"d{i}",
            split="1,0,0",
            progress=False,
            encoding=encoding,
        )
        assert sorted(rows_of(open_data(tmp_path / f"d{i}"))) == [["1", "é"], ["2", "ß"]]
    (tmp_path / "p.csv.gz").write_bytes(gzip.compress(text.encode()))
    prepare_table(tmp_path / "p.csv.gz", tmp_path / "p", split="1,0,0", progress=False)
    assert sorted(rows_of(open_data(tmp_path / "p"))) == [["1", "é"], ["2", "ß"]]


def test_quoted_cells_hold_delimiters_quotes_and_newlines(tmp_path):
    data = prepared(tmp_path, 'n,said\n1,"a, ""b""\nc"\n2,plain\n')
    assert sorted(rows_of(data)) == [["1", 'a, "b"\nc'], ["2", "plain"]]
    again = write(tmp_path / "again.csv", data.tokenizer.write(rows_of(data)))
    assert read(again)[0] == ["n", "said"]
    assert sorted(read(again))[0] == ["1", 'a, "b"\nc']


@pytest.mark.parametrize(
    "text, header",
    [
        ("age,job\n39,clerk\n40,cook\n", True),
        ("39,clerk\n40,cook\n", False),
        ("clerk,cook\nbaker,clerk\nclerk,baker\n", False),  # "clerk" is a value of its column
        ("x,x\ny,z\n", False),
        ("x,\ny,z\n", False),
        # as pandas writes its index; above numbers there is a word
        (",age,job\n0,39,clerk\n1,40,age\n", True),
        ("age,job\n39,clerk\n?,age\n", True),
        ("colour,size\nred,big\nblue,small\n", True),
    ],
)
def test_what_is_a_header(tmp_path, text, header):
    data = prepared(tmp_path, text)
    assert data.tokenizer.header == header
    assert data.meta["rows"]["train"] == text.count("\n") - header
    if not header:
        assert data.tokenizer.names[0] == "column1"
    elif text.startswith(","):
        assert data.tokenizer.names == ["age", "job"] and data.meta["identifiers"] == ["column1"]


def test_columns_that_are_constant_or_have_no_values(tmp_path):
    data = prepared(tmp_path, "a,b,c,d\n1,x,,7\n2,x,?,7\n3,x,NaN,\n,,n/a,\n")
    # a row without any value is a row
    assert data.meta["rows"]["train"] == 4 and data.meta["empty_rows"] == 0
    assert [len(c.values) for c in data.tokenizer.columns] == [3, 1, 0, 1]
    assert sorted(rows_of(data)) == [
        ["", "", "", ""], ["1", "x", "", "7"], ["2", "x", "", "7"], ["3", "x", "", ""],
    ]  # fmt: skip
    assert data.meta["cells_without_value"] == 8
    assert data.meta["missing"]["c"] == {"": 1, "?": 1, "NaN": 1, "n/a": 1}
    # of what is always missing nobody need say so
    assert data.tokenizer.place_names[2:5] == ["b (present or missing)", "b", "c"]
    model = random_model(data)
    x = next(data.windows("train", data.length, 8))
    assert set(x) == {"x"}
    bound = estimate_nelbo(
        model, [x], repeats=64, by_position=[p.column for p in data.tokenizer.places]
    )
    assert bound.by_position.shape == (4, 2) and bound.by_position[2, 0] == 0  # one value: certain
    drawn = data.tokenizer.decode(unmask.sample(model, num=20, length=data.length, steps=3).numpy())
    assert {row[1] for row in drawn} == {"x", ""} and {row[2] for row in drawn} == {""}


def test_columns_can_be_named_and_dropped(tmp_path):
    text = "id,zip,n\n" + "".join(f"p{i},{10 + i % 3},{i % 5}\n" for i in range(100))
    data = prepared(tmp_path, text, drop=["id"], categories=["zip"], numbers=["n"], bins=2)
    assert [(c.name, len(c.values), c.bounds is None) for c in data.tokenizer.columns] == [
        ("zip", 3, True),
        ("n", 2, False),
    ]


BAD = {
    "a row with too many cells": (
        "a,b\n1,2\n1,2,3\n",
        {},
        r"t\.csv, line 3: 3 cells, and the first row has 2: '1,2,3'",
    ),
    "a row too wide after empty lines": ("\n \na,b\n1,2,3\n", {}, r"t\.csv, line 4: 3 cells"),
    "a row with too few": ("a,b\n1,2\n\n1\n", {}, r"t\.csv, line 4: 1 cells"),
    "an open quote": ('a,b\n1,"2\n3,4\n', {}, r"t\.csv, line 3: a quote is not closed"),
    "text after a quote": ('a,b\n1,"2"3\n', {}, r"t\.csv, line 2: "),
    "nothing": ("\n \n", {}, r"t\.csv is empty"),
    "a header alone": ("a,b\n", {"header": "yes"}, r"t\.csv has no rows"),
    "two columns of one name": (
        "a,a\n1,2\n",
        {"header": "yes"},
        r"line 1: the header has 'a' more than once",
    ),
    "two columns of one name above numbers": (
        "\na,a\n1,2\n",
        {},
        r"line 2: the header has 'a' more than once",
    ),
    "a word among numbers": (
        "a\n" + "7\n" * 30 + "x\n",
        {},
        r"t\.csv, line 32: 'x' in column 'a', most of whose .* --missing",
    ),
    "utf-16 by another name": ("a\0,b\n1,2\n", {}, r"t\.csv has zero bytes"),
    "old line ends": ("a,b\r1,2\r3,4", {}, r"t\.csv, line 1: lines end in a carriage return alone"),
    "a codec that is not of text": (
        "a,b\n1,2\n",
        {"encoding": "rot13"},
        r"encoding 'rot13' is none",
    ),
    "a name for every row": (
        "a,b\n" + "".join(f"x{i},1\n" for i in range(200)),
        {},
        r"column 'a' has 200 different values in 200 rows",
    ),
    "no such column": (
        "age,b\n1,2\n",
        {"drop": ["agee"]},
        r"no column 'agee' .*did you mean 'age'",
    ),
    "a column named twice": (
        "a,b\n1,2\n",
        {"drop": ["a"], "numbers": ["a"]},
        r"'a' is named twice",
    ),
    "no columns left": ("a\n1\n2\n", {"drop": ["a"]}, r"no columns left"),
    "numbers that are none": (
        "a,b\n1,2\n\nx,2\n",
        {"numbers": ["a"]},
        r"t\.csv, line 4: 'x' in column 'a' is not a number",
    ),
    "only empty rows": (
        "a,b\n,\n?,\n",
        {"header": "yes"},
        r"rows of the train split are all empty",
    ),
    "a delimiter of two letters": (
        "a,b\n1,2\n",
        {"delimiter": ",,"},
        r"delimiter ',,' must be auto or one character",
    ),
    "unseen without like": (
        "a,b\n1,2\n",
        {"unseen": "missing"},
        r"unseen 'missing' is about columns of other data",
    ),
    "one bin": ("a,b\n1,2\n", {"bins": 1}, r"bins 1: "),
    "an encoding that is none": (
        "a,b\n1,2\n",
        {"encoding": "latin-7b"},
        r"encoding 'latin-7b' is none",
    ),
    "too few rows for the split": (
        "a,b\n1,2\n",
        {"split": "0.5,0.25,0.25"},
        r"split, 0\.[0-9]+ of 1 rows, comes out empty",
    ),
}


@pytest.mark.parametrize("text, how, said", BAD.values(), ids=list(BAD))
def test_bad_files_are_one_sentence_and_leave_nothing(tmp_path, text, how, said):
    with pytest.raises(ValueError, match=said):
        prepared(tmp_path, text, **how)
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_bytes_that_do_not_decode(tmp_path):
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,\xe9\n")
    with pytest.raises(
        ValueError, match=r"t\.csv, line 2: b'\\xe9\\n' is not utf-8 text: .*--encoding"
    ):
        prepare_table(tmp_path / "t.csv", tmp_path / "data", progress=False)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"a,b\n1,2\n" * 1000)[:-20])
    with pytest.raises(ValueError, match=r"t\.csv\.gz is truncated or damaged"):
        prepare_table(tmp_path / "t.csv.gz", tmp_path / "data", progress=False)


def test_the_columns_of_other_data_and_what_they_do_not_know(adult, tmp_path):
    table = open_data(adult[0] / "data").tokenizer
    header = [*reversed(table.names), "more"]
    row = dict(zip(table.names, adult[1][1])) | {"age": "200", "more": "x"}
    good = write(tmp_path / "good.csv", table.write([[row[n] for n in header]], header))
    prepare_table(good, tmp_path / "good", like=table, split="0,0,1", progress=False)
    data = open_data(tmp_path / "good")
    # the outermost bin
    assert (
        data.meta["tokenizer"] == table.spec()
        and rows_of(data, "test")[0][0] == table.columns[0].values[-1]
    )
    bad = write(
        tmp_path / "bad.csv", table.write([[(row | {"sex": "Femal"})[n] for n in header]], header)
    )
    said = r"'Femal' in column 'sex' is none of its 2 categories \(did you mean 'Female'\?\)"
    with pytest.raises(ValueError, match=rf"bad\.csv, line 2: {said}"):
        prepare_table(bad, tmp_path / "bad", like=table, split="0,0,1", progress=False)
    with pytest.raises(ValueError, match="line 2: column 'sex' is missing, and never is"):
        prepare_table(
            bad, tmp_path / "bad", like=table, split="0,0,1", progress=False, unseen="missing"
        )
    prepare_table(
        bad, tmp_path / "bad", like=table, split="0,0,1", progress=False, unseen="unknown"
    )
    found = open_data(tmp_path / "bad")
    assert rows_of(found, "test")[0][table.names.index("sex")] == ""
    role = next(found.windows("test", found.length, 8))["role"][0]
    assert (role == UNKNOWN).nonzero().tolist() == [[table.value_at[table.names.index("sex")]]]
    lost = write(tmp_path / "lost.csv", "age,sex\n1,Male\n")
    with pytest.raises(
        ValueError, match=r"lost\.csv: its first line has no column 'workclass' and 12 more"
    ):
        prepare_table(lost, tmp_path / "lost", like=table, progress=False)
    for setting in ({"drop": ["age"]}, {"bins": 5}, {"missing": ["-9"]}, {"header": "no"}):
        with pytest.raises(ValueError, match=f"leave out {next(iter(setting))}"):
            prepare_table(good, tmp_path / "x", like=table, progress=False, **setting)
    twice = write(
        tmp_path / "twice.csv", table.write([[row[n] for n in header] + ["x"]], [*header, "age"])
    )
    with pytest.raises(
        ValueError, match=r"twice\.csv, line 1: the header has 'age' more than once"
    ):
        prepare_table(twice, tmp_path / "x", like=table, progress=False)


def test_files_of_their_own_for_the_splits(tmp_path):
    parts = {"train": "a,b\n1,x\n5,y\n", "valid": "b,a\nz,9\n", "test": "a,b\n0,x\n"}
    files = {name: write(tmp_path / f"{name}.csv", text) for name, text in parts.items()}
    prepare_table(
        files["train"],
        tmp_path / "d",
        validation=files["valid"],
        test=files["test"],
        progress=False,
    )
    data = open_data(tmp_path / "d")
    # categories of all files, bins of the training rows
    assert data.tokenizer.columns[1].values == ("x", "y", "z")
    assert [rows_of(data, s) for s in ("train", "validation", "test")] == [
        [["1", "x"], ["5", "y"]],
        [["5", "z"]],
        [["1", "x"]],
    ]


def test_damaged_folders(adult, tmp_path):
    prepare_table(adult[0] / "adult.csv", tmp_path / "d", progress=False)
    (tmp_path / "d" / "test.bin").write_bytes(b"12")
    with pytest.raises(ValueError, match=r"test\.bin has 2 bytes, expected"):
        open_data(tmp_path / "d")
    meta = json.loads((tmp_path / "d" / "meta.json").read_text(encoding="utf-8"))
    del meta["tokenizer"]["columns"]
    (tmp_path / "d" / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match="damaged"):
        open_data(tmp_path / "d")
    with pytest.raises(ValueError, match="holds a table, whose classes are a column"):
        open_data(adult[0] / "data", labels=True)


# ---------------------------------------------------------------- the model


def test_a_value_that_nobody_knows_is_neither_seen_nor_scored(tmp_path, capsys):
    """The other reading of a missing cell: hidden in training as in use, and not paid for."""
    text = "a,b,c\n1,x,u\n2,y,v\n3,z,\n"
    data = prepared(tmp_path, text, missing_is="unknown")
    model, batch = random_model(data), next(data.windows("train", 3, 8))
    hole = batch["role"] == UNKNOWN
    assert hole.sum() == 1 and data.length == 3
    b = int(hole.any(1).nonzero())
    x, role = batch["x"][b : b + 1], batch["role"][b : b + 1]
    alone = exact_nelbo(model, x, role=role)
    for value in (0, int(data.tokenizer.first[2]), int(data.tokenizer.first[2]) + 1):
        other = x.masked_fill(hole[b], value)
        assert torch.equal(exact_nelbo(model, other, role=role), alone)
    clean = model.clean(x, role=role)
    z = model.masked(clean, torch.tensor([[True, False, False]]))
    # just as the cell is hidden from which sampling starts
    assert z.tolist() == [[model.mask_id, int(x[0, 1]), model.mask_id]] and not clean.told
    terms = model(x, role=role, generator=torch.Generator().manual_seed(0))
    assert terms.loss.item() == pytest.approx(terms.nelbo.item() / 2)  # per cell with a value
    flags = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "gen")]
    more = ["--schedule", "learned", "--time", "--focus", "0"]
    assert main(["train", "table", *flags, *SMALL, *CPU, *more]) == 2
    assert "hides places whose values are not known" in capsys.readouterr().err


def test_other_columns_values_are_impossible(adult):
    data = open_data(adult[0] / "data")
    model = random_model(data)
    x = next(data.windows("test", data.length, 32))["x"]
    p = model.predict(torch.full_like(x, model.mask_id)).exp()
    allowed = torch.from_numpy(data.tokenizer.allowed)
    assert (p[:, ~allowed] == 0).all() and torch.allclose(p.sum(-1), torch.ones(()).double())
    drawn = unmask.sample(
        model, num=64, length=data.length, steps=20, generator=torch.Generator().manual_seed(0)
    )
    assert allowed[torch.arange(data.length), drawn].all()


def test_columns_have_no_order():
    network = Transformer(7, dim=16, layers=2, heads=2, places=4).eval()
    torch.nn.init.normal_(network.head.weight)
    z, order = torch.tensor([[0, 5, 7, 3]]), torch.tensor([2, 0, 3, 1])
    before = network(z)
    # but each has its own embedding,
    assert not torch.allclose(network(z[:, order])[0], before[0, order], atol=1e-5)
    network.place.weight.data = network.place.weight.data[order]
    assert torch.allclose(network(z[:, order])[0], before[0, order], atol=1e-5)  # which goes along
    with pytest.raises(ValueError, match="4 places, not 3"):
        network(z[:, :3])


@pytest.mark.parametrize("reading", ["missing", "unknown"])
def test_nats_by_column_against_enumeration(tmp_path, reading):
    data = prepared(tmp_path, "a,b,c\n1,x,u\n2,y,v\n3,z,w\n4,x,\n", missing_is=reading)
    model, batch = random_model(data), next(data.windows("train", data.length, 8))
    x = batch["x"]
    role = batch.get("role", torch.full_like(x, SCORED, dtype=torch.int8))
    column = [place.column for place in data.tokenizer.places]
    exact = torch.zeros(len(x), 3, dtype=torch.float64)
    for row in range(len(x)):
        clean = model.clean(x[row : row + 1], role=role[row : row + 1])
        there = (role[row] == SCORED).nonzero()[:, 0].tolist()
        # k masked places, uniform; which ones, uniform; each pays n / k times its cross-entropy
        for k in range(1, len(there) + 1):
            subsets = list(itertools.combinations(there, k))
            for subset in subsets:
                masked = torch.zeros(1, data.length, dtype=torch.bool)
                masked[0, list(subset)] = True
                logp = model.predict(model.masked(clean, masked))[0].detach()
                for s in subset:
                    exact[row, column[s]] -= float(logp[s, x[row, s]]) / (k * len(subsets))
    assert torch.allclose(exact.sum(1), exact_nelbo(model, x, role=role))
    many = {"x": x.repeat(500, 1), "role": role.repeat(500, 1)}
    found = estimate_nelbo(model, [many], repeats=8, by_position=column)
    assert float(found.by_position[:, 0].sum()) == pytest.approx(found.mean)
    assert ((found.by_position[:, 0] - exact.mean(0)).abs() < 5 * found.by_position[:, 1]).all()
    assert (found.by_position[:, 1] < 0.1 * exact.mean(0)).all()
    assert estimate_nelbo(model, [many], repeats=1).by_position is None


@pytest.mark.parametrize("time", [False, True])
def test_guesses_are_the_law_of_each_missing_cell_given_the_others(adult, time):
    data = open_data(adult[0] / "data")
    table, model = data.tokenizer, random_model(data, time=time)
    tokens = np.array(data.tokens("test")).reshape(-1, data.length)[:7].astype(np.int64)
    hidden = np.isin(np.arange(data.length), table.value_at[::4])
    tokens[2] = np.where(hidden, data.vocab_size, tokens[2])
    tokens[5] = np.where(np.arange(data.length) < 4, data.vocab_size, tokens[5])
    hole = tokens == data.vocab_size
    filler = Filler(model, batch_size=2)
    laws = filler.laws(partials(tokens, hole, data.vocab_size))
    found = [one for one in (guess(table, *law) for law in laws) if one is not None]
    at = [(row, int(table.value_at[column])) for row, column, *_ in found]
    # the law of a value's place says whether there is one, too
    values = np.isin(np.arange(data.length), table.value_at)
    assert at == [tuple(i) for i in np.argwhere(hole & values)]
    for one in found:
        share = torch.tensor(hole[one.row].mean())
        z = filler.rows(partials(tokens[[one.row]], hole[[one.row]], data.vocab_size)).z
        place = int(table.value_at[one.column])
        p = model.predict(z, share)[0, place].exp()
        low, high = table.first[place : place + 2]
        assert torch.allclose(
            p[low:high], torch.from_numpy(one.probability)
        ) and one.probability.sum() == pytest.approx(1)
        if table.columns[one.column].bounds is None:
            assert one.token == low + int(p[low:high].argmax())
        else:
            below, upto = p[low : one.token].sum(), p[low : one.token + 1].sum()
            assert below <= 0.5 <= upto  # no number of these rows is missing
        listed = describe_guess(table, one)
        assert [float(p) for *_, p in listed] == sorted(
            (float(p) for *_, p in listed), reverse=True
        )
        assert listed[0][:2] == [str(one.row + 1), table.names[one.column]]


@pytest.mark.parametrize(
    "change",
    [
        {"digits": 2},
        {"schedule": "learned", "time": True},
        {"digits": 2, "masking": "token"},
        {"time": True},
    ],
)
def test_tables_with_the_other_dials(adult, change):
    data = open_data(adult[0] / "data")
    config = replace(CONFIG, length=data.length, **change)
    state = State(
        build(config, data.vocab_size, {"data": data.meta, "length": data.length}), config
    )
    for _ in range(2):
        assert state.model.backbone.config["places"] == data.length
        loss, norm, cells = train_step(config, data, state)
        assert 0 < loss < 6 and norm > 0 and cells == 16 * data.length  # all places are scored
    drawn = unmask.sample(state.model, num=8, length=data.length, steps=10)
    assert torch.from_numpy(data.tokenizer.allowed)[torch.arange(data.length), drawn].all()


def test_a_histogram_of_every_column_by_hand():
    train, test = np.array([[0, 3], [1, 5], [1, 4]]), np.array([[1, 5], [0, 4]])  # 5 is no value
    allowed = np.array([[True, True, False, False, False], [False, False, True, True, True]])
    expected = -(math.log2(3 / 5) + math.log2(2 / 5) + math.log2(2 / 5)) / 3
    assert position_bits(train, test, 5, allowed) == pytest.approx(expected)


# ---------------------------------------------------------------- the verbs


def test_prepare_says_how_it_read_the_columns(adult, tmp_path, capsys):
    record = tmp_path / "r.json"
    flags = ["--drop", "fnlwgt,race", "--categories", "education-num", "--bins", "8"]
    more = ["--json", str(record)]
    arguments = [*flags, *more]
    command = ["prepare", "tables", str(adult[0] / "adult.csv"), str(tmp_path / "d"), *arguments]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert (
        "the first row names the columns" in said
        and re.search(r"1,3.. train, .. validation, .. test rows of 13 columns", said)
        and re.search(r"native-country +categories +3. +[0-9]+ \? ", said)
    )
    assert re.search(r"age +numbers +[67]. in 8 bins .* --categories\n", said)
    assert re.search(r"education-num +categories +16 .* --numbers\n", said)
    assert re.search(r"race +dropped +left out +White +--drop\n", said)
    assert sum(json.loads(record.read_text(encoding="utf-8"))["rows"].values()) == 1500
    assert main(["prepare", "tables", str(adult[0] / "adult.csv"), str(tmp_path / "d")]) == 2
    assert "exists already" in capsys.readouterr().err


def test_eval_tells_nats_by_row_and_by_column(home, tmp_path, capsys):
    record = tmp_path / "r.json"
    flags = ["--data", str(home / "data"), "--repeats", "2", "--json", str(record)]
    assert main(["eval", str(home / "run"), *flags, *CPU]) == 0
    said, made = capsys.readouterr().out, json.loads(record.read_text(encoding="utf-8"))
    assert (
        "bits per place: an upper bound" in said
        and "nats a row" in said
        and re.search(r"\+- [0-9.]+ of them in education\n", said)
    )
    assert sum(nats for nats, _ in made["nats_by_column"].values()) == pytest.approx(
        made["nats_per_example"]
    )
    places = 18 * made["n"]  # three columns have two
    assert made["positions"] == places and made["unit"] == "bits per place"
    assert made["value"] == pytest.approx(made["nats_per_example"] / 18 / math.log(2))
    assert "270 places in" not in said and "3 of them say whether a cell has a value" in said


def test_synthetic_rows_are_a_table_of_the_same_kind(home, tmp_path, capsys):
    out = tmp_path / "s.csv"
    command = ["sample", str(home / "run"), "--num", "50", "--steps", "16", "--out", str(out), *CPU]
    assert main(command) == 0
    rows = read(out)
    table = open_data(home / "data").tokenizer
    assert rows[0] == table.names and len(rows) == 51
    assert all(
        (column.missing if not cell else column.encode([cell])[0] >= 0)
        for row in rows[1:]
        for cell, column in zip(row, table.columns)
    )
    flags = ["--like", str(home / "run"), "--split", "0,0,1"]
    assert main(["prepare", "tables", str(out), str(tmp_path / "again"), *flags]) == 0
    # numbers are kept by their bins, which are called by their medians
    medians = [
        [column.values[column.encode([cell])[0]] if cell else "" for cell, column in pairs]
        for pairs in (zip(row, table.columns) for row in rows[1:])
    ]
    assert sorted(rows_of(open_data(tmp_path / "again"), "test")) == sorted(medians)
    command = ["eval", str(home / "run"), "--data", str(tmp_path / "again"), "--repeats", "1", *CPU]
    assert main(command) == 0
    capsys.readouterr()
    drawn = set()
    for seed in ("3", "-1", "-2"):
        command = ["sample", str(home / "run"), "--num", "2", "--steps", "4", "--seed", seed, *CPU]
        assert main(command) == 0
        drawn.add(capsys.readouterr().out)
    assert len(drawn) == 3 and all(one.startswith("age,workclass") for one in drawn)


def holed(adult, path):
    rows = [list(row) for row in adult[1][:30]]
    for i, row in enumerate(rows):
        row[:0] = [f"n{i}" if i else "note"]  # a column that the model does not know
        if i:
            row[1 + (i - 1) % 15] = ("", "?", "NaN")[i % 3]
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return rows


def test_fill_changes_missing_cells_and_nothing_else(home, adult, tmp_path, capsys):
    rows, out = holed(adult, tmp_path / "in.csv"), tmp_path / "out.csv"
    command = ["fill", str(home / "run"), str(tmp_path / "in.csv"), "--steps", "16", *CPU]
    flags = ["--out", str(out), "--num", "2", "--probabilities", str(tmp_path / "p.csv")]
    flags += ["--seed", "-1"]
    assert main([*command, *flags]) == 0
    table = open_data(home / "data").tokenizer
    for name in ("out-1.csv", "out-2.csv"):
        found = read(tmp_path / name)
        assert found[0] == rows[0] and len(found) == len(rows)
        for before, after in zip(rows[1:], found[1:]):
            for c, (old, new) in enumerate(zip(before, after)):
                if not table.is_missing(old):
                    assert new == old
                    continue
                assert table.columns[c - 1].encode([new])[0] >= 0
    assert (tmp_path / "out-1.csv").read_text(encoding="utf-8") != (
        tmp_path / "out-2.csv"
    ).read_text(encoding="utf-8")
    listed = read(tmp_path / "p.csv")
    assert listed[0] == ["row", "column", "value", "probability"]
    assert {(int(r), c) for r, c, *_ in listed[1:]} >= {
        (i + 1, table.names[i % 15]) for i in range(29)
    }
    total = sum(float(p) for r, c, _, p in listed[1:] if (r, c) == ("1", "age"))
    assert 0.97 < total < 1.002
    assert main([*command, "--best", "--out", str(out)]) == 0
    best = read(out)
    robot = write(
        tmp_path / "robot.csv",
        (tmp_path / "in.csv").read_text(encoding="utf-8").replace("Female", "Robot"),
    )
    assert main([*command[:2], str(robot), "--unseen", "missing", "--out", str(out), *CPU]) == 0
    # what is given stays
    assert (
        out.read_text(encoding="utf-8").count("Robot")
        == robot.read_text(encoding="utf-8").count("Robot")
        > 0
    )
    first = next(v for r, c, v, _ in listed[1:] if (r, c) == ("2", "workclass"))
    assert best[2][2] == first  # the most probable category
    capsys.readouterr()


def test_fill_of_files_without_names(tmp_path, capsys):
    write(tmp_path / "t.csv", "1;x\n2;y\n" * 30)
    flags = ["--split", "1,0,0"]
    assert main(["prepare", "tables", str(tmp_path / "t.csv"), str(tmp_path / "d"), *flags]) == 0
    flags = ["--data", str(tmp_path / "d"), "--out", str(tmp_path / "run")]
    assert main(["train", "table", *flags, *SMALL, *CPU]) == 0
    write(tmp_path / "in.csv", "1;\n;y\n")
    flags = ["--out", str(tmp_path / "o.csv")]
    assert main(["fill", str(tmp_path / "run"), str(tmp_path / "in.csv"), *flags, *CPU]) == 0
    assert re.fullmatch(r"1;[xy]\n[12];y\n", (tmp_path / "o.csv").read_text(encoding="utf-8"))
    flags = ["--num", "3", "--out", str(tmp_path / "s.csv")]
    assert main(["sample", str(tmp_path / "run"), *flags, *CPU]) == 0
    assert re.fullmatch(r"([12];[xy]\n){3}", (tmp_path / "s.csv").read_text(encoding="utf-8"))
    write(tmp_path / "wide.csv", "1;;2\n")
    assert main(["fill", str(tmp_path / "run"), str(tmp_path / "wide.csv"), *CPU]) == 2
    assert "has 3 columns, expected 2" in capsys.readouterr().err


def test_a_row_appears_cell_by_cell(home, tmp_path, capsys):
    frames, made = tmp_path / "f.html", tmp_path / "s.csv"
    flags = ["--num", "1", "--steps", "8", "--frames", str(frames), "--out", str(made)]
    assert main(["sample", str(home / "run"), *flags, *CPU]) == 0
    page = frames.read_text(encoding="utf-8")
    names, row = csv.reader(made.read_text(encoding="utf-8").splitlines())
    assert all(f">{name}</th>" in page for name in names)
    # a number is drawn within its bin when it is written
    assert all(f">{html.escape(cell)}" in page for cell in row if not cell.isdecimal())
    assert "shown as the bin's median" in html.unescape(page)


def test_what_does_not_fit_a_model_of_a_table_is_refused(
    home, adult, tmp_path, capsys, monkeypatch, data
):
    monkeypatch.chdir(tmp_path)
    holed(adult, tmp_path / "in.csv")
    write(
        tmp_path / "full.csv",
        open_data(home / "data").tokenizer.write([r for r in adult[1][1:30] if "?" not in r]),
    )
    write(
        tmp_path / "bad.csv",
        (tmp_path / "in.csv").read_text(encoding="utf-8").replace("Female", "Robot"),
    )
    twice = ("--out", "x.csv", "--probabilities", "x.csv")
    run = str(home / "run")
    cases = {
        ("fill", "in.csv", "--num", "2", "--best"): "--best has one answer",
        ("fill", "in.csv", "--out", "in.csv"): "would overwrite the input",
        ("fill", "in.csv", "--window"): "--window is not for a table",
        ("fill", "in.csv", "--mask", "x.png"): "--mask is not for a table",
        ("fill", "full.csv"): "has no missing cell",
        ("fill", "in.csv", *twice): "is to hold two results",
        ("fill", "bad.csv"): "'Robot' in column 'sex' is none of its 2 categories",
        ("fill", "nowhere.csv"): "there is no file nowhere.csv",
        ("sample", "--length", "7"): "--length 7: an example of this model's data has 18 values",
        ("sample", "--frames", "f.png"): "must end in .html",
        ("sample", "--batch-size", "-1"): "--batch-size must not be negative",
        ("eval", "--data", str(data)): "and the model was trained on a table of 15 columns",
    }
    for (verb, *rest), said in cases.items():
        assert main([verb, run, *rest, *CPU]) == 2, (verb, rest)
        assert said in capsys.readouterr().err
    prepare_table(adult[0] / "adult.csv", tmp_path / "other", bins=5, progress=False)
    assert main(["eval", run, "--data", "other", *CPU]) == 2
    assert "--like" in capsys.readouterr().err
    assert main(["prepare", "tables", "in.csv", "x", "--like", str(data)]) == 2
    assert "is no folder of a prepared table" in capsys.readouterr().err
    assert main(["prepare", "text", "in.csv", "x", "--tokenizer", run]) == 2
    assert "is of tables, which no text can be written in" in capsys.readouterr().err
    assert main(["train", "mnist", "--data", str(home / "data"), "--out", "r"]) == 2
    assert "for pictures" in capsys.readouterr().err
    assert not (tmp_path / "in-filled.csv").exists()


def test_audit_and_schedule_of_a_table(home, adult, tmp_path, capsys):
    command = ["audit", str(home / "run"), "--data", str(home / "data"), "--limit", "8", *CPU]
    assert main(command) == 0
    assert "all " in capsys.readouterr().out
    more = ["--schedule", "learned", "--time", "--focus", "0"]
    flags = ["--data", str(home / "data"), "--out", str(tmp_path / "gen")]
    assert main(["train", "table", *flags, *SMALL, *CPU, *more]) == 0
    flags = ["--data", str(home / "data"), "--limit", "16", "--repeats", "2", "--num", "3"]
    arguments = [*flags, *CPU]
    assert main(["schedule", str(tmp_path / "gen"), *arguments]) == 0
    assert re.search(r"(age|workclass|education|race|sex|income)[a-z-]*=", capsys.readouterr().out)
    holed(adult, tmp_path / "in.csv")
    flags = ["--best", "--out", str(tmp_path / "o.csv")]
    assert main(["fill", str(tmp_path / "gen"), str(tmp_path / "in.csv"), *flags, *CPU]) == 2
    assert "draw values instead" in capsys.readouterr().err


def test_the_demo_of_a_table_from_start_to_report(tmp_path, capsys, monkeypatch):
    """With a smaller network."""
    small = presets()["table"]
    small = replace(small, config=replace(small.config, dim=32, layers=1, heads=2))
    monkeypatch.setattr(unmask.cli.demo, "presets", lambda: {"table": small})
    out, record = tmp_path / "demo", tmp_path / "d.json"
    flags = ["--data", "table", "--out", str(out), "--minutes", "0.05", "--json", str(record)]
    assert main(["demo", *flags, *CPU[:4]]) == 0
    said, made, page = (
        capsys.readouterr().out,
        json.loads(record.read_text(encoding="utf-8")),
        (out / "report.html").read_text(encoding="utf-8"),
    )
    assert page.count('src="data:image/png;base64,') == 2 and "Samples beside people" in page
    assert page.count("<table><thead>") >= 5 and '<th scope="col">workclass</th>' in page
    assert re.search(r'<i class="none">missing</i> <small>[\d.]+ %</small>', page)
    assert "Missing cells" in page and f"{made['accuracy']:.1%} right" in said
    assert 0.7 < made["most_frequent"] < 0.8 and made["predicted"] == "income"
    assert "missing rates" in said and "how good are the samples?" in said
    assert "missing rates" in (out / "quality.html").read_text(encoding="utf-8")
    assert len(read(out / "samples.csv")) == 2001
    assert (
        f"{made['value']:.3f} +- " in said
        and f"{made['value']:.3f} ± " in page
        and "hidden in a held-out row: education" in said
    )
    assert (
        made["n"] == open_data(out / "data").meta["rows"]["test"]
        and made["baselines"]["every column by itself"] > 1
    )


def test_whole_numbers_that_name_rows_are_told_apart_or_said(tmp_path, capsys):
    """40 whole numbers beyond 2^53 are 40 categories, if that is asked for; numbers that all differ
    without being all between two are named."""
    ids = [f"{2**53 + i},{i % 7}" for i in range(40)]
    (tmp_path / "big.csv").write_text("\n".join(["id,x", *ids]) + "\n")
    flags = [str(tmp_path / "big.csv"), str(tmp_path / "big"), "--categories", "id"]
    assert main(["prepare", "tables", *flags]) == 0
    table = open_data(tmp_path / "big").tokenizer
    assert table.columns[0].bounds is None and len(table.columns[0].values) == 40
    assert table.columns[1].bounds is not None
    rows = [f"{2**60 + i % 199},{i * i}" for i in range(200)]
    (tmp_path / "many.csv").write_text("\n".join(['id,"n, 1"', *rows]) + "\n")
    assert main(["prepare", "tables", str(tmp_path / "many.csv"), str(tmp_path / "many")]) == 2
    said = capsys.readouterr().err
    assert "column 'id' has 199 different values in 200 rows" in said
    assert "keep it with --numbers or --categories" in said
    flags = [str(tmp_path / "many.csv"), str(tmp_path / "many"), "--drop", "id"]
    assert main(["prepare", "tables", *flags]) == 0
    said = capsys.readouterr().out
    assert "column 'n, 1' has a whole number of its own in every row" in said
    assert names_in(shlex.split(said.rpartition("--drop")[2])[0]) == ["n, 1"]
    assert open_data(tmp_path / "many").meta["running_numbers"] == ["n, 1"]
