"""Figures of `unmask eval` beside published figures: a table.

A record is a JSON file: `what` is measured, by which keys records of `unmask eval --json` have its
`value` and `error`, how many `digits` are shown, and `rows`, each with a `name` and either a figure
as it is `published` in its `source`, or `eval`, the path of such a record, seen from the file.
What is published is said to be: nobody measured it here, and its budget was another.
`python runs/results.py --show published FILE` prints it.
"""

from pathlib import Path

from unmask.documents import NUMBER, read_json, whole

ROW = {"name": str, "published?": str, "source?": str, "eval?": str}
FORM = {"what": str, "value": str, "error": str, "digits": whole(0, 9), "rows": [ROW]}


def table(record: Path) -> list[str]:
    """Lines of Markdown.  ValueError for a row that is neither published nor measured, or both."""
    found = read_json(record, FORM)
    lines = [f"| {found['what']} | | |", "|---|---|---|"]
    for row in found["rows"]:
        if "published" in row and "source" in row and "eval" not in row:
            lines.append(f"| {row['name']} | {row['published']} | published: {row['source']} |")
        elif "eval" in row and "published" not in row:
            value = measured(record.parent / row["eval"], found)
            lines.append(f"| **{row['name']}** | {value} |")
        else:
            raise ValueError(
                f"{record}: {row['name']!r} is neither published, with its source, nor measured: "
                "give it published and source, or eval"
            )
    return lines


def measured(path: Path, found: dict) -> str:
    """A bound, or a likelihood, with its error, and what it is of."""
    value, error, digits = found["value"], found["error"], found["digits"]
    one = read_json(path, {value: NUMBER, error: NUMBER, "n": whole(1), "split": str, "what?": str})
    bound = f"{one[value]:.{digits}f} ± {one[error]:.{digits}f}"
    # records that do not say it are of a time when there were bounds alone
    exact = one.get("what", "").startswith("the exact")
    kind = "likelihood" if exact else "bound"
    return f"{bound} | a {kind}, {one['n']:,} {one['split']} examples"
