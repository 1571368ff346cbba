"""Moving pictures of a sample: read again state by state, they are the states that were given."""

import random
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageColor

from unmask.cli import main
from unmask.kinds.kind import State
from unmask.kinds.text.kind import Text
from unmask.markup import visible
from unmask.report import moving, write_gif, write_svg
from unmask.report.frames import laid_out

SVG = "{http://www.w3.org/2000/svg}"
NASTY = "a<b> & \"c\" 'd'\n</style><script>\x00\x1b\ud800]]>漢字"


def states(text=NASTY, steps=6, never=(3,), given=(0,)):
    """Of a text: each position appears in some step, `given` ones are there from the first."""
    draw = random.Random(0)
    when = [draw.randint(1, steps) for _ in text]
    for i in given:
        when[i] = 0
    for i in never:
        when[i] = steps + 1
    return [
        [char if step >= since else ("" if step % 2 else None) for char, since in zip(text, when)]
        for step in range(steps + 1)
    ]


def places(frame, columns=moving.COLUMNS):
    """{pixel of a cell's upper left corner: its character} of what a state shows, without blanks;
    a layout of its own."""
    found, x, y = {}, 0, 0
    for text in frame:
        char = visible(text)
        size = 2 if char in "漢字" else 1
        if char == "\n":
            x, y = 0, y + 1
            continue
        if x + size > columns:
            x, y = 0, y + 1
        found[16 + 10 * x, 16 + 22 * y] = char
        x += size
    return found


def in_state(final, frame):
    """The same of a state whose last one is `final`: what is shown, and what is not."""
    cells = places([text or "\ufffd" for text in final])
    order = [i for i, text in enumerate(final) if text != "\n"]
    shown = {place: c for (place, c), i in zip(cells.items(), order) if frame[i]}
    return shown, set(cells) - set(shown)


class Played:
    """An SVG, and what its style says at a time: of step-end animations alone."""

    def __init__(self, text):
        self.root = ElementTree.fromstring(text)
        style = self.root.findtext(f"{SVG}style")
        rule = r"\.(\w+)\{animation:(\w+) ([\d.]+)s step-end infinite\}"
        self.animations = {name: (key, float(s)) for name, key, s in re.findall(rule, style)}
        self.keys = {}
        for name, body in re.findall(r"@keyframes (\w+)\{((?:[\d.]+%\{[^}]*\})+)\}", style):
            steps = re.findall(r"([\d.]+)%\{\w+:([^}]*)\}", body)
            self.keys[name] = [(float(at), value) for at, value in steps]

    def value(self, kind, time, still):
        if kind not in self.animations:
            return still
        name, period = self.animations[kind]
        at = 100 * (time % period) / period
        return [value for begins, value in self.keys[name] if begins <= at][-1]

    def at(self, time):
        """({corner: character} of what is written, {corner: colour} of what is behind)."""
        shown, behind = {}, {}
        for group in self.root.iter(f"{SVG}g"):
            if self.value(group.get("class"), time, "visible") != "visible":
                continue
            for text in group:
                x = int(text.get("x"))
                for char in text.text:
                    shown[x, int(text.get("y")) - 15] = char
                    x += 20 if char in "漢字" else 10
        for path in self.root.iter(f"{SVG}path"):
            kind = path.get("class")
            color = self.value(kind, time, "var(--block)" if kind == "never" else "transparent")
            for x, y, size in re.findall(r"M(\d+) (\d+)h(\d+)v20h-\d+z", path.get("d")):
                for i in range(int(x), int(x) + int(size), 10):
                    behind[i, int(y)] = color
        return shown, behind


def test_an_svg_is_the_states_one_after_the_other(tmp_path):
    frames = states()
    write_svg(tmp_path / "a.svg", frames, title=NASTY)
    text = (tmp_path / "a.svg").read_text(encoding="utf-8")
    played = Played(text)
    assert played.root.findtext(f"{SVG}title") == visible(NASTY)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")  # loads nothing
    assert not re.search(r"<script|<a |href|url\(|@import| on\w+=", text)
    assert "@media(prefers-reduced-motion:reduce){*{animation:none!important}}" in text
    pace = moving.pace(len(frames))
    for again in (0, (len(frames) - 1) * pace + moving.HOLD):  # and again, after the last
        for step, frame in enumerate(frames):
            shown, behind = played.at(again + (step + 0.5) * pace)
            expected, hidden = in_state(frames[-1], frame)
            blank = {place for place, char in expected.items() if char == " "}
            assert {p: c for p, c in shown.items() if c != " "} == {
                place: char for place, char in expected.items() if place not in blank
            }
            before = in_state(frames[-1], frames[step - 1])[0] if step else expected
            for place in hidden:
                assert behind[place] == "var(--block)"
            for place in expected:
                fresh = place not in before
                assert behind[place] == ("var(--new)" if fresh else "transparent"), (step, place)


