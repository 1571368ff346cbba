"""How tables are written: what is between cells, which row has names, how numbers are spelled, and
which columns only name rows.  What may be two things is asked for."""

import csv
import io
import itertools
import json
import random
import re
import shlex

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_missing_cells import Flags, Silent

from unmask.cli import main
from unmask.data import Table, open_data, prepare_table
from unmask.kinds.registry import kind_of
from unmask.kinds.tables.csv_source import read_cells
from unmask.kinds.tables.filled import read_columns
from unmask.kinds.tables.flags import parts_in
from unmask.kinds.tables.kind import marks_of
from unmask.kinds.tables.numbers import PLAIN, SPELLINGS, Marks, Spelling, parse_number, parse_whole
from unmask.kinds.tables.quality.sides import read_sides

CPU = ["--device", "cpu", "--dtype", "float32", "--threads", "1"]
SMALL = [
    "--dim", "16", "--layers", "1", "--heads", "2", "--batch-size", "16", "--minutes", "0",
    "--steps", "4", "--eval-minutes", "0",
]  # fmt: skip


def write(path, text):
    path.write_bytes(text.encode())
    return path


def prepared(folder, text, **how):
    source, out = write(folder / "t.csv", text), folder / "data"
    prepare_table(source, out, progress=False, **{"split": "1,0,0"} | how)
    return open_data(out)


def rows_of(data):
    return data.tokenizer.decode(data.tokens("train").reshape(-1, data.length))


def spelling(data, name):
    return data.tokenizer.columns[data.tokenizer.names.index(name)].spelling


def table(names, rows, delimiter=","):
    """A file of these rows; cells are quoted where they must be."""
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator="\n")
    writer.writerows([*([names] if names else []), *rows])
    return stream.getvalue()


# ---------------------------------------------------------------- numbers


@pytest.mark.parametrize(
    "text, marks, number",
    [
        ("12,5", ",", 12.5), ("-,5", ",", -0.5), ("12.5", ",", None), ("1.234,56", ",.", 1234.56),
        ("1.234.567", ",.", 1234567), ("1.23,4", ",.", None), ("12345,6", ",.", 12345.6),
        ("1,234.5e2", ".,", 123450), ("1,2345", ".,", None), ("0,123", ".,", None),
        ("1 234,5", ", ", 1234.5), ("1\u202f234", ", ", 1234), ("1'234.5", ".'", 1234.5),
        ("1\u2019234", ".'", 1234), ("1,,234", ".,", None), ("", ".,", None), ("1.5", ".", 1.5),
    ],
)  # fmt: skip
def test_numbers_by_their_marks(text, marks, number):
    assert parse_number(text, Spelling(marks[0], marks[1:])) == number


@given(st.integers(-(10**20), 10**20), st.sampled_from(SPELLINGS))
def test_whole_numbers_are_exact_in_every_spelling(number, spelling):
    text = f"{number:,}".replace(",", spelling.thousands)
    assert parse_whole(text, spelling) == number
    assert parse_number(text, spelling) == float(number)
    assert parse_whole(text + spelling.decimal + "5", spelling) is None


@pytest.mark.parametrize("digits", [310, 5000])
def test_whole_numbers_that_no_float_holds_are_no_numbers(tmp_path, digits):
    large, told = "1" * digits, []
    assert parse_whole(large) is None and parse_whole("0" * digits + "7") == 7
    like = prepared(tmp_path, table(["n", "x"], [(i % 7, i % 3) for i in range(60)])).tokenizer
    path = write(tmp_path / "large.csv", f"n,x\n3,2\n{large},1\n")
    how = {"like": like, "split": "1,0,0", "progress": False, "tell": told.append}
    with pytest.raises(ValueError, match="in column 'n' is not a number: correct it"):
        prepare_table(path, tmp_path / "e", **how)
    prepare_table(path, tmp_path / "u", unseen="unknown", **how)
    assert sorted(rows_of(open_data(tmp_path / "u"))) == [["", "1"], ["3", "2"]] and told


