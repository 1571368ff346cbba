"""The kind, as the verbs see it: FASTA in, FASTA out."""

import sys
from pathlib import Path
from typing import Any

from unmask.files import write_whole
from unmask.kinds.kind import (
    Adopted,
    Filler,
    Kind,
    Layout,
    Listed,
    NoFlags,
    Packed,
    Partial,
    Source,
    own_flags,
    too_long,
)
from unmask.kinds.leftout import say_skipped
from unmask.kinds.output import check_out, table, write_texts
from unmask.kinds.proteins.flags import PrepareProteins
from unmask.kinds.proteins.presets import PRESETS
from unmask.kinds.proteins.protocols import PROTOCOLS
from unmask.kinds.quality import Quality
from unmask.kinds.view import Words
from unmask.roles import ABSENT, GIVEN, HOLE, UNKNOWN

DRAWS = 32  # of masks, for the score of a filling
SCORE = "score: at most so many nats, -log p of what is filled in given the rest"
NO_SCORE = (
    "note: fillings are scored for a schedule with one curve for all values, "
    "and this one has one per value"
)


class Proteins(Kind):
    name = "proteins"
    about = "Protein sequences: FASTA."
    source = (
        "A FASTA file (also .gz, .xz), or a folder of them. The 20 amino acids, U and O are "
        "residues; where there is B, J, X or Z, it is not known which residue there is, and the "
        "position is neither scored nor attended to. A * at the end, a stop, is dropped. Gaps, a * "
        "inside and any other letter are errors, or leave the record out with --skip-bad."
    )
    Prepare = PrepareProteins
    presets = PRESETS
    protocols = PROTOCOLS
    what = "proteins"
    title, unit = "A protein", "residue"
    keys = (
        "format", "kind", "tokenizer", "vocab_size", "dtype",
        "documents", "eot", "tokens", "document_count", "lengths",
    )  # fmt: skip
    no_labels = "proteins, which has no labels"
    tokens = ("residues",)
    Read = NoFlags
    not_judged, spelled = "", True

    @classmethod
    def demos(cls) -> list[type]:
        from unmask.kinds.proteins.demo import UniProt

        return [UniProt]

    @classmethod
    def prepare(cls, args: Any) -> tuple[dict, list[str]]:
        from unmask.kinds.proteins.prepare import prepare_proteins

        meta = prepare_proteins(args.source, args.out, **own_flags(cls.Prepare, args))
        counts, lengths = meta["document_count"], list(meta["lengths"])
        numbers = ", ".join(f"{n:,} {name}" for name, n in counts.items())
        how = f"{meta['distinct']:,} of them different, split by a hash"
        homologues = "; homologues may be on several sides"
        if meta["split"] == "files":
            how = "in files of their own"
        said, clusters = [], meta.get("clusters")
        if clusters:
            groups = sum(clusters["count"].values())
            how += (
                f"; what {clusters['name']} links, or is equal, stays together: {groups:,} groups"
            )
            homologues = "; relatives that it does not link may be on several sides"
            if clusters["beside"]:
                said = [f"  names of {clusters['name']} of no record here: {clusters['beside']:,}"]
        residues = meta["tokens"]["train"]
        training = "no sequence"
        if lengths:
            mean = residues / counts["train"]
            training = (
                f"{residues:,} residues, {lengths[0]} to {lengths[-1]} a sequence, mean {mean:.0f}"
            )
        unknown = sum(meta["unknown"].values())
        return meta, [
            f"{args.out}: {numbers} sequences",
            f"  {how}{homologues}",
            *said,
            f"  training: {training}",
            f"  in all {unknown:,} positions without a value (B, J, X, Z)",
            *table_of(meta, args.out),
            *say_skipped(meta),
        ]

    @classmethod
    def open(cls, folder: Path, meta: dict, *, labels: bool) -> Any:
        from unmask.kinds.proteins.data import ProteinData

        return ProteinData(folder, meta)

    @classmethod
    def load_tokens(cls, spec: dict, folder: Path) -> Any:
        from unmask.kinds.proteins.residues import Residues

        return Residues()

    @classmethod
    def adopt(cls, entries: dict[str, int], file: Path) -> Adopted | None:
        """Of a vocabulary of single letters, all common residues among them."""
        import numpy as np

        from unmask.kinds.proteins.residues import COMMON, LETTERS, Residues

        # a few entries of ESM's are longer, all of which no sequence has
        letters = [entry for entry in entries if len(entry) == 1]
        if not set(COMMON) <= set(letters) or len(letters) < len(entries) - 4:
            return None
        if any(letter.islower() for letter in letters):  # the characters of texts
            return None
        rows = np.array([entries.get(letter, -1) for letter in LETTERS])
        return Adopted(Residues(), rows)

    def follow(self, name: str, source: Path, out: Path) -> None:
        from unmask.kinds.proteins.prepare import prepare_proteins
        from unmask.kinds.recipe import note_protocol, standing

        recipe = PROTOCOLS[name]
        prepare_proteins(source, out, split=recipe.shares, skip_bad=None, progress=False)
        chosen = f"the {recipe.split} part of {recipe.shares} in an order by hash"
        alone = "each sequence alone, longer ones cut into consecutive windows"
        note_protocol(out, name, standing(recipe, []), packing=f"{chosen}, {alone}")

    @property
    def layout(self) -> Layout:
        return Layout(ends=True)

    def describe(self) -> str:
        return f"proteins ({self.meta['tokenizer']['vocab_size']} residues)"

    def read(self, path: Path, args: Any, length: int) -> Source:
        return Records(path, args, length, self.tokenizer)

    def listed(self, path: Path, args: Any, *, marks: bool = False) -> list[Listed]:
        """The records of a FASTA file: - and [MASK] are residues that are not known and hidden;
        where B, J, X or Z leaves open which there is, none is, as in `eval`."""
        import numpy as np
        from tqdm import tqdm

        from unmask.kinds.proteins.fasta import read_fasta

        found = []
        for number, record in enumerate(read_fasta(path, tqdm(disable=True), holes=True), 1):
            known = record.ids < self.tokenizer.vocab_size
            if not marks and not known.any():
                raise ValueError(f"{record.place} has no residue that is known: take it out")
            hidden = np.where(np.array(list(record.letters)) == "-", UNKNOWN, ABSENT)
            role = np.where(known, HOLE, hidden).astype(np.int8)
            example = Partial(record.ids.astype(np.int64), role)
            found.append(Listed(record.header, record.place, number, example))
        return found

    @property
    def words(self) -> Words:
        return Words(self.unit, samples="Sampled proteins")

    def hidden(self, ids: Any) -> Any:
        from unmask.kinds.proteins.residues import hidden

        return hidden(ids)

    def pack(self, path: Path) -> Packed:
        from unmask.kinds.proteins.packed import pack

        return pack(path, self.tokenizer)

    def unpack(self, rows: list, beside: bytes, out: str) -> None:
        from unmask.kinds.proteins.packed import unpack

        unpack(rows, beside, out, self.tokenizer)

    def quality(self, data: Any, path: Path, args: Any) -> Quality:
        from unmask.kinds.proteins.quality import judge

        return judge(data, path, split=args.split, seed=args.seed)

    def editor(self, length: int) -> Any:
        from unmask.kinds.proteins.editor import ProteinEditor

        return ProteinEditor(self, length)

    def write(self, rows: list, args: Any) -> dict:
        from unmask.kinds.proteins.fasta import format_fasta

        letters = [self.tokenizer.decode(row) for row in rows]
        headers = (f"sample-{i} seed={args.seed}" for i in range(1, len(rows) + 1))
        content = format_fasta(zip(headers, letters, strict=True))
        write_fasta(args.out, content, letters)
        return {"samples": letters}


