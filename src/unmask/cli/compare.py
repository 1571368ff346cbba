"""unmask compare: the paired difference of two evaluations.

And the values per example that `unmask eval --json` keeps for it.
"""

import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from unmask.arrays import DAMAGE, Archive, doubles
from unmask.cli.flags import parse
from unmask.cli.runtime import write_record
from unmask.documents import read_json, whole
from unmask.files import descriptor, is_writer, no_file, write_whole
from unmask.kinds.output import check_apart, check_out

# what has to be the same; of data_sha256 a protocol knows more, which of its files were scored
PAIRED = ("unit", "data_sha256", "split", "length", "n", "positions", "given")
# what has to be the same for the same masks
OF_MASKS = ("estimator", "revealed_at_an_instant", "seed", "repeats")
LARGEST = 1e100  # nats, so that their squares are numbers
ARRAYS = ("replicates", "steady", "positions", "groups")


@dataclass(frozen=True, kw_only=True)
class Compare:
    a: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="A.json")]
    """What `unmask eval --json` wrote, with the .json.examples.npz beside it."""
    b: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="B.json")]
    """The same of another model, on the same data
    and by the same --split, --length, --limit, --repeats and --seed."""
    json: str = ""
    """Also write the result, with what made it, to this file."""


def compare(argv: list[str]) -> None:
    """Is one of two bounds lower?  The paired difference of A and B, with its error."""
    args = parse(Compare, "compare", argv, compare.__doc__)
    check_out(args.json)
    check_apart([args.json], [args.a, args.b, beside(args.a), beside(args.b)])
    from unmask.estimate import difference, freedom, student

    (of_a, a), (of_b, b) = read_evaluation(args.a), read_evaluation(args.b)
    unlike_how = check_protocols(args, of_a, of_b)
    check_paired(args, of_a, of_b)
    change, error, noise = difference(a, b)
    groups = len(a.positions) if a.groups is None else len(a.groups.unique())
    if math.isnan(error):
        raise ValueError(
            f"{args.a} and {args.b} have one group of examples: "
            "more are needed for the error of their difference"
        )
    needed = error * student(freedom(a, b))
    verdict = "resolved" if abs(change) > needed else "not resolved"
    print(f"{change:+.4f} +- {error:.4f} {of_a['unit']}, {args.a} less {args.b}: {verdict} at 95 %")
    each = " and ".join(f"{e.bits_per_dim:.4f} +- {e.bits_per_dim_stderr:.4f}" for e in (a, b))
    print(f"  {each} by themselves; differences from {needed:.4f} on would be resolved")
    unlike = [name for name in OF_MASKS if of_a.get(name) != of_b.get(name)]
    same = f"  the same {len(a.positions):,} examples"
    if not unlike:
        same += " and masks"
        if not math.isnan(noise):
            same += f"; noise of the masks alone {noise:.4f}"
    print(same)
    if not unlike_how:  # of records from before there were protocols
        unlike_how = [f"other {name}: {of_a.get(name)} and {of_b.get(name)}" for name in unlike]
    print(f"  error {of_a.get('error_over', 'over examples')}")
    for line in unlike_how:
        print(f"  {line}")
    record = {
        "a": str(args.a), "b": str(args.b), "value": change, "unit": of_a["unit"],
        "stderr": error, "noise": noise, "n": len(a.positions), "groups": groups,
        "needed": needed, "resolved": verdict == "resolved",
        "a_sha256": of_a["examples"]["sha256"], "b_sha256": of_b["examples"]["sha256"],
    }  # fmt: skip
    write_record(args.json, **record)


def check_paired(args: Compare, of_a: dict, of_b: dict) -> None:
    """ValueError, with the field and what of it differs, unless all of PAIRED is the same."""
    names = list(PAIRED)
    if "protocol" in of_a and "protocol" in of_b:  # which know the files of the split
        names.remove("data_sha256")
    for name in names:
        there, here = of_a.get(name), of_b.get(name)
        if there == here:
            continue
        if isinstance(there, dict) and isinstance(here, dict):
            other = {key for key in there | here if there.get(key) != here.get(key)}
            there, here = ({k: v for k, v in one.items() if k in other} for one in (there, here))
        raise ValueError(
            f"{args.a} and {args.b} cannot be paired: {name} is {str(there)[:60]} there and "
            f"{str(here)[:60]} here"
        )


