"""A run shared by several processes is the run of one, to the rounding of sums."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from test_images import BUNDLED

import unmask
from unmask import checkpoint
from unmask.cli import main
from unmask.config import TrainConfig
from unmask.data import prepare_images
from unmask.evaluation.counted import Counted
from unmask.evaluation.until import Kept, batches_in
from unmask.processes import Processes
from unmask.train import State, build, read_log, train
from unmask.train.loop import opened, untrained
from unmask.train.shards import read_shards, shards_of

SMALL = TrainConfig(
    length=16, dim=16, layers=2, heads=2, batch_size=16, dropout=0.1, steps=20, warmup=5,
    accumulate=4, eval_minutes=0, eval_windows=40, log_every=10, dtype="float32", device="cpu",
    threads=1,
)  # fmt: skip
CASES = {
    "text": SMALL,
    "text, in chunks": replace(SMALL, steps=10),  # of the head's rows
    "bfloat16": replace(SMALL, dtype="bfloat16", steps=10),
    "learned": replace(SMALL, schedule="learned", time=True, steps=10),
    "digits": replace(SMALL, digits=2, optimizer="adamw", steps=10),
    "unet": replace(
        SMALL,
        network="unet",
        widths="8,16",
        blocks=1,
        layers=1,
        length=0,
        batch_size=8,
        traits=True,
        steps=10,
    ),
}
MINUTES = replace(SMALL, steps=0, minutes=0.03)
SHARDED = {f"{name}, sharded": replace(config, shard=True) for name, config in CASES.items()}
LOOPBACK = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
OURS = {**os.environ, **LOOPBACK, "OMP_NUM_THREADS": "1"}
OURS["PYTHONPATH"] = str(Path(unmask.__file__).parents[1])


def torchrun(*command, processes=2, restarts=0):
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    start += [f"--max-restarts={restarts}", "--"]
    return subprocess.run(
        [sys.executable, *start, *map(str, command)],
        env=OURS, capture_output=True, encoding="utf-8", timeout=240,
    )  # fmt: skip


def run_together(home, runs, **how):
    """Train in several processes: (config, data, folder) and what is to happen, of each run."""
    listed = [
        {"config": asdict(config), "data": str(data), "out": str(out), **happens}
        for config, data, out, happens in runs
    ]
    (home / "runs.json").write_text(json.dumps(listed))
    done = torchrun(Path(__file__).with_name("together.py"), home / "runs.json", **how)
    assert done.returncode == 0, done.stderr[-5000:]
    return done


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """Folders of runs in two processes, and of one; all are run at once."""
    home = tmp_path_factory.mktemp("runs")
    pictures = home / "pictures"
    digits = BUNDLED / "digits-images-idx3-ubyte.gz"
    prepare_images(digits, pictures, levels=5, split="0.9,0.05,0.05", progress=False)
    of = {name: pictures if name.startswith("unet") else data for name in CASES | SHARDED}
    every = CASES | SHARDED
    few = {"text, in chunks": 512}
    run_together(
        home,
        [
            (every[name], of[name], home / name, {"chunk": few.get(name.split(", sh")[0], 2**24)})
            for name in every
        ]
        + [
            (replace(MINUTES, shard=shard), data, home / f"minutes {shard}", {"skew": 0.5})
            for shard in (False, True)
        ],
    )
    for name, config in CASES.items():
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(unmask.kernels.rows.CHUNK, "cpu", few.get(name, 2**24))
            train(config, of[name], home / f"{name}, alone")
    return home


def newest(run):
    return checkpoint.checkpoints(run)[-1]


def state_of(folder):
    """All that is in a checkpoint, whole."""
    config, tensors = checkpoint.load(folder, "model.safetensors")
    if "training.safetensors" in config["sha256"]:
        return tensors | checkpoint.load(folder, "training.safetensors")[1]
    fields = config["training"]["run"]["identity"]
    known = {name: value for name, value in fields.items() if name in asdict(SMALL)}
    run = replace(SMALL, **known)
    state = State(build(run, config["subtokenizer"]["vocab_size"], config["meta"]), run)
    state.load(folder)
    return tensors | state.tensors()


def assert_close(ours, theirs):
    assert ours.keys() == theirs.keys()
    for key, tensor in ours.items():
        assert tensor.dtype == theirs[key].dtype
        largest = float((tensor.double() - theirs[key].double()).abs().max())
        assert largest <= 1e-3 * float(tensor.abs().max()), (key, largest)


@pytest.mark.parametrize("name", [*CASES, *SHARDED])
def test_what_two_processes_train_is_what_one_does(runs, name):
    alone, shared = runs / f"{name.removesuffix(', sharded')}, alone", runs / name
    steps = CASES[name.removesuffix(", sharded")].steps
    assert newest(alone).name == newest(shared).name == f"{steps:08d}"
    assert_close(state_of(newest(alone)), state_of(newest(shared)))
    rows = [read_log(run / "log.jsonl") for run in (alone, shared)]
    assert len(rows[0]) == len(rows[1]) == steps // 10 + 1
    for a, b in zip(*rows, strict=True):
        assert a.keys() == b.keys() and a["step"] == b["step"]
        for key in a.keys() - {"seconds", "rate"}:
            assert a[key] == pytest.approx(b[key], rel=1e-3), key


@pytest.mark.parametrize("shard", [False, True])
def test_processes_agree_on_a_number_of_steps_though_their_clocks_do_not(runs, shard):
    run = runs / f"minutes {shard}"
    said = json.loads((run / "run.json").read_text())
    assert int(newest(run).name) == said["steps"] > 0 and said["fall"]["left"] <= 1
    assert [row["step"] for row in read_log(run / "log.jsonl") if "bits" in row][-1] == said[
        "steps"
    ]


def test_a_sharded_run_continues_in_any_number_of_processes(runs, data, tmp_path):
    """Three, then two, then one; its checkpoints are written while it goes on."""
    config = replace(SMALL, accumulate=6, batch_size=18, checkpoint_minutes=0.001, steps=12)
    sharded = replace(config, shard=True)
    run, alone = tmp_path / "run", tmp_path / "alone"
    run_together(tmp_path, [(sharded, data, run, {"stop": 3})], processes=3)
    assert newest(run).name == "00000004"
    assert len(shards_of(newest(run))) == 3
    run_together(tmp_path, [(sharded, data, run, {"stop": 7})], processes=2)
    assert newest(run).name == "00000008" and len(shards_of(newest(run))) == 2
    train(config, data, run)
    train(config, data, alone)
    assert newest(run).name == "00000012" and not shards_of(newest(run))
    assert_close(state_of(newest(alone)), state_of(newest(run)))
    assert not [path for path in run.rglob(".*.new-*")]


@pytest.mark.parametrize("shard,signum", [([], signal.SIGINT), (["--shard"], signal.SIGTERM)])
def test_a_signal_stops_all_processes_with_a_checkpoint(data, tmp_path, shard, signum):
    """From a terminal, or a cluster, it reaches torchrun and the processes, and torchrun passes it
    on."""
    flags = ["--length", "16", "--dim", "16", "--layers", "1", "--heads", "2", "--batch-size", "8"]
    flags += [
        "--minutes",
        "0",
        "--steps",
        "100000",
        "--log-every",
        "5",
        "--dtype",
        "float32",
        *shard,
    ]
    flags += ["--data", str(data), "--out", str(tmp_path / "run"), *shard]
    start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--", "-m"]
    process = subprocess.Popen(
        [sys.executable, *start, "unmask", "train", "demo", *flags],
        env=OURS, stderr=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8",
        start_new_session=True,
    )  # fmt: skip
    log = tmp_path / "run" / "log.jsonl"
    began = time.monotonic()
    while not log.exists() and time.monotonic() - began < 100:
        time.sleep(0.01)
    os.killpg(process.pid, signum)
    _, said = process.communicate(timeout=100)
    assert process.returncode != 0 and "the same command continues from" in said
    assert "this is a bug" not in said
    (folder,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert f"stopped at step {int(folder.name)};" in said
    state_of(folder)


def test_a_piece_that_was_changed_is_noticed(runs, tmp_path):
    run = shutil.copytree(runs / "text, sharded", tmp_path / "run")
    folder = newest(run)
    path = folder / shards_of(folder)[1]
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="shard-00002.* is damaged or altered"):
        state_of(folder)
    path.unlink()
    with pytest.raises(ValueError, match="shard-00002.* is missing"):
        state_of(folder)
    unmask.MaskedDiffusion.from_pretrained(folder)  # whole, in a file of its own


def test_pieces_that_are_lost_or_cut_before_a_checkpoint_has_its_name(data, tmp_path):
    """What is missing would be read as whatever was there before."""
    config = replace(SMALL, steps=3, shard=True)
    every = [(config, data, tmp_path / harm, {"harm": harm}) for harm in ("lost", "cut")]
    said = run_together(tmp_path, every).stderr
    assert re.search(
        r"lost: a checkpoint cannot be written: its pieces hold \d+ values of .*: "
        f"every process must see {tmp_path}/lost/checkpoints",
        said,
    )
    assert "cut: a checkpoint cannot be written: Error while deserializing header" in said
    assert not [
        path for harm in ("lost", "cut") for path in (tmp_path / harm).glob("checkpoints/*")
    ]


def test_pieces_of_something_else_do_not_fit(runs, tmp_path):
    folder = Path(shutil.copytree(newest(runs / "text, sharded"), tmp_path / "of"))
    names = shards_of(folder)
    weight = {"averaged.backbone.embed.weight": torch.zeros(29, 16)}
    read_shards(folder, names, weight)
    for other in ({"other": torch.zeros(3)}, {name: w[1:] for name, w in weight.items()}):
        with pytest.raises(ValueError, match="of does not fit this run, .* its pieces hold"):
            read_shards(folder, names, other)
    (folder / names[0]).unlink()
    with pytest.raises(ValueError, match="hold [0-9]+ values of .*weight, not 464"):
        read_shards(folder, names[1:], weight, verified=True)


@pytest.mark.parametrize("shard", [False, True])
def test_a_run_goes_on_when_a_process_is_killed(runs, data, tmp_path, shard):
    """SIGKILL of one of two, which torchrun starts again: the same bits as undisturbed."""
    config = replace(SMALL, steps=14, checkpoint_minutes=0.001, shard=shard)
    every = [
        (config, data, tmp_path / "killed", {"kill": 8}),
        (config, data, tmp_path / "whole", {}),
    ]
    run_together(tmp_path, every, restarts=1)
    ours, theirs = (state_of(newest(tmp_path / name)) for name in ("killed", "whole"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def record_of(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    return {name: record[name] for name in record.keys() - {"command", "seconds"}}


@pytest.mark.parametrize("estimator", ["bound", "orders"])
def test_what_several_processes_evaluate_is_what_one_does(runs, data, tmp_path, estimator):
    command = ["-m", "unmask", "eval", runs / "text, alone", "--data", data, "--limit", "23"]
    command += ["--batch-size", "8", "--repeats", "2", "--estimator", estimator, "--dtype"]
    command += ["float32", "--threads", "1", "--json"]
    done = torchrun(*command, tmp_path / "two.json")
    assert done.returncode == 0, done.stderr[-3000:]
    alone = subprocess.run(
        [sys.executable, *map(str, command), str(tmp_path / "one.json")],
        env=OURS, capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert done.stdout == alone.stdout and alone.stdout.count("upper bound") == 1
    one, two = record_of(tmp_path / "one.json"), record_of(tmp_path / "two.json")
    assert one["n"] == 23
    examples = [record.pop("examples")["sha256"] for record in (one, two)]
    assert one == two and examples[0] == examples[1]


def test_several_processes_go_on_with_what_one_has_drawn(runs, data, tmp_path, monkeypatch):
    """It was stopped within a pass, whose batches they share in another way."""
    command = ["eval", str(runs / "text, alone"), "--data", str(data), "--limit", "41"]
    command += ["--batch-size", "4", "--dtype", "float32", "--threads", "1", "--device", "cpu"]

    def evaluated(name, *flags):
        assert main([*command, *flags, "--json", str(tmp_path / name)]) == 0
        return json.loads((tmp_path / name).read_text(encoding="utf-8"))

    batches = -(-evaluated("few.json", "--repeats", "2")["n"] // 4)
    windows, left = Counted.__iter__, batches + batches // 2

    def some(self):
        nonlocal left
        for batch in windows(self):
            left -= 1
            if left < 0:
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch:
        patch.setattr(Counted, "__iter__", some)
        stopped = [*command, "--error", "1e-12", "--json", str(tmp_path / "e.json")]
        assert main(stopped) == 130
    arrays = Kept(tmp_path / "e.json.draws.npz", {}).arrays()
    drawn = len(arrays["draws"])
    assert list(batches_in(arrays)) == list(range(batches // 2)) != []
    noise = evaluated("now.json", "--repeats", str(drawn))["noise"]
    flags = ["--error", str(0.9 * noise), "--json", tmp_path / "e.json"]
    done = torchrun("-m", "unmask", *command, *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    assert found["repeats"] > drawn
    same = evaluated("one.json", "--repeats", str(found["repeats"]))
    assert found["value"] == same["value"] and found["noise"] == same["noise"]


def test_what_several_processes_sample_is_what_one_does(runs, tmp_path):
    command = ["-m", "unmask", "sample", runs / "text, alone", "--num", "9", "--steps", "8"]
    command += ["--dtype", "float32", "--threads", "1", "--device", "cpu"]
    done = torchrun(*command, processes=3)
    assert done.returncode == 0, done.stderr[-3000:]
    alone = subprocess.run(
        [sys.executable, *map(str, command)],
        env=OURS, capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert done.stdout == alone.stdout and len(alone.stdout) > 9 * 16


def test_what_several_processes_cannot_share_is_refused(runs, data, tmp_path):
    done = torchrun("-m", "unmask", "audit", runs / "text, alone")
    assert done.returncode != 0
    assert "audit is no work for several processes: leave out torchrun" in done.stderr
    flags = ["--data", data, "--accumulate", "3", "--batch-size", "6", "--out", tmp_path / "run"]
    done = torchrun("-m", "unmask", "train", "demo", *flags)
    assert (
        "the 3 micro-batches a step (--accumulate) cannot be shared by 2 processes" in done.stderr
    )
    assert "unmask train (process 1): the first process has stopped" in done.stderr
    assert "this is a bug" not in done.stderr and "cli/main.py" not in done.stderr
    assert not (tmp_path / "run" / "run.json").exists()


def test_what_never_reached_a_checkpoint_is_shared_anew(data, tmp_path):
    """Eight processes died early, and three take their place."""
    config, loaded, model = untrained(replace(SMALL, accumulate=1, batch_size=24), data)
    for processes in (8, 3):
        with ExitStack() as held:
            shared, run = opened(config, loaded, model, tmp_path / "run", processes, held, None)
        assert shared.accumulate == run["identity"]["accumulate"] == processes


def test_shares_and_pieces():
    for size in (1, 2, 3, 5):
        every = [Processes(rank, size) for rank in range(size)]
        assert sorted(i for one in every for i in one.share(7)) == list(range(7))
        whole = torch.arange(14).view(7, 2)
        assert torch.equal(torch.cat([one.piece(whole) for one in every]), whole)
        pieces = [one.piece(whole) for one in every]
        assert [len(p) for p in pieces if len(p)] == [len(c) for c in whole.chunk(size)]
