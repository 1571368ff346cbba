"""Roles of positions, by enumeration: what is absent, given, scored and unknown.

The oracle calls the network itself: with one curve and a network that ignores t, the bound is the
mean over all orders of the scored units of -log p(x | order), each unit given what the roles and
the order show.
"""

import itertools
import math

import pytest
import torch
from smooth import smooth_in_t
from torch import nn

import unmask
from unmask import schedules
from unmask.audit import exact_nelbo
from unmask.batch import inputs
from unmask.likelihood import conditional_nats, estimate_nelbo, joint_loss
from unmask.roles import ABSENT, GIVEN, SCORED, UNKNOWN
from unmask.sampling import sample
from unmask.subtokens import Subtokenizer

SHOWN = {ABSENT: "none", GIVEN: "given", SCORED: "scored", UNKNOWN: "unknown"}
ROLES = [
    pytest.param(roles, id=" ".join(SHOWN[role] for role in roles))
    for roles in (
        (SCORED, SCORED, SCORED, ABSENT),
        (GIVEN, SCORED, SCORED, SCORED),
        (SCORED, UNKNOWN, SCORED, SCORED),
        (GIVEN, SCORED, UNKNOWN, ABSENT),
        (GIVEN, UNKNOWN, GIVEN, ABSENT),
    )
]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def network_model(vocab_size=3, digits=1, time=False, schedule=None, seed=1):
    torch.manual_seed(seed)
    network = unmask.backbones.Transformer(
        vocab_size, dim=16, layers=1, heads=2, digits=digits, time=time
    )
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.5)
    smooth_in_t(network)
    units = Subtokenizer(vocab_size, digits)
    schedule = schedules.Linear() if schedule is None else schedule
    return unmask.MaskedDiffusion(network, schedule, units).double().eval()


@torch.no_grad()
def by_orders(model, x, roles):
    """-log p(x | order), averaged over all orders of the scored units, from the network alone."""
    units = model.units()
    digits = units.digits(x[None])[0].unflatten(0, (-1, units.length))  # (S, l)
    spots = [(s, j) for s, role in enumerate(roles) if role == SCORED for j in range(units.length)]
    valid = torch.tensor([[role != ABSENT for role in roles]])
    found = []
    for order in itertools.permutations(spots):
        shown, nats = set(), 0.0
        for s, j in order:
            z = torch.full_like(digits, model.mask_id)
            for a, b in itertools.product(range(len(roles)), range(units.length)):
                if roles[a] == GIVEN or (a, b) in shown:
                    z[a, b] = digits[a, b]
            logp = model.predict(z.flatten()[None], valid=valid)[0, s]
            values = units.digits(torch.arange(units.vocab_size)[:, None])  # (V, l)
            nats -= float(logp[values[:, j] == digits[s, j]].logsumexp(0))
            shown.add((s, j))
        found.append(nats)
    return sum(found) / len(found)


@pytest.mark.parametrize("digits", [1, 2])
@pytest.mark.parametrize("roles", ROLES)
def test_the_bound_is_the_mean_over_orders_of_what_is_scored(roles, digits):
    model = network_model(4 if digits == 2 else 3, digits)
    if digits == 2:
        roles = roles[:3]
    x = torch.randint(model.subtokenizer.vocab_size, (2, len(roles)), generator=rng(3))
    role = torch.tensor(roles, dtype=torch.int8).expand(2, -1)
    exact = exact_nelbo(model, x, role=role).detach()
    for row in range(2):
        assert float(exact[row]) == pytest.approx(by_orders(model, x[row], roles), rel=1e-9)
    if SCORED not in roles:
        with pytest.raises(ValueError, match="none of them has a position that is scored"):
            estimate_nelbo(model, [{"x": x, "role": role}])
        return
    bound = estimate_nelbo(model, [{"x": x, "role": role}], repeats=256)
    # a single scored unit pays the same in every draw
    assert abs(bound.mean - float(exact.mean())) <= 6 * bound.noise + 1e-12
    assert bound.positions.tolist() == [roles.count(SCORED)] * 2


@pytest.mark.parametrize("roles", ROLES)
def test_what_is_hidden_is_never_looked_at(roles):
    """Other ids where nothing is seen, even ids that do not exist, change nothing at all."""
    model = network_model(time=True)
    x = torch.randint(3, (4, len(roles)), generator=rng(5))
    role = torch.tensor(roles, dtype=torch.int8).expand(4, -1)
    unseen = (role == ABSENT) | (role == UNKNOWN)
    one = model(x, role=role, generator=rng(7))
    other = model(torch.where(unseen, 99, x), role=role, generator=rng(7))
    assert torch.equal(one.nelbo, other.nelbo) and torch.equal(one.loss, other.loss)
    given = role == GIVEN
    if bool(given.any()) and SCORED in roles:
        changed = model(torch.where(given, (x + 1) % 3, x), role=role, generator=rng(7))
        assert not torch.equal(one.nelbo, changed.nelbo)  # what is given is looked at


