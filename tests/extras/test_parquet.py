"""Texts and tables from Parquet files and from folders that `datasets` saved, against the same as
plain files."""

import json
import math
import shutil

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset, DatasetDict
from pyarrow import parquet

from unmask.cli import main
from unmask.data import open_data, prepare_table, prepare_text

TEXTS = [f"the {i} quick brown foxes \u6f22 jump over\nthe lazy dog" for i in range(40)] + ["", "x"]


@pytest.fixture
def sources(tmp_path):
    """The same documents as JSON lines, as Parquet of several row groups, and as saved shards."""
    lines = [json.dumps({"text": text, "n": i}) + "\n" for i, text in enumerate(TEXTS)]
    (tmp_path / "a.jsonl").write_text("".join(lines), encoding="utf-8")
    columns = {"text": TEXTS, "n": list(range(len(TEXTS)))}
    parquet.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=5)
    (tmp_path / "many").mkdir()
    parquet.write_table(pa.table(columns).slice(0, 20), tmp_path / "many" / "0.parquet")
    large = pa.table({"text": pa.array(TEXTS[20:], pa.large_string())})
    parquet.write_table(large, tmp_path / "many" / "1.parquet")
    (tmp_path / "many" / "README.md").write_text("what this is")
    Dataset.from_dict(columns).save_to_disk(tmp_path / "saved", num_shards=3)
    coded = pa.table({"text": pa.array(TEXTS).dictionary_encode()})
    parquet.write_table(coded, tmp_path / "coded.parquet")
    return tmp_path


@pytest.mark.parametrize("name", ["a.parquet", "many", "saved", "coded.parquet"])
@pytest.mark.parametrize("tokenizer", ["bytes", "characters"])
def test_texts_are_those_of_json_lines(sources, name, tokenizer):
    how = {"tokenizer": tokenizer, "split": "0.6,0.2,0.2", "progress": False}
    plain = prepare_text(sources / "a.jsonl", sources / "plain", **how)
    format = "parquet" if name == "many" else "auto"
    meta = prepare_text(sources / name, sources / "out", format=format, **how)
    for key in ("tokens", "document_count", "lengths", "tokenizer", "documents", "sha256"):
        assert meta[key] == plain[key], key
    ours, theirs = open_data(sources / "out"), open_data(sources / "plain")
    for split in theirs.splits:
        np.testing.assert_array_equal(ours.tokens(split), theirs.tokens(split))
        np.testing.assert_array_equal(ours.edges(split), theirs.edges(split))
    assert meta["skipped"]["empty"]["count"] == 1
    if name == "many":
        assert meta["skipped"]["not a Parquet file"]["first"] == ["README.md"]
        assert meta["source"][0]["files"] == 2
    if name == "saved":
        assert meta["source"][0]["files"] == 3


def test_rows_without_a_text_are_refused_or_counted(tmp_path, capsys):
    rows = pa.table({"body": ["a", None, "b"], "n": [1, 2, 3]})
    parquet.write_table(rows, tmp_path / "a.parquet")
    command = ["prepare", "text", str(tmp_path / "a.parquet"), str(tmp_path / "out")]
    more = ["--split", "1,0,0"]
    for flags, said in (
        ([], "there is no column 'text': name one of body, n with --field"),
        (["--field", "n"], "the column 'n' is of type int64, and not of texts"),
        (["--field", "body"], "row 2: the column 'body' is null; or leave such ones out"),
    ):
        assert main([*command, *more, *flags]) == 2
        assert said in capsys.readouterr().err
        assert not (tmp_path / "out").exists()
    assert main([*command, *more, "--field", "body", "--skip-bad"]) == 0
    assert "left out: 1 (the column 'body' is null): a.parquet, row 2" in capsys.readouterr().out
    assert bytes(open_data(tmp_path / "out").tokens("train")) == b"ab"


@pytest.mark.parametrize("categories", [False, True])
def test_a_text_that_is_not_utf_8_is_named_and_left_out(tmp_path, capsys, categories):
    column = pa.array([b"ok", b"caf\xe9", None, b"ja"]).cast(pa.string(), safe=False)
    rows = pa.table({"text": column.dictionary_encode() if categories else column})
    parquet.write_table(rows, tmp_path / "a.parquet")
    source, out = str(tmp_path / "a.parquet"), str(tmp_path / "out")
    command = ["prepare", "text", source, out, "--split", "1,0,0"]
    assert main(command) == 2
    assert "a.parquet, row 2 is not UTF-8: write the file anew" in capsys.readouterr().err
    assert main([*command, "--skip-bad"]) == 0
    assert "left out: 1 (not UTF-8): a.parquet, row 2" in capsys.readouterr().out
    assert bytes(open_data(tmp_path / "out").tokens("train")) == b"okja"
    assert main(["prepare", "tables", source, str(tmp_path / "table")]) == 2
    assert "a.parquet: column 'text' holds bytes that are not UTF-8" in capsys.readouterr().err


