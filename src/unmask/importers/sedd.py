"""SEDD, absorbing (louaaron/Score-Entropy-Discrete-Diffusion, arXiv 2310.16834).

Its network says log s(y) = x_y - log(e^sigma - 1) - log(V - 1) of the ratios s(y) = p(y | visible)
/ (e^sigma - 1), whose sum over y need not be 1 / (e^sigma - 1), V - 1 being the number of tokens:
`unmask.rivals.SEDD` of the same x.  With --normalised x is normalised over the tokens: the same
network as a model of the mean, which is not SEDD as published.
"""

import math
from pathlib import Path
from typing import Any

from unmask.importers.ddit import network, read_ddit
from unmask.importers.model import assemble, find_tokens, fitting
from unmask.importers.settings import check_absorbing, check_log_linear, length_of, setting
from unmask.importers.sources import Imported
from unmask.importers.weights import Weights, open_weights
from unmask.rivals import SEDD

MOST = 1e6  # of sigma: nobody means more
VISIBLE = 1e-3  # where a noise ends, at most, as the log-linear one does


def read(source: Path, flags: Any) -> Imported:
    """The model in a file or folder.  ValueError for one that is no absorbing SEDD, or damaged."""
    weights = open_weights(source)
    check_absorbing(weights, "sedd")
    sigma_max = end_of(weights)
    length = length_of(weights, flags.length)
    tokens = find_tokens(weights.path, flags.tokenizer)
    sizes, state = read_ddit(weights)
    if not sizes.condition:
        raise ValueError(f"{weights.path} is of RADD's network: unmask import radd")
    if setting(weights.settings, "graph", "type", of=str) is None:
        raise ValueError(
            f"{weights.path} does not say graph.type, absorb or uniform: put the config.json, or "
            "the .hydra/config.yaml of its run, where it was"
        )
    tokens = fitting(weights.path, tokens, sizes.rows - 1)
    if not flags.normalised:
        check_scaled(weights)
        check_end(weights, sigma_max)
    found = network(sizes, sizes.rows - 1, state, time=True, sigma_max=sigma_max)
    averaged = weights.are_averaged
    if flags.normalised:
        said = (
            "its scores are normalised over the tokens: another model than SEDD as published, "
            "whose scores need not sum to what a distribution's do"
        )
        return assemble(found, tokens, length, averaged, said)
    said = (
        "SEDD as published: its bound is of the score entropy; --normalised makes a model of "
        "masked diffusion of the same network"
    )
    return assemble(found, tokens, length, averaged, said, process=SEDD)


def end_of(weights: Weights) -> float | None:
    """The largest sigma of a geometric noise, sigma_min^(1-t) sigma_max^t; None: it is log-linear.

    A network is told sigma, and not t: at the same share of masks it says the same of either noise,
    and the bound is that of any pace.  ValueError for other noises.
    """
    if setting(weights.settings, "noise", "type", of=str) != "geometric":
        check_log_linear(weights)
        return None
    most = setting(weights.settings, "noise", "sigma_max", of=is_noise)
    if most is None:
        raise ValueError(
            f"{weights.path} has the noise 'geometric', and does not say noise.sigma_max: put the "
            "configuration of its run where it was"
        )
    return float(most)


def check_end(weights: Weights, sigma_max: float | None) -> None:
    """ValueError for a noise that does not end in masks, as the chain of `SEDD` does."""
    if sigma_max is not None and math.exp(-sigma_max) > VISIBLE:
        raise ValueError(
            f"{weights.path} has noise.sigma_max {sigma_max:g}, at which "
            f"{math.exp(-sigma_max):.2g} of the tokens are visible: as published at least "
            f"{-math.log(VISIBLE):.1f} is read; give --normalised, of which any is"
        )


def is_noise(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value < MOST


def check_scaled(weights: Weights) -> None:
    """ValueError for scores that are not scaled by sigma, of which `SEDD` has no network."""
    said = setting(weights.settings, "model", "scale_by_sigma", of=bool)
    if said is None:
        raise ValueError(
            f"{weights.path} does not say model.scale_by_sigma, true or false: put the "
            "configuration of its run where it was, or give --normalised"
        )
    if not said:
        raise ValueError(
            f"{weights.path} has scale_by_sigma false: only scores that are scaled by sigma are "
            "read as published; give --normalised, to which the scale does not matter"
        )
