"""How far apart two sets of samples are, by features that the caller computed."""

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Of normal distributions fitted to features a (n, D) and b (m, D): |mean - mean'|^2 + tr(C + C' - 2 (C C')^(1/2)).

    With an Inception network's features this is FID (Heusel et al. 2017, arXiv 1706.08500); with any others it is not, and is not to
    be called so.  Small samples are biased upwards: compare sets of one size.  ValueError for features that do not fit or are not finite.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or min(len(a), len(b)) < 2:
        raise ValueError(f"features must be (n, D) and (m, D) with n, m at least 2, not {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = a.double(), b.double()
    if not bool(a.isfinite().all() and b.isfinite().all()):
        raise ValueError("the features hold values that are not finite")
    root = _root(a.T.cov(correction=1).reshape(a.shape[1], -1))
    # (C C')^(1/2) has the trace of (C^(1/2) C' C^(1/2))^(1/2), which is symmetric
    product = _root(root @ b.T.cov(correction=1).reshape(b.shape[1], -1) @ root).trace()
    return max(0.0, float(((a.mean(0) - b.mean(0)) ** 2).sum() + a.var(0).sum() + b.var(0).sum() - 2 * product))


def _root(matrix: Tensor) -> Tensor:
    """The square root of a symmetric matrix without negative eigenvalues but by rounding."""
    values, vectors = torch.linalg.eigh(matrix)
    return (vectors * values.clamp(min=0).sqrt()) @ vectors.T
