"""Muon: the orthogonalization against singular values, a step against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F

import unmask
from unmask import schedules
from unmask.backbones import MD4UNet
from unmask.cli.main import main
from unmask.config import TrainConfig
from unmask.train import build
from unmask.train.muon import STEPS, A, B, C, Muon, orthogonalized
from unmask.train.state import optimizers


@pytest.mark.parametrize("shape", [(3, 5, 9), (2, 9, 5), (1, 4, 4)])
def test_the_iteration_is_the_polynomial_of_the_singular_values(shape):
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(x, full_matrices=False)
    values = values / values.norm(dim=-1, keepdim=True)
    for _ in range(STEPS):
        values = A * values + B * values**3 + C * values**5
    assert torch.allclose(
        orthogonalized(x, torch.float64), left @ (values[..., None] * right), atol=1e-9
    )
    single = orthogonalized(x.float(), torch.float32)
    assert single.dtype == torch.float32 and torch.allclose(
        single.double(), orthogonalized(x, torch.float64), atol=1e-4
    )


def test_steps_are_those_of_pytorch_where_rows_have_one_norm():
    """Row i of gradient t is row t of the i-th rotation: rows of their sums have one norm, too.

    PyTorch's multiplies in bfloat16 always; six steps of 0.1 move a weight by about 0.3, and
    rounding by some thousandths.
    """
    generator = torch.Generator().manual_seed(1)
    rotations = {
        columns: torch.linalg.qr(torch.randn(9, columns, columns, generator=generator))[0]
        for columns in (6, 9)
    }
    start = [torch.randn(shape, generator=generator) for shape in ((6, 9), (9, 6), (6, 9))]
    ours, theirs = ([torch.nn.Parameter(p.clone()) for p in start] for _ in range(2))
    optimizers = [
        Muon(ours, 0.1, weight_decay=0.3),
        torch.optim.Muon(theirs, 0.1, weight_decay=0.3, momentum=0.9),
    ]
    for t in range(6):
        for k, (p, q) in enumerate(zip(ours, theirs)):
            rows, columns = p.shape
            p.grad = rotations[columns][:rows, (t + k) % 6] * (t + 1)
            q.grad = p.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for p, q, before in zip(ours, theirs, start):
        moved = (q - before).norm()
        assert (p - q).norm() < 0.02 * moved and moved > 1


@pytest.mark.parametrize("turned", [False, True])
def test_how_large_the_gradient_of_a_row_is_changes_nothing(turned):
    """Of a transposed kernel (in, out, ...) the rows are what each output gets: its columns."""
    generator = torch.Generator().manual_seed(5)
    gradient = torch.randn(3, 5, 2, 2, generator=generator)
    scales = torch.tensor([1e-6, 1.0, 30.0])[:, None, None, None]
    if turned:
        scales = torch.rand(5, 2, 2, generator=generator) + 1e-3
    steps = {}
    for name, of in (("as it is", gradient), ("scaled", gradient * scales)):
        p = torch.nn.Parameter(torch.zeros_like(gradient))
        p.grad = of
        Muon([p], 0.1, transposed=[p] if turned else []).step()
        steps[name] = p.detach()
    assert torch.allclose(steps["as it is"], steps["scaled"], atol=1e-6)
    across = F.normalize(gradient.flatten(1), dim=0 if turned else 1)
    tall = (20 / 3) ** 0.5 if turned else 1
    expected = -0.1 * tall * orthogonalized(across[None], torch.float32)[0]
    assert torch.allclose(steps["as it is"].flatten(1), expected, atol=1e-6)


def test_a_kernel_is_a_matrix_and_a_vector_is_refused():
    kernel = torch.nn.Parameter(torch.randn(4, 3, 3, 3, generator=torch.Generator().manual_seed(2)))
    matrix = torch.nn.Parameter(kernel.detach().flatten(1).clone())
    for p in (kernel, matrix):
        p.grad = p.detach() ** 2
        Muon([p], 0.1).step()
    assert torch.equal(kernel.flatten(1), matrix)
    with pytest.raises(ValueError, match=r"\(4,\)"):
        Muon([torch.nn.Parameter(torch.zeros(4))], 0.1)


def test_a_transposed_kernel_is_the_matrix_that_spreads_a_pixel():
    """(in, out, 2, 2), stride 2: a pixel's `in` values become out * 4, by (out * 4, in)."""
    kernel = torch.nn.Parameter(torch.randn(3, 5, 2, 2, generator=torch.Generator().manual_seed(3)))
    matrix = torch.nn.Parameter(kernel.detach().flatten(1).T.clone())
    x = torch.randn(3, generator=torch.Generator().manual_seed(4))
    spread = torch.nn.functional.conv_transpose2d(x[None, :, None, None], kernel, stride=2)
    assert torch.allclose(spread.flatten(), matrix @ x, atol=1e-6)
    same_shape = torch.nn.Parameter(kernel.detach().clone())
    for p in (kernel, matrix, same_shape):
        p.grad = p.detach() ** 2
    Muon([kernel, same_shape], 0.1, transposed=[kernel]).step()
    Muon([matrix], 0.1).step()
    assert torch.allclose(kernel.flatten(1).T, matrix, atol=1e-6)
    # and one that is not transposed is a matrix of 3 rows
    assert not torch.allclose(kernel, same_shape, atol=1e-2)


def test_of_a_foreign_picture_network_the_blocks_are_known():
    """Whose names do not tell them: down.0.conv1.weight."""
    network = MD4UNet(4, (8, 8, 1), layers=1, embed=32, time=True)
    model = unmask.MaskedDiffusion(network, schedules.Linear(), unmask.Subtokenizer(4))
    names = {id(p): name for name, p in model.named_parameters()}
    inside = ("backbone.down.", "backbone.middle.", "backbone.up.")
    expected = {n for n, p in model.named_parameters() if n.startswith(inside) and p.ndim >= 2}
    for optimizer in ("adamw", "muon"):
        config = TrainConfig(steps=1, optimizer=optimizer, weight_decay=0.5)
        groups = [g for o in optimizers(model, config) for g in o.param_groups]
        decayed = [p for g in groups if g["weight_decay"] for p in g["params"]]
        assert len(decayed) == 21 and {names[id(p)] for p in decayed} == expected


def test_the_up_samplers_of_a_picture_network_are_known_as_transposed():
    config = TrainConfig(
        network="unet", widths="8,16", blocks=1, layers=0, steps=1, minutes=0.0, length=64
    )
    model = build(
        config, 3, {"data": {"kind": "images", "tokenizer": {"shape": [8, 8, 1], "vocab_size": 3}}}
    )
    (muon,) = (o for o in optimizers(model, config) if isinstance(o, Muon))
    turned = [p for group in muon.param_groups for p in group["params"] if id(p) in muon.transposed]
    assert [tuple(p.shape) for p in turned] == [(16, 16, 2, 2)]


def test_a_rate_of_muon_without_muon_is_refused(data, tmp_path, capsys):
    argv = ["--data", str(data), "--out", str(tmp_path / "run"), "--length", "8", "--dry-run"]
    assert main(["train", "text8", "--muon-learning-rate", "0.03", *argv]) == 2
    assert "--muon-learning-rate 0.03 is of --optimizer muon" in capsys.readouterr().err
    assert main(["train", "demo", "--optimizer", "adamw", *argv]) == 0  # the preset's own
    assert main(["train", "demo", "--muon-learning-rate", "0.01", *argv]) == 0
