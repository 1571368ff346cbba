"""Tables made into a memory map of tokens, a row of C cells an example, and files like them read.

`prepare_table` writes a folder:

    train.bin, validation.bin, test.bin    the tokens, little-endian, row after row;
                 a cell without a value is `vocab_size`
    meta.json    the columns, the counts, the checksums; `open_data` reads it
"""

import difflib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from unmask.files import no_file
from unmask.kinds.folder import (
    SPLITS,
    check_new,
    cut_by_digest,
    given_splits,
    new_folder,
    parse_split,
    progress_bars,
    short_digest,
    smallest_type,
    write_meta,
)
from unmask.kinds.tables.columns import (
    MISSING,
    Column,
    Table,
    are_numbers,
    number_column,
    parse_number,
)
from unmask.kinds.tables.csv_source import (
    DELIMITERS,
    Cells,
    first_is_header,
    header_names,
    read_cells,
)

BINS = 32
# With this share of numbers in a column, other cells are errors, unless --categories names it.
MOST = 0.9
# More categories than this are refused where most rows have one of their own.
MANY = 50


def prepare_table(
    source: str | Path,
    out: str | Path,
    *,
    header: str = "auto",
    delimiter: str = "auto",
    encoding: str = "",
    missing: Sequence[str] = MISSING,
    numbers: Sequence[str] = (),
    categories: Sequence[str] = (),
    drop: Sequence[str] = (),
    bins: int = BINS,
    like: Table | None = None,
    unseen: str = "error",
    split: str = "0.9,0.05,0.05",
    validation: str | Path | None = None,
    test: str | Path | None = None,
    progress: bool = True,
) -> dict:
    """Write the tokens of a CSV file's rows to the new folder `out`; returns what meta.json holds.

    header: "yes", "no", or "auto" (`csv_source.first_is_header`); without one, columns are called
    column1, column2, ... delimiter, encoding: see `csv_source.read_cells`.  missing: cells without
    a value besides empty ones, in any case; a row of nothing else is left out. numbers, categories:
    columns that are such, whatever they look like (`columns.are_numbers`); drop: columns to leave
    out. bins: of a column of numbers, at most; where they begin depends on the training rows alone,
    the categories on all rows. like: the columns of other data or of a model, instead of rules;
    then `unseen`, "error" or "missing", says what becomes of a category that is not theirs.
    Numbers beyond the bins go to the outermost. split: three fractions or three counts of rows, by
    a digest of the cells of the columns that are kept: equal rows stay together. validation, test:
    files of their own; the whole of `source` is then for training.

    Raises ValueError, and leaves nothing behind, for a source that does not do.
    """
    out = check_new(out)
    shares = parse_split(split)
    check_choices(header, delimiter, bins, unseen)
    paths = given_splits(source, validation, test)
    for path in paths.values():
        if not path.is_file():
            raise no_file(path, f"{path} is not a file: name a CSV file")
    settings = {
        "header": (header, "auto"),
        "delimiter": (delimiter, "auto"),
        "missing": ({"", *map(str.lower, missing)}, set(MISSING)),
        "numbers": (list(numbers), []),
        "categories": (list(categories), []),
        "drop": (list(drop), []),
        "bins": (bins, BINS),
    }
    changed = [name for name, (value, plain) in settings.items() if value != plain]
    if like is not None and changed:
        raise ValueError(
            f"columns like those of other data are theirs already: leave out {', '.join(changed)}"
        )
    if like is None and unseen != "error":
        raise ValueError(
            f"unseen {unseen!r} is about columns of other data, and there are none: "
            "give like, or leave it out"
        )
    if like is not None:
        delimiter = like.delimiter
    with progress_bars(paths.values(), progress)("read") as bar:
        read = {
            name: read_cells(path, bar, delimiter=delimiter, encoding=encoding)
            for name, path in paths.items()
        }
    form = like or plain_table(read["train"], header, missing)
    parts = {name: find_columns(cells, form) for name, cells in read.items()}
    for name, part in parts.items():
        if not len(part.codes):
            raise ValueError(
                f"{paths[name]} has no rows: give a file with at least one below the header"
            )
    kept = [c for c, name in enumerate(form.names) if name not in drop]
    if not kept:
        raise ValueError("the table has no columns left: drop fewer")
    rows = {name: np.arange(len(part.codes)) for name, part in parts.items()}
    if len(parts) == 1:
        rows = cut_by_digest(row_digests(parts["train"].columns(kept), form), shares, "rows")
    else:
        split = "files"
    table = like or make_table(
        form, parts, rows["train"], numbers=numbers, categories=categories, drop=drop, bins=bins
    )
    at = {name: i for i, name in enumerate(form.names)}
    places = [at[name] for name in table.names]
    encoded = {name: encode(part.columns(places), table, unseen) for name, part in parts.items()}
    without = sum((part == table.vocab_size).sum() for part in encoded.values())
    running = running_numbers(parts["train"].columns(places), table, rows["train"])
    facts: dict[str, Any] = {}
    if running and like is None:
        facts["running_numbers"] = running
    stored = smallest_type(table.vocab_size + 1)
    counts, empty = dict.fromkeys(SPLITS, 0), 0
    with new_folder(out) as folder:
        for name, chosen in rows.items():
            mine = encoded.get(name, encoded["train"])[chosen]
            full = mine[(mine != table.vocab_size).any(1)]
            if len(mine) and not len(full):
                raise ValueError(
                    f"the rows of the {name} split are all empty: give a file with values in it"
                )
            full.astype(stored).tofile(folder / f"{name}.bin")
            counts[name] = len(full)
            empty += len(mine) - len(full)
        return write_meta(
            folder,
            "tables",
            table,
            stored,
            [(path, [path]) for path in paths.values()],
            rows=counts,
            empty_rows=empty,
            cells_without_value=int(without),
            split=split,
            **facts,
        )


