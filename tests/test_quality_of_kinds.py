"""unmask quality of texts, proteins and pictures: by the command, and what it refuses."""

import gzip
import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import unmask
from unmask import checkpoint, likelihood
from unmask.cli import main
from unmask.cli.quality import rows_of
from unmask.config import TrainConfig
from unmask.data import open_data, prepare_images, prepare_proteins, prepare_text
from unmask.evaluation import perplexity
from unmask.evaluation.distance import frechet, frechet_distance, moments
from unmask.evaluation.features import compare_features
from unmask.evaluation.judges import ORDER, Own
from unmask.kinds.images import quality as of_pictures
from unmask.kinds.images.pixels import png
from unmask.kinds.proteins import quality as of_proteins
from unmask.kinds.quality import Example
from unmask.kinds.registry import kind_of
from unmask.kinds.text import pieces
from unmask.kinds.text import quality as text_quality
from unmask.kinds.trial import Closer, make_trial, share_of
from unmask.likelihood import estimate
from unmask.train import train

KINDS = Path(unmask.__file__).parent / "kinds"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The beginning of the bundled text, prepared: 65 characters, 16,000 to train on."""
    home = tmp_path_factory.mktemp("text")
    bundled = KINDS / "text" / "bundled" / "tinyshakespeare.txt"
    text = bundled.read_text(encoding="utf-8")[:20_000]
    (home / "text.txt").write_text(text, encoding="utf-8", newline="")
    how = {"tokenizer": "characters", "split": "0.8,0,0.2", "progress": False}
    prepare_text(home / "text.txt", home / "data", **how)
    return home


def write_lines(path, texts):
    lines = [json.dumps({"text": text}) + "\n" for text in texts]
    path.write_text("".join(lines), encoding="utf-8")
    return path


def judged(samples, data, out, *more):
    argv = ["quality", samples, "--data", data, "--json", out / "q.json", *more]
    assert main([str(one) for one in argv]) == 0
    return json.loads((out / "q.json").read_text(encoding="utf-8"))


def value_of(record, key, side="samples"):
    return record["measures"][key][side]["value"]


def refused(capsys, *argv):
    capsys.readouterr()
    assert main(["quality", *map(str, argv)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("unmask quality: ")
    return said


def text_of(home, split="train"):
    data = open_data(home / "data")
    return data.tokenizer.decode(data.tokens(split))


def real_side(home, size=100, number=20):
    """The real examples that as many samples of that size are held against."""
    data = open_data(home / "data")
    found = pieces.real_examples(data, "test", np.full(number, size), 0)
    return [data.tokenizer.decode(ids) for ids in found.examples]


# ---------------------------------------------------------------- texts


def test_text_that_is_the_real_side_is_as_good_as_real(home, tmp_path):
    texts = real_side(home)
    record = judged(write_lines(tmp_path / "s.jsonl", texts), home / "data", tmp_path)
    for key, one in record["measures"].items():
        assert one["samples"] == one["real"], key
        assert one["like"] is None
    assert record["samples"] == record["real"] == 20 and record["tokens_are"] == "characters"


def test_copies_of_the_training_text_are_found(home, tmp_path, capsys):
    train = text_of(home)
    texts = [train[i * 500 : i * 500 + 90] for i in range(30)]
    capsys.readouterr()
    record = judged(write_lines(tmp_path / "s.jsonl", texts), home / "data", tmp_path)
    assert value_of(record, "copied") == 1 and value_of(record, "longest_copy") == 90
    assert record["measures"]["copied"]["samples"]["error"] is None  # all say the same
    assert value_of(record, "copied", "real") < 0.1
    # half of each: 45 characters, of which 14 of 59 pieces of 32 are inside
    other = text_of(home, "test")[::-1]
    mixed = [train[i * 500 : i * 500 + 45] + other[i * 45 : i * 45 + 45] for i in range(30)]
    record = judged(write_lines(tmp_path / "m.jsonl", mixed), home / "data", tmp_path)
    assert value_of(record, "copied") == pytest.approx(14 / 59, abs=0.02)
    assert 45 <= value_of(record, "longest_copy") < 46
    assert "copied, 32 characters" in capsys.readouterr().out


def test_words_that_are_shuffled_keep_their_entropy_and_lose_their_runs(home, tmp_path):
    random = np.random.default_rng(0)
    texts = []
    for text in real_side(home):
        letters = list(text)
        random.shuffle(letters)
        texts.append("".join(letters))
    record = judged(write_lines(tmp_path / "s.jsonl", texts), home / "data", tmp_path)
    for key in ("entropy", "entropy_each", "js_1"):
        assert value_of(record, key) == pytest.approx(value_of(record, key, "real"))
    one = record["measures"]["js_3"]
    apart = one["samples"]["value"] - one["real"]["value"]
    assert apart > 10 * math.hypot(one["samples"]["error"], one["real"]["error"])


def test_a_text_that_repeats_itself_is_told_by_its_repetitions(home, tmp_path):
    record = judged(
        write_lines(tmp_path / "s.jsonl", ["no more no more no more"] * 4), home / "data", tmp_path
    )
    assert value_of(record, "distinct_1") == pytest.approx(2 / 24)
    assert value_of(record, "distinct_4") == pytest.approx(2 / 12)
    assert value_of(record, "repeated_1") == pytest.approx(4 / 6)
    assert value_of(record, "repeated_4") == pytest.approx(1 / 3)
    counts = {letter: "no more no more no more".count(letter) / 23 for letter in " nomre"}
    entropy = -sum(p * math.log(p) for p in counts.values())
    assert value_of(record, "entropy") == pytest.approx(entropy)
    assert value_of(record, "entropy_each") == pytest.approx(entropy)


def test_headings_lines_and_json_are_the_same_samples(home, tmp_path, capsys):
    train = text_of(home).replace("\n", " ")
    data = open_data(home / "data")
    texts = [train[i * 300 : i * 300 + 50].strip() for i in range(6)]
    texts = [text for text in texts if set(text) <= set(data.tokenizer.alphabet)]
    several = "".join(f"--- {i}\n{text}\n" for i, text in enumerate(texts, 1))
    forms = {
        "a.txt": several, "b.txt": "\n\n".join(texts), "c.json": "[\n" + json.dumps(texts)[1:],
        "d.txt": several.replace("\n", "\r\n"),
    }  # fmt: skip
    known = judged(write_lines(tmp_path / "s.jsonl", texts), home / "data", tmp_path)["measures"]
    for name, content in forms.items():
        (tmp_path / name).write_text(content, encoding="utf-8", newline="")
        assert judged(tmp_path / name, home / "data", tmp_path)["measures"] == known, name
    said = capsys.readouterr().out
    assert "every line that is not blank is a sample" in said and "lines that end in CR LF" in said
    assert pieces.by_headings(several) == texts
    assert pieces.by_headings("--- 1\na\n\n--- 2\n\nb--- 3\n\n") == ["a\n", "\nb--- 3\n"]


def test_more_samples_than_real_text_are_compared_as_many(home, tmp_path):
    train = text_of(home)
    texts = [train[i : i + 100] for i in range(0, 6000, 100)]
    record = judged(write_lines(tmp_path / "s.jsonl", texts), home / "data", tmp_path)
    assert record["samples"] == 60 and record["real"] == 20  # half of 4,000 characters
    one = record["measures"]["distinct_1"]
    assert one["like"]["value"] > one["samples"]["value"]
    again = judged(tmp_path / "s.jsonl", home / "data", tmp_path)
    other = judged(tmp_path / "s.jsonl", home / "data", tmp_path, "--seed", 1)
    assert again["measures"] == record["measures"] != other["measures"]


def test_real_examples_do_not_overlap_and_the_rest_is_the_reference(home):
    data = open_data(home / "data")
    tokens = np.asarray(data.tokens("test"))
    sizes = np.array([50, 700, 3, 400, 90, 800, 10])
    found = pieces.real_examples(data, "test", sizes, 3)
    assert [len(one) for one in found.examples] == sizes[found.like].tolist()
    assert sum(map(len, found.examples)) <= len(tokens) // 2
    together = np.concatenate([*found.examples, *found.reference])
    assert np.array_equal(np.sort(together), np.sort(tokens))
    free = [len(one) for one in found.reference]
    assert len(free) == len(sizes[found.like]) + 1 and max(free) - min(free) <= 1
    text = data.tokenizer.decode(tokens)
    assert all(data.tokenizer.decode(one) in text for one in found.examples)


@pytest.mark.parametrize("seed", range(4))
def test_one_long_sample_does_not_cost_the_others_their_real_ones(home, tmp_path, seed, capsys):
    data = open_data(home / "data")
    sizes = np.array([50] * 9 + [3000])  # half of the split has 2,000
    found = pieces.real_examples(data, "test", sizes, seed)
    assert found.like.tolist() == [*range(9)]
    train = text_of(home)
    path = write_lines(tmp_path / "s.jsonl", [train[i * 100 :][:n] for i, n in enumerate(sizes)])
    record = judged(path, home / "data", tmp_path, "--seed", seed)
    assert record["real"] == 9
    said = (
        "no room for real examples as long as 1 of the samples, of 3,000 characters each on average"
    )
    assert f"{said}; those that have one have 50" in capsys.readouterr().out


def test_documents_that_are_kept_apart_stay_so(tmp_path):
    random = np.random.default_rng(0)
    words = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog"]
    texts = [" ".join(random.choice(words, random.integers(8, 20))) for _ in range(200)]
    source = write_lines(tmp_path / "d.jsonl", texts)
    how = {"tokenizer": "bytes", "split": "0.6,0,0.4", "progress": False}
    prepare_text(source, tmp_path / "data", **how)
    data = open_data(tmp_path / "data")
    assert data.apart
    begins = {text[:8] for text in texts}
    sizes = np.array([30, 60, 20, 500])
    found = pieces.real_examples(data, "test", sizes, 0)
    examples = [data.tokenizer.decode(ids) for ids in found.examples]
    assert all(one[:8] in begins for one in examples)
    by_size = np.argsort(sizes, kind="stable")
    whole = [max(len(text) for text in texts if text.startswith(one)) for one in examples]
    assert sorted(whole) == [whole[i] for i in by_size]  # the longer for the longer samples
    # a block holds several documents, and nothing across two of them
    blocks, looked_at, total = pieces.training_blocks(data, 10)
    assert looked_at == total and sum(len(block) for block in blocks) > total
    record = judged(write_lines(tmp_path / "s.jsonl", texts[:9]), tmp_path / "data", tmp_path)
    assert value_of(record, "copied") > 0.3 and record["tokens_are"] == "bytes"


def test_pieces_of_the_training_text_cross_no_border_of_documents(tmp_path):
    """Of two kinds of documents without a letter in common, runs of any length tell the same."""
    texts = ["abcd", "wxyz"] * 60
    source = write_lines(tmp_path / "d.jsonl", texts)
    how = {"tokenizer": "bytes", "split": "0.5,0,0.5", "progress": False}
    prepare_text(source, tmp_path / "data", **how)
    data, path = open_data(tmp_path / "data"), write_lines(tmp_path / "s.jsonl", texts[:20])
    sides, _ = text_quality.read_sides(data, path, "test", 0)
    assert len(sides.training) == len(sides.real) == 20
    assert set(sides.training) == {"abcd", "wxyz"}
    drift = judged(path, tmp_path / "data", tmp_path)["training_text"]
    assert drift == pytest.approx([drift[0]] * 4) and drift[0] < 0.1
    # a document counts once, however many examples there are
    assert len(pieces.training_pieces(data, np.full(500, 4), 0)) == 60


def test_of_much_text_some_is_looked_at_and_that_is_said(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pieces, "SYMBOLS", 3000)
    monkeypatch.setattr(pieces, "BLOCK", 1000)
    monkeypatch.setattr(pieces, "TRAINING", 5000)
    train = text_of(home)
    texts = [train[i : i + 100] for i in range(0, 6000, 100)]
    record = judged(write_lines(tmp_path / "s.jsonl", texts), home / "data", tmp_path)
    said = capsys.readouterr().out
    assert record["samples"] == 60
    assert "60 samples of 6,000 characters 60 random ones are looked at, 60 of them cut to 30" in (
        said
    )
    assert re.search(r"copies are looked for in [45],\d{3} of the 16,000 tokens", said)
    monkeypatch.setattr(pieces, "MOST", 2000)
    assert "more than 0 MB of text: give fewer" in refused(
        capsys, tmp_path / "s.jsonl", "--data", home / "data"
    )


def test_copies_are_listed_by_their_numbers_in_the_file(home, tmp_path):
    train = text_of(home)
    texts = ["abcdefgh" * 12] * 12
    texts[3] = ""  # is left out
    texts[9] = train[500:650]
    path = write_lines(tmp_path / "s.jsonl", texts)
    found = text_quality.judge(open_data(home / "data"), path, split="test", seed=0)
    (listing,) = found.listings
    assert listing.rows[1][:2] == ["10", "150"]


def test_blocks_of_the_training_text_hold_all_of_it(home, monkeypatch):
    monkeypatch.setattr(pieces, "BLOCK", 1000)
    data = open_data(home / "data")
    blocks, looked_at, total = pieces.training_blocks(data, 50)
    blocks = list(blocks)
    assert looked_at == total == 16_000 and all(len(block) <= 1050 for block in blocks)
    for block, after in itertools.pairwise(blocks):
        assert block[1000:].tolist() == after[:50].tolist()
    joined = np.concatenate([block[:1000] for block in blocks])
    text = data.tokenizer.decode(data.tokens("train"))
    assert joined[:16_000].tobytes().decode("utf-32-le") == text


def test_texts_that_cannot_be_compared_are_refused_in_a_sentence(home, tmp_path, capsys):
    made, flags = tmp_path / "s.jsonl", ["--data", home / "data"]
    for content, said in [
        (b"", "0 examples are too few"),
        (b'{"text": "one"}\n', "1 example is too few"),
        (b'{"text": ""}\n' * 5, "0 examples are too few"),
        (b'{"text": "a"}\n{"text": 3}\n', "line 2: the field 'text' is not a string"),
        (b'{"text": "a"}\n{"text": "b"\n', "line 2 is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b'{"text": "a"}\n{"text": "\\ud800"}\n', "half a surrogate pair"),
        (b'{"text": "no"}\n{"text": "n\xc3\xb6"}\n', "sample 2: the character 'ö' is none that"),
        (b'{"text": "\xff"}\n', "is not UTF-8 text at byte 10"),
        (b"PK\x03\x04" + bytes(100), "is a zip archive"),
    ]:
        made.write_bytes(content)
        assert said in refused(capsys, made, *flags), content[:40]
    assert "is a folder: name a file" in refused(capsys, tmp_path, *flags)
    write_lines(made, ["x" * 5000, "y" * 5000])
    assert "give shorter samples, or prepare a larger split" in refused(capsys, made, *flags)
    write_lines(made, ["no", "yes"])
    assert "has no validation text to compare with" in refused(
        capsys, made, *flags, "--split", "validation"
    )
    assert "--target is not for a text" in refused(capsys, made, *flags, "--target", "x")
    np.save(tmp_path / "ids.npy", np.arange(2000, dtype=np.uint16) % 50)
    prepare_text(tmp_path / "ids.npy", tmp_path / "ids", vocab_size=50, progress=False)
    assert "ready ids without a tokenizer" in refused(capsys, made, "--data", tmp_path / "ids")


# ---------------------------------------------------------------- proteins


@pytest.fixture(scope="module")
def proteins(tmp_path_factory):
    home = tmp_path_factory.mktemp("proteins")
    bundled = KINDS / "proteins" / "bundled" / "proteins.fasta.gz"
    with gzip.open(bundled, "rt") as file:
        records = file.read().split(">")[1:401]
    (home / "some.fasta").write_text("".join(f">{one}" for one in records), encoding="utf-8")
    how = {"split": "0.8,0,0.2", "progress": False}
    prepare_proteins(home / "some.fasta", home / "data", **how)
    return home


def write_fasta(path, sequences, data):
    content = "".join(f">{i}\n{data.tokenizer.decode(ids)}\n" for i, ids in enumerate(sequences, 1))
    path.write_text(content, encoding="utf-8")
    return path


def test_proteins_of_the_training_data_are_copies(proteins, tmp_path, capsys):
    data = open_data(proteins / "data")
    made = write_fasta(tmp_path / "s.fasta", data.sequences("train")[:60], data)
    record = judged(made, proteins / "data", tmp_path, "--out", tmp_path / "q.html")
    assert value_of(record, "copies") == 1 == value_of(record, "nearest")
    assert value_of(record, "copies", "real") == 0
    assert value_of(record, "nearest", "real") < 0.5
    page = (tmp_path / "q.html").read_text(encoding="utf-8")
    assert "Nearest to training" in page and "no alignment" in page and "http" not in page
    lines = write_lines(
        tmp_path / "s.jsonl", [data.tokenizer.decode(one) for one in data.sequences("train")[:60]]
    )
    assert judged(lines, proteins / "data", tmp_path)["measures"] == record["measures"]
    assert "60 sequences" in capsys.readouterr().out


def test_residues_drawn_by_themselves_are_told_from_proteins(proteins, tmp_path):
    data, random = open_data(proteins / "data"), np.random.default_rng(0)
    every = np.concatenate(data.sequences("train"))
    every = every[every < 22]
    drawn = [random.choice(every, len(one)) for one in data.sequences("train")[:40]]
    record = judged(write_fasta(tmp_path / "s.fasta", drawn, data), proteins / "data", tmp_path)
    one = record["measures"]["entropy_each"]
    apart = one["samples"]["value"] - one["real"]["value"]
    assert apart > 3 * math.hypot(one["samples"]["error"], one["real"]["error"])
    for key in ("simple", "nearest"):
        assert value_of(record, key) < value_of(record, key, "real"), key
    assert abs(value_of(record, "closer") - 0.5) < 0.2
    one = record["measures"]["composition"]
    assert one["samples"]["value"] < 2 * one["real"]["value"] and record["real"] == 40


def test_proteins_that_are_the_real_side_are_as_good_as_real(proteins, tmp_path):
    data = open_data(proteins / "data")
    many = len(data.sequences("test")) // 2
    sides, _ = of_proteins.make_sides(data, [np.arange(5)] * many, "test", 0)
    record = judged(
        write_fasta(tmp_path / "s.fasta", sides.real, data), proteins / "data", tmp_path
    )
    for key, one in record["measures"].items():
        assert one["samples"]["value"] == pytest.approx(one["real"]["value"]), key


def test_of_many_proteins_some_are_looked_at(proteins, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(of_proteins, "SAMPLES", 10)
    monkeypatch.setattr(of_proteins, "TRAINING", 5000)
    data = open_data(proteins / "data")
    made = write_fasta(tmp_path / "s.fasta", data.sequences("train")[:60], data)
    assert judged(made, proteins / "data", tmp_path)["samples"] == 10
    said = capsys.readouterr().out
    assert "10 random ones of the 60 samples" in said and "there may be nearer ones" in said


def test_of_many_held_out_proteins_some_are_the_reference(proteins, monkeypatch):
    monkeypatch.setattr(of_proteins, "RESIDUES", 3000)
    data = open_data(proteins / "data")
    sides, notes = of_proteins.make_sides(data, [np.arange(5)] * 10, "test", 0)
    many = len(sides.reference)
    assert 2 < many < 70 and sum(map(len, sides.reference)) <= 3000
    assert notes == [f"{many} random ones of the 70 other test sequences are looked at"]


def test_proteins_that_cannot_be_compared_are_refused(proteins, tmp_path, capsys):
    flags, made = ["--data", proteins / "data"], tmp_path / "s.fasta"
    for content, said in [
        ("", "has no records"), (">a\nMKV\n", "1 example is too few"),
        (">a\nMK1\n", "no residue"), (">a\n", "has no residues"),
    ]:  # fmt: skip
        made.write_text(content, encoding="utf-8")
        assert said in refused(capsys, made, *flags)
    (tmp_path / "s.jsonl").write_text('{"text": "MKV"}\n[1]\n', encoding="utf-8")
    assert "line 2: give a line like" in refused(capsys, tmp_path / "s.jsonl", *flags)
    for text in ("ACD\n>evil\nGGG", "ACD\rGGG", ">ACD", "ACD\n;GG", "ACD GGG", "", "\xe9", "AC1"):
        write_lines(tmp_path / "s.jsonl", ["MKV", text, "MKV"])
        assert "line 2: " in (said := refused(capsys, tmp_path / "s.jsonl", *flags)), text
        assert f"{text!r} is not one sequence: give its letters alone" in said
    (tmp_path / "s.jsonl").write_text('{"text": "MKV"}\n{"text": null}\n', encoding="utf-8")
    assert "line 2: give a line like" in refused(capsys, tmp_path / "s.jsonl", *flags)
    made.write_text(">a\nMKV\n>b\nMKV\n", encoding="utf-8")
    assert "no validation sequences" in refused(capsys, made, *flags, "--split", "validation")


# ---------------------------------------------------------------- pictures


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Random pictures of a few dots, 6 x 5, in 4 levels."""
    home, random = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    smooth = random.integers(0, 256, (300, 6, 1)) + random.integers(-40, 40, (300, 6, 5))
    np.savez(home / "p.npz", data=smooth.clip(0, 255).astype(np.uint8))
    prepare_images(home / "p.npz", home / "data", levels=4, split="0.6,0,0.4", progress=False)
    return home