CELLS = {
    "decimal commas": (["12,5", "3", "0,25"], ";", Spelling(",")),
    "decimal commas in quotes": (["12,5", "3", "0,25"], ",", Spelling(",")),
    "both": (["1.234,56", "7,5", "12"], ";", Spelling(",", ".")),
    "both, the other way": (["1,234.56", "7.5", "12"], ",", Spelling(".", ",")),
    "millions": (["1.234.567", "800", "12.000"], ";", Spelling(",", ".")),
    "zeros at the end": (["2,500", "800", "10,000"], ",", Spelling(".", ",")),
    "three decimals, one of them below 1": (["1,234", "0,500"], ";", Spelling(",")),
    "blanks": (["1 234", "12 000", "7"], ",", Spelling(".", " ")),
    "apostrophes": (["1'234.50", "7"], ",", Spelling(".", "'")),
    "plain": (["1.5", "2", "1e3"], ",", PLAIN),
    "plain, three decimals each": (["1.234", "2.345"], ",", PLAIN),
    "plain, after tabs": (["1.234", "2.345"], "\t", PLAIN),
}


@pytest.mark.parametrize("cells, delimiter, expected", CELLS.values(), ids=list(CELLS))
def test_a_column_of_numbers_tells_its_spelling(tmp_path, cells, delimiter, expected):
    rows = [(cells[i % len(cells)], "ab"[i % 2]) for i in range(60)]
    data = prepared(tmp_path, table(["n", "x"], rows, delimiter))
    column = data.tokenizer.columns[0]
    assert column.bounds is not None and column.spelling == expected
    # as the source spells them, in the order of the numbers
    assert column.values == tuple(sorted(cells, key=lambda text: parse_number(text, expected)))
    assert column.encode(column.values).tolist() == list(range(len(cells)))
    spec = json.loads(json.dumps(data.tokenizer.spec()))
    assert Table.from_spec(spec).columns == data.tokenizer.columns
    # files of plain numbers are written as they were before there were others
    assert ("spelling" in spec["columns"][0]) == (expected != PLAIN)


ASKED = {
    "a comma": (["1,234", "5,678"], ",", "1,234"),
    "a comma after semicolons": (["1,234", "5,678"], ";", "1,234"),
    "a stop after semicolons": (["1.234", "5.678"], ";", "1.234"),
    "a stop and zeros": (["2.500", "800"], ",", "2.500"),
    "a comma beside short numbers": (["1,234", "800"], ",", "1,234"),
}


@pytest.mark.parametrize("cells, delimiter, example", ASKED.values(), ids=list(ASKED))
def test_what_may_be_two_numbers_is_asked_for(tmp_path, cells, delimiter, example):
    text = table(["n", "x"], [(cells[i % 2], "ab"[i % 2]) for i in range(60)], delimiter)
    with pytest.raises(ValueError, match="and no other cell tells") as refused:
        prepared(tmp_path, text)
    assert re.search(
        rf"t\.csv, line [23]: '{re.escape(example)}' in column 'n'", str(refused.value)
    )
    answers = re.findall(r'(\S+) \(--(decimal|thousands) "(.*?)"\)', str(refused.value))
    assert sorted(number for number, *_ in answers) == sorted(
        [example.replace(",", "."), re.sub("[.,]", "", example)]
    )
    for i, (number, flag, said) in enumerate(answers):  # what it proposes does what it says
        folder = tmp_path / str(i)
        folder.mkdir()
        data = prepared(folder, text, **{flag: marks_of(flag, said)})
        assert parse_number(example, spelling(data, "n")) == float(number)
    both = prepared(tmp_path, text, categories=["n"])
    assert both.tokenizer.columns[0].bounds is None


