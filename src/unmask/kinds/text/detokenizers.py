"""Texts of benchmarks that come cut into words, written as text again.

These are the rules that published zero-shot perplexities were computed with, their accidents
included: other rules make other numbers.  They are held by examples in tests/test_protocols.py.
docs/protocols.md says which repository they were read in.
"""

import re
from collections.abc import Callable

Step = Callable[[str], str]


def swap(*pairs: tuple[str, str]) -> Step:
    """Each first text becomes the second, one pair after the other."""

    def step(text: str) -> str:
        for old, new in pairs:
            text = text.replace(old, new)
        return text

    return step


def match(pattern: str, new: str) -> Step:
    compiled = re.compile(pattern)
    return lambda text: compiled.sub(new, text)


def hug(pair: str, blanks: str, least: str) -> Step:
    """No blanks inside a pair of brackets or quotes; the nearest two of one kind make a pair.

    blanks: those that may be there, as a pattern; least: how much text stands between them, too.
    """
    opening, closing = pair
    first, last = re.escape(opening), re.escape(closing)
    inner = f"[^{last}]" if opening == closing or least == "*?" else f"[^{first}{last}]"
    return match(f"{first}{blanks}({inner}{least}){blanks}{last}", rf"{opening}\1{closing}")


def attach(marks: str) -> Step:
    """A mark between blanks loses the first of them."""
    return swap(*((f" {mark} ", f"{mark} ") for mark in marks))


WIKITEXT = (
    swap(("s '", "s'")),
    # an accident: it asks for slashes around, and writes the pattern; no text at hand has any
    match("/' [0-9]/", "/'[0-9]/"),
    swap((" @-@ ", "-"), (" @,@ ", ","), (" @.@ ", ".")),
    attach(":;.!?,"),
    *(hug(pair, r"\s*", "*?") for pair in ("()", "[]", "{}", '""', "''")),
    swap(("= = = =", "===="), ("= = =", "==="), ("= =", "==")),
    swap((" \N{DEGREE SIGN} ", "\N{DEGREE SIGN}"), (" \n", "\n"), ("\n ", "\n")),
    swap((" N ", " 1 "), (" 's", "'s")),
)
# Ten times: " N N " has a blank in common.
PTB = (
    swap((" 's", "'s"), ("s ' ", "s' "), (" n't", "n't"), (" \n ", "\n"), ("\\/", "/")),
    swap(*[(" N ", " 1 ")] * 10),
    swap(("$ 1", "$1"), ("# 1", "#1"), ("<unk>", "?")),
)
LM1B = (
    swap(("http : / / ", "http://"), ("https : / / ", "https://")),
    match(r" '(\w+)", r"'\1"),
    match(r" (\w+) \. ", r" \1. "),
    match(r" (\w+) \.$", r" \1."),
    attach("?"),
    match(r" \?$", "?"),
    attach("!"),
    match(r" !$", "!"),
    attach(",:;"),
    swap((" / ", "/")),
    *(hug(pair, " ", "+") for pair in ('""', "''", "()", "[]")),
    swap(("$ ", "$"), ("\N{POUND SIGN} ", "\N{POUND SIGN}")),
)
QUOTES = swap(("\N{LEFT DOUBLE QUOTATION MARK}", '"'), ("\N{RIGHT DOUBLE QUOTATION MARK}", '"'))
LAMBADA = (QUOTES, lambda text: f"\n{text.strip()}")

DETOKENIZERS: dict[str, tuple[Step, ...]] = {
    "": (),
    "wikitext": WIKITEXT,
    "ptb": PTB,
    "lm1b": LM1B,
    "lambada": LAMBADA,
}


def detokenize(name: str, text: str) -> str:
    for step in DETOKENIZERS[name]:
        text = step(text)
    return text
