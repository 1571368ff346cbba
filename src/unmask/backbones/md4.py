"""MD4's and GenMD4's transformer for texts (arXiv 2406.04329), so that their weights can be read.

Interleaved rotary positions, gated MLPs, and shift, scale and gate from time and class, where there
are some.  Written from the facts of google-deepmind/md4 (b9fbf29), whose code is not in here.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.backbones.modulated import Modulated
from unmask.backbones.transformer import MOST_LAYERS, _zero, attend, of_class


def tanh_gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


# by MD4's mlp_type: what a gate passes, in MLPs and before shift, scale and gate
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "glu": torch.sigmoid, "swiglu": F.silu, "geglu": tanh_gelu,
}  # fmt: skip


class MD4Transformer(nn.Module):
    """`vocab_size` values and one mask id in, logits (B, S, V) out; sequences of any length.

    `embed`: width of what is told of time and class and, with `outside`, of the embeddings, which
    are then brought to `dim` by a linear layer; else they have that width.
    `mlp`: hidden width of the gated MLPs; `activation`: of their gates, one of ACTIVATIONS.
    `time`: look at t.
    `classes`: the number of labels in `cond` (B,), which is then needed; 0: none.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        dim: int = 768,
        layers: int = 12,
        heads: int = 12,
        mlp: int = 2048,
        embed: int = 64,
        outside: bool = True,
        activation: str = "glu",
        time: bool = False,
        classes: int = 0,
        dropout: float = 0.0,
    ):
        super().__init__()
        check_sizes(layers, classes, vocab_size=vocab_size, dim=dim, heads=heads, mlp=mlp)
        check_embed(embed, time)
        if dim % heads or dim // heads % 2:
            raise ValueError(f"dim {dim} must be heads {heads} times an even head width")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation {activation!r} is not one of {', '.join(ACTIVATIONS)}")
        self._config = {
            "vocab_size": vocab_size, "dim": dim, "layers": layers, "heads": heads, "mlp": mlp,
            "embed": embed, "outside": outside, "activation": activation, "time": time,
            "classes": classes, "dropout": dropout,
        }  # fmt: skip
        self.uses_time, self.activation = time, ACTIVATIONS[activation]
        self.embed = nn.Embedding(vocab_size + 1, embed if outside else dim)
        self.inside = nn.Linear(embed, dim) if outside else None
        self.condition = Condition(embed, time, classes) if time or classes else None
        width = embed if self.condition is not None else 0
        self.blocks = nn.ModuleList(
            MD4Block(dim, heads, mlp, activation, width, dropout) for _ in range(layers)
        )
        self.norm = Norm(dim, scale=not width)
        self.modulation = _zero(nn.Linear(width, 2 * dim)) if width else None
        self.head = nn.Linear(dim, vocab_size, bias=False)
        nn.init.zeros_(self.head.weight)

    @property
    def config(self) -> dict:
        """The constructor's arguments."""
        return dict(self._config)

    def features(
        self,
        z: Tensor,
        t: Tensor | None = None,
        cond: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """z (B, S) ids, t (), (1,) or (B,), cond (B,) labels, valid (B, S) bool -> (B, S, dim)."""
        c = told(self.condition, z, t, cond)
        if c is not None:
            c = self.activation(c)
        x = self.embed(z)
        if self.inside is not None:
            x = self.inside(x)
        rotary = interleaved(x.shape[1], x.shape[-1] // self.blocks[0].heads, x)
        for block in self.blocks:
            x = block(x, rotary, c, valid)
        x = self.norm(x)
        if self.modulation is not None:
            shift, scale = self.modulation(c)[:, None].chunk(2, -1)
            x = x * (1 + scale) + shift
        return x

    def logits(self, features: Tensor) -> Tensor:
        """(..., dim) -> (..., V)."""
        return self.head(features)

    def forward(
        self,
        z: Tensor,
        t: Tensor | None = None,
        cond: Tensor | None = None,
        valid: Tensor | None = None,
    ) -> Tensor:
        """(B, S) ids -> logits (B, S, V)."""
        return self.logits(self.features(z, t, cond, valid))


class MD4Block(Modulated):
    """x + gate * attention(norm(x)), then x + gate * mlp(norm(x)).

    Shift, scale and gate are from c, `condition` wide, where there is one; else norms have scales.
    """

    def __init__(
        self, dim: int, heads: int, mlp: int, activation: str, condition: int, dropout: float
    ):
        super().__init__()
        self.heads, self.activation = heads, ACTIVATIONS[activation]
        self.norm1, self.norm2 = (Norm(dim, scale=not condition) for _ in range(2))
        self.query, self.key, self.value, self.out = (
            nn.Linear(dim, dim, bias=False) for _ in range(4)
        )
        self.gate, self.up = (nn.Linear(dim, mlp, bias=False) for _ in range(2))
        self.down = nn.Linear(mlp, dim, bias=False)
        self.modulation = _zero(nn.Linear(condition, 6 * dim)) if condition else None
        self.dropout = nn.Dropout(dropout)

    def attention(self, x: Tensor, rotary: tuple[Tensor, Tensor], valid: Tensor | None) -> Tensor:
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)) for layer in (self.query, self.key, self.value)
        )
        q, k = (turned(u, rotary).transpose(1, 2) for u in (q, k))
        mask = None if valid is None else valid[:, None, None]
        y = attend(q, k, v.transpose(1, 2), mask, 0.0)
        return self.out(y.transpose(1, 2).flatten(2))

    def mlp(self, x: Tensor) -> Tensor:
        return self.down(self.activation(self.gate(x)) * self.up(x))

    def dropped(self, x: Tensor) -> Tensor:
        """Dropout of whole channels, the same at all positions."""
        if not (self.training and self.dropout.p):
            return x
        return x * self.dropout(torch.ones_like(x[:, :1]))


