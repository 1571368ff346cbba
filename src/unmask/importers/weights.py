"""Where other projects leave their weights, and what they say of them: read, and run by nobody.

A folder of the Hub (config.json beside model.safetensors or pytorch_model.bin), a checkpoint of
Lightning (.ckpt), or the checkpoint.pth of SEDD and RADD with the .hydra/config.yaml of its run.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import safetensors
from torch import Tensor

from unmask.checkpoint import check_header
from unmask.documents import read_json
from unmask.files import no_file
from unmask.importers.torch_files import Inert, Lying, TorchFile

HUB = ("model.safetensors", "pytorch_model.bin")


class Weights(NamedTuple):
    """A network's tensors as they lie in a file, and what is known of them."""

    path: Path  # the file
    tensors: Mapping[str, Any]  # by name, each with `shape` and `read()`
    # of the moving average, in the order of the parameters; None where there is none beside
    averaged: list | None = None
    settings: dict = {}  # what the project's configuration says, as nested mappings  # noqa: RUF012
    tokenizer: str = ""  # JSON of the library tokenizers, where the file has one
    mask_token: str = ""  # of that tokenizer, where it has one

    @property
    def are_averaged(self) -> bool | None:
        """Whether what is read of them is known to be averages; None: nothing says it."""
        return None if self.averaged is None else True


class Sliced(NamedTuple):
    """A tensor in a safetensors file."""

    path: Path
    name: str
    shape: tuple[int, ...]

    def read(self) -> Tensor:
        with safetensors.safe_open(self.path, "pt") as file:
            return file.get_tensor(self.name)


def open_weights(source: Path) -> Weights:
    """What a file or folder holds.  ValueError for one that is missing, damaged or none of these.

    Tensors are not read yet.
    """
    source = Path(source)
    if source.is_dir():
        source = file_in(source)
    if not source.is_file():
        raise no_file(source, f"there is no file {source}: name a checkpoint or its folder")
    if source.suffix == ".safetensors":
        return Weights(source, safetensors_of(source), settings=config_beside(source))
    content = TorchFile(source).content
    if not isinstance(content, Mapping):
        raise ValueError(f"{source} holds no tensors by name: name a checkpoint of a network")
    with damaged(source):
        if "state_dict" in content:
            return of_lightning(source, content)
        if "model" in content and "ema" in content:
            run = Path(os.path.abspath(source)).parent.parent
            settings = hydra_config(run / ".hydra" / "config.yaml")
            settings = settings or config_beside(source)
            averaged = shadow_params(content["ema"])
            return Weights(source, tensors_of(content["model"]), averaged, settings)
        return Weights(source, tensors_of(content), settings=config_beside(source))


def file_in(folder: Path) -> Path:
    """The one checkpoint in a folder.  ValueError if there is none."""
    run = folder / "checkpoints-meta" / "checkpoint.pth"
    names = [folder / name for name in HUB if (folder / name).is_file()]
    found = names[:1] or [path for path in (run, folder / "checkpoint.ckpt") if path.is_file()]
    if not found:
        wanted = f"{HUB[0]}, {HUB[1]}, checkpoint.ckpt or checkpoints-meta/checkpoint.pth"
        raise ValueError(f"{folder} holds no checkpoint ({wanted}): name the file itself")
    return found[0]


def config_beside(path: Path) -> dict:
    """config.json in a file's folder; nothing where there is none."""
    beside = path.parent / "config.json"
    if not beside.is_file():
        return {}
    return read_json(beside, dict)


def safetensors_of(path: Path) -> dict[str, Sliced]:
    check_header(path)
    try:
        with safetensors.safe_open(path, "pt") as file:
            names = list(file.keys())
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (safetensors.SafetensorError, OSError) as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"{path} is not a whole safetensors file: {said}: download it again"
        ) from None
    return {name: Sliced(path, name, shape) for name, shape in shapes.items()}


def tensors_of(content: Any) -> dict[str, Lying]:
    """Those of a state dict, by name."""
    return {name: one for name, one in content.items() if isinstance(one, Lying)}


def shadow_params(ema: Any) -> list[Lying]:
    """The averaged parameters, in their order."""
    found = ema["shadow_params"]
    if not isinstance(found, list) or not all(isinstance(one, Lying) for one in found):
        raise KeyError("shadow_params")
    return found


def of_lightning(path: Path, content: Any) -> Weights:
    """A checkpoint of Lightning, whose hyper-parameters are objects of packages that are not
    needed: what they keep is read from their stand-ins."""
    kept = content.get("hyper_parameters", {})
    settings = plain(kept.get("config"), {}) or config_beside(path)
    tokenizer = kept.get("tokenizer")
    text, mask = "", ""
    if isinstance(tokenizer, Inert) and isinstance(tokenizer.state, dict):
        text = tokenizer_json(tokenizer.state.get("_tokenizer"))
        named = tokenizer.state.get("_special_tokens_map")  # of transformers 5
        newer = named.get("mask_token") if isinstance(named, dict) else None
        mask = tokenizer.state.get("_mask_token") or newer or ""
    averaged = shadow_params(content["ema"]) if "ema" in content else None
    return Weights(path, tensors_of(content["state_dict"]), averaged, settings, text, mask_of(mask))


def mask_of(mask: Any) -> str:
    """A mask token, which is a word or an object that has one."""
    if isinstance(mask, Inert) and isinstance(mask.state, dict):
        mask = mask.state.get("content", "")
    return mask if isinstance(mask, str) else ""


def plain(value: Any, seen: dict[int, Any]) -> Any:
    """What the stand-ins of OmegaConf's objects keep: nested mappings of plain values; None for
    anything else.

    `seen`: what was made of each mapping, by its id; a file may have one in many places.
    """
    if isinstance(value, Inert):
        state = value.state if isinstance(value.state, dict) else {}
        value = state.get("_content", state.get("_val"))
    if isinstance(value, str | int | float):
        return value
    if not isinstance(value, dict):
        return None
    if id(value) not in seen:
        found = seen[id(value)] = {}
        found |= {name: plain(one, seen) for name, one in value.items() if type(name) is str}
    return seen[id(value)]


def tokenizer_json(pickled: Any) -> str:
    """The JSON in the state of a `tokenizers.Tokenizer`; "" where there is none.

    Bytes are pickled as such or, by older protocols, as text to be encoded.
    """
    state: Any = pickled.state if isinstance(pickled, Inert) else None
    if isinstance(state, Inert) and state.name == "_codecs.encode" and len(state.args) == 2:
        state = str(state.args[0]).encode("latin1", "replace")
    return state.decode(errors="replace") if isinstance(state, bytes) else ""


def hydra_config(path: Path) -> dict:
    """The settings in a run's config.yaml; nothing where there is none.

    Of YAML, nested mappings of plain values are read, which is what Hydra writes there.
    """
    if not path.is_file():
        return {}
    found: dict = {}
    inside = [(-1, found)]  # (indentation, mapping) of what is open
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        name, colon, value = line.strip().partition(":")
        if not colon or name.startswith(("#", "-")):
            continue
        depth = len(line) - len(line.lstrip())
        while inside[-1][0] >= depth:
            inside.pop()
        if value.strip():
            inside[-1][1][name] = yaml_value(value.strip())
            continue
        inside[-1][1][name] = {}
        inside.append((depth, inside[-1][1][name]))
    return found


def yaml_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip("'\"")


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """While a file's content is used: ValueError for what is not as these projects write it."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        said = str(error)[:100] or type(error).__name__
        raise ValueError(
            f"{path} is not laid out as a checkpoint of these projects ({said}): "
            "name one that they wrote"
        ) from None
