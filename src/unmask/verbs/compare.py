"""unmask compare: the paired difference of two evaluations; and the values per example that `unmask eval --json` keeps for it."""

import io
import json
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from unmask.command import check_out, parse, write_record

PAIRED = ("unit", "data_sha256", "split", "length", "n", "positions", "given", "seed", "repeats")  # what has to be the same
ARRAYS = ("replicates", "steady", "positions", "groups")


@dataclass(frozen=True, kw_only=True)
class Compare:
    a: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="A.json")]
    """What `unmask eval --json` wrote, with the .examples.npz beside it."""
    b: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="B.json")]
    """The same of another model, on the same data and by the same --split, --length, --limit, --repeats and --seed."""
    json: str = ""
    """Also write the result, with what made it, to this file."""


def compare(argv: list[str]) -> None:
    """Is one of two bounds lower?  The difference of A and B, paired by window and masks, with its error."""
    args = parse(Compare, "compare", argv, compare.__doc__)
    check_out(args.json)
    from unmask.likelihood import difference

    (of_a, a), (of_b, b) = read_evaluation(args.a), read_evaluation(args.b)
    for name in PAIRED:
        if of_a.get(name) != of_b.get(name):
            said = [str(record.get(name))[:60] for record in (of_a, of_b)]
            raise ValueError(f"{args.a} and {args.b} cannot be paired: {name} is {said[0]} there and {said[1]} here")
    change, error, noise = difference(a, b)
    groups = len(a.positions) if a.groups is None else len(a.groups.unique())
    needed = error * student(groups - 1)
    verdict = "resolved" if abs(change) > needed else "not resolved"
    print(f"{change:+.4f} +- {error:.4f} {of_a['unit']}, {args.a} less {args.b}: {verdict} at 95 %")
    each = " and ".join(f"{e.bits_per_dim:.4f} +- {e.bits_per_dim_stderr:.4f}" for e in (a, b))
    print(f"  {each} by themselves; differences from {needed:.4f} on would be resolved")
    print(f"  the same {len(a.positions):,} examples, masks from the same numbers; noise of the masks alone {noise:.4f}")
    print(f"  error {of_a.get('error_over', 'over examples')}, {groups:,} in all")
    write_record(
        args.json, a=str(args.a), b=str(args.b), value=change, unit=of_a["unit"], stderr=error, noise=noise, n=len(a.positions),
        groups=groups, needed=needed, resolved=verdict == "resolved",
        a_sha256=of_a["examples"]["sha256"], b_sha256=of_b["examples"]["sha256"],
    )  # fmt: skip


def student(freedom: int) -> float:
    """What a mean's error is multiplied by for 95 %, two-sided: Student's t for so many degrees of freedom, to 3 % (Cornish and Fisher).

    Infinite below two, where the expansion does not hold.
    """
    if freedom < 2:
        return math.inf
    z, n = 1.959964, freedom
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3


def keep_examples(record: str, bound: Any) -> dict:
    """Write what an estimate found for every example beside the file `record`, if there is one; what to record of it."""
    if not record:
        return {}
    import hashlib

    import numpy as np

    path = Path(record).with_suffix(".examples.npz")
    arrays = {name: getattr(bound, name) for name in ARRAYS}
    stream = io.BytesIO()
    np.savez(stream, **{name: v.numpy() for name, v in arrays.items() if v is not None})
    path.write_bytes(stream.getvalue())
    return {"examples": {"file": path.name, "sha256": hashlib.sha256(stream.getvalue()).hexdigest()}}


def read_evaluation(path: Path) -> tuple[dict, Any]:
    """The record of an evaluation, and its `Estimate`.  ValueError for anything else."""
    import hashlib

    import numpy as np
    import torch

    from unmask.likelihood import Estimate

    again = "write it with unmask eval --json"
    if not path.is_file():
        raise ValueError(f"there is no file {path}: {again}")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        beside = path.parent / Path(record["examples"]["file"]).name
        content, expected = beside.read_bytes(), record["examples"]["sha256"]
        unit = record["unit"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(f"{path} is no evaluation that kept its examples: {again}") from None
    if hashlib.sha256(content).hexdigest() != expected or not isinstance(unit, str):
        raise ValueError(f"{beside} is not what {path} was written with: evaluate again")
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(file[name]) for name in ARRAYS if name in file}
        fixed = {"repeats": record["repeats"], "steps": None, "masking": record["masking"], "seed": record["seed"]}
        found = Estimate(arrays.pop("replicates"), arrays.pop("positions"), **fixed, **arrays)
    except (ValueError, KeyError, zipfile.BadZipFile):
        raise ValueError(f"{beside} does not hold the values of an evaluation: evaluate again") from None
    return record, found
