"""The kinds there are: one literal dict, and the ways in.

A kind is found by a folder of data, by what a model keeps of it, or by the spec of its tokens.  No
name found in a file is ever imported: it is looked up here.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unmask.config import Preset
from unmask.kinds.demo import Demo
from unmask.kinds.images.kind import Images
from unmask.kinds.kind import Adopted, Kind
from unmask.kinds.proteins.kind import Proteins
from unmask.kinds.recipe import Recipe
from unmask.kinds.tables.kind import Tables
from unmask.kinds.text.kind import Text

if TYPE_CHECKING:
    from unmask.kinds.data import Data

KINDS: dict[str, type[Kind]] = {
    "text": Text,
    "images": Images,
    "tables": Tables,
    "proteins": Proteins,
}
BROKEN: dict[str, str] = {}  # kinds of installed packages that cannot be loaded, and why


def register(kind: type[Kind]) -> None:
    """Add a kind from outside of the package.  ValueError for a name that is taken."""
    if KINDS.get(kind.name, kind) is not kind:
        raise ValueError(f"there is a kind {kind.name!r} already: give another name")
    KINDS[kind.name] = kind


def kinds() -> dict[str, type[Kind]]:
    """All kinds by name, those of installed packages included."""
    register_installed()
    return KINDS


@cache
def register_installed() -> None:
    """Add the kinds of installed packages, by the entry points of the group "unmask.kinds".

    At the first look-up, not before: a package may import this module before it has its kind.
    """
    for point in entry_points(group="unmask.kinds"):
        try:
            register(point.load())
        except Exception as error:
            whose = point.dist.name if point.dist else "nobody"
            BROKEN[point.name] = f"that of the package {whose} cannot be loaded: {error}"


def unknown_kind(name: Any) -> str:
    """What to do about a kind that there is not."""
    if isinstance(name, str) and name in BROKEN:
        return BROKEN[name]
    return f"known are {', '.join(KINDS)}; update the package"


def presets() -> dict[str, Preset]:
    """The configurations of all kinds, by name."""
    return {name: one for kind in kinds().values() for name, one in kind.presets.items()}


def recipes() -> dict[str, tuple[type[Kind], Recipe]]:
    """The protocols of all kinds, by name, each with its kind."""
    return {name: (kind, one) for kind in kinds().values() for name, one in kind.protocols.items()}


def demos() -> dict[str, type[Demo]]:
    """What `unmask demo` can show, by name."""
    return {one.name: one for kind in kinds().values() for one in kind.demos()}


def open_data(folder: str | Path, *, labels: bool = False) -> Data:
    """The data in a folder that `unmask prepare` made.

    labels: examples come with their classes, as "cond".  Raises ValueError for a missing, foreign
    or truncated file, or labels where there are none.
    """
    from unmask.kinds.folder import read_meta

    folder = Path(folder)
    keys = {name: kind.keys for name, kind in kinds().items()}
    formats = {name: kind.formats for name, kind in kinds().items()}
    meta = read_meta(folder, keys, formats)
    kind = KINDS[meta["kind"]]
    if labels and kind.no_labels:
        raise ValueError(f"{folder} holds {kind.no_labels}: train without --labels")
    return kind.open(folder, meta, labels=labels)


def kind_of(meta: dict, folder: Path) -> Kind:
    """The kind of the data that the model in `folder` was trained on.

    meta: what its config.json keeps of the meta.json of these data.
    """
    name = meta.get("kind")
    if not isinstance(name, str) or name not in kinds():
        found = f"{folder} was trained on data of kind {name!r}"
        raise ValueError(f"{found}: {unknown_kind(name)}")
    return KINDS[name](meta, folder)


def adopt(entries: dict[str, int], file: Path) -> tuple[Adopted, dict]:
    """The tokens of a vocabulary from elsewhere, see `Kind.adopt`, and what a model keeps of them.

    By the last kind that takes it, since text, the first, takes all that have a tokenizer.
    ValueError if none does.
    """
    for kind in reversed(kinds().values()):
        found = kind.adopt(entries, file)
        if found is not None:
            return found, without_data(found.tokenizer)
    some = ", ".join(repr(entry)[:20] for entry in list(entries)[:8])
    raise ValueError(
        f"{file} is a vocabulary of no kind of data known here ({some}, ...): for text, give the "
        "tokenizer.json that belongs to it with --tokenizer"
    )


def tokens_named(name: str) -> Any:
    """The tokens that a flag names, see `Kind.tokens_named`.  ValueError for a name of none."""
    found = (kind.tokens_named(name) for kind in kinds().values())
    tokens = next((one for one in found if one is not None), None)
    if tokens is None:
        raise ValueError(f"no kind of data knows the tokens {name!r}: give a tokenizer .json")
    return tokens


def without_data(tokens: Any) -> dict:
    """What a model keeps of its data, where it was trained elsewhere: these tokens alone."""
    spec = tokens.spec()
    kind = next(kind for kind in kinds().values() if spec["name"] in kind.tokens)
    known = {"kind": kind.name, "tokenizer": spec, "vocab_size": tokens.vocab_size}
    return known | {"source": [], "sha256": {}}


def load_tokenizer(spec: dict, folder: str | Path) -> Any:
    """What turns tokens into what they stand for.

    spec: from a meta.json or config.json; the files that go with it are in `folder`.
    """
    for kind in kinds().values():
        if spec.get("name") in kind.tokens:
            return kind.load_tokens(spec, Path(folder))
    known = ", ".join(name for kind in kinds().values() for name in kind.tokens)
    raise ValueError(f"tokenizer {spec.get('name')!r} is not one of {known}: update the package")
