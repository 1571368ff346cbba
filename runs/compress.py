"""Held-out examples of any kind as files and back, beside their exact likelihood.

    python runs/compress.py demo/run --data demo/data --out compressed --num 1000

The examples of the test split are coded in parts, evenly spread over it; each part is written,
read again, decoded and compared, and gets a record beside it.  A part that is finished is not done
again: the same command goes on where it was stopped.  Prints, of all parts, the bits of the
likelihood, the bytes of the blocks and of the files, and what gzip and xz make of the same tokens.
`runs/compress.sh` does it with a model of each kind.
"""

import argparse
import gzip
import hashlib
import json
import lzma
import time
from pathlib import Path
from typing import Any

import numpy as np

from unmask import MaskedDiffusion, __version__, checkpoint, compression
from unmask.cli.runtime import same_data
from unmask.compression.coding import machine, model_digest
from unmask.data import open_data
from unmask.device import pick_device, tune_process
from unmask.documents import NUMBER, Test, read_json
from unmask.files import write_whole
from unmask.kinds.data import Data
from unmask.kinds.registry import kind_of
from unmask.policies import ORDERS
from unmask.roles import SCORED

SUMS = ("examples", "tokens", "bits", "payload", "checks", "file", "raw", "gzip", "xz", "seconds")


