"""The demo of pictures: bundled handwritten digits, trained on, evaluated, sampled, filled in,
reported."""

import io
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from unmask import __version__
from unmask.checkpoint import digest
from unmask.config import PRESETS, Dtype
from unmask.data import prepare_images
from unmask.demo import begin, end, say
from unmask.device import precision
from unmask.diffusion import MaskedDiffusion
from unmask.filling import Filler, fill
from unmask.kinds.baselines import position_bits
from unmask.kinds.images.holes import completion_grid, state_pictures, write_unmasking
from unmask.kinds.images.pixels import picture_grid, png
from unmask.kinds.kind import GIVEN, HOLE, Partial, blank
from unmask.likelihood import cross_entropy_by_count, estimate_nelbo
from unmask.report.report import Figure, write_report
from unmask.train import read_log, train

DIGITS = (
    Path(__file__).parent
    / "kinds"
    / "images"
    / "bundled"
    / "digits"
    / "digits-images-idx3-ubyte.gz"
)
SPLIT = "1415,130,252"  # cut between writers, so that those held out are others
LEVELS = 17
SAMPLES, SHOWN, COMPLETIONS = 40, 8, 4
ABOUT = "8 x 8 pixels of 17 grey values"


def run(out: Path, *, minutes: float, seed: int, device: str, dtype: Dtype) -> tuple[Path, dict]:
    """The whole demo into the folder `out`, continuing what is there; the model's folder, and the
    figures."""
    began = time.monotonic()
    place = torch.device(device)
    config = replace(
        PRESETS["digits"].config, minutes=minutes, seed=seed, device=device, dtype=dtype
    )

    def prepare(to: Path) -> None:
        prepare_images(DIGITS, to, levels=LEVELS, split=SPLIT, progress=False)

    data = begin(out, config, prepare, digest(DIGITS), SPLIT)
    train_size, watch, test_size = (
        f"{data.meta['images'][split]:,}" for split in ("train", "validation", "test")
    )
    say(
        f"handwritten digits, {ABOUT}: {train_size} to train on, {watch} to watch it by (validation), {test_size} held out (test)"
    )
    folder = train(config, out / "data", out / "run")

    model, pixels, length = (
        MaskedDiffusion.from_pretrained(folder).to(place),
        data.tokenizer,
        data.length,
    )
    generator = torch.Generator().manual_seed(seed)
    print("evaluating, sampling, filling in", file=sys.stderr)
    test = next(data.windows("test", length, data.window_count("test", length)))["x"]
    with precision(dtype, place):
        bound = estimate_nelbo(model, data.windows("test", length, 128), repeats=32, seed=seed)
        by_count = cross_entropy_by_count(model, test, generator=generator)
        drawer = Filler(model, steps=length, watch=16, generator=generator)
        drawn = drawer.fill([blank(length)] * SAMPLES)
        given = test[:: max(1, len(test) // SHOWN)][:SHOWN]
        holes = torch.zeros(pixels.shape, dtype=torch.bool)
        holes[pixels.shape[0] // 2 :] = True  # the lower half
        table = completed(
            model,
            pixels,
            given.numpy(),
            holes.expand(len(given), *pixels.shape).numpy(),
            length,
            generator,
        )
    train_x = np.array(data.tokens("train")).reshape(-1, length)
    baselines = {
        "uniform": math.log2(LEVELS),
        "every pixel by itself": position_bits(train_x, test.numpy(), LEVELS),
    }
    bits, error = bound.bits_per_dim, bound.bits_per_dim_stderr
    for name, value in baselines.items():
        say(f"  {name:22} {value:.3f} bits per dimension")
    say(
        f"  {'this model':22} {bits:.3f} +- {error:.3f} bits per dimension, an upper bound (mask noise {bound.bits_per_dim_noise:.3f})"
    )

    samples = pixels.decode(np.stack([one.ids for (one,) in drawn]))
    real = pixels.decode(
        train_x[torch.randperm(len(train_x), generator=generator)[:SAMPLES].numpy()]
    )
    animation = io.BytesIO()
    every = drawer.states[:: max(1, length // 32)] + drawer.states[-1:]
    write_unmasking(animation, state_pictures(pixels, every))
    log = read_log(out / "run" / "log.jsonl")
    seconds = log[-1]["seconds"]
    figures = [
        Figure(
            "How samples appear",
            "Generation starts with every pixel masked (blank grey) and reveals some at each step until none is left.",
            "An animation of 16 digits that appear pixel by pixel",
            animation.getvalue(),
        ),
        Figure(
            "Samples",
            "Drawn from nothing.",
            f"{SAMPLES} sampled digits",
            png(picture_grid(samples, columns=10, scale=8)),
        ),
        Figure(
            "Real digits",
            "To compare: some of the training data.",
            f"{SAMPLES} digits",
            png(picture_grid(real, columns=10, scale=8)),
        ),
        Figure(
            "Filling in",
            "From the left: what was given, with the lower half masked; four completions; the truth. The given half never changes.",
            f"A table of {len(given)} held-out digits: upper half, completions, whole",
            png(table),
        ),
    ]
    report = write_report(
        out / "report.html",
        title="Masked diffusion on handwritten digits",
        summary=[
            (
                "held-out bound",
                f"{bits:.3f} ± {error:.3f} bits per dimension, {bound.mean:.2f} ± {bound.stderr:.2f} nats a picture",
            ),
            ("noise of the masks alone", f"{bound.bits_per_dim_noise:.4f} bits per dimension"),
            (
                "protocol",
                f"{len(bound.positions):,} pictures of {ABOUT}, by other writers; exact count, {bound.repeats} draws",
            ),
            (
                "network",
                f"a U-Net of {sum(p.numel() for p in model.parameters()):,} parameters, widths {config.widths}",
            ),
            (
                "training",
                f"{log[-1]['step']:,} steps of {config.batch_size} pictures in {seconds:.0f} s, {dtype}",
            ),
        ],
        figures=figures,
        log=log,
        unit="dimension",
        schedule=model.schedule,
        bound_by_count=by_count,
        baselines=baselines,
        bound=(bits, error),
        sources=f"unmask {__version__} demo --data digits --minutes {minutes:g} --seed {seed}, on {place}, {dtype}, "
        f"{torch.get_num_threads()} threads; digits by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY 4.0",
    )
    (out / "report.png").write_bytes(png(table))
    end(out, report, began)
    return folder, {
        "value": bits,
        "unit": "bits per dimension",
        "stderr": error,
        "noise": bound.bits_per_dim_noise,
        "n": len(bound.positions),
        "nats_per_example": bound.mean,
        "estimator": "continuous time, exact count",
        "repeats": bound.repeats,
        "baselines": baselines,
        "data_sha256": data.meta["sha256"],
        "steps": log[-1]["step"],
        "training_seconds": seconds,
    }


def completed(
    model, pixels, x: np.ndarray, holes: np.ndarray, steps: int, generator: torch.Generator
) -> np.ndarray:
    """The pictures x (n, H*W*C) with holes (n, H, W, C), COMPLETIONS of each, and whole, as one
    picture."""
    roles = np.where(holes.reshape(len(x), -1), HOLE, GIVEN).astype(np.int8)
    examples = [Partial(ids, role) for ids, role in zip(x, roles, strict=True)]
    found = fill(model, examples, num=COMPLETIONS, steps=steps, generator=generator)
    return completion_grid(
        pixels, x, holes, np.stack([[one.ids for one in row] for row in found]), scale=8
    )
