"""Kills, full disks and damage: what is lost, and what is said."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_protocols import byte_level
from test_train import SMALL, same, weights

import unmask
from unmask import checkpoint
from unmask.cli import main
from unmask.data import open_data
from unmask.estimate import plus_minus
from unmask.evaluation import schedule, until
from unmask.files import flush, locked, new_folder, replacing, write_whole
from unmask.filling import Filler
from unmask.kinds.output import check_out
from unmask.likelihood import estimate_nelbo
from unmask.scoring import Scorer
from unmask.train import State, build, read_log, train, train_step
from unmask.train.run import Log

STEPWISE = replace(SMALL, checkpoint_minutes=1e-9)


@pytest.fixture
def copy(data, tmp_path):
    """Prepared data of one's own, to damage."""
    unverified = shutil.ignore_patterns(".verified.json")
    return shutil.copytree(data, tmp_path / "data", ignore=unverified)


def half(data, run, monkeypatch, steps=6):
    """A run that was killed after some steps, a checkpoint each."""
    real = unmask.train.loop.train_step

    def killed(config, data, state, total):
        if state.step == steps:
            raise OSError("killed")
        return real(config, data, state, total)

    with monkeypatch.context() as patch, pytest.raises(OSError, match="killed"):
        patch.setattr(unmask.train.loop, "train_step", killed)
        train(STEPWISE, data, run)


# ---------------------------------------------------------------- the folder of a run


def test_what_a_kill_in_the_first_moment_leaves_is_no_obstacle(data, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    for name in (".lock", ".run.json.new-4711", ".run.json.new-0a1b2c3d.json"):
        (run / name).write_text("{")
    train(SMALL, data, run)
    assert not list(run.glob(".*.new-*"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".vimrc").write_text("syntax on")
    with pytest.raises(ValueError, match="not a training run"):
        train(SMALL, data, tmp_path / "mine")


@pytest.mark.parametrize("of_model", [False, True])
def test_a_run_without_a_checkpoint_does_not_hold_its_folder(
    data, text_run, tmp_path, monkeypatch, of_model
):
    """As one that ran out of memory, whose error says: try a smaller --batch-size."""
    run, real = tmp_path / "run", unmask.train.loop.train_step

    def too_much(config, data, state, fall):
        if state.step == 6:
            raise RuntimeError("out of memory")
        return real(config, data, state, fall)

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="out of memory"):
        patch.setattr(unmask.train.loop, "train_step", too_much)
        train(SMALL, data, run, text_run if of_model else None)
    assert [row["step"] for row in read_log(run / "log.jsonl")] == [4]
    assert train(replace(SMALL, batch_size=4), data, run).name == "00000012"
    assert [row["step"] for row in read_log(run / "log.jsonl")] == [4, 8, 12, 12]
    assert json.loads((run / "run.json").read_text())["identity"]["batch_size"] == 4
    with pytest.raises(ValueError, match="batch_size 4 there, 8 here"):
        train(SMALL, data, run)


@pytest.mark.parametrize("damage", ["seed", "steps", "lost", "cut", "other"])
def test_a_checkpoint_knows_what_it_needs_to_continue(data, tmp_path, monkeypatch, damage):
    """It is verified, and run.json is not."""
    whole = train(STEPWISE, data, tmp_path / "whole")
    run = tmp_path / "run"
    half(data, run, monkeypatch)
    path = run / "run.json"
    said = json.loads(path.read_text())
    if damage == "lost":
        path.unlink()
    elif damage == "cut":
        path.write_text(path.read_text()[:40])
    elif damage == "steps":
        path.write_text(json.dumps(said | {"steps": 7}))
    else:
        said["identity"]["seed" if damage == "seed" else "data"] = 1
        path.write_text(json.dumps(said))
    folder = train(STEPWISE, data, run)
    assert folder.name == whole.name and same(weights(folder), weights(whole))
    with pytest.raises(ValueError, match="seed 0 there, 1 here"):
        train(replace(STEPWISE, seed=1), data, run)


def test_a_checkpoint_without_its_config_is_damaged_and_not_passed_over(data, tmp_path, capsys):
    train(STEPWISE, data, tmp_path / "run")
    before, newest = checkpoint.checkpoints(tmp_path / "run")
    (newest / "config.json").unlink()
    assert main(["eval", str(tmp_path / "run"), "--data", str(data)]) == 2
    assert f"{newest}/config.json is missing" in capsys.readouterr().err
    said = rf"config\.json cannot be read.*; or remove {newest} to continue from {before}$"
    with pytest.raises(ValueError, match=said):
        train(STEPWISE, data, tmp_path / "run")


@pytest.mark.parametrize("name", ["model.backbone.more", "optimizer.0.999.step", "optimizer.0.x"])
def test_a_training_state_of_another_network_is_one_sentence(data, tmp_path, name):
    """As one that another version of this package wrote may be."""
    run = tmp_path / "run"
    folder = train(SMALL, data, run)
    config, tensors = checkpoint.load(folder, "training.safetensors")
    checkpoint.save_tensors(tensors | {name: torch.ones(1)}, folder / "training.safetensors")
    config["sha256"]["training.safetensors"] = checkpoint.digest(folder / "training.safetensors")
    config["sha256"]["config.json"] = checkpoint.config_digest(config)
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=f"{folder.name} does not fit this run, and cannot be"):
        train(SMALL, data, run)


