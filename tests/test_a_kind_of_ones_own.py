"""A fifth kind of data, in one file, goes through every verb without a change anywhere else."""

import json
import random
import re
from pathlib import Path

import dice
import pytest

from unmask.cli import main
from unmask.kinds.registry import KINDS, register

TRAIN = [
    "--length", "5", "--dim", "32", "--layers", "1", "--heads", "2", "--minutes", "0",
    "--steps", "150", "--batch-size", "64", "--eval-windows", "50",
]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """1,000 throws whose dice are sorted, and a model of them."""
    home = tmp_path_factory.mktemp("dice")
    random.seed(0)
    throws = ["".join(sorted(random.choices("123456", k=5))) for _ in range(1000)]
    (home / "throws.txt").write_text("\n".join(throws) + "\n")
    assert main(["prepare", "dice", str(home / "throws.txt"), str(home / "data")]) == 0
    command = ["train", "demo", "--data", str(home / "data"), "--out", str(home / "run"), *TRAIN]
    assert main(command) == 0
    return home


def test_it_is_evaluated_sampled_filled_and_audited(home, tmp_path, capsys):
    capsys.readouterr()
    flags = ["--data", str(home / "data"), "--json", str(tmp_path / "e.json")]
    assert main(["eval", str(home / "run"), *flags]) == 0
    said, record = (
        capsys.readouterr().out,
        json.loads((tmp_path / "e.json").read_text(encoding="utf-8")),
    )
    assert (
        "500 dice in 100 throws" in said
        and "nats a throw" in said
        and record["unit"] == "bits per die"
    )
    assert 1.0 < record["value"] < 2.4  # log2 6 = 2.58 for dice that are not sorted
    assert main(["sample", str(home / "run"), "--num", "50", "--out", str(tmp_path / "s.txt")]) == 0
    drawn = (tmp_path / "s.txt").read_text().split()
    assert len(drawn) == 50 and sum(list(row) == sorted(row) for row in drawn) > 20
    (tmp_path / "holes.txt").write_text("11.11\n66666\n.2345\n")
    flags = ["--num", "2", "--out", str(tmp_path / "f.txt")]
    assert main(["fill", str(home / "run"), str(tmp_path / "holes.txt"), *flags]) == 0
    filled = (tmp_path / "f.txt").read_text().splitlines()
    assert len(filled) == 5 and all(re.fullmatch(r"[1-6]{5} \d+\.\d\d", row) for row in filled)
    assert [row[:2] + row[3:5] for row in filled[:2]] == ["1111"] * 2 and filled[2].startswith(
        "66666 0.00"
    )
    assert main(["audit", str(home / "run"), "--data", str(home / "data"), "--limit", "16"]) == 0
    assert main(["schedule", str(home / "run"), "--data", str(home / "data"), "--limit", "16"]) == 0


def test_bad_throws_are_one_sentence(home, tmp_path, capsys):
    (tmp_path / "bad.txt").write_text("12345\n1234\n")
    assert main(["prepare", "dice", str(tmp_path / "bad.txt"), str(tmp_path / "out")]) == 2
    assert "bad.txt, line 2: '1234' is no throw of 5 dice" in capsys.readouterr().err
    assert main(["fill", str(home / "run"), str(home / "throws.txt")]) == 2
    assert "has no hole" in capsys.readouterr().err
    assert main(["fill", str(home / "run"), str(home / "throws.txt"), "--best"]) == 2
    assert "--best is not for a throw" in capsys.readouterr().err


def test_the_page_that_tells_of_it_is_true():
    root = Path(__file__).parents[1]
    page = (root / "docs" / "a-kind-of-your-own.md").read_text(encoding="utf-8")
    lines = len((root / "tests" / "dice.py").read_text(encoding="utf-8").splitlines())
    assert f"in {lines} lines" in page and lines < 150
    assert f"of\n{lines} lines" in (root / "README.md").read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", page):
        assert (root / "docs" / link).exists(), link


def test_a_name_is_taken_once():
    register(dice.Dice)  # again: the same
    assert KINDS["dice"] is dice.Dice
    with pytest.raises(ValueError, match="there is a kind 'text' already"):
        register(type("Other", (dice.Dice,), {"name": "text"}))
