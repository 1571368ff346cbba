"""Speed on this machine: ratios in one run, against the plain way of doing the same.

And against the machine's own matrix-product rate.  S: 4 layers, width 256, 256 values, 256 tokens,
batch 16.  H, the large-head case: 2 layers, width 256, 50,257 values, 256 tokens, batch 4.
"""

import functools
import math
import multiprocessing
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask import __version__, schedules
from unmask.backbones import Transformer, UNet
from unmask.batch import inputs
from unmask.categorical import uniform
from unmask.config import Dtype
from unmask.data import open_data
from unmask.device import (
    float32_library,
    keep_freed_memory,
    multiply_by_onednn,
    pick_dtype,
    precision,
    tune_process,
)
from unmask.diffusion import MaskedDiffusion, evaluating
from unmask.kinds.registry import presets
from unmask.masks import Draw
from unmask.sampling import idle_share, time_grid, trajectory
from unmask.schedule_gradient import Pair, log_law, paid_in_the_other_half, surrogate
from unmask.subtokens import Subtokenizer
from unmask.train.muon import Muon

CPU = torch.device("cpu")
Row = tuple[str, float, str]


def run(what: tuple[str, ...], *, model: str, data: str, threads: int) -> dict:
    """Print (name, value, unit) rows of the chosen benchmarks; the same as a record."""
    tune_process()
    if threads:
        torch.set_num_threads(threads)
    chosen = {
        "head": head,
        "train": train,
        "estimator": lambda: estimator(model, data),
        "schedule-gradient": lambda: gradient(model, data),
        "unet": unet,
        "sampling": sampling,
        "idle-steps": idle_steps,
    }
    names = list(chosen) if "all" in what else list(what)
    if "estimator" in names and not (model or (Path("demo") / "run").is_dir()):
        if "all" not in what:
            raise ValueError(
                "the estimator is measured on a trained model: run unmask demo first, "
                "or give --model and --data"
            )
        names.remove("estimator")
        print("estimator: left out, there is no trained model (unmask demo makes one)")
    learned = bool(model) and MaskedDiffusion.from_pretrained(model).schedule.num_values > 1
    if "schedule-gradient" in names and not learned:
        if "all" not in what:
            raise ValueError(
                "schedule-gradient is measured on a model with a learned schedule: "
                "give --model and --data, after unmask train ... --schedule learned --time "
                "--focus 0"
            )
        names.remove("schedule-gradient")
        print(
            "schedule-gradient: left out, there is no model with a learned schedule "
            "(name one with --model and --data)"
        )
    machine = f"{platform.processor() or platform.machine()}, {torch.get_num_threads()} threads"
    print(f"unmask {__version__}, torch {torch.__version__}, {machine}\n")
    rows: list[Row] = []
    for name in names:
        for said, value, unit in chosen[name]():
            rows.append((f"{name}: {said}", value, unit))
            print(f"{rows[-1][0]:66} {value:>12,.4g} {unit}", flush=True)
    return {"torch": torch.__version__, "machine": machine, "rows": rows}


def product_rate(dtype: torch.dtype, size: int = 2048) -> float:
    """Operations a second of a square matrix product, the best of several."""
    a = torch.randn(size, size).to(dtype)
    return 2 * size**3 / min(timed(lambda: a @ a, repeats=8))


@functools.cache
def product_rates() -> dict[Dtype, float]:
    return {"float32": product_rate(torch.float32), "bfloat16": product_rate(torch.bfloat16)}


def timed(function: Callable[[], object], repeats: int, warmup: int = 2) -> list[float]:
    """Seconds of each of `repeats` calls."""
    for _ in range(warmup):
        function()
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return seconds


def network(vocab_size: int, layers: int, digits: int = 1, time: bool = False) -> Transformer:
    torch.manual_seed(0)
    return Transformer(vocab_size, dim=256, layers=layers, heads=4, digits=digits, time=time)


def operations(vocab_size: int, layers: int, batch: int, length: int = 256) -> float:
    """Of a training step, in products, forward and backward: those that the loss needs."""
    tokens, blocks = batch * length, network(vocab_size, layers).blocks
    matrices = sum(p.numel() for p in blocks.parameters() if p.ndim == 2)
    in_attention = 12 * tokens * length * 256 * layers
    in_head = 2 * tokens * 256 * vocab_size  # of masked rows, a third of all
    return 6 * tokens * matrices + in_attention + in_head


