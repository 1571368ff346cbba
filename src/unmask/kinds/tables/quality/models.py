"""What needs scikit-learn: classifiers that tell synthetic rows from real ones, and a model that
is trained on synthetic rows and tested on real ones."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from unmask.kinds.quality import Value
from unmask.kinds.tables.quality.curves import area, mean_of
from unmask.kinds.tables.quality.rows import Rows
from unmask.kinds.trial import deviation

FOLDS = 3
ONE_HOT = 200  # categories of a column that have a feature of their own
OF_TREES = 254  # categories of a column that trees tell apart
SEEDS = 2**32  # that scikit-learn takes
CLASSES = 50  # of a target, at most
REPLICATES = 50


def has_sklearn() -> bool:
    return getattr(find_spec("sklearn"), "origin", None) is not None  # a bare folder has none


@contextmanager
def sklearn() -> Iterator[None]:
    """While scikit-learn works: ValueError if it is missing, and no word of its own."""
    if not has_sklearn():
        raise ValueError(
            "scikit-learn, which detection and the model of a target need, is not installed: "
            "pip install 'unmask[quality]'"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a logistic regression that has not converged, say
        yield


# ---------------------------------------------------------------- features


def usual(rows: list[Rows], c: int, most: int) -> np.ndarray:
    """(labels,) the code that each category of a column gets: its own, in order, or -1 if it does
    not occur; beyond `most` categories, the rarer ones share the last."""
    size = len(rows[0].labels[c])
    counts = np.zeros(size, np.int64)
    for side in rows:
        of = side.values[c]
        counts += np.bincount(of[of >= 0], minlength=size)
    used = np.flatnonzero(counts)
    kept = used
    if len(used) > most:
        kept = np.sort(used[np.argsort(-counts[used], kind="stable")[: most - 1]])
    code = np.full(size, -1)
    code[used] = len(kept)
    code[kept] = np.arange(len(kept))
    return code


def linear_features(real: Rows, synthetic: Rows) -> np.ndarray:
    """(real rows, then synthetic ones; features): numbers first, then one-hot categories.

    A missing number is the mean of the real ones; a missing category is a category.
    """
    numbers, categories = [], []
    sides = [real, synthetic]
    for c, field in enumerate(real.fields):
        both = np.concatenate([side.values[c] for side in sides])
        if field.number:
            there = real.values[c][~np.isnan(real.values[c])]
            mean = there.mean() if len(there) else 0.0
            numbers.append(np.where(np.isnan(both), mean, both)[:, None])
            continue
        code = usual(sides, c, ONE_HOT)
        size = int(code.max(initial=-1)) + 1
        of = np.append(code, size)[both]  # -1, the last: missing
        categories.append((of[:, None] == np.arange(size + bool((both < 0).any()))).astype(float))
    return np.concatenate([*numbers, *categories], 1)


def tree_features(sides: list[Rows], left_out: int = -1) -> tuple[list[np.ndarray], list[bool]]:
    """(rows, features) of each side, NaN where a cell is missing, and which are categories."""
    columns: list[list[np.ndarray]] = [[] for _ in sides]
    categories = []
    for c, field in enumerate(sides[0].fields):
        if c == left_out:
            continue
        categories.append(not field.number)
        code = None if field.number else np.append(usual(sides, c, OF_TREES), -1)
        for side, found in zip(sides, columns, strict=True):
            of = side.values[c] if code is None else code[side.values[c]].astype(float)
            found.append(of if code is None else np.where(of < 0, np.nan, of))
    return [np.stack(found, 1) for found in columns], categories


def told(x: np.ndarray, learned: np.ndarray) -> np.ndarray:
    """Features x of rows, 0 where none of the rows that are `learned` from has a value: it tells
    nothing, and trees cannot be cut by it."""
    return np.where(np.isnan(learned).all(0), 0.0, x)


# ---------------------------------------------------------------- detection


class Detection(NamedTuple):
    """How well classifiers tell synthetic rows from real ones, on rows they have not seen."""

    logistic: Value  # area under the curve, the mean over folds
    score: Value  # sdmetrics' LogisticDetection: 1 is ideal
    boosted: Value


def detect(real: Rows, synthetic: Rows, seed: int) -> Detection:
    """Three stratified folds, as sdmetrics cuts them.  The errors are DeLong's in each fold."""
    with sklearn():
        return _detect(real, synthetic, seed % SEEDS)


