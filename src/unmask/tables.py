"""Tables from Python, in the manner of scikit-learn: data frames in, data frames out.

    model = TableModel(minutes=2).fit(frame)
    model.sample(1000)                                  # synthetic rows
    model.impute(frame_with_holes)                      # draws; best=True: the most probable
    model.predict_proba(new_rows, "income")
    model.score(held_out)                               # nats a row, a lower bound

It is what `unmask prepare tables`, `train`, `sample`, `fill` and `eval` do, in one object; `folder`
holds what they would write, and they read it.
"""

import hashlib
import inspect
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from unmask.checkpoint import write_json
from unmask.config import Dtype, TrainConfig
from unmask.data import Table, open_data, prepare_table
from unmask.device import pick_device, pick_dtype, precision
from unmask.diffusion import MaskedDiffusion
from unmask.documents import read_json
from unmask.estimate import Estimate
from unmask.files import LEFTOVER, write_whole
from unmask.filling import Filler
from unmask.kinds.output import csv_text
from unmask.kinds.registry import presets
from unmask.kinds.tables.columns import ABSENT, check_name, did_you_mean
from unmask.kinds.tables.data import batch_of
from unmask.kinds.tables.flags import names_in
from unmask.kinds.tables.framed import frame_of, values_of, with_cells
from unmask.kinds.tables.frames import (
    Column,
    cells_of,
    column_of,
    columns_of,
    is_nan,
    library_of,
    numeric,
)
from unmask.kinds.tables.holes import Guess, guess, number_of, opened, texts_of_holes, wanted_of
from unmask.kinds.tables.prepare import check_absent, encode
from unmask.kinds.tables.rules import BINS, check_columns
from unmask.kinds.tables.where import conditioned, spans_within
from unmask.kinds.tables.written import improper, nats_within
from unmask.likelihood import estimate_nelbo
from unmask.rows import rows_at_a_time
from unmask.train import train

FRAME = "frame.json"
FORM = {
    "library": str, "types": {str: str}, "dtypes?": {str: str}, "prepared": {str: None},
    "sha256": str,
}  # fmt: skip
TAKE_AS_UNKNOWN = 'take such cells for values that are not known with unseen="unknown"'
# what a truth is as a number, and the other way round
TRUTHS = {"0": "False", "1": "True", "0.0": "False", "1.0": "True"}
NOT_FITTED = "this TableModel has not been fitted: call fit, or TableModel.load"


