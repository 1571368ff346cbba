"""A sample that appears step by step, as a moving picture: SVG, or GIF where only pictures go.

Both are laid out as the finished text, so that nothing moves, and show its first lines alone where
it is long.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import groupby
from pathlib import Path

from unmask.files import write_whole
from unmask.kinds.output import animation
from unmask.markup import escaped, visible
from unmask.report.drawing import BLACK
from unmask.report.frames import Cell, Frames, checked, laid_out, width
from unmask.report.page import LOOKS

COLUMNS, LINES = 64, 32  # of characters, at most
CELL, LINE, MARGIN = 10, 22, 16  # pixels: a character's width, a line's height, what is around
HOLD = 2.0  # seconds that the finished text stays
MOST = 128  # states that a picture shows; of more, those at even distances
SMALL = 48  # the same of a GIF, which holds each of them whole
MASKED, FRESH, PAPER = "#d3d3cf", "#c6d6fb", "#fcfcfa"  # of a GIF, which knows no dark mode
STYLE = """svg{background:var(--back)}
text{fill:var(--text);font:16px ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;
white-space:pre}
.note{fill:var(--soft)}
path{fill:transparent}.never{fill:var(--block)}
"""


class Laid:
    """States of one sample: of its cells, in which state each appears for good."""

    def __init__(self, frames: Frames, most: int):
        frames = thinned(checked(frames), most)
        last = frames[-1]
        cells = laid_out([text and visible(text) for text in last], COLUMNS)
        self.text = "".join(text or "\ufffd" for text in last)
        self.states = len(frames)
        self.seconds = pace(len(frames))  # between two states
        self.cells = [cell for cell in cells if cell.y < LINES]
        lines = 1 + max(cell.y for cell in cells) if cells else 1
        self.note = f"the first {LINES} of {lines:,} lines" if lines > LINES else ""
        self.height = min(lines, LINES) + bool(self.note)
        self.since = [appears([frame[i] for frame in frames]) for i in range(len(last))]

    @property
    def size(self) -> tuple[int, int]:
        """In pixels."""
        return COLUMNS * CELL + 2 * MARGIN, self.height * LINE + 2 * MARGIN


def appears(texts: Sequence[str | None]) -> int:
    """In which state a position has the text that it keeps; their number, where it stays masked."""
    if not texts[-1]:
        return len(texts)
    others = [i for i, text in enumerate(texts) if text != texts[-1]]
    return others[-1] + 1 if others else 0


def thinned(frames: Frames, most: int) -> Frames:
    """At most so many of them, the first and the last included."""
    if len(frames) <= most:
        return frames
    return [frames[i * (len(frames) - 1) // (most - 1)] for i in range(most)]


def pace(states: int) -> float:
    """Seconds between two states: nine in all, if that is not too fast or too slow to watch."""
    return min(0.5, max(0.04, 9 / states))


def write_svg(path: Path, frames: Frames, *, title: str) -> None:
    """An SVG that moves by CSS alone and loads nothing; whole for who wants no motion.

    frames: states, a string per position, "" or None where it is masked.  ValueError for none, or
    of different lengths.
    """
    laid = Laid(frames, MOST)
    width_, height = laid.size
    period = (laid.states - 1) * laid.seconds + HOLD
    style, drawn = [LOOKS, STYLE], []
    for state, cells in by_state(laid):
        kind = "never" if state == laid.states else f"a{state}"
        drawn.append(f'<path class="{kind}" d="{outline(cells)}"/>')
        if state == laid.states:
            continue
        drawn.append(f'<g class="b{state}">{"".join(map(written, runs(cells)))}</g>')
        if state:
            style += moves(state, laid.seconds, period)
    # who wants no motion, and whatever knows no animations, sees the finished text
    style.append("@media(prefers-reduced-motion:reduce){*{animation:none!important}}")
    if laid.note:
        drawn.append(label(laid.note, MARGIN, LINES))
    name = escaped(title)
    write_whole(
        path,
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width_} {height}" '
        f'width="{width_}" height="{height}" role="img" aria-label="{name}">'
        f"<title>{name}</title><desc>{escaped(laid.text[: COLUMNS * LINES])}</desc>"
        f"<style>{''.join(style)}</style>{''.join(drawn)}</svg>\n",
    )


def by_state(laid: Laid) -> Iterator[tuple[int, list[Cell]]]:
    """The cells that appear in each state."""
    ordered = sorted(laid.cells, key=lambda cell: laid.since[cell.position])
    for state, cells in groupby(ordered, key=lambda cell: laid.since[cell.position]):
        yield state, list(cells)


def runs(cells: Sequence[Cell]) -> Iterator[list[Cell]]:
    """Those that stand side by side."""
    run: list[Cell] = []
    for cell in cells:
        if run and (cell.y, cell.x) != (run[-1].y, run[-1].x + width(run[-1].char)):
            yield run
            run = []
        run.append(cell)
    if run:
        yield run


def outline(cells: Sequence[Cell]) -> str:
    """A rectangle around each run."""
    found = []
    for run in runs(cells):
        x, y = MARGIN + run[0].x * CELL, MARGIN + run[0].y * LINE
        found.append(f"M{x} {y}h{across(run)}v{LINE - 2}h-{across(run)}z")
    return "".join(found)


def across(run: Sequence[Cell]) -> int:
    return CELL * sum(width(cell.char) for cell in run)


def written(run: Sequence[Cell]) -> str:
    """Its characters, as wide as their cells in whatever font."""
    text = "".join(cell.char for cell in run)
    if not text.strip():
        return ""
    x, y = MARGIN + run[0].x * CELL, MARGIN + run[0].y * LINE + 15
    size = f'textLength="{across(run)}" lengthAdjust="spacingAndGlyphs"'
    return f'<text x="{x}" y="{y}" {size} xml:space="preserve">{escaped(text)}</text>'


def label(said: str, x: int, line: int) -> str:
    return f'<text class="note" x="{x}" y="{MARGIN + line * LINE + 15}">{escaped(said)}</text>'


def moves(state: int, seconds: float, period: float) -> list[str]:
    """What is masked before a state, coloured in it, and plain from the next on."""
    begins, ends = (100 * (state + more) * seconds / period for more in (0, 1))
    plays = f"{period:.2f}s step-end infinite"
    return [
        f".a{state}{{animation:a{state} {plays}}}.b{state}{{animation:b{state} {plays}}}",
        f"@keyframes a{state}{{0%{{fill:var(--block)}}{begins:.3f}%{{fill:var(--new)}}"
        f"{min(ends, 100):.3f}%{{fill:transparent}}}}",
        f"@keyframes b{state}{{0%{{visibility:hidden}}{begins:.3f}%{{visibility:visible}}}}\n",
    ]


def write_gif(path: Path, frames: Frames) -> None:
    """The same as a GIF; arguments as in `write_svg`."""
    laid = Laid(frames, SMALL)
    seconds = laid.seconds * laid.states
    pictures = [painted(laid, state) for state in range(laid.states)]
    write_whole(path, animation(pictures, seconds=seconds))


def painted(laid: Laid, state: int):
    """A picture of one state, of few colours."""
    from PIL import Image, ImageDraw

    page = Image.new("RGB", laid.size, PAPER)
    draw, font = ImageDraw.Draw(page), monospaced()
    for cell in laid.cells:
        x, y = MARGIN + cell.x * CELL, MARGIN + cell.y * LINE
        since = laid.since[cell.position]
        if since >= state and (state or since):
            corner = x + CELL * width(cell.char) - 1, y + LINE - 3
            draw.rectangle((x, y, *corner), FRESH if since == state else MASKED)
        if since <= state:
            draw.text((x, y + 15), cell.char, BLACK, font, anchor="ls")
    if laid.note:
        draw.text((MARGIN, MARGIN + LINES * LINE + 15), laid.note, BLACK, font, anchor="ls")
    return page.quantize(palette=colours(), dither=Image.Dither.NONE)


@cache
def colours():
    """A picture whose palette has the colours behind characters, and those of their edges: the same
    in all states, or a GIF would hold every one of them whole."""
    from PIL import Image, ImageColor

    found = list(ImageColor.getrgb(MASKED))
    for behind in (PAPER, FRESH):
        ends = zip(ImageColor.getrgb(behind), ImageColor.getrgb(BLACK), strict=True)
        shades = [[a + (b - a) * i // 7 for i in range(8)] for a, b in ends]
        found += [value for shade in zip(*shades, strict=True) for value in shade]
    image = Image.new("P", (1, 1))
    image.putpalette(found)
    return image


@cache
def monospaced():
    """A font that comes with matplotlib, so that pictures are the same everywhere."""
    import matplotlib
    from PIL import ImageFont

    file = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSansMono.ttf")
    return ImageFont.truetype(str(file), 16)
