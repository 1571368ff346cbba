"""unmask sample and unmask fill: what is drawn from a model, as texts, pictures or proteins."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from unmask.cli.flags import Sampler, parse
from unmask.cli.proteins import fill_proteins, sample_proteins
from unmask.cli.rows import fill_rows, sample_rows
from unmask.cli.runtime import Runtime, check_out, check_positive, examples_at_a_time, fill_window, how, run_sampler, write_texts


@dataclass(frozen=True, kw_only=True)
class Sample(Sampler):
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A model's folder, or a run's."""
    num: int = 8
    """How many samples."""
    length: int = 0
    """Tokens; 0: the length that the model was trained at or, of proteins, those of training sequences up to it."""
    frames: str = ""
    """Write the unmasking to this file: of the first text to an .html to step through, of pictures to a .gif."""
    label: int = -1
    """Of a network that was given classes: the class of every sample; -1: the classes in turn."""


def sample(argv: list[str]) -> None:
    """Draw samples: texts, proteins or rows of a table to the terminal or --out; pictures to --out: a .png grid, .npz or folder."""
    args = parse(Sample, "sample", argv, sample.__doc__)
    runtime = Runtime(args)
    import torch

    from unmask.data import Pixels, Residues, Table
    from unmask.kinds.images.holes import check_pictures_out, state_pictures, write_pictures, write_unmasking
    from unmask.kinds.text.holes import spell_states
    from unmask.report.report import write_report

    check_positive(args, "num", "steps")
    model, tokenizer, folder = runtime.load(args.model)
    if isinstance(tokenizer, Table):
        no_others(args, "a table", "length", "frames", "label")
        runtime.record(folder, **sample_rows(args, args.num, runtime, model, tokenizer), **how(args))
        return
    pictures = isinstance(tokenizer, Pixels)
    out = args.out or ("samples.png" if pictures else "")
    if pictures:
        check_pictures_out(out)
    if not pictures or Path(out).suffix:
        check_out(out)
    check_out(args.frames, ".gif" if pictures else ".html")
    cond = labels_of(args.label, args.num, model)
    length = args.length or model.meta["length"]
    if length < 1:
        raise ValueError(f"--length must be at least 1, not {length}")
    if pictures and length != tokenizer.length:
        raise ValueError(f"--length {length}: the model is for pictures of {tokenizer.length} values; leave it out")
    if length > model.meta["length"]:
        print(f"note: the model was trained at {model.meta['length']} tokens; {length} is beyond what it has seen", file=sys.stderr)
    if isinstance(tokenizer, Residues):
        return sample_proteins(args, runtime, model, tokenizer, folder)
    z = torch.full((args.num, length * model.subtokenizer.length), model.mask_id)
    shown = 0 if not args.frames else min(args.num, examples_at_a_time(args.batch_size, length), 64) if pictures else 1
    x, frames = run_sampler(args, runtime, model, z, frames=shown, cond=cond)
    made: dict = {"length": length, **how(args)}
    if pictures:
        write_pictures(Path(out), tokenizer.decode(x.numpy()))
        print(f"wrote {out}", file=sys.stderr)
        made |= {"out": out, "labels": None if cond is None else cond.tolist()}
    else:
        made["samples"] = [tokenizer.decode(row) for row in x.tolist()]
        write_texts(out, made["samples"])
    if args.frames and pictures:
        write_unmasking(Path(args.frames), state_pictures(model, tokenizer, frames))
    elif args.frames:
        said, states = f"unmask {' '.join(sys.argv[1:])}", [state[0] for state in frames]
        write_report(
            Path(args.frames), title="A sample, step by step", unit="token", sources=said, frames=spell_states(model, tokenizer, states)
        )
    if args.frames:
        print(f"wrote {args.frames}", file=sys.stderr)
    runtime.record(folder, **made)


@dataclass(frozen=True, kw_only=True)
class Fill(Sampler):
    model: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="MODEL")]
    """A model's folder, or a run's."""
    input: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="INPUT")]
    """A text file; - for standard input.  [MASK] is one token to fill in, [MASK:20] twenty, \\[MASK] the letters themselves.  Of a model
    of pictures: a picture, whose transparent pixels are filled in.  Of a table: a CSV file, whose missing cells are.  Of proteins: a
    FASTA file, in which X and - are holes, too; every filling comes with a score."""
    num: int = 1
    """How many different fillings."""
    mask: str = ""
    """Of a picture: a picture of the same size that is white where there is something to fill in, black elsewhere."""
    label: int = -1
    """Of a network that was given classes: the class of the picture; -1: not known."""
    best: bool = False
    """Of a table: the most probable category of each missing cell, or the median of a number, given the known cells of its row; not a
    draw."""
    probabilities: str = ""
    """Of a table: also write to this .csv how probable the values of each missing cell are (those of at least 0.0005), given the known
    cells of its row; rows are counted from 1, without the header."""
    unseen: Literal["error", "missing"] = "error"
    """Of a table: what becomes of a cell that the model cannot read, a category that it does not know, say; missing: the model does not
    see it, and it stays as it is."""
    encoding: str = ""
    """Of a table: how the file is encoded, if it is not UTF-8; what is written is."""
    window: bool = False
    """Allow a text longer than the length that the model was trained at: fill it window by window, left to right."""


