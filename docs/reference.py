"""The reference pages, made of what the package says of itself: flags and docstrings.

    python docs/reference.py docs/reference        # writes them, as plain Markdown

`make docs` does it first.  `unmask` is imported, so nothing here can be out of date.
"""

import ast
import inspect
import io
import itertools
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

import unmask
from unmask.cli.completion import FOREIGN, subjects
from unmask.cli.main import VERBS, main
from unmask.kinds.registry import presets

# beside the names of `unmask` itself: what the pages tell people to use
MODULES = [
    *sorted(name for name in unmask.__all__ if isinstance(getattr(unmask, name), ModuleType)),
    "audit.remasked_law", "audit.sampler_law", "cli", "config", "device", "estimate",
    "export", "filling", "hub", "kinds.data",
    "kinds.demo", "kinds.folder", "kinds.kind", "kinds.quality", "kinds.recipe",
    "kinds.registry", "policies", "train",
]  # fmt: skip
SUBJECTS = subjects() | {"train": ["demo"]}  # the flags of one preset are those of all
WIDE = "2000"  # columns of a terminal, so that a flag's words are one line


def write(folder: Path) -> None:
    """All pages, into a folder; others there are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {"commands": commands(), "api": contents()}
    made |= {f"unmask.{name}": module_page(name) for name in MODULES}
    for old in set(folder.glob("*.md")) - {folder / f"{name}.md" for name in made}:
        old.unlink()
    for name, page in made.items():
        (folder / f"{name}.md").write_text(page, encoding="utf-8")


# ---------------------------------------------------------------- commands


def commands() -> str:
    """The verbs in the order of `unmask --help`, their flags, and the presets."""
    said = [
        "# Commands",
        "Made from the flags themselves; `unmask VERB --help` says the same on a terminal.",
        fenced(help_of([])),
    ]
    for verb in VERBS:
        said.append(f"## unmask {verb}")
        if verb in FOREIGN:  # the flags are another project's
            said.append("[Its page](../lm-evaluation-harness.md) has what can be asked.")
            continue
        subjects = SUBJECTS.get(verb, [""])
        if subjects != [""]:
            said.append(fenced(help_of([verb])))
        for subject in subjects:
            if subject:
                said.append(f"### unmask {verb} {subject}")
            said.append(flags(help_of(list(filter(None, [verb, subject])))))
        if verb == "train":
            said.append("Other presets have the same flags with other values:")
            said += [f"- `{name}`: {escape(one.about)}" for name, one in presets().items()]
    return "\n\n".join(said) + "\n"


def help_of(words: list[str]) -> str:
    """What a verb prints of --help."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # whose boxes are not of ASCII
    with redirect_stdout(out), patch.dict(os.environ, {"COLUMNS": WIDE}):
        try:
            code = main([*words, "--help"])
        except SystemExit as end:
            code = end.code
    assert not code, f"unmask {' '.join(words)} --help ended with {code}"
    out.seek(0)
    return out.read()


def flags(printed: str) -> str:
    """Markdown of a page of help that was printed: its usage, its words, and a list of flags.

    In the box of a flag's words, its name stands at the left edge, and other lines are set in.
    """
    usage, _, rest = printed.partition("\n")
    words, _, boxes = rest.partition("╭")
    items: list[str] = []
    for line in boxes.splitlines():
        if not line.startswith("│"):
            continue
        text = line.strip("│ ")
        if line[2] == " ":
            items[-1] += f" {escape(text)}"
        else:
            name, _, said = text.partition("  ")
            items.append(f"- `{name}` {escape(said.strip())}".rstrip())
    shown = [item for item in items if not item.startswith("- `-h, --help`")]
    return "\n\n".join([fenced(usage), escape(" ".join(words.split())), "\n".join(shown)])


# ---------------------------------------------------------------- names


def contents() -> str:
    """Every module with its first sentence, and every name of it."""
    said = ["# Python", "Made from the docstrings. Names under `unmask` are loaded on first use."]
    for name in MODULES:
        module = import_module(f"unmask.{name}")
        names = ", ".join(f"`{one}`" for one in public(module))
        said.append(f"- [unmask.{name}](unmask.{name}.md): {escape(first_line(module))} {names}")
    listed = "\n".join(f"unmask.{name}" for name in MODULES)
    said.append("```{toctree}\n:hidden:\n\n" + listed + "\n```")
    return "\n\n".join(said) + "\n"


def module_page(name: str) -> str:
    """What a module says of itself and of its public names."""
    module = import_module(f"unmask.{name}")
    said = [f"# unmask.{name}", markdown(module.__doc__)]
    notes = attributes(module)
    for own in public(module):
        said += entry(f"unmask.{name}", own, getattr(module, own), notes.get(own, ""))
    return "\n\n".join(filter(None, said)) + "\n"


