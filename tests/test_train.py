"""Training: resume to the bit, what stops it, what is written."""

import json
import math
import os
import shutil
import signal
import sys
from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import pytest
import torch

import unmask
from unmask import checkpoint, schedules
from unmask.backbones import UNet
from unmask.cli import main
from unmask.cli.lm_eval import lm_eval
from unmask.config import TrainConfig
from unmask.data import open_data, prepare_text
from unmask.kinds.tables.quality.models import has_sklearn
from unmask.train import State, build, compile_network, read_log, train, train_step
from unmask.train.loop import seed_of
from unmask.train.pace import Fall, rate_factor
from unmask.train.sinks import check_sink
from unmask.train.state import begin, optimizers

SMALL = TrainConfig(
    length=16, dim=16, layers=1, heads=2, batch_size=8, dropout=0.1, steps=12, warmup=2,
    eval_minutes=0, eval_windows=8, log_every=4, dtype="float32", device="cpu", threads=1,
)  # fmt: skip


def weights(folder):
    model = checkpoint.load(folder, "model.safetensors")[1]
    return model | checkpoint.load(folder, "training.safetensors")[1]


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_stopped_run_ends_with_the_same_bits(data, tmp_path, optimizer, monkeypatch):
    config = replace(SMALL, optimizer=optimizer, accumulate=2)
    whole = train(config, data, tmp_path / "whole")
    real = unmask.train.loop.train_step

    def interrupted(config, data, state, fall):
        if state.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return real(config, data, state, fall)

    monkeypatch.setattr(unmask.train.loop, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt, match="step 6"):
        train(config, data, tmp_path / "parts")
    monkeypatch.setattr(unmask.train.loop, "train_step", real)
    parts = train(config, data, tmp_path / "parts")
    assert same(weights(whole), weights(parts))
    steps = [row["step"] for row in read_log(tmp_path / "parts" / "log.jsonl") if "loss" in row]
    assert steps == [4, 8, 12]
    assert train(config, data, tmp_path / "parts") == parts  # a finished run has nothing left to do


def test_accumulation_equals_the_large_batch(data, monkeypatch):
    """Two micro-batches with the draws of the large one: the same gradient, weighted by valid
    positions."""
    model = build(SMALL, open_data(data).vocab_size, {}).double()
    torch.nn.init.normal_(model.backbone.head.weight)
    x = torch.randint(0, model.subtokenizer.vocab_size, (8, 16))
    valid = torch.ones(8, 16, dtype=torch.bool)
    valid[5:, 7:] = False
    model.eval()
    draw = model.draw(model.clean(x, valid), generator=torch.Generator().manual_seed(0))
    part = [slice(0, 8)]
    monkeypatch.setattr(
        model,
        "draw",
        lambda *given, **named: draw._replace(
            t=draw.t[part[0]], masked=draw.masked[part[0]], scale=draw.scale[part[0]]
        ),
    )
    whole = torch.autograd.grad(model(x, valid=valid).loss, list(model.parameters()))
    total = [torch.zeros_like(p) for p in model.parameters()]
    for part[0] in (slice(0, 4), slice(4, 8)):
        share = int(valid[part[0]].sum()) / int(valid.sum())
        for g, new in zip(
            total,
            torch.autograd.grad(
                model(x[part[0]], valid=valid[part[0]]).loss * share, list(model.parameters())
            ),
        ):
            g += new
    assert all(torch.allclose(a, b, rtol=1e-9, atol=1e-12) for a, b in zip(whole, total))


