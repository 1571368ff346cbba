"""The report as HTML and as a picture: well-formed, self-contained, escaped, and with the numbers
that were passed in."""

import base64
import json
import math
import os
import re
import struct
import subprocess
import sys
from html.parser import HTMLParser

import dice
import numpy as np
import pytest
import torch
from served import runs_of
from test_protocols import byte_level
from test_roles import network_model

from unmask import MaskedDiffusion, schedules
from unmask.cli import main
from unmask.data import open_data, prepare_proteins, prepare_text
from unmask.filling import Filler
from unmask.kinds.kind import Partial, State, blank
from unmask.kinds.registry import kind_of
from unmask.kinds.text.kind import Text
from unmask.kinds.text.letters import letters
from unmask.kinds.text.tokenizers import Bytes
from unmask.kinds.view import Line, Picture, Piece, Rows
from unmask.report.boards import Board, Filling, Odds, drawn, of_filling, of_samples, states
from unmask.report.curves import curve, evaluations
from unmask.report.picture import picture
from unmask.report.pieces import Figure, table
from unmask.report.report import some_windows, write_report
from unmask.report.reveal import Revealed, Watch, of_states
from unmask.roles import GIVEN, HOLE, UNKNOWN

NASTY = 'a<b> & "c" \'d\'\n</script><img src="x">$_^'
VOID = {"meta", "input", "img", "br", "link"}


class Letters(dice.Dice):
    """A token is a character of NASTY, and a hostile one: none of it may become HTML."""

    def __init__(self):
        super().__init__({}, None)

    def piece(self, i):
        return NASTY[i]


class Cells(Letters):
    """The same as two columns with hostile names; the last value is a missing one."""

    def views(self, rows, shown):
        made = [[Piece(NASTY[i], (at,), i == 0) for at, i in enumerate(row)] for row in rows]
        return [Rows([NASTY, "<i>b</i>"], made)]


def revealed(rows, known, sure=0.5):
    rows, known = [np.array(row) for row in rows], [np.array(one) for one in known]
    return Revealed(rows, known, [np.full(len(row), sure) for row in rows], 9)


def samples():
    every = np.arange(len(NASTY))
    return revealed([every, every], [1 + every % 4, 1 + every % 4])


def log():
    rows = [
        {"step": i, "loss": math.log(2) * (2 + 3 / (1 + i)), "seconds": 0.1 * i} for i in range(100)
    ]
    return [
        *rows,
        {"step": 50, "loss": float("nan")},
        {"step": 99, "bits": 2.125, "stderr": 0.0625},
    ]


def inputs(**changes):
    given = {
        "title": f"Title {NASTY}",
        "summary": [("Data", NASTY), ("Network", "2 layers")],
        "log": log(),
        "unit": "character",
        "schedule": schedules.Linear(),
        "bound_by_count": [
            (0.25, math.log(2), 0.01),
            (0.5, 2 * math.log(2), math.nan),
            (1.0, 4 * math.log(2), 0.01),
        ],
        "baselines": {f"bigram {NASTY}": 3.5, "trigram": 3.0},
        "bound": (2.125, 0.0625),
        "sections": of_samples(Letters(), samples()),
        "figures": [Figure(NASTY, NASTY, NASTY, b"\x89PNG")],
        "sources": f"unmask demo {NASTY}",
    }
    return given | changes


