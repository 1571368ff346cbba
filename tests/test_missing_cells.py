"""What a missing cell is: in training, in samples, in the three readings of `fill`, and what comes
back byte by byte."""

import csv
import gzip
import io
import json
import random
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import unmask
from unmask.cli import main
from unmask.data import open_data, prepare_table
from unmask.diffusion import MaskedDiffusion
from unmask.filling import Filler
from unmask.kinds.registry import kind_of
from unmask.kinds.tables.columns import Column, Table
from unmask.kinds.tables.csv_source import read_cells
from unmask.kinds.tables.flags import names_in
from unmask.kinds.tables.holes import check_missing, wanted_of
from unmask.kinds.tables.original import Original
from unmask.train.build import build

CPU = ["--device", "cpu", "--dtype", "float32", "--threads", "1"]
LEARN = [
    "--dim", "24", "--layers", "1", "--heads", "2", "--batch-size", "128", "--minutes", "0",
    "--steps", "600", "--eval-minutes", "0", "--learning-rate", "0.005",
]  # fmt: skip
ROWS = 4000
WRITTEN = Path(__file__).parent / "written_by_b129103"


def clinic(path):
    """Arm A is half of the rows; `lab` is known for 95 % of A and 5 % of B; counts are exact."""
    rows = []
    for arm, known in (("A", 0.95), ("B", 0.05)):
        for i in range(ROWS // 2):
            value = ("neg", "neg", "pos")[i % 3] if i < round(known * ROWS / 2) else ""
            rows.append([arm, ("<40", "40-65", ">65")[i % 3 if i % 2 else 0], value])
    random.Random(0).shuffle(rows)
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["arm", "age", "lab"], *rows])
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clinic")
    prepare_table(clinic(folder / "clinic.csv"), folder / "data", progress=False)
    flags = ["--data", str(folder / "data"), "--out", str(folder / "run")]
    assert main(["train", "table", *flags, *LEARN, *CPU]) == 0
    (folder / "predict.csv").write_text("arm,age,lab\n,<40,\n,40-65,\n,>65,\n")
    return folder


def test_a_file_that_is_parted_otherwise_is_told_how(run, tmp_path, capsys):
    (tmp_path / "in.csv").write_text("arm;age;lab\n;<40;\n")
    assert main(["fill", str(run / "run"), str(tmp_path / "in.csv"), *CPU]) == 2
    said = "its first line, 'arm;age;lab', names no column of the model's, arm, age, lab; cells are"
    assert f"{said} parted by ','" in capsys.readouterr().err


def test_samples_have_missing_cells_where_the_data_do(run, tmp_path):
    out = tmp_path / "s.csv"
    command = ["sample", str(run / "run"), "--num", "2000", "--steps", "16", "--out", str(out)]
    assert main([*command, *CPU]) == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    a = [row for row in rows if row["arm"] == "A"]
    b = [row for row in rows if row["arm"] == "B"]
    assert abs(len(a) / 2000 - 0.5) < 0.06  # before: 0.95
    assert sum(row["lab"] == "" for row in a) / len(a) < 0.12
    assert sum(row["lab"] == "" for row in b) / len(b) > 0.88  # before: none


@pytest.mark.parametrize(
    "empty, expected",
    [("", 0.05), ("missing", 0.05), ("lab=value", 0.95), ("unknown", 0.5), ("lab=unknown", 0.5)],
)
def test_prediction_under_each_reading_of_an_empty_cell(run, tmp_path, empty, expected):
    listed, out = tmp_path / "p.csv", tmp_path / "o.csv"
    command = ["fill", str(run / "run"), str(run / "predict.csv"), "--columns", "arm", "--best"]
    flags = ["--empty", empty, "--probabilities", str(listed), "--out", str(out)]
    assert main([*command, *flags, *CPU]) == 0
    rows = csv.DictReader(io.StringIO(listed.read_text()))
    of_a = [float(row["probability"]) for row in rows if row["value"] == "A"]
    assert len(of_a) == 3 and all(abs(p - expected) < 0.06 for p in of_a)
    best = [row["arm"] for row in csv.DictReader(io.StringIO(out.read_text()))]
    assert expected == 0.5 or best == ["A" if expected > 0.5 else "B"] * 3


