"""What the reference implementations of MD4, GenMD4, MDLM and MDM-Prime compute on fixed inputs,
reproduced by this package.

The files hold only figures: inputs (data, logits, times, uniforms) and what the references' own
code made of them.  64-bit figures are compared at 1e-9 relative, what is left after cancellation in
the references, whose schedules are formed as differences. MDLM and MDM-Prime exist in 32 bits only:
TOLERANCE_32 times the condition number of what they compute, stated where it is not 1.

The references add an epsilon to their schedules and ours has none.  It is undone by an identity,
written where it is used.
"""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

import unmask
from unmask import diffusion, masks, schedules, subtokens
from unmask.masks import Draw

FOLDER = Path(__file__).parent / "golden"
EPS = 1e-4  # MD4 and GenMD4
EPS_MDLM = 1e-3
TOLERANCE_32 = 4e-6  # 32 ulp: a log-softmax and a weight in 32 bits


def golden(name):
    with np.load(FOLDER / f"{name}.npz") as file:
        return {
            key: torch.from_numpy(file[key]) for key in file.files if file[key].dtype.kind in "if"
        }


MD4, GENMD4, MDLM, PRIME = (golden(name) for name in ("md4_f64", "genmd4_f64", "mdlm", "prime"))
SCHEDULES = {
    "linear": schedules.Linear,
    "cosine": schedules.Cosine,
    "poly0.5": lambda: schedules.Polynomial(0.5),
    "poly1": lambda: schedules.Polynomial(1.0),
    "poly2": lambda: schedules.Polynomial(2.0),
}


def same(ours, reference, rtol=1e-9, atol=0.0):
    torch.testing.assert_close(ours.double(), reference.double(), rtol=rtol, atol=atol)


class Fixed(torch.nn.Module):
    """A network whose logits are given, one table for each call."""

    def __init__(self, *logits):
        super().__init__()
        self.uses_time, self.logits_of_call, self.calls = True, logits, 0
        # asks for t in 64 bits
        self.anchor = torch.nn.Parameter(torch.zeros((), dtype=torch.float64), requires_grad=False)

    def forward(self, z, t=None, valid=None):
        logits = self.logits_of_call[self.calls % len(self.logits_of_call)]
        self.calls += 1
        return logits


def model_of(schedule, vocab_size, *logits, digits=1, **kw):
    return unmask.MaskedDiffusion(
        Fixed(*logits), schedule, unmask.Subtokenizer(vocab_size, digits), **kw
    )


# ---------------------------------------------------------------- MD4


def md4_masked(schedule, t):
    """Theirs: alpha = (1 - 2 eps) alpha_ours + eps, hence 1 - alpha = eps + (1 - 2 eps) (1 -
    alpha_ours)."""
    return EPS + (1 - 2 * EPS) * schedule.masked(t)[..., 0]


def md4_rate(schedule, t):
    """Their (-alpha') / (1 - alpha), or (alpha_s - alpha_t) / (1 - alpha_t), is ours times this:
    the numerator is scaled by 1 - 2 eps, and the denominators are as in `md4_masked`."""
    return (1 - 2 * EPS) * schedule.masked(t)[..., 0] / md4_masked(schedule, t)


def md4_mask(schedule, t, u):
    """They unmask where u < alpha."""
    return u >= 1 - md4_masked(schedule, t)[:, None]


