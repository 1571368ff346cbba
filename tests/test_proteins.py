"""Proteins: the loader on the bundled UniProt sequences, what is refused, splits, buckets, padding,
the length model, the verbs."""

import copy
import gzip
import io
import json
import lzma
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from test_core import chi_square

import unmask
from unmask.audit import exact_nelbo
from unmask.backbones import Transformer
from unmask.cli import main
from unmask.config import TrainConfig
from unmask.data import Residues, make_tokenizer, open_data, prepare_proteins
from unmask.evaluation.schedule import count_tokens
from unmask.filling import Filler
from unmask.kinds import sources
from unmask.kinds.baselines import sequence_ngram_bits, sequence_ngram_probs
from unmask.kinds.kind import Partial
from unmask.kinds.leftout import BadRecord, LeftOut
from unmask.kinds.proteins import demo as demo_proteins
from unmask.kinds.proteins.demo import UniProt
from unmask.kinds.proteins.fasta import format_fasta, parse_fasta
from unmask.kinds.proteins.kind import Proteins
from unmask.kinds.proteins.residues import LETTERS
from unmask.likelihood import (
    Enumeration,
    conditional_nats,
    cross_entropy_by_count,
    estimate,
    estimate_nelbo,
)
from unmask.masks import Draw
from unmask.roles import GIVEN, HOLE
from unmask.rows import windows
from unmask.sampling import draw_lengths, sample
from unmask.train import build, train

LENGTH = 48
SMALL = TrainConfig(
    length=LENGTH, dim=16, layers=1, heads=2, batch_size=8, steps=4, warmup=2, eval_minutes=0,
    eval_windows=16, log_every=2, dtype="float32", device="cpu", threads=1,
)  # fmt: skip


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def records(text):
    """[(header, letters)], read here without the package."""
    parts = [part.split("\n") for part in text.split(">")[1:]]
    return [(head, "".join(lines)) for head, *lines in parts]


@pytest.fixture(scope="module")
def real():
    return records(gzip.decompress(UniProt.source.read_bytes()).decode())


@pytest.fixture(scope="module")
def source(tmp_path_factory, real):
    """300 bundled sequences, one in ten of them cut to 20 residues, six of 700 made of others, some
    residues not known, some twice."""
    # the file is in the order of a hash
    letters = [s[:20] if i % 10 == 0 else s for i, (_, s) in enumerate(real[::13][:300])]
    letters[1:7] = ["".join(s for _, s in real[300 + i : 320 + i])[:700] for i in range(0, 120, 20)]
    letters[7] = "X" + letters[7][1:10] + "BZJ" + letters[7][13:]
    letters += letters[20:40]
    path = tmp_path_factory.mktemp("fasta") / "some.fasta"
    path.write_text(format_fasta((f"s{i} of many", s) for i, s in enumerate(letters)))
    return path


@pytest.fixture(scope="module")
def folder(source):
    out = source.parent / "data"
    prepare_proteins(source, out, split="0.8,0.1,0.1", progress=False)
    return out


@pytest.fixture(scope="module")
def run(folder):
    """A model of them, trained for four steps."""
    out = folder.parent / "run"
    train(SMALL, folder, out)
    return out


@pytest.fixture
def model(run):
    return unmask.MaskedDiffusion.from_pretrained(run).double()


def letters_of(data, split):
    return [data.tokenizer.decode(row) for row in data.sequences(split)]


# ---------------------------------------------------------------- files


def test_every_bundled_record_is_read(tmp_path, real):
    meta = prepare_proteins(UniProt.source, tmp_path / "data", split="1,0,0", progress=False)
    data = open_data(tmp_path / "data")
    assert len(real) == 4000 and max(len(s) for _, s in real) <= 256
    assert letters_of(data, "train") == [re.sub("[BJZ]", "X", s) for _, s in real]
    assert meta["lengths"] == {
        str(n): c for n, c in sorted(Counter(len(s) for _, s in real).items())
    }
    assert meta["unknown"]["train"] == sum(s.count(c) for _, s in real for c in "BJXZ") > 0
    assert meta["distinct"] == 4000 and data.splits == ("train",) and data.unit == "residue"
    assert UniProt.source.stat().st_size < 700_000


