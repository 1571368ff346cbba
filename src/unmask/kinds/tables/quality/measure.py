"""All figures of synthetic rows, each beside that of real rows that were held out."""

from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unmask.checkpoint import digest
from unmask.kinds.quality import Bars, Grid, Listing, Measure, Quality, Value
from unmask.kinds.tables.columns import did_you_mean
from unmask.kinds.tables.quality import nearest, shares
from unmask.kinds.tables.quality.models import CLASSES, detect, has_sklearn, of_target, sklearn
from unmask.kinds.tables.quality.rows import Rows
from unmask.kinds.tables.quality.shares import Scores, bootstrap
from unmask.kinds.tables.quality.sides import LEAST, Sides, read_sides
from unmask.kinds.trial import even_edges

REPLICATES = 50  # of the bootstrap
ALL = 1 << 48
LOOKED_UP = 5000  # rows whose closest record is looked for, and records of either side
LISTED = 5  # of the worst columns and pairs, in words
BARS = 30  # of a histogram


class Compared(NamedTuple):
    """Rows compared with training rows: shares of columns and pairs."""

    shapes: Scores
    trends: Scores
    missing: Scores
    missing_pairs: Scores


class Trial(NamedTuple):
    """What is measured of: all synthetic rows, as many of them as are held out, and those."""

    train: Rows
    samples: Rows
    like: Rows | None  # None: there are not more synthetic rows than rows held out
    real: Rows
    held_out: Rows  # all of them
    hashed: bool  # as in `Sides`
    together: bool  # too
    fitted: int  # rows of either side that classifiers see, at most
    seed: int


def judge(
    data: Any,
    path: Path,
    *,
    target: str,
    split: str,
    sources: list[Path],
    encoding: str,
    fitted: int,
    seed: int,
) -> Quality:
    """Of a CSV file of synthetic rows, by the training rows and those of a split of `data`.

    target: a column, "" for the last.  Without scikit-learn, what needs it is left out; a
    ValueError if the target was named.
    """
    if fitted < 0 or 0 < fitted < LEAST:
        raise ValueError(f"--fitted must be 0, for all rows, or at least {LEAST}, not {fitted}")
    names = data.tokenizer.names
    if target and target not in names:
        known = ", ".join(names) + did_you_mean(target, names)
        raise ValueError(f"--target {target}: there is no such column among {known}")
    if target:
        with sklearn():
            pass
    sides = read_sides(data, path, split=split, sources=sources, encoding=encoding)
    place = names.index(target) if target else len(names) - 1
    found = measure(sides, place, fitted, seed, models=has_sklearn())
    train, held_out, synthetic = (f"{len(rows):,}" for rows in sides[:3])
    heading = [
        f"{path}: {synthetic} rows of {len(names)} columns, beside {train} training rows and "
        f"{held_out} {split} rows of {data.folder}"
    ]
    digests = {str(one): digest(one) for one in (path, *sources)}
    sizes = {
        "train": len(sides.train),
        split: len(sides.held_out),
        "synthetic": len(sides.synthetic),
    }
    record = {
        "target": names[place], "rows": sizes,
        "files_sha256": digests, "numbers": "as in the source" if sources else "by their bins",
    }  # fmt: skip
    return found._replace(heading=heading, record=record | found.record)


def measure(sides: Sides, target: int, fitted: int, seed: int, *, models: bool) -> Quality:
    """fitted: rows of either side that classifiers see, at most; 0: all.  models: with what needs
    scikit-learn."""
    trial = make_trial(sides, fitted, seed)
    measures, notes, record = of_shares(trial)
    for part in (of_closest, of_copies):
        more, said = part(trial)
        measures += more
        notes += said
    if models:
        for part in (of_detection, lambda trial: of_downstream(trial, target)):
            more, said = part(trial)
            measures += more
            notes += said
    else:
        notes.append(
            "left out: detection and the model of a target, for which scikit-learn is not "
            "installed: pip install 'unmask[quality]'"
        )
    fields = trial.train.fields
    return Quality(
        heading=[], measures=measures, notes=[*sides.notes, *notes],
        listings=[of_columns(trial, record)],
        bars=[histogram(trial, c) for c in range(len(fields))],
        grids=[grid_of(trial, record)], record=record,
    )  # fmt: skip


