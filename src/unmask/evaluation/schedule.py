"""What a masking schedule has learned: who is revealed first, what that is worth, a picture.

GenMD4 learns one power per value, alpha_t(v) = 1 - t^power(v) (arXiv 2406.04329, section 6): the
larger, the earlier a value is revealed, at larger t.  Its authors warn that such a schedule
overfits easily, hence the bound on training data beside that on held-out data.

K: the values of a unit, in the order of token ids or, where the digits of a token are masked on
their own, of digit values.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unmask.data import Data
from unmask.diffusion import MaskedDiffusion
from unmask.estimate import Estimate, difference, plus_minus
from unmask.likelihood import estimate_nelbo
from unmask.report.drawing import BLACK, BLUE, GREY, new_figure, quiet, write_png
from unmask.schedules import LearnedPolynomial, Schedule

CHUNK = 2**24  # tokens that are counted at a time
MOST_CURVES = 1000  # in a picture
LABELS = 5  # on either side of it


class Powers(NamedTuple):
    """The power of every value, and what is known of the value."""

    power: Tensor  # (K,) float64, on the CPU
    names: list[str]  # K
    count: Tensor | None  # (K,) how often each occurs in the training split; None: not known

    @property
    def half(self) -> Tensor:
        """(K,) the t at which alpha_t = 1/2."""
        return 0.5 ** (1 / self.power)

    @property
    def order(self) -> Tensor:
        """The values that occur (all, if that is not known), by falling power."""
        order = self.power.argsort(descending=True, stable=True)
        return order if self.count is None else order[self.count[order] > 0]

    @property
    def unseen(self) -> Tensor:
        """The values that do not occur."""
        if self.count is None:
            return torch.empty(0, dtype=torch.long)
        return (self.count == 0).nonzero()[:, 0]

    def ends(self, num: int) -> tuple[Tensor, Tensor]:
        """At most `num` values each: those revealed first, and those revealed last, last one first.

        No value is in both.
        """
        order = self.order
        num = min(num, (len(order) + 1) // 2)
        return order[:num], order[max(num, len(order) - num) :].flip(0)

    def mean(self) -> float:
        """Weighted by frequency."""
        assert self.count is not None
        return float((self.power * self.count).sum() / self.count.sum())

    def common(self) -> float:
        """The mean on the log scale, weighted by frequency.

        With it, about as much is masked at every t as with the powers themselves.
        """
        assert self.count is not None
        return math.exp(float((self.power.log() * self.count).sum() / self.count.sum()))


def read_powers(model: MaskedDiffusion, tokenizer, data: Data | None = None) -> Powers:
    """The powers of a model with one curve per value, counted in the training split of `data`."""
    units, vocab_size = model.units(), model.subtokenizer.vocab_size
    power = model.powers.detach().double().cpu()
    tokens = torch.arange(vocab_size)
    count = None if data is None else count_tokens(data, "train")
    if units.length == 1:
        names = [tokenizer.spell(i) for i in range(vocab_size)]
        return Powers(power[model.subtokenizer.code(tokens)], names, count)
    if count is not None:
        digits = model.subtokenizer.encode(tokens[None])[0]  # (V * L,)
        of_digits = count.repeat_interleave(units.length)
        count = torch.zeros(units.base, dtype=torch.long).index_add_(0, digits, of_digits)
    return Powers(power, [f"digit value {i}" for i in range(units.base)], count)


def count_tokens(data: Data, split: str) -> Tensor:
    """(V,) how often each token occurs in a split."""
    tokens, count = data.tokens(split), np.zeros(data.vocab_size, np.int64)
    firsts = range(0, len(tokens), CHUNK)
    for first in tqdm(firsts, desc="counting", unit="chunk", disable=None, leave=False):
        found = np.bincount(tokens[first : first + CHUNK], minlength=data.vocab_size)
        count += found[: data.vocab_size]  # V itself is a position without a value
    return torch.from_numpy(count)


# ---------------------------------------------------------------- what the powers are worth


class Bounds(NamedTuple):
    """Of one model, on as many windows of the training split as of the held-out one.

    `common`: with one power for all values, held-out.  The i-th windows of all three are scored
    with the same random numbers, so that differences are paired by window.
    """

    train: Estimate
    held_out: Estimate
    common: Estimate | None

    @property
    def gap(self) -> tuple[float, float]:
        """Held-out minus train, in bits per position, and its error."""
        return difference(self.held_out, self.train)[:2]

    @property
    def change(self) -> tuple[float, float]:
        """Learned minus common power, in bits per position, and its error."""
        assert self.common is not None
        return difference(self.held_out, self.common)[:2]


def measure(
    model: MaskedDiffusion,
    data: Data,
    powers: Powers | None,
    *,
    split: str,
    limit: int,
    repeats: int,
    batch_size: int,
    seed: int,
) -> Bounds:
    """The bounds on at most `limit` windows of the train split, and as many of `split`.

    `powers`: those of a schedule with one curve per value, else None.  ValueError for an empty
    split.
    """
    length = model.meta["length"]
    limit = min(limit, *(data.window_count(s, length) for s in ("train", split)))

    def bound(model: MaskedDiffusion, split: str, said: str) -> Estimate:
        windows = data.windows(split, length, batch_size, limit=limit)
        total = -(-limit // batch_size)
        bar = tqdm(windows, total=total, desc=said, unit="batch", disable=None, dynamic_ncols=True)
        return estimate_nelbo(model, bar, repeats=repeats, seed=seed)

    train, held_out, common = bound(model, "train", "train"), bound(model, split, split), None
    if powers is not None:
        common = bound(with_power(model, powers.common()), split, "common power")
    return Bounds(train, held_out, common)


def with_power(model: MaskedDiffusion, power: float) -> MaskedDiffusion:
    """The same network with the same power for every value.

    Still a schedule with a curve per value: the exact count of one with one curve is the better
    estimator, but other random numbers, and the paired difference would be several times noisier.
    """
    schedule = LearnedPolynomial(model.schedule.num_values, power, (power / 2, 2 * power))
    how = {"masking": model.masking, "allowed": model.allowed, "meta": model.meta}
    if model.partner is not None:
        how["links"] = model.partner, model.group
    return MaskedDiffusion(model.backbone, schedule.to(model.device), model.subtokenizer, **how)


# ---------------------------------------------------------------- in words


def describe_schedule(schedule: Schedule, powers: Powers | None, num: int) -> str:
    """What it is; of one curve per value, the powers at either end.

    At most `num` values at each end, and as many of those that do not occur.
    """
    if powers is None:
        return describe_curve(schedule)
    first, last = powers.ends(num)
    occur = "" if powers.count is None else " that occur in the training split"
    at = torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.float64)
    low, *quartiles, high = (f"{q:.3g}" for q in powers.power[powers.order].quantile(at).tolist())
    lines = [
        f"one learned power for each of {len(powers.power):,} values",
        "  alpha_t = 1 - t^power is the probability of being unmasked at t: the larger the power, "
        "the earlier (at larger t) it is revealed",
        f"  powers of the {len(powers.order):,} values{occur}: {low} to {high}, "
        f"quartiles {', '.join(quartiles)}",
    ]
    if powers.count is not None:
        lines += [f"  their mean, weighted by frequency: {powers.mean():.3g}"]
    lines += ["", *table(powers, first, "revealed first")]
    lines += ["", *table(powers, last, "revealed last")]
    if powers.count is None:
        never = "values that never occur in the training data may be among these"
        lines += ["", f"{never}: --data tells them apart"]
    elif len(powers.unseen):
        lines += ["", describe_unseen(powers, num)]
    return "\n".join(lines)


def describe_curve(schedule: Schedule) -> str:
    """A schedule with one curve for all values."""
    config = schedule.config
    name = config.pop("name") + "".join(f", {key} {value:g}" for key, value in config.items())
    shared = f"one curve, which all values share: {name}"
    return f"{shared}; alpha_t = 1/2 at t = {half_way(schedule):.3g}"


def half_way(schedule: Schedule) -> float:
    """The t at which the one curve of a schedule is 1/2."""
    return float(schedule.inverse(torch.tensor(0.5, dtype=torch.float64)))


def table(powers: Powers, values: Tensor, title: str) -> list[str]:
    """A line for each of these values, below one of headings."""
    names = [short(powers.names[i], 24) for i in values.tolist()]
    width = max(map(len, [title, *names]))
    heading = f"{title:{width}}   power  half-way t"
    if powers.count is not None:
        heading += "         count     share"
    lines = [heading]
    for name, i in zip(names, values.tolist(), strict=True):
        line = f"{name:{width}}  {float(powers.power[i]):6.3f}  {float(powers.half[i]):10.3g}"
        if powers.count is not None:
            share = 100 * float(powers.count[i] / powers.count.sum())
            line += f"  {int(powers.count[i]):12,}  {share:6.3g} %"
        lines.append(line)
    return lines


def describe_unseen(powers: Powers, num: int) -> str:
    unseen = powers.unseen
    low, high = (float(v) for v in torch.aminmax(powers.power[unseen]))
    names = ", ".join(short(powers.names[i], 24) for i in unseen[:num].tolist())
    more = f" and {len(unseen) - num:,} more" if len(unseen) > num else ""
    values = "value never occurs" if len(unseen) == 1 else "values never occur"
    return (
        f"{len(unseen):,} {values} in the training split, so that no occurrence trained the power, "
        f"which only drifted ({low:.3g} to {high:.3g}): {names}{more}"
    )


def describe_bounds(
    bounds: Bounds, powers: Powers | None, model: MaskedDiffusion, unit: str, split: str
) -> str:
    """The bounds in bits per `unit`, what separates them, and how they were measured."""

    def line(name: str, bound: Estimate) -> str:
        value = plus_minus(bound.bits_per_dim, bound.bits_per_dim_stderr, "8.4f")
        noise = f"   noise of the masks alone {bound.bits_per_dim_noise:.4f}"
        return f"  {name:16} {value}{'' if math.isnan(bound.noise) else noise}"

    def apart(name: str, change: float, error: float, why: str) -> str:
        return f"  {name:16} {plus_minus(change, error, '+8.4f')}   {why}"

    def scored(bound: Estimate, name: str) -> str:
        positions, windows = int(bound.positions.sum()), len(bound.positions)
        return f"{positions:,} {unit}s in {windows:,} windows of {name}"

    harder = "by overfitting, or because one split is harder"
    lines = [
        f"upper bounds on the negative log-likelihood, bits per {unit}, "
        "with the error over examples, neighbours taken together",
        line("train", bounds.train),
        line(split, bounds.held_out),
        apart(f"{split} - train", *bounds.gap, harder),
    ]
    if bounds.common is not None and powers is not None:
        changed = "what the learned powers change for this network"
        lines += [
            f"the same network with one power, {powers.common():.3g}, for all values: "
            "their mean on the log scale, weighted by frequency",
            line(split, bounds.common),
            apart("learned - common", *bounds.change, changed),
            "  it was trained with them and not for the common power, "
            "so this is not what training with them has gained",
        ]
    lines += [
        f"{scored(bounds.train, 'train')}, {scored(bounds.held_out, split)}, "
        f"of {model.meta['length']}, each scored alone",
        f"of {bounds.train.sampler}; {bounds.train.name}, {bounds.train.repeats} draws a window",
        "the same random numbers for every bound: differences are paired by window",
    ]
    return "\n".join(lines)


def record_of(schedule: Schedule, powers: Powers | None, bounds: Bounds | None) -> dict:
    """All of it for JSON: lists in the order of the values."""
    made: dict = {"schedule": schedule.config}
    if powers is None:
        made["half_way_t"] = half_way(schedule)
    else:
        made["values"] = powers.names
        made["powers"], made["half_way_t"] = powers.power.tolist(), powers.half.tolist()
        made["order"], made["never_in_training"] = powers.order.tolist(), powers.unseen.tolist()
        if powers.count is not None:
            made["counts"], made["mean_power"] = powers.count.tolist(), powers.mean()
    if bounds is None:
        return made
    for name, bound in bounds._asdict().items():
        if bound is not None:
            made[name] = bound.bits_per_dim
            made[f"{name}_stderr"] = bound.bits_per_dim_stderr
            made[f"{name}_noise"] = bound.bits_per_dim_noise
            made[f"{name}_n"] = len(bound.positions)
    made["held_out_minus_train"], made["held_out_minus_train_stderr"] = bounds.gap
    if bounds.common is not None and powers is not None:
        made["common_power"] = powers.common()
        made["learned_minus_common"], made["learned_minus_common_stderr"] = bounds.change
    return made | {"repeats": bounds.train.repeats}


def short(text: str, size: int) -> str:
    return text if len(text) <= size else text[: size - 3] + "..."


# ---------------------------------------------------------------- the picture


def plot(path: Path, schedule: Schedule, powers: Powers | None = None) -> None:
    """A PNG of 1200 x 750 pixels: alpha_t over t.

    With `powers`, of every value, the first and the last ones named.
    """
    write_png(path, lambda: draw(schedule, powers))


def draw(schedule: Schedule, powers: Powers | None):
    """The matplotlib figure of `plot`."""
    figure = new_figure(12, 7.5)
    axes = figure.add_axes((0.17, 0.11, 0.66, 0.74))
    # closer together near 0, where a curve may be steep
    t = torch.linspace(0, 1, 401, dtype=torch.float64) ** 2
    if powers is None:
        axes.plot(t, schedule.alpha(t)[:, 0], color=BLUE, linewidth=2.5)
        said, half = describe_curve(schedule), "0.5"
    else:
        said, half = draw_powers(axes, t, powers), ""  # there, names are in the margin
        first, last = powers.ends(LABELS)
        name_curves(axes, powers, first, side="right")
        name_curves(axes, powers, last.flip(0), side="left")
    title = "alpha_t: the probability that a value is unmasked at time t"
    figure.text(0.17, 0.935, title, fontsize=15, color=BLACK)
    figure.text(0.17, 0.897, said, fontsize=12, color=GREY)
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_yticks([0, 0.5, 1], ["0", half, "1"])
    name = "time t (sampling runs from 1, all masked, to 0)"
    axes.set_xlabel(name, fontsize=13, color="#333", labelpad=8)
    axes.xaxis.set_major_formatter("{x:g}")
    quiet(axes, labelsize=12, grid="both")
    return figure


def draw_powers(axes, t: Tensor, powers: Powers) -> str:
    """A thin line for each value, darker the more frequent it is; says what was drawn.

    Where frequencies are not known, darker the larger its power.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    colors = LinearSegmentedColormap.from_list("frequency", ["#b9c6ee", BLUE, "#0b1a44"])
    order = torch.cat([thin(powers.order), *powers.ends(LABELS)]).unique()
    unseen = thin(powers.unseen)
    shade = powers.power if powers.count is None else powers.count / powers.count.sum()
    order = order[shade[order].argsort(stable=True)]  # the darkest on top
    never, occur = curves(t, powers.power[unseen]), curves(t, powers.power[order])
    axes.add_collection(LineCollection(never, linewidths=1, colors="#d4d4d0"))
    how = {"cmap": colors, "norm": LogNorm(), "array": shade[order].numpy()}
    lines = LineCollection(occur, linewidths=1, **how)
    axes.add_collection(lines)
    total = f" of {len(powers.order):,}" if len(order) < len(powers.order) else ""
    drawn = f"{len(order):,}{total} values"
    if powers.count is None:
        return f"{drawn}, a curve each"
    place = axes.figure.add_axes((0.87, 0.13, 0.11, 0.013))
    bar = axes.figure.colorbar(lines, place, orientation="horizontal", ticklocation="top")
    place.set_title("share of training data", fontsize=11, color=GREY, pad=20)
    low, high = float(shade[order[0]]), float(shade[order[-1]])
    bar.set_ticks([low, high], labels=[f"{100 * low:.3g} %", f"{100 * high:.3g} %"], minor=False)
    place.minorticks_off()
    place.tick_params(labelsize=10, length=0, labelcolor=GREY)
    said = f"{drawn} that occur, a curve each"
    if len(powers.unseen):
        said += f"; in grey those that never do ({len(powers.unseen):,})"
    return said


