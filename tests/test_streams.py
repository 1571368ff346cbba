"""Standard input is a file like another for fill and score, and - as an output the other stream."""

import csv
import io
import json
import socket
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from unmask.cli.main import main
from unmask.files import as_file

TINY = ["--minutes", "0", "--steps", "2", "--batch-size", "4", "--eval-windows", "2"]
NET = [*TINY, *["--dim", "16", "--layers", "1", "--heads", "2"]]
CPU = ["--dtype", "float32"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A model of each kind, and a file with holes for it."""
    home = tmp_path_factory.mktemp("home")
    rows = "".join(f"{i % 9},{'xy'[i % 2]}\n" for i in range(60))
    (home / "tables.src").write_text("a,b\n" + rows)
    (home / "proteins.src").write_text("".join(f">{i}\nMKV{'AG' * i}\n" for i in range(1, 60)))
    (home / "text.src").write_text("to be or not to be " * 80)
    draw = np.random.default_rng(0).integers(0, 4, (40, 4, 4))
    np.savez(home / "images.npz", data=draw.astype(np.uint8) * 80)
    small = ["--length", "16"]
    sources = {
        "text": (["--tokenizer", "characters"], "demo", [*NET, *small]),
        "tables": ([], "table", NET),
        "proteins": ([], "protein", [*NET, *small]),
        "images": (["--split", "30,5,5"], "digits", [*TINY, "--widths", "8"]),
    }
    for kind, (prepare, preset, train) in sources.items():
        source = str(home / ("images.npz" if kind == "images" else f"{kind}.src"))
        folder, out = str(home / f"{kind}-data"), str(home / kind)
        assert main(["prepare", kind, source, folder, *prepare]) == 0
        assert main(["train", preset, "--data", folder, "--out", out, *train]) == 0
    (home / "lines").write_text("to be\nor not\n")
    (home / "text.in").write_text("to [MASK:2] or")
    (home / "tables.in").write_text("a,b\n3,x\n,y\n4,\n")
    (home / "proteins.in").write_text(">one\nMKVX\n>two\nMKVA--\n")
    picture = Image.fromarray(draw[0].astype(np.uint8) * 80)
    picture.putalpha(Image.fromarray(np.uint8([[0, 0, 255, 255]] * 4)))
    picture.save(home / "images.in", "PNG")
    return home


def streamed(monkeypatch, content, *argv):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    return main([str(one) for one in argv])


KINDS = ["text", "tables", "proteins", "images"]


@pytest.mark.parametrize("kind", KINDS)
def test_fill_takes_standard_input_like_a_file(home, kind, tmp_path, monkeypatch):
    content = (home / f"{kind}.in").read_bytes()
    suffix = ".png" if kind == "images" else ".out"
    flags = ["--steps", "4", *CPU, "--out"]
    named, piped = tmp_path / f"named{suffix}", tmp_path / f"piped{suffix}"
    assert main(["fill", str(home / kind), str(home / f"{kind}.in"), *flags, str(named)]) == 0
    assert streamed(monkeypatch, content, "fill", home / kind, "-", *flags, piped) == 0
    assert named.read_bytes() == piped.read_bytes() != b""


@pytest.mark.parametrize("kind", KINDS)
def test_score_takes_standard_input_like_a_file(home, kind, tmp_path, monkeypatch, capsys):
    content = (home / f"{kind}.in").read_bytes()
    if kind == "tables":  # in these an empty cell is one too many
        content = b"a,b\n3,x\n4,y\n"
    (tmp_path / "standard-input").write_bytes(content)
    flags = ["--repeats", "4", *CPU]
    capsys.readouterr()
    assert main(["score", str(home / kind), str(tmp_path / "standard-input"), *flags]) == 0
    named = capsys.readouterr().out
    assert streamed(monkeypatch, content, "score", home / kind, "-", *flags) == 0
    assert capsys.readouterr().out == named and named.count("\n") > 1


def test_json_lines_are_known_by_their_first_line(home, monkeypatch, capsys):
    """There is no name that would tell; a text that only begins with a brace is a text."""
    content = b'{"given": "to be ", "text": "or not"}\n'
    flags = ["score", home / "text", "-", "--repeats", "4", *CPU]
    capsys.readouterr()
    assert streamed(monkeypatch, content, *flags) == 0
    out, err = capsys.readouterr()
    assert next(csv.DictReader(io.StringIO(out)))["tokens"] == "6"
    assert "note: standard input is JSON lines" in err
    assert streamed(monkeypatch, b"{or\n", *flags) == 2
    assert "standard-input, line 1: character '{'" in capsys.readouterr().err


def test_one_file_comes_by_standard_input(home, monkeypatch, capsys):
    flags = ["score", home / "text", home / "lines", "--repeats", "4"]
    capsys.readouterr()
    assert streamed(monkeypatch, b"to bo\n", *flags, "--pairs", "-") == 0
    assert capsys.readouterr().out.count("\n") == 3
    assert streamed(monkeypatch, b"t[MASK] be\nor n[MASK]t", *flags, "--holes", "-") == 0
    assert [row["tokens"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))] == [
        "1", "1",
    ]  # fmt: skip
    pairs = [*flags, "--pairs", home / "lines", "--holes", "-"]  # whose marks are for both
    assert streamed(monkeypatch, b"t[MASK] be\nor n[MASK]t", *pairs) == 0
    assert {
        row["other_tokens"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))
    } == {"1"}
    assert streamed(monkeypatch, b"to be\n", *flags[:2], "-", "--pairs", "-") == 2
    assert "two files are to come by standard input" in capsys.readouterr().err


def test_an_error_calls_it_by_its_name(home, monkeypatch, capsys):
    cases = {
        ("fill", "text"): (b"no hole", "standard-input: the text has no hole"),
        ("fill", "tables"): (b"a,b\n1,x\n", "standard-input has no missing cell"),
        ("fill", "proteins"): (b">a\nMKV\n", "standard-input has no hole"),
        ("fill", "images"): (b"no picture", "standard-input"),
        ("score", "text"): (b"to be or not to be or", "standard-input, line 1 has 21 tokens"),
        ("score", "tables"): (b"a,b\n1,z\n", "standard-input, line 2: 'z'"),
        ("score", "proteins"): (b">a\nXX\n", "standard-input, line 1"),
        ("score", "images"): (b"no picture", "standard-input"),
    }
    for (verb, kind), (content, said) in cases.items():
        capsys.readouterr()
        assert streamed(monkeypatch, content, verb, home / kind, "-", *CPU) == 2
        err = capsys.readouterr().err
        assert said in err and "/tmp" not in err, (verb, kind)


def test_there_may_be_no_standard_input(home, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", None)
    for verb in ("fill", "score"):
        assert main([verb, str(home / "text"), "-", *CPU]) == 2
        assert "standard input is closed: name a file" in capsys.readouterr().err


def test_a_dash_is_standard_output(home, tmp_path):
    """Also of a table, which otherwise is written beside the other."""

    def run(*argv):
        command = [sys.executable, "-m", "unmask", *map(str, argv), *CPU]
        content = (home / "tables.in").read_bytes()
        done = subprocess.run(command, input=content, capture_output=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout.decode()

    filled = run("fill", home / "tables", "-", "--steps", "4", "--out", "-")
    rows = list(csv.reader(io.StringIO(filled)))
    assert rows[:2] == [["a", "b"], ["3", "x"]] and all(all(row) for row in rows)
    assert len(rows) == 4
    said = run("score", home / "text", home / "lines", "--out", "scores.csv", "--json", "-")
    assert len(json.loads(said)["scores"]) == 2
    assert sorted(one.name for one in tmp_path.iterdir()) == ["scores.csv"]


@pytest.fixture
def spoken(capfdbinary, tmp_path, monkeypatch):
    """What a command writes to standard output, and to standard error, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*argv, code=0):
        capfdbinary.readouterr()
        done = main([str(one) for one in argv])
        out, err = capfdbinary.readouterr()
        assert done == code, err
        return out, err.decode()

    return run


