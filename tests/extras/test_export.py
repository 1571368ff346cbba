"""The denoiser in ONNX and by torch.export, against PyTorch at sizes other than those traced."""

import json
import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import test_huggingface as of_transformers
import tokenizers
import torch

import unmask
from unmask import backbones
from unmask.backbones.families import FAMILIES, fields_of
from unmask.cli.main import main
from unmask.export import FACTS, OPSET, OUTPUT, export
from unmask.schedules import Cosine, LearnedPolynomial, Linear, Polynomial
from unmask.subtokens import Subtokenizer

PAGE = Path(__file__).parents[2] / "docs" / "out.md"
SMALL = {"dim": 16, "layers": 1, "heads": 2}
PICTURES = {"vocab_size": 5, "shape": (4, 4, 1)}
CODES = torch.tensor([3, 0, 6, 1, 5, 2, 4])
ROUNDING = 2e-5  # nats: float32 sums in another order, of weights of 0.3
OF_ANGLES = 1e-3  # one rounding of an angle of 1000 t, or of a noise level, is 6e-5


def text(**more):
    return backbones.Transformer(7, **SMALL, **more)


def of_family(family):
    """A tiny network of transformers: 20 values, rows of marks and padding besides.

    ModernBERT's local attention has a window of four positions, less than examples have.
    """
    more = {}
    if family == "modernbert":
        more = {"local_attention": 4, "num_hidden_layers": 3}
    net = of_transformers.network(family, 30, **more)
    fields = fields_of(FAMILIES[family], net.config.to_dict())
    rows = torch.arange(24, 4, -1)
    return backbones.HuggingFace(family, fields, 20, 4, 2, 3, rows=rows, network=net)


