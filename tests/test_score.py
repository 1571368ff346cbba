"""What single sequences cost, by unmask score."""

import contextlib
import csv
import gzip
import io
import json
import math

import numpy as np
import pytest
import torch

import unmask
from unmask.audit import exact_nelbo
from unmask.cli.main import main
from unmask.cli.score import legible
from unmask.config import TrainConfig
from unmask.data import prepare_proteins
from unmask.filling import Filler
from unmask.scoring import Scorer
from unmask.train import train


def scored(capsys, *argv):
    assert main(["score", *map(str, argv)]) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


@pytest.fixture(scope="module")
def protein_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proteins")
    rows = [f">{i}\n{'MKVLAG' * 2}{'ACDEFGHIKL'[i:]}\n" for i in range(8)]
    (folder / "a.fasta").write_text("".join(rows))
    prepare_proteins(folder / "a.fasta", folder / "data", split="6,2,0", progress=False)
    config = TrainConfig(
        length=16, dim=16, layers=1, heads=2, batch_size=4, steps=30, eval_windows=2,
        dtype="float32", device="cpu",
    )  # fmt: skip
    return train(config, folder / "data", folder / "run").parents[1]


def test_the_score_of_a_text_is_its_bound(text_run, tmp_path, capsys):
    """Against the sum over all masks, the noise being that of the draws."""
    lines = ["the fox", "lazy dog", "the the"]
    (tmp_path / "a.txt").write_text("\n".join([*lines[:2], "", lines[2]]) + "\n")
    (tmp_path / "a.jsonl").write_text("".join(f'{{"text": "{line}"}}\r\n' for line in lines))
    flags = ("--repeats", 512, "--dtype", "float32")
    found = scored(capsys, text_run, tmp_path / "a.txt", *flags)
    assert [row["name"] for row in found] == ["1", "2", "4"]
    assert [int(row["tokens"]) for row in found] == [7, 8, 7]
    model = unmask.MaskedDiffusion.from_pretrained(text_run)
    alphabet = model.meta["data"]["tokenizer"]["alphabet"]
    for line, row in zip(lines, found):
        x = torch.tensor([[alphabet.index(letter) for letter in line]])
        exact = float(exact_nelbo(model, x)[0].detach())
        assert abs(float(row["nats"]) - exact) < 6 * float(row["noise"]) + 1e-4
        bits = float(row["nats"]) / 0.693147 / len(line)
        assert abs(float(row["bits_per_token"]) - bits) < 1e-3
    again = scored(capsys, text_run, tmp_path / "a.jsonl", *flags)
    assert [row["nats"] for row in again] == [row["nats"] for row in found]
    assert (
        main(["score", str(text_run), str(tmp_path / "a.txt"), "--out", str(tmp_path / "o.csv")])
        == 0
    )
    assert (tmp_path / "o.csv").read_text().startswith("name,tokens,nats,noise,bits_per_token,")


def test_the_score_of_a_protein_is_its_bound(protein_run, tmp_path, capsys):
    """Positions without a value are neither scored nor seen; and the noise is told as it is."""
    (tmp_path / "a.fasta").write_text(">one here\nMKVLAGX\n>two\nAAXXVL\n")
    found = scored(
        capsys, protein_run, tmp_path / "a.fasta", "--repeats", 256, "--dtype", "float32"
    )
    assert [(row["name"], row["residues"]) for row in found] == [("one here", "6"), ("two", "4")]
    model = unmask.MaskedDiffusion.from_pretrained(protein_run)
    letters = "ACDEFGHIKLMNPQRSTVWYUO"
    for text, row in zip(("MKVLAGX", "AAXXVL"), found):
        x = torch.tensor([[letters.find(letter) % 22 for letter in text]])
        valid = torch.tensor([[letter != "X" for letter in text]])
        exact = float(exact_nelbo(model, x, valid=valid)[0].detach())
        assert 0 < float(row["noise"]) < 1
        assert abs(float(row["nats"]) - exact) < 6 * float(row["noise"])


