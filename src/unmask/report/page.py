"""The words, the frame, the style and the script of the page that `unmask.report` writes.

Colours, fonts and the player are files in `look/`, which the page of `unmask serve` has, too.
"""

from importlib.resources import files

SAYS = {
    "frames": "Generation starts with every {part} hidden and ends with none hidden; each appears "
    "at the step from which on it stays as it is.",
    "samples": "Generated from nothing: every {part} was hidden at first.",
    "fill": "{given} stays as it is, and the model fills in the rest; every filling is another "
    "draw.",
    "words": "The words at the start, in the middle and at the end stay as they are. The same "
    "network, from the same seed, fills in the rest in {steps} ancestral steps at even times: with "
    "the linear schedule about as many {part}s at every step, with the cosine schedule few first.",
    "shade": "The shade says how probable each was when it was drawn, given what the model saw "
    "then.",
    "odds": "How probable the values of what was hidden are, given what is given and nothing else: "
    "the three likeliest of each.",
    "bound": "The fewer bits the model needs to encode data that it has not seen, the better it "
    "has learned what such data are. Its number is an upper bound: the true one can only be lower.",
    "seen": "The fewer bits the model needs to encode data, the better it knows them. These are of "
    "the {split} split, which it may have been trained on: others may cost more. Its number is an "
    "upper bound: the true one can only be lower.",
    "log": "In training, positions are hidden at random and the model is scored on what it says "
    "they were: single steps are light and noisy, their running mean is dark, and dots are "
    "evaluations on the validation split, with one standard error either way.",
    "evaluations": "What training minimises is not the bound here.  Dots are evaluations of the "
    "bound on the validation split, with one standard error either way.",
    "count": "The more is hidden, the harder it is to tell what it was: bits per masked position, "
    "by the share masked.",
    "area": " The bound is the area under this curve: the mean over all shares of masked "
    "positions, each as likely as any other.",
    "some": " It is of {windows} alone, and the bound of others, too: not the area under it.",
    "schedule": "The schedule says how likely a position is to be still visible at a time between "
    "0, clean data, and 1, where everything is masked; generation runs from 1 back to 0.",
    "audit": "Identities that hold for every network whose number is a bound, whatever it has "
    "learned, measured on this model.",
}


def look(name: str) -> str:
    """A file of `look/`."""
    return files("unmask.report").joinpath("look", name).read_text(encoding="utf-8")


LOOKS = look("theme.css")  # of moving pictures, too
SHARED = LOOKS + look("shared.css")  # of reports and of the page of `unmask serve`
STYLE = SHARED + look("report.css")
# one module: what the second imports of the first stands before it
SCRIPT = look("player.js") + look("report.js")

INTRO = """A masked diffusion model learns to tell what hidden positions hold from those it can see;
it writes by starting with everything hidden and revealing a little at a time."""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{intro}</p>
<table class="facts">{rows}</table>
{parts}
</main>
<footer>{sources}</footer>
{script}</body>
</html>
"""
