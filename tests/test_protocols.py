"""Protocols: what a number is of, saved with it, and what `compare` refuses because of it."""

import gzip
import hashlib
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pages import run_page
from test_distributed import torchrun

from unmask.cli import main
from unmask.data import open_data, prepare_table, prepare_text
from unmask.evaluation.protocol import EQUAL, Protocol
from unmask.kinds.registry import recipes
from unmask.kinds.tables.follow import follow as follow_table
from unmask.kinds.tables.follow import rows_of
from unmask.kinds.text.bytes import byte_table
from unmask.kinds.text.detokenizers import detokenize
from unmask.kinds.text.follow import batches, pack, terms
from unmask.kinds.text.kind import Text
from unmask.kinds.text.protocols import PROTOCOLS
from unmask.kinds.text.tokenizers import Characters, Subwords, load_tokenizer

EOT = "<|endoftext|>"
WORDS = "The quick brown fox, it says, ran over naïve dogs: “Réné” and 日本 too."
TRAIN = [
    "--dim", "8", "--layers", "1", "--heads", "2", "--batch-size", "4", "--minutes", "0",
    "--steps", "2",
]  # fmt: skip


def byte_level(merges=(), special=(EOT,)):
    """GPT-2's kind of tokenizer: a token a byte, and these merges."""
    import tokenizers

    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    entries = [*alphabet, *("".join(pair) for pair in merges)]
    vocabulary = {entry: i for i, entry in enumerate(entries)}
    model = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, list(merges)))
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    model.decoder = tokenizers.decoders.ByteLevel()
    model.add_special_tokens(list(special))
    return Subwords(model.to_str())


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Models of text with two tokenizers, two of the first; LAMBADA of 60 passages."""
    home = tmp_path_factory.mktemp("protocols")
    passages = [f"  “Well,” she said for the {i}th time. {WORDS}\n" for i in range(60)]
    rows = (json.dumps({"text": passage}) + "\n" for passage in passages)
    (home / "lambada_test.jsonl").write_text("".join(rows), encoding="utf-8")
    (home / "text.txt").write_text(WORDS * 40, encoding="utf-8")
    for name, merges in (("run", ()), ("other", [("t", "h"), ("th", "e")])):
        prepare_text(home / "text.txt", home / f"{name}-data", tokenizer=byte_level(merges))
        train(home, name, "text", "--length", "16")
    train(home, "second", "text", "--length", "16", "--seed", "1", data="run-data")
    return home


def train(home, name, what, *flags, data=""):
    folder = home / (data or f"{name}-data")
    preset = {"text": "demo", "tables": "table", "proteins": "protein"}.get(what, "mnist")
    command = ["train", preset, "--data", str(folder), "--out", str(home / name), *TRAIN]
    assert main([*command, *flags]) == 0


def evaluate(home, out, *flags, model="run", protocol="lambada-mdlm", data="lambada_test.jsonl"):
    """The record of an evaluation by a protocol."""
    source = Path(data) if Path(data).is_absolute() else home / data
    command = ["eval", str(home / model), "--protocol", protocol, "--data", str(source)]
    assert main([*command, "--repeats", "2", "--json", str(out), *flags]) == 0
    return json.loads(out.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def first(home):
    return evaluate(home, home / "first.json")


def test_the_page(home, tmp_path):
    shutil.copytree(home, tmp_path, dirs_exist_ok=True)
    swaps = {"--protocol lambada-mdlm": "--repeats 2 --protocol lambada-mdlm"}
    said = run_page("protocols.md", tmp_path, swaps)
    assert "lambada-mdlm" in said and "a.json" in said


def fails(capsys, *arguments):
    """Exit code 2 and one line on stderr, which is returned."""
    capsys.readouterr()
    assert main([str(a) for a in arguments]) == 2
    err = capsys.readouterr().err.splitlines()
    assert [line.startswith("unmask ") for line in err].count(True) == 1
    return err[-1]


# ---------------------------------------------------------------- detokenizers

# What louaaron/Score-Entropy-Discrete-Diffusion, data.py, makes of them; it was run on them.
WRITTEN = [
    ("wikitext", " = Robert Boulter = \n", " = Robert Boulter =\n"),
    (
        "wikitext",
        " He had a guest @-@ starring role in \" Teddy 's Story \" ( 2000 ) , and sold 1 @,@ 500 ."
        " It 's 3 @.@ 5 ° C ; the dogs ' home ! \n",
        ' He had a guest-starring role in "Teddy\'s Story" (2000), and sold 1,500.'
        " It's 3.5°C; the dogs' home!\n",
    ),
    ("wikitext", " = = Early life = = \n", " == Early life ==\n"),
    ("ptb", "no it was n't black monday", "no it wasn't black monday"),
    (
        "ptb",
        "the boys ' club paid $ N N of N N and # N to <unk> co. 's a\\/b unit N",
        "the boys' club paid $1 1 of 1 1 and #1 to ? co.'s a/b unit N",
    ),
    (
        "lm1b",
        '" We let folks know we \'re here ( at http : / / x.com / y ) , " he said .',
        '"We let folks know we\'re here (at http://x.com/y)," he said.',
    ),
    (
        "lm1b",
        "Is it 3 ? Yes , it is : a [ b ] ; $ 5 or £ 6 !",
        "Is it 3? Yes, it is: a [b]; $5 or £6!",
    ),
    ("lm1b", "Wal-Mart 's founder said : ' no ' .", "Wal-Mart's founder said: 'no' ."),
    ("lambada", "  “Well,” she said. \n", '\n"Well," she said.'),
    ("", " as ( it ) is ", " as ( it ) is "),
]  # fmt: skip


@pytest.mark.parametrize(("name", "cut", "written"), WRITTEN)
def test_detokenizers_follow_their_rules(name, cut, written):
    assert detokenize(name, cut) == written


# ---------------------------------------------------------------- packing


def ids(*sizes):
    return [np.full(size, i + 1) for i, size in enumerate(sizes)]


def test_rows_are_joined_by_batches_of_shards():
    recipe = replace(PROTOCOLS["ptb-sedd"], batch=4, shards=3)
    # shards of 5, 4 and 4 rows, the first of which has two batches
    assert batches(13, recipe) == [(0, 4), (4, 5), (5, 9), (9, 13)]
    assert batches(2, recipe) == [(0, 1), (1, 2)] and batches(0, recipe) == []


def packed(name, rows, **settings):
    tokenizer = byte_level(special=(EOT, "[CLS]"))
    found = pack(rows, replace(PROTOCOLS[name], **settings), name, tokenizer)
    windows = [found.tokens[a:b].tolist() for a, b in zip(found.edges, found.edges[1:])]
    return windows, (found.dropped, found.total)


def test_windows_of_each_line_of_papers():
    end, begin = 256, 257
    rows = ids(3, 2, 4)
    how = {"length": 4, "batch": 2, "shards": 1}
    # rows 1 and 2 with their ends: 7 tokens; row 3 with its end: 5
    assert packed("ptb-sedd", rows, **how) == ([[1, 1, 1, end], [3, 3, 3, 3]], (4, 12))
    assert packed("ptb-mdlm", rows, **how) == (
        [
            [begin, 1, 1, end], [begin, 1, end, end], [begin, 2, 2, end],
            [begin, 3, 3, end], [begin, 3, 3, end],
        ],
        (2, 12),
    )  # fmt: skip
    assert packed("ptb-duo", rows, **how) == (
        [[begin, 1, 1, end], [begin, 1, 2, end], [begin, 3, 3, end], [begin, 3, 3, end]],
        (1, 9),
    )
    assert packed("lm1b-sentences", rows, length=4) == (
        [[begin, 1, 1, end], [begin, 2, 2, end], [begin, 3, 3, end]],
        (3, 9),
    )
    kept = {"length": 4, "remainder": "kept"}
    assert packed("enwik8-256", ids(6), **kept) == ([[1, 1, 1, 1], [1, 1]], (0, 6))


def test_many_shards_leave_a_small_set_empty(home, tmp_path, capsys, monkeypatch):
    """As s-sahoo/duo issue 9 has it of the Penn Treebank at 1,024 tokens."""
    monkeypatch.setitem(Text.protocols, "ptb-mdlm", replace(PROTOCOLS["ptb-mdlm"], shards=128))
    (tmp_path / "ptb.test.txt").write_text(" no it was n't black monday \n" * 200)
    command = ["eval", home / "run", "--protocol", "ptb-mdlm", "--data", tmp_path / "ptb.test.txt"]
    said = fails(capsys, *command)
    assert "leaves no window of 1,024 tokens" in said and "of each of 128 shards" in said


# ---------------------------------------------------------------- eval


def test_a_number_comes_with_its_protocol(home, first, capsys):
    with pytest.raises(AssertionError):  # the record that is not there
        evaluate(home, home / "none.json", data="none.jsonl")
    said = capsys.readouterr()
    protocol = first["protocol"]
    content = json.dumps(protocol, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert first["protocol_sha256"] == hashlib.sha256(content.encode()).hexdigest()
    assert Protocol(**protocol).sha256 == first["protocol_sha256"]
    assert protocol["name"] == "lambada-mdlm" and protocol["length"] == 1024
    assert protocol["official"] == "no: another SHA-256" and protocol["draws"] == 2
    assert protocol["examples"] == first["n"] and "begin and end" in protocol["denominator"]
    assert "does not exist" in said.err
    record = evaluate(home, home / "again.json")
    said = capsys.readouterr()
    assert "warning" in said.err and "official: no: another SHA-256" in said.err
    assert f"protocol lambada-mdlm, SHA-256 {record['protocol_sha256'][:12]}" in said.out
    assert "left out by the protocol: " in said.out and "lambada detokenized" in said.out
    assert record["value"] == first["value"] and record["protocol"] == protocol


def test_two_runs_of_one_protocol_agree_within_their_errors(home, first, tmp_path, capsys):
    other = evaluate(home, tmp_path / "seed.json", "--seed", "7")
    error = math.hypot(first["noise"], other["noise"])
    assert 0 < abs(other["value"] - first["value"]) < 4 * error
    assert other["protocol_sha256"] != first["protocol_sha256"]
    assert not Protocol(**first["protocol"]).differs(Protocol(**other["protocol"]))


def test_what_a_protocol_prepares_can_be_kept(home, first, tmp_path, capsys):
    kept = evaluate(home, tmp_path / "a.json", "--keep", str(tmp_path / "kept"))
    again = evaluate(home, tmp_path / "b.json", data=tmp_path / "kept")
    assert kept["protocol"] == again["protocol"] == first["protocol"]
    command = ["eval", home / "run", "--data", tmp_path / "kept", "--protocol"]
    assert "for the protocol lambada-mdlm" in fails(capsys, *command, "lambada-sedd")
    command[3] = home / "run-data"
    assert "for no protocol" in fails(capsys, *command, "lambada-sedd")
    command = ["eval", home / "run", "--data", tmp_path / "kept", "--protocol", "lambada-mdlm"]
    said = fails(capsys, *command, "--keep", tmp_path / "more")
    assert f"--keep {tmp_path}/more: {tmp_path}/kept is prepared already: leave it out" in said
    assert not (tmp_path / "more").exists()


def test_of_several_processes_the_first_keeps_what_a_protocol_prepares(home, first, tmp_path):
    command = ["-m", "unmask", "eval", home / "run", "--protocol", "lambada-mdlm", "--data"]
    command += [home / "lambada_test.jsonl", "--keep", tmp_path / "kept", "--repeats", "2"]
    done = torchrun(*command, "--device", "cpu", "--json", tmp_path / "two.json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "two.json").read_text(encoding="utf-8"))["n"] == first["n"]
    assert open_data(tmp_path / "kept").meta["protocol"]["name"] == "lambada-mdlm"


def test_a_protocol_has_its_split_and_leaves_no_folder_behind(home, tmp_path, monkeypatch, capsys):
    import gc
    import tempfile

    (tmp_path / "held-out.jsonl").write_bytes((home / "lambada_test.jsonl").read_bytes())
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    how = {"protocol": "owt-1024", "data": tmp_path / "held-out.jsonl"}
    found = evaluate(home, tmp_path / "e.json", **how)
    gc.collect()
    assert found["split"] == found["protocol"]["split"] == "validation" and found["n"] == 7
    assert found["protocol"]["official"].startswith("not known")
    assert not list((tmp_path / "temporary").iterdir())
    said = capsys.readouterr()  # nobody has an official file of it
    assert "warning" not in said.err and "official source: not known" in said.out


def test_a_file_beside_its_packed_copy_would_count_twice(home, tmp_path, capsys):
    (tmp_path / "both").mkdir()
    for ending in ("", ".gz"):
        packed = (home / "lambada_test.jsonl").read_bytes()
        packed = gzip.compress(packed) if ending else packed
        (tmp_path / "both" / f"lambada_test.jsonl{ending}").write_bytes(packed)
    command = ["eval", home / "run", "--protocol", "lambada-mdlm", "--data", tmp_path / "both"]
    assert "lambada_test.jsonl.gz stands beside its content" in fails(capsys, *command)
    (tmp_path / "both" / "lambada_test.jsonl.gz").unlink()
    (tmp_path / "both" / "again.jsonl").symlink_to(tmp_path / "both" / "lambada_test.jsonl")
    assert "again.jsonl is another name of a file that is read" in fails(capsys, *command)


def test_protocols_are_listed_and_unknown_ones_named(home, capsys):
    assert main(["eval", "--protocol", "list"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n{name} " in said and one.about in said for name, (_, one) in recipes().items())
    command = ["eval", home / "run", "--data", home / "lambada_test.jsonl"]
    assert "known are text8-256, " in fails(capsys, *command, "--protocol", "lambda")
    assert "model is of text" in fails(capsys, *command, "--protocol", "adult")
    flags = ["--protocol", "lambada-sedd", "--length", "64"]
    assert "would be another protocol" in fails(capsys, *command, *flags)
    flags = ["--protocol", "lambada-sedd", "--split", "train"]
    assert "is of the split test" in fails(capsys, *command, *flags)
    assert "--keep" in fails(capsys, *command, "--keep", "kept")


def test_a_tokenizer_without_an_end_is_refused(home, tmp_path, capsys):
    prepare_text(home / "text.txt", home / "bytes-data")
    train(home, "bytes", "text", "--length", "16")
    command = ["eval", home / "bytes", "--data", home / "lambada_test.jsonl"]
    assert "has none" in fails(capsys, *command, "--protocol", "lambada-sedd")
    (tmp_path / "enwik8").write_bytes(b"short")
    command = ["eval", home / "bytes", "--data", tmp_path / "enwik8", "--protocol", "enwik8-256"]
    assert "of a file of 100,000,000 bytes, and this one has 5" in fails(capsys, *command)


def test_bytes_of_a_file_are_all_scored(home, tmp_path, monkeypatch):
    content = (WORDS * 9).encode()
    (tmp_path / "enwik8").write_bytes(content)
    recipe = replace(PROTOCOLS["enwik8-256"], part=(len(content) - 300, len(content)))
    monkeypatch.setitem(Text.protocols, "enwik8-256", recipe)
    found = evaluate(
        home, tmp_path / "e.json", model="bytes", protocol="enwik8-256", data=tmp_path / "enwik8"
    )
    assert found["n"] == 2 and found["positions"] == found["bytes"] == 300
    assert found["bits_per_byte"] == pytest.approx(found["value"])


# ---------------------------------------------------------------- roles


def test_given_marks_are_shown_and_not_counted(home, first, tmp_path, monkeypatch, capsys):
    recipe = replace(PROTOCOLS["lambada-mdlm"], marks="given")
    monkeypatch.setitem(Text.protocols, "lambada-mdlm", recipe)
    given = evaluate(home, tmp_path / "given.json", "--keep", str(tmp_path / "kept"))
    assert given["n"] == first["n"] and first["positions"] == 1024 * first["n"]
    assert given["positions"] == 1022 * first["n"] and given["bytes"] == first["bytes"]
    data = open_data(tmp_path / "kept")
    (batch,) = data.windows("test", 1024, 1, limit=1)
    assert batch["role"].tolist() == [[1, *[2] * 1022, 1]] and "valid" not in batch
    said = fails(capsys, "compare", home / "first.json", tmp_path / "given.json")
    assert "given is nothing there and begin and end marks of windows here" in said


def test_given_marks_of_windows_of_other_lengths(home, tmp_path, monkeypatch):
    """The last mark is that of the row, not of the padding."""
    recipe = replace(PROTOCOLS["lm1b-sentences"], marks="given")
    monkeypatch.setitem(Text.protocols, "lm1b-sentences", recipe)
    (tmp_path / "heldout").write_text("ab\n" * 3 + "abcd\n" * 3)
    keep = ["--keep", str(tmp_path / "kept")]
    how = {"protocol": "lm1b-sentences", "data": tmp_path / "heldout"}
    found = evaluate(home, tmp_path / "e.json", *keep, **how)
    assert found["positions"] == found["bytes"] == 18
    (batch,) = open_data(tmp_path / "kept").windows("test", 6, 9)
    assert batch["role"][0].tolist() == [1, 2, 2, 1, 0, 0]
    assert batch["role"][5].tolist() == [1, 2, 2, 2, 2, 1]


# ---------------------------------------------------------------- compare


def test_two_models_by_one_protocol_are_compared(home, first, tmp_path, capsys):
    for name, model, dtype in (("a", "run", "float32"), ("b", "second", "bfloat16")):
        evaluate(home, tmp_path / f"{name}.json", "--dtype", dtype, model=model)
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "b.json")]) == 0
    said = capsys.readouterr().out
    assert "the same 6 examples" in said and "other precision: float32 and bfloat16" in said
    assert "other weights" not in said  # that is what is compared


def changed_file(home, tmp_path):
    text = (home / "lambada_test.jsonl").read_text(encoding="utf-8").replace("quick", "thick")
    (tmp_path / "changed.jsonl").write_text(text, encoding="utf-8")
    return {"data": tmp_path / "changed.jsonl"}


def test_a_changed_file_is_refused(home, first, tmp_path, capsys):
    other = evaluate(home, tmp_path / "b.json", **changed_file(home, tmp_path))
    assert Protocol(**first["protocol"]).differs(Protocol(**other["protocol"])) == ["data_sha256"]
    said = fails(capsys, "compare", home / "first.json", tmp_path / "b.json")
    assert "cannot be paired: data_sha256 is" in said


def test_another_tokenizer_is_refused_with_what_is_left(home, first, tmp_path, capsys):
    other = evaluate(home, tmp_path / "b.json", model="other")
    said = fails(capsys, "compare", home / "first.json", tmp_path / "b.json")
    assert "tokenizer_sha256 is" in said and "bits per byte" in said and "unpaired" in said
    assert other["bits_per_byte"] > 0


@pytest.mark.parametrize("change", ["denominator", "protocol", "limit"])
def test_another_denominator_protocol_or_limit_is_refused(
    home, first, tmp_path, capsys, monkeypatch, change
):
    how, flags = {}, []
    if change == "denominator":  # the same windows, of which ends of texts do not count
        import unmask.kinds.text.follow as follow

        of = terms(PROTOCOLS["lambada-mdlm"])
        monkeypatch.setattr(follow, "terms", lambda _: of | {"denominator": "words"})
    elif change == "protocol":
        how = {"protocol": "lambada-duo"}
    else:
        flags = ["--limit", "4"]
    evaluate(home, tmp_path / "b.json", *flags, **how)
    said = fails(capsys, "compare", home / "first.json", tmp_path / "b.json")
    field = {"denominator": "denominator", "protocol": "name", "limit": "examples"}[change]
    assert f"cannot be paired: {field} is" in said


@pytest.mark.parametrize("field", EQUAL)
def test_every_field_that_has_to_be_equal_is_looked_at(home, first, field):
    one = Protocol(**first["protocol"])
    value = getattr(one, field)
    other = replace(one, **{field: value + 1 if isinstance(value, int) else f"{value}x"})
    assert one.differs(other) == [field] and not one.unlike(other)
    assert other.sha256 != one.sha256


@pytest.mark.parametrize("damage", ["changed", "other fields", "other type"])
def test_a_protocol_that_is_not_what_was_hashed_is_refused(home, first, tmp_path, capsys, damage):
    record = json.loads(json.dumps(first))
    if damage == "changed":
        record["protocol"]["given"] = "everything"
    elif damage == "other fields":
        del record["protocol"]["given"]
    else:
        record["protocol"]["length"] = "1024"
    (tmp_path / "b.json").write_text(json.dumps(record), encoding="utf-8")
    examples = home / "first.json.examples.npz"
    (tmp_path / examples.name).write_bytes(examples.read_bytes())
    said = fails(capsys, "compare", home / "first.json", tmp_path / "b.json")
    assert {"changed": "was changed", "other fields": "other fields"}.get(damage, "type") in said


def test_records_from_before_protocols_still_pair(home, first, tmp_path, capsys):
    old = {name: v for name, v in first.items() if not name.startswith("protocol")}
    (tmp_path / "old.json").write_text(json.dumps(old), encoding="utf-8")
    examples = home / "first.json.examples.npz"
    (tmp_path / examples.name).write_bytes(examples.read_bytes())
    assert main(["compare", str(tmp_path / "old.json"), str(home / "first.json")]) == 0


def test_a_folder_without_a_recipe_has_a_protocol_too(home, tmp_path, capsys):
    how = ["--data", str(home / "run-data"), "--repeats", "2"]
    assert main(["eval", str(home / "run"), *how, "--json", str(tmp_path / "a.json")]) == 0
    protocol = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))["protocol"]
    assert protocol["name"] == protocol["official"] == "" and protocol["length"] == 16
    assert protocol["packing"].startswith("documents joined") and protocol["given"] == "nothing"
    assert "protocol of these flags" in capsys.readouterr().out


# ---------------------------------------------------------------- bits per byte


def test_bytes_are_those_of_the_text(home, first, tmp_path):
    """Of the windows' own: what is dropped is not counted, and marks of ends are no text."""
    lines = (home / "lambada_test.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [detokenize("lambada", json.loads(line)["text"]) for line in lines]
    joined = b"\0".join(text.encode() for text in texts) + b"\0"  # a mark after each
    used = joined[: len(joined) // 1022 * 1022]
    assert first["bytes"] == len(used) - used.count(0)
    bits = first["nats_per_example"] * first["n"] / math.log(2)
    assert first["bits_per_byte"] == pytest.approx(bits / first["bytes"])
    assert first["bits_per_byte_stderr"] > 0
    merged = evaluate(home, tmp_path / "merged.json", model="other")
    assert merged["bytes"] > merged["positions"]  # of which some are three bytes


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_window_that_cuts_a_character_loses_no_byte(home, length):
    data = open_data(home / "other-data")
    text = data.tokenizer.decode(data.tokens("train")).removesuffix(EOT)
    batches = list(data.windows("train", length, 64))
    counts = [int(data.byte_counts(batch).sum()) for batch in batches]
    assert "\N{REPLACEMENT CHARACTER}" not in text[:-1] and "ï" in text and "本" in text
    whole = sum(len(character.encode()) for character in text[:-1])
    assert whole <= sum(counts) <= whole + 3


def test_given_text_is_not_counted(home):
    import torch

    data = open_data(home / "run-data")
    (batch, *_) = data.windows("train", 8, 2)
    role = torch.tensor([[1, 2, 2, 0, 0, 0, 0, 0], [2, 1, 3, 1, 1, 1, 1, 1]], dtype=torch.int8)
    assert data.byte_counts({"x": batch["x"], "role": role}).tolist() == [2, 1]


def test_bytes_of_tokens():
    table = byte_table(byte_level([("t", "h"), ("th", "e")], special=(EOT, "[PAD]")))
    assert table.tolist() == [1] * 256 + [2, 3, 0, 0]
    assert byte_table(Characters("aï日")).tolist() == [1, 2, 3]


def test_words_are_counted_by_decoding(tmp_path):
    """A vocabulary that does not write bytes: its marks and padding count for nothing."""
    import tokenizers

    entries = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "naïve": 3, "dog": 4, "##s": 5, "[UNK]": 6}
    model = tokenizers.Tokenizer(tokenizers.models.WordPiece(entries, unk_token="[UNK]"))
    model.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    model.decoder = tokenizers.decoders.WordPiece()
    model.add_special_tokens(["[PAD]", "[CLS]", "[SEP]"])
    words = Subwords(model.to_str())
    assert byte_table(words) is None and words.eot == 2
    (tmp_path / "heldout").write_text("naïve dogs\ndog\n", encoding="utf-8")
    from unmask.kinds.text.follow import follow

    recipe = PROTOCOLS["lm1b-sentences"]
    follow(recipe, "lm1b-sentences", tmp_path / "heldout", tmp_path / "out", words)
    data = open_data(tmp_path / "out")
    (batch,) = data.windows("test", 128, 2)
    assert batch["x"][0, :6].tolist() == [1, 3, 4, 5, 2, 0] and batch["valid"].sum() == 8
    assert data.byte_counts(batch).tolist() == [len("naïve dogs".encode()), 3]


# ---------------------------------------------------------------- sources of each protocol


@pytest.mark.parametrize(
    ("name", "content", "text"),
    [
        (
            "wikitext2-sedd", " \n = A = \n \n He 's 1 @,@ 5 . \n",
            f"{EOT} = A =\n{EOT}{EOT} He's 1,5.\n",
        ),
        ("ptb-sedd", " it was n't N \n $ N of it \n", f"it wasn't N{EOT}$1 of it"),
        ("1bw-sedd", "Is it ?\nYes .\n", f"Is it?{EOT}Yes ."),
        ("ag-news-mdlm", '"3","A, ""b""","c\\d"\n"1","e","f"\n', f'A, "b" c\\d{EOT}e f'),
        ("ag-news-duo", '"3","A","b"\n"1","e","f"\n', "A be f"),
        ("owt-1024", '{"text": "a\\nb"}\n{"text": "c"}\n', f"a\nb{EOT}c"),
    ],
)  # fmt: skip
def test_rows_of_the_official_files(tmp_path, name, content, text):
    """Down to the ids, the marks of ends between them."""
    from unmask.kinds.text.follow import follow

    (tmp_path / "source").write_bytes(content.encode())
    recipe = replace(PROTOCOLS[name], shards=1, remainder="kept", marks="none")
    meta = follow(recipe, name, tmp_path / "source", tmp_path / "out", byte_level())
    ids = open_data(tmp_path / "out").tokens(recipe.split).tolist()
    assert load_tokenizer(meta["tokenizer"], tmp_path / "out").decode(ids) == (
        text + EOT * recipe.ends
    )


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("lambada-mdlm", b'{"text": "a"}\n\n{"text": null}\n', "line 3: the field 'text' is null"),
        ("lambada-mdlm", b'{"text": ["a"]}\n', "line 1: the field 'text' is not a string"),
        ("lambada-mdlm", b"[1]\n", "line 1 is not a JSON object"),
        ("lambada-mdlm", b"[" * 100_000, "line 1 is nested too deeply to be read"),
        (
            "ag-news-mdlm", b'"1","a","b"\n"2","c","%s"\n' % (b"d" * 131_073),
            "line 2, is no CSV (field larger than field limit (131072)): give the file of class",
        ),
        ("lm1b-sentences", b"", "leaves no window of 128 tokens"),
        ("1bw-sedd", b"PK\x03\x04" + bytes(40), "is a zip archive: unpack it first"),
        ("owt-1024", b"PAR1\x15\x04\x15", "is a Parquet file: convert what is in it first"),
    ],
    ids=["null", "list", "number", "deep", "wide", "empty", "zip", "parquet"],
)  # fmt: skip
def test_a_source_without_such_rows_is_refused_in_a_line(
    home, tmp_path, capsys, name, content, why
):
    (tmp_path / "source").write_bytes(content)
    command = ["eval", home / "run", "--protocol", name, "--data", tmp_path / "source"]
    said = fails(capsys, *command)
    assert f"{tmp_path / 'source'}" in said and why in said


