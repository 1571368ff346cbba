"""The cells of a table: a row, a learning rate and a seed, each trained and measured."""

import argparse
import math
import shutil
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from tabular.cells import Progress, done, read, run_cell
from torch import Tensor

from rivalry.tables import REPEATS, Table
from unmask.checkpoint import resolve
from unmask.data import open_data
from unmask.device import pick_device, pick_dtype, precision
from unmask.estimate import Estimate
from unmask.evaluation.counted import Counted
from unmask.likelihood import estimate, own_estimator
from unmask.rivals import open_model
from unmask.train import train
from unmask.train.run import last_row, read_training


def name_of(row: str, rate: float, seed: int) -> str:
    return f"{row}-{rate:g}-{seed}"


def cell_of(out: Path, row: str, rate: float, seed: int) -> dict | None:
    """What is recorded of a cell; None: it is not done."""
    return read(out / "cells" / f"{name_of(row, rate, seed)}.json")


def validation_bits(cell: dict | None) -> float:
    """Infinite for a run that failed, or whose bits are not finite."""
    bits = (cell or {}).get("validation_bits")
    return math.inf if bits is None else bits


def best_rate(out: Path, plan: Mapping[str, Any], row: str) -> float | None:
    """The rate of least bits on the validation split, with the first seed; None: not all are done,
    or all failed."""
    found = [cell_of(out, row, rate, plan["seeds"][0]) for rate in plan["rates"]]
    bits = [validation_bits(one) for one in found]
    if None in found or min(bits) == math.inf:
        return None
    return plan["rates"][bits.index(min(bits))]


def finished(out: Path, plan: Mapping[str, Any], row: str) -> dict[int, dict]:
    """The cells of a row's best learning rate, by seed."""
    rate = best_rate(out, plan, row)
    if rate is None:
        return {}
    found = {seed: cell_of(out, row, rate, seed) for seed in plan["seeds"]}
    return {seed: one for seed, one in found.items() if one and one.get("bits") is not None}


def work(table: Table, plan: dict, args: argparse.Namespace) -> None:
    """Do the cells that there are not; the search first, all rows of it."""
    out, rows, seeds = args.out, plan["rows"], plan["seeds"]
    search = [(row, rate, seeds[0]) for row in rows for rate in plan["rates"]]
    others = [(row, None, seed) for row in rows for seed in seeds[1:]]
    progress = Progress([row for row, _, _ in search + others], {})
    for row, given, seed in search + others:
        rate = given or best_rate(out, plan, row)
        if rate is None:
            record = {"skipped": "no learning rate of this row trained", "wall_seconds": 0.0}
            print(progress.after(row, record, f"{row}, seed {seed}"), file=sys.stderr, flush=True)
            continue
        path = out / "cells" / f"{name_of(row, rate, seed)}.json"
        about = {"row": row, "rate": rate, "seed": seed, "calls": plan["calls"]}
        if done(path, again=args.again):
            record = read(path)
        else:
            record = run_cell(path, about, partial(cell, table, plan, args, row, rate, seed))
        if (out / "models" / path.stem).exists() and "failed" not in record:
            # what training would need to go on is several times as large as the model
            shutil.rmtree(out / "runs" / path.stem / "checkpoints", ignore_errors=True)
        print(progress.after(row, record, path.stem), file=sys.stderr, flush=True)


def cell(
    table: Table, plan: dict, args: argparse.Namespace, row: str, rate: float, seed: int
) -> dict:
    """Train, keep the model, and measure it on the test split."""
    steps = plan["calls"] // (plan["batch_size"] * table.rows[row].calls)
    how = {"learning_rate": rate, "warmup": max(1, steps // 20), "seed": seed, "steps": steps}
    run = args.out / "runs" / name_of(row, rate, seed)
    config = table.config(plan, row, **how, device=args.device)
    model = open_model(train(config, args.data, run))
    model.save_pretrained(args.out / "models" / run.name, open_data(args.data).tokenizer.files())
    return scored(run, args.data, plan, args.device) | {"config": asdict(config)}


def scored(run: Path, data_folder: Path, plan: Mapping[str, Any], device: str = "auto") -> dict:
    """What a finished run has on `windows` sequences of `length` of the test split, as a plan has
    them: figures with their errors, and what each sequence pays, for paired differences."""
    folder, data, where = resolve(run), open_data(data_folder), pick_device(device)
    model, dtype = open_model(folder).to(where), pick_dtype("auto", where)
    # batches of about as many positions for all, 64 short sequences or a few long ones
    windows = Counted(data, "test", plan["length"], most_rows(plan["length"]), plan["windows"])
    with precision(dtype, where):
        found = estimate(model, windows, own_estimator(model), repeats=REPEATS)
    return {
        "validation_bits": last_row(run, folder).get("bits"), "bits": found.bits_per_dim,
        "stderr": found.bits_per_dim_stderr, "noise": found.bits_per_dim_noise,
        "nats": found.mean, "nats_stderr": found.stderr, **windows.per_byte(found),
        "perplexity": found.perplexity,
        "perplexity_stderr": found.perplexity * math.log(2) * found.bits_per_dim_stderr,
        "what": found.what, "estimator": found.name, "sampler": found.sampler,
        "density": found.density, "repeats": found.repeats, "dtype": dtype, "device": str(where),
        "steps": read_training(folder)["step"],
        "parameters": sum(p.numel() for p in model.parameters()),
        "sequences": len(found.positions), "of_each": of_each(found, windows.bytes()),
    }  # fmt: skip


def of_each(found: Estimate, size: Tensor | None) -> dict[str, Any]:
    """Of every sequence: its nats in each replicate, plain and steadied, its positions, its bytes
    and its group, as `Estimate` has them; what is not known is None."""
    steady = found.replicates if found.steady is None else found.steady
    kept = {
        "nats": found.replicates, "steady": steady, "positions": found.positions, "bytes": size,
        "groups": found.groups,
    }  # fmt: skip
    lists = {name: None if of is None else of.tolist() for name, of in kept.items()}
    for name in ("nats", "steady"):
        lists[name] = [[round(value, 4) for value in replicate] for replicate in lists[name]]
    return lists


def most_rows(length: int) -> int:
    return max(1, min(64, 2**14 // length))