def save(path, ids, data):
    np.savez(path, data=data.tokenizer.decode(ids))
    return path


def test_pictures_of_the_training_data_are_copies(pictures, tmp_path):
    data = open_data(pictures / "data")
    train = np.asarray(data.tokens("train")).reshape(-1, 30)
    made = save(tmp_path / "s.npz", train[:80], data)
    record = judged(made, pictures / "data", tmp_path, "--out", tmp_path / "q.html")
    assert value_of(record, "copies") == 1 and value_of(record, "copies", "real") < 0.2
    assert value_of(record, "nearest") < value_of(record, "nearest", "real")
    assert value_of(record, "closer") > 0.5
    page = (tmp_path / "q.html").read_text(encoding="utf-8")
    assert page.count('src="data:image/png;base64,') == 3 and "Means and spreads" in page
    folder = tmp_path / "many"
    folder.mkdir()
    for i, picture in enumerate(data.tokenizer.decode(train[:80])):
        (folder / f"{i:03d}.png").write_bytes(png(picture))
    assert judged(folder, pictures / "data", tmp_path)["measures"] == record["measures"]


def test_figures_of_pictures_by_hand(pictures, tmp_path):
    data, random = open_data(pictures / "data"), np.random.default_rng(1)
    ids = random.integers(0, 4, (50, 30))
    record = judged(save(tmp_path / "s.npz", ids, data), pictures / "data", tmp_path)
    sides = of_pictures.make_sides(data, ids, "test", 0)
    own, other = (data.tokenizer.decode(side) for side in (ids, sides.reference))
    grey, told = own.astype(float), other.astype(float)
    known = {
        "mean": np.sqrt(np.square(grey.mean(0) - told.mean(0)).mean()),
        "spread": np.sqrt(np.square(grey.std(0) - told.std(0)).mean()),
    }
    counts = [np.bincount(side.ravel(), minlength=4) / side.size for side in (ids, sides.reference)]
    known["values"] = np.abs(counts[0] - counts[1]).sum() / 2
    at = np.arange(4)
    below = [(side[..., None] <= at).mean(0) for side in (ids, sides.reference)]
    known["marginals"] = np.abs(below[0] - below[1]).max(-1).mean()
    pairs = grey[:, :, :-1].ravel(), grey[:, :, 1:].ravel()
    known["correlation_beside"] = np.corrcoef(*pairs)[0, 1]
    pairs = grey[:, :-1].ravel(), grey[:, 1:].ravel()
    known["correlation_below"] = np.corrcoef(*pairs)[0, 1]
    train = data.tokenizer.decode(sides.training).astype(float)
    apart = [np.square(grey[:, None] - side[None]).mean((2, 3, 4)).min(1) for side in (train, told)]
    known["nearest"] = np.sqrt(apart[0]).mean()
    known["closer"] = np.where(apart[0] == apart[1], 0.5, apart[0] < apart[1]).mean()
    found = {key: value_of(record, key) for key in known}
    assert found == pytest.approx(known)
    assert "correlation_channels" not in record["measures"]
    both = value_of(record, "correlation_beside", "real")
    assert both > 0.5 > abs(found["correlation_beside"])


