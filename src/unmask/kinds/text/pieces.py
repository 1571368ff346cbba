"""Texts that are compared: samples of a file, real ones as long, the training text in blocks."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from unmask.kinds.encodings import decode_text
from unmask.kinds.sources import START, read_blocks
from unmask.kinds.text.sources import BadRecord, checked, file_kind, text_field
from unmask.kinds.text.tokenizers import code_points
from unmask.kinds.trial import fitting

MOST = 512 << 20  # bytes of a file of samples
SYMBOLS = 1 << 21  # characters of a side that are looked at
FEW = 100  # samples that are looked at in any case, if they have to be cut for it
BLOCK = 1 << 18  # tokens of the training text at a time
TRAINING = 1 << 27  # tokens of it in all
BETWEEN = "\U0010ffff"  # documents that are searched together


def read_samples(path: Path) -> tuple[list[str], list[str]]:
    """Texts, as `unmask sample --out` writes them, and notes.

    JSON lines or an array, with a field "text"; a text with headings --- 1, --- 2, ...; or, without
    them, a text a line.  ValueError for what is no such file.
    """
    content = whole_file(path)
    kind = file_kind(path, "auto", content[:START].encode())
    if kind in ("json", "jsonl"):
        return of_json(path, content, kind), []
    if content.startswith("--- 1\n"):
        return by_headings(content), []
    if content.startswith("--- 1\r\n"):
        # the file was converted as a whole, its texts with it
        note = f"{path} has lines that end in CR LF, as Windows ends them: each is read as LF"
        return by_headings(content.replace("\r\n", "\n")), [note]
    lines = [line.removesuffix("\r") for line in content.split("\n") if line.strip()]
    return lines, [f"{path} has no headings (--- 1): every line that is not blank is a sample"]


def whole_file(path: Path) -> str:
    found, size = [], 0
    for block in read_blocks(path, tqdm(disable=True)):
        found.append(block)
        size += len(block)
        if size > MOST:
            raise ValueError(
                f"{path} has more than {MOST >> 20} MB of text: give fewer samples, of which "
                "random ones are looked at anyway"
            )
    return decode_text(b"".join(found), str(path))


def by_headings(content: str) -> list[str]:
    """The inverse of `output.write_texts`."""
    found, first, number = [], len("--- 1\n"), 1
    while True:
        number += 1
        heading = f"\n--- {number}\n"
        last = content.find(heading, first)
        if last < 0:
            found.append(content[first:].removesuffix("\n"))
            return found
        found.append(content[first:last])
        first = last + len(heading)


def of_json(path: Path, content: str, kind: str) -> list[str]:
    rows = [content] if kind == "json" else content.split("\n")
    found = []
    for number, row in enumerate(rows, 1):
        if not row.strip():
            continue
        place = str(path) if kind == "json" else f"{path}, line {number}"
        try:
            record = json.loads(row)
        except (ValueError, RecursionError):
            raise ValueError(f'{place} is no JSON: give lines like {{"text": ...}}') from None
        entries = record if kind == "json" and isinstance(record, list) else [record]
        try:
            for entry in entries:
                text = entry if isinstance(entry, str) else text_field(entry, "text", place)
                found.append(checked(text, place))
        except BadRecord as bad:
            raise ValueError(str(bad)) from None
    return found


def within_limits(texts: list[str], seed: int) -> tuple[list[int], int, list[str]]:
    """Numbers of the texts that are looked at, to how many characters, and notes.

    Empty ones are left out; of more than SYMBOLS characters, random ones are taken.
    """
    notes = []
    kept = [i for i, text in enumerate(texts) if text]
    if len(kept) < len(texts):
        notes.append(f"{len(texts) - len(kept):,} empty samples are left out of all figures")
    total = sum(len(texts[i]) for i in kept)
    if total <= SYMBOLS:
        return kept, total, notes
    longest = SYMBOLS // FEW
    order = np.random.default_rng((seed, len(kept))).permutation(kept)
    sizes = np.cumsum([min(longest, len(texts[i])) for i in order])
    chosen = sorted(order[sizes <= SYMBOLS].tolist())
    cut = sum(len(texts[i]) > longest for i in chosen)
    notes.append(
        f"of {len(kept):,} samples of {total:,} characters {len(chosen):,} random ones are looked "
        f"at, {cut:,} of them cut to {longest:,} characters"
    )
    return chosen, longest, notes


class Real(NamedTuple):
    """What a split has."""

    like: np.ndarray  # numbers of the samples that the examples are as long as
    examples: list[np.ndarray]  # tokens
    reference: list[np.ndarray]  # tokens of the rest of the split


def real_examples(data: Any, split: str, sizes: np.ndarray, seed: int) -> Real:
    """Examples of a split, as long as samples of these sizes (n,) in tokens, at most half of it;
    the rest is what both are compared with.

    Of joined documents, pieces at even distances, no two of which overlap, of random samples that
    fit, one after another; of documents that are
    kept apart, the beginnings of random ones, the longer for the longer samples.
    """
    tokens, edges = data.tokens(split), data.edges(split)
    order = np.random.default_rng((seed, len(sizes))).permutation(len(sizes))
    if data.apart:
        most = min(len(sizes), (len(edges) - 1) // 2)
        like = np.sort(order[:most])
        examples, rest = beginnings(tokens, edges, sizes[like], seed)
        return Real(like, examples, [np.asarray(tokens[edges[i] : edges[i + 1]]) for i in rest])
    fits = fitting(sizes[order], len(tokens) // 2)
    like = np.sort(order[fits])
    first = spread_out(sizes[like], len(tokens))
    ends = first + sizes[like]
    examples = [np.asarray(tokens[a:b]) for a, b in zip(first, ends, strict=True)]
    between = zip([0, *ends], [*first, len(tokens)], strict=True)
    return Real(like, examples, [np.asarray(tokens[a:b]) for a, b in between if a < b])


def spread_out(sizes: np.ndarray, total: int) -> np.ndarray:
    """(n,) where pieces of these sizes begin in so many tokens, as much of the rest before each."""
    free = total - int(sizes.sum())
    gaps = np.arange(1, len(sizes) + 1) * free // (len(sizes) + 1)
    return gaps + np.cumsum(sizes) - sizes


def training_pieces(data: Any, sizes: np.ndarray, seed: int) -> list[str]:
    """Of the training text, as long as real examples of these sizes in tokens, or as many of them
    as there is text for; of documents that are kept apart, beginnings, as `real_examples` are."""
    tokens, edges = data.tokens("train"), data.edges("train")
    if data.apart:
        found, _ = beginnings(tokens, edges, sizes[: len(edges) - 1], seed)
        return [data.tokenizer.decode(ids) for ids in found]
    sizes = sizes[np.cumsum(sizes) <= len(tokens)]
    first = spread_out(sizes, len(tokens))
    pairs = zip(first, first + sizes, strict=True)
    return [data.tokenizer.decode(tokens[a:b]) for a, b in pairs]


def beginnings(
    tokens: np.ndarray, edges: np.ndarray, sizes: np.ndarray, seed: int
) -> tuple[list[np.ndarray], np.ndarray]:
    """Those of random documents, at most so long each, the longer ones for the larger sizes; and
    the numbers of all other documents."""
    order = np.random.default_rng((seed, 1)).permutation(len(edges) - 1)
    chosen, rest = order[: len(sizes)], np.sort(order[len(sizes) :])
    document = np.empty(len(sizes), np.int64)
    by_size = np.argsort(np.diff(edges)[chosen], kind="stable")
    document[np.argsort(sizes, kind="stable")] = chosen[by_size]
    ends = np.minimum(edges[document] + sizes, edges[document + 1])
    pairs = zip(edges[document], ends, strict=True)
    return [np.asarray(tokens[a:b]) for a, b in pairs], rest


def some_texts(tokenizer: Any, rows: list[np.ndarray]) -> list[str]:
    """Texts of rows of tokens, together at most SYMBOLS characters or so, evenly from all."""
    total = sum(map(len, rows))
    share = min(1.0, SYMBOLS / max(total, 1))
    return [tokenizer.decode(row[: max(1, int(share * len(row)))]) for row in rows]


def training_blocks(data: Any, overlap: int) -> tuple[Iterator[np.ndarray], int, int]:
    """Code points of the training text, block by block, and how many tokens that is, of how many.

    Blocks of one document overlap by so many tokens; those of different ones have a character
    between them that no text has.
    """
    edges, total = data.edges("train"), len(data.tokens("train"))
    spans = spans_of(edges, overlap)
    step = -(-total // TRAINING)  # every second, say, of more than is looked at
    chosen = spans[::step]
    looked_at = total if step == 1 else int((chosen[:, 1] - chosen[:, 0]).sum())
    return blocks_of(data, chosen), looked_at, total


def spans_of(edges: np.ndarray, overlap: int) -> np.ndarray:
    """(m, 2) where pieces of documents begin and end."""
    found = []
    begins, ends = edges[:-1], edges[1:]
    while len(begins):
        found.append(np.stack([begins, np.minimum(ends, begins + BLOCK + overlap)], 1))
        longer = ends - begins > BLOCK + overlap
        begins, ends = begins[longer] + BLOCK, ends[longer]
    spans = np.concatenate(found)
    return spans[np.argsort(spans[:, 0], kind="stable")]


def blocks_of(data: Any, spans: np.ndarray) -> Iterator[np.ndarray]:
    tokens, texts, size = data.tokens("train"), [], 0
    for first, end in tqdm(spans, desc="training text", disable=None, leave=False):
        texts.append(data.tokenizer.decode(tokens[first:end]))
        size += end - first
        if size >= BLOCK:
            yield code_points(BETWEEN.join(texts))
            texts, size = [], 0
    if texts:
        yield code_points(BETWEEN.join(texts))
