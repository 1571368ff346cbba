"""Masked diffusion and its rivals on 27 letters: a table, ours beside the published one.

    python runs/text.py DATA OUT [--minutes 10] [--seeds 0,1,2] [--only md4,ar] [--report]

DATA: a folder that unmask prepare made of text8, or of what has its 27 letters (runs/text.sh makes
it); of bytes or other characters, too, for which no figures are published.  Every row is the same
transformer, trained for the same number of network calls: a sequence forward and backward, once;
two draws of the masks are two.  Learning rates are searched for every row over the same three
values, with the first seed and on the validation split; the other seeds take the best.  What is
told is of the test split, of averaged weights.

--minutes is for all of it, as far as it can be foreseen: how fast each row is here is measured
first, and what follows, the number of calls, is kept in OUT/plan.json.  A cell is a row, a learning
rate and a seed, and has a file in OUT/cells; what is there is not done again, and a cell that was
stopped goes on where its run was.  OUT/models has what was trained, OUT/report.md the table.

Cost: 10 minutes by default.  Expected of so little: 2.5 to 4 bits a letter (4,448 calls: AR 2.9,
MD4 4.0), where the paper has 1.2 to 1.7 after a million steps of a far larger network.
"""

import sys
from pathlib import Path

from rivalry.command import command
from rivalry.report import lines_of
from rivalry.tables import REPEATS, Measure, Row, Table

from unmask.config import TrainConfig
from unmask.data import Data

LEARNED, UNIFORM = {"schedule": "learned", "time": True}, {"rival": "uniform", "time": True}
LETTERS = Table(
    name="letters",
    units="letters",
    measures=(Measure("bits", "bits per letter"),),
    rows={
        "d3pm": Row("D3PM, absorbing, T = 1000", {"rival": "d3pm"}, "1.45"),
        "sedd": Row("SEDD, absorbing", {"rival": "sedd"}, "1.39"),
        "md4": Row("MD4", {}, "1.37"),
        "md4x2": Row("MD4, two draws, sees the time", {"draws": 2, "time": True}),
        "genmd4": Row("GenMD4, two draws", LEARNED, "1.34", control="md4x2"),
        "prime2": Row("MDM-Prime, 2 digits", {"digits": 2}),
        "uniform": Row("uniform noise, T = 1000, sees the time", UNIFORM, "1.72"),
        "ar": Row("autoregressive", {"rival": "ar"}, "1.23"),
    },
    same=TrainConfig(
        heads=2, optimizer="adamw", eval_minutes=0.0, checkpoint_minutes=0.5, eval_windows=128,
        eval_repeats=REPEATS,
    ),
    sizes={"length": 64, "dim": 64, "layers": 2, "batch_size": 16},
    paper="paper: arXiv 2406.04329, table of text8: 12 layers, dim 768, 512 x 256 letters, a "
    "million steps; not ours, of another budget by far, and of text8's own last 5 MB. That of "
    "autoregressive is a likelihood, the others are bounds.",
)  # fmt: skip
NO_FIGURES = "paper: none; arXiv 2406.04329 has figures of text8's 27 letters alone."
BYTES = LETTERS.unpublished(
    "bytes", NO_FIGURES, units="bytes", measures=(Measure("bits", "bits per byte"),)
)
CHARACTERS = LETTERS.unpublished(
    "characters", NO_FIGURES, units="characters", measures=(Measure("bits", "bits per character"),)
)
TABLES = (LETTERS, BYTES, CHARACTERS)


def chosen(data: Data) -> Table:
    """By the tokens of the data."""
    name = data.meta["tokenizer"]["name"]
    known = {"bytes": BYTES, "characters": CHARACTERS}
    if name == "characters" and data.vocab_size == 27:
        return LETTERS
    if name not in known:
        raise ValueError(
            f"{data.folder} has tokens of {name}, and this is of letters: prepare it with "
            "--tokenizer characters or bytes"
        )
    return known[name]


def table(folder: Path) -> list[str]:
    """The lines of the table that an earlier call made in a folder."""
    return lines_of(folder, TABLES)


def main(argv: list[str] | None = None) -> int:
    return command(__doc__, TABLES, chosen, argv)


if __name__ == "__main__":
    sys.exit(main())