def check_choices(header: str, delimiter: str, bins: int, unseen: str) -> None:
    if header not in ("auto", "yes", "no") or unseen not in ("error", "missing"):
        raise ValueError(
            f"header {header!r} must be auto, yes or no, and unseen {unseen!r} error or missing"
        )
    if delimiter != "auto" and (len(delimiter) != 1 or delimiter in '"\r\n'):
        known = " or ".join(map(repr, DELIMITERS))
        raise ValueError(f"delimiter {delimiter!r} must be auto or one character, like {known}")
    if not 2 <= bins <= 10_000:
        raise ValueError(f"bins {bins}: give between 2 and 10,000")


def plain_table(cells: Cells, header: str, missing: Sequence[str]) -> Table:
    """Every column of a source, without values: what to find the columns of the other files by."""
    names, has_names = take_header(cells, header, missing)
    columns = [Column(name, i, ("",)) for i, name in enumerate(names)]
    return Table(
        columns, header=has_names, delimiter=cells.delimiter, width=len(names), missing=missing
    )


def take_header(cells: Cells, header: str, missing: Sequence[str]) -> tuple[list[str], bool]:
    """The names of the columns, and whether the file gives them."""
    given = header == "yes"
    if header == "auto":
        given = first_is_header(cells, {"", *(text.lower() for text in missing)})
    if given:
        return check_names(cells, header_names(cells)), True
    return [f"column{i}" for i in range(1, cells.width + 1)], False


def check_names(cells: Cells, names: list[str], among: Sequence[str] | None = None) -> list[str]:
    """ValueError for two columns of one name, if it is `among` those that matter."""
    counts = Counter(names)
    for name in names if among is None else among:
        if counts[name] > 1:
            place = f"{cells.path}, line {cells.lines[0]}"
            raise ValueError(
                f"{place}: the header has {name!r} more than once: rename one, or say --header no"
            )
    return names


