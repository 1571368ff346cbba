"""MAUVE (Pillutla et al. 2021, arXiv 2102.01454) of features of samples and of real examples.

The features of both sides, each scaled to length 1, and of those the principal components with 90 %
of the variance, are clustered together by k-means; from the shares of
the clusters on either side follow the divergences of each from mixtures of both, and MAUVE is the
area under that curve: 1 for equal shares.  The clusters and the curve are those of the authors'
package, mauve-text, with the settings that it has by itself.
"""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any

import numpy as np

from unmask.kinds.quality import Measure, Part, Value

SCALE = 5  # of divergences
SEEDS = 3  # clusterings, to see what another one changes
FEW = 1000  # examples of a side: the paper has 5,000
LEAST = 4  # of a side
HALVED = 40  # real examples: of halves of fewer there would be one cluster, or two
VARIANCE = 0.9  # of the principal components that are clustered
LARGEST = 2**31 - 16  # seed: mauve-text and faiss count on from it, in 32 bits
APART = 6  # digits of features of length 1: what differs in fewer is one point
# of faiss, which wants more examples a cluster than the ten there are by MAUVE's rule
ASIDE = re.compile(rb"WARNING clustering .*\n")


def load() -> Callable[..., Any]:
    """`compute_mauve` of mauve-text.  ValueError where that is not installed."""
    try:
        from mauve.compute_mauve import compute_mauve
    except ImportError:
        raise ValueError(
            "--mauve is computed by mauve-text, which is not installed: pip install 'unmask[mauve]'"
        ) from None
    return compute_mauve


def compare(samples: np.ndarray, real: np.ndarray, of: str, seed: int) -> Part:
    """MAUVE of all samples and all real examples, features (n, D) and (m, D); and of half as many
    of either and of the other half of the real ones, which are of one size and can be compared.

    of: whose features they are, in words.  ValueError for features that cannot be clustered.
    """
    check_seed(seed)
    points = check(samples, real)
    random, half = np.random.default_rng(seed), len(real) // 2
    order = random.permutation(len(real))
    first, second = real[order[:half]], real[order[half : 2 * half]]
    like = halves = None
    if len(real) >= HALVED:
        halves = Value(area(first, second, seed)[0])
    if halves is not None and len(samples) >= half:
        some = random.permutation(len(samples))[:half]
        like = Value(area(samples[some], second, seed)[0])
    value, clusters = area(samples, real, seed)
    others = [area(samples, real, seed + i)[0] for i in range(1, SEEDS)]
    beside = ""
    if like is not None:
        beside = "; real: of two halves, as many as the samples in the column beside it"
    elif halves is not None:
        beside = f"; real: of two halves of {half:,} each, more than the {len(samples):,} samples"
    says = (
        f"area under the curve of divergences of clusters of {samples.shape[1]:,} features of {of},"
        f" the principal components with {VARIANCE:.0%} of the variance, scaled by {SCALE}; 1 for "
        f"equal shares of all clusters{beside}; small sets have more"
    )
    span = f"{min(value, *others):.4g} to {max(value, *others):.4g}"
    notes = [
        f"MAUVE is of features of {of}: {len(samples):,} samples and {len(real):,} real examples, "
        f"{clusters:,} clusters, scaling factor {SCALE}, seed {seed}, by mauve-text "
        f"{version('mauve-text')}; with {SEEDS - 1} other seeds of the clusters it is in {span}; "
        "it compares only with figures of the same features, numbers of examples and settings"
    ]
    if points < clusters:
        notes.append(
            f"the features are {points:,} different points, fewer than the {clusters:,} clusters: "
            "most of these are empty"
        )
    if halves is None:
        notes.append(
            f"{len(real):,} real examples are too few for MAUVE of their halves, for which "
            f"{HALVED} are needed: what real ones have is not known"
        )
    fewest = min(len(samples), half)
    if fewest < FEW:
        notes.append(
            f"{fewest:,} examples are few for MAUVE, which is larger and less sure the fewer there "
            "are: its paper has 5,000 of a side"
        )
    told = {
        "features": of, "dimensions": samples.shape[1], "n": [len(samples), len(real)],
        "clusters": clusters, "scaling_factor": SCALE,
        "explained_variance": VARIANCE, "whitened": False, "points": points,
        "seed": seed, "other_seeds": others, "version": version("mauve-text"),
    }  # fmt: skip
    measure = Measure("mauve", "MAUVE", says, 1.0, Value(value), halves, like)
    return Part([measure], notes, {"mauve": told})


