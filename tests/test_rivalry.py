"""The tables of runs/: masked diffusion and its rivals under one budget, in miniature."""

import gzip
import json
import math
import shutil
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from test_protocols import byte_level

from unmask.data import open_data, prepare_images, prepare_text
from unmask.kinds.images.demo import Digits
from unmask.kinds.registry import recipes
from unmask.likelihood.estimators import EXACT

RUNS = Path(__file__).parents[1] / "runs"
SMALL = ["--seeds", "0,1", "--windows", "4", "--dim", "16", "--layers", "1"]


@pytest.fixture
def script(monkeypatch):
    """A script of runs/, which finds the packages beside it as it does when it is run."""
    monkeypatch.syspath_prepend(RUNS)
    before = set(sys.modules)
    yield import_module
    for name in set(sys.modules) - before:
        if (
            getattr(sys.modules[name], "__file__", None)
            and RUNS in Path(sys.modules[name].__file__).parents
        ):
            del sys.modules[name]


@pytest.fixture(scope="module")
def letters(tmp_path_factory):
    """Prepared data of text8's 27 letters."""
    home = tmp_path_factory.mktemp("letters")
    (home / "text.txt").write_text("the quick brown fox jumps over the lazy dog " * 200)
    how = {"tokenizer": "characters", "alphabet": "text8"}
    prepare_text(home / "text.txt", home / "data", **how, progress=False)
    return home / "data"


def records(out):
    """The cells of a table, by name, and their files as they are."""
    cells = sorted((out / "cells").glob("*.json"))
    made = {path: path.read_text(encoding="utf-8") for path in cells}
    return {path.stem: json.loads(said) for path, said in made.items()}, made


def plan(out, table, data, calls, **changed):
    """A plan of an earlier call."""
    of_data = json.loads((data / "meta.json").read_text())["sha256"]
    asked = {"minutes": 10.0, "seeds": [0, 1], "windows": 4, "length": 8, "dim": 16, "layers": 1}
    asked |= {"table": table.told(), "batch_size": 16, "rates": [0.001, 0.003, 0.01]}
    made = asked | {"data_sha256": of_data, "calls": calls} | changed
    (out / "plan.json").write_text(json.dumps(made))


# ---------------------------------------------------------------- 27 letters


def test_the_table_of_rivals_goes_on_where_it_stopped(script, letters, tmp_path, capsys):
    text = script("text")
    flags = [str(letters), str(tmp_path), "--only", "md4,md4x2,genmd4,ar", "--length", "8", *SMALL]
    with pytest.raises(SystemExit, match="leaves 0 steps a cell: give at least"):
        text.main([*flags, "--minutes", "0.0001"])
    plan(tmp_path, text.LETTERS, letters, 64, rows=["md4", "md4x2", "genmd4", "ar"])
    assert text.main(flags) == 0
    found, made = records(tmp_path)
    assert len(found) == 16 and not any("failed" in one for one in found.values())
    # the same number of network calls, of one draw or of two
    steps = {one["row"]: one["steps"] for one in found.values()}
    assert steps == {"md4": 4, "md4x2": 2, "genmd4": 2, "ar": 4}
    assert {one["what"] for name, one in found.items() if name.startswith("ar")} == {EXACT}
    # what is kept of each sequence is what the figures are of
    for one in found.values():
        each = torch.tensor(one["of_each"]["nats"])
        assert each.shape == (2, 4) and one["repeats"] == (1 if one["row"] == "ar" else 8)
        assert float(each.mean()) == pytest.approx(one["nats"], abs=1e-4)
        assert "bytes" in one and sum(one["of_each"]["bytes"]) == one["bytes"]
    said = capsys.readouterr().out
    assert "| likelihood | 2 |" in said and "| 1.23 |" in said
    assert "not judged" not in said
    assert "genmd4 less md4: " in said and "genmd4 less md4x2: " in said
    assert said.splitlines() == text.table(tmp_path)
    # a cell that is lost is done again, to the last bit, from nothing: what training needs is gone
    assert not list((tmp_path / "runs").glob("*/checkpoints"))
    lost = next(iter(made))
    lost.unlink()
    assert text.main(flags) == 0
    assert json.loads(lost.read_text())["bits"] == found[lost.stem]["bits"]
    assert all(path.read_text() == said for path, said in made.items() if path != lost)
    with pytest.raises(SystemExit, match="is of dim 16, not 32: choose another OUT"):
        text.main([*flags, "--dim", "32"])


