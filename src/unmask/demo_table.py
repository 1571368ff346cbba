"""The demo of tables: bundled census rows, trained on, evaluated by column, sampled, missing cells
filled in, reported."""

import io
import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from unmask import __version__
from unmask.checkpoint import digest
from unmask.config import PRESETS, Dtype
from unmask.data import Table, prepare_table
from unmask.demo import begin, end, say
from unmask.device import precision
from unmask.diffusion import MaskedDiffusion
from unmask.filling import Filler, fill
from unmask.kinds.baselines import position_bits
from unmask.kinds.kind import blank
from unmask.kinds.tables.holes import describe_guess, guess, partials
from unmask.likelihood import cross_entropy_by_count, estimate_nelbo
from unmask.report.report import BLUE, GREY, Figure, write_report
from unmask.train import read_log, train

ADULT = Path(__file__).parent / "kinds" / "tables" / "bundled" / "adult.csv.gz"
SPLIT = "0.8,0.05,0.15"
DROP = ("fnlwgt",)  # a weight of the survey, not of the person
SAMPLES, SHOWN = 2000, 12
HIDDEN = ("education", "hours-per-week", "income")  # cells of some held-out rows, to fill in
DRAWN = ("age", "education", "hours-per-week", "occupation")  # columns whose frequencies are drawn