def test_a_step_is_what_the_documentation_says(tmp_path):
    """Four steps by hand: a seed per micro-batch, weights by valid positions, clipping by norm,
    rates, decay, the average."""
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"text": "abcdefghij" * n}) + "\n" for n in (1, 1, 1, 1, 1, 2) * 20)
    )
    prepare_text(tmp_path / "a.jsonl", tmp_path / "data", tokenizer="characters", progress=False)
    config = replace(
        SMALL,
        optimizer="adamw",
        accumulate=2,
        clip=0.05,
        ema=0.6,
        weight_decay=0.3,
        dropout=0.0,
        steps=4,
        learning_rate=0.02,
    )
    folder = train(config, tmp_path / "data", tmp_path / "run")

    data = open_data(tmp_path / "data")
    model = build(config, data.vocab_size, {})
    averaged, uneven = {}, False
    (optimizer,) = optimizers(model, config)
    for step in range(4):
        batches = [data.batch("train", 16, 4, config.seed, step, micro) for micro in range(2)]
        counts = [int(batch["valid"].sum()) for batch in batches]
        uneven |= counts[0] != counts[1]
        total = [torch.zeros_like(p) for p in model.parameters()]
        for micro, (batch, count) in enumerate(zip(batches, counts)):
            torch.manual_seed(seed_of(config.seed, step, micro))
            found = torch.autograd.grad(
                model(batch["x"], valid=batch["valid"]).loss,
                list(model.parameters()),
                allow_unused=True,
            )
            for g, new in zip(total, found):
                g += count / sum(counts) * new
        norm = torch.sqrt(sum((g**2).sum() for g in total))
        assert norm > config.clip
        for p, g in zip(model.parameters(), total):
            p.grad = g * config.clip / norm
        for group in optimizer.param_groups:
            group["lr"] = (
                config.learning_rate * min(1, (step + 1) / 2) * min(1, (4 - step) / (4 * 0.7))
            )
        optimizer.step()
        for name, p in model.state_dict().items():
            keep = min(0.6, (1 + step) / (10 + step)) if step else 0.0
            averaged[name] = keep * averaged.get(name, 0) + (1 - keep) * p.clone()
    saved = weights(folder)
    for name, p in model.state_dict().items():
        assert torch.allclose(saved[f"model.{name}"], p, rtol=1e-3, atol=2e-5), name
        assert torch.allclose(saved[name], averaged[name], rtol=1e-3, atol=2e-5), name
    assert uneven
    # two different sets of weights
    assert max(float((saved[f"model.{n}"] - saved[n]).abs().max()) for n in averaged) > 1e-3


def test_what_is_evaluated_is_the_average_and_bf16_is_bf16(data, tmp_path, monkeypatch):
    seen = []
    real = unmask.train.loop.estimate_nelbo

    def spy(model, *given, **how):
        seen.append(model.state_dict())
        return real(model, *given, **how)

    monkeypatch.setattr(unmask.train.loop, "estimate_nelbo", spy)
    single = train(SMALL, data, tmp_path / "single")
    assert same(
        {name: t.clone() for name, t in seen[-1].items()},
        checkpoint.load(single, "model.safetensors")[1],
    )
    half = train(replace(SMALL, dtype="bfloat16"), data, tmp_path / "half")
    a, b = (checkpoint.load(folder, "model.safetensors")[1] for folder in (single, half))
    assert not same(a, b) and all(torch.allclose(a[n], b[n], atol=0.05) for n in a)


def test_every_micro_batch_has_its_own_seed():
    seeds = {seed_of(0, step, micro) for step in range(50) for micro in range(4)} | {
        seed_of(1, 0, 0)
    }
    assert len(seeds) == 201 and seed_of(0, 1, 2) == seed_of(0, 1, 2)


def test_muon_takes_the_matrices_of_the_blocks_and_nothing_else():
    model = build(replace(SMALL, time=True), 9, {})
    adamw, muon = optimizers(model, replace(SMALL, optimizer="muon", weight_decay=0.5))
    names = {id(p): name for name, p in model.named_parameters()}
    matrices = {names[id(p)] for group in muon.param_groups for p in group["params"]}
    assert matrices == {
        f"backbone.blocks.0.{n}.weight" for n in ("qkv", "out", "up", "down", "modulation")
    }
    others = [p for group in adamw.param_groups for p in group["params"]]
    assert len(others) + len(matrices) == len(list(model.parameters()))
    assert all(group["weight_decay"] == 0 for group in adamw.param_groups)
    assert all(group["weight_decay"] == 0.5 for group in muon.param_groups)


