"""The table of compare_text.sh: held-out bounds of trained runs.

And their paired differences from the first method.
"""

import argparse
import json
import math
from pathlib import Path

import torch

from unmask import MaskedDiffusion, __version__, checkpoint, estimate_nelbo
from unmask.data import open_data
from unmask.device import pick_dtype, precision, tune_process
from unmask.documents import read_json
from unmask.estimate import errors
from unmask.likelihood import joint_loss

CPU = torch.device("cpu")
# Student's, two-sided, of so many seeds
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}
WHAT = {
    "md4": "MD4: whole tokens",
    "md4x2": "MD4, two draws a step, sees the time",
    "genmd4": "GenMD4: a learned power for every value",
    "token": "Prime, {} digits, all of a token at once",
    "joint": "Prime, {} digits, trained on the joint loss",
    "": "Prime, {} digits, each on its own",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--methods", nargs="+", required=True)
    parser.add_argument("--seeds", nargs="+", required=True)
    what = "held-out windows, spread evenly over the test split"
    parser.add_argument("--windows", type=int, default=1024, help=what)
    parser.add_argument("--repeats", type=int, default=8, help="draws of masks a window")
    args = parser.parse_args()
    tune_process()
    runs = {}
    for method in args.methods:
        runs[method] = [evaluated(args, args.out / f"{method}-{seed}") for seed in args.seeds]
    unit = open_data(args.data).unit
    first = args.methods[0]
    rows = []
    for method, found in runs.items():
        row = summary(found) | {
            "method": method,
            "what": describe(method),
            "parameters": found[0]["parameters"],
            "steps": [r["steps"] for r in found],
            "per_run": [float(per_window(r, "bits").sum()) / sum(r["positions"]) for r in found],
        }
        if method != first:
            row["difference"] = summary(found, runs[first])
        if method == "genmd4" and first != "md4x2" and "md4x2" in runs:
            row["from_control"] = summary(found, runs["md4x2"])
        for also in ("joint_loss", "other_bound"):
            if also in found[0]:
                row[also] = sum(r[also] for r in found) / len(found)
        rows.append(row)
    protocol = {"unit": f"bits per {unit}", "windows": args.windows, "repeats": args.repeats}
    checkpoint.write_json(args.out / "results.json", protocol | {"rows": rows})
    text = "\n".join(table(args.out / "results.json")) + "\n"
    print(text)
    (args.out / "table.md").write_text(text)


def evaluated(args, run: Path) -> dict:
    """What the table needs of a run; kept in the run's folder, so that it is computed once."""
    folder = checkpoint.resolve(run)
    kept = run / "compare.json"
    data = open_data(args.data)
    identity = {
        "format": 2, "digest": checkpoint.digest(folder / "model.safetensors"),
        "windows": args.windows, "repeats": args.repeats, "unmask": __version__,
        "data": data.meta["sha256"],
    }  # fmt: skip
    if kept.is_file():
        found = json.loads(kept.read_text())
        if found["identity"] == identity:
            return found
    print(f"evaluating {run}", flush=True)
    model = MaskedDiffusion.from_pretrained(folder)
    windows = list(data.windows("test", model.meta["length"], 64, limit=args.windows))
    with precision(pick_dtype("auto", CPU), CPU):
        bound = estimate_nelbo(model, windows, repeats=args.repeats)
        steady = bound.replicates if bound.steady is None else bound.steady
        found = {
            "identity": identity,
            "bits": (bound.replicates / math.log(2)).tolist(),
            "steady": (steady / math.log(2)).tolist(),
            "groups": None if bound.groups is None else bound.groups.tolist(),
            "positions": bound.positions.tolist(),
            "noise": bound.bits_per_dim_noise,
            "parameters": sum(p.numel() for p in model.parameters()),
            "steps": json.loads((run / "run.json").read_text())["steps"],
        }
        if model.objective == "joint":
            found["joint_loss"] = joint_loss(model, windows, repeats=args.repeats) / math.log(2)
            other = estimate_nelbo(model, windows, repeats=args.repeats, masking="token")
            found["other_bound"] = other.bits_per_dim
    checkpoint.write_json(kept, found)
    return found


def per_window(run: dict, name: str) -> torch.Tensor:
    """(windows,) bits of a run, the mean over its replicates."""
    return torch.tensor(run[name], dtype=torch.float64).mean(0)


def summary(runs: list[dict], others: list[dict] | None = None) -> dict:
    """Mean bits per position over seeds and windows, of runs or of runs less others.

    The others are paired by seed, window and masks.  Its error from both (windows alone for one
    seed), and what it takes at 95 %.
    """
    n = torch.tensor(runs[0]["positions"], dtype=torch.float64)
    groups = None if runs[0]["groups"] is None else torch.tensor(runs[0]["groups"])

    def values(name: str) -> torch.Tensor:  # (seeds, replicates, windows)
        found = torch.tensor([run[name] for run in runs], dtype=torch.float64)
        if others:
            found -= torch.tensor([run[name] for run in others], dtype=torch.float64)
        return found

    means = values("bits").mean(1).sum(1) / n.sum()
    mean = float(means.mean())
    plain, steady = ((values(name).mean(0) - mean * n) / n.mean() for name in ("bits", "steady"))
    windows = float(errors(plain, groups, steady)[0])
    seeds, needed = 0.0, None
    if len(means) > 1:
        seeds = float(means.std()) / math.sqrt(len(means))
        needed = math.hypot(1.96 * windows, T_95.get(len(means), 2.26) * seeds)
    found = {"mean": mean, "error": math.hypot(windows, seeds), "needed": needed}
    return found | {"error_windows": windows, "error_seeds": seeds}


def verdict(d: dict, seeds: int) -> str:
    if seeds == 1:
        return "one seed"
    if abs(d["mean"]) < d["needed"]:
        return "not resolved at this budget"
    return "better" if d["mean"] < 0 else "worse"


def describe(method: str) -> str:
    """A method in words; of prime2-joint, say, 2 digits and the joint loss."""
    words = WHAT.get(method) or WHAT[method.partition("-")[2]]
    return words.format(method[5:6])


def table(record: Path) -> list[str]:
    """Lines of Markdown, of results.json."""
    found = read_json(record, {"unit": str, "windows": int, "repeats": int, "rows": [dict]})
    rows, unit = found["rows"], found["unit"].removeprefix("bits per ")
    seeds = len(rows[0]["per_run"])
    caveat = " seed: indicative, since the error does not hold what another seed would change."
    if seeds > 1:
        caveat = " seeds. Better and worse: by a two-sided test at 95 %, Student's for the seeds."
    lines = [
        f"Bound in bits per {unit} on {found['windows']} held-out windows, "
        f"{found['repeats']} draws each, {seeds}{caveat}",
        "",
        "| method | parameters | steps | bound | minus the first | |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        difference, which = "", ""
        if "difference" in row:
            difference, which = spread(row["difference"]), verdict(row["difference"], seeds)
        steps = f"{min(row['steps']):,}"
        if len(row["steps"]) > 1:
            steps += f" to {max(row['steps']):,}"
        size = f"{row['parameters'] / 1e6:.2f} M"
        cells = [row["what"], size, steps, spread(row, sign=""), difference, which]
        lines.append(f"| {' | '.join(cells)} |")
    for row in rows:
        if "from_control" in row:
            change = row["from_control"]
            said = f"{spread(change)} ({verdict(change, seeds)})"
            if change["needed"] is not None:
                said += f"; at 95 % the budget resolves {change['needed']:.4f}"
            lines += ["", f"{row['what']}, minus {WHAT['md4x2']}: {said}."]
        if "joint_loss" in row:
            lines += [
                "",
                f"{row['what']}: that loss itself is {row['joint_loss']:.4f} (base-2 logarithm) "
                f"a {unit} on the same windows. It is a training loss, not a bound, a likelihood "
                "or a number of bits. The bound of the same networks for revealing all digits of "
                f"a token at once is {row['other_bound']:.4f} bits per {unit}.",
            ]
    return lines


def spread(found: dict, sign: str = "+") -> str:
    return f"{found['mean']:{sign}.4f} +- {found['error']:.4f}"


if __name__ == "__main__":
    main()
