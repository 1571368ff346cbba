"""Linked positions: what is revealed at one decides what the other can be, in the bound, in every
sampler and in their exact laws.  The oracle is a table of two columns, one with missing cells."""

import pytest
import torch
from smooth import smooth_in_t
from torch import nn

import unmask
from unmask.audit import exact_nelbo
from unmask.audit.sampler_law import exact_law
from unmask.backbones import Transformer
from unmask.filling import Filler
from unmask.kinds.kind import Partial
from unmask.likelihood import estimate_nelbo, estimate_orders
from unmask.roles import ABSENT, GIVEN, HOLE, SCORED, UNKNOWN
from unmask.sampling import first_hitting, time_grid

# arm: A, B; whether there is a lab value: present, missing; the value: negative, positive, none
A, B, PRESENT, MISSING, NEGATIVE, POSITIVE, NONE = range(7)
ALPHABETS = [[A, B], [PRESENT, MISSING], [NEGATIVE, POSITIVE, NONE]]
ALLOWED = torch.tensor([[v in alphabet for v in range(7)] for alphabet in ALPHABETS])
PARTNER, GROUP = torch.tensor([-1, 2, 1]), torch.tensor([0, 0, 0, 1, 0, 0, 1])
ROWS = torch.tensor(
    [
        [a, *lab]
        for a in (A, B)
        for lab in ((PRESENT, NEGATIVE), (PRESENT, POSITIVE), (MISSING, NONE))
    ]
)
# arm A is half of the rows; lab is known for 95 % of A, 5 % of B; and then negative in 70 %
P = torch.tensor([0.475 * 0.7, 0.475 * 0.3, 0.025, 0.025 * 0.7, 0.025 * 0.3, 0.475]).double()

DIALS = {
    "plain": {},
    "digits": {"digits": 2},
    "whole tokens of digits": {"digits": 2, "masking": "token"},
    "looks at t": {"time": True},
    "one curve per value": {"time": True, "schedule": "learned"},
    "one curve per digit": {"digits": 2, "time": True, "schedule": "learned"},
}


