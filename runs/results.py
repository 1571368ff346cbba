"""The tables of docs/results.md, made of the records in benchmarks/records/.

    python runs/results.py                      # all of them, whole or not at all
    python runs/results.py policies-text        # this one
    python runs/results.py --check              # names those that differ; exit code 1 if some do
    python runs/results.py --show compress OUT  # prints the table of a record that is anywhere

In the page a table stands between two comments, which name the script that makes it, and its
record; what follows a hyphen tells tables of one script apart:

    <!-- table: policies-text, of 2026-11-27-orders-and-grids/pol-shakespeare.json -->
    <!-- end -->

These two lines, written by hand, are all that it takes to add a table: this command fills it in.
A script of runs/ that makes tables has a function `table(record: Path) -> list[str]`, lines of
Markdown, which is what it prints, too.
"""

import argparse
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from unmask.documents import malformed
from unmask.files import write_whole

RUNS = Path(__file__).resolve().parent
PAGE = RUNS.parent / "docs" / "results.md"
RECORDS = RUNS.parent / "benchmarks" / "records"
SCRIPT = re.compile(r"\w+(?:\.\w+)*")
BEGIN = re.compile(rf"<!-- table: ({SCRIPT.pattern})((?:-\w+)*), of (\S+) -->")
END = "<!-- end -->"
NO_NUMBER = re.compile(r"(?<!\w)[+-]?(?:nan|inf)(?!\w)")  # as Python prints them


class Place(NamedTuple):
    """A table of a page: lines[first:last], between its comments."""

    name: str
    script: str
    record: str
    first: int
    last: int


def main(argv: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("name", nargs="?", help="of a table in the page; without one: all")
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--check", action="store_true", help="write nothing; exit code 1: some differ")
    way.add_argument("--show", nargs=2, metavar=("SCRIPT", "RECORD"), help="print one of a record")
    args = parser.parse_args(argv)
    if args.show and args.name is not None:
        parser.error(f"{args.name} is of the page, and --show of a record: leave out one of them")
    try:
        if args.show:
            print("\n".join(lines_of(args.show[0], Path(args.show[1]))))
            return 0
        return update(args.name, args.check)
    except (ImportError, OSError, ValueError) as error:
        print(f"results: {error}", file=sys.stderr)
        return 2


def update(name: str | None, check: bool) -> int:
    """Make the tables of the page anew, or say which differ.  Exit code."""
    before = PAGE.read_text(encoding="utf-8")
    after, changed = made_anew(before, name)
    for one in changed:
        print(f"{one}: {'differs from its record' if check else 'made anew'}")
    if check:
        return int(bool(changed))
    if changed:
        write_whole(PAGE, after)
    else:
        print("nothing has changed")
    return 0


def made_anew(page: str, only: str | None = None) -> tuple[str, list[str]]:
    """The page with its tables, or one of them, as their records have it; the names that changed.

    ValueError, before anything is written, for comments that do not fit and for every table that
    cannot be made.
    """
    lines = page.split("\n")
    places = list(places_of(lines))
    names = [place.name for place in places]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"two tables are named {name}: put -and-a-word after one of them")
    if only is not None and only not in names:
        raise ValueError(f"the page has no table {only}: name one of {', '.join(names)}")
    changed = []
    for place in reversed(places):  # so that places above stay where they are
        if only not in (None, place.name):
            continue
        made = ["", *lines_of(place.script, RECORDS / place.record), ""]
        if lines[place.first : place.last] != made:
            lines[place.first : place.last] = made
            changed.insert(0, place.name)
    return "\n".join(lines), changed


def places_of(lines: list[str]) -> Iterator[Place]:
    """The tables of a page, in order."""
    begun: tuple[str, str, str, int] | None = None
    for number, line in enumerate(lines):
        if line == END:
            if begun is None:
                raise ValueError(f"line {number + 1} ends a table that does not begin: take it out")
            yield Place(*begun, number)
            begun = None
        elif line.startswith(("<!-- table", "<!-- end")):
            found = BEGIN.fullmatch(line)
            if found is None:
                raise ValueError(
                    f"line {number + 1} is {line!r}: write <!-- table: SCRIPT, of RECORD --> or "
                    f"{END}"
                )
            if begun is not None:
                raise ValueError(f"the table {begun[0]} has no {END} before line {number + 1}")
            script, label, record = found.groups()
            begun = script + label, script, record, number + 1
    if begun is not None:
        raise ValueError(f"the table {begun[0]} has no {END}: write it below")


def lines_of(script: str, record: Path) -> list[str]:
    """A record's table by a script's `table`.

    ValueError that names the record for what is no script with one, for a record that is not
    there, or of another form, and for a figure that is NaN or infinite.
    """
    file = RUNS / f"{script.replace('.', '/')}.py"
    if not (SCRIPT.fullmatch(script) and file.is_file()):
        raise ValueError(f"{script} is no script in {RUNS}: name one that makes tables")
    if not record.exists():
        raise ValueError(f"{script}: there is no record {record}: write a table when it is there")
    if str(RUNS) not in sys.path:
        sys.path.insert(0, str(RUNS))
    table = getattr(importlib.import_module(script), "table", None)
    if table is None:
        raise ValueError(f"{script} makes no tables: name a script that has a function `table`")
    what = f"{script}: the record {record}"
    try:
        with malformed(what, "make it again"):
            lines = table(record)
    except ValueError as error:  # who made it may not know of which file
        if str(record) in str(error):
            raise
        raise ValueError(f"{what} is damaged ({error}): make it again") from None
    if strange := next(filter(NO_NUMBER.search, lines), None):
        raise ValueError(f"{what} has a figure that is no number ({strange}): make it again")
    return lines


if __name__ == "__main__":
    sys.exit(main())
