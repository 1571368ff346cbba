"""The scripts in runs/: on small data, and what they refuse."""

import importlib.util
import json
import lzma
import os
import pickle
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from unmask import MaskedDiffusion, Subtokenizer, schedules
from unmask.bench.timing import network
from unmask.bench.training import operations
from unmask.cli import main
from unmask.config import TrainConfig
from unmask.data import open_data, prepare_images, prepare_proteins
from unmask.kinds.images.demo import Digits
from unmask.train import train

SMALL = TrainConfig(
    length=0, network="unet", widths="8", blocks=1, layers=0, heads=2, batch_size=8, steps=2,
    eval_minutes=0, eval_windows=16, dtype="float32", device="cpu", threads=1, minutes=0.0,
)  # fmt: skip


def script(name):
    spec = importlib.util.spec_from_file_location(
        name, Path(__file__).parents[1] / "runs" / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The bundled digits in two levels, and a model of them."""
    home = tmp_path_factory.mktemp("home")
    prepare_images(Digits.source, home / "digits", levels=2, progress=False)
    train(SMALL, home / "digits", home / "run")
    return home


def refused(module, capsys, *arguments):
    """One sentence, exit code 1."""
    with pytest.raises(SystemExit) as stop:
        module.main([str(a) for a in arguments])
    assert isinstance(stop.value.code, str) and "\n" not in stop.value.code
    return stop.value.code


# ---------------------------------------------------------------- CIFAR-10's features


@pytest.fixture(scope="module")
def cifar():
    return script("cifar_features")


def test_a_block_of_twice_the_channels_passes_every_other_pixel_between_zeros(cifar):
    x = torch.randn(2, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    for outside in (16, 32):
        block = cifar.Block(16, outside).eval()
        torch.nn.init.zeros_(block.bn2.weight)
        y = block(x)
        if outside == 16:
            assert torch.equal(y, x.relu())
        else:
            assert (
                torch.equal(y[:, 8:24], x[:, :, ::2, ::2].relu())
                and not y[:, :8].any()
                and not y[:, 24:].any()
            )
    assert torch.allclose(
        block.conv1(x)[0, :, 1, 1],
        torch.einsum("oikl,ikl->o", block.conv1.weight, x[0, :, 1:4, 1:4]),
        atol=1e-5,
    )


def test_the_published_number_of_parameters(cifar):
    """arXiv 1512.03385, table 6: 0.27 and 0.85 million."""
    for blocks, millions in ((3, 0.27), (9, 0.85)):
        assert sum(p.numel() for p in cifar.ResNet(blocks).parameters()) / 1e6 == pytest.approx(
            millions, abs=0.005
        )


def test_features_of_samples_and_of_prepared_data(cifar, tmp_path, capsys):
    torch.manual_seed(0)
    network = cifar.ResNet(2).eval()
    for norm in (m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    torch.save(
        {"state_dict": {f"module.{name}": t for name, t in network.state_dict().items()}},
        tmp_path / "r.th",
    )
    torch.save(network.state_dict(), tmp_path / "plain.th")
    pictures = np.random.default_rng(0).integers(256, size=(80, 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", data=pictures, labels=np.arange(80) % 10)
    prepare_images(tmp_path / "x.npz", tmp_path / "data", split="0,0,80", progress=False)
    flags = ["--out", str(tmp_path / "a.npz"), "--batch-size", "30"]
    cifar.main([str(tmp_path / "r.th"), str(tmp_path / "data"), *flags])
    said = capsys.readouterr().out
    flags = ["--out", str(tmp_path / "b.npz")]
    cifar.main(
        [str(tmp_path / "plain.th"), str(tmp_path / "x.npz"), str(tmp_path / "x.npz"), *flags]
    )
    a, b = (np.load(tmp_path / f"{name}.npz") for name in "ab")
    assert np.allclose(np.concatenate([a["features"]] * 2), b["features"], atol=1e-5) and a[
        "logits"
    ].shape == (80, 10)
    shown = (pictures[:4] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    x = network.bn1(network.conv1(torch.from_numpy(shown.transpose(0, 3, 1, 2)).float())).relu()
    x = network.layer3(network.layer2(network.layer1(x))).mean((2, 3))
    assert torch.allclose(x, torch.from_numpy(a["features"][:4]), atol=1e-4)
    assert np.allclose(network.linear(x).detach(), a["logits"][:4], atol=1e-4)
    right = 100 * (a["logits"].argmax(1) == np.arange(80) % 10).mean()
    assert (
        f"ResNet-14 of {tmp_path / 'r.th'}, 80 pictures" in said
        and f"{right:.2f} % of them" in said
    )
    p = torch.from_numpy(a["logits"]).double().softmax(-1)
    score = float((p * (p / p.mean(0)).log()).sum(-1).mean().exp())
    assert f"classifier score {score:.3f} +- " in said and "not the inception score" in said
    capsys.readouterr()
    assert main(["distance", str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]) == 0
    # but for the n - 1 of the covariances
    assert float(capsys.readouterr().out.split(" ")[0]) < 0.01


class MakesFolder:
    """What a pickle can do when it is read."""

    def __reduce__(self):
        return os.mkdir, ("made",)


def test_bad_input_of_features_is_one_sentence(cifar, home, tmp_path, capsys, data, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(cifar.ResNet(1).state_dict(), tmp_path / "r.th")
    torch.save({"w": torch.zeros(2)}, tmp_path / "other.th")
    torch.save([1, 2], tmp_path / "list.th")
    (tmp_path / "code.th").write_bytes(pickle.dumps(MakesFolder(), protocol=2))
    (tmp_path / "empty.th").write_bytes(b"")
    np.savez(tmp_path / "small.npz", data=np.zeros((3, 8, 8, 3), np.uint8))
    np.savez(tmp_path / "x.npz", data=np.zeros((3, 32, 32, 3), np.uint8))
    good, out = tmp_path / "r.th", tmp_path / "out.npz"
    other_size = r"small.npz has pictures of \(8, 8, 3\), and this network is for \(32, 32, 3\)"
    for weights, images, target, said in (
        (tmp_path / "no.th", "x.npz", out, "there is no file"),
        (tmp_path / "other.th", "x.npz", out, "is not the state dict"),
        (tmp_path / "list.th", "x.npz", out, "is not the state dict"),
        (tmp_path / "code.th", "x.npz", out, "is not the state dict"),
        (tmp_path / "empty.th", "x.npz", out, "is not the state dict"),
        (good, "no.npz", out, "there is no .*no.npz: IMAGES are"),
        (good, "small.npz", out, other_size),
        (good, home / "digits", out, r"pictures of \(8, 8, 1\)"),
        (good, data, out, "holds text, not pictures"),
        (good, "r.th", out, "r.th: no array 'data'"),
        (good, "x.npz", tmp_path / "out.txt", "must be an .npz"),
        (good, "x.npz", tmp_path / "no" / "out.npz", "in a folder that exists"),
    ):
        assert re.search(
            said, refused(cifar, capsys, weights, tmp_path / images, "--out", target)
        ), said
    assert "--batch-size 0 at least 1" in refused(
        cifar, capsys, good, tmp_path / "x.npz", "--out", out, "--batch-size", 0
    )
    assert not out.exists() and not Path("made").exists()


# ---------------------------------------------------------------- grids, inpainting


def test_the_figures_of_grids_are_on_disk_after_every_setting(home, tmp_path, monkeypatch, capsys):
    grids, out, left = script("image_grids"), tmp_path / "g.json", []
    real = grids.sample

    def seen(*a, **how):
        left.append(len(json.loads(out.read_text(encoding="utf-8"))["rows"]) if out.exists() else 0)
        return real(*a, **how)

    monkeypatch.setattr(grids, "sample", seen)
    data = str(home / "digits")
    flags = ["--num", "70", "--steps", "2", "3", "--seeds", "0", "5", "--classifier-steps", "3"]
    grids.main([str(home / "run"), data, data, str(out), *flags])
    assert left == [0, 1, 2, 3, 4, 4, 4, 4]  # the second seed is added to the rows
    record = json.loads(out.read_text(encoding="utf-8"))
    assert [(r["steps"], r["grid"]) for r in record["rows"]] == [
        (2, "uniform"),
        (2, "cosine"),
        (3, "uniform"),
        (3, "cosine"),
    ]
    said = capsys.readouterr().out
    for row in record["rows"]:
        one, other = row["distance"]
        assert (
            one != other
            and min(one, other) / 2 < row["pooled"] < max(one, other)
            and 0 < row["pooled_stderr"] < row["pooled"]
        )
        assert (
            grids.describe(row) in said
            and f"seed 5, {row['steps']} steps, {row['grid']}: {other:.3f}" in said
        )
    assert (
        grids.describe({"distance": [10.0, 14.0], "pooled": 8.0, "pooled_stderr": 0.5})
        == "12.00 +- 2.00 (8.00 +- 0.50)"
    )
    # there are 90 real ones: one part of 70, and none of 140
    assert record["floor"] > 0 and record["floor_pooled"] is None
    assert "140: not known, there are fewer" in said


def test_the_picture_of_filling_in_shows_holes_completions_and_truth(
    home, tmp_path, capsys, data, text_run
):
    inpainting, out = script("inpainting"), tmp_path / "out.png"
    flags = ["--pictures", "4", "--num", "2", "--steps", "3"]
    inpainting.main([str(home / "run"), str(home / "digits"), str(out), *flags])
    page = np.asarray(Image.open(out))
    assert page.shape == (4 * 26 + 2, 4 * 26 + 2)  # 8 pixels of 3, and gaps of 2
    # (row, column, 8, 8)
    cells = page[2:, 2:].reshape(4, 26, 4, 26).swapaxes(1, 2)[:, :, :24:3, :24:3].astype(int)
    holes = np.zeros((4, 8, 8), bool)
    holes[[0, 3], 4:], holes[1, :, 4:], holes[2, 2:6, 2:6] = True, True, True
    assert (cells[:, 0][holes] == 127).all() and set(np.unique(cells[:, 1:])) == {0, 255}
    for column in (0, 1, 2):
        assert np.array_equal(cells[:, column][~holes], cells[:, 3][~holes])
    assert not np.array_equal(cells[:, 1], cells[:, 2])
    whole = np.fromfile(home / "digits" / "test.bin", np.uint8).reshape(-1, 8, 8)
    assert np.array_equal(
        cells[:, 3], 255 * whole[[(2 * i + 1) * len(whole) // 8 for i in range(4)]].astype(int)
    )
    for arguments, said in (
        ((text_run, data, out), "is a model of text, not of pictures"),
        ((home / "run", data, out), "has text .characters., and the model was trained on pictures"),
        ((home / "run", home / "digits", tmp_path / "out.jpg"), "must end in .png"),
        ((tmp_path / "no", home / "digits", out), "there is no folder"),
        ((home / "run", home / "digits", out, "--num", 0), "--num must be at least 1"),
    ):
        assert re.search(said, refused(inpainting, capsys, *arguments)), said


# ---------------------------------------------------------------- proteins


@pytest.fixture(scope="module")
def proteins(tmp_path_factory):
    """A model of 24 residues; data with held-out sequences of 60, 24 and 20 residues, and one of
    which none is known; and what the script takes of training and held-out sequences."""
    home, letters = tmp_path_factory.mktemp("proteins"), "ACDEFGHIKLMNPQRSTVWY" * 3
    rows = {"train": [letters[i : i + 30] for i in range(8)]}
    rows["test"] = [letters, letters[:24], letters[:20], "X" * 5]
    for part, sequences in rows.items():
        records = [f">{i}\n{row}\n" for i, row in enumerate(sequences)]
        (home / f"{part}.fasta").write_text("".join(records), encoding="utf-8")
    how = {"test": home / "test.fasta", "progress": False}
    prepare_proteins(home / "train.fasta", home / "data", **how)
    config = TrainConfig(
        length=24, dim=16, layers=1, heads=2, batch_size=4, steps=2, eval_minutes=0,
        dtype="float32", device="cpu", threads=1,
    )  # fmt: skip
    train(config, home / "data", home / "run")
    data = open_data(home / "data")
    sides = [(np.asarray(data.tokens(part)), data.edges(part)) for part in ("train", "test")]
    return MaskedDiffusion.from_pretrained(home / "run"), data, sides


def test_a_sequence_that_is_cut_is_not_told_to_end_there(proteins, monkeypatch):
    model, data, (known, _) = proteins
    told, real = [], model.predict

    def predict(z, **how):
        ends = how.get("ends")
        told.append((z.shape[1], None if ends is None else ends.tolist()))
        return real(z, **how)

    monkeypatch.setattr(model, "predict", predict)
    made = script("proteins").recovery(model, data, SimpleNamespace(seed=0, share=0.15), known)
    whole = [[True, True]]
    assert told == [(24, [[True, False]]), (24, whole), (20, whole), (5, whole)]
    assert made["residues"] == 4 + 4 + 3


def test_a_sequence_of_which_nothing_is_known_costs_nothing(proteins, monkeypatch):
    module, (model, data, sides) = script("proteins"), proteins
    monkeypatch.setattr(module, "ORDERS", (1, 2))
    made = module.bounds(model, data, SimpleNamespace(seed=0, repeats=2, batch_size=8), *sides)
    for order in ("1-gram", "2-gram"):
        assert np.isfinite([*made[order].values()]).all()


@pytest.mark.parametrize(
    "name,arguments",
    [
        ("proteins", ["run", "data"]), ("policies", ["run", "--data", "data", "--json"]),
        ("image_grids", ["run", "data", "labelled"]), ("faults", ["--short", "--out"]),
    ],
)  # fmt: skip
def test_where_no_record_can_be_written_is_told_before_the_work(name, arguments, tmp_path, capsys):
    out = tmp_path / "no" / "a.json"
    with pytest.raises(SystemExit) as stop:
        script(name).main([*arguments, str(out)])
    said = f"{stop.value.code} {capsys.readouterr().err}"
    assert f"{out}: there is no folder {out.parent}" in said


def test_the_folders_of_a_picture_and_its_figures_are_there_before_the_work(tmp_path, monkeypatch):
    density = script("density")

    def trained(*_):
        assert (tmp_path / "drawn").is_dir() and (tmp_path / "counted").is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(density, "trained", trained)
    flags = ["--out", tmp_path / "drawn" / "a.png", "--numbers", tmp_path / "counted" / "a.json"]
    with pytest.raises(KeyboardInterrupt):
        density.main([*map(str, flags), "--threads", str(torch.get_num_threads())])


# ---------------------------------------------------------------- a machine with a GPU


def rehearsed(out, *flags, without=("tyro", "matplotlib", "PIL")):
    """The process in which the script is rehearsed without some packages, and its record."""
    path = Path(__file__).parents[1] / "runs" / "gpu.py"
    lack = f"import runpy, sys; sys.modules.update(dict.fromkeys({without}))"
    run = "sys.argv.pop(0); runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", f"{lack}; {run}", str(path), "--out", str(out), "--rehearse"]
    done = subprocess.run([*command, *flags], capture_output=True, encoding="utf-8")
    return done, json.loads((out / "record.json").read_text(encoding="utf-8"))


# without the stage of processes, which test_distributed.py starts, too, and for longer
QUICK = ("exact", "speed", "sampling", "learn", "table-text")


@pytest.mark.parametrize("only", [pytest.param((), marks=pytest.mark.slow), QUICK])
def test_what_is_measured_on_a_gpu_can_be_rehearsed_without_one(tmp_path, only):
    """The script as it is run, in miniature: every stage, nothing failed, and a record that is read
    as JSON."""
    flags = []
    if only:  # packed, as its docstring has it
        bundled = files("unmask.kinds.text").joinpath("bundled", "tinyshakespeare.txt")
        text = tmp_path / "text.xz"
        text.write_bytes(lzma.compress(bundled.read_bytes()[:200_000]))
        flags = ["--only", *only, "--text", str(text)]
    done, record = rehearsed(tmp_path, *flags)
    assert done.returncode == 0, done.stdout + done.stderr
    names = {
        "kernel V=50257 l=2 float32",
        "law of ancestral prime",
        "estimate in bfloat16",
        "train owt-small, 2 digits",
        "train cifar10",
        "golden md4",
        "train owt-small, dense head",
    }
    names |= set() if only else {"processes pieces in bfloat16"}
    assert {*names, "sample first_hitting 1", "learn", "machine", "done"} <= set(record)
    assert record["done"]["failed"] == []
    assert all(row.get("passed", True) for row in record.values()) and record["learn"]["bits"] < 8
    assert (tmp_path / "learn-log.jsonl").is_file()
    if "table-text" in only:  # as runs/text.py makes it, and kept in a few small files
        table, kept = record["table-text"], tmp_path / "table-text"
        assert any(line.startswith("| GenMD4, two draws | ") for line in table["table"])
        assert "sequences of 8 letters" in table["table"][0]
        assert table["cells"] == 3 and (kept / "cells" / "ar-0.003-0.json").is_file()
        assert sum(path.stat().st_size for path in kept.rglob("*.json")) < 50_000


@pytest.mark.parametrize("values, layers, batch", [(256, 4, 16), (50257, 2, 4)])
def test_the_operations_of_a_step_are_those_that_unmask_bench_counts(values, layers, batch):
    """Of its networks S and H; of two digits a token, 7 rows of the head for 5."""
    gpu, of_tokens = script("gpu"), operations(values, layers, batch) / (batch * 256)
    schedule = schedules.Linear()
    model = MaskedDiffusion(network(values, layers), schedule, Subtokenizer(values))
    assert gpu.flops_per_token(model, 256) == pytest.approx(of_tokens)
    two = MaskedDiffusion(network(values, layers, 2), schedule, Subtokenizer(values, 2))
    of_head = 2 * 256 * values
    assert gpu.flops_per_token(two, 256) == pytest.approx(of_tokens + 2 / 5 * of_head)


def test_what_fails_on_a_gpu_is_recorded_and_the_rest_goes_on(tmp_path, monkeypatch):
    gpu = script("gpu")
    monkeypatch.setattr(gpu, "marginal_nats", lambda *a: 1 / 0)
    assert gpu.main(["--out", str(tmp_path), "--rehearse", "--only", "exact"]) == 1
    record = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))
    assert (
        "FAILED kernel V=27 l=1" in record["done"]["failed"] and record["exact bound md4"]["passed"]
    )


def test_the_contract_is_run_on_a_gpu_when_asked_for(tmp_path):
    done, record = rehearsed(tmp_path, "--only", "contract")
    assert done.returncode == 0, done.stdout + done.stderr
    found = record["contract"]
    assert found["passed"] and found["right"] >= 5 and found["wrong"] == 0 == len(found["which"])
    done, record = rehearsed(tmp_path, "--only", "contract", without=("pytest",))
    assert done.returncode == 1 and "pytest" in record["FAILED contract"]["error"]


def test_tests_that_fail_on_a_gpu_are_named(tmp_path, monkeypatch):
    gpu = script("gpu")
    told = [("call", "passed"), ("setup", "passed"), ("teardown", "passed"), ("call", "failed")]

    def ran(arguments, plugins):
        for number, (when, outcome) in enumerate(told):
            report = pytest.TestReport(f"a.py::test[{number}]", ("", 0, ""), {}, outcome, "", when)
            plugins[0].pytest_runtest_logreport(report)
        return 1

    monkeypatch.setattr(pytest, "main", ran)
    assert gpu.main(["--out", str(tmp_path), "--rehearse", "--only", "contract"]) == 1
    found = json.loads((tmp_path / "record.json").read_text(encoding="utf-8"))["contract"]
    assert (found["right"], found["wrong"], found["which"]) == (1, 1, ["test[3]"])


# ---------------------------------------------------------------- what `make faults` does at length

# what no other test has of this kind
FEW = ("kills_of_writers", "hostile")


@pytest.mark.parametrize("only", [pytest.param((), marks=pytest.mark.slow), FEW])
def test_a_little_of_every_fault(capsys, only):
    """Nothing is wrong, and every fault was tried."""
    faults = script("faults")
    assert faults.main(["--short", *(["--only", *only] if only else [])]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines()[2:]]
    assert len(rows) == (len(only) or len(faults.FAULTS)) + 2
    assert all(wrong == "0" for _, _, wrong, _ in rows)
    assert all(int(times) or "not tried" in lost for _, times, _, lost in rows)


# ---------------------------------------------------------------- speedruns

BINDS = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1


def test_a_speedrun_trains_in_its_time_and_evaluates_all_of_the_test_split(tmp_path, capsys):
    """What is finished is not done again, nor as another; a seed that took too long is void."""
    speedrun, out = script("speedrun"), tmp_path / "out"
    source = tmp_path / "text.txt"
    source.write_text("To be, or not to be: that is the question.\n" * 200)
    flags = ["--length", "16", "--dim", "16", "--heads", "2", "--dtype", "float32"]
    words = ["shakespeare", str(out), "--source", str(source), "--minutes", "0.2"]
    if not BINDS:
        assert speedrun.main([*words, "--", *flags]) == 1
        assert "processes cannot be bound to 2 cores here" in capsys.readouterr().err
        return
    usable = os.sched_getaffinity(0)
    assert speedrun.main([*words, "--seeds", "0", "--", *flags]) == 0
    assert os.sched_getaffinity(0) == usable
    record = json.loads((out / "speedrun.json").read_text())
    (one,) = record["seeds"]
    assert record["train"] == ["demo", *flags] and one["config"]["seed"] == 0
    assert len(one["cores"]) == 2 and one["seconds"] > 0 and one["steps"] > 1
    assert 0 < one["processor_seconds"] < 2.5 * one["seconds"]
    result = json.loads((out / "eval-0.json").read_text())
    # the last tenth of 8,600 characters
    assert (result["positions"], result["value"]) == (860, record["figure"])
    assert record["no_entry_because"][:3] == [
        "it had 0.2 minutes, not 3",
        "the data are others than the track's",
        "its seeds are [0], not [0, 1, 2]",
    ]
    for seed, seconds in ((1, 11.9), (2, 12.1)):
        about = one | {"seed": seed, "seconds": seconds, "commit": f"{seed}"}
        (out / f"trained-{seed}.json").write_text(json.dumps(about))
        (out / f"eval-{seed}.json").write_text(json.dumps(result | {"value": 3.0 + seed}))
    (out / "trained-0.json").write_text(json.dumps(one | {"seconds": 9.0, "commit": "1"}))
    capsys.readouterr()
    assert speedrun.main([*words, "--", *flags]) == 0
    record = json.loads((out / "speedrun.json").read_text())
    assert record["figure"] == pytest.approx((result["value"] + 4.0) / 2)
    assert record["error_over_seeds"] == pytest.approx(abs(result["value"] - 4.0) / 2)
    said = capsys.readouterr().out
    assert "12.1, void" in said and "seeds [2] took longer than 12 seconds" in said
    assert "its seeds are of commits ['1', '2']" in said and "not a commit" not in said
    assert "\n".join(speedrun.table(out / "speedrun.json")) in said
    assert speedrun.main([*words, "--", *flags, "--mlp", "32"]) == 1
    assert "was begun as" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["fil8", "OUT"], "this track has no data of its own: give --source"),
        (["shakespeare", "OUT", "--", "--rival=ar"], "--rival is not an entry's to choose"),
        (["shakespeare", "OUT", "--", "--dry_run"], "--dry-run is not an entry's to choose"),
        (["shakespeare", "OUT", "--", "--data", "x"], "--data is not an entry's to choose"),
        (["shakespeare", "OUT", "--seeds", "0,0"], "--seeds 0,0: name each once"),
        (["shakespeare", "OUT", "--seeds", "0,x"], "--seeds 0,x: give whole numbers"),
        (["shakespeare", "OUT", "--minutes", "4"], "--minutes must be from 0.2 to 3, not 4"),
        (["shakespeare", "OUT", "--minutes", "nan"], "--minutes must be from 0.2 to 3, not nan"),
        (["shakespeare", "OUT/.."], "has other files: choose another OUT"),
        (["shakespeare", "OUT", "--", "--no-such-flag"], "returned non-zero exit status 2"),
    ],
)
def test_what_is_no_entry_of_a_speedrun_is_refused(words, said, tmp_path, capsys):
    (tmp_path / "file").touch()
    words = [word.replace("OUT", str(tmp_path / "out")) for word in words]
    (tmp_path / "out").mkdir()
    assert script("speedrun").main(words) == 1
    if "--no-such-flag" not in words or BINDS:
        assert said in capsys.readouterr().err
    assert not list((tmp_path / "out").glob("trained-*"))


def test_the_data_of_speedruns_are_told_from_others_and_their_figures_are_there(tmp_path):
    """Of a record, since those of MNIST are asked for an hour after the start; and of the text."""
    speedrun = script("speedrun")
    records = Path(__file__).parents[1] / "benchmarks" / "records"
    result = json.loads((records / "2026-11-25-images" / "mnist-eval.json").read_text())
    track = speedrun.TRACKS["mnist"]
    assert round(result[track.figure], 2) == 82.54 and round(result[track.error], 2) == 0.34
    text = speedrun.TRACKS["shakespeare"]
    kind, source, *how = text.prepare(None)
    assert main(["prepare", kind, source, str(tmp_path / "data"), *how]) == 0
    meta = json.loads((tmp_path / "data" / "meta.json").read_text())
    for digests, found in ((track.digests, result["data_sha256"]), (text.digests, meta["sha256"])):
        sums = [found[f"{part}.bin"] for part in ("train", "validation", "test")]
        assert all(map(str.startswith, sums, digests))