def test_pictures_that_are_the_real_side_are_as_good_as_real(pictures, tmp_path):
    data = open_data(pictures / "data")
    held_out = len(data.tokens("test")) // 30 // 2
    sides = of_pictures.make_sides(data, np.zeros((held_out, 30), np.int64), "test", 0)
    record = judged(save(tmp_path / "s.npz", sides.real, data), pictures / "data", tmp_path)
    for key, one in record["measures"].items():
        assert one["samples"] == one["real"], key


def test_pictures_that_cannot_be_compared_are_refused(pictures, tmp_path, capsys, monkeypatch):
    flags = ["--data", pictures / "data"]
    np.savez(tmp_path / "s.npz", data=np.zeros((5, 4, 4), np.uint8))
    assert "has images of 4 x 4 x 1" in refused(capsys, tmp_path / "s.npz", *flags)
    np.savez(tmp_path / "s.npz", data=np.zeros((1, 6, 5), np.uint8))
    assert "1 example is too few" in refused(capsys, tmp_path / "s.npz", *flags)
    (tmp_path / "s.png").write_bytes(png(np.zeros((6, 5, 1), np.uint8)))
    assert "is one picture: name the folder" in refused(capsys, tmp_path / "s.png", *flags)
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_bytes(b"nothing")
    assert "has no pictures" in refused(capsys, tmp_path / "empty", *flags)
    (tmp_path / "s.txt").write_bytes(b"nothing")
    said = refused(capsys, tmp_path / "s.txt", *flags)
    assert "its format cannot be told; give an .npz or IDX file, or a folder of pictures" in said
    data = open_data(pictures / "data")
    made = save(tmp_path / "s.npz", np.zeros((60, 30), np.int64), data)
    assert "--perplexity is not for a picture" in refused(
        capsys, made, *flags, "--perplexity", tmp_path
    )
    monkeypatch.setattr(of_pictures, "PICTURES", 8)
    monkeypatch.setattr(of_pictures, "TRAINING", 1000)
    record = judged(made, pictures / "data", tmp_path)
    said = capsys.readouterr().out
    assert record["samples"] == 8 and "8 random ones of the 60 samples" in said
    assert "copies are looked for among 30 of 180 training pictures" in said
    assert math.isnan(record["measures"]["correlation_below"]["samples"]["value"] or math.nan)


