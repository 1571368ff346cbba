"""What of compression needs no entropy coder: laws as whole numbers, the costs along a path, the
file and its refusals, and what kinds keep beside tokens.  With the coder: tests/extras."""

import json
import math
import struct
import sys
import time
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_law import MODELS
from test_links import DIALS, ROWS, random_model
from test_policies import GRIDS, ONE_CURVE, possible, shares_of

from unmask import MaskedDiffusion, Subtokenizer
from unmask.backbones import Transformer
from unmask.cli import main
from unmask.compression import coding, container
from unmask.compression.container import Block, Content
from unmask.compression.frequencies import TOTAL, coded_bits, frequencies
from unmask.data import prepare_table
from unmask.kinds.images.pixels import png
from unmask.kinds.images.quality import read_samples
from unmask.kinds.proteins.kind import Proteins
from unmask.kinds.registry import kind_of
from unmask.kinds.tables.columns import Table
from unmask.kinds.tables.packed import pack as pack_table
from unmask.kinds.tables.packed import unpack as unpack_table
from unmask.kinds.text import packed as of_text
from unmask.kinds.text.kind import Text
from unmask.kinds.text.tokenizers import Bytes, Characters, Subwords
from unmask.likelihood import path_nats
from unmask.schedules import Linear


class Listing:
    """A coder that keeps values in a list, and their laws; and one that reads them."""

    def __init__(self, values=None):
        self.values, self.laws, self.reads = values or [], [], values is not None

    def code(self, laws, values):
        self.laws.append(laws)
        if not self.reads:
            self.values.append(values)
            return values
        assert values is None  # what is decoded is not known
        return self.values[len(self.laws) - 1]


# ---------------------------------------------------------------- frequencies


