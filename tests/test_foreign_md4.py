"""MD4 and GenMD4, read from their parameters: what their own networks and losses make of the same
inputs (golden/foreign), and a plain U-Net written here."""

import json
import shutil
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import unmask
from unmask.backbones import MD4Transformer, MD4UNet
from unmask.cli import main
from unmask.importers import md4
from unmask.importers.flax import table
from unmask.importers.md4 import network_of, open_arrays
from unmask.importers.rows import read_rows
from unmask.importers.sources import OfMD4
from unmask.masks import Draw
from unmask.schedules import Cosine, LearnedPolynomial, Linear, Polynomial, from_config

GOLDEN = Path(__file__).parent / "golden" / "foreign"
TEXTS = ["text_time", "text_notime_insideembed"]
EXACT, SINGLE = 1e-11, 3e-5  # of float64 and float32
PHASE = 1e-4  # of time features in float32, up to 1000, by another exponential function


def flags(tokenizer="", config=""):
    return OfMD4(tokenizer=tokenizer, config=config)


def golden(case):
    with np.load(GOLDEN / case / "outputs.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def close(found, expected, tolerance):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def config_of(case, **changed):
    return json.loads((GOLDEN / case / "config.json").read_text()) | changed


def built(case, **changed):
    """The network alone, with the configuration changed."""
    path, found = open_arrays(GOLDEN / case)
    network = network_of(path, found, config_of(case, **changed))
    network.load_state_dict(read_rows(path, found, table(network)), assign=True)
    return network.eval()


# ---------------------------------------------------------------- what the networks say


@pytest.mark.parametrize("case", TEXTS)
def test_texts_of_md4_have_its_logits_and_its_loss(case):
    """Its loss has alpha' / (1 - alpha) of alpha = (1 - 2 eps)(1 - t) + eps, eps = 1e-4."""
    out, time = golden(f"md4/{case}"), "notime" not in case
    model = md4.read(GOLDEN / "md4" / case, flags("ids")).model
    z, x, t = out["in/zt"].long(), out["in/x0"].long(), out["in/t"].double()
    close(model.backbone(z, out["in/t"]), out["logits"], PHASE if time else SINGLE)
    model = model.double()
    assert model.uses_time == time and isinstance(model.schedule, Linear)
    logits = model.backbone(z, t)
    close(logits, out["logits_f64"], PHASE if time else EXACT)
    if time:
        close(logits, out["logits_exact_phase_f64"], EXACT)
        half = model.backbone(z, torch.tensor(0.5).double())
        close(half, out["logits_t_scalar_0.5_f64"], PHASE)
    masked, eps = z == 11, 1e-4
    weight = (1 - 2 * eps) / ((1 - 2 * eps) * t + eps)
    nats = model.score(model.clean(x), Draw(t, masked, weight))[1]
    close(nats, out["loss_diff_f64"], PHASE if time else EXACT)


@pytest.mark.parametrize("kind", ["swiglu", "geglu"])
def test_gates_of_other_activations(kind):
    out, network = golden("md4/text_time"), built("md4/text_time", mlp_type=kind).double()
    z, t = out["in/zt"].long(), out["in/t"].double()
    close(network(z, t), out[f"logits_{kind}_f64"], PHASE)


def test_a_network_that_is_told_a_class():
    out, network = golden("md4/text_time_class"), built("md4/text_time_class").double()
    z, t, label = out["in/zt"].long(), out["in/t"].double(), out["in/label"].long()
    close(network(z, t, cond=label), out["logits_exact_phase_f64"], EXACT)
    with pytest.raises(ValueError, match="needs one of its 3 classes: give cond"):
        network(z, t)
    with pytest.raises(ValueError, match="has embeddings of 3 classes, which are not read"):
        md4.read(GOLDEN / "md4" / "text_time_class", flags("ids"))


def test_a_class_without_a_time_is_its_embedding():
    """Shift, scale and gate are then from sigmoid(embedding) alone; a plain network, here."""
    torch.manual_seed(0)
    network = MD4Transformer(5, dim=8, layers=1, heads=2, mlp=6, embed=4, classes=3).double()
    for tensor in network.parameters():
        torch.nn.init.normal_(tensor)
    z, label = torch.randint(0, 6, (2, 3)), torch.tensor([2, 0])
    s = network.state_dict()
    c = s["condition.label.weight"][label].sigmoid()

    def dense(name, x):
        return x @ s[f"{name}.weight"].T + s.get(f"{name}.bias", 0.0)

    def norm(x):
        return (x - x.mean(-1, keepdim=True)) / (
            x.var(-1, correction=0, keepdim=True) + 1e-5
        ).sqrt()

    def turn(x):
        angle = torch.arange(3).double()[:, None, None] * torch.tensor(
            [1.0, 0.01], dtype=torch.float64
        )
        pairs = torch.view_as_complex(x.unflatten(-1, (2, 2)))
        return torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)

    x = dense("inside", s["embed.weight"][z])
    a, b, g, d, e, h = dense("blocks.0.modulation", c)[:, None].chunk(6, -1)
    y = norm(x) * (1 + b) + a
    q, k, v = (dense(f"blocks.0.{n}", y).unflatten(-1, (2, 4)) for n in ("query", "key", "value"))
    law = torch.einsum("bihd,bjhd->bhij", turn(q), turn(k)).div(2).softmax(-1)
    x = x + g * dense("blocks.0.out", torch.einsum("bhij,bjhd->bihd", law, v).flatten(2))
    y = norm(x) * (1 + e) + d
    gated = dense("blocks.0.gate", y).sigmoid() * dense("blocks.0.up", y)
    x = x + h * dense("blocks.0.down", gated)
    shift, scale = dense("modulation", c)[:, None].chunk(2, -1)
    close(network(z, cond=label), dense("head", norm(x) * (1 + scale) + shift), EXACT)


