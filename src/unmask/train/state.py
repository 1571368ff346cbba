"""What a checkpoint holds: weights, their average, the state of the optimizers, the step."""

import copy
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from unmask import checkpoint
from unmask.backbones import parts_of
from unmask.config import TrainConfig
from unmask.data import Data
from unmask.diffusion import MaskedDiffusion
from unmask.processes import ALONE, CONNECTED, Processes
from unmask.train.muon import Muon
from unmask.train.run import read_training
from unmask.train.shards import local, piece, read_shards, shards_of, unfit

# what optimizers keep of a parameter
KEPT = {"AdamW": {"step", "exp_avg", "exp_avg_sq"}, "Muon": {"momentum_buffer"}}
# what names of weights inside blocks have: of this package's networks, and of transformers'
BLOCKS = (".blocks.", ".layer.", ".layers.")
T = TypeVar("T")


class State:
    """A model in training, and all that goes on with it, in one of several processes.

    `called`: the model, as a step calls it.  `averaged`: a model with the averaged weights.
    """

    def __init__(self, model: MaskedDiffusion, config: TrainConfig, processes: Processes = ALONE):
        self.model, self.processes, self.decay = model, processes, config.ema
        self.step, self.averages, self.seconds = 0, 0, 0.0
        self.averaged = copy.deepcopy(model).eval()
        model.focus = config.focus
        self.called: Any = model
        self.writer = None
        for part in parts_of(model.backbone):
            part.recompute = config.recompute
        if config.shard:
            from unmask.train.distributed import Writer, shard

            for one in (self.averaged, model):
                shard(one, processes, torch.device(config.device), config.dtype)
            self.writer = Writer(self.averaged, processes)
        elif processes.size > 1:
            from unmask.train.distributed import replicated

            self.called = replicated(model)
        if config.shard or processes.size > 1:
            CONNECTED.append(self)
        self.optimizers = optimizers(model, config, processes)

    def last_of_step(self, last: bool) -> AbstractContextManager:
        """Around a micro-batch: only after the last need gradients be those of all processes."""
        if last or self.called is self.model:
            return nullcontext()
        return self.called.no_sync()

    def within(self, function: Callable[[], T]) -> T:
        """What `function` returns, which may use `averaged`; called by all processes."""
        if self.writer is None:
            return function()
        from unmask.train.distributed import within

        return within(self.averaged, function)

    @torch.no_grad()
    def average(self) -> None:
        """Take the weights into their average."""
        n, self.averages = self.averages, self.averages + 1
        averaged, weights = (list[Tensor](m.parameters()) for m in (self.averaged, self.model))
        decay = min(self.decay, (1 + n) / (10 + n)) if n else 0.0
        torch._foreach_lerp_(averaged, weights, 1 - decay)

    def rates(self) -> dict[str, float]:
        """The learning rates of the optimizers, as a log names them."""
        named = {type(optimizer).__name__: optimizer for optimizer in self.optimizers}
        return {f"{name.lower()}_rate": o.param_groups[0]["lr"] for name, o in named.items()}

    def save(self, out: Path, run: dict, data: Data) -> Path:
        """Write checkpoints/STEP, whole or not at all, and drop all but the newest two.

        With what `run` is, so that it can be continued.  FloatingPointError for weights that are
        not finite, which would take the place of good ones.  Of a sharded model it is written while
        the run goes on: see `settle`.
        """
        self.check_finite()
        folder = out / "checkpoints" / f"{self.step:08d}"
        run = copy.deepcopy(run)  # it may get another plan while this is written
        made = {"step": self.step, "seconds": self.seconds, "run": run, "averaged": self.averages}
        config = self.averaged.config | {"training": made}
        files = data.tokenizer.files()

        def drop_older() -> None:
            for old in checkpoint.checkpoints(out)[:-2]:
                shutil.rmtree(old)

        if self.writer is not None:
            self.writer.write(folder, config, self.tensors(), files, drop_older)
            return folder

        def write() -> None:
            tensors = {"model.safetensors": self.averaged.state_dict()}
            tensors["training.safetensors"] = self.tensors()
            checkpoint.save(folder, config, tensors, files)
            drop_older()

        self.processes.of_first(write)
        return folder

    def settle(self) -> None:
        """Wait until the last checkpoint is written; an error if it was not."""
        if self.writer is not None:
            self.writer.settle()

    def close(self) -> None:
        """Leave nothing half written behind, however the run ends; not called together."""
        if self.writer is not None:
            self.writer.close()

    def tensors(self) -> dict[str, Tensor]:
        """What training needs to go on, besides the averaged weights."""
        found = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for index, entries in optimizer.state_dict()["state"].items():
                start = f"optimizer.{i}.{index}."
                found |= {start + name: value for name, value in entries.items()}
        return found

    def check_finite(self) -> None:
        """FloatingPointError for weights, or their averages, that are not finite."""
        states = (self.model.state_dict(), self.averaged.state_dict())
        wrong = [
            name
            for state in states
            for name, weights in state.items()
            if not bool(local(weights).isfinite().all())
        ]
        if self.processes.any(bool(wrong))[0]:
            self.settle()  # what is being written is good
            name = wrong[0] if wrong else "a weight of another process"
            raise FloatingPointError(
                f"{name} is not finite at step {self.step}: training stopped, and the checkpoints "
                "before are kept; try a lower learning rate in another folder"
            )

    def load(self, folder: Path) -> None:
        """Take all of it from the folder of a checkpoint.  ValueError where that does not fit."""
        training = read_training(folder)
        self.step, self.seconds = training["step"], float(training["seconds"])
        self.averages = training["averaged"]
        put(self.averaged, checkpoint.load(folder, "model.safetensors")[1], folder)
        if names := shards_of(folder):
            for optimizer in self.optimizers:
                begin(optimizer)
            read_shards(folder, names, self.tensors())
            return
        tensors = checkpoint.load(folder, "training.safetensors")[1]
        put(self.model, below(tensors, "model."), folder)
        for i, optimizer in enumerate(self.optimizers):
            entries: dict[int, dict[str, Tensor]] = {}
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for name, tensor in below(tensors, f"optimizer.{i}.").items():
                index, _, key = name.partition(".")
                if not index.isdecimal() or int(index) >= len(parameters):
                    raise unfit(folder, f"its optimizer has {name}")
                like = parameters[int(index)]
                if tensor.shape not in ((), like.shape):
                    raise unfit(folder, f"its optimizer has {name}")
                if tensor.shape == like.shape:
                    tensor = piece(tensor, like)
                    # in its parameter's layout: no file keeps it, and fused kernels rely on it
                    tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
                entries.setdefault(int(index), {})[key] = tensor
            for index, entry in entries.items():
                if entry.keys() != KEPT[type(optimizer).__name__]:
                    kept = ", ".join(entry)
                    raise unfit(folder, f"its optimizer has {kept} of parameter {index}")
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": entries, "param_groups": groups})


