"""Rivals on the command line: the same verbs on the same folders, and what each refuses."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import unmask
from unmask.cli import main
from unmask.config import RivalName, TrainConfig
from unmask.data import open_data, prepare_images
from unmask.evaluation.judges import Own
from unmask.kinds.registry import kind_of, presets
from unmask.rivals import MODELS, open_model
from unmask.roles import GIVEN, SCORED
from unmask.rows import windows
from unmask.train import train
from unmask.train.run import known_run, read_log

NAMES = [name for name in MODELS if name]
SMALL = TrainConfig(
    length=8, dim=16, layers=1, heads=2, batch_size=4, steps=2, eval_windows=8,
    dtype="float32", device="cpu",
)  # fmt: skip
VALUE = r"(?m)^(\d+\.\d+) \+- \d+\.\d+ bits per character: (.*)$"


def config(name):
    return replace(SMALL, rival=name, time=name == "uniform")


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    home = tmp_path_factory.mktemp("rivals")
    return {name: train(config(name), data, home / name).parents[1] for name in NAMES}


@pytest.fixture
def fails(capsys):
    def run(*arguments):
        capsys.readouterr()
        assert main([str(a) for a in arguments]) == 2
        err = capsys.readouterr().err
        assert err.startswith("unmask") and err.count("\n") == 1
        return err

    return run


def test_the_flag_names_the_rivals_there_are():
    assert set(RivalName.__args__) == set(MODELS)


@pytest.mark.parametrize("name", NAMES)
def test_the_verbs_take_a_rival(name, runs, data, tmp_path, capsys):
    run = str(runs[name])
    record = tmp_path / "eval.json"
    flags = ["--data", str(data), "--limit", "4", "--repeats", "2", "--json", str(record)]
    assert main(["eval", run, *flags]) == 0
    said = capsys.readouterr().out
    what = re.search(VALUE, said)[2]
    told = {
        "ar": ("the exact negative log-likelihood", "one token at a time, left to right"),
        "sedd": ("an upper bound", "whose rates are its scores"),
        "d3pm": ("an upper bound", "discrete time, 1000 steps"),
        "uniform": ("an upper bound", "uniform noise, discrete time, 1000 steps"),
    }
    assert what.startswith(told[name][0]) and told[name][1] in said
    row = json.loads(record.read_text(encoding="utf-8"))
    assert row["what"] == what and row["unit"] == "bits per character"
    assert main(["compare", str(record), str(record)]) == 0
    out, made = tmp_path / "samples.txt", tmp_path / "sample.json"
    steps = [] if name == "ar" else ["--steps", "4", "--grid", "uniform"]
    drawn = ["sample", run, "--num", "2", "--out", str(out), "--json", str(made), *steps]
    assert main([*drawn, "--frames", str(tmp_path / "frames.html")]) == 0
    first = out.read_text(encoding="utf-8")
    assert json.loads(made.read_text())["steps"] == ("one unit a step" if name == "ar" else 4)
    assert main(drawn) == 0 and out.read_text(encoding="utf-8") == first
    lines = tmp_path / "lines.txt"
    lines.write_text("the fox\nthe dog\n")
    scored = ["score", run, str(lines), "--repeats", "2"]
    assert main([*scored, "--out", str(tmp_path / "scores.csv")]) == 0
    assert (tmp_path / "scores.csv").read_text().count("\n") == 3


@pytest.mark.parametrize("name", NAMES)
def test_the_log_and_the_record_say_what_was_measured(name, data, tmp_path, capsys):
    flags = ["--length", "8", "--dim", "16", "--layers", "1", "--heads", "2", "--minutes", "0"]
    flags += ["--steps", "2", "--eval-windows", "4", "--batch-size", "4"]
    flags += ["--focus", "0", "--rival", name]
    flags += ["--time"] if name == "uniform" else []
    out, record = tmp_path / "run", tmp_path / "train.json"
    named = ["--data", str(data), "--out", str(out), "--json", str(record)]
    assert main(["train", "demo", *named, *flags]) == 0
    assert ("validation likelihood" in capsys.readouterr().err) == (name == "ar")
    made = json.loads(record.read_text(encoding="utf-8"))
    start = {"ar": "autoregressive", "sedd": "score entropy", "d3pm": "discrete time",
             "uniform": "uniform noise"}  # fmt: skip
    assert made["estimator"].startswith(start[name]) and made["config"]["rival"] == name
    assert "bits" in read_log(out / "log.jsonl")[-1]
    # the same command finds it finished, and another rival is another run
    assert main(["train", "demo", *named, *flags]) == 0
    other = [*flags[:-1], "--rival", ""] if "--time" in flags else [*flags, "--rival", ""]
    assert main(["train", "demo", *named, *other]) == 2
    assert "is another run (" in capsys.readouterr().err


def test_what_no_rival_can_is_refused_with_the_reason(runs, data, fails, tmp_path):
    holes = tmp_path / "holes.txt"
    holes.write_text("the [MASK:2]x")
    for name, reasons in {
        "ar": {"fill": "from both sides", "audit": "exact", "grid": "one order",
               "schedule": "no masking schedule", "serve": "in any order",
               "report": "what is hidden"},
        "uniform": {"fill": "which values are given", "audit": "of masks", "grid": "reveals none",
                    "schedule": "nothing that is learned", "serve": "no masks",
                    "report": "hides nothing"},
        "sedd": {"audit": "cross-entropies", "grid": "sum of its scores", "schedule": "learned"},
    }.items():  # fmt: skip
        more = {"fill": [holes], "grid": ["--data", data, "--out", tmp_path / "grid.json"]}
        for verb, why in reasons.items():
            said = fails(verb, runs[name], *more.get(verb, []))
            assert f"{verb} is not for --rival {name}: " in said and why in said
    said = fails("report", runs["sedd"], "--audit", "--out", tmp_path / "page.html")
    assert "audit is not for --rival sedd: " in said
    for name in NAMES:
        said = fails("export", runs[name], tmp_path / "model.pt2")
        assert f"holds a model of --rival {name}, and this is for masked diffusion" in said
    for name, estimator in (("ar", "orders"), ("uniform", "confidence"), ("sedd", "counts")):
        said = fails("eval", runs[name], "--data", data, "--estimator", estimator)
        assert f"--estimator {estimator} is not for --rival {name}: " in said
    said = fails("eval", runs["sedd"], "--data", data, "--steps", "8")
    assert "of continuous time" in said
    assert "draws one position a step" in fails("sample", runs["ar"], "--num=1", "--steps=8")
    said = fails("sample", runs["uniform"], "--num=1", "--sampler=first_hitting")
    assert "sampler of --rival uniform must be one of ancestral" in said


def test_an_autoregressive_run_judges_samples_by_its_likelihood(runs, data):
    opened = open_data(data)
    kind = kind_of(opened.meta, opened.folder)
    folder = unmask.checkpoint.resolve(runs["ar"])
    judge = Own(folder, kind, torch.device("cpu"))
    rows = [np.arange(8) % 5, np.arange(11) % 7, np.arange(3)]
    nats, number = judge.nats(rows)
    model = open_model(folder)
    pieces = [[row[:8], row[8:]] for row in rows]
    known = [
        sum(float(model.nelbo(torch.from_numpy(piece)[None])) for piece in row if len(piece))
        for row in pieces
    ]
    assert number.tolist() == [8, 11, 3] and nats.tolist() == pytest.approx(known, rel=1e-5)
    assert "one token at a time, left to right" in judge.what
    with pytest.raises(ValueError, match="left-to-right is not for --rival uniform: "):
        Own(unmask.checkpoint.resolve(runs["uniform"]), kind, torch.device("cpu"))


@pytest.mark.parametrize("name", ["sedd", "d3pm"])
def test_models_of_masks_fill_holes(name, runs, tmp_path, capsys):
    holes = tmp_path / "holes.txt"
    holes.write_text("the[MASK:2]x")
    assert main(["fill", str(runs[name]), str(holes), "--steps", "4"]) == 0
    filled = capsys.readouterr().out
    assert filled.startswith("the") and filled.rstrip("\n").endswith("x") and "MASK" not in filled


def test_a_schedules_bounds_are_of_the_sampler_that_they_are_of(runs, data, capsys):
    flags = ["--data", str(data), "--limit", "4", "--repeats", "2"]
    assert main(["schedule", str(runs["d3pm"]), *flags]) == 0
    said = capsys.readouterr().out
    assert "discrete time, 1000 steps, 2 draws a window" in said
    assert "continuous time" not in said and "at an instant" not in said


def test_the_audit_of_d3pm_passes_as_that_of_any_masked_model(runs, capsys):
    assert main(["audit", str(runs["d3pm"]), "--limit=4", "--enumerate=4"]) == 0


def test_a_parts_score_given_what_comes_before_is_exact_for_ar(runs, tmp_path, capsys):
    whole, marks = tmp_path / "a.txt", tmp_path / "b.txt"
    whole.write_text("the fox\n")
    run = runs["ar"]
    found = []
    for text, marked in (("the fox\n", ""), ("the fox\n", "the [MASK:3]\n"), ("the \n", "")):
        whole.write_text(text)
        marks.write_text(marked)
        flags = ["--holes", str(marks)] if marked else []
        assert main(["score", str(run), str(whole), *flags]) == 0
        found.append(float(capsys.readouterr().out.splitlines()[1].split(",")[2]))
    assert found[0] == pytest.approx(found[1] + found[2], abs=1e-3)
    whole.write_text("the fox\n")
    marks.write_text("[MASK:4]fox\n")
    assert main(["score", str(run), str(whole), "--holes", str(marks)]) == 2
    assert "knows what comes before alone" in capsys.readouterr().err.splitlines()[-1]


def test_a_longer_text_is_scored_window_by_window(runs, tmp_path, capsys):
    """Each window given what stands before it there, and never what comes later."""
    lines = tmp_path / "a.txt"
    lines.write_text("the quick fox\n")
    assert main(["score", str(runs["uniform"]), str(lines), "--window"]) == 2
    assert "--window is not for --rival uniform" in capsys.readouterr().err
    flags = ["--window", "--dtype", "float32"]
    assert main(["score", str(runs["ar"]), str(lines), *flags]) == 0
    nats = float(capsys.readouterr().out.splitlines()[1].split(",")[2])
    model = open_model(runs["ar"])
    ids = kind_of(model.meta["data"], runs["ar"]).tokenizer.encode("the quick fox")
    left, total = np.ones(len(ids), bool), 0.0
    for at, fill in windows(torch.from_numpy(left), 8):
        scored = np.flatnonzero(fill.numpy())
        x = torch.from_numpy(ids[at].astype(np.int64))[None, : scored[-1] + 1]
        role = torch.full_like(x, GIVEN, dtype=torch.int8)
        role[:, torch.from_numpy(scored)] = SCORED
        with torch.no_grad():
            total += float(model.token_nats(model.clean(x, role=role))[0])
    assert nats == pytest.approx(total, abs=1e-3)


def test_training_goes_on_from_a_rival_as_the_rival(runs, data, tmp_path):
    other = replace(SMALL, optimizer="adamw")
    folder = train(other, data, tmp_path / "run", runs["uniform"])
    again = open_model(folder)
    assert again.rival == "uniform" and again.own == {"steps": 1000}
    assert known_run(tmp_path / "run")["identity"]["rival"] == "uniform"
    weights = open_model(runs["uniform"]).state_dict()
    assert again.state_dict().keys() == weights.keys()


def test_old_folders_hold_masked_diffusion(text_run):
    assert type(open_model(text_run)) is unmask.MaskedDiffusion
    path = text_run / "checkpoints"
    config = json.loads(next(path.glob("*/config.json")).read_text())
    assert "rival" not in config


def test_a_folder_of_no_known_process_is_refused(text_run, tmp_path):
    model = unmask.MaskedDiffusion.from_pretrained(text_run)
    model.__class__ = type("Other", (unmask.MaskedDiffusion,), {"rival": "gaussian"})
    model.save_pretrained(tmp_path / "model")
    for opened in (open_model, unmask.MaskedDiffusion.from_pretrained):
        with pytest.raises(ValueError, match="gaussian"):
            opened(tmp_path / "model")


@pytest.mark.parametrize("fields, said", [
    ({"rival": "ar", "schedule": "cosine"}, "ar, which has no masks: give --schedule linear"),
    ({"rival": "ar", "time": True}, "without a time: give --no-time"),
    ({"rival": "ar", "draws": 2}, "ar, which draws nothing in training: give --draws 0"),
    ({"rival": "ar", "network": "unet"}, "without a time: give --network transformer"),
    ({"rival": "d3pm", "schedule": "cosine"}, "d3pm, which has the linear schedule alone"),
    ({"rival": "uniform"}, "uniform needs --time"),
    ({"rival": "sedd", "digits": 2}, "digits of tokens are of masked diffusion"),
    ({"rival": "sedd", "schedule": "learned", "time": True}, "a learned schedule .* --rival sedd"),
])  # fmt: skip
def test_what_makes_no_sense_together_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        replace(SMALL, **fields).check()


@pytest.mark.parametrize("name, given", [
    ("cifar10", {"rival": "d3pm"}),
    ("cifar10", {"rival": "ar", "layers": 4}),
    ("mnist", {"rival": "ar", "layers": 4}),
    ("text8-genmd4", {"rival": "sedd"}),
    ("text8-genmd4", {"rival": "ar", "draws": 2, "schedule_learning_rate": 0.1}),
    ("text8", {"rival": "sedd", "digits": 2, "masking": "token"}),
    ("text8", {"rival": "ar", "schedule": "polynomial", "power": 2.0}),
])  # fmt: skip
def test_what_is_advised_of_a_preset_can_be_followed(name, given):
    """Nobody can leave out what the preset gave."""
    config = replace(presets()[name].config, **given)
    for _ in range(6):
        try:
            config.check()
        except ValueError as error:
            flags = re.findall(r"--(no-)?([a-z-]+)(?: (\S+))?", str(error).rpartition(": give ")[2])
            assert flags, error
            for no, flag, value in flags:
                field = flag.replace("-", "_")
                said = type(getattr(config, field))(value) if value else not no
                config = replace(config, **{field: said})
    config.check()
    assert config.rival == given["rival"]


@pytest.mark.parametrize("name", ["ar", "uniform"])
def test_a_run_on_pictures_is_told_its_classes(name, tmp_path):
    """AR reads a picture from its first value on."""
    pictures = np.random.default_rng(0).integers(0, 4, (40, 4, 4, 1), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", data=pictures, labels=np.arange(40) % 2)
    prepare_images(tmp_path / "a.npz", tmp_path / "data", progress=False)
    some = replace(config(name), length=0, labels=True)
    model = open_model(train(some, tmp_path / "data", tmp_path / "run"))
    cond = torch.tensor([0, 1])
    assert model.nelbo(torch.zeros(2, 16, dtype=torch.long), cond=cond).shape == (2,)
    steps = None if name == "ar" else 2
    assert unmask.sample(model, num=2, cond=cond, steps=steps).shape == (2, 16)
    with pytest.raises(ValueError, match="guidance is of"):
        unmask.sample(model, num=2, cond=cond, steps=steps, guidance=torch.ones_like)