# ---------------------------------------------------------------- perplexity and features


class Uniform:
    """Every token is as probable as another."""

    what, record = "a die", {"sides": 65}

    def rows(self, examples):
        return [one.ids for one in examples]

    def nats(self, rows):
        tokens = np.array([len(row) for row in rows], float)
        return tokens * math.log(65), tokens


def test_a_perplexity_is_told_with_its_entropy():
    random = np.random.default_rng(0)
    side = [Example("", random.integers(0, 65, 40)) for _ in range(30)]
    measure = make_trial(30, np.arange(30), 0).measure
    found = perplexity.judged(Uniform(), (side, side), measure)
    value, entropy = found.measures
    assert value.samples.value == pytest.approx(65) == value.real.value
    counts = [np.unique(one.ids, return_counts=True)[1] / 40 for one in side]
    known = np.mean([-(p * np.log(p)).sum() for p in counts])
    assert entropy.samples.value == pytest.approx(known)
    assert "temperature unknown, top-p unknown, precision unknown" in found.notes[0]
    how = {"temperature": 0.5, "top_p": 0.9, "precision": "float32", "steps": 8}
    record = perplexity.Record(Path("r.json"), [""], how)
    found = perplexity.judged(Uniform(), (side, side), measure, record)
    assert "temperature 0.5, top-p 0.9, precision float32, steps 8" in found.notes[0]