def test_a_source_that_unpacks_to_much_more_than_texts_do_is_refused(home, tmp_path, capsys):
    """Before all of it is in memory."""
    source, content = tmp_path / "source.gz", gzip.compress(bytes(33 << 20), 1)
    source.write_bytes(content)
    why = f"{source} is more than 100 times what it is packed, {len(content):,} bytes: unpack it"
    for name in ("lambada-mdlm", "enwik8-256"):
        command = ["eval", home / "run", "--protocol", name, "--data", source]
        assert why in fails(capsys, *command)
    with pytest.raises(ValueError, match="more than 100 times what it is packed"):
        list(rows_of(recipes()["adult"][1], source))


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("wide", b"39, %s\n" % (b"a" * 131_073), "line 1, is no CSV .field larger than"),
        ("mac", b"39, a\r40, b\r", "line 1, is no CSV .new-line character"),
    ],
    ids=["wide", "mac"],
)
def test_an_official_table_that_is_none_is_refused(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name}, {why}.*: give adult.test of UCI Adult"):
        list(rows_of(recipes()["adult"][1], tmp_path / name))


@pytest.mark.parametrize("header", ["yes", "no"])
def test_an_official_row_that_the_model_cannot_read_is_named(tmp_path, header):
    """Where it stands in the official file, and by what eval can do."""
    recipe = recipes()["adult"][1]
    names = f"{','.join(recipe.columns)}\n" if header == "yes" else ""
    (tmp_path / "adult.data").write_text(names + ADULT)
    how = {"header": header, "split": "1,0,0", "progress": False}
    prepare_table(tmp_path / "adult.data", tmp_path / "data", **how)
    table = open_data(tmp_path / "data").tokenizer
    row = ADULT.splitlines()[0]
    for wrong, why in (
        (row.replace("State-gov", "Never-worked"), "'Never-worked' in column .* is none of its"),
        (row.replace("Adm-clerical", "?"), "column .* is missing, and never is"),
        (row.replace("39", "old"), "'old' in column .* is not a number"),
    ):
        (tmp_path / "adult.test").write_text(f"|1x3 Cross validator\n\n{row}.\n{wrong}.\n")
        said = f"^{re.escape(str(tmp_path / 'adult.test'))}, line 4: .*{why}"
        with pytest.raises(ValueError, match=said) as error:
            follow_table(recipe, "adult", tmp_path, tmp_path / "out", table)
        assert str(error.value).endswith("or name a model of data that have such cells")
    (tmp_path / "adult.test").write_text("|1x3 Cross validator\n")
    with pytest.raises(ValueError, match=r"adult.test has no rows: give adult.test of UCI Adult"):
        follow_table(recipe, "adult", tmp_path, tmp_path / "out", table)


