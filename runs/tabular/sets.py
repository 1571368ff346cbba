"""The five tables, from their official files: how each is read, split and prepared.

They are those of TabSyn (Zhang et al., ICLR 2024) and TabDiff (Shi et al., ICLR 2025).  A table is
split at random by a seed: a tenth for testing, as they do, and of the rest a twentieth for
validation, by which methods are tuned.  Equal rows are draws, and may stand on both sides.
"""

import csv
import gzip
import shutil
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import numpy as np

from unmask.data import open_data, prepare_table
from unmask.kinds.tables.columns import parse_number

TEST, VALIDATION = 10, 20  # a tenth of all rows, and a twentieth of those left
PARTS = ("train", "validation", "test")


class Set(NamedTuple):
    """A table, and what is done to it; nothing else is, and no other row is left out."""

    files: tuple[str, ...]  # official names, read one after the other; .gz does, too
    rows: int  # that are left, an error otherwise
    target: str  # what a model of it is to tell
    names: tuple[str, ...] = ()  # of the columns of files without a header
    drop: tuple[str, ...] = ()  # columns that number rows
    categories: tuple[str, ...] = ()  # integers that mean categories
    missing: str = ""  # how a missing cell is written; "": none is missing
    complete: bool = False  # rows that lack a cell are left out
    ending: str = ""  # what is taken off the last cell of a row
    comment: str = ""  # lines that begin so are none of the table's


SETS: dict[str, Set] = {
    # Rows of both files.  Missing cells, in three columns of categories, stay missing.  fnlwgt, a
    # weight of the survey, is kept, as TabSyn keeps it, and so is education-num, which repeats
    # education.
    "adult": Set(
        ("adult.data", "adult.test"), 48_842, "income",
        names=(
            "age", "workclass", "fnlwgt", "education", "education-num", "marital-status",
            "occupation", "relationship", "race", "sex", "capital-gain", "capital-loss",
            "hours-per-week", "native-country", "income",
        ),
        missing="?", ending=".", comment="|",
    ),
    # Codes that the description does not define (EDUCATION 0, 5, 6, MARRIAGE 0, PAY_* -2, 0) stay.
    "default": Set(
        ("UCI_Credit_Card.csv",), 30_000, "default.payment.next.month", drop=("ID",),
        categories=(
            "SEX", "EDUCATION", "MARRIAGE", "PAY_0", "PAY_2", "PAY_3", "PAY_4", "PAY_5", "PAY_6",
            "default.payment.next.month",
        ),
    ),
    # Sorted by class in the file; its first row is a row.
    "magic": Set(
        ("magic04.data",), 19_020, "class",
        names=(
            "fLength", "fWidth", "fSize", "fConc", "fConc1", "fAsym", "fM3Long", "fM3Trans",
            "fAlpha", "fDist", "class",
        ),
    ),
    "shoppers": Set(
        ("online_shoppers_intention.csv",), 12_330, "Revenue",
        categories=("OperatingSystems", "Browser", "Region", "TrafficType"),
    ),
    # Rows without pm2.5 are left out, as TabSyn does.  Hours in order: a random split leaves a test
    # row's neighbours in training.  Year, month, day and hour are categories, as TabSyn has them.
    "beijing": Set(
        ("PRSA_data_2010.1.1-2014.12.31.csv",), 41_757, "pm2.5", drop=("No",),
        categories=("year", "month", "day", "hour"), missing="NA", complete=True,
    ),
}  # fmt: skip


def read_set(name: str, folder: Path) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of a table, missing cells empty.

    ValueError for another number of rows than the table should have.
    """
    made, header, rows = SETS[name], list(SETS[name].names), []
    for file in made.files:
        lines = [line for line in lines_of(folder, file) if line.strip()]
        if made.comment:
            lines = [line for line in lines if not line.startswith(made.comment)]
        records = [[cell.strip() for cell in record] for record in csv.reader(lines)]
        if not made.names:
            header, *records = records
        rows += records
    kept = [i for i, column in enumerate(header) if column not in made.drop]
    rows = [[row[i] for i in kept] for row in rows]
    for row in rows:
        row[-1] = row[-1].removesuffix(made.ending) if made.ending else row[-1]
    if made.missing:
        rows = [["" if cell == made.missing else cell for cell in row] for row in rows]
    if made.complete:
        rows = [row for row in rows if all(row)]
    if len(rows) != made.rows or any(len(row) != len(kept) for row in rows):
        raise ValueError(
            f"{', '.join(made.files)} in {folder}: {len(rows):,} rows for {name}, expected "
            f"{made.rows:,} of {len(kept)} columns: take the official files"
        )
    return [header[i] for i in kept], rows


def lines_of(folder: Path, file: str) -> list[str]:
    """Those of a file, or of it with .gz behind its name."""
    if (folder / file).is_file():
        return (folder / file).read_text().splitlines()
    if not (folder / f"{file}.gz").is_file():
        raise ValueError(f"there is no {file} in {folder}, and no {file}.gz: put it there")
    with gzip.open(folder / f"{file}.gz", "rt") as stream:
        return stream.read().splitlines()


def split_rows(count: int, seed: int) -> dict[str, np.ndarray]:
    """The numbers of the rows of each part, in random order."""
    order = np.random.default_rng((seed, 0)).permutation(count)
    test = count // TEST
    validation = (count - test) // VALIDATION
    return dict(zip(("test", "validation", "train"),
                    np.split(order, [test, test + validation]), strict=True))  # fmt: skip


# ---------------------------------------------------------------- as methods see it


class Part(NamedTuple):
    """Rows: of every cell which value of its column's alphabet it is, and its number."""

    codes: np.ndarray  # (n, columns) int64, of a missing cell the last one
    numbers: np.ndarray  # (n, columns), as the source has them; NaN in columns of categories

    def __len__(self) -> int:
        return len(self.codes)

    def take(self, rows: np.ndarray) -> "Part":
        return Part(self.codes[rows], self.numbers[rows])


