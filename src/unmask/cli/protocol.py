"""The protocols of `unmask eval`: data made by a recipe, text counted in bytes, what is said."""

import shutil
import sys
import tempfile
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

from unmask import __version__
from unmask.evaluation.protocol import Protocol, split_digest, tokens_digest
from unmask.kinds.kind import Kind
from unmask.kinds.registry import open_data, recipes


def wants_list(argv: list[str]) -> bool:
    """Whether the protocols there are, are all that is asked for."""
    return "--protocol=list" in argv or ("--protocol", "list") in pairwise(argv)


def list_protocols() -> None:
    rows = [["protocol", "of"], *([name, one.about] for name, (_, one) in recipes().items())]
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:{width}}  {about}" for name, about in rows))


def open_scored(args: Any, kind: Kind, labels: bool) -> Any:
    """The data that --data and --protocol name.

    Without a protocol, a folder that was prepared.  With one, a folder that was prepared for it, or
    its source, which is prepared in a temporary folder, or in --keep.
    """
    if not args.protocol:
        if args.keep:
            raise ValueError(f"--keep {args.keep} is for data that --protocol prepares: name one")
        return open_data(args.data, labels=labels)
    recipe = find_recipe(args.protocol, kind)
    if args.length:
        raise ValueError(
            f"--length {args.length} would be another protocol: {args.protocol} says it is "
            f"{recipe.length or 'that of an example'}; leave it out"
        )
    if args.split not in ("test", recipe.split):  # test: or nothing was said
        raise ValueError(
            f"--split {args.split} would be another protocol: {args.protocol} is of the split "
            f"{recipe.split}; leave it out"
        )
    if (args.data / "meta.json").is_file():
        if args.keep:
            raise ValueError(f"--keep {args.keep}: {args.data} is prepared already: leave it out")
        data = open_data(args.data, labels=labels)
        found = data.meta.get("protocol", {}).get("name")
        if found != args.protocol:
            made = f"for the protocol {found}" if found else "for no protocol"
            raise ValueError(
                f"{args.data} was prepared {made}: name the source of {args.protocol}, "
                f"{recipe.source}"
            )
    else:
        data = prepare_source(args, kind, labels)
    official = data.meta["protocol"]["official"]
    if official.startswith(("no:", "part:")):
        said = f"warning: {args.data} as the source of {args.protocol}: official: {official}"
        print(said, file=sys.stderr)
    return data


def prepare_source(args: Any, kind: Kind, labels: bool) -> Any:
    """The source's data; a temporary folder of them goes with the object."""
    if args.keep:
        from unmask.kinds.folder import check_new
        from unmask.processes import started

        started().of_first(lambda: kind.follow(args.protocol, args.data, check_new(args.keep)))
        return open_data(args.keep, labels=labels)
    folder = Path(tempfile.mkdtemp(prefix="unmask-"))
    try:
        kind.follow(args.protocol, args.data, folder / "data")
        data = open_data(folder / "data", labels=labels)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(data, shutil.rmtree, folder, True)
    return data


def find_recipe(name: str, kind: Kind) -> Any:
    """ValueError for a name that there is not, or that is of other data than the model's."""
    known = recipes()
    if name not in known:
        raise ValueError(
            f"there is no protocol {name!r}: known are {', '.join(known)}; "
            "unmask eval --protocol list says what each is"
        )
    of, recipe = known[name]
    if of.name != kind.name:
        raise ValueError(f"{name} is a protocol of {of.name}, and the model is of {kind.name}")
    return recipe


def terms_of_windows(args: Any, kind: Kind, trained: int) -> tuple[str, int]:
    """The split and the length of windows: those of the protocol, where there is one."""
    if not args.protocol:
        return args.split, args.length or trained
    recipe = find_recipe(args.protocol, kind)
    return recipe.split, recipe.length or trained


def say_per_byte(found: dict, positions: int) -> list[str]:
    """A line, where a position is something else than a byte."""
    from unmask.estimate import plus_minus

    if not found or found["bytes"] == positions:
        return []
    value = plus_minus(found["bits_per_byte"], found["bits_per_byte_stderr"])
    return [f"  {value} bits per byte: {found['bytes']:,} bytes of UTF-8 in the scored text"]


def protocol_of(
    data: Any, model: Any, windows: tuple[str, int, int], how: dict[str, Any]
) -> Protocol:
    """Of an evaluation: the split, the length and the number of its windows; `how` it was
    estimated."""
    from unmask.kinds.folder import SPLITS

    split, length, examples = windows
    terms = data.terms()
    if model.meta.get("labels", False):
        terms["given"] = f"{terms['given']}, classes".removeprefix("nothing, ")
    own, meta = data.meta.get("protocol", {}), data.meta
    return Protocol(
        name=own.get("name", ""), official=own.get("official", ""),
        data_sha256=split_digest(meta, split),
        tokenizer=f"{meta['tokenizer']['name']} of {meta['vocab_size']} values",
        tokenizer_sha256=tokens_digest(meta, SPLITS), unit=data.unit, length=length, split=split,
        examples=examples, version=__version__, **terms, **how,
    )  # fmt: skip


def say_protocol(protocol: Protocol) -> str:
    named = protocol.name or "of these flags"
    official = f", official source: {protocol.official}" if protocol.official else ""
    return f"  protocol {named}, SHA-256 {protocol.sha256[:12]}{official}"
