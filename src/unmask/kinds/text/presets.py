"""Configurations for text, and the papers' recipes."""

from dataclasses import replace

from unmask.config import Preset, TrainConfig

PAPER = TrainConfig(
    length=256, dim=768, layers=12, heads=12, dropout=0.05, batch_size=512, optimizer="adamw",
    learning_rate=3e-4, beta2=0.999, weight_decay=0.03, ema=0.9999, warmup=2000, decay="cosine",
    decay_share=1.0, steps=1_000_000, eval_minutes=60.0, eval_windows=1024, checkpoint_minutes=30.0,
)  # fmt: skip

DEMO = TrainConfig(
    length=128, dim=128, layers=4, heads=4, neighbours=5, batch_size=32, learning_rate=5e-3,
    muon_learning_rate=0.03, focus=4.0, minutes=2.8, eval_minutes=0.5,
)  # fmt: skip

# of weights that are good already: a fraction of the rates of random ones
TUNE = TrainConfig(
    length=128, batch_size=16, optimizer="adamw", learning_rate=1e-4, weight_decay=0.01,
    warmup=20, decay_share=0.9, ema=0.99, minutes=5.0, eval_minutes=1.0,
)  # fmt: skip

PRESETS = {
    "tune-text": Preset(
        TUNE,
        "Go on from a model of text, such as one that unmask import has read. Command: unmask "
        "train tune-text --from MODEL --data DATA --out RUN, after unmask prepare text SRC DATA "
        "--tokenizer MODEL. Cost: 5 minutes.",
    ),
    "demo": Preset(
        DEMO,
        "A small transformer for any text, on a laptop; unmask demo's. Command: unmask train demo "
        "--data DATA --out RUN. Cost: 2.8 minutes on two CPU cores. Expected on tiny Shakespeare: "
        "a bound of about 2.7 bits per held-out character where the processor has bfloat16 "
        "instructions, 2.85 elsewhere; a trigram model has 2.98.",
    ),
    "text8": Preset(
        PAPER,
        "MD4's text8 recipe (arXiv 2406.04329), without its time input. Command: unmask train "
        "text8 --data DATA --out RUN, after unmask prepare text text8 DATA --tokenizer characters "
        "--alphabet text8 --split 90000000,5000000,5000000. Cost: a million steps of 131,072 "
        "characters, days on 8 GPUs. Expected: the paper's 1.37 bits per character; not reproduced "
        "here.",
    ),
    "text8-genmd4": Preset(
        replace(PAPER, time=True, schedule="learned"),
        "GenMD4's text8 recipe (arXiv 2406.04329): a power for every character, from 1, two draws "
        "of the masks a step. Command: as text8. Cost: twice text8's. Expected: the paper's 1.34 "
        "bits per character; not reproduced here. Control: text8 with --time --draws 2.",
    ),
    "enwik8": Preset(
        PAPER,
        "The text8 recipe on the bytes of enwik8. Command: unmask train enwik8 --data DATA --out "
        "RUN, after unmask prepare text enwik8.gz DATA --split 90000000,5000000,5000000. Cost: as "
        "text8. Expected: the paper gives no figure.",
    ),
    "owt-small": Preset(
        replace(PAPER, length=1024, dropout=0.02, accumulate=8),
        "MD4-S on OpenWebText with GPT-2's tokens (arXiv 2406.04329). Command: unmask train "
        "owt-small --data DATA --out RUN. Cost: a million steps of 524,288 tokens, weeks on 8 "
        "GPUs. Expected: the paper's perplexity bound 22.13; not reproduced here.",
    ),
    "owt-small-genmd4": Preset(
        replace(PAPER, length=1024, dropout=0.02, accumulate=8, time=True, schedule="learned"),
        "GenMD4-S on OpenWebText with GPT-2's tokens (arXiv 2406.04329). Command: as owt-small. "
        "Cost: twice owt-small's. Expected: the paper's perplexity bound 21.80; not reproduced "
        "here. Control: owt-small with --time --draws 2.",
    ),
    "owt-medium": Preset(
        replace(PAPER, length=1024, dim=1024, layers=24, heads=16, dropout=0.02, accumulate=16),
        "MD4-M on OpenWebText with GPT-2's tokens (arXiv 2406.04329). Command: unmask train "
        "owt-medium --data DATA --out RUN. Cost: three times owt-small. Expected: the paper's "
        "perplexity bound 16.64; not reproduced here.",
    ),
}