def check_protocols(args: Compare, of_a: dict, of_b: dict) -> list[str]:
    """Lines on what else differs between two protocols; none for records without.

    ValueError, with the field, if it makes the pair meaningless.
    """
    from unmask.evaluation.protocol import of_record

    a, b = of_record(of_a, str(args.a)), of_record(of_b, str(args.b))
    if a is None or b is None:
        return []
    for name in a.differs(b):
        there, here = (str(getattr(one, name))[:200] for one in (a, b))
        said = f"{args.a} and {args.b} cannot be paired: {name} is {there} there and {here} here"
        if name.startswith("tokenizer"):
            said += "; two tokenizers have bits per byte alone in common, unpaired"
        raise ValueError(said)
    names = [name for name in a.unlike(b) if name != "weights"]
    return [f"other {name}: {getattr(a, name)} and {getattr(b, name)}" for name in names]


def named(record: str) -> bool:
    """Whether a record is asked for, in a file, which others may lie beside: not so a stream."""
    return bool(record) and descriptor(record) is None


def beside(record: str) -> Path:
    """The file for what an evaluation found for every example, beside its record."""
    return Path(f"{record}.examples.npz")


def keep_examples(record: str, bound: Any) -> dict:
    """Write what an estimate found for every example beside the file `record`, if there is one.

    Returns what to record of it.
    """
    if not named(record) or not is_writer():
        return {}
    import hashlib

    import numpy as np

    path = beside(record)
    arrays = {name: getattr(bound, name) for name in ARRAYS}
    stream = io.BytesIO()
    np.savez(stream, **{name: v.numpy() for name, v in arrays.items() if v is not None})
    content = stream.getvalue()
    write_whole(path, content)
    return {"examples": {"file": path.name, "sha256": hashlib.sha256(content).hexdigest()}}


RECORD = {
    "examples": {"file": str, "sha256": str},
    "unit": str,
    "repeats": whole(1),
    "masking": str,
    "seed": whole(-(2**63)),
}


def read_evaluation(path: Path) -> tuple[dict, Any]:
    """The record of an evaluation, and its `Estimate`.  ValueError for anything else."""
    import hashlib

    import torch

    from unmask.estimate import Estimate

    again = "write it with unmask eval --json"
    if not path.is_file():
        raise no_file(path, f"there is no file {path}: {again}")
    try:
        record = read_json(path, RECORD)
    except ValueError:
        raise ValueError(f"{path} is no evaluation that kept its examples: {again}") from None
    kept = path.parent / Path(record["examples"]["file"]).name
    content = kept.read_bytes()
    if hashlib.sha256(content).hexdigest() != record["examples"]["sha256"]:
        raise ValueError(f"{kept} is not what {path} was written with: evaluate again")
    try:
        of = read_examples(content)
    except (ValueError, *DAMAGE):
        why = f"{kept} does not hold the values of an evaluation: evaluate again"
        raise ValueError(why) from None
    protocol = {name: record[name] for name in ("repeats", "masking", "seed")}
    found: dict[str, Any] = {name: torch.from_numpy(array) for name, array in of.items()}
    values = found.pop("replicates"), found.pop("positions")
    return record, Estimate(*values, steps=None, **protocol, **found)


def read_examples(content: bytes) -> dict[str, Any]:
    """The arrays that `keep_examples` wrote.  ValueError, or one of DAMAGE, for others."""
    import numpy as np

    archive = Archive(io.BytesIO(content))
    of = {name: archive.read(name) for name in ARRAYS if name in archive.names}
    if not {"replicates", "positions"} <= of.keys():
        raise ValueError("no replicates, or no positions")
    n = len(of["positions"].reshape(-1))
    draws = of["replicates"].size // max(n, 1)
    shapes = {"replicates": (draws, n), "steady": (draws, n), "positions": (n,), "groups": (n,)}
    types = {"replicates": ("<f4", "<f8"), "positions": ("<i4", "<i8")}
    types |= {"steady": types["replicates"], "groups": types["positions"]}
    for name, array in of.items():
        if array.shape != shapes[name] or array.dtype not in map(np.dtype, types[name]):
            raise ValueError(f"{name} has another shape or type")
        if not array.size or not (np.abs(doubles(array)) < LARGEST).all():
            raise ValueError(f"{name} is empty, or not finite")
    if of["positions"].min() < 0 or not of["positions"].any():
        raise ValueError("positions that are no counts")
    return of
