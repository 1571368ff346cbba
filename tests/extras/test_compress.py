"""Files that are coded by a model and come back: of each kind, against the exact likelihood."""

import csv
import gzip
import importlib.util
import io
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from unmask import compression
from unmask.cli import main
from unmask.compression import container
from unmask.compression.coding import machine
from unmask.config import TrainConfig
from unmask.data import prepare_images, prepare_proteins, prepare_table, prepare_text
from unmask.diffusion import MaskedDiffusion
from unmask.kinds.kind import Partial
from unmask.kinds.registry import demos, kind_of
from unmask.likelihood import Path as Along
from unmask.roles import SCORED
from unmask.scoring import score
from unmask.train import train

SMALL = {
    "dim": 16, "layers": 1, "heads": 2, "batch_size": 16, "steps": 40, "warmup": 2,
    "eval_windows": 4, "dtype": "float32", "device": "cpu", "minutes": 0,
}  # fmt: skip


def trained(folder, **own):
    config = TrainConfig(**SMALL | own)
    return train(config, folder / "data", folder / "run").parents[1]


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """A model of Shakespeare's characters, and the next ones."""
    folder = tmp_path_factory.mktemp("text")
    content = demos()["shakespeare"].source.read_text(encoding="utf-8")
    (folder / "train.txt").write_text(content[:60_000], encoding="utf-8")
    prepare_text(folder / "train.txt", folder / "data", tokenizer="characters", progress=False)
    (folder / "new.txt").write_text(content[60_000 : 60_000 + 40 * 64], encoding="utf-8")
    return trained(folder, length=64), folder / "new.txt"


@pytest.fixture(scope="session")
def pictures(tmp_path_factory):
    """A model of digits, and the last ones, with five pixels of grey between."""
    folder = tmp_path_factory.mktemp("images")
    source = demos()["digits"].source
    prepare_images(source, folder / "data", levels=17, split="1600,137,60", progress=False)
    return trained(folder, length=0), folder / "data"


def last_pictures(folder, kind):
    ids = np.fromfile(folder / "test.bin", np.uint8).reshape(-1, 64)
    return kind.tokenizer.decode(ids)


def letters(record):
    """Of a record of a FASTA file."""
    return "".join(record.split("\n")[1:])


@pytest.fixture(scope="session")
def proteins(tmp_path_factory):
    """A model of proteins, and the next ones, one of them longer than it was trained at."""
    folder = tmp_path_factory.mktemp("proteins")
    with gzip.open(demos()["protein"].source, "rt", encoding="ascii") as file:
        records = [one for one in file.read().split(">") if one]
    known = [one for one in records if not set(letters(one)) & set("BJXZ")]
    short = [one for one in known[200:] if 30 < len(letters(one)) < 150]
    (folder / "train.fasta").write_text("".join(f">{one}" for one in known[:200]))
    (folder / "new.fasta").write_text("".join(f">{one}" for one in short[:20]))
    prepare_proteins(folder / "train.fasta", folder / "data", progress=False)
    return trained(folder, length=64), folder / "new.fasta"


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """A model of a census with the weights of the survey, which are in bins, and the next rows."""
    folder = tmp_path_factory.mktemp("tables")
    with gzip.open(demos()["table"].source, "rt", encoding="utf-8") as file:
        header, *rows = file.read().splitlines(keepends=True)
    (folder / "train.csv").write_text("".join([header, *rows[:3000]]))
    prepare_table(folder / "train.csv", folder / "data", progress=False)
    known = read(folder / "train.csv")
    values = [set(column) for column in zip(*known[1:], strict=True)]
    numbers = {0, 2, 4, 10, 11, 12}
    fits = [
        row
        for row, cells in zip(rows[3000:], csv.reader(rows[3000:]))
        if all(c in numbers or cell in values[c] for c, cell in enumerate(cells))
    ]
    (folder / "new.csv").write_text("".join([header, *fits[:200]]))
    return trained(folder, length=0), folder / "new.csv"


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def opened(run):
    model = MaskedDiffusion.from_pretrained(run)
    return model, kind_of(model.meta["data"], run)


