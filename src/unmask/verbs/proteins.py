"""unmask sample and unmask fill of a model of proteins: FASTA in, FASTA out."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from unmask.command import Runtime, check_out, examples_at_a_time, how, run_sampler, write_texts

DRAWS = 32  # of masks, for the score of a filling


def sample_proteins(args: Any, runtime: Runtime, model, tokenizer, folder: Path) -> None:
    """Sequences of --length residues, or as long as training sequences are, in batches of about one length."""
    import torch

    from unmask.infill import spell_states
    from unmask.report import write_report
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
    nats: float
    noise: float


def fill_proteins(args: Any, runtime: Runtime, model, tokenizer) -> dict:
    """Fill the holes (X, -, [MASK], [MASK:20]) of every record, --num times; the fillings of a record come best first."""
    from tqdm import tqdm

    from unmask.data.fasta import parse_fasta, read_fasta

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
        print(f"score: at most so many nats, -log p of what is filled in given the rest, {DRAWS} draws of masks", file=sys.stderr)
    else:
        print("note: fillings are scored for a schedule with one curve for all values, and this one has one per value", file=sys.stderr)
    rows = [i for i, record in enumerate(records) if record.holes.any() for _ in range(args.num)]
    rows.sort(key=lambda i: -len(records[i].ids))
    long = [i for i in rows if len(records[i].ids) > length]
    batches = [[i] * args.num for i in dict.fromkeys(long)]  # their windows depend on their length
    size = examples_at_a_time(args.batch_size, length)
    batches += [rows[i : i + size] for i in range(len(long), len(rows), size)]
    found: dict[int, list[Filling]] = {}
    for batch in batches:
        for i, filling in zip(batch, fill_batch(args, runtime, model, tokenizer, [records[i] for i in batch], scored), strict=True):
            found.setdefault(i, []).append(filling)
    made = []
    for i, record in enumerate(records):
        made += [(record.header, record.letters, None)] * (i not in found)
        for rank, one in enumerate(sorted(found.get(i, []), key=lambda f: f.nats), 1):
            score = f" nats={one.nats:.2f}+-{one.noise:.2f}" if scored else ""
            made.append((f"{record.header} candidate={rank} filled={int(record.holes.sum())}{score}", one.letters, one))
    write_fasta(args.out, ((header, letters) for header, letters, _ in made))
    keys = ("header", "sequence", "nats", "noise")
    rows = [dict(zip(keys, (header, letters, one.nats, one.noise), strict=True)) for header, letters, one in made if one is not None]
    return {"fillings": rows, "score": "upper bound on -log p(filled in | the rest), nats" if scored else None, "draws": DRAWS}


def fill_batch(args: Any, runtime: Runtime, model, tokenizer, records: list, scored: bool) -> list[Filling]:
    """One filling of each of `records`, window by window where they are longer than the model was trained at."""
    import numpy as np
    import torch

    from unmask.infill import windows
    from unmask.likelihood import conditional_nats

    digits, length = model.subtokenizer.length, model.meta["length"]
    width = max(len(record.ids) for record in records)
    ids, holes, valid = (np.zeros((len(records), width), kind) for kind in (np.int64, bool, bool))
    for i, record in enumerate(records):
        n = len(record.ids)
        holes[i, :n] = record.holes
        valid[i, :n] = record.holes | (record.ids < tokenizer.vocab_size)
        ids[i, :n] = np.where(valid[i, :n] & ~record.holes, record.ids, 0)
    ids, holes, valid = (torch.from_numpy(v) for v in (ids, holes, valid))
    z = model.subtokenizer.encode(ids).masked_fill(holes.repeat_interleave(digits, 1), model.mask_id)
    nats, noise = torch.zeros(2, len(records), dtype=torch.float64)
    for part in windows(z, model, length):
        at = slice(part.start // digits, part.stop // digits)
        now = (z[:, part] == model.mask_id).unflatten(1, (-1, digits)).any(-1)
        x, _ = run_sampler(args, runtime, model, z[:, part], valid=None if bool(valid[:, at].all()) else valid[:, at])
        x = x.clamp(min=0)
        z[:, part] = model.subtokenizer.encode(x)
        if scored:
            with runtime.precision:
                of_window, error = conditional_nats(model, x, now, repeats=DRAWS, generator=runtime.generator, valid=valid[:, at])
            nats, noise = nats + of_window, (noise**2 + error**2).sqrt()
    filled = model.subtokenizer.decode(z).numpy()
    made = []
    for i, record in enumerate(records):
        letters = np.frombuffer(record.letters.encode(), np.uint8).copy()
        letters[record.holes] = np.frombuffer(tokenizer.decode(filled[i, : len(letters)][record.holes]).encode(), np.uint8)
        made.append(Filling(letters.tobytes().decode(), float(nats[i]), float(noise[i])))
    return made


def write_fasta(out: str, records: Iterable[tuple[str, str]]) -> None:
    """(header, letters) to the terminal, or to a file; .jsonl: the letters alone."""
    from unmask.data.fasta import format_fasta

    if out.endswith(".jsonl"):
        return write_texts(out, [letters for _, letters in records])
    content = format_fasta(records).encode("utf-8", "surrogateescape")
    if not out:
        sys.stdout.write(content.decode("utf-8", "replace"))
        return None
    Path(out).write_bytes(content)
    print(f"wrote {out}", file=sys.stderr)
    return None