def test_genmd4_has_its_powers_logits_and_loss():
    """alpha_v = 1 - (1 - eps) t^power_v, so that alpha' / (1 - alpha) = -power / t: its loss is
    a draw of the bound here, with the factor 1 / t."""
    out = golden("genmd4")
    model = md4.read(GOLDEN / "genmd4", flags("ids")).model
    assert isinstance(model.schedule, LearnedPolynomial)
    close(model.powers.double(), out["sched/power_f64"], 1e-6)
    grid = out["in/tgrid"]
    close((1 - 1e-4) * model.schedule.masked(grid), 1 - out["sched/alpha"], SINGLE)
    model = model.double()
    x, t = out["in/x0"].long(), out["in/t"].double()
    for n in ("1", "2"):
        z = out[f"zt_{n}"].long()
        close(model.backbone(z, t), out[f"logits_{n}_f64"], PHASE)
        nats = model.score(model.clean(x), Draw(t, z == 11, 1 / t))[1]
        close(nats, out[f"loss_diff_{n}_f64"], PHASE)


# ---------------------------------------------------------------- the U-Net


def plain_unet(p, z, t, layers):
    """MD4's U-Net in the names and layouts of Flax: p by name, z (B, H, W, C), t (B,)."""
    unet = "classifier/UNet5DWrapper_0/UNet_0/"

    def dense(name, x):
        return x @ p[f"{name}/kernel"] + p.get(f"{name}/bias", 0.0)

    def conv(name, x):
        kernel = p[f"{name}/kernel"].permute(3, 2, 0, 1)
        y = F.conv2d(x.permute(0, 3, 1, 2), kernel, p[f"{name}/bias"], padding=1)
        return y.permute(0, 2, 3, 1)

    def norm(name, x):
        grouped = x.unflatten(-1, (32, -1))
        mean = grouped.mean((1, 2, 4), keepdim=True)
        variance = ((grouped - mean) ** 2).mean((1, 2, 4), keepdim=True)
        y = ((grouped - mean) / (variance + 1e-6).sqrt()).flatten(-2)
        return y * p[f"{name}/scale"] + p[f"{name}/bias"]

    def residual(name, x):
        h = conv(f"{name}/Conv_0", F.silu(norm(f"{name}/GroupNorm_0", x)))
        if c is not None:
            h = h + dense(f"{name}/Dense_0", c)[:, None, None]
        h = conv(f"{name}/Conv_1", F.silu(norm(f"{name}/GroupNorm_1", h)))
        skip = f"{name}/Dense_{int(c is not None)}"
        return h + (dense(skip, x) if f"{skip}/kernel" in p else x)

    def attention(name, x):
        y = norm(f"{name}/GroupNorm_0", x).flatten(1, 2)
        name += "/MultiHeadDotProductAttention_0"
        q, k, v = (
            y @ p[f"{name}/{n}/kernel"][:, 0] + p[f"{name}/{n}/bias"][0]
            for n in ("query", "key", "value")
        )
        law = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
        out = (law @ v) @ p[f"{name}/out/kernel"][0] + p[f"{name}/out/bias"]
        return x + out.unflatten(1, x.shape[1:3])

    c, of_time = None, "classifier/CondEmbedding_0/"
    if f"{of_time}Dense_0/kernel" in p:
        half = p[f"{of_time}dense0/kernel"].shape[0] // 2
        step = torch.arange(half).double()
        angle = 1000 * t[:, None] * torch.exp(-np.log(10000) * step / (half - 1))
        c = torch.cat([angle.sin(), angle.cos()], -1)
        c = dense(f"{of_time}Dense_0", F.silu(dense(f"{of_time}dense0", c)))
    x = p["classifier/Embed_0/embedding"][z].flatten(-2)
    kept = [conv(f"{unet}Conv_0", x)]
    for i in range(layers):
        kept.append(residual(f"{unet}ResBlock_{i}", kept[-1]))
    x = residual(f"{unet}ResBlock_{layers}", kept[-1])
    x = residual(f"{unet}ResBlock_{layers + 1}", attention(f"{unet}SelfAttention_0", x))
    for i in range(layers + 1):
        x = residual(f"{unet}ResBlock_{layers + 2 + i}", torch.cat([x, kept.pop()], -1))
    x = conv(f"{unet}Conv_1", F.silu(norm(f"{unet}GroupNorm_0", x)))
    return x.unflatten(-1, (z.shape[-1], -1))


