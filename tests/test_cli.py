"""The command line, as a user runs it: real processes, real files."""

import codecs
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import unmask
import unmask.filling
from unmask.cli import main
from unmask.cli.compare import PAIRED
from unmask.cli.main import speak_utf8
from unmask.estimate import difference, freedom, student
from unmask.kinds.text.holes import parse_holes
from unmask.rows import windows

TEXT = "the quick brown fox jumps over the lazy dog. " * 200
TRAIN = [
    "--length",
    "16",
    "--dim",
    "16",
    "--layers",
    "1",
    "--heads",
    "2",
    "--batch-size",
    "8",
    "--minutes",
    "0",
    "--steps",
    "30",
]


def unmask_process(*arguments, **how):
    command = [sys.executable, "-m", "unmask", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, encoding="utf-8", **how)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Prepared data and a trained model, made by the commands."""
    home = tmp_path_factory.mktemp("home")
    (home / "text.txt").write_text(TEXT)
    flags = ["--tokenizer", "characters"]
    assert main(["prepare", "text", str(home / "text.txt"), str(home / "data"), *flags]) == 0
    command = ["train", "demo", "--data", str(home / "data"), "--out", str(home / "run"), *TRAIN]
    assert main(command) == 0
    return home


def fails(capsys, *arguments):
    """Exit code 2 and one line on stderr, which is returned."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("unmask") and err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("said", "turns"),
    [({}, "5000"), ({"GOMP_SPINCOUNT": "77"}, "77"), ({"OMP_WAIT_POLICY": "passive"}, "0")],
)
def test_threads_do_not_wait_for_each_other_at_the_cost_of_other_processes(said, turns):
    """As GNU's OpenMP itself says when torch loads it; there is none on other systems."""
    here = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = unmask_process("sample", "nowhere", env=here | {"OMP_DISPLAY_ENV": "VERBOSE"} | said)
    found = re.findall(r"GOMP_SPINCOUNT = '(\d+)'", done.stderr + done.stdout)
    assert set(found) == {turns} or sys.platform != "linux"


@pytest.mark.parametrize("flag", ["--help", "--version", "train demo --help"])
def test_help_and_version_do_not_load_torch(flag):
    code = (
        f"import sys; from unmask.cli import main\ntry: main({flag.split()})\n"
        "except SystemExit: pass\nassert 'torch' not in sys.modules"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, encoding="utf-8"
        ).returncode
        == 0
    )
    done = unmask_process(*flag.split())
    assert done.returncode == 0 and done.stdout


def test_a_reader_of_the_help_may_leave():
    command = f"{sys.executable} -m unmask --help | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, encoding="utf-8")
    assert done.returncode == 0 and done.stdout.startswith("usage") and not done.stderr


def test_the_presets_values_are_the_help_of_train():
    shown = " ".join(unmask_process("train", "text8", "--help").stdout.replace("│", " ").split())
    assert (
        "default: 768" in shown
        and "1.37 bits per character" in shown
        and "default: 1000000" in shown
    )


def test_evaluation_states_value_errors_unit_and_protocol(home, capsys):
    record = home / "record.json"
    flags = ["--data", str(home / "data"), "--repeats", "3", "--json", str(record)]
    more = ["--dtype", "float32"]
    assert main(["eval", str(home / "run"), *flags, *more]) == 0
    said = capsys.readouterr().out
    assert re.search(r"\d\.\d{4} \+- 0\.\d{4} bits per character: an upper bound", said)
    # every held-out character once, the short last window included
    assert "450 characters in 29 windows of 16" in said
    row = json.loads(record.read_text(encoding="utf-8"))
    needed = {
        "command", "version", "seed", "data_sha256", "model_sha256", "value", "unit", "stderr",
        "noise", "n", "estimator", "repeats", "precision", "weights", "seconds",
    }  # fmt: skip
    assert (
        needed <= row.keys()
        and row["unit"] == "bits per character"
        and row["n"] == 29
        and row["positions"] == 450
    )
    assert row["value"] == pytest.approx(row["nats_per_example"] * 29 / 450 / math.log(2))
    flags = ["--data", str(home / "data"), "--steps", "4", "--json", str(record)]
    more = ["--dtype", "float32"]
    assert main(["eval", str(home / "run"), *flags, *more]) == 0
    assert json.loads(record.read_text(encoding="utf-8"))["estimator"] == "discrete time, 4 steps"
    flags = ["--data", str(home / "data"), "--repeats", "3", "--json", str(record)]
    more = ["--dtype", "bfloat16"]
    assert main(["eval", str(home / "run"), *flags, *more]) == 0
    half = json.loads(record.read_text(encoding="utf-8"))
    assert (
        half["precision"] == "bfloat16"
        and half["value"] != row["value"]
        and half["value"] == pytest.approx(row["value"], rel=0.01)
    )
    flags = ["--data", str(home / "data"), "--limit", "1", "--json", str(record)]
    assert main(["eval", str(home / "run"), *flags]) == 0
    assert json.loads(record.read_text(encoding="utf-8"))["stderr"] is None


