"""What a type checker sees of the package is what there is."""

import ast
import subprocess
import sys
from pathlib import Path

import unmask

FOLDER = Path(unmask.__file__).parent


def test_the_stub_names_what_the_package_has():
    tree = ast.parse((FOLDER / "__init__.pyi").read_text(encoding="utf-8"))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                assert alias.asname == alias.name  # a stub hands on nothing else
                found[alias.name] = node.module
    homes = {name: f"unmask.{home}" for name, home in unmask._HOME.items()}
    assert found == homes | dict.fromkeys(unmask._MODULES, "unmask")
    assert (FOLDER / "py.typed").is_file()


def test_types_are_seen_from_outside(tmp_path):
    file = tmp_path / "uses.py"
    file.write_text("import unmask\nbound: str = unmask.estimate_nelbo(3)\n")
    where = ["--search-path", FOLDER.parent, "--python-interpreter-path", sys.executable]
    command = [sys.executable, "-m", "pyrefly", "check", "--preset", "default", *where, file]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    said = done.stdout + done.stderr
    assert done.returncode == 1 and "MaskedDiffusion" in said and "`Estimate`" in said, said
