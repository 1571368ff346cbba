"""The training loop, in reading order.  A folder holds a run: run.json, log.jsonl and checkpoints/STEP.

Everything random is a function of (seed, step, micro-batch), so a run that is killed at any moment continues by the same command
and, on the same CPU machine with the same number of threads, ends with the same bits.
"""

import json
import math
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from tqdm import tqdm

from unmask import __version__, checkpoint, schedules
from unmask.backbones import Transformer, UNet
from unmask.config import TrainConfig, differences
from unmask.data import Data, Table, open_data
from unmask.device import pick_device, pick_dtype, precision
from unmask.diffusion import MaskedDiffusion, unpack
from unmask.likelihood import Estimate, estimate_nelbo
from unmask.muon import Muon
from unmask.subtokens import Subtokenizer

WARM, CALIBRATE = 5, 0.06  # the first steps are slow; those of the next share of --minutes fix their number


def build(config: TrainConfig, vocab_size: int, meta: dict) -> MaskedDiffusion:
    """The untrained model of a configuration; its weights depend on `config.seed` alone."""
    generator = torch.Generator().manual_seed(config.seed)
    codes = torch.randperm(vocab_size, generator=generator) if config.codes == "random" else None
    subtokenizer = Subtokenizer(vocab_size, config.digits, codes)  # before the network: its errors are about the vocabulary
    curve: dict[str, Any] = {"name": config.schedule}
    if config.schedule == "polynomial":
        curve["power"] = config.power
    elif config.schedule == "learned":
        num_values = subtokenizer.base if config.masking == "digit" else vocab_size
        curve = {"name": "learned_polynomial", "num_values": num_values, "init": config.power}
    data = meta.get("data", {})
    allowed = torch.from_numpy(Table.from_spec(data["tokenizer"]).allowed) if data.get("kind") == "tables" else None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        backbone = network(config, vocab_size, data)
        how: dict[str, Any] = {"objective": config.objective, "masking": config.masking, "allowed": allowed, "meta": meta}
        return MaskedDiffusion(backbone, schedules.from_config(curve), subtokenizer, **how)


def network(config: TrainConfig, vocab_size: int, data: dict) -> nn.Module:
    """The untrained network of a configuration, for the data whose meta.json is `data`."""
    shared: dict[str, Any] = {"dim": config.dim, "layers": config.layers, "heads": config.heads, "mlp": config.mlp or None}
    shared |= {"dropout": config.dropout, "time": config.time, "classes": data.get("classes", 0) if config.labels else 0}
    if config.network == "transformer":
        places, ends = config.length * (data.get("kind") == "tables"), data.get("kind") == "proteins"
        return Transformer(vocab_size, digits=config.digits, decoder=config.decoder, places=places, ends=ends, **shared)
    shape = data.get("tokenizer", {}).get("shape")
    if shape is None:
        raise ValueError("--network unet is for pictures, and this data has none: use --network transformer")
    if config.digits > 1:
        raise ValueError(f"--network unet takes whole values, not digits {config.digits}: use --network transformer")
    return UNet(vocab_size, shape, widths=config.channels(), blocks=config.blocks, **shared)


def train(config: TrainConfig, data_folder: str | Path, out: str | Path) -> Path:
    """Train `config` on prepared data into the folder `out`, or continue what is there; returns the last checkpoint's folder.

    ValueError before any work for a configuration, data or folder that do not fit; FloatingPointError when the loss is not finite
    (the last good checkpoint stays); KeyboardInterrupt after a checkpoint on Ctrl-C or SIGTERM.
    """
    config.check()
    data, out = open_data(data_folder, labels=config.labels), Path(out)
    config = replace(config, length=config.length or data.length)
    data.batch("train", config.length, 1, 0, 0)  # a length that does not fit is an error here
    device = pick_device(config.device)
    config = replace(config, device=str(device), dtype=pick_dtype(config.dtype, device))
    if config.threads:
        torch.set_num_threads(config.threads)
    meta = {
        "length": config.length,
        "data": data.meta,
        "labels": config.labels,
        "label_dropout": config.labels * config.label_dropout,
        "unmask": __version__,
    }
    state = State(build(config, data.vocab_size, meta).to(device), config)
    if config.compile:
        compile_network(state.model)
    run = open_run(out, config, data)
    with locked(out), torch.random.fork_rng([device] if device.type == "cuda" else []), stop_signal() as stopped:
        for leftover in out.glob("checkpoints/.*.new-*"):  # of a kill while writing
            shutil.rmtree(leftover)
        done = checkpoint.checkpoints(out)
        if done:
            try:
                state.load(done[-1])
            except ValueError as error:
                before = f"; or remove {done[-1]} to continue from {done[-2]}" if len(done) > 1 else ""
                raise ValueError(f"{error}{before}") from None
        if run["steps"] and state.step >= run["steps"]:
            print(f"this run is finished: {state.step} steps", file=sys.stderr)
        else:
            print(begin(config, run, state, data), file=sys.stderr)
            loop(config, data, out, run, state, Log(out / "log.jsonl", state.step), stopped)
    return checkpoint.resolve(out)


