"""unmask sample and unmask fill of a model of tables."""

import csv
import sys
from pathlib import Path

import numpy as np

from unmask.command import Runtime, Sampler, check_out, examples_at_a_time, run_sampler


def write_table(out: str, text: str) -> None:
    if out:
        Path(out).write_text(text, encoding="utf-8")
        print(f"wrote {out}", file=sys.stderr)
    else:
        sys.stdout.write(text)


def sample_rows(args: Sampler, num: int, runtime: Runtime, model, table) -> dict:
    """Synthetic rows, written as the source of the model's data is."""
    import torch

    check_out(args.out)
    z = torch.full((num, table.length * model.subtokenizer.length), model.mask_id)
    x, _ = run_sampler(args, runtime, model, z)
    write_table(args.out, table.write(table.decode(x.numpy())))
    return {"out": args.out, "num": num}


def fill_rows(args, runtime: Runtime, model, table) -> dict:
    """The missing cells of a CSV file: drawn, `args.num` times, or with --best guessed; every other cell stays as it is."""
    from unmask.data.tables import read_rows
    from unmask.imputation import describe_guess, guesses, states

    out = Path(args.out or f"{args.input.stem}-filled.csv")
    names = [out] if args.num == 1 else [out.with_stem(f"{out.stem}-{i}") for i in range(1, args.num + 1)]
    for name in (*names, *filter(None, [args.probabilities])):
        check_out(str(name))
        if Path(name).resolve() == args.input.resolve():
            raise ValueError(f"{name} would overwrite the input: name another file")
    if args.best and args.num > 1:
        raise ValueError(f"--best has one answer, not --num {args.num}: leave one of them out")
    rows, header, tokens = read_rows(args.input, table, unseen=args.unseen, encoding=args.encoding)
    places = [c.place for c in table.columns] if header is None else [header.index(name) for name in table.names]
    hole = tokens == table.vocab_size
    if not hole.any():
        raise ValueError(f"{args.input} has no missing cell: leave those to fill in empty, or write ? into them")
    holed = np.flatnonzero(hole.any(1))
    said = {"rows": len(rows), "cells_filled": int(hole.sum()), "rows_filled": len(holed)}
    found = []
    with runtime.precision:
        if args.best or args.probabilities:
            found = list(guesses(model, table, tokens, examples_at_a_time(args.batch_size, table.length)))
        for name in names:
            full = tokens.copy()
            if args.best:
                for guess in found:
                    full[guess.row, guess.column] = guess.token
            else:
                full[holed] = run_sampler(args, runtime, model, states(model, tokens[holed]))[0].numpy()
            cells = table.decode(full)
            written = [list(row) for row in rows]
            for i, c in np.argwhere(hole):
                written[i][places[c]] = cells[i][c]
            write_table(str(name), table.write(written, header))
    if args.probabilities:
        with open(args.probabilities, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["row", "column", "value", "probability"])
            for guess in found:
                writer.writerows(describe_guess(table, guess))
        print(f"wrote {args.probabilities}", file=sys.stderr)
    print(f"filled {hole.sum():,} cells in {len(holed):,} of {len(rows):,} rows", file=sys.stderr)
    return {"out": [str(name) for name in names], **said}
