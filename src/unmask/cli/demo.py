"""unmask demo."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from unmask.cli.flags import Machine, parse
from unmask.cli.runtime import Runtime
from unmask.config import PRESETS


@dataclass(frozen=True, kw_only=True)
class Demo(Machine):
    data: Literal["shakespeare", "digits", "table", "protein"] = "shakespeare"
    """The bundled data: a text by characters, pictures of handwritten digits, a table of a census,
    or proteins."""
    out: str = ""
    """Where data, run and report go; a run that was stopped there continues.  Empty: demo,
    demo-digits, demo-table or demo-protein."""
    minutes: float = 0.0
    """Of training; 0: the preset's, at most three."""


def demo(argv: list[str]) -> None:
    """Train on bundled data for three minutes, evaluate, sample, fill in, and write an HTML report."""
    args = parse(Demo, "demo", argv, demo.__doc__)
    runtime = Runtime(args)
    from unmask import demo as of_text
    from unmask import demo_digits, demo_proteins, demo_table

    preset, module, out = {
        "shakespeare": ("demo", of_text, "demo"),
        "digits": ("digits", demo_digits, "demo-digits"),
        "table": ("table", demo_table, "demo-table"),
        "protein": ("protein", demo_proteins, "demo-protein"),
    }[args.data]
    minutes = args.minutes or PRESETS[preset].config.minutes
    folder, values = module.run(
        Path(args.out or out),
        minutes=minutes,
        seed=args.seed,
        device=str(runtime.device),
        dtype=runtime.dtype,
    )
    runtime.record(folder, **values)
