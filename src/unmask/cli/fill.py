"""unmask fill: a kind reads, a filler fills, the kind writes."""

from dataclasses import dataclass, make_dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from unmask.cli.flags import Model, Sampler, flags_of, parse
from unmask.cli.runtime import Runtime, check_positive, how, refuse_others
from unmask.files import as_file, no_file
from unmask.kinds.kind import flag_names
from unmask.kinds.output import check_apart
from unmask.labels import label_of


@dataclass(frozen=True, kw_only=True)
class Common(Sampler):
    model: Model
    input: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="INPUT")]
    """A text file; - for standard input, of which a table's or a picture's result is written to
    standard-input-filled.csv or .png, if --out names no other.
    [MASK] is one token to fill in, [MASK:20] twenty, \\[MASK] the letters themselves.
    Of a model of pictures: a picture, whose transparent pixels are filled in.
    Of a table: a CSV file, whose missing cells are.
    Of proteins: a FASTA file, in which X and - are holes, too; every filling comes with a score."""
    num: int = 1
    """How many different fillings."""
    window: bool = False
    """Allow a text longer than the length that the model was trained at:
    fill it window by window, left to right."""


def flags_of_filling() -> type:
    """The verb's flags, those of all kinds among them."""
    bases = (*flags_of("Read"), Common)
    return make_dataclass("Fill", [], bases=bases, frozen=True, kw_only=True)


def fill(argv: list[str]) -> None:
    """Fill in the holes of a text, a picture, a table or proteins; what is given never changes."""
    args: Any = parse(flags_of_filling(), "fill", argv, fill.__doc__)
    runtime = Runtime(args)
    from unmask.filling import Filler
    from unmask.rows import check_known, given

    check_positive(args, "num")
    if args.input != "-" and not Path(args.input).is_file():
        raise no_file(
            Path(args.input),
            f"there is no file {args.input}: "
            "INPUT is a text, a picture, a table or a FASTA file, or - for standard input",
        )
    model, kind = runtime.load(args.model, "fill")
    refuse_others(args, kind, "Read")
    if "label" in flag_names(kind.Read):
        args = replace(args, label=label_of(args.label, model))
    with as_file(args.input) as path:
        source = kind.read(path, args, model.meta["length"])
        outs = [*(source.writes or [args.out]), args.json]
        check_apart(outs, [path, *source.reads, args.grid])
        shown = given(source.examples, model.meta["length"], str(path))
        check_known(model, kind.tokenizer, shown)
        made = source.fill(Filler(model, **runtime.filling(), window=args.window))
    drawn = {} if getattr(args, "best", False) else how(args, model)
    runtime.record(**made, **drawn)