def test_the_unet_of_md4_has_its_logits_and_its_loss():
    out, model = golden("md4/unet_notime"), md4.read(GOLDEN / "md4" / "unet_notime", flags()).model
    z, x, t = out["in/zt"].long(), out["in/x0"].long(), out["in/t"].double()
    expected = out["logits_f64"].flatten(1, 3)
    close(model.backbone(z.flatten(1)).double(), expected, SINGLE)
    model = model.double()
    close(model.backbone(z.flatten(1)), expected, EXACT)
    _, arrays = open_arrays(GOLDEN / "md4" / "unet_notime")
    p = {name: one.read().double() for name, one in arrays.items()}
    close(plain_unet(p, z, t, 2).flatten(1, 3), expected, EXACT)
    weight = (1 - 2e-4) / ((1 - 2e-4) * t + 1e-4)
    nats = model.score(model.clean(x.flatten(1)), Draw(t, z.flatten(1) == 16, weight))[1]
    close(nats, out["loss_diff_f64"], EXACT)
    assert model.meta["data"]["tokenizer"]["shape"] == [8, 8, 3]


def parameters_of(network, seed=0):
    """Random parameters in the file's layouts, by the file's names."""
    generator = torch.Generator().manual_seed(seed)
    return {row.theirs: torch.randn(row.shape, generator=generator) for row in table(network)}


@pytest.fixture
def pictures(tmp_path):
    """A U-Net that looks at t, of 64 channels: with 32, norms of one channel remove the time."""
    network = MD4UNet(6, (2, 3, 3), layers=1, embed=64, time=True)
    p = {name: one * 0.1 for name, one in parameters_of(network).items()}
    np.savez(
        tmp_path / "params.npz", **{f"ema_params/{name}": one.numpy() for name, one in p.items()}
    )
    said = {"time_features": "t", "feature_dim": 64, "n_layers": 1, "vocab_size": 6,
            "data_shape": [2, 3, 3], "noise_schedule": "cosine"}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config_of("md4/unet_notime", **said)))
    return tmp_path, p


def test_the_unet_that_looks_at_the_time_is_the_plain_one(pictures):
    folder, p = pictures
    found = md4.read(folder, flags())
    z = torch.randint(0, 7, (2, 2, 3, 3), generator=torch.Generator().manual_seed(1))
    t = torch.tensor([0.2, 0.9]).double()
    expected = plain_unet({name: one.double() for name, one in p.items()}, z, t, 1)
    network = found.model.double().backbone
    close(network(z.flatten(1), t), expected.flatten(1, 3), EXACT)
    assert not torch.allclose(network(z.flatten(1), t.flip(0)), expected.flatten(1, 3), atol=1e-2)
    assert isinstance(found.model.schedule, Cosine) and "averaged (EMA)" in found.said[1]


