#!/usr/bin/env python3
"""What a machine with a GPU makes of this package: is it right, how fast, what does it learn.

    PYTHONPATH=src python3 runs/gpu.py --out OUT --text fil8.xz
    PYTHONPATH=src python3 runs/gpu.py --out OUT --rehearse       # in miniature, on a CPU

Takes minutes.  --text is what is learned; left out, the bundled text.  Needs torch, numpy,
safetensors, tokenizers and tqdm, and none of the command line's packages.

Stages run one after the other, each inside its own share of --minutes and its own try;
OUT/record.json is rewritten after every figure, so that a run that is cut off still tells what it
saw.  What failed is run again by --only.

Three stages come only when asked for by --only: compile; contract, which needs pytest and runs
tests/test_contract.py with all that it makes on the GPU; and table-text, the table of runs/text.py
of one seed, in at most three minutes of the GPU, which OUT/table-text keeps, too.
"""

import argparse
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

import unmask
from unmask import audit, schedules
from unmask.audit.sampler_law import exact_law
from unmask.backbones import Transformer
from unmask.config import TrainConfig
from unmask.data import open_data, prepare_text
from unmask.device import precision
from unmask.formula import continuous
from unmask.kernels.marginals import marginal_nats
from unmask.kinds.registry import presets
from unmask.kinds.sources import read_blocks
from unmask.likelihood import estimate_nelbo
from unmask.masks import Draw
from unmask.sampling import sample, time_grid
from unmask.subtokens import Subtokenizer, consistent
from unmask.train import State, build, compile_network, read_log, train, train_step

STAGES = (
    "exact", "speed", "sampling", "processes", "learn", "compile", "contract", "table-text"
)  # fmt: skip
ASKED = STAGES[-3:]  # only by --only
# of --minutes, that may have passed at a stage's end
SHARES = {
    "exact": 1.0, "speed": 0.5, "sampling": 0.55, "processes": 0.65, "learn": 0.9, "compile": 1.0,
    "contract": 1.0, "table-text": 1.0,
}  # fmt: skip
BUNDLED = Path(unmask.__file__).parent / "kinds" / "text" / "bundled" / "tinyshakespeare.txt"
LAW_STEPS, LAW_DRAWS = 16, 20_000


class Record:
    """A JSON file that grows by one figure at a time."""

    def __init__(self, out: Path):
        self.path, self.began = out / "record.json", time.monotonic()
        self.values: dict[str, dict] = {}
        if self.path.is_file():  # of an earlier run, some of which is run again
            self.values = json.loads(self.path.read_text(encoding="utf-8"))

    def __call__(self, name: str, **values) -> None:
        at = round(time.monotonic() - self.began, 1)
        known, said = dict(values), []
        for key, value in values.items():
            if isinstance(value, float):
                said.append(f"{key} {value:.6g}")
                known[key] = value if math.isfinite(value) else None  # JSON has no other
            else:
                said.append(f"{key} {value}")
        self.values[name] = known | {"at": at}
        self.path.write_text(json.dumps(self.values, indent=1) + "\n", encoding="utf-8")
        print(f"[{at:7.1f} s] {name}: {', '.join(said)}", flush=True)

    def clear(self, name: str) -> None:
        """Forget that a part failed, since it is tried again."""
        self.values.pop(f"FAILED {name}", None)

    def failed(self) -> list[str]:
        wrong = {name for name, value in self.values.items() if value.get("passed") is False}
        return [name for name in self.values if name.startswith("FAILED") or name in wrong]