def training_steps(
    vocab_size: int,
    layers: int,
    batch: int,
    way: str,
    dtype: Dtype,
    repeats: int,
    length: int = 256,
) -> tuple[float, float, float]:
    """Median seconds of a training step, MB at its peak beyond weights, and beyond all state.

    All state: weights and that of the optimizer.  way: "rows" is ours; "dense" forms logits and
    log-softmax at every position, as the papers' code does; "picked" forms the logits at every
    position and goes on with those of masked rows; "digits" is ours with each token in two digits,
    "learned" with a learned schedule, and "twice" its control: every sequence twice, and a network
    that looks at the time, too.
    """
    digits = 2 if way == "digits" else 1
    backbone = network(vocab_size, layers, digits, time=way in ("learned", "twice"))
    schedule = schedules.LearnedPolynomial(vocab_size) if way == "learned" else schedules.Linear()
    model = MaskedDiffusion(backbone, schedule, Subtokenizer(vocab_size, digits))
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    x = torch.randint(0, vocab_size, (batch, length))
    weights = peak()

    def loss(x: Tensor) -> Tensor:
        if way in ("rows", "digits", "learned", "twice"):
            if way == "twice":
                x = x.repeat_interleave(2, 0)
            return model(x).loss
        draw = model.draw(model.clean(x))
        logits, targets = backbone(model.corrupt(x, draw.masked)), x
        factor = draw.masked * draw.scale[:, None].float()
        if way == "picked":
            logits, targets, factor = (v[draw.masked] for v in (logits, targets, factor))
        logp = logits.float().log_softmax(-1)
        return -(factor * logp.gather(-1, targets[..., None])[..., 0]).sum() / x.numel()

    def step(x: Tensor = x) -> None:
        with precision(dtype, CPU):
            value = loss(x)
        value.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    step(x[:1, :8])  # one that needs next to nothing but gradients and the optimizer's state
    state = peak()
    seconds = statistics.median(timed(step, repeats))
    return seconds, peak() - weights, peak() - state


def peak() -> float:
    """MB of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def apart(function: Callable, *arguments, keep: bool = True):
    """The function's result from a process of its own, whose peak of memory is its own.

    `keep`: freed memory, for speed.
    """
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_begin, (torch.get_num_threads(), keep, function, *arguments))


def _begin(threads: int, keep: bool, function: Callable, *arguments):
    torch.set_num_threads(threads)
    multiply_by_onednn()
    if keep:
        keep_freed_memory()
    return function(*arguments)


def head() -> list[Row]:
    """H: the head at masked rows in chunks, against the same network with dense logits."""
    rows: list[Row] = []
    dtypes: list[Dtype] = ["float32", pick_dtype("auto", CPU)]
    for dtype in dict.fromkeys(dtypes):
        seconds, beyond, beyond_state = {}, {}, {}
        for way in ("rows", "digits", "learned", "twice", "picked", "dense"):
            arguments = training_steps, 50257, 2, 4, way, dtype
            seconds[way] = apart(*arguments, 8)[0]
            _, beyond[way], beyond_state[way] = apart(*arguments, 2, keep=False)
        plain = apart(training_steps, 50257, 2, 4, "dense", dtype, 8, keep=False)[0]
        ours, memory, further = seconds["rows"], beyond["rows"], beyond_state["rows"]
        learned, more_rows = seconds["learned"] / seconds["twice"], "times (4/3 the rows)"
        two_digits = beyond["digits"] / memory
        learned_memory = beyond["learned"] / beyond["twice"]
        share = operations(50257, 2, 4) / ours / product_rates()[dtype]
        found = [
            ("masked rows in chunks (ours)", 1024 / ours, "tokens/s"),
            (f"useful operations over the {dtype} product's", share, "times"),
            ("speed over dense logits and log-softmax", plain / ours, "times"),
            ("the same where dense keeps freed memory too", seconds["dense"] / ours, "times"),
            ("speed over dense logits, masked rows picked", seconds["picked"] / ours, "times"),
            ("time of two digits a token over whole tokens", seconds["digits"] / ours, more_rows),
            ("peak memory of two digits beyond weights, the same", two_digits, "times"),
            ("time of a learned schedule over two draws of a fixed one", learned, "times"),
            ("peak memory of a learned schedule beyond weights, the same", learned_memory, "times"),
            ("peak memory beyond weights", memory, "MB"),
            ("the same, share of dense", memory / beyond["dense"], "times"),
            ("peak memory beyond weights and optimizer", further, "MB"),
            ("the same, share of dense", further / beyond_state["dense"], "times"),
        ]
        rows += [(f"{dtype}, {name}", value, unit) for name, value, unit in found]
    return rows


def train() -> list[Row]:
    """S: a training step, against plain fp32 and against the machine's matrix products."""
    single, half = product_rates().values()
    fast = pick_dtype("auto", CPU)
    plain, *_ = apart(training_steps, 256, 4, 16, "dense", "float32", 8)
    ours, memory, _ = apart(training_steps, 256, 4, 16, "rows", fast, 12)
    tokens, work, ceiling = 16 * 256, operations(256, 4, 16), product_rates()[fast]
    longer: list[Row] = []
    for length in (1024, 2048):
        batch = tokens // length
        seconds, *_ = apart(training_steps, 256, 4, batch, "rows", fast, 5, length)
        share = operations(256, 4, batch, length) / seconds / ceiling
        longer.append((f"step of {length} tokens a sequence, {fast}", seconds * 1e3, "ms"))
        longer.append((f"the same, useful operations over the {fast} product's", share, "times"))
    return [
        (f"matrix product, float32, by {float32_library()}", single / 1e9, "GFLOP/s"),
        ("matrix product, bfloat16", half / 1e9, "GFLOP/s"),
        (f"step, {fast}", ours * 1e3, "ms"),
        (f"step, {fast}", tokens / ours, "tokens/s"),
        ("step, plain float32", plain * 1e3, "ms"),
        ("speed over plain float32", plain / ours, "times"),
        ("useful operations a second over the float32 product's", work / ours / single, "times"),
        ("useful operations a second over the bfloat16 product's", work / ours / half, "times"),
        ("peak memory of a step", memory, "MB"),
        *longer,
        *muon(fast),
    ]