def test_a_record_on_standard_output_stands_there_alone(home, tmp_path, spoken):
    """What is told otherwise is told on standard error; nothing lies beside what is no file."""
    quick = ["--repeats", "2", "--limit", "2", *CPU]
    runs = {
        "bits per character": ["eval", home / "text", "--data", home / "text-data", *quick],
        "name,tokens": ["score", home / "text", home / "lines", "--repeats", "2", *CPU],
        "data: ": ["prepare", "text", home / "text.src", tmp_path / "data"],
        "--- 1": ["sample", home / "text", "--num", "2", "--steps", "2", *CPU],
    }
    for told, argv in runs.items():
        out, err = spoken(*argv, "--json", "-")
        assert "version" in json.loads(out)
        assert told in err and "wrote -\n" in err, argv[0]
    assert [one.name for one in tmp_path.iterdir()] == ["data"]


def test_the_verb_after_it_tells_on_standard_output_again(home, spoken):
    argv = ["prepare", "text", home / "text.src"]
    assert json.loads(spoken(*argv, "a", "--json", "-")[0])["kind"] == "text"
    assert spoken(*argv, "b")[0].startswith(b"b: ")


def test_two_results_are_not_mixed(home, spoken):
    for other in ("-", "/dev/stdout", "/dev/fd/1"):
        argv = ["fill", home / "tables", home / "tables.in", "--out", "-", "--json", other]
        out, err = spoken(*argv, code=2)
        assert out == b"" and f"--out - and --json {other}: standard output takes one" in err


