"""Sub-tokens as a user has them: networks, permuted codes, the fast marginals, training,
evaluation, filling in."""

import json
from dataclasses import replace

import pytest
import torch

import unmask
from unmask import schedules
from unmask.audit import exact_nelbo
from unmask.backbones import Transformer
from unmask.cli import main
from unmask.config import TrainConfig
from unmask.diffusion import continuous
from unmask.kernels import marginals
from unmask.likelihood import joint_loss
from unmask.subtokens import Subtokenizer, consistent
from unmask.train import read_log, train

SMALL = TrainConfig(
    length=12, dim=24, layers=1, heads=2, batch_size=8, steps=6, warmup=2, eval_minutes=0,
    eval_windows=8, log_every=2, dtype="float32", device="cpu", threads=1,
)  # fmt: skip


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def network(vocab_size, digits, **kw):
    torch.manual_seed(0)
    net = Transformer(vocab_size, dim=24, layers=1, heads=2, digits=digits, **kw).double()
    torch.nn.init.normal_(net.head.weight, std=0.5)
    return net


# ---------------------------------------------------------------- the marginals


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("tile", [1, 30, 2**20])
@pytest.mark.parametrize("vocab_size,length", [(7, 1), (9, 2), (27, 2), (27, 3), (30, 3), (11, 4)])
def test_fast_marginals_are_the_formula_and_its_gradient(
    vocab_size, length, learned, tile, monkeypatch
):
    monkeypatch.setattr(marginals, "TILE", {"cpu": tile})
    sub, rows = Subtokenizer(vocab_size, length), 40
    logits = 3 * torch.randn(rows, vocab_size, dtype=torch.float64, generator=rng())
    logits[:, 1] = -1000  # a value that has no probability in float32
    y = sub.digits(torch.randint(2, vocab_size, (rows, 1), generator=rng(1))).view(rows, length)
    masked = torch.rand(rows, length, generator=rng(2)) < 0.6
    masked[:, 0] |= ~masked.any(-1)
    factor = torch.rand(rows, dtype=torch.float64, generator=rng(3))
    power = (
        0.3 + 2 * torch.rand(sub.base, dtype=torch.float64, generator=rng(4)) if learned else None
    )
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    powers = [None if power is None else power.clone().requires_grad_() for _ in range(2)]
    agrees = consistent(torch.where(masked, sub.base, y), sub.base)[:, :vocab_size]
    formula = factor * continuous(
        plain.masked_fill(~agrees, -torch.inf).log_softmax(-1), y, masked, sub.base, powers[1]
    )
    total, each = marginals.marginal_nats(ours, y, masked, sub.base, factor, powers[0])
    torch.testing.assert_close(each.sum(1), formula, rtol=1e-12, atol=1e-12)
    assert bool((each[~masked] == 0).all())
    torch.testing.assert_close(total, formula.sum(), rtol=1e-12, atol=1e-12)
    (3 * total).backward()
    (3 * formula.sum()).backward()
    torch.testing.assert_close(ours.grad, plain.grad, rtol=1e-12, atol=1e-13)
    assert torch.equal(ours, logits)  # they are the network's, and stay as they are
    if learned:
        torch.testing.assert_close(powers[0].grad, powers[1].grad, rtol=1e-12, atol=1e-13)
    with torch.no_grad():
        each = marginals.marginal_nats(logits, y, masked, sub.base, factor, power)[1]
        torch.testing.assert_close(each.sum(1), formula.detach(), rtol=1e-12, atol=1e-12)
        assert torch.equal(ours, logits)


def test_fast_marginals_of_bfloat16_logits_are_summed_in_float32():
    logits = torch.randn(6, 50257, generator=rng()).bfloat16()
    y = Subtokenizer(50257, 2).digits(torch.randint(0, 50257, (6, 1), generator=rng())).view(6, 2)
    masked = torch.tensor([[True, True]] * 3 + [[True, False]] * 3)
    _, each = marginals.marginal_nats(logits, y, masked, 225, torch.ones(6))
    assert each.dtype == torch.float32
    exact = marginals.marginal_nats(logits.double(), y, masked, 225, torch.ones(6).double())[1]
    torch.testing.assert_close(each.double(), exact, rtol=1e-6, atol=1e-6)


