"""The page of unmask serve, in a browser: what a person does there, and what it asks the network.

With Debian's Chromium, or that which CHROMIUM names.
"""

import io
import json
import os
import re
import shutil
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.sync_api import expect, sync_playwright
from served import SMALL, runs_of, served, serving
from test_serve import crowd, run_command
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers import models as pieces

from unmask.data import prepare_table, prepare_text
from unmask.train import train

KINDS = ("text", "proteins", "images", "tables", "dice")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
pytestmark = [
    pytest.mark.ui,
    pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    runs = runs_of(tmp_path_factory.mktemp("served"))
    return [served(runs[name]) for name in KINDS]


@pytest.fixture(scope="module")
def server(models):
    with serving(models) as (server, _):
        yield server


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        how = {"executable_path": CHROMIUM, "args": ["--no-sandbox"]}  # root has none
        browser = playwright.chromium.launch(**how)
        yield browser
        browser.close()


@contextmanager
def opened(browser, server, kind="text", **how):
    """The page, which says nothing in the console and asks nobody but its server."""
    context = browser.new_context(**how)
    page = context.new_page()
    asked, wrong = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    page.goto(server.url)
    expect(page.locator("#about")).to_contain_text("A model of")
    if kind != "text":
        page.select_option("#model", str(KINDS.index(kind)))
    yield page
    origin = server.url.split("#")[0]
    # what is loaded is drawn from memory, and a refusal is a line of the console
    assert {url for url in asked if not url.startswith((origin, "data:", "blob:"))} == set()
    assert [line for line in wrong if "400" not in line and "429" not in line] == []
    context.close()


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """A server of a model of words, whose tokenizer drops blanks, and of one of a table without a
    header."""
    home = tmp_path_factory.mktemp("others")
    entries = ["[UNK]", "the", "quick", "brown", "fox", "##es", "jumps"]
    words = Tokenizer(pieces.WordPiece({one: i for i, one in enumerate(entries)}))
    words.pre_tokenizer, words.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece()
    words.save(str(home / "words.json"))
    (home / "a.txt").write_text("the quick brown foxes jumps fox " * 40)
    (home / "a.csv").write_text("".join(f"{20 + i % 40},{'abc'[i % 3]}x\n" for i in range(200)))
    prepare_text(home / "a.txt", home / "text", tokenizer=home / "words.json", progress=False)
    prepare_table(home / "a.csv", home / "table", header="no", bins=16, progress=False)
    runs = [
        train(replace(SMALL, length=length), home / name, home / f"{name}-run").parents[1]
        for name, length in (("text", 12), ("table", 0))
    ]
    with serving([served(run) for run in runs]) as (server, _):
        yield server


def fill(page, button="#fill"):
    page.click(button)
    expect(page.locator("#status")).to_contain_text("Done", timeout=30_000)


def text_of(page, of=".card .board"):
    return page.locator(of).first.text_content()


def select(page, start, end):
    page.locator("#content").evaluate(f"area => area.setSelectionRange({start}, {end})")


def download(page, number=0):
    """The path of what one of the page's buttons writes."""
    with page.expect_download() as found:
        page.locator(".download").nth(number).click()
    return Path(found.value.path())


def downloaded(page, number=0):
    return download(page, number).read_text(encoding="utf-8")


def test_the_token_leaves_the_address_and_stays_in_the_tab(browser, server):
    with opened(browser, server) as page:
        assert page.url == server.url.split("#")[0]
        page.reload()
        expect(page.locator("#about")).to_contain_text("A model of")
    context = browser.new_context()
    page = context.new_page()
    page.goto(server.url.split("#")[0])
    expect(page.locator("#message")).to_contain_text("the token is missing or wrong")
    context.close()


def test_an_address_with_another_token_is_taken_by_the_open_tab(browser, server):
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{server.url.split('#')[0]}#wrong")
    expect(page.locator("#message")).to_contain_text("the token is missing or wrong")
    page.goto(server.url)  # of which the fragment alone is another
    expect(page.locator("#about")).to_contain_text("A model of")
    context.close()


def test_type_mask_fill_scrub_and_mask_again(browser, server):
    with opened(browser, server) as page:
        page.fill("#content", "the quick \u2013 fox [MASK:4] dog")
        expect(page.locator("#reads .hole")).to_have_count(4)
        page.fill("#content", "the quick \u2013 fox jumps")
        expect(page.locator("#reads .cell")).to_have_count(21)  # without a hole, too
        page.focus("#content")
        page.locator("#content").evaluate("area => area.setSelectionRange(4, 11)")
        page.click("#mask")
        expect(page.locator("#content")).to_have_value("the [MASK:9] fox jumps")
        page.locator("#reads .cell", has_text="j").click()  # a word by a click
        expect(page.locator("#content")).to_have_value("the [MASK:9] fox [MASK:5]")
        page.fill("#num", "2")
        fill(page)
        shown = text_of(page)
        assert re.fullmatch("the .+ fox .+", shown, re.DOTALL)
        expect(page.locator(".card")).to_have_count(2)
        expect(page.locator(".score").first).to_contain_text(re.compile(r"at most [\d.]+ ± [\d.]+"))
        # back to the beginning, and on: holes only ever become letters
        last = int(page.get_attribute("#scrub", "max"))
        counts = []
        page.focus("#scrub")
        page.keyboard.press("Home")
        for _ in range(last + 1):
            counts.append(page.locator(".card").first.locator(".hole").count())
            page.keyboard.press("ArrowRight")
        assert counts[0] == 14 and counts[-1] == 0 and counts == sorted(counts, reverse=True)
        assert text_of(page) == shown
        # what was filled in is kept by a click, what was given is masked by one
        card = page.locator(".card").first
        card.locator(".cell", has_text="t").first.click()
        content = page.input_value("#content")
        assert content.startswith("[MASK:3] [MASK:9] fox") or content.startswith("[MASK:")
        card.get_by_text("Use this text").click()
        assert page.input_value("#content") == shown.replace("\u00a0", " ")


def test_what_looks_like_a_mark_is_a_text_where_it_was_given(browser, server):
    with opened(browser, server) as page:
        page.fill("#content", "a \\[MASK] b [MASK:2] <b>x</b>")
        expect(page.locator("#reads .hole")).to_have_count(2)
        assert "a [MASK] b" in page.locator("#reads").text_content()
        page.locator("#reads .cell", has_text="x").first.click()
        assert page.input_value("#content").startswith("a \\[MASK] b [MASK:")
        assert page.locator("#reads b").count() == 0


def test_a_backslash_before_a_hole_is_masked_with_it(browser, server):
    with opened(browser, server) as page:
        page.fill("#content", "a \\alpha b")
        expect(page.locator("#reads .cell")).to_have_count(10)
        select(page, 3, 8)
        page.click("#mask")
        expect(page.locator("#message")).to_contain_text("A backslash before a hole is read as")
        expect(page.locator("#content")).to_have_value("a \\alpha b")
        assert page.locator("#reads .hole").count() == 0
        select(page, 2, 8)
        page.click("#mask")
        expect(page.locator("#content")).to_have_value("a [MASK:6] b")
        page.fill("#content", "a \\b [MASK:2]")
        page.fill("[data-of=steps]", "4")
        fill(page)
        page.locator(".card .given", has_text="b").click(modifiers=["Alt"])
        expect(page.locator("#message")).to_contain_text("A backslash before a hole is read as")
        expect(page.locator("#content")).to_have_value("a \\b [MASK:2]")
        assert page.locator(".card .again").count() == 0


def test_a_selection_masks_the_letters_that_are_seen(browser, server):
    with opened(browser, server) as page:
        page.fill("#content", "[MASK][MASK] hello world")
        expect(page.locator("#reads .hole")).to_have_count(2)
        select(page, 13, 18)
        page.click("#mask")
        expect(page.locator("#message")).to_have_text("Marks were written anew: select again.")
        expect(page.locator("#content")).to_have_value("[MASK:2] hello world")
        select(page, 9, 14)
        page.click("#mask")
        expect(page.locator("#content")).to_have_value("[MASK:2] [MASK:5] world")


@pytest.mark.parametrize(
    "kind,content,read",
    [
        ("proteins", "MKV*", ["MKV*"]), ("proteins", "MKV * *\n", ["MKV**"]),
        ("proteins", ">a\nMKV\n>b\nMKL*\n", ["MKV", "MKL*"]), ("text", "a \\\\", ["a \\\\"]),
    ],
)  # fmt: skip
def test_what_ends_in_a_stop_or_a_backslash_is_read(browser, server, kind, content, read):
    with opened(browser, server, kind) as page:
        page.fill("#content", content)
        for number, letters in enumerate(read):
            expect(page.locator("#reads .board").nth(number)).to_have_text(letters)
        expect(page.locator("#message")).to_be_empty()
        assert page.locator("#reads .cell").count() == len("".join(read))


def test_several_sequences_are_masked_in_their_text(browser, server):
    content = ">a\nMKV\n>b c\nMKL\n"
    with opened(browser, server, "proteins") as page:

        def refused(do):
            do()
            expect(page.locator("#message")).to_contain_text("Here are several sequences")
            assert page.input_value("#content") == content

        page.fill("#content", content)
        boards = page.locator("#reads .board")
        expect(boards).to_have_text(["MKV", "MKL"])
        refused(boards.nth(1).locator(".cell").first.click)
        refused(lambda: page.click("#mask-all"))
        select(page, 0, 14)  # headers are no residues
        page.click("#mask")
        content = ">a\n---\n>b c\n--L\n"
        expect(page.locator("#content")).to_have_value(content)
        expect(page.locator("#reads .hole")).to_have_count(5)
        page.fill("[data-of=steps]", "4")
        fill(page)
        first, second = (board.text_content() for board in page.locator(".card .board").all())
        assert second.endswith("L") and len(first + second) == 6
        refused(page.locator(".card .cell").nth(4).click)
        assert page.locator(".card .pinned").count() == 0
        refused(page.get_by_text("Use this sequence").click)
        assert downloaded(page) == f">a filling-1\n{first}\n>b c filling-1\n{second}\n"
        page.fill("#content", "; x\n\n>a b\nMKV")  # one keeps its header, and what stands before
        expect(boards).to_have_text(["MKV"])
        boards.locator(".cell").first.click()
        expect(page.locator("#content")).to_have_value("; x\n\n>a b\n-KV")


def test_a_download_is_the_whole_filling(browser, server):
    with opened(browser, server, "proteins") as page:
        page.fill("#content", "MK--LA----")
        expect(page.locator("#reads .hole")).to_have_count(6)
        page.fill("[data-of=steps]", "4")
        fill(page)
        whole = text_of(page)
        page.focus("#scrub")
        page.keyboard.press("Home")
        expect(page.locator(".card .hole")).to_have_count(6)
        assert downloaded(page) == f">filling-1\n{whole}\n" and len(whole) == 10
        assert text_of(page) == whole
        page.fill("#content", "M-V\n>b\nMK-")
        expect(page.locator("#reads .hole")).to_have_count(2)
        fill(page)
        assert [line for line in downloaded(page).splitlines() if line.startswith(">")] == [
            ">filling-1", ">b filling-1"
        ]  # fmt: skip
        page.fill("#content", "; x\n\n>a\nM-kV\n>b\nML-*\n")
        expect(page.locator("#reads .cell")).to_have_count(8)
        fill(page)
        assert re.fullmatch(r"M[A-Z]kV\nML[A-Z]\*", "\n".join(downloaded(page).splitlines()[1::2]))
        assert [line for line in downloaded(page).splitlines() if line.startswith(">")] == [
            ">a filling-1", ">b filling-1"
        ]  # fmt: skip
        page.select_option("#model", str(KINDS.index("images")))
        page.fill("#num", "16")
        page.fill("[data-of=steps]", "1024")
        page.click("#fill")
        expect(page.locator("#result")).to_be_visible()
        page.click("#stop")
        expect(page.locator("#status")).to_have_text("Stopped.")
        page.locator(".download").last.click()
        expect(page.locator("#message")).to_contain_text("This filling is not whole")


def test_words_whose_tokenizer_drops_blanks_keep_them(
    browser, others, tmp_path, monkeypatch, capsys
):
    with opened(browser, others) as page:
        page.fill("#content", "the quick brown fox")
        expect(page.locator("#reads .cell")).to_have_count(7)  # blanks are of no token
        page.locator("#reads .cell").nth(1).click()
        page.locator("#reads .cell", has_text="quick").click()
        expect(page.locator("#content")).to_have_value("the [MASK] brown fox")
        page.click("#mask-all")
        expect(page.locator("#content")).to_have_value("[MASK:4]")
        page.fill("#content", "the quick [MASK] [MASK] fox")
        expect(page.locator("#reads .hole")).to_have_count(2)
        page.fill("[data-of=steps]", "4")
        fill(page)
        capsys.readouterr()
        run_command(page.text_content("#command"), tmp_path, monkeypatch)
        written = capsys.readouterr().out.removesuffix("\n")
        assert re.fullmatch("the quick .+ .+ fox", written)
        assert text_of(page) == downloaded(page) == written
        page.locator(".card .given", has_text="quick").click()
        expect(page.locator("#content")).to_have_value("the [MASK] [MASK] [MASK] fox")
        page.get_by_text("Use this text").click()
        expect(page.locator("#content")).to_have_value(written)


def test_a_table_without_a_header_is_downloaded_without_one(browser, others, tmp_path):
    with opened(browser, others) as page:
        page.select_option("#model", "1")
        rows = page.locator("#grid tbody tr")
        expect(rows).to_have_count(3)
        fill(page)
        lines = downloaded(page).splitlines()
        assert len(lines) == 3 and all(re.fullmatch(r"\d+,[abc]x", line) for line in lines)
        (tmp_path / "again.csv").write_text("\n".join(lines[:2]))
        page.set_input_files("#file", tmp_path / "again.csv")
        expect(rows).to_have_count(2)
        shown = [cell.input_value() for cell in rows.first.locator("input").all()]
        assert ",".join(shown) == lines[0]


def test_frames_come_in_order_and_are_shown_as_they_come(browser, server):
    with opened(browser, server) as page:
        page.fill("#content", "[MASK:48]")
        expect(page.locator("#reads .hole")).to_have_count(48)
        page.fill("[data-of=steps]", "1024")
        page.locator("body").evaluate(
            """() => { window.seen = []; new MutationObserver(() => {
            const runs = document.querySelector("#runs");
            window.seen.push(runs.querySelectorAll(".hole").length);
            }).observe(document.querySelector("#where"), {childList: true}); }"""
        )
        fill(page)
        seen = page.locator("body").evaluate("() => window.seen")
        assert len(seen) > 3 and seen == sorted(seen, reverse=True) and seen[-1] == 0


def test_a_run_is_cancelled_and_the_next_one_goes(browser, server):
    with opened(browser, server, "images") as page:
        page.fill("#num", "16")
        page.fill("[data-of=steps]", "1024")
        page.click("#fill")
        expect(page.locator("#result")).to_be_visible()
        page.click("#stop")
        expect(page.locator("#status")).to_have_text("Stopped.")
        page.fill("#num", "1")
        page.fill("[data-of=steps]", "4")
        page.wait_for_timeout(500)
        fill(page)


def test_a_text_longer_than_the_model_was_trained_at(browser, server):
    with opened(browser, server) as page:
        page.fill("#content", f"the [MASK:3]{' lazy dog' * 8} [MASK:4]")
        expect(page.locator("#reads .hole")).to_have_count(7)
        page.locator("#reads .hole").first.hover()  # what is likely there is not told
        fill(page)
        assert re.fullmatch("the .+( lazy dog){8} .+", text_of(page), re.DOTALL)
        assert page.locator(".card .hole").count() == 0
        expect(page.locator(".score").first).to_contain_text("at most")
        expect(page.locator("#odds")).to_be_hidden()
        assert page.text_content("#command").rstrip().endswith("--window --dtype float32")


def test_a_sampler_shows_its_own_numbers_and_no_others(browser, server):
    with opened(browser, server, "proteins") as page:
        eta, gamma = page.locator("[data-of=eta]"), page.locator("[data-of=gamma]")
        expect(eta).to_be_hidden()
        page.select_option("[data-of=sampler]", "entropy-bounded")
        expect(gamma).to_be_visible()
        expect(page.locator("[data-of=steps]")).to_be_disabled()
        page.select_option("[data-of=sampler]", "remdm-cap")
        expect(eta).to_be_visible()
        expect(gamma).to_be_hidden()
        page.fill("[data-of=eta]", "0.5")
        page.fill("[data-of=top_p]", "0.9")
        page.fill("[data-of=steps]", "8")
        fill(page)
        command = page.text_content("#command")
        assert "--sampler remdm-cap --steps 8 --top-p 0.9 --eta 0.5" in command
        assert "-" not in text_of(page)
        page.select_option("[data-of=sampler]", "forward-backward")
        page.fill("[data-of=corrections]", "20")  # of at most 16
        page.select_option("[data-of=sampler]", "first_hitting")
        fill(page)  # what is not shown is not asked
        assert "--sampler first_hitting" in page.text_content("#command")
        page.select_option("[data-of=sampler]", "remdm-cap")
        page.fill("[data-of=eta]", "")  # which is no 0
        page.click("#fill")
        expect(page.locator("#message")).to_contain_text("eta is null, expected a number")


def test_two_settings_side_by_side_history_and_command(browser, server):
    with opened(browser, server, "proteins") as page:
        page.fill("#content", "MK--LA----")
        expect(page.locator("#reads .hole")).to_have_count(6)
        page.check("#compare")
        page.select_option("[data-of=sampler] >> nth=1", "first_hitting")
        expect(page.locator("[data-of=grid]").nth(1)).to_be_disabled()
        page.fill("[data-of=temperature] >> nth=0", "0.5")
        page.fill("#seed", "7")
        fill(page)
        expect(page.locator(".run")).to_have_count(2)
        command = page.text_content("#command")
        assert "--seed 7 --temperature 0.5" in command and "--sampler first_hitting" in command
        first = text_of(page)
        for i in (0, 1):  # each run has its own file
            assert (
                downloaded(page, i) == f">filling-1\n{text_of(page, f'.card .board >> nth={i}')}\n"
            )
        page.uncheck("#compare")
        page.fill("#content", "--")
        fill(page, "#sample")
        assert text_of(page) != first
        page.locator("#history button").nth(1).click()
        assert text_of(page) == first and page.input_value("#content") == "MK--LA----"


def test_both_settings_are_as_they_were_asked(browser, server):
    with opened(browser, server) as page:
        page.fill("[data-of=steps]", "4")
        page.check("#compare")
        page.locator("body").evaluate(  # another seed and number, while the first is at work
            """() => { const ask = window.fetch; window.fetch = (...said) => {
            for (const one of ["seed", "num"]) document.getElementById(one).value = 2;
            return ask(...said);
            }; }"""
        )
        fill(page)
        command = page.text_content("#command")
        assert re.findall(r"--num (\d+) --seed (\d+)", command) == [("1", "0")] * 2


def test_results_of_another_model_are_kept(browser, server):
    with opened(browser, server, "proteins") as page:
        page.fill("#content", "MK--LA----")
        page.fill("[data-of=steps]", "4")
        fill(page)
        shown = text_of(page)
        page.select_option("#model", "0")
        expect(page.locator("#past")).to_be_hidden()
        page.fill("[data-of=steps]", "4")
        fill(page)
        expect(page.locator("#history button")).to_have_count(1)
        page.select_option("#model", "1")
        page.locator("#history button").click()
        assert text_of(page) == shown
        page.get_by_text("Use this sequence").click()  # into the editor that is there now
        expect(page.locator("#content")).to_have_value(shown)


def test_a_picture_is_loaded_painted_and_filled(browser, server, tmp_path):
    Image.linear_gradient("L").convert("RGB").save(tmp_path / "large.jpg")
    with opened(browser, server, "images") as page:
        page.set_input_files("#file", tmp_path / "large.jpg")
        box = page.locator("#picture").bounding_box()
        alpha = """canvas => Array.from(canvas.getContext("2d").getImageData(0, 0, 8, 8).data)
            .filter((_, i) => i % 4 === 3).filter(a => a === 0).length"""
        page.wait_for_timeout(300)
        assert page.locator("#picture").evaluate(alpha) == 0
        page.mouse.move(box["x"] + 5, box["y"] + 5)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] - 5, box["y"] + 5, steps=12)
        page.mouse.up()
        painted = page.locator("#picture").evaluate(alpha)
        assert painted >= 8
        page.fill("[data-of=steps]", "8")
        fill(page)
        expect(page.locator(".card canvas[role=img]")).to_have_count(8)  # and how sure, of four
        assert page.locator(".card canvas").first.evaluate(alpha) == 0
        files = [download(page, i).read_bytes() for i in range(page.locator(".download").count())]
        assert len(files) == len(set(files)) == 4  # each picture has its own
        assert Image.open(io.BytesIO(files[3])).size == (8, 8)
        (tmp_path / "no.png").write_text("x")
        page.set_input_files("#file", tmp_path / "no.png")
        expect(page.locator("#message")).to_contain_text("is not a picture that can be read")