def test_frequencies_by_hand():
    law = np.log([[0.5, 0.25, 0.25], [1.0, 1e-300, 1e-300]])
    rest = TOTAL - 3  # each has one, and shares in the rest
    quarter, half = math.floor(rest / 4) + 1, math.floor(rest / 2) + 1
    assert frequencies(law).tolist() == [[TOTAL - 2 * quarter, quarter, quarter], [rest + 1, 1, 1]]
    assert half <= TOTAL - 2 * quarter <= half + 2
    assert coded_bits(np.array([[TOTAL // 2, TOTAL // 4, TOTAL // 4]]), np.array([1])) == 2


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 300), st.floats(0.01, 60), st.integers(0, 2**32 - 1))
def test_frequencies_are_laws_close_to_what_they_are_made_of(values, spread, seed):
    logp = np.random.default_rng(seed).normal(0, spread, (4, values))
    logp[:, 0] -= 900  # underflows
    found = frequencies(logp)
    assert found.min() >= 1 and (found.sum(1) == TOTAL).all()
    p = np.exp(logp - np.logaddexp.reduce(logp, 1)[:, None])
    # rounded down by less than one, of a total that is smaller by a value each
    assert (found >= p * (TOTAL - values)).all()
    assert (found <= p * TOTAL + values + 1).all()
    over = -np.log2(found / TOTAL) + np.log2(np.maximum(p, 1e-320))
    assert over.max() <= -np.log2(1 - values / TOTAL) + 1e-9


def test_a_law_that_is_none_is_told():
    for logp in ([[np.nan, 0.0]], [[-np.inf, -np.inf]], [[np.inf, 0.0]]):
        with pytest.raises(FloatingPointError, match="not finite"):
            frequencies(np.array(logp))


# ---------------------------------------------------------------- along a path


def cost_and_back(model, x, order, shares):
    """What coding rows x costs, after they were decoded of what was coded; and by how many laws."""
    path = coding.Path(order, shares)
    how = [x.shape[1]] * len(x), [(True, True)] * len(x), x.shape[1], path
    codes, ticks = model.subtokenizer.code(x), []
    writing = Listing()
    written, cost = coding.code_block(model, *how, writing, codes, ticks.append)
    reading = Listing(writing.values)
    again, cost_again = coding.code_block(model, *how, reading)
    assert torch.equal(written, codes) and torch.equal(again, codes)
    assert cost == cost_again and sum(ticks) == x.numel() * model.units().length
    assert all((a == b).all() for a, b in zip(writing.laws, reading.laws))
    assert all((law.sum(1) == TOTAL).all() for law in writing.laws)
    return cost


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", ["left-to-right", "right-to-left", "entropy"])
@pytest.mark.parametrize("name", ONE_CURVE)
def test_coding_costs_the_likelihood_along_the_path(name, order, grid):
    model = MODELS[name]()
    x, shares = possible(model), shares_of(grid)
    cost = cost_and_back(model, x, order, shares)
    bits = float(path_nats(model, model.clean(x), order, shares)[0].sum()) / math.log(2)
    assert cost.exact == pytest.approx(bits, abs=1e-9)
    assert cost.coded == pytest.approx(bits, abs=1e-5 * bits)


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("order", ["left-to-right", "confidence"])
@pytest.mark.parametrize("name", [name for name in DIALS if not name.startswith("one curve")])
def test_the_second_of_two_linked_positions_is_coded_given_the_first(name, order, grid):
    model, shares = random_model(**DIALS[name]), shares_of(grid)
    cost = cost_and_back(model, ROWS, order, shares)
    bits = float(path_nats(model, model.clean(ROWS), order, shares)[0].sum()) / math.log(2)
    assert cost.exact == pytest.approx(bits, abs=1e-9)


def test_pieces_cover_examples_of_any_length():
    lengths = np.array([5, 4, 1, 9])
    pieces = list(coding.pieces_of(lengths, 4))
    assert [(p.of, p.at.start, p.at.stop) for p in pieces] == [
        (0, 0, 4), (0, 4, 5), (1, 0, 4), (2, 0, 1), (3, 0, 4), (3, 4, 8), (3, 8, 9),
    ]  # fmt: skip
    assert [p.ends for p in pieces[:3]] == [(True, False), (False, True), (True, True)]
    assert [p.ends for p in pieces[4:]] == [(True, False), (False, False), (False, True)]
    assert [len(some) for some in coding.groups(lengths, 4, 3)] == [3, 3, 1]
    assert container.count_blocks(lengths, 4, 3) == 3 and container.count_blocks(lengths, 4, 7) == 1


def test_the_network_is_told_whether_a_piece_holds_the_ends():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Transformer(5, dim=16, layers=1, heads=2, ends="sequence")
        for p in network.parameters():
            torch.nn.init.normal_(p, std=0.5)
    model = MaskedDiffusion(network, Linear(), Subtokenizer(5)).double().eval()
    x, ends = torch.arange(12).view(3, 4) % 5, [(True, False), (False, False), (True, True)]
    x[1, 3] = 0  # shorter than the others
    valid = torch.tensor([[True] * 4, [True] * 3 + [False], [True] * 4])
    path = coding.Path("left-to-right", None)
    _, cost = coding.code_block(model, [4, 3, 4], ends, 4, path, Listing(), x)
    batch = model.clean(x, valid=valid, ends=torch.tensor(ends))
    bits = float(path_nats(model, batch, "left-to-right")[0].sum()) / math.log(2)
    assert cost.exact == pytest.approx(bits, abs=1e-9)
    whole = float(path_nats(model, model.clean(x, valid=valid), "left-to-right")[0].sum())
    assert abs(whole / math.log(2) - bits) > 1e-3  # it matters to this network


def test_a_digest_and_a_probe_tell_models_apart():
    path = coding.Path("left-to-right", None)
    one, other = MODELS["tokens"](), MODELS["tokens"]()
    assert coding.model_digest(one) == coding.model_digest(other)
    assert coding.probe(one, 3, 2, path) == coding.probe(other, 3, 2, path)
    hidden = other.hidden

    def drifting(z, t, **told):
        rows, head = hidden(z, t, **told)
        return rows, lambda some: head(some) * (1 + 1e-15)

    other.hidden = drifting  # the last digits, which 24 bits do not show
    assert coding.probe(one, 3, 2, path) != coding.probe(other, 3, 2, path)
    digits, changed = MODELS["digits, time"](), MODELS["digits, time"]()
    name, tensor = next(iter(changed.state_dict().items()))
    tensor.view(-1)[0] += 1e-6
    assert coding.model_digest(digits) != coding.model_digest(changed), name


def test_the_mode_of_a_program_is_given_back():
    try:
        torch.use_deterministic_algorithms(True, warn_only=True)
        with coding.repeatable(torch.device("cpu")):
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)


# ---------------------------------------------------------------- the file

HEADER = {
    "model": "0" * 64, "order": "left-to-right", "shares": None, "rows": 2, "width": 4,
    "examples": 3, "machine": {"threads": 1}, "probe": "0",
}  # fmt: skip
CONTENT = Content(
    HEADER,
    np.array([5, 4, 1]),
    b"beside",
    [Block(np.array([1, 2**32 - 1], np.uint32), 7), Block(np.zeros(0, np.uint32), 8)],
)


def test_a_file_holds_what_was_put_in():
    raw, sizes = container.pack(CONTENT)
    found = container.unpack(raw)
    assert found.header == HEADER | {"beside": 6} and found.beside == b"beside"
    assert found.lengths.tolist() == [5, 4, 1] and [b.check for b in found.blocks] == [7, 8]
    assert found.blocks[0].words.tolist() == [1, 2**32 - 1]
    assert sum(sizes) == len(raw) and sizes.payload == 8 and sizes.checks == 16


@pytest.mark.parametrize("at", range(0, 400, 7))
def test_any_changed_bit_is_told(at):
    raw = bytearray(container.pack(CONTENT)[0])
    raw[at % len(raw)] ^= 1 << at % 8
    with pytest.raises(ValueError, match="not a file of|of format|damaged or cut short"):
        container.unpack(bytes(raw))


def sealed(*parts, blocks=b""):
    """A file with a right digest."""
    body = b"".join(struct.pack("<I", len(part)) + part for part in parts) + blocks
    return container.FRONT.pack(container.MAGIC, 1, container.digest(body)) + body


def header(**facts):
    return json.dumps(HEADER | {"beside": 0} | facts).encode()


LENGTHS = zlib.compress(struct.pack("<III", 5, 4, 1))
EMPTY_BLOCKS = struct.pack("<IIII", 0, 0, 0, 0)
BOMB = zlib.compress(bytes(1 << 24))
PARTS = LENGTHS, b""
HOSTILE = [
    ("ends before its parts", sealed(header(), LENGTHS)),
    ("ends before its parts", sealed(header(), *PARTS, blocks=struct.pack("<II", 2**32 - 1, 0))),
    ("ends before its parts", sealed(header(), *PARTS, blocks=b"123")),
    ("is no JSON", sealed(b"{", *PARTS)),
    ("is no JSON", sealed(b"[" * 100_000, *PARTS)),
    ("all of it is", sealed(b"[]", *PARTS)),
    ("'order' is missing", sealed(b'{"model": ""}', *PARTS)),
    ("order is", sealed(header(order="random"), *PARTS)),
    ("rows is 0", sealed(header(rows=0), *PARTS)),
    ("rows is 1000000", sealed(header(rows=10**6), *PARTS)),
    ("width is", sealed(header(width=10**12), *PARTS)),
    ("more examples at a time", sealed(header(rows=2**14, width=2**14), *PARTS)),
    ("examples is", sealed(header(examples=2**40), *PARTS)),
    ("beside is", sealed(header(beside=2**40), *PARTS)),
    ("shares is", sealed(header(shares=[1, math.nan, 0]), *PARTS)),
    ("shares is", sealed(header(shares=[1, 0.2, 0.5, 0]), *PARTS)),
    ("shares is", sealed(header(shares=[1, "0", 0]), *PARTS)),
    ("cannot be unpacked", sealed(header(), b"\x78\x9cgarbage", b"")),
    ("not of the 12 bytes", sealed(header(), BOMB, b"")),
    ("not of the 12 bytes", sealed(header(), LENGTHS + b"more", b"")),
    ("not of the 9 bytes", sealed(header(beside=9), LENGTHS, BOMB)),
    ("not of the 9 bytes", sealed(header(beside=9), LENGTHS, b"")),
    ("without tokens", sealed(header(), zlib.compress(struct.pack("<III", 5, 0, 1)), b"")),
    ("other blocks than", sealed(header(), *PARTS, blocks=EMPTY_BLOCKS[:8])),
    ("other blocks than", sealed(header(), zlib.compress(b"\xff" * 12), b"", blocks=EMPTY_BLOCKS)),
    ("a header of 1,0", sealed(b" " * (1 << 20) + header(), *PARTS)),
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_what_a_file_claims_is_held_against_what_it_has(number):
    why, raw = HOSTILE[number]
    began = time.monotonic()
    with pytest.raises(ValueError, match=f"the file.* {why}"):
        container.unpack(raw)
    assert time.monotonic() - began < 5


def test_blocks_that_no_example_needs_are_not_made():
    raw = sealed(header(), *PARTS, blocks=bytes(container.BLOCK.size * 10**5))
    tracemalloc.start()
    with pytest.raises(ValueError, match="other blocks than"):
        container.unpack(raw)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * len(raw)


def test_the_same_parts_are_read_where_nothing_is_wrong():
    assert container.unpack(sealed(header(), *PARTS, blocks=EMPTY_BLOCKS)).beside == b""


def test_what_no_reader_takes_is_not_written():
    with pytest.raises(ValueError, match=r"more than a file holds: shares is"):
        container.pack(CONTENT._replace(header=HEADER | {"shares": [1.0, 0.5]}))
    with pytest.raises(ValueError, match=r"2\^32 tokens or more"):
        container.pack(CONTENT._replace(lengths=np.array([2**32, 1, 1])))


# ---------------------------------------------------------------- the command line


def test_refusals_before_the_work(text_run, tmp_path, monkeypatch, capsys):
    (tmp_path / "a.txt").write_text("the fox")
    (tmp_path / "b.umc").write_bytes(container.pack(CONTENT)[0])

    def refused(said, *command):
        assert main([str(part) for part in command]) == 2
        assert said in capsys.readouterr().err
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.umc"]

    out = tmp_path / "out"
    text, file = tmp_path / "a.txt", tmp_path / "b.umc"
    refused("is not a file of unmask compress", "decompress", text_run, text, out)
    refused("there is no file", "decompress", text_run, tmp_path / "no", out)
    refused("there is no file", "compress", text_run, tmp_path / "no", out)
    refused("would overwrite the input", "compress", text_run, text, text)
    refused("--grid uniform is of --steps", "compress", text_run, text, out, "--grid", "uniform")
    monkeypatch.setitem(sys.modules, "constriction", None)
    for command in (["compress", text_run, text, out], ["decompress", text_run, file, out]):
        refused("pip install 'unmask[compress]'", *command)


# ---------------------------------------------------------------- what kinds keep


def back(tokenizer, raw, folder):
    (folder / "in").write_bytes(raw)
    packed = of_text.pack(folder / "in", tokenizer)
    assert packed.raw == raw and all(0 <= i < tokenizer.vocab_size for i in packed.examples[0])
    of_text.unpack(packed.examples, packed.beside, str(folder / "out"), tokenizer)
    assert (folder / "out").read_bytes() == raw
    return packed


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.binary(max_size=40), st.text("ab\r\n\u00e9\ufeff]^-\\", max_size=40)))
def test_texts_are_kept_to_the_byte(tmp_path_factory, content):
    raw = content if isinstance(content, bytes) else content.encode()
    folder = tmp_path_factory.mktemp("text")
    for tokenizer in (Bytes(), Characters("ab]^-\\\n"), Characters("é")):
        back(tokenizer, raw, folder)