class Bench:
    """Where figures go, the device, and how long is left."""

    def __init__(self, args: argparse.Namespace):
        self.record = Record(args.out)
        self.rehearse: bool = args.rehearse
        self.device = torch.device("cpu" if args.rehearse else "cuda")
        self.out: Path = args.out
        self.text: Path = args.text
        self.seconds = 60 * args.minutes
        self.until = math.inf
        self.ceiling = math.nan

    def attempt(self, name: str, work: Callable, *given) -> None:
        """One part; if it fails, that is recorded, and the next part still has something to say."""
        self.record.clear(name)
        try:
            work(self, *given)
        except Exception as error:
            traceback.print_exc()
            self.record(f"FAILED {name}", error=f"{type(error).__name__}: {str(error)[:300]}")
            if torch.cuda.is_available():
                torch.cuda.empty_cache()

    def late(self) -> bool:
        """A rehearsal leaves nothing out."""
        return not self.rehearse and time.monotonic() > self.until

    def synchronize(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def timed(self, work: Callable[[], Any], seconds: float) -> float:
        """Median seconds of a call, after two that warm up."""
        for _ in range(2):
            work()
        self.synchronize()
        found: list[float] = []
        end = time.monotonic() + (0.0 if self.rehearse else seconds)
        while len(found) < 3 or time.monotonic() < end:
            began = time.perf_counter()
            work()
            self.synchronize()
            found.append(time.perf_counter() - began)
        return sorted(found)[len(found) // 2]


# ---------------------------------------------------------------- is it right?


def exact(bench: Bench) -> None:
    for vocab_size, length in ((27, 1), (50257, 1), (50257, 2), (125, 3)):
        bench.attempt(f"kernel V={vocab_size} l={length}", check_kernel, vocab_size, length)
    for name in ("md4", "cosine", "genmd4", "prime"):
        bench.attempt(f"model {name}", check_model, name)
    bench.attempt("estimate", check_estimate)
    bench.attempt("golden", check_golden)


class Given(torch.nn.Module):
    """A network that says these logits, in 64 bits, whatever it sees."""

    uses_time = True

    def __init__(self, logits: Tensor):
        super().__init__()
        self.logits_given = torch.nn.Parameter(logits)

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        return self.logits_given


def check_golden(bench: Bench) -> None:
    """MD4's own figures in 64 bits, of tests/golden: losses in continuous time, their gradients.

    The reference's schedules hold an epsilon: 1 - alpha = e + (1 - 2 e) (1 - alpha_ours).
    """
    e, largest = 1e-4, 0.0
    with np.load(Path(__file__).resolve().parents[1] / "tests" / "golden" / "md4_f64.npz") as file:
        figures = {name: file[name] for name in file.files if file[name].dtype.kind in "if"}
    known = {name: torch.from_numpy(values).to(bench.device) for name, values in figures.items()}
    x, t, u = known["in/x0"].long(), known["in/t"], known["in/u"]
    curves = {"linear": schedules.Linear(), "cosine": schedules.Cosine()}
    curves |= {f"poly{power:g}": schedules.Polynomial(power) for power in (0.5, 1.0, 2.0)}
    for name, schedule in curves.items():
        network = Given(known["in/logits"])
        model = unmask.MaskedDiffusion(network, schedule, Subtokenizer(7)).to(bench.device)
        ours = schedule.masked(t)[:, 0]
        theirs = e + (1 - 2 * e) * ours
        scale = schedule.weight(t)[:, 0] * (1 - 2 * e) * ours / theirs
        draw = Draw(t, u >= 1 - theirs[:, None], scale)
        total, each = model.score(model.clean(x), draw)
        total.backward()
        gradient = network.logits_given.grad
        assert gradient is not None
        for found, figure in (
            (each, known[f"loss_ct/{name}/loss_diff"]),
            (gradient, known[f"loss_ct/{name}/grad_logits_of_sum"]),
        ):
            difference = (found - figure).abs().max() / figure.abs().max()
            largest = max(largest, float(difference))
    bench.record("golden md4", largest_relative=largest, passed=largest < 1e-9)


def check_kernel(bench: Bench, vocab_size: int, length: int) -> None:
    """Marginal cross-entropies and their gradient, against the formula in 64 bits on the CPU."""
    generator = torch.Generator().manual_seed(1)
    sub, rows = Subtokenizer(vocab_size, length), 64
    logits = torch.randn(rows, vocab_size, generator=generator, dtype=torch.float64)
    y = sub.digits(torch.randint(vocab_size, (rows,), generator=generator)[:, None]).view(rows, -1)
    masked = torch.rand(rows, length, generator=generator) < 0.6
    masked[:, 0] |= ~masked.any(1)
    order = masked.sum(-1).argsort(descending=True, stable=True)
    logits, y, masked = logits[order], y[order], masked[order]
    factor = torch.rand(rows, generator=generator, dtype=torch.float64) + 0.5

    free = logits.clone().requires_grad_()
    logp = free
    if length > 1:
        agrees = consistent(torch.where(masked, sub.base, y), sub.base)[:, :vocab_size]
        logp = free.masked_fill(~agrees, -torch.inf)
    truth = (factor * continuous(logp.log_softmax(-1), y, masked, sub.base)).sum()
    (of_truth,) = torch.autograd.grad(truth, free)

    for dtype, limit in ((torch.float32, 1e-4), (torch.bfloat16, 3e-2)):
        ours = logits.to(bench.device, dtype).requires_grad_()
        there = y.to(bench.device), masked.to(bench.device)
        total, _ = marginal_nats(ours, *there, sub.base, factor.to(bench.device, torch.float32))
        (of_ours,) = torch.autograd.grad(total, ours)
        error = float((of_ours.double().cpu() - of_truth).norm() / of_truth.norm())
        value = abs(float(total.detach()) / float(truth.detach()) - 1)
        name = f"kernel V={vocab_size} l={length} {str(dtype)[6:]}"
        passed = error < limit and value < limit
        bench.record(name, value_error=value, gradient_error=error, passed=passed)


def small_model(
    name: str, device: torch.device, dtype: torch.dtype = torch.float64
) -> unmask.MaskedDiffusion:
    """Three positions of a few values, with random weights that are the same on every device."""
    vocab_size, length = (4, 2) if name == "prime" else (3, 1)
    curves = {"cosine": schedules.Cosine(), "genmd4": schedules.LearnedPolynomial(vocab_size)}
    size = {"dim": 16, "layers": 1, "heads": 2}
    network = Transformer(vocab_size, **size, time=name == "genmd4", digits=length)
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=generator)
    if network.time is not None:  # smooth in t, so that an integral over t is resolved
        frequency = torch.linspace(0, math.log(1000), size["dim"] // 2).exp()
        with torch.no_grad():
            network.time[0].weight /= frequency.square().repeat(2)
    schedule = curves.get(name, schedules.Linear())
    model = unmask.MaskedDiffusion(network, schedule, Subtokenizer(vocab_size, length))
    return model.to(device, dtype)


def check_model(bench: Bench, name: str) -> None:
    """The enumerated bound here and on the CPU; and the sampler's law, counted and exact."""
    model, reference = small_model(name, bench.device), small_model(name, torch.device("cpu"))
    values = model.subtokenizer.vocab_size
    x = torch.cartesian_prod(*[torch.arange(values)] * 3)
    with torch.no_grad():
        here = audit.exact_nelbo(model, x.to(bench.device)).cpu()
        worst = float((here - audit.exact_nelbo(reference, x)).abs().max())
    bench.record(f"exact bound {name}", cpu_against_device=worst, passed=worst < 1e-8)

    generator = torch.Generator(device=bench.device).manual_seed(5)
    how = {"length": 3, "steps": LAW_STEPS, "grid": "uniform"}
    drawn = sample(model, num=LAW_DRAWS, **how, generator=generator).cpu()
    law = exact_law(reference, time_grid(LAW_STEPS, "uniform"), 3).flatten()
    number = (drawn * torch.tensor([values**2, values, 1])).sum(1)
    share = torch.bincount(number, minlength=values**3).double() / LAW_DRAWS
    distance = float((share - law).abs().sum() / 2)
    expected = float((law * (1 - law) / LAW_DRAWS * 2 / math.pi).sqrt().sum() / 2)
    found = {"total_variation": distance, "expected_by_chance": expected}
    bench.record(f"law of ancestral {name}", **found, passed=distance < 2 * expected)


def check_estimate(bench: Bench) -> None:
    """A bound in bfloat16 here against the same masks in 64 bits on the CPU."""
    batches = [torch.randint(3, (256, 8), generator=torch.Generator().manual_seed(2))]
    truth = estimate_nelbo(small_model("md4", torch.device("cpu")), batches, repeats=4)
    with precision("bfloat16", bench.device):
        found = estimate_nelbo(small_model("md4", bench.device, torch.float32), batches, repeats=4)
    passed = abs(found.mean / truth.mean - 1) < 1e-2
    values = {"mean": found.mean, "of_truth": truth.mean, "noise": found.noise}
    bench.record("estimate in bfloat16", **values, passed=passed)


# ---------------------------------------------------------------- how fast?


class Tokens:
    """Random tokens in the place of prepared data."""

    def __init__(self, vocab_size: int):
        self.vocab_size = vocab_size

    def batch(
        self, split: str, length: int, size: int, seed: int, step: int, micro: int
    ) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(step)
        return {"x": torch.randint(self.vocab_size, (size, length), generator=generator)}


def plan(rehearse: bool) -> list[tuple[str, TrainConfig, int]]:
    """(name, configuration, values of a token) of the training steps that are timed."""
    shape: dict[str, Any] = {"length": 256, "dim": 256, "layers": 4, "heads": 4}
    small = TrainConfig(**shape, batch_size=16, optimizer="adamw", steps=1000)
    text8 = replace(presets()["text8"].config, batch_size=256, accumulate=1)
    owt = replace(presets()["owt-small"].config, batch_size=32, accumulate=1)
    learned = replace(presets()["text8-genmd4"].config, batch_size=128, accumulate=1)
    found = [
        ("S", small, 256),
        ("H", replace(small, layers=2, batch_size=4), 50257),
        ("text8", text8, 27),
        ("text8 muon", replace(text8, optimizer="muon"), 27),
        ("owt-small", owt, 50257),
        ("text8-genmd4", learned, 27),
        ("owt-small, 2 digits", replace(owt, digits=2), 50257),
    ]
    if rehearse:
        tiny: dict[str, Any] = {"dim": 32, "layers": 1, "heads": 2, "batch_size": 2, "length": 32}
        return [(name, replace(config, **tiny), min(values, 300)) for name, config, values in found]
    return found


def speed(bench: Bench) -> None:
    n = 256 if bench.rehearse else 8192
    a, b = (torch.randn(n, n, device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    bench.ceiling = 2 * n**3 / bench.timed(lambda: a @ b, 0.5)
    bench.record("ceiling bf16 product", tflops=bench.ceiling / 1e12)
    for name, config, values in plan(bench.rehearse):
        if not bench.late():
            bench.attempt(f"train {name}", train_speed, name, config, values)
    if not bench.late():
        shape, size = [32, 32, 3], {"batch_size": 64}
        if bench.rehearse:
            shape, size = [8, 8, 1], {"batch_size": 2, "widths": "32", "blocks": 1}
        cifar = replace(presets()["cifar10"].config, length=math.prod(shape), accumulate=1, **size)
        pixels = {"name": "pixels", "shape": shape, "vocab_size": 256}
        meta = {"kind": "images", "tokenizer": pixels}
        bench.attempt("train cifar10", train_speed, "cifar10", cifar, 256, meta)


def compiling(bench: Bench) -> None:
    for name, config, values in plan(bench.rehearse):
        if name in ("S", "text8", "owt-small") and not bench.late():
            compiled = replace(config, compile=True)
            bench.attempt(f"train {name} compiled", train_speed, name, compiled, values)


def train_speed(
    bench: Bench, name: str, config: TrainConfig, values: int, meta: dict | None = None
) -> None:
    """A training step on random tokens.

    Its share of the ceiling counts products alone (`flops_per_token`).
    """
    on_gpu = bench.device.type == "cuda"
    config = replace(config, device=str(bench.device), dtype="bfloat16", steps=1000, minutes=0.0)
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    state = State(build(config, values, {"data": meta or {}}).to(bench.device), config)
    if config.compile:
        compile_network(state.model)
    data: Any = Tokens(values)

    def step() -> None:
        train_step(config, data, state)

    began = time.monotonic()
    step()
    bench.synchronize()
    first = time.monotonic() - began
    seconds = bench.timed(step, 4.0)
    tokens = config.batch_size * config.length
    draws = 2 if config.schedule == "learned" else 1
    done = draws * flops_per_token(state.model, config.length) * tokens / seconds
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None
    size = sum(p.numel() for p in state.model.parameters())
    label = f"train {name} compiled" if config.compile else f"train {name}"
    found = {
        "ms": 1000 * seconds, "tokens_per_second": tokens / seconds,
        "share_of_ceiling": done / bench.ceiling, "peak_gib": memory, "first_step_s": first,
        "parameters": size, "batch": config.batch_size,
    }  # fmt: skip
    bench.record(label, **found)
    if values > 256 and not config.compile and config.digits == 1:
        dense_head(bench, label, config, state, data, seconds)


def dense_head(
    bench: Bench, label: str, config: TrainConfig, state: State, data: Any, ours: float
) -> None:
    """The same step with logits of every position, as the reference implementations take it."""

    def step() -> None:
        x = data.batch("train", config.length, config.batch_size, 0, 0, 0)["x"].to(bench.device)
        masked = torch.rand(x.shape, device=x.device) < 0.5
        with precision(config.dtype, bench.device):
            logits = state.model.backbone(x.masked_fill(masked, state.model.mask_id))
            each = torch.nn.functional.cross_entropy(
                logits.flatten(0, 1).float(), x.flatten(), reduction="none"
            )
        (each * masked.flatten()).mean().backward()
        torch.nn.utils.clip_grad_norm_(state.model.backbone.parameters(), 1.0)
        for optimizer in state.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    if bench.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds = bench.timed(step, 2.0)
    on_gpu = bench.device.type == "cuda"
    memory = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else None
    bench.record(
        f"{label}, dense head", ms=1000 * seconds, times_ours=seconds / ours, peak_gib=memory
    )


def flops_per_token(model: unmask.MaskedDiffusion, length: int) -> float:
    """Of products, forward and backward; NaN for a U-Net.

    6 for every weight of a matrix in the blocks, 12 * layers * length * width for attention; for
    the head, of 6, the share of tokens that are masked somewhere: a third of whole ones, 7/15 of
    those of two digits, since counts of masked units are drawn by k^-1/2.
    """
    network: Any = model.backbone
    if not isinstance(network, Transformer):
        return math.nan
    inside = sum(p.numel() for p in network.blocks.parameters() if p.ndim == 2)
    attention = len(network.blocks) * length * network.blocks[0].qkv.in_features
    shown = math.prod(2 * i / (2 * i + 1) for i in range(1, network.digits + 1))
    head = 6.0 * (1 - shown) * network.head.weight.numel()
    return 6.0 * inside + head + 12.0 * attention


def sampling(bench: Bench) -> None:
    config = replace(presets()["text8"].config, device=str(bench.device))
    num = 64
    if bench.rehearse:
        config, num = replace(config, dim=32, layers=1, heads=2, length=32), 2
    model = build(config, 27, {}).to(bench.device).eval()
    for how, steps in (("ancestral", 64), ("ancestral", 256), ("first_hitting", 1)):
        if bench.late():
            return
        with precision("bfloat16", bench.device):
            sample(model, num=2, length=config.length, sampler=how, steps=min(steps, 8))
            bench.synchronize()
            began = time.perf_counter()
            sample(model, num=num, length=config.length, sampler=how, steps=steps)
            bench.synchronize()
        rate = num / (time.perf_counter() - began)
        size = {"batch": num, "length": config.length}
        bench.record(f"sample {how} {steps}", sequences_per_second=rate, **size)


# ---------------------------------------------------------------- what does it learn?


def processes(bench: Bench) -> None:
    """The same run plainly, stopped and continued, as a copy (DDP) and in pieces (FSDP2).

    The last two by torchrun, in one process on a GPU and two on a CPU: that is what there is.
    """
    work = Path(tempfile.mkdtemp())
    prepare_text(BUNDLED, work / "data", tokenizer="characters", progress=False)
    plain: dict[str, Any] = {
        "length": 64, "dim": 64, "layers": 2, "heads": 2, "batch_size": 16, "accumulate": 2,
        "steps": 20, "warmup": 5, "eval_minutes": 0.0, "eval_windows": 8, "dtype": "float32",
        "device": bench.device.type,
    }  # fmt: skip
    many = 1 if bench.device.type == "cuda" else 2
    bounds = {}
    for name, changes, stop, count in (
        ("plain", {}, 0, 0),
        ("continued", {}, 11, 0),
        ("copies", {}, 0, many),
        ("pieces", {"shard": True}, 0, many),
        ("pieces in bfloat16", {"shard": True, "dtype": "bfloat16"}, 0, many),
        ("recomputed", {"recompute": True}, 0, 0),
    ):
        run = [json.dumps(plain | changes), str(work / "data"), str(work / name)]
        torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
        start = [sys.executable, *(torchrun if count else []), str(work / "run.py")]
        (work / "run.py").write_text(TRAIN)
        env = {**os.environ, "PYTHONPATH": str(Path(unmask.__file__).parents[1])}
        for at in [stop, 0] if stop else [0]:
            done = subprocess.run(
                [*start, *run, str(at)], env=env, capture_output=True, encoding="utf-8", timeout=150
            )
            if done.returncode:
                print(done.stderr[-3000:], flush=True)
                raise RuntimeError(f"{name}: exit code {done.returncode}")
        last = [row for row in read_log(work / name / "log.jsonl") if "bits" in row][-1]
        bounds[name] = last["bits"]
        difference = abs(last["bits"] - bounds["plain"])
        limit = 2e-2 if "bfloat16" in name else 1e-3
        found = {"processes": count or 1, "bits": last["bits"], "difference": difference}
        bench.record(f"processes {name}", **found, passed=difference < limit)
    shutil.rmtree(work, ignore_errors=True)


# what a process of that stage runs: fields, data, folder, the step at which Ctrl-C comes (0: none)
TRAIN = """
import json, os, signal, sys
from contextlib import suppress
import unmask.train.loop
from unmask.config import TrainConfig
from unmask.train import train

fields, data, out, stop = sys.argv[1:]
step = unmask.train.loop.train_step

def interrupted(config, data, state, steps):
    if state.step == int(stop) > 0:
        os.kill(os.getpid(), signal.SIGINT)
    return step(config, data, state, steps)

unmask.train.loop.train_step = interrupted
with suppress(KeyboardInterrupt):
    train(TrainConfig(**json.loads(fields)), data, out)
os._exit(0)
"""


def learn(bench: Bench) -> None:
    """The text8 network on a text, as long as the stage has time.

    Its bound on the held-out hundredth, and four samples.
    """
    minutes = max(1.0, (bench.until - time.monotonic()) / 60)
    batch, limit = 512, 2048
    sizes: dict[str, Any] = {"batch_size": 256, "accumulate": 1}
    if bench.rehearse:
        minutes, batch, limit = 0.05, 64, 8
        sizes = {"dim": 32, "layers": 1, "heads": 2, "length": 32}
        sizes |= {"batch_size": 8, "eval_windows": 8}
    settings: dict[str, Any] = {
        "optimizer": "muon", "learning_rate": 3e-3, "muon_learning_rate": 0.02, "ema": 0.999,
        "warmup": 100, "decay": "linear", "decay_share": 0.7, "dropout": 0.0, "steps": 0,
        "minutes": minutes, "eval_minutes": max(minutes / 4, 0.02), "checkpoint_minutes": 60.0,
        "device": str(bench.device), "dtype": "bfloat16", "log_every": 50,
    }  # fmt: skip
    config = replace(presets()["text8"].config, **settings, **sizes)
    work = Path(tempfile.mkdtemp())  # not below --out, from which only a few small files come back
    how = {"tokenizer": "characters", "split": "0.98,0.01,0.01"}
    prepare_text(bench.text, work / "data", **how, progress=False)
    folder = train(config, work / "data", work / "run")
    rows = [row for row in read_log(work / "run" / "log.jsonl") if "bits" in row]
    model = unmask.MaskedDiffusion.from_pretrained(folder).to(bench.device)
    held = open_data(work / "data")
    windows = held.windows("test", config.length, batch, limit=limit)
    with precision("bfloat16", bench.device):
        bound = estimate_nelbo(model, windows, repeats=4)
        texts = sample(model, num=4, steps=256)
    found = {
        "text": bench.text.name, "bits": bound.bits_per_dim, "stderr": bound.bits_per_dim_stderr,
        "noise": bound.bits_per_dim_noise, "validation": [row["bits"] for row in rows],
        "steps": rows[-1]["step"], "minutes": minutes,
        "parameters": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip
    bench.record("learn", **found)
    for row in texts.tolist():
        print("   ", held.tokenizer.decode(row).replace("\n", " "), flush=True)
    shutil.copy(work / "run" / "log.jsonl", bench.out / "learn-log.jsonl")
    shutil.rmtree(work, ignore_errors=True)


# ---------------------------------------------------------------- when asked for


class Told:
    """A plugin of pytest that keeps what became of the tests."""

    def __init__(self) -> None:
        self.right, self.wrong = 0, list[str]()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.wrong.append(report.nodeid.partition("::")[2])
        elif report.when == "call":
            self.right += report.passed


def contract(bench: Bench) -> None:
    """tests/test_contract.py where the default device is this one: networks, data and schedules are
    there, and generators stay on the CPU.

    The seeds are those of the tests, but what is drawn from the device's own generator differs.
    """
    import pytest

    tests, told = Path(__file__).resolve().parents[1] / "tests" / "test_contract.py", Told()
    few = ["-k", "schedule"] if bench.rehearse else []
    with bench.device:
        code = pytest.main(
            ["-q", "--tb=short", "-p", "no:cacheprovider", *few, str(tests)], plugins=[told]
        )
    found = {"right": told.right, "wrong": len(told.wrong), "which": told.wrong}
    bench.record("contract", **found, passed=code == 0)


def table_text(bench: Bench) -> None:
    """The table of runs/text.py of the text's 27 letters, as that script makes it: all rows, the
    search, one seed.  What is no letter becomes a space, as in text8, where numbers are spelled."""
    beside = str(Path(__file__).resolve().parent)
    if beside not in sys.path:
        sys.path.insert(0, beside)
    import text

    work, kept = Path(tempfile.mkdtemp()), bench.out / "table-text"
    try:
        whole = b"".join(read_blocks(bench.text, tqdm(disable=True))).decode("utf-8")
        letters = re.sub("[^a-z]+", " ", whole.lower())
        (work / "letters.txt").write_text(letters, "utf-8")
        how = {"tokenizer": "characters", "alphabet": "text8", "split": "0.98,0.01,0.01"}
        prepare_text(work / "letters.txt", work / "data", **how, progress=False)
        record_table(bench, text, work, kept)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def record_table(bench: Bench, text: ModuleType, work: Path, kept: Path) -> None:
    """Make the table of a script of rivals, of work/data, and keep what is small of work/out."""
    minutes = min(3.0, max(1.0, (bench.until - time.monotonic()) / 60))
    flags = ["--seeds", "0", "--device", bench.device.type, "--minutes", f"{minutes:.2f}"]
    if bench.rehearse:
        flags += ["--calls", "16", "--only", "md4,genmd4,ar", "--rates", "0.003", "--windows", "4"]
        flags += ["--length", "8", "--dim", "16", "--layers", "1", "--batch-size", "4"]
    else:
        flags += ["--length", "256", "--dim", "256", "--layers", "4", "--batch-size", "64"]
    shutil.rmtree(kept, ignore_errors=True)  # of an earlier run
    try:
        if text.main([str(work / "data"), str(work / "out"), *flags]) == 130:
            raise KeyboardInterrupt
    except SystemExit as stop:  # which is no error to `attempt`
        raise RuntimeError(str(stop.code)) from None
    finally:
        if (work / "out").is_dir():  # a few small files of what there is
            large = shutil.ignore_patterns("models", "runs")
            shutil.copytree(work / "out", kept, ignore=large)
    records = [json.loads(path.read_text("utf-8")) for path in sorted((kept / "cells").iterdir())]
    failed = [f"{one['row']} at {one['rate']:g}" for one in records if "failed" in one]
    found = {"minutes": minutes, "cells": len(records), "which_failed": failed}
    bench.record("table-text", **found, table=text.table(kept), passed=not failed)


def main(argv: list[str] | None = None) -> int:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--out", type=Path, required=True, help="a folder for record.json")
    what = "a text for the stage that learns"
    parser.add_argument("--text", type=Path, default=BUNDLED, help=what)
    parser.add_argument("--minutes", type=float, default=5.0, help="all stages together")
    what = f"stages; {', '.join(ASKED)} only when asked for"
    plain = [stage for stage in STAGES if stage not in ASKED]
    parser.add_argument("--only", nargs="+", choices=STAGES, default=plain, help=what)
    what = "in miniature, on a CPU, nothing left out"
    parser.add_argument("--rehearse", action="store_true", help=what)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    if not args.rehearse and not torch.cuda.is_available():
        parser.error("there is no GPU here: give --rehearse")
    bench, began = Bench(args), time.monotonic()
    name = torch.cuda.get_device_properties(0).name if bench.device.type == "cuda" else "cpu"
    machine = {
        "python": sys.version.split()[0], "torch": torch.__version__, "device": name,
        "tf32": torch.backends.cuda.matmul.allow_tf32, "unmask": unmask.__version__,
    }  # fmt: skip
    bench.record("machine", **machine)
    work = (exact, speed, sampling, processes, learn, compiling, contract, table_text)
    for stage, do in zip(STAGES, work, strict=True):
        if stage in args.only:
            bench.until = began + SHARES[stage] * bench.seconds
            bench.attempt(stage, do)
    failed = bench.record.failed()
    bench.record("done", seconds=time.monotonic() - began, failed=failed)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