def test_other_columns_tell_the_decimal_mark(tmp_path):
    def of(name, other, cells, delimiter=";"):
        (tmp_path / name).mkdir()
        rows = [(cells[i % 2], other[i % 2], i % 3) for i in range(30)]
        return prepared(tmp_path / name, table(["n", "m", "k"], rows, delimiter))

    data = of("a", ("0,5", "7,25"), ("1,234", "5,678"))
    assert spelling(data, "n") == Spelling(",")
    # a whole number may get decimals later, and they will be of that kind
    assert spelling(data, "k") == Spelling(",")
    assert spelling(of("b", ("0.5", "7.25"), ("1,234", "5,678"), ","), "n") == Spelling(".", ",")
    assert spelling(of("c", ("0,5", "7,25"), ("1.234", "5.678")), "n") == Spelling(",", ".")
    assert spelling(of("d", ("0.5", "7.25"), ("1.234", "5.678")), "n") == PLAIN
    assert spelling(of("e", ("1,234,567", "7"), ("1.234", "5.678")), "n") == PLAIN
    with pytest.raises(ValueError, match="'1.234' in column 'n' may be"):
        of("f", ("0,5", "7,25"), ("1.234", "5.678"), ",")  # pairs in quotes, perhaps
    with pytest.raises(ValueError, match="'2,500' in column 'n' may be"):
        of("g", ("0,5", "7,25"), ("2,500", "800"))  # zeros against the other column


def test_numbers_of_two_spellings_are_refused(tmp_path):
    rows = [(("12.5", "12,5")[i % 2], i % 3) for i in range(30)]
    said = r"t\.csv, line 3: '12,5' in column 'n' is no number where '.' is the decimal mark"
    for how in ({}, {"decimal": {"": "."}}, {"numbers": ["n"]}):
        with pytest.raises(ValueError, match=said):
            prepared(tmp_path, table(["n", "x"], rows), **how)
    with pytest.raises(ValueError, match="'x' in column 'n', most of whose cells are numbers"):
        prepared(tmp_path, table(["n"], [["1,5"]] * 30 + [["x"]]))
    data = prepared(tmp_path, table(["n", "x"], rows), categories=["n"])
    assert data.tokenizer.columns[0].values == ("12,5", "12.5")


def test_marks_that_are_asked_for(tmp_path):
    assert marks_of("decimal", "") == {} and marks_of("decimal", ",") == {"": ","}
    assert marks_of("decimal", ",;price=.") == {"": ",", "price": "."}
    assert marks_of("thousands", "a,b=,;c= ;d=none") == {"a,b": ",", "c": " ", "d": ""}
    with pytest.raises(ValueError, match="give COLUMN=MARK"):
        marks_of("decimal", ",;.")
    assert Marks({"": ","}, {}).spellings("n")[0] == Spelling(",")
    text = table(["n", "m"], [("1,5", "2.5"), ("3", "4")] * 9)
    data = prepared(tmp_path, text, decimal={"": ",", "m": "."})
    assert [c.spelling.decimal for c in data.tokenizer.columns] == [",", "."]
    for how, said in [
        ({"decimal": {"": ","}, "thousands": {"": ","}}, "give two marks that differ"),
        ({"decimal": {"": ";"}}, "decimal of '.', ','"),
        ({"decimal": {"price": ","}}, "no column 'price'"),
        ({"decimal": {"": ","}}, "'2.5' in column 'm' is no number where ',' is the decimal mark"),
        ({"decimal": {"": ","}, "like": data.tokenizer}, "leave out decimal"),
    ]:
        with pytest.raises(ValueError, match=said):
            prepare_table(tmp_path / "t.csv", tmp_path / "x", progress=False, **how)


def test_what_looks_like_numbers_stays_a_category(tmp_path):
    columns = {
        "date": ("01.02.2024", "1.3.2024"), "version": ("1.2.3", "1.10.0"),
        "zip": ("01234", "12345"), "tags": ("1,2", "1,2,3"), "phone": ("030 123", "555 12"),
    }  # fmt: skip
    rows = [[cells[i % 2] for cells in columns.values()] for i in range(30)]
    data = prepared(tmp_path, table(list(columns), rows))
    assert all(column.bounds is None for column in data.tokenizer.columns)
    assert rows_of(data)[0] in rows


