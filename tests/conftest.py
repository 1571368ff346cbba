"""What several test files use."""

import os

import pytest

# of commands that do not say: the machine's own choice decides nothing here
os.environ.setdefault("UNMASK_DTYPE", "float32")

from unmask.config import TrainConfig
from unmask.data import prepare_text
from unmask.train import train


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder of prepared data: 28 characters."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 200)
    prepare_text(folder / "text.txt", folder / "data", tokenizer="characters", progress=False)
    return folder / "data"


@pytest.fixture(scope="session")
def text_run(data, tmp_path_factory):
    """A run of two steps on `data`: a model of text, for what is not for text."""
    config = TrainConfig(
        length=8, dim=16, layers=1, heads=2, batch_size=4, steps=2, eval_windows=8,
        dtype="float32", device="cpu",
    )  # fmt: skip
    return train(config, data, tmp_path_factory.mktemp("text-run") / "run").parents[1]