class Own(torch.nn.Module):
    """A network of one's own: nothing but z."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(8, 7)

    def forward(self, z):
        return self.table(z).cumsum(1)


NETWORKS = {
    "text": lambda: text(ends="sequence"),
    "time and classes": lambda: text(time=True, classes=3),
    "neighbours of digits": lambda: text(neighbours=5, digits=2),
    "digits": lambda: text(digits=2),
    "independent digits": lambda: text(digits=2, decoder="independent", time=True),
    "places": lambda: text(places=6, traits=(2, 3, 4)),
    "links": lambda: text(places=6, time=True),
    "unet": lambda: backbones.UNet(**PICTURES, widths=(8, 8), blocks=1, time=True, classes=2),
    "traits": lambda: backbones.UNet(**PICTURES, widths=(8,), blocks=1, traits=(1, 5, 4)),
    "patches": lambda: backbones.UNet(**PICTURES, widths=(8,), blocks=1, **SMALL),
    "ddit": lambda: backbones.DDiT(7, **SMALL, condition=4, time=True),
    "radd": lambda: backbones.DDiT(7, **SMALL, condition=0, norm_bias=True),
    "mdm-prime digits": lambda: backbones.DDiT(7, **SMALL, condition=4, digits=2),
    "md4": lambda: backbones.MD4Transformer(7, **SMALL, mlp=8, embed=8, time=True, classes=3),
    "md4 unet": lambda: backbones.MD4UNet(**PICTURES, layers=1, embed=32, time=True),
    "own": Own,
}
SCHEDULES = {
    "time and classes": Cosine(), "places": Polynomial(2.0),
    "independent digits": LearnedPolynomial.of_powers(torch.tensor([0.4, 1.0, 3.0])),
}  # fmt: skip
# XLM-RoBERTa and CamemBERT are RoBERTa
OF_TRANSFORMERS = [name for name in FAMILIES if name not in ("xlm-roberta", "camembert")]
LABELS = {"time and classes": 4, "unet": 3, "md4": 3}
# else any number
POSITIONS = {"places": 6, "links": 6, "unet": 16, "traits": 16, "patches": 16, "md4 unet": 16}


def made(name, codes=None):
    """A model with random weights in every layer."""
    torch.manual_seed(0)
    net = NETWORKS[name]() if name in NETWORKS else of_family(name)
    for weights in net.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    if name in ("places", "traits"):  # what is known of values
        size, (groups, most, _) = net.traits.known.shape, net.config["traits"]
        rows = torch.arange(len(net.traits.row)) % (groups * most + 1) - 1
        net.traits.tell(torch.randn(size), rows)
    pictures = dict.fromkeys(("unet", "traits", "patches", "md4 unet"), 5)
    values = pictures.get(name, 20 if name in FAMILIES else 7)
    how = {"meta": {"length": POSITIONS.get(name, 8)}}
    if name == "places":
        how["allowed"] = torch.arange(7) < torch.arange(2, 8)[:, None]
    if name == "links":
        how["allowed"] = torch.ones(6, 7, dtype=torch.bool)
        partner = torch.tensor([1, 0, 3, 2, -1, -1])
        how["links"] = partner, torch.tensor([0, 1, 1, 2, 2, 2, 0])
    if name == "mdm-prime digits":
        how["masking"] = "token"
    units = Subtokenizer(values, 1 + ("digits" in name), codes=codes)
    return unmask.MaskedDiffusion(net, SCHEDULES.get(name, Linear()), units, **how).eval()


def inputs(model, name, batch, length):
    """Possible values; of the first example all is masked, of the last nothing, of others a part,
    and, where the network is told of it, its first and some other positions are there."""
    x = torch.randint(0, 2, (batch, length)) if name != "links" else torch.full((batch, length), 3)
    z = model.subtokenizer.encode(x)
    masked = torch.rand(z.shape) < 0.6
    masked[-1], masked[0] = False, True
    given = {"z": torch.where(masked, model.mask_id, z)}
    if model.uses_time:
        given["t"] = torch.rand(batch)
    if name in LABELS:
        given["cond"] = torch.arange(batch).flip(0) % LABELS[name]
    if not isinstance(model.backbone, (backbones.UNet, backbones.MD4UNet, Own)):
        given["valid"] = torch.rand(batch, length) < 0.7
        given["valid"][:, 0] = True
        given["valid"][batch // 2] = True
    return given


def cases(model, name):
    """Inputs in numbers and lengths that were not traced, up to those that a family has."""
    lengths = (1, 5, 11) if name not in FAMILIES else (5, 37)
    for batch, length in zip((1, 4, 6), lengths):
        yield inputs(model, name, batch, POSITIONS.get(name, length))


def expected(model, given):
    with torch.no_grad():
        return model.predict(**given)


def rounding(name):
    return OF_ANGLES if name.startswith(("md4", "ddit", "mdm")) else ROUNDING


def close(found, true, name):
    torch.testing.assert_close(torch.as_tensor(found), true, rtol=0, atol=rounding(name))


def documented():
    """The page's names of facts."""
    said = PAGE.read_text(encoding="utf-8").split("JSON named `unmask.json`")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", said, re.M)
    return {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}


def facts_of(session):
    return json.loads(session.get_modelmeta().custom_metadata_map[FACTS])


def sampler(folder, monkeypatch):
    """What the page's example defines, run where model.onnx lies."""
    monkeypatch.chdir(folder)
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[0]
    names = {}
    exec(compile(code, PAGE.name, "exec"), names)
    return names


def same_tokens(model, names):
    """The page's example draws what `unmask.sample` does, by the same uniform numbers."""
    generator = torch.Generator().manual_seed(3)
    labels = names["facts"].get("labels")
    cond = torch.full((5,), labels - 1) if labels else None
    ours = unmask.sample(model, num=5, steps=6, cond=cond, generator=generator.clone_state())

    def uniform(shape):
        return torch.rand(shape, generator=generator, dtype=torch.float64).numpy()

    theirs = names["sample"](5, 6, uniform)
    assert len(np.unique(theirs)) > 2
    np.testing.assert_array_equal(theirs, ours)


