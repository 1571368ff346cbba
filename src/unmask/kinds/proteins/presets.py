"""A configuration for proteins."""

from unmask.config import Preset, TrainConfig

PROTEIN = TrainConfig(
    length=256, dim=128, layers=4, heads=4, batch_size=16, learning_rate=5e-3,
    muon_learning_rate=0.03, focus=4.0, minutes=1.8, eval_minutes=0.5,
)  # fmt: skip

# of weights that are good already: a fraction of the rates of random ones
TUNE = TrainConfig(
    length=256, batch_size=16, optimizer="adamw", learning_rate=1e-4, weight_decay=0.01,
    warmup=20, decay_share=0.9, ema=0.99, minutes=5.0, eval_minutes=1.0,
)  # fmt: skip

PRESETS = {
    "tune-protein": Preset(
        TUNE,
        "Go on from a model of proteins, such as one that unmask import has read. Command: unmask "
        "train tune-protein --from MODEL --data DATA --out RUN. Cost: 5 minutes; a network of 26 "
        "million parameters takes all cores of a laptop.",
    ),
    "protein": Preset(
        PROTEIN,
        "A small transformer for proteins, on a laptop; unmask demo --data protein's. Command: "
        "unmask train protein --data DATA --out RUN, after unmask prepare proteins FASTA DATA. "
        "Cost: 1.8 minutes, one CPU core is enough. Expected on the bundled proteins: a bound of "
        "about 4.07 bits per held-out residue; a trigram model has 4.13. With --steps 2000, 18 "
        "minutes of a shared core, on 20,000 UniProt sequences: 4.10, where a trigram has 4.15.",
    ),
}
