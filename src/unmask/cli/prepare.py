"""unmask prepare: a kind turns its sources into a folder of tokens."""

from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from unmask.cli.flags import parse
from unmask.cli.runtime import write_record
from unmask.files import as_file
from unmask.kinds.kind import Kind
from unmask.kinds.output import check_apart, check_out
from unmask.kinds.registry import kinds, unknown_kind


@dataclass(frozen=True, kw_only=True)
class Record:
    json: str = ""
    """Also write what was made to this file."""


def flags_of_preparing(kind: type[Kind]) -> type:
    """SRC, OUT and the kind's own flags."""
    what = f"{kind.source} - for standard input."
    source = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SRC", help=what)]
    made = tyro.conf.arg(metavar="OUT", help="The folder to make.")
    out = Annotated[tyro.conf.Positional[Path], made]
    places, bases = [("source", source), ("out", out)], (Record, kind.Prepare)
    return make_dataclass("Prepare", places, bases=bases, frozen=True, kw_only=True)


def prepare(argv: list[str]) -> None:
    """Turn text, pictures, tables or proteins into a memory map of token ids and meta.json."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: unmask prepare KIND SRC OUT [flags]\n\nkinds, each with a --help of its own:")
        print("\n".join(f"  {name:8} {kind.about}" for name, kind in kinds().items()))
        return
    if argv[0] not in kinds():
        why = unknown_kind(argv[0])
        raise ValueError(
            f"there is no kind {argv[0]!r} of data: {why}: unmask prepare KIND SRC OUT"
        )
    kind = kinds()[argv[0]]
    args: Any = parse(flags_of_preparing(kind), f"prepare {argv[0]}", argv[1:], kind.about)
    check_out(args.json)
    more = [getattr(args, name, "") for name in ("validation", "test", "clusters")]
    check_apart([args.json], [args.source, *more])
    with as_file(args.source) as source:
        meta, said = kind.prepare(replace(args, source=source))
    print("\n".join(said))
    write_record(args.json, **meta)
