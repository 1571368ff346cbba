"""What is measured of a method: `unmask quality` of its rows, nats a test row."""

import contextlib
import io
import json
import math
from pathlib import Path

import numpy as np

from tabular.method import Method
from tabular.ours import Ours, bound_of
from tabular.sets import Known
from unmask.cli.main import run
from unmask.data import open_data


def quality(known: Known, made: Path, seed: int) -> dict:
    """The figures of `unmask quality --source` by their keys, of samples and of real rows."""
    out, said = made.with_suffix(".json"), io.StringIO()
    sources = ",".join(map(str, known.files))
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        run(["quality", str(made), "--data", str(known.home / "data"), "--source", sources,
             "--target", known.target, "--seed", str(seed), "--json", str(out)])  # fmt: skip
    record = json.loads(out.read_text())
    out.unlink()
    return {"measures": record["measures"], "quality_notes": record["notes"]}


def nats(method: Method, known: Known) -> tuple[np.ndarray, dict] | None:
    """(n,) nats of each test row, and their mean with its error; None: the method has none."""
    about: dict = {}
    if isinstance(method, Ours):
        found, about = bound_of(method)
    else:
        found = method.nats(known.test)
    if found is None:
        return None
    found = found + resolution(known)
    stderr = float(found.std(ddof=1) / math.sqrt(len(found)))
    return found, {"mean": float(found.mean()), "stderr": stderr, "n": len(found)} | about


def resolution(known: Known) -> np.ndarray:
    """(n,) nats a test row that its numbers take within their bins, the same for all methods: their
    mean over the test rows, as `unmask eval` adds it."""
    beyond = open_data(known.home / "data").beyond("test")
    if beyond is not None and beyond.unsaid:
        raise ValueError(beyond.unsaid)
    return np.full(len(known.test), 0.0 if beyond is None else beyond.nats)
