"""The Frechet distance of features in files, beside what halves of the real ones have."""

import math
from pathlib import Path

import torch

from unmask.checkpoint import digest
from unmask.evaluation.distance import Distance, Moments, frechet, moments, read_moments
from unmask.kinds.quality import Measure, Part, Value


def read_features(path: Path) -> torch.Tensor:
    """(n, D) of a file, see `read_moments`.  ValueError for moments without them, and for few."""
    found = read_moments(path).features
    if found is None:
        raise ValueError(f"{path} holds mean and covariance alone: give the features themselves")
    if len(found) < 4:
        raise ValueError(f"{path} holds {len(found)} features, and 4 are needed: give more")
    return found


def compare_features(samples: Path, real: Path, seed: int) -> Part:
    """The distance of all samples from all real examples; and of as many of either as half of the
    real ones, or as there are samples, from as many others of the real ones: these can be
    compared."""
    ours, theirs = read_features(samples), read_features(real)
    wide, many = theirs.shape[1], min(len(ours), len(theirs) // 2)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(theirs), generator=generator)
    first, second = (moments(theirs[part]) for part in (order[:many], order[many : 2 * many]))
    some = torch.randperm(len(ours), generator=generator)[:many]
    like = value_of(moments(ours[some]), second, f"{samples} and {real}")
    says = (
        f"squared distance of normal distributions with the moments of {wide:,} features; FID only "
        "if they are of the Inception network that FID is defined by; real: of two parts, as many "
        "as the samples in the column beside it; small sets are further apart"
    )
    whole = value_of(moments(ours), moments(theirs), f"{samples} and {real}")
    parts = value_of(first, second, f"two parts of {real}")
    notes = []
    if many <= wide:
        notes.append(
            f"{many:,} examples are no more than the {wide:,} features: the Frechet distance is "
            "too large, and its error unknown"
        )
    record = {"features_sha256": [digest(samples), digest(real)], "features": wide}
    measure = Measure("frechet", "Frechet distance", says, 0.0, whole, parts, like)
    return Part([measure], notes, record)


def value_of(a: Moments, b: Moments, files: str) -> Value:
    try:
        found: Distance = frechet(a, b)
    except ValueError as error:
        raise ValueError(f"{files}: {error}") from None
    return Value(found.value, found.stderr if math.isfinite(found.stderr) else math.nan)
