"""Text files, or arrays of ready ids, made into memory maps of tokens.

`prepare_text` streams, so a source may be larger than memory. It writes a folder:

    train.bin, validation.bin, test.bin    the tokens, little-endian, in the smallest unsigned type
    *.documents.bin    where documents are kept apart: the offset at which each begins, int64
    meta.json          the tokenizer, the counts, the checksums; `open_data` reads it
    tokenizer.json     where the tokenizer is a subword tokenizer
"""

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from unmask.kinds.folder import (
    SPLITS,
    check_new,
    check_splits,
    cut_file,
    cut_points,
    given_splits,
    new_folder,
    parse_split,
    progress_bars,
    smallest_type,
    write_meta,
)
from unmask.kinds.leftout import LeftOut, described
from unmask.kinds.sources import COPY, LINK
from unmask.kinds.text.sources import (
    EMPTY,
    ID_TYPES,
    OUTSIDE,
    Piece,
    find_files,
    read_array,
    read_columns,
    read_ids,
    read_json,
    read_jsonl,
    read_text,
)
from unmask.kinds.text.tokenizers import (
    CharacterError,
    Ids,
    Subwords,
    Tokenizer,
    code_points,
    make_tokenizer,
)

FORMATS = ("auto", "text", "jsonl", "parquet", "ids")
RECORDS = {"jsonl", "json", "columns"}  # files of several documents
BATCH = 4 << 20  # characters that a subword tokenizer gets at a time, to spread over the cores