def test_errors_of_a_perplexity_are_the_spread_of_other_samples():
    random, found = np.random.default_rng(0), []
    for _ in range(200):
        nats, tokens = random.normal(60, 8, 50), np.full(50, 20.0)
        score = perplexity.perplexity(nats, tokens)
        trial = make_trial(50, np.arange(50), 0)
        found.append(trial.measure("k", "n", "s", None, score, score).samples)
    values, errors = np.array(found).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.2)


def test_a_run_judges_by_the_likelihood_of_its_sampler(data, text_run):
    folder = unmask.checkpoint.resolve(text_run)
    opened = open_data(data)
    kind = kind_of(opened.meta, opened.folder)
    judge = Own(folder, kind, torch.device("cpu"))
    tokens = np.asarray(opened.tokens("test")).astype(np.int64)
    rows = [tokens[:8], tokens[8:11], tokens[20:40], tokens[:0]]
    nats, number = judge.nats(rows)
    assert number.tolist() == [8, 3, 20, 0] and nats[3] == 0
    model = unmask.MaskedDiffusion.from_pretrained(folder)
    known = []
    for row in rows[:3]:
        windows = [row[i : i + 8] for i in range(0, len(row), 8)]
        batches = [torch.from_numpy(window)[None] for window in windows]
        order = likelihood.Path("left-to-right")
        known.append(sum(estimate(model, [one], order).mean for one in batches))
    assert nats[:3].tolist() == pytest.approx(known, rel=1e-5)


