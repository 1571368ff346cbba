"""unmask serve, spoken to as its page does: what it answers, and whom."""

import base64
import http.client
import json
import math
import os
import re
import resource
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from pages import run_page
from served import UNET, Client, picture, runs_of, served, serving, settings

from unmask.cli import main
from unmask.data import Pixels, prepare_images
from unmask.filling import Filler
from unmask.kinds.kind import Filled, Partial, State
from unmask.kinds.registry import demos
from unmask.roles import GIVEN, HOLE
from unmask.serve.asking import Ask, Limits, Live, opened
from unmask.serve.guard import LARGE, SMALL, Guard
from unmask.serve.server import PAGES, Server
from unmask.serve.work import Stopped
from unmask.train import train

ROOT = Path(__file__).parents[1]
KINDS = ("text", "proteins", "images", "tables", "dice")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return runs_of(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="module")
def models(runs):
    return [served(runs[name]) for name in KINDS]


@pytest.fixture(scope="module")
def client(models):
    with serving(models) as (_, client):
        yield client


def pixels_said(holes):
    editor_form = {"pixels": picture().tobytes(), "holes": holes.astype(np.uint8).tobytes()}
    return {name: base64.b64encode(raw).decode() for name, raw in editor_form.items()}


MANY = base64.b64encode(b"age,job,pay\n" + b"30,,\n" * 101).decode()
MORE = base64.b64encode(b"id,age,job,pay\n7,30,,\n").decode()
LATIN = base64.b64encode("age,job,pay\n30,ä,\n".encode("latin-1")).decode()
LOWER = np.repeat([False, True], 4)[:, None] & np.ones((8, 8), bool)
EDITS = {
    "text": {"content": "the 'fox' \u2013 [MASK:5] \\[MASK] 10% $HOME\n\tx [MASK:3]"},
    "proteins": {"content": "MK--LBXX-a"},
    "images": pixels_said(LOWER),
    "tables": {"rows": [["30", "", ""], ["", "ax", ""], ["21", "bx", "7"]]},
    "dice": {"content": "1..66\n66666\n.2345\n"},
}


def asked(name, **own):
    return {"model": KINDS.index(name), "edit": EDITS[name], "settings": settings(**own)}


# ---------------------------------------------------------------- who is let in


