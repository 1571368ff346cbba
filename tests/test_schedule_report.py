"""unmask schedule: the powers of the right values, counted in the right data, and bounds that other
commands confirm."""

import json
import math
import re
import struct

import numpy as np
import pytest
import torch
from test_links import DIALS, ROWS, random_model

import unmask
from unmask import schedules
from unmask.audit import exact_nelbo
from unmask.cli import main
from unmask.data import Bytes, Characters, Ids, Subwords, open_data
from unmask.estimate import errors
from unmask.evaluation.schedule import (
    Powers,
    describe_schedule,
    difference,
    draw,
    read_powers,
    with_power,
)
from unmask.likelihood import estimate_nelbo

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 200
ALPHABET = "~" + "".join(sorted(set(TEXT)))  # ~ never occurs
TRAIN = [
    "--length", "16", "--dim", "16", "--layers", "1", "--heads", "2", "--batch-size", "8",
    "--minutes", "0", "--steps", "30", "--dtype", "float32", "--threads", "1", "--time",
    "--warmup", "1",
]  # fmt: skip
FLOAT = ["--dtype", "float32", "--threads", "1"]


def run(*arguments):
    assert main([str(a) for a in arguments]) == 0


def fails(capsys, *arguments):
    """Exit code 2 and one line on stderr, which is returned."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("unmask schedule: ") and err.count("\n") == 1 and not out
    return err


LEARNED = ["--schedule", "learned", "--focus", "0", "--schedule-learning-rate", "0.3"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Prepared data and a model with a learned schedule, made by the commands, and what the verb
    said and recorded of them."""
    home = tmp_path_factory.mktemp("schedule")
    (home / "text.txt").write_text(TEXT)
    flags = ["--tokenizer", "characters", "--alphabet", ALPHABET]
    run("prepare", "text", home / "text.txt", home / "data", *flags)
    flags = ["--data", home / "data", "--out", home / "run", *TRAIN, *LEARNED]
    run("train", "demo", *flags)
    return home


@pytest.fixture(scope="module")
def record(home):
    flags = ["--data", home / "data", "--limit", "20", "--repeats", "4", *FLOAT]
    more = ["--json", home / "record.json"]
    run("schedule", home / "run", *flags, *more)
    return json.loads((home / "record.json").read_text(encoding="utf-8"))


def learned(home):
    return unmask.MaskedDiffusion.from_pretrained(home / "run")


# ---------------------------------------------------------------- the powers


def test_every_character_has_its_own_power_half_way_time_and_count(home, record):
    power = learned(home).schedule.power.detach()
    assert record["powers"] == power.tolist() and len(set(record["powers"])) > 20
    assert record["values"] == [repr(c) for c in ALPHABET]
    half = torch.tensor(record["half_way_t"])
    assert learned(home).schedule.masked(half).diagonal().tolist() == pytest.approx(
        [0.5] * len(ALPHABET)
    )
    text = TEXT[: round(0.9 * len(TEXT))]
    assert record["counts"] == [text.count(c) for c in ALPHABET] and sum(record["counts"]) == len(
        text
    )
    frequency = np.array(record["counts"]) / len(text)
    assert record["mean_power"] == pytest.approx((frequency * power.numpy()).sum())
    assert record["common_power"] == pytest.approx(
        math.exp((frequency * np.log(power.numpy())).sum())
    )


