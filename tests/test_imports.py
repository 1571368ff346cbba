"""The direction of imports inside the package, and what `import unmask` does not load."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path
from typing import get_args

import pytest

import unmask
from unmask.cli.estimator import EstimatorName
from unmask.config import GridName, SamplerName
from unmask.policies import ORDERS
from unmask.sampling import GRIDS, SAMPLERS

ROOT = Path(unmask.__file__).parent
# Rule 1: imports run downwards.  A module may import what stands in an earlier group; inside a
# group, only without cycles.  The mathematics and the kinds do not know each other; filling,
# training, evaluation and audits stand above both, the command line above all.
MATHEMATICS = [
    ["schedules", "subtokens", "categorical", "formula", "schedule_gradient", "batch", "links",
     "alphabets", "masks", "kernels", "backbones", "checkpoint", "hub", "pretrained"],
    ["diffusion"], ["policies"], ["sampling", "estimate"], ["likelihood"], ["rivals"],
]  # fmt: skip
ABOVE = [
    ["rows"], ["filling", "scoring", "audit", "compression"], ["data"], ["train"], ["report"],
    ["evaluation"], ["bench"], ["doctor"], ["tables"], ["importers", "export"], ["serve"], ["cli"],
]  # fmt: skip
LOWEST = ["arrays", "config", "files", "labels", "markup", "processes", "roles"]
BELOW = [*LOWEST, "device", "documents"]  # of all
ALONE = ["report.page", "serve.guard", "serve.work"]
LEAVES = ["arrays", "files", "config", "labels", "markup", "roles", *ALONE]
ORDER = [LOWEST, ["device", "documents"], *MATHEMATICS, ["kinds"], *ABOVE]
LEVEL = {name: level for level, group in enumerate(ORDER) for name in group}
KINDS_MAY = {"checkpoint", "kinds", *BELOW}  # no model, sampler, trainer or command line
NAMED = {"data", "tables"}  # the faces for Python, which say prepare_text and TableModel


def modules():
    """{dotted name below unmask: path}; the package's own __init__ is "" and loads submodules by
    name only."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name):
    """The modules that a module imports, anywhere in it: dotted names below unmask."""
    package = MODULES[name].name == "__init__.py"
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if node.level:
                parents = ["unmask", *name.split(".")][: None if package else -1]
                origin = ".".join(
                    [
                        *parents[: len(parents) - node.level + 1],
                        *([node.module] if node.module else []),
                    ]
                )
            names = [f"{origin}.{alias.name}" for alias in node.names]
        else:
            continue
        for target in names:
            if target.split(".")[0] == "unmask":
                inside = target.removeprefix("unmask").lstrip(".")
                # a name in a module, or a name in the package itself
                while inside and inside not in MODULES:
                    inside = inside.rpartition(".")[0]
                found.add(inside)
    return found - {name}


def test_every_module_has_its_place():
    assert {name.split(".")[0] for name in MODULES if name} <= set(LEVEL) | {"__main__"}


@pytest.mark.parametrize("name", [name for name in MODULES if name not in ("", "__main__")])
def test_imports_run_downwards(name):
    own = name.split(".")[0]
    for target in imports(name) - {""}:  # the package itself: its version
        top = target.split(".")[0]
        assert top == own or LEVEL[top] < LEVEL[own] or {own, top} <= set(MATHEMATICS[0]), (
            f"{name} imports {target}"
        )
        if own == "kinds":
            assert top in KINDS_MAY, (
                f"{name} imports {target}: a kind reads, writes and shows, and knows no model"
            )


def folder_of(name):
    """The kind in whose folder a module lies, or "" for what they share."""
    parts = name.split(".")
    return (
        parts[1]
        if parts[0] == "kinds" and len(parts) > 1 and (ROOT / "kinds" / parts[1]).is_dir()
        else ""
    )


@pytest.mark.parametrize("name", [name for name in MODULES if folder_of(name)])
def test_no_kind_imports_another(name):
    for target in imports(name):
        assert folder_of(target) in ("", folder_of(name)), f"{name} imports {target}"


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name.startswith("kinds.") and not folder_of(name)]
)
def test_only_the_registry_imports_kinds(name):
    assert name == "kinds.registry" or not {folder_of(target) for target in imports(name)} - {""}