def test_learning_rates_rise_and_fall_to_zero():
    config = replace(SMALL, warmup=10, decay_share=0.5)
    fall = Fall.of(config, {"steps": 100})
    factors = [rate_factor(config, step, fall) for step in range(100)]
    assert (
        factors[0] == pytest.approx(0.1)
        and factors[9:51] == [1.0] * 42
        and factors[-1] == pytest.approx(0.02)
    )
    assert factors == sorted(factors[:10]) + sorted(factors[10:], reverse=True)
    cosine = replace(config, decay="cosine", decay_share=1.0)
    fall = Fall.of(cosine, {"steps": 100})
    assert rate_factor(cosine, 50, fall) == pytest.approx(0.5)
    assert rate_factor(config, 99, None) == 1.0


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(
    data, tmp_path, monkeypatch
):
    real = unmask.train.loop.train_step

    def poisoned(config, data, state, fall):
        if state.step == 6:
            with torch.no_grad():
                next(state.model.parameters()).fill_(math.nan)
        return real(config, data, state, fall)

    monkeypatch.setattr(unmask.train.loop, "train_step", poisoned)
    config = replace(SMALL, checkpoint_minutes=1e-9)
    with pytest.raises(FloatingPointError, match=r"step 6 is nan.*00000006"):
        train(config, data, tmp_path / "run")
    kept = checkpoint.checkpoints(tmp_path / "run")
    assert [folder.name for folder in kept] == ["00000005", "00000006"]
    assert all(bool(t.isfinite().all()) for t in weights(kept[-1]).values())


def test_a_disk_that_is_full_loses_nothing(data, tmp_path, monkeypatch):
    train(replace(SMALL, steps=4), data, tmp_path / "a")
    real = checkpoint.safetensors.torch.save_file

    def full(tensors, path):
        real(tensors, path)
        if "training" in str(path):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.safetensors.torch, "save_file", full)
    with pytest.raises(OSError, match="No space"):
        train(SMALL, data, tmp_path / "b")
    assert not checkpoint.checkpoints(tmp_path / "b") and not list(
        (tmp_path / "b" / "checkpoints").iterdir()
    )


