"""What goes out: the names of tensors, as the page lists them, and what PyTorch alone exports."""

import json
import re
import sys
from itertools import product
from pathlib import Path

import pytest
import torch

import unmask
from unmask import backbones
from unmask.cli.main import main
from unmask.schedules import LearnedPolynomial
from unmask.subtokens import Subtokenizer, least_base

PAGE = Path(__file__).parents[1] / "docs" / "out.md"
FIELDS = {"vocab_size": 7, "dim": 12, "layers": 2, "heads": 2}
OF_MD4 = {"mlp": 5, "embed": 32}
PICTURES = {"vocab_size": 7, "shape": (4, 4, 3)}
WITH = {"time": True, "classes": 3}
# together, every tensor that a network can have
NETWORKS = {
    "Transformer": [
        FIELDS | {"mlp": 5, "digits": 3, "neighbours": 3},
        FIELDS | WITH | {"places": 5, "ends": "sequence", "traits": (2, 3, 4)},
    ],
    "UNet": [
        PICTURES | WITH | {"widths": (8, 20), "blocks": 1, "embed": 6},
        PICTURES | WITH | {"widths": (8,), "layers": 2, "dim": 24, "heads": 2, "mlp": 5}
        | {"traits": (1, 7, 4)},
    ],
    "DDiT": [
        FIELDS | {"condition": 5, "digits": 2}, FIELDS | {"condition": 0, "norm_bias": True},
    ],
    "MD4Transformer": [FIELDS | OF_MD4, FIELDS | OF_MD4 | WITH],
    "MD4UNet": [PICTURES | WITH | {"layers": 2, "embed": 32}],
}  # fmt: skip


def listed(network):
    """{pattern of a name: its sizes, as the page says them} of one of the page's tables."""
    said = PAGE.read_text(encoding="utf-8").split(f"\n### {network}\n")[1].split("\n##")[0]
    found = {}
    for line in re.findall(r"^\| `.*", said, re.M):
        name, shape, bias = (cell.strip(" `") for cell in line.split("|")[1:4])
        parts = [part.split(",") for part in re.split(r"\{(.*?)\}", name)]
        for one in map("".join, product(*parts)):
            sizes = shape.split(", ")
            found[one] = sizes
            if bias:
                found[re.sub(r"weight$", "bias", one)] = sizes[:1]
    return found


def entry(table, name):
    """The name on the page of a tensor."""
    (found,) = (
        one for one in table
        if re.fullmatch(re.escape(one).replace(r"\.N\.", r"\.\d+\."), name)
    )  # fmt: skip
    return found


def sizes_of(fields):
    """What names of sizes stand for; those that are not among them may be any size."""
    known = {"vocab_size": 7, "embed": fields.get("widths", (0,))[0]} | fields
    known["base"] = least_base(7, fields.get("digits", 1))
    known["digits"] = fields.get("digits", 1)
    known["first"] = fields.get("widths", (0,))[0]
    known["channels"] = fields.get("shape", (0, 0, 0))[2]
    known["patch"] = 2
    known["mlp"] = fields.get("mlp", 64)  # 8/3 dim, rounded up
    return known


@pytest.mark.parametrize("name", NETWORKS)
def test_the_page_lists_all_tensors_of_a_network_and_no_other(name):
    table, seen = listed(name), set()
    for fields in NETWORKS[name]:
        known = sizes_of(fields)
        for tensor, value in backbones.NAMES[name](**fields).state_dict().items():
            one = entry(table, tensor)
            seen.add(one)
            assert len(table[one]) == value.ndim, tensor
            for size, expected in zip(value.shape, table[one]):
                if set(re.findall(r"[a-z_]+", expected)) <= set(known):
                    assert size == eval(expected, {}, known), tensor
    assert seen == set(table)


def test_the_page_lists_what_a_model_has_besides():
    net = backbones.Transformer(7, dim=12, layers=1, heads=2, time=True)
    allowed = torch.ones(2, 7, dtype=torch.bool)
    links = torch.tensor([1, 0]), torch.zeros(7, dtype=torch.long)
    units = Subtokenizer(7, codes=torch.arange(7))
    model = unmask.MaskedDiffusion(net, LearnedPolynomial(7), units, allowed=allowed, links=links)
    shapes = {name: v.shape for name, v in model.state_dict().items() if "backbone" not in name}
    table = listed("MaskedDiffusion")
    sizes = {"vocab_size": 7, "num_values": 7, "positions": 2}
    expected = {
        name: tuple(sizes[size] for size in table[name]) for name in table if "*" not in name
    }
    assert shapes == expected


def test_a_pt2_needs_pytorch_alone_and_says_what_the_model_says(text_run, tmp_path, capsys):
    out = tmp_path / "a.pt2"
    assert main(["export", str(text_run), str(out)]) == 0
    assert "  valid (batch, positions)\n" in capsys.readouterr().out
    extra = {"unmask.json": ""}
    denoiser = torch.export.load(out, extra_files=extra).module()
    model = unmask.MaskedDiffusion.from_pretrained(text_run)
    facts = json.loads(extra["unmask.json"])
    assert (facts["mask_id"], facts["length"]) == (model.mask_id, 8)
    z = torch.full((3, 5), model.mask_id)
    z[1, 2:], z[2] = 4, torch.arange(5)
    with torch.no_grad():
        torch.testing.assert_close(denoiser(z=z, valid=z >= 0), model.predict(z), rtol=0, atol=1e-6)


def test_what_cannot_go_out_is_one_line_before_any_work(text_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for model, out, why in (
        (text_run, "a.txt", "a.txt must end in .onnx (ONNX) or .pt2 (torch.export)"),
        (text_run, "nowhere/a.pt2", "there is no folder"),
        (tmp_path, "a.pt2", "holds no model"),
        (text_run, "a.onnx", "pip install 'unmask[export]'"),
    ):
        assert main(["export", str(model), str(tmp_path / out)]) == 2
        printed, said = capsys.readouterr()
        assert said.startswith("unmask export: ") and said.count("\n") == 1
        assert why in said and not printed
    assert not list(tmp_path.iterdir())
