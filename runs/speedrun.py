"""Speedruns: the lowest bound on held-out data after a fixed time of training on two CPU cores.

    python runs/speedrun.py shakespeare OUT                  # 3 minutes a seed
    python runs/speedrun.py fil8 OUT --source fil8.xz        # 30
    python runs/speedrun.py mnist OUT --source FOLDER        # 60
    python runs/speedrun.py shakespeare OUT -- --dropout 0.1 --neighbours 7

What follows -- are flags of unmask train.  The rules are in docs/speedruns.md.  fil8.xz is text8's
filter run on enwik8; any text of its 27 letters is read.  FOLDER has Larochelle's binarized MNIST,
binarized_mnist_{train,valid,test}.packbits.u8.

An entry is a commit and flags: `unmask train PRESET --minutes M`, a process of its own on two
cores, whose wall time counts from its start to its end; then `unmask eval` of the whole test split.
A seed that is finished (OUT/seed-N.json) is not done again, one that was stopped begins anew.
Prints the figure with its errors, and writes it to OUT/speedrun.json; a seed that took longer than
it may is void.  Two entries are told apart in pairs: `unmask compare A/eval-0.json B/eval-0.json`.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from unmask.checkpoint import resolve
from unmask.doctor import cores, processor
from unmask.documents import read_json
from unmask.files import write_whole
from unmask.kinds.registry import demos
from unmask.train import last_row

CORES = 2
# of a run's time: to start, to validate at the end, and to write the model
RESERVED_SHARE, RESERVED_SECONDS = 0.02, 8.0


def shakespeare(source: Path | None) -> list[str]:
    demo = demos()["shakespeare"]
    where = source or demo.source
    return ["text", str(where), "--tokenizer", "characters", "--split", demo.split]


def letters(source: Path | None) -> list[str]:
    return ["text", str(given(source)), "--tokenizer", "characters", "--alphabet", "text8"]


def binarized(source: Path | None) -> list[str]:
    bits = f"{given(source)}/binarized_mnist_"
    words = ["images", f"{bits}train.packbits.u8", "--format", "packbits", "--shape", "28,28,1"]
    words += ["--validation", f"{bits}valid.packbits.u8"]
    return [*words, "--test", f"{bits}test.packbits.u8"]


def given(source: Path | None) -> Path:
    if source is None:
        raise ValueError("this track has no data of its own: give --source")
    return source


class Track(NamedTuple):
    minutes: float  # of the process that trains
    prepare: Callable[[Path | None], list[str]]
    train: list[str]  # a preset and flags: ours until somebody has better ones
    repeats: int  # draws of masks of each test example
    figure: str  # of a result of `unmask eval`, and its error
    error: str
    unit: str


BITS = "value", "stderr", "bits a character"
NATS = "nats_per_example", "nats_per_example_stderr", "nats a picture"
WIDER = ["demo", "--length", "256", "--dim", "192", "--layers", "6", "--heads", "6"]
TRACKS = {
    "shakespeare": Track(3, shakespeare, ["demo"], 8, *BITS),
    "fil8": Track(30, letters, WIDER, 1, *BITS),
    "mnist": Track(60, binarized, ["mnist"], 2, *NATS),
}


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    cut = argv.index("--") if "--" in argv else len(argv)
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("track", choices=TRACKS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", type=Path, help="the data; shakespeare's is bundled")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--minutes", type=float, help="fewer than the track's, to try it: no entry")
    args, flags = parser.parse_args(argv[:cut]), argv[cut + 1 :]
    track = TRACKS[args.track]
    if any(flag.split("=")[0] == "--rival" for flag in flags):
        parser.error("--rival: an entry is a masked diffusion model: leave it out")
    if args.minutes is not None:
        track = track._replace(minutes=args.minutes)
    entry = {"track": args.track, "minutes": track.minutes, "train": [*track.train, *flags]}
    try:
        seeds = [int(seed) for seed in args.seeds.split(",")]
        begin(args.out, entry)
        if not (args.out / "data" / "meta.json").exists():
            kind, source, *how = track.prepare(args.source)
            command("prepare", kind, source, str(args.out / "data"), *how)
        for seed in seeds:
            if not (args.out / f"seed-{seed}.json").exists():
                write(args.out / f"seed-{seed}.json", run(track, entry, args.out, seed))
        record = entry | summary(track, args.out, seeds)
        write(args.out / "speedrun.json", record)
    except (ValueError, OSError) as error:
        print(f"speedrun: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:  # it has said why
        return error.returncode
    except KeyboardInterrupt:
        print("stopped; the same command goes on with the next seed", file=sys.stderr)
        return 130
    print(in_words(record))
    return 0


def begin(out: Path, entry: dict) -> None:
    """ValueError where OUT was begun as another entry."""
    path = out / "entry.json"
    if not path.exists():
        out.mkdir(parents=True, exist_ok=True)
        write(path, entry)
    elif (before := read_json(path, dict)) != entry:
        raise ValueError(f"{out} was begun as {before}, not {entry}: choose another OUT")


def write(path: Path, record: dict) -> None:
    write_whole(path, json.dumps(record, indent=1) + "\n")


def command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "unmask", *words], check=True)


def run(track: Track, entry: dict, out: Path, seed: int) -> dict:
    """Train in the track's time, and evaluate."""
    folder, result = out / f"run-{seed}", out / f"eval-{seed}.json"
    shutil.rmtree(folder, ignore_errors=True)
    minutes = track.minutes * (1 - RESERVED_SHARE) - RESERVED_SECONDS / 60
    how = ["--data", str(out / "data"), "--out", str(folder), "--minutes", f"{minutes:.4f}"]
    how += ["--threads", str(CORES), "--seed", str(seed), "--checkpoint-minutes", "600"]
    load, before = os.getloadavg()[0], bound(CORES)
    began = time.monotonic()
    try:
        preset, *flags = entry["train"]
        command("train", preset, *how, *flags)
        seconds = time.monotonic() - began
    finally:
        bound(before)
    words = ["--data", str(out / "data"), "--repeats", str(track.repeats), "--seed", str(seed)]
    command("eval", str(folder), *words, "--json", str(result))
    found = read_json(result, dict)
    return {
        "seed": seed, "steps": last_row(folder, resolve(folder))["step"],
        "seconds": round(seconds, 1), "figure": found[track.figure], "error": found[track.error],
        "noise": found["noise"], "n": found["n"], "estimator": found["estimator"],
        "precision": found["precision"],
        "commit": commit(), "processor": processor(), "cores": cores(), "load_before": load,
    }  # fmt: skip


