"""A kind of one's own, all of it: throws of five dice, a line each; a dot is a die not known."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from unmask.config import Preset, TrainConfig
from unmask.kinds.baselines import position_bits
from unmask.kinds.data import Whole
from unmask.kinds.demo import Demo, Shown
from unmask.kinds.folder import SPLITS, new_folder, write_meta
from unmask.kinds.kind import Filler, Kind, NoFlags, Partial, Source
from unmask.kinds.output import check_out, write_text
from unmask.kinds.registry import register
from unmask.roles import GIVEN, HOLE

DICE = 5


class Faces:
    """Faces 1 to 6 as tokens 0 to 5."""

    vocab_size = 6

    def spec(self) -> dict:
        return {"name": "faces"}

    def files(self) -> dict[str, bytes]:
        return {}

    def spell(self, i: int) -> str:
        return str(i + 1)

    def decode(self, ids) -> str:
        return "".join(self.spell(int(i)) for i in ids)


def read_throws(path: Path, faces: str = "123456") -> np.ndarray:
    """(throws, DICE) tokens, -1 for a dot."""
    text = path.read_text(encoding="ascii")
    for number, line in enumerate(text.split(), 1):
        if len(line) != DICE or set(line) - set(faces):
            said = f"{line!r} is no throw of {DICE} dice: write faces 1 to 6, or a dot for a hole"
            raise ValueError(f"{path}, line {number}: {said}")
    return np.array([["123456".find(face) for face in line] for line in text.split()])


class DiceData(Whole):
    unit, example, counted = "die", "a throw", "throws"
    length, whole = DICE, f"throws have {DICE} dice"
    tokenizer = Faces()

    def describe(self, count: int, positions: int, length: int) -> str:
        return f"{positions:,} dice in {count:,} throws"

    def _examples(self, split: str, length: int, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        throws = np.asarray(self.tokens(split)).reshape(-1, DICE)
        return {"x": torch.from_numpy(throws[chosen].astype(np.int64))}


class Throws(Source):
    """Throws with holes, filled in, a line each, the likeliest first."""

    def __init__(self, path: Path, args: Any):
        check_out(args.out)
        self.args, ids = args, read_throws(path, "123456.")
        if (ids >= 0).all():
            raise ValueError(f"{path} has no hole: write a dot for a die to fill in")
        roles = np.where(ids < 0, HOLE, GIVEN).astype(np.int8)
        self.examples = [Partial(row.clip(0), role) for row, role in zip(ids, roles, strict=True)]

    def fill(self, filler: Filler) -> dict:
        found = filler.fill(self.examples, num=self.args.num, score=8)
        rows = [f"{Faces().decode(one.ids)} {one.nats:.2f}" for ones in found for one in ones]
        write_text(self.args.out, "\n".join(rows) + "\n")
        return {"fillings": rows}


SMALL = TrainConfig(length=0, dim=32, layers=1, heads=2, batch_size=64, minutes=0.2)


class Sorted(Demo):
    name, preset, out, title = "dice", "dice", "demo-dice", "Masked diffusion on dice"
    subject, counted, split = "sorted throws of five dice", "throws", "8:1:1"
    source = Path(__file__).with_name("throws.txt")

    def prepare(self, out: Path) -> None:
        make_folder(self.source, out)

    def baselines(self, data: Any, positions: int) -> dict[str, float]:
        train, test = (np.array(data.tokens(s)).reshape(-1, DICE) for s in ("train", "test"))
        return {"every die by itself": position_bits(train, test, 6)}

    def show(self, data: Any, drawn: list, filler: Any) -> Shown:
        hole = Partial(np.array([0, 0, 0, 5, 5]), np.array([GIVEN, GIVEN, HOLE, GIVEN, GIVEN]))
        ((one,),) = filler(4).fill([hole])
        return Shown([f"11.66: {Faces().decode(one.ids)}"])


def make_folder(source: Path, out: Path) -> dict:
    throws = read_throws(source)
    cuts = [8 * len(throws) // 10, 9 * len(throws) // 10]
    parts = dict(zip(SPLITS, np.split(throws.astype(np.uint8), cuts), strict=True))
    facts = {"throws": {name: len(part) for name, part in parts.items()}, "split": "8:1:1"}
    with new_folder(out) as folder:
        for name, part in parts.items():
            part.tofile(folder / f"{name}.bin")
        return write_meta(folder, "dice", Faces(), np.uint8, [(source, [source])], **facts)


class Dice(Kind):
    name, what, unit, about = "dice", "a throw", "die", "Throws of five dice, a line each."
    keys = ("format", "kind", "tokenizer", "vocab_size", "dtype", "tokens", "throws")
    tokens, frames, fixed, no_labels = ("faces",), "", True, "throws, which have no labels"
    source, Prepare, Read = "A file of throws.", NoFlags, NoFlags
    presets = {"dice": Preset(SMALL, "Five dice; ten seconds.")}

    @classmethod
    def prepare(cls, args: Any) -> tuple[dict, list[str]]:
        meta = make_folder(args.source, args.out)
        return meta, [f"{args.out}: {sum(meta['throws'].values())} throws"]

    @classmethod
    def demos(cls) -> list[type]:
        return [Sorted]

    @classmethod
    def open(cls, folder: Path, meta: dict, *, labels: bool) -> DiceData:
        return DiceData(folder, meta)

    @classmethod
    def load_tokens(cls, spec: dict, folder: Path) -> Faces:
        return Faces()

    def describe(self) -> str:
        return "dice"

    def read(self, path: Path, args: Any, length: int) -> Throws:
        return Throws(path, args)

    def write(self, rows: list, args: Any) -> dict:
        write_text(args.out, "".join(f"{Faces().decode(row)}\n" for row in rows))
        return {"num": len(rows)}


register(Dice)
