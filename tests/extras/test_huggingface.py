"""Masked language models of transformers, against themselves: tiny ones with random weights.

What is compared is the original, called as its authors call it: ids of its own vocabulary, marks
put in by hand, a row at a time.
"""

import itertools
import json
import math
import os
import shutil
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import tokenizers
import torch
import transformers

import unmask
from unmask import checkpoint
from unmask.audit import exact_nelbo
from unmask.backbones import families, from_transformers
from unmask.cli.main import main
from unmask.data import prepare_proteins, prepare_text
from unmask.device import precision
from unmask.importers.sources import SOURCES, read
from unmask.kinds.proteins.residues import COMMON, LETTERS
from unmask.train.begin import check_values

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
}  # fmt: skip
# in orders of their own
BERTS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *COMMON]
ESMS = ["<cls>", "<pad>", "<eos>", "<unk>", *"LAGVSERTIDPKQNFYMHWCXBUZO.-", "<null_1>", "<mask>"]
WORDS = ["the", "fox", "dog", "quick", "lazy", "jumps", "over", "brown", "a", "##s", "[unused1]"]
FAMILIES = {
    "bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta", "camembert": "Camembert",
    "esm": "Esm", "modernbert": "ModernBert", "distilbert": "DistilBert", "electra": "Electra",
}  # fmt: skip


def network(family, rows, pad=0, **more):
    """One with random weights, none of them small."""
    sizes = SMALL | {"vocab_size": rows, "pad_token_id": pad, "max_position_embeddings": 40} | more
    if family == "distilbert":
        names = ("dim", "n_layers", "n_heads", "hidden_dim")
        sizes = dict(zip(names, SMALL.values())) | {
            name: sizes[name] for name in sizes if name not in SMALL
        }
    if family == "modernbert":
        sizes |= dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))
    name = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**sizes)
    made = getattr(transformers, f"{name}ForMaskedLM")(config).eval()
    generator = torch.Generator().manual_seed(1)
    for weights in made.parameters():
        weights.data = torch.randn(weights.shape, generator=generator) * 0.3
    return made


def residues(folder, family="bert", **more):
    """A folder of residues as transformers saves it, and the original."""
    entries, pad = (ESMS, 1) if family == "esm" else (BERTS, 0)
    if family == "esm":
        more = {"position_embedding_type": "rotary", "mask_token_id": 32} | more
    original = network(family, len(entries) + 2, pad, **more)  # two rows that nobody uses
    original.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(entries) + "\n")
    return original


def words(folder, family="bert", **more):
    """A folder of words, with a tokenizer.json, and the original."""
    special = BERTS[:5]
    entries = {entry: i for i, entry in enumerate([*special, *WORDS])}
    model = tokenizers.Tokenizer(tokenizers.models.WordPiece(entries, unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    model.decoder = tokenizers.decoders.WordPiece()
    model.add_special_tokens(special)
    model.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    original = network(family, len(entries) + 3, **more)
    original.save_pretrained(folder)
    model.save(str(folder / "tokenizer.json"))
    return original


def imported(folder, name="huggingface", **flags):
    return read(name, folder, SOURCES[name].Flags(**flags)).model


def said(original, ids):
    """(S, rows) of one sequence of rows between its marks."""
    begin, end = (0, 2) if original.config.model_type == "esm" else (2, 3)
    with torch.no_grad():
        return original(torch.tensor([[begin, *ids, end]])).logits[0, 1:-1]


def rows_of(model):
    """The number there of each id here, the mask's last."""
    entries = ESMS if model.backbone.family == "esm" else BERTS
    mask = "<mask>" if model.backbone.family == "esm" else "[MASK]"
    return [entries.index(letter) if letter in entries else None for letter in LETTERS] + [
        entries.index(mask)
    ]


def run(*argv):
    """(exit code, standard output, standard error) of a command."""
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(one) for one in argv])
    return code, out.getvalue(), err.getvalue()


def some(model, *shape, seed=0, hidden=0.4):
    """z (B, S): random residues, some of them masked."""
    generator = torch.Generator().manual_seed(seed)
    known = model.allowed.nonzero()[:, 0]
    x = known[torch.randint(len(known), shape, generator=generator)]
    return x.masked_fill(torch.rand(shape, generator=generator) < hidden, model.mask_id)


