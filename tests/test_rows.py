"""Rows of the head: few different numbers of them, and nothing of those that fill them up."""

import pytest
import torch

from unmask import MaskedDiffusion, diffusion, schedules
from unmask.backbones import Transformer
from unmask.subtokens import Subtokenizer


def model_of(way):
    torch.manual_seed(0)
    digits = 2 if way == "digits" else 1
    network = Transformer(9, dim=16, layers=1, heads=2, digits=digits, time=way == "learned")
    torch.nn.init.normal_(network.head.weight)
    schedule = schedules.LearnedPolynomial(9) if way == "learned" else schedules.Linear()
    return MaskedDiffusion(network, schedule, Subtokenizer(9, digits))


@pytest.mark.parametrize("way", ["plain", "digits", "learned"])
def test_numbers_of_rows_are_few_and_change_nothing(monkeypatch, way):
    """Examples of different lengths: losses, bounds and gradients are those of the rows alone."""
    model, seen, found = model_of(way), [], []
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, 9, (16, 40), generator=generator)
    lengths = torch.randint(5, 41, (16, 1), generator=generator)
    head = model.backbone.logits
    monkeypatch.setattr(model.backbone, "logits", lambda rows: seen.append(len(rows)) or head(rows))
    for step in (None, 0):
        if step == 0:
            monkeypatch.setattr(diffusion, "in_steps", lambda index, step: index)
        for seed in range(12):
            generator = torch.Generator().manual_seed(seed)
            terms = model(x, valid=torch.arange(40) < lengths, generator=generator)
            slopes = torch.autograd.grad(terms.loss, list(model.parameters()))
            found.append((terms.loss, terms.nelbo, *slopes))
    padded, plain = set(seen[: len(seen) // 2]), set(seen[len(seen) // 2 :])
    assert all(size % 20 == 0 for size in padded) and len(padded) < len(plain) / 1.5
    for ours, alone in zip(found[:12], found[12:], strict=True):
        for a, b in zip(ours, alone, strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-6 * float(b.detach().abs().max()))