class Records(Source):
    """The records of a FASTA file, in which X, - and [MASK] are holes.

    The fillings of a record come best first.  A record without holes comes back as it was.
    """

    def __init__(self, path: Path, args: Any, length: int, residues: Any):
        import numpy as np
        from tqdm import tqdm

        from unmask.kinds.proteins.fasta import read_fasta

        check_out(args.out)
        self.records = list(read_fasta(path, tqdm(disable=True), holes=True))
        open_ = [record for record in self.records if record.holes.any()]
        if not open_:
            fix = "write X, - or [MASK] for a residue to fill in, or [MASK:20] for twenty"
            raise ValueError(f"{path} has no hole: {fix}")
        for record in open_:
            if len(record.letters) > length and not args.window:
                raise too_long(record.place, len(record.letters), "residue", length)
        if left := len(self.records) - len(open_):
            some = f"{left} of {len(self.records)} records"
            print(f"note: {some} have no hole; they are passed through", file=sys.stderr)
        self.args, self.tokenizer = args, residues
        self.examples = []
        for record in self.records:
            known = np.where(record.ids < residues.vocab_size, GIVEN, ABSENT)
            role = np.where(record.holes, HOLE, known).astype(np.int8)
            self.examples.append(Partial(record.ids.astype(np.int64), role))

    def fill(self, filler: Filler) -> dict:
        from unmask.kinds.proteins.fasta import format_fasta

        scored, num = filler.can_score, self.args.num
        if scored:
            said = f"{SCORE}, {DRAWS} draws of masks"
            if num > 1:
                said += ", and others to rank by"
        else:
            said = NO_SCORE
        print(said, file=sys.stderr)
        found = filler.fill(self.examples, num=num, score=DRAWS if scored else 0)
        content, written, kept = [], [], []
        for record, candidates in zip(self.records, found, strict=True):
            if not record.holes.any():
                content.append(f"{record.source}\n")
                written.append(record.written)
                continue
            many = int(record.holes.sum())
            for number, one in enumerate(candidates, 1):
                header = f"{record.header} candidate={number} filled={many}"
                if scored:
                    header += f" nats={one.nats:.2f}+-{one.noise:.2f}"
                letters = self.spell(record, one.ids)
                content.append(format_fasta([(header, letters)]))
                written.append(letters)
                cost = {"nats": one.nats, "noise": one.noise}
                kept.append({"header": header, "sequence": letters, **cost})
        write_fasta(self.args.out, "".join(content), written)
        score = "upper bound on -log p(filled in | the rest), nats" if scored else None
        return {"fillings": kept, "score": score, "draws": DRAWS if scored else 0}

    def spell(self, record: Any, ids: Any) -> str:
        """A record's letters with its holes as in `ids` (S,); all else as it was."""
        import numpy as np

        filled = self.tokenizer.decode(ids[record.holes]).encode()
        letters = np.frombuffer(record.written.encode(), np.uint8).copy()
        letters[: len(record.holes)][record.holes] = np.frombuffer(filled, np.uint8)
        return letters.tobytes().decode()