def test_the_first_and_last_values_are_those_of_the_largest_and_smallest_trained_powers(
    home, record, capsys
):
    capsys.readouterr()
    flags = ["--data", home / "data", "--limit", "2", "--repeats", "1", "--num", "3"]
    run("schedule", home / "run", *flags, *FLOAT)
    said = capsys.readouterr().out
    order = sorted(range(1, len(ALPHABET)), key=lambda i: -record["powers"][i])
    assert record["order"] == order and record["never_in_training"] == [0]
    rows = re.findall(
        r"^('.+?'|\".+?\") +(\d+\.\d{3}) +([\d.e-]+) +([\d,]+) +([\d.e-]+) %$", said, re.MULTILINE
    )
    assert [name for name, *_ in rows] == [repr(ALPHABET[i]) for i in order[:3] + order[:-4:-1]]
    for (_, power, half, count, share), i in zip(rows, order[:3] + order[:-4:-1], strict=True):
        assert float(power) == pytest.approx(record["powers"][i], abs=6e-4)
        assert float(half) == pytest.approx(record["half_way_t"][i], rel=0.01)
        assert int(count.replace(",", "")) == record["counts"][i]
        assert float(share) == pytest.approx(
            100 * record["counts"][i] / sum(record["counts"]), rel=0.06
        )
    assert "1 value never occurs in the training split" in said and "'~'" in said
    assert f"powers of the {len(order)} values that occur" in said


def test_without_data_all_values_are_listed_and_nothing_is_said_of_frequencies(home, capsys):
    capsys.readouterr()
    run("schedule", home / "run", "--num", "100", *FLOAT)
    out, err = capsys.readouterr()
    assert all(out.count(f"\n{c!r} ") == 1 for c in ALPHABET)  # once: the two lists do not overlap
    assert "share" not in out and "--data" in out and "--out schedule.png" in err


@pytest.mark.parametrize("count", range(1, 8))
def test_a_value_is_not_both_among_the_first_and_among_the_last(count):
    powers = Powers(1 + torch.arange(count, dtype=torch.float64), [""] * count, None)
    for num in range(1, 9):
        first, last = (ends.tolist() for ends in powers.ends(num))
        assert (
            first == list(range(count))[::-1][: len(first)]
            and last == list(range(count))[: len(last)]
        )
        assert len(first) + len(last) == min(count, 2 * num) and not set(first) & set(last)


def test_quartiles_are_of_the_values_that_occur():
    power = torch.tensor([1.0, 2, 3, 4, 5, 19], dtype=torch.float64)
    powers = Powers(power, list("abcdef"), torch.tensor([1, 1, 1, 1, 6, 0]))
    said = describe_schedule(schedules.LearnedPolynomial(6), powers, 12)
    assert "1 to 5, quartiles 2, 3, 4" in said and "weighted by frequency: 4" in said
    assert powers.common() == pytest.approx((24 * 5**6) ** 0.1)


@pytest.mark.parametrize("length, masking", [(1, "digit"), (2, "token")])
def test_with_permuted_codes_a_power_belongs_to_the_token_of_its_code(length, masking):
    codes = torch.tensor([3, 0, 4, 1, 2])
    subtokenizer = unmask.Subtokenizer(5, length, codes)
    schedule = schedules.LearnedPolynomial(5)
    with torch.no_grad():
        schedule.raw.copy_(torch.arange(5) / 10)
    network = unmask.backbones.Transformer(5, dim=8, layers=1, heads=1, time=True, digits=length)
    model = unmask.MaskedDiffusion(network, schedule, subtokenizer, masking=masking)
    powers = read_powers(model, Characters("abcde"))
    for code in range(5):
        token = int(subtokenizer.token(torch.tensor(code)))
        assert powers.power[token] == schedule.power.detach()[code] and powers.names[token] == repr(
            "abcde"[token]
        )
    first, last = powers.ends(2)
    # codes 4, 3, 0, 1
    assert [powers.names[i] for i in (*first, *last)] == ["'c'", "'a'", "'b'", "'d'"]