class Page(HTMLParser):
    """Tags must balance; collects the text of elements, and attributes."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.found, self.attributes = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append([tag, ""])

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_endtag(self, tag):
        name, text = self.open.pop()
        assert name == tag
        self.found.append((tag, text))
        if self.open:
            self.open[-1][1] += text

    def handle_data(self, data):
        if self.open:
            self.open[-1][1] += data

    def all(self, tag):
        return [text for name, text in self.found if name == tag]

    def values(self, tag, attribute):
        return [value for *of, value in self.attributes if of == [tag, attribute]]


def page(tmp_path, **changes):
    path = write_report(tmp_path / "report.html", **inputs(**changes))
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def boards(text):
    """What stands on each board of a text, with the blank that shows the end of a hidden line."""
    return [text for text in re.findall(r'<div class="board">(.*?)</div>', text, re.DOTALL)]


def read(html):
    found = Page(f"<div>{html}</div>")
    return found.all("div")[0]


# ---------------------------------------------------------------- the page


def test_texts_arrive_as_they_are(tmp_path):
    text, found = page(tmp_path)
    assert found.all("title") == found.all("h1") == [f"Title {NASTY}"]
    assert found.all("td")[0] == NASTY and found.all("footer") == [f"unmask demo {NASTY}"]
    assert NASTY in found.all("h2") and found.values("img", "alt") == [NASTY]
    first, second = boards(text)
    assert read(first) == NASTY.replace("\n", " \n") and read(second) == NASTY
    assert len(found.all("script")) == 1 and text.count("<img") == 1
    assert "</script>" not in "".join(found.all("script"))


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    text, found = page(tmp_path)
    style = "".join(found.all("style"))
    assert not re.search(r"https?:|url\(|@import", text)
    assert "import " not in "".join(found.all("script"))  # of a module: the player is before it
    assert all(value.startswith("data:") for value in found.values("img", "src"))
    assert not [a for a in found.attributes if a[1] in ("href", "srcset")] and "src=" not in style


def test_what_is_seen_without_scripts_is_the_last_state(tmp_path):
    """The player is hidden until the script shows it, and nothing else is."""
    text, found = page(tmp_path)
    assert text.count('<div class="player" hidden>') == 1 and text.count(" hidden>") == 1
    assert "masked" not in "".join(found.values("span", "class"))
    bare, _ = page(tmp_path, sections=[])
    assert "<script" not in bare


def test_numbers_appear_with_their_units(tmp_path):
    text, found = page(tmp_path)
    labels = found.values("svg", "aria-label")
    assert labels[0] == (
        "Loss in bits per character over 99 steps: from 5.00 to 2.03; last evaluation 2.125 ± 0.062"
    )
    assert labels[1] == "Bits per masked position: 1.00 at 25 % masked, 4.00 at 100 %"
    assert len(labels) == 3
    assert found.all("caption") == ["bits per character, on held-out data"]
    assert found.all("td")[-6:] == ["", "3.500", "", "3.000", "", "2.125 ± 0.062"]
    assert "trigram 3.00" in found.all("text")
    assert "area under this curve" in text and not re.search(r"\bnan\b", text)


def test_a_curve_per_value(tmp_path):
    text, _ = page(tmp_path, schedule=schedules.LearnedPolynomial(300, init=2.0))
    assert text.count('class="one"') == 120 and "300 values, a curve each" in text
    assert "area under this curve" not in text


def test_what_is_missing_is_left_out(tmp_path):
    _, found = page(
        tmp_path,
        log=[],
        bound_by_count=[],
        baselines={},
        bound=(math.inf, math.nan),
        sections=[],
        figures=[],
        summary=[],
    )
    assert found.all("h2") == ["How good it is", "The schedule"] and "inf" in found.all("td")


def test_only_evaluations_or_only_one_step(tmp_path):
    page(tmp_path, log=[{"step": 0, "bits": 2.0}])
    page(tmp_path, log=[{"step": 0, "loss": 1.0}], baselines={})


def test_evaluations_are_joined_where_the_loss_is_not_the_bound(tmp_path):
    rows = [{"step": i, "bits": 3.0 - i, "stderr": 0.1, "focused_loss": 9.0} for i in (0, 1, 2)]
    text, found = page(tmp_path, log=rows, baselines={})
    line = re.search(r'class="main" points="([^"]*)"', text)[1].split()
    assert len(line) == 3 and "Evaluations in bits per character over 2 steps" in text
    assert "What training minimises is not the bound here." in text
    only = [{"step": i, "bits": 3.0 - i} for i in (0, 1)]  # before the first row of losses
    text, _ = page(tmp_path, log=only, baselines={})
    assert "What training minimises" not in text and "Bound in" not in text


def test_a_curve_without_levels_fills_its_plot(tmp_path):
    text, _ = page(tmp_path, baselines={}, log=[{"step": i, "loss": 3.0 + i} for i in range(9)])
    curve_ = re.search(r'class="main" points="([^"]*)"', text)[1].split()
    assert max(float(point.split(",")[1]) for point in curve_) > 90


def test_a_table_of_words_is_escaped():
    found = Page(table([[NASTY, "b"], ["1 +- 2", "<td>"]], NASTY))
    assert found.all("th") == [NASTY, "b", "1 ± 2"] and found.all("td") == ["<td>"]


# ---------------------------------------------------------------- examples


def test_states_can_be_put_together_again():
    """Of each position, in which state it appears; states that change nothing are none."""
    rows, known = [[0, 1, 2, 3]], [[0, 3, 7, -1]]
    board = Board("", revealed(rows, known))
    assert states([board]).tolist() == [0, 3, 7]
    html = drawn(Letters(), [board])
    found = Page(html)
    assert found.values("div", "data-steps") == ["0 3 7"]
    assert found.values("span", "data-known") == ["1", "2"]
    assert found.values("input", "max") == found.values("input", "value") == ["2"]
    (one,) = boards(html)
    assert read(one) == NASTY[:3] + "\xa0"


def test_shades_are_of_how_probable_a_value_was():
    for sure, shade in ((0.1, 1), (0.3, 2), (0.5, 3), (0.7, 4), (0.9, 5), (1.0, 5)):
        html = drawn(Letters(), [Board("", revealed([[1]], [[1]], sure))])
        assert f'filled s{shade}"' in html.partition('class="board"')[2], sure
    two = Revealed([np.array([1, 2])], [np.array([1, 2])], [np.array([0.5, 0.6])], 2)

    class Pairs(Letters):
        def views(self, rows, shown):
            return [Line(0, [Piece("xy", (0, 1))])]

    html = drawn(Pairs(), [Board("", two)])  # both are needed to know it
    assert 'data-known="2" title="30 %"' in html


def test_rows_are_a_table_with_missing_cells_and_probabilities():
    shown = revealed([[0, 1], [2, 4], [1, 1]], [[0, 2], [-1, 1], [-2, 0]], 0.25)
    found = Page(drawn(Cells(), [Board("", shown)]))
    assert found.all("th") == ["row", NASTY, "<i>b</i>", "1", "2", "3"]
    cells = ["missing", f"{NASTY[1]} 25 %", "hidden", f"{NASTY[4]} 25 %", "not known", NASTY[1]]
    assert found.all("td") == cells


class Hostile(Letters):
    """Every piece is all of NASTY: as a line, as a cell, and in what a picture is called."""

    def __init__(self, as_rows):
        super().__init__()
        self.as_rows = as_rows

    def views(self, rows, shown):
        piece = Piece(NASTY, (0,))
        if self.as_rows:
            return [Rows([NASTY], [[piece]])]
        return [Line(0, [piece]), Picture(0, b"png", (1, 1, 1), NASTY)]


@pytest.mark.parametrize("known", [0, 1])
def test_no_piece_becomes_html(known):
    board = Board(NASTY, revealed([[0]], [[known]], 0.5))
    found = Page(drawn(Hostile(False), [board]))
    assert found.all("h3") == [NASTY] and found.values("img", "alt") == [NASTY]
    assert NASTY.replace("\n", " \n" if known else "\n") in found.all("div")
    found = Page(drawn(Hostile(True), [board]))
    assert found.all("th")[1] == NASTY and "script" not in dict(found.found)
    assert found.all("td")[0].removesuffix(" 50 %") == NASTY


def test_a_filling_says_what_was_given_what_it_costs_and_what_there_was():
    role = np.array([GIVEN, HOLE, UNKNOWN], np.int8)
    example = Partial(np.array([0, 1, 2]), role)
    copy = revealed([[0, 5, 2]], [[0, 1, -2]])
    truth = [example._replace(role=np.array([GIVEN, GIVEN, UNKNOWN]))]
    odds = [Odds(f"row 1, {NASTY}", [(NASTY, 0.75), ("", 0.05)])]
    section = of_filling(Letters(), Filling([example], [copy], ["at most 3"], truth, "4", odds, 7))
    found = Page(section.body)
    assert found.all("h3")[:3] == ["Given", "Filling 1, at most 3", "What there was, 4"]
    blank = "\xa0"
    given, filled, there = (read(one) for one in boards(section.body))
    assert given == NASTY[0] + blank + "?" and filled == NASTY[0] + NASTY[5] + "?"
    assert there == NASTY[:2] + "?"  # of what is not known, nothing is told
    assert found.all("td")[:3] == [f"{NASTY} 75 %", "missing 5.0 %", ""]
    assert "and 7 more" in found.all("th")


def test_watching_a_filler_by_hand():
    """Two fillings of one example, and one that is not watched, in two batches."""
    watch, numbers, other = Watch(3), [0, 1], [2, 3]
    shown = np.array([[1, 0, 0], [1, 1, 0]], bool)
    begun = np.array([[9, 0, 0], [9, 7, 0]])
    watch.told(numbers, State(begun, shown, np.ones((2, 3))))
    ids, sure = np.array([[9, 5, 6], [9, 7, 8]]), np.array([[1, 0.5, 0.25], [1, 0.125, 1]])
    watch.told(numbers, State(ids, np.ones((2, 3), bool), sure))
    watch.told(other, State(ids, np.ones((2, 3), bool), sure))
    example = Partial(np.array([9, 0, 0]), np.array([GIVEN, HOLE, HOLE], np.int8))
    # they come back in the order of their scores
    for row, known, chance in (
        ([9, 7, 8], [0, 1, 2], [1, 0.125, 1]),
        ([9, 5, 6], [0, 2, 2], [1, 0.5, 0.25]),
    ):
        found = watch.revealed([example], [np.array(row)], 2)
        assert found.known[0].tolist() == known and found.sure[0].tolist() == chance
    assert found.steps == 2 and 3 not in watch.ids


def test_states_of_a_sampler():
    shown = [[[1, 0, 0]], [[1, 0, 1]], [[1, 1, 1]]]
    given = [State(np.array([[4, 5, 6]]), np.array(one, bool)) for one in shown]
    assert of_states(given).known[0].tolist() == [0, 2, 1]


def test_what_is_drawn_again_within_a_step_is_known_from_then_on():
    """Of hidden positions; without having been seen hidden in between, and with the same value."""
    ids = [[0, 0, 0, 0], [1, 2, 3, 0], [1, 5, 3, 0], [1, 2, 3, 7], [1, 2, 3, 7]]
    shown = [[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]]
    states = [
        State(np.array([one]), np.array([seen], bool)) for one, seen in zip(ids, shown, strict=True)
    ]
    assert of_states(states).known[0].tolist() == [1, 3, 3, 3]


@pytest.mark.parametrize("sampler", ["forward-backward", "remdm-rescale"])
def test_a_report_shows_no_value_before_the_sampler_has_it(sampler):
    """What is shown from a step on is what is there, in all states from that step on."""
    model, states, watch = network_model(4), [], Watch(3)
    with torch.no_grad():
        model.backbone.head.weight *= 0.1  # or one value would be certain

    def told(numbers, state):
        states.append(state)
        watch.told(numbers, state)

    how = {"eta": 1.0} if sampler == "remdm-rescale" else {"corrections": 3}
    filler = Filler(model, sampler=sampler, steps=6, told=told, **how)
    examples = [blank(7)] * 3
    rows = [one.ids for (one,) in filler.fill(examples)]
    known = np.stack(watch.revealed(examples, rows, 1).known)
    there = np.stack([state.shown & (state.ids == rows) for state in states], 2)  # (3, 7, 6)
    since = np.array([[np.flatnonzero(~one).max(initial=-1) + 2 for one in row] for row in there])
    assert (known == since).all()
    # some were drawn again and had another value before
    shown = np.stack([state.shown for state in states], 2)
    assert (shown & ~there).any()


@pytest.mark.parametrize(
    "text, hidden, expected",
    [
        (b"a\xc3\xa9", (), ["a", "\u00e9"]),
        (b"a\xc3\xa9b", (2,), ["a", "\ufffd", "", "b"]),
        (b"\xff\xe6\xbc\xa2\xf0\x9f", (), ["\ufffd", "\u6f22", "\ufffd", "\ufffd"]),
        (b"", (), []),
    ],
)
def test_letters_of_bytes(text, hidden, expected):
    shown = np.array([i not in hidden for i in range(len(text))], bool)
    pieces = letters(np.frombuffer(text, np.uint8), shown, Bytes().decode)
    assert [piece.text for piece in pieces] == expected
    assert [i for piece in pieces for i in piece.at] == list(range(len(text)))


def test_letters_of_subwords(tmp_path):
    """Of GPT-2's kind, whose tokens hold any bytes: parts of a letter are shown together."""
    tokenizer = byte_level([("t", "h"), ("\u0120", "\u00e6"), ("\u00a2", "\u00e6")])
    for name, content in tokenizer.files().items():
        (tmp_path / name).write_bytes(content)
    meta = {"tokenizer": tokenizer.spec(), "vocab_size": tokenizer.vocab_size}
    kind = Text(meta, tmp_path)
    ids = tokenizer.encode("th \u6f22\u6f22 th\u00e9").astype(np.int64)
    shown = np.ones((2, len(ids)), bool)
    shown[1, 4] = False
    whole, part = kind.views([ids, ids], shown)
    assert [piece.text for piece in whole.pieces] == ["th", " \u6f22\u6f22", " ", "th", "\u00e9"]
    assert [i for piece in whole.pieces for i in piece.at] == list(range(len(ids)))
    assert "".join(piece.text for piece in whole.pieces) == tokenizer.decode(ids)
    assert [piece.text for piece in part.pieces].count("") == 1
    assert [piece.text for piece in part.pieces][-3:] == [" ", "th", "\u00e9"]


