"""The folder of a run, kept by one process: run.json, log.jsonl, and the signals that stop it."""

import json
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from unmask import __version__, checkpoint, files
from unmask.config import OF_MODEL, TrainConfig, differences
from unmask.data import Data
from unmask.documents import NUMBER, Test, misfit, read_json, whole, without_infinities
from unmask.files import LEFTOVER, check_file, write_whole
from unmask.train.pace import OF_FALL
from unmask.train.sinks import Sink

RUN = "run.json"
OF_RUN = {
    "identity": {"accumulate?": whole(1)}, "steps": whole(0), "fall?": OF_FALL, "start?": str,
    "from_hub?": str,
}  # fmt: skip
SECONDS = Test(lambda v: NUMBER.holds(v) and 0 <= v < 1e12, "a number of seconds")
TRAINING = {"step": whole(0), "seconds": SECONDS, "averaged": whole(0), "run?": OF_RUN}


def began(out: Path, start: str | Path | None) -> tuple[Path, str] | None:
    """The last checkpoint of a run that says it began with the weights at `start`, and their
    SHA-256; None where there is none.

    What is at `start` by now may be others, or nothing.
    """
    done = checkpoint.checkpoints(out)
    run = known_run(out) if done and start is not None else None
    if run is None:
        return None
    # what was said, and the commit that it named: a branch of the Hub moves
    known = [run[name] for name in ("start", "from_hub") if name in run]
    said = str(Path(str(start)))
    if not any(one == said or one.startswith(f"{start}@") for one in known):
        return None
    return done[-1], run["identity"].get("from", "")


def open_run(
    out: Path, config: TrainConfig, data: Data, weights: str = "", start: str = "", hub: str = ""
) -> dict:
    """What a new or resumed run is: its number of steps (0: not known yet) and its identity.

    `weights`: the SHA-256 of those that it begins with, "" for random ones; `start`: what they are
    called; `hub`: user/name@COMMIT, where that is of the Hub.
    The last checkpoint says so, verified; before there is one, nothing is lost and the run begins
    anew.  ValueError if the folder holds another run.  To be called where the folder is locked.
    """
    of_data = {key: data.meta[key] for key in ("sha256", "tokenizer")}
    ours = config.identity(weights=bool(weights))
    identity = ours | {"data": of_data, "from": weights}
    run = known_run(out)
    if run is None or not checkpoint.checkpoints(out):
        run = {"steps": config.steps, "identity": identity, "unmask": __version__}
        run |= {"start": str(Path(start))} if start else {}
        run |= {"from_hub": hub} if hub else {}
        checkpoint.write_json(out / RUN, run)
        return run
    before = run["identity"]
    if before.get("from", "") != weights:
        called = run.get("from_hub") or run.get("start")
        these = f", those of {called}" if called else ""
        raise ValueError(
            f"{out} began with other weights (--from){these}: choose another --out, or the same "
            "--from"
        )
    wrong = differences(ours, before)
    if weights:  # the network is that of the weights, whatever flags would make of it
        wrong = [name for name in wrong if name not in OF_MODEL]
    if wrong:
        known = asdict(TrainConfig()) | before  # what an older version did not know
        said = ", ".join(f"{n} {known[n]!r} there, {identity[n]!r} here" for n in wrong)
        why = ""
        if set(wrong) <= {"steps", "minutes"}:
            why = "; its length was given when it began, since the learning rate falls over it"
        raise ValueError(
            f"{out} is another run ({said}){why}: choose another --out, or the same values"
        )
    if before.get("data") != of_data:
        other = f"other data than {data.folder}"
        raise ValueError(f"{out} was trained on {other}: choose another --out")
    return run


def make_folder(out: Path) -> None:
    """ValueError if there is something else than a run."""
    strange = not out.is_dir() or (known_run(out) is None and any(map(foreign, out.iterdir())))
    if out.exists() and strange:
        raise ValueError(f"{out} exists and is not a training run: choose another --out")
    out.mkdir(parents=True, exist_ok=True)


def foreign(path: Path) -> bool:
    """Nothing that a run killed in its first moments leaves behind."""
    return path.name != ".lock" and not path.match(LEFTOVER)