@pytest.fixture(scope="module")
def evaluations(home):
    """JSON of two models on the same windows, and of one on others; the second model was trained a
    little longer."""
    flags = ["--data", str(home / "data"), "--out", str(home / "longer"), *TRAIN[:-1], "60"]
    main(["train", "demo", *flags])
    for name, run, *how in (
        ("a", "run"),
        ("b", "longer"),
        ("fewer", "run", "--limit", "9"),
        # replicates enough for their noise to be known within a quarter
        ("masks", "run", "--repeats", "64"),
        ("seed", "run", "--repeats", "64", "--seed", "1"),
    ):
        flags = ["--data", str(home / "data"), "--json", str(home / f"{name}.json")]
        main(["eval", str(home / run), *flags, *how])
    return home


def test_two_evaluations_are_compared_window_by_window(evaluations, tmp_path, capsys):
    home = evaluations
    a, b = (json.loads((home / f"{name}.json").read_text(encoding="utf-8")) for name in "ab")
    capsys.readouterr()
    flags = ["--json", str(tmp_path / "d.json")]
    assert main(["compare", str(home / "b.json"), str(home / "a.json"), *flags]) == 0
    said, row = (
        capsys.readouterr().out,
        json.loads((tmp_path / "d.json").read_text(encoding="utf-8")),
    )
    assert (
        row["value"] == pytest.approx(b["value"] - a["value"])
        and row["unit"] == "bits per character"
        and row["n"] == 29
    )
    assert row["noise"] <= row["stderr"] < 0.9 * math.hypot(a["stderr"], b["stderr"])  # paired
    assert (
        row["resolved"] == (abs(row["value"]) > row["needed"])
        and ("not resolved" in said) != row["resolved"]
    )
    assert re.match(
        r"[+-]\d\.\d{4} \+- \d\.\d{4} bits per character, .*b\.json less .*a\.json: ", said
    )
    assert main(["compare", str(home / "a.json"), str(home / "a.json")]) == 0
    assert capsys.readouterr().out.startswith("+0.0000 +- 0.0000")


def test_evaluations_pair_by_the_files_of_the_split_that_was_scored(home, tmp_path, capsys):
    """Of two folders whose training parts differ, as their protocols say."""
    records = {}
    for name, text in (("a", TEXT), ("b", TEXT[:4500][::-1] + TEXT[4500:])):
        (tmp_path / f"{name}.txt").write_text(text)
        files = [str(tmp_path / f"{name}.txt"), str(tmp_path / name)]
        flags = ["--tokenizer", "characters", "--split", "8000,500,500"]
        assert main(["prepare", "text", *files, *flags]) == 0
        flags = ["--data", str(tmp_path / name), "--json", str(tmp_path / f"{name}.json")]
        assert main(["eval", str(home / "run"), *flags]) == 0
        records[name] = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert records["a"]["data_sha256"] != records["b"]["data_sha256"]
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 0
    assert "examples and masks" in capsys.readouterr().out
    for name, record in records.items():  # of before there were protocols
        older = {key: v for key, v in record.items() if not key.startswith("protocol")}
        (tmp_path / f"{name}.json").write_text(json.dumps(older), encoding="utf-8")
    said = fails(capsys, "compare", tmp_path / "a.json", tmp_path / "b.json")
    there, here = re.search(r"data_sha256 is (.*) there and (.*) here", said).groups()
    assert there != here and "test.bin" not in there + here


def test_no_record_is_written_over_what_it_is_made_of(evaluations, tmp_path, capsys):
    for name in ("a.json", "b.json", "a.json.examples.npz", "b.json.examples.npz"):
        shutil.copy(evaluations / name, tmp_path)
    data = Path(shutil.copytree(evaluations / "data", tmp_path / "data"))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    for out in (a, tmp_path / "b.json.examples.npz"):
        said = fails(capsys, "compare", a, b, "--json", out)
        assert f"{out} would overwrite the input: name another file" in said
    meta, run = data / "meta.json", evaluations / "run"
    for command in (("eval", run, "--json"), ("grid", run, "--out"), ("schedule", run, "--json")):
        said = f"{meta} is a file of prepared data: name another file"
        assert said in fails(capsys, *command, meta, "--data", data)
    assert {path: path.read_bytes() for path in before} == before


