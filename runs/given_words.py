"""Words given at the start, in the middle and at the end of a text, and what a model fills in.

    python runs/given_words.py MODEL OUT.html --start "ROMEO:" --middle " love " --end " farewell."

Two fillings side by side, reveal by reveal, in one page that loads nothing: with the linear
schedule, which reveals as many tokens at every step, and with MD4's cosine schedule (arXiv
2406.04329), which reveals few first.  Both are ancestral samplers of the same network on a uniform
grid, from the same seed; a network that ignores t has both, whichever it was trained with.
"""

import argparse
import base64
import sys
import tempfile
from pathlib import Path

from unmask.cli.flags import Machine
from unmask.cli.runtime import Runtime, check_positive
from unmask.files import write_whole
from unmask.filling import Filler
from unmask.kinds.kind import Partial
from unmask.kinds.output import check_out
from unmask.kinds.text.holes import partial
from unmask.markup import escaped
from unmask.report import Frames, write_svg
from unmask.schedules import Cosine, Linear, Schedule

SCHEDULES: dict[str, Schedule] = {"linear": Linear(), "cosine": Cosine()}
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body{{font-family:system-ui,sans-serif;margin:2rem;color:#222}}
div{{display:flex;flex-wrap:wrap;gap:2rem}}figure{{margin:0;flex:1 1 20rem}}
img{{width:100%}}</style>
<h1>{title}</h1>
<div>{figures}</div>
<p>Given: {given}. {steps} steps on a uniform grid, seed {seed}; the same network.</p>
</html>
"""


def main(argv: list[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("--start", default="ROMEO:")
    parser.add_argument("--middle", default=" love ")
    parser.add_argument("--end", default=" farewell.")
    parser.add_argument("--length", type=int, default=0, help="tokens; 0: the trained length")
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    try:
        check_positive(args, "steps")
        check_out(args.out, ".html")
        write(args)
    except (ValueError, OSError) as error:
        sys.exit(f"given_words: {' '.join(str(error).split())}")


def write(args: argparse.Namespace) -> None:
    runtime = Runtime(Machine(seed=args.seed))
    model, kind, _ = runtime.load(args.model)
    if kind.name != "text":
        raise ValueError(f"{args.model} is a model of {kind.name}: words are given to one of text")
    if model.uses_time or model.schedule.num_values > 1:
        raise ValueError(f"{args.model} looks at t: another schedule is no other sampler of it")
    words = [args.start, args.middle, args.end]
    example = holed(kind.tokenizer, words, args.length or model.meta["length"])
    figures = []
    for name, schedule in SCHEDULES.items():
        model.schedule = schedule.to(runtime.device)
        filler = Filler(model, grid="uniform", steps=args.steps, watch=1, seed=args.seed)
        filler.fill([example])
        figures.append(figure(f"{name} schedule", kind.pages(filler.states)))
    title = "Words that are given, and what is filled in"
    given = ", ".join(f"<q>{escaped(word)}</q>" for word in words)
    said = {"figures": "".join(figures), "given": given, "steps": args.steps, "seed": args.seed}
    write_whole(Path(args.out), PAGE.format(title=title, **said))
    print(f"wrote {args.out}", file=sys.stderr)


def holed(tokenizer, words: list[str], length: int) -> Partial:
    """An example of so many tokens, the three words in their places, and holes between them.

    ValueError where they leave none.
    """
    given = sum(len(tokenizer.encode(word)) for word in words)
    between = length - given
    if between < 2:
        raise ValueError(f"the words have {given} of {length} tokens: give shorter ones")
    start, middle, end = words
    return partial(tokenizer, [start, between // 2, middle, between - between // 2, end])


def figure(name: str, frames: Frames) -> str:
    """A moving picture under its name, whole in itself."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "moving.svg")
        write_svg(path, frames, title=name)
        content = base64.b64encode(path.read_bytes()).decode()
    source = f"data:image/svg+xml;base64,{content}"
    return f'<figure><figcaption>{name}</figcaption><img alt="{name}" src="{source}"></figure>'


if __name__ == "__main__":
    main()