def subwords(normalizer=None):
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    letters = pre_tokenizers.ByteLevel.alphabet()
    model = Tokenizer(models.BPE({letter: i for i, letter in enumerate(sorted(letters))}, []))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = decoders.ByteLevel()
    if normalizer:
        model.normalizer = getattr(normalizers, normalizer)()
    return Subwords(model.to_str())


def test_subwords_are_kept_or_refused(tmp_path):
    packed = back(subwords(), "a b\r\n\u00e9".encode() + b"\xff\xfez", tmp_path)
    assert packed.notes == (
        ["2 characters have no token, and are kept: byte 0xff 1 times, byte 0xfe 1 times"]
    )
    (tmp_path / "in").write_text("abC")
    with pytest.raises(ValueError, match=r"which give 'c' for 'C' at character 3"):
        of_text.pack(tmp_path / "in", subwords("Lowercase"))


def test_a_text_that_is_not_the_one_is_not_written(tmp_path):
    packed = back(Characters("ab"), b"abba\n", tmp_path)
    (ids,) = packed.examples
    for rows, beside, why in (
        ([1 - ids], packed.beside, "is not the one that was compressed"),
        ([ids, ids], packed.beside, "is one example"),
        ([ids], b"{", "no JSON"),
        ([ids], b'{"sha256": "", "beside": [[0]]}', "is damaged"),
        ([ids], b'{"sha256": "", "beside": [[-1, "x"]]}', "is damaged"),
        ([ids], b'{"sha256": "", "beside": [[0, 5]]}', "is damaged"),
    ):
        with pytest.raises(ValueError, match=why):
            of_text.unpack(rows, beside, str(tmp_path / "no"), Characters("ab"))
    assert not (tmp_path / "no").exists()