def test_a_protocol_of_another_table_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("age,height\n1,2\n3,4\n")
    how = {"header": "yes", "split": "1,0,0", "progress": False}
    prepare_table(tmp_path / "a.csv", tmp_path / "data", **how)
    (tmp_path / "adult.test").write_text(ADULT)
    table = open_data(tmp_path / "data").tokenizer
    with pytest.raises(ValueError, match="^adult is of a table without a column 'height'"):
        follow_table(recipes()["adult"][1], "adult", tmp_path, tmp_path / "out", table)


def test_ready_ids_of_another_width_are_told_what_eval_can_do(tmp_path):
    from unmask.kinds.text.follow import follow

    np.arange(1, 101, dtype="<u4").tofile(tmp_path / "ids.bin")
    how = PROTOCOLS["owt-1024"], "owt-1024", tmp_path / "ids.bin", tmp_path / "out", byte_level()
    with pytest.raises(ValueError, match="wider than uint16: save them with numpy.save"):
        follow(*how)
    (tmp_path / "ids.bin").write_bytes(b"\1\0\2")
    with pytest.raises(ValueError, match="truncated, or they are no uint16: save them with numpy"):
        follow(*how)
    np.full(3, 999, "<u2").tofile(tmp_path / "ids.bin")
    with pytest.raises(ValueError, match="or vocab_size, or they are no uint16: save them with"):
        follow(*how)


