"""Files from elsewhere, damaged at random: read, or refused in one sentence.

A reader gets the mutated content of a file.  It may raise what the command line says in a sentence
(`SENTENCES`), and nothing else; it may neither hang nor take much memory.  A failure names its
reader, seed and number: `python tests/test_fuzz.py READER SEED NUMBER 1` does it again.

`make fuzz` looks for more, ten minutes a reader: see `hunt`.
"""

import contextlib
import functools
import gzip
import hashlib
import io
import json
import lzma
import math
import re
import secrets
import shlex
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from mutations import mutated

from unmask import arrays, checkpoint
from unmask.cli.main import VERBS, guarded
from unmask.compression import container
from unmask.kinds.kind import Filled
from unmask.kinds.proteins import fasta as fasta_source
from unmask.kinds.proteins import packed as protein_packed
from unmask.kinds.proteins.residues import Residues
from unmask.kinds.tables import packed as table_packed
from unmask.kinds.tables.bins import Within
from unmask.kinds.tables.columns import Column, Table
from unmask.kinds.text import packed as text_packed
from unmask.kinds.text.tokenizers import Characters
from unmask.roles import HOLE

SENTENCES = (ValueError, OSError, FloatingPointError, MemoryError)
SECONDS = 20  # that an input may take
MEMORY = 1 << 30  # bytes that reading a small file may add

# ---------------------------------------------------------------- readers


class Reader(NamedTuple):
    read: Callable[[Path, bytes], object]  # what lies in an empty folder, of some content
    seeds: Callable[[], list[bytes]]  # contents, before they are packed
    pack: Callable[[bytes], bytes]  # which a mutation may come before or after
    often: float  # how many inputs, besides others


READERS: dict[str, Reader] = {}


def reader(seeds, pack=bytes, often=1.0, name=""):
    """Enters a function among the readers."""

    def enter(read):
        of = seeds if callable(seeds) else lambda: list(seeds)
        READERS[name or read.__name__] = Reader(read, functools.cache(of), pack, often)
        return read

    return enter


def made(name: str, seed: int, number: int) -> bytes:
    """The content that a reader gets."""
    one, random = READERS[name], Random(f"{name} {seed} {number}")
    seeds = one.seeds()
    content, when = random.choice(seeds), random.random()
    if one.pack is bytes:
        return mutated(content, random, seeds)
    if when < 0.6:
        content = mutated(content, random, seeds)
    content = one.pack(content)
    if when > 0.5:
        content = mutated(content, random, [content])
    return content


def verb(name: str, *arguments: object) -> None:
    """A command, as from the command line; what it raises is raised."""
    VERBS[name]([str(argument) for argument in arguments])


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def prepare(kind: str, folder: Path, *flags: object) -> None:
    """What is in a folder as `in*`, prepared."""
    (source,) = folder.glob("in*")
    verb("prepare", kind, source, folder / "out", *flags)
    assert (folder / "out" / "meta.json").is_file()


def sealed(body: bytes) -> bytes:
    """A file of compress with this behind its digest."""
    return container.FRONT.pack(container.MAGIC, container.VERSION, container.digest(body)) + body


def compressed_files() -> list[bytes]:
    """What stands behind the digest of two of them."""
    header = {
        "model": "0" * 64, "order": "left-to-right", "shares": [1.0, 0.5, 0.0], "rows": 2,
        "width": 4, "examples": 3, "machine": {"threads": 1}, "probe": "0",
    }  # fmt: skip
    words = np.arange(5, dtype=np.uint32)
    blocks = [container.Block(words, 7), container.Block(words[:0], 8)]
    lengths = np.array([5, 4, 1])
    full = container.Content(header, lengths, b"beside" * 9, blocks)
    small = container.Content(header | {"examples": 1}, lengths[:1] * 0, b"", [])
    return [container.pack(one)[0][container.FRONT.size :] for one in (full, small)]


@reader(compressed_files, pack=sealed, often=2.0)
def compressed(folder, content):
    container.unpack(content)


def within() -> Within:
    """Two numbers, each in a bin of its own."""
    parts = {"first": [0, 0, 1, 1], "count": [1] * 4, "rows": [3, 1, 3, 1], "bins": [0, 0, 1, 1]}
    return Within("1", 1, 0, 0, spelled={}, **parts)


OF_TEXT = {"sha256": hashlib.sha256(b"a\rb\xff").hexdigest(), "beside": [[1, "\r"], [1, "\udcff"]]}


@reader([json.dumps(OF_TEXT).encode()])
def kept_of_text(folder, content):
    text_packed.unpack([np.array([0, 1])], content, str(folder / "out"), Characters("ab"))


@reader([json.dumps({"steps": {"n": [1, -2]}, "cells": [[0, 1, "?"]]}).encode()])
def kept_of_table(folder, content):
    columns = Column("n", 0, ("1", "2"), (1.5,), within=within()), Column("k", 1, ("a", "b"))
    table = Table(columns, header=True, delimiter=",", width=2)
    rows = [np.array([0, 2]), np.array([1, 3])]
    table_packed.unpack(rows, content, str(folder / "out"), table)


@reader([json.dumps(["a header", "another"]).encode()])
def kept_of_sequences(folder, content):
    rows = [np.array([0, 3]), np.array([1])]
    protein_packed.unpack(rows, content, str(folder / "out"), Residues())


TEXT = "a first text, é\nthe second 漢字\r\n\nthird 12 " * 3
TEXTS = [TEXT.encode(), TEXT.encode("utf-16"), TEXT.encode("utf-8-sig"), TEXT.encode("utf-32")]
EVEN = "--split=0.5,0.5,0"


@reader(TEXTS)
def text(folder, content):
    put(folder / "in.txt", content)
    prepare("text", folder, EVEN)


