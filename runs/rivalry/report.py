"""A table as Markdown, from its record alone: OUT/plan.json and OUT/cells."""

import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rivalry.cells import best_rate, cell_of, finished, validation_bits
from rivalry.plan import opened
from rivalry.tables import Table
from unmask.estimate import errors, student

# what a cell says of a figure's error over sequences
ERRORS = {
    "bits": "stderr", "nats": "nats_stderr", "bits_per_byte": "bits_per_byte_stderr",
    "perplexity": "perplexity_stderr",
}  # fmt: skip
# by what of a sequence a figure is divided, and how many nats its unit has
UNITS = {"nats": ("", 1.0), "bits": ("positions", math.log(2)),
         "bits_per_byte": ("bytes", math.log(2))}  # fmt: skip
CONVENTION = (
    "Errors are standard errors, the larger of two: that over seeds, and that over sequences and "
    "masks. All cells share the sequences, those of one row the masks. A difference is resolved "
    "beyond the larger of Student's figure over seeds and 1.96 times its paired error over "
    "sequences and masks."
)
ONE_SEED = (
    "One seed resolves nothing: differences between rows may be of the seed, and errors are over "
    "sequences and masks alone."
)


def lines_of(out: Path, tables: Iterable[Table]) -> list[str]:
    """The lines of the table in a folder.  ValueError where there is none, or that of another
    script."""
    found = opened(out, tables)
    if found is None:
        raise ValueError(f"{out} holds no table: name the OUT of a script that made one")
    plan, _ = found
    told = plan["table"]
    cells = {row: finished(out, plan, row) for row in plan["rows"]}
    titles = " | ".join(f"ours: {one['title']}" for one in told["measures"])
    rates = "learning rates: validation bits"
    lines = [
        *heading(plan, cells),
        "",
        f"| row | {titles} | is | seeds | {rates} | density | weights | paper |",
        "|---" * (7 + len(told["measures"])) + "|",
    ]
    lines += [line_of(out, plan, row, cells[row]) for row in plan["rows"]]
    empty = " |" * (len(told["measures"]) + 4)
    for name, value in told["others"].items():
        lines.append(f"| {name} | not trained here |{empty} {value} |")
    lines += ["", told["paper"], "", *resolved(told, cells)]
    return [*lines, "", CONVENTION, *failures(out, plan)]


def any_finished(out: Path, tables: Iterable[Table]) -> bool:
    """Whether the table in a folder has a row."""
    found = opened(out, tables)
    return found is not None and any(finished(out, found[0], row) for row in found[0]["rows"])


def heading(plan: Mapping[str, Any], cells: Mapping[str, dict[int, dict]]) -> list[str]:
    """What is the same for all rows."""
    told = plan["table"]
    network = f"{plan['layers']} layers, dim {plan['dim']}"
    if plan.get("network") == "unet":
        network = f"a U-Net of widths {plan['widths']}, {plan['layers']} blocks of attention"
    every = [one for of in cells.values() for one in of.values()]
    made = sorted({f"{one['dtype']} on {one['device']}" for one in every})
    machine = f", in {' and '.join(made)}" if made else ""
    # a small test split has fewer than were asked for
    scored = sorted({one.get("sequences", plan["windows"]) for one in every})
    number = " or ".join(map(str, scored or [plan["windows"]]))
    return [
        f"{plan['calls']:,} network calls a cell, {plan['batch_size']} sequences of "
        f"{plan['length']} {told['units']} at a time, {network}; of the test split, {number} "
        f"sequences, averaged weights{machine}."
    ]


def line_of(out: Path, plan: Mapping[str, Any], row: str, cells: dict[int, dict]) -> str:
    """A row of the table."""
    about, measures = plan["table"]["rows"][row], plan["table"]["measures"]
    rates, best = [], best_rate(out, plan, row)
    for rate in plan["rates"]:
        bits = validation_bits(cell_of(out, row, rate, plan["seeds"][0]))
        said = f"{rate:g}: {bits:.3f}" if math.isfinite(bits) else f"{rate:g}: -"
        if rate == best and len(plan["rates"]) > 1:
            ends = min(plan["rates"]), max(plan["rates"])
            said = f"**{said}**" + (" (the best may lie beyond)" if rate in ends else "")
        rates.append(said)
    if not cells:
        empty = " |" * (len(measures) - 1)
        return (
            f"| {about['what']} | not done |{empty} | 0 | {', '.join(rates)} | | | "
            f"{about['paper']} |"
        )
    one = next(iter(cells.values()))
    figures = " | ".join(figure(measure, cells) for measure in measures)
    kind = "likelihood" if one["what"].startswith("the exact") else "bound"
    return (
        f"| {about['what']} | {figures} | {kind} | {len(cells)} | {', '.join(rates)} | "
        f"{one['density']} | {one['parameters']:,} | {about['paper']} |"
    )


def figure(measure: Mapping[str, Any], cells: dict[int, dict]) -> str:
    """Mean over seeds `with_error`; "-" where a cell has no such figure."""
    key, digits = measure["key"], measure["digits"]
    values = [one.get(key) for one in cells.values()]
    if None in values:
        return "-"
    return with_error(values, [one.get(ERRORS[key]) for one in cells.values()], digits)


