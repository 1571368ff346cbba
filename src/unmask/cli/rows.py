"""unmask sample and unmask fill of a model of tables."""

import csv
import os
import sys
from pathlib import Path

import numpy as np

from unmask.cli.flags import Sampler
from unmask.cli.runtime import Runtime, check_out, examples_at_a_time, run_sampler


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
    from unmask.imputation import describe_guess, guesses, states
    from unmask.kinds.tables.prepare import read_rows

    if str(args.input) == "-":
        raise ValueError("a table is read from a file, not from standard input: name it")
    out = Path(args.out or f"{args.input.name.removesuffix('.gz').removesuffix('.xz').removesuffix('.csv')}-filled.csv")
    names = [out] if args.num == 1 else [out.with_stem(f"{out.stem}-{i}") for i in range(1, args.num + 1)]
    written = [*names, *([Path(args.probabilities)] if args.probabilities else [])]
    for name in written:
        check_out(str(name))
        if name.resolve() == args.input.resolve():
            raise ValueError(f"{name} would overwrite the input: name another file")
    if args.probabilities and written[-1].resolve() in [name.resolve() for name in names]:
        raise ValueError(f"{args.probabilities} is to hold the filled table: name another file for the probabilities")
    if args.best and args.num > 1:
        raise ValueError(f"--best has one answer, not --num {args.num}: leave one of them out")
    rows = read_rows(args.input, table, unseen=args.unseen, encoding=args.encoding)
    hole = rows.tokens == table.vocab_size
    hole[:, [column.values == ("",) for column in table.columns]] = False  # nothing is known of those
    for i, c in np.argwhere(hole):  # what the model does not know is hidden from it, and kept
        hole[i, c] = table.is_missing(rows.cells[i][rows.places[c]])
    if not hole.any():
        raise ValueError(f"{args.input} has no missing cell: leave those to fill in empty, or write ? into them")
    holed = np.flatnonzero(hole.any(1))
    best = rows.tokens.copy()
    with runtime.precision:
        if args.best or args.probabilities:
            found = guesses(model, table, rows.tokens, examples_at_a_time(args.batch_size, table.length))
            with open(args.probabilities or os.devnull, "w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(["row", "column", "value", "probability"])
                for guess in found:
                    best[guess.row, guess.column] = guess.token
                    if hole[guess.row, guess.column]:
                        writer.writerows(describe_guess(table, guess))
        for name in names:
            full = best.copy()
            if not args.best:
                full[holed] = run_sampler(args, runtime, model, states(model, rows.tokens[holed]))[0].numpy()
            values = table.decode(full)
            filled = [list(row) for row in rows.cells]
            for i, c in np.argwhere(hole):
                filled[i][rows.places[c]] = values[i][c]
            write_table(str(name), table.write(filled, rows.header))
    if args.probabilities:
        print(f"wrote {args.probabilities}", file=sys.stderr)
    print(f"filled {hole.sum():,} cells in {len(holed):,} of {len(hole):,} rows", file=sys.stderr)
    return {"out": [str(name) for name in names], "rows": len(hole), "cells_filled": int(hole.sum()), "rows_filled": len(holed)}
