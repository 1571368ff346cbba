"""What the models of runs/vocabulary.py make of texts that they were not trained on: zero-shot.

    python runs/zero_shot.py OUT SETS [--limit 32] [--repeats 4] [--report]

OUT: the folder of runs/vocabulary.py, of which each row's best learning rate is taken, each seed.
SETS: a folder with the official test files (`FILES` has their names; also .gz, .xz).  Each pair of
a model and a set is one `unmask eval --protocol`, by the protocol that the table names: SEDD's
packing, which is taken for MD4's, and of AG News, which SEDD does not have, MDLM's.

Windows are of 1,024 tokens, and the models were trained on shorter ones, so that they are asked
about distances that they never saw.  --limit: windows of each set, spread evenly over it, 0 for all
of them; what is of some windows is no published protocol's figure, and the table says so.  With
less than 32 windows of 4 draws the masks are most of a bound: 2 of one draw have 320 +- 1,100.

Cost: rows x seeds x 5 evaluations of --limit x --repeats windows, ten seconds of a core each for
models of runs/vocabulary.py's default size: 20 minutes of a core for 8 rows and 3 seeds.  What is
there in OUT/zero-shot is not done again.  Expected: perplexities of thousands, where the paper has
34 to 201.
"""

import argparse
import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

from rivalry.cells import best_rate, name_of
from rivalry.plan import opened
from rivalry.report import with_error
from tabular.cells import read, write_whole
from vocabulary import TABLES

from unmask import files
from unmask.cli import main as unmask


class Set(NamedTuple):
    """A test set: its name in the table, and the names of its file."""

    title: str
    files: tuple[str, ...]


# by protocol
FILES = {
    "lambada-sedd": Set("LAMBADA", ("lambada_test.jsonl",)),
    "wikitext2-sedd": Set("WikiText-2", ("wikitext2.test.raw", "wiki.test.raw")),
    "ptb-sedd": Set("PTB", ("ptb.test.txt",)),
    "1bw-sedd": Set(
        "1BW", ("lm1b.heldout-00000-of-00050", "news.en.heldout-00000-of-00050")
    ),
    "ag-news-mdlm": Set("AG News", ("ag_news.test.csv", "test.csv")),
}  # fmt: skip
# of arXiv 2406.04329, networks of GPT-2's small size; it has no AG News
PUBLISHED = {
    "GPT-2": (45.04, 42.43, 138.43, 75.20),
    "D3PM": (93.47, 77.28, 200.82, 138.92),
    "Plaid": (57.28, 51.80, 142.60, 91.12),
    "SEDD": (50.92, 41.84, 114.24, 79.29),
    "SEDD, as MD4's authors made it": (49.73, 38.94, 107.54, 72.96),
    "MD4": (48.43, 34.94, 102.26, 68.10),
}
PAPER = (
    "paper: perplexities of arXiv 2406.04329's zero-shot table, networks of GPT-2's small size, "
    "trained on all of OpenWebText, GPT-2 on WebText: not ours, of another budget by far. That of "
    "GPT-2 is a likelihood, the others are bounds; which packing they are of is not in the paper, "
    "see docs/protocols.md. Its column WikiText-103 is left out: the raw test text is that of "
    "WikiText-2."
)


def main(argv: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("out", type=Path)
    parser.add_argument("sets", type=Path)
    parser.add_argument("--limit", type=int, default=32, help="windows of a set; 0: all")
    parser.add_argument("--repeats", type=int, default=4, help="draws of masks a window")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="only print what there is")
    args = parser.parse_args(argv)
    try:
        if not args.report:
            code = work(args)
            if code:
                return code
        text = "\n".join(table(args.out)) + "\n"
    except ValueError as error:
        sys.exit(str(error))
    print(text, end="")
    files.write_whole(args.out / "zero-shot" / "report.md", text)
    return 0


# ---------------------------------------------------------------- evaluations


def models(out: Path) -> dict[str, list[str]]:
    """By row, the names of the models of its best rate, in the order of seeds.

    ValueError for a folder that is not of runs/vocabulary.py.
    """
    found = opened(out, TABLES)
    if found is None:
        raise ValueError(f"{out} holds no table: make it with runs/vocabulary.sh first")
    plan, rows = found[0], {}
    for row in plan["rows"]:
        rate = best_rate(out, plan, row)
        rows[row] = [] if rate is None else [name_of(row, rate, seed) for seed in plan["seeds"]]
    return rows


def source(sets: Path, protocol: str) -> Path:
    """The file of a set.  ValueError where there is none."""
    names = FILES[protocol].files
    for name in names:
        for ending in ("", ".gz", ".xz"):
            if (sets / f"{name}{ending}").is_file():
                return sets / f"{name}{ending}"
    raise ValueError(f"{sets} has no {' or '.join(names)}, for {protocol}: put it there")


