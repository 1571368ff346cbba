"""All figures of samples of proteins, each beside that of real sequences that were held out."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from unmask.checkpoint import digest
from unmask.kinds import grams
from unmask.kinds.grams import Grams, count_grams
from unmask.kinds.proteins.fasta import Record, parse_fasta, read_fasta, shown
from unmask.kinds.proteins.nearest import RUN, Nearest, nearest
from unmask.kinds.proteins.residues import LETTERS
from unmask.kinds.quality import Bars, Example, Listing, Measure, Quality
from unmask.kinds.trial import (
    Closer,
    Trial,
    check_many,
    check_split,
    fitting,
    kolmogorov_smirnov,
    make_trial,
    mean_of,
    share_of,
    spread,
)

MOST = 3  # residues of the runs whose shares are compared
REPEATED = 4  # of those that are looked for in one sequence
SAMPLES, RESIDUES = 2000, 1 << 21  # of a side that are looked at
TRAINING = 1 << 25  # residues of the training data among which the nearest are looked for
WINDOW, SIMPLE = 12, 2.2  # residues, and bits: the first stage of SEG
LISTED = 5


class Sides(NamedTuple):
    """Sequences of ids: samples, real ones, those that both are held to, and training data."""

    trial: Trial
    samples: list[np.ndarray]
    real: list[np.ndarray]
    reference: list[np.ndarray]
    training: list[np.ndarray]


def judge(data: Any, path: Path, *, split: str, seed: int) -> Quality:
    """Of a FASTA file of samples, by the training sequences and those of a split of `data`."""
    check_split(data, split, "sequences")
    records = read_records(path)
    check_many(str(path), len(records))
    chosen, notes = within_limits(records, seed)
    records = [records[i] for i in chosen]
    sides, said = make_sides(data, [record.ids for record in records], split, seed)
    found, measures, of_search = of_nearest(sides, seed)
    if "clusters" in data.meta:
        measures = [one._replace(ideal=None) for one in measures]
        of_search.append(
            "relatives are in one split, so that held-out sequences have theirs among each other, "
            "and samples among training sequences: that samples are closer to these, and real ones "
            "are not, is no sign of copying"
        )
    measures = [*of_composition(sides), *of_each(sides), *of_copies(sides), *measures]
    n, m, size = len(sides.samples), len(sides.real), sum(map(len, sides.reference))
    heading = [
        f"{path}: {n:,} sequences, {mean_length(sides.samples):,.0f} residues each on average, "
        f"beside {m:,} of the {split} split of {data.folder}, of {mean_length(sides.real):,.0f}"
    ]
    notes.append(
        f"composition, lengths and distances are held to {len(sides.reference):,} other "
        f"sequences of the {split} split, {size:,} residues"
    )
    both = [
        [Example(data.tokenizer.decode(row), row.astype(np.int64)) for row in side]
        for side in (sides.samples, sides.real)
    ]
    return Quality(
        heading=heading, measures=measures, notes=[*notes, *said, *of_search],
        listings=[closest(records, chosen, found)], bars=bars_of(sides),
        record={"samples": n, "real": m, "files_sha256": {str(path): digest(path)}},
        examples=(both[0], both[1]), measure=sides.trial.measure,
    )  # fmt: skip


def read_records(path: Path) -> list[Record]:
    """FASTA, or JSON lines with a field "text", as `unmask sample --out` writes them."""
    if path.suffix != ".jsonl":
        return list(read_fasta(path, tqdm(disable=True)))
    found = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            text = json.loads(line)["text"]
        except (ValueError, TypeError, KeyError, RecursionError):
            text = None
        if not isinstance(text, str):
            raise ValueError(f'{place}: give a line like {{"text": "MKV..."}}')
        if not (text.isascii() and text.replace("*", "").isalpha()):
            raise ValueError(
                f"{place}: {shown(text)} is not one sequence: give its letters alone, and one "
                "sequence a line"
            )
        found += parse_fasta([f">{number}\n{text}\n".encode()], place)
    return found


def within_limits(records: list[Record], seed: int) -> tuple[list[int], list[str]]:
    """Numbers of the samples that are looked at, random ones of many, and notes."""
    order = np.random.default_rng((seed, len(records))).permutation(len(records))
    sizes = np.array([len(records[i].ids) for i in order])
    chosen = sorted(order[within(sizes)].tolist())
    if len(chosen) == len(records):
        return chosen, []
    return chosen, [f"{len(chosen):,} random ones of the {len(records):,} samples are looked at"]


def within(sizes: np.ndarray) -> np.ndarray:
    """(n,) bool: which of the sequences of so many residues (n,) are looked at, two at least."""
    fits = fitting(sizes, RESIDUES) & (np.arange(len(sizes)) < SAMPLES)
    fits[:2] = True
    return fits


def make_sides(
    data: Any, samples: list[np.ndarray], split: str, seed: int
) -> tuple[Sides, list[str]]:
    held_out = data.sequences(split)
    many = min(len(samples), len(held_out) // 2)
    if many < 2:
        raise ValueError(
            f"{data.folder} has {len(held_out)} {split} sequences, and 4 are needed, half of them "
            "to compare both sides with: prepare the data with more"
        )
    random = np.random.default_rng((seed, len(held_out)))
    order = random.permutation(len(held_out))
    like = np.sort(random.permutation(len(samples))[:many])
    real = [np.asarray(held_out[i]) for i in order[:many]]
    fits = within(np.array([len(held_out[i]) for i in order[many:]]))
    reference = [np.asarray(held_out[i]) for i in np.sort(order[many:][fits])]
    every = data.sequences("train")
    mixed = random.permutation(len(every))
    sizes = np.cumsum([len(every[i]) for i in mixed])
    training = [every[i] for i in mixed[: max(1, int((sizes <= TRAINING).sum()))]]
    notes = []
    if not fits.all():
        notes.append(
            f"{len(reference):,} random ones of the {len(fits):,} other {split} sequences are "
            "looked at"
        )
    if len(training) < len(every):
        notes.append(
            f"copies and the nearest sequences are looked for among {len(training):,} random ones "
            f"of {len(every):,} training sequences: there may be nearer ones"
        )
    trial = make_trial(len(samples), like, seed)
    return Sides(trial, samples, real, reference, training), notes


def mean_length(rows: list[np.ndarray]) -> float:
    return float(np.mean([len(row) for row in rows]))


# ---------------------------------------------------------------- residues, lengths, runs


def known(row: np.ndarray) -> np.ndarray:
    """Residues, -1 where one is not known."""
    return np.where(row < len(LETTERS), row.astype(np.int64), -1)


def of_composition(sides: Sides) -> list[Measure]:
    rows = [[known(row) for row in side] for side in (sides.samples, sides.real, sides.reference)]
    by_order = count_grams(rows, MOST)
    samples, real, reference = by_order[0]
    told = reference.all()
    sizes = [np.array([len(row) for row in side]) for side in rows]
    found = [
        sides.trial.measure("composition", "composition", "total variation of the shares of the "
            "22 residues from those of held-out sequences", 0.0,
            grams.total_variation(samples, told), grams.total_variation(real, told)),
        sides.trial.measure("lengths", "lengths", "Kolmogorov-Smirnov statistic of the lengths "
            "against those of held-out sequences", 0.0,
            kolmogorov_smirnov(sizes[0], sizes[2]), kolmogorov_smirnov(sizes[1], sizes[2])),
    ]  # fmt: skip
    for order, (samples, real, reference) in enumerate(by_order[1:], 2):
        found.append(distance(sides.trial, order, samples, real, reference))
    return found


def distance(trial: Trial, order: int, samples: Grams, real: Grams, reference: Grams) -> Measure:
    told = reference.all()
    return trial.measure(
        f"js_{order}", f"distance, {order} residues", "Jensen-Shannon divergence of runs of "
        f"{order} residues from held-out sequences, in bits: 0 for the same shares, 1 for nothing "
        "in common; fewer samples are further away", 0.0,
        grams.jensen_shannon(samples, told), grams.jensen_shannon(real, told),
    )  # fmt: skip


def of_each(sides: Sides) -> list[Measure]:
    """What is said of a sequence by itself."""
    both = [[known(row) for row in side] for side in (sides.samples, sides.real)]
    singles, *_, runs = count_grams(both, REPEATED)
    simple = [simple_residues(side) for side in both]
    sizes = [np.array([(row >= 0).sum() for row in side]) for side in both]
    measure = sides.trial.measure
    return [
        measure("entropy_each", "entropy, each sequence", "of its residues, mean over sequences: "
                "nats", None, *(mean_of(grams.entropies(side)) for side in singles)),
        measure("repeated", f"repeated {REPEATED}-mers", f"share of the runs of {REPEATED} "
                "residues that occurred before in the same sequence", None,
                *(share_of(*grams.repeated(side)) for side in runs)),
        measure("simple", "low complexity", f"share of the residues in a window of {WINDOW} whose "
                f"entropy is at most {SIMPLE} bits (the first stage of SEG, Wootton and Federhen, "
                "1993)", None, share_of(simple[0], sizes[0]), share_of(simple[1], sizes[1])),
    ]  # fmt: skip


def simple_residues(rows: list[np.ndarray]) -> np.ndarray:
    """(n,) residues of each sequence in a window of low entropy, of known residues alone."""
    found = np.zeros(len(rows))
    for i, row in enumerate(rows):
        if len(row) < WINDOW:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(row, WINDOW)
        # of each residue in a window, how often it occurs there: the sum of -log2 of its share is
        # WINDOW times the entropy
        same = (windows[:, :, None] == windows[:, None, :]).sum(-1)
        low = (-np.log2(same / WINDOW).mean(1) <= SIMPLE) & (windows >= 0).all(1)
        covered = np.zeros(len(row) + 1, np.int64)
        starts = np.flatnonzero(low)
        np.add.at(covered, starts, 1)
        np.add.at(covered, starts + WINDOW, -1)
        found[i] = (np.cumsum(covered)[: len(row)] > 0).sum()
    return found


# ---------------------------------------------------------------- copies and the nearest sequence


def of_copies(sides: Sides) -> list[Measure]:
    known = {row.tobytes() for row in sides.training}
    both = [
        np.array([row.astype(sides.training[0].dtype).tobytes() in known for row in side], float)
        for side in (sides.samples, sides.real)
    ]
    return [
        sides.trial.measure("copies", "copies", "share of the sequences that are equal to a "
            "training sequence; preparing one file puts equal ones into one split, so that real "
            "ones are none", None, mean_of(both[0]), mean_of(both[1]))
    ]  # fmt: skip


def of_nearest(sides: Sides, seed: int) -> tuple[Nearest, list[Measure], list[str]]:
    """Of the samples; and what they and real sequences have in common with training data."""
    both = [*sides.samples, *sides.real]
    n = len(sides.samples)
    found = nearest(both, sides.training, "nearest")
    many = min(len(sides.reference), len(sides.training))
    order = np.random.default_rng((seed, 2)).permutation(len(sides.reference))[:many]
    # the training sequences are in a random order already
    theirs = nearest(both, sides.training[:many])
    others = nearest(both, [sides.reference[i] for i in order])
    closer = closer_of(theirs, others, many)
    measures = [
        sides.trial.measure(
            "nearest", "nearest, training", f"share of the different runs of {RUN} residues that "
            "the training sequence with most of them has, mean over sequences: by runs, no "
            "alignment", None, mean_of(found.share[:n]), mean_of(found.share[n:])),
        sides.trial.closer(
            f"share of the sequences whose nearest one is among {many:,} random training "
            "sequences, not among as many held-out ones; a tie counts half",
            Closer(*(of[:n] for of in closer)), Closer(*(of[n:] for of in closer))),
    ]  # fmt: skip
    ties = float((closer.values[:n] == 0.5).mean())
    notes = [f"closer to training: {ties:.1%} of the samples tie, mostly with no run in common"]
    return Nearest(found.share[:n], found.which[:n]), measures, notes


def closer_of(theirs: Nearest, others: Nearest, many: int) -> Closer:
    """Sequences that have no run in common with either side have no nearest one, and tie."""
    half = np.where(theirs.share == others.share, 0.5, theirs.share > others.share)
    which = np.where(theirs.share >= others.share, theirs.which, many + others.which)
    alone = np.maximum(theirs.share, others.share) == 0
    return Closer(half, np.where(alone, 2 * many + np.arange(len(which)), which))


def closest(records: list[Record], numbers: list[int], found: Nearest) -> Listing:
    """The samples that training data have most of, for people to look at; `numbers`: of the records
    in their file, from 0."""
    rows = [["sample", "residues", "in one training sequence", "begins"]]
    for i in np.argsort(-found.share, kind="stable")[:LISTED]:
        record = records[i]
        rows.append([
            record.header[:40] or f"{numbers[i] + 1}", f"{len(record.ids):,}",
            f"{found.share[i]:.1%}", record.letters[:40],
        ])  # fmt: skip
    says = f"The samples of whose runs of {RUN} residues one training sequence has most."
    return Listing("Nearest to training", says, rows)


def bars_of(sides: Sides) -> list[Bars]:
    counts = []
    for side in (sides.samples, sides.real):
        ids = np.concatenate(side)
        counts.append(np.bincount(ids[ids < len(LETTERS)], minlength=len(LETTERS)))
    shares = [count / max(count.sum(), 1) for count in counts]
    sizes = [np.array([len(row) for row in side]) for side in (sides.samples, sides.real)]
    return [Bars("residues", list(LETTERS), *shares), spread("residues of a sequence", *sizes)]
