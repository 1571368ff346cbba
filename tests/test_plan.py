"""`unmask train --dry-run`: what a run will need."""

import json
import math
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from test_train import SMALL

import unmask.train.plan as plans
from unmask.backbones import parts_of
from unmask.cli import main
from unmask.data import open_data
from unmask.train import State, build, train, train_step
from unmask.train.loop import untrained
from unmask.train.plan import GPUS, REACHED, Plan, described, lasting, on_gpus, work_of


def test_a_dry_run_says_what_a_run_takes_and_leaves_nothing(data, tmp_path, capsys):
    flags = ["--length", "16", "--dim", "16", "--layers", "1", "--heads", "2", "--batch-size", "16"]
    flags += ["--threads", "1", "--dtype", "float32", "--minutes", "0", "--steps", "1000"]
    flags += ["--neighbours", "3"]
    out, record = tmp_path / "run", tmp_path / "plan.json"
    command = ["train", "demo", "--data", str(data), "--out", str(out), *flags, "--dry-run"]
    assert main([*command, "--gpu", "a100", "--json", str(record)]) == 0
    said = capsys.readouterr().out
    assert not out.exists()
    made = json.loads(record.read_text(encoding="utf-8"))
    model = build(replace(SMALL, neighbours=3), open_data(data).vocab_size, {})
    count = sum(p.numel() for p in model.parameters())
    assert made["parameters"] == count and f"parameters   {count:,}" in said
    assert made["weights"] == 4 * count and made["steps"] == 1000
    # AdamW keeps two numbers a weight, and a count; Muon one
    matrices = sum(p.numel() for p in model.backbone.blocks.parameters() if p.ndim == 2)
    plain = [p for p in model.parameters() if p.numel()]
    assert made["optimizer"] >= 8 * (count - matrices) + 4 * matrices
    assert made["optimizer"] <= 8 * (count - matrices) + 4 * matrices + 4 * len(plain)
    for line in (
        "here ",
        "the run      1,000 steps",
        "on A100s",
        "   8  pieces",
        "  512  a step has",
    ):
        assert line in said, said
    assert made["peak"] > 50e6 and made["estimate"] > 50e6 and made["seconds"] > 0


@pytest.mark.parametrize("rows,tried", [(1, [1, 2]), (2, [1, 2]), (3, [1, 2]), (16, [4, 8])])
def test_two_sizes_of_a_micro_batch_are_tried(rows, tried, data, monkeypatch):
    """So that what a row takes can be told, of few rows, too."""
    sizes, step = [], plans.train_step

    def noted(config, *rest):
        sizes.append(config.batch_size)
        return step(config, *rest)

    monkeypatch.setattr(plans, "train_step", noted)
    config = replace(SMALL, batch_size=rows, device="cpu")
    found = open_data(data)
    plans.plan(config, found, State(build(config, found.vocab_size, {}), config))
    assert list(dict.fromkeys(sizes))[:2] == tried


def test_a_plan_is_made_where_nothing_tells_the_memory(data, tmp_path, monkeypatch, capsys):
    """As on Windows."""
    monkeypatch.setattr(plans, "peak_memory", lambda device: math.nan)
    flags = ["--length", "16", "--dim", "16", "--layers", "1", "--heads", "2", "--batch-size", "16"]
    flags += ["--dtype", "float32", "--minutes", "0", "--steps", "9", "--dry-run"]
    flags += ["--data", str(data), "--out", str(tmp_path / "r"), "--json", str(tmp_path / "p.json")]
    assert main(["train", "demo", *flags]) == 0
    said = capsys.readouterr().out
    for line in ("here ", "the run      9 steps", "on H100s", "   8  pieces"):
        assert line in said, said
    assert "want of memory" not in said and "too much" not in said
    assert not re.search(r"\bnan\b", said)
    made = json.loads((tmp_path / "p.json").read_text(encoding="utf-8"))
    assert made["seconds"] > 0 and made["peak"] is made["estimate"] is made["a_row"] is None


def test_pieces_are_planned_without_processes(data, tmp_path, capsys):
    flags = ["--length", "16", "--dim", "16", "--layers", "1", "--heads", "2", "--batch-size", "16"]
    flags += ["--threads", "1", "--dtype", "float32", "--minutes", "1", "--dry-run", "--shard"]
    assert main(["train", "demo", "--data", str(data), "--out", str(tmp_path / "r"), *flags]) == 0
    assert "the run      " in capsys.readouterr().out
    assert (
        main(["train", "demo", "--data", str(data), "--out", str(tmp_path / "r"), "--shard"]) == 2
    )
    assert "--shard is for several processes: torchrun" in capsys.readouterr().err
    flags = ["--data", str(data), "--out", str(tmp_path / "r"), "--gpu", "h200"]
    assert main(["train", "demo", *flags]) == 2
    assert "--gpu h200 is what --dry-run reckons with" in capsys.readouterr().err


