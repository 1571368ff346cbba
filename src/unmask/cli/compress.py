"""unmask compress and decompress: lossless coding by a model, and back."""

import gzip
import importlib
import lzma
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro

from unmask.cli.flags import Model, parse
from unmask.cli.runtime import Runtime, check_positive, grid_of
from unmask.config import Dtype, check_grid
from unmask.files import STREAM, as_file, no_file, write_whole
from unmask.kinds.output import check_apart, check_out

OrderName = Literal["left-to-right", "right-to-left", "confidence", "margin", "entropy"]
LARGEST_FILE = 1 << 32  # bytes, that are read


@dataclass(frozen=True, kw_only=True)
class Coding:
    """What the arithmetic runs on; always in float32."""

    device: str = "auto"
    """auto: cuda where there is one, else cpu. A file is decoded on a device of the same name."""
    threads: int = 0
    """CPU threads, the same to decode; 0: leave as it is, and of decompress as the file says."""
    json: str = ""
    """Also write the result, with what made it, to this file."""
    dtype: ClassVar[Dtype] = "float32"
    seed: ClassVar[int] = 0  # nothing is drawn


@dataclass(frozen=True, kw_only=True)
class Compress(Coding):
    model: Model
    input: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="INPUT")]
    """Of a model of text: any file, which comes back byte for byte.
    Of proteins: a FASTA file. Of a table: a CSV file with the model's columns.
    Of pictures: a picture, a folder of them, or an .npz or IDX file. -: standard input."""
    out: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUT")]
    """The file to write; -: standard output."""
    order: OrderName = "left-to-right"
    """In which order values are coded: in that of positions, or of what is revealed the surest
    first, by one of three measures. Each has an exact likelihood, which is what the bytes are."""
    steps: int = 0
    """Network calls for a batch of examples: fewer are faster, and larger files; 0: one a value."""
    grid: str = "cosine"
    """Of --steps: how many values each codes, as in sample."""
    batch_size: int = 0
    """Examples that run through the network at a time, and are a block; 0: 64, or more where they
    are short."""
    verify: bool = True
    """Decode every block again and compare, at as much time once more."""


@dataclass(frozen=True, kw_only=True)
class Decompress(Coding):
    model: Model
    input: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE")]
    """A file that unmask compress wrote with this model; -: standard input."""
    out: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="OUT")]
    """What to write: a text, a FASTA or CSV file, - being standard output; of pictures, a .png (a
    grid), an .npz, or a folder (a PNG each)."""
    batch_size: int = 0
    """The most examples of a block, which run through the network together, that a file may have;
    0: as many as compress takes by itself."""


def compress(argv: list[str]) -> None:
    """Code a file by a model's own conditionals, without loss, into about as many bytes as the
    exact likelihood says.

    Printed: that likelihood, the bytes beside it, and what other compressors make of the same.
    """
    args: Any = parse(Compress, "compress", argv, compress.__doc__)
    if args.input != "-" and not Path(args.input).exists():
        raise no_file(Path(args.input), f"there is no file {args.input}: INPUT is what to compress")
    check_out(args.out, packed=True)
    check_out(args.json)
    check_apart([args.out, args.json], [args.input, args.grid])
    if args.steps:
        check_positive(args, "steps")
        check_steps(args.steps)
    check_grid(args.steps, args.grid)
    runtime = Runtime(args)
    from unmask import compression
    from unmask.compression.frequencies import library
    from unmask.rows import check_known

    library()
    model, kind = runtime.load(args.model, "compress")
    model = model.float()
    shares = shares_of(args, model)
    with as_file(args.input) as source:
        packed = kind.pack(source)
        numbered = enumerate(packed.examples, 1)
        places = ((f"example {n} of {source}", ids) for n, ids in numbered)
        check_known(model, kind.tokenizer, places)
    for note in packed.notes:
        print(f"note: {note}", file=sys.stderr)
    made = compression.compress(
        model,
        packed.examples,
        order=args.order,
        shares=shares,
        batch_size=args.batch_size,
        beside=packed.beside,
        verify=args.verify,
        progress=True,
    )
    write_whole(args.out, made.content)
    others = {**other_sizes(packed.raw), **packed.sizes}
    lines = report(args.out, made, kind, len(packed.examples), packed.raw, others)
    print("\n".join(lines))
    sizes = made.sizes._asdict() | {"file": len(made.content), "input": len(packed.raw)}
    runtime.record(
        bytes=sizes | others,
        likelihood_bits=made.bits,
        coded_bits=made.coded_bits,
        sampler=made.sampler,
        examples=len(packed.examples),
        tokens=made.tokens,
        notes=list(packed.notes),
        verified=args.verify,
    )


