"""MD4 and GenMD4 (google-deepmind/md4, arXiv 2406.04329): parameters in a checkpoint of Orbax, or
in an .npz with names that have / between their parts; and MD4's configuration as JSON.

Their schedules stop at alpha = 1e-4 at either end; here the ends are exact.  A network without time
says the same under any schedule; one with time is told the same t.
"""

import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from unmask.arrays import Archive, read_header, reading
from unmask.backbones import MD4Transformer, MD4UNet, shapes_alone
from unmask.backbones.md4 import ACTIVATIONS
from unmask.documents import Test, misfit, one_of, read_json, whole
from unmask.files import no_file
from unmask.importers.flax import SCHEDULE, TRANSFORMER, table
from unmask.importers.model import assemble, find_tokens, fitting
from unmask.importers.orbax import MANIFEST, find_state, read_state
from unmask.importers.rows import Row, check_names, read_rows
from unmask.importers.settings import is_share
from unmask.importers.sources import Imported
from unmask.kinds.registry import load_tokenizer
from unmask.schedules import Cosine, LearnedPolynomial, Linear, Polynomial, Schedule

NPZ = "params.npz"
PLAIN = {"linear": Linear, "cosine": Cosine}
AVERAGED, RAW = "ema_params/", "params/"
CONFIG = {
    "model_type": one_of("md4", "genmd4"), "vocab_size": whole(2, 2**24),
    "data_shape": [whole(1, 2**20)], "feature_dim": whole(1, 2**16), "n_layers": whole(1, 1000),
    "time_features": one_of("none", "t"), "noise_schedule": str,
    "dropout_rate?": Test(is_share, "a number in [0, 1)"),
}  # fmt: skip
OF_TEXTS = {
    "num_heads": whole(1, 2**10), "mlp_type": one_of(*ACTIVATIONS), "outside_embed": bool,
    "cond_type?": one_of("adaln_zero"),
}  # fmt: skip
OF_PICTURES = {
    "n_dit_layers?": Test(lambda v: v == 0, "0, since U-Nets with transformer blocks are not read")
}


class Packed(NamedTuple):
    """An array in an .npz."""

    path: Path
    name: str
    shape: tuple[int, ...]

    def read(self) -> Tensor:
        with open(self.path, "rb") as stream, reading(self.path, "an .npz"):
            return torch.from_numpy(Archive(stream).read(self.name).astype("float32"))


def read(source: Path, flags: Any) -> Imported:
    """The model in a file or folder.  ValueError for one that is no MD4, or damaged."""
    path, found = open_arrays(Path(source))
    said = read_config(Path(flags.config) if flags.config else beside(path))
    found, averaged = chosen(found)
    pictures = len(said["data_shape"]) == 3
    if flags.tokenizer and pictures:
        raise ValueError(f"--tokenizer {flags.tokenizer}: {path} is of pictures; leave it out")
    tokens = None if pictures else find_tokens(path, flags.tokenizer)
    network = network_of(path, found, said)
    classes = network.config["classes"]
    if classes:
        raise ValueError(
            f"{path} has embeddings of {classes} classes, which are not read: give a network that "
            "was trained without"
        )
    rows, learned = table(network), said["model_type"] == "genmd4"
    powers = [Row(SCHEDULE, "w", (said["vocab_size"],))] if learned else []
    check_names(path, found, rows + powers, f"this {said['model_type']}")
    state = read_rows(path, found, rows + powers)
    schedule = schedule_of(path, said, state.pop("w", None))
    network.load_state_dict(state, assign=True)
    if pictures:
        spec = {"name": "pixels", "shape": said["data_shape"], "vocab_size": said["vocab_size"]}
        tokens = load_tokenizer(spec, path)
    else:
        tokens = fitting(path, tokens, said["vocab_size"])
    length = math.prod(said["data_shape"])
    return assemble(network.eval(), tokens, length, averaged, schedule=schedule)