def test_a_column_that_the_file_lacks_is_unknown(run, tmp_path):
    (tmp_path / "in.csv").write_text('arm\n""\nA\n')
    listed = tmp_path / "p.csv"
    command = ["fill", str(run / "run"), str(tmp_path / "in.csv"), "--columns", "arm", "--best"]
    flags = ["--probabilities", str(listed), "--out", str(tmp_path / "o.csv")]
    assert main([*command, *flags, *CPU]) == 0
    rows = csv.DictReader(io.StringIO(listed.read_text()))
    assert all(abs(float(row["probability"]) - 0.5) < 0.06 for row in rows)
    assert (tmp_path / "o.csv").read_bytes()[4:] in (b'"A"\nA\n', b'"B"\nA\n')


def test_two_holes_have_values_both(run, tmp_path):
    """By default all empty cells have values; the arm and the lab are drawn together."""
    (tmp_path / "in.csv").write_text("arm,age,lab\n" + ",<40,\n" * 400)
    command = ["fill", str(run / "run"), str(tmp_path / "in.csv"), "--steps", "16"]
    assert main([*command, "--out", str(tmp_path / "o.csv"), *CPU]) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "o.csv").read_text())))
    assert {row["lab"] for row in rows} == {"neg", "pos"}
    assert sum(row["arm"] == "A" for row in rows) / 400 > 0.88  # 0.95; before: 0.72
    # what may be missing may stay so
    command += ["--empty", "unknown", "--out", str(tmp_path / "u.csv"), *CPU]
    assert main(command) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "u.csv").read_text())))
    assert {row["lab"] for row in rows} == {"neg", "pos", ""}


def test_what_cannot_be_meant_is_refused(run, tmp_path, capsys):
    (tmp_path / "age.csv").write_text("arm,age,lab\n,,\n")
    (tmp_path / "lab.csv").write_text("age,lab\n<40,\n")
    fill = ["fill", str(run / "run")]
    cases = {
        (str(tmp_path / "age.csv"), "--columns", "arm"): "'age' has empty cells, and none was",
        (str(tmp_path / "lab.csv"), "--columns", "arm"): "has no column 'arm' to fill in",
        (str(tmp_path / "age.csv"), "--columns", "arms"): "did you mean 'arm'",
        (str(tmp_path / "age.csv"), "--empty", "no"): "give one of value, missing, unknown",
        (str(tmp_path / "age.csv"), "--empty", "labs=value"): "did you mean 'lab'",
    }
    for rest, said in cases.items():
        assert main([*fill, *rest, "--out", str(tmp_path / "o.csv"), *CPU]) == 2
        assert said in capsys.readouterr().err


# ---------------------------------------------------------------- by enumeration


class OfTable(nn.Module):
    """The perfect denoiser of a table's own rows: what is most often there, given what is seen."""

    uses_time = False

    def __init__(self, data):
        super().__init__()
        rows = np.array(data.tokens("train")).reshape(-1, data.length).astype(np.int64)
        different, counts = np.unique(rows, axis=0, return_counts=True)
        self.rows = torch.from_numpy(different)
        self.p = torch.from_numpy(counts / counts.sum())
        self.vocab_size = data.vocab_size

    def forward(self, z):
        known = (z[:, None] == self.vocab_size) | (z[:, None] == self.rows)
        weight = known.all(-1) * self.p
        values = nn.functional.one_hot(self.rows, self.vocab_size).double()
        return torch.einsum("bn,nsv->bsv", weight, values).log()


