"""Text files, or arrays of ready ids, made into memory maps of tokens.

`prepare_text` streams, so a source may be larger than memory. It writes a folder:

    train.bin, validation.bin, test.bin    the tokens, little-endian, in the smallest unsigned type that holds them
    *.documents.bin                        where documents are kept apart: the offset at which each begins, int64
    meta.json                              the tokenizer, the counts, the checksums; `open_data` reads it
    tokenizer.json                         where the tokenizer is a subword tokenizer
"""

import itertools
import json
import os
import shutil
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unmask.data.sources import (
    ID_TYPES,
    Piece,
    describe_source,
    file_kind,
    list_files,
    read_ids,
    read_jsonl,
    read_text,
    sha256,
)
from unmask.data.tokenizers import (
    CharacterError,
    Ids,
    Subwords,
    Tokenizer,
    code_points,
    make_tokenizer,
)
from unmask.data.tokens import FORMAT, SPLITS

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
    progress: bool = True,
) -> dict:
    """Write the tokens of `source` to the new folder `out`, whole or not at all; returns what meta.json holds.

    source: a text file, a .jsonl file (one document a line, the text in `field`), either of them with .gz or .xz, or a
        folder of such files (all below it but hidden ones, in sorted order; each text file is one document).
    tokenizer: see `make_tokenizer`, or a tokenizer. "characters" without an alphabet collects it from the source.
    format: "auto" (by the name of each file), "text", "jsonl", or "ids": a raw little-endian array of `dtype`, whose
        vocabulary is that of `tokenizer` or of `vocab_size` ids without a tokenizer.
    split: three fractions that sum to 1, or three counts of tokens, one of which may be -1 (the rest); cut in order.
    validation, test: sources of their own; the whole of `source` is then for training and `split` is not used.

    The source is streamed; only a subword tokenizer other than a byte-level BPE of GPT-2's kind takes each document in
    whole, since cutting the text could change its ids.

    Documents are joined into one stream where the tokenizer has an end-of-text token, which then ends each of them.
    Otherwise they are kept apart, and splits are cut at the nearest edge between documents; empty ones are dropped.

    Raises ValueError, and leaves nothing behind, for a source, split or tokenizer that does not do.
    """
    out = Path(out).absolute()
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f"{out} exists already: remove it or name another folder")
    if format not in ("auto", "text", "jsonl", "ids"):
        raise ValueError(f"format {format!r} is not one of auto, text, jsonl, ids")
    if dtype not in ID_TYPES:
        raise ValueError(f"dtype {dtype!r} is not one of {', '.join(ID_TYPES)}")
    shares = parse_split(split)
    roots = {name: Path(root) for name, root in zip(SPLITS, (source, validation, test), strict=True) if root}
    sources = {name: list_files(root) for name, root in roots.items()}
    kinds = {path: file_kind(path, format) for files in sources.values() for path in files}
    bar = progress_bars(sum(path.stat().st_size for path in kinds), progress)
    model = choose_tokenizer(tokenizer, alphabet, format, vocab_size, kinds, field, bar)

    # Ready ids are taken as they are: whoever made them has put the end-of-text tokens in.
    eot = model.eot if format != "ids" else None
    single = all(kind != "jsonl" for kind in kinds.values()) and not any(Path(r).is_dir() for r in roots.values() if r)
    documents = "joined" if eot is not None else "single" if single else "apart"
    stored = smallest_type(model.vocab_size)
    with new_folder(out) as folder:
        spans, edges = {}, {}
        with bar("encode") as shown:
            for name, files in sources.items():
                chunks = (chunk for path in files for chunk in token_chunks(path, kinds[path], model, field, dtype, shown))
                edges[name] = write_tokens(folder / f"{name}.bin", chunks, eot, stored)
                if edges[name][-1] == 0:
                    raise ValueError(f"{roots[name]} is empty: give a source with at least one token")
                spans[name] = (0, int(edges[name][-1]))
        if len(sources) == 1:
            spans = cut_points(shares, edges["train"], documents == "apart")
            cut_file(folder, spans, stored)
        meta = {
            "format": FORMAT,
            "kind": "text",
            "tokenizer": model.spec(),
            "vocab_size": model.vocab_size,
            "dtype": stored.name,
            "documents": documents,
            "eot": model.eot,
            "split": split if len(sources) == 1 else "files",
            "tokens": {},
            "document_count": {},
            "source": [describe_source(roots[name], files) for name, files in sources.items()],
            "sha256": {},
        }
        for name in SPLITS:
            (folder / f"{name}.bin").touch()
            low, high = spans.get(name, (0, 0))
            begins = edges.get(name, edges["train"])[:-1]
            begins = begins[(begins >= low) & (begins < high)] - low
            if documents == "apart":
                begins.astype("<i8").tofile(folder / f"{name}.documents.bin")
            meta["tokens"][name] = high - low
            meta["document_count"][name] = len(begins) if documents != "single" else int(high > low)
        for path in sorted(folder.iterdir()):
            meta["sha256"][path.name] = sha256(path)
        for name, content in model.files().items():
            (folder / name).write_bytes(content)
        (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return meta


def parse_split(split: str) -> tuple[float, ...]:
    """Three fractions as floats, or three counts as ints."""
    parts = [part.strip() for part in str(split).split(",")]
    help = "give three fractions that sum to 1, like 0.9,0.05,0.05, or three counts, one of which may be -1 (the rest)"
    try:
        shares = tuple(float(part) for part in parts)
        counts = tuple(int(part) for part in parts) if all(part.lstrip("-").isdigit() for part in parts) else None
    except ValueError:
        raise ValueError(f"split {split!r}: {help}") from None
    if len(shares) == 3 and min(shares) >= 0 and abs(sum(shares) - 1) <= 1e-6:
        return shares
    if len(shares) != 3 or counts is None or min(counts) < -1 or counts.count(-1) > 1 or counts == (0, 0, 0):
        raise ValueError(f"split {split!r}: {help}")
    if sum(counts) == 100:
        raise ValueError(f"split {split!r} would keep 100 tokens; if these are percentages, write fractions like 0.9,0.05,0.05")
    return counts


def cut_points(shares: tuple[float, ...], edges: np.ndarray, apart: bool) -> dict[str, tuple[int, int]]:
    """First and last + 1 token of each split. edges: the token offsets between documents, from 0 to the total."""
    total = int(edges[-1])
    if isinstance(shares[0], float):
        points = [0, round(total * shares[0]), round(total * (shares[0] + shares[1])), total]
        if shares[2] == 0:  # then the validation split gets what rounding leaves
            points[2] = total
    else:
        asked = sum(count for count in shares if count > 0)
        if asked > total:
            raise ValueError(f"the split asks for {asked} tokens and the source has {total}: ask for fewer")
        sizes = [count if count >= 0 else total - asked for count in shares]
        points = np.cumsum([0, *sizes]).tolist()
    if apart:
        after = np.clip(np.searchsorted(edges, points), 1, len(edges) - 1)
        before = edges[after - 1]
        points = np.where(points - before <= edges[after] - points, before, edges[after]).tolist()
    spans = dict(zip(SPLITS, itertools.pairwise(points), strict=True))
    few = f" (documents are kept whole, and there are {len(edges) - 1}; or name files of their own for the splits)" if apart else ""
    for (name, (low, high)), share in zip(spans.items(), shares, strict=True):
        if share != 0 and low == high:
            raise ValueError(f"the {name} split, {share:g} of {total} tokens, comes out empty: ask for more or for 0" + few)
    return spans


def token_chunks(path: Path, kind: str, model: Tokenizer, field: str, dtype: str, bar: tqdm) -> Iterator:
    """(ids, whether a document ends after them) of one file."""
    if kind == "ids":
        return read_ids(path, dtype, model.vocab_size, bar)
    pieces = read_jsonl(path, field, bar) if kind == "jsonl" else read_text(path, model, bar)
    return encode_pieces(model, pieces)


def encode_pieces(model: Tokenizer, pieces: Iterator[Piece]) -> Iterator[tuple[np.ndarray, bool]]:
    if not isinstance(model, Subwords):
        for piece in pieces:
            yield encode_piece(model, piece), piece.ends
        return
    batch, size = [], 0
    for piece in pieces:
        batch.append(piece)
        size += len(piece.text)
        if size >= BATCH:
            yield from zip(model.encode_batch([p.text for p in batch]), [p.ends for p in batch], strict=True)
            batch, size = [], 0
    yield from zip(model.encode_batch([p.text for p in batch]), [p.ends for p in batch], strict=True)


def encode_piece(model: Tokenizer, piece: Piece) -> np.ndarray:
    if isinstance(piece.text, bytes):
        return np.frombuffer(piece.text, np.uint8)
    try:
        return model.encode(piece.text)
    except CharacterError as error:
        raise CharacterError(error.character, piece.start + error.offset, piece.place) from None


def write_tokens(path: Path, chunks: Iterator, eot: int | None, stored: np.dtype) -> np.ndarray:
    """Write a stream of tokens; returns the edges between its documents, from 0 to the total, int64."""
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


def cut_file(folder: Path, spans: dict[str, tuple[int, int]], stored: np.dtype) -> None:
    """Cut train.bin, which holds everything, into the three splits; training comes first and needs no copy."""
    everything = np.memmap(folder / "train.bin", stored, "r")
    for name in ("validation", "test"):
        everything[slice(*spans[name])].tofile(folder / f"{name}.bin")
    del everything
    os.truncate(folder / "train.bin", spans["train"][1] * stored.itemsize)


def choose_tokenizer(
    tokenizer: str | Tokenizer,
    alphabet: str | None,
    format: str,
    vocab_size: int | None,
    kinds: dict[Path, str],
    field: str,
    bar: Callable[[str], tqdm],
) -> Tokenizer:
    if vocab_size is not None:
        if format != "ids" or tokenizer != "bytes":
            raise ValueError(f"vocab_size {vocab_size} is for format 'ids' without a tokenizer: leave it out")
        return Ids(vocab_size)
    if not isinstance(tokenizer, str | Path):
        return tokenizer
    if tokenizer == "characters" and alphabet is None and format != "ids":
        alphabet = collect_alphabet(kinds, field, bar)
    return make_tokenizer(str(tokenizer), alphabet)


def collect_alphabet(kinds: dict[Path, str], field: str, bar: Callable[[str], tqdm]) -> str:
    """The characters of all files, sorted."""
    seen = np.zeros(0x110000, bool)
    with bar("alphabet") as shown:
        for path, kind in kinds.items():
            pieces = read_jsonl(path, field, shown) if kind == "jsonl" else read_text(path, None, shown)
            for piece in pieces:
                assert isinstance(piece.text, str)
                seen[code_points(piece.text)] = True
    if not seen.any():
        raise ValueError(f"{next(iter(kinds))} is empty: give a source with at least one character")
    return "".join(map(chr, np.flatnonzero(seen)))


def progress_bars(total: int, progress: bool) -> Callable[[str], tqdm]:
    hidden = not (progress and sys.stderr.isatty())
    return lambda name: tqdm(desc=name, total=total, unit="B", unit_scale=True, disable=hidden)


def smallest_type(vocab_size: int) -> np.dtype:
    if vocab_size > 1 << 32:
        raise ValueError(f"vocab_size {vocab_size} is more than 32 bits hold: give the true size of the vocabulary")
    return np.dtype("u1" if vocab_size <= 1 << 8 else "<u2" if vocab_size <= 1 << 16 else "<u4")


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` at the end, or vanishes on any exception."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = out.parent / f".{out.name}.{os.getpid()}.part"
    folder.mkdir()
    try:
        yield folder
        if out.exists():
            out.rmdir()
        folder.rename(out)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
