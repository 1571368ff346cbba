"""The demo of proteins: bundled sequences, trained on, evaluated beside n-gram models, sampled,
filled in, reported.

Bundled: data/bundled/proteins.fasta.gz, 4,000 different sequences of at most 256 residues from
UniProtKB (The UniProt Consortium, uniprot.org), Creative Commons Attribution 4.0 (CC BY 4.0).  Of a
sample of 20,000 of its sequences they are the first in the order of their SHA-256.  Changed: the
headers are cut to database, accession and name.
"""

import io
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from unmask import __version__
from unmask.checkpoint import digest
from unmask.config import PRESETS, Dtype
from unmask.data import ProteinData, prepare_proteins
from unmask.demo import begin, end, say
from unmask.device import precision
from unmask.diffusion import MaskedDiffusion
from unmask.filling import Filler, fill
from unmask.kinds.baselines import sequence_ngram_bits
from unmask.kinds.kind import GIVEN, HOLE, Partial, blank
from unmask.kinds.proteins.residues import LETTERS
from unmask.kinds.registry import kind_of
from unmask.likelihood import conditional_nats, cross_entropy_by_count, estimate_nelbo
from unmask.report.report import BLUE, GREY, Figure, write_report
from unmask.sampling import draw_lengths
from unmask.train import read_log, train

FASTA = Path(__file__).parent / "kinds" / "proteins" / "bundled" / "proteins.fasta.gz"
SPLIT = "0.9,0.02,0.08"
SAMPLES, STEPS, FILLINGS, REPEATS = 32, 64, 3, 8
# beginnings of so many residues, on which the share that is hidden is varied
PIECES, CURVE = 64, 96
COMMON = LETTERS[:20]