@pytest.fixture(scope="module")
def protein_run(proteins):
    """A run of few steps at 24 residues, whose network looks at the ends of a sequence."""
    config = TrainConfig(
        length=24, dim=16, layers=1, heads=2, batch_size=8, steps=12, warmup=1, eval_windows=8,
        dtype="float32", device="cpu",
    )  # fmt: skip
    return train(config, proteins / "data", proteins / "run").parents[1]


def own_judge(run, folder):
    data = open_data(folder)
    kind = kind_of(data.meta, data.folder)
    return Own(checkpoint.resolve(run), kind, torch.device("cpu"))


def test_pieces_of_a_long_protein_are_judged_as_pieces(proteins, protein_run):
    """As the windows of the test split are evaluated, which are told their ends."""
    data, judge = open_data(proteins / "data"), own_judge(protein_run, proteins / "data")
    sequences = [ids for ids in data.sequences("test") if len(ids) > 60][:4]
    strange = sequences[0].astype(np.int64)
    strange[:30] = data.vocab_size  # not known, and its first window is nothing but that
    rows = judge.rows([Example("", ids) for ids in [*sequences, strange]])
    assert (rows[-1][:30] == -1).all()
    nats, tokens = judge.nats(rows)
    for row, found, number in zip(rows, nats, tokens, strict=True):
        known = 0.0
        for low in range(0, len(row), 24):
            ids = torch.from_numpy(row[low : low + 24])[None]
            there = {"ends": torch.tensor([[low == 0, low + 24 >= len(row)]]), "valid": ids >= 0}
            if there["valid"].any():
                batch = {"x": ids.clamp(min=0), **there}
                known += float(estimate(judge.model, [batch], ORDER).per_example.sum())
        assert found == pytest.approx(known, rel=1e-5) and number == (row >= 0).sum()


