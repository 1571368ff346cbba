"""Pages of documentation, run as they stand: their `sh` and `python` blocks, in order.

A page is run in one folder.  `python` blocks share their names.  Of an `sh` block, a command that
is unmask and nothing else runs in this process; what else there is, bash runs.  Blocks of other
languages, or of none, are not run.  Above a block may stand, as a comment of HTML,

    <!-- with: PACKAGE -->      tests/extras runs it, where that package is
    <!-- not run: REASON -->    nobody does
"""

import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import torch

from unmask.cli.main import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# what a block may need besides, all of which make test-extras has
PACKAGES = {
    "constriction",
    "lm_eval",
    "onnxruntime",
    "pandas",
    "peft",
    "tensorstore",
    "transformers",
}
BLOCK = re.compile(r"(?:^<!-- (not run|with): (.*?) -->\n+)?^```(\w*)\n(.*?)^```$", re.M | re.S)
# what stands in a page's commands for what is found on a user's path
PRELUDE = """
unmask() { "$PYTHON" -m unmask "$@"; }
torchrun() { "$PYTHON" -m torch.distributed.run "$@"; }
pip() { echo "pip $*"; }
"""
OPERATORS = {"|", ">", ">>", "<", ";", "&"}  # of a shell


class Block(NamedTuple):
    """One that is to be run, or may be."""

    language: str
    text: str
    line: int  # of its fence
    mark: str  # "", "with" or "not run"
    why: str  # of the mark


def page_of(name: str) -> Path:
    return ROOT / name if name == "README.md" else DOCS / name


def blocks(name: str) -> list[Block]:
    """The `sh` and `python` blocks of a page."""
    said = page_of(name).read_text(encoding="utf-8")
    found = []
    for one in BLOCK.finditer(said):
        mark, why, language, text = one.groups()
        if language in ("sh", "python"):
            line = said.count("\n", 0, one.start(3)) + 1
            found.append(Block(language, text, line, mark or "", why or ""))
    return found


def runs_here(block: Block) -> bool:
    return not block.mark or (block.mark == "with" and find_spec(block.why) is not None)


def run_page(
    name: str, folder: Path, swaps: Mapping[str, str] | None = None, only: str = "", **names: Any
) -> str:
    """Run a page in `folder`, and return what it printed.

    swaps: what the page says -> what is run instead, such as fewer steps; each is in the page.
    only: the language of the blocks that are run.  names: what its Python finds.  Blocks whose
    package is not installed are left out.
    """
    chosen = [block for block in blocks(name) if runs_here(block) and only in ("", block.language)]
    assert chosen, f"{name} has nothing to run here"
    for said in swaps or {}:
        assert any(said in block.text for block in chosen), f"{name} does not say {said!r}"
    before, printed = Path.cwd(), io.StringIO()
    os.chdir(folder)
    try:
        with torch.random.fork_rng():
            for block in chosen:
                text = block.text
                for said, ours in (swaps or {}).items():
                    text = text.replace(said, ours)
                where = f"{name}, line {block.line}"
                if block.language == "python":
                    lines = "\n" * block.line
                    with redirect_stdout(printed):
                        exec(compile(lines + text, str(page_of(name)), "exec"), names)
                else:
                    run_commands(text, where, printed)
    finally:
        os.chdir(before)
    return printed.getvalue()


def run_commands(script: str, where: str, printed: io.StringIO) -> None:
    """The commands of an `sh` block, each of which must succeed."""
    for line in script.replace("\\\n", " ").splitlines():
        for command in line.split(" && "):
            words = list(shlex.shlex(command, posix=True, punctuation_chars=True))
            if not words:
                continue
            of_a_shell = set(words) & OPERATORS or set("".join(words)) & set("$`*~")
            if words[0] == "unmask" and not of_a_shell:
                code, said = in_here(shlex.split(command, comments=True)[1:], printed)
            else:
                code, said = by_bash(command, printed)
            assert code == 0, f"{where}: {command} ended with {code}: {said}"


def in_here(argv: list[str], printed: io.StringIO) -> tuple[int, str]:
    errors = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(errors):
        try:
            code = main(argv)
        except SystemExit as end:  # of flags that are wrong
            code = int(end.code or 0)
    return code, errors.getvalue()[-2000:]


def by_bash(command: str, printed: io.StringIO) -> tuple[int, str]:
    done = subprocess.run(
        ["bash", "-euc", PRELUDE + command],
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        encoding="utf-8",
    )
    printed.write(done.stdout)
    return done.returncode, done.stderr[-2000:]