def run(out: Path, *, minutes: float, seed: int, device: str, dtype: Dtype) -> tuple[Path, dict]:
    """The whole demo into the folder `out`, continuing what is there; the model's folder, and the
    figures."""
    began = time.monotonic()
    place = torch.device(device)
    config = replace(
        PRESETS["protein"].config, minutes=minutes, seed=seed, device=device, dtype=dtype
    )

    def prepare(to: Path) -> None:
        prepare_proteins(FASTA, to, split=SPLIT, progress=False)

    data = begin(out, config, prepare, digest(FASTA), SPLIT)
    assert isinstance(data, ProteinData)
    train_size, watch, test_size = (
        f"{data.meta['document_count'][split]:,}" for split in ("train", "validation", "test")
    )
    sizes = f"{train_size} to train on, {watch} to watch it by (validation), {test_size} held out (test)"
    say(f"UniProt sequences of at most 256 residues: {sizes}")
    folder = train(config, out / "data", out / "run")

    model = MaskedDiffusion.from_pretrained(folder).to(place)
    generator = torch.Generator().manual_seed(seed)
    print("evaluating, sampling, filling in", file=sys.stderr)
    given, holes = passage(data)
    with precision(dtype, place):
        bound = estimate_nelbo(
            model, data.windows("test", config.length, 64), repeats=REPEATS, seed=seed
        )
        by_count = cross_entropy_by_count(model, pieces(data), levels=8, generator=generator)
        sizes = draw_lengths(model, SAMPLES, generator).sort(descending=True).values.tolist()
        drawer = Filler(model, steps=STEPS, watch=1, generator=generator)
        drawn = drawer.fill([blank(size) for size in sizes])
        example = Partial(given[0].numpy(), np.where(holes[0].numpy(), HOLE, GIVEN).astype(np.int8))
        (filled,) = fill(
            model, [example], num=FILLINGS, score=32, steps=STEPS, generator=generator, seed=seed
        )
        # by the masks that the fillings are told by
        truth, of_truth = conditional_nats(
            model, given, holes, repeats=32, seed=seed + 1, examples=[0]
        )
    # best first, and what is really there
    both = torch.cat([torch.from_numpy(np.stack([one.ids for one in filled])), given])
    nats, noise = (
        [*(one.nats for one in filled), float(truth)],
        [*(one.noise for one in filled), float(of_truth)],
    )
    known, held_out = (
        (np.asarray(data.tokens(split)), data.edges(split)) for split in ("train", "test")
    )
    positions = float(bound.positions.sum())
    baselines = {
        name: float(sequence_ngram_bits(known, held_out, data.vocab_size, order).sum()) / positions
        for order, name in enumerate(("unigram", "bigram", "trigram with back-off"), 1)
    }
    rows = [data.tokenizer.decode(one.ids) for (one,) in drawn]
    bits, error = bound.bits_per_dim, bound.bits_per_dim_stderr
    for name, value in baselines.items():
        say(f"  {name:22} {value:.3f} bits per residue")
    say(
        f"  {'this model':22} {bits:.3f} +- {error:.3f} bits per residue, an upper bound (mask noise {bound.bits_per_dim_noise:.3f})"
    )
    say("  homologues of a sequence may be on both sides of the split")
    real = [data.tokenizer.decode(row) for row in data.sequences("train")]
    first = sum(row[0] == "M" for row in rows), sum(row[0] == "M" for row in real) / len(real)
    say(
        f"  {first[0]} of {SAMPLES} samples begin with methionine, as do {100 * first[1]:.0f} % of the training sequences"
    )
    letters = [data.tokenizer.decode(row) for row in both]
    right = [int((row == given[0])[holes[0]].sum()) for row in both]
    many = int(holes.sum())
    say(
        f"\nfilled in, {many} residues of {len(given[0])}: at most so many nats given the rest, and how many are as in the protein"
    )
    for i in range(FILLINGS + 1):
        name = "the protein itself" if i == FILLINGS else f"{right[i]} of {many} as there"
        say(
            f"  {nats[i]:6.2f} +- {noise[i]:.2f}  {''.join(np.array(list(letters[i]))[holes[0].numpy()])}  {name}"
        )
    say(f"\na sample:\n{rows[len(rows) // 2]}\n")

    log = read_log(out / "run" / "log.jsonl")
    seconds = log[-1]["seconds"]
    shown = {
        "before": spans(letters[-1], holes[0], hide=True),
        "after": [spans(row, holes[0]) for row in letters[:FILLINGS]],
    }
    report = write_report(
        out / "report.html",
        title="Masked diffusion on proteins",
        summary=[
            (
                "held-out bound",
                f"{bits:.3f} ± {error:.3f} bits per residue; homologues may be on both sides",
            ),
            ("noise of the masks alone", f"{bound.bits_per_dim_noise:.4f} bits per residue"),
            (
                "protocol",
                f"{len(bound.positions):,} whole sequences, lengths given; exact count, {bound.repeats} draws",
            ),
            (
                "network",
                f"{sum(p.numel() for p in model.parameters()):,} parameters, {config.layers} layers, width {config.dim}",
            ),
            (
                "training",
                f"{log[-1]['step']:,} steps of up to {config.batch_size * config.length:,} residues in {seconds:.0f} s, {dtype}",
            ),
        ],
        figures=[
            Figure(
                "Composition",
                f"The share of each amino acid in {SAMPLES} samples, whose lengths are drawn from those of the training sequences, and in "
                "these. The bar is one standard error over sequences.",
                "A chart of twenty amino acids, samples beside data",
                draw_composition(rows, real),
            )
        ],
        log=log,
        unit="residue",
        schedule=model.schedule,
        bound_by_count=by_count,
        baselines=baselines,
        bound=(bits, error),
        samples=rows[:: max(1, SAMPLES // 6)],
        fill=shown,
        frames=kind_of(data.meta, data.folder).pages(drawer.states),
        sources=f"unmask {__version__} demo --data protein --minutes {minutes:g} --seed {seed}, on {place}, {dtype}, "
        f"{torch.get_num_threads()} threads; sequences of UniProt (The UniProt Consortium), CC BY 4.0",
    )
    (out / "report.png").write_bytes(draw_composition(rows, real))
    end(out, report, began)
    return folder, {
        "value": bits,
        "unit": "bits per residue",
        "stderr": error,
        "noise": bound.bits_per_dim_noise,
        "n": len(bound.positions),
        "estimator": "continuous time, exact count",
        "repeats": bound.repeats,
        "baselines": baselines,
        "begin_with_M": first,
        "data_sha256": data.meta["sha256"],
        "steps": log[-1]["step"],
        "training_seconds": seconds,
    }


def passage(data: ProteinData) -> tuple[torch.Tensor, torch.Tensor]:
    """A held-out protein of 100 residues or so, all of them known, x (1, S), and holes in it: a
    stretch, and one in six of the others."""
    whole = [row for row in data.sequences("test") if row.max() < data.vocab_size]
    x = torch.from_numpy(min(whole, key=lambda row: abs(len(row) - 100)).astype(np.int64))[None]
    at = torch.arange(x.shape[1])
    return x, ((at % 6 == 3) | ((at >= x.shape[1] // 2) & (at < x.shape[1] // 2 + 8)))[None]


def pieces(data: ProteinData) -> torch.Tensor:
    """(PIECES, CURVE) the beginnings of held-out sequences that are that long and known there."""
    rows = [row[:CURVE] for row in data.sequences("test") if len(row) >= CURVE]
    return torch.from_numpy(
        np.stack([row for row in rows if row.max() < data.vocab_size][:PIECES]).astype(np.int64)
    )


def spans(letters: str, holes: torch.Tensor, hide: bool = False) -> list[tuple[str, bool]]:
    """(a letter, was it given?), a hole being a blank if it is hidden."""
    return [
        (" " if hole and hide else letter, not hole)
        for letter, hole in zip(letters, holes.tolist(), strict=True)
    ]


def composition(rows: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """The share of each of the 20 amino acids among all residues of `rows`, and its standard error
    over rows (delta method), each (20,)."""
    counts = np.array([[row.count(letter) for letter in COMMON] for row in rows], dtype=float)
    sizes = np.array([len(row) for row in rows], dtype=float)
    share = counts.sum(0) / sizes.sum()
    residual = counts - share * sizes[:, None]
    error = (
        residual.std(0, ddof=1) / np.sqrt(len(rows)) / sizes.mean()
        if len(rows) > 1
        else np.full(len(share), np.nan)
    )
    return share, error


def draw_composition(samples: Sequence[str], real: Sequence[str]) -> bytes:
    """A PNG of the compositions of samples and of data, the commonest amino acid first."""
    from matplotlib import rc_context, rcParamsDefault

    # a Figure of its own draws with Agg and leaves pyplot's state alone
    from matplotlib.figure import Figure as Canvas

    (ours, error), (theirs, _) = composition(samples), composition(real)
    order, at = np.argsort(-theirs), np.arange(len(COMMON))
    with rc_context(rcParamsDefault):
        figure = Canvas(figsize=(10, 4), dpi=100, facecolor="white")
        axes = figure.add_axes((0.07, 0.1, 0.91, 0.8))
        axes.bar(at - 0.2, 100 * theirs[order], 0.4, color="#b9b9b4", label="training sequences")
        axes.bar(
            at + 0.2,
            100 * ours[order],
            0.4,
            yerr=100 * error[order],
            color=BLUE,
            ecolor="#1d1d1f",
            label="samples",
        )
        axes.set_xticks(at, [COMMON[i] for i in order])
        axes.set_title("% of residues", loc="left", fontsize=12, color=GREY)
        axes.tick_params(length=0, labelsize=12, labelcolor=GREY)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.legend(frameon=False, fontsize=12)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()
