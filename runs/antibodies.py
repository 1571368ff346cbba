"""The table of runs/antibodies.sh: bounds beside baselines, and what is paid by the share hidden.

    runs/antibodies.py OUT

Prints a table, and writes OUT/table.md.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import torch

import unmask
from unmask.data import open_data
from unmask.kinds.baselines import sequence_ngram_bits

SHARES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
SEQUENCES = 32


@torch.no_grad()
def hidden(model, batches, share: float) -> float:
    """Bits that a hidden residue costs, where so large a share of each sequence is hidden."""
    generator, bits, count = torch.Generator().manual_seed(0), 0.0, 0
    for batch in batches:
        x = batch["x"]
        there = batch.get("valid", torch.ones_like(x, dtype=torch.bool))
        order = torch.rand(x.shape, generator=generator).masked_fill(~there, 2.0)
        many = (share * there.sum(1, keepdim=True)).round().clamp(min=1)
        masked = order.argsort(1).argsort(1) < many
        z = x.masked_fill(masked | ~there, model.mask_id)
        logp = model.predict(z, valid=there).gather(-1, x[..., None])[..., 0]
        bits -= float(logp[masked].sum()) / math.log(2)
        count += int(masked.sum())
    return bits / count


def main(out: Path) -> None:
    lines = ["| bits a residue | heavy | light |", "|---|---|---|"]
    chains = ("heavy", "light")
    data = {chain: open_data(out / chain) for chain in chains}
    uniform = f"{math.log2(20):.2f}"
    lines.append(f"| uniform over the 20 amino acids | {uniform} | {uniform} |")
    for order, name in ((1, "unigrams"), (2, "bigrams"), (3, "trigrams")):
        cells = []
        for chain in chains:
            one = data[chain]
            train, test = ((np.asarray(one.tokens(s)), one.edges(s)) for s in ("train", "test"))
            bits = sequence_ngram_bits(train, test, one.vocab_size, order)
            cells.append(f"{bits.sum() / int((test[0] < one.vocab_size).sum()):.2f}")
        lines.append(f"| {name} of the training sequences | {' | '.join(cells)} |")
    for name, model in (("as it is", "antiberty"), ("trained on the bound", "{}-tuned")):
        cells = []
        for chain in chains:
            record = json.loads((out / f"{model.format(chain)}-{chain}.json").read_text())
            cells.append(f"{record['value']:.3f} ± {record['stderr']:.3f}")
        lines.append(f"| AntiBERTy, {name}: at most | {' | '.join(cells)} |")
    shares = " | ".join(map(str, SHARES))
    lines += ["", f"| bits of a hidden residue, at the share hidden | {shares} |"]
    lines.append("|---|" + "---|" * len(SHARES))
    for chain in chains:
        batches = list(data[chain].windows("test", 160, SEQUENCES, limit=SEQUENCES))
        for model in ("antiberty", f"{chain}-tuned"):
            network = unmask.MaskedDiffusion.from_pretrained(out / model)
            cells = [f"{hidden(network, batches, share):.2f}" for share in SHARES]
            lines.append(f"| {chain}, {model} | {' | '.join(cells)} |")
    text = "\n".join(lines) + "\n"
    (out / "table.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
