"""unmask score: what each sequence of a file costs."""

import csv
import io
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from unmask.cli.flags import Machine, Model, parse
from unmask.cli.runtime import Runtime, check_positive
from unmask.files import no_file, write_whole
from unmask.kinds.output import check_out


@dataclass(frozen=True, kw_only=True)
class Score(Machine):
    model: Model
    input: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="INPUT")]
    """Of a model of text: a text, each line of which is scored, or JSON lines (.jsonl).
    Of proteins: a FASTA file."""
    out: str = ""
    """Write the CSV here, not to the terminal."""
    repeats: int = 32
    """Draws of masks for each sequence."""
    batch_size: int = 0
    """Sequences that run through the network at a time; 0: 64, or more where they are short."""


def score(argv: list[str]) -> None:
    """An upper bound on -log p of each sequence, in nats and in bits a position, as CSV.

    The noise beside it is that of the masks, one standard error.
    """
    args = parse(Score, "score", argv, score.__doc__)
    runtime = Runtime(args)
    from unmask.filling import Filler
    from unmask.roles import HOLE

    check_positive(args, "repeats")
    check_out(args.out)
    if not args.input.is_file():
        raise no_file(args.input, f"there is no file {args.input}: INPUT is a text or a FASTA file")
    model, kind, folder = runtime.load(args.model)
    names, examples = kind.listed(args.input, model.meta["length"])
    filler = Filler(
        model,
        batch_size=args.batch_size,
        seed=args.seed,
        precision=runtime.precision,
        progress=True,
    )
    if not filler.can_score:
        raise ValueError(
            f"{folder} has a schedule with one curve per value, which scores one sequence at a "
            "time in no way that is known here: use unmask eval"
        )
    found = filler.score(examples, draws=args.repeats)
    unit = kind.unit
    columns = ("name", f"{unit}s", "nats", "noise", f"bits_per_{unit}", "bits_noise")
    rows = []
    for name, example, one in zip(names, examples, found, strict=True):
        size = int((example.role == HOLE).sum())
        bits = (value / math.log(2) / size for value in (one.nats, one.noise))
        rows.append((name, size, one.nats, one.noise, *bits))
    write_csv(args.out, columns, rows)
    scores = [dict(zip(columns, row, strict=True)) for row in rows]
    what = "upper bound on the negative log-likelihood"
    runtime.record(folder, scores=scores, what=what, repeats=args.repeats)


def write_csv(out: str, columns: Sequence[str], rows: Sequence[Sequence]) -> None:
    """To the terminal, or to the file `out`; numbers with four digits after the point."""
    content = io.StringIO()
    writer = csv.writer(content, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"{v:.4f}" if isinstance(v, float) else v for v in row])
    if not out:
        sys.stdout.write(content.getvalue())
        return
    write_whole(Path(out), content.getvalue())
    print(f"wrote {out}", file=sys.stderr)
