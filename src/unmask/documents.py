"""JSON from elsewhere: read, and held against what it must be, before anyone indexes it.  And of
what is written, `without_infinities`.

A form is a type; a list of one form, for lists; {str: form}, for mappings; a dict of forms by key,
where a key that ends in "?" may be missing and others may be there besides; or a `Test`.
"""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from unmask.files import check_file


class Test(NamedTuple):
    """A form that is a condition, and what it asks for in words."""

    holds: Callable[[Any], bool]
    what: str


def whole(least: int, most: int = 2**53) -> Test:
    """A whole number within limits; True and False are none."""
    what = f"a whole number from {least}"
    return Test(lambda v: type(v) is int and least <= v <= most, what)


def one_of(*values: Any) -> Test:
    return Test(lambda v: type(v) is str and v in values, f"one of {', '.join(map(repr, values))}")


NUMBER = Test(lambda v: type(v) in (int, float) and abs(v) < 1e100, "a number")
WORDS = {
    str: "a text", bool: "true or false", dict: "an object", list: "a list",
    int: "a whole number", float: "a decimal number",
}  # fmt: skip


def read_json(path: Path, form: Any = None) -> Any:
    """The content of a JSON file.  ValueError that names the file if it is none, or misfits."""
    check_file(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    wrong = misfit(content, form)
    if wrong:
        raise ValueError(f"{path}: {wrong}")
    return content


def parsed(content: bytes, form: Any, what: str) -> Any:
    """JSON that a file of another kind holds.  ValueError that says `what` it is, if it is none, or
    misfits."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise ValueError(f"{what} is no JSON: the file is damaged") from None
    if wrong := misfit(found, form):
        raise ValueError(f"{what} is damaged: {wrong}")
    return found


@contextmanager
def malformed(what: str, fix: str) -> Iterator[None]:
    """While facts of a document are used, `what`: ValueError for one that is missing, of another
    type, or a number that cannot be divided by, which says how to `fix` it."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"{what} is damaged ({error}): {fix}") from None


def misfit(value: Any, form: Any, where: str = "") -> str:
    """Where and why a value does not fit a form; "" if it does."""
    if form is None:
        return ""
    if isinstance(form, Test):
        return "" if form.holds(value) else said(value, form.what, where)
    if isinstance(form, type):
        return "" if type(value) is form else said(value, WORDS[form], where)
    if isinstance(form, list):
        if not isinstance(value, list):
            return said(value, "a list", where)
        found = (misfit(item, form[0], f"{where}[{i}]") for i, item in enumerate(value))
        return next(filter(None, found), "")
    if not isinstance(value, dict):
        return said(value, "an object", where)
    if str in form:
        found = (misfit(item, form[str], inside(where, key)) for key, item in value.items())
        return next(filter(None, found), "")
    for key, of_key in form.items():
        name = key.removesuffix("?")
        if name in value:
            wrong = misfit(value[name], of_key, inside(where, name))
            if wrong:
                return wrong
        elif name == key:
            return f"{inside(where, name)!r} is missing"
    return ""


def inside(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def said(value: Any, what: str, where: str) -> str:
    shown = json.dumps(value)
    if len(shown) > 40:
        shown = f"{shown[:37]}..."
    return f"{where or 'all of it'} is {shown}, expected {what}"


def without_infinities(value: Any) -> Any:
    """With None in the place of infinities and NaN, which JSON does not have, however deep."""
    if isinstance(value, dict):
        return {name: without_infinities(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_infinities(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
