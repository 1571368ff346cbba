"""UCI Adult: held-out nats per row, imputation, synthetic rows, against baselines of scikit-learn,
in one script.

    pip install scikit-learn
    python runs/adult.py adult.data adult.test OUT [--seeds 3] [--steps 1000] [--threads 1]

The files are those of the UCI Machine Learning Repository (CC BY 4.0), also gzipped.  OUT gets the
CSV files, the prepared data, a run for every seed and adult.json, which is written anew after every
part.  One seed is the weights, the masks, which cells are removed, and the rows that the baselines
see.

Nats per row are of rows whose numbers are replaced by their 32 quantile bins, for every method.
Imputation: cells of test rows are removed at random.  Categories are scored by the share of removed
cells that are right, numbers by the absolute and the squared error in standard deviations of the
training column; both are means over columns.  The model guesses the most probable category, the
median for the absolute and the mean for the squared error.  The imputers get 10,000 training rows
(the model is trained on all 30,525): random forests, learned by column from rows in which cells are
removed at the same rate, guess as the model does; nearest neighbours and the iterative imputer (a
linear ridge, clipped to the range of its rows) get categories as one-hot columns, of which the
largest wins, and give means. Synthetic rows: a classifier of the income trained on them, tested on
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
from unmask.kinds.tables.columns import parse_number
from unmask.kinds.tables.holes import guess as guess_cell
from unmask.kinds.tables.holes import partials
from unmask.train import train

NAMES = [
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship", "race", "sex",
    "capital-gain", "capital-loss", "hours-per-week", "native-country", "income",
]  # fmt: skip
SHARES = (0.1, 0.3, 0.5)
IMPUTED, LEARNED = 2000, 10_000  # test rows, and training rows that the slow imputers learn from
SYNTHETIC = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
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
    result |= {
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "data_sha256": data.meta["sha256"],
        "baselines": {},
        "seeds": [],
    }

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
        config = replace(
            presets()["table"].config,
            steps=args.steps,
            minutes=0.0,
            seed=seed,
            threads=args.threads,
            eval_minutes=0.0,
        )
        model = MaskedDiffusion.from_pretrained(
            train(config, args.out / "data", args.out / f"run-{seed}")
        )
        bound = estimate_nelbo(model, data.windows("test", data.length, 1024), repeats=8, seed=seed)
        found["nats_per_row"] = {
            "mean": bound.mean,
            "stderr": bound.stderr,
            "noise": bound.noise,
            "n": len(bound.positions),
        }
        less, steady = (
            torch.from_numpy(chain) - v
            for v in (bound.replicates, bound.replicates if bound.steady is None else bound.steady)
        )
        stderr, _ = errors(less, steady=steady)
        # row by row
        found["less than the boosted chain"] = {"mean": float(less.mean()), "stderr": float(stderr)}
        note(f"seed {seed}: {bound.mean:.3f} +- {bound.stderr:.3f} nats a row, an upper bound")
        found["imputation"] = {
            str(share): imputation(model, data, x, share, seed, note) for share in SHARES
        }
        found["synthetic"] = synthetic(model, data, x, seed)
        note(f"seed {seed}: {found['synthetic']}")
    summarise(result)


def prepare(args):
    """train.csv, validation.csv (every sixteenth training row) and test.csv, normalised, and the
    data made of them."""
    folder = args.out / "data"
    if not folder.exists():  # else what an earlier run with these files has made
        rows = read(args.train), read(args.test)
        parts = {
            "train": [r for i, r in enumerate(rows[0]) if i % 16],
            "validation": rows[0][::16],
            "test": rows[1],
        }
        for name, content in parts.items():
            with open(args.out / f"{name}.csv", "w", newline="") as file:
                csv.writer(file, lineterminator="\n").writerows([NAMES, *content])
        files = [args.out / f"{name}.csv" for name in parts]
        prepare_table(files[0], folder, validation=files[1], test=files[2], progress=False)
    return open_data(folder)


def read(path: Path) -> list[list[str]]:
    """Rows of one of the official files: the comment on the first line of the test file and the
    stops after its labels taken off."""
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt") as file:
        rows = [[cell.strip().rstrip(".") for cell in row] for row in csv.reader(file)]
    return [row for row in rows if len(row) == len(NAMES)]


def commit() -> str:
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    ).stdout.strip()


# ---------------------------------------------------------------- nats per row


def mean_and_error(nats: np.ndarray) -> dict:
    return {"mean": float(nats.mean()), "stderr": float(nats.std(ddof=1) / math.sqrt(len(nats)))}


def by_themselves(x: dict, data) -> np.ndarray:
    """(rows,) every column coded by its own histogram of the training rows, one more of each value;
    missing cells cost nothing."""
    nats, table = np.zeros(len(x["test"])), data.tokenizer
    for c in range(table.length):
        low, high = table.first[c : c + 2]
        counts = np.bincount(x["train"][:, c], minlength=data.vocab_size + 1)[low:high] + 1.0
        there = x["test"][:, c] < data.vocab_size
        nats[there] -= np.log(counts / counts.sum())[x["test"][there, c] - low]
    return nats


def boosted_chain(x: dict, data, note) -> np.ndarray:
    """(rows,) by p(row) = product over columns, left to right, of gradient-boosted classifiers of
    each column given those before it.

    How many rounds, and whether they do better than the column's histogram, is decided on the
    validation rows.
    """
    nats, table = np.zeros(len(x["test"])), data.tokenizer
    for c in range(table.length):
        low, high = table.first[c : c + 2]
        known, there = x["train"][:, c] < data.vocab_size, x["test"][:, c] < data.vocab_size
        before = [
            np.where(x[s][:, :c] < data.vocab_size, x[s][:, :c] - table.first[:c], -1)
            for s in ("train", "test", "validation")
        ]
        y = x["train"][known, c] - low
        counts = np.bincount(y, minlength=high - low) + 1.0
        alone = counts / counts.sum()
        p, chosen = np.tile(alone, (int(there.sum()), 1)), "its own histogram"
        if c and len(np.unique(y)) > 1:
            fits, held = y, x["validation"][:, c] < data.vocab_size
            watched, truth = before[2][held], x["validation"][held, c] - low
            seen = np.isin(truth, np.unique(y))
            classifier = HistGradientBoostingClassifier(
                max_iter=300, learning_rate=0.03, max_leaf_nodes=15, categorical_features=[k.bounds is None for k in table.columns[:c]],
                early_stopping=True, n_iter_no_change=10, random_state=0,
            ).fit(before[0][known], fits, X_val=watched[seen], y_val=truth[seen])  # fmt: skip
            of_watched, of_test = (
                mixed(classifier, rows, alone) for rows in (watched, before[1][there])
            )
            if (
                np.log(of_watched[np.arange(len(truth)), truth]).mean()
                > np.log(alone[truth]).mean()
            ):
                p, chosen = of_test, f"{classifier.n_iter_} rounds"
        p /= p.sum(1, keepdims=True)
        nats[there] -= np.log(p[np.arange(len(p)), x["test"][there, c] - low])
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
    test = x["test"][random.permutation(len(x["test"]))[:IMPUTED]]
    learn = x["train"][random.permutation(len(x["train"]))[:LEARNED]]
    there = test < data.vocab_size
    removed = there & (random.random(test.shape) < share)
    holed = np.where(removed, data.vocab_size, test)
    found, value = {}, values_of(table)
    full, mean = test.copy(), value[test]
    for law in Filler(model).laws(partials(holed, holed == data.vocab_size, data.vocab_size)):
        one = guess_cell(table, *law)
        full[one.row, one.column] = one.token
        of = value[table.first[one.column] : table.first[one.column + 1]]
        mean[one.row, one.column] = (one.probability * of).sum()
    found["unmask"] = score(table, x, test, full, removed, mean)
    note(f"seed {seed}, {share:.0%} removed, unmask: {found['unmask']}")
    common, mean = test.copy(), value[test]
    for c, column in enumerate(table.columns):
        known = x["train"][x["train"][:, c] < data.vocab_size, c]
        counts = np.bincount(known, minlength=data.vocab_size)
        common[:, c] = (
            counts.argmax()
            if column.bounds is None
            else np.searchsorted(counts.cumsum(), len(known) / 2)
        )
        mean[:, c] = value[known].mean()
    found["most frequent, median, mean"] = score(table, x, test, common, removed, mean)
    space = Features(table, learn)
    ridge = IterativeImputer(
        BayesianRidge(), max_iter=5, min_value=space.least, max_value=space.most, random_state=seed
    )
    for name, imputer in (
        ("10 nearest neighbours", KNNImputer(n_neighbors=10)),
        ("iterative, Bayesian ridge", ridge),
    ):
        began = time.monotonic()
        imputer.fit(space.encode(learn))
        found[name] = score(
            table, x, test, space.decode(imputer.transform(space.encode(holed))), removed
        )
        note(
            f"seed {seed}, {share:.0%} removed, {name}: {found[name]} in {time.monotonic() - began:.0f} s"
        )
    began = time.monotonic()
    rows = np.where(random.random(learn.shape) < share, data.vocab_size, learn)
    guess, mean = forest_guesses(table, learn, rows, holed, seed)
    found["random forests by column"] = score(table, x, test, guess, removed, mean)
    note(
        f"seed {seed}, {share:.0%} removed, forests: {found['random forests by column']} in {time.monotonic() - began:.0f} s"
    )
    return found


def forest_guesses(
    table, truth: np.ndarray, rows: np.ndarray, holed: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, columns) for all cells of `holed`, tokens and means of numbers, by forests that learn
    each column of `truth` from the others in `rows`, where some cells are removed; numbers as their
    bins."""
    value, guess, mean = values_of(table), holed.copy(), np.full(holed.shape, np.nan)

    def features(x: np.ndarray, c: int) -> np.ndarray:
        return np.delete(np.where(x < table.vocab_size, x - table.first[:-1], np.nan), c, 1)

    for c, column in enumerate(table.columns):
        known = truth[:, c] < table.vocab_size
        forest = RandomForestClassifier(200, min_samples_leaf=2, random_state=seed).fit(
            features(rows[known], c), truth[known, c]
        )
        p, tokens = forest.predict_proba(features(holed, c)), forest.classes_
        guess[:, c] = tokens[p.argmax(1)]
        if column.bounds is not None:
            guess[:, c] = tokens[(p.cumsum(1) < 0.5).sum(1).clip(max=len(tokens) - 1)]
            mean[:, c] = p @ value[tokens]
    return guess, mean


