"""The transformer: conditioning, padding, positions, sizes of the paper's networks."""

import pytest
import torch
import torch.nn.functional as F

import unmask
from unmask.backbones import Transformer, UNet, attention
from unmask.backbones.attention import attend
from unmask.backbones.md4 import MD4Transformer
from unmask.backbones.traits import without_traits
from unmask.backbones.transformer import Head, RMSNorm
from unmask.kinds.registry import presets
from unmask.train import build


def network(**how) -> Transformer:
    torch.manual_seed(0)
    net = Transformer(11, dim=32, layers=2, heads=4, **how).double()
    for p in net.parameters():  # the output and the modulation start at zero: wake them up
        torch.nn.init.normal_(p, std=0.3)
    return net.eval()


def test_an_untrained_network_is_uniform_and_time_blind_by_default():
    net = Transformer(11, dim=32, layers=2, heads=4)
    assert not net.uses_time
    assert torch.equal(net(torch.randint(0, 12, (2, 5))), torch.zeros(2, 5, 11))


def test_forward_is_features_then_logits_and_rows_stand_alone():
    net = network()
    z = torch.randint(0, 12, (3, 7))
    features = net.features(z)
    assert torch.equal(net(z), net.logits(features))
    assert torch.allclose(net.logits(features[1, 3]), net(z)[1, 3], rtol=1e-12)


def test_every_position_sees_both_sides_and_its_own_place():
    net = network()
    z = torch.randint(0, 12, (1, 7))
    for changed in (0, 6):
        other = z.clone()
        other[0, changed] = (z[0, changed] + 1) % 12
        assert bool((net(z)[0] - net(other)[0]).abs().amin(0).max() > 0)
    same = torch.full((1, 4), 3)
    same[0, 1] = 5
    # equal neighbours up to order: only the place differs
    assert not torch.allclose(net(same)[0, 0], net(same)[0, 2])


@pytest.mark.parametrize("neighbours", [0, 5])
def test_what_is_not_valid_is_not_seen_and_padding_changes_nothing(neighbours):
    net = network(neighbours=neighbours)
    z = torch.randint(0, 12, (2, 5))
    padded = torch.cat([z, torch.randint(0, 12, (2, 3))], 1)
    valid = torch.tensor([True] * 5 + [False] * 3).expand(2, 8)
    assert torch.allclose(net(z), net(padded, valid=valid)[:, :5], rtol=1e-10)
    assert not torch.allclose(net(z), net(padded)[:, :5], rtol=1e-3)
    before = torch.cat([torch.randint(0, 12, (2, 1)), z], 1)
    other = before.clone()
    other[:, 0] = (other[:, 0] + 1) % 12
    valid = torch.tensor([False] + [True] * 5).expand(2, 6)
    found = [net(one, valid=valid)[:, 1:] for one in (before, other)]
    assert torch.equal(*found) and not torch.equal(net(before)[:, 1:], net(other)[:, 1:])


