"""A kind of one's own: throws of five dice, a line a throw; a dot is a die that is not known.
Everything it needs is in this file."""

import json
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unmask.kinds.data import Whole
from unmask.kinds.folder import FORMAT, SPLITS, check_new, new_folder
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
        return "".join(str(int(i) + 1) for i in ids)


def read_throws(path: Path) -> list[str]:
    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="ascii")
    for number, line in enumerate(text.split(), 1):
        if len(line) != DICE or set(line) - set("123456."):
            raise ValueError(
                f"{path}, line {number}: {line!r} is no throw of {DICE} dice: write faces 1 to 6, or a dot for a hole"
            )
    return text.split()


class DiceData(Whole):
    unit, example, counted = "die", "a throw", "throws"
    length, whole = DICE, f"throws have {DICE} dice"

    @cached_property
    def tokenizer(self) -> Faces:
        return Faces()

    def describe(self, count: int, positions: int, length: int) -> str:
        return f"{positions:,} dice in {count:,} throws"

    def _examples(self, split: str, length: int, chosen: np.ndarray) -> dict[str, torch.Tensor]:
        return {
            "x": torch.from_numpy(
                np.asarray(self.tokens(split)).reshape(-1, DICE)[chosen].astype(np.int64)
            )
        }


class Throws(Source):
    """Throws with holes, filled in, a line each, the likeliest first."""

    def __init__(self, path: Path, args: Any):
        check_out(args.out)
        self.args, self.lines = args, read_throws(path)
        ids = np.array([["123456".find(face) for face in line] for line in self.lines])
        if (ids >= 0).all():
            raise ValueError(f"{path} has no hole: write a dot for a die to fill in")
        self.examples = [
            Partial(row.clip(0), np.where(row < 0, HOLE, GIVEN).astype(np.int8)) for row in ids
        ]

    def fill(self, filler: Filler) -> dict:
        found = filler.fill(self.examples, num=self.args.num, score=8)
        rows = [
            f"{Faces().decode(one.ids)} {one.nats:.2f}"
            for candidates in found
            for one in candidates
        ]
        write_text(self.args.out, "\n".join(rows) + "\n")
        return {"fillings": rows}


class Dice(Kind):
    name, what, about = "dice", "a throw", "Throws of five dice, a line each."
    keys = ("format", "kind", "tokenizer", "vocab_size", "dtype", "tokens", "throws")
    tokens, frames, fixed, no_labels = ("faces",), "", True, "throws, which have no labels"
    source, Prepare, Read = "A file of throws.", NoFlags, NoFlags

    @classmethod
    def prepare(cls, args: Any) -> tuple[dict, list[str]]:
        check_new(args.out)
        throws = np.array(
            [[int(face) - 1 for face in line] for line in read_throws(args.source)], np.uint8
        )
        parts = dict(
            zip(
                SPLITS,
                np.split(throws, [8 * len(throws) // 10, 9 * len(throws) // 10]),
                strict=True,
            )
        )
        counts = {split: len(part) for split, part in parts.items()}
        meta = {
            "format": FORMAT, "kind": "dice", "tokenizer": Faces().spec(), "vocab_size": 6, "dtype": "uint8", "throws": counts,
            "tokens": {split: DICE * n for split, n in counts.items()}, "source": [{"sha256": "-"}], "sha256": {"train.bin": "-"},
        }  # fmt: skip
        with new_folder(args.out) as folder:
            for split, part in parts.items():
                part.tofile(folder / f"{split}.bin")
            (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
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
