"""unmask doctor: what it says is so, it says nothing of who one is, and it always ends well."""

import importlib.metadata
import json
import os
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import torch

from unmask import cli, doctor
from unmask.device import choose_dtype, pick_dtype

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
CPU = torch.device("cpu")


def test_it_says_what_is_there_and_not_who_one_is(tmp_path):
    env = os.environ | {
        "HOME": str(tmp_path),
        "API_TOKEN": "hidden-from-all",
        "UNMASK_DTYPE": "float32",
    }
    env.pop("CUDA_VISIBLE_DEVICES", None)
    command = [sys.executable, "-m", "unmask", "doctor", "--seconds", "0.01", "--threads", "1"]
    done = subprocess.run(
        [*command, "--json", "d.json"], cwd=tmp_path, env=env, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == "wrote d.json\n"
    lines = done.stdout.splitlines()
    assert all(line.startswith("    ") for line in lines)  # in Markdown as it is
    said = {line[4:26].strip(): line[27:] for line in lines}
    for name in ("torch", "numpy", "tyro"):
        assert f"{name} {importlib.metadata.version(name)}" in said["packages"]
    assert said["torch"].startswith(torch.__version__)
    assert said["precision"] == "float32: UNMASK_DTYPE in the environment says so"
    assert said["threads"].startswith("1 of torch")
    assert "UNMASK_DTYPE=float32" in said["environment"] and "CUDA" not in said["environment"]
    assert "kinds of data" in said and "tokens a second" in said["speed"]
    assert str(tmp_path) not in done.stdout and "hidden-from-all" not in done.stdout
    record = json.loads((tmp_path / "d.json").read_text(encoding="utf-8"))
    assert record["facts"] == said and record["tokens_a_second"] > 0


def test_without_torch_it_says_so_and_ends_well(tmp_path):
    """As where a library that torch was built with is not there."""
    (tmp_path / "torch.py").write_text(f"raise ImportError('no {tmp_path}/lib.so')")
    env = os.environ | {"PYTHONPATH": f"{tmp_path}:{Path(doctor.__file__).parents[1]}"}
    record = tmp_path / "d.json"
    command = [sys.executable, "-m", "unmask", "doctor", "--json", str(record)]
    env["HOME"] = str(tmp_path)
    done = subprocess.run(command, env=env, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.split(maxsplit=1) == ["torch", "cannot be loaded: no ~/lib.so"]
    assert json.loads(record.read_text())["facts"]["torch"] == "cannot be loaded: no ~/lib.so"


def test_where_there_is_no_home_nothing_is_cut(monkeypatch):
    monkeypatch.setenv("HOME", "/")
    assert doctor.without_home("a/b: c") == "a/b: c"
    monkeypatch.setenv("HOME", "/home/me")
    assert doctor.without_home("no /home/me/x") == "no ~/x"


def test_what_is_asked_of_it_is_refused_in_a_sentence(monkeypatch, capsys):
    assert cli.main(["doctor", "--seconds", "-1"]) == 2
    assert "--seconds must not be negative" in capsys.readouterr().err
    monkeypatch.setenv("UNMASK_DTYPE", "half")
    assert cli.main(["doctor"]) == 2
    assert "UNMASK_DTYPE is 'half'" in capsys.readouterr().err


def test_all_that_the_project_asks_for_is_read_and_every_extra_has_its_words():
    asked = [(line, "") for line in PROJECT["dependencies"]]
    extras = PROJECT["optional-dependencies"]
    asked += [(line, extra) for extra, lines in extras.items() for line in lines]
    for line, extra in asked:
        name, least = line.split(">=")
        metadata = f'{line}; extra == "{extra}"' if extra else line
        assert doctor.requirement(metadata) == (name, least, extra)
    assert set(doctor.EXTRAS) == set(extras)


def test_what_is_missing_or_too_old_is_told_apart(monkeypatch):
    versions = {"numpy": "1.9.0", "torch": "2.13.0+cpu", "hypothesis": "6.100"}

    def version(name):
        if name not in versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(importlib.metadata, "version", version)
    lines = ["numpy>=1.26", "torch>=2.9", 'hypothesis>=6.100; extra == "dev"', 'x>=1; extra == "y"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: lines)
    facts = dict(doctor.packages())
    assert facts["packages"] == "numpy 1.9.0 is older than 1.26, torch 2.13.0+cpu"
    assert facts["optional: dev"] == f"hypothesis 6.100 ({doctor.EXTRAS['dev']})"
    assert facts["optional: y"] == "x is missing; pip install 'unmask[y]'"
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: version(name))
    assert "not installed here" in dict(doctor.packages())["packages"]


@pytest.mark.parametrize("tiles, avx", [(False, False), (True, False), (False, True)])
def test_the_precision_has_its_reason(monkeypatch, tiles, avx):
    monkeypatch.delenv("UNMASK_DTYPE", raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx)
    fast = tiles or avx
    name, why = choose_dtype("auto", CPU)
    assert name == pick_dtype("auto", CPU) == ("bfloat16" if fast else "float32")
    assert (
        why == f"this cpu has {'instructions for it' if fast else 'no instructions for bfloat16'}"
    )
    assert choose_dtype("bfloat16", CPU) == ("bfloat16", "as asked")


def test_limits_of_a_container_are_said(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "CGROUP", tmp_path)
    assert "container" not in doctor.memory() and "time" not in doctor.cores()
    (tmp_path / "memory.max").write_text("2000000000\n")
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert doctor.memory().endswith("; this container may have 2.0 GB")
    assert doctor.cores().endswith(", for the time of 1.5")
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert "container" not in doctor.memory() and "time" not in doctor.cores()


def test_the_speed_is_tokens_over_time():
    began = time.perf_counter()
    rate, steps = doctor.speed(CPU, "float32", 0.01)
    assert steps >= 1 and rate > steps * 16 * 256 / (time.perf_counter() - began)