def test_fast_marginals_keep_their_precision_whatever_the_logits_offset():
    logits, y, masked = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([[0]]), torch.tensor([[True]])
    exact = -logits.log_softmax(-1)[:, :1]
    for offset in (0.0, 1e4, 2.0**20):
        for gradient in (False, True):
            with torch.set_grad_enabled(gradient):
                shifted = (logits + offset).requires_grad_()
                torch.testing.assert_close(
                    marginals.marginal_nats(shifted, y, masked, 3, torch.ones(1))[1], exact
                )


def test_independent_digits_in_bfloat16_are_added_in_float32():
    model = unmask.MaskedDiffusion(
        network(81, 4, decoder="independent"), schedules.Linear(), Subtokenizer(81, 4)
    )
    logits = (3 * torch.randn(5, 4, 3, generator=rng())).bfloat16()
    assert torch.equal(
        model.restrict(logits, torch.zeros(5).long()),
        model.restrict(logits.float(), torch.zeros(5).long()),
    )


# ---------------------------------------------------------------- networks


def test_a_row_is_a_token_and_every_digit_is_seen_at_its_place():
    net = network(27, 3)
    assert net.embed.weight.shape == (3 * 4, 8)
    z = torch.tensor([[0, 1, 2, 3, 3, 3]])
    logits = net(z)
    assert logits.shape == (1, 2, 27)
    # digits exchanged, masked, revealed
    for changed in ([2, 1, 0, 3, 3, 3], [0, 1, 3, 3, 3, 3], [0, 1, 2, 0, 3, 3]):
        assert not torch.allclose(net(torch.tensor([changed])), logits)


def test_the_plain_network_has_the_same_weights_as_ever():
    torch.manual_seed(3)
    plain = Transformer(20, dim=16, layers=1, heads=2)
    torch.manual_seed(3)
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            plain.parameters(),
            Transformer(20, dim=16, layers=1, heads=2, digits=1).parameters(),
            strict=True,
        )
    )
    assert plain.embed.weight.shape == (21, 16)


@pytest.mark.parametrize(
    "kw,said",
    [
        ({"dim": 16}, "dim 16 is not a multiple of digits 3.*try dim 12"),
        ({"decoder": "x"}, "decoder must be"),
    ],
)
def test_a_width_that_does_not_divide_is_refused(kw, said):
    with pytest.raises(ValueError, match=said):
        Transformer(27, **{"dim": 24, "layers": 1, "heads": 2, "digits": 3} | kw)
    Transformer(27, dim=12, layers=1, heads=2, digits=3)


def test_an_independent_decoder_multiplies_its_digits_and_a_joint_one_need_not():
    for decoder, product in (("independent", True), ("joint", False)):
        net = network(9, 2, decoder=decoder)
        model = unmask.MaskedDiffusion(net, schedules.Linear(), Subtokenizer(9, 2))
        mu = model.predict(torch.full((1, 4), 3))[0, 0].exp().view(3, 3)
        assert torch.allclose(mu, mu.sum(1, keepdim=True) * mu.sum(0), atol=1e-12) == product


@pytest.mark.parametrize(
    "vocab_size,length,said",
    [
        (32769, 15, "most of 14,348,907 codes.*16 digits"),
        (2**24 + 1, 2, "between 2 and 16,777,216"),
    ],
)
def test_more_digits_or_values_than_make_sense_are_refused(vocab_size, length, said):
    with pytest.raises(ValueError, match=said):
        Subtokenizer(vocab_size, length)


# ---------------------------------------------------------------- permuted codes