def begin(optimizer: torch.optim.Optimizer) -> None:
    """Give it the state in which it begins, to be loaded into; what is frozen has none."""
    for group in optimizer.param_groups:
        for p in (p for p in group["params"] if p.requires_grad):
            kept = KEPT[type(optimizer).__name__]
            state = {name: torch.zeros_like(p) for name in kept - {"step"}}
            if "step" in kept:
                state["step"] = torch.zeros((), device=p.device)
            optimizer.state[p] = state


def put(model: MaskedDiffusion, tensors: dict[str, Tensor], folder: Path) -> None:
    """Load whole tensors into a model that may be sharded; ValueError that names where they are
    from if they are not those of the model."""
    state = model.state_dict()
    placed = {name: piece(tensor, state.get(name)) for name, tensor in tensors.items()}
    try:
        model.load_state_dict(placed)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:300]
        raise unfit(folder, said) from None


def below(tensors: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    """Those whose names start so, by the rest of their names."""
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}


def optimizers(
    model: MaskedDiffusion, config: TrainConfig, processes: Processes = ALONE
) -> list[torch.optim.Optimizer]:
    """Muon for the matrices and kernels of the blocks (if asked for), AdamW for all else.

    Weights decay in those matrices and kernels alone.  The powers of a learned
    schedule have a learning rate of their own.
    """
    named = list(model.named_parameters())
    of_parts = {id(p) for part in parts_of(model.backbone) for p in part.parameters()}
    inner = [p for name, p in named if id(p) in of_parts or any(b in name for b in BLOCKS)]
    matrices = [p for p in inner if p.ndim >= 2]
    if config.optimizer == "muon" and not matrices:
        raise ValueError(
            "--optimizer muon is for the matrices of a network's blocks, and this network has "
            "none that are known: give --optimizer adamw"
        )
    powers = list(model.schedule.parameters())
    inside = {id(p) for p in matrices + powers}
    outside = [p for p in model.parameters() if id(p) not in inside]
    plain: list[dict[str, Any]] = [{"params": outside, "weight_decay": 0.0}]
    if powers:
        plain.append({"params": powers, "weight_decay": 0.0, "lr": config.schedule_learning_rate})
    if config.optimizer == "adamw":
        plain.append({"params": matrices, "weight_decay": config.weight_decay})
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(plain, lr=config.learning_rate, betas=(0.9, config.beta2), fused=True)
    ]
    if config.optimizer == "muon":
        half = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
        turned = [m.weight for m in model.modules() if isinstance(m, nn.ConvTranspose2d)]
        how: dict[str, Any] = {"weight_decay": config.weight_decay, "dtype": half}
        found.append(
            Muon(matrices, config.muon_learning_rate, transposed=turned, processes=processes, **how)
        )
    for optimizer in found:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return found