@pytest.mark.parametrize(
    "name,value",
    [
        ("Host", "evil.example"), ("Host", "evil.example:PORT"), ("Host", "127.0.0.1.evil.example"),
        ("Host", "localhost.evil.example:PORT"), ("Host", "192.168.0.1:PORT"), ("Host", ""),
        ("Host", "[::2]:PORT"), ("Host", "127.0.0.1:PORT@evil.example"), ("Host", "0.0.0.0:PORT"),
        ("Origin", "http://evil.example"), ("Origin", "null"), ("Origin", "https://HOST"),
        ("Origin", "http://127.0.0.1"), ("Origin", "http://evil.example:PORT"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("method,path", [("GET", "/"), ("POST", "/models")])
def test_requests_of_other_sites_are_refused(client, method, path, name, value):
    value = value.replace("PORT", str(client.port)).replace("HOST", f"127.0.0.1:{client.port}")
    status, headers, content = client.ask(method, path, {}, **{name: value})
    assert status == 403 and "error" in json.loads(content), content
    assert not [key for key in headers if key.lower().startswith("access-control")]


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_elsewhere_leads_to_the_page_and_no_further(client, site):
    assert client.ask("GET", "/", **{"Sec-Fetch-Site": site})[0] == 200
    assert client.ask("POST", "/models", {}, **{"Sec-Fetch-Site": site})[0] == 403


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]", "127.0.0.1:9"])
def test_this_machine_by_its_names_is_let_in(client, host):
    """By another port, too: that of a tunnel."""
    own = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    assert client.ask("POST", "/models", {}, **own)[0] == 200


@pytest.mark.parametrize("token", [None, "", "wrong", "\xff", "LONGER"])
@pytest.mark.parametrize("path", ["/models", "/open", "/load", "/run", "/odds"])
def test_work_needs_the_token(client, path, token):
    token = f"{client.token}x" if token == "LONGER" else token
    status, _, content = client.ask("POST", path, {}, **{"X-Token": token})
    assert status == 401 and client.token not in content.decode()


def test_the_token_is_new_at_every_start_and_on_no_page(client):
    assert len(client.token) >= 32 and client.token != Guard("127.0.0.1").token
    for path in PAGES:
        status, headers, content = client.ask("GET", path, **{"X-Token": None})
        assert status == 200 and client.token.encode() not in content
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy and headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store" and not headers["Set-Cookie"]


@pytest.mark.parametrize(
    "status,headers,body",
    [
        (415, {"Content-Type": None}, b"{}"), (415, {"Content-Type": "text/plain"}, b"{}"),
        (415, {"Content-Type": "application/x-www-form-urlencoded"}, b"{}"),
        (200, {"Content-Type": "application/json; charset=utf-8"}, b"{}"),
        (413, {"Content-Length": str(SMALL + 1)}, b"{}"),
        (413, {"Content-Length": "9" * 30}, b"{}"),
        (411, {"Content-Length": "-1"}, b"{}"), (411, {"Content-Length": "2, 2"}, b"{}"),
        (411, {"Content-Length": "\xb2"}, b"{}"),  # superscript two, a digit and no number
        (401, {"Content-Length": "\xb2", "X-Token": None}, b"{}"),
        (411, {"Transfer-Encoding": "chunked"}, b"2\r\n{}\r\n0\r\n\r\n"),
        (411, {"Transfer-Encoding": "chunked", "Content-Length": "2"}, b"{}"),
        (400, {}, b"{"), (400, {}, b"[" * 100_000), (400, {}, b"\xff\xfe"),
    ],
)  # fmt: skip
def test_a_request_is_small_json(client, status, headers, body):
    assert client.ask("POST", "/models", body, **headers)[0] == status


def test_two_hosts_are_none_and_other_methods_get_nothing(client):
    for line in ("Host: evil.example\r\n", "Host: localhost\r\n"):
        with socket.create_connection((client.host, client.port)) as raw:
            raw.sendall(f"GET / HTTP/1.1\r\nHost: localhost\r\n{line}\r\n".encode())
            assert raw.recv(100).split()[1] == b"403"
    for method in ("OPTIONS", "PUT", "DELETE", "TRACE"):
        status, headers, _ = client.ask(method, "/models")
        assert status == 501 and not headers["Access-Control-Allow-Origin"]
    for path in ("/../pyproject.toml", "//etc/passwd", "/page.css/..", "/%2e%2e/x", "/models"):
        assert client.ask("GET", path)[0] == 404
    assert client.ask("POST", "/x", {})[0] == 404


def test_of_all_addresses_only_numbers_and_this_machine_are_names():
    """Who is bound to all cannot know its addresses, but a number leads nowhere else tomorrow."""
    everywhere, here = Guard("0.0.0.0"), Guard("10.1.2.3")
    for host, at_all, at_one in (
        ("10.1.2.3:80", True, True), ("10.1.2.4", True, False), ("[fe80::1]:8", True, False),
        ("evil.example:80", False, False), (f"{socket.gethostname()}:80", True, True),
        ("localhost:80", True, True), ("", False, False), (":80", False, False),
    ):  # fmt: skip
        assert (everywhere.known(host), here.known(host)) == (at_all, at_one), host


@pytest.mark.skipif(sys.platform != "linux", reason="others have one address of this machine")
def test_the_address_that_is_printed_is_let_in():
    server = Server([], "127.2", 0, Limits())  # as a name: the number is 127.0.0.2
    try:
        printed = urlsplit(server.url).netloc
        assert printed.startswith("127.0.0.2:") and server.guard.known(printed)
        assert server.guard.known("127.2") and not server.guard.known("127.0.0.3")
    finally:
        server.close()


def test_the_page_loads_nothing_and_writes_only_text(client):
    for path in PAGES:
        content = client.ask("GET", path)[2].decode()
        for bad in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "//cdn",
                    "https:", "http:", "onclick=", "style="):  # fmt: skip
            assert bad not in content, (path, bad)


# ---------------------------------------------------------------- what cannot be


@pytest.mark.parametrize(
    "path,body,why",
    [
        ("/run", [], "expected an object"), ("/run", {}, "'model' is missing"),
        ("/run", {"model": 9}, "there is no model 9"), ("/run", {"model": "0"}, "a whole number"),
        ("/run", {"model": True}, "a whole number"), ("/run", {"model": -1}, "a whole number"),
        ("/run", {"model": 0}, "'settings' is missing"),
        ("/run", {"model": 0, "settings": settings()}, "say either"),
        ("/run", asked("text") | {"length": 3}, "say either"),
        ("/run", asked("text", sampler="__import__"), "sampler"),
        ("/run", asked("text", grid="/etc/passwd"), "grid"),
        ("/run", asked("text", steps=4097), "steps is at most 1024"),
        ("/run", asked("text", num=17), "num is at most 16"), ("/run", asked("text", num=0), "num"),
        ("/run", asked("text", temperature=0), "temperature"),
        ("/run", asked("text", top_p=0), "top_p"), ("/run", asked("text", eta=2), "eta"),
        ("/run", asked("text", gamma=1), "gamma is of entropy-bounded, not of ancestral"),
        ("/run", asked("text", sampler="forward-backward", corrections=17), "corrections"),
        ("/run", asked("text", sampler="forward-backward", corrections=16, steps=65),
         "steps times corrections is at most 1024 here, not 1040"),
        ("/run", asked("text", sampler="forward-backward", corrections=5), "here, not 1280"),
        ("/run", asked("text", sampler="entropy-bounded", steps=3), "follow from --gamma"),
        ("/run", asked("text", sampler="counts", grid="uniform"), "--grid uniform is of --steps"),
        ("/run", asked("text", temperature="1"), "temperature"),
        ("/run", asked("text", sampler="remdm-cap", eta=None), "eta is null, expected a number"),
        ("/run", asked("text", sampler="entropy-bounded", gamma=None), "gamma is null"),
        ("/run", asked("text", guidance=None), "guidance is null"),
        ("/run", asked("text", nonsense=1), "settings.nonsense is none of sampler, steps,"),
        ("/run", asked("text", draw="float32-gumbel"), "settings.draw is none of sampler,"),
        ("/run", asked("text", guidance_schedule="rising"), "guidance_schedule is none of"),
        ("/run", asked("text", **{"x" * 10_000: 1}), "is none of sampler, steps,"),
        ("/run", asked("text", seed=2**60), "seed"), ("/run", asked("text", seed=-1), "seed"),
        ("/run", asked("text") | {"edit": {"content": 3}}, "content is 3, expected a text"),
        ("/run", asked("text") | {"edit": {"content": "abc"}}, "holes.txt: the text has no hole"),
        ("/run", asked("text", num=16) | {"edit": {"content": "[MASK:9999]"}},
         "all fillings together have 159,984 positions"),
        ("/run", {"model": 0, "settings": settings(), "length": 49}, "trained at 48"),
        ("/run", {"model": 2, "settings": settings(), "length": 63}, "trained at 64"),
        ("/run", asked("proteins") | {"edit": {"content": "M*K-"}}, "holes.fasta"),
        ("/run", asked("images") | {"edit": {"pixels": "?", "holes": ""}}, "is no base64"),
        ("/run", asked("images") | {"edit": {"pixels": "AAAA", "holes": ""}}, "has 3 bytes"),
        ("/run", asked("images") | {"edit": EDITS["images"] | {"label": "2"}}, "no classes"),
        ("/run", asked("tables") | {"edit": {"rows": []}}, "1 to 100 rows, not 0"),
        ("/run", asked("tables") | {"edit": {"rows": [[""]] * 101}}, "not 101"),
        ("/run", asked("tables") | {"edit": {"rows": [["1"]]}}, "has 1 cells, expected 3"),
        ("/run", asked("tables") | {"edit": {"rows": [["x", "", ""]]}}, "age"),
        ("/run", asked("tables") | {"edit": EDITS["tables"] | {"fixed": ["age", "job", "pay"]}},
         "all columns are fixed"),
        ("/run", asked("tables") | {"edit": EDITS["tables"] | {"fixed": ["agee"]}},
         "no column 'agee'"),
        ("/run", asked("dice") | {"edit": {"content": "777"}}, "line 1: '777' is no throw"),
        ("/open", {"model": 0}, "'edit' is missing"),
        ("/load", {"model": 0, "name": "a.exe", "file": ""}, "a file that ends in .txt"),
        ("/load", {"model": 0, "name": "../../x.txt", "file": "?"}, "no base64"),
        ("/load", {"model": 2, "name": "a.png", "file": "AAAA"}, "not a picture that can be read"),
        ("/load", {"model": 0, "name": "a.txt", "file": "iVBORw0KGgo="}, "a PNG picture"),
        ("/load", {"model": 3, "name": "a.csv", "file": MANY},
         "file.csv has 101 rows, and the page takes 100: use unmask fill"),
        ("/load", {"model": 3, "name": "a.csv", "file": MORE},
         "the page would lose 1 of its 4 columns, which the model does not know: leave age, job"),
        ("/load", {"model": 3, "name": "a.csv", "file": LATIN}, "utf-8 text: save it as UTF-8"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(client, path, body, why):
    status, said = client.post(path, body)
    assert status == 400 and why in said["error"], said
    assert "Traceback" not in said["error"] and "/tmp" not in said["error"]


@pytest.mark.parametrize("path", ["/open", "/odds", "/run"])
@pytest.mark.parametrize(
    "name,content",
    [
        ("text", "[MASK:10000000]"), ("text", "the [MASK:0010000000] " * 100),
        ("proteins", "[MASK:100000]" * 100), ("proteins", ">a\n[mask: 1000\t00]\n" * 100),
        ("proteins", "[MA\u017fK:\u0661\u0661\u0661\u0661\u0661]" * 100),
        ("proteins", ">a\r[MASK:100000]\r" * 100),
    ],
    ids=["one", "many", "of a protein", "with blanks", "of other digits", "of other line ends"],
)  # fmt: skip
def test_holes_are_counted_before_anything_of_their_size_is_made(client, path, name, content):
    tracemalloc.start()
    try:
        status, said = client.post(path, asked(name) | {"edit": {"content": content}})
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert status == 400 and "at most 131,072 are filled at a time here" in said["error"]
    assert most < 4 << 20


def test_steps_that_nobody_gave_are_limited_too(models):
    with serving(models, steps=64) as (_, client):
        for sampler in ("ancestral", "remdm-cap", "forward-backward"):
            status, said = client.post("/run", asked("dice", sampler=sampler))
            assert status == 400 and "where none is given, and at most 64 here" in said["error"]
        for own in ({"sampler": "first_hitting"}, {"sampler": "counts"}, {"steps": 64}):
            assert lines_of(client.lines("/run", asked("dice", **own)), "done") >= 0


def test_what_only_the_sampler_knows_is_said_in_the_stream(client):
    *_, error, end = client.lines("/run", asked("images", guidance=1.0))
    assert "there is none here" in error["error"] and end == {"end": True}


@contextmanager
def slowed(model, seconds):
    """The times of its network calls, each of which takes so long."""
    calls, hidden = [], model.hidden

    def slow(*args, **how):
        calls.append(time.monotonic())
        time.sleep(seconds)
        return hidden(*args, **how)

    model.hidden = slow
    try:
        yield calls
    finally:
        del model.hidden


def test_a_long_request_is_stopped(models):
    with serving(models, seconds=0.05) as (_, client):
        *_, error, end = client.lines("/run", asked("images", steps=1024))
        assert "more than 0.05 seconds" in error["error"] and end == {"end": True}
        assert client.post("/models", {})[0] == 200
    with serving(models, seconds=0.2) as (_, client), slowed(models[2].model, 0.02) as calls:
        # a single step, of a call for each of hundreds of positions
        body = asked("images", steps=1, sampler="forward-backward", corrections=16)
        *_, error, end = client.lines("/run", body)
        assert "more than 0.2 seconds" in error["error"] and end == {"end": True}
        assert 0 < len(calls) <= 11
    with serving(models, seconds=0.05) as (_, client), slowed(models[1].model, 0.06) as calls:
        # odds, of several batches
        body = asked("proteins") | {"edit": {"content": ">a\nM-K\n" * 1500}}
        *_, error, end = client.lines("/odds", body)
        assert "more than 0.05 seconds" in error["error"] and end == {"end": True}
        assert len(calls) == 1
    with serving(models, positions=100) as (_, client):
        status, said = client.post("/run", asked("images", num=2))
        assert status == 400 and "have 128 positions, and at most 100" in said["error"]


# ---------------------------------------------------------------- what is filled in


def revealed(lines, how=""):
    """{(copy, example): {position: (text, probability)}} of all frames, each position once, unless
    it was hidden again in between."""
    found = {}
    steps = [line["step"] for line in lines if "new" in line]
    assert steps == sorted(steps)
    for line in lines:
        for copy, example, positions, texts, sure in line.get("new", []):
            of = found.setdefault((copy, example), {})
            for position, text, probability in zip(positions, texts, sure, strict=True):
                before = of.pop(position, None)
                assert (text is None) == (before is not None) or how == "remasked"
                if text is not None:
                    of[position] = text, probability
    return found


def run_command(command, folder, monkeypatch):
    """Have a shell write the file, and call the verb with the words that it was given."""
    names = folder / "bin"
    names.mkdir(exist_ok=True)
    (names / "unmask").write_text('#!/bin/sh\nfor word; do printf "%s\\0" "$word"; done > words\n')
    (names / "unmask").chmod(0o755)
    path = {"PATH": f"{names}:{os.environ['PATH']}"}
    subprocess.run(
        ["bash", "-euc", command.encode()], cwd=folder, env=os.environ | path, check=True
    )
    words = (folder / "words").read_text(encoding="utf-8").split("\0")[:-1]
    monkeypatch.chdir(folder)
    assert main(words) == 0


def shown_as_text(name, lines, copy, facts, how="", edit=None):
    """What the page shows of a filling, as the command writes it."""
    edit = edit or EDITS[name]
    found = revealed(lines, how)
    if name == "images":
        array = picture().copy().reshape(-1)
        for position, (text, _) in found[copy, 0].items():
            array[position] = int(text)
        return array.reshape(8, 8).tolist()
    final = {(k, i, at): text for k, i, at, _, text in lines_of(lines, "filled")}
    if name == "text":
        content = edit["content"].replace("\\[MASK]", "<mark>")
        at = iter([text for (k, *_), text in sorted(final.items()) if k == copy])
        return re.sub(r"\[MASK:\d+\]", lambda _: next(at), content).replace("<mark>", "[MASK]")
    if name == "proteins":
        letters = iter([text for _, (text, _) in sorted(found[copy, 0].items())])
        return re.sub("[X-]", lambda _: next(letters), edit["content"])
    if name == "tables":
        places = lines_of(lines, "begin")["board"]["holes"]
        rows = [row[:] for row in EDITS["tables"]["rows"]]
        value_at = [column["at"] for column in facts["columns"]]
        for r, holes in enumerate(places):
            for c, hole in enumerate(holes):
                if hole:
                    rows[r][c] = final[copy, r, value_at[c]]
        return rows
    raise AssertionError(name)


def lines_of(lines, key):
    return next(line[key] for line in lines if key in line)


def written_by_command(name, folder, num):
    if name == "images":
        from PIL import Image

        files = [folder / f"holes-filled-{k + 1}.png" for k in range(num)]
        return [np.asarray(Image.open(file)).tolist() for file in files]
    files = [folder / f"holes-filled-{k + 1}.csv" for k in range(num)]
    return [[row.split(",") for row in file.read_text().splitlines()[1:]] for file in files]


@pytest.mark.parametrize(
    "how",
    [
        {"steps": 5, "seed": 3},
        {"sampler": "first_hitting", "temperature": 0.1, "seed": 11},
        {"sampler": "counts", "steps": 3, "grid": "uniform"},
        {"sampler": "entropy-bounded", "gamma": 4.5, "top_p": 0.9},
        {"sampler": "remdm-cap", "steps": 6, "eta": 0.5},
        {"sampler": "forward-backward", "steps": 3, "corrections": 2},
    ],
    ids=lambda how: how.get("sampler", "ancestral"),
)
@pytest.mark.parametrize("name", ["text", "proteins", "images", "tables"])
def test_the_command_does_what_the_page_did(client, name, how, tmp_path, monkeypatch, capsys):
    lines = client.lines("/run", asked(name, num=2, **how))
    facts = client.post("/models", {})[1]["models"][KINDS.index(name)]
    again = "remasked" if how.get("sampler") in ("remdm-cap", "forward-backward") else ""
    shown = [shown_as_text(name, lines, copy, facts, again) for copy in range(2)]
    capsys.readouterr()
    run_command(lines_of(lines, "begin")["command"], tmp_path, monkeypatch)
    said = capsys.readouterr().out
    if name == "text":
        assert said == "".join(f"--- {k}\n{text}\n" for k, text in enumerate(shown, 1))
    elif name == "proteins":  # which come best first
        assert sorted(said.split("\n")[1::2]) == sorted(shown)
    else:
        assert written_by_command(name, tmp_path, 2) == shown
    assert shown[0] != shown[1]


def test_samples_are_those_of_the_command(client, models, tmp_path, monkeypatch, capsys):
    for name, length in (("text", 9), ("proteins", 7), ("tables", models[3].length)):
        said = {"model": KINDS.index(name), "length": length}
        lines = client.lines("/run", said | {"settings": settings(num=9, seed=4, score=True)})
        scores = [line["of"] for line in lines if "score" in line]
        assert len(scores) == 9 and all(len(of) == 1 and of[0][0] > 0 for of in scores)
        capsys.readouterr()
        run_command(lines_of(lines, "begin")["command"], tmp_path, monkeypatch)
        told = capsys.readouterr().out
        texts = [text for *_, text in lines_of(lines, "filled")]
        if name == "proteins":
            found = revealed(lines)
            texts = ["".join(found[k, 0][i][0] for i in range(7)) for k in range(9)]
            assert told.split("\n")[1::2] == texts
        elif name == "text":
            assert told == "".join(f"--- {k}\n{text}\n" for k, text in enumerate(texts, 1))
        else:
            assert [cell for row in told.split()[1:] for cell in row.split(",")] == texts


LONG = {
    "text": {"content": f"[MASK:2]{'the lazy dog ' * 5}[MASK:9]{'the fox ' * 4}[MASK:3]"},
    "proteins": {"content": f"--{'MKVLAG' * 4}---{'MKVLAG' * 4}-"},
}


@pytest.mark.parametrize("name", LONG)
def test_what_is_longer_than_the_model_was_trained_at_is_filled_by_windows(
    client, models, name, tmp_path, monkeypatch, capsys
):
    """As `fill --window` does; every hole appears once, at its own place, as probable as it was."""
    number, trained = KINDS.index(name), models[KINDS.index(name)].length
    how = settings(num=2, steps=4, seed=5, score=True)
    lines = client.lines("/run", {"model": number, "edit": LONG[name], "settings": how})
    begin, found = lines_of(lines, "begin"), revealed(lines)
    assert begin["length"] > trained and "--window" in begin["command"]
    assert begin["steps"] == max(line["step"] for line in lines if "new" in line)
    (cells,) = begin["board"]["examples"]
    hole = np.repeat([one[2] for one in cells], [one[1] for one in cells])
    for copy in range(2):
        assert set(found[copy, 0]) == set(np.flatnonzero(hole))
        assert all(sure < 0.99 for _, sure in found[copy, 0].values())
    scores = [line["of"] for line in lines if "score" in line]
    assert [count for ((_, _, count),) in scores] == [hole.sum()] * 2
    capsys.readouterr()
    run_command(begin["command"], tmp_path, monkeypatch)
    told = capsys.readouterr().out
    shown = [shown_as_text(name, lines, copy, None, edit=LONG[name]) for copy in range(2)]
    if name == "proteins":
        assert sorted(told.split("\n")[1::2]) == sorted(shown)
    else:
        assert told == "".join(f"--- {k}\n{text}\n" for k, text in enumerate(shown, 1))
    error, end = client.lines("/odds", {"model": number, "edit": LONG[name]})
    assert f"is told of {trained} " in error["error"] and end == {"end": True}


def test_who_leaves_stops_the_scoring(models):
    """Between two draws of the masks of one filling."""
    draws = []

    def check():
        draws.append(1)
        if len(draws) == 5:
            raise Stopped

    model = models[1].model
    whole = Partial(np.arange(20) % 20, np.full(20, HOLE, np.int8))
    plain = Filler(model).score([whole], draws=32)
    with pytest.raises(Stopped):
        Filler(model, check=check).score([whole], draws=32)
    assert len(draws) == 5
    again = Filler(model, check=lambda: draws.append(1)).score([whole], draws=32)
    assert len(draws) == 5 + 32 and again[0][1:] == plain[0][1:]


def test_a_value_that_the_network_does_not_know_is_refused_where_it_is_used(runs):
    """And not where it is edited, so that it can be taken out."""
    one = served(runs["proteins"])
    one.model.allowed = torch.arange(22) != 20
    edit = {"content": ">one\nMKV-LA\n>two\nMU-L\n"}
    said = "example 2 of holes.fasta has U (value 20), which the network does not know"
    with serving([one]) as (_, client):
        assert client.post("/open", {"model": 0, "edit": edit})[0] == 200
        status, answer = client.post("/run", {"model": 0, "edit": edit, "settings": settings()})
        assert status == 400 and answer["error"].startswith(said)
        error, end = client.lines("/odds", {"model": 0, "edit": edit})
        assert error["error"].startswith(said) and end == {"end": True}


def test_classes_and_guidance_are_those_of_the_command(runs, tmp_path, monkeypatch):
    folder = tmp_path / "classes"
    digits = demos()["digits"].source.with_name("digits-images-idx3-ubyte.gz")
    prepare_images(digits, folder, levels=17, split="0.9,0.05,0.05", progress=False)
    config = replace(UNET, labels=True, label_dropout=0.25)
    run = train(config, folder, tmp_path / "run").parents[1]
    how = {"num": 2, "steps": 4, "guidance": 2.0}
    with serving([served(run)]) as (_, client):
        facts = client.post("/models", {})[1]["models"][0]
        assert facts["guidance"] and facts["classes"] == [str(i) for i in range(10)]
        edit = EDITS["images"] | {"label": "3"}
        lines = client.lines("/run", {"model": 0, "edit": edit, "settings": settings(**how)})
        shown = [shown_as_text("images", lines, copy, facts) for copy in range(2)]
        command = lines_of(lines, "begin")["command"]
        assert "--guidance 2.0 --label 3" in command
        run_command(command, tmp_path, monkeypatch)
        assert written_by_command("images", tmp_path, 2) == shown
        for label in ("", "7"):  # the classes in turn, or one
            said = {"model": 0, "length": 64, "label": label, "settings": settings(num=3, steps=4)}
            lines = client.lines("/run", said)
            found = revealed(lines)
            run_command(lines_of(lines, "begin")["command"] + " --out s.npz", tmp_path, monkeypatch)
            drawn = np.load(tmp_path / "s.npz")["data"].reshape(3, 64).tolist()
            assert drawn == [[int(found[k, 0][i][0]) for i in range(64)] for k in range(3)]
    run = train(replace(config, label_dropout=0.0), folder, tmp_path / "always").parents[1]
    with serving([served(run)]) as (_, client):
        said = {"model": 0, "edit": EDITS["images"], "settings": settings(num=2, steps=4)}
        status, answer = client.post("/run", said)
        assert status == 400 and answer["error"].endswith("(--label-dropout 0): choose its class")
        error, _ = client.lines("/odds", {"model": 0, "edit": EDITS["images"]})
        assert error["error"].endswith("(--label-dropout 0): choose its class")


def test_a_fifth_kind_gets_a_plain_page(client, tmp_path, monkeypatch, capsys):
    facts = client.post("/models", {})[1]["models"][4]
    assert facts["editor"] == "plain" and facts["what"] == "dice"
    board = client.post("/open", {"model": 4, "edit": EDITS["dice"]})[1]["board"]
    first = [["1", 1, False], ["", 1, True], ["", 1, True], ["6", 1, False], ["6", 1, False]]
    assert board["examples"][0] == first and len(board["examples"]) == 3
    lines = client.lines("/run", asked("dice", num=2, score=True))
    found = revealed(lines)
    assert set(found) == {(0, 0), (1, 0), (0, 2), (1, 2)} and set(found[0, 0]) == {1, 2}
    assert [line["score"] for line in lines if "score" in line] == [0, 1]
    capsys.readouterr()
    run_command(lines_of(lines, "begin")["command"], tmp_path, monkeypatch)
    rows = [row.split()[0] for row in capsys.readouterr().out.splitlines()]
    shown = [f"1{found[k, 0][1][0]}{found[k, 0][2][0]}66" for k in range(2)]
    assert sorted(rows[:2]) == sorted(shown) and rows[2] == "66666"


@pytest.mark.parametrize("sampler", ["left-to-right", "confidence"])
def test_what_is_shown_as_confidence_is_the_models_law(models, sampler):
    """Of each value, given what was revealed before it: by single calls, one hole after another."""
    model = models[4].model
    example = Partial(np.array([1, 0, 3, 0, 0]), np.array([GIVEN, HOLE, GIVEN, HOLE, HOLE]))
    states = []
    filler = Filler(model, sampler=sampler, seed=2, told=lambda _, state: states.append(state))
    ((one,),) = filler.fill([example])
    role, checked = example.role.copy(), 0
    known = example.ids.copy()
    for state in states:
        (new,) = np.flatnonzero(state.shown[0] & (role == HOLE))
        laws = {position: law for _, position, law in filler.laws([Partial(known, role)])}
        assert state.ids[0, new] == one.ids[new]
        assert abs(state.sure[0, new] - laws[new][one.ids[new]]) < 1e-5
        role[new], known[new] = GIVEN, one.ids[new]
        checked += 1
    assert checked == 3 and (role == GIVEN).all()


def test_the_page_is_told_of_what_is_hidden_again_and_drawn_anew(models):
    said = asked("dice", seed=1)
    ask = Ask(models, said, Limits())
    hole = np.flatnonzero(ask.examples[0].role == HOLE)[0]
    lines, ids = [], ask.examples[0].ids[None].copy()
    task = SimpleNamespace(check=lambda: None, say=lines.append)
    live = Live(ask, task, math.inf)
    shown, sure = (ask.examples[0].role != HOLE)[None].copy(), np.full(ids.shape, 0.25)
    for value in (2, None, 4, 4, 5):  # 5 instead of 4: hidden and drawn between two states
        shown[0, hole], ids[0, hole] = value is not None, value or 0
        live.told([0], State(ids.copy(), shown.copy(), sure))
        live.flush()
    new = [one for line in lines for one in line["new"]]
    assert [one[2] for one in new] == [[hole]] * 4
    assert [one[3] for one in new] == [["3"], [None], ["5"], ["6"]]
    sure[:] = 0.75  # the same value, drawn again
    for _ in range(2):
        live.told([0], State(ids.copy(), shown.copy(), sure))
        live.flush()
    assert [one[3:] for line in lines[5:] for one in line["new"]] == [[["6"], [0.75]]]


def test_the_bound_is_that_of_the_filler_and_the_odds_are_its_laws(client, models):
    name, served_model = "proteins", models[1]
    lines = client.lines("/run", asked(name, num=2, steps=4, score=True))
    found = revealed(lines)
    source = [[*line["of"][0]] for line in lines if "score" in line]
    letters = "MK--LBXX-a".replace("a", "A")
    ids = np.array(["ACDEFGHIKLMNPQRSTVWYUO".find(letter) for letter in letters])
    role = np.array([HOLE if c in "X-" else GIVEN if c != "B" else 0 for c in letters], np.int8)
    for copy, (nats, noise, holes) in enumerate(source):
        whole = ids.copy()
        for position, (letter, _) in found[copy, 0].items():
            whole[position] = "ACDEFGHIKLMNPQRSTVWYUO".find(letter)
        (told,) = Filler(served_model.model).score([Partial(whole, role)], draws=32)
        assert (nats, noise, holes) == pytest.approx((told.nats, told.noise, 5))
    (listed,) = [line["odds"] for line in client.lines(
        "/odds", {"model": 1, "edit": EDITS[name]}) if "odds" in line]  # fmt: skip
    laws = {at: law for _, at, law in Filler(served_model.model).laws([Partial(ids, role)])}
    assert [at for _, at, _ in listed] == [2, 3, 6, 7, 8]
    for _, at, odds in listed:
        best = max(laws[at])
        assert odds[0][1] == pytest.approx(best, abs=1e-4) and len(odds) == 8


def test_the_odds_of_a_cell_are_those_that_fill_lists(client, tmp_path, monkeypatch, capsys):
    edit = EDITS["tables"] | {"fixed": ["job"]}
    listed = client.lines("/odds", {"model": 3, "edit": edit})[0]["odds"]
    lines = client.lines("/run", asked("tables") | {"edit": edit})
    command = lines_of(lines, "begin")["command"]
    assert "--columns age,pay --empty unknown" in command
    run_command(f"{command} --probabilities p.csv", tmp_path, monkeypatch)
    rows = [row.split(",") for row in (tmp_path / "p.csv").read_text().splitlines()[1:]]
    facts = client.post("/models", {})[1]["models"][3]
    for row, position, odds in listed:
        (name,) = [column["name"] for column in facts["columns"] if column["at"] == position]
        said = [[v, float(p)] for r, n, v, p in rows if r == str(row + 1) and n == name]
        assert odds == said[: len(odds)] and len(odds) == min(12, len(said))


def status_of(client, size):
    """The status of a request of so many blanks, which are not sent where they are refused."""
    with socket.create_connection((client.host, client.port)) as raw:
        head = f"POST /load HTTP/1.1\r\nHost: localhost\r\nX-Token: {client.token}\r\n"
        sent = f"{head}Content-Type: application/json\r\nContent-Length: {size}\r\n\r\n"
        raw.sendall(sent.encode())
        if size <= LARGE:
            raw.sendall(b" " * size)
        return int(raw.recv(100).split()[1])


def test_comments_before_a_first_record_are_no_record(client):
    edit = {"content": "; from a list\n\n;\n>a\nM-K\n"}
    status, said = client.post("/open", {"model": KINDS.index("proteins"), "edit": edit})
    assert status == 200, said


def test_residues_are_shown_as_they_were_written(client):
    edit = {"content": ">a\nmk--LA*"}
    _, said = client.post("/open", {"model": KINDS.index("proteins"), "edit": edit})
    (cells,) = said["board"]["examples"]
    assert "".join(text for text, *_ in cells) == "mkLA*"
    assert sum(size for _, size, _ in cells) == 6  # a stop is at no position


def test_what_is_loaded_is_what_is_edited(client, runs):
    def loaded(name, file, content):
        said = {"name": file, "file": base64.b64encode(content).decode()}
        status, answer = client.post("/load", {"model": KINDS.index(name), **said})
        assert status == 200, answer
        return answer["edit"]

    assert loaded("text", "a.TXT", "déjà [MASK]".encode("utf-16")) == {"content": "déjà [MASK]"}
    # these have no carriage return, which is no letter of theirs
    assert loaded("proteins", "a.fa", b">a\r\nM-K\r\n") == {"content": ">a\r\nM-K\r\n"}
    said = {"name": "a.txt", "file": base64.b64encode(b"a\r\nb [MASK:2]").decode()}
    status, answer = client.post("/load", {"model": KINDS.index("text"), **said})
    assert status == 400 and "carriage returns, which the page would lose" in str(answer)
    table = loaded("tables", "x.csv", b"pay,age\n7,30\n?,\n")
    assert table == {"rows": [["30", "", "7"], ["", "", ""]], "fixed": ["job"]}
    from io import BytesIO

    from PIL import Image

    large = Image.fromarray(np.full((50, 90, 3), 200, np.uint8))
    stream = BytesIO()
    large.save(stream, "JPEG")
    edit = loaded("images", "photo.jpg", stream.getvalue())
    values = np.frombuffer(base64.b64decode(edit["pixels"]), np.uint8)
    pixels = Pixels((8, 8, 1), 17)
    assert len(values) == 64 and set(values) == set(pixels.decode(pixels.encode(
        np.full((8, 8, 1), 200, np.uint8))).ravel())  # fmt: skip
    assert base64.b64decode(edit["holes"]) == bytes(64)
    bomb = BytesIO()
    Image.new("1", (12000, 12000)).save(bomb, "PNG")
    said = {"name": "b.png", "file": base64.b64encode(bomb.getvalue()).decode()}
    status, answer = client.post("/load", {"model": 2, **said})
    assert status == 400 and "truncated, damaged or too large" in answer["error"]
    for letters, status in ((SMALL - 5000, 200), (SMALL, 400)):
        said = {"name": "long.txt", "file": base64.b64encode(b"a" * letters).decode()}
        found, answer = client.post("/load", {"model": 0, **said})
        assert found == status
    assert answer["error"].startswith("long.txt is too long for the page")
    for size, status in ((SMALL + 1, 400), (LARGE, 400), (LARGE + 1, 413)):
        assert status_of(client, size) == status


def test_cells_joined_are_the_text(client, models):
    """Those of bytes that share a letter are one; so are those of a tokenizer of subwords."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
    from tokenizers import models as kinds

    from unmask.kinds.text.editor import given_cells
    from unmask.kinds.text.tokenizers import Subwords

    board = client.post("/open", {"model": 0, "edit": EDITS["text"]})[1]["board"]
    (cells,) = board["examples"]
    given = "".join(text for text, _, hole in cells if not hole)
    assert given == EDITS["text"]["content"].replace("\\[MASK]", "MARK").replace(
        "[MASK:5]", "").replace("[MASK:3]", "").replace("MARK", "[MASK]")  # fmt: skip
    assert sum(size for _, size, _ in cells) == len(given.encode()) + 8
    assert ["\u2013", 3, False] in cells
    board = client.post("/open", {"model": 1, "edit": EDITS["proteins"]})[1]["board"]
    cells = [(letter, letter == "-") for letter in "MK--LB---a"]
    assert board["examples"] == [[["" if hole else c, 1, hole] for c, hole in cells]]
    made = Tokenizer(kinds.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(["the cat the hat"] * 9, trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=letters))  # fmt: skip
    subwords = Subwords(made.to_str())
    for text in ("the cat \u2013 the 😀 hat", "é", "  the  ", "\n\tx"):
        ids = subwords.encode(text)
        found = given_cells(subwords, text, ids, after=False)
        assert "".join(cell.text for cell in found) == text
        assert sum(cell.size for cell in found) == len(ids)
    made = Tokenizer(kinds.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    words = Subwords(made.to_str())
    for text, sizes in ((" a  b ", [1, 0, 1, 0]), ("  ", [0])):  # blanks are of no token
        found = given_cells(words, text, words.encode(text), after=False)
        assert "".join(cell.text for cell in found) == text
        assert [cell.size for cell in found] == sizes


def test_cells_of_a_long_text_are_made_in_one_pass():
    """Of n tokens no more comparisons than n log n, which sorting may take."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as kinds

    from unmask.kinds.text.editor import given_cells
    from unmask.kinds.text.tokenizers import Subwords

    class Counted(int):
        compared = 0

        def __lt__(self, other):
            Counted.compared += 1
            return int(self) < int(other)

        def __gt__(self, other):
            Counted.compared += 1
            return int(self) > int(other)

    def encode(text, **how):
        offsets = model.encode(text, **how).offsets
        return SimpleNamespace(offsets=[(Counted(begin), end) for begin, end in offsets])

    model = Tokenizer(kinds.WordLevel({"a": 0}, unk_token="a"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    words, size = Subwords(model.to_str()), 2000
    text = " ".join("a" * size)
    assert words.drops_blanks
    ids, words.model = words.encode(text), SimpleNamespace(encode=encode)
    cells = given_cells(words, text, ids, after=False)
    assert Counted.compared <= size * math.log2(size)
    assert "".join(cell.text for cell in cells) == text
    assert [cell.size for cell in cells] == [1, 0] * (size - 1) + [1]  # blanks are of no token


def test_letters_of_holes_side_by_side_are_those_of_one(models):
    edit = {"content": "caf[MASK][MASK] \u2013 [MASK][MASK:2]."}
    source, *_ = opened(models[0], edit, Limits())
    ids = np.frombuffer("caf\u00e9 \u2013 \u20ac.".encode(), np.uint8).astype(np.int64)
    assert models[0].editor.texts(source, [[Filled(ids, 0.0, 0.0)]], 0) == [
        (0, 0, 3, 2, "\u00e9"), (0, 0, 10, 3, "\u20ac"),
    ]  # fmt: skip


def test_frames_are_few_enough_to_be_looked_at(client):
    lines = client.lines("/run", asked("images", steps=512))
    frames = [line["step"] for line in lines if "new" in line]
    assert len(frames) <= 30 * lines_of(lines, "done") + 2 and len(frames) < 512
    assert frames[-1] == 512 and len(revealed(lines)[0, 0]) == 32


def test_steps_are_those_of_all_batches(client):
    """Of records longer than the model, each is a batch of its own."""
    records = [f">{i}\n{'MKVLAG' * 5}--\n" for i in range(2)]
    said = asked("proteins", steps=4, num=2) | {"edit": {"content": "".join(records)}}
    lines = client.lines("/run", said)
    steps = [line["step"] for line in lines if "new" in line]
    assert lines_of(lines, "begin")["steps"] == max(steps) == 8


# ---------------------------------------------------------------- one at a time


def opened_run(client, body):
    """A connection on which a run has begun."""
    connection = http.client.HTTPConnection(client.host, client.port, timeout=30)
    content = json.dumps(body)
    headers = {"Content-Type": "application/json", "X-Token": client.token}
    connection.request("POST", "/run", content, headers)
    answer = connection.getresponse()
    assert answer.status == 200 and "begin" in json.loads(answer.readline())
    return connection, answer


def test_who_leaves_stops_the_network_and_others_wait(models):
    """While one is served, others are told so; when it leaves, the network is not called again,
    although all is one step."""
    with serving(models) as (_, client), slowed(models[2].model, 0.01) as calls:
        body = asked("images", num=16, steps=1, sampler="forward-backward", corrections=16)
        connection, answer = opened_run(client, body)
        status, said = client.post("/run", asked("dice"))
        assert status == 429 and "at work" in said["error"]
        assert client.post("/odds", {"model": 4, "edit": EDITS["dice"]})[0] == 429
        assert client.post("/models", {})[0] == 200  # which needs no model
        answer.close()
        connection.close()
        began = time.monotonic()
        while client.ask("POST", "/run", asked("dice"))[0] == 429:
            assert time.monotonic() < began + 10
            time.sleep(0.02)
        done = len(calls)
        time.sleep(0.3)
        assert len(calls) == done < 16 * 32


def test_who_leaves_is_noticed_while_the_network_is_at_work(models):
    """Although nothing is sent meanwhile; and its next step is not begun."""
    model, calls, goes_on = models[2].model, [], threading.Event()
    hidden = model.hidden

    def slow(*args, **how):
        calls.append(1)
        goes_on.wait(20)
        return hidden(*args, **how)

    model.hidden = slow
    try:
        with serving(models) as (server, client):
            connection, answer = opened_run(client, asked("images", steps=64))
            task = server.worker.now
            answer.close()
            connection.close()
            assert task.stop.wait(10)
            goes_on.set()
            while client.ask("POST", "/run", asked("dice"))[0] == 429:
                time.sleep(0.02)
            assert len(calls) <= 1
    finally:
        del model.hidden


def test_many_clients_at_once(models):
    crowd(models, 1)


def crowd(models, seconds, clients=10):
    """No answer but 200 and 429, and memory that does not grow."""
    with serving(models) as (_, client):
        statuses: Counter = Counter()

        def work(k, until):
            while time.monotonic() < until:
                name = KINDS[(k + statuses.total()) % len(KINDS)]
                status, _, content = client.ask("POST", "/run", asked(name, steps=8, score=True))
                statuses[status] += 1
                assert status != 200 or content.endswith(b'{"end":true}\n'), content[-200:]

        def all_of(seconds):
            until = time.monotonic() + seconds
            threads = [threading.Thread(target=work, args=(k, until)) for k in range(clients)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        all_of(seconds / 3)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        all_of(seconds)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert set(statuses) == {200, 429}, statuses
        assert grown < 30_000, f"{grown} kB"
        return statuses, grown


# ---------------------------------------------------------------- the verb


def test_the_verb_serves_until_it_is_stopped(runs, tmp_path):
    page = (ROOT / "docs" / "serve.md").read_text(encoding="utf-8")
    (line,) = re.findall("```sh\n(.*)\n```", page)
    words = [*shlex.split(line, comments=True)[1:], str(runs["text"])]
    (tmp_path / "run").symlink_to(runs["dice"])
    # a kind that is not the package's is registered by who runs it
    program = f"import sys, dice; from unmask.cli import main; sys.exit(main({words!r}))"
    path = os.pathsep.join([str(ROOT / "tests"), str(ROOT / "src")])
    done = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        encoding="utf-8", cwd=tmp_path, env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    try:
        url = done.stdout.readline().strip()
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/#([\w-]{32})", url)
        assert found, url + done.stderr.read()
        client = Client.__new__(Client)
        client.host, client.port, client.token = "127.0.0.1", int(found[1]), found[2]
        told = client.post("/models", {})[1]["models"]
        assert [one["name"] for one in told] == ["dice", "text"]
        busy = main(["serve", str(runs["text"]), "--port", found[1]])
        assert busy == 2
        done.send_signal(signal.SIGINT)
        assert done.wait(20) == 0
        assert done.stderr.read().splitlines() == ["Ctrl-C stops it", "stopped"]
    finally:
        done.kill()
        done.communicate()


def test_the_function_of_a_space_fills_in(runs, tmp_path):
    """That of the page, on a folder; gradio is what calls it there."""
    (tmp_path / "run").symlink_to(runs["text"])
    end = "    return tokenizer.decode(x[0].tolist())\n"
    said = run_page(
        "serve.md", tmp_path, {end: f"{end}print(fill('the ', 5, ' fox', 3))"}, "python"
    )
    assert len(said) >= 4 + 4 and said.startswith("the ") and said.endswith(" fox\n")


@pytest.mark.parametrize(
    "words,why",
    [
        ([], "no model to serve"), (["RUN", "--port", "70000"], "--port must be 0 to 65535"),
        (["RUN", "--most-num", "0"], "--most-num must be at least 1"),
        (["RUN", "--seconds", "0"], "--seconds must be above 0"),
        (["RUN", "--host", "203.0.113.7"], "203.0.113.7, port 0, cannot be listened on"),
        (["RUN", "nothing"], "nothing"),
    ],
)  # fmt: skip
def test_what_the_verb_cannot_do_is_one_sentence(runs, words, why, capsys):
    words = [str(runs["text"]) if word == "RUN" else word for word in words]
    assert main(["serve", *words]) == 2
    said = capsys.readouterr().err
    assert why in said and said.count("\n") == 1
