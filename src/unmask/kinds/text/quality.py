"""All figures of samples of text, each beside that of real text that was held out."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unmask.checkpoint import digest
from unmask.kinds import grams
from unmask.kinds.copies import PIECE, Copies, find_copies
from unmask.kinds.grams import Grams, count_grams
from unmask.kinds.quality import Bars, Example, Listing, Measure, Quality
from unmask.kinds.text.pieces import (
    read_samples,
    real_examples,
    some_texts,
    training_blocks,
    training_pieces,
    within_limits,
)
from unmask.kinds.text.tokenizers import CharacterError, Ids, code_points
from unmask.kinds.trial import Trial, check_many, check_split, make_trial, mean_of, share_of, spread

MOST = 4  # symbols of a run
LISTED, SHOWN = 5, 60  # of the longest copies, and characters of each
BARS = 24
SLACK = 16  # tokens more than a sample has, since the training text may be cut into others


class Sides(NamedTuple):
    """What is measured of: texts and tokens of samples, real ones, and those both are held to."""

    trial: Trial
    samples: list[Example]
    real: list[Example]
    reference: list[str]
    training: list[str]  # of the training text, as long as the real ones
    numbers: list[int]  # of the samples in their file, from 0


def judge(data: Any, path: Path, *, split: str, seed: int) -> Quality:
    """Of a file of samples, by the training text and a split of `data`."""
    sides, notes = read_sides(data, path, split, seed)
    tokens = count_grams([ids_of(sides.samples), ids_of(sides.real)], 1)[0]
    words = words_of(sides)
    letters = count_grams(
        [
            [code_points(one.text) for one in sides.samples],
            [code_points(one.text) for one in sides.real],
            [code_points(text) for text in sides.reference],
            [code_points(text) for text in sides.training],
        ],
        MOST,
    )
    drift = [
        grams.jensen_shannon(training, reference.all())(np.ones(training.examples))
        for _, _, reference, training in letters
    ]
    copies, said = copies_of(data, sides)
    measures = [
        *of_tokens(sides.trial, tokens, data.unit), *of_words(sides.trial, words),
        *of_letters(sides.trial, letters), *of_copies(sides.trial, copies),
    ]  # fmt: skip
    sizes = [np.mean([len(one.text) for one in side]) for side in (sides.samples, sides.real)]
    n, m, reference = len(sides.samples), len(sides.real), sum(map(len, sides.reference))
    heading = [
        f"{path}: {n:,} samples, {sizes[0]:,.0f} characters each on average, beside {m:,} examples "
        f"of the {split} split of {data.folder}, of {sizes[1]:,.0f}"
    ]
    notes.append(
        f"n-gram distances are from the rest of the {split} split, {reference:,} characters, which "
        "no example is of; pieces of the training text, as many and as long as the real ones, have "
        f"{', '.join(map(spelled, drift))}: that much lies between the splits themselves"
    )
    return Quality(
        heading=heading, measures=measures, notes=[*notes, *said],
        listings=longest_copies(sides, copies[0]), bars=bars_of(data, sides, tokens),
        record={
            "samples": n, "real": m, "tokens_are": f"{data.unit}s", "training_text": drift,
            "files_sha256": {str(path): digest(path)},
        },
        examples=(sides.samples, sides.real), measure=sides.trial.measure,
    )  # fmt: skip


def spelled(distance: float) -> str:
    return "unknown" if math.isnan(distance) else f"{distance:.3g}"


def read_sides(data: Any, path: Path, split: str, seed: int) -> tuple[Sides, list[str]]:
    tokenizer = data.tokenizer
    if isinstance(tokenizer, Ids):
        raise ValueError(
            f"{data.folder} holds ready ids without a tokenizer, and of such no text is known: "
            "prepare them again with --tokenizer"
        )
    check_split(data, split, "text")
    texts, notes = read_samples(path)
    chosen, longest, said = within_limits(texts, seed)
    check_many(str(path), len(chosen))
    samples = []
    for i in chosen:
        text = texts[i][:longest]
        try:
            samples.append(Example(text, tokenizer.encode(text)))
        except CharacterError as error:
            raise ValueError(
                f"{path}, sample {i + 1}: the character {error.character!r} is none that "
                f"{data.folder} has: name the data that the model was trained on"
            ) from None
    strange = sum("\ufffd" in one.text for one in samples)
    if strange:
        said.append(f"{strange:,} samples hold U+FFFD, mostly bytes that were no UTF-8")
    sizes = np.array([len(one.ids) for one in samples])
    found = real_examples(data, split, sizes, seed)
    if len(found.like) < 2:
        raise ValueError(
            f"{data.folder}: half of its {split} split has {len(found.like)} examples as long as "
            f"those of {path}, and 2 are needed: give shorter samples, or prepare a larger split"
        )
    without = np.delete(sizes, found.like)
    if len(without) and without.mean() != sizes[found.like].mean():
        said.append(
            f"half of the {split} split has no room for real examples as long as {len(without):,} "
            f"of the samples, of {without.mean():,.0f} {data.unit}s each on average; those that "
            f"have one have {sizes[found.like].mean():,.0f}"
        )
    real = [Example(tokenizer.decode(ids), ids) for ids in found.examples]
    trial = make_trial(len(samples), found.like, seed)
    reference = some_texts(tokenizer, found.reference)
    training = training_pieces(data, np.array([len(one.ids) for one in real]), seed)
    return Sides(trial, samples, real, reference, training, chosen), notes + said


def ids_of(examples: list[Example]) -> list[np.ndarray]:
    return [one.ids for one in examples]


def words_of(sides: Sides) -> list[list[Grams]]:
    """Runs of words: what stands between white space."""
    numbers: dict[str, int] = {}

    def numbered(text: str) -> np.ndarray:
        words = text.split()
        return np.array([numbers.setdefault(w, len(numbers)) for w in words], np.int64)

    both = [[numbered(one.text) for one in side] for side in (sides.samples, sides.real)]
    return count_grams(both, MOST)


def of_tokens(trial: Trial, tokens: list[Grams], unit: str) -> list[Measure]:
    samples, real = tokens
    return [
        trial.measure("entropy", f"entropy of {unit}s", f"of the {unit}s, which are the tokens of "
            "the data, of all samples together: nats", None,
            grams.entropy(samples), grams.entropy(real)),
        trial.measure("entropy_each", "entropy, each sample", f"of the {unit}s of a sample by "
            "itself, mean over samples: nats", None,
            mean_of(grams.entropies(samples)), mean_of(grams.entropies(real))),
    ]  # fmt: skip


def of_words(trial: Trial, words: list[list[Grams]]) -> list[Measure]:
    varied, repeated = [], []
    for order, (samples, real) in enumerate(words, 1):
        run = many(order, "word")
        varied.append(trial.measure(
            f"distinct_{order}", f"distinct-{order}", f"different runs of {run} over all such "
            "runs, of all samples together; more samples have less", None,
            grams.distinct(samples), grams.distinct(real),
        ))  # fmt: skip
        repeated.append(trial.measure(
            f"repeated_{order}", f"repeated {order}-grams", f"share of the runs of {run} that "
            "occurred before in the same sample", None,
            share_of(*grams.repeated(samples)), share_of(*grams.repeated(real)),
        ))  # fmt: skip
    return varied + repeated


def of_letters(trial: Trial, letters: list[list[Grams]]) -> list[Measure]:
    found = []
    for order, (samples, real, reference, _) in enumerate(letters, 1):
        told, run = reference.all(), many(order, "character")
        found.append(trial.measure(
            f"js_{order}", f"distance, {run}", f"Jensen-Shannon divergence of runs of {run} from "
            "held-out text, in bits: 0 for the same shares, 1 for nothing in common; fewer samples "
            "are further away", 0.0,
            grams.jensen_shannon(samples, told), grams.jensen_shannon(real, told),
        ))  # fmt: skip
    return found


def many(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number > 1)}"


# ---------------------------------------------------------------- copies of the training text


def copies_of(data: Any, sides: Sides) -> tuple[tuple[Copies, Copies], list[str]]:
    """Of samples and of real examples."""
    both = [*sides.samples, *sides.real]
    overlap = max(len(one.ids) for one in both) + SLACK
    blocks, looked_at, total = training_blocks(data, overlap)
    found = find_copies([code_points(one.text) for one in both], blocks)
    notes = []
    if looked_at < total:
        notes.append(
            f"copies are looked for in {looked_at:,} of the {total:,} tokens of the training text, "
            "evenly from all of it: there may be more"
        )
    if not found.all_followed:
        notes.append(
            f"some pieces of {PIECE} characters occur very often, and not all were followed: the "
            "longest copies may be longer"
        )
    n = len(sides.samples)
    parts = found.part(slice(n)), found.part(slice(n, None))
    short = sum(parts[0].pieces == 0)
    if short:
        notes.append(
            f"{short:,} samples are shorter than {PIECE} characters and have no piece to copy"
        )
    return parts, notes


def of_copies(trial: Trial, copies: tuple[Copies, Copies]) -> list[Measure]:
    samples, real = copies
    return [
        trial.measure("copied", f"copied, {PIECE} characters", f"share of the pieces of {PIECE} "
            "characters that occur in the training text", None,
            share_of(samples.shared, samples.pieces), share_of(real.shared, real.pieces)),
        trial.measure("longest_copy", "longest copy", "characters of the longest piece that occurs "
            f"in the training text, 0 below {PIECE}; mean over samples", None,
            mean_of(samples.longest), mean_of(real.longest)),
    ]  # fmt: skip


def longest_copies(sides: Sides, copies: Copies) -> list[Listing]:
    """What was copied, for people to look at."""
    rows = [["sample", "characters", "of", "begins"]]
    for i in np.argsort(-copies.longest, kind="stable")[:LISTED]:
        size, first, text = int(copies.longest[i]), int(copies.where[i]), sides.samples[i].text
        if size:
            begins = repr(text[first : first + min(size, SHOWN)])
            rows.append([f"{sides.numbers[i] + 1}", f"{size:,}", f"{len(text):,}", begins])
    if len(rows) == 1:
        return []
    says = "What the samples have word for word from the training text, the longest first."
    return [Listing("Longest copies", says, rows)]


# ---------------------------------------------------------------- pictures


def bars_of(data: Any, sides: Sides, tokens: list[Grams]) -> list[Bars]:
    """The commonest tokens, and how the entropies and lengths of single examples are spread."""
    both = [grams.entropies(side) for side in tokens]
    sizes = [np.array([len(one.text) for one in side]) for side in (sides.samples, sides.real)]
    return [
        commonest(data, sides),
        spread("entropy of each sample, nats", *both),
        *([spread("characters of each sample", *sizes)] if np.ptp(np.concatenate(sizes)) else []),
    ]


def commonest(data: Any, sides: Sides) -> Bars:
    counts = [
        np.bincount(np.concatenate(ids_of(side)), minlength=data.vocab_size)
        for side in (sides.samples, sides.real)
    ]
    top = np.argsort(-(counts[0] + counts[1]), kind="stable")[:BARS]
    top = top[counts[0][top] + counts[1][top] > 0]
    samples, real = (count[top] / count.sum() for count in counts)
    return Bars(
        f"commonest {data.unit}s", [data.tokenizer.spell(int(i)) for i in top], samples, real
    )