def main(argv: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("model", type=Path, help="a model's folder, or a run's")
    parser.add_argument("--data", type=Path, required=True, help="a prepared folder")
    parser.add_argument("--out", type=Path, required=True, help="a folder for parts and records")
    parser.add_argument("--num", type=int, default=1000, help="examples of the test split")
    parser.add_argument(
        "--part", type=int, default=100, help="examples of a file, and of its block"
    )
    parser.add_argument("--order", choices=ORDERS, default="left-to-right")
    parser.add_argument("--steps", type=int, default=0, help="equal shares of units; 0: one a step")
    args = parser.parse_args(argv)
    for name, least in {"num": 1, "part": 1, "steps": 0}.items():
        if getattr(args, name) < least:
            parser.error(f"--{name} must be at least {least}, not {getattr(args, name)}")
    tune_process()
    try:
        run(args)
    except ValueError as error:
        raise SystemExit(str(error)) from error


def run(args: argparse.Namespace) -> None:
    folder = checkpoint.resolve(args.model)
    model = MaskedDiffusion.from_pretrained(folder).to(pick_device("auto"))
    data = open_data(args.data)
    same_data(model, kind_of(model.meta["data"], folder), data, args.data)
    examples, left_out = examples_of(model, data, args.num)
    if not examples:
        raise ValueError(f"{args.data} has no examples to test on: prepare it with a larger split")
    if left_out:
        print(f"left out: {left_out} examples with values that are not known")
    args.out.mkdir(parents=True, exist_ok=True)
    made = {"model": model_digest(model), "machine": machine(model), "order": args.order}
    made |= {"steps": args.steps, "num": args.num, "part": args.part, "version": __version__}
    records = []
    for begin in range(0, len(examples), args.part):
        some, path = examples[begin : begin + args.part], args.out / f"{begin:06d}.umc"
        own = made | {"tokens_sha256": digest_of(some)}
        record = finished(path, own)
        if record is None:
            record = own | one_part(model, some, args, path)
            write_whole(path.with_suffix(".json"), json.dumps(record, indent=1) + "\n")
        records.append(record)
        print(f"{path}: {line(record)}", flush=True)
    total = {name: sum(record[name] for record in records) for name in SUMS}
    write_whole(args.out / "all.json", json.dumps(made | total, indent=1) + "\n")
    print(f"all: {line(total)}")


def digest_of(examples: list[np.ndarray]) -> str:
    """SHA-256 of examples (S,) and of where each ends."""
    found = hashlib.sha256(str([len(one) for one in examples]).encode())
    for one in examples:
        found.update(one.astype("<u4").tobytes())
    return found.hexdigest()


def examples_of(model: MaskedDiffusion, data: Data, num: int) -> tuple[list[np.ndarray], int]:
    """Examples of the test split without their padding, and how many were left out since a value
    inside is not known."""
    found, seen = [], 0
    for batch in data.windows("test", model.meta["length"], 64, limit=num):
        x, scored = batch["x"].numpy(), np.ones(batch["x"].shape, bool)
        if "valid" in batch:
            scored = batch["valid"].numpy()
        if "role" in batch:
            scored = batch["role"].numpy() == SCORED
        for row, own in zip(x, scored, strict=True):
            size = data.length or int(own.sum())
            if size and own[:size].all():
                found.append(row[:size])
        seen += len(x)
    return found, seen - len(found)


def one_part(
    model: MaskedDiffusion, some: list[np.ndarray], args: argparse.Namespace, path: Path
) -> dict:
    """Write a file of examples, and read it again; ValueError unless they come back."""
    began, shares = time.monotonic(), None
    if args.steps:
        shares = tuple(left / args.steps for left in range(args.steps, -1, -1))
    how = {"order": args.order, "shares": shares, "batch_size": args.part}
    made = compression.compress(model, some, **how, verify=False, progress=True)
    write_whole(path, made.content)
    read = {"batch_size": args.part, "name": str(path), "progress": True}
    back = compression.decompress(model, path.read_bytes(), **read)
    same = (np.array_equal(a, b) for a, b in zip(some, back.examples, strict=True))
    if not all(same):
        raise ValueError(f"{path} does not hold what was compressed")
    wide = np.uint8 if model.subtokenizer.vocab_size <= 256 else np.uint32
    raw = np.concatenate(some).astype(wide).tobytes()
    return {
        "examples": len(some), "tokens": made.tokens, "bits": made.bits,
        "payload": made.sizes.payload, "checks": made.sizes.checks, "file": len(made.content),
        "raw": len(raw), "gzip": len(gzip.compress(raw, 9, mtime=0)),
        "xz": len(lzma.compress(raw, preset=9)), "seconds": time.monotonic() - began,
        "sampler": made.sampler,
    }  # fmt: skip


def finished(path: Path, made: dict) -> dict | None:
    """The record of a part that the same command has finished."""
    record = path.with_suffix(".json")
    if not (path.is_file() and record.is_file()):
        return None
    found = read_json(record)
    same = all(found.get(name) == value for name, value in made.items())
    if not same:
        raise SystemExit(
            f"{record} is of another model, machine, command or other data: name another --out"
        )
    return found


def table(folder: Path) -> list[str]:
    """Lines of Markdown, of the all.json that runs/compress.sh left for each kind: KIND-parts."""
    records = sorted(folder.glob("*-parts/all.json"))
    if not records:
        raise ValueError(f"{folder} has no KIND-parts/all.json: runs/compress.sh makes them")
    names = ("", "examples", "tokens", "likelihood", "blocks", "", "files", "gzip", "xz", "s")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for path in records:
        of = read_json(path, {name: Test(is_number, "a number from 0") for name in SUMS})
        ours = of["payload"] + of["checks"]
        kind = path.parent.name.removesuffix("-parts")
        if of.get("steps"):  # several values at a step
            kind += f", {of['steps']} steps"
        cells = [kind, f"{of['examples']:,}"]
        cells += [f"{of['tokens']:,}", f"{of['bits'] / 8:,.0f}", f"{ours:,}", over(of)]
        cells += [f"{of[name]:,}" for name in ("file", "gzip", "xz")]
        lines.append(f"| {' | '.join(cells)} | {of['seconds']:,.0f} |")
    return lines


def is_number(value: Any) -> bool:
    return NUMBER.holds(value) and value >= 0


def over(of: dict) -> str:
    """How much more the blocks are than the likelihood says."""
    return f"{8 * (of['payload'] + of['checks']) / of['bits'] - 1:+.2%}"


def line(of: dict) -> str:
    ours = of["payload"] + of["checks"]
    return (
        f"{of['examples']:,} examples, {of['tokens']:,} tokens: likelihood {of['bits'] / 8:,.0f} "
        f"bytes, blocks {ours:,} ({over(of)}), files {of['file']:,}; gzip {of['gzip']:,}, "
        f"xz {of['xz']:,}; {of['seconds']:.0f} s both ways"
    )


if __name__ == "__main__":
    main()
