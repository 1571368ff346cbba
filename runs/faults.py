#!/usr/bin/env python3
"""Kills, full disks and damage, for real: what is lost, and what is said.  make faults

    python runs/faults.py --out docs/reliability.md  # all of it, about 20 minutes, as a page
    python runs/faults.py --short                    # a little of each, less than a minute

Every command is a process of its own, as a user starts it.  A fault counts as wrong where a command
ends well with another result than undisturbed, ends in anything but one sentence, leaves half a
file under a final name, or leaves what the next command does not clean up.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import NamedTuple

from unmask import checkpoint
from unmask.kinds.output import check_out

ROOT = Path(__file__).resolve().parents[1]
TRAIN = [
    "--length", "16", "--dim", "16", "--layers", "1", "--heads", "2", "--batch-size", "8",
    "--minutes", "0", "--eval-windows", "64", "--eval-minutes", "0.01", "--log-every", "5",
    "--threads", "1", "--device", "cpu", "--dtype", "float32", "--checkpoint-minutes", "0.002",
    "--accumulate", "2",
]  # fmt: skip
MEMORY = 1 << 30  # bytes, beyond those of PyTorch itself


class Row(NamedTuple):
    """A line of the table."""

    what: str
    times: int
    wrong: int
    lost: str


class Bench:
    """A folder to work in, and how much is tried."""

    def __init__(self, home: Path, short: bool):
        self.home, self.short = home, short
        self.random = random.Random(0)
        self.env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src")}
        if sys.platform == "linux":
            self.env["GLOO_SOCKET_IFNAME"] = "lo"  # whatever this machine calls itself
        (home / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 3000)
        self.done("prepare", "text", "text.txt", "data", "--tokenizer", "characters")
        self.done("train", "demo", *self.run("whole"))
        self.weights = digests(home / "whole")
        (home / "holes.txt").write_text("the [MASK:5] fox")

    def times(self, many: int, few: int) -> int:
        return few if self.short else many

    def run(self, out: str, steps: int = 60) -> list[str]:
        return ["--data", "data", "--out", out, "--steps", str(steps), *TRAIN]

    def start(self, *command: str, processes: int = 1) -> subprocess.Popen:
        begin = [sys.executable, "-m"]
        if processes > 1:
            begin += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
            begin += ["--max-restarts=1000", "--", "-m"]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        return subprocess.Popen([*begin, "unmask", *command], cwd=self.home, env=self.env, **pipes)

    def tried(self, *command: str) -> tuple[int, str]:
        """Exit code, and what was said."""
        process = self.start(*command)
        try:
            out, err = process.communicate(timeout=100)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return -1, f"unmask {' '.join(command)} waits for ever"
        return process.returncode, out + err

    def done(self, *command: str) -> None:
        code, said = self.tried(*command)
        if code:
            raise RuntimeError(f"unmask {' '.join(command)}: {said}")

    def same(self, out: str) -> bool:
        """Whether a run ended with the bits of the undisturbed one."""
        return digests(self.home / out) == self.weights

    def clean(self, out: str) -> None:
        shutil.rmtree(self.home / out, ignore_errors=True)


def digests(run: Path) -> dict[str, str]:
    found = checkpoint.read_config(checkpoint.resolve(run))["sha256"]
    # pieces hold the same tensors in files that PyTorch lays out as it likes
    same = ("model.safetensors", "training.safetensors")
    return {name: value for name, value in found.items() if name in same}


def one_sentence(code: int, said: str) -> bool:
    return code == 2 and "Traceback" not in said and "this is a bug" not in said


# ---------------------------------------------------------------- kills


def kills_of_a_run(bench: Bench) -> Row:
    """SIGKILL at random moments, the same command again, until it has ended."""
    wanted, killed, wrong, runs = bench.times(50, 2), 0, 0, 0
    while killed < wanted:
        out = f"killed-{runs}"
        runs += 1
        while True:
            process = bench.start("train", "demo", *bench.run(out))
            with suppress(subprocess.TimeoutExpired):
                # most of a run's time is the start of Python
                process.communicate(timeout=bench.random.uniform(1.0, 4.0))
            if process.poll() is not None and process.returncode >= 0:
                wrong += process.returncode != 0
                break
            process.kill()
            process.communicate()
            killed += 1
            if killed >= wanted:
                bench.done("train", "demo", *bench.run(out))
                break
        wrong += not bench.same(out) or bool(list((bench.home / out).rglob(".*.new-*")))
        bench.clean(out)
    lost = f"nothing but the steps since the last checkpoint; {runs} runs, all bit for bit"
    return Row("SIGKILL of a training process", killed, wrong, lost)


def kills_of_ranks(bench: Bench, sharded: bool) -> Row:
    """SIGKILL of one of two processes at random moments; torchrun starts both again."""
    wanted = bench.times(25, 1)
    killed = wrong = runs = 0
    flags = ["--shard"] if sharded else []
    whole = bench.start(
        "train", "demo", *bench.run("two", bench.times(150, 70)), *flags, processes=2
    )
    whole.communicate(timeout=300)
    while killed < wanted:
        out = f"ranks-{runs}"
        runs += 1
        process = bench.start(
            "train", "demo", *bench.run(out, bench.times(150, 70)), *flags, processes=2
        )
        while process.poll() is None and killed < wanted:
            time.sleep(bench.random.uniform(2.5, 6.0))
            ranks = children(process.pid)
            if len(ranks) == 2:
                with suppress(ProcessLookupError):
                    os.kill(bench.random.choice(ranks), signal.SIGKILL)
                    killed += 1
        process.communicate(timeout=300)
        ended = process.returncode == 0
        wrong += not ended or digests(bench.home / out) != digests(bench.home / "two")
        bench.clean(out)
    bench.clean("two")
    lost = f"nothing but the steps since the last checkpoint; {runs} runs, all bit for bit"
    what = "pieces" if sharded else "copies"
    return Row(f"SIGKILL of one of two processes, {what}", killed, wrong, lost)


def kills_of_a_rank(bench: Bench) -> Iterator[Row]:
    for sharded in (True,) if bench.short else (False, True):
        yield kills_of_ranks(bench, sharded)


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.is_file() else []


def kills_of_writers(bench: Bench) -> Iterator[Row]:
    """SIGKILL at random moments of what writes a file or a folder; then the command again."""
    commands = {
        "prepare": (["prepare", "text", "text.txt", "OUT"], 1.2),
        "sample --out": (["sample", "whole", "--num", "64", "--out", "OUT"], 3.0),
        "fill --out": (["fill", "whole", "holes.txt", "--out", "OUT"], 3.0),
    }
    for name, (command, longest) in commands.items():
        times, wrong = bench.times(30, 1), 0
        bench.done(*(part.replace("OUT", "right") for part in command))
        for _ in range(times):
            given = [part.replace("OUT", "killed") for part in command]
            process = bench.start(*given)
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=bench.random.uniform(0.3, longest))
            process.kill()
            process.communicate()
            made = bench.home / "killed"
            if made.exists():
                wrong += not equal(made, bench.home / "right")
                remove(made)
            bench.done(*given)
            wrong += not equal(made, bench.home / "right")
            wrong += bool(list(bench.home.glob(".killed*")))
            remove(made)
        remove(bench.home / "right")
        yield Row(f"SIGKILL in {name}", times, wrong, "nothing: whole, or not there")


def equal(a: Path, b: Path) -> bool:
    if a.is_file() and b.is_file():
        return a.read_bytes() == b.read_bytes()
    # but for the note of when a file was verified
    names = [sorted(one.name for one in folder.glob("[!.]*")) for folder in (a, b)]
    return names[0] == names[1] and all(
        (a / n).read_bytes() == (b / n).read_bytes() for n in names[0]
    )


def remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def terminated(bench: Bench) -> Row:
    """SIGTERM at random moments, as a cluster sends it: a checkpoint, and an end in ten seconds."""
    times, wrong, slowest = bench.times(10, 1), 0, 0.0
    for i in range(times):
        process = bench.start("train", "demo", *bench.run(f"term-{i}", 60_000))
        log = bench.home / f"term-{i}" / "log.jsonl"
        while not log.is_file():
            time.sleep(0.02)
        time.sleep(bench.random.uniform(0, 2))
        began = time.monotonic()
        process.terminate()
        if bench.random.random() < 0.5:  # by who sends it, and by who passes it on
            time.sleep(0.01)
            process.terminate()
        _, said = process.communicate()
        slowest = max(slowest, time.monotonic() - began)
        at = checkpoint.checkpoints(bench.home / f"term-{i}")
        # a second signal may come when all is done and Python is about to end
        fine = process.returncode in (130, -signal.SIGTERM)
        told = at and (f"step {int(at[-1].name)};" in said or "stopped by SIGTERM" in said)
        wrong += not (fine and told)
        bench.clean(f"term-{i}")
    wrong += slowest > 10
    return Row("SIGTERM in training", times, wrong, f"nothing; ended in {slowest:.1f} s at most")


# ---------------------------------------------------------------- disks


def full_disks(bench: Bench) -> Row:
    """Every command on a file system that is too small, of several sizes."""
    sizes = [8] if bench.short else [8, 24, 40, 72, 120, 200, 400]
    commands = [
        ["train", "demo", *bench.run("DISK/run")],
        ["sample", "whole", "--num", str(bench.times(2000, 20)), "--out", "DISK/samples.txt"],
        ["prepare", "text", "text.txt", "DISK/data"],
    ]
    times = wrong = 0
    for size in sizes:
        for command in commands:
            script = (
                f"mkdir -p disk && mount -t tmpfs -o size={size}k none disk && "
                f'"$@"; code=$?; find disk -name "*.new-*" | grep . && exit 99; '
                "for f in disk/run/checkpoints/*; do [ -d $f ] && cp -r $f kept; done; exit $code"
            )
            remove(bench.home / "kept")
            given = [part.replace("DISK", "disk") for part in command]
            done = subprocess.run(
                ["unshare", "-rm", "sh", "-c", script, "-", sys.executable, "-m", "unmask", *given],
                cwd=bench.home, env=bench.env, capture_output=True, encoding="utf-8",
            )  # fmt: skip
            if "unshare" in done.stderr or "mount:" in done.stderr:
                return Row("disk full", 0, 0, "not tried: no file system can be mounted here")
            times += 1
            fine = done.returncode == 0 or one_sentence(done.returncode, done.stderr)
            if not fine:
                print(size, command[0], done.returncode, done.stderr[-1000:], file=sys.stderr)
            wrong += not fine
    return Row("disk full", times, wrong, "what was being written; older files stay")


# ---------------------------------------------------------------- damage


def damages(bench: Bench) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Ways to damage a file."""

    def truncated(path: Path) -> None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    def a_folder(path: Path) -> None:
        path.unlink()
        path.mkdir()

    def a_pipe(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    def a_link(path: Path) -> None:
        path.unlink()
        path.symlink_to("/nowhere/at/all")

    def flipped(path: Path) -> None:
        content = bytearray(path.read_bytes())
        if content:
            content[bench.random.randrange(len(content))] ^= 1 << bench.random.randrange(8)
        path.write_bytes(content)

    yield "truncated", truncated
    yield "a pipe in its place", a_pipe
    if not bench.short:
        yield "removed", Path.unlink
        yield "a folder in its place", a_folder
        yield "a link to nowhere", a_link
    for _ in range(bench.times(30, 1)):
        yield "one bit flipped", flipped


def damaged_runs(bench: Bench) -> Row:
    """Each file of a stopped run; then it is continued, and evaluated."""
    process = bench.start("train", "demo", *bench.run("stopped"))
    while len(checkpoint.checkpoints(bench.home / "stopped")) < 2:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    stopped = bench.home / "stopped"
    times = wrong = continued = 0
    files = [path.relative_to(stopped) for path in sorted(stopped.rglob("*")) if path.is_file()]
    older = checkpoint.checkpoints(stopped)[0].relative_to(stopped)
    files = [path for path in files if older not in path.parents]
    if bench.short:
        files = [path for path in files if path.name == "training.safetensors"]
    for name in files:
        for how, damage in damages(bench):
            run = bench.home / "damaged"
            bench.clean("damaged")
            shutil.copytree(stopped, run)
            damage(run / name)
            code, said = bench.tried("train", "demo", *bench.run("damaged"))
            times += 1
            if code == 0 and bench.same("damaged"):
                continued += 1
            elif not one_sentence(code, said):
                wrong += 1
                print(f"{name} {how}: {code} {said[-1500:]}", file=sys.stderr)
    lost = f"nothing: {continued} continued to the same bits, the others were refused by name"
    return Row("a file of a stopped run damaged", times, wrong, lost)


def changed_data(bench: Bench) -> Row:
    times, wrong = 0, 0
    for name in ("train.bin", "validation.bin", "meta.json")[: bench.times(3, 1)]:
        shutil.copytree(bench.home / "data", bench.home / "other")
        path = bench.home / "other" / name
        flags = [part if part != "data" else "other" for part in bench.run("of-other")]
        bench.done("train", "demo", *flags)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        for command in (["train", "demo", *flags], ["eval", "of-other", "--data", "other"]):
            code, said = bench.tried(*command)
            times += 1
            # a finished run has nothing left to read; a test split is another file
            fine = one_sentence(code, said) or (code == 0 and "finished" in said)
            wrong += not (fine or (command[0] == "eval" and name != "meta.json" and code == 0))
        bench.clean("of-other")
        bench.clean("other")
    return Row("prepared data changed under a run", times, wrong, "nothing: refused by name")


def two_at_once(bench: Bench) -> Row:
    first = bench.start("train", "demo", *bench.run("shared", 60_000))
    while not (bench.home / "shared" / "log.jsonl").is_file():
        time.sleep(0.02)
    code, said = bench.tried("train", "demo", *bench.run("shared", 60_000))
    first.terminate()
    first.communicate()
    bench.clean("shared")
    wrong = not (one_sentence(code, said) and "another process" in said)
    return Row("two runs in one folder", 1, int(wrong), "nothing: the second is refused")


def diverging(bench: Bench) -> Row:
    flags = ["--learning-rate", "1e30", "--muon-learning-rate", "1e30", "--warmup", "30"]
    code, said = bench.tried("train", "demo", *bench.run("nan"), *flags)
    kept = checkpoint.checkpoints(bench.home / "nan")
    good = all("nan" not in json.dumps(checkpoint.read_config(one)) for one in kept)
    bench.clean("nan")
    wrong = not (one_sentence(code, said) and "training stopped" in said and good)
    return Row("a loss that is not finite", 1, int(wrong), "nothing: the last good state is kept")


def hostile(bench: Bench) -> Row:
    """Folders of models with absurd sizes, lies in headers, paths that lead out."""

    def header(folder: Path) -> None:
        content = (folder / "model.safetensors").read_bytes()
        lie = (1 << 40).to_bytes(8, "little")
        rewrite(folder, "model.safetensors", lie + content[8:])

    def config(**changes) -> Callable[[Path], None]:
        def change(folder: Path) -> None:
            found = json.loads((folder / "config.json").read_text())
            for name, value in changes.items():
                found["backbone"]["config"][name] = value
            sign(folder, found)

        return change

    def escape(folder: Path) -> None:
        found = json.loads((folder / "config.json").read_text())
        found["sha256"]["../../../../etc/passwd"] = "0" * 64
        sign(folder, found)

    tricks = [header, escape, config(dim=2**30), config(layers=10**8), config(vocab_size=2**31)]
    tricks += [config(heads=0), config(mlp=2**40), config(dim="x")]
    times, wrong, slowest, largest = 0, 0, 0.0, 0
    source = checkpoint.resolve(bench.home / "whole")
    plain = peak(bench, "whole")[1]
    for trick in tricks[: bench.times(99, 3)]:
        folder = bench.home / "hostile"
        remove(folder)
        shutil.copytree(source, folder)
        trick(folder)
        began = time.monotonic()
        (code, said), memory = peak(bench, "hostile")
        slowest, largest = max(slowest, time.monotonic() - began), max(largest, memory - plain)
        times += 1
        fine = one_sentence(code, said) and memory - plain < MEMORY
        if not fine:
            print(trick, code, memory - plain, said[-1000:], file=sys.stderr)
        wrong += not fine
    remove(bench.home / "hostile")
    lost = f"nothing: refused in {slowest:.1f} s at most, Python's start included, "
    lost += f"{max(0, largest) / 2**20:.0f} MB more than a good one takes"
    return Row("hostile folders of models", times, wrong, lost)


def rewrite(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    sign(folder, json.loads((folder / "config.json").read_text()))


def sign(folder: Path, config: dict) -> None:
    """With digests that are right."""
    for name in config["sha256"]:
        if (folder / name).is_file() and name != "config.json" and "/" not in name:
            config["sha256"][name] = checkpoint.digest(folder / name)
    config["sha256"]["config.json"] = checkpoint.config_digest(config)
    (folder / "config.json").write_text(json.dumps(config))


def peak(bench: Bench, model: str) -> tuple[tuple[int, str], int]:
    """Exit code and words of `eval`, and the most bytes that it took."""
    code = (
        "import resource, sys; from unmask.cli import main; code = main(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10, file=sys.stderr); "
        "sys.exit(code)"
    )
    command = [sys.executable, "-c", code, "eval", model, "--data", "data", "--limit", "2"]
    done = subprocess.run(
        command, cwd=bench.home, env=bench.env, capture_output=True, encoding="utf-8"
    )
    said, _, memory = done.stderr.strip().rpartition("\n")
    return (done.returncode, done.stdout + said), int(memory)


FAULTS: list[Callable[[Bench], Row | Iterator[Row]]] = [
    kills_of_a_run, kills_of_a_rank, kills_of_writers, terminated, full_disks, damaged_runs,
    changed_data, two_at_once, diverging, hostile,
]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--short", action="store_true", help="a little of each")
    parser.add_argument("--out", type=Path, help="write the table to this file, too")
    names = [fault.__name__ for fault in FAULTS]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    args = parser.parse_args(argv)
    try:
        check_out(str(args.out or ""))
    except ValueError as error:
        parser.error(str(error))
    lines = ["| fault | times | wrong | what is lost |", "|---|---|---|---|"]
    print("\n".join(lines), flush=True)
    wrong = 0
    with tempfile.TemporaryDirectory() as home:
        bench = Bench(Path(home), args.short)
        for fault in FAULTS:
            if fault.__name__ not in args.only:
                continue
            found = fault(bench)
            for row in [found] if isinstance(found, Row) else found:
                lost = f"SEE ABOVE: {row.lost}" if row.wrong else row.lost
                lines.append(f"| {row.what} | {row.times} | {row.wrong} | {lost} |")
                print(lines[-1], flush=True)
                wrong += row.wrong
    if args.out:
        head = HEAD.format(day=date.today(), cores=os.cpu_count())
        args.out.write_text(head + "\n".join(lines) + "\n", encoding="utf-8")
    return int(wrong > 0)


HEAD = """# What is lost when something goes wrong

Made by `make faults` (`runs/faults.py`, twenty minutes): every fault is a real one, of processes of
their own; a run is as it should be if it ends with the bits of an undisturbed one, a command if it
ends well or in one sentence with exit code 2.  The readers of outside files are fuzzed apart, by
`make test-slow`.

On {day}, {cores} cores:

"""

if __name__ == "__main__":
    sys.exit(main())
