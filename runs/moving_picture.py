"""A moving picture of one sample: characters appear where and when the sampler reveals them.

    python runs/moving_picture.py MODEL OUT.svg

Made docs/sample.svg of `unmask demo`'s model.  What moves is CSS inside of the SVG, without a
script; where it is not played, or nobody wants motion, the whole sample stands there.  Hidden
characters are boxes.
"""

import argparse
import sys
from html import escape
from pathlib import Path

from unmask.cli.flags import Machine
from unmask.cli.runtime import Runtime, check_positive
from unmask.files import write_whole
from unmask.filling import Filler
from unmask.kinds.kind import blank
from unmask.kinds.output import check_out

SECONDS, STAYS = 9.0, 0.35  # of a round, and the share of it in which all is revealed
# pixels of a character, between lines, of the font, and around all of it
WIDTH, LEADING, SIZE, MARGIN = 9, 20, 15, 16


def main(argv: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("model", type=Path)
    parser.add_argument("out")
    parser.add_argument("--length", type=int, default=0, help="tokens; 0: the trained length")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        check_positive(args, "steps")
        check_out(args.out, ".svg")
        draw(args)
    except (ValueError, OSError) as error:
        sys.exit(f"moving_picture: {' '.join(str(error).split())}")


def draw(args: argparse.Namespace) -> None:
    runtime = Runtime(Machine(seed=args.seed))
    model, kind = runtime.load(args.model)
    if kind.frames != ".html":
        raise ValueError(f"{args.model} is a model of {kind.name}: unmask sample --frames draws it")
    length = args.length or model.meta["length"]
    filler = Filler(model, steps=args.steps, watch=1, generator=runtime.generator)
    filler.fill([blank(length)])
    frames = kind.pages(filler.states)
    write_whole(Path(args.out), svg(frames))
    print(f"wrote {args.out}: {len(frames) - 1} steps", file=sys.stderr)


def svg(frames: list[list[str | None]]) -> str:
    """The picture of `frames`, states of one sample: a string a token, None where it is hidden.

    All that a step reveals is one group: its characters appear when the boxes in their place go.
    """
    steps = len(frames) - 1
    letters: list[list[str]] = [[] for _ in frames]
    boxes: list[list[str]] = [[] for _ in frames]
    row = column = widest = 0
    for place, token in enumerate(frames[-1]):
        step = next(i for i, frame in enumerate(frames) if frame[place] is not None)
        for character in token or "":
            x, y = MARGIN + WIDTH * column, MARGIN + LEADING * row
            boxes[step].append(f"M{x} {y}h{WIDTH - 2}v{LEADING - 5}h{2 - WIDTH}z")
            shown = escape(character) if character.isprintable() else "\N{REPLACEMENT CHARACTER}"
            if not character.isspace():
                letters[step].append(f'<text x="{x}" y="{y + SIZE - 3}">{shown}</text>')
            row, column = (row + 1, 0) if character == "\n" else (row, column + 1)
            widest = max(widest, column)
    rules, groups = [], []
    for step in range(1, steps + 1):
        turn = 100 * (1 - STAYS) * step / steps
        for name, before in (("a", 0), ("b", 1)):
            moves = f"0%,{turn:.2f}%{{opacity:{before}}}{turn + 0.01:.2f}%,100%"
            rules.append(f"@keyframes {name}{step}{{{moves}{{opacity:{1 - before}}}}}")
            rules.append(f".{name}{step}{{animation:{name}{step} {SECONDS:g}s infinite}}")
        groups.append(f'<g class="a{step}">{"".join(letters[step])}</g>')
        groups.append(f'<path class="b b{step}" d="{"".join(boxes[step])}"/>')
    size = f"{2 * MARGIN + WIDTH * widest} {2 * MARGIN + LEADING * (row + 1)}"
    return PAGE.format(size=size, font=SIZE, rules="".join(rules), groups="\n".join(groups))


PAGE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size}" role="img">
<title>A sample of a masked diffusion model: its characters appear in no order.</title>
<style>text{{font:{font}px monospace;fill:#222}}.b{{fill:#c9d6ea;opacity:0}}{rules}
@media (prefers-reduced-motion: reduce){{*{{animation:none!important}}}}</style>
<rect width="100%" height="100%" rx="8" fill="#fff"/>
{groups}
</svg>
"""

if __name__ == "__main__":
    main()
