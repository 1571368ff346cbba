"""The demo of text: all of Shakespeare that fits a megabyte."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from unmask.kinds.demo import Demo, Shown
from unmask.kinds.kind import Filler

PASSAGE = "ROMEO:\n[MASK:12] love [MASK:12] night,\nAnd [MASK:16]."


class Shakespeare(Demo):
    name, preset, out = "shakespeare", "demo", "demo"
    title = "Masked diffusion on tiny Shakespeare"
    subject = "tiny Shakespeare, character by character"
    source = Path(__file__).parent / "bundled" / "tinyshakespeare.txt"
    split = "0.89,0.01,0.1"  # the last tenth is held out; the hundredth before it draws the curve
    counted = "tokens"

    def prepare(self, out: Path) -> None:
        from unmask.kinds.text.prepare import prepare_text

        prepare_text(self.source, out, tokenizer="characters", split=self.split, progress=False)

    def baselines(self, data: Any, positions: int) -> dict[str, float]:
        from unmask.kinds.baselines import ngram_bits

        train, test = data.tokens("train"), data.tokens("test")
        names = ("unigram", "bigram", "trigram with back-off")
        orders = enumerate(names, 1)
        return {name: ngram_bits(train, test, data.vocab_size, order) for order, name in orders}

    def show(self, data: Any, drawn: list, filler: Callable[[int], Filler]) -> Shown:
        from unmask.kinds.text.holes import parse_holes, partial, spell_holes

        pieces = parse_holes(PASSAGE)
        (filled,) = filler(128).fill([partial(data.tokenizer, pieces)], num=3)
        first = spell_holes(data.tokenizer, pieces, filled[0].ids)
        sample = data.tokenizer.decode(drawn[0].tolist())
        return Shown([f"\nfilled in around what was given:\n{first}\n", f"a sample:\n{sample}\n"])
