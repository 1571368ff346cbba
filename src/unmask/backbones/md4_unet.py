"""MD4's U-Net for pictures, of one resolution (arXiv 2406.04329), so that its weights can be read.

Written from the facts of google-deepmind/md4 (b9fbf29), whose code is not in here.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.backbones.md4 import Condition, check_embed, check_sizes, told
from unmask.backbones.part import Part
from unmask.backbones.transformer import _zero

GROUPS = 32  # of a group norm, which divide the channels


class MD4UNet(nn.Module):
    """`vocab_size` values and one mask id in, logits (B, H*W*C, V) out; pictures (H, W, C).

    `embed`: channels everywhere, and width of a value's embedding, the same table for all channels.
    `layers`: residual blocks on the way down; the way up has one more, at the same resolution.
    `time`, `classes`: as of MD4Transformer.
    """

    def __init__(
        self,
        vocab_size: int,
        shape: Sequence[int],
        *,
        layers: int = 32,
        embed: int = 128,
        time: bool = False,
        classes: int = 0,
        dropout: float = 0.0,
    ):
        super().__init__()
        shape = tuple(int(n) for n in shape)
        check_sizes(layers, classes, vocab_size=vocab_size, smallest=min(shape, default=0))
        check_embed(embed, time)
        if len(shape) != 3 or embed % GROUPS:
            raise ValueError(
                f"shape {shape} must be (height, width, channels), and embed {embed} a multiple of "
                f"the {GROUPS} groups of its norms"
            )
        self._config = {
            "vocab_size": vocab_size, "shape": list(shape), "layers": layers, "embed": embed,
            "time": time, "classes": classes, "dropout": dropout,
        }  # fmt: skip
        self.shape, self.uses_time, self.vocab_size = shape, time, vocab_size
        self.embed = nn.Embedding(vocab_size + 1, embed)
        self.condition = Condition(embed, time, classes) if time or classes else None
        width = embed if self.condition is not None else 0

        def residual(wide: int = embed) -> MD4Residual:
            return MD4Residual(wide, embed, width, dropout)

        self.stem = nn.Conv2d(shape[2] * embed, embed, 3, padding=1)
        self.down = nn.ModuleList(residual() for _ in range(layers))
        self.middle = nn.ModuleList([residual(), MD4Attention(embed), residual()])
        self.up = nn.ModuleList(residual(2 * embed) for _ in range(layers + 1))
        self.norm = nn.GroupNorm(GROUPS, embed, eps=1e-6)
        self.head = _zero(nn.Conv2d(embed, shape[2] * vocab_size, 3, padding=1))

    @property
    def config(self) -> dict:
        """The constructor's arguments."""
        return dict(self._config)

    def forward(self, z: Tensor, t: Tensor | None = None, cond: Tensor | None = None) -> Tensor:
        """z (B, H*W*C) ids, t (), (1,) or (B,), cond (B,) labels -> logits (B, H*W*C, V)."""
        height, width, channels = self.shape
        if z.shape[1] != height * width * channels:
            values = f"{height} x {width} x {channels} = {height * width * channels} values"
            raise ValueError(f"this MD4UNet is for {values}, not {z.shape[1]}")
        c = told(self.condition, z, t, cond)
        x = self.embed(z.view(-1, height, width, channels)).flatten(3).permute(0, 3, 1, 2)
        x = self.stem(x)
        kept = [x]
        for block in self.down:
            x = block(x, c)
            kept.append(x)
        first, attention, last = self.middle
        x = last(attention(first(x, c)), c)
        for block in self.up:
            x = block(torch.cat([x, kept.pop()], 1), c)
        x = self.head(F.silu(self.norm(x)))
        return x.permute(0, 2, 3, 1).reshape(z.shape[0], -1, self.vocab_size)


class MD4Residual(Part):
    """x + conv(drop(swish(norm(conv(swish(norm(x))) + c)))); another width of x passes a linear
    layer."""

    def __init__(self, wide: int, width: int, condition: int, dropout: float):
        super().__init__()
        self.norm1 = nn.GroupNorm(GROUPS, wide, eps=1e-6)
        self.norm2 = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.conv1 = nn.Conv2d(wide, width, 3, padding=1)
        self.conv2 = _zero(nn.Conv2d(width, width, 3, padding=1))
        self.condition = nn.Linear(condition, width, bias=False) if condition else None
        self.skip = nn.Conv2d(wide, width, 1) if wide != width else None
        self.dropout = nn.Dropout(dropout)

    def run(self, x: Tensor, c: Tensor | None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.condition is not None:
            h = h + self.condition(c)[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return (x if self.skip is None else self.skip(x)) + h


class MD4Attention(Part):
    """x + attention(norm(x)) over all pixels, of one head."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, width, eps=1e-6)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def run(self, x: Tensor) -> Tensor:
        rows = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)
        q, k, v = (layer(rows)[:, None] for layer in (self.query, self.key, self.value))
        y = self.out(F.scaled_dot_product_attention(q, k, v)[:, 0])
        return x + y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)
