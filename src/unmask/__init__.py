"""Masked diffusion on discrete data: train, evaluate, sample and fill in, with likelihoods that are
valid bounds.

Submodules and names are loaded on first use, so that `import unmask` (and `unmask --help`) need not
load torch.
"""

import importlib

__version__ = "0.1.0"

_HOME = {
    "MaskedDiffusion": "diffusion",
    "Subtokenizer": "subtokens",
    "TableModel": "tables",
    "fill": "filling",
    "Estimate": "estimate",
    "estimate_nelbo": "likelihood",
    "sample": "sampling",
    "score": "scoring",
}
_MODULES = {
    "audit",
    "backbones",
    "categorical",
    "checkpoint",
    "compression",
    "data",
    "diffusion",
    "likelihood",
    "rivals",
    "roles",
    "sampling",
    "schedules",
    "scoring",
    "subtokens",
    "tables",
}
__all__ = sorted([*_HOME, *_MODULES])


def __getattr__(name: str):
    if name in _HOME:
        return getattr(importlib.import_module(f"unmask.{_HOME[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"unmask.{name}")
    raise AttributeError(f"module 'unmask' has no attribute {name!r}")


def __dir__():
    return __all__