class Tokenizer:
    """What `from_transformers` asks of one."""

    def __init__(self, marks=(2, 3), entries=(*BERTS[:5], *WORDS), mask=4):
        self.marks, self.entries, self.mask_token_id = list(marks), entries, mask
        self.all_special_ids = [0, 1, 2, 3, mask]

    def get_vocab(self):
        return {entry: i for i, entry in enumerate(self.entries)}

    def encode(self, text):
        return self.marks


@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_those_of_the_original(tmp_path, family):
    original = residues(tmp_path, family)
    model = imported(tmp_path)
    row, values = rows_of(model), model.allowed.nonzero()[:, 0]
    assert [LETTERS[i] for i in values] == list(LETTERS if family == "esm" else COMMON)
    z, size = some(model, 4, 9), torch.tensor([9, 9, 4, 1])
    valid = torch.arange(9) < size[:, None]
    columns = [row[i] for i in values]
    with torch.no_grad():
        alone = model.backbone(z)
        padded = model.backbone(z.where(valid, model.mask_id), valid=valid)
    for b in range(4):
        ids = [row[i] for i in z[b].tolist()]
        assert torch.allclose(alone[b][:, values], said(original, ids)[:, columns], atol=1e-5)
        ids = ids[: size[b]]
        ours = padded[b, : size[b]][:, values]
        assert torch.allclose(ours, said(original, ids)[:, columns], atol=1e-5)


def test_positions_of_sines_are_read_and_not_computed(tmp_path):
    """Their table of the sizes below would take minutes, number by number."""
    original = residues(tmp_path, "distilbert", sinusoidal_pos_embds=True)
    model = imported(tmp_path)
    row, z = rows_of(model), some(model, 1, 9)
    values = model.allowed.nonzero()[:, 0]
    theirs = said(original, [row[i] for i in z[0].tolist()])[:, [row[i] for i in values]]
    with torch.no_grad():
        assert torch.allclose(model.backbone(z)[0][:, values], theirs, atol=1e-5)
    fields = model.config["backbone"]["config"]["fields"]
    assert fields["sinusoidal_pos_embds"] is True
    large = {"dim": 1 << 12, "max_position_embeddings": 1 << 13}
    began = time.process_time()
    made = families.build(families.FAMILIES["distilbert"], fields | large)
    assert time.process_time() < began + 5
    assert made.distilbert.embeddings.position_embeddings.weight.is_meta


@pytest.mark.parametrize("family", ["bert", "esm"])
def test_what_is_not_known_is_hidden_from_attention(tmp_path, family):
    """A position without a value in the middle, and at the end."""
    original = residues(tmp_path, family)
    model = imported(tmp_path)
    row, z = rows_of(model), some(model, 1, 8)
    valid = torch.tensor([[True, True, False, True, True, True, False, False]])
    begin, end = (0, 2) if family == "esm" else (2, 3)
    with torch.no_grad():
        ours = model.backbone(z.where(valid, model.mask_id), valid=valid)[0]
        ids = [row[i] for i in z[0, :6].tolist()]
        there = torch.tensor([[1, 1, 1, 0, 1, 1, 1, 1]])
        theirs = original(torch.tensor([[begin, *ids, end]]), attention_mask=there).logits[0, 1:-1]
    known = [i for i in range(22) if row[i] is not None]
    for s in (0, 1, 3, 4, 5):
        assert torch.allclose(ours[s, known], theirs[s, [row[i] for i in known]], atol=1e-5)


def test_a_piece_of_a_sequence_has_no_mark_where_it_was_cut(tmp_path):
    original = residues(tmp_path, "esm")
    model = imported(tmp_path)
    row, z = rows_of(model), some(model, 1, 7)
    for first, last in itertools.product((False, True), repeat=2):
        marks = [0] * first, [2] * last
        ids = [*marks[0], *(row[i] for i in z[0].tolist()), *marks[1]]
        with torch.no_grad():
            ours = model.backbone(z, ends=torch.tensor([[first, last]]))[0]
            theirs = original(torch.tensor([ids])).logits[0]
        theirs = theirs[first : len(ids) - last, row[:22]]
        assert torch.allclose(ours, theirs, atol=1e-5), (first, last)
    nothing = torch.zeros(1, 7, dtype=torch.bool)
    with torch.no_grad():
        assert model.backbone(z, valid=nothing, ends=nothing[:, :2]).isfinite().all()


