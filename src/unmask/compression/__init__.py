"""Lossless coding by a model's own conditionals: a likelihood, as bytes on disk.

`compress` makes a file of examples, `decompress` the same examples of the file, with the same model
on a like machine.  The bytes are the exact -log2 p of the sampler of one order (`likelihood.Path`),
to within a thousandth or so, and what the file has besides: see `Compressed`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from unmask import likelihood
from unmask.compression import container
from unmask.compression.coding import (
    Path,
    Piece,
    code_block,
    groups,
    machine,
    model_digest,
    probe,
    repeatable,
)
from unmask.compression.container import MOST_POSITIONS, MOST_ROWS, Block, Content, Sizes, checksum
from unmask.compression.frequencies import MOST_VALUES, Reading, Tick, Writing, library
from unmask.diffusion import MaskedDiffusion
from unmask.rows import rows_at_a_time

__all__ = ["Compressed", "Decompressed", "compress", "decompress"]


@dataclass(frozen=True)
class Compressed:
    """A file, and what it cost."""

    content: bytes
    bits: float  # the exact -log2 p of what is coded, by the model along the path
    coded_bits: float  # the same with the frequencies that the coder is given
    sizes: Sizes  # bytes of the parts of the file
    tokens: int
    sampler: str  # whose likelihood that is, in words

    @property
    def over(self) -> float:
        """By what share blocks are larger than their likelihood, checksums among them."""
        ours = 8 * (self.sizes.payload + self.sizes.checks)
        return ours / self.bits - 1 if self.bits else 0.0


@dataclass(frozen=True)
class Decompressed:
    """What a file holds."""

    examples: list[np.ndarray]  # (S,) int64 token ids each
    beside: bytes


def compress(
    model: MaskedDiffusion,
    examples: Sequence[np.ndarray],
    *,
    order: str = "left-to-right",
    shares: Sequence[float] | None = None,
    length: int = 0,
    batch_size: int = 0,
    beside: bytes = b"",
    verify: bool = True,
    progress: bool = False,
) -> Compressed:
    """Examples of token ids (S,) as a file that `decompress` reads, of this model alone.

    order, shares: whose likelihood, see `likelihood.Path`; without shares, one unit a step.
    `length`: a longer example is cut into pieces of so many tokens, each coded by itself; 0: that
    of the model (`meta["length"]`), or of the longest example.  `batch_size`: pieces that run
    through the network together, and are a block; 0: 64, or more where they are short.  `beside`:
    bytes that the file is to hold as they are.  `verify`: decode each block again, and compare.

    ValueError for a model without such a likelihood, or of more than 2^18 values, for ids that it
    does not know, and where constriction is not installed.  FloatingPointError for a network whose
    numbers are not finite, and where what was coded does not decode to itself.
    """
    library()
    estimator = likelihood.Path(order, None if shares is None else tuple(shares))
    check_model(model, estimator)
    arrays = [np.asarray(one) for one in examples]
    if any(one.ndim != 1 or (one.size and one.dtype.kind not in "iu") for one in arrays):
        raise ValueError("an example is token ids of shape (S,), whole numbers: give such arrays")
    lengths = np.array([len(one) for one in arrays], np.int64)
    if len(lengths) > 1 and not lengths.all():
        raise ValueError("an example has no tokens: leave it out")
    own = model.meta.get("length", 0)
    longest = int(lengths.max(initial=1)) if len(lengths) else own or 1
    width = max(1, min(longest, own or longest, length or longest))
    rows = rows_at_a_time(batch_size, width * model.subtokenizer.length)
    rows = max(1, min(rows, int((-(-lengths // width)).sum())))  # no more than there are
    if rows * width > MOST_POSITIONS or rows > MOST_ROWS:
        raise ValueError(
            f"batch_size {rows:,} is more than {MOST_ROWS:,}, or more than {MOST_POSITIONS:,} "
            "tokens that run through the network together: give a smaller one"
        )
    path, cut = path_of(order, shares), (lengths, width, rows)
    bits = coded = 0.0
    units = int(lengths.sum()) * model.units().length
    with repeatable(model.device), ticking(units * (1 + verify), model, progress) as tick:
        parts = [(some, codes_of(model, some, arrays, width)) for some in groups(*cut)]
        header = {
            "model": model_digest(model), "order": order,
            "shares": None if shares is None else [float(share) for share in shares],
            "rows": rows, "width": width, "examples": len(arrays),
            "machine": machine(model), "probe": probe(model, rows, width, path),
        }  # fmt: skip
        made = Content(header, lengths, beside, [])
        container.checked(made)
        for some, codes in parts:
            how = sizes_of(some), [piece.ends for piece in some], width, path
            writing = Writing()
            _, cost = code_block(model, *how, writing, codes, tick)
            words = writing.words()
            if verify:
                again, _ = code_block(model, *how, Reading(words), None, tick)
                if not torch.equal(again, codes):
                    raise FloatingPointError(
                        "what was coded does not decode to itself, since the arithmetic of this "
                        "machine does not repeat: try one thread, or the CPU"
                    )
            made.blocks.append(Block(words, checksum_of(model, codes, some)))
            bits, coded = bits + cost.exact, coded + cost.coded
    content, sizes = container.pack(made)
    sampler = estimator.sampler(model)
    return Compressed(content, bits, coded, sizes, int(lengths.sum()), sampler)


def decompress(
    model: MaskedDiffusion,
    content: bytes,
    *,
    batch_size: int = 0,
    name: str = "the file",
    progress: bool = False,
) -> Decompressed:
    """The examples of a file that `compress` made; `name`: what messages call it.

    `batch_size`: the most pieces of a block that a file may have, since what runs through the
    network together takes memory; 0: as many as `compress` takes by itself.

    ValueError for what is no such file, is damaged, has larger blocks, or was made by another model
    or on a machine whose arithmetic is another, before anything is decoded; and where a block's
    checksum shows that it was decoded wrong.
    """
    found = container.unpack(content, name)
    library()
    header = found.header
    path = path_of(header["order"], header["shares"])
    check_model(model, likelihood.Path(header["order"], header["shares"]))
    check_same(model, header, name)
    width, rows = header["width"], header["rows"]
    most = rows_at_a_time(batch_size, width * model.subtokenizer.length)
    if rows > most:
        raise ValueError(
            f"{name} has blocks of {rows:,} examples, and at most {most:,} of {width:,} tokens run "
            f"through the network together: give a batch size of {rows} if they fit into memory"
        )
    units = int(found.lengths.sum()) * model.units().length
    examples: list[np.ndarray] = []
    with repeatable(model.device), ticking(units, model, progress) as tick:
        if probe(model, rows, width, path) != header["probe"]:
            raise ValueError(
                f"{name} was made on a machine whose arithmetic differs from this one's in the last"
                " digits, so that it cannot be decoded here: take the machine that it was made on"
            )
        blocks = zip(groups(found.lengths, width, rows), found.blocks, strict=True)
        for number, (some, block) in enumerate(blocks, 1):
            how = sizes_of(some), [piece.ends for piece in some], width, path
            reading = Reading(block.words)
            try:
                codes, _ = code_block(model, *how, reading, None, tick)
            except FloatingPointError as error:
                raise decoded_wrong(name, number) from error
            known = int(codes.max()) < model.subtokenizer.vocab_size
            if not known or checksum_of(model, codes, some) != block.check:
                raise decoded_wrong(name, number)
            ids = model.subtokenizer.token(codes).numpy()
            for piece, row in zip(some, ids, strict=True):
                if piece.ends[0]:
                    examples.append(np.zeros(found.lengths[piece.of], np.int64))
                examples[piece.of][piece.at] = row[: piece.at.stop - piece.at.start]
    examples += [np.zeros(0, np.int64)] * (len(found.lengths) - len(examples))  # an empty one
    return Decompressed(examples, found.beside)


def check_model(model: MaskedDiffusion, estimator: likelihood.Path) -> None:
    """ValueError for a model that cannot be coded by."""
    estimator.check(model)
    values = model.units().base if model.units().length > 1 else model.subtokenizer.vocab_size
    if values > MOST_VALUES:
        raise ValueError(
            f"the model's units have {values:,} values, and frequencies of 24 bits are for "
            f"{MOST_VALUES:,} at most: take a model of fewer, or of digits"
        )


def check_weights(model: MaskedDiffusion, header: dict[str, Any], name: str) -> None:
    """ValueError for another model than the file's."""
    if model_digest(model) != header["model"]:
        raise ValueError(f"{name} was made with another model, or other weights of it: name that")


