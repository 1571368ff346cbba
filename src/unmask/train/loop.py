"""The training loop, in reading order.

A folder holds a run: run.json, log.jsonl and checkpoints/STEP.  Everything random is a function of
(seed, step, micro-batch), so a run that is killed at any moment continues by the same command and,
on the same CPU machine with the same number of threads, ends with the same bits.  A run of so many
minutes does not where its number of steps is corrected on the way.
"""

import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
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
from unmask.hub import Found, find
from unmask.kinds.kind import damaged_spec
from unmask.likelihood import estimate_nelbo
from unmask.likelihood.estimators import BOUND
from unmask.processes import Processes, own_device, started, together
from unmask.train.begin import adapt, started_from, with_classes
from unmask.train.build import build, compile_network
from unmask.train.pace import Fall, Pace, planned, rate_factor
from unmask.train.run import (
    RUN,
    Log,
    began,
    known_run,
    locked,
    make_folder,
    open_run,
    or_else,
    stop_signal,
)
from unmask.train.shards import whole
from unmask.train.sinks import SINKS, check_sink
from unmask.train.state import State


def train(
    config: TrainConfig, data_folder: str | Path, out: str | Path, start: str | Path | None = None
) -> Path:
    """Train `config` on prepared data into the folder `out`, or continue what is there.

    `start`: the model whose weights are those to begin with, a folder or `user/name[@revision]` of
    the Hub, see `started_from`.

    Where torchrun started several processes, each calls this, and they share every step.

    Returns the last checkpoint's folder.  ValueError before any work for a configuration, data or
    folder that do not fit; FloatingPointError when the loss is not finite (the last good checkpoint
    stays); KeyboardInterrupt after a checkpoint on Ctrl-C or SIGTERM.
    """
    out = Path(out)
    with ExitStack() as held:
        processes = held.enter_context(together())
        config, data, model = untrained(config, data_folder, start, out)
        with damaged_spec(data.folder):
            data.tokenizer.files()  # what a checkpoint needs: an error here, not after steps
        device = torch.device(config.device)
        devices = [device] if device.type == "cuda" else []
        held.enter_context(torch.random.fork_rng(devices))
        stopped = held.enter_context(stop_signal())
        config, run = processes.of_first(
            lambda: opened(config, data, model, out, processes.size, held, start)
        )
        config = replace(config, device=str(device))  # of the first process until here
        state = State(model, config, processes)
        held.callback(state.close)
        resume(state, out)
        log = None
        if processes.rank == 0:
            sink = None
            if config.log:
                said = config.identity(weights=start is not None)
                sink = SINKS[config.log](out, said, state.step)
                held.callback(sink.close)
            log = Log(out / "log.jsonl", state.step, sink)
        evaluated = processes.of_first(lambda: log is not None and log.evaluated(state.step))
        if not run["steps"] or state.step < run["steps"]:
            say(processes, described(config, run, state, data))
            loop(config, data, out, run, state, log, stopped)
        elif "validation" in data.splits and not evaluated:
            try:
                say(processes, write_bound(config, state, log, data, stopped))
            except Interrupted:
                raise KeyboardInterrupt("stopped; the same command evaluates") from None
        else:
            say(processes, f"this run is finished: {state.step} steps")
    return checkpoint.resolve(out)


