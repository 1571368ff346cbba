"""unmask audit."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from unmask.cli.flags import Machine, Model, parse
from unmask.cli.runtime import Runtime, check_positive, report_checks, same_data
from unmask.labels import check_unlabelled

COMPARED = 1000  # samples, and examples of the data, whose values are counted
COUNTED = 10_000  # examples whose values are counted at each position by itself


@dataclass(frozen=True, kw_only=True)
class Audit(Machine):
    model: Model = ""
    selftest: bool = False
    """Audit this package, not a model: every objective and estimator against known entropies."""
    data: str = ""
    """A folder that `unmask prepare` made, with the model's tokens;
    empty: audit on samples of the model itself."""
    split: Literal["train", "validation", "test"] = "test"
    """Which part of the data."""
    limit: int = 32
    """Windows of the data, spread evenly over the split, or samples."""
    length: int = 0
    """Tokens a window; 0: the length that the model was trained at."""
    repeats: int = 32
    """Draws of masks for each window, at least 32, so that their noise is known."""
    enumerate: int = 8
    """Units (tokens or digits) of the short windows, all masks of which are summed."""


def audit(argv: list[str]) -> int:
    """Is the reported number a bound?  Exit code 1 if a check fails."""
    args = parse(Audit, "audit", argv, audit.__doc__)
    if args.selftest == bool(args.model):
        raise ValueError(
            "name the folder of a model or, to audit the package itself, give --selftest; not both"
        )
    if args.selftest and (args.data or args.device != "auto" or args.dtype != "auto"):
        raise ValueError(
            "--selftest has distributions of its own, in float64 on the CPU: "
            "leave out --data, --device and --dtype"
        )
    runtime = Runtime(replace(args, device="cpu") if args.selftest else args)
    from unmask.audit import MAX_UNITS, checks, selftest

    check_positive(args, "limit", "enumerate")
    if args.repeats < 32:
        raise ValueError(
            f"--repeats must be at least 32, not {args.repeats}: "
            "with fewer draws their noise is not known"
        )
    if args.enumerate > MAX_UNITS:
        raise ValueError(
            f"--enumerate {args.enumerate} has 2^{args.enumerate} masks: "
            f"it is limited to {MAX_UNITS} units"
        )
    if args.selftest:
        rows = selftest.run(args.seed)
        made = {"repeats": selftest.REPEATS, "precision": "float64"}
        return report_checks(runtime, selftest.HEADER, rows, **made)
    from unmask.data import open_data

    data = open_data(args.data) if args.data else None
    model, kind = runtime.load(args.model, "audit")
    if data is not None:
        same_data(model, kind, data, runtime.found.place)
    length = args.length or model.meta["length"]
    which = {"split": args.split, "length": length, "limit": args.limit}
    x, valid, on = checks.windows_of(model, data, **which, generator=runtime.generator)
    trained = "its bound"
    if model.objective != "nelbo":
        trained = "the joint loss, which is no bound; what is audited is its bound"
    if model.meta.get("labels"):
        check_unlabelled(model, "name one that was trained with more")
        on += ", without their classes"
    print(
        f"{runtime.found.folder}, trained on {trained}; {on}, {runtime.dtype}, "
        f"{args.repeats} draws a window, seed {args.seed}"
    )
    draws = {"units": args.enumerate, "repeats": args.repeats, "seed": args.seed}
    rows: Iterator = checks.check_model(model, x, valid, dtype=runtime.dtype, **draws)
    if data is not None:
        rows = itertools.chain(rows, compared(args, runtime, model, kind, data))
    made = {"objective": model.objective, "on": on, "repeats": args.repeats}
    sha = None if data is None else data.meta["sha256"]
    return report_checks(runtime, checks.HEADER, rows, **made, data_sha256=sha)


def compared(args: Audit, runtime: Runtime, model: Any, kind: Any, data: Any) -> Iterator:
    """How common values are, in the data and in what the model says and samples."""
    from unmask.audit.agreement import compare_beginning, compare_shares
    from unmask.audit.checks import left_out

    def some(count: int) -> dict:
        length = args.length or model.meta["length"]
        return next(data.windows(args.split, length, count, limit=count))

    told = {"names": kind.place_names, "spell": kind.meanings.__getitem__}
    layout = kind.layout
    alike = layout.shape is None and not layout.places and layout.allowed is None
    with runtime.precision:
        counted = some(COMPARED if alike else COUNTED)
        yield compare_beginning(model, counted, alike=alike, **told)
    if not kind.columns:
        return
    if model.schedule.num_values > 1:
        why = "with one curve per value, nothing says at which t the rest of a row is known"
        yield left_out("shares of values", why)
        return
    batch = some(COMPARED)
    valid = batch.get("role", batch.get("valid"))
    told |= {"num": COMPARED, "generator": runtime.generator}
    with runtime.precision:
        yield from compare_shares(model, batch["x"], valid, **told)