def there_and_back(run, source, folder, name, *flags):
    """Compress and decompress; the record, and what came back."""
    packed, back = folder / "packed.umc", folder / name
    how = ["--json", str(folder / "c.json"), "--device", "cpu", *flags]
    assert main(["compress", str(run), str(source), str(packed), *how]) == 0
    back_flags = ["--json", str(folder / "d.json"), "--device", "cpu"]
    assert main(["decompress", str(run), str(packed), str(back), *back_flags]) == 0
    record = json.loads((folder / "c.json").read_text(encoding="utf-8"))
    sizes = record["bytes"]
    parts = ("header", "lengths", "beside", "payload", "checks")
    assert sum(sizes[part] for part in parts) == sizes["file"] == packed.stat().st_size
    return record, back


def exact_bits(model, rows, order="left-to-right"):
    """-log2 p of rows, by the estimator that `unmask score` has."""
    examples = [Partial(row, np.full(len(row), SCORED, np.int8)) for row in rows]
    return sum(one.nats for one in score(model, examples, estimator=Along(order))) / math.log(2)


def within_a_percent(record, bits):
    assert record["likelihood_bits"] == pytest.approx(bits, rel=1e-5)
    sizes = record["bytes"]
    assert bits < 8 * (sizes["payload"] + sizes["checks"]) < 1.01 * bits + 8 * sizes["checks"]
    assert 8 * sizes["payload"] < 1.01 * bits


def test_a_text_comes_back_byte_for_byte(text, tmp_path, capsys):
    run, new = text
    record, back = there_and_back(run, new, tmp_path, "back.txt")
    assert back.read_bytes() == new.read_bytes()
    model, kind = opened(run)
    rows = kind.tokenizer.encode(new.read_text(encoding="utf-8")).astype(np.int64).reshape(40, 64)
    within_a_percent(record, exact_bits(model, rows))
    assert record["bytes"]["gzip"] == len(gzip.compress(new.read_bytes(), 9, mtime=0))
    said = capsys.readouterr().out
    assert "the exact -log2 p of the sampler that reveals one token at a step" in said
    assert "others make: gzip" in said and "every block as its checksum says" in said


def test_what_has_no_token_comes_back(text, tmp_path, capsys):
    """Carriage returns, a mark of byte order, letters that were not trained on, no UTF-8 at all."""
    raw = b"\xef\xbb\xbfTo be,\r\nor not\xff\xfe to b\xc3\xa9.\x00\r\n\n" + "漢字".encode() * 3
    for name, content in {"strange": raw, "nothing": b"", "one": b"\xff"}.items():
        (tmp_path / name).write_bytes(content)
        _, back = there_and_back(text[0], tmp_path / name, tmp_path, "back.txt")
        assert back.read_bytes() == content
    said = capsys.readouterr().err
    assert "13 characters have no token" in said and "'\\r' 2 times" in said
    assert "byte 0xff 1 times" in said


def test_standard_input_and_output(text, tmp_path, capfdbinary, monkeypatch):
    """- is no file of that name, and what is printed does not get into what is written."""
    run, content = text[0], b"To be,\r\nor not\xff"
    monkeypatch.chdir(tmp_path)

    def through(verb, raw, *flags):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        assert main([verb, str(run), "-", "-", "--device", "cpu", *flags]) == 0
        return capfdbinary.readouterr()

    made, said = through("compress", content)
    assert b"likelihood" in said and made.startswith(container.MAGIC)
    back, said = through("decompress", made)
    assert back == content and b"every block as its checksum says" in said
    assert not list(tmp_path.iterdir())
    for verb, raw in (("compress", content), ("decompress", made)):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(raw)))
        assert main([verb, str(run), "-", "-", "--json", "-"]) == 2
        assert b"standard output takes one result" in capfdbinary.readouterr()[1]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(made[:-1])))
    assert main(["decompress", str(run), "-", "out"]) == 2
    assert b"standard-input is damaged or cut short" in capfdbinary.readouterr()[1]


