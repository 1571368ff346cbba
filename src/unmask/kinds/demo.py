"""What `unmask demo` asks of a kind: bundled data, and what is worth showing of a model of them.

The verb trains, evaluates, draws and reports; a demo says with what, and fills in what it likes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from unmask.kinds.quality import Bars

if TYPE_CHECKING:
    import numpy as np
    import torch

    from unmask.kinds.kind import Filler


class Figure(NamedTuple):
    """A picture with a heading and words above it; `alt`: what it shows, for who cannot see it."""

    title: str
    says: str
    alt: str
    content: bytes | Sequence[Bars]  # a PNG file of pixels to be seen, or what is to be drawn


class Shown(NamedTuple):
    """What a demo has to say and show, besides the bound, the baselines and the samples."""

    said: Sequence[str]  # lines for the terminal
    figures: Sequence[Figure] = ()
    # stands for the demo; none: stages of a sample, where they are texts
    picture: bytes | Sequence[Bars] | None = None
    record: dict = {}  # noqa: RUF012


class Demo(ABC):
    """Bundled data of one kind; all times, counts and sizes are for a few minutes of a laptop."""

    name: ClassVar[str]  # --data
    preset: ClassVar[str]
    out: ClassVar[str]  # the folder, unless another is asked for
    title: ClassVar[str]  # of the report
    subject: ClassVar[str]  # the data, in words
    source: ClassVar[Path]
    split: ClassVar[str]
    counted: ClassVar[str]  # where meta.json says how large a split is
    note: ClassVar[str] = ""  # what else is to be said of the bound
    credit: ClassVar[str] = ""  # who made the data, under which licence

    file: ClassVar[str] = ""  # the name of a file of samples, which `quality` judges, if it can

    repeats: ClassVar[int] = 8  # draws of the bound
    batch_size: ClassVar[int] = 128  # examples at a time
    num: ClassVar[int] = 8  # samples
    curve: ClassVar[int] = 256  # examples in which the share that is hidden is varied
    levels: ClassVar[int] = 12  # such shares

    @abstractmethod
    def prepare(self, out: Path) -> None:
        """Write the folder `out` from `source`."""

    def steps(self, length: int) -> int:
        """Of the sampler."""
        return length

    def examples(self, data: Any, length: int) -> dict[str, torch.Tensor]:
        """A batch of held-out tokens, all known, in which the share that is hidden is varied."""
        return data.whole_windows("test", length, self.curve)

    @abstractmethod
    def baselines(self, data: Any, positions: int) -> dict[str, float]:
        """Bits per position of the test split, of which so many are scored, by simple models."""

    @abstractmethod
    def show(self, data: Any, drawn: list[np.ndarray], filler: Callable[[int], Filler]) -> Shown:
        """What to say and show; `filler(steps)` fills with the model, and what it fills in is
        shown."""