def goes_after(monkeypatch, work, model):
    """Once `work`, a name in a module or class, has returned, the folder of a model is gone."""
    (where, name), folder = work, checkpoint.resolve(model)
    real = getattr(where, name)

    def then_gone(*given, **how):
        found = real(*given, **how)
        shutil.rmtree(folder, ignore_errors=True)
        return found

    monkeypatch.setattr(where, name, then_gone)


DATA = ["--data", "data", "--limit", "4"]
FEW = [*DATA, "--repeats", "2"]
WORK = {
    "eval": ((unmask.likelihood, "estimate"), FEW),
    "eval --error": ((until, "estimate_until"), [*DATA, "--error", "9"]),
    "grid": ((unmask.likelihood, "estimate"), [*FEW, "--steps", "2", "--out", "g.json"]),
    "report": ((Filler, "fill"), [*FEW, "--steps", "2"]),
    "sample": ((Filler, "fill"), ["--num", "1"]),
    "fill": ((Filler, "fill"), ["a.txt"]),
    "score": ((Scorer, "score"), ["a.txt"]),
    "schedule": ((schedule, "measure"), FEW),
}  # fmt: skip


@pytest.mark.parametrize("verb", WORK)
def test_a_checkpoint_may_go_while_a_verb_works(
    data, text_run, tmp_path, monkeypatch, capsys, verb
):
    """A training that goes on deletes its older ones; the record names the weights that were read,
    and nothing of the result is lost."""
    work, flags = WORK[verb]
    shutil.copytree(text_run, tmp_path / "run")
    (tmp_path / "data").symlink_to(data)
    (tmp_path / "a.txt").write_text("the[MASK]fox")
    monkeypatch.chdir(tmp_path)
    sha = checkpoint.digest(checkpoint.resolve("run") / "model.safetensors")
    goes_after(monkeypatch, work, "run")
    command = [verb.partition(" ")[0], "run", *flags, "--json", "a.json", "--device", "cpu"]
    assert main(command) == 0, capsys.readouterr().err
    assert not list(Path("run").glob("checkpoints/*"))
    assert json.loads(Path("a.json").read_text(encoding="utf-8"))["model_sha256"] == sha
    if verb == "report":
        page = Path("report.html").read_text(encoding="utf-8")
        assert sha[:12] in page and "2 steps in" in page
    if verb == "grid":
        assert json.loads(Path("g.json").read_text(encoding="utf-8"))["model_sha256"] == sha