@pytest.mark.parametrize("name", [*NETWORKS, *OF_TRANSFORMERS])
def test_onnx_says_what_pytorch_says_and_draws_what_we_draw(name, tmp_path, monkeypatch):
    model = made(name)
    known, difference = export(model, str(tmp_path / "model.onnx"))
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)
    assert "ONNX is of opset 20" in PAGE.read_text(encoding="utf-8") and OPSET == 20
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    for given in cases(model, name):
        found = {one.name: one.shape for one in session.get_inputs()}
        assert found == known["inputs"] and list(found) == list(given)
        (logp,) = session.run([OUTPUT], {key: value.numpy() for key, value in given.items()})
        close(logp, expected(model, given), name)
        assert np.allclose(np.exp(logp).sum(-1), 1, atol=1e-5)
    assert difference < rounding(name)
    fixed = POSITIONS.get(name, "units" if "digits" in name else "positions")
    assert found["z"] == ["batch", fixed] and facts_of(session) == known
    assert known.get("labels", 0) == LABELS.get(name, 0)
    assert known.get("most", 0) == (0 if name not in FAMILIES else model.backbone.length)
    assert set(known) <= documented()
    if name == "links":
        with pytest.raises(AssertionError):
            sampler(tmp_path, monkeypatch)
    else:
        same_tokens(model, sampler(tmp_path, monkeypatch))


def test_tensors_of_networks_of_transformers_are_called_as_the_page_says():
    network = of_family("bert")
    named = {name: v.shape for name, v in network.state_dict().items()}
    assert named.pop("rows") == (20 + 1,)
    inner = {f"network.{name}" for name in network.network.state_dict()}
    assert set(named) == inner
    said = PAGE.read_text(encoding="utf-8").split("### HuggingFace")[1]
    assert "| `rows` | `values + 1` |" in said and "| `network.*` |" in said


@pytest.mark.parametrize("name", ["time and classes", "digits", "links", "unet", "modernbert"])
def test_torch_export_says_the_same(name, tmp_path):
    model = made(name)
    known, _ = export(model, tmp_path / "a.pt2", {"model_sha256": "12"})
    extra = {FACTS: ""}
    again = torch.export.load(tmp_path / "a.pt2", extra_files=extra).module()
    assert json.loads(extra[FACTS]) == known and known["model_sha256"] == "12"
    given = list(cases(model, name))
    for one in given[1:] if name == "digits" else given:  # of two positions or more
        close(again(**one), expected(model, one), name)
    if "most" in known:
        with pytest.raises(Exception, match="Guard failed"):
            again(**inputs(model, name, 2, known["most"] + 1))


def test_networks_of_transformers_from_python_go_out_too(tmp_path):
    """Without a family that is known here; what it says is of the next position, as of Dream."""
    net = of_family("bert").network
    rows = backbones.huggingface.Rows(net, torch.arange(24, 4, -1), mask=4, begin=2, shift=True)
    model = unmask.MaskedDiffusion(rows, Linear(), Subtokenizer(20), meta={"length": 6}).eval()
    export(model, tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    given = inputs(model, "bert", 3, 9)
    (logp,) = session.run(None, {key: value.numpy() for key, value in given.items()})
    close(logp, expected(model, given), "bert")


def test_codes_of_tokens_are_kept_and_drawn(tmp_path, monkeypatch):
    """By law: inversion goes through codes here, and through tokens on the page."""
    model = made("digits", codes=CODES)
    model.meta["length"] = 2
    known, _ = export(model, tmp_path / "model.onnx")
    assert known["codes"] == CODES.tolist()
    names = sampler(tmp_path, monkeypatch)
    for given in cases(model, "digits"):
        (logp,) = names["session"].run(None, {key: value.numpy() for key, value in given.items()})
        close(logp, expected(model, given), "digits")
    drawn = names["sample"](4000, 1, np.random.default_rng(0).random)
    true = expected(model, {"z": torch.full((1, 4), model.mask_id)})[0].exp().numpy()
    shares = np.stack([(drawn == i).mean(0) for i in range(7)], -1)
    assert np.abs(shares - true).max() < 4.5 * 0.5 / np.sqrt(4000)
    assert np.abs(true[0] - true[0][CODES]).max() > 0.1  # another order would be seen


def test_the_verb_and_the_page_from_a_run_to_its_text(
    text_run, tmp_path, capsys, caplog, monkeypatch
):
    model = unmask.MaskedDiffusion.from_pretrained(text_run)
    record = tmp_path / "a.json"
    for out in ("model.onnx", "model.pt2"):
        arguments = ["export", str(text_run), str(tmp_path / out), "--json", str(record)]
        assert main(arguments) == 0
        printed = capsys.readouterr()
        assert "  z (batch, positions)\n" in printed.out and "difference to" in printed.out
        # what exporters say to themselves
        assert not re.sub(r"wrote .*\n", "", printed.err)
        assert not [one for one in caplog.records if one.levelname in ("WARNING", "ERROR")]
        content = (tmp_path / out).read_bytes()
        assert str(Path(unmask.__file__).parent).encode() not in content
        assert str(Path(torch.__file__).parent).encode() not in content
    names = sampler(tmp_path, monkeypatch)
    said = capsys.readouterr().out
    assert re.search(r"^\['[a-z. ]{8}', '[a-z. ]{8}'\]$", said, re.M)
    same_tokens(model, names)
    facts = names["facts"]
    assert (facts["mask_id"], facts["length"]) == (model.mask_id, 8)
    assert facts["meta"] == model.meta and facts["files"] == {}
    others = {"codes", "labels", "links", "most"}  # that not all models have
    assert set(facts) == documented() - others
    assert facts["model_sha256"] == json.loads(record.read_text())["model_sha256"]
    _, code = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(code, PAGE.name, "exec"), {})
    assert capsys.readouterr().out == f"torch.Size([2, 8, {model.mask_id}])\n"


