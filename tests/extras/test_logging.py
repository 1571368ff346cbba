"""What a run also writes for TensorBoard and for Weights & Biases is its log, read back."""

import importlib.util
import json
import math
import signal
import struct
from dataclasses import replace

import pytest

from unmask.cli import main
from unmask.config import BUILT, TrainConfig
from unmask.data import prepare_text
from unmask.train import read_log, train

SMALL = TrainConfig(
    length=8, dim=16, layers=1, heads=2, batch_size=4, steps=6, eval_windows=8, log_every=2,
    dtype="float32", device="cpu",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 100)
    prepare_text(folder / "text.txt", folder / "data", tokenizer="characters", progress=False)
    return folder / "data"


def scalars(out):
    """{name: {step: value}} of TensorBoard's event files, as its own reader has them, each step
    once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(out / "tensorboard"))
    events.Reload()
    found = {}
    for name in events.Tags()["scalars"]:
        values = events.Scalars(name)
        found[name] = {event.step: event.value for event in values}
        assert len(found[name]) == len(values)
    return found


def logged(out):
    found = {}
    for row in read_log(out / "log.jsonl"):
        for name in row.keys() - {"step", "seconds"}:
            found.setdefault(name, {})[row["step"]] = row[name]
    return found


def test_tensorboard_has_the_rows_of_the_log(data, tmp_path):
    before = train(SMALL, data, tmp_path / "plain")
    folder = train(replace(SMALL, log="tensorboard"), data, tmp_path / "run")
    weights = [(one / "model.safetensors").read_bytes() for one in (before, folder)]
    assert weights[0] == weights[1]  # logging changes no number
    expected, found = logged(tmp_path / "run"), scalars(tmp_path / "run")
    assert {"loss", "norm", "rate", "bits", "noise"} <= set(expected) == set(found)
    for name, values in expected.items():
        assert found[name].keys() == values.keys(), name
        for step, value in values.items():
            assert found[name][step] == pytest.approx(value, rel=1e-6), (name, step)
    assert not (tmp_path / "plain" / "tensorboard").exists()


def test_a_run_that_continues_shows_each_step_once(data, tmp_path, monkeypatch):
    """The log of an interrupted run goes beyond its last checkpoint; what follows replaces that."""
    from unmask.train import loop

    real = loop.train_step

    def stops(config, data, state, fall):
        if state.step == 4 and stop:
            raise KeyboardInterrupt
        return real(config, data, state, fall)

    stop = True
    monkeypatch.setattr(loop, "train_step", stops)
    config = replace(SMALL, log="tensorboard")
    with pytest.raises(KeyboardInterrupt):
        train(config, data, tmp_path / "run")
    assert set(scalars(tmp_path / "run")["loss"]) == {2, 4}
    stop = False
    train(config, data, tmp_path / "run")
    assert scalars(tmp_path / "run")["norm"] == pytest.approx(logged(tmp_path / "run")["norm"])


def records(path):
    """The records of an offline run: a log of LevelDB's format, of protobuf messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, at, parts = path.read_bytes(), 7, b""
    while at + 7 <= len(content):
        left = 32768 - at % 32768
        if left < 7:  # the rest of a block, too short for a header
            at += left
            continue
        size, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        parts += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def test_wandb_has_the_rows_of_the_log_offline(data, tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv("WANDB_MODE", "online")  # what is asked for here is offline
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train(replace(SMALL, log="wandb"), data, tmp_path / "run")
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    wandb.teardown()  # what it runs beside us has written all
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    found, config = {}, {}
    for record in records(file):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            assert record.run.display_name == "run" and record.run.project == "unmask"
            config |= {one.key: json.loads(one.value_json) for one in record.run.config.update}
        if kind == "history":
            items = {"/".join(i.nested_key) or i.key: i.value_json for i in record.history.item}
            for name, value in items.items():
                if not name.startswith("_"):
                    step = record.history.step.num
                    found.setdefault(name, {})[step] = json.loads(value)
    expected = logged(tmp_path / "run")
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name] == pytest.approx(values), name
    assert config["dim"] == 16 and config["steps"] == 6
    assert math.isfinite(found["bits"][6])


def test_wandb_is_told_of_no_network_that_a_run_from_a_model_does_not_have(data, tmp_path):
    import wandb

    start = train(SMALL, data, tmp_path / "start")
    plain = replace(SMALL, dim=TrainConfig.dim, layers=TrainConfig.layers, log="wandb")
    train(plain, data, tmp_path / "run", start)
    wandb.teardown()
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    told = [one.key for record in records(file) for one in record.run.config.update]
    assert "steps" in told and not set(BUILT) & set(told)


def test_what_is_not_installed_is_said_before_any_work(data, tmp_path, monkeypatch, capsys):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "wandb" else real(name)
    )
    command = ["train", "demo", "--data", str(data), "--out", str(tmp_path / "run")]
    assert main([*command, "--log", "wandb"]) == 2
    assert "wandb is not installed: pip install 'unmask[wandb]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