def test_samples_are_not_lost_with_the_tokenizer(tmp_path, monkeypatch):
    """Of a model of subwords, whose folder holds it."""
    tokens = byte_level([("t", "h")])
    known = {"kind": "text", "tokenizer": tokens.spec(), "vocab_size": tokens.vocab_size}
    model = build(SMALL, tokens.vocab_size, {"length": 8, "data": known})
    model.save_pretrained(tmp_path / "model", tokens.files())
    goes_after(monkeypatch, (Filler, "fill"), tmp_path / "model")
    out = tmp_path / "samples.jsonl"
    assert main(["sample", str(tmp_path / "model"), "--num", "2", "--out", str(out)]) == 0
    assert len(out.read_text(encoding="utf-8").splitlines()) == 2


def test_a_log_blocks_nothing_and_loses_no_line_that_can_be_read(
    data, tmp_path, monkeypatch, capsys
):
    run = tmp_path / "run"
    half(data, run, monkeypatch, steps=9)
    log = run / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    assert [json.loads(line)["step"] for line in lines] == [4, 8]
    damaged = b'{"step": 5, "loss": \xff}\n'
    log.write_bytes(lines[0] + damaged + b"[1, 2]\n" + lines[1] + b'{"step": 9, "lo')
    capsys.readouterr()
    train(STEPWISE, data, run)
    assert "its last line was cut short" in capsys.readouterr().err
    assert log.read_bytes().splitlines(keepends=True)[:4] == [
        lines[0], damaged, b"[1, 2]\n", lines[1],
    ]  # fmt: skip
    rows = read_log(log)
    assert [row["step"] for row in rows if "loss" in row] == [4, 8, 12] and "bits" in rows[-1]
    assert "log.jsonl: 2 damaged lines are left out" in capsys.readouterr().err


def test_sigterm_does_not_wait_for_the_validation_and_nothing_is_forgotten(
    data, tmp_path, monkeypatch
):
    """The last evaluation is given up after its first batch; the same command makes up for it."""
    whole = train(SMALL, data, tmp_path / "whole")
    config = replace(SMALL, eval_windows=400)
    real, seen = unmask.MaskedDiffusion.score_units, []

    def slow(self, *given, **how):
        if not self.training:
            if not seen:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(0.05)
            seen.append(1)
        return real(self, *given, **how)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(unmask.MaskedDiffusion, "score_units", slow)
        train(config, data, tmp_path / "run")
    assert len(seen) == config.eval_repeats  # one batch of 50
    assert same(weights(checkpoint.resolve(tmp_path / "run")), weights(whole))
    assert not any("bits" in row for row in read_log(tmp_path / "run" / "log.jsonl"))
    seen.clear()
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt, match="evaluates"):
        patch.setattr(unmask.MaskedDiffusion, "score_units", slow)
        train(config, data, tmp_path / "run")
    train(config, data, tmp_path / "run")
    (row,) = (row for row in read_log(tmp_path / "run" / "log.jsonl") if "bits" in row)
    assert row["step"] == 12 and math.isfinite(row["bits"])


TRAIN = [
    "--length", "16", "--dim", "16", "--layers", "1", "--heads", "2", "--minutes", "0",
    "--steps", "4", "--batch-size", "8", "--eval-windows", "8", "--threads", "1", "--device", "cpu",
    "--checkpoint-minutes", "1e-9", "--dtype", "float32",
]  # fmt: skip
KILLED = Path(__file__).with_name("killed.py")


