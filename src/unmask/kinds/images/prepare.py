"""Pictures made into a memory map of tokens, and read from it.

`prepare_images` streams, and writes a folder:

    train.bin, validation.bin, test.bin    the tokens, a byte each, picture after picture; the order is in `pixels`
    *.labels.bin                           where the pictures have labels: one each, little-endian uint16
    meta.json                              the shape, the levels, the counts, the checksums; `open_data` reads it
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unmask.kinds.folder import (
    FORMAT,
    SPLITS,
    check_new,
    cut_file,
    cut_points,
    new_folder,
    parse_split,
    progress_bars,
)
from unmask.kinds.images.pixels import Pixels
from unmask.kinds.images.sources import Block, Source, find_sources, picture_folder, read_images
from unmask.kinds.sources import describe_source, sha256

SLICE = 1024  # pictures that are turned into tokens at a time


# of the training images, one in so many is kept for validation where the source has a test part and
# no validation
HELD_OUT = 20


class Written(NamedTuple):
    """What one part of the data came to."""

    count: int
    labelled: bool
    classes: int


def prepare_images(
    source: str | Path,
    out: str | Path,
    *,
    format: str = "auto",
    labels: str | Path | None = None,
    shape: tuple[int, int, int] | None = None,
    size: int = 0,
    channels: int = 0,
    levels: int = 0,
    split: str = "",
    validation: str | Path | None = None,
    test: str | Path | None = None,
    progress: bool = True,
) -> dict:
    """Write the tokens of the pictures of `source` to the new folder `out`, whole or not at all;
    returns what meta.json holds.

    source: a file or a folder in one of the formats of `image_sources`.  MNIST's, CIFAR-10's and
    ImageNet's folders have a test part of their own; the last twentieth of their training part is
    then for validation, unless `validation` is given. labels: the IDX file of the labels, if it is
    not beside the images under its official name. shape: (height, width, channels) of packed bits.
    size, channels: of a folder of pictures, see `pixels.to_array`. levels: values a token can have,
    2 to 256: v * levels // 256 of a value v; 0: 256, or 2 of packed bits. split: of a source
    without a test part, three fractions or three counts of images, cut in order; "": 0.9,0.05,0.05.
    validation, test: sources of their own.

    Raises ValueError, and leaves nothing behind, for a source that does not do.
    """
    out = Path(out).absolute()
    check_new(out)
    given = {
        name: Path(path)
        for name, path in zip(SPLITS, (source, validation, test), strict=True)
        if path
    }
    for path in given.values():
        if not path.exists():
            raise ValueError(f"{path} does not exist: name a file or a folder of images")
    parts = find_sources(given["train"], format)
    for name in ("validation", "test"):
        if name in given:
            found = find_sources(given[name], format)
            if len(found) > 1 and name not in found:
                raise ValueError(
                    f"{given[name]} has parts of its own, and none for {name}: name a file or folder of one part"
                )
            part = found.get(name, found["train"])
            classes = parts["train"].classes
            parts[name] = (
                picture_folder(part.root, part.files, classes)
                if classes and part.format == "folder"
                else part
            )
    if labels is not None:
        if parts["train"].format != "idx":
            raise ValueError(
                f"--labels {labels} goes with IDX files, not with the format {parts['train'].format}"
            )
        parts["train"] = parts["train"]._replace(labels=Path(labels))
    if len(parts) > 1 and split:
        raise ValueError(
            f"--split {split} is for a source without a {' or '.join(p for p in SPLITS[1:] if p in parts)} part of its own"
        )
    shares = parse_split(split or "0.9,0.05,0.05")
    files = [
        path
        for part in parts.values()
        for path in [*part.files, *([part.labels] if part.labels else [])]
    ]
    for path in files:
        if not path.is_file():
            raise ValueError(f"{path} does not exist: name a file of labels")
    levels = levels or (2 if parts["train"].format == "packbits" else 256)
    bar = progress_bars(sum(path.stat().st_size for path in files), progress)
    written: dict[str, Written] = {}
    with new_folder(out) as folder:
        pixels: Pixels | None = None
        with bar("images") as shown:
            for name in (n for n in SPLITS if n in parts):
                blocks = read_images(parts[name], shown, shape=shape, size=size, channels=channels)
                pixels, written[name] = write_part(
                    folder, name, parts[name], blocks, pixels, levels
                )
        assert pixels is not None
        labelled = all(part.labelled for part in written.values())
        if not labelled and any(part.labelled for part in written.values()):
            some, none = (
                next(parts[n].root for n in written if written[n].labelled == has)
                for has in (True, False)
            )
            raise ValueError(
                f"{some} has labels, and there are none in or beside {none}: give both or neither"
            )
        counts = {name: part.count for name, part in written.items()}
        cuts: dict[str, tuple[int, int]] = {}
        if len(parts) == 1:
            cuts = cut_points(shares, np.array([0, counts["train"]]), False, "images")
        elif "validation" not in parts:
            last = counts["train"] - counts["train"] // HELD_OUT
            cuts = {"train": (0, last), "validation": (last, counts["train"])}
        if cuts:
            bytes_ = {
                name: (low * pixels.length, high * pixels.length)
                for name, (low, high) in cuts.items()
            }
            cut_file(folder, bytes_, np.dtype("u1"))
            if labelled:
                cut_file(folder, cuts, np.dtype("<u2"), ".labels.bin")
        counts = {name: counts.get(name, 0) for name in SPLITS} | {
            name: high - low for name, (low, high) in cuts.items()
        }
        for name in SPLITS:
            (folder / f"{name}.bin").touch()
            (folder / f"{name}.labels.bin").touch()
            if not labelled:
                (folder / f"{name}.labels.bin").unlink()
        meta = {
            "format": FORMAT,
            "kind": "images",
            "tokenizer": pixels.spec(),
            "vocab_size": levels,
            "dtype": "uint8",
            "tokens": {name: count * pixels.length for name, count in counts.items()},
            "images": counts,
            "classes": max(part.classes for part in written.values()) if labelled else 0,
            "class_names": list(parts["train"].classes),
            "read": {"format": parts["train"].format, "size": size, "channels": channels},
            "split": split or ("0.9,0.05,0.05" if len(parts) == 1 else "files"),
            "source": [
                describe_source(path, all_files(parts, name)) for name, path in given.items()
            ],
            "sha256": {path.name: sha256(path) for path in sorted(folder.iterdir())},
        }
        (folder / "meta.json").write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")
    return meta


def all_files(parts: dict[str, Source], name: str) -> list[Path]:
    """The files that came of what was given for `name`: a training source may bring its test part
    along."""
    mine = [parts[name]] if name in parts else []
    if name == "train":
        mine += [
            part
            for part in parts.values()
            if part.root == parts["train"].root and part is not parts["train"]
        ]
    return [
        path for part in mine for path in [*part.files, *([part.labels] if part.labels else [])]
    ]


def write_part(
    folder: Path,
    name: str,
    source: Source,
    blocks: Iterable[Block],
    pixels: Pixels | None,
    levels: int,
) -> tuple[Pixels, Written]:
    """Write a part's tokens and labels; pictures must have the shape of those before them."""
    count, classes, labelled = 0, len(source.classes), False
    with (
        open(folder / f"{name}.bin", "wb") as file,
        open(folder / f"{name}.labels.bin", "wb") as of_labels,
    ):
        for pictures, labels in blocks:
            pixels = pixels or Pixels(pictures.shape[1:], levels)
            if pictures.shape[1:] != pixels.shape:
                shape, before = (
                    " x ".join(map(str, s)) for s in (pictures.shape[1:], pixels.shape)
                )
                raise ValueError(
                    f"{source.root}: images of {shape}, where those before them are {before}"
                )
            if count and labelled != (labels is not None):
                raise ValueError(
                    f"{source.root}: some of its files have labels, and some have none: give both or neither"
                )
            labelled = labels is not None
            for first in range(0, len(pictures), SLICE):
                file.write(pixels.encode(pictures[first : first + SLICE]).tobytes())
            count += len(pictures)
            if labels is not None:
                of_labels.write(labels.astype("<u2").tobytes())
                classes = max(classes, int(labels.max()) + 1)
    if pixels is None or not count:
        raise ValueError(f"{source.root} has no images")
    return pixels, Written(count, labelled, classes)
