"""Every sampler by its name."""

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor

from unmask.policies import ORDERS
from unmask.sampling.remasking import forward_backward, remdm
from unmask.sampling.samplers import ancestral, entropy_bounded, first_hitting, in_order

# called with a model, z and times, None of those that have none of their own; and by keyword with
# `state.How`, and the numbers that `config.OWN` names
SAMPLERS: dict[str, Callable[..., Iterator[Tensor]]] = {  # the names of `config.SamplerName`
    "ancestral": ancestral,
    "first_hitting": first_hitting,
    **{name: partial(in_order, order=name) for name in ("counts", *ORDERS)},
    "entropy-bounded": entropy_bounded,
    "remdm-cap": remdm,
    "remdm-rescale": partial(remdm, rescale=True),
    "forward-backward": forward_backward,
}
# of these, those that a schedule with one curve per value can have
OF_ANY_SCHEDULE = ("ancestral", "remdm-cap", "remdm-rescale")
