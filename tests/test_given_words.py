"""A report's text that is filled in around given words: the words, both schedules, and what has no
such part."""

import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
import torch
from served import SMALL, TEXT, runs_of
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from unmask import MaskedDiffusion
from unmask.cli import main
from unmask.data import prepare_text
from unmask.evaluation.presentation import SCHEDULES, Watching, drawn, grid_of, worded
from unmask.kinds.text import words
from unmask.kinds.text.tokenizers import Bytes, Characters, Ids, Subwords, read_subwords
from unmask.roles import GIVEN, HOLE
from unmask.schedules import Cosine, Linear
from unmask.train import train

WORDS = ("the \u2013", " fox ", " dog.")
FLAGS = ["--steps", "6", "--num", "1", "--dtype", "float32"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("words")
    runs_of(home)
    return home


def reported(home, run, *flags):
    """The exit code of the verb, and the page, if one was written."""
    out = home / "page.html"
    out.unlink(missing_ok=True)
    code = main(["report", str(home / run), "--out", str(out), *FLAGS, *flags])
    return code, out.read_text(encoding="utf-8") if out.exists() else ""


def section(page):
    """What the page says of given words, and of each schedule the pieces (text, state) in which it
    is known: 0 of what is given."""
    part = page.partition("<h2>Given words</h2>")[2].partition("</section>")[0]
    boards = re.findall(r'<h3>(\w+) schedule</h3><div class="board">(.*?)</div>', part, re.DOTALL)
    found = {}
    for name, html in boards:
        cut = re.split(r"(<span .*?</span>)", html, flags=re.DOTALL)
        pieces = []
        for piece in cut:
            state = re.search(r'data-known="(\d+)"', piece)
            text = unescape(re.sub(r"<.*?>", "", piece)).replace(" \n", "\n")
            if text:
                pieces.append((text, int(state[1]) if state else 0))
        found[name.lower()] = pieces
    return re.search(r"<p>(.*?)</p>", part), found


def given(pieces):
    """The runs of what is there from the beginning."""
    return [text for text, state in pieces if state == 0]


# ---------------------------------------------------------------- words


@pytest.mark.parametrize(
    "text, found",
    [
        ("ead one two three four fi", ("one ", " three ", " four")),
        ("x\nROMEO:\nO, I am fortune's fool! \n", ("ROMEO:\n", " am ", " fool!")),
        ("a - b c\td ", ("b ", " c\t", "\td")),  # a dash is no word
        (f"a b {'x' * 25} c d e", ("b ", " c ", " d")),
        ("a b\ufffd \u00e9t\u00e9 \u4f60 d e", ("\u00e9t\u00e9 ", " \u4f60 ", " d")),
    ],
)
def test_whole_words_of_an_example(text, found):
    assert words.words_of(text, Bytes()) == found
    assert text.index(found[0]) < text.index(found[1]) < text.rindex(found[2])


@pytest.mark.parametrize("text", ["", "one", "one two three four", "\u4f60\u597d" * 40])
def test_an_example_of_fewer_words(text):
    with pytest.raises(ValueError, match=r"has \d whole words, and 3 are given: give --words"):
        words.words_of(text, Bytes())


def test_words_stand_at_both_ends_and_in_the_middle():
    tokenizer = Bytes()
    example = words.worded(tokenizer, WORDS, 40)
    raw = bytes(example.ids.astype(np.uint8))
    start, middle, end = (word.encode() for word in WORDS)
    left = (40 - len(start + middle + end)) // 2
    assert raw.startswith(start) and raw.endswith(end) and len(raw) == 40
    assert raw[len(start) + left :].startswith(middle)
    assert ((example.role == HOLE) | (example.role == GIVEN)).all()
    assert (example.role == GIVEN).sum() == len(start + middle + end)
    only = words.worded(tokenizer, ("", "ab", ""), 5)
    assert only.role.tolist() == [HOLE, GIVEN, GIVEN, HOLE, HOLE]
    assert words.worded(tokenizer, ("ab", "c", "d"), 6).role.tolist().count(HOLE) == 2
    with pytest.raises(ValueError, match="the words have 4 of 5 tokens: give shorter ones"):
        words.worded(tokenizer, ("ab", "c", "d"), 5)


def test_words_of_subwords(tmp_path):
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=300, initial_alphabet=letters))
    bpe.save(str(tmp_path / "bpe.json"))
    tokenizer = read_subwords(tmp_path / "bpe.json")
    example = words.worded(tokenizer, WORDS, 30)
    runs = np.split(example.ids, np.flatnonzero(np.diff(example.role)) + 1)
    assert [tokenizer.decode(run) for run in runs[::2]] == list(WORDS)


