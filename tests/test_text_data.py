"""Text and ready ids: preparation, tokenizers, the reader."""

import gzip
import hashlib
import json
import lzma
import random
from importlib.resources import files

import numpy as np
import pytest
import torch
from PIL import Image

from unmask.data import (
    Characters,
    Ids,
    Subwords,
    load_tokenizer,
    make_tokenizer,
    open_data,
    prepare_images,
    prepare_proteins,
    prepare_text,
)
from unmask.kinds import sources
from unmask.kinds.sequences import count_crops, place_crops
from unmask.kinds.sources import list_files
from unmask.kinds.text import prepare as text
from unmask.kinds.text import sources as text_sources

SHAKESPEARE = files("unmask.kinds.text") / "bundled" / "tinyshakespeare.txt"
AWKWARD = " leading, 漢字。\n\nnaïve 🙂🙂\r\n\tdon't we'll  \n \n'' x\u00a0\n\u2003y é\x00 ends  "


@pytest.fixture(scope="module")
def bpe():
    """A byte-level BPE of GPT-2's kind, trained here: 400 entries."""
    import tokenizers

    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Runs of blanks are in it so that it has merges of them: where these may be cut is the delicate
    # question.
    blanks = "x \n  y\n\n z\t\n\n\n w  \n" * 1000
    model.train_from_iterator([SHAKESPEARE.read_text(encoding="utf-8")[:100_000], blanks], trainer)
    assert any(len(token) > 1 and set(token) <= set("ĠĊĉ") for token in model.get_vocab())
    return model


@pytest.fixture
def bpe_file(bpe, tmp_path):
    bpe.save(str(tmp_path / "bpe.json"))
    return tmp_path / "bpe.json"


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_jsonl(path, texts, field="text"):
    return write(path, "".join(json.dumps({"id": 1, field: text}) + "\n" for text in texts))


def everything(folder):
    data = open_data(folder)
    return np.concatenate([data.tokens(split) for split in data.splits])


def prepare_apart(tmp_path, sizes, split="1,0,0", name="out"):
    """Documents kept apart, of which each has its own letter."""
    source = write_jsonl(
        tmp_path / f"{name}.jsonl", [chr(97 + i % 26) * size for i, size in enumerate(sizes)]
    )
    prepare_text(source, tmp_path / name, split=split)
    return open_data(tmp_path / name)


# Tokenizers


def test_round_trips_of_any_text(bpe_file):
    for tokenizer in (
        make_tokenizer("bytes"),
        make_tokenizer("characters", "".join(sorted(set(AWKWARD)))),
    ):
        assert tokenizer.decode(tokenizer.encode(AWKWARD)) == AWKWARD
    subwords = make_tokenizer(str(bpe_file))
    assert subwords.decode(subwords.encode(AWKWARD)) == AWKWARD
    assert subwords.decode(subwords.encode("a<|endoftext|>b")) == "a<|endoftext|>b"
    assert subwords.encode("").shape == (0,)


def test_bytes_are_utf8_and_bad_ones_are_replaced():
    tokenizer = make_tokenizer("bytes")
    assert tokenizer.encode("é").tolist() == [0xC3, 0xA9]
    assert tokenizer.decode([0x61, 0xC3]) == "a\ufffd"
    with pytest.raises(ValueError, match="id 256 at offset 1"):
        tokenizer.decode([0, 256])


def test_characters_follow_the_order_of_the_alphabet():
    assert Characters("zaé").encode("aéz").tolist() == [1, 2, 0]
    text8 = make_tokenizer("characters", "text8")
    assert text8.vocab_size == 27 and text8.encode(" az").tolist() == [0, 1, 26]
    with pytest.raises(ValueError, match=r"'X' at offset 2 .*alphabet"):
        text8.encode("abXc")
    # above the highest code point of the table
    with pytest.raises(ValueError, match="'🙂' at offset 1"):
        text8.encode("a🙂")
    with pytest.raises(ValueError, match="'a' more than once"):
        Characters("aba")
    with pytest.raises(ValueError, match="0 characters"):
        Characters("")


def test_gpt2_folder_builds_the_same_tokenizer_as_the_json(bpe, bpe_file, tmp_path):
    bpe.model.save(str(tmp_path))
    (tmp_path / "vocab.json").rename(tmp_path / "encoder.json")
    with pytest.raises(ValueError, match=r"vocab\.bpe is missing"):
        make_tokenizer(str(tmp_path))
    (tmp_path / "merges.txt").rename(tmp_path / "vocab.bpe")
    gpt2, same = make_tokenizer(str(tmp_path)), make_tokenizer(str(bpe_file))
    assert gpt2.vocab_size == 400 and gpt2.eot == same.eot == 0
    assert gpt2.encode(AWKWARD).tolist() == same.encode(AWKWARD).tolist()
    assert gpt2.decode(gpt2.encode(AWKWARD)) == AWKWARD
    assert gpt2.cuttable


def test_tokenizers_are_rebuilt_from_spec_and_files(bpe_file, tmp_path):
    for tokenizer in (
        make_tokenizer("bytes"),
        Characters("abc"),
        Ids(7),
        Subwords(bpe_file.read_text(encoding="utf-8"), eot="e"),
    ):
        spec = json.loads(json.dumps(tokenizer.spec()))
        for name, content in tokenizer.files().items():
            (tmp_path / name).write_bytes(content)
        again = load_tokenizer(spec, tmp_path)
        assert type(again) is type(tokenizer) and again.spec() == tokenizer.spec()
        assert (again.vocab_size, again.eot) == (tokenizer.vocab_size, tokenizer.eot)
    with pytest.raises(ValueError, match="expected 9"):
        load_tokenizer({**spec, "vocab_size": 9}, tmp_path)


