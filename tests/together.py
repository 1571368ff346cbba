"""Runs, one after the other, in each of several processes: torchrun tests/together.py RUNS.json

RUNS.json: a list of objects with the fields of a TrainConfig, the folder of the data, the run's
folder and perhaps `stop` or `kill`: the step at which the first process gets Ctrl-C, or the last
one SIGKILL, if torchrun has not restarted it yet; `chunk`, the logits that exist at a time;
`harm`, what becomes of the first piece of a checkpoint once it is written; or `skew`, by how much
the clock of each process is faster than that of the one before.
"""

import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import unmask.kernels.rows
import unmask.train.distributed
import unmask.train.loop
from unmask.config import TrainConfig
from unmask.processes import together
from unmask.train import train

step = unmask.train.loop.train_step
clock = time.monotonic
read_back = unmask.train.distributed.read_back
run: dict = {}


def interrupted(config, data, state, fall):
    first, last = state.processes.rank == 0, state.processes.rank == state.processes.size - 1
    if first and state.step == run.get("stop"):
        os.kill(os.getpid(), signal.SIGINT)
    if last and state.step == run.get("kill") and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    return step(config, data, state, fall)


def harmed(folder, sizes, into):
    first = min(folder.iterdir())
    if run.get("harm") == "lost":
        first.unlink()
    elif run.get("harm") == "cut":
        first.write_bytes(first.read_bytes()[:-1])
    read_back(folder, sizes, into)


unmask.train.loop.train_step = interrupted
unmask.train.distributed.read_back = harmed
with together():
    for run in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        unmask.kernels.rows.CHUNK["cpu"] = run.get("chunk", 2**24)
        # each process has a clock of its own
        rate = 1 + int(os.environ["RANK"]) * run.get("skew", 0)
        time.monotonic = lambda rate=rate: clock() * rate
        with suppress(KeyboardInterrupt):
            try:
                train(TrainConfig(**run["config"]), run["data"], run["out"])
            except OSError as error:
                if "harm" not in run:
                    raise
                print(f"{run['harm']}: {error}", file=sys.stderr)
sys.stderr.flush()
os._exit(0)  # as `python -m unmask` ends
