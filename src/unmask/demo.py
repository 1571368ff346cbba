"""The demo: bundled Shakespeare, prepared, trained on, evaluated beside n-gram models, sampled,
filled in, reported."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from unmask import __version__
from unmask.checkpoint import digest
from unmask.config import PRESETS, Dtype, TrainConfig
from unmask.data import Data, open_data, prepare_text
from unmask.device import precision
from unmask.diffusion import MaskedDiffusion
from unmask.filling import Filler, fill
from unmask.kinds.baselines import ngram_bits
from unmask.kinds.kind import blank
from unmask.kinds.registry import kind_of
from unmask.kinds.text.holes import parse_holes, partial, spell_pieces
from unmask.likelihood import cross_entropy_by_count, estimate_nelbo
from unmask.report.report import picture, write_report
from unmask.train import read_log, train

TEXT = Path(__file__).parent / "kinds" / "text" / "bundled" / "tinyshakespeare.txt"
SPLIT = "0.89,0.01,0.1"  # the last tenth is held out; the hundredth before it draws the curve
PASSAGE = "ROMEO:\n[MASK:12] love [MASK:12] night,\nAnd [MASK:16]."
SAMPLES = 8


def run(out: Path, *, minutes: float, seed: int, device: str, dtype: Dtype) -> tuple[Path, dict]:
    """The whole demo into the folder `out`, continuing what is there; the model's folder, and the
    figures."""
    began = time.monotonic()
    place = torch.device(device)
    config = replace(PRESETS["demo"].config, minutes=minutes, seed=seed, device=device, dtype=dtype)

    def prepare(to: Path) -> None:
        prepare_text(TEXT, to, tokenizer="characters", split=SPLIT, progress=False)

    data = begin(out, config, prepare, digest(TEXT), SPLIT)
    train_size, watch, test_size = (
        f"{data.meta['tokens'][split]:,}" for split in ("train", "validation", "test")
    )
    say(
        f"tiny Shakespeare: {train_size} characters to train on, {watch} to watch it by (validation), {test_size} held out (test)"
    )
    folder = train(config, out / "data", out / "run")

    model = MaskedDiffusion.from_pretrained(folder).to(place)
    generator = torch.Generator().manual_seed(seed)
    print("evaluating, sampling, filling in", file=sys.stderr)
    with precision(dtype, place):
        bound = estimate_nelbo(
            model, data.windows("test", config.length, 128), repeats=8, seed=seed
        )
        some = next(data.windows("test", config.length, 256, limit=256))
        by_count = cross_entropy_by_count(model, some["x"], generator=generator)
        drawer = Filler(model, steps=config.length, watch=1, generator=generator)
        drawn = drawer.fill([blank(config.length)] * SAMPLES)
        pieces = parse_holes(PASSAGE)
        (filled,) = fill(
            model, [partial(data.tokenizer, pieces)], num=3, steps=128, generator=generator
        )
    train_ids, test_ids = data.tokens("train"), data.tokens("test")
    baselines = {
        name: ngram_bits(train_ids, test_ids, data.vocab_size, order)
        for order, name in enumerate(("unigram", "bigram", "trigram with back-off"), 1)
    }
    samples = [data.tokenizer.decode(one.ids.tolist()) for (one,) in drawn]
    fillings = [spell_pieces(data.tokenizer, pieces, one.ids) for one in filled]
    bits, error = bound.bits_per_dim, bound.bits_per_dim_stderr
    for name, value in baselines.items():
        say(f"  {name:22} {value:.3f} bits per character")
    say(
        f"  {'this model':22} {bits:.3f} +- {error:.3f} bits per character, an upper bound (mask noise {bound.bits_per_dim_noise:.3f})"
    )
    say(f"\nfilled in around what was given:\n{''.join(text for text, _ in fillings[0])}\n")
    say(f"a sample:\n{samples[0]}\n")

    log = read_log(out / "run" / "log.jsonl")
    frames = kind_of(data.meta, data.folder).pages(drawer.states)
    seconds = log[-1]["seconds"]
    report = write_report(
        out / "report.html",
        title="Masked diffusion on tiny Shakespeare",
        summary=[
            ("held-out bound", f"{bits:.3f} ± {error:.3f} bits per character"),
            ("noise of the masks alone", f"{bound.bits_per_dim_noise:.4f} bits per character"),
            (
                "protocol",
                f"{len(bound.positions):,} windows of {config.length} characters, each scored alone; exact count, {bound.repeats} draws",
            ),
            (
                "network",
                f"{sum(p.numel() for p in model.parameters()):,} parameters, {config.layers} layers, width {config.dim}",
            ),
            (
                "training",
                f"{log[-1]['step']:,} steps of {config.batch_size} x {config.length} characters in {seconds:.0f} s, {dtype}",
            ),
        ],
        log=log,
        unit="character",
        schedule=model.schedule,
        bound_by_count=by_count,
        baselines=baselines,
        bound=(bits, error),
        samples=samples,
        fill={
            "before": [(p if isinstance(p, str) else " " * p, isinstance(p, str)) for p in pieces],
            "after": fillings,
        },
        frames=frames,
        sources=f"unmask {__version__} demo --minutes {minutes:g} --seed {seed}, on {place}, {dtype}, {torch.get_num_threads()} threads",
    )
    picture(
        out / "report.png",
        frames=frames,
        log=log,
        unit="character",
        baselines=baselines,
        bound=(bits, error),
    )
    end(out, report, began)
    return folder, {
        "value": bits,
        "unit": "bits per character",
        "stderr": error,
        "noise": bound.bits_per_dim_noise,
        "n": len(bound.positions),
        "estimator": "continuous time, exact count",
        "repeats": bound.repeats,
        "baselines": baselines,
        "data_sha256": data.meta["sha256"],
        "steps": log[-1]["step"],
        "training_seconds": seconds,
    }


def begin(
    out: Path, config: TrainConfig, prepare: Callable[[Path], None], sha256: str, split: str
) -> Data:
    """Check the demo's folder, and prepare its data if that is not there yet."""
    ours = {"data", "run", "report.html", "report.png"}
    if out.exists() and not (
        out.is_dir()
        and all(path.name in ours or path.name.startswith(".") for path in out.iterdir())
    ):
        raise ValueError(f"{out} exists and is not a demo: choose another --out")
    config.check()
    if not (out / "data" / "meta.json").is_file():
        out.mkdir(parents=True, exist_ok=True)
        prepare(out / "data")
    data = open_data(out / "data")
    if data.meta["source"][0]["sha256"] != sha256 or data.meta["split"] != split:
        raise ValueError(f"{out / 'data'} is not the demo's data: choose another --out")
    return data


def end(out: Path, report: Path, began: float) -> None:
    model_at, again = out / "run", f"unmask sample {out / 'run'}"
    say(f"the model is in {model_at}; to draw more: {again}; the report, to open in a browser:")
    say(f"{report}   ({(time.monotonic() - began) / 60:.1f} minutes in all)")


def say(line: str) -> None:
    print(line, flush=True)
