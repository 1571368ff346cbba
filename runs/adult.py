"""UCI Adult: held-out nats per row, imputation, synthetic rows, beside baselines of scikit-learn.

    pip install scikit-learn
    python runs/adult.py adult.data adult.test OUT [--seeds 3] [--steps 1000] [--threads 1]

The files are those of the UCI Machine Learning Repository (CC BY 4.0), also gzipped.  OUT gets the
CSV files, the prepared data, a run for every seed and adult.json, which is written anew after every
part.  One seed is the weights, the masks, which cells are removed, and the rows that the baselines
see.

Nats per row are of rows whose numbers are replaced by their 64 quantile bins, for every method;
that a cell is missing is a value of its own, and paid for.
Imputation: cells of test rows are removed at random.  Categories are scored by the share of removed
cells that are right, numbers by the absolute and the squared error in standard deviations of the
training column; both are means over columns.  The model guesses the most probable category, the
median for the absolute and the mean for the squared error.  The imputers get 10,000 training rows
(the model is trained on all 30,525): random forests, learned by column from rows in which cells are
removed at the same rate, guess as the model does; nearest neighbours and the iterative imputer (a
linear ridge, clipped to the range of its rows) get categories as one-hot columns, of which the
largest wins, and give means.  Synthetic rows: a classifier of the income trained on them, tested on
real rows, against the same trained on as many real rows. Copies are counted among complete rows,
without fnlwgt, a weight of the survey that tells rows apart.
"""

import argparse
import csv
import gzip
import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import sklearn
import torch
from adult_table import table
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer
from sklearn.linear_model import BayesianRidge
from sklearn.metrics import roc_auc_score

from unmask import MaskedDiffusion, estimate_nelbo, sample
from unmask.data import open_data, prepare_table
from unmask.estimate import errors
from unmask.filling import Filler
from unmask.kinds.registry import presets
from unmask.kinds.tables.holes import guess as guess_cell
from unmask.kinds.tables.holes import partials
from unmask.kinds.tables.numbers import parse_number
from unmask.train import train

NAMES = [
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation",
    "relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week",
    "native-country", "income",
]  # fmt: skip
SHARES = (0.1, 0.3, 0.5)
IMPUTED, LEARNED = 2000, 10_000  # test rows, and training rows that the slow imputers learn from
SYNTHETIC = 10_000


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=0)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    data = prepare(args)
    arguments = {"seeds": args.seeds, "steps": args.steps, "threads": args.threads}
    result: dict = {"arguments": arguments, "commit": commit(), "rows": data.meta["rows"]}
    result |= {"torch": torch.__version__, "scikit-learn": sklearn.__version__}
    result |= {"data_sha256": data.meta["sha256"], "baselines": {}, "seeds": []}

    def note(text: str) -> None:
        print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)
        (args.out / "adult.json").write_text(json.dumps(result, indent=1) + "\n")

    x = {
        split: np.array(data.tokens(split)).reshape(-1, data.length).astype(int)
        for split in ("train", "validation", "test")
    }
    chain = boosted_chain(x, data, note)
    result["baselines"] = {
        "columns by themselves": mean_and_error(by_themselves(x, data)),
        "boosted chain": mean_and_error(chain),
    }
    note(f"nats per row of the baselines: {result['baselines']}")
    for seed in range(args.seeds):
        found: dict = {}
        result["seeds"].append(found)
        preset = replace(presets()["table"].config, minutes=0.0, eval_minutes=0.0)
        config = replace(preset, steps=args.steps, seed=seed, threads=args.threads)
        folder = train(config, args.out / "data", args.out / f"run-{seed}")
        model = MaskedDiffusion.from_pretrained(folder)
        bound = estimate_nelbo(model, data.windows("test", data.length, 1024), repeats=8, seed=seed)
        values = {"mean": bound.mean, "stderr": bound.stderr, "noise": bound.noise}
        found["nats_per_row"] = values | {"n": len(bound.positions)}
        found["less than the boosted chain"] = less_than(chain, bound)
        note(f"seed {seed}: {bound.mean:.3f} +- {bound.stderr:.3f} nats a row, an upper bound")
        found["imputation"] = {}
        for share in SHARES:
            found["imputation"][str(share)] = imputation(model, data, x, share, seed, note)
        found["synthetic"] = synthetic(model, data, x, seed)
        note(f"seed {seed}: {found['synthetic']}")
    print("\n".join(table(args.out / "adult.json")))


