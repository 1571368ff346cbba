"""The tables of runs/: masked diffusion and its rivals under one budget, in miniature."""

import json
import sys
from importlib import import_module
from pathlib import Path

import pytest

from unmask.data import prepare_text
from unmask.likelihood.estimators import EXACT

RUNS = Path(__file__).parents[1] / "runs"
SMALL = ["--seeds", "0,1", "--windows", "4", "--dim", "16", "--layers", "1"]


@pytest.fixture
def script(monkeypatch):
    """A script of runs/, which finds the packages beside it as it does when it is run."""
    monkeypatch.syspath_prepend(RUNS)
    before = set(sys.modules)
    yield import_module
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and RUNS in Path(
            sys.modules[name].__file__
        ).parents:
            del sys.modules[name]


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """Prepared data of text8's 27 letters."""
    home = tmp_path_factory.mktemp("letters")
    (home / "text.txt").write_text("the quick brown fox jumps over the lazy dog " * 200)
    how = {"tokenizer": "characters", "alphabet": "text8"}
    prepare_text(home / "text.txt", home / "data", **how, progress=False)
    return home / "data"


def records(out):
    """The cells of a table, by name, and their files as they are."""
    cells = sorted((out / "cells").glob("*.json"))
    made = {path: path.read_text(encoding="utf-8") for path in cells}
    return {path.stem: json.loads(said) for path, said in made.items()}, made


def plan(out, data, calls, **changed):
    """A plan that an earlier version wrote: without the table, its rates and its sizes."""
    of_data = json.loads((data / "meta.json").read_text())["sha256"]
    asked = {"minutes": 10.0, "seeds": [0, 1], "windows": 4, "length": 8, "dim": 16, "layers": 1}
    made = asked | {"data_sha256": of_data, "calls": calls} | changed
    (out / "plan.json").write_text(json.dumps(made))


# ---------------------------------------------------------------- 27 letters


def test_the_table_of_rivals_goes_on_where_it_stopped(script, letters, tmp_path, capsys):
    text = script("text")
    flags = [str(letters), str(tmp_path), "--only", "md4,md4x2,genmd4,ar", "--length", "8", *SMALL]
    with pytest.raises(SystemExit, match="leaves 0 steps a cell: give at least"):
        text.main([*flags, "--minutes", "0.0001"])
    plan(tmp_path, letters, 64, rows=["md4", "md4x2", "genmd4", "ar"])
    assert text.main(flags) == 0
    found, made = records(tmp_path)
    assert len(found) == 16 and not any("failed" in one for one in found.values())
    # the same number of network calls, of one draw or of two
    steps = {one["row"]: one["steps"] for one in found.values()}
    assert steps == {"md4": 4, "md4x2": 2, "genmd4": 2, "ar": 4}
    assert {one["what"] for name, one in found.items() if name.startswith("ar")} == {EXACT}
    said = capsys.readouterr().out
    assert "| likelihood | 2 |" in said and "| 1.23 |" in said
    assert "genmd4 less md4: " in said and "genmd4 less md4x2: " in said
    assert said.splitlines() == text.table(tmp_path)
    # a cell that is lost is done again, to the last bit, from nothing: what training needs is gone
    assert not list((tmp_path / "runs").glob("*/checkpoints"))
    lost = next(iter(made))
    lost.unlink()
    assert text.main(flags) == 0
    assert json.loads(lost.read_text())["bits"] == found[lost.stem]["bits"]
    assert all(path.read_text() == said for path, said in made.items() if path != lost)
    with pytest.raises(SystemExit, match="is of dim 16, not 32: choose another OUT"):
        text.main([*flags, "--dim", "32"])