def public(module: ModuleType) -> list[str]:
    """`__all__`, or what a module defines itself under a name without an underscore, in its order.

    Submodules are pages of their own.
    """
    if listed := getattr(module, "__all__", None):
        return list(listed)
    assert module.__file__
    defined = []
    for node in ast.parse(Path(module.__file__).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.append(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            defined.append(node.targets[0].id)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            defined.append(node.target.id)
    return [one for one in dict.fromkeys(defined) if not one.startswith("_")]


def entry(where: str, name: str, value: Any, note: str) -> list[str]:
    """A heading, a signature and the docstring; of a class its methods, too."""
    said = [f"## {where}.{name}"]
    if short := next((one for one in unmask.__all__ if getattr(unmask, one) is value), ""):
        said.append(f"Also `unmask.{short}`.")
    value = inspect.unwrap(value) if hasattr(value, "__wrapped__") else value  # one with a cache
    if isinstance(value, dict):
        named = ", ".join(f"`{one}`" for one in value)
        return [*said, f"By name: {named}.", note]
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return [*said, fenced(f"{name} = {value!r}"), note]
    said += [fenced(signature(name, value), "py"), markdown(inspect.getdoc(value))]
    if inspect.isclass(value):
        fields = attributes(value)
        said += [f"- `{field}`: {escape(' '.join(text.split()))}" for field, text in fields.items()]
        for own, member in members(value).items():
            said += of_member(own, member)
    return said


def members(of: type) -> dict[str, Any]:
    """What a class defines, and what it has of classes of the package that no page tells of."""
    told = {f"unmask.{name}" for name in MODULES}
    bases = [one for one in of.__mro__[1:] if one.__module__.startswith("unmask.")]
    found = {}
    for base in [of, *(one for one in bases if one.__module__ not in told)]:
        found = vars(base) | found
    return dict(found)


def of_member(name: str, member: Any) -> Iterator[str]:
    """A method, a property or a class method that has words of its own."""
    function = getattr(member, "__func__", member)
    if name.startswith("_"):
        return
    if isinstance(member, property) and member.__doc__:
        yield f"`.{name}`"
        yield markdown(inspect.getdoc(member))
    elif inspect.isfunction(function) and function.__doc__:
        yield fenced(signature(f".{name}", function), "py")
        yield markdown(inspect.getdoc(function))


def signature(name: str, value: Any) -> str:
    """As one writes it; on several lines where it is long."""
    try:
        found = inspect.signature(value)
    except ValueError:  # one of Python's own
        return name
    line = plain(f"{name}{found}")
    if len(line) <= 96:
        return line
    parts, before = [], set()
    for one in found.parameters.values():
        if one.kind is one.KEYWORD_ONLY and not {one.VAR_POSITIONAL, one.KEYWORD_ONLY} & before:
            parts.append("*")
        before.add(one.kind)
        parts.append(plain(str(one)))
    inner = "".join(f"    {part},\n" for part in parts)
    _, arrow, returned = line.rpartition(" -> ")
    if found.return_annotation is found.empty:
        arrow = returned = ""
    return f"{name}(\n{inner}){arrow}{returned}"


def plain(annotated: str) -> str:
    """Types by the names that one writes."""
    annotated = re.sub(r"\*<class '[\w.]*\b(\w+)'>", r"Unpack[\1]", annotated)
    without = re.sub(r"ForwardRef\('([^']*)'\)", r"\1", annotated)
    return re.sub(r"\b(collections\.abc|typing|pathlib|torch\._C)\.(?=[A-Z])", "", without)


def attributes(of: Any) -> dict[str, str]:
    """The strings that stand below assignments in a module or a class, by name."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(of)))
    except (OSError, TypeError):  # nothing was written: a class that was made
        return {}
    body = tree.body
    if inspect.isclass(of):
        (defined,) = tree.body
        if not isinstance(defined, ast.ClassDef):
            return {}
        body = defined.body
    found = {}
    for node, after in itertools.pairwise(body):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        text = after.value if isinstance(after, ast.Expr) else None
        if isinstance(targets[0], ast.Name) and isinstance(text, ast.Constant):
            found[targets[0].id] = inspect.cleandoc(str(text.value))
    return found


# ---------------------------------------------------------------- Markdown


def fenced(text: str, language: str = "text") -> str:
    lines = (line.rstrip() for line in text.rstrip().splitlines())
    return f"```{language}\n" + "\n".join(lines) + "\n```"


def first_line(of: Any) -> str:
    return (inspect.getdoc(of) or "").partition("\n\n")[0]


def markdown(docstring: str | None) -> str:
    """A docstring as it reads: a block that is set in stays one, other words lose no character."""
    parts = re.split(r"\n\s*\n", inspect.cleandoc(docstring or ""))
    return "\n\n".join(part if part.startswith("    ") else escape(part) for part in parts)


def escape(words: str) -> str:
    """Text in which Markdown sees nothing but its `code`."""
    pieces = re.split(r"(`[^`]+`)", words)
    plain = (re.sub(r"([\\*_<>\[\]{}|$~])", r"\\\1", piece) for piece in pieces[::2])
    plain = (re.sub(r"(?m)^(\s*)([-+#]|\d+\.)(\s)", r"\1\\\2\3", piece) for piece in plain)
    pieces[::2] = plain
    return "".join(pieces)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
