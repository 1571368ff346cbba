"""What a source of text is, by its content: read, decoded, or refused by name, and counted."""

import gzip
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import unmask
from unmask.cli import main
from unmask.data import Subwords, make_tokenizer, open_data, prepare_text
from unmask.kinds import encodings, sources
from unmask.kinds.registry import kind_of
from unmask.kinds.sources import what_is
from unmask.kinds.text.holes import encode_pieces, parse_holes, spell_holes

CASES = Path(__file__).parent / "cases" / "text"
TEXTS = ["a first text", "é, the second", "third"]
LINES = "".join(json.dumps({"text": text}) + "\n" for text in TEXTS)
ALL = "".join(TEXTS).encode()


def packed(name):
    """A zip archive with one file of that name."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(name, b"0")
    return made.getvalue()


def npy(array):
    made = io.BytesIO()
    np.save(made, array)
    return made.getvalue()


def write(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def prepare(source, tmp_path, **flags):
    """The data of a source, all of it for training."""
    out = tmp_path / f"data-{len(list(tmp_path.iterdir()))}"
    prepare_text(source, out, split="1,0,0", progress=False, **flags)
    return open_data(out)


FOREIGN = {
    "train.parquet": (b"PAR1\x15\x04\x15", "a Parquet file"),
    "page.pdf": (b"%PDF-1.4\n%\xe2\xe3", "a PDF document"),
    "two.pkl": (pickle.dumps([1, 2], 2), "a Python pickle"),
    "four.pkl": (pickle.dumps(list(range(500)), 4), "a Python pickle"),
    "a.npz": (packed("x.npy"), "a NumPy archive"),
    "a.docx": (packed("[Content_Types].xml"), "an Office document"),
    "a.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(20), "an old Office document"),
    "a.pt": (packed("model/data.pkl"), "a PyTorch file"),
    "a.zip": (packed("a.txt"), "a zip archive: unpack it first"),
    "a.png": (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture"),
    "a.jpg": (b"\xff\xd8\xff\xe0\0\x10JFIF", "a JPEG picture"),
    "a.gif": (b"GIF89a\1\0\1\0", "a GIF picture"),
    "a.webp": (b"RIFF\x24\0\0\0WEBPVP8 ", "a WebP picture"),
    "a.bmp": (b"BM\x46\0\0\0\0\0\0\0\x36\0", "a BMP picture"),
    "a.h5": (b"\x89HDF\r\n\x1a\n\0", "an HDF5 file"),
    "a.safetensors": (b"\x40\0\0\0\0\0\0\0" + b'{"a":{"dtype":"F32"', "a safetensors file"),
    "a.db": (b"SQLite format 3\0\x10", "a SQLite database"),
    "a.tar": (b"a.txt".ljust(257, b"\0") + b"ustar\x0000", "a tar archive: unpack it first"),
    "b.tar.gz": (
        gzip.compress(b"a.txt".ljust(257, b"\0") + b"ustar\x0000" + bytes(200)),
        "a tar archive",
    ),
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("under", ["", "text.txt"])
def test_what_is_no_text_is_refused_by_name_whatever_it_is_called(name, under, tmp_path):
    content, what = FOREIGN[name]
    if under and name.endswith(".gz"):
        under += ".gz"
    source = write(tmp_path / (under or name), content)
    with pytest.raises(ValueError, match=f"{source.name} is {what}"):
        prepare_text(source, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()


def test_in_a_folder_of_texts_what_is_none_is_left_out_and_counted(tmp_path, capsys):
    folder = tmp_path / "texts"
    (folder / "more").mkdir(parents=True)
    write(folder / "a.txt", "abcdefgh" * 9)
    write(folder / "b.txt", "BM is how this text begins")
    for name in ("x.parquet", "more/y.parquet"):
        write(folder / name, FOREIGN["train.parquet"][0])
    write(folder / "ids.npy", npy(np.arange(9)))
    write(folder / "c.png", FOREIGN["a.png"][0])
    command = ["prepare", "text", str(folder), str(tmp_path / "out"), "--split", "1,0,0"]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "left out: 2 (a Parquet file): more/y.parquet; x.parquet\n" in out
    assert "left out: 1 (a PNG picture): c.png\n" in out
    data = open_data(tmp_path / "out")
    assert bytes(data.tokens("train")) == b"abcdefgh" * 9 + b"BM is how this text begins"
    assert data.meta["skipped"]["a Parquet file"] == {
        "count": 2,
        "first": ["more/y.parquet", "x.parquet"],
    }
    assert data.meta["skipped"]["a NumPy array (.npy)"]["count"] == 1
    assert data.meta["source"][0]["files"] == 2
    for name in ("a.txt", "b.txt"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match=r"texts has no text, but .*2 \(a Parquet file\)"):
        prepare_text(folder, tmp_path / "none", progress=False)


def test_nothing_that_is_text_is_taken_for_something_else():
    for text in (
        "BM",
        "BZh is Bosnian?",
        "PK",
        "II*",
        "GIF",
        "ID3 tags",
        "RIFF",
        "7z",
        "Obj",
        "MM",
    ):
        assert not what_is(text.encode() + b" and more words than that")
    assert not what_is("漢字".encode("utf-16")) and not what_is(b"") and not what_is(bytes(600))


BINARY = {
    "random": np.random.default_rng(0).bytes(3000),
    "short": np.random.default_rng(1).bytes(200),
    "zeros": bytes(3000),
    "utf-16 without a mark": ("one two three " * 99).encode("utf-16-le"),
    "floats": np.linspace(-3, 3, 999, dtype=np.float32).tobytes(),
}


@pytest.mark.parametrize("name", BINARY)
def test_what_looks_binary_is_text_to_who_says_so_alone(name, tmp_path):
    source = write(tmp_path / "a", BINARY[name])
    packed = write(tmp_path / "a.gz", gzip.compress(BINARY[name]))
    for path in (source, packed):
        with pytest.raises(ValueError, match=r"a(\.gz)? looks like binary data.*--format text"):
            prepare_text(path, tmp_path / "out", progress=False)
        assert not (tmp_path / "out").exists()
    out, how = tmp_path / "out", {"split": "1,0,0", "progress": False}
    prepare_text(source, out, format="text", **how)
    assert bytes(open_data(out).tokens("train")) == BINARY[name]
    (tmp_path / "texts").mkdir()
    write(tmp_path / "texts" / "a", BINARY[name])
    write(tmp_path / "texts" / "b", "some text")
    meta = prepare_text(tmp_path / "texts", tmp_path / "folder", **how)
    assert meta["skipped"] == {"binary data": {"count": 1, "first": ["a"]}}


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "koi8-r", "shift_jis", "cp437"])
def test_texts_in_encodings_of_old_are_bytes_as_before(encoding, tmp_path):
    text = {"koi8-r": "Привет, мир! ", "shift_jis": "こんにちは世界 "}.get(
        encoding, "Grüße à tous\f\r\n "
    )
    source = write(tmp_path / "a.txt", (text * 99).encode(encoding))
    prepare_text(source, tmp_path / "out", split="1,0,0", progress=False)
    assert bytes(open_data(tmp_path / "out").tokens("train")) == (text * 99).encode(encoding)


# JSON


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.json", "A.JSONL", "a.jsonlines"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_lines_are_documents_also_packed(name, encoding, tmp_path):
    content = LINES.replace("\\u00e9", "é").encode(encoding)
    for source in (
        write(tmp_path / name, content),
        write(tmp_path / f"{name}.gz", gzip.compress(content)),
    ):
        data = prepare(source, tmp_path)
        assert data.meta["documents"] == "apart" and data.meta["document_count"]["train"] == 3
        assert bytes(data.tokens("train")) == ALL


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("records", [TEXTS, [{"n": 1, "text": text} for text in TEXTS]])
def test_one_json_array_is_documents(indent, records, tmp_path):
    source = write(tmp_path / "a.json", json.dumps(records, indent=indent))
    data = prepare(source, tmp_path)
    assert data.meta["document_count"]["train"] == 3 and bytes(data.tokens("train")) == ALL


@pytest.mark.parametrize(
    "content, message",
    [
        (json.dumps({"data": TEXTS}, indent=1), "a.json is a single JSON object: give JSON lines"),
        (json.dumps({"data": TEXTS}), "line 1: the field 'text' is missing; .*'data'"),
        ("[1, 2]", "entry 1 is not a JSON object"),
        ('["a", "b"', "a.json is not JSON"),
        ('["\\ud800"]', "entry 1: half a surrogate pair"),
        ("[" * 100_000, "a.json is nested too deeply"),
    ],
)
def test_json_that_is_no_documents_is_refused(content, message, tmp_path):
    source = write(tmp_path / "a.json", content)
    with pytest.raises(ValueError, match=message) as error:
        prepare_text(source, tmp_path / "out", progress=False)
    assert "\n" not in str(error.value)


BAD = [
    '{"text": null}',
    '{"body": "x"}',
    '{"text": 5}',
    '{"text": ',
    "[1]",
    '{"text": "\\ud800"}',
    '{"text": null}',
    "[" * 100_000,
]


def test_bad_lines_stop_everything_or_are_left_out_and_counted(tmp_path, capsys):
    source = write(tmp_path / "a.jsonl", LINES + "\n".join(BAD) + "\n" + LINES)
    with pytest.raises(ValueError, match=r"line 4: the field 'text' is null.*--skip-bad"):
        prepare_text(source, tmp_path / "out", progress=False)
    for tokenizer in ("bytes", "characters"):
        data = prepare(source, tmp_path, skip_bad=True, tokenizer=tokenizer)
        assert data.tokenizer.decode(data.tokens("train")) == "".join(TEXTS * 2)
        assert data.meta["skipped"] == {
            "the field 'text' is null": {
                "count": 2,
                "first": ["a.jsonl, line 4", "a.jsonl, line 10"],
            },
            "the field 'text' is missing": {"count": 1, "first": ["a.jsonl, line 5"]},
            "the field 'text' is not a string": {"count": 1, "first": ["a.jsonl, line 6"]},
            "not JSON": {"count": 1, "first": ["a.jsonl, line 7"]},
            "not a JSON object": {"count": 1, "first": ["a.jsonl, line 8"]},
            "half a surrogate pair": {"count": 1, "first": ["a.jsonl, line 9"]},
            "nested too deeply": {"count": 1, "first": ["a.jsonl, line 11"]},
        }
    command = ["prepare", "text", str(source), str(tmp_path / "cli"), "--split", "1,0,0"]
    capsys.readouterr()
    assert main([*command, "--skip-bad"]) == 0
    said = capsys.readouterr().out
    assert "left out: 2 (the field 'text' is null): a.jsonl, line 4; a.jsonl, line 10" in said
    with pytest.raises(ValueError, match=r"nothing of .*b\.jsonl could be read: 1 \(not JSON\)"):
        prepare(write(tmp_path / "b.jsonl", "{"), tmp_path, skip_bad=True)


def test_texts_that_cannot_be_read_are_left_out_and_counted(tmp_path):
    folder = tmp_path / "texts"
    folder.mkdir()
    write(folder / "a", "whole")
    write(folder / "b", b"caf\xe9")
    write(folder / "c.gz", gzip.compress("Grüße".encode("latin-1") * 9999)[:-9])
    write(folder / "d", b"\xff\xfea\0b")
    write(folder / "e", "WHOLE")
    write(folder / "f.gz", b"not packed")
    with pytest.raises(ValueError, match=r"f\.gz is truncated or damaged .*--skip-bad"):
        prepare(folder, tmp_path)
    (folder / "f.gz").unlink()
    with pytest.raises(ValueError, match="b is not UTF-8 at byte 3"):
        prepare(folder, tmp_path, tokenizer="characters")
    data = prepare(folder, tmp_path, tokenizer="characters", alphabet="text8", skip_bad=True)
    assert data.tokenizer.decode(data.tokens("train")) == "whole"
    assert data.meta["skipped"] == {
        "truncated, damaged or not UTF-8": {"count": 3, "first": ["b", "c.gz", "d"]},
        "a character outside the alphabet": {"count": 1, "first": ["e"]},
    }
    assert bytes(prepare(folder, tmp_path, skip_bad=True).tokens("train")) == b"wholecaf\xe9WHOLE"


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.gz"])
def test_a_stream_of_documents_that_is_cut_short_is_refused_also_where_bad_ones_are_not(
    name, tmp_path
):
    """It is not one document that is bad: where it was cut, as many are missing as there were."""
    random = np.random.default_rng(0).bytes(9999).hex()
    content = json.dumps([{"text": random[i : i + 99]} for i in range(0, 9999, 99)])
    if "jsonl" in name:
        content = content[1:-1].replace("}, ", "}\n")
    source = write(tmp_path / name, gzip.compress(content.encode())[:-2000])
    with pytest.raises(ValueError, match="is truncated or damaged .*: fetch it again$"):
        prepare(source, tmp_path, skip_bad=True)


def test_an_empty_source_is_told_what_was_left_out_of_it_alone(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a.txt").write_bytes(b"some text")
    (tmp_path / "train" / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    (tmp_path / "val.jsonl").write_bytes(b"")
    with pytest.raises(ValueError, match=r"val\.jsonl is empty: give a source"):
        prepare_text(tmp_path / "train", tmp_path / "out", validation=tmp_path / "val.jsonl")
    (tmp_path / "train" / "a.txt").unlink()
    (tmp_path / "train" / "b.txt").write_bytes(b"")
    with pytest.raises(ValueError, match=r"nothing of .*train could be read: 1 .a PNG picture"):
        prepare_text(tmp_path / "train", tmp_path / "out")


def test_nothing_left_out_leaves_no_trace_and_empty_documents_are_counted(tmp_path):
    source = write(tmp_path / "a.jsonl", LINES)
    assert not {"skipped", "converted"} & set(prepare(source, tmp_path).meta)
    source = write(tmp_path / "b.jsonl", LINES + '{"text": ""}\n')
    assert prepare(source, tmp_path).meta["skipped"] == {
        "empty": {"count": 1, "first": ["b.jsonl, line 4"]}
    }


# Marks


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("block", [1, 3, 1 << 20])
def test_texts_with_a_mark_are_decoded_and_the_mark_is_dropped(
    encoding, block, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sources, "BLOCK", block)
    text = "Straße, “quoted” 🙂\r\n" * 3
    mark = "\ufeff" if encoding.endswith("be") else ""
    source = write(tmp_path / "a.txt", (mark + text).encode(encoding))
    data = prepare(source, tmp_path)
    assert bytes(data.tokens("train")).decode() == text
    assert list(data.meta["converted"].values()) == [{"count": 1, "first": ["a.txt"]}]
    data = prepare(source, tmp_path, tokenizer="characters")
    assert data.meta["tokenizer"]["alphabet"] == "".join(sorted(set(text)))
    assert data.tokenizer.decode(data.tokens("train")) == text
    said = encodings.decode_text(source.read_bytes(), "a.txt")
    assert said == text


def test_bytes_that_do_not_decode_after_a_mark_are_named(tmp_path):
    source = write(tmp_path / "a.txt", b"\xff\xfea\0b")
    with pytest.raises(ValueError, match=r"a\.txt begins like UTF-16 and is not"):
        prepare(source, tmp_path)
    source = write(tmp_path / "b.txt", b"\xef\xbb\xbfabc\xff")
    with pytest.raises(ValueError, match=r"b\.txt is not UTF-8 at byte 6"):
        prepare(source, tmp_path, tokenizer="characters")
    with pytest.raises(ValueError, match="x is not UTF-8 text at byte 6"):
        encodings.decode_text(source.read_bytes(), "x")


# Ids


@pytest.mark.parametrize("kind", ["<u2", ">u2", "<i8", "u1"])
def test_numpy_arrays_are_read_as_what_they_say(kind, tmp_path):
    ids = np.arange(200).astype(kind)
    source = write(tmp_path / "ids.npy", npy(ids))
    packed = write(tmp_path / "ids.npy.gz", gzip.compress(npy(ids)))
    for path, format in ((source, "auto"), (source, "ids"), (packed, "auto")):
        data = prepare(path, tmp_path, format=format, vocab_size=200)
        assert data.tokens("train").tolist() == list(range(200))
        assert data.meta["tokenizer"] == {"name": "ids", "vocab_size": 200}


@pytest.mark.parametrize(
    "content, message",
    [
        (npy(np.zeros(3)), "holds values of type float64, and ids are whole numbers"),
        (npy(np.zeros((2, 3), int)), r"is an array of shape \(2, 3\): save the ids in one"),
        (npy(np.array([{}], object)), "holds values of type object"),
        (npy(np.arange(50))[:-8], "says that it has 50 ids and has 49"),
        (b"\x93NUMPY\1\0\x05\0{[(((", "has no header that can be read"),
        (b"\x93NUMPY\x09\0\x05\0{[(((", "has no header that can be read"),
    ],
)
def test_numpy_arrays_that_are_no_ids_are_refused(content, message, tmp_path):
    source = write(tmp_path / "ids.npy", content)
    with pytest.raises(ValueError, match=message):
        prepare(source, tmp_path, vocab_size=99)


# Lengths


def names(tmp_path):
    """500 documents of four to eight letters, and five of thirty."""
    draw = np.random.default_rng(0)
    sizes = [*draw.choice([4, 6, 8], size=500, p=[0.3, 0.5, 0.2]), *[30] * 5]
    texts = ["".join(draw.choice(list("abcd"), size=size)) for size in sizes]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    return write(tmp_path / "names.jsonl", lines), sizes


def test_samples_of_documents_kept_apart_are_as_long_as_these(tmp_path, capsys):
    source, sizes = names(tmp_path)
    out, run = tmp_path / "out", tmp_path / "run"
    assert main(["prepare", "text", str(source), str(out), "--split", "0.9,0,0.1"]) == 0
    table = capsys.readouterr().out
    assert table.splitlines()[1].split() == [
        "split", "tokens", "documents", "shortest", "mean", "longest",
    ]  # fmt: skip
    assert "the first text begins '" in table
    meta = open_data(out).meta
    train = sizes[: meta["document_count"]["train"]]
    assert meta["lengths"] == {str(n): train.count(n) for n in sorted(set(train))}
    flags = ["--dim", "8", "--layers", "1", "--heads", "2", "--minutes", "0", "--steps", "2"]
    flags += ["--length", "16", "--batch-size", "4", "--eval-minutes", "0", "--eval-windows", "2"]
    assert main(["train", "demo", "--data", str(out), "--out", str(run), *flags]) == 0
    capsys.readouterr()
    made = tmp_path / "samples.jsonl"
    command = ["sample", str(run), "--num", "40", "--steps", "2", "--out", str(made)]
    assert main([*command, "--json", str(tmp_path / "r.json")]) == 0
    assert "lengths: those of the training documents" in capsys.readouterr().err
    drawn = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["lengths"]
    assert len(drawn) == 40 and {4, 6, 8} <= set(drawn) <= {4, 6, 8, 16}
    assert main(["eval", str(run), "--data", str(out)]) == 0
    said = capsys.readouterr().out
    assert "lengths are given and not scored" in said and "documents, 5 longer than 16" in said
    assert main([*command[:3], "3", "--length", "5", "--steps", "2"]) == 0


def test_documents_longer_than_the_trained_length_count_as_that_long(tmp_path):
    source, _ = names(tmp_path)
    data = prepare(source, tmp_path)
    network = unmask.backbones.Transformer(vocab_size=256, dim=8, layers=1, heads=2)
    model = unmask.MaskedDiffusion(network, unmask.schedules.Cosine(), unmask.Subtokenizer(256))
    model.meta |= {"data": data.meta, "length": 6}
    sizes = unmask.sampling.draw_lengths(model, 2000).tolist()
    assert set(sizes) == {4, 6}
    lengths = data.meta["lengths"]
    share = lengths["4"] / sum(lengths.values())
    assert abs(sizes.count(4) / 2000 - share) < 5 * (share * (1 - share) / 2000) ** 0.5
    model.meta["length"] = 3
    assert unmask.sampling.draw_lengths(model, 5).tolist() == [3] * 5
    assert unmask.sample(model, num=2, steps=2).shape == (2, 3)


# Holes


@pytest.fixture(scope="module")
def metaspace():
    """A tokenizer like SentencePiece's: a blank belongs to the word after it."""
    return make_tokenizer(str(CASES / "metaspace.json"))