def test_token_dropout_is_off_and_what_was_learned_under_it_stays(tmp_path):
    """Of 25 tokens 3 are masked, 12 %, at which the original multiplies by 1."""
    original = residues(tmp_path, "esm", token_dropout=True)
    model = imported(tmp_path)
    z = some(model, 1, 23, hidden=0)
    z[0, [3, 8, 15]] = model.mask_id
    row = rows_of(model)
    theirs = said(original, [row[i] for i in z[0].tolist()])[:, row[:22]]
    with torch.no_grad():
        assert torch.allclose(model.backbone(z)[0], theirs, atol=1e-5)
    config = model.config["backbone"]["config"]["fields"]
    assert "token_dropout" not in config
    # and of a network that is given in Python
    network = from_transformers(original, Tokenizer((0, 2), ESMS, 32))
    ids = torch.tensor([[row[i] if i != model.mask_id else network.vocab_size for i in z[0]]])
    with torch.no_grad():
        assert torch.allclose(network(ids)[0][:, row[:22]], theirs, atol=1e-5)
        hidden = network(torch.full((1, 4), network.vocab_size))[0][:, row[:22]]
        ours = model.backbone(torch.full((1, 4), model.mask_id))[0]
        assert torch.allclose(hidden, ours, atol=1e-5)


def test_token_dropout_is_that_of_the_network_and_not_of_its_configuration(tmp_path):
    """The module has a copy of its own; a second wrapping keeps what was learned meanwhile."""
    original = residues(tmp_path, "esm", token_dropout=True)
    embeddings, tokenizer = original.esm.embeddings, Tokenizer((0, 2), ESMS, 32)
    original.config.token_dropout = False
    from_transformers(original, tokenizer)
    assert embeddings.token_dropout is False
    original.config.token_dropout = True
    embeddings.word_embeddings.weight.data[32] = 1
    from_transformers(original, tokenizer)
    assert bool((embeddings.word_embeddings.weight[32] == 1).all())


@pytest.mark.parametrize("family", ["bert", "esm"])
def test_the_bound_is_the_sum_over_all_masks(tmp_path, family):
    """sum over k of 1/k times the mean, over the sets of k hidden positions, of what they pay."""
    original = residues(tmp_path, family)
    model = imported(tmp_path)
    row, x = rows_of(model), some(model, 1, 4, hidden=0)
    known = [r for r in row[:22] if r is not None]
    size, expected = x.shape[1], 0.0
    for k in range(1, size + 1):
        paid = []
        for hidden in itertools.combinations(range(size), k):
            ids = [row[-1] if s in hidden else row[i] for s, i in enumerate(x[0].tolist())]
            logp = said(original, ids)[:, known].double().log_softmax(-1)
            paid.append(sum(-logp[s, known.index(row[x[0, s]])] for s in hidden))
        expected += float(sum(paid)) / len(paid) / k
    assert abs(float(exact_nelbo(model, x)[0].detach()) - expected) < 1e-4
    drawn = unmask.estimate_nelbo(model, [x.repeat(64, 1)], repeats=8)
    assert abs(drawn.mean - expected) < 6 * drawn.noise + 1e-6


@pytest.mark.parametrize("family", FAMILIES)
def test_a_saved_model_needs_nothing_of_the_folder_it_came_from(tmp_path, family):
    residues(tmp_path / "there", family)
    model = imported(tmp_path / "there")
    code, out, err = run("import", "huggingface", tmp_path / "there", tmp_path / "here")
    assert code == 0, err
    assert f"{family}, " in out and "stands between" in out
    shutil.rmtree(tmp_path / "there")
    again = unmask.MaskedDiffusion.from_pretrained(tmp_path / "here")
    assert not any(t.is_meta for t in itertools.chain(again.parameters(), again.buffers()))
    z = some(model, 3, 6)
    with torch.no_grad():
        assert torch.equal(again.backbone(z), model.backbone(z))
    # one weight is one weight: of embeddings and head
    count = sum(p.numel() for p in again.parameters())
    assert count == sum(p.numel() for p in model.parameters())
    again.train()
    again(some(model, 2, 5, hidden=0)).loss.backward()
    lost = [n for n, p in again.named_parameters() if p.grad is None and p.requires_grad]
    assert not lost
    assert torch.equal(again.allowed, model.allowed)


def test_half_precision(tmp_path):
    """Weights in bfloat16 are read as they are; a network under bfloat16 says about the same."""
    original = residues(tmp_path)
    original.to(torch.bfloat16).save_pretrained(tmp_path)
    model = imported(tmp_path)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    theirs = original.bert.embeddings.word_embeddings.weight
    assert torch.equal(
        model.backbone.network.bert.embeddings.word_embeddings.weight, theirs.float()
    )
    x = some(model, 32, 10, hidden=0)
    whole = unmask.estimate_nelbo(model, [x]).mean
    with precision("bfloat16", torch.device("cpu")):
        half = unmask.estimate_nelbo(model, [x]).mean
    assert half != whole and abs(half / whole - 1) < 0.02


