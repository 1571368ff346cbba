"""Features of CIFAR-10 pictures, for `unmask distance`, by a ResNet whose weights are a file.

    unmask sample RUN --num 1000 --out samples.npz
    python runs/cifar_features.py resnet20.th samples.npz --out samples-features.npz
    python runs/cifar_features.py resnet20.th DATA --out test-features.npz
    unmask distance samples-features.npz test-features.npz

Class probabilities are written, too.  DATA: a folder that `unmask prepare images` made.
WEIGHTS: a state dict of the ResNets of 6 n + 2 layers for CIFAR-10 (arXiv 1512.03385, section 4.2,
shortcuts without weights), under the names conv1, bn1, layer1.0.conv1, ... linear; nothing in it is
unpickled but tensors.  Features are the 64 values before the last layer.  A distance of them is not
FID, and the classifier score is not the inception score: this is another network.
"""

import argparse
import pickle
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from unmask.data import open_data
from unmask.evaluation.distance import classifier_score
from unmask.kinds.images.reading import read_npz

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what the networks learned with
SHAPE, CLASSES = (32, 32, 3), 10
UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, AttributeError, EOFError, IndexError, KeyError, TypeError,
)  # fmt: skip


class Block(nn.Module):
    """relu(x + norm(conv(relu(norm(conv(x)))))).

    Where it has twice the channels, it halves the resolution.
    """

    def __init__(self, inside: int, outside: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, outside // inside, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.halves, self.new = outside > inside, (outside - inside) // 2

    def forward(self, x: Tensor) -> Tensor:
        h = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.halves:
            # every other pixel, and zeros for the new channels on both sides of the old
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new, self.new))
        return (x + h).relu()


class ResNet(nn.Module):
    """`blocks` blocks at each of three resolutions, of 16, 32 and 64 channels.

    6 blocks + 2 layers.
    """

    def __init__(self, blocks: int):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        widths = [(16, 16), (16, 32), (32, 64)]
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(Block(*width), *(Block(width[1], width[1]) for _ in range(blocks - 1)))
            for width in widths
        )
        self.linear = nn.Linear(64, CLASSES)

    def features(self, pictures: np.ndarray) -> Tensor:
        """Values 0..255 (n, 32, 32, 3) -> (n, 64)."""
        x = (torch.from_numpy(pictures) / 255 - torch.tensor(MEAN)) / torch.tensor(DEVIATION)
        x = self.bn1(self.conv1(x.permute(0, 3, 1, 2))).relu()
        return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))


def load(path: Path) -> ResNet:
    if not path.is_file():
        raise ValueError(f"there is no file {path}: WEIGHTS is a state dict")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        state = state.get("state_dict", state)
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        blocks = [name for name in state if name.startswith("layer1.")]
        network = ResNet(sum(name.endswith(".conv1.weight") for name in blocks))
        network.load_state_dict(state)
    except UNREADABLE:
        raise ValueError(
            f"{path} is not the state dict of a ResNet of 6 n + 2 layers for CIFAR-10 "
            "(tensors conv1 ... linear)"
        ) from None
    return network.eval()


def read(path: Path, split: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Pictures (n, 32, 32, 3) of a prepared folder or of an .npz; and their classes, if known."""
    if path.is_dir():
        data = open_data(path)
        if data.meta["kind"] != "images":
            raise ValueError(f"{path} holds {data.meta['kind']}, not pictures")
        data = open_data(path, labels=data.meta["classes"] > 0)
        whole = next(data.windows(split, data.length, data.window_count(split, data.length)))
        pictures = data.tokenizer.decode(whole["x"].numpy())
        labels = whole["cond"].numpy() if "cond" in whole else None
    elif path.is_file():
        pictures, labels = read_npz(path)
    else:
        raise ValueError(
            f"there is no {path}: IMAGES are folders that unmask prepare made, "
            "or .npz files of pictures"
        )
    if pictures.shape[1:] != SHAPE:
        raise ValueError(
            f"{path} has pictures of {pictures.shape[1:]}, and this network is for {SHAPE}"
        )
    return pictures, labels


@torch.no_grad()
def main(argv: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("weights", type=Path)
    parser.add_argument("images", type=Path, nargs="+")
    what = "an .npz: features (n, 64), logits (n, 10)"
    parser.add_argument("--out", type=Path, required=True, help=what)
    splits = ("train", "validation", "test")
    parser.add_argument("--split", default="test", choices=splits, help="of prepared data")
    parser.add_argument("--batch-size", type=int, default=250)
    args = parser.parse_args(argv)
    try:
        there = args.out.suffix == ".npz" and args.out.resolve().parent.is_dir()
        if not there or args.batch_size < 1:
            raise ValueError(
                f"--out {args.out} must be an .npz in a folder that exists, "
                f"and --batch-size {args.batch_size} at least 1"
            )
        network = load(args.weights)
        parts = [read(path, args.split) for path in args.images]
    except ValueError as error:
        sys.exit(f"cifar_features: {error}")
    pictures = np.concatenate([part[0] for part in parts])
    batches = np.array_split(pictures, -(-len(pictures) // args.batch_size))
    features = torch.cat([network.features(batch) for batch in tqdm(batches, disable=None)])
    logits = network.linear(features)
    np.savez_compressed(args.out, features=features.numpy(), logits=logits.numpy())
    layers, images = 6 * len(network.layer1) + 2, ", ".join(map(str, args.images))
    print(f"ResNet-{layers} of {args.weights}, {len(pictures):,} pictures of {images}")
    known = [part[1] for part in parts if part[1] is not None]
    if len(known) == len(parts):
        right = float((logits.argmax(-1).numpy() == np.concatenate(known)).mean())
        print(f"  {100 * right:.2f} % of them put in their class")
    if len(pictures) > 1:
        score, error = classifier_score(logits)
        print(
            f"  classifier score {score:.3f} +- {error:.3f} of at most {CLASSES}: "
            "exp of the mean KL(p(y | x) || p(y))"
        )
        print("  of this classifier, so not the inception score, which is another network's")
    print(f"wrote {args.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
