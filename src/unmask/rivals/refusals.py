"""What is refused to rivals without masks, flag by flag."""

from unmask.policies import ORDERS


def estimators_of_masks(why: str) -> dict[str, str]:
    """All values of --estimator but the model's own, and why they are refused."""
    names = ("orders", "enumeration", "counts", *ORDERS, "entropy-bounded")
    return {f"--estimator {name}": why for name in names}