class TableModel:
    """A model of the rows of a table; its columns are categories or numbers, with missing cells.

    minutes, steps: how long to train, as in `unmask train`.  preset: one of its presets.  config:
    more values of `TrainConfig`, such as {"dim": 64}.  bins, missing_is, numbers, categories,
    drop: as in `unmask prepare tables`; a column of texts is one of categories, as is one of a
    categorical type.  unseen: what becomes of a cell, in rows that `fit` has not seen, which its
    column cannot read: "error"; or "unknown", it has a value that is not known.  folder: where to
    keep the data and the run; "": a temporary one, which goes with the object.
    """

    def __init__(
        self,
        *,
        minutes: float = 2.0,
        steps: int = 0,
        preset: str = "table",
        config: Mapping[str, Any] | None = None,
        bins: int = BINS,
        missing_is: str = "missing",
        numbers: Sequence[str] = (),
        categories: Sequence[str] = (),
        drop: Sequence[str] = (),
        unseen: str = "error",
        device: str = "auto",
        dtype: Dtype = "auto",
        seed: int = 0,
        folder: str | Path = "",
    ):
        self.minutes, self.steps, self.preset, self.config = minutes, steps, preset, config
        self.bins, self.missing_is, self.drop = bins, missing_is, drop
        self.numbers, self.categories, self.unseen = numbers, categories, unseen
        self.device, self.dtype, self.seed, self.folder = device, dtype, seed, folder

    # ------------------------------------------------------------ scikit-learn's conventions

    @classmethod
    def names(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.names()}

    def set_params(self, **params: Any) -> Self:
        for name, value in params.items():
            if name not in self.names():
                raise ValueError(f"TableModel has no parameter {name!r}: {', '.join(self.names())}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        plain = {name: p.default for name, p in inspect.signature(TableModel).parameters.items()}
        own = [f"{n}={v!r}" for n, v in self.get_params().items() if v != plain[n]]
        return f"TableModel({', '.join(own)})"

    # ------------------------------------------------------------ fit, load

    def fit(self, frame: Any, y: Any = None) -> Self:
        """Prepare the rows of a frame and train on them; 5 % are kept for validation.

        Where a run of this table was stopped, in `folder` or by this object, it goes on.
        ValueError as of `unmask prepare tables` and `train`.
        """
        if y is not None:
            raise ValueError("a model of a table learns all columns: leave the target among them")
        config = self.train_config()
        root = self.new_folder(config)
        self.prepare(root, frame)
        if left_out := open_data(root / "data").meta.get("identifiers"):
            warnings.warn(
                f"left out {', '.join(left_out)}, of which every row has its own value: keep one "
                "by numbers or categories",
                stacklevel=2,
            )
        train(config, root / "data", root / "run")
        self.begun_ = None
        return self.take(root)

    def train_config(self) -> TrainConfig:
        """ValueError for a preset or values that there are not."""
        known, own = presets(), dict(self.config or {})
        if self.preset not in known:
            fix = did_you_mean(self.preset, list(known))
            raise ValueError(f"there is no preset {self.preset!r}: {', '.join(known)}{fix}")
        names = [one.name for one in fields(TrainConfig)]
        for name in own:
            if name not in names:
                raise ValueError(f"config: there is no {name!r}{did_you_mean(name, names)}")
        values: dict[str, Any] = {"minutes": 0.0 if self.steps else self.minutes}
        values |= {"steps": self.steps, "device": self.device, "dtype": self.dtype}
        return replace(known[self.preset].config, **values | {"seed": self.seed} | own)

    def prepare(self, root: Path, frame: Any) -> None:
        """Write table.csv, data and frame.json to a folder, unless they are there already.

        ValueError if the folder has another table.
        """
        library, names = library_of(frame), [str(name) for name in frame.columns]
        check_columns(names, self.numbers, self.categories, self.drop)
        columns = columns_of(frame, leave_out=self.drop)
        if not columns:
            raise ValueError("the frame has no columns to learn: give some, or drop fewer")
        content = bytes_of(columns)
        named = (*self.numbers, *self.categories)
        # texts that look like numbers are texts
        texts = [
            name
            for name, one in columns.items()
            if (numeric(one) if one.type == "text" else one.has_categories) and name not in named
        ]
        how: dict[str, Any] = {
            "bins": self.bins, "missing_is": self.missing_is, "numbers": list(self.numbers),
            "categories": list(dict.fromkeys([*self.categories, *texts])), "drop": list(self.drop),
            "seed": self.seed,
        }  # fmt: skip
        types = {name: column.type for name, column in columns.items()}
        dtypes = {name: column.dtype for name, column in columns.items()}
        said = {"library": library, "types": types, "dtypes": dtypes, "prepared": how}
        said |= {"sha256": hashlib.sha256(content).hexdigest()}
        known = (root / "data").exists() and (root / FRAME).exists()
        if known and read_json(root / FRAME, FORM) | {"dtypes": dtypes} != said:
            if self.folder:
                raise ValueError(f"{root} has another table: name a new folder, or load it")
            for path in root.iterdir():  # of a fit that was stopped
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        elif known:
            return
        write_json(root / FRAME, said)
        write_whole(root / "table.csv", content)
        typed = [name for name, one in columns.items() if one.has_categories and name not in named]
        chosen: dict[str, Any] = {
            "categories": [*self.categories, *typed],
            "texts": [name for name in texts if name not in typed],
            "drop": (),  # they are gone
        }
        prepare_table(
            root / "table.csv", root / "data", header="yes", delimiter=",", missing=("",),
            decimal={"": "."}, thousands={"": ""}, split="0.95,0.05,0", progress=False,
            **how | chosen,
        )  # fmt: skip

    def new_folder(self, config: TrainConfig) -> Path:
        """Where a fit with this configuration keeps what it makes; a temporary one is that of the
        last fit, if that was stopped."""
        if self.folder:
            root = Path(self.folder)
            others = {path.name for path in root.glob("*") if not path.match(LEFTOVER)}
            if others and FRAME not in others:
                raise ValueError(f"{root} is not empty, and no TableModel: name a new folder")
            root.mkdir(parents=True, exist_ok=True)
            return root
        if getattr(self, "begun_", None) == config:
            return self.root_
        self.begun_, self.root_ = config, Path(tempfile.mkdtemp(prefix="unmask-"))
        weakref.finalize(self, shutil.rmtree, self.root_, ignore_errors=True)
        return self.root_

    @classmethod
    def load(cls, folder: str | Path, **how: Any) -> Self:
        """A model that was fitted with this `folder`; how: device, dtype, seed, unseen."""
        return cls(folder=folder, **how).take(Path(folder))

    def take(self, root: Path) -> Self:
        said = read_json(root / FRAME, FORM)
        self.library_, self.types_ = said["library"], said["types"]
        self.dtypes_ = said.get("dtypes", {})
        self.data_ = open_data(root / "data")
        self.device_ = pick_device(self.device)
        self.model_ = MaskedDiffusion.from_pretrained(root / "run").to(self.device_)
        return self

    @property
    def table_(self) -> Table:
        """The columns, their categories and bins."""
        if not hasattr(self, "data_"):
            raise AttributeError(NOT_FITTED)
        return self.data_.tokenizer

    # ------------------------------------------------------------ rows out

    def sample(self, n: int = 1, given: Mapping[str, Any] | Sequence[str] = (), **how: Any) -> Any:
        """(n rows) synthetic rows that satisfy what is `given`: values of some columns, None for a
        missing cell; or conditions such as "age >= 30", as `unmask sample --where` takes them.

        how: of `Filler`, such as seed, steps, sampler.
        """
        where = [given] if isinstance(given, str) else list(given)
        if isinstance(given, Mapping):
            where = [equals(*item) for item in given.items()]
        if not isinstance(n, int | np.integer) or n < 1:
            raise ValueError(f"n must be a whole number, at least 1, not {n}")
        table = self.table_
        examples = [conditioned(table, where)] * n
        made = [one.ids for (one,) in self.filler(**how).fill(examples)]
        drawn = table.draw(np.stack(made), self.random(**how), spans_within(table, where))
        texts = dict(zip(table.names, zip(*drawn, strict=True), strict=True))
        return frame_of(texts, self.types_, self.library_, self.dtypes_)

    def impute(
        self,
        frame: Any,
        columns: Sequence[str] = (),
        *,
        empty: str = "",
        best: bool = False,
        **how: Any,
    ) -> Any:
        """The frame, its missing cells filled in: draws or, with `best`, the most probable category
        and the median of a number, each given what its row has.

        columns: those to fill in; none: all.  empty: what is known of empty cells that are not, or
        of all without `columns`: there is a "value", it is "missing", or "unknown"; of a single
        column "lab=value", with commas between several (docs/tables.md).  What is given stays as it
        is, and so do columns that the model does not know.
        """
        table, given = self.table_, self.texts_of(frame)
        if not given:
            known = ", ".join(table.names)
            raise ValueError(f"the frame has no column of the model's: {known}")
        wanted = wanted_of(table, columns, names_in(empty))
        for name in columns:
            if name not in given:
                raise ValueError(
                    f"the frame has no column {name!r} to fill in: add one of missing cells"
                )
        there = [name in given for name in table.names]
        cells, hole, examples = opened(table, self.encode(given), wanted, there, "frame")
        if not hole.any():
            return frame
        if best:
            guesses = [guess(table, *law) for law in self.filler(**how).laws(examples)]
            for found in filter(None, guesses):
                cells[found.row, found.column] = number_of(table, found)
        else:
            rows = [one[0].ids for one in self.filler(**how).fill(examples)]
            cells = table.cells(np.stack(rows))
        generator = None if best else self.random(**how)
        new: dict[str, dict[int, str]] = {}
        for row, c, text in texts_of_holes(table, hole, cells, generator):
            new.setdefault(table.names[c], {})[row] = text
        return with_cells(frame, new, self.types_)

    # ------------------------------------------------------------ what it says of rows

    def nats(self, frame: Any, *, repeats: int = 8) -> Estimate:
        """The bound on -log p of each row as tokens, numbers by their bins; see `unmask eval`."""
        tokens = self.table_.tokens(self.rows(frame))
        size = rows_at_a_time(0, self.table_.length)
        parts = [tokens[i : i + size] for i in range(0, len(tokens), size)]
        batches = [batch_of(part, self.table_) for part in parts]
        with self.precision():
            return estimate_nelbo(self.model_, batches, repeats=repeats, seed=self.seed)

    def score(self, frame: Any, y: Any = None) -> float:
        """Mean log-likelihood of rows in nats, a lower bound, with numbers as they are written.

        The higher, the better.
        """
        cells, texts = self.rows(frame), self.texts_of(frame)
        if wrong := improper(self.table_.columns):
            raise ValueError(f"{wrong}: fit again, or take nats, which are of bins")
        found = cells_of([texts[name].texts for name in self.table_.names])
        within = nats_within(found, cells, self.table_, np.arange(len(cells)))
        return -float(self.nats(frame).mean + sum(within.nats))

    def predict_proba(self, frame: Any, column: str, *, empty: str = "") -> Any:
        """(rows, values) of a column given the rest of each row, whatever stands in it: a frame
        whose columns are its values, bins of numbers by their medians.

        A value is taken to be there.  empty: of the other columns, as in `impute`.
        """
        one = self.column(column)
        laws = [
            guess.probability[: len(one.values)] for guess in self.guesses(frame, column, empty)
        ]
        law = np.stack(laws)
        made = dict(zip(one.values, law.T.tolist(), strict=True))
        return like(frame, frame_of(made, dict.fromkeys(made, "float"), library_of(frame)))

    def predict(self, frame: Any, column: str, *, empty: str = "") -> np.ndarray:
        """(rows,) the most probable category of a column, or the median of a number."""
        values, guesses = self.column(column).values, self.guesses(frame, column, empty)
        texts = [values[number_of(self.table_, one)] for one in guesses]
        return np.array(values_of(texts, self.types_[column]))

    # ------------------------------------------------------------ what these share

    def column(self, name: str) -> Any:
        check_name(name, self.table_.names)
        return self.table_.columns[self.table_.names.index(name)]

    def guesses(self, frame: Any, column: str, empty: str) -> list[Guess]:
        """What the model says of a column in each row."""
        one, table, given = self.column(column), self.table_, self.texts_of(frame, column)
        if one.values in ((), ("",)):
            raise ValueError(f"column {column!r} had no value in the rows of fit")
        given[column] = Column([""] * len(frame), "text")
        there = [name in given for name in table.names]
        wanted = wanted_of(table, [column], [*names_in(empty), f"{column}=value"])
        cells = self.encode(given)
        _, _, examples = opened(table, cells, wanted, there, "frame")
        laws = (guess(table, *law) for law in self.filler().laws(examples))
        return [found for found in laws if found is not None]

    def texts_of(self, frame: Any, *leave_out: str) -> dict[str, Column]:
        """The columns of a frame that the model has, spelled as in `fit`: pandas has whole numbers
        as floats beside missing ones."""
        columns = columns_of(frame, self.table_.names, leave_out)
        if not len(frame):
            raise ValueError("the frame has no rows: give some")
        return {name: as_in_fit(one, self.types_[name]) for name, one in columns.items()}

    def rows(self, frame: Any) -> np.ndarray:
        """(rows, columns) of a frame that has all columns: see `Table.tokens`.

        ValueError for a missing cell of a column that had none in `fit`, unless `unseen` takes it
        for a value that is not known: nothing says how probable it is.
        """
        given = self.texts_of(frame)
        for name in self.table_.names:
            if name not in given:
                raise ValueError(f"the frame has no column {name!r}: its rows are not whole")
        found, cells = self.encode(given), cells_of([given[n].texts for n in self.table_.names])
        check_absent(found, cells, self.table_, self.unseen, TAKE_AS_UNKNOWN)
        return found

    def encode(self, columns: Mapping[str, Column]) -> np.ndarray:
        """(rows, columns) which of its column's values each cell is; ABSENT in columns that there
        are not."""
        if self.unseen not in ("error", "unknown"):
            raise ValueError(f"unseen {self.unseen!r} must be error or unknown")
        table = self.table_
        known = [c for c, name in enumerate(table.names) if name in columns]
        count = len(next(iter(columns.values())).texts) if columns else 1
        cells = np.full((count, len(table.columns)), ABSENT)
        if known:
            of = cells_of([columns[table.names[c]].texts for c in known])
            some = table.of([table.columns[c] for c in known])
            cells[:, known] = encode(of, some, self.unseen, TAKE_AS_UNKNOWN)
        return cells

    def filler(self, **how: Any) -> Filler:
        made: dict[str, Any] = {"seed": self.seed} | how
        generator = torch.Generator().manual_seed(made["seed"])
        return Filler(self.model_, precision=self.precision(), generator=generator, **made)

    def precision(self) -> Any:
        return precision(pick_dtype(self.dtype, self.device_), self.device_)

    def random(self, seed: int | None = None, **_: Any) -> np.random.Generator:
        """For numbers within their bins."""
        return np.random.default_rng(((self.seed if seed is None else seed) % 2**64, 0))


def bytes_of(columns: Mapping[str, Column]) -> bytes:
    rows = zip(*(column.texts for column in columns.values()), strict=True)
    return csv_text([tuple(columns), *rows]).encode()


def as_in_fit(column: Column, fitted: str) -> Column:
    """A column whose texts are those of the type that it was in `fit`: 1.0 is 1, and True 1."""
    texts = column.texts
    if column.type in ("int", "float") and fitted == "bool":
        texts = [TRUTHS.get(text, text) for text in texts]
    elif column.type == "bool" and fitted in ("int", "float"):
        texts = [text and str(int(text == "True")) for text in texts]
    if fitted == "int":
        texts = [text.removesuffix(".0") for text in texts]
    elif fitted == "float" and column.type in ("int", "bool"):
        texts = [text and f"{text}.0" for text in texts]
    return column._replace(texts=texts)


def equals(name: str, value: Any) -> str:
    """The condition that a column has a value, or none: None, and what is not itself, as NaN."""
    none = type(value).__name__ in ("NAType", "NaTType") or is_nan(value)
    text = column_of(name, [None if none else value]).texts[0]
    doubled = [said.replace('"', '""') for said in (str(name), text)]
    return '"{}" = "{}"'.format(*doubled)


def like(frame: Any, made: Any) -> Any:
    """With the index of a frame, where it has one."""
    if hasattr(frame, "index"):
        made.index = frame.index
    return made
