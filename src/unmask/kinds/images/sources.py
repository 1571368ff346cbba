"""Which files of a folder are its pictures, of which part, and of which format.

idx        MNIST and its kin: *-images-idx3-ubyte, *-labels-idx1-ubyte, plain or .gz
cifar10    the binary version: data_batch_1.bin ... test_batch.bin, 1 label and 3,072 values a
           record, channel by channel
npz        the down-sampled ImageNet: train_data_batch_1.npz ..., val_data.npz, `data` (n, 3*H*W)
           channel by channel and `labels` from 1; or `data` (n, H, W) or (n, H, W, C), `labels`
           from 0
packbits   no header: every bit a value, rows in order, most significant bit first; of a given shape
folder     PNG, JPEG, WebP, GIF and other files, told by their first bytes; where most lie in two
           sub-folders or more, these are the classes, and loose ones are left out
"""

import gzip
import hashlib
import zlib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from unmask.kinds.images.pixels import begins_like_picture
from unmask.kinds.leftout import LeftOut
from unmask.kinds.sources import LINK, linked, list_files, packed_copies

FORMATS = ("auto", "idx", "cifar10", "npz", "packbits", "folder")
# a file that ends so has to be a picture
PICTURES = (".png", ".jpg", ".jpeg", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
LABELS = ("-images-idx3-ubyte", "-labels-idx1-ubyte")
# how official sets call their files, of training and of test
LAYOUTS = {
    "idx": ("train-images-idx3-ubyte*", "t10k-images-idx3-ubyte*"),
    "cifar10": ("data_batch_*.bin", "test_batch.bin"),
    "npz": ("train_data*.npz", "val_data*.npz"),
}
# how folders of pictures are called, in any case, and the parts that they are
PARTS = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


class Source(NamedTuple):
    """Files of one part of the data, in order."""

    format: str
    files: list[Path]
    root: Path
    labels: Path | None = None  # of idx
    classes: tuple[str, ...] = ()  # names, of a folder


def find_sources(root: Path, format: str, left_out: LeftOut) -> dict[str, Source]:
    """The part "train" of a file or folder, and "validation" and "test" where the layout has them.

    Files of a folder of pictures that are none are `left_out`.  Raises ValueError if nothing is
    found.
    """
    if format not in FORMATS:
        raise ValueError(f"format {format!r} is not one of {', '.join(FORMATS)}")
    if root.is_file():
        found = file_format(root) if format == "auto" else format
        if found == "folder":
            raise ValueError(f"{root} is a file: the format 'folder' is for a folder of pictures")
        return {"train": make_source(found, [root], root)}
    files = list_files(root)  # a ValueError where there are none
    for name in LAYOUTS:
        if format in ("auto", name):
            parts = official_parts(name, files, root)
            if parts:
                return parts
    if format in ("auto", "folder"):
        pictures = [path for path in files if is_picture(path)]
        if pictures:
            for path in sorted(set(files) - set(pictures)):
                left_out.add(within(root, path), f"not a picture, {ending(path)}")
            # those of another folder may be of another class
            folders: dict[Path, list[Path]] = {}
            for path in pictures:
                folders.setdefault(path.parent, []).append(path)
            twice = {path for own in folders.values() for path in linked(own)}
            for path in sorted(twice):
                left_out.add(within(root, path), LINK)
            pictures = [path for path in pictures if path not in twice]
            return picture_parts(root, pictures, left_out)
    endings = Counter(map(ending, files))
    there = ", ".join(f"{count:,} {name}" for name, count in endings.most_common(5))
    raise ValueError(
        f"{root} has no images of format {format!r} among its files ({there}): "
        "give MNIST's or CIFAR-10's files, .npz, PNG, JPEG, WebP or other pictures; "
        "for packed bits, name the file itself and --format packbits"
    )


def is_picture(path: Path) -> bool:
    """Whether a file begins like a picture, or has to be one by its name."""
    return path.suffix.lower() in PICTURES or begins_like_picture(path)


def ending(path: Path) -> str:
    return path.suffix.lower() or "without an ending"


def within(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def make_source(format: str, files: list[Path], root: Path) -> Source:
    labels = labels_beside(files[0]) if format == "idx" else None
    return Source(format, files, root, labels)


def official_parts(format: str, files: list[Path], root: Path) -> dict[str, Source]:
    """The parts of an official set, if its training part is among the files; else none.

    Of a file that is there packed and unpacked, the unpacked one.
    """
    copies = set(packed_copies(files))
    files = [path for path in files if path not in copies]
    train, test = (
        sorted((path for path in files if path.match(pattern)), key=by_number)
        for pattern in LAYOUTS[format]
    )
    if not train:
        return {}
    both = train + test
    folders = {path.parent for path in both}
    # an IDX part is one file, a second one that of another set
    if len(folders) > 1 or (format == "idx" and max(len(train), len(test)) > 1):
        raise ValueError(
            f"{root} has more than one set of images ({both[0]}, {both[-1]}): "
            "name the folder of one"
        )
    found = {"train": make_source(format, train, root)}
    if test:
        found["test"] = make_source(format, test, root)
    return found


def picture_parts(root: Path, pictures: list[Path], left_out: LeftOut) -> dict[str, Source]:
    """The parts of a folder of pictures: those in folders named so, or all as training part."""
    tops = {path.relative_to(root).parts[0] for path in pictures if path.parent != root}
    parts = {top: PARTS[top.lower()] for top in sorted(tops) if top.lower() in PARTS}
    others = sorted(tops - set(parts))
    if not parts or (others and len(parts) == 1):  # one alone may be a class
        return {"train": picture_folder(root, pictures, left_out)}
    said = ", ".join(parts)
    if others:
        raise ValueError(
            f"{root} has the folders {said} and also {others[0]}, which is no part of the data: "
            "move it elsewhere, or name the parts themselves (SRC, --validation, --test)"
        )
    if len(set(parts.values())) < len(parts):
        raise ValueError(
            f"{root} has more than one folder of the same part ({said}): leave one of them out"
        )
    if "train" not in parts.values():
        if len(parts) == 1:
            return {"train": picture_folder(root, pictures, left_out)}
        raise ValueError(f"{root} has the folders {said} and none called train: name one so")
    pictures = leave_loose(root, pictures, left_out)
    found: dict[str, Source] = {}
    classes = ()
    for top in sorted(parts, key=lambda top: parts[top] != "train"):
        folder = root / top
        inside = [path for path in pictures if folder in path.parents]
        found[parts[top]] = picture_folder(folder, inside, left_out, classes)
        classes = found["train"].classes
    return found


def leave_loose(root: Path, pictures: list[Path], left_out: LeftOut) -> list[Path]:
    """Pictures without those beside the folders.  ValueError if they are not the smaller part."""
    loose = [path for path in pictures if path.parent == root]
    inside = [path for path in pictures if path.parent != root]
    if len(loose) >= len(inside):
        raise ValueError(
            f"{root} has {len(loose):,} pictures beside folders with {len(inside):,}: "
            "move each into the folder of its class or part, or all into one folder"
        )
    for path in loose:
        left_out.add(within(root, path), "beside the folders of the classes or parts")
    return inside


def by_number(path: Path) -> tuple[int, str]:
    """The key that sorts data_batch_10 after data_batch_9."""
    digits = "".join(c for c in path.stem.rpartition("_")[2] if c.isdigit())
    return int(digits or 0), path.name


def file_format(path: Path, fix: str = f"give --format ({', '.join(FORMATS[1:])})") -> str:
    """Which of FORMATS a file has.  ValueError, with a `fix`, where that cannot be told."""
    with open(path, "rb") as file:
        start = file.read(4)
    if start[:2] == b"\x1f\x8b":
        try:
            with gzip.open(path) as file:
                start = file.read(4)
        except (OSError, EOFError, zlib.error):
            raise ValueError(f"{path} is truncated or damaged: fetch it again") from None
    if start[:3] == b"\0\0\x08":
        return "idx"
    if start == b"PK\x03\x04":
        return "npz"
    if path.suffix == ".bin":
        return "cifar10"
    if begins_like_picture(path):
        raise ValueError(f"{path} is one picture: name the folder that it is in")
    if start == b"\x93NUM":
        raise ValueError(f"{path} is a single array: save it with numpy.savez(FILE, data=ARRAY)")
    raise ValueError(f"{path}: its format cannot be told; {fix}")


def labels_beside(images: Path) -> Path | None:
    """The official labels' file beside an IDX file of images, if it is there."""
    if LABELS[0] not in images.name:
        return None
    name = images.name.replace(*LABELS)
    stem = name.removesuffix(".gz")
    for labels in (name, stem, stem + ".gz"):
        path = images.with_name(labels)
        if path.is_file():
            return path
    return None


def picture_folder(
    root: Path, files: list[Path], left_out: LeftOut, classes: tuple[str, ...] = ()
) -> Source:
    """Pictures in an order by the hash of their names: parts cut off in order hold all folders'.

    Sub-folders, if there are two or more, are the classes, and pictures beside them are
    `left_out`.  Or `classes` are: then each file must lie in one of them.
    """
    names = sorted({path.relative_to(root).parts[0] for path in files if path.parent != root})
    if classes or len(names) > 1:
        files = leave_loose(root, files, left_out)
        strange = [name for name in names if classes and name not in classes]
        if strange:
            known = ", ".join(classes[:20])
            raise ValueError(f"{root / strange[0]} is none of the training part's classes: {known}")
        classes = classes or tuple(names)
    inside = [path.relative_to(root) for path in files]
    order = [root / path for path in sorted(inside, key=by_hash)]
    return Source("folder", order, root, classes=classes)


def by_hash(path: Path) -> bytes:
    return hashlib.sha256(path.as_posix().encode("utf-8", "surrogateescape")).digest()
