"""lm-evaluation-harness itself, on tasks of a few lines, and a model that can be enumerated."""

import json
import os
import shutil

import pytest
import torch

import unmask
from unmask import checkpoint
from unmask.audit import exact_nelbo
from unmask.cli.main import main

pytest.importorskip("lm_eval")
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from unmask.evaluation.harness import Harness, number_of

GIVEN, SCORED, UNKNOWN = 1, 2, 3
QUESTIONS = [
    ("the", [" fox", " zzz", " cat"]),
    ("lazy", [" do", " jum", " x"]),
    ("a ", ["quick", "quick", "b"]),  # a tie; and a blank that goes over
    ("", ["over", "dog"]),
    ("the quick brown", [" fox", " doo"]),  # longer than the model
]
TEXTS = ["the quick brown fox", "jumps", "over the"]
PROMPTS = ["the", "a quick brown dog", "x"]


@pytest.fixture(scope="module")
def model_folder(text_run, tmp_path_factory):
    """A network of eight characters that has made up its mind."""
    model = unmask.MaskedDiffusion.from_pretrained(text_run)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.35 * torch.randn(parameter.shape, generator=generator)
    folder = tmp_path_factory.mktemp("harness") / "model"
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(model_folder):
    return unmask.MaskedDiffusion.from_pretrained(model_folder)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    """A folder of tasks of each type over local files."""
    folder = tmp_path_factory.mktemp("tasks")
    choices = [
        {"context": context, "choices": of, "answer": i % len(of)}
        for i, (context, of) in enumerate(QUESTIONS)
    ]
    rows = {
        "choices": choices,
        "words": [{"context": "the", "target": " fox"}, {"context": "la", "target": "zy"}],
        "texts": [{"text": text} for text in TEXTS],
        "prompts": [{"context": context} for context in PROMPTS],
    }
    said = {
        "choices": "output_type: multiple_choice\ndoc_to_text: '{{context}}'\n"
        "doc_to_target: answer\ndoc_to_choice: choices\ntarget_delimiter: ''\n",
        "words": "output_type: loglikelihood\ndoc_to_text: '{{context}}'\n"
        "doc_to_target: '{{target}}'\ntarget_delimiter: ''\n"
        "metric_list:\n  - metric: perplexity\n  - metric: acc\n",
        "texts": "output_type: loglikelihood_rolling\ndoc_to_text: ''\ndoc_to_target: '{{text}}'\n"
        "metric_list:\n  - metric: bits_per_byte\n  - metric: byte_perplexity\n",
        "prompts": "output_type: generate_until\ndoc_to_text: '{{context}}'\ndoc_to_target: 'a'\n"
        "generation_kwargs:\n  until: ['\\n\\n', 'e']\n  max_gen_toks: 4\n"
        "metric_list:\n  - metric: exact_match\n",
    }
    for name, lines in rows.items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / f"{name}.yaml").write_text(
            f"task: unmask_{name}\ndataset_path: json\n"
            f"dataset_kwargs:\n  data_files:\n    test: {data}\ntest_split: test\n{said[name]}"
        )
    return folder


def ids_of(model, text):
    alphabet = model.meta["data"]["tokenizer"]["alphabet"]
    return [alphabet.index(letter) for letter in text]


def exact(model, context, continuation):
    """The bound by enumeration, nats: the context loses its beginning."""
    x = ids_of(model, context + continuation)[-model.meta["length"] :]
    role = [SCORED if i >= len(x) - len(continuation) else GIVEN for i in range(len(x))]
    role = torch.tensor([role], dtype=torch.int8)
    return float(exact_nelbo(model, torch.tensor([x]), role=role).detach())


def surest(model, x, at):
    """The most probable id at a position, what follows being masked: a plain call."""
    z = torch.tensor([[*x[:at], *[model.mask_id] * (len(x) - at)]])
    with torch.no_grad():
        return int(model.predict(z)[0, at].argmax())


def evaluated(harness, tasks, name, **more):
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    return simple_evaluate(
        harness, tasks=[f"unmask_{name}"], task_manager=manager, bootstrap_iters=0, **more
    )


