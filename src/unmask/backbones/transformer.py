"""A bidirectional transformer over masked token ids.

Pre-norm RMSNorm, rotary positions, QK-norm, gated MLP.  Conditioning on the time t and on a class
is optional and enters by adaLN-zero (arXiv 2212.09748).  The output layer starts at zero, so an
untrained network predicts the uniform distribution: log V nats per position.

For sub-tokens (arXiv 2505.18495, section 3) the embeddings of a token's digits, each dim / digits
wide, are concatenated: one row a token, whatever their number.  Where positions have no order, as
the columns of a table, each has an embedding of its own instead of a rotary position.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unmask.backbones.attention import attend
from unmask.backbones.modulated import Modulated
from unmask.backbones.traits import TraitMaps, embedded
from unmask.kernels.pointwise import rms_norm, turned, with_neighbours
from unmask.subtokens import check_ids, least_base

MOST_LAYERS = 1000  # more take minutes to be built


class Transformer(nn.Module):
    """`vocab_size` values and one mask id in, logits (B, S, V) out.

    Of any length, or that of `places`: S positions without an order, each with an embedding of its
    own; 0: a sequence, with rotary positions.
    `digits` L: ids z (B, S*L) are the digits of tokens.
    `decoder`: "joint", logits of the V tokens; "independent", of each digit, (B, S, L, base), which
    cannot express that two digits depend on each other.
    `mlp`: hidden width of the gated MLP, by default 8/3 dim rounded up to a multiple of 64.
    `time`: look at t.
    `classes`: the number of labels in `cond` (B,), 0 for none; the extra label `classes` means "no
    label", as does cond=None.
    `ends`: "sequence", mark the first and the last position that has a value, where they are the
    ends of a sequence and not of a piece; True, of a piece, too, as models of earlier versions do.
    Without, a fully masked sequence looks the same everywhere.
    `causal`: each position sees those up to itself alone.
    `neighbours`: both branches of a block see, beside each position, a sum of so many of its
    neighbours, weighted by channel (Canon layers, arXiv 2512.17351): itself and as many on either
    side, or, of a causal one, those before it.  0: none.
    `traits` (groups, most, K): K numbers are known of each of the values of a group, at most so
    many, once `tell` was told: embeddings and rows of the head get a linear map of them, a group's
    own, so that what is learned of a value is learned of those like it.  Whole tokens alone.
    """

    def __init__(
        self,
        vocab_size: int,
        *,
        dim: int = 256,
        layers: int = 4,
        heads: int = 4,
        mlp: int | None = None,
        dropout: float = 0.0,
        time: bool = False,
        classes: int = 0,
        digits: int = 1,
        decoder: str = "joint",
        places: int = 0,
        ends: bool | str = False,
        causal: bool = False,
        neighbours: int = 0,
        traits: Sequence[int] = (),
    ):
        super().__init__()
        if min(vocab_size, dim, layers, heads, digits) < 1 or classes < 0:
            raise ValueError(
                f"vocab_size {vocab_size}, dim {dim}, layers {layers}, heads {heads}, "
                f"digits {digits} must be at least 1, classes {classes} at least 0"
            )
        if layers > MOST_LAYERS:
            raise ValueError(f"layers must be at most {MOST_LAYERS:,}, not {layers:,}")
        if dim % digits:
            step = math.lcm(digits, 2 * heads)
            near = max(step, step * round(dim / step))
            raise ValueError(
                f"dim {dim} is not a multiple of digits {digits}, whose embeddings are joined to "
                f"that width: try dim {near}"
            )
        if ends not in (False, True, "sequence"):
            raise ValueError(f'ends must be "sequence", True or False, not {ends!r}')
        if decoder not in ("joint", "independent"):
            raise ValueError(f'decoder must be "joint" or "independent", not {decoder!r}')
        if dim % heads or dim // heads % 2:
            raise ValueError(f"dim {dim} must be heads {heads} times an even head width")
        if neighbours < 0 or not (neighbours % 2 or causal or neighbours == 0):
            raise ValueError(f"neighbours must be an odd number, or 0, not {neighbours}")
        if neighbours and places:
            raise ValueError(f"{places} places have no order: neighbours must be 0")
        if traits and digits > 1:
            raise ValueError(f"traits {tuple(traits)} are of whole tokens: digits must be 1")
        mlp = mlp or 64 * math.ceil(dim * 8 / 3 / 64)
        self._config = {
            "vocab_size": vocab_size, "dim": dim, "layers": layers, "heads": heads, "mlp": mlp,
            "dropout": dropout, "time": time, "classes": classes, "digits": digits,
            "decoder": decoder, "places": places, "ends": ends, "causal": causal,
            "neighbours": neighbours, "traits": list(traits),
        }  # fmt: skip
        self.uses_time, self.causal = time, causal
        self.digits, self.joint, base = digits, decoder == "joint", least_base(vocab_size, digits)
        self.embed = nn.Embedding(digits * (base + 1), dim // digits)  # a table for each digit
        self.place = nn.Embedding(places, dim) if places else None
        self.time = None
        if time:
            self.time = nn.Sequential(nn.Linear(dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.label = nn.Embedding(classes + 1, dim) if classes else None
        condition = dim if time or classes else 0
        self.blocks = nn.ModuleList(
            Block(dim, heads, mlp, dropout, layers, condition, causal, neighbours)
            for _ in range(layers)
        )
        self.norm = RMSNorm(dim)
        self.modulation = _zero(nn.Linear(dim, 2 * dim)) if condition else None
        self.ends, self.of_sequences = nn.Embedding(2, dim) if ends else None, ends == "sequence"
        self.head = _zero(Head(dim, vocab_size if decoder == "joint" else digits * base))
        self.traits = TraitMaps(vocab_size, dim, traits) if traits else None
        self.dropout = nn.Dropout(dropout)
        for embedding in filter(None, (self.embed, self.place, self.ends)):
            nn.init.normal_(embedding.weight, std=1.0)

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
        ends: Tensor | None = None,
    ) -> Tensor:
        """z (B, S*L) ids, t (), (1,) or (B,), and what `batch.told` names -> (B, S, dim)."""
        blocks: Any = self.blocks
        c = condition(self, z, t, cond)
        values = self.embed.num_embeddings // self.digits  # and the mask
        table = torch.arange(self.digits, device=z.device) * values
        x = embedded(self, z.unflatten(1, (-1, self.digits)) + table).flatten(2)
        if self.ends is not None:
            there = valid
            if there is None:
                there = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
            first, last = _ends(there)
            if ends is not None and self.of_sequences:
                first, last = first & ends[:, :1], last & ends[:, 1:]
            x = x + first[..., None] * self.ends.weight[0] + last[..., None] * self.ends.weight[1]
        past = blocks[0].past
        begin = 0 if past is None else past.length
        length = begin + x.shape[1]
        rotary = None
        if self.place is None:
            cos, sin = _rotary(length, x.shape[-1] // blocks[0].heads, z.device)
            rotary = cos[begin:], sin[begin:]
        else:
            places = self.place.num_embeddings
            if length > places or (past is None and length < places):
                raise ValueError(f"this Transformer is for {places} places, not {length}")
            x = x + self.place.weight[begin:length]
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x, rotary, c, valid)
        x = self.norm(x)
        if self.modulation is not None:
            shift, scale = self.modulation(c)[:, None].chunk(2, -1)
            x = x * (1 + scale) + shift
        return x

    def nothing_seen(self) -> "list[Past]":
        """What `remembering` takes at first.  ValueError for a network that is not causal."""
        if not self.causal:
            raise ValueError("this Transformer is not causal: what comes later changes all before")
        return [Past() for _ in self.blocks]

    @contextmanager
    def remembering(self, past: "list[Past]") -> Iterator[None]:
        """Inside, a call is of the positions after those that are in `past`, and adds to it."""
        blocks: Any = self.blocks
        for block, own in zip(blocks, past, strict=True):
            block.past = own
        try:
            yield
        finally:
            for block in blocks:
                block.past = None

    def logits(self, features: Tensor) -> Tensor:
        """(..., dim) -> (..., V), or (..., L, base) of an independent decoder."""
        weight = None if self.traits is None else self.traits.outputs(self.head.weight)
        logits = self.head(features, weight)
        return logits if self.joint else logits.unflatten(-1, (self.digits, -1))

    def forward(
        self,
        z: Tensor,
        t: Tensor | None = None,
        cond: Tensor | None = None,
        valid: Tensor | None = None,
        ends: Tensor | None = None,
    ) -> Tensor:
        """(B, S*L) ids -> logits (B, S, V), or (B, S, L, base)."""
        return self.logits(self.features(z, t, cond, valid, ends))


def condition(
    network: nn.Module, z: Tensor, t: Tensor | None, cond: Tensor | None
) -> Tensor | None:
    """(B, D) of a network's `time` and `label`, after a swish; None where it has neither."""
    time: Any = network.time
    label: Any = network.label
    name = type(network).__name__
    if cond is not None and label is None:
        raise ValueError(f"cond was given, but this {name} was built with classes=0")
    c = None
    if time is not None:
        if t is None:
            raise ValueError(f"this {name} looks at t, which was not given")
        of_time = _sinusoids(t.reshape(-1).expand(z.shape[0]), time[0].in_features)
        c = time(of_time.to(time[0].weight.dtype))
    if label is not None:
        if cond is None:  # no label has the last row
            of_label = label(torch.full((len(z),), label.num_embeddings - 1, device=z.device))
        else:
            of_label = of_class(label, cond)
        c = of_label if c is None else c + of_label
    return None if c is None else F.silu(c)


