"""How data are made for a named protocol, from files as they were downloaded.

A kind keeps its recipes beside its presets and follows them (`Kind.follow`): the folder that comes
out has "protocol" in its meta.json, with the name, the terms (packing, given, denominator), whether
the source is the official one, and what was left out.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from unmask.files import write_whole
from unmask.kinds.sources import BLOCK, unpacked


@dataclass(frozen=True, kw_only=True)
class Recipe:
    about: str  # a line
    source: str  # what --data has to be
    split: str = "test"
    length: int = 0  # of a window; 0: that of an example
    # SHA-256 of the official files, unpacked; none: none is known here
    official: tuple[str, ...] = ()
    files: int = 1  # that the official source has


def unpacked_digest(path: Path) -> str:
    """SHA-256 of a file's content, unpacked where its name ends in .gz or .xz."""
    found = hashlib.sha256()
    with unpacked(path) as (_, stream):
        while block := stream.read(BLOCK):
            found.update(block)
    return found.hexdigest()


def standing(recipe: Recipe, files: list[Path]) -> str:
    """What files are, beside the official source: the record of a number says it."""
    if not recipe.official:
        return "not known: no SHA-256 of it is on record"
    digests = {unpacked_digest(path) for path in files}
    known = len(recipe.official)
    if known < recipe.files and len(digests) > 1 and digests & set(recipe.official):
        return f"not known: the SHA-256 of {known} of {recipe.files} files is on record"
    if not digests <= set(recipe.official):
        return "no: another SHA-256"
    if len(digests) < recipe.files:
        return f"part: {len(digests)} of {recipe.files} files"
    return "yes"


def find_file(source: Path, *names: str) -> Path:
    """The file `source`, or the first in the folder `source` of one of these names.

    Each also with .gz or .xz.  ValueError if there is none.
    """
    if not source.is_dir():
        return source
    for name in names:
        for ending in ("", ".gz", ".xz"):
            if (source / f"{name}{ending}").is_file():
                return source / f"{name}{ending}"
    raise ValueError(f"{source} has no {' or '.join(names)}: name the file, or put it there")


def note_protocol(folder: Path, name: str, official: str, **facts) -> dict:
    """Add a protocol to the meta.json of data that were prepared for it; returns its content."""
    path = folder / "meta.json"
    meta = json.loads(path.read_text(encoding="utf-8"))
    meta["protocol"] = {"name": name, "official": official, **facts}
    write_whole(path, json.dumps(meta, indent=1) + "\n")
    return meta
