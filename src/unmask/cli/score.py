"""unmask score: what each example of a file costs, and the difference of two versions of it."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from itertools import compress
from pathlib import Path
from typing import Annotated, Any

import tyro

from unmask.cli.estimator import Estimating, check_estimator, estimator_of
from unmask.cli.flags import Model, flags_of, parse
from unmask.cli.runtime import Runtime, check_positive, refuse_others
from unmask.files import STREAM, as_file, no_file
from unmask.kinds.kind import Kind, Listed, Partial, too_long
from unmask.kinds.output import check_apart, check_out, csv_text, write_text
from unmask.labels import label_of


@dataclass(frozen=True, kw_only=True)
class Common(Estimating):
    model: Model
    input: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="INPUT")]
    """Of a model of text: a text, each line of which is scored, or JSON lines (.jsonl, .ndjson)
    with a field text and, if there is a context, given, which is shown and not scored.
    Of proteins: a FASTA file.  Of a table: a CSV file, each row of which is.
    Of pictures: a picture, a folder of them, or an .npz or IDX file, whose labels count.
    - for standard input.
    What fill would fill in ([MASK], -, transparent pixels) is not known: hidden, and not scored;
    an empty cell of a table is what it is in the model's data."""
    out: str = ""
    """Write the CSV here, not to the terminal."""
    pairs: str = ""
    """A file of other versions of the examples, one for each or one for all: both are scored on the
    same masks, and their difference (INPUT less this) is told with its error."""
    holes: str = ""
    """A file of the same examples, one for each or one for all, with the marks of fill
    ([MASK:20], X or -, empty cells, transparent pixels) at what is to be scored, given the rest."""
    positions: str = ""
    """Also write to this .csv what each position (of a table: each cell) costs: estimates that add
    up to the score, of which one with few draws can be below zero."""
    window: bool = False
    """Score a sequence that is longer than the model was trained at window by window, each given
    what those before it hold."""
    repeats: int = 32
    """Draws of masks for each example; of --estimator orders, its orders."""
    error: float = 0.0
    """Draw until the noise of each score, or of each difference of --pairs, is at most so many bits
    a position (of a table: a cell), instead of --repeats."""
    batch_size: int = 0
    """Examples that run through the network at a time; 0: 64, or more where they are short."""


def flags_of_scoring() -> type:
    """The verb's flags, those of all kinds among them."""
    return make_dataclass("Score", [], bases=(*flags_of("List"), Common), frozen=True, kw_only=True)


def score(argv: list[str]) -> None:
    """What each text, protein, row or picture of a file costs: an upper bound on its -log p, in
    nats and in bits a position, as CSV.

    The noise beside it is that of the masks, one standard error.
    """
    args: Any = parse(flags_of_scoring(), "score", argv, score.__doc__)
    check_estimator(args)
    check_positive(args, "repeats")
    check_files(args)
    runtime = Runtime(args)
    from unmask.rows import check_known, seen
    from unmask.scoring import Scorer, StoppedError

    model, kind = runtime.load(args.model, "score")
    refuse_others(args, kind, "List")
    if args.window:
        model.refuse("--window")
    if args.window and kind.fixed:
        raise ValueError(f"--window is not for {kind.what}: leave it out")
    estimator = estimator_of(args, model)
    scorer = Scorer(
        model,
        estimator=estimator,
        repeats=args.repeats,
        error=args.error,
        seed=args.seed,
        by_unit=bool(args.positions),
        unit_of=kind.column_of if kind.columns else None,
        window=args.window,
        batch_size=args.batch_size,
        precision=runtime.precision,
        progress=True,
    )
    marks = listed_of(args, args.holes, kind, marks=True) if args.holes else []
    listed = read(args, args.input, kind, model)
    others = beside(read(args, args.pairs, kind, model), listed, args.pairs) if args.pairs else []
    if args.holes:
        marks = beside(marks, listed, args.holes)
        listed = [marked(*pair, kind.unit) for pair in zip(listed, marks, strict=True)]
        if args.pairs:
            others = [marked(*pair, kind.unit) for pair in zip(others, marks, strict=True)]
    length = model.meta["length"]
    shown = ((o.place, seen(o.example, length, filled=True)) for o in (*listed, *others))
    check_known(model, kind.tokenizer, shown)
    examples = [one.example for one in listed]
    said = f"{estimator.what}: {estimator.name(model)}, of {estimator.sampler(model)}"
    print(said, file=sys.stderr)
    learned = model.schedule.num_values > 1
    stop, found = None, list[Any]()
    try:
        if args.pairs:
            found += scorer.pairs(examples, [one.example for one in others])
        else:
            found += scorer.score(examples)
    except StoppedError as error:
        stop, finished = error, [bool(one) for one in error.scores]
        found += compress(error.scores, finished)
        listed, others = list(compress(listed, finished)), list(compress(others, finished))
        if not found:
            raise
    scores: list[Any] = [one for one, _ in found] if args.pairs else found
    if args.pairs:
        rows = rows_of_pairs(kind, listed, others, found, learned)
        if not estimator.exact:
            say_unlike(rows)
    else:
        rows = rows_of(kind, listed, scores)
    write_text(args.out, csv_text([list(rows[0]), *(list(row.values()) for row in rows)]))
    if args.positions:
        write_text(args.positions, csv_text(rows_of_positions(kind, listed, scores)))
    made = {"what": estimator.what, "estimator": estimator.name(model), "scores": rows}
    density = estimator.density(model, scorer.of_each)
    made |= {"sampler": estimator.sampler(model), "density": density}
    unused = args.error or estimator.exact
    made |= {"repeats": None if unused else args.repeats, "error": args.error}
    runtime.record(**made)
    if stop is not None:
        raise stop


