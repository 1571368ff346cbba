"""Uniform against cosine grid: how far samples of few steps are from the data.

    unmask prepare images mnist mnist2 --levels 2
    python runs/image_grids.py MODEL DATA mnist2 OUT.json

MODEL is of pictures like DATA's; mnist2, which has labels, is what the classifier is trained on.

The paper's finding (arXiv 2406.04329, table of FID against steps): with few steps the cosine grid
is far better.  The distance is a Frechet distance of this classifier's features; it is not FID.
Cost: --num times 2 x (16 + 32 + 64 + 128) network calls a seed.  OUT.json is written after every
setting; a seed is finished before the next one begins.
"""

import argparse
import math
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from unmask import MaskedDiffusion, __version__, checkpoint, sample
from unmask.data import open_data
from unmask.device import pick_dtype, precision, tune_process
from unmask.evaluation.distance import frechet, frechet_distance, moments
from unmask.kinds.output import check_out

CPU, GRIDS = torch.device("cpu"), ("uniform", "cosine")


class Classifier(nn.Module):
    """Two convolutions and two linear layers; its features are the 64 values before the last."""

    def __init__(self, shape: tuple[int, ...], levels: int, classes: int):
        super().__init__()
        height, width, channels = shape
        self.shape, self.levels = shape, levels
        places = math.ceil(height / 4) * math.ceil(width / 4)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(64 * places, 64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, classes)

    def features(self, x: Tensor) -> Tensor:
        """Token ids (B, H*W*C) -> (B, 64)."""
        x = x.view(-1, *self.shape) / (self.levels - 1) - 0.5
        return self.body(x.permute(0, 3, 1, 2).contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Token ids (B, H*W*C) -> logits (B, classes)."""
        return self.head(self.features(x))


def fit(data, steps: int, batch_size: int) -> tuple[Classifier, float]:
    """A classifier, and its accuracy on the test split."""
    torch.manual_seed(0)
    network = Classifier(data.shape, data.vocab_size, data.classes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for step in tqdm(range(steps), desc="classifier", disable=None):
        batch = data.batch("train", data.length, batch_size, 0, step)
        loss = nn.functional.cross_entropy(network(batch["x"]), batch["cond"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - (step + 1) / steps)
    test = data.windows("test", data.length, 1000)
    with torch.no_grad():
        right = [network(batch["x"]).argmax(-1) == batch["cond"] for batch in test]
    return network, float(torch.cat(right).double().mean())


@torch.no_grad()
def main(argv: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("labelled", type=Path)
    parser.add_argument("out", type=Path)
    what = "samples of each setting, and pictures of the test split"
    parser.add_argument("--num", type=int, default=256, help=what)
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--classifier-steps", type=int, default=1500)
    args = parser.parse_args(argv)
    try:
        check_out(str(args.out), ".json")
    except ValueError as error:
        parser.error(str(error))
    tune_process()
    model, data = MaskedDiffusion.from_pretrained(args.model), open_data(args.data)
    labelled = open_data(args.labelled, labels=True)
    with torch.enable_grad():
        classifier, accuracy = fit(labelled, args.classifier_steps, 128)
    print(f"classifier: {100 * accuracy:.2f} % of the test split right")
    real = torch.cat([b["x"] for b in data.windows("test", data.length, 1000)])
    of_real = classifier.features(real)
    shuffled, pooled = of_real[torch.randperm(len(real))], args.num * len(args.seeds)

    def mean_distance(n: int) -> float | None:
        """Of up to four parts of n real pictures each; None where there are not as many."""
        parts = [part for part in shuffled.split(n)[:4] if len(part) == n < len(real)]
        distances = [frechet_distance(part, of_real) for part in parts]
        return sum(distances) / len(parts) if parts else None

    floor, floor_pooled = mean_distance(args.num), mean_distance(pooled)
    floors = [
        f"{n}: {'not known, there are fewer' if one is None else f'{one:.3f}'}"
        for n, one in ((args.num, floor), (pooled, floor_pooled))
    ]
    said = "so many real pictures against all of the test split, the floor"
    print(f"{said}: {'; '.join(floors)}", flush=True)
    weights = checkpoint.resolve(args.model) / "model.safetensors"
    record = {
        "unmask": __version__, "model_sha256": checkpoint.digest(weights), "num": args.num,
        "seeds": args.seeds, "accuracy": accuracy, "floor": floor, "floor_pooled": floor_pooled,
        "distance": "Frechet distance of 64 features of the script's classifier; not FID",
    }  # fmt: skip
    found: dict[tuple[int, str], list[Tensor]] = defaultdict(list)  # features, by seed
    for seed in args.seeds:
        for steps in args.steps:
            for grid in GRIDS:
                generator = torch.Generator().manual_seed(seed)
                with precision(pick_dtype("auto", CPU), CPU):
                    x = sample(model, num=args.num, steps=steps, grid=grid, generator=generator)
                features = classifier.features(x)
                found[steps, grid].append(features)
                distance = frechet_distance(features, of_real)
                print(f"seed {seed}, {steps} steps, {grid}: {distance:.3f}", flush=True)
                rows = [row(*setting, features, of_real) for setting, features in found.items()]
                checkpoint.write_json(args.out, record | {"rows": rows})
    print(
        "\nmean of the seeds +- its error; "
        "in brackets of all their samples at once +- what other samples would change"
    )
    print(f"{'steps':>6} {'uniform':>36} {'cosine':>36}")
    for steps in args.steps:
        print(f"{steps:6}" + "".join(f" {describe(r):>36}" for r in rows if r["steps"] == steps))


def row(steps: int, grid: str, features: list[Tensor], of_real: Tensor) -> dict:
    """A setting's distances: of every seed's samples, and of all of them at once.

    The smallness of a sample lifts the latter less.
    """
    together = frechet(moments(torch.cat(features)), moments(of_real))
    distances = [frechet_distance(part, of_real) for part in features]
    found = {"steps": steps, "grid": grid, "distance": distances}
    return found | {"pooled": together.value, "pooled_stderr": together.stderr}


def describe(row: dict) -> str:
    values = torch.tensor(row["distance"], dtype=torch.float64)
    said = f"{float(values.mean()):.2f}"
    if len(values) > 1:
        said += f" +- {float(values.std()) / math.sqrt(len(values)):.2f}"
    return f"{said} ({row['pooled']:.2f} +- {row['pooled_stderr']:.2f})"


if __name__ == "__main__":
    main()
