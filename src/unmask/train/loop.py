"""The training loop, in reading order.

A folder holds a run: run.json, log.jsonl and checkpoints/STEP.  Everything random is a function of
(seed, step, micro-batch), so a run that is killed at any moment continues by the same command and,
on the same CPU machine with the same number of threads, ends with the same bits.
"""

import math
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from unmask import __version__, checkpoint
from unmask.batch import inputs, scored_positions
from unmask.config import TrainConfig
from unmask.data import Data, open_data
from unmask.device import pick_device, pick_dtype, precision
from unmask.diffusion import MaskedDiffusion
from unmask.estimate import Estimate, plus_minus
from unmask.files import remove_leftovers
from unmask.kinds.kind import damaged_spec
from unmask.likelihood import estimate_nelbo
from unmask.train.build import build, compile_network
from unmask.train.run import RUN, Log, locked, make_folder, open_run, stop_signal
from unmask.train.state import State

# --minutes become a number of steps: the first steps are slow and do not count, then the rate is
# taken over at least so many steps and so large a share of the minutes, or one minute
SLOW, LEAST, CALIBRATE = 5, 5, 0.06


def train(config: TrainConfig, data_folder: str | Path, out: str | Path) -> Path:
    """Train `config` on prepared data into the folder `out`, or continue what is there.

    Returns the last checkpoint's folder.  ValueError before any work for a configuration, data or
    folder that do not fit; FloatingPointError when the loss is not finite (the last good checkpoint
    stays); KeyboardInterrupt after a checkpoint on Ctrl-C or SIGTERM.
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
        "label_dropout": config.label_dropout if config.labels else 0.0,
        "unmask": __version__,
    }
    state = State(build(config, data.vocab_size, meta).to(device), config)
    if config.compile:
        compile_network(state.model)
    with damaged_spec(data.folder):
        data.tokenizer.files()  # what a checkpoint needs: an error here, not after the first steps
    make_folder(out)
    devices = [device] if device.type == "cuda" else []
    with locked(out), torch.random.fork_rng(devices), stop_signal() as stopped:
        remove_leftovers(out)
        remove_leftovers(out / "checkpoints")
        run = open_run(out, config, data)
        resume(state, out)
        log = Log(out / "log.jsonl", state.step)
        if not run["steps"] or state.step < run["steps"]:
            print(described(config, run, state, data), file=sys.stderr)
            loop(config, data, out, run, state, log, stopped)
        elif "validation" in data.splits and not log.evaluated(state.step):
            print(write_bound(config, state, log, data, stopped), file=sys.stderr)
        else:
            print(f"this run is finished: {state.step} steps", file=sys.stderr)
    return checkpoint.resolve(out)


def resume(state: State, out: Path) -> None:
    """Load the last checkpoint of a run, if there is one."""
    done = checkpoint.checkpoints(out)
    if not done:
        return
    try:
        state.load(done[-1])
    except ValueError as error:
        or_else = ""
        if len(done) > 1:
            or_else = f"; or remove {done[-1]} to continue from {done[-2]}"
        raise ValueError(f"{error}{or_else}") from None


def described(config: TrainConfig, run: dict, state: State, data: Data) -> str:
    """A run in words: what a person wants to know before waiting."""
    size = sum(p.numel() for p in state.model.parameters()) / 1e6
    lasts = f"{run['steps']:,} steps" if run["steps"] else f"about {config.minutes:g} minutes"
    if state.step:
        lasts = f"continuing at step {state.step:,} of {lasts}"
    batch = data.batch_name(config.batch_size, config.length)
    if config.digits > 1:
        subtokenizer = state.model.subtokenizer
        batch += f" of {subtokenizer.length} digits in base {subtokenizer.base}"
    return (
        f"{size:.2f} M parameters on {config.device} in {config.dtype}; {batch} a step; {lasts}; "
        "Ctrl-C saves, and the same command continues"
    )


def loop(
    config: TrainConfig,
    data: Data,
    out: Path,
    run: dict,
    state: State,
    log: Log,
    stopped: threading.Event,
) -> None:
    """From `state.step` to the last step, `run["steps"]`, which is 0 until --minutes have become a
    number of steps."""
    began = time.monotonic() - state.seconds  # as if it had never been interrupted
    first, first_time = state.step + SLOW, time.monotonic()
    last_eval = last_saved = last_log = time.monotonic()
    tokens_since, losses = 0, []  # since last_log
    counted = {"total": run["steps"] or None, "initial": state.step, "unit": "step"}
    with tqdm(**counted, dynamic_ncols=True, disable=None) as bar:
        while not run["steps"] or state.step < run["steps"]:
            loss, norm, tokens = train_step(config, data, state, run["steps"])
            if not (math.isfinite(loss) and math.isfinite(norm)):
                raise diverged(state.step, loss, norm, out)
            losses.append(loss)
            tokens_since += tokens
            now = time.monotonic()
            state.seconds = now - began
            if state.step == first:
                first_time = now
            calibrating = not run["steps"] and state.step >= first + LEAST
            if calibrating and now - first_time > min(CALIBRATE * config.minutes, 1) * 60:
                steps_a_second = (state.step - first) / (now - first_time)
                left = round(steps_a_second * (60 * config.minutes - state.seconds))
                run["steps"] = bar.total = max(state.step + 1, state.step + left)
                # Saved first, so that a resumed run never repeats the steps so far: knowing their
                # number, it would take them at other learning rates.
                state.save(out, run, data)
                checkpoint.write_json(out / RUN, run)
            bar.update()
            final = state.step == run["steps"]
            if state.step % config.log_every == 0 or final:
                mean, rate = sum(losses) / len(losses), tokens_since / (now - last_log)
                bar.set_postfix_str(write_loss(config, state, log, mean, norm, rate))
                losses, tokens_since, last_log = [], 0, now
            due = config.eval_minutes and now - last_eval > 60 * config.eval_minutes
            if "validation" in data.splits and (final or due):
                state.check_finite()
                try:
                    bar.write(write_bound(config, state, log, data, stopped), file=sys.stderr)
                except Interrupted:
                    final = False  # the same command evaluates
                last_eval = time.monotonic()
            if final or stopped.is_set() or now - last_saved > 60 * config.checkpoint_minutes:
                folder = state.save(out, run, data)
                last_saved = time.monotonic()
                if stopped.is_set() and not final:
                    raise KeyboardInterrupt(
                        f"stopped at step {state.step}; the same command continues from {folder}"
                    )
            last_log += time.monotonic() - now  # the rate is that of training alone


def diverged(step: int, loss: float, norm: float, out: Path) -> FloatingPointError:
    """The error of a loss or gradient that is not finite: what it says, and what is left."""
    kept = checkpoint.checkpoints(out)
    good = f"the last good checkpoint is {kept[-1]}" if kept else "there is no checkpoint yet"
    return FloatingPointError(
        f"the loss at step {step} is {loss}, the gradient's norm {norm}: training stopped; "
        f"{good}; try a lower learning rate in another folder"
    )


def write_loss(
    config: TrainConfig, state: State, log: Log, mean: float, norm: float, rate: float
) -> str:
    """Log `mean`, the mean loss since the last such row in nats a position, and `rate`, in tokens a
    second; both in words."""
    name, said = "loss", f"{mean / math.log(2):.3f} bits"
    if config.objective != "nelbo":
        name, said = "joint_loss", f"joint loss {mean:.3f} (not a bound)"
    row = {"step": state.step, "seconds": state.seconds, name: mean, "norm": norm, "rate": rate}
    log.write(**row, **state.rates())
    return f"{said}, {rate:,.0f} tokens/s"


def write_bound(
    config: TrainConfig, state: State, log: Log, data: Data, stopped: threading.Event
) -> str:
    """Evaluate and log the bound on the validation split; the bound in words."""
    bound = evaluate(state.averaged, data, "validation", config, stopped)
    bits, stderr = bound.bits_per_dim, bound.bits_per_dim_stderr
    row = {"step": state.step, "seconds": state.seconds, "bits": bits, "stderr": stderr}
    log.write(**row, noise=bound.bits_per_dim_noise, windows=len(bound.positions))
    said = f"validation bound {plus_minus(bits, stderr, '.3f')} bits per {data.unit}"
    return f"step {state.step}: {said}"


def train_step(
    config: TrainConfig, data: Data, state: State, steps: int
) -> tuple[float, float, int]:
    """One step of the optimizers: (loss in nats per scored position, norm of the network's
    gradient, number of scored positions).

    Where the loss or a gradient is not finite, no step is taken, and one of the two says so.
    """
    model, device, step = state.model, torch.device(config.device), state.step
    size = config.batch_size // config.accumulate
    batches = [
        data.batch("train", config.length, size, config.seed, step, micro)
        for micro in range(config.accumulate)
    ]
    counts = [scored_positions(batch) for batch in batches]
    model.train()
    loss = torch.zeros((), device=device)
    for micro, (batch, count) in enumerate(zip(batches, counts, strict=True)):
        torch.manual_seed(seed_of(config.seed, step, micro))  # masks and dropout
        given = inputs(batch, device)
        if "cond" in given and config.label_dropout:
            dropped = torch.rand(len(given["x"])).to(device) < config.label_dropout
            given["cond"] = given["cond"].masked_fill(dropped, data.classes)
        if config.draws == 2 and config.schedule != "learned":
            given = {name: value.repeat_interleave(2, 0) for name, value in given.items()}
        with precision(config.dtype, device):
            terms = model(**given)
        share = count / max(1, sum(counts))  # nothing may be known of a batch
        (share * terms.loss).backward()
        reported = terms.loss.detach()
        if terms.nelbo is not None:
            # the bound: the value of GenMD4's loss, a surrogate, means nothing.  A mean over rows,
            # of which there are two for each example where `draws` repeats them
            reported = terms.nelbo.mean() * len(batch["x"]) / max(1, count)
        loss += share * reported
    # clipped apart: in one norm, the schedule's gradient, which is noisier, would shrink the other
    clip = config.clip or math.inf
    norm = nn.utils.clip_grad_norm_(model.backbone.parameters(), clip)
    of_schedule = nn.utils.clip_grad_norm_(list(model.schedule.parameters()), clip)
    loss, norm = float(loss), float(norm)
    if not math.isfinite(float(of_schedule)):
        norm = math.nan
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
    """What the learning rates are multiplied by at `step`.

    Up over the first `warmup` steps, down to 0 over the last `decay_share` of `steps`; not down
    while `steps` is 0, not known yet.
    """
    up = min(1.0, (step + 1) / max(1, config.warmup))
    left = 1.0 if not steps else min(1.0, (steps - step) / (steps * config.decay_share))
    if config.decay == "linear":
        return up * left
    return up * (0.5 - 0.5 * math.cos(math.pi * left))


class Interrupted(Exception):
    """An evaluation was given up, since the run is to stop."""


def evaluate(
    model: MaskedDiffusion, data: Data, split: str, config: TrainConfig, stopped: threading.Event
) -> Estimate:
    """The bound on evenly spread windows of a split, at the run's precision.

    The same windows and masks every time.  `Interrupted` between two batches, once `stopped`.
    """
    size = max(1, config.batch_size // config.accumulate)
    windows = until(stopped, data.windows(split, config.length, size, limit=config.eval_windows))
    with precision(config.dtype, torch.device(config.device)):
        return estimate_nelbo(model, windows, repeats=config.eval_repeats, seed=config.seed)


def until(stopped: threading.Event, batches: Iterator[dict]) -> Iterator[dict]:
    for batch in batches:
        if stopped.is_set():
            raise Interrupted
        yield batch
