"""A protocol's recipe, followed: rows of a source to windows of tokens."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from unmask.kinds.encodings import decode_text
from unmask.kinds.folder import SPLITS, new_folder, smallest_type, write_meta
from unmask.kinds.recipe import standing
from unmask.kinds.sources import LINK, linked, list_files, packed_copies, read_blocks
from unmask.kinds.text.detokenizers import detokenize
from unmask.kinds.text.protocols import TextRecipe
from unmask.kinds.text.sources import parse, read_array, read_ids, text_field
from unmask.kinds.text.tokenizers import Bytes, Subwords, Tokenizer

BEGINS = ("[CLS]", "<s>", "<bos>", "<|begin_of_text|>")  # how vocabularies call a begin mark


class Marks(NamedTuple):
    begin: int
    end: int


class Packed(NamedTuple):
    tokens: np.ndarray  # (n,) of all windows, one after the other
    edges: np.ndarray  # (windows + 1,) where each begins, and the end
    total: int  # tokens of the rows, with the marks that end them
    dropped: int  # of these
    cut: int  # rows that lost some


def follow(recipe: TextRecipe, name: str, source: Path, out: Path, tokenizer: Tokenizer) -> dict:
    """Write the folder `out` of the windows of a source; returns what meta.json holds.

    Every window is in the one split of the recipe.  ValueError for a source or a tokenizer that
    does not do, or of which no window is left.
    """
    files = list_files(source)
    if copies := packed_copies(files):
        said = f"{copies[0]} stands beside its content unpacked, or packed otherwise"
        raise ValueError(f"{said}: take one of them out, or the rows count twice")
    if links := linked(files):
        said = f"{links[0]} is {LINK}"
        raise ValueError(f"{said}: take one of them out, or the rows count twice")
    ready = recipe.rows == "json" and {path.suffix for path in files} <= {".bin", ".npy"}
    if ready:  # whoever made them has put the end-of-text marks in
        rows = [ready_ids(path, tokenizer) for path in files]
    else:
        rows = encoded_rows(recipe, name, files, tokenizer)
    packed = pack(rows, replace(recipe, ends=recipe.ends and not ready), name, tokenizer)
    if not len(packed.tokens):
        left = ""
        if recipe.packing == "joined":
            left = f", and each {joined_in_words(recipe)} drops its remainder"
        raise ValueError(
            f"{name} leaves no window of {recipe.length:,} tokens of {source}: it has "
            f"{packed.total:,} in {len(rows):,} rows{left}; give a longer source"
        )
    stored = smallest_type(tokenizer.vocab_size)
    count = len(packed.edges) - 1
    apart = recipe.packing == "alone"
    with new_folder(out) as folder:
        packed.tokens.astype(stored).tofile(folder / f"{recipe.split}.bin")
        if apart:
            for split in SPLITS:
                begins = packed.edges[:-1] if split == recipe.split else packed.edges[:0]
                begins.astype("<i8").tofile(folder / f"{split}.documents.bin")
        facts = {
            "name": name,
            "official": standing(recipe, files),
            "length": recipe.length,
            "marks": recipe.marks,
            "rows": len(rows),
            "dropped": {"tokens": packed.dropped, "of": packed.total, "rows_cut": packed.cut},
            **terms(recipe),
        }
        return write_meta(
            folder,
            "text",
            tokenizer,
            stored,
            [(source, files)],
            first={
                "documents": "apart" if apart else "joined",
                "eot": tokenizer.eot,
                "split": name,
            },
            document_count={split: count * (split == recipe.split) for split in SPLITS},
            protocol=facts,
        )


def terms(recipe: TextRecipe) -> dict[str, str]:
    """Packing, what is given and the denominator, in words that say all that makes a number."""
    rows = {
        "whole": "the file",
        "lines": "lines without blanks around",
        "ended": "lines with their line ends, blank ones empty",
        "json": "texts of JSON lines",
        "news": "title, a blank and description",
    }[recipe.rows]
    if recipe.part != (0, 0):
        rows += " from {:,} to {:,}".format(*recipe.part)
    how = f"{rows}, {recipe.detokenizer or 'not'} detokenized"
    if recipe.ends:
        how += ", an end-of-text mark after each"
    if recipe.packing == "alone":
        how += f", each alone, cut off at {recipe.length:,}"
    else:
        how += f", joined by the {joined_in_words(recipe)}, remainders {recipe.remainder}"
    given, counted = "nothing", "every token"
    if recipe.packing == "alone":
        given, counted = "lengths", "every token, without padding"
    if recipe.ends:
        counted += ", end-of-text marks included"
    if recipe.marks != "none":
        how += ", a begin mark before and an end mark after each window"
    if recipe.marks == "scored":
        counted += ", begin and end marks of windows included"
    if recipe.marks == "given":
        marks = "begin and end marks of windows"
        given = marks if given == "nothing" else f"{given}, {marks}"
    return {"packing": how, "given": given, "denominator": counted}


def joined_in_words(recipe: TextRecipe) -> str:
    if not recipe.batch:
        return "whole source"
    shards = f" of each of {recipe.shards} shards" if recipe.shards > 1 else ""
    return f"{recipe.batch:,} rows{shards}"


# ---------------------------------------------------------------- rows


def encoded_rows(
    recipe: TextRecipe, name: str, files: list[Path], tokenizer: Tokenizer
) -> list[np.ndarray]:
    """The ids of every row, without marks."""
    if recipe.rows == "whole" and isinstance(tokenizer, Bytes):
        return [np.frombuffer(part_of(recipe, name, read(path)), np.uint8) for path in files]
    texts = [detokenize(recipe.detokenizer, text) for text in read_rows(recipe, name, files)]
    if isinstance(tokenizer, Subwords):
        return tokenizer.encode_batch(texts)
    return [tokenizer.encode(text) for text in texts]


def ready_ids(path: Path, tokenizer: Tokenizer) -> np.ndarray:
    with tqdm(disable=True) as quiet:
        if path.suffix == ".npy":
            chunks = read_array(path, tokenizer.vocab_size, quiet)
        elif tokenizer.vocab_size > 1 << 16:
            raise ValueError(
                f"{path} is read as ids of 16 bits, and the vocabulary has "
                f"{tokenizer.vocab_size:,}: save them with numpy.save, as a .npy"
            )
        else:
            chunks = read_ids(path, "uint16", tokenizer.vocab_size, quiet, "")
        return np.concatenate([chunk for chunk, _ in chunks])


def read_rows(recipe: TextRecipe, name: str, files: list[Path]) -> Iterator[str]:
    for path in files:
        raw = read(path)
        if recipe.rows == "whole":
            raw = part_of(recipe, name, raw)
        text = decode_text(raw, str(path))
        if recipe.rows == "whole":
            yield text
        elif recipe.rows == "lines":
            yield from (line.strip() for line in lines_of(text))
        elif recipe.rows == "ended":
            yield from (f"{line}\n" if line.strip() else "" for line in lines_of(text))
        elif recipe.rows == "json":
            numbered = enumerate(lines_of(text), 1)
            yield from (row_of(line, f"{path}, line {i}") for i, line in numbered if line.strip())
        else:
            yield from news(text, path)


def read(path: Path) -> bytes:
    return b"".join(read_blocks(path, tqdm(disable=True)))


def lines_of(text: str) -> list[str]:
    """Cut at line feeds alone; what follows the last one, if that is nothing, is no line."""
    lines = text.split("\n")
    return lines[:-1] if not lines[-1] else lines


def part_of(recipe: TextRecipe, name: str, whole: bytes) -> bytes:
    """The part of a file that is scored.  ValueError for a file of another size."""
    low, high = recipe.part
    if not high:
        return whole
    if len(whole) != high:
        raise ValueError(
            f"{name} is of a file of {high:,} bytes, and this one has {len(whole):,}: "
            f"give {recipe.source} as it was published"
        )
    return whole[low:high]


def row_of(line: str, place: str) -> str:
    record = parse(line, place, ": each line must be one JSON object")
    return text_field(record, "text", place)


def news(text: str, path: Path) -> Iterator[str]:
    fix = "give the file of class, title and description"
    rows = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        for row in rows:
            if len(row) != 3:
                raise ValueError(f"{path} has a row of {len(row)} columns: {fix}")
            yield f"{row[1]} {row[2]}"
    except csv.Error as error:
        raise ValueError(f"{path}, line {rows.line_num}, is no CSV ({error}): {fix}") from None


# ---------------------------------------------------------------- windows


def pack(rows: list[np.ndarray], recipe: TextRecipe, name: str, tokenizer: Tokenizer) -> Packed:
    """Windows of the rows; what is left of each batch of them is dropped, or kept at the end."""
    marks = marks_of(tokenizer, name) if recipe.ends or recipe.marks != "none" else None
    if recipe.packing == "alone":
        return pack_alone(rows, recipe, marks)
    end = np.array([marks.end] if marks and recipe.ends else [], np.int64)
    around = marks if recipe.marks != "none" else None
    inside = recipe.length - 2 * (around is not None)
    found, total, dropped = [], 0, 0
    for first, last in batches(len(rows), recipe):
        joined = np.concatenate([part for row in rows[first:last] for part in (row, end)])
        joined, total = joined.astype(np.int64), total + len(joined)
        if recipe.remainder == "dropped":
            left = len(joined) % inside
            joined, dropped = joined[: len(joined) - left], dropped + left
        if around:
            joined = with_marks(joined.reshape(-1, inside), around).reshape(-1)
        found.append(joined)
    tokens = np.concatenate(found) if found else np.zeros(0, np.int64)
    edges = np.append(np.arange(0, len(tokens), recipe.length), len(tokens))
    return Packed(tokens, edges, total, dropped, 0)


def pack_alone(rows: list[np.ndarray], recipe: TextRecipe, marks: Marks | None) -> Packed:
    """A window a row."""
    begin = np.array([marks.begin] if marks and recipe.marks != "none" else [], np.int64)
    end = np.array([marks.end] if marks else [], np.int64)
    most = recipe.length - len(begin) - len(end)
    sizes = np.array([len(row) for row in rows], np.int64)
    kept = [np.concatenate([begin, row[:most], end]) for row in rows]
    edges = np.cumsum([0, *map(len, kept)])
    dropped = np.maximum(sizes - most, 0)
    total = int(sizes.sum()) + len(end) * len(rows) * recipe.ends
    tokens = np.concatenate([np.zeros(0, np.int64), *kept])
    return Packed(tokens, edges, total, int(dropped.sum()), int((dropped > 0).sum()))


def with_marks(windows: np.ndarray, marks: Marks) -> np.ndarray:
    """(n, S + 2) of windows (n, S)."""
    n = len(windows)
    return np.column_stack([np.full(n, marks.begin), windows, np.full(n, marks.end)])


def batches(count: int, recipe: TextRecipe) -> list[tuple[int, int]]:
    """First and last + 1 row of what is joined: shards of consecutive rows, the first ones longer
    by one where they cannot be equal, and batches within each."""
    shards = min(recipe.shards, count)
    sizes = [count // shards + (i < count % shards) for i in range(shards)] if shards else []
    found = []
    for low, high in pairwise(np.cumsum([0, *sizes]).tolist()):
        step = recipe.batch or high - low
        found += [(first, min(first + step, high)) for first in range(low, high, step)]
    return found


def marks_of(tokenizer: Tokenizer, name: str) -> Marks:
    """The marks at the ends of windows and rows: of GPT-2's vocabulary, end-of-text is both."""
    end = tokenizer.eot
    if end is None or not isinstance(tokenizer, Subwords):
        raise ValueError(
            f"{name} ends texts with an end-of-text mark, and the model's tokenizer has none: "
            "use a model with GPT-2's tokenizer, or another that has one"
        )
    ids = (tokenizer.model.token_to_id(mark) for mark in BEGINS)
    return Marks(next((i for i in ids if i is not None), end), end)
