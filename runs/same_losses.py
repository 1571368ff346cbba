#!/usr/bin/env python3
"""A change that is not about numbers shows none: short runs, before and after.

    python runs/same_losses.py REVISION        # of git, against the working tree

Compares the losses and the weights that the runs end with; exit code 1 for any difference.  Every
kind of data, a learned schedule and digits, one thread, float32 and bfloat16, through the command
line, on bundled data.  The package of REVISION is taken from git as it was; both use the
environment's libraries.  A revision has to know every flag that is given here.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    "--minutes", "0", "--steps", "12", "--batch-size", "8", "--log-every", "1",
    "--eval-minutes", "0", "--eval-windows", "16", "--threads", "1",
]  # fmt: skip
TINY = ["--dim", "32", "--layers", "2", "--heads", "2"]
SHORT = [*TINY, "--length", "32"]
PREPARE = {
    "text": ["text", "tinyshakespeare.txt", "--tokenizer", "characters"],
    "images": ["images", "digits-images-idx3-ubyte.gz"],
    "tables": ["tables", "adult.csv.gz"],
    "proteins": ["proteins", "proteins.fasta.gz"],
}
RUNS = {  # (data, preset, flags)
    "text": ("text", "demo", [*SHORT, "--dropout", "0.1"]),
    "text, learned": ("text", "demo", [*SHORT, "--schedule", "learned", "--time", "--focus", "0"]),
    "text, two digits": ("text", "demo", [*SHORT, "--digits", "2", "--accumulate", "2"]),
    "images": ("images", "digits", ["--widths", "8,16"]),
    "tables": ("tables", "table", TINY),
    "proteins": ("proteins", "protein", [*TINY, "--length", "64"]),
}


def unmask(source: Path, *arguments: str) -> None:
    """Run a verb of the package in `source`."""
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "unmask", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"unmask {' '.join(arguments)}\n{done.stderr}")


def found_in(source: Path, work: Path) -> dict[str, tuple[list[float], str]]:
    """Of every run: its losses, and a digest of the weights."""
    results = {}
    for kind, (name, data, *how) in PREPARE.items():
        (path,) = (source / "unmask").rglob(data)
        unmask(source, "prepare", name, str(path), str(work / kind), *how)
    for name, (kind, preset, flags) in RUNS.items():
        for dtype in ("float32", "bfloat16"):
            out = work / f"{name} {dtype}"
            folders = ["--data", str(work / kind), "--out", str(out)]
            unmask(source, "train", preset, *folders, *SMALL, "--dtype", dtype, *flags)
            log = (out / "log.jsonl").read_text(encoding="utf-8")
            rows = [json.loads(line) for line in log.splitlines()]
            (weights,) = out.glob("checkpoints/*/model.safetensors")
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()
            losses = [value for row in rows for key, value in row.items() if key.endswith("loss")]
            results[f"{name}, {dtype}"] = (losses, digest)
    return results


def main() -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("revision", help="of git: what the working tree is compared with")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        old = work / "old"
        old.mkdir()
        take = ["git", "-C", str(ROOT), "archive", args.revision, "src"]
        archive = subprocess.run(take, check=True, capture_output=True)
        subprocess.run(["tar", "-x", "-C", str(old)], input=archive.stdout, check=True)
        before = found_in(old / "src", work / "before")
        after = found_in(ROOT / "src", work / "after")
    for name, (losses, _) in before.items():
        said = "the same bits"
        if before[name] != after[name]:
            said = f"DIFFERENT: {after[name][0][-1]:.6g}"
        print(f"{name:28} {losses[0]:.6g} to {losses[-1]:.6g}: {said}")
    return int(before != after)


if __name__ == "__main__":
    sys.exit(main())
