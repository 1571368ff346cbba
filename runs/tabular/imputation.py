"""Removed cells of test rows, guessed by every method: the same cells for all.

Which they are, and what is scored, is said in `removal.py`.  No method is told how they were
removed; all learn from cells that are missing at random.

unmask is the model of the cell `unmask`, which learned from all training rows; the others get
LEARNED of them.  Nearest neighbours get them whole.  The iterative ridge and the forests get rows
in which a share between the least and the largest rate is removed at random, of its own in each
row, and are fitted once, as ours is.  A forest a column: what its trees say of categories, and for
numbers the training values in the leaves of a row (Meinshausen, 2006).
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.impute import KNNImputer

from tabular.cells import Times
from tabular.method import histogram
from tabular.ours import trained
from tabular.removal import MECHANISMS, SHARES, Guesses, moments, none_of, removed_cells, scores
from tabular.sets import Known, Part
from unmask.filling import Filler
from unmask.kinds.tables.holes import partials

IMPUTED, LEARNED = 1000, 8000  # test rows, and training rows that the imputers learn from
NEIGHBOURS, TREES, ROUNDS, PENALTY = 10, 60, 5, 1.0
INTERVAL = (0.05, 0.5, 0.95)


# ---------------------------------------------------------------- methods


class Bins(NamedTuple):
    """Of the bins of a column of numbers: the least, largest and mean training number of each."""

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray

    @classmethod
    def make(cls, known: Known, c: int) -> "Bins":
        codes, numbers = known.train.codes[:, c], known.train.numbers[:, c]
        size = len(known.table.columns[c].values)
        low, high = np.full(size, np.inf), np.full(size, -np.inf)
        np.minimum.at(low, codes, numbers)
        np.maximum.at(high, codes, numbers)
        counts = np.bincount(codes, minlength=size)
        return cls(low, high, np.bincount(codes, numbers, size) / np.maximum(counts, 1))

    def quantiles(self, p: np.ndarray) -> np.ndarray:
        """(n, 3) those of INTERVAL, of laws (n, size) over bins, even within a bin."""
        p = np.where(np.isfinite(self.low), p, 0)
        total = p.cumsum(1)
        total /= total[:, -1:]
        found = []
        for q in INTERVAL:
            at = (total < q).sum(1).clip(max=p.shape[1] - 1)
            above = total[np.arange(len(p)), at]
            inside = p[np.arange(len(p)), at] / p.sum(1)
            way = 1 - (above - q) / np.maximum(inside, 1e-300)
            found.append(self.low[at] + (self.high[at] - self.low[at]) * way.clip(0, 1))
        return np.stack(found, 1)


def by_laws(known: Known, rows: Part, laws: list[np.ndarray]) -> Guesses:
    """Guesses by the law (n, values) of each cell of each column."""
    shape = rows.codes.shape
    codes, nats = np.zeros(shape, int), np.full(shape, np.nan)
    low, median, high, mean = np.full((4, *shape), np.nan)
    for c, law in enumerate(laws):
        truth = rows.codes[:, c].clip(max=law.shape[1] - 1)
        with np.errstate(divide="ignore"):
            nats[:, c] = -np.log(law[np.arange(len(law)), truth])
        codes[:, c] = law.argmax(1)
        if known.number[c]:
            bins = Bins.make(known, c)
            low[:, c], median[:, c], high[:, c] = bins.quantiles(law).T
            mean[:, c] = law @ bins.mean / law.sum(1)
    return Guesses(codes, median, mean, (low, high), nats)


def of_unmask(known: Known, model, rows: Part, removed: np.ndarray) -> Guesses:
    """By the laws of the removed cells, that each has a value being given."""
    table = known.table
    values = [len(column.values) for column in table.columns]
    cells = np.where(none_of(known, rows), -1, rows.codes)
    tokens = table.tokens(cells)
    hole = np.zeros(tokens.shape, bool)
    hole[:, table.value_at] = removed
    tokens = np.where(hole, table.vocab_size, tokens)
    laws = [np.full((len(rows), size), 1 / size) for size in values]
    for row, place, law in Filler(model).laws(partials(tokens, hole, table.vocab_size)):
        c = table.places[place].column
        of_values = law[table.first[place] :][: values[c]]
        laws[c][row] = of_values / of_values.sum()
    return by_laws(known, rows, laws)


def of_columns(known: Known, rows: Part) -> Guesses:
    """The most frequent category, the median, the mean: every column by itself."""
    laws = []
    for c, column in enumerate(known.table.columns):
        law = histogram(known.train.codes[:, c], known.sizes[c])[: len(column.values)]
        laws.append(np.tile(law / law.sum(), (len(rows), 1)))
    found = by_laws(known, rows, laws)
    for c in np.flatnonzero(known.number):
        column = known.train.numbers[:, c]
        found.mean[:, c] = column.mean()
        for q, of in zip(
            INTERVAL, (found.interval[0], found.median, found.interval[1]), strict=True
        ):
            of[:, c] = np.quantile(column, q)
    return found


class Features:
    """Rows as standardised numbers and one-hot categories, NaN where a cell is not known."""

    def __init__(self, known: Known):
        self.known = known
        self.values = [len(column.values) for column in known.table.columns]
        self.mean, self.std = moments(known)

    def encode(self, rows: Part, hidden: np.ndarray) -> np.ndarray:
        hidden = hidden | none_of(self.known, rows)
        parts = []
        for c, size in enumerate(self.values):
            if self.known.number[c]:
                part = (rows.numbers[:, c, None] - self.mean[c]) / self.std[c]
            else:
                part = (rows.codes[:, c, None] == np.arange(size)).astype(float)
            parts.append(np.where(hidden[:, c, None], np.nan, part))
        return np.concatenate(parts, 1)

    def guesses(self, features: np.ndarray) -> Guesses:
        shape = len(features), len(self.values)
        codes, numbers, at = np.zeros(shape, int), np.full(shape, np.nan), 0
        for c, size in enumerate(self.values):
            if self.known.number[c]:
                numbers[:, c], at = features[:, at] * self.std[c] + self.mean[c], at + 1
            else:
                codes[:, c], at = features[:, at : at + size].argmax(1), at + size
        return Guesses(codes, numbers, numbers)


class Ridge:
    """Linear regressions of each column on all others, in turn and in rounds, of what was guessed
    before; the categories of a column together.

    scikit-learn's IterativeImputer takes each one-hot column by itself: those of one column tell
    one another, and stay as they begin.
    """

    def __init__(self, space: "Features", features: np.ndarray):
        self.blocks, at = [], 0
        for size, number in zip(space.values, space.known.number, strict=True):
            wide = 1 if number else size
            self.blocks.append(slice(at, at + wide))
            at += wide
        self.mean = np.nan_to_num(np.nanmean(features, 0))
        self.low, self.high = np.nanmin(features, 0), np.nanmax(features, 0)
        self.rounds: list[list[np.ndarray]] = []
        self.run(features, learn=True)

    def run(self, features: np.ndarray, learn: bool = False) -> np.ndarray:
        hole = np.isnan(features)
        found = np.where(hole, self.mean, features)
        for number in range(ROUNDS):
            if learn:
                self.rounds.append([])
            for i, block in enumerate(self.blocks):
                others = np.delete(found, np.arange(block.start, block.stop), 1)
                others = np.concatenate([others, np.ones((len(others), 1))], 1)
                rows = hole[:, block.start]
                if learn:
                    x, y = others[~rows], found[~rows, block]
                    self.rounds[-1].append(
                        np.linalg.solve(x.T @ x + PENALTY * np.eye(x.shape[1]), x.T @ y)
                    )
                said = others[rows] @ self.rounds[number][i]
                found[rows, block] = said.clip(self.low[block], self.high[block])
        return found


class Forests:
    """One a column, of the others."""

    def __init__(self, known: Known, learn: Part, hidden: np.ndarray, seed: int):
        self.known, self.learn = known, learn
        self.features = self.encode(learn, hidden)
        self.forests, self.rows = [], []
        missing = none_of(known, learn)
        for c in range(learn.codes.shape[1]):
            kind = RandomForestRegressor if known.number[c] else RandomForestClassifier
            forest = kind(TREES, min_samples_leaf=5, max_features=0.5, random_state=seed)
            rows = np.flatnonzero(~missing[:, c])
            y = (learn.numbers if known.number[c] else learn.codes)[rows, c]
            self.forests.append(forest.fit(np.delete(self.features[rows], c, 1), y))
            self.rows.append(rows)

    def encode(self, rows: Part, hidden: np.ndarray) -> np.ndarray:
        """Codes, of numbers those of their bins; NaN where a cell is not known."""
        return np.where(hidden | none_of(self.known, rows), np.nan, rows.codes)

    def guesses(self, rows: Part, removed: np.ndarray) -> Guesses:
        x, shape = self.encode(rows, removed), rows.codes.shape
        codes = np.zeros(shape, int)
        low, median, high, mean = np.full((4, *shape), np.nan)
        for c, forest in enumerate(self.forests):
            at = np.flatnonzero(removed[:, c])
            if not len(at):
                continue
            others = np.delete(x[at], c, 1)
            if not self.known.number[c]:
                codes[at, c] = forest.predict(others)
                continue
            weight = self.weights(c, others)
            value = self.learn.numbers[self.rows[c], c]
            order = np.argsort(value)
            total = weight[:, order].cumsum(1)
            of = [value[order][(total < q).sum(1).clip(max=len(order) - 1)] for q in INTERVAL]
            low[at, c], median[at, c], high[at, c] = of
            mean[at, c] = weight @ value
        return Guesses(codes, median, mean, (low, high))

    def weights(self, c: int, others: np.ndarray) -> np.ndarray:
        """(n, training rows) how much each counts: Meinshausen (2006), equation 5."""
        forest = self.forests[c]
        of_train = forest.apply(np.delete(self.features[self.rows[c]], c, 1))
        found = np.zeros((len(others), len(of_train)))
        for a, b in zip(forest.apply(others).T, of_train.T, strict=True):
            same = a[:, None] == b
            found += same / same.sum(1, keepdims=True)
        return found / len(forest.estimators_)


# ---------------------------------------------------------------- all of them


def imputation(known: Known, run: Path, seed: int, threads: int) -> dict:
    """All methods at all rates and by both mechanisms; `run`: the folder of our model."""
    torch.set_num_threads(threads)
    random, times = np.random.default_rng((seed, 4)), Times()
    rows = known.test.take(random.permutation(len(known.test))[:IMPUTED])
    learn = known.train.take(random.permutation(len(known.train))[:LEARNED])
    share = random.uniform(SHARES[0], SHARES[-1], (len(learn), 1))
    hidden, whole = random.random(learn.codes.shape) < share, np.zeros(learn.codes.shape, bool)
    with times.stage("unmask"):
        model = trained(run)
    space = Features(known)
    with times.stage("nearest neighbours"):
        neighbours = KNNImputer(n_neighbors=NEIGHBOURS).fit(space.encode(learn, whole))
    with times.stage("iterative ridge"):
        ridge = Ridge(space, space.encode(learn, hidden))
    with times.stage("random forests"):
        forests = Forests(known, learn, hidden, seed)
    methods = {
        "unmask": lambda removed: of_unmask(known, model, rows, removed),
        "columns alone": lambda removed: of_columns(known, rows),
        "nearest neighbours": lambda removed: space.guesses(
            neighbours.transform(space.encode(rows, removed))),
        "iterative ridge": lambda removed: space.guesses(
            ridge.run(space.encode(rows, removed))),
        "random forests": lambda removed: forests.guesses(rows, removed),
    }  # fmt: skip
    found: dict = {}
    for mechanism in MECHANISMS:
        for rate in SHARES:
            drawn = np.random.default_rng((seed, 6, round(100 * rate)))
            removed = removed_cells(known, rows, mechanism, rate, drawn)
            of_each = found.setdefault(mechanism, {}).setdefault(str(rate), {})
            of_each["removed"] = float(removed.sum() / (~none_of(known, rows)).sum())
            for name, guess in methods.items():
                with times.stage(f"{name}, {mechanism}, {rate}"):
                    of_each[name] = scores(known, rows, removed, guess(removed), seed)
    return {"imputation": found, "rows": {"test": len(rows), "learned": len(learn)}} | {
        "times": times
    }
