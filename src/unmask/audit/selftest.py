"""Does this package report bounds?  Every objective and estimator with exact denoisers.

A continuous-time bound must agree with the entropy; a discrete-time one must not lie below it, must
agree with its enumeration and must fall to the entropy along nested grids; the loss of the
MDM-Prime paper must be found out.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from unmask.audit import SIGMAS, Floor, Posterior, copies, exact_nelbo, measure, tables
from unmask.audit.verdicts import Verdicts
from unmask.diffusion import MaskedDiffusion
from unmask.likelihood import path_nats
from unmask.schedules import Cosine, LearnedPolynomial, Schedule
from unmask.subtokens import Subtokenizer

REPEATS = 2048  # draws of each sequence
STEPS = 8  # of the discrete-time bounds: few enough to lie visibly above the entropy
EXACT = 1e-9  # nats: the rounding of an exact figure in 64 bits

Loss = Callable[[Posterior, Tensor], Tensor]


class Row(NamedTuple):
    """One estimator on the distribution where it is furthest off, in standard errors."""

    estimator: str
    distribution: str
    value: float  # nats
    stderr: float
    expected: float  # nats
    entropy: float  # nats
    kraft: float
    passed: bool
    note: str

    @property
    def z(self) -> float:
        return (self.value - self.expected) / math.hypot(self.stderr, EXACT)

    @property
    def verdict(self) -> str:
        return "pass" if self.passed else "FAIL"

    def _repr_html_(self) -> str:
        return Verdicts([self])._repr_html_()

    def __str__(self) -> str:
        off = f"{self.z:+6.1f} sigma"
        if self.stderr <= EXACT:
            off = f"{self.value - self.expected:+8.0e} exact"
        figures = (
            f"{self.value:8.4f} {self.stderr:7.4f} {self.expected:8.4f} {off:>14} "
            f"{self.entropy:8.4f} {self.kraft:6.3f}"
        )
        return f"{self.estimator:53} {figures}  {self.verdict}  {self.note}; {self.distribution}"


HEADER = (
    f"{'estimator':53} {'value':>8} {'error':>7} {'expected':>8} {'off by':>14} "
    f"{'entropy':>8} {'Kraft':>6}        verdict; distribution"
)


def run(seed: int = 0) -> Iterator[Row]:
    """The rows of the table; nats per sequence."""
    generator = torch.Generator().manual_seed(seed)

    def draw(steps: int | None = None, masking: str = "digit") -> Loss:
        def loss(denoiser: Posterior, x: Tensor) -> Tensor:
            return model_of(denoiser, masking=masking).nelbo(x, steps, generator=generator)

        return loss

    def training(denoiser: Posterior, x: Tensor) -> Tensor:
        nelbo = model_of(denoiser)(x, generator=generator).nelbo
        assert nelbo is not None
        return nelbo

    for name, drawn, digits, masking, schedule in KINDS:
        denoisers = [Posterior(table, schedule(table.subtokenizer)) for table in tables(digits)]
        yield agrees(f"{name}, {drawn}", denoisers, draw(masking=masking))
        if masking == "digit":
            yield agrees(f"{name}, the training step's own draw", denoisers, training)
        kernel = "discrete, joint kernel" if digits else "discrete"
        in_steps, enumerated = draw(STEPS, masking), exact(STEPS, masking)
        yield agrees(f"{name}, {kernel}, T = {STEPS}", denoisers, in_steps, enumerated)
        yield agrees(f"{name}, exact_nelbo", denoisers, exact(None, masking), repeats=1)
        yield falls(f"{name}, exact_nelbo, T = 4, 16, 64", denoisers, masking)
        if schedule is cosine:
            yield agrees(
                f"{name}, in order of margin", denoisers, along("margin", masking), repeats=1
            )
    for k in (2, 4):
        name = f'Prime, objective="joint", {k} digits'
        yield found_out(name, Posterior(copies(k)), joint(generator), k)
    denoisers = [Posterior(table) for table in tables()]
    yield agrees('Prime, objective="joint", masking="token"', denoisers, joint(generator, "token"))


def along(order: str, masking: str) -> Loss:
    """The exact likelihood of an order, which is p(x) of an exact denoiser, whatever the order."""

    def loss(denoiser: Posterior, x: Tensor) -> Tensor:
        model = model_of(denoiser, masking=masking)
        return path_nats(model, model.clean(x), order)[0].sum(1)

    return loss


def model_of(denoiser: Posterior, **how) -> MaskedDiffusion:
    return MaskedDiffusion(denoiser, denoiser.schedule, denoiser.subtokenizer, **how)


def learned(num_values: int) -> Schedule:
    """Powers from 0.5 to 2, in 64 bits."""
    schedule = LearnedPolynomial(num_values, bounds=(0.2, 5.0)).double()
    with torch.no_grad():
        schedule.raw.copy_(torch.linspace(-1, 1, num_values))
    return schedule


def cosine(sub: Subtokenizer) -> Schedule:
    return Cosine()


def of_digits(sub: Subtokenizer) -> Schedule:
    return learned(sub.base)


# name, how it draws, tokens of several digits?, masking, schedule of a subtokenizer
KINDS: list[tuple[str, str, bool, str, Callable[[Subtokenizer], Schedule]]] = [
    ("MD4", "exact count", False, "digit", cosine),
    ("GenMD4", "sampled times", False, "digit", of_digits),
    ("Prime", "marginals, exact count", True, "digit", cosine),
    ('Prime, masking="token"', "exact count", True, "token", cosine),
    ("GenMD4 over digits", "sampled times", True, "digit", of_digits),
]


def exact(steps: int | None, masking: str) -> Loss:
    return lambda denoiser, x: exact_nelbo(model_of(denoiser, masking=masking), x, steps)


@torch.no_grad()
def average(loss: Loss, denoiser: Posterior) -> float:
    """Nats: an exact loss, averaged over the table."""
    return float(loss(denoiser, denoiser.table.x) @ denoiser.table.p)


def joint(generator: torch.Generator, masking: str = "digit") -> Loss:
    """The training loss of objective="joint" by sequence.

    The model says one number a batch, so a batch has one sequence.
    """

    def loss(denoiser: Posterior, x: Tensor) -> Tensor:
        model = model_of(denoiser, objective="joint", masking=masking)
        value = x.new_empty(len(x), dtype=torch.float64)
        for sequence in x.unique(dim=0):
            same = (x == sequence).all(-1)
            value[same] = model(x[same], generator=generator).loss.double() * x.shape[1]
        return value

    return loss


def agrees(
    name: str,
    denoisers: list[Posterior],
    loss: Loss,
    enumerated: Loss | None = None,
    repeats: int = REPEATS,
) -> Row:
    """A bound: what is expected is the entropy or, in discrete time, the enumeration.

    Neither may lie below the entropy.
    """
    rows, note = [], "a bound" if enumerated is None else "a bound, not below the entropy"
    for denoiser in denoisers:
        floor = measure(loss, denoiser, repeats)
        expected = floor.entropy if enumerated is None else average(enumerated, denoiser)
        row = row_of(name, floor, expected, note)
        above = expected >= floor.entropy - EXACT and not floor.violated
        otherwise = "NOT A BOUND" if floor.violated else "NOT THE EXPECTED VALUE"
        rows.append(judged(row, above and abs(row.z) < SIGMAS, otherwise))
    return max(rows, key=lambda row: (not row.passed, abs(row.z)))


def falls(name: str, denoisers: list[Posterior], masking: str) -> Row:
    """The exact discrete-time bound of the exact denoiser falls to the entropy.

    It is above the entropy, and closer to it on every finer nested grid.
    """
    rows = []
    for denoiser in denoisers:
        floor = measure(exact(64, masking), denoiser)
        values = [*(average(exact(steps, masking), denoiser) for steps in (4, 16)), floor.loss]
        gaps = [value - floor.entropy for value in values]
        note = f"above the entropy by {', '.join(f'{gap:.4f}' for gap in gaps)}"
        falling = gaps[0] >= gaps[1] - EXACT and gaps[1] >= gaps[2] - EXACT
        passed = falling and -EXACT <= gaps[2] <= gaps[0] / 4 + EXACT
        row = row_of(name, floor, floor.entropy, note)
        rows.append(judged(row, passed and not floor.violated, "DOES NOT FALL TO THE ENTROPY"))
    return max(rows, key=lambda row: (not row.passed, row.value - row.expected))


def found_out(name: str, denoiser: Posterior, loss: Loss, k: int) -> Row:
    """The joint loss on k copies of a bit: 1/k of the entropy, so it is no bound."""
    floor = measure(loss, denoiser, REPEATS)
    note = f"NOT A BOUND, as it should be found: 1/{k} of the entropy"
    row = row_of(name, floor, floor.entropy / k, note)
    return judged(row, floor.below and floor.crowded and abs(row.z) < SIGMAS, "NOT FOUND OUT")


def row_of(name: str, floor: Floor, expected: float, note: str) -> Row:
    figures = floor.loss, floor.stderr, expected, floor.entropy, floor.kraft
    return Row(name, floor.name, *figures, True, note)


def judged(row: Row, passed: bool, otherwise: str) -> Row:
    return row if passed else row._replace(passed=False, note=otherwise)
