"""Configurations for pictures, and the paper's recipes."""

from dataclasses import replace

from unmask.config import Preset, TrainConfig

SMALL_UNET = TrainConfig(
    length=0, network="unet", layers=0, minutes=50.0, eval_minutes=10.0, eval_windows=500,
)  # fmt: skip

PAPER_UNET = TrainConfig(
    length=0, network="unet", widths="128", blocks=32, layers=0, heads=1, dropout=0.1, time=True,
    schedule="cosine", batch_size=256, accumulate=4, optimizer="adamw", learning_rate=4e-4,
    weight_decay=0.01, beta2=0.99, clip=0.0, ema=0.9999, warmup=100, decay="cosine",
    decay_share=1.0, steps=2_000_000, eval_minutes=60.0, eval_windows=1024, checkpoint_minutes=30.0,
)  # fmt: skip

DIGITS = replace(
    SMALL_UNET, widths="48,96", dropout=0.2, batch_size=64, learning_rate=3e-3, weight_decay=0.1,
    focus=2.0, log_every=10, minutes=2.5, eval_minutes=0.5,
)  # fmt: skip

MNIST = replace(
    SMALL_UNET, widths="32,64,128", blocks=1, traits=True, batch_size=32, learning_rate=2e-3,
    muon_learning_rate=0.008, focus=1.0, checkpoint_minutes=10.0,
)  # fmt: skip

IMAGENET64 = replace(
    PAPER_UNET, widths="256", blocks=24, layers=12, dim=768, heads=12, mlp=2560, dropout=0.0,
    batch_size=512, accumulate=16, learning_rate=2e-4,
)  # fmt: skip

PRESETS = {
    "digits": Preset(
        DIGITS,
        "A small U-Net for pictures of 8 x 8 pixels; unmask demo --data digits's. Command: unmask "
        "train digits --data DATA --out RUN. Cost: 2.5 minutes on two CPU cores. Expected on the "
        "bundled digits: a bound of about 1.75 bits per dimension; every pixel by its own "
        "histogram takes 2.4.",
    ),
    "mnist": Preset(
        MNIST,
        "A small U-Net for MNIST and other small pictures, on a laptop. Command: unmask train "
        "mnist --data DATA --out RUN. Cost: 50 minutes on two CPU cores. Expected on its static "
        "binarization: 22,209 steps, 58 minutes of two cores with bfloat16 instructions, reached a "
        "test bound of 80.1 +- 0.3 nats.",
    ),
    "cifar10": Preset(
        PAPER_UNET,
        "MD4's CIFAR-10 recipe (arXiv 2406.04329), 28 M parameters. Command: unmask train cifar10 "
        "--data DATA --out RUN, after unmask prepare images cifar-10-batches-bin DATA. Cost: two "
        "million steps of 256 images, weeks on 8 GPUs. Expected: the paper's 2.75 bits per "
        "dimension; not reproduced here.",
    ),
    "imagenet64": Preset(
        IMAGENET64,
        "MD4's ImageNet-64 recipe for likelihood (arXiv 2406.04329), 198 M parameters. Command: "
        "unmask train imagenet64 --data DATA --out RUN, after unmask prepare images FOLDER-OF-NPZ "
        "DATA. Cost: two million steps of 512 images, weeks on many GPUs. Expected: the paper's "
        "3.40 bits per dimension; not reproduced here.",
    ),
}