def test_ready_ids_have_their_marks_already(tmp_path):
    from unmask.kinds.text.follow import follow

    ids = np.array([1, 2, 256, 3, 4, 256], "<u2")
    ids.tofile(tmp_path / "ids.bin")
    np.save(tmp_path / "ids.npy", ids)
    recipe = replace(PROTOCOLS["owt-1024"], length=4)
    for ending in ("bin", "npy"):
        out = tmp_path / ending
        meta = follow(recipe, "owt-1024", tmp_path / f"ids.{ending}", out, byte_level())
        assert open_data(out).tokens("validation").tolist() == [1, 2, 256, 3]
        assert meta["protocol"]["dropped"] == {"tokens": 2, "of": 6, "rows_cut": 0}


def test_a_part_of_an_official_source_is_said_to_be_one(tmp_path):
    from unmask.kinds.recipe import standing

    (tmp_path / "a").write_bytes(b"shard")
    (tmp_path / "b").write_bytes(b"shard two")
    digests = [hashlib.sha256(content).hexdigest() for content in (b"shard", b"shard two")]
    recipe = replace(PROTOCOLS["1bw-sedd"], official=tuple(digests), files=2)
    assert standing(recipe, [tmp_path / "a"]) == "part: 1 of 2 files"
    assert standing(recipe, [tmp_path / "a", tmp_path / "b"]) == "yes"
    assert standing(replace(recipe, official=()), [tmp_path / "a"]).startswith("not known")
    one = replace(recipe, official=(digests[0],))
    said = "not known: the SHA-256 of 1 of 2 files is on record"
    assert standing(one, [tmp_path / "a", tmp_path / "b"]) == said
    assert standing(one, [tmp_path / "b"]) == "no: another SHA-256"