def test_what_cannot_be_scored_is_refused(text_run, protein_run, tmp_path, capsys):
    files = {
        "long.txt": "the quick brown fox", "strange.txt": "é", "empty.txt": "\n\n",
        "bad.jsonl": "{", "no.jsonl": '{"a": 1}', "x.fasta": ">a\nXX\n",
        "l.fasta": f">a\n{'M' * 17}\n", "blank.jsonl": '{"text": ""}',
        "given.jsonl": '{"given": "the", "text": ""}',
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    said = {
        "long.txt": "line 1 has 19 tokens and the model was trained at 8",
        "strange.txt": "line 1: character 'é' at offset 0",
        "empty.txt": "has no text",
        "bad.jsonl": "line 1 is no JSON",
        "blank.jsonl": "line 1 has no text that is known: give some, or take it out",
        "given.jsonl": "line 1 has no text that is known: give some, or take it out",
        "no.jsonl": "line 1 has no field text",
        "none.txt": "there is no file",
        "x.fasta": "has no residue that is known",
        "l.fasta": "has 17 residues and the model was trained at 16",
    }
    for name, why in said.items():
        run = protein_run if name.endswith("fasta") else text_run
        assert main(["score", str(run), str(tmp_path / name)]) == 2
        assert why in capsys.readouterr().err, name


# ---------------------------------------------------------------- contexts, marks, pairs


def rows_of(path):
    return list(csv.DictReader(io.StringIO(path.read_text())))


def text_bound(run, text, role, **how):
    """By enumeration, nats."""
    model = unmask.MaskedDiffusion.from_pretrained(run)
    alphabet = model.meta["data"]["tokenizer"]["alphabet"]
    x = torch.tensor([[alphabet.index(letter) for letter in text]])
    return float(exact_nelbo(model, x, role=torch.tensor([role], dtype=torch.int8), **how).detach())


@pytest.fixture
def without_u(protein_run, tmp_path):
    """The model of proteins, whose network does not know U."""
    model = unmask.MaskedDiffusion.from_pretrained(protein_run)
    model.allowed = torch.arange(22) != 20
    model.save_pretrained(tmp_path / "without-u")
    return tmp_path / "without-u"


def test_a_value_that_the_network_does_not_know_is_refused_before_the_work(
    without_u, tmp_path, capsys, monkeypatch
):
    """With its letter and its place in the file: batches begin with the longest examples."""
    file = tmp_path / "a.fasta"
    file.write_text(">one\nMKVLAG\n>two\nMKU\n>three\nMKVLAGMKVLAG\n")
    monkeypatch.setattr(Scorer, "draw", None)
    for more in ((), ("--pairs", file)):
        assert main(["score", str(without_u), str(file), *map(str, more)]) == 2
        said = capsys.readouterr().err
        assert f"{file}, line 3: " in said and "'two' has U (value 20), which" in said
    file.write_text(">one\nMKUL\n>two\nMU-L\n>three\nMKVLAG-MKVLAG\n")
    monkeypatch.setattr(Filler, "fill_rows", None)
    assert main(["fill", str(without_u), str(file)]) == 2
    assert f"example 2 of {file} has U (value 20), which" in capsys.readouterr().err


def test_a_value_that_the_network_is_not_shown_is_not_refused(without_u, tmp_path, capsys):
    """Of a record without a hole, and far from what is done window by window."""
    file, marks = tmp_path / "a.fasta", tmp_path / "marks.fasta"
    file.write_text(f">one\nMKUL\n>two\nM-VL{'A' * 40}U\n")
    assert main(["fill", str(without_u), str(file), "--window"]) == 0
    letters = "".join(capsys.readouterr().out.split())
    assert "MKUL" in letters and letters.endswith("AU")
    file.write_text(f">one\nMKVL{'A' * 40}U\n")
    marks.write_text(f">one\nM-VL{'A' * 40}U\n")
    (row,) = scored(capsys, without_u, file, "--window", "--holes", marks, "--repeats", 2)
    assert row["residues"] == "1"


def test_what_is_given_and_what_is_marked(text_run, tmp_path, capsys):
    """A context, tokens that are not known, and a part that is scored given the rest."""
    (tmp_path / "a.jsonl").write_text('{"given": "the ", "text": "fox"}\n{"text": "l[MASK:2]y"}\n')
    (tmp_path / "a.txt").write_text("the fox\n")
    (tmp_path / "holes.txt").write_text("the [MASK:3]\n")
    flags = ("--estimator", "enumeration", "--dtype", "float32")
    context, hidden = scored(capsys, text_run, tmp_path / "a.jsonl", *flags)
    truth = text_bound(text_run, "the fox", [1] * 4 + [2] * 3)
    assert float(context["nats"]) == pytest.approx(truth, abs=1e-3) and context["noise"] == "0.0000"
    assert (context["tokens"], hidden["tokens"]) == ("3", "2")
    truth_hidden = text_bound(text_run, "laay", [2, 3, 3, 2])
    assert float(hidden["nats"]) == pytest.approx(truth_hidden, abs=1e-3)
    holes = ("--holes", tmp_path / "holes.txt", "--positions", tmp_path / "p.csv")
    (part,) = scored(capsys, text_run, tmp_path / "a.txt", *holes, *flags)
    assert float(part["nats"]) == pytest.approx(truth, abs=1e-3)
    places = rows_of(tmp_path / "p.csv")
    assert [row["token"] for row in places] == ["5", "6", "7"]
    assert sum(float(row["nats"]) for row in places) == pytest.approx(truth, abs=1e-3)


def test_pairs_of_texts(text_run, tmp_path, capsys):
    """Two answers: the difference of the enumerated bounds, and whether it is resolved."""
    (tmp_path / "a.jsonl").write_text('{"given": "the", "text": " fox"}\n{"text": "lazy"}\n')
    (tmp_path / "b.jsonl").write_text('{"given": "the", "text": " dog"}\n{"text": "lazy"}\n')
    flags = ("--pairs", tmp_path / "b.jsonl", "--dtype", "float32", "--repeats", 256)
    record = tmp_path / "r.json"
    first, same = scored(capsys, text_run, tmp_path / "a.jsonl", *flags, "--json", record)
    a, b = (text_bound(text_run, f"the {word}", [1] * 3 + [2] * 4) for word in ("fox", "dog"))
    assert abs(float(first["difference"]) - (a - b)) < 5 * float(first["difference_noise"]) + 1e-3
    assert float(first["nats"]) - float(first["other_nats"]) == pytest.approx(
        float(first["difference"]), abs=2e-4
    )
    assert first["same_masks"] == "yes"
    assert (same["difference"], same["difference_noise"]) == ("0.0000", "0.0000")
    assert same["verdict"] == "not resolved"
    kept = json.loads(record.read_text())
    assert kept["scores"][0]["verdict"] == first["verdict"] and "upper bound" in kept["what"]
    (tmp_path / "c.txt").write_text("lazy dog\n")
    flags = ("--pairs", tmp_path / "c.txt", "--dtype", "float32")
    rows = scored(capsys, text_run, tmp_path / "a.jsonl", *flags)  # one for all
    assert [row["same_masks"] for row in rows] == ["no", "no"]
    assert rows[0]["other_nats"] == rows[1]["other_nats"]
    # one wild type, drawn for several pairs until each is told well enough, is one score
    (tmp_path / "two.txt").write_text("lazy fog\nxyz qqqq\n")
    argv = [tmp_path / "two.txt", *flags[:4], "--error", "0.005", "--json", record]
    rows = scored(capsys, text_run, *argv)
    assert rows[0]["other_nats"] == rows[1]["other_nats"]
    assert {int(row["draws"]) % 4 for row in rows} == {0}
    assert {row["other_draws"] for row in rows} == {max((r["draws"] for r in rows), key=int)}
    assert json.loads(record.read_text())["repeats"] is None
    argv = ["score", text_run, tmp_path / "a.jsonl", *flags[:4], "--estimator", "enumeration"]
    assert main(list(map(str, argv))) == 0
    said = capsys.readouterr()
    assert "masked alike" not in said.err
    assert {row["draws"] for row in csv.DictReader(io.StringIO(said.out))} == {"0"}


def test_mutations_of_a_protein(protein_run, tmp_path, capsys):
    (tmp_path / "wild.fasta").write_text(">wild\nMKVLAGMKXL\n")
    (tmp_path / "m.fasta").write_text(">K2A\nMAVLAGMKXL\n>inserted\nMKVVLAGMKXL\n")
    (tmp_path / "holes.fasta").write_text(">site\nM-VLAGMKXL\n")
    flags = ("--pairs", tmp_path / "wild.fasta", "--repeats", 64, "--dtype", "float32")
    assert main(["score", *map(str, (protein_run, tmp_path / "m.fasta", *flags))]) == 0
    said = capsys.readouterr()
    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert "1 of 2 pairs cannot be masked alike" in said.err
    assert [(row["other"], row["same_masks"]) for row in rows] == [("wild", "yes"), ("wild", "no")]
    model = unmask.MaskedDiffusion.from_pretrained(protein_run)
    letters = "ACDEFGHIKLMNPQRSTVWYUO"

    def bound(text, scored=None):
        x = torch.tensor([[letters.find(letter) % 22 for letter in text]])
        scored = range(len(text)) if scored is None else scored
        role = [0 if letter == "X" else 1 + (i in scored) for i, letter in enumerate(text)]
        return float(exact_nelbo(model, x, role=torch.tensor([role], dtype=torch.int8)).detach())

    wild = bound("MKVLAGMKXL")
    for row, text in zip(rows, ("MAVLAGMKXL", "MKVVLAGMKXL")):
        change = bound(text) - wild
        assert abs(float(row["difference"]) - change) < 5 * float(row["difference_noise"])
    (tmp_path / "open.fasta").write_text(">o\nMK-LAXMK\n")  # unknown, and absent
    all_masks = ("--estimator", "enumeration", "--dtype", "float32")
    (row,) = scored(capsys, protein_run, tmp_path / "open.fasta", *all_masks)
    x = torch.tensor([[letters.find(letter) % 22 for letter in "MKALAAMK"]])
    role = torch.tensor([[2, 2, 3, 2, 2, 0, 2, 2]], dtype=torch.int8)
    assert float(row["nats"]) == pytest.approx(exact_nelbo(model, x, role=role).item(), abs=1e-3)
    assert row["residues"] == "6"
    # the mutated place alone, given the rest: exactly, by one draw
    (tmp_path / "one.fasta").write_text(">K2A\nMAVLAGMKXL\n")
    (site,) = scored(
        capsys, protein_run, tmp_path / "one.fasta", *flags, "--holes", tmp_path / "holes.fasta"
    )
    change = bound("MAVLAGMKXL", [1]) - bound("MKVLAGMKXL", [1])
    assert float(site["difference"]) == pytest.approx(change, abs=1e-3)
    assert float(site["difference_noise"]) < 1e-3 and site["residues"] == "1"
    assert main(["score", str(protein_run), str(tmp_path)]) == 2
    assert f"{tmp_path} is a folder: name a file" in capsys.readouterr().err


def test_a_longer_text_is_scored_window_by_window(text_run, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("the quick brown fox\n")
    (row,) = scored(capsys, text_run, tmp_path / "a.txt", "--window", "--positions", tmp_path / "p")
    assert row["tokens"] == "19" and len(rows_of(tmp_path / "p")) == 19


def test_rows_of_a_table_cost_what_an_evaluation_says(tmp_path, capsys):
    """With missing cells, two places of which are one cell; columns add up to the row."""
    generator = np.random.default_rng(0)
    lines = ["color,size,price"]
    for _ in range(300):
        size = generator.integers(3)
        price = "" if generator.random() < 0.3 else str(size)
        lines.append(f"{'red' if size else 'blue'},{'SML'[size]},{price}")
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    prepare = ["prepare", "tables", str(tmp_path / "t.csv"), str(tmp_path / "data")]
    assert main([*prepare, "--split", "0.8,0,0.2", "--categories", "color,size,price"]) == 0
    config = TrainConfig(
        length=0, dim=16, layers=1, heads=2, batch_size=16, steps=20, eval_windows=4,
        dtype="float32", device="cpu",
    )  # fmt: skip
    run = train(config, tmp_path / "data", tmp_path / "run").parents[1]
    flags = ["--dtype", "float32", "--repeats", "64"]
    record = str(tmp_path / "e.json")
    assert main(["eval", str(run), "--data", str(tmp_path / "data"), *flags, "--json", record]) == 0
    said = json.loads((tmp_path / "e.json").read_text())
    capsys.readouterr()
    data = unmask.data.open_data(tmp_path / "data")
    test_rows = np.array(data.tokens("test")).reshape(-1, data.length)
    texts = [",".join(row) for row in data.tokenizer.decode(test_rows)]
    (tmp_path / "test.csv").write_text("\n".join([lines[0], *texts]) + "\n")
    flags += ["--positions", str(tmp_path / "p.csv")]
    rows = scored(capsys, run, tmp_path / "test.csv", *flags)
    assert len(rows) == said["n"] and {row["cells"] for row in rows} == {"3"}
    nats = [float(row["nats"]) for row in rows]
    noise = math.hypot(*(float(row["noise"]) for row in rows)) / len(rows)
    of_eval = said["noise"] * math.log(2) * said["positions"] / said["n"]
    apart = sum(nats) / len(rows) - said["nats_per_example"]
    assert abs(apart) < 5 * math.hypot(noise, of_eval)
    cells = rows_of(tmp_path / "p.csv")
    assert [row["cell"] for row in cells[:3]] == ["color", "size", "price"]
    for i, total in enumerate(nats):
        of_row = sum(float(row["nats"]) for row in cells[3 * i : 3 * i + 3])
        assert of_row == pytest.approx(total, abs=1e-3)
    # a column given the others: by enumeration, both of its places
    model = unmask.MaskedDiffusion.from_pretrained(run)
    (tmp_path / "one.csv").write_text(f"{lines[0]}\nred,S,\nblue,M,1\n")
    (tmp_path / "holes.csv").write_text("color,size\nred,S\nblue,M\n")
    holes = ("--holes", tmp_path / "holes.csv", "--estimator", "enumeration", "--dtype", "float32")
    found = scored(capsys, run, tmp_path / "one.csv", *holes)
    columns = data.tokenizer.columns
    cells = [
        [column.values.index(text) if text else -1 for column, text in zip(columns, row)]
        for row in (["red", "S", ""], ["blue", "M", "1"])
    ]
    x = torch.from_numpy(data.tokenizer.tokens(np.array(cells)))
    role = torch.tensor([[1, 1, 2, 2]] * 2, dtype=torch.int8)
    truth = exact_nelbo(model, x, role=role).tolist()
    assert [float(row["nats"]) for row in found] == pytest.approx(truth, abs=1e-3)
    (tmp_path / "holes.csv").write_text(f"{lines[0]}\nred,S,\n,M,1\n")
    found = scored(capsys, run, tmp_path / "one.csv", *holes)
    role = torch.tensor([[1, 1, 2, 2], [2, 1, 1, 1]], dtype=torch.int8)
    truth = exact_nelbo(model, x, role=role).tolist()
    assert [float(row["nats"]) for row in found] == pytest.approx(truth, abs=1e-3)
    for content, why in {
        "color,size,price\ngreen,S,1\n": "is none of its 2 categories",
        "color,size,price\n,S,1\n": "column 'color' is missing, and never is",
        "color,size,price\n": "has no rows",
    }.items():
        (tmp_path / "bad.csv").write_text(content)
        assert main(["score", str(run), str(tmp_path / "bad.csv")]) == 2
        assert why in capsys.readouterr().err
    (tmp_path / "bad.csv").write_text("color,size,price\n,S,1\n")
    (row,) = scored(capsys, run, tmp_path / "bad.csv", "--unseen", "unknown")
    assert row["cells"] == "2"
    # that a cell has a value is paid for, whatever it is, as by an evaluation
    (tmp_path / "new.csv").write_text(f"{lines[0]}\nred,S,9\n")
    (row,) = scored(capsys, run, tmp_path / "new.csv", "--unseen", "unknown", *holes[2:])
    how = {"like": data.tokenizer, "unseen": "unknown", "split": "0,0,1", "progress": False}
    unmask.data.prepare_table(tmp_path / "new.csv", tmp_path / "new", **how)
    (batch,) = unmask.data.open_data(tmp_path / "new").windows("test", data.length, 1)
    assert batch["role"].tolist() == [[2, 2, 2, 3]]
    assert float(row["nats"]) == pytest.approx(exact_nelbo(model, **batch).item(), abs=1e-3)


@pytest.fixture(scope="module")
def picture_run(tmp_path_factory):
    """With classes."""
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    pictures = generator.integers(0, 2, (40, 2, 3, 1)).astype(np.uint8) * 255
    np.savez(folder / "a.npz", data=pictures, labels=np.arange(40) % 2)
    unmask.data.prepare_images(
        folder / "a.npz", folder / "data", split="0.5,0,0.5", levels=2, progress=False
    )
    config = TrainConfig(
        length=0, dim=16, layers=1, heads=2, batch_size=8, steps=10, eval_windows=4, labels=True,
        dtype="float32", device="cpu",
    )  # fmt: skip
    return train(config, folder / "data", folder / "run").parents[1]


def test_pictures_cost_what_is_enumerated(picture_run, tmp_path, capsys):
    """Those of an archive with their classes; one with transparent pixels; a folder."""
    from PIL import Image

    bits = np.random.default_rng(1).integers(0, 2, (3, 2, 3, 1)).astype(np.uint8)
    np.savez(tmp_path / "a.npz", data=bits * 255, labels=np.array([0, 1, 1]))
    flags = ("--estimator", "enumeration", "--dtype", "float32")
    rows = scored(capsys, picture_run, tmp_path / "a.npz", *flags)
    model = unmask.MaskedDiffusion.from_pretrained(picture_run)
    x = torch.from_numpy(bits.reshape(3, -1).astype(np.int64))

    def bound(x, cond=None, role=None):
        return exact_nelbo(model, x, cond=cond, role=role).tolist()

    truth = bound(x, torch.tensor([0, 1, 1]))
    assert [float(row["nats"]) for row in rows] == pytest.approx(truth, abs=1e-3)
    bits_each = [nats / math.log(2) / 6 for nats in truth]
    assert [float(row["bits_per_dimension"]) for row in rows] == pytest.approx(bits_each, abs=1e-3)
    labelled = scored(capsys, picture_run, tmp_path / "a.npz", *flags, "--label", "1")
    assert float(labelled[0]["nats"]) == pytest.approx(bound(x[:1], torch.tensor([1]))[0], abs=1e-3)
    (tmp_path / "some").mkdir()
    grey = bits[0, ..., 0] * 255
    Image.fromarray(grey).save(tmp_path / "some" / "b.png")
    clear = np.full_like(grey, 255)
    clear[0, 1] = 0
    Image.fromarray(np.stack([grey, clear], -1), "LA").save(tmp_path / "some" / "c.png")
    found = scored(capsys, picture_run, tmp_path / "some", *flags, "--label", "0")
    role = torch.tensor([[2] * 6, [2, 3, 2, 2, 2, 2]], dtype=torch.int8)
    truth = bound(x[:1].repeat(2, 1), torch.tensor([0, 0]), role)
    assert [row["name"] for row in found] == ["b.png", "c.png"]
    assert [row["dimensions"] for row in found] == ["6", "5"]
    assert [float(row["nats"]) for row in found] == pytest.approx(truth, abs=1e-3)
    holes = ("--holes", tmp_path / "some" / "c.png", "--label", "0")
    (part,) = scored(capsys, picture_run, tmp_path / "some" / "b.png", *flags, *holes)
    role = torch.tensor([[1, 2, 1, 1, 1, 1]], dtype=torch.int8)
    truth = bound(x[:1], torch.tensor([0]), role)[0]
    assert float(part["nats"]) == pytest.approx(truth, abs=1e-3) and part["dimensions"] == "1"
    clear[1] = 127, 128, 254
    Image.fromarray(np.stack([grey, clear], -1), "LA").save(tmp_path / "half.png")
    np.savez(tmp_path / "wide.npz", data=np.zeros((1, 3, 3, 1), np.uint8))
    np.savez(tmp_path / "other.npz", data=np.zeros((1, 2, 3, 1), np.uint8), labels=np.array([2]))
    for name, why in {
        "wide.npz": "has images of 3 x 3 x 1, and the model is for 2 x 3 x 1",
        "other.npz": "has the label 2, and the model knows 2 classes",
        "half.png": "half.png has 3 half-transparent pixels",
    }.items():
        assert main(["score", str(picture_run), str(tmp_path / name)]) == 2
        assert why in capsys.readouterr().err


def test_a_model_with_a_curve_per_value_is_scored(data, tmp_path, capsys):
    config = TrainConfig(
        length=8, dim=16, layers=1, heads=2, batch_size=4, steps=2, eval_windows=8,
        dtype="float32", device="cpu", schedule="learned", time=True,
    )  # fmt: skip
    run = train(config, data, tmp_path / "run").parents[1]
    (tmp_path / "a.jsonl").write_text('{"text": "fox"}\n{"given": "the", "text": " dog"}\n')
    found = scored(capsys, run, tmp_path / "a.jsonl", "--repeats", 512)
    truth = text_bound(run, "fox", [2] * 3), text_bound(run, "the dog", [1] * 3 + [2] * 4)
    for row, bound in zip(found, truth):
        assert abs(float(row["nats"]) - bound) < 6 * float(row["noise"])
    (same, _) = scored(capsys, run, tmp_path / "a.jsonl", "--pairs", tmp_path / "a.jsonl")
    assert same["difference"] == "0.0000" and same["same_masks"] == "yes"
    (tmp_path / "b.jsonl").write_text('{"text": "dog"}\n{"given": "the", "text": " fox"}\n')
    pair = tmp_path / "a.jsonl", "--pairs", tmp_path / "b.jsonl"
    exact = scored(capsys, run, *pair, "--estimator", "enumeration")
    for drawn, enumerated in zip(scored(capsys, run, *pair), exact):
        assert drawn["same_masks"] == "no" and "resolved" in drawn["verdict"]
        assert enumerated["verdict"] == "resolved"
        off = float(drawn["difference"]) - float(enumerated["difference"])
        assert abs(off) < 6 * float(drawn["difference_noise"])


def test_mutants_of_their_own_sites_have_one_wild_type(protein_run, tmp_path, capsys):
    """Each version of a pair is marked as the other is, also where one stands for all."""
    (tmp_path / "m.fasta").write_text(">K2A\nMAVLAGMKXL\n>V3A\nMKALAGMKXL\n")
    (tmp_path / "sites.fasta").write_text(">K2A\nM-VLAGMKXL\n>V3A\nMK-LAGMKXL\n")
    (tmp_path / "wild.fasta").write_text(">wild\nMKVLAGMKXL\n")
    flags = "--holes", tmp_path / "sites.fasta", "--repeats", 1, "--dtype", "float32"
    pairs = "--pairs", tmp_path / "wild.fasta"
    found = scored(capsys, protein_run, tmp_path / "m.fasta", *pairs, *flags)
    assert [row["other"] for row in found] == ["wild", "wild"]
    mutants = scored(capsys, protein_run, tmp_path / "m.fasta", *flags)
    (tmp_path / "twice.fasta").write_text(">K2A\nMKVLAGMKXL\n>V3A\nMKVLAGMKXL\n")
    wild = scored(capsys, protein_run, tmp_path / "twice.fasta", *flags)
    assert wild[0]["nats"] != wild[1]["nats"]  # of other places
    for row, mutant, of_wild in zip(found, mutants, wild, strict=True):
        assert float(row["nats"]) == pytest.approx(float(mutant["nats"]), abs=1e-4)
        assert float(row["other_nats"]) == pytest.approx(float(of_wild["nats"]), abs=1e-4)


def test_all_of_an_example_may_be_marked(text_run, protein_run, tmp_path, capsys):
    files = {
        text_run: ("a.txt", "the fox\nlazy dog\n", "the [MASK:3]\n[MASK:8]\n"),
        protein_run: ("a.fasta", ">a\nMKVL\n>b\nAGMK\n", ">a\nM--L\n>b\n[MASK:4]\n"),
    }
    exact = "--estimator", "enumeration"
    for run, (name, content, marks) in files.items():
        (tmp_path / name).write_text(content)
        (tmp_path / f"holes-{name}").write_text(marks)
        whole = scored(capsys, run, tmp_path / name, *exact)
        found = scored(capsys, run, tmp_path / name, *exact, "--holes", tmp_path / f"holes-{name}")
        assert found[1] == whole[1] and found[0]["nats"] != whole[0]["nats"]
        # a file of which it is not said that it only marks is refused, as ever
        assert main(["score", str(run), str(tmp_path / f"holes-{name}")]) == 2
        assert "known" in capsys.readouterr().err


def test_what_does_not_fit_together_is_refused(text_run, protein_run, tmp_path, capsys):
    files = {
        "a.txt": "the fox\nlazy dog\n", "three.txt": "a\nb\nc\n", "shifted.txt": "a\n\nb\n",
        "other.txt": "the [MASK:2]\n", "differs.txt": "tho [MASK:3]\nlazy [MASK:3]\n",
        "none.txt": "the fox\nlazy dog\n", "huge.txt": "a[MASK:99999999999]\n",
        "given.jsonl": '{"given": 1, "text": "a"}\n', "marks.txt": "[MASK:2]\n",
        "a.fasta": ">a\nMKVL\n", "bad.fasta": ">a\nMK1L\n", "nothing.txt": "",
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    asked = {
        "three.txt has 3 examples and INPUT 2": ("a.txt", "--pairs", "three.txt"),
        "line 3 would stand beside": ("a.txt", "--pairs", "shifted.txt"),
        "line 1 has 7 tokens, and": ("a.txt", "--holes", "other.txt"),
        "differ at token 3, which is not marked": ("a.txt", "--holes", "differs.txt"),
        "marks nothing that has a value": ("a.txt", "--holes", "none.txt"),
        "is no hole of 1 to": ("huge.txt",),
        "has a field given that is no text": ("given.jsonl",),
        "has no text that is known": ("marks.txt",),
        "nothing.txt has no text": ("nothing.txt",),
        "there is no file": ("a.txt", "--pairs", "missing.txt"),
        "would overwrite the input": ("a.txt", "--out", "a.txt"),
        "another file": ("a.txt", "--out", "o.csv", "--positions", "o.csv"),
        "cannot be told by position": ("a.txt", "--estimator", "orders", "--positions", "p.csv"),
        "is exact, and draws nothing": ("a.txt", "--estimator", "enumeration", "--error", "0.1"),
        "never reported as nats": ("a.txt", "--estimator", "joint"),
        "--unseen is not for a text": ("a.txt", "--unseen", "unknown"),
        "--label is not for a text": ("a.txt", "--label", "1"),
        "'1' at residue 3": ("bad.fasta",),
    }
    for why, (name, *flags) in asked.items():
        run = protein_run if name.endswith("fasta") else text_run
        paths = [str(tmp_path / flag) if "." in flag and flag != "0.1" else flag for flag in flags]
        assert main(["score", str(run), str(tmp_path / name), *paths]) == 2, why
        assert why in capsys.readouterr().err, why


def test_no_output_replaces_what_is_read(text_run, picture_run, tmp_path, capsys):
    """Nor another output; whatever the verb, before the work."""
    from PIL import Image

    weights = unmask.checkpoint.resolve(text_run) / "model.safetensors"
    (tmp_path / "some").mkdir()
    Image.fromarray(np.zeros((2, 3), np.uint8)).save(tmp_path / "some" / "a.png")
    (tmp_path / "link.txt").symlink_to(tmp_path / "t.txt")
    for name in ("t.txt", "p.txt", "h.txt"):
        (tmp_path / name).write_text("the [MASK:3]" if name == "h.txt" else "the fox")
    score = ["score", text_run, "t.txt"]
    pictures = ["score", picture_run, "some"]
    over, two, own = "would overwrite the input", "is to hold two results", "of a saved model"
    asked = [
        (over, [*score, "--json", "t.txt"]),
        (over, [*score, "--out", "link.txt"]),
        (over, [*score, "--pairs", "p.txt", "--json", "p.txt"]),
        (over, [*score, "--holes", "h.txt", "--positions", "h.txt"]),
        (two, [*score, "--positions", "o.csv", "--json", "o.csv"]),
        (two, [*score, "--out", "o.csv", "--json", "./o.csv"]),
        (own, [*score, "--out", weights]),
        (own, [*score, "--json", weights.with_name("config.json")]),
        ("is a file of some, which is read", [*pictures, "--json", "some/a.png"]),
        (over, ["fill", text_run, "h.txt", "--json", "h.txt"]),
        (over, ["fill", text_run, "h.txt", "--out", "h.txt"]),
        (two, ["fill", text_run, "h.txt", "--out", "o.txt", "--json", "o.txt"]),
        (two, ["sample", text_run, "--out", "o.txt", "--json", "o.txt"]),
        (two, ["export", text_run, "o.pt2", "--json", "o.pt2"]),
        (own, ["export", text_run, "o.pt2", "--json", weights]),
    ]
    before = {path: path.read_bytes() for path in [*tmp_path.rglob("*.*"), weights]}
    with contextlib.chdir(tmp_path):
        for why, argv in asked:
            assert main([str(word) for word in argv]) == 2, argv
            assert why in capsys.readouterr().err, argv
        assert main([*map(str, score), "--out", "/dev/null", "--json", "/dev/null"]) == 0
    assert before == {path: path.read_bytes() for path in [*tmp_path.rglob("*.*"), weights]}


def test_json_lines_are_recognised_and_nothing_in_them_is_dropped(text_run, tmp_path, capsys):
    line = '{"text": "the fox"}\n'
    (tmp_path / "a.txt").write_bytes(b"the fox\rthe fox\r")
    truth, again = scored(capsys, text_run, tmp_path / "a.txt")
    assert truth["nats"] == again["nats"] and (truth["name"], again["name"]) == ("1", "2")
    for name in ("a.ndjson", "a.json", "a.JSONL", "a.jsonlines"):
        (tmp_path / name).write_text(line * 2)
        assert scored(capsys, text_run, tmp_path / name) == [truth, again], name
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    assert scored(capsys, text_run, tmp_path / "a.jsonl.gz") == [truth]
    (tmp_path / "some.txt").mkdir()
    (tmp_path / "a.json").write_text(f"[{line}]")
    files = {
        "prompt": '{"text": "fox", "prompt": "the "}', "a_b": '{"text": "fox", "a_b": 1}',
        "2 times": '{"text": "fox", "text": "the"}', "half a surro": r'{"text": "fox\ud800"}',
        "a surrogate": r'{"text": "fox", "given": "\udfff"}', "no field text": '[["text", "a"]]',
    }  # fmt: skip
    for why, content in files.items():
        (tmp_path / "a.jsonl").write_text(content)
        assert main(["score", str(text_run), str(tmp_path / "a.jsonl")]) == 2, why
        assert why in capsys.readouterr().err
    for name, why in {"a.json": "give JSON lines", "some.txt": "is a folder: name"}.items():
        assert main(["score", str(text_run), str(tmp_path / name)]) == 2, name
        assert why in capsys.readouterr().err


def test_names_of_their_own_go_before_places(picture_run, protein_run, tmp_path, capsys):
    """The same names in another order are a mistake; other names, as of mutants, go by place."""
    from PIL import Image

    for folder, numbers in {"a": (1, 2, 10), "b": (1, 2, 11), "c": (5, 6, 7)}.items():
        (tmp_path / folder).mkdir()
        for number in numbers:
            picture = Image.fromarray(np.full((2, 3), 255, np.uint8))
            picture.save(tmp_path / folder / f"{number}.png")
    sequences = {"ab": ">a\nMKV\n>b\nLAG\n", "ba": ">b\nLAG\n>a\nMKV\n", "xy": ">x\nMKL\n>y\nLAV\n"}
    for name, content in sequences.items():
        (tmp_path / f"{name}.fasta").write_text(content)
    asked = [
        (picture_run, "a", "b", "'10.png' of INPUT would stand beside '11.png' of"),
        (picture_run, "a", "c", ""),
        (protein_run, "ab.fasta", "ba.fasta", "'a' of INPUT would stand beside 'b' of"),
        (protein_run, "ab.fasta", "xy.fasta", ""),
        (protein_run, "ab.fasta", "ab.fasta", ""),
    ]
    for run, name, other, why in asked:
        argv = ["score", str(run), str(tmp_path / name), "--pairs", str(tmp_path / other)]
        if run is picture_run:
            argv += ["--label", "0"]
        assert main([*argv, "--repeats", "8"]) == (2 if why else 0), (name, other)
        assert why in capsys.readouterr().err


def test_numbers_outside_training_and_columns_of_no_model_are_counted(tmp_path, capsys):
    numbers = [f"{i},{i % 7}\n" for i in range(0, 200, 2)]
    (tmp_path / "t.csv").write_text("".join(["age,hours\n", *numbers]))
    prepare = ["prepare", "tables", str(tmp_path / "t.csv"), str(tmp_path / "data")]
    flags = ["--split", "1,0,0", "--bins", "4", "--numbers", "age,hours"]
    assert main([*prepare, *flags]) == 0
    config = TrainConfig(
        length=0, dim=16, layers=1, heads=2, batch_size=8, steps=1, eval_windows=4,
        dtype="float32", device="cpu",
    )  # fmt: skip
    run = train(config, tmp_path / "data", tmp_path / "run").parents[1]
    score = ["score", str(run), str(tmp_path / "a.csv"), "--repeats", "8"]
    noted = "note: {}/a.csv has numbers outside the range of training"
    for content, said in {
        "age,hours\n198,6\n0,0\n7,3\n": "",
        "age,hours\n199,6\n-1,9\n1e30,3\n1e30,3\n": "outermost bin does: age (4), hours (1)\n",
    }.items():
        (tmp_path / "a.csv").write_text(content)
        assert main(score) == 0
        error = capsys.readouterr().err
        assert (noted.format(tmp_path) in error) == bool(said) and said in error
        assert "the model does not have" not in error
    (tmp_path / "a.csv").write_text("age,name,hours,town\n198,x,6,y\n")
    assert main(score) == 0
    assert "a.csv has 2 columns that the model does not have: left out" in capsys.readouterr().err
    assert main([*score[:2], str(tmp_path), *score[3:]]) == 2
    assert f"{tmp_path} is a folder: name a file" in capsys.readouterr().err


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("error", [0, 0.2])
def test_what_is_finished_when_a_run_is_stopped_is_written(
    pairs, error, text_run, tmp_path, capsys, monkeypatch
):
    """Ctrl-C in the middle of a network's call: what is whole is what a whole run has."""
    (tmp_path / "a.txt").write_text("the fox\nlazy dog\nthe the\nover the\n")
    flags = ["--repeats", 16, "--dtype", "float32", "--batch-size", 1, "--error", error]
    if pairs:
        (tmp_path / "b.txt").write_text("the dog\nlazy fox\nthe fox\nover fox\n")
        flags += ["--pairs", tmp_path / "b.txt"]
    features, called, limit = unmask.backbones.Transformer.features, [], 0

    def stopping(self, *args, **given):
        called.append(1)
        if len(called) == limit:
            raise KeyboardInterrupt
        return features(self, *args, **given)

    monkeypatch.setattr(unmask.backbones.Transformer, "features", stopping)
    whole = scored(capsys, text_run, tmp_path / "a.txt", *flags)
    for limit in (1, round(0.6 * len(called))):
        called.clear()
        out = tmp_path / f"{limit}.csv"
        argv = ["score", text_run, tmp_path / "a.txt", "--out", out, *flags]
        assert main(list(map(str, argv))) == 130
        said = capsys.readouterr().err
        if limit == 1:
            assert "stopped; 0 of 4 are scored" in said and not out.exists()
            continue
        rows = list(csv.DictReader(io.StringIO(out.read_text())))
        assert 0 < len(rows) < 4 and f"stopped; {len(rows)} of 4 are scored" in said
        if not error:
            assert all(row in whole for row in rows)
        else:
            names = [row["name"] for row in whole]
            assert all(row["name"] in names and int(row["draws"]) > 0 for row in rows)


def test_a_header_that_is_no_text_is_legible():
    assert legible("M\udcfcller") == "M\ufffdller" and legible("Müller") == "Müller"