def test_the_weights_of_a_bin_and_of_several_files(tmp_path):
    original = residues(tmp_path)
    model = imported(tmp_path)
    z = some(model, 2, 6)
    for made in ("bin", "shards", "older"):
        folder = tmp_path / made
        folder.mkdir()
        for name in ("config.json", "vocab.txt"):
            shutil.copy(tmp_path / name, folder)
        state = original.state_dict()
        if made == "shards":
            original.save_pretrained(folder, max_shard_size="8KB")
            assert len(list(folder.glob("model-*.safetensors"))) > 1
        if made == "older":  # as BERT's first checkpoints, with parts of another task
            old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
            for now, before in old.items():
                state = {name.replace(now, before): one for name, one in state.items()}
            del state["cls.predictions.decoder.weight"], state["cls.predictions.decoder.bias"]
            state["bert.embeddings.position_ids"] = torch.arange(40)[None]
            state["bert.pooler.dense.weight"] = torch.zeros(16, 16)
        if made != "shards":
            torch.save(state, folder / "pytorch_model.bin")
        with torch.no_grad():
            assert torch.equal(imported(folder).backbone(z), model.backbone(z)), made


def saved_again(folder, state):
    """The same folder, with these weights as a .bin."""
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")


def test_positions_that_older_versions_saved_of_esm_are_left_out(tmp_path):
    """They saved a table beside the rotary ones, which nothing reads."""
    original = residues(tmp_path, "esm")
    unused = {"esm.embeddings.position_embeddings.weight": torch.ones(40, 16)}
    saved_again(tmp_path, original.state_dict() | unused)
    found = read("huggingface", tmp_path, SOURCES["huggingface"].Flags())
    assert found.said[-1].endswith("language model: esm.embeddings.position_embeddings")
    row, z = rows_of(found.model), some(found.model, 1, 9)
    with torch.no_grad():
        ours = found.model.backbone(z)[0]
    theirs = said(original, [row[i] for i in z[0].tolist()])[:, row[:22]]
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("places", ["", "encoder.layer.{}.attention.self."])
def test_rotary_frequencies_are_those_of_training(tmp_path, places):
    """ESM-2's are rounded; here they are others altogether, so that it shows.  Older versions kept
    them in each layer."""
    made = residues(tmp_path, "esm")
    state = made.state_dict()
    computed = state.pop("esm.rotary_embeddings.inv_freq")
    for layer in range(2):
        name = f"esm.{places.format(layer)}rotary_embeddings.inv_freq"
        state[name] = 1.1 * computed
    saved_again(tmp_path, state)
    original = transformers.EsmForMaskedLM.from_pretrained(tmp_path)
    model = imported(tmp_path)
    row, z = rows_of(model), some(model, 1, 30)
    ids = [row[i] for i in z[0].tolist()]
    with torch.no_grad():
        ours, theirs = model.backbone(z)[0], said(original, ids)[:, row[:22]]
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert not torch.allclose(ours, said(made, ids)[:, row[:22]], atol=1e-2)


# ---------------------------------------------------------------- verbs


