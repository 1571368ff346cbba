"""What is left out of prepared data: counted by reason, and the first places named."""

from collections.abc import Iterable

NAMED = 5  # places of each reason


class BadRecord(ValueError):
    """A record, or a file that is one, that cannot be read, for a `reason` others may share."""

    def __init__(self, message: str, reason: str):
        super().__init__(message)
        self.reason = reason


class LeftOut:
    """What was left out so far.  `skip_bad`: records that cannot be read are, too."""

    def __init__(self, skip_bad: bool = False):
        self.skip_bad = skip_bad
        self.reasons: dict[str, dict] = {}

    def add(self, place: str, reason: str) -> None:
        entry = self.reasons.setdefault(reason, {"count": 0, "first": []})
        entry["count"] += 1
        if len(entry["first"]) < NAMED:  # a name may hold bytes that are no text
            entry["first"].append(place.encode("utf-8", "backslashreplace").decode())

    def skip(self, bad: BadRecord, place: str) -> None:
        """Leave out a record that cannot be read.  ValueError unless that is asked for."""
        if not self.skip_bad:
            raise ValueError(f"{bad}; or leave such ones out with --skip-bad") from None
        self.add(place, bad.reason)

    @property
    def count(self) -> int:
        return sum(entry["count"] for entry in self.reasons.values())

    def facts(self) -> dict:
        """For meta.json: `skipped`, only if anything was."""
        return {"skipped": self.reasons} if self.reasons else {}


def say_skipped(meta: dict) -> list[str]:
    """A line for each reason in meta.json, with the first places."""
    lines = []
    for reason, entry in meta.get("skipped", {}).items():
        count, first = entry["count"], ", ".join(entry["first"])
        more = ", ..." if count > len(entry["first"]) else ""
        lines.append(f"  left out: {count:,} ({reason}): {first}{more}")
    return lines


def align(rows: Iterable[list[str]]) -> list[str]:
    """Rows of a table as lines: the first column to the left, all others to the right."""
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([f"  {first:<{widths[0]}}", *cells]))
    return lines