class Features:
    """Rows of tokens as one-hot categories and standardised numbers, NaN where there is no value."""

    def __init__(self, table, train: np.ndarray):
        self.table, self.vocab_size = table, table.vocab_size
        self.value = values_of(table)
        self.scale = {}
        for c, column in enumerate(table.columns):
            if column.bounds is not None:
                v = self.value[train[train[:, c] < self.vocab_size, c]]
                self.scale[c] = v.mean(), v.std()
        found = self.encode(train)
        # the imputer wants room between them
        self.least, self.most = np.nanmin(found, 0), np.nanmax(found, 0) + 1e-9

    def encode(self, x: np.ndarray) -> np.ndarray:
        parts = []
        for c, column in enumerate(self.table.columns):
            there = x[:, c, None] < self.vocab_size
            if column.bounds is None:
                parts.append(
                    np.where(
                        there, x[:, c, None] == np.arange(*self.table.first[c : c + 2]), np.nan
                    )
                )
            else:
                mean, std = self.scale[c]
                parts.append(np.where(there, (self.value[x[:, c, None]] - mean) / std, np.nan))
        return np.concatenate(parts, 1)

    def decode(self, features: np.ndarray) -> list[np.ndarray]:
        """A column each: tokens of categories, values of numbers."""
        found, at = [], 0
        for c, column in enumerate(self.table.columns):
            wide = len(column.values) if column.bounds is None else 1
            part = features[:, at : at + wide]
            found.append(
                self.table.first[c] + part.argmax(1)
                if column.bounds is None
                else part[:, 0] * self.scale[c][1] + self.scale[c][0]
            )
            at += wide
        return found