def test_every_verb_takes_a_model_of_residues(tmp_path):
    residues(tmp_path / "there")
    assert run("import", "huggingface", tmp_path / "there", tmp_path / "m")[0] == 0
    shutil.rmtree(tmp_path / "there")
    fasta = "".join(f">{i}\nMKVL{COMMON[i:]}{COMMON[:i]}\n" for i in range(20))
    (tmp_path / "a.fasta").write_text(fasta)
    data = tmp_path / "data"
    prepare_proteins(tmp_path / "a.fasta", data, split="12,4,4", progress=False)
    code, out, err = run("eval", tmp_path / "m", "--data", data, "--json", tmp_path / "e.json")
    assert code == 0, err
    assert "bits per residue: an upper bound" in out
    model = unmask.MaskedDiffusion.from_pretrained(tmp_path / "m")
    batches = list(unmask.data.open_data(data).windows("test", 38, 64))
    bound = unmask.estimate_nelbo(model, batches)
    value = json.loads((tmp_path / "e.json").read_text())["value"]
    assert math.isclose(value, bound.bits_per_dim, rel_tol=0.02)  # it may be in bfloat16
    code, out, err = run("sample", tmp_path / "m", "--num", 3, "--length", 12, "--steps", 4)
    assert code == 0 and not {"U", "O"} & set("".join(out.splitlines()[1::2])), err
    (tmp_path / "in.fasta").write_text(">a\nMK--VL[MASK:3]A\n")
    code, out, err = run("fill", tmp_path / "m", tmp_path / "in.fasta", "--num", 2)
    assert code == 0 and out.count("nats=") == 2, err
    code, out, err = run("audit", tmp_path / "m", "--data", data, "--limit", 4, "--enumerate", 4)
    assert code == 0 and "all 13 passed" in out, out + err
    # of windows as long as the network has positions for, without room for padding
    code, out, err = run("audit", tmp_path / "m", "--limit", 2, "--enumerate", 4)
    assert code == 0 and "padding: predictions with more of it" in out, out + err
    tune = (
        "train", "tune-protein", "--data", data, "--out", tmp_path / "run", "--steps", 2,
        "--batch-size", 2, "--length", 24, "--eval-windows", 4,
    )  # fmt: skip
    code, out, err = run(*tune, "--from", tmp_path / "m")
    assert code == 0, err
    code, out, err = run(*tune, "--from", tmp_path / "m")
    assert code == 0 and "this run is finished" in err
    trained = unmask.MaskedDiffusion.from_pretrained(tmp_path / "run")
    assert trained.meta["from"] == checkpoint.digest(tmp_path / "m" / "model.safetensors")
    name = "network.bert.encoder.layer.0.output.dense.weight"
    assert not torch.equal(trained.backbone.get_parameter(name), model.backbone.get_parameter(name))
    assert run("eval", tmp_path / "run", "--data", data, "--limit", 2)[0] == 0
    code, _, err = run(*tune)
    assert code == 2 and "began with other weights (--from)" in err
    code, _, err = run(*tune, "--from", tmp_path / "m", "--dim", 8)
    assert code == 2 and "--dim 8: with --from it is as in that model" in err
    code, _, err = run(*tune, "--from", tmp_path / "m", "--recompute")
    assert code == 2 and "are for blocks of this package's networks" in err


def test_every_verb_takes_a_model_of_text(tmp_path):
    words(tmp_path / "there")
    code, out, err = run("import", "huggingface", tmp_path / "there", tmp_path / "m")
    assert code == 0, err
    assert "10 of the 16 values of its tokenizer (subwords) can be drawn" in out
    lines = ["the quick brown fox jumps over a lazy dog", "a dog jumps", "the foxs"] * 8
    content = "".join(json.dumps({"text": line}) + "\n" for line in lines)
    (tmp_path / "a.jsonl").write_text(content)
    data = tmp_path / "data"
    meta = prepare_text(
        tmp_path / "a.jsonl", data, tokenizer=str(tmp_path / "m"), split="90,15,15", progress=False
    )
    assert meta["documents"] == "apart" and meta["eot"] is None
    assert run("eval", tmp_path / "m", "--data", data)[0] == 0
    code, out, err = run("sample", tmp_path / "m", "--num", 4, "--length", 6, "--steps", 3)
    assert code == 0 and "[" not in out, err
    (tmp_path / "in.txt").write_text("the [MASK:2] fox")
    code, out, err = run("fill", tmp_path / "m", tmp_path / "in.txt")
    assert code == 0 and out.startswith("the ") and "[" not in out, err
    code, out, err = run(
        "train", "tune-text", "--from", tmp_path / "m", "--data", data, "--out", tmp_path / "run",
        "--steps", 1, "--batch-size", 2, "--length", 8, "--eval-windows", 4,
    )  # fmt: skip
    assert code == 0, err
    # what has a special token or one that is not known is refused before any work
    (tmp_path / "b.jsonl").write_text('{"text": "the wolf"}\n{"text": "a dog"}\n{"text": "a"}\n')
    prepare_text(
        tmp_path / "b.jsonl", tmp_path / "b", tokenizer=str(tmp_path / "m"), split="0.4,0.4,0.2",
        progress=False,
    )  # fmt: skip
    code, _, err = run("eval", tmp_path / "m", "--data", tmp_path / "b")
    assert code == 2 and "'[UNK]' (value 1), which the network does not know" in err