def test_standard_output_may_be_a_socket(home):
    """It cannot be opened by a name."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            argv = ["score", home / "text", home / "lines", "--repeats", "2", "--out", "-", *CPU]
            command = [sys.executable, "-m", "unmask", *map(str, argv)]
            assert subprocess.run(command, stdout=theirs).returncode == 0
        with ours.makefile("rb") as stream:
            assert stream.read().startswith(b"name,tokens,nats")


def test_standard_output_needs_no_ending(home, tmp_path, spoken):
    """It has no name that could have one: a picture is a PNG there, and a page HTML."""
    flags = ["--steps", "2", "--out", "-", *CPU]
    of_pictures = ["fill", home / "images", home / "images.in", *flags]
    for argv in (["sample", home / "images", "--num", "2", *flags], of_pictures):
        out, err = spoken(*argv)
        assert Image.open(io.BytesIO(out)).format == "PNG" and "wrote -\n" in err
    out, err = spoken(*of_pictures, "--num", "2", code=2)
    assert out == b"" and "- takes one result, not 2: name a file" in err
    page = ["report", home / "text", "--num", "1", *flags]
    assert spoken(*page)[0].startswith(b"<!DOCTYPE html>")
    assert "--out is -" in spoken(*page, "--open", code=2)[1]
    data = ["--data", home / "text-data", "--limit", "2", "--repeats", "2"]
    out, err = spoken("grid", home / "text", *data, *flags)
    assert json.loads(out)["steps"] == 2 and "one token at a time" in err
    assert not list(tmp_path.iterdir())


def test_a_folder_is_not_written_to_standard_output(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    runs = [
        ["train", "demo", "--data", str(home / "text-data"), "--out", "-", *NET],
        ["prepare", "text", str(home / "text.src"), "-"],
        ["demo", "--out", "-"],
    ]
    for argv in runs:
        capsys.readouterr()
        assert main(argv) == 2
        assert "is -: this is not written to standard output" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_file_may_be_called_dash(home, tmp_path, monkeypatch):
    """./- is a file, to read and to write."""
    monkeypatch.chdir(tmp_path)
    content = (home / "text.in").read_bytes()
    (tmp_path / "-").write_bytes(content)
    flags = ["--steps", "2", *CPU]
    run = str(home / "text")
    for number, source in enumerate(("./-", str(home / "text.in"))):
        assert streamed(monkeypatch, b"", "fill", run, source, *flags, "--out", str(number)) == 0
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes() != b""
    (tmp_path / "-").write_text("to be or not\n" * 20)
    scored = ["score", run, "./-", *CPU, "--repeats", "2", "--out"]
    assert streamed(monkeypatch, b"", *scored, "scores.csv") == 0
    assert streamed(monkeypatch, b"", "prepare", "text", "./-", "data") == 0
    assert json.loads((tmp_path / "data" / "meta.json").read_text())["source"][0]["bytes"] == 260
    (tmp_path / "-").rename(tmp_path / "moved")
    assert streamed(monkeypatch, b"to be or not\n" * 20, *scored[:2], "-", *scored[3:], "./-") == 0
    assert (tmp_path / "-").read_bytes() == (tmp_path / "scores.csv").read_bytes()


def test_standard_input_has_a_limit(tmp_path, monkeypatch):
    """Of what never ends no more is kept, and in the end nothing."""
    monkeypatch.setattr("unmask.files.MOST", 1000)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for size in (1000, 1001, 5000):
        stream = io.BytesIO(b"y" * size)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
        if size == 1000:
            with as_file("-") as file:
                assert file.stat().st_size == 1000
            continue
        with pytest.raises(ValueError, match="more than 1,000 bytes"), as_file("-"):
            pass
        assert stream.tell() <= 2000 and not list(tmp_path.iterdir())


RECORDS = b'{"text": "to be", "id": 1}\n{"text": "or not", "id": 2}\n' * 20
ARRAY = b'[{"text": "to be"}, {"text": "or not"}]'


@pytest.mark.parametrize("content,end", [(RECORDS, "jsonl"), (ARRAY, "json")])
def test_documents_are_known_by_how_they_begin(tmp_path, monkeypatch, capsys, content, end):
    """What a file with an ending is read as; also of a first line that is longer than what is
    looked at."""
    content = content.replace(b"be", b"be" * 600)
    (tmp_path / f"named.{end}").write_bytes(content)
    split = ["--split", "1,0,0"]
    argv = ["prepare", "text"]
    assert main([*argv, str(tmp_path / f"named.{end}"), str(tmp_path / "named"), *split]) == 0
    assert streamed(monkeypatch, content, *argv, "-", tmp_path / "piped", *split) == 0
    assert "note: standard input is " in capsys.readouterr().err
    piped, named = (tmp_path / one / "train.bin" for one in ("piped", "named"))
    assert piped.read_bytes() == named.read_bytes() and b"{" not in piped.read_bytes()
    as_text = [*argv, "-", tmp_path / "text", *split, "--format", "text"]
    assert streamed(monkeypatch, content, *as_text) == 0
    assert (tmp_path / "text" / "train.bin").read_bytes() == content


@pytest.mark.parametrize("content", [b"{or not\n", b"[MASK] to be\n", b'["to be\n', b"{}\n"])
def test_a_text_that_begins_with_a_bracket_is_a_text(tmp_path, monkeypatch, content):
    argv = ["prepare", "text", "-", tmp_path / "data", "--split", "1,0,0"]
    assert streamed(monkeypatch, content, *argv) == 0
    assert (tmp_path / "data" / "train.bin").read_bytes() == content