def killed_at(n, arguments, how="KILL"):
    command = [sys.executable, str(KILLED), how, str(n), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8")


def kill_everywhere(data, tmp_path, numbers):
    """Of a run's file operations with these numbers, each is its last; the same command goes on."""
    command = ["train", "demo", "--data", data, *TRAIN, "--out"]
    done = killed_at(10**9, [*command, tmp_path / "whole"])
    assert done.returncode == 0, done.stderr
    whole = weights(checkpoint.resolve(tmp_path / "whole"))
    for n in numbers:
        run = tmp_path / f"run-{n}"
        first = killed_at(n, [*command, run])
        assert first.returncode in (0, 137), (n, first.stderr)
        again = killed_at(10**9, [*command, run])
        assert again.returncode == 0, (n, again.stderr)
        assert same(weights(checkpoint.resolve(run)), whole), n
        rows = read_log(run / "log.jsonl")
        assert [row["step"] for row in rows if "bits" in row] == [4], (n, rows)
        assert not [path for path in run.rglob(".*.new-*")], n
        if first.returncode == 0:
            return n
    return None


def test_a_run_killed_at_a_file_operation_ends_with_the_same_bits(data, tmp_path):
    assert kill_everywhere(data, tmp_path, (2, 9, 23)) is None


@pytest.mark.slow
def test_a_run_killed_at_any_file_operation_ends_with_the_same_bits(data, tmp_path):
    operations = kill_everywhere(data, tmp_path, range(1, 1000))
    assert operations is not None and operations > 60


class Killed(BaseException):
    """From some file operation on, by all: so nothing is tidied up."""


def test_a_model_that_is_replaced_is_there_whenever_the_process_is_killed(
    tmp_path, monkeypatch, capsys
):
    """Also between the two renames; what is left beside it is removed by the next save."""
    path = tmp_path / "my.model"
    first, second = (build(replace(SMALL, layers=layers), 20, {}) for layers in (1, 2))

    def killed(n, model):
        """Save, up to the n-th file operation; how many were left."""
        left = n

        def operation(real):
            def counted(*given, **named):
                nonlocal left
                left -= 1
                if left <= 0:
                    raise Killed
                return real(*given, **named)

            return counted

        with monkeypatch.context() as patch:
            for name in ("mkdir", "rename", "fsync", "rmdir", "unlink"):
                patch.setattr(os, name, operation(getattr(os, name)))
            with suppress(Killed):
                model.save_pretrained(path)
        return left

    first.save_pretrained(path)
    link = tmp_path / "link"
    link.symlink_to(path)
    put_back = set()
    for n in range(1, 100):
        left = killed(n, second)
        hidden, _ = not path.exists(), capsys.readouterr()
        model = unmask.MaskedDiffusion.from_pretrained(link if n % 2 else path)
        said = "was killed, and a whole copy is put back" in capsys.readouterr().err
        assert said == hidden and len(list(tmp_path.glob(".*"))) <= 1, n
        if hidden:
            put_back.add(len(model.backbone.blocks))
        if left > 0:
            break
        killed(n, second)
        killed(n, second)
        first.save_pretrained(path)
        assert {*tmp_path.iterdir()} == {path, link}, n
    assert put_back <= {1, 2} and put_back


@pytest.mark.parametrize("name", ["log.jsonl", "checkpoints/00000006/config.json", "run.json"])
def test_a_pipe_in_a_run_is_not_waited_for(data, tmp_path, monkeypatch, name):
    run = tmp_path / "run"
    half(data, run, monkeypatch)
    if name == "run.json":  # read where there is no checkpoint yet
        shutil.rmtree(run / "checkpoints")
    (run / name).unlink()
    os.mkfifo(run / name)
    with pytest.raises(ValueError, match="is a pipe, not a file|is missing|not a training run"):
        train(STEPWISE, data, run)


# ---------------------------------------------------------------- data


def flip(path, at=1000):
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_changed_data_are_noticed(copy, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    half(copy, run, monkeypatch)
    assert (copy / ".verified.json").is_file()
    flip(copy / "train.bin")
    with pytest.raises(ValueError, match=r"train\.bin was changed after it was prepared"):
        train(STEPWISE, copy, run)
    flip(copy / "train.bin")
    train(STEPWISE, copy, run)
    flip(copy / "test.bin", 5)
    assert main(["eval", str(run), "--data", str(copy)]) == 2
    assert "test.bin was changed after it was prepared" in capsys.readouterr().err


def test_what_was_verified_is_not_read_again_and_needs_no_note(copy, monkeypatch):
    open_data(copy).tokens("train")
    with monkeypatch.context() as patch:
        patch.setattr("unmask.kinds.folder.digest", lambda path: 1 / 0)
        open_data(copy).tokens("train")
        with pytest.raises(ZeroDivisionError):
            open_data(copy).tokens("test")
    for damaged in ("", "[1]", '{"train.bin": 3}'):
        (copy / ".verified.json").write_text(damaged)
        assert len(open_data(copy).tokens("train"))
    flip(copy / "train.bin")
    os.utime(copy / "train.bin", ns=(1, 1))
    with pytest.raises(ValueError, match="was changed"):
        open_data(copy).tokens("train")


def test_a_batch_of_which_nothing_is_known_is_no_division_by_zero(data):
    """No residue of a crop may be known: the step teaches nothing, and is a step."""

    class Unknown:
        classes = 0

        def batch(self, split, length, size, *numbers):
            x = torch.zeros(size, length, dtype=torch.long)
            return {"x": x, "valid": torch.zeros_like(x, dtype=torch.bool)}

    config = replace(SMALL, dtype="float32")
    state = State(build(config, 20, {}), config)
    loss, norm, positions = train_step(config, Unknown(), state)
    assert (loss, norm, positions, state.step) == (0, 0, 0, 1)
    with pytest.raises(ValueError, match="none of them has a position that is scored"):
        estimate_nelbo(state.model, [Unknown().batch("test", 16, 4)])


def stop_a_preparation(tmp_path, numbers):
    """At the file operations with these numbers; how many there were, once one is not reached."""
    (tmp_path / "short.txt").write_text("the quick brown fox jumps over the lazy dog. " * 100)
    out = tmp_path / "data"
    command = ["prepare", "text", tmp_path / "short.txt", out]
    for n in numbers:
        stopped = killed_at(n, command, "TERM")
        if stopped.returncode == 0:
            return n
        assert stopped.returncode == 130 and "stopped by SIGTERM" in stopped.stderr, n
        left = [path.name for path in tmp_path.glob("*data*")]
        assert left in ([], ["data"]), (n, left)
        if left:  # stopped after the last rename
            shutil.rmtree(out)
        assert killed_at(n, command).returncode in (0, 137), n
        assert len(list(tmp_path.glob(".data.new-*"))) <= 1, n
        if out.exists():
            open_data(out).tokens("train")
            shutil.rmtree(out)
    return None


def test_a_stopped_preparation_leaves_nothing_that_piles_up(tmp_path):
    """SIGTERM is as Ctrl-C; what SIGKILL leaves is removed by the next one, but for who writes."""
    assert stop_a_preparation(tmp_path, (3, 5)) is None
    (left,) = tmp_path.glob(".data.new-*")
    other = tmp_path / ".data.new-0123abcd"
    other.mkdir()
    with locked(other):
        assert main(["prepare", "text", str(tmp_path / "short.txt"), str(tmp_path / "data")]) == 0
    assert other.is_dir() and not left.exists() and (tmp_path / "data" / "meta.json").is_file()


@pytest.mark.slow
def test_a_preparation_may_be_stopped_at_any_file_operation(tmp_path):
    operations = stop_a_preparation(tmp_path, range(1, 100))
    assert operations is not None and operations > 5


# ---------------------------------------------------------------- numbers


def test_weights_that_are_not_finite_are_neither_saved_nor_evaluated(data, tmp_path, monkeypatch):
    real = unmask.train.loop.train_step

    def poisoned(config, data, state, fall):
        found = real(config, data, state, fall)
        if state.step == 12:  # the last: no loss is seen after it
            with torch.no_grad():
                next(state.model.parameters()).fill_(math.inf)
        return found

    monkeypatch.setattr(unmask.train.loop, "train_step", poisoned)
    with pytest.raises(FloatingPointError, match="is not finite at step 12"):
        train(STEPWISE, data, tmp_path / "run")
    kept = checkpoint.checkpoints(tmp_path / "run")[-1]
    assert kept.name == "00000011" and all(t.isfinite().all() for t in weights(kept).values())
    assert not any("bits" in row for row in read_log(tmp_path / "run" / "log.jsonl"))


def test_a_bound_that_is_not_finite_is_not_told(data, tmp_path, capsys):
    folder = train(SMALL, data, tmp_path / "run")
    model = unmask.MaskedDiffusion.from_pretrained(folder)
    with torch.no_grad():
        model.backbone.head.bias.fill_(math.nan)
    model.save_pretrained(tmp_path / "nan")
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "nan"), "--data", str(data)]) != 0
    said = capsys.readouterr()
    assert "bits per" not in said.out and "is not finite" in said.err
    model.backbone.head.bias.data[:] = torch.linspace(0, 5000, len(model.backbone.head.bias))
    bound = estimate_nelbo(model, [torch.zeros(4, 16, dtype=torch.long)])
    assert bound.nats_per_position > 709 and bound.perplexity == math.inf