def _detect(real: Rows, synthetic: Rows, seed: int) -> Detection:
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import RobustScaler

    y = np.hstack([np.ones(len(real)), np.zeros(len(synthetic))])
    linear = linear_features(real, synthetic)
    parts, categories = tree_features([real, synthetic])
    trees = np.concatenate(parts)
    areas: dict[str, list[Value]] = {"logistic": [], "boosted": []}
    for learn, test in StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(linear, y):
        regression = Pipeline([
            ("imputer", SimpleImputer()), ("scaler", RobustScaler()),
            ("classifier", LogisticRegression(solver="lbfgs")),
        ])  # fmt: skip
        boosted = HistGradientBoostingClassifier(
            categorical_features=np.array(categories), random_state=seed, early_stopping=False
        )
        for name, model, x in (("logistic", regression, linear), ("boosted", boosted, trees)):
            x = told(x, x[learn])
            model.fit(x[learn], y[learn])
            said = model.predict_proba(x[test])[:, 1]
            areas[name].append(area(said, y[test]))
    above = [max(0.5, one.value) * 2 - 1 for one in areas["logistic"]]
    logistic, boosted = mean_of(areas["logistic"]), mean_of(areas["boosted"])
    return Detection(logistic, Value(1 - float(np.mean(above)), 2 * logistic.error), boosted)


# ---------------------------------------------------------------- a model of a target


def of_target(train: Rows, test: Rows, target: int, seed: int) -> dict[str, Value]:
    """What gradient-boosted trees that learn a column from the others reach on `test`.

    Categories: the area under the curve, of more than two classes the mean over each against the
    rest, and accuracy.  Numbers: R2 and the root mean square error.  Rows without a target are
    left out.  Errors: DeLong's, or of draws of test rows.
    """
    with sklearn():
        return _of_target(train, test, target, seed % SEEDS)


def _of_target(train: Rows, test: Rows, target: int, seed: int) -> dict[str, Value]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    train, test = (side.take(~side.missing()[:, target]) for side in (train, test))
    if not len(train) or not len(test):
        raise ValueError(
            f"column {train.fields[target].name!r} is missing in all rows: name another --target"
        )
    (x, of_test), categories = tree_features([train, test], target)
    x, of_test = told(x, x), told(of_test, x)
    y, truth = train.values[target], test.values[target]
    how: dict[str, Any] = {"categorical_features": np.array(categories), "random_state": seed}
    how["early_stopping"] = False
    if train.fields[target].number:
        said = HistGradientBoostingRegressor(**how).fit(x, y).predict(of_test)
        return of_regression(said, truth, seed)
    classes = len(train.labels[target])
    said = np.zeros((len(truth), classes))
    if len(np.unique(y)) == 1:  # nothing to learn
        said[:, y[0]] = 1
    else:
        model = HistGradientBoostingClassifier(**how).fit(x, y)
        said[:, model.classes_.astype(int)] = model.predict_proba(of_test)
    return of_classification(said, truth, seed)


def of_classification(said: np.ndarray, truth: np.ndarray, seed: int) -> dict[str, Value]:
    right = (said.argmax(1) == truth).astype(float)
    # where all are right, or none, nothing tells how far that would vary
    error = right.std() / np.sqrt(len(right)) if np.ptp(right) > 0 else np.nan
    accuracy = Value(float(right.mean()), float(error))
    present = np.unique(truth)
    if len(present) == 2:
        first, second = present
        found = area(said[:, second] - said[:, first], truth == second)
        return {"auc": found, "accuracy": accuracy}

    def mean_area(rows: np.ndarray) -> float:
        areas = [area(said[rows, k], truth[rows] == k).value for k in present]
        return float(np.mean([one for one in areas if not np.isnan(one)] or [np.nan]))

    return {"auc": drawn(mean_area, len(truth), seed), "accuracy": accuracy}


def of_regression(said: np.ndarray, truth: np.ndarray, seed: int) -> dict[str, Value]:
    def explained(rows: np.ndarray) -> float:
        of = truth[rows]
        spread = np.square(of - of.mean()).sum()
        return float(1 - np.square(said[rows] - of).sum() / spread) if spread > 0 else np.nan

    def root(rows: np.ndarray) -> float:
        return float(np.sqrt(np.square(said[rows] - truth[rows]).mean()))

    n = len(truth)
    return {"r2": drawn(explained, n, seed), "rmse": drawn(root, n, seed)}


def drawn(statistic, n: int, seed: int) -> Value:
    """A statistic of rows, with its `deviation` over draws of them."""
    random = np.random.default_rng(seed)
    found = np.array([statistic(random.integers(n, size=n)) for _ in range(REPLICATES)])
    return Value(statistic(np.arange(n)), deviation(found))
