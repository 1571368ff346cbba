"""The noise of estimators on a trained model, and so the network calls for equal error."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from unmask.batch import inputs
from unmask.bench.timing import CPU, Row
from unmask.categorical import uniform
from unmask.data import Data, open_data
from unmask.device import pick_dtype, precision
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.masks import Draw
from unmask.schedule_gradient import Pair, log_law, paid_in_the_other_half, surrogate


def estimator(path: str, folder: str, repeats: int = 400) -> list[Row]:
    """Network calls for equal error on a trained model, of other estimators over the exact count's.

    That is the ratio of their variances.  Of schedules with one curve for all values.
    """
    model = MaskedDiffusion.from_pretrained(path or Path("demo") / "run")
    data = trained_on(model, folder or Path("demo") / "data")
    windows = next(data.windows("test", model.meta["length"], 64, limit=64))
    clean = model.clean(**inputs(windows))
    count = len(clean.y)
    generator = torch.Generator().manual_seed(0)

    def uniform_time(low_discrepancy: bool) -> Tensor:
        """Masks at t ~ U(0, 1], at the weight of t; 1 / t of the linear schedule.

        `low_discrepancy`: one t in each of B equal parts, as MDLM's code draws it.
        """
        u = uniform(count, generator=generator)
        if low_discrepancy:
            u = (torch.arange(count) + u) / count
        t = 1 - u
        masked = uniform(*clean.y.shape, generator=generator) < model.schedule.masked(t)
        masked &= clean.scored
        # as `MaskedDiffusion.draw` shows them
        fits = model.schedule.inverse(1 - clean.hidden_share(masked))
        shown = torch.where(clean.conditional, fits, t)
        return model.score(clean, Draw(shown, masked, model.schedule.weight(t)[:, 0]))[1]

    def exact_count(stratify: bool) -> Tensor:
        if stratify:
            return model.drawn_nats(clean, None, generator)
        rows = torch.arange(count).split(1)
        return torch.cat([model.drawn_nats(clean.take(row), None, generator) for row in rows])

    ways = {
        "exact count, stratified and paired (ours)": lambda: exact_count(True),
        "exact count, independent": lambda: exact_count(False),
        "uniform t, stratified": lambda: uniform_time(True),
        "uniform t, plain (its variance is infinite)": lambda: uniform_time(False),
    }
    rows: list[Row] = []
    variance = {}
    with evaluating(model), torch.no_grad(), precision(pick_dtype("auto", CPU), CPU):
        for name, draw in ways.items():
            draws = repeats if "independent" not in name else repeats // 4
            means = torch.stack([draw().mean() for _ in range(draws)])
            variance[name] = float(means.var())
            error = float(means.std()) / math.sqrt(draws)
            unit = f"nats, +- {error:.3f}, {draws} draws"
            rows.append((f"{name}, mean of {count} windows", float(means.mean()), unit))
    ours = variance["exact count, stratified and paired (ours)"]
    rows += [
        (f"{name}, network calls for equal error", v / ours, "times ours")
        for name, v in variance.items()
    ]
    return rows


def trained_on(model: MaskedDiffusion, folder: str | Path) -> Data:
    """The data of a model, with the labels that it was given."""
    return open_data(folder, labels=model.meta.get("labels", False))


def gradient(
    path: str, folder: str, batches: tuple[int, ...] = (8, 32, 128), repeats: int = 60
) -> list[Row]:
    """The noise of the powers' gradient over the masks: the sum over values of its variance.

    Of nats per position, for the same batch.  Two draws of the masks a step in every way, so as
    many network calls.
    """
    model = MaskedDiffusion.from_pretrained(path)
    data, length = trained_on(model, folder), model.meta["length"]
    raw = next(iter(model.schedule.parameters()))
    model.backbone.requires_grad_(False)
    generator = torch.Generator().manual_seed(0)

    def no_baseline(pair: Pair) -> Tensor:
        draws = zip(pair.nats, pair.masked, strict=True)
        return torch.stack([(n.sum(-1) * log_law(pair, m.double())).sum() for n, m in draws]).mean()

    def leave_one_out(pair: Pair) -> Tensor:
        return surrogate(pair, torch.zeros_like(pair.log_masked))

    def guessed(pair: Pair) -> Tensor:
        return surrogate(pair, paid_in_the_other_half(pair, model.schedule.num_values))

    ours = "a guess of what each value pays (ours)"
    ways: dict[str, Callable[[Pair], Tensor]] = {
        "no baseline": no_baseline,
        "leave one out (GenMD4)": leave_one_out,
        ours: guessed,
    }
    rows: list[Row] = []
    for batch in batches:
        windows = next(data.windows("train", length, batch, limit=batch))
        clean = model.clean(**inputs(windows))
        found: dict[str, list[Tensor]] = {name: [] for name in ways}
        for _ in range(repeats):
            with precision(pick_dtype("auto", CPU), CPU):
                draw = model.draw(clean, None, generator)
                total, each = model.score_units(clean, draw)
                pair = model.second_draw(clean, draw, each, generator)
            direct = torch.autograd.grad((total + pair.total) / 2, raw)[0]
            for name, way in ways.items():
                through_masks = torch.autograd.grad(way(pair), raw, retain_graph=True)[0]
                found[name].append((direct + through_masks) / int(clean.positions.sum()))
        draws = {name: torch.stack(each).double() for name, each in found.items()}
        noise = {name: float(each.var(0).sum()) for name, each in draws.items()}
        signal = float((draws[ours].mean(0) ** 2).sum())
        for name, v in noise.items():
            unit = f"variance, {v / noise[ours]:.1f} times ours, {repeats} draws"
            rows.append((f"batch {batch}, {name}", v, unit))
        unit = "squared norm, of the mean of our draws"
        norm = max(0.0, signal - noise[ours] / repeats)
        rows.append((f"batch {batch}, the gradient itself", norm, unit))
    return rows
