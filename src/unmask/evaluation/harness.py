"""A model of text in lm-evaluation-harness (lm-eval, an extra): its class `LM`, named "unmask".

What the harness calls a log-likelihood is here a bound below it, minus a score of `scoring`: with
exact counts of masks, and a noise that is kept beside it.
"""

import inspect
import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.utils import simple_parse_args_string

from unmask import checkpoint, hub
from unmask.device import pick_device, pick_dtype, precision
from unmask.diffusion import MaskedDiffusion
from unmask.files import write_whole
from unmask.filling import Filler
from unmask.kinds.kind import Partial
from unmask.kinds.output import check_out
from unmask.kinds.registry import kind_of
from unmask.roles import GIVEN, HOLE, UNKNOWN
from unmask.rows import check_known
from unmask.scoring import Score, Scorer, difference, hashed

MOST_GENERATED = 256  # tokens, where a task does not say: the harness's own number
log = logging.getLogger("lm_eval.unmask")  # shown as the harness's own lines are


class Asked(NamedTuple):
    """What a request to generate asks for."""

    example: Partial  # the context, and a block of holes
    context: str
    until: list[str]
    temperature: float  # 0: the surest token at every step


@register_model("unmask")
class Harness(LM):
    """The model in a folder, as lm-evaluation-harness asks it; all arguments may stand in its
    --model_args.

    pretrained: the folder, or user/name[@revision] of the Hub.  repeats: draws of masks for each
    continuation, at least 2 for the noise.  record: a JSON file of all that was scored, with its
    noise.  sampler, steps: of what is generated with do_sample.  batch_size: rows at a time;
    "auto": 64, or more where they are short.
    ValueError for a model or an argument that cannot be, before any work.
    """

    def __init__(
        self,
        pretrained: str,
        *,
        repeats: int = 32,
        seed: int = 0,
        sampler: str = "ancestral",
        steps: int = 0,
        record: str = "",
        dtype: Any = "auto",
        device: str = "auto",
        batch_size: int | str = "auto",
        max_batch_size: int | None = None,
    ):
        super().__init__()
        for name, value in {"repeats": repeats, "seed": seed, "steps": steps}.items():
            if type(value) is not int:
                raise ValueError(f"{name} must be a whole number, not {value!r}")
        if repeats < 2:
            raise ValueError(f"repeats must be at least 2, for the noise, not {repeats}")
        check_out(record)
        found = hub.find(pretrained)
        self.folder, self.name = found.folder, found.name
        self._device = pick_device(device)
        self.model = MaskedDiffusion.from_pretrained(self.folder).to(self._device)
        # read now, since a training that goes on deletes the folder meanwhile
        self.model_sha256 = checkpoint.read_config(self.folder)["sha256"]["model.safetensors"]
        self.tokenizer = tokens_of(self.model, self.folder)
        self.length: int = self.model.meta["length"]
        self.repeats, self.seed, self.record = repeats, seed, record
        self.dtype = pick_dtype(dtype, self._device)
        self.how: dict[str, Any] = {"sampler": sampler, "steps": steps or None, "seed": seed}
        self.how |= {"batch_size": rows_of(batch_size, max_batch_size)}
        self.how |= {"precision": precision(self.dtype, self._device)}
        self.how |= {"generator": torch.Generator().manual_seed(seed)}
        self.filler = Filler(self.model, **self.how)
        of_scores = {name: self.how[name] for name in ("seed", "batch_size", "precision")}
        self.scorer = Scorer(self.model, repeats=repeats, **of_scores)
        if self.model.schedule.num_values > 1:
            raise ValueError(
                f"{self.folder} has a schedule with one curve per value, which does not tell which "
                "token is the most probable one, as the harness asks: use unmask score"
            )
        self.shortened = self.apart = 0  # requests: see `fitted` and `split`
        self.scored: list[dict] = []  # what was scored, with its noise

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: Any = None) -> "Harness":
        return cls.create_from_arg_obj(simple_parse_args_string(arg_string), additional_config)

    @classmethod
    def create_from_arg_obj(cls, arg_dict: dict, additional_config: Any = None) -> "Harness":
        """As the command makes it: what stands in --model_args goes before its own flags."""
        flags = (additional_config or {}).items()
        said = {name: value for name, value in flags if value is not None} | arg_dict
        said.pop("trust_remote_code", None)  # which is said of data sets
        known = list(inspect.signature(cls).parameters)
        for name in said:
            if name not in known:
                raise ValueError(f"--model_args has {name}: it can have {', '.join(known)}")
        if "pretrained" not in said:
            raise ValueError("--model_args names no model: give pretrained=MODEL")
        return cls(**said)

    # ------------------------------------------------------------ the harness's three questions

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """(a bound below log p(continuation | context) in nats, whether it is greedy) of each.

        Greedy: each token is the surest, given the context and the tokens before it, while those
        after it are masked.  Requests of one document share masks at equal positions.
        """
        examples = []
        for one in requests:
            context, continuation = one.args
            given, scored = self.split(context, continuation, place(one))
            self.check(scored, place(one))
            examples.append(self.fitted(given, scored, place(one)))
        scores = self.scorer.score(examples, masks=[number_of(one) for one in requests])
        greedy = self.are_greedy(examples)
        found = [(-score.nats, sure) for score, sure in zip(scores, greedy, strict=True)]
        self.keep(
            "loglikelihood", requests, [[one] for one in scores], over_cheapest(requests, scores)
        )
        for one, answer in zip(requests, found, strict=True):
            self.cache_hook.add_partial("loglikelihood", one.args, answer)
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """A bound below log p(text) in nats: windows of the model's length, one after another, each
        a text of its own, as in `unmask eval`."""
        texts = [self.windows(one.args[0], place(one)) for one in requests]
        examples = [window for windows in texts for window in windows]
        numbers = [
            number_of(one, window)
            for one, windows in zip(requests, texts, strict=True)
            for window in range(len(windows))
        ]
        left = iter(self.scorer.score(examples, masks=numbers))
        scores = [[next(left) for _ in windows] for windows in texts]
        self.keep("loglikelihood_rolling", requests, scores)
        found = [-sum(one.nats for one in of_text) for of_text in scores]
        for one, answer in zip(requests, found, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", one.args, answer)
        return found

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """What follows each context, up to the first stop string: a block of max_gen_toks masks
        is filled from left to right by the surest token or, with do_sample, by the sampler."""
        asked = []
        for one in requests:
            context, settings = one.args
            asked.append(self.asked(context, settings, place(one)))
        found: list[str] = [""] * len(asked)
        for temperature in sorted({one.temperature for one in asked}):
            numbers = [i for i, one in enumerate(asked) if one.temperature == temperature]
            some = [asked[i] for i in numbers]
            texts = self.drawn(some, temperature) if temperature else self.surest_texts(some)
            for i, text in zip(numbers, texts, strict=True):
                found[i] = text
        for one, answer in zip(requests, found, strict=True):
            self.cache_hook.add_partial("generate_until", one.args, answer)
        if self.shortened:
            log.warning("%s", self.said_of_shortened())
        return found

    # ------------------------------------------------------------ texts as examples

    def split(self, context: str, continuation: str, where: str) -> tuple[np.ndarray, np.ndarray]:
        """The ids of a context and of a continuation.

        As the harness has it, blanks at the context's end belong to the continuation, and both are
        encoded together.  Where a token spans the border, they are encoded apart, and counted.
        """
        if not continuation:
            raise ValueError(f"{where} has an empty continuation, which costs nothing: take it out")
        kept = context.rstrip()
        continuation = context[len(kept) :] + continuation
        whole, given = self.encode(kept + continuation, where), self.encode(kept, where)
        if np.array_equal(whole[: len(given)], given) and len(whole) > len(given):
            return given, whole[len(given) :]
        self.apart += 1
        return given, self.tokenizer.encode_after(continuation).astype(np.int64)

    def fitted(self, given: np.ndarray, scored: np.ndarray, where: str) -> Partial:
        """A context and what follows it, in the model's length: the context loses its beginning, as
        in the harness's own models, and is counted; what is scored never does."""
        if len(scored) > self.length:
            raise ValueError(
                f"{where} has a continuation of {len(scored)} tokens, and the model was trained at "
                f"{self.length}: leave the task out, or take a longer model"
            )
        over = max(0, len(given) + len(scored) - self.length)
        self.shortened += over > 0
        given = given[over:]
        self.check(given, where)
        role = np.repeat(np.array([GIVEN, HOLE], np.int8), [len(given), len(scored)])
        return Partial(np.concatenate([given, scored]), role)

    def windows(self, text: str, where: str) -> list[Partial]:
        """A text in windows, all of which is scored."""
        ids = self.encode(text, where)
        if not len(ids):
            raise ValueError(f"{where} has an empty text, which costs nothing: take it out")
        self.check(ids, where)
        cuts = range(self.length, len(ids), self.length)
        return [Partial(part, np.full(len(part), HOLE, np.int8)) for part in np.split(ids, cuts)]

    def encode(self, text: str, where: str) -> np.ndarray:
        """The ids of a text; ValueError that names the request."""
        try:
            return self.tokenizer.encode(text).astype(np.int64)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None

    def check(self, ids: np.ndarray, where: str) -> None:
        check_known(self.model, self.tokenizer, [(where, ids)])

    def asked(self, context: str, settings: dict, where: str) -> Asked:
        """A request to generate; ValueError for a setting that has no meaning here."""
        left = dict(settings)
        until = left.pop("until", None) or []
        until = [until] if isinstance(until, str) else list(until)
        half = max(1, self.length // 2)
        size = left.pop("max_gen_toks", min(MOST_GENERATED, half))
        # of a context, its last token at least is read
        most = max(1, self.length - bool(context))
        if not (isinstance(size, int) and 1 <= size <= most):
            raise ValueError(
                f"{where} asks for {size} tokens, and the model was trained at {self.length}, of "
                f"which {most} can follow a context: give --gen_kwargs max_gen_toks={half}"
            )
        temperature = left.pop("temperature", None)
        sampled = left.pop("do_sample", None)
        sampled = bool(temperature) if sampled is None else sampled
        temperature = float(1.0 if temperature is None else temperature) if sampled else 0.0
        if not (math.isfinite(temperature) and temperature >= 0):
            raise ValueError(f"{where} asks for temperature {temperature}: give one of at least 0")
        no_effect = {"top_p": 1, "top_k": 0, "num_beams": 1} if temperature else {}
        for name, value in left.items():
            known = name in ("top_p", "top_k", "num_beams")
            if not known or value != no_effect.get(name, value):
                raise ValueError(
                    f"{where} asks for {name}={value}, which means nothing to this model: leave it "
                    "out of the task's generation_kwargs"
                )
        example = self.fitted(self.encode(context, where), np.zeros(size, np.int64), where)
        return Asked(example, context, [stop for stop in until if stop], temperature)

    def spelled(self, asked: Asked, ids: np.ndarray) -> tuple[str, bool]:
        """What was generated as text, cut at the first end of a text or stop string; and whether
        there is one."""
        ends = np.flatnonzero(ids == self.tokenizer.eot) if self.tokenizer.eot is not None else []
        text = self.tokenizer.decode_after(asked.context, ids[: ends[0]] if len(ends) else ids)
        stops = [at for at in map(text.find, asked.until) if at >= 0]
        return text[: min(stops)] if stops else text, bool(stops) or len(ends) > 0

    # ------------------------------------------------------------ what the model says

    def surest(self, examples: Sequence[tuple[np.ndarray, int]]) -> list[int]:
        """The most probable token at one position of each (ids, position), given those before."""
        partials = []
        for ids, at in examples:
            role = np.full(len(ids), UNKNOWN, np.int8)
            role[:at], role[at] = GIVEN, HOLE
            partials.append(Partial(ids, role))
        found = [0] * len(partials)
        for i, _, law in self.filler.laws(partials):
            found[i] = int(law.argmax())
        return found

    def are_greedy(self, examples: list[Partial]) -> list[bool]:
        """Whether all holes of each hold what `surest` says, from left to right."""
        at = [int((one.role == GIVEN).sum()) for one in examples]
        alive = list(range(len(examples)))
        greedy = [True] * len(examples)
        while alive:
            said = self.surest([(examples[i].ids, at[i]) for i in alive])
            for i, token in zip(alive, said, strict=True):
                greedy[i] = token == examples[i].ids[at[i]]
                at[i] += 1
            alive = [i for i in alive if greedy[i] and at[i] < len(examples[i].ids)]
        return greedy

    def surest_texts(self, asked: list[Asked]) -> list[str]:
        """Each block filled from left to right by the surest token, until it stops."""
        ids = [one.example.ids.copy() for one in asked]
        start = [int((one.example.role == GIVEN).sum()) for one in asked]
        at, alive, found = list(start), list(range(len(asked))), [""] * len(asked)
        while alive:
            said = self.surest([(ids[i], at[i]) for i in alive])
            going = []
            for i, token in zip(alive, said, strict=True):
                ids[i][at[i]] = token
                at[i] += 1
                found[i], stopped = self.spelled(asked[i], ids[i][start[i] : at[i]])
                if not stopped and at[i] < len(ids[i]):
                    going.append(i)
            alive = going
        return found

    def drawn(self, asked: list[Asked], temperature: float) -> list[str]:
        """Each block filled by the sampler."""
        filler = Filler(self.model, temperature=temperature, **self.how)
        filled = filler.fill([one.example for one in asked])
        pairs = zip(asked, filled, strict=True)
        return [self.spelled(one, row.ids[one.example.role == HOLE])[0] for one, (row,) in pairs]

    # ------------------------------------------------------------ what is kept

    def keep(
        self,
        question: str,
        requests: Sequence[Any],
        scores: Sequence[Sequence[Score]],
        differences: Sequence[dict] | None = None,
    ) -> None:
        """Add what each request costs, the sum of its scores, with its noise to `scored` and the
        record; and what else is to be told of it; and say how large the noise is."""
        more = [{}] * len(requests) if differences is None else differences
        for one, of_request, told in zip(requests, scores, more, strict=True):
            tokens = sum(score.units for score in of_request)
            nats = sum(score.nats for score in of_request)
            noise = math.hypot(*(score.noise for score in of_request))
            who = {"question": question, "task": one.task_name, "doc": one.doc_id, "index": one.idx}
            cost = {"tokens": tokens, "nats": nats, "noise": noise}
            self.scored.append(who | cost | told)
        said = f"{len(requests)} bounds below the log-likelihood"
        said += f", by {self.repeats} draws of masks each"
        log.info("%s; their noise is %.4f nats on average", said, self.mean_noise()[question])
        if self.shortened:
            log.warning("%s", self.said_of_shortened())
        if self.record:
            content = self.get_model_info()["unmask"] | {"scored": self.scored}
            write_whole(Path(self.record), json.dumps(content, indent=2) + "\n")

    def said_of_shortened(self) -> str:
        return (
            f"{self.shortened} requests were longer than {self.length} tokens, at which the model "
            "was trained: their contexts lost their beginnings"
        )

    def mean_noise(self) -> dict[str, float]:
        """Of all that was scored, in nats, by question."""
        found: dict[str, list[float]] = {}
        for one in self.scored:
            found.setdefault(one["question"], []).append(one["noise"])
        return {question: math.fsum(of) / len(of) for question, of in found.items()}

    def get_model_info(self) -> dict:
        """What the harness writes beside its results."""
        what = "log-likelihoods are bounds below them, minus an upper bound on -log p"
        made = {"model_sha256": self.model_sha256}
        made |= {"what": what, "repeats": self.repeats, "seed": self.seed, "dtype": self.dtype}
        made |= {"model": self.name} if self.name else {}
        counts = {"shortened": self.shortened, "encoded_apart": self.apart}
        return {"unmask": made | counts | {"mean_noise": self.mean_noise()}}

    @property
    def tokenizer_name(self) -> str:
        """For the harness's cache of requests."""
        return f"unmask {self.folder}"


def tokens_of(model: MaskedDiffusion, folder: Path) -> Any:
    """The tokenizer of a model of text; ValueError for any other model."""
    trained_on = model.meta.get("data", {})
    if not {"tokenizer", "vocab_size"} <= set(trained_on) or "length" not in model.meta:
        raise ValueError(
            f"{folder} does not say which tokens it was trained on: train a model with unmask train"
        )
    kind = kind_of(trained_on, folder)
    if not hasattr(kind.tokenizer, "encode_after"):
        raise ValueError(
            f"{folder} is a model of {kind.describe()}, and the harness asks of text: give one of "
            "text"
        )
    return kind.tokenizer


def over_cheapest(requests: Sequence[Any], scores: Sequence[Score]) -> list[dict]:
    """Of each request for a document with several, how much more it costs than the cheapest other
    one, which was scored on the same masks, with the noise of that; see `scoring.Difference`."""
    documents: dict[tuple, list[int]] = {}
    for i, one in enumerate(requests):
        # some metrics ask for every choice without its context, too
        key = one.task_name, one.doc_id, bool(one.args[0].strip())
        if one.doc_id is not None:
            documents.setdefault(key, []).append(i)
    found: list[dict] = [{} for _ in requests]
    for of_document in documents.values():
        for i in of_document:
            others = [j for j in of_document if j != i]
            if not others:
                continue
            cheapest = min(others, key=lambda j: scores[j].nats)
            change = difference(scores[i], scores[cheapest])
            found[i] = {"than": requests[cheapest].idx, "difference": change.nats}
            found[i] |= {"difference_noise": change.noise, "resolved": change.resolved}
    return found


def rows_of(batch_size: int | str, most: int | None) -> int:
    """The harness's batch size as a `Filler` takes it."""
    if batch_size == "auto":
        return most or 0
    if not str(batch_size).isdigit() or int(batch_size) < 1:
        raise ValueError(f"batch_size must be a number of at least 1, or auto, not {batch_size!r}")
    return int(batch_size)


def place(request: Any) -> str:
    """A request, in words."""
    return f"{request.task_name or 'a task'}, document {request.doc_id}, request {request.idx}"


def number_of(request: Any, window: int = 0) -> int:
    """The number of a document, or of a window of one: its masks follow from it and the seed.

    It does not depend on what else is asked.  A request that names no document has that of its
    text.
    """
    known = request.doc_id is not None
    who = [request.task_name, request.doc_id] if known else [request.args[0]]
    return hashed(json.dumps([*who, window]).encode())
