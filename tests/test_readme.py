"""What the README shows, runs."""

import gzip
import re
import subprocess
import sys
from pathlib import Path

from unmask.demo import TEXT

README = Path(__file__).parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_ten_lines_of_python_run_and_learn(capsys):
    (code,) = blocks("python")
    exec(compile(code, "README.md", "exec"), {})
    said = capsys.readouterr().out
    value, noise = (float(v) for v in re.search(r"at most ([\d.]+) \+- ([\d.]+) nats", said).groups())
    assert 3.29 - 6 * noise < value < 10  # the untrained network pays 32 log 27 = 105 nats
    assert "tensor(" in said


def test_from_text_to_a_model_as_the_readme_says(tmp_path):
    """The README's commands in its order, on a small file of that name and a smaller network."""
    (tmp_path / "enwik8.gz").write_bytes(gzip.compress(TEXT.read_bytes()[:60000]))
    (script,) = (block for block in blocks("sh") if "unmask prepare" in block)
    for said, small in {
        "--split 90000000,5000000,5000000": "",
        "--minutes 30 --dim 256": "--steps 20 --dim 32 --layers 1",
        "unmask ": f"{sys.executable} -m unmask ",
        "--num 4": "--num 4 --steps 8",
    }.items():
        assert said in script
        script = script.replace(said, small)
    done = subprocess.run(["bash", "-euc", script], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "bits per byte: an upper bound" in done.stdout and done.stdout.count("To be, or ") == 3
    assert (tmp_path / "bound.json").is_file() and (tmp_path / "unmasking.html").is_file()


def test_the_tree_names_files_that_exist():
    tree = blocks("")[-1]
    for name in re.findall(r"(\w+\.py)", tree):
        assert list((README.parent / "src" / "unmask").rglob(name)), name
    assert (README.parent / "docs" / "demo.png").is_file()