ADULT = (
    "39, State-gov, 77516, Bachelors, 13, Never-married, Adm-clerical, Not-in-family, White, "
    "Male, 2174, 0, 40, United-States, <=50K\n"
    "50, ?, 83311, HS-grad, 9, Married-civ-spouse, Exec-managerial, Husband, Black, Female, 0, 0, "
    "13, Cuba, >50K\n"
)


def test_adult(home, tmp_path):
    (home / "adult.data").write_text(ADULT * 20)
    prepare = ["prepare", "tables", str(home / "adult.data"), str(home / "adult-data")]
    assert main([*prepare, "--split", "1,0,0"]) == 0
    train(home, "adult", "tables")
    official = "|1x3 Cross validator\n" + ADULT.replace("K\n", "K.\n")
    (tmp_path / "adult.test").write_text(f"{official}\n")
    found = evaluate(home, tmp_path / "e.json", model="adult", protocol="adult", data=tmp_path)
    # 15 cells a row, and whether there is a workclass, which one training row in two lacks
    assert found["n"] == 2 and found["positions"] == 32
    assert found["protocol"]["denominator"].startswith("every cell's value, and whether it has one")
    assert found["protocol"]["given"] == "nothing"
    hidden = tmp_path / "hidden"
    assert main([*prepare[:3], str(hidden), "--split", "1,0,0", "--missing-is", "unknown"]) == 0
    assert open_data(hidden).terms()["denominator"] == "every cell with a value"