# ---------------------------------------------------------------- the file


def test_what_is_between_cells(tmp_path):
    """Also where decimal commas outnumber it, and nothing else says so."""
    for i, (text, found, width) in enumerate(
        [
            ("9,2;3,1;1\n" * 3 + "5,0;1,2;2\n" * 9, ";", 3),
            ("9,2;3,1\n" * 3 + "5,0;1,2\n" * 9, ";", 2),
            ("a;b, c; d, e, f\n" + "1;2;3\n4,5;5;6\n" * 9, ";", 3),
            ("preis\n" + "9,2\n3,0\n" * 9, ";", 1),
            ("a|b,c\nx,1\ny|z|w,2\n" * 3, ",", 2),
            ('a,b\n"1;2;3",x\n"4;5;6",y\n', ",", 2),
            ('a,b\n1,"x\ny;z"\n2,w\n', ",", 2),
            ("colour\nred\ngreen\n", ",", 1),
            ("1,5\t2,5\n3,5\t4,5\n", "\t", 2),
            # the lines that are looked at end inside quotes
            ('a;b, c;x\n1;"2\n3";4\n' + "5;6;7\n" * 196 + '1;"2\n3";4\n', ";", 3),
        ]
    ):
        (tmp_path / str(i)).mkdir()
        how = {
            "split": "1,0,0",
            "header": "no",
            "categories": [f"column{i + 1}" for i in range(width)],
        }
        data = prepared(tmp_path / str(i), text, **how)
        assert (data.tokenizer.delimiter, data.tokenizer.width) == (found, width), text
    with pytest.raises(ValueError, match=r"t\.csv: ',' or '\\t' may be what is between cells"):
        prepared(tmp_path, "Smith, J\tLondon\nDoe, A\tRome, Italy\n".replace(", Italy", ""))
    data = prepared(tmp_path, "Smith, J\tLondon\nDoe, A\tRome\n", delimiter="\t")
    assert data.tokenizer.width == 2


def test_a_tab_may_be_given_as_messages_name_it(tmp_path):
    source = write(tmp_path / "t.csv", "Smith, J\tLondon\nDoe, A\tRome\n")
    command = ["prepare", "tables", str(source), str(tmp_path / "d"), "--split", "1,0,0"]
    assert main([*command, "--delimiter", r"\t"]) == 0
    table = open_data(tmp_path / "d").tokenizer
    assert (table.delimiter, table.width) == ("\t", 2)


def test_empty_cells_between_blanks_are_read_again(tmp_path):
    made = table(["a", "b", "c"], [("1", "x", "2"), ("2", "y", "2")] * 30, " ")
    ours = prepared(tmp_path, made, delimiter=" ").tokenizer
    rows = [["", "x", ""], ["", "", ""], ["1", "", "2"]]
    cells = read_cells(write(tmp_path / "o.csv", ours.write(rows)), Silent(), delimiter=" ")
    assert [cells.row(i) for i in range(4)] == [["a", "b", "c"], *rows]


ODD = [
    "Customer Number", "a,b", "it's", 'say "x"', '"all"', "x;y", "p=q", "$HOME `x`", "wow!", "a\\b"
]  # fmt: skip


def test_a_quote_within_a_name_opens_nothing():
    """As in 5" for five inches; one that opens a name closes before its equals sign."""
    said = """5" disk=,;3" disk=.;"a;b"=,"""
    assert marks_of("decimal", said) == {'5" disk': ",", '3" disk': ".", "a;b": ","}
    assert parts_in(said) == ['5" disk=,', '3" disk=.', '"a;b"=,']


