"""What a run will need, before it begins: memory, work and time, here and on more processors.

Sizes are counted, speed and memory are measured on a few steps, and what is said of GPUs that are
not here is arithmetic, with its formulas in `on_gpus`.
"""

import math
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from unmask.batch import inputs
from unmask.config import TrainConfig
from unmask.data import Data
from unmask.device import physical_memory, precision
from unmask.train.loop import train_step
from unmask.train.state import State

WARM, STEPS, SECONDS = 1, 3, 20.0  # steps before the clock, at least so many on it, at most so long


class Gpu(NamedTuple):
    """One of a kind, as its maker says."""

    tflops: float  # of dense products in bfloat16
    gib: float
    inside: float  # GB/s that it sends to others of its machine of eight
    outside: float  # GB/s that it sends to other machines, at one network card each


GPUS = {
    "a100": Gpu(312, 80, 300, 25),
    "h100": Gpu(989, 80, 450, 50),
    "h200": Gpu(989, 141, 450, 50),
    "b200": Gpu(2250, 180, 900, 50),
}
# of a GPU's products that a step reaches: of the network of text8 on an H200, compiled
REACHED = 0.33
TRIED = 4  # steps of each size: a few rows have few masked units by chance, or many
COUNTS = 8, 64, 512
# attention on a CPU without dropout, of which PyTorch's counter knows nothing
ATTENTION: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
BACKWARD: Any = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
UNCOUNTED = {
    ATTENTION: lambda *shapes, **how: sdpa_flop_count(*shapes[:3]),
    BACKWARD: lambda *shapes, **how: sdpa_backward_flop_count(*shapes[:4]),
}


class Plan(NamedTuple):
    """Bytes, floating-point operations and seconds; of one process where nothing else is said.

    `a_row`, `estimate` and `peak` are NaN where the system does not tell them, see `peak_memory`.
    """

    parameters: int
    weights: int
    gradients: int
    averaged: int
    optimizer: int
    rows: int  # of a micro-batch
    a_row: float  # bytes that a row of a micro-batch takes, beyond the first
    estimate: float  # peak of a whole micro-batch, from those of a quarter and a half
    peak: float  # as measured; NaN if there was too little memory to try
    flops: float  # of a step
    seconds: float  # of a step; NaN if there was too little memory to try
    positions: float  # scored in a step
    steps: int