def test_the_states_of_a_cell_by_a_perfect_denoiser_of_a_prepared_table(tmp_path):
    """From file to file: a value, missing, a value not known, nothing known."""
    prepare_table(
        clinic(tmp_path / "c.csv"), tmp_path / "d", split="1,0,0", drop=["age"], progress=False
    )
    data = open_data(tmp_path / "d")
    kind = kind_of(data.meta, data.folder)
    links = tuple(torch.from_numpy(part) for part in kind.layout.links)
    model = MaskedDiffusion(
        OfTable(data),
        unmask.schedules.Linear(),
        unmask.Subtokenizer(data.vocab_size),
        allowed=torch.from_numpy(kind.layout.allowed),
        links=links,
        meta={"length": data.length},
    )
    (tmp_path / "in.csv").write_text("arm,lab\n,neg\n,\n")
    for empty, expected in (("missing", 0.05), ("value", 0.95), ("unknown", 0.5)):
        args = kind.Read(columns="arm", empty=empty, best=True)
        flags = {"out": str(tmp_path / "o.csv"), "num": 1, "window": False}
        source = kind.read(tmp_path / "in.csv", Flags(args, flags), data.length)
        laws = list(Filler(model).laws(source.examples))
        a = data.tokenizer.first[0]
        assert laws[0][2][a] == pytest.approx(0.95, abs=1e-3)  # the value is given
        assert laws[1][2][a] == pytest.approx(expected, abs=1e-3)


class Flags:
    def __init__(self, own, others):
        self.__dict__ |= {name: getattr(own, name) for name in own.__dataclass_fields__} | others