def make_trial(sides: Sides, fitted: int, seed: int) -> Trial:
    """As many synthetic rows as real ones: both random, where one has more."""
    n = min(len(sides.synthetic), len(sides.held_out))
    like = None
    if len(sides.synthetic) > n:
        like = some(sides.synthetic, n, seed)
    real = some(sides.held_out, n, seed)
    how = sides.hashed, sides.together, fitted or ALL, seed
    return Trial(sides.train, sides.synthetic, like, real, sides.held_out, *how)


def some(rows: Rows, most: int, seed: int) -> Rows:
    """Random ones, at most so many, in their order."""
    if len(rows) <= most:
        return rows
    random = np.random.default_rng((seed, len(rows), most))
    return rows.take(np.sort(random.permutation(len(rows))[:most]))


# ---------------------------------------------------------------- shapes, trends, missing cells


def compare(train: Rows, rows: Rows, seed: int) -> Compared:
    scores = [
        shares.shape_scores(train, rows), shares.trend_scores(train, rows)[1],
        shares.missing_scores(train, rows)[1], shares.missing_pair_scores(train, rows)[1],
    ]  # fmt: skip
    return Compared(*(bootstrap(one, train, rows, REPLICATES, seed) for one in scores))


def of_shares(trial: Trial) -> tuple[list[Measure], list[str], dict]:
    samples = compare(trial.train, trial.samples, trial.seed)
    real = compare(trial.train, trial.real, trial.seed)
    like = None if trial.like is None else compare(trial.train, trial.like, trial.seed)

    def one(key: str, name: str, says: str) -> Measure:
        of_like = None if like is None else getattr(like, key).mean
        means = getattr(samples, key).mean, getattr(real, key).mean
        return Measure(key, name, says, 1.0, *means, of_like)

    measures = [
        one("shapes", "shapes", "mean over columns: 1 less the Kolmogorov-Smirnov statistic of "
            "numbers, or the total variation of categories; missing cells left out"),
        one("trends", "pair trends", "mean over pairs of columns: 1 less half the difference of "
            "correlations, or, with a category, the total variation of the pair, numbers in ten "
            "bins and missing cells a value"),
    ]  # fmt: skip
    notes, record = [], record_of(trial, samples, real)
    if samples.missing.each:
        measures.append(one("missing", "missing rates", "mean over the columns that lack cells: "
            "1 less the difference of the rates"))  # fmt: skip
    elif trial.real.missing().any():
        notes.append(
            "cells are missing in held-out rows alone, so there is no measure of their rates"
        )
    else:
        notes.append("no cell is missing, in no file")
    if samples.missing_pairs.each:
        measures.append(one("missing_pairs", "missing together", "mean over pairs of them: 1 less "
            "the difference of the rates at which both cells are missing"))  # fmt: skip
    if samples.shapes.undefined:
        lost = [
            field.name
            for field, value in zip(trial.train.fields, samples.shapes.each, strict=True)
            if np.isnan(value.value)
        ]
        notes.append(f"shapes are without {', '.join(lost)}: one side has no value there")
    if samples.trends.undefined:
        notes.append(
            f"pair trends are without {samples.trends.undefined} pairs of numbers, "
            "of which one does not vary on one side"
        )
    return measures, notes + worst(record), record


