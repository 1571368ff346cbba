"""The demo of proteins.

Bundled: 4,000 different sequences of at most 256 residues from UniProtKB (The UniProt Consortium,
uniprot.org), Creative Commons Attribution 4.0 (CC BY 4.0).  Of a sample of 20,000 of its sequences
they are the first in the order of their SHA-256.  Changed: the headers are cut to database,
accession and name.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from unmask.kinds.demo import Bars, Demo, Figure, Shown
from unmask.kinds.kind import Filler, Partial
from unmask.roles import GIVEN, HOLE

FILLINGS = 3
DRAWS = 32  # of masks, for the score of a filling
PIECES, CURVE = 64, 96  # beginnings of so many residues, of which some share is hidden


class UniProt(Demo):
    name, preset, out = "protein", "protein", "demo-protein"
    title = "Masked diffusion on proteins"
    subject = "UniProt sequences of at most 256 residues"
    source = Path(__file__).parent / "bundled" / "proteins.fasta.gz"
    split = "0.9,0.02,0.08"
    counted = "document_count"
    note = "homologues of a sequence may be on both sides of the split"
    credit = "sequences of UniProt (The UniProt Consortium), CC BY 4.0"
    batch_size, num, levels = 64, 32, 8

    def prepare(self, out: Path) -> None:
        from unmask.kinds.proteins.prepare import prepare_proteins

        prepare_proteins(self.source, out, split=self.split, progress=False)

    def steps(self, length: int) -> int:
        return 64

    def examples(self, data: Any, length: int) -> Any:
        """Beginnings of held-out sequences that are that long and known there."""
        import numpy as np
        import torch

        rows = [row for row in data.sequences("test") if len(row) >= CURVE]
        known = [row for row in rows if row[:CURVE].max() < data.vocab_size][:PIECES]
        x = np.stack([row[:CURVE] for row in known]).astype(np.int64)
        ends = torch.tensor([[True, len(row) == CURVE] for row in known])
        return {"x": torch.from_numpy(x), "ends": ends}

    def baselines(self, data: Any, positions: int) -> dict[str, float]:
        import numpy as np

        from unmask.kinds.baselines import sequence_ngram_bits

        splits = ("train", "test")
        train, test = ((np.asarray(data.tokens(split)), data.edges(split)) for split in splits)
        found = {}
        for order, name in enumerate(("unigram", "bigram", "trigram with back-off"), 1):
            bits = sequence_ngram_bits(train, test, data.vocab_size, order)
            found[name] = float(bits.sum()) / positions
        return found

    def show(self, data: Any, drawn: list, filler: Callable[[int], Filler]) -> Shown:
        rows = [data.tokenizer.decode(ids) for ids in drawn]
        real = [data.tokenizer.decode(row) for row in data.sequences("train")]
        first = [row[0] == "M" for row in rows]
        usual = sum(row[0] == "M" for row in real) / len(real)
        lines = self.filled(data, filler(self.steps(0)))
        said = [
            f"  {sum(first)} of {len(rows)} samples begin with methionine, as do "
            f"{100 * usual:.0f} % of the training sequences",
            *lines,
            f"\na sample:\n{rows[len(rows) // 2]}\n",
        ]
        figure = Figure(
            "Composition",
            f"The share of each amino acid in {len(rows)} samples, whose lengths are drawn from "
            "those of the training sequences, and in these. The bar is one standard error over "
            "sequences.",
            "A chart of twenty amino acids, samples beside data",
            [compositions(rows, real)],
        )
        record = {"begin_with_M": (sum(first), usual)}
        return Shown(said, [figure], figure.content, record)

    def filled(self, data: Any, filler: Filler) -> list[str]:
        """Holes in a held-out protein: what fills them, what is there, and what each costs."""
        import numpy as np

        from unmask.kinds.proteins.residues import hidden

        ids = passage(data)
        holes = hidden(ids)
        example = Partial(ids, np.where(holes, HOLE, GIVEN).astype(np.int8))
        (found,) = filler.fill([example], num=FILLINGS, score=DRAWS)
        (truth,) = filler.score([example], draws=DRAWS)
        many = int(holes.sum())
        said = [
            f"\nfilled in, {many} residues of {len(ids)}: at most so many nats given the rest, "
            "and how many are as in the protein"
        ]
        for one in [*found, truth]:
            right = int((one.ids == ids)[holes].sum())
            name = "the protein itself" if one is truth else f"{right} of {many} as there"
            letters = data.tokenizer.decode(one.ids[holes])
            said.append(f"  {one.nats:6.2f} +- {one.noise:.2f}  {letters}  {name}")
        return said


def passage(data: Any) -> Any:
    """A held-out protein of 100 residues or so, all known, (S,)."""
    import numpy as np

    whole = [row for row in data.sequences("test") if row.max() < data.vocab_size]
    return min(whole, key=lambda row: abs(len(row) - 100)).astype(np.int64)


def composition(rows: Sequence[str]) -> tuple[Any, Any]:
    """The share of each of the 20 amino acids among all residues of `rows`, and its standard error.

    Each is (20,); the error is that over rows (delta method).
    """
    import numpy as np

    from unmask.kinds.proteins.residues import COMMON

    counts = np.array([[row.count(letter) for letter in COMMON] for row in rows], dtype=float)
    sizes = np.array([len(row) for row in rows], dtype=float)
    share = counts.sum(0) / sizes.sum()
    if len(rows) == 1:
        return share, np.full(len(share), np.nan)
    residual = counts - share * sizes[:, None]
    return share, residual.std(0, ddof=1) / np.sqrt(len(rows)) / sizes.mean()


def compositions(samples: Sequence[str], real: Sequence[str]) -> Bars:
    """Those of samples and of data, the commonest amino acid first."""
    from unmask.kinds.proteins.residues import COMMON

    (ours, error), (theirs, _) = composition(samples), composition(real)
    order = (-theirs).argsort()
    labels = [COMMON[i] for i in order]
    return Bars("share of residues", labels, ours[order], theirs[order], error[order])