def prepare_text(
    source: str | Path,
    out: str | Path,
    *,
    tokenizer: str | Tokenizer = "bytes",
    alphabet: str | None = None,
    format: str = "auto",
    field: str = "text",
    dtype: str = "uint16",
    vocab_size: int | None = None,
    split: str = "0.9,0.05,0.05",
    validation: str | Path | None = None,
    test: str | Path | None = None,
    skip_bad: bool = False,
    progress: bool = True,
) -> dict:
    """Write the tokens of `source` to the new folder `out`; returns what meta.json holds.

    source: a text file, a file of JSON lines (.jsonl, .ndjson or .json: one document a line, the
    text in `field`), a .json file that is one array of such objects or of strings, each of them
    also with .gz or .xz, a Parquet file, a folder that `datasets` saved (a row a document; both by
    pyarrow), or a folder of such files (all below it but hidden ones, in sorted order; each text
    file is one document; Parquet files only with format="parquet").  Text is UTF-8, or what its
    byte-order mark says, which is dropped.  A file that is recognised as something else (PDF, a
    picture ...) is an error, and in a folder left out and counted.  tokenizer: see
    `make_tokenizer`, or a tokenizer.
    "characters" without an alphabet collects it from the source. format: "auto" (by the name and
    the first bytes of each file), "text", "jsonl", or "ids": a NumPy array (.npy, which "auto"
    recognises), or a raw little-endian array of `dtype`, whose vocabulary is that of `tokenizer` or
    of `vocab_size` ids without a tokenizer. split: three fractions that sum to 1, or three counts
    of tokens, one of which may be -1 (the rest); cut in order. validation, test: sources of their
    own; the whole of `source` is then for training and `split` is not used.
    skip_bad: documents that cannot be read or encoded are left out and counted.

    What was left out is in meta.json as "skipped", what was decoded as "converted", if there is
    any: {why: {"count": how many, "first": where}}.

    The source is streamed.  Only a .json array is taken in whole, and each document by a subword
    tokenizer other than a byte-level BPE of GPT-2's kind, since cutting the text could change its
    ids.

    Documents are joined into one stream where the tokenizer has an end-of-text token, which then
    ends each of them. Otherwise they are kept apart, and splits are cut at the nearest edge between
    documents; empty ones are dropped.  meta.json then has "lengths", those of the documents for
    training, which samples have, too; "longer": "cut" says that longer ones than a sample can be
    are as long as it can be.

    Raises ValueError, and leaves nothing behind, for a source, split or tokenizer that does not do.
    """
    out = check_new(out)
    if format not in FORMATS:
        raise ValueError(f"format {format!r} is not one of {', '.join(FORMATS)}")
    if dtype not in ID_TYPES:
        raise ValueError(f"dtype {dtype!r} is not one of {', '.join(ID_TYPES)}")
    shares = parse_split(split)
    roots = given_splits(source, validation, test)
    skipped, converted = LeftOut(skip_bad, roots.values()), LeftOut(roots=roots.values())
    sources, kinds = find_files(roots, format, skipped, converted)
    check_splits(roots, sources)
    if set(kinds.values()) == {"npy"}:
        format = "ids"
    bar = progress_bars(kinds, progress)
    model = choose_tokenizer(tokenizer, alphabet, format, vocab_size, kinds, field, skip_bad, bar)

    # Ready ids are taken as they are: whoever made them has put the end-of-text tokens in.
    eot = None if format == "ids" else model.eot
    if eot is not None:
        documents = "joined"
    elif RECORDS & set(kinds.values()) or any(root.is_dir() for root in roots.values()):
        documents = "apart"
    else:
        documents = "single"
    stored = smallest_type(model.vocab_size)
    with new_folder(out) as folder:
        spans, edges = {}, {}
        with bar("encode") as shown:
            for name, files in sources.items():
                chunks = token_chunks(files, kinds, model, field, dtype, shown, skipped)
                edges[name] = write_tokens(folder / f"{name}.bin", chunks, eot, stored)
                total = int(edges[name][-1])
                if total == 0:
                    raise nothing_in(roots[name], skipped)
                spans[name] = (0, total)
        if len(sources) == 1:
            spans = cut_points(shares, edges["train"], documents == "apart")
            cut_file(folder, spans, stored)
        else:
            split = "files"
        counts: dict[str, int] = {}
        facts: dict[str, Any] = {"document_count": counts}
        for name in SPLITS:
            low, high = spans.get(name, (0, 0))
            begins = edges.get(name, edges["train"])[:-1]
            begins = begins[(begins >= low) & (begins < high)] - low
            counts[name] = len(begins)
            if documents == "single":  # and cut anywhere: a split may hold no beginning
                counts[name] = int(high > low)
            if documents == "apart":
                begins.astype("<i8").tofile(folder / f"{name}.documents.bin")
            if documents == "apart" and name == "train":
                sizes = np.diff(np.append(begins, high - low))
                facts |= {"lengths": histogram(sizes), "longer": "cut"}
        facts |= skipped.facts() | converted.facts("converted")
        first = {"documents": documents, "eot": model.eot, "split": split}
        listed = zip(roots.values(), sources.values(), strict=True)
        return write_meta(folder, "text", model, stored, listed, first=first, **facts)


def histogram(sizes: np.ndarray) -> dict[str, int]:
    """How many documents have each length."""
    lengths, counts = np.unique(sizes, return_counts=True)
    return {str(length): n for length, n in zip(lengths.tolist(), counts.tolist(), strict=True)}


def nothing_in(root: Path, skipped: LeftOut) -> ValueError:
    """A source without a token."""
    bad = {why: one for why, one in skipped.of(root).items() if why not in (EMPTY, COPY, LINK)}
    if bad:
        return ValueError(f"nothing of {root} could be read: {'; '.join(described(bad))}")
    return ValueError(f"{root} is empty: give a source with at least one token")


def token_chunks(
    files: list[Path],
    kinds: dict[Path, str],
    model: Tokenizer,
    field: str,
    dtype: str,
    bar: tqdm,
    skipped: LeftOut,
) -> Iterator[tuple[np.ndarray, bool]]:
    """(ids, whether a document ends after them) of files, one after the other."""
    for path in files:
        if kinds[path] == "ids":
            yield from read_ids(path, dtype, model.vocab_size, bar)
        elif kinds[path] == "npy":
            yield from read_array(path, model.vocab_size, bar)
        else:
            pieces = read_pieces(path, kinds[path], model, field, bar, skipped)
            yield from encode_pieces(model, pieces, skipped)


