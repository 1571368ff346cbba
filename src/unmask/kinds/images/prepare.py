"""Pictures made into a memory map of tokens.

`prepare_images` streams, and writes a folder:

    train.bin, validation.bin, test.bin    the tokens, a byte each, picture after picture;
                    their order in a picture is in `pixels`
    *.labels.bin    where the pictures have labels: one each, little-endian uint16
    meta.json       the shape, the levels, the counts, the checksums; `open_data` reads it
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unmask.files import no_file
from unmask.kinds.folder import (
    SPLITS,
    check_new,
    check_splits,
    cut_file,
    cut_points,
    given_splits,
    new_folder,
    parse_split,
    progress_bars,
    write_meta,
)
from unmask.kinds.images.pixels import Pixels
from unmask.kinds.images.reading import Block, Reading, read_images
from unmask.kinds.images.sources import Source, ending, find_sources, picture_folder, within
from unmask.kinds.leftout import LeftOut
from unmask.kinds.sources import list_files

SLICE = 1024  # pictures that are turned into tokens at a time
SPLIT = "0.9,0.05,0.05"  # of a source of one part
# One in so many training images is for validation, if the source has a part for tests alone.
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
    background: str = "",
    skip_bad: bool = False,
    levels: int = 0,
    split: str = "",
    validation: str | Path | None = None,
    test: str | Path | None = None,
    progress: bool = True,
) -> dict:
    """Write the tokens of pictures to the new folder `out`; returns what meta.json holds.

    source: a file or a folder in one of the formats of `images.sources`.  MNIST's, CIFAR-10's and
    ImageNet's folders have a test part of their own; the last twentieth of their training part is
    then for validation, unless `validation` is given. labels: the IDX file of the labels, if it is
    not beside the images under its official name. shape: (height, width, channels) of packed bits.
    size, channels, background: of a folder of pictures, see `pixels.to_array`. skip_bad: leave out
    pictures of a folder that cannot be read.  levels: values a token can have, 2 to 256:
    v * levels // 256 of a value v; 0: 256, or 2 of packed bits. split: of a source without a test
    part, three fractions or three counts of images, cut in order; "": 0.9,0.05,0.05.  validation,
    test: sources of their own.  meta.json has `skipped` and `converted` where anything was.

    Raises ValueError, and leaves nothing behind, for a source that does not do.
    """
    out = check_new(out)
    given = given_splits(source, validation, test)
    check_colour(background)
    reading = Reading(size, channels, background, LeftOut(skip_bad), Counter())
    parts = find_parts(given, format, labels, reading.left_out)
    if len(parts) > 1 and split:
        there = " or ".join(name for name in SPLITS[1:] if name in parts)
        raise ValueError(f"--split {split} is for a source without a {there} part of its own")
    split = split or SPLIT
    shares = parse_split(split)
    if len(parts) > 1:
        split = "files"
    files = [path for part in parts.values() for path in files_of(part)]
    for path in files:
        if not path.is_file():
            raise no_file(path, f"{path} does not exist: name a file of labels")
    train = parts["train"]
    levels = levels or {"packbits": 2}.get(train.format, 256)
    bar = progress_bars(files, progress)
    with new_folder(out) as folder:
        pixels: Pixels | None = None
        written: dict[str, Written] = {}
        with bar("images") as shown:
            for name in (name for name in SPLITS if name in parts):
                part = parts[name]
                blocks = read_images(part, shown, shape, reading)
                pixels, written[name] = write_part(folder, name, part, blocks, pixels, levels)
        assert pixels is not None
        labelled = check_labels(parts, written)
        counts = dict.fromkeys(SPLITS, 0) | {name: part.count for name, part in written.items()}
        cuts = {}
        if len(parts) == 1:
            cuts = cut_points(shares, np.array([0, counts["train"]]), False, "images")
        elif "validation" not in parts:
            last = counts["train"] - counts["train"] // HELD_OUT
            cuts = {"train": (0, last), "validation": (last, counts["train"])}
        if cuts:
            cut_pictures(folder, cuts, pixels.length, labelled)
            counts |= {name: high - low for name, (low, high) in cuts.items()}
        for name in SPLITS:
            of_labels = folder / f"{name}.labels.bin"
            if labelled:
                of_labels.touch()
            else:
                of_labels.unlink(missing_ok=True)
        read: dict = {"format": train.format, "size": size, "channels": channels}
        if background:
            read["background"] = background
        converted = {}
        if reading.changed:
            converted["converted"] = dict(reading.changed)
        return write_meta(
            folder,
            "images",
            pixels,
            np.uint8,
            sources_of(given, parts),
            images=counts,
            classes=max(part.classes for part in written.values()),
            class_names=list(train.classes),
            read=read,
            split=split,
            **converted,
            **reading.left_out.facts(),
        )


def check_colour(background: str) -> None:
    """ValueError for a background that is no colour."""
    from PIL import ImageColor

    try:
        ImageColor.getrgb(background or "white")
    except ValueError:
        raise ValueError(
            f"--background {background!r} is no colour: give a name like white, or #rrggbb"
        ) from None


def find_parts(
    given: dict[str, Path], format: str, labels: str | Path | None, left_out: LeftOut
) -> dict[str, Source]:
    """The parts of the training source, and those that were given besides."""
    for path in given.values():
        if not path.exists():
            raise ValueError(f"{path} does not exist: name a file or a folder of images")
    parts = find_sources(given["train"], format, left_out)
    classes = parts["train"].classes
    for name in ("validation", "test"):
        if name not in given:
            continue
        found = find_sources(given[name], format, left_out)
        if len(found) > 1 and name not in found:
            raise ValueError(
                f"{given[name]} has parts of its own, and none for {name}: "
                "name a file or folder of one part"
            )
        part = found.get(name, found["train"])
        if classes and part.format == "folder":  # the labels are to mean the same
            part = picture_folder(part.root, part.files, left_out, classes)
        parts[name] = part
    check_splits(given, {name: part.files for name, part in parts.items()})
    train = parts["train"]
    if labels is not None:
        if train.format != "idx":
            raise ValueError(
                f"--labels {labels} goes with IDX files, not with the format {train.format}"
            )
        parts["train"] = train._replace(labels=Path(labels))
    note_unread(given, parts, left_out)
    return parts


def note_unread(given: dict[str, Path], parts: dict[str, Source], left_out: LeftOut) -> None:
    """Files in the folders of official sets that are of no part; a folder of pictures has its own
    tally."""
    read = {path.resolve() for part in parts.values() for path in files_of(part)}
    for name, root in given.items():
        if root.is_dir() and parts[name].format != "folder":
            for path in list_files(root):
                if path.resolve() not in read:
                    read.add(path.resolve())  # two parts may come from one folder
                    left_out.add(within(root, path), f"in no part of the data, {ending(path)}")


def files_of(part: Source) -> list[Path]:
    """Those of the images, and that of their labels."""
    if part.labels is None:
        return part.files
    return [*part.files, part.labels]


def sources_of(given: dict[str, Path], parts: dict[str, Source]) -> list[tuple[Path, list[Path]]]:
    """What was given, each with its files: a folder with those of all parts that it brought along,
    and a file, such as one of labels, by itself."""
    found = []
    for name, root in given.items():
        others = [other for other in parts if name == "train" and other not in given]
        files = [path for part in (name, *others) for path in files_of(parts[part])]
        found += [(root, files)] if root.is_dir() else [(path, [path]) for path in files]
    return found


def check_labels(parts: dict[str, Source], written: dict[str, Written]) -> bool:
    """Whether all parts have labels.  ValueError if some have, and some have none; and for
    classes that have names in one part and numbers in another."""
    some = [parts[name].root for name, part in written.items() if part.labelled]
    none = [parts[name].root for name, part in written.items() if not part.labelled]
    if some and none:
        raise ValueError(
            f"{some[0]} has labels, and there are none in or beside {none[0]}: give both or neither"
        )
    named = [part.root for part in parts.values() if part.classes]
    numbered = [part.root for part in parts.values() if not part.classes]
    if some and named and numbered:
        raise ValueError(
            f"{named[0]} has classes by name, and {numbered[0]} by number: give both in one format"
        )
    return not none


def cut_pictures(
    folder: Path, cuts: dict[str, tuple[int, int]], length: int, labelled: bool
) -> None:
    """Cut the training part, at numbers of pictures of `length` tokens each."""
    spans = {name: (low * length, high * length) for name, (low, high) in cuts.items()}
    cut_file(folder, spans, np.dtype("u1"))
    if labelled:
        cut_file(folder, cuts, np.dtype("<u2"), ".labels.bin")


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
    tokens, numbers = folder / f"{name}.bin", folder / f"{name}.labels.bin"
    with open(tokens, "wb") as file, open(numbers, "wb") as of_labels:
        for pictures, labels in blocks:
            pixels = pixels or Pixels(pictures.shape[1:], levels)
            if pictures.shape[1:] != pixels.shape:
                shape = " x ".join(map(str, pictures.shape[1:]))
                before = " x ".join(map(str, pixels.shape))
                raise ValueError(
                    f"{source.root}: images of {shape}, where those before them are {before}"
                )
            if count and labelled != (labels is not None):
                mixed = "some of its files have labels, and some have none"
                raise ValueError(f"{source.root}: {mixed}: give both or neither")
            labelled = labels is not None
            for first in range(0, len(pictures), SLICE):
                file.write(pixels.encode(pictures[first : first + SLICE]).tobytes())
            count += len(pictures)
            if labels is not None:
                of_labels.write(labels.astype("<u2").tobytes())
                classes = max(classes, int(labels.max()) + 1)
    if pixels is None or not count:
        raise ValueError(f"{source.root} has no images that can be read")
    return pixels, Written(count, labelled, classes)
