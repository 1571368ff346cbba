"""Masked diffusion and its rivals on 27 letters: a table, ours beside the published one.

    python runs/text.py DATA OUT [--minutes 10] [--seeds 0,1,2] [--only md4,ar] [--report]

DATA: a folder that unmask prepare made of text8, or of what has its 27 letters (runs/text.sh makes
it).  Every row is the same transformer, trained for the same number of network calls: a sequence
forward and backward, once; two draws of the masks are two.  Learning rates are searched for every
row over the same three values, with the first seed and on the validation split; the other seeds
take the best.  What is told is of the test split, of averaged weights.

--minutes is for all of it, as far as it can be foreseen: how fast each row is here is measured
first, and what follows, the number of calls, is kept in OUT/plan.json.  A cell is a row, a learning
rate and a seed, and has a file in OUT/cells; what is there is not done again, and a cell that was
stopped goes on where its run was.  OUT/report.md is the table.
"""

import argparse
import math
import statistics
import sys
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from tabular.cells import Progress, done, read, run_cell, write_whole

from unmask.config import TrainConfig
from unmask.data import open_data
from unmask.device import pick_device, pick_dtype, precision
from unmask.estimate import student
from unmask.likelihood import estimate, own_estimator
from unmask.rivals import open_model
from unmask.train import train
from unmask.train.loop import train_step, untrained
from unmask.train.run import last_row
from unmask.train.state import State

RATES = (1e-3, 3e-3, 1e-2)
TRIED = 4, 12  # steps before the clock, and on it
LEAST = 20  # steps of a cell
REPEATS = 2  # draws of a window in an evaluation, whose calls cost about a third of training's
PAPER = "arXiv 2406.04329, table of text8: 12 layers, dim 768, 512 x 256 letters, a million steps"
SAME = TrainConfig(
    heads=2, batch_size=16, optimizer="adamw", eval_minutes=0.0, checkpoint_minutes=0.5,
    eval_windows=128, eval_repeats=REPEATS,
)  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A method: what differs from SAME, and the paper's bits per character."""

    what: str
    changed: dict
    paper: str

    @property
    def calls(self) -> int:
        """Network calls of a sequence in a step."""
        learned = self.changed.get("schedule") == "learned"
        return 2 if learned or self.changed.get("draws") == 2 else 1

    def config(self, args, **how) -> TrainConfig:
        sizes = {"length": args.length, "dim": args.dim, "layers": args.layers}
        return replace(SAME, **sizes, **self.changed, **how)


ROWS = {
    "d3pm": Row("D3PM, absorbing, T = 1000", {"rival": "d3pm"}, "1.45"),
    "sedd": Row("SEDD, absorbing", {"rival": "sedd"}, "1.39"),
    "md4": Row("MD4", {}, "1.37"),
    "md4x2": Row("MD4, two draws, sees the time", {"draws": 2, "time": True}, ""),
    "genmd4": Row("GenMD4, two draws", {"schedule": "learned", "time": True}, "1.34"),
    "prime2": Row("MDM-Prime, 2 digits", {"digits": 2}, ""),
    "uniform": Row(
        "uniform noise, T = 1000, sees the time", {"rival": "uniform", "time": True}, "1.72"
    ),
    "ar": Row("autoregressive", {"rival": "ar"}, "1.23"),
}


def main(argv: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0, help="of all of it")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", default=",".join(ROWS), help="rows, with commas between them")
    parser.add_argument("--windows", type=int, default=256, help="of the test split")
    parser.add_argument("--length", type=int, default=64, help="letters of a sequence")
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="only print what there is")
    args = parser.parse_args(argv)
    args.seeds, args.only = [int(s) for s in args.seeds.split(",")], args.only.split(",")
    if strange := set(args.only) - set(ROWS):
        parser.error(f"--only {min(strange)}: name some of {', '.join(ROWS)}")
    if not args.minutes > 0:
        parser.error(f"--minutes must be positive, not {args.minutes:g}")
    if args.threads:
        torch.set_num_threads(args.threads)
    if not args.report:
        work(args, planned(args))
    report(args)
    return 0