UNITS = {"token", "byte", "character", "dimension", "cell", "residue"}


def kind_names():
    """Names of the registry, and of the classes in the kinds' folders; those that the interface of
    a kind has, too, are nobody's."""
    names = {"text", "images", "tables", "proteins"}
    own, shared = set(), set()
    for module, path in MODULES.items():
        if module.startswith("kinds"):
            nodes = ast.parse(path.read_text(encoding="utf-8")).body
            classes = {node.name for node in nodes if isinstance(node, ast.ClassDef)}
            (own if folder_of(module) else shared).update(classes)
    return names, own - shared


def mentions(path):
    """Where a module names a kind: imports from a kind's folder, its classes, comparisons of .unit,
    .kind or a name of the registry."""
    names, classes = kind_names()
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            if any(f"{origin}.".startswith(f"unmask.kinds.{name}.") for name in names):
                found.append(origin)
            if origin.startswith(("unmask.kinds", "unmask.data")):
                found += [alias.name for alias in node.names if alias.name in classes]
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            constants = {
                c.value for side in sides for c in ast.walk(side) if isinstance(c, ast.Constant)
            }
            attributes = {side.attr for side in sides if isinstance(side, ast.Attribute)}
            if constants & names or (attributes & {"unit", "kind"} and constants & UNITS):
                found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name.split(".")[0] != "kinds" and name not in NAMED]
)
def test_nothing_outside_names_a_kind(name):
    assert not mentions(MODULES[name])


def test_the_rules_see_what_breaks_them(tmp_path):
    for line in (
        "from unmask.kinds.tables.columns import Column",
        "from unmask.data import Table",
        "if data.unit == 'residue': pass",
        "if meta['kind'] == 'tables': pass",
        "if name in ('text', 'ids'): pass",
    ):
        (tmp_path / "a.py").write_text(line + "\n", encoding="utf-8")
        assert mentions(tmp_path / "a.py"), line
    (tmp_path / "a.py").write_text(
        "if masking == 'token' or dtype.kind not in 'fiu': pass\n", encoding="utf-8"
    )
    assert not mentions(tmp_path / "a.py")


def test_the_faces_that_name_kinds_do_so():
    assert {name for name in NAMED if mentions(MODULES[name])} == NAMED


@pytest.mark.parametrize("name", [n for n in MODULES if n in LEAVES])
def test_leaves_import_nothing_of_the_package(name):
    assert imports(name) == set()


def test_there_are_no_cycles():
    TopologicalSorter({name: imports(name) for name in MODULES}).prepare()


def test_the_package_itself_imports_nothing_at_once():
    assert imports("") == set()


def test_python_needs_none_of_the_command_lines_packages():
    """A machine of a cluster may lack them: `import tyro` stands in cli/ alone, and pictures are
    loaded where they are drawn."""
    without = "import sys; sys.modules.update(dict.fromkeys(['tyro', 'matplotlib', 'PIL']))"
    code = f"{without}; import unmask.data, unmask.train, unmask.filling, unmask.audit"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_of_samplers_and_grids_are_those_that_there_are():
    """The flags list them without loading torch."""
    assert set(ORDERS) <= set(get_args(EstimatorName)) & set(SAMPLERS)
    assert set(get_args(SamplerName)) == set(SAMPLERS) and set(get_args(GridName)) == set(GRIDS)


def test_import_does_not_load_torch():
    code = (
        "import sys, unmask; "
        "print(unmask.__version__, 'torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.split() == [unmask.__version__, "False", "False"]


def test_no_compiler_is_imported_to_read_a_model(text_run):
    """PyTorch's own, when a network without values is filled at random: most of a second."""
    code = (
        "import sys, unmask; "
        f"unmask.MaskedDiffusion.from_pretrained({str(text_run)!r}); "
        "print([name for name in ('sympy', 'torch._dynamo') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.stdout == "[]\n", done.stderr
