"""What the README shows, runs."""

import re
import shlex
from pathlib import Path

import pytest

from unmask.cli import VERBS

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


@pytest.mark.parametrize("line", [line for block in blocks("sh") for line in block.splitlines() if line.startswith("unmask")])
def test_the_commands_have_the_flags_that_the_readme_uses(line, capsys):
    words = shlex.split(line, comments=True)
    verb = words[1]
    with pytest.raises(SystemExit) as stop:
        VERBS[verb]([*(words[2:3] if verb == "train" else []), "--help"])
    shown = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(flag in shown for flag in words if flag.startswith("--"))


def test_the_tree_names_files_that_exist():
    tree = blocks("")[-1]
    for name in re.findall(r"(\w+\.py)", tree):
        assert list((README.parent / "src" / "unmask").rglob(name)), name
    assert (README.parent / "docs" / "demo.png").is_file()
