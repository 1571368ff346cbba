"""All figures of samples of pictures, each beside that of real pictures that were held out.

No network is asked: what a network sees in pictures, `unmask distance` compares by its features.
"""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unmask.checkpoint import digest
from unmask.kinds.images.listed import blocks_of, files_of, left_out, picture
from unmask.kinds.images.pixels import Pixels, picture_grid, png
from unmask.kinds.quality import Bars, Measure, Picture, Quality
from unmask.kinds.trial import (
    Closer,
    Score,
    Trial,
    check_many,
    check_split,
    make_trial,
    mean_of,
    spread,
)
from unmask.roles import UNKNOWN

PICTURES, VALUES = 2000, 1 << 23  # of a side that are looked at
POSITIONS = 1024  # whose values are compared one by one
TRAINING = 1 << 28  # values of the training pictures among which copies are looked for
AT_A_TIME = 256  # pictures whose distances are computed together
BARS, PAIRS = 24, 8


class Sides(NamedTuple):
    """Tokens (n, D) of samples, real pictures and those that both are held to; and as many training
    pictures as of these, at random."""

    trial: Trial
    samples: np.ndarray
    real: np.ndarray
    reference: np.ndarray
    training: np.ndarray


def judge(data: Any, path: Path, *, split: str, seed: int) -> Quality:
    """Of a file or folder of samples, by the training pictures and a split of `data`."""
    check_split(data, split, "pictures")
    samples, notes = read_samples(path, data.tokenizer, seed)
    check_many(str(path), len(samples))
    sides = make_sides(data, samples, split, seed)
    pixels = data.tokenizer
    found = of_nearest(sides, pixels)
    copies, said = of_copies(data, sides)
    measures = [
        *of_moments(sides, pixels), *of_values(sides, pixels, seed),
        *of_neighbours(sides, pixels), *copies, *found.measures,
    ]  # fmt: skip
    n, m, many = len(sides.samples), len(sides.real), len(sides.reference)
    heading = [
        f"{path}: {n:,} pictures of {data.sides}, beside {m:,} of the {split} split of "
        f"{data.folder}"
    ]
    notes.append(
        f"means, spreads and shares are held to {many:,} other pictures of the {split} split"
    )
    digests = {str(path): digest(path)} if path.is_file() else {}
    return Quality(
        heading=heading, measures=measures, notes=[*notes, *said, found.note],
        bars=bars_of(sides, pixels, found), pictures=pictures_of(sides, pixels, found),
        record={"samples": n, "real": m, "files_sha256": digests},
    )  # fmt: skip


