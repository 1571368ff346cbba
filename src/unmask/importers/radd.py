"""RADD (ML-GSAI/RADD, arXiv 2406.03736): the network of SEDD without time, with biases of norms.

Its network says log p(y | visible), before the softmax.
"""

from pathlib import Path
from typing import Any

from unmask.importers.ddit import network, read_ddit
from unmask.importers.model import assemble, find_tokens, fitting
from unmask.importers.settings import check_absorbing, length_of
from unmask.importers.sources import Imported
from unmask.importers.weights import open_weights


def read(source: Path, flags: Any) -> Imported:
    """The model in a file or folder.  ValueError for one that is no RADD, or damaged."""
    weights = open_weights(source)
    check_absorbing(weights, "radd")
    length = length_of(weights, flags.length)
    tokens = find_tokens(weights.path, flags.tokenizer)
    sizes, state = read_ddit(weights)
    if sizes.condition:
        raise ValueError(f"{weights.path} is of a network that looks at sigma: unmask import sedd")
    tokens = fitting(weights.path, tokens, sizes.rows - 1)
    found = network(sizes, sizes.rows - 1, state)
    return assemble(found, tokens, length, weights.are_averaged)
