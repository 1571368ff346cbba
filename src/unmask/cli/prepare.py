"""unmask prepare: one function and one set of flags for each kind of data."""

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from unmask.cli.flags import parse
from unmask.cli.runtime import write_record
from unmask.kinds.output import check_out


@dataclass(frozen=True)
class PrepareText:
    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SRC")]
    """A text or .jsonl file (also .gz, .xz), a folder, every file in which is a document, or a file of ready token ids."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The folder to make."""
    tokenizer: str = "bytes"
    """bytes, characters, a Hugging Face tokenizer .json, a folder with GPT-2's encoder.json and vocab.bpe, or the folder of prepared
    data or of a model: the same as theirs."""
    alphabet: str = ""
    """Of --tokenizer characters: the characters themselves, or text8 for its 27 letters; empty: those of the source."""
    format: Literal["auto", "text", "jsonl", "ids"] = "auto"
    """ids: a raw little-endian array of --dtype."""
    field: str = "text"
    """The field of a .jsonl line."""
    dtype: str = "uint16"
    """The type of ready ids."""
    vocab_size: int = 0
    """Of ready ids without a tokenizer."""
    split: str = "0.9,0.05,0.05"
    """train,validation,test: fractions, or numbers of tokens (-1: the rest). Documents without an end-of-text token are kept whole."""
    validation: str = ""
    """A validation file of its own; the source is then all training data."""
    test: str = ""
    """A test file of its own."""
    json: str = ""
    """Also write what was made to this file."""


@dataclass(frozen=True)
class PrepareImages:
    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SRC")]
    """MNIST's IDX files or its folder (also .gz), CIFAR-10's folder (binary version), .npz (the down-sampled ImageNet), a file of packed
    bits, or a folder of PNG and JPEG files, whose sub-folders, if all lie in some, are the classes."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The folder to make."""
    format: Literal["auto", "idx", "cifar10", "npz", "packbits", "folder"] = "auto"
    """auto: by the names and first bytes of the files; packed bits have to be named."""
    labels: str = ""
    """An IDX file of labels, if it is not beside the images under its official name."""
    shape: str = ""
    """Of packed bits: height,width,channels."""
    size: int = 0
    """Of a folder of pictures: crop the middle square out and resize it to so many pixels a side; 0: all must have one size."""
    channels: Literal[0, 1, 3] = 0
    """Of a folder of pictures: convert to grey (1) or RGB (3); 0: all must be alike."""
    levels: int = 0
    """Values that a pixel's channel can have, 2 to 256: v becomes v * levels // 256; 0: all 256, or the 2 of packed bits."""
    split: str = ""
    """train,validation,test, of a source without a test part: fractions, or numbers of images; empty: 0.9,0.05,0.05.  A folder of
    pictures is cut in an order by the hash of the names.  With a test part, the last twentieth of the others is for validation."""
    validation: str = ""
    """Images of their own for validation."""
    test: str = ""
    """Images of their own for the test."""
    json: str = ""
    """Also write what was made to this file."""


@dataclass(frozen=True)
class PrepareTable:
    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SRC")]
    """A CSV file, also .gz or .xz."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The folder to make."""
    header: Literal["auto", "yes", "no"] = "auto"
    """auto: the first row names the columns if one of its cells is not a number and all below it are; or if its cells all differ, none
    is a number or missing, and none occurs again in its column.  Without a header, columns are called column1, column2, ..."""
    delimiter: str = "auto"
    """What is between cells; auto: the one of comma, semicolon, tab and bar that is most frequent on the first line."""
    encoding: str = ""
    """Of the file, like latin-1; empty: UTF-8, or what its byte-order mark says."""
    missing: str = ",?,NA,N/A,NaN,null"
    """Cells without a value, besides empty ones, with commas between them, in capitals or not.  They are neither scored nor seen."""
    numbers: str = ""
    """Columns of numbers, with commas between them.  Others are of numbers if all of their cells are and none has leading zeros; it is
    an error if nine in ten are."""
    categories: str = ""
    """Columns of categories, whatever they look like."""
    drop: str = ""
    """Columns to leave out."""
    bins: int = 32
    """Of a column of numbers, at most: each has about as many training rows, and is written as its median."""
    like: str = ""
    """Prepared data or a model, whose columns, categories and bins these shall be."""
    unseen: Literal["error", "missing"] = "error"
    """With --like: what becomes of a cell that they cannot read, a category that is not theirs, say."""
    split: str = "0.9,0.05,0.05"
    """train,validation,test: fractions, or numbers of rows (-1: the rest), in an order by the hash of the row; equal rows stay together."""
    validation: str = ""
    """A validation file of its own; the source is then all training data."""
    test: str = ""
    """A test file of its own."""
    json: str = ""
    """Also write what was made to this file."""


