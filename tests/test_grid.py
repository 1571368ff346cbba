"""The best numbers of masked units for a sampler of few steps."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from test_contract import build
from test_core import rng
from test_estimators import home  # noqa: F401

from unmask import cli, schedules
from unmask.config import TrainConfig
from unmask.evaluation.grid import best_counts, measure, rising
from unmask.likelihood import Counts, estimate
from unmask.train import train


def cost_of(counts, nats):
    return sum((k - after) * nats[k - 1] for k, after in itertools.pairwise(counts))


@pytest.mark.parametrize("steps", range(1, 8))
def test_the_best_counts_are_the_best_of_all(steps):
    nats = np.sort(np.random.default_rng(steps).exponential(size=7))
    every = [
        (7, *sorted(some, reverse=True), 0)
        for some in itertools.combinations(range(1, 7), steps - 1)
    ]
    truth = min(cost_of(counts, nats) for counts in every)
    found = best_counts(nats, steps)
    assert len(found) == steps + 1 and cost_of(found, nats) == pytest.approx(truth, rel=1e-12)
    assert found[0] == 7 and found[-1] == 0 and found == sorted(found, reverse=True)


def test_more_steps_than_units_are_refused():
    for steps in (0, 4):
        with pytest.raises(ValueError, match=f"between 1 and 3.*not {steps}"):
            best_counts(np.ones(3), steps)


def test_a_rising_curve_is_the_closest_one():
    """The max-min formula of isotonic regression."""
    random = np.random.default_rng(0)
    values, weights = random.normal(size=60).cumsum(), random.integers(1, 9, 60).astype(float)

    def mean(a, b):
        return float(np.average(values[a : b + 1], weights=weights[a : b + 1]))

    truth = [max(min(mean(a, b) for b in range(i, 60)) for a in range(i + 1)) for i in range(60)]
    np.testing.assert_allclose(rising(values, weights), truth, rtol=1e-9)


def test_the_curve_is_the_mean_cross_entropy_with_so_many_masked():
    """Of a perfect denoiser it rises; of the best two steps the bound is the least."""
    model, posterior = build(schedules.Cosine(), vocab_size=3, length=4, concentration=0.1)
    some = torch.multinomial(posterior.p, 2048, replacement=True, generator=rng())
    x = posterior.x[some]
    curve = measure(model, [x[:1000], x[1000:]], repeats=32)
    truth = []
    for k in range(1, 5):
        paid = []
        for hidden in itertools.combinations(range(4), k):
            z = x.index_fill(1, torch.tensor(hidden), model.mask_id)
            nats = -model.predict(z).detach().gather(2, x[..., None])[..., 0]
            paid.append(nats.sum(1) / k)
        truth.append(float(torch.stack(paid).mean()))
    assert truth == sorted(truth)
    np.testing.assert_allclose(curve.at(4), truth, atol=0.03)
    best = best_counts(curve.at(4), 2)
    bounds = {k: cost_of((4, k, 0), truth) for k in (1, 2, 3)}
    assert best == best_counts(np.array(truth), 2) and bounds[best[1]] == min(bounds.values())
    found = estimate(model, [x], Counts((1.0, best[1] / 4, 0.0)), repeats=16)
    assert abs(found.mean - min(bounds.values())) < 6 * found.noise


def test_unmask_grid_finds_one_that_sample_and_eval_take(home, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "grid.json"
    argv = ["grid", str(home / "run"), "--data", str(home / "data"), "--out", str(out)]
    argv += ["--repeats", "8"]
    assert cli.main([*argv, "--steps", "3", "--json", str(tmp_path / "r.json")]) == 0
    said = capsys.readouterr().out
    grid = json.loads(out.read_text(encoding="utf-8"))
    record = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert (
        len(grid["counts"]) == 4 and grid["counts"][0] == 8 and grid["counts"] == record["counts"]
    )
    assert "of the sampler that reveals exact numbers of tokens in 3 steps" in said
    assert set(record["grids"]) == {"this", "cosine", "uniform", "one token at a time"}
    assert "difference" not in record["grids"]["this"]
    for name in ("cosine", "uniform", "one token at a time"):  # what is printed is recorded
        one = record["grids"][name]
        assert f"{one['difference']:+.4f} +- {one['difference_stderr']:.4f}" in said
    flags = ["--data", str(home / "data"), "--estimator", "counts", "--grid", str(out)]
    argv = ["eval", str(home / "run"), *flags, "--json", str(tmp_path / "e.json")]
    assert cli.main(argv) == 0
    evaluated = json.loads((tmp_path / "e.json").read_text(encoding="utf-8"))
    assert evaluated["value"] == record["grids"]["this"]["value"]
    flags = ["--sampler", "counts", "--grid", str(out), "--out", str(tmp_path / "s.txt")]
    argv = ["sample", str(home / "run"), "--num", "2", *flags]
    assert cli.main([*argv, "--json", str(tmp_path / "s.json")]) == 0
    drawn = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert drawn["steps"] == 3 and drawn["grid"] == str(out) and len(drawn["samples"]) == 2
    assert cli.main([*argv, "--steps", "4"]) == 2
    assert "the grid has 3 steps, not 4" in capsys.readouterr().err


def test_errors_that_one_window_does_not_tell_are_not_known(home, tmp_path, capsys):  # noqa: F811
    argv = ["grid", str(home / "run"), "--data", str(home / "data"), "--limit", "1"]
    argv += ["--repeats", "2", "--steps", "3", "--out", str(tmp_path / "grid.json")]
    assert cli.main(argv) == 0
    said = capsys.readouterr().out
    assert "nan" not in said and said.count("(error not known)") == 1 + 2 * 3


def test_a_grid_of_whole_tokens_is_none_of_their_digits(data, tmp_path, capsys):
    config = TrainConfig(
        length=8, dim=16, layers=1, heads=2, batch_size=4, steps=2, eval_windows=8, digits=2,
        dtype="float32", device="cpu",
    )  # fmt: skip
    run, out = str(train(config, data, tmp_path / "run").parents[1]), str(tmp_path / "g.json")
    whole = ["--masking", "token", "--limit", "4", "--repeats", "2"]
    argv = ["grid", run, "--data", str(data), "--out", out, "--steps", "3"]
    assert cli.main([*argv, *whole]) == 0
    of_counts = ["eval", run, "--data", str(data), "--estimator", "counts", "--grid", out]
    assert cli.main([*of_counts, *whole]) == 0
    capsys.readouterr()
    (tmp_path / "hole.txt").write_text("the [MASK]")
    refused = [
        of_counts,
        ["sample", run, "--num", "2", "--sampler", "counts", "--grid", out],
        ["fill", run, str(tmp_path / "hole.txt"), "--sampler", "counts", "--grid", out],
    ]
    for masking in ("token", "digit"):  # as a model of one digit has it
        grid = json.loads(Path(out).read_text()) | {"masking": masking}
        Path(out).write_text(json.dumps(grid))
        for command in refused:
            assert cli.main(command) == 2
            assert "counts whole tokens, and here their 2 digits" in capsys.readouterr().err


def test_what_no_grid_can_be_of_is_said_before_the_work(home, tmp_path, monkeypatch, capsys):  # noqa: F811
    def measure(*_, **__):
        raise AssertionError

    monkeypatch.setattr("unmask.evaluation.grid.measure", measure)
    argv = ["prepare", "text", str(home / "text.txt"), str(tmp_path / "two")]
    argv += ["--tokenizer", str(home / "data"), "--split", "0.9,0.1,0"]
    assert cli.main(argv) == 0
    for data, steps, said in (
        (home / "data", "10000", "steps must lie between 1 and 8, the number of units, not 10000"),
        (tmp_path / "two", "3", "the split 'test' is empty"),
    ):
        argv = ["grid", str(home / "run"), "--data", str(data), "--out", str(tmp_path / "g.json")]
        assert cli.main([*argv, "--steps", steps]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "content,said",
    [
        ('{"counts": [4, 4, 0]}', "must fall"),
        ('{"counts": [4, 1]}', "must fall"),
        ('{"counts": [0]}', "must fall"),
        ('{"counts": ["a"]}', "expected a whole number"),
        ("[]", "expected an object"),
    ],
)
def test_a_file_that_is_no_grid_is_refused(content, said, home, tmp_path, capsys):  # noqa: F811
    (tmp_path / "g.json").write_text(content, encoding="utf-8")
    flags = ["--sampler", "counts", "--grid", str(tmp_path / "g.json")]
    assert cli.main(["sample", str(home / "run"), *flags]) == 2
    assert said in capsys.readouterr().err