def test_the_loss_is_a_mean_over_what_is_scored():
    model = network_model()
    x = torch.randint(3, (5, 6), generator=rng(2))
    role = torch.randint(4, (5, 6), generator=rng(4)).to(torch.int8)
    terms = model(x, role=role, generator=rng(6))
    assert float(terms.loss.detach()) == pytest.approx(
        float(terms.nelbo.sum()) / int((role == SCORED).sum()), rel=1e-9
    )
    nothing = torch.full_like(role, GIVEN)
    empty = model(x, role=nothing, generator=rng(6))
    assert float(empty.loss.detach()) == 0 and not empty.nelbo.any()


@pytest.mark.parametrize("steps", [None, 3])
@pytest.mark.parametrize("time", [False, True])
def test_a_conditional_bound_is_that_of_its_roles(time, steps):
    """Trained on, enumerated and scored as holes: one number; a network that looks at t is shown
    the time that fits, everywhere."""
    model = network_model(time=time)
    x = torch.randint(3, (3, 4), generator=rng(8))
    role = torch.tensor([[GIVEN, SCORED, UNKNOWN, SCORED]], dtype=torch.int8).expand(3, -1)
    exact = exact_nelbo(model, x, steps, role=role).detach()
    bound = estimate_nelbo(model, [{"x": x, "role": role}], repeats=512, steps=steps)
    assert abs(bound.mean - float(exact.mean())) < 6 * bound.noise
    if steps is None:
        nats, noise = conditional_nats(
            model, x, role == SCORED, unknown=role == UNKNOWN, repeats=512
        )
        assert bool(((nats - exact).abs() < 6 * noise).all())
        drawn = torch.stack([model(x, role=role, generator=rng(i)).nelbo for i in range(400)])
        error = drawn.std(0) / math.sqrt(400)
        assert bool(((drawn.mean(0) - exact).abs() < 6 * error).all())


@torch.no_grad()
def test_a_learned_schedule_takes_roles():
    schedule = schedules.LearnedPolynomial(3, 1.0)
    schedule.raw += torch.tensor([-0.5, 0.0, 0.7])
    model = network_model(time=True, schedule=schedule.double())
    x = torch.randint(3, (2, 4), generator=rng(9))
    role = torch.tensor([[GIVEN, SCORED, UNKNOWN, SCORED]], dtype=torch.int8).expand(2, -1)
    exact = exact_nelbo(model, x, role=role)
    bound = estimate_nelbo(model, [{"x": x, "role": role}], repeats=1024)
    assert abs(bound.mean - float(exact.mean())) < 6 * bound.noise


def test_the_sampler_that_starts_from_the_roles_has_a_law_within_the_bound():
    """-log of its law, by counting, lies below the bound; the law sums to 1 over what is scored."""
    model = network_model(vocab_size=2)
    role = torch.tensor([GIVEN, SCORED, UNKNOWN, SCORED], dtype=torch.int8)
    every = torch.tensor([[1, a, 0, b] for a in (0, 1) for b in (0, 1)])
    exact = exact_nelbo(model, every, role=role.expand(4, -1)).detach()
    assert float((-exact).exp().sum()) < 1  # a bound of a law that sums to 1
    count = 20_000
    z = torch.full((count, 4), model.mask_id)
    z[:, 0] = 1
    holes = (role == SCORED).expand(count, -1)
    drawn = sample(model, z=z, holes=holes, sampler="first_hitting", generator=rng(1))
    assert bool((drawn[:, 2] == -1).all()) and bool((drawn[:, 0] == 1).all())
    share = torch.bincount(2 * drawn[:, 1] + drawn[:, 3], minlength=4) / count
    assert bool((share > (-exact).exp() - 4 / math.sqrt(count)).all())


@pytest.mark.parametrize(
    "role,said",
    [
        (torch.zeros(1, 4), "role must be int8"),
        (torch.zeros(1, 3, dtype=torch.int8), "role must be int8"),
        (torch.full((1, 4), 4, dtype=torch.int8), "role 4 is none"),
        (torch.full((1, 4), -1, dtype=torch.int8), "role -1 is none"),
    ],
)
def test_roles_that_are_none(role, said):
    x = torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises(ValueError, match=said):
        network_model()(x, role=role)


def test_holes_must_be_said_and_may_lie_elsewhere():
    model, x = network_model(), torch.zeros(1, 4, dtype=torch.long)
    with pytest.raises((ValueError, AttributeError)):
        conditional_nats(model, x, None)
    with pytest.raises(ValueError, match="no example with a position"):
        joint_loss(model, [{"x": x, "role": torch.full_like(x, GIVEN, dtype=torch.int8)}])


def test_valid_is_the_form_for_two_roles():
    model, x = network_model(), torch.randint(3, (3, 4), generator=rng(1))
    valid = torch.arange(4) < torch.tensor([4, 2, 1])[:, None]
    role = torch.where(valid, SCORED, ABSENT).to(torch.int8)
    one = model(x, valid=valid, generator=rng(2))
    assert torch.equal(one.nelbo, model(x, role=role, generator=rng(2)).nelbo)
    with pytest.raises(ValueError, match="not both"):
        model(x, valid=valid, role=role)
    with pytest.raises(ValueError, match="cond, ends, group, role, valid"):
        inputs({"x": x, "mask": valid})