def untrained(
    config: TrainConfig,
    data_folder: str | Path,
    start: str | Path | None = None,
    out: Path | None = None,
) -> tuple[TrainConfig, Data, MaskedDiffusion]:
    """A configuration without what it left open, its data and its model.

    Of a run in `out` that has begun with `start`, the model is that of its last checkpoint.
    """
    model, found = None, None
    begun = began(out, start) if out is not None else None
    if start is not None:
        # the same in all processes: a branch of the Hub may move meanwhile
        called = started().of_first(lambda: start if begun else find(start).called)
        found = find(called) if begun is None else Found(begun[0], out or begun[0])
        try:
            config, model = started_from(config, found.folder)
        except ValueError as error:
            done = checkpoint.checkpoints(out) if out is not None and begun is not None else []
            raise or_else(error, done) from None
        if begun is not None:
            model.meta["from"] = begun[1]
            found = found._replace(name=model.meta.get("from_hub", ""))
    config.check()
    check_sink(config.log)
    if config.shard and "RANK" not in os.environ:
        raise ValueError(
            "--shard is for several processes: torchrun --nproc-per-node 2 -m unmask train ..."
        )
    data = open_data(data_folder, labels=config.labels and model is None)
    if model is not None:
        data = with_classes(data, model)
    config = replace(config, length=config.length or data.length)
    if data.hides and config.schedule == "learned":
        raise ValueError(
            f"{data.folder} hides places whose values are not known, and with --schedule learned "
            "being hidden at t says something about a value: use a schedule with one curve for all"
        )
    if data.hides and config.rival in ("ar", "uniform"):
        raise ValueError(
            f"{data.folder} hides places whose values are not known, and --rival {config.rival} "
            "cannot do without them"
        )
    data.batch("train", config.length, 1, 0, 0)  # a length that does not fit is an error here
    device = pick_device(own_device(config.device))
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
    if model is None or found is None:
        model = build(config, data.vocab_size, meta)
    else:
        model = adapt(model, found, data, meta, config.seed)
    if not config.shard:  # else it goes there piece by piece
        model.to(device)
    if config.compile:
        compile_network(model)
    return config, data, model


def opened(
    config: TrainConfig,
    data: Data,
    model: MaskedDiffusion,
    out: Path,
    processes: int,
    held: ExitStack,
    start: str | Path | None,
) -> tuple[TrainConfig, dict]:
    """What is run, and its folder's run.json; the folder stays locked while `held` is."""
    make_folder(out)
    held.enter_context(locked(out))
    remove_leftovers(out)
    remove_leftovers(out / "checkpoints")
    known = known_run(out) if checkpoint.checkpoints(out) else None
    config = shared_out(config, known, processes)
    called = "" if start is None else str(start)
    of_model = model.meta.get("from", ""), called, model.meta.get("from_hub", "")
    return config, open_run(out, config, data, *of_model)


def shared_out(config: TrainConfig, run: dict | None, processes: int) -> TrainConfig:
    """With a number of micro-batches that so many processes can share: where none is given, what
    `run` has, or one each.

    ValueError if they cannot.
    """
    micro = config.accumulate
    if micro == 1:
        micro = processes if run is None else run["identity"].get("accumulate", 1)
    if micro % processes:
        whose = "of this run " if run is not None else ""
        raise ValueError(
            f"the {micro} micro-batches {whose}a step (--accumulate) cannot be shared by "
            f"{processes} processes: take a number of processes that divides them"
        )
    config = replace(config, accumulate=micro)
    config.check()
    return config


def say(processes: Processes, what: str) -> None:
    """To standard error, once."""
    if processes.rank == 0:
        print(what, file=sys.stderr)


def resume(state: State, out: Path) -> None:
    """Load the last checkpoint of a run, if there is one."""
    done = checkpoint.checkpoints(out)
    if not done:
        return
    try:
        state.load(done[-1])
    except ValueError as error:
        raise or_else(error, done) from None


def described(config: TrainConfig, run: dict, state: State, data: Data) -> str:
    """A run in words: what a person wants to know before waiting."""
    size = sum(p.numel() for p in state.model.parameters()) / 1e6
    lasts = f"{run['steps']:,} steps"
    if not config.steps:
        lasts = f"about {lasts}" if run["steps"] else f"about {config.minutes:g} minutes"
    if state.step:
        lasts = f"continuing at step {state.step:,} of {lasts}"
    batch = data.batch_name(config.batch_size, config.length)
    if config.digits > 1:
        subtokenizer = state.model.subtokenizer
        batch += f" of {subtokenizer.length} digits in base {subtokenizer.base}"
    on = config.device
    if state.processes.size > 1:
        held = "pieces" if config.shard else "copies"
        on += f", {held} in {state.processes.size} processes,"
    return (
        f"{size:.2f} M parameters on {on} in {config.dtype}; {batch} a step; {lasts}; "
        "Ctrl-C saves, and the same command continues"
    )