@reader(TEXTS)
def characters(folder, content):
    put(folder / "in.txt", content)
    prepare("text", folder, "--tokenizer=characters", EVEN)


@reader(TEXTS)
def texts(folder, content):
    put(folder / "in" / "a.txt", content)
    put(folder / "in" / "b.txt", b"a first text" * 9)
    flags = "--tokenizer=characters", f"--alphabet={''.join(sorted({*TEXT}))}", "--skip-bad"
    prepare("text", folder, *flags, "--split=1,0,0")


@reader(TEXTS, pack=gzip.compress)
def text_gz(folder, content):
    put(folder / "in.txt.gz", content)
    prepare("text", folder, EVEN)


@reader(TEXTS, pack=lzma.compress)
def text_xz(folder, content):
    put(folder / "in" / "a.txt.xz", content)
    prepare("text", folder, "--split=1,0,0")


LINES = [
    "".join(json.dumps({"text": part, "n": 3}) + "\n" for part in TEXT.split("\n")).encode(),
    '{"text": "漢字"}\n\n{"text": ""}\r\n{"text": "\\u00e9"}\n'.encode("utf-16"),
]


@reader(LINES)
def jsonl(folder, content):
    put(folder / "in.jsonl", content)
    prepare("text", folder, EVEN)


@reader(LINES, pack=gzip.compress)
def jsonl_gz(folder, content):
    put(folder / "in.jsonl.gz", content)
    prepare("text", folder, "--skip-bad", EVEN)


@reader([b'["ab", "cd", "efg"]', b'[\n{"text": "ab"},\n{"text": "cd", "x": [1, 2.5]}]', *LINES])
def json_array(folder, content):
    put(folder / "in.json", content)
    prepare("text", folder, EVEN)


def npy(array) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def ids() -> list[bytes]:
    return [npy(np.arange(40, dtype=kind)) for kind in ("u1", "<u2", ">i4", "<i8")]


@reader(ids, often=2)
def ids_npy(folder, content):
    put(folder / "in.npy", content)
    prepare("text", folder, "--vocab-size=300", "--format=ids", EVEN)


@reader(ids, pack=gzip.compress)
def ids_npy_gz(folder, content):
    put(folder / "in.npy.gz", content)
    prepare("text", folder, EVEN)


@reader([np.arange(40, dtype="<i4").tobytes()])
def ids_raw(folder, content):
    put(folder / "in.bin", content)
    prepare("text", folder, "--vocab-size=300", "--format=ids", "--dtype=int32", EVEN)


def tokenizer_files() -> list[bytes]:
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    letters = sorted({*"abcdefgh text,", *pre_tokenizers.ByteLevel.alphabet()})
    vocabulary = {letter: i for i, letter in enumerate([*letters, "te", "fi", "<unk>"])}
    bpe = tokenizers.Tokenizer(models.BPE(vocabulary, [("t", "e"), ("f", "i")]))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens(["<|endoftext|>"])
    pieces = [("<unk>", 0.0), ("\u2581", -1.0), ("a", -2.0), ("te", -1.5), ("</s>", 0.0)]
    unigram = tokenizers.Tokenizer(models.Unigram(pieces, 0, True))
    unigram.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Prepend("\u2581")])
    unigram.pre_tokenizer = pre_tokenizers.Metaspace()
    unigram.decoder = decoders.Metaspace()
    words = {"[UNK]": 0, "a": 1, "text": 2, "##x": 3, "[SEP]": 4}
    piece = tokenizers.Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    piece.normalizer = normalizers.BertNormalizer()
    piece.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    piece.post_processor = processors.BertProcessing(("[SEP]", 4), ("[UNK]", 0))
    word = tokenizers.Tokenizer(models.WordLevel({"a": 0, "text": 1, "[UNK]": 2}, "[UNK]"))
    split = tokenizers.Regex(r"\w+")
    word.pre_tokenizer = pre_tokenizers.Split(split, "isolated")
    word.normalizer = normalizers.Replace(tokenizers.Regex("x+"), "x")
    return [one.to_str().encode() for one in (bpe, unigram, piece, word)]


@reader(tokenizer_files, often=4)
def tokenizer_json(folder, content):
    put(folder / "tokenizer.json", content)
    put(folder / "in.txt", TEXT.encode())
    prepare("text", folder, f"--tokenizer={folder / 'tokenizer.json'}", EVEN)


GPT2 = [
    json.dumps({"a": 0, "b": 1, "ab": 2, "Ġ": 3, "t": 4}).encode() + b"\0\0#version: 0.2\na b\n"
]


@reader(GPT2)
def gpt2(folder, content):
    """Two files, with two zero bytes between them."""
    vocabulary, _, merges = content.partition(b"\0\0")
    put(folder / "gpt2" / "encoder.json", vocabulary)
    put(folder / "gpt2" / "vocab.bpe", merges)
    put(folder / "in.txt", b"ab a b tab " * 4)
    prepare("text", folder, f"--tokenizer={folder / 'gpt2'}", EVEN)


# images


def pictures(shape=(6, 4, 4)) -> np.ndarray:
    return (np.arange(np.prod(shape)) * 7 % 256).astype(np.uint8).reshape(shape)


def idx(array) -> bytes:
    head = bytes([0, 0, 8, array.ndim]) + b"".join(struct.pack(">I", n) for n in array.shape)
    return head + array.tobytes()


IMAGES, LABELS = idx(pictures()), idx(np.arange(6, dtype=np.uint8))


@reader([IMAGES])
def idx_images(folder, content):
    put(folder / "in" / "train-images-idx3-ubyte", content)
    put(folder / "in" / "train-labels-idx1-ubyte", LABELS)
    prepare("images", folder, EVEN)