def test_a_record_may_lie_beside_prepared_data_again_and_again(evaluations, tmp_path, capsys):
    data, run = shutil.copytree(evaluations / "data", tmp_path / "data"), str(evaluations / "run")
    flags = ["--data", str(data), "--repeats", "1", "--json"]
    for _ in range(2):
        assert main(["eval", run, *flags, str(data / "eval.json")]) == 0
    assert "prepared data" in fails(capsys, "eval", run, *flags, data / "test.bin")


def test_two_runs_of_one_protocol_agree_within_their_errors(evaluations, capsys):
    """Other masks of one model: the difference is that of the masks alone."""
    home = evaluations
    capsys.readouterr()
    assert main(["compare", str(home / "masks.json"), str(home / "seed.json")]) == 0
    said = capsys.readouterr().out
    change, error = map(float, re.match(r"(\S+) \+- (\S+) bits", said).groups())
    a = json.loads((home / "masks.json").read_text(encoding="utf-8"))
    assert "not resolved" in said and "other seed: 0 and 1" in said and "and masks" not in said
    assert abs(change) < 3 * error and error == pytest.approx(math.sqrt(2) * a["noise"], rel=0.5)


def test_the_noise_of_one_draw_is_not_told(evaluations, tmp_path, capsys):
    record = str(tmp_path / "one.json")
    flags = ["--data", str(evaluations / "data"), "--repeats", "1", "--json", record]
    assert main(["eval", str(evaluations / "run"), *flags]) == 0
    capsys.readouterr()
    assert main(["compare", record, record]) == 0
    said = capsys.readouterr().out
    assert "the same 29 examples and masks\n" in said and not re.search(r"\bnan\b", said)


def test_what_cannot_be_compared_is_refused(evaluations, tmp_path, capsys):
    home = evaluations
    assert "examples is 29 there and 9 here" in fails(
        capsys, "compare", home / "a.json", home / "fewer.json"
    )
    assert "no file" in fails(capsys, "compare", home / "a.json", tmp_path / "none.json")
    (tmp_path / "x.json").write_text(json.dumps({"value": 3}))
    assert "no evaluation that kept its examples" in fails(
        capsys, "compare", home / "a.json", tmp_path / "x.json"
    )
    for name in ("a.json", "a.json.examples.npz"):
        shutil.copy(home / name, tmp_path)
    with open(tmp_path / "a.json.examples.npz", "r+b") as file:
        file.seek(400)
        file.write(b"x")
    assert "not what" in fails(capsys, "compare", home / "a.json", tmp_path / "a.json")


def test_texts_are_written_where_there_is_no_locale(tmp_path):
    """A model of Greek letters, and a terminal that says it is ASCII."""
    (tmp_path / "greek.txt").write_text("αβγδε ζηθ " * 100, encoding="utf-8")
    bare = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    data, run = str(tmp_path / "data"), str(tmp_path / "run")
    prepare = ["prepare", "text", tmp_path / "greek.txt", data, "--tokenizer", "characters"]
    for arguments in (prepare, ["train", "demo", "--data", data, "--out", run, *TRAIN[:-1], "3"]):
        assert unmask_process(*arguments, env=bare).returncode == 0
    done = unmask_process("sample", run, "--num", "2", "--steps", "3", env=bare)
    assert done.returncode == 0 and set(done.stdout) & set("αβγδεζηθ"), done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_what_an_encoding_lacks_is_printed_with_backslashes(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    speak_utf8(stream)
    stream.write("M\udcfc")  # as Python writes bytes of a name that are no UTF-8
    stream.flush()
    assert stream.buffer.getvalue() == rb"M\udcfc"


def test_the_size_of_a_batch_does_not_enter_an_evaluation(home, tmp_path):
    rows = []
    for size in ("1", "7", "64"):
        flags = ["--repeats", "2", "--dtype", "float32", "--json", str(tmp_path / "r.json")]
        more = ["--batch-size", size]
        how = [*flags, *more]
        assert main(["eval", str(home / "run"), "--data", str(home / "data"), *how]) == 0
        rows.append(json.loads((tmp_path / "r.json").read_text(encoding="utf-8")))
    for row in rows[1:]:
        assert row["value"] == pytest.approx(rows[0]["value"], rel=1e-6) and row[
            "stderr"
        ] == pytest.approx(rows[0]["stderr"], rel=1e-4)


def test_student_s_quantiles():
    for degrees, expected in (
        (1, 12.706),
        (2, 4.303),
        (3.9, 3.182),
        (5, 2.571),
        (10, 2.228),
        (30, 2.042),
        (1000, 1.962),
    ):
        assert student(degrees) == pytest.approx(expected, rel=0.002)
    assert student(0) == math.inf


@pytest.mark.parametrize("field", PAIRED)
def test_evaluations_pair_if_every_field_that_matters_is_the_same(
    evaluations, tmp_path, capsys, field
):
    shutil.copy(evaluations / "a.json.examples.npz", tmp_path)
    record = json.loads((evaluations / "a.json").read_text(encoding="utf-8"))
    if field == "data_sha256":  # a protocol knows better: of a record from before there were any
        del record["protocol"]
    other = record[field] + 1 if isinstance(record[field], int) else "other"
    (tmp_path / "other.json").write_text(json.dumps(record | {field: other}))
    assert f"cannot be paired: {field} is" in fails(
        capsys, "compare", evaluations / "a.json", tmp_path / "other.json"
    )


def test_other_estimators_and_few_examples_are_said(evaluations, tmp_path, capsys):
    home = evaluations
    flags = ["--data", str(home / "data"), "--steps", "4", "--json", str(tmp_path / "steps.json")]
    main(["eval", str(home / "run"), *flags])
    for name in ("x.one", "x.two"):  # names that end alike keep their examples apart
        flags = ["--data", str(home / "data"), "--limit", "1", "--json", str(tmp_path / name)]
        main(["eval", str(home / "run"), *flags])
    assert (tmp_path / "x.one.examples.npz").is_file() and (
        tmp_path / "x.two.examples.npz"
    ).is_file()
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "steps.json"), str(home / "a.json")]) == 0
    said = capsys.readouterr().out
    assert "other estimator: discrete time, 4 steps, of the sampler" in said and "noise" not in said
    assert "one group of examples" in fails(
        capsys, "compare", tmp_path / "x.one", tmp_path / "x.two"
    )


