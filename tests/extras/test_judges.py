"""Causal language models of transformers as judges of samples: tiny ones with random weights."""

import json
import math

import numpy as np
import pytest
import tokenizers
import torch
import transformers

from unmask.cli.main import main
from unmask.data import open_data, prepare_proteins, prepare_text
from unmask.evaluation import judges
from unmask.evaluation.judges import Causal, open_judge
from unmask.kinds.quality import Example
from unmask.kinds.registry import kind_of

LETTERS = ["<s>", *"abcdefghijklmnopqrstuvwxyz. "]


def make_judge(folder, *, begin):
    """A GPT-2 of 16 positions over letters."""
    torch.manual_seed(0)
    vocabulary = {letter: i for i, letter in enumerate(LETTERS)}
    model = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="."))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")
    marks = {"bos_token": "<s>"} if begin else {}
    transformers.PreTrainedTokenizerFast(tokenizer_object=model, **marks).save_pretrained(folder)
    config = transformers.GPT2Config(
        vocab_size=len(LETTERS), n_positions=16, n_embd=16, n_layer=2, n_head=2,
        initializer_range=0.5, bos_token_id=0 if begin else None, eos_token_id=None,
    )  # fmt: skip
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    home = tmp_path_factory.mktemp("judged")
    (home / "t.txt").write_text("the quick brown fox jumps over the lazy dog. " * 200)
    prepare_text(home / "t.txt", home / "data", tokenizer="characters", progress=False)
    return home / "data"


@pytest.mark.parametrize("begin", [True, False])
def test_nats_are_those_of_one_text_after_another(tmp_path, begin):
    folder = make_judge(tmp_path / "gpt", begin=begin)
    judge = Causal(folder, torch.device("cpu"))
    texts = ["the quick fox", "a", "jumps over the lazy dog and over the fox again. "]
    rows = judge.rows([Example(text, np.zeros(0, np.int64)) for text in texts])
    assert [row.tolist() for row in rows] == [[LETTERS.index(c) for c in text] for text in texts]
    nats, tokens = judge.nats(rows)
    model = transformers.GPT2LMHeadModel.from_pretrained(folder).eval()
    size = 15 if begin else 16
    for row, found, number in zip(rows, nats, tokens):
        known, scored = 0.0, 0
        for first in range(0, len(row), size):
            ids = row[first : first + size].tolist()
            ids = [0, *ids] if begin else ids
            with torch.no_grad():
                logp = model(torch.tensor([ids])).logits[0].log_softmax(-1)
            known -= sum(float(logp[i, ids[i + 1]]) for i in range(len(ids) - 1))
            scored += len(ids) - 1
        assert found == pytest.approx(known, rel=1e-5) and number == scored
    said = "after its mark of a beginning" if begin else "without their first token"
    assert said in judge.what and "at most 16 tokens" in judge.what


@pytest.mark.parametrize("most", [3, 4, 100])
def test_logits_of_a_long_text_are_never_all_there(tmp_path, monkeypatch, most):
    """And the figures are the same."""
    judge = Causal(make_judge(tmp_path / "gpt", begin=True), torch.device("cpu"))
    assert judge.keeps
    rows = [np.arange(1, 15) % 28, np.arange(1, 40) % 28, np.array([5])]
    known, forward = judge.nats(rows), judge.model.forward
    widths = []

    def watched(*args, **named):
        told = forward(*args, **named)
        widths.append(told.logits.shape[0] * told.logits.shape[1])
        return told

    monkeypatch.setattr(judges, "AT_A_TIME", most)
    monkeypatch.setattr(judge.model, "forward", watched)
    nats, tokens = judge.nats(rows)
    assert max(widths) <= most and nats.tolist() == pytest.approx(known[0].tolist(), rel=1e-5)
    assert tokens.tolist() == known[1].tolist() == [14, 39, 1]
    judge.keeps = False
    widths.clear()
    assert judge.nats(rows)[0].tolist() == pytest.approx(known[0].tolist(), rel=1e-5)


def test_a_network_that_keeps_nothing_reads_a_text_at_once(tmp_path, monkeypatch):
    folder = make_judge(tmp_path / "gpt", begin=True)
    config = transformers.OpenAIGPTConfig(
        vocab_size=len(LETTERS), n_positions=16, n_embd=16, n_layer=1, n_head=2
    )
    transformers.OpenAIGPTLMHeadModel(config).save_pretrained(folder)
    judge = Causal(folder, torch.device("cpu"))
    rows = [np.arange(1, 15)]
    known = judge.nats(rows)[0]
    monkeypatch.setattr(judges, "AT_A_TIME", 4)
    assert not judge.keeps and judge.nats(rows)[0].tolist() == known.tolist()


