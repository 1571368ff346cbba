"""A model that the page offers, and what the page has to know of it."""

from typing import Any, NamedTuple

from unmask.config import OWN, TIMED, Sampling
from unmask.diffusion import MaskedDiffusion
from unmask.kinds.editor import Editor
from unmask.kinds.kind import Kind
from unmask.labels import classes_of
from unmask.sampling import GRIDS, OF_ANY_SCHEDULE, SAMPLERS


class Served(NamedTuple):
    """A model that the page offers."""

    path: str  # as it was named
    model: MaskedDiffusion
    kind: Kind
    editor: Editor
    precision: Any
    machine: tuple[str, ...]  # flags of the machine, for commands

    @property
    def length(self) -> int:
        return self.model.meta["length"]

    def facts(self) -> dict:
        """What the page has to know."""
        scalar = self.model.schedule.num_values == 1
        classes, names = classes_of(self.model)
        histogram = self.kind.meta.get("lengths")
        return {
            "path": self.path,
            "name": self.kind.name,
            "what": self.kind.describe(),
            "unit": self.editor.unit,
            "editor": self.editor.name,
            "takes": self.editor.takes,
            "length": self.length,
            "fixed": self.kind.fixed,
            "usual": usual_length(histogram, self.length),
            "classes": names or [str(i) for i in range(classes)],
            "guidance": bool(classes and self.model.meta.get("label_dropout")),
            "samplers": list(SAMPLERS if scalar else OF_ANY_SCHEDULE),
            "timed": list(TIMED),
            "own": OWN,
            "plain": {name: getattr(Sampling, name) for name in OWN},
            "grids": list(GRIDS),
            "scores": scalar,
            "start": self.editor.start(),
            **self.editor.facts(),
        }


def usual_length(histogram: dict[str, int] | None, length: int) -> int:
    """The median length of the training examples, as far as the model takes them."""
    sizes = sorted((int(n), count) for n, count in (histogram or {}).items())
    left = sum(count for _, count in sizes) / 2
    for size, count in sizes:
        left -= count
        if left <= 0:
            return min(size, length)
    return length