# ---------------------------------------------------------------- numbers and the picture


def test_the_running_mean():
    steps, bits, smooth = curve([{"step": i, "loss": math.log(2) * i} for i in range(100)])
    assert steps[-1] == bits[-1] == 99 and smooth[0] == 0
    assert smooth[50] == pytest.approx(50) and smooth[-1] == pytest.approx(98)
    assert curve([{"step": 1, "loss": None}, {"step": 1, "bits": 1.0}]) is None
    assert evaluations(log()) == [(99, 2.125, 0.0625)]


def frames():
    return [
        [char if i % 4 < step else ("" if step % 2 else None) for i, char in enumerate(NASTY)]
        for step in range(5)
    ]


def test_frames_of_different_lengths(tmp_path):
    how = {"log": [], "unit": "byte", "baselines": {}, "bound": (1.0, 0.1)}
    with pytest.raises(ValueError, match="frame 1 has 2 positions, but frame 0 has 1"):
        picture(tmp_path / "p.png", frames=[["a"], ["a", "b"]], **how)
    with pytest.raises(ValueError, match="no frames"):
        picture(tmp_path / "p.png", frames=[], **how)


@pytest.mark.parametrize(
    "rows, bound", [(log(), (2.125, 0.0625)), ([], (2.0, math.nan)), ([], (math.inf, math.nan))]
)
def test_picture(tmp_path, rows, bound):
    import matplotlib

    before = dict(matplotlib.rcParams)
    # a letter that the font lacks, no formula, never revealed
    several = [[*frame, "\u4e2d", "$a", None] for frame in frames()]
    path = picture(
        tmp_path / "p.png",
        frames=several,
        log=rows,
        unit="token",
        baselines={"bigram $x": 3.5},
        bound=bound,
    )
    data = path.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and struct.unpack(">II", data[16:24]) == (1600, 700)
    assert dict(matplotlib.rcParams) == before