def filled(tokenizer, text, entry):
    """A text whose holes are filled with an entry of the vocabulary."""
    pieces = parse_holes(text)
    ids = []
    for piece in encode_pieces(tokenizer, pieces):
        if isinstance(piece, int):
            ids += [tokenizer.model.token_to_id(entry)] * piece
        else:
            ids += piece.tolist()
    return spell_holes(tokenizer, pieces, np.array(ids))


def test_a_hole_keeps_its_blank_and_what_is_given_comes_back_as_it_was(metaspace):
    text = (CASES / "metaspace-holes.txt").read_text(encoding="utf-8")
    assert filled(metaspace, text, "▁great") == "the quick great fox jumps the old great dog."
    assert filled(metaspace, "[MASK:2] fox", "▁great") == "great great fox"
    assert filled(metaspace, "the qu[MASK]k fox", "i") == "the quik fox"
    given = encode_pieces(metaspace, parse_holes("the qu[MASK]k fox"))[2]
    assert [metaspace.model.id_to_token(int(i)) for i in given] == ["k", "▁fox"]


def test_holes_side_by_side_may_share_a_letter(metaspace):
    pieces = parse_holes("caf[MASK][MASK] [MASK:2][MASK]!")
    assert pieces == ["caf", 1, 1, " ", 2, 1, "!"]
    ids = np.frombuffer("café €!".encode(), np.uint8)
    assert spell_holes(make_tokenizer("bytes"), pieces, ids) == "café €!"
    for holes in ("[MASK:3]", "[MASK][MASK:2]"):
        assert filled(metaspace, f"the{holes} fox", "▁great") == "the great great great fox"


