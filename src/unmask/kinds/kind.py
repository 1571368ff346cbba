"""The interface of a kind of data: what a folder in here offers to the verbs, none of which it implements.

No torch here, since `unmask VERB --help` reads the kinds' flags.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar


class Kind(ABC):
    """Of data: how a prepared folder is opened, and what its tokens are."""

    name: ClassVar[str]  # in meta.json
    keys: ClassVar[tuple[str, ...]]  # what meta.json needs to have
    tokens: ClassVar[tuple[str, ...]]  # names of the specs of its tokens

    @classmethod
    @abstractmethod
    def open(cls, folder: Path, meta: dict, *, labels: bool) -> Any:
        """The `Data` of a folder whose meta.json is `meta`.  ValueError for labels where there are none."""

    @classmethod
    @abstractmethod
    def load_tokens(cls, spec: dict, folder: Path) -> Any:
        """What turns tokens into what they stand for, and back."""


def refuse_labels(folder: Path, what: str) -> None:
    raise ValueError(f"{folder} holds {what}: train without --labels")
