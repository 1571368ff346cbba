"""The direction of imports inside the package, and what `import unmask` does not load."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import unmask

ROOT = Path(unmask.__file__).parent
CORE = [
    "checkpoint", "schedules", "subtokens", "categorical", "formula", "schedule_gradient", "masks", "kernels", "backbones", "config",
    "device",
]  # fmt: skip
# A module may import what stands in an earlier group; inside a group, only without cycles.
ORDER = [
    CORE, ["diffusion"], ["sampling"], ["likelihood"], ["audit"], ["kinds"], ["data"], ["train"], ["report"],
    ["evaluation", "imputation"], ["demo", "bench"], ["demo_digits", "demo_table", "demo_proteins"], ["cli"],
]  # fmt: skip
LEVEL = {name: level for level, group in enumerate(ORDER) for name in group}
LEAVES = ["checkpoint", "config", "report.page"]


def modules():
    """{dotted name below unmask: path}; the package's own __init__ is "" and loads submodules by name only."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name):
    """The modules of this package that a module imports, anywhere in it, dotted names below unmask."""
    package = MODULES[name].name == "__init__.py"
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parents = ["unmask", *name.split(".")][: None if package else -1]
                origin = ".".join([*parents[: len(parents) - node.level + 1], *([node.module] if node.module else [])])
            names = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in names:
            if target.split(".")[0] == "unmask":
                inside = target.removeprefix("unmask").lstrip(".")
                while inside and inside not in MODULES:  # a name in a module, or a name in the package itself
                    inside = inside.rpartition(".")[0]
                found.add(inside)
    return found - {name}


def test_every_module_has_its_place():
    assert {name.split(".")[0] for name in MODULES if name} <= set(LEVEL) | {"__main__"}


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ("", "__main__")])
def test_imports_point_to_earlier_modules(name):
    own = name.split(".")[0]
    for target in imports(name):
        top = target.split(".")[0]
        if target == "":
            continue  # the package itself: its version
        assert top == own or LEVEL[top] < LEVEL[own] or (own in CORE and top in CORE), f"{name} imports {target}"


@pytest.mark.parametrize("name", [n for n in MODULES if n in LEAVES])
def test_leaves_import_nothing_of_the_package(name):
    assert imports(name) == set()


def test_there_are_no_cycles():
    TopologicalSorter({name: imports(name) for name in MODULES}).prepare()


def test_the_package_itself_imports_nothing_at_once():
    assert imports("") == set()


def test_import_does_not_load_torch():
    code = "import sys, unmask; print(unmask.__version__, 'torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split() == [unmask.__version__, "False", "False"]
