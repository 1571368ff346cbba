"""unmask prepare: a kind turns its sources into a folder of tokens."""

from typing import Any

from unmask.cli.flags import parse
from unmask.cli.runtime import write_record
from unmask.kinds.output import check_out
from unmask.kinds.registry import KINDS


def prepare(argv: list[str]) -> None:
    """Turn text, pictures, tables or proteins into a memory map of token ids and meta.json."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: unmask prepare KIND SRC OUT [flags]\n\nkinds, each with a --help of its own:")
        print("\n".join(f"  {name:8} {kind.about}" for name, kind in KINDS.items()))
        return
    if argv[0] not in KINDS:
        raise ValueError(f"there is no kind {argv[0]!r} of data; choose one of {', '.join(KINDS)}: unmask prepare KIND SRC OUT")
    kind = KINDS[argv[0]]
    args: Any = parse(kind.Prepare, f"prepare {argv[0]}", argv[1:], kind.about)
    check_out(args.json)
    meta, said = kind.prepare(args)
    print("\n".join(said))
    write_record(args.json, **meta)
