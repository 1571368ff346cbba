"""Reports in a browser: on a phone, in the dark, on paper, and stepped through.

With Debian's Chromium, or that which CHROMIUM names.
"""

import os
import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.sync_api import expect, sync_playwright
from served import TEXT, runs_of

from unmask.cli import main

KINDS = ("text", "proteins", "images", "tables", "dice")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1000, "height": 800}
pytestmark = [
    pytest.mark.ui,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """{kind: a report} with everything that a report can have."""
    home = tmp_path_factory.mktemp("reports")
    made = {}
    for name, run in runs_of(home).items():
        made[name] = home / f"{name}.html"
        flags = ["--steps", "8", "--repeats", "2", "--limit", "4", "--split", "validation"]
        flags += ["--data", str(home / name), "--out", str(made[name])]
        if name == "tables":
            flags.append("--audit")
        assert main(["report", str(run), *flags]) == 0
    return made


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        how = {"executable_path": CHROMIUM, "args": ["--no-sandbox"]}  # root has none
        browser = playwright.chromium.launch(**how)
        yield browser
        browser.close()


@contextmanager
def opened(browser, path, **how):
    """The file, which asks nobody for anything and says nothing in the console."""
    context = browser.new_context(**({"viewport": DESK} | how))
    page = context.new_page()
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.goto(path.as_uri())
    yield page
    assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}
    assert wrong == []
    context.close()


def color(page, of, name):
    return page.locator(of).first.evaluate("(node, name) => getComputedStyle(node)[name]", name)


def light(rgb):
    return sum(map(int, re.findall(r"\d+", rgb)[:3])) / 3


def step(page, number, of=0):
    page.locator(".played input").nth(of).evaluate(
        "(node, to) => { node.value = to; node.dispatchEvent(new Event('input')); }", number
    )


@pytest.mark.parametrize("name", KINDS)
def test_nothing_overflows_a_phone(browser, reports, name):
    with opened(browser, reports[name], viewport=PHONE) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        # and nothing is cut off but in boxes that scroll by themselves
        outside = page.evaluate(
            """width => [...document.querySelectorAll("main *")].filter(node =>
            !node.closest(".wide, svg") && node.getBoundingClientRect().right > width + 1)
            .map(node => node.outerHTML.slice(0, 80))""",
            PHONE["width"],
        )
        assert outside == []
    if name == "tables":
        with opened(browser, reports[name], viewport=PHONE) as page:
            box = page.locator(".wide").last
            box.focus()
            assert box.evaluate("node => node.scrollWidth > node.clientWidth")
            page.keyboard.press("ArrowRight")
            page.wait_for_function("node => node.scrollLeft > 0", arg=box.element_handle())


@pytest.mark.parametrize("name", KINDS)
def test_dark_and_light(browser, reports, name):
    back, text = {}, {}
    for scheme in ("light", "dark"):
        with opened(browser, reports[name], color_scheme=scheme) as page:
            back[scheme] = light(color(page, "body", "backgroundColor"))
            text[scheme] = light(color(page, "body", "color"))
    assert back["light"] > 240 > 60 > back["dark"] and text["light"] < 60 < 200 < text["dark"]


@pytest.mark.parametrize("name", ["text", "proteins", "tables", "dice"])
def test_the_player_goes_by_click_and_by_keys(browser, reports, name):
    with opened(browser, reports[name]) as page:
        root = page.locator(".played").first
        cells, hidden = root.locator("[data-known]"), root.locator(".masked")
        slider, said = root.locator("input"), root.locator("output")
        last = int(slider.get_attribute("max"))
        assert last > 1 and hidden.count() == 0
        expect(said).to_have_text(re.compile(r"^step \d+ of \d+$"))
        page.keyboard.press("ArrowLeft")  # nothing has the focus
        assert slider.input_value() == str(last - 1) and hidden.count() > 0
        slider.focus()
        page.keyboard.press("End")
        box, where = root.bounding_box(), cells.last.bounding_box()
        page.keyboard.press("Home")
        assert hidden.count() == cells.count()
        expect(said).to_have_text(re.compile("^step 0 of"))
        assert color(page, ".masked", "color") == "rgba(0, 0, 0, 0)"
        # nothing moves
        assert root.bounding_box() == box and cells.last.bounding_box() == where
        counts = []
        for _ in range(last + 1):
            counts.append(hidden.count())
            page.keyboard.press("ArrowRight")
        assert counts[-1] == 0 and counts == sorted(counts, reverse=True)
        width = slider.bounding_box()["width"]
        slider.click(position={"x": width / 2, "y": 8})
        assert 0 < int(slider.input_value()) < last
        button, before = root.locator("button"), int(slider.input_value())
        button.focus()
        page.keyboard.press("ArrowRight")
        assert int(slider.input_value()) == before + 1
        step(page, last)
        button.click()  # from the end: again from the beginning
        expect(button).to_have_text("Pause")
        expect(button).to_have_text("Play", timeout=20_000)
        assert slider.input_value() == str(last) and hidden.count() == 0
        button.click()
        button.click()
        expect(button).to_have_text("Play")