def test_a_judge_of_few_tokens_is_checked(tmp_path):
    folder = make_judge(tmp_path / "gpt", begin=True)
    config = transformers.GPT2Config(
        vocab_size=3, n_positions=16, n_embd=16, n_layer=1, n_head=2, bos_token_id=0
    )
    transformers.GPT2LMHeadModel(config).save_pretrained(folder)
    judge = Causal(folder, torch.device("cpu"))
    nats, tokens = judge.nats([np.array([1, 2, 1])])
    assert tokens.tolist() == [3] and 0 < nats[0] < 20


def test_the_command_prints_both_figures(prepared, tmp_path, capsys):
    folder = make_judge(tmp_path / "gpt", begin=True)
    texts = ["the quick brown fox jumps", "over the lazy dog. the qu", "fox fox fox fox fox fox f"]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "s.jsonl").write_text(lines, encoding="utf-8")
    flags = ["--data", str(prepared), "--json", str(tmp_path / "q.json"), "--dtype", "float32"]
    flags += ["--perplexity", str(folder)]
    assert main(["quality", str(tmp_path / "s.jsonl"), *flags]) == 0
    said = capsys.readouterr().out
    assert "generative perplexity" in said and "entropy of its tokens" in said
    assert "temperature unknown, top-p unknown, precision unknown" in said
    record = json.loads((tmp_path / "q.json").read_text(encoding="utf-8"))
    assert set(record["perplexity"]["model_sha256"]) == {"model.safetensors"}
    judge = Causal(folder, torch.device("cpu"))
    nats, tokens = judge.nats(judge.rows([Example(text, np.zeros(0)) for text in texts]))
    value = record["measures"]["generative_perplexity"]["samples"]["value"]
    assert value == pytest.approx(math.exp(nats.sum() / tokens.sum()))


def test_a_judge_rounds_only_if_it_is_asked_to(prepared, tmp_path, monkeypatch):
    """Whatever the precision of other commands is."""
    monkeypatch.setenv("UNMASK_DTYPE", "bfloat16")
    folder, out = make_judge(tmp_path / "gpt", begin=True), tmp_path / "q.json"
    (tmp_path / "s.jsonl").write_text('{"text": "the quick fox"}\n{"text": "a dog"}\n')
    flags = ["--data", str(prepared), "--json", str(out), "--perplexity", str(folder)]
    found = {}
    for name, more in (("plain", []), ("float32", ["--dtype", "float32"]),
                       ("bfloat16", ["--dtype", "bfloat16"])):  # fmt: skip
        assert main(["quality", str(tmp_path / "s.jsonl"), *flags, *more]) == 0
        record = json.loads(out.read_text(encoding="utf-8"))
        told = record["perplexity"]["dtype"]
        assert any(f", in {told}" in note for note in record["notes"])
        found[name] = told, record["measures"]["generative_perplexity"]["samples"]["value"]
    assert found["plain"] == found["float32"] and found["plain"][0] == "float32"
    assert found["bfloat16"][0] == "bfloat16" and found["bfloat16"][1] != found["plain"][1]


def test_what_is_no_causal_model_is_refused(prepared, tmp_path):
    data = open_data(prepared)
    kind = kind_of(data.meta, data.folder)
    folder = make_judge(tmp_path / "gpt", begin=True)
    weights = (folder / "model.safetensors").read_bytes()

    def refused():
        with pytest.raises(ValueError, match="holds no causal language model") as error:
            open_judge(folder, kind, torch.device("cpu"))
        assert len(str(error.value).splitlines()) == 1

    (folder / "model.safetensors").write_bytes(weights[:100])
    refused()
    (folder / "model.safetensors").unlink()
    torch.save({}, folder / "pytorch_model.bin")  # a pickle is not read
    refused()
    (folder / "pytorch_model.bin").unlink()
    (folder / "model.safetensors").write_bytes(weights)
    # of other versions of these libraries, which raise errors of their own
    for name, change in {
        "config.json": {"n_layer": "2"},
        "tokenizer.json": {"model": {"type": "New"}},
    }.items():
        whole = (folder / name).read_text()
        (folder / name).write_text(json.dumps(json.loads(whole) | change))
        refused()
        (folder / name).write_text(whole)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match="has no tokenizer"):
        open_judge(folder, kind, torch.device("cpu"))


