"""What the best numbers of reveals save, for several numbers of steps: a table of `unmask grid`.

A record is a folder with a file of `unmask grid --json` for each number of steps, all of one model
and the same examples, as runs/grids.sh makes it.  `python runs/results.py --show grids FOLDER`
prints it.
"""

from pathlib import Path

from unmask.documents import read_json

OTHERS = ("cosine", "uniform", "one token at a time")
SAME = ("model_sha256", "data_sha256", "unit", "seed", "precision")
FORM = {"steps": int, "unit": str, "model_sha256": str, "data_sha256": {str: str}, "seed": int,
        "precision": str, "grids": {str: {"value": float, "stderr": float}}}  # fmt: skip


def table(folder: Path) -> list[str]:
    """Lines of Markdown, a row for each number of steps: bounds, and paired differences.

    ValueError for files of different models, and for those that have no differences.
    """
    found = [read_json(path, FORM) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise ValueError(f"{folder} has no files of unmask grid --json")
    for name in SAME:
        if any(one[name] != found[0][name] for one in found):
            raise ValueError(f"{folder} has files of more than one {name}: keep those of one")
    unit = found[0]["unit"]
    lines = [f"| steps | best, {unit} | cosine, more | uniform, more | one token at a time |"]
    lines.append("|---|---|---|---|---|")
    for one in sorted(found, key=lambda one: one["steps"]):
        cells = [f"{one['steps']}", with_error(one["grids"]["this"], "value", ".4f")]
        for name in OTHERS:
            of = one["grids"][name]
            if "difference" not in of:
                raise ValueError(
                    f"{folder}, {one['steps']} steps: {name!r} has no difference from the best, "
                    "which unmask grid records now: make the file again"
                )
            cells.append(with_error(of, "difference", "+.4f"))
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def with_error(of: dict, name: str, form: str) -> str:
    error = of["stderr" if name == "value" else f"{name}_stderr"]
    return f"{of[name]:{form}} ± {error:.4f}"
