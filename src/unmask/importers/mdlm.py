"""MDLM (kuleshov-group/mdlm, arXiv 2406.07524): folders of the Hub and checkpoints of Lightning.

The mask is the last row of the embedding, or a token of a vocabulary that has one.  The network
sees sigma = 0 at all times, unless it was trained with time conditioning.
"""

from pathlib import Path
from typing import Any

import torch

from unmask.importers.ddit import network, read_ddit
from unmask.importers.model import assemble, find_tokens, fitting, mask_among
from unmask.importers.settings import check_absorbing, check_log_linear, length_of, time_of
from unmask.importers.sources import Imported
from unmask.importers.weights import open_weights


def read(source: Path, flags: Any) -> Imported:
    """The model in a file or folder.  ValueError for one that is no MDLM, or damaged."""
    weights = open_weights(source)
    check_absorbing(weights, "mdlm")
    time = time_of(weights)
    if time:
        check_log_linear(weights)
    length = length_of(weights, flags.length)
    tokens = find_tokens(weights.path, flags.tokenizer, weights.tokenizer)
    sizes, state = read_ddit(weights, "backbone.")
    if not sizes.condition:
        raise ValueError(f"{weights.path} is of RADD's network: unmask import radd")
    if (sizes.width, sizes.values) != (sizes.dim, sizes.rows):
        raise ValueError(f"{weights.path} is of MDM-Prime's network: unmask import mdm-prime")
    if tokens is None and weights.mask_token:
        raise ValueError(
            f"{weights.path} is of a tokenizer with a mask of its own, {weights.mask_token}, whose "
            "id it does not say: give --tokenizer, and not ids"
        )
    mask = mask_among(weights, tokens, sizes.rows)
    vocab_size, allowed = sizes.rows - 1, None
    if mask is not None:  # ids stay as they are, and the mask has a second row, after them
        vocab_size, allowed = sizes.rows, torch.arange(sizes.rows) != mask
        rows = state["embed.weight"]
        state["embed.weight"] = torch.cat([rows, rows[mask : mask + 1]])
    tokens = fitting(weights.path, tokens, vocab_size)
    found = network(sizes, vocab_size, state, time=time)
    of_time = "it looks at t, as sigma(t)" if time else "it ignores t"
    of_mask = f"its mask is row {sizes.rows - 1 if mask is None else mask} of {sizes.rows}"
    average = weights.are_averaged
    return assemble(found, tokens, length, average, of_time, of_mask, allowed=allowed)