@pytest.mark.parametrize("codes", ["ids", "random"])
def test_the_values_of_masked_digits_are_digits(home, tmp_path, codes):
    folders = ["--data", home / "data", "--out", tmp_path / "run"]
    digits = [*LEARNED, "--digits", "2", "--codes", codes]
    run("train", "demo", *folders, *TRAIN, *digits)
    flags = ["--data", home / "data", "--limit", "2", "--repeats", "1", *FLOAT]
    more = ["--json", tmp_path / "r.json"]
    run("schedule", tmp_path / "run", *flags, *more)
    model, row = (
        unmask.MaskedDiffusion.from_pretrained(tmp_path / "run"),
        json.loads((tmp_path / "r.json").read_text(encoding="utf-8")),
    )
    assert (
        row["values"] == [f"digit value {i}" for i in range(6)]
        and row["powers"] == model.schedule.power.detach().tolist()
    )
    code = range(len(ALPHABET)) if codes == "ids" else model.codes.tolist()
    text = [code[ALPHABET.index(c)] for c in TEXT[: round(0.9 * len(TEXT))]]
    digits = [d for v in text for d in divmod(v, 6)]
    assert row["counts"] == [digits.count(i) for i in range(6)]


def test_a_token_is_spelled_so_that_it_can_be_read():
    from tokenizers import Tokenizer, decoders, models

    assert [Bytes().spell(i) for i in (32, 10, 0, 97, 0xC3, 39)] == [
        "' '",
        r"'\n'",
        r"'\x00'",
        "'a'",
        r"'\xc3'",
        '"\'"',
    ]
    assert [Characters("a\n λ").spell(i) for i in range(4)] == ["'a'", r"'\n'", "' '", "'λ'"]
    assert Ids(5).spell(3) == "id 3"
    words = Tokenizer(
        models.WordLevel({"Ġthe": 0, "Ċ": 1, "âĢ": 2, "Î»": 3, "##ing": 5, "日": 6}, unk_token="Ċ")
    )
    plain = Subwords(words.to_str())
    assert [plain.spell(i) for i in (0, 4, 5)] == ["'Ġthe'", "unused id 4", "'##ing'"]
    words.decoder = decoders.ByteLevel()
    level = Subwords(words.to_str())
    assert [level.spell(i) for i in range(7)] == [
        "' the'",
        r"'\n'",
        r"'\xe2\x80'",
        "'λ'",
        "unused id 4",
        "'##ing'",
        "'日'",
    ]
    assert all(level.spell(i) == repr(level.decode([i])) for i in (0, 1, 3, 5))


# ---------------------------------------------------------------- the bounds


@pytest.mark.parametrize("split, name", [("train", "train"), ("test", "held_out")])
def test_the_bounds_are_those_of_unmask_eval(home, record, split, name):
    some = ["--split", split, "--limit", "20", "--repeats", "4", "--json", home / "eval.json"]
    run("eval", home / "run", "--data", home / "data", *some, *FLOAT)
    row = json.loads((home / "eval.json").read_text(encoding="utf-8"))
    assert [row[key] for key in ("value", "stderr", "noise", "n")] == [
        record[f"{name}{key}"] for key in ("", "_stderr", "_noise", "_n")
    ]
    assert record["unit"] == row["unit"] == "bits per character"


def test_the_common_power_is_the_bound_of_one_curve_for_the_same_network(home, record):
    """The estimator of a schedule with one curve, the exact count, is another one: they agree
    within their noise."""
    data, model = open_data(home / "data"), learned(home)
    assert record["common_power"] != pytest.approx(1, abs=0.05)
    one = unmask.MaskedDiffusion(
        model.backbone, schedules.Polynomial(record["common_power"]), model.subtokenizer
    )
    exact = estimate_nelbo(one, data.windows("test", 16, 64, limit=20), repeats=32, seed=3)
    timed = estimate_nelbo(
        with_power(model, record["common_power"]),
        data.windows("test", 16, 64, limit=20),
        repeats=32,
        seed=4,
    )
    assert abs(exact.mean - timed.mean) < 4 * math.hypot(exact.noise, timed.noise)
    timed = estimate_nelbo(
        with_power(model, record["common_power"]), data.windows("test", 16, 64, limit=20), repeats=4
    )
    assert record["common"] == timed.bits_per_dim