class Known(NamedTuple):
    """A split table.  The alphabets are those of the prepared data, so that nats compare."""

    name: str
    table: object  # the tokenizer of the prepared data
    sizes: tuple[int, ...]  # values of each column, a missing cell among them
    number: tuple[bool, ...]  # which columns are of numbers
    decimals: tuple[int, ...]  # the most that a number of the column is written with
    usual: tuple[int, ...]  # the most in all but a hundredth of the training rows
    parts: dict[str, Part]
    home: Path  # has train.csv, validation.csv, test.csv and data/
    target: str

    @property
    def train(self) -> Part:
        return self.parts["train"]

    @property
    def validation(self) -> Part:
        return self.parts["validation"]

    @property
    def test(self) -> Part:
        return self.parts["test"]

    @property
    def files(self) -> list[Path]:
        return [self.home / f"{part}.csv" for part in PARTS]

    def spell(self, rows: Part) -> list[list[str]]:
        """Rows as cells of a file."""
        columns = []
        for c, column in enumerate(self.table.columns):
            if self.number[c]:
                columns.append([f"{v:.{self.decimals[c]}f}" for v in rows.numbers[:, c]])
            else:
                values = (*column.values, "")
                columns.append([values[i] for i in rows.codes[:, c]])
        return [list(row) for row in zip(*columns, strict=True)]

    def rounded(self, rows: Part) -> Part:
        """Numbers that a method made up, with as many decimals as the column usually has."""
        columns = [column.round(n) for column, n in zip(rows.numbers.T, self.usual, strict=True)]
        return Part(rows.codes, np.stack(columns, 1))

    def write(self, rows: Part, path: Path) -> None:
        path.write_text(self.table.write(self.spell(rows)))


def prepare_set(name: str, source: Path, seed: int, home: Path) -> Known:
    """A table's split by a seed: its files and its prepared data in `home`, made where they are not
    there yet."""
    if not (home / "data").exists():
        shutil.rmtree(home, ignore_errors=True)  # what was stopped half way
        home.mkdir(parents=True)
        header, rows = read_set(name, source)
        for part, chosen in split_rows(len(rows), seed).items():
            with open(home / f"{part}.csv", "w", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerows([header, *(rows[i] for i in chosen)])
        made = SETS[name]
        prepare_table(
            home / "train.csv", home / "data", validation=home / "validation.csv",
            test=home / "test.csv", header="yes", missing=(), categories=made.categories,
            progress=False,
        )  # fmt: skip
    return open_set(name, home, SETS[name].target)


def open_set(name: str, home: Path, target: str) -> Known:
    """What `prepare_set` has made.

    ValueError where a row vanished in preparing, or a number is missing, which the rivals here do
    not model.
    """
    data = open_data(home / "data")
    table, parts = data.tokenizer, {}
    decimals, usual = [0] * len(table.columns), [0] * len(table.columns)
    number = tuple(column.bounds is not None for column in table.columns)
    for part in PARTS:
        with open(home / f"{part}.csv", newline="") as file:
            header, *rows = csv.reader(file)
        cells = table.cells(np.asarray(data.tokens(part)).reshape(-1, data.length))
        if len(cells) != len(rows) or header != table.names:
            raise ValueError(f"{home}: {len(rows)} rows of {part}.csv became {len(cells)}")
        sizes = np.array([len(column.values) for column in table.columns])
        numbers = np.full(cells.shape, np.nan)
        for c in np.flatnonzero(number):
            texts = [row[c] for row in rows]
            numbers[:, c] = [np.nan if text == "" else parse_number(text) for text in texts]
            long = {text: decimals_of(text) for text in set(texts) if text}
            decimals[c] = max(decimals[c], *long.values())
            if part == "train":
                of_rows = [long[text] for text in texts if text]
                usual[c] = int(np.quantile(of_rows, 0.99, method="higher"))
            if np.isnan(numbers[:, c]).any():
                raise ValueError(f"{name}: numbers are missing in {table.names[c]}, not done here")
        parts[part] = Part(np.where(cells < 0, sizes, cells), numbers)
    wide = tuple(len(column.values) + column.missing for column in table.columns)
    return Known(name, table, wide, number, tuple(decimals), tuple(usual), parts, home, target)


def decimals_of(text: str) -> int:
    """How many a number is written with."""
    return max(0, -int(Decimal(text).as_tuple().exponent))
