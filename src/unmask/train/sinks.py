"""Where the rows of log.jsonl also go, if that is asked for: a board of one's own.

Both are extras, and nothing leaves the machine.
"""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol


class Sink(Protocol):
    """Takes the rows of a run's log, one by one."""

    def write(self, step: int, row: dict[str, float]) -> None: ...

    def close(self) -> None: ...


class TensorBoard:
    """Event files in the run's folder: `tensorboard --logdir RUN` shows them.

    `step`: of a run that continues; what an interrupted one wrote beyond it is not shown.
    """

    def __init__(self, out: Path, settings: dict[str, Any], step: int):
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(out / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, row: dict[str, float]) -> None:
        for name, value in row.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class Wandb:
    """A run of Weights & Biases that is kept offline, in the run's folder.

    `wandb sync RUN/wandb/offline-run-...` sends it, if its user wants that.  Neither the code, nor
    the machine's load, nor what is printed is in it.
    """

    def __init__(self, out: Path, settings: dict[str, Any], step: int):
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # it would be by network
        import wandb

        quiet: dict[str, Any] = {
            "console": "off", "silent": True, "disable_git": True, "disable_code": True,
            "x_disable_stats": True, "x_disable_meta": True,
        }  # fmt: skip
        self.run = wandb.init(
            project="unmask",
            name=out.resolve().name,
            dir=str(out),
            mode="offline",
            config=settings,
            settings=wandb.Settings(**quiet),
        )

    def write(self, step: int, row: dict[str, float]) -> None:
        self.run.log(row, step=step)

    def close(self) -> None:
        self.run.finish()


SINKS: dict[str, Callable[[Path, dict[str, Any], int], Sink]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
}


def check_sink(name: str) -> None:
    """ValueError for one that is not installed."""
    # a bare folder of that name has no origin
    if name and getattr(importlib.util.find_spec(name), "origin", None) is None:
        raise ValueError(f"--log {name}: {name} is not installed: pip install 'unmask[{name}]'")
