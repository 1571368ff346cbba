"""Networks: (z, t, cond, valid) -> features -> logits.

A model's file names one of these; no other name is ever looked up.
"""

from unmask.backbones.ddit import DDiT
from unmask.backbones.huggingface import HuggingFace, from_transformers
from unmask.backbones.md4 import MD4Transformer
from unmask.backbones.md4_unet import MD4UNet
from unmask.backbones.part import Part, parts_of
from unmask.backbones.shapes import no_weights, shapes_alone
from unmask.backbones.transformer import Transformer
from unmask.backbones.unet import UNet

NAMES = {
    "Transformer": Transformer, "UNet": UNet, "HuggingFace": HuggingFace, "DDiT": DDiT,
    "MD4Transformer": MD4Transformer, "MD4UNet": MD4UNet,
}  # fmt: skip

__all__ = [
    "NAMES", "DDiT", "HuggingFace", "MD4Transformer", "MD4UNet", "Part", "Transformer", "UNet",
    "from_transformers", "no_weights", "parts_of", "shapes_alone",
]  # fmt: skip