def test_every_verb_takes_pictures(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = md4.read(pictures[0], flags())
    found.model.save_pretrained("model", found.files)
    grey = np.random.default_rng(0).integers(0, 256, (8, 2, 3, 3), np.uint8)
    Path("pictures").mkdir()
    for i, picture in enumerate(grey):
        Image.fromarray(picture).save(f"pictures/{i}.png")
    flags_of = ["--levels=6", "--split=0,0,8"]
    assert main(["prepare", "images", "pictures", "data", *flags_of]) == 0
    assert main(["eval", "model", "--data", "data", "--repeats=2"]) == 0
    assert main(["sample", "model", "--num=2", "--steps=3", "--out=out.png"]) == 0
    shown = np.full((2, 3, 1), 255, np.uint8)
    shown[1, 1] = 0  # the hole
    Image.fromarray(np.concatenate([grey[0], shown], -1)).save("holes.png")
    assert main(["fill", "model", "holes.png", "--out=filled.png", "--steps=2"]) == 0
    filled = np.asarray(Image.open("filled.png"))[..., :3]
    assert np.array_equal(filled[shown[..., 0] > 0], grey[0][shown[..., 0] > 0])
    assert main(["audit", "model"]) == 0


# ---------------------------------------------------------------- schedules


@pytest.mark.parametrize("name, expected", [
    ("linear", Linear()), ("cosine", Cosine()), ("poly2", Polynomial(2)),
    ("poly0.5", Polynomial(0.5)),
])  # fmt: skip
def test_schedules_by_md4s_names(name, expected):
    found = md4.schedule_of(Path(), {"noise_schedule": name}, None)
    assert found.config == expected.config


def test_powers_of_any_size_are_kept():
    """Beyond the bounds of a learned schedule, too; and through its configuration."""
    powers = torch.tensor([0.001, 0.05, 1.0, 20.0, 300.0]).double()
    schedule = LearnedPolynomial.of_powers(powers)
    close(schedule.power.double(), powers, 2e-6)
    low, high = schedule.bounds
    assert low < 0.001 and high > 300 and LearnedPolynomial.of_powers(powers[1:3]).bounds[1] == 20
    again = from_config(schedule.config)
    again.load_state_dict(schedule.state_dict())
    assert torch.equal(again.power, schedule.power)
    t = torch.tensor([0.1, 0.7]).double()
    close(schedule.double().masked(t), t[:, None] ** powers, 1e-5)
    for wrong in (0.0, -1.0, torch.inf, torch.nan):
        with pytest.raises(ValueError, match="powers must be positive numbers"):
            LearnedPolynomial.of_powers(torch.tensor([1.0, wrong]))


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("case", ["md4/text_time", "md4/unet_notime", "genmd4"])
def test_a_folder_is_read_back_without_the_original(tmp_path, case):
    found = md4.read(GOLDEN / case, flags("" if "unet" in case else "ids"))
    found.model.save_pretrained(tmp_path / "model", found.files)
    again = unmask.MaskedDiffusion.from_pretrained(tmp_path / "model")
    z = torch.full((2, found.model.meta["length"]), again.mask_id)
    t = torch.tensor(0.4)
    close(again.predict(z, t), found.model.predict(z, t), 1e-6)  # memory may lie otherwise
    assert again.meta == found.model.meta
    again.train()(torch.zeros_like(z)).loss.backward()
    assert all(p.grad is not None for p in again.backbone.parameters())


def test_averaged_parameters_are_taken_where_there_are_some(tmp_path):
    expected = np.load(GOLDEN / "md4_orbax" / "expected.npz")
    both = {name: expected[name] for name in expected.files if "params/" in name}
    said = {"feature_dim": 8, "n_layers": 1}
    (tmp_path / "config.json").write_text(json.dumps(config_of("md4/text_time", **said)))
    for names, line in (
        (both, "averaged (EMA)"),
        ([n for n in both if "ema" not in n], "no averaged"),
    ):
        np.savez(tmp_path / "params.npz", **{name: both[name] for name in names})
        found = md4.read(tmp_path, flags("ids"))
        first = "ema_params" if names is both else "params"
        assert line in found.said[1]
        embedding = both[f"{first}/classifier/Embed_0/embedding"]
        assert np.array_equal(found.model.backbone.embed.weight.detach(), embedding)


@pytest.mark.parametrize("changed, said", [
    ({"model_type": "gpt"}, "model_type is \"gpt\", expected one of 'md4', 'genmd4'"),
    ({"mlp_type": "relu"}, "mlp_type is \"relu\", expected one of 'glu', 'swiglu', 'geglu'"),
    ({"n_dit_layers": 12, "data_shape": [2, 2, 3]}, "n_dit_layers is 12, expected 0"),
    ({"time_features": "none"}, "has no tensor classifier/Transformer_0/TransformerBlock_0/RMS"),
    ({"outside_embed": False}, "has no tensor classifier/Transformer_0/Embed_0/embedding"),
    ({"n_layers": 1}, "has a tensor classifier/Transformer_0/TransformerBlock_1/"),
    ({"n_layers": 3}, "has no tensor classifier/Transformer_0/TransformerBlock_2/"),
    ({"vocab_size": 12}, r"embedding has the shape \(12, 16\), expected \(13, 16\)"),
    ({"noise_schedule": "sqrt"}, "noise_schedule 'sqrt' is not one of linear, cosine, polyK"),
    ({"data_shape": [3, 4]}, r"data_shape is \[3, 4\], expected that of a text"),
    ({"cond_type": "adaln"}, "cond_type is \"adaln\", expected one of 'adaln_zero'"),
])  # fmt: skip
def test_a_configuration_that_does_not_fit_is_told(tmp_path, changed, said):
    shutil.copy(GOLDEN / "md4" / "text_time" / "params.npz", tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config_of("md4/text_time", **changed)))
    with pytest.raises(ValueError, match=said):
        md4.read(tmp_path, flags("ids"))