@pytest.mark.parametrize("n, repeats", [(8, 2), (20, 8), (64, 2)])
def test_what_is_called_resolved_is_wrong_in_one_of_twenty(n, repeats):
    """Two models whose bounds are equal in the mean, over fresh examples and masks."""
    models = [
        unmask.MaskedDiffusion(Swapped(i), unmask.schedules.Linear(), unmask.Subtokenizer(3))
        for i in (0, 1)
    ]
    generator = torch.Generator().manual_seed(n)
    wrong, trials = 0, 300
    for seed in range(trials):
        x = torch.randint(0, 3, (n, 12), generator=generator)
        of_a, of_b = (
            unmask.estimate_nelbo(model, [x], repeats=repeats, seed=seed) for model in models
        )
        change, error, _ = difference(of_a, of_b)
        wrong += abs(change) > error * student(freedom(of_a, of_b))
    assert wrong / trials < 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


class Swapped(torch.nn.Module):
    """Favours one value, the more so the more of it it sees; value 0 or 1, so that two of these are
    as good as each other."""

    uses_time = False

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, z):
        seen = (z == self.value).double().mean(1)
        logits = torch.zeros(*z.shape, 3, dtype=torch.float64)
        logits[..., self.value] += (1 + 3 * seen)[:, None]
        return logits


def test_the_environment_can_say_which_precision_auto_is(home, tmp_path, capsys, monkeypatch):
    flags = ["--data", str(home / "data"), "--repeats", "1", "--limit", "2"]
    more = ["--json", str(tmp_path / "r.json")]
    how = ["eval", str(home / "run"), *flags, *more]
    for said in ("bfloat16", "float32"):
        monkeypatch.setenv("UNMASK_DTYPE", said)
        assert (
            main(how) == 0
            and json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["precision"] == said
        )
    monkeypatch.setenv("UNMASK_DTYPE", "half")
    assert "UNMASK_DTYPE is 'half'" in fails(capsys, *how)


def test_sampling_is_reproducible_and_writes_what_is_asked_for(home, tmp_path, capsys):
    how = ["sample", str(home / "run"), "--num", "3", "--steps", "8", "--length", "20"]
    assert main([*how, "--out", str(tmp_path / "a.jsonl")]) == 0
    command = [*how, "--out", str(tmp_path / "b.jsonl"), "--frames", str(tmp_path / "f.html")]
    assert main(command) == 0
    assert main([*how, "--out", str(tmp_path / "c.jsonl"), "--seed", "1"]) == 0
    a, b, c = ((tmp_path / f"{name}.jsonl").read_text(encoding="utf-8") for name in "abc")
    assert a == b != c
    texts = [json.loads(line)["text"] for line in a.splitlines()]
    assert len(texts) == 3 and all(len(text) == 20 and set(text) <= set(TEXT) for text in texts)
    assert "<html" in (tmp_path / "f.html").read_text(encoding="utf-8")
    without = how[: how.index("--steps")] + how[how.index("--length") :]  # which it has none of
    assert main([*without, "--sampler", "first_hitting"]) == 0
    assert capsys.readouterr().out.count("---") == 3


