"""The block that networks share: two branches on a residual stream, modulated by a condition."""

from typing import Any

from torch import Tensor

from unmask.backbones.part import Part


class Modulated(Part):
    """x + gate * attention(norm1(x)), then x + gate * mlp(norm2(x)).

    Shift, scale and gate are from c by `modulation`, where there is one (adaLN, arXiv 2212.09748).
    Subclasses define norm1, norm2, modulation, dropout, attention and mlp.
    """

    norm1: Any
    norm2: Any
    modulation: Any
    dropout: Any
    attention: Any
    mlp: Any

    def run(
        self,
        x: Tensor,
        rotary: tuple[Tensor, Tensor] | None,
        c: Tensor | None,
        valid: Tensor | None,
    ) -> Tensor:
        if self.modulation is None:
            h = self.around(self.norm1(x), 0, valid)
            x = x + self.dropped(self.attention(h, rotary, valid))
            return x + self.dropped(self.mlp(self.around(self.norm2(x), 1, valid)))
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c)[:, None].chunk(6, -1)
        h = self.around(self.norm1(x) * (1 + scale1) + shift1, 0, valid)
        x = x + gate1 * self.dropped(self.attention(h, rotary, valid))
        h = self.around(self.norm2(x) * (1 + scale2) + shift2, 1, valid)
        return x + gate2 * self.dropped(self.mlp(h))

    def around(self, x: Tensor, branch: int, valid: Tensor | None) -> Tensor:
        """What a branch sees at each position: x, to which a subclass may add."""
        return x

    def dropped(self, x: Tensor) -> Tensor:
        """A branch with its dropout."""
        return self.dropout(x)
