"""MDM-Prime of texts (chen-hao-chao/mdm-prime, text/; arXiv 2505.18495): checkpoints of Lightning.

The network sees the digits of tokens, in the least base that holds the vocabulary, most significant
first, and says logits of whole tokens.  Here revealed digits are always carried over, and the bound
is the valid one, of the digits one by one; the loss of the paper is not a bound.
"""

from pathlib import Path
from typing import Any

from unmask.importers.ddit import network, read_ddit
from unmask.importers.model import assemble, find_tokens, fitting
from unmask.importers.settings import check_absorbing, check_log_linear, length_of, setting, time_of
from unmask.importers.sources import Imported
from unmask.importers.weights import open_weights
from unmask.subtokens import least_base


def read(source: Path, flags: Any) -> Imported:
    """The model in a file or folder.  ValueError for one that is no MDM-Prime, or damaged."""
    weights = open_weights(source)
    check_absorbing(weights, "mdm-prime")
    time = time_of(weights)
    if time:
        check_log_linear(weights)
    length = length_of(weights, flags.length)
    tokens = find_tokens(weights.path, flags.tokenizer, weights.tokenizer)
    sizes, state = read_ddit(weights, "backbone.")
    path, vocab_size = weights.path, sizes.values
    digits = sizes.dim // sizes.width
    said = setting(weights.settings, "prime", "target_length")
    if digits * sizes.width != sizes.dim or said not in (None, digits):
        raise ValueError(
            f"{path} embeds digits at width {sizes.width} in a network of width {sizes.dim}, and "
            f"its configuration says {said} digits: give the file as it was written"
        )
    needed = least_base(vocab_size, digits) + 1
    if not sizes.condition or sizes.rows != needed:
        raise ValueError(
            f"{path} has {sizes.rows} rows for digits, and {vocab_size:,} tokens in {digits} "
            f"digits need {needed}: it is no MDM-Prime; try unmask import mdlm, sedd or radd"
        )
    tokens = fitting(path, tokens, vocab_size)
    found = network(sizes, vocab_size, state, time=time, digits=digits)
    line = (
        f"{digits} digits of base {sizes.rows - 1} a token; revealed digits are carried over, "
        "however it was trained, and the bound is that of the digits one by one"
    )
    return assemble(found, tokens, length, weights.are_averaged, line, digits=digits)
