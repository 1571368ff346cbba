"""A table as Markdown, from its record alone: OUT/plan.json and OUT/cells."""

import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rivalry.cells import best_rate, cell_of, finished, validation_bits
from rivalry.plan import opened
from rivalry.tables import Table
from unmask.estimate import student

# what a cell says of a figure's error over sequences
ERRORS = {
    "bits": "stderr", "nats": "nats_stderr", "bits_per_byte": "bits_per_byte_stderr",
    "perplexity": "perplexity_stderr",
}  # fmt: skip
ONE_SEED = (
    "One seed resolves nothing: differences between rows may be of the seed, and errors are over "
    "sequences alone."
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
    return [*lines, *evaluated(told, cells), *failures(out, plan)]


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
            ends = plan["rates"][0], plan["rates"][-1]
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
    """Mean over seeds, and its standard error over them; of one seed, its own, over sequences.

    "-" where a cell has no such figure.
    """
    key, digits = measure["key"], measure["digits"]
    values = [one.get(key) for one in cells.values()]
    if None in values:
        return "-"
    said = f"{statistics.mean(values):,.{digits}f}"
    error = next(iter(cells.values())).get(ERRORS[key])
    if len(values) > 1:
        error = statistics.stdev(values) / math.sqrt(len(values))
    return said if error is None else f"{said} +- {error:,.{digits}f}"


def resolved(told: Mapping[str, Any], cells: Mapping[str, dict[int, dict]]) -> list[str]:
    """Each row less MD4, or else the first, and less its control: paired by seed, and what these
    seeds resolve."""
    rows = [row for row, of in cells.items() if of]
    if not rows:
        return ["No row is finished: the same command goes on."]
    first = "md4" if "md4" in rows else rows[0]
    pairs = [(row, first) for row in rows if row != first]
    controls = {row: told["rows"][row].get("control", "") for row in rows}
    pairs += [(row, control) for row, control in controls.items() if control in rows]
    lines = []
    for row, other in pairs:
        line = compared(told["measures"][0], (row, cells[row]), (other, cells[other]))
        if line:
            lines.append(line)
    return lines or [ONE_SEED]


def evaluated(told: Mapping[str, Any], cells: Mapping[str, dict[int, dict]]) -> list[str]:
    """What errors over seeds do not hold: that of sequences and masks, which all cells share."""
    measure, several = told["measures"][0], [of for of in cells.values() if len(of) > 1]
    known = [one.get(ERRORS[measure["key"]]) for of in several for one in of.values()]
    errors = [one for one in known if one is not None]
    if not errors:
        return []
    return [
        "",
        "Errors are over seeds. All cells share the sequences and the masks that they are measured "
        f"on; others would change a figure by up to {max(errors):.{measure['digits']}f} "
        f"{measure['title']} (one standard error).",
    ]


def compared(
    measure: Mapping[str, Any], one: tuple[str, dict[int, dict]], two: tuple[str, dict[int, dict]]
) -> str:
    """A row less another; "" where fewer than two seeds have both."""
    key, digits, a, b = measure["key"], measure["digits"], one[1], two[1]
    seeds = [seed for seed in a if seed in b and None not in (a[seed].get(key), b[seed].get(key))]
    change = [a[seed][key] - b[seed][key] for seed in sorted(seeds)]
    if len(change) < 2:
        return ""
    needed = student(len(change) - 1) * statistics.stdev(change) / math.sqrt(len(change))
    mean = statistics.mean(change)
    verdict = "resolved" if abs(mean) > needed else "not resolved"
    return (
        f"- {one[0]} less {two[0]}: {mean:+.{digits}f} {measure['title']}, {verdict} at 95 % by "
        f"{len(change)} seeds: differences from {needed:.{digits}f} on would be"
    )


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
