"""The one place that sets matplotlib up."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def canvas(width: float, height: float) -> Iterator[Any]:
    """A white figure of so many inches at 100 dots each, with matplotlib's own settings.

    A figure made without pyplot draws with Agg and leaves the state of a caller's plots alone.
    """
    from matplotlib import rc_context, rcParamsDefault
    from matplotlib.figure import Figure

    with rc_context(rcParamsDefault), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield Figure(figsize=(width, height), dpi=100, facecolor="white")