TABLE = "age,kind,price\n" + "".join(
    f"{20 + i % 40},{'ab'[i % 2]},{'' if i % 9 == 0 else f'{i * 7 % 50}.5'}\n" for i in range(120)
)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    (folder / "in.csv").write_text(TABLE)
    meta = prepare_table(folder / "in.csv", folder / "data", bins=8, progress=False)
    return Table.from_spec(meta["tokenizer"])


def test_cells_are_kept_as_they_are_written(table, tmp_path):
    """Numbers within bins, beyond all of training, in other spellings; missing cells of two."""
    rows = [["21", "a", "7.5"], ["1000", "b", ""], ["-3", "a", "NA"], ["30.0", "b", "7.50"]]
    rows += [["33", "a", "0.123456789"], ["1e2", "b", "49.5"]]
    lines = "".join(f"{','.join(row)}\n" for row in rows)
    (tmp_path / "new.csv").write_text(f"age,kind,price\n{lines}")
    packed = pack_table(tmp_path / "new.csv", table)
    unpack_table(list(packed.examples), packed.beside, str(tmp_path / "out.csv"), table)
    assert (tmp_path / "out.csv").read_text() == (tmp_path / "new.csv").read_text()
    said = " ".join(packed.notes)
    assert "column 'age'" in said and "cells as they are written" in said
    kept = json.loads(packed.beside)
    assert {text for _, _, text in kept["cells"]} == {"NA", "30.0", "7.50", "0.123456789", "1e2"}
    (tmp_path / "new.csv").write_text(TABLE)
    whole = pack_table(tmp_path / "new.csv", table)
    assert json.loads(whole.beside)["cells"] == []
    for wrong in (
        {"steps": {"age": [1]}, "cells": []},
        {"steps": {}, "cells": [[0, 9, "x"]]},
        {"steps": {}, "cells": [[6, 0, "x"]]},
        {"steps": {}, "cells": [[0, 0]]},
        {"steps": {"age": [2**60] * 6}, "cells": []},
    ):
        with pytest.raises(ValueError, match="kept beside the rows"):
            unpack_table(list(packed.examples), json.dumps(wrong).encode(), "no", table)


