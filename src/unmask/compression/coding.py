"""Examples as bits and back, by the conditionals of a model along one path.

Encoder and decoder are one function, `code_block`, that differs in its coder alone: what the
network is shown follows from what is revealed already, so both call it with the same numbers, in
batches of the same shapes.  Whether the same numbers give the same results is asked of the machine
before anything is decoded (`machine`, `probe`), and of each block after it (a checksum).
"""

import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.batch import Batch, told
from unmask.compression.frequencies import Coder, Tick, coded_bits, frequencies
from unmask.device import float32_library
from unmask.diffusion import MaskedDiffusion
from unmask.kernels.rows import chunks
from unmask.likelihood.paths import Step, given_first, reveals
from unmask.policies import marginals
from unmask.roles import ABSENT, SCORED
from unmask.subtokens import consistent

PROBED = 3  # steps


class Piece(NamedTuple):
    """An example, or as much of a longer one as the model takes: coded by itself."""

    of: int  # the example
    at: slice  # what of it
    ends: tuple[bool, bool]  # whether it holds the ends of the example


def pieces_of(lengths: np.ndarray, width: int) -> Iterator[Piece]:
    """Examples of these lengths, cut from left to right at `width`."""
    for i, length in enumerate(lengths):
        length = int(length)
        for begin in range(0, length, width):
            end = min(begin + width, length)
            yield Piece(i, slice(begin, end), (begin == 0, end == length))


def groups(lengths: np.ndarray, width: int, rows: int) -> Iterator[list[Piece]]:
    """Pieces that are coded together, a block each: made as they are needed, since a file may claim
    more of them than there is memory for."""
    pieces = pieces_of(lengths, width)
    while some := list(itertools.islice(pieces, rows)):
        yield some


class Path(NamedTuple):
    """In which order units are revealed, and how many at a step: see `likelihood.Path`."""

    order: str
    shares: Tensor | None


class Coded(NamedTuple):
    """What a block cost, in bits."""

    exact: float  # -log2 of the probabilities as the network says them
    coded: float  # as frequencies


@torch.no_grad()
def code_block(
    model: MaskedDiffusion,
    sizes: list[int],
    ends: list[tuple[bool, bool]],
    width: int,
    path: Path,
    coder: Coder,
    codes: Tensor | None = None,
    tick: Tick = int,
) -> tuple[Tensor, Coded]:
    """The codes of pieces (B, `width`), on the CPU, 0 beyond their sizes (B,), and what they cost.

    `codes` (B, width): those to be written; None where they are read.  `tick` is told how many
    units a step has done.
    """
    batch = blank(model, sizes, ends, width)
    true = None if codes is None else codes.to(model.device)
    exact = coded = 0.0
    for step in reveals(model, batch, path.order, path.shares):
        some = None if true is None else true[step.rows]
        found, cost = code_step(model, step, some, coder)
        batch.codes[step.rows] = found
        exact, coded = exact + cost.exact, coded + cost.coded
        tick(int(step.chosen.sum()))
    return batch.codes.cpu(), Coded(exact, coded)


def blank(
    model: MaskedDiffusion, sizes: list[int], ends: list[tuple[bool, bool]], width: int
) -> Batch:
    """A batch of which nothing is known but how long its examples are."""
    device = model.device
    there = torch.arange(width) < torch.tensor(sizes)[:, None]
    role = torch.where(there, SCORED, ABSENT).to(torch.int8).to(device)
    codes = torch.zeros(len(sizes), width, dtype=torch.int64, device=device)
    units = codes.repeat_interleave(model.units().length, 1)
    valid = None if bool(there.all()) else there
    at_ends = torch.tensor(ends)
    whole = None if bool(at_ends.all()) else at_ends
    return Batch(codes, units, role, told(device, None, valid, whole))


def code_step(
    model: MaskedDiffusion, step: Step, true: Tensor | None, coder: Coder
) -> tuple[Tensor, Coded]:
    """The codes (R, S) of a step's examples after it, and what the step cost; `true` (R, S): those
    to be written.

    Tokens are coded one after the other; the digits of one that it reveals together, each given
    those before it, so that they cost what they do jointly; and the second of two linked positions
    given what was revealed at the first.
    """
    batch = step.batch
    b, position = step.chosen.unflatten(1, (-1, batch.per_token)).any(-1).nonzero(as_tuple=True)
    passes = [torch.arange(len(b), device=b.device)]
    if model.later is not None:
        later = model.later[position]
        passes = [(~later).nonzero()[:, 0], later.nonzero()[:, 0]]
    exact = coded = 0.0
    for rows in passes:
        for part in chunks(len(rows), model.subtokenizer.vocab_size, b.device):
            i, s = b[rows[part]], position[rows[part]]
            if not len(i):
                continue
            logp = step.log_probs(i, s)
            logp = given_first(model, logp, model.masked(batch, step.after), i, s)
            wanted = None if true is None else true[i, s]
            now = batch.codes[i, s]
            chosen, after = (
                units.unflatten(1, (-1, batch.per_token))[i, s]
                for units in (step.chosen, step.after)
            )
            found, cost = code_tokens(model, logp.double(), now, chosen, after, wanted, coder)
            batch.codes[i, s] = found
            exact, coded = exact + cost.exact, coded + cost.coded
    return batch.codes, Coded(exact, coded)


