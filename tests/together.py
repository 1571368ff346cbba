"""Runs, one after the other, in each of several processes: torchrun tests/together.py RUNS.json

RUNS.json: a list of (fields of a TrainConfig, the folder of the data, the run's folder).
"""

import json
import sys
from pathlib import Path

from unmask.config import TrainConfig
from unmask.processes import together
from unmask.train import train

with together():
    for fields, data, out in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")):
        train(TrainConfig(**fields), data, out)
