"""Where training begins with the weights of a model, and not with random ones."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from unmask import checkpoint
from unmask.backbones import parts_of
from unmask.config import OF_MODEL, TrainConfig
from unmask.data import Data, open_data
from unmask.diffusion import MaskedDiffusion
from unmask.files import is_writer
from unmask.hub import Found
from unmask.kinds.registry import kind_of
from unmask.rivals import open_model
from unmask.rows import check_known
from unmask.train.vocabulary import with_tokens

# schedules as files call them, where flags call them otherwise
NAMES = {"learned_polynomial": "learned"}


def started_from(config: TrainConfig, start: str | Path) -> tuple[TrainConfig, MaskedDiffusion]:
    """The model in a folder, and the configuration with what that says of schedule and units.

    Of its network the configuration says nothing that counts.  `meta["from"]` of the model is the
    SHA-256 of its weights.  ValueError for a network that this package cannot build.
    """
    folder = checkpoint.resolve(start)
    model = open_model(folder)
    if model.meta.get("data", {}).get("kind") is None:
        raise ValueError(f"{folder} does not say which tokens it was trained on")
    model.float()  # steps are too small for weights of 16 bits, and their average stands still
    model.meta["from"] = checkpoint.digest(folder / "model.safetensors")
    curve = model.schedule.config["name"]
    said: dict[str, Any] = {
        "schedule": NAMES.get(curve, curve), "time": model.uses_time,
        "digits": model.subtokenizer.length, "labels": model.meta.get("labels", False),
        "rival": model.rival,
    }  # fmt: skip
    if model.subtokenizer.length > 1:  # of one digit, all of them are the same
        said |= {"masking": model.masking, "objective": model.objective}
    if (config.compile or config.recompute) and not parts_of(model.backbone):
        raise ValueError(
            f"--compile and --recompute are for blocks of this package's networks, and "
            f"{type(model.backbone).__name__} has none: leave them out"
        )
    plain = {name: getattr(TrainConfig, name) for name in OF_MODEL}  # not the preset's
    return replace(config, **plain | said), model


def adapt(
    model: MaskedDiffusion, start: Found, data: Data, meta: dict, seed: int
) -> MaskedDiffusion:
    """The model that was found at `start` as one of `data`, of which and of whose run `meta` tells.

    Of data with other tokens of its kind, it is one of those, which is said (`with_tokens`).
    ValueError for another kind or classes, or longer sequences than the network takes.
    """
    before: Any = model.meta
    ours, theirs = kind_of(before["data"], start.folder), kind_of(data.meta, data.folder)
    if why := ours.differs(theirs, start.place):
        try:
            if ours.name != theirs.name:
                raise ValueError(f"a model of {ours.name} is none of {theirs.name}")
            model, what = with_tokens(model, ours, theirs, seed)
        except ValueError as error:
            raise ValueError(f"{data.folder} {why}: {error}") from None
        if is_writer():
            print(f"note: {data.folder} {why}.  As it is, {what}", file=sys.stderr)
    if before.get("labels"):
        same_classes(before["data"], data)
    most = getattr(model.backbone, "length", 0)
    if most and meta["length"] > most:
        raise ValueError(f"--length {meta['length']}: the network takes at most {most} tokens")
    check_values(model, data)
    model.meta = meta | {"from": before["from"]}
    if start.name:
        model.meta["from_hub"] = start.name
    return model


def with_classes(data: Data, model: MaskedDiffusion) -> Data:
    """The data with their classes, where the model was trained with such and is of their kind.

    ValueError where they have none.
    """
    if not model.meta.get("labels") or data.meta["kind"] != model.meta["data"]["kind"]:
        return data
    try:
        return open_data(data.folder, labels=True)
    except ValueError:
        raise ValueError(
            f"{data.folder} has no labels, and the model that --from names was trained with "
            "classes: prepare the data with their labels, or begin with a model without"
        ) from None


def same_classes(before: dict, data: Data) -> None:
    """ValueError unless data have the classes of those that `before` tells of, by name."""
    if any(before.get(name) != data.meta.get(name) for name in ("classes", "class_names")):
        found, expected = classes_in_words(data.meta), classes_in_words(before)
        raise ValueError(f"{data.folder} has {found}, and the model was trained on {expected}")


def classes_in_words(meta: dict) -> str:
    """How many classes data have, and the names of ten of them."""
    number, names = f"{meta.get('classes')} classes", meta.get("class_names")
    return f"{number}: {', '.join(names[:10])}" if names else number


def check_values(model: MaskedDiffusion, data: Data) -> None:
    """ValueError where data have values that the network does not know, wherever they stand."""
    splits = (
        (f"the {split} split of {data.folder}", data.occurring(split).nonzero()[0])
        for split in data.splits
    )
    check_known(model, data.tokenizer, splits)