def values_of(table) -> np.ndarray:
    """(vocab_size + 1,) the number of every token that is one, else NaN."""
    numbers = [
        math.nan if column.bounds is None else parse_number(v)
        for column in table.columns
        for v in column.values
    ]
    return np.array([*numbers, math.nan], float)


def score(table, x: dict, truth: np.ndarray, guess, removed: np.ndarray, mean=None) -> dict:
    """guess: tokens (rows, columns), or a column each as `Features.decode` gives them; mean:
    likewise, numbers for the squared error."""
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
        squared.append(
            float(
                np.square((of if mean is None else column_of(mean, c)) - value[real]).mean()
                / std**2
            )
        )
    return {
        "accuracy": float(np.mean(right)),
        "absolute": float(np.mean(absolute)),
        "root_square": math.sqrt(float(np.mean(squared))),
    }


# ---------------------------------------------------------------- synthetic rows


def synthetic(model, data, x: dict, seed: int) -> dict:
    """A classifier of the last column trained on samples and on real rows; and samples that are
    training rows."""
    generator = torch.Generator().manual_seed(seed)
    drawn = np.concatenate([
        sample(model, num=2000, length=data.length, steps=128, generator=generator).numpy() for _ in range(SYNTHETIC // 2000)
    ])  # fmt: skip
    random = np.random.default_rng((seed, 1))
    some = x["train"][random.permutation(len(x["train"]))[:SYNTHETIC]]
    found = {}
    for name, rows in (("synthetic", drawn), ("real", some), ("all real", x["train"])):
        found[name] = classify(data.tokenizer, rows, x["test"], seed)
    kept = [c for c, name in enumerate(data.tokenizer.names) if name != "fnlwgt"]

    def keys(rows: np.ndarray) -> list[bytes]:
        return [row.tobytes() for row in rows[(rows < data.vocab_size).all(1)][:, kept].astype(int)]

    known = set(keys(x["train"]))
    for name, rows in (("samples", drawn), ("test rows", x["test"])):
        found[f"training rows among the {name}"] = mean_and_error(
            np.array([key in known for key in keys(rows)], float)
        )
    return found


def classify(table, rows: np.ndarray, test: np.ndarray, seed: int) -> dict:
    kinds = [column.bounds is None for column in table.columns[:-1]]
    first = table.first[:-2]

    def features(x: np.ndarray) -> np.ndarray:
        return np.where(x[:, :-1] < table.vocab_size, x[:, :-1] - first, -1)

    classifier = HistGradientBoostingClassifier(categorical_features=kinds, random_state=seed).fit(
        features(rows), rows[:, -1]
    )
    p = classifier.predict_proba(features(test))[:, 1]
    truth = test[:, -1] == classifier.classes_[1]
    return {"accuracy": float(((p > 0.5) == truth).mean()), "auc": float(roc_auc_score(truth, p))}


# ---------------------------------------------------------------- in words


def summarise(result: dict) -> None:
    """The tables, means over seeds with their standard errors."""

    def over_seeds(get) -> str:
        values = np.array([get(found) for found in result["seeds"]])
        error = f" +- {values.std(ddof=1) / math.sqrt(len(values)):.4f}" if len(values) > 1 else ""
        return f"{values.mean():.4f}{error}"

    print("\nheld-out nats per row")
    for name, row in result["baselines"].items():
        print(f"  {name:28} {row['mean']:.3f} +- {row['stderr']:.3f} (over rows)")
    print(
        f"  {'unmask, an upper bound':28} {over_seeds(lambda f: f['nats_per_row']['mean'])} (over seeds)"
    )
    print(
        f"  {'chain less unmask, row by row':28} {over_seeds(lambda f: f['less than the boosted chain']['mean'])} (over seeds)"
    )
    for share in map(str, SHARES):
        print(
            f"\n{float(share):.0%} of cells removed: accuracy of categories, absolute error and root square error of numbers"
        )
        for name in result["seeds"][0]["imputation"][share]:
            cells = [
                over_seeds(lambda f, k=k, n=name, s=share: f["imputation"][s][n][k])
                for k in ("accuracy", "absolute", "root_square")
            ]
            print(f"  {name:28} " + "   ".join(cells))
    print("\na classifier of the income, tested on real rows: accuracy, area under the curve")
    for name in ("synthetic", "real", "all real"):
        print(
            f"  trained on {name:17} "
            + "   ".join(
                over_seeds(lambda f, k=k, n=name: f["synthetic"][n][k]) for k in ("accuracy", "auc")
            )
        )
    print(
        "\nshare of complete rows that equal a training row, without fnlwgt, numbers as their bins"
    )
    for name in ("samples", "test rows"):
        print(
            f"  {name:28} {over_seeds(lambda f, n=name: f['synthetic'][f'training rows among the {n}']['mean'])}"
        )


if __name__ == "__main__":
    sys.exit(main())
