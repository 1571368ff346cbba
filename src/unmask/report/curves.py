"""Numbers of a run's log, as they are drawn and said."""

import math
import numbers

import numpy as np


def curve(log: list[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Steps, losses in bits, and their running mean over a twenty-fifth of the rows.

    None without finite losses.
    """
    rows = [(row["step"], row["loss"] / math.log(2)) for row in log if finite(row.get("loss"))]
    if not rows:
        return None
    steps, bits = np.array(rows, dtype=np.float64).T
    total = np.concatenate([[0.0], np.cumsum(bits)])
    i, half = np.arange(len(bits)), len(bits) // 50
    reach = np.minimum(i, half)  # symmetric in the steep beginning
    low, high = i - reach, np.minimum(i + reach + 1, len(bits))
    return steps, bits, (total[high] - total[low]) / (high - low)


def of_another_loss(log: list[dict]) -> bool:
    """Whether training minimised something else than the bound, by the names in its log."""
    return any(name.endswith("_loss") for row in log for name in row)


def evaluations(log: list[dict]) -> list[tuple[float, float, float]]:
    """(step, bits, standard error or 0) of the evaluations in a log."""
    rows = [row for row in log if finite(row.get("bits"))]
    return [(row["step"], row["bits"], known(row.get("stderr"))) for row in rows]


def finite(value) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def known(error) -> float:
    """A standard error, 0 where it is not known."""
    return error if finite(error) else 0.0


def range_of(log: list[dict], levels: list[float]) -> tuple[float, float]:
    """The bits that a loss plot shows: single noisy steps do not stretch it."""
    values, found = [level for level in levels if finite(level)], curve(log)
    if found:
        values += [*found[2], *np.percentile(found[1], [2, 98])]
    for _, bits, error in evaluations(log):
        values += [bits - error, bits + error]
    low, high = min(values, default=0.0), max(values, default=0.0)
    pad = 0.06 * (high - low) or 0.5
    return low - pad, high + pad


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers from low to high, about `count`."""
    size = 10 ** math.floor(math.log10((high - low) / count))
    size *= next(m for m in (1, 2, 5, 10) if (high - low) / (m * size) <= count)
    first, last = math.ceil(low / size - 1e-9), math.floor(high / size + 1e-9)
    return [i * size for i in range(first, last + 1)]


def spread(values: list[float], gap: float, high: float) -> list[float]:
    """The values moved apart to at least `gap`, none above `high`: labels that do not overlap."""
    placed, top = list(values), high
    for i in sorted(range(len(values)), key=lambda i: -values[i]):
        placed[i] = min(values[i], top)
        top = placed[i] - gap
    return placed


def plus_minus(bits: float, error: float) -> str:
    said = f"{bits:.3f}"
    return f"{said} ± {error:.3f}" if known(error) > 0 else said