@dataclass(frozen=True)
class PrepareProteins:
    source: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="SRC")]
    """A FASTA file (also .gz, .xz), or a folder of them.  The 20 amino acids, U and O are residues; where there is B, J, X or Z, it is not
    known which residue there is, and the position is neither scored nor attended to.  Gaps and any other letter are errors."""
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The folder to make."""
    split: str = "0.9,0.05,0.05"
    """train,validation,test: fractions, or numbers of sequences (-1: the rest), by a hash of the sequence: equal ones stay together.
    Homologues do not."""
    validation: str = ""
    """A validation file of its own; the source is then all training data."""
    test: str = ""
    """A test file of its own."""
    json: str = ""
    """Also write what was made to this file."""


def prepare(argv: list[str]) -> None:
    """Turn text, pictures, tables or proteins into a memory map of token ids and meta.json."""
    if not argv or argv[0] not in KINDS:
        if not argv or argv[0] in ("-h", "--help"):
            print("usage: unmask prepare KIND SRC OUT [flags]\n\nkinds, each with a --help of its own:")
            print("\n".join(f"  {name:8} {function.__doc__}" for name, function in KINDS.items()))
            return
        raise ValueError(f"there is no kind {argv[0]!r} of data; choose one of {', '.join(KINDS)}: unmask prepare KIND SRC OUT")
    KINDS[argv[0]](argv[1:])


def of_text(argv: list[str]) -> None:
    """Text, JSON lines or ready token ids."""
    args = parse(PrepareText, "prepare text", argv, of_text.__doc__)
    check_out(args.json)
    from unmask.data import prepare_text

    meta = prepare_text(
        args.source, args.out, format=args.format, field=args.field, dtype=args.dtype, split=args.split, alphabet=args.alphabet or None,
        tokenizer=args.tokenizer, vocab_size=args.vocab_size or None,
        validation=args.validation or None, test=args.test or None,
    )  # fmt: skip
    counts = ", ".join(f"{n:,} {name}" for name, n in meta["tokens"].items())
    print(f"{args.out}: {counts} tokens of {meta['vocab_size']} values ({meta['tokenizer']['name']}, documents {meta['documents']})")
    write_record(args.json, **meta)


def of_images(argv: list[str]) -> None:
    """Pictures: MNIST, CIFAR-10, .npz, packed bits, a folder of PNG and JPEG."""
    args = parse(PrepareImages, "prepare images", argv, of_images.__doc__)
    check_out(args.json)
    from unmask.data import prepare_images

    meta = prepare_images(
        args.source, args.out, format=args.format, labels=args.labels or None, shape=three(args.shape) if args.shape else None,
        size=args.size, channels=args.channels, levels=args.levels, split=args.split,
        validation=args.validation or None, test=args.test or None,
    )  # fmt: skip
    counts = ", ".join(f"{n:,} {name}" for name, n in meta["images"].items())
    shape = " x ".join(map(str, meta["tokenizer"]["shape"]))
    classes = f", {meta['classes']} classes" if meta["classes"] else ", no labels"
    print(f"{args.out}: {counts} images of {shape}, {meta['vocab_size']} values{classes}")
    write_record(args.json, **meta)


def of_table(argv: list[str]) -> None:
    """Tables: CSV files of categories and numbers, with cells that may be missing."""
    args = parse(PrepareTable, "prepare tables", argv, of_table.__doc__)
    check_out(args.json)
    from unmask.data import Table, prepare_table
    from unmask.kinds.folder import find_tokens

    found = find_tokens(Path(args.like)) if args.like else None
    if args.like and (found is None or found.spec["name"] != "table"):
        raise ValueError(f"--like {args.like} is no folder of a prepared table, or of a model of one")
    like = None if found is None else Table.from_spec(found.spec)
    meta = prepare_table(
        args.source, args.out, header=args.header, delimiter=args.delimiter, encoding=args.encoding, missing=names_in(args.missing),
        numbers=names_in(args.numbers), categories=names_in(args.categories), drop=names_in(args.drop), bins=args.bins, like=like,
        unseen=args.unseen, split=args.split, validation=args.validation or None, test=args.test or None,
    )  # fmt: skip
    counts = ", ".join(f"{n:,} {name}" for name, n in meta["rows"].items())
    table = Table.from_spec(meta["tokenizer"])
    none = meta["cells_without_value"]
    print(f"{args.out}: {counts} rows of {table.length} columns, {meta['vocab_size']} values" + f"; {none:,} cells have none" * bool(none))
    first = "names the columns" if table.header else "is a row like the others"
    print(f"  the first row {first}; numbers are written as their bins' medians")
    width = max(map(len, table.names))
    print("\n".join(f"  {column.name:{width}}  {column.describe()}" for column in table.columns))
    if meta["empty_rows"]:
        print(f"left out {meta['empty_rows']:,} rows without any value")
    write_record(args.json, **meta)


def names_in(flag: str) -> list[str]:
    """Names with commas between them; one that has a comma itself stands in quotes, as in CSV."""
    try:
        return [name.strip() for name in next(csv.reader([flag], skipinitialspace=True, strict=True), [])]
    except csv.Error as error:
        raise ValueError(f"{flag!r}: {error}; give names with commas between them") from None


def of_proteins(argv: list[str]) -> None:
    """Protein sequences: FASTA."""
    args = parse(PrepareProteins, "prepare proteins", argv, of_proteins.__doc__)
    check_out(args.json)
    from unmask.data import prepare_proteins

    meta = prepare_proteins(
        args.source, args.out, split=args.split, validation=args.validation or None, test=args.test or None
    )  # fmt: skip
    counts, lengths = meta["document_count"], list(meta["lengths"])
    print(f"{args.out}: {', '.join(f'{n:,} {name}' for name, n in counts.items())} sequences")
    how = f"{meta['distinct']:,} of them different, split by a hash"
    print(f"  {'in files of their own' if meta['split'] == 'files' else how}; homologues may be on several sides")
    mean, unknown = meta["tokens"]["train"] / counts["train"], sum(meta["unknown"].values())
    print(f"  training: {meta['tokens']['train']:,} residues, {lengths[0]} to {lengths[-1]} a sequence, mean {mean:.0f}")
    print(f"  in all {unknown:,} positions without a value (B, J, X, Z)")
    write_record(args.json, **meta)


def three(shape: str) -> tuple[int, int, int]:
    parts = shape.replace("x", ",").split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() and int(part) for part in parts):
        raise ValueError(f"--shape {shape!r}: give height,width,channels, like 28,28,1")
    height, width, channels = map(int, parts)
    return height, width, channels


KINDS: dict[str, Callable[[list[str]], None]] = {"text": of_text, "images": of_images, "tables": of_table, "proteins": of_proteins}