@reader([LABELS])
def idx_labels(folder, content):
    put(folder / "in" / "train-images-idx3-ubyte", IMAGES)
    put(folder / "in" / "train-labels-idx1-ubyte", content)
    prepare("images", folder, EVEN)


@reader([IMAGES], pack=gzip.compress)
def idx_gz(folder, content):
    put(folder / "in" / "train-images-idx3-ubyte.gz", content)
    prepare("images", folder, EVEN)


@reader([IMAGES], pack=gzip.compress)
def idx_file(folder, content):
    put(folder / "in.gz", content)
    prepare("images", folder, EVEN)


@reader([bytes([3]) + bytes(3072) + bytes([9]) + b"x" * 3072])
def cifar10(folder, content):
    put(folder / "in" / "data_batch_1.bin", content)
    prepare("images", folder, EVEN)


@reader([bytes(range(64))])
def packbits(folder, content):
    put(folder / "in", content)
    prepare("images", folder, "--format=packbits", "--shape=4,4,1", EVEN)


def archive(**members: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return stream.getvalue()


def picture_arrays() -> list[bytes]:
    return [npy(pictures((6, 12))), npy(pictures()), npy(pictures((6, 2, 2, 3)).astype("<i4"))]


def with_labels(data: bytes) -> bytes:
    return archive(data=data, labels=npy(np.arange(1, 7)))


def as_labels(labels: bytes) -> bytes:
    return archive(data=npy(pictures()), labels=labels)


@reader(picture_arrays, pack=with_labels, often=2)
def npz_data(folder, content):
    put(folder / "in.npz", content)
    prepare("images", folder, EVEN)


@reader(lambda: [npy(np.arange(1, 7)), npy(np.arange(6, dtype="u1")[:, None])], pack=as_labels)
def npz_labels(folder, content):
    put(folder / "in.npz", content)
    prepare("images", folder, EVEN)


def checked_png(content: bytes) -> bytes:
    """A PNG file with the checksums of what its chunks have become."""
    fixed, at = content[:8], 8
    while at + 8 <= len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        chunk = content[at + 4 : at + 8 + size]
        fixed += content[at : at + 4] + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        at += 12 + size
    return fixed


def saved(format: str, mode: str = "RGB", size: int = 8, **flags) -> bytes:
    from PIL import Image

    image = Image.fromarray(pictures((size, size, 3)))
    if image.mode != mode:
        image = image.convert(mode)
    stream = io.BytesIO()
    image.save(stream, format, **flags)
    return stream.getvalue()


def pngs() -> list[bytes]:
    return [saved("PNG"), saved("PNG", "P"), saved("PNG", "L", transparency=3), saved("PNG", "1")]


def other_pictures() -> list[bytes]:
    formats = ("JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000")
    frames = saved("GIF", "P", save_all=True)
    return [*map(saved, formats), saved("TIFF", "L", compression="tiff_lzw"), frames]


@reader(pngs, pack=checked_png, often=2)
def png(folder, content):
    put(folder / "in" / "a.png", content)
    put(folder / "in" / "b.png", pngs()[0])
    prepare("images", folder, EVEN, "--channels=3", "--background=white")


@reader(other_pictures, often=3)
def picture(folder, content):
    for name in ("a", "b"):
        put(folder / "in" / name / "1.jpg", content)
    prepare("images", folder, "--size=4", "--channels=1", "--background=white", EVEN)


@reader(other_pictures)
def picture_left_out(folder, content):
    put(folder / "in" / "a.png", content)
    put(folder / "in" / "b.png", pngs()[0])
    put(folder / "in" / "c.png", pngs()[0])
    prepare("images", folder, "--skip-bad", EVEN)


# proteins

FASTA = [
    b">one first\nMKVLAW\nacdef*\n; a comment\n>two\nXXGAVLI\n\n>three\nMKUOB",
    ">é\nMKVLAW\n>two\nGAVLI\n".encode("utf-16"),
    b"\xef\xbb\xbf>\xe9\r\nMKVLAW\r\n>two\rGAVLI\r",
]


@reader(FASTA)
def fasta(folder, content):
    put(folder / "in.fasta", content)
    prepare("proteins", folder, EVEN)


@reader(FASTA)
def fasta_left_out(folder, content):
    put(folder / "in" / "a.fa", content)
    put(folder / "in" / "b.fa", FASTA[0])
    prepare("proteins", folder, "--skip-bad", EVEN)


@reader(FASTA, pack=gzip.compress)
def fasta_gz(folder, content):
    put(folder / "in.fasta.gz", content)
    prepare("proteins", folder, EVEN)


# tables

CSV = [
    b'name,age,"the city"\nAnn,31,Rome\nBob,4.5,"New\nYork"\n"C, D",?,Oslo\n' + b"Eve,7,Bonn\n" * 3,
    "sep=;\r\nä;1e3;x\r\nb;-2;\r\nc;007;y\r\n".encode("utf-16"),
    b"a\t1\t0.5\nb\t2\t1e300\nc\tna\t.5\nd\t4\t99999999999999999999\n",
    b"\xef\xbb\xbfone\n1\n2\n\n3\n",
]


@reader(CSV, often=3)
def table(folder, content):
    put(folder / "in.csv", content)
    prepare("tables", folder, EVEN)


@reader([CSV[0], CSV[2]])
def table_encoded(folder, content):
    put(folder / "in.csv", content)
    prepare("tables", folder, "--encoding=utf-7", "--header=yes", "--delimiter=,", EVEN)


@reader(CSV, pack=lzma.compress)
def table_xz(folder, content):
    put(folder / "in.csv.xz", content)
    prepare("tables", folder, EVEN, "--bins=2")


# what is filled in


class Zeros:
    """Fills holes with the first value there is."""

    length, can_score = 64, True

    def fill(self, examples, *, num=1, score=0):
        found = []
        for one in examples:
            filled = Filled(np.where(one.role == HOLE, 0, one.ids), 1.0, 0.5)
            found.append([filled] * num)
        return found

    def laws(self, examples):
        return iter(())


@functools.cache
def prepared(kind: str) -> Path:
    """Prepared data of a kind."""
    folder = Path(tempfile.mkdtemp(dir=SHELF.name))
    name, content, *flags = {
        "text": ("in.jsonl", LINES[0], "--tokenizer=characters"),
        "images": ("in.npz", with_labels(npy(pictures())), "--levels=16"),
        "proteins": ("in.fasta", FASTA[0]),
        "tables": ("in.csv", CSV[0]),
    }[kind]
    put(folder / name, content)
    with quiet():
        prepare(kind, folder, EVEN, *flags)
    return folder / "out"


SHELF = tempfile.TemporaryDirectory(prefix="fuzz-")


def fill(kind: str, path: Path, **flags) -> None:
    from unmask.kinds.registry import kind_of

    folder = prepared(kind)
    meta = json.loads((folder / "meta.json").read_text())
    given = {"num": 2, "window": False, "out": "", "label": None, "mask": ""}
    given |= {"best": False, "probabilities": "", "unseen": "error", "encoding": ""}
    given |= {"columns": "", "empty": "", "seed": 0}
    args = SimpleNamespace(**(given | flags))
    kind_of(meta, folder).read(path, args, Zeros.length).fill(Zeros())


HOLED = "a [MASK] text, é [MASK:3]"


@reader([HOLED.encode(), HOLED.encode("utf-16"), HOLED.encode("utf-8-sig")])
def fill_text(folder, content):
    fill("text", put(folder / "in.txt", content))


@reader([FASTA[0].replace(b"XX", b"-[MASK:3]X"), FASTA[1].replace(b"K", b"X")])
def fill_proteins(folder, content):
    fill("proteins", put(folder / "in.fasta", content))


@reader([b'name,age,"the city"\nAnn,?,Rome\nBob,4.5,\n"C, D",?,Oslo\n', CSV[0].replace(b"31", b"")])
def fill_tables(folder, content):
    out = str(folder / "out.csv")
    fill("tables", put(folder / "in.csv", content), out=out, unseen="missing")


def holed_pictures() -> list[bytes]:
    from PIL import Image

    holed = pictures((4, 4, 2))
    holed[..., 1] = 255 * (holed[..., 1] > 127)
    stream = io.BytesIO()
    Image.fromarray(holed).save(stream, "PNG")
    other = io.BytesIO()
    Image.fromarray(pictures((4, 4))).save(other, "PNG", transparency=7)
    return [stream.getvalue(), other.getvalue()]


@reader(holed_pictures, pack=checked_png)
def fill_images(folder, content):
    fill("images", put(folder / "in.png", content), out=str(folder / "out.png"))


@reader(lambda: [saved("PNG", mode, size=4) for mode in ("L", "RGB", "1")], pack=checked_png)
def fill_mask(folder, content):
    mask = put(folder / "mask.png", content)
    path = put(folder / "in.png", saved("PNG", "L", size=4))
    fill("images", path, mask=str(mask), out=str(folder / "out.png"))


# features, and evaluations


def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(9, 3))