def test_columns_and_empty_cells_in_words(tmp_path):
    prepare_table(clinic(tmp_path / "c.csv"), tmp_path / "d", progress=False)
    table = open_data(tmp_path / "d").tokenizer

    def states(columns="", empty=""):
        wanted = wanted_of(table, names_in(columns), names_in(empty))
        return " ".join(wanted.empty), [name for name, f in zip(table.names, wanted.fill) if f]

    assert states() == ("value value value", ["arm", "age", "lab"])
    assert states("arm") == ("value missing missing", ["arm"])
    assert states("arm", "unknown")[0] == "value unknown unknown"
    for both in ("unknown,lab=value", "lab=value,unknown"):  # in any order
        assert states("arm", both)[0] == "value unknown value"
        assert states("", both)[0] == "unknown unknown value"
    assert states("", "unknown")[0] == "unknown unknown unknown"
    assert states("arm,lab", "lab=unknown")[0] == "value missing unknown"
    for columns, empty, why in (
        ("amr", "", "no column 'amr'"), ("", "mising", "give one of"), ("", "lb=value", "'lb'"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=why):
            states(columns, empty)


def test_the_advice_on_an_empty_cell_is_what_a_shell_takes():
    table = Table([Column("a, b", 0, ("x",))], header=True, delimiter=",", width=1)
    with pytest.raises(ValueError, match="none was missing in the data") as refused:
        check_missing(table, 0, "t.csv")
    said = str(refused.value).partition("--empty ")[2].partition(", or fill")[0]
    assert names_in(shlex.split(said)[0]) == ["a, b=value"]


# ---------------------------------------------------------------- byte by byte

FILES = {
    "blanks and quotes": b'arm,age,lab\n "A" ,<40,neg\n'.replace(b'" ,', b'",')
    + b',  40-65  ,"neg"\n\n  A,">65",\n"",<40,pos\n',
    "windows": b"arm,age,lab\r\n,<40,neg\r\nA,,\r\n\r\n",
    "windows, twice": b"arm,age,lab\r\r\n,<40,neg\r\r\nA,,\r\r\n",
    "no last newline": b"arm,age,lab\nA,<40,\n,40-65,neg",
    "a mark": b"\xef\xbb\xbfarm,age,lab\nA,<40,\n",
    "more columns": b'note,lab,arm,age\n"a ""b"", c\nd",?,A,<40\nx\r,NA, ,<40 \n'.replace(
        b"x\r", b"x"
    ),
    "utf-16": "arm,age,lab\nA,<40,\n".encode("utf-16"),
    "blank lines first": b"\n  \narm,age,lab\nA,<40,\n",
    "sep": b"sep=,\narm,age,lab\nA,<40,\n",
}


@pytest.mark.parametrize("content", FILES.values(), ids=list(FILES))
def test_every_other_byte_comes_back(run, tmp_path, content):
    path, out = tmp_path / "in.csv", tmp_path / "o.csv"
    path.write_bytes(content)
    command = ["fill", str(run / "run"), str(path), "--steps", "4", "--out", str(out), *CPU]
    assert main(command) == 0
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    before, after = content.decode(encoding), out.read_bytes().decode(encoding)
    table = open_data(run / "data").tokenizer
    values = "|".join(re.escape(v) for column in table.columns for v in column.values)
    original = Original(path, ",", "", Silent())
    pieces, at = [], 0
    holes = [
        cell
        for row in original.rows
        for cell in row
        if original.text[cell.start : cell.end].strip().lower() in table.missing
    ]
    for cell in holes:
        pieces += [re.escape(original.text[at : cell.start]), f"(?:{values})"]
        at = cell.end
    pieces.append(re.escape(original.text[at:]))
    assert holes and re.fullmatch("".join(pieces), after.removeprefix("\ufeff"))
    assert after.startswith("\ufeff") == before.startswith("\ufeff")
    if encoding == "utf-16":
        assert out.read_bytes()[:2] == content[:2]


class Silent:
    def update(self, _):
        pass


def test_packed_files_come_back_unpacked(run, tmp_path):
    (tmp_path / "in.csv.gz").write_bytes(gzip.compress(b"arm,age,lab\nA,<40,\n"))
    out = tmp_path / "o.csv"
    command = ["fill", str(run / "run"), str(tmp_path / "in.csv.gz"), "--out", str(out), *CPU]
    assert main(command) == 0
    assert re.fullmatch(rb"arm,age,lab\nA,<40,(neg|pos)\n", out.read_bytes())


def test_the_cells_are_found_where_they_stand(tmp_path):
    """What is found in the text is what the csv module reads, for random files."""
    draw = random.Random(1)
    cells = ["a", "", " ", '"x"', '"a,b"', '"q""q"', '"l\nl"', " pad ", '  "z"', "1.5", '""']
    for trial in range(300):
        width = draw.randint(1, 4)
        end = draw.choice(["\n", "\r\n", "\r\r\n"])
        rows = [[draw.choice(cells) for _ in range(width)] for _ in range(draw.randint(1, 6))]
        text = "".join(",".join(row) + end + draw.choice(["", "", end]) for row in rows)
        if draw.random() < 0.5:
            text = text.removesuffix(end)
        path = tmp_path / f"{trial}.csv"
        path.write_bytes(text.encode())
        if not text.strip(' ",\r\n'):  # no value from which on rows count
            continue
        found = Original(path, ",", "", Silent())
        lines = io.StringIO(text, newline="\n").readlines()
        read = csv.reader(lines, skipinitialspace=True, strict=True)
        rows = [row for row in read if row and (width == 1 or row != [""])]
        expected = [[cell.strip() for cell in row] for row in rows]
        shown = [[content(found.text, cell) for cell in row] for row in found.rows]
        first = next((i for i, row in enumerate(expected) if any(row)), 0)
        assert shown[-(len(expected) - first) :] == expected[first:], text


@pytest.mark.parametrize(
    "text, delimiter, expected",
    [
        ("a,b\nx, ? \n", ",", 'a,b\nx,"c, ""d"""\n'),
        ("b,a\n\t? ,x\n", ",", 'b,a\n"c, ""d""",x\n'),
        ("a\tb\r\nx\t \xa0?  \r\n", "\t", 'a\tb\r\nx\t"c\t ""d"""\r\n'),
    ],
)
def test_a_value_that_needs_quotes_is_read_again(tmp_path, text, delimiter, expected):
    path, value = tmp_path / "t.csv", f'c{delimiter} "d"'
    path.write_bytes(text.encode())
    original = Original(path, delimiter, "", Silent())
    (at,) = (c for c, cell in enumerate(original.rows[1]) if content(original.text, cell) == "?")
    path.write_bytes(original.with_cells([(1, at, value)]))
    assert path.read_bytes().decode() == expected
    assert read_cells(path, Silent(), delimiter=delimiter).row(1)[at] == value


def content(text, cell):
    inside = text[cell.start : cell.end]
    return (inside.replace('""', '"') if cell.quoted else inside).strip()


# ---------------------------------------------------------------- preparing

NAMIBIA = "continent,x\n" + "NA,1\nEU,NA\nNA,2\nEU,\n" * 20


def test_prepare_counts_what_is_missing_and_warns_of_words(tmp_path, capsys):
    (tmp_path / "t.csv").write_text(NAMIBIA)
    command = ["prepare", "tables", str(tmp_path / "t.csv")]
    assert main([*command, str(tmp_path / "a")]) == 0
    said = capsys.readouterr().out
    assert re.search(r"continent +categories +1 +40 NA +EU ", said)
    assert re.search(r"x +numbers +2 +40 .20 (NA, 20 empty|empty, 20 NA). +2 ", said)
    fix = re.search(r'warning: .NA. was taken as missing in 40 cells .*--missing "(.*)"', said)
    assert fix is not None and said.count("warning") == 1  # no word is a number
    assert main([*command, str(tmp_path / "b"), "--missing", fix[1]]) == 0
    assert "warning" not in capsys.readouterr().out
    table = open_data(tmp_path / "b").tokenizer
    assert table.columns[0].values == ("EU", "NA") and table.columns[1].missing
    assert (
        not table.columns[0].missing and table.spec() == type(table).from_spec(table.spec()).spec()
    )
    flags = ["--missing", "?;x=NA,2"]
    assert main([*command, str(tmp_path / "c"), *flags]) == 0
    table = open_data(tmp_path / "c").tokenizer
    assert table.columns[1].values == ("1",) and table.columns[0].values == ("EU", "NA")
    assert main([*command, str(tmp_path / "d"), "--missing", "?;y=NA"]) == 2
    assert "no column 'y'" in capsys.readouterr().err
    assert main([*command, str(tmp_path / "none"), "--missing", ""]) == 0  # but empty cells
    table = open_data(tmp_path / "none").tokenizer
    assert table.columns[1].values == ("1", "2", "NA") and table.columns[0].values == ("EU", "NA")
    # columns that are others' are read as those, whatever is advised
    assert main([*command, str(tmp_path / "e"), "--like", str(tmp_path / "a")]) == 0
    assert "warning" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "missing",
    [
        "?,NA;x=-9", ",NA", ",;continent=NA", "?;continent=NA,?;x=", "?,NA;x=?,-9",
        '"n, a",NA;x="no ""x""","$x"',
    ],
)  # fmt: skip
def test_the_advice_on_a_word_leaves_all_other_cells_as_they_were(tmp_path, capsys, missing):
    (tmp_path / "t.csv").write_text(NAMIBIA)
    command = ["prepare", "tables", str(tmp_path / "t.csv")]
    assert main([*command, str(tmp_path / "a"), "--missing", missing]) == 0
    said = re.search(r".NA. was taken .*continent.*(--missing .*)", capsys.readouterr().out)
    assert main([*command, str(tmp_path / "b"), *shlex.split(said[1])]) == 0
    before, after = (open_data(tmp_path / name).tokenizer for name in "ab")
    words = [
        {name: set(table.missing_in.get(name, table.missing)) for name in ("continent", "x", "")}
        for table in (before, after)
    ]
    assert words[1] == words[0] | {"continent": words[0]["continent"] - {"na"}}


