"""Speedruns: the lowest bound on held-out data after a fixed time of training on two CPU cores.

    python runs/speedrun.py shakespeare OUT                  # 3 minutes a seed
    python runs/speedrun.py fil8 OUT --source fil8.xz        # 30
    python runs/speedrun.py mnist OUT --source FOLDER        # 60
    python runs/speedrun.py shakespeare OUT -- --dropout 0.1 --neighbours 7

What follows -- are flags of unmask train.  The rules, and where the data are, are in
docs/speedruns.md.  FOLDER has binarized_mnist_{train,valid,test}.packbits.u8.

An entry is a commit and flags: `unmask train PRESET --minutes M`, a process of its own on two
cores, whose wall time counts from its start to its end; then `unmask eval` of the whole test split.
Prints the figure with its errors, and why it is no entry if it is none; writes OUT/speedrun.json.
What is finished of OUT is not done again; training that was stopped begins anew.  Linux only, whose
processes can be bound to cores.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import unmask
from unmask.checkpoint import resolve
from unmask.cli.main import terminating
from unmask.doctor import processor
from unmask.documents import read_json
from unmask.files import locked, write_whole
from unmask.kinds.registry import demos
from unmask.train import last_row
from unmask.train.pace import WRONG

CORES, SEEDS = 2, [0, 1, 2]
# of a run's time: its plan may be late by WRONG; to start, to validate and to write the model
RESERVED_SHARE, RESERVED_SECONDS = WRONG + 0.01, 8.0
# of `unmask train`: what makes another race of it, or is this script's to say
OWN = "data out seed minutes steps threads device checkpoint-minutes from rival dry-run gpu json"


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
    digests: list[str]  # how the SHA-256 of train.bin, validation.bin and test.bin begin


BITS = "value", "stderr", "bits a character"
NATS = "nats_per_example", "nats_per_example_stderr", "nats a picture"
WIDER = ["demo", "--length", "256", "--dim", "192", "--layers", "6", "--heads", "6"]
TRACKS = {
    "shakespeare": Track(
        3, shakespeare, ["demo"], 8, *BITS, ["4046d73d8d38", "cefe35ba1ac2", "933340662124"]
    ),
    "fil8": Track(30, letters, WIDER, 1, *BITS, ["ed56f71d9e0b", "657f86764c1a", "048c228312cd"]),
    "mnist": Track(
        60, binarized, ["mnist"], 2, *NATS, ["43490d4d6ac9", "069b4f0beb38", "ca0294c3b8d9"]
    ),
}


def main(argv: list[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    cut = argv.index("--") if "--" in argv else len(argv)
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw, allow_abbrev=False)
    parser.add_argument("track", choices=TRACKS)
    parser.add_argument("out", type=Path)
    parser.add_argument("--source", type=Path, help="the data; shakespeare's are bundled")
    parser.add_argument("--seeds", default="0,1,2", help="others, to try it, are no entry")
    parser.add_argument("--minutes", type=float, help="fewer, to try it, are no entry")
    args, flags = parser.parse_args(argv[:cut]), argv[cut + 1 :]
    try:
        with terminating():
            record = race(args, flags)
    except (ValueError, OSError, subprocess.CalledProcessError) as error:
        print(f"speedrun: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command begins what was not finished anew", file=sys.stderr)
        return 130
    print("\n".join(lines_of(record)))
    return 0


def race(args: argparse.Namespace, flags: list[str]) -> dict:
    """Do what is not done yet; the record."""
    track, out = TRACKS[args.track], args.out
    most = track.minutes
    track = track._replace(minutes=most if args.minutes is None else args.minutes)
    if not 0.2 <= track.minutes <= most:
        raise ValueError(f"--minutes must be from 0.2 to {most:g}, not {track.minutes:g}")
    if not all(seed.isdecimal() for seed in args.seeds.split(",")):
        raise ValueError(f"--seeds {args.seeds}: give whole numbers with commas between them")
    seeds = [int(seed) for seed in args.seeds.split(",")]
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds {args.seeds}: name each once")
    for flag in flags:
        name = flag.split("=")[0].replace("_", "-")
        if name.startswith("--") and name[2:] in OWN.split():
            raise ValueError(f"{name} is not an entry's to choose: leave it out")
    entry = {"track": args.track, "minutes": track.minutes, "train": [*track.train, *flags]}
    with held(out, entry):
        if not (out / "data" / "meta.json").exists():
            kind, source, *how = track.prepare(args.source)
            command("prepare", kind, source, str(out / "data"), *how)
        for seed in seeds:
            if not (out / f"trained-{seed}.json").exists():
                write(out / f"trained-{seed}.json", trained(track, entry, out, seed))
            if not (out / f"eval-{seed}.json").exists():
                evaluate(track, out, seed)
        record = entry | summary(track, most, out, seeds)
        write(out / "speedrun.json", record)
    return record


@contextmanager
def held(out: Path, entry: dict) -> Iterator[None]:
    """OUT, locked.  ValueError where it is something else, or another entry that has begun."""
    path = out / "entry.json"
    if out.exists() and not path.exists() and any(out.iterdir()):
        raise ValueError(f"{out} has other files: choose another OUT")
    out.mkdir(parents=True, exist_ok=True)
    try:
        with locked(out):
            begun = any(out.glob("trained-*.json"))
            if begun and (before := read_json(path, dict)) != entry:
                raise ValueError(f"{out} was begun as {before}, not {entry}: choose another OUT")
            write(path, entry)
            yield
    except BlockingIOError:
        raise ValueError(f"{out} is another process's: wait for it") from None


def write(path: Path, record: dict) -> None:
    write_whole(path, json.dumps(record, indent=1) + "\n")


def command(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "unmask", *words], check=True)


def trained(track: Track, entry: dict, out: Path, seed: int) -> dict:
    """Train in the track's time; what is known of it."""
    folder = out / f"run-{seed}"
    shutil.rmtree(folder, ignore_errors=True)
    minutes = track.minutes * (1 - RESERVED_SHARE) - RESERVED_SECONDS / 60
    how = ["--data", str(out / "data"), "--out", str(folder), "--minutes", f"{minutes:.4f}"]
    how += ["--threads", str(CORES), "--seed", str(seed), "--checkpoint-minutes", "600"]
    (preset, *flags), of_commit = entry["train"], commit()
    with on_cores() as cores:
        busy, own, began = busy_seconds(), sum(os.times()[:4]), time.monotonic()
        command("train", preset, *flags, *how, "--device", "cpu")
        seconds, own = time.monotonic() - began, sum(os.times()[:4]) - own
    run = read_json(folder / "run.json", dict)
    return {
        "seed": seed, "seconds": round(seconds, 1), "processor_seconds": round(own, 1),
        "processor_seconds_of_others": round(max(0.0, busy_seconds() - busy - own), 1),
        "steps": last_row(folder, resolve(folder))["step"], "cores": cores,
        "processor": processor(), "commit": of_commit, "config": run["identity"],
    }  # fmt: skip


