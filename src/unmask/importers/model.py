"""The model around a network that was trained elsewhere: its tokens, and what its folder keeps of
them."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from unmask import __version__
from unmask.diffusion import MaskedDiffusion
from unmask.importers.sources import Imported
from unmask.importers.weights import Weights
from unmask.kinds.registry import load_tokenizer, tokens_named, without_data
from unmask.schedules import Linear, Schedule
from unmask.subtokens import Subtokenizer

IDS = "ids"  # of --tokenizer: none
WHICH = {
    True: "its averaged (EMA) weights were taken",
    False: "it has no averaged (EMA) weights: the raw ones were taken",
    None: "it does not say whether its weights are averaged (EMA)",
}
MASKS = ("[MASK]", "<mask>")  # how vocabularies call it


def find_tokens(path: Path, tokenizer: str, content: str = "") -> Any:
    """What turns text into tokens: as `tokenizer` says or, without, that whose JSON is `content`;
    None for "ids".  ValueError where nothing says it."""
    if tokenizer == IDS:
        return None
    if tokenizer or content:
        return tokens_named(tokenizer or content)
    raise ValueError(
        f"{path} does not hold its tokenizer: give --tokenizer, a tokenizer .json or a folder with "
        "encoder.json and vocab.bpe (published models have GPT-2's), or --tokenizer ids to do "
        "without, for data of ready ids alone"
    )


def fitting(path: Path, tokens: Any, size: int) -> Any:
    """`tokens`, of which there have to be `size`; ready ids, if they are None."""
    if tokens is None:
        return load_tokenizer({"name": IDS, "vocab_size": size}, path)
    if tokens.vocab_size > size:
        tokens = without_added(tokens, size)
    if tokens.vocab_size != size:
        raise ValueError(
            f"{path} is of {size:,} tokens beside its mask, and the tokenizer has "
            f"{tokens.vocab_size:,}: give the tokenizer that it was trained with"
        )
    return tokens


def without_added(tokens: Any, size: int) -> Any:
    """Without what was added to a vocabulary of `size` tokens; the same tokens, if that is none.

    MDLM's code adds a [PAD] to GPT-2's tokens, whose id is the mask's, and never makes use of it.
    """
    written = tokens.files().get("tokenizer.json")
    if written is None:
        return tokens
    content = json.loads(written)
    content["added_tokens"] = [one for one in content["added_tokens"] if one["id"] < size]
    return tokens_named(json.dumps(content))


def mask_among(weights: Weights, tokens: Any, rows: int) -> int | None:
    """The id of a mask that is one of the tokenizer's tokens, as BERT's; None where it has a row
    of its own after them."""
    if tokens is None or tokens.vocab_size != rows:
        return None
    names = {tokens.spell(i): i for i in range(rows)}
    called = filter(None, (weights.mask_token, *MASKS))
    return next((names[repr(name)] for name in called if repr(name) in names), None)


def assemble(
    network: nn.Module,
    tokens: Any,
    length: int,
    averaged: bool | None,
    *said: str,
    schedule: Schedule | None = None,
    digits: int = 1,
    allowed: Tensor | None = None,
    process: type[MaskedDiffusion] = MaskedDiffusion,
) -> Imported:
    """The model, of `process`, of examples of `length` tokens.

    `averaged`: whether its weights are; None: nothing says it.  `said`: lines of what was found.
    Without a schedule: Linear, which does not matter for a network that ignores the time.
    """
    data = without_data(tokens)
    meta = {"length": length, "data": data, "labels": False, "unmask": __version__}
    if not averaged:
        meta["weights"] = "as imported"
    units = Subtokenizer(tokens.vocab_size, digits)
    schedule = Linear() if schedule is None else schedule
    model = process(network, schedule, units, allowed=allowed, meta=meta).eval()
    weights = sum(p.numel() for p in network.parameters())
    about = f"{type(network).__name__} of {weights:,} weights, {tokens.vocab_size:,} tokens"
    return Imported(model, tokens.files(), [about, WHICH[averaged], *said])