def test_blanks_of_other_tokenizers():
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    words = Tokenizer(
        models.WordPiece({"[UNK]": 0, "a": 1, "the": 2, "fox": 3, "##x": 4}, unk_token="[UNK]")
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.decoder = decoders.WordPiece()
    subwords = Subwords(words.to_str())
    assert filled(subwords, "the [MASK] fox", "fox") == "the fox fox"
    assert filled(subwords, "the[MASK] fox", "fox") == "the fox fox"
    assert filled(subwords, "the fo[MASK] fox", "##x") == "the fox fox"
    merges = [("▁", "f"), ("▁", "a")]
    vocabulary = {"<unk>": 0, "▁": 1, "f": 2, "o": 3, "x": 4, "▁f": 5, "a": 6, "▁a": 7}
    prepending = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    prepending.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    prepending.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    subwords = Subwords(prepending.to_str())
    assert filled(subwords, "fox[MASK] fox", "▁a") == "fox a fox"
    pieces = encode_pieces(subwords, parse_holes("fox[MASK] fox[MASK]fox"))
    spelled = [[subwords.model.id_to_token(int(i)) for i in piece] for piece in pieces[::2]]
    assert spelled == [["▁f", "o", "x"], ["▁f", "o", "x"], ["f", "o", "x"]]


def test_ids_of_other_words_are_not_evaluated(tmp_path, capsys):
    """Of as many, of which two have each other's number."""
    content = json.loads((CASES / "metaspace.json").read_text(encoding="utf-8"))
    numbers = content["model"]["vocab"]
    numbers["e"], numbers["t"] = numbers["t"], numbers["e"]
    other = write(tmp_path / "other.json", json.dumps(content))
    source, run = write(tmp_path / "a.txt", "the quick brown fox. " * 40), tmp_path / "run"
    for name, given in (("ours", CASES / "metaspace.json"), ("theirs", other)):
        prepare_text(source, tmp_path / name, tokenizer=str(given), progress=False)
    flags = ["--dim", "8", "--layers", "1", "--heads", "2", "--minutes", "0", "--steps", "1"]
    flags += ["--length", "8", "--batch-size", "4", "--eval-minutes", "0", "--eval-windows", "2"]
    assert main(["train", "demo", "--data", str(tmp_path / "ours"), "--out", str(run), *flags]) == 0
    ours, theirs = (
        kind_of(open_data(tmp_path / name).meta, tmp_path / name) for name in ("ours", "theirs")
    )
    assert ours.meta["tokenizer"] == theirs.meta["tokenizer"] and not ours.differs(ours, run)
    assert f"with --tokenizer {run}" in ours.differs(theirs, run)
    capsys.readouterr()
    assert main(["eval", str(run), "--data", str(tmp_path / "theirs")]) == 2
    assert "with a tokenizer of other words than the model's" in capsys.readouterr().err
    prepare_text(source, tmp_path / "same", tokenizer=str(run), progress=False)
    assert main(["eval", str(run), "--data", str(tmp_path / "same"), "--limit", "2"]) == 0


def test_pages_and_files_with_holes(metaspace, tmp_path):
    source = tmp_path / "text.txt"
    write(source, "the quick brown fox jumps over the lazy dog. " * 40)
    out, run = tmp_path / "out", tmp_path / "run"
    flags = ["--tokenizer", str(CASES / "metaspace.json")]
    assert main(["prepare", "text", str(source), str(out), *flags]) == 0
    flags = ["--dim", "8", "--layers", "1", "--heads", "2", "--minutes", "0", "--steps", "2"]
    flags += ["--length", "16", "--batch-size", "4", "--eval-minutes", "0", "--eval-windows", "2"]
    assert main(["train", "demo", "--data", str(out), "--out", str(run), *flags]) == 0
    holes = write(tmp_path / "in.txt", "the fox[MASK:2] dog.".encode("utf-16"))
    made = tmp_path / "made.txt"
    assert main(["fill", str(run), str(holes), "--steps", "2", "--out", str(made)]) == 0
    text = made.read_text(encoding="utf-16")
    assert text.startswith("the fox") and text.endswith(" dog.")
    write(holes, FOREIGN["page.pdf"][0])
    assert main(["fill", str(run), str(holes)]) == 2
    kind = kind_of(open_data(out).meta, out)
    great = metaspace.model.token_to_id("▁great")
    assert kind.piece(great) == " great"


def test_a_tokenizer_with_an_absurd_id_is_refused(tmp_path):
    """Every id up to the highest has a row in a network, and an entry in a table of pieces."""
    spec = {
        "version": "1.0",
        "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 2**31}, "unk_token": "a"},
    }
    path = write(tmp_path / "tokenizer.json", json.dumps(spec))
    with pytest.raises(ValueError, match="2 tokens and one with the id 2,147,483,648"):
        make_tokenizer(str(path))


def test_a_hole_that_is_longer_than_anybody_can_mean_is_refused():
    with pytest.raises(ValueError, match=r"character 1: \[MASK:3000000000\] is no hole"):
        parse_holes("x[MASK:3000000000]")
    assert parse_holes("x[MASK:10000000]") == ["x", 10_000_000]


@pytest.mark.parametrize("kind", ["text", "tables", "proteins"])
def test_standard_input_is_a_source_like_a_file(tmp_path, monkeypatch, capsys, kind):
    """Its content is prepared as that of a file; two passes over it are no trouble."""
    content = {
        "text": "to be or not to be " * 40,
        "tables": "a,b\n" + "1,x\n2,y\n" * 30,
        "proteins": "".join(f">{i}\nMKV{'AG' * i}\n" for i in range(1, 60)),
    }[kind]
    (tmp_path / "standard-input").write_text(content)
    more = ["--tokenizer", "characters"] if kind == "text" else []
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    for source, out in (("-", "piped"), (str(tmp_path / "standard-input"), "named")):
        assert main(["prepare", kind, source, str(tmp_path / out), *more]) == 0
    piped, named = (
        json.loads((tmp_path / out / "meta.json").read_text()) for out in ("piped", "named")
    )
    assert piped == named and piped["source"][0]["bytes"] == len(content)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert main(["prepare", kind, "-", str(tmp_path / "none"), *more]) == 2
    assert not (tmp_path / "none").exists()
