"""unmask import: a model from elsewhere becomes a folder that every verb takes."""

from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from unmask.cli.flags import parse
from unmask.cli.runtime import write_record
from unmask.files import check_place
from unmask.importers.sources import SOURCES, Source, read
from unmask.kinds.output import check_apart, check_out


@dataclass(frozen=True, kw_only=True)
class Record:
    json: str = ""
    """Also write what was found to this file."""


def flags_of_importing(source: Source) -> type:
    """SRC, OUT and the source's own flags."""
    src = Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SRC", help=source.what)]
    made = tyro.conf.arg(metavar="OUT", help="The model's folder to make.")
    out = Annotated[tyro.conf.Positional[Path], made]
    places, bases = [("source", src), ("out", out)], (Record, source.Flags)
    return make_dataclass("Import", places, bases=bases, frozen=True, kw_only=True)


def import_model(argv: list[str]) -> None:
    """Read a model from elsewhere, without running anything in it, and write it as one of ours."""
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: unmask import NAME SRC OUT [flags]\n\nsources, each with a --help:")
        print("\n".join(f"  {name:12} {one.about}" for name, one in SOURCES.items()))
        return
    if argv[0] not in SOURCES:
        raise ValueError(
            f"there is no source {argv[0]!r} of models: known are {', '.join(SOURCES)}: "
            "unmask import NAME SRC OUT"
        )
    source = SOURCES[argv[0]]
    args: Any = parse(flags_of_importing(source), f"import {argv[0]}", argv[1:], source.about)
    check_out(args.json)
    beside = args.source.parent / "config.json"  # which some sources read
    given = [getattr(args, name, None) for name in ("config", "tokenizer")]
    check_apart([args.json], [args.source, beside, *filter(None, given)])
    from unmask.checkpoint import digest

    check_place(args.out)
    if args.out.exists() and any(args.out.iterdir() if args.out.is_dir() else [args.out]):
        raise ValueError(f"{args.out} exists already: remove it or name another folder")
    if not args.source.exists():
        raise ValueError(f"there is no {args.source}: {source.what}")
    found = read(argv[0], args.source, args)
    found.model.save_pretrained(args.out, found.files)
    print("\n".join([f"{args.out}: {found.said[0]}", *(f"  {line}" for line in found.said[1:])]))
    made = {"source": argv[0], "model_sha256": digest(args.out / "model.safetensors")}
    write_record(args.json, **made, said=found.said)
