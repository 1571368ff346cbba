"""unmask quality: a kind measures samples; here the figures are printed, drawn and recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, make_dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from unmask.cli.flags import Device, flags_of, parse
from unmask.cli.runtime import refuse_others, write_record
from unmask.config import Dtype
from unmask.files import no_file
from unmask.kinds.kind import Kind
from unmask.kinds.output import check_apart, check_out, table
from unmask.kinds.quality import Measure, Part, Value
from unmask.kinds.registry import kind_of, kinds, open_data


@dataclass(frozen=True, kw_only=True)
class Common(Device):
    samples: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SAMPLES")]
    """A file of samples, as `unmask sample MODEL --out FILE` writes them: JSON lines or a text,
    CSV, FASTA, an .npz or a folder of pictures."""
    data: Path
    """The prepared data: what the model was trained on, and what was held out, which tells how
    real examples do."""
    split: Literal["test", "validation"] = "test"
    """The part held out."""
    perplexity: str = ""
    """Of texts and proteins: a model that judges the samples, a folder of transformers with a
    causal language model, or a model or run of unmask: their perplexity under it, with the entropy
    of its tokens."""
    record: str = ""
    """What `unmask sample --json` wrote of the samples: with the perplexity it says at which
    temperature, top-p and precision they were drawn, which are unknown otherwise."""
    features: tuple[str, ...] = ()
    """Two files of features of a network of your choice, of the samples and of real examples,
    as for `unmask distance`: their Frechet distance."""
    mauve: bool = False
    """Also MAUVE, of --features or, without, of what a folder of transformers that --perplexity
    names has in its last layer at the last token of each example."""
    dtype: Dtype = "float32"
    """Precision of the model that judges; bfloat16 rounds what it says of a token."""
    seed: int = 0
    """Of what is drawn: of bootstraps, folds, and parts where sizes have to be equal."""
    out: str = ""
    """Also write a page with pictures to this .html file."""
    json: str = ""
    """Also write the result, with what made it, to this file."""


def flags_of_judging() -> type:
    """The verb's flags, those of all kinds among them."""
    bases = (*flags_of("Judge"), Common)
    return make_dataclass("Quality", [], bases=bases, frozen=True, kw_only=True)


def quality(argv: list[str]) -> None:
    """How good samples are: how varied, how far from real examples, how much of them is copied.

    Each figure comes with its error, its ideal, and what real examples that were held out have.
    """
    args: Any = parse(flags_of_judging(), "quality", argv, quality.__doc__)
    check_out(args.out, ".html")
    check_out(args.json, ".json")
    check_apart([args.out, args.json], [args.samples, args.data, args.record, *args.features])
    if args.seed < 0:
        raise ValueError(f"--seed must not be negative, not {args.seed}")
    if not args.samples.is_file() and not args.samples.is_dir():
        raise no_file(args.samples, f"there is no file {args.samples}: name a file of samples")
    data = open_data(args.data)
    kind = kind_of(data.meta, data.folder)
    if kind.not_judged:
        judged = ", ".join(one.what for one in kinds().values() if not one.not_judged)
        raise ValueError(
            f"{args.data} holds {kind.describe()}: {kind.not_judged} (quality is for {judged})"
        )
    refuse_others(args, kind, "Judge")
    judge, record = judge_of(args, kind), record_of(args)
    check_mauve(args, judge)
    more = features_of(args)
    found = kind.quality(data, args.samples, args)
    if judge is not None:
        from unmask.evaluation import mauve
        from unmask.evaluation.judges import Causal
        from unmask.evaluation.perplexity import judged

        assert found.examples is not None and found.measure is not None
        rows = []
        if args.mauve and not args.features:
            rows = [judge.rows(side) for side in found.examples]
            mauve.check_texts(rows)
        more.append(judged(judge, found.examples, found.measure, record))
        unknown = sum(int((one.ids >= data.vocab_size).sum()) for one in chain(*found.examples))
        if unknown and isinstance(judge, Causal):
            said = f"{unknown:,} {data.unit}s that are not known are letters to the judging model"
            more.append(Part([], [f"{said}, and count in both figures"], {}))
        if rows:
            more.append(mauve.of_texts(judge, rows, args.seed))
    for part in more:
        found = part.added(found)
    for line in found.heading:
        print(line)
    print("\n".join(table(rows_of(found.measures))))
    for line in found.notes:
        print(f"  {line}")
    measures = {one.key: one.record() for one in found.measures}
    made = {"seed": args.seed, "split": args.split, "data_sha256": data.meta["sha256"]}
    write_record(args.json, **made, measures=measures, notes=[*found.notes], **found.record)
    if args.out:
        from unmask.report.quality import write_quality

        write_quality(Path(args.out), found, f"Samples in {args.samples.name}")


def features_of(args: Any) -> list[Part]:
    """The distance of the features in two files, and MAUVE if asked for, before the work."""
    if not args.features:
        return []
    if len(args.features) != 2:
        raise ValueError(
            f"--features has {len(args.features)} names: give two files, of the samples and of "
            "real examples"
        )
    from unmask.evaluation.features import compare_features, read_features

    ours, theirs = map(Path, args.features)
    found = [compare_features(ours, theirs, args.seed)]
    if args.mauve:
        from unmask.evaluation import mauve

        a, b = (read_features(path).numpy() for path in (ours, theirs))
        found.append(mauve.compare(a, b, f"{ours} and {theirs}", args.seed))
    return found


def check_mauve(args: Any, judge: Any) -> None:
    """ValueError for --mauve without features, or without the package that computes it."""
    if not args.mauve:
        return
    from unmask.evaluation import mauve
    from unmask.evaluation.judges import Causal

    if not args.features and not isinstance(judge, Causal):
        raise ValueError(
            "--mauve is of features: give --features, or --perplexity with a folder of transformers"
        )
    mauve.check_seed(args.seed)
    mauve.load()


def judge_of(args: Any, kind: Kind) -> Any:
    """What --perplexity names, opened before the work; None for nothing."""
    if not args.perplexity:
        return None
    if not kind.spelled:
        raise ValueError(f"--perplexity is not for {kind.what}: leave it out")
    import torch

    from unmask.device import pick_device, pick_dtype
    from unmask.evaluation.judges import open_judge
    from unmask.hub import find

    if args.threads < 0:
        raise ValueError(f"--threads must not be negative, not {args.threads}")
    if args.threads:
        torch.set_num_threads(args.threads)
    device = pick_device(args.device)
    dtype = pick_dtype(args.dtype, device)
    return open_judge(find(args.perplexity).folder, kind, device, dtype)


def record_of(args: Any) -> Any:
    """What --record says of how the samples were drawn; None for nothing."""
    if not args.record:
        return None
    if not args.perplexity:
        raise ValueError("--record goes with --perplexity: give a model, or leave it out")
    from unmask.evaluation.perplexity import read_record

    return read_record(Path(args.record))


def rows_of(measures: Sequence[Measure]) -> list[list[str]]:
    """What is printed of each: the name, the ideal, samples, as many as are real, and real ones."""
    rows = [["", "ideal", "samples", "as many as real", "real, held out"]]
    for one in measures:
        ideal = "as real" if one.ideal is None else f"{one.ideal:.3g}"
        values = [spelled(value) for value in (one.samples, one.like, one.real)]
        rows.append([one.name, ideal, *values])
    return rows


def spelled(value: Value | None) -> str:
    return "" if value is None else value.spell()
