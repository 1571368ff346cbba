"""Training that begins with the weights of a model, and values that no position can have."""

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import unmask
from unmask import checkpoint
from unmask.audit import exact_nelbo
from unmask.cli.main import main
from unmask.config import BUILT, OF_MODEL, TrainConfig
from unmask.data import open_data, prepare_images, prepare_proteins, prepare_text
from unmask.kinds.text.tokenizers import load_tokenizer, read_subwords
from unmask.report.card import Facts, training_of
from unmask.train import train
from unmask.train.begin import started_from
from unmask.train.run import known_run

PLAIN = {"length": 8, "batch_size": 4, "eval_windows": 8, "dtype": "float32", "device": "cpu"}


def weights(folder):
    return unmask.MaskedDiffusion.from_pretrained(folder).state_dict()


def test_a_run_begins_with_the_weights_that_it_is_given(data, text_run, tmp_path):
    """Nothing but rounding is left of a step at a rate of nearly nothing."""
    still = TrainConfig(**PLAIN, optimizer="adamw", learning_rate=1e-12, weight_decay=0, steps=1)
    folder = train(still, data, tmp_path / "run", text_run)
    ours, theirs = weights(folder), weights(text_run)
    assert ours.keys() == theirs.keys()
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-6) for name in ours)
    model = unmask.MaskedDiffusion.from_pretrained(folder)
    newest = checkpoint.resolve(text_run)
    assert model.meta["from"] == checkpoint.digest(newest / "model.safetensors")
    # the network is that of the model, whatever the configuration says
    assert model.backbone.config["dim"] == 16 != still.dim
    assert train(still, data, tmp_path / "run", text_run) == folder  # it is finished
    moved = replace(still, learning_rate=0.1)
    for other in (None, train(moved, data, tmp_path / "other", text_run)):
        with pytest.raises(ValueError, match=r"began with other weights \(--from\)"):
            train(still, data, tmp_path / "run", other)


def test_weights_of_16_bits_are_trained_in_float32(data, text_run, tmp_path):
    """In which a step of a thousandth is not lost, nor the average of what it changes."""
    model = unmask.MaskedDiffusion.from_pretrained(text_run).bfloat16()
    model.save_pretrained(tmp_path / "half")
    folder = train(TrainConfig(**PLAIN, steps=1), data, tmp_path / "run", tmp_path / "half")
    for name in ("model.safetensors", "training.safetensors"):
        found = checkpoint.load(folder, name)[1]
        assert {t.dtype for t in found.values() if t.is_floating_point()} == {torch.float32}


def test_what_a_model_says_of_itself_counts(data, tmp_path):
    """Digits, masking and the schedule of the model that a run begins with."""
    how = {"digits": 2, "masking": "token", "schedule": "cosine"}
    first = TrainConfig(**PLAIN, dim=16, layers=1, heads=2, steps=1, **how)
    start = train(first, data, tmp_path / "first")
    config, model = started_from(TrainConfig(**PLAIN, steps=1), start)
    assert {name: getattr(config, name) for name in how} == how
    assert not config.time and model.schedule.config["name"] == "cosine"
    curves = {"schedule": "learned", "time": True}
    first = TrainConfig(**PLAIN, dim=16, layers=1, heads=2, steps=1, **curves)
    start = train(first, data, tmp_path / "learned")
    config, model = started_from(TrainConfig(**PLAIN, steps=1), start)
    assert config.schedule == "learned" and config.time
    assert torch.equal(model.powers, unmask.MaskedDiffusion.from_pretrained(start).powers)
    train(TrainConfig(**PLAIN, steps=1), data, tmp_path / "on", start)


def test_a_run_goes_on_though_what_it_began_with_has_moved_on(data, text_run, tmp_path):
    start = Path(shutil.copytree(text_run, tmp_path / "start"))
    config = TrainConfig(**PLAIN, steps=2)
    folder = train(config, data, tmp_path / "run", start)
    began = unmask.MaskedDiffusion.from_pretrained(folder).meta["from"]
    shutil.rmtree(start)
    assert train(config, data, tmp_path / "run", start) == folder
    shutil.copytree(folder, start)  # other weights, by now
    assert train(config, data, tmp_path / "run", start) == folder
    assert unmask.MaskedDiffusion.from_pretrained(folder).meta["from"] == began
    with pytest.raises(ValueError, match=f"other weights \\(--from\\), those of {start}: choose"):
        train(config, data, tmp_path / "run", folder)


