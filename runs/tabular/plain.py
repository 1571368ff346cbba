"""Rivals that need PyTorch at most: columns by themselves, resampled rows, a copula."""

import numpy as np
import torch

from tabular.cells import Clock
from tabular.method import Method, histogram
from tabular.sets import Known, Part

NEIGHBOURS = 5
OFTEN = 0.01  # a number that more rows than this share have is kept as it is by noise
NOISE, REDRAWN = 0.1, 0.05  # of the smoothed bootstrap: standard deviations, share of categories
CHUNK = 1024


class Uniform(Method):
    name = "uniform"
    about = "every value of a column is as probable as another; it makes no rows"

    def nats(self, rows: Part) -> np.ndarray:
        return np.full(len(rows), np.log(self.known.sizes).sum())


class Independent(Method):
    name = "independent"
    about = "each column drawn by itself from its training cells; nats with one more of each value"

    def sample(self, n: int) -> Part:
        train, columns = self.known.train, range(len(self.known.sizes))
        chosen = [self.random.integers(len(train), size=n) for _ in columns]
        codes = np.stack([train.codes[rows, c] for c, rows in enumerate(chosen)], 1)
        return Part(codes, np.stack([train.numbers[rows, c] for c, rows in enumerate(chosen)], 1))

    def nats(self, rows: Part) -> np.ndarray:
        laws = (
            histogram(self.known.train.codes[:, c], size) for c, size in enumerate(self.known.sizes)
        )
        return -sum(np.log(law[rows.codes[:, c]]) for c, law in enumerate(laws))


class Bootstrap(Method):
    name = "bootstrap"
    about = (
        f"training rows with noise: {NOISE} standard deviations on numbers that at most one row in "
        f"a hundred has, within the column's range, and {REDRAWN:.0%} of the categories drawn anew"
    )

    def sample(self, n: int) -> Part:
        train = self.known.train
        chosen = self.random.integers(len(train), size=n)
        codes, numbers = train.codes[chosen].copy(), train.numbers[chosen].copy()
        for c in range(len(self.known.sizes)):
            if not self.known.number[c]:
                anew = self.random.random(n) < REDRAWN
                drawn = self.random.integers(len(train), size=n)
                codes[:, c] = np.where(anew, train.codes[drawn, c], codes[:, c])
                continue
            column = train.numbers[:, c]
            value, counts = np.unique(column, return_counts=True)
            own = np.isin(numbers[:, c], value[counts > OFTEN * len(column)])
            noisy = numbers[:, c] + NOISE * column.std() * self.random.standard_normal(n)
            noisy = noisy.clip(column.min(), column.max())
            numbers[:, c] = np.where(own, numbers[:, c], noisy)
        return self.known.rounded(Part(codes, numbers))


def space(known: Known, part: Part) -> torch.Tensor:
    """(n, features) standardised numbers, and categories such that two that differ are one standard
    deviation apart."""
    columns = []
    for c, size in enumerate(known.sizes):
        if known.number[c]:
            column = known.train.numbers[:, c]
            columns.append((part.numbers[:, c, None] - column.mean()) / (column.std() or 1.0))
        else:
            columns.append((part.codes[:, c, None] == np.arange(size)) / np.sqrt(2))
    return torch.from_numpy(np.concatenate(columns, 1).astype(np.float32))


def nearest(of: torch.Tensor, among: torch.Tensor, count: int) -> np.ndarray:
    """(n, count) the numbers of the closest rows of `among`, the closest first."""
    half = among.square().sum(1) / 2
    found = []
    for rows in of.split(CHUNK):
        found.append((half - rows @ among.T).topk(count, largest=False).indices)
    return torch.cat(found).numpy()


class Smote(Method):
    name = "smote"
    about = (
        f"between a training row and one of its {NEIGHBOURS} nearest: numbers at a random point of "
        "the way, each category from the nearer end with the probability of that point"
    )

    def fit(self, clock: Clock) -> None:
        at = space(self.known, self.known.train)
        found = nearest(at, at, min(NEIGHBOURS + 1, len(at)))
        own = found == np.arange(len(at))[:, None]
        own[~own.any(1), -1] = True  # a row with many equals may not find itself
        self.neighbours = found[~own].reshape(len(at), -1)

    def sample(self, n: int) -> Part:
        train = self.known.train
        one = self.random.integers(len(train), size=n)
        which = self.random.integers(self.neighbours.shape[1], size=n)
        other, way = self.neighbours[one, which], self.random.random((n, 1))
        numbers = train.numbers[one] * (1 - way) + train.numbers[other] * way
        far = self.random.random(train.codes[one].shape) < way
        codes = np.where(far, train.codes[other], train.codes[one])
        return self.known.rounded(Part(codes, numbers))


class Copula(Method):
    name = "copula"
    about = (
        "a Gaussian copula: correlations of the normal scores of ranks, ties broken at random, "
        "categories ordered by frequency; back by the training quantiles"
    )

    def fit(self, clock: Clock) -> None:
        train, scores = self.known.train, []
        self.order = []  # of each column of categories: its codes, the most frequent first
        for c, size in enumerate(self.known.sizes):
            column = train.numbers[:, c]
            self.order.append(np.argsort(-np.bincount(train.codes[:, c], minlength=size)))
            if not self.known.number[c]:
                column = np.argsort(self.order[c])[train.codes[:, c]]
            ranks = np.empty(len(train))
            ranks[np.lexsort((self.random.random(len(train)), column))] = np.arange(len(train))
            scores.append(torch.special.ndtri(torch.from_numpy((ranks + 0.5) / len(train))))
        self.correlation = np.corrcoef(torch.stack(scores).numpy())

    def sample(self, n: int) -> Part:
        train, sizes = self.known.train, self.known.sizes
        size = len(sizes)
        normal = self.random.multivariate_normal(np.zeros(size), self.correlation, n)
        share = torch.special.ndtr(torch.from_numpy(normal)).numpy()
        codes, numbers = np.zeros((n, size), np.int64), np.full((n, size), np.nan)
        for c in range(size):
            if self.known.number[c]:
                numbers[:, c] = np.quantile(train.numbers[:, c], share[:, c])
                continue
            counts = np.bincount(train.codes[:, c], minlength=sizes[c])[self.order[c]]
            place = np.searchsorted(counts.cumsum() / len(train), share[:, c], side="right")
            codes[:, c] = self.order[c][place.clip(max=np.count_nonzero(counts) - 1)]
        return self.known.rounded(Part(codes, numbers))