def test_subwords_add_and_drop_nothing(bpe):
    """Published files have truncation, padding and a template; none of them belongs in training
    data."""
    import tokenizers

    model = tokenizers.Tokenizer.from_str(bpe.to_str())
    model.enable_truncation(5)
    model.enable_padding(length=50)
    model.post_processor = tokenizers.processors.TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    assert Subwords(model.to_str()).encode(AWKWARD).tolist() == bpe.encode(AWKWARD).ids


def test_subwords_know_their_end_of_text(bpe):
    assert Subwords(bpe.to_str(), eot=5).eot == 5
    with pytest.raises(ValueError, match="'<none>' is not in the vocabulary"):
        Subwords(bpe.to_str(), eot="<none>")
    with pytest.raises(ValueError, match="eot 400 is outside"):
        Subwords(bpe.to_str(), eot=400)
    assert Subwords(bpe.to_str().replace("<|endoftext|>", "<|nothing|>")).eot is None


def test_vocabularies_with_gaps_count_to_the_highest_id(bpe):
    content = json.loads(bpe.to_str())
    content["model"]["vocab"]["zz"] = 500
    assert Subwords(json.dumps(content)).vocab_size == 501


def test_ids_without_a_tokenizer_say_so():
    assert Ids(5).decode([3, 0]) == "3 0"
    for use in (Ids(5).encode,):
        with pytest.raises(ValueError, match="without a tokenizer"):
            use("x")


@pytest.mark.parametrize(
    "name, alphabet, message",
    [
        ("word", None, "tokenizer 'word': give 'bytes'"),
        ("characters", None, "needs an alphabet"),
        ("bytes", "abc", "leave one of them out"),
    ],
)
def test_bad_tokenizer_names(name, alphabet, message):
    with pytest.raises(ValueError, match=message):
        make_tokenizer(name, alphabet)


def test_a_file_that_is_no_tokenizer_is_named(tmp_path):
    for content in ("not json", '{"a": 1}', b"\xff\xfe"):
        path = write(tmp_path / "t.json", content)
        with pytest.raises(ValueError, match=r"t\.json") as error:
            make_tokenizer(str(path))
        assert "\n" not in str(error.value)


# Streaming


def test_pieces_get_the_ids_of_the_whole_text(bpe, monkeypatch):
    monkeypatch.setattr(text_sources, "PIECE", 2)
    tokenizer = Subwords(bpe.to_str())
    assert tokenizer.cuttable
    parts = [
        "a",
        "ll",
        "'s",
        "'",
        " ",
        "  ",
        "\n",
        "\n\n",
        "\t",
        "\r\n",
        "12",
        "?!",
        "漢",
        "\u00a0",
        "\x1c",
        "<|endoftext|>",
    ]
    draw = random.Random(0)
    cuts = 0
    for _ in range(2000):
        whole = "".join(draw.choices(parts, k=draw.randint(1, 20)))
        pieces = list(text_sources.cut_safely(iter([whole[:5], whole[5:9], whole[9:]])))
        assert "".join(pieces) == whole
        cuts += len(pieces) - 1
        assert np.concatenate(tokenizer.encode_batch(pieces)).tolist() == bpe.encode(whole).ids, (
            whole
        )
    assert cuts > 2000


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "Lowercase"}},
        {
            "pre_tokenizer": {
                "type": "ByteLevel",
                "add_prefix_space": True,
                "trim_offsets": True,
                "use_regex": True,
            }
        },
        {"pre_tokenizer": None},
    ],
)
def test_tokenizers_that_may_see_across_blanks_get_whole_texts(bpe, change, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "BLOCK", 8)
    monkeypatch.setattr(text_sources, "PIECE", 2)
    tokenizer = Subwords(json.dumps(json.loads(bpe.to_str()) | change))
    assert not tokenizer.cuttable
    prepare_text(
        write(tmp_path / "a.txt", AWKWARD), tmp_path / "out", tokenizer=tokenizer, split="1,0,0"
    )
    assert everything(tmp_path / "out").tolist() == [*tokenizer.encode(AWKWARD), 0]


@pytest.mark.parametrize("block", [1, 3, 64, 1 << 20])
def test_blocks_of_any_size_give_the_same_data(block, bpe, monkeypatch, tmp_path):
    content = AWKWARD * 3 + SHAKESPEARE.read_text(encoding="utf-8")[:1000] + AWKWARD
    monkeypatch.setattr(sources, "BLOCK", block)
    monkeypatch.setattr(text_sources, "PIECE", 5)
    monkeypatch.setattr(text, "BATCH", 50)
    source = write(tmp_path / "a.txt", content)
    lines = write_jsonl(tmp_path / "a.jsonl", [content, "x", content])
    tokenizer = Subwords(bpe.to_str())
    whole = tokenizer.encode(content).tolist()
    for name, kind, path, expected in [
        ("b", "bytes", source, list(content.encode())),
        ("c", "characters", source, [sorted(set(content)).index(c) for c in content]),
        ("s", tokenizer, source, [*whole, 0]),
        ("j", tokenizer, lines, [*whole, 0, *tokenizer.encode("x"), 0, *whole, 0]),
    ]:
        prepare_text(path, tmp_path / name, tokenizer=kind, split="1,0,0")
        assert everything(tmp_path / name).tolist() == expected, name
    ids = np.arange(1000) * 60
    source = write(tmp_path / "ids.bin", ids.astype("<i4").tobytes())
    prepare_text(
        source, tmp_path / "i", format="ids", dtype="int32", vocab_size=60_000, split="1,0,0"
    )
    assert everything(tmp_path / "i").tolist() == ids.tolist()