def random_model(digits=1, masking="digit", time=False, schedule="linear"):
    """A network of random weights, in 64 bits, that knows nothing of the links."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        how = {"dim": 16, "layers": 1, "heads": 2, "time": time, "digits": digits}
        network = Transformer(7, places=3, **how)
        for p in network.parameters():
            nn.init.normal_(p, std=0.5)
        smooth_in_t(network)
    units = unmask.Subtokenizer(7, digits)
    curve = unmask.schedules.Linear()
    if schedule == "learned":
        size = units.base if masking == "digit" else 7
        curve = unmask.schedules.LearnedPolynomial(size, init=1.3)
        with torch.no_grad():
            for p in curve.parameters():
                p.add_(torch.linspace(-0.4, 0.4, p.numel()).view_as(p))
    model = unmask.MaskedDiffusion(
        network, curve, units, masking=masking, allowed=ALLOWED, links=(PARTNER, GROUP)
    )
    return model.double().eval()


class Perfect(nn.Module):
    """p(value at a place | what is revealed) of a table of probabilities, by enumeration."""

    uses_time = False

    def __init__(self, rows, p):
        super().__init__()
        self.rows, self.p = rows, p

    def forward(self, z, valid=None):
        mask = 7
        fits = ((z[:, None] == mask) | (z[:, None] == self.rows)).all(-1)  # (B, n)
        weight = fits * self.p
        of_values = nn.functional.one_hot(self.rows, 7).double()  # (n, S, V)
        joint = torch.einsum("bn,nsv->bsv", weight, of_values)
        return (joint / joint.sum(-1, keepdim=True)).log()


def perfect():
    schedule, units = unmask.schedules.Linear(), unmask.Subtokenizer(7)
    links = PARTNER, GROUP
    return unmask.MaskedDiffusion(Perfect(ROWS, P), schedule, units, allowed=ALLOWED, links=links)


@pytest.mark.parametrize("dials", DIALS.values(), ids=list(DIALS))
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_bound_of_steps_holds_for_their_exact_law(dials, steps):
    """One step reveals all places at once, so its bound is the law's own -log p; more: a bound.  No
    row contradicts itself, whatever the network says."""
    model = random_model(**dials)
    grid = time_grid(steps, "uniform")
    law = exact_law(model, grid, 3)
    of_rows = law[tuple(ROWS.T)]
    assert float(of_rows.sum()) == pytest.approx(1, abs=1e-9)
    nats = exact_nelbo(model, ROWS, steps=steps).detach()
    if steps == 1:
        assert torch.allclose(nats, -of_rows.log(), atol=1e-6)
    assert (nats > -of_rows.log() - 1e-6).all()
    assert float((-nats).exp().sum()) < 1 + 1e-6


@torch.no_grad()  # the graph of 500 steps takes a gigabyte
@pytest.mark.parametrize("dials", DIALS.values(), ids=list(DIALS))
def test_the_bound_in_continuous_time(dials):
    model = random_model(**dials)
    nats = exact_nelbo(model, ROWS)
    assert float((-nats).exp().sum()) < 1 + 1e-6
    if not model.uses_time:
        fine = exact_nelbo(model, ROWS, steps=500)
        assert torch.allclose(nats, fine, rtol=1e-3)
        of_rows = exact_law(model, None, 3)[tuple(ROWS.T)]
        assert float(of_rows.sum()) == pytest.approx(1, abs=1e-9)
        assert (nats > -of_rows.log() - 1e-9).all()


@torch.no_grad()
@pytest.mark.parametrize("role", [UNKNOWN, ABSENT, GIVEN])
@pytest.mark.parametrize("dials", ["plain", "digits"])
def test_what_is_linked_to_a_place_that_is_not_scored_has_a_bound_in_steps(dials, role):
    """Nothing of the first of two linked places is revealed, so nothing is conditioned on it; in
    many steps the bound is that of continuous time."""
    model = random_model(**DIALS[dials])
    roles = torch.tensor([SCORED, role, SCORED], dtype=torch.int8).expand(len(ROWS), -1)
    x = ROWS
    if role != GIVEN:
        x = torch.where(roles == SCORED, x, 0)  # a placeholder, which no arm of the place has
    whole = exact_nelbo(model, x, role=roles)
    assert torch.allclose(exact_nelbo(model, x, steps=400, role=roles), whole, rtol=2e-3)


@torch.no_grad()
@pytest.mark.parametrize("dials", DIALS.values(), ids=list(DIALS))
@pytest.mark.parametrize("steps", [None, 3])
def test_estimates_against_enumeration(dials, steps):
    model = random_model(**dials)
    exact = float(exact_nelbo(model, ROWS, steps=steps).mean())
    found = estimate_nelbo(model, [ROWS.repeat(300, 1)], repeats=8, steps=steps)
    assert abs(found.mean - exact) < 5 * found.noise < 0.2 * exact


@pytest.mark.parametrize("name", ["plain", "digits", "one curve per value", "one curve per digit"])
def test_samples_have_the_exact_law(name):
    model, n, generator = random_model(**DIALS[name]), 20_000, torch.Generator().manual_seed(0)
    for steps in (1, 2):
        drawn = unmask.sample(
            model, num=n, length=3, steps=steps, grid="uniform", generator=generator
        )
        compare(drawn, exact_law(model, time_grid(steps, "uniform"), 3), n)
    if not model.uses_time:
        drawn = unmask.sample(model, num=n, length=3, sampler="first_hitting", generator=generator)
        compare(drawn, exact_law(model, None, 3), n)


def compare(drawn, law, n):
    of_rows = law[tuple(ROWS.T)]
    counts = (drawn[:, None] == ROWS).all(-1).sum(0)
    assert int(counts.sum()) == n  # no row contradicts itself
    error = (of_rows * (1 - of_rows) / n).sqrt()
    assert ((counts / n - of_rows).abs() < 4.5 * error + 1e-9).all()


def test_orders_know_the_links():
    model = random_model()
    ensemble, single = estimate_orders(model, [ROWS.repeat(200, 1)], orders=6)
    exact = float(exact_nelbo(model, ROWS).mean().detach())
    assert abs(single.mean - exact) < 5 * single.noise and ensemble.mean < single.mean


def test_a_revealed_place_makes_its_partner_certain():
    model, mask = random_model(), 7
    z = torch.tensor([[A, MISSING, mask], [A, mask, NONE], [A, mask, POSITIVE], [A, PRESENT, mask]])
    p = model.predict(z).exp().detach()
    assert p[0, 2, NONE] == 1 and p[1, 1, MISSING] == 1 and p[2, 1, PRESENT] == 1
    assert p[3, 2, NONE] == 0 and float(p[3, 2, [NEGATIVE, POSITIVE]].sum()) == pytest.approx(1)
    assert (
        exact_nelbo(model, ROWS[2:3], role=torch.tensor([[GIVEN, GIVEN, HOLE]]).to(torch.int8)) == 0
    )


def test_the_four_states_of_a_cell_by_enumeration():
    """A value; missing; a value that is not known; nothing known: P(arm = A) of a perfect denoiser
    and of every sampler, with one hole and with two."""
    model = perfect()
    hidden = {"value": (HOLE, GIVEN, GIVEN), "missing": (HOLE, GIVEN, GIVEN)}
    hidden |= {"not known": (HOLE, GIVEN, UNKNOWN), "nothing": (HOLE, UNKNOWN, UNKNOWN)}
    lab = {"value": (PRESENT, POSITIVE), "missing": (MISSING, NONE)}
    examples = {
        name: Partial(
            torch.tensor([0, *lab.get(name, (PRESENT, 0))]).numpy(),
            torch.tensor(role, dtype=torch.int8).numpy(),
        )
        for name, role in hidden.items()
    }
    expected = {"value": 0.95, "missing": 0.05, "not known": 0.95, "nothing": 0.5}
    laws = Filler(model).laws(list(examples.values()))
    for name, (_, position, law) in zip(examples, laws, strict=True):
        assert position == 0 and law[A] == pytest.approx(expected[name])
    # both are holes: the arm is drawn first or last, and comes out right either way
    both = Partial(
        examples["not known"].ids, torch.tensor([HOLE, GIVEN, HOLE]).to(torch.int8).numpy()
    )
    filled = Filler(model, sampler="first_hitting", batch_size=4000).fill([both], num=4000)[0]
    arms = sum(one.ids[0] == A for one in filled) / 4000
    assert abs(arms - 0.95) < 4 * (0.95 * 0.05 / 4000) ** 0.5
    assert {int(one.ids[2]) for one in filled} == {NEGATIVE, POSITIVE}


def test_leaving_missing_out_of_an_alphabet_is_not_the_same():
    """Two holes of a perfect denoiser, one drawn from an alphabet without `none`: an arm that is
    drawn first does not know that there will be a value.  0.72, where 0.95 is right."""
    rows, p, schedule = ROWS[:, [0, 2]], P, unmask.schedules.Linear()
    without = ALLOWED[[0, 2]].clone()
    without[1, NONE] = False
    units = unmask.Subtokenizer(7)
    naive = unmask.MaskedDiffusion(Perfect(rows, p), schedule, units, allowed=without)
    assert float(exact_law(naive, None, 2)[A].sum()) == pytest.approx((0.5 + 0.95) / 2)
    # that there is a value, given: of the states that the chain can reach then, by hand
    z = torch.tensor([[7, PRESENT, 7], [7, PRESENT, POSITIVE], [A, PRESENT, 7]])
    said = perfect().predict(z).exp()
    assert said[:2, 0, A].tolist() == pytest.approx([0.95, 0.95])
    assert float(said[2, 2, POSITIVE]) == pytest.approx(0.3)


def test_a_perfect_denoiser_pays_the_entropy_in_every_order():
    model = perfect()
    entropy = float(-(P * P.log()).sum())
    assert float((P * exact_nelbo(model, ROWS)).sum()) == pytest.approx(entropy)
    drawn = unmask.sample(
        model, num=6000, length=3, steps=8, generator=torch.Generator().manual_seed(1)
    )
    compare_shares = (drawn[:, None] == ROWS).all(-1).double().mean(0)
    assert float(compare_shares.sum()) == 1  # whatever the steps


def test_links_are_saved_and_what_contradicts_them_is_refused(tmp_path):
    model = random_model()
    model.save_pretrained(tmp_path / "m")
    again = unmask.MaskedDiffusion.from_pretrained(tmp_path / "m")
    assert torch.equal(again.partner, PARTNER) and torch.equal(again.group, GROUP)
    wrong = torch.tensor([[A, MISSING, POSITIVE]])
    with pytest.raises(ValueError, match="value 3 at position 1 contradicts value 5"):
        model.nelbo(wrong)
    with pytest.raises(ValueError, match="contradicts"):
        next(first_hitting(model, wrong.masked_fill(wrong == A, 7)))
    with pytest.raises(ValueError, match="give the groups of open_groups"):
        model.log_probs(torch.zeros(1, 7), torch.tensor([[7]]), torch.tensor([1]))
    units = unmask.Subtokenizer(7)
    for links, said in (
        ((torch.tensor([-1, 2, -1]), GROUP), "go both ways"),
        ((PARTNER, torch.tensor([0, 0, 0, 1, 0, 0, 2])), "a value allowed at position 1 has none"),
        ((PARTNER[:2], GROUP), "must be of shapes"),
    ):
        with pytest.raises(ValueError, match=said):
            unmask.MaskedDiffusion(
                model.backbone, model.schedule, units, allowed=ALLOWED, links=links
            )
    with pytest.raises(ValueError, match="give allowed, too"):
        unmask.MaskedDiffusion(model.backbone, model.schedule, units, links=(PARTNER, GROUP))


def test_the_loss_has_a_gradient():
    model = random_model()
    terms = model(ROWS.repeat(8, 1), generator=torch.Generator().manual_seed(0))
    terms.loss.backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
