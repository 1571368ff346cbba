"""What the README shows, runs."""

import gzip
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unmask.kinds.registry import demos, presets

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_the_ten_lines_of_python_run_and_learn(capsys):
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    said = capsys.readouterr().out
    value, noise = (
        float(v) for v in re.search(r"at most ([\d.]+) \+- ([\d.]+) nats", said).groups()
    )
    assert 3.29 - 6 * noise < value < 10  # the untrained network pays 32 log 27 = 105 nats
    assert "tensor(" in said


def test_from_a_table_to_a_model_as_the_readme_says(tmp_path):
    rows = gzip.decompress(demos()["table"].source.read_bytes()).decode().splitlines()
    (tmp_path / "my.csv").write_text("\n".join(rows[:400]) + "\n")
    (tmp_path / "holes.csv").write_text(
        "\n".join([rows[0], *(row for row in rows[1:400] if "?" in row)]) + "\n"
    )
    # what is to be predicted is the last column; missing cells elsewhere are missing
    ends = [row.rpartition(",")[0] + "," for row in rows[1:20]]
    (tmp_path / "new.csv").write_text("\n".join([rows[0], *ends]) + "\n")
    (script,) = (block for block in blocks("sh") if "unmask prepare tables" in block)
    script = script.replace("--minutes 5", "--steps 5 --dim 32 --layers 1").replace(
        "--num 1000", "--num 12 --steps 8"
    )
    script = script.replace("unmask ", f"{sys.executable} -m unmask ")
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert (
        "nats a row" in done.stdout
        and (tmp_path / "synthetic.csv").read_text(encoding="utf-8").count("\n") == 13
    )
    assert "closer to training" in done.stdout and (tmp_path / "q.html").is_file()
    assert "?" not in (tmp_path / "holes-filled-3.csv").read_text(encoding="utf-8")
    listed = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert {line.split(",")[1] for line in listed} == {"income"}


@pytest.mark.parametrize("which", ["my.txt", "enwik8.gz"])
def test_from_text_to_a_model_as_the_readme_says(tmp_path, which):
    """The README's commands in its order, on a small file of that name and a smaller network."""
    text = demos()["shakespeare"].source.read_bytes()[:60000]
    (tmp_path / which).write_bytes(gzip.compress(text) if which.endswith(".gz") else text)
    (script,) = (block for block in blocks("sh") if f"unmask prepare text {which}" in block)
    if which == "my.txt":
        for of in ("--schedule learned", "--estimator confidence"):
            script += next(block for block in blocks("sh") if of in block)
    small = "--steps 20 --dim 32 --layers 1"
    for said, ours in {
        " --split 90000000,5000000,5000000": "",
        "--minutes 30 --dim 256": small,
        "--minutes 5": small,
        "--error 0.01": "--error 0.3",
        "unmask ": f"{sys.executable} -m unmask ",
        "--num 4": "--num 4 --steps 8",
    }.items():
        script = script.replace(said, ours)
    assert script.count(small) == (3 if which == "my.txt" else 1)
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert "bits per byte: an upper bound" in done.stdout
    if which == "my.txt":
        assert (
            "test - train" in done.stdout.lower().replace("minus", "-") and "passed" in done.stdout
        )
        assert (tmp_path / "schedule.png").stat().st_size > 10000
        assert "in order of confidence" in done.stdout
        counts = json.loads((tmp_path / "grid.json").read_text(encoding="utf-8"))["counts"]
        assert len(counts) == 17
    else:
        assert done.stdout.count("To be, or ") == 3
        assert (tmp_path / "bound.json").is_file() and (tmp_path / "unmasking.html").is_file()


def test_from_pictures_to_a_model_as_the_readme_says(tmp_path):
    """The README's commands in its order, on a folder laid out like MNIST's, of the bundled digits,
    and a smaller network."""
    (tmp_path / "mnist").mkdir()
    for kind in ("images-idx3", "labels-idx1"):
        for part in ("train", "t10k"):
            shutil.copy(
                demos()["digits"].source.with_name(f"digits-{kind}-ubyte.gz"),
                tmp_path / "mnist" / f"{part}-{kind}-ubyte.gz",
            )
    (script,) = (block for block in blocks("sh") if "unmask prepare images" in block)
    picture = np.zeros((8, 8), np.uint8)
    Image.fromarray(picture).save(tmp_path / "in.png")
    picture[4:] = 255
    Image.fromarray(picture).save(tmp_path / "holes.png")
    small = "--out runs/digits --minutes 0 --steps 4 --widths 8,16"
    for said, ours in {
        "--out runs/digits": small,
        "unmask ": f"{sys.executable} -m unmask ",
        "--num 64": "--num 9 --steps 8",
    }.items():
        script = script.replace(said, ours)
    assert script.count(small) == 1
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert (
        done.stdout.count("bits per dimension: an upper bound") == 2
        and "mean of the likelihood over 8 random orders" in done.stdout
    )
    for name in ("samples.png", "unmasking.gif", *(f"in-filled-{i}.png" for i in (1, 2, 3, 4))):
        assert (tmp_path / name).stat().st_size > 50, name


def test_from_proteins_to_a_model_as_the_readme_says(tmp_path):
    """The README's commands in its order, on the bundled sequences under that name, and a smaller
    network."""
    shutil.copy(demos()["protein"].source, tmp_path / "uniprot.fasta.gz")
    (script,) = (block for block in blocks("sh") if "unmask prepare proteins" in block)
    small = (
        "--out runs/proteins --minutes 0 --steps 3 --dim 16 --layers 1 --heads 2 --eval-windows 8\n"
    )
    for said, ours in {
        "proteins       #": "proteins --split 3600,390,10 #",
        "--out runs/proteins\n": small,
        "unmask ": f"{sys.executable} -m unmask ",
        "--num 8": "--num 8 --steps 8",
    }.items():
        assert said in script
        script = script.replace(said, ours)
    done = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert "bits per residue: an upper bound" in done.stdout and "longer than 256" in done.stdout
    assert (tmp_path / "new.fasta").read_text(encoding="utf-8").count(">sample-") == 8
    filled = re.findall(
        r">a candidate=\d filled=23 nats=[\d.]+\+-[\d.]+\n([A-Y]+)\n",
        (tmp_path / "filled.fasta").read_text(encoding="utf-8"),
    )
    assert len(filled) == 3 and all(
        re.fullmatch("MKVL[A-Y]{3}AG[A-Y]{20}GSK", letters) for letters in filled
    )


def test_links_lead_somewhere():
    for link in re.findall(r"\]\((?!http)([^)]+)\)", README.read_text(encoding="utf-8")):
        assert (README.parent / link).exists(), link


def test_the_tree_names_files_that_exist():
    tree = README.read_text(encoding="utf-8").partition("## The tree")[2]
    for name in re.findall(r"(\w+\.py)", tree):
        assert list((README.parent / "src" / "unmask").rglob(name)), name
    assert (README.parent / "docs" / "demo.png").is_file()


def test_the_demo_takes_the_minutes_that_the_readme_says():
    said = f"{presets()['demo'].config.minutes:g} minutes"
    assert (
        f"for {said} on two CPU cores" in README.read_text(encoding="utf-8")
        and f"Cost: {said} on two CPU cores" in presets()["demo"].about
    )