def test_an_error_that_is_not_known_is_not_nan(data, tmp_path, capsys):
    train(SMALL, data, tmp_path / "run")
    capsys.readouterr()
    assert main(["eval", str(tmp_path / "run"), "--data", str(data), "--limit", "1"]) == 0
    said = capsys.readouterr().out
    assert "(error not known) bits per character" in said and "nan" not in said
    assert plus_minus(1.25, 0.5) == "1.2500 +- 0.5000"
    assert plus_minus(-0.25, 0.5, "+8.2f") == "   -0.25 +- 0.50"


def test_a_network_without_a_row_for_the_mask_is_told_of_it():
    class Forgetful(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(5, 5)  # of five values, and none for the mask

        def forward(self, z):
            return self.embed(z)

    model = unmask.MaskedDiffusion(Forgetful(), unmask.schedules.Linear(), unmask.Subtokenizer(5))
    with pytest.raises(ValueError, match="Forgetful looked up .*needs 6 rows") as told:
        model(torch.zeros(4, 8, dtype=torch.long))
    # it may have been another index, and the traceback says which
    assert isinstance(told.value.__cause__, IndexError)


def test_a_bug_is_called_one(data, tmp_path, monkeypatch, capsys):
    train(SMALL, data, tmp_path / "run")
    monkeypatch.setattr(unmask.likelihood.estimating, "numbered", lambda *given: 1 / 0)
    assert main(["eval", str(tmp_path / "run"), "--data", str(data)]) == 70
    said = capsys.readouterr().err
    assert "ZeroDivisionError: division by zero: this is a bug in unmask" in said
    assert "please report it" in said and "Traceback" in said


# ---------------------------------------------------------------- files


def limited(arguments, size):
    """A command whose files cannot grow beyond `size` bytes: a disk that is full."""
    code = (
        "import resource, sys; size = int(sys.argv.pop(1)); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)); "
        "from unmask.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, str(size), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8")


@pytest.mark.skipif(os.name != "posix", reason="limits of a process are POSIX's")
def test_a_full_disk_is_one_sentence_and_the_older_files_stay(data, tmp_path):
    folder = train(STEPWISE, data, tmp_path / "run")
    size = sum(path.stat().st_size for path in folder.iterdir()) // 2
    small = ["--length", 16, "--dim", 64, "--layers", 1, "--heads", 2, "--minutes", 0, "--steps", 9]
    small += ["--threads", 1, "--device", "cpu"]
    done = limited(["train", "demo", "--data", data, "--out", tmp_path / "b", *small], size)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "cannot be written" in done.stderr and ".safetensors" in done.stderr
    assert not checkpoint.checkpoints(tmp_path / "b")
    out = tmp_path / "samples.txt"
    out.write_text("years of work")
    flags = ["--num", 40, "--steps", 2, "--threads", 1, "--out", out]
    done = limited(["sample", tmp_path / "run", *flags], 100)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert out.read_text() == "years of work" and not list(tmp_path.glob(".*.new-*"))


def test_who_reads_a_pipe_gets_what_is_written_and_no_end_before(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE, text=True)
    check_out(str(pipe))
    time.sleep(0.5)
    assert reader.poll() is None
    write_whole(pipe, "said")
    assert reader.communicate(timeout=60)[0] == "said"


def test_what_a_link_leads_to_may_not_be_there_yet(tmp_path):
    link, path = tmp_path / "link.json", tmp_path / "away.json"
    link.symlink_to(path)
    check_out(str(link))
    assert link.is_symlink() and not path.exists()
    write_whole(link, "new")
    assert link.is_symlink() and path.read_text() == "new"


def test_what_replaces_a_file(tmp_path):
    path, link = tmp_path / "a.txt", tmp_path / "b.txt"
    write_whole(path, "old")
    path.chmod(0o600)
    link.symlink_to(path)
    write_whole(link, b"new")
    assert path.read_text() == "new" and link.is_symlink()
    with pytest.raises(ZeroDivisionError), replacing(path) as new:
        new.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "new" and sorted(tmp_path.iterdir()) == [path, link]
    write_whole("/dev/null", "nothing")  # a device is written to as it is
    mask = os.umask(0o077)
    try:
        model = build(SMALL, 20, {})
        model.save_pretrained(tmp_path / "model")
    finally:
        os.umask(mask)
    assert (tmp_path / "model" / "model.safetensors").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "flags,said",
    [
        (["--steps", str(10**23)], "--steps 100000000000000000000000 is too large"),
        (["--seed", str(2**64)], "is too large"),
        (["--threads", "99999999"], "--threads 99999999 is too large"),
        (["--temperature", "1e999"], "--temperature must be a finite number, not inf"),
        (["--temperature", "nan"], "--temperature must be a finite number, not nan"),
    ],
)
def test_numbers_that_nobody_can_mean(data, tmp_path, capsys, flags, said):
    assert main(["sample", str(tmp_path), *flags]) == 2
    assert said in capsys.readouterr().err