def test_a_plan_fits_the_minutes(script, letters, tmp_path, monkeypatch):
    """Of what a call and a cell are said to cost, and no more."""
    module, text = script("rivalry.plan"), script("text")
    costs = {"md4": {"a_call": 0.01, "besides": 1.0}, "ar": {"a_call": 0.02, "besides": 2.0}}
    monkeypatch.setattr(module, "measured", lambda table, plan, name, args: costs[name])
    monkeypatch.setattr(script("rivalry.command"), "work", lambda *a: None)
    flags = [str(letters), str(tmp_path), "--only", "md4,ar", "--seeds", "0,1", "--windows", "16"]
    assert text.main([*flags, "--minutes", "3"]) == 1  # without a row
    plan = json.loads((tmp_path / "plan.json").read_text())
    # 4 cells a row; an evaluated window of eight draws is 8 / 3 of a call
    calls = (180 - 4 * 3) / (4 * 0.03) - 8 / 3 * (16 + 128)
    assert calls - 3 * 16 < plan["calls"] <= calls and plan["calls"] % 32 == 0


def test_a_table_is_printed_from_its_record_alone(script, letters, tmp_path):
    text = script("text")
    plan(tmp_path, text.LETTERS, letters, 64, rows=["md4", "ar"])
    (tmp_path / "cells").mkdir()

    def cell(row, rate, seed, **said):
        about = {"row": row, "rate": rate, "seed": seed, "what": "an upper bound", "density": "d"}
        about |= {"parameters": 12345, "dtype": "float32", "device": "cpu"}
        path = tmp_path / "cells" / f"{row}-{rate:g}-{seed}.json"
        path.write_text(json.dumps(about | said))

    for rate, bits in ((0.001, 3.0), (0.003, 2.5), (0.01, None)):
        known = {"failed": "FloatingPointError: no"}
        if bits is not None:
            known = {"bits": bits + 0.25, "stderr": 0.03}
        cell("md4", rate, 0, validation_bits=bits, **known)
        cell("ar", rate, 0, failed="FloatingPointError: no")
    cell("md4", 0.003, 1, bits=2.85, stderr=0.04)
    lines = text.table(tmp_path)
    # the mean of 2.75 and 2.85, and their standard deviation, 0.1 / sqrt(2), over sqrt(2)
    rates = "0.001: 3.000, **0.003: 2.500**, 0.01: -"
    assert f"| MD4 | 2.800 +- 0.050 | bound | 2 | {rates} | d | 12,345 | 1.37 |" in lines
    assert any(line.startswith("| autoregressive | not done | | 0 | ") for line in lines)
    assert sum("failed: FloatingPointError: no" in line for line in lines) == 4
    assert sum("the larger of two: that over seeds" in line for line in lines) == 1
    width = {line.count("|") for line in lines if line.startswith("|")}
    assert width == {9}
    # the best of rates is at an end where it is the least or the largest, wherever it was typed
    plan(tmp_path, text.LETTERS, letters, 64, rows=["md4"], rates=[0.003, 0.001, 0.01])
    assert not any("may lie beyond" in line for line in text.table(tmp_path))
    plan(tmp_path, text.LETTERS, letters, 64, rows=["md4"], rates=[0.001, 0.003])
    assert any("**0.003: 2.500** (the best may lie beyond)" in x for x in text.table(tmp_path))
    with pytest.raises(ValueError, match="holds no table"):
        text.table(tmp_path / "cells")
    with pytest.raises(ValueError, match="holds the table letters, and this is of vocabulary or "):
        script("vocabulary").table(tmp_path)
    with pytest.raises(SystemExit, match="holds the table letters, and this is of mnist-binarized"):
        script("images").main([str(letters), str(tmp_path), "--report"])
    # what is damaged is named
    path = tmp_path / "cells" / "md4-0.003-0.json"
    path.write_text(path.read_text()[:20])
    with pytest.raises(SystemExit, match="md4-0.003-0.json cannot be read"):
        text.main([str(letters), str(tmp_path), "--report"])
    for content in ("[]", '{"table": {"name": "letters"}}', "{"):
        (tmp_path / "plan.json").write_text(content)
        for argv in (["--report"], ["--calls", "32"]):
            with pytest.raises(SystemExit, match="plan.json"):
                text.main([str(letters), str(tmp_path), *argv])


