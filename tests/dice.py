"""A kind of one's own, all of it: throws of five dice, a line each; a dot is a die not known."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unmask.kinds.data import Whole
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


def read_throws(path: Path) -> np.ndarray:
    """(throws, DICE) tokens, -1 for a die that is not known."""
    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="ascii")
    for number, line in enumerate(text.split(), 1):
        if len(line) != DICE or set(line) - set("123456."):
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
        self.args, ids = args, read_throws(path)
        if (ids >= 0).all():
            raise ValueError(f"{path} has no hole: write a dot for a die to fill in")
        roles = np.where(ids < 0, HOLE, GIVEN).astype(np.int8)
        self.examples = [Partial(row.clip(0), role) for row, role in zip(ids, roles, strict=True)]

    def fill(self, filler: Filler) -> dict:
        found = filler.fill(self.examples, num=self.args.num, score=8)
        rows = [f"{Faces().decode(one.ids)} {one.nats:.2f}" for ones in found for one in ones]
        write_text(self.args.out, "\n".join(rows) + "\n")
        return {"fillings": rows}


class Dice(Kind):
    name, what, about = "dice", "a throw", "Throws of five dice, a line each."
    keys = ("format", "kind", "tokenizer", "vocab_size", "dtype", "tokens", "throws")
    tokens, frames, fixed, no_labels = ("faces",), "", True, "throws, which have no labels"
    source, Prepare, Read = "A file of throws.", NoFlags, NoFlags

    @classmethod
    def prepare(cls, args: Any) -> tuple[dict, list[str]]:
        throws = read_throws(args.source)
        if (throws < 0).any():
            raise ValueError(f"{args.source} has a hole: give throws whose dice are all known")
        cuts = [8 * len(throws) // 10, 9 * len(throws) // 10]
        parts = dict(zip(SPLITS, np.split(throws.astype(np.uint8), cuts), strict=True))
        counts = {split: len(part) for split, part in parts.items()}
        sources = [(args.source, [args.source])]
        with new_folder(args.out) as folder:
            for split, part in parts.items():
                part.tofile(folder / f"{split}.bin")
            meta = write_meta(folder, "dice", Faces(), np.uint8, sources, throws=counts)
        return meta, [f"{args.out}: {len(throws)} throws"]

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
        lines = [self.tokenizer.decode(row) for row in rows]
        write_text(args.out, "\n".join(lines) + "\n")
        return {"samples": lines}


register(Dice)
