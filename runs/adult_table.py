"""The tables of runs/adult.py, of the adult.json that it writes, without what it needs to run."""

import math
from functools import reduce
from pathlib import Path

import numpy as np

from unmask.documents import read_json

BASELINES = {
    "columns by themselves": "every column by its own histogram",
    "boosted chain": "chain of gradient-boosted trees, each column given those before it",
}
TRAINED_ON = {
    "synthetic": "synthetic rows",
    "real": "as many real rows",
    "all real": "all real rows",
}
COPIES = {"samples": "samples", "test rows": "real test rows"}
OF_CLASSIFIER = ("accuracy", "auc")
MEASURES = ("accuracy", "absolute", "root_square")
NAMES_OF_MEASURES = (
    "| accuracy, categories | absolute error, numbers | root square error, numbers |"
)


def table(record: Path) -> list[str]:
    """Lines of Markdown: nats a row, imputation, synthetic rows, copies.

    Means over seeds with their standard errors, unless they are over rows.
    """
    found = read_json(record, {"baselines": {str: dict}, "seeds": [dict], "rows": {str: int}})
    seeds = found["seeds"]
    lines = [f"| held-out nats a row, {found['rows']['test']:,} rows | |", "|---|---|"]
    for name, said in BASELINES.items():
        lines.append(f"| {said} | {with_error(found['baselines'][name])} (over rows) |")
    each = [seed["nats_per_row"] for seed in seeds]
    of_rows = ", ".join(f"{one['stderr']:.3f}" for one in each)
    bound = over_seeds(seeds, "nats_per_row", "mean")
    lines.append(f"| **unmask, an upper bound** | {bound} (each ± {of_rows} over rows) |")
    less = ", ".join(with_error(seed["less than the boosted chain"]) for seed in seeds)
    lines.append(f"| the chain less unmask, row by row | {less} (over rows, one a seed) |")
    for share, methods in seeds[0]["imputation"].items():
        lines += ["", f"| {float(share):.0%} of the cells removed {NAMES_OF_MEASURES}"]
        lines.append("|---|---|---|---|")
        for name in methods:
            cells = [over_seeds(seeds, "imputation", share, name, key) for key in MEASURES]
            lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", "| a classifier of the income trained on | accuracy | area under the curve |"]
    lines.append("|---|---|---|")
    for name, said in TRAINED_ON.items():
        cells = [over_seeds(seeds, "synthetic", name, key, digits=4) for key in OF_CLASSIFIER]
        lines.append(f"| {said} | {' | '.join(cells)} |")
    lines += ["", "| complete rows that equal a training row, among | |", "|---|---|"]
    for name, said in COPIES.items():
        where = "synthetic", f"training rows among the {name}", "mean"
        share = over_seeds(seeds, *where, digits=4)
        lines.append(f"| {said} | {share} |")
    return lines


def over_seeds(seeds: list[dict], *keys: str, digits: int = 3) -> str:
    """A mean; with its error, unless all seeds have the same or there is one alone."""
    values = np.array([reduce(dict.__getitem__, keys, seed) for seed in seeds])
    if np.ptp(values) == 0:
        return f"{values[0]:.{digits}f}"
    error = values.std(ddof=1) / math.sqrt(len(values))
    return f"{values.mean():.{digits}f} ± {error:.{digits}f}"


def with_error(of: dict) -> str:
    return f"{of['mean']:.3f} ± {of['stderr']:.3f}"
