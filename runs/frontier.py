"""Samplers by what they give and what it costs: entropy against generative perplexity.

    python runs/frontier.py demo/run --data demo/data --judge demo/run --out frontier \
        --samplers ancestral,confidence --temperatures 0.7,0.85,1 --steps 16,64,256 --num 100

Draws samples with every sampler, temperature and number of steps by `unmask sample`, and measures
them by `unmask quality --perplexity`: each is a cell, a file in --out, and a command that was
stopped goes on where it was.  Then writes frontier.json, with all figures of all cells and those of
real text, and frontier.png, a curve over temperatures for every sampler and number of steps, with
standard errors over samples.  Flags that are not its own are those of `unmask sample`
(--length 256 --dtype float32); numbers of some samplers alone (--eta, --gamma, --corrections) are
given to these.  A cell that is refused is named, and the exit code is then 1.  A cell costs its
samples and a second or more, longer where much training text is searched for copies.

Read it so: of two samplers of one entropy the one with the lower perplexity is better, as far as
the judge knows; a lower perplexity at a lower entropy is none.
"""

import argparse
import itertools
import json
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from unmask import __version__
from unmask.categorical import DRAWS
from unmask.checkpoint import digest, resolve
from unmask.cli import main as unmask
from unmask.config import OWN
from unmask.documents import read_json
from unmask.files import write_whole
from unmask.kinds.registry import open_data
from unmask.report.drawing import BLACK, new_figure, quiet, write_png

FIGURES = ("judge_entropy", "generative_perplexity")
LINES = ("-", "--", ":", "-.")  # by number of steps, the least first
# the law of the first is that of as many steps as one likes; the other's follow from --gamma
STEPLESS = ("first_hitting", "entropy-bounded")