def test_a_run_knows_what_it_began_with_in_any_spelling(data, text_run, tmp_path, monkeypatch):
    start = Path(shutil.copytree(text_run, tmp_path / "start"))
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(**PLAIN, steps=2)
    folder = train(config, data, "run", "./start/")
    shutil.rmtree(start)
    for said in ("start", "start/", "./start"):
        assert train(config, data, "run", said) == folder
    assert main(["train", "demo", "--data", str(data), "--out", "run", "--from", "other"]) == 2


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_of_a_run_with_a_damaged_checkpoint_the_one_before_is_named(data, text_run, tmp_path, name):
    config = TrainConfig(**PLAIN, steps=4, checkpoint_minutes=1e-9)
    last = train(config, data, tmp_path / "run", text_run)
    kept = checkpoint.checkpoints(tmp_path / "run")
    (last / name).write_bytes(b"")
    with pytest.raises(ValueError, match=f"or remove {last} to continue from {kept[-2]}$"):
        train(config, data, tmp_path / "run", text_run)


def test_the_network_of_a_preset_is_not_held_against_that_of_a_model(data, tmp_path):
    small = {"dim": 16, "layers": 1, "heads": 2, "steps": 1}
    start = train(TrainConfig(**PLAIN, **small, digits=2), data, tmp_path / "digits")
    preset = TrainConfig(**PLAIN, steps=1, traits=True, neighbours=5, dropout=0.3)
    config, _ = started_from(preset, start)
    config.check()
    assert config.digits == 2 and not config.traits
    train(preset, data, tmp_path / "on", start)
    assert train(replace(preset, traits=False), data, tmp_path / "on", start)  # the same run


def test_nothing_is_said_of_a_network_that_a_run_from_a_model_does_not_have(
    data, text_run, tmp_path
):
    record, out = tmp_path / "record.json", tmp_path / "run"
    argv = ["train", "tune-text", "--data", data, "--out", out, "--from", text_run]
    few = "--steps 1 --minutes 0 --length 8 --batch-size 4 --eval-windows 8 --device cpu"
    assert main([*map(str, argv), *few.split(), "--json", str(record)]) == 0
    made = json.loads(record.read_text(encoding="utf-8"))["config"]
    identity = known_run(out)["identity"]
    for said, of_model in ((made, OF_MODEL), (identity, BUILT)):
        assert not set(of_model) & said.keys() and said["learning_rate"] == 1e-4
    # older versions kept these: such a run goes on, and its page leaves them out
    config = TrainConfig(**PLAIN, steps=1)
    older = {"steps": 1, "identity": config.identity() | {k: identity[k] for k in ("data", "from")}}
    folder = train(config, data, tmp_path / "older", text_run)
    kept = checkpoint.read_config(folder)
    kept["training"]["run"] = older
    kept["sha256"]["config.json"] = checkpoint.config_digest(kept)
    checkpoint.write_json(folder / "config.json", kept)
    assert train(replace(config, dim=64), data, tmp_path / "older", text_run) == folder
    training = {"step": 1, "seconds": 1.0, "run": older}
    for start, told in ((identity["from"], False), ("", True)):
        older["identity"]["from"] = start
        page = training_of(Facts("me/a", "mit", {"meta": {}, "training": training}, 1, "x", [], []))
        assert ('"dim": 256' in page) is told and '"learning_rate": 0.003' in page


def test_classes_are_the_same_by_their_names(tmp_path):
    x = np.arange(8 * 16, dtype=np.uint8).reshape(8, 4, 4)
    folders = {}
    for names in ("cat dog", "bird cat"):
        for i, name in enumerate(names.split()):
            (tmp_path / names / name).mkdir(parents=True)
            for k, one in enumerate(x[4 * i : 4 * i + 4]):
                Image.fromarray(one).save(tmp_path / names / name / f"{k}.png")
        out = folders[names] = tmp_path / f"{names} data"
        prepare_images(tmp_path / names, out, levels=4, split="6,2,0", progress=False)
    config = replace(
        TrainConfig(**PLAIN), length=0, dim=16, layers=1, heads=2, steps=1, labels=True
    )
    start = train(config, folders["cat dog"], tmp_path / "run")
    with pytest.raises(ValueError, match="has 2 classes: bird, cat, and the model was trained on"):
        train(replace(config, labels=False), folders["bird cat"], tmp_path / "on", start)
    np.savez(tmp_path / "plain.npz", data=x)
    plain, text = tmp_path / "plain data", tmp_path / "text data"
    prepare_images(tmp_path / "plain.npz", plain, levels=4, split="6,2,0", progress=False)
    with pytest.raises(ValueError, match="trained with classes: prepare the data with their label"):
        train(config, plain, tmp_path / "on", start)
    (tmp_path / "a.txt").write_text("abcdefgh" * 40)
    prepare_text(tmp_path / "a.txt", text, progress=False)
    with pytest.raises(ValueError, match="a model of images is none of text"):
        train(replace(config, length=8), text, tmp_path / "on", start)