def test_filling_in_keeps_what_is_given(home, tmp_path, capsys):
    source = tmp_path / "in.txt"
    source.write_text("the [MASK:5] brown")
    flags = ["--num", "2", "--out", str(tmp_path / "out.jsonl")]
    assert main(["fill", str(home / "run"), str(source), *flags]) == 0
    texts = [
        json.loads(line)["text"]
        for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert len(texts) == 2 and all(re.fullmatch(r"the .{5} brown", text) for text in texts)
    long = (
        "the quick [MASK:3]own fox jumps over the lazy [MASK:2]g. "
        "the quick brown fox jumps over the lazy [MASK]og."
    )
    source.write_text(long)
    assert "trained at 16" in fails(capsys, "fill", home / "run", source)
    flags = ["--window", "--out", str(tmp_path / "out.txt")]
    assert main(["fill", str(home / "run"), str(source), *flags]) == 0
    pattern = (
        re.escape(long)
        .replace(r"\[MASK:3\]", ".{3}")
        .replace(r"\[MASK:2\]", ".{2}")
        .replace(r"\[MASK\]", ".")
    )
    assert re.fullmatch(pattern, (tmp_path / "out.txt").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "mark,encoding",
    [
        (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_BE, "utf-32-be"), (codecs.BOM_UTF8, "utf-8"),
    ],
)  # fmt: skip
def test_a_text_is_filled_in_in_its_own_encoding(home, tmp_path, mark, encoding):
    (tmp_path / "in.txt").write_bytes(mark + "the [MASK:5] brown".encode(encoding))
    command = ["fill", home / "run", tmp_path / "in.txt", "--out", tmp_path / "out.txt"]
    assert main([*map(str, command), "--steps", "2"]) == 0
    content = (tmp_path / "out.txt").read_bytes()
    assert content.startswith(mark)
    assert re.fullmatch("the .{5} brown", content.removeprefix(mark).decode(encoding))


def test_holes_are_parsed_as_documented():
    assert parse_holes("a[MASK]b[MASK:20]") == ["a", 1, "b", 20]
    assert parse_holes(r"\[MASK] and [MASK:2][MASK]") == ["[MASK] and ", 2, 1]
    for text in ("no hole", r"\[MASK:3]", "", "[MASK:0]"):
        with pytest.raises(ValueError, match="hole"):
            parse_holes(text)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 16])
