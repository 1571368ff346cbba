"""Completion: what it knows is what the verbs say of themselves, and shells read it."""

import re
import shutil
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from io import BytesIO, TextIOWrapper

import pytest

from unmask.cli.completion import FOREIGN, SHELLS, listed, places
from unmask.cli.main import VERBS, main, smaller

PLACES = {" ".join(place.words): place for place in places(VERBS)}
ASK = """
source "$1"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_unmask
echo "${COMPREPLY[@]}"
"""


def helped(words):
    """What a verb says of --help, as on a wide terminal."""
    out = TextIOWrapper(BytesIO(), encoding="utf-8")  # whose boxes are not of ASCII
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), suppress(SystemExit):
        patch.setenv("COLUMNS", "400")
        main([*words, "--help"])
    out.seek(0)
    return out.read()


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """{shell: file}, of a process of its own: other tests have kinds besides."""
    folder = tmp_path_factory.mktemp("scripts")
    made = {shell: folder / f"unmask.{shell}" for shell in SHELLS}
    for shell, file in made.items():
        command = [sys.executable, "-m", "unmask", "completion", shell]
        file.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
    return made


def test_every_verb_has_a_place():
    assert {place.words[0] for place in PLACES.values()} == set(VERBS) - FOREIGN


@pytest.mark.parametrize("name", PLACES)
def test_flags_and_choices_are_those_of_the_help(name):
    place = PLACES[name]
    words = ["train", "demo"] if name == "train" else place.words
    rows = re.findall(
        r"(?m)^│ (?:-h, )?(--[a-z0-9-]+)(?:, (--no-[a-z0-9-]+))? ?(\S*)", helped(words)
    )
    found = {}
    for flag, no, value in rows:
        found[flag] = value[1:-1].split(",") if value.startswith("{") else []
        found |= {no: []} if no else {}
    assert found == {flag.name: [one for one in flag.choices] for flag in place.flags}
    assert {flag for flag, no, value in rows if value.isupper() or value.startswith("{")} == {
        flag.name for flag in place.flags if flag.value
    }


def test_no_torch_is_loaded():
    code = "import sys; from unmask.cli import main; main(['completion', 'fish']); "
    done = subprocess.run(
        [sys.executable, "-c", code + "assert 'torch' not in sys.modules"], capture_output=True
    )
    assert done.returncode == 0 and done.stdout, done.stderr


CASES = {
    "co": {"compare", "completion", "compress"},
    "prepare ": {"text", "images", "tables", "proteins"},
    "completion ": {"bash", "zsh", "fish"},
    "train text8-": {"text8-genmd4"},
    "train anything --schedule ": {"linear", "cosine", "polynomial", "learned"},
    "fill model in.txt --guidance-s": {"--guidance-schedule"},
    "fill model --sampler co": {"counts", "confidence"},
    "prepare text a b --t": {"--tokenizer", "--test"},
    "prepare images a b --t": {"--test"},
    "fill model --unseen ": {"error", "unknown", "missing"},
}


@pytest.mark.parametrize("line", CASES)
def test_bash_completes(scripts, line):
    words = ["unmask", *line.split(" ")]
    done = subprocess.run(
        ["bash", "-euc", ASK, "ask", scripts["bash"], *words], capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr
    assert set(done.stdout.split()) == CASES[line]


@pytest.mark.parametrize("line", ["fill ", "fill model --out ", "lm-eval --m", "nothing --m"])
def test_bash_leaves_files_to_itself(scripts, line):
    words = ["unmask", *line.split(" ")]
    done = subprocess.run(
        ["bash", "-euc", ASK, "ask", scripts["bash"], *words], capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stdout.split()
    assert "complete -o default -F _unmask unmask\n" in scripts["bash"].read_text()


def test_bash_takes_a_value_behind_an_equals_sign(scripts):
    for words, found in ((["=", "cou"], "counts"), (["="], "ancestral")):
        command = ["bash", "-euc", ASK, "ask", scripts["bash"], "unmask", "fill", "--sampler"]
        done = subprocess.run([*command, *words], capture_output=True, text=True)
        assert found in done.stdout.split()


def test_zsh_is_given_what_bash_is(scripts):
    assert scripts["zsh"].read_text().endswith(scripts["bash"].read_text())


@pytest.mark.skipif(not shutil.which("fish"), reason="there is no fish")
@pytest.mark.parametrize("line", CASES)
def test_fish_completes(scripts, line, tmp_path):
    said = f"source {scripts['fish']}; complete -C 'unmask {line}'"
    done = subprocess.run(["fish", "-Nc", said], cwd=tmp_path, capture_output=True, text=True)
    assert (
        not done.stderr
        and {one.split("\t")[0] for one in done.stdout.split("\n") if one} == (CASES[line])
    )


@pytest.mark.skipif(not shutil.which("zsh"), reason="there is no zsh")
def test_zsh_reads_it(scripts):
    said = 'source "$1"; COMP_WORDS=(unmask fill m --sampler cou); COMP_CWORD=4; '
    said += "emulate -L sh; setopt ksharrays; _unmask; print ${COMPREPLY[@]}"
    command = ["zsh", "-fc", said, "ask", scripts["zsh"]]
    done = subprocess.run(command, capture_output=True, text=True)
    # it picks those that begin so itself
    assert "counts" in done.stdout.split() and "demo" not in done.stdout.split(), done.stderr


def test_what_a_shell_would_take_apart_is_left_out():
    assert listed(["a-b", "x y", "$(rm)", "it's", "", "c.d_1"]) == "a-b c.d_1"


def test_a_shell_that_is_none_is_refused(capsys):
    with pytest.raises(SystemExit) as end:
        main(["completion", "tcsh"])
    assert end.value.code == 2 and "tcsh" in capsys.readouterr().err


def test_what_takes_less_memory_is_a_flag_of_the_verb():
    for verb in VERBS:
        flags = re.findall("--[a-z-]+", smaller(verb))
        known = {
            flag.name for place in places(VERBS) if place.words[0] == verb for flag in place.flags
        }
        assert set(flags) <= known
    assert "--num" in smaller("sample") and "--batch-size" in smaller("train")
