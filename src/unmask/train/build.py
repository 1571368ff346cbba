"""The untrained model of a configuration."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from unmask import schedules
from unmask.backbones import Transformer, UNet, parts_of, shapes_alone
from unmask.config import TrainConfig
from unmask.device import physical_memory
from unmask.diffusion import MaskedDiffusion
from unmask.kinds.kind import Layout
from unmask.kinds.registry import kind_of
from unmask.kinds.traits import Traits
from unmask.rivals import MODELS
from unmask.subtokens import Subtokenizer


def build(config: TrainConfig, vocab_size: int, meta: dict) -> MaskedDiffusion:
    """The untrained model of a configuration; its weights depend on `config.seed` alone."""
    generator = torch.Generator().manual_seed(config.seed)
    codes = torch.randperm(vocab_size, generator=generator) if config.codes == "random" else None
    # before the network: its errors are about the vocabulary
    subtokenizer = Subtokenizer(vocab_size, config.digits, codes)
    curve: dict[str, Any] = {"name": config.schedule}
    if config.schedule == "polynomial":
        curve["power"] = config.power
    elif config.schedule == "learned":
        num_values = subtokenizer.base if config.masking == "digit" else vocab_size
        curve = {"name": "learned_polynomial", "num_values": num_values, "init": config.power}
    data = meta.get("data", {})
    layout = kind_of(data, Path()).layout if "kind" in data else Layout()
    classes = data.get("classes", 0) if config.labels else 0
    check_memory(config, lambda: network(config, vocab_size, layout, classes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        backbone = network(config, vocab_size, layout, classes)
        how: dict[str, Any] = {"objective": config.objective, "masking": config.masking}
        how |= restrictions(layout) | {"meta": meta}
        model = MODELS[config.rival]
        return model(backbone, schedules.from_config(curve), subtokenizer, **how)


def restrictions(layout: Layout) -> dict[str, Any]:
    """`allowed` and `links` of a `MaskedDiffusion` for positions of this layout."""
    allowed = None if layout.allowed is None else torch.from_numpy(layout.allowed)
    links = None if layout.links is None else tuple(map(torch.from_numpy, layout.links))
    return {"allowed": allowed, "links": links}


def network(config: TrainConfig, vocab_size: int, layout: Layout, classes: int) -> nn.Module:
    """The untrained network of a configuration, for positions of this layout.

    `classes`: of which it is given one.
    """
    shared: dict[str, Any] = {"dim": config.dim, "layers": config.layers, "heads": config.heads}
    shared |= {"mlp": config.mlp or None, "dropout": config.dropout, "time": config.time}
    shared["classes"] = classes
    traits = layout.traits if config.traits else None
    shared["traits"] = () if traits is None else traits.known.shape
    if config.network == "transformer":
        if config.traits and not (layout.places or layout.shape):
            raise ValueError("this data says nothing of its values: give --no-traits")
        if layout.places and config.neighbours:
            raise ValueError(
                f"--neighbours {config.neighbours} is for positions with an order, and columns of "
                "a table have none: give --neighbours 0"
            )
        shared |= {"digits": config.digits, "decoder": config.decoder}
        causal = config.rival == "ar"  # then where it ends is not known yet
        ends = "sequence" if layout.ends and not causal else False
        shared |= {"ends": ends, "causal": causal, "neighbours": config.neighbours}
        return told(Transformer(vocab_size, places=layout.places, **shared), traits)
    if layout.shape is None:
        unfit = "is for pictures, and this data has none"
        raise ValueError(f"--network unet {unfit}: use --network transformer")
    if config.digits > 1:
        unfit = f"takes whole values, not digits {config.digits}"
        raise ValueError(f"--network unet {unfit}: use --network transformer")
    shared |= {"widths": config.channels(), "blocks": config.blocks}
    return told(UNet(vocab_size, layout.shape, **shared), traits)


def told(network: Transformer | UNet, traits: Traits | None) -> nn.Module:
    if network.traits is not None and traits is not None:
        network.traits.tell(*map(torch.from_numpy, traits))
    return network


def check_memory(config: TrainConfig, make: Callable[[], nn.Module]) -> None:
    """ValueError where the weights, or the tokens of a batch, are more than this machine's memory.

    Much less may be too much as well; this is what nobody can mean.
    """
    memory = physical_memory()
    try:
        with shapes_alone():
            weights = 4 * sum(p.numel() for p in make().parameters())
    except RuntimeError:  # so many that their bytes overflow
        weights = 1 << 63
    tokens = 8 * config.batch_size // config.accumulate * config.length
    for what, size, fix in (
        ("the weights of this network", weights, "a smaller dim, or fewer layers"),
        ("the tokens of a batch", tokens, "a smaller batch_size"),
    ):
        if memory < size:
            needed, there = f"{size / 1e9:,.0f} GB", f"{memory / 1e9:,.0f} GB"
            raise ValueError(f"{what} are {needed}, more than all memory ({there}): give {fix}")


def compile_network(model: MaskedDiffusion) -> None:
    """torch.compile the parts of the network.

    Those that are alike are compiled once for all of them.  The head is none: its rows change in
    number every step.
    """
    cpp: Any = torch._inductor.config.cpp
    named = cpp.cxx[-1]  # as $CXX says, or a default: no other is tried
    if not shutil.which(named):
        found = next(filter(shutil.which, ("g++", "clang++", "c++")), None)
        if found is None:
            raise ValueError(
                f"--compile needs a C++ compiler, and there is neither {named!r} (CXX in the "
                "environment, if set) nor g++ or clang++: leave it out, or install one"
            )
        cpp.cxx = (None, found)
    parts = parts_of(model.backbone)
    # each shape of weights, with gradients and without; beyond the limit, parts are not compiled
    limits: Any = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, 4 * len(parts))
    for part in parts:
        part.compile()
