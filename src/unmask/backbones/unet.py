"""A U-Net over masked pixel values, of MD4's recipe for images.

The recipe is in the appendix of arXiv 2406.04329, the residual blocks are those of arXiv
2006.11239.  Every pixel value, one a channel, is embedded; the embeddings of a pixel's channels
side by side are what the first convolution sees.  Tokens are in the order row, column, channel.
Memory is channels last throughout.  The output layer starts at zero, so an untrained network
predicts the uniform distribution.
"""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.backbones.attention import attend
from unmask.backbones.part import Part
from unmask.backbones.traits import TraitMaps, embedded
from unmask.backbones.transformer import MOST_LAYERS, Block, RMSNorm, _rotary, _zero, condition

# of a group norm: at most so many groups, of at least so many channels (fewer are slow on CPUs)
GROUPS, LEAST = 32, 4


class UNet(nn.Module):
    """`vocab_size` values and one mask id in, logits (B, H*W*C, V) out.

    For pictures of one `shape` (H, W, C).
    `widths`: channels at each resolution, each half as fine as the one before.
    `blocks`: residual blocks a resolution on the way down; the way up has one more.  In the middle:
    two blocks with attention of `heads` heads between them or, with `layers`, so many transformer
    blocks of width `dim` and `heads` heads over patches of `patch` x `patch`.
    `embed`: width of a value's embedding, and of a row of features; by default the first width.
    `time`: look at t.
    `classes`: the number of labels in `cond` (B,), 0 for none; the extra label `classes` means "no
    label", as does cond=None.
    `traits` (groups, most, K): as of a Transformer; the channels share them.
    """

    def __init__(
        self,
        vocab_size: int,
        shape: Sequence[int],
        *,
        widths: Sequence[int] = (128,),
        blocks: int = 2,
        heads: int = 1,
        layers: int = 0,
        dim: int = 256,
        patch: int = 2,
        mlp: int | None = None,
        embed: int | None = None,
        dropout: float = 0.0,
        time: bool = False,
        classes: int = 0,
        traits: Sequence[int] = (),
    ):
        super().__init__()
        shape, widths = tuple(int(n) for n in shape), tuple(int(n) for n in widths)
        positive = (*shape, *widths, vocab_size, blocks, heads, patch)
        if len(shape) != 3 or not widths or min(positive) < 1 or min(layers, classes) < 0:
            raise ValueError(
                f"shape {shape} must be (height, width, channels), and vocab_size {vocab_size}, "
                f"widths {widths}, blocks {blocks}, heads {heads}, patch {patch} at least 1, "
                f"layers {layers} and classes {classes} at least 0"
            )
        if max(layers, blocks * len(widths)) > MOST_LAYERS:
            raise ValueError(
                f"layers, and blocks of all {len(widths)} widths together, must be at most "
                f"{MOST_LAYERS:,}, not {layers:,} and {blocks * len(widths):,}"
            )
        if not layers and widths[-1] % heads:
            raise ValueError(f"the last width, {widths[-1]}, is not a multiple of heads {heads}")
        if widths[0] % 2 and time:
            raise ValueError(
                f"the first width, {widths[0]}, must be even, "
                "since the time is told by pairs of sines and cosines"
            )
        halved, cut, last = len(widths) - 1, "", 1
        if layers:
            last = patch
            cut = f" and cut into patches of {patch} x {patch}"
        side = math.gcd(*shape[:2])
        fine = 2**halved * last
        if side % fine:
            ways = [f"pictures whose sides are multiples of {fine}"]
            if halved and side % last == 0:
                ways.append(f"fewer widths than {len(widths)}")
            if layers and side % 2**halved == 0:
                ways.append("layers 0")
            raise ValueError(
                f"{shape[0]} x {shape[1]} pixels cannot be halved {halved} times{cut}: give "
                f"{' or '.join(ways)}"
            )
        embed = embed or widths[0]
        mlp = mlp or 64 * -(-dim * 8 // 192)
        self._config = {
            "vocab_size": vocab_size, "shape": list(shape), "widths": list(widths),
            "blocks": blocks, "heads": heads, "layers": layers, "dim": dim, "patch": patch,
            "mlp": mlp, "embed": embed, "dropout": dropout, "time": time, "classes": classes,
            "traits": list(traits),
        }  # fmt: skip
        self.shape, self.uses_time, first = shape, time, widths[0]
        self.embed = nn.Embedding(shape[2] * (vocab_size + 1), embed)  # a table for each channel
        nn.init.normal_(self.embed.weight, std=1.0)
        self.time = None
        if time:
            inside, outside = nn.Linear(first, 4 * first), nn.Linear(4 * first, first)
            self.time = nn.Sequential(inside, nn.SiLU(), outside)
        self.label = nn.Embedding(classes + 1, first) if classes else None
        wide_condition = first if time or classes else 0

        def residual(width_in: int, width_out: int) -> Residual:
            return Residual(width_in, width_out, dropout, wide_condition)

        self.stem = nn.Conv2d(shape[2] * embed, first, 3, padding=1)
        down, up, skips, width = nn.ModuleList(), nn.ModuleList(), [first], first
        for level, wide in enumerate(widths):
            if level:
                down.append(nn.Conv2d(width, width, 2, stride=2))
                skips.append(width)
            for _ in range(blocks):
                down.append(residual(width, wide))
                width = wide
                skips.append(width)
        if layers:
            middle = [Patches(width, dim, layers, heads, patch, mlp, dropout, wide_condition)]
        else:
            middle = [residual(width, width), Attention(width, heads), residual(width, width)]
        for level, wide in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                up.append(residual(width + skips.pop(), wide))
                width = wide
            if level:
                up.append(nn.ConvTranspose2d(width, width, 2, stride=2))
        assert not skips
        self.blocks = nn.ModuleDict({"down": down, "middle": nn.ModuleList(middle), "up": up})
        self.norm = norm(width)
        self.out = nn.Conv2d(width, shape[2] * embed, 3, padding=1)
        self.head = _zero(nn.Linear(embed, vocab_size))
        self.traits = TraitMaps(vocab_size, embed, traits) if traits else None
        network: Any = self
        network.to(memory_format=torch.channels_last)

    @property
    def config(self) -> dict:
        """The constructor's arguments."""
        return dict(self._config)

    def features(self, z: Tensor, t: Tensor | None = None, cond: Tensor | None = None) -> Tensor:
        """z (B, H*W*C) ids, t (), (1,) or (B,), cond (B,) labels -> (B, H*W*C, embed).

        A row for each pixel and channel.
        """
        height, width, channels = self.shape
        if z.shape[1] != height * width * channels:
            values = f"{height} x {width} x {channels} = {height * width * channels} values"
            raise ValueError(f"this UNet is for {values}, not {z.shape[1]}")
        c = condition(self, z, t, cond)
        table = torch.arange(channels, device=z.device) * (self.embed.num_embeddings // channels)
        x = embedded(self, z.view(-1, height, width, channels) + table)
        x = x.flatten(3).permute(0, 3, 1, 2)
        x = self.stem(x.to(memory_format=torch.channels_last))
        kept = [x]
        down, middle, up = (
            cast(nn.ModuleList, self.blocks[name]) for name in ("down", "middle", "up")
        )
        for block in down:
            x = block(x, c) if isinstance(block, Residual) else block(x)
            kept.append(x)
        for block in middle:
            x = block(x) if isinstance(block, Attention) else block(x, c)
        for block in up:
            x = block(torch.cat([x, kept.pop()], 1), c) if isinstance(block, Residual) else block(x)
        x = self.out(F.silu(self.norm(x)))
        return x.permute(0, 2, 3, 1).reshape(z.shape[0], z.shape[1], -1)

    def logits(self, features: Tensor) -> Tensor:
        """(..., embed) -> (..., V)."""
        if self.traits is None:
            return self.head(features)
        return F.linear(features, self.traits.outputs(self.head.weight), self.head.bias)

    def forward(self, z: Tensor, t: Tensor | None = None, cond: Tensor | None = None) -> Tensor:
        """(B, H*W*C) ids -> logits (B, H*W*C, V)."""
        return self.logits(self.features(z, t, cond))


class GroupNorm(nn.GroupNorm):
    """In float32 on CPUs: channels last, PyTorch's kernel of bfloat16 is three times slower than
    that of float32 between two casts."""

    def forward(self, input: Tensor) -> Tensor:
        if input.is_cuda or input.dtype != torch.bfloat16:
            return super().forward(input)
        weight, bias = self.weight.float(), self.bias.float()
        found = F.group_norm(input.float(), self.num_groups, weight, bias, self.eps)
        return found.to(input.dtype)


def norm(width: int) -> GroupNorm:
    most = max(1, min(GROUPS, width // LEAST))
    return GroupNorm(next(n for n in range(most, 0, -1) if width % n == 0), width, eps=1e-6)


class Residual(Part):
    """x + conv(drop(swish(norm(conv(swish(norm(x))) + c)))).

    Where the width changes, the first x passes a 1 x 1 convolution.
    """

    def __init__(self, width_in: int, width_out: int, dropout: float, condition: int):
        super().__init__()
        self.norm1, self.norm2 = norm(width_in), norm(width_out)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        _zero(self.conv2)
        self.condition = nn.Linear(condition, width_out) if condition else None
        self.skip = nn.Conv2d(width_in, width_out, 1) if width_in != width_out else None
        self.dropout = nn.Dropout(dropout)

    def run(self, x: Tensor, c: Tensor | None) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        if self.condition is not None:
            h = h + self.condition(c)[:, :, None, None]
        h = self.conv2(self.dropout(F.silu(self.norm2(h))))
        return (x if self.skip is None else self.skip(x)) + h


class Attention(Part):
    """x + attention(norm(x)) over all pixels."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.norm = heads, norm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), _zero(nn.Linear(width, width))

    def run(self, x: Tensor) -> Tensor:
        rows = self.norm(x).permute(0, 2, 3, 1).flatten(1, 2)
        # each (B, heads, H*W, D/heads)
        q, k, v = self.qkv(rows).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = self.out(attend(q, k, v).transpose(1, 2).flatten(2))
        return x + y.unflatten(1, x.shape[2:]).permute(0, 3, 1, 2)


class Patches(nn.Module):
    """x + the output of transformer blocks over patches.

    Positions of patches turn queries and keys, half of them by row, half by column.
    """

    def __init__(
        self,
        width: int,
        dim: int,
        layers: int,
        heads: int,
        patch: int,
        mlp: int,
        dropout: float,
        condition: int,
    ):
        super().__init__()
        if dim % heads or dim // heads % 4:
            raise ValueError(f"dim {dim} must be heads {heads} times a multiple of 4")
        self.patch, self.width, self.per_head = patch, width, dim // heads
        self.inside = nn.Linear(width * patch * patch, dim)
        self.layers = nn.ModuleList(
            Block(dim, heads, mlp, dropout, layers, condition) for _ in range(layers)
        )
        self.norm = RMSNorm(dim)
        self.outside = _zero(nn.Linear(dim, width * patch * patch))

    def forward(self, x: Tensor, c: Tensor | None) -> Tensor:
        b, _, height, width = x.shape
        p, rows, columns = self.patch, height // self.patch, width // self.patch
        y = x.permute(0, 2, 3, 1).reshape(b, rows, p, columns, p, self.width).transpose(2, 3)
        y = self.inside(y.reshape(b, rows * columns, -1))
        rotary = grid_rotary(rows, columns, self.per_head, x.device)
        for layer in self.layers:
            y = layer(y, rotary, c, None)
        y = self.outside(self.norm(y)).view(b, rows, columns, p, p, self.width).transpose(2, 3)
        return x + y.reshape(b, height, width, self.width).permute(0, 3, 1, 2)


def grid_rotary(rows: int, columns: int, width: int, device) -> tuple[Tensor, Tensor]:
    """cos and sin (rows * columns, 1, width / 2) of rotary embeddings of a grid, row by row."""
    by_row, by_column = (_rotary(n, width // 2, device) for n in (rows, columns))
    cos, sin = (
        torch.cat([r.repeat_interleave(columns, 0), c.repeat(rows, 1, 1)], -1)
        for r, c in zip(by_row, by_column, strict=True)
    )
    return cos, sin
