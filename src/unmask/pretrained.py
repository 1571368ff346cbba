"""A model and its folder: config.json, model.safetensors, and what its tokens need.  No code."""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from torch import nn

from unmask import backbones, checkpoint, hub, schedules
from unmask.documents import NUMBER, misfit, whole
from unmask.subtokens import Subtokenizer

CONFIG = {
    "backbone": {"name": str}, "schedule": {"name": str}, "objective": str, "masking": str,
    "subtokenizer": {"vocab_size": whole(1, 2**31), "length": whole(1, 64)},
    "rival?": {"name": str, "steps?": whole(1, 2**31), "auxiliary?": NUMBER},
    "meta": {
        "length?": whole(1),
        "data?": {"lengths?": {str: whole(0)}, "classes?": whole(0), "tokenizer?": {"name": str}},
    },
}  # fmt: skip


class Pretrained(nn.Module):
    """The files of `MaskedDiffusion`, and of its `rivals`."""

    rival: ClassVar[str] = ""  # the name of another process than masked diffusion
    refused: ClassVar[Mapping[str, str]] = {}  # verbs that it is not for, and why

    def refuse(self, verb: str) -> None:
        """ValueError for a verb that this process is not for."""
        if verb in self.refused:
            raise ValueError(f"{verb} is not for --rival {self.rival}: {self.refused[verb]}")

    @property
    def own(self) -> dict[str, Any]:
        """Arguments of the constructor that a rival has beside those of `MaskedDiffusion`."""
        return {}

    @property
    def config(self) -> dict:
        """What `from_pretrained` needs besides the tensors; a network that is not this package's is
        named for the message only."""
        model: Any = self
        name = type(model.backbone).__name__
        known = backbones.NAMES.get(name) is type(model.backbone)
        rival = {"rival": {"name": self.rival} | self.own} if self.rival else {}
        return {
            "backbone": {"name": name, "config": model.backbone.config if known else None},
            "schedule": model.schedule.config,
            "subtokenizer": {
                "vocab_size": model.subtokenizer.vocab_size,
                "length": model.subtokenizer.length,
            },
            "objective": model.objective,
            "masking": model.masking,
            "meta": model.meta,
            **rival,
        }

    def save_pretrained(self, path: str | Path, files: dict[str, bytes] | None = None) -> None:
        """Write `config.json`, `model.safetensors` and `files` to a folder, whole or not at all."""
        checkpoint.save(path, self.config, {"model.safetensors": self.state_dict()}, files or {})

    @classmethod
    def from_pretrained(cls, path: str | Path, backbone: nn.Module | None = None) -> Self:
        """Read a folder written by `save_pretrained`, the newest checkpoint of a training folder,
        or a model of the Hub, `user/name[@revision]` (see `hub.find`); in eval mode.

        A network that is not one of this package's is passed as `backbone`; no name found in a file
        is ever imported.
        """
        folder = hub.find(path).folder
        config, tensors = checkpoint.load(folder, "model.safetensors")
        ours = backbone is None
        if wrong := misfit(config, CONFIG):
            raise ValueError(
                f"{folder}/config.json is not a model of this version of unmask: {wrong}"
            )
        own = dict(config.get("rival", {"name": ""}))
        check_rival(folder, own.pop("name"), cls.rival)
        try:
            # sizes that the tensors do not have cost nothing
            with backbones.shapes_alone() if ours else nullcontext():
                if backbone is None:
                    backbone = build_backbone(folder, config["backbone"], len(tensors))
                schedule = schedules.from_config(config["schedule"])
                units = Subtokenizer(**config["subtokenizer"], codes=tensors.get("codes"))
                how = {name: config[name] for name in ("objective", "masking", "meta")}
                how["allowed"] = tensors.get("allowed")
                if "partner" in tensors:
                    how["links"] = tensors["partner"], tensors["group"]
                build: Any = cls
                model = build(backbone, schedule, units, **how, **own)
        except (KeyError, TypeError, AttributeError, RuntimeError, OverflowError) as error:
            said = " ".join(str(error).split())[:300]
            raise ValueError(
                f"{folder}/config.json is not a model of this version of unmask: {said}"
            ) from None
        dtypes = {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()}
        if not ours and len(dtypes) == 1:
            model = model.to(dtypes.pop())
        try:
            model.load_state_dict(tensors, assign=ours)
        except RuntimeError as error:
            said = " ".join(str(error).split())[:300]
            raise ValueError(
                f"{folder}: the weights do not fit {type(backbone).__name__}: {said}"
            ) from None
        # a file does not keep the layout of kernels
        model.backbone.to(memory_format=torch.channels_last)
        return model.eval()


def check_rival(folder: Path, found: str, expected: str) -> None:
    """ValueError for a folder that holds a model of another process, by their names."""
    if found != expected:
        names = [f"--rival {name}" if name else "masked diffusion" for name in (found, expected)]
        raise ValueError(
            f"{folder} holds a model of {names[0]}, and this is for {names[1]}: "
            "from Python, unmask.rivals.open_model reads either"
        )


def build_backbone(folder: Path, config: dict, tensors: int) -> nn.Module:
    """One of this package's networks, by its name in config.json; ValueError for any other."""
    name, arguments = config["name"], config["config"]
    if arguments is None:
        raise ValueError(
            f"{folder} holds the weights of a network of your own, {name}: from Python, pass it as "
            "from_pretrained(path, backbone=...)"
        )
    if name not in backbones.NAMES:
        known = ", ".join(backbones.NAMES)
        raise ValueError(f"{folder}: unknown backbone {name!r}; known: {known}")
    layers = arguments.get("layers", 0)  # where there are none, the constructor checks sizes
    parts = layers + arguments.get("blocks", 0) * len(arguments.get("widths", ()))
    if parts > tensors:
        raise ValueError(
            f"{folder}: config.json says {parts} layers or blocks, and there are {tensors} tensors"
        )
    return backbones.NAMES[name](**arguments)