def fill(argv: list[str]) -> None:
    """Fill in the holes of a text, a picture, a table or proteins; what is given never changes."""
    args = parse(Fill, "fill", argv, fill.__doc__)
    runtime = Runtime(args)
    from unmask.data import Pixels, Residues, Table

    check_positive(args, "num", "steps")
    if str(args.input) != "-" and not args.input.is_file():
        raise ValueError(f"there is no file {args.input}: INPUT is a text, a picture, a table or a FASTA file, or - for standard input")
    model, tokenizer, folder = runtime.load(args.model)
    if isinstance(tokenizer, Table):
        no_others(args, "a table", "mask", "label", "window")
        made = fill_rows(args, runtime, model, tokenizer)
    else:
        what = {Pixels: "a picture", Residues: "proteins"}.get(type(tokenizer), "a text")
        no_others(args, what, "best", "probabilities", "unseen", "encoding")
        made = {Pixels: fill_picture, Residues: fill_proteins}.get(type(tokenizer), fill_text)(args, runtime, model, tokenizer)
    runtime.record(folder, **made, **({} if args.best else how(args)))


def no_others(args, what: str, *names: str) -> None:
    """ValueError for a flag that says nothing about what is drawn here."""
    for name in names:
        if getattr(args, name) != getattr(type(args), name):
            raise ValueError(f"--{name.replace('_', '-')} is not for {what}: leave it out")


def fill_text(args: Fill, runtime: Runtime, model, tokenizer) -> dict:
    from unmask.data import Characters
    from unmask.kinds.text.holes import count_tokens, encode_holes, is_hole, parse_holes, spell_holes, windows

    check_out(args.out)
    if args.mask or args.label != -1:
        raise ValueError("--mask and --label are for pictures, and this is a model of text, whose holes are marked with [MASK]")
    try:
        source = (sys.stdin.buffer.read() if str(args.input) == "-" else args.input.read_bytes()).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{args.input} is not UTF-8 text: byte {error.start}") from None
    pieces = parse_holes(source)
    if isinstance(tokenizer, Characters):
        strange = {c for piece in pieces if isinstance(piece, str) for c in piece} - set(tokenizer.alphabet)
        if strange:
            raise ValueError(
                f"{args.input}: the model knows the characters {tokenizer.alphabet!r} and no others: take out {sorted(strange)}"
            )
    length, size = model.meta["length"], count_tokens(tokenizer, pieces)
    if size > length and not args.window:
        raise ValueError(f"{args.input} has {size} tokens and the model was trained at {length}: shorten it, or allow "
                         "filling it window by window with --window")  # fmt: skip
    z = encode_holes(model, tokenizer, pieces).repeat(args.num, 1)
    for part, fill in windows(is_hole(model, z).any(0), length):
        fill_window(args, runtime, model, z, part, fill.expand(args.num, -1))
    texts = [spell_holes(tokenizer, pieces, row) for row in model.subtokenizer.decode(z)]
    write_texts(args.out, texts)
    return {"fillings": texts}


def fill_picture(args: Fill, runtime: Runtime, model, tokenizer) -> dict:
    from unmask.kinds.images.holes import Holed
    from unmask.kinds.images.pixels import to_image

    if str(args.input) == "-":
        raise ValueError("a picture is read from a file, not from standard input: name it")
    if args.window:
        raise ValueError("--window is for texts: a picture has the size that the model was trained at")
    if args.mask and not Path(args.mask).is_file():
        raise ValueError(f"there is no file {args.mask}: --mask is a picture, white where there is something to fill in")
    out = Path(args.out or f"{args.input.stem}-filled.png")
    names = [out] if args.num == 1 else [out.with_stem(f"{out.stem}-{i}") for i in range(1, args.num + 1)]
    for name in names:
        check_out(str(name), ".png")
        if name.resolve() == args.input.resolve():
            raise ValueError(f"--out {name} would overwrite the input: name another file")
    holed = Holed(args.input, Path(args.mask) if args.mask else None, tokenizer)
    cond = None if args.label == -1 else labels_of(args.label, args.num, model)
    x, _ = run_sampler(args, runtime, model, holed.state(model).repeat(args.num, 1), cond=cond)
    for name, picture in zip(names, holed.filled(x.numpy()), strict=True):
        to_image(picture).save(name)
        print(f"wrote {name}", file=sys.stderr)
    return {"out": [str(name) for name in names], "filled_values": int(holed.holes.sum())}


def labels_of(label: int, num: int, model):
    """(num,) classes for samples of a network that was given classes, or None."""
    import torch

    classes = model.meta["data"].get("classes", 0) if model.meta.get("labels") else 0
    if label != -1 and not 0 <= label < classes:
        raise ValueError(f"--label {label}: " + (f"the classes are 0 to {classes - 1}" if classes else "the model knows no classes"))
    if not classes:
        return None
    return torch.arange(num) % classes if label == -1 else torch.full((num,), label)
