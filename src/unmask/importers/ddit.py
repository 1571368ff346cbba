"""The names and shapes of DDiT's tensors, as SEDD, MDLM, RADD and MDM-Prime save them.

The order is that of their parameters, which is the order of an average's `shadow_params`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from unmask.backbones import shapes_alone
from unmask.backbones.ddit import DDiT
from unmask.importers.rows import Row, check_names, in_order, read_rows
from unmask.importers.settings import dropout_of, setting
from unmask.importers.weights import Weights

ROTARY = "rotary_emb.inv_freq"  # a buffer, which is in no list of parameters
BLOCK = [  # theirs, ours, shape; D: width, C: of the condition
    ("norm1.weight", "norm1.weight", "D"), ("norm1.bias", "norm1.bias", "D"),
    ("attn_qkv.weight", "qkv.weight", "3D D"), ("attn_out.weight", "out.weight", "D D"),
    ("norm2.weight", "norm2.weight", "D"), ("norm2.bias", "norm2.bias", "D"),
    ("mlp.0.weight", "up.weight", "4D D"), ("mlp.0.bias", "up.bias", "4D"),
    ("mlp.2.weight", "down.weight", "D 4D"), ("mlp.2.bias", "down.bias", "D"),
    ("adaLN_modulation.weight", "modulation.weight", "6D C"),
    ("adaLN_modulation.bias", "modulation.bias", "6D"),
]  # fmt: skip
BEFORE = [  # R: rows of the embedding, E: their width
    ("vocab_embed.embedding", "embed.weight", "R E"),
    ("sigma_map.mlp.0.weight", "sigma.0.weight", "C 256"),
    ("sigma_map.mlp.0.bias", "sigma.0.bias", "C"),
    ("sigma_map.mlp.2.weight", "sigma.2.weight", "C C"),
    ("sigma_map.mlp.2.bias", "sigma.2.bias", "C"),
]  # fmt: skip
AFTER = [  # V: rows of the head
    ("output_layer.norm_final.weight", "norm.weight", "D"),
    ("output_layer.norm_final.bias", "norm.bias", "D"),
    ("output_layer.linear.weight", "head.weight", "V D"),
    ("output_layer.linear.bias", "head.bias", "V"),
    ("output_layer.adaLN_modulation.weight", "modulation.weight", "2D C"),
    ("output_layer.adaLN_modulation.bias", "modulation.bias", "2D"),
]


class Sizes(NamedTuple):
    rows: int  # of the embedding
    width: int  # of its rows
    dim: int
    layers: int
    heads: int
    condition: int  # 0: none
    norm_bias: bool
    values: int  # rows of the head
    dropout: float


def table(sizes: Sizes) -> Iterator[Row]:
    """All tensors, in the order of the parameters."""
    dims = {
        "R": sizes.rows, "E": sizes.width, "D": sizes.dim, "C": sizes.condition,
        "V": sizes.values, "256": 256,
    } | {f"{n}D": n * sizes.dim for n in (2, 3, 4, 6)}  # fmt: skip

    def rows(part: list, theirs: str = "", ours: str = "") -> Iterator[Row]:
        for name, own, shape in part:
            if "norm" in name and name.endswith("bias") and not sizes.norm_bias:
                continue
            if not sizes.condition and ("sigma_map" in name or "adaLN" in name):
                continue
            yield Row(theirs + name, ours + own, tuple(dims[n] for n in shape.split()))

    yield from rows(BEFORE)
    for i in range(sizes.layers):
        yield from rows(BLOCK, f"blocks.{i}.", f"blocks.{i}.")
    yield from rows(AFTER)


def sizes_of(weights: Weights, tensors: Mapping[str, Any]) -> Sizes:
    """What the shapes of tensors say, and the number of heads.  ValueError for no DDiT."""
    path = weights.path
    of_blocks = {name.split(".")[1] for name in tensors if name.startswith("blocks.")}
    told = ("vocab_embed.embedding", "blocks.0.attn_qkv.weight", "output_layer.linear.weight")
    shapes = [tuple(tensors[name].shape) for name in told if name in tensors]
    if [len(shape) for shape in shapes] != [2, 2, 2]:
        found = ", ".join(list(tensors)[:4]) or "no tensors"
        raise ValueError(
            f"{path} is no network that is known here: it has {found}; known is the DDiT of SEDD, "
            f"MDLM, RADD and MDM-Prime, which has {', '.join(told)}"
        )
    (rows, width), (_, dim), (values, _) = shapes
    sigma = tensors.get("sigma_map.mlp.0.bias")
    rotary = tensors.get(ROTARY)
    for name, one in (("sigma_map.mlp.0.bias", sigma), (ROTARY, rotary)):
        if one is not None and (len(one.shape) != 1 or not one.shape[0]):
            raise ValueError(f"{path}: tensor {name} has the shape {tuple(one.shape)}")
    return Sizes(
        rows=rows,
        width=width,
        dim=dim,
        layers=len(of_blocks),
        heads=heads_of(weights, rotary, dim),
        condition=0 if sigma is None else sigma.shape[0],
        norm_bias="blocks.0.norm1.bias" in tensors,
        values=values,
        dropout=dropout_of(weights),
    )


def heads_of(weights: Weights, rotary: Any, dim: int) -> int:
    """The number of heads: by the table of rotary frequencies, or by the configuration.

    ValueError if neither says it, or they differ, or the frequencies are others than ours.
    """
    path, settings = weights.path, weights.settings
    said = setting(settings, "n_heads") or setting(settings, "model", "n_heads")
    if rotary is None:
        if not said:
            raise ValueError(
                f"{path} does not say how many heads its network has: put the config.json that "
                "goes with it beside it"
            )
        return said
    per_head = 2 * rotary.shape[0]
    heads = dim // per_head
    if heads * per_head != dim or said not in (None, heads):
        raise ValueError(
            f"{path}: {ROTARY} is of heads of width {per_head}, the network of width {dim}, and "
            f"its configuration says {said} heads: give the files as they were written"
        )
    step = torch.arange(0, per_head, 2) / per_head
    if not torch.allclose(rotary.read().float(), 1 / 10000**step, rtol=1e-2):
        raise ValueError(f"{path}: {ROTARY} is not of base 10,000, which alone is known here")
    return heads


def read_ddit(weights: Weights, prefix: str = "") -> tuple[Sizes, dict[str, Tensor]]:
    """Sizes, and the tensors by our names: the averaged ones, where there are some."""
    tensors = {name.removeprefix(prefix): one for name, one in weights.tensors.items()}
    sizes = sizes_of(weights, tensors)
    tensors.pop(ROTARY, None)
    rows = list(table(sizes))
    check_names(weights.path, tensors, rows, "a DDiT of these sizes")
    if weights.averaged is not None:
        tensors = in_order(weights.path, weights.averaged, rows)
    return sizes, read_rows(weights.path, tensors, rows)


def network(sizes: Sizes, vocab_size: int, state: dict[str, Tensor], **how: Any) -> DDiT:
    """The network of these sizes and tensors; what the head says of more than `vocab_size` values,
    which is of the mask, is left out.

    `how`: what DDiT takes besides.
    """
    state = dict(state)
    for name in ("head.weight", "head.bias"):
        state[name] = state[name][:vocab_size].clone()
    with shapes_alone():
        found = DDiT(
            vocab_size, dim=sizes.dim, layers=sizes.layers, heads=sizes.heads,
            condition=sizes.condition, norm_bias=sizes.norm_bias, dropout=sizes.dropout, **how,
        )  # fmt: skip
    found.load_state_dict(state, assign=True)
    return found.eval()