def test_text_that_the_judge_cannot_read_is_refused(tmp_path):
    folder = make_judge(tmp_path / "gpt", begin=True)
    judge = Causal(folder, torch.device("cpu"))
    judge.tokenizer.unk_token = "."
    with pytest.raises(ValueError, match="50% of the tokens .* name a model of such texts"):
        judge.rows([Example("abABab..", np.zeros(0))])
    judge.model.config.vocab_size = 5
    with pytest.raises(ValueError, match="has an id 26, and the judging model 5 rows"):
        judge.rows([Example("xyz", np.zeros(0))])


def test_a_mark_that_stands_for_what_is_not_known_too_is_read(tmp_path):
    """GPT-2's <|endoftext|> is all three of its marks."""
    judge = Causal(make_judge(tmp_path / "gpt", begin=True), torch.device("cpu"))
    judge.tokenizer.unk_token = "<s>"
    (row,) = judge.rows([Example("ab<s>cd<s>", np.zeros(0))])
    assert row.tolist() == [1, 2, 0, 3, 4, 0]
    judge.begin, judge.tokenizer.eos_token = None, "<s>"
    assert judge.rows([Example("ab<s>cd<s>", np.zeros(0))])[0].tolist() == row.tolist()
    judge.tokenizer.eos_token = "."
    with pytest.raises(ValueError, match="33% of the tokens"):
        judge.rows([Example("ab<s>cd<s>", np.zeros(0))])


def test_a_network_of_pictures_and_texts_judges_texts(tmp_path):
    """Gemma 3, whose configuration has what is of texts in a part of its own."""
    folder = make_judge(tmp_path / "gemma", begin=True)
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    text = {
        "vocab_size": len(LETTERS), "max_position_embeddings": 20, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 8, "sliding_window": 8,
    }  # fmt: skip
    vision = {"image_size": 8, "patch_size": 4, "num_attention_heads": 2}
    config = transformers.Gemma3Config(
        text_config={**small, **text}, vision_config={**small, **vision}, mm_tokens_per_image=4
    )
    transformers.Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    judge = Causal(folder, torch.device("cpu"))
    rows = judge.rows([Example("the quick fox jumps over", np.zeros(0))])
    nats, tokens = judge.nats(rows)
    assert judge.most == 20 and tokens.tolist() == [24] and 0 < nats[0] < math.inf
    assert judge.features(rows).shape == (1, 16)


def test_residues_that_are_not_known_are_letters_to_a_judge_of_texts(tmp_path, capsys):
    random = np.random.default_rng(0)
    proteins = ["".join(random.choice(list("ACDEFGHIKLMNPQRSTVWY"), 30)) for _ in range(60)]
    records = "".join(f">{i}\n{one}\n" for i, one in enumerate(proteins))
    (tmp_path / "all.fasta").write_text(records)
    prepare_proteins(tmp_path / "all.fasta", tmp_path / "data", split="40,0,20", progress=False)
    folder = make_judge(tmp_path / "gpt", begin=True)
    flags = ["--data", str(tmp_path / "data"), "--perplexity", str(folder)]
    for name, content in (("known", records), ("unknown", ">1\nACDXX\n>2\nMKX\n")):
        (tmp_path / f"{name}.fasta").write_text(content)
        assert main(["quality", str(tmp_path / f"{name}.fasta"), *flags]) == 0
        told = "3 residues that are not known are letters to the judging model"
        assert (told in capsys.readouterr().out) == (name == "unknown")


def test_a_network_that_looks_ahead_and_one_without_a_head_are_refused(tmp_path):
    folder = make_judge(tmp_path / "bert", begin=True)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(
        vocab_size=len(LETTERS), intermediate_size=16, initializer_range=0.5, **small
    )
    transformers.BertForMaskedLM(config).save_pretrained(folder)
    with pytest.raises(ValueError, match="sees what comes after a token"):
        Causal(folder, torch.device("cpu"))
    transformers.BertModel(config).save_pretrained(folder)
    with pytest.raises(ValueError, match="lacks weights, such as .* which would be random"):
        Causal(folder, torch.device("cpu"))
