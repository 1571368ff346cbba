#!/usr/bin/env python3
"""A change that is not about numbers shows none: the losses of short runs, and the weights they end
with, before and after.

    python runs/same_losses.py REVISION        # of git, against the working tree; exit code 1 for any difference

Every kind of data, a learned schedule and digits, one thread, float32 and bfloat16, through the
command line, on bundled data.  The package of REVISION is taken from git as it was; both use the
environment's libraries.
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
SMALL = ["--minutes", "0", "--steps", "12", "--batch-size", "8", "--log-every", "1", "--eval-minutes", "0", "--eval-windows", "16",
         "--threads", "1"]  # fmt: skip
TINY = ["--dim", "32", "--layers", "2", "--heads", "2"]
PREPARE = {
    "text": ["text", "tinyshakespeare.txt", "--tokenizer", "characters"],
    "images": ["images", "digits-images-idx3-ubyte.gz"],
    "tables": ["tables", "adult.csv.gz"],
    "proteins": ["proteins", "proteins.fasta.gz"],
}
RUNS = {  # (data, preset, flags)
    "text": ("text", "demo", [*TINY, "--length", "32", "--dropout", "0.1"]),
    "text, learned": ("text", "demo", [*TINY, "--length", "32", "--schedule", "learned", "--time"]),
    "text, two digits": (
        "text",
        "demo",
        [*TINY, "--length", "32", "--digits", "2", "--accumulate", "2"],
    ),
    "images": ("images", "digits", ["--widths", "8,16"]),
    "tables": ("tables", "table", TINY),
    "proteins": ("proteins", "protein", [*TINY, "--length", "64"]),
}


def unmask(source: Path, *arguments: str) -> None:
    """Run a verb of the package in `source`."""
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "unmask", *arguments],
        env=environment,
        capture_output=True,
        text=True,
    )
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
            unmask(
                source,
                "train",
                preset,
                "--data",
                str(work / kind),
                "--out",
                str(out),
                *SMALL,
                "--dtype",
                dtype,
                *flags,
            )
            rows = [
                json.loads(line)
                for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()
            ]
            (weights,) = out.glob("checkpoints/*/model.safetensors")
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()
            results[f"{name}, {dtype}"] = ([row["loss"] for row in rows if "loss" in row], digest)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("revision", help="of git: what the working tree is compared with")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        old = work / "old"
        old.mkdir()
        archive = subprocess.run(
            ["git", "-C", str(ROOT), "archive", args.revision, "src"],
            check=True,
            capture_output=True,
        )
        subprocess.run(["tar", "-x", "-C", str(old)], input=archive.stdout, check=True)
        before, after = (
            found_in(source, work / name)
            for name, source in (("before", old / "src"), ("after", ROOT / "src"))
        )
    different = 0
    for name, (losses, digest) in before.items():
        same = (losses, digest) == after[name]
        different += not same
        print(
            f"{name:28} {losses[0]:.6g} to {losses[-1]:.6g}: {'the same bits' if same else f'DIFFERENT: {after[name][0][-1]:.6g}'}"
        )
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