@pytest.mark.parametrize("name", ODD)
def test_flags_that_are_proposed_do_what_they_say_from_a_shell(name, tmp_path, capsys):
    def prepare(folder, rows, *flags):
        source = write(tmp_path / "t.csv", table([name, "y"], rows))
        code = main(["prepare", "tables", str(source), str(tmp_path / folder), *flags])
        return code, "".join(capsys.readouterr())

    numbers = [("1,234", "a"), ("5,678", "b")] * 30
    code, said = prepare("a", numbers)
    answers = re.findall(r"([\d.]+) \((--.*?)\)(?= or |, and no other)", said)
    assert code == 2 and len(answers) == 2
    for i, (number, flags) in enumerate(answers):
        assert prepare(f"a{i}", numbers, *shlex.split(flags))[0] == 0
        found = spelling(open_data(tmp_path / f"a{i}"), name)
        assert parse_number("1,234", found) == float(number)
    words = [("NA", 1), ("EU", 2)] * 30
    code, said = prepare("b", words)
    flags = shlex.split(re.search("if it is a value, say (--missing .*)", said)[1])
    assert code == 0 and prepare("b1", words, *flags)[0] == 0
    assert open_data(tmp_path / "b1").tokenizer.columns[0].values == ("EU", "NA")
    squares = [(i * i, "ab"[i % 2]) for i in range(60)]
    code, said = prepare("c", squares)
    flags = shlex.split(re.search("leave it out with (--drop .*)", said)[1])
    assert code == 0 and prepare("c1", squares, *flags)[0] == 0
    assert open_data(tmp_path / "c1").tokenizer.names == ["y"]


EMPTY_FIRST = {
    "tabs": ("\t\n1\tx\n2\ty\n1\ty\n", (4, 2)),
    "tabs after blank lines": (" \n\n\t\t\n\n1\tx\t5\n1\ty\t5\n", (3, 3)),
    "an instruction": ("sep=\t\r\n\t\r\n1\tx\r\n1\ty\r\n", (3, 2)),
    "quotes in one column": ('""\n1\n2\n1\n', (4, 1)),
    "quotes after blank lines": (' \n\n""\nx\n""\nx\n', (4, 1)),
}


@pytest.mark.parametrize("text, shape", EMPTY_FIRST.values(), ids=list(EMPTY_FIRST))
def test_a_first_row_without_values_is_a_row(tmp_path, text, shape):
    """Of training, and of what is to be filled in."""
    data = prepared(tmp_path, text)
    rows = np.array(rows_of(data))
    assert rows.shape == shape and not all(map(any, rows)) and not data.tokenizer.header
    kind = kind_of(data.meta, data.folder)
    flags = {"out": str(tmp_path / "o.csv"), "num": 1, "window": False}
    source = kind.read(tmp_path / "t.csv", Flags(kind.Read(), flags), data.length)
    assert source.hole.shape == shape and source.hole[0].all()


def test_rows_of_tabs_alone_are_rows_between_tabs(tmp_path):
    path = write(tmp_path / "t.csv", "\n\t\n\n\t\n")
    assert read_cells(path, Silent(), delimiter="\t").lines.tolist() == [2, 4]
    for delimiter in (",", "auto"):
        with pytest.raises(ValueError, match="is empty"):
            read_cells(path, Silent(), delimiter=delimiter)


HEADERS = {
    "years": ("country,2019,2020\nx,5,7.5\ny,6,8\nx,5,9\n", ["country", "2019", "2020"]),
    "years above an index": (",2019,2021,2023\n0,5,7,1\n1,6,8,2\n", ["2019", "2021", "2023"]),
    "an index": (",color,size\n0,red,L\n1,red,M\n", ["color", "size"]),
    "names of rows": (",color,size\nann,red,L\nbob,red,M\n", ["color", "size"]),
    "decimal commas": ("a;b\n1,5;x\n2,5;a\n1,5;b\n", ["a", "b"]),
    "years of people": ("ann,2019,2020\nbob,2018,2021\nann,2017,2019\n", None),
    "words and numbers": ("39,clerk\n40,cook\n", None),
    "a year that occurs again": ("toyota,2015\nford,2016\nkia,2015\n", None),
    "an index without a name for another column": (",a,\n0,x,y\n1,x,z\n", None),
}  # fmt: skip