def most_of(pixels: Pixels) -> int:
    """Pictures of a side that are looked at."""
    return max(4, min(PICTURES, VALUES // pixels.length))


def read_samples(path: Path, pixels: Pixels, seed: int) -> tuple[np.ndarray, list[str]]:
    """Tokens (n, D) of an .npz or IDX file, or of a folder of pictures, and notes."""
    most = most_of(pixels)
    if path.is_dir():
        files = files_of(path)
        chosen = some_of(len(files), most, seed)
        found = [picture(files[i], pixels) for i in chosen]
        for i, one in zip(chosen, found, strict=True):
            if (one.role == UNKNOWN).any():
                raise ValueError(f"{files[i]} has transparent pixels: make them opaque")
        arrays, number = np.stack([one.array for one in found]), len(files)
    else:
        blocks = [block.pictures for block in blocks_of(path, pixels)]
        every = np.concatenate(blocks)
        chosen, number = some_of(len(every), most, seed), len(every)
        arrays = every[chosen]
    notes = left_out(path)
    if len(chosen) < number:
        notes.append(f"{len(chosen):,} random ones of the {number:,} samples are looked at")
    return pixels.encode(arrays).astype(np.int64), notes


def some_of(number: int, most: int, seed: int) -> np.ndarray:
    """Numbers of random ones, at most so many, in their order."""
    return np.sort(np.random.default_rng((seed, number)).permutation(number)[:most])


def make_sides(data: Any, samples: np.ndarray, split: str, seed: int) -> Sides:
    held_out, train = (data.tokens(one).reshape(-1, data.length) for one in (split, "train"))
    many = min(len(samples), len(held_out) // 2)
    if many < 2:
        raise ValueError(
            f"{data.folder} has {len(held_out)} {split} pictures, and 4 are needed, half of them "
            "to compare both sides with: prepare the data with more"
        )
    random = np.random.default_rng((seed, 1))
    order = random.permutation(len(held_out))
    like = np.sort(random.permutation(len(samples))[:many])
    reference = order[many:][: min(most_of(data.tokenizer), len(train))]
    training = random.permutation(len(train))[: len(reference)]

    def of(pictures: np.ndarray, numbers: np.ndarray) -> np.ndarray:
        return np.asarray(pictures[np.sort(numbers)]).astype(np.int64)

    trial = make_trial(len(samples), like, seed)
    return Sides(
        trial, samples, of(held_out, order[:many]), of(held_out, reference), of(train, training)
    )


def grey(ids: np.ndarray, pixels: Pixels) -> np.ndarray:
    """(n, D) float64: what tokens are shown as, 0 to 255."""
    return pixels.values[ids].astype(float)


# ---------------------------------------------------------------- means, spreads, values


def of_moments(sides: Sides, pixels: Pixels) -> list[Measure]:
    samples, real, reference = (
        grey(side, pixels) for side in (sides.samples, sides.real, sides.reference)
    )
    measure = sides.trial.measure
    return [
        measure("mean", "mean image", "root mean square difference, over positions, of the mean "
                "value from that of held-out pictures, in steps of 0 to 255", 0.0,
                mean_image(samples, reference), mean_image(real, reference)),
        measure("spread", "spread image", "likewise, of the standard deviation over pictures", 0.0,
                spread_image(samples, reference), spread_image(real, reference)),
    ]  # fmt: skip


def rms(x: np.ndarray) -> float:
    return float(np.sqrt(np.square(x).mean()))


def mean_image(values: np.ndarray, reference: np.ndarray) -> Score:
    told = reference.mean(0)
    return lambda weights: rms(weights @ values / weights.sum() - told)


def spread_image(values: np.ndarray, reference: np.ndarray) -> Score:
    told = reference.std(0)
    squares = np.square(values)

    def score(weights: np.ndarray) -> float:
        mean, square = (weights @ of / weights.sum() for of in (values, squares))
        return rms(np.sqrt(np.maximum(square - mean * mean, 0)) - told)

    return score


def of_values(sides: Sides, pixels: Pixels, seed: int) -> list[Measure]:
    levels = pixels.vocab_size
    three = (sides.samples, sides.real, sides.reference)
    samples, real, reference = (histograms(side, levels) for side in three)
    measure = sides.trial.measure
    found = [
        measure("values", "values", "total variation of how often each value occurs, of all "
                "positions together, from held-out pictures", 0.0,
                of_histograms(samples, reference), of_histograms(real, reference))
    ]  # fmt: skip
    at = some_of(pixels.length, POSITIONS, seed)
    told = distributions(three[2][:, at], levels)(np.ones(len(three[2])))
    samples, real = (distributions(side[:, at], levels) for side in three[:2])
    where = "every position" if len(at) == pixels.length else f"{len(at):,} random positions"
    found.append(
        measure("marginals", "values, by position", "Kolmogorov-Smirnov statistic of the values at "
                f"{where}, against held-out pictures, the mean", 0.0,
                lambda weights: float(np.abs(samples(weights) - told).max(1).mean()),
                lambda weights: float(np.abs(real(weights) - told).max(1).mean()))
    )  # fmt: skip
    return found


def histograms(ids: np.ndarray, levels: int) -> np.ndarray:
    """(n, levels) how often each picture has each value."""
    codes = (np.arange(len(ids))[:, None] * levels + ids).ravel()
    return np.bincount(codes, minlength=len(ids) * levels).reshape(len(ids), levels)


def of_histograms(each: np.ndarray, reference: np.ndarray) -> Score:
    told = reference.sum(0) / reference.sum()

    def score(weights: np.ndarray) -> float:
        found = weights @ each
        return float(np.abs(found / found.sum() - told).sum() / 2)

    return score


def distributions(ids: np.ndarray, levels: int):
    """A function of weights (n,): (positions, levels) the distribution functions of the values."""
    positions = ids.shape[1]
    codes = (np.arange(positions) * levels + ids).ravel()

    def of(weights: np.ndarray) -> np.ndarray:
        each = np.repeat(weights, positions)
        counts = np.bincount(codes, each, minlength=positions * levels)
        return np.cumsum(counts.reshape(positions, levels), 1) / weights.sum()

    return of


# ---------------------------------------------------------------- neighbours


def of_neighbours(sides: Sides, pixels: Pixels) -> list[Measure]:
    samples, real = (
        grey(side, pixels).reshape(-1, *pixels.shape) for side in (sides.samples, sides.real)
    )
    pairs = {
        "beside": ("values side by side", (np.s_[:, :, :-1], np.s_[:, :, 1:])),
        "below": ("values one below another", (np.s_[:, :-1], np.s_[:, 1:])),
        "channels": ("channels at one place", (np.s_[..., :-1], np.s_[..., 1:])),
    }
    found = []
    for key, (what, (first, second)) in pairs.items():
        if not samples[first].size:
            continue
        scores = [correlation(side[first], side[second]) for side in (samples, real)]
        says = f"Pearson's of {what}, over all such pairs of all pictures"
        found.append(sides.trial.measure(
            f"correlation_{key}", f"correlation, {key}", says, None, *scores
        ))  # fmt: skip
    return found


def correlation(x: np.ndarray, y: np.ndarray) -> Score:
    """Of pairs of values of pictures (n, ...); NaN where one of the two does not vary."""
    x, y = (side.reshape(len(side), -1) for side in (x, y))
    number = x.shape[1]
    # of each picture: what the moments of all are sums of
    sums = np.stack([side.sum(1) for side in (x, y, x * x, y * y, x * y)], 1)

    def score(weights: np.ndarray) -> float:
        mean_x, mean_y, xx, yy, xy = weights @ sums / (weights.sum() * number)
        spread = (xx - mean_x * mean_x) * (yy - mean_y * mean_y)
        if spread <= 1e-9:
            return float("nan")
        return float((xy - mean_x * mean_y) / np.sqrt(spread))

    return score


# ---------------------------------------------------------------- copies, nearest pictures


class Nearest(NamedTuple):
    """Of samples: how far each is from the nearest training picture, root mean square, and which;
    and of real pictures how far."""

    distance: np.ndarray
    which: np.ndarray
    real: np.ndarray
    measures: list[Measure]
    note: str


def of_copies(data: Any, sides: Sides) -> tuple[list[Measure], list[str]]:
    """Equal to a training picture in every value."""
    train = data.tokens("train").reshape(-1, data.length)
    step = -(-train.size // TRAINING)
    known = {hashed(row) for row in train[::step]}
    both = [
        np.array([hashed(row.astype(train.dtype)) in known for row in side], float)
        for side in (sides.samples, sides.real)
    ]
    notes = []
    if step > 1:
        notes.append(
            f"copies are looked for among {len(train[::step]):,} of {len(train):,} training "
            "pictures: there may be more"
        )
    says = "share of the pictures that are equal to a training picture in every value"
    scores = [mean_of(side) for side in both]
    return [sides.trial.measure("copies", "copies", says, None, *scores)], notes


def hashed(row: np.ndarray) -> bytes:
    return hashlib.blake2b(row.tobytes(), digest_size=16).digest()


def of_nearest(sides: Sides, pixels: Pixels) -> Nearest:
    """By squared distances of values, whose sums are exact in float64."""
    training, reference = (grey(side, pixels) for side in (sides.training, sides.reference))
    distances, closer = [], []
    which = np.empty(0, np.int64)
    for side in (sides.real, sides.samples):
        values = grey(side, pixels)
        theirs, which = closest(values, training)
        others, record = closest(values, reference)
        half = np.where(theirs == others, 0.5, theirs < others)
        closer.append(Closer(half, np.where(theirs <= others, which, len(training) + record)))
        distances.append(np.sqrt(theirs / pixels.length))
    many = len(training)
    measures = [
        sides.trial.measure(
            "nearest", "nearest, training", "root mean square difference from the nearest of "
            f"{many:,} random training pictures, in steps of 0 to 255, mean over pictures",
            None, mean_of(distances[1]), mean_of(distances[0])),
        sides.trial.closer(
            f"share of the pictures whose nearest one is among {many:,} random training pictures, "
            "not among as many held-out ones; a tie counts half", closer[1], closer[0]),
    ]  # fmt: skip
    note = (
        f"nearest pictures: among {many:,} training pictures and as many held out; "
        f"{(closer[1].values == 0.5).mean():.1%} of the samples tie"
    )
    return Nearest(distances[1], which, distances[0], measures, note)


def closest(values: np.ndarray, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n,) squared distances of values (n, D) to the closest of records (m, D), and which it is."""
    squares = np.square(records).sum(1)
    distance, which = np.empty(len(values)), np.empty(len(values), np.int64)
    for low in range(0, len(values), AT_A_TIME):
        some = values[low : low + AT_A_TIME]
        apart = np.square(some).sum(1)[:, None] - 2 * (some @ records.T) + squares
        which[low : low + len(some)] = apart.argmin(1)
        distance[low : low + len(some)] = apart.min(1)
    return distance, which


# ---------------------------------------------------------------- pictures


def bars_of(sides: Sides, pixels: Pixels, found: Nearest) -> list[Bars]:
    samples, real = (grey(side, pixels) for side in (sides.samples, sides.real))
    edges = np.linspace(0, 256, min(BARS, pixels.vocab_size) + 1)
    shares = [np.histogram(side, edges)[0] / side.size for side in (samples, real)]
    return [
        Bars("values", [f"{edge:.0f}" for edge in edges[:-1]], *shares),
        spread("mean value of a picture", samples.mean(1), real.mean(1)),
        spread("distance to the nearest training picture", found.distance, found.real),
    ]


def pictures_of(sides: Sides, pixels: Pixels, found: Nearest) -> list[Picture]:
    means = [grey(side, pixels).mean(0) for side in (sides.samples, sides.reference)]
    spreads = [grey(side, pixels).std(0) for side in (sides.samples, sides.reference)]
    four = np.round([*means, *spreads]).astype(np.uint8).reshape(4, *pixels.shape)
    near = np.argsort(found.distance, kind="stable")[:PAIRS]
    pairs = np.stack([sides.samples[near], sides.training[found.which[near]]], 1)
    shown = pixels.decode(pairs.reshape(-1, pixels.length))
    return [
        Picture("Means and spreads", "The mean of samples and of held-out pictures, and the "
                "standard deviation of either.", png(picture_grid(four, columns=4))),
        Picture("Nearest to training", "The samples that are nearest to one of the training "
                "pictures that were looked at, each with that one to its right.",
                png(picture_grid(shown, columns=4))),
    ]  # fmt: skip