def test_missing_and_damaged_files_are_told(tmp_path):
    with pytest.raises(ValueError, match="neither params.npz nor a checkpoint of Orbax"):
        md4.read(tmp_path, flags("ids"))
    source = GOLDEN / "md4" / "text_time" / "params.npz"
    shutil.copy(source, tmp_path)
    with pytest.raises(ValueError, match="there is no config.json beside"):
        md4.read(tmp_path, flags("ids"))
    config = str(GOLDEN / "md4" / "text_time" / "config.json")
    assert md4.read(tmp_path, flags("ids", config)).model.meta["length"] == 12
    (tmp_path / "params.npz").write_bytes(source.read_bytes()[:9000])
    with pytest.raises(ValueError, match=r"params\.npz is truncated, or not an \.npz"):
        md4.read(tmp_path, flags("ids", config))
    with pytest.raises(ValueError, match="does not hold its tokenizer"):
        md4.read(GOLDEN / "md4" / "text_time", flags())
    with pytest.raises(ValueError, match="is of pictures; leave it out"):
        md4.read(GOLDEN / "md4" / "unet_notime", flags("ids"))


def test_the_configuration_is_found_from_inside_the_work_folder(tmp_path, monkeypatch):
    """By a path that does not say which folders it is in."""
    case, step = GOLDEN / "md4" / "text_time", tmp_path / "checkpoints" / "3"
    step.mkdir(parents=True)
    shutil.copy(case / "params.npz", step)
    shutil.copy(case / "config.json", tmp_path)
    monkeypatch.chdir(step)
    assert md4.read(Path("params.npz"), flags("ids")).model.meta["length"] == 12


def test_a_header_that_unpacks_to_far_more_is_not_read(tmp_path):
    path, size = tmp_path / "params.npz", 200 << 20
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        header = b"\x93NUMPY\x02\x00" + size.to_bytes(4, "little") + b" " * size
        file.writestr("params/x.npy", header)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="params/x is more than 100 times what it is packed"):
            open_arrays(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_checkpoint_of_orbax_needs_a_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorstore", None)
    with pytest.raises(ValueError, match=r"which tensorstore reads: pip install 'unmask\[orbax\]'"):
        md4.read(GOLDEN / "md4_orbax", flags("ids"))


def test_sizes_that_no_network_has_are_refused():
    for wrong, said in (
        ({"dim": 7}, "dim 7 must be heads 12 times an even head width"),
        ({"activation": "relu"}, "activation 'relu' is not one of"),
        ({"layers": 0}, "layers must be at least 1, not 0"),
        ({"classes": -1}, "classes must be at least 0, not -1"),
        ({"embed": 3, "time": True}, "embed 3 must be at least 1 and, where"),
    ):
        with pytest.raises(ValueError, match=said):
            MD4Transformer(9, **wrong)
    with pytest.raises(ValueError, match="embed 48 a multiple of the 32 groups"):
        MD4UNet(9, (4, 4, 1), embed=48)
    network = MD4UNet(9, (4, 4, 1), embed=32, layers=1)
    with pytest.raises(ValueError, match="this MD4UNet is for 4 x 4 x 1 = 16 values, not 12"):
        network(torch.zeros(1, 12, dtype=torch.long))