def cell_of(bits, *nats):
    """A cell of sequences of one position that pay so, each replicate a list."""
    each = {"nats": nats, "steady": nats, "positions": [1] * len(nats[0])}
    return {"bits": bits, "of_each": each | {"bytes": None, "groups": None}}


def test_differences_are_those_of_pairs_of_seeds(script):
    report = script("rivalry.report")
    measure = {"key": "bits", "title": "bits", "digits": 3}
    told = {"measures": [measure], "rows": {"md4": {}, "b": {"control": "c"}, "c": {}}}
    found = {"md4": (1.0, 2.0, 3.0), "b": (1.5, 2.7, 3.6), "c": (1.5, 2.7, 3.9)}
    exact = [[1.0, 2.0]] * 2  # all pay the same, so that sequences have no say
    cells = {
        row: {i: cell_of(bits, *exact) for i, bits in enumerate(of)} for row, of in found.items()
    }
    # 0.5, 0.7, 0.6: their standard error is 0.1 / sqrt(3), and Student's of 2 is 4.303
    assert report.resolved(told, cells)[0] == (
        "- b less md4: +0.600 bits, resolved at 95 %: differences from 0.248 on would be (0.248 by "
        "3 seeds, 0.000 by sequences and masks)"
    )
    assert [line[:10] for line in report.resolved(told, cells)] == [
        "- b less m", "- c less m", "- b less c"
    ]  # fmt: skip
    assert "b less c: -0.100 bits, not resolved" in report.resolved(told, cells)[2]
    # one row of several seeds does not compare, and is not said to be of one
    several = {"md4": cells["md4"], "b": {0: cells["b"][0]}, "c": {}}
    assert report.resolved(told, several) == []
    only = {row: {0: of[0]} for row, of in cells.items()}
    assert report.resolved(told, {row: {} for row in cells})[0].startswith("No row is finished")
    assert "One seed resolves nothing" in report.resolved(told, only)[0]
    # of one seed, the error over sequences, where it is known
    assert report.figure(measure, {0: {"bits": 1.5, "stderr": 0.25}}) == "1.500 +- 0.250"
    assert report.figure(measure, {0: {"bits": 1.5}}) == "1.500"
    assert report.with_error([1.0, 2.0], [0.75, math.nan], 2) == "1.50 +- 0.75"
    assert report.with_error([1.0, 2.0], [0.25, None], 2) == "1.50 +- 0.50"


def test_seeds_that_agree_on_a_few_sequences_resolve_nothing(script):
    """They share sequences and masks: what others would change is in no spread over seeds."""
    report = script("rivalry.report")
    measure = {"key": "bits", "title": "bits", "digits": 3}
    change = torch.tensor([0.5, -0.3, 0.9, -0.7, 0.2, 0.1], dtype=torch.float64)
    a = {seed: cell_of(2.0 + seed, *[(10 + change).tolist()] * 2) for seed in range(3)}
    b = {seed: cell_of(1.83 + seed, *[[10.0] * 6] * 2) for seed in range(3)}
    own = report.paired_error("bits", [*a.values()], [*b.values()])
    assert own == pytest.approx(float(change.std()) / math.sqrt(6) / math.log(2), abs=1e-9)
    said = report.compared(measure, ("a", a), ("b", b))
    assert "+0.170 bits, not resolved at 95 %" in said
    assert f"(0.000 by 3 seeds, {1.96 * own:.3f} by sequences and masks)" in said
    # masks alone, counted once: of replicates at 10 + 1 and 10 - 1, 1 nat
    a, b = [cell_of(1.0, [11.0] * 8, [9.0] * 8)], [cell_of(1.0, *[[10.0] * 8] * 2)]
    assert report.paired_error("bits", a, b) == pytest.approx(1 / math.log(2))
    # by bytes, a sequence that has twice as many and pays twice as much is no other
    for cell, nats in ((a[0], [1.0, 2.0]), (b[0], [3.0, 6.0])):
        cell["of_each"] |= {"nats": [nats] * 2, "steady": [nats] * 2, "bytes": [5, 10]}
    assert report.paired_error("bits_per_byte", a, b) == pytest.approx(0, abs=1e-9)
    # what is not of the same sequences, or does not say, is not judged
    a[0]["of_each"]["bytes"] = [5, 11]
    assert report.paired_error("bits_per_byte", a, b) is None
    for row in (a, b):
        row.append({"bits": 2.0})
    said = report.compared(measure, ("a", dict(enumerate(a))), ("b", dict(enumerate(b))))
    assert said.startswith("- a less b: +0.000 bits, not judged: ")


