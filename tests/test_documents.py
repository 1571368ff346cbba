"""Documents from elsewhere, tampered with: one sentence, and never a traceback."""

import copy
import itertools
import json
import math
import shutil

import pytest
from test_train import SMALL

from unmask import checkpoint
from unmask.cli import main
from unmask.documents import NUMBER, misfit, one_of, read_json, whole
from unmask.train import train

WRONG = (None, True, -1, 2**70, 1e999, "x", [], ["x"], {}, {"x": 1})


def test_forms():
    form = {"a": whole(1), "b?": [str], "c": {str: whole(0)}, "d?": one_of("x", "y")}
    right = {"a": 1, "c": {"k": 0}, "more": object()}
    assert misfit(right, form) == "" and misfit(right | {"b": ["p"], "d": "x"}, form) == ""
    for change, said in (
        ({"a": 0}, "a is 0, expected a whole number from 1"),
        ({"a": True}, "a is true, expected a whole number from 1"),
        ({"a": 1.0}, "a is 1.0, expected a whole number"),
        ({"b": "p"}, 'b is "p", expected a list'),
        ({"b": ["p", 3]}, "b[1] is 3, expected a text"),
        ({"c": {"k": "v"}}, 'c.k is "v", expected a whole number from 0'),
        ({"c": []}, "c is [], expected an object"),
        ({"d": "z"}, "d is \"z\", expected one of 'x', 'y'"),
    ):
        assert said in misfit(right | change, form)
    assert misfit({"c": {}}, form) == "'a' is missing"
    assert misfit([], form) == "all of it is [], expected an object"
    assert misfit(1.5, int) == "all of it is 1.5, expected a whole number"
    assert misfit(1, float) == "all of it is 1, expected a decimal number"
    assert [NUMBER.holds(value) for value in (1, 0.5, math.nan, -math.inf, True)] == [
        True, True, False, False, False
    ]  # fmt: skip


@pytest.mark.parametrize("content", ["", "{", "[" * 100_000, '{"a": NaN', b"\xff\xfe"])
def test_what_is_no_json_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r"a\.json (cannot be read|is nested too deeply)"):
        read_json(path)


def places(document, above=()):
    """The paths to all values of a document."""
    items = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in items:
        yield (*above, key)
        if isinstance(value, dict | list):
            yield from places(value, (*above, key))


def tampered(document):
    """Documents with one value replaced, or left out."""
    for path, wrong in itertools.product(places(document), (*WRONG, "left out")):
        changed = copy.deepcopy(document)
        spot = changed
        for key in path[:-1]:
            spot = spot[key]
        if wrong == "left out":
            del spot[path[-1]]
        else:
            spot[path[-1]] = wrong
        yield changed, path, wrong


def commands(model, data):
    quick = ["--limit", "2", "--repeats", "1", "--device", "cpu"]
    yield ["eval", str(model), "--data", str(data), *quick]
    yield ["sample", str(model), "--num", "1", "--steps", "1", "--device", "cpu"]


def check(model, data, what, capsys):
    for command in commands(model, data):
        code = main(command)
        said = capsys.readouterr().err
        assert code in (0, 2) and "Traceback" not in said, (what, command[0], said[-800:])


def some(documents, every):
    return itertools.islice(documents, 0, None, every)


def tamper_with_meta(data, tmp_path, capsys, every):
    model = train(SMALL, data, tmp_path / "run")
    copied = shutil.copytree(data, tmp_path / "data")
    meta = json.loads((data / "meta.json").read_text())
    for changed, path, wrong in some(tampered(meta), every):
        (copied / "meta.json").write_text(json.dumps(changed))
        check(model, copied, (path, wrong), capsys)


def tamper_with_config(data, tmp_path, capsys, every):
    """As somebody would who knows how the digest is made."""
    model = train(SMALL, data, tmp_path / "run")
    copied = shutil.copytree(model, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    for changed, path, wrong in some(tampered(config), every):
        if isinstance(changed.get("sha256"), dict):
            changed["sha256"]["config.json"] = checkpoint.config_digest(changed)
        (copied / "config.json").write_text(json.dumps(changed))
        check(copied, data, (path, wrong), capsys)


def test_tampered_data_are_one_sentence(data, tmp_path, capsys):
    tamper_with_meta(data, tmp_path, capsys, every=13)


def test_tampered_models_are_one_sentence(data, tmp_path, capsys):
    tamper_with_config(data, tmp_path, capsys, every=23)


@pytest.mark.slow
@pytest.mark.parametrize("tamper", [tamper_with_meta, tamper_with_config])
def test_all_that_is_tampered_with_is_one_sentence(data, tmp_path, capsys, tamper):
    tamper(data, tmp_path, capsys, every=1)