@pytest.mark.parametrize("text, names", HEADERS.values(), ids=list(HEADERS))
def test_which_row_has_the_names(tmp_path, text, names):
    data = prepared(tmp_path, text)
    assert data.tokenizer.header == (names is not None)
    assert data.meta["rows"]["train"] == text.count("\n") - data.tokenizer.header
    if names:
        assert data.tokenizer.names == names


COLOURS = "\n".join(itertools.islice(itertools.cycle(["red,S", "blue,M", "green,L"]), 60)) + "\n"
UNCLEAR = {
    "one year": ("name,2019\nann,5\nbob,6\n", "'2019' may be a year"),
    "years alone": ("2019,2020\n5,6\n7,8\n", "'2019' may be a year"),
    "years above words": ("name,2019,2020\nann,yes,no\nbob,no,no\n", "'2019' may be a year"),
    "places": ("0,1,2\n5.1,3.5,1.4\n4.9,3.0,1.4\n", "'0', '1', ... may be names"),
    "a name below": (
        "red,size\n" + COLOURS, "no other row has 'size' in its column, and others have 'red'",
    ),
    "two alike": ("colour,colour\n" + COLOURS, "and 'colour' stands there twice"),
    "one without a name": ("colour,\n" + COLOURS, "no other row has 'colour' .* one has no name"),
    "twice": ("colour,size\n" + COLOURS + "colour,size\n", "line 62 is the same"),
}  # fmt: skip


@pytest.mark.parametrize("text, said", UNCLEAR.values(), ids=list(UNCLEAR))
def test_a_row_that_may_be_names_is_asked_for(tmp_path, text, said):
    with pytest.raises(ValueError, match=rf"t\.csv, line 1: it may .*{said}.* say --header yes or"):
        prepared(tmp_path, text)
    for header in ("no", "yes"):
        folder = tmp_path / header
        folder.mkdir()
        if header == "yes" and "colour,colour" in text:
            continue
        assert prepared(folder, text, header=header).tokenizer.header == (header == "yes")


# ---------------------------------------------------------------- identifiers


def column(values, name="id", **how):
    """A file with these values beside three others."""
    return table([name, "x"], [(value, i % 3) for i, value in enumerate(values)], **how)


shuffled = random.Random(0).sample(range(100, 140), 40)
spread = random.Random(0).sample(range(20_000, 90_000), 40)
IDENTIFIERS = {
    "from 0": (range(40), True),
    "in tens, downwards": (range(400, 0, -10), True),
    "in any order": (shuffled, True),
    "beyond 2^53": ([2**53 + 7 * i * i for i in range(40)], True),
    "codes": ([f"{i:05}" for i in range(40)], True),
    "in threes": ([f"{i:,}" for i in range(990, 1030)], True),
    "codes of 5,000 digits": ([f"{i:05000}" for i in range(40)], True),
    "beyond all floats": (["1" * 5000 + f"{i:02}" for i in range(40)], False),
    "as many as may be chance": (range(19), False),
    "salaries": (spread, False),
    "measured": ([i + 0.5 for i in range(40)], False),
    "one of them twice": ([*range(39), 3], False),
    "one of them missing": ([*range(39), ""], False),
}


@pytest.mark.parametrize("values, names_rows", IDENTIFIERS.values(), ids=list(IDENTIFIERS))
def test_columns_that_name_rows_are_left_out(tmp_path, values, names_rows):
    data = prepared(tmp_path, column(values))
    assert data.tokenizer.names == ["id", "x"][names_rows:]
    assert data.meta.get("identifiers", []) == ["id"][:names_rows]
    assert len(data.tokens("train").reshape(-1, data.length)) == len(values)
    if names_rows:
        for kind in ("numbers", "categories"):
            (tmp_path / kind).mkdir()
            kept = prepared(tmp_path / kind, column(values), **{kind: ["id"]})
            assert kept.tokenizer.names == ["id", "x"] and "identifiers" not in kept.meta
        exact = kept.tokenizer.columns[0].values
        assert exact == tuple(sorted(map(str, values)))  # as categories, each by itself


