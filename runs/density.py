"""Whole tokens against digits on a density that can be looked at.

    python runs/density.py --threads 1

Writes docs/density.png and density.json; nine minutes on one busy core.  The density is that of
(row, column) of a pixel, drawn in proportion to its brightness.  Figure 4 of MDM-Prime (arXiv
2505.18495), with exact numbers: two tokens of 512 values, the same network and steps for all, and
the exact law of each sampler (`unmask.audit.sampler_law`) in place of samples.  512 = 8^3, so 3
digits leave no value over and their 9^6 = 531,441 partial states can be enumerated; 9 digits have
3^18.  `--picture`: any PNG or JPEG, bright is likely; default: one drawn here.
"""

import argparse
import itertools
import json
import math
import platform
import time
from pathlib import Path

import matplotlib
import torch
from torch import Tensor, nn

from unmask import MaskedDiffusion, Subtokenizer, __version__, checkpoint, schedules
from unmask.audit.sampler_law import exact_law
from unmask.categorical import uniform
from unmask.device import tune_process
from unmask.sampling import time_grid
from unmask.subtokens import consistent

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SIZE = 512
VARIANTS = {  # digits, decoder, objective
    "whole tokens": (1, "joint", "nelbo"),
    "3 digits, independent decoder": (3, "independent", "nelbo"),
    "3 digits, joint decoder": (3, "joint", "nelbo"),
    "3 digits, joint decoder, joint loss": (3, "joint", "joint"),
}
LETTERS = {  # 5 x 7
    "U": "10001 10001 10001 10001 10001 10001 01110",
    "N": "10001 11001 11001 10101 10011 10011 10001",
    "M": "10001 11011 10101 10101 10001 10001 10001",
    "A": "01110 10001 10001 11111 10001 10001 10001",
    "S": "01111 10000 10000 01110 00001 00001 11110",
    "K": "10001 10010 10100 11000 10100 10010 10001",
}


