"""The reference that `make docs` makes: every flag, every public name, and all that pages name."""

import ast
import importlib
import re
import sys
from contextlib import redirect_stdout, suppress
from io import StringIO

import pytest
from pages import DOCS, blocks, page_of

import unmask
from unmask.cli.main import VERBS, main

PAGES = ["README.md", *sorted(path.name for path in DOCS.glob("*.md"))]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """{page: Markdown}."""
    sys.path.insert(0, str(DOCS))
    try:
        reference = importlib.import_module("reference")
    finally:
        sys.path.remove(str(DOCS))
    folder = tmp_path_factory.mktemp("reference")
    (folder / "old.md").write_text("of an earlier version", encoding="utf-8")
    reference.write(folder)
    return {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.md")}


def printed(*words):
    """What a verb says of --help, as on a terminal."""
    out = StringIO()
    with redirect_stdout(out), suppress(SystemExit):
        main([*words, "--help"])
    return out.getvalue()


OF = {"prepare": ["tables", "text"], "import": ["md4", "huggingface"], "train": ["demo"]}


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "lm-eval"])
def test_every_flag_of_every_verb_is_there_with_its_words(made, verb):
    for subject in OF.get(verb, [""]):
        words = [verb, subject] if subject else [verb]
        heading = f"\n{'###' if subject else '##'} unmask {' '.join(words)}\n"
        assert made["commands"].count(heading) == 1
        section = re.split(r"\n##", made["commands"].partition(heading)[2])[0]
        listed = re.findall(r"(?m)^- `(--[a-z0-9-]+|[A-Z]+)", section)
        on_a_terminal = re.findall(r"(?m)^  (--[a-z0-9-]+|[A-Z]+)(?=[ ,.])", printed(*words))
        assert listed == on_a_terminal and listed
        assert not re.search(r"(?m)^- `[^`]*`$", section), "a flag without words"


@pytest.mark.parametrize("verb", ["score", "eval"])
def test_the_help_advises_no_flag_that_the_verb_lacks(verb):
    """Words that verbs share speak of flags that all of them have."""
    said = printed(verb)
    own = set(re.findall(r"(?m)^  (--[a-z0-9-]+)(?=[ ,.])", said))
    assert own and set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", said)) <= own | {
        "--help",
        "--no-window",
    }


def names_of_pages():
    """(page, dotted name) of what pages name of the package in Python or in words."""
    for name in PAGES:
        said = page_of(name).read_text(encoding="utf-8")
        for found in re.findall(r"(?<![\w/.])unmask(?!\.json)(?:\.[A-Za-z_]\w*)+", said):
            yield name, found
        for block in blocks(name):
            if block.language == "python":
                for node in ast.walk(ast.parse(block.text)):
                    if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
                        "unmask"
                    ):
                        yield from ((name, f"{node.module}.{one.name}") for one in node.names)


def there(made, name):
    """Whether the reference has a name, or what it is an attribute of."""
    pages = [page for stem, page in made.items() if stem != "api"]
    for one in (name, name.rpartition(".")[0]):
        marks = (f"# {one}\n", f"Also `{one}`.")
        if one != "unmask" and any(mark in page for page in pages for mark in marks):
            return True
    return False


def resolve(name):
    """The object of a dotted name; AttributeError or ImportError if there is none."""
    found = importlib.import_module("unmask")
    parts = name.split(".")[1:]
    for i, part in enumerate(parts):
        if not hasattr(found, part):
            importlib.import_module(".".join(["unmask", *parts[: i + 1]]))
        found = getattr(found, part)
    return found


def test_every_public_name_is_there(made):
    for name in unmask.__all__:
        assert there(made, f"unmask.{name}"), name
        inside = getattr(unmask, name)
        for own in getattr(inside, "__all__", []):
            assert f"## unmask.{name}.{own}\n" in made[f"unmask.{name}"], f"{name}.{own}"
    assert "old" not in made
    assert not there(made, "unmask.nothing") and not there(made, "unmask.sampling_of_old.grid")


def test_what_pages_name_is_there(made):
    missing = []
    # what needs lm-eval, of which its page tells; and the group of entry points
    elsewhere = ("unmask.evaluation.harness", "unmask.kinds")
    for page, name in names_of_pages():
        if name == elsewhere[1] or name.startswith(elsewhere[0]):
            continue
        try:
            resolve(name)
        except (AttributeError, ImportError):
            missing.append(f"{page}: there is no {name}")
        else:
            if not there(made, name):
                missing.append(f"{page}: {name} is not in the reference")
    assert not missing


def test_the_docstrings_of_a_class_and_of_what_it_inherits_are_there(made):
    page = made["unmask.diffusion"]
    for method in ("nelbo", "predict", "save_pretrained", "from_pretrained"):
        assert f"\n.{method}(" in page, method
    assert "of the number of masked units" not in page
    said = made["unmask.roles"].partition("## unmask.roles.GIVEN\n")[2]
    assert "Shown and not scored" in said.partition("\n## ")[0]


def test_signatures_are_as_one_writes_them(made):
    said = made["unmask.filling"]
    assert "\nfill(\n    model: unmask.diffusion.MaskedDiffusion,\n" in said
    assert "    *,\n    num: int = 1,\n" in said and ") -> list[list[" in said
    for page in made.values():
        assert not re.search(r"ForwardRef|<function|<class|0x[0-9a-f]{6}", page)


def test_a_docstring_keeps_its_characters(made):
    assert r"z (B, S\*L)" in made["unmask.sampling"] and "`mask_id`" in made["unmask.diffusion"]


def test_every_module_is_listed_once(made):
    listed = [line for line in made["api"].splitlines() if line.startswith("unmask.")]
    assert len(listed) == len(set(listed)) > 10