def test_choices_are_those_of_the_enumerated_model(model_folder, model, tasks, tmp_path):
    record = tmp_path / "a.json"
    harness = Harness(model_folder, repeats=512, dtype="float32", record=str(record))
    found = evaluated(harness, tasks, "choices")
    kept = json.loads(record.read_text())
    assert len(kept["scored"]) == 13 and kept["shortened"] == 2 and kept["repeats"] == 512
    assert kept["what"].startswith("log-likelihoods are bounds")
    costs = {(one["doc"], one["index"]): one for one in kept["scored"]}
    right = []
    for doc, (context, choices) in enumerate(QUESTIONS):
        blanks = len(context) - len(context.rstrip())
        moved = [context[len(context) - blanks :] + choice for choice in choices]
        bounds = [exact(model, context.rstrip(), choice) for choice in moved]
        for i, bound in enumerate(bounds):
            one = costs[doc, i]
            assert one["tokens"] == len(moved[i]) and 0 < one["noise"] < 0.5
            assert abs(one["nats"] - bound) < 5 * one["noise"], (context, choices[i])
        best = min(range(len(choices)), key=bounds.__getitem__)
        right.append(best == doc % len(choices))
        by_cost = sorted(set(bounds))
        assert by_cost[1] - by_cost[0] > 4 * max(costs[doc, i]["noise"] for i in range(2))
    assert found["results"]["unmask_choices"]["acc,none"] == sum(right) / len(right)
    assert 0 < sum(right) < len(right)
    assert costs[2, 0]["nats"] == costs[2, 1]["nats"]  # to the last bit
    assert costs[2, 0]["difference"] == costs[2, 1]["difference"]
    for doc, (_, choices) in enumerate(QUESTIONS):
        own = [costs[doc, i] for i in range(len(choices))]
        for one in own:
            least = min((o for o in own if o is not one), key=lambda other: other["nats"])
            assert one["than"] == least["index"]
            assert abs(one["difference"] - (one["nats"] - least["nats"])) < 1e-9
            assert one["resolved"] == (abs(one["difference"]) > 2.3646 * one["difference_noise"])
    noise = sum(one["noise"] for one in kept["scored"]) / 13
    assert kept["mean_noise"] == {"loglikelihood": pytest.approx(noise)}
    assert found["config"]["unmask"]["mean_noise"] == kept["mean_noise"]


def request(doc, context, continuation, index=0):
    arguments = (context, continuation)
    return Instance("loglikelihood", {}, arguments, index, metadata=("task", doc, 1))


def test_choices_of_a_document_share_masks(model_folder, monkeypatch):
    """And documents do not, whatever else is asked beside them."""
    harness = Harness(model_folder, repeats=8, dtype="float32", batch_size=2)
    seen = {}
    draw = harness.model.masked

    def masked(batch, at):
        for y, one in zip(batch.codes.tolist(), at.tolist()):
            seen.setdefault(tuple(y), []).append(tuple(one))
        return draw(batch, at)

    monkeypatch.setattr(harness.model, "masked", masked)
    asked = [request(3, "the", " fox"), request(3, "the", " dog", 1), request(4, "the", " cat")]
    first = harness.loglikelihood(asked)
    fox, dog, cat = (seen[tuple(ids_of(harness.model, f"the {w}"))] for w in ("fox", "dog", "cat"))
    assert len(fox) == 8 and fox == dog != cat
    again = harness.loglikelihood(asked[::-1])[::-1]
    assert [a for a, _ in again] == pytest.approx([a for a, _ in first], rel=1e-5)


def test_greedy_is_what_it_generates(model_folder, model, tasks):
    harness = Harness(model_folder, repeats=2, dtype="float32")
    x = [*ids_of(model, "the"), 0, 0, 0, 0]
    for at in range(3, 7):
        x[at] = surest(model, x, at)
    letters = model.meta["data"]["tokenizer"]["alphabet"]
    text = "".join(letters[i] for i in x[3:])
    other = text[:-1] + ("b" if text[-1] != "b" else "c")
    said = harness.loglikelihood([request(0, "the", text), request(0, "the", other)])
    assert [greedy for _, greedy in said] == [True, False]
    settings = {"until": [], "max_gen_toks": 4}
    (made,) = harness.generate_until([Instance("generate_until", {}, ("the", settings), 0)])
    assert made == text
    settings["until"] = ["never", text[2:], text[1:]]
    (made,) = harness.generate_until([Instance("generate_until", {}, ("the", settings), 0)])
    assert made == text[: text.find(text[1:])] and len(made) < text.find(text[2:])
    found = evaluated(harness, tasks, "words")["results"]["unmask_words"]
    assert found["acc,none"] == 0 and found["perplexity,none"] > 1
    found = evaluated(harness, tasks, "prompts", log_samples=True)
    texts = [one["resps"][0][0] for one in found["samples"]["unmask_prompts"]]
    assert all(len(one) <= 4 and "e" not in one for one in texts) and harness.shortened == 1