def write_fasta(out: str, content: str, sequences: list[str]) -> None:
    """Content of a FASTA file to the terminal, or to a file; .jsonl: the sequences alone."""
    if out.endswith(".jsonl"):
        write_texts(out, sequences)
        return
    encoded = content.encode("utf-8", "surrogateescape")
    if not out:
        sys.stdout.write(encoded.decode("utf-8", "replace"))
        return
    write_whole(out, encoded)
    print(f"wrote {out}", file=sys.stderr)


def table_of(meta: dict, folder: Path) -> list[str]:
    """Lines that say how many sequences each split has, and how long they are."""
    import numpy as np

    rows = [["", "sequences", "residues", "shortest", "mean", "longest", "not known"]]
    for split, count in meta["document_count"].items():
        begins = np.fromfile(Path(folder, f"{split}.documents.bin"), "<i8")
        total = meta["tokens"][split]
        sizes = np.diff(np.append(begins, total))
        spread = ["-", "-", "-"]
        if count:
            spread = [f"{sizes.min():,}", f"{total / count:,.0f}", f"{sizes.max():,}"]
        unknown = meta["unknown"][split]
        rows.append([split, f"{count:,}", f"{total:,}", *spread, f"{unknown:,}"])
    return [f"  {line}" for line in table(rows)]
