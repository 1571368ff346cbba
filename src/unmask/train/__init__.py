"""Training: a model is built, and a loop runs in a folder from which it continues."""

from unmask.train.build import build, compile_network
from unmask.train.loop import train, train_step
from unmask.train.run import last_row, read_log
from unmask.train.state import State

__all__ = ["State", "build", "compile_network", "last_row", "read_log", "train", "train_step"]
