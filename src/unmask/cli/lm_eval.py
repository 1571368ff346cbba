"""unmask lm-eval: lm-evaluation-harness, which then knows a model named unmask."""

import importlib.util
import sys


def lm_eval(argv: list[str]) -> None:
    """The command lm_eval itself: its flags, and --model unmask --model_args pretrained=MODEL."""
    # a bare folder of that name has no origin
    if getattr(importlib.util.find_spec("lm_eval"), "origin", None) is None:
        raise ValueError("lm-eval is not installed: pip install 'unmask[harness]'")
    from lm_eval.__main__ import cli_evaluate

    import unmask.evaluation.harness  # noqa: F401  # registers the model

    before = sys.argv
    sys.argv = ["unmask lm-eval", *argv]
    try:
        cli_evaluate()
    finally:
        sys.argv = before