def test_a_gif_is_the_states_one_after_the_other(tmp_path):
    frames = states()
    write_gif(tmp_path / "a.gif", frames)
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == len(frames) and picture.info["loop"] == 0
        for step, frame in enumerate(frames):
            picture.seek(step)
            page = picture.convert("RGB")
            expected, hidden = in_state(frames[-1], frame)
            before = in_state(frames[-1], frames[step - 1])[0] if step else expected
            for place in hidden:
                assert page.getpixel(place) == ImageColor.getrgb(moving.MASKED)
            for place, char in expected.items():
                paper = moving.PAPER if place in before else moving.FRESH
                assert page.getpixel(place) == ImageColor.getrgb(paper), (step, place, char)
            inked = expected and any(c.isalpha() for c in expected.values())
            dark = min(sum(page.getpixel((x, y))) for x in range(16, 400) for y in range(16, 60))
            assert (dark < 200) == bool(inked)
        assert picture.info["duration"] == 2000


def test_blanks_of_every_width_are_blanks():
    """What has no shape is drawn as the sign for that, and a blank is no such thing."""
    cells = laid_out(["a", "\t", "\u3000", "\xa0", "\x07", "b"], 64)
    assert [cell.char for cell in cells] == ["a", " ", "\u3000", " ", "\ufffd", "b"]
    assert [cell.x for cell in cells] == [0, 1, 2, 4, 5, 6]


def test_they_are_bounded(tmp_path):
    """However long the text is, and however many its states."""
    text = "".join(random.Random(1).choice("abc defgh\n") for _ in range(9000))
    frames = states(text, steps=1000)
    write_svg(tmp_path / "a.svg", frames, title="a")
    write_gif(tmp_path / "a.gif", frames)
    assert (tmp_path / "a.svg").stat().st_size < 500_000
    assert (tmp_path / "a.gif").stat().st_size < 1_500_000
    said = f"the first 32 of {1 + max(cell.y for cell in laid_out([*text], 64)):,} lines"
    assert said in (tmp_path / "a.svg").read_text(encoding="utf-8")
    with Image.open(tmp_path / "a.gif") as picture:
        assert picture.n_frames == moving.SMALL and picture.size == (672, 33 * 22 + 32)
    thin = moving.thinned(frames, 10)
    assert len(thin) == 10 and thin[0] is frames[0] and thin[-1] is frames[-1]


@pytest.mark.parametrize("frames", [[], [[]], [["a"], ["a", "b"]]])
@pytest.mark.parametrize("write", [lambda *a: write_svg(*a, title="a"), write_gif])
def test_what_has_no_states_is_refused(tmp_path, frames, write):
    with pytest.raises(ValueError, match="frame"):
        write(tmp_path / "a", frames)
    assert not (tmp_path / "a").exists()


def test_the_verb_writes_each_form(text_run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    how = ["sample", str(text_run), "--num", "1", "--steps", "4", "--out", "a.txt"]
    for name in ("f.svg", "f.gif", "f.html"):
        assert main([*how, "--frames", name]) == 0
        assert f"wrote {name}" in capsys.readouterr().err
    root = ElementTree.parse("f.svg").getroot()
    assert root.findtext(f"{SVG}desc") == visible(Path("a.txt").read_text(encoding="utf-8"))
    with Image.open("f.gif") as picture:
        assert picture.n_frames == 5
    assert main([*how, "--frames", "f.mp4"]) == 2
    assert "f.mp4 must end in .html or .svg or .gif" in capsys.readouterr().err


def test_bytes_of_a_letter_appear_together():
    kind = Text({"tokenizer": {"name": "bytes"}}, Path())
    ids = np.frombuffer("né ✓".encode(), np.uint8)[None].astype(np.int64)
    whole = np.ones(ids.shape, bool)
    half = whole & (np.arange(ids.shape[1]) != 2)
    states = [State(ids, ~whole), State(ids, half), State(ids, whole)]
    assert kind.pages(states) == [[None] * 4, ["n", None, " ", "✓"], ["n", "é", " ", "✓"]]