def record_of(trial: Trial, samples: Compared, real: Compared) -> dict:
    """Of every column and of every pair."""
    train, rows, held_out = (side.missing() for side in (trial.train, trial.samples, trial.real))
    columns = {}
    for c, field in enumerate(trial.train.fields):
        columns[field.name] = {
            "kind": "number" if field.number else "category",
            "shape": samples.shapes.each[c]._asdict(), "shape_real": real.shapes.each[c]._asdict(),
            "missing_train": float(train[:, c].mean()), "missing": float(rows[:, c].mean()),
            "missing_real": float(held_out[:, c].mean()),
        }  # fmt: skip
    pairs = []
    names = [field.name for field in trial.train.fields]
    for k, (i, j) in enumerate(combinations(range(len(names)), 2)):
        pairs.append({
            "columns": [names[i], names[j]],
            "trend": samples.trends.each[k]._asdict(), "trend_real": real.trends.each[k]._asdict(),
            "missing_train": float((train[:, i] & train[:, j]).mean()),
            "missing": float((rows[:, i] & rows[:, j]).mean()),
        })  # fmt: skip
    return {"columns": columns, "pairs": pairs}


def worst(record: dict) -> list[str]:
    """The least alike columns and pairs, in words."""

    def said(name: str, one: dict, key: str) -> str:
        return f"{name} {one[key]['value']:.3f} ({one[key + '_real']['value']:.3f})"

    columns = [item for item in record["columns"].items() if item[1]["shape"]["value"] < 1]
    columns.sort(key=lambda item: item[1]["shape"]["value"])
    pairs = [one for one in record["pairs"] if one["trend"]["value"] < 1]
    pairs.sort(key=lambda one: one["trend"]["value"])
    lines = []
    if columns:
        shown = ", ".join(said(name, one, "shape") for name, one in columns[:LISTED])
        lines.append(f"worst shapes (real rows): {shown}")
    if pairs:
        shown = ", ".join(said(" x ".join(p["columns"]), p, "trend") for p in pairs[:LISTED])
        lines.append(f"worst pair trends (real rows): {shown}")
    return lines


# ---------------------------------------------------------------- the closest records and copies


def like_held_out(rows: Rows, n: int, trial: Trial) -> Rows:
    """So many rows, drawn as those held out were: with all that equal them, where equal rows stay
    together, and by whole groups, where these do.  Else one side would have more different rows,
    and be closer to everything."""
    if not trial.together or len(rows) <= n:
        return some(rows, n, trial.seed)
    first = int(np.random.default_rng((trial.seed, n)).integers(len(rows) - n + 1))
    return rows.take(np.arange(first, first + n))


def halves(trial: Trial, most: int) -> list[Rows]:
    """Two parts of the rows held out, of so many in all; in one what stays together."""
    rows = like_held_out(trial.held_out, most, trial)
    order = np.arange(len(rows))
    if not trial.together:
        order = np.random.default_rng((trial.seed, 2)).permutation(len(rows))
    return [rows.take(half) for half in np.array_split(order, 2)]


def of_closest(trial: Trial) -> tuple[list[Measure], list[str]]:
    """Real rows are judged by one half of them against the other, with as many training rows."""
    n = min(len(trial.held_out), len(trial.train), LOOKED_UP)
    samples = some(trial.samples, LOOKED_UP, trial.seed)
    scale = nearest.ranges(trial.train)
    train, held_out = (like_held_out(rows, n, trial) for rows in (trial.train, trial.held_out))
    found = nearest.closer_to_train(samples, train, held_out, scale)
    judged, holdout = halves(trial, 2 * n)
    among = like_held_out(trial.train, len(holdout), trial)
    real = nearest.closer_to_train(judged, among, holdout, scale)
    says = "share of rows whose closest record is one of so many training rows, not of as many "
    measures = [
        Measure("closer", "closer to training", says + "held-out ones; a tie counts half",
                0.5, found.share, real.share),
        Measure("closer_strict", "as above, strictly", "likewise, a tie counting as not closer, "
                "as TabSyn counts: ideal is half of the rows that do not tie",
                (1 - found.ties) / 2, found.strict, real.strict),
    ]  # fmt: skip
    notes = [
        f"closest records: {len(samples):,} rows among {n:,} training rows and {n:,} held out; "
        f"real ones: {len(judged):,} rows, {len(holdout):,} on either side; "
        f"{found.ties:.1%} of the rows tie"
    ]
    return measures, notes