def loop(
    config: TrainConfig,
    data: Data,
    out: Path,
    run: dict,
    state: State,
    log: Log | None,
    stopped: threading.Event,
) -> None:
    """From `state.step` to the last step, `run["steps"]`, which is 0 until --minutes have become a
    number of steps."""
    began = time.monotonic() - state.seconds  # as if it had never been interrupted
    fall = Fall.of(config, run)
    processes = state.processes
    pace: Pace | None = None  # of the first process alone, whose clock decides for all
    if not config.steps and processes.rank == 0:
        spent = 0.0 if run["steps"] else state.seconds  # with a plan, nothing presses
        pace = Pace(config.minutes, state.step, time.monotonic(), spent)
    last_eval = last_saved = last_log = time.monotonic()
    tokens_since, losses = 0, []  # since last_log
    counted = {"total": run["steps"] or None, "initial": state.step, "unit": "step"}
    hidden = True if processes.rank else None  # None: where there is no terminal
    with tqdm(**counted, dynamic_ncols=True, disable=hidden) as bar:
        while not run["steps"] or state.step < run["steps"]:
            before = time.monotonic()
            loss, norm, tokens = train_step(config, data, state, fall)
            if not (math.isfinite(loss) and math.isfinite(norm)):
                state.settle()  # what is being written is good
                raise diverged(state.step, loss, norm, out)
            losses.append(loss)
            tokens_since += tokens
            now = time.monotonic()
            state.seconds = now - began
            if pace:
                pace.took(state.step, before, now)
            due, stop, evaluate_now, save_now = processes.any(
                pace is not None and state.step != run["steps"] and pace.due(now, run["steps"]),
                stopped.is_set(),
                config.eval_minutes > 0 and now - last_eval > 60 * config.eval_minutes,
                config.checkpoint_minutes > 0 and now - last_saved > 60 * config.checkpoint_minutes,
            )
            if due:
                left = 1.0 if fall is None else fall.at(state.step)
                rate = (state.step, state.seconds, now, run["steps"], left)
                steps = processes.of_first(lambda: pace and pace.steps(*rate))  # noqa: B023
                if steps != run["steps"]:
                    run.update(planned(config, state.step, fall, steps))
                    bar.total, fall = steps, Fall.of(config, run)
                    # Saved at once, so that a resumed run never repeats the steps so far: with
                    # this plan, it would take them at other learning rates.
                    state.save(out, run, data)
                    state.settle()
                    processes.of_first(lambda: checkpoint.write_json(out / RUN, run))
            bar.update()
            final = state.step == run["steps"]
            if state.step % config.log_every == 0 or final:
                mean, rate = sum(losses) / len(losses), tokens_since / (now - last_log)
                bar.set_postfix_str(write_loss(config, state, log, mean, norm, rate))
                losses, tokens_since, last_log = [], 0, now
            if "validation" in data.splits and (final or evaluate_now):
                state.check_finite()
                try:
                    said = write_bound(config, state, log, data, stopped)
                    if processes.rank == 0:
                        bar.write(said, file=sys.stderr)
                except Interrupted:
                    final, stop = False, True  # the same command evaluates
                last_eval = time.monotonic()
            if final or stop or save_now:
                folder = state.save(out, run, data)
                last_saved = time.monotonic()
                if final or stop:
                    state.settle()
                if stop and not final:
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
    config: TrainConfig, state: State, log: Log | None, mean: float, norm: float, rate: float
) -> str:
    """Log `mean`, the mean loss since the last such row in nats a position, and `rate`, in tokens a
    second; both in words."""
    name, said = "loss", f"{mean / math.log(2):.3f} bits"
    other = "joint" if config.objective == "joint" else "focused" if config.focus else ""
    if other:
        name, said = f"{other}_loss", f"{other} loss {mean:.3f} (not a bound)"
    row = {"step": state.step, "seconds": state.seconds, name: mean, "norm": norm, "rate": rate}
    if log is not None:
        log.write(**row, **state.rates())
    return f"{said}, {rate:,.0f} tokens/s"


def write_bound(
    config: TrainConfig, state: State, log: Log | None, data: Data, stopped: threading.Event
) -> str:
    """Evaluate and log the bound on the validation split; the bound in words."""
    bound = evaluate(state, data, "validation", config, stopped)
    bits, stderr = bound.bits_per_dim, bound.bits_per_dim_stderr
    row = {"step": state.step, "seconds": state.seconds, "bits": bits, "stderr": stderr}
    if log is not None:
        log.write(**row, noise=bound.bits_per_dim_noise, windows=len(bound.positions))
    what = "bound" if bound.what == BOUND else "likelihood"
    said = f"validation {what} {plus_minus(bits, stderr, '.3f')} bits per {data.unit}"
    return f"step {state.step}: {said}"


