"""The results as Markdown: a table a measure, methods down, sets across.

A cell is the mean over seeds with its standard error; of one seed, with the measure's own error. A
method is printed bold in a column if it is better than every other one by more than two errors of
the difference: the larger of that over seeds, paired, and that of the measures' own errors.
"""

import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tabular.cells import read
from tabular.sets import SETS

IMPUTATION = "imputation"
FIRST = "unmask"  # in a table; the other methods follow by name
# what `table` has: measures, and of imputation the mechanism, the rate and the measures
SHORT = ("nats", "boosted_auc", "target_auc", "target_r2")
SHORT_OF_IMPUTATION = ("at random", "0.3", ("accuracy", "absolute", "coverage"))


class Figure(NamedTuple):
    """A measure: what it is called, and what is good."""

    key: str
    title: str
    better: str  # "more", "less", "half": near 0.5, "real": near what real rows have


FIGURES = (
    Figure("nats", "Nats a test row (ours: an upper bound)", "less"),
    Figure("shapes", "Shapes", "more"),
    Figure("trends", "Pair trends", "more"),
    Figure("logistic_auc", "Detection: AUC of a logistic regression", "half"),
    Figure("logistic_detection", "Detection: LogisticDetection of sdmetrics", "more"),
    Figure("boosted_auc", "Detection: AUC of boosted trees", "half"),
    Figure("target_auc", "A model of the target: AUC", "more"),
    Figure("target_accuracy", "A model of the target: accuracy", "more"),
    Figure("target_r2", "A model of the target: R2", "more"),
    Figure("target_rmse", "A model of the target: RMSE", "less"),
    Figure("closer", "Closer to training than to held-out rows", "half"),
    Figure("closer_strict", "As above, strictly", "real"),
    Figure("copies", "Copies of training rows", "real"),
    Figure("missing", "Missing rates", "more"),
    Figure("missing_pairs", "Missing together", "more"),
)
OF_IMPUTATION = (
    Figure("accuracy", "share of categories that are right", "more"),
    Figure("absolute", "absolute error of numbers, in standard deviations", "less"),
    Figure("squared", "squared error of numbers, in variances", "less"),
    Figure("nats", "nats a removed cell", "less"),
    Figure("coverage", "share of numbers inside the 90 % interval", ""),
    Figure("width", "width of that interval, in standard deviations", ""),
)


class Seen(NamedTuple):
    """A figure of one seed, with its own error, and what real rows have."""

    value: float
    error: float
    real: float = math.nan


def write_report(cells: Path, methods: dict[str, str], sets: Sequence[str], seeds: Sequence[int],
                 out: Path) -> str:  # fmt: skip
    """The report of the JSON files in a folder, written to `out`.  methods: what each is."""
    wanted = [(s, seed, m) for s in sets for seed in seeds for m in (*methods, IMPUTATION)]
    records = {key: read(cells / f"{name_of(*key)}.json") for key in wanted}
    found = {key: record for key, record in records.items() if finished(record)}
    lines = ["# Tabular generators", "", *counted(records), "", *budgets(found, methods, sets), ""]
    for figure in FIGURES:
        lines += of_figure(figure, found, methods, sets)
    lines += of_imputation(found, sets)
    lines += ["## Methods", "", *(f"- `{name}`: {about}" for name, about in methods.items()), ""]
    text = "\n".join(lines)
    out.write_text(text)
    return text


def table(folder: Path) -> list[str]:
    """Lines of Markdown, of the cells that a folder has: some of the measures of a report.

    ValueError for a folder without any.
    """
    cells = [read(path) for path in sorted((folder / "cells").glob("*.json"))]
    found = {(r["set"], r["seed"], r["method"]): r for r in cells if finished(r)}
    if not found:
        raise ValueError(f"{folder / 'cells'} has no finished cells")
    methods = sorted({m for _, _, m in found}, key=lambda name: (name != FIRST, name))
    sets = [name for name in SETS if any(name == one for one, _, _ in found)]
    lines = []
    for figure in FIGURES:
        if figure.key in SHORT:
            lines += of_figure(figure, found, methods, sets)
    lines += of_imputation(found, sets, SHORT_OF_IMPUTATION)
    # inside a page a title is no heading
    return [re.sub(r"^#+ (.*)", r"**\1**", line) for line in lines[:-1]]