def test_data_of_letters_that_the_network_does_not_have_are_refused(tmp_path):
    residues(tmp_path / "there")
    model = imported(tmp_path / "there")
    (tmp_path / "a.fasta").write_text(">a\nMKVL\n>b\nMKVU\n>c\nMK\n")
    prepare_proteins(tmp_path / "a.fasta", tmp_path / "data", split="1,1,1", progress=False)
    with pytest.raises(ValueError, match=r"has U \(value 20\), which the network does not know"):
        check_values(model, unmask.data.open_data(tmp_path / "data"))
    with pytest.raises(ValueError, match="value 20, at position 1 .* is none that this network"):
        model(torch.tensor([[0, 20]]))


# ---------------------------------------------------------------- from Python


def test_a_network_of_transformers_in_python(tmp_path):
    words(tmp_path)
    original = transformers.BertForMaskedLM.from_pretrained(tmp_path)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tmp_path / "tokenizer.json"),
        mask_token="[MASK]", pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]",
    )  # fmt: skip
    network = from_transformers(original, tokenizer)
    model = unmask.MaskedDiffusion(
        network, unmask.schedules.Cosine(), unmask.Subtokenizer(network.vocab_size)
    ).eval()
    assert network.length == 38 and not model.uses_time
    assert model.allowed.nonzero()[:, 0].tolist() == list(range(5, 15))
    ids = tokenizer("the fox jumps", add_special_tokens=False)["input_ids"]
    z = torch.tensor([ids])
    z[0, 1] = model.mask_id
    with torch.no_grad():
        theirs = original(**tokenizer("the [MASK] jumps", return_tensors="pt")).logits[0, 1:-1, :16]
        logp = theirs[1, 5:15].log_softmax(-1)
        assert torch.allclose(model.predict(z)[0, 1, 5:15], logp, atol=1e-5)
    model.save_pretrained(tmp_path / "m")
    again = unmask.MaskedDiffusion.from_pretrained(tmp_path / "m")
    with torch.no_grad():
        assert torch.equal(again.predict(z), model.predict(z))


@pytest.mark.parametrize("marks", [(2, 3), ()])
def test_any_module_in_python(marks):
    """One that gives logits themselves; without marks, too."""
    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Embedding(16, 8), torch.nn.Linear(8, 16))
    network = from_transformers(plain, Tokenizer(marks), most=len(marks) + 5)
    z = torch.tensor([[5, 16, 7]])
    theirs = plain(torch.tensor([[5, 4, 7]]))
    torch.testing.assert_close(network(z)[..., 5:15], theirs[..., 5:15])
    model = unmask.MaskedDiffusion(network, unmask.schedules.Linear(), unmask.Subtokenizer(16))
    assert model.allowed.sum() == 10 and unmask.sample(model, num=2, length=5, steps=2).min() > 4
    with pytest.raises(ValueError, match="Sequential does not take: give whole examples"):
        network(z, valid=torch.tensor([[True, True, False]]))
    with pytest.raises(ValueError, match="6 tokens are more than the 5"):
        unmask.sample(model, num=2, length=6, steps=2)
    with pytest.raises(ValueError, match="the network has 8 rows, and its vocab"):
        from_transformers(torch.nn.Embedding(16, 8), Tokenizer(marks))(z)
    with pytest.raises(ValueError, match="one on each side is what is known"):
        from_transformers(plain, Tokenizer([2]))
    nobody = Tokenizer()
    nobody.mask_token_id = None
    with pytest.raises(ValueError, match="the tokenizer has no mask"):
        from_transformers(plain, nobody)


def test_a_tokenizer_of_more_entries_than_the_network_has_rows():
    with pytest.raises(ValueError, match="has 16 rows, and its vocabulary has a row 16: give"):
        from_transformers(network("bert", 16), Tokenizer(entries=(*BERTS[:5], *WORDS, "more")))
    esm = network("esm", 16, token_dropout=True)
    with pytest.raises(ValueError, match="row 32 is none of the 16 of the network"):
        from_transformers(esm, Tokenizer((0, 2), ESMS[:16], 32))


# ---------------------------------------------------------------- what is refused