def test_identifiers_of_several_files_and_of_equal_rows(tmp_path):
    valid = write(tmp_path / "v.csv", column(range(10)))
    data = prepared(tmp_path, column(range(30)), validation=valid)
    assert data.meta["identifiers"] == ["id"]  # every file counts anew
    (tmp_path / "a").mkdir()
    data = prepared(tmp_path / "a", column(range(30)), split="0.4,0.3,0.3", together=True)
    parts = [set(data.tokens(split).tolist()) for split in data.splits]
    assert sum(map(len, parts)) == 3  # rows are equal whose identifiers differ
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="id only name rows: keep one with --numbers"):
        prepared(tmp_path / "b", table(["id"], [[i] for i in range(30)]))
    text = table(["name", "x"], [(f"n{i}", i % 3) for i in range(60)])
    with pytest.raises(ValueError, match="'name' has 60 different values in 60 rows"):
        prepared(tmp_path / "b", text)


# ---------------------------------------------------------------- the verbs


def say(folder, text, *flags):
    write(folder / "t.csv", text)
    return ["prepare", "tables", str(folder / "t.csv"), str(folder / "d"), *flags]


def test_prepare_shows_its_rule_as_a_table(tmp_path, capsys):
    rows = [
        (i, ("1.234,5", "7,5")[i % 2], ("", "", "x", "y")[i % 4], i % 40, "z" * (i % 2 + 40))
        for i in range(80)
    ]
    names = ["nr", "preis", "wort", "zahl", "ein Name, der sehr lang ist, bis hierhin"]
    assert main(say(tmp_path, table(names, rows, ";"), "--bins", "8")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:3] == [
        "  the first row names the columns (--header); ';' is between cells (--delimiter)",
        "  the decimal mark is ',' (--decimal); '.' is between thousands (--thousands)",
    ]
    assert all(len(line) <= 100 for line in lines[1:9])
    cells = [re.split("  +", line.strip()) for line in lines[3:9]]
    assert cells[:5] == [
        ["column", "kind", "values", "missing", "example", "changed by"],
        ["nr", "identifier", "left out", "0", "--numbers"],
        ["preis", "numbers", "2", "1.234,5 = 1234.5", "--thousands"],
        ["wort", "categories", "2", "40 empty", "y", "--drop"],
        ["zahl", "numbers", "40 in 8 bins", "9", "--categories"],
    ]
    assert cells[5][0].startswith("ein Name") and cells[5][0].endswith("hierhin")
    assert "left out 1 column (nr), of which every row has its own value" in lines[9:][-1]
    assert main(["prepare", "tables", str(tmp_path / "t.csv"), str(tmp_path / "e"), "--like",
                 str(tmp_path / "d"), "--split", "0,0,1"]) == 0  # fmt: skip
    assert "changed by" not in capsys.readouterr().out


def test_whole_numbers_that_are_one_as_numbers_are_said(tmp_path, capsys):
    text = column([2**53 + i for i in range(40)])
    assert main(say(tmp_path, text, "--numbers", "id")) == 0
    assert "'id', as numbers of 64 bits, has whole numbers above 2^53" in capsys.readouterr().out