def test_the_schedule_may_be_trained(tmp_path):
    schedule = schedules.LearnedPolynomial(3)
    assert schedule.masked(torch.ones(1)).requires_grad
    page(tmp_path, schedule=schedule)


# ---------------------------------------------------------------- the verb, of every kind


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Data of five kinds, and runs of two steps."""
    home = tmp_path_factory.mktemp("runs")
    runs_of(home)
    return home


def made(home, name, tmp_path, *flags):
    out = tmp_path / "page.html"
    command = ["report", str(home / f"{name}-run"), "--out", str(out), "--steps", "6", *flags]
    assert main(command) == 0
    text = out.read_text(encoding="utf-8")
    return text, Page(text)


@pytest.mark.parametrize("name", ["text", "proteins", "images", "tables", "dice"])
def test_a_report_of_a_run_without_data(home, tmp_path, name):
    text, found = made(home, name, tmp_path)
    facts = dict(zip(found.all("th"), found.all("td")))
    assert "bytes)" in facts["trained on"] and facts["training"].startswith("2 steps in")
    assert "bits per" in facts["validation, while it trained"]
    heads = found.all("h2")
    assert heads[0].startswith("How ") and {"Filling in", "Training", "The schedule"} <= set(heads)
    assert "How good it is" not in heads and "held-out bound" not in facts
    assert "A part of what the model drew itself" in text
    assert found.values("div", "data-steps")[0].startswith("0 ")
    assert not re.search(r"https?:|url\(", text) and str(home) not in text


@pytest.mark.parametrize("name", ["text", "proteins", "images", "tables", "dice"])
def test_a_report_of_a_run_with_data(home, tmp_path, name):
    record = tmp_path / "r.json"
    text, found = made(
        home, name, tmp_path, "--data", str(home / name), "--split", "validation", "--limit", "5",
        "--repeats", "2", "--json", str(record),
    )  # fmt: skip
    facts = dict(zip(found.all("th"), found.all("td")))
    said = json.loads(record.read_text(encoding="utf-8"))
    assert f"{said['value']:.3f} ± {said['stderr']:.3f} {said['unit']}" in facts["held-out bound"]
    assert said["protocol_sha256"][:12] in facts["protocol"] and said["n"] <= 5
    assert f"{said['noise']:.4f} bits" in facts["noise of the masks alone"]
    assert "How good it is" in found.all("h2") and "What there was" in text
    assert str(home) not in text
    flags = ["--data", str(home / name), "--split", "validation", "--limit", "5", "--repeats", "2"]
    again = tmp_path / "e.json"
    command = ["eval", str(home / f"{name}-run"), *flags, "--json", str(again)]
    assert main(command) == 0  # the same number as the verb that is there for it
    assert json.loads(again.read_text(encoding="utf-8"))["value"] == pytest.approx(said["value"])


def test_a_noise_that_is_not_known_is_left_out(home, tmp_path):
    flags = ["--data", str(home / "dice"), "--limit", "5", "--repeats", "1"]
    text, found = made(home, "dice", tmp_path, *flags)
    assert "noise of the masks alone" not in found.all("th")
    assert not re.search(r"\bnan\b", text)


def test_a_curve_of_some_windows_is_not_called_the_bound(home, tmp_path):
    """The rows of a batch are as long as the longest, of which alone all is known."""
    letters = "ACDEFGHIKLMNPQRSTVWY" * 4
    records = [f">{size}\n{letters[:size]}\n" for size in range(20, 61)]
    (tmp_path / "some.fasta").write_text("".join(records), encoding="utf-8")
    prepare_proteins(tmp_path / "some.fasta", tmp_path / "data", split="21,0,20", progress=False)
    whole = sum(len(row) // 24 for row in open_data(tmp_path / "data").sequences("test"))
    text, _ = made(home, "proteins", tmp_path, "--data", str(tmp_path / "data"), "--repeats", "2")
    assert f"It is of {whole} windows of 24 residues alone, and the bound of others" in text
    assert "area under this curve" not in text
    part, _ = made(
        home, "tables", tmp_path, "--data", str(home / "tables"), "--repeats", "2", "--limit", "2"
    )
    assert "and the bound of others" in part and "area under this curve" not in part
    assert some_windows({"x": np.zeros((whole, 24))}, whole, "residue") == ""


def test_no_more_windows_run_together_than_are_asked_for(home, tmp_path, monkeypatch):
    hidden, together = MaskedDiffusion.hidden, []

    def watched(model, z, *args, **told):
        together.append(len(z))
        return hidden(model, z, *args, **told)

    monkeypatch.setattr(MaskedDiffusion, "hidden", watched)
    flags = ["--data", str(home / "dice"), "--limit", "6", "--repeats", "2", "--num", "6"]
    text, _ = made(home, "dice", tmp_path, *flags, "--batch-size", "4")
    assert "How much is hidden" in text and max(together) == 4


def test_a_bound_of_what_was_trained_on_is_not_called_held_out(home, tmp_path):
    prepare_text(home / "a.txt", tmp_path / "again", split="0.5,0.25,0.25", progress=False)
    for data, split in ((home / "text", "train"), (tmp_path / "again", "test")):
        flags = ["--data", str(data), "--split", split, "--limit", "2", "--repeats", "1"]
        text, found = made(home, "text", tmp_path, *flags, "--num", "1")
        assert "held-out" not in text and "has not seen" not in text
        assert f"bits per byte, on the {split} split" in found.all("caption")
        assert f"bound of the {split} split" in found.all("th")


def test_what_is_given_is_what_the_data_have(home, tmp_path):
    _, found = made(home, "tables", tmp_path, "--data", str(home / "tables"), "--limit", "2")
    rows = (home / "a.csv").read_text(encoding="utf-8").split()
    ages = {row.split(",")[0] for row in rows[1:]}
    assert found.all("td")[-1] and ages & set(found.all("td"))
    assert {"age", "job", "pay"} <= set(found.all("th"))


def test_pictures_are_stepped_through(home, tmp_path):
    _, found = made(home, "images", tmp_path)
    known = [base64.b64decode(one) for one in found.values("div", "data-known")]
    assert len(known) >= 16 and {len(one) for one in known} == {2 * 64}
    last = int(found.values("input", "max")[0])
    first = np.stack([np.frombuffer(one, "<u2") for one in known[:16]])
    assert first.min() >= 1 and first.max() == last


def test_the_same_seed_makes_the_same_page(home, tmp_path):
    pages = [made(home, "text", tmp_path, "--seed", seed)[0] for seed in ("1", "1", "2")]
    bodies = [one.partition("<h2>")[2].partition("<footer>")[0] for one in pages]
    assert bodies[0] == bodies[1] != bodies[2]


def test_the_audit_is_told(home, tmp_path):
    text, found = made(home, "dice", tmp_path, "--audit")
    assert "Is its number a bound?" in found.all("h2") and "FAIL" not in found.all("td")
    assert re.search(r"All \d+ hold: 8 samples", text)


def test_a_model_that_tells_nothing_of_its_training(home, tmp_path):
    """As imported weights are: a folder of a model, without a run and without a source."""
    from unmask import MaskedDiffusion

    model = MaskedDiffusion.from_pretrained(home / "dice-run")
    kept = kind_of(model.meta["data"], home).meta | {"source": [], "sha256": {}}
    model.meta["data"] = kept
    model.save_pretrained(tmp_path / "model")
    out = tmp_path / "page.html"
    assert main(["report", str(tmp_path / "model"), "--out", str(out), "--steps", "3"]) == 0
    found = Page(out.read_text(encoding="utf-8"))
    facts = dict(zip(found.all("th"), found.all("td")))
    assert facts["trained on"] == "its folder does not say" and "training" not in facts
    assert "Training" not in found.all("h2")


def test_bad_flags_are_one_sentence_before_the_work(home, tmp_path, capsys):
    run, data = str(home / "dice-run"), str(home / "dice")
    for flags, said in (
        (["--out", str(tmp_path / "page.txt")], "must end in .html"),
        (["--out", ""], "--out is empty"),
        (["--out", str(tmp_path / "no" / "page.html")], "there is no folder"),
        (["--repeats", "0"], "--repeats must be at least 1"),
        (["--num", "-1"], "--num must not be negative"),
        (["--data", str(home / "text")], "the model was trained on dice"),
        (["--data", data, "--out", f"{data}/meta.json"], "is a file of prepared data"),
    ):
        flags = flags if "--out" in flags else [*flags, "--out", str(tmp_path / "page.html")]
        assert main(["report", run, *flags]) == 2, flags
        assert said in capsys.readouterr().err
    assert not list(tmp_path.glob("page*"))


def test_it_is_opened_in_a_browser(home, tmp_path):
    """A real command in the place of one: it writes down what it is to open.  The page names the
    command that made it, and no folder of this machine."""
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n', encoding="utf-8")
    browser.chmod(0o755)
    run = str(home / "text-run")
    flags = ["--out", str(tmp_path / "page.html"), "--num", "1", "--steps", "2", "--open"]
    subprocess.run(
        [sys.executable, "-m", "unmask", "report", run, *flags],
        check=True,
        capture_output=True,
        env=os.environ | {"BROWSER": f"{browser} %s"},
    )
    assert (tmp_path / "opened").read_text().strip() == (tmp_path / "page.html").as_uri()
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    (made_by,) = Page(text).all("footer")
    assert made_by.endswith("unmask report text-run --out page.html --num 1 --steps 2 --open")
    assert str(home) not in text and str(tmp_path) not in text


def test_what_users_call_things_is_shown_as_it_is():
    made = table([["odds", "+-", "n"], ["a+-b", "0.5 +- 0.1", "+-"]], "odds")
    assert made.count("+-") == 3 and "0.5 ± 0.1" in made