def change(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def spoiled(folder, how):
    """The folder, with one thing wrong; and flags."""
    weights = folder / "model.safetensors"
    state = transformers.BertForMaskedLM.from_pretrained(folder).state_dict()
    dense = "bert.encoder.layer.1.output.dense.weight"
    flags = {}
    if how == "shape":
        state[dense] = state[dense][:-1].contiguous()
    elif how == "renamed":
        state["bert.encoder.layer.1.dense.weight"] = state.pop(dense)
    elif how == "more":
        state["bert.encoder.layer.1.attention.self.distance_embedding.weight"] = state[dense]
    elif how == "untied":
        state["cls.predictions.decoder.weight"] = state["cls.predictions.decoder.weight"] + 1
    elif how == "nan":
        state[dense] = state[dense] * math.nan
    if how in ("shape", "renamed", "more", "untied", "nan"):
        weights.unlink()
        torch.save(state, folder / "pytorch_model.bin")
    if how == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "cut bin":
        weights.unlink()
        torch.save(state, folder / "pytorch_model.bin")
        content = (folder / "pytorch_model.bin").read_bytes()
        (folder / "pytorch_model.bin").write_bytes(content[: len(content) // 2])
    elif how == "code":
        weights.unlink()
        torch.save({"a": Payload(folder / "run")}, folder / "pytorch_model.bin")
    elif how == "no mapping":
        weights.unlink()
        torch.save([torch.ones(1)], folder / "pytorch_model.bin")
    elif how == "none":
        weights.unlink()
    elif how == "mask":
        flags["mask"] = "[NO]"
    elif how == "mask is a letter":
        flags["mask"] = "A"
    elif how == "too long":
        flags["length"] = 39
    elif how == "vocabulary":
        (folder / "vocab.txt").write_text("\n".join([*BERTS, "x", "y", "z"]))
    elif how == "twice":
        (folder / "vocab.txt").write_text("\n".join([*BERTS, "A"]))
    elif how == "nucleotides":
        (folder / "vocab.txt").write_text("\n".join([*BERTS[:5], *"ACGT"]))
    elif how == "no vocabulary":
        (folder / "vocab.txt").unlink()
    elif how == "no mask":
        (folder / "vocab.txt").write_text("\n".join(BERTS).replace("[MASK]", "[HOLE]"))
    return flags


REFUSED = {
    "shape": r"layer.1.output.dense.weight has the shape \(15, 24\), and by config.json \(16, 24\)",
    "renamed": "the weights have no bert.encoder.layer.1.output.dense.weight",
    "more": "layer.1.attention.self.distance_embedding.weight is in the weights, and not in this",
    "untied": "are one tensor by config.json",
    "nan": "layer.1.output.dense.weight has values that are not finite",
    "cut": "model.safetensors is damaged",
    "cut bin": "pytorch_model.bin is damaged",
    "code": "holds other things than tensors, which are not read",
    "no mapping": "is no file of weights",
    "none": "has no weights: neither model.safetensors nor pytorch_model.bin",
    "mask": r"--mask \[NO\]: .*vocab.txt has no such entry",
    "mask is a letter": "--mask A: 'A' is an entry like any other",
    "too long": "--length 39: this network takes 1 to 38 tokens",
    "vocabulary": "has an entry 'z' of number 27, and the network of .* has 27 rows",
    "twice": "vocab.txt, line 26: 'A' is there twice",
    "nucleotides": "is a vocabulary of no kind of data known here",
    "no vocabulary": "give the model's tokenizer.json",
    "no mask": "does not say which entry is the mask: give --mask",
}


@pytest.mark.parametrize("how", REFUSED)
def test_what_does_not_fit_is_refused_in_a_sentence(tmp_path, how):
    residues(tmp_path)
    flags = spoiled(tmp_path, how)
    with pytest.raises(ValueError, match=REFUSED[how]):
        imported(tmp_path, **flags)
    assert not (tmp_path / "run").exists()  # what the pickle would have made


@pytest.mark.parametrize(
    "fields, why",
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2' is no masked .* known are bert, roberta"),
        ({"model_type": ["bert"]}, "model_type .* is no masked language model"),
        ({"is_decoder": True}, "is_decoder True: only False is known here"),
        ({"add_cross_attention": True, "is_decoder": True}, "only False is known here"),
        ({"position_embedding_type": "relative_key"}, "'relative_key': only 'absolute'"),
        ({"quantization_config": {"bits": 4}}, "give the weights as they were before"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, expected a whole number"),
        ({"hidden_size": "16"}, "transformers refuses this configuration"),
        ({"hidden_act": "mish"}, "hidden_act is .*mish.*, expected one of"),
        ({"num_attention_heads": 3}, "no Bert network has this configuration"),
        ({"pad_token_id": 99}, "pad_token_id 99 is none of the 27 rows"),
        ({"mask_token_id": 3}, "config.json has mask_token_id 3, and in .* the mask is 4"),
    ],
)
def test_configurations_that_are_not_known_are_refused(tmp_path, fields, why):
    residues(tmp_path)
    change(tmp_path, **fields)
    with pytest.raises(ValueError, match=why):
        imported(tmp_path)


def test_marks_that_are_no_entries_are_refused(tmp_path):
    words(tmp_path)
    path = tmp_path / "tokenizer.json"
    content = json.loads(path.read_text())
    content["post_processor"]["special_tokens"]["[SEP]"]["ids"] = [17]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="puts number 17 around texts, and has no such entry"):
        imported(tmp_path)


def test_a_tokenizer_that_pads_and_cuts_is_read_without(tmp_path):
    """As published files have it switched on."""
    words(tmp_path)
    plain = imported(tmp_path)
    made = tokenizers.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    made.enable_padding(length=8, pad_id=0, pad_token="[PAD]")
    made.enable_truncation(4)
    made.save(str(tmp_path / "tokenizer.json"))
    model = imported(tmp_path)
    assert model.backbone.config == plain.backbone.config
    assert model.meta == plain.meta


def test_a_mask_by_its_name_or_number(tmp_path):
    residues(tmp_path)
    (tmp_path / "vocab.txt").write_text("\n".join(BERTS).replace("[MASK]", "[HOLE]"))
    change(tmp_path, mask_token_id=4)
    models = [imported(tmp_path, mask=said) for said in ("[HOLE]", "4")]
    assert [model.backbone.mask for model in models] == [4, 4]


def test_a_model_that_was_changed_by_hand_is_refused(tmp_path):
    """With its digests made to fit: sizes cost nothing, and names stand in the table alone."""
    residues(tmp_path / "there")
    imported(tmp_path / "there").save_pretrained(tmp_path / "m")
    path = tmp_path / "m" / "config.json"
    whole = json.loads(path.read_text())

    def altered(**how):
        config = json.loads(json.dumps(whole))
        of_network = config["backbone"]["config"]
        of_network |= {name: how[name] for name in how if name in of_network}
        of_network["fields"] |= {name: how[name] for name in how if name not in of_network}
        config["sha256"]["config.json"] = checkpoint.config_digest(config)
        path.write_text(json.dumps(config))
        return unmask.MaskedDiffusion.from_pretrained(tmp_path / "m")

    assert altered().backbone.family == "bert"
    for how, why in [
        ({"family": "os"}, "model_type 'os' is no masked language model"),
        ({"_attn_implementation": "a/b"}, "the configuration of Bert has no '_attn_implem"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000"),
        ({"hidden_size": 2**20, "intermediate_size": 2**20}, "do not fit"),
        ({"mask": 99}, "row 99 is none of the 27"),
    ]:
        with pytest.raises(ValueError, match=why):
            altered(**how)


def test_without_transformers_one_sentence_says_so(tmp_path, monkeypatch):
    residues(tmp_path / "there")
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    code, _, err = run("import", "huggingface", tmp_path / "there", tmp_path / "m")
    assert code == 2 and "pip install 'unmask[huggingface]'" in err


def test_a_source_that_there_is_not(tmp_path):
    code, _, err = run("import", "keras", tmp_path, tmp_path / "m")
    assert code == 2 and "there is no source 'keras' of models: known are huggingface" in err
    code, _, err = run("import", "huggingface", tmp_path / "no", tmp_path / "m")
    assert code == 2 and "there is no " in err


@pytest.mark.slow
def test_the_day_with_antibodies(tmp_path):
    """runs/antibodies.sh, with a small network where the downloaded one would be."""
    residues(tmp_path / "there", max_position_embeddings=180)
    out = tmp_path / "out"
    out.mkdir()
    assert run("import", "huggingface", tmp_path / "there", out / "antiberty")[0] == 0
    chains = "".join(
        f">{i}|{chain} mAb\n{COMMON[i:]}{COMMON[: i % 7]}\n"
        for i in range(20)
        for chain in ("VH", "VL")
    )
    (tmp_path / "a.fasta").write_text(chains)
    script = Path(__file__).parents[2] / "runs" / "antibodies.sh"
    small = {"PYTHON": sys.executable, "LIMIT": "4", "FLAGS": "--minutes 0 --steps 2"}
    for _ in range(2):  # the second time nothing is done again
        done = subprocess.run(
            ["bash", script, tmp_path / "a.fasta", out],
            env=os.environ | small,
            capture_output=True,
            encoding="utf-8",
        )
        assert done.returncode == 0, done.stderr
    table = (out / "table.md").read_text()
    assert "| uniform over the 20 amino acids | 4.32 | 4.32 |" in table
    assert table.count("\n| heavy, ") == table.count("\n| light, ") == 2
    assert done.stdout.count("nats=") == 8 and "this run is finished" in done.stderr