def main(argv: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    what = "PNG or JPEG, made square, grey and 512 x 512; bright is likely"
    parser.add_argument("--picture", type=Path, help=what)
    parser.add_argument("--out", type=Path, default=Path("docs/density.png"))
    parser.add_argument("--numbers", type=Path, default=Path("density.json"))
    parser.add_argument("--steps", type=int, default=3000, help="of training, of each variant")
    parser.add_argument("--batch", type=int, default=512)
    what = "of AdamW, falling to 0 along a cosine"
    parser.add_argument("--rate", type=float, default=4e-3, help=what)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--sampling-steps", type=int, nargs="+", default=[4, 16])
    parser.add_argument("--grid", choices=["uniform", "cosine"], default="uniform")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args(argv)
    for path in (args.out, args.numbers):
        path.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(args.threads)
    tune_process()
    p = drawn() if args.picture is None else read(args.picture)
    p = p / p.sum()
    grids = {f"{n} steps": time_grid(n, args.grid) for n in args.sampling_steps}
    grids["continuous time"] = None
    rows, laws = [], {}
    for name, (digits, decoder, objective) in VARIANTS.items():
        model, loss, seconds = trained(args, p, digits, decoder, objective)
        size = sum(v.numel() for v in model.parameters())
        row = {"variant": name, "parameters": size, "last_loss": loss, "seconds": seconds}
        said = f"{size:,} parameters, last loss {loss:.4f} a token, {seconds:.0f} s"
        print(f"{name}: {said}", flush=True)
        exact = None
        if objective != "joint":
            posterior = Posterior(p, digits, decoder)
            exact = MaskedDiffusion(posterior, schedules.Linear(), model.subtokenizer)
        for when, ts in grids.items():
            laws[name, when] = exact_law(model, ts, 2)
            row[when] = distances(p, laws[name, when])
            if exact is not None:
                row[when]["tv_exact_denoiser"] = distances(p, exact_law(exact, ts, 2))["tv"]
            said = ", ".join(f"{key} {value:.4f}" for key, value in row[when].items())
            print(f"  {when}: {said}", flush=True)
        rows.append(row)
    entropy = float(-torch.special.xlogy(p, p).sum())
    independent = distances(p, p.sum(1)[:, None] * p.sum(0))["tv"]
    settings = {key: value for key, value in vars(args).items() if key not in ("out", "numbers")}
    settings["picture"] = args.picture.name if args.picture else "drawn by the script"
    numbers = {
        "settings": settings, "unmask": __version__, "torch": torch.__version__,
        "machine": platform.processor() or platform.machine(), "entropy_nats": entropy,
        "tv_of_independent_tokens": independent, "rows": rows,
    }  # fmt: skip
    checkpoint.write_json(args.numbers, numbers)
    draw(args.out, p, laws, json.loads(args.numbers.read_text())["rows"], list(grids))


# ---------------------------------------------------------------- the density


def drawn() -> Tensor:
    """(512, 512) brightness: letters, rings, a checkerboard and diagonal lines.

    None is aligned to the base-8 digits.
    """
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    p = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    for n, rows in enumerate(LETTERS.values()):
        glyph = torch.tensor([[int(bit) for bit in row] for row in rows.split()])
        big = glyph.repeat_interleave(13, 0).repeat_interleave(13, 1)  # 91 x 65
        left = 29 + 78 * n
        p[27 : 27 + big.shape[0], left : left + big.shape[1]] = big.double()
    radius = torch.hypot(y - 333.0, x - 150.0)
    p = torch.where((radius < 139) & (radius % 33 < 13), 1.0, p)
    inside = (x >= 317) & (x < 317 + 168)
    board = ((y - 157) // 21 + (x - 317) // 21) % 2 == 0
    p = torch.where(inside & (y >= 157) & (y < 157 + 147) & board, 1.0, p)
    lines = (x + y) % 27 < 6
    return torch.where(inside & (y >= 330) & (y < 330 + 147) & lines, 1.0, p)


def read(path: Path) -> Tensor:
    """(512, 512) brightness of a picture: its central square, averaged or repeated to size."""
    picture = torch.tensor(plt.imread(path).copy()).double()
    grey = picture if picture.ndim == 2 else picture[..., :3].mean(-1)
    side = min(grey.shape)
    top, left = (grey.shape[0] - side) // 2, (grey.shape[1] - side) // 2
    central = grey[None, top : top + side, left : left + side]
    return nn.functional.adaptive_avg_pool2d(central, SIZE)[0]


def distances(p: Tensor, law: Tensor) -> dict[str, float]:
    """Total variation of a law from the truth, and the divergence KL(truth, law) in nats."""
    there = p > 0
    kl = (p[there] * (p[there] / law[there]).log()).sum()
    return {"tv": float((p - law).abs().sum()) / 2, "kl_nats": float(kl)}


# ---------------------------------------------------------------- the models


class Pair(nn.Module):
    """A perceptron: z (B, 2 * digits) -> logits of both tokens.

    (B, 2, 512) or, independent, (B, 2, digits, base).
    """

    uses_time = False

    def __init__(self, width: int, digits: int, decoder: str):
        super().__init__()
        self.digits, self.joint = digits, decoder == "joint"
        self.base = Subtokenizer(SIZE, digits).base
        # a table for each digit of each token
        self.embed = nn.Embedding(2 * digits * (self.base + 1), 192 // digits)
        self.first, self.second = nn.Linear(2 * 192, width), nn.Linear(width, width)
        self.norm, self.last = nn.LayerNorm(width), nn.Linear(width, 2 * 128)
        self.head = nn.Linear(128, SIZE if self.joint else digits * self.base)

    def features(self, z: Tensor) -> Tensor:
        rows = z + torch.arange(z.shape[1]) * (self.base + 1)
        x = self.first(self.embed(rows).flatten(1))
        x = x + self.second(nn.functional.silu(x))
        return self.last(nn.functional.silu(self.norm(x))).unflatten(1, (2, -1))

    def logits(self, features: Tensor) -> Tensor:
        logits = self.head(features)
        return logits if self.joint else logits.unflatten(-1, (self.digits, -1))

    def forward(self, z: Tensor) -> Tensor:
        return self.logits(self.features(z))


def trained(
    args, p: Tensor, digits: int, decoder: str, objective: str
) -> tuple[MaskedDiffusion, float, float]:
    """The model, its loss over the last tenth of the steps, and the seconds that training took."""
    torch.manual_seed(args.seed)
    network, sub = Pair(args.width, digits, decoder), Subtokenizer(SIZE, digits)
    model = MaskedDiffusion(network, schedules.Linear(), sub, objective=objective)
    how = {"lr": args.rate, "betas": (0.9, 0.99), "weight_decay": 0.0, "fused": True}
    optimizer = torch.optim.AdamW(model.parameters(), **how)
    warm = min(100, args.steps // 10)

    def share(step: int) -> float:
        done = max(0, step - warm) / max(1, args.steps - warm)
        return min((step + 1) / (warm + 1), 0.5 + 0.5 * math.cos(math.pi * done))

    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
    generator, sums = torch.Generator().manual_seed(args.seed), p.flatten().cumsum(0)
    began, losses = time.monotonic(), []
    for _ in range(args.steps):
        u = uniform(args.batch, generator=generator)
        pixel = torch.searchsorted(sums, u * sums[-1], right=True)
        loss = model(torch.stack([pixel // SIZE, pixel % SIZE], 1), generator=generator).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        rate.step()
        losses.append(float(loss.detach()))
    last = losses[-max(1, args.steps // 10) :]
    return model.eval(), sum(last) / len(last), time.monotonic() - began


class Posterior(nn.Module):
    """The exact denoiser of the density.

    For the independent decoder its best one, the exact marginals of the digits.  A state that the
    density excludes, but digits drawn apart can reach, is given what 1e-30 on every pixel gives.
    """

    uses_time = False

    def __init__(self, p: Tensor, digits: int, decoder: str):
        super().__init__()
        self.digits, self.joint = digits, decoder == "joint"
        self.base = Subtokenizer(SIZE, digits).base
        states = torch.tensor(list(itertools.product(range(self.base + 1), repeat=digits)))
        self.agrees = consistent(states, self.base).double()  # (states, 512)
        p = p + 1e-30
        # of a row given the column's state, and vice versa
        self.log_p = torch.stack([self.agrees @ p.T, self.agrees @ p]).log()

    def forward(self, z: Tensor) -> Tensor:
        place = (self.base + 1) ** torch.arange(self.digits - 1, -1, -1)
        state = (z.unflatten(1, (2, -1)) * place).sum(-1)
        logp = [self.log_p[0, state[:, 1]], self.log_p[1, state[:, 0]]]
        logp = torch.stack(logp, 1)  # (B, 2, 512)
        if self.joint:
            return logp
        logp = logp + self.agrees[state].log()
        cube = logp.softmax(-1).unflatten(-1, [self.base] * self.digits)
        axes = range(2, 2 + self.digits)
        marginals = [cube.sum([other for other in axes if other != axis]) for axis in axes]
        return torch.stack(marginals, 2).log()


# ---------------------------------------------------------------- the picture


def draw(path: Path, p: Tensor, laws: dict, rows: list[dict], times: list[str]) -> None:
    """The truth at the left; a column for each variant, a row for each number of steps."""
    figure = plt.figure(figsize=(22, 13), layout="constrained")
    cells = figure.add_gridspec(len(times), 1 + len(rows), width_ratios=[1.25] + [1] * len(rows))
    colours = {"cmap": "magma", "vmin": 0, "vmax": 1.5 * float(p.max())}

    def panel(place, values: Tensor, title: str):
        axes = figure.add_subplot(place)
        axes.imshow(values, **colours, interpolation="antialiased")
        axes.set_title(title, fontsize=17)
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    panel(cells[:, 0], p, "truth\n(TV: total variation from it)")
    for column, row in enumerate(rows, 1):
        for line, when in enumerate(times):
            title = f"TV {row[when]['tv']:.3f}"
            if line == 0:
                title = row["variant"].replace(", ", "\n", 1) + "\n" + title
            axes = panel(cells[line, column], laws[row["variant"], when], title)
            if column == 1:
                axes.set_ylabel(when, fontsize=17)
    figure.savefig(path, dpi=64)


if __name__ == "__main__":
    main()