def muon(dtype: Dtype) -> list[Row]:
    """A step of Muon on the matrices of S, against PyTorch's own.

    PyTorch's multiplies in bfloat16 on every machine.
    """
    half = torch.bfloat16 if dtype == "bfloat16" else torch.float32
    makers = {
        "ours": lambda matrices: Muon(matrices, 0.01, dtype=half),
        "PyTorch's": lambda matrices: torch.optim.Muon(matrices, 0.01),
    }
    seconds = {}
    for name, make in makers.items():
        matrices = [p for p in network(256, 4).blocks.parameters() if p.ndim == 2]
        for p in matrices:
            p.grad = torch.randn_like(p)
        optimizer = make(matrices)
        seconds[name] = statistics.median(timed(optimizer.step, 5))
    return [
        (f"step of Muon, {dtype}", seconds["ours"] * 1e3, "ms"),
        ("step of Muon, speed over PyTorch's", seconds["PyTorch's"] / seconds["ours"], "times"),
    ]


def unet() -> list[Row]:
    """A training step of the preset "mnist" on 32 pictures, by layout of memory.

    Channels last (ours) against channels first; and the share of convolutions.
    """
    dtype = pick_dtype("auto", CPU)
    x = torch.randint(0, 2, (32, 784))
    seconds: dict[str, float] = {}
    convolutions = 0.0
    for layout in ("channels last", "channels first"):
        torch.manual_seed(0)
        preset = presets()["mnist"].config
        sizes: dict[str, Any] = {"blocks": preset.blocks, "heads": preset.heads}
        picture = UNet(2, (28, 28, 1), widths=preset.channels(), **sizes)
        if layout == "channels first":
            for module in picture.modules():
                if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                    module.weight.data = module.weight.data.contiguous()
            picture.stem.register_forward_pre_hook(lambda _, given: (given[0].contiguous(),))
        model = MaskedDiffusion(picture, schedules.Linear(), Subtokenizer(2))

        def step(model: MaskedDiffusion = model) -> None:
            with precision(dtype, CPU):
                loss = model(x).loss
            loss.backward()
            model.zero_grad(set_to_none=True)

        seconds[layout] = statistics.median(timed(step, 5))
        if layout == "channels last":
            with torch.profiler.profile() as profile:
                step()
            events = profile.key_averages()
            inside = sum(e.self_cpu_time_total for e in events if "conv" in e.key)
            convolutions = inside / sum(e.self_cpu_time_total for e in events)
    last = seconds["channels last"]
    return [
        (f"step without the optimizer, {dtype}, channels last (ours)", last * 1e3, "ms"),
        ("pictures", 32 / last, "a second"),
        ("share of convolutions", 100 * convolutions, "%"),
        ("speed over channels first", seconds["channels first"] / last, "times"),
    ]