def curves(t: Tensor, power: Tensor) -> list[np.ndarray]:
    """(T,) times, (K,) powers -> K polylines (T, 2) of 1 - t^power."""
    alpha = 1 - t[:, None] ** power
    return list(torch.stack([t[:, None].expand_as(alpha), alpha], -1).transpose(0, 1).numpy())


def thin(values: Tensor) -> Tensor:
    """At most `MOST_CURVES`, evenly spread."""
    return values[torch.linspace(0, len(values) - 1, min(len(values), MOST_CURVES)).round().long()]


def name_curves(axes, powers: Powers, values: Tensor, *, side: str) -> None:
    """Names in the margin, one below the other, each with a line to its curve.

    The lines end near the height 1/2, where curves lie furthest apart.  `values` by falling power:
    a line from the right crosses only the curves of larger powers, one from the left of smaller
    ones.
    """
    if side == "right":
        heading, align, edge, place, top = "revealed first", "left", 1.0, 1.03, 0.52
    else:
        heading, align, edge, place, top = "revealed last", "right", 0.0, -0.03, 0.8
    font = {"fontsize": 12, "va": "center", "ha": align, "parse_math": False}
    axes.text(place, top + 0.06, heading, color=GREY, **font)
    for rank, i in enumerate(values.tolist()):
        height = top - 0.065 * rank
        power = float(powers.power[i])
        t = float((1 - height) ** (1 / powers.power[i]))
        ends = [t, (edge + place) / 2]
        axes.plot(ends, [height] * 2, color=GREY, linewidth=0.7, clip_on=False, zorder=4)
        axes.plot([t], [height], marker="o", markersize=4, color=GREY, zorder=5)
        name = f"{short(powers.names[i], 16)}  {power:.2f}"
        axes.text(place, height, name, color=BLACK, **font)