def test_a_tokenizer_goes_with_its_model(tmp_path):
    """What lies beside a model's tokens in its folder."""
    (tmp_path / "a.txt").write_text("the fox and the dog and the fox. " * 50)
    words = tokenizers.Tokenizer(tokenizers.models.BPE())
    words.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=280, show_progress=False)
    words.train([str(tmp_path / "a.txt")], trainer)
    words.save(str(tmp_path / "words.json"))
    unmask.data.prepare_text(
        tmp_path / "a.txt", tmp_path / "data", tokenizer=str(tmp_path / "words.json"),
        progress=False,
    )  # fmt: skip
    flags = ["--steps", "1", "--length", "4", "--dim", "16", "--layers", "1", "--heads", "2"]
    run = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    assert main(["train", "demo", *run, *flags]) == 0
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "model.pt2")]) == 0
    extra = {FACTS: ""}
    torch.export.load(tmp_path / "model.pt2", extra_files=extra)
    (kept,) = json.loads(extra[FACTS])["files"].values()
    assert tokenizers.Tokenizer.from_str(kept).get_vocab() == words.get_vocab()


def test_models_that_are_not_as_needed_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"float64 on cpu: export model\.float"):
        export(made("text").double(), tmp_path / "a.pt2")
    model = made("text")
    model.meta = {}
    with pytest.raises(ValueError, match="does not say its length"):
        export(model, tmp_path / "a.pt2")


class Loop(Own):
    def forward(self, z):
        return super().forward(z) * int(z.sum())


class Counted(Own):
    """What it says is fixed while it is traced."""

    calls = 0

    def forward(self, z):
        self.calls += 1
        return super().forward(z) * self.calls


def test_networks_that_cannot_go_out_are_refused(tmp_path, monkeypatch):
    def of(network):
        units, meta = Subtokenizer(7), {"length": 6}
        return unmask.MaskedDiffusion(network, Linear(), units, meta=meta)

    with pytest.raises(ValueError, match=r"Loop cannot be exported by torch\.export: "):
        export(of(Loop()), tmp_path / "a.pt2")
    with pytest.raises(ValueError, match="says other than PyTorch"):
        export(of(Counted()), tmp_path / "a.onnx")
    monkeypatch.setattr("unmask.export.MOST_ONNX", 100)
    with pytest.raises(ValueError, match=r"name a \.pt2"):
        export(of(Own()), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())