GOOD = {
    "plain": b">a one\nMKV\nLX\n\n>b\nACD\n",
    "CR LF": b">a one\r\nMKV\r\nLX\r\n>b\r\nACD",
    "CR": b">a one\rMKV\rLX\r>b\rACD\r",
    "byte-order mark": b"\xef\xbb\xbf>a one\nMKVLX\n>b\nACD\n",
    "UTF-16": ">a one\nMKVLX\n>b\nACD\n".encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + ">a one\nMKVLX\n>b\nACD\n".encode("utf-16-be"),
    "small letters, blanks, stops": b">a one\n  mkv lX*\n>b\nAC\t\nd**\n",
    "comments": b"; of old\n>a one\n;no\nMKVLX\n\n\n>b\n\nACD\n",
    "a header in Latin-1": b">a one\nMKVLX\n>b\nACD\n".replace(b"one", b"\xfcber"),
}


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are told in other units elsewhere")
def test_short_lines_take_a_small_multiple_of_the_file(tmp_path):
    size = 9 << 20
    (tmp_path / "short.fa").write_bytes(b">a\n" + b"MK\n" * (size // 3))
    code = (
        "import resource; from unmask.kinds.proteins.prepare import prepare_proteins; "
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10; before = peak(); "
        "prepare_proteins('short.fa', 'data', split='1,0,0', progress=False); "
        "print(peak() - before)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 15 * size, f"{int(done.stdout) / size:.1f} times"
    assert letters_of(open_data(tmp_path / "data"), "train") == ["MK" * (size // 3)]


def test_a_wrong_letter_is_found_in_its_line_whatever_the_lines_are(tmp_path):
    content = b">a\nMK\n; not M1\n\n M K\t\n" + b"A\n" * 5000 + b"M1\n"
    with pytest.raises(ValueError, match=r"line 5006: '1' at residue 5006 of record 'a'"):
        list(parse_fasta([content], "a.fa"))


@pytest.mark.parametrize("block", [1, 2, 8 << 20])
@pytest.mark.parametrize("name", GOOD)
def test_what_can_be_read_right_is(tmp_path, monkeypatch, name, block):
    monkeypatch.setattr(sources, "BLOCK", block)
    (tmp_path / "a.fa").write_bytes(GOOD[name])
    prepare_proteins(tmp_path / "a.fa", tmp_path / "data", split="1,0,0", progress=False)
    assert letters_of(open_data(tmp_path / "data"), "train") == ["MKVLX", "ACD"]


@pytest.mark.parametrize("ending,pack", [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_packed_files_folders_and_files_of_their_own(tmp_path, ending, pack):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / f"1.fasta{ending}").write_bytes(pack(b">a\nMKV\n"))
    (tmp_path / "in" / "2.fasta").write_bytes(b">b\nACD\n")
    (tmp_path / "in" / f"2.fasta{ending}").write_bytes(pack(b">b\nACD\n"))  # of the one above
    (tmp_path / "test.fa").write_bytes(b">c\nWW")
    meta = prepare_proteins(
        tmp_path / "in", tmp_path / "data", test=tmp_path / "test.fa", progress=False
    )
    data = open_data(tmp_path / "data")
    assert letters_of(data, "train") == ["MKV", "ACD"] and letters_of(data, "test") == ["WW"]
    assert data.splits == ("train", "test") and meta["split"] == "files"
    copies = {"count": 1, "first": [f"2.fasta{ending}"]}
    assert meta["skipped"] == {"packed, and there unpacked as well": copies}


BAD = {
    "gap": (
        b">a\nMK\n>b c\nMV-L\n",
        "x.fa, line 4: '-' at residue 3 of record 'b c' is a gap of an alignment",
    ),
    "other letter": (
        b">a\nMKV\nA1L\n",
        "x.fa, line 3: '1' at residue 5 of record 'a' is no residue",
    ),
    "not ASCII": (
        ">a\nM\u00df\n".encode(),
        "x.fa, line 2: '\u00df' at residue 2 of record 'a' is no residue",
    ),
    "UTF-16 without a mark": (
        ">a\nMK\n".encode("utf-16-le"),
        "'.x00' at residue 2|'.x00M.x00K.x00' stands before|is no residue",
    ),
    "stop inside": (
        b">a\nM*K\n",
        "x.fa, line 2: '.' at residue 2 of record 'a' is a stop inside the sequence",
    ),
    "a hole": (b">a\nM[MASK]K\n", "x.fa, line 2: '.' at residue 2 of record 'a' is no residue"),
    "empty record": (b">a\nMK\n>b\n>c\nMK\n", "x.fa, line 3: record 'b' has no residues"),
    "empty last record": (b">a\nMK\n>b\n\n", "x.fa, line 3: record 'b' has no residues"),
    "only a stop": (b">a\n*\n", "x.fa, line 1: record 'a' has no residues"),
    "no header": (b"MKV\n>a\nMK\n", "x.fa, line 1: 'MKV' stands before the first header"),
    "nothing": (b"", "x.fa has no records"),
    "blank": (b"\n \n", "x.fa has no records"),
    "half of UTF-16": (b"\xff\xfe>\x00a\x00\n\x00M\x00\n", "x.fa begins like UTF-16 and is not"),
    "nothing known": (b">a\nXXXX\n", "x.fa has no residue that is known"),
    "nucleotides": (b">a\n" + b"ACGTN" * 40 + b"\n", "x.fa has the letters of nucleotides"),
    "packed": (gzip.compress(b">a\nMKV\n"), "x.fa is a gzip archive"),
    "too few": (b">a\nMK\n>b\nMV\n", "the validation split, 0.05 of 2 sequences, comes out empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_one_sentence_that_names_file_line_and_value(
    tmp_path, capsys, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    content, said = BAD[name]
    Path("x.fa").write_bytes(content)
    assert main(["prepare", "proteins", "x.fa", "out"]) == 2
    error = capsys.readouterr().err
    assert (
        re.search(said, error) and error.startswith("unmask prepare: ") and error.count("\n") == 1
    ), error
    assert [path.name for path in Path().iterdir()] == ["x.fa"]


def test_a_file_that_ends_too_early_is_refused(tmp_path, capsys):
    (tmp_path / "x.fasta.gz").write_bytes(UniProt.source.read_bytes()[:5000])
    assert main(["prepare", "proteins", str(tmp_path / "x.fasta.gz"), str(tmp_path / "out")]) == 2
    assert "x.fasta.gz is truncated or damaged" in capsys.readouterr().err
    assert main(["prepare", "proteins", str(tmp_path / "gone.fa"), str(tmp_path / "out")]) == 2
    assert "gone.fa does not exist" in capsys.readouterr().err


def test_equal_sequences_are_in_one_split_whatever_the_order_of_the_file(tmp_path, source):
    found, sides = [], {}
    for step in (1, -1):
        mixed = records(source.read_text(encoding="utf-8"))[::step]
        (tmp_path / f"{step}.fa").write_text(format_fasta(mixed))
        prepare_proteins(
            tmp_path / f"{step}.fa", tmp_path / str(step), split="0.6,0.2,0.2", progress=False
        )
        data = open_data(tmp_path / str(step))
        found.append({split: sorted(letters_of(data, split)) for split in data.splits})
        for split in data.splits:
            for letters in letters_of(data, split):
                sides.setdefault(letters, set()).add(split)
    assert found[0] == found[1] and all(len(side) == 1 for side in sides.values())
    assert (
        sum(len(rows) for rows in found[0].values()) == 320 and 180 <= len(found[0]["train"]) <= 204
    )


SOME_BAD = b">a\nMKV*\n>b two\nMK*V\n>c\n\n>d\nM-K\n>e\nMK\n1\n>f\xfc\nM*\nM\n>g\nacd\n>h\nMW\n"


def test_bad_records_are_skipped_if_asked_for_and_counted_and_named(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("x.fa").write_bytes(SOME_BAD)
    command = ["prepare", "proteins", "x.fa", "out", "--split", "1,0,0"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert "x.fa, line 4: '*' at residue 3 of record 'b two'" in error and "--skip-bad" in error
    assert main([*command, "--skip-bad"]) == 0
    said = capsys.readouterr().out
    assert letters_of(open_data("out"), "train") == ["MKV", "ACD", "MW"]
    assert json.loads(Path("out/meta.json").read_text(encoding="utf-8"))["skipped"] == {
        "a stop inside the sequence": {
            "count": 2,
            "first": ["x.fa, line 3: record 'b two'", "x.fa, line 12: record 'f\\udcfc'"],
        },
        "no residues": {"count": 1, "first": ["x.fa, line 5: record 'c'"]},
        "a gap of an alignment": {"count": 1, "first": ["x.fa, line 7: record 'd'"]},
        "no residue": {"count": 1, "first": ["x.fa, line 9: record 'e'"]},
    }
    assert "left out: 1 (no residues): x.fa, line 5: record 'c'\n" in said
    assert re.search(r"sequences +residues +shortest +mean +longest +not known\n", said)
    assert re.search(r"\n  train +3 +8 +2 +3 +3 +0\n  validation +0 +0 +- +- +- +0\n", said)
    Path("x.fa").write_bytes(b">a\nM*K\n>b\nM-K\n")
    assert main(["prepare", "proteins", "x.fa", "no", "--skip-bad"]) == 2
    error = capsys.readouterr().err
    said = "x.fa has no record that can be read: 1 (a stop inside the sequence): x.fa, line 1: reco"
    assert said in error
    assert error.count("\n") == 1
    Path("x.fa").write_bytes(b">a\nMK\n")
    meta = prepare_proteins("x.fa", "all", split="1,0,0", skip_bad=True, progress=False)
    assert "skipped" not in meta


# ---------------------------------------------------------------- batches and windows


def test_residues_and_their_ids():
    tokenizer = Residues()
    assert tokenizer.encode("ACDBXZJOU").tolist() == [0, 1, 2, 22, 22, 22, 22, 21, 20]
    assert (
        tokenizer.decode([0, 22, -1, 21]) == "AXXO"
        and "".join(map(tokenizer.spell, range(22))) == LETTERS
    )
    with pytest.raises(ValueError, match="letter '-' at position 2"):
        tokenizer.encode("A-")
    with pytest.raises(ValueError, match="id 23 is none of the 22 residues"):
        tokenizer.decode([23])


def test_windows_hold_each_residue_once_longest_first_with_little_padding(folder):
    data = open_data(folder)
    for split in data.splits:
        seen, before = [], LENGTH
        for batch in data.windows(split, LENGTH, 16):
            valid = batch.get("valid", torch.ones_like(batch["x"], dtype=torch.bool))
            assert batch["x"].shape[1] <= before and int(batch["x"][~valid].sum()) == 0
            before = batch["x"].shape[1]
            seen += batch["x"][valid].tolist()
        stored = np.asarray(data.tokens(split))
        assert Counter(seen) == Counter(stored[stored < 22].tolist())
        sequence, start, size = data.window_places(split, LENGTH)
        covered = np.concatenate([np.arange(a, a + n) for a, n in zip(start, size)])
        assert (
            np.array_equal(np.sort(covered), np.arange(len(stored))) and (np.diff(size) <= 0).all()
        )
        edges = data.edges(split)
        assert (edges[sequence] <= start).all() and (start + size <= edges[sequence + 1]).all()
    few = next(data.windows("train", LENGTH, 100, limit=10))
    assert len(few["x"]) == 10
    long = sum(len(row) > 600 for row in data.sequences("train"))
    assert (
        long > 2 and f"{long} longer than 600, cut into windows" in data.protocol("train", 600)[0]
    )
    assert "none longer than 700" in data.protocol("train", 700)[0]


def test_what_is_not_known_has_no_value_and_is_not_scored(tmp_path):
    (tmp_path / "x.fa").write_text(">a\nMXKB\n>b\nAC\n")
    prepare_proteins(tmp_path / "x.fa", tmp_path / "data", split="1,0,0", progress=False)
    data = open_data(tmp_path / "data")
    (batch,) = data.windows("train", 8, 4)
    assert batch["valid"].tolist() == [[True, False, True, False], [True, True, False, False]]
    assert data.tokenizer.decode(batch["x"][0][batch["valid"][0]]) == "MK"
    model = build(SMALL, 22, {"data": data.meta}).double()
    bound = estimate(model, [batch], Enumeration(), repeats=1)
    assert bound.positions.tolist() == [2, 2] and bound.per_example.tolist() == pytest.approx(
        [2 * np.log(22)] * 2
    )
    assert count_tokens(data, "train").tolist() == [LETTERS[i] in "MKAC" for i in range(22)]


def test_batches_are_of_one_length_and_depend_on_seed_step_and_micro_batch_alone(folder):
    data, again = open_data(folder), open_data(folder)
    length, shapes, filled = 160, set(), []
    for step in range(40):
        one, two = (d.batch("train", length, 8, 3, step, 1) for d in (data, again))
        assert all(torch.equal(one[key], two[key]) for key in one) and one.keys() == two.keys()
        rows, width = one["x"].shape
        assert rows * width <= 8 * length and width <= length
        shapes.add((rows, width))
        filled.append(float(one["valid"].float().mean()) if "valid" in one else 1)
    # crops at the ends of long ones are short
    assert len({rows for rows, _ in shapes}) > 1 and np.mean(filled) > 0.6
    x = [
        data.batch("train", length, 8, *key)["x"]
        for key in ((0, 1, 0), (0, 1, 1), (0, 2, 0), (1, 1, 0))
    ]
    assert len({tuple(rows.flatten().tolist()) for rows in x}) == 4


def test_every_residue_weighs_as_much_in_training_as_in_scoring(folder, monkeypatch):
    """In a loss that is divided by the residues of its batch: 1 in all, on average, wherever a
    residue is."""
    data, taken, length, batches = open_data(folder), [], 160, 10_000
    monkeypatch.setattr(type(data), "_take", lambda self, *places: taken.append(places[2:]))
    for step in range(batches):
        data.batch("train", length, 3, 0, step)
    sizes = np.diff(data.edges("train"))
    seen = np.zeros(sizes.sum())
    for start, lengths in taken:
        for a, n in zip(start, lengths):
            seen[a : a + n] += len(seen) / batches / lengths.sum()
    size = np.repeat(sizes, sizes)  # of the sequence of every residue
    place = np.arange(len(size)) - np.repeat(data.edges("train")[:-1], sizes)
    parts = {"short": size < 120, "about a crop": (size > 140) & (size <= length)}
    parts |= {"long": (size > length) & (size < 300), "longest": size == 700}
    longest = size == 700
    parts |= {
        "begin": longest & (place < 100),
        "middle": longest & (abs(place - 350) < 50),
        "end": longest & (place >= 600),
    }
    for name, chosen in parts.items():
        # by the number of batches, at least, that such residues are in
        limit = 0.03 + 6 / np.sqrt(chosen.mean() * batches)
        assert limit < 1 and abs(seen[chosen].mean() - 1) < limit, (
            name,
            seen[chosen].mean(),
            limit,
        )


def test_the_windows_of_a_sequence_and_of_equal_ones_are_one_group(folder):
    data = open_data(folder)
    group = torch.cat([batch["group"] for batch in data.windows("train", 160, 32)])
    letters = letters_of(data, "train")
    of_window = [letters[i] for i in data.window_places("train", 160)[0]]
    assert len(set(letters)) < len(letters) < len(group)
    assert len(set(zip(group.tolist(), of_window, strict=True))) == len(set(letters))
    assert len(group.unique()) == len(set(letters))


# ---------------------------------------------------------------- padding, ends, lengths


def test_predictions_and_bounds_do_not_depend_on_padding_or_batch(folder, model):
    data = open_data(folder)
    sequences = [
        torch.from_numpy(row[:n].astype(np.int64))
        for n, row in zip((5, 8, 20, 33), data.sequences("train")[10:14])
    ]
    width = 40
    x, valid = torch.zeros(4, width, dtype=torch.long), torch.zeros(4, width, dtype=torch.bool)
    for i, row in enumerate(sequences):
        x[i, : len(row)], valid[i, : len(row)] = row, True
    masked = (torch.rand(4, width, generator=rng()) < 0.5) & valid
    z = model.corrupt(x, masked, valid)
    together = model.predict(z, valid=valid).exp()
    draw = Draw(
        torch.full((4,), 0.5, dtype=torch.float64), masked, torch.ones(4, dtype=torch.float64)
    )
    nats = model.score(model.clean(x, valid), draw)[1]
    for i, row in enumerate(sequences):
        n = len(row)
        assert torch.allclose(model.predict(z[i : i + 1, :n])[0].exp(), together[i, :n], atol=1e-12)
        one = Draw(draw.t[:1], masked[i : i + 1, :n], draw.scale[:1])
        assert float(model.score(model.clean(row[None]), one)[1]) == pytest.approx(
            float(nats[i]), rel=1e-6
        )
    for i in (0, 1):
        padded = exact_nelbo(model, x[:2, :9], valid=valid[:2, :9])[i]
        assert float(exact_nelbo(model, sequences[i][None]).detach()) == pytest.approx(
            float(padded.detach()), rel=1e-12
        )


def test_the_bound_of_a_split_does_not_depend_on_the_batch_size(tmp_path, model):
    (tmp_path / "x.fa").write_text(">a\nMKVLAX\n>b\nAC\n>c\nWWWW\n>d\nMKXVW\n>e\nACDEFGHIK\n")
    prepare_proteins(tmp_path / "x.fa", tmp_path / "data", split="1,0,0", progress=False)
    data, found = open_data(tmp_path / "data"), []
    for size in (1, 2, 8):
        each = [
            exact_nelbo(model, b["x"], valid=b.get("valid")).detach()
            for b in data.windows("train", 8, size)
        ]
        found.append(torch.cat(each))
    assert len(found[0]) == 6 and all(
        torch.allclose(found[0], other, rtol=1e-12) for other in found
    )


def test_a_network_that_marks_the_ends_knows_where_they_are():
    z = torch.full((2, 7), 5)
    valid = torch.tensor([[False] + [True] * 6, [True] * 4 + [False] * 3])
    plain, marked = (
        Transformer(5, dim=8, layers=1, heads=2, ends=ends).double() for ends in (False, True)
    )
    features = plain.features(z, valid=valid)
    # a masked sequence is the same everywhere
    assert torch.allclose(features, features[:, 1:2].expand_as(features), atol=1e-12)
    features = marked.features(z, valid=valid)
    inside = features[0, 2:6]
    # first and last with a value
    assert (features[0, [1, 6]] - inside[0]).abs().amax(-1).min() > 1e-3
    assert (features[1, [0, 3]] - features[1, 1]).abs().amax(-1).min() > 1e-3
    assert torch.allclose(features[1, :4], marked.features(z[1:, :4])[0], atol=1e-12)
    assert Transformer(**marked.config).ends is not None


def test_pieces_of_a_sequence_have_no_ends_but_its_own():
    """Marked at neither, one or both of them: by a model of pieces as by the marks alone."""
    torch.manual_seed(0)
    kinds = (False, True, "sequence")
    plain, of_rows, model = (random_network(ends) for ends in kinds)
    for other in (plain, of_rows):  # the same weights, as far as they go
        other.load_state_dict(model.state_dict(), strict=other is not plain)
    x, ends = torch.tensor([[0, 1, 2]] * 3), torch.tensor([[True, True], [False, False], [0, 1]])
    ends = ends.bool()
    bounds = exact_nelbo(model, x, ends=ends).detach()
    assert bounds[0] == exact_nelbo(model, x[:1])[0] == exact_nelbo(of_rows, x, ends=ends)[0]
    assert bounds[1] == exact_nelbo(plain, x[:1])[0]
    assert len({round(float(bound), 6) for bound in bounds}) == 3
    # what is drawn, estimated and sampled is told the same
    batch = {"x": x.repeat(700, 1), "ends": ends.repeat(700, 1)}
    estimate = estimate_nelbo(model, [batch])
    assert abs(estimate.mean - float(bounds.mean())) < 4 * estimate.noise
    z = torch.full((1, 3), model.mask_id)
    law = model.predict(z, ends=ends[1:2])[0].exp()
    assert torch.allclose(law, plain.predict(z)[0].exp(), atol=1e-12)
    drawn = sample(
        model, z=z.repeat(4000, 1), ends=ends[1:2].expand(4000, 2), generator=rng(), steps=1
    )
    for place in range(3):
        share = torch.bincount(drawn[:, place], minlength=5) / 4000
        assert (share - law[place]).abs().max() < 0.04
    pieces = {"x": x, "ends": torch.zeros(3, 2, dtype=torch.bool)}
    curves = [cross_entropy_by_count(*of, generator=rng()) for of in ((model, pieces), (plain, x))]
    assert curves[0] == curves[1] != cross_entropy_by_count(model, x, generator=rng())
    by_two = cross_entropy_by_count(model, pieces, rows=2, generator=rng())
    assert np.array(by_two) == pytest.approx(np.array(curves[0]), rel=1e-12)
    with pytest.raises(ValueError, match=r"ends must be bool \(3, 2\), not torch.bool \(2, 2\)"):
        model.nelbo(x, ends=ends[:2])


def random_network(ends):
    network = Transformer(5, dim=8, layers=1, heads=2, ends=ends).double()
    torch.nn.init.normal_(network.head.weight)
    return unmask.MaskedDiffusion(network, unmask.schedules.Linear(), unmask.Subtokenizer(5)).eval()


def test_batches_and_windows_tell_which_ends_they_hold(tmp_path, model):
    (tmp_path / "x.fa").write_text(">a\nACDEFGHIKLMN\n>b\nPQRS\n")
    prepare_proteins(tmp_path / "x.fa", tmp_path / "data", split="1,0,0", progress=False)
    data = open_data(tmp_path / "data")
    whole = [tuple(row) for row in data.sequences("train")]

    def check(batch):
        for i, row in enumerate(batch["x"]):
            size = int(batch["valid"][i].sum()) if "valid" in batch else len(row)
            piece = tuple(row[:size].tolist())
            held = [piece in {s[:size] for s in whole}, piece in {s[-size:] for s in whole}]
            assert batch["ends"][i].tolist() == held, piece

    for batch in data.windows("train", 5, 8):
        check(batch)
    for step in range(20):
        check(data.batch("train", 5, 8, 0, step))
    assert "ends" not in data.batch("train", 12, 4, 0, 0)
    # windows of a filling
    filler = Filler(model, window=True)
    filler.length = 6
    holes = np.full(14, HOLE, np.int8)
    rows = filler.rows([Partial(np.zeros(14), holes), Partial(np.zeros(8), holes[:8])])
    told = [rows.part(at, 1).told().get("ends") for at, _ in filler.windows(rows.holes)]
    assert told[0].tolist() == [[True, False], [True, False]]
    assert told[-1].tolist() == [[False, True], [False, True]]


def test_the_network_of_proteins_marks_the_ends_of_whole_sequences(run):
    config = unmask.MaskedDiffusion.from_pretrained(run).backbone.config
    assert config["ends"] == "sequence"


def test_lengths_are_drawn_from_the_training_sequences_up_to_the_trained_length(folder, run):
    model, meta = (
        unmask.MaskedDiffusion.from_pretrained(run),
        json.loads((folder / "meta.json").read_text(encoding="utf-8")),
    )
    assert (
        model.meta["data"]["lengths"] == meta["lengths"] and max(map(int, meta["lengths"])) == 700
    )
    kept = {int(n): c for n, c in meta["lengths"].items() if int(n) <= LENGTH}
    assert 20 in kept
    drawn = Counter(draw_lengths(model, 3000, rng()).tolist())
    assert set(drawn) <= set(kept)
    common = [n for n in kept if 3000 * kept[n] / sum(kept.values()) >= 5]
    counts = torch.tensor(
        [drawn[n] for n in common] + [3000 - sum(drawn[n] for n in common)]
    ).double()
    p = torch.tensor([kept[n] for n in common], dtype=torch.float64) / sum(kept.values())
    if float(1 - p.sum()) * 3000 < 5:
        chi_square(counts[:-1], p / p.sum())
    else:
        chi_square(counts, torch.cat([p, 1 - p.sum(0, keepdim=True)]))
    x = sample(model, num=5, steps=4, generator=rng())
    sizes = draw_lengths(model, 5, rng())
    assert (x >= 0).sum(1).tolist() == sizes.tolist() and x.shape == (5, int(sizes.max()))
    assert sample(model, num=2, length=9, steps=4).shape == (2, 9)
    long = copy.deepcopy(model)
    long.meta["length"] = 3
    with pytest.raises(ValueError, match="no training sequence is as short as 3"):
        draw_lengths(long, 2)


# ---------------------------------------------------------------- n-grams of sequences


def test_ngrams_do_not_cross_sequences_and_leave_out_what_is_not_known():
    # V = 2: unknown is 2, edge is 3.  Train 0 0 1 | 1 ? 0.  Order 1: c = (3, 2), T = 2: P = (5/7...
    # by hand below.
    train = np.array([0, 0, 1, 1, 2, 0]), np.array([0, 3, 6])
    one = (np.array([3, 2]) + 2 * np.array([0.5, 0.5])) / (5 + 2)
    np.testing.assert_allclose(sequence_ngram_probs(*train, 2, 1), one, rtol=1e-14)
    two = sequence_ngram_probs(*train, 2, 2)
    assert two.shape == (4, 2)
    # after an edge: 0 and 1, once each
    np.testing.assert_allclose(two[3], (np.array([1, 1]) + 2 * one) / 4, rtol=1e-14)
    # after the unknown: 0
    np.testing.assert_allclose(two[2], (np.array([1, 0]) + one) / 2, rtol=1e-14)
    # after 1, in the same sequence, nothing that is known
    np.testing.assert_allclose(two[1], one, rtol=1e-14)
    test = np.array([1, 2, 0, 1]), np.array([0, 3, 4])
    bits = sequence_ngram_bits(train, test, 2, 2)
    np.testing.assert_allclose(
        bits, [-np.log2(two[3, 1]) - np.log2(two[2, 0]), -np.log2(two[3, 1])], rtol=1e-14
    )
    np.testing.assert_allclose(sequence_ngram_probs(*train, 2, 3).sum(-1), 1, rtol=1e-12)


# ---------------------------------------------------------------- the verbs


def test_the_verbs_on_proteins(source, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = ["--split", "0.8,0.1,0.1", "--json", "p.json"]
    assert main(["prepare", "proteins", str(source), "data", *more]) == 0
    said = capsys.readouterr().out
    assert (
        "sequences" in said
        and re.search("[1-9] positions without a value", said)
        and json.loads(Path("p.json").read_text(encoding="utf-8"))["kind"] == "proteins"
    )
    flags = [
        f"--{n.replace('_', '-')}={getattr(SMALL, n)}"
        for n in ("length", "dim", "layers", "heads", "steps", "minutes", "threads")
    ]
    more = ["--data", "data", "--out", "run", "--batch-size=8", "--eval-windows=16"]
    assert main(["train", "protein", *more, *flags]) == 0
    assert (
        f"up to {8 * LENGTH} residues of sequences of about one length a step"
        in capsys.readouterr().err
    )
    assert main(["eval", "run", "--data", "data", "--json", "e.json"]) == 0
    said, record = capsys.readouterr().out, json.loads(Path("e.json").read_text(encoding="utf-8"))
    data = open_data("data")
    assert (
        record["unit"] == "bits per residue"
        and record["positions"] == data.meta["tokens"]["test"] - data.meta["unknown"]["test"]
    )
    cut = sum(len(row) > LENGTH for row in data.sequences("test"))
    assert (
        "lengths are given and not scored" in said
        and f"{cut} longer than {LENGTH}, cut into windows" in said
    )
    assert main(["audit", "run", "--data", "data", "--limit", "8", "--enumerate", "5"]) == 0
    assert main(["schedule", "run", "--data", "data", "--limit", "8"]) == 0
    assert "residues in 8 windows" in capsys.readouterr().out
    for name in ("a.fasta", "b.fasta"):
        assert (
            main(
                [
                    "sample",
                    "run",
                    "--num",
                    "5",
                    "--steps",
                    "4",
                    "--batch-size",
                    "2",
                    "--out",
                    name,
                    "--frames",
                    "f.html",
                ]
            )
            == 0
        )
    error = capsys.readouterr().err
    assert (
        f"longer than {LENGTH}, the trained length, are left out" in error
        and Path("f.html").stat().st_size > 5000
    )
    drawn = records(Path("a.fasta").read_text(encoding="utf-8"))
    assert (
        Path("a.fasta").read_text(encoding="utf-8") == Path("b.fasta").read_text(encoding="utf-8")
        and len(drawn) == 5
    )
    assert (
        all(str(len(s)) in data.meta["lengths"] and set(s) <= set(LETTERS) for _, s in drawn)
        and drawn[0][0] == "sample-1 seed=0"
    )
    seen, trajectory = [], unmask.filling.trajectory
    monkeypatch.setattr(
        unmask.filling,
        "trajectory",
        lambda *a, **how: (seen.append(how.get("valid")), trajectory(*a, **how))[1],
    )
    more = ["--num", "5", "--steps", "4", "--batch-size", "5", "--out", "c.fasta"]
    assert main(["sample", "run", *more]) == 0
    assert sorted(seen[0].sum(1).tolist()) == sorted(
        len(s) for _, s in records(Path("c.fasta").read_text(encoding="utf-8"))
    )  # padding is not seen
    capsys.readouterr()
    assert main(["sample", "run", "--num", "2", "--steps", "4", "--length", "61"]) == 0
    out, error = capsys.readouterr()
    assert [len(s) for _, s in records(out)] == [
        61,
        61,
    ] and "61 is beyond what it has seen" in error
    assert max(map(len, out.splitlines())) == 60


HOLED = ">sp|P1|A one\nMKVX--L\nKLB[MASK:3]DE\n>none\nMKVA\n>two\xe9\nxx\n"


def test_filling_in_keeps_what_is_given_and_scores_each_candidate(
    run, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("in.fa").write_bytes(HOLED.encode("latin-1"))
    flags = ["--num", "3", "--steps", "6", "--batch-size", "4"]
    for name in ("a.fa", "b.fa"):
        assert main(["fill", str(run), "in.fa", "--out", name, "--json", "f.json", *flags]) == 0
    assert "1 of 3 records have no hole" in capsys.readouterr().err
    text = Path("a.fa").read_bytes()
    assert text == Path("b.fa").read_bytes() and b">two\xe9 candidate=1 filled=2 nats=" in text
    rows = records(text.decode("latin-1"))
    assert len(rows) == 7 and rows[3] == ("none", "MKVA")
    for head, letters in rows[:3]:
        assert head.startswith("sp|P1|A one candidate=") and re.fullmatch(
            "MKV[A-Y]{3}LKLB[A-Y]{3}DE", letters
        )
        assert not set(letters) - set(LETTERS) - {"B"}
    assert (
        all(re.fullmatch("[A-Y]{2}", letters) for _, letters in rows[4:])
        and len({s for _, s in rows}) > 4
    )
    made = json.loads(Path("f.json").read_text(encoding="utf-8"))["fillings"]
    nats = [row["nats"] for row in made]
    assert (
        nats[:3] == sorted(nats[:3])
        and nats[3:] == sorted(nats[3:])
        and all(row["noise"] > 0 for row in made)
    )
    for (head, letters), row in zip(rows[:3] + rows[4:], made):
        assert row["sequence"] == letters and f"nats={row['nats']:.2f}+-{row['noise']:.2f}" in head
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(HOLED.encode("latin-1"))))
    assert main(["fill", str(run), "-", *flags]) == 0
    assert [s for _, s in records(capsys.readouterr().out)] == [s for _, s in rows]


def test_the_score_of_a_filling_is_its_probability_given_the_rest(run, tmp_path, model):
    """One hole: exactly -log p; several: the bound of `conditional_nats`, which another test holds
    by enumeration."""
    model = model.float()
    (tmp_path / "in.fa").write_text(">a\nMKVXLAB\n>b\nMK--LA\n")
    places = [str(run), str(tmp_path / "in.fa"), "--json", str(tmp_path / "f.json")]
    assert main(["fill", *places, "--num", "2", "--steps", "4", "--dtype", "float32"]) == 0
    one, _, *two = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["fillings"]
    tokenizer = Residues()
    x = torch.from_numpy(tokenizer.encode(one["sequence"]).astype(np.int64))[None]
    z, valid = x.index_fill(1, torch.tensor([3]), 22), x < 22
    assert (
        one["nats"]
        == pytest.approx(-float(model.predict(z, valid=valid)[0, 3, x[0, 3]].detach()), rel=1e-5)
        and one["noise"] < 1e-6
    )
    for row in two:
        x = torch.from_numpy(tokenizer.encode(row["sequence"]).astype(np.int64))[None]
        nats, noise = conditional_nats(model, x, (torch.arange(6) // 2 == 1)[None], repeats=100)
        assert abs(row["nats"] - float(nats)) < 6 * np.hypot(row["noise"], float(noise)) + 1e-5


def test_the_best_of_several_fillings_is_told_by_draws_that_did_not_choose_it(
    run, tmp_path, model, monkeypatch
):
    """Ranked by one seed's draws, told by another's; candidates of a record share masks; what is
    printed is the bound."""
    asked, real = [], unmask.filling.conditional_nats
    monkeypatch.setattr(
        unmask.filling,
        "conditional_nats",
        lambda *a, **how: (asked.append(how), real(*a, **how))[1],
    )
    (tmp_path / "in.fa").write_text(">a\nMKV" + "-" * 12 + "LAB\n>b\nM-V\n")
    how = ["--num", "10", "--steps", "4", "--dtype", "float32", "--json", str(tmp_path / "f.json")]
    assert main(["fill", str(run), str(tmp_path / "in.fa"), *how]) == 0
    first, second = asked
    assert first["seed"] != second["seed"] and first["examples"] == second["examples"]
    assert sorted(Counter(first["examples"]).values()) == [10, 10]
    found = json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))["fillings"][:10]
    x = torch.from_numpy(
        np.stack([Residues().encode(row["sequence"]) for row in found]).astype(np.int64)
    )
    holes = (torch.arange(18) > 2) & (torch.arange(18) < 15)
    ways = [
        {"seed": s, "examples": first["examples"][:10]} for s in (first["seed"], second["seed"])
    ]
    rank, told = (
        real(model.float(), x, holes.expand(10, -1), repeats=32, valid=x < 22, **way)[0]
        for way in ways
    )
    assert rank.argsort().tolist() == list(range(10))
    assert torch.allclose(
        told, torch.tensor([row["nats"] for row in found], dtype=torch.float64), rtol=1e-5
    )
    asked.clear()
    assert main(["fill", str(run), str(tmp_path / "in.fa"), "--steps", "4"]) == 0
    assert len(asked) == 1  # nothing to choose among


def test_the_noise_of_a_long_filling_is_that_of_its_windows_together(model):
    """Windows of an example do not share strata, so their noises add up in squares; and what is not
    filled yet is hidden from a window."""
    model = copy.deepcopy(model).float()
    letters = Residues().encode(("MKVLAA" * 4 + "ACDEFGHIKL") * 6).astype(np.int64)
    role = np.tile(np.repeat([GIVEN, HOLE], [24, 10]), 6).astype(np.int8)
    model.meta["length"] = LENGTH
    filler = Filler(model, window=True)
    rows = filler.rows([Partial(letters, role)])
    rows.z.copy_(model.subtokenizer.encode(torch.from_numpy(letters)[None]))  # as if filled
    told = [filler.score_rows(rows, [0], 16, seed) for seed in range(24)]
    nats, noise = (np.array([float(pair[i]) for pair in told]) for i in (0, 1))
    assert np.std(nats) == pytest.approx(np.sqrt(np.mean(np.square(noise))), rel=0.5)
    # by hand: the windows one after the other, what is still open behind each hidden
    total, left, holes = 0.0, torch.from_numpy(role == HOLE), torch.from_numpy(role == HOLE)
    for at, fill in windows(holes, LENGTH):
        now = holes[at] & fill
        left[at] &= ~now
        x, hidden = torch.from_numpy(letters[at])[None], left[at][None]
        total += float(
            conditional_nats(model, x, now[None], repeats=256, seed=7, unknown=hidden)[0]
        )
    assert abs(nats.mean() - total) < 6 * noise.mean() / np.sqrt(16)


def test_long_proteins_are_filled_window_by_window_if_asked_for(run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.fa").write_text(">long\n" + "MKV-LAB" * 20 + "\n>short\nM-K\n")
    assert main(["fill", str(run), "in.fa"]) == 2
    error = capsys.readouterr().err
    assert (
        f"in.fa, line 1: record 'long' has 140 residues and the model was trained at {LENGTH}"
        in error
        and "--window" in error
    )
    assert main(["fill", str(run), "in.fa", "--window", "--num", "2", "--steps", "4"]) == 0
    rows = records(capsys.readouterr().out)
    assert len(rows) == 4 and all(
        re.fullmatch("(MKV[A-Y]LAB){20}", letters) for _, letters in rows[:2]
    )
    assert all(float(re.search("nats=([0-9.]+)", head)[1]) > 20 for head, _ in rows[:2])


def test_what_does_not_fit_a_model_of_proteins_is_refused(
    folder, run, data, text_run, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    Path("none.fa").write_text(">a\nMKV\n")
    Path("zero.fa").write_text(">a\nMKV\n\n[MASK:0]\n")
    Path("gap.fa").write_text(">a\nMK.\n")
    Path("in.fa").write_text(">a\nMK-\n")
    for command, said in (
        (["fill", str(run), "none.fa"], "none.fa has no hole: write X, - or .MASK. for a residue"),
        (["fill", str(run), "zero.fa"], "zero.fa, line 4: .MASK:0. is no hole of 1 to 100,000"),
        (["fill", str(run), "gap.fa"], "gap.fa, line 2: '.' at residue 3 of record 'a' is a gap"),
        (["fill", str(run), "in.fa", "--mask", "m.png"], "--mask is not for proteins"),
        (["sample", str(run), "--label", "3"], "the model knows no classes"),
        (["sample", str(run), "--frames", "a.png"], "must end in .html or .svg or .gif"),
        (
            ["eval", str(run), "--data", str(data)],
            "has text .characters., and the model was trained on proteins .22 residues.",
        ),
        (
            ["eval", str(text_run), "--data", str(folder)],
            "has proteins .22 residues., and the model was trained on text .characters.",
        ),
        (
            ["prepare", "text", "in.fa", "out", "--tokenizer", str(folder)],
            "is of proteins, which no text can be written in",
        ),
        (["train", "protein", "--data", str(folder), "--out", "no", "--labels"], "has no labels"),
        (
            ["train", "mnist", "--data", str(folder), "--out", "no", "--length", "8"],
            "unet is for pictures",
        ),
        (["train", "protein", "--data", str(folder), "--out", "no", "--length", "0"], "length 0"),
    ):
        assert main(command) == 2, command
        error = capsys.readouterr().err
        assert re.search(said, error) and error.count("\n") == 1, (command, error)
    assert not Path("no").exists() and not Path("out").exists()


def test_learned_schedules_and_digits_work_with_proteins(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = [
        "--length=32",
        "--dim=16",
        "--layers=1",
        "--heads=2",
        "--batch-size=4",
        "--steps=2",
        "--minutes=0",
        "--eval-windows=4",
    ]
    Path("in.fa").write_text(">a\nMKV--B[MASK:4]\n")
    for out, flags in (
        ("gen", ["--schedule=learned", "--time", "--focus=0"]),
        ("prime", ["--digits=2"]),
    ):
        assert main(["train", "protein", "--data", str(folder), "--out", out, *small, *flags]) == 0
        assert main(["eval", out, "--data", str(folder), "--limit", "8", "--repeats", "2"]) == 0
        assert main(["sample", out, "--num", "2", "--steps", "4"]) == 0
        capsys.readouterr()
        written = ["--out", f"{out}.fa", "--json", f"{out}.json"]
        assert main(["fill", out, "in.fa", "--num", "2", "--steps", "4", *written]) == 0
        assert (
            "not scored" in (error := capsys.readouterr().err)
            or "are scored for a schedule with one curve" in error
        ) == (out == "gen")
        assert ("nats=" in Path(f"{out}.fa").read_text(encoding="utf-8")) == (out == "prime")
        record = json.loads(Path(f"{out}.json").read_text(), parse_constant=pytest.fail)  # of NaN
        scored = [one["nats"] is not None for one in record["fillings"]]
        assert scored == [out == "prime"] * 2 and (record["draws"] > 0) == (out == "prime")
    assert main(["schedule", "gen", "--data", str(folder), "--limit", "4", "--repeats", "2"]) == 0
    assert "revealed first" in capsys.readouterr().out


def test_a_tokenizer_of_proteins_is_no_tokenizer_of_text(folder):
    with pytest.raises(ValueError, match="give a tokenizer of text"):
        make_tokenizer(str(folder))


def test_the_demo_of_proteins_from_start_to_report(tmp_path, capsys, monkeypatch):
    for name, value in {"num": 4, "repeats": 1, "steps": lambda self, length: 4}.items():
        monkeypatch.setattr(UniProt, name, value)
    monkeypatch.setattr(demo_proteins, "PIECES", 8)
    out = tmp_path / "demo"
    flags = ["--data", "protein", "--out", str(out), "--minutes", "0.01"]
    more = ["--json", str(tmp_path / "d.json")]
    assert main(["demo", *flags, *more]) == 0
    said, record = (
        capsys.readouterr().out,
        json.loads((tmp_path / "d.json").read_text(encoding="utf-8")),
    )
    page = (out / "report.html").read_text(encoding="utf-8")
    assert (
        page.count('src="data:image/png;base64,') == 1
        and "CC BY 4.0" in page
        and "It is of 8 windows of 96 residues alone, and the bound of others, too" in page
        and "homologues" in page
    )
    assert (
        record["n"] == 320
        and 4.1 < record["value"] < 4.46
        and 4.1
        < record["baselines"]["trigram with back-off"]
        < record["baselines"]["unigram"]
        < 4.2
    )
    assert (
        f"{record['value']:.3f} +- " in said
        and f"{record['value']:.3f} ± " in page
        and "the protein itself" in said
    )
    assert main(["demo", "--out", str(out)]) == 2  # the other demo's folder
    assert "not the demo's data" in capsys.readouterr().err


def test_a_record_is_what_the_file_says():
    one, two = parse_fasta([b">a b\nMK[MASK:2]x\n>c\nMB-\n"], "f", holes=True)
    assert (one.header, one.letters, one.place) == ("a b", "MK--X", "f, line 1: record 'a b'")
    assert one.holes.tolist() == [False, False, True, True, True] and two.holes.tolist() == [
        False,
        False,
        True,
    ]
    assert two.ids.tolist() == [10, 22, 22]
    assert format_fasta([("a", "M" * 61)]) == ">a\n" + "M" * 60 + "\nM\n"


def test_what_is_given_comes_back_as_it_was(run, tmp_path, capsys, monkeypatch):
    """Records without holes line by line; of the others, the given letters and the stop."""
    monkeypatch.chdir(tmp_path)
    Path("in.fa").write_bytes(
        b">a lower case and stop\nmkvlXXagyypqrst*\n> b  no hole\n  mkvl\nag yy*\n; remark\n\n"
        b">c U O B Z J\nMKUOBZJ-AG[mask:3]k\n>d\twith tab  and  spaces\nMK vl\nxX AG\n>e\nmk**\n"
    )
    assert main(["fill", str(run), "in.fa", "--steps", "4", "--out", "out.fa"]) == 0
    pattern = (
        r">a lower case and stop candidate=.*\nmkvl[A-Y]{2}agyypqrst\*\n"
        r"> b  no hole\n  mkvl\nag yy\*\n; remark\n\n"
        r">c U O B Z J candidate=.*\nMKUOBZJ[A-Y]AG[A-Y]{3}k\n"
        r">d\twith tab  and  spaces candidate=.*\nMKvl[A-Y]{2}AG\n"
        r">e\nmk\*\*\n"
    )
    made = Path("out.fa").read_text(encoding="utf-8")
    assert re.fullmatch(pattern, made), made
    assert main(["fill", str(run), "in.fa", "--steps", "4", "--out", "out.jsonl"]) == 0
    rows = [json.loads(line)["text"] for line in Path("out.jsonl").read_text().splitlines()]
    assert (rows[1], rows[4]) == ("mkvlagyy*", "mk**") and rows[0].endswith("agyypqrst*")


def test_where_no_flag_leaves_records_out_none_is_named():
    bad = BadRecord("a.fasta, line 2: a stop inside the sequence", "stops")
    for skip_bad, said in ((None, False), (False, True)):
        with pytest.raises(ValueError, match="a stop inside") as error:
            LeftOut(skip_bad).skip(bad, "a.fasta")
        assert ("--skip-bad" in str(error.value)) is said


def test_a_vocabulary_of_letters_of_texts_is_none_of_residues():
    letters = {letter: i for i, letter in enumerate(["<mask>", *LETTERS, ".", "-"])}
    assert Proteins.adopt(letters, Path("vocab.txt")) is not None
    texts = letters | {letter.lower(): 30 + i for i, letter in enumerate(LETTERS)} | {" ": 99}
    assert Proteins.adopt(texts, Path("tokenizer.json")) is None
