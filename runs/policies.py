"""What the samplers that people use assign to held-out examples, beside the model's bound.

    python runs/policies.py demo/run --data demo/data --limit 16

Prints a table: the bound, the bound of --orders random orders, and the exact likelihood of the
sampler of every order, one token at a step, on the same test examples.  The last costs a network
call for every token of an example; the demo's model of texts takes about two minutes on one core.
runs/orders.sh does it with a model of each of the four demos.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

from unmask import MaskedDiffusion, __version__, checkpoint, likelihood
from unmask.cli.runtime import same_data
from unmask.data import open_data
from unmask.device import pick_device, pick_dtype, precision
from unmask.documents import read_json, without_infinities
from unmask.estimate import Estimate, difference
from unmask.files import write_whole
from unmask.kinds.output import check_out
from unmask.kinds.registry import kind_of
from unmask.likelihood import Bound, Estimator, Orders, estimate, estimate_orders
from unmask.policies import ORDERS
from unmask.rows import rows_at_a_time


def main(argv: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("model", type=Path, help="a model's folder, or a run's")
    parser.add_argument("--data", type=Path, required=True, help="a prepared folder")
    parser.add_argument("--limit", type=int, default=16, help="examples of the test split")
    parser.add_argument("--repeats", type=int, default=64, help="draws of the bound")
    parser.add_argument("--orders", type=int, default=8, help="random orders; 0: leave them out")
    parser.add_argument("--dtype", default="float32", help="an order's keys are of that precision")
    parser.add_argument("--json", type=Path, help="also write the numbers there")
    args = parser.parse_args(argv)
    try:
        check_out(str(args.json or ""), ".json")
    except ValueError as error:
        parser.error(str(error))
    folder = checkpoint.resolve(args.model)
    sha = checkpoint.digest(folder / "model.safetensors")  # a training run may delete it meanwhile
    device = pick_device("auto")
    model = MaskedDiffusion.from_pretrained(folder).to(device)
    data = open_data(args.data, labels=model.meta.get("labels", False))
    try:
        same_data(model, kind_of(model.meta["data"], folder), data, args.data)
    except ValueError as error:
        parser.error(str(error))
    length = model.meta["length"]

    def batches():
        return data.windows("test", length, rows_at_a_time(0, length), limit=args.limit)

    rows, first = [], None
    unit = f"bits per {data.unit}"
    print("\n".join(head(unit)))
    with precision(pick_dtype(args.dtype, device), device):
        for name, estimator in estimators(args.orders).items():
            began = time.monotonic()
            found = told(model, batches(), estimator, args.repeats)
            seconds = time.monotonic() - began
            first = first or found
            rows.append(row(name, found, first, seconds))
            print(line(rows[-1]), flush=True)
    if args.json:
        made = {"command": sys.argv, "version": __version__, "dtype": args.dtype, "rows": rows}
        made |= {"model_sha256": sha, "data_sha256": data.meta["sha256"], "unit": unit}
        write_whole(args.json, json.dumps(without_infinities(made), indent=1) + "\n")


def estimators(orders: int) -> dict[str, Estimator]:
    found: dict[str, Estimator] = {"random order, the bound": Bound()}
    if orders:
        found[f"random order, the bound of {orders} orders"] = Orders(orders)
    found |= {f"{order}, exact": likelihood.Path(order) for order in ORDERS}
    return found


def told(model: MaskedDiffusion, batches, estimator: Estimator, repeats: int) -> Estimate:
    if isinstance(estimator, Orders):
        return estimate_orders(model, batches, orders=estimator.orders)[0]
    return estimate(model, batches, estimator, repeats=repeats)


def row(name: str, found: Estimate, first: Estimate, seconds: float) -> dict:
    change, error, _ = difference(found, first)
    return {
        "name": name, "bits": found.bits_per_dim, "stderr": found.bits_per_dim_stderr,
        "noise": found.bits_per_dim_noise, "difference": change, "difference_stderr": error,
        "calls": found.calls / len(found.positions), "n": len(found.positions),
        "positions": int(found.positions.sum()), "seconds": round(seconds, 1),
    }  # fmt: skip


def table(record: Path) -> list[str]:
    """Lines of Markdown, of what --json wrote."""
    found = read_json(record, {"unit": str, "rows": [dict]})
    rows = ({k: math.nan if v is None else v for k, v in row.items()} for row in found["rows"])
    return [*head(found["unit"]), *map(line, rows)]


def head(unit: str) -> list[str]:
    names = f"| of the sampler | {unit} | less the bound | network calls each | s |"
    return [names, "|---|---|---|---|---|"]


def line(of: dict) -> str:
    change = ""
    if of["difference"]:
        change = f"{of['difference']:+.3f}" + of_error(of["difference_stderr"])
    bits = f"{of['bits']:.3f}" + of_error(of["stderr"])
    return f"| {of['name']} | {bits} | {change} | {of['calls']:,.0f} | {of['seconds']:.0f} |"


def of_error(error: float) -> str:
    """What follows a figure; nothing where its error is not known, as of one example."""
    return f" ± {error:.3f}" if math.isfinite(error) else ""


if __name__ == "__main__":
    main()