@pytest.mark.parametrize("digits,masking", [(1, "digit"), (2, "digit"), (2, "token"), (3, "digit")])
def test_permuted_codes_are_the_plain_model_on_relabelled_data(digits, masking):
    codes = torch.randperm(11, generator=rng())
    plain = unmask.MaskedDiffusion(
        network(11, digits), schedules.Cosine(), Subtokenizer(11, digits), masking=masking
    )
    model = unmask.MaskedDiffusion(
        plain.backbone, schedules.Cosine(), Subtokenizer(11, digits, codes), masking=masking
    )
    x = torch.randint(0, 11, (5, 2), generator=rng(1))
    assert torch.equal(model.subtokenizer.decode(model.subtokenizer.encode(x)), x)
    assert torch.equal(exact_nelbo(model, x), exact_nelbo(plain, codes[x]))
    assert torch.equal(model.nelbo(x, generator=rng()), plain.nelbo(codes[x], generator=rng()))
    assert torch.equal(
        model.nelbo(x, 4, generator=rng()), plain.nelbo(codes[x], 4, generator=rng())
    )
    z = plain.corrupt(codes[x], torch.rand(5, 2 * plain.units().length, generator=rng(2)) < 0.5)
    assert torch.equal(model.predict(z), plain.predict(z)[..., codes])
    drawn = unmask.sample(model, num=20, length=2, steps=3, generator=rng())
    assert torch.equal(
        codes[drawn], unmask.sample(plain, num=20, length=2, steps=3, generator=rng())
    )


def test_permuted_codes_keep_to_what_is_allowed_and_are_saved(tmp_path):
    codes = torch.randperm(9, generator=rng())
    allowed = torch.zeros(2, 9, dtype=torch.bool)
    allowed[0, :3] = allowed[1, 4:] = True
    model = unmask.MaskedDiffusion(
        network(9, 2), schedules.Linear(), Subtokenizer(9, 2, codes), allowed=allowed
    )
    x = unmask.sample(model, num=200, length=2, steps=4, generator=rng())
    assert bool((x[:, 0] < 3).all()) and bool((x[:, 1] >= 4).all())
    model.save_pretrained(tmp_path / "model")
    again = unmask.MaskedDiffusion.from_pretrained(tmp_path / "model")
    assert torch.equal(again.subtokenizer.codes, codes)
    assert torch.equal(exact_nelbo(again, x[:4]), exact_nelbo(model, x[:4]))
    other = unmask.MaskedDiffusion(
        network(9, 2), schedules.Linear(), Subtokenizer(9, 2, codes.flip(0)), allowed=allowed
    )
    with pytest.raises(ValueError, match="tokens have other codes"):
        other.load_state_dict(model.state_dict())
    for kind in (torch.uint8, torch.int16, torch.int32):
        assert torch.equal(
            again.subtokenizer.encode(x[:4].to(kind)), model.subtokenizer.encode(x[:4])
        )
    with pytest.raises(ValueError, match="permutation of the 3 values"):
        Subtokenizer(3, 2, torch.tensor([0, 1, 1]))


# ---------------------------------------------------------------- filling in


@pytest.mark.parametrize("sampler", ["ancestral", "first_hitting"])
def test_known_digits_of_a_token_stay_and_the_rest_agrees_with_them(sampler):
    # base 3: 27 codes, 11 of them tokens
    model = unmask.MaskedDiffusion(network(11, 3), schedules.Linear(), Subtokenizer(11, 3))
    # the second token's middle digit is known
    z = torch.tensor([[1, 3, 3, 3, 2, 3]]).repeat(100, 1)
    x = unmask.sample(model, z=z, sampler=sampler, steps=5, generator=rng())
    digits = model.subtokenizer.encode(x)
    assert bool((digits[:, 0] == 1).all()) and bool((digits[:, 4] == 2).all())
    # of the codes that begin with digit 1, the vocabulary has two
    assert set(x[:, 0].tolist()) == {9, 10}
    assert set(x[:, 1].tolist()) == {6, 7, 8}


# ---------------------------------------------------------------- training and evaluation


@pytest.mark.parametrize(
    "change",
    [
        {"digits": 2},
        {"digits": 3, "codes": "random"},
        {"digits": 2, "masking": "token"},
        {"digits": 2, "decoder": "independent"},
    ],
)
def test_digits_are_trained_and_read_back(data, tmp_path, change):
    folder = train(replace(SMALL, **change), data, tmp_path / "run")
    model = unmask.MaskedDiffusion.from_pretrained(folder)
    assert (model.subtokenizer.length, model.masking) == (
        change["digits"],
        change.get("masking", "digit"),
    )
    assert (model.codes is not None) == ("codes" in change)
    assert model.backbone.config["decoder"] == change.get("decoder", "joint")
    assert [row["loss"] for row in read_log(tmp_path / "run" / "log.jsonl") if "loss" in row]
    before = folder.joinpath("model.safetensors").read_bytes()
    again = train(replace(SMALL, **change), data, tmp_path / "again")
    assert again.joinpath("model.safetensors").read_bytes() == before


