"""What a table is: its rows, what is the same for all of them, and the published figures."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from unmask.config import TrainConfig

RATES = (1e-3, 3e-3, 1e-2)
# draws of a window in an evaluation, whose calls cost about a third of training's: two replicates
# of four, since control variates are told from a replicate's other draws
REPEATS = 8


@dataclass(frozen=True)
class Row:
    """A method: what differs from the other rows, and what a paper has for it."""

    what: str
    changed: dict[str, Any]
    paper: str = ""
    control: str = ""  # the row that it is compared with, besides the first

    @property
    def calls(self) -> int:
        """Network calls of a sequence in a step."""
        learned = self.changed.get("schedule") == "learned"
        return 2 if learned or self.changed.get("draws") == 2 else 1


@dataclass(frozen=True)
class Measure:
    """A figure of a cell; less is better."""

    key: str  # in the cell's file
    title: str
    digits: int = 3


@dataclass(frozen=True)
class Table:
    """Rows on one network and one kind of data.

    sizes: the fields of `TrainConfig` that flags may change, and what they are otherwise.
    measures: that of the first are the differences between rows.
    others: published figures of methods that are not trained here.
    """

    name: str
    units: str  # of which a sequence is made
    measures: tuple[Measure, ...]
    rows: Mapping[str, Row]
    same: TrainConfig
    sizes: Mapping[str, int | str]
    paper: str  # what the published figures are of
    others: Mapping[str, str] = field(default_factory=dict)
    windows: int = 512  # of the test split
    minutes: float = 10.0  # of all of it

    def config(self, plan: Mapping[str, Any], row: str, **how: Any) -> TrainConfig:
        """Of a cell, at the sizes that a plan states."""
        sizes = {name: plan[name] for name in self.sizes}
        return replace(self.same, **sizes, **self.rows[row].changed, **how)

    def told(self) -> dict[str, Any]:
        """What a report needs, for plan.json."""
        kept = ("what", "paper", "control")
        rows = {name: {key: getattr(row, key) for key in kept} for name, row in self.rows.items()}
        return {
            "name": self.name, "units": self.units, "rows": rows, "paper": self.paper,
            "others": dict(self.others), "measures": [asdict(one) for one in self.measures],
        }  # fmt: skip

    def unpublished(self, name: str, paper: str, **changed: Any) -> "Table":
        """The same rows for data of which no figures were published, as `paper` says."""
        rows = {key: replace(row, paper="") for key, row in self.rows.items()}
        return replace(self, name=name, rows=rows, paper=paper, others={}, **changed)