@pytest.mark.parametrize("order", ["confidence", "right-to-left"])
def test_other_orders_and_fewer_steps(text, tmp_path, order):
    run, new = text
    (tmp_path / "short.txt").write_bytes(new.read_bytes()[:700])
    flags = ["--order", order, "--steps", "9", "--batch-size", "2", "--no-verify"]
    record, back = there_and_back(run, tmp_path / "short.txt", tmp_path, "back.txt", *flags)
    assert back.read_bytes() == new.read_bytes()[:700]
    assert "in 9 steps" in record["sampler"] and record["verified"] is False


def test_pictures_come_back(pictures, tmp_path, capsys):
    run, data = pictures
    model, kind = opened(run)
    images = last_pictures(data, kind)
    np.savez(tmp_path / "new.npz", data=images)
    record, back = there_and_back(run, tmp_path / "new.npz", tmp_path, "back.npz", "--no-verify")
    assert (np.load(back)["data"] == images).all() and record["examples"] == 60
    within_a_percent(record, exact_bits(model, kind.tokenizer.encode(images).astype(np.int64)))
    assert record["bytes"]["png"] > 0 and record["bytes"]["beside"] == 0
    assert "kept beside" not in capsys.readouterr().err
    images = np.arange(4 * 64).astype(np.uint8).reshape(4, 8, 8, 1)  # of 17 levels
    np.savez(tmp_path / "all.npz", data=images)
    record, back = there_and_back(run, tmp_path / "all.npz", tmp_path, "all-back.npz")
    assert (np.load(back)["data"] == images).all() and record["bytes"]["beside"] > 0
    assert "239 of 256 values are none of the model's 17" in capsys.readouterr().err


def test_proteins_come_back(proteins, tmp_path):
    run, new = proteins
    record, back = there_and_back(run, new, tmp_path, "back.fasta", "--no-verify")
    assert back.read_bytes() == new.read_bytes()
    model, kind = opened(run)
    records = new.read_text().split(">")[1:]
    rows = [kind.tokenizer.encode(letters(one)).astype(np.int64) for one in records]
    assert max(map(len, rows)) > 128 and record["tokens"] == sum(map(len, rows))
    # of pieces the estimator is not told: those of one piece alone
    short = [row for row in rows if len(row) <= 64]
    alone = compression.compress(model, short, verify=False)
    assert alone.bits == pytest.approx(exact_bits(model, short), rel=1e-5)
    assert 8 * record["bytes"]["payload"] < 1.01 * record["likelihood_bits"]


def test_tables_come_back_cell_by_cell(table, tmp_path, capsys):
    run, new = table
    record, back = there_and_back(run, new, tmp_path, "back.csv", "--no-verify")
    assert read(back) == read(new) and len(read(new)) == 201
    said = capsys.readouterr().err
    assert "column 'fnlwgt'" in said and "by their places in bins" in said
    model, kind = opened(run)
    rows = kind.pack(new).examples
    within_a_percent(record, exact_bits(model, rows))
    (tmp_path / "header.csv").write_text(new.read_text().partition("\n")[0] + "\n")
    record, back = there_and_back(run, tmp_path / "header.csv", tmp_path, "none.csv")
    assert read(back) == read(new)[:1] and record["examples"] == 0


def test_a_value_that_the_network_does_not_know_is_named_before_the_work(
    proteins, tmp_path, capsys, monkeypatch
):
    model = MaskedDiffusion.from_pretrained(proteins[0])
    model.allowed = torch.arange(22) != 20
    model.save_pretrained(tmp_path / "without-u")
    file, out = tmp_path / "a.fasta", tmp_path / "a.umc"
    file.write_text(">one\nMKVL\n>two\nMKUVLAG\n")
    monkeypatch.setattr(compression, "compress", None)
    assert main(["compress", str(tmp_path / "without-u"), str(file), str(out)]) == 2
    assert f"example 2 of {file} has U (value 20), which" in capsys.readouterr().err


