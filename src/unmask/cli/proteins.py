"""unmask sample and unmask fill of a model of proteins: FASTA in, FASTA out."""

import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from unmask.cli.runtime import Runtime, check_out, examples_at_a_time, fill_window, how, run_sampler, write_texts

DRAWS = 32  # of masks, for the score of a filling
WINDOWS = 2**24  # more than a record has


def sample_proteins(args: Any, runtime: Runtime, model, tokenizer, folder: Path) -> None:
    """Sequences of --length residues, or as long as training sequences are, in batches of about one length."""
    import torch

    from unmask.kinds.text.holes import spell_states
    from unmask.report.report import write_report
    from unmask.sampling import draw_lengths

    if args.length:
        sizes, said = torch.full((args.num,), args.length), f"--length {args.length}"
    else:
        sizes, trained = draw_lengths(model, args.num, runtime.generator), model.meta["length"]
        left_out = sum(count for n, count in model.meta["data"]["lengths"].items() if int(n) > trained)
        said = f"those of the training sequences; {left_out:,} longer than {trained}, the trained length, are left out"
    print(f"lengths: {said}", file=sys.stderr)
    letters, frames = [""] * args.num, []
    for part in sizes.argsort(descending=True, stable=True).split(examples_at_a_time(args.batch_size, model.meta["length"])):
        valid = torch.arange(int(sizes[part[0]])) < sizes[part, None]
        z = torch.full((len(part), valid.shape[1] * model.subtokenizer.length), model.mask_id)
        shown = int(bool(args.frames) and not frames)
        x, states = run_sampler(args, runtime, model, z, frames=shown, valid=None if bool(valid.all()) else valid)
        frames = frames or [state[0] for state in states if shown]
        for i, row in zip(part.tolist(), x, strict=True):
            letters[i] = tokenizer.decode(row[: sizes[i]])
    write_fasta(args.out, ((f"sample-{i} seed={args.seed}", row) for i, row in enumerate(letters, 1)))
    if args.frames:
        write_report(Path(args.frames), title="A protein, step by step", unit="residue", sources=f"unmask {' '.join(sys.argv[1:])}",
                     frames=spell_states(model, tokenizer, frames))  # fmt: skip
        print(f"wrote {args.frames}", file=sys.stderr)
    runtime.record(folder, samples=letters, lengths=sizes.tolist(), length_model=said, **how(args))


class Filling(NamedTuple):
    """A record with its holes filled; nats: an upper bound on -log p(what was filled in | the rest), and its error."""

    letters: str
    rank: float  # the same bound from other draws
    nats: float
    noise: float


def fill_proteins(args: Any, runtime: Runtime, model, tokenizer) -> dict:
    """Fill the holes (X, -, [MASK], [MASK:20]) of every record, --num times; the fillings of a record come best first."""
    import torch
    from tqdm import tqdm

    from unmask.kinds.proteins.fasta import parse_fasta, read_fasta
    from unmask.kinds.text.holes import windows

    check_out(args.out)
    if args.mask or args.label != -1:
        raise ValueError("--mask and --label are for pictures, and this is a model of proteins, whose holes are marked with X, - or [MASK]")
    if str(args.input) == "-":
        records = list(parse_fasta([sys.stdin.buffer.read()], "standard input", holes=True))
    else:
        records = list(read_fasta(args.input, tqdm(disable=True), holes=True))
    length, open_ = model.meta["length"], [record for record in records if record.holes.any()]
    if not open_:
        raise ValueError(f"{args.input} has no hole: write X, - or [MASK] for a residue to fill in, or [MASK:20] for twenty")
    for record in open_:
        if len(record.letters) > length and not args.window:
            raise ValueError(f"{record.place} has {len(record.letters)} residues and the model was trained at {length}: shorten it, or "
                             "allow filling it window by window with --window")  # fmt: skip
    if len(open_) < len(records):
        print(f"note: {len(records) - len(open_)} of {len(records)} records have no hole; they are passed through", file=sys.stderr)
    if scored := model.schedule.num_values == 1:
        told = f"{DRAWS} draws of masks" + (", and others to rank by" if args.num > 1 else "")
        print(f"score: at most so many nats, -log p of what is filled in given the rest, {told}", file=sys.stderr)
    else:
        print("note: fillings are scored for a schedule with one curve for all values, and this one has one per value", file=sys.stderr)
    rows = [i for i, record in enumerate(records) if record.holes.any() for _ in range(args.num)]
    rows.sort(key=lambda i: -len(records[i].ids))
    long = [i for i in rows if len(records[i].ids) > length]
    batches = [[i] * args.num for i in dict.fromkeys(long)]  # their windows depend on their length
    size = examples_at_a_time(args.batch_size, length)
    batches += [rows[i : i + size] for i in range(len(long), len(rows), size)]
    found: dict[int, list[Filling]] = {}
    for numbers in batches:
        batch = Holed.of([records[i] for i in numbers], model, tokenizer)
        for part, fill in windows(batch.holes.any(0), length):
            fill_window(args, runtime, model, batch.z, part, batch.holes[:, part] & fill, batch.valid)
        rank = nats = noise = torch.full((len(numbers),), math.nan)
        if scored:
            nats, noise = score_fillings(runtime, model, batch, numbers, args.seed)
            rank = nats
        if scored and args.num > 1:  # the best of several is the best in part by luck: what is told of it is drawn afresh
            nats, noise = score_fillings(runtime, model, batch, numbers, args.seed + 1)
        for row, i in enumerate(numbers):
            letters = spell(records[i], model.subtokenizer.decode(batch.z[row : row + 1])[0], tokenizer)
            found.setdefault(i, []).append(Filling(letters, float(rank[row]), float(nats[row]), float(noise[row])))
    made = []
    for i, record in enumerate(records):
        made += [(record.header, record.letters, None)] * (i not in found)
        for number, one in enumerate(sorted(found.get(i, []), key=lambda f: f.rank), 1):
            score = f" nats={one.nats:.2f}+-{one.noise:.2f}" if scored else ""
            made.append((f"{record.header} candidate={number} filled={int(record.holes.sum())}{score}", one.letters, one))
    write_fasta(args.out, ((header, letters) for header, letters, _ in made))
    keys = ("header", "sequence", "nats", "noise")
    rows = [dict(zip(keys, (header, letters, one.nats, one.noise), strict=True)) for header, letters, one in made if one is not None]
    return {"fillings": rows, "score": "upper bound on -log p(filled in | the rest), nats" if scored else None, "draws": DRAWS}