def test_given_words_stay_and_the_schedules_are_beside_each_other(browser, reports):
    """One below the other on a phone; one player for both."""
    for size in (DESK, PHONE):
        with opened(browser, reports["text"], viewport=size) as page:
            root = page.locator(".played", has=page.locator(".beside"))
            left, right = (board.bounding_box() for board in root.locator(".board").all())
            if size is DESK:
                assert left["y"] == right["y"] and left["x"] + left["width"] < right["x"]
            else:
                assert left["x"] == right["x"] and left["y"] + left["height"] < right["y"]
            number = page.locator(".played").count() - 1  # the last on the page
            last = int(root.locator("input").get_attribute("max"))
            for state in (0, last // 2, last):
                step(page, state, number)
                for board in root.locator(".board").all():
                    shown = board.evaluate("""node => [...node.childNodes].filter(one =>
                        one.nodeType === 3).map(one => one.data).join("")""")
                    assert len(shown.split()) == 3 and all(one in TEXT for one in shown.split())
                    hidden = board.locator(".masked").count()
                    assert (hidden > 0) == (state < last)


def test_pictures_are_stepped_through(browser, reports):
    """A canvas stands over a picture until it is whole, clear where nothing is known."""
    clear = """canvas => { const {width, height} = canvas;
        const {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
        return Array.from({length: width * height}, (_, i) => data[4 * i + 3] === 0)
            .filter(Boolean).length; }"""
    with opened(browser, reports["images"]) as page:
        canvas = page.locator(".played canvas").first
        image = page.locator(".played .picture img").first
        expect(canvas).to_be_hidden()
        assert image.bounding_box()["width"] >= 64  # of 8 pixels
        assert color(page, ".picture img", "imageRendering") == "pixelated"
        last = int(page.locator(".played input").first.get_attribute("max"))
        counts = []
        for number in range(last):
            step(page, number)
            counts.append(canvas.evaluate(clear))
        assert counts[0] == 64 and counts == sorted(counts, reverse=True) and counts[-1] < 64
        expect(image).to_be_hidden()
        assert canvas.bounding_box() == page.locator(".played .picture").first.bounding_box()
        step(page, last)
        expect(canvas).to_be_hidden()
        expect(image).to_be_visible()


@pytest.mark.parametrize("name", KINDS)
def test_on_paper_the_last_state_without_a_player(browser, reports, name):
    with opened(browser, reports[name], color_scheme="dark") as page:
        step(page, 0)
        page.emulate_media(media="print")
        for control in page.locator(".player, .player ~ output, canvas").all():
            expect(control).to_be_hidden()
        for picture in page.locator(".picture img").all():
            expect(picture).to_be_visible()
        if name != "images":
            assert color(page, ".masked", "color") != "rgba(0, 0, 0, 0)"
        assert light(color(page, "body", "backgroundColor")) > 240
        assert light(color(page, "body", "color")) < 60
        page.set_viewport_size({"width": 700, "height": 990})  # what A4 leaves
        cut = "node => node.scrollWidth > node.clientWidth + 1"
        assert not page.locator("html").evaluate(cut)
        assert not [box for box in page.locator(".wide").all() if box.evaluate(cut)]
        assert page.pdf(format="A4")[:5] == b"%PDF-"


@pytest.mark.parametrize("name", KINDS)
def test_without_scripts_the_last_state_is_there(browser, reports, name):
    with opened(browser, reports[name], java_script_enabled=False) as page:
        expect(page.locator(".player").first).to_be_hidden()
        shown = page.locator(".played .board, .played td, .played img").last
        expect(shown).to_be_visible()
        expect(page.locator("h2").first).to_be_visible()