def test_another_configuration_or_other_data_is_refused(data, tmp_path):
    train(replace(SMALL, steps=2), data, tmp_path / "run")
    with pytest.raises(ValueError, match="dim 16 there, 32 here"):
        train(replace(SMALL, steps=2, dim=32), data, tmp_path / "run")
    (tmp_path / "other.txt").write_text("the quick brown fox jumps over the lazy dog! " * 200)
    prepare_text(tmp_path / "other.txt", tmp_path / "other", tokenizer="characters", progress=False)
    with pytest.raises(ValueError, match="other data"):
        train(replace(SMALL, steps=2), tmp_path / "other", tmp_path / "run")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(ValueError, match="not a training run"):
        train(SMALL, data, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"heads": 3},
        {"seed": -1},
        {"minutes": 3.0},
        {"dim": 0},
        {"accumulate": 3},
        {"learning_rate": -1.0},
        {"ema": 1.0},
        {"device": "tpu"},
        {"layers": 1001},
        {"neighbours": 4},
        {"neighbours": -3},
        {"neighbours": 10**9 + 1},
        {"neighbours": 3, "network": "unet"},
        {"dim": 10**8},
        {"dim": 2**40},
        {"batch_size": 2**50},
        {"power": 3.0},
        {"power": 0.5, "schedule": "cosine"},
        {"schedule_learning_rate": 0.5},
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused_before_any_work(data, tmp_path, wrong):
    said = f"{next(iter(wrong.values()))}|1,001|more than all memory"
    with pytest.raises(ValueError, match=said):
        train(replace(SMALL, **wrong), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_sequence_longer_than_the_data_is_refused_before_any_work(data, tmp_path):
    with pytest.raises(ValueError, match=r"99999.*\d+ tokens"):
        train(replace(SMALL, length=99999), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_kill_right_after_minutes_became_steps_repeats_none_of_them(data, tmp_path, monkeypatch):
    """The steps before their number was known ran at rates that did not know it: a resumed run must
    not repeat them with it."""
    config = replace(SMALL, steps=0, minutes=0.05, decay="cosine", decay_share=1.0)

    class Killed(BaseException):
        pass

    def killed(path, content):
        real_write(path, content)
        if content["steps"]:
            raise Killed

    real_write = checkpoint.write_json
    monkeypatch.setattr(checkpoint, "write_json", killed)
    with pytest.raises(Killed):
        train(config, data, tmp_path / "run")
    monkeypatch.setattr(checkpoint, "write_json", real_write)
    steps = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["steps"]
    (known,) = (int(folder.name) for folder in checkpoint.checkpoints(tmp_path / "run"))
    assert 10 <= known < steps
    real, taken = unmask.train.loop.train_step, []

    def noted(config, data, state, fall):
        taken.append((state.step, fall.end))
        return real(config, data, state, fall)

    monkeypatch.setattr(unmask.train.loop, "train_step", noted)
    train(config, data, tmp_path / "run")
    assert taken[0] == (known, steps)


def test_only_checkpoints_of_the_run_are_read_or_removed(data, tmp_path):
    run = tmp_path / "run"
    train(replace(SMALL, checkpoint_minutes=1e-9), data, run)
    folders = run / "checkpoints"
    shutil.copytree(folders / "00000012", folders / "00000099-mine")
    (folders / ".DS_Store").write_text("not ours")
    shutil.copytree(folders / "00000011", folders / ".00000013.new-123")
    assert train(replace(SMALL, checkpoint_minutes=1e-9), data, run).name == "00000012"
    assert sorted(path.name for path in folders.iterdir()) == [
        ".DS_Store",
        "00000011",
        "00000012",
        "00000099-mine",
    ]
    newest = folders / "00000012" / "training.safetensors"
    newest.write_bytes(newest.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"damaged.*remove .*00000012 to continue from .*00000011"):
        train(replace(SMALL, checkpoint_minutes=1e-9), data, run)


def test_without_minutes_between_checkpoints_there_is_the_last_alone(data, tmp_path):
    last = train(replace(SMALL, checkpoint_minutes=0.0), data, tmp_path / "run")
    assert checkpoint.checkpoints(tmp_path / "run") == [last] and last.name == "00000012"


def test_a_checkpoint_that_is_being_written_keeps_its_plan(data, tmp_path):
    state, run, kept = State(build(SMALL, open_data(data).vocab_size, {}), SMALL), {"steps": 0}, []
    state.writer = SimpleNamespace(write=lambda folder, config, *rest: kept.append(config))
    state.save(tmp_path, run, open_data(data))
    run["steps"] = 99
    assert kept[0]["training"]["run"] == {"steps": 0}


def test_a_record_says_what_was_left_open(data, tmp_path, monkeypatch):
    """The device and the precision, and what the run has had since it began."""
    monkeypatch.setenv("UNMASK_DTYPE", "bfloat16")
    flags = ["--length", "8", "--dim", "16", "--layers", "1", "--heads", "2", "--batch-size", "4"]
    flags += ["--minutes", "0", "--steps", "1", "--eval-windows", "4", "--data", str(data)]
    flags += ["--out", str(tmp_path / "run"), "--json", str(tmp_path / "run.json")]
    for accumulate in (["--accumulate", "2"], []):
        assert main(["train", "demo", *flags, *accumulate]) == 0
        made = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
        assert made["config"]["accumulate"] == 2 and made["config"]["dtype"] == "auto"
        if accumulate:
            assert made["precision"] == "bfloat16"
            assert torch.device(made["device"]).type in ("cpu", "cuda")
    assert not {"precision", "device"} & set(made)  # it was finished, perhaps on another machine


def test_what_is_frozen_has_no_state_to_go_on_from(data):
    """Nor has it in the checkpoints of pieces, which are held against what is begun."""
    model = build(SMALL, open_data(data).vocab_size, {})
    model.backbone.embed.weight.requires_grad_(False)
    state = State(model, SMALL)
    train_step(SMALL, open_data(data), state)
    stepped = [set(optimizer.state) for optimizer in state.optimizers]
    for optimizer in state.optimizers:
        optimizer.state.clear()
        begin(optimizer)
    assert [set(optimizer.state) for optimizer in state.optimizers] == stepped


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch's
def test_no_part_of_a_network_is_one_too_many_to_be_compiled(monkeypatch):
    """A U-Net has more shapes of parts than are compiled by default."""
    net = UNet(4, (8, 8, 1), widths=(8, 16, 24, 32), blocks=1, heads=1)
    model = unmask.MaskedDiffusion(net, schedules.Linear(), unmask.Subtokenizer(4))
    compiled = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part: compiled(part, backend="eager"))
    z = torch.randint(0, 5, (2, 64))
    with torch._dynamo.config.patch(recompile_limit=8, fail_on_recompile_limit_hit=True):
        compile_network(model)
        net(z).sum().backward()
        with torch.no_grad():
            net(z)


@pytest.mark.parametrize(
    "there,used", [(("ccache g++", "g++"), "ccache g++"), (("clang++",), "clang++"), ((), "")]
)
def test_what_compiles_is_a_compiler_that_is_there(monkeypatch, there, used):
    """PyTorch tries but one name, that of $CXX or g++, and `ccache g++` is none."""
    model = build(SMALL, 9, {})
    monkeypatch.setattr(shutil, "which", lambda name: name if name in there else None)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda part: None)
    cxx = {"cpp.cxx": (None, "ccache g++")}
    with torch._dynamo.config.patch(recompile_limit=8), torch._inductor.config.patch(cxx):
        if used:
            compile_network(model)
            assert torch._inductor.config.cpp.cxx == (None, used)
        else:
            with pytest.raises(ValueError, match=r"neither 'ccache g\+\+' \(CXX in the environ"):
                compile_network(model)


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "sklearn", "lm_eval"])
def test_a_bare_folder_is_no_package(tmp_path, monkeypatch, name):
    """That of a package which is not installed, beside which one works."""
    (tmp_path / name).mkdir()
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert find_spec(name) is not None
    if name == "sklearn":
        assert not has_sklearn()
        return
    with pytest.raises(ValueError, match="is not installed: pip install"):
        lm_eval([]) if name == "lm_eval" else check_sink(name)


