"""Named protocols for text: how published numbers were computed.  docs/protocols.md has sources."""

from dataclasses import dataclass, replace
from typing import Literal

from unmask.kinds.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class TextRecipe(Recipe):
    """Rows of a source, detokenized, encoded with the model's tokenizer, packed into windows."""

    # whole: the file is one row; lines: without blanks around; ended: lines with their ends, blank
    # ones empty; json: the field "text"; news: title and description of a CSV file
    rows: Literal["whole", "lines", "ended", "json", "news"]
    part: tuple[int, int] = (0, 0)  # of a whole file, in bytes; (0, 0): all of it
    detokenizer: str = ""
    # joined: rows one after the other, cut into windows; alone: a window a row, cut off at its end
    packing: Literal["joined", "alone"] = "joined"
    ends: bool = True  # an end-of-text mark after each row
    # a begin mark before and an end mark after each window, inside its length
    marks: Literal["none", "scored", "given"] = "none"
    remainder: Literal["dropped", "kept"] = "dropped"
    # rows are joined this many at a time, within each of so many shards; 0: all of them
    batch: int = 0
    shards: int = 1


WIKITEXT2 = "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08"
LAMBADA = "4aa8d02cd17c719165fc8a7887fddd641f43fcafa4b1c806ca8abc31fabdb226"
PTB = "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"
AG_NEWS = "521465c2428ed7f02f8d6db6ffdd4b5447c1c701962353eb2c40d548c3c85699"
LM1B = "265dccd51762253e20425c21ff6ddf09e6da2e11a365da399b0390eebb2d52c8"  # shard 0 of 50
ENWIK8 = "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8"

BILLION = "news.en.heldout-00000-of-00050 of One Billion Words, or a folder of such files"
SETS = {
    "lambada": TextRecipe(
        about="LAMBADA", source="lambada_test.jsonl, as OpenAI published it",
        rows="json", detokenizer="lambada", length=1024, official=(LAMBADA,),
    ),
    "wikitext2": TextRecipe(
        about="WikiText-2, raw; WikiText-103's test is the same text",
        source="wiki.test.raw of WikiText-2",
        rows="ended", detokenizer="wikitext", length=1024, official=(WIKITEXT2,),
    ),
    "ptb": TextRecipe(
        about="Penn Treebank", source="ptb.test.txt",
        rows="lines", detokenizer="ptb", length=1024, official=(PTB,),
    ),
    "1bw": TextRecipe(
        about="One Billion Words", source=BILLION,
        rows="lines", detokenizer="lm1b", length=1024, official=(LM1B,), files=50,
    ),
    "ag-news": TextRecipe(
        about="AG News, title and description", source="test.csv of ag_news_csv",
        rows="news", length=1024, official=(AG_NEWS,),
    ),
}  # fmt: skip
SEDD = {"batch": 1000, "shards": 8}
MDLM = {"batch": 1000, "marks": "scored"}
DUO = MDLM | {"ends": False}


def line_of(name: str, how: str, **settings) -> TextRecipe:
    """A set as one line of papers evaluates it."""
    recipe = SETS[name]
    return replace(recipe, about=f"{recipe.about}, zero-shot, {how}", **settings)


PROTOCOLS: dict[str, TextRecipe] = {
    "text8-256": TextRecipe(
        about="the last 5,000,000 characters of text8 in windows of 256",
        source="text8", rows="whole", part=(95_000_000, 100_000_000), length=256, ends=False,
    ),
    "enwik8-256": TextRecipe(
        about="the last 5,000,000 bytes of enwik8 in windows of 256, the last one shorter",
        source="enwik8", rows="whole", part=(95_000_000, 100_000_000), length=256, ends=False,
        remainder="kept", official=(ENWIK8,),
    ),
    "owt-1024": TextRecipe(
        about="held-out OpenWebText in windows of 1,024",
        source="JSON lines, or ready ids with their end-of-text marks (.npy, or .bin of uint16)",
        split="validation", rows="json", length=1024,
    ),
    **{
        f"{name}-sedd": line_of(name, "as SEDD's code packs it", **SEDD)
        for name in SETS if name != "ag-news"
    },
    **{f"{name}-mdlm": line_of(name, "as MDLM's code packs it", **MDLM) for name in SETS},
    **{f"{name}-duo": line_of(name, "as Duo's script packs it", **DUO) for name in SETS},
    "lm1b-packed": TextRecipe(
        about="One Billion Words, sentences joined, in windows of 128", source=BILLION,
        rows="lines", detokenizer="lm1b", length=128, official=(LM1B,), files=50,
        batch=1000, marks="scored",
    ),
    "lm1b-sentences": TextRecipe(
        about="One Billion Words, each sentence alone, cut off at 128 tokens", source=BILLION,
        rows="lines", detokenizer="lm1b", length=128, official=(LM1B,), files=50,
        packing="alone", ends=False, marks="scored",
    ),
}  # fmt: skip