@contextmanager
def on_cores() -> Iterator[list[int]]:
    """This process and its children are bound to CORES logical processors, which are named."""
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if len(usable) < CORES:
        raise ValueError(f"processes cannot be bound to {CORES} cores here: {usable} are there")
    os.sched_setaffinity(0, usable[:CORES])
    try:
        yield usable[:CORES]
    finally:
        os.sched_setaffinity(0, usable)


def busy_seconds() -> float:
    """Of all processors of this machine since it started."""
    first = Path("/proc/stat").read_text(encoding="utf-8").splitlines()[0]
    user, nice, system, _, _, irq, softirq, steal = map(int, first.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def commit() -> str:
    """Of the code that is run; "" where it is no checkout, -dirty where it is not committed."""
    words = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    here = Path(unmask.__file__).parent
    try:
        return subprocess.run(words, capture_output=True, text=True, cwd=here).stdout.strip()
    except FileNotFoundError:
        return ""


def evaluate(track: Track, out: Path, seed: int) -> None:
    """By as many threads as there are: this is not timed."""
    words = ["--data", str(out / "data"), "--repeats", str(track.repeats), "--seed", str(seed)]
    result = ["--device", "cpu", "--json", str(out / f"eval-{seed}.json")]
    command("eval", str(out / f"run-{seed}"), *words, *result)


def summary(track: Track, most: float, out: Path, seeds: list[int]) -> dict:
    """The mean over the seeds that are not void, its error over test examples, and that over seeds;
    and why this is no entry."""
    data = read_json(out / "data" / "meta.json", dict)["sha256"]
    found = []
    for seed in seeds:
        result = read_json(out / f"eval-{seed}.json", dict)
        one = read_json(out / f"trained-{seed}.json", dict)
        one |= {"figure": result[track.figure], "error": result[track.error]}
        one |= {name: result[name] for name in ("noise", "n", "estimator", "precision")}
        found.append(one | {"void": one["seconds"] > 60 * track.minutes})
    valid = [one for one in found if not one["void"]]
    figures = [one["figure"] for one in valid]
    spread = statistics.stdev(figures) / len(figures) ** 0.5 if len(figures) > 1 else None
    return {
        "figure": statistics.mean(figures) if figures else None, "unit": track.unit,
        "error": max((one["error"] for one in valid), default=None),
        "error_over_seeds": spread, "seeds": found, "data_sha256": data,
        "no_entry_because": list(failings(track, most, data, seeds, found)),
    }  # fmt: skip


def failings(
    track: Track, most: float, data: dict, seeds: list[int], found: list[dict]
) -> Iterator[str]:
    """What a record lacks to be an entry."""
    if track.minutes != most:
        yield f"it had {track.minutes:g} minutes, not {most:g}"
    parts = [data[f"{name}.bin"] for name in ("train", "validation", "test")]
    if not all(map(str.startswith, parts, track.digests)):
        yield "the data are others than the track's"
    if sorted(seeds) != SEEDS:
        yield f"its seeds are {seeds}, not {SEEDS}"
    if void := [one["seed"] for one in found if one["void"]]:
        yield f"seeds {void} took longer than {60 * track.minutes:g} seconds"
    if len(commits := {one["commit"] for one in found}) > 1:
        yield f"its seeds are of commits {sorted(commits)}"
    if any(not one or one.endswith("-dirty") for one in commits):
        yield "its code is not a commit"


def lines_of(record: dict) -> list[str]:
    """Lines of Markdown: a row a seed, and one for the mean."""
    seconds, unit = 60 * record["minutes"], record["unit"]
    heads = ("seed", f"{unit}, an upper bound", "steps", "seconds", "processor seconds of others")
    lines = [f"| {' | '.join(heads)} | processor |", "|---|---|---|---|---|---|"]
    for one in record["seeds"]:
        figure = f"{one['figure']:.3f} ± {one['error']:.3f}"
        took = f"{one['seconds']:.1f}" + (", void" if one["void"] else "")
        others = f"{one['processor_seconds_of_others']:.0f}"
        where = f"{one['processor']}, {one['precision']}"
        lines.append(
            f"| {one['seed']} | {figure} | {one['steps']:,} | {took} | {others} | {where} |"
        )
    if record["error_over_seeds"] is not None:
        mean = f"{record['figure']:.3f} ± {record['error']:.3f}"
        over = f"± {record['error_over_seeds']:.3f} over seeds"
        lines.append(f"| mean | {mean}, {over} | | of {seconds:g} | | |")
    if record["no_entry_because"]:
        lines += ["", f"No entry: {'; '.join(record['no_entry_because'])}."]
    return lines


def table(record: Path) -> list[str]:
    """Of docs/results.md."""
    return lines_of(read_json(record, dict))


if __name__ == "__main__":
    sys.exit(main())