def read_pieces(
    path: Path, kind: str, model: Tokenizer | None, field: str, bar: tqdm, skipped: LeftOut
) -> Iterator[Piece]:
    if kind == "jsonl":
        return read_jsonl(path, field, bar, skipped)
    if kind == "json":
        return read_json(path, field, bar, skipped)
    if kind == "columns":
        return read_columns(path, field, bar, skipped)
    return read_text(path, model, bar, skipped)


def encode_pieces(
    model: Tokenizer, pieces: Iterator[Piece], skipped: LeftOut
) -> Iterator[tuple[np.ndarray, bool]]:
    if not isinstance(model, Subwords):
        for piece in pieces:
            try:
                ids = encode_piece(model, piece)
            except CharacterError as error:
                if not skipped.skip_bad:
                    raise
                skipped.add(error.place, OUTSIDE)
                continue
            yield ids, piece.ends
        return
    size = 0  # tokens of the document so far
    for batch in batches(pieces):
        encoded = model.encode_batch([piece.text for piece in batch])
        for ids, piece in zip(encoded, batch, strict=True):
            size += len(ids)
            if piece.ends and not size and piece.text:
                skipped.add(piece.place, "no tokens")
            if piece.ends:
                size = 0
            yield ids, piece.ends


def batches(pieces: Iterator[Piece]) -> Iterator[list]:
    """Lists of pieces, of BATCH characters or more in all; the last may be shorter, and empty."""
    batch, size = [], 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.text)
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    yield batch


def encode_piece(model: Tokenizer, piece: Piece) -> np.ndarray:
    if isinstance(piece.text, bytes):
        return np.frombuffer(piece.text, np.uint8)
    try:
        return model.encode(piece.text)
    except CharacterError as error:
        raise CharacterError(error.character, piece.start + error.offset, piece.place) from None


def write_tokens(path: Path, chunks: Iterator, eot: int | None, stored: np.dtype) -> np.ndarray:
    """Write a stream of tokens; returns the edges between documents, 0 to the total, int64."""
    edges, total = array("q", [0]), 0
    with open(path, "wb") as file:
        for ids, ends in chunks:
            file.write(ids.astype(stored, copy=False).tobytes())
            total += len(ids)
            if ends and total > edges[-1]:
                if eot is not None:
                    file.write(np.array(eot, stored).tobytes())
                    total += 1
                edges.append(total)
    return np.array(edges, np.int64)


def choose_tokenizer(
    tokenizer: str | Tokenizer,
    alphabet: str | None,
    format: str,
    vocab_size: int | None,
    kinds: dict[Path, str],
    field: str,
    skip_bad: bool,
    bar: Callable[[str], tqdm],
) -> Tokenizer:
    if vocab_size is not None:
        if format != "ids" or tokenizer != "bytes":
            raise ValueError(
                f"vocab_size {vocab_size} is for format 'ids' without a tokenizer: leave it out"
            )
        return Ids(vocab_size)
    if not isinstance(tokenizer, str | Path):
        return tokenizer
    if tokenizer == "characters" and alphabet is None and format != "ids":
        alphabet = collect_alphabet(kinds, field, skip_bad, bar)
    return make_tokenizer(str(tokenizer), alphabet)


def collect_alphabet(
    kinds: dict[Path, str], field: str, skip_bad: bool, bar: Callable[[str], tqdm]
) -> str:
    """The characters of all files, sorted."""
    seen = np.zeros(0x110000, bool)
    skipped = LeftOut(skip_bad)  # what is left out is counted when the files are encoded
    with bar("alphabet") as shown:
        for path, kind in kinds.items():
            for piece in read_pieces(path, kind, None, field, shown, skipped):
                assert isinstance(piece.text, str)
                seen[code_points(piece.text)] = True
    if not seen.any():
        bad = {why: one for why, one in skipped.reasons.items() if why != EMPTY}
        if bad:
            raise ValueError(f"nothing could be read: {'; '.join(described(bad))}")
        raise ValueError(f"{next(iter(kinds))} is empty: give a source with at least one character")
    return "".join(map(chr, np.flatnonzero(seen)))