def work(args: argparse.Namespace) -> int:
    """Do the evaluations that there are not; the exit code of the first that fails, or 0."""
    home, rows = args.out / "zero-shot", models(args.out)
    sources = {protocol: source(args.sets, protocol) for protocol in FILES}
    asked = {"limit": args.limit, "repeats": args.repeats}
    known = read(home / "plan.json")
    if known not in (None, asked):
        raise ValueError(
            f"{home} is of {known}, not {asked}: give the same, or move that folder away"
        )
    there = [
        name
        for names in rows.values()
        for name in names
        if (args.out / "models" / name / "config.json").exists()
    ]
    if not there:
        raise ValueError(f"{args.out} has no model of a finished search: finish it first")
    write_whole(home / "plan.json", asked)
    todo = [(protocol, name) for protocol in FILES for name in there]
    for number, (protocol, name) in enumerate(todo, 1):
        path = record_path(args.out, protocol, name)
        if path.exists():
            continue
        print(f"{number} of {len(todo)}: {name}, {protocol}", file=sys.stderr, flush=True)
        kept = home / "data" / protocol
        data = ["--data", str(kept)]
        if not (kept / "meta.json").is_file():
            data = ["--data", str(sources[protocol]), "--keep", str(kept)]
        flags = ["--limit", str(args.limit), "--repeats", str(args.repeats)]
        flags += ["--threads", str(args.threads), "--batch-size", "4", "--json", str(path)]
        path.parent.mkdir(parents=True, exist_ok=True)
        model = str(args.out / "models" / name)
        if code := unmask(["eval", model, "--protocol", protocol, *data, *flags]):
            return code
    return 0


def record_path(out: Path, protocol: str, name: str) -> Path:
    return out / "zero-shot" / "records" / f"{name}-{protocol}.json"


# ---------------------------------------------------------------- the table


def table(folder: Path) -> list[str]:
    """The lines of the table in the folder of runs/vocabulary.py, of its record alone."""
    rows, asked = models(folder), read(folder / "zero-shot" / "plan.json")
    if asked is None:
        raise ValueError(f"{folder} has no zero-shot figures: make them with runs/zero_shot.sh")
    plan, _ = opened(folder, TABLES) or ({}, None)
    found = {
        (row, protocol): [
            record for name in names if (record := read(record_path(folder, protocol, name)))
        ]
        for row, names in rows.items()
        for protocol in FILES
    }
    titles = [one.title for one in FILES.values()]
    lines = [
        f"Perplexities a token, ours of models of runs/vocabulary.py, trained on windows of "
        f"{plan['length']} tokens and asked about windows of 1,024; {said_of(asked)}.",
        "",
        f"| row | is | seeds | {' | '.join(titles)} |",
        "|---" * (3 + len(titles)) + "|",
        f"| protocol | | | {' | '.join(FILES)} |",
        f"| official files | | | {' | '.join(official(found, one) for one in FILES)} |",
    ]
    for row in rows:
        cells = {protocol: found[row, protocol] for protocol in FILES}
        lines.append(line_of(f"ours: {plan['table']['rows'][row]['what']}", cells))
    for name, values in PUBLISHED.items():
        kind = "likelihood" if name == "GPT-2" else "bound"
        figures = " | ".join(f"{value:.2f}" for value in values)
        lines.append(f"| paper: {name} | {kind} | | {figures} | |")
    return [*lines, "", PAPER]


def said_of(asked: dict[str, Any]) -> str:
    """On how many windows, and with how many draws."""
    windows = "all windows"
    if asked["limit"]:
        windows = f"{asked['limit']} windows of each set, so of no published protocol"
    return (
        f"{windows}, {asked['repeats']} draws of masks each. Errors are the larger of that over "
        "seeds and that over windows and masks, which all models share"
    )


def official(found: dict[tuple[str, str], list[dict]], protocol: str) -> str:
    """Whether the source of a set was the published one, as its records say."""
    said = {
        record["protocol"]["official"]
        for (_, of), records in found.items()
        for record in records
        if of == protocol
    }
    return " and ".join(sorted(said))


def line_of(what: str, cells: dict[str, list[dict]]) -> str:
    """A row: means over seeds `with_error`."""
    kinds, figures = set(), []
    for records in cells.values():
        values = [record["perplexity"] for record in records]
        exact = [record["what"].startswith("the exact") for record in records]
        kinds |= {"likelihood" if one else "bound" for one in exact}
        if not values:
            figures.append("not done")
            continue
        own = [one.get("stderr") for one in records]  # of one window there is none
        errors = [
            None if error is None else value * math.log(2) * error
            for value, error in zip(values, own, strict=True)
        ]
        figures.append(with_error(values, errors, 1))
    seeds = max(map(len, cells.values()), default=0)
    return f"| {what} | {' and '.join(sorted(kinds))} | {seeds} | {' | '.join(figures)} |"


if __name__ == "__main__":
    sys.exit(main())
