"""The denoiser in ONNX and by torch.export, against PyTorch at sizes other than those traced."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import unmask
from unmask import backbones
from unmask.cli.main import main
from unmask.export import FACTS, export
from unmask.schedules import Linear
from unmask.subtokens import Subtokenizer

SMALL = {"dim": 16, "layers": 1, "heads": 2}


def text(**more):
    return backbones.Transformer(7, **SMALL, **more)


def unet(**more):
    return backbones.UNet(5, (4, 4, 1), blocks=1, **more)


NETWORKS = {
    "text": lambda: text(ends="sequence"),
    "time": lambda: text(time=True, classes=3),
    "digits": lambda: text(digits=2),
    "independent digits": lambda: text(digits=2, decoder="independent", time=True),
    "places": lambda: text(places=6),
    "linked": lambda: text(places=6, time=True),
    "unet": lambda: unet(widths=(8, 8), time=True, classes=2),
    "patches": lambda: unet(widths=(8,), layers=1, dim=16, heads=2),
    "ddit": lambda: backbones.DDiT(7, **SMALL, time=True),
    "radd": lambda: backbones.DDiT(7, **SMALL, condition=0, norm_bias=True),
    "mdm-prime": lambda: backbones.DDiT(7, **SMALL, digits=3 - 1),
    "md4": lambda: backbones.MD4Transformer(7, **SMALL, time=True, classes=3),
    "md4 alone": lambda: backbones.MD4Transformer(7, **SMALL, outside=False),
    "md4 unet": lambda: backbones.MD4UNet(5, (4, 4, 1), layers=1, embed=32, time=True, classes=2),
}
