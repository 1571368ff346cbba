"""Rivals of masked diffusion in the same code: same networks, data, folders, verbs and budget.

Each is a class beside `MaskedDiffusion`, with its own training loss, its own bound or likelihood
and its own samplers; what it has no meaning for, it refuses.
"""

from pathlib import Path

from torch import nn

from unmask import checkpoint, hub
from unmask.diffusion import MaskedDiffusion
from unmask.rivals.ar import AR
from unmask.rivals.d3pm import D3PM
from unmask.rivals.sedd import SEDD
from unmask.rivals.uniform import Uniform

# by the name that config.json and `unmask train --rival` say
MODELS: dict[str, type[MaskedDiffusion]] = {
    "": MaskedDiffusion, "ar": AR, "sedd": SEDD, "d3pm": D3PM, "uniform": Uniform,
}  # fmt: skip

__all__ = ["AR", "D3PM", "MODELS", "SEDD", "Uniform", "open_model"]


def open_model(path: str | Path, backbone: nn.Module | None = None) -> MaskedDiffusion:
    """As `MaskedDiffusion.from_pretrained`, also of a folder that holds a rival.

    ValueError for a process that is not known.
    """
    folder = hub.find(path).folder
    rival = checkpoint.read_config(folder).get("rival")
    name = rival.get("name") if isinstance(rival, dict) else ""
    if not isinstance(name, str):
        name = ""  # of a damaged file, which is told there
    if name not in MODELS:
        known = ", ".join(filter(None, MODELS))
        raise ValueError(f"{folder}/config.json: unknown rival {name!r}; known: {known}")
    return MODELS[name].from_pretrained(folder, backbone)
