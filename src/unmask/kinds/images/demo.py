"""The demo of pictures: handwritten digits."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unmask.kinds.demo import Demo, Figure, Shown
from unmask.kinds.kind import Filler, Partial
from unmask.roles import GIVEN, HOLE

LEVELS = 17
GIVEN_DIGITS, COMPLETIONS = 8, 4


class Digits(Demo):
    name, preset, out = "digits", "digits", "demo-digits"
    title = "Masked diffusion on handwritten digits"
    subject = "handwritten digits, 8 x 8 pixels of 17 grey values"
    source = Path(__file__).parent / "bundled" / "digits" / "digits-images-idx3-ubyte.gz"
    split = "1415,130,252"  # cut between writers, so that those held out are others
    counted = "images"
    credit = "digits by E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, CC BY 4.0"
    repeats, num = 32, 40

    def prepare(self, out: Path) -> None:
        from unmask.kinds.images.prepare import prepare_images

        prepare_images(self.source, out, levels=LEVELS, split=self.split, progress=False)

    def baselines(self, data: Any, positions: int) -> dict[str, float]:
        from unmask.kinds.baselines import position_bits

        train, test = (pictures(data, split) for split in ("train", "test"))
        alone = position_bits(train, test, LEVELS)
        return {"uniform": math.log2(LEVELS), "every pixel by itself": alone}

    def show(self, data: Any, drawn: list, filler: Callable[[int], Filler]) -> Shown:
        import numpy as np

        from unmask.kinds.images.holes import completion_grid
        from unmask.kinds.images.pixels import picture_grid, png

        pixels = data.tokenizer
        test = pictures(data, "test")
        given = test[:: len(test) // GIVEN_DIGITS][:GIVEN_DIGITS]
        holes = np.zeros((len(given), *pixels.shape), bool)
        holes[:, pixels.shape[0] // 2 :] = True  # the lower half
        roles = np.where(holes.reshape(given.shape), HOLE, GIVEN).astype(np.int8)
        examples = [Partial(ids, role) for ids, role in zip(given, roles, strict=True)]
        found = filler(data.length).fill(examples, num=COMPLETIONS)
        completed = np.stack([[one.ids for one in row] for row in found])

        real = np.random.default_rng(0).permutation(pictures(data, "train"))[: self.num]
        content = png(picture_grid(pixels.decode(real), columns=10, scale=1))
        said, alt = "To compare: some of the training data.", f"{self.num} digits"
        figures = [Figure("Real digits", said, alt, content)]
        return Shown([], figures, png(completion_grid(pixels, given, holes, completed, scale=8)))


def pictures(data: Any, split: str) -> Any:
    """(n, H*W*C) tokens of a split."""
    import numpy as np

    return np.array(data.tokens(split)).reshape(-1, data.length).astype(np.int64)
