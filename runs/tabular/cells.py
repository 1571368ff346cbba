"""Cells of the benchmark: processor time, and results that are written whole or not at all."""

import json
import math
import os
import time
import traceback
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path

from unmask import files
from unmask.documents import read_json


class Skipped(Exception):
    """A method that cannot run here, and why."""


def processor() -> float:
    """Processor seconds of this process, all its threads, and its children that have ended."""
    return time.process_time() + sum(os.times()[2:4])


class Clock:
    """A budget of processor seconds, from now on."""

    def __init__(self, seconds: float):
        self.seconds, self.began = seconds, processor()

    @property
    def used(self) -> float:
        return processor() - self.began

    @property
    def left(self) -> float:
        return self.seconds - self.used


class Times(dict):
    """Processor and wall seconds of the stages of a cell."""

    @contextmanager
    def stage(self, name: str):
        began, wall = processor(), time.monotonic()
        yield
        spent = {"processor": processor() - began, "wall": time.monotonic() - wall}
        self[name] = {key: round(value, 2) for key, value in spent.items()}


def write_whole(path: Path, record: dict) -> None:
    """What is there is whole.  What is not a number is null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_whole(path, json.dumps(plain(record), indent=1, allow_nan=False) + "\n")


def plain(value):
    """As JSON has it, numbers of NumPy too."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value.item() if hasattr(value, "item") else value


def read(path: Path) -> dict | None:
    """What is in a file; None: there is none.  ValueError that names one that is damaged."""
    return read_json(path, dict) if path.exists() else None


def done(path: Path, again: bool) -> bool:
    """Whether a cell needs no work; `again`: one that failed or was skipped does."""
    record = read(path)
    return record is not None and not (again and ("failed" in record or "skipped" in record))


def run_cell(path: Path, about: dict, work: Callable[[], dict]) -> dict:
    """Work whose result, or failure, is written; an interruption writes nothing."""
    began = time.monotonic()
    try:
        record = about | work()
    except Skipped as why:
        record = about | {"skipped": str(why)}
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        record = about | {"failed": said, "traceback": traceback.format_exc()}
    record |= {"wall_seconds": round(time.monotonic() - began, 1)}
    write_whole(path, record)
    return record


class Progress:
    """A line for every cell, with the time left by what such cells took so far."""

    def __init__(self, names: list[str], seconds: dict[str, list[float]]):
        self.left, self.seconds, self.count = list(names), seconds, len(names)

    def after(self, name: str, record: dict, what: str) -> str:
        """The line of a cell of a method `name`, which is finished."""
        self.left.remove(name)
        self.seconds.setdefault(name, []).append(record["wall_seconds"])
        known = [sum(of) / len(of) for of in self.seconds.values()]
        of_others = sum(known) / len(known)
        of = {key: sum(value) / len(value) for key, value in self.seconds.items()}
        left = sum(of.get(one, of_others) for one in self.left)
        number = f"{self.count - len(self.left)} of {self.count}"
        how = "done"
        for word in ("skipped", "failed"):
            if word in record:
                how = f"{word}: {record[word]}"
        took = f"{record['wall_seconds']:.0f} s"
        when = time.strftime("%H:%M:%S")
        return f"[{when}] {number}: {what}, {took}, about {left / 60:.0f} minutes left; {how}"