def check_same(model: MaskedDiffusion, header: dict[str, Any], name: str) -> None:
    """ValueError for another model than the file's, or another machine."""
    check_weights(model, header, name)
    length = model.meta.get("length", 0)
    if length and header["width"] > length:
        raise ValueError(f"{name} has pieces of {header['width']} tokens, and the model {length}")
    here = machine(model)
    made = {"products": here.get("products")} | header["machine"]  # older files do not say it
    for fact, ours in here.items():
        theirs = made.get(fact)
        if theirs != ours:
            by_commands = "commands take what unmask.device.tune_process() sets"
            fix = by_commands if fact == "products" else "take the same"
            raise ValueError(
                f"{name} was made with {fact} {theirs!r}, and here it is {ours!r}: what a network "
                f"says differs between them in the last digits, and cannot be decoded; {fix}"
            )


def path_of(order: str, shares: Sequence[float] | None) -> Path:
    return Path(order, None if shares is None else torch.tensor(shares, dtype=torch.float64))


def sizes_of(pieces: list[Piece]) -> list[int]:
    return [piece.at.stop - piece.at.start for piece in pieces]


def codes_of(
    model: MaskedDiffusion, pieces: list[Piece], examples: list[np.ndarray], width: int
) -> torch.Tensor:
    """The codes (B, width) of pieces, 0 beyond them, on the CPU; ValueError for ids that the model
    does not know."""
    x = torch.zeros(len(pieces), width, dtype=torch.int64)
    for row, piece in zip(x, pieces, strict=True):
        ids = examples[piece.of][piece.at].astype(np.int64)
        row[: len(ids)] = torch.from_numpy(ids)
    valid = torch.arange(width) < torch.tensor(sizes_of(pieces))[:, None]
    batch = model.clean(x.to(model.device), valid=valid.to(model.device))
    return batch.codes.cpu().masked_fill(~valid, 0)


def checksum_of(model: MaskedDiffusion, codes: torch.Tensor, pieces: list[Piece]) -> int:
    """Of the tokens that a block holds, by their codes (B, width)."""
    sizes = sizes_of(pieces)
    return checksum(np.concatenate([row[:n] for row, n in zip(codes.numpy(), sizes, strict=True)]))


def decoded_wrong(name: str, block: int) -> ValueError:
    return ValueError(
        f"{name}: block {block} does not decode to what was compressed, since this machine's "
        "arithmetic is not that of the one that made it: take that machine"
    )


@contextmanager
def ticking(units: int, model: MaskedDiffusion, progress: bool) -> Iterator[Tick]:
    """Progress over units, where there is a terminal."""
    unit = "token" if model.units().length == 1 else "digit"
    disable = None if progress else True
    with tqdm(total=units, unit=unit, disable=disable, dynamic_ncols=True) as bar:
        yield bar.update