def decompress(argv: list[str]) -> None:
    """Make the file again that compress coded, with the same model and arithmetic."""
    args: Any = parse(Decompress, "decompress", argv, decompress.__doc__)
    check_out(args.json)
    check_apart([args.out, args.json], [args.input])
    from unmask import compression
    from unmask.compression.container import unpack
    from unmask.compression.frequencies import library

    raw, name = content_of(args.input)
    header = unpack(raw, name).header
    library()
    runtime = Runtime(args)
    model, kind = runtime.load(args.model, "compress")
    model = model.float()
    compression.check_weights(model, header, name)  # before what it says is done
    kind.check_unpacked(args.out)
    if not args.threads:
        take_threads(header, name)
    found = compression.decompress(model, raw, batch_size=args.batch_size, name=name, progress=True)
    kind.unpack(found.examples, found.beside, args.out)
    tokens = sum(len(one) for one in found.examples)
    said = f"{args.out}: {tokens:,} {kind.unit}s, every block as its checksum says"
    print(said)
    runtime.record(examples=len(found.examples), tokens=tokens, out=args.out)


def content_of(named: str) -> tuple[bytes, str]:
    """What compress wrote, and what messages call it.  ValueError for what is no file."""
    with as_file(named) as file:
        if not file.is_file():
            raise no_file(file, f"there is no file {file}: FILE is one of compress")
        if file.stat().st_size > LARGEST_FILE:
            raise ValueError(f"{file} is larger than 4 GiB: compress less at a time")
        return file.read_bytes(), STREAM if named == "-" else named


def take_threads(header: dict[str, Any], name: str) -> None:
    """As many as the file was made with.  ValueError for more than there are CPUs: a file does not
    say alone how many are started."""
    import torch

    threads = header["machine"].get("threads")
    most = max(os.cpu_count() or 1, torch.get_num_threads())
    if type(threads) is not int or threads < 1:
        return  # which no machine has, and is refused as another one
    if threads > most:
        raise ValueError(
            f"{name} was made with {threads:,} threads, and here are {most} CPUs: give --threads "
            f"{threads} to start so many"
        )
    torch.set_num_threads(threads)


def shares_of(args: Compress, model: Any) -> tuple[float, ...] | None:
    """Of units that are masked after each step of --steps and --grid; None: one unit a step.

    To six digits, since the file holds them.
    """
    from unmask.policies import check_curve
    from unmask.sampling import times_of

    check_curve(model, "compressing")
    grid = grid_of(args.grid, model.units().length)
    ts = times_of(model, args.order, args.steps or None, grid)
    if ts is None:
        return None
    check_steps(len(ts) - 1)
    return tuple(round(share, 6) for share in model.schedule.masked(ts)[:, 0].tolist())


def check_steps(steps: int) -> None:
    from unmask.compression.container import MOST_STEPS

    if steps > MOST_STEPS:
        raise ValueError(
            f"{steps:,} steps are more than the {MOST_STEPS:,} whose shares a file holds: give "
            "fewer, or leave --steps out for one value a step"
        )


def other_sizes(raw: bytes) -> dict[str, int]:
    """Bytes that other compressors make of the same, each at its best."""
    sizes = {"gzip": len(gzip.compress(raw, 9, mtime=0))}
    sizes["xz"] = len(lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME))
    for module in ("compression.zstd", "zstandard"):  # Python 3.14, or a package
        try:
            found = importlib.import_module(module)
        except ImportError:
            continue
        sizes["zstd"] = len(found.compress(raw, 19))
        break
    return sizes


def report(
    out: str, made: Any, kind: Any, examples: int, raw: bytes, others: dict[str, int]
) -> list[str]:
    """Lines that say what a file cost, and why."""
    size, sizes = len(made.content), made.sizes
    each = f"{8 * size / made.tokens:.3f} bits a {kind.unit}" if made.tokens else "nothing in it"
    ours = sizes.payload + sizes.checks
    many = f"{examples:,} example{'s' * (examples != 1)}"
    lines = [
        f"wrote {out}: {size:,} bytes of {len(raw):,} ({each}; {many}, {made.tokens:,} "
        f"{kind.unit}s)",
        f"  likelihood {made.bits / 8:14,.1f} bytes: the exact -log2 p of {made.sampler}",
        f"  blocks     {ours:14,} bytes, {made.over:+.2%}: with {sizes.checks:,} of checksums",
        f"  header     {sizes.header:14,} bytes, and {sizes.lengths:,} for lengths",
        f"  beside     {sizes.beside:14,} bytes: what {kind.unit}s do not say",
    ]
    listed = ", ".join(f"{name} {count:,}" for name, count in others.items())
    return [*lines, f"  of the same, others make: {listed}"]