def test_data_of_another_kind_are_refused(text_run, tmp_path, capsys):
    words = map("".join, itertools.product("MKV", repeat=4))
    (tmp_path / "a.fasta").write_text("".join(f">a\n{word}\n" for word in words))
    prepare_proteins(tmp_path / "a.fasta", tmp_path / "data", progress=False)
    argv = ["train", "tune-text", "--data", tmp_path / "data", "--out", tmp_path / "run"]
    assert main([*map(str, argv), "--from", str(text_run), "--length", "8"]) == 2
    said = capsys.readouterr().err
    assert "has proteins (22 residues)" in said and "a model of text is none of proteins" in said
    assert main([*map(str, argv), "--from", str(tmp_path / "no")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main([*map(str, argv), "--from", str(text_run), "--digits", "2"]) == 2
    assert "--digits 2: with --from it is as in that model: leave it out" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


class Few(torch.nn.Module):
    """Knows the values 0, 2 and 3 of five, and says so."""

    uses_time = False
    allowed = torch.tensor([True, False, True, True, False])

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(6, 5)

    def forward(self, z):
        return self.table(z) + self.table(z).sum(1, keepdim=True)


def test_values_that_no_position_can_have():
    """As the same alphabet at every position, for sequences of any length."""
    torch.manual_seed(0)
    network, units = Few(), unmask.Subtokenizer(5)
    everywhere = unmask.MaskedDiffusion(network, unmask.schedules.Linear(), units).eval()
    by_position = unmask.MaskedDiffusion(
        network, unmask.schedules.Linear(), units, allowed=network.allowed.expand(4, 5)
    ).eval()
    x = torch.tensor([[0, 2, 3, 3]])
    with torch.no_grad():
        assert torch.equal(exact_nelbo(everywhere, x), exact_nelbo(by_position, x))
        p = everywhere.predict(torch.tensor([[5, 2]]))[0, 0].exp()
        assert p[[1, 4]].tolist() == [0, 0] and abs(float(p.sum()) - 1) < 1e-6
        total = sum(
            float((-exact_nelbo(everywhere, torch.tensor([pair]))).exp())
            for pair in itertools.product((0, 2, 3), repeat=2)
        )
    assert total <= 1 + 1e-6  # of all that can be
    drawn = unmask.sample(everywhere, num=64, length=3, steps=4)
    assert set(drawn.unique().tolist()) <= {0, 2, 3}
    for one in (everywhere.clean, lambda x: unmask.sample(everywhere, z=x)):
        with pytest.raises(ValueError, match="value 4, at position 1 .* is none that this network"):
            one(torch.tensor([[0, 4, 2]]))
    for wrong in (torch.ones(4, dtype=torch.bool), torch.ones(5)):
        with pytest.raises(ValueError, match=r"allowed must be bool \(S, 5\) or \(5,\)"):
            unmask.MaskedDiffusion(network, unmask.schedules.Linear(), units, allowed=wrong)
    with pytest.raises(ValueError, match="allowed leaves no value at position 0"):
        nothing = torch.zeros(5, dtype=torch.bool)
        unmask.MaskedDiffusion(network, unmask.schedules.Linear(), units, allowed=nothing)


def test_the_values_that_data_have(tmp_path):
    (tmp_path / "a.fasta").write_text(">a\nMKX\n>b\nACU\n")
    prepare_proteins(tmp_path / "a.fasta", tmp_path / "data", split="2,0,0", progress=False)
    found = open_data(tmp_path / "data").occurring("train")
    assert found.nonzero()[0].tolist() == sorted("ACDEFGHIKLMNPQRSTVWYUO".index(c) for c in "MKACU")


def test_a_tokenizer_without_an_end_of_text(tmp_path):
    """Named in the vocabulary, and not taken as one."""
    import tokenizers

    model = tokenizers.models.WordLevel({"[UNK]": 0, "a": 1, "[SEP]": 2}, unk_token="[UNK]")
    tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
    assert read_subwords(tmp_path / "tokenizer.json").eot == 2
    without = read_subwords(tmp_path / "tokenizer.json", None)
    assert without.eot is None and load_tokenizer(without.spec(), tmp_path).eot is None
