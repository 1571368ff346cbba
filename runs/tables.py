"""Generators of tables on five sets, under one budget: unmask beside its rivals.

    pip install 'unmask[quality]'      # scikit-learn; and, if you accept its licence, ctgan
    python runs/tables.py FOLDER OUT [--seeds 0,1,2] [--only magic,cart] [--budget 600]
    python runs/tables.py FOLDER OUT --report

FOLDER has the official files, which `tabular/sets.py` names together with every choice that is made
of them; also gzipped.  A seed is the split, the weights, and all that is drawn.

A method learns from the training rows and makes as many.  It gets 600 processor seconds of this
process and its children for that, tuning on the validation rows included: five minutes on two
threads.  None overruns: each counts what it takes, and does fewer steps, rounds or trees; a record
says what it did, what it took, and whether it was more after all.  Drawing rows and measuring them
are counted apart.  What is measured: `unmask quality --source`; nats a test row, where a method has
a likelihood, over the alphabets of the prepared data; and imputation (`tabular/imputation.py`).

A cell of the benchmark is a set, a seed and a method, or a set, a seed and `imputation`.  Each is a
file in OUT/cells, written when it is finished, and what is there is not done again; Ctrl-C loses
the cell that runs.  A cell that failed says so in its file, and --again tries it again. OUT/sets,
OUT/runs and OUT/made hold the splits, our runs and the rows made.
"""

import argparse
import os
import platform
import subprocess
import sys
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from tabular.cells import Clock, Progress, Skipped, Times, done, read, run_cell
from tabular.method import Method
from tabular.ours import Ours
from tabular.outside import CTGAN, TVAE
from tabular.plain import Bootstrap, Copula, Independent, Smote, Uniform
from tabular.report import IMPUTATION, name_of, write_report
from tabular.sets import SETS, Known, prepare_set

BUDGET, THREADS = 600.0, 2  # processor seconds; five minutes on two threads
PACKAGES = ("unmask", "torch", "numpy", "scikit-learn", "scipy", "ctgan", "rdt", "pandas")


def methods() -> dict[str, type[Method]]:
    """By name, ours first: imputation takes its model."""
    from tabular.chains import Boosted, Cart

    kinds = (Ours, Uniform, Independent, Bootstrap, Smote, Copula, Cart, Boosted, TVAE, CTGAN)
    return {kind.name: kind for kind in kinds}


def main(argv: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--only", default="", help="names of sets, of methods, and 'imputation'")
    parser.add_argument("--budget", type=float, default=BUDGET, help="processor seconds")
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--again", action="store_true", help="cells that failed or were skipped")
    parser.add_argument("--report", action="store_true", help="write OUT/report.md, and stop")
    args = parser.parse_args(argv)
    kinds = methods()
    try:
        seeds = [int(seed) for seed in args.seeds.split(",")]
        sets, chosen = selected(args.only, list(SETS), [*kinds, IMPUTATION])
    except ValueError as error:
        parser.error(str(error))
    cells = args.out / "cells"
    if args.report:
        about = {name: kind.about for name, kind in kinds.items() if name in chosen}
        args.out.mkdir(parents=True, exist_ok=True)
        write_report(cells, about, sets, seeds, args.out / "report.md")
        print(args.out / "report.md")
        return 0
    keys = [(name, seed, method) for name in sets for seed in seeds for method in chosen]
    open_cells = [key for key in keys if not done(cells / f"{name_of(*key)}.json", args.again)]
    print(f"{len(open_cells)} of {len(keys)} cells to do", flush=True)
    progress = Progress([method for _, _, method in open_cells], seconds_so_far(cells))
    torch.set_num_threads(args.threads)
    from threadpoolctl import threadpool_limits

    with threadpool_limits(args.threads):
        for name, seed, method in open_cells:
            path = cells / f"{name_of(name, seed, method)}.json"
            about = {"set": name, "seed": seed, "method": method} | circumstances(args)
            if method == IMPUTATION:
                work = partial(imputation_cell, args, name, seed)
            else:
                work = partial(method_cell, args, kinds[method], name, seed)
            record = run_cell(path, about, work)
            print(progress.after(method, record, f"{name} {seed} {method}"), flush=True)
    return 0


def selected(only: str, sets: list[str], others: list[str]) -> tuple[list[str], list[str]]:
    """The sets and the methods that are named; all where none is.  ValueError for a strange one."""
    named = [word for word in only.split(",") if word]
    for word in named:
        if word not in (*sets, *others):
            raise ValueError(f"--only {word}: name some of {', '.join((*sets, *others))}")
    chosen = [[one for one in of if one in named] or of for of in (sets, others)]
    return chosen[0], chosen[1]


def seconds_so_far(cells: Path) -> dict[str, list[float]]:
    """Wall seconds of finished cells, by method, to tell what is left."""
    found: dict[str, list[float]] = {}
    for path in sorted(cells.glob("*.json")):
        record = read(path)
        found.setdefault(record["method"], []).append(record["wall_seconds"])
    return found


def circumstances(args) -> dict:
    """What a record says of where it was made."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    command = ["git", "describe", "--always", "--dirty"]
    here = Path(__file__).parent
    commit = subprocess.run(command, capture_output=True, text=True, cwd=here).stdout.strip()
    return {
        "budget": args.budget, "threads": args.threads, "versions": versions, "commit": commit,
        "load": round(os.getloadavg()[0], 2),
    }  # fmt: skip


def known_set(args, name: str, seed: int) -> Known:
    return prepare_set(name, args.folder, seed, args.out / "sets" / f"{name}-{seed}")


def run_of(args, name: str, seed: int) -> Path:
    return args.out / "runs" / f"{name}-{seed}"


def method_cell(args, kind: type[Method], name: str, seed: int) -> dict:
    """Learn, draw, measure."""
    from tabular.measures import nats, quality

    known, times = known_set(args, name, seed), Times()
    method = kind(known, seed, args.threads)
    if isinstance(method, Ours):
        method.run = run_of(args, name, seed)
        method.run.parent.mkdir(parents=True, exist_ok=True)
    with times.stage("fit"):
        method.fit(Clock(args.budget))
    made = args.out / "made" / f"{name_of(name, seed, kind.name)}.csv"
    made.parent.mkdir(parents=True, exist_ok=True)
    record: dict = {"notes": method.notes, "times": times}
    with times.stage("sample"):
        if isinstance(method, Ours):
            method.sample_file(len(known.train), made)
        elif (rows := method.sample(len(known.train))) is not None:
            known.write(rows, made)
    with times.stage("nats"):
        of = nats(method, known)
    if of is not None:
        np.save(made.with_suffix(".nats.npy"), of[0])  # row by row, for paired differences
        record["nats"] = of[1]
    if made.exists():
        with times.stage("quality"):
            record |= quality(known, made, seed)
    record["rows"] = {part: len(rows) for part, rows in known.parts.items()}
    record["over_budget"] = times["fit"]["processor"] > args.budget
    return record


def imputation_cell(args, name: str, seed: int) -> dict:
    """Skipped where our model is not there."""
    from tabular.imputation import imputation

    own = read(args.out / "cells" / f"{name_of(name, seed, Ours.name)}.json")
    if own is None or "failed" in own:
        raise Skipped(f"it takes the model of the cell {Ours.name}, which is not there")
    return imputation(known_set(args, name, seed), run_of(args, name, seed), seed, args.threads)


if __name__ == "__main__":
    # Threads that wait by spinning would count as work, and slow each other down thirtyfold where
    # something else runs; OpenMP reads this when it is loaded.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    sys.exit(main())
