"""The demo of tables: a census."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unmask.kinds.demo import Bars, Demo, Figure, Shown
from unmask.kinds.kind import Filler

HIDDEN = ("education", "hours-per-week", "income")  # cells of some held-out rows, to fill in
PREDICTED = "income"
DRAWN = ("age", "education", "hours-per-week", "occupation")  # columns whose frequencies are drawn


class Census(Demo):
    name, preset, out = "table", "table", "demo-table"
    title = "Masked diffusion on a census"
    subject = "rows of a census, 14 columns"
    source = Path(__file__).parent / "bundled" / "adult.csv.gz"
    split = "0.8,0.05,0.15"
    counted = "rows"
    credit = "Adult by B. Becker and R. Kohavi, UCI Machine Learning Repository, CC BY 4.0"
    repeats, batch_size, num, curve = 4, 1024, 2000, 1024
    file = "samples.csv"

    def prepare(self, out: Path) -> None:
        from unmask.kinds.tables.prepare import prepare_table

        # fnlwgt is a weight of the survey, not of the person
        prepare_table(self.source, out, drop=("fnlwgt",), split=self.split, progress=False)

    def steps(self, length: int) -> int:
        return 4 * length

    def baselines(self, data: Any, positions: int) -> dict[str, float]:
        from unmask.kinds.baselines import position_bits

        table = data.tokenizer
        # of a cell with two places, that of the value says all
        places = [table.places[i] for i in table.value_at]
        uniform = sum(math.log2(len(place.values)) for place in places) / table.length
        train, test = (rows_of(data, split)[:, table.value_at] for split in ("train", "test"))
        allowed = table.allowed[table.value_at]
        cells = position_bits(train, test, data.vocab_size, allowed)
        alone = cells * len(table.columns) / table.length
        return {"uniform over a column": uniform, "every column by itself": alone}

    def show(self, data: Any, drawn: list, filler: Callable[[int], Filler]) -> Shown:
        import numpy as np

        from unmask.kinds.tables.holes import describe_guess, guess, partials

        table, rows = data.tokenizer, np.stack(drawn)
        full = self.examples(data, table.length)["x"].numpy()
        given = full[:: len(full) // 4][:4]
        hidden = np.array([name in HIDDEN for name in table.names])
        holed = given.copy()
        # that they have values is given
        holed[:, table.value_at[hidden]] = data.vocab_size
        examples = partials(holed, holed == data.vocab_size, data.vocab_size)
        filler(64).fill(examples, num=3)
        laws = (guess(table, *law) for law in filler(1).laws(examples))
        guesses = [one for one in laws if one is not None]

        lines = []
        for row in table.decode(rows[:3]):
            pairs = zip(table.names, row, strict=True)
            lines.append(" ".join(f"{name}={value}" for name, value in pairs))
        likeliest = [describe_guess(table, one)[0] for one in guesses if one.row == 0]
        told = ", ".join(f"{name} {value} ({float(p):.0%})" for _, name, value, p in likeliest)
        right, usual = predicted(table, full, filler(1))
        said = [
            "\nsynthetic rows:", *lines, f"\nhidden in a held-out row: {told}",
            f"{PREDICTED} of {len(full):,} held-out rows, given the rest: {right:.1%} right, "
            f"and {usual:.1%} by always saying the more frequent one",
        ]  # fmt: skip

        absent = Figure(
            "Missing cells",
            f"The share of missing cells in {len(rows):,} sampled rows (blue) and in the held-out "
            "rows (grey), of the columns that lack some.",
            "A bar chart of shares of missing cells, in samples and in held-out rows",
            [missing(table, rows, rows_of(data, "test"))],
        )
        figure = Figure(
            "Samples beside people",
            f"How often the values of some columns occur in {len(rows):,} sampled rows (blue) and "
            "in the held-out rows (grey); numbers are shown by their bins.",
            "Four bar charts of frequencies, in samples and in held-out rows",
            [shares(table, name, rows, rows_of(data, "test")) for name in DRAWN],
        )
        record = {"predicted": PREDICTED, "accuracy": right, "most_frequent": usual}
        return Shown(said, [absent, figure], figure.content, record)


def rows_of(data: Any, split: str) -> Any:
    """(n, places) tokens of a split."""
    import numpy as np

    return np.array(data.tokens(split)).reshape(-1, data.length).astype(np.int64)


def predicted(table: Any, rows: Any, filler: Filler) -> tuple[float, float]:
    """How often the most probable value of a column is right, given the rest of its row (n,
    places); and the most frequent one."""
    import numpy as np

    from unmask.kinds.tables.holes import guess, partials

    place = table.value_at[table.names.index(PREDICTED)]
    hole = np.zeros(rows.shape, bool)
    hole[:, place] = True
    laws = (guess(table, *law) for law in filler.laws(partials(rows, hole, table.vocab_size)))
    tokens = np.array([one.token for one in laws if one is not None])
    return float((tokens == rows[:, place]).mean()), float(np.bincount(rows[:, place]).max()) / len(
        rows
    )


def missing(table: Any, drawn: Any, real: Any) -> Bars:
    """The shares of missing cells."""
    two = [c for c, place in enumerate(table.present_at) if place >= 0]
    sides = [(table.cells(rows)[:, two] < 0).mean(0) for rows in (drawn, real)]
    return Bars("missing cells", [table.names[c] for c in two], *sides)


def shares(table: Any, name: str, drawn: Any, real: Any) -> Bars:
    """How often the values of a column occur."""
    import numpy as np

    column = table.names.index(name)
    values = table.columns[column].values

    def share(rows: Any) -> Any:
        cells = table.cells(rows)[:, column]
        counts = np.bincount(cells[cells >= 0], minlength=len(values))
        return counts / counts.sum()

    return Bars(name, values, share(drawn), share(real))