def train_step(
    config: TrainConfig, data: Data, state: State, fall: Fall | None = None
) -> tuple[float, float, int]:
    """One step of the optimizers: (loss in nats per scored position, norm of the network's
    gradient, number of scored positions).  `fall`: how the learning rates end.

    The processes share its micro-batches; what is random about one depends on its number alone.
    Where the loss or a gradient is not finite, no step is taken, and one of the two says so.
    """
    model, device, step = state.model, torch.device(config.device), state.step
    processes = state.processes
    size = config.batch_size // config.accumulate
    batches = [
        data.batch("train", config.length, size, config.seed, step, micro)
        for micro in processes.share(config.accumulate)
    ]
    counts = [scored_positions(batch) for batch in batches]
    count_of_all = int(processes.sum(torch.tensor(sum(counts))))
    model.train()
    loss = torch.zeros((), device=device)
    for i, micro in enumerate(processes.share(config.accumulate)):
        batch, count = batches[i], counts[i]
        torch.manual_seed(seed_of(config.seed, step, micro))  # masks and dropout
        given = inputs(batch, device)
        if "cond" in given and config.label_dropout:
            dropped = torch.rand(len(given["x"])).to(device) < config.label_dropout
            given["cond"] = given["cond"].masked_fill(dropped, data.classes)
        if config.draws == 2 and config.schedule != "learned":
            given = {name: value.repeat_interleave(2, 0) for name, value in given.items()}
        share = count / max(1, count_of_all)  # nothing may be known of a batch
        with state.last_of_step(i + 1 == len(batches)):
            with precision(config.dtype, device):
                terms = state.called(**given)
            (processes.size * share * terms.loss).backward()  # the mean over processes is taken
        reported = terms.loss.detach()
        if terms.nelbo is not None:
            # the bound: the value of GenMD4's loss, a surrogate, means nothing.  A mean over rows,
            # of which there are two for each example where `draws` repeats them
            reported = terms.nelbo.mean() * len(batch["x"]) / max(1, count)
        loss += share * reported
    # clipped apart: in one norm, the schedule's gradient, which is noisier, would shrink the other
    clip = config.clip or math.inf
    norm = whole(nn.utils.clip_grad_norm_(model.backbone.parameters(), clip))
    of_schedule = whole(nn.utils.clip_grad_norm_(list(model.schedule.parameters()), clip))
    loss, norm = float(processes.sum(loss)), float(norm)
    if not math.isfinite(float(of_schedule)):
        norm = math.nan
    if math.isfinite(loss) and math.isfinite(norm):
        factor = rate_factor(config, step, fall)
        for optimizer in state.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        state.average()
        state.step += 1
    return loss, norm, count_of_all


def seed_of(*parts: int) -> int:
    """One 63-bit seed from (seed, step, micro-batch)."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> np.uint64(1))


class Interrupted(Exception):
    """An evaluation was given up, since the run is to stop."""


def evaluate(
    state: State, data: Data, split: str, config: TrainConfig, stopped: threading.Event
) -> Estimate:
    """The bound on evenly spread windows of a split, at the run's precision, of averaged weights.

    The same windows and masks every time.  `Interrupted` between two batches, once `stopped`.
    """
    size = max(1, config.batch_size // config.accumulate)
    processes = state.processes
    windows = data.windows(split, config.length, size, limit=config.eval_windows)
    windows = until(stopped, processes, windows)
    how = {"repeats": config.eval_repeats, "seed": config.seed, "processes": processes}
    with precision(config.dtype, torch.device(config.device)):
        return state.within(lambda: estimate_nelbo(state.averaged, windows, **how))


def until(
    stopped: threading.Event, processes: Processes, batches: Iterator[dict]
) -> Iterator[dict]:
    for i, batch in enumerate(batches):
        # they agree once in a round, in which each has a batch
        if i % processes.size == 0 and processes.any(stopped.is_set())[0]:
            raise Interrupted
        yield batch
