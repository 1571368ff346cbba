"""What several test files use."""

import pytest

from unmask.data import prepare_text


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder of prepared data: 28 characters."""
    folder = tmp_path_factory.mktemp("text")
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 200)
    prepare_text(folder / "text.txt", folder / "data", tokenizer="characters", progress=False)
    return folder / "data"
