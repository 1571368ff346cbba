"""Checkpoints of MD4 as Orbax writes them, read by tensorstore alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from unmask.importers import md4
from unmask.importers.sources import OfMD4

pytest.importorskip("tensorstore")
WORK = "50%41 a work#1"  # as no URL is
GOLDEN = Path(__file__).parents[1] / "golden" / "foreign"


@pytest.fixture
def work(tmp_path):
    """A work folder of MD4's, with an older checkpoint beside the newest, and its configuration."""
    shutil.copytree(GOLDEN / "md4_orbax", tmp_path / WORK)
    (tmp_path / WORK / "checkpoints" / "2").mkdir()
    said = json.loads((GOLDEN / "md4" / "text_time" / "config.json").read_text())
    said |= {"feature_dim": 8, "n_layers": 1}
    (tmp_path / WORK / "config.json").write_text(json.dumps(said))
    return tmp_path / WORK


def read(source):
    return md4.read(source, OfMD4(tokenizer="ids"))


@pytest.mark.parametrize("place", ["", "checkpoints/3", "checkpoints/3/train_state"])
def test_averaged_parameters_of_a_checkpoint(work, place):
    """From any of the folders: the same network as from its parameters in an .npz."""
    found = read(work / place)
    assert found.said[1] == "its averaged (EMA) weights were taken"
    expected = np.load(GOLDEN / "md4_orbax" / "expected.npz")
    averaged = {name: expected[name] for name in expected.files if name.startswith("ema_params/")}
    np.savez(work.parent / "params.npz", **averaged)
    shutil.copy(work / "config.json", work.parent)
    other = read(work.parent / "params.npz").model.state_dict()
    ours = found.model.state_dict()
    assert ours.keys() == other.keys()
    assert all(torch.equal(ours[name], other[name]) for name in ours)


def test_a_damaged_checkpoint_is_told(work):
    state = work / "checkpoints" / "3" / "train_state"
    pieces = [path for path in (state / "ocdbt.process_0" / "d").iterdir()]
    largest = max(pieces, key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    largest.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="is damaged|no whole checkpoint of Orbax"):
        read(work)
    largest.unlink()
    with pytest.raises(ValueError, match="is damaged|no whole checkpoint of Orbax"):
        read(work)
    (state / "manifest.ocdbt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="no whole checkpoint of Orbax"):
        read(work)