@pytest.mark.parametrize("name", ["one curve per value", "one curve per digit"])
def test_with_a_common_power_a_missing_cell_still_has_no_value(name):
    """Places that are linked stay so: the bound is that of a model made with that power."""
    model = random_model(**DIALS[name])
    size = model.schedule.num_values
    alike = unmask.MaskedDiffusion(
        model.backbone, schedules.LearnedPolynomial(size, 1.7), model.subtokenizer,
        masking=model.masking, allowed=model.allowed, links=(model.partner, model.group),
    )  # fmt: skip
    with torch.no_grad():
        models = with_power(model, 1.7), alike
        common, known = (exact_nelbo(one, ROWS, steps=3) for one in models)
    assert torch.allclose(common, known, rtol=1e-6)


def test_powers_that_are_all_equal_change_nothing(home, tmp_path):
    """With the same random numbers: exactly nothing."""
    folders = ["--data", home / "data", "--out", tmp_path / "run"]
    fixed = [*LEARNED, "--power", "2", "--schedule-learning-rate", "1e-30"]
    run("train", "demo", *folders, *TRAIN, *fixed)
    flags = ["--data", home / "data", "--limit", "20", "--repeats", "2", *FLOAT]
    more = ["--json", tmp_path / "r.json"]
    run("schedule", tmp_path / "run", *flags, *more)
    row = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert row["common_power"] == pytest.approx(2) and row["held_out"] > 1
    assert (
        row["learned_minus_common"] == pytest.approx(0, abs=1e-5)
        and row["learned_minus_common_stderr"] < 1e-5
    )


@pytest.mark.parametrize("limit", [7, 20])
def test_the_differences_have_the_error_of_pairs(home, tmp_path, limit):
    """As the estimates themselves tell it, pair by pair; of 20, the last window of the test split
    is short."""
    flags = ["--data", home / "data", "--limit", limit, "--repeats", "4", *FLOAT]
    more = ["--json", tmp_path / "r.json"]
    run("schedule", home / "run", *flags, *more)
    row, data, model = (
        json.loads((tmp_path / "r.json").read_text(encoding="utf-8")),
        open_data(home / "data"),
        learned(home),
    )
    train, test = (
        estimate_nelbo(model, data.windows(split, 16, 64, limit=limit), repeats=4)
        for split in ("train", "test")
    )
    assert (len(set(test.positions.tolist())) > 1) == (limit == 20)
    per_position = [float(e.per_example.sum() / e.positions.sum()) for e in (test, train)]
    assert row["held_out_minus_train"] == pytest.approx(
        (per_position[0] - per_position[1]) / math.log(2)
    )
    shares = [
        (e.steady - rate * e.positions) / e.positions.double().mean()
        for e, rate in zip((test, train), per_position)
    ]
    plain = [
        (e.replicates - rate * e.positions) / e.positions.double().mean()
        for e, rate in zip((test, train), per_position)
    ]
    stderr, noise = errors(plain[0] - plain[1], test.groups, shares[0] - shares[1])
    assert row["held_out_minus_train_stderr"] == pytest.approx(
        float(stderr) / math.log(2)
    ) and float(noise) <= float(stderr)


def test_one_window_has_no_error(home):
    one = estimate_nelbo(
        learned(home), open_data(home / "data").windows("test", 16, 64, limit=1), repeats=1
    )
    assert math.isnan(difference(one, one)[1])


def test_as_many_windows_of_either_split_so_that_they_pair(home, tmp_path, capsys):
    flags = ["--data", home / "data", "--limit", "1000", "--repeats", "1", *FLOAT]
    more = ["--json", tmp_path / "r.json"]
    run("schedule", home / "run", *flags, *more)
    row = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (
        row["train_n"]
        == row["held_out_n"]
        == row["common_n"]
        == open_data(home / "data").window_count("test", 16)
    )
    assert not re.search(r"\bnan\b", capsys.readouterr().out)  # of one draw the noise is not known


