"""A model trained on from data of other tokens: what both have stays, to the last bit."""

from itertools import product
from pathlib import Path

import pytest
import torch

import unmask
from unmask import schedules
from unmask.audit import exact_nelbo
from unmask.backbones import NAMES
from unmask.backbones.traits import without_traits
from unmask.cli.main import main
from unmask.config import TrainConfig
from unmask.data import open_data, prepare_table
from unmask.kinds.registry import kind_of
from unmask.train import build
from unmask.train.vocabulary import with_tokens

SIZES = {"dim": 16, "layers": 1, "heads": 2}


def text(alphabet):
    spec = {"name": "characters", "alphabet": alphabet}
    return kind_of({"kind": "text", "tokenizer": spec, "vocab_size": len(alphabet)}, Path())


def images(shape, levels):
    spec = {"name": "pixels", "shape": shape, "vocab_size": levels}
    return kind_of({"kind": "images", "tokenizer": spec, "vocab_size": levels}, Path())


def random(network):
    """Weights of all sizes, where an untrained network has zeros."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape))
    return network


def model_of(network, size, schedule=None, **how):
    units = unmask.Subtokenizer(size)
    schedule = schedule or schedules.Linear()
    return unmask.MaskedDiffusion(random(network), schedule, units, **how).eval()


TEXTS = {
    "Transformer": SIZES,
    "DDiT": SIZES | {"condition": 8, "time": True},
    "MD4Transformer": SIZES | {"time": True},
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_same_values_in_another_order(name):
    torch.manual_seed(0)
    model = model_of(NAMES[name](4, **TEXTS[name]), 4)
    made, said = with_tokens(model, text("abcd"), text("dbac"), 0)
    assert said == "4 of 4 values are values of the model; the body of the network stays"
    for word in ("abcd", "ddab"):
        ours, theirs = (
            torch.tensor([[alphabet.index(c) for c in word]]) for alphabet in ("abcd", "dbac")
        )
        with torch.no_grad():
            before, after = exact_nelbo(model, ours, 4), exact_nelbo(made.eval(), theirs, 4)
            assert torch.allclose(before, after)


def test_values_that_the_model_does_not_have():
    """Of known values everything stays; a new one is as likely as their geometric mean."""
    torch.manual_seed(0)
    model = model_of(NAMES["Transformer"](4, **SIZES), 4)
    made, said = with_tokens(model, text("abcd"), text("xdbyz"), 0)
    assert said == (
        "2 of 5 values are values of the model; rows of others ('x', 'y', 'z') begin anew in "
        "embedding and head; the body of the network stays"
    )
    of_new, of_old = [1, 2], [3, 1]  # d and b
    with torch.no_grad():
        for shown in product([None, "b", "d"], repeat=3):
            ours, theirs = (
                torch.tensor([[alphabet.index(c) if c else len(alphabet) for c in shown]])
                for alphabet in ("abcd", "xdbyz")
            )
            before, after = model.backbone(ours), made.backbone(theirs)
            assert torch.equal(after[..., of_new], before[..., of_old])
            means = before[..., of_old].mean(-1, keepdim=True).expand(1, 3, 3)
            assert torch.allclose(after[..., [0, 3, 4]], means, atol=1e-5)
    again, _ = with_tokens(model, text("abcd"), text("xdbyz"), 0)
    other, _ = with_tokens(model, text("abcd"), text("xdbyz"), 1)
    ours, same, differs = (one.backbone.embed.weight for one in (made, again, other))
    assert torch.equal(ours, same) and not torch.equal(ours[0], differs[0])
    assert torch.equal(ours[5], model.backbone.embed.weight[4])  # the mask


def test_a_value_that_is_never_drawn_stays_so():
    """As a mask among the tokens, which is no value of text."""
    allowed = torch.tensor([True, True, False, True])
    network = NAMES["DDiT"](4, dim=16, layers=1, heads=2, condition=0)
    units = unmask.Subtokenizer(4)
    model = unmask.MaskedDiffusion(network, schedules.Linear(), units, allowed=allowed)
    made, _ = with_tokens(model, text("abcd"), text("dbacx"), 0)
    assert made.allowed.tolist() == [True, True, True, False, True]


def test_codes_and_curves_go_with_the_values():
    torch.manual_seed(0)
    powers = torch.tensor([0.5, 1.0, 2.0, 3.0])
    curves = schedules.LearnedPolynomial.of_powers(powers)
    units = unmask.Subtokenizer(4, 1, torch.tensor([2, 0, 3, 1]))
    network = random(NAMES["Transformer"](4, time=True, **SIZES))
    model = unmask.MaskedDiffusion(network, curves, units).eval()
    made, _ = with_tokens(model, text("abcd"), text("dbac"), 0)
    with torch.no_grad():
        masked = torch.tensor([[4, 4]])
        said = model.predict(masked, torch.tensor(0.3)), made.predict(masked, torch.tensor(0.3))
        assert torch.allclose(said[0], said[1][..., [2, 1, 3, 0]], atol=1e-6)
    # the curve of a value is that of its code: a has code 2, so a power of 2
    assert torch.allclose(made.powers, powers[[1, 0, 2, 3]].to(made.powers), rtol=1e-5)
    wider, _ = with_tokens(model, text("abcd"), text("dbacx"), 0)
    assert torch.allclose(wider.schedule.raw[4], wider.schedule.raw[:4].mean())


def test_digits_begin_anew():
    torch.manual_seed(0)
    network = random(NAMES["Transformer"](9, digits=2, **SIZES))
    units = unmask.Subtokenizer(9, 2)
    model = unmask.MaskedDiffusion(network, schedules.Linear(), units)
    made, said = with_tokens(model, text("abcdefghi"), text("abcdefghijk"), 0)
    assert said.startswith("digits of other tokens mean other things")
    assert made.subtokenizer.base == 4 and made.subtokenizer.length == 2
    body, before = made.backbone.blocks.state_dict(), model.backbone.blocks.state_dict()
    assert all(torch.equal(body[name], before[name]) for name in before)
    assert not made.backbone.head.weight.any()
    assert made.predict(torch.full((1, 6), 4)).shape == (1, 3, 11)


@pytest.mark.parametrize("name", ["UNet", "MD4UNet"])
def test_pictures_of_another_size_and_other_values(name):
    torch.manual_seed(0)
    sizes = {"UNet": {"widths": (8,), "blocks": 1}, "MD4UNet": {"layers": 1, "embed": 32}}
    model = model_of(NAMES[name](3, (2, 2, 3), **sizes[name]), 3)
    made, said = with_tokens(model, images((2, 2, 3), 3), images((4, 2, 3), 3), 0)
    assert said.startswith("3 of 3 values") and made.backbone.shape == (4, 2, 3)
    before, after = model.backbone.state_dict(), made.backbone.state_dict()
    assert all(torch.equal(before[tensor], after[tensor]) for tensor in before)
    made, said = with_tokens(model, images((2, 2, 3), 3), images((2, 2, 3), 5), 0)
    assert said.startswith("0 of 5 values") and "(value 0 of 5, value 1 of 5, " in said
    z = torch.full((1, 12), 5)
    with torch.no_grad():
        assert made.backbone(z, torch.ones(1)).shape == (1, 12, 5)
    for channel in range(3):  # the mask of each
        at = channel * 4 + 3 if name == "UNet" else 3
        to = channel * 6 + 5 if name == "UNet" else 5
        weights = (one.backbone.embed.weight for one in (model, made))
        assert torch.equal(next(weights)[at], next(weights)[to])


def test_pictures_whose_values_are_known_by_where_they_lie():
    """What was known of values is in their rows from then on."""
    data = images((2, 2, 3), 4)
    config = TrainConfig(network="unet", widths="8", blocks=1, layers=0, traits=True, device="cpu")
    model = build(config, 4, {"length": 12, "data": data.meta})
    random(model.backbone)
    plain = without_traits(model.backbone)
    same, _ = with_tokens(model, data, images((4, 2, 3), 4), 0)
    for table in ("embed", "head"):
        assert torch.equal(*(getattr(net, table).weight for net in (plain, same.backbone)))
    other, said = with_tokens(model, data, images((2, 2, 3), 6), 0)
    assert said.startswith("0 of 6 values") and not other.backbone.config["traits"]
    assert other.predict(torch.full((1, 12), 6)).shape == (1, 4 * 3, 6)


def test_a_table_with_another_column(tmp_path, capsys):
    """Columns and categories by their names; training goes on from there, and says so."""
    both = [f"{sex},{city}" for sex in "fm" for city in ("Rome", "Oslo")]
    more = [f"{age},{city},{sex}" for age in (3, 4) for sex in "fm" for city in ("Oslo", "Bern")]
    for name, head, rows in (("a", "sex,city", both), ("b", "age,city,sex", more)):
        (tmp_path / f"{name}.csv").write_text("\n".join([head, *rows * 8]) + "\n")
        how = {"categories": ("age",) if name == "b" else (), "split": "8,1,1", "progress": False}
        prepare_table(tmp_path / f"{name}.csv", tmp_path / name, **how)
    few = ["--dim", "16", "--layers", "1", "--heads", "2"]
    run = ["--batch-size", "4", "--steps", "1", "--device", "cpu", "--dtype", "float32"]
    start = ["train", "table", "--data", tmp_path / "a", "--out", tmp_path / "first", *few, *run]
    assert main(list(map(str, start))) == 0
    tune = ["train", "table", "--data", tmp_path / "b", "--out", tmp_path / "second", *run]
    tune += ["--learning-rate", "1e-12", "--from", tmp_path / "first"]
    capsys.readouterr()
    assert main(list(map(str, tune))) == 0
    said = capsys.readouterr().err
    assert "3 of 6 values are values of the model, 2 of 3 places its places" in said
    folders = (tmp_path / "first", tmp_path / "second")
    ours, theirs = (unmask.MaskedDiffusion.from_pretrained(folder) for folder in folders)
    names = [open_data(tmp_path / name).tokenizer.place_names for name in "ab"]
    for column in ("sex", "city"):
        rows = [
            model.backbone.place.weight[places.index(column)]
            for model, places in zip((ours, theirs), names, strict=True)
        ]
        assert torch.allclose(*rows, atol=1e-6)
    assert theirs.allowed.shape == (3, 6)


def test_numbers_that_lie_elsewhere_among_others_stay_what_they_were(tmp_path):
    """What was known of where they lie is in their rows from then on."""
    kinds = []
    for name, first in (("a", 18), ("b", 20)):
        lines = [f"{age},{'xy'[i % 2]}" for i in range(20) for age in range(first, first + 22)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["age,of", *lines]) + "\n")
        prepare_table(tmp_path / f"{name}.csv", tmp_path / name, progress=False)
        data = open_data(tmp_path / name)
        kinds.append(kind_of(data.meta, data.folder))
    ours, theirs = kinds
    config = TrainConfig(**SIZES, traits=True, device="cpu")
    model = build(config, len(ours.meanings), {"length": 2, "data": ours.meta})
    random(model.backbone)
    plain = without_traits(model.backbone)
    made, said = with_tokens(model, ours, theirs, 0)
    assert said.startswith("22 of 24 values are values of the model")
    assert not torch.equal(plain.embed.weight, model.backbone.embed.weight)
    for i, meaning in enumerate(theirs.meanings):
        if meaning in ours.meanings:
            at = ours.meanings.index(meaning)
            for table in ("embed", "head"):
                rows = (getattr(one, table).weight for one in (plain, made.backbone))
                assert torch.equal(next(rows)[at], next(rows)[i])


def test_what_cannot_be_made_of_other_tokens(data, text_run, tmp_path, capsys):
    class Own(torch.nn.Module):
        def forward(self, z):
            raise NotImplementedError

    model = unmask.MaskedDiffusion(Own(), schedules.Linear(), unmask.Subtokenizer(4))
    with pytest.raises(ValueError, match="Own has the tokens that it was made with"):
        with_tokens(model, text("abcd"), text("abc"), 0)
    model = model_of(NAMES["UNet"](3, (2, 2, 3), widths=(8,), blocks=1), 3)
    with pytest.raises(ValueError, match="its pictures have 3 channels, and these 1"):
        with_tokens(model, images((2, 2, 3), 3), images((2, 2, 1), 3), 0)
    (tmp_path / "a.csv").write_text("a,b\n" + "1,2\n3,4\n" * 20)
    prepare_table(tmp_path / "a.csv", tmp_path / "table", progress=False)
    argv = ["train", "table", "--data", tmp_path / "table", "--out", tmp_path / "run", "--steps", 1]
    assert main([*map(str, argv), "--from", str(text_run)]) == 2
    said = capsys.readouterr().err
    assert "has a table of 2 columns" in said and "a model of text is none of tables" in said
    assert not (tmp_path / "run").exists()
