"""What the best numbers of reveals save, for several numbers of steps: a table of `unmask grid`.

    python runs/grids.py FOLDER

FOLDER has a JSON file of `unmask grid --json` for each number of steps, all of one model and the
same examples: runs/grids.sh makes it.
"""

import argparse
from pathlib import Path

from unmask.documents import read_json

OTHERS = ("cosine", "uniform", "one token at a time")
SAME = ("model_sha256", "data_sha256", "unit", "seed", "precision")
FORM = {"steps": int, "unit": str, "model_sha256": str, "data_sha256": {str: str}, "seed": int,
        "precision": str, "grids": {str: {"value": float, "stderr": float}}}  # fmt: skip


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folder", type=Path)
    try:
        print("\n".join(table(parser.parse_args().folder)))
    except ValueError as error:
        raise SystemExit(str(error)) from None


def table(folder: Path) -> list[str]:
    """Lines of Markdown, a row for each number of steps; `unmask grid` says what the columns are.

    ValueError for files of different models, and for those that have no differences.
    """
    found = [read_json(path, FORM) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise ValueError(f"{folder} has no files of unmask grid --json")
    for name in SAME:
        if any(one[name] != found[0][name] for one in found):
            raise ValueError(f"{folder} has files of more than one {name}: keep those of one")
    lines = [
        f"| steps | best, {found[0]['unit']} | cosine, more | uniform, more | one token at a time |",
        "|---|---|---|---|---|",
    ]
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


if __name__ == "__main__":
    main()