def test_the_joint_loss_is_logged_as_a_loss_and_the_bound_is_what_is_evaluated(
    data, tmp_path, capsys
):
    folder = train(replace(SMALL, digits=2, objective="joint"), data, tmp_path / "run")
    rows = read_log(tmp_path / "run" / "log.jsonl")
    assert any("joint_loss" in row for row in rows) and not any("loss" in row for row in rows)
    model = unmask.MaskedDiffusion.from_pretrained(folder)
    assert model.objective == "joint"
    flags = ["--data", str(data), "--limit", "4", "--json", str(tmp_path / "bound.json")]
    assert main(["eval", str(folder), *flags]) == 0
    assert "reveals one of a token's 2 digits at an instant" in capsys.readouterr().out
    assert (
        json.loads((tmp_path / "bound.json").read_text(encoding="utf-8"))["revealed_at_an_instant"]
        == "one of a token's 2 digits"
    )
    token = ["--masking", "token", "--json", str(tmp_path / "token.json")]
    assert main(["eval", str(folder), "--data", str(data), "--limit", "4", *token]) == 0
    assert (
        json.loads((tmp_path / "token.json").read_text(encoding="utf-8"))["value"]
        != json.loads((tmp_path / "bound.json").read_text(encoding="utf-8"))["value"]
    )
    assert "reveals one token at an instant" in capsys.readouterr().out
    assert main(["eval", str(folder), "--data", str(data), "--estimator", "joint"]) == 2
    said = capsys.readouterr().err
    assert (
        "not an upper bound" in said
        and "dependency-breaks-validity" in said
        and said.count("\n") == 1
    )


def test_the_joint_loss_of_k_equal_bits_is_below_their_entropy():
    """One fair bit, repeated as both digits of one token: entropy log 2, joint loss log 2 / 2
    (closed form)."""

    class Copies(torch.nn.Module):
        uses_time = False

        def forward(self, z):
            return torch.tensor([0.0, -torch.inf, -torch.inf, 0.0], dtype=torch.float64).expand(
                len(z), 1, 4
            )

    model = unmask.MaskedDiffusion(Copies(), schedules.Linear(), Subtokenizer(4, 2))
    x = torch.tensor([[0], [3]]).repeat(2000, 1)
    assert joint_loss(model, [x], seed=1) == pytest.approx(
        0.5 * torch.log(torch.tensor(2.0)).item(), rel=0.02
    )
    assert unmask.estimate_nelbo(model, [x]).nats_per_position == pytest.approx(
        torch.log(torch.tensor(2.0)).item(), rel=0.02
    )


def test_the_joint_loss_is_refused_where_it_is_not_defined():
    net = Transformer(4, dim=16, layers=1, heads=2, time=True)
    learned = unmask.MaskedDiffusion(net, schedules.LearnedPolynomial(4), Subtokenizer(4))
    x = torch.tensor([[0, 1]])
    with pytest.raises(ValueError, match="one curve only"):
        joint_loss(learned, [x])
    with pytest.raises(ValueError, match="repeats must be at least 1"):
        joint_loss(unmask.MaskedDiffusion(net, schedules.Linear(), Subtokenizer(4)), [x], repeats=0)


@pytest.mark.parametrize(
    "flags,said",
    [
        (
            ["--digits", "7", "--dim", "126", "--heads", "3"],
            "28 values cannot use 7 digits: choose between 1 and 5",
        ),
        (["--digits", "3"], "dim 128 is not a multiple of digits 3"),
        (["--digits", "0"], "digits must be at least 1"),
        (["--masking", "token"], "masking token needs digits of tokens: give --digits 2"),
        (["--objective", "joint"], "objective joint needs digits"),
    ],
)
def test_digits_that_cannot_be_meant_are_refused_before_any_work(
    data, tmp_path, capsys, flags, said
):
    assert main(["train", "demo", "--data", str(data), "--out", str(tmp_path / "run"), *flags]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
