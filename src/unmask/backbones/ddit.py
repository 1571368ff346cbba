"""The transformer of SEDD, MDLM, RADD and MDM-Prime, so that their weights can be read.

Pre-norm layer norms, rotary positions, a GELU MLP of four times the width; shift, scale and gate of
every block from a noise level sigma (adaLN, arXiv 2212.09748), where there is one.  Written from
the facts of louaaron/Score-Entropy-Discrete-Diffusion (0605786), kuleshov-group/mdlm (c112c52),
ML-GSAI/RADD (60b772d) and chen-hao-chao/mdm-prime (17b9489), whose code is not in here.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.backbones.modulated import Modulated
from unmask.backbones.transformer import MOST_LAYERS, Head, _rotate, _zero, attend
from unmask.subtokens import least_base

EPS = 1e-3  # of the log-linear noise
FREQUENCIES = 128  # of the sines and cosines that tell sigma


class DDiT(nn.Module):
    """`vocab_size` values and one mask id in, logits (B, S, V) out; sequences of any length.

    `condition`: width of what is told of sigma; 0: nothing is, and blocks have no gates (RADD).
    `time`: sigma = -log(1 - (1 - eps) t), the noise of the log-linear schedule, or, with
    `sigma_max`, that at which a share t is masked, min(-log(1 - t), sigma_max), of the geometric
    one; else it is 0 at any t, as in MDLM without time conditioning: what `condition` adds is then
    constant.
    `norm_bias`: layer norms have biases (RADD).
    `digits` L: ids z (B, S*L) are the digits of tokens, whose embeddings, each dim / L wide, are
    joined in their order; one table for all of them (MDM-Prime).
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        dim: int = 768,
        layers: int = 12,
        heads: int = 12,
        condition: int = 128,
        time: bool = False,
        eps: float = EPS,
        sigma_max: float | None = None,
        norm_bias: bool = False,
        digits: int = 1,
        dropout: float = 0.0,
    ):
        super().__init__()
        if min(vocab_size, dim, layers, heads, digits) < 1 or condition < 0:
            raise ValueError(
                f"vocab_size {vocab_size}, dim {dim}, layers {layers}, heads {heads}, "
                f"digits {digits} must be at least 1, condition {condition} at least 0"
            )
        if layers > MOST_LAYERS:
            raise ValueError(f"layers must be at most {MOST_LAYERS:,}, not {layers:,}")
        if dim % heads or dim // heads % 2 or dim % digits:
            raise ValueError(
                f"dim {dim} must be heads {heads} times an even head width, "
                f"and a multiple of digits {digits}"
            )
        if time and not condition:
            raise ValueError("a DDiT that looks at t needs a condition of at least 1, not 0")
        if not 0 < eps < 1:
            raise ValueError(f"eps must lie between 0 and 1, not {eps}")
        if sigma_max is not None and not 0 < sigma_max < math.inf:
            raise ValueError(f"sigma_max must be a finite number above 0, not {sigma_max}")
        self._config = {
            "vocab_size": vocab_size, "dim": dim, "layers": layers, "heads": heads,
            "condition": condition, "time": time, "eps": eps, "sigma_max": sigma_max,
            "norm_bias": norm_bias, "digits": digits, "dropout": dropout,
        }  # fmt: skip
        self.uses_time, self.eps, self.sigma_max = time, eps, sigma_max
        self.heads, self.digits = heads, digits
        self.embed = nn.Embedding(least_base(vocab_size, digits) + 1, dim // digits)
        self.sigma = None
        if condition:
            inside, outside = (
                nn.Linear(2 * FREQUENCIES, condition),
                nn.Linear(condition, condition),
            )
            self.sigma = nn.Sequential(inside, nn.SiLU(), outside)
        self.blocks = nn.ModuleList(
            DDiTBlock(dim, heads, condition, norm_bias, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(dim, bias=norm_bias)
        self.modulation = _zero(nn.Linear(condition, 2 * dim)) if condition else None
        self.head = _zero(Head(dim, vocab_size))

    @property
    def config(self) -> dict:
        """The constructor's arguments."""
        return dict(self._config)

    def features(self, z: Tensor, t: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
        """z (B, S*L) ids, t (), (1,) or (B,), valid (B, S) bool -> (B, S, dim)."""
        x = self.embed(z.unflatten(1, (-1, self.digits))).flatten(2)
        c = self.condition(x, t)
        rotary = rotary_table(x.shape[1], x.shape[-1] // self.heads, x)
        for block in self.blocks:
            x = block(x, rotary, c, valid)
        x = self.norm(x)
        if self.modulation is not None:
            shift, scale = self.modulation(c)[:, None].chunk(2, -1)
            x = x * (1 + scale) + shift
        return x

    def condition(self, x: Tensor, t: Tensor | None) -> Tensor | None:
        """(1, C) or (B, C) of sigma(t), after a swish; None without a condition.  x: embeddings."""
        if self.sigma is None:
            return None
        if not self.uses_time:
            noise = x.new_zeros(1)
        elif t is None:
            raise ValueError("this DDiT looks at t, which was not given")
        elif self.sigma_max is None:
            noise = -torch.log1p((self.eps - 1) * t.reshape(-1))
        else:
            noise = (-torch.log1p(-t.reshape(-1))).clamp(max=self.sigma_max)
        return F.silu(self.sigma(sigma_features(noise).to(x.dtype)))

    def logits(self, features: Tensor) -> Tensor:
        """(..., dim) -> (..., V)."""
        return self.head(features)

    def forward(self, z: Tensor, t: Tensor | None = None, valid: Tensor | None = None) -> Tensor:
        """(B, S*L) ids -> logits (B, S, V)."""
        return self.logits(self.features(z, t, valid))


class DDiTBlock(Modulated):
    """x + gate * attention(norm(x)), then x + gate * mlp(norm(x)).

    Shift, scale and gate are from c, `condition` wide, where there is one.
    """

    def __init__(self, dim: int, heads: int, condition: int, norm_bias: bool, dropout: float):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (nn.LayerNorm(dim, bias=norm_bias) for _ in range(2))
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.out = nn.Linear(dim, dim, bias=False)
        self.up, self.down = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.modulation = _zero(nn.Linear(condition, 6 * dim)) if condition else None
        self.dropout = nn.Dropout(dropout)

    def attention(self, x: Tensor, rotary: tuple[Tensor, Tensor], valid: Tensor | None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)  # each (B, S, H, D/H)
        q, k = (_rotate(u, rotary).transpose(1, 2) for u in (q, k))
        mask = None if valid is None else valid[:, None, None]
        y = attend(q, k, v.transpose(1, 2), mask, 0.0)
        return self.out(y.transpose(1, 2).flatten(2))

    def mlp(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


def sigma_features(sigma: Tensor) -> Tensor:
    """(B,) noise levels -> (B, 256): cosines first, of falling frequencies, then sines."""
    step = torch.arange(FREQUENCIES, device=sigma.device, dtype=sigma.dtype)
    frequency = torch.exp(-math.log(10000) * step / FREQUENCIES)
    angle = sigma[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], -1)


def rotary_table(length: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """cos and sin (length, 1, width / 2), of frequencies that are rounded to float32."""
    step = torch.arange(0, width, 2, device=like.device, dtype=torch.float32)
    frequency = 1 / 10000 ** (step / width)
    wide = torch.float64 if like.dtype == torch.float64 else torch.float32
    angle = torch.arange(length, device=like.device, dtype=wide)[:, None, None] * frequency.to(wide)
    return angle.cos(), angle.sin()
