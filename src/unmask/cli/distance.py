"""unmask distance: how far apart two sets of samples are, by features in files."""

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from unmask.cli.flags import parse
from unmask.cli.runtime import write_record
from unmask.kinds.output import check_out

WHOSE = "FID only if the features are those of the Inception network that FID is defined by"


@dataclass(frozen=True, kw_only=True)
class Distance:
    a: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="A")]
    """An .npy or .npz file of features (n, D), in an .npz under the name `features`;
    or an .npz of their mean `mu` and covariance `sigma`, as statistics for FID are kept."""
    b: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="B")]
    """Another, of the same features."""
    seed: int = 0
    """Of the halves into which the smaller set is cut."""
    threads: int = 0
    """CPU threads; 0: leave as it is."""
    json: str = ""
    """Also write the result, with what made it, to this file."""


def distance(argv: list[str]) -> None:
    """The Frechet distance of two sets of features of a network of your choice, with its error."""
    args = parse(Distance, "distance", argv, distance.__doc__)
    check_out(args.json, ".json")
    if args.threads < 0:
        raise ValueError(f"--threads must not be negative, not {args.threads}")
    import torch

    from unmask.checkpoint import digest
    from unmask.evaluation.distance import frechet, read_moments

    if args.threads:
        torch.set_num_threads(args.threads)
    sides = {path: read_moments(path) for path in (args.a, args.b)}
    a, b = (sides[path] for path in (args.a, args.b))
    with naming(f"{args.a} and {args.b}"):
        found, wide = frechet(a, b), len(a.mean)
    error = "" if math.isnan(found.stderr) else f" +- {found.stderr:.2g}"
    print(f"{found.value:.4g}{error}: Frechet distance of {wide:,} features; {WHOSE}")
    for path, side in sides.items():
        said = "mean and covariance of a number of samples that it does not say"
        if side.num:
            said = f"{side.num:,} samples"
        print(f"  {path}: {said}")
    print(f"  {found.of_means:.4g} of it between the means, the rest between the covariances")
    halves = None
    known = [path for path, side in sides.items() if side.num >= 4]
    if known:
        path = min(known, key=lambda path: sides[path].num)
        features = sides[path].features
        assert features is not None
        with naming(f"two halves of {path}"):
            halves = of_halves(features, args.seed)
        print(
            f"  two halves of {path}, {len(features) // 2:,} samples each, have {halves:.4g}: "
            "small samples do, so compare sets of one size"
        )
    for path, side in sides.items():
        if 0 < side.num <= wide:
            print(
                f"warning: {path} has {side.num:,} samples of {wide:,} features: "
                "with no more samples than features the covariance is singular, "
                "the distance too large, and its error unknown",
                file=sys.stderr,
            )
    record = {
        "seed": args.seed, "value": found.value, "unit": "squared units of the features",
        "stderr": found.stderr, "of_means": found.of_means, "features": wide,
        "n": [a.num or None, b.num or None], "halves": halves,
        "files_sha256": [digest(args.a), digest(args.b)],
        "estimator": f"Frechet distance; {WHOSE}",
    }  # fmt: skip
    write_record(args.json, **record)


@contextmanager
def naming(files: str) -> Iterator[None]:
    """While features are compared: a ValueError says of which files."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{files}: {error}") from None


def of_halves(features: Any, seed: int) -> float:
    """The distance of two random halves of features (n, D)."""
    import torch

    from unmask.evaluation.distance import frechet, moments

    order = torch.randperm(len(features), generator=torch.Generator().manual_seed(seed))
    half = len(features) // 2
    parts = order[:half], order[half : 2 * half]
    return frechet(*(moments(features[part]) for part in parts)).value
