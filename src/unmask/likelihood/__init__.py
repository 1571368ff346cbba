"""What a model says of data: one list of estimators, each of a sampler's bound or likelihood."""

from unmask.likelihood.enumeration import MAX_UNITS, UnresolvedError, exact_nelbo
from unmask.likelihood.estimating import Pass, draw_pass, estimate, estimate_nelbo, estimate_orders
from unmask.likelihood.estimators import (
    Bound,
    Counts,
    Enumeration,
    Estimator,
    Orders,
    Path,
    own_estimator,
)
from unmask.likelihood.parts import conditional_nats, cross_entropy_by_count, joint_loss
from unmask.likelihood.paths import order_nats, path_nats

__all__ = [
    "MAX_UNITS", "Bound", "Counts", "Enumeration", "Estimator", "Orders", "Pass", "Path",
    "UnresolvedError", "conditional_nats", "cross_entropy_by_count", "draw_pass", "estimate",
    "estimate_nelbo", "estimate_orders", "exact_nelbo", "joint_loss", "order_nats",
    "own_estimator", "path_nats",
]  # fmt: skip