@pytest.mark.parametrize("missing, mark", [(("",), ""), (("?",), ", or write [?] into them")])
def test_a_mark_is_advised_where_it_is_a_missing_cell(tmp_path, missing, mark):
    how = {"missing": missing, "progress": False}
    prepare_table(clinic(tmp_path / "c.csv"), tmp_path / "d", **how)
    data = open_data(tmp_path / "d")
    kind = kind_of(data.meta, data.folder)
    (tmp_path / "full.csv").write_text("arm,age,lab\nA,<40,neg\n")
    flags = {"out": str(tmp_path / "o.csv"), "num": 1, "window": False}
    with pytest.raises(ValueError, match=f"no missing cell .* leave such cells empty{mark}$"):
        kind.read(tmp_path / "full.csv", Flags(kind.Read(), flags), data.length)


def test_the_meta_file_has_a_format_of_its_own(tmp_path):
    prepare_table(clinic(tmp_path / "c.csv"), tmp_path / "d", progress=False)
    meta = json.loads((tmp_path / "d" / "meta.json").read_text())
    assert meta["format"] == 2 and meta["missing"] == {"lab": {"": 2000}}
    assert meta["tokenizer"]["missing_is"] == "missing"
    (tmp_path / "d" / "meta.json").write_text(json.dumps(meta | {"format": 3}))
    with pytest.raises(ValueError, match="format 3 .*, expected 1 or 2"):
        open_data(tmp_path / "d")


