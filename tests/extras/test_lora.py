"""LoRA through peft, on a network of this package as it is: what docs/fine-tuning.md shows."""

import torch
from pages import run_page

import unmask
from unmask.config import TrainConfig
from unmask.data import open_data, prepare_text
from unmask.train import train

PLAIN = {"length": 16, "dim": 32, "layers": 2, "heads": 2, "batch_size": 16, "dtype": "float32"}


def test_what_the_page_shows(tmp_path, monkeypatch):
    """The adapters alone learn: the bound falls, and what is not adapted stays to the last bit."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("the quick brown fox jumps over the lazy dog. " * 200)
    (tmp_path / "NEW.txt").write_text("a lazy dog hovers over the jumping quick fox. " * 200)
    prepare_text("a.txt", "first", tokenizer="characters", progress=False)
    start = TrainConfig(**PLAIN, steps=60, minutes=0.0, eval_windows=8, device="cpu")
    train(start, "first", "model")
    few = "--out tuned --minutes 0 --steps 2 --eval-windows 8 --batch-size 16"
    run_page("fine-tuning.md", tmp_path, {"--out tuned": few})
    before, after = (unmask.MaskedDiffusion.from_pretrained(name) for name in ("model", "adapted"))
    ours, theirs = before.state_dict(), after.state_dict()
    assert ours.keys() == theirs.keys()
    moved = {name for name in ours if not torch.equal(ours[name], theirs[name])}
    layers = ("qkv", "out", "up", "down")
    assert moved == {f"backbone.blocks.{i}.{name}.weight" for i in range(2) for name in layers}
    for name in moved:
        assert torch.linalg.matrix_rank(theirs[name] - ours[name], rtol=1e-3) <= 8
    batch = open_data("data").batch("train", 16, 256, seed=1, step=0)
    found = [unmask.estimate_nelbo(model, [batch], repeats=8) for model in (before, after)]
    assert found[1].mean < found[0].mean - 4 * (found[0].noise + found[1].noise)
