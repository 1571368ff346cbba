"""Networks: (z, t, cond, valid) -> features -> logits.

A model's file names one of these; no other name is ever looked up.
"""

from unmask.backbones.part import Part, parts_of
from unmask.backbones.shapes import shapes_alone
from unmask.backbones.transformer import Transformer
from unmask.backbones.unet import UNet

NAMES = {"Transformer": Transformer, "UNet": UNet}

__all__ = ["NAMES", "Part", "Transformer", "UNet", "parts_of", "shapes_alone"]