def test_streams_that_are_closed_and_links(tmp_path):
    text, model = tmp_path / "a.txt", build(SMALL, 20, {})
    text.write_text("abcdefgh" * 99)
    model.save_pretrained(tmp_path / "model")
    command = f"{sys.executable} -m unmask prepare text a.txt"
    for end, code in ((">&-", 2), ("2>&-", 0), ("", 2)):
        shell = f"exec {command} {'link' if not end else 'data'} {end}"
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to("nowhere")
        done = subprocess.run(
            ["sh", "-c", shell], cwd=tmp_path, capture_output=True, encoding="utf-8"
        )
        assert done.returncode == code and "Traceback" not in done.stderr, (end, done.stderr)


def test_what_stands_in_a_redirected_file_is_not_lost(tmp_path):
    """/dev/stdout is a file there, and not one to be replaced."""
    out = tmp_path / "all.txt"
    out.write_text("years of work\n")
    code = (
        "from unmask.files import write_whole; write_whole('/dev/stdout', 'more\\n'); print('end')"
    )
    command = f'exec {sys.executable} -c "{code}" >> {out}'
    assert subprocess.run(["sh", "-c", command]).returncode == 0
    assert out.read_text() == "years of work\nmore\nend\n"


def test_a_private_file_stays_private_and_long_names_are_written(tmp_path):
    path, long = tmp_path / "a.txt", tmp_path / ("n" * 250 + ".txt")
    path.write_text("old")
    path.chmod(0o600)
    for each in (path, long):
        write_whole(each, "new")
        assert each.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(tmp_path.iterdir()) == [path, long]