def estimator(path: str, folder: str) -> list[Row]:
    """Network calls for equal error on a trained model, of other estimators over the exact count's.

    That is the ratio of their variances.
    """
    model = MaskedDiffusion.from_pretrained(path or Path("demo") / "run")
    data = open_data(folder or Path("demo") / "data")
    x = next(data.windows("test", model.meta["length"], 64, limit=64))["x"]
    generator = torch.Generator().manual_seed(0)
    repeats = 400

    def uniform_time(low_discrepancy: bool) -> Tensor:
        """Masks at t ~ U(0, 1], weight 1 / t.

        `low_discrepancy`: one t in each of B equal parts, as MDLM's code draws it.
        """
        u = uniform(len(x), generator=generator)
        if low_discrepancy:
            u = (torch.arange(len(x)) + u) / len(x)
        t = 1 - u
        masked = uniform(*x.shape, generator=generator) < t[:, None]
        return model.score(model.clean(x), Draw(t, masked, 1 / t))[1]

    def exact_count(stratify: bool) -> Tensor:
        if stratify:
            return model.nelbo(x, generator=generator)
        return torch.cat([model.nelbo(row[None], generator=generator) for row in x])

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
            count = repeats if "independent" not in name else repeats // 4
            means = torch.stack([draw().mean() for _ in range(count)])
            variance[name] = float(means.var())
            error = float(means.std()) / math.sqrt(count)
            unit = f"nats, +- {error:.3f}, {count} draws"
            rows.append((f"{name}, mean of 64 windows", float(means.mean()), unit))
    ours = variance["exact count, stratified and paired (ours)"]
    rows += [
        (f"{name}, network calls for equal error", v / ours, "times ours")
        for name, v in variance.items()
    ]
    return rows


def gradient(
    path: str, folder: str, batches: tuple[int, ...] = (8, 32, 128), repeats: int = 60
) -> list[Row]:
    """The noise of the powers' gradient over the masks: the sum over values of its variance.

    Of nats per position, for the same batch.  Two draws of the masks a step in every way, so as
    many network calls.
    """
    model = MaskedDiffusion.from_pretrained(path)
    data, length = open_data(folder), model.meta["length"]
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


def sampling() -> list[Row]:
    """S: 16 sequences of 256 tokens, the exact law at every setting."""
    rows: list[Row] = []
    model = MaskedDiffusion(network(256, 4), schedules.Linear(), Subtokenizer(256)).eval()
    calls = [0, 0]
    backbone: Any = model.backbone
    features = backbone.features

    def counting(z: Tensor, **given) -> Tensor:
        calls[0] += 1
        calls[1] += len(z)
        return features(z, **given)

    backbone.features = counting
    settings = {f"ancestral, {steps} steps": ("ancestral", steps) for steps in (64, 256, 1000)}
    settings["first_hitting"] = ("first_hitting", 1)
    for name, (sampler, steps) in settings.items():
        calls[:] = [0, 0]
        how: dict[str, Any] = {"sampler": sampler, "steps": steps}
        how["generator"] = torch.Generator().manual_seed(0)
        began = time.perf_counter()
        with precision(pick_dtype("auto", CPU), CPU):
            for _ in trajectory(model, torch.full((16, 256), 256), **how):
                pass
        rows += [
            (name, (time.perf_counter() - began) / 16, "s a sequence"),
            (f"{name}, network calls", calls[1] / 16, "a sequence"),
        ]
    return rows


class Uniform(nn.Module):
    """A network that knows nothing, and counts the sequences that it is asked for."""

    uses_time = False

    def __init__(self, vocab_size: int, digits: int):
        super().__init__()
        self.vocab_size, self.digits, self.sequences = vocab_size, digits, 0

    def forward(self, z: Tensor) -> Tensor:
        self.sequences += len(z)
        return torch.zeros(()).expand(len(z), z.shape[1] // self.digits, self.vocab_size)


def idle_steps(tokens: int = 1024, steps: int = 1024, sequences: int = 32) -> list[Row]:
    """Ancestral steps that reveal nothing, counted while sampling, beside the formula.

    MDM-Prime's Figure 1 (arXiv 2505.18495): linear schedule, uniform grid, 64 values = 64^1 = 8^2 =
    4^3 (of 4 digits) = 2^6.  What is drawn does not matter for the count.
    """
    rows: list[Row] = []
    for digits in (1, 2, 4, 6):
        schedule, network = schedules.Linear(), Uniform(64, digits)
        model = MaskedDiffusion(network, schedule, Subtokenizer(64, digits)).eval()
        left = torch.full((sequences,), tokens * digits)
        idle = torch.zeros(sequences, dtype=torch.float64)
        z = torch.full((sequences, tokens * digits), model.mask_id)
        generator = torch.Generator().manual_seed(digits)
        for state in trajectory(model, z, steps=steps, grid="uniform", generator=generator):
            masked = (state == model.mask_id).sum(1)
            idle += masked == left
            left = masked
        share, error = float(idle.mean()) / steps, float(idle.std()) / math.sqrt(sequences) / steps
        expected = idle_share(schedule, time_grid(steps, "uniform"), tokens * digits)
        name = f"{digits} digit{'s' * (digits > 1)} a token, {tokens} tokens, {steps} steps"
        rows += [
            (f"{name}: idle", 100 * share, f"% +- {100 * error:.3f}, {sequences} sequences"),
            (f"{name}: idle, formula", 100 * expected, f"%, z = {(share - expected) / error:+.1f}"),
            (f"{name}: network calls", network.sequences / sequences, "a sequence"),
        ]
    return rows