@pytest.mark.parametrize("block", [1, 4, 1 << 20])
def test_bad_utf8_is_named_by_its_byte(block, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "BLOCK", block)
    for content, at in ((b"abc \xc3\xa9 \xff def", 7), (b"ends in half a \xe6\xbc", 15)):
        source = write(tmp_path / "a.txt", content)
        with pytest.raises(ValueError, match=rf"a\.txt is not UTF-8 at byte {at}:"):
            prepare_text(source, tmp_path / "out", tokenizer="characters")
        prepare_text(source, tmp_path / f"bytes{at}", split="1,0,0")
        assert everything(tmp_path / f"bytes{at}").tobytes() == content


# What is written


def test_bundled_text_by_characters(tmp_path):
    meta = prepare_text(str(SHAKESPEARE), tmp_path / "new" / "out", tokenizer="characters")
    content = SHAKESPEARE.read_bytes()
    assert meta["vocab_size"] == 65 and meta["dtype"] == "uint8" and meta["documents"] == "single"
    assert meta["tokens"] == {"train": 1_003_855, "validation": 55_769, "test": 55_770}
    assert meta["source"] == [
        {
            "name": "tinyshakespeare.txt",
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    ]
    data = open_data(tmp_path / "new" / "out")
    assert (
        data.meta == meta
        and data.splits == ("train", "validation", "test")
        and data.vocab_size == 65
    )
    assert (
        "".join(data.tokenizer.decode(data.tokens(split)) for split in data.splits)
        == content.decode()
    )
    for name, checksum in meta["sha256"].items():
        assert hashlib.sha256((data.folder / name).read_bytes()).hexdigest() == checksum
    assert len(meta["sha256"]) == 3


def test_preparation_is_deterministic(tmp_path, bpe_file):
    source = write_jsonl(tmp_path / "a.jsonl", ["one", "two words", "three"] * 50)
    for name in ("first", "second"):
        prepare_text(source, tmp_path / name, tokenizer=str(bpe_file))
    first, second = (
        {p.name: p.read_bytes() for p in (tmp_path / name).iterdir()}
        for name in ("first", "second")
    )
    assert first == second and "tokenizer.json" in first
    assert str(tmp_path).encode() not in first["meta.json"]


@pytest.mark.parametrize(
    "size, kind", [(256, "uint8"), (257, "uint16"), (65_536, "uint16"), (65_537, "uint32")]
)
def test_smallest_type(size, kind, tmp_path):
    ids = np.array([0, size - 1, 1], "<u4")
    source = write(tmp_path / "a.bin", ids.tobytes())
    meta = prepare_text(
        source, tmp_path / "out", format="ids", dtype="uint32", vocab_size=size, split="1,0,0"
    )
    assert meta["dtype"] == kind and everything(tmp_path / "out").tolist() == ids.tolist()


def test_compressed_files_give_the_same_tokens(tmp_path):
    content = AWKWARD.encode() * 100
    write(tmp_path / "a.txt", content)
    write(tmp_path / "a.txt.gz", gzip.compress(content, mtime=0))
    write(tmp_path / "a.xz", lzma.compress(content))
    for i, name in enumerate(("a.txt", "a.txt.gz", "a.xz")):
        prepare_text(tmp_path / name, tmp_path / str(i), split="1,0,0")
        assert everything(tmp_path / str(i)).tobytes() == content
    lines = json.dumps({"text": "ab"}).encode()
    prepare_text(
        write(tmp_path / "d.jsonl.gz", gzip.compress(lines, mtime=0)), tmp_path / "d", split="1,0,0"
    )
    assert everything(tmp_path / "d").tobytes() == b"ab"


def test_a_folder_is_sorted_documents(tmp_path, bpe_file):
    folder = tmp_path / "texts"
    (folder / "sub").mkdir(parents=True)
    (folder / ".hidden").mkdir()
    write(folder / "b.txt", "bb")
    write(folder / "a.jsonl", '{"text": "1"}\n\n{"text": ""}\n{"text": "22"}')
    write(folder / "sub" / "c", "ccc")
    write(folder / "empty.txt", "")
    write(folder / ".hidden" / "x.txt", "no")
    write(folder / ".no.txt", "no")
    meta = prepare_text(folder, tmp_path / "apart", split="1,0,0")
    assert meta["documents"] == "apart" and meta["eot"] is None
    assert everything(tmp_path / "apart").tobytes() == b"122bbccc"
    assert np.fromfile(tmp_path / "apart" / "train.documents.bin", "<i8").tolist() == [0, 1, 3, 5]
    assert meta["document_count"] == {"train": 4, "validation": 0, "test": 0}
    assert meta["source"][0]["name"] == "texts" and meta["source"][0]["files"] == 4
    meta = prepare_text(folder, tmp_path / "joined", tokenizer=str(bpe_file), split="1,0,0")
    assert (
        meta["documents"] == "joined" and meta["eot"] == 0 and meta["document_count"]["train"] == 4
    )
    data = open_data(tmp_path / "joined")
    assert data.tokenizer.decode(data.tokens("train")) == "".join(
        t + "<|endoftext|>" for t in ("1", "22", "bb", "ccc")
    )


def test_ready_ids_are_taken_as_they_are(tmp_path, bpe_file):
    source = write(tmp_path / "a.bin", np.array([5, 0, 6, 7], "<u2").tobytes())
    meta = prepare_text(
        source, tmp_path / "out", format="ids", tokenizer=str(bpe_file), split="0,0,1"
    )
    data = open_data(tmp_path / "out")
    assert data.tokens("test").tolist() == [5, 0, 6, 7] and data.splits == ("test",)
    assert meta["eot"] == 0 and data.tokenizer.vocab_size == 400
    with pytest.raises(
        ValueError, match=r"a\.bin: id 7 at offset 3 is outside the vocabulary of 7"
    ):
        prepare_text(source, tmp_path / "no", format="ids", vocab_size=7)
    with pytest.raises(ValueError, match="id -1 at offset 1"):
        source = write(tmp_path / "b.bin", np.array([5, -1], "<i4").tobytes())
        prepare_text(source, tmp_path / "no", format="ids", dtype="int32", vocab_size=7)
    with pytest.raises(ValueError, match="no whole number of int32 ids"):
        prepare_text(
            write(tmp_path / "c.bin", b"\1\0\0\0\2\0"), tmp_path / "no", format="ids", dtype="int32"
        )


# Splits


def spans(split, total=100):
    return [
        high - low
        for low, high in text.cut_points(
            text.parse_split(split), np.array([0, total]), False
        ).values()
    ]


def test_splits_by_fractions_and_counts():
    assert spans("0.9,0.05,0.05") == [90, 5, 5]
    assert (
        spans("1,0,0") == [100, 0, 0]
        and spans("0,0,1") == [0, 0, 100]
        and spans("0.5, 0.5, 0") == [50, 50, 0]
    )
    assert spans("70,20,5") == [70, 20, 5]  # counts may leave some tokens out
    assert (
        spans("-1,20,5") == [75, 20, 5]
        and spans("10,-1,5") == [10, 85, 5]
        and spans("2,-1,0") == [2, 98, 0]
    )
    with pytest.raises(ValueError, match="the train split, -1 of 100 tokens, comes out empty"):
        spans("-1,50,50")
    assert spans("0.3333333,0.3333333,0.3333334", 7) == [2, 3, 2]


@pytest.mark.parametrize(
    "split", ["0.9,0.1", "0.9,0.05,0.06", "a,b,c", "-1,-1,5", "0,0,0", "-2,5,5", "nan,0,1", ""]
)
def test_bad_splits(split, tmp_path):
    with pytest.raises(ValueError, match="three fractions that sum to 1"):
        prepare_text(str(SHAKESPEARE), tmp_path / "out", split=split)


def test_splits_that_do_not_fit(tmp_path):
    source = write(tmp_path / "a.txt", "0123456789")
    with pytest.raises(ValueError, match="asks for 12 tokens and the source has 10"):
        prepare_text(source, tmp_path / "out", split="8,2,2")
    with pytest.raises(
        ValueError, match=r"the validation split, 0\.01 of 10 tokens, comes out empty"
    ):
        prepare_text(source, tmp_path / "out", split="0.98,0.01,0.01")
    with pytest.raises(
        ValueError, match="the (validation|test) split, .* of 6 tokens, comes out empty"
    ):
        prepare_text(
            write_jsonl(tmp_path / "a.jsonl", ["one", "two"]), tmp_path / "out", split="0.5,0.4,0.1"
        )
    assert not (tmp_path / "out").exists()


def test_contiguous_in_order(tmp_path):
    prepare_text(write(tmp_path / "a.txt", "0123456789"), tmp_path / "out", split="5,3,1")
    data = open_data(tmp_path / "out")
    assert [data.tokens(split).tobytes() for split in data.splits] == [b"01234", b"567", b"8"]


def test_documents_apart_are_cut_at_the_nearest_edge(tmp_path):
    # cuts at 10 and 15; edges at 11 and 16
    data = prepare_apart(tmp_path, [6, 5, 5, 4], split="0.5,0.25,0.25")
    assert [data.tokens(split).tobytes() for split in data.splits] == [
        b"a" * 6 + b"b" * 5,
        b"c" * 5,
        b"d" * 4,
    ]
    assert data.meta["document_count"] == {"train": 2, "validation": 1, "test": 1}
    assert np.fromfile(data.folder / "validation.documents.bin", "<i8").tolist() == [0]


def test_separate_files(tmp_path):
    paths = [write(tmp_path / f"{name}.txt", name * 10) for name in ("train", "val", "test")]
    prepare_text(
        paths[0], tmp_path / "out", tokenizer="characters", validation=paths[1], test=str(paths[2])
    )
    data = open_data(tmp_path / "out")
    assert data.meta["tokenizer"]["alphabet"] == "".join(
        sorted(set("train val test".replace(" ", "")))
    )
    assert [data.tokenizer.decode(data.tokens(s)) for s in data.splits] == [
        "train" * 10,
        "val" * 10,
        "test" * 10,
    ]
    assert data.meta["split"] == "files" and [s["name"] for s in data.meta["source"]] == [
        p.name for p in paths
    ]
    meta = prepare_text(paths[0], tmp_path / "two", test=paths[2])
    assert meta["tokens"] == {"train": 50, "validation": 0, "test": 40}


# Errors, and nothing left behind


@pytest.mark.parametrize(
    "name, content, options, message",
    [
        ("a.txt", "", {}, r"a\.txt is empty"),
        ("a.txt", "", {"tokenizer": "characters"}, r"a\.txt is empty"),
        (
            "a.txt.gz",
            gzip.compress(b"hello" * 99, mtime=0)[:-9],
            {},
            r"a\.txt\.gz is truncated or damaged",
        ),
        ("a.gz", b"plain text", {}, r"a\.gz is truncated or damaged"),
        ("a.xz", lzma.compress(b"hello" * 99)[:-9], {}, r"a\.xz is truncated or damaged"),
        (
            "a.jsonl",
            '{"text": "x"}\n{"body": "x", "n": 1}',
            {},
            r"line 2: the field 'text' is missing.*'body', 'n'",
        ),
        ("a.jsonl", '{"text": 5}', {}, "line 1: the field 'text' is not a string"),
        ("a.jsonl", '{"text": "x"}\n\n{"text": ', {}, "line 3 is not JSON"),
        ("a.jsonl", b'{"text": "\xff"}', {}, "line 1 is not JSON"),
        ("a.jsonl", "[1]", {}, "line 1 is not a JSON object"),
        ("a.jsonl", '{"text": "\\ud800"}', {}, "line 1: half a surrogate pair"),
        (
            "a.txt",
            "abc\nd",
            {"tokenizer": "characters", "alphabet": "text8"},
            r"'\\n' at offset 3 of .*a\.txt",
        ),
        (
            "a.jsonl",
            '{"text": "aX"}',
            {"tokenizer": "characters", "alphabet": "text8"},
            "'X' at offset 1 of .* line 1",
        ),
        ("a.txt", "abc", {"format": "csv"}, "format 'csv' is not one of"),
        ("a.txt", "abc", {"dtype": "float32"}, "dtype 'float32' is not one of"),
        ("a.txt", "abc", {"vocab_size": 5}, "vocab_size 5 is for format 'ids'"),
        ("a.txt", "abc", {"validation": "missing.txt"}, r"missing\.txt does not exist"),
    ],
)
def test_errors_name_the_problem_and_leave_nothing(name, content, options, message, tmp_path):
    source = write(tmp_path / name, content)
    with pytest.raises(ValueError, match=message) as error:
        prepare_text(source, tmp_path / "out", **options)
    assert "\n" not in str(error.value)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_offsets_outside_the_alphabet_count_from_the_start_of_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "BLOCK", 4)
    with pytest.raises(ValueError, match="'é' at offset 10"):
        prepare_text(
            write(tmp_path / "a.txt", "abcdefghijé"),
            tmp_path / "out",
            tokenizer="characters",
            alphabet="text8",
        )


