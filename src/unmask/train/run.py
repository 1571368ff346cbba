"""The folder of a run, kept by one process: run.json, log.jsonl, and the signals that stop it."""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unmask import __version__, checkpoint
from unmask.config import TrainConfig, differences
from unmask.data import Data


def open_run(out: Path, config: TrainConfig, data: Data) -> dict:
    """run.json of a new or resumed run; ValueError if the folder holds anything else."""
    of_data = {key: data.meta[key] for key in ("sha256", "tokenizer")}
    identity = config.identity() | {"data": of_data}
    path = out / "run.json"
    if path.is_file():
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            before, _ = dict(run["identity"]), int(run["steps"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError(f"{path} is damaged: choose another --out") from None
        wrong = differences(config.identity(), before)
        if wrong:
            said = ", ".join(f"{n} {before.get(n)!r} there, {identity[n]!r} here" for n in wrong)
            why = ""
            if set(wrong) <= {"steps", "minutes"}:
                why = "; its length was fixed when it began, since the learning rate falls over it"
            raise ValueError(
                f"{out} is another run ({said}){why}: choose another --out, or the same values"
            )
        if before.get("data") != of_data:
            other = f"other data than {data.folder}"
            raise ValueError(f"{out} was trained on {other}: choose another --out")
        return run
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is not a training run: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    run = {"steps": config.steps, "identity": identity, "unmask": __version__}
    checkpoint.write_json(path, run)
    return run


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep a second process out of a run's folder, where the system has file locks."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(out / ".lock", "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(
                f"another process is training in {out}: wait for it, or choose another --out"
            ) from None
        yield


class Log:
    """log.jsonl: a line per `write`.

    Lines of steps that a resumed run will do again are dropped.
    """

    def __init__(self, path: Path, step: int):
        self.path = path
        if path.exists():
            kept = [row for row in read_log(path) if row["step"] <= step]
            new = path.with_name(f".{path.name}.new")
            new.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
            new.replace(path)

    def write(self, **row) -> None:
        row = {name: value for name, value in row.items() if value == value}  # JSON has no NaN
        row |= {name: float(f"{v:.6g}") for name, v in row.items() if isinstance(v, float)}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def read_log(path: Path) -> list[dict]:
    """The rows of log.jsonl; a last line that was cut short by a kill is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C is at once.

    So the step under way ends and a checkpoint is written.
    """
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number, frame):
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    for number in before:
        signal.signal(number, stop)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
