"""D3PM with an absorbing state (arXiv 2107.03006): masked diffusion in discrete time.

Its transition matrix with beta_t = 1 / (T - t + 1) is the linear schedule on the uniform grid, and
its x0-parameterisation, with no mass on the mask state, the network that is here; so it is
`MaskedDiffusion` whose own bound is of T steps, trained with the auxiliary loss of its equation 5.
"""

from typing import Any

import torch
from torch import Tensor, nn

from unmask.batch import Batch
from unmask.diffusion import MaskedDiffusion, Terms
from unmask.likelihood.estimators import Bound
from unmask.schedules import Schedule

STEPS = 1000
AUXILIARY = 1e-3  # the weight of the cross-entropy beside a step's part of the bound


class D3PM(MaskedDiffusion):
    """`steps` T: of its own bound, which `nelbo`, `unmask eval` and training take.

    The loss is the sum over steps of KL(q(z_s | z_t, x) || p(z_s | z_t)) - `auxiliary` log mu(x),
    of which one step is drawn.  ValueError for another schedule than the linear one, and for digits
    of tokens.
    """

    rival = "d3pm"

    def __init__(
        self,
        backbone: nn.Module,
        schedule: Schedule,
        *how: Any,
        steps: int = STEPS,
        auxiliary: float = AUXILIARY,
        **named: Any,
    ):
        super().__init__(backbone, schedule, *how, **named)
        if schedule.config != {"name": "linear"} or self.subtokenizer.length > 1:
            raise ValueError("D3PM's absorbing process is of whole tokens and a linear schedule")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, not {steps}")
        self.steps, self.auxiliary = steps, auxiliary

    @property
    def own(self) -> dict[str, Any]:
        return {"steps": self.steps, "auxiliary": self.auxiliary}

    def terms(self, batch: Batch, generator: torch.Generator | None = None) -> Terms:
        """The training loss, and the draw of the bound, which does not hold the auxiliary part."""
        draw = self.draw(batch, self.steps, generator)
        assert draw.times is not None
        # a step's KL is reveal * cross-entropy, for one curve and whole tokens
        reveal = self.schedule.reveal(*draw.times)[:, 0]
        scale = draw.scale * (reveal + self.auxiliary)
        total, each = self.score(batch, draw._replace(times=None, scale=scale))
        nelbo = each * reveal / (reveal + self.auxiliary)
        return Terms(total / batch.positions.sum().clamp(min=1), nelbo)

    def drawn_nats(
        self, batch: Batch, steps: int | None, generator: torch.Generator | None
    ) -> Tensor:
        return super().drawn_nats(batch, self.steps if steps is None else steps, generator)

    def estimator(self, steps: int | None = None, *, masking: str | None = None) -> Bound:
        """The bound of so many steps, by default T."""
        return Bound(self.steps if steps is None else steps, masking=masking)