def check_seed(seed: int) -> None:
    """ValueError for a seed from which mauve-text cannot count on."""
    if seed > LARGEST:
        raise ValueError(f"--seed is at most {LARGEST} for MAUVE, not {seed}: give a smaller one")


def check_number(found: int, side: str, left: int = 0) -> None:
    """ValueError for a side of too few examples, `left` not counted, which have no token."""
    if found < LEAST:
        without = f", {left} without a token left out," * bool(left)
        raise ValueError(
            f"MAUVE of {found} {side}{without} is none, and {LEAST} are needed: give more"
        )


def check(samples: np.ndarray, real: np.ndarray) -> int:
    """How many different points the features are, scaled to length 1.

    ValueError for features that are not of one network, or that cannot be clustered.
    """
    if samples.shape[1] != real.shape[1]:
        raise ValueError(
            f"the samples have {samples.shape[1]:,} features, and the real examples "
            f"{real.shape[1]:,}: give those of one network"
        )
    scaled = []
    for side, features in (("samples", samples), ("real examples", real)):
        check_number(len(features), side)
        norms = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
        bad = int((~np.isfinite(norms) | (norms == 0)).sum())
        if bad:
            raise ValueError(
                f"the features of {bad:,} of {len(features):,} {side} are not finite, or all 0: "
                "give those of another network, or in float32"
            )
        scaled.append(features / norms)
    points = len(np.unique(np.concatenate(scaled).round(APART) + 0.0, axis=0))
    if points == 1:
        raise ValueError(
            "the features, scaled to length 1, are the same of all examples: give those of another "
            "network"
        )
    return points


def area(p: np.ndarray, q: np.ndarray, seed: int) -> tuple[float, int]:
    """MAUVE of two sets of features, and in how many clusters: a tenth of the smaller set.

    The area is taken along the curve.  mauve-text 0.4 sorts its points first, which is the same but
    where some are equal: of equal shares of two clusters it says 0.75, and here it is 1.
    """
    with without_asides():
        found = load()(
            p_features=p, q_features=q, mauve_scaling_factor=SCALE, seed=seed,
            kmeans_explained_var=VARIANCE,
        )  # fmt: skip
    x, y = found.divergence_curve.T  # from (1, 0) to (0, 1)
    return float(((x[:-1] - x[1:]) * (y[:-1] + y[1:]) / 2).sum()), int(found.num_buckets)


@contextmanager
def without_asides() -> Iterator[None]:
    """Without what faiss says by itself on standard error, past Python."""
    sys.stderr.flush()
    try:
        kept = os.dup(2)
    except OSError:  # it is closed: nobody hears anything
        yield
        return
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            said.seek(0)
            os.write(2, ASIDE.sub(b"", said.read()))


def check_texts(rows: Sequence[Sequence[np.ndarray]]) -> None:
    """ValueError for too few samples or real examples, both as rows, that have a token."""
    for side, of_side in zip(("samples", "real examples"), rows, strict=True):
        known = sum(len(row) > 0 for row in of_side)
        check_number(known, side, len(of_side) - known)


def of_texts(judge: Any, rows: Sequence[Sequence[np.ndarray]], seed: int) -> Part:
    """Of samples and real examples, both as rows of a `judges.Causal`."""
    known = [[row for row in side if len(row)] for side in rows]
    samples, real = (judge.features(side) for side in known)
    of = f"{judge.name}, its last hidden state at the last of at most {judge.most:,} tokens"
    found = compare(samples, real, of, seed)
    left = sum(map(len, rows)) - sum(map(len, known))
    if not left:
        return found
    return found._replace(notes=[*found.notes, f"MAUVE leaves out {left:,} texts without a token"])