LOSING = {
    # words, what comes back of the second, and text of which only three words are kept
    "capitals": (("one ", " Two ", " four"), "' two '", "x One two Three four Five six x"),
    "unknown": (("one", "a", "four"), "'[UNK]'", ""),
    "blanks": (("one", " two ", "four"), "'two'", ""),
}


@pytest.mark.parametrize("how", LOSING)
def test_words_that_tokens_do_not_keep(how):
    given, back, text = LOSING[how]
    if how == "capitals":
        model = Tokenizer(models.BPE())
        model.normalizer = normalizers.Lowercase()
        model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        model.decoder = decoders.ByteLevel()
        letters = pre_tokenizers.ByteLevel.alphabet()
        model.train_from_iterator([TEXT], trainers.BpeTrainer(initial_alphabet=letters))
    else:
        entries = {"[UNK]": 0, "one": 1, "two": 2, "four": 3}
        model = Tokenizer(models.WordLevel(entries, unk_token="[UNK]"))
        model.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = Subwords(model.to_str())
    said = re.escape(f"{given[1]!r} comes back as {back} from the model's tokens: give other")
    with pytest.raises(ValueError, match=said):
        words.worded(tokenizer, given, 40)
    assert words.worded(tokenizer, ("one", "two", "four"), 40).role.tolist().count(GIVEN) >= 3
    if text:
        assert words.words_of(text, tokenizer) == ("two ", " four ", " six")
    else:
        lost = "has 0 whole words, 3 others are not kept by its tokens, and 3 are given"
        with pytest.raises(ValueError, match=lost):
            words.words_of("x one two four x", tokenizer)


# ---------------------------------------------------------------- both schedules


@pytest.mark.parametrize("name, own", [("linear", Linear()), ("cosine", Cosine())])
def test_a_grid_of_shares_is_the_schedule(home, name, own):
    """Bit for bit what the network does when the schedule is its own, on a uniform grid: whichever
    it was trained with."""
    shares = grid_of(SCHEDULES[name], 8)
    t = torch.arange(8, -1, -1, dtype=torch.float64) / 8
    told = t if name == "linear" else (torch.pi / 2 * t).sin()
    assert torch.allclose(shares, told, rtol=0, atol=1e-15) and shares[0] == 1 and shares[-1] == 0
    model = MaskedDiffusion.from_pretrained(home / "text-run")
    example = words.worded(Bytes(), WORDS, 48)
    found = {}
    for trained in (Linear(), Cosine()):
        model.schedule = trained
        found[type(trained)] = worded(model, example, steps=8, seed=3)[name]
    model.schedule = own
    alone = drawn(Watching(model, grid="uniform", steps=8, seed=3), [example])
    for one in found.values():
        assert np.array_equal(one.rows[0], alone.rows[0])
        assert np.array_equal(one.known[0], alone.known[0]) and one.steps == 8
    assert (alone.known[0][example.role == GIVEN] == 0).all()
    assert (alone.known[0][example.role == HOLE] > 0).all()


def test_both_reveal_as_their_schedules_say(home):
    """4,000 holes: the share that is known after each step, within five standard errors."""
    model = MaskedDiffusion.from_pretrained(home / "text-run")
    example = words.worded(Bytes(), ("a", "b", "c"), 4003)
    for name, one in worded(model, example, steps=4, seed=0).items():
        known = one.known[0][example.role == HOLE]
        for step, masked in enumerate(grid_of(SCHEDULES[name], 4).tolist()):
            share, error = (known <= step).mean(), (masked * (1 - masked) / 4000) ** 0.5
            assert abs(share - (1 - masked)) <= 5 * error, (name, step)


# ---------------------------------------------------------------- in the report


def test_words_of_the_command_stay_in_every_frame(home):
    code, page = reported(home, "text-run", "--words", *WORDS)
    said, found = section(page)
    assert code == 0 and list(found) == ["linear", "cosine"]
    for pieces in found.values():
        assert given(pieces) == list(WORDS)
        assert pieces[0] == (WORDS[0], 0) and pieces[-1] == (WORDS[-1], 0)
        # so long as no letter of several bytes was drawn
        assert sum(len(text.encode()) for text, _ in pieces) >= 48
    assert found["linear"] != found["cosine"]
    assert "in 6 ancestral steps" in said[1] and "example of" not in said[1]
    part = page.partition("<h2>Given words</h2>")[2]
    assert part.index('class="player"') < part.index('class="beside"')