@reader(lambda: [npy(features()), npy(features().astype("<f4")), npy(pictures((9, 3)))], often=2)
def features_npy(folder, content):
    path = put(folder / "in.npy", content)
    verb("distance", path, put(folder / "other.npy", npy(features())))


def one_array(content: bytes) -> bytes:
    return archive(features=content)


@reader(lambda: [npy(features())], pack=one_array)
def features_npz(folder, content):
    path = put(folder / "in.npz", content)
    verb("distance", path, put(folder / "other.npy", npy(features())))


def covariance() -> list[bytes]:
    return [npy(np.cov(features().T)), npy(np.eye(3, dtype="<f4"))]


def statistics(content: bytes) -> bytes:
    return archive(mu=npy(np.zeros(3)), sigma=content)


@reader(covariance, pack=statistics)
def statistics_npz(folder, content):
    path = put(folder / "in.npz", content)
    verb("distance", path, put(folder / "other.npy", npy(features())))


def evaluation() -> dict[str, bytes]:
    draws = np.random.default_rng(0).normal(10, 1, (2, 8)).astype("<f4")
    positions, groups = np.full(8, 4), np.arange(8) // 2
    arrays = {"replicates": draws, "steady": draws, "positions": positions, "groups": groups}
    return {name: npy(array) for name, array in arrays.items()}


def compared(folder: Path, examples: bytes) -> None:
    """An evaluation with such examples, and a sound one."""
    for name, content in (("a", examples), ("b", archive(**evaluation()))):
        put(folder / f"{name}.npz", content)
        kept = {"file": f"{name}.npz", "sha256": hashlib.sha256(content).hexdigest()}
        record = {"examples": kept, "unit": "bits", "repeats": 2, "masking": "exact", "seed": 0}
        put(folder / f"{name}.json", json.dumps(record).encode())
    verb("compare", folder / "a.json", folder / "b.json")


for array in evaluation():

    def in_place(content: bytes, array: str = array) -> bytes:
        return archive(**(evaluation() | {array: content}))

    reader(lambda array=array: [evaluation()[array], npy(np.ones((2, 8)))], in_place, 0.7, array)(
        compared
    )

# models, runs and prepared data, by somebody who knows how their digests are made


@functools.cache
def run() -> Path:
    """A run of two steps."""
    folder = Path(tempfile.mkdtemp(dir=SHELF.name)) / "run"
    with quiet():
        train(folder)
    return folder


