"""Masked diffusion and its rivals on pictures: a table, ours beside the published ones.

    python runs/images.py DATA OUT [--minutes 15] [--seeds 0,1,2] [--only md4,ar] [--report]

DATA: a folder that unmask prepare made of Larochelle's binarized MNIST (nats a picture) or of
CIFAR-10 (bits per dimension); runs/images.sh makes either.  Of other pictures there is a table
without published figures.  Rows, budget, search and record are as in runs/text.py.

Every row is the same transformer, which sees a picture as a row of values with rotary positions:
an autoregressive twin needs a causal network, and the U-Net of the presets is none.  --network unet
(--widths 16,32) is for all rows but ar, and much the better network for pictures.

Cost: 15 minutes of two cores for MNIST at the default size.  Expected of so little: 100 to 300 nats
a picture (3,200 calls: AR 101, MD4 151; 320 calls: 178 and 296), where the papers have 79 to 88;
unmask train mnist reaches 80.1 in 58 minutes.  CIFAR-10 has 3,072 values a picture: take a U-Net,
few rows and --seeds 0, and expect 5 to 8 bits.
"""

import sys
from pathlib import Path

from rivalry.command import command
from rivalry.report import lines_of
from rivalry.tables import REPEATS, Measure, Row, Table

from unmask.config import TrainConfig
from unmask.data import Data
from unmask.kinds.registry import recipes

BITS_PER_DIMENSION = Measure("bits", "bits per dimension")
COSINE = {"schedule": "cosine", "time": True}
MNIST = Table(
    name="mnist-binarized",
    units="values",
    measures=(Measure("nats", "nats a picture", 2), BITS_PER_DIMENSION),
    rows={
        "ar": Row("autoregressive", {"rival": "ar"}),
        "d3pm": Row("D3PM, absorbing, T = 1000", {"rival": "d3pm"}),
        "sedd": Row("SEDD, absorbing", {"rival": "sedd"}),
        "md4": Row("MD4", {}),
        # without the time it would be MD4 to the last bit: masks are drawn by their number
        "cosine": Row("MD4, cosine schedule, sees the time", COSINE),
    },
    same=TrainConfig(
        heads=2, optimizer="adamw", eval_minutes=0.0, checkpoint_minutes=0.5, eval_windows=128,
        eval_repeats=REPEATS,
    ),
    sizes={
        "length": 0, "network": "transformer", "dim": 64, "layers": 2,
        "widths": TrainConfig.widths, "batch_size": 16,
    },
    minutes=15.0,
    others={
        "MADE": "86.64", "NADE": "88.33", "EoNADE, any order, 128 of them": "84.68",
        "PixelCNN": "81.30", "PixelRNN": "79.20",
    },
    paper="paper: nats of the 10,000 test pictures, as listed in arXiv 1601.06759; not ours, and "
    "of another budget. Those of MADE, NADE, PixelCNN and PixelRNN are likelihoods, that of EoNADE "
    "is of a mixture over orders.",
)  # fmt: skip
OF_CIFAR = {"ar": "2.80 (Sparse Transformer)", "d3pm": "4.40", "cosine": "2.75"}
PLAIN = MNIST.unpublished("pictures", "paper: no figures of these pictures are known here.")
CIFAR = Table(
    name="cifar10",
    units="values",
    measures=(BITS_PER_DIMENSION,),
    rows={
        name: Row(row.what, row.changed, OF_CIFAR.get(name, "")) for name, row in MNIST.rows.items()
    },
    same=MNIST.same,
    sizes=MNIST.sizes,
    minutes=MNIST.minutes,
    others={"D3PM, Gaussian": "3.44", "tauLDR": "3.59"},
    paper="paper: arXiv 2406.04329, table of CIFAR-10; that of MD4 is of 28 million weights of a "
    "U-Net and two million steps of 256 pictures, the others of their own papers; not ours, of "
    "other budgets and networks by far. That of the Sparse Transformer is a likelihood, the "
    "others are bounds.",
)
TABLES = (MNIST, CIFAR, PLAIN)


def chosen(data: Data) -> Table:
    """By where the pictures are from.  ValueError for data of something else."""
    if data.meta.get("kind", "text") != "images":
        raise ValueError(
            f"{data.folder} holds {data.meta['kind']}, and this is of pictures: make it with "
            "unmask prepare images"
        )
    bits = set(recipes()["mnist-binarized"][1].official)
    if bits & {source["sha256"] for source in data.meta["source"]}:
        return MNIST
    if data.meta["read"]["format"] == "cifar10" and data.vocab_size == 256:
        return CIFAR
    return PLAIN


def table(folder: Path) -> list[str]:
    """The lines of the table that an earlier call made in a folder."""
    return lines_of(folder, TABLES)


def main(argv: list[str] | None = None) -> int:
    return command(__doc__, TABLES, chosen, argv)


if __name__ == "__main__":
    sys.exit(main())