def test_a_row_that_never_trains_and_one_that_fails_are_told(
    script, letters, tmp_path, monkeypatch, capsys
):
    text, cells = script("text"), script("rivalry.cells")
    real = cells.train

    def some(config, *where):
        if config.rival == "ar" or config.learning_rate == 0.01:
            raise FloatingPointError("the loss is nan")
        return real(config, *where)

    monkeypatch.setattr(cells, "train", some)
    flags = [str(letters), str(tmp_path), "--only", "md4,ar", "--length", "8", *SMALL]
    flags += ["--calls", "32", "--rates", "0.003,0.01"]
    assert text.main(flags) == 0
    said = capsys.readouterr()
    assert said.out.count("failed: FloatingPointError: the loss is nan") == 3
    assert "ar, seed 1, 0 s" in said.err and "no learning rate of this row trained" in said.err
    assert "| autoregressive | not done |" in said.out
    found, made = records(tmp_path)
    assert {name for name, one in found.items() if "bits" in one} == {"md4-0.003-0", "md4-0.003-1"}
    none = [flags[0], str(tmp_path / "none"), *flags[2:], "--only", "ar"]
    assert text.main(none) == 1  # of these all fail
    assert "No row is finished" in capsys.readouterr().out
    # what failed stays as it is, and is done when that is asked for
    monkeypatch.setattr(cells, "train", real)
    assert text.main(flags) == 0 and records(tmp_path)[1] == made
    assert text.main([*flags, "--again"]) == 0
    assert not any("failed" in one for one in records(tmp_path)[0].values())
    with pytest.raises(SystemExit, match="is of calls 32, not 64: choose another OUT"):
        text.main([*flags[:-3], "64", *flags[-2:]])


def test_a_table_that_was_stopped_inside_a_cell_goes_on(script, letters, tmp_path, monkeypatch):
    text, cells = script("text"), script("rivalry.cells")
    real, done = cells.estimate, []

    def stopped(*of, **how):
        if len(done) == 1:
            raise KeyboardInterrupt
        done.append(real(*of, **how))
        return done[-1]

    flags = [str(letters), str(tmp_path), "--only", "md4", "--length", "8", *SMALL]
    flags += ["--calls", "32", "--rates", "0.003"]
    monkeypatch.setattr(cells, "estimate", stopped)
    assert text.main(flags) == 130
    assert set(records(tmp_path)[0]) == {"md4-0.003-0"}
    assert list((tmp_path / "runs" / "md4-0.003-1").glob("checkpoints/*"))  # it goes on from here
    monkeypatch.setattr(cells, "estimate", real)
    run, plan = tmp_path / "runs" / "md4-0.003-1", json.loads((tmp_path / "plan.json").read_text())
    ready = cells.scored(run, letters, plan)  # a run that is finished can be measured by itself
    assert text.main(flags) == 0 and len(records(tmp_path)[0]) == 2
    made = records(tmp_path)[0]["md4-0.003-1"]
    assert {name: made[name] for name in ready} == ready and ready["steps"] == 2


# ---------------------------------------------------------------- bytes, subwords, pictures


def test_bytes_have_the_same_rows_and_no_published_figures(script, tmp_path):
    text = script("text")
    (tmp_path / "a.txt").write_text("Tom & Jerry, 1940. " * 300)
    prepare_text(tmp_path / "a.txt", tmp_path / "data", progress=False)
    flags = ["--only", "md4", "--length", "8", *SMALL, "--calls", "32", "--rates", "0.003"]
    assert text.main([str(tmp_path / "data"), str(tmp_path / "out"), *flags]) == 0
    said = "\n".join(text.table(tmp_path / "out"))
    assert "ours: bits per byte" in said and "sequences of 8 bytes" in said
    assert "1.37" not in said and "paper: none" in said


