"""Checkpoints of MD4 as Orbax writes them, read by tensorstore alone."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tokenizers
import torch
from pages import run_page
from safetensors.torch import save_file

from unmask.importers import md4
from unmask.importers.sources import OfMD4
from unmask.importers.torch_files import TorchFile

pytest.importorskip("tensorstore")
WORK = "50%41 a work#1"  # as no URL is
GOLDEN = Path(__file__).parents[1] / "golden" / "foreign"


def vocabulary(path, size):
    """A tokenizer .json of single letters and a mark that ends a text."""
    letters = {"abcdefghijklmnopqrstuvwxyz"[i]: i for i in range(size - 1)}
    model = tokenizers.models.BPE(letters | {"<|endoftext|>": size - 1}, [])
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.save(str(path))


def test_the_commands_of_the_page_run(work, tmp_path):
    """Each on the reference's tiny file of its layout; that of MD4 has a token more."""
    shutil.copy(GOLDEN / "mdlm" / "mdlm.ckpt", tmp_path)
    state = TorchFile(GOLDEN / "mdlm" / "mdlm.ckpt").content["state_dict"]
    (tmp_path / "mdlm-owt").mkdir()
    shutil.copy(GOLDEN / "mdlm" / "hf" / "config.json", tmp_path / "mdlm-owt")
    tensors = {name: one.read() for name, one in state.items()}
    save_file(tensors, tmp_path / "mdlm-owt" / "model.safetensors")
    shutil.copytree(GOLDEN / "sedd" / "run", tmp_path / "exp_local" / "run")
    shutil.copytree(GOLDEN / "radd" / "run", tmp_path / "radd-lambda-dce")
    shutil.copytree(GOLDEN / "prime" / "results_prime_l2_owt", tmp_path / "results_prime_l4_owt")
    shutil.copytree(work, tmp_path / "workdir")
    vocabulary(tmp_path / "gpt2", 10)
    vocabulary(tmp_path / "eleven.json", 11)
    (tmp_path / "wiki.txt").write_text("abcdefghihgfedcba" * 40)
    swaps = {"md4 --tokenizer gpt2": "md4 --tokenizer eleven.json"}
    said = run_page("coming-from.md", tmp_path, swaps, only="sh")
    assert said.count("averaged (EMA)") == 7 and "bits per token" in said
    assert all((tmp_path / name / "config.json").is_file() for name in ("sedd", "radd", "md4"))


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
