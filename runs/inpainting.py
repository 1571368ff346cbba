"""A picture of filling in: test pictures with holes, some completions of each, and the truth.

    python runs/inpainting.py MODEL DATA OUT.png

Made docs/mnist-inpainting.png; a minute of one CPU core.  The holes are, in turn, the lower half,
the right half and the middle.  What is given never changes.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

from unmask.cli.flags import Machine
from unmask.cli.runtime import Runtime, check_positive, same_data
from unmask.data import Pixels, open_data
from unmask.filling import fill
from unmask.kinds.images.holes import completion_grid
from unmask.kinds.images.pixels import to_image
from unmask.kinds.kind import Partial
from unmask.kinds.output import check_out
from unmask.roles import GIVEN, HOLE


def holes(shape: tuple[int, int, int], num: int) -> torch.Tensor:
    """(num, H, W, C) bool."""
    height, width, _ = shape
    made = torch.zeros(3, *shape, dtype=torch.bool)
    made[0, height // 2 :] = True
    made[1, :, width // 2 :] = True
    made[2, height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    return made[torch.arange(num) % 3]


def main(argv: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    what = "of the test split, spread evenly over it"
    parser.add_argument("--pictures", type=int, default=6, help=what)
    parser.add_argument("--num", type=int, default=6, help="completions of each")
    parser.add_argument("--steps", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        check_positive(args, "pictures", "num", "steps")
        check_out(str(args.out), ".png")
        runtime, data = Runtime(Machine(seed=args.seed)), open_data(args.data)
        model, kind = runtime.load(args.model)
        pixels = kind.tokenizer
        same_data(model, kind, data, args.model)
        if not isinstance(pixels, Pixels):
            raise ValueError(f"{args.model} is a model of text, not of pictures")
        x = next(data.windows("test", data.length, args.pictures, limit=args.pictures))["x"]
    except ValueError as error:
        sys.exit(f"inpainting: {error}")
    with runtime.precision:
        open_ = holes(pixels.shape, len(x)).numpy()
        roles = np.where(open_.reshape(len(x), -1), HOLE, GIVEN).astype(np.int8)
        examples = [Partial(ids, role) for ids, role in zip(x.numpy(), roles, strict=True)]
        found = fill(model, examples, num=args.num, steps=args.steps, generator=runtime.generator)
    filled = np.stack([[one.ids for one in row] for row in found])
    table = completion_grid(pixels, x.numpy(), open_, filled, scale=3)
    to_image(table).save(args.out)
    print(f"wrote {args.out}", file=sys.stderr)


if __name__ == "__main__":
    main()