def code_tokens(
    model: MaskedDiffusion,
    logp: Tensor,
    now: Tensor,
    chosen: Tensor,
    after: Tensor,
    wanted: Tensor | None,
    coder: Coder,
) -> tuple[Tensor, Coded]:
    """The codes (R,) of tokens after their units `chosen` (R, l) are coded.

    `logp` (R, V): log-probabilities of their codes; `now` (R,): their codes, 0 for what is masked;
    `after` (R, l): the units that stay masked; `wanted` (R,): the codes to be written.
    """
    units = model.units()
    true = None if wanted is None else units.digits(wanted[:, None])
    if units.length == 1:
        found, cost = code_values(logp, None if true is None else true[:, 0], coder)
        return found, cost
    digits = units.digits(now[:, None]).masked_fill(chosen | after, units.mask_id)
    exact = coded = 0.0
    for j in range(units.length):
        rows = chosen[:, j].nonzero()[:, 0]
        if not len(rows):
            continue
        agrees = consistent(digits[rows], units.base)[:, : units.vocab_size]
        law = marginals(logp[rows].masked_fill(~agrees, -torch.inf), units)[:, j]
        law = law.log_softmax(-1)
        own = None if true is None else true[rows, j]
        digits[rows, j], cost = code_values(law, own, coder)
        exact, coded = exact + cost.exact, coded + cost.coded
    known = digits.masked_fill(digits == units.mask_id, 0)
    return (known * units.places(known.device)).sum(-1), Coded(exact, coded)


def code_values(logp: Tensor, true: Tensor | None, coder: Coder) -> tuple[Tensor, Coded]:
    """The values (R,) of units whose log-probabilities are `logp` (R, b); `true` (R,): those to be
    written."""
    at = np.arange(len(logp))
    told = logp.cpu().numpy()
    laws = frequencies(told)
    found = coder.code(laws, None if true is None else true.cpu().numpy())
    exact = -float(told[at, found].sum()) / np.log(2)
    return torch.from_numpy(found).to(logp.device), Coded(exact, coded_bits(laws, found))


# ---------------------------------------------------------------- the machine


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """The same numbers for the same input inside, as far as PyTorch can promise it."""
    if device.type == "cuda":  # before the first product, or PyTorch says so
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    settings: Any = torch.utils.deterministic  # of what there is at run time
    filling = settings.fill_uninitialized_memory
    tuning = torch.backends.cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        settings.fill_uninitialized_memory = filling
        torch.backends.cudnn.benchmark = tuning


def machine(model: MaskedDiffusion) -> dict[str, str | int]:
    """What the arithmetic depends on: a file is decoded where all of it is the same."""
    device = model.device
    name = f"cpu {torch.backends.cpu.get_cpu_capability()}"
    if device.type == "cuda":
        name = f"cuda {torch.cuda.get_device_name(device)}"
    weights = (p.dtype for p in model.parameters() if p.is_floating_point())
    products = {"products": float32_library()} if device.type == "cpu" else {}
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "dtype": str(next(weights, torch.float32)).removeprefix("torch."),
        **products,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "constriction": version("constriction"),
    }


class InTurn:
    """A coder of nothing: of the four most probable values, one after the other."""

    def __init__(self, kept: Any):
        self.kept = kept

    def code(self, laws: np.ndarray, values: np.ndarray | None) -> np.ndarray:
        self.kept.update(laws.astype("<i4").tobytes())
        at = np.arange(len(laws))
        likely = np.argsort(-laws, axis=1, kind="stable")[:, : min(4, laws.shape[1])]
        found = likely[at, at % likely.shape[1]]
        return np.where(laws[at, found] > 1, found, likely[:, 0])


@torch.no_grad()
def probe(model: MaskedDiffusion, rows: int, width: int, path: Path) -> str:
    """A digest of the arithmetic: of what the network says, and of the frequencies that are made of
    it, in the first PROBED steps of a block of `rows` pieces of `width` tokens, along `path`, a few
    units a step, whose values are in turn the most probable ones.
    """
    batch = blank(model, [width] * rows, [(True, True)] * rows, width)
    kept, units = hashlib.sha256(), batch.y.shape[1]
    few = min(8, -(-units // PROBED))
    left = [max(0, units - few * i) / units for i in range(-(-units // few) + 1)]
    shares = torch.tensor(left, dtype=torch.float64)
    for step in itertools.islice(reveals(model, batch, path.order, shares), PROBED):
        tokens = step.chosen.unflatten(1, (-1, batch.per_token)).any(-1)
        said = step.log_probs(*tokens.nonzero(as_tuple=True))
        kept.update(said.cpu().numpy().tobytes())
        found, _ = code_step(model, step, None, InTurn(kept))
        batch.codes[step.rows] = found
    return kept.hexdigest()[:32]


def model_digest(model: MaskedDiffusion) -> str:
    """SHA-256 of what a model is: its config, and every tensor."""
    found = hashlib.sha256(json.dumps(model.config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.state_dict().items()):
        tensor = tensor.detach().cpu().contiguous()
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