def test_the_command_says_how_samples_were_drawn(data, text_run, tmp_path, capsys):
    made, told = str(tmp_path / "s.jsonl"), str(tmp_path / "s.json")
    drawn = ["sample", str(text_run), "--num", "12", "--steps", "4", "--temperature", "0.7"]
    drawn += ["--out", made, "--json", told, "--dtype", "float32"]
    assert main(drawn) == 0
    flags = ["--perplexity", text_run, "--dtype", "float32"]
    capsys.readouterr()
    record = judged(made, data, tmp_path, *flags, "--record", told)
    said = capsys.readouterr().out
    assert "temperature 0.7, top-p 1.0, precision float32" in said
    assert "draw exact" in said and "generative perplexity" in said
    assert record["perplexity"]["drawn"]["steps"] == 4
    one = record["measures"]["generative_perplexity"]
    assert 1 < one["samples"]["value"] < 60 and one["samples"]["error"] > 0
    assert record["measures"]["judge_entropy"]["real"]["value"] > 1
    judged(made, data, tmp_path, *flags)
    assert "temperature unknown" in capsys.readouterr().out
    flags = ["--data", data, *flags]
    (tmp_path / "no.json").write_text('{"command": ["unmask", "eval"]}', encoding="utf-8")
    assert "is no record of unmask sample" in refused(
        capsys, made, *flags, "--record", tmp_path / "no.json"
    )
    other = write_lines(tmp_path / "other.jsonl", ["the fox", "a dog"])
    assert "is the record of other samples: it has 2 of the 2 not" in refused(
        capsys, other, *flags, "--record", told
    )
    assert "--record goes with --perplexity" in refused(
        capsys, made, "--data", data, "--record", told
    )
    assert "there is no folder" in refused(
        capsys, made, "--data", data, "--perplexity", tmp_path / "nowhere"
    )


def test_a_run_that_judges_rounds_only_if_it_is_asked_to(data, text_run, tmp_path, monkeypatch):
    monkeypatch.setenv("UNMASK_DTYPE", "bfloat16")
    made = write_lines(tmp_path / "s.jsonl", ["the fox", "a dog"])
    record = judged(made, data, tmp_path, "--perplexity", text_run)
    assert record["perplexity"]["dtype"] == "float32"
    assert any("exactly, in float32" in note for note in record["notes"])
    known = judged(made, data, tmp_path, "--perplexity", text_run, "--dtype", "float32")
    assert record["measures"] == known["measures"]
    half = judged(made, data, tmp_path, "--perplexity", text_run, "--dtype", "bfloat16")
    assert half["perplexity"]["dtype"] == "bfloat16"
    assert value_of(half, "generative_perplexity") != value_of(record, "generative_perplexity")


def test_threads_that_cannot_be_are_told_of_before_a_judge_is_opened(data, tmp_path, capsys):
    made = write_lines(tmp_path / "s.jsonl", ["the fox", "a dog"])
    flags = ["--data", data, "--threads", "-1", "--perplexity", tmp_path / "nowhere"]
    assert "--threads must not be negative, not -1" in refused(capsys, made, *flags)


def test_all_that_makes_samples_colder_is_told(data, text_run, tmp_path, capsys):
    made, told = str(tmp_path / "s.jsonl"), str(tmp_path / "s.json")
    drawn = ["sample", str(text_run), "--num", "4", "--out", made, "--json", told, "--steps", "4"]
    flags = ["--draw", "float32-gumbel", "--sampler", "remdm-cap", "--eta", "0.3"]
    assert main([*drawn, *flags]) == 0
    capsys.readouterr()
    judged(made, data, tmp_path, "--perplexity", text_run, "--record", told)
    said = capsys.readouterr().out
    assert "draw float32-gumbel" in said and "eta 0.3" in said and "remdm-cap" in said


def test_a_record_that_is_none_is_refused(data, text_run, tmp_path, capsys):
    made, told = write_lines(tmp_path / "s.jsonl", ["the fox", "a dog"]), tmp_path / "r.json"
    flags = [made, "--data", data, "--perplexity", text_run, "--record", told]
    known = {"sampler": "ancestral", "temperature": 1.0, "samples": ["the fox", "a dog"]}
    for wrong, said in [
        ({"sampler": ["\u001b[31m"]}, 'sampler is ["\\u001b[31m"], expected a text in one line'),
        ({"sampler": "\u001b[31m"}, "expected a text in one line"),
        ({"temperature": {"a": [1, 2]}}, 'temperature is {"a": [1, 2]}, expected a finite number'),
        ({"steps": math.inf}, "steps is Infinity, expected a number of steps"),
        ({"eta": True}, "eta is true, expected a finite number"),
        ({"samples": [1]}, "samples[0] is 1, expected a text"),
    ]:
        told.write_text(json.dumps(known | wrong), encoding="utf-8")
        assert said in refused(capsys, *flags), wrong
    hole, filled = tmp_path / "h.txt", tmp_path / "f.json"
    hole.write_text("the [MASK:3]", encoding="utf-8")
    assert main(["fill", str(text_run), str(hole), "--json", str(filled)]) == 0
    flags[-1] = filled
    assert "is no record of unmask sample" in refused(capsys, *flags)


def test_samples_that_were_cut_are_those_of_their_record():
    record = perplexity.Record(Path("r.json"), ["abcdef", "ab", "xyz"], {})
    record.check([Example(text, np.zeros(0)) for text in ("abcd", "xyz", "ab")])
    for text in ("abc", "x", "abce"):
        with pytest.raises(ValueError, match="it has 1 of the 2 not, such as the one that begins"):
            record.check([Example(one, np.zeros(0)) for one in ("abcd", text)])


def test_samples_of_which_nothing_is_known_are_refused(proteins, protein_run, tmp_path, capsys):
    made = tmp_path / "x.fasta"
    made.write_text(">a\nXXXXX\n>b\nXXX\n", encoding="utf-8")
    flags = ["--data", proteins / "data", "--perplexity", protein_run]
    assert "scores no token of the samples" in refused(capsys, made, *flags)
    made.write_text(">a\nXXXXX\n>b\nXXXMMKK\n>c\nKKMMXX\n", encoding="utf-8")
    record = judged(made, proteins / "data", tmp_path, *flags[2:])
    # of two that have tokens, and of those tokens alone
    assert value_of(record, "judge_entropy") == pytest.approx(math.log(2))


