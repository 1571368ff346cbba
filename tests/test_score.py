"""What single sequences cost, by unmask score."""

import csv
import io

import pytest
import torch

import unmask
from unmask.audit import exact_nelbo
from unmask.cli.main import main
from unmask.config import TrainConfig
from unmask.data import prepare_proteins
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
        "l.fasta": f">a\n{'M' * 17}\n",
    }  # fmt: skip
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    said = {
        "long.txt": "line 1 has 19 tokens and the model was trained at 8",
        "strange.txt": "line 1: character 'é' at offset 0",
        "empty.txt": "has no text",
        "bad.jsonl": "line 1 is no JSON",
        "no.jsonl": "line 1 has no field text",
        "none.txt": "there is no file",
        "x.fasta": "has no residue that is known",
        "l.fasta": "has 17 residues and the model was trained at 16",
    }
    for name, why in said.items():
        run = protein_run if name.endswith("fasta") else text_run
        assert main(["score", str(run), str(tmp_path / name)]) == 2
        assert why in capsys.readouterr().err, name