@pytest.fixture
def subwords(tmp_path):
    """A text in GPT-2's kind of tokens, and a folder with the five test sets, of as much text as
    the 8 shards of their protocols need."""
    words = "the quick brown fox jumps over the lazy dog and says hello to all of them "
    (tmp_path / "a.txt").write_text(words * 100)
    merges = [("t", "h"), ("th", "e")]
    prepare_text(
        tmp_path / "a.txt", tmp_path / "data", tokenizer=byte_level(merges), progress=False
    )
    sets = tmp_path / "sets"
    sets.mkdir()
    lines = [words * 8] * 32
    passages = "".join(json.dumps({"text": line}) + "\n" for line in lines)
    (sets / "lambada_test.jsonl").write_text(passages)
    for name in ("wiki.test.raw", "ptb.test.txt", "news.en.heldout-00000-of-00050"):
        (sets / name).write_text("".join(f" {line}\n" for line in lines))
    rows = "".join(f'"1","a title","{line}"\n' for line in lines)
    with gzip.open(sets / "test.csv.gz", "wt") as file:
        file.write(rows)
    return tmp_path


def test_models_of_subwords_are_asked_about_texts_that_they_were_not_trained_on(
    script, subwords, monkeypatch, capsys
):
    vocabulary, zero_shot = script("vocabulary"), script("zero_shot")
    data, out, sets = (str(subwords / name) for name in ("data", "out", "sets"))
    flags = ["--only", "ar,md4,prime2", "--length", "8", *SMALL, "--calls", "32"]
    flags += ["--rates", "0.003", "--batch-size", "8"]
    with pytest.raises(SystemExit, match="holds no table: make it with runs/vocabulary.sh first"):
        zero_shot.main([out, sets])
    assert vocabulary.main([data, out, *flags]) == 0
    said = capsys.readouterr().out
    assert "| ours: bits per byte | ours: perplexity per token |" in said
    assert "prime2 less md4: " in said and "22.13" not in said
    found, _ = records(subwords / "out")
    for one in found.values():
        assert math.log(one["perplexity"]) * 8 == pytest.approx(one["nats"])
        assert one["bits_per_byte"] * one["bytes"] == pytest.approx(one["bits"] * 4 * 8)
    with pytest.raises(ValueError, match="has no zero-shot figures"):
        zero_shot.table(subwords / "out")
    # stopped by an evaluation that fails, it goes on with those that are not there
    real, asked = zero_shot.unmask, []

    def evaluated(argv):
        asked.append(argv)
        return 130 if len(asked) == 4 else real(argv)

    monkeypatch.setattr(zero_shot, "unmask", evaluated)
    small = ["--limit", "2", "--repeats", "1"]
    assert zero_shot.main([out, sets, *small]) == 130
    assert zero_shot.main([out, sets, *small]) == 0
    assert len(asked) == 4 + 30 - 3  # 3 rows, 2 seeds, 5 sets
    with pytest.raises(SystemExit, match="is of {'limit': 2, 'repeats': 1}, not {'limit': 3"):
        zero_shot.main([out, sets, "--limit", "3"])
    lines = zero_shot.table(subwords / "out")
    assert "of no published protocol" in lines[0]
    row = next(line for line in lines if line.startswith("| ours: MD4 |")).split(" | ")
    records_of = (subwords / "out" / "zero-shot" / "records").glob("md4-*-lambada-sedd.json")
    some = [json.loads(path.read_text()) for path in records_of]
    values = [one["perplexity"] for one in some]
    own = sum(one["perplexity"] * math.log(2) * one["stderr"] for one in some) / 2
    mean, error = sum(values) / 2, max(own, abs(values[0] - values[1]) / 2)
    assert row[1:4] == ["bound", "2", f"{mean:,.1f} +- {error:,.1f}"]
    assert any(line.startswith("| ours: autoregressive | likelihood |") for line in lines)
    assert "| paper: MD4 | bound | | 48.43 | 34.94 | 102.26 | 68.10 | |" in lines
    assert any(line.startswith("| official files |") and "no: another" in line for line in lines)
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1
    shutil.rmtree(subwords / "out" / "models")  # the record is enough to print it
    assert zero_shot.table(subwords / "out") == lines
    with pytest.raises(SystemExit, match="has no model of a finished search: finish it first"):
        zero_shot.main([out, sets, *small])
    (subwords / "sets" / "ptb.test.txt").unlink()
    with pytest.raises(SystemExit, match="has no ptb.test.txt, for ptb-sedd: put it there"):
        zero_shot.main([out, sets, *small])


