"""Rivals with a likelihood, of scikit-learn's trees: p(row) is a product over columns, from left to
right, of p(column given those before it).

They see numbers by the bins of the prepared data, and write one of a bin's training numbers.
"""

import copy

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from tabular.cells import Clock
from tabular.method import Groups, Method, Urns, draw, histogram
from tabular.sets import Part

CHUNK = 4096  # rows whose laws are held at a time
WITHIN = 0.95  # of the budget, that fits plan with
# cart: the least rows of a leaf, the first one tried first; how many rows the histogram counts for
LEAVES, PRIORS = (20, 80, 5, 250), (1.0, 5.0, 20.0)
# boosted: shares of the histogram in the law
MIXED = (0.001, 0.01, 0.1)
ROUNDS, FIRST = 10, 2  # between two looks at the validation rows; to learn what a round costs
RATES = 0.05, 0.3  # learning rates: 4 over the rounds that fit into the budget, between these
LEAST = 1e-4  # nats of a cell that more rounds have to gain
CARDINALITY = 255  # the most categories that the boosted trees know


class Chain(Method):
    def law(self, c: int, codes: np.ndarray) -> np.ndarray:
        """(n, size) of column c, given the columns before it."""
        raise NotImplementedError

    def nats(self, rows: Part) -> np.ndarray:
        found = np.zeros(len(rows))
        for first in range(0, len(rows), CHUNK):
            codes = rows.codes[first : first + CHUNK]
            for c in range(codes.shape[1]):
                p = self.law(c, codes[:, :c])[np.arange(len(codes)), codes[:, c]]
                found[first : first + CHUNK] -= np.log(p)
        return found

    def gain(self, p: np.ndarray, c: int) -> float:
        """Mean log p(validation cell) of a law (rows, size) of column c."""
        truth = self.known.validation.codes[:, c]
        return float(np.log(p[np.arange(len(truth)), truth]).mean())


class Cart(Chain):
    name = "cart"
    about = (
        "a decision tree a column, which draws one of the training values of a leaf, as synthpop "
        "does; nats by the leaf's counts, smoothed with a few rows of the column's histogram of "
        "one more of each value; leaf sizes and smoothing by validation nats"
    )

    def features(self, codes: np.ndarray) -> np.ndarray:
        columns = []
        for c in range(codes.shape[1]):
            if self.known.number[c]:
                columns.append(codes[:, c, None])
            else:
                columns.append(codes[:, c, None] == np.arange(self.known.sizes[c]))
        return np.concatenate(columns, 1).astype(np.float32)

    def fit(self, clock: Clock) -> None:
        train, count = self.known.train, len(self.known.sizes)
        self.groups = [Groups.make(self.known, c) for c in range(count)]
        self.trees, self.laws, self.urns = [], [], []
        self.notes |= {"columns": {}, "leaf sizes not tried": 0}
        for c in range(count):
            groups, began = self.groups[c], clock.used
            allowed = WITHIN * clock.left / (count - c)
            best, cost = None, 0.0
            for leaf in LEAVES:
                if leaf != LEAVES[0] and (c == 0 or clock.used - began + cost > allowed):
                    self.notes["leaf sizes not tried"] += int(c > 0)
                    continue
                before = clock.used
                one = self.grown(c, groups, train, leaf)
                cost = clock.used - before
                if best is None or one[0] > best[0]:
                    best = one
            _, said, tree, laws, urns = best
            self.trees.append(tree)
            self.laws.append(laws)
            self.urns.append(urns)
            self.notes["columns"][self.known.table.names[c]] = said

    def grown(self, c: int, groups: Groups, train: Part, least: int) -> tuple:
        """(validation gain, what it is, the tree, the laws of its leaves, their training rows)."""
        tree, leaf, held = (
            None,
            np.zeros(len(train), int),
            np.zeros(len(self.known.validation), int),
        )
        nodes = 1
        if c:
            kind = DecisionTreeRegressor if self.known.number[c] else DecisionTreeClassifier
            tree = kind(min_samples_leaf=least, random_state=self.seed)
            x = self.features(train.codes[:, :c])
            tree.fit(x, train.codes[:, c])
            leaf, nodes = tree.apply(x), tree.tree_.node_count
            held = tree.apply(self.features(self.known.validation.codes[:, :c]))
        group = groups.of[train.codes[:, c]]
        counts = np.bincount(leaf * groups.count + group, minlength=nodes * groups.count)
        counts = counts.reshape(nodes, groups.count)
        alone = histogram(train.codes[:, c], self.known.sizes[c])
        alone = np.bincount(groups.of, alone)
        tried = []
        for prior in PRIORS:
            laws = (counts + prior * alone) / (counts.sum(1, keepdims=True) + prior)
            said = {"leaf": least, "leaves": len(np.unique(leaf)), "prior": prior}
            tried.append((self.gain(groups.law(laws[held]), c), said, laws))
        gain, said, laws = max(tried, key=lambda one: one[0])
        return gain, said, tree, laws, Urns(leaf, nodes)

    def leaf(self, c: int, codes: np.ndarray) -> np.ndarray:
        if self.trees[c] is None:
            return np.zeros(len(codes), int)
        return self.trees[c].apply(self.features(codes))

    def law(self, c: int, codes: np.ndarray) -> np.ndarray:
        return self.groups[c].law(self.laws[c][self.leaf(c, codes)])

    def sample(self, n: int) -> Part:
        train, count = self.known.train, len(self.known.sizes)
        codes, numbers = np.zeros((n, count), np.int64), np.full((n, count), np.nan)
        for c in range(count):
            rows = self.urns[c].draw(self.leaf(c, codes[:, :c]), self.random)
            codes[:, c], numbers[:, c] = train.codes[rows, c], train.numbers[rows, c]
        return Part(codes, numbers)