def of_copies(trial: Trial) -> tuple[list[Measure], list[str]]:
    """Where equal rows stay in one split, rows held out have fewer copies than new rows would."""
    found, held_out = (
        nearest.copied(rows, trial.train) for rows in (trial.samples, trial.held_out)
    )
    twice = nearest.repeated(trial.train)
    says = "share of rows equal, in every column, to a training row; real: "
    if not trial.hashed:
        says += "rows held out"
        note = f"{twice.value:.2%} of the training rows equal another one"
        return [Measure("copies", "copies", says, None, found, held_out)], [note]
    says += "training rows that equal another one, since preparing keeps equal rows in one split"
    note = (
        f"real copies are training rows that equal another one: preparing keeps equal rows "
        f"together, which leaves {held_out.spell()} of those held out"
    )
    return [Measure("copies", "copies", says, None, found, twice)], [note]


# ---------------------------------------------------------------- what needs scikit-learn


def of_detection(trial: Trial) -> tuple[list[Measure], list[str]]:
    train = some(trial.train, trial.fitted, trial.seed)
    rows = some(trial.samples, trial.fitted, trial.seed)
    samples = detect(train, rows, trial.seed)
    real = detect(train, some(trial.real, trial.fitted, trial.seed), trial.seed)
    like = None
    if trial.like is not None:
        like = detect(train, some(trial.like, trial.fitted, trial.seed), trial.seed)

    def one(key: str, of: str, name: str, says: str, ideal: float) -> Measure:
        of_like = None if like is None else getattr(like, of)
        return Measure(key, name, says, ideal, getattr(samples, of), getattr(real, of), of_like)

    folds = "mean area under the curve over three folds of"
    measures = [
        one("logistic_auc", "logistic", "logistic AUC",
            f"{folds} a logistic regression that tells such rows from training rows", 0.5),
        one("logistic_detection", "score", "LogisticDetection", "sdmetrics' score of the same "
            "regression: 1 less twice what the area, of each fold, is above a half", 1.0),
        one("boosted_auc", "boosted", "boosted trees AUC",
            f"{folds} gradient-boosted trees, likewise", 0.5),
    ]  # fmt: skip
    notes = [f"detection sees {len(train):,} training rows and {len(rows):,} synthetic ones"]
    if trial.hashed and nearest.repeated(trial.train).value:
        notes[0] += (
            "; preparing keeps equal rows in one split, by which trees can tell real rows that "
            "were held out a little"
        )
    return measures, notes


WORDS = {
    "auc": ("AUC", "area under the curve"), "accuracy": ("accuracy", "accuracy"),
    "r2": ("R2", "explained share of the variance"),
    "rmse": ("RMSE", "root mean square error"),
}  # fmt: skip


def of_downstream(trial: Trial, target: int) -> tuple[list[Measure], list[str]]:
    """Trained on synthetic rows and on as many real ones, tested on real rows held out."""
    field = trial.train.fields[target]
    if len(trial.train.fields) == 1:
        return [], ["left out: a model of a target, since there is no other column to tell it by"]
    if not field.number and len(trial.train.labels[target]) > CLASSES:
        classes = len(trial.train.labels[target])
        said = f"left out: a model of {field.name}, which has {classes} categories"
        return [], [f"{said}; name another --target"]
    made, train, test = (
        side.take(~side.missing()[:, target])
        for side in (trial.samples, trial.train, trial.held_out)
    )
    if not (len(made) and len(train) and len(test)):
        said = f"left out: a model of {field.name}, which is missing in all synthetic or real rows"
        return [], [f"{said}; name another --target"]
    n, seed = min(len(made), len(train), trial.fitted), trial.seed
    samples = of_target(some(made, n, seed), test, target, seed)
    real = of_target(some(train, n, seed), test, target, seed)
    all_real = of_target(some(train, trial.fitted, seed), test, target, seed)
    measures = []
    for key, value in samples.items():
        name, words = WORDS[key]
        says = f"{words} on real held-out rows, of gradient-boosted trees of {field.name}"
        measures.append(Measure(f"target_{key}", f"{field.name}: {name}", says, None, value,
                                real[key]))  # fmt: skip
    said = ", ".join(f"{WORDS[key][0]} {value.spell()}" for key, value in all_real.items())
    number = min(len(train), trial.fitted)
    return measures, [
        f"models of {field.name} learn from {n:,} rows, synthetic or real, and are tested on "
        f"{len(test):,} real ones; from {number:,} real rows: {said}"
    ]


