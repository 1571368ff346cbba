"""Few passes over memory compute what the expressions do."""

import pytest
import torch
from torch.autograd import gradcheck

from unmask.backbones import Transformer
from unmask.kernels import pointwise
from unmask.kernels.pointwise import rms_norm, turned, with_neighbours

ANGLES = torch.linspace(0, 9, 5 * 3).view(5, 1, 3)
WAYS = {
    "norm": (rms_norm, lambda x: (x, 1 + torch.arange(x.shape[-1]).to(x.dtype) / 5, 1e-6)),
    "turned": (turned, lambda x: (x, *(f(ANGLES).to(x.dtype) for f in (torch.cos, torch.sin)))),
}
for count in (1, 3, 4, 13):  # of 5 positions
    WAYS[f"{count} neighbours"] = (
        lambda x, weight, count=count: with_neighbours(x[:, :, 1], weight, count // 2),
        lambda x, count=count: (x, torch.linspace(-1, 1, count * x.shape[-1]).view(count, -1)),
    )


@pytest.mark.parametrize("count,before", [(1, 0), (3, 1), (4, 3), (5, 0), (13, 6)])
@pytest.mark.parametrize("by_hand", [False, True])
def test_neighbours_are_summed_by_channel_and_nothing_lies_beyond_the_ends(count, before, by_hand):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 3).double(), torch.randn(count, 3).double()
    expected = x.clone()
    for s in range(5):
        for i in range(count):
            if 0 <= s + i - before < 5:
                expected[:, s] += weight[i] * x[:, s + i - before]
    found = with_neighbours(x.requires_grad_(by_hand), weight, before)
    assert (found.grad_fn is not None) == by_hand
    torch.testing.assert_close(found.detach(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", WAYS)
def test_the_gradient_by_hand_is_the_slope(name):
    """By finite differences, in float64; of another layout, too, and of zeros."""
    way, arguments = WAYS[name]
    torch.manual_seed(0)
    x = torch.randn(2, 5, 4, 6, dtype=torch.float64)
    for given in (x, x.transpose(1, 2).contiguous().transpose(1, 2)):
        x, *others = arguments(given.clone().requires_grad_())
        if name != "turned":
            others = [one.double().requires_grad_() if one is others[0] else one for one in others]
        assert gradcheck(way, (x, *others))
    assert rms_norm(torch.zeros(2, 6).requires_grad_(), torch.ones(6), 1e-6).abs().max() == 0


@pytest.mark.parametrize("name", WAYS)
def test_slopes_may_lie_in_memory_in_any_order(name):
    way, arguments = WAYS[name]
    torch.manual_seed(0)
    x, *others = arguments(torch.randn(2, 5, 4, 6).requires_grad_())
    y = way(x, *others)
    slope = torch.randn_like(y)
    turned_round = slope.mT.contiguous().mT.transpose(0, 1).contiguous().transpose(0, 1)
    assert turned_round.stride() != slope.stride()
    (plain,) = torch.autograd.grad(y, x, slope, retain_graph=True)
    (found,) = torch.autograd.grad(y, x, turned_round)
    torch.testing.assert_close(found, plain)


@pytest.mark.parametrize("name,dtype,other", [
    ("norm", torch.float32, torch.float32), ("turned", torch.float32, torch.float32),
    ("norm", torch.bfloat16, torch.bfloat16), ("turned", torch.bfloat16, torch.bfloat16),
    ("norm", torch.bfloat16, torch.float32), ("4 neighbours", torch.float32, torch.float32),
    ("4 neighbours", torch.bfloat16, torch.float32),
])  # fmt: skip
def test_outputs_and_slopes_are_those_of_the_expression(monkeypatch, name, dtype, other):
    """What is trained is what is used, and what other devices do; also where weights are more
    precise than what they weigh."""
    way, arguments = WAYS[name]
    torch.manual_seed(0)
    x, *others = arguments(torch.randn(2, 5, 4, 6).to(other))
    x, found = x.to(dtype).requires_grad_(), []
    for by_hand in (True, False):
        monkeypatch.setattr(pointwise, "by_hand", lambda x, by_hand=by_hand: by_hand)
        y = way(x, *others)
        found.append((y, *torch.autograd.grad(y.float().square().sum(), x)))
    for ours, plain in zip(*found, strict=True):
        assert ours.dtype == plain.dtype and ours.shape == plain.shape
        slack = 6 * torch.finfo(dtype).eps
        assert torch.allclose(
            ours, plain, rtol=slack, atol=slack * float(plain.detach().abs().max())
        )


def test_a_network_learns_the_same_by_hand(monkeypatch):
    """All gradients of a transformer, against autograd's own way."""
    torch.manual_seed(0)
    network = Transformer(7, dim=16, layers=2, heads=2, neighbours=3).double()
    z = torch.randint(0, 8, (3, 9))
    for weight in (network.head.weight, *network.blocks[0].near):
        torch.nn.init.normal_(weight)
    found = []
    for by_hand in (True, False):
        monkeypatch.setattr(pointwise, "by_hand", lambda x, by_hand=by_hand: by_hand)
        loss = network(z).logsumexp(-1).sum()
        found.append(torch.autograd.grad(loss, list(network.parameters())))
    for ours, plain in zip(*found, strict=True):
        assert torch.allclose(ours, plain, rtol=1e-10, atol=1e-12)