def check_files(args: Any) -> None:
    """ValueError for a file that is not there, or that cannot be written."""
    inputs = {"INPUT": args.input, "--pairs": args.pairs, "--holes": args.holes}
    if list(inputs.values()).count("-") > 1:
        raise ValueError("two files are to come by standard input: name one of them")
    for name, path in inputs.items():
        if path not in ("", "-") and not Path(path).exists():
            said = "a text, a FASTA or CSV file, or a picture or more"
            raise no_file(Path(path), f"there is no file {path}: {name} is {said}")
    outs = args.out, args.positions, args.json
    for out in outs:
        check_out(out)
    check_apart(outs, [*inputs.values(), args.grid])


def read(args: Any, path: str, kind: Kind, model: Any) -> list[Listed]:
    """The examples of a file, all of whose values are scored.

    ValueError for one that does not fit.
    """
    listed = listed_of(args, path, kind)
    length = model.meta["length"]
    for one in listed:
        if len(one.example.ids) > length and not args.window:
            raise too_long(one.place, len(one.example.ids), kind.unit, length)
    if model.meta.get("labels"):
        label = label_of(args.label, model)
        listed = [labelled(one, label, model) for one in listed]
    else:
        label_of(getattr(args, "label", ""), model)  # refuses any
        listed = [one._replace(example=one.example._replace(label=None)) for one in listed]
    return listed


def listed_of(args: Any, path: str, kind: Kind, *, marks: bool = False) -> list[Listed]:
    """As `Kind.listed`; of standard input for "-"."""
    with as_file(path) as file:
        found = kind.listed(file, args, marks=marks)
    if path != "-":
        return found
    return [one._replace(place=one.place.replace(str(file), STREAM)) for one in found]


def labelled(one: Listed, label: int | None, model: Any) -> Listed:
    """With a label, if one is given; ValueError for a label of its file that the model lacks."""
    own = one.example.label if label is None else label
    classes = model.meta["data"].get("classes", 0)
    if own is not None and own >= classes:
        raise ValueError(
            f"{one.place} has the label {own}, and the model knows {classes} classes: give one of "
            "them with --label"
        )
    return one._replace(example=one.example._replace(label=own))


def beside(found: list[Listed], to: list[Listed], path: str) -> list[Listed]:
    """One of `found`, which are of the file `path`, for each of `to`; a single one is for all.

    ValueError for another number of them, where lines that are left out shift them, and where some
    have the same names but not in the same order.  Names that are all others say nothing of order.
    """
    if len(found) == 1:
        return found * len(to)
    if len(found) != len(to):
        raise ValueError(
            f"{path} has {len(found)} examples and INPUT {len(to)}: give as many, or one for all"
        )
    for one, other in zip(found, to, strict=True):
        if one.at != other.at:
            raise ValueError(
                f"{one.place} would stand beside {other.place}: leave the same lines blank in both"
            )
    names, of_others = [one.name for one in found], [one.name for one in to]
    numbered = all(one.name == str(one.at) for one in (*found, *to))
    if not numbered and names != of_others and not set(names).isdisjoint(of_others):
        one, other = next((a, b) for a, b in zip(to, found, strict=True) if a.name != b.name)
        raise ValueError(
            f"{one.name!r} of INPUT would stand beside {other.name!r} of {path}: give both the "
            "same names in the same order, or names that differ throughout"
        )
    return found