def name_of(name: str, seed: int, method: str) -> str:
    return f"{name}-{seed}-{method}"


def finished(record: dict | None) -> bool:
    return record is not None and "failed" not in record and "skipped" not in record


def counted(records: dict) -> list[str]:
    """How many cells are there, and every one that is not."""
    lost = [key for key, record in records.items() if record is None]
    good = sum(finished(record) for record in records.values())
    lines = [f"{good} of {len(records)} cells are finished, {len(lost)} are missing."]
    for word in ("failed", "skipped"):
        for key, record in records.items():
            if record is not None and word in record:
                lines.append(f"- {' '.join(map(str, key))} {word}: {record[word]}")
    if lost:
        lines.append(f"- missing: {', '.join(name_of(*key) for key in lost)}")
    return lines


def budgets(found: dict, methods: Iterable[str], sets: Sequence[str]) -> list[str]:
    """Processor seconds of learning, and who took more than allowed."""
    lines = ["## Processor seconds of learning, tuning included", "", *header(sets)]
    over = []
    for method in methods:
        cells = []
        for name in sets:
            mine = [r for (s, _, m), r in found.items() if (s, m) == (name, method)]
            spent = [record["times"]["fit"]["processor"] for record in mine]
            cells.append(f"{np.mean(spent):.0f}" if spent else "")
            over += [f"{method} on {name}" for record in mine if record["over_budget"]]
        lines.append(row(method, cells))
    if over:
        lines += ["", f"Over the budget: {', '.join(dict.fromkeys(over))}."]
    return lines


def header(sets: Sequence[str]) -> list[str]:
    return ["| | " + " | ".join(sets) + " |", "|---" * (len(sets) + 1) + "|"]