@pytest.mark.skipif(os.name == "nt", reason="permissions are other ones there")
def test_a_private_folder_stays_private(text_run, tmp_path):
    """Of data and of a model; also one that its owner had not meant to write to."""
    for mode, made in ((0o700, 0o700), (0o550, 0o750)):
        out = tmp_path / f"{mode:o}"
        out.mkdir()
        out.chmod(mode)
        with new_folder(out) as folder:
            assert folder.stat().st_mode & 0o777 == made
            (folder / "a").write_text("")
        assert out.stat().st_mode & 0o777 == made and (out / "a").exists()
    model, path = unmask.MaskedDiffusion.from_pretrained(text_run), tmp_path / "model"
    model.save_pretrained(path)
    path.chmod(0o700)
    model.save_pretrained(path)
    assert path.stat().st_mode & 0o777 == 0o700


def test_the_current_folder_is_not_replaced(tmp_path, monkeypatch, capsys):
    """The shell would stand in one that is gone."""
    (tmp_path / "a.txt").write_text("to be or not to be\n" * 50)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main(["prepare", "text", "../a.txt", "."]) == 2
    assert "name a folder inside it" in capsys.readouterr().err
    assert Path.cwd() == tmp_path / "here" and main(["prepare", "text", "../a.txt", "d"]) == 0