def of_class(label: nn.Embedding, cond: Tensor) -> Tensor:
    """(B, D) of classes cond (B,).  ValueError for one that there is not."""
    if not torch.compiler.is_exporting():  # then they have no values
        check_ids(cond, label.num_embeddings, "class")
    return label(cond)


class RMSNorm(nn.Module):
    """x / rms(x) * weight, over the last axis."""

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        if x.is_cuda:
            return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), 1e-6)
        return rms_norm(x, self.weight, 1e-6)  # CPUs have no kernel of it


class Head(nn.Linear):
    """A linear layer.  On a GPU its output is part of rows that begin at multiples of 16 bytes.

    Rows of an odd number of logits, such as 50,257, keep a GPU's matrix units from their fast path:
    five times slower on an H200.
    """

    def forward(self, input: Tensor, weight: Tensor | None = None) -> Tensor:
        """By other weights than its own, if they are given."""
        weight = self.weight if weight is None else weight
        return (self.aligned if input.is_cuda else F.linear)(input, weight, self.bias)

    def aligned(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        missing = -self.out_features % 8
        if missing:
            weight, bias = F.pad(weight, (0, 0, 0, missing)), F.pad(bias, (0, missing))
        return F.linear(x, weight, bias)[..., : self.out_features]


class Block(Modulated):
    """x + gate * attention(norm(x)), then x + gate * mlp(norm(x)).

    Shift, scale and gate are from c, `condition` wide, where there is one.
    """

    past: "Past | None" = None

    def __init__(
        self,
        dim: int,
        heads: int,
        mlp: int,
        dropout: float,
        layers: int,
        condition: int,
        causal: bool = False,
        neighbours: int = 0,
    ):
        super().__init__()
        self.heads, self.drop, self.causal = heads, dropout, causal
        # of either branch, in one row: a matrix would be Muon's, which is for maps between channels
        self.near = nn.ParameterList(
            nn.Parameter(torch.zeros(neighbours * dim)) for _ in range(2 if neighbours else 0)
        )
        self.norm1, self.norm2 = RMSNorm(dim), RMSNorm(dim)
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.query_gain, self.key_gain = (nn.Parameter(torch.ones(dim // heads)) for _ in range(2))
        self.out = nn.Linear(dim, dim, bias=False)
        self.up = nn.Linear(dim, 2 * mlp, bias=False)
        self.down = nn.Linear(mlp, dim, bias=False)
        self.modulation = _zero(nn.Linear(condition, 6 * dim)) if condition else None
        self.dropout = nn.Dropout(dropout)
        for linear in (self.qkv, self.up):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
        for linear in (self.out, self.down):  # the residual stream keeps its scale at any depth
            nn.init.normal_(linear.weight, std=(2 * layers * linear.in_features) ** -0.5)

    def around(self, x: Tensor, branch: int, valid: Tensor | None) -> Tensor:
        if not self.near:
            return x
        weight = self.near[branch].view(-1, x.shape[-1])
        if valid is not None:
            x = x * valid[..., None]
        if not self.causal:
            return with_neighbours(x, weight, len(weight) // 2)
        before = len(weight) - 1
        length = x.shape[1]
        if self.past is not None:
            x = self.past.preceded(x, branch, before)
        return with_neighbours(x, weight, before)[:, -length:]

    def attention(
        self, x: Tensor, rotary: tuple[Tensor, Tensor] | None, valid: Tensor | None
    ) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).unbind(2)  # each (B, S, H, D/H)

        def placed(u: Tensor, gain: Tensor) -> Tensor:
            turned = _rotate(F.layer_norm(u, u.shape[-1:], gain.to(u.dtype)), rotary)
            return turned.to(v.dtype).transpose(1, 2)

        q, k = placed(q, self.query_gain), placed(k, self.key_gain)
        v = v.transpose(1, 2)
        if self.past is not None:
            k, v = self.past.extended(k, v)
        mask = None if valid is None else valid[:, None, None]
        y = attend(q, k, v, mask, self.drop if self.training else 0.0, self.causal)
        return self.out(y.transpose(1, 2).flatten(2))

    def mlp(self, x: Tensor) -> Tensor:
        gate, up = self.up(x).chunk(2, -1)
        return self.down(F.silu(gate) * up)


class Past:
    """Keys and values (B, H, S, D/H) of the positions that a causal block has seen, and what its
    branches saw of the last ones (B, N, D)."""

    def __init__(self):
        self.kept: tuple[Tensor, Tensor] | None = None
        self.last: dict[int, Tensor] = {}

    @property
    def length(self) -> int:
        return 0 if self.kept is None else self.kept[0].shape[2]

    def extended(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """All that there are, with those of more positions."""
        if self.kept is not None:
            k, v = (torch.cat(pair, 2) for pair in zip(self.kept, (k, v), strict=True))
        self.kept = k, v
        return k, v

    def preceded(self, x: Tensor, branch: int, most: int) -> Tensor:
        """x behind what was kept of this branch; at most so many of the last are kept."""
        if branch in self.last:
            x = torch.cat([self.last[branch], x], 1)
        self.last[branch] = x[:, max(0, x.shape[1] - most) :]
        return x


def _zero(layer: Any) -> Any:
    """A linear layer or a convolution, its weights and biases set to 0."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _ends(there: Tensor) -> tuple[Tensor, Tensor]:
    """(B, S) bool -> two of them, True at the first True of a row, and at the last."""
    return there & (there.cumsum(1) == 1), there & (there.flip(1).cumsum(1).flip(1) == 1)


def _sinusoids(t: Tensor, dim: int) -> Tensor:
    """(B,) times in [0, 1] -> (B, dim), of their precision."""
    steps = torch.linspace(0, math.log(1000), dim // 2, device=t.device, dtype=t.dtype)
    frequency = torch.exp(steps)
    angle = t[:, None] * frequency
    return torch.cat([angle.sin(), angle.cos()], -1)


def _rotary(length: int, width: int, device) -> tuple[Tensor, Tensor]:
    """cos and sin (length, 1, width / 2) of rotary position embeddings."""
    frequency = 10000 ** (-torch.arange(0, width, 2, device=device) / width)
    angle = torch.arange(length, device=device)[:, None, None] * frequency
    return angle.cos(), angle.sin()


def _rotate(x: Tensor, rotary: tuple[Tensor, Tensor] | None) -> Tensor:
    """(B, S, H, D/H) turned by its position, if positions have an order."""
    if rotary is None:
        return x
    return turned(x, *(table.to(x.dtype) for table in rotary))
