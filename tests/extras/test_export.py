"""The denoiser in ONNX and by torch.export, against PyTorch at sizes other than those traced."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import unmask
from unmask import backbones
from unmask.cli.main import main
from unmask.export import export
from unmask.schedules import Linear
from unmask.subtokens import Subtokenizer

SMALL = {"dim": 16, "layers": 1, "heads": 2}


def text(**more):
    return backbones.Transformer(7, **SMALL, **more)


def unet(**more):
    return backbones.UNet(5, (4, 4, 1), blocks=1, **more)


NETWORKS = {
    "text": lambda: text(ends="sequence"),
    "time": lambda: text(time=True, classes=3),
    "digits": lambda: text(digits=2),
    "independent digits": lambda: text(digits=2, decoder="independent", time=True),
    "places": lambda: text(places=6),
    "unet": lambda: unet(widths=(8, 8), time=True, classes=2),
    "patches": lambda: unet(widths=(8,), layers=1, dim=16, heads=2),
    "ddit": lambda: backbones.DDiT(7, **SMALL),
    "md4": lambda: backbones.MD4Transformer(7, **SMALL, time=True),
}
FIXED = {"places": 6, "unet": 16, "patches": 16}  # positions; those of the others may be any
CLASSES = {"time": 3, "unet": 2}


def made(name, codes=None):
    """A model with random weights in every layer; of places, with alphabets that differ."""
    torch.manual_seed(0)
    net = NETWORKS[name]()
    for weights in net.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    allowed = None
    if name == "places":
        allowed = torch.arange(7) < torch.arange(2, 8)[:, None]
    values, digits = 5 if name in ("unet", "patches") else 7, 1 + ("digits" in name)
    units = Subtokenizer(values, digits, codes=codes)
    meta = {"length": FIXED.get(name, 8)}
    return unmask.MaskedDiffusion(net, Linear(), units, allowed=allowed, meta=meta).eval()


def inputs(model, name, batch, length):
    """Possible values, a part of them masked; the other inputs as the network has them."""
    x = torch.randint(0, 2, (batch, length))
    z = model.subtokenizer.encode(x)
    given = {"z": torch.where(torch.rand(z.shape) < 0.6, model.mask_id, z)}
    if model.uses_time:
        given["t"] = torch.rand(batch)
    if name in CLASSES:
        given["cond"] = torch.randint(0, CLASSES[name] + 1, (batch,))
    if not isinstance(model.backbone, backbones.UNet):
        given["valid"] = torch.rand(batch, length) < 0.7
        given["valid"][:, 0] = True
    return given


def close(found, expected):
    torch.testing.assert_close(torch.as_tensor(found), expected, rtol=0, atol=2e-5)


def sizes(name):
    length = FIXED.get(name)
    return [(1, length or 5), (4, length or 11)]


@pytest.mark.parametrize("name", NETWORKS)
def test_onnx_says_what_pytorch_says(name, tmp_path):
    model = made(name)
    done = export(model, tmp_path / "a.onnx", {})
    onnx.checker.check_model(str(tmp_path / "a.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    for batch, length in sizes(name):
        given = inputs(model, name, batch, length)
        assert [one.name for one in session.get_inputs()] == list(given) == list(done["inputs"])
        (found,) = session.run(None, {key: value.numpy() for key, value in given.items()})
        with torch.no_grad():
            expected = model.predict(**given)
        close(found, expected)
        assert np.allclose(np.exp(found).sum(-1), 1, atol=1e-5)
    assert done["difference"] < 2e-5


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_export_says_the_same(name, tmp_path):
    model = made(name)
    export(model, tmp_path / "a.pt2", {"model_sha256": "12"})
    extra = {"model_sha256": "", "mask_id": ""}
    again = torch.export.load(tmp_path / "a.pt2", extra_files=extra).module()
    assert extra == {"model_sha256": "12", "mask_id": str(model.mask_id)}
    for batch, length in sizes(name):
        given = inputs(model, name, batch, length)
        with torch.no_grad():
            close(again(**given), model.predict(**given))


def test_codes_of_tokens_are_kept(tmp_path):
    codes = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    model = made("digits", codes)
    export(model, tmp_path / "a.onnx", {})
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    given = inputs(model, "digits", 3, 5)
    (found,) = session.run(None, {key: value.numpy() for key, value in given.items()})
    with torch.no_grad():
        close(found, model.predict(**given))
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["codes"]) == codes.tolist()


def test_the_verb_says_what_it_wrote(text_run, tmp_path, capsys):
    out, record = tmp_path / "a.onnx", tmp_path / "a.json"
    assert main(["export", str(text_run), str(out), "--json", str(record)]) == 0
    printed = capsys.readouterr()
    assert "z (any, any)" in printed.out and "difference to PyTorch" in printed.out
    model = unmask.MaskedDiffusion.from_pretrained(text_run)
    said = onnxruntime.InferenceSession(out).get_modelmeta().custom_metadata_map
    assert said["mask_id"] == str(model.mask_id) and said["length"] == "8"
    assert json.loads(said["tokenizer"]) == model.meta["data"]["tokenizer"]
    assert said["model_sha256"] == json.loads(record.read_text())["model_sha256"]
    assert json.loads(said["schedule"]) == model.schedule.config()


def test_what_cannot_be_is_refused(text_run, tmp_path, capsys):
    for out, why in (
        (tmp_path / "a.txt", "must end in .onnx"),
        (tmp_path / "nowhere" / "a.onnx", "there is no folder"),
    ):
        assert main(["export", str(text_run), str(out)]) == 2
        assert why in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"model\.float"):
        export(made("text").double(), tmp_path / "a.pt2", {})
    model = made("text")
    model.meta = {}
    with pytest.raises(ValueError, match="does not say its length"):
        export(model, tmp_path / "a.pt2", {})
    assert not list(tmp_path.iterdir())


def test_another_result_than_pytorchs_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr("unmask.export.run_onnx", lambda content, given: torch.zeros(3, 7, 7))
    with pytest.raises(ValueError, match="says other than PyTorch"):
        export(made("text"), tmp_path / "a.onnx", {})
    assert not list(tmp_path.iterdir())