def prepare(args):
    """The data, made of train.csv, validation.csv and test.csv, which are written first.

    Every sixteenth training row goes to validation.
    """
    folder = args.out / "data"
    if not folder.exists():  # else what an earlier run with these files has made
        rows = read(args.train)
        learn = [row for i, row in enumerate(rows) if i % 16]
        parts = {"train": learn, "validation": rows[::16], "test": read(args.test)}
        for name, content in parts.items():
            with open(args.out / f"{name}.csv", "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([NAMES, *content])
        files = [args.out / f"{name}.csv" for name in parts]
        prepare_table(files[0], folder, validation=files[1], test=files[2], progress=False)
    return open_data(folder)


def read(path: Path) -> list[list[str]]:
    """Rows of one of the official files.

    The comment on the first line of the test file and the stops after its labels are taken off.
    """
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt") as file:
        rows = [[cell.strip().rstrip(".") for cell in row] for row in csv.reader(file)]
    return [row for row in rows if len(row) == len(NAMES)]


def commit() -> str:
    command, here = ["git", "describe", "--always", "--dirty"], Path(__file__).parent
    return subprocess.run(command, capture_output=True, text=True, cwd=here).stdout.strip()


# ---------------------------------------------------------------- nats per row


def mean_and_error(nats: np.ndarray) -> dict:
    return {"mean": float(nats.mean()), "stderr": float(nats.std(ddof=1) / math.sqrt(len(nats)))}


def less_than(chain: np.ndarray, bound) -> dict:
    """How much more the chain needs than an estimate of the model's bound, row by row."""
    steady = bound.replicates if bound.steady is None else bound.steady
    theirs = torch.from_numpy(chain)
    less = theirs - bound.replicates
    stderr, _ = errors(less, steady=theirs - steady)
    return {"mean": float(less.mean()), "stderr": float(stderr)}


def by_themselves(x: dict, data) -> np.ndarray:
    """(rows,) every column coded by its own histogram of the training rows, one more of each value.

    One value of a column with missing cells is that there is none.
    """
    nats, table = np.zeros(len(x["test"])), data.tokenizer
    for place in table.value_at:
        low, high = table.first[place : place + 2]
        counts = np.bincount(x["train"][:, place], minlength=data.vocab_size)[low:high] + 1.0
        nats -= np.log(counts / counts.sum())[x["test"][:, place] - low]
    return nats


def boosted_chain(x: dict, data, note) -> np.ndarray:
    """(rows,) by p(row) = product over columns of p(column given those before it).

    Columns go from left to right, each with a gradient-boosted classifier.  How many rounds, and
    whether they do better than the column's histogram, is decided on the validation rows.
    """
    nats, table = np.zeros(len(x["test"])), data.tokenizer
    settings = {
        "max_iter": 300, "learning_rate": 0.03, "max_leaf_nodes": 15, "early_stopping": True,
        "n_iter_no_change": 10, "random_state": 0,
    }  # fmt: skip

    def before(rows: np.ndarray, c: int) -> np.ndarray:
        return rows[:, :c] - table.first[table.value_at[:c]]

    learn, watched, test = (
        x[split][:, table.value_at] for split in ("train", "validation", "test")
    )
    for c, place in enumerate(table.value_at):
        low, high = table.first[place : place + 2]
        y = learn[:, c] - low
        counts = np.bincount(y, minlength=high - low) + 1.0
        alone = counts / counts.sum()
        p, chosen = np.tile(alone, (len(test), 1)), "its own histogram"
        if c and len(np.unique(y)) > 1:
            truth = watched[:, c] - low
            seen = np.isin(truth, np.unique(y))
            categories = [column.bounds is None for column in table.columns[:c]]
            classifier = HistGradientBoostingClassifier(categorical_features=categories, **settings)
            held = before(watched, c)
            classifier.fit(before(learn, c), y, X_val=held[seen], y_val=truth[seen])
            of_truth = mixed(classifier, held, alone)[np.arange(len(truth)), truth]
            if np.log(of_truth).mean() > np.log(alone[truth]).mean():
                p = mixed(classifier, before(test, c), alone)
                chosen = f"{classifier.n_iter_} rounds"
        p /= p.sum(1, keepdims=True)
        nats -= np.log(p[np.arange(len(p)), test[:, c] - low])
        note(f"boosted chain: {table.names[c]} by {chosen}, {nats.mean():.3f} nats so far")
    return nats


def mixed(classifier, rows: np.ndarray, alone: np.ndarray) -> np.ndarray:
    """What a classifier says, with a little of the histogram for what it has never seen."""
    p = np.tile(0.001 * alone, (len(rows), 1))
    p[:, classifier.classes_] += 0.999 * classifier.predict_proba(rows)
    return p


# ---------------------------------------------------------------- imputation


def imputation(model, data, x: dict, share: float, seed: int, note) -> dict:
    """Accuracy and errors of every method on the same removed cells."""
    table, random = data.tokenizer, np.random.default_rng((seed, round(100 * share)))
    when = f"seed {seed}, {share:.0%} removed"
    rows = x["test"][random.permutation(len(x["test"]))[:IMPUTED]]
    x = {split: columns_of(table, tokens) for split, tokens in x.items()}
    test = columns_of(table, rows)
    learn = x["train"][random.permutation(len(x["train"]))[:LEARNED]]
    there = test < data.vocab_size
    removed = there & (random.random(test.shape) < share)
    holed = np.where(removed, data.vocab_size, test)
    found, value = {}, values_of(table)
    full, mean = test.copy(), value[test]
    # a removed cell has a value, which is given; one that is missing in the data is given as such
    open_rows = rows.copy()
    open_rows[:, table.value_at] = np.where(removed, data.vocab_size, rows[:, table.value_at])
    hidden = open_rows == data.vocab_size
    for law in Filler(model).laws(partials(open_rows, hidden, data.vocab_size)):
        one = guess_cell(table, *law)
        full[one.row, one.column] = one.token
        low, high = span(table, one.column)
        mean[one.row, one.column] = (one.probability[: high - low] * value[low:high]).sum()
    found["unmask"] = score(table, x, test, full, removed, mean)
    note(f"{when}, unmask: {found['unmask']}")
    common, mean = test.copy(), value[test]
    for c, column in enumerate(table.columns):
        known = x["train"][x["train"][:, c] < data.vocab_size, c]
        counts = np.bincount(known, minlength=data.vocab_size)
        common[:, c] = counts.argmax()
        if column.bounds is not None:
            common[:, c] = np.searchsorted(counts.cumsum(), len(known) / 2)
        mean[:, c] = value[known].mean()
    found["most frequent, median, mean"] = score(table, x, test, common, removed, mean)
    space = Features(table, learn)
    clipped = {"min_value": space.least, "max_value": space.most}
    imputers = {
        "10 nearest neighbours": KNNImputer(n_neighbors=10),
        "iterative, Bayesian ridge": IterativeImputer(
            BayesianRidge(), max_iter=5, random_state=seed, **clipped
        ),
    }
    for name, imputer in imputers.items():
        began = time.monotonic()
        imputer.fit(space.encode(learn))
        guess = space.decode(imputer.transform(space.encode(holed)))
        found[name] = score(table, x, test, guess, removed)
        note(f"{when}, {name}: {found[name]} in {time.monotonic() - began:.0f} s")
    began = time.monotonic()
    rows = np.where(random.random(learn.shape) < share, data.vocab_size, learn)
    guess, mean = forest_guesses(table, learn, rows, holed, seed)
    forests = score(table, x, test, guess, removed, mean)
    found["random forests by column"] = forests
    note(f"{when}, forests: {forests} in {time.monotonic() - began:.0f} s")
    return found


def forest_guesses(
    table, truth: np.ndarray, rows: np.ndarray, holed: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) for all cells of `holed`, tokens and means of numbers, by random forests.

    They learn each column of `truth` from the others in `rows`, where some cells are removed;
    numbers as their bins.
    """
    value, guess, mean = values_of(table), holed.copy(), np.full(holed.shape, np.nan)

    def features(x: np.ndarray, c: int) -> np.ndarray:
        first = table.first[table.value_at]
        return np.delete(np.where(x < table.vocab_size, x - first, np.nan), c, 1)

    for c, column in enumerate(table.columns):
        known = truth[:, c] < table.vocab_size
        forest = RandomForestClassifier(200, min_samples_leaf=2, random_state=seed)
        forest.fit(features(rows[known], c), truth[known, c])
        p, tokens = forest.predict_proba(features(holed, c)), forest.classes_
        guess[:, c] = tokens[p.argmax(1)]
        if column.bounds is not None:
            guess[:, c] = tokens[(p.cumsum(1) < 0.5).sum(1).clip(max=len(tokens) - 1)]
            mean[:, c] = p @ value[tokens]
    return guess, mean


class Features:
    """Rows of tokens as one-hot categories and standardised numbers, NaN where one is missing."""

    def __init__(self, table, train: np.ndarray):
        self.table, self.vocab_size = table, table.vocab_size
        self.value = values_of(table)
        self.scale = {}
        for c, column in enumerate(table.columns):
            if column.bounds is not None:
                v = self.value[train[train[:, c] < self.vocab_size, c]]
                self.scale[c] = v.mean(), v.std()
        found = self.encode(train)
        self.least = np.nanmin(found, 0)
        self.most = np.nanmax(found, 0) + 1e-9  # the imputer wants room between them

    def encode(self, x: np.ndarray) -> np.ndarray:
        parts = []
        for c, column in enumerate(self.table.columns):
            tokens = x[:, c, None]
            if column.bounds is None:
                part = tokens == np.arange(*span(self.table, c))
            else:
                mean, std = self.scale[c]
                part = (self.value[tokens] - mean) / std
            parts.append(np.where(tokens < self.vocab_size, part, np.nan))
        return np.concatenate(parts, 1)

    def decode(self, features: np.ndarray) -> list[np.ndarray]:
        """A column each: tokens of categories, values of numbers."""
        found, at = [], 0
        for c, column in enumerate(self.table.columns):
            if column.bounds is None:
                wide = len(column.values)
                low = span(self.table, c)[0]
                found.append(low + features[:, at : at + wide].argmax(1))
            else:
                wide = 1
                mean, std = self.scale[c]
                found.append(features[:, at] * std + mean)
            at += wide
        return found


def values_of(table) -> np.ndarray:
    """(vocab_size + 1,) the number of every token that is one, else NaN."""
    numbers = np.full(table.vocab_size + 1, math.nan)
    for c, column in enumerate(table.columns):
        if column.bounds is not None:
            numbers[slice(*span(table, c))] = [parse_number(value) for value in column.values]
    return numbers


def span(table, c: int) -> tuple[int, int]:
    """The tokens of a column's values: the first, and the last + 1."""
    low = int(table.first[table.value_at[c]])
    return low, low + len(table.columns[c].values)


def columns_of(table, rows: np.ndarray) -> np.ndarray:
    """(n, columns) tokens of the values in rows (n, places); `vocab_size`: a missing cell."""
    values = rows[:, table.value_at]
    return np.where(values == table.none, table.vocab_size, values)


def score(table, x: dict, truth: np.ndarray, guess, removed: np.ndarray, mean=None) -> dict:
    """Accuracy of categories, absolute and root square error of numbers, on the removed cells.

    guess: tokens (rows, columns), or a column each as `Features.decode` gives them; mean: likewise,
    numbers for the squared error.
    """
    value, right, absolute, squared = values_of(table), [], [], []

    def column_of(of, c: int) -> np.ndarray:
        return of[removed[:, c], c] if isinstance(of, np.ndarray) else of[c][removed[:, c]]

    for c, column in enumerate(table.columns):
        real, of = truth[removed[:, c], c], column_of(guess, c)
        if column.bounds is None:
            right.append(float((of == real).mean()))
            continue
        of = value[of] if isinstance(guess, np.ndarray) else of
        std = value[x["train"][x["train"][:, c] < table.vocab_size, c]].std()
        absolute.append(float(np.abs(of - value[real]).mean() / std))
        if mean is not None:
            of = column_of(mean, c)
        squared.append(float(np.square(of - value[real]).mean() / std**2))
    return {
        "accuracy": float(np.mean(right)),
        "absolute": float(np.mean(absolute)),
        "root_square": math.sqrt(float(np.mean(squared))),
    }


# ---------------------------------------------------------------- synthetic rows


def synthetic(model, data, x: dict, seed: int) -> dict:
    """A classifier of the last column trained on samples and on real rows.

    And the share of samples that are training rows.
    """
    generator = torch.Generator().manual_seed(seed)
    how = {"num": 2000, "length": data.length, "steps": 128, "generator": generator}
    drawn = np.concatenate([sample(model, **how).numpy() for _ in range(SYNTHETIC // 2000)])
    drawn = columns_of(data.tokenizer, drawn)
    x = {split: columns_of(data.tokenizer, rows) for split, rows in x.items()}
    random = np.random.default_rng((seed, 1))
    some = x["train"][random.permutation(len(x["train"]))[:SYNTHETIC]]
    found = {}
    for name, rows in (("synthetic", drawn), ("real", some), ("all real", x["train"])):
        found[name] = classify(data.tokenizer, rows, x["test"], seed)
    kept = [c for c, name in enumerate(data.tokenizer.names) if name != "fnlwgt"]

    def keys(rows: np.ndarray) -> list[bytes]:
        complete = rows[(rows < data.vocab_size).all(1)]
        return [row.tobytes() for row in complete[:, kept].astype(int)]

    known = set(keys(x["train"]))
    for name, rows in (("samples", drawn), ("test rows", x["test"])):
        copies = np.array([key in known for key in keys(rows)], float)
        found[f"training rows among the {name}"] = mean_and_error(copies)
    return found


def classify(table, rows: np.ndarray, test: np.ndarray, seed: int) -> dict:
    kinds = [column.bounds is None for column in table.columns[:-1]]
    first = table.first[table.value_at[:-1]]

    def features(x: np.ndarray) -> np.ndarray:
        return np.where(x[:, :-1] < table.vocab_size, x[:, :-1] - first, -1)

    classifier = HistGradientBoostingClassifier(categorical_features=kinds, random_state=seed)
    classifier.fit(features(rows), rows[:, -1])
    p = classifier.predict_proba(features(test))[:, 1]
    truth = test[:, -1] == classifier.classes_[1]
    return {"accuracy": float(((p > 0.5) == truth).mean()), "auc": float(roc_auc_score(truth, p))}


if __name__ == "__main__":
    sys.exit(main())