def with_error(values: list[float], errors: list[float | None], digits: int) -> str:
    """The mean over seeds of figures and, where it is known, its error: the larger of that over
    seeds and the mean of the evaluations' own, whose sequences are the same for all seeds."""
    said = f"{statistics.mean(values):,.{digits}f}"
    known = [one for one in errors if one is not None and math.isfinite(one)]
    found = [statistics.mean(known)] if known else []
    if len(values) > 1:
        found.append(statistics.stdev(values) / math.sqrt(len(values)))
    return f"{said} +- {max(found):,.{digits}f}" if found else said


def resolved(told: Mapping[str, Any], cells: Mapping[str, dict[int, dict]]) -> list[str]:
    """Each row less MD4, or else the first, and less its control: paired by seed, and what these
    seeds resolve."""
    rows = [row for row, of in cells.items() if of]
    if not rows:
        return ["No row is finished: the same command goes on, and with --again does what failed."]
    first = "md4" if "md4" in rows else rows[0]
    pairs = [(row, first) for row in rows if row != first]
    controls = {row: told["rows"][row].get("control", "") for row in rows}
    pairs += [(row, control) for row, control in controls.items() if control in rows]
    lines = []
    for row, other in pairs:
        line = compared(told["measures"][0], (row, cells[row]), (other, cells[other]))
        if line:
            lines.append(line)
    if all(len(of) < 2 for of in cells.values()):
        lines.append(ONE_SEED)
    return lines


def compared(
    measure: Mapping[str, Any], one: tuple[str, dict[int, dict]], two: tuple[str, dict[int, dict]]
) -> str:
    """A row less another; "" where fewer than two seeds have both."""
    key, digits, a, b = measure["key"], measure["digits"], one[1], two[1]
    seeds = sorted(
        seed for seed in a if seed in b and None not in (a[seed].get(key), b[seed].get(key))
    )
    change = [a[seed][key] - b[seed][key] for seed in seeds]
    if len(change) < 2:
        return ""
    mean = statistics.mean(change)
    said = f"- {one[0]} less {two[0]}: {mean:+.{digits}f} {measure['title']}"
    own = paired_error(key, [a[seed] for seed in seeds], [b[seed] for seed in seeds])
    if own is None:
        return f"{said}, not judged: these cells do not say what the same sequences pay"
    of_seeds = student(len(change) - 1) * statistics.stdev(change) / math.sqrt(len(change))
    needed = max(of_seeds, 1.96 * own)
    verdict = "resolved" if abs(mean) > needed else "not resolved"
    return (
        f"{said}, {verdict} at 95 %: differences from {needed:.{digits}f} on would be "
        f"({of_seeds:.{digits}f} by {len(change)} seeds, {1.96 * own:.{digits}f} by sequences and "
        "masks)"
    )


def paired_error(key: str, a: list[dict], b: list[dict]) -> float | None:
    """The standard error over sequences and masks of the mean over seeds of a - b, of cells paired
    by sequence and replicate (`estimate.errors`, which holds the noise of the masks).

    All seeds are measured on one set of sequences, and of a row with the same masks: their mean
    has about the error of one.  None where cells do not say what they pay, or of other sequences.
    """
    kept, (size, unit) = [one.get("of_each") for one in (*a, *b)], UNITS.get(key, ("", 0.0))
    if not unit or None in kept or any(unlike(one, kept[0]) for one in kept):
        return None
    nats = torch.tensor(kept[0]["nats"])
    n = torch.tensor(kept[0][size]) if size else torch.ones(nats.shape[1])
    n, groups = n.double(), kept[0]["groups"]

    def values(name: str) -> Tensor:
        """(replicates, sequences) of a difference, less the share of its size."""
        of = torch.tensor([one["of_each"][name] for one in (*a, *b)], dtype=torch.float64)
        change = of[: len(a)].mean(0) - of[len(a) :].mean(0)
        return (change - n * (change.mean(0).sum() / n.sum())) / n.mean() / unit

    number = None if groups is None else torch.tensor(groups)
    error = float(errors(values("nats"), number, values("steady"))[0])
    return error if math.isfinite(error) else None


def unlike(one: dict, other: dict) -> bool:
    """Whether what cells say of each sequence is of other sequences, or of another form."""
    same = ("positions", "bytes", "groups")
    return len(one["nats"]) != len(other["nats"]) or any(one[name] != other[name] for name in same)


def failures(out: Path, plan: Mapping[str, Any]) -> list[str]:
    """A line for each cell that failed."""
    lines = []
    for row in plan["rows"]:
        best = best_rate(out, plan, row)
        tried = [(rate, plan["seeds"][0]) for rate in plan["rates"]]
        tried += [(best, seed) for seed in plan["seeds"][1:] if best is not None]
        for rate, seed in tried:
            record = cell_of(out, row, rate, seed) or {}
            if "failed" in record:
                lines.append(f"- {row} at {rate:g}, seed {seed}, failed: {record['failed']}")
    return ["", *lines] if lines else []