def test_a_precision_that_there_is_not_is_refused(model_folder):
    with pytest.raises(ValueError, match="dtype must be one of .*, not 'float16'"):
        Harness(model_folder, dtype="float16")


def test_of_a_context_at_least_its_end_is_read(model_folder, model):
    harness = Harness(model_folder, dtype="float32")
    for context, number in (("the dog", 7), ("", 8)):
        settings = {"until": [], "max_gen_toks": number}
        (made,) = harness.generate_until([Instance("generate_until", {}, (context, settings), 0)])
        start = 8 - number
        x = [*ids_of(model, context[-start:]), *[0] * number]
        for at in range(start, 8):
            x[at] = surest(model, x, at)
        assert ids_of(model, made) == x[start:]
    with pytest.raises(ValueError, match="asks for 8 tokens, and the model was trained at 8"):
        settings = {"until": [], "max_gen_toks": 8}
        harness.generate_until([Instance("generate_until", {}, ("the dog", settings), 0)])


def test_the_sampler_generates_by_the_law(model_folder, model):
    """One character after "the qui": its frequencies, beside the network's law."""
    harness = Harness(model_folder, dtype="float32", steps=1)
    settings = {"until": [], "max_gen_toks": 1, "do_sample": True, "temperature": 1.0}
    asked = [Instance("generate_until", {}, ("the qui", settings), i) for i in range(2000)]
    made = harness.generate_until(asked)
    z = torch.tensor([[*ids_of(model, "the qui"), model.mask_id]])
    with torch.no_grad():
        law = model.predict(z)[0, -1].exp()
    for letter, p in zip(model.meta["data"]["tokenizer"]["alphabet"], law.tolist()):
        assert abs(made.count(letter) / 2000 - p) < 5 * (p / 2000) ** 0.5 + 1e-3


def test_rolling_is_the_sum_of_windows(model_folder, model, tasks):
    harness = Harness(model_folder, repeats=512, dtype="float32")
    found = evaluated(harness, tasks, "texts")["results"]["unmask_texts"]
    bounds = [
        sum(exact(model, "", text[i : i + 8]) for i in range(0, len(text), 8)) for text in TEXTS
    ]
    for one, bound in zip(harness.scored, bounds):
        assert 0 < one["noise"] < 0.6 and abs(one["nats"] - bound) < 5 * one["noise"]
    # windows are drawn apart, so that their noises add up in squares
    one = Instance("loglikelihood_rolling", {}, ("",), 0, metadata=("task", 0, 1))
    assert number_of(one, 0) != number_of(one, 1)
    noise = sum(one["noise"] ** 2 for one in harness.scored) ** 0.5
    count = sum(map(len, TEXTS))
    bits = found["bits_per_byte,none"] * count * 0.6931472
    assert abs(bits - sum(bounds)) < 5 * noise


def test_the_folder_may_go_while_it_is_asked(model_folder, tmp_path):
    """A training that goes on deletes its older checkpoints."""
    folder, record = shutil.copytree(model_folder, tmp_path / "model"), tmp_path / "r.json"
    harness = Harness(folder, repeats=2, record=str(record))
    shutil.rmtree(folder)
    ask = Instance("loglikelihood", {}, ("the", " fox"), 0, metadata=("task", 0, 1))
    harness.loglikelihood([ask])
    kept = json.loads(record.read_text(encoding="utf-8"))
    assert kept["model_sha256"] == checkpoint.digest(model_folder / "model.safetensors")


def test_a_token_across_the_border_is_encoded_apart(model_folder):
    """As two pieces of the same text, not as a token twice or never."""
    import tokenizers

    from unmask.kinds.text.tokenizers import Subwords

    inner = tokenizers.models.BPE({"a": 0, "b": 1, "c": 2, "bc": 3}, [("b", "c")])
    harness = Harness(model_folder)
    harness.tokenizer = Subwords(tokenizers.Tokenizer(inner).to_str())
    given, scored = harness.split("ab", "c", "here")
    assert (given.tolist(), scored.tolist(), harness.apart) == ([0, 1], [2], 1)
    given, scored = harness.split("a", "bc", "here")
    assert (given.tolist(), scored.tolist(), harness.apart) == ([0], [3], 1)