def test_what_cannot_come_back_is_refused(text, proteins, table, tmp_path, capsys):
    def refused(said, run, content, name, *flags):
        (tmp_path / name).write_text(content, encoding="utf-8")
        out = tmp_path / "no.umc"
        assert main(["compress", str(run), str(tmp_path / name), str(out), *flags]) == 2
        assert said in capsys.readouterr().err and not out.exists()

    refused("has X at residue 3, which leaves open", proteins[0], ">a\nACX\n", "x.fasta")
    lines = table[1].read_text().splitlines()
    fewer = "\n".join(line.rpartition(",")[0] for line in lines[:3])
    refused("lacks income", table[0], fewer, "few.csv")
    more = "\n".join(f"{line},x" for line in lines[:3])
    refused("which would be lost", table[0], more, "many.csv")
    strange = f"{lines[0]}\n{lines[1].replace(',', ',Self-unheard-of,', 1)[:-20]}\n"
    refused("cells, and the first row has", table[0], strange, "strange.csv")
    unread = f"{lines[0]}\n{lines[1].replace(lines[1].split(',')[1], 'Unheard-of', 1)}\n"
    refused("correct it, or leave the row out", table[0], unread, "unread.csv")
    many = ["--steps", "20000"]
    refused("20,000 steps are more than the 16,384", text[0], "To be", "in.txt", *many)


@pytest.fixture
def packed(text):
    """A model, and a small file of it."""
    model, kind = opened(text[0])
    ids = kind.tokenizer.encode("To be, or not to be: that is the question").astype(np.int64)
    return model, compression.compress(model, [ids, ids[:7]], beside=b"besides")


def test_another_model_or_machine_is_refused(packed, text, monkeypatch):
    model, made = packed
    found = compression.decompress(model, made.content)
    assert [len(one) for one in found.examples] == [41, 7] and found.beside == b"besides"
    parameter = next(model.parameters())
    with torch.no_grad():
        parameter.view(-1)[0] += 2**-20
    with pytest.raises(ValueError, match="another model, or other weights"):
        compression.decompress(model, made.content)
    with torch.no_grad():
        parameter.view(-1)[0] -= 2**-20
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    try:
        with pytest.raises(ValueError, match=f"with threads {threads}, and here it is"):
            compression.decompress(model, made.content)
    finally:
        torch.set_num_threads(threads)
    header = container.unpack(made.content).header
    for fact in header["machine"]:
        with pytest.raises(ValueError, match=f"was made with {fact} 'other'"):
            compression.decompress(model, changed(made, machine={fact: "other"}))
    with pytest.raises(ValueError, match="arithmetic differs"):
        compression.decompress(model, changed(made, probe="0" * 32))
    with pytest.raises(ValueError, match="pieces of 65 tokens, and the model 64"):
        content = container.unpack(made.content)
        compression.decompress(model, repacked(content, width=65))


def test_a_file_names_what_multiplied(packed):
    """Which may be another library in a program than in a command; older files do not say it."""
    model, made = packed
    products = torch.backends.mkldnn.matmul
    before = products.fp32_precision
    try:
        products.fp32_precision = "bf16"
        assert machine(model)["products"] == "oneDNN"
    finally:
        products.fp32_precision = before
    with pytest.raises(ValueError, match=r"products 'other'.*tune_process\(\) sets"):
        compression.decompress(model, changed(made, machine={"products": "other"}))
    content = container.unpack(made.content)
    older = {name: v for name, v in content.header["machine"].items() if name != "products"}
    found = compression.decompress(model, repacked(content, machine=older))
    assert [len(one) for one in found.examples] == [41, 7]


def test_a_file_does_not_say_how_much_is_started(packed, text, tmp_path, capsys):
    """Threads are those that this side has, or asks for; so are examples at a time."""
    model, made = packed
    before, many = torch.get_num_threads(), 2 + max(os.cpu_count(), torch.get_num_threads())
    file = tmp_path / "many.umc"

    def refused(said, content, *flags):
        file.write_bytes(content)
        out = str(tmp_path / "out")
        assert main(["decompress", str(text[0]), str(file), out, "--device", "cpu", *flags]) == 2
        assert said in capsys.readouterr().err
        assert torch.get_num_threads() == before and not Path(out).exists()

    refused(f"with {many} threads, and here are", changed(made, machine={"threads": many}))
    other = changed(made, machine={"threads": before + 1}, model="0" * 64)
    refused("made with another model", other)
    larger = changed(made, rows=1000)
    refused("has blocks of 1,000 examples, and at most 399 of 41 tokens", larger)
    refused("at most 3 of", changed(made, rows=4), "--batch-size", "3")
    with pytest.raises(ValueError, match="arithmetic differs"):  # so many are let through
        compression.decompress(model, larger, batch_size=1000)


