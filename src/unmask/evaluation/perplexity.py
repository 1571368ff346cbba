"""Generative perplexity: what another model says of samples, never without their entropy.

A sampler that repeats itself, or is made colder, is more probable to any language model: alone the
number says nothing of how good samples are (arXiv 2409.02908).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unmask.documents import read_json
from unmask.evaluation.judges import Judge, perplexity_of
from unmask.kinds.grams import count_grams, entropies
from unmask.kinds.quality import Example, Measure, Part
from unmask.kinds.trial import Score, mean_of, share_of

UNKNOWN = "unknown"
# of a record of `unmask sample`: what is to be known of how samples were drawn
DRAWN = ("temperature", "top_p", "precision", "sampler", "steps", "grid", "guidance")


def judged(
    judge: Judge,
    examples: tuple[Sequence[Example], Sequence[Example]],
    measure: Callable[..., Measure],
    how: dict,
) -> Part:
    """What a judge says of samples and of real examples: the perplexity and the entropy, always
    both.

    measure: see `Trial.measure`.  how: what is known of how the samples were drawn, see `read_how`.
    """
    rows = [judge.rows(side) for side in examples]
    scores = [perplexity(*judge.nats(side)) for side in rows]
    each = [entropies(side) for side in count_grams(rows, 1)[0]]
    measures = [
        measure(
            "generative_perplexity", "generative perplexity", "exp of the nats a token under "
            f"{judge.what}: no likelihood of the model that drew the samples; a colder or "
            "repetitive sampler has less, and less entropy", None, *scores),
        measure(
            "judge_entropy", "entropy of its tokens", "of the tokens of the judging model, of a "
            "sample by itself, mean over samples: nats", None, *map(mean_of, each)),
    ]  # fmt: skip
    said = ", ".join(f"{name.replace('_', '-')} {how.get(name, UNKNOWN)}" for name in DRAWN[:3])
    others = [f"{name} {how[name]}" for name in DRAWN[3:] if name in how]
    notes = [
        f"generative perplexity is by {judge.what}; the samples were drawn at "
        f"{', '.join([said, *others])}; read it with the entropy, since a lower temperature lowers "
        "both"
    ]
    told = {"judge": judge.what, "drawn": how, **judge.record}
    return Part(measures, notes, {"perplexity": told})


def perplexity(nats: np.ndarray, tokens: np.ndarray) -> Score:
    """Of all examples together: exp of all nats over all tokens."""
    mean = share_of(nats, tokens)
    return lambda weights: perplexity_of(mean(weights))


def read_how(path: Path) -> dict[str, Any]:
    """Of the record that `unmask sample --json` wrote: what `DRAWN` names and it says.

    ValueError for a file that is none.
    """
    said = read_json(path, dict)
    if not {"sampler", "temperature"} <= set(said):
        raise ValueError(f"{path} is no record of unmask sample: give what its --json wrote")
    return {name: said[name] for name in DRAWN if name in said}