def test_binarized_digits_and_pictures(home, tmp_path):
    random = np.random.default_rng(0)
    file = tmp_path / "binarized_mnist_test.packbits.u8"
    random.integers(256, size=98 * 20, dtype=np.uint8).tofile(file)
    flags = ["--format", "packbits", "--shape", "28,28,1"]
    assert main(["prepare", "images", str(file), str(home / "bits-data"), *flags]) == 0
    command = ["train", "demo", "--data", str(home / "bits-data"), "--out", str(home / "bits")]
    assert main([*command, *TRAIN, "--length", "0"]) == 0
    how = {"model": "bits", "protocol": "mnist-binarized"}
    found = evaluate(home, tmp_path / "e.json", "--repeats", "1", data=tmp_path, **how)
    assert found["n"] == 20 and found["positions"] == 20 * 784
    rows = [np.append(i, random.integers(256, size=3072)).astype(np.uint8) for i in range(4)]
    np.concatenate(rows).tofile(tmp_path / "test_batch.bin")
    from unmask.kinds.images.kind import Images

    Images({}, Path()).follow("cifar10-bpd", tmp_path, tmp_path / "cifar")
    data = open_data(tmp_path / "cifar")
    assert data.window_count("test", 3072) == 4 and data.vocab_size == 256
    assert data.meta["protocol"]["official"].startswith("not known")


def test_uniprot(home, tmp_path):
    letters = "ACDEFGHIKLMNPQRSTVWY"
    records = (f">p{i}\n{letters[i % 20]}{letters[i // 20]}{letters * 3}\n" for i in range(60))
    (tmp_path / "uniprot.fasta").write_text("".join(records))
    prepare = ["prepare", "proteins", str(tmp_path / "uniprot.fasta"), str(home / "protein-data")]
    assert main(prepare) == 0
    train(home, "protein", "proteins", "--length", "64")
    how = {"model": "protein", "protocol": "uniprot", "data": tmp_path / "uniprot.fasta"}
    found = evaluate(home, tmp_path / "e.json", **how)
    assert found["n"] == 3 and found["length"] == 512 and found["positions"] == 3 * 62
    assert found["protocol"]["given"] == "lengths, and which ends of a sequence a window holds"
    assert found["protocol"]["denominator"] == "every residue that is known"
