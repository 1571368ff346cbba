"""The report as HTML and as a picture: well-formed, self-contained, escaped, and with the numbers
that were passed in."""

import json
import math
import re
import struct
from html.parser import HTMLParser

import pytest
import torch

from unmask import schedules
from unmask.report.report import curve, evaluations, picture, write_report

NASTY = 'a<b> & "c" \'d\'\n</script><img src="x">$_^'
VOID = {"meta", "input", "img", "br", "link"}


def frames():
    return [
        [char if i % 4 < step else ("" if step % 2 else None) for i, char in enumerate(NASTY)]
        for step in range(5)
    ]


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
        "samples": [NASTY, "\nsecond\x00\x1b\ud800"],
        "fill": {
            "before": [(NASTY, True), ("", False)],
            "after": [[(NASTY, True), (NASTY, False)], [(NASTY, True), ("!", False)]],
        },
        "frames": frames(),
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


def page(tmp_path, **changes):
    path = write_report(tmp_path / "report.html", **inputs(**changes))
    text = path.read_text(encoding="utf-8")
    return text, Page(text)


def test_texts_arrive_as_they_are(tmp_path):
    text, found = page(tmp_path)
    assert found.all("title") == found.all("h1") == [f"Title {NASTY}"]
    assert found.all("td")[0] == NASTY and found.all("footer") == [f"unmask demo {NASTY}"]
    # HTML drops a newline that follows <pre>
    pre = [each.removeprefix("\n") for each in found.all("pre")]
    assert pre == [
        NASTY,
        NASTY,
        "\nsecond\u2400\u241b\ufffd",
        NASTY + "\xa0" * 4,
        NASTY + NASTY,
        NASTY + "!",
    ]
    assert len(found.all("script")) == 2 and "<img" not in text
    assert "</script>" not in "".join(found.all("script"))


def test_frames_can_be_put_together_again(tmp_path):
    _, found = page(tmp_path)
    data = json.loads(found.all("script")[0])
    state, states = [0] * data["size"], []
    for changes in data["changes"]:
        for i, text in changes:
            state[i] = text
        states.append([text or None for text in state])
    assert states == [[text or None for text in frame] for frame in frames()]
    assert ("input", "max", "4") in found.attributes


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    text, found = page(tmp_path)
    assert not re.search(r"https?:|url\(|@import|//[a-z]", text)
    assert not [a for a in found.attributes if a[1] in ("src", "href", "srcset")]


def test_numbers_appear_with_their_units(tmp_path):
    text, found = page(tmp_path)
    labels = [
        value for tag, name, value in found.attributes if (tag, name) == ("svg", "aria-label")
    ]
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
    text, found = page(
        tmp_path,
        log=[],
        bound_by_count=[],
        baselines={},
        bound=(math.inf, math.nan),
        samples=[],
        fill=None,
        frames=None,
        summary=[],
    )
    assert (
        found.all("h2") == ["How good it is", "The schedule"]
        and "<script" not in text
        and "inf" in found.all("td")
    )


def test_only_evaluations_or_only_one_step(tmp_path):
    page(tmp_path, log=[{"step": 0, "bits": 2.0}])
    page(tmp_path, log=[{"step": 0, "loss": 1.0}], baselines={})


def test_the_running_mean():
    steps, bits, smooth = curve([{"step": i, "loss": math.log(2) * i} for i in range(100)])
    assert steps[-1] == bits[-1] == 99 and smooth[0] == 0
    assert smooth[50] == pytest.approx(50) and smooth[-1] == pytest.approx(98)
    assert curve([{"step": 1, "loss": None}, {"step": 1, "bits": 1.0}]) is None
    assert evaluations(log()) == [(99, 2.125, 0.0625)]


def test_frames_of_different_lengths(tmp_path):
    with pytest.raises(ValueError, match="frame 1 has 2 positions, but frame 0 has 1"):
        page(tmp_path, frames=[["a"], ["a", "b"]])
    with pytest.raises(ValueError, match="no frames"):
        picture(tmp_path / "p.png", frames=[], log=[], unit="byte", baselines={}, bound=(1.0, 0.1))


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