def test_windows_fill_every_hole_where_most_context_is(length):
    """Each hole once, from left to right, with a quarter of a window on either side or all that
    there is."""
    generator = torch.Generator().manual_seed(length)
    for total in range(1, 80):
        for share in (0.05, 0.5, 1.0):
            holes = torch.rand(total, generator=generator) < share
            filled = []
            for part, fill in windows(holes, length):
                assert 0 <= part.start < part.stop <= total and part.stop - part.start == min(
                    length, total
                ) == len(fill)
                here = (part.start + fill.nonzero()[:, 0]).tolist()
                filled += here
                for hole in here if total > length else []:
                    assert hole - part.start >= min(length // 4, hole) or part.stop == total
                    assert (
                        part.stop - 1 - hole >= min(length // 4, total - 1 - hole)
                        or part.start == 0
                    )
                if len(here) == 1:  # alone: in the middle
                    assert (
                        abs((hole := here[0]) - part.start - length // 2) <= 1
                        or part.start == 0
                        or part.stop == total
                    )
            assert filled == holes.nonzero()[:, 0].tolist()


class Next(torch.nn.Module):
    """Knows a token from the next one alone, which is one more."""

    uses_time = False

    def forward(self, z):
        behind = torch.cat([z[:, 1:], z.new_full((len(z), 1), 9)], 1)
        sure = torch.nn.functional.one_hot((behind - 1) % 9, 9).double().mul(50)
        return torch.where((behind < 9)[..., None], sure, 0.0)


def test_a_hole_at_the_seam_of_two_windows_sees_the_text_behind_it():
    """Filled in windows that end at the hole, it would be blind: one guess in nine."""
    model = unmask.MaskedDiffusion(Next(), unmask.schedules.Linear(), unmask.Subtokenizer(9))
    text = torch.arange(100) % 9
    for holes in ([7, 15, 23, 31, 39], [15, 16], [0, 50, 98], list(range(3, 99, 5))):
        mask = torch.zeros(100, dtype=torch.bool).index_fill(0, torch.tensor(holes), True)
        z = text.masked_fill(mask, 9)[None].repeat(3, 1)
        for part, fill in windows(mask, 16):
            x = unmask.sample(
                model,
                z=z[:, part],
                holes=fill.expand(3, -1),
                sampler="first_hitting",
                generator=torch.Generator(),
            )
            z[:, part] = x.where(fill, z[:, part])
        alone = [h for h in holes if h + 1 not in holes]
        assert (z[:, alone] == text[alone]).all()


def test_fill_window_gives_each_hole_the_window_around_it(home, tmp_path, monkeypatch):
    """Through the command: what the sampler sees of a hole has a quarter of a window on either
    side."""
    seen, real = [], unmask.filling.windows
    monkeypatch.setattr(
        unmask.filling, "windows", lambda *a: (seen.append(part) or part for part in real(*a))
    )
    text = "the quick brown [MASK:1]ox jumps over the lazy d[MASK:1]g. the quick[MASK:1]"
    (tmp_path / "in.txt").write_text(text)
    flags = ["--window", "--steps", "4", "--out", str(tmp_path / "o.txt")]
    assert main(["fill", str(home / "run"), str(tmp_path / "in.txt"), *flags]) == 0
    seen = seen[len(seen) // 2 :]  # counted first, for the bar
    holes = [part.start + int(i) for part, fill in seen for i in fill.nonzero()[:, 0]]
    assert holes == [16, 41, 54] and all(int(fill.sum()) == 1 for _, fill in seen)
    assert [part.start for part, _ in seen] == [8, 33, 39]
    filled = (tmp_path / "o.txt").read_text(encoding="utf-8")
    assert re.fullmatch(re.escape(text).replace(r"\[MASK:1\]", "."), filled)


def test_bad_input_is_one_line_with_the_value_and_the_remedy(home, tmp_path, capsys):
    data, run, text = home / "data", home / "run", home / "text.txt"
    empty, greek = tmp_path / "empty.txt", tmp_path / "greek.txt"
    empty.write_text("")
    greek.write_text("the quick λ", encoding="utf-8")
    out = tmp_path / "out"
    assert "empty" in fails(capsys, "prepare", "text", empty, out)
    said = fails(
        capsys, "prepare", "text", greek, out, "--tokenizer", "characters", "--alphabet", "text8"
    )
    assert "'λ'" in said and "10" in said
    ids = tmp_path / "ids.bin"
    ids.write_bytes(bytes([3, 0, 200, 0]))
    said = fails(capsys, "prepare", "text", ids, out, "--format", "ids", "--vocab-size", "100")
    assert "200" in said and "100" in said
    assert not out.exists()
    assert "99999" in fails(
        capsys, "train", "demo", "--data", data, "--out", out, "--length", "99999"
    )
    assert "no preset 'dmo'" in fails(capsys, "train", "dmo", "--data", data, "--out", out)
    assert "another run" in fails(
        capsys, "train", "demo", "--data", data, "--out", run, *TRAIN, "--seed", "3"
    )
    assert not out.exists()
    bytes_data = tmp_path / "bytes"
    main(["prepare", "text", str(text), str(bytes_data)])
    said = fails(capsys, "eval", run, "--data", bytes_data)
    assert "256 values" in said and "28" in said and f"--tokenizer {run}" in said
    other = tmp_path / "other"
    flags = ["--tokenizer", "characters", "--alphabet", "".join(sorted(set(TEXT), reverse=True))]
    main(["prepare", "text", str(text), str(other), *flags])
    assert f"--tokenizer {run}" in fails(capsys, "eval", run, "--data", other)
    flags = ["--tokenizer", str(run), "--split", "0,0,1"]
    assert main(["prepare", "text", str(text), str(tmp_path / "same"), *flags]) == 0
    capsys.readouterr()
    assert main(["eval", str(run), "--data", str(tmp_path / "same")]) == 0
    assert "split in another way" in capsys.readouterr().err
    assert "did you mean" in fails(capsys, "eval", home, "--data", data)
    archive = tmp_path / "text.zip"
    archive.write_bytes(b"PK\x03\x04" + bytes(500))
    assert "zip archive: unpack it" in fails(capsys, "prepare", "text", archive, out)
    assert "percentages" in fails(capsys, "prepare", "text", text, out, "--split", "90,5,5")
    assert "given when it began" in fails(
        capsys, "train", "demo", "--data", data, "--out", run, *TRAIN[:-1], "31"
    )
    assert "preset first" in fails(capsys, "train")
    assert "no file" in fails(capsys, "fill", run, "To be [MASK:5]")
    assert "no folder" in fails(capsys, "eval", tmp_path / "nowhere", "--data", data)
    assert "--repeats" in fails(capsys, "eval", run, "--data", data, "--repeats", "0")
    assert "no folder" in fails(
        capsys, "eval", run, "--data", data, "--json", tmp_path / "no" / "where.json"
    )
    assert "--num" in fails(capsys, "sample", run, "--num", "0")
    assert "negative" in fails(capsys, "bench", "head", "--threads", "-1")
    assert "memory" in fails(capsys, "sample", run, "--num", 10**13)
    assert "temperature" in fails(capsys, "sample", run, "--temperature", "0")
    assert "is a folder" in fails(capsys, "sample", run, "--out", tmp_path)
    hole = tmp_path / "hole.txt"
    hole.write_text("λ[MASK]", encoding="utf-8")
    said = fails(capsys, "fill", run, hole)
    assert "'λ'" in said and "no others" in said
    hole.write_text("[MASK:99999999999]")
    said = fails(capsys, "fill", run, hole)
    assert "character 0: [MASK:99999999999] is no hole of 1 to 10,000,000 tokens" in said
    hole.write_bytes(b"\xff[MASK]")
    assert "not UTF-8" in fails(capsys, "fill", run, hole)
    hole.write_text("no hole")
    assert "[MASK]" in fails(capsys, "fill", run, hole)
    assert "there is no verb 'evl'" in fails(capsys, "evl")


@pytest.mark.parametrize("ending", [".gz", ".XZ", ".bz2", ".zst"])
def test_what_is_written_plain_is_not_named_like_an_archive(home, tmp_path, capsys, ending):
    (tmp_path / "in.txt").write_text("the [MASK:5] fox", encoding="utf-8")
    out = tmp_path / f"a.txt{ending}"
    said = f"{out} ends in {ending}, and what is written is not packed: leave that ending out"
    for command in (["sample", home / "run"], ["fill", home / "run", tmp_path / "in.txt"]):
        assert said in fails(capsys, *command, "--out", out)
    assert not out.exists()


def test_a_record_does_not_overwrite_what_it_is_of(home, tmp_path, capsys):
    text = tmp_path / "a.txt"
    text.write_text("abc\n" * 99)
    said = fails(capsys, "prepare", "text", text, tmp_path / "out", "--json", text)
    assert "a.txt would overwrite the input" in said and text.read_text() == "abc\n" * 99
    meta = home / "data" / "meta.json"
    before = meta.read_text()
    said = fails(
        capsys, "train", "demo", "--data", home / "data", "--out", tmp_path / "r", "--json", meta
    )
    assert "meta.json" in said and meta.read_text() == before


@pytest.mark.skipif(os.name != "posix", reason="named pipes are POSIX's")
def test_a_pipe_in_the_place_of_a_file_is_told_of_and_not_waited_for(home, tmp_path, capsys):
    pipe, text = tmp_path / "pipe", tmp_path / "a.txt"
    os.mkfifo(pipe)
    text.write_text("abc\n" * 99)
    for given in (
        *(["prepare", kind, pipe, tmp_path / "out"] for kind in ("text", "proteins", "images")),
        ["prepare", "tables", "/dev/null", tmp_path / "out"],
        ["prepare", "text", text, tmp_path / "out", "--validation", pipe],
        ["prepare", "text", text, tmp_path / "out", "--tokenizer", pipe],
        ["fill", home / "run", pipe],
        ["compare", pipe, pipe],
        ["distance", pipe, pipe],
    ):
        what = "device" if "/dev/null" in given else "pipe"
        assert main([str(part) for part in given]) == 2
        said = capsys.readouterr().err
        assert f"is a {what}, not a file: write what comes from it to a file first" in said, given


def test_a_damaged_model_is_refused(home, tmp_path, capsys):
    saved = tmp_path / "model"
    unmask.MaskedDiffusion.from_pretrained(home / "run").save_pretrained(saved)
    weights = (saved / "model.safetensors").read_bytes()
    for damaged in (weights[:-8], weights[:-1] + bytes([weights[-1] ^ 1])):
        (saved / "model.safetensors").write_bytes(damaged)
        assert "SHA-256" in fails(capsys, "sample", saved)
    (saved / "model.safetensors").unlink()
    assert "missing" in fails(capsys, "sample", saved)


def test_every_verb_leaves_a_record(home, tmp_path, capsys):
    record = tmp_path / "record.json"
    flags = ["--data", str(home / "data"), "--out", str(home / "run"), *TRAIN]
    more = ["--json", str(record)]
    assert main(["train", "demo", *flags, *more]) == 0
    row = json.loads(record.read_text(encoding="utf-8"))
    assert (
        row["steps"] == 30
        and row["n"] == 29
        and row["model_sha256"]
        and row["unit"] == "bits per character"
    )
    flags = ["--json", str(record)]
    assert main(["prepare", "text", str(home / "text.txt"), str(tmp_path / "data"), *flags]) == 0
    assert json.loads(record.read_text(encoding="utf-8"))["tokens"] == {
        "train": 8100,
        "validation": 450,
        "test": 450,
    }


def test_minutes_on_the_command_line_replace_the_presets_steps(home, tmp_path):
    """A paper's preset has a million steps; --minutes must mean minutes."""
    flags = ["--length", "16", "--dim", "16", "--layers", "1", "--heads", "2", "--batch-size", "8"]
    more = ["--minutes", "0.03"]
    small = [*flags, *more]
    flags = ["--data", str(home / "data"), "--out", str(tmp_path / "run")]
    assert main(["train", "text8", *flags, *small]) == 0
    assert json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))["steps"] < 100000


def test_a_model_of_ready_ids_samples_ids(tmp_path, capsys):
    (tmp_path / "ids").write_bytes(
        torch.arange(4000).remainder(50).to(torch.int16).numpy().tobytes()
    )
    flags = ["--format", "ids", "--vocab-size", "50"]
    assert main(["prepare", "text", str(tmp_path / "ids"), str(tmp_path / "data"), *flags]) == 0
    flags = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    assert main(["train", "demo", *flags, *TRAIN]) == 0
    capsys.readouterr()
    assert main(["sample", str(tmp_path / "run"), "--num", "1", "--length", "5"]) == 0
    assert all(0 <= int(i) < 50 for i in capsys.readouterr().out.split())


def test_a_tokenizer_that_was_tampered_with_is_refused(tmp_path, capsys):
    from tokenizers import Tokenizer, models

    words = Tokenizer(models.WordLevel({"a": 0, "b": 1, "c": 2}, unk_token="c"))
    words.save(str(tmp_path / "words.json"))
    (tmp_path / "text.jsonl").write_text('{"text": "a"}\n{"text": "b"}\n' * 400)
    flags = ["--tokenizer", str(tmp_path / "words.json")]
    command = ["prepare", "text", str(tmp_path / "text.jsonl"), str(tmp_path / "data"), *flags]
    assert main(command) == 0
    flags = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "run")]
    assert main(["train", "demo", *flags, *TRAIN]) == 0
    (file,) = (tmp_path / "run").glob("checkpoints/*/tokenizer.json")
    file.write_text(
        file.read_text(encoding="utf-8")
        .replace('"a": 0', '"a": 1')
        .replace('"b": 1', '"b": 0')
        .replace('"a":0', '"a":9')
    )
    assert "tokenizer.json is damaged" in fails(capsys, "sample", tmp_path / "run")