def test_traits_are_part_of_embeddings_and_of_the_heads_rows():
    """Of two groups, of four and of three values; and a network without them, whose tables hold the
    sums, says the same."""
    net = network(places=4, traits=(2, 4, 3))
    known = torch.randn(2, 4, 3).double()
    known[1, 3] = 0
    row = torch.tensor([-1, 0, 1, 2, 3, -1, 6, 5, 4, -1, -1])
    net.traits.tell(known, row)
    z = torch.randint(0, 12, (3, 4))
    z[0, :2] = 11
    with torch.no_grad():
        for weight in (net.traits.embed, net.traits.head):
            plain = torch.zeros(11, 32).double()
            for value, at in enumerate(row.tolist()):
                if at >= 0:
                    plain[value] = known[at // 4, at % 4] @ weight[at // 4]
            torch.testing.assert_close(net.traits(weight), plain, rtol=0, atol=1e-12)
        other = without_traits(net)
        assert other.traits is None and not other.config["traits"]
        torch.testing.assert_close(other(z), net(z), rtol=0, atol=1e-12)
        # what is added is of weight, and the mask has none of it
        assert not torch.allclose(other.embed.weight, net.embed.weight, rtol=0.1)
        assert torch.equal(other.embed.weight[11], net.embed.weight[11])
    names = {name for name, _ in net.named_parameters() if "traits" in name}
    assert names == {"traits.embed", "traits.head"}  # what is known is not learned
    assert without_traits(network()).config["traits"] == []
    with pytest.raises(ValueError, match="are of whole tokens: digits must be 1"):
        Transformer(11, digits=2, traits=(1, 2, 3))
    for wrong in ((1, 2), (0, 2, 3)):
        with pytest.raises(ValueError, match="must be three numbers, each at least 1"):
            Transformer(11, traits=wrong)


def test_neighbours_of_both_branches_are_seen_and_nothing_further():
    """With what attention brings taken away, positions see so far on either side as both branches
    of each block reach."""
    net = network(neighbours=3)
    for block in net.blocks:
        block.out.weight.data.zero_()
    z = torch.randint(0, 12, (1, 11))
    other = z.clone()
    other[0, 5] = (z[0, 5] + 1) % 12
    changed = (net(z) - net(other))[0].abs().amax(-1) > 0
    # the MLPs of two blocks, one position further each
    assert changed.nonzero()[:, 0].tolist() == [3, 4, 5, 6, 7]
    for block in net.blocks:  # or attention's own branch, of its position alone
        block.near[1].data.zero_()
    assert ((net(z) - net(other))[0].abs().amax(-1) > 0).nonzero()[:, 0].tolist() == [5]


def test_neighbours_start_at_nothing_and_are_no_matrices_of_muon():
    without, net = (Transformer(11, dim=32, layers=2, heads=4, neighbours=n) for n in (0, 5))
    net.load_state_dict(net.state_dict() | without.state_dict())
    for n in (without, net):
        torch.manual_seed(0)
        torch.nn.init.normal_(n.head.weight)
    z = torch.randint(0, 12, (3, 7))
    torch.testing.assert_close(net(z), without(z), rtol=0, atol=0)
    added = sum(p.numel() for p in net.parameters()) - sum(p.numel() for p in without.parameters())
    assert added == 2 * 2 * 5 * 32 and all(w.ndim == 1 for b in net.blocks for w in b.near)


@pytest.mark.parametrize("how", [{"neighbours": 4}, {"neighbours": -1}])
def test_neighbours_lie_on_both_sides(how):
    with pytest.raises(ValueError, match="odd number, or 0"):
        Transformer(11, **how)
    Transformer(11, neighbours=4, causal=True)
    with pytest.raises(ValueError, match="3 places have no order"):
        Transformer(11, places=3, neighbours=3)


@pytest.mark.parametrize("shape", [(), (1,), (3,)])
def test_time_and_class_reach_the_output(shape):
    net = network(time=True, classes=2)
    z = torch.randint(0, 12, (3, 5))
    t = torch.full(shape, 0.3, dtype=torch.float64)
    base = net(z, t, torch.tensor([0, 1, 1]))
    assert base.shape == (3, 5, 11)
    assert not torch.allclose(base, net(z, t + 0.1, torch.tensor([0, 1, 1])))
    assert not torch.allclose(base, net(z, t, torch.tensor([1, 1, 1])))
    # no label = the extra label
    assert torch.allclose(net(z, t), net(z, t, torch.tensor([2, 2, 2])))


KINDS = {
    "transformer": lambda: Transformer(5, dim=8, layers=1, heads=2, classes=10),
    "unet": lambda: UNet(5, (4, 4, 1), widths=(8,), blocks=1, heads=1, classes=10),
    "md4": lambda: MD4Transformer(5, dim=8, layers=1, heads=2, mlp=6, embed=4, classes=10),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_class_that_there_is_not_is_named(name):
    model = unmask.MaskedDiffusion(KINDS[name](), unmask.schedules.Linear(), unmask.Subtokenizer(5))
    for wrong in (12, -1):
        with pytest.raises(ValueError, match=f"class {wrong} is out of range: there are 1"):
            unmask.sample(model, num=4, length=16, steps=2, cond=torch.full((4,), wrong))
    with pytest.raises(ValueError, match="class must be an integer, not torch.float32"):
        model(torch.zeros(1, 16, dtype=torch.long), cond=torch.zeros(1))


def test_adaln_zero_starts_as_the_identity():
    torch.manual_seed(0)
    net = Transformer(11, dim=32, layers=2, heads=4, time=True)
    z = torch.randint(0, 12, (2, 5))
    x = net.embed(z)
    assert torch.allclose(net.features(z, torch.tensor(0.5)), net.norm(x))  # every gate is zero


def test_refusals_name_the_value():
    with pytest.raises(ValueError, match="30"):
        Transformer(11, dim=30, heads=4)
    with pytest.raises(ValueError, match="classes"):
        network()(torch.zeros(1, 2, dtype=torch.long), cond=torch.tensor([0]))
    with pytest.raises(ValueError, match="t, which was not given"):
        network(time=True)(torch.zeros(1, 2, dtype=torch.long))


def test_the_norm_is_pytorchs():
    x = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    norm = RMSNorm(8).double()
    # a small row, where the epsilon matters: the GPU's path must be the same function
    for scale in (1.0, 1e-3, 0.0):
        assert torch.allclose(
            norm(scale * x),
            torch.nn.functional.rms_norm(scale * x, (8,), norm.weight, 1e-6),
            rtol=1e-9,
        )


def test_an_example_without_any_value_leaves_the_gradients_finite():
    net = Transformer(11, dim=32, layers=2, heads=4)
    torch.nn.init.normal_(net.head.weight)
    model = unmask.MaskedDiffusion(net, unmask.schedules.Linear(), unmask.Subtokenizer(11))
    valid = torch.ones(4, 6, dtype=torch.bool)
    valid[2] = False
    for dtype in (torch.bfloat16, torch.float32):
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            terms = model(torch.randint(0, 11, (4, 6)), valid=valid)
        terms.loss.backward()
        assert float(terms.nelbo[2]) == 0
        assert all(bool(p.grad.isfinite().all()) for p in net.parameters())


@pytest.mark.parametrize("values", [27, 32])
def test_a_padded_head_is_the_same_function(values):
    """The path of GPUs, on a CPU: outputs, gradients and their shapes are those of the layer,
    whether or not rows need padding."""
    head, x = Head(16, values).double(), torch.randn(5, 16, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(5, values, dtype=torch.float64)
    plain, padded = head(x), head.aligned(x, head.weight, head.bias)
    assert padded.shape == plain.shape and torch.allclose(padded, plain, rtol=1e-12)
    inputs = (x, head.weight, head.bias)
    for a, b in zip(
        torch.autograd.grad(plain, inputs, upstream), torch.autograd.grad(padded, inputs, upstream)
    ):
        assert torch.allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("amx,part", [(True, 2**22), (False, 2**22), (False, 3 * 33**2)])
def test_attention_by_products_is_attention(monkeypatch, masked, amx, part):
    """The ways of bfloat16 on CPUs, with and without AMX, whole and in slices, against the kernel
    in float32 within bfloat16's rounding: outputs, gradients, and outputs without gradients."""
    monkeypatch.setattr(attention, "AMX", amx)
    monkeypatch.setattr(attention, "PART", part)
    torch.manual_seed(0)
    inputs = torch.randn(3, 2, 4, 33, 16).bfloat16()
    upstream = torch.randn(2, 4, 33, 16).bfloat16()
    mask = (torch.rand(2, 1, 1, 33) > 0.3) if masked else None
    found = []
    for way, dtype in ((attend, torch.bfloat16), (F.scaled_dot_product_attention, torch.float32)):
        given = inputs.to(dtype).requires_grad_()
        y = way(*given, mask)
        (slope,) = torch.autograd.grad(y, given, upstream.to(dtype))
        with torch.no_grad():
            found.append([y.detach().float(), way(*given, mask).float(), slope.float()])
    for ours, exact in zip(*found, strict=True):
        assert float((ours - exact).abs().max()) < 0.03 * float(exact.abs().max())


def test_attention_of_many_scores_keeps_none(monkeypatch):
    """Beyond a limit it is the kernel that goes over long sequences, whose backward pass needs no
    softmax kept."""
    monkeypatch.setattr(attention, "AMX", False)
    q = torch.randn(2, 4, 33, 16).bfloat16().requires_grad_()
    assert "ScaledDotProduct" not in type(attend(q, q, q).grad_fn).__name__
    monkeypatch.setattr(attention, "KEPT", 8 * 33**2 - 1)
    assert "ScaledDotProduct" in type(attend(q, q, q).grad_fn).__name__


@pytest.mark.parametrize(
    "preset,vocab_size,millions",
    [
        ("text8", 27, 85),
        ("enwik8", 256, 85.4),
        ("owt-small", 50257, 162.2),
        ("owt-medium", 50257, 405.2),
    ],
)
def test_the_papers_sizes_can_be_built(preset, vocab_size, millions):
    """Counted by hand: layers x 12 dim^2 of matrices (qkv and out 4, gated MLP 8), embedding and
    head V x dim each."""
    with torch.device("meta"):
        model = build(presets()[preset].config, vocab_size, {})
    count = sum(p.numel() for p in model.parameters()) / 1e6
    assert count == pytest.approx(millions, rel=0.01)
    assert presets()[preset].config.length == model.meta.get(
        "length", presets()[preset].config.length
    )


def test_the_head_runs_at_masked_rows_only():
    net = network()
    model = unmask.MaskedDiffusion(net, unmask.schedules.Linear(), unmask.Subtokenizer(11))
    seen = []
    net.head.register_forward_hook(
        lambda module, given, out: seen.append(given[0].shape[:-1].numel())
    )
    x = torch.randint(0, 11, (64, 16))
    model(x, generator=torch.Generator().manual_seed(0))
    drawn = model.draw(model.clean(x), generator=torch.Generator().manual_seed(0))
    (rows,), masked = seen, int(drawn.masked.sum())
    assert rows % (64 * 16 // 32) == 0 and 0 <= rows - masked < 64 * 16 // 32


@pytest.mark.parametrize("name", ["Transformer", "UNet", "DDiT", "MD4Transformer", "MD4UNet"])
def test_weights_of_16_bits_know_the_time(name):
    how = {
        "Transformer": {"dim": 16, "layers": 1, "heads": 2},
        "UNet": {"shape": (4, 4, 1), "widths": (8, 8), "blocks": 1},
        "DDiT": {"dim": 16, "layers": 1, "heads": 2, "condition": 8},
        "MD4Transformer": {"dim": 16, "layers": 1, "heads": 2, "mlp": 16, "embed": 8},
        "MD4UNet": {"shape": (4, 4, 1), "layers": 1, "embed": 32},
    }
    network = getattr(unmask.backbones, name)(3, **how[name], time=True)
    schedule = unmask.schedules.Linear()
    model = unmask.MaskedDiffusion(network, schedule, unmask.Subtokenizer(3)).bfloat16()
    x = torch.randint(0, 3, (2, 16), generator=torch.Generator().manual_seed(0))
    assert bool(model.nelbo(x).isfinite().all())
