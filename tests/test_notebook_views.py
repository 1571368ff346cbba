"""What a notebook shows of estimates, audits and samples: their figures, and nothing that runs."""

import math
import re
from html.parser import HTMLParser

import numpy as np
import torch

from unmask.audit import Verdicts, entropy_floor
from unmask.audit.checks import Check
from unmask.audit.selftest import Row
from unmask.data import Samples, open_data, prepare_images, prepare_proteins, prepare_table
from unmask.estimate import Estimate
from unmask.kinds.registry import demos
from unmask.markup import escaped, table
from unmask.roles import SCORED

NASTY = '</td><script>alert("1")</script>&\x00'


class Cells(HTMLParser):
    """Rows of cells of a table."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.tags = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self.rows[-1][-1] += data


def shown(thing):
    return Cells(thing._repr_html_())


def test_a_table_holds_what_it_is_given_and_no_more():
    found = Cells(table([[NASTY, 1], ["b", None]], ["name", NASTY]))
    said = NASTY.replace("\x00", "\u2400")
    assert found.rows == [["name", said], [said, "1"], ["b", "None"]]
    assert set(found.tags) == {"table", "tr", "th", "td"}
    assert escaped('<&"') == "&lt;&amp;&quot;"


def test_an_estimate_has_its_figures_and_errors():
    replicates = torch.tensor([[2.0, 4.0, 6.0], [2.5, 4.5, 5.0]], dtype=torch.float64)
    one = Estimate(
        replicates, torch.tensor([2, 2, 4]), repeats=2, steps=None, masking="digit", seed=0,
        name="exact count", what=NASTY,
    )  # fmt: skip
    rows = dict(shown(one).rows)
    assert rows["nats per example"] == f"4.0000 +- {one.stderr:.4f}"
    bits = 12 / 8 / math.log(2)  # three examples of 4 nats on average, 8 positions
    assert rows["bits per position"].startswith(f"{bits:.4f} +- ")
    assert rows["perplexity per position"] == f"{math.exp(1.5):.4g}"
    assert rows["examples"] == "3, 8 positions" and rows["draws of an example"] == "2"
    assert rows["what"] == NASTY.replace("\x00", "\u2400") and "sampler" not in rows
    alone = Estimate(replicates[:, :1], torch.tensor([2]), 2, None, "digit", 0)
    assert "(error not known)" in dict(shown(alone).rows)["nats per example"]
    once = Estimate(replicates[:1], torch.tensor([2, 3, 3]), 1, None, "digit", 0)
    assert "of which noise of the masks" in rows
    assert "of which noise of the masks" not in dict(shown(once).rows)


def test_audits_are_tables_with_their_verdicts():
    checks = Verdicts([
        Check("close", 1e-7, 1e-6, "nats", NASTY), Check("far", 2.0, 1.0, "nats"),
        Check("only reported", 0.5, math.nan, "bits"), Check("unknown", math.nan, 1.0, "nats"),
    ])  # fmt: skip
    header, *rows = shown(checks).rows
    assert header == ["name", "measured", "limit", "unit", "note", "verdict"]
    assert [row[-1] for row in rows] == ["pass", "FAIL", "", "FAIL"]
    assert rows[0][1:3] == ["1e-07", "1e-06"] and rows[2][2] == "-" and rows[3][1] == "-"
    assert shown(checks[1]).rows == [header, rows[1]]
    assert str(checks).splitlines() == [str(check) for check in checks]
    assert Verdicts()._repr_html_() == "<p>nothing was checked</p>"
    row = Row("e", "d", 1.0, 0.1, 1.0, 0.9, 0.5, True, "n")
    header, cells = shown(row).rows
    assert "passed" not in header and cells[-1] == "pass"
    floor = entropy_floor(lambda denoiser, x: torch.full((len(x),), 0.1, dtype=torch.float64))
    rows = dict(shown(floor).rows)
    assert rows["verdict"] == "not a bound" and rows["loss"] == "0.1000 ± 0.0000 nats"


def test_samples_of_a_text_are_its_letters(data):
    opened = open_data(data)
    encode = opened.tokenizer.encode
    ids = np.full((2, 9), -1)
    ids[0], ids[1, :5] = encode("the quick"), encode("brown")
    found = Samples(opened, torch.from_numpy(ids))
    assert repr(found) == "the quick\nbrown" and len(found) == 2
    assert found._repr_html_() == "<pre>\nthe quick</pre><pre>\nbrown</pre>"
    many = Samples(opened, [encode("dog")] * 25)
    assert repr(many).splitlines() == ["dog"] * 20 + ["and 5 more"]
    assert many._repr_html_().endswith("</pre><p>and 5 more</p>")


def test_samples_of_a_table_are_a_table(tmp_path):
    (tmp_path / "t.csv").write_text("name,<b>\n" + "a&b,1\nc,\n" * 20)
    prepare_table(tmp_path / "t.csv", tmp_path / "data", header="yes", progress=False)
    opened = open_data(tmp_path / "data")
    x = opened.batch("train", opened.length, 20, 0, 0)["x"]
    header, *rows = shown(Samples(opened, x)).rows
    assert header == ["name", "<b>"] and len(rows) == 20
    assert {tuple(row) for row in rows} == {("a&b", "1"), ("c", "")}
    assert repr(Samples(opened, x[:1])) in ("a&b, 1", "c, ")


def test_samples_of_pictures_are_a_picture(tmp_path):
    source = demos()["digits"].source
    prepare_images(source, tmp_path / "data", progress=False)
    opened = open_data(tmp_path / "data")
    x = opened.batch("train", opened.length, 3, 0, 0)["x"]
    page = Samples(opened, x)._repr_html_()
    assert re.fullmatch(
        r'<img alt="3 pictures of [^"<>]*" src="data:image/png;base64,[\w+/=]+">', page
    )
    assert repr(Samples(opened, x[:1])).startswith("a picture of 8 x 8 x 1")
    assert Samples(opened, [])._repr_html_() == "" and repr(Samples(opened, [])) == ""


def test_samples_of_proteins_are_letters(tmp_path):
    (tmp_path / "p.fasta").write_text("".join(f">{i}\nMKV{'AG' * i}\n" for i in range(1, 60)))
    prepare_proteins(tmp_path / "p.fasta", tmp_path / "data", progress=False)
    opened = open_data(tmp_path / "data")
    assert repr(Samples(opened, [opened.tokenizer.encode("MKV")])) == "MKV"
    batch = opened.batch("train", 200, 8, 0, 0)  # shorter ones are padded
    letters = {f"MKV{'AG' * i}" for i in range(1, 60)}
    assert not batch["valid"].all()
    assert set(repr(Samples(opened, batch)).splitlines()) <= letters
    batch["role"] = batch.pop("valid").to(torch.int8) * SCORED
    assert set(repr(Samples(opened, batch)).splitlines()) <= letters


def test_what_nobody_knows_is_shown_as_that(tmp_path):
    (tmp_path / "p.fasta").write_text("".join(f">{i}\nMKXVA{'G' * i}\n" for i in range(60)))
    prepare_proteins(tmp_path / "p.fasta", tmp_path / "p", progress=False)
    opened = open_data(tmp_path / "p")
    said = repr(Samples(opened, opened.batch("train", 80, 8, 0, 0))).splitlines()[:8]
    assert len(said) == 8 and all(line.startswith("MKXVA") for line in said)
    (tmp_path / "t.csv").write_text("name,n\n" + ",1\nb,2\n" * 20)
    how = {"header": "yes", "missing_is": "unknown", "progress": False}
    prepare_table(tmp_path / "t.csv", tmp_path / "t", **how)
    opened = open_data(tmp_path / "t")
    batch = opened.batch("train", opened.length, 20, 0, 0)
    assert set(repr(Samples(opened, batch)).splitlines()) == {", 1", "b, 2"}
    x = batch["x"][:1].clone()
    there = torch.tensor([[True, False]])
    for rows in ({"x": x, "valid": there}, torch.where(there, x, -1)):  # an end that is not there
        assert shown(Samples(opened, rows)).rows[1:] == [["b", ""]]