def test_unknown_cells_are_hidden_in_training_as_in_use(tmp_path):
    """Missing at random: no place of its own, the same state as that from which sampling starts."""
    how = {"missing_is": "unknown", "progress": False}
    prepare_table(clinic(tmp_path / "c.csv"), tmp_path / "d", **how)
    data = open_data(tmp_path / "d")
    assert data.length == 3 and data.tokenizer.links is None and data.hides
    batch = next(data.windows("train", 3, 64))
    assert set(batch) == {"x", "role"} and set(batch["role"].unique().tolist()) == {2, 3}
    from unmask.config import TrainConfig

    config = TrainConfig(length=3, dim=8, layers=1, heads=2)
    model = build(config, data.vocab_size, {"data": data.meta, "length": 3})
    assert model.partner is None
    clean = model.clean(**batch)
    all_hidden = model.masked(clean, clean.scored)
    assert (all_hidden == model.mask_id).all() and clean.told == {}


# ---------------------------------------------------------------- the audit


def test_the_audit_sees_whether_training_and_use_agree(run, tmp_path, capsys):
    command = ["audit", str(run / "run"), "--data", str(run / "data"), "--limit", "8", *CPU]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert re.search(r"beginning: .*pass", said)
    for what in ("samples", "rows as they are"):
        line = re.search(rf"{what}: lab \(present or missing\) +(\S+) ", said)
        assert line is not None and abs(float(line[1])) < 0.12


def test_the_audit_of_an_earlier_version_fails_where_missing_cells_were_hidden(tmp_path, capsys):
    old = shutil.copytree(WRITTEN / "table", tmp_path / "table")
    flags = ["--data", str(old / "data"), "--split", "train", "--limit", "32", *CPU]
    assert main(["audit", str(old / "run"), *flags]) == 1
    said = capsys.readouterr().out
    assert re.search(r"beginning: .*FAIL", said) and said.count("FAIL") == 2  # and the last line


def test_the_audit_of_values_that_nobody_knows(tmp_path, capsys):
    how = {"missing_is": "unknown", "progress": False}
    prepare_table(clinic(tmp_path / "c.csv"), tmp_path / "d", **how)
    flags = ["--data", str(tmp_path / "d"), "--out", str(tmp_path / "run")]
    assert main(["train", "table", *flags, *LEARN, "--steps", "5", *CPU]) == 0
    command = ["audit", str(tmp_path / "run"), "--data", str(tmp_path / "d"), "--limit", "8", *CPU]
    assert main(command) == 0
    assert re.search(r"beginning: .*pass", capsys.readouterr().out)
    (tmp_path / "in.csv").write_text("arm,age,lab\n,<40,\n")
    fill = ["fill", str(tmp_path / "run"), str(tmp_path / "in.csv"), "--columns", "arm", *CPU]
    assert main([*fill, "--out", str(tmp_path / "o.csv")]) == 0
    assert main([*fill, "--empty", "missing", "--out", str(tmp_path / "o.csv")]) == 2
    assert "takes missing cells for values that are not known" in capsys.readouterr().err
