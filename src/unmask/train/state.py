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
        return {
            type(o).__name__.lower() + "_rate": o.param_groups[0]["lr"] for o in self.optimizers
        }

    def save(self, run: Path, data: Data) -> Path:
        """Write checkpoints/STEP, whole or not at all, and drop all but the newest two."""
        folder = run / "checkpoints" / f"{self.step:08d}"
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for i, optimizer in enumerate(self.optimizers):
            for index, entries in optimizer.state_dict()["state"].items():
                tensors |= {
                    f"optimizer.{i}.{index}.{name}": value for name, value in entries.items()
                }
        config = self.averaged.config() | {
            "training": {
                "step": self.step,
                "seconds": self.seconds,
                "averaged": int(self.ema.n_averaged),
            }
        }
        checkpoint.save(
            folder,
            config,
            {"model.safetensors": self.averaged.state_dict(), "training.safetensors": tensors},
            data.tokenizer.files(),
        )
        for old in checkpoint.checkpoints(run)[:-2]:
            shutil.rmtree(old)
        return folder

    def load(self, folder: Path) -> None:
        config, averaged = checkpoint.load(folder, "model.safetensors")
        _, tensors = checkpoint.load(folder, "training.safetensors")
        self.step, self.seconds = config["training"]["step"], config["training"]["seconds"]
        self.averaged.load_state_dict(averaged)
        self.ema.n_averaged.fill_(config["training"]["averaged"])
        self.model.load_state_dict(
            {
                name.removeprefix("model."): t
                for name, t in tensors.items()
                if name.startswith("model.")
            }
        )
        for i, optimizer in enumerate(self.optimizers):
            entries: dict[int, dict[str, Tensor]] = {}
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for name, tensor in tensors.items():
                if name.startswith(f"optimizer.{i}."):
                    _, _, index, key = name.split(".")
                    like = parameters[int(index)]
                    # and of its layout in memory, which a file does not keep and fused kernels rely
                    # on
                    if tensor.shape == like.shape:
                        tensor = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
                    entries.setdefault(int(index), {})[key] = tensor
            optimizer.load_state_dict(
                {"state": entries, "param_groups": optimizer.state_dict()["param_groups"]}
            )


def optimizers(model: MaskedDiffusion, config: TrainConfig) -> list[torch.optim.Optimizer]:
    """Muon for the matrices and kernels of the blocks (if asked for), AdamW for all else; decay for
    the former alone.

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
    found: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(plain, lr=config.learning_rate, betas=(0.9, config.beta2), fused=True)
    ]
    if config.optimizer == "muon":
        half = torch.bfloat16 if config.dtype == "bfloat16" else torch.float32
        turned = [m.weight for m in model.modules() if isinstance(m, nn.ConvTranspose2d)]
        found.append(
            Muon(
                matrices,
                config.muon_learning_rate,
                weight_decay=config.weight_decay,
                transposed=turned,
                dtype=half,
            )
        )
    for optimizer in found:
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
    return found