def run(out: Path, *, minutes: float, seed: int, device: str, dtype: Dtype) -> tuple[Path, dict]:
    """The whole demo into the folder `out`, continuing what is there; the model's folder, and the
    figures."""
    began = time.monotonic()
    place = torch.device(device)
    config = replace(
        PRESETS["table"].config, minutes=minutes, seed=seed, device=device, dtype=dtype
    )

    def prepare(to: Path) -> None:
        prepare_table(ADULT, to, drop=DROP, split=SPLIT, progress=False)

    data = begin(out, config, prepare, digest(ADULT), SPLIT)
    table: Table = data.tokenizer
    train_size, watch, test_size = (
        f"{data.meta['rows'][split]:,}" for split in ("train", "validation", "test")
    )
    say(
        f"a census: {table.length} columns, {train_size} rows to train on, {watch} to watch it by (validation), {test_size} held out (test)"
    )
    folder = train(config, out / "data", out / "run")

    model = MaskedDiffusion.from_pretrained(folder).to(place)
    generator = torch.Generator().manual_seed(seed)
    print("evaluating, sampling, filling in", file=sys.stderr)
    with precision(dtype, place):
        bound = estimate_nelbo(
            model, data.windows("test", table.length, 1024), repeats=4, seed=seed, by_position=True
        )
        test = next(data.windows("test", table.length, data.window_count("test", table.length)))[
            "x"
        ]
        full = next(data.windows("test", table.length, 1024, limit=1024))
        full = full["x"][full["valid"].all(1)] if "valid" in full else full["x"]
        by_count = cross_entropy_by_count(model, full, generator=generator)
        drawer = Filler(model, steps=4 * table.length, watch=1, generator=generator)
        drawn = np.stack([one.ids for (one,) in drawer.fill([blank(table.length)] * SAMPLES)])
        given = full[:: len(full) // 4][:4]
        holes = torch.tensor([name in HIDDEN for name in table.names])
        holed = given.masked_fill(holes, data.vocab_size).numpy()
        examples = partials(holed, holed == data.vocab_size, data.vocab_size)
        found = fill(model, examples, num=3, steps=64, generator=generator)
        filled = [torch.from_numpy(np.stack([row[k].ids for row in found])) for k in range(3)]
        known = [guess(table, *law) for law in Filler(model).laws(examples)]
    tokens = {
        split: np.array(data.tokens(split)).reshape(-1, table.length).astype(np.int64)
        for split in ("train", "test")
    }
    alphabets = sum(math.log2(len(column.values)) for column in table.columns) / table.length
    alone = position_bits(tokens["train"], tokens["test"], data.vocab_size, table.allowed)
    baselines = {"uniform over a column": alphabets, "every column by itself": alone}
    bits, error = bound.bits_per_dim, bound.bits_per_dim_stderr
    for name, value in baselines.items():
        say(f"  {name:22} {value:.3f} bits per cell")
    say(
        f"  {'this model':22} {bits:.3f} +- {error:.3f} bits per cell, an upper bound (mask noise {bound.bits_per_dim_noise:.3f})"
    )
    rows = [
        " ".join(f"{name}={value}" for name, value in zip(table.names, row, strict=True))
        for row in table.decode(drawn[:3])
    ]
    say("\nsynthetic rows:\n" + "\n".join(rows))
    first = [describe_guess(table, one)[0] for one in known if one.row == 0]
    say(
        "\nhidden in a held-out row: "
        + ", ".join(f"{name} {value} ({float(p):.0%})" for _, name, value, p in first)
        + "\n"
    )

    log = read_log(out / "run" / "log.jsonl")
    seconds = log[-1]["seconds"]
    assert bound.by_position is not None
    paid = zip(table.names, bound.by_position.tolist(), strict=True)
    report = write_report(
        out / "report.html",
        title="Masked diffusion on a census",
        summary=[
            (
                "held-out bound",
                f"{bits:.3f} ± {error:.3f} bits per cell, {bound.mean:.2f} ± {bound.stderr:.2f} nats a row",
            ),
            ("of which", ", ".join(f"{name} {nats:.2f}" for name, (nats, _) in paid)),
            ("noise of the masks alone", f"{bound.bits_per_dim_noise:.4f} bits per cell"),
            (
                "protocol",
                f"{len(test):,} rows, cells without a value left out; exact count, {bound.repeats} draws",
            ),
            (
                "network",
                f"{sum(p.numel() for p in model.parameters()):,} parameters, {config.layers} layers, width {config.dim}",
            ),
            (
                "training",
                f"{log[-1]['step']:,} steps of {config.batch_size} rows in {seconds:.0f} s, {dtype}",
            ),
        ],
        figures=[
            Figure(
                "Samples beside people",
                f"How often the values of some columns occur in {SAMPLES:,} sampled rows (blue) and in the held-out rows (grey); "
                "numbers are shown by their bins.",
                "Four bar charts of frequencies, in samples and in held-out rows",
                frequencies(table, drawn, tokens["test"]),
            )
        ],
        log=log,
        unit="cell",
        schedule=model.schedule,
        bound_by_count=by_count,
        baselines=baselines,
        bound=(bits, error),
        samples=[table.write(table.decode(drawn[:SHOWN]))],
        fill={
            "before": [
                (text if shown else " " * 8, shown) for text, shown in cells(table, given, holes)
            ],
            "after": [cells(table, part, holes) for part in filled],
        },
        frames=[
            [
                f"{n}: {v}\n" if seen else None
                for n, v, seen in zip(table.names, table.decode(s.ids)[0], s.shown[0], strict=True)
            ]
            for s in drawer.states
        ],
        sources=f"unmask {__version__} demo --data table --minutes {minutes:g} --seed {seed}, on {place}, {dtype}, "
        f"{torch.get_num_threads()} threads; Adult by B. Becker and R. Kohavi, UCI Machine Learning Repository, CC BY 4.0",
    )
    (out / "report.png").write_bytes(frequencies(table, drawn, tokens["test"]))
    end(out, report, began)
    return folder, {
        "value": bits,
        "unit": "bits per cell",
        "stderr": error,
        "noise": bound.bits_per_dim_noise,
        "n": len(bound.positions),
        "nats_per_example": bound.mean,
        "estimator": "continuous time, exact count",
        "repeats": bound.repeats,
        "baselines": baselines,
        "data_sha256": data.meta["sha256"],
        "steps": log[-1]["step"],
        "training_seconds": seconds,
    }


def cells(table: Table, rows: torch.Tensor, holes: torch.Tensor) -> list[tuple[str, bool]]:
    """(text, was it given?) of rows of tokens (n, columns), one line each."""
    found = []
    for row in table.decode(rows):
        for c, text in enumerate(row):
            found += [(text, not holes[c]), ("\n" if c + 1 == len(row) else ", ", True)]
    return found


def frequencies(table: Table, drawn: np.ndarray, real: np.ndarray) -> bytes:
    """A PNG: shares of the values of `DRAWN` among tokens (n, columns) that were drawn, beside
    those of real rows."""
    from matplotlib import rc_context, rcParamsDefault
    from matplotlib.figure import Figure as Page

    with rc_context(rcParamsDefault):
        page = Page(figsize=(12, 7), dpi=100, facecolor="white")
        for axes, name in zip(page.subplots(2, 2).flat, DRAWN, strict=True):
            c = table.names.index(name)
            low, high = table.first[c : c + 2]
            values = np.arange(high - low)
            for shift, tokens, colour, label in (
                (-0.2, drawn, BLUE, "samples"),
                (0.2, real, GREY, "held-out rows"),
            ):
                counts = np.bincount(tokens[tokens[:, c] < table.vocab_size, c], minlength=high)[
                    low:high
                ]
                axes.bar(values + shift, counts / counts.sum(), 0.4, color=colour, label=label)
            shown = values[:: max(1, len(values) // 16)]
            axes.set_xticks(
                shown,
                [table.columns[c].values[i] for i in shown],
                rotation=60,
                ha="right",
                fontsize=8,
            )
            axes.set_title(name, fontsize=11)
            axes.spines[["top", "right"]].set_visible(False)
        page.axes[0].legend(frameon=False)
        page.tight_layout()
        stream = io.BytesIO()
        page.savefig(stream, format="png")
    return stream.getvalue()
