"""Steps of training: the head, S and H, Muon, the U-Net."""

import statistics
from typing import Any

import torch
from torch import Tensor, nn

from unmask import schedules
from unmask.backbones import UNet
from unmask.bench.timing import CPU, Row, apart, network, peak, product_rates, timed
from unmask.config import Dtype
from unmask.device import float32_library, pick_dtype, precision
from unmask.diffusion import MaskedDiffusion
from unmask.kinds.registry import presets
from unmask.subtokens import Subtokenizer
from unmask.train.muon import Muon


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
    # blocks that freed memory is kept in settle within a few steps
    seconds = statistics.median(timed(step, repeats, warmup=5))
    return seconds, peak() - weights, peak() - state


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
        learned, more_rows = seconds["learned"] / seconds["twice"], "times (7/5 the rows)"
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
