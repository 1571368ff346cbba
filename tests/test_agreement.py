"""The audit's line of where samples begin: what is said where all is hidden, against the data."""

import re

import pytest
import torch

from unmask import MaskedDiffusion
from unmask.audit import Posterior, Table
from unmask.audit.agreement import compare_beginning
from unmask.cli.main import main
from unmask.roles import SCORED, UNKNOWN
from unmask.schedules import Linear
from unmask.subtokens import Subtokenizer

# 16 rows of 3 tokens of 4 values, which are the distribution: each of the first is as common as it
# is here
ROWS = torch.tensor([[0, 1, 3]] * 8 + [[2, 1, 0]] * 4 + [[2, 3, 3]] * 3 + [[1, 1, 1]])
SHARES = torch.tensor(  # (S, V), by counting
    [[8, 1, 7, 0], [0, 13, 0, 3], [4, 1, 0, 11]], dtype=torch.float64
)


def table(length: int) -> Table:
    x, count = ROWS.unique(dim=0, return_counts=True)
    return Table("rows", x, count.double() / 16, Subtokenizer(4, length))


def model_of(network: torch.nn.Module, length: int = 1) -> MaskedDiffusion:
    return MaskedDiffusion(network, Linear(), Subtokenizer(4, length))


def beginning(model, batch, alike=False, names=()):
    return compare_beginning(model, batch, alike=alike, names=names, spell="abcd".__getitem__)


class Said(torch.nn.Module):
    """Says the same everywhere (S, V), or by how many positions there are (n, S, V)."""

    def __init__(self, p):
        super().__init__()
        self.log_p = torch.nn.Parameter(p.log(), requires_grad=False)

    def forward(self, z, t=None, cond=None, valid=None):
        if self.log_p.ndim == 2:
            return self.log_p.expand(len(z), -1, -1)
        count = valid.sum(1) if valid is not None else torch.full((len(z),), z.shape[1])
        return self.log_p[count - 1]


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("length", [1, 2])
def test_a_perfect_network_says_how_common_values_are(length, alike):
    model = model_of(Posterior(table(length)), length)
    line = beginning(model, {"x": ROWS}, alike)
    assert abs(line.measured) < 1e-12 and not line.verdict


def test_by_position_it_is_the_mean_of_total_variations():
    """The last position says 1/4 of all values; the others are right."""
    said = SHARES / 16
    said[2] = 0.25
    line = beginning(model_of(Said(said)), {"x": ROWS}, names=["x", "y", "z"])
    off = (abs(4 / 16 - 1 / 4) + abs(1 / 16 - 1 / 4) + 1 / 4 + abs(11 / 16 - 1 / 4)) / 2
    assert line.measured == pytest.approx(off / 3, rel=1e-6)
    assert line.note.endswith("furthest off z: d: 0.250, in the data 0.688")
    assert " position 2: d: " in beginning(model_of(Said(said)), {"x": ROWS}).note


def test_of_positions_that_are_alike_all_together_are_compared():
    """Each position is wrong, and all together are right: what is said is another's."""
    said = (SHARES / 16)[[1, 2, 0]]
    model = model_of(Said(said))
    assert beginning(model, {"x": ROWS}, alike=True).measured == pytest.approx(0, abs=1e-7)
    assert beginning(model, {"x": ROWS}).measured > 0.4


def test_the_number_of_examples_is_held_by_halves_of_them():
    rows = torch.tensor([[0], [0], [0], [1], [1], [1], [1], [1]])  # 2 of 4, and 1 of 4, are a
    line = beginning(model_of(Said(torch.full((1, 4), 0.25))), {"x": rows})
    assert line.note.startswith("8 examples alone make 0.125;")
    assert line.measured == pytest.approx((abs(3 / 8 - 1 / 4) + abs(5 / 8 - 1 / 4) + 0.5) / 2)


@pytest.mark.parametrize("alike", [False, True])
def test_every_example_begins_with_its_own_positions(alike):
    """Rows of 1 and of 3 tokens: the network is told which, and says other things of them."""
    valid = torch.ones(16, 3, dtype=torch.bool)
    valid[10:, 1:] = False
    said = torch.rand(3, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    said = (said / said.sum(-1, keepdim=True)).float()
    found, count = (torch.zeros(3, 4, dtype=torch.float64) for _ in range(2))
    for x, there in zip(ROWS.tolist(), valid.tolist(), strict=True):
        for s in range(sum(there)):
            found[s] += said[sum(there) - 1, s]
            count[s, x[s]] += 1
    if alike:
        found, count = found.sum(0, keepdim=True), count.sum(0, keepdim=True)
    off = [((p / p.sum() - q / q.sum()).abs().sum() / 2).item() for p, q in zip(found, count)]
    line = beginning(model_of(Said(said)), {"x": ROWS, "valid": valid}, alike)
    assert line.measured == pytest.approx(sum(off) / len(off), rel=1e-6)


def test_a_value_that_nobody_knows_is_not_counted():
    """It is hidden in training as in use, so a network need not say how often it is unknown."""
    rows, role = ROWS.clone(), torch.full_like(ROWS, SCORED, dtype=torch.int8)
    rows[:8, 0], role[:8, 0] = -1, UNKNOWN
    said = SHARES / 16
    said[0] = torch.tensor([0, 1 / 8, 7 / 8, 0])
    assert beginning(model_of(Said(said)), {"x": rows, "role": role}).measured < 1e-6


def test_an_audit_on_data_says_it(text_run, data, tmp_path, capsys):
    capsys.readouterr()
    flags = ["--limit", "2", "--enumerate", "2", "--device", "cpu"]
    assert main(["audit", str(text_run), "--data", str(data), *flags]) == 0
    line = next(
        row for row in capsys.readouterr().out.splitlines() if row.startswith("beginning: what is")
    )
    assert re.search(r" (0\.\d+) +- total variation +\d+ examples alone make 0\.\d+; ", line)
    assert main(["audit", str(text_run), *flags]) == 0  # on samples of the model itself: no data
    assert "beginning: what is" not in capsys.readouterr().out