def test_what_is_said_of_the_bounds(home, capsys):
    capsys.readouterr()
    flags = ["--data", home / "data", "--limit", "20", "--repeats", "4", "--split", "validation"]
    run("schedule", home / "run", *flags, *FLOAT)
    said = capsys.readouterr().out
    for needed in (
        "upper bounds on the negative log-likelihood, bits per character",
        "validation - train",
        "learned - common",
        "noise of the masks",
        "320 characters in 20 windows of train, 306 characters in 20 windows of validation, "
        "of 16, each scored",
        "one token at an instant",
        "sampled times, 4 draws a window",
        "paired by window",
        "not for the common power",
        "seed 0, float32, averaged weights",
    ):
        assert needed in said, needed


def test_other_data_than_the_models_are_not_called_its_training_data(home, tmp_path, capsys):
    flags = ["--tokenizer", home / "run", "--split", "0.5,0.25,0.25"]
    run("prepare", "text", home / "text.txt", tmp_path / "again", *flags)
    capsys.readouterr()
    flags = ["--data", tmp_path / "again", "--limit", "2", "--repeats", "1"]
    run("schedule", home / "run", *flags, *FLOAT)
    assert "warning: the model was not trained on" in capsys.readouterr().err
    run("schedule", home / "run", "--data", home / "data", "--limit", "2", "--repeats", "1", *FLOAT)
    assert "warning" not in capsys.readouterr().err


# ---------------------------------------------------------------- one curve for all values


@pytest.mark.parametrize(
    "name, half", [("linear", 1 / 2), ("cosine", 1 / 3), ("polynomial", 0.5 ** (1 / 3))]
)
def test_one_curve_for_all_values_is_said_to_be_one(home, tmp_path, capsys, name, half):
    flags = ["--data", home / "data", "--out", tmp_path / "run", *TRAIN, "--schedule", name]
    more = ["--steps", "2", *(["--power", "3"] if name == "polynomial" else [])]
    run("train", "demo", *flags, *more)
    capsys.readouterr()
    made = ["--out", tmp_path / "s.png", "--json", tmp_path / "r.json"]
    run("schedule", tmp_path / "run", "--data", home / "data", "--limit", "4", *made, *FLOAT)
    out, row = (
        capsys.readouterr().out,
        json.loads((tmp_path / "r.json").read_text(encoding="utf-8")),
    )
    assert (
        "which all values share" in out
        and name in out
        and f"t = {half:.3g}\n" in out
        and "exact count" in out
    )
    assert (
        row["half_way_t"] == pytest.approx(half)
        and "held_out_minus_train" in row
        and "common" not in row
        and "powers" not in row
    )
    assert (tmp_path / "s.png").stat().st_size > 10000


# ---------------------------------------------------------------- the plot


def test_the_plot_is_written_where_it_is_asked_for(home, tmp_path):
    run("schedule", home / "run", "--out", tmp_path / "s.png", *FLOAT)
    content = (tmp_path / "s.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", content[16:24]) == (
        1200,
        750,
    )
    assert list(tmp_path.iterdir()) == [tmp_path / "s.png"]


def texts(figure):
    return [t.get_text() for axes in figure.axes for t in axes.texts] + [
        t.get_text() for t in figure.texts
    ]