# ---------------------------------------------------------------- pictures


def of_columns(trial: Trial, record: dict) -> Listing:
    rows = [["column", "of", "shape", "real rows", "missing", "real rows", "training rows"]]
    for name, one in record["columns"].items():
        shapes = [Value(**one[key]).spell() for key in ("shape", "shape_real")]
        rates = [f"{one[key]:.2%}" for key in ("missing", "missing_real", "missing_train")]
        rows.append([name, one["kind"], *shapes, *rates])
    says = "Shapes, 1 being ideal, and shares of missing cells."
    return Listing("Columns", says, rows)


def histogram(trial: Trial, c: int) -> Bars:
    """Of training rows and of synthetic ones: numbers in bins, the most frequent categories."""
    field = trial.train.fields[c]
    a, b = trial.train.values[c], trial.samples.values[c]
    if field.number:
        a, b = a[~np.isnan(a)], b[~np.isnan(b)]
        counts, labels = of_numbers(b, a)
    else:
        size = len(trial.train.labels[c])
        counts = [np.bincount(side[side >= 0], minlength=size) for side in (b, a)]
        kept = np.argsort(-(counts[0] + counts[1]), kind="stable")[:BARS]
        counts = [side[kept] for side in counts]
        labels = [trial.train.labels[c][i][:20] for i in kept]
    shown = [side / max(len(of), 1) for side, of in zip(counts, (b, a), strict=True)]
    return Bars(field.name, labels, *shown)


def of_numbers(*sides: np.ndarray) -> tuple[list[np.ndarray], list[str]]:
    """How often the numbers of each side occur: each value, or in bins where there are many.

    Bins are of equal width, the outermost hundredth of all numbers in the outer ones.
    """
    both = np.concatenate(sides)
    values, codes = np.unique(both, return_inverse=True)
    if len(values) <= BARS:
        parts = np.split(codes, [len(sides[0])])
        counts = [np.bincount(part, minlength=len(values)) for part in parts]
        return counts, [f"{value:.6g}" for value in values]
    low, high = np.quantile(both, [0.005, 0.995])
    edges = even_edges(np.clip(both, low, high), BARS)
    counts = [np.histogram(np.clip(side, low, high), edges)[0] for side in sides]
    return counts, [f"{edge:.3g}" for edge in edges[:-1]]


def grid_of(trial: Trial, record: dict) -> Grid:
    names = [field.name for field in trial.train.fields]
    values = np.full((len(names), len(names)), np.nan)
    place: dict[Any, int] = {name: i for i, name in enumerate(names)}
    for one in record["pairs"]:
        i, j = (place[name] for name in one["columns"])
        values[i, j] = 1 - one["trend"]["value"]
        values[j, i] = 1 - one["trend_real"]["value"]
    most = max(0.05, float(np.nanmax(values))) if (values >= 0).any() else 0.05
    says = (
        "How far each pair of columns is from that of the training rows, 0 being ideal: synthetic "
        "rows above the diagonal, real rows that were held out below it."
    )
    return Grid("Pairs of columns", says, names, values, most)
