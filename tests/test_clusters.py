"""Proteins that a file says belong together: in one split, and one where errors are concerned."""

import gzip
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from unmask.cli.main import main
from unmask.data import open_data
from unmask.kinds.proteins.clusters import joined, names_of
from unmask.kinds.proteins.prepare import prepare_proteins

LETTERS = "ACDEFGHIKLMNPQRSTVWY"


def parts_of(pairs):
    """The parts of a graph, one edge after another."""
    parts = []
    for pair in pairs:
        met = [part for part in parts if part & set(pair)]
        parts = [part for part in parts if part not in met] + [set(pair).union(*met)]
    return {frozenset(part) for part in parts}


def partition(numbers, things):
    found = {}
    for number, thing in zip(numbers, things, strict=True):
        found.setdefault(number, set()).add(thing)
    return {frozenset(part) for part in found.values()}


@pytest.mark.parametrize("seed", range(20))
def test_parts_are_those_of_the_graph(seed):
    draw = random.Random(seed)
    n = draw.choice([1, 2, 30, 200])
    pairs = [(draw.randrange(n), draw.randrange(n)) for _ in range(draw.choice([n // 3, n]) + 1)]
    if seed % 4 == 0:  # a chain in no order, which takes the most steps
        chain = draw.sample(range(n), n)
        pairs = list(zip(chain, chain[1:] + chain[:1], strict=True))
    pairs += [(i, i) for i in range(n)]
    a, b = np.array(pairs).T
    assert partition(joined(a, b).tolist(), range(n)) == parts_of(pairs)


def made(seed, count=200, equal=20):
    """Records of random sequences, some of them equal, and pairs of names."""
    draw = random.Random(seed)
    rows = ["".join(draw.choices(LETTERS, k=draw.randint(5, 40))) for _ in range(count)]
    for _ in range(equal):
        rows[draw.randrange(count)] = rows[draw.randrange(count)]
    pairs = [(f"s{i}", f"s{draw.choice([i, i, draw.randrange(count)])}") for i in range(count)]
    return [(f"s{i}", row) for i, row in enumerate(rows)], pairs


def write(folder, records, pairs):
    folder.mkdir()
    text = "".join(f">{name} some protein\n{row}\n" for name, row in records)
    (folder / "in.fasta").write_text(text)
    (folder / "c.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs))
    prepare_proteins(
        folder / "in.fasta",
        folder / "out",
        split="0.6,0.2,0.2",
        clusters=folder / "c.tsv",
        progress=False,
    )
    return open_data(folder / "out")


def sequences_of(data, split):
    return [data.tokenizer.decode(row) for row in data.sequences(split)]


@pytest.mark.parametrize("seed", range(3))
def test_what_belongs_together_is_in_one_split_and_has_one_number(tmp_path, seed):
    records, pairs = made(seed)
    data = write(tmp_path / "a", records, pairs)
    rows = dict(records)
    # of sequences: equal ones are one
    true = parts_of([(rows[a], rows[b]) for a, b in pairs])
    found = set()
    for split in data.splits:
        found |= (some := partition(data.families(split).tolist(), sequences_of(data, split)))
        assert data.meta["clusters"]["count"][split] == len(some) > 0
    assert found == true and len(true) < len(set(rows.values()))
    assert sum(data.meta["document_count"].values()) == len(records)
    mixed = random.Random(seed).sample(records, len(records))
    other = write(tmp_path / "b", mixed, [pair[::-1] for pair in pairs[::-1]])
    for split in data.splits:
        assert sorted(sequences_of(other, split)) == sorted(sequences_of(data, split))


def test_large_clusters_are_in_all_splits(tmp_path):
    records, _ = made(5, 600, equal=0)
    pairs = [(f"s{i - i % 20}" if i < 300 else f"s{i}", f"s{i}") for i in range(600)]
    data = write(tmp_path / "a", records, pairs)
    large = [int((np.bincount(data.families(split)) >= 20).sum()) for split in data.splits]
    assert min(large) > 0 and sum(large) >= 14, large


def test_names_are_found_as_mmseqs_writes_them(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    headers = ["sp|P12345|NAME_HUMAN some", "x1\ty", "gi|77|gb|AB1| foo", "my|odd|name", "\xfc"]
    text = "".join(f">{head}\nMKV{LETTERS[i]}\n" for i, head in enumerate(headers))
    Path("in.fa").write_text(text)
    # as MMseqs2 14 names these four
    lines = b"P12345\tP12345\nP12345\tx1\nAB1\tAB1\r\n\nAB1\tmy|odd|name\n\xc3\xbc\tnobody\n"
    Path("c.tsv.gz").write_bytes(gzip.compress(lines))
    assert (
        main(["prepare", "proteins", "in.fa", "out", "--clusters=c.tsv.gz", "--split=3,2,0"]) == 0
    )
    said = capsys.readouterr().out
    assert "split by a hash; what c.tsv.gz links, or is equal, stays together: 3 groups" in said
    assert "relatives that it does not link" in said
    assert "names of c.tsv.gz of no record here: 1" in said
    data = open_data(Path("out"))
    parts = [
        p
        for split in data.splits
        for p in partition(data.families(split), sequences_of(data, split))
    ]
    assert sorted(map(sorted, parts)) == [["MKVA", "MKVC"], ["MKVD", "MKVE"], ["MKVF"]]


@pytest.mark.parametrize(
    ("header", "name"),
    [
        *[(f"{kind}|here|there", "here") for kind in ("cl", "sp", "tr", "ref", "pdb", "lcl", "gb")],
        *[(f"{kind}|x|here", "here") for kind in ("gnl", "pat")],
        *[("pir||here", "here"), ("prf||here", "here"), ("gi|9|ref|here|", "here")],
        *[(whole, whole) for whole in ("emb|a|b", "A|1", "a|sp", "sp|", "gi|5")],
    ],
)
def test_a_piece_of_a_name_is_taken_where_mmseqs_does(header, name):
    """As version 14 was seen to do; of no other word is a piece a name."""
    assert names_of(f"{header} sp|no")[-1] == name and names_of(header)[0] == header


def test_records_left_out_are_in_no_cluster(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in").mkdir()
    Path("in/a.fa").write_text(">a\nMKV\n>b\nM1V\n>c\nMWW\n")
    Path("in/b.fa").write_text(">d\nMKV\n>e\nMFF\n")
    Path("c.tsv").write_text("a\ta\na\tb\nb\tc\nd\td\ne\te\n")
    flags = ["--clusters", "c.tsv", "--skip-bad", "--split", "1,3,0"]
    assert main(["prepare", "proteins", "in", "out", *flags]) == 0
    assert "names of c.tsv of no record here: 1" in capsys.readouterr().out
    data = open_data(Path("out"))
    # a and c by way of b, which is left out; a and d are equal
    assert sorted(sequences_of(data, "validation")) == ["MKV", "MKV", "MWW"]
    assert sequences_of(data, "train") == ["MFF"]


def test_a_split_without_training_is_told(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("in.fa").write_text(">s0\nMK\n>s1\nMV\n>s2\nMW\n")
    assert main(["prepare", "proteins", "in.fa", "out", "--split", "0,2,1"]) == 0
    assert "training: no sequence" in capsys.readouterr().out


BAD = {
    "one name": ("s0\ts0\ns1\n", [], "c.tsv, line 2 has 1 names: give the _cluster.tsv of"),
    "three": ("s0\ts0\ts0\n", [], "c.tsv, line 1 has 3 names"),
    "nothing": ("\n", [], "c.tsv is empty"),
    "not all": ("s0\ts0\n", [], "does not name 2 of 3 records, the first of them in.fa, line 3: "),
    "files": ("s0\ts0\n", ["--test", "in.fa"], "files of their own are the splits: leave out"),
    "too few": ("s0\ts1\ns1\ts2\n", [], "kept whole: of such groups there are 1;"),
    "one name twice": ("s0\ts0\ns1\ts1\n", [], "1 records have a name of c.tsv that another"),
    "no file": (None, [], "c.tsv is no file: give the _cluster.tsv"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_clusters_are_one_sentence(tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    text, more, said = BAD[name]
    third = "s1 again" if name == "one name twice" else "s2"
    Path("in.fa").write_text(f">s0\nMK\n>s1\nMV\n>{third}\nMW\n")
    if text is not None:
        Path("c.tsv").write_text(text)
    assert main(["prepare", "proteins", "in.fa", "out", "--clusters", "c.tsv", *more]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1, error
    assert not Path("out").exists()


def test_errors_are_over_clusters(tmp_path):
    records, pairs = made(1)
    data = write(tmp_path / "a", records, pairs)
    groups = torch.cat([batch["group"] for batch in data.windows("test", 16, 8)]).tolist()
    number, _, _ = data.window_places("test", 16)
    assert groups == data.families("test")[number].tolist()
    assert len(set(groups)) == data.meta["clusters"]["count"]["test"] < len(set(number.tolist()))
    assert data.describe_groups(5, 9) == "over 5 clusters"
    (tmp_path / "a" / "out" / "test.clusters.bin").write_bytes(b"12345678")
    with pytest.raises(ValueError, match=r"test\.clusters\.bin"):
        open_data(tmp_path / "a" / "out")
