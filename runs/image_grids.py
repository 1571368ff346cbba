"""Uniform against cosine grid: how far samples of few steps are from the data, by the features of a classifier trained here.

    unmask prepare images mnist mnist2 --levels 2
    python runs/image_grids.py MODEL DATA mnist2 OUT.json       MODEL: of pictures like DATA's; the last: the classifier's, with labels

The paper's finding (arXiv 2406.04329, table of FID against steps): with few steps the cosine grid is far better.  The distance is a
Frechet distance of this classifier's features; it is not FID.  Cost: --num times 2 x (16 + 32 + 64 + 128) network calls.
"""

import argparse
import math
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from unmask import MaskedDiffusion, __version__, checkpoint, sample
from unmask.data import open_data
from unmask.device import keep_freed_memory, pick_dtype, precision
from unmask.metrics import frechet_distance

CPU = torch.device("cpu")


class Classifier(nn.Module):
    """Two convolutions and two linear layers; its features are the 64 values before the last."""

    def __init__(self, shape: tuple[int, ...], levels: int, classes: int):
        super().__init__()
        height, width, channels = shape
        self.shape, self.levels = shape, levels
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(64 * math.ceil(height / 4) * math.ceil(width / 4), 64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, classes)

    def features(self, x: Tensor) -> Tensor:
        """Token ids (B, H*W*C) -> (B, 64)."""
        return self.body((x.view(-1, *self.shape) / (self.levels - 1) - 0.5).permute(0, 3, 1, 2).contiguous())


def fit(data, steps: int, batch_size: int) -> tuple[Classifier, float]:
    """A classifier, and its accuracy on the test split."""
    torch.manual_seed(0)
    network = Classifier(data.shape, data.vocab_size, data.classes)
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for step in tqdm(range(steps), desc="classifier", disable=None):
        batch = data.batch("train", data.length, batch_size, 0, step)
        loss = nn.functional.cross_entropy(network.head(network.features(batch["x"])), batch["cond"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (1 - (step + 1) / steps)
    with torch.no_grad():
        right = [network.head(network.features(b["x"])).argmax(-1) == b["cond"] for b in data.windows("test", data.length, 1000)]
    return network, float(torch.cat(right).double().mean())


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("labelled", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--num", type=int, default=256, help="samples of each setting, and pictures of the test split")
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--classifier-steps", type=int, default=1500)
    args = parser.parse_args()
    keep_freed_memory()
    model, data = MaskedDiffusion.from_pretrained(args.model), open_data(args.data)
    with torch.enable_grad():
        classifier, accuracy = fit(open_data(args.labelled, labels=True), args.classifier_steps, 128)
    print(f"classifier: {100 * accuracy:.2f} % of the test split right")
    real = torch.cat([b["x"] for b in data.windows("test", data.length, 1000)])
    of_real = classifier.features(real)
    parts = [frechet_distance(part, of_real) for part in of_real[torch.randperm(len(real))].split(args.num)[:4]]
    floor = sum(parts) / len(parts)
    print(f"{args.num} real pictures against all of the test split, the floor: {floor:.3f}")
    rows = []
    print(f"{'steps':>6} {'uniform':>18} {'cosine':>18}")
    for steps in args.steps:
        found = {}
        for grid in ("uniform", "cosine"):
            distances = []
            for seed in args.seeds:
                generator = torch.Generator().manual_seed(seed)
                with precision(pick_dtype("auto", CPU), CPU):
                    x = sample(model, num=args.num, steps=steps, grid=grid, generator=generator)
                distances.append(frechet_distance(classifier.features(x), of_real))
            found[grid] = distances
            rows.append({"steps": steps, "grid": grid, "distance": distances})
        said = ["+-".join(f"{v:.3f}" for v in mean_and_error(found[grid])) for grid in ("uniform", "cosine")]
        print(f"{steps:6} {said[0]:>18} {said[1]:>18}", flush=True)
    checkpoint.write_json(
        args.out,
        {
            "unmask": __version__, "model_sha256": checkpoint.digest(checkpoint.resolve(args.model) / "model.safetensors"),
            "num": args.num, "seeds": args.seeds, "accuracy": accuracy, "floor": floor, "rows": rows,
            "distance": "Frechet distance of 64 features of the script's classifier; not FID",
        },
    )  # fmt: skip


def mean_and_error(values: list[float]) -> tuple[float, ...]:
    t = torch.tensor(values, dtype=torch.float64)
    return (float(t.mean()), float(t.std()) / math.sqrt(len(t))) if len(t) > 1 else (float(t),)


if __name__ == "__main__":
    main()
