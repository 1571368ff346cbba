"""What a checkpoint holds: weights, their average, the state of the optimizers, the step."""

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from unmask import checkpoint
from unmask.config import TrainConfig
from unmask.data import Data
from unmask.diffusion import MaskedDiffusion
from unmask.train.muon import Muon
from unmask.train.run import read_training

# what optimizers keep of a parameter
KEPT = {"AdamW": {"step", "exp_avg", "exp_avg_sq"}, "Muon": {"momentum_buffer"}}


class State:
    """A model in training, and all that goes on with it."""

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
        """The learning rates of the optimizers, as a log names them."""
        named = {type(optimizer).__name__: optimizer for optimizer in self.optimizers}
        return {f"{name.lower()}_rate": o.param_groups[0]["lr"] for name, o in named.items()}

    def save(self, out: Path, run: dict, data: Data) -> Path:
        """Write checkpoints/STEP, whole or not at all, and drop all but the newest two.

        With what `run` is, so that it can be continued.  FloatingPointError for weights that are
        not finite, which would take the place of good ones.
        """
        self.check_finite()
        folder = out / "checkpoints" / f"{self.step:08d}"
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for index, entries in optimizer.state_dict()["state"].items():
                start = f"optimizer.{i}.{index}."
                tensors |= {start + name: value for name, value in entries.items()}
        training = {"step": self.step, "seconds": self.seconds, "run": run}
        training["averaged"] = int(self.ema.n_averaged)
        config = self.averaged.config() | {"training": training}
        files = {"model.safetensors": self.averaged.state_dict(), "training.safetensors": tensors}
        checkpoint.save(folder, config, files, data.tokenizer.files())
        for old in checkpoint.checkpoints(out)[:-2]:
            shutil.rmtree(old)
        return folder

    def check_finite(self) -> None:
        """FloatingPointError for weights, or their averages, that are not finite."""
        for model in (self.model, self.averaged):
            for name, weights in model.state_dict().items():
                if not bool(weights.isfinite().all()):
                    raise FloatingPointError(
                        f"{name} is not finite at step {self.step}: training stopped, and the "
                        "checkpoints before are kept; try a lower learning rate in another folder"
                    )

    def load(self, folder: Path) -> None:
        """Take all of it from the folder of a checkpoint."""
        training = read_training(folder)
        _, averaged = checkpoint.load(folder, "model.safetensors")
        _, tensors = checkpoint.load(folder, "training.safetensors")
        self.step, self.seconds = training["step"], float(training["seconds"])
        self.ema.n_averaged.fill_(training["averaged"])
        self.load_weights(self.averaged, averaged, folder / "model.safetensors")
        path = folder / "training.safetensors"
        self.load_weights(self.model, below(tensors, "model."), path)
        for i, optimizer in enumerate(self.optimizers):
            entries: dict[int, dict[str, Tensor]] = {}
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for name, tensor in below(tensors, f"optimizer.{i}.").items():
                index, _, key = name.partition(".")
                if not index.isdecimal() or int(index) >= len(parameters):
                    raise other_optimizer(path, name)
                like = parameters[int(index)]
                if tensor.shape not in ((), like.shape):
                    raise other_optimizer(path, name)
                # in its parameter's layout: a file does not keep it, and fused kernels rely on it
                if tensor.shape == like.shape:
                    tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
                entries.setdefault(int(index), {})[key] = tensor
            for index, entry in entries.items():
                if entry.keys() != KEPT[type(optimizer).__name__]:
                    raise other_optimizer(path, f"{index}: {', '.join(entry)}")
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": entries, "param_groups": groups})

    def load_weights(self, model: MaskedDiffusion, tensors: dict[str, Tensor], path: Path) -> None:
        """ValueError that names the file if they are not those of the model."""
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            said = " ".join(str(error).split())[:300]
            raise ValueError(f"{path} does not fit the model of the run: {said}") from None


def other_optimizer(path: Path, name: str) -> ValueError:
    return ValueError(f"{path} is not of the optimizer of the run ({name})")


def below(tensors: dict[str, Tensor], start: str) -> dict[str, Tensor]:
    """Those whose names start so, by the rest of their names."""
    return {name[len(start) :]: t for name, t in tensors.items() if name.startswith(start)}


def optimizers(model: MaskedDiffusion, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices and kernels of the blocks (if asked for), AdamW for all else.

    Weights decay in those matrices and kernels alone.  The powers of a learned
    schedule have a learning rate of their own.
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
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(plain, lr=config.learning_rate, betas=(0.9, config.beta2), fused=True)
    ]
    if config.optimizer == "muon":
        half = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
        turned = [m.weight for m in model.modules() if isinstance(m, nn.ConvTranspose2d)]
        how: dict[str, Any] = {"weight_decay": config.weight_decay, "dtype": half}
        found.append(Muon(matrices, config.muon_learning_rate, transposed=turned, **how))
    for optimizer in found:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return found
