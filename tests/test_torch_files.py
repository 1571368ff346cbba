"""Files of torch.save, read without running what is in them."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from unmask.importers.torch_files import Inert, TorchFile
from unmask.importers.weights import hydra_config, open_weights, plain

GOLDEN = Path(__file__).parent / "golden" / "foreign"


class Calls:
    """Pickled as a call, which the reader of a pickle makes."""

    def __init__(self, call, *args):
        self.call, self.args = call, args

    def __reduce__(self):
        return self.call, self.args


def archive(path, pickled, **storages):
    """An archive as torch.save writes one, around any pickle."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", pickled)
        for name, content in storages.items():
            file.writestr(f"archive/data/{name}", content)
    return path


def test_tensors_come_back(tmp_path):
    """Of every type, views of one storage, a parameter, an empty one: as torch.load reads them."""
    base = torch.arange(24, dtype=torch.float32).view(4, 6)
    kept = {"all": base, "part": base[1:3, ::2], "turned": base.T, "none": torch.empty(0, 3)}
    kept["parameter"] = torch.nn.Parameter(torch.ones(2))
    kept["scalar"] = torch.tensor(3.0)
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8):
        kept[str(dtype)] = torch.arange(5).to(dtype)
    kept["bool"] = torch.tensor([True, False])
    torch.save({"state": OrderedDict(kept), "step": 7}, tmp_path / "a.pt")
    content = TorchFile(tmp_path / "a.pt").content
    assert content["step"] == 7
    expected = torch.load(tmp_path / "a.pt", weights_only=True)["state"]
    for name, tensor in expected.items():
        found = content["state"][name]
        assert tuple(found.shape) == tuple(tensor.shape)
        assert found.read().dtype == tensor.dtype and torch.equal(found.read(), tensor), name


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
def test_nothing_in_a_pickle_runs(tmp_path, protocol):
    """Functions of the system and builtins are named and called, and nothing happens; what is
    beside them is read."""
    trace = tmp_path / "ran"
    touched = f"import pathlib; pathlib.Path({str(trace)!r}).touch()"
    calls = [
        Calls(os.system, f"touch {trace}"),
        Calls(exec, touched),
        Calls(eval, f"__import__('pathlib').Path({str(trace)!r}).touch()"),
        Calls(Path.touch, trace),
    ]
    pickled = pickle.dumps({"calls": calls, "state_dict": {"step": 3}}, protocol)
    content = TorchFile(archive(tmp_path / "a.ckpt", pickled)).content
    assert not trace.exists() and content["state_dict"] == {"step": 3}
    assert all(isinstance(call, Inert) for call in content["calls"])
    pickle.loads(pickled)["calls"]  # what would run, if it were let
    assert trace.exists()


def test_what_a_pickle_may_call_cannot_be_altered(tmp_path):
    """BUILD sets attributes of what is on the stack: of the readers of tensors, it must not."""
    set_name = b"ctorch._utils\n_rebuild_tensor_v2\n(N}X\x0c\x00\x00\x00__defaults__NstbN."
    with pytest.raises(ValueError, match="not a whole file of torch.save"):
        TorchFile(archive(tmp_path / "a.pt", set_name))
    torch.save({"a": torch.ones(2)}, tmp_path / "b.pt")
    assert torch.equal(TorchFile(tmp_path / "b.pt").content["a"].read(), torch.ones(2))


STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu"


def one_tensor(count, offset, size, stride):
    """The pickle of {"a": a tensor} of a storage of `count` values."""

    def number(n):
        return b"\x8a\x08" + n.to_bytes(8, "little", signed=True)

    def numbers(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = STORAGE + number(count) + b"tQ"
    told = storage + number(offset) + numbers(size) + numbers(stride)
    return b"}X\x01\x00\x00\x00actorch._utils\n_rebuild_tensor_v2\n(" + told + b"\x89NtRs."


@pytest.mark.parametrize(
    "count, offset, size, stride",
    [(4, 1, (4,), (1,)), (4, 0, (2, 3), (2, 1)), (4, 0, (2**20, 2**20), (0, 0)), (9, 0, (9,), (1,)),
     (2**60, 0, (1,), (1,)), (4, 0, (2**61,), (2**61,)), (4, -1, (1,), (1,)), (4, 0, (1, 1), (1,))],
)  # fmt: skip
def test_tensors_that_their_bytes_do_not_hold_are_refused(tmp_path, count, offset, size, stride):
    """And none is made by repeating a few values: 2**40 of them, say."""
    path = archive(tmp_path / "a.pt", one_tensor(count, offset, size, stride), **{"0": bytes(16)})
    with pytest.raises(ValueError, match=r"a\.pt"):
        TorchFile(path).content["a"].read()


def test_a_tensor_that_they_hold_is_read(tmp_path):
    path = archive(tmp_path / "a.pt", one_tensor(4, 1, (3,), (1,)), **{"0": bytes(16)})
    assert torch.equal(TorchFile(path).content["a"].read(), torch.zeros(3))


def test_other_files_are_refused_in_a_sentence(tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    whole = (GOLDEN / "duo" / "duo.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.ckpt").write_text("no archive")
    archive(tmp_path / "bad.ckpt", b"\x80\x02garbage")
    with zipfile.ZipFile(tmp_path / "other.ckpt", "w") as file:
        file.writestr("a/b", b"")
    for name in ("old.pt", "cut.ckpt", "text.ckpt", "bad.ckpt", "other.ckpt"):
        with pytest.raises(ValueError, match=f"{name} is not a whole file of torch.save: .*again"):
            TorchFile(tmp_path / name)


def test_a_missing_or_short_storage_is_told(tmp_path):
    pickled = one_tensor(4, 0, (4,), (1,))
    found = TorchFile(archive(tmp_path / "a.pt", pickled)).content["a"]
    with pytest.raises(ValueError, match="storage 0 is missing"):
        found.read()
    found = TorchFile(archive(tmp_path / "b.pt", pickled, **{"0": bytes(12)})).content["a"]
    with pytest.raises(ValueError, match="storage 0 has 12 bytes, and is of 4 values"):
        found.read()


def test_settings_survive_in_what_stands_for_their_objects():
    """OmegaConf's objects, without OmegaConf: nested settings, and the tokenizer's JSON."""
    weights = open_weights(GOLDEN / "mdlm" / "mdlm.ckpt")
    assert weights.settings["model"] | {"length": 12, "n_heads": 2} == weights.settings["model"]
    assert weights.settings["time_conditioning"] is False
    assert weights.settings["parameterization"] == "subs"
    assert '"<|endoftext|>":9' in weights.tokenizer and weights.mask_token == ""
    assert len(weights.averaged) == 30 and len(weights.tensors) == 31


def test_settings_that_hold_each_other_end():
    """One mapping in two places, sixty times over, and one inside itself."""
    found: dict = {}
    for _ in range(60):
        found = {"a": found, "b": found}
    ring: dict = {}
    ring["again"] = ring
    said = plain(found, {})
    assert said["a"] is said["b"] and said["a"].keys() == {"a", "b"}
    assert plain(ring, {})["again"].keys() == {"again"}


def test_a_runs_settings_are_read():
    assert hydra_config(GOLDEN / "nowhere") == {}
    said = hydra_config(GOLDEN / "sedd" / "run" / ".hydra" / "config.yaml")
    assert said["graph"]["type"] == "absorb" and said["tokens"] == 10
    assert said["model"]["scale_by_sigma"] is True and said["optim"]["eps"] == 1e-8
    assert said["training"]["ema"] == 0.9999 and said["noise"]["type"] == "loglinear"