def known_run(out: Path) -> dict | None:
    """What the folder of a run says it is; None where there is no run.

    Checkpoints of older versions do not say it: then run.json, alone, is believed.
    """
    path, done = out / RUN, checkpoint.checkpoints(out)
    if done:
        try:
            run = read_training(done[-1]).get("run")
        except ValueError as error:
            raise or_else(error, done) from None
        if run is not None:
            return run
    if not path.is_file():
        if done:
            raise ValueError(f"{path} is missing: restore it from a copy, or choose another --out")
        return None
    try:
        return read_json(path, OF_RUN)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: choose another --out ({error})") from None


def or_else(error: ValueError, done: Sequence[Path]) -> ValueError:
    """With what to do where the last of the checkpoints `done` is the one that is damaged."""
    if len(done) < 2:
        return error
    return ValueError(f"{error}; or remove {done[-1]} to continue from {done[-2]}")


def read_training(folder: Path) -> dict:
    """What the config.json of a checkpoint says of its training."""
    config = checkpoint.read_config(folder)
    if wrong := misfit(config, {"training": TRAINING}):
        path = folder / checkpoint.CONFIG
        raise ValueError(f"{path} is not of a run ({wrong}): restore it from a copy")
    return config["training"]


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep a second process out of a run's folder, where the system has file locks."""
    with ExitStack() as held:
        try:
            held.enter_context(files.locked(out / ".lock"))
        except BlockingIOError:
            raise ValueError(
                f"another process is training in {out}: wait for it, or choose another --out"
            ) from None
        yield


class Log:
    """log.jsonl: a line per `write`, without the numbers that are not finite.

    Lines of steps that a resumed run will do again are dropped, and a last line that a kill cut
    short; a damaged line stays, and blocks nothing.  `sink`: it gets the rows, too.
    """

    def __init__(self, path: Path, step: int, sink: Sink | None = None):
        self.path, self.sink = path, sink
        check_file(path)
        if not path.exists():
            return
        kept = []
        for line in path.read_bytes().splitlines(keepends=True):
            row = parsed(line)
            if row is None and not line.endswith(b"\n"):
                print(f"{path}: its last line was cut short and is left out", file=sys.stderr)
            elif row is None or row["step"] <= step:
                kept.append(line if line.endswith(b"\n") else line + b"\n")
        write_whole(path, b"".join(kept))

    def evaluated(self, step: int) -> bool:
        """Whether the bound at this step is in it."""
        rows = read_log(self.path) if self.path.exists() else []
        return any(row["step"] == step and "bits" in row for row in rows)

    def write(self, **row) -> None:
        row = {name: v for name, v in without_infinities(row).items() if v is not None}
        row |= {name: float(f"{v:.6g}") for name, v in row.items() if isinstance(v, float)}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        if self.sink is not None:
            values = {name: v for name, v in row.items() if name not in ("step", "seconds")}
            self.sink.write(row["step"], values)


def parsed(line: bytes) -> dict | None:
    """A line of log.jsonl; None if it is none."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if misfit(row, {str: NUMBER}) or misfit(row, {"step": whole(0)}):
        return None
    return row


def read_log(path: Path) -> list[dict]:
    """The rows of log.jsonl; what cannot be read is left out, and counted on standard error."""
    check_file(path)
    lines = path.read_bytes().splitlines(keepends=True)
    rows = [row for row in map(parsed, lines) if row is not None]
    cut = bool(lines) and not lines[-1].endswith(b"\n") and parsed(lines[-1]) is None
    damaged = len(lines) - len(rows) - cut
    if damaged:
        print(f"{path}: {damaged} damaged lines are left out", file=sys.stderr)
    return rows


def last_row(out: Path, folder: Path) -> dict:
    """The last row of a run's log; what is lost there of step and seconds, of its checkpoint."""
    of_run = read_training(folder)
    known = {name: of_run[name] for name in ("step", "seconds")}
    for row in read_log(out / "log.jsonl")[-1:]:
        known |= row
    return known


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C is at once.

    So the step under way ends and a checkpoint is written.  Under torchrun each of them may arrive
    twice, from who sends it and from torchrun, which kills who takes too long.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number, frame):
        again = event.is_set() and number == signal.SIGINT
        if again and "RANK" not in os.environ:
            raise KeyboardInterrupt
        event.set()

    for number in before:
        signal.signal(number, stop)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
