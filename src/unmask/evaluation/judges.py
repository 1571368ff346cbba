"""Models that say how probable the samples of another one are.

Whatever has a `Judge`'s two methods is one: the log-likelihood of token ids is all that is asked.
"""

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from unmask import likelihood
from unmask.checkpoint import digest, read_config
from unmask.config import Dtype
from unmask.device import precision
from unmask.documents import read_json
from unmask.kinds.kind import Kind
from unmask.kinds.quality import Example
from unmask.kinds.registry import kind_of
from unmask.labels import check_unlabelled
from unmask.likelihood import estimate
from unmask.rivals import open_model
from unmask.rows import check_known, rows_at_a_time

ORDER = likelihood.Path("left-to-right")
# of transformers; without one of these files it may make up a vocabulary
VOCABULARIES = ("tokenizer.json", "vocab.json", "tokenizer.model", "spiece.model")
UNREAD = 0.01  # of a judge's tokens that may stand for what it does not know
AT_A_TIME = 1024  # positions whose logits are computed together: 200 MB of GPT-2's


class Judge(Protocol):
    """A model that reads examples as tokens of its own."""

    what: str  # it is, in words
    record: dict  # what is to be recorded of it

    def rows(self, examples: Sequence[Example]) -> list[np.ndarray]:
        """Its token ids (length,) of each example, -1 where it leaves out what is there.

        ValueError for what it cannot read.
        """
        ...

    def nats(self, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """(n,) float64 -log p of each row, and how many of its tokens that is of."""
        ...


def open_judge(folder: Path, kind: Kind, device: torch.device, dtype: Dtype = "float32") -> Judge:
    """The model in a folder: one of transformers, causal, or one of this package.

    kind: of the data that the examples are of.  dtype: of the network; bfloat16 rounds its logits.
    ValueError for a model that cannot judge them.
    """
    said = read_json(folder / "config.json", dict)
    if "model_type" in said:
        return Causal(folder, device, dtype)
    return Own(folder, kind, device, dtype)


class Window(NamedTuple):
    """Of a row: all of it, or a piece."""

    of: int  # the row
    ids: np.ndarray  # (S,) int64, negative where there is no value
    ends: tuple[bool, bool]  # whether it holds the first and the last position of the row


class Own:
    """A model of this package, by the exact likelihood of its sampler from left to right: that of
    an autoregressive one, at one call an example, or of masked diffusion.

    Longer rows than it was trained at are cut into windows, each judged alone: the network is told
    which ends of its row a window holds.
    """

    def __init__(self, folder: Path, kind: Kind, device: torch.device, dtype: Dtype = "float32"):
        self.model = open_model(folder)
        sha256 = read_config(folder)["sha256"]["model.safetensors"]  # just verified
        self.model.to(device)
        meta = self.model.meta
        if "data" not in meta or "length" not in meta:
            raise ValueError(f"{folder} does not say which tokens it was trained on: name another")
        if why := kind_of(meta["data"], folder).differs(kind, folder):
            raise ValueError(f"{kind.folder} {why}")
        check_unlabelled(self.model, "name another model")
        self.tokenizer = kind.tokenizer
        own = likelihood.own_estimator(self.model)
        self.estimator = own if own.exact else ORDER
        if not own.exact:
            self.model.refuse(f"--estimator {ORDER.order}")
        self.estimator.check(self.model)
        self.length, self.precision = meta["length"], precision(dtype, device)
        self.what = f"{self.estimator.sampler(self.model)} of {folder}, exactly, in {dtype}"
        self.record = {"model_sha256": sha256, "dtype": dtype}

    def rows(self, examples: Sequence[Example]) -> list[np.ndarray]:
        size = self.model.subtokenizer.vocab_size
        shown = ((f"{one.text[:40]!r}", one.ids[one.ids < size]) for one in examples)
        check_known(self.model, self.tokenizer, shown)
        return [np.where(one.ids < size, one.ids.astype(np.int64), -1) for one in examples]

    def nats(self, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Positions without a value are left out: they are neither seen nor paid for."""
        cut = [
            Window(i, row[low : low + self.length], (low == 0, low + self.length >= len(row)))
            for i, row in enumerate(rows)
            for low in range(0, len(row), self.length)
        ]
        known = [window for window in cut if (window.ids >= 0).any()]
        nats, tokens = np.zeros(len(rows)), np.zeros(len(rows))
        if not known:
            return nats, tokens
        number = np.array([window.of for window in known])
        batches = padded(known, rows_at_a_time(0, self.length))
        with self.precision:
            found = estimate(self.model, progress(batches, len(known)), self.estimator)
        np.add.at(nats, number, found.per_example.double().cpu().numpy())
        np.add.at(tokens, number, found.positions.double().cpu().numpy())
        return nats, tokens


def padded(windows: list[Window], size: int) -> Iterator[dict[str, Tensor]]:
    """Batches of so many windows: "x" and "valid" (B, S), "ends" (B, 2)."""
    for low in range(0, len(windows), size):
        some = windows[low : low + size]
        longest = max(len(window.ids) for window in some)
        x = torch.full((len(some), longest), -1)
        for i, window in enumerate(some):
            x[i, : len(window.ids)] = torch.from_numpy(window.ids)
        ends = torch.tensor([window.ends for window in some])
        yield {"x": x.clamp(min=0), "valid": x >= 0, "ends": ends}


def progress(batches: Iterator[dict[str, Tensor]], total: int) -> Iterator[dict[str, Tensor]]:
    with tqdm(total=total, desc="judged", disable=None, leave=False) as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch["x"]))


class Causal:
    """A causal language model of transformers, in a folder of this machine, with its tokenizer.

    A text begins after the mark that begins texts there, if there is one; without, its first token
    is not scored.  One that is longer than the network has positions for is cut into windows, each
    judged alone.  Weights are read from safetensors alone, and no code of the folder is run.
    """

    def __init__(self, folder: Path, device: torch.device, dtype: Dtype = "float32"):
        try:
            from transformers import AutoModelForCausalLM, AutoTokenizer
        except ImportError:
            raise ValueError(
                f"{folder} is a model of transformers, which is not installed: "
                "pip install 'unmask[huggingface]'"
            ) from None
        if not any((folder / name).is_file() for name in VOCABULARIES):
            raise ValueError(
                f"{folder} has no tokenizer ({', '.join(VOCABULARIES)}): put that of the model "
                "into it"
            )
        how: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        with refusing(folder):
            self.tokenizer = AutoTokenizer.from_pretrained(folder, **how)
            how |= {"use_safetensors": True, "output_loading_info": True}
            model, told = AutoModelForCausalLM.from_pretrained(folder, **how)
        if told["missing_keys"]:
            raise ValueError(
                f"{folder} lacks weights, such as {min(told['missing_keys'])}, which would be "
                "random: name a causal language model"
            )
        self.model = model.float().to(device).eval()
        self.keeps = check_causal(self.model, device, folder)
        self.device, self.precision = device, precision(dtype, device)
        config = self.model.config
        told = config.get_text_config()  # of a model that sees pictures, too, a part of its own
        self.most: int = getattr(told, "max_position_embeddings", None) or 1024
        self.begin = self.tokenizer.bos_token_id
        begins = "after its mark of a beginning"
        if self.begin is None:
            begins = "without their first token"
        self.name = f"{config.model_type} in {folder}"
        self.what = f"{self.name}, {begins}, in windows of at most {self.most:,} tokens, in {dtype}"
        files = sorted(folder.glob("*.safetensors"))
        self.record = {"model_sha256": {file.name: digest(file) for file in files}, "dtype": dtype}

    def rows(self, examples: Sequence[Example]) -> list[np.ndarray]:
        texts = [one.text for one in examples]
        found = self.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        rows = [np.array(ids, np.int64) for ids in found]
        every = np.concatenate(rows)
        size = self.model.config.get_text_config().vocab_size
        if every.max(initial=0) >= size:
            raise ValueError(
                f"its tokenizer has an id {every.max()}, and the judging model {size} rows: give "
                "the model the tokenizer that it was trained with"
            )
        # of GPT-2 it is the mark of ends, too, which texts hold that were joined
        unk, marks = self.tokenizer.unk_token_id, [self.begin, self.tokenizer.eos_token_id]
        unknown = float((every == unk).mean()) if len(every) and unk not in marks else 0.0
        if unknown > UNREAD:
            raise ValueError(
                f"{unknown:.0%} of the tokens that the judging model reads stand for what it does "
                "not know: name a model of such texts"
            )
        return rows

    @torch.no_grad()
    def nats(self, rows: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        nats, tokens = np.zeros(len(rows)), np.zeros(len(rows))
        for numbers, ids, scored in self.batches(rows):
            each = torch.where(scored, self.paid(ids).double(), 0).sum(1)
            np.add.at(nats, numbers, each.cpu().numpy())
            np.add.at(tokens, numbers, scored.sum(1).cpu().numpy())
        return nats, tokens

    @torch.no_grad()
    def features(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """(n, D) float64 what the last layer has at the last token of each row, of which there is
        one at least, cut after `most`, and without a mark of its beginning: as arXiv 2102.01454
        takes it of GPT-2."""
        rows = [row[: self.most] for row in rows]
        order = sorted(range(len(rows)), key=lambda i: -len(rows[i]))
        found: dict[int, np.ndarray] = {}
        with tqdm(total=len(rows), desc="features", disable=None, leave=False) as bar:
            while order:
                many = max(1, AT_A_TIME // len(rows[order[0]]))
                some, order = order[:many], order[many:]
                sizes = [len(rows[i]) for i in some]
                # what pads a row stands to its right, where a causal network does not look
                ids = torch.zeros(len(some), sizes[0], dtype=torch.long)
                for k, i in enumerate(some):
                    ids[k, : sizes[k]] = torch.from_numpy(rows[i])
                with self.precision:
                    states = self.model.base_model(ids.to(self.device)).last_hidden_state
                last = states[torch.arange(len(some)), torch.tensor(sizes) - 1]
                found |= dict(zip(some, last.double().cpu().numpy(), strict=True))
                bar.update(len(some))
        return np.stack([found[i] for i in range(len(rows))])

    def paid(self, ids: Tensor) -> Tensor:
        """(B, L - 1) -log p of each of the ids (B, L) but the first, given those before it.

        Of a long row the network reads AT_A_TIME positions after one another, each given what it
        keeps of those before: there are never the logits of more.  One that keeps nothing reads
        the row at once.
        """
        size = ids.shape[1] - 1
        step = max(1, AT_A_TIME // len(ids))
        if step >= size or not self.keeps:
            with self.precision:
                logits = self.model(ids[:, :-1]).logits
            return nats_of(logits, ids[:, 1:])
        found, kept = [], None
        for low in range(0, size, step):
            now = ids[:, low : min(low + step, size)]
            with self.precision:
                told = self.model(now, past_key_values=kept, use_cache=True)
            kept = told.past_key_values
            found.append(nats_of(told.logits, ids[:, low + 1 : low + 1 + now.shape[1]]))
        return torch.cat(found, 1)

    def batches(self, rows: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
        """Numbers of rows (B,), ids (B, L), and which of the last L - 1 are scored.

        What pads a row stands to its right, where a causal network does not look.
        """
        ahead = np.array([] if self.begin is None else [self.begin], np.int64)
        size = self.most - len(ahead)
        windows = [
            (i, np.concatenate([ahead, row[low : low + size]]))
            for i, row in enumerate(rows)
            for low in range(0, len(row), size)
        ]
        windows = [(i, ids) for i, ids in windows if len(ids) > 1]
        windows.sort(key=lambda one: -len(one[1]))
        with tqdm(total=len(windows), desc="judged", disable=None, leave=False) as bar:
            while windows:
                longest = len(windows[0][1])
                many = max(1, AT_A_TIME // longest)
                some, windows = windows[:many], windows[many:]
                ids = torch.zeros(len(some), longest, dtype=torch.long)
                scored = torch.zeros(len(some), longest - 1, dtype=torch.bool)
                for k, (_, row) in enumerate(some):
                    ids[k, : len(row)] = torch.from_numpy(row)
                    scored[k, : len(row) - 1] = True
                numbers = np.array([i for i, _ in some])
                yield numbers, ids.to(self.device), scored.to(self.device)
                bar.update(len(some))


def nats_of(logits: Tensor, ids: Tensor) -> Tensor:
    """(B, S) -log p of ids (B, S) by logits (B, S, V)."""
    found = torch.nn.functional.cross_entropy(
        logits.float().flatten(0, 1), ids.flatten(), reduction="none"
    )
    return found.view(ids.shape)


@torch.no_grad()
def check_causal(model: Any, device: torch.device, folder: Path) -> bool:
    """Whether a network keeps what it read, and goes on from there as if it had read all at once.

    ValueError for one that looks ahead, as one of masks does when it is read as causal.
    """
    size = model.config.get_text_config().vocab_size
    ids = torch.tensor([[1, 2, 3, 1], [1, 2, 3, 2]], device=device) % size
    logits = model(ids).logits.float()
    first, second = logits[:, :-1]
    if not torch.allclose(first, second, rtol=1e-4, atol=1e-4):
        raise ValueError(
            f"{folder} is a network that sees what comes after a token, and gives no likelihood "
            "of texts: name a causal language model"
        )
    if "past_key_values" not in inspect.signature(model.forward).parameters:
        return False
    begun = model(ids[:, :2], use_cache=True)
    kept = getattr(begun, "past_key_values", None)
    if kept is None:
        return False
    later = model(ids[:, 2:], past_key_values=kept, use_cache=True).logits.float()
    return torch.allclose(later, logits[:, 2:], rtol=1e-4, atol=1e-4)


@contextmanager
def refusing(folder: Path) -> Iterator[None]:
    """What transformers raises for a folder that it cannot read, in a sentence."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # these libraries raise it as it is, and classes of their own
        said = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{folder} holds no causal language model with a tokenizer, in safetensors, that can "
            f"be read here ({said}): name another"
        ) from None


def perplexity_of(nats: float) -> float:
    """exp, infinite where that is too large."""
    return math.inf if nats >= 700 else math.exp(nats)
