"""SEDD, absorbing (louaaron/Score-Entropy-Discrete-Diffusion, arXiv 2310.16834).

Its network says log s(y) = x_y - log(e^sigma - 1) - log(V - 1) of the ratios s(y) = p(y | visible)
/ (e^sigma - 1), whose sum over y need not be 1 / (e^sigma - 1).  Here x is normalised over the
tokens: the same network as a model of the mean, which is not SEDD as published.
"""

from pathlib import Path
from typing import Any

from unmask.importers.ddit import network, read_ddit
from unmask.importers.model import assemble, find_tokens, fitting
from unmask.importers.settings import check_absorbing, check_log_linear, length_of, setting
from unmask.importers.sources import Imported
from unmask.importers.weights import open_weights


def read(source: Path, flags: Any) -> Imported:
    """The model in a file or folder.  ValueError for one that is no absorbing SEDD, or damaged."""
    weights = open_weights(source)
    check_absorbing(weights, "sedd")
    check_log_linear(weights)
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
    found = network(sizes, sizes.rows - 1, state, time=True)
    said = (
        "its scores are normalised over the tokens: another model than SEDD as published, whose "
        "scores need not sum to what a distribution's do"
    )
    return assemble(found, tokens, length, weights.are_averaged, said)
