"""What is left out of prepared data, or changed: counted by reason, the first places named."""

import os
from collections.abc import Iterable
from pathlib import Path

NAMED = 5  # places of each reason


class BadRecord(ValueError):
    """A record, or a file that is one, that cannot be read, for a `reason` others may share."""

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


class LeftOut:
    """What was left out of the sources `roots` so far.

    `skip_bad`: records that cannot be read are, too; otherwise the first one is an error.  None:
    the same, where there is no flag to ask for it.
    """

    def __init__(self, skip_bad: bool | None = None, roots: Iterable[Path] = ()):
        self.skip_bad, self.roots = skip_bad, list(roots)
        self.reasons: dict[str, dict] = {}  # for meta.json: {reason: {"count": 3, "first": [...]}}
        self.own: dict[Path | None, dict[str, dict]] = {}  # the same of each root

    def add(self, place: Path | str, reason: str) -> None:
        """One more; `place`: its file, or file and line."""
        place = str(place)
        for reasons in (self.reasons, self.own.setdefault(self.root_of(place), {})):
            entry = reasons.setdefault(reason, {"count": 0, "first": []})
            entry["count"] += 1
            if len(entry["first"]) < NAMED:
                entry["first"].append(spelled(self.shorten(place)))

    def skip(self, bad: BadRecord, place: Path | str) -> None:
        """Leave out a record that cannot be read.  ValueError unless that is asked for."""
        if not self.skip_bad:
            fix = "; or leave such ones out with --skip-bad" if self.skip_bad is not None else ""
            raise ValueError(f"{bad}{fix}") from bad
        self.add(place, bad.reason)

    def root_of(self, place: str) -> Path | None:
        """The one of `roots` that a place is in."""
        for root in self.roots:
            if place == str(root) or place.startswith((f"{root}{os.sep}", f"{root}, ")):
                return root
        here = Path()  # what is in it does not begin with its name
        below = not Path(place).is_absolute() and Path(place).parts[0] != os.pardir
        return here if here in self.roots and below else None

    def shorten(self, place: str) -> str:
        """A place as it is called below the folder that was named as a source, or holds it."""
        for root in self.roots:
            above = root if root.is_dir() else root.parent
            if place.startswith(f"{above}{os.sep}"):
                return place.removeprefix(f"{above}{os.sep}")
        return place

    def of(self, root: Path) -> dict[str, dict]:
        """The reasons of one of `roots` alone."""
        return self.own.get(root, {})

    @property
    def count(self) -> int:
        return sum(entry["count"] for entry in self.reasons.values())

    def facts(self, name: str = "skipped") -> dict:
        """For meta.json, by this name; nothing where nothing was left out."""
        return {name: self.reasons} if self.reasons else {}


def spelled(name: str) -> str:
    """A name as it is, but bytes of it that are no text with backslashes."""
    return name.encode("utf-8", "backslashreplace").decode()


def described(reasons: dict[str, dict]) -> list[str]:
    """A line for each reason, as meta.json has them, with the first places."""
    lines = []
    for reason, entry in reasons.items():
        count, first = entry["count"], "; ".join(entry["first"])
        more = "; ..." if count > len(entry["first"]) else ""
        lines.append(f"{count:,} ({reason}): {first}{more}")
    return lines


def say_skipped(meta: dict) -> list[str]:
    """What meta.json says was left out, a line for each reason."""
    return [f"  left out: {line}" for line in described(meta.get("skipped", {}))]