def test_files_of_decimal_commas_from_start_to_end(tmp_path, capsys):
    """Samples and fillings are spelled as the source is; an identifier comes back as it is, and may
    be missing."""
    rows = [(i, f"{i % 20 * 83.25:,.2f}", "ab"[i % 2]) for i in range(100)]
    swap = str.maketrans(",.", ".,")
    rows = [(i, number.translate(swap), word) for i, number, word in rows]
    assert main(say(tmp_path, table(["", "preis", "wort"], rows, ";"))) == 0
    run, out = str(tmp_path / "run"), tmp_path / "o.csv"
    assert main(["train", "table", "--data", str(tmp_path / "d"), "--out", run, *SMALL, *CPU]) == 0
    assert main(["sample", run, "--num", "30", "--out", str(out), *CPU]) == 0
    known = {number for _, number, _ in rows}
    head, *drawn = list(csv.reader(io.StringIO(out.read_text()), delimiter=";"))
    assert head == ["preis", "wort"] and {row[0] for row in drawn} <= known
    for text in (";preis;wort\n700;;b\n9;1.165,50;\n8;99;a\n", "wort;preis\nb;\n;1.165,5\n"):
        path = write(tmp_path / "in.csv", text)
        assert main(["fill", run, str(path), "--out", str(out), *CPU]) == 0
        before, after = text.splitlines(), out.read_text().splitlines()
        assert before[0] == after[0] and len(before) == len(after)
        for old, new in zip(before[1:], after[1:], strict=True):
            for one, other in zip(old.split(";"), new.split(";"), strict=True):
                assert one == other if one else other in known | {"a", "b"}
    capsys.readouterr()
    path = write(tmp_path / "in.csv", "wort;preis\n;1,165.50\n")
    assert main(["fill", run, str(path), "--out", str(out), *CPU]) == 2
    said = "'1,165.50' in column 'preis' is not a number where ',' is the decimal mark, '.' between"
    assert said in capsys.readouterr().err
    # numbers compared as they are in the source, rows found again in the splits of equal rows
    folder, source = tmp_path / "halves", tmp_path / "t.csv"
    prepare_table(source, folder, split="0.5,0.25,0.25", together=True, progress=False)
    made = write(tmp_path / "s.csv", "preis;wort\n" + "1.165,50;a\n" * 10)
    sides = read_sides(open_data(folder), made, split="test", sources=[source], encoding="")
    assert sides.synthetic.values[0].tolist() == [1165.5] * 10
    assert 0 < sides.train.values[0].max() <= 19 * 83.25


@pytest.mark.parametrize("delimiter", ["\t", ","])
def test_rows_without_values_above_a_header_are_none(delimiter, tmp_path):
    rows = ["name,sex,age", *(f"n{i},{'fm'[i % 2]},{20 + i % 7}" for i in range(40))]
    for above in ([",,"], [",,", ",,"]):
        source = tmp_path / "t.tsv"
        source.write_text("\n".join([*above, *rows]).replace(",", delimiter) + "\n")
        out = tmp_path / f"{len(above)}"
        meta = prepare_table(source, out, delimiter=delimiter, categories=["name"], progress=False)
        assert [one["name"] for one in meta["tokenizer"]["columns"]] == ["name", "sex", "age"]
        assert sum(meta["rows"].values()) == 40
        # and a model reads them so, and fills what stands below
        data, holed = open_data(out), tmp_path / "in.tsv"
        whole = "\n".join([*above, *rows[:4], ",,"]).replace(",", delimiter)
        write(holed, whole.replace(f"n1{delimiter}m", f"n1{delimiter}"))
        cells, at = read_columns(holed, data.tokenizer, "")
        assert at == [0, 1, 2] and cells.row(0)[0] == "n0" and len(cells.codes) == 4
        kind, flags = kind_of(data.meta, out), {"out": str(tmp_path / "o.tsv"), "num": 1}
        own = kind.Read(columns="sex", empty="unknown")
        source = kind.read(holed, Flags(own, flags | {"window": False}), 3)
        assert source.hole.tolist() == [[False, row in (1, 3), False] for row in range(4)]
        source.write(flags["out"], np.full((4, 3), 1), None)  # m, the second of its values
        assert (tmp_path / "o.tsv").read_text() == whole.removesuffix(delimiter) + f"m{delimiter}"


@pytest.mark.parametrize("text", ["1e-99999999999999999999", "1e99999999999999999999", "0e9999999"])
def test_exponents_that_nobody_means_are_no_numbers(text):
    assert parse_number(text) is None and parse_number("1e-300") == 1e-300