def test_a_table_is_filled_and_downloaded(browser, server, tmp_path):
    (tmp_path / "some.csv").write_text("age,job,pay\n30,,\n,ax,\n")
    with opened(browser, server, "tables") as page:
        page.set_input_files("#file", tmp_path / "some.csv")
        expect(page.locator("#grid tbody tr")).to_have_count(2)
        cell = page.locator("#grid tbody tr").nth(1).locator("input")
        cell.nth(2).fill("14")
        cell.nth(0).focus()  # how probable its values are
        expect(page.locator("#odds")).to_contain_text("%")
        fill(page)
        rows = page.locator(".card tbody tr").all()
        shown = [[c.text_content() for c in row.locator("td").all()] for row in rows]
        assert shown[0][0] == "30" and shown[1][1:] == ["ax", "14"] and all(map(all, shown))
        assert downloaded(page) == "age,job,pay\n" + "".join(",".join(row) + "\n" for row in shown)
        page.fill("#num", "2")
        fill(page)
        cards = page.locator(".card")
        for i in (0, 1):  # each filling is a table
            cells = cards.nth(i).locator("td").all_text_contents()
            assert downloaded(page, i).replace("\n", ",").split(",")[3:-1] == cells
        # a column that is fixed stays as it is
        page.locator("#grid thead input").nth(0).check()
        cell.nth(0).fill("")
        fill(page)
        assert page.locator(".card tbody tr").nth(1).locator("td").first.text_content() == ""