def marked(one: Listed, mark: Listed, unit: str) -> Listed:
    """An example of which only what is marked is scored, given the rest.

    ValueError unless they agree elsewhere, and something is marked that has a value.
    """
    import numpy as np

    from unmask.roles import GIVEN, HOLE

    (ids, role, *_), (of_mark, role_of_mark, *_) = one.example, mark.example
    if len(ids) != len(of_mark):
        raise ValueError(
            f"{one.place} has {len(ids)} {unit}s, and {mark.place} {len(of_mark)}: mark the same "
            f"example, {unit} by {unit}"
        )
    value, says = ((r == HOLE) | (r == GIVEN) for r in (role, role_of_mark))
    differs = says & (~value | (ids != of_mark))
    if differs.any():
        at = int(differs.argmax())
        raise ValueError(
            f"{one.place} and {mark.place} differ at {unit} {at + 1}, which is not marked: "
            "mark it, or make it the same"
        )
    own = np.where((role == HOLE) & says, GIVEN, role).astype(np.int8)
    if not (own == HOLE).any():
        raise ValueError(
            f"{mark.place} marks nothing that has a value in {one.place}: mark what is to be scored"
        )
    return one._replace(example=one.example._replace(role=own))


# ---------------------------------------------------------------- what is written


def rows_of(kind: Kind, listed: Sequence[Listed], scores: Sequence[Any]) -> list[dict[str, Any]]:
    """For each example what it is called, and what it costs."""
    return [
        {
            "name": legible(one.name),
            f"{kind.unit}s": found.units,
            "nats": found.nats,
            "noise": found.noise,
            f"bits_per_{kind.unit}": found.bits_per_unit,
            "bits_noise": found.bits_per_unit_noise,
            "draws": found.draws,
        }
        for one, found in zip(listed, scores, strict=True)
    ]


def legible(name: str) -> str:
    """A name as text, where it has bytes that are none, as headers of records and files may."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def rows_of_pairs(
    kind: Kind, listed: list[Listed], others: list[Listed], found: list[tuple], learned: bool
) -> list[dict[str, Any]]:
    """As `rows_of`, with the other version, and the difference.

    `learned`: each value has its own schedule.
    """
    from unmask.scoring import difference

    rows = rows_of(kind, listed, [one for one, _ in found])
    of_others = rows_of(kind, others, [other for _, other in found])
    for i, (row, other) in enumerate(zip(rows, of_others, strict=True)):
        name, units, nats, noise, *_ = other.values()
        row |= {"other": name, f"other_{kind.unit}s": units, "other_nats": nats}
        change = difference(*found[i])
        same = alike(listed[i].example, others[i].example, learned)
        row |= {"other_noise": noise, "other_draws": other["draws"]}
        row |= {"difference": change.nats, "difference_noise": change.noise}
        row |= {"same_masks": "yes" if same else "no", "verdict": change.verdict}
    return rows


def alike(one: Partial, other: Partial, learned: bool) -> bool:
    """Whether masks are the same throughout: the same places are scored and, where each value has
    its own schedule, of the same values."""
    from unmask.scoring import content

    if content(one) == content(other):
        return True
    return not learned and one.role.tobytes() == other.role.tobytes()


def say_unlike(rows: list[dict[str, Any]]) -> None:
    """Say where the two of a pair cannot be masked alike."""
    unlike = sum(row["same_masks"] == "no" for row in rows)
    if unlike:
        print(
            f"note: {unlike} of {len(rows)} pairs cannot be masked alike, since other places are "
            "scored or each value has its own schedule: their differences are valid, and noisier",
            file=sys.stderr,
        )


def rows_of_positions(
    kind: Kind, listed: Sequence[Listed], scores: Sequence[Any]
) -> list[Sequence[Any]]:
    """Rows (name, position, value, nats, noise) of all that is scored, below their header."""
    from unmask.roles import HOLE

    rows: list[Sequence[Any]] = [("name", kind.unit, "value", "nats", "noise")]
    for one, found in zip(listed, scores, strict=True):
        unit_of = kind.column_of if kind.columns else range(len(one.example.ids))
        # of several places of a unit, the last one says its value
        at = {unit_of[i]: i for i in (one.example.role == HOLE).nonzero()[0].tolist()}
        for unit, i in at.items():
            called = kind.columns[unit] if kind.columns else unit + 1
            value = kind.tokenizer.spell(int(one.example.ids[i]))
            rows.append((legible(one.name), called, value, *found.by_unit[unit].tolist()))
    return rows