def changed(made, machine=None, **facts):
    """The same file with another header, its digest made anew."""
    content = container.unpack(made.content)
    if machine:
        facts["machine"] = content.header["machine"] | machine
    return repacked(content, **facts)


def repacked(content, **facts):
    return container.pack(content._replace(header=content.header | facts))[0]


def test_arithmetic_that_drifts_is_told_by_the_block(packed, monkeypatch):
    """A network that says something else in the eighth digit after the probe: a machine that does
    not repeat itself."""
    model, made = packed
    probed = container.unpack(made.content).header["probe"]
    monkeypatch.setattr(compression, "probe", lambda *how: probed)
    hidden = model.hidden

    def drifting(z, t, **given):
        rows, head = hidden(z, t, **given)
        return rows, lambda some: head(some) * (1 + 1e-3)

    monkeypatch.setattr(model, "hidden", drifting)
    with pytest.raises(ValueError, match="block 1 does not decode to what was compressed"):
        compression.decompress(model, made.content)


def test_what_does_not_repeat_is_not_written(packed, monkeypatch):
    model, _ = packed
    hidden, calls = model.hidden, []

    def drifting(z, t, **given):
        rows, head = hidden(z, t, **given)
        calls.append(1)
        return rows, lambda some: head(some) * (1 + 1e-3 * len(calls))

    monkeypatch.setattr(model, "hidden", drifting)
    with pytest.raises(FloatingPointError, match="does not decode to itself"):
        compression.compress(model, [np.arange(20)])


def test_damage_is_told_before_anything_is_decoded(packed):
    model, made = packed
    raw = made.content
    random = np.random.default_rng(0)
    for at in [*range(0, 34), *random.integers(len(raw), size=40).tolist()]:
        wrong = bytearray(raw)
        wrong[at] ^= 1 << int(random.integers(8))
        with pytest.raises(ValueError, match=r"the file"):
            compression.decompress(model, bytes(wrong))
    for size in (0, 5, 25, 26, len(raw) // 2, len(raw) - 1):
        with pytest.raises(ValueError, match="not a file of|damaged or cut short"):
            compression.decompress(model, raw[:size])


def test_wrong_words_with_a_right_digest_are_told_by_the_block(packed):
    model, made = packed
    content = container.unpack(made.content)
    (block,) = content.blocks
    for words in (block.words[:1], block.words[:0], block.words ^ np.uint32(1 << 20)):
        wrong = content._replace(blocks=[block._replace(words=words)])
        with pytest.raises(ValueError, match="does not decode|cannot be decoded"):
            compression.decompress(model, container.pack(wrong)[0])


def test_digits_and_classes_and_learned_schedules(tmp_path):
    """Sub-tokens are coded digit by digit; one curve per value has no such likelihood."""
    from unmask import Subtokenizer, schedules
    from unmask.backbones import Transformer

    torch.manual_seed(0)
    network = Transformer(27, dim=12, layers=1, heads=2, digits=3)
    model = MaskedDiffusion(network, schedules.Cosine(), Subtokenizer(27, 3)).eval()
    x = np.random.default_rng(0).integers(27, size=(40, 12))
    for shares in (None, (1.0, 0.6, 0.2, 0.0)):
        made = compression.compress(model, list(x), order="margin", shares=shares)
        assert (np.stack(compression.decompress(model, made.content).examples) == x).all()
        examples = [Partial(row, np.full(12, SCORED, np.int8)) for row in x]
        exact = score(model, examples, estimator=Along("margin", shares))
        assert made.bits == pytest.approx(sum(one.nats for one in exact) / math.log(2), rel=1e-5)
        assert abs(made.coded_bits - made.bits) < 1e-3 * made.bits
        assert 0 < 8 * made.sizes.payload - made.coded_bits < 96
    for wrong, why in (
        ([np.array([1.5])], "whole numbers"),
        ([np.array([[1]])], "shape"),
        (np.arange(20), "shape"),
        ([np.arange(2), np.arange(0)], "has no tokens"),
        ([np.array([27])], "token id 27 is out of range"),
    ):
        with pytest.raises(ValueError, match=why):
            compression.compress(model, wrong)
    with pytest.raises(ValueError, match="numbers that fall from 1 to 0"):
        many = np.linspace(1, 0, 20_000).tolist()
        compression.compress(model, list(x), shares=many)
    with pytest.raises(ValueError, match="batch_size 20,000 is more than"):
        compression.compress(model, [np.arange(1)] * 20_000, batch_size=20_000)
    assert compression.decompress(model, compression.compress(model, []).content).examples == []
    network = Transformer(5, dim=16, layers=1, heads=2, time=True)
    learned = MaskedDiffusion(network, schedules.LearnedPolynomial(5), Subtokenizer(5))
    with pytest.raises(ValueError, match="one curve for all values"):
        compression.compress(learned, [np.arange(5)])


def test_ctrl_c_leaves_nothing(text, tmp_path, monkeypatch):
    run, new = text

    def stop(*args, **how):
        raise KeyboardInterrupt

    monkeypatch.setattr(compression, "code_block", stop)
    assert main(["compress", str(run), str(new), str(tmp_path / "no.umc")]) == 130
    assert not list(tmp_path.iterdir())


def test_another_process_decodes(text, tmp_path):
    """With other threads of its own, which it changes to those of the file."""
    run, new = text
    (tmp_path / "a.txt").write_bytes(new.read_bytes()[:40])
    how = ["--device", "cpu", "--no-verify"]
    made = str(tmp_path / "a.umc")
    assert main(["compress", str(run), str(tmp_path / "a.txt"), made, *how]) == 0
    command = [sys.executable, "-m", "unmask", "decompress", str(run), made, "b.txt", *how[:2]]
    env = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads() + 1)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "b.txt").read_bytes() == (tmp_path / "a.txt").read_bytes()


