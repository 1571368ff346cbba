"""OUT/plan.json: what a table may cost, and what was asked for."""

import argparse
import math
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tabular.cells import write_whole

from rivalry.tables import REPEATS, Table
from unmask.data import Data
from unmask.documents import NUMBER, read_json, whole
from unmask.train.loop import train_step, untrained
from unmask.train.state import State

WARM, CLOCKED = (4, 1.5), (12, 4.0)  # steps and seconds, of which whatever is over first
LEAST = 20  # steps of a cell
# a file of it, and of the table that it is of
TABLE = {
    "name": str, "units": str, "rows": {str: {"what": str, "paper": str, "control": str}},
    "paper": str, "others": {str: str},
    "measures": [{"key": str, "title": str, "digits": whole(0, 9)}],
}  # fmt: skip
PLAN = {
    "table": TABLE, "minutes": NUMBER, "calls": whole(1), "seeds": [whole(0)], "rows": [str],
    "rates": [NUMBER], "windows": whole(1), "length": whole(1), "dim": whole(1),
    "layers": whole(0), "batch_size": whole(1), "data_sha256": {str: str},
}  # fmt: skip


def opened(out: Path, tables: Iterable[Table]) -> tuple[dict[str, Any], Table] | None:
    """The plan of a folder, and which of a script's tables it is of; None where there is none.

    ValueError for a plan that is damaged, or of another script.
    """
    path, known = out / "plan.json", {table.name: table for table in tables}
    if not path.exists():
        return None
    plan = read_json(path, PLAN)
    name = plan["table"]["name"]
    if name not in known:
        raise ValueError(
            f"{out} holds the table {name}, and this is of {' or '.join(known)}: choose another OUT"
        )
    return plan, known[name]


def planned(table: Table, tables: Iterable[Table], args: argparse.Namespace, data: Data) -> dict:
    """OUT/plan.json: network calls of a cell in sequences, for these rows, seeds and minutes.

    Of what there is already, SystemExit if it is of something else.
    """
    path = args.out / "plan.json"
    sizes = {name: getattr(args, name) for name in table.sizes}
    sizes["length"] = args.length or data.length
    asked = {
        "minutes": args.minutes, "seeds": args.seeds, "rows": args.only, "rates": args.rates,
        "windows": args.windows, **sizes, "data_sha256": data.meta["sha256"],
    }  # fmt: skip
    if args.calls:
        asked |= {"minutes": 0.0, "calls": args.calls}
    found = opened(args.out, tables)
    if found is None:
        plan = asked | {"table": table.told()}
        if not args.calls:
            plan |= afforded(table, plan, args)
        write_whole(path, plan)
        return plan
    plan, of = found
    if of.name != table.name:
        sys.exit(f"{path} is of the table {of.name}, not {table.name}: choose another OUT")
    for name, value in asked.items():
        if plan[name] != value:
            sys.exit(f"{path} is of {name} {plan[name]}, not {value}: choose another OUT")
    return plan


def afforded(table: Table, plan: dict, args: argparse.Namespace) -> dict[str, Any]:
    """How many calls of each cell fit into the minutes, by what they cost here."""
    began, batch_size = time.monotonic(), plan["batch_size"]
    costs = {name: measured(table, plan, name, args) for name in plan["rows"]}
    left = 60 * plan["minutes"] - (time.monotonic() - began)
    cells = len(plan["rates"]) + len(plan["seeds"]) - 1  # of a row
    a_call = cells * sum(one["a_call"] for one in costs.values())
    besides = cells * sum(one["besides"] for one in costs.values())
    evaluated = REPEATS * (plan["windows"] + table.same.eval_windows) / 3
    steps = int(((left - besides) / a_call - evaluated) / batch_size) // 2 * 2  # even: of two draws
    if steps < LEAST:
        more = (LEAST * batch_size + evaluated) * a_call + besides + 60 * plan["minutes"] - left
        sys.exit(
            f"--minutes {plan['minutes']:g} leaves {max(steps, 0)} steps a cell: give at least "
            f"{math.ceil(more / 60 + 0.5)}, fewer seeds or --only some rows"
        )
    return {"calls": steps * batch_size, "seconds": costs}


def measured(table: Table, plan: dict, name: str, args: argparse.Namespace) -> dict[str, float]:
    """Seconds of a network call of a row, on a few steps of an untrained model, and what a cell
    takes besides: it is built, written and read."""
    began = time.monotonic()
    config = table.config(plan, name, steps=WARM[0] + CLOCKED[0], device=args.device)
    config, data, model = untrained(config, args.data)
    state = State(model, config)

    def steps_of(most: int, seconds: float) -> float:
        """Mean seconds of a step, of so many or fewer."""
        began, done = time.monotonic(), 0
        while done < most and (done < 2 or time.monotonic() - began < seconds):
            train_step(config, data, state)
            done += 1
        return (time.monotonic() - began) / done

    steps_of(*WARM)
    built = time.monotonic() - began
    a_call = steps_of(*CLOCKED) / config.batch_size / table.rows[name].calls
    began = time.monotonic()
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=args.out) as folder:
        state.save(Path(folder), {}, data)
    return {"a_call": a_call, "besides": built + time.monotonic() - began}