def train(folder: Path) -> None:
    from unmask.config import TrainConfig
    from unmask.train import train

    config = TrainConfig(
        length=8, dim=8, layers=1, heads=2, batch_size=4, steps=2, eval_windows=4, eval_repeats=1,
        dtype="float32", device="cpu", optimizer="adamw", threads=1,
    )  # fmt: skip
    train(config, prepared("text"), folder)


def newest(folder: Path) -> Path:
    return checkpoint.checkpoints(folder)[-1]


def signed(folder: Path, name: str, content: bytes) -> None:
    """A file of a model, and its digest in config.json."""
    put(folder / name, content)
    path = folder / checkpoint.CONFIG
    config = json.loads(path.read_text())
    config["sha256"][name] = hashlib.sha256(content).hexdigest()
    config["sha256"][checkpoint.CONFIG] = checkpoint.config_digest(config)
    path.write_text(json.dumps(config))


def copied(source: Path, folder: Path) -> Path:
    import shutil

    return Path(shutil.copytree(source, folder))


QUICK = ("--device=cpu", "--threads=1", "--dtype=float32")


def stateful(name: str) -> list[bytes]:
    """A file of tensors, and ones of others: less of them, of other types and shapes."""
    import safetensors.torch
    import torch

    tensors = safetensors.torch.load_file(newest(run()) / name)
    doubled = {key: tensor.double() for key, tensor in tensors.items()}
    counted = {key: tensor.long() for key, tensor in tensors.items()}
    endless = {key: torch.full_like(tensor, 1e30) for key, tensor in tensors.items()}
    flat = {key: tensor.reshape(-1) for key, tensor in tensors.items()}
    fewer = dict(list(tensors.items())[1:])
    made = [tensors, doubled, counted, endless, flat, fewer]
    files = map(safetensors.torch.save, made)
    return [headless(content) for content in files]


def headless(content: bytes) -> bytes:
    """A safetensors file without the size of its header, and the blanks at the end of that."""
    end = 8 + int.from_bytes(content[:8], "little")
    return content[8:end].rstrip() + content[end:]


def headed(content: bytes) -> bytes:
    """A safetensors file whose header ends where its JSON seems to."""
    end = content.find(b"}}") + 2
    return struct.pack("<Q", end) + content


@reader(lambda: stateful("model.safetensors"), pack=headed, often=2)
def model(folder, content):
    changed = copied(newest(run()), folder / "model")
    signed(changed, "model.safetensors", content)
    verb("sample", changed, "--num=1", "--steps=1", *QUICK)


@reader(lambda: stateful("training.safetensors"), pack=headed)
def training(folder, content):
    changed = copied(run(), folder / "run")
    signed(newest(changed), "training.safetensors", content)
    train(changed)


@reader(lambda: [(newest(run()) / checkpoint.CONFIG).read_bytes()])
def training_config(folder, content):
    changed = copied(run(), folder / "run")
    path = put(newest(changed) / checkpoint.CONFIG, content)
    with contextlib.suppress(ValueError, RecursionError, AttributeError, TypeError, KeyError):
        config = json.loads(content)
        config["sha256"][checkpoint.CONFIG] = checkpoint.config_digest(config)
        path.write_text(json.dumps(config))
    train(changed)


@reader(lambda: [(run() / "log.jsonl").read_bytes()])
def log(folder, content):
    from unmask.report import write_report
    from unmask.train import last_row, read_log

    changed = copied(run(), folder / "run")
    put(changed / "log.jsonl", content)
    train(changed)
    last = last_row(changed, newest(changed))
    assert last["step"] >= 0 and last["seconds"] >= 0
    rows = read_log(changed / "log.jsonl")
    write_report(folder / "report.html", title="", unit="", sources="", log=rows)


def data_file(kind: str, name: str, use: Callable[[Path], None]) -> None:
    """Enters a reader of a binary file of prepared data."""

    def read(folder, content):
        changed = copied(prepared(kind), folder / "data")
        put(changed / name, content)
        meta = json.loads((changed / "meta.json").read_text())
        meta["sha256"][name] = hashlib.sha256(content).hexdigest()
        put(changed / "meta.json", json.dumps(meta).encode())
        use(changed)

    def seeds():
        content = (prepared(kind) / name).read_bytes()
        size = len(content)  # other sizes are refused: mutations keep it
        return [content, bytes(size), b"\xff" * size, content[::-1]]

    def sized(content):
        size = len((prepared(kind) / name).read_bytes())
        return content[:size].ljust(size, b"\xfe")

    reader(seeds, sized, 0.5, f"{kind} {name}")(read)


def evaluate(data: Path) -> None:
    verb("eval", newest(run()), "--data", data, "--split=validation", "--repeats=1", *QUICK)


def look(data: Path) -> None:
    """All that training and scoring take of data."""
    from unmask.kinds.registry import open_data

    labels = (data / "train.labels.bin").exists()
    opened = open_data(data, labels=labels)
    length = opened.length or 8
    for split in opened.splits:
        for batch in opened.windows(split, length, 3):
            assert int(batch["x"].max()) < opened.vocab_size
        batch = opened.batch(split, length, 3, 0, 0)
        assert int(batch["x"].max()) < opened.vocab_size
        opened.tokenizer.decode(batch["x"][0].tolist() if "text" in str(data) else batch["x"])


data_file("text", "validation.bin", evaluate)
data_file("text", "validation.documents.bin", evaluate)
data_file("images", "train.bin", look)
data_file("images", "train.labels.bin", look)
data_file("proteins", "train.bin", look)
data_file("proteins", "train.documents.bin", look)
data_file("tables", "train.bin", look)


# checkpoints of other projects

FOREIGN = Path(__file__).parent / "golden" / "foreign"
LIGHTNING, SEDD = FOREIGN / "mdlm" / "mdlm.ckpt", FOREIGN / "sedd" / "run"
MD4 = FOREIGN / "md4" / "text_time"