@pytest.mark.parametrize("sampler", [["--sampler", "counts"], ["--grid", "uniform"]])
def test_the_sampler_of_the_samples_is_another_matter(home, sampler):
    pages = [reported(home, "text-run", "--words", *WORDS, *more)[1] for more in ([], sampler)]
    assert section(pages[0])[1] == section(pages[1])[1] != {}


def test_words_of_a_held_out_example(home):
    flags = ["--data", str(home / "text"), "--split", "validation", "--limit", "2"]
    code, page = reported(home, "text-run", *flags)
    said, found = section(page)
    assert code == 0 and "of an example of the validation split" in said[1]
    for pieces in found.values():
        first, middle, last = given(pieces)
        for word in (first, middle, last):
            assert f"{word.strip()} " in TEXT
        assert f" {first}" in TEXT and middle in TEXT and f"{last} " in TEXT
    assert len({tuple(given(pieces)) for pieces in found.values()}) == 1


@pytest.mark.slow
def test_nothing_else_of_the_page_changes(home):
    """The words are drawn from the seed, and not from what the rest draws from."""
    pages = [reported(home, "text-run", "--audit", "--words", w, "", "")[1] for w in "ab"]
    cut = [
        re.sub(r"<section>\s*<h2>Given words.*?</section>", "", p, flags=re.DOTALL) for p in pages
    ]
    assert cut[0].replace("--words a", "--words b") == cut[1] and pages[0] != pages[1]


def test_kinds_without_words_have_no_such_part(home, capsys):
    for run in ("dice-run", "images-run", "tables-run", "proteins-run"):
        code, page = reported(home, run)
        assert code == 0 and "Given words" not in page, run
    assert "no words are given" not in capsys.readouterr().err
    assert reported(home, "tables-run", "--words", "a", "b", "c") == (2, "")
    assert "--words is not for a table: leave it out" in capsys.readouterr().err


def test_a_sample_without_words_is_told(home, capsys):
    """That of a network which has learned nothing."""
    code, page = reported(home, "text-run", "--length", "3")
    assert code == 0 and "Given words" not in page
    said = capsys.readouterr().err
    assert re.search(r"note: no words are given: the example has \d whole words, and 3", said)


@pytest.mark.parametrize(
    "change, said",
    [
        ({"time": True}, "its network looks at t, and no other schedule than its own"),
        ({"time": True, "schedule": "learned"}, "its schedule is learned, one curve per value"),
        ({"rival": "sedd", "schedule": "linear"}, "and this is --rival sedd"),
    ],
)
def test_a_model_of_one_schedule_has_none(home, tmp_path, capsys, change, said):
    train(replace(SMALL, **change), home / "text", tmp_path / "run")
    code, page = reported(tmp_path, "run")
    assert code == 0 and "Given words" not in page and said in capsys.readouterr().err
    assert reported(tmp_path, "run", "--words", *WORDS) == (2, "")
    assert said in capsys.readouterr().err


def test_words_that_cannot_be(home, tmp_path, capsys):
    assert reported(home, "text-run", "--words", "a" * 40, "b" * 4, "c" * 3) == (2, "")
    assert "the words have 47 of 48 tokens: give shorter ones" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        reported(home, "text-run", "--words", "a", "b")
    assert "Expected 3 values" in capsys.readouterr().err
    text = tmp_path / "a.txt"
    text.write_text("abc " * 200)
    prepare_text(text, tmp_path / "letters", tokenizer="characters", progress=False)
    train(SMALL, tmp_path / "letters", tmp_path / "run")
    assert reported(tmp_path, "run", "--words", "a", "z", "c") == (2, "")
    assert "--words: " in (err := capsys.readouterr().err) and "'z'" in err


def test_ready_ids_have_no_words(home):
    from unmask.kinds.text.kind import Text

    kind = Text({"tokenizer": Ids(9).spec(), "vocab_size": 9}, home)
    with pytest.raises(ValueError, match="of which no word is known"):
        kind.worded(("1", "2", "3"), None, 9)
    letters = Text({"tokenizer": Characters("ab ").spec(), "vocab_size": 3}, home)
    ids = letters.tokenizer.encode(" a b aa bb ")
    assert letters.tokenizer.decode(letters.worded(("", "", ""), ids, 12).ids[[0, -2, -1]]) == "abb"
