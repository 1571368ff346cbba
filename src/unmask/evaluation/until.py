"""Draw until an estimate's noise is small enough; what was drawn is kept if that is cut off."""

import hashlib
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unmask.arrays import Archive
from unmask.diffusion import MaskedDiffusion
from unmask.estimate import Estimate
from unmask.files import write_whole
from unmask.likelihood import Estimator, Pass, draw_pass
from unmask.masks import BLOCK
from unmask.processes import ALONE, Processes

LEAST = 2  # replicates: of one the noise is not known
FREE = BLOCK - 1  # degrees of freedom of the noise that ends it: of fewer it is often far too low
OF_PASS = ("draws", "pick", "positions", "groups")


class Kept:
    """What was drawn, in a file: whole passes, and the batches of the one that was cut off.

    `made_by`: all that the draws depend on; a file of something else is refused.
    """

    def __init__(self, path: Path | None, made_by: dict):
        self.path = path
        told = json.dumps(made_by, sort_keys=True, default=str)
        self.made_by = hashlib.sha256(told.encode()).hexdigest()

    def load(self) -> tuple[Pass | None, int, dict[int, tuple]]:
        """The whole passes, how many replicates the one that was cut off has, and its batches."""
        if self.path is None or not self.path.exists():
            return None, LEAST, {}
        arrays = self.arrays()
        made_by = bytes(arrays["made_by"]).decode()
        calls, of_each, more, begin = arrays["numbers"].tolist()
        if made_by != self.made_by:
            raise ValueError(
                f"{self.path} is what was drawn by another command or version: delete it, or give "
                "another --json"
            )
        found = None
        if "draws" in arrays:
            of = [torch.from_numpy(arrays[n]) if n in arrays else None for n in OF_PASS]
            found = Pass(*of, calls=calls, of_each=of_each)  # pyrefly: ignore
        done = 0 if found is None else len(found.draws) // of_each
        # stopped between two passes, it may have the batches of the one that is whole
        return found, more, batches_in(arrays) if begin == done else {}

    def arrays(self) -> dict[str, np.ndarray]:
        """All that is in the file.  ValueError where it is not as it was written."""
        assert self.path is not None
        content = self.path.read_bytes()
        digest, content = content[:64], content[64:]
        if digest != hashlib.sha256(content).hexdigest().encode():
            raise ValueError(f"{self.path} is damaged: delete it, to begin again")
        archive = Archive(io.BytesIO(content))
        return {name: archive.read(name) for name in archive.names}

    def save(self, found: Pass | None, replicates: range, batches: dict[int, tuple]) -> None:
        """Write them, in one step; the batches are those of a pass of these replicates."""
        if self.path is None:
            return
        own = (len(replicates), replicates.start)
        numbers = (found.calls, found.of_each, *own) if found else (0, 0, *own)
        arrays: dict[str, Any] = {
            "made_by": np.frombuffer(self.made_by.encode(), np.uint8),
            "numbers": np.array(numbers, np.int64),
        }
        if found is not None:
            arrays |= {name: getattr(found, name) for name in OF_PASS}
        for i, (nats, picks, positions, group, calls) in batches.items():
            of_batch = {"nats": nats, "picks": picks, "positions": positions, "group": group}
            arrays |= {f"{name}-{i}": value for name, value in of_batch.items()}
            arrays[f"calls-{i}"] = np.array(calls, np.int64)
        stream = io.BytesIO()
        there: dict[str, Any] = {k: np.asarray(v) for k, v in arrays.items() if v is not None}
        np.savez(stream, **there)
        content = stream.getvalue()
        write_whole(self.path, hashlib.sha256(content).hexdigest().encode() + content)

    def clear(self) -> None:
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def batches_in(arrays: dict[str, np.ndarray]) -> dict[int, tuple]:
    """The batches of a pass that was cut off, as `draw_pass` has them."""
    found = {}
    for name in arrays:
        kind, _, number = name.partition("-")
        if kind != "nats":
            continue
        of: list[Any] = [arrays.get(f"{n}-{number}") for n in ("nats", "picks", "positions")]
        group = arrays.get(f"group-{number}")
        tensors: list[Tensor | None] = [torch.from_numpy(array) for array in of]
        tensors.append(None if group is None else torch.from_numpy(group))
        found[int(number)] = (*tensors, int(arrays[f"calls-{number}"]))
    return found


def estimate_until(
    model: MaskedDiffusion,
    batches: Callable[[int], Iterable[Tensor | dict]],
    estimator: Estimator,
    error: float,
    *,
    seed: int = 0,
    by_position: bool | Sequence[int] = False,
    kept: Kept | None = None,
    told: Callable[[float, int, int], None] = lambda noise, done, needed: None,
    processes: Processes = ALONE,
) -> Estimate:
    """Draw replicates of all examples until the noise is at most `error` bits per position.

    `batches(r)`: all batches, for a pass that draws r replicates of each.  After every pass `told`
    hears the noise, the replicates so far, and about how many are needed in all.  Ctrl-C keeps what
    was drawn in `kept`.  With as many repeats, `estimate` finds the same.
    """
    if not error > 0:
        raise ValueError(f"error must be positive, not {error}")
    if estimator.exact:
        raise ValueError("nothing is drawn, so there is no noise to be reduced: leave out error")
    of_each = estimator.of_replicate()
    kept = kept or Kept(None, {})
    found, more, part = processes.of_first(kept.load)
    if processes.size > 1:
        part = {}  # batches of another sharing
    how = {"seed": seed, "by_position": by_position, "processes": processes}
    while True:
        done = 0 if found is None else len(found.draws) // found.of_each
        if done >= LEAST and found is not None:
            result = found.estimate(model, estimator, seed=seed)
            noise = result.bits_per_dim_noise
            least = 1 + math.ceil(FREE / math.ceil(len(result.positions) / BLOCK))
            needed = max(done, least, math.ceil(done * (noise / error) ** 2))
            told(noise, done, needed)
            if noise <= error and done >= least:
                kept.clear()
                return result
            if not part:
                more = min(max(1, needed - done), done)
        replicates = range(done, done + more)
        try:
            new = draw_pass(model, batches(more), estimator, replicates, of_each, done=part, **how)
            found, part = new if found is None else found.then(new), {}
            if processes.rank == 0:
                kept.save(found, replicates, part)
        except KeyboardInterrupt:
            if processes.rank == 0:
                kept.save(found, replicates, part if processes.size == 1 else {})
            raise