def test_rows_of_other_columns_are_refused(table, tmp_path):
    (tmp_path / "new.csv").write_text("age,kind,price\n21,a,7.5\n30,b,\n")
    packed = pack_table(tmp_path / "new.csv", table)
    for wrong in (
        [packed.examples[0], packed.examples[1][::-1]],
        [packed.examples[0], np.full(table.length, table.vocab_size - 1)],
        [packed.examples[0], packed.examples[1][:-1]],
        [one[:-1] for one in packed.examples],
    ):
        with pytest.raises(ValueError, match="values of other columns: the file is damaged"):
            unpack_table(wrong, packed.beside, str(tmp_path / "no"), table)
    assert not (tmp_path / "no").exists()


def test_a_table_in_another_encoding_is_told_what_the_verb_can_do(table, tmp_path):
    for content, why in ((b"21,\xe4,7.5", "is not utf-8 text"), (b"2\0", "zero bytes")):
        (tmp_path / "new.csv").write_bytes(b"age,kind,price\n" + content)
        with pytest.raises(ValueError, match=f"new.csv.* {why}.*: save it as UTF-8$"):
            pack_table(tmp_path / "new.csv", table)


def test_what_is_not_kept_of_a_table_is_named(table, tmp_path):
    plain = "age,kind,price\n21,a,7.5\n30,b,\n"
    other = '\ufeffkind,"age", price\r\n"a",21,7.5\r\n\r\n b ,30,'
    for encoding in ("utf-8", "utf-16-le"):
        (tmp_path / "in.csv").write_bytes(other.encode(encoding))
        packed = pack_table(tmp_path / "in.csv", table)
        unpack_table(list(packed.examples), packed.beside, str(tmp_path / "out.csv"), table)
        assert (tmp_path / "out.csv").read_bytes() == plain.encode() == packed.raw
    for one in ("order", "quotes", "blanks", "empty lines", "returns", "byte-order", "encoding"):
        assert one in packed.notes[0]


