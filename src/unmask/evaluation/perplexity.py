"""Generative perplexity: what another model says of samples, never without their entropy.

A sampler that repeats itself, or is made colder, is more probable to any language model: alone the
number says nothing of how good samples are (arXiv 2409.02908).
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unmask.documents import Test, misfit, read_json
from unmask.evaluation.judges import Judge, perplexity_of
from unmask.kinds.grams import Grams, count_grams, entropies
from unmask.kinds.quality import Example, Measure, Part
from unmask.kinds.trial import Score, share_of

UNKNOWN = "unknown"
SHOWN = 40  # characters of a sample, in a message
NUMBER = Test(lambda v: type(v) in (int, float) and math.isfinite(v), "a finite number")
LINE = Test(lambda v: type(v) is str and v.isprintable(), "a text in one line")
# of a record of `unmask sample`: what is to be known of how samples were drawn
DRAWN = {
    "temperature": NUMBER, "top_p": NUMBER, "precision": LINE, "sampler": LINE,
    "steps": Test(lambda v: LINE.holds(v) or (NUMBER.holds(v) and v >= 0), "a number of steps"),
    "grid": LINE, "draw": LINE, "gamma": NUMBER, "eta": NUMBER, "corrections": NUMBER,
    "guidance": NUMBER, "guidance_schedule": LINE,
}  # fmt: skip
ALWAYS = ("temperature", "top_p", "precision")  # said even where they are not known
RECORD = {f"{name}?": form for name, form in DRAWN.items()} | {"samples": [str]}


class Record(NamedTuple):
    """What `unmask sample --json` wrote."""

    path: Path
    samples: list[str]
    how: dict[str, Any]  # what `DRAWN` names and it says

    def check(self, examples: Sequence[Example]) -> None:
        """ValueError for an example that is none of the samples.  Of those that were cut, all to
        one length, the beginning is compared."""
        longest = max(len(one.text) for one in examples)
        known = {text[:longest] for text in self.samples}
        others = [one.text for one in examples if one.text not in known]
        if others:
            shown = others[0][:SHOWN]
            raise ValueError(
                f"{self.path} is the record of other samples: it has {len(others):,} of the "
                f"{len(examples):,} not, such as the one that begins {shown!r}; give the record "
                "of these"
            )


def read_record(path: Path) -> Record:
    """ValueError for a file that is no record of `unmask sample`, or one of what is no sequence."""
    said = read_json(path, dict)
    if not {"sampler", "temperature", "samples"} <= set(said):
        raise ValueError(f"{path} is no record of unmask sample: give what its --json wrote")
    if wrong := misfit(said, RECORD):
        raise ValueError(f"{path} is no record of unmask sample: {wrong}")
    return Record(path, said["samples"], {name: said[name] for name in DRAWN if name in said})


def judged(
    judge: Judge,
    examples: tuple[Sequence[Example], Sequence[Example]],
    measure: Callable[..., Measure],
    record: Record | None = None,
) -> Part:
    """What a judge says of samples and of real examples: the perplexity and the entropy, always
    both.

    measure: see `Trial.measure`.  record: what is known of how the samples were drawn.  ValueError
    for a record of others, and for a side of which the judge scores nothing.
    """
    how: dict[str, Any] = {}
    if record is not None:
        record.check(examples[0])
        how = record.how
    rows = [judge.rows(side) for side in examples]
    paid = [judge.nats(side) for side in rows]
    for (_, tokens), side in zip(paid, ("samples", "real examples"), strict=True):
        if not tokens.any():
            raise ValueError(
                f"{judge.what} scores no token of the {side}, which have none that is known and "
                "follows another: leave out --perplexity, or name other samples"
            )
    scores = [perplexity(*side) for side in paid]
    each = [share_of(*entropies_of(side)) for side in count_grams(rows, 1)[0]]
    measures = [
        measure(
            "generative_perplexity", "generative perplexity", "exp of the nats a token under "
            f"{judge.what}: no likelihood of the model that drew the samples; a colder or "
            "repetitive sampler has less, and less entropy", None, *scores),
        measure(
            "judge_entropy", "entropy of its tokens", "of the tokens of the judging model, of a "
            "sample by itself, mean over samples: nats", None, *each),
    ]  # fmt: skip
    said = [f"{spelled(name)} {how.get(name, UNKNOWN)}" for name in ALWAYS]
    said += [f"{spelled(name)} {how[name]}" for name in how if name not in ALWAYS]
    notes = [
        f"generative perplexity is by {judge.what}; the samples were drawn at "
        f"{', '.join(said)}; read it with the entropy, since a lower temperature lowers "
        "both"
    ]
    told = {"judge": judge.what, "drawn": how, **judge.record}
    return Part(measures, notes, {"perplexity": told})


def entropies_of(grams: Grams) -> tuple[np.ndarray, np.ndarray]:
    """(n,) the entropy of each example, and 1 where it has a token, else 0."""
    return entropies(grams), (grams.of_each(grams.count) > 0).astype(float)


def perplexity(nats: np.ndarray, tokens: np.ndarray) -> Score:
    """Of all examples together: exp of all nats over all tokens."""
    mean = share_of(nats, tokens)
    return lambda weights: perplexity_of(mean(weights))


def spelled(name: str) -> str:
    return name.replace("_", "-")