def test_two_processes_do_not_train_in_one_folder(data, tmp_path):
    train(SMALL, data, tmp_path / "run")
    with (
        unmask.train.run.locked(tmp_path / "run"),
        pytest.raises(ValueError, match="another process"),
    ):
        train(SMALL, data, tmp_path / "run")


@pytest.mark.parametrize(
    "content", ["", "[[[", "{}", '{"identity": "x", "steps": 1}', '{"identity": {}}', "[" * 100000]
)
def test_a_damaged_run_json_is_refused(data, tmp_path, content):
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        train(SMALL, data, tmp_path)


def test_training_learns(data, tmp_path):
    """The text repeats every 45 characters: 200 steps must leave far less than the entropy of its
    letters."""
    folder = train(
        replace(SMALL, steps=200, dim=32, dropout=0.0, batch_size=32), data, tmp_path / "run"
    )
    rows = read_log(tmp_path / "run" / "log.jsonl")
    assert rows[-1]["bits"] < 2.5 < 4.2 < rows[0]["loss"] / math.log(2)
    model = unmask.MaskedDiffusion.from_pretrained(tmp_path / "run")
    assert model.meta["length"] == 16 and not model.training
    assert same(model.state_dict(), checkpoint.load(folder, "model.safetensors")[1])


@pytest.mark.slow
# of the compiler's own
@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch", "ignore:The .grad attribute")
def test_a_compiled_network_has_the_same_loss_and_gradient(data, tmp_path):
    model = build(replace(SMALL, dropout=0.0), 20, {})
    torch.nn.init.normal_(model.backbone.head.weight)
    x = torch.randint(0, 20, (8, 16))

    def loss_and_gradient():
        loss = model(x, generator=torch.Generator().manual_seed(0)).loss
        return loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))

    plain = loss_and_gradient()
    compile_network(model)
    compiled = loss_and_gradient()
    assert all(
        torch.allclose(a, b, rtol=1e-4, atol=1e-5 * float(a.abs().max()))
        for a, b in zip(plain, compiled)
    )
    # and the whole loop runs with it
    folder = train(replace(SMALL, compile=True), data, tmp_path / "run")
    assert unmask.MaskedDiffusion.from_pretrained(folder).meta["length"] == 16
