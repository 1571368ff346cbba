"""`unmask bench`: what its estimators estimate, and what its tables say of rows."""

import math
import re
import sys
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import unmask
from unmask import schedules
from unmask.audit import exact_nelbo
from unmask.batch import inputs
from unmask.bench import estimators, sampling, timing, training
from unmask.cli import main
from unmask.config import TrainConfig
from unmask.data import open_data, prepare_images, prepare_proteins, prepare_text
from unmask.train.loop import untrained

SMALL = TrainConfig(length=4, dim=16, layers=1, heads=2, steps=1, dtype="float32", device="cpu")
KINDS = {
    "proteins": {"schedule": "cosine"},
    "digits": {"digits": 2},
    "classes": {"length": 0, "labels": True},
}


def prepared(kind, home):
    """A few examples for the test: with padding, with digits to be, with classes."""
    if kind == "proteins":
        words = ("MKVL", "KV", "MXV", "LLKM")
        (home / "a.fasta").write_text("".join(f">a\n{word}\n" for word in words))
        prepare_proteins(home / "a.fasta", home / "data", split="1,0,3", progress=False)
    elif kind == "digits":
        (home / "a.txt").write_text("the quick brown fox jumps over the lazy dog")
        how = {"tokenizer": "characters", "split": "20,11,12"}
        prepare_text(home / "a.txt", home / "data", **how, progress=False)
    else:
        x = np.random.default_rng(0).integers(0, 3, (8, 2, 2, 1), dtype=np.uint8)
        np.savez(home / "a.npz", data=x, labels=np.arange(8) % 2)
        prepare_images(home / "a.npz", home / "data", split="2,2,4", progress=False)
    return home / "data"


def random_model(config, data, out):
    """A model that has learned nothing, and yet says different things of values."""
    model = untrained(config, data)[2]
    generator = torch.Generator().manual_seed(1)
    for p in model.backbone.parameters():
        torch.nn.init.normal_(p, std=0.3, generator=generator)
    if config.labels:
        model.backbone.label.weight.data *= 30
    model.save_pretrained(out)
    return str(out)


@pytest.mark.parametrize("kind", KINDS)
def test_every_estimator_estimates_the_bound_of_what_is_scored(kind, tmp_path):
    """Its exact value, by enumeration."""
    data = prepared(kind, tmp_path)
    folder = random_model(replace(SMALL, **KINDS[kind]), data, tmp_path / "model")
    model = unmask.MaskedDiffusion.from_pretrained(folder)
    opened = open_data(data, labels=kind == "classes")
    windows = next(opened.windows("test", model.meta["length"], 64))
    assert {"proteins": "valid", "classes": "cond"}.get(kind, "x") in windows
    with torch.no_grad():
        expected = float(exact_nelbo(model, **inputs(windows)).mean())
    rows = estimators.estimator(folder, str(data), repeats=40)
    for name, value, unit in rows[:4]:
        error = float(unit.split()[2].rstrip(",")) + 5e-4  # which is rounded
        assert abs(value - expected) < 6 * error, (name, value, expected)
        assert f"mean of {len(windows['x'])} windows" in name


def test_estimators_are_measured_on_models_that_they_are_for(data, tmp_path, monkeypatch, capsys):
    learned = replace(SMALL, schedule="learned", time=True)
    named = ["--model", random_model(learned, data, tmp_path / "model"), "--data", str(data)]
    assert main(["bench", "estimator", *named]) == 2
    assert "whose schedule has one curve for all values: " in capsys.readouterr().err
    (tmp_path / "b.txt").write_text("zyx wvu " * 400)
    prepare_text(tmp_path / "b.txt", tmp_path / "other", tokenizer="characters", progress=False)
    assert main(["bench", "estimator", *named[:3], str(tmp_path / "other")]) == 2
    assert "other has 7 values and the model 28: prepare the text again" in capsys.readouterr().err
    rows = [("a row", 1.0, "")]
    for module, name in (
        (training, "head"), (training, "train"), (training, "unet"), (sampling, "sampling"),
        (sampling, "idle_steps"), (estimators, "gradient"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, lambda *_: rows)
    assert main(["bench", *named]) == 0
    said = capsys.readouterr().out
    assert "estimator: left out" in said and "schedule-gradient: a row" in said


class Blind(torch.nn.Module):
    uses_time = False

    def forward(self, z):
        raise AssertionError("nothing is asked")


def share_of_rows(digits, tokens=1024):
    """Of tokens, those of which a step of training forms logits."""
    units = unmask.Subtokenizer(256, digits)
    model = unmask.MaskedDiffusion(Blind(), schedules.Linear(), units)
    batch = model.clean(torch.zeros(256, tokens, dtype=torch.long))
    draw = model.draw(batch, None, torch.Generator().manual_seed(0))
    return float(draw.masked.unflatten(1, (tokens, -1)).any(-1).double().mean())


def test_the_rows_of_two_digits_are_as_many_times_those_of_tokens_as_the_table_says(monkeypatch):
    """Shares are of many units; of N, they are off by some 1 / sqrt(N)."""
    off = {"rel": 1 / math.sqrt(1024)}
    whole, two = share_of_rows(1), share_of_rows(2)
    assert whole == pytest.approx(1 / 3, **off) and two == pytest.approx(7 / 15, **off)
    monkeypatch.setattr(training, "apart", lambda *_, **__: (1.0, 1.0, 1.0))
    monkeypatch.setattr(training, "product_rates", lambda: {"float32": 1.0, "bfloat16": 1.0})
    (unit, *_) = [unit for name, _, unit in training.head() if "time of two digits" in name]
    assert two / whole == pytest.approx(float(Fraction(re.search(r"\d+/\d+", unit)[0])), **off)


@pytest.mark.parametrize("system, unit", [("darwin", 1), ("linux", 1024)])
def test_a_peak_of_memory_is_in_megabytes_on_every_system(system, unit, monkeypatch):
    resource = pytest.importorskip("resource")
    used = SimpleNamespace(ru_maxrss=3 * 2**20)
    monkeypatch.setattr(resource, "getrusage", lambda _: used)
    monkeypatch.setattr(sys, "platform", system)
    assert timing.peak() == 3 * unit