def find_columns(cells: Cells, table: Table) -> Cells:
    """The columns of `table` in a file, the header taken off.

    They are found by their names or, without a header, by their places. ValueError for a column
    that is missing, or for another number of them where there are no names.
    """
    if not table.header:
        if cells.width == table.length:
            return cells
        if cells.width != table.width:
            raise ValueError(
                f"{cells.path} has {cells.width} columns, expected {table.width}, "
                "like the data it should go with"
            )
        return cells.columns([column.place for column in table.columns])
    header = check_names(cells, header_names(cells), table.names)
    at = {name: i for i, name in enumerate(header)}
    lost = [name for name in table.names if name not in at]
    if lost:
        said = f"{lost[0]!r}" + f" and {len(lost) - 1} more" * (len(lost) > 1)
        known = ", ".join(table.names)
        raise ValueError(
            f"{cells.path}: its first line has no column {said}; it should name {known}"
        )
    return cells.without_first().columns([at[name] for name in table.names])


def make_table(
    form: Table,
    parts: dict[str, Cells],
    train: np.ndarray,
    *,
    numbers: Sequence[str],
    categories: Sequence[str],
    drop: Sequence[str],
    bins: int,
) -> Table:
    """The alphabets of the columns of a source.

    form: has their names. train: the rows that number bins are made of.
    """
    for name in (*numbers, *categories, *drop):
        if name not in form.names:
            known = ", ".join(form.names) + did_you_mean(name, form.names)
            raise ValueError(f"there is no column {name!r} among {known}")
        if sum(name in names for names in (numbers, categories, drop)) > 1:
            raise ValueError(
                f"column {name!r} is named twice, as numbers, as categories or to drop: choose one"
            )
    columns = []
    for c, name in enumerate(form.names):
        if name in drop:
            continue
        found = {part: values_of(cells, c, slice(None), form) for part, cells in parts.items()}
        if name not in categories and is_of_numbers(name, c, parts, found, name in numbers):
            counts = values_of(parts["train"], c, train, form) or next(filter(None, found.values()))
            columns.append(number_column(name, c, counts, bins))
        else:
            texts = sorted(set().union(*found.values()))
            columns.append(Column(name, c, tuple(texts) or ("",)))
    return Table(
        columns,
        header=form.header,
        delimiter=form.delimiter,
        width=form.width,
        missing=form.missing,
    )


def is_of_numbers(
    name: str, c: int, parts: dict[str, Cells], found: dict[str, dict[str, int]], named: bool
) -> bool:
    """Whether column c is of numbers, by how often it has which values in each part, or as `named`.

    ValueError where most cells are numbers, or should be, and some are not; and where categories
    are too many to be such.
    """
    strange = [(part, text) for part in parts for text in found[part] if parse_number(text) is None]
    if named and strange:
        part, text = strange[0]
        said = f"{text!r} in column {name!r} is not a number"
        fix = "correct it, or name the column in --categories"
        raise ValueError(f"{parts[part].where(c, text)}: {said}: {fix}")
    texts = sorted(set().union(*found.values()))
    if texts and (named or (are_numbers(texts) and told_apart(texts))):
        return True
    total = sum(sum(counts.values()) for counts in found.values())
    if strange and sum(found[part][text] for part, text in strange) < (1 - MOST) * total:
        part, text = strange[0]
        said = f"{text!r} in column {name!r}, most of whose cells are numbers, is none"
        fix = "correct it, count it among --missing, or name the column in --categories"
        raise ValueError(f"{parts[part].where(c, text)}: {said}: {fix}")
    if len(texts) > max(MANY, total / 2):
        flags = "--categories" if strange else "--numbers or --categories"
        raise ValueError(
            f"column {name!r} has {len(texts):,} different values in {total:,} rows, which says "
            f"nothing about other rows: leave it out with --drop, or keep it with {flags}"
        )
    return False


def told_apart(texts: Sequence[str]) -> bool:
    """Whether whole numbers differ as numbers of 64 bits, too: identifiers may not."""
    if not all(text.lstrip("+-").isdigit() for text in texts):
        return True
    return len({float(text) for text in texts}) == len({int(text) for text in texts})


