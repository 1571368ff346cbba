"""Sampling: seconds and network calls a sequence, and steps that reveal nothing."""

import math
import time
from typing import Any

import torch
from torch import Tensor, nn

from unmask import schedules
from unmask.bench.timing import CPU, Row, network
from unmask.device import pick_dtype, precision
from unmask.diffusion import MaskedDiffusion
from unmask.sampling import idle_share, time_grid, trajectory
from unmask.subtokens import Subtokenizer


def sampling() -> list[Row]:
    """S: 16 sequences of 256 tokens, the exact law at every setting."""
    rows: list[Row] = []
    model = MaskedDiffusion(network(256, 4), schedules.Linear(), Subtokenizer(256)).eval()
    calls = [0, 0]
    backbone: Any = model.backbone
    features = backbone.features

    def counting(z: Tensor, **given) -> Tensor:
        calls[0] += 1
        calls[1] += len(z)
        return features(z, **given)

    backbone.features = counting
    settings = {f"ancestral, {steps} steps": ("ancestral", steps) for steps in (64, 256, 1000)}
    settings["first_hitting"] = ("first_hitting", 1)
    for name, (sampler, steps) in settings.items():
        calls[:] = [0, 0]
        how: dict[str, Any] = {"sampler": sampler, "steps": steps}
        how["generator"] = torch.Generator().manual_seed(0)
        began = time.perf_counter()
        with precision(pick_dtype("auto", CPU), CPU):
            for _ in trajectory(model, torch.full((16, 256), 256), **how):
                pass
        rows += [
            (name, (time.perf_counter() - began) / 16, "s a sequence"),
            (f"{name}, network calls", calls[1] / 16, "a sequence"),
        ]
    return rows


class Uniform(nn.Module):
    """A network that knows nothing, and counts the sequences that it is asked for."""

    uses_time = False

    def __init__(self, vocab_size: int, digits: int):
        super().__init__()
        self.vocab_size, self.digits, self.sequences = vocab_size, digits, 0

    def forward(self, z: Tensor) -> Tensor:
        self.sequences += len(z)
        return torch.zeros(()).expand(len(z), z.shape[1] // self.digits, self.vocab_size)


def idle_steps(tokens: int = 1024, steps: int = 1024, sequences: int = 32) -> list[Row]:
    """Ancestral steps that reveal nothing, counted while sampling, beside the formula.

    MDM-Prime's Figure 1 (arXiv 2505.18495): linear schedule, uniform grid, 64 values = 64^1 = 8^2 =
    4^3 (of 4 digits) = 2^6.  What is drawn does not matter for the count.
    """
    rows: list[Row] = []
    for digits in (1, 2, 4, 6):
        schedule, network = schedules.Linear(), Uniform(64, digits)
        model = MaskedDiffusion(network, schedule, Subtokenizer(64, digits)).eval()
        left = torch.full((sequences,), tokens * digits)
        idle = torch.zeros(sequences, dtype=torch.float64)
        z = torch.full((sequences, tokens * digits), model.mask_id)
        generator = torch.Generator().manual_seed(digits)
        for state in trajectory(model, z, steps=steps, grid="uniform", generator=generator):
            masked = (state == model.mask_id).sum(1)
            idle += masked == left
            left = masked
        share, error = float(idle.mean()) / steps, float(idle.std()) / math.sqrt(sequences) / steps
        expected = idle_share(schedule, time_grid(steps, "uniform"), tokens * digits)
        name = f"{digits} digit{'s' * (digits > 1)} a token, {tokens} tokens, {steps} steps"
        rows += [
            (f"{name}: idle", 100 * share, f"% +- {100 * error:.3f}, {sequences} sequences"),
            (f"{name}: idle, formula", 100 * expected, f"%, z = {(share - expected) / error:+.1f}"),
            (f"{name}: network calls", network.sequences / sequences, "a sequence"),
        ]
    return rows
