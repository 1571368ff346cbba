"""How far apart two sets of samples are, by features that the caller computed.

And how sure and how varied a classifier finds samples.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask import arrays
from unmask.files import no_file

ROUNDING = 1e-24  # of squares: features that vary by less are constant
MOST = 1 << 28  # values of an array that is read: 2 GB of float64


class Moments(NamedTuple):
    """What the distance sees of a set: mean (D,) and covariance (D, D), float64.

    And the features (n, D) themselves, where known.
    """

    mean: Tensor
    covariance: Tensor
    features: Tensor | None = None

    @property
    def num(self) -> int:
        """n, or 0 where it is not known."""
        return 0 if self.features is None else len(self.features)


class Distance(NamedTuple):
    value: float
    of_means: float  # the part |mean - mean'|^2 of it
    stderr: float  # NaN where it is not known


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """The Fréchet distance of normal distributions fitted to features a (n, D) and b (m, D).

    |mean - mean'|^2 + tr(C + C' - 2 (C C')^(1/2)).  With an Inception network's features
    this is FID (Heusel et al. 2017, arXiv 1706.08500); with any others it is not, and is not to be
    called so.  Small samples are biased upwards: compare sets of one size.  ValueError for features
    that do not fit or are not finite.
    """
    return frechet(moments(a), moments(b)).value


def moments(features: Tensor) -> Moments:
    """Of features (n, D), n at least 2; ValueError for others, and for values not finite."""
    if features.ndim != 2 or len(features) < 2 or not features.shape[1]:
        raise ValueError(f"features must be (n, D), n at least 2, not {tuple(features.shape)}")
    if not features.isfinite().all():
        raise ValueError("the features hold values that are not finite")
    features = features.double()
    covariance = features.T.cov(correction=1).reshape(features.shape[1], -1)
    return Moments(features.mean(0), covariance, features)


def frechet(a: Moments, b: Moments) -> Distance:
    """The distance of `frechet_distance`, and its standard error.

    The error is to first order in the samples of those sides whose features are known.  It says
    what other samples of these sizes would change, not how far a small sample is biased, which is
    often more.  It is NaN where no features are known, where n <= D on a side, or where features
    are constant.
    """
    if len(a.mean) != len(b.mean):
        raise ValueError(
            f"there are {len(a.mean)} features on one side and {len(b.mean)} on the other: "
            "give those of one network"
        )
    root = _power(a.covariance, 0.5)
    # (C C')^(1/2) has the trace of (C^(1/2) C' C^(1/2))^(1/2), which is symmetric
    product = _power(root @ b.covariance @ root, 0.5).trace()
    of_means = float((a.mean - b.mean).square().sum())
    value = max(0.0, of_means + float(a.covariance.trace() + b.covariance.trace() - 2 * product))
    known = [(one, other) for one, other in ((a, b), (b, a)) if one.num]
    if not known or any(one.num <= len(one.mean) for one, _ in known):
        return Distance(value, of_means, math.nan)
    variance = sum(float(influences(*pair).var()) / pair[0].num for pair in known)
    # from features that do not vary no error can be told
    varied = sum(float(one.covariance.trace()) for one, _ in known)
    if varied <= ROUNDING * sum(float(one.mean.square().sum()) for one, _ in known):
        return Distance(value, of_means, math.nan)
    return Distance(value, of_means, math.sqrt(variance))


def influences(a: Moments, b: Moments) -> Tensor:
    """(n,): n times what each sample of `a` adds to the distance, to first order.

    2 (m - m') (x - m) + (x - m) (I - T) (x - m) less its mean, where T = C^(-1/2) (C^(1/2) C'
    C^(1/2))^(1/2) C^(-1/2): the derivative of the distance by C is I - T.
    """
    assert a.features is not None
    x, root = a.features - a.mean, _power(a.covariance, 0.5)
    white = x @ _power(a.covariance, -0.5)
    carried = white @ _power(root @ b.covariance @ root, 0.5)
    each = 2 * x @ (a.mean - b.mean) + x.square().sum(1) - (white * carried).sum(1)
    return each - each.mean()


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """Of a symmetric matrix without negative eigenvalues but by rounding; zeros stay zero.

    ValueError where numbers are too large for that.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:
        values = vectors = torch.full_like(matrix, math.nan)
    if not bool(values.isfinite().all() and vectors.isfinite().all()):
        raise ValueError(
            "the covariance of the features has no eigenvalues that 64 bits hold: "
            "divide all features, on both sides, by their largest"
        )
    there = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
    return (vectors * torch.where(there, values, 1.0).pow(exponent) * there) @ vectors.T


def classifier_score(logits: Tensor) -> tuple[float, float]:
    """exp of the mean of KL(p(y | x) || p(y)) over samples, and its standard error.

    logits (n, classes) of p(y | x); p(y) is its mean over samples.  Between 1 and the number of
    classes.  With the Inception network's it is the inception score (arXiv 1606.03498); with any
    other classifier's it is not, and is not to be called so.
    """
    if logits.ndim != 2 or min(logits.shape) < 2 or not logits.isfinite().all():
        raise ValueError(
            "logits must be finite, of at least 2 samples and 2 classes (n, classes), "
            f"not {tuple(logits.shape)}"
        )
    log_p = logits.double().log_softmax(-1)
    log_mean = log_p.logsumexp(0) - math.log(len(log_p))
    # their mean is stationary in p(y), so its error is that of any mean
    each = (log_p.exp() * (log_p - log_mean)).sum(-1)
    score = math.exp(float(each.mean()))
    return score, score * float(each.std()) / math.sqrt(len(each))


def read_moments(path: str | Path) -> Moments:
    """Of a file of features (n, D), or of their statistics.

    .npy: features; .npz: `features` or, as statistics for FID are kept, `mu` (D,) and `sigma`
    (D, D).  The only array of an .npz is taken for its features.  ValueError that names the file
    for anything else; nothing is unpickled.
    """
    path = Path(path)
    if not path.is_file():
        wanted = "name an .npy or .npz file of features, or of their statistics"
        raise no_file(path, f"there is no file {path}: {wanted}")
    with arrays.reading(path, "an .npy or .npz file"):
        found = read_arrays(path)
        if "mu" in found:
            return of_statistics(found["mu"], found["sigma"])
        return of_features(found["features"])


def of_features(array: np.ndarray) -> Moments:
    if array.ndim != 2:
        raise ValueError(
            f"an array of shape {array.shape} is not features (n, D): "
            "of pictures, let a network compute them first"
        )
    return moments(torch.from_numpy(array))


def of_statistics(mu: np.ndarray, sigma: np.ndarray) -> Moments:
    if mu.ndim != 1 or not len(mu) or sigma.shape != (len(mu), len(mu)):
        raise ValueError(f"`mu` must be (D,) and `sigma` (D, D), not {mu.shape} and {sigma.shape}")
    mean, covariance = torch.from_numpy(mu), torch.from_numpy(sigma)
    if not (mean.isfinite().all() and covariance.isfinite().all()):
        raise ValueError("`mu` or `sigma` holds values that are not finite")
    largest = float(covariance.abs().max())
    skew = (covariance - covariance.T).abs().max() > 1e-4 * largest
    if skew or torch.linalg.eigvalsh(covariance)[0] < -1e-4 * largest:
        wanted = "give a symmetric matrix without negative eigenvalues"
        raise ValueError(f"`sigma` is no covariance: {wanted}")
    return Moments(mean, covariance)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """`features`, or `mu` and `sigma`, of an .npy or .npz file, as float64."""
    with open(path, "rb") as raw:
        npy = raw.read(len(arrays.MAGIC)) == arrays.MAGIC
        raw.seek(0)
        if npy:
            found = arrays.read_array(raw, path.stat().st_size, MOST)
            return {"features": arrays.doubles(found)}
        archive = arrays.Archive(raw)
        names = archive.names
        if "features" in names or len(names) == 1:
            one = "features" if "features" in names else names[0]
            wanted = {"features": one}
        elif {"mu", "sigma"} <= set(names):
            wanted = {"mu": "mu", "sigma": "sigma"}
        else:
            others = ", ".join(names) or "nothing"
            raise ValueError(f"no array `features`, nor `mu` and `sigma`, but {others}")
        return {name: arrays.doubles(archive.read(one, MOST)) for name, one in wanted.items()}