def test_the_run_goes_on_where_it_was_stopped(pictures, text, tmp_path, capsys, monkeypatch):
    """`runs/compress.py`, of 20 examples in three parts, stopped in the second."""
    path = Path(__file__).parents[2] / "runs" / "compress.py"
    spec = importlib.util.spec_from_file_location("compress_run", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    run, data = pictures
    command = [str(run), "--data", str(data), "--out", str(tmp_path), "--num", "20", "--part", "8"]
    one_part, parts = module.one_part, []

    def stopped(*how):
        if len(parts) == 1:
            raise KeyboardInterrupt
        parts.append(how)
        return one_part(*how)

    monkeypatch.setattr(module, "one_part", stopped)
    with pytest.raises(KeyboardInterrupt):
        module.main(command)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["000000.json", "000000.umc"]
    monkeypatch.setattr(module, "one_part", lambda *how: parts.append(how) or one_part(*how))
    module.main(command)
    assert len(parts) == 3 and "all: 20 examples, 1,280 tokens" in capsys.readouterr().out
    total = json.loads((tmp_path / "all.json").read_text())
    shutil.copytree(tmp_path, tmp_path.with_name("kinds") / "digits-parts")
    _, _, row = module.table(tmp_path.with_name("kinds"))
    assert row.startswith(f"| digits | 20 | 1,280 | {total['bits'] / 8:,.0f} | ")
    assert 8 * total["payload"] < 1.02 * total["bits"]
    for flags in (["--order", "margin"], ["--data", str(other_pictures(tmp_path.with_name("o")))]):
        with pytest.raises(SystemExit, match="of another model, machine, command or other data"):
            module.main([*command, *flags])
    with pytest.raises(SystemExit, match="has text .* was trained on pictures"):
        module.main([*command, "--data", str(text[0].parent / "data")])
    with pytest.raises(SystemExit, match="2"):
        module.main([*command, "--part", "0"])
    assert "--part must be at least 1, not 0" in capsys.readouterr().err


def other_pictures(folder):
    """The digits again, others of them to test on."""
    source = demos()["digits"].source
    prepare_images(source, folder, levels=17, split="1500,137,160", progress=False)
    return folder