def test_a_kind_without_a_way_back_says_so(tmp_path):
    from unmask.kinds.kind import Kind

    with pytest.raises(ValueError, match="a thing is not compressed"):
        Kind.pack(type("Thing", (), {"what": "a thing"})(), tmp_path)


def test_headers_of_sequences_are_kept(tmp_path):
    spec = {"name": "residues", "vocab_size": 22}
    kind = kind_of({"kind": "proteins", "tokenizer": spec}, tmp_path)
    (tmp_path / "a.fasta").write_bytes(b">one a b\xff\nACDE\n>two\n" + b"W" * 61 + b"\n")
    packed = kind.pack(tmp_path / "a.fasta")
    kind.unpack(list(packed.examples), packed.beside, str(tmp_path / "b.fasta"))
    wrapped = b">one a b\xff\nACDE\n>two\n" + b"W" * 60 + b"\nW\n"
    assert (tmp_path / "b.fasta").read_bytes() == wrapped == packed.raw
    with pytest.raises(ValueError, match="not those of the sequences"):
        kind.unpack(list(packed.examples)[:1], packed.beside, str(tmp_path / "c.fasta"))


def test_files_beside_pictures_are_named(tmp_path, capsys):
    spec = {"name": "pixels", "shape": [2, 3, 1], "vocab_size": 256}
    kind = kind_of({"kind": "images", "tokenizer": spec}, tmp_path)
    (tmp_path / "a.png").write_bytes(png(np.zeros((2, 3, 1), np.uint8)))
    assert not [note for note in kind.pack(tmp_path).notes if "left out" in note]
    for name in ("notes.txt", "b.heic", ".hidden"):
        (tmp_path / name).write_bytes(b"no picture")
    said = [
        "left out: 1 (not a picture, .heic): b.heic", "left out: 1 (not a picture, .txt): notes.txt"
    ]  # fmt: skip
    assert [note for note in kind.pack(tmp_path).notes if "left out" in note] == said
    assert read_samples(tmp_path, kind.tokenizer, 0)[1] == said
    assert len(kind.listed(tmp_path, None)) == 1
    assert capsys.readouterr().err.splitlines() == [f"note: {tmp_path}: {line}" for line in said]


def test_any_file_comes_back_by_its_name_as_a_text_and_no_archive_from_another_kind(tmp_path):
    out = str(tmp_path / "a.gz")
    Text({}, tmp_path).check_unpacked(out)
    with pytest.raises(ValueError, match="a.gz ends in .gz, and what is written is not packed"):
        Proteins({}, tmp_path).check_unpacked(out)


def test_every_value_of_pictures_comes_back(tmp_path):
    """In fewer levels than values, by how far each is from what is shown for its level."""
    for levels in (2, 17, 200, 256):
        spec = {"name": "pixels", "shape": [4, 64, 1], "vocab_size": levels}
        kind = kind_of({"kind": "images", "tokenizer": spec}, tmp_path)
        images = np.arange(256).astype(np.uint8).reshape(1, 4, 64, 1)
        np.savez(tmp_path / "a.npz", data=images)
        packed = kind.pack(tmp_path / "a.npz")
        assert packed.raw == images.tobytes() and bool(packed.beside) == (levels < 256)
        assert any("are kept beside" in note for note in packed.notes) == (levels < 256)
        kind.unpack(list(packed.examples), packed.beside, str(tmp_path / "b.npz"))
        assert (np.load(tmp_path / "b.npz")["data"] == images).all()
    packed = packed._replace(examples=[np.zeros(256, np.int64)])
    for rows, beside, why in (
        ([], b"", "no picture"),
        (packed.examples, b"1", "not of as many values"),
        (packed.examples, bytes([1] * 256), "leads to other levels"),
    ):
        with pytest.raises(ValueError, match=why):
            kind.unpack(list(rows), beside, str(tmp_path / "no.npz"))
