"""The focus of training: a loss with more of the bound's middle, which no evaluation reads."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import unmask
from unmask import masks, schedules
from unmask.config import TrainConfig
from unmask.train import State, read_log, train
from unmask.train.loop import untrained, write_loss
from unmask.train.run import Log


class Counting(nn.Module):
    """Says the more of the value 0, the more is masked: what a unit costs depends on the count."""

    uses_time = False

    def forward(self, z, valid=None):
        masked = (z == 2).sum(-1, keepdim=True).double()
        logits = torch.stack([masked, torch.zeros_like(masked)], -1)
        return logits.expand(-1, z.shape[1], -1)


def cost(k):
    """Nats of a masked zero, k being masked."""
    return math.log1p(math.exp(-k))


def weights(n, focus):
    """By their definition, of 1..n: where most is masked no less than 0.3 of the middle's."""
    found = [(4 * ((k - 0.5) / n) * (1 - (k - 0.5) / n)) ** focus for k in range(1, n + 1)]
    found = [max(w, 0.3) if 2 * k - 1 > n else w for k, w in enumerate(found, 1)]
    return [w * n / sum(found) for w in found]


@pytest.mark.parametrize("focus", [0.5, 1.0, 3.0, 32.0])
def test_counts_are_drawn_so_that_the_mean_is_the_weighted_bound(focus):
    """Over a fine grid of uniforms, what k masked units pay, each, counts w_k / k."""
    grid = (torch.arange(400_000, dtype=torch.float64) + 0.5) / 400_000
    for n in (1, 2, 5, 9):
        k, scale = masks.focused_counts(grid, torch.full((len(grid),), n), 9, focus)
        assert int(k.min()) >= 1 and int(k.max()) <= n
        expected = weights(n, focus)
        assert math.isclose(sum(expected), n, rel_tol=1e-12)
        chance = torch.tensor([w * j**-0.5 for j, w in enumerate(expected, 1)])
        drawn = torch.bincount(k - 1, minlength=n) / len(grid)
        assert torch.allclose(drawn, chance / chance.sum(), rtol=1e-3, atol=1e-5)
        for j in range(1, n + 1):
            found = float(((k == j) * scale).mean())
            assert math.isclose(found * j, expected[j - 1], rel_tol=1e-3, abs_tol=1e-3)


@pytest.mark.parametrize("focus", [1.0, 2.0])
def test_the_loss_is_the_weighted_bound_and_no_draw_of_the_bound(focus):
    n, batch = 6, 20_000
    model = unmask.MaskedDiffusion(Counting(), schedules.Cosine(), unmask.Subtokenizer(2))
    x = torch.zeros(batch, n, dtype=torch.long)
    plain = sum(cost(k) for k in range(1, n + 1))
    loss = sum(w * cost(k + 1) for k, w in enumerate(weights(n, focus)))
    assert abs(loss / plain - 1) > 0.1  # they are not one number
    model.focus = focus
    terms = model(x, generator=torch.Generator().manual_seed(0))
    assert math.isclose(float(terms.loss), loss / n, rel_tol=1e-3)
    assert terms.nelbo is None


def test_rows_of_different_lengths_and_of_none_have_their_own_counts():
    n = torch.tensor([0, 1, 3, 8]).repeat(1000)
    u = torch.rand(len(n), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u[:8] = torch.tensor([0.0, 1 - 2.0**-53]).repeat_interleave(4)
    k, scale = masks.focused_counts(u, n, 8, 2.0)
    assert bool((k <= n.clamp(min=1)).all()) and bool((k >= 1).all())
    assert bool(scale.isfinite().all())
    assert set(k[n == 3].tolist()) == {1, 2, 3} and len(set(k[n == 8].tolist())) == 8


def test_no_estimate_reads_it():
    model = unmask.MaskedDiffusion(Counting(), schedules.Linear(), unmask.Subtokenizer(2))
    x = torch.zeros(4, 6, dtype=torch.long)

    def estimates():
        generator = torch.Generator().manual_seed(1)
        each = [model.nelbo(x, steps, generator=generator) for steps in (None, 5)]
        batches = [{"x": x}]
        each += [unmask.estimate_nelbo(model, batches, repeats=8, seed=0).per_example]
        return [tensor.tolist() for tensor in each]

    before = estimates()
    model.focus = 2.0
    assert estimates() == before


@pytest.mark.parametrize(
    "change, said",
    [
        ({"focus": -1.0}, "focus must lie between 0 and 32, not -1.0"),
        ({"focus": math.nan}, "not nan"),
        ({"focus": 33.0}, "not 33.0"),
        (
            {"focus": 1.0, "schedule": "learned", "time": True},
            "give --focus 0 with --schedule learned",
        ),
        (
            {"focus": 1.0, "digits": 2, "objective": "joint"},
            "give --focus 0 with --objective joint",
        ),
        ({"focus": 1.0, "rival": "sedd"}, "give --focus 0 with --rival sedd"),
    ],
)
def test_what_cannot_be_focused_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        replace(TrainConfig(steps=1), **change).check()


def test_one_curve_per_value_and_discrete_time_have_no_focus():
    x = torch.zeros(2, 4, dtype=torch.long)
    model = unmask.MaskedDiffusion(Counting(), schedules.Linear(), unmask.Subtokenizer(2))
    with pytest.raises(ValueError, match="focus is of one curve for all values, in continuous"):
        model.draw(model.clean(x), 4, focus=1.0)
    for focus in (-1.0, 33.0, math.nan):  # of a model that no configuration made
        model.focus = focus
        with pytest.raises(ValueError, match=f"focus must lie between 0 and 32, not {focus}"):
            model(x)


SMALL = TrainConfig(
    length=16, dim=16, layers=1, heads=2, batch_size=8, steps=4, warmup=1, eval_minutes=0,
    eval_windows=4, log_every=2, dtype="float32", device="cpu", threads=1,
)  # fmt: skip


def test_training_reads_it_and_a_run_is_another_with_another(data, tmp_path):
    found = []
    for focus in (0.0, 2.0):
        out = tmp_path / f"{focus}"
        folder = train(replace(SMALL, focus=focus), data, out)
        name = "focused_loss" if focus else "loss"
        log = read_log(out / "log.jsonl")
        rows = [row for row in log if name in row]
        assert focus == 0 or not any("loss" in row for row in log)
        found.append((folder.joinpath("model.safetensors").read_bytes(), len(rows)))
    assert found[0][0] != found[1][0] and found[0][1] == found[1][1] == 2
    with pytest.raises(ValueError, match="focus"):
        train(SMALL, data, tmp_path / "2.0")
    model = unmask.MaskedDiffusion.from_pretrained(folder)
    assert model.focus == 0 and "focus" not in model.config


@pytest.mark.parametrize(
    "change, name",
    [
        ({}, "loss"),
        ({"focus": 1.0}, "focused_loss"),
        ({"digits": 2, "objective": "joint"}, "joint_loss"),
    ],
)
def test_what_is_not_the_bound_is_neither_said_nor_logged_as_bits(data, change, name, tmp_path):
    config, opened, model = untrained(replace(SMALL, **change), data)
    log = Log(tmp_path / "log.jsonl", 0)
    said = write_loss(config, State(model, config), log, 2.0, 1.0, 10.0)
    (row,) = read_log(tmp_path / "log.jsonl")
    assert [one for one in row if one.endswith("loss")] == [name]
    assert ("bits" in said) == (name == "loss") == ("not a bound" not in said)