def main(argv: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("model", type=Path, help="a model's folder, or a run's")
    parser.add_argument("--data", type=Path, required=True, help="a prepared folder")
    parser.add_argument("--judge", required=True, help="see unmask quality --perplexity")
    parser.add_argument("--out", type=Path, required=True, help="a folder for the cells")
    parser.add_argument("--samplers", default="ancestral", help="names, with commas between them")
    parser.add_argument("--temperatures", default="1")
    parser.add_argument("--steps", default="256")
    parser.add_argument("--draws", default="exact", help="exact,float32-gumbel: see unmask sample")
    parser.add_argument("--num", type=int, default=100, help="samples of a cell")
    parser.add_argument("--seed", type=int, default=0)
    for name in OWN:
        parser.add_argument(f"--{name}", help=f"of {' and '.join(OWN[name])}")
    args, more = parser.parse_known_args(argv)
    try:
        cells = cells_of(args)
        begin(args, more)
    except (OSError, ValueError) as error:
        print(f"frontier: {error}", file=sys.stderr)
        return 2
    rows = []
    for number, cell in enumerate(cells, 1):
        row = measured(args, cell, more)
        rows.append(row)
        print(f"{number} of {len(cells)}: {line(row)}", flush=True)
    found = [row for row in rows if "figures" in row]
    if not found:
        print("frontier: no cell could be measured", file=sys.stderr)
        return 2
    content = {"version": __version__, **settings(args, more), "cells": rows}
    write_whole(args.out / "frontier.json", json.dumps(content, indent=1) + "\n")
    write_png(args.out / "frontier.png", lambda: draw(found))
    print("\n".join(table(args.out / "frontier.json")))
    print(f"wrote {args.out / 'frontier.json'} and frontier.png")
    if len(found) < len(rows):
        refused = f"{len(rows) - len(found)} of {len(rows)} cells were refused"
        print(f"frontier: {refused}, and are not in frontier.png", file=sys.stderr)
        return 1
    return 0


def cells_of(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Every sampler, temperature and number of steps.  ValueError for what is no number."""
    samplers = [name.strip() for name in args.samplers.split(",") if name.strip()]
    try:
        temperatures = [float(one) for one in args.temperatures.split(",")]
        steps = [int(one) for one in args.steps.split(",")]
    except ValueError as error:
        raise ValueError(f"{error}: give numbers with commas between them") from None
    draws = args.draws.split(",")
    if strange := set(draws) - set(DRAWS):
        raise ValueError(f"--draws {min(strange)}: name some of {', '.join(DRAWS)}")
    if not samplers or args.num < 2 or min(steps) < 1:
        raise ValueError("give a sampler, at least one step, and --num of at least 2")
    for name, of in OWN.items():
        if getattr(args, name) is not None and not set(of) & set(samplers):
            raise ValueError(
                f"--{name} is of {' and '.join(of)}, which --samplers does not name: leave it out"
            )
    found = []
    for sampler, draw, temperature, number in itertools.product(
        samplers, draws, temperatures, steps
    ):
        cell = {"sampler": sampler, "temperature": temperature, "steps": number, "draw": draw}
        if sampler in STEPLESS:
            cell["steps"] = 0
        if cell not in found:
            found.append(cell)
    return found


def settings(args: argparse.Namespace, more: list[str]) -> dict[str, Any]:
    """What all cells of a folder have in common."""
    model, judge = resolve(args.model), resolve(args.judge)
    data_sha256 = open_data(args.data).meta["sha256"]
    return {
        "model_sha256": digest(model / "model.safetensors"), "data_sha256": data_sha256,
        "judge_sha256": [digest(file) for file in sorted(judge.glob("*.safetensors"))],
        "num": args.num,
        "seed": args.seed, "flags": [*own_flags(args), *more],
    }  # fmt: skip


def own_flags(args: argparse.Namespace, sampler: str = "") -> list[str]:
    """Numbers of some samplers alone, as flags: those of this one; of all, without one."""
    given = {name: getattr(args, name) for name in OWN if not sampler or sampler in OWN[name]}
    return [
        word for name, said in given.items() if said is not None for word in (f"--{name}", said)
    ]


def short(temperature: float) -> str:
    """The shortest number that reads back as this one: no two have the same."""
    return repr(temperature).removesuffix(".0")


def begin(args: argparse.Namespace, more: list[str]) -> None:
    """ValueError for a folder that has cells of something else."""
    args.out.mkdir(parents=True, exist_ok=True)
    path, now = args.out / "settings.json", settings(args, more)
    if path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        others = [name for name in now if before.get(name) != now[name]]
        if others:
            raise ValueError(
                f"{args.out} has cells of another {', '.join(others)}: name another --out"
            )
    write_whole(path, json.dumps(now, indent=1) + "\n")


def measured(args: argparse.Namespace, cell: dict[str, Any], more: list[str]) -> dict[str, Any]:
    """The cell with its figures, from its file where it has one already; or why it has none."""
    name = f"{cell['sampler']}-t{short(cell['temperature'])}-n{cell['steps']}"
    if cell["draw"] != "exact":
        name += f"-{cell['draw']}"
    samples, record, result = (
        str(args.out / f"{name}{ending}") for ending in (".jsonl", ".sample.json", ".json")
    )
    if not Path(result).exists():
        seed = ["--seed", str(args.seed)]
        drawing = ["sample", str(args.model), "--num", str(args.num), "--out", samples, *seed]
        drawing += ["--sampler", cell["sampler"], "--temperature", str(cell["temperature"])]
        drawing += ["--draw", cell["draw"], "--json", record]
        drawing += [*own_flags(args, cell["sampler"]), *more]
        if cell["steps"]:
            drawing += ["--steps", str(cell["steps"])]
        judging = ["quality", samples, "--data", str(args.data), "--perplexity", args.judge]
        judging += ["--record", record, "--json", result, *seed]
        for command in (drawing, judging):
            code = verb(command)
            if code == 130:
                raise SystemExit(130)
            if code:
                return cell | {"refused": f"unmask {command[0]} ended with {code}, see above"}
    told = json.loads(Path(result).read_text(encoding="utf-8"))
    return cell | {"figures": told["measures"], "samples": told["samples"]}


def verb(command: list[str]) -> int:
    """The exit code of a verb, whose records then say this command."""
    before = sys.argv
    sys.argv = ["unmask", *command]
    try:
        with redirect_stdout(StringIO()):
            return unmask(command)
    except SystemExit as stop:  # of flags that there are not
        return int(stop.code or 0)
    finally:
        sys.argv = before


def line(row: dict[str, Any]) -> str:
    said = f"{sampler_of(row)}, temperature {short(row['temperature'])}"
    if "refused" in row:
        return f"{said}: {row['refused']}"
    entropy, perplexity = (row["figures"][name] for name in FIGURES)
    return (
        f"{said}: entropy {spelled(entropy['samples'])}, perplexity "
        f"{spelled(perplexity['samples'])} (real: {spelled(entropy['real'])}, "
        f"{spelled(perplexity['real'])})"
    )


def sampler_of(row: dict[str, Any]) -> str:
    """The sampler with its number of steps, and its draw where that is not exact."""
    said = row["sampler"]
    if row["steps"]:
        said += f", {row['steps']} steps"
    draw = row.get("draw", "exact")  # older records have this one alone
    return said if draw == "exact" else f"{said}, {draw}"


def spelled(value: dict[str, float]) -> str:
    error = value["error"]
    return f"{value['value']:.4g}" if error is None else f"{value['value']:.4g} ± {error:.2g}"


def table(record: Path) -> list[str]:
    """Lines of Markdown, of frontier.json: what each cell has, and real text."""
    rows = read_json(record, {"cells": [dict]})["cells"]
    lines = ["| sampler | temperature | steps | entropy, nats | generative perplexity | samples |"]
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        cells = [sampler_of(row | {"steps": 0}), short(row["temperature"]), str(row["steps"] or "")]
        if "figures" in row:
            cells += [spelled(row["figures"][name]["samples"]) for name in FIGURES]
            cells.append(str(row["samples"]))
        else:
            cells += ["refused", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    real = next((row["figures"] for row in rows if "figures" in row), None)
    if real:
        of_real = " | ".join(spelled(real[name]["real"]) for name in FIGURES)
        lines.append(f"| real text, held out | | | {of_real} | |")
    return lines


def draw(rows: list[dict[str, Any]]) -> Any:
    """A curve over temperatures of every sampler, number of steps and draw: a colour a sampler, a
    line a number of steps, open points where the draw is not exact."""
    page = new_figure(9.5, 6)
    axes = page.add_axes((0.08, 0.11, 0.66, 0.82))
    of = ("sampler", "steps", "draw")
    curves: dict[tuple, list[dict]] = {}
    for row in rows:
        curves.setdefault(tuple(row[name] for name in of), []).append(row)
    samplers, steps, draws = (list(dict.fromkeys(key[i] for key in curves)) for i in range(3))
    steps = sorted(set(steps) - {0})
    styles = {number: LINES[i % len(LINES)] for i, number in enumerate(steps)} | {0: "-"}
    for (sampler, number, drawn), curve in curves.items():
        curve.sort(key=lambda row: row["temperature"])
        x, y, dx, dy = points(curve, "samples")
        color = f"C{samplers.index(sampler)}"
        axes.errorbar(
            x, y, dy, dx, marker="o", markersize=5, linewidth=1.3, elinewidth=0.6, color=color,
            linestyle=styles[number], markerfacecolor=color if drawn == "exact" else "white",
        )  # fmt: skip
    x, y, dx, dy = points(rows[:1], "real")
    axes.errorbar(x, y, dy, dx, fmt="*", markersize=13, color=BLACK)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("entropy of the judge's tokens in a sample, nats")
    axes.set_ylabel("generative perplexity")
    heats = ", ".join(short(one) for one in sorted({row["temperature"] for row in rows}))
    axes.set_title(f"Along a curve, temperatures {heats}; one standard error", fontsize=10)
    quiet(axes, labelsize=9, grid="both")
    keys = {name: {"color": f"C{i}"} for i, name in enumerate(samplers)}
    if len(steps) > 1:
        keys |= {f"{n} steps": {"color": BLACK, "linestyle": styles[n]} for n in steps}
    dot = {"color": BLACK, "marker": "o", "linestyle": ""}
    if len(draws) > 1:
        keys |= {name: dot for name in draws if name == "exact"}
        keys |= {name: dot | {"markerfacecolor": "white"} for name in draws if name != "exact"}
    keys["real text, held out"] = {"color": BLACK, "marker": "*", "markersize": 12, "linestyle": ""}
    handles = [axes.plot([], [], label=name, **how)[0] for name, how in keys.items()]
    page.legend(
        handles=handles, frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(0.75, 0.94)
    )
    return page


def points(rows: list[dict[str, Any]], side: str) -> tuple[list[float], ...]:
    """Entropies, perplexities, and the errors of both: 0 where none is known."""
    both = [[row["figures"][name][side] for row in rows] for name in FIGURES]
    values = [[one["value"] for one in figure] for figure in both]
    errors = [[one["error"] or 0.0 for one in figure] for figure in both]
    return values[0], values[1], errors[0], errors[1]


if __name__ == "__main__":
    sys.exit(main())
