"""Text files, or arrays of ready ids, made into memory maps of tokens.

`prepare_text` streams, so a source may be larger than memory. It writes a folder:

    train.bin, validation.bin, test.bin    the tokens, little-endian, in the smallest unsigned type that holds them
    *.documents.bin                        where documents are kept apart: the offset at which each begins, int64
    meta.json                              the tokenizer, the counts, the checksums; `open_data` reads it
    tokenizer.json                         where the tokenizer is a subword tokenizer
"""

import json
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unmask.kinds.folder import (
    FORMAT,
    SPLITS,
    check_new,
    cut_file,
    cut_points,
    new_folder,
    parse_split,
    progress_bars,
    smallest_type,
)
from unmask.kinds.sources import (
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
from unmask.kinds.text.tokenizers import (
    CharacterError,
    Ids,
    Subwords,
    Tokenizer,
    code_points,
    make_tokenizer,
)

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
    """Write the tokens of `source` to the new folder `out`, whole or not at all; returns what
    meta.json holds.

    source: a text file, a .jsonl file (one document a line, the text in `field`), either of them
    with .gz or .xz, or a folder of such files (all below it but hidden ones, in sorted order; each
    text file is one document). tokenizer: see `make_tokenizer`, or a tokenizer. "characters"
    without an alphabet collects it from the source. format: "auto" (by the name of each file),
    "text", "jsonl", or "ids": a raw little-endian array of `dtype`, whose vocabulary is that of
    `tokenizer` or of `vocab_size` ids without a tokenizer. split: three fractions that sum to 1, or
    three counts of tokens, one of which may be -1 (the rest); cut in order. validation, test:
    sources of their own; the whole of `source` is then for training and `split` is not used.

    The source is streamed; only a subword tokenizer other than a byte-level BPE of GPT-2's kind
    takes each document in whole, since cutting the text could change its ids.

    Documents are joined into one stream where the tokenizer has an end-of-text token, which then
    ends each of them. Otherwise they are kept apart, and splits are cut at the nearest edge between
    documents; empty ones are dropped.

    Raises ValueError, and leaves nothing behind, for a source, split or tokenizer that does not do.
    """
    out = Path(out).absolute()
    check_new(out)
    if format not in ("auto", "text", "jsonl", "ids"):
        raise ValueError(f"format {format!r} is not one of auto, text, jsonl, ids")
    if dtype not in ID_TYPES:
        raise ValueError(f"dtype {dtype!r} is not one of {', '.join(ID_TYPES)}")
    shares = parse_split(split)
    roots = {
        name: Path(root)
        for name, root in zip(SPLITS, (source, validation, test), strict=True)
        if root
    }
    sources = {name: list_files(root) for name, root in roots.items()}
    kinds = {path: file_kind(path, format) for files in sources.values() for path in files}
    bar = progress_bars(sum(path.stat().st_size for path in kinds), progress)
    model = choose_tokenizer(tokenizer, alphabet, format, vocab_size, kinds, field, bar)

    # Ready ids are taken as they are: whoever made them has put the end-of-text tokens in.
    eot = model.eot if format != "ids" else None
    single = all(kind != "jsonl" for kind in kinds.values()) and not any(
        Path(r).is_dir() for r in roots.values() if r
    )
    documents = "joined" if eot is not None else "single" if single else "apart"
    stored = smallest_type(model.vocab_size)
    with new_folder(out) as folder:
        spans, edges = {}, {}
        with bar("encode") as shown:
            for name, files in sources.items():
                chunks = (
                    chunk
                    for path in files
                    for chunk in token_chunks(path, kinds[path], model, field, dtype, shown)
                )
                edges[name] = write_tokens(folder / f"{name}.bin", chunks, eot, stored)
                if edges[name][-1] == 0:
                    raise ValueError(
                        f"{roots[name]} is empty: give a source with at least one token"
                    )
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


def token_chunks(
    path: Path, kind: str, model: Tokenizer, field: str, dtype: str, bar: tqdm
) -> Iterator:
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
            yield from zip(
                model.encode_batch([p.text for p in batch]), [p.ends for p in batch], strict=True
            )
            batch, size = [], 0
    yield from zip(
        model.encode_batch([p.text for p in batch]), [p.ends for p in batch], strict=True
    )


def encode_piece(model: Tokenizer, piece: Piece) -> np.ndarray:
    if isinstance(piece.text, bytes):
        return np.frombuffer(piece.text, np.uint8)
    try:
        return model.encode(piece.text)
    except CharacterError as error:
        raise CharacterError(error.character, piece.start + error.offset, piece.place) from None


def write_tokens(path: Path, chunks: Iterator, eot: int | None, stored: np.dtype) -> np.ndarray:
    """Write a stream of tokens; returns the edges between its documents, from 0 to the total,
    int64."""
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
        alphabet = collect_alphabet(kinds, field, bar)
    return make_tokenizer(str(tokenizer), alphabet)


def collect_alphabet(kinds: dict[Path, str], field: str, bar: Callable[[str], tqdm]) -> str:
    """The characters of all files, sorted."""
    seen = np.zeros(0x110000, bool)
    with bar("alphabet") as shown:
        for path, kind in kinds.items():
            pieces = (
                read_jsonl(path, field, shown) if kind == "jsonl" else read_text(path, None, shown)
            )
            for piece in pieces:
                assert isinstance(piece.text, str)
                seen[code_points(piece.text)] = True
    if not seen.any():
        raise ValueError(f"{next(iter(kinds))} is empty: give a source with at least one character")
    return "".join(map(chr, np.flatnonzero(seen)))
