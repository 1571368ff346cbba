"""What several test files use."""

import os

import pytest

# of commands that do not say: the machine's own choice decides nothing here
os.environ.setdefault("UNMASK_DTYPE", "float32")

from unmask.data import prepare_text


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder of prepared data: 28 characters."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 200)
    prepare_text(folder / "text.txt", folder / "data", tokenizer="characters", progress=False)
    return folder / "data"
