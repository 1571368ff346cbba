"""The Frechet distance against closed forms."""

import pytest
import torch

from unmask.metrics import frechet_distance


def with_moments(mean, covariance, n=64, seed=0):
    """(n, D) whose sample mean and covariance are exactly these."""
    x = torch.randn(n, len(mean), dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x = x - x.mean(0)
    white = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov().reshape(len(mean), -1))).T
    return white @ torch.linalg.cholesky(torch.tensor(covariance, dtype=torch.float64)).T + torch.tensor(mean, dtype=torch.float64)


def test_diagonal_covariances():
    """Sum of (mean - mean')^2 and of (deviation - deviation')^2."""
    a = with_moments([0.0, 1.0], [[4.0, 0.0], [0.0, 9.0]])
    b = with_moments([3.0, 1.0], [[1.0, 0.0], [0.0, 16.0]], n=50, seed=1)
    assert frechet_distance(a, b) == pytest.approx(9 + 1 + 1) == pytest.approx(frechet_distance(b, a))
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-10)


def test_covariances_that_do_not_commute():
    """Of 2 x 2 matrices, tr M^(1/2) = sqrt(tr M + 2 sqrt det M), here of M = C C'."""
    one, two = [[2.0, 1.0], [1.0, 3.0]], [[5.0, -2.0], [-2.0, 1.0]]
    product = torch.tensor(one) @ torch.tensor(two)
    root = (product.trace() + 2 * torch.linalg.det(product).sqrt()).sqrt()
    found = frechet_distance(with_moments([0.0, 0.0], one), with_moments([1.0, 2.0], two, seed=3))
    assert found == pytest.approx(5 + 5 + 6 - 2 * float(root), rel=1e-6)


def test_one_feature_and_more_features_than_samples_and_what_is_refused():
    a = with_moments([1.0], [[4.0]])
    assert frechet_distance(a, a * 2) == pytest.approx(1 + 4)
    wide = torch.randn(5, 40, generator=torch.Generator().manual_seed(2))
    assert frechet_distance(wide, wide) == pytest.approx(0, abs=1e-4)
    for bad in (a[:, 0], a[:1], torch.zeros(9, 2), torch.full((9, 1), torch.nan)):
        with pytest.raises(ValueError):
            frechet_distance(a, bad)
