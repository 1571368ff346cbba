"""runs/results.py: the tables of docs/results.md are those of their records."""

import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runs"))

import adult_table
import compare_text
import compress
import grids
import policies
import published
import results

from unmask import cli

TEXT = "2026-11-27-orders-and-grids/pol-shakespeare.json"
MARK = f"<!-- table: policies-text, of {TEXT} -->"


@pytest.fixture
def page(tmp_path, monkeypatch):
    """A page of two tables, which it lacks at first, and a copy of their record."""
    record = tmp_path / "records" / TEXT
    record.parent.mkdir(parents=True)
    shutil.copy(results.RECORDS / TEXT, record)
    page = tmp_path / "page.md"
    second = MARK.replace("text", "again", 1)
    marks = f"{MARK}\n{results.END}\n\nProse, 2.924.\n\n{second}\n{results.END}\n"
    page.write_text(f"# Title\n\n{marks}", encoding="utf-8")
    monkeypatch.setattr(results, "PAGE", page)
    monkeypatch.setattr(results, "RECORDS", tmp_path / "records")
    assert results.main([]) == 0
    return page


def test_the_page_has_what_the_records_say(capsys):
    assert results.main(["--check"]) == 0
    assert capsys.readouterr().out == ""


def test_every_table_of_the_page_is_made_of_a_record():
    """None is written by hand: outside the comments the page has no table."""
    lines = results.PAGE.read_text(encoding="utf-8").split("\n")
    places = list(results.places_of(lines))
    assert len(places) >= 15
    inside = {i for place in places for i in range(place.first, place.last)}
    by_hand = [line for i, line in enumerate(lines) if line.startswith("|") and i not in inside]
    assert by_hand == []


def test_another_digit_in_a_record_or_in_the_page_is_seen(page, capsys):
    assert results.main(["--check"]) == 0
    before, middle, after = page.read_text(encoding="utf-8").split(results.END + "\n")
    made = "\n".join(["", *policies.table(results.RECORDS / TEXT), "", ""])
    assert before == f"# Title\n\n{MARK}\n{made}" and after == ""
    assert middle.startswith("\nProse, 2.924.\n\n<!-- table: policies-again, of")
    assert middle.endswith(f"-->\n{made}")
    record = results.RECORDS / TEXT
    found = json.loads(record.read_text(encoding="utf-8"))
    found["rows"][0]["bits"] += 0.001
    record.write_text(json.dumps(found), encoding="utf-8")
    before = page.read_bytes()
    capsys.readouterr()
    assert results.main(["--check"]) == 1 and page.read_bytes() == before
    both = [f"policies-{name}: differs from its record" for name in ("text", "again")]
    assert capsys.readouterr().out.splitlines() == both
    assert results.main(["policies-text"]) == 0 and results.main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == ["policies-text: made anew", both[1]]
    assert results.main([]) == 0 and results.main(["--check"]) == 0
    now = page.read_text(encoding="utf-8")
    assert now.count("| random order, the bound | 2.925 ± 0.030 |  | 64 | 20 |") == 2
    assert "Prose, 2.924." in now
    page.write_text(now.replace("2.940 ± 0.033", "2.941 ± 0.033"), encoding="utf-8")
    assert results.main(["--check"]) == 1