def test_offsets_outside_the_vocabulary_count_from_the_start_of_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "BLOCK", 4)
    with pytest.raises(ValueError, match="id 9 at offset 6"):
        prepare_text(
            write(tmp_path / "a", b"\0" * 6 + b"\x09"),
            tmp_path / "out",
            format="ids",
            dtype="uint8",
            vocab_size=9,
        )


def test_missing_and_empty_folders(tmp_path):
    (tmp_path / "empty").mkdir()
    for name, message in (("none", "none does not exist"), ("empty", "empty is an empty folder")):
        with pytest.raises(ValueError, match=message):
            prepare_text(tmp_path / name, tmp_path / "out")


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_an_interruption_leaves_nothing(error, monkeypatch, tmp_path):
    source = write(tmp_path / "a.txt", "abc" * 100)

    def fail(*_):
        # it is in the midst of writing
        assert any(".new-" in path.name for path in tmp_path.iterdir())
        raise error

    monkeypatch.setattr("unmask.kinds.folder.digest", fail)
    (tmp_path / "out").mkdir()
    with pytest.raises(error):
        prepare_text(source, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "out"] and not any(
        (tmp_path / "out").iterdir()
    )


def test_an_existing_folder_is_not_overwritten(tmp_path):
    source = write(tmp_path / "a.txt", "abc" * 100)
    (tmp_path / "out").mkdir()
    prepare_text(source, tmp_path / "out")  # an empty one does
    before = (tmp_path / "out" / "train.bin").read_bytes()
    for out in (tmp_path / "out", source):
        with pytest.raises(ValueError, match="exists already"):
            prepare_text(source, out, split="1,0,0")
    assert (tmp_path / "out" / "train.bin").read_bytes() == before