def running_numbers(cells: Cells, table: Table, train: np.ndarray) -> list[str]:
    """Columns of whole numbers that are different in every training row: names of rows, perhaps."""
    found = []
    for c, column in enumerate(table.columns):
        counts = values_of(cells, c, train, table)
        whole = all(text.lstrip("+-").isdigit() for text in counts)
        if column.bounds is not None and whole and len(counts) == len(train) > MANY:
            found.append(column.name)
    return found


def row_digests(cells: Cells, table: Table) -> np.ndarray:
    """(rows,) uint64 of what the rows say.

    Cells without a value are alike, and so are numbers, however they are spelled.
    """
    columns = []
    for c, texts in enumerate(cells.texts):
        said = [plain(text, table) for text in texts]
        digests = [short_digest(text.encode("utf-8", "surrogatepass")) for text in said]
        columns.append(np.array(digests, np.uint64)[cells.codes[:, c]])
    return np.array([short_digest(row.tobytes()) for row in np.stack(columns, 1)], np.uint64)


def plain(text: str, table: Table) -> str:
    """A cell, spelled in one way whatever its own."""
    if table.is_missing(text):
        return ""
    number = parse_number(text)
    return text if number is None else repr(number)


def values_of(cells: Cells, column: int, rows: np.ndarray | slice, table: Table) -> dict[str, int]:
    """How often each value of a column occurs in some rows; cells without a value are left out."""
    texts = cells.texts[column]
    counts = np.bincount(cells.codes[rows, column], minlength=len(texts))
    return {texts[i]: int(counts[i]) for i in counts.nonzero()[0] if not table.is_missing(texts[i])}


def did_you_mean(text: str, known: Sequence[str]) -> str:
    for close in difflib.get_close_matches(text, known, 1):
        return f" (did you mean {close!r}?)"
    return ""


def encode(cells: Cells, table: Table, unseen: str = "error") -> np.ndarray:
    """Tokens (rows, columns) int64 of the cells of a table's columns.

    A cell without a value is `vocab_size`. unseen: "missing" takes what a column does not know for
    no value; "error" is a ValueError that names file, line and value.
    """
    tokens = np.empty(cells.codes.shape, np.int64)
    for c, column in enumerate(table.columns):
        texts = cells.texts[c]
        used = np.unique(cells.codes[:, c])
        used = used[[not table.is_missing(texts[i]) for i in used]]
        token = np.full(len(texts), table.vocab_size)
        local = column.encode([texts[i] for i in used])
        if (local < 0).any() and unseen == "error":
            text = texts[used[int((local < 0).argmax())]]
            said = "not a number"
            if column.bounds is None:
                near = did_you_mean(text, column.values)
                said = f"none of its {len(column.values)} categories{near}"
            place = f"{cells.where(c, text)}: {text!r} in column {column.name!r}"
            fix = "correct it, or take such cells for missing with --unseen missing"
            raise ValueError(f"{place} is {said}: {fix}")
        token[used] = np.where(local < 0, table.vocab_size, table.first[c] + local)
        tokens[:, c] = token[cells.codes[:, c]]
    return tokens


class Rows(NamedTuple):
    """A file of a table's kind."""

    cells: list[list[str]]  # as they are, without the blanks around them
    header: list[str] | None
    places: list[int]  # of the table's columns in a row
    tokens: np.ndarray  # (rows, columns of the table) of `encode`


def read_rows(path: Path, table: Table, *, unseen: str = "error", encoding: str = "") -> Rows:
    """ValueError as in `read_cells`, `find_columns` and `encode`."""
    with progress_bars([path], True)("read") as bar:
        cells = read_cells(path, bar, delimiter=table.delimiter, encoding=encoding)
    tokens = encode(find_columns(cells, table), table, unseen)
    header, places = None, list(range(table.length))
    if table.header:
        header, names = cells.row(0), header_names(cells)
        places = [names.index(name) for name in table.names]
        cells = cells.without_first()
    elif cells.width == table.width:
        places = [column.place for column in table.columns]
    return Rows([cells.row(i) for i in range(len(cells.codes))], header, places, tokens)