def open_arrays(source: Path) -> tuple[Path, Mapping[str, Any]]:
    """Where the parameters lie, and all arrays there by name."""
    if source.is_dir():
        state = find_state(source)
        if state is not None:
            return state, read_state(state)
        if not (source / NPZ).is_file():
            raise ValueError(
                f"{source} holds neither {NPZ} nor a checkpoint of Orbax with a {MANIFEST}: name "
                "MD4's work folder, or one of its checkpoints"
            )
        source = source / NPZ
    if not source.is_file():
        raise no_file(source, f"there is no file {source}: name MD4's work folder, or an .npz")
    with open(source, "rb") as stream, reading(source, "an .npz of parameters"):
        archive = Archive(stream)
        found = {}
        for name in archive.names:
            with archive.open(name) as header:
                found[name] = Packed(source, name, read_header(header).shape)
    return source, found


def beside(path: Path) -> Path:
    """The config.json that goes with parameters: next to them, or in the work folder."""
    above = Path(os.path.abspath(path)).parents
    for folder in (path.parent, path, *above[1:3]):
        if (folder / "config.json").is_file():
            return folder / "config.json"
    raise ValueError(
        f"there is no config.json beside {path}: write MD4's configuration as JSON "
        "(config.to_json()) there, or name such a file with --config"
    )


def read_config(path: Path) -> dict:
    """MD4's own settings.  ValueError for what is missing, or not known here."""
    if not path.is_file():
        raise no_file(path, f"there is no file {path}: --config is MD4's configuration as JSON")
    said = read_json(path)
    wrong = misfit(said, CONFIG)
    if not wrong and len(said["data_shape"]) not in (1, 3):
        wrong = (
            f"data_shape is {said['data_shape']}, expected that of a text, [length], or of a "
            "picture, [height, width, channels]"
        )
    if not wrong:
        wrong = misfit(said, OF_TEXTS if len(said["data_shape"]) == 1 else OF_PICTURES)
    if wrong:
        raise ValueError(f"{path} is no configuration of MD4 that is known here: {wrong}")
    return said


def chosen(found: Mapping[str, Any]) -> tuple[dict[str, Any], bool | None]:
    """The averaged parameters, where there are some; and whether they are, None: it is not said."""
    for prefix, averaged in ((AVERAGED, True), (RAW, False)):
        inside = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
        if inside:
            return inside, averaged
    return dict(found), None


def network_of(path: Path, found: Mapping[str, Any], said: dict) -> MD4Transformer | MD4UNet:
    """The network of a configuration, its values still missing; what that does not say, by the
    shapes of parameters."""
    label = found.get("cond_embeddings/embedding")
    shared: dict[str, Any] = {
        "layers": said["n_layers"], "embed": said["feature_dim"],
        "time": said["time_features"] == "t", "classes": 0 if label is None else label.shape[0],
        "dropout": float(said.get("dropout_rate", 0.0)),
    }  # fmt: skip
    with shapes_alone():
        if len(said["data_shape"]) == 3:
            return MD4UNet(said["vocab_size"], said["data_shape"], **shared)
        gate = found.get(f"{TRANSFORMER}TransformerBlock_0/feed_forward/w1/kernel")
        if gate is None or len(gate.shape) != 2:
            some = ", ".join(list(found)[:3]) or "nothing"
            raise ValueError(
                f"{path} holds no transformer of MD4's under {TRANSFORMER}: it has {some}"
            )
        return MD4Transformer(
            said["vocab_size"], dim=said["feature_dim"] * said["num_heads"],
            heads=said["num_heads"], mlp=gate.shape[1], outside=said["outside_embed"],
            activation=said["mlp_type"], **shared,
        )  # fmt: skip


def schedule_of(path: Path, said: dict, w: Tensor | None) -> Schedule:
    """The schedule, with exact ends; of GenMD4, from its parameter `w` (V,)."""
    name = said["noise_schedule"]
    if w is not None:
        if name != "poly":
            raise ValueError(f"{path}: noise_schedule {name!r} of a genmd4, and poly is known")
        return LearnedPolynomial.of_powers(F.softplus(w.double()))
    if name in PLAIN:
        return PLAIN[name]()
    if power := re.fullmatch(r"poly([0-9]+(\.[0-9]+)?)", name):
        return Polynomial(float(power[1]))
    known = ", ".join((*PLAIN, "polyK with a number K"))
    raise ValueError(f"{path}: noise_schedule {name!r} is not one of {known}")