@pytest.mark.parametrize(
    "name",
    ["数" * 82, "数" * 80 + ".txt", "1." + "数" * 80, "n" * 250 + ".txt"],
    ids=["folder", "file", "long ending", "ascii"],
)
def test_file_systems_count_the_bytes_of_a_name(tmp_path, name):
    """Of which they have 255: what is written beside has a name that fits, too."""
    path = tmp_path / os.fsdecode(name.encode())
    with replacing(path) as new:
        assert new.name.startswith(".") and len(os.fsencode(new.name)) <= 255
        new.write_text("whole")
    assert path.read_text() == "whole"
    path.unlink()
    with new_folder(path) as folder:
        (folder / "a").write_text("")
    assert [one.name for one in tmp_path.iterdir()] == [path.name] and (path / "a").exists()


class Windows:
    """`os` as it is there: it opens no folders, and flushes only what may be written to."""

    name, writable = "nt", set()

    def __getattr__(self, name):
        return getattr(os, name)

    def open(self, path, flags):
        if os.path.isdir(path):
            raise PermissionError(13, "Permission denied")
        number = os.open(path, flags)
        self.writable = {number} if flags & os.O_RDWR else set()
        return number

    def fsync(self, number):
        if number not in self.writable:
            raise OSError(9, "Bad file descriptor")
        os.fsync(number)


def test_files_are_flushed_as_windows_has_it(tmp_path, monkeypatch):
    write_whole(tmp_path / "a", "content")
    monkeypatch.setattr(unmask.files, "os", Windows())
    for path in (tmp_path / "a", tmp_path, tmp_path / "nothing"):
        flush(path)
    assert (tmp_path / "a").read_text() == "content"


def test_a_last_line_without_its_end_is_not_glued_to_the_next(data, tmp_path, monkeypatch):
    run = tmp_path / "run"
    half(data, run, monkeypatch, steps=9)
    log = run / "log.jsonl"
    log.write_bytes(log.read_bytes().removesuffix(b"\n"))
    train(STEPWISE, data, run)
    assert [row["step"] for row in read_log(log) if "loss" in row] == [4, 8, 12]


def test_a_log_is_json_without_the_numbers_that_are_not_finite(tmp_path):
    log = Log(tmp_path / "log.jsonl", 0)
    log.write(step=1, loss=math.inf, norm=-math.inf, bits=math.nan, rate=1 / 3)
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line, parse_constant=pytest.fail) == {"step": 1, "rate": 0.333333}


def test_tokens_that_cannot_be_kept_are_an_error_before_training(copy, tmp_path):
    meta = json.loads((copy / "meta.json").read_text())
    del meta["tokenizer"]["alphabet"]
    (copy / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(ValueError, match="damaged"):
        train(SMALL, copy, tmp_path / "run")
    assert not (tmp_path / "run").exists()