class Condition(nn.Module):
    """(B, width) of t and of a class: the class's embedding beside the features of t, through two
    layers; of a class alone, its embedding."""

    def __init__(self, width: int, time: bool, classes: int):
        super().__init__()
        self.label = nn.Embedding(classes, width) if classes else None
        self.time = None
        if time:
            wide = 2 * width if classes else width
            inside, outside = nn.Linear(wide, 4 * width), nn.Linear(4 * width, width)
            self.time = nn.Sequential(inside, nn.SiLU(), outside)

    def forward(self, z: Tensor, t: Tensor | None, cond: Tensor | None) -> Tensor:
        label = None
        if self.label is not None:
            if cond is None:
                raise ValueError(
                    f"this network needs one of its {self.label.num_embeddings} classes: give cond"
                )
            label = of_class(self.label, cond)
        if self.time is None:
            assert label is not None
            return label
        if t is None:
            raise ValueError("this network looks at t, which was not given")
        layer: Any = self.time[2]
        told = time_features(t.reshape(-1).expand(z.shape[0]), layer.out_features)
        told = told.to(layer.weight.dtype)
        return self.time(told if label is None else torch.cat([told, label], -1))


def told(
    condition: Condition | None, z: Tensor, t: Tensor | None, cond: Tensor | None
) -> Tensor | None:
    """What a network's `condition` makes of t and cond; None if it has none."""
    if condition is not None:
        return condition(z, t, cond)
    if cond is not None:
        raise ValueError("cond was given, but this network was built with classes=0")
    return None


class Norm(nn.Module):
    """With a scale: x / rms(x) * scale; without: a layer norm that has no parameters."""

    def __init__(self, dim: int, scale: bool):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim)) if scale else None

    def forward(self, x: Tensor) -> Tensor:
        if self.weight is None:
            return F.layer_norm(x, x.shape[-1:], eps=1e-5)
        return x * (x.square().mean(-1, keepdim=True) + 1e-5).rsqrt() * self.weight


def time_features(t: Tensor, width: int) -> Tensor:
    """(B,) times in [0, 1] -> (B, width): sines first, of 1000 t at falling frequencies."""
    half = width // 2
    step = torch.arange(half, device=t.device, dtype=t.dtype)
    angle = 1000 * t[:, None] * torch.exp(-math.log(10000) / (half - 1) * step)
    return torch.cat([angle.sin(), angle.cos()], -1)


def interleaved(length: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin (length, 1, width / 2) of rotary positions."""
    wide = torch.float64 if like.dtype == torch.float64 else torch.float32
    step = torch.arange(0, width, 2, device=like.device, dtype=wide)
    position = torch.arange(length, device=like.device, dtype=wide)
    angle = position[:, None, None] / 10000 ** (step / width)
    return angle.cos(), angle.sin()


def turned(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """(B, S, H, D/H), its pairs of neighbouring channels turned by their position."""
    cos, sin = (table.to(x.dtype) for table in rotary)
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


def check_sizes(layers: int, classes: int, **sizes: int) -> None:
    """ValueError for a size that no network can have."""
    for name, size in (*sizes.items(), ("layers", layers)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")
    if classes < 0:
        raise ValueError(f"classes must be at least 0, not {classes}")
    if layers > MOST_LAYERS:
        raise ValueError(f"layers must be at most {MOST_LAYERS:,}, not {layers:,}")


def check_embed(embed: int, time: bool) -> None:
    """ValueError for a width that no embedding, or no pairs of sines and cosines, can have."""
    if embed < 1 or (time and (embed % 2 or embed < 4)):
        raise ValueError(
            f"embed {embed} must be at least 1 and, where a network looks at t, even and at least "
            "4: the time is told by pairs of sines and cosines"
        )
