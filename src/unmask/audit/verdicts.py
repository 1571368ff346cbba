"""The rows of an audit together, which a notebook shows as a table."""

import math
from typing import Any

from unmask.markup import table


class Verdicts(list):
    """A list of `Check`s of a model, or of the rows of the package's own audit."""

    def __repr__(self) -> str:
        return "\n".join(map(str, self))

    def _repr_html_(self) -> str:
        if not self:
            return "<p>nothing was checked</p>"
        names = [name for name in self[0]._fields if name != "passed"] + ["verdict"]
        return table([[figure(getattr(row, name)) for name in names] for row in self], names)


def figure(value: Any) -> str:
    """A number with four digits, "-" where there is none."""
    if not isinstance(value, float):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.4g}"
