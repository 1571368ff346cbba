"""Estimators on the command line, and drawing until the noise is small enough."""

import json
import math
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from test_core import recorder_model, rng, table_model

import unmask
from unmask import cli, schedules
from unmask.config import TrainConfig
from unmask.evaluation.until import Kept, estimate_until
from unmask.filling import Filler
from unmask.kinds.kind import blank
from unmask.likelihood import (
    Bound,
    Enumeration,
    Orders,
    Path,
    enumeration,
    estimate,
    estimate_nelbo,
    exact_nelbo,
)
from unmask.rivals import D3PM
from unmask.train import train


@pytest.fixture(scope="module")
def model():
    return table_model(schedules.Linear(), 5, 4)


@pytest.fixture(scope="module")
def batches(model):
    x = torch.randint(5, (40, 4), generator=rng())
    group = torch.arange(40) // 3
    return [{"x": x[i : i + 16], "group": group[i : i + 16]} for i in range(0, 40, 16)]


@pytest.mark.parametrize("estimator", [Bound(), Bound(6), Orders(2)])
def test_it_draws_until_the_noise_is_small_enough(model, batches, estimator):
    told = []
    aim = estimate(model, batches, estimator, repeats=8).bits_per_dim_noise / 3
    found = estimate_until(
        model, lambda more: batches, estimator, aim, told=lambda *said: told.append(said)
    )
    assert found.bits_per_dim_noise <= aim < told[0][0] and told[-1][1] == told[-1][2]
    same = estimate(model, batches, estimator, repeats=found.repeats)
    assert torch.equal(same.replicates, found.replicates) and same.stderr == found.stderr
    assert same.calls == found.calls
    assert [done for _, done, _ in told] == sorted({done for _, done, _ in told})


def test_a_noise_of_one_degree_of_freedom_ends_nothing(model, batches):
    """Of few examples two replicates often agree by chance, however noisy they are."""
    few = [{"x": batches[0]["x"][:4]}]
    aim = estimate(model, few, Bound(), repeats=256).bits_per_dim_noise * math.sqrt(256 / 2) / 3
    some = [
        len(estimate_until(model, lambda more: few, Bound(), aim, seed=seed).replicates)
        for seed in range(12)
    ]
    assert min(some) >= 8
    many = estimate_until(model, lambda more: batches * 3, Bound(), 9.0)
    assert len(many.replicates) == 2


def test_what_was_drawn_before_an_interruption_is_not_drawn_again(model, batches, tmp_path):
    """At every batch: the same numbers in the end, and no batch twice."""
    path, asked = tmp_path / "x.draws.npz", []
    whole = estimate(model, batches, Bound(), repeats=16)
    aim, left = whole.bits_per_dim_noise * 1.0001, {"batches": 0}

    class Watched(Bound):
        def draw(self, model, batch, uniforms):
            asked.append((float(uniforms.pick[0]), len(batch.y)))
            return super().draw(model, batch, uniforms)

    def some(more):
        for batch in batches:
            if not left["batches"]:
                raise KeyboardInterrupt
            left["batches"] -= 1
            yield batch

    for _ in range(100):
        left["batches"] = 4
        kept = Kept(path, {"of": "this"})
        try:
            found = estimate_until(model, some, Watched(), aim, kept=kept)
            break
        except KeyboardInterrupt:
            assert path.exists()
    assert torch.equal(found.replicates, whole.replicates) and found.calls == whole.calls
    assert len(set(asked)) == len(asked) == 3 * 16 and not path.exists()
    with pytest.raises(KeyboardInterrupt):
        left["batches"] = 5
        estimate_until(model, some, Bound(), aim, kept=Kept(path, {"of": "this"}))
    with pytest.raises(ValueError, match="another command"):
        Kept(path, {"of": "that"}).load()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="damaged"):
        Kept(path, {"of": "this"}).load()


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps_have_no_bound(model, steps):
    """A sum over no intervals is 0, which is no bound."""
    x = torch.tensor([[0, 1, 2, 3]])
    rival = D3PM(model.backbone, schedules.Linear(), unmask.Subtokenizer(5), steps=4)
    for ask in (
        lambda: exact_nelbo(model, x, steps=steps),
        lambda: estimate(model, [x], Enumeration(steps)),
        lambda: estimate(model, [x], Bound(steps)),
        lambda: estimate(rival, [x], Enumeration(steps)),
        lambda: estimate_nelbo(rival, [x], steps=steps),
        lambda: rival.nelbo(x, steps=steps),
    ):
        with pytest.raises(ValueError, match=f"steps must be at least 1, not {steps}"):
            ask()


