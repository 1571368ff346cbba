"""A fifth kind of data, in one file, goes through every verb without a change anywhere else."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dice
import pytest

from unmask.cli import main
from unmask.kinds.registry import KINDS, register

TRAIN = ["--minutes", "0", "--steps", "150"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """1,000 throws whose dice are sorted, and a model of them."""
    home = tmp_path_factory.mktemp("dice")
    shutil.copy(dice.Sorted.source, home)
    assert main(["prepare", "dice", str(home / "throws.txt"), str(home / "data")]) == 0
    command = ["train", "dice", "--data", str(home / "data"), "--out", str(home / "run"), *TRAIN]
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


def test_it_has_a_demo(tmp_path, capsys):
    flags = ["--minutes", "0.03", "--out", str(tmp_path / "demo"), "--json", str(tmp_path / "d")]
    assert main(["demo", "--data", "dice", *flags]) == 0
    said, record = capsys.readouterr().out, json.loads((tmp_path / "d").read_text(encoding="utf-8"))
    assert "800 to train on" in said and "bits per die" in said and "11.66: 11" in said
    assert record["n"] == 100 and 1.5 < record["baselines"]["every die by itself"] < 2.5
    page = (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert "nats a throw" in page and "Masked diffusion on dice" in page
    assert "every die hidden" in page and page.count('class="played"') == 2
    assert "sorted throws of five dice" in " ".join(help_of(capsys).split())


def test_it_has_a_report(home, tmp_path):
    out = tmp_path / "page.html"
    flags = ["--data", str(home / "data"), "--limit", "16", "--out", str(out)]
    assert main(["report", str(home / "run"), *flags]) == 0
    page = out.read_text(encoding="utf-8")
    assert "A model of dice" in page and "nats a throw" in page and "throws.txt" in page
    assert "every die hidden" in page and "What there was" in page


def help_of(capsys):
    with pytest.raises(SystemExit):
        main(["demo", "--help"])
    return capsys.readouterr().out


def test_an_installed_package_brings_its_kind(tmp_path):
    """As pip leaves it: a module, and metadata that name an entry point; and one that is broken."""
    shutil.copy(dice.__file__, tmp_path / "thrown.py")
    shutil.copy(dice.Sorted.source, tmp_path)
    for name, value in (("thrown", "thrown:Dice"), ("broken", "nowhere:Kind")):
        info = tmp_path / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[unmask.kinds]\n{name} = {value}\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "unmask", "prepare", "dice", "throws.txt", "data"]
    how = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": path}, "encoding": "utf-8"}
    done = subprocess.run(command, capture_output=True, **how)
    assert done.returncode == 0 and "data: 1000 throws" in done.stdout, done.stderr
    broken = [*command[:-3], "broken", *command[-2:]]
    done = subprocess.run(broken, capture_output=True, **how)
    assert done.returncode == 2 and "that of the package broken cannot be loaded" in done.stderr
    # a program that imports its kind first, which imports the registry before it has its class
    program = "import thrown; thrown.open_data('data'); print(thrown.Dice.name)"
    source = (tmp_path / "thrown.py").read_text().replace("register(Dice)", "")
    (tmp_path / "thrown.py").write_text(f"from unmask.data import open_data\n{source}")
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, **how)
    assert done.stdout.split() == ["dice"], done.stderr


def test_bad_throws_are_one_sentence(home, tmp_path, capsys):
    (tmp_path / "bad.txt").write_text("12345\n1234\n")
    assert main(["prepare", "dice", str(tmp_path / "bad.txt"), str(tmp_path / "out")]) == 2
    assert "bad.txt, line 2: '1234' is no throw of 5 dice" in capsys.readouterr().err
    assert main(["fill", str(home / "run"), str(home / "throws.txt")]) == 2
    assert "has no hole" in capsys.readouterr().err
    assert main(["fill", str(home / "run"), str(home / "throws.txt"), "--best"]) == 2
    assert "--best is not for a throw" in capsys.readouterr().err


def test_its_samples_are_not_judged_and_it_says_so(home, capsys):
    assert main(["quality", str(home / "throws.txt"), "--data", str(home / "data")]) == 2
    said = capsys.readouterr().err
    assert "holds dice: no figures of such samples are known here" in said
    assert "quality is for a text, a picture, a table, proteins" in said


def test_the_page_that_tells_of_it_is_true():
    root = Path(__file__).parents[1]
    page = (root / "docs" / "a-kind-of-your-own.md").read_text(encoding="utf-8")
    lines = len((root / "tests" / "dice.py").read_text(encoding="utf-8").splitlines())
    assert f"in {lines} lines" in page and lines < 150


def test_a_name_is_taken_once():
    register(dice.Dice)  # again: the same
    assert KINDS["dice"] is dice.Dice
    with pytest.raises(ValueError, match="there is a kind 'text' already"):
        register(type("Other", (dice.Dice,), {"name": "text"}))