class Boosted(Chain):
    name = "boosted"
    about = (
        "a chain of gradient-boosted trees (HistGradientBoostingClassifier): a number's bin, or "
        "one of 32 groups of them, then one of its training numbers; rounds by validation nats, "
        "mixed with a little of the column's histogram of one more of each value"
    )

    def fit(self, clock: Clock) -> None:
        count = len(self.known.sizes)
        self.groups = [Groups.make(self.known, c) for c in range(count)]
        self.models, self.alone, self.mixed = [], [], []
        weight = np.array([
            (1 if groups.count == 2 else groups.count) * (c + 2.0) if c else 0.0
            for c, groups in enumerate(self.groups)
        ])  # fmt: skip
        self.notes["columns"] = {}
        for c in range(count):
            law = histogram(self.known.train.codes[:, c], self.known.sizes[c])
            self.alone.append(np.bincount(self.groups[c].of, law))
            self.models.append(None)
            self.mixed.append(1.0)
            if c:
                allowed = WITHIN * clock.left * weight[c] / weight[c:].sum()
                self.fit_column(c, clock, allowed)

    def fit_column(self, c: int, clock: Clock, allowed: float) -> None:
        """Rounds until they gain nothing on validation rows, or the column's time is over."""
        train, groups, began = self.known.train, self.groups[c], clock.used
        y = groups.of[train.codes[:, c]]
        x, held = train.codes[:, :c], self.known.validation.codes[:, :c]
        alone = groups.law(np.tile(self.alone[c], (len(held), 1)))
        best, rounds, said = self.gain(alone, c), 0, "its histogram"
        if len(np.unique(y)) > 1:
            model = self.model(c, FIRST, RATES[1]).fit(x, y)
            a_round = (clock.used - began) / FIRST  # with what a fit costs besides
            affordable = max(1, int((allowed - (clock.used - began)) / a_round))
            rate = float(np.clip(4 / affordable, *RATES))
            model, stop = self.model(c, 0, rate), "validation"
            while True:
                fits = int((allowed - (clock.used - began)) / a_round)
                if rounds and fits < 1:
                    stop = "budget"
                    break
                rounds += min(ROUNDS, max(1, fits))
                before, more = clock.used, rounds - model.max_iter
                model.set_params(max_iter=rounds).fit(x, y)
                laws = {s: self.with_histogram(c, model, held, s) for s in MIXED}
                gains = {s: self.gain(groups.law(p), c) for s, p in laws.items()}
                share, gain = max(gains.items(), key=lambda one: one[1])
                a_round = max((clock.used - before) / more, 1e-4)
                if gain < best + LEAST:
                    break
                best, self.models[c], self.mixed[c] = gain, copy.deepcopy(model), share
                said = {"rounds": rounds, "rate": round(rate, 3), "histogram": share}
            if isinstance(said, dict):
                said["stopped by"] = stop
        self.notes["columns"][self.known.table.names[c]] = said

    def model(self, c: int, rounds: int, rate: float) -> HistGradientBoostingClassifier:
        kinds = [not self.known.number[i] and self.known.sizes[i] <= CARDINALITY for i in range(c)]
        return HistGradientBoostingClassifier(
            max_iter=rounds, learning_rate=rate, max_leaf_nodes=15, l2_regularization=1.0,
            early_stopping=False, warm_start=True, categorical_features=kinds,
            random_state=self.seed,
        )  # fmt: skip

    def with_histogram(self, c: int, model, codes: np.ndarray, share: float) -> np.ndarray:
        """(n, groups) what a model says, with some of the histogram."""
        p = np.tile(share * self.alone[c], (len(codes), 1))
        p[:, model.classes_] += (1 - share) * model.predict_proba(codes)
        return p

    def of_groups(self, c: int, codes: np.ndarray) -> np.ndarray:
        if self.models[c] is None:
            return np.tile(self.alone[c], (len(codes), 1))
        return self.with_histogram(c, self.models[c], codes, self.mixed[c])

    def law(self, c: int, codes: np.ndarray) -> np.ndarray:
        return self.groups[c].law(self.of_groups(c, codes))

    def sample(self, n: int) -> Part:
        train, count = self.known.train, len(self.known.sizes)
        codes, numbers = np.zeros((n, count), np.int64), np.full((n, count), np.nan)
        for c in range(count):
            urns = Urns(self.groups[c].of[train.codes[:, c]], self.groups[c].count)
            for first in range(0, n, CHUNK):
                at = slice(first, first + CHUNK)
                group = draw(self.of_groups(c, codes[at, :c]), self.random)
                rows = urns.draw(group, self.random)
                codes[at, c], numbers[at, c] = train.codes[rows, c], train.numbers[rows, c]
        return Part(codes, numbers)
