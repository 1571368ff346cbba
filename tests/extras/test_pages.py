"""Blocks of the pages that need a package that is not the core's: see tests/pages.py."""

import json
import os
import re
from importlib.util import find_spec

import pandas as pd
from pages import PACKAGES, page_of, run_page
from test_huggingface import residues

from unmask.cli.main import main


def test_all_that_blocks_need_is_here():
    assert all(find_spec(name) for name in PACKAGES)


def test_transformers(tmp_path):
    """A tiny ESM with random weights, under the name of the page's."""
    residues(tmp_path / "esm2_t6_8M_UR50D", "esm")
    (tmp_path / "in.fasta").write_text(">a\nMKVLXXAG\n>b\nMKV-A\n")
    (tmp_path / "whole.fasta").write_text(">a\nMKVLAG\n>b\nMKVA\n")
    (tmp_path / "mutants.fasta").write_text(">a\nMKVLAA\n>b\nMKVL\n")
    proteins = "".join(f">p{i}\nMKVLAAG{'LIVG'[i % 4] * (i // 4)}STW\n" for i in range(200))
    (tmp_path / "some.fasta").write_text(proteins)
    assert main(["prepare", "proteins", str(tmp_path / "some.fasta"), str(tmp_path / "data")]) == 0
    swaps = {"tuned  ": "tuned --length 32 --minutes 0 --steps 2 --batch-size 4 --eval-windows 4 "}
    said = run_page("transformers.md", tmp_path, swaps)
    assert "bits per residue: an upper bound" in said and said.count("candidate=") == 6
    assert re.search(r"\n[ab],\d+,", (tmp_path / "scores.csv").read_text())
    assert said.endswith("]])\n")  # of the Python


def test_antibodies(tmp_path):
    """Training on the bound, of a small network in the place of the downloaded one."""
    residues(tmp_path / "there", max_position_embeddings=180)
    (tmp_path / "a.fasta").write_text(
        "".join(f">{i}\n{'MKVLAAGSTW' * 4}{'LIVG'[i % 4] * (i // 4)}\n" for i in range(80))
    )
    places = {name: str(tmp_path / name) for name in ("there", "antiberty", "a.fasta", "heavy")}
    evaluation = "--length 160 --limit 4 --repeats 2"
    record = ["--json", str(tmp_path / "antiberty.json")]
    assert main(["import", "huggingface", places["there"], places["antiberty"]]) == 0
    assert main(["prepare", "proteins", places["a.fasta"], places["heavy"]]) == 0
    flags = ["--data", places["heavy"], *evaluation.split(), *record]
    assert main(["eval", places["antiberty"], *flags]) == 0
    swaps = {
        "--steps 40": "--steps 2 --eval-windows 2",
        "--length 160 --limit 100 --repeats 4": evaluation,
    }
    said = run_page("antibodies.md", tmp_path, swaps)
    assert "bits per residue: an upper bound" in said
    assert "tuned.json less antiberty.json: " in said


def test_lm_evaluation_harness(tmp_path, text_run, monkeypatch):
    """Its own task, from the page, and one of whole texts."""
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"):
        monkeypatch.setitem(os.environ, name, "1")
    (tmp_path / "run").symlink_to(text_run)
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    page = page_of("lm-evaluation-harness.md").read_text(encoding="utf-8")
    (task,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (tasks / "goes_on.yaml").write_text(task)
    asked = {"context": "the", "choices": [" fox", " dog"], "answer": 0}
    (tasks / "choices.jsonl").write_text(json.dumps(asked) + "\n")
    (tasks / "texts.jsonl").write_text(json.dumps({"text": "the quick fox"}) + "\n")
    of_texts = {
        "task: goes_on": "task: bits", "choices.jsonl": "texts.jsonl", "multiple_choice":
        "loglikelihood_rolling", 'doc_to_text: "{{context}}"\ndoc_to_choice: choices\n':
        'doc_to_text: ""\n', "doc_to_target: answer": 'doc_to_target: "{{text}}"',
    }  # fmt: skip
    for said, ours in of_texts.items():
        assert said in task
        task = task.replace(said, ours)
    (tasks / "bits.yaml").write_text(f"{task}metric_list:\n  - metric: bits_per_byte\n")
    said = run_page("lm-evaluation-harness.md", tmp_path, {"repeats=64": "repeats=8"})
    assert "goes_on" in said and "bits_per_byte" in said
    assert json.loads((tmp_path / "noise.json").read_text())["repeats"] == 8


def test_out(tmp_path, text_run):
    (tmp_path / "run").symlink_to(text_run)
    said = run_page("out.md", tmp_path)
    assert said.endswith("torch.Size([2, 8, 28])\n") and (tmp_path / "model.onnx").is_file()


def test_tables_from_python(tmp_path):
    rows = [{"arm": "AB"[i % 2], "lab": ("pos", "neg", None)[i % 3]} for i in range(300)]
    frame = pd.DataFrame(rows)
    holes = frame.head(4).assign(arm=None)
    names = {"frame": frame, "frame_with_holes": holes, "rows": holes, "held_out": frame.tail(20)}
    swaps = {"minutes=2": "steps=4, config=dict(dim=16, layers=1)", "sample(1000)": "sample(20)"}
    run_page("tables.md", tmp_path, swaps, only="python", **names)


def test_compress(tmp_path, text_run):
    """With a model of text; `text_run` is of 28 characters."""
    (tmp_path / "run").symlink_to(text_run)
    (tmp_path / "in.txt").write_bytes(b"the quick brown fox\r\n" * 8)
    said = run_page("compress.md", tmp_path)
    assert "the exact -log2 p of the sampler" in said and "bytes by the likelihood" in said
