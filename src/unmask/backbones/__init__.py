"""Networks: (z, t, cond, valid) -> features -> logits.

A model's file names one of these; no other name is ever looked up.
"""

from unmask.backbones.huggingface import HuggingFace, from_transformers
from unmask.backbones.part import Part, parts_of
from unmask.backbones.shapes import no_weights, shapes_alone
from unmask.backbones.transformer import Transformer
from unmask.backbones.unet import UNet

NAMES = {"Transformer": Transformer, "UNet": UNet, "HuggingFace": HuggingFace}

__all__ = [
    "NAMES", "HuggingFace", "Part", "Transformer", "UNet", "from_transformers", "no_weights",
    "parts_of", "shapes_alone",
]  # fmt: skip