# The reader


def test_damaged_folders_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"meta\.json is missing"):
        open_data(tmp_path)
    data = prepare_apart(tmp_path, [5, 5, 5])
    path = data.folder / "meta.json"
    meta = path.read_text(encoding="utf-8")
    for bad, message in (
        ("{", "is not JSON"),
        ("[]", "format None"),
        (json.dumps(data.meta | {"format": 99}), "format 99 of kind 'text', expected 1"),
        (
            json.dumps(data.meta | {"kind": "sounds"}),
            "kind 'sounds', expected 1 of kind 'text' or 'images'",
        ),
        (json.dumps(data.meta | {"kind": ["text"]}), r"kind \['text'\], expected 1 of kind 'text'"),
        (json.dumps({k: v for k, v in data.meta.items() if k != "dtype"}), "has no 'dtype'"),
    ):
        path.write_text(bad)
        with pytest.raises(ValueError, match=message):
            open_data(data.folder)
    path.write_text(meta)
    for name, size in (("train.bin", 15), ("train.documents.bin", 24)):
        content = (data.folder / name).read_bytes()
        (data.folder / name).write_bytes(content[:-1])
        with pytest.raises(
            ValueError, match=rf"{name} has {size - 1} bytes, expected {size} bytes"
        ):
            open_data(data.folder)
        (data.folder / name).unlink()
        with pytest.raises(ValueError, match=rf"{name} is missing, expected {size} bytes"):
            open_data(data.folder)
        (data.folder / name).write_bytes(content)
    (data.folder / "train.documents.bin").write_bytes(np.array([0, 9, 5], "<i8").tobytes())
    with pytest.raises(ValueError, match=r"train\.documents\.bin .* is damaged"):
        open_data(data.folder).batch("train", 2, 1, 0, 0)


@pytest.fixture
def counting(tmp_path):
    """A stream in which each token is its own offset: 1000 for training, 103 for validation, none
    for test."""
    source = write(
        tmp_path / "a.bin", np.r_[np.arange(1000), np.arange(103)].astype("<u2").tobytes()
    )
    prepare_text(source, tmp_path / "counting", format="ids", vocab_size=1000, split="1000,103,0")
    return open_data(tmp_path / "counting")