@pytest.mark.parametrize("dropout", [0.1, 0.0])
def test_operations_are_those_of_the_products(data, dropout):
    """Without dropout, attention on a CPU is a kernel, which may compute its scores anew."""
    config, loaded, model = untrained(replace(SMALL, layers=2, dim=32, dropout=dropout), data)
    state = State(model, config)
    done = work_of(config, loaded, state)
    rows, length, dim = config.batch_size, config.length, config.dim
    inside = sum(p.numel() for p in model.backbone.blocks.parameters() if p.ndim == 2)
    of_blocks = 6 * inside * rows * length + 12 * 2 * rows * length**2 * dim
    head = 6 * model.backbone.head.weight.numel() * rows * length
    anew = 0 if dropout else 2 * 2 * rows * length**2 * dim
    assert of_blocks < done < of_blocks + head + anew
    twice = work_of(replace(config, draws=2), loaded, state)
    assert twice > 1.8 * done
    assert all(p.grad is None for p in model.parameters())


def test_the_arithmetic_of_many_gpus():
    made = Plan(
        10**9, 4 * 10**9, 4 * 10**9, 4 * 10**9, 6 * 10**9, 16, 2e9, 1.0, 1.0, 1e15, 9.0, 1e6, 10
    )
    config, gpu = replace(SMALL, batch_size=512, accumulate=32), GPUS["h100"]
    copies, pieces = (on_gpus(made, config, gpu, 8, sharded) for sharded in (False, True))
    assert copies.computing == pytest.approx(1e15 / (8 * REACHED * 989e12))
    assert copies.sending == pytest.approx(2 * 7 / 8 * 4e9 / 450e9)
    assert pieces.sending == pytest.approx(4 * 7 / 8 * 8e9 / 450e9)  # four micro-batches each
    assert copies.memory == pytest.approx(18e9 + 16 * 2e9)
    assert pieces.memory == pytest.approx(18e9 / 8 + 16 * 2e9)
    far = on_gpus(made, config, gpu, 512, True)
    assert far.sending == pytest.approx(511 / 512 * 8e9 / 50e9) and far.seconds == far.sending
    assert far.memory == pytest.approx(18e9 / 512 + 2e9)  # a row each
    text = "\n".join(described(made, config, "token", "h100"))
    assert re.search(r"\n +512  pieces  computing", text) and "too much" not in text
    assert "too much" in "\n".join(described(made._replace(a_row=9e9), config, "token", "h100"))
    untried = made._replace(peak=float("nan"), seconds=float("nan"))
    assert "for want of memory" in "\n".join(described(untried, config, "token", "h100"))
    assert [lasting(x) for x in (3, 100, 7200, 864000)] == [
        "3 s",
        "1.67 minutes",
        "2 hours",
        "10 days",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("size", ["S", "H", "mnist"])
def test_the_peak_of_memory_is_foretold_within_15_percent(size, dtype):
    """In a process of its own: two sizes of the speed table, and a U-Net."""
    code = f"""
import torch
from dataclasses import replace
from unmask.config import TrainConfig
from unmask.device import keep_freed_memory
from unmask.kinds.registry import presets
from unmask.train import State, build
from unmask.train.plan import plan

sizes = {{
    "S": (TrainConfig(steps=9, batch_size=16), 256),
    "H": (TrainConfig(steps=9, batch_size=4, layers=2), 50257),
    "mnist": (replace(presets()["mnist"].config, length=784, steps=9, minutes=0.0), 256),
}}
config, vocab_size = sizes["{size}"]
config = replace(config, dtype="{dtype}", device="cpu")

class Tokens:
    classes = 0
    def batch(self, split, length, size, *seed):
        return {{"x": torch.randint(vocab_size, (size, length))}}

keep_freed_memory()
meta = {{"data": {{"kind": "images", "tokenizer": {{"shape": [28, 28, 1], "vocab_size": 256}}}}}}
model = build(config, vocab_size, meta if config.network == "unet" else {{}})
made = plan(config, Tokens(), State(model, config))
print(made.estimate / made.peak)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert 0.85 < float(done.stdout) < 1.15


@pytest.mark.parametrize("network", ["transformer", "unet"])
def test_what_is_computed_anew_gives_the_same_bits(network, data, tmp_path):
    """With dropout, whose draws are repeated."""
    if network == "transformer":
        ends = []
        for recompute in (False, True):
            run = tmp_path / str(recompute)
            ends.append(train(replace(SMALL, recompute=recompute, steps=6), data, run))
        one, two = ((end / "model.safetensors").read_bytes() for end in ends)
        assert one == two
        return
    config = replace(SMALL, network="unet", widths="8,16", blocks=1, layers=1, dim=16, length=64)
    meta = {"data": {"kind": "images", "tokenizer": {"shape": [8, 8, 1], "vocab_size": 4}}}

    class Pictures:
        classes = 0

        def batch(self, split, length, size, *seed):
            x = torch.randint(4, (size, length), generator=torch.Generator().manual_seed(0))
            return {"x": x}

    after = []
    for recompute in (False, True):
        one = replace(config, recompute=recompute)
        state = State(build(one, 4, meta), one)
        assert len(parts_of(state.model.backbone)) > 4
        for _ in range(3):
            train_step(one, Pictures(), state)
        after.append(torch.cat([p.flatten() for p in state.model.parameters()]))
    assert torch.equal(*after)