def bound(cores: int | set[int]) -> set[int]:
    """Let this process and its children use so many of its cores, or these; those from before."""
    if not hasattr(os, "sched_setaffinity"):
        return set()
    before = os.sched_getaffinity(0)
    mine = set(sorted(before)[:cores]) if isinstance(cores, int) else cores
    os.sched_setaffinity(0, mine)
    return before


def commit() -> str:
    words = ["git", "describe", "--always", "--dirty"]
    here = Path(__file__).parent
    return subprocess.run(words, capture_output=True, text=True, cwd=here).stdout.strip()


def summary(track: Track, out: Path, seeds: list[int]) -> dict:
    """The mean over seeds that are not void, its error over test examples, and that over seeds."""
    found = [read_json(out / f"seed-{seed}.json", dict) for seed in seeds]
    for one in found:
        one["void"] = one["seconds"] > 60 * track.minutes
    valid = [one for one in found if not one["void"]]
    figures = [one["figure"] for one in valid]
    spread = statistics.stdev(figures) / len(figures) ** 0.5 if len(figures) > 1 else None
    return {
        "figure": statistics.mean(figures) if figures else None, "unit": track.unit,
        "error": max((one["error"] for one in valid), default=None),
        "error_over_seeds": spread, "seeds": found,
    }  # fmt: skip


def in_words(record: dict) -> str:
    return "\n".join(table_of(record))


def table_of(record: dict) -> list[str]:
    """Lines of Markdown, a row a seed and one for the mean."""
    minutes, unit = record["minutes"], record["unit"]
    lines = [f"| seed | {unit}, an upper bound | steps | seconds of {60 * minutes:g} | processor |"]
    lines.append("|---|---|---|---|---|")
    for one in record["seeds"]:
        figure = f"{one['figure']:.3f} ± {one['error']:.3f}"
        took = f"{one['seconds']:.0f}" + (", so void" if one["void"] else "")
        where = f"{one['processor']}, {one['precision']}"
        lines.append(f"| {one['seed']} | {figure} | {one['steps']:,} | {took} | {where} |")
    if record["error_over_seeds"] is not None:
        spread = record["error_over_seeds"]
        mean = f"{record['figure']:.3f} ± {record['error']:.3f}, ± {spread:.3f} over seeds"
        lines.append(f"| mean | {mean} | | | |")
    return lines


def table(record: Path) -> list[str]:
    """Of docs/results.md."""
    return table_of(read_json(record, dict))


if __name__ == "__main__":
    sys.exit(main())