def row(name: str, cells: Iterable[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


# ---------------------------------------------------------------- a table


def of_figure(
    figure: Figure, found: dict, methods: Iterable[str], sets: Sequence[str]
) -> list[str]:
    """Its table, and what real rows have; nothing where nobody has measured it."""
    seen: dict = {}
    for (name, seed, method), record in found.items():
        one = seen_of(figure, record)
        if one is not None:
            seen.setdefault(name, {}).setdefault(method, {})[seed] = one
    if not seen:
        return []
    sets = [name for name in sets if name in seen]
    lines = [f"## {figure.title}", "", *header(sets), *rows_of(figure, seen, methods, sets)]
    real = []
    for name in sets:
        values = {}  # what real rows have depends on the seed, and is the same for all methods
        for of in seen.get(name, {}).values():
            values |= {seed: one.real for seed, one in of.items() if not math.isnan(one.real)}
        real.append(spelled([Seen(v, math.nan) for v in values.values()]) if values else "")
    if any(real):
        lines.append(row("real rows, held out", real))
    return [*lines, ""]


def seen_of(figure: Figure, record: dict) -> Seen | None:
    if figure.key == "nats":
        one = record.get("nats")
        return None if one is None else Seen(one["mean"], one["stderr"])
    one = record.get("measures", {}).get(figure.key)
    if one is None:
        return None
    # small files differ more: as many synthetic rows as real ones, where there are more
    mine, real = one["like"] or one["samples"], one["real"]
    if mine["value"] is None:
        return None
    of_real = math.nan if real is None or real["value"] is None else real["value"]
    return Seen(mine["value"], error_of(mine), of_real)


def error_of(one: dict) -> float:
    """NaN where it is not known."""
    return math.nan if one["error"] is None else one["error"]


def rows_of(figure: Figure, seen: dict, methods: Iterable[str], sets: Sequence[str]) -> list[str]:
    lines = []
    leading = {name: best(figure, seen.get(name, {})) for name in sets}
    for method in methods:
        cells = []
        for name in sets:
            of = seen.get(name, {}).get(method, {})
            text = spelled(list(of.values())) if of else ""
            cells.append(f"**{text}**" if leading[name] == method else text)
        if any(cells):
            lines.append(row(method, cells))
    return lines


def mean_and_error(seen: Sequence[Seen]) -> tuple[float, float]:
    values = np.array([one.value for one in seen])
    if len(values) == 1:
        return float(values[0]), seen[0].error
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


def spelled(seen: Sequence[Seen]) -> str:
    mean, error = mean_and_error(seen)
    if math.isnan(error):
        return f"{mean:.4g}"
    if error < 1e-9:  # it does not vary
        return f"{mean:.4f}"
    digits = min(6, max(0, 1 - math.floor(math.log10(error))))
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def cost(figure: Figure, one: Seen) -> float:
    """What is to be small."""
    return {
        "less": one.value, "more": -one.value, "half": abs(one.value - 0.5),
        "real": abs(one.value - one.real),
    }[figure.better]  # fmt: skip


def best(figure: Figure, of_methods: dict[str, dict[int, Seen]]) -> str | None:
    """The method that is better than every other by more than two errors of the difference."""
    if not figure.better or len(of_methods) < 2:
        return None
    means = {m: np.mean([cost(figure, one) for one in of.values()]) for m, of in of_methods.items()}
    first = min(means, key=lambda method: means[method])
    for method, of in of_methods.items():
        if method != first and not is_better(figure, of_methods[first], of):
            return None
    return first


def is_better(figure: Figure, first: dict[int, Seen], other: dict[int, Seen]) -> bool:
    """Over the seeds that both have."""
    seeds = sorted(set(first) & set(other))
    if not seeds:
        return False
    less = np.array([cost(figure, other[s]) - cost(figure, first[s]) for s in seeds])
    own = [one.error for s in seeds for one in (first[s], other[s]) if not math.isnan(one.error)]
    error = math.sqrt(sum(np.square(own))) / len(seeds)
    if len(seeds) > 1:
        error = max(error, float(less.std(ddof=1)) / math.sqrt(len(seeds)))
    return bool(less.mean() > 2 * error)


def of_imputation(
    found: dict, sets: Sequence[str], only: tuple[str, str, tuple[str, ...]] | None = None
) -> list[str]:
    """A table for each mechanism, rate and measure; only: of these."""
    seen: dict = {}
    for (name, seed, method), record in found.items():
        if method != IMPUTATION:
            continue
        for mechanism, of_rates in record["imputation"].items():
            for rate, of_methods in of_rates.items():
                for one, measures in of_methods.items():
                    if one != "removed":
                        place = seen.setdefault((mechanism, rate), {}).setdefault(name, {})
                        place.setdefault(one, {})[seed] = measures
    lines = []
    for (mechanism, rate), of_sets in seen.items():
        if only and (mechanism, rate) != only[:2]:
            continue
        methods = list(dict.fromkeys(one for of in of_sets.values() for one in of))
        for figure in OF_IMPUTATION:
            if only and figure.key not in only[2]:
                continue
            figures: dict = {}
            for name, of_methods in of_sets.items():
                for method, of_seeds in of_methods.items():
                    kept = {
                        seed: Seen(of[figure.key]["value"], error_of(of[figure.key]))
                        for seed, of in of_seeds.items()
                        if of.get(figure.key) and of[figure.key]["value"] is not None
                    }
                    if kept:
                        figures.setdefault(name, {})[method] = kept
            if figures:
                title = f"## {float(rate):.0%} of cells removed {mechanism}: {figure.title}"
                lines += [title, "", *header(sets), *rows_of(figure, figures, methods, sets), ""]
    return lines