def imported(name: str, source: Path, *flags: str) -> None:
    """With --out in a folder of its own, since the source may be the repository's."""
    with tempfile.TemporaryDirectory(dir=SHELF.name) as folder:
        verb("import", name, source, Path(folder, "out"), *flags)


def in_archive(content: bytes, path: Path = LIGHTNING) -> bytes:
    """A checkpoint with another pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(stream, "w") as new:
        for entry in old.infolist():
            pickled = entry.filename.endswith("/data.pkl")
            new.writestr(entry.filename, content if pickled else old.read(entry))
    return stream.getvalue()


def pickled() -> list[bytes]:
    with zipfile.ZipFile(LIGHTNING) as file:
        return [file.read(name) for name in file.namelist() if name.endswith("/data.pkl")]


@reader(pickled, pack=in_archive, often=2)
def lightning(folder, content):
    imported("mdlm", put(folder / "in.ckpt", content))


@functools.cache
def hub_tensors() -> bytes:
    import safetensors.torch

    from unmask.importers.torch_files import TorchFile

    state = TorchFile(LIGHTNING).content["state_dict"]
    return safetensors.torch.save({name: one.read() for name, one in state.items()})


@reader(lambda: [headless(hub_tensors())], pack=headed)
def hub_weights(folder, content):
    put(folder / "hub" / "config.json", (FOREIGN / "mdlm" / "hf" / "config.json").read_bytes())
    put(folder / "hub" / "model.safetensors", content)
    imported("mdlm", folder / "hub", "--tokenizer=ids")


@reader(lambda: [(FOREIGN / "mdlm" / "hf" / "config.json").read_bytes()])
def hub_config(folder, content):
    put(folder / "hub" / "config.json", content)
    put(folder / "hub" / "model.safetensors", hub_tensors())
    imported("mdlm", folder / "hub", "--tokenizer=ids")


@reader(lambda: [(SEDD / ".hydra" / "config.yaml").read_bytes()])
def hydra(folder, content):
    checkpoint = "checkpoints-meta/checkpoint.pth"
    put(folder / "run" / checkpoint, (SEDD / checkpoint).read_bytes())
    put(folder / "run" / ".hydra" / "config.yaml", content)
    imported("sedd", folder / "run", "--tokenizer=ids")


def parameters() -> dict[str, bytes]:
    with zipfile.ZipFile(MD4 / "params.npz") as file:
        return {name: file.read(name) for name in file.namelist()}


EMBEDDING = "classifier/Embed_0/embedding.npy"


def with_embedding(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as file:
        for name, array in (parameters() | {EMBEDDING: content}).items():
            file.writestr(name, array)
    return stream.getvalue()


@reader(lambda: [parameters()[EMBEDDING]], pack=with_embedding)
def flax(folder, content):
    path = put(folder / "in.npz", content)
    imported("md4", path, "--tokenizer=ids", f"--config={MD4 / 'config.json'}")


@reader(lambda: [(MD4 / "config.json").read_bytes()])
def md4_config(folder, content):
    path = put(folder / "config.json", content)
    imported("md4", MD4, "--tokenizer=ids", f"--config={path}")


# ---------------------------------------------------------------- runs


@contextlib.contextmanager
def quiet():
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def wrong(name: str, content: bytes) -> str:
    """What is wrong with how a reader takes a content; "" if nothing is."""
    with tempfile.TemporaryDirectory(dir=SHELF.name) as folder, quiet():
        try:
            READERS[name].read(Path(folder), content)
        except SENTENCES as error:
            if not str(error) and not isinstance(error, MemoryError):
                return f"{type(error).__name__} without a word"
        except BaseException:  # a panic of Rust's is no Exception
            return traceback.format_exc()
    return ""


@functools.cache
def counts(total: int) -> dict[str, int]:
    """Of inputs for each reader."""
    share = total / sum(one.often for one in READERS.values())
    return {name: max(1, round(share * one.often)) for name, one in READERS.items()}


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused_in_a_sentence(name, tmp_path):
    one = READERS[name]
    with quiet():
        one.read(tmp_path, one.pack(one.seeds()[0]))  # what is sound is read
    assert not wrong(name, made(name, 0, 0))


def reshaped(content: bytes, old: bytes, new: bytes) -> bytes:
    """A .npy file with another shape in its header, which stays as long."""
    assert old in content
    return content.replace(old + b", }" + b" " * (len(new) - len(old)), new + b", }", 1)


UNENDED = reshaped(npy(features()), b"(9, 3)", b"((9, 3)")
HUGE = reshaped(npy(features()), b"(9, 3)", b"(9, 99999999999999999999)")
TRUTH = reshaped(npy(features()), b"(9, 3)", b"(True, 3)")
SIGNAL = np.full((2, 8), 0x7FA00000, "<u4").view("<f4")  # a NaN of which a cast warns
NEGATIVE = reshaped(npy(features()), b"(9, 3)", b"(-9, -3)")
WORDS_ONLY = npy(np.full((9, 3), "x"))
NO_HEADER = "no header that can be read"
NO_VALUES = "a.npz does not hold the values of an evaluation"
OTHER_TOKEN = r"\.bin is damaged: token 255 of [0-9]+ values"


def members(**changed: bytes) -> bytes:
    return archive(**(evaluation() | changed))


def spoiled(content: bytes) -> bytes:
    """An archive whose first member is not what its compression makes."""
    at = content.index(b"replicates.npy") + 14
    return content[:at] + b"\xff" * 20 + content[at + 20 :]


def without_unknown() -> bytes:
    return tokenizer_files()[3].replace(b'"unk_token":"[UNK]"', b'"unk_token":"none"')


def without_words() -> bytes:
    document = json.loads(tokenizer_files()[3])
    document["model"]["vocab"], document["added_tokens"] = {}, []
    return json.dumps(document).encode()


def retrained(change: Callable[[dict], None]) -> bytes:
    """training.safetensors, its tensors changed."""
    import safetensors.torch

    tensors = safetensors.torch.load_file(newest(run()) / "training.safetensors")
    change(tensors)
    return safetensors.torch.save(tensors)


def renamed(tensors: dict) -> None:
    tensors["optimizer.0.99.step"] = tensors.pop("optimizer.0.0.step")


def flattened(tensors: dict) -> None:
    tensors["optimizer.0.0.exp_avg"] = tensors["optimizer.0.0.exp_avg"].reshape(-1)


def without_step(tensors: dict) -> None:
    del tensors["optimizer.0.0.step"]


def without_weights(tensors: dict) -> None:
    del tensors["model.backbone.embed.weight"]


def configured(**changed) -> bytes:
    """config.json of a checkpoint, with other facts of its training."""
    config = json.loads((newest(run()) / checkpoint.CONFIG).read_bytes())
    config["training"] |= changed
    return json.dumps(config).encode()


def shared_by(accumulate: object) -> bytes:
    """config.json of a checkpoint, of a run with other micro-batches."""
    return configured(run={"steps": 2, "identity": {"accumulate": accumulate}})


# what the fuzzer found: a reader, what it got, what is said of it now
FOUND: list[tuple[str, Callable[[], bytes], str]] = [
    ("features_npy", lambda: UNENDED, NO_HEADER),
    ("features_npy", lambda: HUGE, "more than the 268,435,456 values"),
    ("features_npy", lambda: NEGATIVE, r"\(-9, -3\) in [0-9]+ bytes: it is truncated"),
    ("features_npy", lambda: TRUTH, NO_HEADER),
    ("features_npy", lambda: npy(SIGNAL), "the features hold values that are not finite"),
    ("features_npz", lambda: archive(features=UNENDED), NO_HEADER),
    ("features_npz", lambda: archive(features=b"no array"), NO_HEADER),
    ("features_npy", lambda: npy(features() * 1e200), "in.npy and .*: divide all features"),
    ("features_npy", lambda: npy(features() * 1e120), "halves of .*in.npy: .* divide all features"),
    ("statistics_npz", lambda: statistics(UNENDED), NO_HEADER),
    ("statistics_npz", lambda: statistics(TRUTH), NO_HEADER),
    ("npz_data", lambda: with_labels(UNENDED), NO_HEADER),
    ("npz_data", lambda: with_labels(HUGE), "more than the"),
    ("npz_labels", lambda: as_labels(UNENDED), NO_HEADER),
    ("ids_npy", lambda: UNENDED, NO_HEADER),
    ("replicates", lambda: members(replicates=UNENDED), NO_VALUES),
    ("replicates", lambda: members(replicates=HUGE), NO_VALUES),
    ("replicates", lambda: members(replicates=b"no array"), NO_VALUES),
    ("replicates", lambda: members(replicates=WORDS_ONLY), NO_VALUES),
    ("replicates", lambda: members(replicates=npy(np.full((2, 8), np.nan))), NO_VALUES),
    ("replicates", lambda: members(replicates=npy(SIGNAL)), NO_VALUES),
    ("replicates", lambda: spoiled(members()), NO_VALUES),
    ("steady", lambda: members(steady=npy(np.ones((2, 7)))), NO_VALUES),
    ("positions", lambda: members(positions=npy(np.ones(8, "<u2"))), NO_VALUES),
    ("groups", lambda: members(groups=npy(np.ones((2, 8), int))), NO_VALUES),
    ("steady", lambda: members(steady=npy(np.full((2, 8), 1e200))), NO_VALUES),
    ("idx_labels", lambda: LABELS[:8], "truncated: 0 of 6 labels"),
    ("fill_text", lambda: b"[MASK:%s]" % (b"1" * 5000), r"in.txt: .* \[MASK:1+\.\.\.\] is no hole"),
    ("fill_proteins", lambda: b">a\n[MASK:%s]" % (b"1" * 5000), r"line 2: \[MASK:1+.* no hole"),
    ("text validation.bin", lambda: b"\xff" * 999, OTHER_TOKEN),
    ("images train.bin", lambda: b"\xff" * 999, OTHER_TOKEN),
    ("proteins train.bin", lambda: b"\xff" * 999, OTHER_TOKEN),
    ("tables train.bin", lambda: b"\xff" * 999, OTHER_TOKEN),
    ("tokenizer_json", without_unknown, "cannot encode the text: .*: give another tokenizer"),
    ("gpt2", lambda: GPT2[0].replace(b"4}", b"1215752191}"), "gpt2: .* the id 1,215,752,191"),
    ("tokenizer_json", without_words, "tokenizer.json: the tokenizer has no tokens"),
    ("training", lambda: retrained(renamed), "cannot be continued: its optimizer has 99.step"),
    ("training", lambda: retrained(flattened), r"its optimizer has 0.exp_avg"),
    ("training", lambda: retrained(without_step), "has exp_avg, exp_avg_sq of parameter 0"),
    ("training", lambda: retrained(without_weights), "does not fit this run, and cannot"),
    ("training_config", lambda: configured(run=None), "not of a run .training.run is null"),
    ("training_config", lambda: configured(run={}), "not of a run .'training.run.identity' is"),
    ("training_config", lambda: configured(seconds="x"), "not of a run .training.seconds is"),
    ("training_config", lambda: shared_by(None), "not of a run .training.run.identity.accum"),
    ("table", lambda: b'\xef\xbb\xbf""', "the train split, 0.5 of 1 rows, comes out empty"),
    ("table", lambda: b'""\n ""\n', "the rows of the train split are all empty"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(FOUND)))
def test_what_was_found_is_a_sentence(number, tmp_path):
    name, content, said = FOUND[number]
    sized = READERS[name].pack if name.endswith(".bin") else bytes
    with pytest.raises(ValueError, match=said), quiet():
        READERS[name].read(tmp_path, sized(content()))


DAMAGED_LOGS = (
    b"", b"[]", b'{"step": 2}', b'{"step": 2, "seconds": "x"}', b'{"step": 2, "bits": []}',
    b'{"step": 2, "loss": 1%s}' % (b"0" * 400), b'{"step": 1, "loss": 1.7e308}',
    b'{"step": 1, "loss": -1e308}\n{"step": 2, "bits": 1e308, "stderr": 1e308}',
)  # fmt: skip


@pytest.mark.parametrize("content", DAMAGED_LOGS)
def test_damaged_rows_of_a_log_are_left_out(content, tmp_path):
    with quiet():
        READERS["log"].read(tmp_path, content + b"\n")


@pytest.mark.parametrize("size", [1e-90, 1.0, 1e90])
def test_values_of_an_evaluation_may_have_any_size(size, tmp_path):
    draws = np.random.default_rng(0).normal(10, 1, (2, 8)) * size
    draws = npy(draws)
    with quiet():
        READERS["steady"].read(tmp_path, members(steady=draws, replicates=draws))


BOMBS = {
    "text_xz": b" ", "jsonl_gz": b" ", "idx_gz": b"\0", "table_xz": b",\n", "fasta_gz": b"\n",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_of_a_large_content_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "UNPACKED", 1 << 16)
    one = READERS[name]
    content = one.seeds()[0] + BOMBS[name] * (1 << 20)
    with pytest.raises(ValueError, match="more than 100 times what it is packed"), quiet():
        one.read(tmp_path, one.pack(content))


def test_so_is_such_an_array(tmp_path):
    content = with_labels(npy(np.zeros((1, 1 << 25), "u1")))
    with pytest.raises(ValueError, match=r"in.npz: data is more than 100 times .* packed"):
        READERS["npz_data"].read(tmp_path, content)


def test_a_record_longer_than_any_protein_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fasta_source, "LONGEST_RECORD", 1000)
    for content in (b"\n" * 1001, b"A" * 1001, b"AAAAA\n" * 170):
        with pytest.raises(ValueError, match="line 4: record 'b' has more than 1,000 letters"):
            READERS["fill_proteins"].read(tmp_path, b">a\nX\n\n>b\n" + content)


def test_a_sentence_that_quotes_a_file_is_short(tmp_path, capsys):
    source = put(tmp_path / "in.jsonl", b'{"%s": "x"}\n' % (b"text" * 5000))
    assert guarded(["prepare", "text", str(source), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "the field 'text' is missing" in said and "--skip-bad" in said and len(said) < 1100


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_many_damaged_files_are(name):
    """In a process of their own, whose memory and time are limited."""
    command = [sys.executable, __file__, name, "1", "0", str(counts(3000)[name])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]


def main(name: str, seed: int, first: int, count: int, seconds: float = math.inf) -> int:
    """Inputs for a reader: 1 if one of them is neither read nor refused in a sentence."""
    import faulthandler
    import resource

    def taken() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10

    warnings.simplefilter("error")
    READERS[name].seeds()
    found, until = 0, time.monotonic() + seconds
    for number in range(first, first + count):
        print(f"{name} {seed} {number}: ", end="", flush=True)
        content, before = made(name, seed, number), taken()
        print(f"{len(content)} bytes", flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        said = wrong(name, content)
        faulthandler.cancel_dump_traceback_later()
        if taken() - before > MEMORY:
            said = f"{(taken() - before) >> 20} MB of memory\n{said}"
        if said:
            print(f"WRONG {name} {seed} {number}: {content[:300]!r}\n{said}", flush=True)
            found = 1
        if time.monotonic() > until:
            break
    SHELF.cleanup()
    print(THROUGH)
    return found


THROUGH = "all were tried"  # what a process says last that no input has ended


def hunt(name: str, minutes: float) -> int:
    """Inputs for a reader until the minutes are over, of a seed of its own; 1 if one is WRONG.

    A process takes a thousand of them; where one ends it, the next goes on behind that one.
    """
    seed, tried, bad = str(secrets.randbits(32)), 0, []
    began = time.monotonic()
    while (left := 60 * minutes - (time.monotonic() - began)) > 0:
        command = [sys.executable, __file__, name, seed, str(tried), "1000", str(left)]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace")
        numbers = re.findall(rf"^{re.escape(name)} {seed} (\d+): ", done.stdout, re.M)
        if not numbers:
            raise RuntimeError(f"{name} takes no input: {done.stderr[-2000:]}")
        bad += re.findall(rf"^WRONG {re.escape(name)} {seed} (\d+): ", done.stdout, re.M)
        bad += [] if done.stdout.endswith(THROUGH + "\n") else numbers[-1:]
        tried = int(numbers[-1]) + 1
    seconds = time.monotonic() - began
    said = f"{name}: seed {seed}, {tried:,} inputs in {seconds:.0f} s, {len(bad)} findings"
    print(said, *(f"  {shlex.join([*command[:4], n, '1'])}" for n in bad), sep="\n", flush=True)
    return int(bool(bad))


if __name__ == "__main__":
    if sys.argv[1] == "hunt":  # MINUTES [READER]
        names = [name for name in sys.argv[3:] if name] or list(READERS)
        if not {*names} <= {*READERS}:
            sys.exit(f"there is no reader {names[0]}, only {', '.join(READERS)}")
        sys.exit(max([hunt(name, float(sys.argv[2])) for name in names]))
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:5]), *map(float, sys.argv[5:6])))
