"""MD4's parameters as Flax names them: which is which of ours, of its transformer and its U-Net.

Flax numbers the layers of a class within a module, so that the number of a Dense depends on which
others there are.  Kernels of linear layers are (in, out), of convolutions (height, width, in, out).
"""

from collections.abc import Iterator

from torch import Tensor

from unmask.backbones.md4 import MD4Transformer
from unmask.backbones.md4_unet import MD4UNet
from unmask.importers.rows import Row

TRANSFORMER = "classifier/Transformer_0/"
UNET = "classifier/UNet5DWrapper_0/UNet_0/"
SCHEDULE = "noise_schedule/w"  # of GenMD4, beside the network
ATTENTION = (("wq", "query"), ("wk", "key"), ("wv", "value"), ("wo", "out"))
MLP = (("w1", "gate"), ("w3", "up"), ("w2", "down"))


def transposed(kernel: Tensor) -> Tensor:
    return kernel.T


def turned(kernel: Tensor) -> Tensor:
    """(height, width, in, out) -> (out, in, height, width)."""
    return kernel.permute(3, 2, 0, 1)


def point(kernel: Tensor) -> Tensor:
    """(in, out) -> a convolution of one pixel, (out, in, 1, 1)."""
    return kernel.T[:, :, None, None]


def one_head(kernel: Tensor) -> Tensor:
    """(in, 1, out) -> (out, in)."""
    return kernel[:, 0].T


def of_one_head(bias: Tensor) -> Tensor:
    """(1, out) -> (out,)."""
    return bias[0]


def out_of_head(kernel: Tensor) -> Tensor:
    """(1, in, out) -> (out, in)."""
    return kernel[0].T


def dense(theirs: str, ours: str, wide: int, width: int, bias: bool = True) -> Iterator[Row]:
    yield Row(f"{theirs}/kernel", f"{ours}.weight", (wide, width), transposed)
    if bias:
        yield Row(f"{theirs}/bias", f"{ours}.bias", (width,))


def conv(theirs: str, ours: str, wide: int, width: int) -> Iterator[Row]:
    yield Row(f"{theirs}/kernel", f"{ours}.weight", (3, 3, wide, width), turned)
    yield Row(f"{theirs}/bias", f"{ours}.bias", (width,))


def norm(theirs: str, ours: str, width: int) -> Iterator[Row]:
    yield Row(f"{theirs}/scale", f"{ours}.weight", (width,))
    yield Row(f"{theirs}/bias", f"{ours}.bias", (width,))


def table(network: MD4Transformer | MD4UNet) -> list[Row]:
    """All parameters of a network, which has its sizes and needs no values."""
    rows = of_transformer if isinstance(network, MD4Transformer) else of_unet
    return [*of_condition(network), *rows(network.config)]


def of_condition(network: MD4Transformer | MD4UNet) -> Iterator[Row]:
    """What tells of time and class."""
    said = network.config
    width, classes = said["embed"], said["classes"]
    if classes:
        yield Row("cond_embeddings/embedding", "condition.label.weight", (classes, width))
    if said["time"]:
        of_time, wide = "classifier/CondEmbedding_0/", 2 * width if classes else width
        yield from dense(f"{of_time}dense0", "condition.time.0", wide, 4 * width)
        yield from dense(f"{of_time}Dense_0", "condition.time.2", 4 * width, width)


def of_transformer(said: dict) -> Iterator[Row]:
    """Of a transformer with this configuration."""
    rows, dim, width = said["vocab_size"] + 1, said["dim"], said["embed"]
    told = said["time"] or said["classes"]
    number = 0  # of the next Dense
    if said["outside"]:
        yield Row("classifier/Embed_0/embedding", "embed.weight", (rows, width))
        yield from dense(f"{TRANSFORMER}Dense_0", "inside", width, dim)
        number = 1
    else:
        yield Row(f"{TRANSFORMER}Embed_0/embedding", "embed.weight", (rows, dim))
    for i in range(said["layers"]):
        theirs, ours = f"{TRANSFORMER}TransformerBlock_{i}/", f"blocks.{i}."
        for name, own in ATTENTION:
            yield from dense(f"{theirs}attention/{name}", ours + own, dim, dim, bias=False)
        for name, own in MLP:
            sizes = (said["mlp"], dim) if own == "down" else (dim, said["mlp"])
            yield from dense(f"{theirs}feed_forward/{name}", ours + own, *sizes, bias=False)
        if told:
            yield from dense(f"{theirs}Dense_0", f"{ours}modulation", width, 6 * dim)
        else:
            yield Row(f"{theirs}RMSNorm_0/scale", f"{ours}norm1.weight", (dim,))
            yield Row(f"{theirs}RMSNorm_1/scale", f"{ours}norm2.weight", (dim,))
    if told:
        yield from dense(f"{TRANSFORMER}Dense_{number}", "modulation", width, 2 * dim)
        number += 1
    else:
        yield Row(f"{TRANSFORMER}RMSNorm_0/scale", "norm.weight", (dim,))
    yield from dense(f"{TRANSFORMER}Dense_{number}", "head", dim, rows - 1, bias=False)


def of_unet(said: dict) -> Iterator[Row]:
    """Of a U-Net with this configuration."""
    values, width, layers = said["vocab_size"], said["embed"], said["layers"]
    channels, told = said["shape"][2], said["time"] or said["classes"]
    yield Row("classifier/Embed_0/embedding", "embed.weight", (values + 1, width))
    yield from conv(f"{UNET}Conv_0", "stem", channels * width, width)
    ours = [f"down.{i}." for i in range(layers)] + ["middle.0.", "middle.2."]
    ours += [f"up.{i}." for i in range(layers + 1)]
    for i, own in enumerate(ours):
        theirs, wide = f"{UNET}ResBlock_{i}/", 2 * width if own.startswith("up") else width
        yield from norm(f"{theirs}GroupNorm_0", f"{own}norm1", wide)
        yield from conv(f"{theirs}Conv_0", f"{own}conv1", wide, width)
        yield from norm(f"{theirs}GroupNorm_1", f"{own}norm2", width)
        yield from conv(f"{theirs}Conv_1", f"{own}conv2", width, width)
        if told:
            yield from dense(f"{theirs}Dense_0", f"{own}condition", width, width, bias=False)
        if wide != width:
            skip = f"{theirs}Dense_{int(bool(told))}"
            yield Row(f"{skip}/kernel", f"{own}skip.weight", (wide, width), point)
            yield Row(f"{skip}/bias", f"{own}skip.bias", (width,))
    yield from norm(f"{UNET}SelfAttention_0/GroupNorm_0", "middle.1.norm", width)
    theirs = f"{UNET}SelfAttention_0/MultiHeadDotProductAttention_0/"
    for name in ("query", "key", "value"):
        of_ours = f"middle.1.{name}"
        yield Row(f"{theirs}{name}/kernel", f"{of_ours}.weight", (width, 1, width), one_head)
        yield Row(f"{theirs}{name}/bias", f"{of_ours}.bias", (1, width), of_one_head)
    yield Row(f"{theirs}out/kernel", "middle.1.out.weight", (1, width, width), out_of_head)
    yield Row(f"{theirs}out/bias", "middle.1.out.bias", (width,))
    yield from norm(f"{UNET}GroupNorm_0", "norm", width)
    yield from conv(f"{UNET}Conv_1", "head", width, channels * values)