def test_a_curve_for_every_value_and_names_for_the_outermost():
    power = torch.tensor([3, 0.5, 2, 1, 0.2, 15, 0.9, 0.8, 0.7, 1.1, 1.2, 1.3], dtype=torch.float64)
    powers = Powers(
        power, [f"${i}" for i in range(12)], torch.tensor([1, 2, 30, 4, 5, 0, 7, 8, 9, 10, 11, 12])
    )
    figure = draw(schedules.LearnedPolynomial(12), powers)
    never, often = figure.axes[0].collections
    assert len(never.get_segments()) == 1 and len(often.get_segments()) == 11
    t, alpha = never.get_segments()[0].T
    assert np.allclose(alpha, 1 - t**15) and t[0] == 0 and t[-1] == 1
    assert np.allclose(often.get_segments()[-1][:, 1], 1 - t**2)  # the most frequent one is on top
    assert often.get_array().tolist() == sorted(often.get_array().tolist())
    labels = [text for text in texts(figure) if text.startswith("$")]
    outermost = [0, 2, 11, 10, 9, 6, 7, 8, 1, 4]  # not 5, which never occurs, nor 3, in the middle
    assert labels == [f"${i}  {float(power[i]):.2f}" for i in outermost]
    dots = [
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in figure.axes[0].lines
        if len(line.get_xdata()) == 1
    ]
    # each name's line ends on its own curve
    for (t, alpha), i in zip(dots, outermost, strict=True):
        assert alpha == pytest.approx(1 - t ** float(power[i]))
    assert any("11 values that occur" in text and "never do (1)" in text for text in texts(figure))


@pytest.mark.parametrize(
    "count, shares", [([1, 999], ["0.1 %", "99.9 %"]), ([1, 7], ["12.5 %", "87.5 %"])]
)
def test_shares_are_in_plain_digits(count, shares):
    powers = Powers(torch.tensor([1.0, 2], dtype=torch.float64), ["x", "y"], torch.tensor(count))
    schedule = schedules.LearnedPolynomial(2)
    rare, frequent = shares
    said = describe_schedule(schedule, powers, 2)
    assert re.search(f"^x .* {rare}$", said, re.MULTILINE)
    assert re.search(f"^y .* {frequent}$", said, re.MULTILINE)
    ticks = draw(schedule, powers).axes[-1].get_xticklabels()
    assert [tick.get_text() for tick in ticks] == shares


@pytest.mark.parametrize("count", [None, torch.full((3000,), 7)])
def test_very_many_values_are_thinned_and_equal_ones_do_no_harm(count, tmp_path):
    powers = Powers(torch.ones(3000, dtype=torch.float64), ["'\\n'"] * 3000, count)
    figure = draw(schedules.LearnedPolynomial(3000), powers)
    # 1,000 evenly, and ten named ones, of which four are among them
    assert len(figure.axes[0].collections[1].get_segments()) == 1006
    assert any("1,006 of 3,000 values" in text for text in texts(figure))
    figure.savefig(tmp_path / "s.png")


# ---------------------------------------------------------------- errors


def test_errors_are_one_sentence_before_any_work(home, tmp_path, capsys):
    verb, data, out = ("schedule", home / "run"), ("--data", home / "data"), tmp_path / "s.png"
    assert "holds no model" in fails(capsys, "schedule", home / "data", "--out", out)
    assert "no folder" in fails(capsys, "schedule", tmp_path / "nowhere", "--out", out)
    run("prepare", "text", home / "text.txt", tmp_path / "bytes")
    assert "256 values" in fails(capsys, *verb, "--data", tmp_path / "bytes", "--out", out)
    flags = ["--tokenizer", home / "run", "--split", "1,0,0"]
    run("prepare", "text", home / "text.txt", tmp_path / "whole", *flags)
    assert "'test' is empty" in fails(capsys, *verb, "--data", tmp_path / "whole", "--out", out)
    assert "meta.json is missing" in fails(capsys, *verb, "--data", tmp_path, "--out", out)
    assert "no folder" in fails(capsys, *verb, *data, "--out", tmp_path / "no" / "s.png")
    assert "must end in .png" in fails(capsys, *verb, *data, "--out", tmp_path / "s.pdf")
    assert "is a folder" in fails(capsys, *verb, *data, "--out", tmp_path)
    assert "--num must be at least 1" in fails(capsys, *verb, *data, "--out", out, "--num", "0")
    assert "--limit must be at least 1" in fails(capsys, *verb, *data, "--out", out, "--limit", "0")
    assert "--repeats must be at least 1" in fails(
        capsys, *verb, *data, "--out", out, "--repeats", "0"
    )
    assert not out.exists() and not (tmp_path / "s.pdf").exists()