def test_what_is_damaged_or_of_several_splits_is_refused(sources, capsys):
    def fails(name, said, *flags):
        capsys.readouterr()
        assert main(["prepare", "text", str(sources / name), str(sources / "out"), *flags]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1, err

    whole = (sources / "a.parquet").read_bytes()
    (sources / "cut.parquet").write_bytes(whole[: len(whole) // 2])
    fails("cut.parquet", "is a Parquet file that cannot be read")
    fails("a.jsonl", "is not a Parquet file", "--format", "parquet")
    (shard, *_) = (sources / "saved").glob("*.arrow")
    content = shard.read_bytes()
    shard.write_bytes(content[: len(content) // 2])
    fails("saved", "is an Arrow file that cannot be read")
    shard.unlink()
    fails("saved", f"{shard.name!r} is missing")
    state = sources / "saved" / "state.json"
    state.write_text('{"_data_files": [{"filename": "../many/0.parquet"}]}')
    fails("saved", "'../many/0.parquet' is missing")
    state.write_text('{"_data_files": 3}')
    fails("saved", "expected a list")
    one = Dataset.from_dict({"text": ["a", "b"]})
    DatasetDict({"train": one, "test": one}).save_to_disk(sources / "dict")
    fails("dict", "several splits (test, train)")
    (sources / "many" / "README.md").unlink()
    fails("many", "or read those of Parquet with --format parquet")


def test_a_split_of_a_saved_data_set_is_named(sources):
    parts = {"train": TEXTS[:30], "test": TEXTS[30:40]}
    sets = {name: Dataset.from_dict({"text": texts}) for name, texts in parts.items()}
    DatasetDict(sets).save_to_disk(sources / "dict")
    flags = ["--test", str(sources / "dict" / "test")]
    command = ["prepare", "text", str(sources / "dict" / "train"), str(sources / "out")]
    assert main([*command, *flags]) == 0
    data = open_data(sources / "out")
    for name, texts in parts.items():
        assert bytes(data.tokens(name)) == "".join(texts).encode()


COLUMNS = {
    "age": [20 + i % 7 for i in range(60)],
    "score": [None if i % 9 == 0 else i / 8 for i in range(60)],
    "zip": [f"{10 + i % 4}" for i in range(60)],  # texts that look like numbers
    "job": ["a, b" if i % 3 else 'say "no"' for i in range(60)],
    "member": [i % 2 == 0 for i in range(60)],
}


@pytest.mark.parametrize("name", ["t.parquet", "saved"])
def test_tables_are_those_of_the_same_csv(tmp_path, name):
    import pandas

    frame = pandas.DataFrame(COLUMNS)
    frame.to_csv(tmp_path / "t.csv", index=False)
    parquet.write_table(pa.table(COLUMNS), tmp_path / "t.parquet", row_group_size=7)
    Dataset.from_dict(COLUMNS).save_to_disk(tmp_path / "saved", num_shards=2)
    how = {"bins": 8, "split": "40,10,10", "progress": False}
    plain = prepare_table(tmp_path / "t.csv", tmp_path / "plain", categories=["zip"], **how)
    meta = prepare_table(tmp_path / name, tmp_path / "out", **how)
    for key in ("tokenizer", "rows", "missing", "within", "sha256"):
        assert meta[key] == plain[key], key
    assert meta["cells_without_value"] == 7


def columns_in(folder, columns, **how):
    """Those of a Parquet file, as they are prepared."""
    parquet.write_table(pa.table(columns), folder / "t.parquet")
    how = {"split": "1,0,0", "progress": False} | how
    prepare_table(folder / "t.parquet", folder / "out", **how)
    return open_data(folder / "out").tokenizer.columns


@pytest.mark.parametrize("type", ["float16", "float32"])
def test_short_floats_are_spelled_as_short_ones(tmp_path, type):
    values = np.array([0.1, 0.7, 2.5], type)
    given = [*values, None] * 9
    coded = pa.array(np.tile(values, 12)).dictionary_encode()
    column, of_codes = columns_in(tmp_path, {"a": pa.array(given, type), "b": coded})
    assert column.values == of_codes.values == ("0.1", "0.7", "2.5") and column.missing
    if type == "float32":
        Dataset(pa.table({"a": pa.array(given, type)})).save_to_disk(tmp_path / "saved")
        prepare_table(tmp_path / "saved", tmp_path / "d", split="1,0,0", progress=False)
        assert open_data(tmp_path / "d").tokenizer.columns[0] == column


STRINGS = {
    "a mark": (["10115", "10117", "?"] * 20, ("10115", "10117"), True),
    "a word": ([*["10115", "10117", "10119"] * 20, "NA"], ("10115", "10117", "10119"), True),
    "an odd text": ([*["10115", "10117"] * 30, "none"], ("10115", "10117", "none"), False),
    "decimal commas": (["1,5", "2,5"] * 30, ("1,5", "2,5"), False),
    "blanks": (["12 345", "67 890"] * 30, ("12 345", "67 890"), False),
    "several spellings": (["1,5", "2.5"] * 30, ("1,5", "2.5"), False),
}


@pytest.mark.parametrize("texts, values, missing", STRINGS.values(), ids=list(STRINGS))
def test_strings_that_look_like_numbers_are_categories(tmp_path, texts, values, missing):
    (column,) = columns_in(tmp_path, {"a": texts})
    assert column.bounds is None and column.values == values and column.missing == missing
    words = [*(f"w{i}" for i in range(57)), "1", "2", "3"]
    (tmp_path / "w").mkdir()
    with pytest.raises(ValueError, match="'a' has 60 different values in 60 rows"):
        columns_in(tmp_path / "w", {"a": words})
    tickets = [*(str(1000 + i) for i in range(80)), *(f"A/5 {i}" for i in range(20))]
    (tmp_path / "t").mkdir()
    with pytest.raises(ValueError, match="'a' has 100 different values in 100 rows"):
        columns_in(tmp_path / "t", {"a": tickets})


def test_strings_of_digits_that_name_rows_are_no_categories(tmp_path):
    by_step = [str(100000 + 7 * k) for k in range(80)]
    others = [str(100000 + 7 * k * k) for k in range(80)]
    for name in ("step", "dropped", "kept", "numbers"):
        (tmp_path / name).mkdir()
    (column,) = columns_in(tmp_path / "step", {"id": by_step, "x": ["a", "b"] * 40})
    assert column.name == "x"
    assert open_data(tmp_path / "step" / "out").meta["identifiers"] == ["id"]
    rows = {"id": others, "x": ["a", "b"] * 40}
    with pytest.raises(ValueError, match="'id' has 80 different values in 80 rows.*--categories"):
        columns_in(tmp_path, rows)
    (column,) = columns_in(tmp_path / "dropped", rows, drop=["id"])
    assert column.name == "x"
    column, _ = columns_in(tmp_path / "kept", rows, categories=["id"])
    assert column.bounds is None and len(column.values) == 80
    column, _ = columns_in(tmp_path / "numbers", rows, numbers=["id"])
    assert column.bounds is not None


@pytest.mark.parametrize("name", ["a ", "\ta", "a\0"])
def test_names_that_a_table_cannot_keep(tmp_path, name):
    for folder in ("like", "others"):
        (tmp_path / folder).mkdir()
    columns = {name: [1, 2] * 20, "b": ["x", "y"] * 20}
    with pytest.raises(ValueError, match=r"t\.parquet has a column .*: rename it, since names"):
        columns_in(tmp_path, columns)
    assert not (tmp_path / "out").exists()
    columns_in(tmp_path / "like", {"b": ["x", "y"] * 20})
    like = open_data(tmp_path / "like" / "out").tokenizer  # of which that column is none
    (column,) = columns_in(tmp_path / "others", columns, like=like)
    assert column.name == "b"


def test_columns_that_others_left_out_are_not_read(tmp_path):
    rows = {"n": [1, 2] * 20, "c": ["x", "y"] * 20}
    odd = {"tags": [[1], []] * 20, "far": [math.inf] * 40, "raw": [b"x"] * 40}
    for name in ("like", "other"):
        (tmp_path / name).mkdir()
    old = columns_in(tmp_path / "like", rows | odd, drop=list(odd))
    like = open_data(tmp_path / "like" / "out").tokenizer
    assert columns_in(tmp_path / "other", rows | odd, like=like) == old


@pytest.mark.parametrize("how", ["drop", "like"])
def test_rows_go_by_a_group_that_is_left_out(tmp_path, how):
    who = {"who": [None if i % 5 == 4 else i // 10 for i in range(400)]}
    rows = {"n": [i // 10 for i in range(400)], "c": ["x", "y"] * 200}
    for name in ("like", "other"):
        (tmp_path / name).mkdir()
    columns_in(tmp_path / "like", rows)
    like = open_data(tmp_path / "like" / "out").tokenizer
    own = {"drop": ["who"]} if how == "drop" else {"like": like}
    columns_in(tmp_path / "other", who | rows, group="who", split="0.5,0.25,0.25", **own)
    data = open_data(tmp_path / "other" / "out")
    assert data.tokenizer.names == ["n", "c"]
    groups = [
        len(np.unique(np.fromfile(data.folder / f"{split}.groups.bin", "<i8")))
        for split in data.splits
    ]
    assert sum(groups) == 40 + 80  # the rows without one are by themselves


def test_a_text_with_a_zero_byte_is_refused_by_its_file_and_column(tmp_path):
    said = r"t\.parquet: column 'a' has the text 'y\\x00', with a zero byte"
    with pytest.raises(ValueError, match=said):
        columns_in(tmp_path, {"a": ["x", "y\0"] * 20, "b": ["x", "y"] * 20})


def test_numbers_are_themselves_beside_others_of_any_spelling(tmp_path):
    rows = [f"{'abcde'[i % 5]};{('1.234,56', '7,5', '1.125', '0,25')[i % 4]}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["c;n", *rows]) + "\n")
    prepare_table(tmp_path / "t.csv", tmp_path / "like", progress=False)
    like = open_data(tmp_path / "like").tokenizer
    assert like.columns[1].values == ("0,25", "7,5", "1.125", "1.234,56")
    columns_in(tmp_path, {"n": [1.125, 1234.5, 7.5, 1125, None], "c": list("abcde")},
               like=like, unseen="unknown")  # fmt: skip
    data = open_data(tmp_path / "out")
    found = data.tokenizer.decode(data.tokens("train").reshape(-1, data.length))
    assert dict(found) == {"a": "0,25", "b": "1.234,56", "c": "7,5", "d": "1.125", "e": ""}


def test_tables_that_do_not_do_are_refused(tmp_path, capsys):
    rows = pa.table(COLUMNS | {"list": [[i] for i in range(60)]})
    parquet.write_table(rows, tmp_path / "t.parquet")
    command = ["prepare", "tables", str(tmp_path / "t.parquet"), str(tmp_path / "out")]
    for flags, said in (
        ([], "column 'list' holds values of type list: leave it out with --drop"),
        (["--header", "no"], "is not a CSV file, and header are about such"),
    ):
        assert main([*command, *flags]) == 2
        assert said in capsys.readouterr().err
    assert main([*command, "--drop", "list"]) == 0
    twice = pa.table([[1, 2], [3, 4]], names=["a", "a"])
    parquet.write_table(twice, tmp_path / "twice.parquet")
    assert main(["prepare", "tables", str(tmp_path / "twice.parquet"), str(tmp_path / "x")]) == 2
    assert "has two columns 'a'" in capsys.readouterr().err


def test_infinite_numbers_and_nan_in_a_table(tmp_path):
    column = [1.0, float("nan")] * 20
    parquet.write_table(pa.table({"a": column, "b": ["x", "y"] * 20}), tmp_path / "t.parquet")
    meta = prepare_table(tmp_path / "t.parquet", tmp_path / "out", progress=False)
    assert meta["missing"] == {"a": {"": 20}}
    parquet.write_table(pa.table({"a": [1.0, float("inf")] * 20}), tmp_path / "i.parquet")
    with pytest.raises(ValueError, match="infinite"):
        prepare_table(tmp_path / "i.parquet", tmp_path / "no", progress=False)
    shutil.rmtree(tmp_path / "out")


def test_columns_without_names_beside_those_with_names_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("red,x\nblue,y\nred,y\n" * 20)
    parquet.write_table(pa.table({"a": ["red"], "b": ["x"]}), tmp_path / "v.parquet")
    said = r"v\.parquet names its columns, and .*t\.csv was read without names"
    with pytest.raises(ValueError, match=said):
        prepare_table(
            tmp_path / "t.csv", tmp_path / "d", validation=tmp_path / "v.parquet", progress=False
        )
    assert not (tmp_path / "d").exists()


def test_columns_like_those_of_a_file_without_names_are_refused(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("1,x\n2,y\n" * 30)
    rows = pa.table({"a": [1, 2] * 20, "b": ["x", "y"] * 20})
    parquet.write_table(rows, tmp_path / "t.parquet")
    prepare_table(tmp_path / "t.csv", tmp_path / "like", header="no", progress=False)
    command = ["prepare", "tables", str(tmp_path / "t.parquet"), str(tmp_path / "out")]
    assert main([*command, "--like", str(tmp_path / "like"), "--unseen", "unknown"]) == 2
    assert "were read without names" in capsys.readouterr().err
    prepare_table(tmp_path / "t.parquet", tmp_path / "named", progress=False)
    assert main([*command, "--like", str(tmp_path / "named")]) == 0
    assert open_data(tmp_path / "out").meta["rows"] == open_data(tmp_path / "named").meta["rows"]