def test_what_cannot_be_is_refused(model_folder, tasks, tmp_path, capsys):
    harness = Harness(model_folder, repeats=2)
    for ask, arguments, why in [
        (harness.loglikelihood, ("a", "the quick"), "document 7, request 0 has a continuation"),
        (harness.loglikelihood, ("a", ""), "has an empty continuation"),
        (harness.loglikelihood, ("a", "é"), "request 0: character 'é'"),
        (harness.loglikelihood_rolling, ("",), "has an empty text"),
        (harness.generate_until, ("a", {"max_gen_toks": 9}), "give --gen_kwargs max_gen_toks=4"),
        (harness.generate_until, ("a", {"max_gen_toks": "x"}), "asks for x tokens"),
        (harness.generate_until, ("a", {"min_p": 0.1}), "asks for min_p=0.1"),
        (harness.generate_until, ("a", {"do_sample": True, "top_p": 0.9}), "asks for top_p=0.9"),
    ]:
        with pytest.raises(ValueError, match=why):
            ask([Instance("", {}, arguments, 0, metadata=("task", 7, 1))])
    assert harness.scored == []
    for arguments, why in [
        ({"repeats": 1}, "repeats must be at least 2"),
        ({"batch_size": "many"}, "batch_size must be a number"),
        ({"record": str(tmp_path / "none" / "a")}, "there is no folder"),
        ({"sampler": "best"}, "sampler must be one of"),
    ]:
        with pytest.raises(ValueError, match=why):
            Harness(model_folder, **arguments)
    argv = ["--model", "unmask", "--include_path", tasks, "--tasks", "unmask_texts"]
    argv += ["--model_args", f"pretrained={tmp_path}/nothing"]
    assert main(["lm-eval", *map(str, argv)]) == 2
    assert "nothing" in capsys.readouterr().err
    for said, why in {
        f"pretrained={model_folder},repeat=64": "--model_args has repeat: it can have pretrained,",
        f"pretrained={model_folder},repeats=many": "repeats must be a whole number, not 'many'",
        "repeats=8": "--model_args names no model",
    }.items():
        assert main(["lm-eval", *map(str, argv[:-1]), said]) == 2
        assert why in capsys.readouterr().err


def test_arguments_go_before_flags(model_folder):
    """As the command hands them on, which always says a device and a size of batches."""
    flags = {"device": "cuda:0", "batch_size": 1, "max_batch_size": None}
    said = f"pretrained={model_folder},device=cpu,batch_size=3,trust_remote_code=True"
    harness = Harness.create_from_arg_string(said, flags)
    assert harness.device.type == "cpu" and harness.scorer.rows == 3


def test_what_the_network_does_not_know_is_refused_before_the_work(model_folder, tmp_path):
    model = unmask.MaskedDiffusion.from_pretrained(model_folder)
    letters = model.meta["data"]["tokenizer"]["alphabet"]
    allowed = torch.tensor([letter != "x" for letter in letters])
    without = unmask.MaskedDiffusion(
        model.backbone, model.schedule, model.subtokenizer, allowed=allowed, meta=model.meta
    )
    without.save_pretrained(tmp_path / "m")
    harness = Harness(tmp_path / "m", repeats=2)
    said = r"task, document 7, request 0 has 'x' \(value \d+\), which the network does not know"
    for ask, of_known, arguments in [
        (harness.loglikelihood, ("a", "b"), ("x", "a")),
        (harness.loglikelihood, ("a", "b"), ("a", "x")),
        (harness.loglikelihood_rolling, ("dog",), ("fox",)),
        (harness.generate_until, ("dog", {}), ("fox", {})),
    ]:
        known = Instance("", {}, of_known, 0, metadata=("task", 6, 1))
        with pytest.raises(ValueError, match=said):
            ask([known, Instance("", {}, arguments, 0, metadata=("task", 7, 1))])
    # what a context loses is not seen
    context = "x" + "a" * model.meta["length"]
    assert harness.loglikelihood([Instance("", {}, (context, "b"), 0, metadata=("task", 7, 1))])


def test_the_command(model_folder, tasks, tmp_path, capsys, caplog):
    record = tmp_path / "noise.json"
    argv = ["--model", "unmask", "--include_path", tasks, "--tasks", "unmask_choices,unmask_texts"]
    said = f"pretrained={model_folder},repeats=8,dtype=float32,record={record}"
    argv += ["--model_args", said, "--batch_size", "auto", "--device", "cpu"]
    assert main(["lm-eval", *map(str, argv)]) == 0
    assert "unmask_choices" in capsys.readouterr().out
    assert "13 bounds below the log-likelihood, by 8 draws of masks each; their" in caplog.text
    kept = json.loads(record.read_text())
    assert {one["question"] for one in kept["scored"]} == {"loglikelihood", "loglikelihood_rolling"}