def begin(config: TrainConfig, run: dict, state: "State", data: Data) -> str:
    """What a person wants to know before waiting."""
    size = sum(p.numel() for p in state.model.parameters()) / 1e6
    length = f"{run['steps']:,} steps" if run["steps"] else f"about {config.minutes:g} minutes"
    where = f"continuing at step {state.step:,} of " if state.step else ""
    units = f" of {state.model.subtokenizer.length} digits in base {state.model.subtokenizer.base}" if config.digits > 1 else ""
    step = f"{data.batch_name(config.batch_size, config.length)}{units} a step"
    stop = "Ctrl-C saves, and the same command continues"
    return f"{size:.2f} M parameters on {config.device} in {config.dtype}; {step}; {where}{length}; {stop}"


def loop(config, data: Data, out: Path, run: dict, state: "State", log: "Log", stopped: threading.Event) -> None:
    """From `state.step` to the last step."""
    began = time.monotonic() - state.seconds
    first, first_time = state.step + WARM, time.monotonic()
    last_eval = last_saved = last_log = time.monotonic()
    tokens_since, losses = 0, []
    bar = tqdm(total=run["steps"] or None, initial=state.step, unit="step", dynamic_ncols=True, disable=None)
    with bar:
        while not run["steps"] or state.step < run["steps"]:
            loss, norm, tokens = train_step(config, data, state, run["steps"])
            if not (math.isfinite(loss) and math.isfinite(norm)):
                kept = checkpoint.checkpoints(out)
                raise FloatingPointError(
                    f"the loss at step {state.step} is {loss}, the gradient's norm {norm}: training stopped; "
                    + (f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet")
                    + "; try a lower learning rate in another folder"
                )
            losses.append(loss)
            tokens_since += tokens
            now = time.monotonic()
            state.seconds = now - began
            if state.step == first:
                first_time = now
            if not run["steps"] and state.step >= first + 5 and now - first_time > min(CALIBRATE * config.minutes, 1) * 60:
                rate = (state.step - first) / (now - first_time)
                state.save(out, data)  # what a resumed run starts from: the steps before did not know their number
                run["steps"] = bar.total = max(state.step + 1, state.step + round(rate * (60 * config.minutes - state.seconds)))
                checkpoint.write_json(out / "run.json", run)
            bar.update()
            if state.step % config.log_every == 0 or state.step == run["steps"]:
                mean, losses = sum(losses) / len(losses), []
                rate, tokens_since, last_log = tokens_since / (now - last_log), 0, now
                loss_name = "loss" if config.objective == "nelbo" else "joint_loss"
                log.write(step=state.step, seconds=state.seconds, **{loss_name: mean}, norm=norm, rate=rate, **state.rates())
                said = f"{mean / math.log(2):.3f} bits" if config.objective == "nelbo" else f"joint loss {mean:.3f} (not a bound)"
                bar.set_postfix_str(f"{said}, {rate:,.0f} tokens/s")
            final = state.step == run["steps"]
            if "validation" in data.splits and (final or (config.eval_minutes and now - last_eval > 60 * config.eval_minutes)):
                bound = evaluate(state.averaged, data, "validation", config)
                log.write(step=state.step, seconds=state.seconds, bits=bound.bits_per_dim, stderr=bound.bits_per_dim_stderr,
                          noise=bound.bits_per_dim_noise, windows=len(bound.positions))  # fmt: skip
                bar.write(
                    f"step {state.step}: validation bound {bound.bits_per_dim:.3f} +- {bound.bits_per_dim_stderr:.3f} bits per {data.unit}",
                    file=sys.stderr,
                )
                last_eval = time.monotonic()
            if final or stopped.is_set() or now - last_saved > 60 * config.checkpoint_minutes:
                folder = state.save(out, data)
                last_saved = time.monotonic()
                if stopped.is_set() and not final:
                    raise KeyboardInterrupt(f"stopped at step {state.step}; the same command continues from {folder}")
            last_log += time.monotonic() - now  # the rate is that of training alone


def train_step(config: TrainConfig, data: Data, state: "State", steps: int) -> tuple[float, float, int]:
    """One step of the optimizers: (loss in nats per position, norm of the gradient, positions)."""
    model, device, step = state.model, torch.device(config.device), state.step
    size = config.batch_size // config.accumulate
    batches = [data.batch("train", config.length, size, config.seed, step, micro) for micro in range(config.accumulate)]
    counts = [int(b["valid"].sum()) if "valid" in b else b["x"].numel() for b in batches]
    model.train()
    loss = torch.zeros((), device=device)
    for micro, (batch, count) in enumerate(zip(batches, counts, strict=True)):
        torch.manual_seed(seed_of(config.seed, step, micro))  # masks and dropout
        x, cond, valid = unpack(batch, device)
        if cond is not None and config.label_dropout:
            cond = cond.masked_fill(torch.rand(len(cond)).to(device) < config.label_dropout, data.classes)
        if config.draws == 2 and config.schedule != "learned":
            x, cond, valid = (None if v is None else v.repeat_interleave(2, 0) for v in (x, cond, valid))
        with precision(config.dtype, device):
            terms = model(x, cond, valid)
        share = count / sum(counts)
        (share * terms.loss).backward()
        # the value of GenMD4's loss is a surrogate's: what is told is the mean of its two draws of the bound
        loss += share * (terms.loss.detach() if terms.nelbo is None else terms.nelbo.mean() * len(batch["x"]) / count)
    norm = nn.utils.clip_grad_norm_(model.backbone.parameters(), config.clip or math.inf)
    # apart: noisier than the network's
    of_schedule = nn.utils.clip_grad_norm_(list(model.schedule.parameters()), config.clip or math.inf)
    loss, norm = float(loss), float(norm) if math.isfinite(float(of_schedule)) else math.nan
    if math.isfinite(loss) and math.isfinite(norm):
        factor = rate_factor(config, step, steps)
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state.ema.update_parameters(model)
        state.step += 1
    return loss, norm, sum(counts)


def seed_of(*parts: int) -> int:
    """One 63-bit seed from (seed, step, micro-batch)."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


def rate_factor(config: TrainConfig, step: int, steps: int) -> float:
    """The learning rates' factor at `step`: up over `warmup` steps, down to 0 over the last `decay_share` of `steps` (0: unknown yet)."""
    up = min(1.0, (step + 1) / max(1, config.warmup))
    left = 1.0 if not steps else min(1.0, (steps - step) / (steps * config.decay_share))
    return up * (left if config.decay == "linear" else 0.5 - 0.5 * math.cos(math.pi * left))


def evaluate(model: MaskedDiffusion, data: Data, split: str, config: TrainConfig) -> Estimate:
    """The bound on evenly spread windows of a split, at the run's precision; the same windows and masks every time."""
    device = torch.device(config.device)
    windows = data.windows(split, config.length, max(1, config.batch_size // config.accumulate), limit=config.eval_windows)
    with precision(config.dtype, device):
        return estimate_nelbo(model, windows, repeats=config.eval_repeats, seed=config.seed)


class State:
    """What a checkpoint holds: weights, their average, the optimizers' state, the step."""

    def __init__(self, model: MaskedDiffusion, config: TrainConfig):
        self.model, self.step, self.seconds = model, 0, 0.0
        decay = config.ema

        @torch.no_grad()
        def average(averaged, current, n) -> None:
            torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + int(n)) / (10 + int(n))))

        self.ema = AveragedModel(model, multi_avg_fn=average)
        self.ema.eval()
        self.optimizers = optimizers(model, config)

    @property
    def averaged(self) -> MaskedDiffusion:
        assert isinstance(self.ema.module, MaskedDiffusion)
        return self.ema.module

    def rates(self) -> dict[str, float]:
        return {type(o).__name__.lower() + "_rate": o.param_groups[0]["lr"] for o in self.optimizers}

    def save(self, run: Path, data: Data) -> Path:
        """Write checkpoints/STEP, whole or not at all, and drop all but the newest two."""
        folder = run / "checkpoints" / f"{self.step:08d}"
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for index, entries in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{i}.{index}.{name}": value for name, value in entries.items()}
        config = self.averaged.config() | {"training": {"step": self.step, "seconds": self.seconds, "averaged": int(self.ema.n_averaged)}}
        checkpoint.save(folder, config, {"model.safetensors": self.averaged.state_dict(), "training.safetensors": tensors},
                        data.tokenizer.files())  # fmt: skip
        for old in checkpoint.checkpoints(run)[:-2]:
            shutil.rmtree(old)
        return folder

    def load(self, folder: Path) -> None:
        config, averaged = checkpoint.load(folder, "model.safetensors")
        _, tensors = checkpoint.load(folder, "training.safetensors")
        self.step, self.seconds = config["training"]["step"], config["training"]["seconds"]
        self.averaged.load_state_dict(averaged)
        self.ema.n_averaged.fill_(config["training"]["averaged"])
        self.model.load_state_dict({name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")})
        for i, optimizer in enumerate(self.optimizers):
            entries: dict[int, dict[str, Tensor]] = {}
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for name, tensor in tensors.items():
                if name.startswith(f"optimizer.{i}."):
                    _, _, index, key = name.split(".")
                    like = parameters[int(index)]
                    if tensor.shape == like.shape:  # and of its layout in memory, which a file does not keep and fused kernels rely on
                        tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
                    entries.setdefault(int(index), {})[key] = tensor
            optimizer.load_state_dict({"state": entries, "param_groups": optimizer.state_dict()["param_groups"]})


def optimizers(model: MaskedDiffusion, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices and kernels of the blocks (if asked for), AdamW for all else; decay for the former alone.

    The powers of a learned schedule have a learning rate of their own.
    """
    matrices = [p for name, p in model.named_parameters() if p.ndim >= 2 and ".blocks." in name]
    powers = list(model.schedule.parameters())
    inside = {id(p) for p in matrices + powers}
    outside = [p for p in model.parameters() if id(p) not in inside]
    plain: list[dict[str, Any]] = [{"params": outside, "weight_decay": 0.0}]
    if powers:
        plain.append({"params": powers, "weight_decay": 0.0, "lr": config.schedule_learning_rate})
    if config.optimizer == "adamw":
        plain.append({"params": matrices, "weight_decay": config.weight_decay})
    found: list[torch.optim.Optimizer] = [torch.optim.AdamW(plain, lr=config.learning_rate, betas=(0.9, config.beta2), fused=True)]
    if config.optimizer == "muon":
        half = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
        turned = [m.weight for m in model.modules() if isinstance(m, nn.ConvTranspose2d)]
        found.append(Muon(matrices, config.muon_learning_rate, weight_decay=config.weight_decay, transposed=turned, dtype=half))
    for optimizer in found:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return found


def compile_network(model: MaskedDiffusion) -> None:
    """torch.compile the part that turns z into features; the head's rows change in number every step and stay out of it."""
    if not any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        raise ValueError("--compile needs a C++ compiler (g++ or clang++), and there is none: leave it out, or install one")
    network: Any = model.backbone
    network.features = torch.compile(network.features)


def open_run(out: Path, config: TrainConfig, data: Data) -> dict:
    """run.json of a new or resumed run; ValueError if the folder holds anything else than this very run."""
    identity = config.identity() | {"data": {"sha256": data.meta["sha256"], "tokenizer": data.meta["tokenizer"]}}
    path = out / "run.json"
    if path.is_file():
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            before, _ = dict(run["identity"]), int(run["steps"])
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise ValueError(f"{path} is damaged: choose another --out") from None
        wrong = differences(config.identity(), before)
        if wrong:
            said = ", ".join(f"{name} {before.get(name)!r} there, {identity[name]!r} here" for name in wrong)
            why = (
                "; its length was fixed when it began, since the learning rate falls over it" if set(wrong) <= {"steps", "minutes"} else ""
            )
            raise ValueError(f"{out} is another run ({said}){why}: choose another --out, or the same values")
        if before.get("data") != identity["data"]:
            raise ValueError(f"{out} was trained on other data than {data.folder}: choose another --out")
        return run
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is not a training run: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    run = {"steps": config.steps, "identity": identity, "unmask": __version__}
    checkpoint.write_json(path, run)
    return run


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Keep a second process out of a run's folder; where the system has no file locks, nothing is kept out."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(out / ".lock", "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ValueError(f"another process is training in {out}: wait for it, or choose another --out") from None
        yield


class Log:
    """log.jsonl: a line per `write`; lines of steps that a resumed run will do again are dropped."""

    def __init__(self, path: Path, step: int):
        self.path = path
        if path.exists():
            kept = [row for row in read_log(path) if row["step"] <= step]
            new = path.with_name(f".{path.name}.new")
            new.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
            new.replace(path)

    def write(self, **row) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            row = {name: float(f"{v:.6g}") if isinstance(v, float) else v for name, v in row.items() if v == v}  # JSON has no NaN
            file.write(json.dumps(row) + "\n")


def read_log(path: Path) -> list[dict]:
    """The rows of log.jsonl; a last line that was cut short by a kill is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, so that the step under way ends and a checkpoint is written; a second Ctrl-C is at once."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number, frame):
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    for number in before:
        signal.signal(number, stop)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