@pytest.mark.parametrize(
    "marks,said",
    [
        ([MARK], "the table policies-text has no <!-- end -->: write it below"),
        ([MARK, MARK, results.END], "policies-text has no <!-- end --> before line 7"),
        ([results.END], "line 6 ends a table that does not begin"),
        ([MARK, results.END, MARK, results.END], "two tables are named policies-text"),
        (["<!-- table policies -->", results.END], "line 6 is '<!-- table policies -->': write"),
        ([MARK, "<!-- end-->"], "line 7 is '<!-- end-->': write"),
        (["<!-- table: nobody, of a.json -->", results.END], "nobody is no script in"),
        (["<!-- table: policies, of a.json -->", results.END], "there is no record"),
        ([f"<!-- table: faults, of {TEXT} -->", results.END], "faults makes no tables"),
        ([f"<!-- table: published, of {TEXT} -->", results.END], "'what' is missing"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(page, capsys, marks, said):
    """And nothing is written, not even tables that could be."""
    fits = f"<!-- table: policies-b, of {TEXT} -->\n{results.END}"
    page.write_text("\n".join(["# Title", "", fits, "", *marks, ""]), encoding="utf-8")
    before = page.read_bytes()
    capsys.readouterr()
    for argv in ([], ["--check"]):
        assert results.main(argv) == 2
        told = capsys.readouterr()
        assert said in told.err and told.err.count("\n") == 1 and told.out == ""
        assert page.read_bytes() == before


def test_names_that_the_page_lacks_and_damaged_records_are_refused(page, capsys):
    assert results.main(["policies-rows"]) == 2
    assert "has no table policies-rows: name one of policies-text" in capsys.readouterr().err
    (results.RECORDS / TEXT).write_text('{"unit": "bits", "rows": [{}]}', encoding="utf-8")
    assert results.main([]) == 2
    for script in ("/tmp/x", "..x", ""):
        assert results.main(["--show", script, str(page)]) == 2
    told = capsys.readouterr().err
    assert told.count("is no script in") == 3
    assert f"{TEXT} is damaged ('difference'): make it again" in told


def test_what_is_damaged_is_named_and_what_is_no_number_is_no_figure(page, tmp_path, capsys):
    seeds = {"baselines": {}, "rows": {"test": 1}}
    protocol = {"unit": "bits per byte", "windows": 1, "repeats": 1}
    part = {name: 7 for name in compress.SUMS}
    one = json.loads((results.RECORDS / TEXT).read_text(encoding="utf-8"))
    first = one["rows"][0]
    for script, content in (
        ("compare_text", protocol | {"rows": []}),
        ("compare_text", protocol | {"windows": 1.5, "rows": []}),
        ("adult_table", seeds | {"seeds": []}),
        ("adult_table", {"baselines": {}, "seeds": [], "rows": {"test": 0.5}}),
        ("proteins", {"bound": {"residues": "x", "sequences": 1}, "recovery": {}, "samples": {}}),
        ("policies", one | {"rows": [first | {"bits": math.inf}]}),
        ("policies", one | {"rows": [first | {"bits": "x"}]}),
        ("grids", {"steps": 1.5}),
        ("compress", part | {"bits": 0}),
        ("compress", part | {"bits": math.inf}),
    ):
        record = file = tmp_path / "record.json"
        if script in ("grids", "compress"):
            record = tmp_path / f"of-{script}"
            file = record / ("a-parts" if script == "compress" else "") / "all.json"
            file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content), encoding="utf-8")
        capsys.readouterr()
        assert results.main(["--show", script, str(record)]) == 2, (script, content)
        told = capsys.readouterr()
        assert str(record) in told.err and told.err.count("\n") == 1 and told.out == ""
    # an error that is not known is left out
    record = tmp_path / "record.json"
    record.write_text(json.dumps(one | {"rows": [first | {"stderr": None}]}), encoding="utf-8")
    assert results.main(["--show", "policies", str(record)]) == 0
    assert f"the bound | {first['bits']:.3f} |" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        results.main(["policies-text", "--show", "policies", str(record)])
    assert "leave out one of them" in capsys.readouterr().err


# ---------------------------------------------------------------- tables of scripts


def test_policies_prints_what_its_record_has(text_run, data, tmp_path, capsys, monkeypatch):
    out = tmp_path / "p.json"
    argv = [str(text_run), "--data", str(data), "--limit", "2", "--repeats", "2", "--orders", "2"]
    monkeypatch.setattr(sys, "argv", ["policies.py", *argv, "--json", str(out)])
    policies.main()
    printed = capsys.readouterr().out.splitlines()
    assert printed == policies.table(out) and len(printed) == 9
    assert "random order, the bound of 2 orders" in printed[3]
    assert results.main(["--show", "policies", str(out)]) == 0
    assert capsys.readouterr().out.splitlines() == printed


def test_a_table_of_grids(text_run, data, tmp_path, capsys):
    folder = tmp_path / "grids"
    folder.mkdir()
    for steps in ("4", "2"):
        argv = ["grid", str(text_run), "--data", str(data), "--repeats", "2", "--limit", "2"]
        argv += ["--out", str(tmp_path / "g.json"), "--json", str(folder / f"{steps}.json")]
        assert cli.main([*argv, "--steps", steps]) == 0
    head, _, two, four = grids.table(folder)
    assert head.startswith("| steps | best, bits per ")
    assert two.startswith("| 2 | ") and four.startswith("| 4 | ")
    one = json.loads((folder / "2.json").read_text(encoding="utf-8"))
    cosine = one["grids"]["cosine"]
    said = f"| {cosine['difference']:+.4f} ± {cosine['difference_stderr']:.4f} |"
    assert said in two
    assert f"| 2 | {one['grids']['this']['value']:.4f} ± " in two
    del cosine["difference"]
    (folder / "2.json").write_text(json.dumps(one), encoding="utf-8")
    with pytest.raises(ValueError, match="2 steps: 'cosine' has no difference"):
        grids.table(folder)
    one["model_sha256"] = "0"
    (folder / "2.json").write_text(json.dumps(one), encoding="utf-8")
    with pytest.raises(ValueError, match="more than one model_sha256"):
        grids.table(folder)
    with pytest.raises(ValueError, match="no files of unmask grid"):
        grids.table(tmp_path / "nobody")


@pytest.mark.parametrize("name", ["2026-11-20-compare-text", "2026-11-24-genmd4"])
def test_compare_text_makes_of_a_record_what_was_printed_then(name):
    found = [path for path in (results.RECORDS / name).glob("*.md") if path.name != "README.md"]
    assert len(found) > 1
    for path in found:
        made = "\n".join(compare_text.table(path.with_suffix(".json"))) + "\n"
        assert made == path.read_text(encoding="utf-8")


def test_a_table_of_compressed_kinds(tmp_path):
    """The figures of a part are those of all.json; here of 1,000 bytes that a likelihood says."""
    of = {name: 7 for name in compress.SUMS}
    of |= {"bits": 8000.0, "payload": 1004, "checks": 8, "examples": 1000, "seconds": 61.5}
    for kind in ("table", "digits"):
        (tmp_path / f"{kind}-parts").mkdir()
        path = tmp_path / f"{kind}-parts" / "all.json"
        path.write_text(json.dumps(of), encoding="utf-8")
    _, _, digits, table = compress.table(tmp_path)
    assert digits == "| digits | 1,000 | 7 | 1,000 | 1,012 | +1.20% | 7 | 7 | 7 | 62 |"
    assert table.startswith("| table |")
    path.write_text(json.dumps(of | {"steps": 64}), encoding="utf-8")
    assert compress.table(tmp_path)[2].startswith("| digits, 64 steps | 1,000 |")
    path.write_text(json.dumps(of | {"xz": "7"}), encoding="utf-8")
    with pytest.raises(ValueError, match='xz is "7", expected a number'):
        compress.table(tmp_path)
    with pytest.raises(ValueError, match="has no KIND-parts/all.json"):
        compress.table(tmp_path / "digits-parts")


def test_published_figures_say_so_and_have_a_source(tmp_path):
    row = {"name": "MADE", "published": "86.64", "source": "a paper"}
    content = {"what": "nats", "value": "v", "error": "e", "digits": 1, "rows": [row]}
    path = tmp_path / "p.json"
    ours = {"v": 1.25, "e": 0.5, "n": 1000, "split": "test", "what": "an upper bound"}
    (tmp_path / "e.json").write_text(json.dumps(ours))
    content["rows"].append({"name": "ours", "eval": "e.json"})
    path.write_text(json.dumps(content), encoding="utf-8")
    assert published.table(path)[2:] == [
        "| MADE | 86.64 | published: a paper |",
        "| **ours** | 1.2 ± 0.5 | a bound, 1,000 test examples |",
    ]
    exact = ours | {"what": "the exact negative log-likelihood"}
    (tmp_path / "e.json").write_text(json.dumps(exact))
    assert published.table(path)[3].endswith("| a likelihood, 1,000 test examples |")
    (tmp_path / "e.json").write_text(json.dumps(ours | {"e": math.nan}))
    with pytest.raises(ValueError, match="e.json: e is NaN, expected a number"):
        published.table(path)
    for wrong in ({"published": "86.64"}, {"eval": "e.json", **row}, {}):
        content["rows"] = [{"name": "MADE"} | wrong]
        path.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(ValueError, match="'MADE' is neither published, with its source, nor"):
            published.table(path)


def test_errors_over_seeds_are_theirs():
    seeds = [{"a": {"b": value}} for value in (1.0, 2.0, 3.0)]
    assert adult_table.over_seeds(seeds, "a", "b") == "2.000 ± 0.577"
    assert adult_table.over_seeds(seeds[:1], "a", "b") == "1.000"


# ---------------------------------------------------------------- whole chains


def chain(name, *arguments, **variables):
    """A script of runs/, of tiny models."""
    env = os.environ | {"PYTHON": sys.executable, "STEPS": "2", "LIMIT": "2"} | variables
    command = [str(results.RUNS / name), *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_a_kind_that_there_is_not_is_refused(tmp_path):
    for name in ("orders.sh", "demo_model.sh"):
        arguments = [tmp_path, "music"] if name == "orders.sh" else ["music", tmp_path]
        made = chain(name, *arguments)
        assert made.returncode == 2
        assert made.stderr == "there is no kind music: shakespeare, table, protein, digits\n"
    assert chain("grids.sh").returncode != 0


def test_what_was_begun_with_something_else_is_refused(tmp_path):
    """A folder of other data or of a longer training is not taken for this one."""
    for name, out, begun, given in (
        ("text.sh", "asked", "SOURCE=a TOKENIZER=bytes SPLIT=", {"TOKENIZER": "characters"}),
        ("images.sh", "asked", "FOLDER=a SET=mnist", {"SET": "cifar10"}),
        ("vocabulary.sh", "asked", "SOURCE=a GPT2=b", {"GPT2": "c"}),
        ("antibodies.sh", "asked", "FASTA=a LIMIT=2 REPEATS=4", {"LIMIT": "3"}),
        ("compress.sh", "digits-asked", "STEPS=2 PICTURES=", {"PICTURES": "a", "KINDS": "digits"}),
        ("compress.sh", "table-asked", "STEPS=2", {"STEPS": "3", "KINDS": "table"}),
    ):
        of = "heavy" if name == "antibodies.sh" else "data"
        kept, data = tmp_path / out, tmp_path / out.replace("asked", of)
        kept.write_text(f"{begun}\n")
        data.mkdir()
        (data / "meta.json").touch()
        arguments = [tmp_path] if name == "compress.sh" else ["a", tmp_path]
        made = chain(name, *arguments, **given)
        said = f"{tmp_path} was begun with {begun}, not "
        assert made.returncode == 2 and said in made.stderr, (name, made.stderr)
        assert sorted(tmp_path.iterdir()) == [kept, data] and kept.read_text() == f"{begun}\n"
        (data / "meta.json").unlink()
        data.rmdir()
        kept.unlink()


def test_a_source_that_was_not_there_is_no_beginning(tmp_path):
    out, source = tmp_path / "out", tmp_path / "letters.txt"
    source.write_text("some letters and more of them " * 40)
    made = chain("text.sh", tmp_path / "leters.txt", out)
    assert made.returncode != 0 and "leters.txt" in made.stderr and not (out / "data").exists()
    made = chain("text.sh", source, out, FLAGS="--report")
    assert "was begun with" not in made.stderr and "holds no table" in made.stderr
    assert (out / "data" / "meta.json").is_file() and "letters.txt" in (out / "asked").read_text()


@pytest.mark.slow
def test_the_chains_end_to_end_and_once(tmp_path):
    """What is finished is not done again, and what is printed is what results.py makes of it."""
    made = chain("orders.sh", tmp_path, "digits")
    assert made.returncode == 0, made.stderr
    assert "\n".join(policies.table(tmp_path / "digits.json")) in made.stdout
    weights = list(tmp_path.glob("digits/run/**/model.safetensors"))
    before = {path: path.stat().st_mtime_ns for path in [*weights, tmp_path / "digits.json"]}
    assert len(before) > 1 and chain("orders.sh", tmp_path, "digits").returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in before}
    made = chain("orders.sh", tmp_path, "digits", LIMIT="3")
    assert made.returncode == 2 and made.stderr.endswith(": choose another OUT\n")
    made = chain("grids.sh", tmp_path / "of-flags", FLAGS="--dim 32 --heads 2")
    assert made.returncode == 0, made.stderr  # of training alone
    made = chain("grids.sh", tmp_path)
    assert made.returncode == 0, made.stderr
    assert made.stdout.rstrip().endswith("\n".join(grids.table(tmp_path / "text")))
    assert re.findall(r"^\| (\d+) \|", made.stdout, re.M) == ["16", "32", "64"]