# ---------------------------------------------------------------- cells


def planned(args) -> dict:
    """OUT/plan.json: network calls of a cell in sequences, for these rows, seeds and minutes."""
    path = args.out / "plan.json"
    asked = {
        "minutes": args.minutes, "seeds": args.seeds, "rows": args.only, "windows": args.windows,
        "length": args.length, "dim": args.dim, "layers": args.layers,
        "data_sha256": open_data(args.data).meta["sha256"],
    }  # fmt: skip
    plan = read(path)
    if plan is None:
        seconds = {name: seconds_a_call(args, name) for name in args.only}
        cells = len(RATES) + len(args.seeds) - 1
        evaluated = REPEATS * (args.windows + SAME.eval_windows) / 3
        calls = 60 * args.minutes / (cells * sum(seconds.values())) - evaluated
        steps = int(calls / SAME.batch_size) // 2 * 2  # even: of two draws, half
        if steps < LEAST:
            more = args.minutes * (LEAST * SAME.batch_size + evaluated) / (calls + evaluated)
            sys.exit(
                f"--minutes {args.minutes:g} leaves {max(steps, 0)} steps a cell: give at least "
                f"{math.ceil(more + 0.5)}, fewer seeds or --only some rows"
            )
        plan = asked | {"calls": steps * SAME.batch_size, "seconds_a_call": seconds}
        write_whole(path, plan)
    for name, value in asked.items():
        if plan[name] != value:
            sys.exit(f"{path} is of {name} {plan[name]}, not {value}: choose another OUT")
    return plan


def seconds_a_call(args, name: str) -> float:
    """Measured on a few steps of an untrained model."""
    config, data, model = untrained(ROWS[name].config(args, steps=sum(TRIED)), args.data)
    state = State(model, config)
    for step in range(sum(TRIED)):
        if step == TRIED[0]:
            began = time.monotonic()
        train_step(config, data, state, config.steps)
    return (time.monotonic() - began) / TRIED[1] / config.batch_size / ROWS[name].calls


def cell_path(args, name: str, rate: float, seed: int) -> Path:
    return args.out / "cells" / f"{name}-{rate:g}-{seed}.json"


def best_rate(args, name: str) -> float | None:
    """The rate of least bits on the validation split, with the first seed; None: not all done."""
    found = [read(cell_path(args, name, rate, args.seeds[0])) for rate in RATES]
    if not all(found):
        return None
    bits = [one.get("validation_bits") or math.inf for one in found]
    return RATES[bits.index(min(bits))]


def work(args, plan: dict) -> None:
    """Do the cells that there are not; the search first, all rows of it."""
    search = [(name, rate, args.seeds[0]) for name in args.only for rate in RATES]
    others = [(name, None, seed) for name in args.only for seed in args.seeds[1:]]
    progress = Progress([name for name, _, _ in search + others], {})
    for name, rate, seed in search + others:
        rate = rate or best_rate(args, name)
        path = cell_path(args, name, rate, seed)
        about = {"row": name, "rate": rate, "seed": seed, "calls": plan["calls"]}
        if done(path, again=False):
            record = read(path)
        else:
            record = run_cell(path, about, partial(cell, args, plan, name, rate, seed))
        print(progress.after(name, record, path.stem), file=sys.stderr, flush=True)


