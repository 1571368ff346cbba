"""The kind, as the verbs see it: pictures with holes in, pictures out."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unmask.files import no_file, write_whole
from unmask.kinds.images.flags import PrepareImages
from unmask.kinds.images.presets import PRESETS
from unmask.kinds.images.protocols import PROTOCOLS
from unmask.kinds.kind import Filler, Kind, Layout, Listed, Packed, Source, State, own_flags
from unmask.kinds.leftout import say_skipped
from unmask.kinds.output import check_out, numbered, table
from unmask.kinds.quality import Quality
from unmask.kinds.recipe import find_file, note_protocol, standing
from unmask.kinds.view import Picture as PictureView
from unmask.kinds.view import View, Words

SHOWN_CLASSES = 20


@dataclass(frozen=True, kw_only=True)
class LabelFlags:
    label: str = ""
    """Of a network that was given classes: the class of the picture, by its name or number;
    empty: not known."""


@dataclass(frozen=True, kw_only=True)
class PictureFlags(LabelFlags):
    mask: str = ""
    """Of a picture: a picture of the same size that is white where there is something to fill in,
    black or transparent elsewhere."""


class Images(Kind):
    name, unit = "images", "dimension"
    about = "Pictures: MNIST, CIFAR-10, .npz, packed bits, a folder of PNG, JPEG, WebP, GIF, ..."
    source = (
        "MNIST's IDX files or its folder (also .gz), CIFAR-10's folder (binary version), .npz "
        "(the down-sampled ImageNet), a file of packed bits, or a folder of PNG, JPEG, WebP, GIF, "
        "BMP, TIFF or other pictures, whose sub-folders, if there are two or more, are the "
        "classes or, called train, val and test, the parts; pictures beside them, and files that "
        "are no pictures, are left out."
    )
    Prepare = PrepareImages
    presets = PRESETS
    protocols = PROTOCOLS
    what = "a picture"
    keys = ("format", "kind", "tokenizer", "vocab_size", "dtype", "tokens", "images", "classes")
    tokens = ("pixels",)
    Read, List = PictureFlags, LabelFlags
    frames = ".gif"
    fixed = True
    on_a_page = (16, 40)
    not_judged = ""

    @classmethod
    def demos(cls) -> list[type]:
        from unmask.kinds.images.demo import Digits

        return [Digits]

    @classmethod
    def prepare(cls, args: Any) -> tuple[dict, list[str]]:
        from unmask.kinds.images.prepare import prepare_images

        flags = own_flags(cls.Prepare, args)
        flags |= {"labels": args.labels or None, "shape": parse_shape(args.shape)}
        meta = prepare_images(args.source, args.out, **flags)
        counts = ", ".join(f"{n:,} {name}" for name, n in meta["images"].items())
        shape = " x ".join(map(str, meta["tokenizer"]["shape"]))
        classes = "no labels"
        if meta["classes"]:
            classes = f"{meta['classes']} classes"
        values = f"{meta['vocab_size']} values"
        said = [f"{args.out}: {counts} images of {shape}, {values}, {classes}"]
        return meta, said + table_of(meta, args.out) + say_changes(meta) + say_skipped(meta)

    @classmethod
    def open(cls, folder: Path, meta: dict, *, labels: bool) -> Any:
        from unmask.kinds.images.data import ImageData

        return ImageData(folder, meta, labels)

    @classmethod
    def load_tokens(cls, spec: dict, folder: Path) -> Any:
        from unmask.kinds.images.pixels import Pixels

        return Pixels(spec["shape"], spec["vocab_size"])

    def follow(self, name: str, source: Path, out: Path) -> None:
        from unmask.kinds.images.prepare import prepare_images

        recipe = PROTOCOLS[name]
        file = find_file(source, *recipe.names)
        how = {"format": recipe.format, "shape": recipe.shape, "levels": recipe.levels}
        prepare_images(file, out, **how, split="0,0,1", progress=False)
        note_protocol(out, name, standing(recipe, [file]), packing=recipe.how)

    @property
    def layout(self) -> Layout:
        height, width, channels = self.meta["tokenizer"]["shape"]
        return Layout(shape=(height, width, channels), traits=self.tokenizer.traits)

    @property
    def meanings(self) -> Sequence[str]:
        levels = self.tokenizer.vocab_size
        return [f"value {i} of {levels}" for i in range(levels)]

    def describe(self) -> str:
        spec = self.meta["tokenizer"]
        return f"pictures of {' x '.join(map(str, spec['shape']))} with {spec['vocab_size']} values"

    def read(self, path: Path, args: Any, length: int) -> Source:
        return Picture(path, args, self.tokenizer)

    def listed(self, path: Path, args: Any, *, marks: bool = False) -> list[Listed]:
        from unmask.kinds.images.listed import read_pictures

        return read_pictures(path, self.tokenizer, marks=marks)

    def pack(self, path: Path) -> Packed:
        from unmask.kinds.images.packed import pack

        return pack(path, self.tokenizer)

    def check_unpacked(self, out: str) -> None:
        from unmask.kinds.images.holes import check_pictures_out

        check_pictures_out(out)
        if Path(out).suffix:
            check_out(out)

    def unpack(self, rows: list, beside: bytes, out: str) -> None:
        from unmask.kinds.images.packed import unpack

        unpack(rows, beside, out, self.tokenizer)

    def check(self, args: Any) -> None:
        self.check_unpacked(args.out or "samples.png")

    def write(self, rows: list, args: Any) -> dict:
        import numpy as np

        from unmask.kinds.images.holes import write_pictures

        out = args.out or "samples.png"
        write_pictures(Path(out), self.tokenizer.decode(np.stack(rows)))
        print(f"wrote {out}", file=sys.stderr)
        return {"out": out}

    def quality(self, data: Any, path: Path, args: Any) -> Quality:
        from unmask.kinds.images.quality import judge

        return judge(data, path, split=args.split, seed=args.seed)

    def editor(self, length: int) -> Any:
        from unmask.kinds.images.editor import PictureEditor

        return PictureEditor(self, length)

    def texts(self, rows: Sequence[Any]) -> list[str]:
        return [self.describe().replace("pictures", "a picture") for _ in rows]

    def html(self, rows: Sequence[Any]) -> str:
        import base64

        import numpy as np

        from unmask.kinds.images.pixels import picture_grid, png

        if not rows:
            return ""
        grid = png(picture_grid(self.tokenizer.decode(np.stack(rows))))
        content = base64.b64encode(grid).decode()
        said = f"{len(rows)} {self.describe()}"
        return f'<img alt="{said}" src="data:image/png;base64,{content}">'

    @property
    def words(self) -> Words:
        return Words(part="pixel")

    def views(self, rows: Sequence[Any], shown: Sequence[Any]) -> list[View]:
        from unmask.kinds.images.pixels import png_with_holes

        shape = self.tokenizer.shape
        found: list[View] = []
        for example, (ids, known) in enumerate(zip(rows, shown, strict=True)):
            png = png_with_holes(self.tokenizer.decode(ids), known.reshape(shape))
            found.append(PictureView(example, png, shape, f"picture {example + 1}"))
        return found

    def hidden(self, ids: Any) -> Any:
        """The lower half."""
        import numpy as np

        height, width, channels = self.tokenizer.shape
        return np.arange(len(ids)) >= height // 2 * width * channels

    def animate(self, path: Path, states: list[State]) -> None:
        from unmask.kinds.images.holes import state_pictures, write_unmasking

        write_unmasking(path, state_pictures(self.tokenizer, states))


class Picture(Source):
    """A picture whose transparent pixels, or those white in --mask, are to be filled in."""

    def __init__(self, path: Path, args: Any, pixels: Any):
        from unmask.kinds.images.holes import Holed

        if args.window:
            raise ValueError(
                "--window is not for a picture, which has the size that the model was trained at: "
                "leave it out"
            )
        if args.mask and not Path(args.mask).is_file():
            raise no_file(
                Path(args.mask),
                f"there is no file {args.mask}: "
                "--mask is a picture, white where there is something to fill in",
            )
        out = Path(args.out or f"{path.stem}-filled.png")
        self.names = self.writes = numbered(out, args.num, ".png")
        self.reads = [args.mask]
        mask = Path(args.mask) if args.mask else None
        self.holed, self.num = Holed(path, mask, pixels), args.num
        self.examples = [self.holed.example(args.label)]

    def fill(self, filler: Filler) -> dict:
        import numpy as np

        from unmask.kinds.images.pixels import png

        (found,) = filler.fill(self.examples, num=self.num)
        pictures = self.holed.filled(np.stack([one.ids for one in found]))
        for name, picture in zip(self.names, pictures, strict=True):
            write_whole(name, png(picture))
            print(f"wrote {name}", file=sys.stderr)
        out = [str(name) for name in self.names]
        return {"out": out, "filled_values": int(self.holed.holes.sum())}


def parse_shape(shape: str) -> tuple[int, int, int] | None:
    """Height, width and channels; None if nothing is said."""
    if not shape:
        return None
    parts = shape.replace("x", ",").split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() and int(part) for part in parts):
        raise ValueError(f"--shape {shape!r}: give height,width,channels, like 28,28,1")
    height, width, channels = map(int, parts)
    return height, width, channels


def table_of(meta: dict, folder: Path) -> list[str]:
    """Lines that say how many images, and of which classes, each split has."""
    import numpy as np

    splits = meta["images"]
    rows = [["", *splits], ["images", *(f"{count:,}" for count in splits.values())]]
    many = meta["classes"]
    if many:
        files = [Path(folder, f"{split}.labels.bin") for split in splits]
        counts = [np.bincount(np.fromfile(file, "<u2"), minlength=many) for file in files]
        names = meta["class_names"] or range(many)
        for name, row in zip(names, zip(*counts, strict=True), strict=True):
            rows.append([f"class {name}", *(f"{count:,}" for count in row)])
    lines = [f"  {line}" for line in table(rows[: 2 + SHOWN_CLASSES])]
    if many > SHOWN_CLASSES:
        lines.append(f"  and {many - SHOWN_CLASSES:,} more classes")
    return lines


def say_changes(meta: dict) -> list[str]:
    """Lines that say how pictures were changed."""
    changed = meta.get("converted", {})
    return [f"  converted: {count:,} ({how})" for how, count in changed.items()]