def plan(config: TrainConfig, data: Data, state: State) -> Plan:
    """Take a few steps of an untrained `state`, which is of no use afterwards."""
    rows, device = config.batch_size // config.accumulate, state.model.device
    few = max(1, rows // 4)
    more = max(few + 1, rows // 2)
    peaks = []
    for count in (few, more):
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        one = replace(config, batch_size=count, accumulate=1)
        scored = [float(train_step(one, data, state)[2]) for _ in range(TRIED)]
        peaks.append(peak_memory(device))
    a_row = max(peaks[1] - peaks[0], 0.0) / max(1, more - few)  # in this order, NaN stays NaN
    estimate = peaks[1] + a_row * (rows - more)
    flops = work_of(one, data, state) * config.batch_size / more
    peak = seconds = math.nan
    positions = scored[0] * config.batch_size / more
    if not estimate >= physical_memory(device):  # it may not be known
        seconds, positions = timed(config, data, state)
        peak = peak_memory(device)
    steps = config.steps
    if not steps and seconds == seconds:
        steps = round(60 * config.minutes / seconds)
    parameters = list(state.model.parameters())
    weights = sum(p.nbytes for p in parameters)
    kept = [t for o in state.optimizers for entry in o.state.values() for t in entry.values()]
    return Plan(
        parameters=sum(p.numel() for p in parameters),
        weights=weights,
        gradients=weights,
        averaged=weights,
        optimizer=sum(t.nbytes for t in kept),
        rows=rows,
        a_row=a_row,
        estimate=estimate,
        peak=peak,
        flops=flops,
        seconds=seconds,
        positions=positions,
        steps=steps,
    )


def peak_memory(device: torch.device) -> float:
    """Bytes: of a GPU, what tensors took at most; else of the whole process.  NaN on Windows."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1 << 10
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def work_of(config: TrainConfig, data: Data, state: State) -> float:
    """Floating-point operations of products, forward and backward, in one micro-batch."""
    batch = data.batch("train", config.length, config.batch_size, config.seed, 0, 0)
    device = state.model.device
    state.model.train()
    draws = 2 if config.draws == 2 and config.schedule != "learned" else 1
    counter = FlopCounterMode(display=False, custom_mapping=UNCOUNTED)
    with counter as counted, precision(config.dtype, device):
        state.model(**inputs(batch, device)).loss.backward()
    state.model.zero_grad(set_to_none=True)
    return float(draws * counted.get_total_flops())


def timed(config: TrainConfig, data: Data, state: State) -> tuple[float, float]:
    """Seconds of a step, the median of a few, and positions that it scores."""
    seconds, positions = [], []
    began = time.monotonic()
    while len(seconds) < WARM + STEPS or (
        len(seconds) < 50 and time.monotonic() - began < SECONDS / 4
    ):
        start = time.monotonic()
        positions.append(train_step(config, data, state)[2])  # its loss waits for a GPU
        seconds.append(time.monotonic() - start)
        if len(seconds) > WARM and time.monotonic() - began > SECONDS:
            break
    return statistics.median(seconds[WARM:]), statistics.mean(positions)


class Share(NamedTuple):
    """A step on many GPUs, each with a copy, or its piece (--shard), of the states; seconds and
    bytes."""

    count: int
    computing: float
    sending: float
    memory: float

    @property
    def seconds(self) -> float:
        """Computing and sending overlap."""
        return max(self.computing, self.sending)


def on_gpus(made: Plan, config: TrainConfig, gpu: Gpu, count: int, sharded: bool) -> Share:
    """What a step of this run takes on `count` GPUs that share its micro-batches.

    Computing: operations / (count * REACHED * tflops).  Sending, of P parameters, in a ring:
    copies, 2 (count - 1) / count * 4 P bytes once a step, the gradients; pieces,
    (count - 1) / count * (2 + 2 + 4) P bytes a micro-batch: the weights in bfloat16 forward and
    backward, and the gradients.  A machine has eight GPUs; beyond it the network counts.
    """
    micro = max(1, config.accumulate // count)  # of each GPU
    computing = made.flops / (count * REACHED * gpu.tflops * 1e12)
    part = (count - 1) / count
    sent = part * 8 * made.parameters * (micro if sharded else 1)
    speed = 1e9 * (gpu.inside if count <= 8 else gpu.outside)
    states = made.weights + made.gradients + made.averaged + made.optimizer
    rows = max(1, made.rows * config.accumulate // (micro * count))
    memory = states / (count if sharded else 1) + made.a_row * rows
    return Share(count, computing, sent / speed, memory)


def described(made: Plan, config: TrainConfig, unit: str, gpu: str) -> Iterator[str]:
    """A plan in words, a line each."""
    giga = 1e9
    yield f"parameters   {made.parameters:,}"
    weights, optimizer = f"{made.weights / giga:.3f} GB", f"{made.optimizer / giga:.3f} GB"
    yield (
        f"states       weights, their gradients, their averages: {weights} each; "
        f"optimizer: {optimizer}"
    )
    known = made.estimate == made.estimate
    measured = "not tried, for want of memory"
    if made.peak == made.peak:
        measured = f"measured: {made.peak / giga:.2f} GB"
    if known:
        yield (
            f"memory       {made.estimate / giga:.2f} GB at most, reckoned from a quarter and a "
            f"half of a micro-batch, {measured}"
        )
        yield (
            f"             of it {made.a_row / 1e6:.1f} MB for each of the {made.rows} examples of "
            f"a micro-batch, in {config.dtype}"
        )
    else:
        yield f"memory       beyond the states not known on this system, in {config.dtype}"
    yield f"work         {made.flops / 1e12:.4g} TFLOP of products a step"
    if made.seconds != made.seconds:
        return
    rate = made.positions / made.seconds
    yield (
        f"here         {made.seconds:.3g} s a step, {rate:,.0f} {unit}s/s, "
        f"{made.flops / made.seconds / 1e12:.3g} TFLOP/s"
    )
    yield (
        f"the run      {made.steps:,} steps, {lasting(made.steps * made.seconds)} here, without "
        "evaluations"
    )
    kind = GPUS[gpu]
    yield (
        f"on {gpu.upper()}s, by arithmetic: {REACHED:.0%} of {kind.tflops:g} TFLOP/s; "
        f"{kind.inside:g} GB/s in a machine of eight, {kind.outside:g} GB/s beyond"
    )
    for count in COUNTS:
        if count > config.batch_size:
            yield f"  {count:4}  a step has {config.batch_size} examples, too few to be shared"
            continue
        for sharded in (False, True):
            on = on_gpus(made, config, kind, count, sharded)
            how = "pieces" if sharded else "copies"
            memory = f", {on.memory / giga:.2f} GB" if known else ""
            if on.memory >= 0.9 * kind.gib * 2**30:
                memory += ": too much"
            yield (
                f"  {count:4}  {how}  computing {1e3 * on.computing:.3g} ms, sending "
                f"{1e3 * on.sending:.3g} ms, {made.positions / on.seconds:,.0f} {unit}s/s, "
                f"the run {lasting(made.steps * on.seconds)}{memory}"
            )


def lasting(seconds: float) -> str:
    """A time in the unit that suits it."""
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds:.3g} s"