class Holed(NamedTuple):
    """Records of residues side by side, padded to the longest."""

    z: Any  # (B, S*L)
    holes: Any  # (B, S) bool
    valid: Any  # (B, S) bool: a hole, or a residue that is known

    @classmethod
    def of(cls, records: list, model, tokenizer) -> "Holed":
        import numpy as np
        import torch

        width = max(len(record.ids) for record in records)
        ids, holes, valid = (np.zeros((len(records), width), kind) for kind in (np.int64, bool, bool))
        for i, record in enumerate(records):
            n = len(record.ids)
            holes[i, :n] = record.holes
            valid[i, :n] = record.holes | (record.ids < tokenizer.vocab_size)
            ids[i, :n] = np.where(valid[i, :n] & ~record.holes, record.ids, 0)
        ids, holes, valid = (torch.from_numpy(v) for v in (ids, holes, valid))
        z = model.subtokenizer.encode(ids).masked_fill(holes.repeat_interleave(model.subtokenizer.length, 1), model.mask_id)
        return cls(z, holes, valid)


def score_fillings(runtime: Runtime, model, batch: Holed, numbers: list[int], seed: int) -> tuple[Any, Any]:
    """(B,) nats and their noise of what was filled in, window by window as it was; rows of one of `numbers` share masks."""
    import torch

    from unmask.kinds.text.holes import windows
    from unmask.likelihood import conditional_nats
    from unmask.masks import BLOCK

    x = model.subtokenizer.decode(batch.z)
    nats, variance = torch.zeros(2, len(x), dtype=torch.float64)
    left = batch.holes.clone()
    for window, (part, fill) in enumerate(windows(batch.holes.any(0), model.meta["length"])):
        now = batch.holes[:, part] & fill
        left[:, part] &= ~now
        examples = [BLOCK * (WINDOWS * i + window) for i in numbers]  # no two windows of a record share strata: their noises add up
        with runtime.precision:
            more, noise = conditional_nats(model, x[:, part], now, repeats=DRAWS, seed=seed, examples=examples, unknown=left[:, part],
                                           valid=batch.valid[:, part])  # fmt: skip
        nats, variance = nats + more, variance + noise**2
    return nats, variance.sqrt()


def spell(record: Any, filled: Any, tokenizer) -> str:
    """A record's letters with its holes as in the ids `filled` (S,); all else as it was."""
    import numpy as np

    letters = np.frombuffer(record.letters.encode(), np.uint8).copy()
    letters[record.holes] = np.frombuffer(tokenizer.decode(filled[: len(letters)].numpy()[record.holes]).encode(), np.uint8)
    return letters.tobytes().decode()


def write_fasta(out: str, records: Iterable[tuple[str, str]]) -> None:
    """(header, letters) to the terminal, or to a file; .jsonl: the letters alone."""
    from unmask.kinds.proteins.fasta import format_fasta

    if out.endswith(".jsonl"):
        return write_texts(out, [letters for _, letters in records])
    content = format_fasta(records).encode("utf-8", "surrogateescape")
    if not out:
        sys.stdout.write(content.decode("utf-8", "replace"))
        return None
    Path(out).write_bytes(content)
    print(f"wrote {out}", file=sys.stderr)
    return None
