"""The command line that the scripts of tables have in common."""

import argparse
import math
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from rivalry.cells import work
from rivalry.plan import planned
from rivalry.report import any_finished, lines_of
from rivalry.tables import RATES, Table
from unmask.data import Data, open_data
from unmask.files import write_whole
from unmask.train.loop import untrained


def command(
    doc: str | None,
    tables: Iterable[Table],
    chosen: Callable[[Data], Table],
    argv: list[str] | None = None,
) -> int:
    """Do the cells of the table that is `chosen` for the data, and print it.

    tables: those of the script, which have the same rows and sizes.
    """
    tables = list(tables)
    parser = flags(doc, tables[0])
    args = parser.parse_args(argv)
    if wrong := misgiven(args, tables[0]):
        parser.error(wrong)
    if args.threads:
        torch.set_num_threads(args.threads)
    try:
        if not args.report:
            do(parser, tables, chosen, args)
        text = "\n".join(lines_of(args.out, tables)) + "\n"
    except ValueError as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        print("stopped; the same command goes on", file=sys.stderr)
        return 130
    print(text, end="")
    write_whole(args.out / "report.md", text)
    return int(not any_finished(args.out, tables))


def misgiven(args: argparse.Namespace, table: Table) -> str:
    """What is wrong with flags by themselves, and what they may be; "" if nothing is."""
    if strange := set(args.only) - set(table.rows):
        return f"--only {min(strange)}: name some of {', '.join(table.rows)}"
    for name in ("only", "seeds", "rates"):
        given = getattr(args, name)
        if twice := [one for one in given if given.count(one) > 1]:
            return f"--{name} has {twice[0]} twice: name each once"
    if strange := [rate for rate in args.rates if not 0 < rate < math.inf]:
        return f"--rates must be positive numbers, not {strange[0]}"
    if min(args.seeds) < 0:
        return f"--seeds must not be negative, not {min(args.seeds)}"
    if not 0 < args.minutes < math.inf or args.windows < 1:
        given = f"{args.minutes:g} and {args.windows}"
        return f"--minutes must be positive and --windows at least 1, not {given}"
    if args.batch_size < 1:
        return f"--batch-size must be at least 1, not {args.batch_size}"
    if args.calls < 0 or args.calls % (2 * args.batch_size):
        each = f"of two steps of {args.batch_size} sequences"
        return f"--calls must be a multiple {each}, not {args.calls}"
    return ""


def do(
    parser: argparse.ArgumentParser,
    tables: list[Table],
    chosen: Callable[[Data], Table],
    args: argparse.Namespace,
) -> None:
    """Plan, and do the cells; of sizes that make no network, or fit no data, nothing is planned."""
    data = open_data(args.data)
    table = chosen(data)
    for name in args.only:
        try:
            how = {"learning_rate": min(args.rates), "device": args.device}
            untrained(table.config(vars(args), name, steps=1, **how), args.data)
        except ValueError as error:
            parser.error(f"{name}: {error} (or leave the row out of --only)")
    work(table, planned(table, tables, args, data), args)


def names(said: str) -> list[str]:
    return said.split(",")


def seeds(said: str) -> list[int]:
    return [int(one) for one in names(said)]


def numbers(said: str) -> list[float]:
    return [float(one) for one in names(said)]


def flags(doc: str | None, table: Table) -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=doc, formatter_class=raw)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=table.minutes, help="of all of it")
    what = "network calls of a cell, of a sequence each, instead of --minutes"
    parser.add_argument("--calls", type=int, default=0, help=what)
    parser.add_argument("--seeds", type=seeds, default="0,1,2")
    every = ",".join(table.rows)
    what = "rows, with commas between them"
    parser.add_argument("--only", type=names, default=every, help=what)
    rates = ",".join(f"{rate:g}" for rate in RATES)  # of which argparse makes numbers, too
    what = "learning rates that are searched"
    parser.add_argument("--rates", type=numbers, default=rates, help=what)
    what = "sequences of the test split"
    parser.add_argument("--windows", type=int, default=table.windows, help=what)
    for name, value in table.sizes.items():
        flag, said = f"--{name.replace('_', '-')}", f"as of unmask train ({value})"
        parser.add_argument(flag, type=type(value), default=value, help=said)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--again", action="store_true", help="also do cells that failed")
    parser.add_argument("--report", action="store_true", help="only print what there is")
    return parser
