"""unmask sample: examples of which nothing is known, filled in."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from unmask.cli.flags import Model, Sampler, parse
from unmask.cli.runtime import Runtime, check_positive, how, made_by
from unmask.files import is_writer
from unmask.kinds.output import check_apart, check_out
from unmask.labels import labels_of

# what the unmasking can be written as, by the form that a kind has of its own
FRAMES = {".html": (".html", ".svg", ".gif"), ".gif": (".gif",), "": ()}


@dataclass(frozen=True, kw_only=True)
class Sample(Sampler):
    model: Model
    num: int = 8
    """How many samples."""
    length: int = 0
    """Tokens; 0: the length that the model was trained at
    or, of proteins and of texts kept apart, those of the training data up to it."""
    frames: str = ""
    """Write the unmasking to this file: of the longest text or protein, or the first row, to an
    .html to step through, or to an .svg or a .gif that moves by itself; of pictures to a .gif."""
    label: str = ""
    """Of a network that was given classes: the class of every sample, by its name or number;
    empty: the classes in turn."""
    where: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Of a table: a condition on the rows, such as 'age >= 30', one or several:
    a column, one of = != < <= > >= in, and a value, with "in" several with commas between them."""

    @property
    def watched(self) -> bool:
        return bool(self.frames)


def sample(argv: list[str]) -> None:
    """Draw samples: of texts, proteins and tables to the terminal or --out, of pictures to --out.

    Pictures become a .png grid, an .npz or a folder.
    """
    args = parse(Sample, "sample", argv, sample.__doc__)
    runtime = Runtime(args)
    from unmask.filling import Filler
    from unmask.rows import rows_at_a_time

    check_positive(args, "num")
    model, kind = runtime.load(args.model, "sample")
    kind.check(args)
    if args.frames and not kind.frames:
        raise ValueError(f"--frames is not for {kind.what}: leave it out")
    check_out(args.frames, *FRAMES[kind.frames])
    check_apart([args.out, args.frames, args.json], [args.grid])
    labels = labels_of(args.label, args.num, model)
    sizes, made = sizes_of(args, runtime, model, kind)
    of_each = [None] * args.num if labels is None else labels
    blank = {n: kind.blank(n, args.where) for n in set(sizes)}
    examples = [blank[n]._replace(label=one) for n, one in zip(sizes, of_each, strict=True)]
    watch = int(bool(args.frames))
    if args.frames and kind.frames == ".gif":
        together = rows_at_a_time(args.batch_size, max(sizes) * model.subtokenizer.length)
        watch = min(args.num, together, 64)
    filler = Filler(model, **runtime.filling(), watch=watch)
    rows = [one.ids for (one,) in filler.fill(examples)]
    made |= conditions(args, filler)
    made |= runtime.processes.of_first(lambda: kind.write(rows, args))
    if not kind.no_labels:
        made["labels"] = labels
    if args.frames and runtime.processes.rank == 0:
        if filler.states:
            write_frames(args.frames, kind, filler.states)
        else:
            print(f"{args.frames} is not written: there was nothing to unmask", file=sys.stderr)
    runtime.record(**made, **how(args, model))


def sizes_of(args: Any, runtime: Runtime, model: Any, kind: Any) -> tuple[list[int], dict]:
    """How many tokens each sample has, and what is to be recorded of that."""
    from unmask.sampling import draw_lengths

    trained = model.meta["length"]
    if args.length < 0:
        raise ValueError(f"--length must be at least 1, not {args.length}")
    if kind.fixed and args.length not in (0, trained):
        raise ValueError(
            f"--length {args.length}: an example of this model's data has {trained} values; "
            "leave it out"
        )
    if args.length > trained:
        print(
            f"note: the model was trained at {trained} tokens; "
            f"{args.length} is beyond what it has seen",
            file=sys.stderr,
        )
    histogram = kind.meta.get("lengths")
    if histogram is None:
        length = args.length or trained
        return [length] * args.num, {"length": length}
    if args.length:
        sizes, said = [args.length] * args.num, f"--length {args.length}"
    else:
        sizes = draw_lengths(model, args.num, runtime.generator).tolist()
        left_out = sum(count for n, count in histogram.items() if int(n) > trained)
        said = (
            f"those of the training sequences; {left_out:,} longer than {trained}, "
            "the trained length, are left out"
        )
        if kind.meta.get("longer") == "cut":
            said = (
                f"those of the training documents; {left_out:,} longer than {trained}, "
                "the trained length, count as that long"
            )
    print(f"lengths: {said}", file=sys.stderr)
    return sizes, {"lengths": sizes, "length_model": said}


def conditions(args: Sample, filler: Any) -> dict:
    """What is to be recorded of --where, and said of draws that its conditions cost."""
    if not args.where:
        return {}
    made: dict[str, Any] = {"where": list(args.where)}
    if filler.draws:
        accepted, draws = filler.accepted, filler.draws
        made |= {"accepted": accepted, "draws": draws}
        if is_writer():
            share = f"{100 * accepted / draws:.3g} %"
            print(f"accepted {accepted:,} of {draws:,} draws ({share})", file=sys.stderr)
    return made


def write_frames(path: str, kind: Any, states: list) -> None:
    """The unmasking, as a page to step through or a moving picture."""
    from unmask.report import write_gif, write_report, write_svg
    from unmask.report.boards import of_samples
    from unmask.report.reveal import of_states

    title, form = f"{kind.title}, step by step", Path(path).suffix
    if kind.frames == ".gif":
        kind.animate(Path(path), states)
    elif form == ".svg":
        write_svg(Path(path), kind.pages(states), title=title)
    elif form == ".gif":
        write_gif(Path(path), kind.pages(states))
    else:
        words = {"title": title, "unit": kind.unit, "sources": made_by()}
        write_report(Path(path), **words, sections=of_samples(kind, of_states(states)))
    print(f"wrote {path}", file=sys.stderr)
