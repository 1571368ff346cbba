"""Data folders, models and runs that an earlier version wrote (commit b129103) are read, mean the
same, and go on."""

import json
import shutil
from pathlib import Path

import pytest
import torch

import unmask
from unmask.cli import main
from unmask.data import open_data

WRITTEN = Path(__file__).parent / "written_by_b129103"
EXPECTED = json.loads((WRITTEN / "expected.json").read_text(encoding="utf-8"))
SMALL = [
    "--dim", "8", "--layers", "1", "--heads", "2", "--minutes", "0", "--steps", "6",
    "--batch-size", "4", "--eval-windows", "4", "--dtype", "float32", "--eval-minutes", "0",
]  # fmt: skip
KINDS = {  # and what the presets had not then
    "text": ("demo", 16, ["--length", "16", "--neighbours", "0", "--focus", "0"]),
    "table": ("table", 3, ["--no-traits", "--focus", "0"]),
}


@pytest.fixture(params=KINDS)
def old(request, tmp_path):
    """(kind, a copy of its folder)."""
    return request.param, shutil.copytree(WRITTEN / request.param, tmp_path / request.param)


def test_tokens_and_predictions_are_what_they_were(old):
    kind, folder = old
    length, expected = KINDS[kind][1], EXPECTED[kind]
    batch = next(open_data(folder / "data").windows("train", length, 4))
    assert batch["x"].tolist() == expected["tokens"]
    model = unmask.MaskedDiffusion.from_pretrained(folder / "run")
    valid = batch.get("valid")
    z = model.corrupt(
        batch["x"], (torch.arange(length) % 2 == 0).expand(len(batch["x"]), -1), valid
    )
    with torch.no_grad():
        found = model.predict(z, valid=valid)[:, 0].exp()
    assert torch.allclose(found, torch.tensor(expected["probabilities"]), rtol=1e-4, atol=1e-6)


def test_the_verbs_take_them(old, tmp_path, capsys):
    kind, folder = old
    preset, _, more = KINDS[kind]
    data, run = str(folder / "data"), str(folder / "run")
    assert (
        main(["eval", run, "--data", data, "--repeats", "2"]) == 0
        and "an upper bound" in capsys.readouterr().out
    )
    command = ["sample", run, "--num", "2", "--steps", "3", "--out", str(tmp_path / "samples")]
    assert main(command) == 0
    assert main(["train", preset, "--data", data, "--out", run, *SMALL, *more]) == 0
    assert "this run is finished: 6 steps" in capsys.readouterr().err


def test_a_table_of_an_earlier_version_says_that_it_tells_missing_cells_wrong(tmp_path, capsys):
    """It behaves as it was trained: missing cells are not there, holes have values."""
    folder = shutil.copytree(WRITTEN / "table", tmp_path / "table")
    run, data = str(folder / "run"), open_data(folder / "data")
    assert data.tokenizer.missing_is == "absent" and data.length == len(data.tokenizer.columns)
    assert data.tokenizer.spec() == data.meta["tokenizer"]
    assert (
        main(["sample", run, "--num", "2", "--steps", "3", "--out", str(tmp_path / "s.csv")]) == 0
    )
    assert capsys.readouterr().err.count("tells missing cells wrong") == 1
    names = data.tokenizer.names
    first = data.tokenizer.columns[0].values[0]
    (tmp_path / "in.csv").write_text(f"{','.join(names)}\n{first},,\n")
    fill = ["fill", run, str(tmp_path / "in.csv"), "--columns", names[1], "--best"]
    for empty in ("missing", "value", "unknown"):
        assert main([*fill, "--empty", empty, "--out", str(tmp_path / "o.csv")]) == 0
        assert capsys.readouterr().err.count("tells missing cells wrong") == 1