@pytest.mark.parametrize("name", SCHEDULES)
def test_md4_schedule(name):
    schedule, t = SCHEDULES[name](), MD4["in/tgrid"]
    same((1 - 2 * EPS) * schedule.alpha(t)[..., 0] + EPS, MD4[f"sched/{name}/alpha"])
    same(md4_masked(schedule, t), 1 - MD4[f"sched/{name}/alpha"])
    t = t[1:]  # at t = 0 both are 0 times infinity
    same(
        -schedule.weight(t)[..., 0] * md4_rate(schedule, t),
        MD4[f"sched/{name}/dgamma_times_alpha"][1:],
        atol=1e-15,
    )
    slope = -(1 - 2 * EPS) * schedule.weight(t)[..., 0] * schedule.masked(t)[..., 0]
    same(slope, MD4[f"sched/{name}/dalpha"][1:], atol=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
def test_md4_forward_process(name):
    model = model_of(SCHEDULES[name](), 7)
    z = model.corrupt(MD4["in/x0"], md4_mask(model.schedule, MD4["in/t"], MD4["in/u"]))
    assert torch.equal(z, MD4[f"fwd/{name}/zt"].long())


@pytest.mark.parametrize("name", SCHEDULES)
def test_md4_continuous_time_loss_and_gradient(name):
    logits = MD4["in/logits"].clone().requires_grad_()
    model, t = model_of(SCHEDULES[name](), 7, logits), MD4["in/t"]
    x = MD4["in/x0"].long()
    scale = model.schedule.weight(t)[:, 0] * md4_rate(model.schedule, t)
    draw = Draw(t, md4_mask(model.schedule, t, MD4["in/u"]), scale)
    total, each = model.score(model.clean(x), draw)
    same(each, MD4[f"loss_ct/{name}/loss_diff"])
    total.backward()
    same(logits.grad, MD4[f"loss_ct/{name}/grad_logits_of_sum"], atol=1e-13)


@pytest.mark.parametrize("steps", [10, 100, 1000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_md4_discrete_time_loss(name, steps):
    model = model_of(SCHEDULES[name](), 7, MD4["in/logits"])
    x, t = MD4["in/x0"].long(), (torch.floor(MD4["in/t"] * steps) + 1) / steps
    same(t, MD4[f"loss_dt/{name}/T{steps}/t_used"])
    masked = md4_mask(model.schedule, t, MD4["in/u"])
    assert torch.equal(model.corrupt(x, masked), MD4[f"loss_dt/{name}/T{steps}/zt"].long())
    times = (t, (torch.floor(MD4["in/t"] * steps)) / steps)
    # expm1(gamma_t - gamma_s) alpha_s = -(alpha_s - alpha_t) / (1 - alpha_t): their reveal
    # probability, `md4_rate` times ours
    scale = steps * md4_rate(model.schedule, t)
    same(
        model.score(model.clean(x), Draw(t, masked, scale, times))[1],
        MD4[f"loss_dt/{name}/T{steps}/loss_diff"],
    )


@pytest.mark.parametrize("steps", [None, 1000])
@pytest.mark.parametrize("name", SCHEDULES)
def test_md4_whole_loss(name, steps):
    """Continuous and discrete time, times stratified over the batch, plus their reconstruction
    term, which ours does not need.

    Their times, hence their schedule, are in 32 bits here: 2^-24 / t, and in discrete time a
    difference of two values of alpha or gamma of order 1 that is multiplied by T: 2^-23 T.
    """
    model, x = model_of(SCHEDULES[name](), 7, MD4["in/logits"]), MD4["in/x0"].long()
    t = (MD4["in/t0"] + torch.arange(4) / 4) % 1
    times = (
        None
        if steps is None
        else ((torch.floor(t * steps) + 1) / steps, torch.floor(t * steps) / steps)
    )
    t = t if times is None else times[0]
    scale = (model.schedule.weight(t)[:, 0] if times is None else steps) * md4_rate(
        model.schedule, t
    )
    draw = Draw(t, md4_mask(model.schedule, t, MD4["in/u"]), scale, times)
    bits = model.score(model.clean(x), draw)[1].mean() / 12 / math.log(2)
    key = f"call_{'ct' if steps is None else 'dt1000'}/{name}"
    tolerance = 2.0**-24 / float(t.min()) if steps is None else 2.0**-23 * steps
    same(bits, MD4[f"{key}/loss_diff_bits_per_token"], rtol=tolerance)
    left_out = EPS * math.log2(7)  # 1 - alpha(0) = eps, times ln V
    same(bits + left_out, MD4[f"{key}/loss_bits_per_token"], rtol=tolerance)


@pytest.mark.parametrize("kind", ["uniform", "cosine"])
@pytest.mark.parametrize("steps", [8, 64])
@pytest.mark.parametrize("name", SCHEDULES)
def test_md4_reverse_step(name, steps, kind):
    model, z = model_of(SCHEDULES[name](), 7, MD4["in/logits"]), MD4["in/zt_reverse"].long()
    ts = unmask.sampling.time_grid(steps, kind)
    for i in (0, 1, steps // 2, steps - 1):
        key = f"reverse/{name}/{kind}/T{steps}/i{i}"
        t, s = MD4[f"{key}/t"], MD4[f"{key}/s"]
        same(ts[i], t, rtol=1e-14)
        # their last time is the cosine of a rounded pi/2, 6e-17
        same(ts[i + 1], s, rtol=1e-14, atol=1e-16)
        reveal = model.schedule.reveal(t, s) * md4_rate(model.schedule, t)
        mu = model.predict(z).exp()
        ours = torch.cat([mu * reveal, (mu * (1 - reveal)).sum(-1, keepdim=True)], -1)
        masked = z == 7
        same(ours[masked], MD4[f"{key}/probs"][masked], atol=1e-14)


# ---------------------------------------------------------------- GenMD4


def learned(power, low=0.01, high=50.0):
    """A learned schedule with these powers, to rounding in 64 bits."""
    schedule = schedules.LearnedPolynomial(len(power), bounds=(low, high)).double()
    share = (power / low).log() / math.log(high / low)
    with torch.no_grad():
        schedule.raw.copy_(share.logit())
    same(schedule.power.detach(), power, rtol=1e-13)
    return schedule


def in_w(schedule, gradient, w):
    """The gradient in their parameter, power = softplus(w), from ours in `raw`: both by the chain
    rule through the power."""
    slope = torch.autograd.grad(schedule.power.sum(), schedule.raw)[0]
    return gradient / slope * torch.sigmoid(w)


def genmd4_mask(schedule, t, u, y):
    """They unmask where u < alpha = 1 - (1 - eps) t^w."""
    return u >= 1 - (1 - EPS) * masks.at(schedule.masked(t), y)


def test_genmd4_schedule():
    schedule, t = learned(GENMD4["sched/power"]), GENMD4["in/tgrid"]
    same(torch.nn.functional.softplus(GENMD4["in/w"]), schedule.power)
    same(1 - (1 - EPS) * schedule.masked(t), GENMD4["sched/alpha"])
    same(-schedule.weight(t[1:]), GENMD4["sched/dgamma_times_alpha"][1:])
    same(-(1 - EPS) * schedule.weight(t[1:]) * schedule.masked(t[1:]), GENMD4["sched/dalpha"][1:])


@pytest.mark.parametrize("draw", ["1", "2"])
def test_genmd4_loss_and_gradients(draw):
    suffix = "" if draw == "1" else "2"
    logits = GENMD4[f"in/logits{suffix}"].clone().requires_grad_()
    schedule = learned(GENMD4["sched/power"])
    model, x, t = model_of(schedule, 7, logits), GENMD4["in/x0"].long(), GENMD4["in/t"]
    masked = genmd4_mask(schedule, t, GENMD4[f"in/u{suffix}"], x)
    assert torch.equal(model.corrupt(x, masked), GENMD4[f"fwd/zt_{draw}"].long())
    total, each = model.score(model.clean(x), Draw(t, masked, 1 / t, log_t=t.log()))
    same(each, GENMD4[f"loss/loss_diff_{draw}"])
    total.backward()
    same(logits.grad, GENMD4[f"loss/grad_logits_of_loss_diff_{draw}_sum"], atol=1e-13)
    same(
        in_w(schedule, schedule.raw.grad, GENMD4["in/w"]),
        GENMD4[f"loss/grad_w_of_loss_diff_{draw}_sum"],
    )


def through_forward(monkeypatch, model, x, t, masked, u):
    """`model(x)` with these times, this first mask, and these uniforms for the second."""
    draw = Draw(t, masked, 1 / t, log_t=t.log())
    monkeypatch.setattr(model, "draw", lambda *a, **k: draw)
    monkeypatch.setattr(diffusion, "uniform", lambda *shape, **k: u)
    return model(x)


def missing_in_ratio(schedule, t, y, difference):
    """What eps changes in sum difference (log(1 - alpha) - log(alpha)), with 1 - alpha = (1 - eps)
    t^w where ours is t^w."""
    ours = masks.at(schedule.masked(t), y)
    theirs = (1 - EPS) * ours
    return (
        difference * (theirs.log() - ours.log() - torch.log1p(-theirs) + torch.log1p(-ours))
    ).sum(-1)


def test_genmd4_leave_one_out_surrogate(monkeypatch):
    """Value and gradient of the surrogate's score-function term, ours with a guess of 0: (L1 -
    L2)/2 (log q(z1) - log q(z2))."""
    monkeypatch.setattr(diffusion, "paid_in_the_other_half", no_guess)
    schedule, x, t = learned(GENMD4["sched/power"]), GENMD4["in/x0"].long(), GENMD4["in/t"]
    model = model_of(schedule, 7, GENMD4["in/logits"], GENMD4["in/logits2"])
    masks = [genmd4_mask(schedule, t, GENMD4[f"in/{u}"], x) for u in ("u", "u2")]
    # the second mask is score < t^w: 1 - u <= (1 - eps) t^w, up to ties
    terms = through_forward(monkeypatch, model, x, t, masks[0], (1 - GENMD4["in/u2"]) / (1 - EPS))
    losses = [GENMD4["loss/loss_diff_1"], GENMD4["loss/loss_diff_2"]]
    same(terms.nelbo, (losses[0] + losses[1]) / 2)
    missing = (
        (losses[0] - losses[1])
        / 2
        * missing_in_ratio(schedule, t, x, masks[0].double() - masks[1].double())
    )
    surrogate = terms.loss * x.numel() - (losses[0] + losses[1]).sum() / 2 + missing.sum()
    same(surrogate.detach(), GENMD4["rloo/value"].sum())
    total = in_w(
        schedule,
        torch.autograd.grad(terms.loss * x.numel() + missing.sum(), schedule.raw)[0],
        GENMD4["in/w"],
    )
    direct = (
        GENMD4["loss/grad_w_of_loss_diff_1_sum"] + GENMD4["loss/grad_w_of_loss_diff_2_sum"]
    ) / 2
    same(total - direct, GENMD4["rloo/grad_w_of_sum"])


def no_guess(pair, num_values):
    return torch.zeros(pair.y.shape, dtype=torch.float64)


def test_genmd4_whole_loss(monkeypatch):
    monkeypatch.setattr(diffusion, "paid_in_the_other_half", no_guess)
    logits = [GENMD4[f"in/logits{i}"].clone().requires_grad_() for i in ("", "2")]
    schedule, x, t = learned(GENMD4["sched/power"]), GENMD4["in/x0"].long(), GENMD4["call/t"]
    model = model_of(schedule, 7, *logits)
    masks = [genmd4_mask(schedule, t, GENMD4[f"in/{u}"], x) for u in ("u", "u2")]
    terms = through_forward(monkeypatch, model, x, t, masks[0], (1 - GENMD4["in/u2"]) / (1 - EPS))
    same(terms.nelbo.mean() / 12 / math.log(2), GENMD4["call/loss_diff_bits_per_token"])
    with torch.no_grad():
        each = [model.score(model.clean(x), Draw(t, m, 1 / t, log_t=t.log()))[1] for m in masks]
    missing = (
        (each[0] - each[1])
        / 2
        * missing_in_ratio(schedule, t, x, masks[0].double() - masks[1].double())
    ).sum()
    # their times start at t1 = 1e-3; what lies below is charged the cross-entropy of mu
    # proportional to 1 - alpha(t1)
    m = (1 - EPS) * schedule.masked(torch.tensor(1e-3, dtype=torch.float64))
    below = (-m * (m / m.sum()).log())[x].sum()
    same(below.detach(), GENMD4["recon/nats"].sum())
    bits = terms.loss / math.log(2) + (missing + below) / x.numel() / math.log(2)
    same(bits.detach(), GENMD4["call/loss_bits_per_token"])
    *inputs, raw = torch.autograd.grad(bits, [*logits, schedule.raw])
    for i, gradient in enumerate(inputs, 1):
        same(gradient, GENMD4[f"call/grad_logits{i}_of_loss_bits_per_token"], atol=1e-13)
    same(in_w(schedule, raw, GENMD4["in/w"]), GENMD4["call/grad_w_of_loss_bits_per_token"])


def test_genmd4_leave_one_out_gradient_is_the_exact_one(monkeypatch):
    """Over all 8 masks and all 64 pairs of masks: theirs with their eps, then ours, without,
    against ours enumerated."""
    w, x, t = GENMD4["exhaustive/w"], GENMD4["exhaustive/x0"].long(), GENMD4["exhaustive/t"]
    schedule = learned(torch.nn.functional.softplus(w))
    patterns = torch.cartesian_prod(*[torch.tensor([0, 1])] * 3)
    logits = GENMD4["exhaustive/logits_by_mask_pattern"].flatten(0, 2)  # (8, 3, 3)
    masked_at = masks.at(schedule.masked(t), x)

    def expected(masked_at):
        q = torch.where(patterns == 1, masked_at, 1 - masked_at).prod(-1)  # (8,)
        return q, sum(q[i] * scored(i) for i in range(8))

    def scored(i):
        model = model_of(schedule, 3, logits[i][None])
        return model.score(model.clean(x), draw(i))[0]

    def draw(i):
        return Draw(t, patterns[i][None] == 1, 1 / t, log_t=t.log())

    q, loss = expected((1 - EPS) * masked_at)
    same(loss.detach(), GENMD4["exhaustive/loss"])
    exact = in_w(schedule, torch.autograd.grad(loss, schedule.raw, retain_graph=True)[0], w)
    same(exact, GENMD4["exhaustive/grad_w_exact"])

    q_ours, loss_ours = expected(masked_at)
    exact_ours = torch.autograd.grad(loss_ours, schedule.raw, retain_graph=True)[0]
    losses = [scored(i).detach() for i in range(8)]
    theirs, ours = 0.0, 0.0
    for i in range(8):
        for j in range(8):
            model = model_of(schedule, 3, logits[i][None], logits[j][None])
            # uniform 0: masked, 1: not
            terms = through_forward(
                monkeypatch, model, x, t, patterns[i][None] == 1, (1.0 - patterns[j][None]).double()
            )
            surrogate = terms.loss * 3
            missing = (
                (losses[i] - losses[j])
                / 2
                * missing_in_ratio(schedule, t, x, (patterns[i] - patterns[j]).double()[None])
            )
            theirs = theirs + (q[i] * q[j]).detach() * (surrogate + missing.sum())
            ours = ours + (q_ours[i] * q_ours[j]).detach() * surrogate
    theirs = in_w(schedule, torch.autograd.grad(theirs, schedule.raw, retain_graph=True)[0], w)
    same(theirs, GENMD4["exhaustive/grad_w_rloo_expectation"])
    same(torch.autograd.grad(ours, schedule.raw)[0], exact_ours)


# ---------------------------------------------------------------- MDLM (32 bits)


def case_32(reference, case, vocab_size, digits, **kw):
    """Their inputs, and a model with their logits, of which ours has no column for the mask."""
    get = {
        key.removeprefix(f"{case}/"): value
        for key, value in reference.items()
        if key.startswith(f"{case}/")
    }
    logits = get["logits"][..., :vocab_size].double().requires_grad_()
    model = model_of(schedules.Linear(), vocab_size, logits, digits=digits, **kw)
    return get, logits, model


def test_mdlm_loglinear_noise():
    """sigma = -log(1 - (1 - eps) t): their probability of being masked, 1 - exp(-sigma), is (1 -
    eps) times the linear schedule's, and eps cancels in the weight, dsigma / expm1(sigma) = 1/t."""
    linear, t = schedules.Linear(), MDLM["noise/t"].double()
    sigma, rate = (MDLM[f"noise/loglinear/{key}"].double() for key in ("total", "rate"))
    same(
        -torch.expm1(-sigma), (1 - EPS_MDLM) * linear.masked(t)[:, 0], rtol=TOLERANCE_32, atol=1e-30
    )
    inside = (t > 0) & (t < 1)
    # their rate is 1 / (1 - (1 - eps) t) in 32 bits: condition number t / (1 - t)
    tolerance = TOLERANCE_32 * (1 + 1 / (1 - t[inside]))
    assert bool(
        ((rate / torch.expm1(sigma))[inside] / linear.weight(t[inside])[:, 0] - 1)
        .abs()
        .lt(tolerance)
        .all()
    )


@pytest.mark.parametrize("case", ["subs", "subs_is", "subs_cov", "subs_T1000"])
def test_mdlm_mask_and_substitution_parametrization(case):
    get, _, model = case_32(MDLM, case, 30, 1)
    t = get["t"]
    masked = get["xt"] == 30
    if case != "subs_cov":  # there, another variable than t is drawn
        chance = (1 - EPS_MDLM) * model.schedule.masked(t)
        # theirs is 1 - exp(-sigma)
        same(chance[:, 0], get["move_chance"], rtol=TOLERANCE_32, atol=2.0**-24)
        assert torch.equal(masked, get["u_mask"] < chance)  # they mask where u < 1 - alpha
    z = model.corrupt(get["x0"], masked)
    assert torch.equal(z, get["xt"])
    logp, theirs = model.predict(z), get["log_p_x0"]
    assert bool((theirs[..., 30] < -1e5).all())  # their minus infinity is -1e6
    revealed = (z != 30)[..., None].expand_as(logp)
    assert torch.equal(logp[revealed] == 0, theirs[..., :30][revealed] == 0)
    same(logp[~revealed], theirs[..., :30][~revealed], rtol=TOLERANCE_32, atol=1e-6)


@pytest.mark.parametrize("case", ["subs", "subs_is", "subs_cov", "subs_T1000"])
def test_mdlm_loss_and_gradient(case):
    get, logits, model = case_32(MDLM, case, 30, 1)
    x, valid, t = get["x0"], get["attention_mask"] > 0, get["t"].double()
    steps = 1000 if case == "subs_T1000" else None
    masked = get["xt"] == 30
    if case in ("subs_is", "subs_cov"):
        # log(1 - alpha) is drawn uniformly: every draw has weight -log(1 - exp(-sigma(0))),
        # sigma(0) = eps
        times, scale = None, torch.full_like(t, -math.log(-math.expm1(-EPS_MDLM)))
    elif steps is None:
        times, scale = None, model.schedule.weight(t)[:, 0]
    else:  # interval i of T: their t is rounded to (i + 1) / T after the mask was drawn
        i = torch.floor(t * steps)
        times, scale = ((i + 1) / steps, i / steps), torch.full_like(t, steps)
    # 32 bits: their weight has condition number 1 / (1 - t) in sigma, see above
    tolerance = TOLERANCE_32 * float(1 + 1 / (1 - t.max()))
    for b in range(4):
        for s in range(8):
            only = torch.zeros_like(masked)
            only[b, s] = masked[b, s]
            if bool(only.any()):
                nats = model.score(model.clean(x), Draw(t, only, scale, times))[1][b]
                same(nats, get["loss_per_token"][b, s], rtol=tolerance)
            else:
                assert float(get["loss_per_token"][b, s]) == 0
    total, _ = model.score(model.clean(x, valid), Draw(t, masked & valid, scale, times))
    same((total / valid.sum()).detach(), get["token_nll"], rtol=tolerance)
    (gradient,) = torch.autograd.grad(total / valid.sum(), logits)
    assert float(get["grad_logits_of_token_nll"][..., 30].abs().max()) == 0
    same(
        gradient,
        get["grad_logits_of_token_nll"][..., :30],
        rtol=tolerance,
        atol=1e-6 * float(scale.max()),
    )


@pytest.mark.parametrize("cached", ["ddpm", "cache"])
@pytest.mark.parametrize("case", ["subs", "subs_T1000"])
def test_mdlm_reverse_step(case, cached):
    get, _, model = case_32(MDLM, case, 30, 1)
    mu, masked = model.predict(get["xt"]).exp(), get["xt"] == 30
    for i in range(3):
        t, dt = get[f"step{i}/t_dt"]
        reveal = model.schedule.reveal(t, t - dt)
        ours = torch.cat([mu * reveal, (mu * (1 - reveal)).sum(-1, keepdim=True)], -1)
        q = get[f"step{i}/{cached}_q_xs"].double()
        # theirs are weights that add up to 1 - alpha_t; its eps cancels in the ratio
        same(ours[masked], (q / q.sum(-1, keepdim=True))[masked], rtol=10 * TOLERANCE_32, atol=1e-6)


# ---------------------------------------------------------------- MDM-Prime (32 bits)


@pytest.mark.parametrize("key", sorted({k.split("/")[1] for k in PRIME if k.startswith("table/V")}))
def test_prime_base_and_codes(key):
    vocab_size, digits = (int(part) for part in key[1:].split("_l"))
    subtokenizer = unmask.Subtokenizer(vocab_size, digits)
    assert subtokenizer.base == int(PRIME[f"table/{key}/base"])
    codes = subtokenizer.encode(torch.arange(vocab_size)[None]).view(vocab_size, digits)
    assert torch.equal(codes, PRIME[f"table/{key}/codes"].long())


def test_prime_bases_that_a_floating_point_root_gets_wrong():
    for vocab_size, digits, theirs in PRIME["base_formula_wrong_V_l_b"].tolist():
        base = unmask.Subtokenizer(vocab_size, digits).base
        assert base == subtokens.least_base(vocab_size, digits) == theirs - 1
        assert base**digits >= vocab_size > (base - 1) ** digits


@pytest.mark.parametrize(
    "key", sorted({k.split("/")[1] for k in PRIME if k.startswith("marginal/")})
)
def test_prime_carry_over(key):
    vocab_size, digits = (int(part) for part in key[1:].split("_l"))
    get, _, model = case_32(PRIME, f"marginal/{key}", vocab_size, digits)
    assert model.mask_id == int(get["base"])
    ours, theirs = model.predict(get["y"]), get["log_probs"]
    assert torch.equal(ours.isneginf(), theirs.isneginf())
    finite = theirs.isfinite()
    same(ours[finite], theirs[finite], rtol=TOLERANCE_32, atol=2e-6)


def prime_draw(get, model):
    """Their draw: sub-tokens are masked where u < (1 - eps) t."""
    masked = get["u_mask"] < (1 - EPS_MDLM) * model.schedule.masked(get["t"])
    assert torch.equal(model.corrupt(get["x0"], masked), get["xt"])
    t = get["t"].double()
    return Draw(t, masked, model.schedule.weight(t)[:, 0])


def per_token(model, x, draw, joint):
    """(B, S): `score` one token at a time."""
    length, out = model.subtokenizer.length, []
    batch = model.clean(x)
    z = model.corrupt(x, draw.masked)
    for s in range(x.shape[1]):
        # the other tokens are not scored, and the network's logits are fixed whatever their state
        only = torch.zeros_like(draw.masked).unflatten(1, (-1, length))
        only[:, s] = draw.masked.unflatten(1, (-1, length))[:, s]
        only = only.flatten(1)
        out.append(model.score(batch, draw._replace(masked=only), joint=joint)[1])
        assert torch.equal(
            model.corrupt(x, only).unflatten(1, (-1, length))[:, s],
            z.unflatten(1, (-1, length))[:, s],
        )
    return torch.stack(out, 1)


@pytest.mark.parametrize("key,vocab_size,digits", [("V30_l2_co1", 30, 2), ("V27_l3_co1", 27, 3)])
def test_prime_loss_is_our_joint_objective(key, vocab_size, digits):
    get, logits, model = case_32(PRIME, f"loss/{key}", vocab_size, digits, objective="joint")
    draw, x = prime_draw(get, model), get["x0"]
    tolerance = TOLERANCE_32 * float(1 + 1 / (1 - draw.t.max()))
    same(per_token(model, x, draw, True).detach(), get["loss_per_token"], rtol=tolerance, atol=1e-5)
    valid = get["attention_mask"] > 0
    scored = draw._replace(masked=draw.masked & valid.repeat_interleave(digits, 1))
    total, _ = model.score(model.clean(x, valid), scored, joint=True)
    same((total / valid.sum()).detach(), get["token_nll"], rtol=tolerance)
    (gradient,) = torch.autograd.grad(total / valid.sum(), logits)
    same(gradient, get["grad_logits_of_token_nll"], rtol=tolerance, atol=2e-6)


@pytest.mark.parametrize("key,vocab_size,digits", [("V30_l2_co1", 30, 2), ("V27_l3_co1", 27, 3)])
def test_prime_loss_is_the_valid_bound_only_where_one_digit_is_masked(key, vocab_size, digits):
    get, _, model = case_32(PRIME, f"loss/{key}", vocab_size, digits)
    draw, x = prime_draw(get, model), get["x0"]
    ours, theirs = per_token(model, x, draw, False).detach(), get["loss_per_token"].double()
    count = draw.masked.unflatten(1, (-1, digits)).sum(-1)
    assert {1, 2} <= set(count.unique().tolist())
    assert float(ours[count == 0].abs().max()) == 0  # a revealed token is charged nothing
    same(
        ours[count == 1],
        theirs[count == 1],
        rtol=TOLERANCE_32 * float(1 + 1 / (1 - draw.t.max())),
        atol=1e-5,
    )
    assert bool(((ours - theirs)[count > 1].abs() > 1e-3).all())
    # and what each pays: the sum of the marginal cross-entropies, here plainly
    mu = model.predict(get["xt"]).exp()
    codes = model.subtokenizer.encode(torch.arange(vocab_size)[None]).view(vocab_size, digits)
    y, masked = (v.unflatten(1, (-1, digits)) for v in (model.subtokenizer.encode(x), draw.masked))
    agrees = codes == y[:, :, None]  # (B, S, V, L)
    marginal = -torch.where(masked, (mu[..., None] * agrees).sum(2), 1.0).log().sum(-1)
    same(ours, (marginal * draw.scale[:, None]).detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("key,vocab_size,digits", [("V30_l2_co1", 30, 2), ("V27_l3_co1", 27, 3)])
def test_prime_reverse_step(key, vocab_size, digits):
    """One token is drawn, and its digits revealed by their coins."""
    get, _, model = case_32(PRIME, f"loss/{key}", vocab_size, digits)
    mu, masked = model.predict(get["xt"]).exp(), get["xt"] == model.mask_id
    drawn = model.subtokenizer.encode(mu.argmax(-1))
    for i in range(3):
        t, dt = get[f"step{i}/t_dt"]
        same(mu.detach(), get[f"step{i}/p_x0"], rtol=10 * TOLERANCE_32, atol=1e-6)
        reveal = model.schedule.reveal(t, t - dt)[0]
        ours = torch.nn.functional.one_hot(drawn, model.mask_id + 1) * reveal
        ours[..., -1] = 1 - reveal
        q = get[f"step{i}/q_xs"].double()
        same(ours[masked], (q / q.sum(-1, keepdim=True))[masked], rtol=10 * TOLERANCE_32, atol=1e-6)