def test_enumeration_holds_the_masks_of_some_examples_at_a_time(monkeypatch):
    model = recorder_model()
    network = model.backbone
    x = torch.randint(20, (144, 8), generator=rng())
    found = estimate(model, [x], Enumeration())
    assert max(network.sequences) <= 2**15 < sum(network.sequences)
    assert found.calls == 144 * (2**8 - 1)
    whole = torch.cat([exact_nelbo(model, some).detach() for some in x[:6].split(1)])
    torch.testing.assert_close(found.per_example[:6], whole)
    monkeypatch.setattr(enumeration, "ENUMERATED", 2**8 * 8 * 20 * 3)
    network.rows.clear()
    again = estimate(model, [x[:6]], Enumeration())
    assert max(network.rows) * 20 <= enumeration.ENUMERATED
    torch.testing.assert_close(again.per_example, whole)


def test_what_has_no_noise_cannot_be_drawn_until_it_is_small(model, batches):
    with pytest.raises(ValueError, match="nothing is drawn"):
        estimate_until(model, lambda more: batches, Path("margin"), 0.1)
    with pytest.raises(ValueError, match="error must be positive"):
        estimate_until(model, lambda more: batches, Bound(), 0.0)


# ---------------------------------------------------------------- unmask eval


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with data and a model: bytes, 8 a window, each 3 binary digits or a token."""
    folder = tmp_path_factory.mktemp("estimators")
    (folder / "text.txt").write_text("abcdefgh " * 400, encoding="utf-8")
    flags = ["--tokenizer", "characters"]
    argv = ["prepare", "text", str(folder / "text.txt"), str(folder / "data"), *flags]
    assert cli.main(argv) == 0
    config = TrainConfig(
        length=8, dim=16, layers=1, heads=2, batch_size=8, steps=20, eval_windows=8,
        dtype="float32", device="cpu",
    )  # fmt: skip
    train(config, folder / "data", folder / "run")
    return folder


def evaluated(home, tmp_path, *flags):
    out = tmp_path / "e.json"
    argv = ["eval", str(home / "run"), "--data", str(home / "data"), "--limit", "6"]
    code = cli.main([*argv, "--json", str(out), *flags])
    return code, json.loads(out.read_text(encoding="utf-8")) if code == 0 else None


@pytest.mark.parametrize("name", ["left-to-right", "right-to-left", "confidence", "margin"])
def test_eval_tells_exact_likelihoods_of_orders(name, home, tmp_path, capsys):
    code, record = evaluated(home, tmp_path, "--estimator", name)
    said = capsys.readouterr().out
    assert code == 0 and record["noise"] == 0 and record["network_calls"] == 6 * 8
    assert record["what"] in said and "the exact negative log-likelihood" in said
    assert name in record["sampler"] and record["sampler"] in said
    assert "8 network calls each" in said and "noise" not in said and "draws each" not in said
    code, at_once = evaluated(home, tmp_path, "--estimator", name, "--steps", "2")
    assert at_once["network_calls"] == 6 * 2 and "in 2 steps" in at_once["sampler"]
    assert at_once["value"] != record["value"]
    _, warm = evaluated(home, tmp_path, "--estimator", name, "--temperature", "0.8")
    assert "at temperature 0.8" in warm["sampler"] and warm["value"] != record["value"]


def test_an_exact_likelihood_and_a_bound_are_compared_by_example(home, tmp_path, capsys):
    for name, flags in (("a", ["--estimator", "margin"]), ("b", ["--repeats", "8"])):
        out = str(tmp_path / f"{name}.json")
        argv = ["eval", str(home / "run"), "--data", str(home / "data"), "--json", out, *flags]
        assert cli.main(argv) == 0
    capsys.readouterr()
    argv = ["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert cli.main([*argv, "--json", str(tmp_path / "d.json")]) == 0
    said = capsys.readouterr().out
    a, b, d = (json.loads((tmp_path / f"{n}.json").read_text(encoding="utf-8")) for n in "abd")
    assert d["value"] == pytest.approx(a["value"] - b["value"], abs=1e-9)
    assert d["noise"] == pytest.approx(b["noise"], rel=1e-6) and d["stderr"] >= d["noise"]
    assert "along the path, margin" in said and "other estimator" in said


def test_the_sampler_of_a_number_is_the_one_that_it_bounds(home, tmp_path):
    """In steps, tokens of one step are drawn apart; counts reveal one a step at any length."""
    _, steps = evaluated(home, tmp_path, "--steps", "3")
    assert "in 3 steps of the uniform grid" in steps["sampler"]
    assert steps["revealed_at_an_instant"] is None
    _, plain = evaluated(home, tmp_path)
    assert plain["revealed_at_an_instant"] == "one token"
    _, longer = evaluated(home, tmp_path, "--estimator", "counts", "--length", "16")
    assert "in 16 steps" in longer["sampler"]


def test_eval_enumerates_and_counts_exactly(home, tmp_path, capsys):
    _, exact = evaluated(home, tmp_path, "--estimator", "enumeration")
    assert exact["noise"] == 0 and exact["network_calls"] == 6 * (2**8 - 1)
    _, drawn = evaluated(home, tmp_path, "--repeats", "400")
    assert abs(drawn["value"] - exact["value"]) < 6 * drawn["noise"]
    _, counts = evaluated(home, tmp_path, "--estimator", "counts", "--steps", "2")
    _, one = evaluated(home, tmp_path, "--estimator", "counts", "--repeats", "400")
    assert abs(one["value"] - exact["value"]) < 6 * one["noise"]
    assert "exact numbers of tokens in 2 steps" in counts["sampler"]
    assert counts["value"] > exact["value"] - 6 * counts["noise"]
    grid = tmp_path / "grid.json"
    grid.write_text(json.dumps({"counts": [8, 4, 0]}), encoding="utf-8")
    flags = ["--estimator", "counts", "--grid", str(grid)]
    _, same = evaluated(home, tmp_path, *flags)
    _, halves = evaluated(
        home, tmp_path, "--estimator", "counts", "--steps", "2", "--grid", "uniform"
    )
    assert same["value"] == halves["value"]


@pytest.mark.parametrize(
    "flags,said",
    [
        (["--estimator", "joint"], "not an upper bound"),
        (["--estimator", "orders", "--steps", "4"], "leave out --steps and --masking"),
        (["--grid", "uniform"], "--grid is of --estimator counts"),
        (["--estimator", "counts", "--temperature", "2"], "--temperature is of the exact"),
        (["--estimator", "margin", "--masking", "token"], "leave out --masking"),
        (["--estimator", "margin", "--error", "1"], "draws nothing: leave out --error"),
        (["--error", "-1"], "--error must be positive"),
        (["--steps", "-1"], "--steps must be at least 1, not -1"),
        (["--estimator", "enumeration", "--steps", "-1"], "--steps must be at least 1, not -1"),
        (["--estimator", "margin", "--steps", "-1"], "--steps must be at least 1, not -1"),
        (["--estimator", "confidence", "--grid", "uniform"], "--grid uniform is of --steps"),
        (["--estimator", "counts", "--grid", "uniform"], "--grid uniform is of --steps"),
        (["--estimator", "counts", "--grid", "none.json"], "there is no file none.json"),
        (["--estimator", "margin", "--temperature", "0"], "temperature must be positive"),
        (["--estimator", "entropy", "--gamma", "1"], "--gamma is of --estimator entropy-bounded"),
        (["--estimator", "entropy-bounded", "--gamma", "-1"], "a number of nats from 0 on"),
        (["--estimator", "entropy-bounded", "--steps", "2"], "leave out --steps and --grid"),
    ],
)
def test_flags_that_mean_nothing_together_are_refused(flags, said, home, tmp_path, capsys):
    assert evaluated(home, tmp_path, *flags)[0] == 2
    assert said in capsys.readouterr().err


def test_eval_draws_until_the_error_and_goes_on_after_ctrl_c(home, tmp_path):
    out = tmp_path / "e.json"
    state = tmp_path / "e.json.draws.npz"
    argv = [
        sys.executable, "-m", "unmask", "eval", str(home / "run"), "--data", str(home / "data"),
        "--json", str(out), "--device", "cpu", "--dtype", "float32", "--threads", "1",
    ]  # fmt: skip
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    never = subprocess.Popen([*argv, "--error", "1e-12"], **pipes)
    deadline = time.monotonic() + 120
    while not state.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    never.send_signal(signal.SIGINT)
    said = never.communicate(timeout=120)[1]
    assert never.returncode == 130 and str(state) in said and "the same command goes on" in said
    drawn = len(Kept(state, {}).arrays()["draws"])
    assert drawn >= 8 and not out.exists()
    done = subprocess.run([*argv, "--error", "10"], capture_output=True, text=True, timeout=120)
    record = json.loads(out.read_text(encoding="utf-8"))
    assert done.returncode == 0 and not state.exists()
    assert drawn <= record["repeats"] <= max(drawn, 32)  # what a noise needs
    assert record["noise"] < 10 and math.isfinite(record["value"])
    same = [*argv, "--repeats", str(record["repeats"])]
    same = subprocess.run(same, capture_output=True, timeout=120)
    again = json.loads(out.read_text(encoding="utf-8"))
    assert same.returncode == 0 and again["value"] == record["value"]
    # also where nothing was left to be drawn
    assert record["bytes"] == again["bytes"] > 0
    assert record["bits_per_byte"] == again["bits_per_byte"]
    assert again["network_calls"] == record["network_calls"]


def test_samplers_of_orders_on_the_command_line(home, tmp_path):
    for name in ("counts", "left-to-right", "entropy"):
        out = tmp_path / f"{name}.json"
        flags = ["--num", "3", "--sampler", name, "--json", str(out)]
        assert (
            cli.main(["sample", str(home / "run"), *flags, "--out", str(tmp_path / "s.txt")]) == 0
        )
        record = json.loads(out.read_text(encoding="utf-8"))
        assert record["sampler"] == name and record["steps"] == "one unit a step"
        assert [len(text) for text in record["samples"]] == [8, 8, 8]
        flags += ["--steps", "3", "--grid", "uniform"]
        assert cli.main(["sample", str(home / "run"), *flags]) == 0
        assert json.loads(out.read_text(encoding="utf-8"))["steps"] == 3
    hole = tmp_path / "hole.txt"
    hole.write_text("abc[MASK:3]gh", encoding="utf-8")
    flags = ["--sampler", "confidence", "--out", str(tmp_path / "f.txt")]
    assert cli.main(["fill", str(home / "run"), str(hole), *flags]) == 0
    filled = (tmp_path / "f.txt").read_text(encoding="utf-8").strip()
    assert filled.startswith("abc") and filled.endswith("gh") and len(filled) == 8


def test_bounded_entropies_on_the_command_line(home, tmp_path):
    code, one = evaluated(home, tmp_path, "--estimator", "entropy")
    code, none = evaluated(home, tmp_path, "--estimator", "entropy-bounded", "--gamma", "0")
    code, some = evaluated(home, tmp_path, "--estimator", "entropy-bounded", "--gamma", "3")
    code, every = evaluated(home, tmp_path, "--estimator", "entropy-bounded", "--gamma", "1e3")
    code, at_once = evaluated(home, tmp_path, "--estimator", "entropy", "--steps", "1")
    assert none["value"] == pytest.approx(one["value"], rel=1e-6)
    assert every["value"] == pytest.approx(at_once["value"], rel=1e-6)
    calls = [record["network_calls"] for record in (one, some, every)]
    assert 6 * 8 == calls[0] > calls[1] > calls[2] == 6


@pytest.mark.parametrize(
    "flags,recorded",
    [
        (["entropy-bounded", "--gamma", "2"], {"gamma": 2.0}),
        (["remdm-cap", "--steps", "6", "--eta", "0.5"], {"eta": 0.5, "steps": 6}),
        (["remdm-rescale", "--steps", "6"], {"eta": 0.02, "grid": "cosine"}),
        (["forward-backward", "--steps", "3"], {"corrections": 1, "steps": 3}),
        (["counts", "--top-p", "0.9", "--draw", "float32-gumbel"],
         {"top_p": 0.9, "draw": "float32-gumbel"}),
    ],
)  # fmt: skip
def test_new_samplers_on_the_command_line(flags, recorded, home, tmp_path):
    out = tmp_path / "s.json"
    argv = ["sample", str(home / "run"), "--num", "3", "--json", str(out), "--sampler", *flags]
    assert cli.main([*argv, "--out", str(tmp_path / "s.txt")]) == 0
    record = json.loads(out.read_text(encoding="utf-8"))
    assert record["sampler"] == flags[0] and [len(one) for one in record["samples"]] == [8, 8, 8]
    assert record | recorded == record
    assert {"top_p", "draw"} <= set(record)  # their defaults, too
    own = {"gamma", "eta", "corrections", "steps"} & set(record)
    assert own <= {*recorded, "steps"}
    hole = tmp_path / "hole.txt"
    hole.write_text("abc[MASK:3]gh", encoding="utf-8")
    argv = ["fill", str(home / "run"), str(hole), "--out", str(tmp_path / "f.txt"), "--sampler"]
    assert cli.main([*argv, *flags]) == 0
    filled = (tmp_path / "f.txt").read_text(encoding="utf-8").strip()
    assert filled.startswith("abc") and filled.endswith("gh") and len(filled) == 8


@pytest.mark.parametrize(
    "flags,said",
    [
        (["--gamma", "1"], "gamma is of entropy-bounded, not of ancestral: leave it out"),
        (["--sampler", "counts", "--eta", "0.5"], "eta is of remdm-cap and remdm-rescale"),
        (["--sampler", "remdm-cap", "--corrections", "2"], "corrections is of forward-backward"),
        (["--sampler", "remdm-cap", "--eta", "1.5"], "--eta must lie between 0 and 1, not 1.5"),
        (["--sampler", "entropy-bounded", "--steps", "9"], "leave out --steps and --grid"),
        (["--sampler", "entropy-bounded", "--grid", "uniform"], "leave out --steps and --grid"),
        (["--sampler", "forward-backward", "--corrections", "0"], "--corrections must be at least"),
        (["--sampler", "first_hitting", "--steps", "9"], "depends on neither --steps nor --grid"),
        (["--sampler", "first_hitting", "--grid", "grid.json"], "depends on neither --steps nor"),
        (["--sampler", "first_hitting", "--grid", "uniform"], "depends on neither --steps nor"),
        (["--sampler", "counts", "--grid", "uniform"], "--grid uniform is of --steps: give some"),
        (["--sampler", "margin", "--grid", "uniform"], "--grid uniform is of --steps: give some"),
        (["--top-p", "0"], "top_p must lie above 0 and be at most 1, not 0.0"),
        (
            ["--sampler", "forward-backward", "--corrections", "100000000"],
            "--corrections must be at most 1,000, not 100,000,000",
        ),
        (["--steps", "2000000"], "--steps must be at most 1,048,576, not 2,000,000"),
        (["--temperature", "1e-9"], "--temperature must lie between 1e-06 and 1e+06, not 1e-09"),
        (["--guidance", "-1e9"], "--guidance must lie between -1e+06 and 1e+06"),
    ],
)
def test_what_has_no_effect_is_refused_before_any_work(flags, said, tmp_path, capsys):
    assert cli.main(["sample", str(tmp_path / "no-model"), *flags]) == 2
    assert said in capsys.readouterr().err


def test_steps_of_first_hitting_are_those_that_are_watched(home, tmp_path):
    """They are the states that its frames show; its grid may be a file's."""
    grid, frames = tmp_path / "grid.json", tmp_path / "f.html"
    grid.write_text(json.dumps({"counts": [8, 4, 0]}), encoding="utf-8")
    argv = ["sample", str(home / "run"), "--num", "1", "--sampler", "first_hitting"]
    for flags in (["--steps", "4", "--grid", "uniform"], ["--grid", str(grid)]):
        assert cli.main([*argv, *flags, "--frames", str(frames)]) == 0 and frames.exists()
        assert cli.main([*argv, *flags]) == 2
        frames.unlink()
    assert cli.main([*argv, "--steps", "0", "--grid", "cosine"]) == 0
    model = unmask.MaskedDiffusion.from_pretrained(home / "run")
    how = {"sampler": "first_hitting", "grid": torch.tensor([1.0, 0.5, 0.0]).double()}
    assert len(unmask.sample(model, num=2, **how)) == 2
    alone, watched = (
        Filler(model, watch=watch, **how).fill([blank(8)])[0][0].ids.tolist() for watch in (0, 1)
    )
    assert alone == watched


def test_what_a_policy_draws_costs_its_entropy(home):
    """Of a trained network, in 64 bits: all sequences' probabilities sum to one."""
    model = unmask.MaskedDiffusion.from_pretrained(home / "run").double()
    x = unmask.sample(model, num=400, length=3, sampler="confidence", generator=rng())
    found = estimate(model, [x], Path("confidence")).per_example
    every = torch.cartesian_prod(*[torch.arange(model.subtokenizer.vocab_size)] * 3)
    nats = estimate(model, every.split(100), Path("confidence")).per_example
    assert float((-nats).exp().sum()) == pytest.approx(1, abs=1e-9)
    entropy = float(((-nats).exp() * nats).sum())
    assert abs(float(found.mean()) - entropy) < 6 * float(found.std()) / np.sqrt(400)
