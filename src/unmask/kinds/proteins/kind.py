"""The kind, as the verbs see it: FASTA in, FASTA out."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unmask.kinds.kind import Filler, Kind, Layout, NoFlags, Partial, Source, too_long
from unmask.kinds.output import check_out, write_texts
from unmask.kinds.proteins.flags import PrepareProteins
from unmask.kinds.proteins.presets import PRESETS
from unmask.roles import ABSENT, GIVEN, HOLE

DRAWS = 32  # of masks, for the score of a filling


class Proteins(Kind):
    name = "proteins"
    about = "Protein sequences: FASTA."
    source = (
        "A FASTA file (also .gz, .xz), or a folder of them. The 20 amino acids, U and O are "
        "residues; where there is B, J, X or Z, it is not known which residue there is, and the "
        "position is neither scored nor attended to. Gaps and any other letter are errors."
    )
    Prepare = PrepareProteins
    presets = PRESETS
    what = "proteins"
    title, unit = "A protein", "residue"
    keys = (
        "format",
        "kind",
        "tokenizer",
        "vocab_size",
        "dtype",
        "documents",
        "eot",
        "tokens",
        "document_count",
        "lengths",
    )
    no_labels = "proteins, which has no labels"
    tokens = ("residues",)
    Read = NoFlags

    @classmethod
    def demos(cls) -> list[type]:
        from unmask.kinds.proteins.demo import UniProt

        return [UniProt]

    @classmethod
    def prepare(cls, args: Any) -> tuple[dict, list[str]]:
        from unmask.kinds.proteins.prepare import prepare_proteins

        meta = prepare_proteins(
            args.source,
            args.out,
            split=args.split,
            validation=args.validation or None,
            test=args.test or None,
        )
        said = []
        counts, lengths = meta["document_count"], list(meta["lengths"])
        said.append(
            f"{args.out}: {', '.join(f'{n:,} {name}' for name, n in counts.items())} sequences"
        )
        how = f"{meta['distinct']:,} of them different, split by a hash"
        said.append(
            f"  {'in files of their own' if meta['split'] == 'files' else how}; homologues may be on several sides"
        )
        mean, unknown = meta["tokens"]["train"] / counts["train"], sum(meta["unknown"].values())
        said.append(
            f"  training: {meta['tokens']['train']:,} residues, {lengths[0]} to {lengths[-1]} a sequence, mean {mean:.0f}"
        )
        said.append(f"  in all {unknown:,} positions without a value (B, J, X, Z)")
        return meta, said

    @classmethod
    def open(cls, folder: Path, meta: dict, *, labels: bool) -> Any:
        from unmask.kinds.proteins.data import ProteinData

        return ProteinData(folder, meta)

    @classmethod
    def load_tokens(cls, spec: dict, folder: Path) -> Any:
        from unmask.kinds.proteins.residues import Residues

        return Residues()

    @property
    def layout(self) -> Layout:
        return Layout(ends=True)

    def describe(self) -> str:
        return f"proteins ({self.meta['tokenizer']['vocab_size']} residues)"

    def read(self, path: Path, args: Any, length: int) -> Source:
        return Records(path, args, length, self.tokenizer)

    def write(self, rows: list, args: Any) -> dict:
        letters = [self.tokenizer.decode(row) for row in rows]
        write_fasta(
            args.out, ((f"sample-{i} seed={args.seed}", row) for i, row in enumerate(letters, 1))
        )
        return {"samples": letters}


class Records(Source):
    """The records of a FASTA file, in which X, - and [MASK] are holes; the fillings of a record
    come best first."""

    def __init__(self, path: Path, args: Any, length: int, residues: Any):
        import numpy as np
        from tqdm import tqdm

        from unmask.kinds.proteins.fasta import parse_fasta, read_fasta

        check_out(args.out)
        if str(path) == "-":
            self.records = list(
                parse_fasta([sys.stdin.buffer.read()], "standard input", holes=True)
            )
        else:
            self.records = list(read_fasta(path, tqdm(disable=True), holes=True))
        open_ = [record for record in self.records if record.holes.any()]
        if not open_:
            raise ValueError(
                f"{path} has no hole: write X, - or [MASK] for a residue to fill in, or [MASK:20] for twenty"
            )
        for record in open_:
            if len(record.letters) > length and not args.window:
                raise too_long(record.place, len(record.letters), "residue", length)
        if left := len(self.records) - len(open_):
            print(
                f"note: {left} of {len(self.records)} records have no hole; they are passed through",
                file=sys.stderr,
            )
        self.args, self.tokenizer = args, residues
        self.examples = []
        for record in self.records:
            known = np.where(record.ids < residues.vocab_size, GIVEN, ABSENT)
            self.examples.append(
                Partial(
                    record.ids.astype(np.int64), np.where(record.holes, HOLE, known).astype(np.int8)
                )
            )

    def fill(self, filler: Filler) -> dict:
        scored = filler.can_score
        if scored:
            told = f"{DRAWS} draws of masks" + (
                ", and others to rank by" if self.args.num > 1 else ""
            )
            print(
                f"score: at most so many nats, -log p of what is filled in given the rest, {told}",
                file=sys.stderr,
            )
        else:
            print(
                "note: fillings are scored for a schedule with one curve for all values, and this one has one per value",
                file=sys.stderr,
            )
        found = filler.fill(self.examples, num=self.args.num, score=DRAWS if scored else 0)
        made, kept = [], []
        for record, candidates in zip(self.records, found, strict=True):
            if not record.holes.any():
                made.append((record.header, record.letters))
                continue
            for number, one in enumerate(candidates, 1):
                score = f" nats={one.nats:.2f}+-{one.noise:.2f}" if scored else ""
                header = (
                    f"{record.header} candidate={number} filled={int(record.holes.sum())}{score}"
                )
                made.append((header, self.spell(record, one.ids)))
                kept.append(
                    {
                        "header": header,
                        "sequence": made[-1][1],
                        "nats": one.nats,
                        "noise": one.noise,
                    }
                )
        write_fasta(self.args.out, made)
        return {
            "fillings": kept,
            "score": "upper bound on -log p(filled in | the rest), nats" if scored else None,
            "draws": DRAWS,
        }

    def spell(self, record: Any, ids: Any) -> str:
        """A record's letters with its holes as in `ids` (S,); all else as it was."""
        import numpy as np

        letters = np.frombuffer(record.letters.encode(), np.uint8).copy()
        letters[record.holes] = np.frombuffer(
            self.tokenizer.decode(ids[record.holes]).encode(), np.uint8
        )
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
