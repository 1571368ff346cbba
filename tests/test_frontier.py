"""runs/frontier.py: cells from one command, which goes on where it was stopped."""

import importlib.util
import json
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def frontier():
    path = Path(__file__).parents[1] / "runs" / "frontier.py"
    spec = importlib.util.spec_from_file_location("frontier", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def argv(run, data, out, *more):
    flags = [str(run), "--data", str(data), "--judge", str(run), "--out", str(out), "--num", "6"]
    return [*flags, *more]


def test_cells_are_measured_once_and_drawn(frontier, text_run, data, tmp_path, capsys):
    out, more = tmp_path / "f", ["--temperatures", "0.5,1", "--steps", "2"]
    command = argv(text_run, data, out, "--samplers", "ancestral,first_hitting", *more)
    assert frontier.main(command) == 0
    found = json.loads((out / "frontier.json").read_text(encoding="utf-8"))
    names = [(one["sampler"], one["temperature"], one["steps"]) for one in found["cells"]]
    assert names == [
        ("ancestral", 0.5, 2), ("ancestral", 1.0, 2), ("first_hitting", 0.5, 0),
        ("first_hitting", 1.0, 0),
    ]  # fmt: skip
    for cell in found["cells"]:
        for name in frontier.FIGURES:
            assert set(cell["figures"][name]["samples"]) == {"value", "error"}
        told = (
            out / f"{cell['sampler']}-t{frontier.short(cell['temperature'])}-n{cell['steps']}.json"
        )
        assert (
            json.loads(told.read_text(encoding="utf-8"))["perplexity"]["drawn"]["temperature"]
            == cell["temperature"]
        )
    assert (out / "frontier.png").read_bytes().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "4 of 4: first_hitting, temperature 1: entropy" in said and "(real: " in said
    lines = frontier.table(out / "frontier.json")
    assert "\n".join(lines) in said and len(lines) == 7
    entropy = found["cells"][0]["figures"]["judge_entropy"]
    assert lines[2].startswith(f"| ancestral | 0.5 | 2 | {entropy['samples']['value']:.4g} ± ")
    assert lines[4].startswith("| first_hitting | 0.5 |  | ")
    assert lines[6].startswith(f"| real text, held out | | | {entropy['real']['value']:.4g} ± ")
    before = {path: path.stat().st_mtime_ns for path in out.glob("ancestral*")}
    (out / "first_hitting-t1-n0.json").unlink()
    assert frontier.main(command) == 0
    again = json.loads((out / "frontier.json").read_text(encoding="utf-8"))
    assert again["cells"] == found["cells"]  # the one that was lost is drawn as it was
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("ancestral*")}


def test_numbers_of_some_samplers_are_given_to_these(frontier, text_run, data, tmp_path, capsys):
    out = tmp_path / "f"
    flags = ["--eta", "0.1", "--gamma", "2", "--steps", "2"]
    flags += ["--samplers", "remdm-cap,confidence,entropy-bounded"]
    assert frontier.main(argv(text_run, data, out, *flags)) == 0
    drawn = {
        path.name: json.loads(path.read_text(encoding="utf-8"))["perplexity"]["drawn"]
        for path in out.glob("*-n[0-9].json")
    }
    assert set(drawn) == {
        "remdm-cap-t1-n2.json", "confidence-t1-n2.json", "entropy-bounded-t1-n0.json",
    }  # fmt: skip
    assert drawn["remdm-cap-t1-n2.json"]["eta"] == 0.1
    assert "eta" not in drawn["confidence-t1-n2.json"]
    assert drawn["entropy-bounded-t1-n0.json"]["gamma"] == 2
    # a cell that is refused is no success
    flags = ["--samplers", "remdm-cap,nobody", "--eta", "0.1", "--gamma", "2", "--steps", "2"]
    assert frontier.main(argv(text_run, data, out, *flags)) == 2
    flags = ["--samplers", "remdm-cap,nobody", "--eta", "0.1", "--steps", "2"]
    capsys.readouterr()
    assert frontier.main(argv(text_run, data, tmp_path / "g", *flags)) == 1
    assert "1 of 2 cells were refused" in capsys.readouterr().err
    lines = frontier.table(tmp_path / "g" / "frontier.json")
    assert "| nobody | 1 | 2 | refused |  |  |" in lines


def test_draws_are_cells_of_their_own(frontier, text_run, data, tmp_path, capsys):
    flags = ["--draws", "exact,float32-gumbel", "--steps", "2", "--samplers", "ancestral"]
    assert frontier.main(argv(text_run, data, tmp_path / "f", *flags)) == 0
    for name, draw in {"": "exact", "-float32-gumbel": "float32-gumbel"}.items():
        told = json.loads((tmp_path / "f" / f"ancestral-t1-n2{name}.json").read_text("utf-8"))
        assert told["perplexity"]["drawn"]["draw"] == draw
    said = capsys.readouterr().out
    assert "2 of 2: ancestral, 2 steps, float32-gumbel, temperature 1: entropy" in said


def test_temperatures_that_differ_are_two_cells(frontier, text_run, data, tmp_path):
    flags = ["--temperatures", "0.7000001,0.7", "--steps", "2", "--samplers", "ancestral"]
    assert frontier.main(argv(text_run, data, tmp_path / "f", *flags)) == 0
    assert (tmp_path / "f" / "ancestral-t0.7000001-n2.json").exists()
    assert (tmp_path / "f" / "ancestral-t0.7-n2.json").exists()


def test_what_cannot_be_is_said(frontier, text_run, data, tmp_path, capsys):
    out = tmp_path / "f"
    assert frontier.main(argv(text_run, data, out, "--samplers", "nobody")) == 2
    assert "no cell could be measured" in capsys.readouterr().err
    assert frontier.main(argv(text_run, data, out, "--seed", "1")) == 2
    assert "has cells of another seed: name another --out" in capsys.readouterr().err
    assert frontier.main(argv(text_run, data, out, "--steps", "two")) == 2
    assert "give numbers with commas" in capsys.readouterr().err
    assert frontier.main(argv(text_run, data, out, "--draws", "float16")) == 2
    assert "--draws float16: name some of exact, float32-gumbel" in capsys.readouterr().err
    assert frontier.main(argv(text_run, tmp_path / "nosuch", tmp_path / "h")) == 2
    assert "nosuch" in capsys.readouterr().err
    assert frontier.main(argv(text_run, data, out, "--eta", "0.1")) == 2
    assert "--eta is of remdm-cap and remdm-rescale, which --samplers" in capsys.readouterr().err
    assert frontier.main(argv(tmp_path / "no", data, tmp_path / "g")) == 2
    assert "there is no folder" in capsys.readouterr().err