def cell(args, plan: dict, name: str, rate: float, seed: int) -> dict:
    """Train, and evaluate."""
    steps = plan["calls"] // (SAME.batch_size * ROWS[name].calls)
    how = {"learning_rate": rate, "warmup": max(1, steps // 20), "seed": seed, "steps": steps}
    out = args.out / "runs" / f"{name}-{rate:g}-{seed}"
    config = ROWS[name].config(args, **how)
    folder = train(config, args.data, out)
    device = pick_device(config.device)
    dtype = pick_dtype(config.dtype, device)
    model, data = open_model(folder).to(device), open_data(args.data)
    own = own_estimator(model)
    windows = data.windows("test", config.length, 64, limit=args.windows)
    with precision(dtype, device):
        found = estimate(model, windows, own, repeats=REPEATS)
    return {
        "validation_bits": last_row(out, folder).get("bits"), "bits": found.bits_per_dim,
        "stderr": found.bits_per_dim_stderr, "noise": found.bits_per_dim_noise,
        "what": found.what, "estimator": found.name, "sampler": found.sampler,
        "density": found.density, "steps": steps, "dtype": dtype, "device": str(device),
        "parameters": sum(p.numel() for p in model.parameters()), "config": asdict(config),
    }  # fmt: skip


# ---------------------------------------------------------------- the table


def report(args) -> None:
    """Print what there is, and write it to OUT/report.md."""
    plan = read(args.out / "plan.json")
    if plan is None:
        sys.exit(f"{args.out} holds no cells: leave out --report")
    finished = {name: finished_cells(args, name) for name in args.only}
    lines = [
        f"{plan['calls']:,} network calls a cell, {SAME.batch_size} sequences of {args.length} "
        f"letters at a time, {args.layers} layers, dim {args.dim}; bits per letter of the test "
        f"split, {args.windows} windows, averaged weights.",
        "",
        "| row | ours | is | seeds | learning rates: validation bits | density | weights | paper |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [line_of(args, name, finished[name]) for name in args.only]
    lines += [
        "",
        f"paper: {PAPER}; not ours, of another budget by far, and of text8's own last 5 MB.",
    ]
    lines += ["", *resolved(finished)]
    text = "\n".join(lines) + "\n"
    print(text, end="")
    (args.out / "report.md").write_text(text, encoding="utf-8")


def finished_cells(args, name: str) -> dict[int, dict]:
    """By seed, those of the best learning rate."""
    rate = best_rate(args, name)
    if rate is None:
        return {}
    found = {seed: read(cell_path(args, name, rate, seed)) for seed in args.seeds}
    return {seed: one for seed, one in found.items() if one and "bits" in one}


def line_of(args, name: str, cells: dict[int, dict]) -> str:
    row, rates = ROWS[name], []
    for rate in RATES:
        one = read(cell_path(args, name, rate, args.seeds[0]))
        bits = None if one is None else one.get("validation_bits")
        said = "-" if bits is None else f"{bits:.3f}"
        said = f"{rate:g}: {said}"
        if rate == best_rate(args, name):
            beyond = " (the best may lie beyond)" if rate in (RATES[0], RATES[-1]) else ""
            said = f"**{said}**{beyond}"
        rates.append(said)
    if not cells:
        return f"| {row.what} | not done | | 0 | {', '.join(rates)} | | | {row.paper} |"
    one = next(iter(cells.values()))
    bits = [cell["bits"] for cell in cells.values()]
    mean = f"{statistics.mean(bits):.3f}"
    if len(bits) > 1:
        mean += f" +- {statistics.stdev(bits) / math.sqrt(len(bits)):.3f}"
    kind = "likelihood" if one["what"].startswith("the exact") else "bound"
    return (
        f"| {row.what} | {mean} | {kind} | {len(bits)} | {', '.join(rates)} | {one['density']} | "
        f"{one['parameters']:,} | {row.paper} |"
    )


def resolved(finished: dict[str, dict[int, dict]]) -> list[str]:
    """Each row less MD4, or else the first, paired by seed, and what these seeds resolve."""
    lines, rows = [], [name for name, cells in finished.items() if cells]
    first = "md4" if "md4" in rows else next(iter(rows), "")
    for name in rows:
        a, b = finished[first], finished[name]
        change = [b[seed]["bits"] - a[seed]["bits"] for seed in sorted(a.keys() & b.keys())]
        if name == first or len(change) < 2:
            continue
        needed = student(len(change) - 1) * statistics.stdev(change) / math.sqrt(len(change))
        mean = statistics.mean(change)
        verdict = "resolved" if abs(mean) > needed else "not resolved"
        lines.append(
            f"- {name} less {first}: {mean:+.3f} bits, {verdict} at 95 % by {len(change)} seeds: "
            f"differences from {needed:.3f} on would be"
        )
    return lines or ["One seed resolves nothing: differences between rows may be of the seed."]


if __name__ == "__main__":
    sys.exit(main())
