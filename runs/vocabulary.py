"""Masked diffusion and its rivals on a large vocabulary: a table, beside those of OpenWebText.

    python runs/vocabulary.py DATA OUT [--minutes 30] [--seeds 0,1,2] [--only md4,ar] [--report]

DATA: a folder that unmask prepare made of a text in GPT-2's 50,257 tokens (runs/vocabulary.sh makes
it); in other subwords, too, of which no figures are known.  Rows, budget, search and record are as
in runs/text.py.  Told are bits per byte, of which the differences are, and the perplexity per
token; of all rows but the autoregressive one they are bounds from above.  OUT/models is what
runs/zero_shot.sh goes on with.

Cost: 30 minutes of two cores for three seeds at the default size, nearly all of whose 7 or 13
million weights are the tables of tokens.  Expected of so little: 2 to 3 bits per byte, perplexities
of a thousand or more (320 calls: 3,000 to 3,500), where the papers have 17 to 49.
"""

import sys
from pathlib import Path

from rivalry.command import command
from rivalry.report import lines_of
from rivalry.tables import REPEATS, Measure, Row, Table

from unmask.config import TrainConfig
from unmask.data import Data

GPT2 = 50257  # values
LEARNED = {"schedule": "learned", "time": True}
VOCABULARY = Table(
    name="vocabulary",
    units="tokens",
    measures=(
        Measure("bits_per_byte", "bits per byte"), Measure("perplexity", "perplexity per token", 1),
    ),
    rows={
        "ar": Row("autoregressive", {"rival": "ar"}, "17.54 (b)"),
        "sedd": Row("SEDD, absorbing", {"rival": "sedd"}, "24.10 (a)"),
        "md4": Row("MD4", {}, "22.13 (a); MDLM, of the same bound, 22.98 (b)"),
        "md4x2": Row("MD4, two draws, sees the time", {"draws": 2, "time": True}),
        "genmd4": Row("GenMD4, two draws", LEARNED, "21.80 (a)", control="md4x2"),
        "prime2": Row("MDM-Prime, 2 digits", {"digits": 2}, "36.55 (b)"),
        "prime4": Row("MDM-Prime, 4 digits", {"digits": 4}, "44.08 (b)"),
        "prime8": Row("MDM-Prime, 8 digits", {"digits": 8}, "48.85 (b)"),
    },
    same=TrainConfig(
        heads=2, optimizer="adamw", eval_minutes=0.0, checkpoint_minutes=5.0, eval_windows=48,
        eval_repeats=REPEATS,
    ),
    sizes={"length": 128, "dim": 128, "layers": 2, "batch_size": 8},
    paper="paper: perplexities of OpenWebText's validation split in windows of 1,024 tokens, small "
    "networks: (a) arXiv 2406.04329, its SEDD as MD4's authors made it; (b) arXiv 2505.18495 as "
    "its authors corrected it in May 2026, the figures before are void. Not ours, of another "
    "budget by far (a network of GPT-2's small size, up to a million steps of 512 windows), and of "
    "text that may not be ours.",
    windows=64,
    minutes=30.0,
)  # fmt: skip


SUBWORDS = VOCABULARY.unpublished("subwords", "paper: none of this vocabulary; see GPT-2's.")
TABLES = (VOCABULARY, SUBWORDS)


def chosen(data: Data) -> Table:
    """By the size of the vocabulary.  ValueError for data of something else than subwords."""
    name = data.meta["tokenizer"]["name"]
    if name != "subwords":
        raise ValueError(
            f"{data.folder} has tokens of {name}, and this is of subwords: prepare it with "
            "--tokenizer and the folder of GPT-2's encoder.json and vocab.bpe"
        )
    return VOCABULARY if data.vocab_size == GPT2 else SUBWORDS


def table(folder: Path) -> list[str]:
    """The lines of the table that an earlier call made in a folder."""
    return lines_of(folder, TABLES)


def main(argv: list[str] | None = None) -> int:
    return command(__doc__, TABLES, chosen, argv)


if __name__ == "__main__":
    sys.exit(main())