def test_pictures_are_in_nats_beside_published_figures_of_those_pictures_alone(
    script, tmp_path, capsys
):
    images = script("images")
    prepare_images(Digits.source, tmp_path / "data", levels=2, progress=False)
    flags = [str(tmp_path / "data"), str(tmp_path / "out"), *SMALL, "--batch-size", "4"]
    flags += ["--calls", "16", "--rates", "0.003"]
    assert images.main(flags) == 0
    said = capsys.readouterr().out
    assert (
        "sequences of 64 values" in said
        and "test split, 4 sequences" in said
        and "cosine less md4: " in said
    )
    assert "86.64" not in said and "no figures of these pictures" in said
    found, _ = records(tmp_path / "out")
    assert len(found) == 10
    for one in found.values():
        assert one["nats"] == pytest.approx(one["bits"] * 64 * math.log(2))
    # beside those of other methods, once the record says that they are of these pictures
    known = json.loads((tmp_path / "out" / "plan.json").read_text())
    (tmp_path / "out" / "plan.json").write_text(json.dumps(known | {"table": images.MNIST.told()}))
    lines = images.table(tmp_path / "out")
    assert any("| MADE | not trained here |" in line and "| 86.64 |" in line for line in lines)
    assert {line.count("|") for line in lines if line.startswith("|")} == {10}
    # the tables with figures, as their data are recognised
    meta = json.loads((tmp_path / "data" / "meta.json").read_text())
    opened = open_data(tmp_path / "data")
    assert images.chosen(opened) is images.PLAIN
    opened.meta = meta | {"source": [{"sha256": recipes()["mnist-binarized"][1].official[0]}]}
    assert images.chosen(opened) is images.MNIST
    for name, pictures in (("data_batch_1", 20), ("test_batch", 4)):
        (tmp_path / "cifar").mkdir(exist_ok=True)
        rows = np.random.default_rng(0).integers(10, size=(pictures, 3073), dtype=np.uint8)
        rows.tofile(tmp_path / "cifar" / f"{name}.bin")
    prepare_images(tmp_path / "cifar", tmp_path / "cifar-data", progress=False)
    assert images.chosen(open_data(tmp_path / "cifar-data")) is images.CIFAR
    assert images.CIFAR.rows["d3pm"].paper == "4.40"
    with pytest.raises(SystemExit):
        images.main([*flags, "--network", "unet", "--widths", "8"])
    assert "ar: --rival ar is a causal transformer" in capsys.readouterr().err
    flags[1] = str(tmp_path / "unet")
    flags += ["--only", "md4", "--network", "unet", "--widths", "8,8", "--seeds", "0"]
    assert images.main(flags) == 0
    assert "a U-Net of widths 8,8" in capsys.readouterr().out


def test_tables_are_of_their_kinds_of_data(script, letters, tmp_path, capsys):
    for name, said in (
        ("images", "holds text, and this is of pictures"),
        ("vocabulary", "has tokens of characters, and this is of subwords"),
    ):
        with pytest.raises(SystemExit, match=said):
            script(name).main([str(letters), str(tmp_path)])
    prepare_images(Digits.source, tmp_path / "data", levels=2, progress=False)
    with pytest.raises(SystemExit, match="has tokens of pixels, and this is of letters"):
        script("text").main([str(tmp_path / "data"), str(tmp_path / "out")])
    flags = [str(letters), str(tmp_path / "out")]
    for wrong, said in (
        ("--only=md5", "md5: name some of"), ("--minutes=0", "positive"), ("--calls=17", "17"),
        ("--windows=0", "and 0"), ("--seeds=a", "invalid"), ("--rates=0.1,-1", "-1.0"),
        ("--minutes=inf", "inf"), ("--rates=0.003,inf", "inf"), ("--rates=nan", "nan"),
        ("--batch-size=0", "--batch-size must be at least 1, not 0"), ("--seeds=-1", "not -1"),
        ("--only=md4,ar,md4", "--only has md4 twice"), ("--seeds=0,1,0", "--seeds has 0 twice"),
        ("--rates=0.1,1e-1", "--rates has 0.1 twice"), ("--dim=15", "15"), ("--length=0", "0"),
    ):  # fmt: skip
        with pytest.raises(SystemExit) as stop:
            script("text").main([*flags, "--calls=32", wrong])
        assert stop.value.code == 2 and said in capsys.readouterr().err.splitlines()[-1], wrong
    assert not (tmp_path / "out").exists()
