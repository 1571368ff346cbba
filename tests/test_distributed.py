"""A run shared by several processes is the run of one, to the rounding of sums."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from test_images import BUNDLED
from test_train import weights

import unmask
from unmask.config import TrainConfig
from unmask.data import prepare_images
from unmask.train import read_log, train

SMALL = TrainConfig(
    length=16, dim=16, layers=2, heads=2, batch_size=16, dropout=0.1, steps=50, warmup=5,
    accumulate=4, eval_minutes=0, eval_windows=40, log_every=10, dtype="float32", device="cpu",
    threads=1,
)  # fmt: skip
CASES = {
    "text": SMALL,
    "learned": replace(SMALL, schedule="learned", time=True),
    "digits": replace(SMALL, digits=2, optimizer="adamw"),
    "unet": replace(
        SMALL, network="unet", widths="8,16", blocks=1, layers=1, length=0, batch_size=8
    ),
}
SHARDED = {f"{name}, sharded": replace(config, shard=True) for name, config in CASES.items()}
OURS = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(unmask.__file__).parents[1])}


def torchrun(*command, processes=2, **how):
    start = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [sys.executable, *start, *map(str, command)],
        env=OURS, capture_output=True, encoding="utf-8", **how,
    )  # fmt: skip


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """Folders of runs in two processes, and of one; all are run at once."""
    home = tmp_path_factory.mktemp("runs")
    pictures = home / "pictures"
    digits = BUNDLED / "digits-images-idx3-ubyte.gz"
    prepare_images(digits, pictures, levels=5, split="0.9,0.05,0.05", progress=False)
    of = {name: pictures if name.startswith("unet") else data for name in CASES | SHARDED}
    several = [
        (asdict(config), str(of[name]), str(home / name))
        for name, config in (CASES | SHARDED).items()
    ]
    (home / "runs.json").write_text(json.dumps(several))
    done = torchrun(Path(__file__).with_name("together.py"), home / "runs.json")
    assert done.returncode == 0, done.stderr[-5000:]
    for name, config in CASES.items():
        train(config, of[name], home / f"{name}, alone")
    return home


@pytest.mark.parametrize("name", [*CASES, *SHARDED])
def test_fifty_steps_in_two_processes_are_those_of_one(runs, name):
    alone, shared = runs / f"{name.removesuffix(', sharded')}, alone", runs / name
    (one,), (other,) = ((run / "checkpoints").iterdir() for run in (alone, shared))
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys() and one.name == other.name == "00000050"
    for key, tensor in ours.items():
        assert tensor.dtype == theirs[key].dtype
        largest = float((tensor.double() - theirs[key].double()).abs().max())
        assert largest <= 1e-3 * float(tensor.abs().max()), (key, largest)
    rows = [read_log(run / "log.jsonl") for run in (alone, shared)]
    assert len(rows[0]) == len(rows[1]) == 6
    for a, b in zip(*rows, strict=True):
        assert a.keys() == b.keys() and a["step"] == b["step"]
        for key in a.keys() - {"seconds", "rate"}:
            assert a[key] == pytest.approx(b[key], rel=1e-3), key