def test_a_judge_of_other_tokens_is_refused(home, text_run, tmp_path, capsys):
    made = write_lines(tmp_path / "s.jsonl", ["no", "more"])
    said = refused(capsys, made, "--data", home / "data", "--perplexity", text_run)
    assert "values and the model 28: prepare the text again" in said


def test_features_are_compared_as_distance_does(pictures, tmp_path, capsys):
    random = np.random.default_rng(0)
    ours, theirs = random.normal(0.3, 1, (200, 3)), random.normal(size=(300, 3))
    names = [tmp_path / "a.npy", tmp_path / "b.npy"]
    np.save(names[0], ours)
    np.save(names[1], theirs)
    data = open_data(pictures / "data")
    made = save(tmp_path / "s.npz", random.integers(0, 4, (20, 30)), data)
    record = judged(made, pictures / "data", tmp_path, "--features", *names)
    one = record["measures"]["frechet"]
    known = frechet_distance(*map(torch.from_numpy, (ours, theirs)))
    assert one["samples"]["value"] == pytest.approx(known)
    assert 0.001 < one["real"]["value"] < one["like"]["value"]
    assert one["samples"]["error"] > 0
    flags = ["--data", pictures / "data", "--features"]
    assert "--features has 1 names" in refused(capsys, made, *flags, names[0])
    np.savez(tmp_path / "m.npz", mu=np.zeros(3), sigma=np.eye(3))
    assert "mean and covariance alone" in refused(
        capsys, made, *flags, names[0], tmp_path / "m.npz"
    )
    np.save(tmp_path / "few.npy", theirs[:3])
    assert "3 features, and 4 are needed" in refused(
        capsys, made, *flags, names[0], tmp_path / "few.npy"
    )
    np.save(tmp_path / "wide.npy", random.normal(size=(300, 4)))
    assert "and 4 on the other" in refused(capsys, made, *flags, names[0], tmp_path / "wide.npy")


def test_few_features_are_compared_with_as_few_real_ones(tmp_path):
    """Of one law both have the same distance; that of 200 and 200 is a quarter of it."""
    random, found = np.random.default_rng(0), []
    for seed in range(20):
        np.save(tmp_path / "a.npy", random.normal(size=(50, 8)))
        np.save(tmp_path / "b.npy", random.normal(size=(400, 8)))
        (one,) = compare_features(tmp_path / "a.npy", tmp_path / "b.npy", seed).measures
        found.append((one.like.value, one.real.value))
    like, real = np.mean(found, 0)
    assert 0.7 < like / real < 1.4


def test_distances_of_which_there_is_no_run_are_unknown(home, tmp_path, capsys):
    judged(write_lines(tmp_path / "s.jsonl", list("abcdefgh")), home / "data", tmp_path)
    said = capsys.readouterr().out
    assert "unknown, unknown, unknown: that much lies" in said and "nan" not in said


def test_an_error_that_is_missing_is_not_0():
    """Of figures that all leave-outs agree on but for rounding, shares of ties, constants."""
    trial = make_trial(30, np.arange(30), 0)
    wholes = np.random.default_rng(0).integers(1, 100, 30)
    constant, varied = share_of(0.1 * wholes, wholes), share_of(wholes % 2, wholes)
    one = trial.measure("k", "n", "s", None, constant, varied)
    assert one.real is not None and one.real.error > 0
    left_out = [constant(np.arange(30) != i) for i in range(30)]
    assert 0 < np.ptp(left_out) < 1e-15 and math.isnan(one.samples.error)
    side = Closer(np.full(30, 0.5), np.arange(30))
    assert trial.closer("s", side, side).samples.spell() == "0.5"
    constant, other = torch.full((40, 3), 0.3), torch.full((50, 3), 0.7)
    assert math.isnan(frechet(moments(constant), moments(other)).stderr)
    varied = frechet(moments(torch.randn(40, 3)), moments(torch.randn(50, 3) + 1))
    assert varied.stderr > 0


def test_rows_of_a_table_of_figures_name_the_ideal():
    trial = make_trial(2, np.arange(2), 0)
    one = trial.measure("k", "n", "s", 0.0, lambda w: 0.0, lambda w: math.nan)
    assert rows_of([one])[1] == ["n", "0", "0", "", "unknown"]


def test_mauve_is_of_features(pictures, tmp_path, capsys):
    """And computed by a package that is not in this environment."""
    random, data = np.random.default_rng(0), open_data(pictures / "data")
    made = save(tmp_path / "s.npz", random.integers(0, 4, (20, 30)), data)
    np.save(tmp_path / "a.npy", random.normal(size=(8, 3)))
    flags = ["--data", pictures / "data", "--mauve"]
    assert "--mauve is of features: give --features, or" in refused(capsys, made, *flags)
    files = [tmp_path / "a.npy"] * 2
    said = refused(capsys, made, *flags, "--features", *files)
    assert "mauve-text, which is not installed: pip install 'unmask[mauve]'" in said


def test_only_an_end_of_line_ends_a_sample(tmp_path):
    path = tmp_path / "samples.txt"
    path.write_bytes("a\x0cb\u2028c\r\n\nd\x85e\n".encode())
    assert pieces.read_samples(path)[0] == ["a\x0cb\u2028c", "d\x85e"]