def test_the_demo_does_not_take_other_data_for_its_own(home, tmp_path, capsys):
    shutil.copytree(home / "data", tmp_path / "demo" / "data")
    assert "not the demo's data" in fails(capsys, "demo", "--out", tmp_path / "demo")
    (tmp_path / "thesis.tex").write_text("")
    assert "not a demo" in fails(capsys, "demo", "--out", tmp_path)


@pytest.mark.parametrize(
    "change", [{"dtype": "banana"}, {"tokens": {"train": 1}}, {"tokens": None}]
)
def test_damaged_meta_is_refused(home, tmp_path, capsys, change):
    shutil.copytree(home / "data", tmp_path / "data")
    meta = json.loads((tmp_path / "data" / "meta.json").read_text(encoding="utf-8")) | change
    (tmp_path / "data" / "meta.json").write_text(json.dumps(meta))
    assert "meta.json" in fails(capsys, "eval", home / "run", "--data", tmp_path / "data")


def test_control_c_saves_and_the_same_command_continues(home, tmp_path):
    import signal

    folders = ["--data", str(home / "data"), "--out", str(tmp_path / "run")]
    flags = [*folders, *TRAIN[:-1], "200000", "--log-every", "5"]
    command = [sys.executable, "-m", "unmask", "train", "demo", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.jsonl"
    began = time.monotonic()
    while not log.exists() and time.monotonic() - began < 60:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert (
        process.returncode == 130 and "the same command continues" in err and "Traceback" not in err
    )
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 1


def test_wrong_flags_exit_with_2():
    done = unmask_process("sample", "--nmu", "3")
    assert done.returncode == 2 and "Traceback" not in done.stderr


def test_the_harness_is_an_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    assert main(["lm-eval", "--help"]) == 2
    assert "pip install 'unmask[harness]'" in capsys.readouterr().err