def test_a_kind_that_nobody_knows_has_a_plain_page(browser, server):
    with opened(browser, server, "dice") as page:
        page.fill("#content", "1..66\n.2345\n")
        expect(page.locator("#reads .board")).to_have_count(2)
        fill(page)
        boards = page.locator(".card .board").all()
        shown = [board.text_content() for board in boards]
        assert re.fullmatch("1[1-6]{2}66", shown[0]) and re.fullmatch("[1-6]2345", shown[1])
        assert downloaded(page).splitlines() == shown
        page.fill("#content", "12")
        expect(page.locator("#message")).to_contain_text("is no throw of 5 dice")


def test_by_keyboard_alone(browser, server):
    with opened(browser, server) as page:
        page.locator("#content").focus()
        page.keyboard.press("Control+A")
        page.keyboard.type("the quick fox")
        for _ in range(3):
            page.keyboard.press("Shift+ArrowLeft")
        page.keyboard.press("Alt+m")
        expect(page.locator("#content")).to_have_value("the quick [MASK:3]")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")  # past the buttons: the board
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Enter")
        expect(page.locator("#content")).to_have_value("the [MASK:5] [MASK:3]")
        page.keyboard.press("Control+Enter")
        expect(page.locator("#status")).to_contain_text("Done", timeout=30_000)
        assert re.fullmatch("the .{5,} .{3,}", text_of(page), re.DOTALL)
    with opened(browser, server, "images") as page:
        page.focus("#picture")
        for key in ("ArrowRight", "Space", "ArrowDown", "Space"):
            page.keyboard.press(key)
        page.fill("[data-of=steps]", "4")
        page.locator("#fill").press("Enter")
        expect(page.locator("#status")).to_contain_text("Done", timeout=30_000)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["text", "images", "tables"])
def test_on_a_phone_nothing_is_cut_off(browser, server, kind, scheme):
    phone = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
    with opened(browser, server, kind, **phone) as page:
        page.fill("[data-of=steps]", "4")
        fill(page)
        wide = page.locator("body").evaluate("body => [body.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1]
        colours = page.locator("body").evaluate(
            "body => [getComputedStyle(body).color, getComputedStyle(body).backgroundColor]"
        )
        ink, paper = ([int(n) for n in re.findall(r"\d+", colour)[:3]] for colour in colours)
        assert (sum(ink) > sum(paper)) == (scheme == "dark") and abs(sum(ink) - sum(paper)) > 400


def test_what_is_asked_for_at_first_is_within_the_limits(browser, models):
    pictures = [models[KINDS.index("images")]]
    with serving(pictures, num=2) as (server, _), opened(browser, server) as page:
        assert page.input_value("#num") == "2"


def test_ten_clients_for_ten_seconds(models):
    statuses, grown = crowd(models, 10)
    print(json.dumps(dict(statuses)), f"{grown} kB")
