"""Tables made into a memory map of tokens, a row of S places an example, and files like them read.

`prepare_table` writes a folder:

    train.bin, validation.bin, test.bin    the tokens, little-endian, row after row;
                 a place that is not known is `vocab_size`
    *.groups.bin the group of each row, int64, if rows are split by groups or equal ones
    meta.json    the columns, the counts, the checksums; `open_data` reads it
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from unmask.files import no_file
from unmask.kinds.arrow import files_of, is_columnar, is_dataset
from unmask.kinds.folder import (
    SPLITS,
    check_new,
    cut_by_digest,
    given_splits,
    new_folder,
    parse_split,
    progress_bars,
    smallest_type,
    write_meta,
)
from unmask.kinds.tables.columns import (
    ABSENT,
    MISSING,
    UNKNOWN,
    Column,
    Table,
    check_name,
    did_you_mean,
)
from unmask.kinds.tables.csv_source import Cells, read_cells
from unmask.kinds.tables.delimiters import DELIMITERS
from unmask.kinds.tables.frames import typed_cells
from unmask.kinds.tables.header import first_is_header, header_names
from unmask.kinds.tables.identifiers import find_identifiers
from unmask.kinds.tables.listing import listing
from unmask.kinds.tables.numbers import PLAIN, Marks
from unmask.kinds.tables.rules import BINS, check_columns, make_table, unlike_numbers
from unmask.kinds.tables.spellings import spelled
from unmask.kinds.tables.splits import some_of_each, split_digests, table_of_group
from unmask.kinds.tables.written import nats_within

# what to do with a cell that cannot be read, but to correct it
TAKE_AS_UNKNOWN = "take such cells for values that are not known with --unseen unknown"


def prepare_table(
    source: str | Path,
    out: str | Path,
    *,
    header: str = "auto",
    delimiter: str = "auto",
    encoding: str = "",
    decimal: Mapping[str, str] | None = None,
    thousands: Mapping[str, str] | None = None,
    missing: Sequence[str] = MISSING,
    missing_in: Mapping[str, Sequence[str]] | None = None,
    missing_is: str = "missing",
    numbers: Sequence[str] = (),
    categories: Sequence[str] = (),
    texts: Sequence[str] = (),
    drop: Sequence[str] = (),
    bins: int = BINS,
    like: Table | None = None,
    unseen: str = "error",
    split: str = "0.9,0.05,0.05",
    seed: int = 0,
    group: str = "",
    together: bool = False,
    validation: str | Path | None = None,
    test: str | Path | None = None,
    progress: bool = True,
    tell: Callable[[str], object] | None = None,
) -> dict:
    """Write the tokens of a CSV file's rows to the new folder `out`; returns what meta.json holds.

    source: also a Parquet file, or a folder that `datasets` saved, by pyarrow: their columns have
    names and types, so that texts that look like numbers are categories.
    header: "yes", "no", or "auto" (`header.first_is_header`); without one, columns are called
    column1, column2, ... delimiter, encoding: see `csv_source.read_cells`.  decimal, thousands: the
    marks of numbers (`numbers.Marks`), under the name of a column, or "" for all; of others as the
    cells tell (`spellings.spelled`).  missing: cells without a value besides empty ones, in any
    case; `missing_in`: of columns that have their own list. missing_is: "missing", a fact that a
    place of its own holds; or "unknown", values that nobody knows, missing at random (see
    docs/tables.md).  numbers, categories: columns that are such, whatever they look like
    (`numbers.are_numbers`); texts: others that are categories, unless they name rows. drop: columns
    to leave out, as those that only name rows are (`identifiers.find_identifiers`), unless named as
    numbers or categories. bins: of a column of numbers, at most; where they begin depends on the
    training rows alone, the categories on all rows. like: the columns of other data or of a model,
    instead of rules; then `unseen` says what becomes of a cell that they cannot read: "error";
    "unknown", it has a value that is not known; "missing", it is missing.  Numbers beyond the bins
    go to the outermost. split: three fractions or three counts of rows, which are drawn by `seed`;
    `group`: rows with one value of this column stay together, as `together` does with equal rows.
    validation, test: files of their own; the whole of `source` is then for training.  tell: gets
    the lines that say how the source was read.

    Raises ValueError, and leaves nothing behind, for a source that does not do.
    """
    out = check_new(out)
    shares = parse_split(split)
    check_choices(header, delimiter, bins, unseen)
    paths = given_splits(source, validation, test)
    for path in paths.values():
        if not path.is_file() and not (path.is_dir() and is_dataset(path)):
            raise no_file(path, f"{path} is not a file: name a CSV file")
    typed = [name for name, path in paths.items() if is_columnar(path)]
    if typed:
        names = {"header": header != "auto", "delimiter": delimiter != "auto"}
        names |= {"encoding": encoding, "decimal": decimal, "thousands": thousands}
        given = [name for name, value in names.items() if value]
        if given:
            of_csv = f"is not a CSV file, and {', '.join(given)} are about such"
            raise ValueError(f"{paths[typed[0]]} {of_csv}: leave them out")
        if like is not None and not like.header:
            raise ValueError(
                f"{paths[typed[0]]} names its columns, and the data that it is to be like were "
                "read without names: give a CSV file without a header"
            )
    settings = {
        "header": (header, "auto"),
        "delimiter": (delimiter, "auto"),
        "decimal": (dict(decimal or {}), {}),
        "thousands": (dict(thousands or {}), {}),
        "missing": ({"", *map(str.lower, missing)}, set(MISSING)),
        "missing_in": (dict(missing_in or {}), {}),
        "missing_is": (missing_is, "missing"),
        "numbers": (list(numbers), []),
        "categories": (list(categories), []),
        "texts": (list(texts), []),
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
    if group and together:
        raise ValueError("group and together are two ways to split rows: choose one")
    if like is not None:
        delimiter = like.delimiter
    with progress_bars(paths.values(), progress)("read") as bar:
        read: dict[str, Cells] = {}
        strings: dict[str, list[str]] = {}
        spellings = {one.name: one.spelling for one in like.columns} if like else None
        if spellings is not None and group:
            spellings.setdefault(group, PLAIN)
        unread = [name for name in drop if name != group]
        for name, path in paths.items():
            if name in typed:
                read[name], strings[name] = typed_cells(
                    path, unread, spellings, lambda name: (missing_in or {}).get(name, missing)
                )
                continue
            read[name] = read_cells(path, bar, delimiter=delimiter, encoding=encoding)
    if "train" in typed and like is None:
        header, decimal, thousands = "yes", {"": "."}, {"": ""}
        texts = [name for name in strings["train"] if name not in (*numbers, *categories, *drop)]
    words = {"missing": missing, "missing_in": missing_in, "missing_is": missing_is}
    form = like or plain_table(read["train"], header, **words)
    if typed and not form.header:
        raise ValueError(
            f"{paths[typed[0]]} names its columns, and {paths['train']} was read without names: "
            "give both as files of one kind"
        )
    parts = {name: find_columns(cells, form) for name, cells in read.items()}
    for name, part in parts.items():
        if not len(part.codes):
            raise ValueError(
                f"{paths[name]} has no rows: give a file with at least one below the header"
            )
    identifiers: list[str] = []
    if like is None:
        check_columns(form.names, numbers, [*categories, *texts], drop)
        marks = Marks(decimal or {}, thousands or {})
        form = spelled(form, parts, marks, numbers=numbers, others=[*categories, *texts, *drop])
        nameless = form.header and not read["train"].from_first_value().row(0)[0]
        chosen = [*numbers, *categories, *drop]
        identifiers = find_identifiers(form, parts, nameless=nameless, others=chosen)
    left_out = [*drop, *identifiers]
    kept = [c for c, name in enumerate(form.names) if name not in left_out]
    if not kept:
        more = f"; {', '.join(identifiers)} only name rows: keep one with --numbers or --categories"
        raise ValueError(f"the table has no columns left: drop fewer{more * bool(identifiers)}")
    rows = {name: np.arange(len(part.codes)) for name, part in parts.items()}
    groups: np.ndarray | None = None  # equal numbers for rows that are drawn together
    if len(parts) == 1:
        cells, of = parts["train"], form
        if like is not None and group and group not in form.names:
            of = table_of_group(group, form)
            cells = find_columns(read["train"], of)
        digests = split_digests(cells, kept, of, seed, group, together)
        if group or together:
            groups = digests
        else:
            shares = some_of_each(shares, len(digests))
        rows = cut_by_digest(digests, shares, "rows")
    elif group or together:
        raise ValueError("files of their own are the splits: leave out group and together")
    else:
        split = "files"
    table = like or make_table(
        form, parts, rows["train"], numbers=numbers, categories=categories, texts=texts,
        drop=left_out, bins=bins,
    )  # fmt: skip
    at = {name: i for i, name in enumerate(form.names)}
    places = [at[name] for name in table.names]
    chosen_columns = {name: part.columns(places) for name, part in parts.items()}
    found = {name: encode(cells, table, unseen) for name, cells in chosen_columns.items()}
    if like is not None:
        for name, cells in chosen_columns.items():
            check_absent(found[name], cells, table, unseen)
    encoded = {name: table.tokens(cells) for name, cells in found.items()}
    without = sum(int((cells < 0).sum()) for cells in found.values())
    facts: dict[str, Any] = {"missing": missing_texts(chosen_columns.values(), table)}
    if like is None:
        unlike = unlike_numbers(chosen_columns["train"], table, rows["train"], numbers)
        facts |= {"running_numbers": unlike} if unlike else {}
        facts |= {"identifiers": identifiers} if identifiers else {}
    if tell is not None:
        for line in listing(form, table, parts, facts["missing"], identifiers, fixed=bool(like)):
            tell(line)
    if split != "files":  # how rows were drawn
        facts["split_seed"], facts["group"], facts["together"] = seed, group, together
    stored = smallest_type(table.vocab_size + 1)
    counts, empty, within, numbers_of = dict.fromkeys(SPLITS, 0), 0, {}, {}
    with new_folder(out) as folder:
        for name, chosen in rows.items():
            source_of = name if name in parts else "train"
            mine = encoded[source_of][chosen]
            filled = (mine != table.vocab_size).any(1)
            if len(mine) and not (found[source_of][chosen] >= 0).any():
                raise ValueError(
                    f"the rows of the {name} split are all empty: give a file with values in it"
                )
            mine[filled].astype(stored).tofile(folder / f"{name}.bin")
            counts[name] = int(filled.sum())
            empty += len(mine) - counts[name]
            chosen = chosen[filled]
            number = None
            if groups is not None:
                number = np.unique(groups[chosen], return_inverse=True)[1]
                numbers_of[f"{name}.groups.bin"] = number.astype("<i8").tobytes()
            cells, values = chosen_columns[source_of], found[source_of]
            within[name] = nats_within(cells, values, table, chosen, number)._asdict()
        if numbers_of:
            facts["groups"] = {name: sha256(of).hexdigest() for name, of in numbers_of.items()}
        meta = write_meta(
            folder,
            "tables",
            table,
            stored,
            [(path, files_of(path)) for path in paths.values()],
            rows=counts,
            empty_rows=empty,
            cells_without_value=int(without),
            split=split,
            within=within,
            format=1 if table.missing_is == "absent" else 2,
            **facts,
        )
        # not among what splits are known by: rows of one group have the same tokens as without
        for name, content in numbers_of.items():
            (folder / name).write_bytes(content)
        return meta


def check_choices(header: str, delimiter: str, bins: int, unseen: str) -> None:
    if header not in ("auto", "yes", "no") or unseen not in ("error", "unknown", "missing"):
        raise ValueError(
            f"header {header!r} must be auto, yes or no, and unseen {unseen!r} error, unknown or "
            "missing"
        )
    if delimiter != "auto" and (len(delimiter) != 1 or delimiter in '"\r\n'):
        known = " or ".join(map(repr, DELIMITERS))
        raise ValueError(f"delimiter {delimiter!r} must be auto or one character, like {known}")
    if not 2 <= bins <= 10_000:
        raise ValueError(f"bins {bins}: give between 2 and 10,000")


def plain_table(
    cells: Cells,
    header: str,
    missing: Sequence[str],
    missing_in: Mapping[str, Sequence[str]] | None,
    missing_is: str,
) -> Table:
    """Every column of a source, without values: what to find the columns of the other files by."""
    if missing_is not in ("missing", "unknown"):
        raise ValueError(f"missing_is {missing_is!r} must be missing or unknown")
    names, has_names = take_header(cells, header, missing)
    for name in missing_in or {}:
        check_name(name, names)
    columns = [Column(name, i, ("",)) for i, name in enumerate(names)]
    written = {"header": has_names, "delimiter": cells.delimiter, "width": len(names)}
    words = {"missing": missing, "missing_in": missing_in, "missing_is": missing_is}
    return Table(columns, **written, **words)


def check_absent(
    found: np.ndarray, cells: Cells, table: Table, unseen: str, otherwise: str = TAKE_AS_UNKNOWN
) -> None:
    """ValueError for a missing cell of a column which has none in the data that it is to be like.

    Nothing is known of how often it is missing.  `otherwise` as in `encode`.
    """
    if table.missing_is != "missing":
        return
    for c, column in enumerate(table.columns):
        missing = np.flatnonzero(found[:, c] == ABSENT)
        if column.missing or not len(missing):
            continue
        if unseen == "unknown":
            found[missing, c] = UNKNOWN
            continue
        line = f"{cells.path}, line {cells.lines[missing[0]]}"
        raise ValueError(
            f"{line}: column {column.name!r} is missing, and never is in the data that these are "
            f"to be like: correct it, or {otherwise}"
        )


def missing_texts(parts: Iterable[Cells], table: Table) -> dict[str, dict[str, int]]:
    """What was taken as missing in each column that has such cells, and how often."""
    found: dict[str, Counter[str]] = {}
    for cells in parts:
        for c, name in enumerate(table.names):
            counts = np.bincount(cells.codes[:, c], minlength=len(cells.texts[c]))
            for i in counts.nonzero()[0]:
                if table.is_missing(cells.texts[c][i], name):
                    found.setdefault(name, Counter())[cells.texts[c][i]] += int(counts[i])
    return {name: dict(counts.most_common()) for name, counts in found.items()}


def take_header(cells: Cells, header: str, missing: Sequence[str]) -> tuple[list[str], bool]:
    """The names of the columns, and whether the file gives them."""
    given, cells = header == "yes", cells.from_first_value()
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
            raise ValueError(f"{place}: the header has {name!r} more than once: rename one")
    return names


def find_columns(cells: Cells, table: Table) -> Cells:
    """The columns of `table` in a file, the header taken off.

    They are found by their names or, without a header, by their places. ValueError for a column
    that is missing, or for another number of them where there are no names.
    """
    if not table.header:
        if cells.width == len(table.columns):
            return cells
        if cells.width != table.width:
            raise ValueError(
                f"{cells.path} has {cells.width} columns, expected {table.width}, "
                "like the data it should go with"
            )
        return cells.columns([column.place for column in table.columns])
    cells = cells.from_first_value()
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


def encode(
    cells: Cells, table: Table, unseen: str = "error", otherwise: str = TAKE_AS_UNKNOWN
) -> np.ndarray:
    """(rows, columns) int64: which of its column's values each cell is; ABSENT: it is missing.

    unseen: what a column cannot read is UNKNOWN for "unknown" and ABSENT for "missing"; "error" is
    a ValueError that names file, line and value; `otherwise`: what to do but to correct it.
    """
    found = np.empty(cells.codes.shape, np.int64)
    instead = UNKNOWN if unseen == "unknown" else ABSENT
    for c, column in enumerate(table.columns):
        texts = cells.texts[c]
        used = np.unique(cells.codes[:, c])
        used = used[[not table.is_missing(texts[i], column.name) for i in used]]
        number = np.full(len(texts), ABSENT)
        local = column.encode([texts[i] for i in used])
        if (local < 0).any() and unseen == "error":
            text = texts[used[int((local < 0).argmax())]]
            said = "not a number"
            if column.spelling != PLAIN:
                said += f" where {column.spelling.describe()}"
            if column.bounds is None:
                near = did_you_mean(text, column.values)
                said = f"none of its {len(column.values)} categories{near}"
            place = f"{cells.where(c, text)}: {text!r} in column {column.name!r}"
            raise ValueError(f"{place} is {said}: correct it, or {otherwise}")
        number[used] = np.where(local < 0, instead, local)
        found[:, c] = number[cells.codes[:, c]]
    return found