def test_batches_are_pure_functions_of_their_arguments(counting):
    first = counting.batch("train", 8, 16, seed=1, step=2, micro=3)["x"]
    counting.batch("train", 9, 16, 5, 5)
    again = open_data(counting.folder).batch("train", 8, 16, seed=1, step=2, micro=3)["x"]
    assert first.dtype == torch.int64 and first.shape == (16, 8) and torch.equal(first, again)
    for other in ((0, 2, 3), (1, 1, 3), (1, 2, 0), (2, 1, 3), (3, 2, 1), (-1, 2, 3)):
        assert not torch.equal(first, counting.batch("train", 8, 16, *other)["x"])
    first += 1  # a copy: writable, and the file stays as it was
    assert counting.tokens("train").tolist() == list(range(1000))


@pytest.mark.parametrize("length", [1, 2, 4, 7, 100])
def test_the_crops_of_sequences_hold_every_token_equally_often(length):
    """Counted over all crops that can be drawn; as in scoring, where each is in one window."""
    sizes = np.array([6, 2, 4, 8, 1, 350, 7, 5, 100, 101])
    counts = count_crops(sizes, length)
    for size, count in zip(sizes, counts, strict=True):
        first, kept = place_crops(np.full(count, size), length, np.arange(count))
        assert (
            (first >= 0).all()
            and (kept >= 1).all()
            and (kept <= length).all()
            and (first + kept <= size).all()
        )
        seen = np.zeros(size, int)
        for start, n in zip(first, kept, strict=True):
            seen[start : start + n] += 1
        assert (seen == length).all(), size
    windows = -(-sizes // length)  # and so about as many crops of a document as it has windows
    assert (abs(counts / length - windows) <= 1).all() and (counts[sizes <= length] == length).all()


def test_batches_are_consecutive_tokens_from_uniform_starts(counting):
    """103 tokens in crops of 100: at either end of the split the crops are cut off, and padded."""
    out = counting.batch("validation", 100, 4000, 0, 0)
    x, valid = out["x"].numpy(), out["valid"].numpy()
    assert (
        all((np.diff(row[real]) == 1).all() for row, real in zip(x, valid, strict=True))
        and not x[~valid].any()
    )
    starts = np.where(x[:, 0] > 0, x[:, 0], valid.sum(1) - 100)  # where the whole crop would begin
    counts = np.bincount(starts + 99, minlength=202)
    assert len(counts) == 202 and (abs(counts - 4000 / 202) < 6 * np.sqrt(4000 / 202)).all()
    seen = np.bincount(x[valid], minlength=103)
    assert (abs(seen / seen.mean() - 1) < 6 / np.sqrt(seen.mean())).all()
    assert counting.batch("validation", 103, 2, 0, 0)["x"].tolist() == [list(range(103))] * 2
    assert set(counting.batch("train", 8, 16, 0, 0)) == {"x"}  # no end of the split is in it


def test_batches_of_apart_documents(tmp_path):
    """Letters a (6 tokens: 9 crops of 4), b (2: one, four times), c (4: one), d (8: 11): never
    across documents."""
    data = prepare_apart(tmp_path, [6, 2, 4, 8])
    out = data.batch("train", 4, 5000, 0, 0)
    x, valid = out["x"].numpy(), out["valid"].numpy()
    assert valid.dtype == bool and valid.shape == x.shape
    assert (x[~valid] == 0).all() and (x[valid] > 0).all()
    short = x[:, 0] == ord("b")
    assert (valid[short] == [True, True, False, False]).all() and valid[x[:, 0] == ord("c")].all()
    assert all(len(set(row[mask])) == 1 for row, mask in zip(x, valid, strict=True))
    for letter, crops in zip("abcd", (9, 4, 4, 11), strict=True):
        share = crops / 28
        assert abs((x[:, 0] == ord(letter)).mean() - share) < 5 * np.sqrt(
            share * (1 - share) / 5000
        )
    for step in range(20):  # there or not by the split, not by what is drawn
        assert "valid" in data.batch("train", 4, 1, 0, step)


def test_every_token_of_documents_kept_apart_is_trained_on_as_often_as_it_is_scored(tmp_path):
    """1,000 documents of 20 tokens beside 10 of 2,000: half of what is scored, and of what is
    trained on; and their ends, too."""
    sizes = [20] * 1000 + [2000] * 10
    folder = tmp_path / "texts"
    folder.mkdir()
    for i, size in enumerate(sizes):
        write(
            folder / f"{i:04}",
            bytes(
                ([1] if size == 20 else [2])
                + [3 if size == 20 else 4] * (size - 2)
                + [5 if size == 20 else 6]
            ),
        )
    prepare_text(folder, tmp_path / "out", split="1,0,0")
    data = open_data(tmp_path / "out")
    seen, count = np.zeros(7), 400
    for step in range(count):
        out = data.batch("train", 32, 64, 0, step)
        seen += np.bincount(out["x"][out["valid"]].numpy(), minlength=7)
    there = np.bincount(np.asarray(data.tokens("train")), minlength=7)
    rate = seen[1:] / there[1:] / (seen.sum() / there.sum())
    # how often each token is drawn on average
    windows = count * 64 / data.window_count("train", 32)
    assert (
        abs(rate - 1) < 6 / np.sqrt(windows * np.array([1000, 10, 1000, 10 * 63, 1000, 10]))
    ).all(), rate


def test_starts_in_apart_documents_are_exact(tmp_path):
    """Two equal documents of distinct tokens: the crops that overlap one are drawn, no others."""
    folder = tmp_path / "texts"
    folder.mkdir()
    write(folder / "a", bytes(range(1, 11)))
    write(folder / "b", bytes(range(100, 107)))
    prepare_text(folder, tmp_path / "out", split="1,0,0")
    out = open_data(tmp_path / "out").batch("train", 4, 2000, 0, 0)
    rows = {tuple(row[real].tolist()) for row, real in zip(out["x"], out["valid"], strict=True)}
    expected = {
        tuple(range(max(s, low), min(s + 4, high)))
        for low, high in ((1, 11), (100, 107))
        for s in range(low - 3, high)
    }
    assert rows == expected


@pytest.mark.parametrize("length, batch_size", [(1, 7), (10, 3), (50, 4), (103, 1), (200, 2)])
def test_windows_cover_every_token_once(counting, length, batch_size):
    batches = list(counting.windows("validation", length, batch_size))
    padded = 103 % length != 0
    assert all(("valid" in batch) == padded for batch in batches)
    x = torch.cat([batch["x"] for batch in batches])
    valid = (
        torch.cat([batch["valid"] for batch in batches])
        if padded
        else torch.ones_like(x, dtype=torch.bool)
    )
    assert x[valid].tolist() == list(range(103)) and (x[~valid] == 0).all()
    assert len(x) == counting.window_count("validation", length) == -(-103 // length)
    assert [len(batch["x"]) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)


def test_windows_of_apart_documents_cover_every_token_once(tmp_path):
    sizes = [6, 2, 4, 8, 1]
    data = prepare_apart(tmp_path, sizes)
    batches = list(data.windows("train", 4, 3))
    x = torch.cat([batch["x"] for batch in batches]).numpy()
    valid = torch.cat([batch["valid"] for batch in batches]).numpy()
    assert x[valid].astype(np.uint8).tobytes() == data.tokens("train").tobytes()
    assert valid.sum(1).tolist() == [4, 2, 2, 4, 4, 4, 1]
    assert all(len(set(row[mask])) == 1 for row, mask in zip(x, valid, strict=True))


def test_limited_windows_are_spread_evenly(counting):
    first = torch.cat([b["x"] for b in counting.windows("train", 10, 4, limit=10)])[:, 0]
    assert first.tolist() == [50, 150, 250, 350, 450, 550, 650, 750, 850, 950]
    for limit in (1, 7, 99, 100, 500):
        starts = torch.cat([b["x"] for b in counting.windows("train", 10, 4, limit=limit)])[:, 0]
        gaps = starts.diff()
        assert len(starts) == min(limit, 100) and (
            len(gaps) == 0 or (gaps.max() - gaps.min() <= 10 and gaps.min() > 0)
        )
    # static: "valid" is there though the one padded window is not among those shown
    assert all("valid" in b for b in counting.windows("validation", 10, 1, limit=1))


def test_reader_errors(counting, tmp_path):
    with pytest.raises(
        ValueError, match="length 104 is more than the 103 tokens of the split 'validation'"
    ):
        counting.batch("validation", 104, 1, 0, 0)
    for use in (
        lambda split: counting.batch(split, 4, 1, 0, 0),
        lambda split: counting.windows(split, 4, 1),
        lambda split: counting.window_count(split, 4),
        counting.tokens,
    ):
        with pytest.raises(ValueError, match="the split 'test' is empty"):
            use("test")
        with pytest.raises(ValueError, match="split 'valid' is not one of train, validation, test"):
            use("valid")
    with pytest.raises(ValueError, match="length 0"):
        counting.batch("train", 0, 1, 0, 0)
    with pytest.raises(ValueError, match="batch_size 4 and limit 0"):
        counting.windows("train", 4, 4, limit=0)


def test_many_small_documents_are_not_slow(tmp_path):
    """A fraction of a second; the limit leaves room for a busy machine, none for quadratic work."""
    import time

    source = write_jsonl(tmp_path / "a.jsonl", ["word " * (i % 7 + 1) for i in range(20_000)])
    started = time.perf_counter()
    prepare_text(source, tmp_path / "out")
    assert time.perf_counter() - started < 5


def test_ids_that_are_wider_than_said_are_refused(tmp_path):
    ids = np.arange(200) % 90 + 3
    for wide, narrow in (("uint32", "uint16"), ("int64", "uint16"), ("int64", "uint32")):
        source = write(tmp_path / "ids.bin", ids.astype(wide).tobytes())
        how = {"format": "ids", "vocab_size": 100, "progress": False}
        with pytest.raises(ValueError, match=f"every second id is 0, as if .* than {narrow}"):
            prepare_text(source, tmp_path / "no", dtype=narrow, **how)
        meta = prepare_text(source, tmp_path / wide / narrow, dtype=wide, split="1,0,0", **how)
        assert meta["tokens"]["train"] == 200


def test_a_text_that_stands_beside_its_packed_copies_is_read_once(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name, written in (("a.txt", b"first" * 40), ("b.txt", b"other" * 40)):
        write(source / name, written)
        (source / f"{name}.gz").write_bytes(gzip.compress(written))
    (source / "a.txt.xz").write_bytes(lzma.compress(b"first" * 40))
    (source / "c.txt.gz").write_bytes(gzip.compress(b"third" * 40))
    (source / "c.txt.xz").write_bytes(lzma.compress(b"third" * 40))
    meta = prepare_text(source, tmp_path / "data", split="1,0,0", progress=False)
    assert meta["tokens"]["train"] == 600 and meta["document_count"]["train"] == 3
    ((reason, found),) = meta["skipped"].items()
    assert reason == "packed, and there unpacked as well"
    assert found == {"count": 4, "first": ["a.txt.gz", "a.txt.xz", "b.txt.gz", "c.txt.xz"]}
    with pytest.raises(ValueError, match="none.txt is empty"):  # of which no copy is to blame
        none = write(tmp_path / "none.txt", b"")
        prepare_text(source, tmp_path / "no", validation=none, progress=False)


def test_a_file_and_a_link_to_it_are_one_document(tmp_path):
    source = tmp_path / "texts"
    source.mkdir()
    (source / "b.txt").write_bytes(b"first" * 40)
    (source / "a.txt").symlink_to(source / "b.txt")
    meta = prepare_text(source, tmp_path / "data", split="1,0,0", progress=False)
    assert meta["document_count"]["train"] == 1 and meta["tokens"]["train"] == 200
    said = {"another name of a file that is read": {"count": 1, "first": ["a.txt"]}}
    assert meta["skipped"] == said
    # what a file is, its name says: as in a cache, whose names are links
    (source / "c.jsonl.gz.v2").write_bytes(gzip.compress(b'{"text": "abcd"}\n'))
    (source / "c.jsonl.gz").symlink_to(source / "c.jsonl.gz.v2")
    meta = prepare_text(source, tmp_path / "more", split="1,0,0", progress=False)
    assert meta["document_count"]["train"] == 2 and meta["tokens"]["train"] == 204
    assert meta["skipped"]["another name of a file that is read"]["first"][1] == "c.jsonl.gz.v2"
    with pytest.raises(ValueError, match="b.txt is empty"):  # of which no link is to blame
        (source / "b.txt").write_bytes(b"")
        prepare_text(source / "b.txt", tmp_path / "no", progress=False)


@pytest.mark.parametrize("name", ["validation", "test"])
@pytest.mark.parametrize("kind", ["text", "proteins", "images"])
def test_nothing_that_is_held_out_is_trained_on(tmp_path, kind, name):
    """A source of its own that lies in the folder of another would be in both."""
    home = tmp_path / "home"
    (home / "held").mkdir(parents=True)
    for path in (home / "a", home / "b", home / "held" / "c"):
        if kind == "images":
            Image.new("L", (4, 4), len(path.name)).save(f"{path}.png")
        else:
            path.write_text("some text" if kind == "text" else f">{path.name}\nMKV{'L' * 30}\n")
    prepare = {"text": prepare_text, "proteins": prepare_proteins, "images": prepare_images}[kind]
    (file,) = (home / "held").iterdir()
    (tmp_path / "link").symlink_to(home / "held")
    files = [] if kind == "images" else [file]  # one picture is no source
    for held in (home / "held", tmp_path / "link", *files):
        said = f"which is for {name}, and in .*home, which is for training: keep them apart"
        with pytest.raises(ValueError, match=said):
            prepare(home, tmp_path / "out", **{name: held}, progress=False)
        with pytest.raises(ValueError, match=f"in .*home, which is for {name}, and in .* apart"):
            prepare(held, tmp_path / "out", **{name: home}, progress=False)
    if kind != "images":
        packed = tmp_path / "home" / "held" / "c.gz"
        packed.write_bytes(gzip.compress(file.read_bytes()))
        with pytest.raises(ValueError, match=f"c.gz, which is for {name}, and in .*home, which"):
            prepare(home, tmp_path / "out", **{name: packed}, progress=False)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out").exists()
    # elsewhere, or the very same source for both, is what was asked for
    (home / "held").rename(tmp_path / "held")
    prepare(home, tmp_path / "out", **{name: tmp_path / "held"}, progress=False)
    prepare(home, tmp_path / "same", **{name: home}, progress=False)


def test_what_is_left_out_of_the_folder_that_one_is_in_is_told(tmp_path, monkeypatch):
    source = tmp_path / "texts"
    source.mkdir()
    monkeypatch.chdir(source)
    (source / "a.parquet").write_bytes(b"PAR1\x15\x04" + bytes(20))
    with pytest.raises(
        ValueError, match=r"but 1 \(a Parquet file\): a.parquet: .*--format parquet"
    ):
        prepare_text(".", tmp_path / "out", progress=False)
    (source / "a.parquet").rename(tmp_path / "a.parquet")
    (source / "a.jsonl").write_text('{"body": "x"}\n')
    for tokenizer in ("bytes", "characters"):
        with pytest.raises(ValueError, match=r"could be read: 1 \(the field 'text' is missing\)"):
            how = {"tokenizer": tokenizer, "skip_bad": True, "progress": False}
            prepare_text(".", tmp_path / "out", **how)


def test_links_of_a_folder_are_followed_once_and_lead_somewhere(tmp_path):
    home, away = tmp_path / "home", tmp_path / "away"
    for folder in (home / "train", home / ".kept", away):
        folder.mkdir(parents=True)
        (folder / f"{folder.name.strip('.')}.txt").write_text("a")
    (home / "more").symlink_to(away)
    (home / "again").symlink_to(away)
    (away / "back").symlink_to(home)
    (away / "below").mkdir()
    (away / "below" / "round").symlink_to(away / "below")
    (away / "below" / "b.txt").write_text("b")
    (home / "up").symlink_to(tmp_path)
    (home / "all").symlink_to(home / "train")  # which is read by its own name
    (home / "hidden").symlink_to(home / ".kept")
    found = [path.relative_to(home).as_posix() for path in list_files(home)]
    below = "again/below/b.txt"
    assert found == ["again/away.txt", below, "hidden/kept.txt", "train/train.txt"]
    (home / "lost.txt").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="lost.txt is no file, or a link to nothing"):
        list_files(home)
